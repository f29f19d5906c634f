r"""Arrow → PostgreSQL's text COPY format: tabs between fields, ``\N`` for NULL, backslashes before what is special.

Source: PostgreSQL documentation, COPY, "Text Format"; the external tables of Greenplum read the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gpwarehouse.errors import InvalidInputError
from gpwarehouse.transport.floats import exact_text
from gpwarehouse.transport.wire import Wire

__all__ = ["encode_text"]

_NULL = "\\N"
_ESCAPES = (("\\", "\\\\"), ("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t"))
"""The backslash first, or those of the others would be doubled."""
_SPECIAL = np.zeros(256, np.bool_)
_SPECIAL[[ord(character) for character, _ in _ESCAPES]] = True
_YEARS = (-62_135_596_800_000_000, 253_402_300_800_000_000)
"""The years 1 to 9999 in microseconds: Arrow writes others as the server does not read them."""


def encode_text(batch: pa.RecordBatch, wires: Sequence[Wire], *, exact_floats: bool) -> pa.Buffer:
    """Rows as text, a line each.

    :param exact_floats: the server reads the shortest text of a double right.
    :raises InvalidInputError: a value does not fit its column, or has no text.
    """
    fields = [_field(wire.array(batch), wire, exact_floats) for wire in wires]
    fields[-1] = _joined([fields[-1], pa.scalar("")], "\n")
    rows = _joined(fields, "\t")
    _, offsets, data = rows.buffers()
    ends = np.frombuffer(offsets, np.int32)
    first, last = int(ends[rows.offset]), int(ends[rows.offset + len(rows)])
    return data.slice(first, last - first)


def _joined(fields: Sequence[Any], separator: str) -> pa.Array:
    return pc.binary_join_element_wise(*fields, pa.scalar(separator), null_handling="replace", null_replacement=_NULL)


def _field(array: pa.Array, wire: Wire, exact_floats: bool) -> pa.Array:
    kind = wire.type
    if array.null_count == len(array):
        return pa.nulls(len(array), pa.string())
    if kind == pa.string():
        return _escaped(array, wire)
    if kind == pa.binary():
        return pa.array([None if v is None else f"\\\\x{v.hex()}" for v in array.to_pylist()], pa.string())
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return _moments(array, wire)
    if kind == pa.float64() and not exact_floats:
        return exact_text(array)
    if kind == pa.float32() and not exact_floats:
        return exact_text(array.cast(pa.float64()))
    if pa.types.is_boolean(kind):
        return pc.if_else(array, "t", "f")
    return array.cast(pa.string())


def _escaped(array: pa.Array, wire: Wire) -> pa.Array:
    _, offsets, data = array.buffers()
    if data is None:
        return array
    ends = np.frombuffer(offsets, np.int32)
    content = np.frombuffer(data, np.uint8)[ends[array.offset] : ends[array.offset + len(array)]]
    if not content.all():
        raise InvalidInputError(f"{wire.table}: column {wire.name!r} has a text with U+0000, which no server stores")
    if not _SPECIAL[content].any():
        return array
    for character, escape in _ESCAPES:
        array = pc.replace_substring(array, character, escape)
    return array


def _moments(array: pa.Array, wire: Wire) -> pa.Array:
    is_date = pa.types.is_date(wire.type)
    clock = array.cast(pa.timestamp("us")).cast(pa.int64())
    span = pc.min_max(clock).as_py()
    if not _YEARS[0] <= span["min"] <= span["max"] < _YEARS[1]:
        raise InvalidInputError(
            f"{wire.table}: column {wire.name!r} has a {'date' if is_date else 'time'} that is not of the years 1 to 9999"
        )
    texts = array.cast(pa.string())
    return pc.binary_join_element_wise(texts, "+00", "") if wire.is_zoned else texts
