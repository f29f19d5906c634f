"""Several COPYs at the same time, on connections of their own.

The caller's connection copies its share into the table itself. If the load is to be atomic, the other connections copy into a
staging table, and one INSERT moves its rows in the caller's transaction. Otherwise the others copy into the table and commit
before the caller does: all of them, or none if a COPY fails. Only if the caller's transaction fails after that do their rows
stay without the caller's.
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
    """COPY batches into ``columns`` of ``table`` on several connections, including the caller's.

    :param atomic: whether to use a staging table, which needs the right to create a table in the table's schema.
    """
    source = _Shared(batches)
    if not atomic:
        return _copy_together(connection, (table, table), source, columns, connections)[0]
    with _make_staging(connection, table, columns) as staging:
        done, staged = _copy_together(connection, (table, staging), source, columns, connections)
        rows = select(*(staging.c[name] for name in columns))
        statement = insert(table).from_select(list(columns), rows, include_defaults=False)
        moved = connection.execute(statement).rowcount
        if moved != staged:
            raise LoadError(f"{table.name}: {staged} rows were staged, but {moved} were stored. Nothing was loaded")
        return done


def _copy_together(
    connection: Connection, tables: tuple[Table, Table], source: _Shared, columns: tuple[str, ...], connections: int
) -> tuple[Stored, int]:
    """COPY into the first table, and on the other connections into the second; also return the number of rows in the second."""
    leave_statistics_alone(connection)
    extra = extra_connections(lambda: _begin(connection.engine), connections - 1)
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


def _begin(engine: Engine) -> Connection:
    connection = engine.connect()
    try:
        connection.begin()
        leave_statistics_alone(connection)
    except BaseException:
        connection.close()
        raise
    return connection


class _Shared:
    """Batches that several threads share, one at a time. After a failure there are no more."""

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
    """A COPY in a thread and a transaction of its own. When all have copied, the caller decides how the transaction ends.

    :param connection: its connection, closed at the end.
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
def _make_staging(connection: Connection, table: Table, columns: tuple[str, ...]) -> Iterator[Table]:
    """Make an unlogged table, distributed like the target. The caller's transaction drops it; after a failure, we do."""
    engine = connection.engine
    _drop_left_over(engine, table)
    staging = _define_staging(table, f"{_PREFIX}{secrets.token_hex(6)}", columns)
    lock_advisory(connection, "staging", staging.name)  # while this is held, no other load drops it as left over
    with engine.begin() as own:
        own.execute(CreateTable(staging))
    try:
        yield staging
        connection.execute(DropTable(staging))
    except BaseException:
        with suppress(SQLAlchemyError), engine.begin() as own:  # otherwise the next load drops it
            own.execute(text("SELECT set_config('lock_timeout', '1000', true)"))
            own.execute(DropTable(staging))
        raise


def _define_staging(table: Table, name: str, columns: Iterable[str] = ()) -> Table:
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
    """Drop the staging tables of loads that were killed, or that failed after their INSERT."""
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
                own.execute(DropTable(_define_staging(table, name), if_exists=True))
