"""Data changes in batches that commit one by one, and go on where a killed run stopped.

Each batch runs on a connection of its own: the statement, and a row in ``etl_migration_history`` which says that it is
done, in one transaction. The revision's transaction stays open beside it and sees none of it; it advances the version
when all batches are done and takes the rows away. So a change in batches stands alone in its revision: what the
revision's transaction has locked or made before, the batches would wait for, or not see.

A batch is known by its bounds, so a run that follows leaves out what is done, even where partitions came meanwhile, and
even where the statement was corrected since.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, column, exc, inspect, select
from sqlalchemy.engine import Connection

from gpwarehouse.dialect import GreenplumDialect, RangePartitions
from gpwarehouse.errors import MigrationError
from gpwarehouse.migrate import history
from gpwarehouse.migrate.run import Run
from gpwarehouse.models import migration_history_table

__all__ = ["Batch", "batches_of", "run_batches"]

_LOWEST, _KEYS = -(1 << 63), 1 << 64


@dataclass(frozen=True)
class Batch:
    """A part of a table.

    :ivar label: its bounds, by which a later run knows it; ``condition``: the SQL that picks its rows.
    """

    label: str
    condition: str


def batches_of(connection: Connection, table: str, schema: str | None, by: str, slices: int) -> list[Batch]:
    """The parts of a table.

    :param by: ``"partition"``, or a BIGINT column with values all over its range, as durable keys are.
    :raises MigrationError: the table is not there, is not partitioned by range, or has no such column.
    """
    there = inspect(connection)
    if not there.has_table(table, schema):
        raise MigrationError(f"op.run_batched(table={table!r}): there is no such table in schema {schema!r}")
    if by == "partition":
        return list(_by_partition(connection, table, schema))
    columns = {found["name"] for found in there.get_columns(table, schema)}
    if by not in columns:
        raise MigrationError(
            f"op.run_batched(table={table!r}, by={by!r}): say 'partition' or a BIGINT column of the table"
        )
    return list(_by_key(connection.dialect.identifier_preparer.quote(by), slices))


def _by_partition(connection: Connection, table: str, schema: str | None) -> Iterator[Batch]:
    scheme = inspect(connection).get_partitions(table, schema=schema)  # type: ignore[attr-defined]
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
        yield Batch(f"{scheme.column} from {part.start} to {part.end}", str(condition))


def _by_key(name: str, slices: int) -> Iterator[Batch]:
    edges = [_LOWEST + _KEYS * number // slices for number in range(1, slices)]
    for low, high in zip([None, *edges], [*edges, None], strict=True):
        bounds = [] if low is None else [f"{name} >= {low}"]
        bounds += [] if high is None else [f"{name} < {high}"]
        if not bounds:
            yield Batch(f"{name}: all", "TRUE")
        else:
            condition = " AND ".join(bounds)
            yield Batch(
                f"{name} from {low} to {high}", condition if low is not None else f"({condition} OR {name} IS NULL)"
            )


def run_batches(run: Run, sql: str, batches: list[Batch]) -> None:
    """Run ``sql``, in which ``{batch}`` stands for a batch's condition, for each batch that is not done.

    :raises MigrationError: the revision has run other statements before, a batch failed (it is named; those before it
        stay done), or the migrators' lock was lost.
    """
    if run.statements:
        raise MigrationError(
            f"revision {run.revision}: op.run_batched after other statements of the same revision, whose locks it would "
            "wait for; put the data change into a revision of its own"
        )
    run.batch_operations += 1
    done = _done(run)
    labels = {f"{run.batch_operations}: {batch.label}" for batch in batches}
    if strange := sorted(d for d in done - labels if d.startswith(f"{run.batch_operations}: ")):
        raise MigrationError(
            f"{run.direction} of revision {run.revision} was interrupted with other batches (done: {strange[0]}, …). Cut "
            "otherwise, rows that are done would be changed again: give op.run_batched the table, by= and slices= it had; "
            "the statement may change"
        )
    for number, batch in enumerate(batches, 1):
        label = f"{run.batch_operations}: {batch.label}"
        if label not in done:
            began = time.monotonic()
            rows = _run_one(run, sql.replace("{batch}", batch.condition), label)
            run.batch_rows += rows
            took = f"{rows} rows in {time.monotonic() - began:.1f} s"
        else:
            took = "done before"
        run.batches += 1
        run.tell(f"{run.direction} {run.revision}: batch {number} of {len(batches)} ({batch.label}): {took}")


def _done(run: Run) -> set[str]:
    table = migration_history_table(run.settings.schema_name)
    query = select(table.c.note).where(table.c.revision == run.revision, table.c.direction == f"{run.direction} batch")
    with run.engine.connect() as connection:
        return set(connection.execute(query).scalars())


def _run_one(run: Run, sql: str, label: str) -> int:
    assert run.revision is not None
    try:
        with run.engine.connect() as connection, connection.begin():
            done = connection.exec_driver_sql(sql, execution_options={"no_parameters": True}).rowcount
            connection.execute(
                history.row(run.settings.schema_name, run.revision, f"{run.direction} batch", "", f"{label}")
            )
            run.lock.verify()
    except exc.DBAPIError as error:
        raise MigrationError(
            f"{run.direction} of revision {run.revision}, batch {label}: {str(error.orig).strip()} — statement: {sql}. The "
            "batches before it are done and stay; correct the statement and run the command again"
        ) from error
    return max(0, int(done))
