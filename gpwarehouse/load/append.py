"""Append rows to a fact, or load a batch again in the place of its rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.engine import Connection

from gpwarehouse.batches import ledger
from gpwarehouse.batches.conflicts import delete_leftovers, delete_rows, hold
from gpwarehouse.batches.exactly_once import Finish, Store, in_one_transaction
from gpwarehouse.batches.moved_records import refuse_doubles
from gpwarehouse.batches.new_batch import NewBatch
from gpwarehouse.errors import LoadError
from gpwarehouse.intake.first_pass import FirstPass
from gpwarehouse.load.run import Run
from gpwarehouse.transport import Route

__all__ = ["Append"]


@dataclass
class Append:
    """The :class:`~gpwarehouse.batches.exactly_once.Write` of a plain load.

    :ivar scattered: rows of ``etl_load_batch``: earlier loads of the batch or content whose records may be in other batches.
    """

    run: Run
    entry: NewBatch
    scattered: list[Any] = field(default_factory=list)
    _route: Route | None = None

    @classmethod
    def of(cls, run: Run, found: FirstPass) -> Append:
        """Make it for rows that are read."""
        return cls(run, run.new_batch(found))

    def prepare(self) -> None:
        """Make months, hours and members, and choose the path."""
        self.run.options.report("prepare", 0)
        with self.run.phase("prepare"):
            self.run.make_months(self.entry.found)
            self.run.make_members(self.entry.found, self.entry.batch_id)
        self._route = self.run.route(self.entry.found.rows_to_load)

    def transact(self, store: Store, finish: Finish) -> None:
        """Run in one transaction."""
        with self.run.phase("copy"):
            in_one_transaction(self.run.engine, store, finish)

    def store(self, connection: Connection) -> None:
        """Delete the rows that are replaced or that failed loads left; store the new ones."""
        run, entry, target = self.run, self.entry, self.run.target
        assert self._route is not None
        run.rows_replaced, run.emptied = 0, None
        if entry.replaced is not None:
            entry.replaced = hold(connection, target.table, entry.replaced)
        left = self._find_leftovers(connection)
        refuse_doubles(connection, target, entry.batch_id, entry.found, self.scattered)
        if entry.replaced is not None:
            run.rows_replaced = delete_rows(
                connection, target.table, target.partition_column, entry.replaced, run.months
            )
            run.emptied = entry.replaced.min_event_ts, entry.replaced.max_event_ts
        self._delete_leftovers(connection, left)
        run.store_rows(connection, self._route, target.table, entry)

    def finish(self, connection: Connection) -> ledger.Written:
        """Write what the rows tell of members."""
        self.run.learn(connection, self.entry.found, self.entry.batch_id)
        rows, scattered = self.entry.found.rows_to_load, ledger.still_scattered(self.scattered)
        return ledger.Written(rows, self.run.rows_replaced, scattered)

    def _find_leftovers(self, connection: Connection) -> list[Any]:
        """Find failed batches of the same content that left rows; the others of which records may be left are ``scattered``."""
        entry = self.entry
        rows = ledger.left_behind(connection, entry.target, entry.batch_id, entry.checksum)
        self.scattered = [row for row in rows if not row.may_hold_rows]
        if entry.replaced is not None and ledger.are_scattered(entry.replaced):
            self.scattered.append(entry.replaced)
        if self.scattered and self.run.options.commits_apart:
            raise LoadError(
                f"{entry.target}: other batches may hold records of batch {self.scattered[0].batch_id!r}. Rows that connections "
                "commit on their own cannot be compared with them. Nothing was loaded; load it with atomic=True"
            )
        return [row for row in rows if row.may_hold_rows]

    def _delete_leftovers(self, connection: Connection, left: list[Any]) -> None:
        """Delete the rows that failed loads of the same content left; record that connections of this load may leave rows too."""
        by, column = self.entry.batch_id, self.run.target.partition_column
        if not self.run.options.commits_apart:
            for row in left:
                delete_leftovers(connection, column, row, by)
            return
        if left:  # a separate transaction: its lock must be released before other connections write to the fact
            with self.run.engine.begin() as other:
                for row in left:
                    delete_leftovers(other, column, row, by)
        ledger.announce(self.run.engine, self.entry.batch)
