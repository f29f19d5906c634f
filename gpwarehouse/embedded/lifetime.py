"""The server as a process, found and ended; run as a script, the process that ends it when its last user is gone.

The script is started by its path and imports nothing of ours: beside each server stands a small process, not a warehouse.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import fasteners
import psutil

__all__ = [
    "DATA",
    "LOCK",
    "STANDING",
    "drop_stale_pid_file",
    "end",
    "identity",
    "postmaster",
    "start_watcher",
    "stays_up",
]

DATA = "data"
"""PostgreSQL's directory in a server's folder."""

LOCK = "gpwarehouse.lock"
"""File in a server's folder whose readers use the server."""

STANDING = "gpwarehouse.standing"
"""File in a server's folder that names the run of the server that is to stay up without users."""

_WATCH_S = 0.2
_STOP_SECONDS = 60.0


def postmaster(data: Path) -> psutil.Process | None:
    """The process of the server that runs on this data, or None. A number in a pid file alone is no server."""
    try:
        process = psutil.Process(int((data / "postmaster.pid").read_text().split()[0]))
        if not _alive(process) or not process.name().startswith("postgres"):
            return None
    except (OSError, ValueError, IndexError, psutil.Error):
        return None
    with suppress(psutil.Error, OSError):  # of another user's process it may not be told; the name must do
        return process if data.samefile(process.cwd()) else None
    return process


def _alive(process: psutil.Process) -> bool:
    try:
        # In a container whose first process does not reap, a dead one stays a zombie for ever.
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def drop_stale_pid_file(data: Path) -> None:
    """Remove what a server that is gone left, if one is."""
    if (data / "postmaster.pid").exists() and postmaster(data) is None:
        for left in (data / "postmaster.pid", *data.glob(".s.PGSQL.*")):
            left.unlink(missing_ok=True)


def end(process: psutil.Process | None, *, clean: bool) -> None:
    """Stop a server and wait for its end.

    :param clean: its data is kept, so it shuts down in order, if it can; else at once, as after a crash.
    :raises RuntimeError: it does not end.
    """
    if process is None:
        return
    orders = (
        [signal.SIGINT, signal.SIGQUIT] if clean and os.name != "nt" else [getattr(signal, "SIGQUIT", signal.SIGTERM)]
    )
    for order in orders:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(order)
        give_up = time.monotonic() + _STOP_SECONDS
        while time.monotonic() < give_up:
            if not _alive(process):
                return
            time.sleep(0.01)
    raise RuntimeError(f"process {process.pid} does not end")


def identity(data: Path) -> str | None:
    """Return what identifies a run of the server: its number and its start. None without a server."""
    with suppress(OSError, IndexError):
        lines = (data / "postmaster.pid").read_text().splitlines()
        return f"{lines[0]} {lines[2]}"
    return None


def stays_up(home: Path) -> bool:
    """Whether the server that runs now was told to go on without users."""
    try:
        return (home / STANDING).read_text() == identity(home / DATA)
    except OSError:
        return False


def start_watcher(home: Path, *, temporary: bool) -> subprocess.Popen[bytes] | None:
    """Have the server in ``home`` end when its last user is gone, this process among them, in whatever way they end.

    None where Python cannot be started again, as in a program that carries its own; there a killed one leaves its server.
    """
    if not sys.executable or getattr(sys, "frozen", False):
        return None
    command = [sys.executable, "-P", __file__, str(home), "temporary" if temporary else "kept"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=Path(__file__).anchor,
        env=environment,
        start_new_session=True,  # so that the signals of its starter's terminal do not reach it
    )


def watch(home: Path, *, temporary: bool) -> None:
    """Wait until nobody uses the server in ``home``, and end it then."""
    lock: Any = fasteners.InterProcessReaderWriterLock(home / LOCK)
    lock.acquire_write_lock(delay=_WATCH_S, max_delay=_WATCH_S)
    try:
        if temporary or not stays_up(home):
            end(postmaster(home / DATA), clean=not temporary)
    finally:
        if temporary:
            shutil.rmtree(home, ignore_errors=True)
        lock.release_write_lock()


if __name__ == "__main__":
    watch(Path(sys.argv[1]), temporary=sys.argv[2] == "temporary")
