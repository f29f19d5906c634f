"""The rows of a pyarrow Dataset, file by file. A column that a file does not have was not given, which is not NULL."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from gpwarehouse.errors import InvalidInputError
from gpwarehouse.intake.table_files import reason_of

__all__ = ["dataset_batches"]

_FILE = "__filename"
"""The scanner's name for the column with the file of a row."""


def dataset_batches(dataset: Any, batch_rows: int) -> Iterator[pa.RecordBatch]:
    """Yield batches of at most ``batch_rows`` rows, each with the columns of the dataset that its file or folder has.

    Rows that are in no file, e.g. those of a table in memory, have all columns.

    :raises InvalidInputError: a file cannot be read; the message names it.
    """
    parts = {file: part for part in _walk_parts(dataset) for file in getattr(part, "files", ())}
    there: dict[str, set[str]] = {}
    columns = [*dataset.schema.names, _FILE]
    scanner = dataset.scanner(columns=columns, batch_size=batch_rows, batch_readahead=1, fragment_readahead=1)
    for file, batch in _read_with_files(dataset, scanner):
        if file not in there:
            part = parts.get(file)
            schema = dataset.schema if part is None else part.format.inspect(file, part.filesystem)
            folder = [name for name in columns[:-1] if batch.column(name).null_count < batch.num_rows]
            there[file] = {*schema.names, *folder}
        yield batch.select([name for name in columns[:-1] if name in there[file]])


def _read_with_files(dataset: Any, scanner: Any) -> Iterator[tuple[str, pa.RecordBatch]]:
    """Yield the batches that have rows, each with its file."""
    file = None
    try:
        for batch in scanner.to_reader():
            if batch.num_rows:
                file = batch.column(_FILE)[0].as_py()
                yield file, batch
    except (pa.ArrowException, OSError) as error:
        raise InvalidInputError(
            f"{_find_bad_file(dataset, file)}: the file cannot be read: {reason_of(error)}"
        ) from None


def _find_bad_file(dataset: Any, last: str | None) -> str:
    """Find the file of a dataset that cannot be read: the file of the last rows, or one of the next two."""
    try:
        fragments = list(dataset.get_fragments())
    except (ValueError, pa.ArrowException):  # a filtered dataset does not list its files
        return "a file of the dataset"
    paths = [getattr(fragment, "path", None) for fragment in fragments]
    first = paths.index(last) if last in paths else 0
    for fragment, path in list(zip(fragments, paths, strict=True))[first : first + 3]:
        try:
            for _ in fragment.to_batches():
                pass
        except (pa.ArrowException, OSError):
            return str(path or "a part of the dataset")
    return "a file of the dataset"


def _walk_parts(dataset: Any) -> Iterator[Any]:
    """Yield the datasets that a union of datasets consists of."""
    if hasattr(dataset, "children"):
        for child in dataset.children:
            yield from _walk_parts(child)
    else:
        yield dataset
