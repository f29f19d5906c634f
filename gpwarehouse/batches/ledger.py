"""The batch's row in ``etl_load_batch``, and its rejects: they make sure that a batch is loaded once.

The load's own transaction writes the row of a loaded batch and its rejects, so they exist exactly when the rows do. A second
transaction writes the row and the rejects of a failed load.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import pyarrow as pa
from sqlalchemy import ColumnElement, and_, case, delete, func, insert, or_, select, update
from sqlalchemy.engine import Connection, Engine

from gpwarehouse.engine import lock_advisory
from gpwarehouse.errors import InvalidInputError, LoadError
from gpwarehouse.migrate.history import RESTORE
from gpwarehouse.models import EtlLoadBatch, EtlReject, migration_history_table
from gpwarehouse.transport import copy_rows

__all__ = [
    "DELETED",
    "FAILED",
    "LOADED",
    "Batch",
    "Written",
    "announce",
    "are_scattered",
    "content_of_files",
    "deleted",
    "has_left",
    "has_loaded",
    "insert_rejects",
    "left_behind",
    "loaded_batches",
    "lock_batch",
    "month_replaced",
    "no_such_batch",
    "record_failure",
    "record_loaded",
    "refuse_half_changed",
    "replaces",
    "state",
    "still_scattered",
    "target_of",
    "tells_no_months",
]

LOADED = "LOADED"
FAILED = "FAILED"
DELETED = "DELETED"
"""State of a batch that was loaded and whose rows were deleted later. It is stored as failed, so that it can be loaded again."""
_GONE = "deleted"
_REPLACES = "in the place of "
_LEFT = "rows may be there: "
_SCATTERED = "records may be in other batches: "
_ANYWHERE = "in any month; "
NOTE = 4000
"""Maximum characters of a note. The rest is cut off, and with it the months that rows were moved to."""
REJECTS_KEPT = 10_000
"""Rejects recorded for a failed batch: enough to see what is wrong, not a copy of a wrong file."""


@dataclass(frozen=True)
class Batch:
    """A batch as it is recorded."""

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


@dataclass(frozen=True)
class Written:
    """What a transaction wrote, as far as the batch's row tells it.

    :ivar rows: rows that were stored.
    :ivar note: a note for the batch's row.
    """

    rows: int
    note: str | None = None


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

    A batch without rows does not count: it holds nothing that could be doubled, and must not block its id for later rows. A batch
    whose rows were removed with their months says so, and counts: a job that runs again must not bring them back.
    """
    table = EtlLoadBatch.__table__
    return and_(table.c.status == LOADED, or_(table.c.rows_loaded > 0, table.c.error.is_not(None)))


def lock_batch(connection: Connection, target: str, batch_id: str, checksum: str) -> None:
    """Wait until no other transaction loads this id or this content; lock both to the end of the transaction."""
    for name in sorted({f"id {batch_id}", f"content {target} {checksum}"}):
        lock_advisory(connection, "batch", name)


def replaces(month: str) -> str:
    """The note of a batch that was loaded in the place of a month (``YYYY-MM``)."""
    return f"{_REPLACES}{month}"


def month_replaced(row: Any) -> datetime | None:
    """The first instant of the month that a batch replaced; it accepts no rows of other months."""
    month = (row.error or "").removeprefix(_REPLACES)[:7]
    if row.status != LOADED or not (row.error or "").startswith(_REPLACES):
        return None
    return datetime.fromisoformat(f"{month}-01T00:00:00+00:00")


def record_loaded(connection: Connection, batch: Batch, rejects: Iterable[pa.RecordBatch], written: Written) -> Batch:
    """Write the row of a loaded batch and its rejects in place of those of the id, in the load's transaction.

    :return: the batch with the rows that were written.
    :raises LoadError: as :func:`refuse_half_changed`.
    """
    batch = replace(batch, rows_loaded=written.rows)
    refuse_half_changed(connection, batch.target)
    _forget(connection, batch.batch_id)
    _insert(connection, batch, LOADED, written.note)
    insert_rejects(connection, batch.batch_id, batch.target, rejects)
    return batch


def refuse_half_changed(connection: Connection, target: str) -> None:
    """Refuse a load that a change of data in batches (``op.run_batched``), begun during the load, may have missed.

    It is called when the rows are written, so their table is locked. A batch of the change locks the table too:
    it either sees the rows, or is committed and visible here.

    :raises LoadError: a change has not ended.
    """
    history = migration_history_table()
    half = select(history.c.revision, history.c.direction).where(history.c.direction.like("% batch")).limit(1)
    if (found := connection.execute(half).first()) is not None:
        restored = found.direction.startswith(RESTORE)
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
        left = connection.execute(select(table).where(mine, _has_mark_of_rows())).first()
        if left is not None:
            # The note says where rows are. They may be of other content than this attempt's.
            said = f"{_LEFT}{error}" if has_left(left) else f"{left.error}; {error}"
            connection.execute(update(table).where(mine).values(error=said[:NOTE]))
            connection.execute(delete(EtlReject.__table__).where(EtlReject.__table__.c.batch_id == batch.batch_id))
        else:
            _forget(connection, batch.batch_id)
            _insert(connection, batch, FAILED, error[:NOTE])
        insert_rejects(connection, batch.batch_id, batch.target, _limit_rows(REJECTS_KEPT, rejects))
        return None


def announce(engine: Engine, batch: Batch) -> None:
    """Record, in a transaction of its own, that rows of a batch may be committed before the batch counts as loaded."""
    with engine.begin() as connection:
        _forget(connection, batch.batch_id)
        _insert(connection, batch, FAILED, f"{_LEFT}it is being loaded by connections that commit apart, or that died")


def left_behind(connection: Connection, target: str, batch_id: str, checksum: str) -> Sequence[Any]:
    """Rows of ``etl_load_batch`` with this content or this id that may still have rows somewhere.

    These are batches that failed and left rows (:func:`has_left`), and batches whose records are in other batches.
    """
    table = EtlLoadBatch.__table__
    same = or_(table.c.batch_id == batch_id, and_(table.c.target == target, table.c.checksum == checksum))
    return connection.execute(select(table).where(same, _has_mark_of_rows())).all()


def has_left(row: Any) -> bool:
    """Whether a batch failed and may have left rows in its fact."""
    return row.status == FAILED and (row.error or "").startswith(_LEFT)


def _has_mark_of_rows() -> ColumnElement[bool]:
    table = EtlLoadBatch.__table__
    told = (table.c.error.startswith(mark, autoescape=True) for mark in (_LEFT, _SCATTERED))
    return and_(table.c.status == FAILED, or_(*told))


def are_scattered(row: Any) -> bool:
    """Whether records of a batch, or of an earlier state of it, may be in other batches."""
    return bool(row.rows_loaded < row.rows_read - row.rows_rejected or (row.error or "").startswith(_SCATTERED))


def state() -> ColumnElement[str]:
    """The state of a batch: :data:`LOADED`, :data:`FAILED` or :data:`DELETED`."""
    table = EtlLoadBatch.__table__
    gone = or_(*(table.c.error.startswith(mark, autoescape=True) for mark in (_GONE, f"{_SCATTERED}{_GONE}")))
    return case((and_(table.c.status == FAILED, gone), DELETED), else_=table.c.status)


def no_such_batch(batch_id: str) -> InvalidInputError:
    """Make the error for a batch id that does not exist."""
    return InvalidInputError(f"there is no batch {batch_id!r}; wh.batches.list() lists them")


def deleted(row: Any, how: str) -> str:
    """The note of a loaded batch whose rows were deleted. It keeps the mark that records may be in other batches."""
    why = f"{_GONE}{how}"
    before = f"; before: {row.error}" if row.error else ""
    return f"{_SCATTERED}{why}{before}"[:NOTE] if are_scattered(row) else why


def still_scattered(before: Sequence[Any]) -> str | None:
    """The note of a batch that was loaded in the place of these batches, of which records may still be in others."""
    if not before:
        return None
    said = "; ".join(row.error for row in before if row.error)
    return f"{_SCATTERED}{_ANYWHERE}{said}"[:NOTE]


def tells_no_months(row: Any) -> bool:
    """Whether the note of a batch no longer says in which months its records may be."""
    said = row.error or ""
    return _ANYWHERE in said or len(said) >= NOTE


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
        connection.execute(delete(EtlReject.__table__).where(EtlReject.__table__.c.batch_id == batch_id))


def _insert(connection: Connection, batch: Batch, status: str, error: str | None) -> None:
    values = {name: getattr(batch, name) for name in Batch.__dataclass_fields__}
    if status == FAILED:
        values["rows_loaded"] = 0
    connection.execute(
        insert(EtlLoadBatch.__table__).values(**values, status=status, error=error, finished_at=func.clock_timestamp())
    )


def insert_rejects(connection: Connection, batch_id: str, target: str, rejects: Iterable[pa.RecordBatch]) -> None:
    """Write rows of :func:`gpwarehouse.intake.rejects.reject_rows` to ``etl_reject``."""
    for rows in rejects:
        for name, value in (("batch_id", batch_id), ("target", target)):
            rows = rows.append_column(name, pa.repeat(pa.scalar(value, pa.string()), rows.num_rows))
        copy_rows(connection, EtlReject.__table__, [rows], tuple(rows.schema.names))
