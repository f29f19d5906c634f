"""Repeat work where that is safe; if the connection was lost at COMMIT, look whether the work was committed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import exc
from sqlalchemy.engine import Engine

from gpwarehouse.engine import RetryPolicy
from gpwarehouse.engine.server_errors import as_load_error, reason_of
from gpwarehouse.errors import AmbiguousCommitError
from gpwarehouse.settings import WarehouseSettings

__all__ = ["commit_once"]

Result = TypeVar("Result")


def commit_once(
    engine: Engine,
    settings: WarehouseSettings,
    attempt: Callable[[], Result],
    *,
    what: str,
    table: str,
    undone: str,
    done: Callable[[], Result | None] | None = None,
) -> Result:
    """Call ``attempt``; repeat it if it failed without effect. If an attempt was committed despite an error, return its result.

    :param what: the name of the work, for messages.
    :param table: the table that it changes, for messages.
    :param undone: a sentence that says that nothing was done, for messages.
    :param done: looks whether an attempt was committed; returns None if it was not.
    :raises AmbiguousCommitError: an attempt may have been committed, and the server cannot be asked.
    :raises LoadError: the server refused the work.
    :raises WarehouseConnectionError: the server cannot be reached.
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
            f"{table}: the connection was lost during COMMIT, and the server could not be asked whether the work was committed "
            f"({reason_of(error)}); run it again, it will not be done twice"
        )
    if found is None:
        raise raised
    return found
