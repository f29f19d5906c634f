"""Helpers for all rows: names, times, and batches of a given size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gpwarehouse.generate.plan import Settings
from gpwarehouse.models.parameter_sets import ParameterSet
from gpwarehouse.transport.chunks import rechunk

__all__ = ["TIMESTAMP", "constant", "instant", "measured", "rebatch", "times", "wafer_ids"]

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


def measured(parameters: ParameterSet, values: Any) -> dict[str, pa.Array]:
    """Make the columns ``parameter_set_key`` and ``measured``.

    :param values: a column for each parameter, in the order of the list.
    """
    values = np.asarray(values, float)
    offsets = np.arange(0, values.size + 1, values.shape[1], dtype=np.int32)
    lists = pa.ListArray.from_arrays(pa.array(offsets), pa.array(values.reshape(-1)))
    return {"parameter_set_key": constant(parameters.key, len(values), pa.int64()), "measured": lists}


def rebatch(tables: Iterable[pa.Table], schema: pa.Schema, rows: int) -> Iterator[pa.RecordBatch]:
    """Yield the same rows in batches of ``rows`` rows; the last one has fewer."""
    for table in rechunk(tables, rows):
        yield _make_batch(table, schema)


def _make_batch(table: pa.Table, schema: pa.Schema) -> pa.RecordBatch:
    arrays = [pa.concat_arrays(column.chunks) for column in table.columns]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
