"""Cancel what a thread asks the server, from another thread: before it begins, or at any time later."""

from __future__ import annotations

import threading
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Any, Self

from sqlalchemy import event
from sqlalchemy.engine import Engine
from sqlalchemy.pool import ConnectionPoolEntry

from gpwarehouse.engine.interrupts import end_statement
from gpwarehouse.errors import ReadCancelledError

__all__ = ["Cancellation", "watch_connections"]

_AGAIN_S = 0.2
"""A request to cancel that arrives between two statements has no effect, so it is repeated."""
_HOLDER = "gpwarehouse_cancellation"
_current: ContextVar[Cancellation | None] = ContextVar("gpwarehouse_cancellation", default=None)


class Cancellation:
    """A block whose statements another thread can cancel.

    >>> cancellation = Cancellation()                          # doctest: +SKIP
    >>> with cancellation:                                     # doctest: +SKIP
    ...     wh.read("SELECT * FROM dw.fact_test_results")
    >>> cancellation.cancel("the user has left")               # in another thread   # doctest: +SKIP

    Reads then raise :class:`~gpwarehouse.errors.ReadCancelledError`. Other work ends with the error that it has for a statement
    that the server cancelled. It holds for connections that the block's own thread takes from the warehouse's pool.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._drivers: list[Any] = []
        self._reason: str | None = None
        self._token: Token[Cancellation | None] | None = None

    @staticmethod
    def current() -> Cancellation | None:
        """The cancellation around the caller; None if there is none."""
        return _current.get()

    @property
    def reason(self) -> str | None:
        """Why it was cancelled; None while it is not."""
        return self._reason

    def __enter__(self) -> Self:
        self._token = _current.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._token is not None
        _current.reset(self._token)

    def cancel(self, reason: str = "cancelled", *, wait_s: float = 5.0) -> bool:
        """End the statements that run in the block, and refuse those that would begin.

        :param reason: for the error's message.
        :param wait_s: how long to wait until the block has given its connections back.
        :return: whether it has none any more.
        """
        with self._changed:
            self._reason = self._reason or reason
            # The lock is held while the server is told, so a connection cannot be given to another user meanwhile.
            for _ in range(max(1, round(wait_s / _AGAIN_S))):
                for driver in self._drivers:
                    end_statement(driver)
                if self._changed.wait_for(lambda: not self._drivers, _AGAIN_S):
                    return True
            return not self._drivers

    def check(self) -> None:
        """Raise the error of a cancelled read.

        :raises ReadCancelledError: it was cancelled.
        """
        if self._reason is not None:
            raise ReadCancelledError(f"the read was cancelled: {self._reason}")

    def _attach(self, driver: Any) -> None:
        with self._changed:
            self.check()
            self._drivers.append(driver)

    def _detach(self, driver: Any) -> None:
        with self._changed:
            self._drivers = [each for each in self._drivers if each is not driver]
            self._changed.notify_all()


def watch_connections(engine: Engine) -> None:
    """Tell cancellations of the connections that their blocks take from this engine's pool, and give back."""

    @event.listens_for(engine, "checkout")
    def attach(driver: Any, record: ConnectionPoolEntry, _fairy: Any) -> None:
        cancellation = Cancellation.current()
        if cancellation is not None:
            cancellation._attach(driver)
            record.info[_HOLDER] = (cancellation, driver)

    def detach(_driver: Any, record: ConnectionPoolEntry, *_: Any) -> None:
        holder, driver = record.info.pop(_HOLDER, (None, None))
        if holder is not None:
            holder._detach(driver)

    @event.listens_for(engine, "before_cursor_execute")
    def refuse(*_: Any) -> None:
        """Refuse statements after the cancel: on a connection that a block keeps, it may have hit the pause between two."""
        if (cancellation := Cancellation.current()) is not None:
            cancellation.check()

    event.listen(engine, "checkin", detach)
    event.listen(engine, "invalidate", detach)
