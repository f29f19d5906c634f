"""What went wrong with a read, in the server's words and without the parameters' values."""

from __future__ import annotations

import re
from typing import Any

from gpwarehouse.engine import reason_to_repeat
from gpwarehouse.errors import ReadError

__all__ = ["refused", "state_of", "words_of"]

# SQLSTATE → the way out, where the server's words do not give one.
_WAYS_OUT = {
    "42P01": "name the schema (dw.…), or see what there is: SELECT table_schema, table_name FROM information_schema.tables",
    "42703": 'see what there is: SELECT * FROM … LIMIT 0 (names are lower case unless quoted: "…")',
    "57014": 'raise GPWAREHOUSE_STATEMENT_TIMEOUT_S, or give session={"statement_timeout_s": …}, if the query may take longer; '
    "time spent between two chunks counts",
    "42501": "ask its owner for GRANT SELECT",
}


def state_of(error: BaseException | None) -> str:
    """The SQLSTATE of a driver's error; empty where the server gave none."""
    return str(getattr(error, "pgcode", None) or "")


def words_of(error: BaseException | None) -> str:
    """The server's message and hint, without the line of the statement that shows the parameters' values."""
    diagnostics = getattr(error, "diag", None)
    parts: list[Any] = [getattr(diagnostics, name, None) for name in ("message_primary", "message_hint")]
    words = "; ".join(part for part in parts if part) or str(error).strip().partition("\n")[0]
    if state_of(error).startswith("22"):  # data exceptions quote the value
        words = re.sub(r'"[^"]*"', '"…"', words)
    return words


def refused(error: BaseException | None) -> ReadError:
    """The error to raise for a driver's error, outside the block that caught it: the driver's quotes the parameters."""
    failure = _refused(error)
    failure.safe_to_repeat = reason_to_repeat(error) if error is not None else None
    return failure


def _refused(error: BaseException | None) -> ReadError:
    if not state_of(error):
        return ReadError(f"the connection was lost while reading: {words_of(error)}; read again")
    way_out = _WAYS_OUT.get(state_of(error))
    return ReadError(f"the server refused the query: {words_of(error)}" + (f"; {way_out}" if way_out else ""))
