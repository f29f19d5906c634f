"""Write Arrow tables as CSV and JSON text, one table at a time.

CSV distinguishes NULL and an empty text: an empty field is NULL, ``""`` is an empty text, as ``wh.load`` reads them and COPY of
PostgreSQL writes them. Nothing is rounded: numbers have the shortest digits that read back as the same number, times are ISO
8601, bytes are hexadecimal (``\\x00ff``), lists and structs are JSON.
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

__all__ = ["json_rows", "refuse_doubled_names", "write_csv", "write_json"]

_EXACT = 2**53 - 1
"""The largest integer that JavaScript, and each reader that takes numbers for doubles, keeps."""
_QUOTED = frozenset(',"\r\n')


def write_csv(schema: pa.Schema, tables: Iterable[pa.Table], file: TextIO) -> int:
    """Write tables of one schema as CSV: a heading, then one line per row, each ended by a line feed.

    :param file: opened with ``newline=""``; otherwise line feeds in texts change on Windows.
    :returns: number of rows.
    """
    rows = 0
    file.write(",".join(map(_quote, schema.names)) + "\n")
    for table in tables:
        columns = [[_format_field(value) for value in _read_values(column)] for column in table.columns]
        file.writelines(",".join(fields) + "\n" for fields in zip(*columns, strict=True))
        rows += table.num_rows
    return rows


def write_json(
    schema: pa.Schema, tables: Iterable[pa.Table], file: TextIO, *, json_columns: Collection[str] = ()
) -> int:
    """Write tables of one schema as a JSON array of objects, one line each. NaN and infinity become texts, as JSON has neither.

    :param json_columns: text columns that are JSON themselves; they are written into the object unchanged.
    :returns: number of rows.
    :raises ReadError: two columns have the same name, so an object could hold only one of them.
    """
    refuse_doubled_names(schema)
    names = [json.dumps(name, ensure_ascii=False) for name in schema.names]
    rows = 0
    file.write("[")
    for table in tables:
        columns = [
            [_format_json(value, is_json=name in json_columns) for value in _read_values(column)]
            for name, column in zip(schema.names, table.columns, strict=True)
        ]
        for row in zip(*columns, strict=True):
            file.write(",\n " if rows else "\n ")
            file.write("{" + ", ".join(f"{name}: {text}" for name, text in zip(names, row, strict=True)) + "}")
            rows += 1
    file.write("\n]\n" if rows else "]\n")
    return rows


def json_rows(table: pa.Table, *, json_positions: Collection[int] = ()) -> list[str]:
    """Write the rows of a table as JSON arrays, which keep columns of the same name apart.

    Integers beyond ±(2**53 − 1) become texts, because readers that take numbers for doubles would round them.

    :param json_positions: positions of text columns that are JSON themselves; they are written unchanged.
    """
    columns = [
        [_format_json(_keep_integer(value), is_json=position in json_positions) for value in _read_values(column)]
        for position, column in enumerate(table.columns)
    ]
    return [f"[{','.join(row)}]" for row in zip(*columns, strict=True)]


def _keep_integer(value: Any) -> Any:
    if isinstance(value, list):
        return [_keep_integer(each) for each in value]
    return str(value) if isinstance(value, int) and abs(value) > _EXACT else value


def refuse_doubled_names(schema: pa.Schema) -> None:
    """Refuse a result with two columns of the same name, which the file cannot hold.

    :raises ReadError: there are two such columns.
    """
    twice = sorted({name for name in schema.names if schema.names.count(name) > 1})
    if twice:
        raise ReadError(f"two columns are named {twice[0]!r}; rename one of them with AS")


def _format_json(value: Any, *, is_json: bool) -> str:
    if is_json and value is not None:
        return str(value)
    return json.dumps(_to_json(value), ensure_ascii=False)


def _read_values(column: pa.ChunkedArray) -> list[Any]:
    """Convert a column to Python values. Single precision keeps its own shortest digits: 0.1 does not become 0.10000000149."""
    values = column.to_pylist()
    if pa.types.is_float32(column.type):
        return [None if value is None else float(str(np.float32(value))) for value in values]
    return list(values)


def _format_field(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return _quote(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return _to_hex(value)
    if isinstance(value, list | dict):
        return _quote(json.dumps(_to_json(value), ensure_ascii=False))
    return str(value)


def _quote(text: str) -> str:
    """Quote a text as a field. A text with blanks at its ends is quoted too, because readers differ on them."""
    if text and text == text.strip() and _QUOTED.isdisjoint(text):
        return text
    return '"' + text.replace('"', '""') + '"'


def _to_json(value: Any) -> Any:
    if isinstance(value, float) and not np.isfinite(value):
        return str(value)
    if isinstance(value, bytes):
        return _to_hex(value)
    if isinstance(value, date | datetime | time):
        return value.isoformat()
    if isinstance(value, list):
        return [_to_json(each) for each in value]
    if isinstance(value, dict):
        return {name: _to_json(each) for name, each in value.items()}
    return str(value) if isinstance(value, Decimal) else value


def _to_hex(value: bytes) -> str:
    return "\\x" + value.hex()
