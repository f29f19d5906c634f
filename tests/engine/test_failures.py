"""A failure's cause is named where it is known, and told as unknown where it is not; no row is quoted."""

from __future__ import annotations

import select
from collections.abc import Callable, Iterator
from typing import Any

import psycopg2
import pyarrow as pa
import pytest
from psycopg2 import extensions
from sqlalchemy import create_engine, exc, text

from gpwarehouse import Warehouse
from gpwarehouse.engine import Cause, cause_of, unexpected, words_of
from gpwarehouse.engine.server_errors import as_read_error, describe_refusal
from gpwarehouse.errors import GpwarehouseError, InvalidInputError, LoadError, ReadError, WarehouseConnectionError
from gpwarehouse.read.columns import Column
from gpwarehouse.read.copy_csv import TextParser
from tests.faults.wire import Verdict, wire
from tests.load.rows import MEASUREMENTS, measurement

GREEN = "set_wait_callback"


@pytest.fixture
def _green() -> Iterator[None]:
    """The driver waits by a callback, as psycogreen has it wait for gevent; gevent's own is such a loop around its hub."""

    def wait(connection: Any) -> None:
        while (state := connection.poll()) != extensions.POLL_OK:
            reads = [connection] if state == extensions.POLL_READ else []
            writes = [connection] if state == extensions.POLL_WRITE else []
            select.select(reads, writes, [])

    extensions.set_wait_callback(wait)
    yield
    extensions.set_wait_callback(None)


@pytest.mark.usefixtures("_green")
def test_under_gevent_statements_run_and_what_needs_copy_is_refused_with_the_reason(wh: Warehouse) -> None:
    with wh.session() as session:
        assert session.execute(text("SELECT 41 + 1")).scalar_one() == 42
    assert wh.status().is_current
    assert wh.health().status == "healthy"
    with pytest.raises(ReadError, match=GREEN) as read:
        wh.read("SELECT 1")
    with pytest.raises(LoadError, match=GREEN) as load:
        wh.load(MEASUREMENTS, [measurement()], batch_id="b")
    for caught in (read, load):
        assert "connection was lost" not in str(caught.value)
        assert "the server refused" not in str(caught.value)
        assert caught.value.safe_to_repeat is None
    extensions.set_wait_callback(None)
    assert wh.load(MEASUREMENTS, [measurement()], batch_id="b").rows_loaded == 1


def error_of(wh: Warehouse, statement: str) -> exc.DBAPIError:
    with pytest.raises(exc.DBAPIError) as caught, wh.session() as session:
        session.execute(text(statement))
    return caught.value


def test_lost_refused_and_unknown_are_told_apart(shared_wh: Warehouse) -> None:
    assert cause_of(error_of(shared_wh, "SELECT pg_terminate_backend(pg_backend_pid())")) is Cause.LOST
    for statement in ("SELECT 1/0", "SELECT nope", "DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '08P01'; END $$"):
        assert cause_of(error_of(shared_wh, statement)) is Cause.REFUSED
    with (
        pytest.raises(exc.OperationalError) as caught,
        create_engine("postgresql+psycopg2://u@127.0.0.1:1/x").connect(),
    ):
        pass
    assert cause_of(caught.value) is Cause.UNREACHABLE
    for error in (
        psycopg2.ProgrammingError("what is this"),
        psycopg2.OperationalError("out of memory"),
        ValueError("x"),
    ):
        assert cause_of(error) is Cause.UNKNOWN
        for told in (str(as_read_error(error)), describe_refusal("t", error)):
            assert "not expected" in told
            assert type(error).__name__ in told
            assert "lost" not in told
            assert "the server refused" not in told


def test_values_are_left_out_of_words(shared_wh: Warehouse) -> None:
    assert "TOPSECRET" not in words_of(error_of(shared_wh, "SELECT CAST('TOPSECRET' AS int)"))
    assert "TOPSECRET" not in unexpected(psycopg2.ProgrammingError("cannot do with 'TOPSECRET' of \"TOPSECRET\""))
    assert "CrazyType" in words_of(psycopg2.ProgrammingError("can't adapt type 'CrazyType'"))


def test_an_answer_that_cannot_be_parsed_is_told_without_its_rows() -> None:
    number, moment = Column("n", 20), Column("at", 1184)
    with pytest.raises(ReadError, match="unknown reason") as caught:
        TextParser([number, moment]).parse(b"1,2,TOPSECRET\n")
    assert "TOPSECRET" not in str(caught.value)
    with pytest.raises(ReadError, match="column 'n'") as caught:
        TextParser([number]).parse(b"x\n")
    assert "year" not in str(caught.value)
    with pytest.raises(ReadError, match=r"column 'at'.*year"):
        TextParser([moment]).parse(b"infinity\n")


@pytest.mark.parametrize("door", ["check", "validate", "view", "export", "partitions", "roles"])
def test_a_door_whose_connection_is_lost_does_not_blame_rights(shared_wh: Warehouse, door: str, tmp_path: Any) -> None:
    def cut(data: bytes) -> Verdict:
        return "cut" if b"SELECT" in data or b"COPY" in data else None

    with wire(shared_wh.settings.sqlalchemy_url()) as line, Warehouse(line.url, retry_deadline_s=0) as wh:
        wh.read("SELECT 1")
        line.watch = cut
        act = {
            "check": wh.data.check,
            "validate": wh.schema.validate,
            "view": lambda: wh.view("v_wafer_yield"),
            "export": lambda: wh.export("SELECT 1 AS a", tmp_path / "x.parquet"),
            "partitions": lambda: wh.partitions.list(),
            "roles": lambda: wh.schema.roles.plan(),
        }[door]
        with pytest.raises(GpwarehouseError) as caught:
            act()
    told = str(caught.value)
    assert "lost" in told or isinstance(caught.value, WarehouseConnectionError)
    assert "needs" not in told
    assert "GRANT" not in told


def _refused(ask: Callable[[], object]) -> str:
    with pytest.raises(InvalidInputError) as raised:
        ask()
    return str(raised.value)


DOORS = {
    "load": lambda wh, n: wh.load(MEASUREMENTS, [measurement(site_no=n)]).rows_loaded == 1,
    "merge": lambda wh, n: wh.merge(
        "dim_lot", pa.table({"lot_id": [f"L{n}"], "effective_date": [measurement()["event_ts"]]})
    ),
    "read": lambda wh, n: len(wh.read("SELECT 1")) == 1,
    "rejects": lambda wh, n: "no batch 'none such'" in _refused(lambda: wh.batches.rejects("none such")),
    "status": lambda wh, n: wh.status().is_current,
    "view": lambda wh, n: wh.view("v_wafer_yield") is not None,
    "partitions.list": lambda wh, n: len(wh.partitions.list()) > 0,
    "roles.plan": lambda wh, n: wh.schema.roles.plan() is not None,
}


@pytest.mark.parametrize("door", DOORS)
def test_the_first_call_of_a_process_is_repeated_wherever_its_connection_is_cut(
    shared_wh: Warehouse, door: str
) -> None:
    """At the login's end, in the session's settings, and in each of the statements that look before the work begins."""
    for at in (2, 3, 4, 6, 9):
        seen = 0

        def cut(_: bytes, at: int = at) -> Verdict:
            nonlocal seen
            seen += 1
            return "cut" if seen == at else None

        with wire(shared_wh.settings.sqlalchemy_url(), cut) as line, Warehouse(line.url) as wh:
            assert DOORS[door](wh, at * 100 + list(DOORS).index(door))
            assert line.cuts == (seen >= at)


def test_a_server_that_never_let_us_in_is_given_up_at_once() -> None:
    """More likely it is named wrongly than coming back; a patience of hours would not end this test."""
    with Warehouse("postgresql://etl@127.0.0.1:1/fab", retry_deadline_s=36_000) as wh:
        for act in (wh.status, wh.partitions.list, lambda: wh.load(MEASUREMENTS, [measurement()])):
            with pytest.raises(WarehouseConnectionError, match="could not connect"):
                act()
