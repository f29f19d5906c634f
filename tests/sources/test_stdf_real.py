"""A real lot: the numbers published with it, counted from our rows."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from stdf_help import read, step

from gpwarehouse.sources.stdf import StdfSource

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "stdf" / "lot2.stdf.gz"

pytestmark = [
    pytest.mark.realdata,
    pytest.mark.skipif(not DATA.exists(), reason="real input not here: ../shared/data/stdf/lot2.stdf.gz"),
]


@pytest.fixture(scope="module")
def lot() -> tuple[list[dict[str, Any]], StdfSource]:
    return read(DATA)


def test_yield_by_first_and_last_insertion(lot: tuple[list[dict[str, Any]], StdfSource]) -> None:
    rows, source = lot
    assert len(rows) == source.insertions == 1569
    assert sum(row["is_pass"] for row in rows) == 1389
    assert len({(row["die_x"], row["die_y"]) for row in rows}) == 1456
    first = [row for row in rows if row["is_first_pass"]]
    last = [row for row in rows if row["is_final_result"]]
    assert (len(first), len(last)) == (1456, 1456)
    assert (sum(row["is_pass"] for row in first), sum(row["is_pass"] for row in last)) == (1343, 1389)
    assert [row["source_record_no"] for row in rows] == list(range(1, 1570))


def test_every_value_and_limit(lot: tuple[list[dict[str, Any]], StdfSource]) -> None:
    rows, source = lot
    values: Counter[str] = Counter()
    for row in rows:
        for test in row["parameters"] or {}:
            values[test] += (row["parameter_counts"] or {}).get(test, 1)
    limits = step(source)["control_limits"]
    assert (len(values), values.total()) == (74, 52_403)
    assert set(limits) == set(values)
    assert limits["1100"] == {"name": "Abs comp       <> ABS_COM", "unit": "a", "lsl": -0.00055, "usl": 1e-05}
    assert limits["1300"] == {"name": "Uvlo hysteresis  <> UVLO_HYS", "usl": 1.0}  # OPT_FLAG bit 6: no low limit


def test_what_the_header_says(lot: tuple[list[dict[str, Any]], StdfSource]) -> None:
    rows, source = lot
    same = {
        "facility": None,
        "lot_id": "GAL-LOT",
        "wafer_id": "GAL-LOT-02",
        "product_id": "GOLD8BAR",
        "process_flow_id": "mobile-05",
        "flow_version": "16",
        "step_number": "E38",
        "equipment_id": "galaxy-t",
        "prober_id": "electrogl",
        "operator_id": "ews",
        "test_type": "CP",
        "event_ts": datetime(2001, 6, 5, 20, 50, 22, tzinfo=UTC),
        "temperature_c": None,
        "test_time_ms": None,
    }
    for row in rows:
        assert {name: row[name] for name in same} == same
    assert source.members()["dim_lot"][0]["lot_type"] == "ENG"
    assert source.checksum == "e2a77df87fbf97c17e8e1a48bb4a702aa2307e1ce6abb41291022269af085958"


def test_small_runs_give_the_same_rows() -> None:
    whole = [row for batch in StdfSource(DATA).batches() for row in batch.to_pylist()]
    runs = list(StdfSource(DATA, chunk_bytes=200_000).batches())
    assert len(runs) > 15
    assert [row for batch in runs for row in batch.to_pylist()] == whole
    assert json.loads(whole[1]["parameters"])["1000"] == -0.66164064
