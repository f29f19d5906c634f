"""The cases of test_stdf_cases, loaded: what the views give of them on whichever server the tests run."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest

from gpwarehouse import Warehouse
from gpwarehouse.errors import SourceFormatError
from gpwarehouse.load import LoadResult

CASES = Path(__file__).resolve().parents[3] / "shared" / "cases" / "stdf"

pytestmark = [
    pytest.mark.realdata,
    pytest.mark.skipif(not CASES.exists(), reason="cases not here: ../shared/cases/stdf"),
]

REFUSED = ("c06", "c19", "c20", "c22b", "c26")


@pytest.fixture(scope="module")
def results(shared_wh: Warehouse) -> dict[str, LoadResult]:
    """All cases that are not refused, in the order of their names."""
    files = [file for file in sorted(CASES.glob("c*")) if not file.name.startswith(REFUSED)]
    return {file.name: shared_wh.load_file(file) for file in files}


def test_refused_files_leave_nothing(shared_wh: Warehouse, results: dict[str, LoadResult]) -> None:
    before = shared_wh.read("SELECT count(*) AS n FROM dw.fact_test_results").n[0]
    for name in REFUSED:
        (file,) = CASES.glob(f"{name}_*")
        with pytest.raises(SourceFormatError, match=file.name):
            shared_wh.load_file(file)
    assert shared_wh.read("SELECT count(*) AS n FROM dw.fact_test_results").n[0] == before


def test_values_are_counted_by_the_load(results: dict[str, LoadResult]) -> None:
    counts = {name[:4].rstrip("_"): (r.values_stored, r.values_left_out) for name, r in results.items()}
    assert {name: counts[name] for name in ("c01", "c02", "c18", "c25", "c27", "c28", "c34")} == {
        "c01": (12, 0),
        "c02": (6, 0),
        "c18": (7, 3),
        "c25": (4, 0),
        "c27": (0, 0),
        "c28": (0, 3),
        "c34": (8, 1),
    }
    assert all(result.warnings for result in results.values() if result.values_left_out)


@pytest.mark.parametrize(
    ("lot", "first", "last"),
    [
        ("C01", "3/3", "3/3"),
        ("C04", "1/1", "1/1"),
        ("C07", "3/3", "3/3"),
        ("C07b", "1/1", "1/1"),
        ("C10", "3/3", "3/3"),
        ("C11", "20/17", "20/17"),
        ("C12", "10/7", "10/9"),
        ("C13", "12/12", "12/12"),
        ("C14", "4/4", "4/4"),
        ("C15", "10/8", "10/8"),
        ("C23", "2/1", "2/2"),
        ("C24", "5/4", "5/4"),
        ("C27", "3/2", "3/2"),
        ("C28", "3/3", "3/3"),
        ("C33A", "6/6", "6/6"),
        ("C33B", "3/1", "3/1"),
        ("C34", "8/0", "8/0"),
        ("C36", "4/2", "4/3"),
        ("LOT–7", "1/1", "1/1"),
    ],
)
def test_yields(shared_wh: Warehouse, results: dict[str, LoadResult], lot: str, first: str, last: str) -> None:
    rows = shared_wh.read("SELECT basis, tested, good FROM dw.v_lot_yield WHERE lot_id = :lot", lot=lot)
    found = {basis: f"{tested}/{good}" for basis, tested, good in rows.itertuples(index=False)}
    assert (found["FIRST"], found["LAST"]) == (first, last)


def test_wafers(shared_wh: Warehouse, results: dict[str, LoadResult]) -> None:
    rows = shared_wh.read("SELECT lot_id, wafer_id, tested, good FROM dw.v_wafer_yield WHERE basis = 'LAST'")
    found = {lot: [] for lot in rows.lot_id}
    for lot, wafer, tested, good in rows.itertuples(index=False):
        found[lot].append((wafer, tested, good))
    assert found["C10"] == [("07", 3, 3)]
    assert sorted(found["C33A"]) == [("01", 3, 3), ("02", 3, 3)]
    assert found["C33B"] == [("05", 3, 1)]
    assert sorted(good for _, _, good in found["C15"]) == [3, 5]


def values(wh: Warehouse, lot: str) -> list[tuple[object, ...]]:
    """Name, pin, occurrence, value, in spec, passed by the tester: in the order of parts and names."""
    rows = wh.read(
        "SELECT test_name, pin, occurrence, value, is_in_spec, tester_passed FROM dw.v_test_values WHERE lot_id = :lot "
        "ORDER BY source_record_no, test_name, pin, occurrence",
        lot=lot,
    )
    return [tuple(None if pd.isna(value) else value for value in row) for row in rows.itertuples(index=False)]


def test_values(shared_wh: Warehouse, results: dict[str, LoadResult]) -> None:
    assert values(shared_wh, "C01") == [
        (name, "", 1, value, True, True)
        for part in zip((0.5,) * 3, (-40, -41, -39.5), (3.3, 3.2, 3.4), (1.00, 1.02, 0.98), strict=True)
        for name, value in zip(("IDD", "NOISE", "VDDIO", "VREF"), part, strict=True)
    ]
    assert [row[:4] for row in values(shared_wh, "C02")] == [
        ("Trise", "Q5", 1, 0.27),
        ("Trise", "Q6", 1, 0.2),
        ("Trise", "Q7", 1, 0.23),
        ("VOH", "Q5", 1, 1.3),
        ("VOH", "Q6", 1, 1.2),
        ("VOH", "Q7", 1, 1.1),
    ]
    assert [row[:4] for row in values(shared_wh, "C17")] == [("IDDQ", "", 1, 0.1), ("IDDQ", "", 1, 0.2)]
    assert values(shared_wh, "C25") == [
        ("LOOPED", "", 1, 0.1, True, True),
        ("LOOPED", "", 2, 0.2, True, True),
        ("LOOPED", "", 3, 9.0, False, False),
        ("LOOPED", "", 4, 0.3, True, True),
    ]


def test_a_limit_itself_is_in_spec_or_not_by_its_flag(shared_wh: Warehouse, results: dict[str, LoadResult]) -> None:
    found = {row[0]: row[3:] for row in values(shared_wh, "C18")}
    assert (found["T6"], found["T7"]) == ((1.0, False, False), (1.0, True, True))
    assert (found["T9"], found["T10"]) == ((0.7, True, True), (0.7, True, None))
    assert found["T3"] == (3.4e38, False, True)
    assert math.isclose(found["T4"][0], -1e-45)
    assert len(found) == 7


def test_limits_are_those_of_the_file_or_of_the_part(shared_wh: Warehouse, results: dict[str, LoadResult]) -> None:
    assert [row[3:] for row in values(shared_wh, "C24")] == [
        (0.51, True, True),
        (0.52, True, True),
        (0.53, True, True),
        (0.54, True, True),
        (0.55, False, False),
    ]
    assert {row[4] for row in values(shared_wh, "C33A")} == {True}
    assert [row[3:5] for row in values(shared_wh, "C33B")] == [(0.3, True), (0.6, False), (0.9, False)]


def test_fails_of_all_kinds(shared_wh: Warehouse, results: dict[str, LoadResult]) -> None:
    rows = shared_wh.read("SELECT lot_id, test_name, failed, executed FROM dw.v_test_fails")
    found = {(lot, name): (failed, executed) for lot, name, failed, executed in rows.itertuples(index=False)}
    assert found["C27", "MBIST"] == (1, 3)
    assert {name for lot, name in found if lot == "C27"} == {"MBIST"}
    assert {name for lot, name in found if lot == "C18"} == {"T1", "T2", "T6"}
    assert found["C25", "LOOPED"] == (1, 1)
    assert found["C12", "A"] == (4, 13)


def test_parts_of_a_wafer_without_coordinates_are_not_one(shared_wh: Warehouse, real_data: Path) -> None:
    """The real ATDF file counts every part as number 1; two of its parts have no coordinates."""
    shared_wh.load_file(real_data / "atdf" / "COORDLESS-LOT-01.atdf", event_ts="2026-01-05")
    rows = shared_wh.read(
        "SELECT wafer_id, tested, good FROM dw.v_wafer_yield WHERE lot_id = 'LOT-COORDLESS-01' AND basis = 'FIRST'"
    )
    assert rows.to_numpy().tolist() == [["W01", 8, 8]]
