"""Files that are not whole, or do not say all, on their way into the warehouse: refused, or loaded with a word."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from stdf_help import T0, write

from gpwarehouse import Warehouse
from gpwarehouse.errors import InvalidInputError, SourceFormatError
from gpwarehouse.sources.stdf_writer import StdfWriter
from tests.command_line import run


def parts(out: StdfWriter, count: int, good: int | None = None) -> None:
    for number in range(count):
        bad = good is not None and number >= good
        out.pir()
        out.ptr(1, 0.5 + number)
        out.prr(num_test=1, x=number, y=0, hard_bin=2 if bad else 1, part_flg=8 if bad else 0)


def short(out: StdfWriter) -> None:
    parts(out, 3)
    out.pcr(5)


def nameless(good: int, start: int) -> Any:
    def fill(out: StdfWriter) -> None:
        out.wir(start_t=start)
        parts(out, 5, good)
        out.wrr(part_cnt=5, good_cnt=good)

    return fill


def load(wh: Warehouse, *args: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    url = wh.settings.sqlalchemy_url().render_as_string(hide_password=False)
    return run("--url", url, "load", *args, cwd=cwd, **{"COLUMNS": "200", **environment})


def rows(wh: Warehouse) -> int:
    return int(wh.read("SELECT count(*) AS n FROM dw.fact_test_results").n[0])


def test_a_file_that_is_not_whole_is_loaded_only_if_that_is_allowed(wh: Warehouse, tmp_path: Path) -> None:
    file = write(tmp_path / "short.stdf", short)
    with pytest.raises(
        SourceFormatError, match=r"short\.stdf: it is incomplete: PCR counts 5 parts, but the file holds 3"
    ):
        wh.load_file(file)
    assert rows(wh) == 0
    result = wh.load_file(file, allow_incomplete=True)
    told = "it is incomplete: PCR counts 5 parts, but the file holds 3: 2 are missing"
    assert (result.rows_loaded, result.warnings) == (3, (told,))
    again = wh.load_file(file, allow_incomplete=True)
    assert (again.already_loaded, again.warnings) == (True, (told,))
    replaced = wh.load_file(file, allow_incomplete=True, on_conflict="replace")
    assert (replaced.rows_replaced, replaced.warnings) == (3, (told,))
    with pytest.raises(SourceFormatError):
        wh.load_file(file)  # also where it was loaded before


def test_what_a_source_leaves_out_is_in_the_result_of_every_kind_of_load(wh: Warehouse, tmp_path: Path) -> None:
    def orphans(out: StdfWriter) -> None:
        out.ptr(1, 9.0)
        parts(out, 2)

    file = write(tmp_path / "a.stdf", orphans)
    told = ("1 test results belong to no part and are left out",)
    for options in ({}, {"batch_id": "b", "on_conflict": "append"}, {"on_conflict": "append", "parallel": 2}):
        assert wh.load_file(file, **options).warnings == told
    (outcome,) = wh.load_files(file, on_conflict="append")
    assert outcome.result is not None
    assert outcome.result.warnings == told


def test_nameless_wafers_of_two_files_are_two(wh: Warehouse, tmp_path: Path) -> None:
    files = [write(tmp_path / f"{n}.stdf", nameless(5 - 2 * n, T0 + 20_000 * n)) for n in range(2)]
    results = [wh.load_file(file) for file in files]
    assert all("--wafer-id" in result.warnings[0] for result in results)
    wh.load_file(files[0], on_conflict="replace")  # the same wafer again
    seen = wh.read("SELECT tested, good FROM dw.v_wafer_yield WHERE basis = 'LAST' ORDER BY good")
    assert list(zip(seen.tested, seen.good, strict=True)) == [(5, 3), (5, 5)]
    wafers = wh.read(
        "SELECT wafer_id, is_placeholder, source_wafer_id FROM dw.dim_wafer WHERE wafer_id LIKE '(none %%'"
    )
    assert len(wafers) == 2
    assert not wafers.is_placeholder.any()
    assert wafers.source_wafer_id.isna().all()


def test_the_command_line_gives_what_files_lack(wh: Warehouse, tmp_path: Path) -> None:
    write(tmp_path / "a.stdf", lambda out: parts(out, 2), lot_id="", numbers={"start_t": 0})
    refused = load(wh, "a.stdf", cwd=tmp_path)
    assert (refused.returncode, "--lot-id" in refused.stderr) == (1, True)
    refused = load(wh, "a.stdf", "--lot-id", "L1", cwd=tmp_path)
    assert (refused.returncode, "--event-ts" in refused.stderr) == (1, True)
    given = ("--event-ts", "2026-03-04T06:30:00+00:00", "--wafer-id", "7", "--product-id", "IGNORED")
    loaded = load(wh, "a.stdf", *given, cwd=tmp_path, GPWAREHOUSE_STDF_GIVEN="lot_id=L1")
    assert loaded.returncode == 0, loaded.stderr
    assert "2 of 2 rows loaded" in loaded.stdout
    assert "MIR.PART_TYP is 'CHIP', not 'IGNORED' as given by --product-id; the file's value is used" in loaded.stderr
    assert "MIR.LOT_ID is missing; 'L1' of GPWAREHOUSE_STDF_GIVEN is used for it" in loaded.stderr
    found = wh.read("SELECT lot_id, wafer_id, tested FROM dw.v_wafer_yield WHERE basis = 'LAST'")
    assert found.values.tolist() == [["L1", "07", 2]]


def test_the_command_line_loads_what_is_there_where_that_is_allowed(wh: Warehouse, tmp_path: Path) -> None:
    write(tmp_path / "short.stdf", short)
    refused = load(wh, "short.stdf", cwd=tmp_path)
    assert (refused.returncode, "--allow-incomplete" in refused.stderr) == (1, True)
    loaded = load(wh, "short.stdf", "--allow-incomplete", cwd=tmp_path)
    assert (loaded.returncode, "2 are missing" in loaded.stderr) == (0, True)


def test_a_folder_stands_for_the_files_of_the_trade_in_it_and_below(wh: Warehouse, tmp_path: Path) -> None:
    folder = tmp_path / "day"
    (folder / "lot" / ".hidden").mkdir(parents=True)
    for number, place in enumerate(
        (folder / "b.stdf", folder / "lot" / "a.dat", folder / "lot" / ".hidden" / "c.stdf")
    ):
        write(place, lambda out: parts(out, 2), lot_id=f"L{number}")
    (folder / "notes.txt").write_text("no file of the trade")
    report = wh.load_files([folder, folder / "b.stdf"])
    assert [(outcome.path.name, outcome.status) for outcome in report] == [
        ("b.stdf", "loaded"),
        ("a.dat", "loaded"),
        ("notes.txt", "passed over"),
    ]
    assert (report.failed, report.rows_loaded, "1 passed over" in str(report)) == ((), 4, True)
    report.raise_for_errors()
    told = load(wh, "day", cwd=tmp_path)
    assert (told.returncode, told.stdout.count("already loaded as")) == (0, 2), told.stderr
    assert "notes.txt starts with bytes 6e 6f" in told.stderr
    assert told.stderr.count("notes.txt") == 1, told.stderr


def test_what_claims_to_be_of_the_trade_is_not_passed_over(wh: Warehouse, tmp_path: Path) -> None:
    write(tmp_path / "a.stdf", lambda out: parts(out, 1))
    (tmp_path / "b.stdf").write_bytes(bytes(5000))
    (tmp_path / "c.dat").write_bytes(b"")
    report = wh.load_files(tmp_path)
    assert [outcome.status for outcome in report] == ["loaded", "failed", "failed"]


def test_a_folder_without_any_such_file_is_an_error(wh: Warehouse, tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("notes")
    report = wh.load_files([tmp_path / "notes", tmp_path / "empty"])
    assert [outcome.status for outcome in report] == ["passed over", "failed", "failed"]
    assert load(wh, "notes", cwd=tmp_path).returncode == 1


def test_options_of_the_trade_are_none_of_tables(wh: Warehouse, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="lot_id= gives what a test data file lacks"):
        wh.load_file(tmp_path / "a.csv", target="fact_test_results", lot_id="L")
