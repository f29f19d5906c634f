"""What runs is counted and, where slow, logged: with its shape and without its values."""

from __future__ import annotations

import logging
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY, generate_latest
from sqlalchemy import text

from gpwarehouse import Warehouse
from gpwarehouse.engine.statement_log import kind_of, without_literals
from gpwarehouse.errors import LoadError, ReadError

SECRET = "TOPSECRET"


def sample(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def row(**values: Any) -> dict[str, Any]:
    known = {"event_ts": "2026-01-05T10:00:00+00:00", "lot_id": "L1", "wafer_id": "1", "test_type": "CP"}
    return known | {"test_stage": "CP1", "die_x": 1, "die_y": 1} | values


def test_statements_are_counted_by_kind_and_outcome(shared_wh: Warehouse) -> None:
    names = {"kind": "select", "outcome": "ok"}
    before = sample("gpwarehouse_queries_total", **names)
    failed = sample("gpwarehouse_queries_total", kind="select", outcome="failed")
    rows = sample("gpwarehouse_query_rows_total", kind="select")
    timed = sample("gpwarehouse_query_seconds_count", kind="select")
    with shared_wh.session() as session:
        session.execute(text("SELECT * FROM generate_series(1, 7)")).all()
    with pytest.raises(Exception, match="nope"), shared_wh.session() as session:
        session.execute(text("SELECT nope"))
    assert sample("gpwarehouse_queries_total", **names) >= before + 1
    assert sample("gpwarehouse_query_rows_total", kind="select") >= rows + 7
    assert sample("gpwarehouse_query_seconds_count", kind="select") >= timed + 1
    assert sample("gpwarehouse_queries_total", kind="select", outcome="failed") == failed + 1


def test_loads_and_reads_are_counted_and_logged_with_their_facts(
    wh: Warehouse, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="gpwarehouse")
    target = "fact_test_results"

    def numbers() -> list[float]:
        names = ("loaded_rows", "rejected_rows", "loaded_bytes")
        return [sample(f"gpwarehouse_{name}_total", target=target) for name in names]

    before, reads = numbers(), (sample("gpwarehouse_read_rows_total"), sample("gpwarehouse_reads_total", outcome="ok"))
    wh.load(target, [row(die_x=n) for n in range(5)] + [row(die_x="far")], batch_id="b", max_rejects=1)
    wh.load(target, [row(die_x=n) for n in range(5)] + [row(die_x="far")], batch_id="b", max_rejects=1)
    wh.read(f"SELECT * FROM dw.{target}")
    assert sum(len(frame) for frame in wh.read(f"SELECT * FROM dw.{target}", chunks=2)) == 5
    after = numbers()
    assert after[:2] == [before[0] + 5, before[1] + 1]
    assert after[2] > before[2]
    assert sample("gpwarehouse_read_rows_total") == reads[0] + 10
    assert sample("gpwarehouse_reads_total", outcome="ok") == reads[1] + 2
    told = [record for record in caplog.records if record.name == "gpwarehouse.load"]
    assert [(record.batch_id, record.outcome, record.rows) for record in told] == [
        ("b", "loaded", 5),
        ("b", "already loaded", 0),
    ]


def test_failures_are_counted(shared_wh: Warehouse) -> None:
    reads = sample("gpwarehouse_reads_total", outcome="failed")
    loads = sample("gpwarehouse_loads_total", target="fact_test_results", outcome="failed")
    with pytest.raises(ReadError):
        shared_wh.read("SELECT nope")
    with pytest.raises(LoadError):
        shared_wh.load("fact_test_results", [row(die_x="far")], max_rejects=0)
    with pytest.raises(LoadError):
        shared_wh.load(SECRET, [])
    assert sample("gpwarehouse_reads_total", outcome="failed") == reads + 1
    assert sample("gpwarehouse_loads_total", target="fact_test_results", outcome="failed") == loads + 1
    assert SECRET not in generate_latest().decode()


def test_the_pools_are_gauges(shared_wh: Warehouse) -> None:
    shared_wh.health()
    with shared_wh.session() as session:
        session.execute(text("SELECT 1"))
        assert sample("gpwarehouse_pool_connections", state="in_use") >= 1
    assert sample("gpwarehouse_pool_connections", state="limit") >= 50
    assert REGISTRY.get_sample_value("gpwarehouse_pool_waiting") == 0


def test_a_slow_query_is_logged_without_its_values(shared_wh: Warehouse, caplog: pytest.LogCaptureFixture) -> None:
    url = shared_wh.settings.sqlalchemy_url()
    with Warehouse(url, slow_query_s=1) as wh:
        with wh.session() as session:
            session.execute(text("SELECT 1"))
            query = f"SELECT pg_sleep(1.01), '{SECRET}', 4711 WHERE 'x' <> :lot"
            session.execute(text(query), {"lot": SECRET})
        wh.read(f"SELECT '{SECRET}' AS a, CAST(pg_sleep(1.01) AS text) AS b WHERE 'x' <> :lot", lot=SECRET)
    told = [record for record in caplog.records if record.name == "gpwarehouse.slow_query"]
    assert len(told) == 2
    assert told[0].kind == "select"
    assert told[0].seconds >= 1
    assert told[0].parameters == {"lot": "str"}
    assert "SELECT pg_sleep(?), ?, ? WHERE" in told[0].statement
    assert SECRET not in caplog.text
    assert "4711" not in caplog.text


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("select 1", "select"),
        ("-- note\n /* more */ (WITH x AS (SELECT 1) SELECT 2)", "select"),
        ("INSERT INTO t VALUES (1)", "insert"),
        ("CREATE TABLE t ()", "ddl"),
        ("VACUUM", "other"),
        ("", "other"),
    ],
)
def test_kinds_are_few(statement: str, kind: str) -> None:
    assert kind_of(statement) == kind


def test_texts_and_numbers_are_left_out_and_names_kept() -> None:
    shown = without_literals("SELECT a1, $$x$$, E'it''s', -1.5e3 FROM t2 WHERE b = %(lot)s AND c = 'O''Neill' AND d=12")
    assert shown == "SELECT a1, ?, ?, -? FROM t2 WHERE b = %(lot)s AND c = ? AND d=?"
    assert without_literals("SELECT " + "x, " * 5000).endswith(" …")


@pytest.mark.parametrize(
    ("statement", "shown"),
    [
        (f"SELECT '{'x' * 9000} {SECRET}', a", "SELECT ?, a"),
        (f"SELECT 1 -- don't\n, '{SECRET}', b", "SELECT ? , ?, b"),
        (f"SELECT /* it's /* '' */ ' */ '{SECRET}' -- {SECRET}", "SELECT ?"),
        (f"SELECT E'it\\'s {SECRET}', 'x\\', a", "SELECT ?, ?, a"),
        (f"SELECT e'x'\n -- so\n  '\\'{SECRET}', a", "SELECT ?, a"),
        (f"""SELECT "it's", '{SECRET}', U&"d'x" """, """SELECT "it's", ?, U&"d'x\""""),
        (f"SELECT a$b$c, $b$ $c$ {SECRET} $b$, $1", "SELECT a$b$c, ?, $1"),
        (f"SELECT a, 'open {SECRET}", "SELECT a, ?"),
        (f"SELECT a, E'open {SECRET}\\", "SELECT a, ?"),
        (f"SELECT a, $q$open {SECRET}", "SELECT a, ?"),
        (f'SELECT a, "open {SECRET}', "SELECT a, ?"),
        (f"SELECT a, /* open '{SECRET}'", "SELECT a,"),
        ("SELECT 0x4711, 1_4711, .4711, 4711., 1e-4711, a4711", "SELECT ?, ?, ?, ?, ?, a4711"),
    ],
)
def test_a_literal_is_left_out_in_every_form(statement: str, shown: str) -> None:
    assert without_literals(statement) == shown


_WRITTEN = st.sampled_from(["'", "''", "\\", '"', "$", "$$", "--", "/*", "*/", "\n", "x", "é", "?"])
_HARMLESS = st.sampled_from(
    [
        "a1",
        " ",
        ",",
        '"it\'s"',
        "-- don't\n",
        "/* ' /* \" */ $$ */",
        "E'\\''",
        "e'a'\n'\\''",
        "''",
        "$1",
        "%(lot)s",
        "$a$'$a$",
    ]
)


@given(st.lists(_HARMLESS), st.lists(_WRITTEN).map("".join), st.sampled_from("'eEuxnb$t"), st.booleans())
def test_no_secret_in_any_form_of_literal_survives(before: list[str], body: str, form: str, closed: bool) -> None:
    secret = body + SECRET + body
    if form in "$t":
        mark = "$$" if form == "$" else "$tag$"
        written = mark + secret.replace("$", "") + mark * closed
    elif form in "eE":
        written = f"{form}'" + secret.replace("\\", "\\\\").replace("'", "\\'") + "'" * closed
    else:
        prefix = {"'": "", "u": "U&"}.get(form, form)
        written = f"{prefix}'" + secret.replace("'", "''") + "'" * closed
    statement = " ".join([*before, ";", written, ", z" if closed else ""])
    assert SECRET not in without_literals(statement)
    assert without_literals(statement).endswith(", z" if closed else "?")


def test_without_the_client_nothing_is_counted_and_nothing_fails() -> None:
    code = (
        "import sys; sys.modules['prometheus_client'] = None\n"
        "from gpwarehouse import Warehouse\n"
        "from gpwarehouse.engine import metrics\n"
        "from sqlalchemy import event\n"
        "with Warehouse('postgresql://nobody@127.0.0.1:1/x', slow_query_s=0) as wh:\n"
        "    assert not metrics.available()\n"
        "    assert not wh.engine.dispatch.after_cursor_execute\n"
        "    metrics.queried('select', 1.0, 1); metrics.retried('x')\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
