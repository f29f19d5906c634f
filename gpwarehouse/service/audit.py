"""The audit in the warehouse: rows of ``etl_audit``, written in the background by a login that cannot read them."""

from __future__ import annotations

import logging
import queue
import threading
from typing import Any

from prometheus_client import Counter
from sqlalchemy import insert, text
from sqlalchemy.exc import SQLAlchemyError

from gpwarehouse.errors import GpwarehouseError, SettingsError
from gpwarehouse.models import EtlAudit
from gpwarehouse.warehouse import Warehouse

__all__ = ["AuditTable"]

_logger = logging.getLogger("gpwarehouse.audit")
_lost = Counter("gpwarehouse_audit_rows_lost", "Rows of etl_audit that could not be written; the log has them")
_WAITING = 10_000
_AT_ONCE = 500
_RIGHTS = """
SELECT pg_catalog.has_table_privilege(c.oid, 'INSERT'), pg_catalog.has_table_privilege(c.oid, 'SELECT, UPDATE, DELETE')
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = :schema AND c.relname = 'etl_audit'"""
_COLUMNS = {
    "query_id": "query_id",
    "at": "called_at",
    "caller": "caller",
    "role": "role",
    "client": "client",
    "statement": "statement",
    "fingerprint": "fingerprint",
    "status": "http_status",
    "outcome": "outcome",
    "rows": "result_rows",
    "bytes": "bytes_sent",
    "seconds": "seconds",
}


class AuditTable:
    """Writes calls to ``etl_audit``. A caller never waits for it; the log has each call anyway.

    :param warehouse: the reader's. Its login may add rows, and neither read nor change them.
    """

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse
        self._waiting: queue.Queue[dict[str, Any] | None] = queue.Queue(_WAITING)
        self._thread = threading.Thread(target=self._run, name="gpw-audit", daemon=True)

    def check(self) -> None:
        """Refuse a login that may not add rows, or may read them. A warehouse that is down is no error.

        :raises SettingsError: the rights are not those of ``gpwarehouse roles apply``.
        """
        try:
            with self._warehouse.engine.connect() as connection:
                found = connection.execute(text(_RIGHTS), {"schema": self._warehouse.settings.schema_name}).first()
        except (SQLAlchemyError, GpwarehouseError):
            return
        if found is None or tuple(found) != (True, False):
            why = (
                "there is no table etl_audit"
                if found is None
                else "the reader's login may read it, or may not add to it"
            )
            raise SettingsError(
                f"GPWAREHOUSE_SERVICE_AUDIT = table, but {why}; run gpwarehouse upgrade and gpwarehouse roles apply"
            )

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def add(self, facts: dict[str, Any]) -> None:
        """Add a call."""
        row = {column: _without_nul(facts.get(name)) for name, column in _COLUMNS.items()}
        row["role"] = facts["role"].upper()
        row["endpoint"] = f"{facts['method']} {facts['endpoint']}"
        try:
            self._waiting.put_nowait(row)
        except queue.Full:
            _lost.inc()

    def _run(self) -> None:
        going = True
        while going:
            rows = [self._waiting.get()]
            while len(rows) < _AT_ONCE and not self._waiting.empty():
                rows.append(self._waiting.get_nowait())
            going = None not in rows
            self._write([row for row in rows if row is not None])

    def _write(self, rows: list[dict[str, Any]]) -> None:
        if not rows:
            return
        try:
            with self._warehouse.engine.begin() as connection:
                connection.execute(insert(EtlAudit.__table__).inline(), rows)
        except Exception as error:  # whatever it is, the calls that follow must be recorded
            if len(rows) > 1 and not isinstance(error, GpwarehouseError):
                for row in rows:  # one of them is at fault
                    self._write([row])
                return
            _lost.inc(len(rows))
            _logger.error("%d rows of etl_audit were not written: %s", len(rows), type(error).__name__)

    def close(self) -> None:
        """Write what waits, and end."""
        if self._thread.is_alive():
            self._waiting.put(None)
            self._thread.join(10)


def _without_nul(value: Any) -> Any:
    """The server's texts hold no NUL."""
    return value.replace("\0", "\ufffd") if isinstance(value, str) else value
