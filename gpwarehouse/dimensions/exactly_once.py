"""Write staged rows once: lock the batch, write its row in ``etl_load_batch`` and its rejects, translate errors."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import exc
from sqlalchemy.engine import Connection, Engine

from gpwarehouse.batches import ledger
from gpwarehouse.batches.conflicts import judge
from gpwarehouse.batches.reject_limit import refuse_rejects
from gpwarehouse.dimensions.first_pass import FirstPass
from gpwarehouse.dimensions.histories import Provenance
from gpwarehouse.dimensions.members import insert_missing
from gpwarehouse.dimensions.refused_rows import Write, write_all_but_refused
from gpwarehouse.engine import RetryPolicy
from gpwarehouse.engine.server_errors import as_load_error
from gpwarehouse.errors import GpwarehouseError, LoadError
from gpwarehouse.intake.checksum import batch_id_for
from gpwarehouse.intake.load_options import check_name
from gpwarehouse.settings import WarehouseSettings
from gpwarehouse.transport import leave_statistics_alone

__all__ = ["Once", "tie_to_batch_id", "translate_errors"]

Result = TypeVar("Result")


def translate_errors(engine: Engine, settings: WarehouseSettings, table: str, work: Callable[[], Result]) -> Result:
    """Run ``work``; raise an error of the driver as one of ours, without chaining it, because it quotes values.

    :raises LoadError: the server refused. Subclasses name the cause.
    :raises WarehouseConnectionError: the server cannot be reached.
    """
    try:
        return work()
    except (exc.SQLAlchemyError, engine.dialect.loaded_dbapi.Error) as error:
        raised = as_load_error(settings, table, error, "nothing was changed")
    raise raised


def tie_to_batch_id(found: FirstPass, batch_id: str | None, *operation: str) -> None:
    """Change the checksum so that only the same content under the same id of the caller is the same batch.

    The same content without an id, or under another id, is not a repetition: something else may have been merged in between.
    """
    run = " ".join([*operation, batch_id or str(uuid.uuid4()), found.checksum])
    found.checksum = hashlib.sha256(run.encode()).hexdigest()


class Once:
    """One batch that has been read, and is to be written once.

    :param batch_id: the caller's id; otherwise one is derived from target and content.
    """

    def __init__(
        self,
        engine: Engine,
        settings: WarehouseSettings,
        found: FirstPass,
        *,
        batch_id: str | None,
        source_system: str,
        started_at: datetime,
    ) -> None:
        for argument, value in (("batch_id", batch_id), ("source_system", source_system)):
            if value is not None:
                check_name(argument, value)
        self.engine = engine
        self.settings = settings
        self.found = found
        self.members_made = 0
        name = found.target.name
        self.batch = ledger.Batch(
            batch_id=batch_id or batch_id_for(name, found.checksum),
            target=name,
            source_system=source_system,
            source=None,
            checksum=found.checksum,
            rows_read=found.rows_read,
            rows_loaded=found.rows.rows,
            rows_rejected=found.rejects.rows,
            min_event_ts=found.first,
            max_event_ts=found.last,
            started_at=started_at,
            origin="MERGE",
        )

    def run(self, write: Write) -> bool:
        """Insert missing members first, then run ``write`` and write the batch's row in one transaction.

        :return: False if the batch was written before.
        :raises LoadError: nothing was written, and the failure is recorded. Subclasses name the cause.
        """
        batch = self.batch
        what = f"batch {batch.batch_id} into {batch.target}"
        return RetryPolicy.of(self.settings).call(what, self._attempt, write)

    def _attempt(self, write: Write) -> bool:
        batch = self.batch
        try:
            with self.engine.connect() as connection:
                before = self._find_written(connection)
            if before is not None:
                return self._is_ours(before)
            self._check_rejects()
            if self.found.first is not None:
                provenance = Provenance(batch.batch_id, batch.source_system, self.found.first)
                self.members_made += insert_missing(self.engine, self.found.resolver.members, provenance)
            with self.engine.begin() as connection:
                leave_statistics_alone(connection)
                ledger.lock_batch(connection, batch.target, batch.batch_id, batch.checksum)
                before = self._find_written(connection)
                if before is not None:
                    return self._is_ours(before)
                if self.found.rows_to_load:
                    write_all_but_refused(connection, self.found, write, self._check_rejects)
                ledger.record_loaded(connection, self._update_counts(), self.found.all_rejects())
            return True
        except (exc.SQLAlchemyError, LoadError, self._driver_error_class()) as error:
            raised = as_load_error(self.settings, batch.target, error)
            if self._record_failure(raised):  # the connection was lost at COMMIT, but the transaction was committed
                return True
        raise raised

    def _find_written(self, connection: Connection) -> Any | None:
        """Find the row of the batch that already has this content."""
        batch, at = self.batch, self.batch.started_at
        names = (batch.target, batch.batch_id, batch.checksum)
        return judge(connection, "skip", *names, named=True, started_at=at).loaded

    def _is_ours(self, row: Any) -> bool:
        """Whether this very run wrote the row: the connection was lost at COMMIT, but the transaction was committed."""
        return all(getattr(row, name) == getattr(self.batch, name) for name in ("started_at", "target", "checksum"))

    def _driver_error_class(self) -> type[Exception]:
        error: type[Exception] = self.engine.dialect.loaded_dbapi.Error
        return error

    def _check_rejects(self) -> None:
        allowed = self.settings.rejects_allowed(self.batch.rows_read)
        refuse_rejects(self.found, allowed, self.batch.batch_id, "nothing was changed")

    def _update_counts(self) -> ledger.Batch:
        """The batch with the current counts of its rows."""
        return replace(self.batch, rows_loaded=self.found.rows_to_load, rows_rejected=self.found.rows_rejected)

    def _record_failure(self, raised: GpwarehouseError) -> bool:
        """Record the failure, if the server can be reached; return whether the batch was written after all."""
        try:
            row = ledger.record_failure(self.engine, self._update_counts(), self.found.all_rejects(), str(raised))
        except (exc.SQLAlchemyError, self._driver_error_class()) as second:
            words = str(getattr(second, "orig", None) or second).strip().splitlines()[0]
            raised.add_note(f"The failure could not be recorded in etl_load_batch either: {words}")
            return False
        return row is not None and self._is_ours(row)
