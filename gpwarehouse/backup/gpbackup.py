"""gpbackup, Greenplum's own tool, where it is installed: its arguments, its report, its history. Nothing is taken over from it.

It writes files on all hosts, and gprestore wants as many segments as there were. It runs on the coordinator's host.
"""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from gpwarehouse.errors import BackupError
from gpwarehouse.settings import WarehouseSettings

__all__ = ["GpbackupRecord", "GpbackupRun", "read_gpbackup_history", "run_gpbackup"]

_TIMESTAMP = re.compile(r"Backup Timestamp = (\d{14})\b")
_LINES_TOLD = 5
_HISTORY = """
    SELECT timestamp, database_name, status, end_time, date_deleted, incremental, backup_dir, backup_version
    FROM backups ORDER BY timestamp DESC"""


@dataclass(frozen=True)
class GpbackupRun:
    """A run of gpbackup that succeeded.

    :ivar timestamp: its name of the backup, ``YYYYMMDDHHMMSS`` in the host's time zone.
    :ivar report: its report file, where it can be found from here.
    """

    timestamp: str
    report: Path | None


@dataclass(frozen=True)
class GpbackupRecord:
    """A row of gpbackup's history.

    :ivar began_at: in the time zone of the coordinator's host, which the history does not name; ``ended_at`` likewise.
    :ivar status: ``Success``, ``Failure``, or what a newer gpbackup writes.
    :ivar deleted: when or whether its files were deleted; empty if they were not.
    """

    timestamp: str
    began_at: datetime
    ended_at: datetime | None
    database: str
    status: str
    deleted: str
    incremental: bool
    folder: str | None
    version: str | None

    @property
    def is_whole(self) -> bool:
        """Whether it succeeded and its files are there."""
        return self.status == "Success" and not self.deleted


def run_gpbackup(
    settings: WarehouseSettings, *, folder: str | Path | None = None, jobs: int = 1, options: Sequence[str] = ()
) -> GpbackupRun:
    """Back the warehouse's schema up with gpbackup.

    :param folder: ``--backup-dir``, on every host; by default the data folders of the segments.
    :param jobs: ``--jobs``, connections at once.
    :param options: more arguments, such as ``--plugin-config FILE``.
    :raises BackupError: gpbackup is not installed here, or it failed.
    """
    program = shutil.which("gpbackup")
    if program is None:
        raise BackupError(
            "gpbackup is not on PATH; run this on the coordinator's host after sourcing greenplum_path.sh, or use "
            "gpwarehouse backup create, which needs no tool"
        )
    url = settings.sqlalchemy_url()
    arguments = [program, "--dbname", url.database or "", "--include-schema", settings.schema_name, "--jobs", str(jobs)]
    arguments += [] if folder is None else ["--backup-dir", str(folder)]
    given = {"PGHOST": url.host, "PGPORT": url.port, "PGUSER": url.username, "PGPASSWORD": url.password}
    environment = {**os.environ, **{name: str(value) for name, value in given.items() if value is not None}}
    done = subprocess.run([*arguments, *options], env=environment, capture_output=True, text=True, check=False)
    said = f"{done.stdout}\n{done.stderr}"
    found = _TIMESTAMP.search(said)
    if done.returncode or found is None:
        lines = [line.strip() for line in said.splitlines() if line.strip()][-_LINES_TOLD:]
        why = f"exit code {done.returncode}" if done.returncode else "it told no timestamp"
        raise BackupError(f"gpbackup failed ({why}): {' | '.join(lines)}")
    return GpbackupRun(found[1], _find_report(folder, found[1]))


def _find_report(folder: str | Path | None, timestamp: str) -> Path | None:
    """``<folder>/<prefix>-1/backups/YYYYMMDD/<timestamp>/gpbackup_<timestamp>_report``."""
    if folder is None:
        return None
    name = f"backups/{timestamp[:8]}/{timestamp}/gpbackup_{timestamp}_report"
    return next(iter(sorted(Path(folder).glob(f"*-1/{name}"))), None)


def read_gpbackup_history(path: str | Path) -> list[GpbackupRecord]:
    """Read gpbackup's history, the newest first.

    :param path: ``gpbackup_history.db`` in the coordinator's data folder (gpbackup 1.29 and newer).
    :raises BackupError: there is no such file, or it is no history.
    """
    file = Path(path)
    if not file.is_file():
        raise BackupError(f"{file} is no file; it is gpbackup_history.db in the coordinator's data folder")
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as history:
            rows = history.execute(_HISTORY).fetchall()
        return [
            GpbackupRecord(
                timestamp, _moment(timestamp), _moment(ended) if ended else None, database or "", status or "", deleted or "",
                bool(incremental), folder or None, version or None,
            )
            for timestamp, database, status, ended, deleted, incremental, folder, version in rows
        ]  # fmt: skip
    except (sqlite3.Error, ValueError) as error:
        raise BackupError(f"{file} is no history of gpbackup 1.29 or newer: {error}") from error


def _moment(text: str) -> datetime:
    return datetime.strptime(text, "%Y%m%d%H%M%S")  # the history names no time zone
