"""What SQL of a caller's own cannot do: write, reach others, keep locks, read what the login may not, break the service."""

from __future__ import annotations

import threading
import time
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from gpwarehouse.dialect import Brand, ServerInfo
from gpwarehouse.errors import ReadError
from tests.service.serving import Served

WRITES = [
    "INSERT INTO dw.etl_reject DEFAULT VALUES",
    "WITH x AS (INSERT INTO dw.dim_lot DEFAULT VALUES RETURNING 1) SELECT * FROM x",
    "WITH x AS (UPDATE dw.dim_lot SET lot_id = 'x' RETURNING 1) SELECT * FROM x",
    "SELECT * INTO dw.stolen FROM dw.dim_lot",
    "SELECT * INTO TEMP stolen FROM dw.dim_lot",
    "CREATE TABLE dw.x (a int)",
    "EXPLAIN ANALYZE DELETE FROM dw.dim_lot",
    "EXPLAIN ANALYZE CREATE TABLE public.x AS SELECT 1",
    "SELECT * FROM dw.dim_lot FOR UPDATE",
    "SELECT 1; DROP TABLE dw.dim_lot",
    "SELECT 1 \n;\n COMMIT; DROP TABLE dw.dim_lot",
    "SELECT 1) TO STDOUT; DROP TABLE dw.dim_lot; COPY (SELECT 1",
    "SELECT 1) AS described WHERE false; DROP TABLE dw.dim_lot; --",
    "COPY dw.dim_lot TO '/tmp/x'",
    "COPY (SELECT 1) TO PROGRAM 'id'",
    "DO $$ BEGIN EXECUTE 'DROP TABLE dw.dim_lot'; END $$",
    "SET ROLE postgres",
    "SET SESSION AUTHORIZATION DEFAULT",
    "RESET ALL",
    "LOCK TABLE dw.dim_lot",
    "LISTEN x",
    "PREPARE p AS SELECT 1",
    "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
    "SELECT set_config('role', 'postgres', false)",
    "SELECT set_config('transaction_read_only', 'off', false)",
    "SELECT U&\"\\0073et_config\"('role', 'postgres', false)",
    "SELECT pg_catalog.\"set_config\"('role', 'postgres', false)",
    "SELECT lo_create(0)",
    "SELECT lo_import('/etc/passwd')",
    "SELECT pg_read_file('postgresql.conf')",
    "SELECT pg_ls_dir('.')",
    "SELECT nextval('dw.no_such')",
    "SELECT pg_reload_conf()",
    "SELECT pg_rotate_logfile()",
    "SELECT query_to_xml('SELECT 1', true, true, '')",
    "SELECT * FROM ts_stat('SELECT to_tsvector(''a'')')",
    "SELECT dblink('dbname=postgres', 'SELECT 1')",
    "SELECT rolpassword FROM pg_authid",
    "SELECT passwd FROM pg_shadow",
]
REACHING = [
    "SELECT pg_cancel_backend({pid})",
    "SELECT pg_terminate_backend({pid})",
    "SELECT PG_CATALOG.Pg_Terminate_Backend({pid})",
    'SELECT "pg_terminate_backend"({pid})',
    "SELECT/**/pg_cancel_backend/**/({pid})",
    "SELECT query FROM pg_stat_activity",
    "SELECT query FROM pg_catalog.pg_stat_get_activity(NULL) AS x",
    "SELECT pg_stat_get_backend_activity(s) FROM generate_series(1, 100) s",
    "SELECT * FROM pg_stat_statements",
    "SELECT query FROM gp_dist_random('pg_stat_activity')",
    "SELECT gp_expand_lock_catalog()",
    "SELECT gp_request_fts_probe_scan()",
    "SELECT pg_renice_session(1, 5)",
    "SELECT pg_export_snapshot()",
    "SELECT pg_log_backend_memory_contexts(1)",
    "SELECT pg_advisory_lock(1)",
    "SELECT pg_try_advisory_lock(1)",
    "SELECT pg_advisory_xact_lock_shared(1)",
]
HEADERS = [
    {"Accept": "x" * 5000},
    {"Accept": "text/csv;q=nonsense, */*;q=é"},
    {"Range": "bytes=0-" + "9" * 40},
    {"If-None-Match": '"' + "a" * 5000 + '"'},
    {"Prefer": "wait=999999999999999999999"},
    {"Idempotency-Key": "é\t"},
    {"Content-Type": "application/json; charset=utf-16"},
    {"Content-Type": "application/json\t;"},
    {"Authorization": "Bearer \x01"},
    {"X-Forwarded-For": "'; DROP TABLE dw.dim_lot"},
]
PATHS = [
    "/%00", "/query%00", "/jobs/%ff%fe", "/jobs/../../etc/passwd", "/jobs/%2e%2e%2f%2e%2e", "//query", "/query/",
    "/tables/a%2fb/stats",
    "/analytics/%00", "/analytics/__class__", "/" + "x" * 8000, "/openapi.json/..", "/analytics/query?sql=SELECT+1", "/?a=%00",
]  # fmt: skip


@pytest.fixture(scope="module")
def reader(served: Served) -> Any:
    with served.client("reader") as client:
        yield client


def refused(answer: httpx.Response) -> bool:
    return answer.status_code in (400, 403) and answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("sql", WRITES)
@pytest.mark.parametrize("path", ["/query", "/analytics/query"])
def test_a_reader_writes_nothing_and_becomes_nobody_else(
    served: Served, reader: httpx.Client, sql: str, path: str
) -> None:
    answer = reader.post(path, json={"sql": sql})
    assert refused(answer), (answer.status_code, answer.text)
    assert served.owner.read("SELECT count(*) AS n FROM dw.dim_lot WHERE lot_id = 'x'").n[0] == 0


@pytest.mark.parametrize("role", ["reader", "admin"])
def test_queries_of_a_higher_role_run_on_the_readers_login_too(served: Served, role: str) -> None:
    with served.client(role) as client:
        answer = client.post("/query", json={"sql": "SELECT session_user, current_user"})
    assert answer.json()["rows"][0] == [_login(served), _login(served)]


def _login(served: Served) -> Any:
    return served.app.state.service.reader.settings.sqlalchemy_url().username


@pytest.mark.parametrize("sql", REACHING)
def test_a_caller_neither_ends_nor_sees_what_others_run(served: Served, reader: httpx.Client, sql: str) -> None:
    with served.owner.engine.connect() as connection:
        pid = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
        answer = reader.post("/query", json={"sql": sql.format(pid=pid)})
        assert refused(answer), (answer.status_code, answer.text)
        assert connection.execute(text("SELECT 1")).scalar_one() == 1


def test_views_that_show_statements_of_sessions_are_all_refused(served: Served, reader: httpx.Client) -> None:
    """Every view of the server that reads pg_stat_get_activity, and what reads such a view."""
    with served.owner.engine.connect() as connection:
        views = connection.execute(
            text(
                "SELECT schemaname, viewname, definition FROM pg_views WHERE schemaname IN ('pg_catalog', 'gp_toolkit')"
            )
        ).all()
    showing = [v for v in views if "activity" in v.definition and "query" in v.definition]
    assert "pg_stat_activity" in [view.viewname for view in showing]
    seen = []
    for view in showing:
        answer = reader.post("/query", json={"sql": f"SELECT * FROM {view.schemaname}.{view.viewname}"})
        if not refused(answer) and any("query" in column["name"] for column in answer.json().get("columns", ())):
            seen.append(view.viewname)
    assert seen == []


def test_no_session_keeps_a_lock_of_the_reader(served: Served, reader: httpx.Client) -> None:
    """A function of somebody's own takes an advisory lock for the session; it is gone when the answer is there."""
    with served.owner.engine.begin() as connection:
        connection.execute(text("CREATE OR REPLACE FUNCTION dw.takes_lock() RETURNS int LANGUAGE sql VOLATILE AS "
                                "'SELECT CAST(pg_advisory_lock(4711) IS NULL AS int)'"))  # fmt: skip
        connection.execute(text("GRANT EXECUTE ON FUNCTION dw.takes_lock() TO PUBLIC"))
    held = "SELECT count(*) AS n FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711"
    try:
        assert reader.post("/query", json={"sql": "SELECT dw.takes_lock()"}).status_code == 200
        assert served.owner.read(held).n[0] == 0
    finally:
        with served.owner.engine.begin() as connection:
            connection.execute(text("DROP FUNCTION dw.takes_lock()"))


def test_a_dba_finds_the_caller_by_the_query_id(served: Served, reader: httpx.Client) -> None:
    found: list[httpx.Response] = []
    ask = {"sql": "SELECT pg_sleep(1.5) AS find_me"}
    thread = threading.Thread(target=lambda: found.append(reader.post("/query", json=ask)))
    thread.start()
    names: set[str] = set()
    while not names and thread.is_alive():
        active = "SELECT application_name AS a FROM pg_stat_activity WHERE query LIKE '%find_me%' AND state = 'active'"
        names = {name for name in served.owner.read(active).a if name.startswith("gpw ")}
        time.sleep(0.02)
    thread.join()
    assert names == {f"gpw {found[0].json()['query_id']}"}


@pytest.mark.parametrize("headers", HEADERS, ids=lambda headers: next(iter(headers)))
def test_no_header_makes_the_service_fail(served: Served, headers: dict[str, str]) -> None:
    key = {"Authorization": f"Bearer {served.keys['reader']}"}
    raw = [(n.encode(), v.encode("latin-1")) for n, v in {**key, **headers}.items()]
    with served.client(None) as client:
        for path in ("/query", "/analytics/query"):
            try:
                answer = client.post(path, json={"sql": "SELECT 1"}, headers=raw)
            except httpx.LocalProtocolError:
                continue  # the client itself does not send it
            assert answer.status_code < 500


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "PUT"])
def test_no_path_makes_the_service_fail(reader: httpx.Client, path: str, method: str) -> None:
    answer = reader.request(method, path)
    assert answer.status_code < 500, answer.text
    if answer.status_code >= 400:
        assert answer.headers["content-type"] == "application/problem+json" or answer.status_code == 414


def test_bytes_and_doubled_names_are_values_like_others(reader: httpx.Client, server_info: ServerInfo) -> None:
    sql = "SELECT CAST(decode('00ff', 'hex') AS bytea) AS a, CAST('{}' AS json) AS a, 'é\\ud800' AS a"
    answer = reader.post("/query", json={"sql": sql})
    assert answer.json()["rows"] == [["\\x00ff", {}, "é\\ud800"]]
    for accept, status in (
        ("text/csv", 200),
        ("application/vnd.apache.parquet", 400),
        ("application/vnd.apache.arrow.file", 400),
    ):
        answer = reader.post("/analytics/query", json={"sql": sql}, headers={"Accept": accept})
        assert answer.status_code == status
    assert server_info.brand in Brand


def test_what_stands_behind_nul_is_not_left_out(served: Served, reader: httpx.Client) -> None:
    sql = "SELECT count(*) FROM generate_series(1, 10) AS g(x) \0 WHERE x = 3"
    assert refused(reader.post("/query", json={"sql": sql}))
    with pytest.raises(ReadError, match="NUL"):
        served.owner.read(sql)


def test_the_checks_hold_where_backslashes_escape(served: Served) -> None:
    """A database may have standard_conforming_strings off; the lexer reads as if it were on."""
    database = served.owner.settings.sqlalchemy_url().database
    with served.owner.engine.begin() as connection:
        connection.exec_driver_sql(f"ALTER DATABASE {database} SET standard_conforming_strings = off")
    try:
        served.app.state.service.reader.engine.dispose()
        with served.client("reader") as client:
            answer = client.post("/query", json={"sql": r"SELECT '\'', pg_advisory_lock(77), ' \' AS x'"})
        assert refused(answer), answer.text
    finally:
        with served.owner.engine.begin() as connection:
            connection.exec_driver_sql(f"ALTER DATABASE {database} RESET standard_conforming_strings")
        served.app.state.service.reader.engine.dispose()
