"""The first pass over a source: check and resolve every row, and keep the good ones for the second."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
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

__all__ = ["FirstPass", "Keep", "Kept", "Source", "begin_reading", "keep_facts", "read_source"]

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
class FirstPass:
    """What a first pass over a source has found: the good rows with their keys, and the rejects.

    It is a context manager: at the end it deletes its temporary files.

    :ivar rows: the good rows, all columns but the batch's.
    :ivar rejects: rows of ``etl_reject``.
    :ivar refused: good rows that the server refused: place in ``rows`` → reject.
    :ivar names: column of ``rows`` → column of the source, where the names differ.
    :ivar months: first instant of each month that has events → number of its rows; empty for a dimension.
    :ivar checksum: checksum of the content.
    :ivar given: the columns that the rows name.
    :ivar are_read: whether every value could be converted to its column's type.
    :ivar first: earliest time of the good rows.
    :ivar last: latest time of the good rows.
    :ivar sets: the lists of parameters that are made of the rows' names.
    :ivar parameter_sets: these, and those that the source knows.
    :ivar array_lengths: the lengths of the arrays under each key of a list.
    :ivar values: number of measured values in the rows to load.
    """

    resolver: KeyResolver
    rows: Spool = field(default_factory=Spool)
    rejects: Spool = field(default_factory=Spool)
    refused: dict[int, Reject] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    months: Counter[datetime] = field(default_factory=Counter)
    rows_read: int = 0
    checksum: str = ""
    are_read: bool = True
    first: datetime | None = None
    last: datetime | None = None
    sets: ParameterSets = field(default_factory=ParameterSets)
    parameter_sets: dict[int, ParameterSet] = field(default_factory=dict)
    array_lengths: set[tuple[int | None, int]] = field(default_factory=set)
    values: int = 0
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


class Keep(Protocol):
    """Makes the rows to keep from good rows, with durable keys in place of natural ones."""

    def __call__(self, found: FirstPass, clean: pa.RecordBatch, source: Source, given: Collection[str]) -> Kept:
        """Return the rows to keep, and the months of their events.

        :param given: the columns that the source gives.
        """


def read_source(
    source: Source,
    target: Target,
    engine: Engine,
    settings: WarehouseSettings,
    options: LoadOptions,
    keep: Keep | None = None,
) -> FirstPass:
    """Read a source to its end.

    :param keep: makes the rows to keep; by default those of a fact.
    :raises InvalidInputError: the source does not fit the target.
    """
    found, batches = begin_reading(source, target, engine, settings, options, keep or keep_facts)
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
    keep: Keep,
    *,
    keeps: bool = True,
) -> tuple[FirstPass, Generator[Kept, None, None]]:
    """Begin to read a source.

    :param keeps: whether the rows are kept for a second pass; else they are only counted.
    :return: the first pass, which is complete when the generator has ended, and the generator of its good rows.
    """
    earliest = getattr(source, "earliest", None) or datetime.combine(settings.event_min, datetime.min.time(), UTC)
    latest = datetime.now(UTC) + timedelta(days=settings.event_max_ahead_days)
    first, end = getattr(source, "window", None) or (earliest, latest)
    validator = Validator(target, earliest=max(first, earliest), latest=min(end, latest))
    policy = RetryPolicy.once_met(settings, engine)
    roots = RootLots(lambda lots: policy.call("look up lots", roots_of_lots, engine, lots), settings.lot_root_pattern)
    resolver = KeyResolver(target, roots, facility=settings.facility, wafer_id_pattern=settings.wafer_id_pattern)
    found = FirstPass(resolver, rows=Spool(keeps), checksum=source.checksum or "")
    found.sets = getattr(source, "made_sets", None) or found.sets
    found.given.always = frozenset(getattr(source, "constants", ()))
    options.begin("read", getattr(source, "extent", _unknown))
    return found, _read_batches(found, source, validator, options, keep)


def _read_batches(
    found: FirstPass, source: Source, validator: Validator, options: LoadOptions, keep: Keep
) -> Generator[Kept, None, None]:
    fingerprint = Fingerprint()
    with ThreadPoolExecutor(1, "gpwarehouse-resolve") as beside:
        keeping: Future[Kept] | None = None  # one batch at a time, while the next one is checked
        for batch in _split(source.batches()):
            clean = found.check(validator, batch, fingerprint if source.checksum is None else None)
            kept = keeping.result() if keeping is not None else None
            keeping = beside.submit(_keep, found, clean, source, keep, frozenset(batch.schema.names))
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


def _keep(found: FirstPass, clean: pa.RecordBatch, source: Source, keep: Keep, given: Collection[str]) -> Kept:
    """Put good rows into the spool."""
    if not clean.num_rows:
        return Kept(clean, frozenset())
    kept = keep(found, clean, source, given)
    found.rows.append(kept.rows.append_column(GIVEN, clean.column(GIVEN)))
    found.see(clean.column(found.resolver.target.partition_column))
    return kept


def keep_facts(found: FirstPass, clean: pa.RecordBatch, source: Source, given: Collection[str]) -> Kept:
    """Make the rows of a fact: all its columns but the batch's own."""
    target = found.resolver.target
    columns = dict(zip(clean.schema.names, clean.columns, strict=True))
    columns |= found.resolver.resolve(clean)
    if MEASURED in target.inputs:
        # Else the source gives values as arrays, and parameters stay as they are.
        if MEASURED not in given or columns[MEASURED].null_count == clean.num_rows:
            columns |= factor_parameters(columns[PARAMETERS], found.sets)
        found.values += count_values(columns[MEASURED])
        found.array_lengths |= lengths_by_key(columns[SET_KEY], columns[MEASURED])
    times = columns[target.partition_column]
    columns["time_key"] = _compute_time_keys(times)
    for name, value in (("source_system", source.source_system), ("source_file", source.source_file or None)):
        columns[name] = pc.coalesce(columns[name], pa.scalar(value, pa.string()))
    names = [name for name in target.columns if name != "batch_id"]
    months = pc.value_counts(pc.floor_temporal(times.cast(_CLOCK), unit="month"))
    firsts = months.field("values").cast(TIMESTAMP).to_pylist()
    found.months.update(dict(zip(firsts, months.field("counts").to_pylist(), strict=True)))
    return Kept(pa.RecordBatch.from_arrays([columns[name] for name in names], names), frozenset(firsts))


def _compute_time_keys(times: pa.Array) -> pa.Array:
    """Compute YYYYMMDDHH. Arithmetic is used, because formatting the times takes twenty times as long."""
    clock = times.cast(_CLOCK)
    key = pc.year(clock)
    for part in (pc.month(clock), pc.day(clock), pc.hour(clock)):
        key = pc.add(pc.multiply(key, 100), part)
    return key.cast(pa.int32())
