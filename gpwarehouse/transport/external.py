"""INSERT … SELECT from an external table that the segments read from our own gpfdist server, in the caller's transaction."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from sqlalchemy import BigInteger, Column, MetaData, Table, func, insert, select, text
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.schema import CreateTable, DropTable

from gpwarehouse.dialect import ExternalTable, TextFormat
from gpwarehouse.engine import dialect_of
from gpwarehouse.errors import LoadError
from gpwarehouse.transport.copy import Stored, leave_statistics_alone, wires_of
from gpwarehouse.transport.gpfdist import GpfdistServer
from gpwarehouse.transport.text import encode_text
from gpwarehouse.transport.wire import slices

__all__ = ["Address", "insert_rows", "why_not"]

LONGEST_S = 24 * 3600
"""A statement's limit where the session has none: a segment waits for ever for a server that hangs."""
PROBE_S = 10
"""A segment that cannot reach us in that time, in an empty load, will not do."""


@dataclass(frozen=True)
class Address:
    """Where to serve: an address of this machine that the segments reach (None: the one that reaches the coordinator),
    and the ports to try in turn.
    """

    host: str | None = None
    ports: tuple[int, ...] = (0,)

    def host_for(self, connection: Connection) -> str:
        """The address to listen on."""
        return self.host or _own_address(connection)


def _own_address(connection: Connection) -> str:
    """Our end of the connection to the coordinator; its segments are in the same network."""
    driver: Any = connection.connection
    with socket.socket(fileno=os.dup(driver.fileno())) as ours:
        name = ours.getsockname()
    return str(name[0]) if isinstance(name, tuple) else "127.0.0.1"


def _external(table: Table | None, columns: Iterable[str], url: str) -> Table:
    """A temporary external table with these columns; of one number if there is no table."""
    kinds = [Column(name, table.columns[name].type) for name in columns] if table is not None else []
    return Table(
        f"gpwarehouse_{secrets.token_hex(8)}",
        MetaData(),
        *(kinds or [Column("number", BigInteger)]),
        prefixes=["TEMP"],
        greenplum_external=ExternalTable(location=(url,), format=TextFormat(newline="LF"), encoding="UTF8"),
    )


def insert_rows(
    connection: Connection, table: Table, batches: Iterable[pa.RecordBatch], columns: tuple[str, ...], address: Address
) -> Stored:
    """Let the segments fetch batches into ``columns`` of ``table``; the order of the rows is not kept.

    ``batches`` is read in threads, one at a time; batches are encoded in as many threads as there are segments.

    :raises LoadError: the server stored another number of rows than it was given; roll back.
    """
    capabilities = dialect_of(connection).capabilities
    assert capabilities is not None
    wires, exact = wires_of(table, columns), capabilities.exact_float_text
    _limit(connection)
    leave_statistics_alone(connection)

    def encode(batch: pa.RecordBatch) -> pa.Buffer:
        return encode_text(batch, wires, exact_floats=exact)

    with GpfdistServer(address.host_for(connection), address.ports, slices(batches), encode) as server:
        external = _external(table, columns, server.url)
        try:
            connection.execute(CreateTable(external))
            chosen = select(*(external.c[name] for name in columns))
            statement = insert(table).from_select(list(columns), chosen, include_defaults=False)
            stored = connection.execute(statement).rowcount
        except Exception:
            # What ended the server is the reason, unless it is the connection that the failed statement broke off.
            if server.error is not None and not isinstance(server.error, OSError):
                raise server.error from None
            raise
        if server.error is not None or stored != server.rows:
            raise LoadError(
                f"{table.name}: {server.rows} rows were served and {stored} stored; nothing was loaded. "
                "A segment may have lost its connection; load again"
            )
        connection.execute(DropTable(external))
        return Stored(stored, server.bytes, "gpfdist")


def _limit(connection: Connection) -> None:
    if connection.execute(text("SELECT current_setting('statement_timeout')")).scalar_one() == "0":
        connection.execute(
            text("SELECT set_config('statement_timeout', :limit, true)"), {"limit": f"{LONGEST_S * 1000}"}
        )


def why_not(engine: Engine, address: Address) -> str:
    """Why rows cannot go by gpfdist; empty if they can. Tried with one row, which nobody keeps."""
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
                external = _external(None, (), server.url)
                connection.execute(CreateTable(external))
                seen = connection.execute(select(func.count()).select_from(external)).scalar_one()
                return "" if seen == 1 else f"the segments read {seen} rows of 1"
        except (SQLAlchemyError, LoadError, OSError) as error:
            return _reason(error, host)
        finally:
            connection.rollback()


def _reason(error: Exception, host: str) -> str:
    original = getattr(error, "orig", None) or error
    state = getattr(original, "pgcode", None)
    words = str(original).strip().splitlines()[0]
    if state == "42501":
        return f"the role may not create external tables ({words}): ALTER ROLE … CREATEEXTTABLE (type = 'readable')"
    if isinstance(error, SQLAlchemyError):
        return f"the segments do not reach {host}; set GPWAREHOUSE_GPFDIST_HOST to an address that they reach"
    return words
