"""Rows of a table to Parquet and back, exactly; and what tells whether two tables hold the same rows.

Times at the ends of what Arrow can hold stand for infinity, as in the server's own files. What Arrow has no type for
(JSONB, NUMERIC, …) is kept as the server's text.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from sqlalchemy import MetaData, Table, text
from sqlalchemy.engine import Connection

from gpwarehouse.engine import dialect_of, qualified_name
from gpwarehouse.errors import PartitionError
from gpwarehouse.partitions.archive import Content
from gpwarehouse.read.columns import Column
from gpwarehouse.read.copy_binary import BinaryParser
from gpwarehouse.read.copy_out import CopyRows
from gpwarehouse.transport import copy_in
from gpwarehouse.transport.chunks import rechunk

__all__ = [
    "columns_in",
    "common_rows",
    "content_of",
    "file_schema",
    "load_files",
    "read_rows",
    "scratch_table",
    "write_file",
]

_INT64 = (-(1 << 63), (1 << 63) - 1)
_TIMESTAMP = pa.timestamp("us", tz="UTC")
_ARROW = {
    "boolean": pa.bool_(),
    "smallint": pa.int16(),
    "integer": pa.int32(),
    "bigint": pa.int64(),
    "real": pa.float32(),
    "double precision": pa.float64(),
    "timestamp with time zone": _TIMESTAMP,
    "double precision[]": pa.list_(pa.float64()),
    "integer[]": pa.list_(pa.int32()),
}
"""The server's types as types of a file; all others are text."""
_TEXT = 25
_BINARY = {
    "boolean": 16, "smallint": 21, "integer": 23, "bigint": 20, "real": 700, "double precision": 701,
    "timestamp with time zone": 20, "text": _TEXT, "jsonb": 3802, "double precision[]": 1022, "integer[]": 1007,
}  # fmt: skip
"""The types that are read in binary, and as what (pg_type.dat); moments as the number they are. All others as text."""
_EPOCH_US = 946_684_800_000_000
_YEARS = (-62_135_596_800_000_000 - _EPOCH_US, 253_402_300_799_999_999 - _EPOCH_US)
"""The years 1 to 9999, in microseconds since 2000."""
_EXACT = {
    "double precision": "float8send({0})", "real": "float4send({0})", "double precision[]": "array_send({0})",
}  # fmt: skip
"""Floats are compared bit by bit: their text differs from server to server."""
SCRATCH = "gpw_archive_check"
GROUP_ROWS = 65_536
BATCH_ROWS = 16_384
"""Rows in memory at a time when a file is loaded."""


def columns_in(path: Path) -> dict[str, str]:
    """Column → the server's type, of a file that :func:`write_file` wrote.

    :raises PartitionError: it is none.
    """
    try:
        fields = pq.read_schema(path)
        return {field.name: field.metadata[b"gpwarehouse.type"].decode() for field in fields}
    except (pa.ArrowInvalid, KeyError, TypeError) as error:
        raise PartitionError(
            f"{path} is named like a file of an archive, and is none: {error!r}; move it elsewhere"
        ) from error


def _exact_output(connection: Connection) -> None:
    connection.execute(
        text("SET LOCAL extra_float_digits = 3; SET LOCAL TimeZone = 'UTC'; SET LOCAL DateStyle = 'ISO, MDY'; "
             "SET LOCAL IntervalStyle = 'iso_8601'; SET LOCAL bytea_output = 'hex'")
    )  # fmt: skip


def _row_hashes(connection: Connection, table: Table, columns: Mapping[str, str]) -> str:
    quote = connection.dialect.identifier_preparer.quote
    values = ", ".join(_EXACT.get(kind, "{0}").format(quote(name)) for name, kind in columns.items())
    return f"SELECT md5(CAST(ROW({values}) AS text)) AS h FROM {qualified_name(connection, table)}"


def content_of(connection: Connection, table: Table, columns: Mapping[str, str]) -> Content:
    """Compute the content of a table over these columns; the server reads all rows.

    A row's text tells NULL from empty, and every value of every type from every other.
    """
    _exact_output(connection)
    row = connection.execute(
        text(
            "SELECT count(*) AS n, COALESCE(sum(CAST(CAST('x' || substr(h, 1, 15) AS bit(60)) AS bigint)), 0) AS a, "
            "COALESCE(sum(CAST(CAST('x' || substr(h, 16, 15) AS bit(60)) AS bigint)), 0) AS b "
            f"FROM ({_row_hashes(connection, table, columns)}) r"
        )
    ).one()
    return Content(row.n, (int(row.a), int(row.b)))


def common_rows(connection: Connection, one: Table, other: Table, columns: Mapping[str, str]) -> int:
    """How many rows two tables share; a row that is in both twice counts twice."""
    _exact_output(connection)
    first, second = (_row_hashes(connection, table, columns) for table in (one, other))
    both = f"SELECT count(*) FROM ({first} INTERSECT ALL {second}) b"
    return int(connection.execute(text(both)).scalar_one())


def scratch_table(connection: Connection, like: Table, columns: Mapping[str, str]) -> Table:
    """An empty temporary table with these columns of a table, gone at the transaction's end."""
    capabilities = dialect_of(connection).capabilities
    assert capabilities is not None
    preparer = connection.dialect.identifier_preparer
    names = ", ".join(map(preparer.quote, columns))
    spread = " DISTRIBUTED RANDOMLY" if capabilities.distribution else ""
    connection.execute(text(f"DROP TABLE IF EXISTS pg_temp.{SCRATCH}"))
    connection.execute(
        text(
            f"CREATE TEMPORARY TABLE {SCRATCH} ON COMMIT DROP AS "
            f"SELECT {names} FROM {qualified_name(connection, like)} WHERE false{spread}"
        )
    )
    return Table(SCRATCH, MetaData(), schema="pg_temp")


# To a file.


def file_schema(columns: Mapping[str, str], about: Mapping[str, str] | None = None) -> pa.Schema:
    """The Arrow schema of rows as they stand in a file.

    :param about: goes into the file's own metadata.
    """
    return pa.schema(
        [
            pa.field(name, _ARROW.get(kind, pa.string()), metadata={"gpwarehouse.type": kind})
            for name, kind in columns.items()
        ],
        metadata={f"gpwarehouse.{key}": value for key, value in (about or {}).items()},
    )


def write_file(
    connection: Connection, table: Table, columns: Mapping[str, str], path: Path, about: Mapping[str, str]
) -> int:
    """Write a table's rows to a Parquet file (zstd), a block at a time; returns how many.

    :param about: goes into the file's own metadata.
    """
    rows = 0
    # Closed whatever happens: the connection is another thread's until then.
    with closing(read_rows(connection, table, columns)) as tables:
        with pq.ParquetWriter(path, file_schema(columns, about), compression="zstd") as writer:
            for part in rechunk(tables, GROUP_ROWS):
                writer.write_table(part, row_group_size=GROUP_ROWS)
                rows += part.num_rows
    return rows


def read_rows(
    connection: Connection, table: Table, columns: Mapping[str, str], *, partitioned: bool = False
) -> Generator[pa.Table, None, None]:
    """Yield a table's rows as they stand in a file, some thousands at a time.

    Until the generator ends or is closed, a thread of its own uses the connection.

    :param partitioned: whether the table has partitions, which COPY of a table does not read.
    :raises DBAPIError: the server refused the query.
    :raises PartitionError: a value fits no file.
    """
    _exact_output(connection)
    driver: Any = connection.connection.driver_connection
    if (encoding := driver.get_parameter_status("client_encoding").upper()) != "UTF8":
        raise PartitionError(f"the client's encoding is {encoding}, files hold UTF8; take PGCLIENTENCODING away")
    capabilities = dialect_of(connection).capabilities
    assert capabilities is not None
    quote = connection.dialect.identifier_preparer.quote
    name = qualified_name(connection, table)
    whole = not partitioned and all(kind in _BINARY for kind in columns.values())
    if whole:  # the segments of a Greenplum format it then
        source = f"{name} ({', '.join(map(quote, columns))})"
    else:
        values = (quote(c) if kind in _BINARY else f"CAST({quote(c)} AS text)" for c, kind in columns.items())
        source = f"(SELECT {', '.join(values)} FROM {name})"
    schema = file_schema(columns)
    many = whole and capabilities.distribution
    parser = BinaryParser([Column(name, _BINARY.get(kind, _TEXT)) for name, kind in columns.items()], many)
    copy = CopyRows(driver, f"COPY {source} TO STDOUT WITH (FORMAT binary)".encode(), many=many)
    rows = 0
    try:
        for messages in copy.pieces():
            found = parser.parse(messages)
            rows += found.num_rows
            for batch in found.to_batches():
                arrays = [_convert(array, field) for array, field in zip(batch.columns, schema, strict=True)]
                yield pa.Table.from_arrays(arrays, schema=schema)
        if copy.rows not in (rows, -1):
            raise PartitionError(f"{table.name}: the server sent {copy.rows} rows, but {rows} arrived; run it again")
    finally:
        copy.stop()


def _convert(array: pa.Array, field: pa.Field) -> pa.Array:
    return _moments(array, field.name) if field.type == _TIMESTAMP else array


def _moments(array: pa.Array, name: str) -> pa.Array:
    """Microseconds since 2000, as the server sends them, as moments; the ends stay what they are.

    :raises PartitionError: a moment is not of the years 1 to 9999.
    """
    early, late = pc.equal(array, _INT64[0]), pc.equal(array, _INT64[1])
    endless = pc.fill_null(pc.or_(early, late), False)
    finite = pc.if_else(endless, None, array)
    ends = pc.min_max(finite).as_py()
    if ends["min"] is not None and (ends["min"] < _YEARS[0] or ends["max"] > _YEARS[1]):
        raise PartitionError(
            f"column {name!r}: a value of the server does not fit Parquet's {_TIMESTAMP}: no file can hold a time outside the "
            "years 1 to 9999; correct or delete its row"
        )
    moved = pc.add(finite, _EPOCH_US)
    if pc.any(endless).as_py():
        moved = pc.if_else(endless, array, moved)
    return moved.cast(_TIMESTAMP)


# From files.


def load_files(
    connection: Connection,
    table: Table,
    columns: Mapping[str, str],
    files: Sequence[Path | pa.NativeFile],
    name: str = "",
) -> int:
    """COPY the rows of Parquet files into a table, in the connection's transaction; returns how many.

    :param files: paths, or files that are open.
    :param name: of the files, for messages; by default their paths.
    :raises PartitionError: a file cannot be read.
    """
    connection.execute(text("SET LOCAL TimeZone = 'UTC'; SET LOCAL DateStyle = 'ISO, MDY'"))
    try:
        return copy_in(connection, table, _batches(files), tuple(columns))
    except pa.ArrowInvalid as error:
        raise PartitionError(f"{name or ', '.join(map(str, files))} cannot be read: {error}") from error


def _batches(files: Sequence[Path | pa.NativeFile]) -> Iterator[pa.RecordBatch]:
    for opened in files:
        with pq.ParquetFile(opened) as file:
            for batch in file.iter_batches(batch_size=BATCH_ROWS):
                arrays = [_text(array) if array.type == _TIMESTAMP else array for array in batch.columns]
                yield pa.RecordBatch.from_arrays(arrays, batch.schema.names)


def _text(array: pa.Array) -> pa.Array:
    """Moments as text, where one is infinite; else as they are."""
    numbers = array.cast(pa.int64())
    early, late = pc.equal(numbers, _INT64[0]), pc.equal(numbers, _INT64[1])
    endless = pc.fill_null(pc.or_(early, late), False)
    if not pc.any(endless).as_py():
        return array
    finite = pc.strftime(pc.if_else(endless, None, array), "%Y-%m-%d %H:%M:%SZ")
    return pc.if_else(endless, pc.if_else(early, "-infinity", "infinity"), finite)
