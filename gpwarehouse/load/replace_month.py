"""Load a month beside the existing one and exchange the two: no reader sees anything in between.

The rows are loaded into a table made like the partition, while nobody writes to that month. The exchange itself blocks the fact
only for a moment. Batches that had rows in the month stay loaded, with a note: their content has been replaced, and must not come
back because a job that loaded it runs again.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any

from sqlalchemy import MetaData, Table
from sqlalchemy.engine import Connection

from gpwarehouse.batches import ledger
from gpwarehouse.batches.exactly_once import Finish, Store
from gpwarehouse.batches.new_batch import NewBatch
from gpwarehouse.batches.removed_rows import Removal, batches_in, loaded_rows, record_removals
from gpwarehouse.dialect import RangePartition
from gpwarehouse.dialect.options import month_partition
from gpwarehouse.errors import LoadError, PartitionError
from gpwarehouse.intake.first_pass import FirstPass
from gpwarehouse.intake.frame_source import FrameSource
from gpwarehouse.load.run import Run
from gpwarehouse.months import change_partitions_after, child_of
from gpwarehouse.partitions.manager import fact_named, month_named
from gpwarehouse.partitions.partition_changes import hold_still, take_place, there, twin
from gpwarehouse.transport import Route

__all__ = ["MonthSource", "ReplaceMonth"]


@dataclass
class MonthSource(FrameSource):
    """A frame that is to become a month of a fact; rows of other months are rejected."""

    month: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        fact_named(self.target)
        self.partition = month_partition(month_named(self.month))

    @property
    def window(self) -> tuple[Any, Any]:
        """The first moment of the month, and of the next one."""
        return self.partition.start, self.partition.end


@dataclass
class ReplaceMonth:
    """The :class:`~gpwarehouse.batches.exactly_once.Write` of a :class:`MonthSource`.

    The same content in an ordinary load is another batch. A month that another one replaced may be loaded again.
    """

    run: Run
    entry: NewBatch
    source: MonthSource
    _route: Route | None = None
    _partition: RangePartition | None = None
    _table: Table | None = None

    @classmethod
    def of(cls, run: Run, found: FirstPass) -> ReplaceMonth:
        """Make it for rows that are read."""
        assert isinstance(run.source, MonthSource)
        entry = run.new_batch(found, "REPLACE_MONTH", f"replace {run.source.month}")
        entry.month_replaced, entry.emptied_is_loaded = month_named(run.source.month), False
        return cls(run, entry, run.source)

    def prepare(self) -> None:
        """Make the month, hours and members.

        :raises LoadError: no row can be loaded.
        """
        run, found = self.run, self.entry.found
        if not found.rows_to_load:
            raise LoadError(
                f"{self.entry.target}: no row of {self.source.month} can be loaded. Nothing was replaced; to empty the month, "
                "use wh.facts.delete_month"
            )
        run.options.report("prepare", 0)
        with run.phase("prepare"):
            run.make_months(found)
            run.make_members(found, self.entry.batch_id)
        self._route = run.route(found.rows_to_load)

    def transact(self, store: Store, finish: Finish) -> None:
        """Store the rows while nobody waits; then exchange the tables, as soon as nobody is in the way."""
        with self.run.phase("copy"):
            change_partitions_after(
                self.run.engine, self.run.target.table, store, lambda connection, _: finish(connection)
            )

    def store(self, connection: Connection) -> None:
        """Store the rows in a table beside the month, which nobody else may write to from now on."""
        table, month = self.run.target.table, self.source.partition
        assert self._route is not None
        self._partition = there(connection, table, month)
        if self._partition is None:
            raise PartitionError(f"{table.name}: {month.name[1:]} has no partition of its own. Nothing was replaced")
        hold_still(connection, table, self._partition)
        name = f"{table.name}_new_{month.name}_{secrets.token_hex(3)}"  # its indexes keep their names: the name must be new
        twin(connection, table, name, table.dialect_options["greenplum"]["storage"])
        self._table = table.to_metadata(MetaData(), name=name)
        self.run.store_rows(connection, self._route, self._table, self.entry)

    def finish(self, connection: Connection) -> ledger.Written:
        """Exchange the month with the new table, and note what became of the old rows."""
        run, table, batch_id = self.run, self.run.target.table, self.entry.batch_id
        assert self._partition is not None
        assert self._table is not None
        old = table.to_metadata(MetaData(), name=child_of(table, self._partition))
        gone = batches_in(connection, old)
        take_place(connection, table, self._partition, self._table)
        run.rows_replaced = sum(gone.values())  # they were removed with their table, so no space is to be freed
        month = self.entry.month_replaced
        removals = {name: [Removal("MONTH_REPLACED", rows, month, batch_id)] for name, rows in gone.items()}
        others = [row for row in loaded_rows(connection, gone) if row.batch_id != batch_id]
        record_removals(connection, others, removals)
        run.learn(connection, self.entry.found, batch_id)
        return ledger.Written(self.entry.found.rows_to_load, run.rows_replaced)
