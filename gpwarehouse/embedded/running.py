"""One server that this process uses: made, started, joined, stopped."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import fasteners
import psutil
import psycopg2
from psycopg2 import errors, sql
from sqlalchemy.engine import URL

from gpwarehouse.embedded.disk import no_room
from gpwarehouse.embedded.lifetime import (
    DATA,
    LOCK,
    drop_stale_pid_file,
    end,
    postmaster,
    start_watcher,
    stays_up,
)
from gpwarehouse.embedded.network import open_port
from gpwarehouse.embedded.programs import Programs, find_programs, hand_over
from gpwarehouse.embedded.short_path import path_of_socket
from gpwarehouse.errors import EmbeddedServerError

__all__ = ["WAY_OUT", "RunningServer"]

WAY_OUT = "Give another path, or a server of your own by GPWAREHOUSE_URL."

_STARTING = "gpwarehouse.starting"
_UNFINISHED = "data.unfinished"
_DYING_SECONDS = 60.0
_RECOVERY_SECONDS = 600.0
# Nothing is to survive a temporary server, so nothing need be safe on its disk.
_CARELESS = ("-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off")
_FAILURES = (subprocess.SubprocessError, OSError, RuntimeError, psycopg2.Error, psutil.Error)
# Servers and watchers that this process started; they are reaped when they end.
_children: list[subprocess.Popen[Any]] = []


class RunningServer:
    """A server this process uses: shared by every EmbeddedServer on its path, and with other processes by the lock."""

    def __init__(self, home: Path, *, temporary: bool) -> None:
        self.home = home
        self.data = home / DATA
        self.temporary = temporary
        self.users = 0
        self.lock: Any = fasteners.InterProcessReaderWriterLock(home / LOCK)
        self.databases: set[str] = set()

    def start(self, port: int | None = None) -> None:
        """Start it, or join it where it runs.

        :param port: take connections on 127.0.0.1 too, with a password; see :mod:`gpwarehouse.embedded.network`.
        :raises EmbeddedServerError: it does not start; the message ends with its log.
        """
        try:
            self.lock.acquire_read_lock()
            _keep(start_watcher(self.home, temporary=self.temporary))
            with self.changing():
                if postmaster(self.data) is None:
                    self._launch(port)
                else:
                    self._await()
        except _FAILURES as error:
            self._abandon()
            raise self._explain(error) from error
        except BaseException:
            self._abandon()
            raise

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Only one process at a time starts it, or stops it for all."""
        with fasteners.InterProcessLock(self.home / _STARTING):
            yield

    def _explain(self, error: Exception) -> EmbeddedServerError:
        said = str(error) or type(error).__name__
        what = "did not start"
        return no_room(self.home, what, said) or EmbeddedServerError(
            f"the embedded PostgreSQL in {self.home} {what}: {said}\n{WAY_OUT}"
        )

    def _launch(self, port: int | None) -> None:
        if not (self.data / "PG_VERSION").exists():
            self._make_cluster()
        programs = find_programs(self.data)
        give_up = time.monotonic() + _DYING_SECONDS
        while True:
            drop_stale_pid_file(self.data)
            try:
                self._run(programs, port)
                return
            except RuntimeError as error:
                # Of a server that was killed, the processes may be just about to die.
                if "still in use" not in str(error) or time.monotonic() > give_up:
                    raise
                time.sleep(0.2)

    def _make_cluster(self) -> None:
        """In another directory first: one that is interrupted leaves nothing that looks whole."""
        unfinished = self.home / _UNFINISHED
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        hand_over(unfinished)
        programs = find_programs(unfinished)
        command = [programs.path("initdb"), "-D", programs.named(unfinished), "-U", "postgres", "--auth=trust"]
        command += ["--encoding=UTF8", "--no-instructions", *(["--no-sync"] if self.temporary else [])]
        ran = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
            **programs.arguments(unfinished),
        )
        if ran.returncode:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise RuntimeError(f"initdb failed:\n{_tail(ran.stdout, 20)}")
        unfinished.rename(self.data)

    def _run(self, programs: Programs, port: int | None) -> None:
        if os.name == "nt":
            where = ["-c", "listen_addresses=127.0.0.1", "-c", f"port={port or _free_port()}"]
        else:  # "." is its data directory: no path in a setting, whatever characters it has
            where = ["-c", "unix_socket_directories=."]
            where += (
                ["-c", "listen_addresses=", "-c", "port=5432"] if port is None else open_port(self.data, programs, port)
            )
        command = [programs.path("postgres"), "-D", programs.named(self.data), *where]
        command += _CARELESS if self.temporary else ()
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
        with os.fdopen(os.open(self.data / "log", flags, 0o600), "ab") as log:
            if programs.uid is not None and programs.gid is not None:
                os.fchown(log.fileno(), programs.uid, programs.gid)
            before = log.tell()
            process = subprocess.Popen(
                command,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # so that the signals of its starter's terminal do not reach it
                **programs.arguments(self.data),
            )
        _keep(process)
        try:
            self._await(process, before)
        except BaseException:
            process.terminate()
            raise

    def _await(self, process: subprocess.Popen[Any] | None = None, before: int = 0) -> None:
        """Wait until the server takes connections; it may have to recover first.

        :param process: it, where this process started it; ``before``: where its words begin in the log.
        """
        give_up = time.monotonic() + _RECOVERY_SECONDS
        while self._status() != "ready":
            ended = postmaster(self.data) is None if process is None else process.poll() is not None
            if ended or time.monotonic() > give_up:
                what = "it has ended" if ended else f"it is not ready after {_RECOVERY_SECONDS:.0f} s"
                raise RuntimeError(f"{what}\n{self.log_tail(since=before)}")
            time.sleep(0.01)

    def _pid_file(self) -> list[str]:
        try:
            return [line.strip() for line in (self.data / "postmaster.pid").read_text().splitlines()]
        except OSError:
            return []

    def _status(self) -> str | None:
        lines = self._pid_file()  # once: the server may be writing it anew
        return lines[7] if len(lines) > 7 else None

    def _abandon(self) -> None:
        """After a failed start: leave no half-started server behind, unless another process has it."""
        with suppress(*_FAILURES), self._leaving() as last:
            if last:
                end(postmaster(self.data), clean=False)

    @contextmanager
    def _leaving(self) -> Iterator[bool]:
        """Use it no more. True: nobody else does, and until the end of the block nobody begins to."""
        if os.name == "nt":  # whose locks cannot change their kind
            self.lock.release_read_lock()
        last = bool(self.lock.acquire_write_lock(blocking=False))
        try:
            yield last
        finally:
            if last or os.name != "nt":
                self.lock.release_write_lock()

    def open_port(self) -> int | None:
        """The port on 127.0.0.1 that it takes connections on, if it does."""
        lines = self._pid_file()
        return int(lines[3]) if len(lines) > 5 and lines[5] else None

    def address(self) -> dict[str, str]:
        """Host (or directory of the socket) and port. Both written out, because PGPORT would otherwise decide."""
        lines = self._pid_file()
        if len(lines) < 6:
            raise EmbeddedServerError(f"the embedded PostgreSQL in {self.home} has ended\n{self.log_tail()}")
        return {"host": lines[5] if os.name == "nt" else str(path_of_socket(self.data)), "port": lines[3]}

    def url(self, database: str) -> URL:
        """The URL of a database."""
        address = self.address()
        if os.name == "nt":
            return URL.create("postgresql+psycopg2", "postgres", None, address["host"], int(address["port"]), database)
        return URL.create("postgresql+psycopg2", username="postgres", database=database, query=address)

    def connect(self, database: str) -> Any:
        """A connection of psycopg2's, in autocommit."""
        options: dict[str, Any] = {**self.address(), "user": "postgres", "dbname": database, "connect_timeout": 10}
        connection = psycopg2.connect(**options)
        connection.autocommit = True
        return connection

    def make_database(self, database: str) -> None:
        """Make a database if it is not there (UTF-8, sorted as C.UTF-8)."""
        if database in self.databases:
            return
        with closing(self.connect("postgres")) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (database,))
            if cursor.fetchone() is None:
                statement = "CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8'"
                if connection.server_version >= 170000:
                    statement += " LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8'"
                # Another process may make it at the same moment; then it is there.
                with suppress(errors.DuplicateDatabase, errors.UniqueViolation):
                    cursor.execute(sql.SQL(statement).format(sql.Identifier(database)))
        self.databases.add(database)

    def stop(self) -> None:
        """Stop it unless another process uses it or it is to stay up; delete a temporary one.

        :raises EmbeddedServerError: it does not end.
        """
        try:
            with self._leaving() as last:
                if last and not stays_up(self.home):
                    self.end()
        except _FAILURES as error:
            raise EmbeddedServerError(
                f"the embedded PostgreSQL in {self.home} did not stop: {error}\n{self.log_tail()}"
            ) from error

    def end(self) -> None:
        """Stop it, whoever uses it; delete a temporary one."""
        try:
            end(postmaster(self.data), clean=not self.temporary)
        finally:
            if self.temporary:
                shutil.rmtree(self.home, ignore_errors=True)

    def log_tail(self, lines: int = 20, *, since: int = 0) -> str:
        """The last lines of its log."""
        try:
            return _tail((self.data / "log").read_bytes()[since:].decode("utf-8", "replace"), lines)
        except OSError:
            return "(it has written no log)"


def _tail(text: str, lines: int) -> str:
    return "\n".join(text.splitlines()[-lines:])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _keep(process: subprocess.Popen[Any] | None) -> None:
    """Remember a process of ours until it ends, and reap those that have."""
    _children[:] = [child for child in (*_children, process) if child is not None and child.poll() is None]
