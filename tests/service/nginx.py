"""A real nginx between a client and a service, as the guide docs/how-to/serve.md sets it up."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.service.processes import free_port

__all__ = ["Nginx", "nginx"]

# Debian puts the program where only root's PATH looks.
PROGRAM = shutil.which("nginx", path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin")))
_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
_START_S = 30


@dataclass(frozen=True)
class Nginx:
    """A running nginx."""

    url: str
    process: subprocess.Popen[bytes]

    def stop(self) -> None:
        """End it at once, with all its connections."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)


@contextmanager
def nginx(service_port: int, *, buffers_files: bool = True) -> Iterator[Nginx]:
    """Run one before a service on the loopback, until the end of the block.

    :param buffers_files: whether it takes an answer off the service as fast as it comes, into a file of its own, however slowly
        the client reads. That is nginx's default.
    """
    if PROGRAM is None:
        pytest.skip("nginx is not installed (Debian: apt-get install nginx-light)")
    folder = Path(tempfile.mkdtemp(prefix="gpw-nginx-"))
    port = free_port()
    (folder / "nginx.conf").write_text(_configuration(folder, port, service_port, buffers_files=buffers_files))
    command = [PROGRAM, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(port, process, folder / "error.log")
        yield Nginx(f"http://127.0.0.1:{port}", process)
    finally:
        process.terminate()
        process.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


def _configuration(folder: Path, port: int, service_port: int, *, buffers_files: bool) -> str:
    places = "".join(f"    {name}_temp_path {folder}/{name};\n" for name in _TEMPORARY)
    most = "" if buffers_files else "    proxy_max_temp_file_size 0;\n"
    # As root it would run its worker as a user that may not enter the folder.
    user = "user root;\n" if os.geteuid() == 0 else ""
    return f"""{user}daemon off;
worker_processes 1;
pid {folder}/pid;
events {{ worker_connections 1024; }}
http {{
    access_log off;
{places}{most}    client_max_body_size 0;
    server {{
        listen 127.0.0.1:{port};
        proxy_read_timeout 600s;
        proxy_http_version 1.1;
        location / {{
            proxy_pass http://127.0.0.1:{service_port};
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        }}
    }}
}}
"""


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_S
    while True:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        if process.poll() is not None or time.monotonic() > deadline:
            pytest.fail(f"nginx did not start: {log.read_text()[-2000:]}")
        time.sleep(0.02)
