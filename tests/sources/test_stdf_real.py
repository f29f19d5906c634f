"""A real lot: the numbers published with it, counted from our rows."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from stdf_help import parameters_of, read

from gpwarehouse.models.parameter_sets import Parameter
from gpwarehouse.sources import ValueCounts
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
    limits = {entry.test_number: entry for entry in parameters_of(source).values()}
    assert (len(limits), sum(len(row["values"]) for row in rows)) == (74, 52_403)
    assert source.values() == ValueCounts(52_403, 0)
    assert sum(len(row["failed"] or ()) for row in rows) == 81  # TEST_FLG 128 and 129
    name = "Abs comp       <> ABS_COM"
    assert limits[1100] == Parameter(
        f"1100 {name}", 1100, name, unit="a", lsl=-0.00055, usl=1e-05, lsl_inclusive=False, usl_inclusive=False
    )
    assert (limits[1300].test_name, limits[1300].lsl, limits[1300].usl) == (
        "Uvlo hysteresis  <> UVLO_HYS",
        None,  # OPT_FLAG bit 6
        1.0,
    )
    assert (sum(row["own_limits"] is not None for row in rows), source.warnings()) == (0, [])


def test_the_testers_own_records_are_kept_with_the_parts(lot: tuple[list[dict[str, Any]], StdfSource]) -> None:
    rows, _ = lot
    records = [record for row in rows for record in (row["parameters"] or {}).get("GDR", ())]
    assert len(records) == 785
    assert records[0] == ["IMAGE_SETUP_FDLOG", 4, 0, 1]
    assert records[1] == ["IMAGE_PART_ID", 2]
    assert {row["sublot_id"] for row in rows} == {"02"}


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
    whole, _ = read(DATA)
    runs, source = read(DATA, chunk_bytes=200_000)
    assert len(list(source.batches())) > 15
    assert repr(runs) == repr(whole)  # NaN is not equal to itself
    assert whole[1]["values"]["1000 glxy_SS_IH     <> glxy_pin2"] == -0.66164064
