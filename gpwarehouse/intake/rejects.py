"""Rows that are not loaded, and how ``etl_reject`` holds them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from gpwarehouse.intake.json_values import readable

__all__ = ["Reject", "raw_json", "reject_rows"]


@dataclass(frozen=True)
class Reject:
    """A row that was not loaded: its number in the source (from 1), the first column at fault, why, and all of it.

    ``unreadable``: a value of it could not be had in its column's type, so the row as given is all there is of it.
    """

    row_number: int
    column_name: str
    reason: str
    raw: dict[str, Any] = field(repr=False)
    unreadable: bool = False


def reject_rows(rejects: Iterable[Reject]) -> pa.RecordBatch:
    """Rejects as rows of ``etl_reject``, but for the batch's columns."""
    rejects = list(rejects)
    return pa.RecordBatch.from_pydict(
        {
            "row_number": pa.array([r.row_number for r in rejects], pa.int64()),
            "column_name": [r.column_name for r in rejects],
            "reason": [r.reason for r in rejects],
            "raw": [raw_json(r.raw) for r in rejects],
        }
    )


def raw_json(raw: Mapping[str, Any]) -> str:
    """A row as JSON that the server takes: times as ISO text, no NaN, no U+0000."""
    text = json.dumps(readable(raw), sort_keys=True, allow_nan=False)
    return text.replace("\\u0000", "\\ufffd")
