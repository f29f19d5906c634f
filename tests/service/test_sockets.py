"""The service as it is run: a process of its own behind nginx, with clients that leave, read slowly, or come all at once."""

from __future__ import annotations

import http.client
import io
import json
import shutil
import signal
import statistics
import subprocess
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from gpwarehouse import Warehouse
from tests.service.nginx import Nginx, nginx
from tests.service.processes import ServiceProcess, service_process
from tests.service.serving import add_logins, ended, wait_for

LARGE_ROWS = 300_000
TEXT = " || ".join(f"md5(CONCAT(g, '-{n}'))" for n in range(8))
LARGE = "SELECT n, t FROM public.large_answer"
"""Some 80 MB, as Parquet 40: more than all the buffers of the sockets on the way."""
CURL = shutil.which("curl")
CUT = {18, 56}
"""curl's exit codes for an answer that ended before its Content-Length, and for a connection that was reset."""
FORMS = {"arrow": "application/vnd.apache.arrow.file", "parquet": "application/vnd.apache.parquet", "csv": "text/csv"}


@pytest.fixture(scope="module")
def logins(fab: Warehouse) -> dict[str, str]:
    """Logins, with a table for them to read: to make its texts for every answer would cost the server more than to send them."""
    with fab.engine.begin() as connection:
        rows = f"SELECT g AS n, {TEXT} AS t FROM generate_series(1, {LARGE_ROWS}) g"
        connection.exec_driver_sql(f"CREATE TABLE public.large_answer AS {rows}")
        connection.exec_driver_sql("GRANT SELECT ON public.large_answer TO PUBLIC")
    return add_logins(fab)


@pytest.fixture(scope="module")
def service(fab: Warehouse, logins: dict[str, str], tmp_path_factory: Any) -> Iterator[ServiceProcess]:
    """A service that is not stopped."""
    folder = tmp_path_factory.mktemp("state")
    with service_process(fab, folder, keys=50, logins=logins, service_queue_s=5) as running:
        yield running


@pytest.fixture(scope="module")
def proxy(service: ServiceProcess) -> Iterator[Nginx]:
    with nginx(service.port) as running:
        yield running


@contextmanager
def curl(service: ServiceProcess, url: str, target: Path, form: str = "arrow", rate: str = "100M") -> Iterator[Any]:
    """A curl that runs: it asks for the large answer and reads it no faster than ``rate`` a second."""
    if CURL is None:
        pytest.skip("curl is not installed")
    body = json.dumps({"sql": LARGE})
    command = [CURL, "-sS", "--limit-rate", rate, "-o", str(target), "-d", body, f"{url}/analytics/query"]
    for header in (
        f"Authorization: Bearer {service.keys[0]}",
        "Content-Type: application/json",
        f"Accept: {FORMS[form]}",
    ):
        command += ["-H", header]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait(30)


def post(url: str, path: str, key: str, body: Any, timeout: float = 120) -> tuple[int, dict[str, str], bytes]:
    """One call on a connection of its own."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=timeout)
    try:
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        connection.request("POST", path, json.dumps(body), headers)
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize("path", ["/query", "/analytics/query"])
def test_a_client_that_leaves_behind_nginx_ends_its_statement(service: ServiceProcess, proxy: Nginx, path: str) -> None:
    mark = f"left_behind_nginx_{path.count('/')}"
    connection = http.client.HTTPConnection(urlsplit(proxy.url).netloc)
    headers = {"Authorization": f"Bearer {service.keys[0]}", "Content-Type": "application/json"}
    connection.request("POST", path, json.dumps({"sql": f"SELECT count(*) AS {mark}, pg_sleep(60)"}), headers)
    wait_for(lambda: service.running(mark) == 1)
    connection.close()
    wait_for(lambda: service.running(mark) == 0, 2)
    service.wait_until_idle()
    assert service.running(mark) == 0
    assert service.answers == []


@pytest.mark.parametrize("form", sorted(FORMS))
def test_a_whole_answer_comes_through_nginx(service: ServiceProcess, proxy: Nginx, form: str, tmp_path: Path) -> None:
    target = tmp_path / "answer"
    with curl(service, proxy.url, target, form) as process:
        assert process.wait(120) == 0
    readers: dict[str, Any] = {"arrow": pa.feather.read_table, "parquet": pq.read_table}
    rows = len(target.read_bytes().splitlines()) - 1 if form == "csv" else readers[form](target).num_rows
    assert rows == LARGE_ROWS
    wait_for(lambda: service.answers == [])


def test_an_answer_that_was_cut_is_an_error_for_curl(
    fab: Warehouse, logins: dict[str, str], service: ServiceProcess, tmp_path: Path
) -> None:
    with service_process(fab, tmp_path / "state", logins=logins) as own, nginx(own.port, buffers_files=False) as proxy:
        with _curls_begun(own, proxy.url, tmp_path) as reading:
            own.end(signal.SIGKILL)
            assert {process.wait(120) for process in reading} <= CUT
    with nginx(service.port, buffers_files=False) as proxy, _curls_begun(service, proxy.url, tmp_path) as reading:
        proxy.stop()
        assert {process.wait(120) for process in reading} <= CUT
    service.wait_until_idle()
    wait_for(lambda: service.answers == [])


@contextmanager
def _curls_begun(service: ServiceProcess, url: str, folder: Path) -> Iterator[list[Any]]:
    """A curl for each form, which has read the beginning of its answer."""
    with ExitStack() as stack:
        reading = []
        for form in FORMS:
            target = folder / f"{service.port}.{form}"
            reading.append(stack.enter_context(curl(service, url, target, form, "1M")))
            wait_for(lambda target=target: target.exists() and target.stat().st_size > 0, 60)  # type: ignore[misc]
        assert all(process.poll() is None for process in reading)
        yield reading


def test_an_answer_that_was_cut_is_no_short_table_for_pyarrow(
    fab: Warehouse, logins: dict[str, str], tmp_path: Path
) -> None:
    readers: dict[str, Any] = {"arrow": pa.feather.read_table, "parquet": pq.read_table}
    with (
        service_process(fab, tmp_path / "state", logins=logins) as service,
        nginx(service.port, buffers_files=False) as proxy,
        ExitStack() as stack,
    ):
        begun = {}
        for form in readers:
            headers = {"Authorization": f"Bearer {service.keys[0]}", "Content-Type": "application/json"}
            headers["Accept"] = FORMS[form]
            asked = urllib.request.Request(f"{proxy.url}/analytics/query", json.dumps({"sql": LARGE}).encode(), headers)
            answer = stack.enter_context(urllib.request.urlopen(asked, timeout=120))
            begun[form] = (answer, answer.read(1 << 20))
        service.end(signal.SIGKILL)
        for form, (answer, first) in begun.items():
            with pytest.raises(http.client.IncompleteRead) as cut:
                answer.read()
            with pytest.raises(pa.ArrowInvalid):
                readers[form](io.BytesIO(first + cut.value.partial))


def test_slow_readers_hold_no_connection_and_no_turn(service: ServiceProcess, proxy: Nginx, tmp_path: Path) -> None:
    with ExitStack() as stack:
        for number in range(12):  # more than may run at once, of one caller more than may run or wait
            url = proxy.url if number % 2 else service.url
            target = tmp_path / f"answer-{number}"
            reading = stack.enter_context(curl(service, url, target, rate="10k"))
            wait_for(lambda target=target: target.exists() and target.stat().st_size > 0, 60)  # type: ignore[misc]
            assert reading.poll() is None
        service.wait_until_idle()
        assert service.answers != []
        with service.client() as client:
            assert client.post("/query", json={"sql": "SELECT 1"}).status_code == 200
    wait_for(lambda: service.answers == [])


def test_200_callers_at_once_get_an_answer_or_are_told_when_to_come_back(service: ServiceProcess, proxy: Nginx) -> None:
    def call(number: int) -> tuple[int, dict[str, str], bytes]:
        path = "/query" if number % 2 else "/analytics/query"
        key = service.keys[number // 8]
        return post(proxy.url, path, key, {"sql": "SELECT 7 AS n, CAST(pg_sleep(0.2) AS text) AS crowd_of_200"})

    with ThreadPoolExecutor(200) as threads:
        answers = list(threads.map(call, range(200)))
    counts = Counter(status for status, _, _ in answers)
    assert counts[200] > 0
    assert set(counts) <= {200, 429, 503}
    assert all(int(headers["retry-after"]) >= 1 for status, headers, _ in answers if status != 200)
    assert all(len(body) == int(headers["content-length"]) for _, headers, body in answers)
    service.wait_until_idle()
    assert service.running("crowd_of_200") == 0
    assert service.answers == []


def test_health_never_waits_for_the_turns_of_45_slow_queries(
    fab: Warehouse, logins: dict[str, str], tmp_path: Path
) -> None:
    """The queries end with their clients only, so whatever is answered meanwhile waited for none of them."""
    with service_process(fab, tmp_path / "state", keys=12, logins=logins, service_queue_s=600) as service:
        with nginx(service.port) as proxy, httpx.Client(base_url=proxy.url, timeout=60) as client, ExitStack() as stack:
            idle = [_seconds(client) for _ in range(100)]
            for number in range(45):
                connection = stack.enter_context(_connection(proxy.url))
                headers = {
                    "Authorization": f"Bearer {service.keys[number // 4]}",
                    "Content-Type": "application/json",
                }
                connection.request("POST", "/query", json.dumps({"sql": "SELECT pg_sleep(600) AS slow_45"}), headers)
            with service.client() as other:
                wait_for(lambda: other.get("/pool/status").json()["queries_waiting"] == 35)
            wait_for(lambda: service.running("slow_45") == 10)
            busy = [_seconds(client) for _ in range(100)]
            assert service.running("slow_45") == 10
        told = statistics.median(busy) / statistics.median(idle)
        print(f"/health under 45 slow queries: {told:.2f} times its idle median")  # noqa: T201
        wait_for(lambda: service.running("slow_45") == 0, 5)
        service.wait_until_idle()


@contextmanager
def _connection(url: str) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection(urlsplit(url).netloc)
    try:
        yield connection
    finally:
        connection.close()


def _seconds(client: httpx.Client) -> float:
    started = time.perf_counter()
    assert client.get("/health").status_code == 200
    return time.perf_counter() - started


def test_a_stop_lets_queries_end_within_the_time_of_grace(
    fab: Warehouse, logins: dict[str, str], tmp_path: Path
) -> None:
    with service_process(fab, tmp_path / "state", logins=logins, service_grace_s=60) as service:
        with nginx(service.port) as proxy, ThreadPoolExecutor(2) as threads:
            sql = "SELECT 7 AS n, CAST(pg_sleep(1) AS text) AS drained"
            asked = [
                threads.submit(post, proxy.url, path, service.keys[0], {"sql": sql})
                for path in ("/query", "/analytics/query")
            ]
            wait_for(lambda: service.running("drained") == 2)
            assert service.end(signal.SIGTERM) == 0
            rows, file = (each.result() for each in asked)
    assert (rows[0], file[0]) == (200, 200)
    assert json.loads(rows[2])["rows"] == [[7, ""]]
    assert pa.feather.read_table(io.BytesIO(file[2]))["n"].to_pylist() == [7]


def test_a_stop_cancels_what_outlasts_the_time_of_grace(fab: Warehouse, logins: dict[str, str], tmp_path: Path) -> None:
    with service_process(fab, tmp_path / "state", keys=5, logins=logins, service_grace_s=1) as service:
        with nginx(service.port) as proxy, ThreadPoolExecutor(14) as threads:
            sql = {"sql": "SELECT 7 AS n, CAST(pg_sleep(600) AS text) AS not_drained"}
            with service.client() as client:
                asynchronous = {"Prefer": "respond-async"}
                job = client.post("/analytics/query", json=sql, headers=asynchronous).json()["id"]
            asked = [
                threads.submit(post, proxy.url, ("/query", "/analytics/query")[n % 2], service.keys[n // 3], sql)
                for n in range(12)  # two more than may run
            ]
            wait_for(lambda: service.running("not_drained") == 11)
            started = time.monotonic()
            assert service.end(signal.SIGTERM, 30) == 0
            assert time.monotonic() - started < 25
            assert service.running("not_drained") == 0
            answers = [each.result() for each in asked]
            assert {status for status, _, _ in answers} == {503}
            assert all(int(headers["retry-after"]) >= 1 for _, headers, _ in answers)
            assert all(json.loads(body)["type"].endswith(":shutdown") for _, _, body in answers)
            service.start()
            with service.client(url=proxy.url) as client:
                assert client.get(f"/jobs/{job}").json()["state"] == "interrupted"
                assert client.post("/query", json={"sql": "SELECT 1"}).status_code == 200
        assert service.answers == []


def test_a_killed_service_leaves_nothing_that_its_next_start_does_not_clear(
    fab: Warehouse, logins: dict[str, str], tmp_path: Path
) -> None:
    with service_process(fab, tmp_path / "state", logins=logins) as service, service.client() as client:
        with curl(service, service.url, tmp_path / "answer", rate="10k"):
            wait_for(lambda: (tmp_path / "answer").exists(), 60)
            job = client.post("/analytics/query", json={"sql": LARGE}, headers={"Prefer": "respond-async"}).json()["id"]
            assert ended(client, job)["state"] == "succeeded"
            cut = client.post("/analytics/query", json={"sql": LARGE}, headers={"Prefer": "respond-async"}).json()["id"]
            service.end(signal.SIGKILL)
        assert service.answers != []
        service.start()
        assert service.answers == []
        assert client.get(f"/jobs/{cut}").json()["state"] in ("interrupted", "succeeded")
        assert client.get(f"/jobs/{job}/result").status_code == 200
        assert client.post("/query", json={"sql": "SELECT 1"}).status_code == 200
