"""What only a cluster shows: where rows lie, which partitions are read, which rows move."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import text

from gpwarehouse import Warehouse
from gpwarehouse.dialect import AppendOptimized, DistributedBy, DistributedReplicated, Heap, RangePartitions
from gpwarehouse.dialect.reflection import distributions_of, partitions_of, storages_of
from gpwarehouse.engine import dialect_of
from gpwarehouse.models import BRIDGES, DIMENSIONS, FACTS

pytestmark = pytest.mark.segments

COLUMN_ZSTD = AppendOptimized(orientation="column", compresstype="zstd", compresslevel=1)


@pytest.fixture(scope="module")
def loaded(shared_wh: Warehouse) -> Warehouse:
    """Three months of test results of 40 wafers."""
    rows = [
        {
            "event_ts": datetime(2026, month, 1 + wafer % 25, tzinfo=UTC), "lot_id": f"L{wafer % 4}",
            "wafer_id": str(wafer), "test_type": "CP", "test_stage": "CP1", "die_x": die, "die_y": 1,
            "is_pass": True, "is_first_pass": True, "is_final_result": True, "insertion_no": 1, "retest_no": 0,
            "process_flow_id": "P", "step_number": "CP1", "equipment_id": "T1",
        }
        for month in (1, 2, 3) for wafer in range(40) for die in range(5)
    ]  # fmt: skip
    assert shared_wh.load("fact_test_results", rows).rows_loaded == 600
    with shared_wh.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE dw.fact_test_results"))
        connection.execute(text("ANALYZE dw.dim_wafer"))
    return shared_wh


def catalog_of(warehouse: Warehouse, function: Any) -> dict[str, Any]:
    with warehouse.engine.connect() as connection:
        found: dict[str, Any] = function(connection, dialect_of(warehouse.engine), "dw")
        return found


def test_tables_are_distributed_as_the_contract_says(shared_wh: Warehouse) -> None:
    found = catalog_of(shared_wh, distributions_of)
    wanted = dict.fromkeys(DIMENSIONS, DistributedReplicated()) | dict.fromkeys(FACTS, DistributedBy("wafer_key"))
    wanted |= {"dim_wafer": DistributedBy("wafer_key"), "bridge_wafer_lot": DistributedBy("wafer_key")}
    replicated = ("bridge_lot_genealogy", "bridge_parameter_set", "bridge_step_limits")
    wanted |= dict.fromkeys(replicated, DistributedReplicated())
    wanted |= {"agg_test_values": DistributedBy("wafer_key"), "agg_process_values": DistributedBy("lot_key")}
    wanted |= {"fact_equipment_performance": DistributedBy("equipment_key")}
    wanted |= {"etl_load_batch": DistributedBy("batch_id"), "etl_reject": DistributedBy("batch_id")}
    wanted |= {"etl_removal": DistributedBy("batch_id")}
    wanted |= {"etl_audit": DistributedBy("query_id")}
    wanted |= {"etl_member_observation": DistributedBy("member_key")}
    wanted |= {"etl_migration_history": DistributedBy("revision"), "alembic_version": DistributedBy("version_num")}
    assert {name: value for name, value in found.items() if "_1_prt_" not in name} == wanted


def test_facts_are_column_oriented_zstd_in_every_partition_and_dimensions_are_heap(loaded: Warehouse) -> None:
    found = catalog_of(loaded, storages_of)
    facts = {name: storage for name, storage in found.items() if name.startswith("fact_")}
    assert len(facts) == 4 + 4 + 3  # roots, anchors, the three months of the load
    assert set(facts.values()) == {COLUMN_ZSTD}
    assert {found[name] for name in (*DIMENSIONS, *BRIDGES)} == {Heap()}


def test_a_load_makes_its_months_and_no_others(loaded: Warehouse) -> None:
    found: dict[str, RangePartitions] = catalog_of(loaded, partitions_of)
    made = {name: [p.name for p in partitions.partitions] for name, partitions in found.items()}
    assert made.pop("fact_test_results") == ["m200001", "m202601", "m202602", "m202603"]
    others = [*FACTS, "agg_test_values", "agg_process_values"]
    assert made == {name: ["m200001"] for name in others if name != "fact_test_results"}


def test_rows_of_a_wafer_lie_on_one_segment_and_wafers_on_all(loaded: Warehouse) -> None:
    spread = loaded.read(
        "SELECT wafer_key, count(DISTINCT gp_segment_id) AS segments, min(gp_segment_id) AS segment "
        "FROM dw.fact_test_results GROUP BY wafer_key"
    )
    assert (spread.segments == 1).all()
    assert spread.segment.nunique() == 2


@pytest.fixture(params=["on", "off"], ids=["ORCA", "Postgres planner"])
def planner(request: pytest.FixtureRequest, loaded: Warehouse) -> str:
    wanted: str = request.param
    with loaded.engine.connect() as connection:
        connection.execute(text(f"SET optimizer = {wanted}"))
        plan = "\n".join(connection.execute(text("EXPLAIN SELECT count(*) FROM dw.fact_test_results")).scalars())
        connection.rollback()
    if wanted == "on" and "Pivotal Optimizer" not in plan and "GPORCA" not in plan:
        pytest.skip("this build of the server has no ORCA")
    return wanted


def explain(warehouse: Warehouse, planner: str, sql: str, **params: Any) -> str:
    with warehouse.engine.connect() as connection:
        connection.execute(text(f"SET optimizer = {planner}"))
        plan = "\n".join(connection.execute(text(f"EXPLAIN ANALYZE {sql}"), params).scalars())
        connection.rollback()
    assert ("GPORCA" in plan or "Pivotal Optimizer" in plan) == (planner == "on"), plan
    return plan


def test_a_months_filter_reads_one_partition(loaded: Warehouse, planner: str) -> None:
    plan = explain(
        loaded,
        planner,
        "SELECT count(*) FROM dw.fact_test_results WHERE event_ts >= :start AND event_ts < :end",
        start=datetime(2026, 2, 1, tzinfo=UTC),
        end=datetime(2026, 3, 1, tzinfo=UTC),
    )
    named = {name for name in ("m200001", "m202601", "m202602", "m202603") if f"_1_prt_{name}" in plan}
    selected = re.search(r"(?:Partitions selected|Number of partitions to scan): 1 \(out of 4\)", plan)
    assert named == {"m202602"} or (not named and selected), plan


def test_a_fact_joins_its_wafers_with_no_motion_but_the_gather(loaded: Warehouse, planner: str) -> None:
    plan = explain(
        loaded,
        planner,
        "SELECT f.die_x, w.wafer_id FROM dw.fact_test_results AS f "
        "JOIN dw.dim_wafer AS w ON w.wafer_key = f.wafer_key AND w.is_current",
    )
    assert "Gather Motion" in plan
    assert "Redistribute" not in plan, plan
    assert "Broadcast" not in plan, plan


def test_a_fact_joins_a_replicated_dimension_with_no_motion_but_the_gather(loaded: Warehouse, planner: str) -> None:
    plan = explain(
        loaded,
        planner,
        "SELECT f.die_x, l.lot_id FROM dw.fact_test_results AS f "
        "JOIN dw.dim_lot AS l ON l.lot_key = f.lot_key AND l.is_current",
    )
    assert "Redistribute" not in plan, plan
    assert "Broadcast" not in plan, plan


def test_the_yield_of_wafers_is_computed_where_they_lie(loaded: Warehouse, planner: str) -> None:
    plan = explain(loaded, planner, "SELECT * FROM dw.v_wafer_yield")
    assert "Redistribute" not in plan, plan
    assert "Broadcast" not in plan, plan
