"""What a server's refusal means: a sentence that names table, constraint and row, and what to do; no row's values.

The server's own words go on with the whole row ("Failing row contains …", the line of the COPY). Those do not belong
in logs, so they are left out here, and the driver's error is not chained to ours.
"""

from __future__ import annotations

import re
from typing import Any

from gpwarehouse.load.spool import Spool

__all__ = ["explain"]

_LINE = re.compile(r"COPY .*?\bline (\d+)")
_SEGMENT = re.compile(r"\s+\(seg\d+.*\)$")
_WAY_OUT = {
    "55P03": "another job held a lock for longer than GPWAREHOUSE_LOCK_TIMEOUT_S; load again",
    "40P01": "another job was in the way; load again",
    "40001": "another job was in the way; load again",
    "57014": "it took longer than GPWAREHOUSE_STATEMENT_TIMEOUT_S, or was cancelled",
    "23514": "the row breaks a rule over several columns; correct it, or leave it out",
    "53100": "the server has no space left",
    "42501": "the role needs INSERT on the fact, and INSERT and DELETE on dimensions and control tables",
}
"""By SQLSTATE."""
_WITHOUT_CONNECTION = frozenset({"OperationalError", "InterfaceError"})
"""What the driver raises, without an SQLSTATE, when there is nobody to ask any more."""


def explain(table: str, error: BaseException, spool: Spool | None = None) -> str:
    """Why a batch was refused.

    :param spool: its rows, in the order in which they were sent.
    """
    original = getattr(error, "orig", None) or error
    diagnosis = getattr(original, "diag", None)
    words = str(getattr(diagnosis, "message_primary", None) or original).strip() or repr(original)
    reason = _SEGMENT.sub("", words.splitlines()[0])
    state = getattr(original, "pgcode", None) or ""
    lost = state.startswith(("08", "57P")) or (not state and type(original).__name__ in _WITHOUT_CONNECTION)
    hint = "the connection was lost; load again" if lost else _WAY_OUT.get(state)
    row = _row(getattr(diagnosis, "context", None), spool)
    where = f" in the row with source_record_no {row['source_record_no']}" if row else ""
    return f"{table}: the server refused the batch{where}: {reason}{f' ({hint})' if hint else ''}; nothing was loaded"


def _row(context: str | None, spool: Spool | None) -> dict[str, Any] | None:
    found = _LINE.search(context or "")
    if not found or spool is None:
        return None
    passed = int(found[1]) - 1  # a row is one line, whatever its texts hold
    for batch in spool.batches():
        if passed < batch.num_rows:
            return dict(batch.slice(passed, 1).to_pylist()[0])
        passed -= batch.num_rows
    return None
