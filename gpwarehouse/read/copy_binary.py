"""The server's BINARY → Arrow, a block of whole rows at a time, by numpy.

A row is the number of its fields and then, for each, four bytes of length (−1 for NULL) and the value, big-endian
(PostgreSQL manual, COPY, "Binary Format"). So where a field begins depends on those before it in the row only: all rows of
a block are walked at once, field by field, each gathered with its length in one step. Fields of fixed width that no row
left NULL so far are gathered together. Blocks are small, because a gather over more than the cache holds takes three times
as long.

What comes of it is what the CSV path makes of the same value; results with a column that has no form here go that way.
"""

from __future__ import annotations

import sys
from collections.abc import Container, Sequence
from contextlib import suppress
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
_ROWS_AT_ONCE = 10_000
SIGNATURE = b"PGCOPY\n\xff\r\n\0"


def has_binary(columns: Sequence[Column]) -> bool:
    """Whether all columns have a binary form here. NUMERIC, arrays, intervals, enumerations and others have none."""
    return bool(columns) and all(column.oid in _FIXED or column.oid in _TEXTS for column in columns)


class BinaryParser:
    """Parses blocks of one result; a block is a list of messages as the server sends them, header and trailer included.

    :param many: whether a message holds many rows, not one: of a table that the segments of a Greenplum format, some 16 kB
        of them (seen on 6.24 and 7.0).
    """

    def __init__(self, columns: Sequence[Column], many: bool = False) -> None:
        self.columns = tuple(columns)
        self._many = many
        self.schema = pa.schema([(column.name, column.arrow_type) for column in columns])
        # Behind the last row, so that a gather in it stays inside though its NULLs have no values.
        self._spare = bytes(16 + sum(4 + np.dtype(_FIXED.get(column.oid, "u1")).itemsize for column in columns))
        self._with_nulls: set[int] = set()
        """Columns that had a NULL in a block: none stands before another in what is gathered together."""
        self._seen = False

    def parse(self, messages: list[bytes]) -> pa.Table:
        """A table of the block's rows.

        :raises ReadError: a value that Arrow's type cannot hold, or messages that hold no rows.
        """
        messages = _bare(messages)
        ends = np.cumsum(np.fromiter(map(len, messages), np.int64, len(messages)))
        data = b"".join([*messages, self._spare])
        begins = np.zeros(len(ends), np.int64)
        begins[1:] = ends[:-1]
        if not self._many:
            return self._rows(data, begins, ends)
        if self._seen:
            with suppress(ReadError):  # a column's first NULL, which led astray
                return self._rows_within(data, begins, ends, self._with_nulls)
        self._seen = True
        return self._rows_within(data, begins, ends, range(len(self.columns)))

    def _rows_within(self, data: bytes, begins: Array, ends: Array, with_nulls: Container[int]) -> pa.Table:
        """The rows of messages that hold many, where only these columns have NULLs."""
        starts = _starts(data, begins, ends, self.columns, with_nulls)
        ends = np.append(starts[1:], ends[-1:])
        parts = range(0, max(len(starts), 1), _ROWS_AT_ONCE)
        return pa.concat_tables(
            self._rows(data, starts[n : n + _ROWS_AT_ONCE], ends[n : n + _ROWS_AT_ONCE]) for n in parts
        )

    def _rows(self, data: bytes, begins: Array, ends: Array) -> pa.Table:
        """The rows that stand between these places."""
        try:
            return self._columns(data, begins.copy(), ends)
        except IndexError:  # a length leads out of the data
            raise _broken() from None

    def _columns(self, data: bytes, at: Array, ends: Array) -> pa.Table:
        if not (_gathered(data, ">i2", at) == len(self.columns)).all():
            raise _broken()
        at += 2
        arrays: list[pa.Array] = []
        while len(arrays) < len(self.columns):
            column = self.columns[len(arrays)]
            if column.oid in _FIXED:
                arrays += self._run(data, at, len(arrays))
            else:
                arrays.append(_texts(data, at, column))
        if not (at == ends).all():
            raise _broken()
        return pa.Table.from_arrays(arrays, schema=self.schema)

    def _run(self, data: bytes, at: Array, first: int) -> list[pa.Array]:
        """Columns of fixed width from this one on, as many as can be gathered at once; moves the places behind them."""
        last = first
        while last not in self._with_nulls and last + 1 < len(self.columns) and self.columns[last + 1].oid in _FIXED:
            last += 1
        kinds = [np.dtype(_FIXED[column.oid]) for column in self.columns[first : last + 1]]
        fields = [item for n, kind in enumerate(kinds) for item in ((f"length{n}", "i4"), (f"value{n}", kind))]
        found = _gathered(data, np.dtype(fields), at)
        arrays = []
        for n, kind in enumerate(kinds):
            lengths = found[f"length{n}"]
            other = lengths != _big_endian(kind.itemsize)
            null = np.flatnonzero(other)
            if len(null) and not (lengths[null] == -1).all():
                raise _broken()
            at += 4 + kind.itemsize
            at[null] -= kind.itemsize
            arrays.append(_fixed(found[f"value{n}"], other if len(null) else None, len(null), self.columns[first + n]))
            if len(null):  # the places of the others are known only now
                self._with_nulls.add(first + n)
                break
        return arrays


def _starts(data: bytes, begins: Array, ends: Array, columns: Sequence[Column], with_nulls: Container[int]) -> Array:
    """Where each row begins, in order: all messages are walked side by side, a row of each at a time.

    :param with_nulls: numbers of the columns that may be NULL; the others of fixed width are not looked at.
    :raises ReadError: the walk does not end where the messages do.
    """
    steps = _steps(columns, with_nulls)
    first = np.frombuffer(data, np.uint8)
    at, found = begins.copy(), [begins[:0]]
    while len(at):
        found.append(at.copy())
        try:
            for skipped, size in steps:
                at += skipped
                if size:  # NULL is a length of −1, and no other begins with this byte
                    at -= (first[at - 4 - size] == 0xFF) * size
                elif size is not None:
                    at += np.maximum(_gathered(data, ">i4", at - 4), 0)
        except IndexError:
            raise _broken() from None
        left = at < ends
        if not (left | (at == ends)).all():
            raise _broken()
        at, ends = at[left], ends[left]
    return np.sort(np.concatenate(found))


def _steps(columns: Sequence[Column], with_nulls: Container[int]) -> list[tuple[int, int | None]]:
    """How many bytes to go, and the width of the value last passed if it may be NULL; 0 for a text's, None for no value."""
    steps: list[tuple[int, int | None]] = []
    skipped = 2
    for number, column in enumerate(columns):
        size = np.dtype(_FIXED[column.oid]).itemsize if column.oid in _FIXED else 0
        skipped += 4 + size
        if not size or number in with_nulls:
            steps.append((skipped, size))
            skipped = 0
    return [*steps, (skipped, None)]


def _bare(rows: list[bytes]) -> list[bytes]:
    """The messages without header and trailer."""
    if rows and rows[0].startswith(SIGNATURE):  # a row begins with the number of its columns, which is never that
        begin = 19 + int.from_bytes(rows[0][15:19], "big")
        rows = [*([rows[0][begin:]] if len(rows[0]) > begin else []), *rows[1:]]
    return rows[:-1] if rows and rows[-1] == b"\xff\xff" else rows


def _broken() -> ReadError:
    return ReadError('the server\'s binary answer does not hold whole rows; read with transport="csv"')


def _big_endian(length: int) -> int:
    """The length as it looks where the server's bytes are taken for the machine's."""
    return int.from_bytes(length.to_bytes(4, "big"), sys.byteorder)


def _gathered(data: bytes, kind: Any, at: Array) -> Array:
    """The values that begin at these places, whatever their alignment: bytes have none, so numpy need not care."""
    size = np.dtype(kind).itemsize
    view: Array = np.ndarray((max(len(data) - size + 1, 0),), f"V{size}", buffer=data, strides=(1,))
    return view[at].view(kind)


def _fixed(found: Array, null: Array | None, nulls: int, column: Column) -> pa.Array:
    """A column of fixed width."""
    values = found.astype(found.dtype.newbyteorder("="))
    kind = column.arrow_type
    if column.oid in (1082, 1114, 1184):
        values = _times(values, null, column)
    elif column.oid == 16:
        values = np.packbits(values != 0, bitorder="little")
    elif column.oid == 26:
        values = values.astype(np.int64)
    valid = None if null is None else pa.py_buffer(np.packbits(~null, bitorder="little"))
    return pa.Array.from_buffers(kind, len(found), [valid, pa.py_buffer(values)], nulls)


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


def _texts(data: bytes, at: Array, column: Column) -> pa.Array:
    """A column of texts or bytes; moves the places behind it.

    Values and what lies between them are offsets of one array over the block, of which every second element is taken: so
    Arrow copies the values together, not Python.
    """
    lengths = _gathered(data, ">i4", at).astype(np.int32)
    null = lengths < 0
    lens = np.where(null, 0, lengths)
    if (at + 4 + lens > len(data)).any():  # Arrow would read on behind the data
        raise _broken()
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
    at += 4
    at += lens
    return every.take(second)
