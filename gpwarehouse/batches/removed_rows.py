"""Rows that were removed from loaded batches, or replaced: ``etl_removal``, and what the batch's row counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from sqlalchemy import Table, func, insert, select, update
from sqlalchemy.engine import Connection

from gpwarehouse.batches.ledger import ANY_MONTH, DELETED, ITS_MONTHS, LOADED, are_scattered
from gpwarehouse.models import EtlLoadBatch, EtlRemoval

__all__ = [
    "Cause",
    "Removal",
    "batches_in",
    "describe_removals",
    "insert_removals",
    "loaded_rows",
    "mark_deleted",
    "record_removals",
]

Cause = Literal["BATCH_DELETED", "MONTH_DELETED", "MONTH_REPLACED", "KEY", "LEFT_BEHIND"]
_SHOWN = 5
_SAID = {
    "BATCH_DELETED": "deleted",
    "MONTH_DELETED": "deleted with the month",
    "MONTH_REPLACED": "replaced with the month",
    "KEY": "replaced or deleted by key",
    "LEFT_BEHIND": "left by a failed load and deleted",
}


@dataclass(frozen=True)
class Removal:
    """Rows removed from a batch.

    :ivar month: the first instant of their month.
    :ivar by_batch_id: the batch that deleted or replaced them, if one did.
    :ivar month_now: the first instant of the month that an upsert moved them to.
    """

    cause: Cause
    rows_removed: int
    month: datetime | None = None
    by_batch_id: str | None = None
    month_now: datetime | None = None


def batches_in(connection: Connection, table: Table) -> dict[str, int]:
    """Batch → number of its rows, for a table with a column ``batch_id``."""
    batch = table.c.batch_id
    return {row[0]: int(row[1]) for row in connection.execute(select(batch, func.count()).group_by(batch))}


def loaded_rows(connection: Connection, batches: Mapping[str, Any]) -> list[Any]:
    """The rows of these batches in ``etl_load_batch`` that count as loaded."""
    table = EtlLoadBatch.__table__
    found: list[Any] = []
    names = sorted(batches)
    for first in range(0, len(names), 1000):
        part = table.c.batch_id.in_(names[first : first + 1000])
        found += connection.execute(select(table).where(part, table.c.status == LOADED)).all()
    return found


def mark_deleted(connection: Connection, row: Any, removal: Removal) -> None:
    """Record that the rows of a loaded batch were deleted, so that it can be loaded again."""
    scattered = row.scattered or (ITS_MONTHS if are_scattered(row) else None)
    _record(connection, row, [removal], status=DELETED, rows_loaded=0, scattered=scattered)


def record_removals(connection: Connection, row: Any, removals: Sequence[Removal]) -> None:
    """Record that rows were removed from a batch that still counts as loaded, even if it has no rows left."""
    gone = sum(removal.rows_removed for removal in removals)
    is_moved = any(removal.month_now is not None for removal in removals)
    scattered = ANY_MONTH if is_moved else row.scattered or ITS_MONTHS  # from another month they may have moved on
    _record(connection, row, removals, rows_loaded=max(row.rows_loaded - gone, 0), scattered=scattered)


def _record(connection: Connection, row: Any, removals: Sequence[Removal], **state: Any) -> None:
    gone = sum(removal.rows_removed for removal in removals)
    table = EtlLoadBatch.__table__
    mine = update(table).where(table.c.batch_id == row.batch_id)
    connection.execute(mine.values(rows_removed=table.c.rows_removed + gone, **state))
    insert_removals(connection, row.batch_id, removals)


def insert_removals(connection: Connection, batch_id: str, removals: Sequence[Removal]) -> None:
    """Write rows of ``etl_removal``."""
    connection.execute(insert(EtlRemoval.__table__), [{"batch_id": batch_id, **asdict(one)} for one in removals])


def describe_removals(connection: Connection, batch_id: str) -> str:
    """Say, for a message, what was removed from a batch, the latest first; empty if nothing was."""
    table = EtlRemoval.__table__
    query = select(table).where(table.c.batch_id == batch_id, table.c.rows_removed > 0)
    found = connection.execute(query.order_by(table.c.removed_at.desc().nulls_last(), table.c.month)).all()
    more = f" and {len(found) - _SHOWN} more removals (etl_removal)" if len(found) > _SHOWN else ""
    return "; ".join(map(_describe, found[:_SHOWN])) + more


def _describe(row: Any) -> str:
    month = f"{row.month.astimezone(UTC):%Y-%m}: " if row.month is not None else ""
    by = f" by batch {row.by_batch_id!r}" if row.by_batch_id is not None else ""
    return f"{month}{row.rows_removed} rows {_SAID[row.cause]}{by}"
