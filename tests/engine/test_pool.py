"""The pool says who holds what, is lazy and last in first out, and belongs to one process."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import URL, exc, text

from gpwarehouse import Warehouse
from gpwarehouse.engine import PoolState, pool_state
from gpwarehouse.errors import PoolTimeoutError, WarehouseConnectionError

PID = text("SELECT pg_backend_pid()")


def state_of(wh: Warehouse) -> PoolState:
    state = pool_state(wh.engine.pool)
    assert state is not None
    return state


@pytest.fixture
def small(server_url: URL) -> Iterator[Warehouse]:
    with Warehouse(server_url, pool_size=1, pool_max=2, pool_timeout_s=1) as wh:
        yield wh


def test_making_a_warehouse_and_its_engine_opens_no_connection() -> None:
    with Warehouse("postgresql://nobody@127.0.0.1:1/nowhere") as wh:
        assert (state_of(wh).opened, state_of(wh).in_use) == (0, 0)


def test_importing_the_package_opens_no_connection() -> None:
    code = (
        "import socket; socket.socket.connect = None; import gpwarehouse.warehouse, gpwarehouse.load, gpwarehouse.read"
    )
    imported = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert (imported.returncode, imported.stderr) == (0, "")


def test_an_exhausted_pool_says_who_holds_its_connections(small: Warehouse) -> None:
    with small.session() as one, small.engine.connect():
        one.execute(text("SELECT 'VERYSECRET'"))
        with pytest.raises(PoolTimeoutError) as caught:
            small.engine.connect()
    words = str(caught.value)
    assert "within 1 s" in words
    assert words.count(f"{__file__}:") == 2  # the session's line and the connection's
    assert f"thread {threading.current_thread().name!r}" in words
    assert "SECRET" not in words
    assert isinstance(caught.value, WarehouseConnectionError | exc.TimeoutError)
    assert state_of(small).timeouts == 1


def test_holders_are_named_by_thread_and_line_and_go_when_the_block_ends(small: Warehouse) -> None:
    with ThreadPoolExecutor(1, thread_name_prefix="night-job") as threads, small.engine.connect():
        held, done = threading.Event(), threading.Event()

        def hold() -> None:
            with small.session() as session:
                session.execute(PID)
                held.set()
                assert done.wait(30)

        job = threads.submit(hold)
        assert held.wait(30)
        state = state_of(small)
        assert [holder.thread for holder in state.holders] == [threading.current_thread().name, "night-job_0"]
        assert all("test_pool.py" in holder.where for holder in state.holders)
        assert (state.in_use, state.idle, state.limit) == (2, 0, 2)
        done.set()
        job.result(30)
    assert (state_of(small).in_use, state_of(small).holders) == (0, ())


def test_the_connection_given_back_last_is_handed_out_first(server_url: URL) -> None:
    with Warehouse(server_url, pool_size=3, pool_max=3) as wh:
        connections = [wh.engine.connect() for _ in range(3)]
        pids = [connection.execute(PID).scalar_one() for connection in connections]
        for connection in connections:
            connection.close()
        with wh.engine.connect() as again:
            assert again.execute(PID).scalar_one() == pids[-1]


def test_a_connection_that_died_in_the_pool_is_replaced_unseen(small: Warehouse, server_url: URL) -> None:
    """It was used a moment ago, so it is not asked: its socket tells its end."""
    with small.engine.connect() as first:
        before = first.execute(PID).scalar_one()
    with Warehouse(server_url) as other, other.engine.connect() as connection:
        connection.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": before})
        gone = text("SELECT count(*) FROM pg_stat_activity WHERE pid = :pid")
        while connection.execute(gone, {"pid": before}).scalar_one():
            connection.rollback()
    with small.engine.connect() as again:
        assert again.execute(PID).scalar_one() != before


def in_child(work: Callable[[], str]) -> str:
    """What ``work`` returns in a forked child, or its error."""
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover
        try:
            told = work()
        except BaseException as error:
            told = f"{type(error).__name__}: {error}"
        os.write(theirs, told.encode())
        os._exit(0)
    os.close(theirs)
    with os.fdopen(ours) as pipe:
        told = pipe.read()
    os.waitpid(child, 0)
    return told


def test_a_connection_is_asked_before_use_unless_it_answered_a_moment_ago(
    small: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    ping = small.engine.dialect.do_ping

    def do_ping(driver: Any) -> bool:
        asked.append(driver.info.backend_pid)
        return ping(driver)

    monkeypatch.setattr(small.engine.dialect, "do_ping", do_ping)

    def use() -> int:
        with small.engine.connect() as connection:
            return int(connection.execute(PID).scalar_one())

    pid = use()
    assert (use(), asked) == (pid, [])
    monkeypatch.setattr("gpwarehouse.engine.liveness._RECENT_S", 0)
    use()
    assert len(asked) == 1


def test_a_forked_child_shares_no_connection_with_its_parent(small: Warehouse) -> None:
    with small.engine.connect() as idle:
        parent = {idle.execute(PID).scalar_one()}

    def work() -> str:
        with small.engine.connect() as one, small.engine.connect() as two:
            return f"{one.execute(PID).scalar_one()} {two.execute(PID).scalar_one()}"

    children = {int(pid) for pid in in_child(work).split()}
    assert len(children) == 2
    assert not parent & children
    with small.engine.connect() as again:
        assert again.execute(PID).scalar_one() in parent


def test_a_forked_child_can_neither_use_nor_end_its_parents_transaction(small: Warehouse) -> None:
    with small.session() as session:
        session.execute(text("CREATE TEMP TABLE kept (x int) ON COMMIT DROP"))
        told = in_child(lambda: str(session.execute(PID).scalar_one()))
        assert f"belongs to process {os.getpid()}" in told
        assert in_child(lambda: str(session.close())) == "None"
        assert in_child(lambda: str(small.engine.dispose())) == "None"
        session.execute(text("INSERT INTO kept VALUES (1)"))
        assert session.execute(text("SELECT count(*) FROM kept")).scalar_one() == 1


@pytest.mark.parametrize(
    "change",
    [
        "SET work_mem = '13MB'",
        "SELECT 1; /* ; */ set search_path = pg_catalog",
        "-- mine\nSET ROLE gpw_stranger",
        "RESET work_mem",
        "PREPARE mine AS SELECT 1",
        "SELECT pg_advisory_lock(42)",
    ],
)
def test_a_session_that_was_changed_is_not_handed_on(small: Warehouse, change: str) -> None:
    shown = text("SELECT pg_backend_pid(), current_user, current_setting('work_mem'), current_setting('search_path')")
    with small.session() as session:
        session.execute(text("DROP ROLE IF EXISTS gpw_stranger"))
        session.execute(text("CREATE ROLE gpw_stranger"))
    with small.session() as session:
        before = session.execute(shown).one()
    with small.session() as session:
        session.execute(text(change))
    with small.session() as session:
        after = session.execute(shown).one()
        session.execute(text("DROP ROLE gpw_stranger"))
    assert after[0] != before[0]
    assert after[1:] == before[1:]
    with small.session(work_mem="7MB") as session:
        session.execute(text("SET LOCAL enable_nestloop = off"))
        session.execute(text("CREATE TEMP TABLE numbers (n int) ON COMMIT DROP"))
        session.execute(text("UPDATE numbers\nSET n = 1"))
    with small.session() as session:
        assert session.execute(shown).one() == after
    assert state_of(small).in_use == 0


def test_a_forked_child_cannot_go_on_with_its_parents_read(small: Warehouse) -> None:
    with small.read("SELECT g AS n FROM generate_series(1, 500000) g", chunks=1000) as chunks:
        first = len(next(chunks))

        def go_on() -> str:
            for _ in chunks:
                pass
            return "it went on"

        assert f"belongs to process {os.getpid()}" in in_child(go_on)
        assert in_child(lambda: str(chunks.close())) == "None"
        assert first + sum(len(chunk) for chunk in chunks) == 500_000


def test_a_warehouse_goes_to_another_process_as_its_settings(small: Warehouse) -> None:
    with pickle.loads(pickle.dumps(small)) as copy:
        assert copy.settings == small.settings
        assert state_of(copy).opened == 0
        assert int(copy.read("SELECT 1 AS n").n[0]) == 1


def test_many_threads_share_a_few_connections_without_a_leak(server_url: URL) -> None:
    """By hand: tests.benchmarks.faults runs 50 threads of 200 units."""
    with Warehouse(server_url, pool_size=2, pool_max=6) as wh:
        with wh.engine.begin() as connection:
            connection.execute(text("CREATE TABLE IF NOT EXISTS public.pool_units (n int)"))

        def unit(number: int) -> None:
            with wh.session() as session:
                session.execute(text("INSERT INTO public.pool_units VALUES (:n)"), {"n": number})

        with ThreadPoolExecutor(20) as threads:
            list(threads.map(unit, range(400)))
        with wh.engine.begin() as connection:
            assert connection.execute(text("SELECT count(*) FROM public.pool_units")).scalar_one() == 400
            connection.execute(text("DROP TABLE public.pool_units"))
        state = state_of(wh)
        assert (state.in_use, state.waiting, state.timeouts) == (0, 0, 0)
        assert state.idle <= 2
