"""Whatever people hold → Arrow record batches: pandas, polars, pyarrow, anything with an Arrow stream, dicts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

import pyarrow as pa

from gpwarehouse.errors import InvalidInputError

__all__ = ["BATCH_ROWS", "record_batches"]

BATCH_ROWS = 65_536
"""Rows at a time: enough for Arrow's kernels to be at full speed, little enough to keep memory small."""


def record_batches(frame: Any, json_columns: frozenset[str]) -> Iterator[pa.RecordBatch]:
    """Record batches of at most :data:`BATCH_ROWS` rows.

    :param frame: pandas or polars DataFrame, pyarrow Table, RecordBatch or RecordBatchReader, any object with
        ``__arrow_c_stream__``, or an iterable of dicts.
    :param json_columns: columns whose values may be dicts or lists; they become JSON text here.
    :raises InvalidInputError: none of these.
    """
    if _is_pandas(frame):
        for start in range(0, len(frame), BATCH_ROWS):
            yield _from_pandas(frame.iloc[start : start + BATCH_ROWS], json_columns)
        return
    if isinstance(frame, pa.RecordBatch):
        frame = pa.Table.from_batches([frame])
    if isinstance(frame, pa.Table):
        frame = frame.to_reader(max_chunksize=BATCH_ROWS)
    elif not isinstance(frame, pa.RecordBatchReader) and hasattr(frame, "__arrow_c_stream__"):
        frame = pa.RecordBatchReader.from_stream(frame)
    if isinstance(frame, pa.RecordBatchReader):
        for batch in frame:
            for start in range(0, batch.num_rows, BATCH_ROWS):
                yield batch.slice(start, BATCH_ROWS)
        return
    if isinstance(frame, Mapping | str | bytes) or not isinstance(frame, Iterable):
        raise InvalidInputError(
            f"cannot load a {type(frame).__name__}; give a pandas or polars DataFrame, a pyarrow Table or reader, "
            "or an iterable of dicts"
        )
    yield from _from_dicts(iter(frame), json_columns)


def _is_pandas(frame: Any) -> bool:
    return type(frame).__module__.partition(".")[0] == "pandas" and hasattr(frame, "iloc")


def _from_pandas(frame: Any, json_columns: frozenset[str]) -> pa.RecordBatch:
    arrays = []
    for name in frame.columns:
        series = frame[name]
        if name in json_columns or series.dtype == object:
            arrays.append(_array(list(series), is_json=name in json_columns))
        else:
            arrays.append(pa.Array.from_pandas(series))
    arrays = [a.combine_chunks() if isinstance(a, pa.ChunkedArray) else a for a in arrays]
    return pa.RecordBatch.from_arrays(arrays, [str(name) for name in frame.columns])


def _from_dicts(rows: Iterator[Any], json_columns: frozenset[str]) -> Iterator[pa.RecordBatch]:
    while chunk := list(islice(rows, BATCH_ROWS)):
        names: dict[str, None] = {}
        for row in chunk:
            if not isinstance(row, Mapping):
                raise InvalidInputError(f"cannot load a row that is a {type(row).__name__}; give dicts")
            names.update(dict.fromkeys(map(str, row)))
        arrays = [_array([row.get(name) for row in chunk], is_json=name in json_columns) for name in names]
        yield pa.RecordBatch.from_arrays(arrays, list(names))


def _array(values: list[Any], *, is_json: bool) -> pa.Array:
    """An Arrow array of Python values; where they are of no one type, of their texts, to be judged one by one."""
    if is_json:
        return pa.array([_json_text(v) for v in values], pa.string())
    values = [None if isinstance(v, float) and v != v else v for v in values]  # NaN in objects is a missing value
    try:
        return pa.array(values, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError, UnicodeEncodeError):
        return pa.array([_text(v) for v in values], pa.string())


def _text(value: Any) -> str | None:
    if value is None or type(value).__name__ in ("NaTType", "NAType"):
        return None
    if hasattr(value, "isoformat"):
        return str(value.isoformat())
    # A lone surrogate cannot be UTF-8; as U+FFFD it would be silently other text, so it is spelled out and refused.
    return str(value).encode("utf-8", "backslashreplace").decode() if not _is_utf8(str(value)) else str(value)


def _is_utf8(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _json_text(value: Any) -> str | None:
    """JSON as text: dicts and lists are encoded, texts and bytes taken as JSON; None and NaN are SQL's NULL."""
    if value is None or (isinstance(value, float) and value != value) or type(value).__name__ == "NAType":
        return None
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"), default=_plain)


def _plain(value: Any) -> Any:
    """numpy scalars and arrays inside JSON values."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise InvalidInputError(f"a JSON value holds a {type(value).__name__}, which JSON does not have")
