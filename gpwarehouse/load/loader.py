"""A load from end to end: validate, resolve keys, make months and members, COPY, commit with the batch's row.

The first pass validates and resolves and keeps the rows in a spool, because months and members must exist before the
transaction that writes rows begins; the second copies the spool. Memory is bounded by the batch. Where the batch's id is
known beforehand there is one pass that checks and stores: :mod:`gpwarehouse.load.streaming`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from gpwarehouse.engine import RetryPolicy
from gpwarehouse.engine.server_errors import as_load_error
from gpwarehouse.errors import GpwarehouseError, LoadError
from gpwarehouse.intake.checksum import batch_id_for, checksum_of
from gpwarehouse.intake.expected_columns import expected_of
from gpwarehouse.intake.first_pass import FirstPass, Source, read_source
from gpwarehouse.intake.frames import bytes_of, record_batches
from gpwarehouse.intake.load_options import LoadKeywords, LoadOptions, check_name
from gpwarehouse.intake.table_files import TableFiles, table_files
from gpwarehouse.intake.target import Target, target_named
from gpwarehouse.load.maintenance import Upkeep
from gpwarehouse.load.refused_rows import store_all_but_refused
from gpwarehouse.load.result import LoadResult
from gpwarehouse.load.streaming import checksum_beforehand, send_early
from gpwarehouse.models.calendar import ShiftCalendar
from gpwarehouse.months.ensure import ensure_months
from gpwarehouse.months.hours import ensure_hours
from gpwarehouse.settings import WarehouseSettings
from gpwarehouse.transport import Address, Route, Router, Stored, leave_statistics_alone

__all__ = ["FrameSource", "Loader", "Run", "Source", "columns_to_copy", "provenance_of", "with_batch"]


@dataclass
class FrameSource:
    """A frame as a source: its rows, and nothing known of its members."""

    frame: Any
    target: str
    source_system: str = "FRAME"
    source_file: str = ""
    checksum: str | None = None

    def __post_init__(self) -> None:
        check_name("source_system", self.source_system)
        self.frame = table_files(self.frame)
        if isinstance(self.frame, TableFiles) and not self.source_file:
            self.source_file = self.frame.paths[0].name if len(self.frame.paths) == 1 else ""

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The frame in record batches."""
        target = self.taker()
        return record_batches(self.frame, target.json_columns, expected_of(target))

    def taker(self) -> Target:
        """What the rows are checked against."""
        return target_named(self.target)

    def members(self) -> Mapping[str, list[dict[str, Any]]]:
        """Nothing."""
        return {}

    def warnings(self) -> Sequence[str]:
        """None."""
        return ()

    def extent(self) -> tuple[int | None, int | None]:
        """Rows and bytes, as far as the frame tells without being read."""
        if isinstance(self.frame, TableFiles):
            return self.frame.extent()
        rows = len(self.frame) if hasattr(self.frame, "__len__") else None
        return rows, bytes_of(self.frame)


def files_checksum(source: Source) -> str | None:
    """The checksum of the bytes of a source's files and of how they are read; None where it is no files of tables."""
    frame = getattr(source, "frame", None)
    return frame.checksum() if isinstance(frame, TableFiles) else None


@dataclass
class Run:
    """One call of :meth:`Loader.load`.

    :ivar has_own_id: the source's checksum was taken before its rows were checked, and its id is made of it.
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
    phases: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count the time of a phase."""
        started = time.monotonic()
        yield
        self.phases[name] = time.monotonic() - started

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self.started

    def result(self, row: Any) -> LoadResult:
        """What the batch's row says of it; it is another run's unless it began when this one did."""
        seconds, told = self.seconds, tuple(self.source.warnings())
        if row.started_at != self.started_at:
            counts = (row.rows_read, 0, row.rows_rejected)
            return LoadResult(row.batch_id, row.target, *counts, True, seconds, warnings=told)
        counts = (row.rows_read, row.rows_loaded, row.rows_rejected)
        sent = self.stored or Stored(0, 0, "")
        return LoadResult(
            *(row.batch_id, row.target, *counts, False, seconds, self.months, self.members + self.learned),
            *(sent.transport, sent.reason, sent.bytes, self.phases, self.rows_replaced),
            warnings=told,
        )


class Loader:
    """Loads sources into the facts of one warehouse.

    :param engine: a pooled engine of the warehouse.
    :param settings: event window, reject limit, facility, patterns for wafers and lots.
    """

    begins_early = True
    """Whether rows may be sent before all are read: :mod:`gpwarehouse.load.streaming`."""
    _emptied_is_loaded = True
    """Whether content whose rows went with their months is kept from coming back."""

    def __init__(self, engine: Engine, settings: WarehouseSettings) -> None:
        self.engine = engine
        self.settings = settings
        self.calendar = ShiftCalendar.build(**settings.calendar_options())
        address = Address(settings.gpfdist_host, settings.ports_to_serve())
        self.router = Router(engine, settings.transport, address)

    def load(self, source: Source, **options: Unpack[LoadKeywords]) -> LoadResult:
        """Load a source once.

        :param batch_id: the caller's own id; otherwise one is derived from target and content, which has to be read to its
            end first: frames in memory are hashed before their rows are checked, others are checked to their end.
        :param on_conflict: where this content, or this id, was loaded before: ``"skip"`` does nothing, and refuses an id
            that stands for other content; ``"error"`` raises; ``"append"`` loads the content again as a batch of its own
            (without an id it gets one with a number behind it); ``"replace"`` deletes what the batch had loaded and loads
            this in its place, in one transaction.
        :param max_rejects: count, or share of the rows read, above which nothing is loaded; else as in settings. Where all
            rows read are rejected nothing is loaded whatever it says.
        :param progress: called with phase and rows, from other threads too: :data:`gpwarehouse.engine.progress.Progress`.
        :param parallel: connections that COPY at once, up to 16; all but one through a staging table.
        :param atomic: False lets them write into the fact and commit on their own, before the batch's row says that it is
            loaded: if the load fails between the two, their rows stay until the same is loaded again, in whatever way, or
            until :meth:`gpwarehouse.Warehouse.batches.delete` deletes them.
        :param analyze: ``"auto"``, ``"always"`` or ``"never"``: statistics after the commit; else as in settings.
        :raises InvalidInputError: target or columns are unknown, or an option is.
        :raises TooManyRejectsError: more rows were rejected than allowed, or all; they are in ``etl_reject``.
        :raises BatchConflictError: ``batch_id`` was loaded before with other content; or records of the batch were put into
            others since (``wh.facts.upsert``, ``wh.facts.replace_month``) and would be there twice.
        :raises KeyCollisionError: two natural keys have one durable key.
        :raises WarehouseConnectionError: the server cannot be reached.
        :raises LoadError: the server refused; nothing of the batch was loaded.
        """
        target = self._target(source)
        run = Run(source, target, LoadOptions(**options))
        try:
            return self._load(run)
        except (exc.SQLAlchemyError, self._driver_error()) as error:
            raised = as_load_error(self.settings, target.name, error)
        raise raised  # out here, so that the driver's error, which quotes the row, is not chained to it

    def _target(self, source: Source) -> Target:
        return target_named(source.target)

    def _load(self, run: Run) -> LoadResult:
        source = run.source
        with run.phase("read"):
            if source.checksum is None and (own := checksum_beforehand(self, run)) is not None:
                run.source, run.has_own_id = replace(source, checksum=own), True  # type: ignore[type-var]
            checksum = run.source.checksum
            if checksum is not None:  # known before a row is checked: what was loaded before is not read again
                batch_id = run.options.batch_id or batch_id_for(run.target.name, checksum)
                verdict = self._judged_alone(run, batch_id, checksum)
                if verdict.loaded is not None:
                    return run.result(verdict.loaded)
            recognised = self._recognised_files(run) or self._recognised(run)
            if recognised is not None:
                return run.result(recognised)
            early = send_early(self, run)
            if early is None:
                run.source, run.has_own_id = source, False
                found = read_source(run.source, run.target, self.engine, self.settings, run.options)
        if early is not None:
            with early.found:
                return self._after(run, early.found, early.result)
        with found:
            batch = self.batch_of(run, found)
            verdict = self._judged_alone(run, batch.batch_id, batch.checksum)
            if verdict.loaded is not None:
                return run.result(verdict.loaded)
            run.batch_id = verdict.batch_id
            batch = self.batch_of(run, found)
            # What other connections have committed already would be there twice.
            policy = RetryPolicy.of(self.settings, 0 if run.options.commits_apart else None)
            what = f"load of batch {batch.batch_id} into {batch.target}"
            return self._after(run, found, policy.call(what, self._write, run, found, batch))

    def _recognised_files(self, run: Run) -> Any | None:
        """The row of the batch that was loaded from files of the same bytes, read with the same options; else None."""
        if (
            not self.begins_early
        ):  # the same files may be put in by their key, or taken out: that is another thing to do
            return None
        run.source_checksum = files_checksum(run.source)
        if run.source_checksum is None:
            return None
        checksum = self._looked(ledger.content_of_files, run.target.name, run.source_checksum)
        if checksum is None:
            return None
        batch_id = run.options.batch_id or batch_id_for(run.target.name, checksum)
        return self._judged_alone(run, batch_id, checksum).loaded

    def _recognised(self, run: Run) -> Any | None:
        """The row of the batch in which the files are loaded already, as far as that is told without checking their rows.

        Their content is hashed where a batch of as many rows is there. It is not, or is not told: None.
        """
        source, named = run.source, run.options.batch_id
        if not self.begins_early or not isinstance(getattr(source, "frame", None), TableFiles):
            return None
        if named is not None and not self._looked(ledger.is_recorded, named):
            return None  # most likely it is new, and is to be read once
        rows, _ = source.extent()  # type: ignore[attr-defined]
        rows = sum(batch.num_rows for batch in source.batches()) if rows is None else rows
        if not self._looked(ledger.has_loaded, run.target.name, rows):
            return None
        checksum = checksum_of(source.batches(), run.target)
        if checksum is None:
            return None
        return self._judged_alone(run, named or batch_id_for(run.target.name, checksum), checksum).loaded

    def _looked(self, look: Callable[..., Any], *names: Any) -> Any:
        """What a look-up finds on a connection of its own."""

        def once() -> Any:
            with self.engine.connect() as connection:
                return look(connection, *names)

        return RetryPolicy.once_met(self.settings, self.engine).call("look whether a batch is loaded", once)

    def batch_of(self, run: Run, found: FirstPass) -> ledger.Batch:
        """The batch, as far as the first pass tells of it."""
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

    def _judged_alone(self, run: Run, batch_id: str, checksum: str) -> Verdict:
        def judged() -> Verdict:
            with self.engine.connect() as connection:
                return self.judged(connection, run, batch_id, checksum)

        return RetryPolicy.once_met(self.settings, self.engine).call("look whether a batch is loaded", judged)

    def judged(self, connection: Connection, run: Run, batch_id: str, checksum: str) -> Verdict:
        """What is to be done with the content under the id: :func:`gpwarehouse.batches.conflicts.judge`."""
        named = run.options.batch_id is not None
        names = (run.options.on_conflict, run.target.name, batch_id, checksum)
        return judge(connection, *names, named=named, started_at=run.started_at, emptied=self._emptied_is_loaded)

    def _write(self, run: Run, found: FirstPass, batch: ledger.Batch) -> LoadResult:
        """Second pass: months and members first, then rows and the batch's row in one transaction.

        It may be run again after an error that is safe to repeat: the batch's row says whether it is loaded already.
        """
        try:
            self.check_rejects(run, found, batch.batch_id)
            run.options.report("prepare", 0)
            with run.phase("prepare"):
                self._prepare(run, found, batch)
            connections, atomic = run.options.parallel, run.options.atomic
            route = self.router.route(batch.rows_loaded, connections=connections, atomic=atomic)
            with run.phase("copy"):
                return run.result(self._transaction(run, found, batch, route))
        except (exc.SQLAlchemyError, LoadError, self._driver_error()) as error:
            raised, failed = self._raised(run, error), self.batch_of(run, found)
            loaded = self._record_failure(failed, found, raised)
            if loaded is not None and self._is_done(run, loaded, failed):
                return run.result(loaded)
        raise raised

    def _raised(self, run: Run, error: Exception) -> GpwarehouseError:
        """The error to raise for one of a load; where connections commit apart, rows may be there already."""
        if not run.options.commits_apart:
            return as_load_error(self.settings, run.target.name, error)
        undone = (
            "rows may be there already; load the same again, or take the batch out (wh.batches.delete): both delete them "
            "first"
        )
        raised = as_load_error(self.settings, run.target.name, error, undone)
        raised.safe_to_repeat = None
        return raised

    def _transaction(self, run: Run, found: FirstPass, batch: ledger.Batch, route: Route) -> Any:
        """The load's transaction; returns the batch's row, which is another load's where that was quicker."""
        with self.engine.begin() as connection:
            ledger.lock_batch(connection, batch.target, batch.batch_id, batch.checksum)
            verdict = self.judged(connection, run, batch.batch_id, batch.checksum)
            if verdict.loaded is not None:
                return verdict.loaded
            run.batch_id, run.replaced, run.rows_replaced = verdict.batch_id, verdict.replaced, 0
            batch = replace(batch, batch_id=verdict.batch_id)
            leave_statistics_alone(connection)
            table, partition_column = run.target.table, run.target.partition_column
            if run.replaced is not None:
                run.replaced = hold(connection, table, run.replaced)
            left = self._left_behind(connection, run, batch)
            refuse_doubles(connection, run.target, batch.batch_id, found, run.scattered)
            if run.replaced is not None:
                run.rows_replaced = delete_rows(connection, table, partition_column, run.replaced, run.months)
            self._clear(connection, run, batch, left)
            return self._copy(connection, run, found, batch, route)

    def _left_behind(self, connection: Connection, run: Run, batch: ledger.Batch) -> list[Any]:
        """The batches that failed of the same and left rows; those whose records may be elsewhere go to ``run.scattered``."""
        told = ledger.left_behind(connection, batch.target, batch.batch_id, batch.checksum)
        run.scattered = [row for row in told if not ledger.has_left(row)]
        if run.replaced is not None and ledger.are_scattered(run.replaced):
            run.scattered.append(run.replaced)
        if run.scattered and run.options.commits_apart:
            raise LoadError(
                f"{batch.target}: records of batch {run.scattered[0].batch_id!r} may be in other batches since, and "
                "rows that connections commit on their own cannot be compared with those before; load it with atomic=True"
            )
        return [row for row in told if ledger.has_left(row)]

    def _clear(self, connection: Connection, run: Run, batch: ledger.Batch, left: list[Any]) -> None:
        """Delete what loads left that failed of the same, and say so before connections of this one may leave rows."""
        by = f"batch {batch.batch_id}"
        if not run.options.commits_apart:
            for row in left:
                delete_leftovers(connection, run.target.partition_column, row, by)
            return
        if left:  # apart: the lock of a deletion must be gone before other connections write to the fact
            with self.engine.begin() as other:
                for row in left:
                    delete_leftovers(other, run.target.partition_column, row, by)
        ledger.announce(self.engine, batch)

    def _prepare(self, run: Run, found: FirstPass, batch: ledger.Batch) -> None:
        if found.first is None:  # no row to load
            return
        run.months += tuple(ensure_months(self.engine, run.target.table, found.months))  # it may be tried again
        self.prepare_members(run, found, batch)

    def prepare_members(self, run: Run, found: FirstPass, batch: ledger.Batch, engine: Engine | None = None) -> None:
        """Make the hours and members that the rows need and that are not there; in transactions of their own.

        :param engine: the loader's own in another guise.
        """
        if found.first is None:
            return
        ensure_hours(engine or self.engine, found.months, self.calendar)
        run.members += insert_missing(engine or self.engine, found.resolver.members, provenance_of(batch, found.first))

    def _copy(
        self, connection: Connection, run: Run, found: FirstPass, batch: ledger.Batch, route: Route
    ) -> ledger.Batch:
        """Rows, what they tell of members, the batch's row."""
        allowed = self._allowed(run, found) - found.rows_rejected
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
        may_refuse: Callable[[], None],
    ) -> ledger.Batch:
        """Rows, and what they tell of members; the batch with what was counted."""
        columns = columns_to_copy(run.target, found.rows.filled)
        rows = partial(with_batch, found, batch.batch_id, run.options)
        run.stored = store_all_but_refused(connection, route, run.target, columns, found, rows, allowed, may_refuse)
        return self.finish(connection, run, found, batch)

    def finish(self, connection: Connection, run: Run, found: FirstPass, batch: ledger.Batch) -> ledger.Batch:
        """After the rows: what they tell of members; the batch with what was counted.

        :raises LoadError: the server took another number of rows than it was sent.
        """
        assert run.stored is not None
        batch = replace(batch, rows_loaded=found.rows_to_load, rows_rejected=found.rows_rejected)
        if run.stored.rows != batch.rows_loaded:
            raise LoadError(
                f"{batch.target}: {batch.rows_loaded} rows were sent and the server took {run.stored.rows}; nothing was "
                "loaded. A trigger or rule on the table may swallow rows; if there is none, load again"
            )
        if found.first is not None:
            run.learned = learn(connection, found.resolver.members, provenance_of(batch, found.first))
        return batch

    def _after(self, run: Run, found: FirstPass, result: LoadResult) -> LoadResult:
        """Statistics and space, when the rows are there."""
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

    def _allowed(self, run: Run, found: FirstPass) -> int:
        settings = self.settings
        if run.options.max_rejects is not None:
            settings = settings.model_copy(update={"max_rejects": run.options.max_rejects})
        return settings.rejects_allowed(found.rows_read)

    def check_rejects(self, run: Run, found: FirstPass, batch_id: str) -> None:
        """Refuse a load with more bad rows than allowed, or with none but bad ones.

        :raises TooManyRejectsError: naming the first of them.
        """
        refuse_rejects(found, self._allowed(run, found), batch_id, "nothing was loaded")

    def _driver_error(self) -> type[Exception]:
        error: type[Exception] = self.engine.dialect.loaded_dbapi.Error
        return error

    def _record_failure(self, batch: ledger.Batch, found: FirstPass, raised: GpwarehouseError) -> Any | None:
        """Record the failure where the server can be reached; the row of the batch that is loaded under its id."""
        try:
            return ledger.record_failure(self.engine, batch, found.all_rejects(), str(raised))
        except (exc.SQLAlchemyError, self._driver_error()) as second:
            words = str(getattr(second, "orig", None) or second).strip().splitlines()[0]
            raised.add_note(f"The failure could not be recorded in etl_load_batch either: {words}")
            return None

    @staticmethod
    def _is_done(run: Run, row: Any, batch: ledger.Batch) -> bool:
        """Whether a batch that is there makes up for an error: ours, whose answer was lost at COMMIT, or one that will do."""
        if (row.target, row.checksum) != (batch.target, batch.checksum):
            return False
        return row.started_at == run.started_at or run.options.on_conflict == "skip"


def provenance_of(batch: ledger.Batch, since: datetime) -> Provenance:
    """Who tells of members, in a batch whose first event is at ``since``."""
    return Provenance(batch.batch_id, batch.source_system, since)


def columns_to_copy(target: Target, filled: set[str]) -> tuple[str, ...]:
    """The columns to copy: those without a value are left out, which takes most of the time off a narrow frame."""
    defaults = {column.name for column in target.table.columns if column.server_default is not None}
    return tuple(name for name in target.columns if name in filled or name in defaults or name == "batch_id")


def with_batch(found: FirstPass, batch_id: str, options: LoadOptions) -> Iterator[pa.RecordBatch]:
    """The rows to load, with the batch's id; how many have gone is reported."""
    options.begin("copy", lambda: (found.rows_to_load, found.rows.bytes))
    rows = 0
    for batch in found.sendable():
        yield batch.append_column("batch_id", pa.repeat(pa.scalar(batch_id, pa.string()), batch.num_rows))
        rows += batch.num_rows
        options.report("copy", rows)
