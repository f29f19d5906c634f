"""What a load does where its batch, or its content, was loaded before.

``skip``: nothing. ``error``: raise. ``append``: load it again as a batch of its own. ``replace``: delete the batch's rows
and load, in one transaction. Whoever decides to write decides under the locks of the batch's id and content.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Table, and_, delete, select, text, update
from sqlalchemy.engine import Connection

from gpwarehouse.batches.ledger import loaded_batches
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
    """What is to be done.

    :ivar batch_id: the id to load under.
    :ivar loaded: row of the batch that holds the content already: nothing is to be done.
    :ivar replaced: row of the batch whose rows give way.
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
    """What is to be done with content that is to be loaded under an id.

    :param named: the id is the caller's own, not derived from the content.
    :param started_at: when this load began: the same content begun then is its own, by a COMMIT whose answer was lost.
        Not the time alone: of two jobs that begin in one microsecond one would take the other's for its own.
    :param emptied: a batch of this content counts as loaded although its rows went with their months.
    :raises BatchConflictError: the id stands for other content, or ``on_conflict`` is ``"error"``.
    """
    rows = loaded_batches(connection, target, batch_id, checksum)
    for row in rows:
        if (row.started_at, row.target, row.checksum) == (started_at, target, checksum):
            return Verdict(row.batch_id, loaded=row)
    rows = [row for row in rows if emptied or row.rows_loaded or row.checksum != checksum]
    mine = next((row for row in rows if row.batch_id == batch_id), None)
    if mine is not None and (mine.target != target or (on_conflict != "replace" and mine.checksum != checksum)):
        raise BatchConflictError(
            f"{_told(mine)} with other content ({mine.rows_loaded} rows, checksum {mine.checksum[:12]}…); "
            "give the new content a batch id of its own, or say on_conflict='replace'"
        )
    if not rows:
        return Verdict(batch_id)
    if on_conflict == "skip":
        return Verdict(batch_id, loaded=mine or rows[0])
    if on_conflict == "error":
        raise BatchConflictError(f"{_told(mine or rows[0])}; on_conflict='skip' takes that as done")
    if on_conflict == "append":
        return Verdict(batch_id, loaded=mine) if named else Verdict(_free(batch_id, rows))
    if mine is None or mine.checksum != checksum:
        other = next((row for row in rows if row.batch_id != batch_id), None)
        if other is not None:
            raise BatchConflictError(
                f"{_told(other)}, and its content is the same: replacing {batch_id!r} by it would leave the rows there "
                "twice; replace that batch, or say on_conflict='append'"
            )
    return Verdict(batch_id, replaced=mine)


def _told(row: Any) -> str:
    return f"batch {row.batch_id!r} was loaded into {row.target} on {row.finished_at:%Y-%m-%d %H:%M} UTC"


def _free(batch_id: str, rows: Sequence[Any]) -> str:
    """The id, with the first number behind it that no batch has."""
    taken = {row.batch_id for row in rows}
    number, free = 1, batch_id
    while free in taken:
        number += 1
        free = f"{batch_id}-{number}"
    return free


def delete_rows(
    connection: Connection, table: Table, partition_column: str, batch: Any, made: Collection[str] = ()
) -> int:
    """Delete a batch's rows, looking only into the partitions of its events; how many there were.

    :param made: names of partitions that were missing until now.
    :raises LoadError: there were fewer than the batch has: a month of it is archived, and would bring them back.
    """
    if batch.min_event_ts is None:
        return 0
    times = table.c[partition_column]
    mine = and_(table.c.batch_id == batch.batch_id, times >= batch.min_event_ts, times <= batch.max_event_ts)
    rows = delete_where(connection, table, mine)
    if rows < batch.rows_loaded:
        raise LoadError(_lacking(connection, table, batch, rows, made))
    return rows


def delete_leftovers(connection: Connection, partition_column: str, left: Any, by: str) -> int:
    """Delete the rows that a failed load left, looking only into the partitions of its events; how many there were.

    Whoever calls holds the locks of the batch's id or content. Its row says afterwards that nothing of it is left.

    :param left: its row, of :func:`gpwarehouse.batches.ledger.left_behind`.
    :param by: what deletes them, for that row.
    """
    table, record, rows = FACTS[left.target].__table__, EtlLoadBatch.__table__, 0
    if left.min_event_ts is not None:
        times = table.c[partition_column]
        mine = and_(table.c.batch_id == left.batch_id, times >= left.min_event_ts, times <= left.max_event_ts)
        if connection.execute(select(times).where(mine).limit(1)).first() is not None:
            rows = delete_where(connection, table, mine)
    said = f"failed; {rows} rows that it had left were deleted by {by}"
    connection.execute(update(record).where(record.c.batch_id == left.batch_id).values(error=said))
    return rows


def delete_where(connection: Connection, table: Table, which: ColumnElement[bool]) -> int:
    """Delete rows of a fact; how many.

    Greenplum deletes under a lock on the whole table. It is taken first, in the mode it takes: one that is raised later
    is what deadlocks are made of.
    """
    if _deletes_alone(connection):
        connection.execute(text(f"LOCK TABLE {qualified_name(connection, table)} IN EXCLUSIVE MODE"))
    return connection.execute(delete(table).where(which)).rowcount


def _deletes_alone(connection: Connection) -> bool:
    capabilities = dialect_of(connection).capabilities
    return capabilities is not None and capabilities.distribution


def hold(connection: Connection, table: Table, row: Any) -> Any:
    """The row of a loaded batch as it is now that nobody can put its records into another one (``wh.facts.upsert``).

    To the end of the transaction, which holds the batch's locks: so it is there still.
    """
    name = qualified_name(connection, table)
    alone = _deletes_alone(connection)
    held = f"{name} IN EXCLUSIVE" if alone else f"ONLY {name} IN ROW EXCLUSIVE"  # not the partitions of others
    connection.execute(text(f"LOCK TABLE {held} MODE"))
    batch = EtlLoadBatch.__table__
    return connection.execute(select(batch).where(batch.c.batch_id == row.batch_id)).one()


def _lacking(connection: Connection, table: Table, batch: Any, rows: int, made: Collection[str]) -> str:
    """Why a batch is not deleted that has fewer rows than it should have."""
    there = [month for month in partitions_there(connection, table) if month.name not in made]
    window = list(months_between(batch.min_event_ts, batch.max_event_ts))
    absent = [f"{month:%Y-%m}" for month in window if not overlapping(month_partition(month), there)]
    where = f"of its months {', '.join(absent)} had no partition" if absent else "every month of it has a partition"
    said = f" (etl_load_batch says of it: {batch.error})" if batch.error else ""
    months = ", ".join(absent) or " to ".join(dict.fromkeys(f"{month:%Y-%m}" for month in (window[0], window[-1])))
    return (
        f"{table.name}: batch {batch.batch_id!r} has {batch.rows_loaded} rows, of which {rows} are there{said}; {where}. "
        f"Archived rows would come back beside those that replace them. Nothing was changed; if {months} was archived, "
        f"restore it first: gpwarehouse partitions restore {table.name} YYYY-MM. If the rows are gone for good, say so: "
        f"set rows_loaded of the batch to {rows} in etl_load_batch"
    )
