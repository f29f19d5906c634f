"""Units of work are done once: repeated after errors that are safe to repeat, and after no others."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from sqlalchemy import URL, exc, text
from sqlalchemy.orm import Session

from gpwarehouse import Warehouse
from gpwarehouse.errors import AmbiguousCommitError, GpwarehouseError, InvalidInputError
from tests.faults.wire import Verdict, Wire, wire

TABLE = "public.gpw_units"
SUICIDE = text("SELECT pg_terminate_backend(pg_backend_pid())")


@pytest.fixture
def units(server_url: URL) -> Iterator[Warehouse]:
    """A warehouse with a table that units write to."""
    with Warehouse(server_url, retry_deadline_s=60) as wh:
        with wh.session() as session:
            session.execute(text(f"DROP TABLE IF EXISTS {TABLE}"))
            session.execute(text(f"CREATE TABLE {TABLE} (n int)"))
        yield wh
        with wh.session() as session:
            session.execute(text(f"DROP TABLE {TABLE}"))


def rows(wh: Warehouse) -> int:
    with wh.session() as session:
        return int(session.execute(text(f"SELECT count(*) FROM {TABLE}")).scalar_one())


def insert(session: Session) -> None:
    session.execute(text(f"INSERT INTO {TABLE} VALUES (1)"))


def there(session: Session) -> bool:
    return bool(session.execute(text(f"SELECT count(*) FROM {TABLE}")).scalar_one())


def fail(session: Session, state: str, words: str = "made up") -> None:
    """Have the server raise an error."""
    session.execute(text(f"DO $$ BEGIN RAISE EXCEPTION '{words}' USING ERRCODE = '{state}'; END $$"))


@pytest.mark.parametrize("state", ["40001", "40P01", "08006", "57P03", "53300", "58M01"])
def test_a_unit_is_repeated_as_a_whole_after_an_error_that_is_safe(
    units: Warehouse, state: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, logger="gpwarehouse")
    calls: list[int] = []

    def work(session: Session) -> str:
        calls.append(1)
        insert(session)
        if len(calls) < 3:
            fail(session, state)
        return "done"

    assert units.run(work) == "done"
    assert (len(calls), rows(units)) == (3, 1)
    told = [record for record in caplog.records if record.name == "gpwarehouse.engine.retry"]
    assert [record.attempt for record in told] == [1, 2]  # each repetition once
    assert all(record.reason and "work" in record.unit for record in told)


@pytest.mark.parametrize(
    ("state", "words"),
    [("23505", "made up"), ("22012", "made up"), ("57014", "made up"), ("40M00", "reject limit"), ("XX000", "bug")],
)
def test_an_error_that_is_not_safe_is_raised_at_once(units: Warehouse, state: str, words: str) -> None:
    calls: list[int] = []

    def work(session: Session) -> None:
        calls.append(1)
        insert(session)
        fail(session, state, words)

    with pytest.raises(exc.DBAPIError, match=words):
        units.run(work)
    assert (len(calls), rows(units)) == (1, 0)


@pytest.mark.parametrize(
    "words",
    [
        "gang was lost due to cluster reconfiguration",
        "failed to acquire resources on one or more segments",
        "Error on receive from seg0 127.0.0.1:6001 pid=1: server closed the connection unexpectedly",
        "FTS detected connection lost during dispatch to seg0",
    ],
)
def test_a_lost_segment_is_known_by_greenplums_words_under_any_state(units: Warehouse, words: str) -> None:
    calls: list[int] = []

    def work(session: Session) -> None:
        calls.append(1)
        insert(session)
        if len(calls) == 1:
            fail(session, "XX000", words)

    units.run(work)
    assert (len(calls), rows(units)) == (2, 1)


def test_a_unit_whose_backend_is_killed_is_done_once(units: Warehouse) -> None:
    calls: list[int] = []

    @units.retrying()
    def work(session: Session, how_often: int) -> int:
        calls.append(1)
        insert(session)
        if len(calls) <= how_often:
            session.execute(SUICIDE)
        return how_often

    assert work(2) == 2
    assert (len(calls), rows(units)) == (3, 1)


def test_work_that_would_run_after_its_transaction_is_refused(units: Warehouse) -> None:
    async def coroutine(session: Session) -> None:
        insert(session)

    def generator(session: Session) -> Iterator[None]:
        insert(session)
        yield

    for work in (coroutine, generator):
        with pytest.raises(InvalidInputError, match=r"an ordinary function"):
            units.run(work)
        with pytest.raises(InvalidInputError):
            units.retrying()(work)()
    assert rows(units) == 0


def test_a_block_is_repeated_in_a_loop(units: Warehouse) -> None:
    calls = 0
    for attempt in units.attempts(statement_timeout_s=20):
        with attempt as session:
            calls += 1
            assert session.execute(text("SHOW statement_timeout")).scalar_one() == "20s"
            insert(session)
            if calls == 1:
                session.execute(SUICIDE)
    assert (calls, rows(units)) == (2, 1)


def test_the_deadline_ends_it_with_the_last_error(units: Warehouse) -> None:
    calls: list[int] = []

    def work(session: Session) -> None:
        calls.append(1)
        fail(session, "40001")

    with pytest.raises(exc.DBAPIError, match="made up"):
        units.run(work, deadline_s=0.5)
    assert len(calls) >= 2
    calls.clear()
    with pytest.raises(exc.DBAPIError, match="made up"):
        units.run(work, deadline_s=0)
    assert len(calls) == 1


def test_a_wrong_option_or_a_wrong_password_is_not_tried_again(units: Warehouse) -> None:
    with pytest.raises(InvalidInputError):
        units.run(insert, statment_mem="1GB")
    url = units.settings.sqlalchemy_url().set(database="there_is_no_such_database")
    with Warehouse(url) as wh, pytest.raises(exc.OperationalError, match="does not exist"):
        wh.run(insert)


class AtCommit:
    """Cuts the wire at the first COMMIT."""

    def __init__(self, verdict: Verdict) -> None:
        self.verdict = verdict
        self.armed = True

    def __call__(self, data: bytes) -> Verdict:
        if self.armed and b"COMMIT\0" in data:
            self.armed = False
            return self.verdict
        return None


@pytest.fixture(params=["cut", "cut after"])
def lossy(request: pytest.FixtureRequest, units: Warehouse) -> Iterator[tuple[Warehouse, Wire, bool]]:
    """A warehouse that loses its first COMMIT: on the way there, or the answer; and whether it went through."""
    verdict: Verdict = request.param
    with wire(units.settings.sqlalchemy_url(), AtCommit(verdict)) as line, Warehouse(line.url) as far:
        yield far, line, verdict == "cut after"


def test_a_commit_whose_outcome_is_unknown_is_not_repeated(
    units: Warehouse, lossy: tuple[Warehouse, Wire, bool]
) -> None:
    far, line, went_through = lossy
    with pytest.raises(AmbiguousCommitError, match="settled="):
        far.run(insert)
    assert line.cuts == 1
    assert rows(units) == int(went_through)


def test_a_sessions_lost_commit_is_told_as_such(units: Warehouse, lossy: tuple[Warehouse, Wire, bool]) -> None:
    far, _, went_through = lossy
    with pytest.raises(AmbiguousCommitError), far.session() as session:
        insert(session)
    assert rows(units) == int(went_through)


def test_a_commit_whose_outcome_is_unknown_is_settled_by_a_look(
    units: Warehouse, lossy: tuple[Warehouse, Wire, bool]
) -> None:
    far, line, went_through = lossy
    calls: list[int] = []

    def work(session: Session) -> str:
        calls.append(1)
        insert(session)
        return "done"

    assert far.run(work, settled=there) == "done"
    assert (line.cuts, rows(units)) == (1, 1)
    assert len(calls) == (1 if went_through else 2)


def test_a_look_that_fails_leaves_the_commit_ambiguous(units: Warehouse, lossy: tuple[Warehouse, Wire, bool]) -> None:
    far, _, went_through = lossy

    def broken(session: Session) -> bool:
        return bool(session.execute(text("SELECT 1 FROM public.no_such_table")).scalar())

    with pytest.raises(AmbiguousCommitError):
        far.run(insert, settled=broken)
    assert rows(units) == int(went_through)


def test_a_connection_lost_before_the_commit_is_no_ambiguity(units: Warehouse) -> None:
    lost: list[int] = []

    def watch(data: bytes) -> Verdict:
        if b"INSERT" in data and not lost:
            lost.append(1)
            return "cut"
        return None

    with wire(units.settings.sqlalchemy_url(), watch) as line, Warehouse(line.url) as far:
        far.run(insert)
    assert rows(units) == 1


def test_a_load_goes_on_by_itself_when_its_connection_is_lost(wh: Warehouse) -> None:
    row = {"event_ts": "2026-01-05T10:00:00+00:00", "lot_id": "L1", "wafer_id": "1", "test_type": "CP"}
    frame = [row | {"test_stage": "CP1", "die_x": n, "die_y": 1} for n in range(10)]
    lost: list[int] = []

    def watch(data: bytes) -> Verdict:
        if b"COPY dw.fact_test_results" in data and len(lost) < 2:
            lost.append(1)
            return "cut"
        return None

    with wire(wh.settings.sqlalchemy_url(), watch) as line, Warehouse(line.url) as far:
        result = far.load("fact_test_results", frame, batch_id="night")
    assert (len(lost), result.rows_loaded, result.already_loaded) == (2, 10, False)
    assert int(wh.read("SELECT count(*) AS n FROM dw.fact_test_results").n[0]) == 10
    states = wh.read("SELECT status FROM dw.etl_load_batch WHERE batch_id = 'night'")
    assert list(states.status) == ["LOADED"]


def test_errors_say_whether_the_same_may_be_done_again(units: Warehouse) -> None:
    with Warehouse("postgresql://nobody@127.0.0.1:1/nowhere", retry_deadline_s=0) as wh:
        with pytest.raises(GpwarehouseError) as caught:
            wh.read("SELECT 1")
    assert caught.value.safe_to_repeat == "the connection was lost"
    with pytest.raises(GpwarehouseError) as caught:
        units.read("SELECT nope")
    assert caught.value.safe_to_repeat is None
