"""The folders that servers are in: which may be one, and what becomes of those that are left behind."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

import fasteners

from gpwarehouse.embedded.lifetime import DATA, LOCK, end, postmaster
from gpwarehouse.embedded.running import WAY_OUT
from gpwarehouse.errors import EmbeddedServerError

__all__ = ["kept_folder", "temporary_folder"]

_PREFIX = "gpwarehouse-pg-"
_ORPHAN_AGE_S = 60.0


def temporary_folder(ours: Collection[Path]) -> Path:
    """A new folder of a server that is deleted with it. Those of servers that are gone are deleted now.

    :param ours: folders of the servers of this process, which are left alone.
    """
    place = Path(tempfile.gettempdir()).resolve()
    _sweep(place, ours)
    return Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place))


def kept_folder(path: Path) -> Path:
    """The folder of a server whose data is kept; made if it is missing.

    :raises EmbeddedServerError: it cannot be one.
    """
    try:
        home = path.expanduser().resolve()
        if home.exists() and (not home.is_dir() or (any(home.iterdir()) and not (home / LOCK).exists())):
            raise EmbeddedServerError(f"{home} is neither an empty directory nor one of ours. {WAY_OUT}")
        home.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError) as error:
        raise EmbeddedServerError(f"{path} cannot hold an embedded PostgreSQL: {error}. {WAY_OUT}") from error
    return home


def _sweep(place: Path, ours: Collection[Path]) -> None:
    """Stop and delete temporary servers of this user that nobody uses, as after the machine was switched off."""
    for home in place.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            # A young one may be about to take its lock. (Our own are never tried: that would let go of their locks.)
            young = time.time() - (home / LOCK).stat().st_mtime < _ORPHAN_AGE_S
            if home in ours or young or (os.name != "nt" and home.lstat().st_uid != os.getuid()):
                continue
            lock: Any = fasteners.InterProcessReaderWriterLock(home / LOCK)
            if lock.acquire_write_lock(blocking=False):
                try:
                    end(postmaster(home / DATA), clean=False)
                    shutil.rmtree(home, ignore_errors=True)
                finally:
                    lock.release_write_lock()
