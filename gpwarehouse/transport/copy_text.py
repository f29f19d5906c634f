r"""Encode Arrow data in PostgreSQL's text COPY format: tabs between fields, ``\N`` for NULL, backslashes before special
characters.

Source: PostgreSQL documentation, COPY, "Text Format". The external tables of Greenplum read the same format.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Table

from gpwarehouse.errors import InvalidInputError
from gpwarehouse.transport.columns import Wire
from gpwarehouse.transport.number_text import arrays_as_text, has_cells, join_as_text

__all__ = ["encode_text", "numbers_first"]

_NULL = "\\N"
_ESCAPES = (("\\", "\\\\"), ("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t"))
"""The backslash comes first; otherwise the backslashes of the others would be doubled."""
_DAY_US = 86_400_000_000
_DAYS = (-719_162, 2_932_896)
"""The years 1 to 9999 in days since 1970. Other years do not have the four digits of the format."""


def numbers_first(table: Table, columns: Iterable[str]) -> list[str]:
    """Order columns so that their text is written fastest: numbers and times stand together."""
    return sorted(columns, key=lambda name: not has_cells(Wire.of(table, table.columns[name]).type))


def encode_text(batch: pa.RecordBatch, wires: Sequence[Wire], *, exact_floats: bool) -> pa.Buffer:
    """Encode rows as text, one line each.

    :param exact_floats: whether the server reads the shortest text of a double exactly.
    :raises InvalidInputError: a value does not fit its column, or has no text.
    """
    fields: list[pa.Array] = []
    for are_in_cells, some in groupby(wires, lambda wire: has_cells(wire.type)):
        if are_in_cells:
            arrays = [_format_number(wire.array(batch), wire) for wire in some]
            fields.append(join_as_text(arrays, "\t", _NULL, is_exact=exact_floats))
        else:
            fields += [_format_field(wire.array(batch), wire, exact_floats=exact_floats) for wire in some]
    fields[-1] = _join_fields([fields[-1], pa.scalar("")], "\n")
    rows = _join_fields(fields, "\t")
    _, offsets, data = rows.buffers()
    ends = np.frombuffer(offsets, np.int32)
    first, last = int(ends[rows.offset]), int(ends[rows.offset + len(rows)])
    return data.slice(first, last - first)


def _join_fields(fields: Sequence[Any], separator: str) -> pa.Array:
    return pc.binary_join_element_wise(*fields, pa.scalar(separator), null_handling="replace", null_replacement=_NULL)


def _format_field(array: pa.Array, wire: Wire, *, exact_floats: bool) -> pa.Array:
    if array.null_count == len(array):
        return pa.nulls(len(array), pa.string())
    if pa.types.is_list(wire.type):
        return arrays_as_text(array, is_exact=exact_floats)
    if wire.type == pa.bool_():
        return pc.if_else(array, "t", "f")
    if wire.type == pa.binary():
        return pa.array([None if v is None else f"\\\\x{v.hex()}" for v in array.to_pylist()], pa.string())
    return _escape(array, wire)


def _escape(array: pa.Array, wire: Wire) -> pa.Array:
    _, offsets, data = array.buffers()
    if data is None:
        return array
    ends = np.frombuffer(offsets, np.int32)
    first, last = int(ends[array.offset]), int(ends[array.offset + len(array)])
    content = data.slice(first, last - first).to_pybytes()
    if b"\0" in content:
        raise InvalidInputError(f"{wire.table}: column {wire.name!r} has a text with U+0000, which no server can store")
    if not any(character.encode() in content for character, _ in _ESCAPES):
        return array
    for character, escape in _ESCAPES:
        array = pc.replace_substring(array, character, escape)
    return array


def _format_number(array: pa.Array, wire: Wire) -> pa.Array:
    """Convert a number, date or time to the form that its text needs.

    :raises InvalidInputError: a date or time is outside the years 1 to 9999.
    """
    is_date = pa.types.is_date(wire.type)
    if not (is_date or pa.types.is_timestamp(wire.type)) or array.null_count == len(array):
        return array
    span = pc.min_max(array.cast(pa.int32() if is_date else pa.int64())).as_py()
    unit = 1 if is_date else _DAY_US
    if not _DAYS[0] <= span["min"] // unit <= span["max"] // unit <= _DAYS[1]:
        raise InvalidInputError(
            f"{wire.table}: column {wire.name!r} has a {'date' if is_date else 'time'} outside the years 1 to 9999"
        )
    return array.cast(pa.timestamp("us", "UTC")) if wire.is_zoned else array
