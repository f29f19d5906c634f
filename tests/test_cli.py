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
    assert "revision 0001" in run("--url", url, "upgrade", cwd=tmp_path).stdout
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
