"""What a thread asks the server can be cancelled from another one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import text

from gpwarehouse import Warehouse
from gpwarehouse.engine import Cancellation
from gpwarehouse.errors import GpwarehouseError, ReadCancelledError

_ACTIVE = """SELECT count(*) AS n FROM pg_stat_activity
    WHERE state = 'active' AND query LIKE '%pg_sleep%cancel_me%' AND pid <> pg_backend_pid()"""


class _Work(threading.Thread):
    """Work in a cancellation, in a thread of its own."""

    def __init__(self, cancellation: Cancellation, work: Callable[[], Any]) -> None:
        super().__init__()
        self.cancellation, self.work, self.error = cancellation, work, None
        self.start()

    def run(self) -> None:
        try:
            with self.cancellation:
                self.work()
        except Exception as error:
            self.error: Exception | None = error


def _wait_until(wh: Warehouse, running: int) -> None:
    while wh.read(_ACTIVE).n[0] != running:
        time.sleep(0.01)


@pytest.mark.parametrize("arrow", [True, False])
def test_a_read_that_waits_for_its_first_row_is_cancelled(wh: Warehouse, arrow: bool) -> None:
    cancellation = Cancellation()
    work = _Work(cancellation, lambda: wh.read("SELECT pg_sleep(600) AS cancel_me", arrow=arrow))
    _wait_until(wh, 1)
    assert cancellation.cancel("the user has left")
    work.join(10)
    assert not work.is_alive()
    assert isinstance(work.error, ReadCancelledError)
    assert "the user has left" in str(work.error)
    _wait_until(wh, 0)
    assert wh.read("SELECT 1 AS one").one[0] == 1


def test_an_export_that_sends_rows_is_cancelled_and_leaves_no_file(wh: Warehouse, tmp_path: Any) -> None:
    cancellation = Cancellation()
    begun = threading.Event()

    def export() -> None:
        many = "SELECT g, md5(CAST(g AS text)) AS m FROM generate_series(1, 100000000) g"
        wh.export(many, tmp_path / "x.csv", progress=lambda *_: begun.set())

    work = _Work(cancellation, export)
    assert begun.wait(30)
    assert cancellation.cancel()
    work.join(10)
    assert isinstance(work.error, ReadCancelledError)
    assert list(tmp_path.iterdir()) == []


def test_a_session_is_cancelled(wh: Warehouse) -> None:
    cancellation = Cancellation()

    def ask() -> None:
        with wh.session() as session:
            session.execute(text("SELECT pg_sleep(600) AS cancel_me"))

    work = _Work(cancellation, ask)
    _wait_until(wh, 1)
    assert cancellation.cancel()
    work.join(10)
    assert work.error is not None
    _wait_until(wh, 0)


def test_nothing_begins_in_a_block_that_was_cancelled_before(wh: Warehouse) -> None:
    cancellation = Cancellation()
    assert cancellation.cancel("too late")
    with cancellation, pytest.raises(GpwarehouseError, match="too late"):
        wh.read("SELECT 1")
    assert wh.read("SELECT 1 AS one").one[0] == 1


def test_a_connection_that_was_given_back_is_not_cancelled(wh: Warehouse) -> None:
    cancellation = Cancellation()
    with cancellation:
        wh.read("SELECT 1")
    other = _Work(Cancellation(), lambda: wh.read("SELECT pg_sleep(1) AS cancel_me"))
    _wait_until(wh, 1)
    assert cancellation.cancel()
    other.join()
    assert other.error is None


def test_outside_its_block_nothing_is_cancelled(wh: Warehouse) -> None:
    cancellation = Cancellation()
    with cancellation:
        assert Cancellation.current() is cancellation
    assert Cancellation.current() is None
    cancellation.cancel()
    assert wh.read("SELECT 1 AS one").one[0] == 1


def test_no_statement_begins_on_a_connection_that_the_block_keeps(wh: Warehouse) -> None:
    cancellation = Cancellation()
    with cancellation, wh.engine.connect() as connection:
        connection.execute(text("SELECT 1"))
        assert not cancellation.cancel("too late", wait_s=0)
        with pytest.raises(ReadCancelledError, match="too late"):
            connection.execute(text("SELECT 1"))


def test_a_migration_is_cancelled(wh: Warehouse) -> None:
    cancellation = Cancellation()
    head, below = wh.schema.head(), wh.schema.revisions()[-2].revision
    with wh.engine.begin() as connection:
        connection.execute(text("LOCK TABLE dw.alembic_version IN SHARE MODE"))
        work = _Work(cancellation, lambda: wh.downgrade(below))
        blocked = text("SELECT count(*) FROM pg_catalog.pg_locks WHERE NOT granted")
        while connection.execute(blocked).scalar_one() == 0:
            time.sleep(0.01)
        assert cancellation.cancel()
        work.join(10)
        assert work.error is not None
    assert wh.schema.current() == head
