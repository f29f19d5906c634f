"""A real Prometheus and a real Alertmanager that watch a real service, and a webhook that is told."""

from __future__ import annotations

import json
import os
import queue
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from gpwarehouse import Warehouse
from tests.service.processes import ServiceProcess, free_port, service_process

DEPLOY = Path(__file__).parents[2] / "deploy"
TOKEN = "token-of-the-test"
PATIENCE_S = 120
"""How long something may take that has to come; nothing is waited for longer than it takes."""


@dataclass(frozen=True)
class Monitored:
    """A warehouse, the Prometheus that watches its service, and what its webhook is told."""

    fab: Warehouse
    service: ServiceProcess
    prometheus: str
    told: queue.Queue[dict[str, Any]]

    def ask(self, query: str) -> list[dict[str, Any]]:
        """The result of a query."""
        answer = httpx.get(f"{self.prometheus}/api/v1/query", params={"query": query}, timeout=30).json()
        assert answer["status"] == "success", answer
        return list(answer["data"]["result"])

    def wait_for_alert(self, name: str, status: str) -> dict[str, Any]:
        """The next notification of an alert with this status."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            message = self.told.get(timeout=max(0.0, deadline - time.monotonic()))
            for alert in message["alerts"]:
                if (alert["labels"]["alertname"], alert["status"]) == (name, status):
                    return dict(alert)


def wait_until(is_true: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not is_true():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


@contextmanager
def webhook() -> Iterator[tuple[str, queue.Queue[dict[str, Any]]]]:
    """A place that alerts are sent to: its address, and what came."""
    told: queue.Queue[dict[str, Any]] = queue.Queue()

    class Take(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Take) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/alerts", told
        server.shutdown()
        thread.join()


@contextmanager
def running(folder: Path, name: str, *options: str, port: int) -> Iterator[str]:
    """A program of Prometheus's, until the end of the block: its address."""
    program = shutil.which(name)
    if program is None:
        pytest.skip(f"{name} is not installed (Debian: apt-get install prometheus prometheus-alertmanager)")
    url = f"http://127.0.0.1:{port}"
    log = folder / f"{name}.log"
    with log.open("wb") as out:
        listen = f"--web.listen-address=127.0.0.1:{port}"
        child = subprocess.Popen([program, listen, *options], cwd=folder, stdout=out, stderr=out, env={**os.environ})
    try:

        def is_ready() -> bool:
            assert child.poll() is None, log.read_text()[-2000:]
            try:
                return httpx.get(f"{url}/-/ready").status_code == 200
            except httpx.TransportError:
                return False

        wait_until(is_ready, f"{name} did not start")
        yield url
    finally:
        child.terminate()
        child.wait(30)


def write_alertmanager(folder: Path, webhook_url: str) -> Path:
    """The configuration of deploy/, with the webhook of the test, and without its patience."""
    content = yaml.safe_load((DEPLOY / "alertmanager" / "alertmanager.yml").read_text("utf-8"))
    content["route"] |= {"group_wait": "0s", "group_interval": "1s"}
    content["receivers"][0]["webhook_configs"][0]["url"] = webhook_url
    path = folder / "alertmanager.yml"
    path.write_text(yaml.safe_dump(content))
    return path


def write_prometheus(folder: Path, service: str, alertmanager: str) -> Path:
    """The configuration of deploy/, with the addresses of the test, and asking each second."""
    content = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text("utf-8"))
    content["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    content["rule_files"] = [str(DEPLOY / "prometheus" / name) for name in content["rule_files"]]
    content["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"] = [alertmanager]
    (ours,) = [each for each in content["scrape_configs"] if each["job_name"] == "gpwarehouse"]
    (folder / "token").write_text(TOKEN)
    ours["authorization"]["credentials_file"] = str(folder / "token")
    ours["static_configs"] = [{"targets": [service]}]
    content["scrape_configs"] = [ours]
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(content))
    return path


@contextmanager
def watched(fab: Warehouse, folder: Path) -> Iterator[Monitored]:
    """Serve a warehouse with roles (:func:`tests.roles.fab_with_roles`), and watch the service."""
    for program in ("prometheus", "prometheus-alertmanager"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed (Debian: apt-get install prometheus prometheus-alertmanager)")
    alerts, scrapes = free_port(), free_port()
    with (
        webhook() as (hook, told),
        service_process(
            fab, folder / "state", service_metrics_token=TOKEN, monitor_every_s=1, monitor_sizes_every_s=1
        ) as service,
        running(
            folder,
            "prometheus-alertmanager",
            f"--config.file={write_alertmanager(folder, hook)}",
            f"--storage.path={folder / 'alerts'}",
            "--cluster.listen-address=",
            port=alerts,
        ),
        running(
            folder,
            "prometheus",
            f"--config.file={write_prometheus(folder, f'127.0.0.1:{service.port}', f'127.0.0.1:{alerts}')}",
            f"--storage.tsdb.path={folder / 'series'}",
            port=scrapes,
        ) as prometheus,
    ):
        yield Monitored(fab, service, prometheus, told)
