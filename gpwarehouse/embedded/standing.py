"""Servers that stay up without users, until they are told to stop: for psql, Alembic and tools for reports."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from urllib.parse import quote

from sqlalchemy.engine import URL

from gpwarehouse.embedded.programs import wheel_programs
from gpwarehouse.embedded.server import EmbeddedServer
from gpwarehouse.errors import EmbeddedServerError

__all__ = ["StandingServer", "start_standing", "stop_standing", "url_of_running"]

_DATABASE = "gpwarehouse"


@dataclass(frozen=True)
class StandingServer:
    """A server that is up."""

    folder: Path
    url: str
    """As psql, SQLAlchemy and all that use libpq take it."""
    psql: Path
    """The psql that came with it."""


def start_standing(folder: Path | None = None) -> StandingServer:
    """Start the server in ``folder``, or join the one that runs there, and have it stay up when this process ends.

    :param folder: made if missing; None: ``gpwarehouse/server`` in the user's directory of data.
    :raises MissingExtraError: without the extra ``embedded``.
    :raises EmbeddedServerError: it does not start.
    """
    with EmbeddedServer.start(folder or _usual_folder()) as server:
        from gpwarehouse.embedded.lifetime import DATA, STANDING, identity

        url = server.url(_DATABASE)
        (server.path / STANDING).write_text(identity(server.path / DATA) or "")
        return StandingServer(server.path, _for_all(url), wheel_programs() / "psql")


def url_of_running(folder: Path | None = None) -> str:
    """The URL of the server that runs in ``folder``.

    :raises EmbeddedServerError: none does.
    """
    wheel_programs()
    from gpwarehouse.embedded.lifetime import postmaster
    from gpwarehouse.embedded.running import RunningServer

    home = (folder or _usual_folder()).expanduser().resolve()
    running = RunningServer(home, temporary=False)
    if postmaster(running.data) is None:
        named = "" if folder is None else f" {shlex.quote(str(folder))}"
        raise EmbeddedServerError(f"no server runs in {home}; start one: gpwarehouse server start{named}")
    return _for_all(running.url(_DATABASE))


def stop_standing(folder: Path | None = None) -> tuple[Path, bool]:
    """Stop the server in ``folder``, whoever uses it; what it has committed stays.

    :returns: the folder, and whether a server ran there.
    :raises EmbeddedServerError: it does not stop.
    """
    wheel_programs()
    from gpwarehouse.embedded.lifetime import LOCK, STANDING, postmaster
    from gpwarehouse.embedded.running import RunningServer

    home = (folder or _usual_folder()).expanduser().resolve()
    running = RunningServer(home, temporary=False)
    if not (home / LOCK).exists():
        return home, False
    with running.changing():
        (home / STANDING).unlink(missing_ok=True)
        ran = postmaster(running.data) is not None
        running.end()
    return home, ran


def _usual_folder() -> Path:
    try:
        return Path(import_module("platformdirs").user_data_path("gpwarehouse", appauthor=False)) / "server"
    except (RuntimeError, KeyError) as error:  # a user without an account and without HOME
        raise EmbeddedServerError(f"there is no usual folder for this user ({error}): name one") from error


def _for_all(url: URL) -> str:
    """Not SQLAlchemy's form: it names a driver, and writes a blank as "+", which is a plus to libpq."""
    host = "" if url.host is None else f"{url.host}:{url.port}"
    asked = "&".join(f"{name}={quote(str(value), safe='/')}" for name, value in url.query.items())
    return re.sub(r"\?$", "", f"postgresql://{url.username}@{host}/{url.database}?{asked}")
