"""A PostgreSQL of the fault suite's own, on a disk that is to survive, that can be killed, frozen and started again."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Self

import psutil
import psycopg2
from sqlalchemy import URL

from gpwarehouse.embedded import EmbeddedServer
from gpwarehouse.errors import EmbeddedServerError

__all__ = ["ROLE", "FaultServer"]

ROLE = "gpw_night"
PASSWORD = "s3cret-of-the-night"


class FaultServer:
    """Everything that can happen to a server. The role :data:`ROLE` logs in with a password that can expire."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="gpw-faults-", dir="/tmp"))
        self._folder.chmod(0o755)  # a standby's process, as root's other user, connects to the socket in it
        self._server = EmbeddedServer.start(self._folder / "pg")
        self._killed = 0
        self.address: dict[str, Any] = dict(self._server.url("postgres").query)
        data = self._server.path / "data"
        rules = (data / "pg_hba.conf").read_text()
        (data / "pg_hba.conf").write_text(f"local all {ROLE} scram-sha-256\n{rules}")
        self.ask("SELECT pg_reload_conf()")
        self.ask(f"CREATE ROLE {ROLE} SUPERUSER LOGIN PASSWORD '{PASSWORD}'")
        self.pid = int((data / "postmaster.pid").read_text().split()[0])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.thaw()
        with suppress(EmbeddedServerError):
            self._server.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def url(self, database: str) -> URL:
        """For the role with the password."""
        return self._server.url(database).set(username=ROLE, password=PASSWORD)

    def ask(self, statement: str, *values: Any, database: str = "postgres", patience_s: float = 60) -> list[Any]:
        """Run a statement past every wire, when the server can."""
        deadline = time.monotonic() + patience_s
        while True:
            try:
                with closing(psycopg2.connect(user="postgres", dbname=database, **self.address)) as connection:
                    connection.autocommit = True
                    with connection.cursor() as cursor:
                        cursor.execute(statement, values or None)
                        return list(cursor.fetchall()) if cursor.description else []
            except psycopg2.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    def _processes(self) -> list[psutil.Process]:
        with suppress(psutil.NoSuchProcess):
            postmaster = psutil.Process(self.pid)
            return [postmaster, *postmaster.children(recursive=True)]
        return []

    def kill(self) -> None:
        """``kill -9`` the server, all of it, as when the power goes."""
        for process in self._processes():
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def restart(self) -> None:
        """Start it again after :meth:`kill`, on its data."""
        deadline = time.monotonic() + 60
        with suppress(EmbeddedServerError):
            self._server.close()
        while True:
            try:
                self._server = EmbeddedServer.start(self._folder / "pg")
                break
            except EmbeddedServerError:
                if time.monotonic() > deadline:
                    raise
        self.pid = int((self._server.path / "data" / "postmaster.pid").read_text().split()[0])

    def freeze(self) -> None:
        """Stop every process of it (SIGSTOP): it answers nothing, and closes nothing."""
        for process in self._processes():
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        for process in reversed(self._processes()):
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGCONT)

    def backends(self) -> list[int]:
        """Processes that serve the role."""
        return [row[0] for row in self.ask("SELECT pid FROM pg_stat_activity WHERE usename = %s", ROLE)]

    def terminate(self) -> None:
        """End the role's sessions, as an administrator does."""
        self.ask("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", ROLE)

    def kill_backend(self) -> None:
        """``kill -9`` one of the role's backends; the server then ends all sessions and recovers."""
        for pid in self.backends()[:1]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            self._killed = pid

    def settle(self) -> None:
        """Wait until the server has noticed a killed backend, and takes connections again."""
        deadline = time.monotonic() + 60
        while self._killed and psutil.pid_exists(self._killed) and time.monotonic() < deadline:
            time.sleep(0.01)  # its postmaster reaps it when it notices
        self._killed = 0
        self.ask("SELECT 1")

    def expire(self) -> None:
        """Let the role's password expire, and end its sessions."""
        self.ask(f"ALTER ROLE {ROLE} VALID UNTIL '2001-01-01'")
        self.terminate()

    def renew(self) -> None:
        """Make the password good again."""
        self.ask(f"ALTER ROLE {ROLE} VALID UNTIL 'infinity'")
