from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import URL

import gpwarehouse
from gpwarehouse.sources.synthetic import write_demo_lot
from tests.command_line import run
from tests.migrate.site import HEAD


@pytest.fixture
def url(empty_url: URL) -> str:
    return empty_url.render_as_string(hide_password=False)


def test_upgrade_load_query_and_status_follow_each_other(url: str, tmp_path: Path) -> None:
    lot = write_demo_lot(tmp_path / "lot.stdf.gz", wafers=1)
    before = run("--url", url, "status", cwd=tmp_path)
    assert before.returncode == 1
    assert "gpwarehouse upgrade" in before.stderr
    assert f"revision {HEAD}" in run("--url", url, "upgrade", cwd=tmp_path).stdout
    loaded = run("load", str(lot.path), cwd=tmp_path, GPWAREHOUSE_URL=url)
    assert loaded.returncode == 0, loaded.stderr
    assert f"{lot.wafers[0].insertions} of {lot.wafers[0].insertions} rows loaded" in loaded.stdout
    assert "already loaded" in run("load", str(lot.path), cwd=tmp_path, GPWAREHOUSE_URL=url).stdout
    csv = run(
        "--url", url, "query", "--csv", "-p", f"lot={lot.lot_id}",
        "SELECT good FROM dw.v_wafer_yield WHERE lot_id = :lot AND basis = 'LAST'", cwd=tmp_path,
    )  # fmt: skip
    assert csv.stdout.split() == ["good", str(lot.wafers[0].last_good)]
    status = run("--url", url, "status", cwd=tmp_path)
    assert status.returncode == 0
    assert "1 loaded" in status.stdout


def test_a_bad_file_does_not_keep_the_others_from_being_loaded(url: str, tmp_path: Path) -> None:
    lot = write_demo_lot(tmp_path / "lot.stdf", wafers=1)
    cut = tmp_path / "cut.stdf"
    cut.write_bytes(lot.path.read_bytes()[:5000])
    run("--url", url, "upgrade", cwd=tmp_path)
    done = run("--url", url, "load", str(cut), str(tmp_path / "none.stdf"), str(lot.path), cwd=tmp_path)
    assert done.returncode == 1
    assert "cut.stdf" in done.stderr
    assert "none.stdf" in done.stderr
    assert "rows loaded" in done.stdout


def test_every_command_tells_how_it_is_used(tmp_path: Path) -> None:
    for command in ([], ["demo"], ["upgrade"], ["load"], ["query"], ["status"], ["schema", "diagram"], ["settings"]):
        done = run(*command, "--help", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "Usage" in done.stdout


def test_an_error_is_one_message_without_a_traceback_or_the_password(tmp_path: Path) -> None:
    done = run("--url", "postgresql://etl:hunter2@127.0.0.1:1/fab", "status", cwd=tmp_path)
    assert done.returncode == 1
    assert "could not connect to" in done.stderr
    assert "Traceback" not in done.stderr
    assert "hunter2" not in done.stderr + done.stdout


def test_without_a_server_the_message_says_how_to_name_one(tmp_path: Path) -> None:
    done = run("status", cwd=tmp_path)
    assert done.returncode == 1
    assert "GPWAREHOUSE_URL" in done.stderr


def test_the_demo_shows_yields_the_slowest_test_and_a_map(tmp_path: Path) -> None:
    done = run("demo", "--wafers", "1", cwd=tmp_path, COLUMNS="")
    assert done.returncode == 0, done.stderr
    assert "Yield of lot DEMO-0001" in done.stdout
    assert "┃ die_yield_pct ┃ functional_yield_pct ┃ parametric_yield_pct ┃" in done.stdout  # a pipe has no width
    assert "Slowest test: 1700 ADC_INL" in done.stdout
    assert "x bad" in done.stdout
    assert done.stdout.count("#") > 100


def test_the_demos_data_can_be_kept_and_looked_at(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    done = run("demo", "--wafers", "1", "--keep", str(kept), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    again = run("--embedded", str(kept), "status", cwd=tmp_path)
    assert "1 loaded" in again.stdout


def test_rejects_are_printed_corrected_and_loaded_again(url: str, tmp_path: Path) -> None:
    header = "event_ts,lot_id,wafer_id,inspection_id,is_defect,class_name,operator_id,defect_id"
    rows = [f'2026-01-05T12:00:00Z,L1,{n},I1,true,"",,{n if n % 3 else "x"}' for n in range(1, 10)]
    (tmp_path / "one.csv").write_text("\n".join([header, *rows]))
    (tmp_path / "two.csv").write_text("\n".join([header, *rows[:2]]))
    run("--url", url, "upgrade", cwd=tmp_path)
    one = ("load", "one.csv", "--target", "fact_defect_inspection", "--batch-id", "one")
    assert "3 of 9 rows were rejected" in run("--url", url, *one, cwd=tmp_path).stderr
    loaded = run("--url", url, *one, "--max-rejects", "50%", cwd=tmp_path)
    assert "one.csv: fact_defect_inspection: 6 of 9 rows loaded, 3 rejected" in loaded.stdout, loaded.stderr
    given = run("--url", url, "batches", "rejects", "one", "--as-given", cwd=tmp_path).stdout
    assert given.splitlines()[0].startswith("row_number,")
    (tmp_path / "corrected.csv").write_text(given.replace(",x,", ",7,").replace(",x\n", ",7\n"))
    assert given.splitlines()[1].count('""') == 1  # the empty class name, which is not NULL
    again = run("--url", url, "batches", "reload", "one", "corrected.csv", cwd=tmp_path)
    assert "3 of 3 rows loaded" in again.stdout, again.stderr
    assert "; 0 rejects left" in again.stdout
    many = ("load", "*.csv", "no.csv", "--target", "fact_defect_inspection")
    report = run("--url", url, *many, "--max-rejects", "3", cwd=tmp_path)
    assert report.returncode == 1
    assert "there is no file 'no.csv'" in report.stderr
    assert "one.csv: fact_defect_inspection: already loaded as batch one" in report.stdout
    replaced = run("--url", url, *one, "--on-conflict", "replace", "--max-rejects", "3", cwd=tmp_path)
    assert "3 rejected, 9 replaced" in replaced.stdout, replaced.stderr
    wrong = run("--url", url, *one, "--max-rejects", "many", cwd=tmp_path)
    assert "--max-rejects many: give a count, or a share such as 0.01 or 1%" in wrong.stderr


def test_a_query_shows_small_numbers_and_nothing_is_cut_where_stdout_is_no_terminal(url: str, tmp_path: Path) -> None:
    sql = "SELECT -0.00027::float8 AS mean, 'x' || repeat('y', 300) AS text"
    done = run("--url", url, "query", sql, cwd=tmp_path, COLUMNS="")
    assert "-0.00027" in done.stdout, done.stderr
    assert f"│ x{'y' * 300} │" in done.stdout
    narrow = run("--url", url, "query", sql, cwd=tmp_path, COLUMNS="80")
    assert "mean | -0.00027" in narrow.stdout
    assert "mean | -0.00027" in run("--url", url, "query", sql, "--vertical", cwd=tmp_path).stdout
    assert "-0.0003" in run("--url", url, "query", sql, "--digits", "1", cwd=tmp_path).stdout


def test_a_query_goes_to_csv_json_and_files_with_all_its_digits(url: str, tmp_path: Path) -> None:
    sql = "SELECT 0.1234567890123::float8 AS x, NULL::text AS n, ''::text AS e"
    query = ("--url", url, "query", sql)
    assert run(*query, "--csv", cwd=tmp_path).stdout == 'x,n,e\n0.1234567890123,,""\n'
    assert json.loads(run(*query, "--json", cwd=tmp_path).stdout) == [{"x": 0.1234567890123, "n": None, "e": ""}]
    for name in ("out.csv", "out.json", "out.parquet"):
        assert f"{name}: 1 row," in run(*query, "--out", name, cwd=tmp_path).stdout
        again = run(*query, "--out", name, cwd=tmp_path)
        assert again.returncode == 1
        assert f"{name} exists already; give another name, or --overwrite" in again.stderr
        assert run(*query, "--out", name, "--overwrite", cwd=tmp_path).returncode == 0
    assert "--csv, --json and --out" in run(*query, "--csv", "--json", cwd=tmp_path).stderr
    assert "write name=value" in run(*query, "-p", "lot", cwd=tmp_path).stderr


def test_an_export_writes_a_folder_by_a_column(url: str, tmp_path: Path) -> None:
    sql = "SELECT n, n % 2 AS half FROM generate_series(1, 10) AS n WHERE n <= CAST(:most AS int)"
    done = run("--url", url, "export", sql, "out", "-p", "most=6", "--partition-by", "half", cwd=tmp_path)
    assert "out: 6 rows" in done.stdout, done.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["half=0", "half=1"]


def test_columns_are_listed_without_a_server(tmp_path: Path) -> None:
    for table, column in (
        ("fact_test_results", "hard_bin"),
        ("dim_lot", "priority"),
        ("bridge_lot_genealogy", "child_lot_id"),
    ):
        assert column in run("facts", "columns", table, cwd=tmp_path).stdout
    named = json.loads(run("facts", "columns", "fact_test_results", "--json", cwd=tmp_path).stdout)
    assert {
        key: value for key, value in next(row for row in named if row["column"] == "lot_id").items() if key != "meaning"
    } == {"column": "lot_id", "type": "string", "needed": True}
    wrong = run("facts", "columns", "fact_x", cwd=tmp_path)
    assert wrong.returncode == 1
    assert "dim_lot" in wrong.stderr


def test_batches_are_listed_the_latest_first(url: str, tmp_path: Path) -> None:
    header = "event_ts,lot_id,wafer_id,inspection_id,is_defect,defect_id"
    for name, row in (("one", "2026-01-05T12:00:00Z,L1,1,I1,true,1"), ("two", "2026-01-05T12:00:00Z,L1,1,I1,true,x")):
        (tmp_path / f"{name}.csv").write_text(f"{header}\n{row}\n")
    run("--url", url, "upgrade", cwd=tmp_path)
    for name in ("one", "two"):
        load = ("load", f"{name}.csv", "--target", "fact_defect_inspection", "--batch-id", name)
        failed = run("--url", url, *load, cwd=tmp_path)
    assert "gpwarehouse batches rejects two" in failed.stderr
    assert "wh." not in failed.stderr
    listed = json.loads(run("--url", url, "batches", "list", "--json", cwd=tmp_path).stdout)
    assert [(row["batch_id"], row["status"], row["rows_loaded"]) for row in listed] == [
        ("two", "failed", 0),
        ("one", "loaded", 1),
    ]
    only = run("--url", url, "batches", "list", "--status", "loaded", "--csv", cwd=tmp_path).stdout.splitlines()
    assert [line.partition(",")[0] for line in only] == ["batch_id", "one"]
    assert "one" in run("--url", url, "batches", "list", cwd=tmp_path).stdout
    assert "the allowed values are" in run("--url", url, "batches", "list", "--status", "lost", cwd=tmp_path).stderr


def test_the_command_runs_as_a_module(tmp_path: Path) -> None:
    """As Python starts it; the other tests fork it."""
    for args, code in (("--version", 0), ("status", 1)):
        command = [sys.executable, "-m", "gpwarehouse", args]
        module = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
        forked = run(args, cwd=tmp_path, COLUMNS="")
        assert (module.returncode, module.stdout, module.stderr) == (code, forked.stdout, forked.stderr)
        assert forked.returncode == code


def test_the_command_tells_its_version(tmp_path: Path) -> None:
    assert run("--version", cwd=tmp_path).stdout == f"gpwarehouse {gpwarehouse.__version__}\n"


def test_an_error_names_its_file_once(url: str, tmp_path: Path) -> None:
    (tmp_path / "bad.stdf").write_bytes(b"no stdf at all")
    run("--url", url, "upgrade", cwd=tmp_path)
    told = run("--url", url, "load", "bad.stdf", cwd=tmp_path).stderr
    assert told.count("bad.stdf") == 1, told
