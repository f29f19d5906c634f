"""Load a month beside the existing one and exchange the two: no reader sees anything in between.

The rows are loaded into a table made like the partition, while nobody writes to that month. The exchange itself blocks the fact
only for a moment. Batches that had rows in the month stay loaded, with a note: their content has been replaced, and must not come
back because a job that loaded it runs again.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from sqlalchemy import MetaData, Table
from sqlalchemy.engine import Connection

from gpwarehouse.batches import ledger
from gpwarehouse.batches.removed_rows import Removal, batches_in, loaded_rows, record_removals
from gpwarehouse.dialect import RangePartition
from gpwarehouse.dialect.options import month_partition
from gpwarehouse.dimensions.members import learn
from gpwarehouse.errors import LoadError, PartitionError
from gpwarehouse.intake.checksum import batch_id_for
from gpwarehouse.intake.first_pass import FirstPass
from gpwarehouse.load.frame_source import FrameSource
from gpwarehouse.load.loader import Loader, Run, add_batch_id, columns_to_copy, provenance_of
from gpwarehouse.load.refused_rows import store_all_but_refused
from gpwarehouse.load.result import LoadResult
from gpwarehouse.months import change_partitions_after, child_of
from gpwarehouse.partitions.manager import fact_named, month_named
from gpwarehouse.partitions.partition_changes import hold_still, take_place, there, twin
from gpwarehouse.transport import Route, leave_statistics_alone

__all__ = ["MonthLoader", "MonthSource"]


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


class MonthLoader(Loader):
    """Loads a :class:`MonthSource` in the place of the existing month."""

    may_stream = False
    _emptied_is_loaded = False  # a month that another one replaced may be loaded again

    def batch_of(self, run: Run, found: FirstPass) -> ledger.Batch:
        """The batch, with a checksum of its own: the same content in an ordinary load is another batch."""
        batch = super().batch_of(run, found)
        assert isinstance(run.source, MonthSource)
        checksum = hashlib.sha256(f"replace {run.source.month} {batch.checksum}".encode()).hexdigest()
        named = run.batch_id or run.options.batch_id
        batch = replace(batch, origin="REPLACE_MONTH", month_replaced=month_named(run.source.month))
        return replace(batch, checksum=checksum, batch_id=named or batch_id_for(batch.target, checksum))

    def _run_transaction(self, run: Run, found: FirstPass, batch: ledger.Batch, route: Route) -> Any:
        assert isinstance(run.source, MonthSource)
        if not batch.rows_loaded:
            raise LoadError(
                f"{batch.target}: no row of {run.source.month} can be loaded. Nothing was replaced; to empty the month, use "
                "wh.facts.delete_month"
            )
        table, month = run.target.table, run.source.partition
        state = _State(batch)

        def prepare(connection: Connection) -> _State | None:
            return self._store_beside(connection, run, found, state, route, month)

        def exchange(connection: Connection, state: _State) -> None:
            self._exchange(connection, run, found, state)

        change_partitions_after(self.engine, table, prepare, exchange)
        return state.loaded if state.loaded is not None else state.batch

    def _store_beside(
        self,
        connection: Connection,
        run: Run,
        found: FirstPass,
        state: _State,
        route: Route,
        month: RangePartition,
    ) -> _State | None:
        batch, table = state.batch, run.target.table
        ledger.lock_batch(connection, batch.target, batch.batch_id, batch.checksum)
        state.loaded = self.decide(connection, run, batch.batch_id, batch.checksum).loaded
        if state.loaded is not None:
            return None
        leave_statistics_alone(connection)
        state.partition = there(connection, table, month)
        if state.partition is None:
            raise PartitionError(f"{table.name}: {month.name[1:]} has no partition of its own. Nothing was replaced")
        hold_still(connection, table, state.partition)
        name = f"{table.name}_new_{month.name}_{secrets.token_hex(3)}"  # its indexes keep their names: the name must be new
        twin(connection, table, name, table.dialect_options["greenplum"]["storage"])
        beside = replace(run.target, table=table.to_metadata(MetaData(), name=name))
        rows = partial(add_batch_id, found, batch.batch_id, run.options)
        allowed = self._count_allowed(run, found) - found.rows_rejected
        check = partial(self.check_rejects, run, found, batch.batch_id)
        columns = columns_to_copy(run.target, found.rows.filled)
        run.stored = store_all_but_refused(connection, route, beside, columns, found, rows, allowed, check)
        if run.stored.rows != found.rows_to_load:
            raise LoadError(
                f"{table.name}: {found.rows_to_load} rows were sent, but the server stored {run.stored.rows}; load again"
            )
        state.batch = replace(batch, rows_loaded=found.rows_to_load, rows_rejected=found.rows_rejected)
        state.table = beside.table
        return state

    def _exchange(self, connection: Connection, run: Run, found: FirstPass, state: _State) -> None:
        assert isinstance(run.source, MonthSource)
        assert state.partition is not None
        assert state.table is not None
        table, batch = run.target.table, state.batch
        child = child_of(table, state.partition)
        gone = batches_in(connection, table.to_metadata(MetaData(), name=child))
        take_place(connection, table, state.partition, state.table)
        run.rows_replaced = sum(gone.values())
        batch = replace(batch, rows_replaced=run.rows_replaced)
        removals = {
            name: [Removal("MONTH_REPLACED", rows, batch.month_replaced, batch.batch_id)] for name, rows in gone.items()
        }
        others = [row for row in loaded_rows(connection, gone) if row.batch_id != batch.batch_id]
        record_removals(connection, others, removals)
        assert found.first is not None
        run.learned = learn(connection, found.resolver.members, provenance_of(batch, found.first))
        ledger.record_loaded(connection, batch, found.all_rejects())

    def _maintain(self, run: Run, found: FirstPass, result: LoadResult) -> LoadResult:
        run.rows_replaced = 0  # they were removed with their table, so no space is to be freed
        return super()._maintain(run, found, result)


@dataclass
class _State:
    """What a transaction prepared for the exchange.

    :ivar loaded: row of the batch that loaded the same content before.
    """

    batch: ledger.Batch
    loaded: Any = None
    partition: RangePartition | None = None
    table: Table | None = None
