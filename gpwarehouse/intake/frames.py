"""Convert frames of any library to Arrow record batches: pandas, polars, pyarrow, any object with an Arrow stream, dicts.

The columns have flat types (:mod:`gpwarehouse.intake.arrow_layouts`), but lists of numbers stay lists. JSON columns are texts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from os import PathLike
from typing import Any, NamedTuple

import pyarrow as pa

from gpwarehouse.errors import InvalidInputError
from gpwarehouse.intake.arrow_layouts import check_types, flat, not_understood
from gpwarehouse.intake.datasets import dataset_batches
from gpwarehouse.intake.expected_columns import Expected
from gpwarehouse.intake.given_columns import NAMED, names_of_rows
from gpwarehouse.intake.pandas_columns import array_of_series, check_dtype
from gpwarehouse.intake.python_values import array_of, lists_of
from gpwarehouse.intake.table_files import TableFiles, file_batches, reason_of, table_files

__all__ = ["BATCH_ROWS", "bytes_of", "record_batches"]

BATCH_ROWS = 65_536
"""Rows per batch: enough for Arrow's kernels to run at full speed, few enough to keep memory small."""


def record_batches(
    frame: Any,
    json_columns: frozenset[str],
    expected: Expected | None = None,
    *,
    list_columns: frozenset[str] = frozenset(),
    rows: int = BATCH_ROWS,
) -> Iterator[pa.RecordBatch]:
    """Yield record batches of at most ``rows`` rows; for a frame without rows, one batch without rows.

    Errors that the caller's own generator raises are passed on as they are.

    :param frame: pandas or polars DataFrame, pyarrow Table, RecordBatch, RecordBatchReader or Dataset, any object with
        ``__arrow_c_stream__``, an iterable of dicts, or the path or glob of files (:mod:`gpwarehouse.intake.table_files`).
    :param json_columns: columns whose values may be dicts or lists; they become JSON text.
    :param list_columns: columns whose values may be lists of numbers; they stay lists.
    :param expected: the columns that files may have, by which their readers recognise headings and numbers.
    :return: batches; if not every dict names all columns, with the column :data:`gpwarehouse.intake.given_columns.NAMED`.
    :raises InvalidInputError: the frame is none of these, a column has a type that is not supported, or a file or stream
        cannot be read.
    """
    nested = _Nested(json_columns, list_columns)
    if _is_pandas(frame):
        for start in range(0, max(len(frame), 1), rows):
            yield _convert_pandas(frame.iloc[start : start + rows], nested)
        return
    if isinstance(frame, str | PathLike | TableFiles):
        for batch in file_batches(table_files(frame), rows, expected):
            yield from _read_batches(batch.schema, [batch], nested, "the file", rows)
        return
    if hasattr(frame, "scanner"):  # a pyarrow Dataset; importing its module to test the class takes long
        yield from _read_batches(frame.schema, dataset_batches(frame, rows), nested, "the dataset", rows)
        return
    if isinstance(frame, pa.RecordBatch):
        frame = pa.Table.from_batches([frame])
    if isinstance(frame, pa.Table):
        frame = frame.to_reader(max_chunksize=rows)
    elif not isinstance(frame, pa.RecordBatchReader) and hasattr(frame, "__arrow_c_stream__"):
        frame = _open_stream(frame)
    if isinstance(frame, pa.RecordBatchReader):
        yield from _read_batches(frame.schema, frame, nested, f"the {type(frame).__name__}", rows)
        return
    if isinstance(frame, Mapping | bytes) or not isinstance(frame, Iterable):
        raise InvalidInputError(
            f"cannot load a {type(frame).__name__}; give a pandas or polars DataFrame, a pyarrow Table or reader, "
            "an iterable of dicts, or the path of a file"
        )
    yield from _read_dicts(iter(frame), nested, rows)


class _Nested(NamedTuple):
    """The columns that may hold other values than scalars."""

    json: frozenset[str]
    lists: frozenset[str]

    def array_of(self, name: str, values: Sequence[Any]) -> pa.Array:
        """Make the array of a column of Python values."""
        return lists_of(values) if name in self.lists else array_of(values, is_json=name in self.json)

    def array_of_series(self, name: str, series: Any) -> pa.Array:
        """Make the array of a column of pandas."""
        if name in self.lists and str(series.dtype) == "object":
            return lists_of(list(series))
        return array_of_series(series, is_json=name in self.json)


def bytes_of(data: Any) -> int | None:
    """Bytes of Arrow data; None for other data, or if Arrow cannot tell (of views, before pyarrow 22)."""
    try:
        size = getattr(data, "nbytes", None)
    except pa.ArrowException:
        return None
    return size if isinstance(size, int) else None


def _is_pandas(frame: Any) -> bool:
    """Whether the frame is a pandas DataFrame or of a subclass."""
    return any(
        f"{each.__module__.partition('.')[0]}.{each.__name__}" == "pandas.DataFrame" for each in type(frame).__mro__
    )


def _open_stream(frame: Any) -> pa.RecordBatchReader:
    """Open the Arrow stream of an object.

    :raises InvalidInputError: a column has a type that Arrow does not have, or the object is not a table.
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


def _read_batches(
    schema: pa.Schema, batches: Iterable[pa.RecordBatch], nested: _Nested, what: str, rows: int
) -> Iterator[pa.RecordBatch]:
    """Yield batches of flat columns, cut into steps; one batch without rows if there is none.

    :raises InvalidInputError: a column's type is not supported, or ``what`` fails while it is read.
    """
    check_types(schema, nested.json | nested.lists)
    is_empty = True
    try:
        for batch in batches:
            is_empty = is_empty and not batch.num_rows
            for start in range(0, batch.num_rows, rows):
                yield _flatten(batch.slice(start, rows), nested)
    except (pa.ArrowException, OSError) as error:
        raise InvalidInputError(f"{what} could not be read to its end: {reason_of(error)}") from None
    if is_empty:
        arrays = [pa.nulls(0, field.type) for field in schema]
        yield _flatten(pa.RecordBatch.from_arrays(arrays, schema.names), nested)


def _flatten(batch: pa.RecordBatch, nested: _Nested) -> pa.RecordBatch:
    names = batch.schema.names
    arrays = [flat(array, is_json=name in nested.json) for name, array in zip(names, batch.columns, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, names)


def _convert_pandas(frame: Any, nested: _Nested) -> pa.RecordBatch:
    names = [str(name) for name in frame.columns]
    for at, name in enumerate(names):
        check_dtype(name, frame.dtypes.iloc[at])
    arrays = [nested.array_of_series(name, frame.iloc[:, at]) for at, name in enumerate(names)]
    batch = pa.RecordBatch.from_arrays(arrays, names)
    check_types(batch.schema, nested.json | nested.lists)
    return _flatten(batch, nested)


def _read_dicts(given: Iterator[Any], nested: _Nested, rows: int) -> Iterator[pa.RecordBatch]:
    names: dict[
        str, None
    ] = {}  # columns of all rows so far: a column absent from this chunk is then not given in its rows
    while chunk := list(islice(given, rows)):
        for row in chunk:
            if not isinstance(row, Mapping):
                raise InvalidInputError(f"cannot load a row that is a {type(row).__name__}; give each row as a dict")
            names.update(dict.fromkeys(row))
        arrays = [nested.array_of(name, [row.get(name) for row in chunk]) for name in names]
        batch = pa.RecordBatch.from_arrays(arrays, list(map(str, names)))
        if any(len(row) != len(names) for row in chunk):
            batch = batch.append_column(NAMED, names_of_rows(chunk))
        yield batch
