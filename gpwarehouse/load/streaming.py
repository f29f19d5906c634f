"""Rows sent while the rest of the source is still being read, where the batch's id is known beforehand.

A large frame or file whose batch id the caller gave need not be read to its end before the first row goes: the server
stores while the next rows are checked. So need a frame in memory whose id is its content's: that is hashed first. What must
be known before a commit is known by then, under the same locks and in the same transaction as ever. Nothing is settled here
that is not plain: where a month is missing, a row is rejected by the server, the batch turns out to be loaded, the
connection breaks, a lock or the next rows are long in coming, or too many rows are bad, the transaction is rolled back and
the source is read anew, from its beginning, as if this had not been. So no row need be kept.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import pyarrow as pa
from sqlalchemy import Engine, event, exc
from sqlalchemy.engine import Connection

from gpwarehouse.batches import ledger
from gpwarehouse.dialect.options import month_partition
from gpwarehouse.engine import RetryPolicy, pool_state, session_values, set_for_transaction
from gpwarehouse.errors import GpwarehouseError
from gpwarehouse.intake.arrow_layouts import is_nested
from gpwarehouse.intake.checksum import batch_id_for, checksum_of
from gpwarehouse.intake.first_pass import FirstPass, Kept, begin_reading
from gpwarehouse.intake.table_files import TableFiles
from gpwarehouse.intake.target import Target
from gpwarehouse.months import partitions_there
from gpwarehouse.months.ensure import ensure_months
from gpwarehouse.transport import ahead, copy_rows, leave_statistics_alone

if TYPE_CHECKING:
    from gpwarehouse.load.loader import Loader, Run
    from gpwarehouse.load.result import LoadResult

__all__ = ["EARLY_ROWS", "Early", "checksum_beforehand", "send_early"]

EARLY_ROWS = 200_000
"""Rows from which it is worth it; of files that do not tell, :data:`EARLY_BYTES`."""
EARLY_BYTES = 32 << 20

PATIENCE_S = 20
"""How long the open transaction, which keeps the fact locked, waits for the next rows, or another connection of the load for
a lock. Whoever has that lock may be waiting for the fact: a deadlock that no server can see, as half of it is here."""
_log = logging.getLogger(__name__)
_permits: WeakKeyDictionary[Any, threading.Semaphore] = WeakKeyDictionary()
"""Of each pool: half its connections. A load that has one open for long needs another now and then, and must get it."""
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_permits.clear)  # what the parent's threads hold nobody there gives back


class _NotNow(GpwarehouseError):
    """The load has to be done in the plain way; the message says why."""


@dataclass(frozen=True)
class Early:
    """What was loaded so, and what reading it found."""

    result: LoadResult
    found: FirstPass


def send_early(loader: Loader, run: Run) -> Early | None:
    """Load while reading; None where nothing was changed and the load is still to be done.

    :raises GpwarehouseError: what the source raises.
    """
    batch_id = _known_id(loader, run)
    if batch_id is None:
        return None
    with _permit(loader.engine) as permitted:
        if not permitted:
            return None
        found, batches = begin_reading(run.source, run.target, loader.engine, loader.settings, run.options, keep=False)
        with found.given_up(), closing(batches):
            result = _sent(loader, run, found, batches, batch_id)
        if result is not None:
            return Early(result, found)
        found.close()
    return None


def _sent(
    loader: Loader, run: Run, found: FirstPass, batches: Generator[Kept, None, None], batch_id: str
) -> LoadResult | None:
    first = next(batches, None)
    if first is None or not first.rows.num_rows:
        return None
    months = first.months
    sending = _Sending(run.target, batch_id, first, batches, found)
    del first  # a batch may be large, and nobody needs it once it is sent
    try:
        run.months += tuple(ensure_months(loader.engine, run.target.table, months))
        with loader.engine.begin() as connection:
            return run.result(_transaction(connection, loader, run, found, sending))
    except (exc.SQLAlchemyError, loader.engine.dialect.loaded_dbapi.Error, GpwarehouseError, TimeoutError) as error:
        if sending.failure is not None:
            raise sending.failure from None
        told = str(error) if isinstance(error, GpwarehouseError) else type(error).__name__  # others quote the row
        _log.info("batch %s of %s is read anew and loaded after that: %s", batch_id, run.target.name, told)
        return None


def may_begin_early(loader: Loader, run: Run) -> bool:
    """Whether the load is of the plain kind, large, and at hand."""
    if not loader.begins_early or run.options.parallel > 1 or not _is_at_hand(run.source):
        return False
    rows, size = run.source.extent()  # type: ignore[attr-defined]
    is_large = rows >= EARLY_ROWS if rows is not None else (size or 0) >= EARLY_BYTES
    return is_large and loader.router.route(rows or EARLY_ROWS).counts_lines


def checksum_beforehand(loader: Loader, run: Run) -> str | None:
    """The checksum of what may be sent early, if it makes the batch's id and is quickly had: of a frame in memory.

    :raises InvalidInputError: the frame does not fit the target.
    """
    frame = getattr(run.source, "frame", None)
    if run.options.batch_id is not None or not _is_in_memory(frame) or not may_begin_early(loader, run):
        return None
    return checksum_of(run.source.batches(), run.target)


def _known_id(loader: Loader, run: Run) -> str | None:
    """The batch's id, if it is known, the load may begin early, and the id is nobody's so far."""
    batch_id = run.options.batch_id
    if batch_id is None and run.has_own_id:
        batch_id = batch_id_for(run.target.name, str(run.source.checksum))
    if batch_id is None or not may_begin_early(loader, run):
        return None

    def is_recorded() -> bool:
        with loader.engine.connect() as connection:
            if ledger.is_recorded(connection, batch_id):
                return True
            told = (run.target.name, batch_id, str(run.source.checksum))
            return run.has_own_id and bool(ledger.left_behind(connection, *told))

    policy = RetryPolicy.once_met(loader.settings, loader.engine)
    return None if policy.call("look whether a batch is recorded", is_recorded) else batch_id


def _is_at_hand(source: Any) -> bool:
    """Whether it is a frame in memory or a file, which never waits for others."""
    frame = getattr(source, "frame", None)
    return isinstance(frame, TableFiles) or (hasattr(frame, "columns") and hasattr(frame, "__len__"))


def _is_in_memory(frame: Any) -> bool:
    """Whether it holds its rows, which are the same whenever they are read, as Arrow or nearly so.

    To make Arrow of Python's objects, or JSON of structs and lists, takes as long as to check them.
    """
    if isinstance(frame, pa.Table | pa.RecordBatch):
        return not any(map(is_nested, frame.schema.types))
    library, dtypes = type(frame).__module__.partition(".")[0], list(getattr(frame, "dtypes", ()))
    if library == "polars":
        return not any(dtype.is_nested() or dtype.is_object() for dtype in dtypes)
    return library == "pandas" and not any(
        str(dtype) == "object" or is_nested(getattr(dtype, "pyarrow_dtype", pa.null())) for dtype in dtypes
    )


def _transaction(connection: Connection, loader: Loader, run: Run, found: FirstPass, sending: _Sending) -> ledger.Batch:
    leave_statistics_alone(connection)
    table = run.target.table
    sending.months = {month.name for month in partitions_there(connection, table)}
    with ahead(sending.rows(), PATIENCE_S) as rows:
        run.stored = copy_rows(connection, table, rows, sending.columns)
    if run.has_own_id and not found.are_read:
        raise _NotNow("a value cannot be read, and the content's checksum is another")
    batch = loader.batch_of(run, found)
    loader.check_rejects(run, found, batch.batch_id)
    loader.prepare_members(run, found, batch, _impatient(loader))
    ledger.lock_batch(connection, batch.target, batch.batch_id, batch.checksum)
    if ledger.left_behind(connection, batch.target, batch.batch_id, batch.checksum):
        raise _NotNow("rows of the same are there, left by a load that failed or in other batches")
    verdict = loader.judged(connection, run, batch.batch_id, batch.checksum)
    if (verdict.batch_id, verdict.loaded, verdict.replaced) != (batch.batch_id, None, None):
        raise _NotNow("its content, or its id, was loaded before")
    loader.finish(connection, run, found, batch)
    ledger.record_loaded(connection, batch, found.all_rejects())
    run.options.report("copy", batch.rows_loaded)
    return batch


def _impatient(loader: Loader) -> Engine:
    """The loader's engine, waiting for no lock longer than :data:`PATIENCE_S`."""
    engine = loader.engine.execution_options()
    timeout = session_values({"lock_timeout_s": min(PATIENCE_S, loader.settings.lock_timeout_s or PATIENCE_S)})
    event.listen(engine, "begin", lambda connection: set_for_transaction(connection, timeout))
    return engine


class _Sending:
    """The rows of a load on their way, which begins with ``first``.

    :ivar columns: to be sent. ``months``: names of the partitions that are there.
    :ivar failure: what the source raised.
    """

    def __init__(
        self, target: Target, batch_id: str, first: Kept, batches: Generator[Kept, None, None], found: FirstPass
    ) -> None:
        from gpwarehouse.load.loader import columns_to_copy

        filled = {name for name in first.rows.schema.names if first.rows.column(name).null_count < first.rows.num_rows}
        self.columns = columns_to_copy(target, filled | (found.given.some & set(target.columns)))
        self.months: set[str] = set()
        self.failure: BaseException | None = None
        self._batch_id = batch_id
        self._batches: Iterator[Kept] = chain([first], batches)

    def rows(self) -> Iterator[pa.RecordBatch]:
        """The rows with the batch's id.

        :raises GpwarehouseError: some cannot be sent so, or the source's error.
        """
        while True:
            try:
                kept = next(self._batches, None)
            except BaseException as error:
                self.failure = error
                raise
            if kept is None:
                return
            rows = self._sent(kept)
            del kept
            yield rows
            del rows

    def _sent(self, kept: Kept) -> pa.RecordBatch:
        missing = {month_partition(month).name for month in kept.months} - self.months
        if missing:
            raise _NotNow(f"there is no partition {', '.join(sorted(missing))}")
        rows = kept.rows
        late = [n for n in rows.schema.names if n not in self.columns and rows.column(n).null_count < rows.num_rows]
        if late:
            raise _NotNow(f"values of {', '.join(late)} came late")
        return rows.append_column("batch_id", pa.repeat(pa.scalar(self._batch_id, pa.string()), rows.num_rows))


@contextmanager
def _permit(engine: Engine) -> Iterator[bool]:
    state = pool_state(engine.pool)
    if state is None:  # no pool that could run out
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
