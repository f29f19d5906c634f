"""Rows to load and what the server then holds, for the tests of this folder."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import text

from gpwarehouse import Warehouse

NOON = datetime(2024, 3, 5, 12, tzinfo=UTC)
MEASUREMENTS = "fact_process_measurements"
DEFECTS = "fact_defect_inspection"


def measurement(**values: Any) -> dict[str, Any]:
    """A step visit of wafer 02 of lot L1, and what else is said of it."""
    return {
        "event_ts": NOON,
        "lot_id": "L1",
        "wafer_id": "02",
        "equipment_id": "ETCH-01",
        "process_flow_id": "FLOW",
        "step_number": "100",
    } | values


def defect(**values: Any) -> dict[str, Any]:
    """A defect on wafer 02 of lot L1: this fact has columns of every type that none of its checks narrows."""
    return {
        "event_ts": NOON,
        "lot_id": "L1",
        "wafer_id": "02",
        "inspection_id": "I1",
        "is_defect": True,
    } | values


def stored(wh: Warehouse, target: str, batch_id: str, *columns: str) -> list[tuple[Any, ...]]:
    """These columns of a batch's rows in the order of their record numbers, as the driver gives them."""
    query = f"SELECT {', '.join(columns)} FROM dw.{target} WHERE batch_id = :batch ORDER BY source_record_no"
    with wh.engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(query), {"batch": batch_id})]


def scalar(wh: Warehouse, query: str, **values: Any) -> Any:
    """The one value of a query."""
    with wh.engine.connect() as connection:
        return connection.execute(text(query), values).scalar_one()


def versions(wh: Warehouse, dimension: str, where: str, *columns: str, **values: Any) -> list[tuple[Any, ...]]:
    """These columns of a member's versions, oldest first."""
    query = f"SELECT {', '.join(columns)} FROM dw.{dimension} WHERE {where} ORDER BY effective_date"
    with wh.engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(query), values)]
