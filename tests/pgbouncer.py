"""A real pgbouncer between the tests and their server, with few server sessions, so that clients share them."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psycopg2
import pytest
from sqlalchemy import URL

__all__ = ["Pooler", "pgbouncer"]

Mode = Literal["transaction", "session"]
# Debian puts the program where only root's PATH looks.
PROGRAM = shutil.which("pgbouncer", path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin")))


@dataclass(frozen=True)
class Pooler:
    """A running pgbouncer.

    :ivar sessions: how many sessions of the server it opens for a database; ``server``: the way past it.
    """

    server: URL
    port: int
    sessions: int
    log: Path

    def url(self, database: str | None = None) -> URL:
        """Through the pooler to a database of the server."""
        name = database or self.server.database
        return URL.create(self.server.drivername, self.server.username, None, "127.0.0.1", self.port, name)

    def console(self, command: str) -> None:
        """Run a command of pgbouncer's own (PAUSE, KILL …)."""
        with closing(
            psycopg2.connect(host="127.0.0.1", port=self.port, user="tester", dbname="pgbouncer")
        ) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(command)


@contextmanager
def pgbouncer(server: URL, mode: Mode = "transaction", sessions: int = 3, **options: Any) -> Iterator[Pooler]:
    """Run one until the end of the block. It logs in as the server URL's role, whoever asks; ``options`` are its own."""
    if PROGRAM is None:
        pytest.skip("pgbouncer is not installed (Debian: apt-get install pgbouncer)")
    folder = Path(tempfile.mkdtemp(prefix="gpw-pgbouncer-", dir="/tmp"))
    uid, gid = _whose(server)
    try:
        port = _free_port()
        _configure(folder, server, port, {"pool_mode": mode, "default_pool_size": sessions, **options})
        for path in (folder, *folder.iterdir()):
            os.chown(path, uid, gid)
        # It refuses to run as root.
        who: dict[str, Any] = {"user": uid, "group": gid, "extra_groups": []} if _is_root() else {}
        # The socket may lie in a folder of root's that the program's user cannot enter, but be started in.
        cwd = _address(server)[0] if _by_socket(server) else folder
        with subprocess.Popen([PROGRAM, "-q", folder / "ini"], stderr=subprocess.DEVNULL, cwd=cwd, **who) as process:
            pooler = Pooler(server, port, sessions, folder / "log")
            try:
                _wait_for(pooler, process)
                yield pooler
            finally:
                process.terminate()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _is_root() -> bool:
    return os.geteuid() == 0


def _address(server: URL) -> tuple[str, int]:
    return str(server.host or server.query.get("host")), int(str(server.port or server.query.get("port", 5432)))


def _by_socket(server: URL) -> bool:
    return _address(server)[0].startswith("/")


def _whose(server: URL) -> tuple[int, int]:
    """User and group that it is to run as: ours, or as root those who may enter the directory of the server's socket."""
    if not _is_root():
        return os.geteuid(), os.getegid()
    found = Path(_address(server)[0]).stat() if _by_socket(server) else None
    if found is not None and found.st_uid:
        return found.st_uid, found.st_gid
    nobody = pwd.getpwnam("nobody")
    return nobody.pw_uid, nobody.pw_gid


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _configure(folder: Path, server: URL, port: int, options: dict[str, Any]) -> None:
    host, server_port = _address(server)
    if _by_socket(server):
        host = "/proc/self/cwd"
    password = f" password='{server.password}'" if server.password else ""
    settings = {
        "listen_addr": "127.0.0.1",
        "listen_port": port,
        "unix_socket_dir": "",
        "auth_type": "any",  # everybody is let in, as the role of the line above
        "admin_users": "tester",
        "logfile": folder / "log",
        "server_reset_query": "",  # nobody cleans up behind a client
        "idle_transaction_timeout": 0,
        "query_wait_timeout": 30,
        **options,
    }
    lines = [f"* = host={host} port={server_port} user={server.username}{password}", "", "[pgbouncer]"]
    lines += [f"{name} = {value}" for name, value in settings.items()]
    (folder / "ini").write_text("[databases]\n" + "\n".join(lines) + "\n")
    (folder / "log").touch()


def _wait_for(pooler: Pooler, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while True:
        with suppress(psycopg2.OperationalError):
            pooler.console("SHOW VERSION")
            return
        if process.poll() is not None or time.monotonic() > deadline:
            pytest.fail(f"pgbouncer did not start: {pooler.log.read_text()[-2000:]}")
        time.sleep(0.02)
