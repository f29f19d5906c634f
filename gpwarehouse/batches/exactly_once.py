"""The one algorithm that writes a batch once, whatever is repeated, lost, or done by others at the same time.

A batch has two sides. The :class:`Entry` knows what the control tables say: whether the batch is done, that it is done, that it
failed. The :class:`Write` knows the rows. A new kind of load is a new ``Write``, in a file of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from sqlalchemy.engine import Connection, Engine

from gpwarehouse.batches.ledger import Written
from gpwarehouse.derived import refresh_batch
from gpwarehouse.engine import RetryPolicy
from gpwarehouse.engine.server_errors import SERVER_ERRORS
from gpwarehouse.errors import GpwarehouseError, LoadError
from gpwarehouse.settings import WarehouseSettings
from gpwarehouse.transport import leave_statistics_alone

__all__ = ["Entry", "Write", "exactly_once", "in_one_transaction", "run_transaction"]

Store = Callable[[Connection], bool | None]
"""Locks the batch and stores its rows. The result is None if the batch is done already, and nothing is to be stored."""
Finish = Callable[[Connection], None]


class Entry(Protocol):
    """What the control tables say of one batch."""

    @property
    def what(self) -> str:
        """The work, for messages."""

    def lock(self, connection: Connection) -> None:
        """Keep other transactions from writing the same batch or content."""

    def find_done(self, connection: Connection) -> Any | None:
        """The row of the batch that makes the work superfluous; None if it is to be done."""

    def check_rejects(self) -> None:
        """Refuse the batch if too many rows are rejected.

        :raises TooManyRejectsError: there are too many.
        """

    def record(self, connection: Connection, written: Written) -> Any:
        """Record in the transaction that the batch is done; return its row."""

    def explain(self, error: Exception) -> GpwarehouseError:
        """Make the error to raise."""

    def record_failure(self, raised: GpwarehouseError) -> Any | None:
        """Record a failed attempt; if the batch is done nevertheless, return its row."""


class Write(Protocol):
    """How the rows of one kind of batch are written. The parts run again with each attempt."""

    def prepare(self) -> None:
        """Make what must exist before the transaction: months, hours, members. They are made in transactions of their own."""

    def transact(self, store: Store, finish: Finish) -> None:
        """Call both in one transaction; most kinds use :func:`in_one_transaction`."""

    def store(self, connection: Connection) -> None:
        """Store the rows, under the batch's locks."""

    def finish(self, connection: Connection) -> Written:
        """Write what follows from the rows; return what is to be recorded of the batch."""


def exactly_once(
    engine: Engine, settings: WarehouseSettings, entry: Entry, write: Write, deadline_s: float | None = None
) -> Any:
    """Write a batch once.

    :param deadline_s: how long an attempt is repeated; by default as the settings say, with 0 never.
    :return: the row of the batch in ``etl_load_batch``. It is another load's row if that load was faster.
    :raises TooManyRejectsError: too many rows were rejected; they are recorded.
    :raises BatchConflictError: the batch's id belongs to other content, or the caller wants an error.
    :raises LoadError: nothing was written, and the failure is recorded. Subclasses name the cause.
    """

    def look() -> Any | None:
        with engine.connect() as connection:
            return entry.find_done(connection)

    def attempt() -> Any:
        try:
            entry.check_rejects()
            write.prepare()
            return run_transaction(entry, write)
        except (*SERVER_ERRORS, LoadError) as error:
            raised = entry.explain(error)
            done = entry.record_failure(raised)  # it waits for a transaction whose COMMIT was not answered
        if done is None:
            raise raised  # outside the handler: the driver's error, which quotes the row, must not be chained
        return done

    done = RetryPolicy.once_met(settings, engine).call("look whether a batch is loaded", look)
    return done if done is not None else RetryPolicy.of(settings, deadline_s).call(entry.what, attempt)


def run_transaction(entry: Entry, write: Write) -> Any:
    """Decide under the batch's locks, write the rows, and record the batch, in one transaction; return the batch's row."""
    done = None

    def store(connection: Connection) -> bool | None:
        nonlocal done
        leave_statistics_alone(connection)
        entry.lock(connection)
        done = entry.find_done(connection)
        if done is not None:
            return None
        write.store(connection)
        return True

    def finish(connection: Connection) -> None:
        nonlocal done
        done = entry.record(connection, write.finish(connection))
        refresh_batch(connection, done)

    write.transact(store, finish)
    return done


def in_one_transaction(engine: Engine, store: Store, finish: Finish) -> None:
    """Call both in a plain transaction."""
    with engine.begin() as connection:
        if store(connection):
            finish(connection)
