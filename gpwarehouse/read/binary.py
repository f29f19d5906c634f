"""The server's BINARY → Arrow, a block of whole rows at a time, by numpy.

A row is the number of its fields and then, for each, four bytes of length (−1 for NULL) and the value, big-endian
(PostgreSQL manual, COPY, "Binary Format"). So where a field begins depends on those before it in the row only: all rows of
a block are walked at once, field by field, each gathered with its length in one step. Blocks are small, because a gather
over more than the cache holds takes three times as long.

What comes of it is what the CSV path makes of the same value; results with a column that has no form here go that way.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa

from gpwarehouse.errors import ReadError
from gpwarehouse.read.columns import Column

__all__ = ["BinaryParser", "has_binary"]

Array = np.ndarray[Any, Any]
_JSONB, _BYTEA = 3802, 17
_FIXED = {
    16: "u1",
    20: ">i8",
    21: ">i2",
    23: ">i4",
    26: ">u4",
    700: ">f4",
    701: ">f8",
    1082: ">i4",
    1114: ">i8",
    1184: ">i8",
}
_TEXTS = frozenset({19, 25, 114, 705, 1042, 1043, _JSONB, _BYTEA})
_EPOCH = date(2000, 1, 1)
_EPOCH_DAYS = (_EPOCH - date(1970, 1, 1)).days
_DAYS = ((date.min - _EPOCH).days, (date.max - _EPOCH).days)
_DAY_US = 86_400_000_000
_MICROSECONDS = (_DAYS[0] * _DAY_US, (_DAYS[1] + 1) * _DAY_US - 1)
_SPARE = b"\0" * 16
"""Behind the last row, so that a gather at its end stays inside."""
SIGNATURE = b"PGCOPY\n\xff\r\n\0"


def has_binary(columns: Sequence[Column]) -> bool:
    """Whether all columns have a binary form here. NUMERIC, arrays, intervals, enumerations and others have none."""
    return bool(columns) and all(column.oid in _FIXED or column.oid in _TEXTS for column in columns)


class BinaryParser:
    """Parses blocks of one result; a block is a list of rows as the server sends them, header and trailer included."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self.columns = tuple(columns)
        self.schema = pa.schema([(column.name, column.arrow_type) for column in columns])

    def parse(self, rows: list[bytes]) -> pa.Table:
        """A table of the block's rows.

        :raises ReadError: a value that Arrow's type cannot hold, or rows that are none.
        """
        rows = _bare(rows)
        lengths = np.fromiter(map(len, rows), np.int64, len(rows))
        data = b"".join(rows) + _SPARE
        starts = np.zeros(len(rows), np.int64)
        np.cumsum(lengths[:-1], out=starts[1:])
        if not (_gathered(data, ">i2", starts) == len(self.columns)).all():
            raise _broken()
        at, arrays = starts + 2, []
        for column in self.columns:
            array, width = (_fixed if column.oid in _FIXED else _texts)(data, at, column)
            arrays.append(array)
            at += 4
            at += width
        if not (at == starts + lengths).all():
            raise _broken()
        return pa.Table.from_arrays(arrays, schema=self.schema)


def _bare(rows: list[bytes]) -> list[bytes]:
    """The rows without header and trailer."""
    if rows and rows[0].startswith(SIGNATURE):  # a row begins with the number of its columns, which is never that
        begin = 19 + int.from_bytes(rows[0][15:19], "big")
        rows = [*([rows[0][begin:]] if len(rows[0]) > begin else []), *rows[1:]]
    return rows[:-1] if rows and rows[-1] == b"\xff\xff" else rows


def _broken() -> ReadError:
    return ReadError('the server\'s binary answer is not a row a message; read with transport="csv"')


def _gathered(data: bytes, kind: str, at: Array) -> Array:
    """The values that begin at these places, whatever their alignment: bytes have none, so numpy need not care."""
    size = np.dtype(kind).itemsize
    view: Array = np.ndarray((len(data) - size + 1,), f"V{size}", buffer=data, strides=(1,))
    return view[at].view(kind)


def _fixed(data: bytes, at: Array, column: Column) -> tuple[pa.Array, Array | int]:
    """A column of fixed width, and its lengths without the −1 of NULL."""
    kind = np.dtype(_FIXED[column.oid])
    size = 4 + kind.itemsize
    view: Array = np.ndarray((len(data) - size + 1,), f"V{size}", buffer=data, strides=(1,))
    fields = view[at].view([("length", ">i4"), ("value", kind)])
    lengths = fields["length"].astype(np.int32)
    other = lengths != kind.itemsize
    null = None
    if other.any():
        null = other
        if not (lengths[other] == -1).all():
            raise _broken()
    values = fields["value"].astype(kind.newbyteorder("="))
    if column.oid in (1082, 1114, 1184):
        values = _times(values, null, column)
    elif column.oid == 16:
        values = values != 0
    elif column.oid == 26:
        values = values.astype(np.int64)
    array = pa.array(values, mask=null)
    width = kind.itemsize if null is None else np.where(null, 0, kind.itemsize)
    return (array.view(column.arrow_type) if column.oid in (1082, 1114, 1184) else array), width


def _times(values: Array, null: Array | None, column: Column) -> Array:
    """Days or microseconds since 1970, of those since 2000.

    :raises ReadError: infinity, or a year that Arrow's texts do not have.
    """
    least, most = _DAYS if column.oid == 1082 else _MICROSECONDS
    outside = (values < least) | (values > most)
    if null is not None:
        outside &= ~null
    if outside.any():
        raise column.unreadable(f"invalid value '{_said(int(values[outside][0]), column)}'")
    return values + (_EPOCH_DAYS if column.oid == 1082 else _EPOCH_DAYS * _DAY_US)


def _said(value: int, column: Column) -> str:
    ends = np.iinfo(np.int32 if column.oid == 1082 else np.int64)
    if value in (ends.min, ends.max):
        return "infinity" if value > 0 else "-infinity"
    year = 2000 + value / (365.2425 * (1 if column.oid == 1082 else _DAY_US))
    return f"year {year:.0f}"


def _texts(data: bytes, at: Array, column: Column) -> tuple[pa.Array, Array | int]:
    """A column of texts or bytes, and its lengths without the −1 of NULL.

    Values and what lies between them are offsets of one array over the block, of which every second element is taken: so
    Arrow copies the values together, not Python.
    """
    lengths = _gathered(data, ">i4", at).astype(np.int32)
    null = lengths < 0
    lens = np.where(null, 0, lengths)
    version = 1 if column.oid == _JSONB else 0  # jsonb_send: a byte 1 before the text
    begin = at + 4
    if version:
        begin = begin + np.where(null, 0, 1)
        if not (null | (_gathered(data, "u1", at + 4) == version)).all():
            raise _broken()
    offsets = np.empty(2 * len(at) + 1, np.int32)
    offsets[0:-1:2], offsets[1:-1:2] = begin, at + 4 + lens
    offsets[-1] = offsets[-2] if len(at) else 0
    every = pa.Array.from_buffers(
        pa.binary() if column.oid == _BYTEA else pa.string(),
        2 * len(at),
        [None, pa.py_buffer(offsets), pa.py_buffer(data)],
    )
    second = pa.array(np.arange(0, 2 * len(at), 2), mask=null if null.any() else None)
    return every.take(second), lens
