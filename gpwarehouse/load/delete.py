"""Delete rows of facts: the rows of a batch, or a month with all its rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import Table, cast, func, select
from sqlalchemy.dialects.postgresql import REGCLASS
from sqlalchemy.engine import Connection, Engine

from gpwarehouse.batches import ledger
from gpwarehouse.batches.conflicts import delete_leftovers, delete_rows
from gpwarehouse.batches.lost_commits import commit_once
from gpwarehouse.batches.removed_rows import Removal, batches_in, loaded_rows, mark_deleted, record_removals
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
    """The rows that were deleted from a fact.

    :ivar batches: batches that had rows there.
    :ivar loadable: those of them that can be loaded again.
    :ivar vacuumed: partitions whose space was freed.
    :ivar warnings: what failed after the commit, and why.
    """

    target: str
    rows: int
    batches: tuple[str, ...]
    loadable: tuple[str, ...]
    vacuumed: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class Deleter:
    """Deletes rows from the facts of one warehouse."""

    def __init__(self, engine: Engine, settings: WarehouseSettings) -> None:
        self.engine = engine
        self.settings = settings

    def delete_batch(self, batch_id: str) -> Deleted:
        """Delete a batch's rows: see :meth:`gpwarehouse.warehouse.batches.Batches.delete`."""
        check_name("batch_id", batch_id)

        def find() -> Any:
            with self.engine.connect() as connection:
                return self._read_batch(connection, batch_id)

        row = self._commit_once(find, "etl_load_batch", f"look for batch {batch_id}")
        work = _BatchDeletion(self.engine, row, partial(self._read_batch, batch_id=batch_id))
        rows = self._commit_once(work.attempt, row.target, f"deletion of batch {batch_id}", work.done)
        if not rows:
            return Deleted(row.target, 0, (), (batch_id,))
        upkeep = Upkeep(self.engine, FACTS[row.target].__table__)
        upkeep.vacuum(row.min_event_ts, row.max_event_ts)
        return Deleted(*(row.target, rows, (batch_id,), (batch_id,)), tuple(upkeep.vacuumed), tuple(upkeep.warnings))

    def _commit_once(
        self, attempt: Callable[[], Result], table: str, what: str, done: Callable[[], Result | None] | None = None
    ) -> Result:
        return commit_once(self.engine, self.settings, attempt, what=what, table=table, undone=_UNDONE, done=done)

    def _read_batch(self, connection: Connection, batch_id: str) -> Any:
        table = EtlLoadBatch.__table__
        row = connection.execute(select(table).where(table.c.batch_id == batch_id)).first()
        if row is None:
            raise ledger.no_such_batch(batch_id)
        if row.target not in FACTS:
            raise InvalidInputError(
                f"batch {batch_id!r} was merged into {row.target} and is part of its history. Only batches of facts can be "
                "deleted; merge the right values instead"
            )
        return row

    def delete_month(self, fact: str, month: str, *, across: bool = False, dry_run: bool = False) -> Deleted:
        """Empty a month: see :meth:`gpwarehouse.warehouse.facts.Facts.delete_month`."""
        work = _MonthDeletion(self.engine, fact_named(fact), month_partition(month_named(month)), across)
        if dry_run:
            return self._commit_once(work.count, fact, f"look at {month} of {fact}")
        return self._commit_once(work.attempt, fact, f"deletion of {month} of {fact}", work.done)


class _BatchDeletion:
    """The deletion of one batch's rows. It may take several attempts, of which one may be committed without an answer.

    :param find: reads the current row of the batch.
    """

    def __init__(self, engine: Engine, row: Any, find: Callable[[Connection], Any]) -> None:
        self.engine = engine
        self.row = row
        self.find = find
        self.reached: tuple[Any, int] | None = None

    @contextmanager
    def _lock(self) -> Iterator[tuple[Connection, Any]]:
        """Yield the batch's current row, in a transaction that holds the batch's locks."""
        with self.engine.begin() as connection:
            ledger.lock_batch(connection, self.row.target, self.row.batch_id, self.row.checksum)
            yield connection, self.find(connection)  # read again: it may have been replaced meanwhile

    def _find_earlier(self, now: Any) -> int | None:
        """Rows that an earlier attempt deleted; None if it was not committed."""
        if self.reached is None or self.reached[0] == _state_of(now):
            return None
        return self.reached[1]

    def attempt(self) -> int:
        with self._lock() as (connection, now):
            before = self._find_earlier(now)
            if before is not None:
                return before
            if now.may_hold_rows:
                rows = delete_leftovers(connection, "event_ts", now, None)
            elif now.status == ledger.LOADED:
                rows = delete_rows(connection, FACTS[now.target].__table__, "event_ts", now)
                mark_deleted(connection, [now], {now.batch_id: [Removal("BATCH_DELETED", rows)]})
            else:
                return 0
            self.reached = (_state_of(now), rows)
            return rows

    def done(self) -> int | None:
        """Rows that were deleted although an error was raised; None if nothing was deleted."""
        if self.reached is None:
            return None
        with self._lock() as (_, now):
            return self._find_earlier(now)


def _state_of(row: Any) -> tuple[Any, ...]:
    """The columns of a batch's row that a deletion changes, or a new load of the batch."""
    return row.status, row.started_at, row.may_hold_rows


class _MonthDeletion:
    """The deletion of a month. Afterwards its partition has another file, which shows that the month was emptied."""

    def __init__(self, engine: Engine, table: Table, month: RangePartition, across: bool) -> None:
        self.engine = engine
        self.table = table
        self.month = month
        self.across = across
        self.reached: tuple[Any, Deleted] | None = None

    def attempt(self) -> Deleted:
        return change_partitions(self.engine, self.table, self._empty)

    def done(self) -> Deleted | None:
        """What was deleted although an error was raised; None if nothing was deleted."""
        if self.reached is None:
            return None
        return change_partitions(
            self.engine, self.table, lambda connection: self._find_earlier(self._read_file(connection)[1])
        )

    def _read_file(self, connection: Connection) -> tuple[RangePartition | None, Any]:
        """The partition, and the number of its file."""
        found = there(connection, self.table, self.month)
        if found is None:
            return None, None
        name = qualified_name(connection, _child_table(self.table, found))
        return found, connection.execute(select(func.pg_relation_filenode(cast(name, REGCLASS)))).scalar_one()

    def _find_earlier(self, file: Any) -> Deleted | None:
        return self.reached[1] if self.reached is not None and self.reached[0] != file else None

    def _empty(self, connection: Connection) -> Deleted:
        found, file = self._read_file(connection)
        before = self._find_earlier(file)
        if before is not None:
            return before
        done, wholly, partly, counts = self._find_rows(connection, found)
        assert found is not None
        connection.execute(TruncatePartition(self.table, found))
        month = self.month.start
        assert isinstance(month, datetime)
        removals = {batch_id: [Removal("MONTH_DELETED", rows, month)] for batch_id, rows in counts.items()}
        mark_deleted(connection, wholly, removals)
        record_removals(connection, partly, removals)
        self.reached = (file, done)
        return done

    def count(self) -> Deleted:
        """Count what would be deleted."""
        with self.engine.connect() as connection:
            return self._find_rows(connection, self._read_file(connection)[0])[0]

    def _find_rows(
        self, connection: Connection, partition: RangePartition | None
    ) -> tuple[Deleted, list[Any], list[Any], dict[str, int]]:
        """Find what is to be deleted.

        :return: the result; the batches that are wholly in the month; those that are not; the rows of each batch.
        :raises PartitionError: the month must not be deleted.
        """
        fact, month = self.table.name, f"{self.month.start:%Y-%m}"
        if partition is None:
            raise PartitionError(f"{fact}: there is no partition for {month}; {_UNDONE}")
        counts = batches_in(connection, _child_table(self.table, partition))
        wholly, partly = self._split_batches(loaded_rows(connection, counts))
        if partly and not self.across:
            raise PartitionError(
                f"{fact}: {len(partly)} batches have rows in {month} and in other months; the first is {partly[0].batch_id!r}. "
                f"They could not be loaded again, because their rows in other months would be stored twice. Delete these batches "
                f"(wh.batches.delete), or give across=True; {_UNDONE}"
            )
        loadable = tuple(sorted(row.batch_id for row in wholly))
        return Deleted(fact, sum(counts.values()), tuple(sorted(counts)), loadable), wholly, partly, counts

    def _split_batches(self, batches: Iterable[Any]) -> tuple[list[Any], list[Any]]:
        """Split batches into those that are wholly in the month and those that are not."""
        wholly: list[Any] = []
        partly: list[Any] = []
        for row in batches:
            inside = self.month.start <= row.min_event_ts and row.max_event_ts < self.month.end
            (wholly if inside else partly).append(row)
        return wholly, partly


def _child_table(table: Table, partition: Any) -> Table:
    """The partition's own table, with the columns of the fact."""
    return table.to_metadata(table.metadata.__class__(), name=child_of(table, partition))
