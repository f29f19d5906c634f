"""A load from end to end: check rows, resolve keys, make months and members, COPY, commit with the batch's row.

The first pass checks the rows, resolves their keys and keeps them in a spool, because months and members must exist before the
transaction that writes rows begins. The second pass copies the spool. Memory is bounded by the batch. If the batch's id is known
beforehand, one pass checks and stores: :mod:`gpwarehouse.load.streaming`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Unpack

import pyarrow as pa
from sqlalchemy import exc
from sqlalchemy.engine import Connection, Engine

from gpwarehouse.batches import ledger
from gpwarehouse.batches.conflicts import Verdict, delete_leftovers, delete_rows, hold, judge
from gpwarehouse.batches.moved_records import refuse_doubles
from gpwarehouse.batches.reject_limit import refuse_rejects
from gpwarehouse.dimensions.histories import Provenance
from gpwarehouse.dimensions.members import insert_missing, learn
from gpwarehouse.dimensions.parameter_sets import insert_missing_sets
from gpwarehouse.engine import RetryPolicy
from gpwarehouse.engine.server_errors import as_load_error
from gpwarehouse.errors import GpwarehouseError, LoadError
from gpwarehouse.intake.checksum import batch_id_for, checksum_of
from gpwarehouse.intake.first_pass import FirstPass, Source, read_source
from gpwarehouse.intake.load_options import LoadKeywords, LoadOptions
from gpwarehouse.intake.table_files import TableFiles
from gpwarehouse.intake.target import Target, target_named
from gpwarehouse.load.frame_source import FrameSource
from gpwarehouse.load.maintenance import Upkeep
from gpwarehouse.load.refused_rows import store_all_but_refused
from gpwarehouse.load.result import LoadResult
from gpwarehouse.load.streaming import checksum_beforehand, stream_load
from gpwarehouse.models.calendar import ShiftCalendar
from gpwarehouse.months.ensure import ensure_months
from gpwarehouse.months.hours import ensure_hours
from gpwarehouse.settings import WarehouseSettings
from gpwarehouse.transport import Address, Route, Router, Stored, leave_statistics_alone

__all__ = ["Loader", "Run", "add_batch_id", "columns_to_copy", "provenance_of"]


@dataclass
class Run:
    """One call of :meth:`Loader.load`.

    :ivar has_own_id: whether the checksum was computed before the rows were checked, and the batch's id derived from it.
    """

    source: Source
    target: Target
    options: LoadOptions
    has_own_id: bool = False
    started: float = field(default_factory=time.monotonic)
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    months: tuple[str, ...] = ()
    members: int = 0
    learned: int = 0
    batch_id: str | None = None
    source_checksum: str | None = None
    replaced: Any = None
    scattered: list[Any] = field(default_factory=list)
    rows_replaced: int = 0
    stored: Stored | None = None
    found: FirstPass | None = None
    phases: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Measure the time of a phase."""
        started = time.monotonic()
        yield
        self.phases[name] = time.monotonic() - started

    @property
    def seconds(self) -> float:
        """Seconds since the call began."""
        return time.monotonic() - self.started

    def result(self, row: Any) -> LoadResult:
        """Make the result from the batch's row. If the row did not begin with this run, another run loaded the batch."""
        seconds, warnings = self.seconds, tuple(self.source.warnings())
        if row.started_at != self.started_at:
            counts = (row.rows_read, 0, row.rows_rejected)
            return LoadResult(row.batch_id, row.target, *counts, True, seconds, warnings=warnings)
        counts = (row.rows_read, row.rows_loaded, row.rows_rejected)
        sent = self.stored or Stored(0, 0, "")
        values = self.source.values()
        stored = self.found.values if self.found is not None else 0
        return LoadResult(
            *(row.batch_id, row.target, *counts, False, seconds, self.months, self.members + self.learned),
            *(sent.transport, sent.reason, sent.bytes, self.phases, self.rows_replaced),
            warnings=warnings,
            values_stored=stored,
            values_left_out=values.left_out + max(0, values.stored - stored),
        )


class Loader:
    """Loads sources into the facts of one warehouse.

    :param engine: a pooled engine of the warehouse.
    :param settings: event window, reject limit, facility, patterns for wafers and lots.
    """

    may_stream = True
    """Whether rows may be sent before all are read: :mod:`gpwarehouse.load.streaming`."""
    _emptied_is_loaded = True
    """Whether content counts as loaded after its rows were removed with their months."""

    def __init__(self, engine: Engine, settings: WarehouseSettings) -> None:
        self.engine = engine
        self.settings = settings
        self.calendar = ShiftCalendar.build(**settings.calendar_options())
        address = Address(settings.gpfdist_host, settings.ports_to_serve())
        self.router = Router(engine, settings.transport, address)

    def load(self, source: Source, **options: Unpack[LoadKeywords]) -> LoadResult:
        """Load a source once.

        :param batch_id: the caller's own id. Without it, the id is derived from target and content, so the content must first be
            read to its end: a frame in memory is hashed before its rows are checked, another source is checked to its end.
        :param on_conflict: what to do if this content, or this id, was loaded before. ``"skip"`` does nothing, and refuses an id
            that belongs to other content. ``"error"`` raises. ``"append"`` loads the content again as a batch of its own (without
            an id it gets one with a number appended). ``"replace"`` deletes the rows of the batch and loads this content in its
            place, in one transaction.
        :param max_rejects: number of rejects, or their share of the rows read, above which nothing is loaded; by default the
            setting. If all rows are rejected, nothing is loaded in any case.
        :param progress: called with phase and rows, also from other threads: :data:`gpwarehouse.engine.progress.Progress`.
        :param parallel: number of connections that COPY at the same time, up to 16; all but one use a staging table. The
            default is the setting ``load_parallel``.
        :param atomic: if False, these connections write into the fact and commit on their own, before the batch counts as
            loaded. If the load fails in between, their rows stay until the same content is loaded again in any way, or until
            ``wh.batches.delete`` deletes them.
        :param parameter_names: names of the elements of a frame's column ``measured``, whose values are lists of numbers.
        :param parameter_prefix: beginning of the names of a frame's columns that hold measured values, e.g. ``"p_"``: column
            ``p_vth`` holds those of ``vth``.
        :param analyze: ``"auto"``, ``"always"`` or ``"never"``: when to gather statistics after the commit; by default the
            setting.
        :raises InvalidInputError: the target, a column or an option is unknown.
        :raises TooManyRejectsError: more rows were rejected than allowed, or all; they are in ``etl_reject``.
        :raises BatchConflictError: ``batch_id`` was loaded before with other content; or other batches now hold records of the
            batch (``wh.facts.upsert``, ``wh.facts.replace_month``), which would be stored twice.
        :raises KeyCollisionError: two natural keys have one durable key.
        :raises WarehouseConnectionError: the server cannot be reached.
        :raises LoadError: the server refused; nothing of the batch was loaded.
        """
        target = self._target(source)
        options.setdefault("parallel", self.settings.load_parallel)
        run = Run(source, target, LoadOptions(**options))
        try:
            return self._load(run)
        except (exc.SQLAlchemyError, self._driver_error_class()) as error:
            raised = as_load_error(self.settings, target.name, error)
        raise raised  # outside the handler: the driver's error, which quotes the row, must not be chained

    def _target(self, source: Source) -> Target:
        return target_named(source.target)

    def _load(self, run: Run) -> LoadResult:
        source = run.source
        with run.phase("read"):
            if source.checksum is None and (own := checksum_beforehand(self, run)) is not None:
                run.source, run.has_own_id = replace(source, checksum=own), True  # type: ignore[type-var]
            checksum = run.source.checksum
            if checksum is not None:  # content that was loaded before is not read again
                batch_id = run.options.batch_id or batch_id_for(run.target.name, checksum)
                verdict = self._decide_alone(run, batch_id, checksum)
                if verdict.loaded is not None:
                    return run.result(verdict.loaded)
            recognised = self._find_loaded(run)
            if recognised is not None:
                return run.result(recognised)
            streamed = stream_load(self, run)
            if streamed is None:
                run.source, run.has_own_id = source, False
                found = run.found = read_source(run.source, run.target, self.engine, self.settings, run.options)
        if streamed is not None:
            with streamed.found:
                return self._maintain(run, streamed.found, streamed.result)
        with found:
            batch = self.batch_of(run, found)
            verdict = self._decide_alone(run, batch.batch_id, batch.checksum)
            if verdict.loaded is not None:
                return run.result(verdict.loaded)
            run.batch_id = verdict.batch_id
            batch = self.batch_of(run, found)
            # Rows that other connections have already committed would be stored twice.
            policy = RetryPolicy.of(self.settings, 0 if run.options.commits_apart else None)
            what = f"load of batch {batch.batch_id} into {batch.target}"
            return self._maintain(run, found, policy.call(what, self._write, run, found, batch))

    def _find_loaded(self, run: Run) -> Any | None:
        """Find the batch in which the source's files of tables are already loaded, without checking their rows.

        It is told by their bytes, or else by their content, which is hashed if a loaded batch has as many rows. The result is
        None if there is no such batch, or if it is not known.
        """
        source = run.source
        # An upsert, a deletion or a replacement of the same files is another operation.
        if not self.may_stream or not (isinstance(source, FrameSource) and isinstance(source.frame, TableFiles)):
            return None
        run.source_checksum = source.frame.checksum()
        checksum = self._look_up(ledger.content_of_files, run.target.name, run.source_checksum)
        checksum = checksum or self._hash_content(run, source)
        if checksum is None:
            return None
        return self._decide_alone(run, run.options.batch_id or batch_id_for(run.target.name, checksum), checksum).loaded

    def _hash_content(self, run: Run, source: FrameSource) -> str | None:
        """The checksum of the content of files, if a loaded batch may have the same."""
        if run.options.batch_id is not None and not self._look_up(ledger.target_of, run.options.batch_id):
            return None  # most likely the id is new; then the files are read only once
        rows, _ = source.extent()
        rows = sum(batch.num_rows for batch in source.batches()) if rows is None else rows
        return (
            checksum_of(source.batches(), run.target)
            if self._look_up(ledger.has_loaded, run.target.name, rows)
            else None
        )

    def _look_up(self, look: Callable[..., Any], *names: Any) -> Any:
        """Look something up on a connection of its own."""

        def once() -> Any:
            with self.engine.connect() as connection:
                return look(connection, *names)

        return RetryPolicy.once_met(self.settings, self.engine).call("look whether a batch is loaded", once)

    def batch_of(self, run: Run, found: FirstPass) -> ledger.Batch:
        """The batch, as far as the first pass knows it."""
        name = run.target.name
        return ledger.Batch(
            batch_id=run.batch_id or run.options.batch_id or batch_id_for(name, found.checksum),
            target=name,
            source_system=run.source.source_system,
            source=run.source.source_file or None,
            checksum=found.checksum,
            rows_read=found.rows_read,
            rows_loaded=found.rows_to_load,
            rows_rejected=found.rows_rejected,
            min_event_ts=found.first,
            max_event_ts=found.last,
            started_at=run.started_at,
            source_checksum=run.source_checksum,
        )

    def _decide_alone(self, run: Run, batch_id: str, checksum: str) -> Verdict:
        def decide() -> Verdict:
            with self.engine.connect() as connection:
                return self.decide(connection, run, batch_id, checksum)

        return RetryPolicy.once_met(self.settings, self.engine).call("look whether a batch is loaded", decide)

    def decide(self, connection: Connection, run: Run, batch_id: str, checksum: str) -> Verdict:
        """Decide what to do with the content under the id: :func:`gpwarehouse.batches.conflicts.judge`."""
        named = run.options.batch_id is not None
        names = (run.options.on_conflict, run.target.name, batch_id, checksum)
        return judge(connection, *names, named=named, started_at=run.started_at, emptied=self._emptied_is_loaded)

    def _write(self, run: Run, found: FirstPass, batch: ledger.Batch) -> LoadResult:
        """Run the second pass: first months and members, then rows and the batch's row in one transaction.

        It may run again after an error that is safe to repeat: the batch's row says whether it is loaded already.
        """
        try:
            self.check_rejects(run, found, batch.batch_id)
            run.options.report("prepare", 0)
            with run.phase("prepare"):
                self._prepare(run, found, batch)
            connections, atomic = run.options.parallel, run.options.atomic
            route = self.router.route(batch.rows_loaded, connections=connections, atomic=atomic)
            with run.phase("copy"):
                return run.result(self._run_transaction(run, found, batch, route))
        except (exc.SQLAlchemyError, LoadError, self._driver_error_class()) as error:
            raised, failed = self._make_error(run, error), self.batch_of(run, found)
            loaded = self._record_failure(failed, found, raised)
            if loaded is not None and self._is_done(run, loaded, failed):
                return run.result(loaded)
        raise raised

    def _make_error(self, run: Run, error: Exception) -> GpwarehouseError:
        """Make the error to raise. If connections commit on their own, rows may already be stored, and it says so."""
        if not run.options.commits_apart:
            return as_load_error(self.settings, run.target.name, error)
        undone = (
            "rows may already be stored; load the same content again, or delete the batch (wh.batches.delete): both delete these "
            "rows first"
        )
        raised = as_load_error(self.settings, run.target.name, error, undone)
        raised.safe_to_repeat = None
        return raised

    def _run_transaction(self, run: Run, found: FirstPass, batch: ledger.Batch, route: Route) -> Any:
        """Run the load's transaction; return the batch's row. If another load was faster, it is that load's row."""
        with self.engine.begin() as connection:
            ledger.lock_batch(connection, batch.target, batch.batch_id, batch.checksum)
            verdict = self.decide(connection, run, batch.batch_id, batch.checksum)
            if verdict.loaded is not None:
                return verdict.loaded
            run.batch_id, run.replaced, run.rows_replaced = verdict.batch_id, verdict.replaced, 0
            batch = replace(batch, batch_id=verdict.batch_id)
            leave_statistics_alone(connection)
            table, partition_column = run.target.table, run.target.partition_column
            if run.replaced is not None:
                run.replaced = hold(connection, table, run.replaced)
            left = self._find_leftovers(connection, run, batch)
            refuse_doubles(connection, run.target, batch.batch_id, found, run.scattered)
            if run.replaced is not None:
                run.rows_replaced = delete_rows(connection, table, partition_column, run.replaced, run.months)
            self._delete_leftovers(connection, run, batch, left)
            return self._copy(connection, run, found, batch, route)

    def _find_leftovers(self, connection: Connection, run: Run, batch: ledger.Batch) -> list[Any]:
        """Find failed batches of the same content that left rows; those with records in other batches go to ``run.scattered``."""
        rows = ledger.left_behind(connection, batch.target, batch.batch_id, batch.checksum)
        run.scattered = [row for row in rows if not ledger.has_left(row)]
        if run.replaced is not None and ledger.are_scattered(run.replaced):
            run.scattered.append(run.replaced)
        if run.scattered and run.options.commits_apart:
            raise LoadError(
                f"{batch.target}: other batches may hold records of batch {run.scattered[0].batch_id!r}. Rows that connections "
                "commit on their own cannot be compared with them. Nothing was loaded; load it with atomic=True"
            )
        return [row for row in rows if ledger.has_left(row)]

    def _delete_leftovers(self, connection: Connection, run: Run, batch: ledger.Batch, left: list[Any]) -> None:
        """Delete the rows that failed loads of the same content left; record that connections of this load may leave rows too."""
        by = f"batch {batch.batch_id}"
        if not run.options.commits_apart:
            for row in left:
                delete_leftovers(connection, run.target.partition_column, row, by)
            return
        if left:  # a separate transaction: its lock must be released before other connections write to the fact
            with self.engine.begin() as other:
                for row in left:
                    delete_leftovers(other, run.target.partition_column, row, by)
        ledger.announce(self.engine, batch)

    def _prepare(self, run: Run, found: FirstPass, batch: ledger.Batch) -> None:
        if found.first is None:  # no row to load
            return
        run.months += tuple(
            ensure_months(self.engine, run.target.table, found.months)
        )  # an earlier attempt may have made some
        self.prepare_members(run, found, batch)

    def prepare_members(self, run: Run, found: FirstPass, batch: ledger.Batch, engine: Engine | None = None) -> None:
        """Make the missing hours, lists of parameters and members that the rows need, in transactions of their own.

        :param engine: the engine to use; by default the loader's own.
        """
        if found.first is None:
            return
        ensure_hours(engine or self.engine, found.months, self.calendar)
        provenance = provenance_of(batch, found.first)
        insert_missing_sets(engine or self.engine, found.parameter_sets, found.array_lengths, provenance)
        run.members += insert_missing(engine or self.engine, found.resolver.members, provenance)

    def _copy(
        self, connection: Connection, run: Run, found: FirstPass, batch: ledger.Batch, route: Route
    ) -> ledger.Batch:
        """Store the rows, what they tell of members, and the batch's row."""
        allowed = self._count_allowed(run, found) - found.rows_rejected
        check = partial(self.check_rejects, run, found, batch.batch_id)
        batch = self._store(connection, run, found, batch, route, allowed, check)
        ledger.record_loaded(connection, batch, found.all_rejects(), ledger.still_scattered(run.scattered))
        return batch

    def _store(
        self,
        connection: Connection,
        run: Run,
        found: FirstPass,
        batch: ledger.Batch,
        route: Route,
        allowed: int,
        check_limit: Callable[[], None],
    ) -> ledger.Batch:
        """Store the rows, and what they tell of members; return the batch with the counted rows."""
        columns = columns_to_copy(run.target, found.rows.filled)
        rows = partial(add_batch_id, found, batch.batch_id, run.options)
        run.stored = store_all_but_refused(connection, route, run.target, columns, found, rows, allowed, check_limit)
        return self.finish(connection, run, found, batch)

    def finish(self, connection: Connection, run: Run, found: FirstPass, batch: ledger.Batch) -> ledger.Batch:
        """Store what the rows tell of members; return the batch with the counted rows.

        :raises LoadError: the server stored another number of rows than it was sent.
        """
        assert run.stored is not None
        batch = replace(batch, rows_loaded=found.rows_to_load, rows_rejected=found.rows_rejected)
        if run.stored.rows != batch.rows_loaded:
            raise LoadError(
                f"{batch.target}: {batch.rows_loaded} rows were sent, but the server stored {run.stored.rows}. Nothing was "
                "loaded. Check whether a trigger or rule on the table drops rows; if there is none, load again"
            )
        if found.first is not None:
            run.learned = learn(connection, found.resolver.members, provenance_of(batch, found.first))
        return batch

    def _maintain(self, run: Run, found: FirstPass, result: LoadResult) -> LoadResult:
        """Gather statistics and free space, after the commit."""
        if result.already_loaded:
            return result
        run.options.report("analyze", 0)
        upkeep = Upkeep(self.engine, run.target.table)
        with run.phase("analyze"):
            if run.rows_replaced:
                upkeep.vacuum(run.replaced.min_event_ts, run.replaced.max_event_ts)
            upkeep.analyze(found.months, run.options.analyze or self.settings.analyze)
        return replace(
            result,
            analyzed=tuple(upkeep.analyzed),
            vacuumed=tuple(upkeep.vacuumed),
            warnings=(*result.warnings, *upkeep.warnings),
        )

    def _count_allowed(self, run: Run, found: FirstPass) -> int:
        settings = self.settings
        if run.options.max_rejects is not None:
            settings = settings.model_copy(update={"max_rejects": run.options.max_rejects})
        return settings.rejects_allowed(found.rows_read)

    def check_rejects(self, run: Run, found: FirstPass, batch_id: str) -> None:
        """Refuse a load with more rejects than allowed, or without any good row.

        :raises TooManyRejectsError: there are too many; the message quotes the first of them.
        """
        refuse_rejects(found, self._count_allowed(run, found), batch_id, "nothing was loaded")

    def _driver_error_class(self) -> type[Exception]:
        error: type[Exception] = self.engine.dialect.loaded_dbapi.Error
        return error

    def _record_failure(self, batch: ledger.Batch, found: FirstPass, raised: GpwarehouseError) -> Any | None:
        """Record the failure, if the server can be reached; if the id is loaded, return the row of that batch."""
        try:
            return ledger.record_failure(self.engine, batch, found.all_rejects(), str(raised))
        except (exc.SQLAlchemyError, self._driver_error_class()) as second:
            words = str(getattr(second, "orig", None) or second).strip().splitlines()[0]
            raised.add_note(f"The failure could not be recorded in etl_load_batch either: {words}")
            return None

    @staticmethod
    def _is_done(run: Run, row: Any, batch: ledger.Batch) -> bool:
        """Whether the loaded batch makes the error harmless: it is this very load, or the same content with ``"skip"``."""
        if (row.target, row.checksum) != (batch.target, batch.checksum):
            return False
        return row.started_at == run.started_at or run.options.on_conflict == "skip"


def provenance_of(batch: ledger.Batch, since: datetime) -> Provenance:
    """The provenance of what a batch tells of members, whose first event is at ``since``."""
    return Provenance(batch.batch_id, batch.source_system, since)


def columns_to_copy(target: Target, filled: set[str]) -> tuple[str, ...]:
    """The columns to copy. Columns without a value are left out, which makes a frame with few columns much faster."""
    defaults = {column.name for column in target.table.columns if column.server_default is not None}
    return tuple(name for name in target.columns if name in filled or name in defaults or name == "batch_id")


def add_batch_id(found: FirstPass, batch_id: str, options: LoadOptions) -> Iterator[pa.RecordBatch]:
    """Yield the rows to load with the batch's id, and report how many have been sent."""
    options.begin("copy", lambda: (found.rows_to_load, found.rows.bytes))
    rows = 0
    for batch in found.sendable():
        yield batch.append_column("batch_id", pa.repeat(pa.scalar(batch_id, pa.string()), batch.num_rows))
        rows += batch.num_rows
        options.report("copy", rows)
