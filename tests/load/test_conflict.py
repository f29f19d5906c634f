"""Content or an id that was loaded before: skipped, refused, appended, or replaced in one transaction."""

from __future__ import annotations

import re
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import psycopg2
import pytest
from sqlalchemy import event, exc

from gpwarehouse import Warehouse
from gpwarehouse.batches import ledger
from gpwarehouse.batches.conflicts import judge
from gpwarehouse.errors import BatchConflictError, InvalidInputError, LoadError, TooManyRejectsError
from tests.batches.records import removed
from tests.command_line import run
from tests.faults.wire import AtLastCommit, proxy
from tests.load.rows import MEASUREMENTS, NOON, measurement, scalar, stored

MONTHS = ("202403", "202404", "202405", "202406")
IN_MAY = NOON + timedelta(days=61)


def visits(lot: str, count: int = 5, **values: Any) -> list[dict[str, Any]]:
    return [measurement(lot_id=lot, slot=n, **values) for n in range(count)]


def counted(wh: Warehouse, lot: str) -> int:
    query = f"SELECT count(*) FROM dw.{MEASUREMENTS} f JOIN dw.dim_lot d USING (lot_key) WHERE d.lot_id = :lot"
    return int(scalar(wh, query, lot=lot))


def test_error_refuses_what_was_loaded_before_and_nothing_else(shared_wh: Warehouse) -> None:
    first = shared_wh.load(MEASUREMENTS, visits("E"), on_conflict="error")
    with pytest.raises(BatchConflictError, match=rf"batch '{first.batch_id}' was loaded into {MEASUREMENTS} on"):
        shared_wh.load(MEASUREMENTS, visits("E"), on_conflict="error")
    with pytest.raises(BatchConflictError, match="Give on_conflict='skip' to accept that"):
        shared_wh.load(MEASUREMENTS, visits("E"), batch_id="e2", on_conflict="error")
    assert counted(shared_wh, "E") == 5


def test_append_loads_content_again_as_batches_of_their_own(shared_wh: Warehouse) -> None:
    results = [shared_wh.load(MEASUREMENTS, visits("A"), on_conflict="append") for _ in range(3)]
    first = results[0].batch_id
    assert [r.batch_id for r in results] == [first, f"{first}-2", f"{first}-3"]
    assert [r.rows_loaded for r in results] == [5, 5, 5]
    assert counted(shared_wh, "A") == 15
    again = shared_wh.load(MEASUREMENTS, visits("A"))
    assert (again.already_loaded, again.batch_id) == (True, first)


def test_append_under_an_id_of_the_callers_own_is_done_once(shared_wh: Warehouse) -> None:
    shared_wh.load(MEASUREMENTS, visits("O"))
    assert shared_wh.load(MEASUREMENTS, visits("O"), batch_id="o2", on_conflict="append").rows_loaded == 5
    assert shared_wh.load(MEASUREMENTS, visits("O"), batch_id="o2", on_conflict="append").already_loaded
    with pytest.raises(BatchConflictError, match=r"'o2' was loaded into .* with other content"):
        shared_wh.load(MEASUREMENTS, visits("O", 4), batch_id="o2", on_conflict="append")
    assert counted(shared_wh, "O") == 10


def test_replace_puts_new_rows_in_the_place_of_the_batchs_old_ones(wh: Warehouse) -> None:
    wh.load(MEASUREMENTS, [measurement(lot_id="R", slot=99)], batch_id="other")
    bad = {"cp": 1.0, "cpk": 2.0, "slot": 77}
    first = [*visits("R"), measurement(lot_id="R", **bad)]
    wh.load(MEASUREMENTS, first, batch_id="r", on_conflict="replace", max_rejects=1)
    assert len(wh.batches.rejects("r")) == 1
    new = visits("R", 3, event_ts=IN_MAY)
    result = wh.load(MEASUREMENTS, new, batch_id="r", on_conflict="replace")
    assert (result.rows_loaded, result.rows_replaced, result.already_loaded) == (3, 5, False)
    assert stored(wh, MEASUREMENTS, "r", "slot", "event_ts") == [(n, IN_MAY) for n in range(3)]
    assert stored(wh, MEASUREMENTS, "other", "slot") == [(99,)]
    row = wh.read("SELECT status, rows_loaded, rows_rejected, min_event_ts FROM dw.etl_load_batch WHERE batch_id = 'r'")
    assert row.values.tolist() == [["LOADED", 3, 0, row.min_event_ts[0]]]
    assert row.min_event_ts[0] == IN_MAY
    assert wh.batches.rejects("r").empty
    assert [name[-7:] for name in result.vacuumed] == ["m202403"]
    assert wh.load(MEASUREMENTS, new, batch_id="r").already_loaded
    with pytest.raises(BatchConflictError):
        wh.load(MEASUREMENTS, visits("R"), batch_id="r")


def test_replace_by_the_same_content_loads_it_anew_and_does_not_double_it(shared_wh: Warehouse) -> None:
    for replaced in (0, 5, 5):
        result = shared_wh.load(MEASUREMENTS, visits("S"), on_conflict="replace")
        assert (result.rows_loaded, result.rows_replaced) == (5, replaced)
    assert counted(shared_wh, "S") == 5


def test_replace_by_nothing_leaves_nothing(shared_wh: Warehouse) -> None:
    shared_wh.load(MEASUREMENTS, visits("N"), batch_id="n")
    import pyarrow as pa

    nothing = pa.Table.from_pylist(visits("N")).slice(0, 0)
    assert shared_wh.load(MEASUREMENTS, nothing, batch_id="n", on_conflict="replace").rows_replaced == 5
    assert counted(shared_wh, "N") == 0
    assert shared_wh.load(MEASUREMENTS, visits("N"), batch_id="n").rows_loaded == 5


def test_replace_by_content_that_another_batch_holds_is_refused(shared_wh: Warehouse) -> None:
    shared_wh.load(MEASUREMENTS, visits("H", 4), batch_id="h4")
    shared_wh.load(MEASUREMENTS, visits("H", 5), batch_id="h5")
    with pytest.raises(BatchConflictError, match=r"'h5' was loaded .* would be stored twice"):
        shared_wh.load(MEASUREMENTS, visits("H", 5), batch_id="h4", on_conflict="replace")
    assert counted(shared_wh, "H") == 9


def test_a_replacement_that_fails_leaves_the_batch_as_it_was(shared_wh: Warehouse) -> None:
    shared_wh.load(MEASUREMENTS, visits("F"), batch_id="f")
    before = shared_wh.read("SELECT * FROM dw.etl_load_batch WHERE batch_id = 'f'")
    bad = [measurement(lot_id="F", cp=1.0, cpk=2.0), *visits("F", 2)]
    with pytest.raises(TooManyRejectsError):
        shared_wh.load(MEASUREMENTS, bad, batch_id="f", on_conflict="replace", max_rejects=0)
    with pytest.raises(LoadError, match="cannot be read as int32"):
        shared_wh.load(MEASUREMENTS, [measurement(slot="x")] * 3, batch_id="f", on_conflict="replace", max_rejects=0)
    assert shared_wh.read("SELECT * FROM dw.etl_load_batch WHERE batch_id = 'f'").equals(before)
    assert counted(shared_wh, "F") == 5


def test_the_delete_looks_into_the_months_of_the_batch_only(wh: Warehouse) -> None:
    for month in range(4):
        wh.load(MEASUREMENTS, visits("P", event_ts=NOON + timedelta(days=31 * month)), batch_id=f"p{month}")
    deletes: list[str] = []

    def explain(_connection: Any, cursor: Any, sql: str, parameters: Any, *_: Any) -> None:
        if sql.startswith("DELETE FROM dw.fact"):
            cursor.execute("EXPLAIN " + sql, parameters)
            deletes.append("\n".join(line for (line,) in cursor.fetchall()))

    event.listen(wh.engine, "before_cursor_execute", explain)
    try:
        wh.load(MEASUREMENTS, visits("P", 2), batch_id="p2", on_conflict="replace")
    finally:
        event.remove(wh.engine, "before_cursor_execute", explain)
    (plan,) = deletes
    one_of_all = re.search(r"Number of partitions to scan: 1 |Partitions selected: 1 ", plan)  # as ORCA tells it
    assert one_of_all or [month for month in MONTHS if month in plan] == ["202405"]


def test_replacements_of_one_batch_at_once_come_one_after_the_other(wh: Warehouse) -> None:
    wh.load(MEASUREMENTS, visits("C"), batch_id="c")
    results: list[Any] = []

    def replace(count: int) -> None:
        results.append(wh.load(MEASUREMENTS, visits("C", count), batch_id="c", on_conflict="replace"))

    threads = [threading.Thread(target=replace, args=(count,)) for count in range(6, 12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert sorted(r.rows_loaded for r in results) == list(range(6, 12))
    assert sorted(r.rows_replaced for r in results)[0] == 5
    there = counted(wh, "C")
    assert there in range(6, 12)
    assert scalar(wh, "SELECT rows_loaded FROM dw.etl_load_batch WHERE batch_id = 'c'") == there
    assert sum(r.rows_replaced for r in results) + there == 5 + sum(range(6, 12))


@pytest.mark.parametrize("after", [True, False])
def test_a_replacement_whose_commit_is_lost_is_done_all_the_same(wh: Warehouse, after: bool) -> None:
    wh.load(MEASUREMENTS, visits("L"), batch_id="l")
    with proxy(wh.settings.sqlalchemy_url(), AtLastCommit(), after=after) as wire, Warehouse(wire.url) as far:
        result = far.load(MEASUREMENTS, visits("L", 3), batch_id="l", on_conflict="replace", analyze="never")
        assert wire.cuts == 1
    assert (result.rows_loaded, result.already_loaded) == (3, False)
    assert counted(wh, "L") == 3


def test_a_replacement_that_never_came_to_commit_is_an_error_and_changes_nothing(wh: Warehouse) -> None:
    wh.load(MEASUREMENTS, visits("M"), batch_id="m")
    with (
        proxy(wh.settings.sqlalchemy_url(), AtLastCommit(), after=False) as wire,
        Warehouse(wire.url, retry_deadline_s=0) as far,
        pytest.raises(LoadError, match="the connection was lost; load again"),
    ):
        far.load(MEASUREMENTS, visits("M"), batch_id="m", on_conflict="replace")
    assert counted(wh, "M") == 5


@pytest.mark.parametrize("after", [True, False])
def test_content_appended_by_a_commit_that_is_lost_is_appended_once(wh: Warehouse, after: bool) -> None:
    wh.load(MEASUREMENTS, visits("P"))
    with proxy(wh.settings.sqlalchemy_url(), AtLastCommit(), after=after) as wire, Warehouse(wire.url) as far:
        result = far.load(MEASUREMENTS, visits("P"), on_conflict="append", analyze="never")
        assert wire.cuts == 1
    assert (result.rows_loaded, result.already_loaded) == (5, False)
    assert counted(wh, "P") == 10


APART: Any = {"batch_id": "k", "parallel": 2, "atomic": False}


@pytest.fixture
def died(wh: Warehouse, monkeypatch: pytest.MonkeyPatch) -> Warehouse:
    """A warehouse with the rows of a load whose process was killed before its COMMIT."""

    class Killed(BaseException):
        pass

    def kill(connection: Any, *_: Any) -> None:
        connection.get_transaction().commit()  # which of the connections takes so few rows is chance
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(ledger, "record_loaded", kill)
        with pytest.raises(Killed):
            wh.load(MEASUREMENTS, visits("K"), **APART)
    assert counted(wh, "K") == 5
    return wh


@pytest.mark.parametrize(
    "options",
    [APART, {"batch_id": "k"}, {}, {"batch_id": "z", "on_conflict": "append"}, {"batch_id": "z", "parallel": 2}],
)
def test_rows_that_a_killed_load_committed_apart_are_deleted_by_the_next(died: Warehouse, options: Any) -> None:
    died.load(MEASUREMENTS, visits("K", 3), batch_id="k0")
    made = died.load(MEASUREMENTS, visits("K"), **options)
    assert (made.rows_loaded, counted(died, "K")) == (5, 8)
    assert died.load(MEASUREMENTS, visits("K"), **options).already_loaded
    if made.batch_id != "k":
        assert removed(died, "k") == [("LEFT_BEHIND", None, 5, made.batch_id, None)]
        said = scalar(died, "SELECT may_hold_rows FROM dw.etl_load_batch WHERE batch_id = 'k'")
        assert said is False
    assert died.data.check(checks=["batch"]).empty


def test_what_other_content_left_under_an_id_is_deleted_even_after_more_failures(
    died: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = [row | {"event_ts": IN_MAY} for row in visits("K", 2)]
    with pytest.raises(TooManyRejectsError):
        died.load(MEASUREMENTS, [*other, measurement(slot=-1)], batch_id="k", max_rejects=0)
    assert len(died.batches.rejects("k")) == 1
    assert died.load(MEASUREMENTS, other, batch_id="k").rows_loaded == 2
    assert counted(died, "K") == 2


def test_what_a_killed_load_left_is_deleted_with_its_batch(died: Warehouse) -> None:
    assert died.batches.delete("k").rows == 5
    assert (counted(died, "K"), died.batches.delete("k").rows) == (0, 0)


def test_a_failure_of_connections_that_commit_apart_does_not_say_that_nothing_was_loaded(
    wh: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*_: Any) -> None:
        raise exc.OperationalError("", None, psycopg2.OperationalError("server closed the connection unexpectedly"))

    with monkeypatch.context() as patch:
        patch.setattr(ledger, "record_loaded", lost)
        with pytest.raises(
            LoadError, match="rows may already be stored; load the same content again, or delete the batch"
        ) as raised:
            wh.load(MEASUREMENTS, visits("K"), **APART)
    assert raised.value.safe_to_repeat is None
    assert "nothing was loaded" not in str(raised.value)
    assert wh.load(MEASUREMENTS, visits("K")).rows_loaded == 5
    assert counted(wh, "K") == 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"on_conflict": "overwrite"},
            "on_conflict='overwrite': the allowed values are 'skip', 'error', 'append', 'replace'",
        ),
        ({"analyze": True}, "analyze=True: the allowed values are 'auto', 'always', 'never'"),
        (
            {"on_conflict": "replace", "parallel": 2, "atomic": False},
            "in one transaction, atomic=False loads in several",
        ),
    ],
)
def test_options_that_are_none_are_refused(shared_wh: Warehouse, options: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        shared_wh.load(MEASUREMENTS, [measurement()], **options)


def test_a_job_that_began_in_the_same_microsecond_is_another_one(wh: Warehouse) -> None:
    wh.load(MEASUREMENTS, visits("S"), batch_id="s")
    began = wh.read("SELECT started_at FROM dw.etl_load_batch WHERE batch_id = 's'").started_at[0].to_pydatetime()
    with wh.engine.connect() as connection:
        verdict = judge(connection, "replace", MEASUREMENTS, "s", "other content", named=True, started_at=began)
    assert verdict.loaded is None
    assert verdict.replaced.batch_id == "s"


def test_a_batch_is_replaced_by_its_id_in_the_fact_that_it_went_into(wh: Warehouse, tmp_path: Path) -> None:
    wh.load(MEASUREMENTS, visits("A", 3), batch_id="mine")
    done = wh.batches.replace("mine", visits("B", 2))
    assert (done.target, done.rows_loaded, done.rows_replaced) == (MEASUREMENTS, 2, 3)
    assert (counted(wh, "A"), counted(wh, "B")) == (0, 2)
    with pytest.raises(TooManyRejectsError):
        wh.batches.replace("mine", [measurement(slot=-1)] * 2)
    assert counted(wh, "B") == 2
    with pytest.raises(InvalidInputError, match="there is no batch 'other'"):
        wh.batches.replace("other", visits("C"))
    with pytest.raises(InvalidInputError, match="leave on_conflict out"):
        wh.batches.replace("mine", visits("C"), on_conflict="append")
    wh.merge("dim_lot", [{"lot_id": "L", "effective_date": NOON}], batch_id="lots")
    with pytest.raises(InvalidInputError, match="dim_lot"):
        wh.batches.replace("lots", visits("C"))
    pd.DataFrame(visits("D", 4)).to_parquet(tmp_path / "d.parquet")
    url = wh.settings.sqlalchemy_url().render_as_string(hide_password=False)
    told = run("--url", url, "batches", "replace", "mine", "d.parquet", cwd=tmp_path)
    assert "4 of 4 rows loaded, 2 replaced" in told.stdout, told.stderr
    assert (counted(wh, "B"), counted(wh, "D")) == (0, 4)
