"""Frames as JSON that a browser reads: NULL is null, times are ISO 8601."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

from gpwarehouse.read import json_rows

__all__ = ["records"]


def records(frame: Any) -> list[dict[str, Any]]:
    """The rows of a pandas frame as objects. The column names differ."""
    table = pa.Table.from_pandas(frame, preserve_index=False)
    names = table.schema.names
    return [dict(zip(names, json.loads(row), strict=True)) for row in json_rows(table)]
