"""A streaming standby of a :class:`~tests.faults.server.FaultServer`, which can be promoted when its primary is gone."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import psutil

from gpwarehouse.embedded import EmbeddedServer
from tests.faults.server import FaultServer

__all__ = ["Standby"]


class Standby(FaultServer):
    """Made by pg_basebackup. From then on the primary answers a COMMIT only when the standby has it."""

    def __init__(self, primary: FaultServer) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="gpw-faults-", dir="/tmp"))
        home = self._folder / "pg"
        EmbeddedServer.start(home).close()  # so that the folder is one of the embedded server's
        data = home / "data"
        owner = data.stat()
        shutil.rmtree(data)
        programs = Path(psutil.Process(primary.pid).exe()).parent
        where = ["-h", primary.address["host"], "-p", str(primary.address["port"]), "-U", "postgres"]
        made = [str(programs / "pg_basebackup"), "-D", str(data), "-R", "--checkpoint=fast", *where]
        subprocess.run(made, check=True, stdin=subprocess.DEVNULL, capture_output=True, timeout=120)
        for left in ("log", ".s.PGSQL.5432.lock"):  # the primary's, copied
            (data / left).unlink(missing_ok=True)
        for path in (data, *data.rglob("*")):
            os.chown(path, owner.st_uid, owner.st_gid)
        self._server = EmbeddedServer.start(home)
        self._killed = 0
        self.address = dict(self._server.url("postgres").query)
        self.pid = int((data / "postmaster.pid").read_text().split()[0])
        primary.ask("ALTER SYSTEM SET synchronous_standby_names = '*'")
        primary.ask("SELECT pg_reload_conf()")

    def promote(self) -> None:
        """Have it take over: from the return on it takes writes."""
        assert self.ask("SELECT pg_promote(true, 60)") == [(True,)]
