"""Servers that stay up without users, until they are told to stop: for psql, Alembic and tools for reports."""

from __future__ import annotations

import re
import shlex
from contextlib import closing
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from urllib.parse import quote

from sqlalchemy.engine import URL, make_url

from gpwarehouse.embedded.programs import wheel_programs
from gpwarehouse.embedded.server import EmbeddedServer
from gpwarehouse.errors import EmbeddedServerError

__all__ = ["StandingServer", "running_server", "start_standing", "stop_standing"]

_DATABASE = "gpwarehouse"


@dataclass(frozen=True)
class StandingServer:
    """A server that is up."""

    folder: Path
    url: str
    """As psql, SQLAlchemy and all that use libpq take it."""
    tcp_url: str | None = field(repr=False)
    """The same by a port of this machine, with the password, where it has one."""


def start_standing(folder: Path | None = None, port: int | None = None) -> StandingServer:
    """Start the server in ``folder``, or join the one that runs there, and have it stay up when this process ends.

    :param folder: made if missing; None: ``gpwarehouse/server`` in the user's directory of data.
    :param port: one of 127.0.0.1 that it takes connections on too, with a password.
    :raises MissingExtraError: without the extra ``embedded``.
    :raises EmbeddedServerError: it does not start, or runs without that port.
    """
    with EmbeddedServer.start(folder or _usual_folder(), port=port) as server:
        from gpwarehouse.embedded.lifetime import DATA, STANDING, identity

        server.url(_DATABASE)
        up = running_server(server.path)
        if port is not None and (up.tcp_url is None or make_url(up.tcp_url).port != port):
            raise EmbeddedServerError(
                f"the server in {server.path} runs already, and not on port {port}: stop it first (gpwarehouse server stop)"
            )
        (server.path / STANDING).write_text(identity(server.path / DATA) or "")
        return up


def running_server(folder: Path | None = None) -> StandingServer:
    """The server that runs in ``folder``.

    :raises EmbeddedServerError: none does.
    """
    wheel_programs()
    from gpwarehouse.embedded.lifetime import postmaster
    from gpwarehouse.embedded.network import set_password
    from gpwarehouse.embedded.running import RunningServer

    home = (folder or _usual_folder()).expanduser().resolve()
    running = RunningServer(home, temporary=False)
    if postmaster(running.data) is None:
        named = "" if folder is None else f" {shlex.quote(str(folder))}"
        raise EmbeddedServerError(f"no server runs in {home}; start one: gpwarehouse server start{named}")
    port, tcp_url = running.open_port(), None
    if port is not None:
        with closing(running.connect("postgres")) as connection:
            tcp_url = f"postgresql://postgres:{set_password(home, connection)}@127.0.0.1:{port}/{_DATABASE}"
    return StandingServer(home, _write_url(running.url(_DATABASE)), tcp_url)


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
        raise EmbeddedServerError(f"this user has no usual folder ({error}); name one") from error


def _write_url(url: URL) -> str:
    """Not SQLAlchemy's form: it names a driver, and writes a blank as "+", which is a plus to libpq."""
    host = "" if url.host is None else f"{url.host}:{url.port}"
    asked = "&".join(f"{name}={quote(str(value), safe='/')}" for name, value in url.query.items())
    return re.sub(r"\?$", "", f"postgresql://{url.username}@{host}/{url.database}?{asked}")
