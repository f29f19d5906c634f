"""How many rows of a batch may be rejected: so many as are allowed, and never all."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

import pyarrow as pa

from gpwarehouse.errors import TooManyRejectsError
from gpwarehouse.intake.first_pass import FirstPass

__all__ = ["first_reasons", "refuse_rejects"]

_SHOWN = 3


def refuse_rejects(found: FirstPass, allowed: int, batch_id: str, undone: str) -> None:
    """Refuse a batch with more bad rows than are allowed, or with no good one: success that changes nothing is none.

    :param allowed: rows that may be rejected.
    :param undone: what was not done, for the message.
    :raises TooManyRejectsError: naming the first of them.
    """
    rejected, read = found.rows_rejected, found.rows_read
    if rejected <= allowed and (found.rows_to_load or not rejected):
        return
    why = f"{rejected} of {read} rows were rejected, {allowed} are allowed"
    if rejected <= allowed:
        why = f"all {read} rows read were rejected" if read > 1 else "the one row read was rejected"
    name, first = found.resolver.target.name, first_reasons(found.all_rejects())
    raise TooManyRejectsError(f"{name}: {why}; {undone}. First: {first}. All: wh.batches.rejects({batch_id!r})")


def first_reasons(rejects: Iterable[pa.RecordBatch]) -> str:
    """The first rows that were rejected, each with its column and why; of those with one reason the first.

    :param rejects: rows of ``etl_reject``.
    """
    told: dict[tuple[str, str], int] = {}
    for rows in rejects:
        for row in _in_words(rows):
            told.setdefault(row[1:], row[0])
        if len(told) >= _SHOWN:
            break
    words = [
        f"row {n}{f', column {column}' if column else ''}: {why}" for (column, why), n in islice(told.items(), _SHOWN)
    ]
    return "; ".join(words)


def _in_words(rows: pa.RecordBatch) -> list[tuple[int, str, str]]:
    columns = [rows.column(name).to_pylist() for name in ("row_number", "column_name", "reason")]
    return list(zip(*columns, strict=True))
