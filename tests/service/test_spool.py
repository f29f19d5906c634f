"""Files on the service's disk: how many bytes a caller may have there, and what happens when it is full; HEAD."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from gpwarehouse import Warehouse
from tests.service.serving import ended, serve, wait_for

ROWS = "SELECT repeat(md5(CAST(g AS text)), 32) AS t FROM generate_series(1, {}) g"
ARROW = {"Accept": "application/vnd.apache.arrow.file"}


def ask(client: httpx.Client, rows: int, **headers: str) -> httpx.Response:
    return client.post("/analytics/query", json={"sql": ROWS.format(rows)}, headers=ARROW | headers)


def test_a_caller_keeps_no_more_results_than_one_may(fab: Warehouse, tmp_path: Path) -> None:
    with serve(fab, tmp_path, service_max_kept=100_000) as served, served.client() as client:
        job = ended(client, ask(client, 1000, Prefer="respond-async").json()["id"])
        assert job["file"]["bytes"] > 100_000
        for prefer in ("respond-async", ""):
            refused = ask(client, 1, Prefer=prefer)
            assert (refused.status_code, refused.json()["type"]) == (429, "urn:gpwarehouse:problem:too-much-kept")
            assert "DELETE /jobs/" in refused.json()["detail"]
            assert int(refused.headers["Retry-After"]) > 0
        assert client.post("/query", json={"sql": "SELECT 1"}).status_code == 200
        with served.client("loader") as other:
            assert ask(other, 1).status_code == 200
        client.delete(f"/jobs/{job['id']}")
        assert ask(client, 1).status_code == 200


def test_an_answer_that_is_read_slowly_counts_until_it_was_sent(fab: Warehouse, tmp_path: Path) -> None:
    with serve(fab, tmp_path, service_max_kept=1_000_000) as served, served.client() as client:
        with client.stream("POST", "/analytics/query", json={"sql": ROWS.format(30_000)}, headers=ARROW) as answer:
            assert (answer.status_code, int(answer.headers["Content-Length"]) > 20_000_000) == (200, True)
            with served.client() as again:
                assert ask(again, 1).status_code == 429
        wait_for(lambda: ask(client, 1).status_code == 200)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small disk can only be mounted by root, and not in every container")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_503_and_leaves_nothing_behind(fab: Warehouse, small_disk: Path) -> None:
    with serve(fab, small_disk / "state") as served, served.client() as client:
        full = ask(client, 100_000)
        assert (full.status_code, full.json()["type"]) == (503, "urn:gpwarehouse:problem:no-space")
        assert str(small_disk) not in full.text
        job = ended(client, ask(client, 100_000, Prefer="respond-async").json()["id"])
        assert (job["state"], job["problem"]["type"]) == ("failed", "urn:gpwarehouse:problem:no-space")
        with served.client("loader") as loader:
            sent = loader.post(
                "/loads", params={"filename": "a.csv", "target": "fact_test_results"}, content=b"x" * (9 << 20)
            )
        assert (sent.status_code, sent.json()["type"]) == (503, "urn:gpwarehouse:problem:no-space")
        assert [
            file for name in ("answers", "results", "uploads") for file in (small_disk / "state" / name).iterdir()
        ] == []
        assert ask(client, 100).status_code == 200


def test_head_is_answered_like_get_without_the_body(fab: Warehouse, tmp_path: Path) -> None:
    with serve(fab, tmp_path) as served, served.client() as client:
        job = ended(client, ask(client, 1000, Prefer="respond-async").json()["id"])
        wait_for(lambda: client.get("/health").status_code == 200, 60)  # its first sample was taken
        for path in ("/health/live", "/health", "/tables", "/openapi.json", "/", job["file"]["href"]):
            head, get = client.head(path), client.get(path)
            assert (head.status_code, head.content) == (200, b""), path
            assert head.headers["Content-Type"] == get.headers["Content-Type"]
        assert int(head.headers["Content-Length"]) == job["file"]["bytes"]
        assert client.head("/query").status_code == 405
        assert client.post("/health").headers["Allow"] == "GET, HEAD"
    assert "head" not in served.app.openapi()["paths"]["/health"]


@pytest.mark.parametrize("content", [b"{", b"x" * (2 << 20)])
def test_a_body_is_not_looked_at_before_its_sender_is_known(fab: Warehouse, tmp_path: Path, content: bytes) -> None:
    with serve(fab, tmp_path) as served, served.client(None) as nobody:
        assert nobody.post("/query", content=content).status_code == 401
