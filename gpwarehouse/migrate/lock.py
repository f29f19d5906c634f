"""One migrator at a time.

The lock is an advisory lock of a transaction that a connection of its own keeps open for the whole run. Held by a
session instead, it would be lost behind a pooler that pools transactions: the next statement may run in another
session, and the lock would stay with one that nobody owns. A pooler never takes a connection away from an open
transaction; the server's timeouts for idle ones are off in it (see ``create_migration_engine``). Between statements the
transaction has no snapshot, so it keeps nothing from VACUUM.

Should that connection die, so that another migrator may start, two things hold:

* the run notices before its next COMMIT (:meth:`MigratorLock.verify`) and rolls back;
* every transaction of a migration holds a second lock, taken as its first statement, so the other waits for its end.
  It also makes a new run wait for what a killed one left running on the server.

Within a process there is one lock more: Alembic's ``context`` and ``op`` are the process's, whatever the database, so one
thread at a time may be in them.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from sqlalchemy import event, exc, text
from sqlalchemy.engine import Connection, Engine

from gpwarehouse.engine import HOUSEKEEPING, advisory_key, lock_holders
from gpwarehouse.errors import MigrationError
from gpwarehouse.settings import WarehouseSettings

__all__ = ["MigratorLock", "lock_every_transaction", "one_migrator", "one_thread_in_alembic"]

RUN = "migration"
TRANSACTION = "migration transaction"
_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 1.0

log = logging.getLogger(__name__)

_TRY = text("SELECT pg_try_advisory_xact_lock(:key)").execution_options(**HOUSEKEEPING)


class MigratorLock:
    """The lock of a run, while it is held."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def verify(self) -> None:
        """Make sure that the lock is still held; to be asked before a COMMIT.

        :raises MigrationError: its connection is gone, and the lock with it.
        """
        try:
            self._connection.execute(text("SELECT 1"))
        except exc.SQLAlchemyError as error:
            raise MigrationError(
                "the connection that holds the migrators' lock was lost, so another migration may have started; the "
                "revision that ran was rolled back. Run the command again"
            ) from error


_in_alembic = threading.Lock()


def _renew_in_child() -> None:
    global _in_alembic
    _in_alembic = threading.Lock()  # what a thread of the parent holds, nobody there gives back


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_in_child)


@contextmanager
def one_thread_in_alembic(settings: WarehouseSettings) -> Iterator[None]:
    """Keep other threads' commands of ours out of Alembic's context; they wait, up to ``migration_wait_s``.

    Commands of Alembic that others run in this process at the same time are not kept out: they do not come here.

    :raises MigrationError: another thread was in it for longer.
    """
    lock = _in_alembic
    if not lock.acquire(blocking=False):
        log.info("another thread of this process runs a command of Alembic; waiting for it")
        if not lock.acquire(timeout=settings.migration_wait_s):
            raise MigrationError(
                f"another thread of this process still runs a command of Alembic after {settings.migration_wait_s} s of "
                "waiting (GPWAREHOUSE_MIGRATION_WAIT_S), and only one runs at a time; wait for it and try again"
            )
    try:
        yield
    finally:
        lock.release()


@contextmanager
def one_migrator(engine: Engine, settings: WarehouseSettings) -> Iterator[MigratorLock]:
    """Hold the migrators' lock of this schema; the others wait, up to ``migration_wait_s``.

    :raises MigrationError: another had it for longer; the message says who.
    """
    with engine.connect() as connection:
        _acquire(connection, settings, RUN)
        try:
            yield MigratorLock(connection)
        finally:
            with suppress(exc.SQLAlchemyError):  # lost, so there is nothing to give back
                connection.rollback()


def lock_every_transaction(connection: Connection, settings: WarehouseSettings) -> None:
    """Have each transaction of this connection begin by taking the lock of migrations' transactions."""

    @event.listens_for(connection, "begin")
    def lock(begun: Connection) -> None:
        _acquire(begun, settings, TRANSACTION)


def _acquire(connection: Connection, settings: WarehouseSettings, name: str) -> None:
    key = advisory_key(name, settings.schema_name)
    give_up = time.monotonic() + settings.migration_wait_s
    pause = _FIRST_PAUSE_S
    while not connection.execute(_TRY, {"key": key}).scalar_one():
        if time.monotonic() >= give_up:
            raise MigrationError(_describe_holder(connection, settings, key))
        if pause == _FIRST_PAUSE_S:
            log.info("another migration of schema %s runs; waiting for it", settings.schema_name)
        if name == RUN:  # behind a pooler whoever waits would keep a connection that the other needs
            connection.rollback()
        time.sleep(min(pause, max(0.0, give_up - time.monotonic())))
        pause = min(pause * 2, _LONGEST_PAUSE_S)


def _describe_holder(connection: Connection, settings: WarehouseSettings, key: int) -> str:
    """Who holds the lock, as far as the server lets us see."""
    waited = f"after {settings.migration_wait_s} s of waiting (GPWAREHOUSE_MIGRATION_WAIT_S)"
    holders = lock_holders(connection, key)
    if not holders:
        return f"another migration of schema {settings.schema_name!r} ended just {waited}; try again"
    return (
        f"another migration of schema {settings.schema_name!r} still runs {waited}: {holders[0]}. Wait for it to end and try "
        f"again; if nobody is behind it any more: SELECT pg_terminate_backend({holders[0].pid})"
    )
