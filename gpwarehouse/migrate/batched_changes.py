"""Data changes in batches that commit one by one, and go on where a killed run stopped.

Each batch runs on a connection of its own: the statement, and a row in ``etl_migration_history`` which says that it is
done, in one transaction. The revision's transaction stays open beside it and sees none of it; it advances the version
when all batches are done and takes the rows away. So a change in batches stands alone in its revision: what the
revision's transaction has locked or made before, the batches would wait for, or not see.

A batch is known by its operation's name and its bounds, so a run that follows leaves out what is done, even where
partitions came meanwhile. The name is the one given, else the statement's checksum: an operation that is put in before an
interrupted one does not take its batches for its own. A statement that was corrected has another checksum; the message
that refuses it says which name lets it go on.

A statement must leave its rows in their batch: one that a batch moves into the next is changed there again, and by a run
that follows, too. So an UPDATE that sets the column by which the table is cut is refused.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, cast

from sqlalchemy import MetaData, Table, and_, column, exc, inspect, select, text
from sqlalchemy.engine import Connection

from gpwarehouse.dialect import GreenplumDialect, RangePartitions
from gpwarehouse.dialect.reflection import GreenplumInspector
from gpwarehouse.engine import HOUSEKEEPING, qualified_name
from gpwarehouse.errors import MigrationError
from gpwarehouse.migrate import history
from gpwarehouse.migrate.run import Run
from gpwarehouse.migrate.sql_text import assigned
from gpwarehouse.models import migration_history_table

__all__ = ["Batch", "Change", "batches_of", "refuse_lost_operations", "refuse_moves", "run_batches"]

_LABEL = re.compile(r"(?P<column>.*) from (?P<start>.+) to (?P<end>.+)", re.DOTALL)
_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_LOWEST, _KEYS = -(1 << 63), 1 << 64


@dataclass(frozen=True)
class Batch:
    """A part of a table.

    :ivar label: its bounds, by which a later run knows it; ``condition``: the SQL that picks its rows.
    :ivar column: what the condition asks; ``texts``: its bounds are texts, whose order is the server's collation's.
    """

    label: str
    condition: str
    column: str
    texts: bool = False


def batches_of(connection: Connection, table: str, schema: str | None, by: str, slices: int) -> list[Batch]:
    """The parts of a table.

    :param by: ``"partition"``, or a BIGINT column with values all over its range, as durable keys are.
    :raises MigrationError: the table is not there, is not partitioned by range, or has no such column.
    """
    there = inspect(connection)
    if not there.has_table(table, schema):
        raise MigrationError(f"op.run_batched(table={table!r}): there is no such table in schema {schema!r}")
    if by == "partition":
        return list(_cut_by_partition(connection, table, schema))
    columns = {found["name"] for found in there.get_columns(table, schema)}
    if by not in columns:
        raise MigrationError(
            f"op.run_batched(table={table!r}, by={by!r}): say 'partition' or a BIGINT column of the table"
        )
    return list(_cut_by_key(by, connection.dialect.identifier_preparer.quote(by), slices))


def _cut_by_partition(connection: Connection, table: str, schema: str | None) -> Iterator[Batch]:
    scheme = cast(GreenplumInspector, inspect(connection)).get_partitions(table, schema=schema)
    if not isinstance(scheme, RangePartitions) or scheme.default is not None:
        raise MigrationError(
            f"op.run_batched(table={table!r}, by='partition'): the table is not partitioned by range, or has a default "
            "partition; give by= a BIGINT column"
        )
    key: Any = column(scheme.column)
    for part in scheme.partitions:
        bounds = [] if part.start is None else [key >= part.start]
        bounds += [] if part.end is None else [key < part.end]
        plain = GreenplumDialect(paramstyle="named")  # without the driver's doubling of percent signs
        condition = and_(*bounds).compile(dialect=plain, compile_kwargs={"literal_binds": True})
        texts = isinstance(part.start, str) or isinstance(part.end, str)
        yield Batch(f"{scheme.column} from {part.start} to {part.end}", str(condition), scheme.column, texts)


def _cut_by_key(by: str, name: str, slices: int) -> Iterator[Batch]:
    edges = [_LOWEST + _KEYS * number // slices for number in range(1, slices)]
    for low, high in zip([None, *edges], [*edges, None], strict=True):
        bounds = [] if low is None else [f"{name} >= {low}"]
        bounds += [] if high is None else [f"{name} < {high}"]
        if not bounds:
            yield Batch(f"{name}: all", "TRUE", by)
        else:
            condition = " AND ".join(bounds)
            nulls = condition if low is not None else f"({condition} OR {name} IS NULL)"
            yield Batch(f"{name} from {low} to {high}", nulls, by)


def refuse_moves(sql: str, table: str, batches: Iterable[Batch]) -> None:
    """Stop before a statement that moves rows out of their batch.

    :raises MigrationError: it sets the column by which the table is cut.
    """
    if moved := sorted({batch.column for batch in batches} & assigned(sql, table)):
        raise MigrationError(
            f"op.run_batched(table={table!r}): the statement sets column {moved[0]!r}, by which the table is cut, so rows "
            "would move into other batches and be changed again there. Cut by a column that it does not set (by=), or "
            "change all rows in one statement: op.execute"
        )


Change = Callable[[Connection, str], int]
"""What changes a batch, on its connection, given the SQL that picks its rows; returns the rows changed."""


def run_batches(
    run: Run, change: str | Change, batches: list[Batch], *, table: tuple[str, str | None], name: str, given: bool
) -> None:
    """Make a change for each batch that is not done.

    :param change: a statement in which ``{batch}`` stands for the batch's condition, or a function.
    :param table: name and schema of the one that is changed.
    :param name: the operation's; ``given``: by the script's author, and not by the statement.
    :raises MigrationError: the revision has run other statements before, a batch failed (it is named; those before it
        stay done), or the migrators' lock was lost.
    """
    if run.statements:
        raise MigrationError(
            f"revision {run.revision}: op.run_batched follows other statements of the same revision, whose locks it would "
            "wait for; put the data change into a revision of its own"
        )
    name = _find_name(run, name, given)
    with run.engine.connect() as connection:
        all_done = done_batches(connection, run)
    done = all_done.get(name, set())
    _refuse_another(run, name, given, all_done)
    if strange := sorted(label for label in done if _cut_otherwise(label, batches)):
        raise MigrationError(
            f"{run.direction} of revision {run.revision} was interrupted with other batches (done: {strange[0]}, …). With "
            "these batches, rows that are done would be changed again: give op.run_batched the table, by= and slices= that it "
            "had; the statement may change"
        )
    for number, batch in enumerate(batches, 1):
        if batch.label not in done:
            began = time.monotonic()
            rows = _run_one(run, table, change, batch, f"{name}: {batch.label}")
            run.batch_rows += rows
            took = f"{rows} rows in {time.monotonic() - began:.1f} s"
        else:
            took = "done before"
        run.batches += 1
        run.tell(f"{run.direction} {run.revision}: batch {number} of {len(batches)} ({batch.label}): {took}")


def _cut_otherwise(label: str, batches: list[Batch]) -> bool:
    """Whether a finished batch may share rows with one that stands here by another label.

    One that shares none is of a month that retention has taken since.
    """
    here = {batch.label for batch in batches}
    if label in here or not here:
        return False
    if any(batch.texts for batch in batches):
        return True
    done = _bounds(label)
    return done is None or any(_overlap(done, _bounds(other)) for other in here)


def _bounds(label: str) -> tuple[str, list[Any]] | None:
    """The column and the bounds of a label, None where one is open; None where it has none, or of an unknown type."""
    found = _LABEL.fullmatch(label)
    if found is None:
        return None
    try:
        return found["column"], [_read_bound(found["start"]), _read_bound(found["end"])]
    except ValueError:
        return None


def _read_bound(written: str) -> Any:
    if written == "None":
        return None
    return Decimal(written) if _NUMBER.fullmatch(written) else datetime.fromisoformat(written)


def _overlap(one: tuple[str, list[Any]], other: tuple[str, list[Any]] | None) -> bool:
    if other is None or one[0] != other[0]:
        return True
    (low, high), (start, end) = one[1], other[1]
    try:
        return (low is None or end is None or low < end) and (start is None or high is None or start < high)
    except TypeError:  # bounds of another type: the column was changed
        return True


def _find_name(run: Run, name: str, given: bool) -> str:
    """The operation's name in this revision: a statement that stands there twice is two operations."""
    before = run.batch_names.count(name)
    if before and given:
        raise MigrationError(f"revision {run.revision}: two op.run_batched have the name {name!r}; give each its own")
    run.batch_names.append(name)
    found = f"{name}-{before + 1}" if before else name
    run.batch_operations.add(found)
    return found


def _refuse_another(run: Run, name: str, given: bool, done: dict[str, set[str]]) -> None:
    """Stop where this operation may be the interrupted one with its statement corrected: done rows would change again."""
    others = sorted(done.keys() - run.batch_operations)
    if name in done or given or not others:
        return
    raise MigrationError(
        f"{run.direction} of revision {run.revision} was interrupted in the op.run_batched named {others[0]!r} "
        f"({len(done[others[0]])} batches done), and this is another statement. If it is the same change, corrected: "
        f"give it name={others[0]!r}, and it goes on where it stopped. If it is a further one: give it a name of its own, "
        "or put it behind the interrupted one"
    )


def done_batches(connection: Connection, run: Run) -> dict[str, set[str]]:
    """Operation → labels of the batches that earlier runs, and this one, have done."""
    table = migration_history_table(run.settings.schema_name)
    query = select(table.c.note).where(table.c.revision == run.revision, table.c.part_of == run.direction)
    found: dict[str, set[str]] = {}
    for note in connection.execute(query.execution_options(**HOUSEKEEPING)).scalars():
        name, _, label = str(note).partition(": ")
        found.setdefault(name, set()).add(label)
    return found


def refuse_lost_operations(connection: Connection, run: Run) -> None:
    """Stop before a revision is taken for done that was interrupted in an operation it no longer has.

    :raises MigrationError: it names the operation.
    """
    if lost := sorted(done_batches(connection, run).keys() - run.batch_operations):
        raise MigrationError(
            f"{run.direction} of revision {run.revision} was interrupted in the op.run_batched named {lost[0]!r}, which "
            "its script no longer has, so the data would stay half changed; bring the operation back, or give "
            f"the one that takes its place name={lost[0]!r}"
        )


def _run_one(run: Run, table: tuple[str, str | None], change: str | Change, batch: Batch, label: str) -> int:
    """Run one batch: who writes to the table is waited for, or his rows, not yet committed, would miss the change."""
    assert run.revision is not None
    sql = change.replace("{batch}", batch.condition) if isinstance(change, str) else ""
    try:
        with run.engine.connect() as connection, connection.begin():
            name = qualified_name(connection, Table(table[0], MetaData(), schema=table[1]))
            connection.execute(text(f"LOCK TABLE {name} IN SHARE ROW EXCLUSIVE MODE"))
            if isinstance(change, str):
                done = connection.exec_driver_sql(sql, execution_options={"no_parameters": True}).rowcount
            else:
                done = change(connection, batch.condition)
            connection.execute(history.part_row(run.settings.schema_name, run.revision, run.direction, label))
            run.lock.verify()
    except exc.DBAPIError as error:
        raise MigrationError(
            f"{run.direction} of revision {run.revision}, batch {label}: {str(error.orig).strip()} — statement: "
            f"{sql or error.statement}. The batches before it are done and stay; correct the statement, give it "
            f"name={label.partition(': ')[0]!r} if it has none, and run the command again"
        ) from error
    return max(0, int(done))
