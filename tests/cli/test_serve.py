"""``gpwarehouse serve``, ``keys`` and ``roles login``."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from gpwarehouse import Warehouse
from gpwarehouse.cli import app
from gpwarehouse.cli.serve import _listen
from gpwarehouse.settings import WarehouseSettings
from tests.command_line import run
from tests.processes import url_of
from tests.roles import LOGINS, NAMES, fab_with_roles

PASSWORD = "secret 'of' the % test"


@contextmanager
def serving(*args: str, cwd: Path, **environment: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A process that serves, and its URL."""
    command = [sys.executable, "-m", "gpwarehouse", "serve", "--port", "0", *args]
    process = subprocess.Popen(
        command, cwd=cwd, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        said = ""
        for line in process.stdout:
            said += line
            if found := re.search(r"http://\S+", line):
                yield found[0], process
                return
        assert process.stderr is not None
        pytest.fail(said + process.stderr.read())
    finally:
        process.kill()
        process.communicate()


def end(process: subprocess.Popen[str], number: int) -> tuple[str, str]:
    process.send_signal(number)
    said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    return said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_demo_shows_a_lot_without_a_key_and_leaves_nothing(number: int, tmp_path: Path) -> None:
    place = tempfile.mkdtemp(prefix="gpw-")  # a short name: the server's socket is below it
    try:
        with serving("--demo", cwd=tmp_path, TMPDIR=place) as (url, process), httpx.Client(base_url=url) as client:
            assert "gpwarehouse" in client.get("/").text
            sql = "SELECT lot_id, sum(tested) FROM dw.v_wafer_yield WHERE basis = 'LAST' GROUP BY lot_id"
            found = client.post("/query", json={"sql": sql}).json()
            assert [row[0] for row in found["rows"]] == ["DEMO-0001"]
            refused = client.post("/query", json={"sql": "SELECT lo_create(0)"})
            assert refused.status_code == 403
            _, complaints = end(process, number)
        assert complaints == ""
        assert list(Path(place).iterdir()) == []
    finally:
        shutil.rmtree(place, ignore_errors=True)
    assert list(tmp_path.iterdir()) == []


def test_the_demo_listens_on_the_loopback_only(tmp_path: Path) -> None:
    done = run("serve", "--demo", "--host", "0.0.0.0", "--port", "0", cwd=tmp_path)
    assert done.returncode == 1
    assert "would listen on 0.0.0.0" in done.stderr


@pytest.fixture
def fab(wh: Warehouse) -> Iterator[dict[str, str]]:
    """Variables that name a warehouse with roles."""
    with fab_with_roles(wh) as made:
        made.schema.roles.apply()
        names = {f"GPWAREHOUSE_ROLE_{kind.upper()}": name for kind, name in NAMES.items()}
        yield {"GPWAREHOUSE_URL": url_of(made), **names}


def reader_url(fab: dict[str, str]) -> str:
    url = WarehouseSettings(url=fab["GPWAREHOUSE_URL"], _env_file=None).sqlalchemy_url()
    return url.set(username=LOGINS["reader"], password=PASSWORD).render_as_string(hide_password=False)


def test_a_login_and_a_key_open_the_service_and_calls_are_lines_of_json(fab: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    made = run("roles", "login", LOGINS["reader"], "--password-file", "password", cwd=tmp_path, **fab)
    assert made.returncode == 0, made.stderr
    assert PASSWORD not in made.stdout + made.stderr
    key = run("keys", "create", "dashboard", cwd=tmp_path).stdout.strip()
    own = {**fab, "GPWAREHOUSE_SERVICE_READER_URL": reader_url(fab)}
    with serving(cwd=tmp_path, **own) as (url, process), httpx.Client(base_url=url) as client:
        assert client.post("/query", json={"sql": "SELECT 1"}).status_code == 401
        shown = {"Authorization": f"Bearer {key}"}
        answer = client.post("/query", json={"sql": "SELECT current_user"}, headers=shown)
        assert answer.json()["rows"] == [[LOGINS["reader"]]]
        run("keys", "revoke", key.split("_")[1], cwd=tmp_path)
        assert client.post("/query", json={"sql": "SELECT 1"}, headers=shown).status_code == 401
        said, complaints = end(process, signal.SIGTERM)
    assert complaints == ""
    lines = [json.loads(line) for line in said.splitlines()]
    assert [(line["status"], line["name"]) for line in lines] == [(401, None), (200, "dashboard"), (401, None)]
    assert key not in said


def test_a_login_that_may_write_serves_nobody(fab: dict[str, str], tmp_path: Path) -> None:
    done = run("serve", "--port", "0", cwd=tmp_path, **fab)
    assert done.returncode == 1
    assert "gpwarehouse roles login NAME --role reader" in done.stderr


def test_a_port_in_use_is_one_message(fab: dict[str, str], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = run("serve", "--port", port, cwd=tmp_path, **fab)
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1, port {port}" in done.stderr
    assert "--port" in done.stderr


def test_keys_are_created_listed_and_revoked(tmp_path: Path) -> None:
    where = {"GPWAREHOUSE_SERVICE_STATE_DIR": "state"}
    assert run("keys", "list", cwd=tmp_path, **where).stdout == "there are no keys\n"
    made = run("keys", "create", "MES", "--role", "loader", "--days", "30", cwd=tmp_path, **where)
    assert re.fullmatch(r"gpw_[0-9a-f]{12}_\S{43}\n", made.stdout)
    secret = made.stdout.strip().split("_", 2)[2]
    (listed,) = json.loads(run("keys", "list", "--json", cwd=tmp_path, **where).stdout)
    assert (listed["name"], listed["role"], listed["is_valid"]) == ("MES", "loader", True)
    revoked = run("keys", "revoke", listed["id"], cwd=tmp_path, **where)
    assert revoked.stdout == f"key {listed['id']} is revoked\n"
    table = run("keys", "list", cwd=tmp_path, **where).stdout
    assert "revoked" in table
    assert not [path for path in (tmp_path / "state").iterdir() if secret.encode() in path.read_bytes()]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("create", "x", "--role", "owner"), "the roles are reader, loader, admin"),
        (("create", ""), "1 to 63 printable ASCII characters"),
        (("create", "x", "--days", "0"), "give a number above 0"),
        (("revoke", "nobody"), "gpwarehouse keys list"),
    ],
)
def test_a_wrong_key_command_is_one_message(words: tuple[str, ...], said: str, tmp_path: Path) -> None:
    done = run("keys", *words, cwd=tmp_path)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("content", "role", "said"), [("\n", "reader", "password is empty"), ("x", "owner", "the roles are reader")]
)
def test_a_wrong_login_is_one_message(content: str, role: str, said: str, fab: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "password").write_text(content)
    done = run("roles", "login", LOGINS["reader"], "--role", role, "--password-file", "password", cwd=tmp_path, **fab)
    assert done.returncode == 1
    assert said in done.stderr


def test_the_password_is_asked_for_where_no_file_has_it(
    fab: dict[str, str], wh: Warehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in fab.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    hashed = "SELECT rolpassword FROM pg_authid WHERE rolname = :name"
    found = []
    for answer in ("pass word\npass word\n", "\n\n"):
        done = CliRunner().invoke(app, ["roles", "login", LOGINS["loader"], "--role", "loader"], input=answer)
        assert done.exit_code == 0, done.output
        assert "pass word" not in done.output
        found.append(wh.read(hashed, name=LOGINS["loader"]).rolpassword[0])
    assert found[0]
    assert found[0] == found[1], "an empty answer leaves it as it is"


@pytest.mark.parametrize("package", ["fastapi", "jwt", "uvicorn"])
def test_a_missing_extra_is_one_sentence(package: str, tmp_path: Path) -> None:
    (tmp_path / f"{package}.py").write_text("raise ImportError")
    command = [sys.executable, "-m", "gpwarehouse", "serve"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "GPWAREHOUSE_URL": "postgresql://nobody@127.0.0.1:1/x"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "pip install 'gpwarehouse[service]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_an_answer_on_a_kept_connection_is_not_held_back() -> None:
    """With Nagle's algorithm a client that delays its acknowledgements gets each answer 40 ms late."""

    async def accept() -> int:
        accepted = asyncio.get_running_loop().create_future()

        def look(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            found = writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            accepted.set_result(found)
            writer.close()

        settings = WarehouseSettings(_env_file=None, url="postgresql://nobody@127.0.0.1:1/x", service_port=0)
        async with await asyncio.start_server(look, sock=_listen(settings)) as server:
            _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            found: int = await accepted
            writer.close()
        return found

    assert asyncio.run(accept()) != 0
