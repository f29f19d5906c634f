"""Whatever people hold → Arrow record batches: pandas, polars, pyarrow, anything with an Arrow stream, dicts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from itertools import islice
from numbers import Integral, Real
from os import PathLike
from typing import Any

import pyarrow as pa

from gpwarehouse.errors import InvalidInputError
from gpwarehouse.load.convert import text_of
from gpwarehouse.load.files import file_readers
from gpwarehouse.load.given import NAMED, names_of_rows
from gpwarehouse.load.jsontext import json_of

__all__ = ["BATCH_ROWS", "bytes_of", "record_batches"]

BATCH_ROWS = 65_536
"""Rows at a time: enough for Arrow's kernels to be at full speed, little enough to keep memory small."""


def record_batches(frame: Any, json_columns: frozenset[str]) -> Iterator[pa.RecordBatch]:
    """Record batches of at most :data:`BATCH_ROWS` rows; of a frame without rows, one batch without rows.

    :param frame: pandas or polars DataFrame, pyarrow Table, RecordBatch, RecordBatchReader or Dataset, any object with
        ``__arrow_c_stream__``, an iterable of dicts, or the path or glob of files (:mod:`gpwarehouse.load.files`).
    :param json_columns: columns whose values may be dicts or lists; they become JSON text here.
    :return: where not every dict names all columns, with the column :data:`gpwarehouse.load.given.NAMED`.
    :raises InvalidInputError: none of these.
    """
    if _is_pandas(frame):
        for start in range(0, max(len(frame), 1), BATCH_ROWS):
            yield _from_pandas(frame.iloc[start : start + BATCH_ROWS], json_columns)
        return
    if isinstance(frame, str | PathLike):
        for reader in file_readers(frame, BATCH_ROWS):
            yield from _from_reader(reader)
        return
    if hasattr(frame, "scanner"):  # a pyarrow Dataset; the module that defines it takes long to import
        frame = frame.scanner(batch_size=BATCH_ROWS, batch_readahead=1, fragment_readahead=1).to_reader()
    if isinstance(frame, pa.RecordBatch):
        frame = pa.Table.from_batches([frame])
    if isinstance(frame, pa.Table):
        frame = frame.to_reader(max_chunksize=BATCH_ROWS)
    elif not isinstance(frame, pa.RecordBatchReader) and hasattr(frame, "__arrow_c_stream__"):
        frame = pa.RecordBatchReader.from_stream(frame)
    if isinstance(frame, pa.RecordBatchReader):
        yield from _from_reader(frame)
        return
    if isinstance(frame, Mapping | bytes) or not isinstance(frame, Iterable):
        raise InvalidInputError(
            f"cannot load a {type(frame).__name__}; give a pandas or polars DataFrame, a pyarrow Table or reader, "
            "an iterable of dicts, or the path of a file"
        )
    yield from _from_dicts(iter(frame), json_columns)


def bytes_of(data: Any) -> int | None:
    """Bytes of Arrow data; None of other data, or where Arrow cannot tell (of views, before pyarrow 22)."""
    try:
        size = getattr(data, "nbytes", None)
    except pa.ArrowException:
        return None
    return size if isinstance(size, int) else None


def _is_pandas(frame: Any) -> bool:
    return type(frame).__module__.partition(".")[0] == "pandas" and hasattr(frame, "iloc")


def _from_reader(reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
    rows = 0
    for batch in reader:
        rows += batch.num_rows
        for start in range(0, batch.num_rows, BATCH_ROWS):
            yield batch.slice(start, BATCH_ROWS)
    if not rows:
        yield pa.RecordBatch.from_arrays([pa.nulls(0, field.type) for field in reader.schema], schema=reader.schema)


def _from_pandas(frame: Any, json_columns: frozenset[str]) -> pa.RecordBatch:
    names = [str(name) for name in frame.columns]
    arrays = [_from_series(frame.iloc[:, at], is_json=name in json_columns) for at, name in enumerate(names)]
    return pa.RecordBatch.from_arrays(arrays, names)


def _from_series(series: Any, *, is_json: bool) -> pa.Array:
    if is_json:
        texts = _texts(series)
        return texts if texts is not None else _array(list(series), is_json=True)
    if series.dtype == object:
        return _array(list(series), is_json=False)
    try:
        array = pa.Array.from_pandas(series)
    except (pa.ArrowException, UnicodeEncodeError, TypeError):
        return _array(list(series), is_json=False)
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def _texts(series: Any) -> pa.Array | None:
    """A column of texts as Arrow has them; None if there is anything else in it."""
    if series.dtype.kind != "O":
        return None
    try:
        array = pa.array(series, pa.string(), from_pandas=True)
    except (pa.ArrowException, UnicodeEncodeError, TypeError):
        return None
    array = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
    return array if array.type == pa.string() else None


def _from_dicts(rows: Iterator[Any], json_columns: frozenset[str]) -> Iterator[pa.RecordBatch]:
    names: dict[str, None] = {}  # of all rows so far: a column that one chunk lacks is missing in its rows only
    while chunk := list(islice(rows, BATCH_ROWS)):
        for row in chunk:
            if not isinstance(row, Mapping):
                raise InvalidInputError(f"cannot load a row that is a {type(row).__name__}; give dicts")
            names.update(dict.fromkeys(row))
        arrays = [_array([row.get(name) for row in chunk], is_json=name in json_columns) for name in names]
        batch = pa.RecordBatch.from_arrays(arrays, list(map(str, names)))
        if any(len(row) != len(names) for row in chunk):
            batch = batch.append_column(NAMED, names_of_rows(chunk))
        yield batch


def _array(values: list[Any], *, is_json: bool) -> pa.Array:
    """An Arrow array of Python values; where they are not of one kind, of their texts, to be judged one by one."""
    if is_json:
        return pa.array([json_of(v) for v in values], pa.string())
    values = [None if _is_nan(v) else v for v in values]  # NaN in objects is a missing value
    if _are_of_one_kind(values):
        try:
            return pa.array(values, from_pandas=True)
        except (pa.ArrowException, OverflowError, UnicodeEncodeError):
            pass
    texts = [_text(v) for v in values]
    try:
        return pa.array(texts, pa.string())
    except UnicodeEncodeError:  # lone surrogates are no UTF-8: as bytes they reach the check that refuses their rows
        return pa.array([None if t is None else t.encode("utf-8", "surrogatepass") for t in texts], pa.binary())


def _is_nan(value: Any) -> bool:
    return (isinstance(value, float) and value != value) or (type(value) is Decimal and value.is_nan())


def _are_of_one_kind(values: list[Any]) -> bool:
    """Whether Arrow may look at them as a whole; of mixed values it would make what the first one is.

    Times with and without a zone are two kinds: Arrow would take the latter for UTC.
    """
    kinds = {_kind(each) for each in set(map(type, values))} - {None}
    if kinds != {datetime}:
        return len(kinds) <= 1
    zoned = {value.tzinfo is not None for value in values if isinstance(value, datetime) and value == value}
    return len(zoned) <= 1


def _kind(each: type) -> type | None:
    if each.__name__ in ("NoneType", "NaTType", "NAType"):
        return None
    if issubclass(each, bool) or each.__name__ == "bool":  # numpy's
        return bool
    for kind in (str, bytes, datetime, date, Decimal):
        if issubclass(each, kind):
            return kind
    return Real if issubclass(each, Real) else each


def _text(value: Any) -> str | None:
    """A value as the text that Arrow makes of it where it stands among its like."""
    if value is None or type(value).__name__ in ("NaTType", "NAType"):
        return None
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    if _kind(type(value)) is bool:
        return "true" if value else "false"
    if isinstance(value, Integral):
        return str(value)
    if isinstance(value, Real):
        return text_of(pa.array([float(value)]))[0].as_py()  # type: ignore[no-any-return]
    if not isinstance(value, date | time | Decimal):
        return f"\udcff{value}"  # an object of another kind has no text: it goes the way of what is no UTF-8
    try:
        return str(text_of(pa.array([value]))[0].as_py())
    except (pa.ArrowException, OverflowError, ValueError):
        return str(value)
