"""A service of the tests: a real uvicorn on a real socket, with a login for each role."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from gpwarehouse import Warehouse
from gpwarehouse.service import create_app
from gpwarehouse.service.keys import ApiKeys
from gpwarehouse.service.store import Store
from gpwarehouse.settings import WarehouseSettings
from tests.roles import LOGINS

ROLES = ("reader", "loader", "admin")


@dataclass
class Served:
    """A running service.

    :ivar keys: an API key for each role.
    """

    url: str
    app: Any
    settings: WarehouseSettings
    keys: dict[str, str]
    owner: Warehouse

    def client(self, role: str | None = "reader", **options: Any) -> httpx.Client:
        """A client that shows the key of a role; None shows none."""
        headers = {} if role is None else {"Authorization": f"Bearer {self.keys[role]}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=60, **options)


def add_logins(fab: Warehouse) -> dict[str, Any]:
    """Make roles and logins; the settings that name them."""
    fab.schema.roles.apply()
    url = fab.settings.sqlalchemy_url()
    found: dict[str, Any] = {}
    for role in ROLES:
        fab.schema.roles.add_login(LOGINS[role], role, password="secret-of-the-test")  # type: ignore[arg-type]
        login = url.set(username=LOGINS[role], password="secret-of-the-test")
        found[f"service_{role}_url"] = login.render_as_string(hide_password=False)
    return found


def secret(value: Any) -> str:
    """The text of a secret setting."""
    return str(value.get_secret_value())


@contextmanager
def serve(
    fab: Warehouse,
    folder: Path,
    *,
    questions: Mapping[str, Any] | None = None,
    logins: dict[str, Any] | None = None,
    keys: dict[str, str] | None = None,
    **options: Any,
) -> Iterator[Served]:
    """Run a service for a warehouse with roles (:func:`tests.roles.fab_with_roles`).

    :param keys: those of an earlier service on the same folder, which is started again.
    """
    values = {**(add_logins(fab) if logins is None else logins), "service_state_dir": folder, **options}
    settings = fab.settings.model_copy(
        update=WarehouseSettings(_env_file=None, **values).model_dump(include=set(values))
    )
    store = Store(folder)
    keys = keys or {role: ApiKeys(store).create(f"test {role}", role) for role in ROLES}  # type: ignore[arg-type]
    store.close()
    app = create_app(settings, questions=questions)
    server = uvicorn.Server(
        uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", timeout_graceful_shutdown=5)
    )
    thread = threading.Thread(target=server.run, name="uvicorn")
    thread.start()
    try:
        while not server.started and thread.is_alive():
            thread.join(0.02)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield Served(f"http://127.0.0.1:{port}", app, settings, keys, fab)
    finally:
        server.should_exit = True
        thread.join(30)


def running(served: Served, mark: str) -> int:
    """Statements with a mark in their text that run on the server."""
    found = served.owner.read(
        "SELECT count(*) AS n FROM pg_stat_activity WHERE state = 'active' AND query LIKE :mark AND pid <> pg_backend_pid()",
        mark=f"%{mark}%",
    )
    return int(found.n[0])


def wait_for(condition: Any, seconds: float = 10) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def ended(client: httpx.Client, job_id: str, seconds: float = 30) -> dict[str, Any]:
    """A job after its end."""
    found: dict[str, Any] = {}

    def look() -> bool:
        found.update(client.get(f"/jobs/{job_id}").json())
        return found["finished_at"] is not None

    wait_for(look, seconds)
    return found
