"""Waits for the server that end when they are interrupted: Ctrl-C, or a signal's handler that raises."""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, TypeVar, cast

import psycopg2
from psycopg2.extensions import connection as DriverConnection
from psycopg2.extensions import cursor as DriverCursor
from psycopg2.extensions import get_wait_callback

from gpwarehouse.engine.copy_errors import last_message_kept

__all__ = ["InterruptibleConnection", "end_statement", "hang_up"]

Result = TypeVar("Result")

_SSL_REQUEST = struct.pack("!ii", 8, 80877103)
"""PostgreSQL's protocol, "SSLRequest": every server and pooler answers it at once with one byte."""
_ANSWER_S = 2.0
_END_S = 5.0
"""How long a server may take to end a statement that it was told to."""


class InterruptibleCursor(DriverCursor):
    """A cursor whose waits can be interrupted."""

    def execute(self, query: Any, vars: Any = None) -> None:
        """As the driver's."""
        _interruptible(self.connection, super().execute, query, vars)

    def executemany(self, query: Any, vars_list: Any) -> None:
        """As the driver's."""
        _interruptible(self.connection, super().executemany, query, vars_list)

    def copy_expert(self, sql: Any, file: Any, size: int = 8192) -> None:
        """As the driver's, but a server that ends the COPY says why: :func:`~gpwarehouse.engine.copy_errors.last_message_kept`.

        A file that may be long in giving its next piece has a ``break_off()`` that ends it.
        """
        break_off = getattr(file, "break_off", None)
        _interruptible(self.connection, self._copy, sql, file, size, break_off=break_off)

    def _copy(self, sql: Any, file: Any, size: int) -> None:
        with last_message_kept():  # in the thread that copies, where the driver prints
            super().copy_expert(sql, file, size)

    def fetchone(self) -> Any:
        """As the driver's."""
        return super().fetchone() if self.name is None else _interruptible(self.connection, super().fetchone)

    def fetchmany(self, size: int | None = None) -> Any:
        """As the driver's."""
        size = self.arraysize if size is None else size
        return (
            super().fetchmany(size) if self.name is None else _interruptible(self.connection, super().fetchmany, size)
        )

    def fetchall(self) -> Any:
        """As the driver's."""
        return super().fetchall() if self.name is None else _interruptible(self.connection, super().fetchall)


class InterruptibleConnection(DriverConnection):
    """psycopg2's connection (``connection_factory=``), of which every wait for the server can be interrupted."""

    def __init__(self, dsn: str, **options: Any) -> None:
        _interruptible(None, lambda: DriverConnection.__init__(self, dsn, **options))
        self.cursor_factory = InterruptibleCursor

    def commit(self) -> None:
        """As the driver's."""
        _interruptible(self, super().commit)

    def rollback(self) -> None:
        """As the driver's."""
        _interruptible(self, super().rollback)


def cancel(driver: Any) -> bool:
    """Tell the server to end the connection's statement, from any thread; whether the server could be told.

    psycopg2 holds Python's lock until the server has closed the connection on which it is told, so one that is frozen would
    stop the whole process.
    """
    if not _answers(driver):
        return False
    with suppress(psycopg2.Error):
        driver.cancel()
    return True


def end_statement(driver: Any) -> None:
    """End the wait for the connection's statement: :func:`cancel` it, or hang up."""
    if not cancel(driver):
        hang_up(driver)


def _answers(driver: Any) -> bool:
    """Whether the server takes connections and answers on them."""
    try:
        with _end_of(driver) as ours:
            family, peer = ours.family, ours.getpeername()
        if family == socket.AF_UNIX:  # the server names it from its own working directory
            peer = f"{driver.info.host}/.s.PGSQL.{driver.info.port}"
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.settimeout(_ANSWER_S)
            probe.connect(peer)
            probe.sendall(_SSL_REQUEST)
            return bool(probe.recv(1))
    except (OSError, psycopg2.Error):
        return False


def hang_up(driver: Any) -> None:
    """Shut a connection's socket down, from any thread. A thread that waits for the server's answer stops waiting."""
    with suppress(OSError, psycopg2.Error), _end_of(driver) as ours:
        ours.shutdown(socket.SHUT_RDWR)


def _end_of(driver: Any) -> socket.socket:
    return socket.socket(fileno=os.dup(driver.fileno()))


def _interruptible(
    driver: Any, call: Callable[..., Result], *args: Any, break_off: Callable[[], object] | None = None
) -> Result:
    """Call what waits for the server, so that Ctrl-C, or a signal's handler that raises, ends the wait.

    Python runs handlers in its main thread alone, and not while that is inside libpq. So the call is made in another
    thread; what interrupts the wait cancels the statement, and is raised when the server has ended it. A server that does
    not is hung up on. In other threads nothing can interrupt, and a driver that waits by a callback (gevent) can be.

    :param driver: None where a connection is only being made: it is closed as soon as it is.
    :param break_off: ends what of the call waits for something else than the server.
    """
    if threading.current_thread() is not threading.main_thread() or get_wait_callback() is not None:
        return call(*args)
    return cast(Result, _Call(driver, call, args, break_off).result())


class _Call:
    def __init__(
        self,
        driver: Any,
        call: Callable[..., Any],
        args: tuple[Any, ...],
        break_off: Callable[[], object] | None = None,
    ) -> None:
        self._driver, self._call, self._args, self._ends_otherwise = driver, call, args, break_off
        self._done = threading.Event()
        self._result: Any = None
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            self._result = self._call(*self._args)
        except BaseException as error:
            self._error = error
        self._done.set()

    def result(self) -> Any:
        _worker().put(self)
        try:
            self._done.wait()
        except BaseException:
            self._break_off()
            raise
        error, self._error = self._error, None
        if error is None:
            return self._result
        try:
            raise error
        finally:
            del error  # or it and this frame would keep each other

    def _break_off(self) -> None:
        if self._driver is None:
            _workers.pop(os.getpid()).put(None)  # that thread ends when it has come to the end of this
            return
        try:
            if self._ends_otherwise is not None:
                self._ends_otherwise()
            cancel(self._driver)
            self._done.wait(_END_S)
        finally:
            if not self._done.is_set():
                hang_up(self._driver)
                self._done.wait()


_workers: dict[int, SimpleQueue[_Call | None]] = {}


def _worker() -> SimpleQueue[_Call | None]:
    """The thread that makes the main thread's calls: one a process, for that makes one at a time."""
    pid = os.getpid()
    if pid not in _workers:
        _workers.clear()  # a parent's: a fork takes no threads along
        calls: SimpleQueue[_Call | None] = SimpleQueue()
        threading.Thread(target=_work, args=(calls,), name="gpw-statements", daemon=True).start()
        _workers[pid] = calls
    return _workers[pid]


def _work(calls: SimpleQueue[_Call | None]) -> None:
    while (call := calls.get()) is not None:
        call.run()
        del call  # with what it holds
