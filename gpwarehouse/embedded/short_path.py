"""Directories of sockets by paths that clients can connect to."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

from gpwarehouse.embedded.programs import make_own_folder
from gpwarehouse.errors import EmbeddedServerError

__all__ = ["path_of_socket"]

_SOCKET = ".s.PGSQL.5432"
_LONGEST = 103  # of macOS; Linux has 107


def path_of_socket(data: Path) -> Path:
    """The directory that holds the socket of the server on ``data``, by its own path or that of a short link to it.

    The link is for clients alone, whose system calls take no longer path, and whose libpq takes a comma for the end of a
    host's name; the server stands in its directory.

    :raises EmbeddedServerError: there is no place for the link whose path is short and that is this user's alone.
    """
    if _fits(data):
        return data
    name = hashlib.sha256(os.fsencode(data)).hexdigest()[:16]
    for place in dict.fromkeys((Path(tempfile.gettempdir()), Path("/tmp"))):
        link = place / f"gpwarehouse-{os.geteuid()}" / name
        if _fits(link):
            try:
                make_own_folder(link.parent)
                _point(link, data)
            except OSError:
                continue
            return link
    raise EmbeddedServerError(
        f"{data} is too long a path for a socket, or has a comma in it, and there is no directory for a short link to it; take "
        "another path, or set TMPDIR to one"
    )


def _fits(directory: Path) -> bool:
    path = os.fsencode(directory / _SOCKET)
    return len(path) <= _LONGEST and b"," not in path  # by which libpq parts hosts


def _point(link: Path, data: Path) -> None:
    if not link.is_symlink() or link.readlink() != data:
        new = link.with_name(f"{link.name}-{os.getpid()}")
        new.unlink(missing_ok=True)
        new.symlink_to(data)
        new.replace(link)
