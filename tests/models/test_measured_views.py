"""The views of arrays, verdicts and units, each against numbers worked out by hand."""

from __future__ import annotations

import math
import statistics
from typing import Any

import pytest

from gpwarehouse import models
from gpwarehouse.models.parameter_sets import Parameter
from tests.models.conftest import Rows, at
from tests.models.measured import Lot, store

NAN = math.nan


def test_an_element_is_a_value_by_number_name_pin_and_occurrence(db: Rows) -> None:
    key = store(
        db,
        Parameter("NOISE", 0, "NOISE", unit="dBm", lsl=-50, usl=-30),
        Parameter("VREF", 0, "VREF", unit="V", lsl=0.9, usl=1.1),
        Parameter("ACV @Q5", 75, "ACV", "Q5", kind="MULTIPLE", unit="ns"),
        Parameter("ACV @Q5 2", 75, "ACV", "Q5", 2, kind="MULTIPLE", unit="ns"),
    )
    lot = Lot(db)
    lot.insertion((1, 1), True, parameter_set_key=key, measured=[-41, 1.2, 0.2, NAN], verdicts="PFN-", failed=[2])
    rows = db.view("v_test_values", order="test_number, test_name")
    wanted = (
        "test_number",
        "test_name",
        "pin",
        "occurrence",
        "value",
        "unit",
        "lsl",
        "usl",
        "is_in_spec",
        "tester_passed",
    )
    assert [tuple(row[name] for name in wanted) for row in rows] == [
        ("0", "NOISE", "", 1, -41, "dBm", -50, -30, True, True),
        ("0", "VREF", "", 1, 1.2, "V", 0.9, 1.1, False, False),
        ("75", "ACV", "Q5", 1, 0.2, "ns", None, None, None, None),
    ]


def test_limits_are_the_parts_own_else_the_lists_else_the_steps(db: Rows) -> None:
    step = db.step("CP1", control_limits={"A": {"lsl": 7, "limit_version": "1"}, "B": {"lsl": 7}})
    key = store(db, Parameter("A", 1, lsl=0, usl=1), Parameter("B", 2), Parameter("C", 3, usl=5, usl_inclusive=False))
    lot = Lot(db)
    own = {"1": {"lsl": 0.4, "usl": 0.53, "lsl_inclusive": True, "usl_inclusive": True}}
    given = {"parameter_set_key": key, "measured": [0.55, 8, 5], "process_step_key": step}
    lot.insertion((1, 1), True, **given, own_limits=own)
    lot.insertion((1, 2), True, **given)
    rows = db.view("v_test_values", order="die_y, parameter")
    assert [(row["lsl"], row["usl"], row["is_in_spec"]) for row in rows] == [
        (0.4, 0.53, False),
        (7, None, True),
        (None, 5, False),
        (0, 1, True),
        (7, None, True),
        (None, 5, False),
    ]
    assert [row["limit_version"] for row in rows[:2]] == [None, None]


def test_sensors_of_a_list_have_the_control_limits_of_the_step(db: Rows) -> None:
    step = db.step("0100", control_limits={"s1": {"lsl": 1, "ucl": 3, "usl": 4, "unit": "Pa"}})
    key = store(db, Parameter("s1"), Parameter("s2", unit="W"))
    db.fact(models.FactProcessMeasurements, process_step_key=step, parameter_set_key=key, measured=[3.5, 9.0])
    rows = db.view("v_process_values", order="parameter")
    wanted = ("parameter", "value", "unit", "usl", "ucl", "is_in_spec", "is_in_control")
    assert [tuple(row[name] for name in wanted) for row in rows] == [
        ("s1", 3.5, "Pa", 4, 3, True, False),
        ("s2", 9.0, "W", None, None, None, None),
    ]


def test_retests_that_name_no_unit_count_their_good_ones_only(db: Rows) -> None:
    lot = Lot(db)
    final = {"test_type": "FT", "test_stage": "FT1"}
    for part in range(10):
        lot.insertion((0, 0), part >= 3, **final, part_id=str(part), hard_bin=5 if part < 3 else 1, batch_id="one")
    for part in range(3):
        lot.insertion((0, 0), part < 2, **final, part_id=str(part), hours=1, batch_id="two", retest_of_bins="5")
    found = lot.yields()
    assert {basis: (row["tested"], row["good"]) for basis, row in found.items()} == {
        "FIRST": (10, 7),
        "LAST": (10, 9),
        "BEST": (10, 9),
        "WORST": (10, 7),
    }
    assert found["LAST"]["functional_fails"] is None
    (row,) = db.view("v_lot_yield", "basis = 'LAST'")
    assert (row["lot_id"], row["wafers"], row["tested"], row["good"], row["retested_unknown"]) == ("L1", 1, 10, 9, 3)


def test_a_code_of_its_own_makes_a_retest_of_the_same_unit(db: Rows) -> None:
    lot = Lot(db)
    final = {"test_type": "FT", "test_stage": "FT1"}
    for number, (code, good) in enumerate((("A", True), ("B", False), ("C", True), ("D", False))):
        lot.insertion(None, good, **final, part_id=str(number), unit_id=code, batch_id="one")
    for number, (code, good) in enumerate((("B", True), ("D", False))):
        lot.insertion(
            None, good, hours=1, **final, part_id=str(number), unit_id=code, batch_id="two", retest_of_bins="Y"
        )
    found = {basis: (row["tested"], row["good"]) for basis, row in lot.yields().items()}
    assert (found["FIRST"], found["LAST"]) == ((4, 2), (4, 3))


def test_parts_are_counted_by_file_sublot_head_and_site(db: Rows) -> None:
    lot = Lot(db)
    final = {"test_type": "FT", "test_stage": "FT1", "part_id": "1"}
    for where in ({}, {"site_no": 1}, {"site_no": 2}, {"head_no": 2}, {"sublot_id": "B"}, {"batch_id": "other"}):
        lot.insertion((3, 3), True, **{**final, **where})
    assert {row["tested"] for row in lot.yields().values()} == {6}


def test_gross_yield_is_of_all_die_of_the_products_wafer(db: Rows) -> None:
    product = db.member(models.DimProduct, "P9", "", gross_die_per_wafer=8)
    lot = Lot(db)
    for die in range(4):
        lot.insertion((die, 0), die > 0, product_key=product)
    (row,) = db.view("v_lot_yield", "basis = 'LAST'")
    assert (row["die_yield_pct"], row["gross_die"], row["gross_yield_pct"]) == (75, 8, 37.5)


def test_fails_are_counted_once_an_insertion_functional_ones_among_them(db: Rows) -> None:
    key = store(
        db,
        Parameter("SCAN", 100, "SCAN", kind="FUNCTIONAL"),
        Parameter("MBIST", 101, "MBIST", kind="FUNCTIONAL"),
        *(Parameter(f"ACV @Q{pin}", 200, "ACV", f"Q{pin}", kind="MULTIPLE") for pin in (5, 6, 7)),
    )
    lot = Lot(db)
    rows = ("PPPPP", "PFFFF", "PF---", "P-PFP")
    for number, verdicts in enumerate(rows):
        failed = [position for position, letter in enumerate(verdicts, 1) if letter == "F"]
        given: dict[str, Any] = {
            "parameter_set_key": key,
            "measured": [NAN] * 5,
            "verdicts": verdicts,
            "failed": failed,
        }
        lot.insertion((min(number, 2), 0), not failed, **given)
    found = db.view("v_test_fails", order="test_number, pin")
    wanted = ("test_number", "pin", "failed", "failed_first", "units", "executed", "failed_pct", "lot_id", "wafer_id")
    assert [tuple(row[name] for name in wanted) for row in found] == [
        (101, "", 2, 2, 2, 3, pytest.approx(200 / 3), "L1", "01"),
        (200, "", 1, 0, 1, 3, pytest.approx(100 / 3), "L1", "01"),
        (200, "Q6", 1, 1, 1, 3, pytest.approx(100 / 3), "L1", "01"),
    ]


def test_cp_is_of_the_spread_within_lots_and_pp_of_all(db: Rows) -> None:
    key, other = (
        store(db, Parameter("VTH", 7, "VTH", lsl=0, usl=10, unit="V"), *more) for more in ((), (Parameter("X", 9),))
    )
    values = {"L1": [4.0, 5.0, 6.0], "L2": [6.0, 7.0, 8.0, 9.0]}
    step = db.step("CP1")
    for (lot_id, some), list_key in zip(values.items(), (key, other), strict=True):
        lot = Lot(db, lot_id) if lot_id == "L1" else None
        lot_key = db.lot(lot_id) if lot is None else lot.lot
        for number, value in enumerate(some):
            measured = [value] if list_key == key else [value, NAN]
            given = {"lot_key": lot_key, "process_step_key": step, "product_key": -1, "batch_id": lot_id}
            db.fact(models.FactTestResults, at(number), **given, parameter_set_key=list_key, measured=measured)
    (row,) = db.view("v_process_capability", "test_number = 7")
    everything = [value for some in values.values() for value in some]
    within = math.sqrt(sum((len(s) - 1) * statistics.variance(s) for s in values.values()) / (len(everything) - 2))
    mean, sigma = statistics.fmean(everything), statistics.stdev(everything)
    assert (row["n"], row["lots"], row["unit"], row["parameter"]) == (7, 2, "V", "VTH")
    assert (row["mean"], row["sigma"], row["sigma_within"]) == tuple(map(pytest.approx, (mean, sigma, within)))
    assert (row["cp"], row["cpk"]) == (pytest.approx(10 / (6 * within)), pytest.approx((10 - mean) / (3 * within)))
    assert (row["pp"], row["ppk"]) == (pytest.approx(10 / (6 * sigma)), pytest.approx((10 - mean) / (3 * sigma)))
