"""The limit of rejected rows in a batch. A batch whose rows are all rejected always fails."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

import pyarrow as pa

from gpwarehouse.errors import TooManyRejectsError
from gpwarehouse.intake.first_pass import FirstPass

__all__ = ["first_reasons", "refuse_rejects"]

_SHOWN = 3


def refuse_rejects(found: FirstPass, allowed: int, batch_id: str, undone: str) -> None:
    """Refuse a batch with more rejects than are allowed, or without any good row: a load that changes nothing is no success.

    :param allowed: number of rows that may be rejected.
    :param undone: a sentence that says what was not done, for the message.
    :raises TooManyRejectsError: there are too many; the message quotes the first of them.
    """
    rejected, read = found.rows_rejected, found.rows_read
    if rejected <= allowed and (found.rows_to_load or not rejected):
        return
    why = f"{rejected} of {read} rows were rejected, but only {allowed} are allowed"
    if rejected <= allowed:
        why = f"all {read} rows were rejected" if read > 1 else "the only row was rejected"
    name, first = found.resolver.target.name, first_reasons(found.all_rejects())
    raise TooManyRejectsError(f"{name}: {why}; {undone}. First: {first}. All: wh.batches.rejects({batch_id!r})")


def first_reasons(rejects: Iterable[pa.RecordBatch]) -> str:
    """Show the first rejected rows, each with its column and reason; of rows with the same reason only the first.

    :param rejects: rows of ``etl_reject``.
    """
    told: dict[tuple[str, str], int] = {}
    for rows in rejects:
        for row in _read_reasons(rows):
            told.setdefault(row[1:], row[0])
        if len(told) >= _SHOWN:
            break
    words = [
        f"row {n}{f', column {column}' if column else ''}: {why}" for (column, why), n in islice(told.items(), _SHOWN)
    ]
    return "; ".join(words)


def _read_reasons(rows: pa.RecordBatch) -> list[tuple[int, str, str]]:
    columns = [rows.column(name).to_pylist() for name in ("row_number", "column_name", "reason")]
    return list(zip(*columns, strict=True))
