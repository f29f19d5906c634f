"""Work in threads that ends when its client leaves, its time is over, or the service stops."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from fastapi import Request

from gpwarehouse.engine import Cancellation
from gpwarehouse.service.problems import ClientGone, Problem

__all__ = ["Runner", "wait_until_gone"]

Result = TypeVar("Result")
_CANCELLERS = 8


class Runner:
    """Threads for queries, and others to cancel them, so that a cancel never waits for a query.

    :param threads: queries that can run at once.
    """

    def __init__(self, threads: int) -> None:
        self._threads = ThreadPoolExecutor(threads, "gpw-query")
        self._cancellers = ThreadPoolExecutor(_CANCELLERS, "gpw-cancel")
        self._running: set[Cancellation] = set()

    async def run(
        self,
        request: Request,
        timeout_s: float,
        work: Callable[[Cancellation], Result],
        discard: Callable[[Result], None] = lambda _: None,
    ) -> Result:
        """Run ``work`` in a thread, and cancel it if the client leaves or the time is over.

        The request's body must have been read.

        :param discard: is given the result of work that ended although it was cancelled.
        :raises ClientGone: the client has left; nothing of the work runs any more.
        :raises Problem: 504, the time is over.
        """
        cancel = Cancellation()
        self._running.add(cancel)
        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(self._threads, partial(work, cancel))
        watch = asyncio.ensure_future(wait_until_gone(request))
        try:
            await asyncio.wait((future, watch), timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
            if future.done():
                return future.result()
            future.add_done_callback(partial(_discard, discard))
            gone = watch.done()
            await self._end(cancel, future, "the client has left" if gone else "timeout")
            raise ClientGone if gone else _too_long(timeout_s)
        except asyncio.CancelledError:  # the server stops, and its time of grace is over
            future.add_done_callback(partial(_discard, discard))
            await asyncio.shield(self._end(cancel, future, "shutdown"))
            raise
        finally:
            watch.cancel()
            self._running.discard(cancel)

    async def _end(self, cancel: Cancellation, future: asyncio.Future[Any], reason: str) -> None:
        loop = asyncio.get_running_loop()
        with suppress(RuntimeError):  # close() has ended the threads, and has cancelled it
            await loop.run_in_executor(self._cancellers, cancel.cancel, reason)
        await asyncio.wait((future,), timeout=5)

    def close(self) -> None:
        """Cancel what still runs, and end the threads."""
        for _ in self._cancellers.map(lambda cancel: cancel.cancel("shutdown"), tuple(self._running)):
            pass
        self._threads.shutdown(cancel_futures=True)
        self._cancellers.shutdown()


def _discard(discard: Callable[[Any], None], future: asyncio.Future[Any]) -> None:
    """Discard a result. An error was asked for, or asyncio would log it as never seen."""
    if not future.cancelled() and future.exception() is None:
        discard(future.result())


def _too_long(timeout_s: float) -> Problem:
    return Problem(
        504, "timeout", f"the query took longer than {timeout_s:g} s, and was cancelled; ask for less, or as a job"
    )


async def wait_until_gone(request: Request) -> None:
    """Wait until the client leaves. The request's body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
