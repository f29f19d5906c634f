"""The alerts: each fires when it should and not else, has a section in the docs, and reads metrics that the service makes."""

from __future__ import annotations

import re
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import REGISTRY, generate_latest

import gpwarehouse.service.observing  # noqa: F401  (it makes its metrics)
from gpwarehouse import Warehouse
from gpwarehouse.backup import Verified
from gpwarehouse.engine import Segment
from gpwarehouse.monitoring import (
    DayOfBatches,
    LastLoad,
    MonthsOfTable,
    Replica,
    Sample,
    SizeOfTable,
    render_metrics,
)
from gpwarehouse.settings import WarehouseSettings
from gpwarehouse.settings.monitoring import thresholds
from gpwarehouse.warehouse import Health

TREE = Path(__file__).parents[2]
RULES = TREE / "deploy" / "prometheus" / "rules" / "gpwarehouse.yml"
ALERTS: dict[str, dict[str, Any]] = {
    rule["alert"]: rule for group in yaml.safe_load(RULES.read_text("utf-8"))["groups"] for rule in group["rules"]
}
SECTIONS = re.findall(r"^## (\w+)$", (TREE / "docs" / "how-to" / "alerts.md").read_text("utf-8"), re.MULTILINE)
FROM = 'job="gpwarehouse",instance="a:8000"'
"""Labels that Prometheus adds to each metric."""
HOUR = 3600
NOW = 4 * HOUR
"""When the rules are asked, s: after the longest `for`."""


def limit(name: str, value: float) -> tuple[str, str]:
    return f'gpwarehouse_threshold{{{FROM},name="{name}"}}', f"{value}x300"


def gauge(name: str, value: float, **labels: str) -> tuple[str, str]:
    """A series that keeps its value for five hours."""
    more = "".join(f',{label}="{said}"' for label, said in labels.items())
    prefix = "" if name == "up" else "gpwarehouse_"
    return f"{prefix}{name}{{{FROM}{more}}}", f"{value}x300"


def counter(name: str, step: float, **labels: str) -> tuple[str, str]:
    """A series that grows with each minute."""
    return gauge(name, 0, **labels)[0], f"0+{step}x300"


def latencies(fast: int, slow: int) -> list[tuple[str, str]]:
    steps = {"10": fast, "60": fast, "600": fast + slow, "+Inf": fast + slow}
    return [counter("query_seconds_bucket", step, kind="select", le=le) for le, step in steps.items()]


SEGMENT = {"content": "0", "role": "primary", "host": "sdw1", "port": "6000"}
LOADED = {"target": "fact_test_results", "source": "STDF"}
TABLE = {"table": "fact_test_results"}
LARGE = gauge("table_bytes", 1e12, **TABLE)
REJECTED = [gauge("day_rows_read", 1000, target="t"), limit("reject_percent", 5)]
AGE_LIMIT = gauge("load_age_limit_seconds", 2 * HOUR, target="fact_test_results")
# alert → series with which it fires, and with which it does not.
CASES: dict[str, tuple[list[tuple[str, str]], list[tuple[str, str]]]] = {
    "ServiceDown": ([gauge("up", 0)], [gauge("up", 1)]),
    "ServiceErrors": (
        [counter("http_requests_total", 9, status="200"), counter("http_requests_total", 1, status="500")],
        [counter("http_requests_total", 99, status="200"), counter("http_requests_total", 1, status="503")],
    ),
    "QueriesSlow": (
        [*latencies(fast=90, slow=10), limit("query_seconds", 60)],
        [*latencies(fast=99, slow=1), limit("query_seconds", 60)],
    ),
    "PoolExhausted": ([gauge("pool_waiting", 2)], [gauge("pool_waiting", 0)]),
    "JobsWaiting": (
        [gauge("jobs", 21, state="waiting"), limit("jobs_waiting", 20)],
        [gauge("jobs", 20, state="waiting"), gauge("jobs", 21, state="running"), limit("jobs_waiting", 20)],
    ),
    "WarehouseDown": ([gauge("health", 1, status="down")], [gauge("health", 1, status="degraded")]),
    "WarehouseDegraded": ([gauge("health", 1, status="degraded")], [gauge("health", 1, status="healthy")]),
    "WarehouseUnknown": ([gauge("health", 1, status="unknown")], [gauge("health", 0, status="unknown")]),
    "SegmentDown": ([gauge("segment_up", 0, **SEGMENT)], [gauge("segment_up", 1, **SEGMENT)]),
    "SegmentOutOfSync": ([gauge("segment_in_sync", 0, **SEGMENT)], [gauge("segment_in_sync", 1, **SEGMENT)]),
    "SegmentNotInPreferredRole": (
        [gauge("segment_in_preferred_role", 0, **SEGMENT)],
        [gauge("segment_in_preferred_role", 1, **SEGMENT)],
    ),
    "ReplicationStopped": (
        [gauge("replication_streaming", 0, standby="s")],
        [gauge("replication_streaming", 1, standby="s")],
    ),
    "ReplicationLagging": (
        [gauge("replication_lag_bytes", 2e8, standby="s"), limit("replication_lag_bytes", 1e8)],
        [gauge("replication_lag_bytes", 9e7, standby="s"), limit("replication_lag_bytes", 1e8)],
    ),
    "ConnectionsAlmostUsedUp": (
        [gauge("server_connections", 91), gauge("server_connections_limit", 100), limit("connections_percent", 90)],
        [gauge("server_connections", 90), gauge("server_connections_limit", 100), limit("connections_percent", 90)],
    ),
    "DiskAlmostFull": (
        [gauge("disk_free_bytes", 1e9, place="sdw1"), limit("disk_free_bytes", 5e9)],
        [gauge("disk_free_bytes", 6e9, place="sdw1"), limit("disk_free_bytes", 5e9)],
    ),
    "LoadFailed": (
        [gauge("day_batches", 1, target="t", outcome="failed")],
        [gauge("day_batches", 0, target="t", outcome="failed"), gauge("day_batches", 3, target="t", outcome="loaded")],
    ),
    "LoadLate": (
        [gauge("last_load_timestamp_seconds", HOUR, **LOADED), AGE_LIMIT],
        [
            gauge("last_load_timestamp_seconds", HOUR, **LOADED),
            gauge("last_load_timestamp_seconds", 3 * HOUR, **(LOADED | {"source": "CSV"})),
            gauge("last_load_timestamp_seconds", 0, target="a table without a limit", source=""),
            AGE_LIMIT,
        ],
    ),
    "RejectsMany": (
        [gauge("day_rows_rejected", 60, target="t"), *REJECTED],
        [gauge("day_rows_rejected", 40, target="t"), *REJECTED],
    ),
    "MonthsMissing": ([gauge("months_missing", 1, **TABLE)], [gauge("months_missing", 0, **TABLE)]),
    "MonthsAheadFew": (
        [gauge("months_ahead", 1, **TABLE), limit("months_ahead", 2)],
        [gauge("months_ahead", 2, **TABLE), limit("months_ahead", 2)],
    ),
    "TableSkewed": (
        [gauge("table_skew_percent", 60, **TABLE), LARGE, limit("skew_percent", 50), limit("skew_bytes", 1e9)],
        [gauge("table_skew_percent", 60, **TABLE), LARGE, limit("skew_percent", 50), limit("skew_bytes", 1e13)],
    ),
    "TableBloated": (
        [gauge("table_bloat_percent", 60, **TABLE), LARGE, limit("bloat_percent", 50), limit("bloat_bytes", 1e9)],
        [gauge("table_bloat_percent", 40, **TABLE), LARGE, limit("bloat_percent", 50), limit("bloat_bytes", 1e9)],
    ),
    "BackupOld": (
        [gauge("last_backup_timestamp_seconds", 0), limit("backup_age_seconds", 3 * HOUR)],
        [gauge("last_backup_timestamp_seconds", 2 * HOUR), limit("backup_age_seconds", 3 * HOUR)],
    ),
    "BackupDamaged": ([gauge("last_verify_problems", 1)], [gauge("last_verify_problems", 0)]),
    "ChangeUnended": (
        [gauge("changes_unended", 1, change="restore")],
        [gauge("changes_unended", 0, change="restore")],
    ),
    "MonitoringFails": (
        [gauge("monitor_failures", 3), gauge("monitor_sample_timestamp_seconds", NOW)],
        [gauge("monitor_failures", 2), gauge("monitor_sample_timestamp_seconds", NOW)],
    ),
    "MonitoringBlind": (
        [gauge("monitor_unreadable", 1, part="disk")],
        [gauge("monitor_unreadable", 0, part="disk")],
    ),
}


def promtool(*words: str, cwd: Path = TREE) -> str:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is not installed (Debian: apt-get install prometheus)")
    done = subprocess.run([program, *words], cwd=cwd, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def as_test(series: list[tuple[str, str]], alert: str, *, fires: bool) -> dict[str, Any]:
    """A test of promtool's: whether the alert fires."""
    expected = [{"labels": f'{{alertname="{alert}"}}', "value": 1}] if fires else []
    question = f'count by (alertname) (ALERTS{{alertname="{alert}",alertstate="firing"}})'
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series],
        "promql_expr_test": [{"expr": question, "eval_time": f"{NOW}s", "exp_samples": expected}],
    }


def test_every_alert_is_tried_and_no_other() -> None:
    assert CASES.keys() == ALERTS.keys()


@pytest.mark.parametrize("alert", CASES)
def test_an_alert_fires_when_it_should_and_not_else(alert: str, tmp_path: Path) -> None:
    fires, quiet = CASES[alert]
    tests = [as_test(fires, alert, fires=True), as_test(quiet, alert, fires=False)]
    file = tmp_path / "test.yml"
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": tests}))
    assert "SUCCESS" in promtool("test", "rules", str(file))


def test_promtool_notices_an_alert_that_does_not_fire(tmp_path: Path) -> None:
    file = tmp_path / "test.yml"
    tests = [as_test(CASES["ServiceDown"][1], "ServiceDown", fires=True)]
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "tests": tests}))
    with pytest.raises(AssertionError, match="FAILED"):
        promtool("test", "rules", str(file))


def test_the_rules_are_right_by_promtool() -> None:
    assert f"{len(ALERTS)} rules found" in promtool("check", "rules", str(RULES))


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_links_to_its_section(alert: str) -> None:
    page, _, anchor = ALERTS[alert]["annotations"]["runbook"].partition("#")
    assert (TREE / page).is_file()
    assert anchor in {section.lower() for section in SECTIONS}
    assert anchor == alert.lower()
    assert ALERTS[alert]["labels"]["severity"] in ("critical", "warning", "info")


def test_every_section_is_of_an_alert() -> None:
    assert set(SECTIONS) == set(ALERTS)


def full_metrics() -> str:
    """All metrics of the state, as a warehouse with everything would have them."""
    segments = (Segment(0, "p", "p", "s", "u", "sdw1", 6000), Segment(0, "m", "m", "s", "u", "sdw2", 7000))
    health = Health("healthy", (), latency_ms=1, connections=1, max_connections=9, standbys=1, segments=segments)
    now = datetime.now(UTC)
    sample = Sample(
        at=now,
        last_loads=(LastLoad("fact_test_results", "STDF", now),),
        day=(DayOfBatches("fact_test_results", 1, 1, 1, 1),),
        months=(MonthsOfTable("fact_test_results", 3, 0),),
        replicas=(Replica("s", True, 1),),
        sizes=(SizeOfTable("fact_test_results", 1, 1, 1.0, 1.0),),
        disk_free={"sdw1": 1},
        last_backup_at=now,
        last_verified=Verified("b", now, 0),
        unended={"restore": 0},
    )
    return render_metrics(WarehouseSettings(_env_file=None, threshold_load_age_h="fact_test_results=1"), health, sample)


def test_alerts_read_only_metrics_and_limits_that_there_are(wh: Warehouse) -> None:
    wh.read("SELECT 1")
    told = full_metrics() + generate_latest(REGISTRY).decode()
    made = {line.split()[2] for line in told.splitlines() if line.startswith("# TYPE")} | {"gpwarehouse_jobs"}
    for alert, rule in ALERTS.items():
        for name in re.findall(r"gpwarehouse_\w+", rule["expr"]):
            assert name in made or name.removesuffix("_bucket") in made, f"{alert}: {name}"
        for name in re.findall(r'threshold\{name="(\w+)"\}', rule["expr"]):
            assert name in thresholds(WarehouseSettings(_env_file=None)), f"{alert}: {name}"


def test_every_limit_is_read_by_an_alert() -> None:
    text = RULES.read_text("utf-8")
    assert {name for name in thresholds(WarehouseSettings(_env_file=None)) if f'name="{name}"' not in text} == set()


def test_the_metrics_are_as_prometheus_wants_them() -> None:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is not installed (Debian: apt-get install prometheus)")
    done = subprocess.run(
        [program, "check", "metrics"], input=full_metrics(), capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr


def test_alertmanagers_configuration_is_right() -> None:
    program = shutil.which("amtool")
    if program is None:
        pytest.skip("amtool is not installed (Debian: apt-get install prometheus-alertmanager)")
    file = TREE / "deploy" / "alertmanager" / "alertmanager.yml"
    done = subprocess.run([program, "check-config", file], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_configuration_is_right(tmp_path: Path) -> None:
    shutil.copytree(TREE / "deploy" / "prometheus", tmp_path, dirs_exist_ok=True)
    (tmp_path / "token").write_text("x")
    file = tmp_path / "prometheus.yml"
    file.write_text(file.read_text("utf-8").replace("/run/secrets/metrics_token", str(tmp_path / "token")))
    assert f"{len(ALERTS)} rules found" in promtool("check", "config", str(file))
