"""The first pass over a source: check and resolve every row, and keep the good ones for the second."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy.engine import Engine

from gpwarehouse.engine import RetryPolicy
from gpwarehouse.intake.checksum import Fingerprint
from gpwarehouse.intake.frames import bytes_of
from gpwarehouse.intake.given_columns import GIVEN, Given
from gpwarehouse.intake.load_options import LoadOptions
from gpwarehouse.intake.measured_values import ParameterSets, count_values, factor_parameters, lengths_by_key
from gpwarehouse.intake.natural_keys import KeyResolver
from gpwarehouse.intake.rejects import Reject, raw_json, reject_rows
from gpwarehouse.intake.root_lots import RootLots, roots_of_lots
from gpwarehouse.intake.row_checks import Validator
from gpwarehouse.intake.spool import Spool
from gpwarehouse.intake.target import MEASURED, PARAMETERS, SET_KEY, Target
from gpwarehouse.models.parameter_sets import ParameterSet
from gpwarehouse.settings import WarehouseSettings
from gpwarehouse.sources.value_counts import ValueCounts
from gpwarehouse.transport.columns import TIMESTAMP

__all__ = ["CheckedRows", "FirstPass", "Kept", "Source", "begin_reading", "read_source"]

_BATCH_BYTES = 16 << 20
_CLOCK = pa.timestamp("us")
"""The time in UTC without its time zone, so that Arrow need not use the time zone database."""


class Source(Protocol):
    """Where rows come from: the reader of a file, or a frame."""

    @property
    def target(self) -> str:
        """Table name of the fact."""

    @property
    def source_system(self) -> str:
        """The system or format that wrote the rows, e.g. ``"STDF"``."""

    @property
    def source_file(self) -> str:
        """Name of the file without its folder; empty if there is none."""

    @property
    def checksum(self) -> str | None:
        """SHA-256 of the content; None if it is to be computed from the rows."""

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Rows in the target's input columns. They can be read once."""

    def members(self) -> Mapping[str, list[dict[str, Any]]]:
        """Attributes of dimension members that the source holds; known when ``batches`` has ended."""

    def parameter_sets(self) -> Mapping[int, ParameterSet]:
        """``parameter_set_key`` of the rows → list of parameters; known when ``batches`` has ended."""

    def values(self) -> ValueCounts:
        """How many measured values are in the rows, and how many are left out; known when ``batches`` has ended."""

    def warnings(self) -> Sequence[str]:
        """What the source drops, guesses or does not understand, one sentence each; known when ``batches`` has ended."""


@dataclass(frozen=True)
class Kept:
    """Good rows of one batch with all columns but the batch's, and the first instants of their months."""

    rows: pa.RecordBatch
    months: frozenset[datetime]


@dataclass
class CheckedRows:
    """The rows that a first pass over a source has read and checked.

    It is a context manager: at the end it deletes its temporary files.

    :ivar rows: the good rows.
    :ivar rejects: rows of ``etl_reject``.
    :ivar checksum: checksum of the content.
    :ivar given: the columns that the rows name.
    :ivar are_read: whether every value could be converted to its column's type.
    :ivar first: earliest time of the good rows.
    :ivar last: latest time of the good rows.
    """

    resolver: KeyResolver
    rows: Spool = field(default_factory=Spool)
    rejects: Spool = field(default_factory=Spool)
    rows_read: int = 0
    checksum: str = ""
    are_read: bool = True
    first: datetime | None = None
    last: datetime | None = None
    sets: ParameterSets = field(default_factory=ParameterSets)
    given: Given = field(init=False)

    def __post_init__(self) -> None:
        self.given = Given(self.resolver.target)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Delete what was kept."""
        self.rows.close()
        self.rejects.close()

    @contextmanager
    def given_up(self) -> Iterator[None]:
        """Delete what was kept if the block fails."""
        try:
            yield
        except BaseException:
            self.close()
            raise

    def check(self, validator: Validator, batch: pa.RecordBatch, fingerprint: Fingerprint | None) -> pa.RecordBatch:
        """Check the next rows and keep the rejects; return the good rows, with the column ``_given``.

        :param fingerprint: adds up all rows; None if the source has a checksum of its own.
        """
        first = self.rows_read + 1
        batch, given = self.given.number(batch)
        checked = validator.check(batch, first)
        self.rows_read += batch.num_rows
        if fingerprint is not None:
            fingerprint.update(checked.rows)
            for reject in checked.rejects:
                if reject.unreadable:
                    fingerprint.update_unreadable(raw_json(reject.raw))
        if checked.rejects:
            self.are_read &= not any(reject.unreadable for reject in checked.rejects)
            places = [reject.row_number - first for reject in checked.rejects]
            rejects = [self._keep_named(*each) for each in zip(checked.rejects, given[places].tolist(), strict=True)]
            self.rejects.append(reject_rows(rejects))
            given = np.delete(given, places)
        return checked.clean.append_column(GIVEN, pa.array(given, pa.int32()))

    def _keep_named(self, reject: Reject, given: int) -> Reject:
        """Reduce a reject to the columns that its row named."""
        names = self.given.names_of(given)
        raw = {name: value for name, value in reject.raw.items() if name in names}
        return replace(reject, raw=self.sets.restore(raw, raw))

    def see(self, times: pa.Array) -> None:
        """Widen the span by the times of good rows."""
        span = pc.min_max(times).as_py()
        self.first = min(filter(None, (self.first, span["min"])))
        self.last = max(filter(None, (self.last, span["max"])))


@dataclass
class FirstPass(CheckedRows):
    """The result of the first pass: the good rows with their keys, all columns but the batch's.

    :ivar refused: good rows that the server refused: place in ``rows`` → reject.
    :ivar months: first instant of each month that has events → number of its rows.
    :ivar sets: the lists of parameters that are made of the rows' names.
    :ivar parameter_sets: these, and those that the source knows.
    :ivar array_lengths: the lengths of the arrays under each key of a list.
    :ivar values: number of measured values in the rows to load.
    """

    refused: dict[int, Reject] = field(default_factory=dict)
    months: Counter[datetime] = field(default_factory=Counter)
    parameter_sets: dict[int, ParameterSet] = field(default_factory=dict)
    array_lengths: set[tuple[int | None, int]] = field(default_factory=set)
    values: int = 0

    @property
    def rows_to_load(self) -> int:
        """Rows that are neither rejected nor refused."""
        return self.rows.rows - len(self.refused)

    @property
    def rows_rejected(self) -> int:
        """Rows that are rejected or refused."""
        return self.rejects.rows + len(self.refused)

    def sendable(self) -> Iterator[pa.RecordBatch]:
        """The rows to load."""
        passed = 0
        for batch in self.given.labelled(self.rows.batches()):
            mine = [place - passed for place in self.refused if passed <= place < passed + batch.num_rows]
            passed += batch.num_rows
            if mine:
                keep = np.ones(batch.num_rows, bool)
                keep[mine] = False
                batch = batch.filter(pa.array(keep))
            yield batch

    def all_rejects(self) -> Iterator[pa.RecordBatch]:
        """Rows of ``etl_reject``; those that the server refused come last."""
        yield from self.rejects.batches()
        if self.refused:
            yield reject_rows(self.refused.values())


def read_source(
    source: Source, target: Target, engine: Engine, settings: WarehouseSettings, options: LoadOptions
) -> FirstPass:
    """Read a source to its end.

    :raises InvalidInputError: the source does not fit the target.
    """
    found, batches = begin_reading(source, target, engine, settings, options)
    with found.given_up():
        for _ in batches:
            pass
    return found


def begin_reading(
    source: Source,
    target: Target,
    engine: Engine,
    settings: WarehouseSettings,
    options: LoadOptions,
    *,
    keep: bool = True,
) -> tuple[FirstPass, Generator[Kept, None, None]]:
    """Begin to read a source.

    :param keep: whether the rows are kept for a second pass; else they are only counted.
    :return: the first pass, which is complete when the generator has ended, and the generator of its good rows.
    """
    earliest = datetime.combine(settings.event_min, datetime.min.time(), UTC)
    latest = datetime.now(UTC) + timedelta(days=settings.event_max_ahead_days)
    first, end = getattr(source, "window", None) or (
        earliest,
        latest,
    )  # a load that fills a month accepts no rows of other months
    validator = Validator(target, earliest=max(first, earliest), latest=min(end, latest))
    policy = RetryPolicy.once_met(settings, engine)
    roots = RootLots(lambda lots: policy.call("look up lots", roots_of_lots, engine, lots), settings.lot_root_pattern)
    resolver = KeyResolver(target, roots, facility=settings.facility, wafer_id_pattern=settings.wafer_id_pattern)
    found = FirstPass(resolver, rows=Spool(keep), sets=getattr(source, "made_sets", None) or ParameterSets())
    options.begin("read", getattr(source, "extent", _unknown))
    return found, _read_batches(found, source, target, validator, options)


def _read_batches(
    found: FirstPass, source: Source, target: Target, validator: Validator, options: LoadOptions
) -> Generator[Kept, None, None]:
    fingerprint = Fingerprint()
    with ThreadPoolExecutor(1, "gpwarehouse-resolve") as beside:
        keeping: Future[Kept] | None = None  # one batch at a time, while the next one is checked
        for batch in _split(source.batches()):
            clean = found.check(validator, batch, fingerprint if source.checksum is None else None)
            kept = keeping.result() if keeping is not None else None
            is_factored = MEASURED in batch.schema.names and batch.column(MEASURED).null_count < batch.num_rows
            keeping = beside.submit(_keep, found, target, clean, source, is_factored=is_factored)
            del batch, clean  # a batch may be large: hold none longer than it is used
            options.report("read", found.rows_read)
            if kept is not None:
                yield kept
            del kept
        if keeping is not None:
            yield keeping.result()
    for dimension, members in source.members().items():
        for member in members:
            found.resolver.add_member(dimension, member)
    found.parameter_sets = {**found.sets.made, **source.parameter_sets()}
    found.checksum = source.checksum or fingerprint.hexdigest()


def _unknown() -> tuple[None, None]:
    return None, None


def _split(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yield the same rows in batches of bounded size, because several are in memory at a time."""
    for batch in batches:
        step = max(1, -(-batch.num_rows // max(1, -(-(bytes_of(batch) or 0) // _BATCH_BYTES))))
        for start in range(0, max(1, batch.num_rows), step):
            yield batch.slice(start, step)
        del batch


def _keep(found: FirstPass, target: Target, clean: pa.RecordBatch, source: Source, *, is_factored: bool) -> Kept:
    """Put good rows into the spool, with all columns but the batch's own.

    :param is_factored: whether the source gives measured values as arrays, so that ``parameters`` stays as it is.
    """
    if not clean.num_rows:
        return Kept(clean, frozenset())
    columns = dict(zip(clean.schema.names, clean.columns, strict=True))
    columns |= found.resolver.resolve(clean)
    if MEASURED in target.inputs:
        if not is_factored:
            columns |= factor_parameters(columns[PARAMETERS], found.sets)
        found.values += count_values(columns[MEASURED])
        found.array_lengths |= lengths_by_key(columns[SET_KEY], columns[MEASURED])
    times = columns[target.partition_column]
    columns["time_key"] = _compute_time_keys(times)
    for name, value in (("source_system", source.source_system), ("source_file", source.source_file or None)):
        columns[name] = pc.coalesce(columns[name], pa.scalar(value, pa.string()))
    names = [name for name in target.columns if name != "batch_id"]
    rows = pa.RecordBatch.from_arrays([columns[name] for name in names], names)
    found.rows.append(rows.append_column(GIVEN, columns[GIVEN]))
    found.see(times)
    months = pc.value_counts(pc.floor_temporal(times.cast(_CLOCK), unit="month"))
    firsts = months.field("values").cast(TIMESTAMP).to_pylist()
    found.months.update(dict(zip(firsts, months.field("counts").to_pylist(), strict=True)))
    return Kept(rows, frozenset(firsts))


def _compute_time_keys(times: pa.Array) -> pa.Array:
    """Compute YYYYMMDDHH. Arithmetic is used, because formatting the times takes twenty times as long."""
    clock = times.cast(_CLOCK)
    key = pc.year(clock)
    for part in (pc.month(clock), pc.day(clock), pc.hour(clock)):
        key = pc.add(pc.multiply(key, 100), part)
    return key.cast(pa.int32())
