"""Batches kept between the first pass (validate, resolve) and the second (COPY): in memory, then on disk."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from types import TracebackType
from typing import IO, Self, cast

import pyarrow as pa

__all__ = ["Spool"]

MEMORY_BYTES = 64 * 1024 * 1024
"""What is kept in memory; beyond that a temporary file takes it all, compressed."""


class Spool:
    """Write once, read once. A context manager: its temporary file goes with it."""

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
        """The batches, in order."""
        if self._writer is None:
            return
        self._writer.close()
        self._file.seek(0)
        yield from pa.ipc.open_stream(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
