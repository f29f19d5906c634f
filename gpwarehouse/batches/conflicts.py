"""What a load does if its batch, or its content, was loaded before.

``skip``: nothing. ``error``: raise. ``append``: load the content again as a batch of its own. ``replace``: delete the batch's
rows and load, in one transaction. A decision to write is made under the locks of the batch's id and content.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Table, and_, delete, select, text, update
from sqlalchemy.engine import Connection

from gpwarehouse.batches.ledger import loaded_batches
from gpwarehouse.batches.removed_rows import Removal, describe_removals, insert_removals
from gpwarehouse.derived import refresh_batch
from gpwarehouse.dialect.options import month_partition
from gpwarehouse.engine import dialect_of, qualified_name
from gpwarehouse.errors import BatchConflictError, LoadError
from gpwarehouse.intake.load_options import OnConflict
from gpwarehouse.models import FACTS, EtlLoadBatch
from gpwarehouse.months import overlapping, partitions_there
from gpwarehouse.months.hours import months_between

__all__ = ["Verdict", "delete_leftovers", "delete_rows", "delete_where", "hold", "judge"]


@dataclass(frozen=True)
class Verdict:
    """The decision about a load.

    :ivar batch_id: the id to load under.
    :ivar loaded: row of the batch that already holds the content: nothing is to be loaded.
    :ivar replaced: row of the batch whose rows are replaced.
    """

    batch_id: str
    loaded: Any | None = None
    replaced: Any | None = None


def judge(
    connection: Connection,
    on_conflict: OnConflict,
    target: str,
    batch_id: str,
    checksum: str,
    *,
    named: bool,
    started_at: datetime | None = None,
    emptied: bool = True,
) -> Verdict:
    """Decide what to do with content that is to be loaded under an id.

    :param named: whether the caller gave the id; else it is derived from the content.
    :param started_at: when this load began. The same content with the same begin is this very load, whose COMMIT was not
        answered. The time alone is not enough: two jobs may begin in the same microsecond.
    :param emptied: whether a batch of this content counts as loaded although its rows were removed with their months.
    :raises BatchConflictError: the id belongs to other content, or ``on_conflict`` is ``"error"``.
    """
    rows = loaded_batches(connection, target, batch_id, checksum)
    for row in rows:
        if (row.started_at, row.target, row.checksum) == (started_at, target, checksum):
            return Verdict(row.batch_id, loaded=row)
    rows = [row for row in rows if emptied or row.rows_loaded or row.checksum != checksum]
    mine = next((row for row in rows if row.batch_id == batch_id), None)
    if mine is not None and (mine.target != target or (on_conflict != "replace" and mine.checksum != checksum)):
        raise BatchConflictError(
            f"{_describe_load(mine)} with other content ({mine.rows_loaded} rows, checksum {mine.checksum[:12]}…). "
            "Give the new content another batch_id, or on_conflict='replace' to replace the old content"
        )
    if not rows:
        return Verdict(batch_id)
    if on_conflict == "skip":
        return Verdict(batch_id, loaded=mine or rows[0])
    if on_conflict == "error":
        raise BatchConflictError(f"{_describe_load(mine or rows[0])}. Give on_conflict='skip' to accept that")
    if on_conflict == "append":
        return Verdict(batch_id, loaded=mine) if named else Verdict(_find_free_id(batch_id, rows))
    if mine is None or mine.checksum != checksum:
        other = next((row for row in rows if row.batch_id != batch_id), None)
        if other is not None:
            raise BatchConflictError(
                f"{_describe_load(other)} with the same content. If {batch_id!r} were replaced by it, its rows would be stored "
                "twice. Replace that batch instead, or give on_conflict='append'"
            )
    return Verdict(batch_id, replaced=mine)


def _describe_load(row: Any) -> str:
    return f"batch {row.batch_id!r} was loaded into {row.target} on {row.finished_at:%Y-%m-%d %H:%M} UTC"


def _find_free_id(batch_id: str, rows: Sequence[Any]) -> str:
    """The id with the first number appended that makes an id of no batch."""
    taken = {row.batch_id for row in rows}
    number, free = 1, batch_id
    while free in taken:
        number += 1
        free = f"{batch_id}-{number}"
    return free


def delete_rows(
    connection: Connection, table: Table, partition_column: str, batch: Any, made: Collection[str] = ()
) -> int:
    """Delete a batch's rows, and look only into the partitions of its events.

    :param made: names of partitions that were missing until now.
    :return: number of deleted rows.
    :raises LoadError: there were fewer rows than the batch has: a month of it is archived, and a restore would bring them back.
    """
    if batch.min_event_ts is None:
        return 0
    times = table.c[partition_column]
    mine = and_(table.c.batch_id == batch.batch_id, times >= batch.min_event_ts, times <= batch.max_event_ts)
    rows = delete_where(connection, table, mine)
    refresh_batch(connection, batch)
    if rows < batch.rows_loaded:
        raise LoadError(_explain_missing_rows(connection, table, batch, rows, made))
    return rows


def delete_leftovers(connection: Connection, partition_column: str, left: Any, by: str | None) -> int:
    """Delete the rows that a failed load left, and look only into the partitions of its events.

    The caller holds the locks of the batch's id or content. The batch's row says afterwards that no rows are left.

    :param left: its row, from :func:`gpwarehouse.batches.ledger.left_behind`.
    :param by: the batch that is loaded in their place, if one is.
    :return: number of deleted rows.
    """
    table, record, rows = FACTS[left.target].__table__, EtlLoadBatch.__table__, 0
    if left.min_event_ts is not None:
        times = table.c[partition_column]
        mine = and_(table.c.batch_id == left.batch_id, times >= left.min_event_ts, times <= left.max_event_ts)
        if connection.execute(select(times).where(mine).limit(1)).first() is not None:
            rows = delete_where(connection, table, mine)
    connection.execute(update(record).where(record.c.batch_id == left.batch_id).values(may_hold_rows=False))
    insert_removals(connection, {left.batch_id: [Removal("LEFT_BEHIND", rows, by_batch_id=by)]})
    return rows


def delete_where(connection: Connection, table: Table, which: ColumnElement[bool]) -> int:
    """Delete rows of a fact; return their number.

    Greenplum deletes under a lock on the whole table. That lock is taken first, in its final mode: raising a lock later can
    deadlock.
    """
    if _deletes_alone(connection):
        connection.execute(text(f"LOCK TABLE {qualified_name(connection, table)} IN EXCLUSIVE MODE"))
    return connection.execute(delete(table).where(which)).rowcount


def _deletes_alone(connection: Connection) -> bool:
    capabilities = dialect_of(connection).capabilities
    return capabilities is not None and capabilities.distribution


def hold(connection: Connection, table: Table, row: Any) -> Any:
    """Read the row of a loaded batch again, under a lock that keeps ``wh.facts.upsert`` from moving its records.

    The lock lasts to the end of the transaction, which also holds the batch's locks. So the row exists.
    """
    name = qualified_name(connection, table)
    alone = _deletes_alone(connection)
    held = f"{name} IN EXCLUSIVE" if alone else f"ONLY {name} IN ROW EXCLUSIVE"  # not the partitions of others
    connection.execute(text(f"LOCK TABLE {held} MODE"))
    batch = EtlLoadBatch.__table__
    return connection.execute(select(batch).where(batch.c.batch_id == row.batch_id)).one()


def _explain_missing_rows(connection: Connection, table: Table, batch: Any, rows: int, made: Collection[str]) -> str:
    """Explain why a batch is not deleted that has fewer rows than it should have."""
    there = [month for month in partitions_there(connection, table) if month.name not in made]
    window = list(months_between(batch.min_event_ts, batch.max_event_ts))
    absent = [f"{month:%Y-%m}" for month in window if not overlapping(month_partition(month), there)]
    where = f"its months {', '.join(absent)} have no partition" if absent else "every month of it has a partition"
    removals = describe_removals(connection, batch.batch_id)
    said = f" (removed from it: {removals})" if removals else ""
    months = ", ".join(absent) or " to ".join(dict.fromkeys(f"{month:%Y-%m}" for month in (window[0], window[-1])))
    return (
        f"{table.name}: batch {batch.batch_id!r} loaded {batch.rows_loaded} rows, but the table holds {rows} of them{said}; "
        f"{where}. Rows that were archived would come back beside the rows that replace them. Nothing was changed. "
        f"If {months} was archived, restore it first: gpwarehouse partitions restore {table.name} YYYY-MM. If the "
        f"missing rows are gone for good, set rows_loaded of the batch to {rows} in etl_load_batch"
    )
