"""The cache of answers: the same answer while nothing changes, never an old one, and no error when it fails."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from gpwarehouse import Warehouse
from gpwarehouse.dialect import ServerInfo
from tests.load.rows import MEASUREMENTS, measurement
from tests.service.serving import Served, serve

TRIES = 300
"""Others may write on the server of the tests at any time, and then nothing is kept."""
LONG = "long_" * 14
"""A name that the server cuts."""
COUNT = f"SELECT count(*) AS n FROM dw.{MEASUREMENTS}"


@pytest.fixture(scope="module")
def cached(fab: Warehouse, tmp_path_factory: Any) -> Iterator[Served]:
    with serve(fab, tmp_path_factory.mktemp("cached"), service_cache="memory") as running:
        yield running


@pytest.fixture
def reader(cached: Served) -> Iterator[httpx.Client]:
    with cached.client("reader") as client:
        yield client


def ask(client: httpx.Client, sql: str, **body: Any) -> tuple[Any, str]:
    answer = client.post("/query", json={"sql": sql, **body})
    assert answer.status_code == 200, answer.text
    assert answer.json()["query_id"] == answer.headers["x-query-id"]
    return answer.json()["rows"], answer.headers["x-cache"]


def twice(client: httpx.Client, sql: str, **body: Any) -> list[str]:
    """What the cache had for a query that is asked twice."""
    return [ask(client, sql, **body)[1] for _ in range(2)]


def test_an_answer_is_kept_until_rows_are_loaded(cached: Served, reader: httpx.Client) -> None:
    before, first = ask(reader, COUNT)
    assert first == "miss"
    assert ask(reader, COUNT)[0] == before
    cached.owner.load(MEASUREMENTS, [measurement(lot_id="CACHE")], batch_id="cache 1")
    assert ask(reader, COUNT) == ([[before[0][0] + 1]], "miss")
    cached.owner.batches.delete("cache 1")
    assert ask(reader, COUNT) == (before, "miss")


def test_it_hits(reader: httpx.Client) -> None:
    sql = "SELECT lot_id FROM dw.dim_lot WHERE lot_id <> :x ORDER BY 1"
    assert any(twice(reader, sql, params={"x": str(n)})[1] == "hit" for n in range(TRIES))


def test_a_change_that_no_batch_tells_of_counts_too(cached: Served, reader: httpx.Client) -> None:
    sql = "SELECT count(*) FROM dw.dim_lot"
    for change in (
        "UPDATE dw.dim_lot SET lot_id = lot_id WHERE lot_key = -1",
        "CREATE TABLE dw.of_somebody (a int)",
        "DROP TABLE dw.of_somebody",
        "CREATE OR REPLACE VIEW dw.v_of_somebody AS SELECT 1 AS a",
        "DROP VIEW dw.v_of_somebody",
    ):
        ask(reader, sql)
        with cached.owner.engine.begin() as connection:
            connection.execute(text(change))
        assert ask(reader, sql)[1] == "miss", change


def test_another_statement_value_or_limit_is_another_answer(reader: httpx.Client) -> None:
    sql = "SELECT :a || '' FROM generate_series(1, 3) g"
    assert ask(reader, sql, params={"a": "x"})[0] == [["x"]] * 3
    assert ask(reader, sql, params={"a": "y"})[0] == [["y"]] * 3
    assert ask(reader, sql, params={"a": "x"}, max_rows=1)[0] == [["x"]]
    assert ask(reader, sql + " ", params={"a": "x"})[0] == [["x"]] * 3


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT now()", "SELECT CURRENT_TIMESTAMP", "SELECT random()", "SELECT clock_timestamp()", "SELECT current_date - 1",
        "SELECT CAST('now' AS timestamptz)", "SELECT CAST(' Today' AS date)", "SELECT CAST(:t AS date)",
        "SELECT count(*) FROM pg_locks", "SELECT pg_backend_pid()", "SELECT txid_current_snapshot()",
        "SELECT numbackends FROM pg_stat_database", "SELECT age(TIMESTAMP '2020-01-01')", "SELECT current_setting('work_mem')",
        'SELECT * FROM dw."Now"', 'SELECT * FROM dw."{n}"', "SELECT $$now$$::timestamptz", "SELECT E'now'::timestamptz",
        "SELECT '{now}'::timestamptz[]", "SELECT '[now,]'::tstzrange", "SELECT ('no' || 'w')::timestamptz",
        "SELECT '12:00 tomorrow'::timestamptz", "SELECT last_value FROM dw.of_numbers", "SHOW application_name",
        "EXPLAIN ANALYZE SELECT 1", "SELECT * FROM dw.with_policy",
        'SELECT pg_catalog."now"()', "SELECT inet_client_port()", "SELECT dw.tells_time()", "SELECT a FROM dw.v_now",
    ],
)  # fmt: skip
def test_what_may_differ_from_call_to_call_is_never_kept(
    cached: Served, reader: httpx.Client, sql: str, server_info: ServerInfo
) -> None:
    with cached.owner.engine.begin() as connection:
        connection.execute(text("CREATE OR REPLACE FUNCTION dw.tells_time() RETURNS timestamptz LANGUAGE plpgsql IMMUTABLE "
                                "AS 'BEGIN RETURN clock_timestamp(); END'"))  # fmt: skip
        connection.execute(text("CREATE OR REPLACE VIEW dw.v_now AS SELECT now() AS a"))
        connection.execute(text("GRANT SELECT ON dw.v_now TO PUBLIC"))
        for name in ("Now", LONG[:63]):
            connection.exec_driver_sql(f'CREATE OR REPLACE VIEW dw."{name}" AS SELECT now() AS a')
            connection.exec_driver_sql(f'GRANT SELECT ON dw."{name}" TO PUBLIC')
        connection.exec_driver_sql("DROP TABLE IF EXISTS dw.with_policy")
        connection.exec_driver_sql("CREATE TABLE dw.with_policy (a int)")
        if server_info.postgres_version >= (9, 5):
            connection.exec_driver_sql("ALTER TABLE dw.with_policy ENABLE ROW LEVEL SECURITY")
        else:
            sql = "SELECT now()"
        connection.exec_driver_sql("GRANT SELECT ON dw.with_policy TO PUBLIC")
        connection.exec_driver_sql("DROP SEQUENCE IF EXISTS dw.of_numbers")
        connection.exec_driver_sql("CREATE SEQUENCE dw.of_numbers")
        connection.exec_driver_sql("GRANT SELECT ON dw.of_numbers TO PUBLIC")
    sql = sql.replace("{n}", LONG)
    params = {"params": {"t": "yesterday"}} if "CAST(:t" in sql else {}
    assert [twice(reader, sql, **params) for _ in range(3)] == [["miss", "miss"]] * 3


def test_a_file_is_kept_too(reader: httpx.Client) -> None:
    ask_for = {"sql": "SELECT g, md5(CAST(g AS text)) AS t FROM generate_series(1, 1000) g ORDER BY g"}
    answers: list[httpx.Response] = []
    while len(answers) < TRIES and not (answers and answers[-1].headers["x-cache"] == "hit"):
        answers.append(reader.post("/analytics/query", json=ask_for, headers={"Accept": "text/csv"}))
    assert answers[-1].headers["x-cache"] == "hit"
    assert {(a.status_code, a.content, a.headers["etag"], a.headers["x-rows"]) for a in answers} == {
        (200, answers[0].content, answers[0].headers["etag"], "1000")
    }


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[tuple[str, Any]]:
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("redis-server is not installed")
    port = free_port()
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--requirepass", "pw-of-the-test"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        while b"eady to accept connections" not in process.stdout.readline():
            assert process.poll() is None
        yield f"redis://127.0.0.1:{port}/0", process
        process.kill()


def test_redis_keeps_answers_and_its_loss_is_no_error(fab: Warehouse, tmp_path: Path, redis: tuple[str, Any]) -> None:
    url, process = redis
    options = {"service_cache": url, "service_cache_password": "pw-of-the-test"}
    with serve(fab, tmp_path / "state", **options) as served, served.client("reader") as client:
        sql = "SELECT lot_id FROM dw.dim_lot WHERE lot_id <> :x"
        assert any(twice(client, sql, params={"x": str(n)})[1] == "hit" for n in range(TRIES))
        assert "pw-of-the-test" not in repr(served.settings)
        process.kill()
        process.wait()
        assert twice(client, sql, params={"x": "0"}) == ["miss", "miss"]


@pytest.mark.parametrize(
    ("sql", "params"),
    [
        ("SELECT CAST(:t AS timestamptz)", {"t": "2026-01-01 00:00Z"}),
        ("SELECT TIMESTAMP '2026-01-01', '2026-01-01'::date", {}),
        ("SELECT lot_id FROM dw.v_wafer_yield", {}),
        ("SELECT date_trunc('month', event_ts) AS m, count(*) FROM dw.fact_test_results GROUP BY 1", {}),
    ],
)
def test_what_the_data_alone_decide_is_kept(reader: httpx.Client, sql: str, params: dict[str, str]) -> None:
    assert any(twice(reader, sql, params=params)[1] == "hit" for _ in range(TRIES))
