"""Rows of facts taken out: those of a batch, or a month with all that is in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Table, exc, select
from sqlalchemy.engine import Connection, Engine

from gpwarehouse.dialect import TruncatePartition
from gpwarehouse.dialect.options import month_partition
from gpwarehouse.engine import RetryPolicy, change_partitions, child_of
from gpwarehouse.errors import InvalidInputError, PartitionError
from gpwarehouse.load import batches as ledger
from gpwarehouse.load.conflict import delete_rows
from gpwarehouse.load.options import check_name
from gpwarehouse.load.refusal import explained
from gpwarehouse.load.upkeep import Upkeep
from gpwarehouse.models import FACTS, EtlLoadBatch
from gpwarehouse.partitions.changes import there
from gpwarehouse.partitions.manager import fact_named, month_named
from gpwarehouse.reprocess.record import batches_in, loaded_rows, mark_deleted, note
from gpwarehouse.settings import WarehouseSettings

__all__ = ["Deleted", "Deleter"]

_UNDONE = "nothing was deleted"


@dataclass(frozen=True)
class Deleted:
    """What was taken out of a fact.

    :ivar batches: those that had rows there. :ivar loadable: of them, those that can be loaded again.
    :ivar vacuumed: partitions whose space was given back. :ivar warnings: what could not be done after the commit, and why.
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
        """Delete a batch's rows: see :meth:`gpwarehouse.Warehouse.delete_batch`."""
        check_name("batch_id", batch_id)
        target = "etl_load_batch"
        try:
            with self.engine.connect() as connection:
                row = self._batch(connection, batch_id)
            target = row.target
            rows = RetryPolicy.of(self.settings).call(f"deletion of batch {batch_id}", self._delete, row)
        except (exc.SQLAlchemyError, self.engine.dialect.loaded_dbapi.Error) as error:
            raised = explained(self.settings, target, error, _UNDONE)
        else:
            if not rows:
                return Deleted(target, 0, (), (batch_id,))
            upkeep = Upkeep(self.engine, FACTS[target].__table__)
            upkeep.vacuum(row.min_event_ts, row.max_event_ts)
            return Deleted(*(target, rows, (batch_id,), (batch_id,)), tuple(upkeep.vacuumed), tuple(upkeep.warnings))
        raise raised

    def _batch(self, connection: Connection, batch_id: str) -> Any:
        table = EtlLoadBatch.__table__
        row = connection.execute(select(table).where(table.c.batch_id == batch_id)).first()
        if row is None:
            raise InvalidInputError(f"there is no batch {batch_id!r}; etl_load_batch has them all")
        if row.target not in FACTS:
            raise InvalidInputError(
                f"batch {batch_id!r} went into {row.target}, whose history it is part of: only batches of facts can be "
                "deleted; merge what is right"
            )
        return row

    def _delete(self, row: Any) -> int:
        with self.engine.begin() as connection:
            ledger.lock_batch(connection, row.target, row.batch_id, row.checksum)
            now = self._batch(connection, row.batch_id)  # seen anew: it may have been replaced meanwhile
            if now.status != ledger.LOADED:
                return 0
            rows = delete_rows(connection, FACTS[now.target].__table__, "event_ts", now)
            mark_deleted(connection, now.batch_id, f"deleted: {rows} rows; it can be loaded again")
            return rows

    def delete_month(self, fact: str, month: str, *, across: bool = False) -> Deleted:
        """Empty a month: see :meth:`gpwarehouse.Warehouse.delete_month`."""
        table, partition = fact_named(fact), month_partition(month_named(month))

        def empty(connection: Connection) -> Deleted:
            found = there(connection, table, partition)
            if found is None:
                raise PartitionError(f"{fact}: there is no partition of {month}; nothing was deleted")
            counts = batches_in(connection, _child(table, found))
            wholly: list[Any] = []
            partly: list[Any] = []
            for row in loaded_rows(connection, counts):
                inside = partition.start <= row.min_event_ts and row.max_event_ts < partition.end
                (wholly if inside else partly).append(row)
            if partly and not across:
                raise PartitionError(
                    f"{fact}: {len(partly)} batches have rows in {month} and in other months, the first is "
                    f"{partly[0].batch_id!r}: they could not be loaded again without doubling those. Delete them "
                    "(delete_batch), or say across=True; nothing was deleted"
                )
            connection.execute(TruncatePartition(table, found))
            for row in wholly:
                mark_deleted(connection, row.batch_id, f"deleted with {month}: {counts[row.batch_id]} rows")
            for row in partly:
                gone = counts[row.batch_id]
                note(connection, row, f"deleted with {month}: {gone} of its rows", rows_gone=gone)
            loadable = tuple(sorted(row.batch_id for row in wholly))
            return Deleted(fact, sum(counts.values()), tuple(sorted(counts)), loadable)

        try:
            return change_partitions(self.engine, table, empty)
        except (exc.SQLAlchemyError, self.engine.dialect.loaded_dbapi.Error) as error:
            raised = explained(self.settings, fact, error, _UNDONE)
        raise raised


def _child(table: Table, partition: Any) -> Table:
    """The partition's own table, with the columns of the fact."""
    return table.to_metadata(table.metadata.__class__(), name=child_of(table, partition))
