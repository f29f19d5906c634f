"""A made-up fab, loaded: the views find what was planted."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from gpwarehouse import Warehouse
from gpwarehouse.errors import InvalidInputError
from gpwarehouse.generate import Fab, Truth, generate_fab, write_fab
from tests.command_line import run
from tests.partitions.fab import command

SIZE: dict[str, Any] = {"lots": 6, "wafers": 12, "radius": 6, "split_share": 0.6, "rework_share": 0.2}


@pytest.fixture(scope="module")
def fab() -> Fab:
    return generate_fab(11, **SIZE)


@pytest.fixture(scope="module")
def truth(fab: Fab) -> Truth:
    found = fab.truth()
    assert found.splits
    assert found.merges
    assert found.reworks
    assert found.clean_inspections
    return found


@pytest.fixture(scope="module")
def wh(shared_wh: Warehouse, fab: Fab, truth: Truth) -> Warehouse:
    results = shared_wh.data.load_fab(fab)
    assert {result.target: result.rows_loaded for result in results} == truth.rows
    assert not any(result.rows_rejected for result in results)
    return shared_wh


def test_a_loaded_fab_has_no_finding_and_is_loaded_once(wh: Warehouse, fab: Fab) -> None:
    assert len(wh.data.check()) == 0
    assert all(result.already_loaded for result in wh.data.load_fab(fab))
    assert len(wh.data.check()) == 0
    assert wh.read("SELECT count(*) AS n FROM dw.bridge_wafer_lot").n[0] == len(list(fab.stays()))


def test_yields_per_product_are_found(wh: Warehouse, truth: Truth) -> None:
    query = "SELECT product_id, basis, sum(tested) AS tested, sum(good) AS good FROM dw.v_wafer_yield GROUP BY 1, 2"
    found = {(row.product_id, row.basis): (row.tested, row.good) for row in wh.read(query).itertuples()}
    for product, planted in truth.yields.items():
        assert found[product, "FIRST"] == (planted.tested, planted.first_good)
        assert found[product, "LAST"] == (planted.tested, planted.last_good)
    assert 50 < truth.yields["P01"].first_pct < truth.yields["P01"].last_pct < 100


def test_oee_by_tool_is_found(wh: Warehouse, truth: Truth) -> None:
    query = """
        SELECT equipment_id, sum(theoretical_good_time_s) / sum(total_s) AS oee,
            sum(productive_s + standby_s + engineering_s) / sum(total_s) AS availability
        FROM dw.v_equipment_oee GROUP BY 1"""
    found = {row.equipment_id: (row.oee, row.availability) for row in wh.read(query).itertuples()}
    assert found == {t: pytest.approx((oee.oee, oee.availability)) for t, oee in truth.oee.items()}


def test_capabilities_are_found_within_the_error_of_their_estimates(wh: Warehouse, truth: Truth) -> None:
    found = wh.read("SELECT * FROM dw.v_process_capability WHERE source = 'PROCESS'")
    rows = [(row, truth.capability.get((row.step_name.split()[0], row.parameter))) for row in found.itertuples()]
    planted = [(row, capability) for row, capability in rows if capability]
    assert {row.parameter for row, _ in planted} == {column for _, column in truth.capability}
    for row, capability in planted:
        error = capability.sigma / row.n**0.5
        assert abs(row.mean - capability.mean) < 5 * error
        assert abs(row.sigma / capability.sigma - 1) < 5 / (2 * row.n) ** 0.5
        assert row.cp == pytest.approx(capability.cp, rel=6 / (2 * row.n) ** 0.5)


def test_the_excursion_is_found_by_chamber_and_time(wh: Warehouse, truth: Truth) -> None:
    excursion = truth.excursion
    query = """
        SELECT equipment_id, chamber_id, root_lot_id, wafer_id, event_ts FROM dw.v_process_values
        WHERE parameter = :parameter AND value > target + 2 * (ucl - target)"""
    found = wh.read(query, parameter=excursion.parameter)
    assert set(zip(found.equipment_id, found.chamber_id, strict=True)) == {
        (excursion.equipment_id, excursion.chamber_id)
    }
    assert found.event_ts.min() >= excursion.start
    assert found.event_ts.max() < excursion.end
    assert set(zip(found.root_lot_id, found.wafer_id, strict=True)) == set(excursion.wafers)
    spoiled = wh.read("""
        SELECT w.root_lot_id, w.wafer_id FROM dw.fact_test_results f JOIN dw.dim_wafer w USING (wafer_key)
        WHERE w.is_current AND f.bin_name = 'THRESHOLD' GROUP BY 1, 2""")
    assert set(zip(spoiled.root_lot_id, spoiled.wafer_id, strict=True)) == set(excursion.wafers)


def test_the_drift_is_found_by_regression(wh: Warehouse, truth: Truth) -> None:
    drift = truth.drift
    query = """
        SELECT regr_slope(value, extract(epoch FROM event_ts) / 86400) AS per_day, count(*) AS n
        FROM dw.v_process_values WHERE parameter = :parameter AND equipment_id = :tool AND chamber_id = :chamber"""
    found = wh.read(query, parameter=drift.parameter, tool=drift.equipment_id, chamber=drift.chamber_id)
    spread = wh.read("SELECT max(event_ts) - min(event_ts) AS d FROM dw.fact_process_measurements").d[0]
    assert found.n[0] > 5
    error = 3 * 12**0.5 / found.n[0] ** 0.5 / (int(str(spread).split()[0]) or 1)  # sigma 3, times spread evenly
    assert abs(found.per_day[0] - drift.per_day) < 5 * error


def test_inspections_defects_and_killed_die_are_found(wh: Warehouse, truth: Truth) -> None:
    found = wh.read("SELECT * FROM dw.v_inspection_summary")
    assert len(found) == truth.inspections
    assert (found.defects == 0).sum() == truth.clean_inspections
    assert found.defects.sum() == truth.defects
    assert found.killer_defects.sum() == truth.killer_defects
    survivors = wh.read("""
        SELECT count(*) AS n FROM dw.fact_defect_inspection d JOIN dw.fact_test_results f
            ON f.wafer_key = d.wafer_key AND f.die_x = d.die_x AND f.die_y = d.die_y
        WHERE d.is_killer AND f.is_pass""")
    assert survivors.n[0] == 0


def test_splits_and_merges_are_found(wh: Warehouse, fab: Fab, truth: Truth) -> None:
    query = "SELECT event_type, count(*) AS n FROM dw.bridge_lot_genealogy GROUP BY 1"
    assert {row.event_type: row.n for row in wh.read(query).itertuples()} == {
        "SPLIT": truth.splits,
        "MERGE": truth.merges,
    }
    merge = next(event for event in fab.genealogy() if event["event_type"] == "MERGE")
    found = wh.dimensions.genealogy(merge["child_lot_id"])
    ancestors = set(found[found.direction == "ANCESTOR"].lot_id)
    assert ancestors == {merge["parent_lot_id"], merge["child_lot_id"][:6]}
    seen = wh.read(
        "SELECT related_lot_id FROM dw.v_lot_genealogy WHERE lot_id = :lot AND direction = 'ANCESTOR'",
        lot=merge["child_lot_id"],
    )
    assert set(seen.related_lot_id) == ancestors


def test_reworks_are_found(wh: Warehouse, truth: Truth) -> None:
    query = """
        SELECT count(DISTINCT (l.lot_id, f.process_step_key)) AS n FROM dw.fact_process_measurements f
        JOIN dw.dim_lot l ON l.lot_key = f.lot_key AND l.is_current
        JOIN dw.dim_process_step s ON s.process_step_key = f.process_step_key AND s.is_current
        WHERE f.is_rework AND s.process_area = 'LITHO'"""
    assert wh.read(query).n[0] == truth.reworks


def test_the_command_writes_a_folder_that_load_takes(wh: Warehouse, fab: Fab, tmp_path: Path) -> None:
    url = wh.settings.sqlalchemy_url().render_as_string(hide_password=False)
    size = ("--seed", "5", "--lots", "1", "--wafers", "2", "--radius", "3", "--prefix", "C")
    assert command("data", "generate", *size, "--folder", str(tmp_path / "fab")).exit_code == 0
    done = command("--url", url, "load", str(tmp_path / "fab"))
    assert done.exit_code == 0, done.output
    assert "fact_test_results" in done.stdout
    again = command("--url", url, "data", "generate", *size)
    assert again.exit_code == 0, again.output
    assert again.stdout.count("already loaded") == 4
    assert "ETCH-02 chamber B" in again.stdout


def test_a_fab_whose_lots_are_named_as_those_of_another_is_refused_before_a_fact_is_loaded(
    wh: Warehouse, fab: Fab
) -> None:
    before = wh.read("SELECT count(*) AS n FROM dw.fact_test_results").n[0]
    with pytest.raises(InvalidInputError, match="another prefix"):
        wh.data.load_fab(generate_fab(fab.settings.seed + 1, lots=6, wafers=12, layers=1, radius=2, split_share=0))
    assert wh.read("SELECT count(*) AS n FROM dw.fact_test_results").n[0] == before


def test_threads_load_one_fab_once(wh: Warehouse) -> None:
    small = generate_fab(3, lots=4, wafers=4, layers=1, radius=2, prefix="THREAD", facility="FAB9", split_share=1.0)
    with ThreadPoolExecutor(3) as pool:
        loads = [pool.submit(wh.data.load_fab, small) for _ in range(3)]
    results = [load.result() for load in loads]
    assert [sum(not result.already_loaded for result in facts) for facts in zip(*results, strict=True)] == [1, 1, 1, 1]
    found = wh.read(
        "SELECT count(*) AS n, min(b.source_system) AS said FROM dw.bridge_wafer_lot b JOIN dw.etl_load_batch l "
        "ON l.batch_id = b.batch_id JOIN dw.dim_wafer w ON w.wafer_key = b.wafer_key AND w.is_current "
        "AND w.root_lot_id LIKE 'THREAD%'"
    )
    assert (found.n[0], found.said[0]) == (len(list(small.stays())), "GENERATED")


def test_folders_are_refused_before_connecting_or_reported_and_passed_over(wh: Warehouse, tmp_path: Path) -> None:
    for name in ("none", "fab", "tables"):
        (tmp_path / name).mkdir()
    write_fab(generate_fab(4, lots=1, wafers=2, layers=1, radius=2, prefix="PASSED"), tmp_path / "fab")
    url = wh.settings.sqlalchemy_url().render_as_string(hide_password=False)

    def said(*args: str, url: str = url) -> tuple[int, str, str]:
        done = run("--url", url, "load", *args, cwd=tmp_path)
        return done.returncode, done.stdout, done.stderr

    nowhere = "postgresql://nobody@127.0.0.1:1/none"
    code, _, errors = said("fab", "--batch-id", "x", url=nowhere)
    assert (code, "--batch-id names one batch" in errors) == (1, True)
    code, _, errors = said("fab", "--parallel", "2", "--on-conflict", "append", url=nowhere)
    assert (code, "leave out --on-conflict, --parallel" in errors) == (1, True)
    code, told, errors = said("none", "fab")
    assert (code, "none" in errors, told.count(" rows loaded")) == (1, True, 4)
    (tmp_path / "tables" / "a.csv").write_text(
        "lot_id,wafer_id,event_ts,inspection_id,is_defect\nT,1,2026-01-01T00:00:00+00:00,t,false\n"
    )
    (tmp_path / "tables" / "note.txt").write_text("no table")
    code, told, errors = said("tables", "--target", "fact_defect_inspection", "--batch-id", "of a table")
    assert (code, "1 of 1 rows loaded" in told) == (0, True), errors
