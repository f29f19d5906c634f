"""Disks that are full: an embedded server is often on a small one."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

from gpwarehouse.errors import EmbeddedServerError

__all__ = ["no_room", "server_without_room"]

_NO_ROOM = re.compile(r"No space left on device|Disk quota exceeded|File too large|File size limit exceeded")
_LAST_BYTES = 8192


def no_room(home: Path, what: str, said: str) -> EmbeddedServerError | None:
    """The error to raise where a server could not do something because its disk is full; None where it said no such thing.

    :param what: it could not do; ``said``: what it or the system said.
    """
    found = _NO_ROOM.search(said)
    if found is None:
        return None
    return EmbeddedServerError(
        f"the embedded PostgreSQL in {home} {what}: there is no room left on its disk ({found[0]}). Make room, or take a "
        "folder on another disk"
    )


def server_without_room(directory: Path) -> EmbeddedServerError | None:
    """The error to raise where an embedded server ended because its disk is full; None of any other server or end.

    :param directory: of the socket by which the server is connected to.
    """
    with suppress(ImportError, OSError):
        from gpwarehouse.embedded.lifetime import LOCK, postmaster

        directory = directory.resolve()  # a link, where its path is too long
        if (directory.parent / LOCK).exists() and postmaster(directory) is None:
            said = (directory / "log").read_bytes()[-_LAST_BYTES:].decode("utf-8", "replace")
            return no_room(directory.parent, "has ended", said)
    return None
