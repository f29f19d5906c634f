"""One load while it runs: what it was asked for, what it has done so far, and the parts that several kinds of loads share."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Table
from sqlalchemy.engine import Connection, Engine

from gpwarehouse.batches.ledger import Origin
from gpwarehouse.batches.new_batch import NewBatch
from gpwarehouse.batches.refused_rows import place_of_line, refuse_row, write_all_but_refused
from gpwarehouse.dimensions.histories import Provenance
from gpwarehouse.dimensions.members import insert_missing, learn
from gpwarehouse.dimensions.parameter_sets import insert_missing_sets
from gpwarehouse.engine import RetryPolicy
from gpwarehouse.engine.server_errors import Refusal, refusal_of
from gpwarehouse.errors import LoadError
from gpwarehouse.intake.first_pass import FirstPass, Source
from gpwarehouse.intake.load_options import LoadOptions
from gpwarehouse.intake.target import Target
from gpwarehouse.load.maintenance import Upkeep
from gpwarehouse.load.result import LoadResult
from gpwarehouse.models.calendar import ShiftCalendar
from gpwarehouse.months.ensure import ensure_months
from gpwarehouse.months.hours import ensure_hours
from gpwarehouse.settings import WarehouseSettings
from gpwarehouse.transport import RejectPolicy, Route, Router, Stored

__all__ = ["Run", "columns_to_copy"]


class RowsOfBatch(Protocol):
    """The rows to store, and how many more of them may be rejected."""

    @property
    def found(self) -> FirstPass:
        """The rows that were read."""

    @property
    def batch_id(self) -> str:
        """The batch that they belong to."""

    @property
    def rejects_left(self) -> int:
        """How many more rows may be rejected."""

    def check_rejects(self) -> None:
        """Refuse the batch if too many rows are rejected."""


@dataclass
class Run:
    """One call of :meth:`gpwarehouse.load.Loader.load`.

    :ivar source_checksum: checksum of the bytes of the files, if the source is files of tables.
    :ivar own_checksum: checksum of the content, if it was computed before the rows are checked.
    :ivar months: names of the partitions that were made.
    :ivar emptied: first and last event of the rows that were deleted, whose space is to be freed.
    """

    engine: Engine
    settings: WarehouseSettings
    router: Router
    calendar: ShiftCalendar
    source: Source
    target: Target
    options: LoadOptions
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    source_checksum: str | None = None
    own_checksum: str | None = None
    months: tuple[str, ...] = ()
    members: int = 0
    learned: int = 0
    rows_replaced: int = 0
    emptied: tuple[datetime, datetime] | None = None
    stored: Stored | None = None
    phases: dict[str, float] = field(default_factory=dict)
    _started: float = field(default_factory=time.monotonic)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Measure the time of a phase."""
        started = time.monotonic()
        yield
        self.phases[name] = time.monotonic() - started

    @property
    def seconds(self) -> float:
        """Seconds since the call began."""
        return time.monotonic() - self._started

    def look_up(self, look: Callable[..., Any], *args: Any) -> Any:
        """Look something up on a connection of its own."""

        def once() -> Any:
            with self.engine.connect() as connection:
                return look(connection, *args)

        return RetryPolicy.once_met(self.settings, self.engine).call("look whether a batch is loaded", once)

    def new_batch(self, found: FirstPass, origin: Origin = "LOAD", operation: str = "") -> NewBatch:
        """Make the entry of the rows that are read."""
        return NewBatch(
            self.engine, self.settings, found, self.options, self.source.source_system, self.source.source_file or None,
            self.started_at, origin, operation, self.source_checksum,
        )  # fmt: skip

    def make_months(self, found: FirstPass) -> None:
        """Make the months that the rows need and that are missing. An earlier attempt may have made some."""
        if found.first is not None:
            self.months += tuple(ensure_months(self.engine, self.target.table, found.months))

    def make_members(self, found: FirstPass, batch_id: str, engine: Engine | None = None) -> None:
        """Make the missing hours, lists of parameters and members that the rows need, in transactions of their own.

        :param engine: the engine to use; by default the run's own.
        """
        if found.first is None:
            return
        ensure_hours(engine or self.engine, found.months, self.calendar)
        provenance = self._provenance(found, batch_id)
        insert_missing_sets(engine or self.engine, found.parameter_sets, found.array_lengths, provenance)
        self.members += insert_missing(engine or self.engine, found.resolver.members, provenance)

    def learn(self, connection: Connection, found: FirstPass, batch_id: str) -> None:
        """Write what the rows tell of members, in the load's transaction."""
        if found.first is not None:
            self.learned = learn(connection, found.resolver.members, self._provenance(found, batch_id))

    def _provenance(self, found: FirstPass, batch_id: str) -> Provenance:
        return Provenance(batch_id, self.source.source_system, found.first)

    def route(self, rows: int) -> Route:
        """Choose the path of the rows. Call it outside a transaction."""
        return self.router.route(rows, connections=self.options.parallel, atomic=self.options.atomic)

    def store_rows(
        self, connection: Connection, route: Route, table: Table, entry: RowsOfBatch, more: tuple[str, ...] = ()
    ) -> None:
        """Store the rows in a table like the target's; rows that the server refuses become rejects.

        :param more: columns of the table besides the target's.
        :raises LoadError: the server stored another number of rows than it was sent.
        """
        found = entry.found
        columns = columns_to_copy(self.target, found.rows.filled) + more
        policy = RejectPolicy(entry.rejects_left, "source_record_no")

        def store() -> Stored:
            nonlocal route
            if not route.counts_lines and route.can_repeat:
                try:
                    with connection.begin_nested():
                        return route.store(connection, table, self._sendable(entry), columns, policy)
                except Exception as error:
                    if refusal_of(error) is None:
                        raise
                route = route.on_one_connection()  # several connections or segments count lines of their own
            return route.store(connection, table, self._sendable(entry), columns, policy)

        def find(refusal: Refusal) -> int | None:
            return place_of_line(found, refusal) if route.can_repeat else None

        self.stored = write_all_but_refused(connection, found, store, find, entry.check_rejects)
        for unread in self.stored.unread:
            refuse_row(
                found,
                _find_record(found, unread.key),
                Refusal(None, unread.column, f"refused by the server: {unread.reason}"),
            )
            entry.check_rejects()
        self.check_stored(found)

    def check_stored(self, found: FirstPass) -> None:
        """Compare the number of rows that the server stored with the number that it was sent.

        :raises LoadError: they differ.
        """
        assert self.stored is not None
        if self.stored.rows != found.rows_to_load:
            raise LoadError(
                f"{self.target.name}: {found.rows_to_load} rows were sent, but the server stored {self.stored.rows}. Nothing was "
                "loaded. Check whether a trigger or rule on the table drops rows; if there is none, load again"
            )

    def _sendable(self, entry: RowsOfBatch) -> Iterator[pa.RecordBatch]:
        """Yield the rows to load with the batch's id, and report how many have been sent."""
        found = entry.found
        self.options.begin("copy", lambda: (found.rows_to_load, found.rows.bytes))
        rows = 0
        for batch in found.sendable():
            yield batch.append_column("batch_id", pa.repeat(pa.scalar(entry.batch_id, pa.string()), batch.num_rows))
            rows += batch.num_rows
            self.options.report("copy", rows)

    def result(self, row: Any, found: FirstPass | None = None) -> LoadResult:
        """Make the result from the batch's row. If the row did not begin with this run, another run loaded the batch."""
        seconds, warnings = self.seconds, tuple(self.source.warnings())
        if row.started_at != self.started_at:
            counts = (row.rows_read, 0, row.rows_rejected)
            return LoadResult(row.batch_id, row.target, *counts, True, seconds, warnings=warnings)
        counts = (row.rows_read, row.rows_loaded, row.rows_rejected)
        sent, values = self.stored or Stored(0, 0, ""), self.source.values()
        stored = found.values if found is not None else 0
        return LoadResult(
            *(row.batch_id, row.target, *counts, False, seconds, self.months, self.members + self.learned),
            *(sent.transport, sent.reason, sent.bytes, self.phases, self.rows_replaced),
            warnings=warnings,
            values_stored=stored,
            values_left_out=values.left_out + max(0, values.stored - stored),
        )

    def maintain(self, row: Any, found: FirstPass, *, rows_added: bool = True) -> LoadResult:
        """Gather statistics and free space, after the commit; return the result."""
        result = self.result(row, found)
        if result.already_loaded:
            return result
        self.options.report("analyze", 0)
        upkeep = Upkeep(self.engine, self.target.table)
        with self.phase("analyze"):
            if self.emptied is not None:
                upkeep.vacuum(*self.emptied)
            if rows_added:
                upkeep.analyze(found.months, self.options.analyze or self.settings.analyze)
        return replace(
            result,
            analyzed=tuple(upkeep.analyzed),
            vacuumed=tuple(upkeep.vacuumed),
            warnings=(*result.warnings, *upkeep.warnings),
        )


def columns_to_copy(target: Target, filled: set[str]) -> tuple[str, ...]:
    """The columns to copy. Columns without a value are left out, which makes a frame with few columns much faster."""
    defaults = {column.name for column in target.table.columns if column.server_default is not None}
    return tuple(name for name in target.columns if name in filled or name in defaults or name == "batch_id")


def _find_record(found: FirstPass, record_no: int) -> int:
    """The place in the spool of the row with a record number."""
    passed = 0
    for batch in found.rows.batches():
        at = pc.index(batch.column("source_record_no"), pa.scalar(record_no, pa.int64())).as_py()
        if at >= 0:
            return passed + int(at)
        passed += batch.num_rows
    raise LoadError(f"a segment could not read the row with source_record_no {record_no}, but this row was not sent")
