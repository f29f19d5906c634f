"""wh.tables: what the catalog knows of tables, and their maintenance."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import text

from gpwarehouse import Warehouse
from gpwarehouse.dialect import Brand, ServerInfo
from gpwarehouse.errors import InvalidInputError

TESTS = "fact_test_results"


@pytest.fixture(scope="module")
def loaded(shared_wh: Warehouse) -> Warehouse:
    rows = [
        {
            "event_ts": datetime(2026, month, 2, tzinfo=UTC), "lot_id": "L1", "wafer_id": "1", "test_type": "CP",
            "test_stage": "CP1", "die_x": die, "die_y": month, "is_pass": True, "is_first_pass": True,
            "is_final_result": True, "insertion_no": 1, "retest_no": 0, "process_flow_id": "P", "step_number": "CP1",
            "equipment_id": "T1",
        }
        for month in (1, 2) for die in range(50)
    ]  # fmt: skip
    assert shared_wh.load(TESTS, rows, analyze="never").rows_loaded == 100
    return shared_wh


def row_of(wh: Warehouse, table: str) -> Any:
    tables = wh.tables.list()
    return tables[tables["table"] == table].iloc[0]


def test_all_tables_are_listed_and_months_count_for_their_table(loaded: Warehouse) -> None:
    loaded.tables.optimize(TESTS)
    names = list(loaded.tables.list()["table"])
    assert names == sorted(names)
    assert {TESTS, "dim_lot", "etl_load_batch"} <= set(names)
    assert not [name for name in names if name.startswith(f"{TESTS}_")]
    row = row_of(loaded, TESTS)
    assert (row["rows_estimated"], row["months"]) == (100, 3)  # the first revision makes a month in 1900, too
    assert row["bytes"] > 0
    assert row["comment"]


def test_optimize_gathers_the_statistics_that_stats_tells(loaded: Warehouse) -> None:
    before = datetime.now(UTC)
    done = loaded.tables.optimize(TESTS, vacuum=True)
    assert done.analyzed == (TESTS,)
    assert done.vacuumed == (TESTS,)
    assert done.warnings == ()
    stats = loaded.tables.stats(TESTS)
    assert stats.rows_estimated == 100
    assert list(stats.months["rows_estimated"]) == [0, 50, 50]
    with loaded.engine.connect() as connection:  # statistics of activity come a moment later on old servers
        connection.execute(text("SELECT 1"))
    assert stats.last_analyzed is None or stats.last_analyzed >= before.replace(microsecond=0)


def test_one_month_alone_is_optimized(loaded: Warehouse) -> None:
    done = loaded.tables.optimize(TESTS, month="2026-02")
    assert len(done.analyzed) >= 1
    assert "2026" in done.analyzed[0]


def test_skew_is_of_segments_only(loaded: Warehouse, server_info: ServerInfo) -> None:
    skew = loaded.tables.stats(TESTS).skew_pct
    assert (skew is None) == (server_info.brand is Brand.POSTGRESQL)
    assert skew is None or skew >= 0


@pytest.mark.parametrize("table", ["nothing", "dw.dim_lot", "dim_lot; DROP TABLE dw.dim_lot", "", "\ud800"])
def test_a_table_that_is_not_there_is_named(loaded: Warehouse, table: str) -> None:
    with pytest.raises(InvalidInputError, match="there is no table"):
        loaded.tables.stats(table)
    with pytest.raises(InvalidInputError, match="there is no table"):
        loaded.tables.optimize(table)


def test_a_month_that_is_not_there_is_named(loaded: Warehouse) -> None:
    with pytest.raises(InvalidInputError, match="no month 2031-01"):
        loaded.tables.optimize(TESTS, month="2031-01")
    with pytest.raises(InvalidInputError, match="is no month"):
        loaded.tables.optimize(TESTS, month="January")
    with pytest.raises(InvalidInputError, match="has no month"):
        loaded.tables.optimize("dim_lot", month="2026-01")
