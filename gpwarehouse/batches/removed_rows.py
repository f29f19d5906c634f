"""Rows that were removed from loaded batches, or replaced: ``etl_removal``, and what the batch's row counts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from sqlalchemy import Table, func, insert, select, update
from sqlalchemy.engine import Connection

from gpwarehouse.batches.ledger import ANY_MONTH, DELETED, ITS_MONTHS, LOADED, are_scattered
from gpwarehouse.derived import refresh_aggregates
from gpwarehouse.models import EtlLoadBatch, EtlRemoval

__all__ = [
    "Cause",
    "Removal",
    "Removals",
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


Removals = Mapping[str, Sequence[Removal]]
"""Batch → what is removed from it."""


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


def mark_deleted(connection: Connection, rows: Sequence[Any], removals: Removals) -> None:
    """Record that all rows of loaded batches were deleted, so that the batches can be loaded again.

    :param rows: their rows in ``etl_load_batch``.
    """
    _refresh(connection, rows, removals)
    states = {}
    for row in rows:
        scattered = row.scattered or (ITS_MONTHS if are_scattered(row) else None)
        states[row.batch_id] = {"status": DELETED, "rows_loaded": 0, "scattered": scattered}
    _record(connection, states, removals)


def record_removals(connection: Connection, rows: Sequence[Any], removals: Removals) -> None:
    """Record that rows were removed from batches that still count as loaded, even if they have no rows left.

    :param rows: their rows in ``etl_load_batch``.
    """
    _refresh(connection, rows, removals)
    states = {}
    for row in rows:
        gone = removals[row.batch_id]
        is_moved = any(removal.month_now is not None for removal in gone)
        scattered = ANY_MONTH if is_moved else row.scattered or ITS_MONTHS  # from another month they may have moved on
        states[row.batch_id] = {"rows_loaded": max(row.rows_loaded - _count(gone), 0), "scattered": scattered}
    _record(connection, states, removals)


def _refresh(connection: Connection, rows: Iterable[Any], removals: Removals) -> None:
    """Make the aggregates anew that the removed rows were in; where a whole batch went, its deletion has done so."""
    of_target: dict[str, list[str]] = {}
    for row in rows:
        of_target.setdefault(row.target, []).append(row.batch_id)
    for target, batches in of_target.items():
        months = {one.month for batch_id in batches for one in removals[batch_id]} - {None}
        refresh_aggregates(connection, target, batches=batches, months=[month for month in months if month is not None])


def _record(connection: Connection, states: Mapping[str, Mapping[str, Any]], removals: Removals) -> None:
    table = EtlLoadBatch.__table__
    for batch_id, state in states.items():
        rows_removed = table.c.rows_removed + _count(removals[batch_id])
        mine = update(table).where(table.c.batch_id == batch_id)
        connection.execute(mine.values(rows_removed=rows_removed, **state))
    insert_removals(connection, {batch_id: removals[batch_id] for batch_id in states})


def _count(removals: Iterable[Removal]) -> int:
    return sum(removal.rows_removed for removal in removals)


def insert_removals(connection: Connection, removals: Removals) -> None:
    """Write rows of ``etl_removal``."""
    rows = [{"batch_id": batch_id, **asdict(one)} for batch_id, gone in removals.items() for one in gone]
    if rows:
        connection.execute(insert(EtlRemoval.__table__), rows)


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
