"""POST /query and POST /analytics/query: rows in JSON, whole files, limits, and clients that leave."""

from __future__ import annotations

import io
import json
import math
import re
import socket
import threading
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from gpwarehouse import Warehouse
from tests.service.serving import Served, running, serve, wait_for

ARROW, PARQUET = "application/vnd.apache.arrow.file", "application/vnd.apache.parquet"
MANY = "SELECT g AS n, md5(CAST(g AS text)) AS t FROM generate_series(1, 50000) g"


@pytest.fixture(scope="module")
def reader(served: Served) -> Any:
    with served.client("reader") as client:
        yield client


def ask(client: httpx.Client, sql: str, **body: Any) -> httpx.Response:
    return client.post("/query", json={"sql": sql, **body})


def test_rows_are_arrays_with_the_servers_types(reader: httpx.Client) -> None:
    answer = ask(reader, "SELECT 1 AS a, 'x' AS a, CAST(NULL AS date) AS d, true AS b")
    assert answer.status_code == 200
    found = answer.json()
    assert found["rows"] == [[1, "x", None, True]]
    assert [column["name"] for column in found["columns"]] == ["a", "a", "d", "b"]
    assert found["columns"][0]["type"] == "integer"
    assert found["truncated"] is False
    assert found["query_id"] == answer.headers["x-query-id"]


def test_values_that_json_lacks_are_texts(reader: httpx.Client) -> None:
    sql = """SELECT CAST('NaN' AS float8), CAST('Infinity' AS float8), 9007199254740993, -9007199254740991,
        CAST('\\x00ff' AS bytea), CAST('2026-03-04 05:06:07.008+02' AS timestamptz), ARRAY[1, NULL, 3]"""
    assert ask(reader, sql).json()["rows"] == [
        [
            "nan",
            "inf",
            "9007199254740993",
            -9007199254740991,
            "\\x00ff",
            "2026-03-04T03:06:07.008000+00:00",
            [1, None, 3],
        ]
    ]


def test_numeric_is_the_nearest_double_or_exact_text(reader: httpx.Client) -> None:
    sql = "SELECT CAST(:x AS numeric)"
    assert ask(reader, sql, params={"x": "0.10000000000000000001"}).json()["rows"] == [[0.1]]
    exact = ask(reader, sql, params={"x": "0.10000000000000000001"}, exact_numeric=True).json()["rows"]
    assert Decimal(exact[0][0]) == Decimal("0.10000000000000000001")


def test_json_is_embedded(reader: httpx.Client) -> None:
    assert ask(reader, """SELECT CAST('{"a": [1, {"b": null}]}' AS json)""").json()["rows"] == [
        [{"a": [1, {"b": None}]}]
    ]


def test_parameters_are_bound(reader: httpx.Client) -> None:
    params = {"t": "'; DROP TABLE dw.dim_lot; --", "many": [1, 2, 3], "none": None}
    answer = ask(reader, "SELECT :t AS t, 2 = ANY(:many) AS m, CAST(:none AS text) IS NULL AS n", params=params)
    assert answer.json()["rows"] == [[params["t"], True, True]]


@pytest.mark.parametrize(("rows", "truncated"), [(3, True), (4, False), (5, False)])
def test_more_rows_than_asked_for_are_told(reader: httpx.Client, rows: int, truncated: bool) -> None:
    found = ask(reader, "SELECT g FROM generate_series(1, 4) g ORDER BY g", max_rows=rows).json()
    assert found["rows"] == [[n] for n in range(1, min(rows, 4) + 1)]
    assert found["truncated"] is truncated


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        ({"sql": "SELECT nothing FROM nowhere"}, 400, "bad-statement"),
        ({"sql": "SELEC"}, 400, "no-query"),
        ({"sql": "SELECT 1; SELECT 2"}, 400, "bad-statement"),
        ({"sql": "SELECT :a"}, 400, "bad-statement"),
        ({"sql": "SELECT 1 / 0"}, 400, "bad-statement"),
        ({"sql": "SELECT '\0'"}, 400, "bad-statement"),
        ({"sql": "SELECT :a", "params": {"a": "\0"}}, 400, "bad-statement"),
        ({"sql": "DELETE FROM dw.dim_lot"}, 400, "no-query"),
        ({"sql": "WITH x AS (DELETE FROM dw.dim_lot RETURNING 1) SELECT * FROM x"}, 403, None),
        ({"sql": "SELECT nextval('no')"}, 400, "bad-statement"),
        ({"sql": "SELECT 1", "max_rows": 10_000_000}, 422, "bad-request"),
        ({"sql": "SELECT 1", "max_rows": 0}, 422, "bad-request"),
        ({"sql": "SELECT 1", "max_rows": "5"}, 422, "bad-request"),
        ({"sql": "SELECT 1", "limit": 5}, 422, "bad-request"),
        ({"sql": "SELECT 1", "params": {"a": {"b": 1}}}, 422, "bad-request"),
        ({"sql": ""}, 422, "bad-request"),
        ({}, 422, "bad-request"),
        ([], 422, "bad-request"),
    ],
)
def test_what_is_wrong_is_a_problem(reader: httpx.Client, body: Any, status: int, kind: str | None) -> None:
    answer = reader.post("/query", json=body)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert kind is None or problem["type"] == f"urn:gpwarehouse:problem:{kind}"
    assert problem["detail"]
    assert problem["instance"].endswith(answer.headers["x-query-id"])


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"sql": "SELECT 1; SELECT 2"}, "these are 2 (SELECT, SELECT); send them one by one"),
        ({"sql": "SELECT 1; COMMIT"}, "COMMIT would end the read-only transaction; leave it out"),
        ({"sql": "SELECT :a + :b", "params": {"a": 1}}, "parameter 'b' has no value; give b in params, or write"),
        ({"sql": "SELECT nothing WHERE target='x'"}, 'column "nothing" does not exist'),
    ],
)
def test_a_problem_speaks_of_fields_not_of_python(reader: httpx.Client, body: Any, told: str) -> None:
    detail = reader.post("/query", json=body).json()["detail"]
    assert told in detail
    assert not re.search(r"wh\.|session\(|read\(|\w=…", detail), detail


@pytest.mark.parametrize(
    ("content", "media_type", "status"),
    [
        (b'{"sql": "SELECT 1"}', "text/plain", 415),
        (b'{"sql": "SELECT 1"}', None, 415),
        (b'{"sql": "SELECT 1"', "application/json", 422),
        (b'{"sql": "\\ud800"}', "application/json", 422),
        (b'{"sql": "SELECT 1", "\\ud800": 1}', "application/json", 422),
        (b'{"sql": "SELECT 1", "params": {"\\ud800": 1}}', "application/json", 422),
        (b'{"sql": "SELECT \xff"}', "application/json", 422),
        (b"[" * 100_000, "application/json", 422),
        (b'{"a":' * 50_000, "application/json", 422),
        (b'{"sql": NaN}', "application/json", 422),
        (b"", "application/json", 422),
        (b'{"sql": "' + b"x" * 2_000_000 + b'"}', "application/json", 413),
    ],
)  # fmt: skip
def test_a_body_that_is_no_right_json_is_refused(
    reader: httpx.Client, content: bytes, media_type: str | None, status: int
) -> None:
    headers = {} if media_type is None else {"content-type": media_type}
    answer = reader.post("/query", content=content, headers=headers)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("accept", "form"), [(ARROW, "arrow"), (PARQUET, "parquet"), ("text/csv", "csv"), ("*/*", "arrow")]
)
def test_a_whole_file_comes_by_accept(reader: httpx.Client, accept: str, form: str) -> None:
    answer = reader.post("/analytics/query", json={"sql": MANY}, headers={"accept": accept})
    assert answer.status_code == 200
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert answer.headers["x-rows"] == "50000"
    assert answer.headers["etag"]
    data = io.BytesIO(answer.content)
    readers = {"arrow": pa.feather.read_table, "parquet": pq.read_table, "csv": pa.csv.read_csv}
    table = readers[form](data)
    assert table.num_rows == 50_000
    assert sorted(table["n"].to_pylist()) == list(range(1, 50_001))


def test_a_form_that_is_not_offered_is_406(reader: httpx.Client) -> None:
    answer = reader.post("/analytics/query", json={"sql": "SELECT 1"}, headers={"accept": "application/json"})
    assert answer.status_code == 406


def test_an_error_behind_the_first_rows_is_a_problem_and_no_short_file(reader: httpx.Client) -> None:
    sql = "SELECT 1 / (g - 90000) FROM generate_series(1, 100000) g"
    answer = reader.post("/analytics/query", json={"sql": sql}, headers={"accept": "text/csv"})
    assert answer.status_code == 400
    assert answer.json()["sqlstate"] == "22012"


def test_a_query_that_takes_too_long_is_504(served: Served, reader: httpx.Client) -> None:
    answer = ask(reader, "SELECT pg_sleep(30) AS too_long_for_it", timeout_s=0.5)
    assert answer.status_code == 504
    wait_for(lambda: running(served, "too_long_for_it") == 0, 1)


@pytest.mark.parametrize("path", ["/query", "/analytics/query"])
def test_a_query_ends_within_a_second_when_its_client_leaves(served: Served, path: str) -> None:
    mark = f"left_alone_{path.count('/')}"
    body = json.dumps({"sql": f"SELECT count(*) AS {mark}, pg_sleep(60)"}).encode()
    host, port = served.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        head = f"POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\nAuthorization: Bearer {served.keys['reader']}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body)
        wait_for(lambda: running(served, mark) == 1)
    wait_for(lambda: running(served, mark) == 0, 1)
    assert running(served, mark) == 0


def test_a_callers_limit_is_429_and_others_go_on(served: Served, reader: httpx.Client) -> None:
    most = served.settings.service_per_caller
    threads = [
        threading.Thread(target=ask, args=(reader, "SELECT pg_sleep(3) AS crowd"), kwargs={"timeout_s": 5})
        for _ in range(most)
    ]
    for thread in threads:
        thread.start()
    wait_for(lambda: running(served, "crowd") == most)
    refused = ask(reader, "SELECT 1")
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) >= 1
    with served.client("loader") as other:
        assert ask(other, "SELECT 1").status_code == 200
    for thread in threads:
        thread.join()
    assert ask(reader, "SELECT 1").status_code == 200


def test_nan_is_not_null(reader: httpx.Client) -> None:
    table = reader.post("/analytics/query", json={"sql": "SELECT CAST('NaN' AS float8) AS x UNION ALL SELECT NULL"})
    values = pa.feather.read_table(io.BytesIO(table.content))["x"].to_pylist()
    assert sum(value is None for value in values) == 1
    assert sum(value is not None and math.isnan(value) for value in values) == 1


def test_a_client_that_leaves_before_its_answer_leaves_no_file(fab: Warehouse, tmp_path: Path) -> None:
    begun, left = threading.Event(), threading.Event()

    def late(_: Warehouse) -> pa.Table:
        begun.set()
        assert left.wait(60)
        return pa.table({"n": [1]})

    def soon(_: Warehouse) -> pa.Table:
        return pa.table({"n": [2]})

    questions = {"late": late, "soon": soon}
    with serve(fab, tmp_path, questions=questions, service_concurrency=1, service_queue_s=60) as served:
        host, port = served.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as connection:
            head = f"GET /analytics/late HTTP/1.1\r\nHost: {host}:{port}\r\n"
            connection.sendall(f"{head}Authorization: Bearer {served.keys['reader']}\r\n\r\n".encode())
            assert begun.wait(60)
        wait_for(lambda: served.app.state.service.turns.running == 0)
        left.set()
        with served.client("reader") as reader:  # there is one thread, so this runs when the other has ended
            assert reader.get("/analytics/soon").status_code == 200
        wait_for(lambda: list((tmp_path / "answers").iterdir()) == [])


def test_a_client_that_leaves_before_its_turn_gives_up_its_place(fab: Warehouse, tmp_path: Path) -> None:
    def ask_and_keep(mark: str) -> socket.socket:
        body = json.dumps({"sql": f"SELECT count(*) AS {mark}, pg_sleep(60)"}).encode()
        host, port = served.url.removeprefix("http://").split(":")
        head = f"POST /query HTTP/1.1\r\nHost: {host}:{port}\r\nAuthorization: Bearer {served.keys['reader']}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        connection = socket.create_connection((host, int(port)))
        connection.sendall(head.encode() + body)
        return connection

    limits = {"service_concurrency": 1, "service_per_caller": 2, "service_queue_s": 600}
    with serve(fab, tmp_path, **limits) as served, served.client("reader") as reader:
        turns = served.app.state.service.turns
        with ask_and_keep("has_the_turn"):
            wait_for(lambda: running(served, "has_the_turn") == 1)
            for _ in range(3):  # the caller's limit would refuse the third
                with ask_and_keep("waits_for_its_turn"):
                    wait_for(lambda: turns.waiting == 1)
                wait_for(lambda: turns.waiting == 0, 2)
            assert running(served, "has_the_turn") == 1
        assert ask(reader, "SELECT 1").status_code == 200
