"""Batches between the first pass (check, resolve keys) and the second (COPY): first in memory, then on disk."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import IO, cast

import pyarrow as pa

__all__ = ["Spool"]

MEMORY_BYTES = 64 * 1024 * 1024
"""How much is kept in memory. If there is more, all of it moves to a compressed temporary file."""


class Spool:
    """A store that is written once, read as often as needed, and closed. Closing deletes its temporary file.

    A column that is NULL throughout a batch is not kept: facts have many columns, frames have few.

    :param keeps: whether rows are kept; else they are only counted.
    :ivar rows: number of rows.
    :ivar bytes: size of the rows in Arrow's form.
    :ivar filled: columns with a value in any row.
    """

    def __init__(self, keeps: bool = True) -> None:
        self._keeps = keeps
        self._file = cast(IO[bytes], tempfile.SpooledTemporaryFile(max_size=MEMORY_BYTES))  # noqa: SIM115
        self._writer: pa.RecordBatchStreamWriter | None = None
        self._schema: pa.Schema | None = None
        self.rows = self.bytes = 0
        self.filled: set[str] = set()

    def append(self, batch: pa.RecordBatch) -> None:
        """Keep a batch."""
        batch = batch.select([name for name in batch.schema.names if batch.column(name).null_count < batch.num_rows])
        self.rows += batch.num_rows
        self.bytes += batch.nbytes
        self.filled |= set(batch.schema.names)
        if not self._keeps:
            return
        if self._writer is None or batch.schema != self._schema:
            self._end_stream()
            options = pa.ipc.IpcWriteOptions(compression="lz4")
            self._writer, self._schema = pa.ipc.new_stream(self._file, batch.schema, options=options), batch.schema
        self._writer.write_batch(batch)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield the batches in order, each with the columns that have values. Nothing can be appended afterwards."""
        assert self._keeps
        self._end_stream()
        end = self._file.seek(0, 2)
        position = self._file.seek(0)
        while position < end:
            yield from pa.ipc.open_stream(self._file)
            position = self._file.tell()

    def _end_stream(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def close(self) -> None:
        """Delete what was kept."""
        self._file.close()
