"""Files of tables → Arrow record batches: Parquet, CSV, Arrow IPC, one or many by a glob; never a whole file in memory."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable, Iterator
from os import PathLike, fspath
from pathlib import Path

import pyarrow as pa

from gpwarehouse.errors import InvalidInputError

__all__ = ["FILE_KINDS", "extent", "file_readers", "files_named", "files_of"]

FILE_KINDS = ".parquet, .pq, .csv, .tsv (these two also .gz, .bz2, .zst), .arrow, .ipc, .feather, .arrows"
READ_BYTES = 1 << 20
"""Of a column at a time: without it a row group, which may be the file, is in memory as a whole."""
_COMPRESSED = {".gz", ".bz2", ".zst"}
_SEPARATORS = {".csv": ",", ".tsv": "\t"}
_WHERE = re.compile(r"(?:Row #\d+: )?Expected \d+ columns, got \d+|[^:]*")


def files_of(path: str | PathLike[str]) -> list[Path]:
    """The files that a path or a glob (``2026-*/*.parquet``) names, sorted.

    :raises InvalidInputError: there is none.
    """
    name = fspath(path)
    names = [name] if Path(name).is_file() else glob.glob(name, recursive=True)  # noqa: PTH207 (takes absolute ones)
    found = sorted(map(Path, names))
    found = [file for file in found if file.is_file()]
    if not found:
        raise InvalidInputError(f"there is no file {name!r}")
    return found


def files_named(paths: str | PathLike[str] | Iterable[str | PathLike[str]]) -> list[tuple[Path, Exception | None]]:
    """The files that paths and globs name, none twice, in the order given; with an error those that name none."""
    found: dict[Path, Exception | None] = {}
    for path in [paths] if isinstance(paths, str | PathLike) else paths:
        try:
            found |= dict.fromkeys(files_of(path))
        except InvalidInputError as error:
            found[Path(path)] = error
    return list(found.items())


def extent(path: str | PathLike[str]) -> tuple[int | None, int | None]:
    """Rows and bytes of the files, as far as they tell without being read."""
    files = files_of(path)
    size = sum(file.stat().st_size for file in files)
    if {_kind(file) for file in files} <= {".parquet", ".pq"}:
        import pyarrow.parquet as pq

        try:
            return sum(pq.read_metadata(file).num_rows for file in files), size
        except (pa.ArrowException, OSError):
            pass  # told by whoever reads it
    return None, size


def file_readers(path: str | PathLike[str], batch_rows: int) -> Iterator[pa.RecordBatchReader]:
    """A reader for each of the files, one open at a time.

    The values of a CSV file are texts, which are read as those of any frame; an empty field without quotes is NULL.

    :raises InvalidInputError: there is no such file, its name tells no kind that is read, or it is none of that kind.
    """
    for file in files_of(path):
        try:
            yield from _readers(file, batch_rows)
        except (pa.ArrowException, OSError) as error:
            found = _WHERE.match(str(error).removeprefix("CSV parse error: "))  # what follows quotes the row
            raise InvalidInputError(
                f"{file}: it cannot be read: {found[0] if found else type(error).__name__}"
            ) from None


def _readers(file: Path, batch_rows: int) -> Iterator[pa.RecordBatchReader]:
    kind = _kind(file)
    if kind in (".parquet", ".pq"):
        import pyarrow.parquet as pq

        with pq.ParquetFile(file, buffer_size=READ_BYTES, pre_buffer=False) as parquet:
            yield pa.RecordBatchReader.from_batches(parquet.schema_arrow, parquet.iter_batches(batch_rows))
    elif kind in _SEPARATORS:
        yield _csv_reader(file, _SEPARATORS[kind])
    elif kind in (".arrow", ".ipc", ".feather", ".arrows"):
        yield from _ipc_readers(file)
    else:
        raise InvalidInputError(f"{file}: the name tells no kind of table; read are {FILE_KINDS}")


def _kind(file: Path) -> str:
    """The suffix that tells what is in it."""
    suffixes = [suffix.lower() for suffix in file.suffixes]
    if len(suffixes) > 1 and suffixes[-1] in _COMPRESSED and suffixes[-2] in _SEPARATORS:
        return suffixes[-2]
    return suffixes[-1] if suffixes else ""


def _csv_reader(file: Path, separator: str) -> pa.RecordBatchReader:
    import pyarrow.csv as pa_csv

    parse = pa_csv.ParseOptions(delimiter=separator, newlines_in_values=True)
    with pa_csv.open_csv(file, parse_options=parse) as first:
        names = first.schema.names
    convert = pa_csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()),
        null_values=[""],
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
    )
    return pa_csv.open_csv(file, parse_options=parse, convert_options=convert)


def _ipc_readers(file: Path) -> Iterator[pa.RecordBatchReader]:
    with pa.memory_map(str(file)) as source:
        try:
            opened = pa.ipc.open_file(source)
        except pa.ArrowInvalid:
            source.seek(0)
            yield pa.ipc.open_stream(source)
            return
        batches = (opened.get_batch(number) for number in range(opened.num_record_batches))
        yield pa.RecordBatchReader.from_batches(opened.schema, batches)
