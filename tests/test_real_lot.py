"""A real wafer-sort lot from file to frame, with the numbers it must give, on whichever server the tests run."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from gpwarehouse import Warehouse
from gpwarehouse.dialect.reflection import partitions_of
from gpwarehouse.engine import dialect_of
from gpwarehouse.load import LoadResult
from gpwarehouse.models import FACTS
from tests.catalog import catalog

pytestmark = pytest.mark.realdata


@pytest.fixture(scope="module")
def lot2(real_data: Path) -> Path:
    return real_data / "stdf" / "lot2.stdf.gz"


@pytest.fixture(scope="module")
def result(shared_wh: Warehouse, lot2: Path) -> LoadResult:
    return shared_wh.load_file(lot2)


def test_every_insertion_is_loaded(result: LoadResult) -> None:
    assert (result.target, result.rows_read, result.rows_loaded) == ("fact_test_results", 1569, 1569)
    assert (result.rows_rejected, result.already_loaded) == (0, False)
    assert result.months_made == ("m200106",)


def test_the_facts_hold_its_insertions(shared_wh: Warehouse, result: LoadResult) -> None:
    counted = shared_wh.read(
        "SELECT count(*) AS n, count(CASE WHEN is_pass THEN 1 END) AS good FROM dw.fact_test_results"
    )
    assert (counted.n[0], counted.good[0]) == (1569, 1389)


@pytest.mark.parametrize(("basis", "good", "percent"), [("FIRST", 1343, 92.24), ("LAST", 1389, 95.40)])
def test_the_yield_view_says_what_the_lot_gave(
    shared_wh: Warehouse, result: LoadResult, basis: str, good: int, percent: float
) -> None:
    rows = shared_wh.read(
        "SELECT * FROM dw.v_wafer_yield WHERE lot_id = :lot AND basis = :basis", lot="GAL-LOT", basis=basis
    )
    assert len(rows) == 1
    assert (rows.tested[0], rows.good[0]) == (1456, good)
    assert round(rows.die_yield_pct[0], 2) == percent
    assert rows.wafer_id[0] == "02"


def test_the_values_view_gives_every_value_of_every_test(shared_wh: Warehouse, result: LoadResult) -> None:
    counted = shared_wh.read(
        "SELECT count(DISTINCT test_number) AS tests, count(*) AS shown, count(lsl) AS with_low FROM dw.v_test_values"
    )
    assert counted.tests[0] == 74
    assert counted.shown[0] == result.values_stored == 52_403
    assert (result.values_left_out, result.warnings) == (0, ())
    assert counted.with_low[0] > 0


def test_the_fails_are_those_of_the_tester(shared_wh: Warehouse, result: LoadResult) -> None:
    fails = shared_wh.read("SELECT sum(failed) AS failed, max(executed) AS executed FROM dw.v_test_fails")
    held = shared_wh.read(
        "SELECT sum(coalesce(array_upper(failed, 1), 0)) AS failed, count(DISTINCT parameter_set_key) AS lists "
        "FROM dw.fact_test_results"
    )
    assert fails.failed[0] == held.failed[0] == 81
    assert held.lists[0] == 1


def test_no_other_month_exists(shared_wh: Warehouse, result: LoadResult) -> None:
    with shared_wh.engine.connect() as connection:
        found = partitions_of(connection, dialect_of(shared_wh.engine), "dw")
    made = {name: [p.name for p in partitions.partitions] for name, partitions in found.items()}
    written = {name: ["m200001", "m200106"] for name in ("fact_test_results", "agg_test_values")}
    assert made == {name: ["m200001"] for name in (*FACTS, "agg_process_values")} | written


def test_loading_it_again_changes_nothing_and_says_so(
    shared_wh: Warehouse, result: LoadResult, lot2: Path, tmp_path: Path
) -> None:
    before = catalog(shared_wh.engine)
    again = shared_wh.load_file(lot2)
    unpacked = tmp_path / "renamed.stdf"
    unpacked.write_bytes(gzip.decompress(lot2.read_bytes()))
    other_name = shared_wh.load_file(unpacked)
    for second in (again, other_name):
        assert (second.already_loaded, second.rows_loaded, second.batch_id) == (True, 0, result.batch_id)
    assert shared_wh.read("SELECT count(*) AS n FROM dw.fact_test_results").n[0] == 1569
    assert shared_wh.read("SELECT count(*) AS n FROM dw.etl_load_batch").n[0] == 1
    assert catalog(shared_wh.engine) == before
