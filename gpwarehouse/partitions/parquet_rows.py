"""Rows of a table to Parquet and back, exactly; and what tells whether two tables hold the same rows.

Times at the ends of what Arrow can hold stand for infinity, as in the server's own files. What Arrow has no type for
(JSONB, NUMERIC, …) is kept as the server's text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from sqlalchemy import MetaData, Table, text
from sqlalchemy.engine import Connection

from gpwarehouse.engine import dialect_of, qualified_name
from gpwarehouse.errors import PartitionError
from gpwarehouse.partitions.archive import Content
from gpwarehouse.transport import copy_in, copy_out

__all__ = ["columns_in", "common_rows", "content_of", "load_files", "scratch_table", "write_file"]

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
}
"""The server's types as types of a file; all others are text."""
_EXACT = {"double precision": "float8send({0})", "real": "float4send({0})"}
"""Floats are compared bit by bit: their text differs from server to server."""
SCRATCH = "gpw_archive_check"
GROUP_ROWS = 65_536


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


def write_file(
    connection: Connection, table: Table, columns: Mapping[str, str], path: Path, about: Mapping[str, str]
) -> int:
    """Write a table's rows to a Parquet file (zstd), a block at a time; returns how many.

    :param about: goes into the file's own metadata.
    """
    _exact_output(connection)
    quote = connection.dialect.identifier_preparer.quote
    names = ", ".join(map(quote, columns))
    schema = pa.schema(
        [
            pa.field(name, _ARROW.get(kind, pa.string()), metadata={"gpwarehouse.type": kind})
            for name, kind in columns.items()
        ],
        metadata={f"gpwarehouse.{key}": value for key, value in about.items()},
    )
    rows = 0
    copied = copy_out(connection, f"{qualified_name(connection, table)} ({names})", tuple(columns))
    # Closed whatever happens: the connection is another thread's until then.
    with closing(copied) as batches, pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for batch in batches:
            arrays = [_convert(array, field) for array, field in zip(batch.columns, schema, strict=True)]
            writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema), row_group_size=GROUP_ROWS)
            rows += batch.num_rows
    return rows


def _convert(array: pa.Array, field: pa.Field) -> pa.Array:
    try:
        if pa.types.is_string(field.type):
            return array
        if pa.types.is_boolean(field.type):
            return pc.equal(array, "t")
        if field.type == _TIMESTAMP:
            return _moments(array)
        return array.cast(field.type)
    except pa.ArrowInvalid as error:
        raise PartitionError(
            f"column {field.name!r}: a value of the server does not fit Parquet's {field.type} ({error}); if no file can "
            "hold it, correct or delete its row"
        ) from error


def _moments(array: pa.Array) -> pa.Array:
    early, late = pc.equal(array, "-infinity"), pc.equal(array, "infinity")
    endless = pc.fill_null(pc.or_(early, late), False)
    if not pc.any(endless).as_py():
        return array.cast(_TIMESTAMP)
    finite = pc.if_else(endless, None, array).cast(_TIMESTAMP).cast(pa.int64())
    ends = pc.if_else(early, *_INT64)
    return pc.if_else(endless, ends, finite).cast(pa.int64()).cast(_TIMESTAMP)


# From files.


def load_files(connection: Connection, table: Table, columns: Mapping[str, str], paths: list[Path]) -> int:
    """COPY the rows of Parquet files into a table, in the connection's transaction; returns how many.

    :raises PartitionError: a file cannot be read.
    """
    connection.execute(text("SET LOCAL TimeZone = 'UTC'; SET LOCAL DateStyle = 'ISO, MDY'"))
    try:
        return copy_in(connection, table, _batches(paths), tuple(columns))
    except pa.ArrowInvalid as error:
        raise PartitionError(f"{', '.join(map(str, paths))} cannot be read: {error}") from error


def _batches(paths: list[Path]) -> Iterator[pa.RecordBatch]:
    for path in paths:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=GROUP_ROWS):
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
