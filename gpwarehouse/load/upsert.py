"""Insert, change and delete rows of facts by their business key, in sets, as batches of their own.

The rows are staged. Existing rows with their keys are searched only in the months of their times. These are deleted and written
again, because append-optimized rows are not changed in place. Other writers to the fact wait meanwhile; readers do not.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache, partial
from typing import Any

from sqlalchemy import Column, ColumnElement, Table, Text, and_, case, cast, func, insert, null, or_, select, text, true
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.sql.elements import True_

from gpwarehouse.batches import ledger
from gpwarehouse.batches.conflicts import delete_where
from gpwarehouse.batches.removed_rows import Removal, loaded_rows, record_removals
from gpwarehouse.dialect.options import month_partition
from gpwarehouse.dimensions.members import learn
from gpwarehouse.engine import qualified_name
from gpwarehouse.engine.temporary_tables import create_temporary_like
from gpwarehouse.errors import InvalidInputError, LoadError
from gpwarehouse.intake.checksum import batch_id_for
from gpwarehouse.intake.first_pass import FirstPass, Source
from gpwarehouse.intake.given_columns import GIVEN, Given, marker
from gpwarehouse.intake.target import Target, role_inputs, target_named
from gpwarehouse.load.frame_source import FrameSource
from gpwarehouse.load.loader import Loader, Run, add_batch_id, columns_to_copy, provenance_of
from gpwarehouse.load.refused_rows import store_all_but_refused
from gpwarehouse.load.result import LoadResult
from gpwarehouse.models.base import TimestampTZ
from gpwarehouse.models.grain import columns_of_grain, grain_of, plain, same_record
from gpwarehouse.partitions.manager import fact_named, month_named
from gpwarehouse.settings import WarehouseSettings
from gpwarehouse.transport import Route, leave_statistics_alone

__all__ = ["KeyLoader", "KeySource"]

_STAGE, _OLD = "gpw_key_stage", "gpw_key_old"
_OWN = frozenset({"time_key", "batch_id", "loaded_at", "source_system", "source_file", "source_record_no"})
"""Columns that describe the last row of a record, and not the record itself."""


@dataclass
class KeySource(FrameSource):
    """A frame of records; ``months`` (``YYYY-MM``) are searched too, besides the months of the records' times."""

    months: Iterable[str] = ()
    deletes: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        fact_named(self.target)
        self.starts = [month_named(month) for month in self.months]

    def row_target(self) -> Target:
        """The fact. For rows that are to be deleted, only the key is required."""
        return _target_of_deletion(self.target) if self.deletes else super().row_target()


@dataclass(frozen=True)
class _Span:
    """The time span of the deleted rows."""

    min_event_ts: datetime
    max_event_ts: datetime


class KeyLoader(Loader):
    """Loads one :class:`KeySource`."""

    may_stream = False  # the rows are loaded into a table beside the fact

    def __init__(self, engine: Engine, settings: WarehouseSettings) -> None:
        super().__init__(engine, settings)
        self._this = str(uuid.uuid4())

    def _target(self, source: Source) -> Target:
        assert isinstance(source, KeySource)
        return source.row_target()

    def batch_of(self, run: Run, found: FirstPass) -> ledger.Batch:
        """The batch. Only equal content under an equal id of the caller is the same batch: rows may have changed in between."""
        batch = super().batch_of(run, found)
        assert isinstance(run.source, KeySource)
        words = ("delete" if run.source.deletes else "upsert", *found.given.words())
        own = " ".join([*words, run.options.batch_id or self._this, found.checksum])
        checksum = hashlib.sha256(own.encode()).hexdigest()
        batch_id = run.batch_id or run.options.batch_id or batch_id_for(batch.target, checksum)
        return replace(batch, checksum=checksum, batch_id=batch_id, origin="DELETE" if run.source.deletes else "UPSERT")

    def _prepare(self, run: Run, found: FirstPass, batch: ledger.Batch) -> None:
        assert isinstance(run.source, KeySource)
        if not run.source.deletes:  # a member that does not exist has no rows
            super()._prepare(run, found, batch)

    def _run_transaction(self, run: Run, found: FirstPass, batch: ledger.Batch, route: Route) -> Any:
        assert isinstance(run.source, KeySource)
        with self.engine.begin() as connection:
            ledger.lock_batch(connection, batch.target, batch.batch_id, batch.checksum)
            verdict = self.decide(connection, run, batch.batch_id, batch.checksum)
            if verdict.loaded is not None:
                return verdict.loaded
            run.rows_replaced = 0
            leave_statistics_alone(connection)
            if found.rows_to_load:
                window = self._window(run.source, found)
                work = _KeyMerge(connection, run.target, window, deletes=run.source.deletes)
                self._stage(work, run, found, batch, route)
                run.rows_replaced, run.replaced = work.delete_old(batch)
                rows = 0 if run.source.deletes else work.insert_new(found.given)
                rejected, replaced = found.rows_rejected, run.rows_replaced
                batch = replace(batch, rows_loaded=rows, rows_rejected=rejected, rows_replaced=replaced)
                if not run.source.deletes and found.first is not None:
                    run.learned = learn(connection, found.resolver.members, provenance_of(batch, found.first))
            ledger.record_loaded(connection, batch, found.all_rejects())
            return batch

    def _window(self, source: KeySource, found: FirstPass) -> list[tuple[Any, Any]]:
        partitions = [month_partition(month) for month in sorted({*found.months, *source.starts})]
        return [(partition.start, partition.end) for partition in partitions]

    def _stage(self, work: _KeyMerge, run: Run, found: FirstPass, batch: ledger.Batch, route: Route) -> None:
        assert isinstance(run.source, KeySource)
        work.make_stage(found.given)
        staged = replace(run.target, table=work.stage)
        rows = partial(add_batch_id, found, batch.batch_id, run.options)
        columns = columns_to_copy(run.target, found.rows.filled) + ((GIVEN,) if GIVEN in work.stage.c else ())
        allowed = self._count_allowed(run, found) - found.rows_rejected
        check = partial(self.check_rejects, run, found, batch.batch_id)
        run.stored = store_all_but_refused(work.connection, route, staged, columns, found, rows, allowed, check)
        if run.stored.rows != found.rows_to_load:
            raise LoadError(
                f"{batch.target}: {found.rows_to_load} rows were sent, but the server stored {run.stored.rows}; load again"
            )
        work.finish_stage()

    def _maintain(self, run: Run, found: FirstPass, result: LoadResult) -> LoadResult:
        assert isinstance(run.source, KeySource)
        if run.source.deletes:
            found.months.clear()  # no rows were added, so statistics are not gathered
        return super()._maintain(run, found, result)


@cache
def _target_of_deletion(name: str) -> Target:
    """A fact of which only the business key is required."""
    target = target_named(name)
    key, _ = grain_of(name, target.table.c)
    names = set(columns_of_grain(key))
    names |= {part for column in names & set(target.roles) for part in role_inputs(target.roles[column])}
    needed = names | {target.partition_column}
    inputs = {n: c if n in needed else replace(c, required=False) for n, c in target.inputs.items()}
    return replace(target, inputs=inputs)


class _KeyMerge:
    """Staged rows of a fact and the existing rows with their keys, in the transaction of ``connection``.

    :param window: the half-open time spans that are searched.
    :param deletes: whether the existing rows are only deleted.
    """

    stage: Table
    old: Table

    def __init__(self, connection: Connection, target: Target, window: list[tuple[Any, Any]], *, deletes: bool) -> None:
        self.connection = connection
        self.deletes = deletes
        self.may_move = len(window) > 1 and not deletes
        self.target = target
        self.fact = target.table
        times = self.fact.c[target.partition_column]
        self.inside = or_(*(and_(times >= start, times < end) for start, end in window))

    def execute(self, statement: str) -> None:
        self.connection.execute(text(statement))

    def make_stage(self, given: Given) -> None:
        """Make a temporary table like the fact; if rows are to be inserted, with its constraints."""
        self.stage = create_temporary_like(self.connection, self.fact, _STAGE, checked=not self.deletes)
        if given.not_every and not self.deletes:
            self.execute(f"ALTER TABLE {_STAGE} ADD COLUMN {GIVEN} text")
            self.stage.append_column(Column(GIVEN, Text))

    def finish_stage(self) -> None:
        """Check that every row has a key; then keep other transactions from writing to the fact.

        :raises InvalidInputError: a row has no key.
        """
        known = grain_of(self.fact.name, self.stage.c)[1]
        if known is not None:
            query = select(self.stage.c.source_record_no).where(~known).order_by(self.stage.c.source_record_no).limit(1)
            lost = self.connection.execute(query).first()
            if lost is not None:
                raise InvalidInputError(
                    f"{self.fact.name}: the row with source_record_no {lost[0]} does not identify its record (by die, part or "
                    "site; a defect by its number). Nothing was changed; give these columns"
                )
        self.execute(f"ANALYZE {_STAGE}")
        self.execute(f"LOCK TABLE {qualified_name(self.connection, self.fact)} IN EXCLUSIVE MODE")

    def delete_old(self, batch: ledger.Batch) -> tuple[int, _Span | None]:
        """Delete the existing rows with the staged keys, keep them in a temporary table; return their number and time span."""
        stage = _last_of_each(self.stage, self.fact.name)
        there = select(self.fact).join(stage, same_record(self.fact.name, self.fact.c, stage.c)).where(self.inside)
        self.old = create_temporary_like(self.connection, self.fact, _OLD)
        self.connection.execute(insert(self.old).from_select([column.name for column in self.fact.columns], there))
        self.execute(f"ANALYZE {_OLD}")
        c = self.old.c
        rows, first, last = self.connection.execute(
            select(func.count(), func.min(c.event_ts), func.max(c.event_ts)).select_from(self.old)
        ).one()
        if rows:
            same = same_record(self.fact.name, self.fact.c, self.stage.c)
            times = self.fact.c.event_ts
            deleted = delete_where(self.connection, self.fact, and_(same, self.inside, times >= first, times <= last))
            if deleted != rows:
                raise LoadError(
                    f"{self.fact.name}: {rows} rows were found, but {deleted} were deleted. Nothing was changed"
                )
            self._record_removals(batch)
        return int(rows), _Span(first, last) if rows else None

    def _record_removals(self, batch: ledger.Batch) -> None:
        """Record for the batches that had the rows how many of which month are gone, and to which month they move."""
        name, month = self.old.c.batch_id, _month_of(self.old)
        rows: Any = self.old
        now: Any = cast(null(), TimestampTZ)
        if self.may_move:
            stage = _last_of_each(self.stage, self.fact.name)
            rows = self.old.join(stage, same_record(self.fact.name, self.old.c, stage.c))
            now = func.nullif(_month_of(stage), month)
        old = select(name, month.label("month"), now.label("month_now")).select_from(rows).subquery()
        gone: dict[str, list[Removal]] = {}
        for found in self.connection.execute(
            select(*old.c, func.count().label("rows")).group_by(*old.c).order_by(*old.c)
        ):
            removal = Removal("KEY", found.rows, found.month, batch.batch_id, found.month_now)
            gone.setdefault(found.batch_id, []).append(removal)
        record_removals(self.connection, loaded_rows(self.connection, gone), gone)

    def insert_new(self, given: Given) -> int:
        """Insert the last staged row of each key. Columns that no row gives keep their old values. Return the number of rows."""
        varying = sorted(given.not_every - _OWN)
        stage = _last_of_each(self.stage, self.fact.name, varying=varying)
        old = _last_of_each(self.old, self.fact.name, "loaded_at")
        names = [column.name for column in self.fact.columns]
        is_there = old.c.batch_id.is_not(None)
        flags: dict[str, ColumnElement[bool]] = {name: stage.c[_flag_of(name)] for name in varying}
        flags |= dict.fromkeys(given.every | _OWN, true())
        values = [self._new_value(name, stage.c, old.c, is_there, flags) for name in names]
        joined = stage.outerjoin(old, same_record(self.fact.name, stage.c, old.c))
        return self.connection.execute(
            insert(self.fact).from_select(names, select(*values).select_from(joined))
        ).rowcount

    def _new_value(self, name: str, new: Any, old: Any, is_there: Any, flags: Mapping[str, ColumnElement[bool]]) -> Any:
        """The new value of a column: the given one, else the old one, unless the column depends on one that changes."""
        is_given = flags.get(name)
        if isinstance(is_given, True_):
            return new[name]
        kept = is_there if is_given is None else and_(is_there, ~is_given)
        owner = _owner_of(self.target, name)
        if owner is not None and owner in flags:  # another tool has other chambers
            kept = and_(kept, or_(~flags[owner], new[owner] == old[owner]))
        return case((kept, old[name]), else_=new[name])


def _owner_of(target: Target, name: str) -> str | None:
    """The key of the tool that a chamber key belongs to: the other key, made of a part of its inputs."""
    role = target.roles.get(name)
    if role is not None:
        for other, of in target.roles.items():
            if of.dimension == role.dimension and set(of.inputs.values()) < set(role.inputs.values()):
                return other
    return None


def _month_of(rows: Any) -> Any:
    """The first instant of the month of rows, UTC."""
    return func.timezone("UTC", func.date_trunc("month", func.timezone("UTC", rows.c.event_ts)))


def _flag_of(name: str) -> str:
    """Name of a column of a staged row: whether any row with its key gives a column."""
    return f"gpw_given_{name}"


def _last_of_each(table: Table, fact: str, *order: str, varying: Sequence[str] = ()) -> Any:
    """The last of the rows with the same key.

    :param varying: columns that not all rows give. Each gets the value of the last row that gives it, and a flag whether there
        is one.
    """
    key = [plain(expression) for expression in grain_of(fact, table.c)[0]]
    last = [table.c[name].desc() for name in (*order, "source_record_no")]
    n = func.row_number().over(partition_by=key, order_by=last).label("gpw_n")
    columns: dict[str, Any] = {column.name: column for column in table.columns if column.name != GIVEN}
    for name in varying:
        is_given = func.strpos(table.c[GIVEN], marker(name)) > 0
        last_given = func.first_value(table.c[name]).over(partition_by=key, order_by=[is_given.desc(), *last])
        columns |= {
            name: last_given.label(name),
            _flag_of(name): func.bool_or(is_given).over(partition_by=key).label(_flag_of(name)),
        }
    numbered = select(*columns.values(), n).subquery()
    return select(*(numbered.c[name] for name in columns)).where(numbered.c.gpw_n == 1).subquery()
