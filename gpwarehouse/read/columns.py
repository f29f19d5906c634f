"""The columns of a result: the server's types, and the Arrow types that hold them exactly.

The types are those of PostgreSQL's pg_type.dat; Greenplum's are the same. Types that are not listed (interval, time, money,
enumerations, ranges, …) come as the text that the server prints.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from gpwarehouse.errors import ReadError

__all__ = ["Column", "columns_of", "refuse_dimensions"]

_JSON = frozenset({114, 3802})
_BYTEA = 17
_NUMERIC = 1700
_ARROW: dict[int, pa.DataType] = {
    16: pa.bool_(),
    20: pa.int64(),
    21: pa.int16(),
    23: pa.int32(),
    26: pa.int64(),
    700: pa.float32(),
    701: pa.float64(),
    1082: pa.date32(),
    1114: pa.timestamp("us"),
    1184: pa.timestamp("us", tz="UTC"),
}
_ELEMENT = {
    1000: 16, 1001: 17, 1005: 21, 1007: 23, 1016: 20, 1028: 26, 1021: 700, 1022: 701, 1115: 1114, 1182: 1082, 1185: 1184,
    1231: _NUMERIC, 199: 114, 3807: 3802, 1002: 18, 1003: 19, 1009: 25, 1014: 1042, 1015: 1043, 2951: 2950,
}  # fmt: skip
_NAMES = {
    16: "boolean", 17: "bytea", 18: "char", 19: "name", 20: "bigint", 21: "smallint", 23: "integer", 25: "text", 26: "oid",
    114: "json", 142: "xml", 650: "cidr", 700: "real", 701: "double precision", 705: "text", 790: "money", 829: "macaddr",
    869: "inet", 1042: "character", 1043: "character varying", 1082: "date", 1083: "time",
    1114: "timestamp", 1184: "timestamp with time zone", 1186: "interval", 1266: "time with time zone", 1560: "bit",
    1562: "bit varying", _NUMERIC: "numeric", 2205: "regclass", 2249: "record", 2278: "void", 2950: "uuid", 3802: "jsonb",
    3904: "int4range", 3906: "numrange", 3908: "tsrange", 3910: "tstzrange", 3912: "daterange", 3926: "int8range",
}  # fmt: skip
_NAMES |= {array: f"{_NAMES[element]}[]" for array, element in _ELEMENT.items()}
_UNQUOTED = frozenset({16, 20, 21, 23, 26, 700, 701, _NUMERIC})
_MOST_DIGITS = 76


@dataclass(frozen=True)
class Column:
    """A column of a result.

    :ivar oid: the server's type.
    :ivar digits: precision and scale of a NUMERIC that declares them.
    :ivar exact: whether NUMERIC stays exact; else it becomes the nearest double.
    """

    name: str
    oid: int
    digits: tuple[int, int] | None = None
    exact: bool = False

    @property
    def type_name(self) -> str:
        """The server's name of the type; ``other`` for types that users made, and for rare ones."""
        return _NAMES.get(self.oid, "other")

    @property
    def is_json(self) -> bool:
        """Whether the type is json or jsonb."""
        return self.oid in _JSON

    @property
    def is_bytes(self) -> bool:
        """Whether the type is bytea."""
        return self.oid == _BYTEA

    @property
    def is_exact_text(self) -> bool:
        """Whether it is an exact NUMERIC without a declared scale. No Arrow decimal holds it, so it stays text."""
        return self.exact and self.oid == _NUMERIC and self.digits is None

    @property
    def is_rounded(self) -> bool:
        """Whether it is a NUMERIC that becomes the nearest double."""
        return self.oid == _NUMERIC and not self.exact

    @property
    def element(self) -> Column | None:
        """The elements of an array, as a column; None if it is not an array."""
        oid = _ELEMENT.get(self.oid)
        return None if oid is None else Column(self.name, oid, exact=self.exact)

    @property
    def is_plain_array(self) -> bool:
        """Whether it is an array whose elements' texts have no quotes, commas or braces: numbers and booleans."""
        element = self.element
        return element is not None and (element.oid in _UNQUOTED)

    @property
    def text_type(self) -> pa.DataType:
        """The type that Arrow's CSV parser makes of the server's text; a string if more is to be done."""
        if self.is_rounded:
            return pa.float64()
        return _ARROW.get(self.oid, pa.string())

    @property
    def arrow_type(self) -> pa.DataType:
        """The type in the result."""
        if self.is_bytes:
            return pa.binary()
        if self.element is not None:
            return pa.list_(self.element.arrow_type)
        if self.exact and self.digits is not None:
            return pa.decimal128(*self.digits) if self.digits[0] <= 38 else pa.decimal256(*self.digits)
        return self.text_type

    def unreadable(self, words: str) -> ReadError:
        """Make the error for a value that the Arrow type cannot hold."""
        times = pa.types.is_temporal(self.arrow_type)
        hint = ", or leave it out (NULLIF(x, 'infinity')): times must lie in the years 0001 to 9999" if times else ""
        return ReadError(
            f"column {self.name!r}: a value cannot be converted to Arrow's {self.arrow_type}: {words}; CAST it to text in the "
            f"query{hint}"
        )


def refuse_dimensions(column: Column) -> ReadError:
    """Make the error for an array of several dimensions."""
    return ReadError(f"column {column.name!r}: an array has several dimensions; CAST it to text, or unnest it")


def columns_of(description: Sequence[Any], *, exact: bool) -> tuple[Column, ...]:
    """Make the columns from a cursor's description."""
    return tuple(Column(item.name, item.type_code, _read_digits(item), exact) for item in description)


def _read_digits(item: Any) -> tuple[int, int] | None:
    if item.type_code != _NUMERIC or item.precision is None or item.scale is None:
        return None
    # PostgreSQL 15 allows negative scales, and scales above the precision.
    declared = 0 < item.precision <= _MOST_DIGITS and 0 <= item.scale <= item.precision
    return (item.precision, item.scale) if declared else None
