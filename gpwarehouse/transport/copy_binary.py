"""Encode Arrow data in PostgreSQL's binary COPY format, without a loop over rows.

Source: PostgreSQL documentation, COPY, "Binary Format". It begins with a signature. A row is the number of its fields (int16)
and, for each field, its length (int32, -1 for NULL) and its bytes, big-endian. At the end stands -1 (int16). Times are
microseconds and dates are days since 2000-01-01. jsonb begins with a version, 1. An array (array_recv in the server's
arrayfuncs.c) is the number of its dimensions, whether it has NULLs, and the type of its elements (int32 each). If it is not
empty, its length and its first index follow, and its elements, each like a field.

The columns of a batch become pieces: of each row a fixed number of bytes, or none. Arrow joins the pieces row by row, and puts -1
where a piece is NULL. Neighbouring columns without NULLs share a piece, because the time depends on the number of pieces.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gpwarehouse.errors import InvalidInputError
from gpwarehouse.transport.columns import Wire, elements_of, offsets_of, raw_values

__all__ = ["HEADER", "TRAILER", "encode_binary"]

HEADER = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
TRAILER = b"\xff\xff"

_NULL = b"\xff\xff\xff\xff"
_EPOCH_US = 946_684_800_000_000
_EPOCH_DAYS = 10_957
_LENGTH = ">i4"
_JSONB_VERSION = 1
_ELEMENT_TYPES = {pa.int16(): 21, pa.int32(): 23, pa.int64(): 20, pa.float32(): 700, pa.float64(): 701}
"""Numbers of the types in pg_type.dat."""


def encode_binary(batch: pa.RecordBatch, wires: Sequence[Wire]) -> pa.Buffer:
    """Encode rows in binary, without header and trailer.

    :raises InvalidInputError: a value does not fit its column.
    """
    pieces = _Pieces(batch.num_rows)
    pieces.add(">i2", len(wires))
    for wire in wires:
        array = wire.array(batch)
        if array.null_count == batch.num_rows:
            pieces.add(_LENGTH, -1)
        elif wire.type in (pa.string(), pa.binary()):
            _add_text(pieces, array, wire)
        elif pa.types.is_list(wire.type):
            _add_arrays(pieces, array, wire)
        else:
            values = _values(array, wire)
            pieces.add_nullable(array, [(_LENGTH, values.itemsize), (values.dtype.newbyteorder(">").str, values)])
    return pieces.join()


class _Pieces:
    """The parts of each row, from left to right."""

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._arrays: list[Any] = []
        self._run: list[tuple[str, Any]] = []

    def add(self, kind: str, values: Any) -> None:
        """Add some bytes to every row: numpy's name of their type, and an array or one value for all."""
        self._run.append((kind, values))

    def add_nullable(self, array: pa.Array, fields: list[tuple[str, Any]]) -> None:
        """Like :meth:`add`, but -1 where ``array`` is NULL."""
        if not array.null_count:
            self._run += fields
            return
        self._flush()
        self._arrays.append(self._pack(fields, pc.is_valid(array).buffers()[1]))

    def add_bytes(self, array: pa.Array) -> None:
        """Add the bytes of an array without NULLs."""
        self._flush()
        self._arrays.append(array)

    def join(self) -> pa.Buffer:
        """Join the rows, one after the other."""
        self._flush()
        nothing = pa.scalar(b"", pa.binary())
        rows = pc.binary_join_element_wise(*self._arrays, nothing, null_handling="replace", null_replacement=_NULL)
        _, offsets, data = rows.buffers()
        ends = np.frombuffer(offsets, np.int32)
        first, last = int(ends[rows.offset]), int(ends[rows.offset + self._rows])
        return data.slice(first, last - first)

    def _flush(self) -> None:
        if self._run:
            self._arrays.append(self._pack(self._run, None))
            self._run = []

    def _pack(self, fields: list[tuple[str, Any]], validity: pa.Buffer | None) -> pa.Array:
        kind = np.dtype([(str(number), kind) for number, (kind, _) in enumerate(fields)])
        rows = np.empty(self._rows, kind)
        for number, (_, values) in enumerate(fields):
            rows[str(number)] = values
        offsets = np.arange(0, (self._rows + 1) * kind.itemsize, kind.itemsize, dtype=np.int32)
        return pa.Array.from_buffers(pa.binary(), self._rows, [validity, pa.py_buffer(offsets), pa.py_buffer(rows)])


def _add_text(pieces: _Pieces, array: pa.Array, wire: Wire) -> None:
    lengths = np.asarray(pc.fill_null(pc.binary_length(array), 0))
    if wire.is_jsonb:
        pieces.add_nullable(array, [(_LENGTH, lengths + 1), ("u1", _JSONB_VERSION)])
    else:
        pieces.add_nullable(array, [(_LENGTH, lengths)])
    pieces.add_bytes(pc.fill_null(array, b"" if wire.type == pa.binary() else "").cast(pa.binary()))


def _add_arrays(pieces: _Pieces, array: pa.Array, wire: Wire) -> None:
    """Add arrays of numbers. The elements of all rows are encoded together."""
    elements, counts = elements_of(array)
    content, ends = _encode_elements(elements, np.cumsum(counts))
    sizes = np.diff(ends, prepend=0)
    are_filled = counts > 0
    head = [(_LENGTH, 12 + 8 * are_filled + sizes), (">i4", are_filled), (">i4", int(elements.null_count > 0))]
    pieces.add_nullable(array, [*head, (">i4", _ELEMENT_TYPES[wire.type.value_type])])
    bounds = np.ones((int(are_filled.sum()), 2), ">i4")  # the number of elements, and the index of the first one
    bounds[:, 0] = counts[are_filled]
    pieces.add_bytes(_binary(8 * are_filled, bounds))
    pieces.add_bytes(_binary(sizes, content))


def _encode_elements(elements: pa.Array, ends: Any) -> tuple[Any, Any]:
    """Encode elements, each with its length; return the bytes, and where in them the rows end.

    :param ends: where the rows end in the elements.
    """
    values = raw_values(elements) if len(elements) else np.empty(0)
    packed = np.empty(len(elements), [("length", ">i4"), ("value", values.dtype.newbyteorder(">"))])
    packed["length"], packed["value"] = values.itemsize, values
    if not elements.null_count:
        return packed, ends * packed.itemsize
    is_null = np.asarray(elements.is_null())
    packed["length"][is_null] = -1
    is_sent = np.ones((len(elements), packed.itemsize), bool)
    is_sent[is_null, 4:] = False
    sizes = np.concatenate([[0], np.cumsum(is_sent.sum(axis=1))])
    return packed.view("u1").reshape(is_sent.shape)[is_sent], sizes[ends]


def _binary(sizes: Any, content: Any) -> pa.Array:
    """Cut bytes into values of these sizes."""
    return pa.Array.from_buffers(pa.binary(), len(sizes), [None, offsets_of(sizes), pa.py_buffer(content)])


def _values(array: pa.Array, wire: Wire) -> Any:
    """View values as a numpy array. Values in the places of NULLs are not sent."""
    kind = wire.type
    if pa.types.is_boolean(kind):
        return np.asarray(pc.fill_null(array, False).cast(pa.uint8()))
    values = raw_values(array)
    if pa.types.is_timestamp(kind):
        least = np.iinfo(np.int64).min + _EPOCH_US
        if values.min() <= least and pc.min(array.cast(pa.int64())).as_py() <= least:
            raise InvalidInputError(f"{wire.table}: column {wire.name!r} has a time outside the server's range")
        return values - _EPOCH_US
    return values - np.int32(_EPOCH_DAYS) if pa.types.is_date(kind) else values
