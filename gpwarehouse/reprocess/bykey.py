"""Rows of facts put in, changed and taken out by their business key, in sets, as batches of their own.

The rows are staged, and what is there under their keys is looked for in the months of their times alone. It is deleted and
written anew: append-optimized rows are not changed in place. Who writes to the fact waits meanwhile, who reads does not.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cache, partial
from typing import Any

import pyarrow as pa
from sqlalchemy import ColumnElement, MetaData, Table, Text, and_, case, cast, func, insert, or_, select, text
from sqlalchemy.engine import Connection, Engine

from gpwarehouse.dialect.options import month_partition
from gpwarehouse.engine import dialect_of, qualified_name
from gpwarehouse.errors import InvalidInputError, LoadError
from gpwarehouse.load import batches as ledger
from gpwarehouse.load.conflict import delete_where
from gpwarehouse.load.fingerprint import batch_id_for
from gpwarehouse.load.firstpass import FirstPass, Source
from gpwarehouse.load.loader import FrameSource, Loader, Run, columns_to_copy, teller_of, with_batch
from gpwarehouse.load.members import learn
from gpwarehouse.load.narrow import store_all_but_refused
from gpwarehouse.load.result import LoadResult
from gpwarehouse.load.target import Target, role_inputs, target_named
from gpwarehouse.models.grain import grain_of
from gpwarehouse.partitions.manager import fact_named, month_named
from gpwarehouse.reprocess.record import loaded_rows, note
from gpwarehouse.settings import WarehouseSettings
from gpwarehouse.transport import Route, leave_statistics_alone

__all__ = ["KeyLoader", "KeySource"]

_STAGE, _OLD = "gpw_key_stage", "gpw_key_old"
_OWN = frozenset({"time_key", "batch_id", "loaded_at", "source_system", "source_file", "source_record_no"})
"""What tells of the row that came last, and not of the record."""


@dataclass
class KeySource(FrameSource):
    """A frame of records; ``months`` (``YYYY-MM``): where else than in those of its times they are looked for.

    :ivar given: the columns that it brings.
    """

    months: Iterable[str] = ()
    deletes: bool = False
    given: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__post_init__()
        fact_named(self.target)
        self.starts = [month_named(month) for month in self.months]

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The frame's rows."""
        for batch in super().batches():
            self.given |= set(batch.schema.names)
            yield batch


@dataclass(frozen=True)
class _Span:
    """Of the rows that were deleted."""

    min_event_ts: datetime
    max_event_ts: datetime


class KeyLoader(Loader):
    """Writes one :class:`KeySource`."""

    begins_early = False  # the rows go to a table beside the fact

    def __init__(self, engine: Engine, settings: WarehouseSettings) -> None:
        super().__init__(engine, settings)
        self._this = str(uuid.uuid4())

    def _target(self, source: Source) -> Target:
        assert isinstance(source, KeySource)
        return _for_deletion(source.target) if source.deletes else super()._target(source)

    def batch_of(self, run: Run, found: FirstPass) -> ledger.Batch:
        """Repeated is only the same content under the same id of the caller's: in between something else may have come."""
        batch = super().batch_of(run, found)
        assert isinstance(run.source, KeySource)
        words = ("delete" if run.source.deletes else "upsert", *sorted(run.source.given))
        own = " ".join([*words, run.wishes.batch_id or self._this, found.checksum])
        checksum = hashlib.sha256(own.encode()).hexdigest()
        named = run.batch_id or run.wishes.batch_id
        return replace(batch, checksum=checksum, batch_id=named or batch_id_for(batch.target, checksum))

    def _prepare(self, run: Run, found: FirstPass, batch: ledger.Batch) -> None:
        assert isinstance(run.source, KeySource)
        if not run.source.deletes:  # who is not there has no rows
            super()._prepare(run, found, batch)

    def _transaction(self, run: Run, found: FirstPass, batch: ledger.Batch, route: Route) -> Any:
        assert isinstance(run.source, KeySource)
        with self.engine.begin() as connection:
            ledger.lock_batch(connection, batch.target, batch.batch_id, batch.checksum)
            verdict = self.judged(connection, run, batch.batch_id, batch.checksum)
            if verdict.loaded is not None:
                return verdict.loaded
            run.rows_replaced = 0
            leave_statistics_alone(connection)
            said = None
            if found.rows_to_load:
                work = _Work(connection, run.target, self._window(run.source, found))
                self._stage(work, run, found, batch, route)
                run.rows_replaced, run.replaced, said = work.take_out(batch)
                rows = 0 if run.source.deletes else work.put_in(_given(run.source, run.target))
                batch = replace(batch, rows_loaded=rows, rows_rejected=found.rows_rejected)
                if not run.source.deletes and found.first is not None:
                    run.learned = learn(connection, found.resolver.members, teller_of(batch, found.first))
            ledger.record_loaded(connection, batch, found.all_rejects(), said if run.source.deletes else None)
            return batch

    def _window(self, source: KeySource, found: FirstPass) -> list[tuple[Any, Any]]:
        partitions = [month_partition(month) for month in sorted({*found.months, *source.starts})]
        return [(partition.start, partition.end) for partition in partitions]

    def _stage(self, work: _Work, run: Run, found: FirstPass, batch: ledger.Batch, route: Route) -> None:
        assert isinstance(run.source, KeySource)
        work.make_stage(checked=not run.source.deletes)
        staged = replace(run.target, table=work.stage)
        rows = partial(with_batch, found, batch.batch_id, run.wishes)
        columns = columns_to_copy(run.target, found.rows.filled)
        allowed = self._allowed(run, found) - found.rows_rejected
        check = partial(self.check_rejects, run, found, batch.batch_id)
        run.stored = store_all_but_refused(work.connection, route, staged, columns, found, rows, allowed, check)
        if run.stored.rows != found.rows_to_load:
            raise LoadError(
                f"{batch.target}: {found.rows_to_load} rows were sent and {run.stored.rows} staged; load again"
            )
        work.staged()

    def _after(self, run: Run, found: FirstPass, result: LoadResult) -> LoadResult:
        assert isinstance(run.source, KeySource)
        if run.source.deletes:
            found.months.clear()  # nothing came that statistics should know of
        return super()._after(run, found, result)


@cache
def _for_deletion(name: str) -> Target:
    """A fact of whose rows the business key is enough."""
    target = target_named(name)
    key, _ = grain_of(name, target.table.c)
    names = {column.name for expression in key for column in expression.base_columns if hasattr(column, "name")}
    names |= {part for column in names & set(target.roles) for part in role_inputs(target.roles[column])}
    needed = names | {target.partition_column}
    inputs = {n: c if n in needed else replace(c, required=False) for n, c in target.inputs.items()}
    return replace(target, inputs=inputs)


def _given(source: KeySource, target: Target) -> set[str]:
    """Columns of the fact of which the frame says something; of the others a record keeps what it has."""
    given = {name for name in target.columns if name in source.given} | _OWN
    for name, role in target.roles.items():
        if name in ("wafer_key", "lot_key") or set(role_inputs(role)) & (source.given - {"facility"}):
            given.add(name)
    return given


class _Work:
    """Staged rows of a fact, and those that are there under their keys, in the transaction of ``connection``.

    :param window: the half-open spans of time that are looked into.
    """

    def __init__(self, connection: Connection, target: Target, window: list[tuple[Any, Any]]) -> None:
        self.connection = connection
        self.fact = target.table
        self.stage, self.old = (
            target.table.to_metadata(MetaData(), name=name, schema=None)  # type: ignore[arg-type]
            for name in (_STAGE, _OLD)
        )
        times = self.fact.c[target.partition_column]
        self.inside = or_(*(and_(times >= start, times < end) for start, end in window))
        capabilities = dialect_of(connection).capabilities
        assert capabilities is not None
        self.spread = ""
        if capabilities.distribution:
            key, *_ = target.columns
            self.spread = f" DISTRIBUTED BY ({connection.dialect.identifier_preparer.quote(key)})"

    def execute(self, statement: str) -> None:
        self.connection.execute(text(statement))

    def make_stage(self, *, checked: bool) -> None:
        """A temporary table like the fact, ``checked`` with what it checks of a row."""
        if not checked:
            self._make(_STAGE)
            return
        like = f"(LIKE {qualified_name(self.connection, self.fact)} INCLUDING DEFAULTS INCLUDING CONSTRAINTS)"
        self.execute(f"CREATE TEMPORARY TABLE {_STAGE} {like} ON COMMIT DROP{self.spread}")

    def _make(self, name: str) -> None:
        fact = qualified_name(self.connection, self.fact)
        self.execute(f"CREATE TEMPORARY TABLE {name} ON COMMIT DROP AS TABLE {fact} WITH NO DATA{self.spread}")

    def staged(self) -> None:
        """See that every row has a key; then keep all others from writing to the fact.

        :raises InvalidInputError: a row has none.
        """
        known = grain_of(self.fact.name, self.stage.c)[1]
        if known is not None:
            query = select(self.stage.c.source_record_no).where(~known).order_by(self.stage.c.source_record_no).limit(1)
            lost = self.connection.execute(query).first()
            if lost is not None:
                raise InvalidInputError(
                    f"{self.fact.name}: of the row with source_record_no {lost[0]} nothing says which record it is (a die, a "
                    "part or a site; of a defect its number); nothing was changed"
                )
        self.execute(f"ANALYZE {_STAGE}")
        self.execute(f"LOCK TABLE {qualified_name(self.connection, self.fact)} IN EXCLUSIVE MODE")

    def take_out(self, batch: ledger.Batch) -> tuple[int, _Span | None, str]:
        """Delete the rows that are there under the staged keys, and keep them aside.

        :return: how many, their span, and what is said of it.
        """
        stage = _last_of_each(self.stage, self.fact.name)
        there = select(self.fact).join(stage, _same(self.fact.name, self.fact.c, stage.c)).where(self.inside)
        self._make(_OLD)
        self.connection.execute(insert(self.old).from_select([column.name for column in self.fact.columns], there))
        self.execute(f"ANALYZE {_OLD}")
        c = self.old.c
        rows, first, last = self.connection.execute(
            select(func.count(), func.min(c.event_ts), func.max(c.event_ts)).select_from(self.old)
        ).one()
        said = f"0 rows had these keys; batch {batch.batch_id}"
        if rows:
            same = _same(self.fact.name, self.fact.c, self.stage.c)
            times = self.fact.c.event_ts
            deleted = delete_where(self.connection, self.fact, and_(same, self.inside, times >= first, times <= last))
            if deleted != rows:
                raise LoadError(f"{self.fact.name}: {rows} rows were found and {deleted} deleted; nothing was changed")
            said = self._note(batch)
        return int(rows), _Span(first, last) if rows else None, said

    def _note(self, batch: ledger.Batch) -> str:
        """Tell the batches that had the rows; what is said of all of them."""
        c = self.old.c
        month = func.to_char(func.timezone("UTC", c.event_ts), "YYYY-MM")
        gone: dict[str, dict[str, int]] = {}
        for name, when, rows in self.connection.execute(
            select(c.batch_id, month, func.count()).group_by(c.batch_id, month).order_by(c.batch_id, month)
        ):
            gone.setdefault(name, {})[when] = rows
        for row in loaded_rows(self.connection, {name: sum(months.values()) for name, months in gone.items()}):
            rows = sum(gone[row.batch_id].values())
            words = f"{', '.join(gone[row.batch_id])}: {rows} rows by key, batch {batch.batch_id}"
            note(self.connection, row, words, rows_gone=rows)
        months = sorted({when for found in gone.values() for when in found})
        return f"{', '.join(months)}: {sum(sum(found.values()) for found in gone.values())} rows deleted by key"

    def put_in(self, given: set[str]) -> int:
        """Insert the staged rows, the last of each key; what they do not say is as it was. How many."""
        stage, old = _last_of_each(self.stage, self.fact.name), _last_of_each(self.old, self.fact.name, "loaded_at")
        names = [column.name for column in self.fact.columns]
        is_there = old.c.batch_id.is_not(None)
        values = [
            stage.c[name] if name in given else case((is_there, old.c[name]), else_=stage.c[name]) for name in names
        ]
        joined = stage.outerjoin(old, _same(self.fact.name, stage.c, old.c))
        return self.connection.execute(
            insert(self.fact).from_select(names, select(*values).select_from(joined))
        ).rowcount


def _last_of_each(table: Table, fact: str, *order: str) -> Any:
    """Of rows with one key the one that came last."""
    key = [_plain(expression) for expression in grain_of(fact, table.c)[0]]
    last = [table.c[name].desc() for name in (*order, "source_record_no")]
    n = func.row_number().over(partition_by=key, order_by=last).label("gpw_n")
    numbered = select(table, n).subquery()
    return select(*(numbered.c[column.name] for column in table.columns)).where(numbered.c.gpw_n == 1).subquery()


def _plain(expression: ColumnElement[Any]) -> ColumnElement[Any]:
    return getattr(expression, "element", expression)


def _same(fact: str, one: Any, other: Any) -> ColumnElement[bool]:
    """Whether two rows have one business key. NULL is a value, compared so that rows can be joined by hashing."""
    terms = []
    for a, b in zip(grain_of(fact, one)[0], grain_of(fact, other)[0], strict=True):
        a, b = _plain(a), _plain(b)
        if getattr(a, "nullable", True) or getattr(b, "nullable", True):
            a, b = (func.coalesce(cast(side, Text), func.chr(31)) for side in (a, b))
        terms.append(a == b)
    return and_(*terms)
