"""``gpwarehouse server``: a PostgreSQL that stays up between commands."""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest
from sqlalchemy import make_url

from gpwarehouse.embedded import EmbeddedServer
from gpwarehouse.embedded.lifetime import postmaster
from gpwarehouse.embedded.programs import wheel_programs
from gpwarehouse.embedded.standing import running_server, start_standing, stop_standing
from gpwarehouse.errors import EmbeddedServerError
from tests.command_line import run
from tests.embedded_servers import place_for_data, wait_for

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs sockets in folders")


@pytest.fixture
def folder() -> Iterator[Path]:
    """One with a blank and a quote; a server that is left up is stopped."""
    with tempfile.TemporaryDirectory(prefix="gpw-test-", dir=place_for_data()) as place:
        yield Path(place) / "da ta's"
        stop_standing(Path(place) / "da ta's")


def watchers(folder: Path) -> list[str]:
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout.splitlines()
    return [line for line in listed if "lifetime.py" in line and str(folder) in line]


def test_it_is_started_asked_for_and_stopped_by_commands(folder: Path, tmp_path: Path) -> None:
    first = run("server", "start", str(folder), cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert f"folder  {folder}" in first.stdout
    url = run("server", "url", str(folder), cwd=tmp_path)
    assert url.stderr == ""
    assert f"url     {url.stdout}" in first.stdout
    psql = [wheel_programs() / "psql", url.stdout.strip(), "-Atc", "SELECT current_database()"]
    assert subprocess.run(psql, capture_output=True, text=True, check=True).stdout == "gpwarehouse\n"
    assert run("upgrade", cwd=tmp_path, GPWAREHOUSE_URL=url.stdout.strip()).returncode == 0
    wait_for(lambda: not watchers(folder))  # nobody has to wait for its end
    before = postmaster(folder / "data")
    again = run("--embedded", str(folder), "server", "start", cwd=tmp_path)
    assert again.stdout == first.stdout
    assert postmaster(folder / "data") == before
    stopped = run("server", "stop", str(folder), cwd=tmp_path)
    assert stopped.stdout == f"stopped; its data stays in {folder}\n"
    assert postmaster(folder / "data") is None
    none = run("server", "url", str(folder), cwd=tmp_path)
    assert (none.returncode, none.stdout) == (1, "")
    assert f"gpwarehouse server start {shlex.quote(str(folder))}" in none.stderr


def test_users_of_the_folder_come_and_go_beside_it(folder: Path) -> None:
    up = start_standing(folder)
    with EmbeddedServer.start(folder) as server:
        assert server.url("postgres").query["host"] == str(folder / "data")
    psycopg2.connect(up.url).close()
    start_standing(folder)
    psycopg2.connect(running_server(folder).url).close()
    with EmbeddedServer.start(folder) as server:
        assert stop_standing(folder) == (folder, True)
    assert stop_standing(folder) == (folder, False)


def test_a_server_of_before_a_crash_stays_up_no_longer(folder: Path) -> None:
    """What was told to stay up is one run of it: a later one of somebody else's ends as it should."""
    start_standing(folder)
    process = postmaster(folder / "data")
    assert process is not None
    for one in (process, *process.children(recursive=True)):
        one.kill()
    wait_for(lambda: postmaster(folder / "data") is None)
    EmbeddedServer.start(folder).close()
    assert postmaster(folder / "data") is None


def test_a_folder_where_none_was_is_told_and_stays_as_it_is(folder: Path) -> None:
    with pytest.raises(EmbeddedServerError, match="no server runs in"):
        running_server(folder)
    assert stop_standing(folder) == (folder, False)
    assert not folder.exists()


def test_without_a_folder_it_is_the_users_own(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="gpw-", dir=place_for_data()) as home:
        code = "from gpwarehouse.embedded.standing import *; print(start_standing().folder); print(stop_standing()[1])"
        environment = {**os.environ, "XDG_DATA_HOME": home}
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
        )
        assert done.stdout == f"{home}/gpwarehouse/server\nTrue\n", done.stderr


def test_a_port_asks_for_the_password_and_is_for_this_machine(folder: Path, tmp_path: Path) -> None:
    EmbeddedServer.start(folder).close()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    up = start_standing(folder, port)
    assert up.tcp_url is not None
    password = make_url(up.tcp_url).password
    assert password is not None
    assert password not in repr(up)
    assert run("server", "url", str(folder), "--tcp", cwd=tmp_path).stdout == f"{up.tcp_url}\n"
    with closing(psycopg2.connect(up.tcp_url)) as connection, connection.cursor() as cursor:
        cursor.execute("SHOW listen_addresses")
        assert cursor.fetchone() == ("127.0.0.1",)
    with pytest.raises(psycopg2.OperationalError, match="password"):
        psycopg2.connect(up.tcp_url.replace(password, "wrong"))
    psycopg2.connect(up.url).close()
    assert start_standing(folder, port) == up
    assert (folder / "gpwarehouse.password").stat().st_mode & 0o077 == 0
    with pytest.raises(EmbeddedServerError, match="runs already, and not on port 1:"):
        start_standing(folder, 1)
    stop_standing(folder)
    with (
        EmbeddedServer.start(folder) as server,
        psycopg2.connect(user="postgres", **server.url("postgres").query) as connection,
    ):
        assert connection.info.port == 5432
    connection.close()
