"""A backup, or a restore, that is killed at any moment is taken up or refused, and never taken for whole.

A few random moments by default; ``GPWAREHOUSE_TEST_BACKUP_KILLS=30`` tries so many of each.
"""

from __future__ import annotations

import os
import random
import signal
import threading
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL, event, make_url

from gpwarehouse import Warehouse
from gpwarehouse.backup.place import Place, Upload
from gpwarehouse.errors import MigrationError
from tests.backup.fab import content, odd
from tests.conftest import database
from tests.partitions.fab import TESTS
from tests.processes import ANSWER_WITHIN_S, PROCESS, url_of

KILLS = int(os.environ.get("GPWAREHOUSE_TEST_BACKUP_KILLS", "3"))
WHOLE = 1 << 30


class Steps:
    """Counts statements, pieces of objects written, objects opened and removed; the process dies at a step."""

    def __init__(self, last: int) -> None:
        self.done, self.last = 0, last
        self._lock = threading.Lock()

    def take(self, *_: Any) -> None:
        with self._lock:
            self.done += 1
            if self.done == self.last:
                os.kill(os.getpid(), signal.SIGKILL)

    def before(self, kind: type, name: str) -> None:
        """Count calls of a method."""
        method = getattr(kind, name)
        setattr(kind, name, lambda *args, **named: (self.take(), method(*args, **named))[1])


def _run(action: str, url: str, folder: str, last: int, tell: Connection) -> None:
    steps = Steps(last)
    steps.before(Upload, "write")
    for name in ("check", "opened", "delete", "list"):
        steps.before(Place, name)
    with Warehouse(make_url(url)) as wh:
        event.listen(wh.engine, "before_cursor_execute", steps.take)
        event.listen(wh.engine, "commit", steps.take)
        getattr(wh.backup(folder), action)()
    tell.send(steps.done)


def steps_of(action: str, url: str, folder: str, last: int = WHOLE) -> int | None:
    """How many steps a process took; None if it was killed at the last."""
    hear, tell = PROCESS.Pipe(duplex=False)
    process = PROCESS.Process(target=_run, args=(action, url, folder, last, tell))
    process.start()
    process.join(ANSWER_WITHIN_S)
    assert process.exitcode in (0, -signal.SIGKILL)
    return int(hear.recv()) if process.exitcode == 0 else None


def test_a_killed_backup_is_never_taken_for_whole(fab: Warehouse, other: Warehouse, tmp_path: Path) -> None:
    backups, random_steps = fab.backup(str(tmp_path / "b")), random.Random(16)
    total = steps_of("create", url_of(fab), str(tmp_path / "first"))
    assert total is not None
    deaths = 0
    for number in range(KILLS):
        fab.load(TESTS, [odd("2026-02", 500 + number)])
        before = {info.id for info in backups.list() if info.state == "whole"}
        dead = steps_of("create", url_of(fab), str(tmp_path / "b"), random_steps.randint(1, total)) is None
        deaths += dead
        assert "damaged" not in {info.state for info in backups.list()}
        fresh = [info.id for info in backups.list() if info.state == "whole" and info.id not in before]
        assert dead or fresh
        for backup_id in fresh:
            assert backups.verify(backup_id).problems == ()
            assert all(each.equal for each in backups.compare(backup_id))
    made = backups.create()
    assert backups.verify(made.backup.id).problems == ()
    other.backup(str(tmp_path / "b")).restore()
    assert content(other) == content(fab)
    assert deaths


def test_a_killed_restore_goes_on_or_is_refused(
    fab: Warehouse, tmp_path: Path, server_url: URL, upgraded_template: str
) -> None:
    place, random_steps = str(tmp_path), random.Random(17)
    fab.backup(place).create()
    wanted = content(fab)
    with database(server_url, upgraded_template) as url, Warehouse(url) as one:
        total = steps_of("restore", url_of(one), place)
    assert total is not None
    deaths = 0
    for number in range(KILLS):
        with database(server_url, upgraded_template) as url, Warehouse(url) as one:
            empty = content(one)
            while steps_of("restore", url_of(one), place, random_steps.randint(1, total)) is None:
                deaths += 1
                if (found := content(one)) == wanted:  # it died after the last commit
                    break
                if found != empty:
                    with pytest.raises(MigrationError, match="is being restored"):
                        one.load(TESTS, [odd("2026-05", number)])
                    health = one.health()
                    assert health.status == "degraded"
                    assert "is not ended, so reads find a part of the data only" in health.reasons[0]
            assert content(one) == wanted
            assert one.health().status == "healthy"
            assert all(each.equal for each in one.backup(place).compare())
            one.load(TESTS, [odd("2026-05", number)])
    assert deaths
