"""Read files with tables as Arrow record batches: Parquet, CSV, Arrow IPC, one file or many by a glob; in bounded memory.
The checksum of their bytes tells whether they were loaded before.
"""

from __future__ import annotations

import glob
import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from os import PathLike, fspath
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from gpwarehouse.errors import InvalidInputError
from gpwarehouse.intake.csv import CsvOptions, csv_batches
from gpwarehouse.intake.decompress import DAMAGE, unpacked
from gpwarehouse.intake.expected_columns import Expected

__all__ = ["FILE_KINDS", "TableFiles", "file_batches", "files_named", "files_of", "reason_of", "table_files"]

FILE_KINDS = ".parquet, .pq, .csv, .tsv (these two also .gz, .bz2, .zst), .arrow, .ipc, .feather, .arrows"
READ_BYTES = 1 << 20
"""Bytes of a column that are read at a time. Without it a whole row group, perhaps the whole file, is in memory."""
_COMPRESSED = {".gz", ".bz2", ".zst"}
_SEPARATORS = {".csv": ",", ".tsv": "\t"}
_WHERE = re.compile(r"(?:Row #\d+: )?Expected \d+ columns, got \d+|[^:]*")


def files_of(path: str | PathLike[str]) -> list[Path]:
    """Find the files that a path or a glob (``2026-*/*.parquet``) names, sorted.

    :raises InvalidInputError: there is none.
    """
    name = fspath(path)
    try:
        names = [name] if Path(name).is_file() else glob.glob(name, recursive=True)  # noqa: PTH207 (absolute patterns too)
        found = [file for file in sorted(map(Path, names)) if file.is_file()]
    except OSError as error:
        raise InvalidInputError(f"{name}: cannot search for this file: {error.strerror}") from None
    if not found:
        raise InvalidInputError(f"there is no file {name!r}")
    return found


_State = tuple[int, int, int]
"""Inode, size and time of the last change of a file: another one is another content."""


@dataclass(frozen=True)
class TableFiles:
    """Files with tables as a frame: the list of files, fixed once, and the options of their CSV."""

    paths: tuple[Path, ...]
    csv: CsvOptions
    _hashed: dict[Path, _State] = field(default_factory=dict, init=False, repr=False, compare=False)
    """The states of the files when their checksum was taken."""

    def extent(self) -> tuple[int | None, int | None]:
        """Rows and bytes of the files, as far as they are known without reading the files."""
        try:
            size = sum(file.stat().st_size for file in self.paths)
            if {_kind_of(file) for file in self.paths} <= {".parquet", ".pq"}:
                import pyarrow.parquet as pq

                return sum(pq.read_metadata(file).num_rows for file in self.paths), size
        except (pa.ArrowException, OSError):  # the reader of the files reports it
            return None, None
        return None, size

    def checksum(self) -> str:
        """SHA-256 of the bytes of the files, of the kind that each is read as, and of ``csv``.

        :raises InvalidInputError: one cannot be read, or changes meanwhile.
        """
        total = hashlib.sha256(repr(self.csv).encode())
        for file in self.paths:
            try:
                with _check_unchanged(file) as state, file.open("rb") as opened:
                    self._hashed[file] = state
                    total.update(_kind_of(file).encode() + hashlib.file_digest(opened, "sha256").digest())
            except InvalidInputError as error:
                raise InvalidInputError(f"{file}: {error}") from None
            except OSError as error:
                raise InvalidInputError(f"{file}: it cannot be read: {reason_of(error)}") from None
        return total.hexdigest()


def table_files(frame: Any, csv: CsvOptions | None = None) -> Any:
    """Find the files that a path or a glob names; another frame is returned as it is.

    :param csv: the options of CSV files among them.
    :raises InvalidInputError: there is no such file, or ``csv`` is given and ``frame`` is not a file.
    """
    if csv is not None and not isinstance(csv, CsvOptions):
        raise InvalidInputError(f"csv={csv!r}: give gpwarehouse.CsvOptions(…)")
    if isinstance(frame, str | PathLike):
        return TableFiles(tuple(files_of(frame)), csv or CsvOptions())
    if csv is not None:
        raise InvalidInputError(f"csv= describes CSV files, but the frame is a {type(frame).__name__}; leave csv= out")
    return frame


def files_named(paths: str | PathLike[str] | Iterable[str | PathLike[str]]) -> list[tuple[Path, Exception | None]]:
    """Find the files that paths and globs name, each once, in the order given; a path that names no file has an error."""
    found: dict[Path, Exception | None] = {}
    for path in [paths] if isinstance(paths, str | PathLike) else paths:
        try:
            found |= dict.fromkeys(files_of(path))
        except InvalidInputError as error:
            found[Path(path)] = error
    return list(found.items())


def file_batches(files: TableFiles, batch_rows: int, expected: Expected | None = None) -> Iterator[pa.RecordBatch]:
    """Yield the record batches of the files, with one file open at a time; for a file without rows, one batch without rows.

    The values of a CSV file are texts. They are converted like those of any frame.

    :param expected: the columns that the files may have; None if that is not known.
    :raises InvalidInputError: a file cannot be read, its name has no known suffix, its content does not match its suffix, it is
        damaged, or it changed while it was read. The message names the file. From its rows it quotes only the bad value.
    """
    for file in files.paths:
        try:
            with _check_unchanged(file, files._hashed.get(file)):
                yield from _read_file(file, batch_rows, expected, files.csv)
        except InvalidInputError as error:
            raise InvalidInputError(f"{file}: {error}") from None
        except (pa.ArrowException, OSError, UnicodeError, *DAMAGE) as error:
            raise InvalidInputError(f"{file}: the file cannot be read: {reason_of(error)}") from None


def reason_of(error: Exception) -> str:
    """Why something cannot be read, from the message of Arrow or the system, without the row that it quotes."""
    if isinstance(error, EOFError):
        return "the compressed data ends too early; the file is cut off"
    if isinstance(error, OSError) and error.strerror and not isinstance(error, pa.ArrowException):
        return error.strerror
    found = _WHERE.match(str(error).removeprefix("CSV parse error: "))  # what follows quotes the row
    return found[0] if found and found[0] else type(error).__name__


@contextmanager
def _check_unchanged(file: Path, known: _State | None = None) -> Iterator[_State]:
    """Check that the file does not change during the block, nor was changed since it was ``known``; gives its state."""
    with file.open("rb") as held:
        before = known or _state_of(held)
        try:
            yield before
        finally:
            if _state_of(held) != before:
                raise InvalidInputError("the file changed while it was read; load it when it is completely written")


def _read_file(file: Path, batch_rows: int, expected: Expected | None, csv: CsvOptions) -> Iterator[pa.RecordBatch]:
    kind = _kind_of(file)
    if kind in _SEPARATORS:
        with unpacked(file) as stream:
            yield from csv_batches(stream, csv, expected, delimiter=_SEPARATORS[kind])
    elif kind in (".parquet", ".pq"):
        import pyarrow.parquet as pq

        with pq.ParquetFile(file, buffer_size=READ_BYTES, pre_buffer=False, page_checksum_verification=True) as parquet:
            yield from _read_batches(parquet.schema_arrow, parquet.iter_batches(batch_rows), expected)
    elif kind in (".arrow", ".ipc", ".feather", ".arrows"):
        yield from _read_ipc(file, expected)
    else:
        raise InvalidInputError(f"the suffix of the file is not known; the known ones are {FILE_KINDS}")


def _read_batches(
    schema: pa.Schema, batches: Iterable[pa.RecordBatch], expected: Expected | None
) -> Iterator[pa.RecordBatch]:
    """Yield the batches, or one without rows."""
    if expected is not None:
        expected.check(schema.names)
    rows = 0
    for batch in batches:
        rows += batch.num_rows
        yield batch
    if not rows:
        yield pa.RecordBatch.from_arrays([pa.nulls(0, field.type) for field in schema], schema=schema)


def _kind_of(file: Path) -> str:
    """The suffix that says what the file holds."""
    suffixes = [suffix.lower() for suffix in file.suffixes]
    if len(suffixes) > 1 and suffixes[-1] in _COMPRESSED and suffixes[-2] in _SEPARATORS:
        return suffixes[-2]
    return suffixes[-1] if suffixes else ""


def _read_ipc(file: Path, expected: Expected | None) -> Iterator[pa.RecordBatch]:
    with pa.memory_map(str(file)) as source:
        try:
            opened = pa.ipc.open_file(source)
        except pa.ArrowInvalid:
            source.seek(0)
            stream = pa.ipc.open_stream(source)
            yield from _read_batches(stream.schema, map(_validate, stream), expected)
            return
        batches = (_validate(opened.get_batch(number)) for number in range(opened.num_record_batches))
        yield from _read_batches(opened.schema, batches, expected)


def _validate(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Check a batch that is memory-mapped from a file: a damaged one would be read beyond its end."""
    batch.validate(full=True)
    return batch


def _state_of(opened: IO[bytes]) -> _State:
    state = os.fstat(opened.fileno())
    return state.st_ino, state.st_size, state.st_mtime_ns
