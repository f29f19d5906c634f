"""The gpfdist server: what segments of a real Greenplum fetch from it is stored as COPY stores it, or nothing is."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from sqlalchemy import NullPool, Table, create_engine, func, select, text
from sqlalchemy.engine import Engine
from sqlalchemy.exc import DBAPIError

from gpwarehouse import Warehouse
from gpwarehouse.dialect import Brand, ServerInfo
from gpwarehouse.errors import LoadError
from gpwarehouse.transport import Address, copy_rows, insert_rows, route
from gpwarehouse.transport.copy import leave_statistics_alone
from gpwarehouse.transport.gpfdist import GpfdistServer
from gpwarehouse.transport.gpfdist_load import why_not
from tests.load.rows import DEFECTS, defect
from tests.load.rows import stored as stored_by_batch
from tests.transport.rows import (
    BINARY,
    HERE,
    NASTY,
    ROWS,
    TEXT,
    batch_of,
    batches,
    stored,
    table_of_all,
)

SEGMENT = {"X-GP-PROTO": "1", "X-GP-XID": "1", "X-GP-CID": "0", "X-GP-SN": "0", "X-GP-SEGMENT-ID": "0"}
WITHIN_S = 60


def rows_in(engine: Engine, table: Table) -> int:
    with engine.connect() as connection:
        return int(connection.execute(select(func.count()).select_from(table)).scalar_one())


# The server, asked as a segment asks.


def serve(given: Iterator[pa.RecordBatch]) -> GpfdistServer:
    return GpfdistServer("127.0.0.1", (0,), given, lambda batch: bytes(batch.num_rows))


def ask(server: GpfdistServer, path: str | None = None, **headers: str) -> tuple[bytes, bytes]:
    """The header of the answer and what follows."""
    url = urlsplit(server.url)
    with socket.create_connection((url.hostname or "", url.port or 0), 10) as connection:
        lines = [f"GET {path or url.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        connection.sendall("\r\n".join(lines).encode())
        answer = b""
        while piece := connection.recv(1 << 16):
            answer += piece
    head, _, body = answer.partition(b"\r\n\r\n")
    return head, body


def test_a_segment_gets_frames_and_a_late_one_an_empty_end() -> None:
    with serve(iter([batch_of(NASTY[:3]), batch_of(NASTY[:2])])) as server:
        head, body = ask(server, **SEGMENT)
        assert b"X-GP-PROTO: 1" in head  # in this case: a segment compares the bytes
        assert body == b"D\0\0\0\x03" + bytes(3) + b"D\0\0\0\x02" + bytes(2) + b"D\0\0\0\0"
        assert ask(server, **SEGMENT | {"X-GP-SEGMENT-ID": "1"})[1] == b"D\0\0\0\0"
        assert (server.rows, server.bytes, server.segments) == (5, 5, {"0", "1"})


def test_nothing_else_is_answered() -> None:
    with serve(iter([batch_of(NASTY)])) as server:
        path = urlsplit(server.url).path
        assert len(path) > 30
        assert ask(server, "/", **SEGMENT) == (b"", b"")
        assert ask(server, path[:-1], **SEGMENT) == (b"", b"")
        assert ask(server, path) == (b"", b"")  # without the protocol a cut answer would count as a whole one
        assert ask(server, **SEGMENT | {"X-GP-PROTO": "0"}) == (b"", b"")
        url = urlsplit(server.url)
        connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=10)
        connection.request("POST", path, b"x", SEGMENT)
        with pytest.raises((http.client.HTTPException, ConnectionError)):
            connection.getresponse()
        connection.close()
        assert (server.rows, server.error) == (0, None)


def test_a_second_scan_of_the_same_rows_is_refused() -> None:
    with serve(iter([batch_of(NASTY)])) as server:
        assert ask(server, **SEGMENT)[1].startswith(b"D")
        assert ask(server, **SEGMENT | {"X-GP-SN": "1"})[1].startswith(b"E")


def test_an_error_of_the_maker_is_told_to_every_segment_without_its_words() -> None:
    def failing() -> Iterator[pa.RecordBatch]:
        yield batch_of(NASTY)
        raise ValueError("private")

    with serve(failing()) as server:
        body = ask(server, **SEGMENT)[1]
        assert body.startswith(b"D\0\0\0" + bytes([len(NASTY)]))
        assert b"E\0\0\0" in body
        assert ask(server, **SEGMENT | {"X-GP-SEGMENT-ID": "1"})[1].startswith(b"E")
        assert b"private" not in body
        assert isinstance(server.error, ValueError)


def test_a_server_that_is_closed_breaks_off_what_is_under_way() -> None:
    def endless() -> Iterator[pa.RecordBatch]:
        while True:
            yield batch_of(NASTY)

    server = serve(endless())
    answers: list[bytes] = []
    asking = threading.Thread(target=lambda: answers.append(ask(server, **SEGMENT)[1]))
    asking.start()
    deadline = time.monotonic() + WITHIN_S
    while not server.bytes and time.monotonic() < deadline:
        time.sleep(0.01)
    server.close()
    asking.join(WITHIN_S)
    assert not asking.is_alive()
    assert not any(answer.endswith(b"D\0\0\0\0") for answer in answers)  # no end that could be taken for one


def test_a_port_that_is_taken_is_passed_over_and_none_is_an_error() -> None:
    with serve(iter([])) as first:
        taken = urlsplit(first.url).port or 0
        with GpfdistServer("127.0.0.1", (taken, 0), iter([]), lambda _: b"") as second:
            assert urlsplit(second.url).port not in (taken, None)
        with pytest.raises(LoadError, match="GPWAREHOUSE_GPFDIST_HOST"):
            GpfdistServer("127.0.0.1", (taken,), iter([]), lambda _: b"")


def test_an_obstacle_that_has_passed_is_looked_for_again(wh: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = ["the segments do not reach us", ""]
    monkeypatch.setattr(route, "why_not", lambda *_: answers.pop(0))
    router = route.Router(wh.engine, "gpfdist", Address("127.0.0.9"))
    assert [router.route(1).reason, router.route(1).reason] == ["the segments do not reach us"] * 2
    monkeypatch.setattr(route, "RETRY_OBSTACLE_S", -1)
    assert router.route(1).reason == ""
    assert router.route(1).reason == ""  # what works is not tried again
    assert answers == []


def test_a_load_whose_ports_are_taken_meanwhile_goes_by_copy_and_says_so(
    wh: Warehouse, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(route, "why_not", lambda *_: "")  # when it was tried, a port was free
    url = wh.settings.sqlalchemy_url().render_as_string(hide_password=False)
    with serve(iter([])) as other:
        taken = str(urlsplit(other.url).port)
        with Warehouse(url=url, transport="gpfdist", gpfdist_host="127.0.0.1", gpfdist_ports=taken) as wanting:
            result = wanting.load(DEFECTS, [defect()])
    assert (result.rows_loaded, result.transport) == (1, "copy binary")
    assert "cannot serve rows on 127.0.0.1" in result.transport_reason
    assert "cannot serve rows" in caplog.text


def test_a_server_without_segments_is_no_use(wh: Warehouse, server_info: ServerInfo) -> None:
    if server_info.brand is not Brand.POSTGRESQL:
        pytest.skip("this one has segments")
    assert why_not(wh.engine, HERE) == "the server has no segments"


def test_a_load_that_wants_gpfdist_and_cannot_have_it_says_why(
    wh: Warehouse, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if why_not(wh.engine, HERE) == "":
        monkeypatch.setattr(GpfdistServer, "knows", lambda self, path: False)
    url = wh.settings.sqlalchemy_url().render_as_string(hide_password=False)
    with Warehouse(url=url, transport="gpfdist") as wanting:
        result = wanting.load(DEFECTS, [defect()])
        assert (result.rows_loaded, result.transport) == (1, "copy binary")
        assert "segments" in result.transport_reason
        assert result.transport_reason in caplog.text
        assert set(result.phase_seconds) == {"read", "prepare", "copy", "analyze"}
        assert result.bytes_sent > 100


# On a real Greenplum.


@pytest.fixture(scope="module")
def engine(shared_wh: Warehouse) -> Engine:
    return shared_wh.engine


@pytest.fixture
def table(engine: Engine) -> Iterator[Table]:
    with table_of_all(engine) as made:
        yield made


def both(engine: Engine, table: Table, rows: list[dict[str, Any]]) -> tuple[list[Any], list[Any]]:
    """What gpfdist and COPY BINARY (for a column without one: TEXT) store of the rows."""
    batch = batch_of(rows)
    with engine.connect() as connection:
        assert insert_rows(connection, table, [batch], TEXT, HERE).rows == len(rows)
        fetched = stored(connection, table, TEXT)
    with engine.connect() as connection:
        leave_statistics_alone(connection)
        assert copy_rows(connection, table, [batch], BINARY).rows == len(rows)
        copied = stored(connection, table, BINARY)
    assert [row[:-1] for row in fetched] == copied
    with engine.connect() as connection:
        leave_statistics_alone(connection)
        assert copy_rows(connection, table, [batch], TEXT).rows == len(rows)
        return fetched, stored(connection, table, TEXT)


@pytest.mark.segments
def test_nasty_values_are_stored_as_copy_stores_them(engine: Engine, table: Table) -> None:
    fetched, copied = both(engine, table, NASTY)
    assert fetched == copied


@pytest.mark.segments
@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
@given(rows=ROWS)
def test_any_values_are_stored_as_copy_stores_them(engine: Engine, table: Table, rows: list[dict[str, Any]]) -> None:
    fetched, copied = both(engine, table, rows)
    assert fetched == copied


@pytest.mark.segments
def test_every_row_is_stored_once_and_on_every_segment(engine: Engine, table: Table) -> None:
    with engine.begin() as connection:
        done = insert_rows(connection, table, batches(20), ("number", "text"), Address())
    assert (done.rows, done.transport) == (400_000, "gpfdist")
    with engine.connect() as connection:
        query = "SELECT count(*), count(DISTINCT number), min(number), max(number), count(DISTINCT gp_segment_id) FROM "
        found = connection.execute(text(query + table.name)).one()
    assert tuple(found)[:4] == (400_000, 400_000, 0, 399_999)
    assert found[4] > 1
    with engine.connect() as connection:  # and no external table is left
        left = "SELECT count(*) FROM pg_class WHERE relname LIKE 'gpwarehouse%'"
        assert connection.execute(text(left)).scalar_one() == 0


@pytest.mark.segments
def test_a_load_through_the_warehouse_stores_what_copy_stores(wh: Warehouse) -> None:
    rows = [defect(defect_id=n, x_rel_um=n / 3, class_name="a\tb\\" * (n % 3)) for n in range(200)]
    url = wh.settings.sqlalchemy_url().render_as_string(hide_password=False)
    with Warehouse(url=url, transport="gpfdist") as fetching:
        result = fetching.load(DEFECTS, rows)
        assert (result.transport, result.transport_reason, result.rows_loaded) == ("gpfdist", "", 200)
        assert result.bytes_sent > 10_000
        found = stored_by_batch(wh, DEFECTS, result.batch_id, "defect_id", "x_rel_um", "class_name")
        assert found == [(n, n / 3, "a\tb\\" * (n % 3)) for n in range(200)]
        assert fetching.load(DEFECTS, rows).already_loaded
    with Warehouse(url=url, transport="copy") as copying:
        assert copying.load(DEFECTS, rows[:5]).transport == "copy binary"


@pytest.mark.segments
def test_a_maker_that_fails_leaves_nothing_and_its_error_is_raised(engine: Engine, table: Table) -> None:
    def failing() -> Iterator[pa.RecordBatch]:
        yield from batches(5)
        raise KeyError("the file ends here")

    with pytest.raises(KeyError, match="the file ends here"), engine.begin() as connection:
        insert_rows(connection, table, failing(), ("number", "text"), HERE)
    assert rows_in(engine, table) == 0


@pytest.mark.segments
def test_a_server_that_dies_leaves_nothing(engine: Engine, table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its connections end in the middle, at the end of a frame: what protocol 0 would take for the whole."""
    send = GpfdistServer.chunks

    def dying(self: GpfdistServer) -> Iterator[Any]:
        for number, chunk in enumerate(send(self)):
            yield chunk
            if number == 2:
                self._server.hang_up()

    monkeypatch.setattr(GpfdistServer, "chunks", dying)
    with pytest.raises((DBAPIError, LoadError)), engine.begin() as connection:
        insert_rows(connection, table, batches(50), ("number", "text"), HERE)
    assert rows_in(engine, table) == 0


@pytest.mark.segments
def test_rows_that_are_lost_on_the_way_fail_the_load(
    engine: Engine, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = GpfdistServer.chunks
    monkeypatch.setattr(GpfdistServer, "chunks", lambda self: (c for n, c in enumerate(send(self)) if n != 1))
    with (
        pytest.raises(LoadError, match=r"stored\. Nothing was loaded"),
        engine.begin() as connection,
    ):
        insert_rows(connection, table, batches(10), ("number", "text"), HERE)
    assert rows_in(engine, table) == 0


def under_way(started: threading.Event, failed: threading.Event) -> Iterator[pa.RecordBatch]:
    """Batches without end, or until what should end the load has failed; tells when some have been fetched."""
    for number, batch in enumerate(batches(100_000)):
        if number == 4:
            started.set()
        if failed.is_set():
            return
        yield batch


def failing_load(
    engine: Engine, table: Table, started: threading.Event, failed: threading.Event
) -> list[BaseException]:
    """Load for ever, in this thread, until something ends it."""
    try:
        with engine.begin() as connection:
            insert_rows(connection, table, under_way(started, failed), ("number", "text"), HERE)
    except (DBAPIError, LoadError) as error:
        return [error]
    return []


def when_under_way(engine: Engine, table: Table, act: Any) -> list[BaseException]:
    """Act when segments are fetching; what the load raised."""
    started, failed = threading.Event(), threading.Event()
    acted: list[Any] = []

    def acting() -> None:
        try:
            assert started.wait(WITHIN_S)
            acted.append(act())
        except BaseException:
            failed.set()
            raise

    actor = threading.Thread(target=acting)
    actor.start()
    raised = failing_load(engine, table, started, failed)
    actor.join(WITHIN_S)
    assert acted
    return raised


ACTIVE = (
    "SELECT {} FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database() "
    "AND query LIKE 'INSERT INTO all_types%'"
)


@pytest.mark.segments
@pytest.mark.parametrize("how", ["pg_cancel_backend", "pg_terminate_backend"])
def test_a_load_that_is_cancelled_leaves_nothing(engine: Engine, table: Table, how: str) -> None:
    def act() -> Any:
        other = create_engine(engine.url, poolclass=NullPool)
        with other.connect() as connection:
            return connection.execute(text(ACTIVE.format(f"{how}(pid)"))).scalars().all()

    assert when_under_way(engine, table, act)
    assert rows_in(engine, table) == 0


@pytest.mark.segments
def test_a_segment_that_is_lost_leaves_nothing(engine: Engine, table: Table, server_info: ServerInfo) -> None:
    def act() -> Any:
        with create_engine(engine.url, poolclass=NullPool).connect() as connection:
            where = "SELECT hostname, port FROM gp_segment_configuration WHERE content = 0 AND role = 'p'"
            at = connection.execute(text(where)).one()
        role = "gp_session_role" if server_info.postgres_version < (12,) else "gp_role"
        url = engine.url.set(port=at.port).update_query_dict({"options": f"-c {role}=utility"})
        plain = create_engine(url.set(drivername="postgresql+psycopg2"), poolclass=NullPool).raw_connection()
        with plain.cursor() as cursor:
            cursor.execute(ACTIVE.format("pg_terminate_backend(pid)"))
            return cursor.fetchall()

    assert when_under_way(engine, table, act)
    deadline = time.monotonic() + WITHIN_S
    while True:
        try:
            assert rows_in(engine, table) == 0
            return
        except DBAPIError:  # the coordinator's sessions find out that their segment was away
            assert time.monotonic() < deadline


@pytest.mark.segments
def test_a_statement_that_takes_too_long_leaves_nothing_even_where_the_session_has_no_limit(
    engine: Engine, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A maker that hangs: the segments would wait for ever."""
    monkeypatch.setattr("gpwarehouse.transport.gpfdist_load.LONGEST_S", 2)
    go_on = threading.Event()

    def hanging() -> Iterator[pa.RecordBatch]:
        yield from batches(2)
        go_on.wait(WITHIN_S)

    with engine.connect() as connection:
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        with pytest.raises(DBAPIError, match="statement timeout"):
            insert_rows(connection, table, hanging(), ("number", "text"), HERE)
    go_on.set()
    assert rows_in(engine, table) == 0


CHILD = """
import sys
from sqlalchemy import MetaData, Table, create_engine
from gpwarehouse.transport import insert_rows
from tests.transport.rows import COLUMNS, HERE, Column, batches
engine = create_engine(sys.argv[1], connect_args={"options": "-c search_path=dw"})
table = Table("all_types", MetaData(), *(Column(name, kind) for name, (kind, _) in COLUMNS.items()))
def told():
    for number, batch in enumerate(batches(100_000)):
        if number == 4:
            print("under way", flush=True)
        yield batch
with engine.begin() as connection:
    insert_rows(connection, table, told(), ("number", "text"), HERE)
"""


@pytest.mark.segments
def test_a_loading_process_that_is_killed_leaves_nothing(engine: Engine, table: Table) -> None:
    url = engine.url.render_as_string(hide_password=False)
    root = Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": str(root)}
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, url], stdout=subprocess.PIPE, text=True, cwd=root, env=environment
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "under way\n"
    child.send_signal(signal.SIGKILL)
    child.wait(WITHIN_S)
    child.stdout.close()
    deadline = time.monotonic() + WITHIN_S
    with engine.connect() as connection:
        while connection.execute(text(ACTIVE.format("count(*)"))).scalar_one():  # gone, and so rolled back
            assert time.monotonic() < deadline
            connection.rollback()
            time.sleep(0.1)
    assert rows_in(engine, table) == 0


@pytest.mark.segments
def test_a_role_without_the_privilege_is_told_so(wh: Warehouse) -> None:
    role = f"gpw_d1_{os.getpid()}"
    with wh.engine.begin() as connection:
        connection.execute(text(f"CREATE ROLE {role} LOGIN"))
    try:
        other = create_engine(wh.engine.url.set(username=role), poolclass=NullPool)
        try:
            with other.connect():
                pass
        except DBAPIError:
            pytest.skip("this server lets no other role in without a password")
        reason = why_not(other, HERE)
        assert "CREATEEXTTABLE" in reason
        with wh.engine.begin() as connection:
            connection.execute(text(f"ALTER ROLE {role} CREATEEXTTABLE (type = 'readable')"))
        assert why_not(other, HERE) == ""
    finally:
        with wh.engine.begin() as connection:
            connection.execute(text(f"DROP ROLE {role}"))
