"""Store rows by COPY, in binary if every column has a binary form."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa
from sqlalchemy import Table, text
from sqlalchemy.engine import Connection

from gpwarehouse.engine import dialect_of, qualified_name
from gpwarehouse.transport.columns import Wire, slices
from gpwarehouse.transport.copy_binary import HEADER, TRAILER, encode_binary
from gpwarehouse.transport.copy_stream import EncodedStream
from gpwarehouse.transport.copy_text import encode_text

__all__ = ["Format", "Stored", "Unread", "copy_rows", "leave_statistics_alone", "wires_of"]

Format = Literal["binary", "text"]
READ_BYTES = 4 << 20
"""Bytes handed to the driver at a time. For each piece it waits for Python, while other threads keep Python busy."""


@dataclass(frozen=True)
class Unread:
    """A row that a segment could not read.

    :ivar key: its value in the column that the caller named.
    :ivar column: the column at fault; empty if it is not known.
    :ivar reason: the server's message.
    """

    key: int
    column: str
    reason: str


@dataclass(frozen=True)
class Stored:
    """What a transport did: rows that the server stored, bytes sent, the path, and why the other path was not taken.

    :ivar unread: rows that were left out, if the caller allowed it.
    """

    rows: int
    bytes: int
    transport: str
    reason: str = ""
    unread: tuple[Unread, ...] = ()


def wires_of(table: Table, columns: Iterable[str]) -> list[Wire]:
    """Make the wires of a table's columns."""
    return [Wire.of(table, table.columns[name]) for name in columns]


def leave_statistics_alone(connection: Connection) -> None:
    """Switch off, for this transaction, the ANALYZE at the end of the first COPY or INSERT into a table without statistics.

    Greenplum runs it inside the load. It holds a lock until the commit, for which a second load of the table waits, and it
    fails the load if the statistics overflow. It never runs it for partitioned tables.
    """
    capabilities = dialect_of(connection).capabilities
    if capabilities is not None and capabilities.distribution:
        connection.execute(text("SELECT set_config('gp_autostats_mode', 'none', true)"))


def copy_rows(
    connection: Connection,
    table: Table,
    batches: Iterable[pa.RecordBatch],
    columns: tuple[str, ...],
    form: Format | None = None,
) -> Stored:
    """COPY batches into ``columns`` of ``table``, in the transaction that the caller has begun.

    A column that a batch does not have is NULL in its rows. ``batches`` is read in a thread of its own.

    :param columns: distribution key and partition key first: the coordinator of a Greenplum then parses a text only so far as to
        find a row's segment and partition.
    :param form: by default binary, if every column has a binary form.
    :raises InvalidInputError: a value does not fit its column; the transaction must be rolled back.
    """
    wires = wires_of(table, columns)
    form = form or ("binary" if all(wire.has_binary for wire in wires) else "text")
    names = ", ".join(connection.dialect.identifier_preparer.quote(name) for name in columns)
    capabilities = dialect_of(connection).capabilities
    assert capabilities is not None
    driver: Any = connection.connection
    statement = f"COPY {qualified_name(connection, table)} ({names}) FROM STDIN WITH (FORMAT {form})"
    with (
        EncodedStream(_chunks(batches, wires, form, capabilities.exact_float_text)) as stream,
        driver.cursor() as cursor,
    ):
        try:
            cursor.copy_expert(statement, stream, READ_BYTES)
        except Exception:
            if stream.error is not None:
                raise stream.error from None
            raise
        return Stored(int(cursor.rowcount), stream.sent, f"copy {form}")


def _chunks(batches: Iterable[pa.RecordBatch], wires: list[Wire], form: Format, exact_floats: bool) -> Iterator[Any]:
    if form == "binary":
        yield HEADER
    for batch in slices(batches):
        yield encode_binary(batch, wires) if form == "binary" else encode_text(batch, wires, exact_floats=exact_floats)
    if form == "binary":
        yield TRAILER
