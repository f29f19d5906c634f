"""One running query: how it is sent, and its rows as Arrow tables as they arrive."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, get_args

import psycopg2
import pyarrow as pa
from sqlalchemy import Executable, exc
from sqlalchemy.engine import Connection, Engine

from gpwarehouse.engine import (
    Cancellation,
    dialect_of,
    extra_connections,
    has_shared_session,
    pool_state,
    session_values,
    set_for_transaction,
)
from gpwarehouse.engine.progress import Progress
from gpwarehouse.engine.server_errors import as_read_error
from gpwarehouse.errors import ReadError
from gpwarehouse.read.copy_binary import BinaryParser, has_binary
from gpwarehouse.read.copy_csv import TextParser
from gpwarehouse.read.copy_out import CopyOut, CopyRows
from gpwarehouse.read.parallel import SHARED, CopySplit, conditions_of, follow
from gpwarehouse.read.server_cursor import ServerCursor
from gpwarehouse.read.statement import Sent, send
from gpwarehouse.read.whole_table import whole_table
from gpwarehouse.transport.csv_archive import whole_rows

__all__ = ["Stream", "Transport"]

Transport = Literal["auto", "binary", "csv", "cursor"]
"""How the server sends rows: by COPY in the binary form or as CSV, or from a cursor. ``auto`` takes COPY, and the binary form if
every column has one."""

# The server's texts are parsed, so they must not depend on the defaults of the database or the role.
_SETTINGS = {
    "TimeZone": "UTC",
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    "bytea_output": "hex",
    "extra_float_digits": "3",  # before PostgreSQL 12 floats would lose digits
}
_CSV = b" TO STDOUT WITH (FORMAT csv, NULL '', ENCODING 'UTF8')"
_BINARY = b" TO STDOUT WITH (FORMAT binary)"
_ROWS_FETCHED = 10_000
# The table must be distributed, and COPY must read exactly the rows that SELECT reads, which must be known before the first
# row is sent. COPY leaves out the children of a table that is not partitioned, and stops at an external or foreign partition.
_ON_SEGMENTS = """
SELECT 1 FROM pg_catalog.pg_class c JOIN pg_catalog.gp_distribution_policy d ON d.localoid = c.oid
WHERE c.oid = CAST(%s AS regclass) AND c.relkind IN ('r', 'p') AND d.policytype = 'p'
AND ({partitioned} OR NOT EXISTS (SELECT 1 FROM pg_catalog.pg_inherits i WHERE i.inhparent = c.oid))
AND NOT EXISTS ({external})
"""
_PARTITIONED = {
    "classic": "EXISTS (SELECT 1 FROM pg_catalog.pg_partition p WHERE p.parrelid = c.oid AND NOT p.paristemplate)",
    "declarative": "c.relkind = 'p'",
}
_EXTERNAL = {
    "classic": """
        SELECT 1 FROM pg_catalog.pg_exttable x WHERE x.reloid = c.oid OR x.reloid IN (
            SELECT r.parchildrelid FROM pg_catalog.pg_partition_rule r
            JOIN pg_catalog.pg_partition p ON p.oid = r.paroid WHERE p.parrelid = c.oid)""",
    "declarative": """
        SELECT 1 FROM pg_catalog.pg_partition_tree(c.oid) t JOIN pg_catalog.pg_class k ON k.oid = t.relid
        WHERE k.relkind = 'f'""",
}


class Stream:
    """A query whose rows are read once, in a read-only transaction on a connection of its own.

    When it has been made, the server has accepted the query and its first rows are here. Close it, or use it as a context
    manager.

    :param parallel: number of connections that read a whole table of PostgreSQL at the same time, in one snapshot; its rows then
        have no fixed order. There are fewer if the pool has no more. Other statements are read by one connection.
    :param fetch: number of rows that a cursor brings at once.
    :param session: options of the transactions, see :data:`~gpwarehouse.engine.SESSION_OPTIONS`.
    :ivar schema: the Arrow schema.
    :ivar columns: the server's types.
    :ivar path: ``"binary"``, ``"split"`` (binary, by several connections), ``"table"`` (formatted by Greenplum's segments, in
        either form), ``"select"`` (CSV), ``"cursor"`` (of the server), or ``"result"`` (of a statement that is no query).
    :raises ReadError: the query cannot be run, or not in the way that was asked for.
    :raises ReadCancelledError: a :class:`~gpwarehouse.engine.Cancellation` around it was cancelled.
    :raises InvalidInputError: an option of the session is unknown, or its value is not allowed.
    """

    def __init__(
        self,
        engine: Engine,
        statement: str | Executable,
        params: Mapping[str, Any] | None = None,
        *,
        exact_numeric: bool = False,
        progress: Progress | None = None,
        transport: Transport = "auto",
        parallel: int = 1,
        fetch: int | None = None,
        session: Mapping[str, Any] | None = None,
    ) -> None:
        self._copy: CopyOut | CopySplit | None = None
        self._connection: Connection | None = None  # close() needs it, even if no connection can be made
        self._pid = os.getpid()
        _check(transport, parallel)
        self._session = session_values(session or {})
        self._engine, self._transport, self._parallel = engine, transport, parallel
        self._fetch = fetch or _ROWS_FETCHED
        self._server_cursor: ServerCursor | None = None
        self._others: list[Connection] = []
        self._cancellation = Cancellation.current()
        self._progress = progress
        options: dict[str, Any] = {"isolation_level": SHARED} if parallel > 1 else {}
        self._connection = engine.connect().execution_options(postgresql_readonly=True, **options)
        try:
            sent = self._send(statement, params or {}, exact_numeric)
            self.columns = sent.columns
            self._texts = TextParser(sent.columns)
            self._parse: Callable[[Any], pa.Table] = self._texts.parse
            self.schema = self._texts.schema
            self._first, self._blocks = self._start(sent)
        except ReadError:
            self.close()
            self._refuse_if_cancelled()
            raise
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Stop the query if it runs, and return the connection to the pool."""
        connection, self._connection = self._connection, None
        if connection is None or os.getpid() != self._pid:  # in a forked child the connection belongs to the parent
            return
        if self._copy is not None:
            self._copy.stop()
        for each in (connection, *self._others):
            _give_back(each)

    @property
    def json_columns(self) -> frozenset[str]:
        """Names of the json and jsonb columns, which come as the server's text."""
        return frozenset(column.name for column in self.columns if column.is_json)

    def tables(self) -> Iterator[pa.Table]:
        """Yield the rows, in tables of a few MB. At their end the stream is closed.

        :raises ReadError: the server failed meanwhile, or a value has no Arrow type.
        """
        rows = 0
        try:
            block = self._first
            while block is not None:
                self._refuse_if_cancelled()
                table = self._parse(block)
                rows += table.num_rows
                yield table
                if self._progress is not None:
                    self._progress("read", rows)
                block = self._take_next()
            if self._copy is not None and self._copy.rows not in (rows, -1):
                raise ReadError(f"the server sent {self._copy.rows} rows, but {rows} arrived; read again")
        except ReadError:
            self._refuse_if_cancelled()
            raise
        finally:
            self.close()

    def _refuse_if_cancelled(self) -> None:
        if self._cancellation is not None:
            self._cancellation.check()

    def _take_next(self) -> Any:
        if os.getpid() != self._pid:
            raise ReadError(
                f"this read belongs to process {self._pid}, which was forked; read again in the child process"
            )
        try:
            return next(self._blocks, None)
        except psycopg2.Error as error:
            failure = as_read_error(error)
        raise failure

    def _begin(self, connection: Connection | None = None) -> Connection:
        connection = connection or self._connection
        assert connection is not None
        set_for_transaction(connection, self._session, _SETTINGS)
        return connection

    def _send(self, statement: str | Executable, params: Mapping[str, Any], exact: bool) -> Sent:
        assert self._connection is not None
        if self._transport == "cursor" and ServerCursor.is_possible(self._connection, exact=exact):
            self._server_cursor = ServerCursor(self._connection, self._fetch, self._session, _SETTINGS)
        else:
            self._begin()
        with self._keep_digits(exact):
            sent = send(self._connection, statement, params, exact=exact, server_cursor=self._server_cursor)
        if sent is None:
            self._server_cursor = None
            with self._keep_digits(exact):
                sent = send(self._begin(), statement, params, exact=exact, run=True)
        assert sent is not None
        return sent

    @contextmanager
    def _keep_digits(self, exact: bool) -> Iterator[None]:
        """ORCA drops precision and scale of NUMERIC (seen on 7.0), so the Postgres planner describes such columns."""
        connection = self._connection
        assert connection is not None
        capabilities = dialect_of(connection).capabilities
        if not exact or capabilities is None or not capabilities.distribution:
            yield
            return
        kept = connection.exec_driver_sql("SHOW optimizer").scalar_one()
        change = "SELECT pg_catalog.set_config('optimizer', %s, true)"
        connection.exec_driver_sql(change, ("off",))
        yield
        if connection.in_transaction():
            connection.exec_driver_sql(change, (kept,))

    def _rollback(self) -> None:
        assert self._connection is not None
        self._connection.rollback()

    def _start(self, sent: Sent) -> tuple[Any, Iterator[Any]]:
        """Return the first block and the others. Waiting for the first block shows whether the server accepts the statement."""
        if sent.result is not None:
            cursor, self._parse = self._server_cursor, self._texts.parse_rows
            if cursor is not None and cursor.declared:
                self.path, blocks = "cursor", cursor.blocks(sent.result)
            else:
                self.path, blocks = "result", _read_blocks(sent.result)
            return next(blocks, None), blocks
        binary = self._is_binary(sent)
        table = self._find_whole_table(sent)
        if table is not None:
            try:
                self.path = "table"
                return self._copy_out(table, sent, binary)
            except psycopg2.Error:  # COPY cannot read it, although it is a table; SELECT reports the error better
                self._rollback()
                self._begin()
        try:
            split = self._split(sent) if binary else None
            if split is not None:
                return split
            self.path = "binary" if binary else "select"
            return self._copy_out(b"(\n" + sent.sql + b"\n)", sent, binary)
        except psycopg2.Error as error:
            failure = as_read_error(error)
        raise failure

    def _copy_out(self, source: bytes, sent: Sent, binary: bool) -> tuple[Any, Iterator[Any]]:
        assert self._connection is not None
        driver: Any = self._connection.connection.driver_connection
        if binary:
            many = self.path == "table"
            self._parse = BinaryParser(sent.columns, many).parse
            self._copy = CopyRows(driver, b"COPY " + source + _BINARY, many=many)
            blocks = self._copy.pieces()
        else:
            self._parse = self._texts.parse
            self._copy = CopyOut(driver, b"COPY " + source + _CSV)
            blocks = whole_rows(self._copy.pieces())
        return next(blocks, None), blocks

    def _is_binary(self, sent: Sent) -> bool:
        """Whether the rows come in the binary form.

        :raises ReadError: the binary form was asked for, and is not possible.
        """
        assert self._connection is not None
        why_not = (
            "server and client must both use UTF8" if not self._is_utf8("server", "client")
            else "the type of a column has no binary form here" if not has_binary(sent.columns)
            else ""
        )  # fmt: skip
        if why_not and self._transport == "binary":
            raise ReadError(f'transport="binary": {why_not}; give "auto", which then takes CSV')
        return self._transport != "csv" and not why_not

    def _is_utf8(self, *sides: str) -> bool:
        assert self._connection is not None
        driver: Any = self._connection.connection.driver_connection
        said = [driver.get_parameter_status(f"{side}_encoding") or "" for side in sides]
        return all(encoding.upper() == "UTF8" for encoding in said)  # pgbouncer returns what the client wrote: utf8

    def _split(self, sent: Sent) -> tuple[Any, Iterator[Any]] | None:
        """Read by several connections, if the statement reads a whole table that can be divided."""
        assert self._connection is not None
        capabilities = dialect_of(self._connection).capabilities
        if self._parallel == 1 or capabilities is None or capabilities.distribution:
            return None
        found = whole_table(sent.sql.decode())
        # The snapshot must be taken over before any query. Behind a pooler each transaction begins with a query that sets it up.
        if found is None or has_shared_session(self._connection):
            return None
        conditions = conditions_of(self._connection, found.name, self._parallel)
        if not conditions:
            if not self._connection.in_transaction():
                self._begin()
            return None
        try:
            snapshot = self._connection.exec_driver_sql("SELECT pg_catalog.pg_export_snapshot()").scalar_one()
            pool = pool_state(self._engine.pool)
            wanted = min(self._parallel, len(conditions), self._parallel if pool is None else pool.limit) - 1
            self._others = extra_connections(lambda: follow(self._engine, snapshot), wanted)
            for other in self._others:
                self._begin(other)
        except exc.DBAPIError as error:
            raise as_read_error(error) from None
        statements = [b"COPY (\n" + found.query.encode() + b"\nWHERE " + part + b"\n)" + _BINARY for part in conditions]
        drivers = [each.connection.driver_connection for each in (self._connection, *self._others)]
        self.path, self._parse = "split", lambda table: table
        self._copy = CopySplit(drivers, statements, BinaryParser(sent.columns))
        blocks = self._copy.pieces()
        return next(blocks, None), blocks

    def _find_whole_table(self, sent: Sent) -> bytes | None:
        """Table and columns for COPY, if the statement reads a table of the segments unchanged, so that they can format it."""
        assert self._connection is not None
        dialect = dialect_of(self._connection)
        assert dialect.capabilities is not None
        if not dialect.capabilities.distribution or not self._is_utf8("client"):
            return None
        found = whole_table(sent.sql.decode())
        if found is None:
            return None
        kind = dialect.capabilities.partition_catalog
        query = _ON_SEGMENTS.format(partitioned=_PARTITIONED[kind], external=_EXTERNAL[kind])
        try:
            if self._connection.exec_driver_sql(query, (found.name,)).first() is None:
                return None
        except exc.DBAPIError:
            self._rollback()
            self._begin()
            return None
        quote = dialect.identifier_preparer.quote_identifier
        names = ", ".join(quote(column.name) for column in sent.columns)
        if found.named and len({column.name for column in sent.columns}) < len(sent.columns):
            return None
        return f"{found.name} ({names})".encode()


def _check(transport: str, parallel: int) -> None:
    if transport not in get_args(Transport):
        raise ReadError(f"transport={transport!r}: the allowed values are {', '.join(get_args(Transport))}")
    if isinstance(parallel, bool) or not isinstance(parallel, int) or not 1 <= parallel <= 16:
        raise ReadError(f"parallel={parallel!r}: give a number of connections from 1 to 16")
    if parallel > 1 and transport in ("csv", "cursor"):
        raise ReadError(
            f'transport="{transport}" reads by one connection; leave out parallel={parallel}, or give transport="auto"'
        )


def _give_back(connection: Connection) -> None:
    if not connection.invalidated:  # otherwise it is known to be lost
        driver: Any = connection.connection.driver_connection
        if driver.closed:  # by the server: it can neither be rolled back nor be kept in the pool
            connection.invalidate()
    try:
        connection.rollback()
    except exc.DBAPIError:  # it was lost just now: all rows are here, or another error is being raised
        connection.invalidate()
    connection.close()


def _read_blocks(result: Any) -> Iterator[list[Any]]:
    cursor = result.cursor
    while rows := cursor.fetchmany(_ROWS_FETCHED):
        yield rows
