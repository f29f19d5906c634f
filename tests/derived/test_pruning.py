"""A span of time reads its months alone, through the views."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from sqlalchemy import text

from gpwarehouse import Warehouse
from gpwarehouse.models import FACTS
from gpwarehouse.months import ensure_months


@pytest.mark.parametrize(
    ("view", "fact"), [("v_test_values", "fact_test_results"), ("v_process_values", "fact_process_measurements")]
)
def test_a_span_of_time_reads_its_months_alone(wh: Warehouse, view: str, fact: str) -> None:
    ensure_months(wh.engine, FACTS[fact].__table__, [datetime(2026, month, 1, tzinfo=UTC) for month in (1, 2, 3)])
    span = "event_ts >= '2026-02-01 00:00+00' AND event_ts < '2026-03-01 00:00+00'"
    with wh.engine.connect() as connection:
        plan = "\n".join(
            connection.execute(text(f"EXPLAIN SELECT count(*), avg(value) FROM dw.{view} WHERE {span}")).scalars()
        )
        everything = "\n".join(
            connection.execute(text(f"EXPLAIN SELECT count(*), avg(value) FROM dw.{view}")).scalars()
        )
    if "Number of partitions to scan" in everything:  # ORCA names no partition
        assert "partitions to scan: 1 " in plan
        assert "partitions to scan: 4 " in everything
        return
    assert "m202602" in plan
    assert not {name for name in ("m200001", "m202601", "m202603") if f"{fact}_1_prt_{name}" in plan}
    assert f"{fact}_1_prt_m202603" in everything
