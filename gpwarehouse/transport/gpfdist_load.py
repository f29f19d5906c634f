"""Load by INSERT … SELECT from an external table that the segments read from our gpfdist server, in the caller's transaction."""

from __future__ import annotations

import os
import re
import secrets
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from sqlalchemy import BigInteger, Column, MetaData, Table, func, insert, select, text
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.schema import CreateTable, DropTable

from gpwarehouse.dialect import ExternalTable, RejectLimit, TextFormat
from gpwarehouse.engine import Cause, cause_of, dialect_of, state_of, unexpected, words_of
from gpwarehouse.errors import LoadError
from gpwarehouse.transport.columns import slices
from gpwarehouse.transport.copy import Stored, Unread, leave_statistics_alone, wires_of
from gpwarehouse.transport.copy_text import encode_text
from gpwarehouse.transport.gpfdist import GpfdistServer

__all__ = ["Address", "RejectPolicy", "insert_rows", "why_not"]

_UNREACHED = re.compile(r"gpfdist|curl|http|resolve|connect|timed? ?out|timeout|unreachable", re.IGNORECASE)
"""Messages of segments that cannot reach a server, or get no answer from it."""
_COLUMN = re.compile(r",? column (?P<column>\w+)\s*$")
LONGEST_S = 24 * 3600
"""Statement timeout in seconds if the session has none: a segment would wait for ever for a server that hangs."""
PROBE_S = 10
"""A segment must reach us within these seconds in an empty load; otherwise gpfdist is not used."""


@dataclass(frozen=True)
class Address:
    """Where to serve: an address of this machine that the segments can reach, and the ports to try in turn.

    Without an address it is the one that the coordinator is reached from.
    """

    host: str | None = None
    ports: tuple[int, ...] = (0,)

    def host_for(self, connection: Connection) -> str:
        """The address to listen on."""
        return self.host or _find_own_address(connection)


def _find_own_address(connection: Connection) -> str:
    """Our end of the connection to the coordinator, whose segments are in the same network."""
    driver: Any = connection.connection
    with socket.socket(fileno=os.dup(driver.fileno())) as ours:
        name = ours.getsockname()
    return str(name[0]) if isinstance(name, tuple) else "127.0.0.1"


@dataclass(frozen=True)
class RejectPolicy:
    """Rows that cannot be read may be left out, up to a number per segment. Column ``key`` identifies them."""

    rows: int
    key: str

    def options(self) -> dict[str, Any]:
        """Options of the external table. Greenplum does not accept a limit of one row: it fails from 2 rows on at least."""
        return {"log_errors": True, "reject_limit": RejectLimit(self.rows + 1)} if self.rows > 0 else {}


def _make_external(
    table: Table | None, columns: Iterable[str], url: str, rejecting: RejectPolicy | None = None
) -> Table:
    """Make a temporary external table with these columns; without ``table``, with one number."""
    options = rejecting.options() if rejecting is not None else {}
    kinds = [Column(name, table.columns[name].type) for name in columns] if table is not None else []
    return Table(
        f"gpwarehouse_{secrets.token_hex(8)}",
        MetaData(),
        *(kinds or [Column("number", BigInteger)]),
        prefixes=["TEMP"],
        greenplum_external=ExternalTable(location=(url,), format=TextFormat(newline="LF"), encoding="UTF8", **options),
    )


def insert_rows(
    connection: Connection,
    table: Table,
    batches: Iterable[pa.RecordBatch],
    columns: tuple[str, ...],
    address: Address,
    rejecting: RejectPolicy | None = None,
) -> Stored:
    """Let the segments fetch batches into ``columns`` of ``table``. The order of the rows is not kept.

    ``batches`` is read in threads, one batch at a time. As many threads as there are segments encode batches.

    :param rejecting: whether rows that a segment cannot read are left out and returned; else the first one fails the statement.
    :raises LoadError: the server stored another number of rows than it was sent; the caller must roll back.
    """
    capabilities = dialect_of(connection).capabilities
    assert capabilities is not None
    wires, exact = wires_of(table, columns), capabilities.exact_float_text
    _limit_statement(connection)
    leave_statistics_alone(connection)

    def encode(batch: pa.RecordBatch) -> pa.Buffer:
        return encode_text(batch, wires, exact_floats=exact)

    with GpfdistServer(address.host_for(connection), address.ports, slices(batches), encode) as server:
        external = _make_external(table, columns, server.url, rejecting)
        try:
            connection.execute(CreateTable(external))
            chosen = select(*(external.c[name] for name in columns))
            statement = insert(table).from_select(list(columns), chosen, include_defaults=False)
            stored = connection.execute(statement).rowcount
        except Exception:
            # The reason is the server's error, unless that is only the connection that the failed statement broke off.
            if server.error is not None and not isinstance(server.error, OSError):
                raise server.error from None
            raise
        unread: tuple[Unread, ...] = ()
        if rejecting is not None and rejecting.rows > 0 and stored < server.rows:
            unread = tuple(_read_error_log(connection, external, columns, rejecting.key))
        if server.error is not None or stored + len(unread) != server.rows:
            raise LoadError(
                f"{table.name}: {server.rows} rows were sent, but {stored} were stored. Nothing was loaded. "
                "A segment may have lost its connection; load again"
            )
        connection.execute(DropTable(external))
        return Stored(stored, server.bytes, "gpfdist", unread=unread)


def _read_error_log(connection: Connection, external: Table, columns: tuple[str, ...], key: str) -> Iterator[Unread]:
    """Read the segments' log of rows that they could not read.

    :raises LoadError: a row cannot be identified, because its text is not even UTF-8 to the server.
    """
    at = columns.index(key)
    log = text("SELECT errmsg, rawdata FROM gp_read_error_log(:name)")
    for message, line in connection.execute(log, {"name": external.name}):
        found = _COLUMN.search(message)
        try:
            number = int((line or "").split("\t")[at])
        except (IndexError, ValueError):
            raise LoadError(f"a segment could not read a row, and it is not known which: {message}") from None
        yield Unread(number, found["column"] if found else "", _COLUMN.sub("", message))


def _limit_statement(connection: Connection) -> None:
    if connection.execute(text("SELECT current_setting('statement_timeout')")).scalar_one() == "0":
        connection.execute(
            text("SELECT set_config('statement_timeout', :limit, true)"), {"limit": f"{LONGEST_S * 1000}"}
        )


def why_not(engine: Engine, address: Address) -> str:
    """Find out why rows cannot be sent by gpfdist; empty if they can. It tries with one row, which is not stored."""
    capabilities = dialect_of(engine).capabilities
    if capabilities is None or not capabilities.distribution:
        return "the server has no segments"
    row = pa.record_batch({"number": pa.array([1], pa.int64())})
    with engine.connect() as connection:
        try:
            host = address.host_for(connection)
            limit = {"limit": str(PROBE_S * 1000)}
            connection.execute(text("SELECT set_config('statement_timeout', :limit, true)"), limit)
            with GpfdistServer(host, address.ports, iter([row]), lambda _: b"1\n") as server:
                external = _make_external(None, (), server.url)
                connection.execute(CreateTable(external))
                seen = connection.execute(select(func.count()).select_from(external)).scalar_one()
                return "" if seen == 1 else f"the segments read {seen} rows instead of 1"
        except (SQLAlchemyError, LoadError, OSError) as error:
            return _explain(error, host)
        finally:
            connection.rollback()


def _explain(error: Exception, host: str) -> str:
    words = words_of(error)
    if state_of(error) == "42501":
        return f"the role may not create external tables ({words}); use ALTER ROLE … CREATEEXTTABLE (type = 'readable')"
    if state_of(error) == "57014" or _UNREACHED.search(words):
        return f"the segments cannot reach {host}; set GPWAREHOUSE_GPFDIST_HOST to an address that they can reach ({words})"
    return f"a trial failed: {unexpected(error) if cause_of(error) is Cause.UNKNOWN else words}"
