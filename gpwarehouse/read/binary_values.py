"""Make the columns of a block of the server's binary format: values of fixed width, texts and arrays of numbers.

The functions know where the fields of a column begin in the block, and make the column as a whole.
"""

from __future__ import annotations

import sys
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa

from gpwarehouse.errors import ReadError
from gpwarehouse.read.columns import Column, refuse_dimensions
from gpwarehouse.transport.columns import list_array

__all__ = [
    "FIXED",
    "Array",
    "broken_answer",
    "gather",
    "has_binary_form",
    "make_arrays",
    "make_fixed",
    "make_texts",
    "swap_bytes",
]

Array = np.ndarray[Any, Any]
_JSONB, _BYTEA = 3802, 17
FIXED = {
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
_NUMBERS = frozenset({20, 21, 23, 700, 701})
"""Elements of arrays."""
_EPOCH = date(2000, 1, 1)
_EPOCH_DAYS = (_EPOCH - date(1970, 1, 1)).days
_DAYS = ((date.min - _EPOCH).days, (date.max - _EPOCH).days)
_DAY_US = 86_400_000_000
_MICROSECONDS = (_DAYS[0] * _DAY_US, (_DAYS[1] + 1) * _DAY_US - 1)
_ARRAY_HEAD = np.dtype([("dimensions", ">i4"), ("has_nulls", ">i4"), ("type", ">i4")])


def has_binary_form(column: Column) -> bool:
    """Whether values of the column's type can be made here. NUMERIC, intervals, enumerations and others cannot."""
    element = column.element
    return column.oid in FIXED or column.oid in _TEXTS or (element is not None and element.oid in _NUMBERS)


def broken_answer() -> ReadError:
    """Make the error for an answer that does not have the format."""
    return ReadError('the server\'s binary answer does not consist of whole rows; read with transport="csv"')


def swap_bytes(length: int) -> int:
    """The length as it reads if the server's bytes are taken in the machine's byte order."""
    return int.from_bytes(length.to_bytes(4, "big"), sys.byteorder)


def gather(data: bytes, kind: Any, at: Array) -> Array:
    """Gather the values that begin at these places. They are read as bytes, which need no alignment."""
    size = np.dtype(kind).itemsize
    view: Array = np.ndarray((max(len(data) - size + 1, 0),), f"V{size}", buffer=data, strides=(1,))
    return view[at].view(kind)


def make_fixed(found: Array, null: Array | None, nulls: int, column: Column) -> pa.Array:
    """Make a column of fixed width."""
    values = found.astype(found.dtype.newbyteorder("="))
    kind = column.arrow_type
    if column.oid in (1082, 1114, 1184):
        values = _convert_times(values, null, column)
    elif column.oid == 16:
        values = np.packbits(values != 0, bitorder="little")
    elif column.oid == 26:
        values = values.astype(np.int64)
    valid = None if null is None else pa.py_buffer(np.packbits(~null, bitorder="little"))
    return pa.Array.from_buffers(kind, len(found), [valid, pa.py_buffer(values)], nulls)


def _convert_times(values: Array, null: Array | None, column: Column) -> Array:
    """Convert days or microseconds since 2000 to those since 1970.

    :raises ReadError: a value is infinite, or in a year that Arrow's texts do not have.
    """
    least, most = _DAYS if column.oid == 1082 else _MICROSECONDS
    outside = (values < least) | (values > most)
    if null is not None:
        outside &= ~null
    if outside.any():
        raise column.unreadable(f"invalid value '{_show_time(int(values[outside][0]), column)}'")
    return values + (_EPOCH_DAYS if column.oid == 1082 else _EPOCH_DAYS * _DAY_US)


def _show_time(value: int, column: Column) -> str:
    ends = np.iinfo(np.int32 if column.oid == 1082 else np.int64)
    if value in (ends.min, ends.max):
        return "infinity" if value > 0 else "-infinity"
    year = 2000 + value / (365.2425 * (1 if column.oid == 1082 else _DAY_US))
    return f"year {year:.0f}"


def make_texts(data: bytes, at: Array, column: Column) -> pa.Array:
    """Make a column of texts or bytes; move the places after it.

    The values and the bytes between them become the offsets of one array over the block, of which every second element is
    taken. So Arrow copies the values together, instead of Python.
    """
    lengths = gather(data, ">i4", at).astype(np.int32)
    null = lengths < 0
    lens = np.where(null, 0, lengths)
    if (at + 4 + lens > len(data)).any():  # Arrow would read beyond the data
        raise broken_answer()
    version = 1 if column.oid == _JSONB else 0  # jsonb_send: a byte 1 before the text
    begin = at + 4
    if version:
        begin = begin + np.where(null, 0, 1)
        if not (null | (gather(data, "u1", at + 4) == version)).all():
            raise broken_answer()
    texts = _cut(data, begin, at + 4 + lens, pa.binary() if column.oid == _BYTEA else pa.string(), null)
    at += 4
    at += lens
    return texts


def _cut(data: bytes, begin: Array, end: Array, kind: pa.DataType, null: Array) -> pa.Array:
    """Copy pieces of a block together, as values of an array.

    The pieces and the bytes between them become the values of one array over the block, of which every second one is taken. So
    Arrow copies them, instead of Python.
    """
    offsets = np.empty(2 * len(begin) + 1, np.int32)
    offsets[0:-1:2], offsets[1:-1:2] = begin, end
    offsets[-1] = offsets[-2] if len(begin) else 0
    every = pa.Array.from_buffers(kind, 2 * len(begin), [None, pa.py_buffer(offsets), pa.py_buffer(data)])
    return every.take(pa.array(np.arange(0, 2 * len(begin), 2), mask=null if null.any() else None))


def make_arrays(data: bytes, at: Array, column: Column) -> pa.Array:
    """Make a column of arrays of numbers; move the places after it.

    Source of the format: array_send in the server's arrayfuncs.c; see :mod:`gpwarehouse.transport.copy_binary`.

    :raises ReadError: an array has several dimensions.
    """
    element = column.element
    assert element is not None
    lengths = gather(data, ">i4", at).astype(np.int64)
    null = lengths < 0
    begin, end = at + 4, at + 4 + np.where(null, 0, lengths)
    if (end > len(data)).any():
        raise broken_answer()
    head = gather(data, _ARRAY_HEAD, np.where(null, 0, begin))
    if (head["dimensions"][~null] > 1).any():
        raise refuse_dimensions(column)
    is_filled = ~null & (head["dimensions"] == 1)
    counts = np.where(is_filled, gather(data, ">i4", np.where(is_filled, begin + 12, 0)), 0)
    begin = np.where(is_filled, begin + 20, end)
    has_nulls = (head["has_nulls"][is_filled] != 0).any()
    elements = (_walk_elements if has_nulls else _view_elements)(data, begin, end, counts, element)
    at[:] = end
    return list_array(elements, pa.array(counts, mask=null if null.any() else None))


def _element_type(element: Column) -> np.dtype[Any]:
    return np.dtype([("length", ">i4"), ("value", FIXED[element.oid])])


def _view_elements(data: bytes, begin: Array, end: Array, counts: Array, element: Column) -> pa.Array:
    """Make the elements of all rows, none of which is NULL: they follow one another."""
    kind = _element_type(element)
    if (begin + counts * kind.itemsize != end).any():
        raise broken_answer()
    content = _cut(data, begin, end, pa.binary(), np.zeros(len(begin), bool)).buffers()[2]
    total = int(counts.sum())
    found = np.frombuffer(content if total else b"", kind, total)
    if not (found["length"] == kind["value"].itemsize).all():
        raise broken_answer()
    return make_fixed(found["value"], None, 0, element)


def _walk_elements(data: bytes, begin: Array, end: Array, counts: Array, element: Column) -> pa.Array:
    """Make the elements of all rows, walked side by side: where an element stands depends on the NULLs before it."""
    kind = _element_type(element)
    found = np.zeros(int(counts.sum()), kind)
    at, first = begin.copy(), np.cumsum(counts) - counts
    for number in range(int(counts.max())):
        rows = np.flatnonzero(counts > number)
        some = gather(data, kind, at[rows])
        found[first[rows] + number] = some
        at[rows] += 4 + np.where(some["length"] < 0, 0, kind["value"].itemsize)
    null = found["length"] < 0
    if (at != end).any() or not (found["length"][~null] == kind["value"].itemsize).all():
        raise broken_answer()
    return make_fixed(found["value"], null, int(null.sum()), element)
