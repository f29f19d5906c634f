"""Copy rows of archives in, in which every value must come back unchanged, and cut the CSV that a server sends into rows.

The format is CSV, because Arrow reads and writes it at full speed, and it distinguishes the empty string (``""``) from NULL
(nothing). The text of a value may be anything that the server reads for its type (``infinity``, years before Christ). The
formats of the loads, which check each value, do not accept all of these.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv
from sqlalchemy import Table
from sqlalchemy.engine import Connection

from gpwarehouse.engine import dialect_of, qualified_name
from gpwarehouse.errors import ReadError
from gpwarehouse.transport.number_text import arrays_as_text, format_exactly

__all__ = ["copy_in", "whole_rows"]


def copy_in(connection: Connection, table: Table, batches: Iterable[pa.RecordBatch], columns: tuple[str, ...]) -> int:
    """COPY batches into ``columns`` of ``table``, in the connection's transaction; return the number of stored rows.

    A column that a batch does not have is NULL in its rows.
    """
    capabilities = dialect_of(connection).capabilities
    assert capabilities is not None
    names = ", ".join(connection.dialect.identifier_preparer.quote(name) for name in columns)
    target = qualified_name(connection, table)
    stream = _CsvStream(batches, columns, exact_floats=capabilities.exact_float_text)
    driver: Any = connection.connection
    with driver.cursor() as cursor:
        try:
            cursor.copy_expert(f"COPY {target} ({names}) FROM STDIN WITH (FORMAT csv, NULL '')", stream, 1 << 16)
        except Exception:
            if stream.error is not None:  # the driver makes the server cancel the COPY, and reports only that
                raise stream.error from None
            raise
        return int(cursor.rowcount)


class _CsvStream(io.RawIOBase):
    """The file that psycopg2 reads. A read is empty only at the end, because an empty read means the end.

    :ivar error: the error that was raised while batches were made; the driver reports only its text.
    """

    error: BaseException | None = None

    def __init__(self, batches: Iterable[pa.RecordBatch], columns: tuple[str, ...], *, exact_floats: bool) -> None:
        self._chunks = self._encode(batches, columns, exact_floats)
        self._rest = memoryview(b"")

    @staticmethod
    def _encode(batches: Iterable[pa.RecordBatch], columns: tuple[str, ...], exact_floats: bool) -> Iterator[Any]:
        options = pa_csv.WriteOptions(include_header=False, quoting_style="needed")
        for batch in batches:
            if not batch.num_rows:
                continue
            none = pa.nulls(batch.num_rows, pa.string())
            there = set(batch.schema.names)
            arrays = [batch.column(name) if name in there else none for name in columns]
            batch = pa.RecordBatch.from_arrays(arrays, list(columns))
            batch = _format_numbers(batch, exact_floats=exact_floats)
            sink = pa.BufferOutputStream()
            pa_csv.write_csv(batch, sink, options)
            yield sink.getvalue()

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """Read up to ``size`` bytes; none only at the end."""
        if not self._rest:
            try:
                self._rest = memoryview(next(self._chunks, b""))
            except BaseException as error:
                self.error = error
                raise
        size = len(self._rest) if size is None or size < 0 else size
        piece, self._rest = self._rest[:size], self._rest[size:]
        return bytes(piece)


def _format_numbers(batch: pa.RecordBatch, *, exact_floats: bool) -> pa.RecordBatch:
    """Write lists, which Arrow's CSV does not have, as arrays, and the doubles that an old server would read wrongly."""
    arrays = list(batch.columns)
    for at, array in enumerate(arrays):
        if pa.types.is_list(array.type):
            arrays[at] = arrays_as_text(array, is_exact=exact_floats)
        elif pa.types.is_floating(array.type) and not exact_floats:
            arrays[at] = format_exactly(array.cast(pa.float64()))
    return pa.RecordBatch.from_arrays(arrays, batch.schema.names)


def whole_rows(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Cut a stream of CSV so that each block ends with a row.

    A line feed ends a row if the number of quotes before it is even, because quotes inside values are doubled. Arrow's own
    blocks lose the end of a line in a value that stands at the end of a block (apache/arrow#51368).

    :raises ReadError: the stream ended inside a row.
    """
    rest = b""
    for piece in pieces:
        block = rest + piece if rest else piece
        end = block.rfind(b"\n") + 1
        odd = block.count(b'"', 0, end) % 2
        while end and odd:
            before = block.rfind(b"\n", 0, end - 1) + 1
            odd = (odd + block.count(b'"', before, end)) % 2
            end = before
        if end:
            yield block[:end]
        rest = block[end:]
    if rest:
        raise ReadError("the server's answer ended inside a row, without a reason; read again")
