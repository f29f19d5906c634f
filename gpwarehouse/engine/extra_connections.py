"""Connections beside the one that a caller works on: as many as there are, for the work can be done by fewer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress

from sqlalchemy import exc
from sqlalchemy.engine import Connection

from gpwarehouse.errors import PoolTimeoutError

__all__ = ["extra_connections"]

PATIENCE_S = 5.0
"""A pooler may let us wait for a session that only our own end would free."""
_SERVER_IS_FULL = "53300"


def extra_connections(open_one: Callable[[], Connection], count: int) -> list[Connection]:
    """Up to ``count`` more connections; fewer where pool, pooler or server have no more to give within a moment.

    :param open_one: opens one, and sends its first statement: behind a pooler that is what waits. It runs in other threads.
    :raises: what ``open_one`` raises; those opened before are closed then.
    """
    opened: list[Connection] = []
    try:
        for _ in range(count):
            connection = _Opening(open_one).wait()
            if connection is None:
                break
            opened.append(connection)
    except BaseException:
        for connection in opened:
            connection.close()
        raise
    return opened


class _Opening:
    """A connection that is being opened; closed as soon as it is, if nobody waits any more."""

    def __init__(self, open_one: Callable[[], Connection]) -> None:
        self._open_one = open_one
        self._lock = threading.Lock()
        self._given_up = False
        self._connection: Connection | None = None
        self._error: BaseException | None = None
        self._done = threading.Event()
        threading.Thread(target=self._run, name="gpwarehouse-connect", daemon=True).start()

    def _run(self) -> None:
        try:
            connection = self._open_one()
        except BaseException as error:
            self._error = error
        else:
            with self._lock:
                if not self._given_up:
                    self._connection = connection
            if self._connection is None:
                with suppress(exc.SQLAlchemyError):
                    connection.close()
        self._done.set()

    def wait(self) -> Connection | None:
        try:
            self._done.wait(PATIENCE_S)
        finally:
            with self._lock:
                self._given_up = True
        error = self._error
        if error is None or isinstance(error, PoolTimeoutError):
            return self._connection
        if isinstance(error, exc.DBAPIError) and getattr(error.orig, "pgcode", None) == _SERVER_IS_FULL:
            return None
        raise error
