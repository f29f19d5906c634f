"""Turns: how many queries run at once, of one caller and of all, and who waits."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

from fastapi import Request

from gpwarehouse.service.access import Caller
from gpwarehouse.service.problems import ClientGone, retry_after
from gpwarehouse.service.running import wait_until_gone

__all__ = ["Turns"]


class Turns:
    """Admits queries in the order in which they come.

    :param concurrency: queries that run at once.
    :param per_caller: queries of one caller that run or wait.
    :param queue_s: longest wait for a turn.
    """

    def __init__(self, concurrency: int, per_caller: int, queue_s: float) -> None:
        self._free = asyncio.Semaphore(concurrency)
        self._per_caller, self._queue_s = per_caller, queue_s
        self._of_caller: Counter[str] = Counter()
        self.running = 0
        self.waiting = 0

    @asynccontextmanager
    async def turn(self, caller: Caller, request: Request) -> AsyncIterator[None]:
        """Wait for a turn, and hold it for the block. The request's body must have been read.

        :raises ClientGone: the client left before its turn came.
        :raises Problem: 429, the caller has too many queries; 503, there was no turn in time.
        """
        if self._of_caller[caller.id] >= self._per_caller:
            raise retry_after(
                429,
                "too-many-queries",
                f"{self._per_caller} queries of yours run or wait; wait until one of them has ended",
                1,
            )
        self._of_caller[caller.id] += 1
        try:
            await self._wait(request)
            self.running += 1
            try:
                yield
            finally:
                self.running -= 1
                self._free.release()
        finally:
            self._of_caller[caller.id] -= 1
            if not self._of_caller[caller.id]:
                del self._of_caller[caller.id]

    async def _wait(self, request: Request) -> None:
        if not self._free.locked():
            await self._free.acquire()
            return
        self.waiting += 1
        watch = asyncio.ensure_future(wait_until_gone(request))
        try:
            async with asyncio.timeout(self._queue_s) as limit:
                watch.add_done_callback(partial(_expire, limit))
                await self._free.acquire()
        except TimeoutError:
            if watch.done():  # so the wait was ended before its time
                raise ClientGone from None
            raise retry_after(503, "busy", f"no query ended within {self._queue_s:g} s; try again") from None
        finally:
            watch.cancel()
            self.waiting -= 1


def _expire(limit: asyncio.Timeout, watch: asyncio.Future[Any]) -> None:
    """End a wait at once, unless it is over."""
    if not watch.cancelled():
        with suppress(RuntimeError):
            limit.reschedule(0)
