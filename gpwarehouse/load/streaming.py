"""Send rows while the rest of the source is still being read, if the batch's id is known beforehand.

A large frame or file with a ``batch_id`` from the caller need not be read to its end before the first row is sent: the server
stores rows while the next ones are checked. A frame in memory whose id is derived from its content is hashed first. All that must
be known before a commit is known by then, under the same locks and in the same transaction as in any load. Only plain loads are
completed here. If a month is missing, the server rejects a row, the batch turns out to be loaded, the connection breaks, a
lock or the next rows take too long, or too many rows are bad, the transaction is rolled back. The source is then read again
from its beginning, as if nothing had happened. So no row need be kept.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import chain
from typing import Any, cast
from weakref import WeakKeyDictionary

import pyarrow as pa
from sqlalchemy import Engine, event
from sqlalchemy.engine import Connection

from gpwarehouse.batches import ledger
from gpwarehouse.batches.exactly_once import Finish, Store, run_transaction
from gpwarehouse.batches.new_batch import NewBatch
from gpwarehouse.dialect.options import month_partition
from gpwarehouse.engine import pool_state, session_values, set_for_transaction
from gpwarehouse.engine.server_errors import SERVER_ERRORS
from gpwarehouse.errors import GpwarehouseError
from gpwarehouse.intake.arrow_layouts import is_nested
from gpwarehouse.intake.checksum import batch_id_for, checksum_of
from gpwarehouse.intake.first_pass import FirstPass, Kept, begin_reading, keep_facts
from gpwarehouse.intake.table_files import TableFiles
from gpwarehouse.intake.target import MEASURED, PARAMETERS, SET_KEY, Target
from gpwarehouse.load.run import Run, columns_to_copy
from gpwarehouse.months import partitions_there
from gpwarehouse.months.ensure import ensure_months
from gpwarehouse.transport import ahead, copy_rows, leave_statistics_alone

__all__ = ["STREAM_ROWS", "StreamedLoad", "hash_beforehand", "stream_load"]

STREAM_ROWS = 200_000
"""Rows from which streaming is worth while; for files whose rows are not known, :data:`STREAM_BYTES`."""
STREAM_BYTES = 32 << 20

PATIENCE_S = 20
"""Seconds that the open transaction, which locks the fact, waits for the next rows, or another connection of the load for a lock.
The holder of that lock may be waiting for the fact. No server can detect that deadlock, because half of it is in this process."""
_log = logging.getLogger(__name__)
_permits: WeakKeyDictionary[Any, threading.Semaphore] = WeakKeyDictionary()
"""For each pool, half its connections. A streaming load holds one for long and sometimes needs another, and must get it."""
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_permits.clear)  # a child has none of its parent's threads to release them


class _CannotStream(GpwarehouseError):
    """The load cannot be streamed; the message says why."""


@dataclass(frozen=True)
class StreamedLoad:
    """A streamed load: its batch, and what reading the source found."""

    row: ledger.Batch
    found: FirstPass


def stream_load(run: Run) -> StreamedLoad | None:
    """Load while reading. The result is None if nothing was changed and the load is still to be done.

    :raises GpwarehouseError: an error of the source, or a conflict.
    """
    source = run.source if run.own_checksum is None else replace(run.source, checksum=run.own_checksum)  # type: ignore[type-var]
    batch_id = run.options.batch_id or (source.checksum and batch_id_for(run.target.name, source.checksum))
    if not batch_id or not _can_stream(run) or run.look_up(_is_recorded, run, batch_id):
        return None
    with _permit(run.engine) as permitted:
        if not permitted:
            return None
        found, batches = begin_reading(
            source, run.target, run.engine, run.settings, run.options, keep_facts, keeps=False
        )
        with found, closing(batches):
            row = _send(run, found, batches)
        return None if row is None else StreamedLoad(row, found)


def hash_beforehand(run: Run) -> str | None:
    """Compute the checksum of a frame in memory that may be streamed, if the batch's id is to be derived from it.

    :raises InvalidInputError: the frame does not fit the target.
    """
    frame = getattr(run.source, "frame", None)
    if run.options.batch_id is not None or not _is_in_memory(frame) or not _can_stream(run):
        return None
    return checksum_of(run.source.batches(), run.target)


def _can_stream(run: Run) -> bool:
    """Whether the load is plain, large, and its rows are at hand."""
    if run.options.parallel > 1 or not _is_at_hand(run.source):
        return False
    rows, size = run.source.extent()  # type: ignore[attr-defined]
    is_large = rows >= STREAM_ROWS if rows is not None else (size or 0) >= STREAM_BYTES
    return is_large and run.router.route(rows or STREAM_ROWS).counts_lines


def _is_recorded(connection: Connection, run: Run, batch_id: str) -> bool:
    """Whether a batch has the id, or rows of the content were left behind: then there is more to decide."""
    if ledger.target_of(connection, batch_id):
        return True
    own = run.own_checksum
    return own is not None and bool(ledger.left_behind(connection, run.target.name, batch_id, own))


def _send(run: Run, found: FirstPass, batches: Generator[Kept, None, None]) -> ledger.Batch | None:
    first = next(batches, None)
    if first is None or not first.rows.num_rows:
        return None
    entry = run.new_batch(found)
    sending = _Sending(run.target, entry.batch_id, first, batches, found)
    write = _StreamedAppend(run, entry, first.months, sending)
    del first  # a batch may be large, and is not needed once it is sent
    try:
        write.prepare()
        return cast(ledger.Batch, run_transaction(entry, write))
    except (*SERVER_ERRORS, GpwarehouseError, TimeoutError) as error:
        if sending.failure is not None:
            raise sending.failure from None
        why = str(error) if isinstance(error, GpwarehouseError) else type(error).__name__  # other errors quote the row
        _log.info("batch %s of %s could not be streamed and is read again: %s", entry.batch_id, run.target.name, why)
        return None


@dataclass
class _StreamedAppend:
    """The :class:`~gpwarehouse.batches.exactly_once.Write` whose rows are sent before the batch is locked."""

    run: Run
    entry: NewBatch
    first_months: frozenset[datetime]
    sending: _Sending

    def prepare(self) -> None:
        """Make the months of the first rows. If a later row needs another one, the load cannot be streamed."""
        self.run.months += tuple(ensure_months(self.run.engine, self.run.target.table, self.first_months))

    def transact(self, store: Store, finish: Finish) -> None:
        """Send the rows; when all are read, go on as in any load."""
        run, entry, table = self.run, self.entry, self.run.target.table
        with run.engine.begin() as connection:
            leave_statistics_alone(connection)
            self.sending.months = {month.name for month in partitions_there(connection, table)}
            with ahead(self.sending.rows(), PATIENCE_S) as rows:
                run.stored = copy_rows(connection, table, rows, self.sending.columns)
            if run.own_checksum is not None and not entry.found.are_read:
                raise _CannotStream("a value cannot be read, so the content has another checksum")
            entry.check_rejects()
            run.make_members(entry.found, entry.batch_id, _engine_with_timeout(run))
            batch_id = entry.batch_id
            if not store(connection) or (entry.batch_id, entry.replaced) != (batch_id, None):
                raise _CannotStream("its content, or its id, was loaded before")
            finish(connection)

    def store(self, connection: Connection) -> None:
        """Look whether other rows of the content exist; the rows themselves have been sent."""
        entry = self.entry
        if ledger.left_behind(connection, entry.target, entry.batch_id, entry.checksum):
            raise _CannotStream("a failed load left rows of the same content, or other batches hold them")

    def finish(self, connection: Connection) -> ledger.Written:
        """Write what the rows tell of members."""
        run, found = self.run, self.entry.found
        run.check_stored(found)
        run.learn(connection, found, self.entry.batch_id)
        run.options.report("copy", found.rows_to_load)
        return ledger.Written(found.rows_to_load)


def _is_at_hand(source: Any) -> bool:
    """Whether it is a frame in memory or a file, which never waits for other processes."""
    frame = getattr(source, "frame", None)
    return isinstance(frame, TableFiles) or (hasattr(frame, "columns") and hasattr(frame, "__len__"))


def _is_in_memory(frame: Any) -> bool:
    """Whether the frame holds its rows as Arrow data or nearly so, and they are the same each time they are read.

    Converting Python objects to Arrow, or structs and lists to JSON, takes as long as checking them.
    """
    if isinstance(frame, pa.Table | pa.RecordBatch):
        return not any(map(is_nested, frame.schema.types))
    library, dtypes = type(frame).__module__.partition(".")[0], list(getattr(frame, "dtypes", ()))
    if library == "polars":
        return not any(dtype.is_nested() or dtype.is_object() for dtype in dtypes)
    return library == "pandas" and not any(
        str(dtype) == "object" or is_nested(getattr(dtype, "pyarrow_dtype", pa.null())) for dtype in dtypes
    )


def _engine_with_timeout(run: Run) -> Engine:
    """The run's engine, which waits for a lock no longer than :data:`PATIENCE_S`."""
    engine = run.engine.execution_options()
    timeout = session_values({"lock_timeout_s": min(PATIENCE_S, run.settings.lock_timeout_s or PATIENCE_S)})
    event.listen(engine, "begin", lambda connection: set_for_transaction(connection, timeout))
    return engine


class _Sending:
    """The rows of a load while they are sent, beginning with ``first``.

    :ivar columns: columns to be sent.
    :ivar months: names of the partitions that exist.
    :ivar failure: the error that the source raised.
    """

    def __init__(
        self, target: Target, batch_id: str, first: Kept, batches: Generator[Kept, None, None], found: FirstPass
    ) -> None:
        filled = {name for name in first.rows.schema.names if first.rows.column(name).null_count < first.rows.num_rows}
        given = found.given.some | ({SET_KEY, MEASURED} if PARAMETERS in found.given.some else set())
        self.columns = columns_to_copy(target, filled | (given & set(target.columns)))
        self.months: set[str] = set()
        self.failure: BaseException | None = None
        self._batch_id = batch_id
        self._batches: Iterator[Kept] = chain([first], batches)

    def rows(self) -> Iterator[pa.RecordBatch]:
        """Yield the rows with the batch's id.

        :raises GpwarehouseError: rows cannot be streamed, or the source raised an error.
        """
        while True:
            try:
                kept = next(self._batches, None)
            except BaseException as error:
                self.failure = error
                raise
            if kept is None:
                return
            rows = self._add_batch_id(kept)
            del kept
            yield rows
            del rows

    def _add_batch_id(self, kept: Kept) -> pa.RecordBatch:
        missing = {month_partition(month).name for month in kept.months} - self.months
        if missing:
            raise _CannotStream(f"there is no partition {', '.join(sorted(missing))}")
        rows = kept.rows
        late = [n for n in rows.schema.names if n not in self.columns and rows.column(n).null_count < rows.num_rows]
        if late:
            raise _CannotStream(f"{', '.join(late)} had no value in the first rows, and has one later")
        return rows.append_column("batch_id", pa.repeat(pa.scalar(self._batch_id, pa.string()), rows.num_rows))


@contextmanager
def _permit(engine: Engine) -> Iterator[bool]:
    state = pool_state(engine.pool)
    if state is None:  # the engine has no pool with a limit
        yield True
        return
    permits = _permits.setdefault(engine.pool, threading.Semaphore(state.limit // 2))
    if not permits.acquire(blocking=False):
        yield False
        return
    try:
        yield True
    finally:
        permits.release()
