"""A load of many files whose process is killed at every phase: loaded again, each row is there once.

A sample of kills by default; ``GPWAREHOUSE_TEST_EVERY_KILL=1`` does ten at each phase, in loads of twenty files.
"""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import event, make_url

from gpwarehouse import Warehouse
from tests.faults.wire import AtLastCommit, proxy
from tests.load.rows import DEFECTS, NOON, defect
from tests.processes import ANSWER_WITHIN_S, PROCESS, url_of

EVERY = bool(os.environ.get("GPWAREHOUSE_TEST_EVERY_KILL"))
FILES = 20 if EVERY else 4
KILLS = 10 if EVERY else 2
ROWS = 8
PHASES = ("validate", "members", "COPY", "before COMMIT", "after COMMIT is sent")


def write_files(folder: Path, name: str) -> None:
    """Files with lots, wafers and months of their own and others that they share."""
    for file in range(FILES):
        rows = [
            defect(
                lot_id=f"{name}-{file if n % 2 else 'all'}",
                wafer_id=str(n + 1),
                product_id=f"P{file % 3}",
                inspection_id=f"{name} {file}",
                defect_id=n,
                event_ts=NOON + timedelta(days=31 * (file % 4)),
            )
            for n in range(ROWS)
        ]
        pq.write_table(pa.Table.from_pylist(rows), folder / f"{file:02}.parquet")


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _load_and_die(url: str, folder: str, phase: str, nth: int) -> None:
    """Load the files; in the nth, die when the phase comes."""
    done: list[Any] = []
    recorded: list[int] = []

    def now(condition: bool) -> None:
        if condition and len(done) == nth:
            _die()

    def look(_connection: Any, _cursor: Any, sql: str, *_: Any) -> None:
        now(phase == "members" and "LOCK TABLE dw.dim_wafer" in sql)
        if "INSERT INTO dw.etl_load_batch" in sql:
            recorded.append(len(done))

    def progress(step: str, rows: int) -> None:
        now((phase, step) in (("validate", "read"), ("COPY", "copy")) and rows > 0)

    with Warehouse(make_url(url)) as wh:
        event.listen(wh.engine, "before_cursor_execute", look)
        event.listen(wh.engine, "commit", lambda _: now(phase == "before COMMIT" and nth in recorded))
        wh.load_files(f"{folder}/*.parquet", target=DEFECTS, each=done.append, progress=progress)


class _KillAtCommit:
    """Kills the process that has sent its nth load's COMMIT; the server gets it all the same."""

    def __init__(self, nth: int) -> None:
        self.left = nth + 1
        self.pid: int | None = None
        self._next = AtLastCommit()

    def __call__(self, data: bytes) -> bool:
        if not self._next(data):
            return False
        self.left, self._next = self.left - 1, AtLastCommit()
        if self.left:
            return False
        assert self.pid is not None
        os.kill(self.pid, signal.SIGKILL)
        return True


def killed(url: str, folder: Path, phase: str, nth: int, started: Callable[[int], None] = lambda pid: None) -> None:
    """Load until the kill."""
    process = PROCESS.Process(target=_load_and_die, args=(url, str(folder), phase, nth))
    process.start()
    assert process.pid is not None
    started(process.pid)
    process.join(ANSWER_WITHIN_S)
    assert process.exitcode == -signal.SIGKILL, "the load never came to that phase"


@pytest.mark.parametrize("kill", range(KILLS))
@pytest.mark.parametrize("phase", PHASES)
def test_a_load_of_files_that_is_killed_is_finished_by_the_next_one(
    shared_wh: Warehouse, tmp_path: Path, phase: str, kill: int
) -> None:
    name = f"{PHASES.index(phase)}.{kill}"
    nth = random.Random(name).randrange(FILES)
    write_files(tmp_path, name)
    if phase == "after COMMIT is sent":
        killer = _KillAtCommit(nth)
        with proxy(shared_wh.settings.sqlalchemy_url(), killer, after=True) as wire:
            url = wire.url.render_as_string(hide_password=False)
            killed(url, tmp_path, phase, nth, lambda pid: setattr(killer, "pid", pid))
    else:
        killed(url_of(shared_wh), tmp_path, phase, nth)
    report = shared_wh.load_files(tmp_path / "*.parquet", target=DEFECTS)
    report.raise_for_errors()
    before = nth + (phase == "after COMMIT is sent")
    assert [file.status for file in report] == ["already loaded"] * before + ["loaded"] * (FILES - before)
    found = shared_wh.read(
        "SELECT inspection_id, count(*) AS n, count(DISTINCT defect_id) AS d, count(DISTINCT batch_id) AS b "
        f"FROM dw.{DEFECTS} WHERE inspection_id LIKE :mine GROUP BY 1",
        mine=f"{name} %",
    )
    assert len(found) == FILES
    assert (set(found.n), set(found.d), set(found.b)) == ({ROWS}, {ROWS}, {1})
    members = shared_wh.read(
        "SELECT count(*) AS n, count(DISTINCT lot_key) AS k FROM dw.dim_lot WHERE is_current AND lot_id LIKE :mine",
        mine=f"{name}-%",
    )
    assert members.n[0] == members.k[0] == FILES + 1
