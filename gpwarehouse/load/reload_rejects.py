"""Load corrected rejects into the batch that rejected them, each once.

A row is identified by its ``row_number``. It is stored in the batch under the record number that it would have had. Its reject is
deleted in the same transaction, which also updates the batch's counts. So a row that is no longer a reject has been loaded, and
is skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import delete, func, select, update
from sqlalchemy.engine import Connection

from gpwarehouse.batches import ledger
from gpwarehouse.batches.exactly_once import Finish, Store, exactly_once, in_one_transaction
from gpwarehouse.batches.moved_records import in_other_batches, named
from gpwarehouse.batches.new_batch import NewBatch
from gpwarehouse.batches.reject_limit import first_reasons
from gpwarehouse.batches.removed_rows import describe_removals
from gpwarehouse.dialect.options import month_partition
from gpwarehouse.engine.key_lists import is_one_of
from gpwarehouse.engine.progress import Progress
from gpwarehouse.engine.server_errors import SERVER_ERRORS, as_load_error, translate_errors
from gpwarehouse.errors import (
    BatchConflictError,
    GpwarehouseError,
    InvalidInputError,
    LoadError,
    TooManyRejectsError,
)
from gpwarehouse.intake.expected_columns import expected_of
from gpwarehouse.intake.first_pass import FirstPass, read_source
from gpwarehouse.intake.frames import record_batches
from gpwarehouse.intake.load_options import Analyze, LoadOptions
from gpwarehouse.intake.target import Target, target_named
from gpwarehouse.load.loader import Loader
from gpwarehouse.load.rejects import NUMBER, look_up, rejects_as_given
from gpwarehouse.load.result import LoadResult
from gpwarehouse.load.run import Run
from gpwarehouse.models import EtlLoadBatch, EtlReject
from gpwarehouse.models.parameter_sets import ParameterSet
from gpwarehouse.sources.value_counts import ValueCounts
from gpwarehouse.transport import Route

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Corrected", "reload_rejects"]

Corrected = Any | Callable[["pd.DataFrame"], Any]
"""A frame of corrected rows with their ``row_number``, or a function that makes one from the rows as they were given."""


class _Loaded(Exception):
    """Some of the rows are no longer rejects."""


@dataclass
class _CorrectedRows:
    """Corrected rows as a source.

    :ivar numbers: ``row_number`` of each row that is loaded, in the order of the frame.
    """

    batch: Any
    given: Sequence[pa.RecordBatch]
    pending: frozenset[int]
    numbers: list[int] = field(default_factory=list)

    @property
    def target(self) -> str:
        return str(self.batch.target)

    @property
    def source_system(self) -> str:
        return str(self.batch.source_system or "")

    @property
    def source_file(self) -> str:
        return str(self.batch.source or "")

    @property
    def checksum(self) -> str:
        return str(self.batch.checksum)

    @property
    def window(self) -> tuple[Any, Any] | None:
        """The month that the batch replaced, if it did: it accepts no rows of other months."""
        if self.batch.month_replaced is None:
            return None
        partition = month_partition(self.batch.month_replaced)
        return partition.start, partition.end

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield the rows that are still rejects, with their own record numbers, or those of their place in the source."""
        self.numbers.clear()
        for rows in self.given:
            numbers = rows.column(NUMBER)
            keep = pa.array([number in self.pending for number in numbers.to_pylist()], pa.bool_())
            rows, numbers = rows.filter(keep), numbers.filter(keep)
            self.numbers += numbers.to_pylist()
            yield _add_numbers(rows.drop_columns([NUMBER]), numbers)

    def members(self) -> Mapping[str, list[dict[str, Any]]]:
        return {}

    def parameter_sets(self) -> Mapping[int, ParameterSet]:
        return {}

    def values(self) -> ValueCounts:
        return ValueCounts()

    def warnings(self) -> Sequence[str]:
        return ()


def _add_numbers(rows: pa.RecordBatch, numbers: pa.Array) -> pa.RecordBatch:
    at = rows.schema.get_field_index("source_record_no")
    if at < 0:
        return rows.append_column("source_record_no", numbers)
    own = rows.column(at)
    if pa.types.is_null(own.type):
        return rows.set_column(at, "source_record_no", numbers)
    if pa.types.is_integer(own.type):
        return rows.set_column(at, "source_record_no", pc.coalesce(own.cast(pa.int64()), numbers))
    return rows


def reload_rejects(
    loader: Loader,
    batch_id: str,
    corrected: Corrected,
    *,
    progress: Progress | None = None,
    analyze: Analyze | None = None,
) -> LoadResult:
    """Load corrected rejects of a loaded batch into it.

    :param corrected: a frame, as for a load, with the additional column ``row_number``; or a function that gets the rejects
        as they were given (:func:`rejects_as_given`) and returns such a frame. Rows that it leaves out stay rejects. Rows
        that are rejected again stay rejects with the new reason.
    :return: counts of the given rows that were still rejects; ``already_loaded`` if there was none.
    :raises InvalidInputError: no batch of that id is loaded, or the frame does not fit.
    :raises BatchConflictError: the batch was replaced meanwhile, or other batches now hold records of the rows.
    :raises TooManyRejectsError: all rows were rejected again; the new reasons are recorded.
    :raises LoadError: the server refused; nothing was changed.
    """
    engine, settings = loader.engine, loader.settings
    options = LoadOptions(batch_id=batch_id, progress=progress, analyze=analyze)
    row = look_up(engine, settings, "etl_load_batch", _read_batch, batch_id)
    if callable(corrected):
        rejects = rejects_as_given(engine, settings, batch_id)
        corrected = corrected(rejects) if len(rejects) else []
    given = _read_corrected(corrected, target_named(row.target), row)
    while True:
        pending = look_up(engine, settings, row.target, _find_pending, row)
        source = _CorrectedRows(row, given, pending)
        run = loader.begin(source, options, started_at=row.started_at)
        with run.phase("read"):
            found = read_source(source, run.target, engine, settings, options)
        with found:
            try:
                return translate_errors(
                    settings, row.target, "nothing was changed", partial(_reload, run, source, found)
                )
            except _Loaded:
                continue


def _reload(run: Run, source: _CorrectedRows, found: FirstPass) -> LoadResult:
    batch_id, target = source.batch.batch_id, source.target
    if not source.numbers:
        return LoadResult(batch_id, target, 0, 0, source.batch.rows_rejected, True, run.seconds)
    reload = _Reload(run, source, run.new_batch(found))
    done = exactly_once(run.engine, run.settings, reload, reload)
    if not found.rows_to_load:
        raise TooManyRejectsError(
            f"{target}: none of the {found.rows_read} corrected rows could be loaded; they stay rejects. "
            f"First: {first_reasons(_restore_numbers(found, source.numbers))}. All: wh.batches.rejects({batch_id!r})"
        )
    return run.maintain(done, found)


@dataclass
class _Reload:
    """Entry and write of corrected rejects, which become part of a batch that is loaded already.

    They are done if they are no longer rejects. A failure changes nothing, and is not recorded.

    :ivar into: the batch of the rows that are read, with the id and checksum of the loaded batch.
    """

    run: Run
    source: _CorrectedRows
    into: NewBatch
    _row: Any = None
    _route: Route | None = None

    @property
    def found(self) -> FirstPass:
        return self.into.found

    @property
    def batch_id(self) -> str:
        return self.into.batch_id

    @property
    def rejects_left(self) -> int:
        return self.found.rows_to_load

    @property
    def what(self) -> str:
        return f"reload of rejects of batch {self.batch_id}"

    def lock(self, connection: Connection) -> None:
        self.into.lock(connection)

    def find_done(self, connection: Connection) -> Any | None:
        """Read the batch's row again; some of the rows may be loaded by now.

        :raises BatchConflictError: the batch was replaced meanwhile.
        """
        self._row = _read_same_batch(connection, self.source.batch)
        if not _read_pending(connection, self.batch_id) >= set(self.source.numbers):
            raise _Loaded
        return None

    def check_rejects(self) -> None:
        """Rows that are rejected again stay rejects, as many as there are."""

    def prepare(self) -> None:
        run = self.run
        with run.phase("prepare"):
            run.make_months(self.found)
            run.make_members(self.found, self.batch_id)
        self._route = run.router.route(self.found.rows_to_load)

    def transact(self, store: Store, finish: Finish) -> None:
        with self.run.phase("copy"):
            in_one_transaction(self.run.engine, store, finish)

    def store(self, connection: Connection) -> None:
        found = self.found
        _refuse_numbers(connection, self.run, self._row, found)
        _refuse_records(connection, self.run, self._row, found)
        assert self._route is not None
        self.run.store_rows(connection, self._route, self.run.target.table, self)

    def finish(self, connection: Connection) -> ledger.Written:
        self.run.learn(connection, self.found, self.batch_id)
        return ledger.Written(self.found.rows_to_load)

    def record(self, connection: Connection, written: ledger.Written) -> ledger.Batch:
        """Count the rows in the batch's row, and replace their rejects by those of the rows that were rejected again."""
        batch = self.into.batch
        ledger.refuse_half_changed(connection, batch.target)
        _count(connection, batch, self._row)
        rejects = EtlReject.__table__
        mine = rejects.c.batch_id == batch.batch_id
        connection.execute(delete(rejects).where(mine, is_one_of(rejects.c.row_number, self.source.numbers)))
        again = _restore_numbers(self.found, self.source.numbers)
        ledger.insert_rejects(connection, batch.batch_id, batch.target, again)
        return batch

    def explain(self, error: Exception) -> GpwarehouseError:
        return as_load_error(self.run.settings, self.source.target, error)

    def record_failure(self, raised: GpwarehouseError) -> Any | None:
        """Look whether the rows are stored although an error was raised: they are no longer rejects."""
        found = self.found
        kept = {self.source.numbers[reject - 1] for reject in _read_numbers(found)}
        try:
            with self.run.engine.begin() as connection:
                self.lock(connection)
                left = _read_pending(connection, self.batch_id)
        except SERVER_ERRORS:
            raised.add_note(
                "It is not known whether the rows were loaded. Load them again: each row is loaded only once"
            )
            return None
        is_done = found.rows_to_load > 0 and not (set(self.source.numbers) - kept) & left
        return self.into.batch if is_done else None


def _find_pending(connection: Connection, batch: Any) -> frozenset[int]:
    _read_same_batch(connection, batch)
    return frozenset(_read_pending(connection, batch.batch_id))


def _read_same_batch(connection: Connection, batch: Any) -> Any:
    """Read the batch's row again.

    :raises BatchConflictError: another load replaced the batch. Its rejects have the same numbers, but are other rows.
    """
    now = _read_batch(connection, batch.batch_id)
    if (now.checksum, now.started_at) != (batch.checksum, batch.started_at):
        raise BatchConflictError(
            f"batch {batch.batch_id!r} of {batch.target} was replaced meanwhile; the corrected rows do not belong to the "
            "content that is loaded now. Nothing was changed; read the batch's rejects again"
        )
    return now


def _read_batch(connection: Connection, batch_id: str) -> Any:
    table = EtlLoadBatch.__table__
    row = connection.execute(select(table).where(table.c.batch_id == batch_id)).first()
    if row is None:
        raise ledger.no_such_batch(batch_id)
    if row.status == ledger.DELETED:
        removals = describe_removals(connection, batch_id)
        raise InvalidInputError(f"batch {batch_id!r} is no longer loaded ({removals}); load the whole batch again")
    if row.status != ledger.LOADED:
        raise InvalidInputError(
            f"batch {batch_id!r} failed, and nothing of it is loaded; correct the source and load all of it again"
        )
    if row.origin == "DELETE":
        raise InvalidInputError(
            f"batch {batch_id!r} deleted records by their keys and has no rows; delete by the right keys (wh.facts.delete)"
        )
    if not row.rows_loaded and row.rows_removed:
        removals = describe_removals(connection, batch_id)
        raise InvalidInputError(
            f"batch {batch_id!r} has no rows any more ({removals}); its rejects were removed with them"
        )
    return row


def _read_corrected(frame: Any, target: Target, row: Any) -> list[pa.RecordBatch]:
    """Read the frame's batches, each with its row numbers as integers.

    :raises InvalidInputError: there are no row numbers, they are not the batch's, or one occurs twice.
    """
    batches = []
    seen: set[int] = set()
    expected = expected_of(target, beside=(NUMBER,))
    for batch in record_batches(frame, target.json_columns, expected, list_columns=target.list_columns):
        at = batch.schema.get_field_index(NUMBER)
        if at < 0:
            raise InvalidInputError(
                f"the corrected rows need a column {NUMBER!r} that says which reject each of them was"
            )
        try:
            numbers = batch.column(at).cast(pa.int64())
        except pa.ArrowException:
            raise InvalidInputError(f"the column {NUMBER!r} holds a value that is not a whole number") from None
        for number in numbers.to_pylist():
            if number is None or not 1 <= number <= row.rows_read:
                raise InvalidInputError(
                    f"{NUMBER} {number} is not in batch {row.batch_id!r}, which has 1 to {row.rows_read}"
                )
            if number in seen:
                raise InvalidInputError(f"{NUMBER} {number} occurs twice; give each row once")
            seen.add(number)
        batches.append(batch.set_column(at, NUMBER, numbers))
    return batches


def _read_pending(connection: Connection, batch_id: str) -> set[int]:
    rejects = EtlReject.__table__
    return set(connection.execute(select(rejects.c.row_number).where(rejects.c.batch_id == batch_id)).scalars())


def _refuse_records(connection: Connection, run: Run, row: Any, found: FirstPass) -> None:
    """Refuse a record that another batch now holds (``wh.facts.upsert``, or another source): it would be stored twice."""
    others = in_other_batches(connection, run.target, row.batch_id, found) if found.rows_to_load else []
    if others:
        raise BatchConflictError(
            f"{run.target.name}: other batches hold records of the corrected rows: {named(others)}. If they were also loaded "
            f"into batch {row.batch_id!r}, they would be stored twice. Nothing was changed. Leave these rows out, or replace "
            f"those records: wh.facts.upsert({run.target.name!r}, rows)"
        )


def _refuse_numbers(connection: Connection, run: Run, row: Any, found: FirstPass) -> None:
    """Refuse a record number that the batch has already: batch and record number identify a row."""
    if row.min_event_ts is None:
        return
    table, times = run.target.table, run.target.table.c[run.target.partition_column]
    mine = select(table.c.source_record_no).where(
        table.c.batch_id == row.batch_id, times >= row.min_event_ts, times <= row.max_event_ts
    )
    for batch in found.sendable():
        numbers = batch.column("source_record_no").to_pylist()
        there = connection.execute(mine.where(is_one_of(table.c.source_record_no, numbers))).scalars().first()
        if there is not None:
            raise LoadError(
                f"{run.target.name}: batch {row.batch_id!r} already has a row with source_record_no {there}. "
                "Nothing was changed; give the corrected row another number"
            )


def _count(connection: Connection, batch: ledger.Batch, row: Any) -> None:
    table = EtlLoadBatch.__table__
    values: dict[str, Any] = {
        "rows_loaded": row.rows_loaded + batch.rows_loaded,
        "rows_rejected": row.rows_rejected - batch.rows_loaded,
        "min_event_ts": _pick_outer(min, row.min_event_ts, batch.min_event_ts),
        "max_event_ts": _pick_outer(max, row.max_event_ts, batch.max_event_ts),
        "finished_at": func.clock_timestamp(),
    }
    connection.execute(update(table).where(table.c.batch_id == batch.batch_id).values(**values))


def _pick_outer(
    pick: Callable[[datetime, datetime], datetime], a: datetime | None, b: datetime | None
) -> datetime | None:
    return pick(a, b) if a is not None and b is not None else a or b


def _read_numbers(found: FirstPass) -> Iterator[int]:
    for rows in found.all_rejects():
        yield from rows.column(NUMBER).to_pylist()


def _restore_numbers(found: FirstPass, numbers: list[int]) -> Iterator[pa.RecordBatch]:
    """The rows that were rejected again, under their numbers in the original source."""
    for rows in found.all_rejects():
        own = pa.array([numbers[place - 1] for place in rows.column(NUMBER).to_pylist()], pa.int64())
        yield rows.set_column(rows.schema.get_field_index(NUMBER), NUMBER, own)
