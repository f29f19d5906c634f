"""The views, each against numbers worked out by hand."""

from __future__ import annotations

import math
import statistics
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import insert, text
from sqlalchemy.engine import Engine

from gpwarehouse import models
from gpwarehouse.models.keys import durable_key
from tests.models.conftest import NOON, Rows, at
from tests.models.measured import Lot

TABLES = {table.name for table in models.Base.metadata.sorted_tables}


# What a view says of itself


@pytest.mark.parametrize("view", models.VIEWS, ids=lambda view: view.name)
def test_a_view_explains_exactly_the_columns_it_has(engine: Engine, view: models.View) -> None:
    with engine.connect() as connection:
        has = list(connection.exec_driver_sql(f"SELECT * FROM dw.{view.name} LIMIT 0").keys())
    assert list(view.columns) == has
    assert view.comment
    assert all(view.columns.values())


@pytest.mark.parametrize("view", models.VIEWS, ids=lambda view: view.name)
def test_a_view_reads_what_it_says_and_nothing_made_later(engine: Engine, view: models.View) -> None:
    depends = text(
        "SELECT DISTINCT c.relname FROM pg_rewrite r JOIN pg_depend d ON d.objid = r.oid "
        "JOIN pg_class c ON c.oid = d.refobjid AND c.oid <> r.ev_class "
        "WHERE r.ev_class = CAST(:view AS regclass) AND d.deptype = 'n' AND c.relkind IN ('r', 'p', 'v')"
    )
    with engine.connect() as connection:
        reads = set(connection.scalars(depends, {"view": f"dw.{view.name}"}))
    assert set(view.reads) == reads
    assert reads <= TABLES | {v.name for v in models.VIEWS[: models.VIEWS.index(view)]}


# v_wafer_yield


def test_first_last_and_best_result_of_a_unit_count_apart(db: Rows) -> None:
    lot = Lot(db)
    lot.insertion((1, 1), True)  # good at once
    lot.insertion((1, 2), False, fail_kind="PARAMETRIC")  # recovered
    lot.insertion((1, 2), True)
    lot.insertion((1, 3), True)  # lost again
    lot.insertion((1, 3), False, fail_kind="FUNCTIONAL")
    lot.insertion((1, 4), False, fail_kind="FUNCTIONAL")  # bad in two ways
    lot.insertion((1, 4), False, fail_kind="PARAMETRIC")
    lot.insertion((1, 5), False, fail_kind="PARAMETRIC")
    found = lot.yields()
    counts = {
        basis: (row["insertions"], row["tested"], row["good"], row["functional_fails"], row["parametric_fails"])
        for basis, row in found.items()
    }
    assert counts == {
        "FIRST": (8, 5, 2, 1, 2),
        "LAST": (8, 5, 2, 1, 2),
        "BEST": (8, 5, 3, 0, 2),
        "WORST": (8, 5, 1, 2, 2),
    }
    first, best = found["FIRST"], found["BEST"]
    assert first["die_yield_pct"] == pytest.approx(100 * 2 / 5)
    assert first["functional_yield_pct"] == pytest.approx(100 * (1 - 1 / 5))
    assert first["parametric_yield_pct"] == pytest.approx(100 * (1 - 2 / 4))
    assert best["functional_yield_pct"] == 100
    assert best["parametric_yield_pct"] == pytest.approx(100 * (1 - 2 / 5))


def test_a_retest_in_another_file_is_the_last_result_whatever_its_numbers(db: Rows) -> None:
    lot = Lot(db)
    # The retest's rows are written first and numbered lower: only the time tells.
    lot.insertion((1, 1), True, hours=5, batch_id="a", source_record_no=1, insertion_no=1, is_first_pass=True)
    lot.insertion((1, 1), False, hours=0, batch_id="z", source_record_no=9, insertion_no=2, is_final_result=True)
    lot.insertion((1, 2), True, hours=0, batch_id="z", source_record_no=10, insertion_no=1)
    found = lot.yields()
    assert {basis: row["good"] for basis, row in found.items()} == {"FIRST": 1, "LAST": 2, "BEST": 2, "WORST": 1}
    assert (found["LAST"]["tested"], found["LAST"]["insertions"]) == (2, 3)
    assert (found["LAST"]["first_ts"], found["LAST"]["last_ts"]) == (at(0), at(5))


def test_insertions_at_one_time_follow_their_numbers(db: Rows) -> None:
    lot = Lot(db)
    lot.insertion((1, 1), True, insertion_no=2, source_record_no=7)
    lot.insertion((1, 1), False, insertion_no=1, source_record_no=8)
    lot.insertion((1, 2), False, source_record_no=20)
    lot.insertion((1, 2), True, source_record_no=21)
    assert {basis: row["good"] for basis, row in lot.yields().items()} == {"FIRST": 0, "LAST": 2, "BEST": 2, "WORST": 0}


def test_a_unit_is_a_die_else_a_part_else_the_record(db: Rows) -> None:
    lot = Lot(db)
    lot.insertion((1, 1), True, part_id="7")  # one die, whatever its part number
    lot.insertion((1, 1), True, part_id="8", hours=1)
    lot.insertion(None, True, part_id="7")  # one part
    lot.insertion(None, True, part_id="7", hours=1)
    lot.insertion(None, True, part_id="7", die_x=3)  # half a coordinate is none
    lot.insertion(None, True)  # nothing is known: two units
    lot.insertion(None, True)
    assert {row["tested"] for row in lot.yields().values()} == {4}


def test_wafers_lots_stages_and_types_do_not_mix(db: Rows) -> None:
    lot = Lot(db)
    other_wafer, other_lot = db.wafer("L1", "02"), db.lot("L1.1")
    for values in (
        {},
        {"wafer_key": other_wafer},
        {"lot_key": other_lot},
        {"test_stage": "CP2"},
        {"test_type": "FT"},
    ):
        lot.insertion((1, 1), True, **values)
    rows = db.view("v_wafer_yield", "basis = 'LAST'")
    assert [row["tested"] for row in rows] == [1] * 5
    assert len(db.view("v_wafer_yield", "wafer_id = '02'")) == 4
    assert len(db.view("v_wafer_yield", "lot_id = 'L1.1' AND basis = 'BEST'")) == 1


def test_an_insertion_without_a_verdict_decides_nothing(db: Rows) -> None:
    lot = Lot(db)
    lot.insertion((1, 1), True)
    lot.insertion((1, 1), None, hours=1)
    lot.insertion((1, 2), None)
    found = lot.yields()["LAST"]
    assert (found["tested"], found["good"], found["insertions"]) == (1, 1, 1)


def test_yields_of_nothing_functional_have_no_parametric_yield(db: Rows) -> None:
    lot = Lot(db)
    lot.insertion((1, 1), False, fail_kind="FUNCTIONAL")
    found = lot.yields()["FIRST"]
    assert (found["functional_yield_pct"], found["parametric_yield_pct"]) == (0, None)


def test_a_yield_names_its_product_and_program_where_there_is_one(db: Rows) -> None:
    lot = Lot(db)
    lot.insertion((1, 1), True)
    lot.insertion((1, 2), True, product_key=-1, program_revision="2")
    found = lot.yields()["LAST"]
    assert (found["product_id"], found["product_revision"]) == ("P1", "A")
    assert (found["test_program"], found["program_revision"]) == ("PROG", None)
    lot.insertion((1, 3), True, product_key=db.member(models.DimProduct, "P2", ""))
    assert lot.yields()["LAST"]["product_id"] == "(unknown)"


def test_a_version_of_the_wafer_or_lot_counts_nothing_twice(db: Rows) -> None:
    lot = Lot(db)
    db.wafer("L2", "01", expiry_date=at(1), is_current=False)
    wafer = db.wafer("L2", "01", effective_date=at(1))
    lot.insertion((1, 1), True, wafer_key=wafer)
    lot.insertion((1, 1), False, wafer_key=wafer, hours=2)
    found = lot.yields(root_lot_id="L2")["LAST"]
    assert (found["tested"], found["insertions"]) == (1, 2)


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans(), st.integers(0, 3)), min_size=1, max_size=25))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_yields_equal_a_plain_count(db: Rows, insertions: list[tuple[int, bool, int]]) -> None:
    with db.connection.begin_nested() as undo:
        lot = Lot(db)
        units: dict[int, list[tuple[int, int, bool]]] = {}
        for number, (die, is_pass, hours) in enumerate(insertions):
            lot.insertion((die, 0), is_pass, hours=hours, source_record_no=number)
            units.setdefault(die, []).append((hours, number, is_pass))
        ordered = [[is_pass for *_, is_pass in sorted(tries)] for tries in units.values()]
        found = {basis: (row["tested"], row["good"]) for basis, row in lot.yields().items()}
        undo.rollback()
    assert found == {
        "FIRST": (len(units), sum(tries[0] for tries in ordered)),
        "LAST": (len(units), sum(tries[-1] for tries in ordered)),
        "BEST": (len(units), sum(any(tries) for tries in ordered)),
        "WORST": (len(units), sum(all(tries) for tries in ordered)),
    }


# v_test_values and v_process_values


def test_a_test_value_carries_the_limits_in_force_at_its_event(db: Rows) -> None:
    lot = Lot(db)
    entry = {"name": "VTH_N", "unit": "V", "limit_version": "1"}
    old, new = {**entry, "lsl": 0.1, "usl": 0.5}, {**entry, "usl": 0.4, "limit_version": "2"}
    db.step("CP1", expiry_date=at(1), is_current=False, control_limits={"1000": old})
    step = db.step("CP1", effective_date=at(1), step_name="Probe", control_limits={"1000": new})
    lot.insertion((1, 1), True, process_step_key=step, parameters={"1000": 0.45, "1001": 5})
    lot.insertion((1, 1), True, process_step_key=step, parameters={"1000": 0.45}, hours=1)
    rows = db.view("v_test_values", order="event_ts, test_number")
    wanted = ("test_number", "test_name", "value", "unit", "lsl", "usl", "limit_version", "is_in_spec", "step_name")
    assert [tuple(row[name] for name in wanted) for row in rows] == [
        ("1000", "VTH_N", 0.45, "V", 0.1, 0.5, "1", True, "Probe"),
        ("1001", None, 5.0, None, None, None, None, None, "Probe"),
        ("1000", "VTH_N", 0.45, "V", None, 0.4, "2", False, "Probe"),
    ]


def test_measures_with_a_column_of_their_own_are_values_too(db: Rows) -> None:
    lot = Lot(db)
    step = db.step("WAT", control_limits={"vth_mv": {"lsl": 300, "usl": 400}})
    lot.insertion((1, 1), True, process_step_key=step, vth_mv=350.0, rc_ohm=7.5, parameters={"1": 1})
    rows = {row["test_number"]: row for row in db.view("v_test_values")}
    assert {number: (row["value"], row["unit"]) for number, row in rows.items()} == {
        "1": (1.0, None),
        "vth_mv": (350.0, "mV"),
        "rc_ohm": (7.5, "ohm"),
    }
    assert (rows["vth_mv"]["lsl"], rows["vth_mv"]["usl"]) == (300, 400)


def test_what_is_no_number_is_no_value_and_no_limit(db: Rows) -> None:
    lot = Lot(db)
    step = db.step("CP1", control_limits={"1": {"lsl": "low", "usl": 3}, "2": 5, "3": None})
    lot.insertion((1, 1), True, process_step_key=step, parameters={"1": 2, "2": "text", "3": None, "4": {"a": 1}})
    rows = db.view("v_test_values")
    assert [(row["test_number"], row["value"], row["lsl"], row["usl"]) for row in rows] == [("1", 2, None, 3)]


def test_values_keep_every_digit(db: Rows) -> None:
    lot = Lot(db)
    lot.insertion((1, 1), True, parameters={"1": 0.1 + 0.2, "2": 1e-300, "3": -1.25e300})
    rows = {row["test_number"]: row["value"] for row in db.view("v_test_values")}
    assert {number: pytest.approx(value, rel=1e-15, abs=0) for number, value in rows.items()} == {
        "1": 0.1 + 0.2,
        "2": 1e-300,
        "3": -1.25e300,
    }


def test_a_visit_has_a_row_for_each_value_with_specification_and_control_limits(db: Rows) -> None:
    tool = db.tool("ETCH-01")
    chamber = db.tool("ETCH-01", "A")
    limits = {"lsl": 40.0, "lcl": 45.0, "target": 50.0, "ucl": 55.0, "usl": 60.0, "unit": "nm"}
    step = db.step("0100", control_limits={"cd_nm": limits, "sensor_7": {"ucl": 3}})
    keys: dict[str, Any] = {"process_step_key": step, "equipment_key": tool, "chamber_key": chamber}
    db.fact(models.FactProcessMeasurements, **keys, cd_nm=57.0, temperature_c=60.5, parameters={"sensor_7": 2})
    db.fact(models.FactProcessMeasurements, **keys, visit_no=2)  # nothing measured: no value
    rows = {row["parameter"]: row for row in db.view("v_process_values")}
    assert set(rows) == {"cd_nm", "temperature_c", "sensor_7"}
    wanted = ("value", "unit", "lsl", "lcl", "target", "ucl", "usl", "is_in_spec", "is_in_control")
    assert tuple(rows["cd_nm"][name] for name in wanted) == (57.0, "nm", 40.0, 45.0, 50.0, 55.0, 60.0, True, False)
    assert tuple(rows["temperature_c"][name] for name in wanted) == (60.5, "degC", *[None] * 7)
    assert (rows["sensor_7"]["is_in_spec"], rows["sensor_7"]["is_in_control"]) == (None, True)
    assert (rows["cd_nm"]["equipment_id"], rows["cd_nm"]["chamber_id"], rows["cd_nm"]["step_number"]) == (
        "ETCH-01",
        "A",
        "0100",
    )


def test_every_measure_of_the_facts_is_unfolded(db: Rows) -> None:
    from gpwarehouse.models import fact_process_measurements, fact_test_results

    db.fact(models.FactProcessMeasurements, **dict.fromkeys(fact_process_measurements.MEASURES, 1.0))  # type: ignore[arg-type]
    db.fact(models.FactTestResults, **dict.fromkeys(fact_test_results.MEASURES, 1.0))  # type: ignore[arg-type]
    units = {row["parameter"]: row["unit"] for row in db.view("v_process_values")}
    assert units == fact_process_measurements.MEASURES
    assert {row["test_number"]: row["unit"] for row in db.view("v_test_values")} == fact_test_results.MEASURES


# v_process_capability


def _measure(db: Rows, step: int, values: list[float], parameter: str = "cd_nm", product_key: int = -1) -> None:
    for value in values:
        measured: dict[str, Any] = {parameter: value}
        db.fact(models.FactProcessMeasurements, process_step_key=step, product_key=product_key, **measured)


def _capability(db: Rows, where: str = "true") -> dict[str, dict[str, Any]]:
    return {row["parameter"]: row for row in db.view("v_process_capability", where)}


def test_capability_is_that_of_the_textbook(db: Rows) -> None:
    step = db.step("0100", control_limits={"cd_nm": {"lsl": 40, "target": 50, "usl": 60}})
    product = db.member(models.DimProduct, "P1", "")
    _measure(db, step, [49.0, 50.0, 51.0, 52.0, 53.0], product_key=product)
    row = _capability(db)["cd_nm"]
    sigma = math.sqrt(2.5)
    assert (row["n"], row["mean"], row["min_value"], row["max_value"]) == (5, 51.0, 49.0, 53.0)
    assert row["sigma"] == pytest.approx(sigma)
    assert row["cp"] == pytest.approx(20 / (6 * sigma))
    assert row["cpk"] == pytest.approx(9 / (3 * sigma))
    assert (row["source"], row["product_id"], row["step_number"], row["unit"]) == ("PROCESS", "P1", "0100", "nm")


def test_a_one_sided_limit_has_a_cpk_and_no_cp(db: Rows) -> None:
    limits = {"cd_nm": {"usl": 56}, "film_thickness_nm": {"lsl": 48}, "refractive_index": {"target": 50}}
    step = db.step("0100", control_limits=limits)
    for parameter in limits:
        _measure(db, step, [49.0, 50.0, 51.0], parameter)
    found = _capability(db)
    assert {name: (row["cp"], row["cpk"]) for name, row in found.items()} == {
        "cd_nm": (None, pytest.approx(6 / 3)),
        "film_thickness_nm": (None, pytest.approx(2 / 3)),
        "refractive_index": (None, None),
    }


def test_no_spread_and_one_value_have_no_capability(db: Rows) -> None:
    step = db.step("0100", control_limits={name: {"lsl": 0, "usl": 1} for name in ("cd_nm", "overlay_x_nm")})
    _measure(db, step, [0.1] * 7)
    _measure(db, step, [0.1], "overlay_x_nm")
    found = _capability(db)
    assert [found["cd_nm"][name] for name in ("n", "sigma", "cp", "cpk")] == [7, 0, None, None]
    assert [found["overlay_x_nm"][name] for name in ("n", "sigma", "cp", "cpk")] == [1, None, None, None]


def test_a_small_spread_far_from_zero_is_not_lost(db: Rows) -> None:
    values = [1e9 + step * 1e-3 for step in range(10)]
    step = db.step("0100", control_limits={"sheet_resistance_ohm_sq": {"lsl": 1e9 - 1, "usl": 1e9 + 1}})
    _measure(db, step, values, "sheet_resistance_ohm_sq")
    assert _capability(db)["sheet_resistance_ohm_sq"]["sigma"] == pytest.approx(statistics.stdev(values), rel=1e-6)


def test_capability_is_apart_by_set_of_limits_and_by_product(db: Rows) -> None:
    db.step("0100", expiry_date=at(1), is_current=False, control_limits={"cd_nm": {"lsl": 40, "usl": 60}})
    step = db.step("0100", effective_date=at(1), control_limits={"cd_nm": {"lsl": 45, "usl": 55}})
    for hours in (0, 2):
        for value in (49.0, 51.0):
            batch = f"b{hours}"
            db.fact(models.FactProcessMeasurements, at(hours), process_step_key=step, cd_nm=value, batch_id=batch)
    db.fact(models.FactProcessMeasurements, process_step_key=step, product_key=-2, cd_nm=50.0)
    rows = db.view("v_process_capability", order="product_key, lsl")
    assert [(row["product_key"], row["lsl"], row["n"]) for row in rows] == [(-2, 40, 1), (-1, 40, 2), (-1, 45, 2)]
    assert rows[1]["cp"] == pytest.approx(2 * rows[2]["cp"])


def test_tests_have_capability_too_by_final_results(db: Rows) -> None:
    lot = Lot(db)
    step = db.step("CP1", control_limits={"7": {"lsl": 0, "usl": 2, "unit": "V"}})
    lot.insertion((1, 1), False, process_step_key=step, parameters={"7": 99}, is_final_result=False)
    lot.insertion((1, 1), True, process_step_key=step, parameters={"7": 1.5}, is_final_result=True)
    lot.insertion((1, 2), True, process_step_key=step, parameters={"7": 0.5})
    row = _capability(db, "source = 'TEST'")["7"]
    assert (row["n"], row["mean"], row["unit"], row["product_id"]) == (2, 1.0, "V", "P1")
    assert row["cpk"] == row["cp"] == pytest.approx(2 / (6 * math.sqrt(0.5)))


# v_inspection_summary


def _defect(db: Rows, wafer: int, inspection: str, die: tuple[int, int] | None, **values: Any) -> None:
    x, y = die if die is not None else (None, None)
    row = {"inspection_id": inspection, "is_defect": True, "inspected_area_cm2": 100.0, "inspected_die": 50}
    db.fact(models.FactDefectInspection, **{"wafer_key": wafer, **row, "die_x": x, "die_y": y, **values})


def test_density_and_defective_die_of_an_inspection(db: Rows) -> None:
    tool, wafer = db.tool("INSP-1"), db.wafer("L", "01")
    for die, values in (
        ((1, 1), {"is_killer": True, "cluster_no": 3}),
        ((1, 1), {"is_adder": True, "cluster_no": 0}),
        ((1, 2), {"is_reviewed": True, "is_killer": False}),
        (None, {}),
    ):
        _defect(db, wafer, "I1", die, inspection_equipment_key=tool, **values)
    (row,) = db.view("v_inspection_summary")
    assert (row["defects"], row["defective_die"], row["inspected_die"]) == (4, 2, 50)
    assert row["defect_density_per_cm2"] == pytest.approx(0.04)
    assert row["defective_die_pct"] == pytest.approx(4)
    kinds = ("killer_defects", "adder_defects", "clustered_defects", "reviewed_defects")
    assert [row[kind] for kind in kinds] == [1, 1, 1, 1]
    assert (row["inspection_equipment_id"], row["wafer_id"]) == ("INSP-1", "01")


def test_a_clean_inspection_counts_with_no_defects(db: Rows) -> None:
    dirty, clean = db.wafer("L", "01"), db.wafer("L", "02")
    _defect(db, dirty, "I1", (1, 1))
    _defect(db, clean, "I1", (0, 0), is_defect=False)  # a source may give any die
    rows = db.view("v_inspection_summary", order="wafer_id")
    assert [(row["defects"], row["defective_die"], row["defect_density_per_cm2"]) for row in rows] == [
        (1, 1, 0.01),
        (0, 0, 0.0),
    ]
    mean = "SELECT sum(defects) / sum(inspected_area_cm2) FROM dw.v_inspection_summary"
    assert db.connection.exec_driver_sql(mean).scalar_one() == pytest.approx(0.005)


def test_the_real_file_of_sixteen_defects_has_its_own_summary(db: Rows) -> None:
    wafer = db.wafer("HJU008", "25")
    for number in range(16):  # two defects share a die, as in CPS3TwithoutReview.001
        _defect(db, wafer, "I1", (max(number, 1), 0), inspected_area_cm2=232.96152996, inspected_die=4988, test_no=1)
    (row,) = db.view("v_inspection_summary")
    assert round(row["defect_density_per_cm2"], 6) == 0.068681
    assert (row["defects"], row["defective_die"], row["test_no"]) == (16, 15, 1)


def test_tests_of_an_inspection_have_their_own_areas(db: Rows) -> None:
    wafer = db.wafer("L", "01")
    _defect(db, wafer, "I1", (1, 1), test_no=1, inspected_area_cm2=100.0)
    _defect(db, wafer, "I1", (1, 1), test_no=2, inspected_area_cm2=50.0)
    rows = db.view("v_inspection_summary", order="test_no")
    assert [row["defect_density_per_cm2"] for row in rows] == pytest.approx([0.01, 0.02])


# v_equipment_oee


def _shift(db: Rows, equipment: int, hours: float = 0, **values: Any) -> None:
    row = {
        "productive_s": 20000.0,
        "standby_s": 4000.0,
        "engineering_s": 1000.0,
        "scheduled_down_s": 2000.0,
        "unscheduled_down_s": 1800.0,
        "total_s": 28800.0,
        "theoretical_production_time_s": 18000.0,
        "theoretical_good_time_s": 17100.0,
        "failure_count": 2,
        "repair_count": 2,
        "repair_time_s": 1800.0,
    }
    db.fact(models.FactEquipmentPerformance, at(hours), equipment_key=equipment, **{**row, **values})


def test_oee_is_that_of_semi_e79(db: Rows) -> None:
    _shift(db, db.tool("ETCH-01"))
    (row,) = db.view("v_equipment_oee")
    assert row["availability"] == pytest.approx(25000 / 28800)
    assert row["performance"] == pytest.approx(18000 / 25000)
    assert row["quality"] == pytest.approx(0.95)
    assert row["oee"] == pytest.approx(17100 / 28800)
    assert row["oee"] == pytest.approx(row["availability"] * row["performance"] * row["quality"])
    assert row["utilization"] == pytest.approx(20000 / 28800)
    assert row["mtbf_h"] == pytest.approx(20000 / 2 / 3600)
    assert row["mttr_h"] == pytest.approx(0.25)
    assert row["equipment_id"] == "ETCH-01"


def test_oee_of_nothing_is_null(db: Rows) -> None:
    idle = {"productive_s": 0.0, "standby_s": 0.0, "engineering_s": 0.0, "non_scheduled_s": 25000.0}
    none = {"theoretical_production_time_s": 0.0, "theoretical_good_time_s": 0.0, "failure_count": 0, "repair_count": 0}
    _shift(db, db.tool("ETCH-01"), **idle, **none)
    (row,) = db.view("v_equipment_oee")
    assert (row["availability"], row["oee"]) == (0, 0)
    assert [row[name] for name in ("performance", "quality", "mtbf_h", "mttr_h")] == [None] * 4


def test_a_month_is_the_ratio_of_sums_not_the_mean_of_ratios(db: Rows) -> None:
    tool = db.tool("ETCH-01")
    _shift(db, tool, hours=0)
    _shift(db, tool, hours=8, productive_s=10000.0, standby_s=14000.0, theoretical_good_time_s=5000.0, failure_count=0)
    (row,) = db.view("v_equipment_oee_monthly")
    assert (row["fab_year"], row["fab_month"], row["shifts"]) == (2000, 1, 2)
    assert row["oee"] == pytest.approx(22100 / 57600)
    assert row["mtbf_h"] == pytest.approx(30000 / 2 / 3600)
    assert row["productive_s"] == 30000


def test_shifts_take_their_day_and_month_from_the_fab_calendar(db: Rows) -> None:
    from gpwarehouse.models.calendar import ShiftCalendar, calendar_rows

    start = NOON.replace(month=1, day=1, hour=3)  # before the fab day's first shift: still the year before
    hours = list(calendar_rows(start, start + timedelta(hours=1), ShiftCalendar()))
    db.connection.execute(insert(models.DimTime), hours)
    tool = db.tool("ETCH-01")
    _shift(db, tool, hours=(start - NOON) / timedelta(hours=1))
    (row,) = db.view("v_equipment_oee")
    assert (row["fab_date"].isoformat(), row["shift_code"]) == ("1999-12-31", "N")
    (month,) = db.view("v_equipment_oee_monthly")
    assert (month["fab_year"], month["fab_month"]) == (1999, 12)


# v_equipment_state and v_lot_status


def test_the_state_of_equipment_is_its_last_event_and_last_shift(db: Rows) -> None:
    tool = db.tool("ETCH-01")
    chamber, idle = db.tool("ETCH-01", "A"), db.tool("ETCH-02")
    prober, tester = db.tool("PROBER-1"), db.tool("T-1")
    first, second = db.lot("L1"), db.lot("L2")
    recipe = db.member(models.DimRecipe, "R1", "")
    step = db.step("0100", step_name="Etch")
    keys: dict[str, Any] = {"equipment_key": tool, "process_step_key": step, "recipe_key": recipe}
    db.fact(models.FactProcessMeasurements, at(0), **keys, chamber_key=chamber, lot_key=first)
    db.fact(models.FactProcessMeasurements, at(1), **keys, chamber_key=-2, lot_key=second)
    db.fact(models.FactTestResults, at(3), tester_key=tester, prober_key=prober, lot_key=first)
    _shift(db, tool, hours=-8)
    _shift(db, tool, hours=0, productive_s=1000.0, unscheduled_down_s=20800.0)
    rows = {(row["equipment_id"], row["chamber_id"]): row for row in db.view("v_equipment_state")}
    last = {name: (row["last_event_ts"], row["last_lot_id"]) for name, row in rows.items()}
    assert last == {
        ("ETCH-01", ""): (at(1), "L2"),
        ("ETCH-01", "A"): (at(0), "L1"),
        ("ETCH-02", ""): (None, None),
        ("PROBER-1", ""): (at(3), "L1"),
        ("T-1", ""): (at(3), "L1"),
    }
    tool_row = rows["ETCH-01", ""]
    assert (tool_row["last_step_name"], tool_row["last_recipe_id"]) == ("Etch", "R1")
    assert (tool_row["shift_start_ts"], tool_row["main_state"]) == (at(0), "UNSCHEDULED_DOWN")
    assert tool_row["main_state_share"] == pytest.approx(20800 / 28800)
    assert rows["ETCH-02", ""]["main_state"] is None
    assert idle


def test_the_status_of_a_lot_is_its_last_event(db: Rows) -> None:
    lot, still, product = db.lot("L1", lot_status="RUN"), db.lot("L2"), db.member(models.DimProduct, "P1", "")
    tool, tester = db.tool("ETCH-01"), db.tool("T-1")
    early, late, probe = db.step("0100"), db.step("0200", step_name="Etch", step_sequence=2), db.step("CP1", "PROG")
    wafers = [db.wafer("L1", number) for number in ("01", "02", "03")]
    for wafer in wafers:
        for site in range(3):
            db.fact(
                models.FactProcessMeasurements,
                at(0),
                wafer_key=wafer,
                lot_key=lot,
                process_step_key=early,
                equipment_key=tool,
                site_no=site,
            )
    for hours, wafer in enumerate(wafers[:2], start=1):
        db.fact(
            models.FactProcessMeasurements,
            at(hours),
            wafer_key=wafer,
            lot_key=lot,
            process_step_key=late,
            equipment_key=tool,
        )
    rows = {row["lot_id"]: row for row in db.view("v_lot_status")}
    assert set(rows) == {"L1", "L2"}
    row = rows["L1"]
    assert (row["last_event_ts"], row["step_number"], row["step_name"], row["wafers_seen"]) == (
        at(2),
        "0200",
        "Etch",
        2,
    )
    assert (row["last_event_type"], row["equipment_id"], row["lot_status"]) == ("PROCESS", "ETCH-01", "RUN")
    assert (rows["L2"]["lot_key"], rows["L2"]["last_event_ts"], rows["L2"]["step_number"]) == (still, None, None)
    db.fact(models.FactTestResults, at(9), lot_key=lot, process_step_key=probe, tester_key=tester, wafer_key=wafers[0])
    (row,) = db.view("v_lot_status", "lot_id = 'L1'")
    assert (row["last_event_type"], row["step_number"], row["equipment_id"]) == ("TEST", "CP1", "T-1")
    assert product


# v_lot_genealogy


def _event(db: Rows, parent: str, child: str, kind: str = "SPLIT", hours: float = 0) -> None:
    db.connection.execute(
        insert(models.BridgeLotGenealogy),
        [
            {
                "parent_lot_key": durable_key(parent),
                "child_lot_key": durable_key(child),
                "event_type": kind,
                "event_ts": at(hours),
                "wafer_count": 5,
            }
        ],
    )


def _related(db: Rows, lot: str) -> set[tuple[str, int, str]]:
    return {
        (row["direction"], row["distance"], row["related_lot_id"])
        for row in db.view("v_lot_genealogy", f"lot_id = '{lot}'")
    }


def _walked(db: Rows, lot: str) -> set[tuple[str, int, str]]:
    statement = text(models.genealogy_sql().replace("{schema}", "dw"))
    rows = db.connection.execute(statement, {"lot_key": durable_key(lot)}).mappings().all()
    return {(row["direction"], row["distance"], row["lot_id"]) for row in rows}


def test_genealogy_follows_splits_and_merges_to_any_depth(db: Rows) -> None:
    for lot in ("A", "A.1", "A.2", "B", "M", "M.1"):
        db.lot(lot)
    _event(db, "A", "A.1")
    _event(db, "A", "A.2")
    _event(db, "A.1", "M", "MERGE", 1)
    _event(db, "B", "M", "MERGE", 1)
    _event(db, "M", "M.1", "SPLIT", 2)
    ancestors = {("ANCESTOR", 1, "M"), ("ANCESTOR", 2, "A.1"), ("ANCESTOR", 2, "B"), ("ANCESTOR", 3, "A")}
    assert _related(db, "M.1") == ancestors
    below_a = {(1, "A.1"), (1, "A.2"), (2, "M"), (3, "M.1")}
    assert _related(db, "A") == {("DESCENDANT", *pair) for pair in below_a}
    assert _related(db, "A.2") == {("ANCESTOR", 1, "A")}
    for lot in ("A", "A.1", "M", "M.1"):
        assert _walked(db, lot) == _related(db, lot)


def test_a_cycle_in_the_genealogy_ends(db: Rows) -> None:
    for lot in ("A", "B", "C"):
        db.lot(lot)
    for hours, (parent, child) in enumerate((("A", "B"), ("B", "C"), ("C", "A"))):
        _event(db, parent, child, "RENAME", hours)
    for lot, after, before in (("A", "B", "C"), ("B", "C", "A"), ("C", "A", "B")):
        wanted = {("DESCENDANT", 1, after), ("DESCENDANT", 2, before), ("ANCESTOR", 1, before), ("ANCESTOR", 2, after)}
        assert _related(db, lot) == wanted
        assert _walked(db, lot) == wanted


def test_two_ways_to_an_ancestor_count_once_by_the_shorter(db: Rows) -> None:
    for lot in ("A", "B", "C"):
        db.lot(lot)
    for parent, child in (("A", "B"), ("B", "C"), ("A", "C")):
        _event(db, parent, child)
    _event(db, "A", "B", "MERGE", 1)
    assert _related(db, "C") == {("ANCESTOR", 1, "A"), ("ANCESTOR", 1, "B")}
    assert len(db.view("v_lot_genealogy", "lot_id = 'C'")) == 2


def test_a_parent_that_only_the_lot_names_counts_known_or_not(db: Rows) -> None:
    db.lot("A.1", parent_lot_id="A")
    db.lot("A.1.1", parent_lot_id="A.1")
    rows = db.view("v_lot_genealogy", "lot_id = 'A.1.1'", "distance")
    assert [(row["related_lot_id"], row["related_lot_key"]) for row in rows] == [
        ("A.1", durable_key("A.1")),
        (None, durable_key("A")),
    ]
    db.lot("A")
    _event(db, "A", "A.1")  # the bridge says the same: still one edge
    assert _related(db, "A") == {("DESCENDANT", 1, "A.1"), ("DESCENDANT", 2, "A.1.1")}
    assert _walked(db, "A") == _related(db, "A")


def test_the_genealogy_of_one_lot_tells_what_happened(db: Rows) -> None:
    db.lot("A")
    db.lot("A.1", parent_lot_id="A")  # known twice, told once
    _event(db, "A", "A.1", hours=3)
    statement = text(models.genealogy_sql().replace("{schema}", "dw"))
    (row,) = db.connection.execute(statement, {"lot_key": durable_key("A.1")}).mappings()
    assert dict(row) == {
        "direction": "ANCESTOR",
        "distance": 1,
        "lot_key": durable_key("A"),
        "lot_id": "A",
        "parent_lot_id": "A",
        "child_lot_id": "A.1",
        "event_type": "SPLIT",
        "event_ts": at(3),
        "wafer_count": 5,
    }


# v_wafer_trace


def test_the_trace_of_a_wafer_is_all_its_events_in_order(db: Rows) -> None:
    parent, child = db.lot("A"), db.lot("A.1")
    wafer, other = db.wafer("A", "01"), db.wafer("A", "02")
    tool, inspector, tester = db.tool("ETCH-01"), db.tool("INSP-1"), db.tool("T-1")
    chamber = db.tool("ETCH-01", "A")
    step, look, probe = db.step("0100"), db.step("0200"), db.step("CP1", "PROG")
    stays = [
        {"wafer_key": wafer, "lot_key": parent, "from_ts": at(-1), "to_ts": at(5)},
        {"wafer_key": wafer, "lot_key": child, "from_ts": at(5), "to_ts": models.END_OF_TIME},
    ]
    db.connection.execute(insert(models.BridgeWaferLot), stays)
    for site in range(5):
        db.fact(
            models.FactProcessMeasurements,
            at(0),
            wafer_key=wafer,
            lot_key=parent,
            process_step_key=step,
            equipment_key=tool,
            chamber_key=chamber,
            site_no=site,
            end_ts=at(0.5),
        )
    rework: dict[str, Any] = {"process_step_key": step, "equipment_key": tool, "chamber_key": -2, "visit_no": 2}
    db.fact(models.FactProcessMeasurements, at(6), wafer_key=wafer, lot_key=child, **rework)
    db.fact(models.FactProcessMeasurements, at(6), wafer_key=other, lot_key=parent, **rework)
    keys = {"lot_key": child, "process_step_key": look, "inspection_equipment_key": inspector}
    _defect(db, wafer, "I1", (1, 1), event_ts=at(7), **keys)
    _defect(db, wafer, "I1", (1, 2), event_ts=at(7), **keys)
    for is_pass in (True, False):
        db.fact(
            models.FactTestResults,
            at(8),
            wafer_key=wafer,
            lot_key=child,
            process_step_key=probe,
            tester_key=tester,
            test_stage="CP1",
            is_pass=is_pass,
        )
    rows = db.view("v_wafer_trace", "root_lot_id = 'A' AND wafer_id = '01'", "event_no")
    wanted = ("event_no", "event_type", "event_ts", "end_ts", "lot_id", "step_number", "equipment_id", "chamber_id")
    assert [tuple(row[name] for name in wanted) for row in rows] == [
        (1, "LOT", at(-1), at(5), "A", None, None, None),
        (2, "PROCESS", at(0), at(0.5), "A", "0100", "ETCH-01", "A"),
        (3, "LOT", at(5), None, "A.1", None, None, None),
        (4, "PROCESS", at(6), at(6), "A.1", "0100", "ETCH-01", None),
        (5, "INSPECTION", at(7), at(7), "A.1", "0200", "INSP-1", None),
        (6, "TEST", at(8), at(8), "A.1", "CP1", "T-1", None),
    ]
    counts = [(row["reference"], row["quantity"], row["good"]) for row in rows]
    assert counts[1:2] + counts[3:] == [("1", 5, None), ("2", 1, None), ("I1", 2, None), ("CP1", 2, 1)]


# On a cluster


@pytest.mark.segments
@pytest.mark.parametrize("table", ["fact_test_results", "fact_process_measurements", "fact_defect_inspection"])
def test_a_fact_meets_its_wafer_without_moving_rows(db: Rows, table: str) -> None:
    query = f"SELECT w.wafer_id, count(*) FROM dw.{table} f JOIN dw.dim_wafer w ON w.wafer_key = f.wafer_key"
    plan = db.connection.exec_driver_sql(f"EXPLAIN {query} AND w.is_current GROUP BY f.wafer_key, w.wafer_id")
    lines = "\n".join(plan.scalars())
    assert "Gather Motion" in lines
    assert "Redistribute Motion" not in lines
    assert "Broadcast Motion" not in lines


@pytest.mark.segments
def test_first_and_last_results_are_ranked_where_they_lie(db: Rows) -> None:
    db.connection.exec_driver_sql("SET LOCAL optimizer = off")
    lines = "\n".join(db.connection.exec_driver_sql("EXPLAIN SELECT * FROM dw.v_wafer_yield").scalars())
    assert "Redistribute Motion" not in lines
