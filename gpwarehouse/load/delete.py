"""Rows of facts taken out: those of a batch, or a month with all that is in it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import Table, cast, func, select
from sqlalchemy.dialects.postgresql import REGCLASS
from sqlalchemy.engine import Connection, Engine

from gpwarehouse.batches import ledger
from gpwarehouse.batches.conflicts import delete_leftovers, delete_rows
from gpwarehouse.batches.lost_commits import settled
from gpwarehouse.batches.removed_rows import batches_in, loaded_rows, mark_deleted, note
from gpwarehouse.dialect import RangePartition, TruncatePartition
from gpwarehouse.dialect.options import month_partition
from gpwarehouse.engine import qualified_name
from gpwarehouse.errors import InvalidInputError, PartitionError
from gpwarehouse.intake.load_options import check_name
from gpwarehouse.load.maintenance import Upkeep
from gpwarehouse.models import FACTS, EtlLoadBatch
from gpwarehouse.months import change_partitions, child_of
from gpwarehouse.partitions.manager import fact_named, month_named
from gpwarehouse.partitions.partition_changes import there
from gpwarehouse.settings import WarehouseSettings

__all__ = ["Deleted", "Deleter"]

_UNDONE = "nothing was deleted"
Result = TypeVar("Result")


@dataclass(frozen=True)
class Deleted:
    """What was taken out of a fact.

    :ivar batches: those that had rows there.
    :ivar loadable: of them, those that can be loaded again.
    :ivar vacuumed: partitions whose space was given back.
    :ivar warnings: what could not be done after the commit, and why.
    """

    target: str
    rows: int
    batches: tuple[str, ...]
    loadable: tuple[str, ...]
    vacuumed: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class Deleter:
    """Takes rows out of the facts of one warehouse."""

    def __init__(self, engine: Engine, settings: WarehouseSettings) -> None:
        self.engine = engine
        self.settings = settings

    def delete_batch(self, batch_id: str) -> Deleted:
        """Delete a batch's rows: see :meth:`gpwarehouse.Warehouse.batches.delete`."""
        check_name("batch_id", batch_id)

        def find() -> Any:
            with self.engine.connect() as connection:
                return self._batch(connection, batch_id)

        row = self._once(find, "etl_load_batch", f"look for batch {batch_id}")
        work = _OfBatch(self.engine, row, partial(self._batch, batch_id=batch_id))
        rows = self._once(work.attempt, row.target, f"deletion of batch {batch_id}", work.done)
        if not rows:
            return Deleted(row.target, 0, (), (batch_id,))
        upkeep = Upkeep(self.engine, FACTS[row.target].__table__)
        upkeep.vacuum(row.min_event_ts, row.max_event_ts)
        return Deleted(*(row.target, rows, (batch_id,), (batch_id,)), tuple(upkeep.vacuumed), tuple(upkeep.warnings))

    def _once(
        self, attempt: Callable[[], Result], table: str, what: str, done: Callable[[], Result | None] | None = None
    ) -> Result:
        return settled(self.engine, self.settings, attempt, what=what, table=table, undone=_UNDONE, done=done)

    def _batch(self, connection: Connection, batch_id: str) -> Any:
        table = EtlLoadBatch.__table__
        row = connection.execute(select(table).where(table.c.batch_id == batch_id)).first()
        if row is None:
            raise ledger.no_such_batch(batch_id)
        if row.target not in FACTS:
            raise InvalidInputError(
                f"batch {batch_id!r} went into {row.target}, whose history it is part of: only batches of facts can be "
                "deleted; merge what is right"
            )
        return row

    def delete_month(self, fact: str, month: str, *, across: bool = False, dry_run: bool = False) -> Deleted:
        """Empty a month: see :meth:`gpwarehouse.Warehouse.facts.delete_month`."""
        work = _OfMonth(self.engine, fact_named(fact), month_partition(month_named(month)), across)
        if dry_run:
            return self._once(work.count, fact, f"look at {month} of {fact}")
        return self._once(work.attempt, fact, f"deletion of {month} of {fact}", work.done)


class _OfBatch:
    """The deletion of one batch's rows: attempts at it, of which one's COMMIT may have gone through unanswered.

    :param find: the batch's row as it is now.
    """

    def __init__(self, engine: Engine, row: Any, find: Callable[[Connection], Any]) -> None:
        self.engine = engine
        self.row = row
        self.find = find
        self.reached: tuple[Any, int] | None = None

    @contextmanager
    def _held(self) -> Iterator[tuple[Connection, Any]]:
        """The batch's row, in a transaction that keeps others from the batch."""
        with self.engine.begin() as connection:
            ledger.lock_batch(connection, self.row.target, self.row.batch_id, self.row.checksum)
            yield connection, self.find(connection)  # seen anew: it may have been replaced meanwhile

    def _before(self, now: Any) -> int | None:
        """Rows that an attempt before deleted; None if it did not go through."""
        if self.reached is None or self.reached[0] == _state(now):
            return None
        return self.reached[1]

    def attempt(self) -> int:
        with self._held() as (connection, now):
            before = self._before(now)
            if before is not None:
                return before
            if ledger.has_left(now):
                rows = delete_leftovers(connection, "event_ts", now, "wh.batches.delete")
            elif now.status == ledger.LOADED:
                rows = delete_rows(connection, FACTS[now.target].__table__, "event_ts", now)
                mark_deleted(connection, now, f": {rows} rows; it can be loaded again")
            else:
                return 0
            self.reached = (_state(now), rows)
            return rows

    def done(self) -> int | None:
        """Rows that were deleted although an error came back."""
        if self.reached is None:
            return None
        with self._held() as (_, now):
            return self._before(now)


def _state(row: Any) -> tuple[Any, ...]:
    """What a deletion changes in a batch's row, or whoever loads it anew."""
    return row.status, row.started_at, row.error


class _OfMonth:
    """The same of a month. That it was emptied shows in its partition's file, which is another one then."""

    def __init__(self, engine: Engine, table: Table, month: RangePartition, across: bool) -> None:
        self.engine = engine
        self.table = table
        self.month = month
        self.across = across
        self.reached: tuple[Any, Deleted] | None = None

    def attempt(self) -> Deleted:
        return change_partitions(self.engine, self.table, self._empty)

    def done(self) -> Deleted | None:
        """What was deleted although an error came back."""
        if self.reached is None:
            return None
        return change_partitions(self.engine, self.table, lambda connection: self._before(self._file(connection)[1]))

    def _file(self, connection: Connection) -> tuple[RangePartition | None, Any]:
        """The partition, and the number of its file."""
        found = there(connection, self.table, self.month)
        if found is None:
            return None, None
        name = qualified_name(connection, _child(self.table, found))
        return found, connection.execute(select(func.pg_relation_filenode(cast(name, REGCLASS)))).scalar_one()

    def _before(self, file: Any) -> Deleted | None:
        return self.reached[1] if self.reached is not None and self.reached[0] != file else None

    def _empty(self, connection: Connection) -> Deleted:
        found, file = self._file(connection)
        before = self._before(file)
        if before is not None:
            return before
        done, wholly, partly, counts = self._found(connection, found)
        assert found is not None
        connection.execute(TruncatePartition(self.table, found))
        month = f"{self.month.start:%Y-%m}"
        for row in wholly:
            mark_deleted(connection, row, f" with {month}: {counts[row.batch_id]} rows")
        for row in partly:
            gone = counts[row.batch_id]
            note(connection, row, f"deleted with {month}: {gone} of its rows", rows_gone=gone)
        self.reached = (file, done)
        return done

    def count(self) -> Deleted:
        """What would be deleted."""
        with self.engine.connect() as connection:
            return self._found(connection, self._file(connection)[0])[0]

    def _found(
        self, connection: Connection, partition: RangePartition | None
    ) -> tuple[Deleted, list[Any], list[Any], dict[str, int]]:
        """What is to be deleted; the batches that are wholly in the month and those that are not; rows of each.

        :raises PartitionError: it must not be.
        """
        fact, month = self.table.name, f"{self.month.start:%Y-%m}"
        if partition is None:
            raise PartitionError(f"{fact}: there is no partition of {month}; {_UNDONE}")
        counts = batches_in(connection, _child(self.table, partition))
        wholly, partly = self._inside(loaded_rows(connection, counts))
        if partly and not self.across:
            raise PartitionError(
                f"{fact}: {len(partly)} batches have rows in {month} and in other months, the first is "
                f"{partly[0].batch_id!r}: they could not be loaded again without doubling those. Delete them "
                f"(wh.batches.delete), or say across=True; {_UNDONE}"
            )
        loadable = tuple(sorted(row.batch_id for row in wholly))
        return Deleted(fact, sum(counts.values()), tuple(sorted(counts)), loadable), wholly, partly, counts

    def _inside(self, batches: Iterable[Any]) -> tuple[list[Any], list[Any]]:
        """Batches that are wholly in the month, and those that are not."""
        wholly: list[Any] = []
        partly: list[Any] = []
        for row in batches:
            inside = self.month.start <= row.min_event_ts and row.max_event_ts < self.month.end
            (wholly if inside else partly).append(row)
        return wholly, partly


def _child(table: Table, partition: Any) -> Table:
    """The partition's own table, with the columns of the fact."""
    return table.to_metadata(table.metadata.__class__(), name=child_of(table, partition))
