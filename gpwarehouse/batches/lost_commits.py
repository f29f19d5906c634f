"""Work that is repeated where that is safe, and looked for where its COMMIT was not answered."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import exc
from sqlalchemy.engine import Engine

from gpwarehouse.engine import RetryPolicy
from gpwarehouse.engine.server_errors import as_load_error, reason_of
from gpwarehouse.errors import AmbiguousCommitError
from gpwarehouse.settings import WarehouseSettings

__all__ = ["settled"]

Result = TypeVar("Result")


def settled(
    engine: Engine,
    settings: WarehouseSettings,
    attempt: Callable[[], Result],
    *,
    what: str,
    table: str,
    undone: str,
    done: Callable[[], Result | None] | None = None,
) -> Result:
    """What ``attempt`` returns, or what one returned whose COMMIT went through although an error came back.

    :param what: the work, ``table``: what it is on, ``undone``: that it was not done; for messages.
    :param done: looks whether an attempt went through; None if it did not.
    :raises AmbiguousCommitError: one may have, and there is nobody to ask.
    :raises LoadError: the server refused, and none did.
    :raises WarehouseConnectionError: it cannot be reached.
    """
    driver = engine.dialect.loaded_dbapi.Error
    found = None
    try:
        return RetryPolicy.of(settings).call(what, attempt)
    except (exc.SQLAlchemyError, driver) as error:
        raised = as_load_error(settings, table, error, undone)
    try:
        found = done() if done is not None else None
    except (exc.SQLAlchemyError, driver) as error:
        raised = AmbiguousCommitError(
            f"{table}: the connection was lost while COMMIT was under way, and the server could not be asked whether it went "
            f"through ({reason_of(error)}); do it again, it is done once"
        )
    if found is None:
        raise raised
    return found
