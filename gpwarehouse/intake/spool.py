"""Batches kept between the first pass (validate, resolve) and the second (COPY): in memory, then on disk."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import IO, cast

import pyarrow as pa

__all__ = ["Spool"]

MEMORY_BYTES = 64 * 1024 * 1024
"""What is kept in memory; beyond that a temporary file takes it all, compressed."""


class Spool:
    """Written once, then read, as often as needed, then closed: its temporary file goes with it.

    A column of a batch that is NULL throughout is not kept: facts are wide, frames are narrow.

    :param keeps: else it only counts.
    :ivar rows: rows kept; ``bytes``: of them in Arrow's form; ``filled``: columns with a value in any of them.
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
        """The batches, in order, each with the columns it has values of; nothing can be appended any more."""
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
        """Give up what was kept."""
        self._file.close()
