"""Store rows given as dicts by COPY: members and other small sets of rows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa
from sqlalchemy import Table
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine import Connection

from gpwarehouse.errors import LoadError
from gpwarehouse.transport.columns import arrow_type
from gpwarehouse.transport.copy import copy_rows

__all__ = ["copy_records"]


def copy_records(
    connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]], names: Sequence[str] = ()
) -> None:
    """COPY dicts into a table. Inserting 50 000 members by statements takes half a minute, while others wait for the lock."""
    if not rows:
        return
    arrays, columns = [], tuple(names or [column.name for column in table.columns])
    for name in columns:
        values, type_ = [row.get(name) for row in rows], table.c[name].type
        if isinstance(type_, JSONB):
            values = [None if v is None else _json(v) for v in values]
        try:
            arrays.append(pa.array(values, arrow_type(type_)))
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            raise LoadError(f"{table.name}: a value of the source does not fit column {name!r}: {error}") from None
    copy_rows(connection, table, [pa.RecordBatch.from_arrays(arrays, list(columns))], columns)


def _json(value: Any) -> str:
    """Encode JSON with all digits of a Decimal, which Python's encoder does not do."""
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{json.dumps(str(name))}:{_json(entry)}' for name, entry in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_json, value))}]"
    return str(value) if isinstance(value, Decimal) else json.dumps(value)
