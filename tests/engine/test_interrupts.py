"""Ctrl-C ends a wait for the server at once: the statement is ended there, and nothing of it stays."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import URL, create_engine, text
from sqlalchemy.pool import NullPool

from gpwarehouse import Warehouse
from gpwarehouse.engine import interrupts
from tests.faults.wire import wire
from tests.load.rows import MEASUREMENTS, measurement, scalar

LONG = "SELECT pg_sleep(300)"
SLEPT = "SELECT pg_sleep(60), nextval('public.slept')"
"""Whether it came to its end can be told afterwards: no rollback takes a number of a sequence back."""
RUNNING = (
    "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND datname = current_database() "
    "AND (query LIKE 'SELECT pg_sleep%' OR query LIKE 'FETCH%')"
)
WAITING = """SELECT count(*) FROM pg_locks WHERE NOT granted
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"""


@pytest.fixture(autouse=True)
def _in_the_foreground() -> Iterator[None]:
    """A shell has its background jobs ignore SIGINT, and so what they start."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def asking(url: URL, query: str, wanted: int) -> Iterator[Callable[[], None]]:
    """Gives a function that waits until the query's count is the wanted one, past the warehouse under test."""
    engine = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")

    def wait() -> None:
        deadline = time.monotonic() + 60
        with engine.connect() as connection:
            while connection.execute(text(query)).scalar_one() != wanted:
                assert time.monotonic() < deadline
                time.sleep(0.02)

    yield wait


@contextlib.contextmanager
def ctrl_c(once: Callable[[], None]) -> Iterator[None]:
    """A Ctrl-C as soon as ``once`` returns; the block must raise KeyboardInterrupt, long before its statement's end."""

    def press() -> None:
        once()
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    finger = threading.Thread(target=press)
    finger.start()
    try:
        yield
    except KeyboardInterrupt:
        finger.join()
    else:
        pytest.fail("nothing was interrupted")


@pytest.mark.parametrize("how", ["session", "run", "raw cursor", "named cursor", "first connection"])
def test_a_statement_is_ended_on_the_server(wh: Warehouse, how: str) -> None:
    url = wh.settings.sqlalchemy_url()
    with wh.engine.begin() as connection:
        connection.execute(text("CREATE SEQUENCE public.slept"))
    if how == "first connection":
        wh.close()
    with asking(url, RUNNING, 1) as begun, asking(url, RUNNING, 0) as ended:
        with ctrl_c(begun):
            if how == "run":
                wh.run(lambda session: session.execute(text(SLEPT)))
            elif how in ("session", "first connection"):
                with wh.session() as session:
                    session.execute(text(SLEPT))
            elif how == "named cursor":
                with wh.engine.connect().execution_options(stream_results=True) as connection:
                    connection.execute(text(SLEPT)).all()
            else:
                with contextlib.closing(wh.engine.raw_connection()) as raw:
                    raw.cursor().execute(SLEPT)
        ended()
    assert not scalar(wh, "SELECT is_called FROM public.slept")
    assert wh.health().pool.in_use == 0  # type: ignore[union-attr]
    with wh.session() as session:
        assert session.execute(text("SELECT 1")).scalar_one() == 1


def test_a_load_that_waits_for_a_lock_is_ended_and_nothing_is_loaded(wh: Warehouse) -> None:
    wh.load(MEASUREMENTS, [measurement()], batch_id="a")
    url = wh.settings.sqlalchemy_url()
    other = create_engine(url, poolclass=NullPool)
    with other.connect() as blocker, asking(url, WAITING, 1) as begun, asking(url, WAITING, 0) as ended:
        blocker.execute(text(f"LOCK TABLE dw.{MEASUREMENTS} IN EXCLUSIVE MODE"))
        with ctrl_c(begun):
            wh.load(MEASUREMENTS, [measurement(site_no=n) for n in range(9)], batch_id="b")
        ended()
    assert scalar(wh, f"SELECT count(*) FROM dw.{MEASUREMENTS}") == 1
    assert wh.load(MEASUREMENTS, [measurement(site_no=n) for n in range(9)], batch_id="b").rows_loaded == 9


def test_a_load_whose_source_is_slow_is_ended(wh: Warehouse) -> None:
    given, go_on = threading.Event(), threading.Event()

    def rows() -> Iterator[dict[str, Any]]:
        yield measurement()
        given.set()
        go_on.wait(60)
        yield measurement(site_no=1)

    with ctrl_c(lambda: (given.wait(60), threading.Timer(1, go_on.set).start())[0]):  # type: ignore[arg-type, return-value]
        wh.load(MEASUREMENTS, rows(), batch_id="b")
    assert scalar(wh, f"SELECT count(*) FROM dw.{MEASUREMENTS}") == 0


def test_a_server_that_does_not_answer_is_hung_up_on(shared_wh: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interrupts, "_ANSWER_S", 0.2)
    monkeypatch.setattr(interrupts, "_END_S", 0.2)
    with wire(shared_wh.settings.sqlalchemy_url()) as line, Warehouse(line.url) as wh:
        wh.read("SELECT 1")
        asked = threading.Event()

        def freeze(data: bytes) -> None:
            if b"pg_sleep" in data:
                line.flowing.clear()
                asked.set()

        line.watch = freeze
        with ctrl_c(lambda: asked.wait(60) and None), wh.session() as session:
            session.execute(text(LONG))
        line.flowing.set()
    assert asked.is_set()


def test_what_is_no_interrupt_is_as_without(shared_wh: Warehouse) -> None:
    """Results, errors and rows of a cursor are the driver's, in the main thread and in others."""
    found: list[Any] = []

    def ask() -> None:
        with shared_wh.session() as session:
            found.append(session.execute(text("SELECT 1, 'a' UNION ALL SELECT 2, 'b' ORDER BY 1")).all())

    ask()
    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    assert found[0] == found[1] == [(1, "a"), (2, "b")]
    with shared_wh.engine.connect().execution_options(stream_results=True) as connection:
        result = connection.execute(text("SELECT g FROM generate_series(1, 2500) g"))
        assert [row.g for row in result] == list(range(1, 2501))
    with pytest.raises(Exception, match="division by zero") as caught, shared_wh.session() as session:
        session.execute(text("SELECT 1 / 0"))
    assert caught.value.orig.pgcode == "22012"  # type: ignore[attr-defined]
