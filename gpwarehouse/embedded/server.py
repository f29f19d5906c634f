"""The embedded server as its users see it, and the folders that servers are in."""

from __future__ import annotations

import atexit
import logging
import os
import shutil
import threading
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from sqlalchemy.engine import URL

from gpwarehouse.embedded.programs import wheel_programs
from gpwarehouse.errors import EmbeddedServerError

if TYPE_CHECKING:
    from gpwarehouse.embedded.running import RunningServer

__all__ = ["EmbeddedServer"]

_logger = logging.getLogger(__name__)

# By process too: after a fork the child finds its parent's servers here, and they are not its own.
_running: dict[tuple[int, Path], RunningServer] = {}
_guard = threading.RLock()


class EmbeddedServer:
    """A running embedded PostgreSQL; a context manager that stops it. See the module for what it takes care of.

    >>> with EmbeddedServer.start() as server:  # doctest: +SKIP
    ...     engine = create_engine(server.url())
    """

    def __init__(self, running: RunningServer) -> None:
        self._running: RunningServer | None = running
        self._pid = os.getpid()
        self.path = running.home
        """Its directory: PostgreSQL's data in ``data``, its log in ``data/log``."""
        self.temporary = running.temporary
        """Whether the directory is deleted at the end."""

    @classmethod
    def start(cls, path: Path | str | None = None, *, port: int | None = None) -> Self:
        """Start a server, or join the one that runs on this path (started by this process or another).

        ``path`` is a directory of its own, made if missing, whose data is kept; None makes a temporary one that is
        deleted at the end, with durability switched off. What is still open when the interpreter exits is closed then.
        ``port`` is one on 127.0.0.1 that it listens on too, with a password; where it runs already, without effect.

        Raises :class:`~gpwarehouse.errors.MissingExtraError` without the extra ``embedded``, and
        :class:`~gpwarehouse.errors.EmbeddedServerError`, with the end of the server's log, if it does not start.
        """
        with _guard:
            wheel_programs()  # without the extra, what follows could not be imported
            from gpwarehouse.embedded.folders import kept_folder, temporary_folder
            from gpwarehouse.embedded.running import RunningServer

            home = temporary_folder([home for _, home in _running]) if path is None else kept_folder(Path(path))
            key = (os.getpid(), home)
            running = _running.get(key)
            if running is None:
                running = RunningServer(home, temporary=path is None)
                try:
                    running.start(port)
                except EmbeddedServerError:
                    if running.temporary:
                        shutil.rmtree(home, ignore_errors=True)
                    raise
                _running[key] = running
            running.users += 1
            server = cls(running)
            atexit.register(server._close_at_exit)
            return server

    def url(self, database: str = "gpwarehouse") -> URL:
        """The URL of a database of the server, which is made if it is not there (UTF-8, sorted as C.UTF-8)."""
        running = self._running
        if running is None:
            raise EmbeddedServerError(f"the embedded PostgreSQL in {self.path} is closed; start it again")
        with _guard:
            running.make_database(database)
            return running.url(database)

    def log_tail(self, lines: int = 20) -> str:
        """The last lines of the server's log."""
        return self._running.log_tail(lines) if self._running else ""

    def close(self) -> None:
        """Stop the server if nobody else uses it. A second call, or one in a forked child, does nothing."""
        with _guard:
            running, self._running = self._running, None
            if running is None or os.getpid() != self._pid:
                return
            atexit.unregister(self._close_at_exit)
            running.users -= 1
            if running.users == 0:
                del _running[self._pid, running.home]
                running.stop()

    def _close_at_exit(self) -> None:
        try:
            self.close()
        except EmbeddedServerError as error:
            _logger.warning("%s", error)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._running is None else "temporary" if self.temporary else "kept"
        return f"<EmbeddedServer {self.path} ({state})>"
