"""A checksum of rows that says whether two tables hold the same ones, whatever server they are on and in whatever order.

It is computed here, from the rows as they stand in a file, so the server reads each table once. Files written today must be
verified in years, so the definition is ours, and fixed:

- A value is 64 bits. Numbers, moments and booleans are their bits, widened with their sign; of floats all NaNs are one. A text is
  hashed word by word (eight bytes, little-endian, the last one filled up with zeros), beginning with its length; one longer than
  :data:`LONG` bytes is the first eight bytes of its BLAKE2b. NULL is a constant. A list is its length, mixed, and the sum of its
  values, each mixed with its place.
- The value is mixed with a number that the column's place gives (SplitMix64's mixing function), and two accumulators of 64 bits
  take it up in two ways.
- The checksum of a table is its number of rows, and the sums of both accumulators over all rows, modulo 2^64. So a row that is
  there twice counts twice.

It finds accidents, not forgeries: files have a SHA-256 besides.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gpwarehouse.partitions.archive import NOTHING, Content
from gpwarehouse.transport.columns import elements_of

__all__ = ["content_of_rows", "sum_contents"]

Array = np.ndarray[Any, Any]
LONG = 512
"""Bytes above which a text is hashed by BLAKE2b."""
_U64 = np.uint64
_WRAP = (1 << 64) - 1
_GAMMA = 0x9E3779B97F4A7C15
_FIRST, _SECOND = _U64(0xBF58476D1CE4E5B9), _U64(0x94D049BB133111EB)
_ODD, _ODDER = _U64(0xD6E8FEB86659FD93), _U64(0xA0761D6478BD642F)
_NULL = _U64(0x6E756C6C6E756C6C)
_NAN = _U64(0x7FF8000000000000)
_ROWS_AT_ONCE = 8_192
"""So many values fit a core's cache together with what is computed of them."""
_BYTES_AT_ONCE = 32 << 20
"""Rows with long lists are taken fewer at a time."""


def sum_contents(one: Content, other: Content) -> Content:
    """The content of two sets of rows together."""
    both = one + other
    return Content(both.rows, (both.checksum[0] & _WRAP, both.checksum[1] & _WRAP))


def content_of_rows(table: pa.Table) -> Content:
    """Compute the content of rows; columns count by their places."""
    total = NOTHING
    rows = min(_ROWS_AT_ONCE, max(1, _BYTES_AT_ONCE * table.num_rows // max(table.nbytes, 1)))
    for start in range(0, table.num_rows, rows):
        total = sum_contents(total, _content(table.slice(start, rows).combine_chunks()))
    return total


def _content(table: pa.Table) -> Content:
    one = np.zeros(table.num_rows, _U64)
    other = np.zeros(table.num_rows, _U64)
    for place, column in enumerate(table.columns, 1):
        for array in column.chunks:  # one, unless there are no rows
            mixed = _mix(_values(array) ^ _U64(place * _GAMMA & _WRAP))
            one = (one + mixed) * _ODD
            other = (other ^ mixed) * _ODDER
            other ^= other >> _U64(29)
    return Content(table.num_rows, (int(_mix(one).sum(dtype=_U64)), int(_mix(other).sum(dtype=_U64))))


def _mix(values: Array) -> Array:
    values = (values ^ (values >> _U64(30))) * _FIRST
    values = (values ^ (values >> _U64(27))) * _SECOND
    mixed: Array = values ^ (values >> _U64(31))
    return mixed


def _values(array: pa.Array) -> Array:
    if pa.types.is_list(array.type):
        found = _hash_lists(array)
    else:
        found = _hash_texts(array) if pa.types.is_string(array.type) else _bits(array)
    if array.null_count:
        found = np.where(np.asarray(pc.is_null(array)), _NULL, found)
    return found


def _bits(array: pa.Array) -> Array:
    kind = array.type
    if pa.types.is_floating(kind):
        numbers = np.asarray(pc.fill_null(array, 0.0)).astype(np.float64)
        return np.where(np.isnan(numbers), _NAN, numbers.view(_U64))
    if pa.types.is_boolean(kind):
        array = array.cast(pa.uint8())
    elif pa.types.is_timestamp(kind):
        array = array.cast(pa.int64())
    return np.asarray(pc.fill_null(array, 0)).astype(np.int64).view(_U64)


def _hash_lists(array: pa.Array) -> Array:
    elements, counts = elements_of(array)
    ends = np.cumsum(counts)
    places = np.arange(len(elements)) - np.repeat(ends - counts, counts) + 1
    mixed = _mix(_values(elements) ^ (places.astype(_U64) * _U64(_GAMMA)))
    sums = np.concatenate([np.zeros(1, _U64), np.cumsum(mixed, dtype=_U64)])
    found: Array = _mix(counts.view(_U64) ^ _U64(_GAMMA)) + sums[ends] - sums[ends - counts]
    return found


def _hash_texts(array: pa.Array) -> Array:
    _, ends, data = array.buffers()
    offsets = np.frombuffer(ends, np.int32, len(array) + 1, array.offset * 4).astype(np.int64)
    lengths = offsets[1:] - offsets[:-1]
    first, last = int(offsets[0]), int(offsets[-1])
    content = (b"" if data is None else data.slice(first, last - first).to_pybytes()) + bytes(
        8
    )  # the last word is inside
    offsets = offsets - first
    words: Array = np.ndarray((len(content) - 7,), "V8", buffer=content, strides=(1,))
    found = _mix(lengths.view(_U64) ^ _U64(_GAMMA))
    at = np.flatnonzero((lengths > 0) & (lengths <= LONG))
    start, left = offsets[:-1][at], lengths[at]
    while len(at):
        word = words[start].view("<u8").astype(_U64)
        unused = np.maximum(8 - left, 0).astype(_U64) * _U64(8)
        word = (word << unused) >> unused
        found[at] = _mix((found[at] ^ word) * _ODD)
        more = left > 8
        at, start, left = at[more], start[more] + 8, left[more] - 8
    for row in np.flatnonzero(lengths > LONG):
        text = content[offsets[row] : offsets[row + 1]]
        found[row] = _U64(int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little"))
    return found
