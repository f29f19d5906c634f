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
    """Written once, then read, as often as needed, then closed: its temporary file goes with it."""

    def __init__(self) -> None:
        self._file = cast(IO[bytes], tempfile.SpooledTemporaryFile(max_size=MEMORY_BYTES))  # noqa: SIM115
        self._writer: pa.RecordBatchStreamWriter | None = None
        self.rows = 0

    def append(self, batch: pa.RecordBatch) -> None:
        """Keep a batch; all must be of one schema."""
        if self._writer is None:
            options = pa.ipc.IpcWriteOptions(compression="lz4")
            self._writer = pa.ipc.new_stream(self._file, batch.schema, options=options)
        self._writer.write_batch(batch)
        self.rows += batch.num_rows

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The batches, in order; nothing can be appended any more."""
        if self._writer is None:
            return
        self._writer.close()
        self._file.seek(0)
        yield from pa.ipc.open_stream(self._file)

    def close(self) -> None:
        """Give up what was kept."""
        self._file.close()
