"""Rows to the server by COPY, encoded by Arrow while the server reads.

CSV, because Arrow writes it at full speed and it tells the empty string (``""``) from NULL (nothing).
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
from sqlalchemy import Table
from sqlalchemy.engine import Connection

from gpwarehouse.engine import dialect_of, qualified_name

__all__ = ["copy_rows", "row_of_line"]


def copy_rows(connection: Connection, table: Table, batches: Iterable[pa.RecordBatch], columns: tuple[str, ...]) -> int:
    """COPY batches into ``columns`` of ``table``, in the connection's transaction; returns the rows the server took."""
    capabilities = dialect_of(connection).capabilities
    assert capabilities is not None
    names = ", ".join(connection.dialect.identifier_preparer.quote(name) for name in columns)
    target = qualified_name(connection, table)
    stream = _CsvStream(batches, columns, exact_floats=capabilities.exact_float_text)
    driver: Any = connection.connection
    with driver.cursor() as cursor:
        cursor.copy_expert(f"COPY {target} ({names}) FROM STDIN WITH (FORMAT csv, NULL '')", stream, 1 << 16)
        return int(cursor.rowcount)


def row_of_line(batches: Iterable[pa.RecordBatch], line: int) -> dict[str, Any] | None:
    """The row that a server means by a line of COPY: it counts the line feeds inside texts too."""
    passed = 0
    for batch in batches:
        lines = np.ones(batch.num_rows, np.int64)
        for array in batch.columns:
            if pa.types.is_string(array.type):
                lines += np.asarray(pc.fill_null(pc.count_substring(array, "\n"), 0))
        ends = passed + np.cumsum(lines)
        if batch.num_rows and line <= ends[-1]:
            return dict(batch.slice(int(np.searchsorted(ends, line)), 1).to_pylist()[0])
        passed += int(lines.sum())
    return None


class _CsvStream(io.RawIOBase):
    """What psycopg2 reads: never an empty read before the end, because that means the end."""

    def __init__(self, batches: Iterable[pa.RecordBatch], columns: tuple[str, ...], *, exact_floats: bool) -> None:
        self._chunks = self._encode(batches, columns, exact_floats)
        self._rest = memoryview(b"")

    @staticmethod
    def _encode(batches: Iterable[pa.RecordBatch], columns: tuple[str, ...], exact_floats: bool) -> Iterator[Any]:
        options = pa_csv.WriteOptions(include_header=False, quoting_style="needed")
        for batch in batches:
            if not batch.num_rows:
                continue
            batch = batch.select(list(columns))
            if not exact_floats:
                batch = _with_17_digits(batch)
            sink = pa.BufferOutputStream()
            pa_csv.write_csv(batch, sink, options)
            yield sink.getvalue()

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """Up to ``size`` bytes; empty only at the end."""
        if not self._rest:
            self._rest = memoryview(next(self._chunks, b""))
        size = len(self._rest) if size is None or size < 0 else size
        piece, self._rest = self._rest[:size], self._rest[size:]
        return bytes(piece)


def _with_17_digits(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Floats as text of 17 digits: servers before PostgreSQL 12 misread the shortest text, 32 times in a million."""
    arrays = [
        pa.array([None if v is None else f"{v:.17g}" for v in array.to_pylist()], pa.string())
        if pa.types.is_floating(array.type)
        else array
        for array in batch.columns
    ]
    return pa.RecordBatch.from_arrays(arrays, batch.schema.names)
