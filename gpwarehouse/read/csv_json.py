"""Arrow tables → CSV and JSON, as text, a table at a time.

CSV keeps NULL and an empty text apart: an empty field is NULL, ``""`` is an empty text, as ``wh.load`` reads them
(and COPY of PostgreSQL writes them). Nothing is rounded: numbers have the shortest digits that read back as the same
number, times are ISO 8601, bytes are hexadecimal (``\\x00ff``), lists and structs are JSON.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, TextIO

import numpy as np
import pyarrow as pa

from gpwarehouse.errors import ReadError

__all__ = ["refuse_doubled_names", "write_csv", "write_json"]

_QUOTED = frozenset(',"\r\n')


def write_csv(schema: pa.Schema, tables: Iterable[pa.Table], file: TextIO) -> int:
    """Write tables of one schema as CSV: a heading, then a line a row, each ended by a line feed.

    :param file: opened with ``newline=""``, or lines in texts change on Windows.
    :returns: rows written.
    """
    rows = 0
    file.write(",".join(map(_quoted, schema.names)) + "\n")
    for table in tables:
        columns = [[_csv_field(value) for value in _values(column)] for column in table.columns]
        file.writelines(",".join(fields) + "\n" for fields in zip(*columns, strict=True))
        rows += table.num_rows
    return rows


def write_json(
    schema: pa.Schema, tables: Iterable[pa.Table], file: TextIO, *, json_columns: Collection[str] = ()
) -> int:
    """Write tables of one schema as a JSON array of objects, a line each. NaN and infinity become texts: JSON has none.

    :param json_columns: columns of texts that are JSON themselves, and stand in the object as they are.
    :returns: rows written.
    :raises ReadError: two columns have one name, so an object would hold one of them only.
    """
    refuse_doubled_names(schema)
    names = [json.dumps(name, ensure_ascii=False) for name in schema.names]
    rows = 0
    file.write("[")
    for table in tables:
        columns = [
            [_json_text(value, is_json=name in json_columns) for value in _values(column)]
            for name, column in zip(schema.names, table.columns, strict=True)
        ]
        for row in zip(*columns, strict=True):
            file.write(",\n " if rows else "\n ")
            file.write("{" + ", ".join(f"{name}: {text}" for name, text in zip(names, row, strict=True)) + "}")
            rows += 1
    file.write("\n]\n" if rows else "]\n")
    return rows


def refuse_doubled_names(schema: pa.Schema) -> None:
    """Refuse a result that a file with one value a name cannot hold.

    :raises ReadError: two columns have one name.
    """
    twice = sorted({name for name in schema.names if schema.names.count(name) > 1})
    if twice:
        raise ReadError(f"column {twice[0]!r} comes twice; name one with AS")


def _json_text(value: Any, *, is_json: bool) -> str:
    if is_json and value is not None:
        return str(value)
    return json.dumps(_json_value(value), ensure_ascii=False)


def _values(column: pa.ChunkedArray) -> list[Any]:
    """Python's values; single precision keeps its own shortest digits, so 0.1 does not become 0.10000000149."""
    values = column.to_pylist()
    if pa.types.is_float32(column.type):
        return [None if value is None else float(str(np.float32(value))) for value in values]
    return values  # type: ignore[no-any-return]


def _csv_field(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return _hex(value)
    if isinstance(value, list | dict):
        return _quoted(json.dumps(_json_value(value), ensure_ascii=False))
    return str(value)


def _quoted(text: str) -> str:
    """A text as a field; one with blanks at its ends is quoted too, because readers differ on them."""
    if text and text == text.strip() and _QUOTED.isdisjoint(text):
        return text
    return '"' + text.replace('"', '""') + '"'


def _json_value(value: Any) -> Any:
    if isinstance(value, float) and not np.isfinite(value):
        return str(value)
    if isinstance(value, bytes):
        return _hex(value)
    if isinstance(value, date | datetime | time):
        return value.isoformat()
    if isinstance(value, list):
        return [_json_value(each) for each in value]
    if isinstance(value, dict):
        return {name: _json_value(each) for name, each in value.items()}
    return str(value) if isinstance(value, Decimal) else value


def _hex(value: bytes) -> str:
    return "\\x" + value.hex()
