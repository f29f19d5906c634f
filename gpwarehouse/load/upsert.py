"""Insert, change and delete rows of facts by their business key, in sets, as batches of their own.

The rows are staged. Existing rows with their keys are searched only in the months of their times. These are deleted and written
again, because append-optimized rows are not changed in place. Other writers to the fact wait meanwhile; readers do not.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Column, ColumnElement, Table, Text, and_, case, cast, func, insert, null, or_, select, text, true
from sqlalchemy.engine import Connection
from sqlalchemy.sql.elements import True_

from gpwarehouse.batches import ledger
from gpwarehouse.batches.conflicts import delete_where
from gpwarehouse.batches.exactly_once import Finish, Store, in_one_transaction
from gpwarehouse.batches.new_batch import NewBatch
from gpwarehouse.batches.removed_rows import Removal, loaded_rows, record_removals
from gpwarehouse.dialect.options import month_partition
from gpwarehouse.engine import qualified_name
from gpwarehouse.engine.temporary_tables import create_temporary_like
from gpwarehouse.errors import InvalidInputError, LoadError
from gpwarehouse.intake.first_pass import FirstPass
from gpwarehouse.intake.frame_source import FrameSource
from gpwarehouse.intake.given_columns import GIVEN, Given, marker
from gpwarehouse.intake.target import Target, role_inputs, target_named
from gpwarehouse.load.run import Run
from gpwarehouse.models.base import TimestampTZ
from gpwarehouse.models.grain import columns_of_grain, grain_of, plain, same_record
from gpwarehouse.partitions.manager import fact_named, month_named
from gpwarehouse.transport import Route

__all__ = ["KeySource", "Upsert"]

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


@dataclass
class Upsert:
    """The :class:`~gpwarehouse.batches.exactly_once.Write` of a :class:`KeySource`.

    Only equal content under an equal id of the caller is the same batch: rows may have changed in between.
    """

    run: Run
    entry: NewBatch
    source: KeySource
    _route: Route | None = None
    _written: ledger.Written | None = None

    @classmethod
    def of(cls, run: Run, found: FirstPass) -> Upsert:
        """Make it for rows that are read."""
        assert isinstance(run.source, KeySource)
        words = ("delete" if run.source.deletes else "upsert", *found.given.words())
        own = " ".join([*words, run.options.batch_id or str(uuid.uuid4())])
        origin: ledger.Origin = "DELETE" if run.source.deletes else "UPSERT"
        return cls(run, run.new_batch(found, origin, own), run.source)

    def prepare(self) -> None:
        """Make months, hours and members. Of rows to delete, a member that does not exist has no rows."""
        found = self.entry.found
        self.run.options.report("prepare", 0)
        if not self.source.deletes:
            with self.run.phase("prepare"):
                self.run.make_months(found)
                self.run.make_members(found, self.entry.batch_id)
        self._route = self.run.route(found.rows_to_load)

    def transact(self, store: Store, finish: Finish) -> None:
        """Run in one transaction."""
        with self.run.phase("copy"):
            in_one_transaction(self.run.engine, store, finish)

    def store(self, connection: Connection) -> None:
        """Stage the rows, delete the existing rows with their keys, and insert the new ones."""
        run, entry, found = self.run, self.entry, self.entry.found
        run.rows_replaced, run.emptied, self._written = 0, None, ledger.Written(0)
        if not found.rows_to_load:
            return
        assert self._route is not None
        work = _KeyMerge(connection, run.target, self._window(), deletes=self.source.deletes)
        work.make_stage(found.given)
        run.store_rows(connection, self._route, work.stage, entry, (GIVEN,) if GIVEN in work.stage.c else ())
        work.finish_stage()
        run.rows_replaced, run.emptied = work.delete_old(entry.batch_id)
        rows = 0 if self.source.deletes else work.insert_new(found.given)
        self._written = ledger.Written(rows, run.rows_replaced)

    def finish(self, connection: Connection) -> ledger.Written:
        """Write what the rows tell of members."""
        if not self.source.deletes and self.entry.found.rows_to_load:
            self.run.learn(connection, self.entry.found, self.entry.batch_id)
        assert self._written is not None
        return self._written

    def _window(self) -> list[tuple[Any, Any]]:
        partitions = [month_partition(month) for month in sorted({*self.entry.found.months, *self.source.starts})]
        return [(partition.start, partition.end) for partition in partitions]


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

    def delete_old(self, batch_id: str) -> tuple[int, tuple[datetime, datetime] | None]:
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
            self._record_removals(batch_id)
        return int(rows), (first, last) if rows else None

    def _record_removals(self, batch_id: str) -> None:
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
            removal = Removal("KEY", found.rows, found.month, batch_id, found.month_now)
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
