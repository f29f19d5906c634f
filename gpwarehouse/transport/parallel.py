"""Several COPYs at once, on connections of their own.

The caller's connection takes its share into the table itself. What the others bring goes, if the load is to be atomic, into
a staging table, and from there with one INSERT into the caller's transaction. Else they write into the table and commit
before the caller does, all of them or, where a COPY fails, none; only if the caller's transaction fails after that are
their rows there without the caller's.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

import pyarrow as pa
from sqlalchemy import Column, MetaData, Table, insert, select, text
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.schema import CreateTable, DropTable

from gpwarehouse.engine import advisory_key, extra_connections, lock_advisory
from gpwarehouse.errors import LoadError
from gpwarehouse.transport.copy import Stored, copy_rows, leave_statistics_alone

__all__ = ["copy_parallel"]

_PREFIX = "gpwarehouse_staging_"


def copy_parallel(
    connection: Connection,
    table: Table,
    batches: Iterable[pa.RecordBatch],
    columns: tuple[str, ...],
    connections: int,
    *,
    atomic: bool = True,
) -> Stored:
    """COPY batches into ``columns`` of ``table`` on so many connections, the caller's among them.

    :param atomic: through a staging table, which takes the right to create one in the table's schema.
    """
    source = _Shared(batches)
    if not atomic:
        return _copy_together(connection, (table, table), source, columns, connections)[0]
    with _staging(connection, table, columns) as staging:
        done, staged = _copy_together(connection, (table, staging), source, columns, connections)
        rows = select(*(staging.c[name] for name in columns))
        statement = insert(table).from_select(list(columns), rows, include_defaults=False)
        moved = connection.execute(statement).rowcount
        if moved != staged:
            raise LoadError(f"{table.name}: {staged} rows were staged and {moved} moved on; nothing was loaded")
        return done


def _copy_together(
    connection: Connection, tables: tuple[Table, Table], source: _Shared, columns: tuple[str, ...], connections: int
) -> tuple[Stored, int]:
    """COPY into the first table, on the others' connections into the second; also the rows in that."""
    leave_statistics_alone(connection)
    extra = extra_connections(lambda: _begun(connection.engine), connections - 1)
    others = [_Other(one, tables[1], source, columns) for one in extra]
    try:
        mine = copy_rows(connection, tables[0], source, columns)
        for other in others:
            other.copied.wait()
        for other in others:
            if other.error is not None:
                raise other.error
        for other in others:
            other.commit = True
    except BaseException:
        source.failed = True
        raise
    finally:
        for other in others:
            other.decided.set()
            other.thread.join()
    for other in others:
        if other.error is not None:  # at its COMMIT
            raise other.error
    parts = [mine, *(other.stored for other in others if other.stored is not None)]
    how = f"{mine.transport} × {1 + len(others)}"
    rows = sum(part.rows for part in parts)
    return Stored(rows, sum(part.bytes for part in parts), how), rows - mine.rows


def _begun(engine: Engine) -> Connection:
    connection = engine.connect()
    try:
        connection.begin()
        leave_statistics_alone(connection)
    except BaseException:
        connection.close()
        raise
    return connection


class _Shared:
    """Batches that several threads take from, one at a time; no more after a failure."""

    def __init__(self, batches: Iterable[pa.RecordBatch]) -> None:
        self._batches = iter(batches)
        self._lock = threading.Lock()
        self.failed = False

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        return self

    def __next__(self) -> pa.RecordBatch:
        with self._lock:
            if self.failed:
                raise StopIteration
            try:
                return next(self._batches)
            except StopIteration:
                raise
            except BaseException:
                self.failed = True
                raise


class _Other:
    """A COPY in a thread and a transaction of its own, which ends as the caller decides when all have copied.

    :param connection: with that transaction; closed at its end.
    """

    def __init__(self, connection: Connection, table: Table, source: _Shared, columns: tuple[str, ...]) -> None:
        self._work = (connection, table, source, columns)
        self.copied, self.decided = threading.Event(), threading.Event()
        self.commit = False
        self.stored: Stored | None = None
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._run, name="gpwarehouse-copy", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        connection, table, source, columns = self._work
        try:
            with connection:
                self.stored = copy_rows(connection, table, source, columns)
                self.copied.set()
                self.decided.wait()
                if self.commit:
                    connection.commit()
        except BaseException as error:
            self.error = error
            source.failed = True
        finally:
            self.copied.set()


@contextmanager
def _staging(connection: Connection, table: Table, columns: tuple[str, ...]) -> Iterator[Table]:
    """A table without log, distributed as the target, dropped by the caller's transaction; at once if that fails."""
    engine = connection.engine
    _drop_left_over(engine, table)
    staging = _staging_table(table, f"{_PREFIX}{secrets.token_hex(6)}", columns)
    lock_advisory(connection, "staging", staging.name)  # as long as this is held, nobody takes it for left over
    with engine.begin() as own:
        own.execute(CreateTable(staging))
    try:
        yield staging
        connection.execute(DropTable(staging))
    except BaseException:
        with suppress(SQLAlchemyError), engine.begin() as own:  # else the next load does it
            own.execute(text("SELECT set_config('lock_timeout', '1000', true)"))
            own.execute(DropTable(staging))
        raise


def _staging_table(table: Table, name: str, columns: Iterable[str] = ()) -> Table:
    distribution = table.dialect_options["greenplum"]["distributed_by"]
    return Table(
        name,
        MetaData(),
        *(Column(column, table.columns[column].type) for column in columns),
        schema=table.schema,
        prefixes=["UNLOGGED"],
        greenplum_distributed_by=distribution,
    )


def _drop_left_over(engine: Engine, table: Table) -> None:
    """Drop the staging tables of loads that were killed, or failed after their INSERT."""
    found = text(
        "SELECT c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname = coalesce(:schema, current_schema()) AND c.relkind = 'r' AND c.relname LIKE :names"
    )
    with engine.begin() as own:
        translate = own.get_execution_options().get("schema_translate_map") or {}
        schema = translate.get(table.schema, table.schema)
        names = {"schema": schema, "names": _PREFIX.replace("_", r"\_") + "%"}
        for name in own.execute(found, names).scalars().all():
            key = {"key": advisory_key("staging", name)}
            if own.execute(text("SELECT pg_try_advisory_xact_lock(:key)"), key).scalar_one():
                own.execute(DropTable(_staging_table(table, name), if_exists=True))
