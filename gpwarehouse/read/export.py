"""Write a query's rows as Parquet, Arrow, CSV or JSON, in constant memory. The file is either complete or not there."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from sqlalchemy import Executable
from sqlalchemy.engine import Engine

from gpwarehouse.engine.progress import Progress
from gpwarehouse.errors import ReadError, ResultTooLargeError
from gpwarehouse.read.csv_json import refuse_doubled_names, write_csv, write_json
from gpwarehouse.read.query import Stream, Transport
from gpwarehouse.transport.chunks import rechunk

__all__ = ["ExportResult", "export", "write_table"]

_NULL = "__HIVE_DEFAULT_PARTITION__"
_FORMS = (".parquet", ".arrow", ".csv", ".json")
_GROUP_ROWS = 131_072
_FOLDER_ROWS = 4 * _GROUP_ROWS
"""Rows in memory at a time if columns become folders. Each value gets at most one file for so many rows."""


@dataclass(frozen=True)
class ExportResult:
    """What an export wrote.

    :ivar path: the file, or the folder.
    :ivar rows: number of rows.
    :ivar bytes: size on disk.
    :ivar files: number of files.
    :ivar seconds: how long it took.
    """

    path: Path
    rows: int
    bytes: int
    files: int
    seconds: float


def export(
    engine: Engine,
    statement: str | Executable,
    target: str | Path,
    params: Mapping[str, Any] | None = None,
    *,
    partition_by: str | Sequence[str] = (),
    overwrite: bool = False,
    compression: str = "zstd",
    exact_numeric: bool = False,
    progress: Progress | None = None,
    transport: Transport = "auto",
    parallel: int = 1,
    session: Mapping[str, Any] | None = None,
    max_bytes: int | None = None,
) -> ExportResult:
    """Write a query's rows to a file, in constant memory. A failed export leaves nothing behind.

    :param target: a file that ends in ``.parquet``, ``.arrow`` (Arrow's file format, also called Feather V2), ``.csv`` or
        ``.json`` (an array of objects; see :mod:`gpwarehouse.read.csv_json`); with ``partition_by`` a folder of Parquet files.
    :param partition_by: columns that become folders (``lot_id=L1/part-0-0.parquet``).
    :param overwrite: replace an existing file or folder; otherwise it is an error.
    :param compression: codec of Parquet files.
    :param exact_numeric: as for reading.
    :param progress: as for reading.
    :param transport: as for reading.
    :param parallel: as for reading.
    :param session: as for reading.
    :param max_bytes: size on disk above which nothing is written. It is checked after each piece of some MB.
    :raises ReadCancelledError: as for reading.
    :raises ResultTooLargeError: the result has more bytes than ``max_bytes``.
    :raises ReadError: the query cannot be run, or the target cannot be written.
    """
    started = perf_counter()
    path = Path(target)
    by = (partition_by,) if isinstance(partition_by, str) else tuple(partition_by)
    if path.exists() and not overwrite:
        raise ReadError(f"{path} exists already; give another name, or overwrite=True")
    if not path.parent.is_dir():
        raise ReadError(f"{path.parent} is not a folder; make it first")
    how: dict[str, Any] = {"transport": transport, "parallel": parallel, "session": session}
    with Stream(engine, statement, params, exact_numeric=exact_numeric, progress=progress, **how) as stream:
        _check(path, by, stream.schema)
        with _translate_errors(path), _replace_at_end(path) as draft:
            tables = _bound(stream.tables(), draft, max_bytes)
            if by:
                rows = _write_folder(stream.schema, tables, draft, by, compression)
            else:
                rows = _write_file(stream.schema, tables, draft, path.suffix, compression, stream.json_columns)
            files = _files_of(draft)
            size = _check_size(draft, max_bytes)
    return ExportResult(path, rows, size, len(files), perf_counter() - started)


def write_table(table: pa.Table, target: str | Path, *, compression: str = "zstd") -> None:
    """Write an Arrow table to a file whose name ends in ``.parquet``, ``.arrow``, ``.csv`` or ``.json``.

    :raises ReadError: the name ends otherwise, or the file cannot be written; nothing is left behind.
    """
    path = Path(target)
    _check(path, (), table.schema)
    with _translate_errors(path), _replace_at_end(path) as draft:
        _write_file(table.schema, iter((table,)), draft, path.suffix, compression, frozenset())


def _check(path: Path, by: Sequence[str], schema: pa.Schema) -> None:
    if by:
        unknown = [name for name in by if name not in schema.names]
        if unknown or len(set(by)) == len(schema.names):
            raise ReadError(
                f"partition_by={list(by)}: " + (f"there is no column {unknown[0]!r}" if unknown else "no column would be left")
                + f"; the columns of the query are {', '.join(schema.names)}"
            )  # fmt: skip
        for name in by:
            _refuse_nameless(name, schema.field(name).type)
    elif path.suffix not in _FORMS:
        raise ReadError(
            f"{path}: give a file name that ends in {', '.join(_FORMS)}, or partition_by= for a folder of Parquet files"
        )
    if by or path.suffix != ".csv":
        refuse_doubled_names(schema)


def _refuse_nameless(column: str, kind: pa.DataType) -> None:
    """Refuse a column whose values have no text that could be a folder's name and be read back."""
    types = pa.types
    named = (types.is_string, types.is_integer, types.is_floating, types.is_boolean, types.is_date, types.is_timestamp)
    if not any(test(kind) for test in named):
        instead = f"encode({column}, 'hex')" if types.is_binary(kind) else f"CAST({column} AS text)"
        raise ReadError(
            f"partition_by: column {column!r} has type {kind}, whose values cannot be names of folders; give {instead} AS "
            f"{column} in the query"
        )


@contextmanager
def _translate_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise ReadError(f"{path} cannot be written: {error}") from error


@contextmanager
def _replace_at_end(path: Path) -> Iterator[Path]:
    """Yield a name beside ``path`` to write to. At the end it replaces ``path``; if the block raises, it is deleted."""
    draft = path.with_name(f".{path.name}.{uuid4().hex[:8]}.tmp")
    try:
        yield draft
        if path.is_dir():
            old = path.with_name(f".{path.name}.{uuid4().hex[:8]}.old")
            path.rename(old)  # a folder with files cannot be replaced in one step
            draft.rename(path)
            shutil.rmtree(old)
        else:
            draft.replace(path)
    except BaseException:
        if draft.is_dir():
            shutil.rmtree(draft)
        else:
            draft.unlink(missing_ok=True)
        raise


def _files_of(draft: Path) -> list[Path]:
    return [file for file in draft.rglob("*") if file.is_file()] if draft.is_dir() else [draft]


def _check_size(draft: Path, most: int | None) -> int:
    size = sum(file.stat().st_size for file in _files_of(draft)) if draft.exists() else 0
    if most is not None and size > most:
        raise ResultTooLargeError(
            f"the result has more than {most} bytes; ask for fewer rows or columns, or allow more (max_bytes=)"
        )
    return size


def _bound(tables: Iterator[pa.Table], draft: Path, most: int | None) -> Iterator[pa.Table]:
    for table in tables:
        yield table
        if most is not None:
            _check_size(draft, most)


def _write_file(
    schema: pa.Schema,
    tables: Iterator[pa.Table],
    draft: Path,
    suffix: str,
    compression: str,
    json_columns: Collection[str],
) -> int:
    if suffix == ".parquet":
        return _write_parquet(schema, tables, draft, compression)
    if suffix == ".arrow":
        return _write_arrow(schema, tables, draft)
    with draft.open("w", encoding="utf-8", newline="") as file:
        if suffix == ".csv":
            return write_csv(schema, tables, file)
        return write_json(schema, tables, file, json_columns=json_columns)


def _write_parquet(schema: pa.Schema, tables: Iterator[pa.Table], draft: Path, compression: str) -> int:
    rows = 0
    with pq.ParquetWriter(draft, schema, compression=compression) as writer:
        for table in rechunk(tables, _GROUP_ROWS):
            writer.write_table(table)
            rows += table.num_rows
    return rows


def _write_arrow(schema: pa.Schema, tables: Iterator[pa.Table], draft: Path) -> int:
    """Write Arrow's file format, which ends with a footer: a file that was cut cannot be read, unlike a cut stream."""
    rows = 0
    with pa.OSFile(str(draft), "wb") as file, pa.ipc.new_file(file, schema) as writer:
        for table in tables:
            writer.write_table(table)
            rows += table.num_rows
    return rows


def _refuse_name_of_null(table: pa.Table, by: Sequence[str]) -> None:
    for name in by:
        if pa.types.is_string(table.schema.field(name).type) and _NULL in pc.unique(table.column(name)).to_pylist():
            raise ReadError(
                f"partition_by: column {name!r} holds the text {_NULL}, which means NULL in names of folders"
            )


def _write_folder(
    schema: pa.Schema, tables: Iterator[pa.Table], draft: Path, by: Sequence[str], compression: str
) -> int:
    """Write one or more files for each value, ``column=value/part-0-0.parquet``, like Hive.

    Arrow is given tables, not an iterator: it would call an iterator in a thread of its own, which continues after a failure and
    keeps the interpreter from ending.
    """
    import pyarrow.dataset as ds

    form = ds.ParquetFileFormat()
    rows = 0
    draft.mkdir()
    for number, table in enumerate(rechunk(tables, _FOLDER_ROWS)):
        rows += table.num_rows
        _refuse_name_of_null(table, by)
        ds.write_dataset(
            table,
            draft,
            format=form,
            file_options=form.make_write_options(compression=compression),
            partitioning=ds.partitioning(pa.schema([schema.field(name) for name in by]), flavor="hive"),
            basename_template=f"part-{number}-{{i}}.parquet",
            max_rows_per_group=_GROUP_ROWS,
            existing_data_behavior="overwrite_or_ignore",
        )
    return rows
