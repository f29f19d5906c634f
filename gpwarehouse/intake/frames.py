"""Whatever people hold → Arrow record batches: pandas, polars, pyarrow, anything with an Arrow stream, dicts.

The columns are of flat types (:mod:`gpwarehouse.intake.arrow_layouts`), those for JSON are texts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from os import PathLike
from typing import Any

import pyarrow as pa

from gpwarehouse.errors import InvalidInputError
from gpwarehouse.intake.arrow_layouts import check_types, flat, not_understood
from gpwarehouse.intake.datasets import dataset_batches
from gpwarehouse.intake.expected_columns import Expected
from gpwarehouse.intake.given_columns import NAMED, names_of_rows
from gpwarehouse.intake.pandas_columns import array_of_series, check_dtype
from gpwarehouse.intake.python_values import array_of
from gpwarehouse.intake.table_files import TableFiles, file_batches, reason_of, table_files

__all__ = ["BATCH_ROWS", "bytes_of", "record_batches"]

BATCH_ROWS = 65_536
"""Rows at a time: enough for Arrow's kernels to be at full speed, little enough to keep memory small."""


def record_batches(
    frame: Any, json_columns: frozenset[str], expected: Expected | None = None
) -> Iterator[pa.RecordBatch]:
    """Record batches of at most :data:`BATCH_ROWS` rows; of a frame without rows, one batch without rows.

    :param frame: pandas or polars DataFrame, pyarrow Table, RecordBatch, RecordBatchReader or Dataset, any object with
        ``__arrow_c_stream__``, an iterable of dicts, or the path or glob of files (:mod:`gpwarehouse.intake.table_files`).
    :param json_columns: columns whose values may be dicts or lists; they become JSON text here.
    :param expected: the columns that files may bring, by which their readers tell headings and numbers.
    :return: where not every dict names all columns, with the column :data:`gpwarehouse.intake.given_columns.NAMED`.
    :raises InvalidInputError: none of these, a column of a type that is not understood, or a file or stream that cannot be
        read. What a generator of the caller's raises is raised as it is.
    """
    if _is_pandas(frame):
        for start in range(0, max(len(frame), 1), BATCH_ROWS):
            yield _from_pandas(frame.iloc[start : start + BATCH_ROWS], json_columns)
        return
    if isinstance(frame, str | PathLike | TableFiles):
        for batch in file_batches(table_files(frame), BATCH_ROWS, expected):
            yield from _from_batches(batch.schema, [batch], json_columns, "the file")
        return
    if hasattr(frame, "scanner"):  # a pyarrow Dataset; the module that defines it takes long to import
        yield from _from_batches(frame.schema, dataset_batches(frame, BATCH_ROWS), json_columns, "the dataset")
        return
    if isinstance(frame, pa.RecordBatch):
        frame = pa.Table.from_batches([frame])
    if isinstance(frame, pa.Table):
        frame = frame.to_reader(max_chunksize=BATCH_ROWS)
    elif not isinstance(frame, pa.RecordBatchReader) and hasattr(frame, "__arrow_c_stream__"):
        frame = _stream_of(frame)
    if isinstance(frame, pa.RecordBatchReader):
        yield from _from_batches(frame.schema, frame, json_columns, f"the {type(frame).__name__}")
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
    """Whether it is pandas' DataFrame, or of a class made of it."""
    return any(
        f"{each.__module__.partition('.')[0]}.{each.__name__}" == "pandas.DataFrame" for each in type(frame).__mro__
    )


def _stream_of(frame: Any) -> pa.RecordBatchReader:
    """What an object offers to Arrow.

    :raises InvalidInputError: a column of a type that Arrow does not have, or the object is no table.
    """
    is_polars = type(frame).__module__.partition(".")[0] == "polars"
    dtypes = getattr(frame, "schema", {}) if is_polars else {}
    for name, dtype in dtypes.items():
        if str(dtype) == "Object":  # polars gives Arrow the addresses of the objects
            raise not_understood(name, str(dtype))
    try:
        return pa.RecordBatchReader.from_stream(frame)
    except (pa.ArrowException, TypeError, ValueError) as error:
        told = str(error).partition("\n")[0]
    for name, dtype in dtypes.items():
        try:
            pa.RecordBatchReader.from_stream(frame.select(name))
        except (pa.ArrowException, TypeError, ValueError):  # a type that only polars has
            raise not_understood(name, str(dtype)) from None
    raise InvalidInputError(f"cannot load a {type(frame).__name__}: {told}")


def _from_batches(
    schema: pa.Schema, batches: Iterable[pa.RecordBatch], json_columns: frozenset[str], what: str
) -> Iterator[pa.RecordBatch]:
    """Batches whose columns are understood, in steps; one without rows where there is none.

    :raises InvalidInputError: a column's type is not understood, or ``what`` cannot be read on.
    """
    check_types(schema, json_columns)
    rows = 0
    try:
        for batch in batches:
            rows += batch.num_rows
            for start in range(0, batch.num_rows, BATCH_ROWS):
                yield _flat(batch.slice(start, BATCH_ROWS), json_columns)
    except (pa.ArrowException, OSError) as error:
        raise InvalidInputError(f"{what} cannot be read on: {reason_of(error)}") from None
    if not rows:
        arrays = [pa.nulls(0, field.type) for field in schema]
        yield _flat(pa.RecordBatch.from_arrays(arrays, schema.names), json_columns)


def _flat(batch: pa.RecordBatch, json_columns: frozenset[str]) -> pa.RecordBatch:
    names = batch.schema.names
    arrays = [flat(array, is_json=name in json_columns) for name, array in zip(names, batch.columns, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, names)


def _from_pandas(frame: Any, json_columns: frozenset[str]) -> pa.RecordBatch:
    names = [str(name) for name in frame.columns]
    for at, name in enumerate(names):
        check_dtype(name, frame.dtypes.iloc[at])
    arrays = [array_of_series(frame.iloc[:, at], is_json=name in json_columns) for at, name in enumerate(names)]
    batch = pa.RecordBatch.from_arrays(arrays, names)
    check_types(batch.schema, json_columns)
    return _flat(batch, json_columns)


def _from_dicts(rows: Iterator[Any], json_columns: frozenset[str]) -> Iterator[pa.RecordBatch]:
    names: dict[str, None] = {}  # of all rows so far: a column that one chunk lacks is missing in its rows only
    while chunk := list(islice(rows, BATCH_ROWS)):
        for row in chunk:
            if not isinstance(row, Mapping):
                raise InvalidInputError(f"cannot load a row that is a {type(row).__name__}; give dicts")
            names.update(dict.fromkeys(row))
        arrays = [array_of([row.get(name) for row in chunk], is_json=name in json_columns) for name in names]
        batch = pa.RecordBatch.from_arrays(arrays, list(map(str, names)))
        if any(len(row) != len(names) for row in chunk):
            batch = batch.append_column(NAMED, names_of_rows(chunk))
        yield batch
