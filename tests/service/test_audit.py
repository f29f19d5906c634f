"""The audit: who asked what, from where, and what came of it; in the log and in etl_audit."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sqlalchemy import exc, text

from gpwarehouse import Warehouse
from gpwarehouse.errors import SettingsError
from tests.roles import NAMES
from tests.service.serving import add_logins, serve

SECRET = "a value of the fab 4711"


def test_each_call_is_a_json_line_without_values(
    fab: Warehouse, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "gpwarehouse.audit")
    with serve(fab, tmp_path) as served, served.client("reader") as client:
        ask = {"sql": f"SELECT :a AS a, '{SECRET}' AS b FROM generate_series(1, 3)", "params": {"a": SECRET}}
        query_id = client.post("/query", json=ask).headers["x-query-id"]
        client.post("/query", json={"sql": f"SELECT '{SECRET}' FROM nowhere"})
        client.get("/tables", headers={"Authorization": f"Bearer {SECRET.replace(' ', '')}"})
        key = served.keys["reader"]
    lines = [json.loads(record.getMessage()) for record in caplog.records if record.name == "gpwarehouse.audit"]
    assert [line["outcome"] for line in lines] == ["ok", "bad-statement", "unauthenticated"]
    first = lines[0]
    assert first["query_id"] == query_id
    assert first["caller"].startswith("key:")
    assert (first["name"], first["role"], first["client"], first["status"]) == (
        "test reader",
        "reader",
        "127.0.0.1",
        200,
    )
    assert (first["endpoint"], first["rows"]) == ("/query", 3)
    assert first["statement"] == "SELECT :a AS a, ? AS b FROM generate_series(?, ?)"
    assert first["bytes"] > 0
    assert first["fingerprint"] != lines[1]["fingerprint"]
    assert SECRET not in caplog.text
    assert key.split("_", 2)[2] not in caplog.text


def rows_of(fab: Warehouse) -> Any:
    return fab.read("SELECT * FROM dw.etl_audit ORDER BY called_at, query_id")


def test_the_table_has_each_call_and_the_services_login_only_adds(fab: Warehouse, tmp_path: Path) -> None:
    with serve(fab, tmp_path, service_audit="table") as served:
        with served.client("reader") as client:
            query_id = client.post("/query", json={"sql": "SELECT 1"}).headers["x-query-id"]
            assert client.post("/query", json={"sql": "SELECT 1 \0"}).status_code == 400
            for sql in ("SELECT * FROM dw.etl_audit", "DELETE FROM dw.etl_audit", "SELECT count(*) FROM dw.etl_audit"):
                assert client.post("/query", json={"sql": sql}).status_code in (400, 403)
        reader = served.app.state.service.reader
        for statement in (
            "SELECT * FROM dw.etl_audit",
            "UPDATE dw.etl_audit SET caller = 'x'",
            "DELETE FROM dw.etl_audit",
        ):
            with pytest.raises(exc.DBAPIError, match="permission denied"), reader.engine.begin() as connection:
                connection.execute(text(statement))
    found = rows_of(fab)
    assert list(found.query_id).count(query_id) == 1
    row = found[found.query_id == query_id].iloc[0]
    assert (row.endpoint, row.role, row.http_status, row.outcome, row.result_rows) == (
        "POST /query",
        "READER",
        200,
        "ok",
        1,
    )
    assert row.written_by.startswith(NAMES["reader"])
    assert set(found.outcome) == {"ok", "forbidden", "no-query", "bad-statement"}


def test_rights_that_are_too_many_are_refused_at_the_start(fab: Warehouse, tmp_path: Path) -> None:
    logins = add_logins(fab)
    with fab.engine.begin() as connection:
        connection.execute(text(f"GRANT SELECT ON dw.etl_audit TO {NAMES['reader']}"))
    try:
        with (
            pytest.raises(SettingsError, match="roles apply"),
            serve(fab, tmp_path, logins=logins, service_audit="table"),
        ):
            pass
        assert [change.object for change in fab.schema.roles.plan()] == ["etl_audit"]
    finally:
        fab.schema.roles.apply()


def test_a_span_continues_the_callers_trace(fab: Warehouse, tmp_path: Path) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)  # once a process
    traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with serve(fab, tmp_path) as served, served.client("reader") as client:
        answer = client.post("/query", json={"sql": f"SELECT '{SECRET}'"}, headers={"traceparent": traceparent})
    spans = [each for each in exporter.get_finished_spans() if "gpwarehouse.query_id" in (each.attributes or {})]
    assert len(spans) == 1, [each.name for each in exporter.get_finished_spans()]
    span = spans[0]
    assert span.name == "POST /query"
    assert f"{span.context.trace_id:032x}" == traceparent.split("-")[1]
    assert span.attributes is not None
    assert span.attributes["gpwarehouse.query_id"] == answer.headers["x-query-id"]
    assert span.attributes["db.query.text"] == "SELECT ?"
    assert span.attributes["http.response.status_code"] == 200
