"""Encoded rows as a file that psycopg2 reads, encoded by a thread while the server works.

The thread is one chunk ahead and no more. So memory is two chunks, whatever the size of the load, and no thread can wait for
ever on a full queue when the server refuses.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, InvalidStateError, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

__all__ = ["EncodedStream", "ahead"]

T = TypeVar("T")


@contextmanager
def ahead(items: Iterator[T], patience_s: float | None = None) -> Iterator[Iterator[T]]:
    """Make each next item in a thread while the current one is used. The thread ends with the block.

    The items raise TimeoutError if one is not ready ``patience_s`` after it is asked for.
    """
    end = object()

    def handed_over() -> Iterator[T]:
        coming: Future[Any] = thread.submit(next, items, end)
        while (item := coming.result(patience_s)) is not end:
            coming = thread.submit(next, items, end)
            yield item
            del item

    with ThreadPoolExecutor(1, "gpwarehouse-ahead") as thread:
        yield handed_over()


class EncodedStream(io.RawIOBase):
    """The file that ``copy_expert`` reads. A read is empty only at the end, because an empty read means the end.

    It is a context manager: its thread ends with it.

    :param chunks: objects with the buffer protocol, made in the thread.
    :ivar sent: bytes given to the reader.
    :ivar error: the error that was raised while chunks were made; the driver reports only its text.
    """

    def __init__(self, chunks: Iterator[Any]) -> None:
        self._chunks = chunks
        self._thread = ThreadPoolExecutor(1, "gpwarehouse-encode")
        self._ahead: Future[Any] = self._thread.submit(self._next)
        self._broken_off: Future[Any] = Future()
        self._rest = memoryview(b"")
        self.sent = 0
        self.error: BaseException | None = None

    def _next(self) -> memoryview | None:
        for chunk in self._chunks:
            if len(chunk):
                return memoryview(chunk)
        return None

    def readable(self) -> bool:
        """Always True."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Read up to ``size`` bytes; none only at the end."""
        if not self._rest:
            try:
                wait((self._ahead, self._broken_off), return_when=FIRST_COMPLETED)
                if self._broken_off.done():
                    raise CancelledError("the load was interrupted")
                ahead = self._ahead.result()
            except BaseException as error:
                self.error = error
                raise
            if ahead is None:
                return b""
            self._rest = ahead
            self._ahead = self._thread.submit(self._next)
        size = len(self._rest) if size is None or size < 0 else size
        piece, self._rest = bytes(self._rest[:size]), self._rest[size:]
        self.sent += len(piece)
        return piece

    def break_off(self) -> None:
        """Make the reader, in another thread, stop waiting for the next chunk."""
        with suppress(InvalidStateError):
            self._broken_off.set_result(None)

    def close(self) -> None:
        """End the thread, after the chunk that it is making."""
        self._thread.shutdown(wait=True, cancel_futures=True)
        super().close()
