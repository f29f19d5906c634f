"""The meaning of a driver's error: unreachable, connection lost, refused by the server, or unknown.

Only what is known is named. What is not is told as such, in the driver's own words, without the values that they quote.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum
from typing import Any, TypeGuard, TypeVar

import psycopg2
from sqlalchemy import exc
from sqlalchemy.engine import Connection, Engine

from gpwarehouse.engine.retry import LOST_STATES, RetryPolicy, reason_to_repeat, was_at_login
from gpwarehouse.engine.unreachable import way_in
from gpwarehouse.errors import ReadError, WarehouseConnectionError
from gpwarehouse.settings import WarehouseSettings

__all__ = [
    "Cause",
    "cause_of",
    "could_not_connect",
    "could_not_look",
    "explain_operational_error",
    "look",
    "refused_look",
    "state_of",
    "unexpected",
    "words_of",
]

Result = TypeVar("Result")

_SEGMENT = re.compile(r"\s+\(seg\d+.*\)$")
_QUOTED = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"")
_NO_TYPE = re.compile(r"can't adapt type '(\w+)'")
_KNOWN = {
    "asynchronous callback": "the driver has no COPY while it waits by a callback "
    "(psycopg2.extensions.set_wait_callback, as psycogreen sets for gevent), and reading and loading need it: do it in a "
    "process without such a callback, or call set_wait_callback(None) before",
}
"""Words of the driver → what they mean here."""


class Cause(Enum):
    """The known cause of an error."""

    UNREACHABLE = "no connection could be made"
    LOST = "the connection was lost"
    REFUSED = "the server refused it"
    UNKNOWN = "an error that is not expected here"


def could_not_connect(error: BaseException) -> TypeGuard[exc.OperationalError]:
    """Whether the error is that no connection could be made: no statement, and no SQLSTATE as errors at COMMIT have."""
    return (
        isinstance(error, exc.OperationalError)
        and error.statement is None
        and (not error.connection_invalidated or was_at_login(error))
        and not state_of(error)
    )


def cause_of(error: BaseException) -> Cause:
    """The cause of an error of SQLAlchemy's or the driver's, as far as it is known."""
    if could_not_connect(error):
        return Cause.UNREACHABLE
    state = state_of(error)
    if state:
        return Cause.LOST if state in LOST_STATES else Cause.REFUSED
    return Cause.LOST if reason_to_repeat(error) is not None else Cause.UNKNOWN


def state_of(error: BaseException | None) -> str:
    """The SQLSTATE of an error; empty where the server gave none."""
    return str(getattr(_original(error), "pgcode", None) or "")


def words_of(error: BaseException | None) -> str:
    """The server's message and hint, or the driver's first line; no row, and no value where that is what was wrong."""
    original = _original(error)
    diagnostics = getattr(original, "diag", None)
    parts: list[Any] = [getattr(diagnostics, name, None) for name in ("message_primary", "message_hint")]
    words = "; ".join(part for part in parts if part)
    if words:
        words = _SEGMENT.sub("", words)
        return _QUOTED.sub("…", words) if state_of(error).startswith("22") else words
    words = str(original).strip().partition("\n")[0] or type(original).__name__
    if isinstance(original, psycopg2.OperationalError | psycopg2.InterfaceError) or _NO_TYPE.search(words):
        return words  # of connections and types; these quote hosts, roles and names of classes
    return _QUOTED.sub("…", words)


def unexpected(error: BaseException) -> str:
    """A sentence on an error of unknown cause: its kind, its words, and what these mean where that is known."""
    words = words_of(error)
    for known, meaning in _KNOWN.items():
        if known in words:
            return f"{meaning} ({words})"
    return f"{Cause.UNKNOWN.value} ({type(_original(error)).__name__}: {words})"


def refused_look(error: BaseException, what: str, rights: str) -> ReadError:
    """The error to raise where something could not be looked at.

    :param what: as a sentence says it; ``rights``: what the role needs, told where it is that which is missing.
    """
    cause = cause_of(error)
    reason = unexpected(error) if cause is Cause.UNKNOWN else words_of(error)
    lost = f"{Cause.LOST.value} ({reason})" if cause in (Cause.LOST, Cause.UNREACHABLE) else reason
    failure = ReadError(f"{what}: {lost}" + (f"; {rights}" if state_of(error) == "42501" else ""))
    failure.safe_to_repeat, failure.sqlstate = reason_to_repeat(error), state_of(error)
    return failure


def look(engine: Engine, settings: WarehouseSettings, what: str, question: Callable[[Connection], Result]) -> Result:
    """What a question that changes nothing finds on a pooled connection; asked again where that is safe.

    :param what: what is looked for, for messages.
    :raises WarehouseConnectionError: the server cannot be reached, or was lost for good.
    :raises ReadError: it refused.
    """

    def ask() -> Result:
        with engine.connect() as connection:
            return question(connection)

    try:
        return RetryPolicy.once_met(settings, engine).call(f"look at {what}", ask)
    except exc.DBAPIError as error:
        raise could_not_look(error, settings, what) from error


def could_not_look(
    error: exc.DBAPIError, settings: WarehouseSettings, what: str
) -> WarehouseConnectionError | ReadError:
    """The error to raise for one that kept us from looking at something."""
    if cause_of(error) in (Cause.UNREACHABLE, Cause.LOST):
        return explain_operational_error(error, settings)
    return refused_look(error, f"{what} could not be read", "ask the owner for GRANT SELECT")


def explain_operational_error(error: exc.DBAPIError, settings: WarehouseSettings) -> WarehouseConnectionError:
    """Return an error that says what could not be reached or was lost, and what to check; never the password."""
    where, words = settings.redacted(), words_of(error)
    if cause_of(error) is Cause.UNREACHABLE:
        raised = WarehouseConnectionError(
            f"could not connect to {where}: {words}. {way_in(words, settings.sqlalchemy_url())}"
        )
    else:
        raised = WarehouseConnectionError(f"the connection to {where} was lost: {words}")
    raised.safe_to_repeat, raised.sqlstate = reason_to_repeat(error), state_of(error)
    return raised


def _original(error: BaseException | None) -> Any:
    return getattr(error, "orig", None) or error
