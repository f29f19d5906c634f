"""The service's own store: SQLite in its state folder, readable while the warehouse is not."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gpwarehouse.errors import SettingsError

__all__ = ["Store"]

_TABLES = """
CREATE TABLE IF NOT EXISTS api_key (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, role TEXT NOT NULL, secret_sha256 TEXT NOT NULL,
    created_at REAL NOT NULL, expires_at REAL, revoked_at REAL
);
CREATE TABLE IF NOT EXISTS job (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, owner TEXT NOT NULL,
    state TEXT NOT NULL, about TEXT NOT NULL, query_id TEXT,
    idempotency_key TEXT, payload_sha256 TEXT,
    created_at REAL NOT NULL, started_at REAL, finished_at REAL, expired_at REAL,
    result TEXT, problem TEXT, form TEXT, has_file INTEGER NOT NULL DEFAULT 0, bytes INTEGER, rows INTEGER, etag TEXT,
    UNIQUE (owner, idempotency_key)
);
CREATE INDEX IF NOT EXISTS job_owner ON job (owner, number);
CREATE INDEX IF NOT EXISTS job_end ON job (finished_at);
"""


class Store:
    """The tables ``api_key`` and ``job``. Several threads, and the command line, may use it at the same time.

    :param folder: the state folder; it is made if it is missing, for its owner only.
    :raises SettingsError: the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.expanduser()
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._connection, self._reading = self._connect(), self._connect()
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.executescript(_TABLES)
        except (OSError, sqlite3.Error) as error:
            raise SettingsError(
                f"GPWAREHOUSE_SERVICE_STATE_DIR = {str(folder)!r} cannot be used: {error}; name a folder that can be written"
            ) from error
        self._lock, self._reading_lock = threading.Lock(), threading.Lock()

    def _connect(self) -> sqlite3.Connection:
        path = self.folder / "service.sqlite3"
        connection = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
        connection.row_factory = sqlite3.Row
        return connection

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._connection.close()
        with self._reading_lock:
            self._reading.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """One transaction, which no other thread or process interrupts."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def rows(self, query: str, *values: object) -> list[sqlite3.Row]:
        """The rows of a query. It waits for no transaction, also not for another process's: keys are read for each request."""
        with self._reading_lock:
            return self._reading.execute(query, values).fetchall()

    def row(self, query: str, *values: object) -> sqlite3.Row | None:
        """The first row of a query; None if there is none."""
        found = self.rows(query, *values)
        return found[0] if found else None
