"""COPY … TO STDOUT on a thread of its own, handed over in blocks: the server sends while Arrow parses."""

from __future__ import annotations

import contextlib
import io
import queue
import threading
from collections.abc import Iterator
from typing import Any

import psycopg2

__all__ = ["CopyOut"]

_BLOCK_BYTES = 1 << 20
_BLOCKS_WAITING = 8


class CopyOut(io.RawIOBase):
    """The output of one COPY. Memory is bounded: when nobody takes the blocks, the server waits.

    :param connection: psycopg2's; nobody else may use it until :meth:`stop` or the end.
    """

    def __init__(self, connection: Any, statement: bytes) -> None:
        self.rows = -1
        self._connection = connection
        self._statement = statement
        self._blocks: queue.Queue[bytes | None] = queue.Queue(_BLOCKS_WAITING)
        self._error: BaseException | None = None
        self._stopped = False
        self._thread = threading.Thread(target=self._copy, name="gpwarehouse-copy", daemon=True)
        self._thread.start()

    def _copy(self) -> None:
        try:
            # psycopg2 writes row by row; the buffer is C, so a row costs no Python call.
            with io.BufferedWriter(self, _BLOCK_BYTES) as buffer, self._connection.cursor() as cursor:
                cursor.copy_expert(self._statement, buffer)
                self.rows = cursor.rowcount
        except BaseException as error:
            self._error = error
        self._put(None)

    def writable(self) -> bool:
        """For the buffer."""
        return True

    def write(self, data: Any) -> int:
        """Take what the buffer has gathered. Refusing it would leave the connection inside the COPY."""
        self._put(bytes(data))
        return len(data)

    def _put(self, block: bytes | None) -> None:
        if not self._stopped:
            self._blocks.put(block)

    def pieces(self) -> Iterator[bytes]:
        """The output, in pieces that end anywhere.

        :raises psycopg2.Error: the server's error.
        """
        while (block := self._blocks.get()) is not None:
            yield block
        self._thread.join()
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """Cancel the COPY if it runs, and wait for its end; the connection may be used again after it."""
        self._stopped = True
        if self._thread.is_alive():
            with contextlib.suppress(psycopg2.Error):
                self._connection.cancel()
        while self._thread.is_alive():
            with contextlib.suppress(queue.Empty):
                while True:
                    self._blocks.get_nowait()
            self._thread.join(0.02)
