"""Grafana's dashboards: made from code, as Grafana reads them, and every panel's query runs against real data."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import pytest
import yaml

from gpwarehouse.dialect import Brand, ServerInfo
from gpwarehouse.errors import TooManyRejectsError
from gpwarehouse.generate import generate_fab
from tests.deploy.watching import Monitored, wait_until
from tests.rows import die_of_l1

GRAFANA = Path(__file__).parents[2] / "deploy" / "grafana"
FILES = sorted((GRAFANA / "dashboards").glob("*.json"))
BOARDS = {path.stem: json.loads(path.read_text("utf-8")) for path in FILES}
PANELS = [
    pytest.param(panel, target, id=f"{name}: {panel['title']} {target['refId']}")
    for name, board in BOARDS.items()
    for panel in board["panels"]
    for target in panel["targets"]
]
SQL = [each for each in PANELS if "rawSql" in each.values[1]]
PROMQL = [each for each in PANELS if "expr" in each.values[1]]
# What a server of one process, which is well, has nothing of.
MAY_BE_EMPTY = {
    "Age of the last backup",
    "Alerts",
    "Free disk space",
    "Log that standbys lack",
    "Parts that monitoring may not read",
    "Units repeated",
}
ONLY_WITH_SEGMENTS = {"Segments", "Skew"}


def load_generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_dashboards", GRAFANA / "make_dashboards.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["make_dashboards"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def busy(monitored: Monitored) -> Monitored:
    """A generated fab, a load that failed, and callers' queries."""
    monitored.fab.data.load_fab(generate_fab(seed=7, lots=4, wafers=3, layers=1, radius=4))
    with pytest.raises(TooManyRejectsError):
        monitored.fab.load("fact_test_results", [die_of_l1(event_ts="nonsense")], batch_id="bad")
    with monitored.service.client() as client:
        for _ in range(3):
            assert client.post("/query", json={"sql": "SELECT 1"}).status_code == 200
            assert client.post("/analytics/query", json={"sql": "SELECT lot_id FROM dw.dim_lot"}).status_code == 200
    wait_until(lambda: monitored.ask('gpwarehouse_day_batches{outcome="failed"} > 0') != [], "no sample was taken")
    return monitored


def test_the_files_are_what_the_code_writes(tmp_path: Path) -> None:
    written = load_generator().write(folder=tmp_path)
    assert sorted(path.name for path in written) == [path.name for path in FILES]
    for path in written:
        kept = (GRAFANA / "dashboards" / path.name).read_text("utf-8")
        assert path.read_text("utf-8") == kept, "python deploy/grafana/make_dashboards.py"


def test_another_schema_reaches_every_query(tmp_path: Path) -> None:
    for path in load_generator().write("fab_dw", tmp_path):
        assert "dw.v_" not in path.read_text("utf-8").replace("fab_dw.", "")
    assert "fab_dw.v_wafer_yield" in (tmp_path / "gpwarehouse-fab.json").read_text("utf-8")


@pytest.mark.parametrize("name", BOARDS)
def test_grafanas_own_types_read_a_dashboard(name: str) -> None:
    sdk = pytest.importorskip("grafana_foundation_sdk", reason="needs grafana-foundation-sdk")
    from grafana_foundation_sdk.cog.plugins import register_default_plugins
    from grafana_foundation_sdk.models.dashboard import Dashboard

    assert sdk
    register_default_plugins()
    read = Dashboard.from_json(BOARDS[name])
    assert read.title == BOARDS[name]["title"]
    assert read.panels is not None
    assert [panel.title for panel in read.panels] == [panel["title"] for panel in BOARDS[name]["panels"]]


@pytest.mark.parametrize("name", BOARDS)
def test_panels_do_not_overlap(name: str) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in BOARDS[name]["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not taken & cells, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells


def test_dashboards_use_the_data_sources_that_are_provisioned() -> None:
    file = GRAFANA / "provisioning" / "datasources" / "gpwarehouse.yml"
    made = {each["uid"]: each["type"] for each in yaml.safe_load(file.read_text("utf-8"))["datasources"]}
    used = {target["datasource"]["uid"]: target["datasource"]["type"] for _, target in (each.values for each in PANELS)}
    assert used == made


def expand(sql: str) -> str:
    """SQL with Grafana's macros as its PostgreSQL data source writes them."""
    wide = r"\1 BETWEEN '2020-01-01T00:00:00Z' AND '2099-01-01T00:00:00Z'"
    written = re.sub(r"\$__timeFilter\((\w+)\)", wide, sql)
    assert "$__" not in written
    return written


@pytest.mark.parametrize(("panel", "target"), SQL)
def test_a_query_in_sql_finds_rows_of_the_fab(busy: Monitored, panel: dict[str, Any], target: dict[str, Any]) -> None:
    frame = busy.fab.read(expand(target["rawSql"]))
    assert len(frame), panel["title"]
    if panel["type"] == "timeseries":
        assert list(frame.columns) == ["time", "metric", "value"]
        assert isinstance(frame.time.dtype, pd.DatetimeTZDtype)
        assert frame["value"].notna().any()


@pytest.mark.parametrize(("panel", "target"), PROMQL)
def test_a_query_in_promql_finds_series_of_the_service(
    busy: Monitored, panel: dict[str, Any], target: dict[str, Any], server_info: ServerInfo
) -> None:
    may_be_empty = panel["title"] in MAY_BE_EMPTY or (
        panel["title"] in ONLY_WITH_SEGMENTS and server_info.brand is Brand.POSTGRESQL
    )
    found = busy.ask(target["expr"])  # which asserts that Prometheus can run it
    if not may_be_empty:
        wait_until(lambda: busy.ask(target["expr"]) != [], f"{panel['title']}: {target['expr']}")
    assert may_be_empty or found is not None


def test_the_yield_of_the_dashboard_is_the_truth_of_the_fab(busy: Monitored) -> None:
    (target,) = [t for p, t in (each.values for each in SQL) if p["title"] == "Lots with the lowest yield"]
    frame = busy.fab.read(expand(target["rawSql"]))
    view = busy.fab.read(
        "SELECT lot_id, test_stage, sum(good) AS good, sum(tested) AS tested FROM dw.v_wafer_yield "
        "WHERE basis = 'LAST' GROUP BY 1, 2"
    )
    wanted = {(row.lot_id, row.test_stage): 100 * row.good / row.tested for row in view.itertuples()}
    for row in frame.itertuples():
        assert row.die_yield_pct == pytest.approx(wanted[row.lot_id, row.test_stage])
