"""Rejected rows, and their form in ``etl_reject``."""

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
    """A row that was not loaded.

    :ivar row_number: its number in the source, from 1.
    :ivar column_name: the first column at fault.
    :ivar reason: why it was rejected.
    :ivar raw: the row as it was given.
    :ivar unreadable: whether a value could not be converted to its column's type, so that only ``raw`` holds the row.
    """

    row_number: int
    column_name: str
    reason: str
    raw: dict[str, Any] = field(repr=False)
    unreadable: bool = False


def reject_rows(rejects: Iterable[Reject]) -> pa.RecordBatch:
    """Convert rejects to rows of ``etl_reject``, without the batch's columns."""
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
    """Convert a row to JSON that the server accepts: times as ISO text, no NaN, no U+0000."""
    text = json.dumps(readable(raw), sort_keys=True, allow_nan=False)
    return text.replace("\\u0000", "\\ufffd")
