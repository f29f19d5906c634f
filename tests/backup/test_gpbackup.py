"""gpbackup's arguments, report and history. gpbackup itself is not to be had here: a stand-in on PATH says what it was given."""

from __future__ import annotations

import json
import sqlite3
from datetime import datetime
from pathlib import Path

import pytest

from gpwarehouse.backup import read_gpbackup_history, run_gpbackup
from gpwarehouse.errors import BackupError
from gpwarehouse.settings import WarehouseSettings

STAND_IN = """#!/usr/bin/env python3
import json, os, pathlib, sys
given = {"arguments": sys.argv[1:], "environment": {k: v for k, v in os.environ.items() if k.startswith("PG")}}
pathlib.Path(%r).write_text(json.dumps(given))
if "--fail" in sys.argv:
    print("20261201:02:00:00 gpbackup:gpadmin:host:001-[CRITICAL]:-Database nothing does not exist")
    sys.exit(2)
print("20261201:02:00:00 gpbackup:gpadmin:host:001-[INFO]:-Backup Timestamp = 20261201020000")
if "--backup-dir" in sys.argv:
    at = pathlib.Path(sys.argv[sys.argv.index("--backup-dir") + 1], "gpseg-1/backups/20261201/20261201020000")
    at.mkdir(parents=True)
    (at / "gpbackup_20261201020000_report").write_text("Greenplum Database Backup Report")
"""
COLUMNS = (
    "timestamp TEXT NOT NULL PRIMARY KEY, backup_dir TEXT, backup_version TEXT, database_name TEXT, date_deleted TEXT, "
    "incremental INT, end_time TEXT, status TEXT"
)


@pytest.fixture
def seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Puts the stand-in on PATH, and returns the file in which it says what it was given."""
    program, told = tmp_path / "bin" / "gpbackup", tmp_path / "given.json"
    program.parent.mkdir()
    program.write_text(STAND_IN % str(told))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    return told


def settings() -> WarehouseSettings:
    return WarehouseSettings(url="postgresql://ann:s3cret@coordinator:5433/fab", schema_name="dw2", _env_file=None)


def test_gpbackup_is_given_database_schema_and_login_and_its_report_is_found(seen: Path, tmp_path: Path) -> None:
    done = run_gpbackup(settings(), folder=tmp_path / "to", jobs=4, options=["--leaf-partition-data"])
    given = json.loads(seen.read_text())
    assert given["arguments"] == [
        "--dbname", "fab", "--include-schema", "dw2", "--jobs", "4", "--backup-dir", str(tmp_path / "to"),
        "--leaf-partition-data",
    ]  # fmt: skip
    wanted = {"PGHOST": "coordinator", "PGPORT": "5433", "PGUSER": "ann", "PGPASSWORD": "s3cret"}
    assert wanted.items() <= given["environment"].items()
    assert done.timestamp == "20261201020000"
    assert done.report is not None
    assert done.report.read_text() == "Greenplum Database Backup Report"


@pytest.mark.usefixtures("seen")
def test_a_run_that_fails_tells_gpbackups_last_lines_and_no_password() -> None:
    with pytest.raises(BackupError, match=r"exit code 2.*Database nothing does not exist") as caught:
        run_gpbackup(settings(), options=["--fail"])
    assert "s3cret" not in str(caught.value)


def test_without_gpbackup_the_way_out_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BackupError, match=r"not on PATH.*gpwarehouse backup create"):
        run_gpbackup(settings())


def test_the_history_is_read_the_newest_first(tmp_path: Path) -> None:
    path = tmp_path / "gpbackup_history.db"
    with sqlite3.connect(path) as history:
        history.execute(f"CREATE TABLE backups ({COLUMNS})")
        rows = [
            ("20261130020000", "/to", "1.30.5", "fab", "", 0, "20261130020130", "Success"),
            ("20261201020000", "/to", "1.30.5", "fab", "", 1, "", "Failure"),
            ("20261129020000", None, None, "fab", "20261201030000", 0, "20261129020500", "Success"),
        ]
        history.executemany("INSERT INTO backups VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
    history.close()
    failed, whole, deleted = read_gpbackup_history(path)
    assert (failed.status, failed.is_whole, failed.ended_at, failed.incremental) == ("Failure", False, None, True)
    assert (whole.is_whole, whole.folder, whole.ended_at) == (True, "/to", datetime(2026, 11, 30, 2, 1, 30))
    assert (deleted.is_whole, deleted.folder) == (False, None)


def test_what_is_no_history_is_told(tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="is no file"):
        read_gpbackup_history(tmp_path / "nothing.db")
    (tmp_path / "other.db").write_text("gpbackup_history.yaml of an older gpbackup, which is no database")
    with pytest.raises(BackupError, match=r"is no history of gpbackup 1\.29 or newer"):
        read_gpbackup_history(tmp_path / "other.db")
