"""A service in a process of its own, which can be stopped, killed and started again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from gpwarehouse import Warehouse
from gpwarehouse.service.keys import ApiKeys
from gpwarehouse.service.store import Store
from tests.processes import Forked, start_module
from tests.service.serving import add_logins, wait_for

__all__ = ["ServiceProcess", "free_port", "make_keys", "service_process"]

_START_S = 60
_SERVE = ("-m", "gpwarehouse", "serve")


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@dataclass
class ServiceProcess:
    """``gpwarehouse serve``. It keeps its port and its state folder when it is started again.

    :ivar keys: a reader's API keys.
    :ivar log: what it says, its audit lines among it.
    :ivar forked: whether it is a fork.
    """

    owner: Warehouse
    folder: Path
    port: int
    keys: list[str]
    environment: Mapping[str, str]
    log: Path
    forked: bool
    child: subprocess.Popen[bytes] | Forked | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Of the process that runs now."""
        assert self.child is not None
        return self.child.pid

    @property
    def answers(self) -> list[Path]:
        """Files of answers that are being written or sent."""
        return list((self.folder / "answers").iterdir())

    def start(self, **changed: Any) -> None:
        """Start it, and wait until it answers.

        :param changed: settings other than before.
        """
        environment = {**self.environment, **_variables(changed)}
        if self.forked:
            self.child = start_module("gpwarehouse.cli", "gpwarehouse", "serve", environment=environment, log=self.log)
        else:
            with self.log.open("ab") as log:
                self.child = subprocess.Popen([sys.executable, *_SERVE], env=environment, stdout=log, stderr=log)
        deadline = time.monotonic() + _START_S
        while not self._answers():
            assert self.child.poll() is None, self.log.read_text()[-2000:]
            assert time.monotonic() < deadline, self.log.read_text()[-2000:]
            time.sleep(0.05)

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health/live").status_code == 200
        except httpx.TransportError:
            return False

    def tell(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self.child is not None
        self.child.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGTERM, seconds: float = 60) -> int:
        """Send it a signal and wait for its end; its exit code."""
        self.tell(number)
        assert self.child is not None
        return self.child.wait(seconds)

    def client(self, key: str | None = None, url: str | None = None, **options: Any) -> httpx.Client:
        """A client that shows a key, by default the first."""
        headers = {"Authorization": f"Bearer {key or self.keys[0]}"}
        return httpx.Client(base_url=url or self.url, headers=headers, timeout=60, **options)

    def running(self, mark: str) -> int:
        """Statements with a mark in their text that run on the server."""
        found = self.owner.read(
            "SELECT count(*) AS n FROM pg_stat_activity "
            "WHERE state = 'active' AND query LIKE :mark AND pid <> pg_backend_pid()",
            mark=f"%{mark}%",
        )
        return int(found.n[0])

    def wait_until_idle(self, seconds: float = 10) -> None:
        """Wait until no query runs or waits, and no connection of readers is in use."""

        def idle() -> bool:
            state = client.get("/pool/status").json()
            return not (state["queries_running"] or state["queries_waiting"] or state["pools"]["reader"]["in_use"])

        with self.client() as client:
            wait_for(idle, seconds)


def make_keys(folder: Path, count: int) -> list[str]:
    """Make a reader's keys, as ``gpwarehouse keys create`` does."""
    store = Store(folder)
    try:
        return [ApiKeys(store).create(f"test {number}", "reader") for number in range(count)]
    finally:
        store.close()


@contextmanager
def service_process(
    fab: Warehouse,
    folder: Path,
    *,
    keys: int = 1,
    logins: Mapping[str, str] | None = None,
    forked: bool = True,
    **options: Any,
) -> Iterator[ServiceProcess]:
    """Run a service for a warehouse with roles (:func:`tests.roles.fab_with_roles`).

    :param forked: whether it is a fork of :mod:`tests.processes`, which costs less; else it is as Python starts it.
    :param options: settings, such as ``service_concurrency=10``.
    """
    settings = fab.settings
    roles = {f"role_{role}": getattr(settings, f"role_{role}") for role in ("reader", "loader", "admin")}
    url = settings.sqlalchemy_url().render_as_string(hide_password=False)
    port = free_port()
    values = {"url": url, **roles, **(logins or add_logins(fab)), "service_port": port, "service_state_dir": folder}
    environment = {**os.environ, **_variables({**values, **options})}
    found = ServiceProcess(
        fab, folder, port, make_keys(folder, keys), environment, folder.with_name(f"{folder.name}.log"), forked
    )
    try:
        found.start()
        yield found
    finally:
        if found.child is not None:
            found.child.kill()
            found.child.wait(30)


def _variables(values: Mapping[str, Any]) -> dict[str, str]:
    return {f"GPWAREHOUSE_{name.upper()}": str(value) for name, value in values.items()}
