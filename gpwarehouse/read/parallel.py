"""Read a whole table of PostgreSQL by several connections in one snapshot: by months, or by ranges of pages.

Each part is a condition on the table itself, never a partition by its own name: so rights and row security are those of the
table. This is not done on Greenplum: its snapshots are not known to hold across connections, and its segments work in parallel
anyway.
"""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
from sqlalchemy import exc
from sqlalchemy.engine import Connection, Engine

from gpwarehouse.dialect import RangePartitions
from gpwarehouse.dialect.reflection import partitions_of
from gpwarehouse.engine import dialect_of
from gpwarehouse.read.copy_binary import BinaryParser
from gpwarehouse.read.copy_out import CopyRows

__all__ = ["SHARED", "CopySplit", "conditions_of", "follow"]

SHARED = "REPEATABLE READ"
"""The isolation level that keeps one snapshot for all statements of a transaction."""

_PARTS_EACH = 8
"""Ranges of pages per connection: a connection that is done early takes another range."""
_LEAST_PAGES = 2_000
_TABLE = """
SELECT n.nspname, c.relname, c.relkind, pg_catalog.pg_relation_size(c.oid) / current_setting('block_size')::bigint AS pages,
       EXISTS (SELECT 1 FROM pg_catalog.pg_inherits i WHERE i.inhparent = c.oid) AS has_children
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = CAST(%s AS regclass) AND c.relkind IN ('r', 'p') AND NOT pg_catalog.pg_is_in_recovery()
"""


def conditions_of(connection: Connection, table: str, parallel: int) -> list[bytes]:
    """Make conditions that divide a table's rows, each for one COPY; none if the table cannot be divided.

    :param table: the table's name in SQL.
    """
    try:
        found = connection.exec_driver_sql(_TABLE, (table,)).one_or_none()
    except exc.DBAPIError:  # the query itself will report the error better
        connection.rollback()
        return []
    if found is None:
        return []
    if found.relkind == "p":
        schemes = partitions_of(connection, dialect_of(connection), found.nspname, found.relname)
        scheme = schemes.get(found.relname)
        return _divide_by_bounds(connection, scheme) if isinstance(scheme, RangePartitions) else []
    driver: Any = connection.connection.driver_connection
    if (
        found.has_children or found.pages < _LEAST_PAGES or driver.server_version < 140_000
    ):  # there is no scan of a range of pages
        return []
    step = -(-found.pages // (parallel * _PARTS_EACH))
    begins = list(range(0, found.pages, step))
    parts = [f"ctid >= '({begin},0)'::tid AND ctid < '({begin + step},0)'::tid" for begin in begins[:-1]]
    return [part.encode() for part in (*parts, f"ctid >= '({begins[-1]},0)'::tid")]


def _divide_by_bounds(connection: Connection, scheme: RangePartitions) -> list[bytes]:
    """Make one condition per partition. Only the default partition can hold NULL and values outside all others."""
    if scheme.default is not None or len(scheme.partitions) < 2:
        return []
    column = connection.dialect.identifier_preparer.quote_identifier(scheme.column)  # % doubled
    driver: Any = connection.connection.driver_connection
    parts = []
    with driver.cursor() as cursor:
        for partition in scheme.partitions:
            sides = [
                (f"{column} {op} %s", v) for op, v in ((">=", partition.start), ("<", partition.end)) if v is not None
            ]
            parts.append(
                cursor.mogrify(" AND ".join(text for text, _ in sides) or "true", [value for _, value in sides])
            )
    return parts


def follow(engine: Engine, snapshot: str) -> Connection:
    """Open another connection in the transaction's snapshot."""
    connection = engine.connect().execution_options(postgresql_readonly=True, isolation_level=SHARED)
    try:
        connection.exec_driver_sql("SET TRANSACTION SNAPSHOT '" + snapshot.replace("'", "''") + "'")
    except BaseException:
        connection.close()
        raise
    return connection


class _Worker(CopyRows):
    """One connection, which takes one part after the other until none is left."""

    def __init__(self, connection: Any, parts: deque[bytes], parser: BinaryParser, tables: queue.Queue[Any]) -> None:
        self._parts = parts
        super().__init__(connection, b"", parser.parse, tables)

    def _take(self, cursor: Any) -> None:
        self.counted = 0
        while self._parts and not self._stopped:
            try:
                statement = self._parts.popleft()
            except IndexError:
                return
            try:
                self._copy_rows(cursor, statement)
            except BaseException:
                self._parts.clear()  # the other connections need not continue
                raise
            self.counted += cursor.rowcount


class CopySplit:
    """The output of COPYs by several connections, as tables without a fixed order.

    :param connections: psycopg2's connections; nobody else may use them until :meth:`stop` or the end.
    """

    def __init__(self, connections: list[Any], statements: list[bytes], parser: BinaryParser) -> None:
        self._tables: queue.Queue[Any] = queue.Queue(4 * len(connections))
        self._stopped = False
        parts = deque(statements)
        self._workers = [_Worker(connection, parts, parser, self._tables) for connection in connections]

    @property
    def rows(self) -> int:
        """Number of rows that the server counted, once everything is read."""
        return sum(worker.counted for worker in self._workers)

    def pieces(self) -> Iterator[pa.Table]:
        """Yield the tables.

        :raises psycopg2.Error: the error of one of the connections.
        """
        running = len(self._workers)
        while running:
            table = self._tables.get()
            if table is None:
                running = 0 if self._stopped else running - 1
            else:
                yield table
        for worker in self._workers:
            worker.wait_for_end()

    def stop(self) -> None:
        """Cancel the running COPYs, and wait for their end."""
        self._stopped = True
        for worker in self._workers:
            worker.stop()
