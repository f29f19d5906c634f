"""A load from end to end: validate, resolve keys, make months and members, COPY, commit with the batch's row.

The source is read once. The first pass validates and resolves and keeps the rows in a spool, because months and members
must exist before the transaction that writes rows begins; the second copies the spool. Memory is bounded by the batch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import exc
from sqlalchemy.engine import Engine

from gpwarehouse.errors import GpwarehouseError, InvalidInputError, LoadError, TooManyRejectsError
from gpwarehouse.load import batches as ledger
from gpwarehouse.load.copy import copy_rows
from gpwarehouse.load.fingerprint import Fingerprint, batch_id_for
from gpwarehouse.load.frames import record_batches
from gpwarehouse.load.keys import KeyResolver, RootLots
from gpwarehouse.load.members import ensure_members, roots_of_lots
from gpwarehouse.load.months import ensure_hours, ensure_months
from gpwarehouse.load.spool import Spool
from gpwarehouse.load.target import TIMESTAMP, Target, target_named
from gpwarehouse.load.validate import Reject, Validator
from gpwarehouse.models.calendar import ShiftCalendar
from gpwarehouse.settings import WarehouseSettings

__all__ = ["FrameSource", "LoadResult", "Loader", "Source"]

Progress = Callable[[str, int], None]
"""Called with the phase (``"read"``, ``"prepare"``, ``"copy"``) and the rows done in it."""


class Source(Protocol):
    """Where rows come from: a file's reader, or :class:`FrameSource`."""

    @property
    def target(self) -> str:
        """Table name of the fact."""

    @property
    def source_system(self) -> str:
        """What wrote it, e.g. ``"STDF"``."""

    @property
    def source_file(self) -> str:
        """The file's name without its folder; empty if there is none."""

    @property
    def checksum(self) -> str | None:
        """SHA-256 of the content, or None to take it from the rows."""

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Rows in the target's input columns; read once."""

    def members(self) -> Mapping[str, list[dict[str, Any]]]:
        """What the source says of dimension members, known when ``batches`` is at its end."""


@dataclass
class FrameSource:
    """A frame as a source: its rows, and nothing known of its members."""

    frame: Any
    target: str
    source_system: str = "FRAME"
    source_file: str = ""
    checksum: str | None = None

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
    :ivar rows_read: rows the source gave; ``rows_loaded`` and ``rows_rejected`` add up to it.
    :ivar already_loaded: the content had been loaded before, and nothing was changed now.
    :ivar seconds: from the first row read to the commit.
    :ivar months_made: names of the partitions made for it; ``members_made``: dimension versions written.
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


@dataclass
class _Pass:
    """What the first pass found."""

    spool: Spool
    resolver: KeyResolver
    fingerprint: Fingerprint = field(default_factory=Fingerprint)
    rejects: list[Reject] = field(default_factory=list)
    rows_read: int = 0
    rows_rejected: int = 0
    months: set[datetime] = field(default_factory=set)
    first: datetime | None = None
    last: datetime | None = None


class Loader:
    """Loads sources into the facts of one warehouse.

    :param engine: a pooled engine of the warehouse.
    :param settings: event window, reject limit, facility, patterns for wafers and lots.
    """

    def __init__(self, engine: Engine, settings: WarehouseSettings) -> None:
        self.engine = engine
        self.settings = settings
        self.calendar = ShiftCalendar.build(**settings.calendar_options())

    def load(
        self,
        source: Source,
        *,
        batch_id: str | None = None,
        max_rejects: int | float | None = None,
        progress: Progress | None = None,
    ) -> LoadResult:
        """Load a source once.

        :param batch_id: the caller's own id; otherwise one is derived from target and content.
        :param max_rejects: count, or share of the rows read, above which nothing is loaded; else as in settings.
        :raises InvalidInputError: target or columns are unknown.
        :raises TooManyRejectsError: more rows were rejected than allowed; they are in ``etl_reject``.
        :raises BatchConflictError: ``batch_id`` was loaded before with other content.
        :raises LoadError: the server refused; nothing of the batch was loaded.
        """
        started = time.monotonic()
        started_at = datetime.now(UTC)
        target = target_named(source.target)
        _check_limit(max_rejects)
        report = progress or (lambda phase, rows: None)
        if source.checksum is not None:  # known before a row is read: a file loaded before is not read again
            known = batch_id or batch_id_for(target.name, source.checksum)
            before = ledger.already_loaded(self.engine, target.name, known, source.checksum)
            if before is not None:
                return _loaded_before(before, started)
        with Spool() as spool:
            found = self._read(source, target, spool, report)
            checksum = source.checksum or found.fingerprint.hexdigest()
            batch = ledger.Batch(
                batch_id=batch_id or batch_id_for(target.name, checksum),
                target=target.name,
                source_system=source.source_system,
                source=source.source_file or None,
                checksum=checksum,
                rows_read=found.rows_read,
                rows_loaded=spool.rows,
                rows_rejected=found.rows_rejected,
                min_event_ts=found.first,
                max_event_ts=found.last,
                started_at=started_at,
            )
            before = ledger.already_loaded(self.engine, target.name, batch.batch_id, checksum)
            if before is not None:
                return _loaded_before(before, started)
            return self._write(source, target, found, batch, max_rejects, report, started)

    def _read(self, source: Source, target: Target, spool: Spool, report: Progress) -> _Pass:
        """First pass: good rows into the spool, with everything but the batch's own columns."""
        now = datetime.now(UTC)
        validator = Validator(
            target,
            earliest=datetime.combine(self.settings.event_min, datetime.min.time(), UTC),
            latest=now + timedelta(days=self.settings.event_max_ahead_days),
        )
        roots = RootLots(lambda lots: roots_of_lots(self.engine, lots), self.settings.lot_root_pattern)
        resolver = KeyResolver(
            target, roots, facility=self.settings.facility, wafer_id_pattern=self.settings.wafer_id_pattern
        )
        found = _Pass(spool, resolver)
        for batch in source.batches():
            clean, rejects = validator.check(batch, found.rows_read + 1)
            found.rows_read += batch.num_rows
            found.rows_rejected += len(rejects)
            found.rejects += rejects
            for reject in rejects:
                found.fingerprint.update_reject(ledger.raw_json(reject.raw))
            if clean.num_rows:
                found.fingerprint.update(clean)
                self._keep(found, target, clean, source)
            report("read", found.rows_read)
        for dimension, rows in source.members().items():
            for row in rows:
                _know(resolver, dimension, row)
        return found

    def _keep(self, found: _Pass, target: Target, clean: pa.RecordBatch, source: Source) -> None:
        columns = dict(zip(clean.schema.names, clean.columns, strict=True))
        columns |= found.resolver.resolve(clean)
        times = columns[target.partition_column]
        columns["time_key"] = pc.cast(pc.strftime(times, "%Y%m%d%H"), pa.int32())
        for name, value in (("source_system", source.source_system), ("source_file", source.source_file or None)):
            columns[name] = pc.coalesce(columns[name], pa.scalar(value, pa.string()))
        names = [name for name in target.columns if name != "batch_id"]
        found.spool.append(pa.RecordBatch.from_arrays([columns[name] for name in names], names))
        span = pc.min_max(times).as_py()
        found.first = min(filter(None, (found.first, span["min"])))
        found.last = max(filter(None, (found.last, span["max"])))
        months = pc.unique(pc.floor_temporal(times, unit="month"))
        found.months |= {month.astimezone(UTC) for month in months.cast(TIMESTAMP).to_pylist()}

    def _write(
        self,
        source: Source,
        target: Target,
        found: _Pass,
        batch: ledger.Batch,
        max_rejects: int | float | None,
        report: Progress,
        started: float,
    ) -> LoadResult:
        """Second pass: months and members first, then rows and the batch's row in one transaction."""
        try:
            self._check_rejects(found, max_rejects, batch)
            report("prepare", 0)
            months, members = self._prepare(source, target, found, batch)
            with self.engine.begin() as connection:
                ledger.lock_batch(connection, target.name, batch.batch_id, batch.checksum)
                before = ledger.loaded_batch(connection, target.name, batch.batch_id, batch.checksum)
                if before is not None:
                    return _loaded_before(before, started)
                copied = copy_rows(
                    connection, target.table, _with_batch(found.spool, batch.batch_id, report), target.columns
                )
                if copied != batch.rows_loaded:
                    raise LoadError(
                        f"{target.name}: {batch.rows_loaded} rows were sent and the server took {copied}; nothing was "
                        "loaded. Load again; if it stays so, tell us, with the server's version"
                    )
                ledger.record_loaded(connection, batch, found.rejects)
        except (exc.SQLAlchemyError, LoadError, self._driver_error()) as error:
            raise self._failed(target, found, batch, error) from error
        seconds = time.monotonic() - started
        return LoadResult(
            batch.batch_id, target.name, batch.rows_read, batch.rows_loaded, batch.rows_rejected, False, seconds,
            tuple(months), members,
        )  # fmt: skip

    def _check_rejects(self, found: _Pass, max_rejects: int | float | None, batch: ledger.Batch) -> None:
        settings = (
            self.settings if max_rejects is None else self.settings.model_copy(update={"max_rejects": max_rejects})
        )
        allowed = settings.rejects_allowed(found.rows_read)
        if found.rows_rejected > allowed:
            first = found.rejects[0]
            raise TooManyRejectsError(
                f"{batch.target}: {found.rows_rejected} of {found.rows_read} rows were rejected, {allowed} are allowed; "
                f"nothing was loaded. First: row {first.row_number}, column {first.column_name}: {first.reason}. "
                f"All: wh.rejects({batch.batch_id!r})"
            )

    def _prepare(self, source: Source, target: Target, found: _Pass, batch: ledger.Batch) -> tuple[list[str], int]:
        if not found.months:
            return [], 0
        assert found.first is not None
        months = ensure_months(self.engine, target, found.months)
        ensure_hours(self.engine, found.months, self.calendar)
        members = ensure_members(
            self.engine,
            found.resolver.members,
            source_system=source.source_system,
            batch_id=batch.batch_id,
            since=found.first,
        )
        return months, members

    def _driver_error(self) -> type[Exception]:
        error: type[Exception] = self.engine.dialect.loaded_dbapi.Error
        return error

    def _failed(self, target: Target, found: _Pass, batch: ledger.Batch, error: Exception) -> GpwarehouseError:
        """Record the failure where the server can be reached, and the error to raise."""
        raised = error if isinstance(error, GpwarehouseError) else LoadError(_explain(target, error))
        try:
            ledger.record_failure(self.engine, batch, found.rejects, str(raised))
        except (exc.SQLAlchemyError, self._driver_error()) as second:
            raised.add_note(f"The failure could not be recorded in etl_load_batch either: {second}")
        return raised


def _check_limit(max_rejects: int | float | None) -> None:
    share = isinstance(max_rejects, float) and 0 < max_rejects < 1
    count = isinstance(max_rejects, int) and not isinstance(max_rejects, bool) and max_rejects >= 0
    if max_rejects is not None and not share and not count:
        raise InvalidInputError(f"max_rejects={max_rejects!r}: give a count from 0, or a share between 0 and 1")


def _with_batch(spool: Spool, batch_id: str, report: Progress) -> Iterator[pa.RecordBatch]:
    rows = 0
    for batch in spool.batches():
        yield batch.append_column("batch_id", pa.array([batch_id] * batch.num_rows, pa.string()))
        rows += batch.num_rows
        report("copy", rows)


def _know(resolver: KeyResolver, dimension: str, row: Mapping[str, Any]) -> None:
    """Add what a source says of a member to the members needed."""
    if dimension == "dim_wafer":
        member = resolver.wafer(row["lot_id"], row.get("wafer_id"))
        told: Iterable[tuple[str, Any]] = ((k, v) for k, v in row.items() if k not in ("lot_id", "wafer_id"))
    else:
        natural = resolver.natural_key_of(dimension, row)
        member = resolver.member(dimension, natural)
        told = ((k, v) for k, v in row.items() if k not in natural)
    member.attributes |= {name: value for name, value in told if value is not None}


def _loaded_before(row: Any, started: float) -> LoadResult:
    return LoadResult(row.batch_id, row.target, row.rows_read, 0, row.rows_rejected, True, time.monotonic() - started)


def _explain(target: Target, error: Exception) -> str:
    """The server's words in a sentence that names the table; its CONTEXT names the row and column of a COPY."""
    original = getattr(error, "orig", None) or error
    lines = [line.strip() for line in str(original).strip().splitlines() if line.strip()]
    context = next((line for line in lines if line.startswith("CONTEXT:")), "")
    where = f" ({context.removeprefix('CONTEXT:').strip()[:200]})" if context else ""
    return f"{target.name}: the server refused the batch: {lines[0] if lines else error!r}{where}; nothing was loaded"
