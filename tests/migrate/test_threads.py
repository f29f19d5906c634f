"""Alembic's context is the process's: two threads that run commands of ours do not take it from each other."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import text

from gpwarehouse import Warehouse
from gpwarehouse.errors import MigrationError
from gpwarehouse.migrate import check, create_revision, offline_sql
from gpwarehouse.migrate.lock import one_thread_in_alembic
from gpwarehouse.settings import WarehouseSettings
from tests.migrate.locks import BLOCKED, WAIT, WITHIN_S, other, wait_for
from tests.migrate.site import HEAD, write_revision

COMMANDS: dict[str, Callable[[Warehouse, Path], object]] = {
    "upgrade": lambda wh, _: wh.upgrade(),
    "upgrade_plan": lambda wh, _: wh.schema.plan(),
    "downgrade_plan": lambda wh, _: wh.schema.plan_downgrade("base"),
    "check": lambda wh, _: check(wh.settings),
    "offline_sql": lambda wh, _: offline_sql(wh.settings.model_copy(update={"server": "greenplum6"})),
    "revision": lambda wh, folder: create_revision(
        wh.settings.model_copy(update={"migrations": folder}), "mine", autogenerate=True
    ),
}


class _Waits(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.seen = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if "another thread of this process" in record.getMessage():
            self.seen.set()


@pytest.fixture
def waits() -> Iterator[threading.Event]:
    """Set when a thread says that it waits."""
    log, handler = logging.getLogger("gpwarehouse.migrate.lock"), _Waits()
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    yield handler.seen
    log.removeHandler(handler)
    log.setLevel(logging.NOTSET)


def begin(failed: list[Exception], command: Callable[[], object]) -> threading.Thread:
    def run() -> None:
        try:
            command()
        except Exception as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_a_run_of_another_database_in_another_thread_waits_and_both_end_well(
    swh: Warehouse, wh: Warehouse, folder: Path, waits: threading.Event
) -> None:
    """The first is kept in the middle of its revision; no lock of the second's database stops the second."""
    write_revision(folder, "a1", None, f'{WAIT}; op.execute("CREATE TABLE public.made (a integer)")')
    failed: list[Exception] = []
    with other(swh) as connection, other(swh) as blocker:
        blocker.execute(text("LOCK TABLE dw.dim_lot IN ACCESS SHARE MODE"))
        first = begin(failed, swh.upgrade)
        wait_for(connection, BLOCKED)
        second = begin(failed, wh.upgrade)
        while second.is_alive() and not waits.wait(0.05):
            pass
        blocker.rollback()
        first.join(WITHIN_S)
        second.join(WITHIN_S)
    assert failed == []
    assert swh.read("SELECT count(*) FROM public.made").iloc[0, 0] == 0


def test_every_command_waits_for_the_thread_that_is_in_alembic(
    wh: Warehouse, tmp_path: Path, waits: threading.Event
) -> None:
    for name, command in COMMANDS.items():
        waits.clear()
        failed: list[Exception] = []
        with one_thread_in_alembic(wh.settings):
            thread = begin(failed, partial(command, wh, tmp_path / "theirs"))
            while thread.is_alive() and not waits.wait(0.05):
                pass
            assert thread.is_alive(), name
        thread.join(WITHIN_S)
        assert failed == [], name


def test_threads_that_upgrade_one_database_all_end_well(settings: WarehouseSettings) -> None:
    start, failed = threading.Barrier(3), list[Exception]()

    def upgrade() -> None:
        start.wait(WITHIN_S)
        with Warehouse(settings=settings) as wh:
            wh.upgrade()

    for thread in [begin(failed, upgrade) for _ in range(3)]:
        thread.join(WITHIN_S)
    assert failed == []
    with Warehouse(settings=settings) as wh:
        assert wh.status().revision == HEAD


def test_a_thread_that_waits_too_long_says_for_what(settings: WarehouseSettings) -> None:
    impatient = settings.model_copy(update={"migration_wait_s": 0})
    with one_thread_in_alembic(settings), Warehouse(settings=impatient) as wh:
        with pytest.raises(MigrationError, match=r"another thread of this process .* after 0 s of waiting"):
            wh.upgrade()
        assert wh.read("SELECT 1 AS a").iloc[0, 0] == 1
    with one_thread_in_alembic(impatient):
        pass


def test_a_forked_child_does_not_wait_for_a_thread_that_it_does_not_have(settings: WarehouseSettings) -> None:
    impatient = settings.model_copy(update={"migration_wait_s": 0})
    with one_thread_in_alembic(settings):
        child = os.fork()
        if child == 0:
            try:
                with one_thread_in_alembic(impatient):
                    os._exit(0)
            finally:
                os._exit(1)
        assert os.waitpid(child, 0)[1] == 0
