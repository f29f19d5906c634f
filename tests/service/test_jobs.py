"""Jobs: work that outlives its request, its service, and its owner's patience."""

from __future__ import annotations

import io
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pyarrow.feather
import pytest

from gpwarehouse import Warehouse
from tests.service.serving import Served, ended, running, secret, serve, wait_for

ASYNC = {"prefer": "respond-async"}
MANY = "SELECT g AS n, md5(CAST(g AS text)) AS t FROM generate_series(1, 50000) g"


@pytest.fixture(scope="module")
def reader(served: Served) -> Iterator[httpx.Client]:
    with served.client("reader") as client:
        yield client


def submit(client: httpx.Client, sql: str, headers: dict[str, str] | None = None, **body: Any) -> httpx.Response:
    return client.post("/analytics/query", json={"sql": sql, **body}, headers={**ASYNC, **(headers or {})})


def job_of(client: httpx.Client, sql: str, **body: Any) -> str:
    answer = submit(client, sql, **body)
    assert answer.status_code == 202, answer.text
    job_id: str = answer.json()["id"]
    return job_id


def other_key(served: Served, role: str = "reader") -> dict[str, str]:
    return {"authorization": f"Bearer {served.app.state.service.keys.create('another', role)}"}


def stored_bytes(served: Served) -> bytes:
    return b"".join(file.read_bytes() for file in served.settings.service_state_dir.glob("service.sqlite3*"))


def test_a_query_as_a_job_leaves_its_rows_in_a_file(reader: httpx.Client) -> None:
    answer = submit(reader, MANY)
    assert answer.status_code == 202
    assert answer.headers["preference-applied"] == "respond-async"
    assert int(answer.headers["retry-after"]) >= 1
    job_id = answer.json()["id"]
    assert answer.headers["location"] == f"/jobs/{job_id}"
    job = ended(reader, job_id)
    assert job["state"] == "succeeded"
    assert job["file"]["rows"] == 50_000
    result = reader.get(job["file"]["href"])
    assert result.status_code == 200
    assert int(result.headers["content-length"]) == job["file"]["bytes"] == len(result.content)
    table = pyarrow.feather.read_table(io.BytesIO(result.content))
    assert sorted(table["n"].to_pylist()) == list(range(1, 50_001))


def test_a_job_that_ends_within_the_wait_is_answered_as_a_file(reader: httpx.Client) -> None:
    answer = submit(reader, "SELECT 7 AS n", {"prefer": "respond-async, wait=30"})
    assert answer.status_code == 200
    assert answer.headers["preference-applied"] == "wait=30"
    assert pyarrow.feather.read_table(io.BytesIO(answer.content))["n"].to_pylist() == [7]
    assert reader.get(answer.headers["content-location"]).content == answer.content


def test_a_job_that_fails_within_the_wait_is_answered_as_a_problem(reader: httpx.Client) -> None:
    answer = submit(reader, "SELECT 1 / 0", {"prefer": "respond-async, wait=30"})
    assert answer.status_code == 400
    assert answer.json()["sqlstate"] == "22012"


def test_a_job_that_does_not_end_within_the_wait_is_answered_as_a_job(reader: httpx.Client) -> None:
    started = time.monotonic()
    answer = submit(reader, "SELECT pg_sleep(60)", {"prefer": "respond-async, wait=1"})
    assert answer.status_code == 202
    assert 1 <= time.monotonic() - started < 30
    assert answer.json()["state"] == "running"
    assert reader.delete(answer.headers["location"]).json()["state"] == "cancelled"


def test_a_failed_job_has_its_problem_and_no_file(reader: httpx.Client) -> None:
    job = ended(reader, job_of(reader, "SELECT 1 / 0"))
    assert job["state"] == "failed"
    assert job["problem"]["status"] == 400
    assert job["problem"]["sqlstate"] == "22012"
    assert reader.get(f"/jobs/{job['id']}/result").status_code == 404


def test_a_job_ends_at_its_time_limit(served: Served, reader: httpx.Client) -> None:
    job = ended(reader, job_of(reader, "SELECT pg_sleep(60) AS job_too_long", timeout_s=0.5))
    assert job["state"] == "failed"
    assert job["problem"]["status"] == 504
    assert running(served, "job_too_long") == 0


def test_a_range_of_a_result_is_that_slice(reader: httpx.Client) -> None:
    href = ended(reader, job_of(reader, MANY))["file"]["href"]
    whole = reader.get(href)
    size = len(whole.content)
    for given, part in (
        ("bytes=10-1999", whole.content[10:2000]),
        ("bytes=5000-", whole.content[5000:]),
        ("bytes=-100", whole.content[-100:]),
    ):
        answer = reader.get(href, headers={"range": given})
        assert answer.status_code == 206
        assert answer.content == part
        assert answer.headers["content-range"].endswith(f"/{size}")
    beyond = reader.get(href, headers={"range": f"bytes={size}-"})
    assert beyond.status_code == 416
    assert beyond.headers["content-range"] == f"bytes */{size}"
    assert reader.get(href, headers={"if-none-match": whole.headers["etag"]}).status_code == 304
    changed = {"range": "bytes=0-9", "if-range": '"another"'}
    assert reader.get(href, headers=changed).content == whole.content


def test_a_cancel_ends_the_statement_on_the_server_within_a_second(served: Served, reader: httpx.Client) -> None:
    job_id = job_of(reader, "SELECT count(*) AS job_to_cancel, pg_sleep(60)")
    wait_for(lambda: running(served, "job_to_cancel") == 1)
    answer = reader.delete(f"/jobs/{job_id}")
    assert answer.status_code == 200
    assert answer.json()["state"] == "cancelled"
    wait_for(lambda: running(served, "job_to_cancel") == 0, 1)
    assert reader.get(f"/jobs/{job_id}").json()["state"] == "cancelled"
    assert reader.get(f"/jobs/{job_id}/result").status_code == 404


def test_a_job_that_waits_is_cancelled_at_once_and_one_of_another_caller_overtakes(
    fab: Warehouse, tmp_path: Path
) -> None:
    with serve(fab, tmp_path, service_concurrency=1) as served, served.client("reader") as reader:
        first = job_of(reader, "SELECT pg_sleep(60) AS first_of_all")
        wait_for(lambda: running(served, "first_of_all") == 1)
        second = job_of(reader, "SELECT 2 AS n")
        third = job_of(reader, "SELECT 3 AS n")
        fourth = submit(reader, "SELECT 4 AS n", other_key(served)).json()["id"]
        assert reader.get(f"/jobs/{second}").json()["state"] == "queued"
        assert reader.get(f"/jobs/{second}/result").status_code == 409
        gone = reader.delete(f"/jobs/{second}").json()
        assert gone["state"] == "cancelled"
        assert gone["started_at"] is None
        reader.delete(f"/jobs/{first}")
        with served.client("admin") as admin:
            starts = {name: ended(admin, name)["started_at"] for name in (third, fourth)}
        assert starts[fourth] <= starts[third]


def test_a_cancel_after_the_end_deletes_the_file(reader: httpx.Client, served: Served) -> None:
    job = ended(reader, job_of(reader, "SELECT 1 AS n"))
    assert reader.get(job["file"]["href"]).status_code == 200
    answer = reader.delete(f"/jobs/{job['id']}")
    assert answer.json()["state"] == "succeeded"
    assert answer.json()["file"] is None
    assert reader.get(job["file"]["href"]).status_code == 410
    assert not list((served.settings.service_state_dir / "results").glob(f"{job['id']}*"))


def test_jobs_are_their_owners_and_admins_see_all(served: Served, reader: httpx.Client) -> None:
    job_id = ended(reader, job_of(reader, "SELECT 1 AS n"))["id"]
    other = other_key(served)
    for method, path in (("GET", ""), ("GET", "/result"), ("DELETE", "")):
        answer = reader.request(method, f"/jobs/{job_id}{path}", headers=other)
        assert answer.status_code == 404
        assert answer.json()["type"].endswith(":unknown-job")
    assert reader.get("/jobs", headers=other).json() == {"jobs": [], "next": None}
    with served.client("admin") as admin:
        assert admin.get(f"/jobs/{job_id}").status_code == 200
        assert job_id in [job["id"] for job in admin.get("/jobs").json()["jobs"]]


@pytest.mark.parametrize("name", ["0" * 32, "nothing", "%00", "%ED%A0%80", "..%2f..%2fetc", "'; DROP TABLE job; --"])
def test_a_job_that_is_not_there_is_404(reader: httpx.Client, name: str) -> None:
    assert reader.get(f"/jobs/{name}").status_code == 404
    assert reader.delete(f"/jobs/{name}").status_code == 404


def test_a_method_that_a_job_lacks_is_405_with_those_that_it_has(reader: httpx.Client) -> None:
    answer = reader.put(f"/jobs/{'0' * 32}")
    assert answer.status_code == 405
    assert answer.json()["detail"] == f"PUT is not allowed here; the path has {answer.headers['allow']}"
    assert answer.headers["allow"] == "DELETE, GET, HEAD"


def test_jobs_are_listed_page_by_page_the_newest_first(served: Served, reader: httpx.Client) -> None:
    mine = other_key(served)
    made = [submit(reader, f"SELECT {n} AS n", mine).json()["id"] for n in range(5)]
    seen: list[str] = []
    before: str | None = None
    while True:
        page = reader.get("/jobs", headers=mine, params={"limit": 2} | ({"before": before} if before else {})).json()
        seen += [job["id"] for job in page["jobs"]]
        assert len(page["jobs"]) <= 2
        before = page["next"]
        if before is None:
            break
    assert seen == made[::-1]
    assert reader.get("/jobs", params={"limit": 0}).status_code == 422
    assert reader.get("/jobs", params={"after": "x"}).status_code == 422


def test_one_key_makes_one_job_in_eight_threads_at_once(served: Served, reader: httpx.Client) -> None:
    start = threading.Barrier(8)
    answers: list[httpx.Response] = []

    def ask() -> None:
        with served.client("reader") as client:
            start.wait()
            answers.append(submit(client, "SELECT 1 AS once", {"idempotency-key": "one-of-eight"}))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    made = [job for job in reader.get("/jobs", params={"limit": 200}).json()["jobs"] if "once" in str(job["about"])]
    assert len(made) == 1


def test_a_key_is_good_for_one_payload_and_one_owner(served: Served, reader: httpx.Client) -> None:
    key = {"idempotency-key": "a-key"}
    first = submit(reader, "SELECT 1 AS n", key).json()["id"]
    assert submit(reader, "SELECT 1 AS n", key).json()["id"] == first
    for body in ({"sql": "SELECT 2 AS n"}, {"sql": "SELECT 1 AS n", "exact_numeric": True}):
        answer = submit(reader, headers=key, **body)  # type: ignore[arg-type]
        assert answer.status_code == 422
        assert answer.json()["type"].endswith(":idempotency-mismatch")
    assert submit(reader, "SELECT 2 AS n", {**key, **other_key(served)}).status_code == 202
    assert submit(reader, "SELECT 1 AS n", {"idempotency-key": "x" * 256}).status_code == 422


def test_too_many_jobs_of_a_caller_are_429(fab: Warehouse, tmp_path: Path) -> None:
    with serve(fab, tmp_path, service_jobs_per_caller=2) as served, served.client("reader") as reader:
        two = [job_of(reader, "SELECT pg_sleep(60)") for _ in range(2)]
        refused = submit(reader, "SELECT 1")
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) >= 1
        assert submit(reader, "SELECT 1", other_key(served)).status_code == 202
        assert reader.delete(f"/jobs/{two[0]}").json()["state"] == "cancelled"
        assert submit(reader, "SELECT 1").status_code == 202


def test_what_is_stored_has_no_values_of_a_statement(served: Served, reader: httpx.Client) -> None:
    sql = "SELECT 'literal-secret' AS t WHERE :v = 'x'"
    job_id = job_of(reader, sql, params={"v": "parameter-secret"})
    answer = submit(reader, sql, {"idempotency-key": "no-values"}, params={"v": "parameter-secret"})
    assert ended(reader, job_id)["state"] == "succeeded"
    assert ended(reader, answer.json()["id"])["about"]["statement"] == "SELECT ? AS t WHERE :v = ?"
    assert b"-secret" not in stored_bytes(served)


def test_expired_jobs_are_410_and_later_404_and_their_files_are_gone(served: Served, reader: httpx.Client) -> None:
    key = {"idempotency-key": "expires"}
    job = ended(reader, submit(reader, "SELECT 1 AS n", key).json()["id"])
    keep_s, jobs = served.settings.service_keep_s, served.app.state.service.jobs
    jobs.expire(time.time() + keep_s + 1)
    assert reader.get(f"/jobs/{job['id']}").status_code == 410
    assert reader.get(job["file"]["href"]).status_code == 410
    assert reader.get(job["file"]["href"], headers=other_key(served)).status_code == 404
    assert not list((served.settings.service_state_dir / "results").iterdir())
    assert job["id"] not in reader.get("/jobs").text
    assert submit(reader, "SELECT 2 AS n", key).status_code == 202
    jobs.expire(time.time() + 2 * keep_s + 2)
    assert reader.get(f"/jobs/{job['id']}").status_code == 404


def test_a_stop_interrupts_what_runs_and_what_waits(fab: Warehouse, tmp_path: Path) -> None:
    with serve(fab, tmp_path, service_concurrency=1) as served, served.client("reader") as reader:
        done = ended(reader, job_of(reader, "SELECT 1 AS n"))
        runs = job_of(reader, "SELECT pg_sleep(60) AS runs_at_stop")
        waits = job_of(reader, "SELECT 2 AS n")
        wait_for(lambda: running(served, "runs_at_stop") == 1)
    wait_for(lambda: running(served, "runs_at_stop") == 0, 1)
    with serve(fab, tmp_path, keys=served.keys) as again, again.client("reader") as reader:
        for name in (runs, waits):
            assert reader.get(f"/jobs/{name}").json()["state"] == "interrupted"
        assert reader.get(done["file"]["href"]).status_code == 200


def test_a_killed_service_interrupts_its_jobs(fab: Warehouse, tmp_path: Path) -> None:
    with serve(fab, tmp_path) as served:
        pass
    with process(served) as (url, child), replace(served, url=url).client("reader") as reader:
        job_id = job_of(reader, "SELECT pg_sleep(20) AS runs_at_kill")
        wait_for(lambda: running(served, "runs_at_kill") == 1)
        (tmp_path / "results" / f"{job_id}.arrow").write_bytes(b"half a file")
        child.send_signal(signal.SIGKILL)
        child.wait(30)
    with serve(fab, tmp_path, keys=served.keys) as again, again.client("reader") as reader:
        assert reader.get(f"/jobs/{job_id}").json()["state"] == "interrupted"
        assert not list((tmp_path / "results").iterdir())
        assert not list((tmp_path / "uploads").iterdir())


def test_jobs_can_be_read_while_the_warehouse_is_down(fab: Warehouse, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    nowhere = {"service_reader_url": f"postgresql://nobody@127.0.0.1:{port}/nothing"}
    with serve(fab, tmp_path, logins=nowhere) as served, served.client("reader") as reader:
        job = ended(reader, job_of(reader, "SELECT 1 AS n"))
        assert job["state"] == "failed"
        assert job["problem"]["status"] == 503
        assert [each["id"] for each in reader.get("/jobs").json()["jobs"]] == [job["id"]]


@contextmanager
def process(served: Served) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The same service in a process of its own."""
    settings = served.settings
    environment = {
        **os.environ,
        "GPWAREHOUSE_URL": settings.sqlalchemy_url().render_as_string(hide_password=False),
        "GPWAREHOUSE_SERVICE_STATE_DIR": str(settings.service_state_dir),
        **{f"GPWAREHOUSE_ROLE_{role.upper()}": getattr(settings, f"role_{role}") for role in served.keys},
        **{
            f"GPWAREHOUSE_SERVICE_{role.upper()}_URL": secret(getattr(settings, f"service_{role}_url"))
            for role in served.keys
        },
    }
    with socket.create_server(("127.0.0.1", 0)) as listening:
        command = [
            sys.executable,
            "-m",
            "uvicorn",
            "--factory",
            "gpwarehouse.service:create_app",
            "--fd",
            str(listening.fileno()),
        ]
        child = subprocess.Popen(command, env=environment, pass_fds=(listening.fileno(),))
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}", child
        finally:
            child.kill()
            child.wait(30)
