"""The entry of a batch of its own: a load, a merge, or a change of rows by key."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.engine import Connection, Engine

from gpwarehouse.batches import ledger
from gpwarehouse.batches.conflicts import judge
from gpwarehouse.batches.reject_limit import refuse_rejects
from gpwarehouse.engine.server_errors import SERVER_ERRORS, as_load_error, reason_of
from gpwarehouse.errors import GpwarehouseError
from gpwarehouse.intake.checksum import batch_id_for
from gpwarehouse.intake.first_pass import FirstPass
from gpwarehouse.intake.load_options import LoadOptions
from gpwarehouse.settings import WarehouseSettings

__all__ = ["NewBatch"]

_MAY_BE_STORED = (
    "rows may already be stored; load the same content again, or delete the batch (wh.batches.delete): both delete these "
    "rows first"
)


@dataclass
class NewBatch:
    """A batch that is written once: the :class:`~gpwarehouse.batches.exactly_once.Entry` of most kinds.

    :ivar found: the rows. While they are being read, their counts grow.
    :ivar origin: the kind of work.
    :ivar operation: text that tells batches of equal content apart, such as ``replace 2026-01``; empty for a plain load.
    :ivar month_replaced: the first instant of the month that is replaced.
    :ivar emptied_is_loaded: whether content counts as loaded after its rows were removed with their months.
    :ivar undone: the words that say that nothing was done.
    :ivar replaced: row of the batch whose rows are replaced, if there is one; known when the transaction has decided.
    """

    engine: Engine
    settings: WarehouseSettings
    found: FirstPass
    options: LoadOptions
    source_system: str | None
    source: str | None
    started_at: datetime
    origin: ledger.Origin = "LOAD"
    operation: str = ""
    source_checksum: str | None = None
    month_replaced: datetime | None = None
    emptied_is_loaded: bool = True
    undone: str = "nothing was loaded"
    replaced: Any = None
    _batch_id: str | None = None

    @property
    def target(self) -> str:
        """Name of the table."""
        return self.found.resolver.target.name

    @property
    def checksum(self) -> str:
        """What tells the batch from others: the content, and the operation if it is no plain load."""
        if not self.operation:
            return self.found.checksum
        return hashlib.sha256(f"{self.operation} {self.found.checksum}".encode()).hexdigest()

    @property
    def batch_id(self) -> str:
        """The id to write under: the caller's, or one derived from target and content."""
        return self._batch_id or self.options.batch_id or batch_id_for(self.target, self.checksum)

    @property
    def batch(self) -> ledger.Batch:
        """The batch as far as it is known now."""
        found = self.found
        return ledger.Batch(
            batch_id=self.batch_id,
            target=self.target,
            source_system=self.source_system,
            source=self.source,
            checksum=self.checksum,
            rows_read=found.rows_read,
            rows_loaded=found.rows_to_load,
            rows_rejected=found.rows_rejected,
            min_event_ts=found.first,
            max_event_ts=found.last,
            started_at=self.started_at,
            source_checksum=self.source_checksum,
            origin=self.origin,
            month_replaced=self.month_replaced,
        )

    @property
    def what(self) -> str:
        """The work, for messages."""
        return f"batch {self.batch_id} into {self.target}"

    @property
    def rejects_left(self) -> int:
        """How many more rows may be rejected."""
        allowed = self.options.rejects_allowed(self.settings, self.found.rows_read)
        return allowed - self.found.rows_rejected

    def lock(self, connection: Connection) -> None:
        """Lock the id and the content to the end of the transaction."""
        ledger.lock_batch(connection, self.target, self.batch_id, self.checksum)

    def find_done(self, connection: Connection) -> Any | None:
        """Decide what to do: :func:`gpwarehouse.batches.conflicts.judge`."""
        verdict = judge(
            connection, self.options.on_conflict, self.target, self.batch_id, self.checksum,
            named=self.options.batch_id is not None, started_at=self.started_at, emptied=self.emptied_is_loaded,
        )  # fmt: skip
        self._batch_id, self.replaced = verdict.batch_id, verdict.replaced
        return verdict.loaded

    def check_rejects(self) -> None:
        """Refuse a batch with more rejects than allowed, or without any good row."""
        allowed = self.options.rejects_allowed(self.settings, self.found.rows_read)
        refuse_rejects(self.found, allowed, self.batch_id, self.undone)

    def record(self, connection: Connection, written: ledger.Written) -> ledger.Batch:
        """Write the batch's row and its rejects."""
        return ledger.record_loaded(connection, self.batch, self.found.all_rejects(), written)

    def explain(self, error: Exception) -> GpwarehouseError:
        """Make the error to raise. If connections commit on their own, rows may already be stored, and it says so."""
        if not self.options.commits_apart:
            return as_load_error(self.settings, self.target, error, self.undone)
        raised = as_load_error(self.settings, self.target, error, _MAY_BE_STORED)
        raised.safe_to_repeat = None
        return raised

    def record_failure(self, raised: GpwarehouseError) -> Any | None:
        """Record the failure, if the server can be reached; if the batch is loaded after all, return its row."""
        batch = self.batch
        try:
            row = ledger.record_failure(self.engine, batch, self.found.all_rejects(), str(raised))
        except SERVER_ERRORS as second:
            raised.add_note(f"The failure could not be recorded in etl_load_batch either: {reason_of(second)}")
            return None
        if row is None or (row.target, row.checksum) != (batch.target, batch.checksum):
            return None
        is_this_load = row.started_at == self.started_at  # its COMMIT was not answered
        return row if is_this_load or self.options.on_conflict == "skip" else None
