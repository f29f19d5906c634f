"""Small files with one trap each, from outside the repository, with the numbers that they must give."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from stdf_help import limits_of, parameters_of, read, verdicts_of

from gpwarehouse.errors import SourceFormatError
from gpwarehouse.sources import ValueCounts
from gpwarehouse.sources.stdf import StdfSource

CASES = Path(__file__).resolve().parents[3] / "shared" / "cases" / "stdf"

pytestmark = [
    pytest.mark.realdata,
    pytest.mark.skipif(not CASES.exists(), reason="cases not here: ../shared/cases/stdf"),
]


def case(name: str, **options: Any) -> tuple[list[dict[str, Any]], StdfSource]:
    (file,) = CASES.glob(f"{name}*")
    return read(file, **options)


def values(rows: list[dict[str, Any]], name: str) -> list[float]:
    return [row["values"][name] for row in rows]


def good(rows: list[dict[str, Any]], basis: str = "is_final_result") -> tuple[int, int]:
    """Units and good ones within the file, by the first or last insertion."""
    counted = [row for row in rows if row[basis]]
    return len(counted), sum(bool(row["is_pass"]) for row in counted)


def test_c01_same_number_several_names() -> None:
    rows, source = case("c01")
    assert source.values() == ValueCounts(12, 0)
    assert values(rows, "0 VREF") == [1.00, 1.02, 0.98]
    assert values(rows, "0 NOISE") == [-40, -41, -39.5]
    assert values(rows, "0 VDDIO") == [3.3, 3.2, 3.4]
    assert values(rows, "10 IDD") == [0.5] * 3
    limits = limits_of(source)
    assert limits["0 VREF"] == {"unit": "V", "lsl": 0.9, "usl": 1.1}
    assert limits["0 NOISE"] == {"unit": "dBm", "lsl": -50, "usl": -30}
    assert limits["0 VDDIO"] == {"unit": "V", "lsl": 3.0, "usl": 3.6}
    assert good(rows) == (3, 3)


def test_c02_one_mpr_per_pin() -> None:
    rows, source = case("c02")
    assert rows[0]["values"] == {
        "75000 Trise [Q5]": 0.27,
        "75000 Trise [Q6]": 0.2,
        "75000 Trise [Q7]": 0.23,
        "76000 VOH [Q5]": 1.3,
        "76000 VOH [Q6]": 1.2,
        "76000 VOH [Q7]": 1.1,
    }
    units = {entry.test_number: entry.unit for entry in parameters_of(source).values()}
    assert units == {75000: "ns", 76000: "V"}


def test_c03_text_of_windows() -> None:
    rows, source = case("c03")
    assert (rows[0]["lot_id"], rows[0]["temperature_c"]) == ("LOT–7", 25.0)
    assert [(e.test_name, e.unit) for e in parameters_of(source).values()] == [("I_LEAK – hot", "µA")]
    assert rows[0]["values"] == {"1 I_LEAK – hot": 1.0}


def test_c04_records_longer_than_their_fields() -> None:
    rows, _ = case("c04")
    assert (rows[0]["values"], good(rows)) == ({"1 A": 0.5, "2 B": 0.6}, (1, 1))


def test_c06_a_lost_block_is_refused_or_told() -> None:
    with pytest.raises(SourceFormatError, match="a record of type 0/0"):
        case("c06")
    rows, source = case("c06", allow_incomplete=True)
    told = " ".join(source.warnings())
    assert len(rows) == 338
    assert "skipped 1023 times: a record of type 0/0" in told
    assert "PCR counts 400 parts, but the file holds 338: 62 are missing" in told


def test_c07_a_beginning_or_an_end_is_missing() -> None:
    rows, _ = case("c07_")
    assert (values(rows, "1 T1"), values(rows, "2 T2")) == ([1.1, 1.2, 1.3], [2.1, 2.2, 2.3])
    assert good(rows) == (3, 3)
    rows, source = case("c07b")
    assert (values(rows, "1 A"), good(rows), source.values()) == ([0.2], (1, 1), ValueCounts(1, 1))
    assert "1 parts have a PIR but no PRR" in source.warnings()[0]


def test_c10_a_wafer_on_another_head() -> None:
    rows, _ = case("c10")
    assert ([row["wafer_id"] for row in rows], good(rows)) == (["07"] * 3, (3, 3))


def test_c11_sublots() -> None:
    files = [case(f"c11_sublot_{sublot}")[0] for sublot in "AB"]
    assert [good(rows) for rows in files] == [(10, 8), (10, 9)]
    assert [{row["sublot_id"] for row in rows} for rows in files] == [{"A"}, {"B"}]


def test_c12_retest_of_a_bin() -> None:
    rows, _ = case("c12_ft_first")
    assert (good(rows, "is_first_pass"), sum(row["hard_bin"] == 5 for row in rows)) == ((10, 7), 3)
    rows, _ = case("c12_ft_retest")
    assert ({row["retest_of_bins"] for row in rows}, good(rows)) == ({"5"}, (3, 2))
    assert not any(row["is_first_pass"] for row in rows)


@pytest.mark.parametrize(("name", "units"), [("c13", 12), ("c14", 4)])
def test_c13_c14_each_part_is_one_of_its_own(name: str, units: int) -> None:
    rows, _ = case(name)
    assert good(rows) == good(rows, "is_first_pass") == (units, units)


def test_c15_wafers_without_an_id_are_two() -> None:
    files = [case(f"c15_wafer_without_id_{number}")[0] for number in (1, 2)]
    assert [good(rows) for rows in files] == [(5, 5), (5, 3)]
    assert len({row["wafer_id"] for rows in files for row in rows}) == 2


def test_c17_a_name_that_comes_late() -> None:
    rows, source = case("c17")
    assert values(rows, "5 IDDQ") == [0.1, 0.2]
    assert limits_of(source) == {"5 IDDQ": {"unit": "A", "lsl": 0.0, "usl": 1.0}}


def test_c18_values() -> None:
    rows, source = case("c18")
    assert rows[0]["values"] == {
        "3 T3": 3.4e38,
        "4 T4": -1e-45,
        "4294967295 T4294967295": 1.5,
        "6 T6": 1.0,
        "7 T7": 1.0,
        "9 T9": 0.7,
        "10 T10": 0.7,
    }
    assert source.values() == ValueCounts(7, 3)
    found = verdicts_of(rows[0], source)
    assert [name for name, letter in found.items() if letter == "F"] == ["1 T1", "2 T2", "6 T6"]
    assert (found["7 T7"], found["10 T10"]) == ("P", "N")
    listed = parameters_of(source)
    assert (listed["6 T6"].usl_inclusive, listed["7 T7"].usl_inclusive) == (False, True)


@pytest.mark.parametrize(("name", "option"), [("c19", "--event-ts"), ("c20", "--lot-id")])
def test_c19_c20_what_is_missing_is_asked_for(name: str, option: str) -> None:
    with pytest.raises(SourceFormatError, match=option):
        case(name)


def test_c21_packed_forms() -> None:
    for file in CASES.glob("c21*"):
        rows, _ = read(file)
        assert [(row["lot_id"], row["is_pass"], row["values"]) for row in rows] == [("C21", True, {"1 A": 0.1})]


def test_c22b_a_contradiction_is_named() -> None:
    with pytest.raises(SourceFormatError, match=r"CPU_TYPE 1.* big-endian, .* little-endian"):
        case("c22b")


def test_c23_atdf() -> None:
    rows, source = case("c23")
    assert (good(rows, "is_first_pass"), good(rows)) == ((2, 1), (2, 2))
    assert (len(rows), source.values(), source.warnings()) == (3, ValueCounts(6, 0), [])
    assert {(row["lot_id"], row["wafer_id"], str(row["event_ts"])) for row in rows} == {
        ("C23", "07", "2024-07-23 08:23:05+00:00")
    }
    assert (values(rows, "100 VREF"), values(rows, "101 IDD")) == ([0.5, 1.25, 0.75], [4.25, 4.5, 4.75])
    assert [verdicts_of(row, source)["200"] for row in rows] == ["P", "F", "P"]


def test_c24_limits_of_each_part() -> None:
    rows, source = case("c24")
    (listed,) = parameters_of(source).values()
    for number, row in enumerate(rows, start=1):
        own = (row["own_limits"] or {}).get("1", {"lsl": listed.lsl, "usl": listed.usl})
        high = 0.53 if number == 5 else 0.6 + number / 100
        assert math.isclose(own["lsl"], 0.4 + number / 100)
        assert math.isclose(own["usl"], high)
        assert (own["lsl"] <= row["values"]["1 VT"] <= own["usl"]) == row["is_pass"] == (number < 5)
    assert good(rows) == (5, 4)


def test_c25_a_test_that_is_repeated() -> None:
    rows, _ = case("c25")
    assert (rows[0]["measured"], rows[0]["verdicts"], rows[0]["failed"]) == ([0.1, 0.2, 9.0, 0.3], "PPFP", [3])


def test_c26_the_summary_counts_more() -> None:
    with pytest.raises(SourceFormatError, match="PCR counts 5 parts, but the file holds 3: 2 are missing"):
        case("c26")
    assert "2 are missing" in case("c26", allow_incomplete=True)[1].warnings()[0]


def test_c27_functional_tests() -> None:
    rows, source = case("c27")
    passed = {"100 SCAN": "P", "101 MBIST": "P"}
    assert [verdicts_of(row, source) for row in rows] == [passed, passed | {"101 MBIST": "F"}, passed]
    assert (good(rows), len(parameters_of(source))) == ((3, 2), 3)


def test_c28_results_on_another_head() -> None:
    rows, source = case("c28")
    assert (good(rows), source.values()) == ((3, 3), ValueCounts(0, 3))
    assert "3 test results belong to no part" in source.warnings()[0]


def test_c33_two_testers_with_their_own_limits() -> None:
    rows, source = case("c33_limits_tester_A")
    assert {entry.usl for entry in parameters_of(source).values()} == {1.0}
    assert [good([row for row in rows if row["wafer_id"] == wafer]) for wafer in ("01", "02")] == [(3, 3)] * 2
    other, another = case("c33_limits_tester_B")
    assert {entry.usl for entry in parameters_of(another).values()} == {0.5}
    assert (good(other), other[0]["wafer_id"]) == ((3, 1), "05")
    assert other[0]["parameter_set_key"] != rows[0]["parameter_set_key"]


def test_c34_a_delimiter_is_no_part() -> None:
    rows, source = case("c34")
    assert (good(rows), source.values()) == ((8, 0), ValueCounts(8, 1))


def test_c36_codes_of_packaged_parts() -> None:
    first, _ = case("c36_ft_barcode_in_part_txt_1")
    again, _ = case("c36_ft_barcode_in_part_txt_2")
    assert [row["unit_id"] for row in first] == ["2D-A", "2D-B", "2D-C", "2D-D"]
    last = {row["unit_id"]: row["is_pass"] for row in [*first, *again]}
    assert (good(first, "is_first_pass"), len(last), sum(last.values())) == ((4, 2), 4, 3)
    assert {row["retest_of_bins"] for row in again} == {"Y"}
