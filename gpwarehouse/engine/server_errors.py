"""The server's errors as errors of a load or a read: a sentence that says what to do, without any row's values.

The server's own words go on with the whole row ("Failing row contains …", the line of the COPY). Those do not belong
in logs, so they are left out here, and the driver's error is not chained to ours.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import psycopg2
from sqlalchemy import exc

from gpwarehouse.engine.error_causes import (
    Cause,
    cause_of,
    could_not_connect,
    explain_operational_error,
    state_of,
    unexpected,
    words_of,
)
from gpwarehouse.engine.retry import reason_to_repeat
from gpwarehouse.errors import GpwarehouseError, LoadError, ReadError
from gpwarehouse.settings import WarehouseSettings

__all__ = [
    "SERVER_ERRORS",
    "Refusal",
    "as_load_error",
    "as_read_error",
    "describe_refusal",
    "reason_of",
    "refusal_of",
    "translate_errors",
]

Result = TypeVar("Result")
SERVER_ERRORS = (exc.SQLAlchemyError, psycopg2.Error)
"""What SQLAlchemy and the driver raise."""
_LINE = re.compile(r"COPY .*?\bline (?P<line>\d+)(?:, column (?P<column>\w+))?")
_OF_VALUES = ("22", "23")
"""Classes of SQLSTATE: data exceptions, and constraints."""
_OF_ROWS = ("P0001",)
"""What a trigger raises."""
_SEGMENT = re.compile(r"\s+\(seg\d+.*\)$")
_LOAD_WAYS_OUT = {
    "55P03": "another job held a lock for longer than GPWAREHOUSE_LOCK_TIMEOUT_S; load again",
    "40P01": "another job was in the way; load again",
    "40001": "another job was in the way; load again",
    "57014": "it took longer than GPWAREHOUSE_STATEMENT_TIMEOUT_S, or was cancelled",
    "23514": "the row breaks a rule over several columns; correct it, or leave it out",
    "53100": "the server has no space left",
    "42501": "the role needs INSERT on the fact, and INSERT and DELETE on dimensions and control tables",
}
"""By SQLSTATE."""
_READ_WAYS_OUT = {
    "42P01": "name the schema (dw.…), or see what there is: SELECT table_schema, table_name FROM information_schema.tables",
    "42703": 'see what there is: SELECT * FROM … LIMIT 0 (names are lower case unless quoted: "…")',
    "57014": 'raise GPWAREHOUSE_STATEMENT_TIMEOUT_S, or give session={"statement_timeout_s": …}, if the query may take longer; '
    "time spent between two chunks counts",
    "42501": "ask its owner for GRANT SELECT",
}
"""By SQLSTATE, where the server's own words do not say it."""


def describe_refusal(table: str, error: BaseException, undone: str = "nothing was loaded") -> str:
    """Why a batch was refused."""
    cause = cause_of(error)
    if cause is Cause.UNKNOWN:
        return f"{table}: the batch failed: {unexpected(error)}; {undone}"
    hint = _LOAD_WAYS_OUT.get(state_of(error)) if cause is Cause.REFUSED else "the connection was lost; load again"
    if "for default partition" in reason_of(error):
        hint = "the months of its rows have to be made by SplitDefaultPartition, and it be dropped"
    return f"{table}: the server refused the batch: {reason_of(error)}{f' ({hint})' if hint else ''}; {undone}"


def as_load_error(
    settings: WarehouseSettings, table: str, error: Exception, undone: str = "nothing was loaded"
) -> GpwarehouseError:
    """The error to raise for one that was caught, which says whether the work may be done again."""
    if isinstance(error, GpwarehouseError):
        return error
    if could_not_connect(error):
        return explain_operational_error(error, settings)
    raised = LoadError(describe_refusal(table, error, undone))
    raised.safe_to_repeat, raised.sqlstate = reason_to_repeat(error), state_of(error)
    return raised


def translate_errors(settings: WarehouseSettings, table: str, undone: str, work: Callable[[], Result]) -> Result:
    """Run ``work``; raise an error of the driver as one of ours, without chaining it, because it quotes values.

    :raises LoadError: the server refused. Subclasses name the cause.
    :raises WarehouseConnectionError: the server cannot be reached.
    """
    try:
        return work()
    except SERVER_ERRORS as error:
        raised = as_load_error(settings, table, error, undone)
    raise raised


@dataclass(frozen=True)
class Refusal:
    """A row that the server would not have.

    :ivar line: its number among the rows sent, from 1; None where the server does not say.
    :ivar column: the column at fault; empty where it is the row as a whole.
    """

    line: int | None
    column: str
    reason: str


def refusal_of(error: BaseException) -> Refusal | None:
    """The refusal of a row; None if the error is of another kind."""
    diagnosis = getattr(_original(error), "diag", None)
    state = state_of(error)
    if not (state[:2] in _OF_VALUES or state in _OF_ROWS) or diagnosis is None:
        return None
    if reason_of(error).startswith("no partition"):
        return None  # of a month that somebody dropped: not a row's fault
    found = _LINE.search(diagnosis.context or "")
    column = diagnosis.column_name or (found["column"] if found else None) or ""
    return Refusal(int(found["line"]) if found else None, column, f"refused by the server: {reason_of(error)}")


def _original(error: BaseException) -> Any:
    return getattr(error, "orig", None) or error


def reason_of(error: BaseException) -> str:
    """The server's own words, up to where it quotes the row."""
    original = _original(error)
    words = str(getattr(getattr(original, "diag", None), "message_primary", None) or original).strip()
    return _SEGMENT.sub("", (words or repr(original)).splitlines()[0])


def as_read_error(error: BaseException) -> ReadError:
    """The error to raise for a driver's error, outside the block that caught it: the driver's quotes the parameters."""
    failure = ReadError(_describe_failed_read(error))
    failure.safe_to_repeat, failure.sqlstate = reason_to_repeat(error), state_of(error)
    return failure


def _describe_failed_read(error: BaseException) -> str:
    cause = cause_of(error)
    if cause is Cause.UNKNOWN:
        return f"the read failed: {unexpected(error)}"
    if cause is not Cause.REFUSED:
        return f"the connection was lost while reading: {words_of(error)}; read again"
    way_out = _READ_WAYS_OUT.get(state_of(error))
    return f"the server refused the query: {words_of(error)}" + (f"; {way_out}" if way_out else "")
