"""Helpers for all rows: names, times, and batches of a given size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gpwarehouse.generate.plan import Settings
from gpwarehouse.transport.chunks import rechunk

__all__ = ["TIMESTAMP", "constant", "instant", "json_objects", "rebatch", "times", "wafer_ids"]

TIMESTAMP = pa.timestamp("us", tz="UTC")


def times(settings: Settings, seconds: Any) -> pa.Array:
    """Convert seconds since the fab's start to times."""
    begin = int(settings.start.timestamp()) * 1_000_000
    return pa.array(np.rint(np.asarray(seconds) * 1e6).astype(np.int64) + begin).cast(TIMESTAMP)


def instant(settings: Settings, seconds: float) -> datetime:
    """Convert one number of seconds to a time."""
    return datetime.fromtimestamp(round(settings.start.timestamp() + seconds), UTC)


def constant(value: Any, rows: int, type_: pa.DataType | None = None) -> pa.Array:
    """The same value in every row."""
    return pa.repeat(
        pa.scalar(value, type_ or (pa.string() if value is None or isinstance(value, str) else None)), rows
    )


def wafer_ids(numbers: Any) -> pa.Array:
    """Wafer ids: ``01``, ``02`` …"""
    texts = pa.array(np.asarray(numbers, np.int64)).cast(pa.string())
    return pc.utf8_lpad(texts, 2, "0")


def json_objects(**values: Any) -> pa.Array:
    """Make one JSON object per row from arrays of numbers; names of parameters may begin with a digit after ``_``."""
    parts: list[Any] = []
    for number, (name, array) in enumerate(values.items()):
        parts += [
            f'{"," if number else "{"}"{name.lstrip("_")}":',
            pa.array(np.asarray(array, float)).cast(pa.string()),
        ]
    return pc.binary_join_element_wise(*parts, "}", "")


def rebatch(tables: Iterable[pa.Table], schema: pa.Schema, rows: int) -> Iterator[pa.RecordBatch]:
    """Yield the same rows in batches of ``rows`` rows; the last one has fewer."""
    for table in rechunk(tables, rows):
        yield _make_batch(table, schema)


def _make_batch(table: pa.Table, schema: pa.Schema) -> pa.RecordBatch:
    arrays = [pa.concat_arrays(column.chunks) for column in table.columns]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
