"""COPY … TO STDOUT in a thread of its own, handed over in blocks: the server sends while Arrow parses."""

from __future__ import annotations

import contextlib
import io
import queue
import threading
from collections.abc import Callable, Generator, Iterator
from typing import Any

from gpwarehouse.engine import end_statement

__all__ = ["CopyOut", "CopyRows"]

_BLOCK_BYTES = 1 << 20
_BLOCKS_WAITING = 8
_ROWS_BYTES = 4 << 20
"""Bytes of a block of rows: it fits a core's cache together with its result."""
_ROW_BLOCKS_WAITING = 3
_LANES_BYTES = 8 << 20
"""Bytes of a block of messages with many rows: as many messages are parsed side by side."""


class CopyOut(io.RawIOBase):
    """The output of one COPY. Memory is bounded: if nobody takes the blocks, the server waits.

    :param connection: psycopg2's connection; nobody else may use it until :meth:`stop` or the end.
    :param blocks: queue for the blocks, if several outputs share one; None marks the end.
    """

    def __init__(self, connection: Any, statement: bytes, blocks: queue.Queue[Any] | None = None) -> None:
        self.rows = -1
        self._connection = connection
        self._statement = statement
        self._blocks: queue.Queue[Any] = queue.Queue(_BLOCKS_WAITING) if blocks is None else blocks
        self._error: BaseException | None = None
        self._stopped = False
        self._thread = threading.Thread(target=self._copy, name="gpwarehouse-copy", daemon=True)
        self._thread.start()

    def _copy(self) -> None:
        try:
            with self._connection.cursor() as cursor:
                self._take(cursor)
                self.rows = cursor.rowcount
        except BaseException as error:
            self._error = error
        self._put(None)

    def _take(self, cursor: Any) -> None:
        # psycopg2 writes row by row. The buffer is written in C, so a row costs no call in Python.
        with io.BufferedWriter(self, _BLOCK_BYTES) as buffer:
            cursor.copy_expert(self._statement, buffer)

    def writable(self) -> bool:
        """The buffer asks this."""
        return True

    def write(self, data: Any) -> int:
        """Take what the buffer has gathered. A refusal would leave the connection inside the COPY."""
        self._put(bytes(data))
        return len(data)

    def _put(self, block: Any) -> None:
        if not self._stopped:
            self._blocks.put(block)

    def pieces(self) -> Iterator[Any]:
        """Yield the output in pieces that may end anywhere; :class:`CopyRows` yields what it makes of whole rows.

        :raises psycopg2.Error: the server's error.
        """
        while (block := self._blocks.get()) is not None:
            yield block
        self.wait_for_end()

    def wait_for_end(self) -> None:
        """Wait for the end of the COPY, after its last block.

        :raises psycopg2.Error: the server's error.
        """
        self._thread.join()
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """Cancel the COPY if it runs, and wait for its end. Afterwards the connection may be used again."""
        self._stopped = True
        if self._thread.is_alive():
            end_statement(self._connection)
        while self._thread.is_alive():
            with contextlib.suppress(queue.Empty):
                while True:
                    self._blocks.get_nowait()
            self._thread.join(0.02)
        with contextlib.suppress(queue.Full):  # in that case there is something to take
            self._blocks.put_nowait(
                None
            )  # otherwise a thread that waits for blocks, like Arrow's writers, waits for ever


class CopyRows(CopyOut):
    """The output of one COPY BINARY, in lists of messages of whole rows.

    :param finish: makes the piece from a list, in this thread; by default the list is the piece.
    :param many: whether a message holds many rows, not one.
    """

    def __init__(
        self,
        connection: Any,
        statement: bytes,
        finish: Callable[[list[bytes]], Any] | None = None,
        blocks: queue.Queue[Any] | None = None,
        many: bool = False,
    ) -> None:
        self._bytes = _LANES_BYTES if many else _ROWS_BYTES
        waiting = 1 if many else _ROW_BLOCKS_WAITING
        self._finish = finish or (lambda rows: rows)
        self._failure: BaseException | None = None
        super().__init__(connection, statement, queue.Queue(waiting) if blocks is None else blocks)

    def _take(self, cursor: Any) -> None:
        self._copy_rows(cursor, self._statement)

    def _copy_rows(self, cursor: Any, statement: bytes) -> None:
        taking = self._receive()
        next(taking)
        try:
            cursor.copy_expert(statement, _Sink(taking.send))
            taking.send(b"")
        finally:
            if self._failure is not None:
                raise self._failure from None

    def _receive(self) -> Generator[None, bytes, None]:
        """Receive one row at a time; an empty one is the end. A generator is used because sending to it is the cheapest call."""
        while True:
            rows: list[bytes] = []
            size = 0
            while size < self._bytes:
                row = yield
                if not row:
                    break
                rows.append(row)
                size += len(row)
            if rows and not self._stopped and self._failure is None:
                self._hand_over(rows)

    def _hand_over(self, rows: list[bytes]) -> None:
        try:
            self._put(self._finish(rows))
        except BaseException as error:  # raised after the COPY, because otherwise the connection would stay inside it
            self._failure = error
            end_statement(self._connection)


class _Sink:
    """The file object that psycopg2 writes to."""

    def __init__(self, write: Callable[[bytes], Any]) -> None:
        self.write = write
