"""The batch's row in ``etl_load_batch``, and its rejects: they make sure that a batch is loaded once.

The load's own transaction writes the row of a loaded batch and its rejects, so they exist exactly when the rows do. A second
transaction writes the row and the rejects of a failed load.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

import pyarrow as pa
from sqlalchemy import ColumnElement, and_, delete, func, insert, or_, select, update
from sqlalchemy.engine import Connection, Engine

from gpwarehouse.engine import lock_advisory
from gpwarehouse.errors import InvalidInputError, LoadError
from gpwarehouse.migrate.history import RESTORE
from gpwarehouse.models import EtlLoadBatch, EtlReject, EtlRemoval, migration_history_table
from gpwarehouse.transport import copy_rows

__all__ = [
    "ANY_MONTH",
    "DELETED",
    "FAILED",
    "ITS_MONTHS",
    "LOADED",
    "Batch",
    "Origin",
    "Scattered",
    "Written",
    "announce",
    "are_scattered",
    "content_of_files",
    "has_loaded",
    "insert_rejects",
    "left_behind",
    "loaded_batches",
    "lock_batch",
    "no_such_batch",
    "record_failure",
    "record_loaded",
    "refuse_half_changed",
    "still_scattered",
    "target_of",
]

LOADED = "LOADED"
FAILED = "FAILED"
DELETED = "DELETED"
"""Status of a batch that was loaded, and whose rows were deleted later. It can be loaded again."""
Origin = Literal["LOAD", "UPSERT", "DELETE", "REPLACE_MONTH", "MERGE"]
Scattered = Literal["ITS_MONTHS", "ANY_MONTH"]
ITS_MONTHS: Scattered = "ITS_MONTHS"
ANY_MONTH: Scattered = "ANY_MONTH"
"""Where other batches may hold records of a batch, or of an earlier state of it."""
ERROR = 4000
"""Maximum characters of an error that are kept."""
REJECTS_KEPT = 10_000
"""Rejects recorded for a failed batch: enough to see what is wrong, not a copy of a wrong file."""


@dataclass(frozen=True)
class Batch:
    """A batch as it is recorded.

    :ivar rows_replaced: rows, of any batch, that it deleted or replaced.
    :ivar month_replaced: the first instant of the month that it replaced.
    """

    batch_id: str
    target: str
    source_system: str | None
    source: str | None
    checksum: str
    rows_read: int
    rows_loaded: int
    rows_rejected: int
    min_event_ts: datetime | None
    max_event_ts: datetime | None
    started_at: datetime
    source_checksum: str | None = None
    origin: Origin = "LOAD"
    rows_replaced: int = 0
    month_replaced: datetime | None = None


@dataclass(frozen=True)
class Written:
    """What a transaction wrote, as far as the batch's row tells it.

    :ivar rows: rows that were stored.
    :ivar rows_replaced: rows, of any batch, that were deleted or replaced.
    :ivar scattered: from :func:`still_scattered`.
    """

    rows: int
    rows_replaced: int = 0
    scattered: Scattered | None = None


def content_of_files(connection: Connection, target: str, source_checksum: str) -> str | None:
    """The checksum of the content that a loaded batch of a target read from files of these bytes; None if there is none."""
    table = EtlLoadBatch.__table__
    same = and_(table.c.target == target, table.c.source_checksum == source_checksum, _is_loaded())
    query = select(table.c.checksum).where(same).order_by(table.c.started_at, table.c.batch_id)
    return connection.execute(query.limit(1)).scalar()


def loaded_batches(connection: Connection, target: str, batch_id: str, checksum: str) -> Sequence[Any]:
    """The rows of the loaded batches with this content, or with this id; the oldest first."""
    table = EtlLoadBatch.__table__
    same = or_(table.c.batch_id == batch_id, and_(table.c.target == target, table.c.checksum == checksum))
    query = select(table).where(same, _is_loaded())
    return connection.execute(query.order_by(table.c.started_at, table.c.batch_id)).all()


def has_loaded(connection: Connection, target: str, rows_read: int) -> bool:
    """Whether a loaded batch of a target has so many rows read."""
    table = EtlLoadBatch.__table__
    query = select(table.c.batch_id).where(table.c.target == target, table.c.rows_read == rows_read, _is_loaded())
    return connection.execute(query.limit(1)).first() is not None


def target_of(connection: Connection, batch_id: str) -> str | None:
    """The table of the batch with this id, loaded or failed; None if there is no such batch."""
    table = EtlLoadBatch.__table__
    return connection.execute(select(table.c.target).where(table.c.batch_id == batch_id)).scalar()


def _is_loaded() -> ColumnElement[bool]:
    """The condition that a batch counts as loaded.

    A batch that never had rows does not count: it holds nothing that could be doubled, and must not block its id for later rows.
    A batch whose rows were removed counts: a job that runs again must not bring them back. So does a deletion by key.
    """
    table = EtlLoadBatch.__table__
    had_rows = or_(table.c.rows_loaded > 0, table.c.rows_removed > 0, table.c.scattered.is_not(None))
    return and_(table.c.status == LOADED, or_(had_rows, table.c.origin == "DELETE"))


def lock_batch(connection: Connection, target: str, batch_id: str, checksum: str) -> None:
    """Wait until no other transaction loads this id or this content; lock both to the end of the transaction."""
    for name in sorted({f"id {batch_id}", f"content {target} {checksum}"}):
        lock_advisory(connection, "batch", name)


def record_loaded(connection: Connection, batch: Batch, rejects: Iterable[pa.RecordBatch], written: Written) -> Batch:
    """Write the row of a loaded batch and its rejects in place of those of the id, in the load's transaction.

    :return: the batch with the rows that were written.
    :raises LoadError: as :func:`refuse_half_changed`.
    """
    batch = replace(batch, rows_loaded=written.rows, rows_replaced=written.rows_replaced)
    refuse_half_changed(connection, batch.target)
    _forget(connection, batch.batch_id)
    _insert(connection, batch, LOADED, scattered=written.scattered)
    insert_rejects(connection, batch.batch_id, batch.target, rejects)
    return batch


def refuse_half_changed(connection: Connection, target: str) -> None:
    """Refuse a load that a change of data in batches (``op.run_batched``), begun during the load, may have missed.

    It is called when the rows are written, so their table is locked. A batch of the change locks the table too:
    it either sees the rows, or is committed and visible here.

    :raises LoadError: a change has not ended.
    """
    history = migration_history_table()
    half = select(history.c.revision, history.c.part_of).where(history.c.part_of.is_not(None)).limit(1)
    if (found := connection.execute(half).first()) is not None:
        restored = found.part_of == RESTORE
        what, command = ("the restore of backup", "backup restore") if restored else ("revision", "upgrade")
        raise LoadError(
            f"{target}: {what} {found.revision} began to change data in batches during the load, and the rows of this batch "
            f"could miss the change. Nothing was loaded; load the batch again when gpwarehouse {command} has ended"
        )


def record_failure(engine: Engine, batch: Batch, rejects: Iterable[pa.RecordBatch], error: str) -> Any | None:
    """Record a failed attempt; if rows are loaded under the id, record nothing and return that batch's row.

    It waits for any transaction that is loading the batch: after a connection lost at COMMIT, that may still be this very load.
    """
    table = EtlLoadBatch.__table__
    mine = table.c.batch_id == batch.batch_id
    with engine.begin() as connection:
        lock_batch(connection, batch.target, batch.batch_id, batch.checksum)
        row = connection.execute(select(table).where(mine, _is_loaded())).first()
        if row is not None:
            return row
        if connection.execute(select(table.c.batch_id).where(mine, _has_rows_somewhere())).first() is not None:
            # Its row says where rows are. They may be of other content than this attempt's.
            connection.execute(update(table).where(mine).values(error=error[:ERROR]))
            connection.execute(delete(EtlReject.__table__).where(EtlReject.__table__.c.batch_id == batch.batch_id))
        else:
            _forget(connection, batch.batch_id)
            _insert(connection, batch, FAILED, error=error[:ERROR])
        insert_rejects(connection, batch.batch_id, batch.target, _limit_rows(REJECTS_KEPT, rejects))
        return None


def announce(engine: Engine, batch: Batch) -> None:
    """Record, in a transaction of its own, that rows of a batch may be committed before the batch counts as loaded."""
    with engine.begin() as connection:
        _forget(connection, batch.batch_id)
        said = "it is being loaded by connections that commit apart, or that died"
        _insert(connection, batch, FAILED, error=said, may_hold_rows=True)


def left_behind(connection: Connection, target: str, batch_id: str, checksum: str) -> Sequence[Any]:
    """Rows of ``etl_load_batch`` with this content or this id that may still have rows somewhere.

    These are batches that failed and may have left rows, and deleted batches of which others may hold records.
    """
    table = EtlLoadBatch.__table__
    same = or_(table.c.batch_id == batch_id, and_(table.c.target == target, table.c.checksum == checksum))
    return connection.execute(select(table).where(same, _has_rows_somewhere())).all()


def _has_rows_somewhere() -> ColumnElement[bool]:
    table = EtlLoadBatch.__table__
    return and_(table.c.status != LOADED, or_(table.c.may_hold_rows, table.c.scattered.is_not(None)))


def are_scattered(row: Any) -> bool:
    """Whether records of a loaded batch, or of an earlier state of it, may be in other batches.

    So they may if someone corrected its count of rows by hand.
    """
    return bool(row.scattered or row.rows_loaded < row.rows_read - row.rows_rejected)


def no_such_batch(batch_id: str) -> InvalidInputError:
    """Make the error for a batch id that does not exist."""
    return InvalidInputError(f"there is no batch {batch_id!r}; wh.batches.list() lists them")


def still_scattered(before: Sequence[Any]) -> Scattered | None:
    """Where records may be of what a batch was loaded in the place of: in any month, because it has others than they had.

    :param before: rows of the batches that it was loaded in the place of, and of which others may hold records.
    """
    return ANY_MONTH if before else None


def _limit_rows(rows: int, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        if rows <= 0:
            return
        yield batch.slice(0, rows)
        rows -= batch.num_rows


def _forget(connection: Connection, batch_id: str) -> None:
    """Delete what is recorded under an id: a failed attempt, a batch without rows, or a batch that is replaced."""
    table = EtlLoadBatch.__table__
    mine = table.c.batch_id == batch_id
    # A DELETE locks the whole table on Greenplum 6, so it runs only if there is something to delete.
    if connection.execute(select(table.c.batch_id).where(mine)).first() is not None:
        connection.execute(delete(table).where(mine))
        for other in (EtlReject.__table__, EtlRemoval.__table__):
            connection.execute(delete(other).where(other.c.batch_id == batch_id))


def _insert(connection: Connection, batch: Batch, status: str, **state: Any) -> None:
    values = {name: getattr(batch, name) for name in Batch.__dataclass_fields__}
    if status == FAILED:
        values["rows_loaded"] = 0
    values |= {"status": status, "finished_at": func.clock_timestamp(), **state}
    connection.execute(insert(EtlLoadBatch.__table__).values(values))


def insert_rejects(connection: Connection, batch_id: str, target: str, rejects: Iterable[pa.RecordBatch]) -> None:
    """Write rows of :func:`gpwarehouse.intake.rejects.reject_rows` to ``etl_reject``."""
    for rows in rejects:
        for name, value in (("batch_id", batch_id), ("target", target)):
            rows = rows.append_column(name, pa.repeat(pa.scalar(value, pa.string()), rows.num_rows))
        copy_rows(connection, EtlReject.__table__, [rows], tuple(rows.schema.names))
