"""A load from end to end: validate, resolve keys, make months and members, COPY, commit with the batch's row.

The source is read once. The first pass validates and resolves and keeps the rows in a spool, because months and members
must exist before the transaction that writes rows begins; the second copies the spool. Memory is bounded by the batch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from os import PathLike
from typing import Any

import pyarrow as pa
from sqlalchemy import exc
from sqlalchemy.engine import Connection, Engine

from gpwarehouse.engine import RetryPolicy, could_not_connect, explain_operational_error, reason_to_repeat
from gpwarehouse.errors import GpwarehouseError, InvalidInputError, LoadError, TooManyRejectsError
from gpwarehouse.load import batches as ledger
from gpwarehouse.load.files import files_of
from gpwarehouse.load.fingerprint import batch_id_for
from gpwarehouse.load.firstpass import FirstPass, Source, read_source
from gpwarehouse.load.frames import record_batches
from gpwarehouse.load.members import Teller, insert_missing, learn
from gpwarehouse.load.months import ensure_hours, ensure_months
from gpwarehouse.load.refusal import explain
from gpwarehouse.load.spool import Spool
from gpwarehouse.load.target import Target, target_named
from gpwarehouse.models.calendar import ShiftCalendar
from gpwarehouse.settings import WarehouseSettings
from gpwarehouse.transport import Address, Route, Router, Stored

__all__ = ["FrameSource", "LoadResult", "Loader", "Source"]

Progress = Callable[[str, int], None]
"""Called with the phase (``"read"``, ``"prepare"``, ``"copy"``) and the rows done in it."""


@dataclass
class FrameSource:
    """A frame as a source: its rows, and nothing known of its members."""

    frame: Any
    target: str
    source_system: str = "FRAME"
    source_file: str = ""
    checksum: str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.frame, str | PathLike) and not self.source_file:
            files = files_of(self.frame)
            self.source_file = files[0].name if len(files) == 1 else ""

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The frame in record batches."""
        return record_batches(self.frame, target_named(self.target).json_columns)

    def members(self) -> Mapping[str, list[dict[str, Any]]]:
        """Nothing."""
        return {}


@dataclass(frozen=True)
class LoadResult:
    """What a load did.

    :ivar batch_id: id of the batch; of the one that loaded this content before, if ``already_loaded``.
    :ivar target: the fact's table name.
    :ivar rows_read: rows the source gave; ``rows_loaded`` and ``rows_rejected`` add up to it, unless it was loaded
        before: then nothing was loaded now, and the others are what was counted then.
    :ivar already_loaded: the content had been loaded before, and nothing was changed now.
    :ivar seconds: from the first row read to the commit.
    :ivar months_made: names of the partitions made for it; ``members_made``: dimension versions written.
    :ivar transport: ``"copy binary"``, ``"copy text"`` or ``"gpfdist"``; empty if nothing was sent.
    :ivar transport_reason: why it was COPY where gpfdist was wanted.
    :ivar bytes_sent: of encoded rows.
    :ivar phase_seconds: of ``"read"`` (validate, resolve), ``"prepare"`` (months, members) and ``"copy"``.
    """

    batch_id: str
    target: str
    rows_read: int
    rows_loaded: int
    rows_rejected: int
    already_loaded: bool
    seconds: float
    months_made: tuple[str, ...] = ()
    members_made: int = 0
    transport: str = ""
    transport_reason: str = ""
    bytes_sent: int = 0
    phase_seconds: Mapping[str, float] = field(default_factory=dict)


@dataclass
class _Run:
    """One call of :meth:`Loader.load`."""

    source: Source
    target: Target
    max_rejects: int | float | None
    report: Progress
    started: float
    started_at: datetime
    connections: int = 1
    atomic: bool = True
    months: tuple[str, ...] = ()
    members: int = 0
    stored: Stored | None = None
    phases: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count the time of a phase."""
        started = time.monotonic()
        yield
        self.phases[name] = time.monotonic() - started

    def result(self, row: Any) -> LoadResult:
        """What the batch's row says of it; it is another run's unless it began when this one did."""
        seconds = time.monotonic() - self.started
        if row.started_at != self.started_at:
            return LoadResult(row.batch_id, row.target, row.rows_read, 0, row.rows_rejected, True, seconds)
        counts = (row.rows_read, row.rows_loaded, row.rows_rejected)
        sent = self.stored or Stored(0, 0, "")
        return LoadResult(
            *(row.batch_id, row.target, *counts, False, seconds, self.months, self.members),
            *(sent.transport, sent.reason, sent.bytes, self.phases),
        )


class Loader:
    """Loads sources into the facts of one warehouse.

    :param engine: a pooled engine of the warehouse.
    :param settings: event window, reject limit, facility, patterns for wafers and lots.
    """

    def __init__(self, engine: Engine, settings: WarehouseSettings) -> None:
        self.engine = engine
        self.settings = settings
        self.calendar = ShiftCalendar.build(**settings.calendar_options())
        address = Address(settings.gpfdist_host, settings.ports_to_serve())
        self.router = Router(engine, settings.transport, address)

    def load(
        self,
        source: Source,
        *,
        batch_id: str | None = None,
        max_rejects: int | float | None = None,
        progress: Progress | None = None,
        parallel: int = 1,
        atomic: bool = True,
    ) -> LoadResult:
        """Load a source once.

        :param batch_id: the caller's own id; otherwise one is derived from target and content.
        :param max_rejects: count, or share of the rows read, above which nothing is loaded; else as in settings.
        :param progress: called from other threads too.
        :param parallel: connections that COPY at once, up to 16; all but one through a staging table.
        :param atomic: False lets them write into the fact and commit on their own, before the batch's row is there: if
            the process dies between the two, their rows stay and have to be deleted by ``batch_id``.
        :raises InvalidInputError: target or columns are unknown.
        :raises TooManyRejectsError: more rows were rejected than allowed; they are in ``etl_reject``.
        :raises BatchConflictError: ``batch_id`` was loaded before with other content.
        :raises KeyCollisionError: two natural keys have one durable key.
        :raises WarehouseConnectionError: the server cannot be reached.
        :raises LoadError: the server refused; nothing of the batch was loaded.
        """
        target = target_named(source.target)
        _check_limit(max_rejects)
        if isinstance(parallel, bool) or not isinstance(parallel, int) or not 1 <= parallel <= 16:
            raise InvalidInputError(f"parallel={parallel!r}: give a number of connections from 1 to 16")
        report = progress or (lambda phase, rows: None)
        run = _Run(source, target, max_rejects, report, time.monotonic(), datetime.now(UTC), parallel, atomic)
        try:
            return self._load(run, batch_id)
        except (exc.SQLAlchemyError, self._driver_error()) as error:
            raised = self._raised(target, error)
        raise raised  # out here, so that the driver's error, which quotes the row, is not chained to it

    def _load(self, run: _Run, batch_id: str | None) -> LoadResult:
        name, checksum = run.target.name, run.source.checksum
        if checksum is not None:  # known before a row is read: a file loaded before is not read again
            before = self._already_loaded(name, batch_id or batch_id_for(name, checksum), checksum)
            if before is not None:
                return run.result(before)
        with run.phase("read"):
            found = read_source(run.source, run.target, self.engine, self.settings, run.report)
        with found:
            batch = ledger.Batch(
                batch_id=batch_id or batch_id_for(name, found.checksum),
                target=name,
                source_system=run.source.source_system,
                source=run.source.source_file or None,
                checksum=found.checksum,
                rows_read=found.rows_read,
                rows_loaded=found.rows.rows,
                rows_rejected=found.rejects.rows,
                min_event_ts=found.first,
                max_event_ts=found.last,
                started_at=run.started_at,
            )
            before = self._already_loaded(name, batch.batch_id, batch.checksum)
            if before is not None:
                return run.result(before)
            # Rows that other connections commit on their own would be doubled.
            policy = RetryPolicy.of(self.settings, 0 if run.connections > 1 and not run.atomic else None)
            return policy.call(f"load of batch {batch.batch_id} into {name}", self._write, run, found, batch)

    def _already_loaded(self, *batch: str) -> Any | None:
        policy = RetryPolicy.once_met(self.settings, self.engine)
        return policy.call("look whether a batch is loaded", ledger.already_loaded, self.engine, *batch)

    def _write(self, run: _Run, found: FirstPass, batch: ledger.Batch) -> LoadResult:
        """Second pass: months and members first, then rows and the batch's row in one transaction.

        It may be run again after an error that is safe to repeat: the batch's row says whether it is loaded already.
        """
        try:
            self._check_rejects(run, found, batch)
            run.report("prepare", 0)
            with run.phase("prepare"):
                self._prepare(run, found, batch)
            route = self.router.route(batch.rows_loaded, connections=run.connections, atomic=run.atomic)
            with run.phase("copy"), self.engine.begin() as connection:
                ledger.lock_batch(connection, batch.target, batch.batch_id, batch.checksum)
                before = ledger.loaded_batch(connection, batch.target, batch.batch_id, batch.checksum)
                if before is not None:
                    return run.result(before)
                self._copy(connection, run, found, batch, route)
            return run.result(batch)
        except (exc.SQLAlchemyError, LoadError, self._driver_error()) as error:
            # Of several COPYs each counts its own lines, which say nothing of the rows.
            raised = self._raised(run.target, error, found.rows if run.connections == 1 else None)
            loaded = self._record_failure(batch, found, raised)
            if loaded is not None:  # the connection was lost at COMMIT, and it had gone through
                return run.result(loaded)
        raise raised

    def _prepare(self, run: _Run, found: FirstPass, batch: ledger.Batch) -> None:
        if found.first is None:  # no row to load
            return
        run.months = tuple(ensure_months(self.engine, run.target, found.months))
        ensure_hours(self.engine, found.months, self.calendar)
        run.members = insert_missing(self.engine, found.resolver.members, _teller(batch, found.first))

    def _copy(self, connection: Connection, run: _Run, found: FirstPass, batch: ledger.Batch, route: Route) -> None:
        """The load's transaction: rows, what they tell of members, the batch's row."""
        rows = _with_batch(found.rows, batch.batch_id, run.report)
        run.stored = route.store(connection, run.target.table, rows, _columns(run.target, found.rows.filled))
        copied = run.stored.rows
        if copied != batch.rows_loaded:
            raise LoadError(
                f"{batch.target}: {batch.rows_loaded} rows were sent and the server took {copied}; nothing was "
                "loaded. A trigger or rule on the table may swallow rows; if there is none, load again"
            )
        if found.first is not None:
            run.members += learn(connection, found.resolver.members, _teller(batch, found.first))
        ledger.record_loaded(connection, batch, found.rejects)

    def _check_rejects(self, run: _Run, found: FirstPass, batch: ledger.Batch) -> None:
        settings = self.settings
        if run.max_rejects is not None:
            settings = settings.model_copy(update={"max_rejects": run.max_rejects})
        allowed = settings.rejects_allowed(batch.rows_read)
        if batch.rows_rejected > allowed:
            first = found.first_reject
            assert first is not None
            raise TooManyRejectsError(
                f"{batch.target}: {batch.rows_rejected} of {batch.rows_read} rows were rejected, {allowed} are "
                f"allowed; nothing was loaded. First: row {first.row_number}, column {first.column_name}: "
                f"{first.reason}. All: wh.rejects({batch.batch_id!r})"
            )

    def _driver_error(self) -> type[Exception]:
        error: type[Exception] = self.engine.dialect.loaded_dbapi.Error
        return error

    def _raised(self, target: Target, error: Exception, rows: Spool | None = None) -> GpwarehouseError:
        """The error to raise for one that was caught."""
        if isinstance(error, GpwarehouseError):
            return error
        if could_not_connect(error):
            return explain_operational_error(error, self.settings)
        raised = LoadError(explain(target.name, error, rows))
        raised.safe_to_repeat = reason_to_repeat(error)
        return raised

    def _record_failure(self, batch: ledger.Batch, found: FirstPass, raised: GpwarehouseError) -> Any | None:
        """Record the failure where the server can be reached; the batch's row if it is loaded after all."""
        try:
            return ledger.record_failure(self.engine, batch, found.rejects, str(raised))
        except (exc.SQLAlchemyError, self._driver_error()) as second:
            words = str(getattr(second, "orig", None) or second).strip().splitlines()[0]
            raised.add_note(f"The failure could not be recorded in etl_load_batch either: {words}")
            return None


def _teller(batch: ledger.Batch, since: datetime) -> Teller:
    return Teller(batch.batch_id, batch.source_system, since)


def _check_limit(max_rejects: int | float | None) -> None:
    share = isinstance(max_rejects, float) and 0 <= max_rejects < 1
    count = isinstance(max_rejects, int) and not isinstance(max_rejects, bool) and max_rejects >= 0
    if max_rejects is not None and not share and not count:
        raise InvalidInputError(f"max_rejects={max_rejects!r}: give a count from 0, or a share below 1")


def _columns(target: Target, filled: set[str]) -> tuple[str, ...]:
    """The columns to copy: those without a value are left out, which takes most of the time off a narrow frame."""
    defaults = {column.name for column in target.table.columns if column.server_default is not None}
    return tuple(name for name in target.columns if name in filled or name in defaults or name == "batch_id")


def _with_batch(spool: Spool, batch_id: str, report: Progress) -> Iterator[pa.RecordBatch]:
    rows = 0
    for batch in spool.batches():
        yield batch.append_column("batch_id", pa.repeat(pa.scalar(batch_id, pa.string()), batch.num_rows))
        rows += batch.num_rows
        report("copy", rows)
