from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import URL

from gpwarehouse.sources.synthetic import write_demo_lot
from tests.migrate.site import HEAD


def run(*args: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    code = "from gpwarehouse.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *args],
        env={**os.environ, "COLUMNS": "160", **environment},
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )


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
    assert "loaded before" in run("load", str(lot.path), cwd=tmp_path, GPWAREHOUSE_URL=url).stdout
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
    for command in ([], ["demo"], ["upgrade"], ["load"], ["query"], ["status"], ["diagram"], ["settings"]):
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
    done = run("demo", "--wafers", "1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Yield of lot DEMO-0001" in done.stdout
    assert "Slowest test: 1700 ADC_INL" in done.stdout
    assert "x bad" in done.stdout
    assert done.stdout.count("#") > 100


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that others may enter: as root, the embedded server runs as another user."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def test_the_demos_data_can_be_kept_and_looked_at(tmp_path: Path, open_folder: Path) -> None:
    kept = open_folder / "kept"
    done = run("demo", "--wafers", "1", "--keep", str(kept), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    again = run("--embedded", str(kept), "status", cwd=tmp_path)
    assert "1 loaded" in again.stdout


def test_rejects_are_printed_corrected_and_loaded_again(url: str, tmp_path: Path) -> None:
    header = "event_ts,lot_id,wafer_id,inspection_id,is_defect,defect_id"
    rows = [f"2026-01-05T12:00:00Z,L1,{n},I1,true,{n if n % 3 else 'x'}" for n in range(1, 10)]
    (tmp_path / "one.csv").write_text("\n".join([header, *rows]))
    (tmp_path / "two.csv").write_text("\n".join([header, *rows[:2]]))
    run("--url", url, "upgrade", cwd=tmp_path)
    one = ("load", "one.csv", "--target", "fact_defect_inspection", "--batch-id", "one")
    assert "3 of 9 rows were rejected" in run("--url", url, *one, cwd=tmp_path).stderr
    loaded = run("--url", url, *one, "--max-rejects", "50%", cwd=tmp_path)
    assert "one.csv: fact_defect_inspection: 6 of 9 rows loaded, 3 rejected" in loaded.stdout, loaded.stderr
    given = run("--url", url, "rejects", "one", "--as-given", cwd=tmp_path).stdout
    assert given.splitlines()[0].startswith("row_number,")
    (tmp_path / "corrected.csv").write_text(given.replace(",x,", ",7,").replace(",x\n", ",7\n"))
    again = run("--url", url, "reload-rejects", "one", "corrected.csv", cwd=tmp_path)
    assert "3 of 3 rows loaded" in again.stdout, again.stderr
    assert "; 0 rejects left" in again.stdout
    many = ("load", "*.csv", "no.csv", "--target", "fact_defect_inspection")
    report = run("--url", url, *many, "--max-rejects", "3", cwd=tmp_path)
    assert report.returncode == 1
    assert "there is no file 'no.csv'" in report.stderr
    assert "one.csv: fact_defect_inspection: loaded before as batch one" in report.stdout
    replaced = run("--url", url, *one, "--on-conflict", "replace", "--max-rejects", "3", cwd=tmp_path)
    assert "3 rejected, 9 replaced" in replaced.stdout, replaced.stderr
    wrong = run("--url", url, *one, "--max-rejects", "many", cwd=tmp_path)
    assert "--max-rejects many: give a count, or a share such as 0.01 or 1%" in wrong.stderr
