"""Values of every type that a read gives back: those that have gone wrong somewhere, and random ones."""

from __future__ import annotations

import json
import math
import struct
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st

# Type → values that have gone wrong somewhere, as a client's driver binds them, and the Arrow type that holds them.
NASTY: dict[str, tuple[pa.DataType, list[Any]]] = {
    "smallint": (pa.int16(), [-(2**15), 2**15 - 1, 0]),
    "integer": (pa.int32(), [-(2**31), 2**31 - 1]),
    "bigint": (pa.int64(), [-(2**63), 2**63 - 1, 9007199254740993]),
    "double precision": (pa.float64(), [0.1, -0.0, 1e-308, 5e-324, math.pi, math.inf, -math.inf, math.nan, 8.41e21]),
    "boolean": (pa.bool_(), [True, False]),
    "text": (
        pa.string(),
        ["", " ", "\\N", "\\.", "\t", "\n", "\r\n", "\r", '"', '""', ',"', "'", "\\", "%s :x", "é😀\u2028", "NULL",
         "x" * 100_000],
    ),
    "varchar": (pa.string(), ["", "ä"]),
    "timestamptz": (
        pa.timestamp("us", "UTC"),
        [datetime(1, 1, 1, tzinfo=UTC), datetime(1969, 12, 31, 23, 59, 59, 999999, UTC), datetime(9999, 12, 31, tzinfo=UTC)],
    ),
    "timestamp": (pa.timestamp("us"), [datetime(1900, 1, 1, 0, 0, 0, 120000), datetime(9999, 12, 31, 23, 59, 59, 999999)]),
    "date": (pa.date32(), [date(1, 1, 1), date(9999, 12, 31)]),
    "bytea": (pa.binary(), [b"", b"\x00\xff\\'\"\n", b"\\x41"]),
    "bigint[]": (pa.list_(pa.int64()), [[], [1, None, 2**62]]),
    "text[]": (pa.list_(pa.string()), [[], ["", None, "NULL", 'a"b', "c,d", "{}", "\\", "\n"]]),
    "double precision[]": (pa.list_(pa.float64()), [[0.1, None, math.inf], [5e-324], [0.1] * 3000, []]),
    "integer[]": (pa.list_(pa.int32()), [[2**31 - 1, None, -(2**31)], [None], [], list(range(3000))]),
}  # fmt: skip


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
JSON = st.recursive(st.none() | st.booleans() | st.integers(-5, 5) | TEXT, lambda inner: st.lists(inner, max_size=2))


VALUES: dict[str, st.SearchStrategy[Any]] = {
    "smallint": st.integers(-(2**15), 2**15 - 1),
    "integer": st.integers(-(2**31), 2**31 - 1),
    "bigint": st.integers(-(2**63), 2**63 - 1),
    "oid": st.integers(0, 2**32 - 1),
    "real": st.floats(width=32).map(repr),
    "double precision": st.floats().map(repr),
    "boolean": st.booleans(),
    "text": TEXT,
    "varchar": TEXT,
    "char(5)": st.text("ab ", max_size=5),
    "name": st.text("abc", max_size=20),
    "json": JSON.map(json.dumps).filter(lambda t: "\\u0000" not in t),
    "jsonb": JSON.map(json.dumps).filter(lambda t: "\\u0000" not in t),
    "bytea": st.binary(max_size=20),
    "date": st.dates(date(1, 1, 1), date(9999, 12, 31)),
    "timestamp": st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31)),
    "timestamptz": st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC)),
}


def _array_text(elements: list[Any]) -> str:
    return "{" + ",".join("NULL" if element is None else repr(element) for element in elements) + "}"


VALUES |= {
    "double precision[]": st.lists(st.none() | st.floats(), max_size=5).map(_array_text),
    "real[]": st.lists(st.floats(width=32), max_size=3).map(_array_text),
    "integer[]": st.lists(st.none() | st.integers(-(2**31), 2**31 - 1), max_size=3).map(_array_text),
    "bigint[]": st.lists(st.integers(-(2**63), 2**63 - 1), max_size=3).map(_array_text),
}


def bitwise(table: pa.Table) -> list[tuple[Any, ...]]:
    """The rows in an order of their own, floats by their bits."""
    rows = [tuple(_bits(value) for value in row.values()) for row in table.to_pylist()]
    return sorted(rows, key=str)


def _bits(value: Any) -> Any:
    if isinstance(value, list):
        return [_bits(each) for each in value]
    return struct.pack("d", value) if isinstance(value, float) else value
