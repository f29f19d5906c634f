"""Notes in ``etl_load_batch`` about batches whose rows were removed or replaced."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Table, func, select, update
from sqlalchemy.engine import Connection

from gpwarehouse.batches.ledger import FAILED, LOADED, NOTE, deleted
from gpwarehouse.models import EtlLoadBatch

__all__ = ["batches_in", "loaded_rows", "mark_deleted", "note"]


def batches_in(connection: Connection, table: Table) -> dict[str, int]:
    """Batch → number of its rows, for a table with a column ``batch_id``."""
    batch = table.c.batch_id
    return {row[0]: int(row[1]) for row in connection.execute(select(batch, func.count()).group_by(batch))}


def loaded_rows(connection: Connection, batches: Mapping[str, int]) -> list[Any]:
    """The rows of these batches in ``etl_load_batch`` that count as loaded."""
    table = EtlLoadBatch.__table__
    found: list[Any] = []
    names = sorted(batches)
    for first in range(0, len(names), 1000):
        part = table.c.batch_id.in_(names[first : first + 1000])
        found += connection.execute(select(table).where(part, table.c.status == LOADED)).all()
    return found


def mark_deleted(connection: Connection, row: Any, how: str) -> None:
    """Record that the rows of a loaded batch were deleted, so that it can be loaded again.

    :param how: the text after the word "deleted".
    """
    table = EtlLoadBatch.__table__
    gone = {"status": FAILED, "rows_loaded": 0, "error": deleted(row, how)}
    connection.execute(update(table).where(table.c.batch_id == row.batch_id).values(**gone))


def note(connection: Connection, row: Any, words: str, *, rows_gone: int) -> None:
    """Add a note about removed rows to a batch that still counts as loaded, even without rows; subtract ``rows_gone``."""
    table = EtlLoadBatch.__table__
    said = f"{row.error}; {words}" if row.error else words
    connection.execute(
        update(table)
        .where(table.c.batch_id == row.batch_id)
        .values(error=said[:NOTE], rows_loaded=max(row.rows_loaded - rows_gone, 0))
    )
