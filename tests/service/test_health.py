"""Health, pool, metrics, tables, the schema: what a probe, a dashboard and a DBA ask."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from gpwarehouse import Warehouse
from tests.service.serving import Served, serve


@pytest.fixture(scope="module")
def reader(served: Served) -> Any:
    served.app.state.service.health.wait_for_first(30)
    with served.client("reader") as client:
        yield client


def test_a_probe_needs_no_key_and_sees_no_detail(served: Served, reader: httpx.Client) -> None:
    with served.client(None) as nobody:
        assert nobody.get("/health/live").json() == {"status": "live"}
        answer = nobody.get("/health")
        assert (answer.status_code, answer.json()["status"]) == (200, reader.get("/health").json()["status"])
        assert set(answer.json()) == {"status", "age_s"}


def test_a_reader_sees_the_reasons(reader: httpx.Client) -> None:
    found = reader.get("/health").json()
    assert {"reasons", "server", "revision", "head", "latency_ms", "connections"} <= set(found)
    assert found["revision"] == found["head"]


def test_health_says_down_while_the_warehouse_is(fab: Warehouse, tmp_path: Path) -> None:
    logins = {"service_reader_url": "postgresql://nobody@127.0.0.1:1/nothing"}
    with serve(fab, tmp_path, logins=logins) as broken, broken.client("reader") as client:
        broken.app.state.service.health.wait_for_first(30)
        answer = client.get("/health")
        assert (answer.status_code, answer.json()["status"]) == (503, "down")
        assert answer.headers["retry-after"]
        assert client.get("/health/live").status_code == 200
        refused = client.post("/query", json={"sql": "SELECT 1"})
        assert refused.status_code == 503
        assert refused.headers["retry-after"]
        assert refused.json()["type"] == "urn:gpwarehouse:problem:warehouse-unavailable"


def test_health_answers_while_slow_queries_fill_the_service(served: Served, reader: httpx.Client) -> None:
    def seconds() -> float:
        started = time.monotonic()
        assert reader.get("/health").status_code == 200
        return time.monotonic() - started

    slow = {"sql": "SELECT pg_sleep(2) AS slow", "timeout_s": 5}

    def ask(role: str) -> None:
        with served.client(role) as client:
            client.post("/query", json=slow)

    threads = [threading.Thread(target=ask, args=(role,)) for role in ("reader", "loader", "admin") for _ in range(15)]
    for thread in threads:
        thread.start()
    while served.app.state.service.turns.running < served.settings.service_concurrency:
        time.sleep(0.01)
    answered = [seconds() for _ in range(20)]
    for thread in threads:
        thread.join()
    assert len(answered) == 20
    assert reader.get("/pool/status").json()["queries_running"] == 0


def test_the_pool_is_told_by_role(reader: httpx.Client) -> None:
    reader.post("/query", json={"sql": "SELECT 1"})
    found = reader.get("/pool/status").json()
    assert found["pools"]["reader"]["limit"] >= found["queries_limit"]
    assert found["queries_waiting"] == 0


def test_metrics_need_a_reader_or_the_token(
    fab: Warehouse, tmp_path: Path, served: Served, reader: httpx.Client
) -> None:
    text = reader.get("/metrics").text
    assert 'gpwarehouse_http_requests_total{endpoint="/query",method="POST",role="reader",status="200"}' in text
    assert "gpwarehouse_pool_connections" in text
    with served.client(None) as nobody:
        assert nobody.get("/metrics").status_code == 401
    with serve(fab, tmp_path, service_metrics_token="scrape-me") as other, other.client(None) as prometheus:
        assert prometheus.get("/metrics", headers={"Authorization": "Bearer scrape-me"}).status_code == 200
        assert prometheus.get("/metrics", headers={"Authorization": "Bearer scrape-you"}).status_code == 401


def test_tables_are_listed_and_one_is_told_in_detail(reader: httpx.Client) -> None:
    names = [each["table"] for each in reader.get("/tables").json()]
    assert {"fact_test_results", "dim_lot"} <= set(names)
    stats = reader.get("/tables/fact_test_results/stats").json()
    assert stats["table"] == "fact_test_results"
    assert stats["months"]


@pytest.mark.parametrize("name", ["nothing", "%00", "%ff", "dw.dim_lot", "%2e%2e%2f", "x" * 64, "'; SELECT 1"])
def test_a_table_that_is_not_there_is_404_or_refused(reader: httpx.Client, name: str) -> None:
    answer = reader.get(f"/tables/{name}/stats")
    assert answer.status_code in (404, 422)
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_reader_compares_the_schema_with_the_models(reader: httpx.Client) -> None:
    found = reader.get("/schema/validate")
    assert found.status_code == 200, found.text
    assert [each for each in found.json()["findings"] if each["kind"] not in ("owner", "rights")] == []


def test_an_admin_has_a_table_optimized(served: Served, reader: httpx.Client) -> None:
    assert reader.post("/tables/dim_lot/optimize", json={}).status_code == 403
    with served.client("admin") as admin:
        made = admin.post("/tables/dim_lot/optimize", json={"vacuum": True})
        assert made.status_code == 202, made.text
        while (job := admin.get(made.headers["location"]).json())["state"] in ("queued", "running"):
            time.sleep(0.02)
        assert job["state"] == "succeeded", job
        assert job["result"] == {"analyzed": ["dim_lot"], "vacuumed": ["dim_lot"], "warnings": []}
        assert admin.post("/tables/nothing/optimize", json={}).status_code == 404
        assert admin.post("/tables/dim_lot/optimize", json={"month": "2026-13"}).status_code == 422
        failed = admin.post("/tables/dim_lot/optimize", json={"month": "2026-01"})
        while (job := admin.get(failed.headers["location"]).json())["state"] in ("queued", "running"):
            time.sleep(0.02)
        assert (job["state"], job["problem"]["status"]) == ("failed", 422)
