"""What went wrong with a read, in the server's words and without the parameters' values."""

from __future__ import annotations

from gpwarehouse.engine import Cause, cause_of, reason_to_repeat, state_of, unexpected, words_of
from gpwarehouse.errors import ReadError

__all__ = ["refused"]

# SQLSTATE → the way out, where the server's words do not give one.
_WAYS_OUT = {
    "42P01": "name the schema (dw.…), or see what there is: SELECT table_schema, table_name FROM information_schema.tables",
    "42703": 'see what there is: SELECT * FROM … LIMIT 0 (names are lower case unless quoted: "…")',
    "57014": 'raise GPWAREHOUSE_STATEMENT_TIMEOUT_S, or give session={"statement_timeout_s": …}, if the query may take longer; '
    "time spent between two chunks counts",
    "42501": "ask its owner for GRANT SELECT",
}


def refused(error: BaseException) -> ReadError:
    """The error to raise for a driver's error, outside the block that caught it: the driver's quotes the parameters."""
    failure = ReadError(_told(error))
    failure.safe_to_repeat = reason_to_repeat(error)
    return failure


def _told(error: BaseException) -> str:
    cause = cause_of(error)
    if cause is Cause.UNKNOWN:
        return f"the read failed: {unexpected(error)}"
    if cause is not Cause.REFUSED:
        return f"the connection was lost while reading: {words_of(error)}; read again"
    way_out = _WAYS_OUT.get(state_of(error))
    return f"the server refused the query: {words_of(error)}" + (f"; {way_out}" if way_out else "")
