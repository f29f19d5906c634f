"""The Arrow type in which the values of a column are sent, whatever type a batch holds them in.

Both encoders take their input from here, so both store the same values: an int32 array for a bigint column becomes int64
before it is written as eight bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import (
    ARRAY,
    REAL,
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Double,
    Float,
    Integer,
    LargeBinary,
    SmallInteger,
    String,
    Table,
)
from sqlalchemy.dialects.postgresql import BYTEA, JSON, JSONB

from gpwarehouse.errors import InvalidInputError

__all__ = ["TIMESTAMP", "Wire", "arrow_type", "elements_of", "list_array", "offsets_of", "raw_values", "slices"]

TIMESTAMP = pa.timestamp("us", tz="UTC")
"""The Arrow type of moments."""

CHUNK_ROWS = 16_384
CHUNK_BYTES = 4 * 1024 * 1024
"""Bytes that are encoded at a time; a larger row is encoded alone."""

_TYPES: tuple[tuple[type[Any], pa.DataType], ...] = (
    (SmallInteger, pa.int16()),
    (BigInteger, pa.int64()),
    (Integer, pa.int32()),
    (REAL, pa.float32()),
    (Float, pa.float64()),
    (Boolean, pa.bool_()),
    (DateTime, pa.timestamp("us")),
    (Date, pa.date32()),
    (LargeBinary, pa.binary()),
    (BYTEA, pa.binary()),
)


@dataclass(frozen=True)
class Wire:
    """The form in which a column is sent.

    :ivar type: Arrow type of the values: an integer, ``float32``, ``float64``, ``bool``, ``timestamp[us]`` (in UTC), ``date32``,
        ``binary``, a list of numbers (an array of one dimension), or ``string`` for everything that is sent as text.
    :ivar is_jsonb: whether its binary form begins with a version.
    :ivar is_zoned: whether its text names the time zone.
    :ivar has_binary: whether there is a binary form. NUMERIC has none here and is sent as text.
    """

    table: str
    name: str
    type: pa.DataType
    is_jsonb: bool
    is_zoned: bool
    has_binary: bool

    @classmethod
    def of(cls, table: Table, column: Column[Any]) -> Wire:
        """Make the wire of a table's column."""
        kind = _wire_type(column.type)
        return cls(
            table=table.name,
            name=column.name,
            type=kind,
            is_jsonb=isinstance(column.type, JSONB),
            is_zoned=isinstance(column.type, DateTime) and bool(column.type.timezone),
            has_binary=kind != pa.string() or isinstance(column.type, String | JSON | JSONB),
        )

    def array(self, batch: pa.RecordBatch) -> pa.Array:
        """Convert the column of a batch to the type of the wire; it is NULL if the batch has no such column.

        :raises InvalidInputError: a value does not fit the column.
        """
        at = batch.schema.get_field_index(self.name)
        if at < 0:
            return pa.nulls(batch.num_rows, self.type)
        array = batch.column(at)
        if pa.types.is_dictionary(array.type):
            array = array.dictionary_decode()
        if pa.types.is_timestamp(array.type) and array.type.tz is not None:
            array = array.cast(pa.timestamp(array.type.unit))
        if array.type == self.type:
            return array
        try:
            return array.cast(self.type)
        except pa.ArrowException as error:
            raise InvalidInputError(
                f"{self.table}: the values of column {self.name!r} have type {array.type} and do not fit {self.type}: "
                f"{_without_value(error)}"
            ) from None


def _wire_type(column_type: Any) -> pa.DataType:
    if isinstance(column_type, ARRAY):
        element = _wire_type(column_type.item_type)
        is_number = pa.types.is_integer(element) or pa.types.is_floating(element)
        return pa.list_(element) if is_number and column_type.dimensions in (None, 1) else pa.string()
    return next((arrow for sql, arrow in _TYPES if isinstance(column_type, sql)), pa.string())


def elements_of(array: pa.Array) -> tuple[pa.Array, Any]:
    """The elements of all lists of an array, one after the other, and the number of elements of each list; 0 for NULL."""
    return array.flatten(), np.asarray(pc.fill_null(pc.list_value_length(array), 0)).astype(np.int64)


def offsets_of(lengths: Any) -> pa.Buffer:
    """The places where items of these lengths begin, and the end: offsets in Arrow's layout."""
    offsets = np.zeros(len(lengths) + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:])
    return pa.py_buffer(offsets)


def list_array(elements: pa.Array, counts: pa.Array) -> pa.Array:
    """Make lists of elements that follow one another.

    :param counts: number of elements of each list; NULL for a list that is NULL.
    """
    offsets = pa.Array.from_buffers(pa.int32(), len(counts) + 1, [None, offsets_of(pc.fill_null(counts, 0))])
    mask = pc.is_null(counts) if counts.null_count else None
    return pa.ListArray.from_arrays(offsets, elements, mask=mask)


def _without_value(error: Exception) -> str:
    """Arrow's message up to the value that it quotes, which must not be logged."""
    return str(error).partition(":")[0].partition(" value ")[0].strip() or type(error).__name__


def raw_values(array: pa.Array) -> Any:
    """View the memory of an array of numbers, or of dates or times as numbers, as a numpy array.

    The values in the places of NULLs are undefined.
    """
    kind = array.type
    if pa.types.is_temporal(kind):
        kind = pa.int32() if pa.types.is_date32(kind) else pa.int64()
    number = np.dtype(kind.to_pandas_dtype())
    return np.frombuffer(array.buffers()[1], number, len(array), array.offset * number.itemsize)


def slices(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Cut batches so that what is encoded at a time stays small; none is empty."""
    for batch in batches:
        for start in range(0, batch.num_rows, CHUNK_ROWS):
            yield from _split_halves(batch.slice(start, CHUNK_ROWS))


def _split_halves(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    if batch.num_rows > 1 and batch.nbytes > CHUNK_BYTES:
        middle = batch.num_rows // 2
        yield from _split_halves(batch.slice(0, middle))
        yield from _split_halves(batch.slice(middle))
    else:
        yield batch


def arrow_type(column_type: Any) -> pa.DataType:
    """The Arrow type that holds every value of an SQL type of the models."""
    if isinstance(column_type, ARRAY):
        return pa.list_(arrow_type(column_type.item_type))
    for sql_type, arrow in (
        (SmallInteger, pa.int16()),
        (BigInteger, pa.int64()),
        (Integer, pa.int32()),
        (Double, pa.float64()),
        (Float, pa.float64()),
        (Boolean, pa.bool_()),
        (DateTime, TIMESTAMP),
        (Date, pa.date32()),
    ):
        if isinstance(column_type, sql_type):
            return arrow
    return pa.string()
