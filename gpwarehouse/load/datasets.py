"""The rows of a pyarrow Dataset, file by file: a column that a file does not have was not given in it, and is not NULL."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

__all__ = ["dataset_batches"]

_FILE = "__filename"
"""What a scanner calls the file that a batch is of."""


def dataset_batches(dataset: Any, batch_rows: int) -> Iterator[pa.RecordBatch]:
    """Batches of at most ``batch_rows`` rows, each with those columns of the dataset that its file, or its folder, has.

    What is in no file, a table in memory say, has all of them.
    """
    parts = {file: part for part in _parts(dataset) for file in getattr(part, "files", ())}
    there: dict[str, set[str]] = {}
    columns = [*dataset.schema.names, _FILE]
    scanner = dataset.scanner(columns=columns, batch_size=batch_rows, batch_readahead=1, fragment_readahead=1)
    for batch in scanner.to_reader():
        if not batch.num_rows:
            continue
        file = batch.column(_FILE)[0].as_py()
        if file not in there:
            part = parts.get(file)
            schema = dataset.schema if part is None else part.format.inspect(file, part.filesystem)
            folder = [name for name in columns[:-1] if batch.column(name).null_count < batch.num_rows]
            there[file] = {*schema.names, *folder}
        yield batch.select([name for name in columns[:-1] if name in there[file]])


def _parts(dataset: Any) -> Iterator[Any]:
    """The datasets of which a union of datasets is made."""
    if hasattr(dataset, "children"):
        for child in dataset.children:
            yield from _parts(child)
    else:
        yield dataset
