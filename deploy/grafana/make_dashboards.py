"""Write Grafana's dashboards into deploy/grafana/dashboards: ``python deploy/grafana/make_dashboards.py [--schema dw]``.

PromQL asks the metrics of the service. SQL asks the warehouse's views and control tables, with a reader's login, through
Grafana's PostgreSQL data source. The data sources are those of provisioning/datasources.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "dashboards"
PROMETHEUS = {"type": "prometheus", "uid": "gpwarehouse-prometheus"}
WAREHOUSE = {"type": "grafana-postgresql-datasource", "uid": "gpwarehouse-sql"}
_COLUMNS = 24


@dataclass(frozen=True)
class Panel:
    """A panel: its title, its kind, and its queries by the legend of each.

    :ivar unit: as Grafana names units.
    :ivar width: of 24 columns.
    :ivar about: shown beside the title.
    """

    title: str
    kind: str
    queries: dict[str, str]
    unit: str = "short"
    width: int = 12
    height: int = 8
    about: str = ""


@dataclass(frozen=True)
class Metrics(Panel):
    """A panel whose queries are PromQL."""


@dataclass(frozen=True)
class Sql(Panel):
    """A panel whose queries are SQL; of a time series the first column is ``time``."""


@dataclass(frozen=True)
class Board:
    """A dashboard."""

    uid: str
    title: str
    since: str
    panels: tuple[Panel, ...] = field(default_factory=tuple)


_LOADS = Board(
    "gpwarehouse-loads",
    "Warehouse: loads",
    "now-7d",
    (
        Metrics("Failed batches, 24 h", "stat", {"": 'sum(gpwarehouse_day_batches{outcome="failed"})'}, width=6),
        Metrics("Loaded batches, 24 h", "stat", {"": 'sum(gpwarehouse_day_batches{outcome="loaded"})'}, width=6),
        Metrics("Missing months", "stat", {"": "sum(gpwarehouse_months_missing)"}, width=6),
        Metrics("Fewest months ahead", "stat", {"": "min(gpwarehouse_months_ahead)"}, width=6),
        Metrics(
            "Time since the last load",
            "timeseries",
            {"{{target}}": "time() - max by (target) (gpwarehouse_last_load_timestamp_seconds > 0)"},
            unit="s",
        ),
        Metrics(
            "Rejected rows, 24 h",
            "timeseries",
            {"{{target}}": "100 * gpwarehouse_day_rows_rejected / (gpwarehouse_day_rows_read > 0)"},
            unit="percent",
        ),
        Sql(
            "Rows loaded by hour",
            "timeseries",
            {
                "": "SELECT date_trunc('hour', finished_at) AS time, target AS metric, sum(rows_loaded) AS value "
                "FROM {schema}.etl_load_batch WHERE status = 'LOADED' "
                "AND $__timeFilter(finished_at) GROUP BY 1, 2 ORDER BY 1, 2"
            },
        ),
        Sql(
            "Reasons of rejects",
            "table",
            {
                "": "SELECT target, column_name, reason, count(*) AS rows FROM {schema}.etl_reject "
                "WHERE $__timeFilter(rejected_at) GROUP BY 1, 2, 3 ORDER BY 4 DESC LIMIT 50"
            },
        ),
        Sql(
            "Last batches",
            "table",
            {
                "": "SELECT finished_at, target, batch_id, source_system, source, status, rows_read, rows_loaded, "
                "rows_rejected, error FROM {schema}.etl_load_batch "
                "WHERE $__timeFilter(finished_at) ORDER BY finished_at DESC LIMIT 100"
            },
            width=24,
        ),
    ),
)
_QUANTILE = "histogram_quantile({}, sum by ({}, le) (rate({}_bucket[5m])))"
_QUERIES = Board(
    "gpwarehouse-queries",
    "Warehouse: queries",
    "now-6h",
    (
        Metrics(
            "Statements",
            "timeseries",
            {"{{kind}} {{outcome}}": "sum by (kind, outcome) (rate(gpwarehouse_queries_total[5m]))"},
            unit="ops",
        ),
        Metrics(
            "Time of statements, 95 %",
            "timeseries",
            {"{{kind}}": _QUANTILE.format(0.95, "kind", "gpwarehouse_query_seconds")},
            unit="s",
        ),
        Metrics(
            "Time of statements, 50 %",
            "timeseries",
            {"{{kind}}": _QUANTILE.format(0.5, "kind", "gpwarehouse_query_seconds")},
            unit="s",
        ),
        Metrics(
            "Calls",
            "timeseries",
            {"{{endpoint}} {{status}}": "sum by (endpoint, status) (rate(gpwarehouse_http_requests_total[5m]))"},
            unit="reqps",
        ),
        Metrics(
            "Time of calls, 95 %",
            "timeseries",
            {"{{endpoint}}": _QUANTILE.format(0.95, "endpoint", "gpwarehouse_http_seconds")},
            unit="s",
        ),
        Metrics("Queries of callers", "timeseries", {"{{state}}": "gpwarehouse_service_queries"}),
        Metrics("Jobs", "timeseries", {"{{state}}": "gpwarehouse_jobs"}),
        Metrics(
            "Connections of the pools",
            "timeseries",
            {"{{state}}": "gpwarehouse_pool_connections", "waiting": "gpwarehouse_pool_waiting"},
        ),
        Metrics("Rows read", "timeseries", {"": "rate(gpwarehouse_read_rows_total[5m])"}, unit="rps"),
        Metrics(
            "Units repeated", "timeseries", {"{{reason}}": "sum by (reason) (rate(gpwarehouse_retries_total[5m]))"}
        ),
    ),
)
_CLUSTER = Board(
    "gpwarehouse-cluster",
    "Warehouse: cluster",
    "now-24h",
    (
        Metrics("Health", "timeseries", {"{{status}}": "gpwarehouse_health"}),
        Metrics("Time of a round trip", "timeseries", {"": "gpwarehouse_server_latency_seconds"}, unit="s"),
        Metrics("Segments down", "stat", {"": "count(gpwarehouse_segment_up == 0) or vector(0)"}, width=6),
        Metrics("Segments not in sync", "stat", {"": "count(gpwarehouse_segment_in_sync == 0) or vector(0)"}, width=6),
        Metrics(
            "Segments not in their role",
            "stat",
            {"": "count(gpwarehouse_segment_in_preferred_role == 0) or vector(0)"},
            width=6,
        ),
        Metrics(
            "Age of the last backup",
            "stat",
            {"": "time() - gpwarehouse_last_backup_timestamp_seconds"},
            unit="s",
            width=6,
        ),
        Metrics(
            "Segments",
            "table",
            {"": "gpwarehouse_segment_up"},
            about="1 is up. A server without segments has none.",
        ),
        Metrics(
            "Log that standbys lack",
            "timeseries",
            {"{{standby}}": "gpwarehouse_replication_lag_bytes"},
            unit="bytes",
        ),
        Metrics(
            "Connections of the server",
            "timeseries",
            {"in use": "gpwarehouse_server_connections", "limit": "gpwarehouse_server_connections_limit"},
        ),
        Metrics("Free disk space", "timeseries", {"{{place}}": "gpwarehouse_disk_free_bytes"}, unit="bytes"),
        Metrics("Largest tables", "timeseries", {"{{table}}": "topk(10, gpwarehouse_table_bytes)"}, unit="bytes"),
        Metrics("Bloat", "timeseries", {"{{table}}": "topk(10, gpwarehouse_table_bloat_percent)"}, unit="percent"),
        Metrics("Skew", "timeseries", {"{{table}}": "topk(10, gpwarehouse_table_skew_percent)"}, unit="percent"),
        Metrics(
            "Age of the sample",
            "timeseries",
            {"": "time() - gpwarehouse_monitor_sample_timestamp_seconds"},
            unit="s",
        ),
        Metrics("Parts that monitoring may not read", "table", {"": "gpwarehouse_monitor_unreadable == 1"}),
        Metrics("Alerts", "table", {"": 'ALERTS{alertstate="firing"}'}),
    ),
)
_FAB = Board(
    "gpwarehouse-fab",
    "Fab: yield and OEE",
    "now-90d",
    (
        Sql(
            "Die yield by product, last results",
            "timeseries",
            {
                "": "SELECT date_trunc('day', last_ts) AS time, product_id || ' ' || test_stage AS metric, "
                "CAST(100 AS double precision) * sum(good) / sum(tested) AS value FROM {schema}.v_wafer_yield "
                "WHERE basis = 'LAST' AND tested > 0 AND $__timeFilter(last_ts) GROUP BY 1, 2 ORDER BY 1, 2"
            },
            unit="percent",
        ),
        Sql(
            "OEE by type of tool",
            "timeseries",
            {
                "": "SELECT date_trunc('day', event_ts) AS time, equipment_type AS metric, "
                "100 * sum(theoretical_good_time_s) / NULLIF(sum(total_s), 0) AS value "
                "FROM {schema}.v_equipment_oee WHERE $__timeFilter(event_ts) GROUP BY 1, 2 ORDER BY 1, 2"
            },
            unit="percent",
            about="Sums of the addends, never means of ratios (SEMI E79).",
        ),
        Sql(
            "Wafers tested",
            "timeseries",
            {
                "": "SELECT date_trunc('day', last_ts) AS time, test_stage AS metric, count(DISTINCT wafer_key) AS value "
                "FROM {schema}.v_wafer_yield WHERE basis = 'LAST' AND $__timeFilter(last_ts) GROUP BY 1, 2 ORDER BY 1, 2"
            },
        ),
        Sql(
            "Defects per cm²",
            "timeseries",
            {
                "": "SELECT date_trunc('day', event_ts) AS time, layer_name AS metric, "
                "sum(defects) / NULLIF(sum(inspected_area_cm2), 0) AS value "
                "FROM {schema}.v_inspection_summary WHERE $__timeFilter(event_ts) GROUP BY 1, 2 ORDER BY 1, 2"
            },
        ),
        Sql(
            "Lots with the lowest yield",
            "table",
            {
                "": "SELECT lot_id, product_id, test_stage, count(*) AS wafers, "
                "CAST(100 AS double precision) * sum(good) / sum(tested) AS die_yield_pct, max(last_ts) AS last_ts "
                "FROM {schema}.v_wafer_yield WHERE basis = 'LAST' AND tested > 0 AND $__timeFilter(last_ts) "
                "GROUP BY 1, 2, 3 ORDER BY 5 LIMIT 20"
            },
        ),
        Sql(
            "Tools: OEE, MTBF, MTTR",
            "table",
            {
                "": "SELECT equipment_id, 100 * sum(theoretical_good_time_s) / NULLIF(sum(total_s), 0) AS oee_pct, "
                "100 * sum(productive_s + standby_s + engineering_s) / NULLIF(sum(total_s), 0) AS availability_pct, "
                "sum(productive_s) / 3600 / NULLIF(sum(failure_count), 0) AS mtbf_h, "
                "sum(repair_time_s) / 3600 / NULLIF(sum(repair_count), 0) AS mttr_h FROM {schema}.v_equipment_oee "
                "WHERE $__timeFilter(event_ts) GROUP BY 1 ORDER BY 2"
            },
        ),
        Sql(
            "Tools now",
            "table",
            {
                "": "SELECT equipment_id, main_state, main_state_share, last_event_ts, last_lot_id, last_step_name "
                "FROM {schema}.v_equipment_state ORDER BY equipment_id"
            },
            width=24,
        ),
    ),
)
BOARDS = (_LOADS, _QUERIES, _CLUSTER, _FAB)
"""All dashboards; ``{schema}`` in SQL stands for the schema's name."""


def as_json(board: Board, schema: str = "dw") -> dict[str, Any]:
    """A dashboard as Grafana reads it, for a schema of this name."""
    return {
        "uid": board.uid,
        "title": board.title,
        "tags": ["gpwarehouse"],
        "timezone": "browser",
        "schemaVersion": 39,
        "editable": False,
        "refresh": "1m",
        "time": {"from": board.since, "to": "now"},
        "panels": list(_placed(board.panels, schema)),
    }


def _placed(panels: tuple[Panel, ...], schema: str) -> Iterator[dict[str, Any]]:
    x = y = 0
    for number, panel in enumerate(panels, 1):
        if x + panel.width > _COLUMNS:
            x, y = 0, y + panel.height
        yield _panel(number, panel, schema, {"x": x, "y": y, "w": panel.width, "h": panel.height})
        x += panel.width


def _panel(number: int, panel: Panel, schema: str, place: dict[str, int]) -> dict[str, Any]:
    source = PROMETHEUS if isinstance(panel, Metrics) else WAREHOUSE
    return {
        "id": number,
        "title": panel.title,
        "description": panel.about,
        "type": panel.kind,
        "datasource": source,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": panel.unit}, "overrides": []},
        "targets": [
            {
                "refId": chr(ord("A") + at),
                "datasource": source,
                **_target(panel, legend, query.replace("{schema}", schema)),
            }
            for at, (legend, query) in enumerate(panel.queries.items())
        ],
    }


def _target(panel: Panel, legend: str, query: str) -> dict[str, Any]:
    is_table = panel.kind == "table"
    if isinstance(panel, Metrics):
        return {
            "expr": query,
            "legendFormat": legend,
            "instant": is_table,
            "range": not is_table,
            "format": "table" if is_table else "time_series",
        }
    return {"rawSql": query, "rawQuery": True, "editorMode": "code", "format": "table" if is_table else "time_series"}


def write(schema: str = "dw", folder: Path = FOLDER) -> list[Path]:
    """Write all dashboards into a folder."""
    paths = []
    for board in BOARDS:
        path = folder / f"{board.uid}.json"
        path.write_text(json.dumps(as_json(board, schema), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        paths.append(path)
    return paths


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write Grafana's dashboards.")
    parser.add_argument("--schema", default="dw", help="schema of the warehouse's tables (GPWAREHOUSE_SCHEMA)")
    write(parser.parse_args().schema)
