"""wh.health() tells how it is, whatever is wrong, in bounded time, and raises nothing."""

from __future__ import annotations

import json
import threading
import time
from contextlib import ExitStack
from dataclasses import replace

import pytest
from sqlalchemy import URL, text
from typer.testing import CliRunner

from gpwarehouse import Warehouse
from gpwarehouse.cli import app
from gpwarehouse.dialect import Brand, ServerInfo
from gpwarehouse.embedded import EmbeddedServer
from gpwarehouse.engine import Segment, ServerFacts
from gpwarehouse.warehouse.health import _check_down, _check_segments
from tests.faults.wire import wire
from tests.migrate.site import HEAD

SECRET = "hunter2-s3cret"


def test_a_warehouse_at_head_is_healthy(shared_wh: Warehouse, server_info: ServerInfo) -> None:
    shared_wh.status()
    found = shared_wh.health()
    assert (found.status, found.reasons) == ("healthy", ())
    assert found.server == str(server_info)
    assert found.revision == found.head == HEAD
    assert found.latency_ms is not None
    assert found.pool is not None
    assert found.pool.in_use == 0
    assert found.connections is not None
    assert found.connections < (found.max_connections or 0)
    if server_info.brand is not Brand.POSTGRESQL:
        assert found.segments_answering == len({s.content for s in found.segments if s.content >= 0}) > 0
    json.dumps(found.as_dict())


def test_a_schema_that_is_behind_is_degraded_and_says_what_to_do(empty_url: URL) -> None:
    with Warehouse(empty_url) as wh:
        found = wh.health()
    assert found.status == "degraded"
    assert "gpwarehouse upgrade" in found.reasons[0]


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://etl:{SECRET}@127.0.0.1:1/fab",
        f"postgresql://etl:{SECRET}@127.0.0.1:1,127.0.0.1:2/fab",
        f"postgresql://etl:{SECRET}@no-such-host.invalid/fab",
    ],
)
def test_a_server_that_is_not_there_is_down_and_no_secret_is_told(url: str) -> None:
    with Warehouse(url) as wh:
        found = wh.health(timeout_s=5)
    assert found.status == "down"
    assert found.reasons
    assert SECRET not in repr(found)


def test_a_warehouse_without_a_database_is_down_not_an_error() -> None:
    with Warehouse(host="127.0.0.1") as wh:
        assert wh.health().status == "down"


def test_a_frozen_server_is_down_in_time_and_leaves_no_thread(shared_wh: Warehouse) -> None:
    with wire(shared_wh.settings.sqlalchemy_url()) as line:

        def freeze(data: bytes) -> None:
            if b"pg_stat_activity" in data:
                line.flowing.clear()

        line.watch = freeze
        with Warehouse(line.url) as wh:
            started = time.monotonic()
            found = wh.health(timeout_s=1)
            assert time.monotonic() - started < 10
            line.flowing.set()
    assert (found.status, found.reasons) == ("down", ("no answer within 1 s",))
    deadline = time.monotonic() + 10
    while any(thread.name == "gpwarehouse-health" for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_an_exhausted_pool_is_told_and_does_not_keep_the_answer_waiting(shared_wh: Warehouse) -> None:
    with Warehouse(shared_wh.settings.sqlalchemy_url(), pool_size=1, pool_max=1, pool_timeout_s=60) as wh:
        got = threading.Event()

        def wait() -> None:
            with wh.engine.connect():
                got.set()

        with wh.engine.connect():
            waiter = threading.Thread(target=wait)
            waiter.start()
            deadline = time.monotonic() + 10
            while True:
                found = wh.health()
                if found.status == "degraded":
                    break
                assert time.monotonic() < deadline
            assert found.reasons == (
                "the pool of this process has all its connections in use (1), and threads wait (1)",
            )
        assert got.wait(10)
        waiter.join()


def test_a_role_that_may_see_nothing_is_told_what_cannot_be_seen(shared_wh: Warehouse) -> None:
    url = shared_wh.settings.sqlalchemy_url()
    role = f"blind_{url.database}"
    with shared_wh.engine.begin() as connection:
        connection.execute(text(f"CREATE ROLE {role} LOGIN"))
    try:
        with Warehouse(url.set(username=role)) as blind:
            found = blind.health(disk=True)
        assert found.status == "degraded"
        assert any("cannot be read" in reason for reason in found.reasons)
    finally:
        with shared_wh.engine.begin() as connection:
            connection.execute(text(f"DROP ROLE {role}"))


P0 = Segment(0, "p", "p", "s", "u", "sdw1", 6000)
M0 = Segment(0, "m", "m", "s", "u", "sdw2", 7000)


@pytest.mark.parametrize(
    ("segments", "words"),
    [
        ((P0, M0), []),
        ((replace(P0, mode="n"),), []),  # no mirrors: never in sync
        ((replace(P0, mode="n"), replace(M0, status="d", mode="n")), ["not in sync", "mirror of content 0 on sdw2:7000 is down"]),
        (
            (replace(P0, role="m", status="d"), replace(M0, role="p", mode="n")),
            ["mirror of content 0 on sdw1:6000 is down", "not in its preferred role"],
        ),
    ],
)  # fmt: skip
def test_segments_are_judged_by_status_role_and_mode(segments: tuple[Segment, ...], words: list[str]) -> None:
    told = list(_check_segments(segments))
    assert len(told) == len(words)
    for line, word in zip(told, words, strict=True):
        assert word in line
    assert not list(_check_down(ServerFacts(segments=segments)))


def test_a_content_without_a_primary_is_down() -> None:
    gone = (replace(P0, status="d"), replace(M0, status="d"))
    assert list(_check_down(ServerFacts(segments=gone))) == ["content 0 has no primary that is up: queries fail"]


@pytest.mark.parametrize(("state", "code"), [("healthy", 0), ("degraded", 1), ("down", 2)])
def test_the_command_tells_probes_by_its_exit_code(shared_wh: Warehouse, state: str, code: int) -> None:
    url = shared_wh.settings.sqlalchemy_url()
    if state == "down":
        url = URL.create("postgresql", "etl", SECRET, "127.0.0.1", 1, "fab")
    elif state == "degraded":
        url = url.set(database="postgres")
    done = CliRunner().invoke(app, ["--url", url.render_as_string(hide_password=False), "health", "--json"])
    assert done.exit_code == code, done.output
    assert json.loads(done.stdout)["status"] == state
    assert SECRET not in done.output


def test_only_clients_count_as_connections(server_url: URL, server_info: ServerInfo) -> None:
    """Not the server's own processes (launchers, writers, Greenplum's probes): they take none of max_connections."""
    with ExitStack() as stack:
        url = server_url
        if server_info.brand is Brand.POSTGRESQL:  # a server that nobody else uses
            url = stack.enter_context(EmbeddedServer.start()).url()
        wh = stack.enter_context(Warehouse(url))
        others = "SELECT count(*) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
        with wh.engine.connect() as connection:
            clients = wh.health().connections
            assert clients is not None
            if server_info.brand is Brand.POSTGRESQL:
                assert clients == 2  # this one, and the question's own
                assert connection.execute(text(others)).scalar_one() > 0
                stack.enter_context(wh.engine.connect()).execute(text("SELECT 1"))
                assert wh.health().connections == 3
            else:
                query = "SELECT count(*) FROM pg_stat_activity WHERE client_port IS NULL"
                background = connection.execute(text(query)).scalar_one()
                there = connection.execute(text("SELECT count(*) FROM pg_stat_activity")).scalar_one()
                assert 0 < clients <= there - background + 5  # others may come just then


def test_a_role_that_sees_less_counts_the_same_clients(server_url: URL, server_info: ServerInfo) -> None:
    if server_info.brand is not Brand.POSTGRESQL:
        pytest.skip("others may come and go there between two questions")
    with EmbeddedServer.start() as server, Warehouse(server.url()) as wh, wh.engine.connect():
        with wh.session() as session:
            session.execute(text("CREATE ROLE blind LOGIN"))
        wh.engine.dispose()
        with Warehouse(server.url().set(username="blind")) as blind:
            assert blind.health().connections == wh.health().connections
