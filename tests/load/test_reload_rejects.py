"""Corrected rejects go into their batch, each once, as the rows they would have been."""

from __future__ import annotations

import threading
from datetime import date, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pandas as pd
import pyarrow as pa
import pytest

from gpwarehouse import Warehouse
from gpwarehouse.errors import BatchConflictError, InvalidInputError, LoadError, TooManyRejectsError
from gpwarehouse.load import csv_of_rejects
from gpwarehouse.load.run import Run
from tests.faults.wire import AtLastCommit, proxy
from tests.load.rows import MEASUREMENTS, NOON, measurement, scalar, stored

BIG = 2**53 + 1
ID = UUID(int=5)
DIGITS = Decimal("12345678901234567890.12")


def load_with_rejects(wh: Warehouse, batch: str, **values: Any) -> list[dict[str, Any]]:
    """Ten rows, of which 3, 6 and 9 (from 1) are rejected, the last one by the server."""
    rows = [measurement(lot_id=batch, slot=n, parameters={"a": n}, **values) for n in range(1, 11)]
    for n in (3, 6):
        rows[n - 1]["slot"] = -n
    rows[8] |= {"cp": 1.0, "cpk": 2.0}
    result = wh.load(MEASUREMENTS, rows, batch_id=batch, max_rejects=3)
    assert (result.rows_loaded, result.rows_rejected) == (7, 3)
    return rows


def corrected(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(slot=[abs(value) for value in rows.slot], cpk=None)


def counts(wh: Warehouse, batch: str) -> tuple[Any, ...]:
    row = wh.read(
        "SELECT rows_read, rows_loaded, rows_rejected FROM dw.etl_load_batch WHERE batch_id = :b AND status = 'LOADED'",
        b=batch,
    )
    return tuple(row.iloc[0])


def test_corrected_rejects_are_loaded_once_as_the_rows_they_would_have_been(shared_wh: Warehouse) -> None:
    load_with_rejects(shared_wh, "once")
    result = shared_wh.batches.reload("once", corrected)
    assert (result.rows_read, result.rows_loaded, result.rows_rejected, result.already_loaded) == (3, 3, 0, False)
    expected = [(n, n, [n]) for n in range(1, 11)]
    assert stored(shared_wh, MEASUREMENTS, "once", "source_record_no", "slot", "measured") == expected
    assert counts(shared_wh, "once") == (10, 10, 0)
    assert shared_wh.batches.rejects("once").empty
    again = shared_wh.batches.reload("once", corrected)
    assert (again.already_loaded, again.rows_loaded) == (True, 0)
    assert counts(shared_wh, "once") == (10, 10, 0)


def test_a_frame_twice_is_loaded_once_and_what_is_left_out_stays_a_reject(shared_wh: Warehouse) -> None:
    load_with_rejects(shared_wh, "twice")
    frame = corrected(shared_wh.batches.rejects("twice", as_given=True)).iloc[1:]
    for loaded, again in ((2, False), (0, True)):
        result = shared_wh.batches.reload("twice", frame)
        assert (result.rows_loaded, result.already_loaded) == (loaded, again)
        assert counts(shared_wh, "twice") == (10, 9, 1)
        assert shared_wh.batches.rejects("twice").row_number.tolist() == [3]


def test_what_is_rejected_again_stays_with_its_new_reason(shared_wh: Warehouse) -> None:
    load_with_rejects(shared_wh, "still")
    frame = shared_wh.batches.rejects("still", as_given=True).assign(slot=["x", 6, 9])
    result = shared_wh.batches.reload("still", frame)
    assert (result.rows_loaded, result.rows_rejected) == (1, 2)
    rejects = shared_wh.batches.rejects("still")
    assert rejects.row_number.tolist() == [3, 9]
    assert rejects.reason[0] == "'x' cannot be read as int32"
    assert "cpk_cp" in rejects.reason[1]
    assert counts(shared_wh, "still") == (10, 8, 2)
    assert shared_wh.batches.reload(
        "still", corrected(shared_wh.batches.rejects("still", as_given=True).assign(slot=1))
    )
    assert counts(shared_wh, "still") == (10, 10, 0)


def test_record_numbers_of_the_sources_own_are_kept(shared_wh: Warehouse) -> None:
    rows = [measurement(lot_id="own", slot=n - 2, source_record_no=BIG + n) for n in range(4)]
    shared_wh.load(MEASUREMENTS, rows, batch_id="own", max_rejects=2)
    shared_wh.batches.reload("own", corrected_slots)
    assert stored(shared_wh, MEASUREMENTS, "own", "source_record_no", "slot") == [
        (BIG, 2),
        (BIG + 1, 1),
        (BIG + 2, 0),
        (BIG + 3, 1),
    ]
    shared_wh.load(MEASUREMENTS, rows[1:], batch_id="own2", max_rejects=2)
    frame = pd.DataFrame([rows[1] | {"slot": 1, "row_number": 1, "source_record_no": BIG + 3}])
    with pytest.raises(LoadError, match=f"already has a row with source_record_no {BIG + 3}"):
        shared_wh.batches.reload("own2", frame)
    assert counts(shared_wh, "own2") == (3, 2, 1)


def corrected_slots(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(slot=[abs(value) for value in rows.slot])


@pytest.mark.parametrize("kind", ["arrow", "dicts"])
def test_any_kind_of_frame_will_do(shared_wh: Warehouse, kind: str) -> None:
    given = load_with_rejects(shared_wh, kind)
    rows = [given[n - 1] | {"row_number": n, "slot": n, "cpk": 0.5} for n in (3, 6, 9)]
    frame = pa.Table.from_pylist([row | {"parameters": "{}"} for row in rows]) if kind == "arrow" else iter(rows)
    assert shared_wh.batches.reload(kind, frame).rows_loaded == 3
    assert counts(shared_wh, kind) == (10, 10, 0)


def test_new_months_and_members_are_made_and_the_batchs_time_range_grows(wh: Warehouse) -> None:
    load_with_rejects(wh, "far")
    late = NOON.replace(month=7)
    result = wh.batches.reload("far", lambda rows: corrected(rows).assign(event_ts=late, lot_id="new"))
    assert result.months_made == ("m202407",)
    assert scalar(wh, "SELECT count(*) FROM dw.dim_lot WHERE lot_id = 'new'") == 1
    assert scalar(wh, "SELECT max_event_ts FROM dw.etl_load_batch WHERE batch_id = 'far'") == late
    replaced = wh.load(MEASUREMENTS, [measurement(lot_id="far")], batch_id="far", on_conflict="replace")
    assert replaced.rows_replaced == 10


def test_the_original_again_is_recognised_after_its_rejects_were_corrected(shared_wh: Warehouse) -> None:
    rows = load_with_rejects(shared_wh, "orig")
    shared_wh.batches.reload("orig", corrected)
    assert shared_wh.load(MEASUREMENTS, rows, max_rejects=3).already_loaded


def test_several_at_once_load_each_row_once(wh: Warehouse) -> None:
    load_with_rejects(wh, "race")
    results: list[Any] = []
    threads = [threading.Thread(target=lambda: results.append(wh.batches.reload("race", corrected))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert sorted(result.rows_loaded for result in results) == [0, 0, 0, 3]
    assert counts(wh, "race") == (10, 10, 0)
    assert scalar(wh, f"SELECT count(*) FROM dw.{MEASUREMENTS}") == 10


@pytest.mark.parametrize("after", [True, False])
def test_a_commit_that_is_lost_is_found_out(wh: Warehouse, after: bool) -> None:
    load_with_rejects(wh, "lost")
    cut = AtLastCommit(b"UPDATE dw.etl_load_batch")
    with proxy(wh.settings.sqlalchemy_url(), cut, after=after) as wire, Warehouse(wire.url) as far:
        assert far.batches.reload("lost", corrected).rows_loaded == 3
        assert wire.cuts == 1
    assert counts(wh, "lost") == (10, 10, 0)


def test_a_commit_that_never_came_is_an_error_where_nothing_is_repeated(wh: Warehouse) -> None:
    load_with_rejects(wh, "lost")
    cut = AtLastCommit(b"UPDATE dw.etl_load_batch")
    with (
        proxy(wh.settings.sqlalchemy_url(), cut, after=False) as wire,
        Warehouse(wire.url, retry_deadline_s=0) as far,
        pytest.raises(LoadError, match="the connection was lost"),
    ):
        far.batches.reload("lost", corrected)
    assert counts(wh, "lost") == (10, 7, 3)


class Once:
    """Cuts the first message that holds these words."""

    def __init__(self, words: bytes) -> None:
        self._words, self._done = words, False

    def __call__(self, data: bytes) -> bool:
        cut = not self._done and self._words in data
        self._done |= cut
        return cut


@pytest.mark.parametrize("table", [b"etl_load_batch", b"etl_reject"])
def test_a_look_up_whose_connection_is_lost_is_repeated(wh: Warehouse, table: bytes) -> None:
    load_with_rejects(wh, "look")
    words = b"FROM dw." + table
    with proxy(wh.settings.sqlalchemy_url(), Once(words), after=False) as wire, Warehouse(wire.url) as far:
        far.read("SELECT 1")  # with a server that never answered there is no patience
        assert far.batches.reload("look", corrected).rows_loaded == 3
        assert wire.cuts == 1
    assert counts(wh, "look") == (10, 10, 0)


def test_a_look_up_that_fails_says_so_in_our_words(wh: Warehouse) -> None:
    load_with_rejects(wh, "look")
    for table, ask in ((b"etl_load_batch", "reload"), (b"etl_reject", "reload"), (b"etl_reject", "rejects")):
        with (
            proxy(wh.settings.sqlalchemy_url(), Once(b"FROM dw." + table), after=False) as wire,
            Warehouse(wire.url, retry_deadline_s=0) as far,
            pytest.raises(LoadError, match=r"the connection was lost; load again.*; nothing was changed"),
        ):
            far.batches.reload("look", corrected) if ask == "reload" else far.batches.rejects("look", as_given=True)
    assert counts(wh, "look") == (10, 7, 3)


@pytest.mark.parametrize("late", [False, True])
def test_rejects_of_a_batch_that_was_replaced_meanwhile_do_not_go_into_its_successor(
    wh: Warehouse, monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    rows = load_with_rejects(wh, "next")

    def replace() -> None:
        other = [row | {"visit_no": 2} for row in rows]
        wh.load(MEASUREMENTS, other, batch_id="next", max_rejects=3, on_conflict="replace")

    def correct(given: pd.DataFrame) -> pd.DataFrame:
        if not late:
            replace()
        return corrected(given)

    make = Run.make_members

    def make_late(*args: Any) -> None:
        monkeypatch.setattr(Run, "make_members", make)  # the replacement is a load, too
        replace()
        make(*args)

    if late:
        monkeypatch.setattr(Run, "make_members", make_late)
    with pytest.raises(BatchConflictError, match=r"batch 'next' of .* was replaced meanwhile"):
        wh.batches.reload("next", correct)
    assert counts(wh, "next") == (10, 7, 3)
    assert stored(wh, MEASUREMENTS, "next", "visit_no") == [(2,)] * 7


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        ([measurement()], "need a column 'row_number'"),
        ([measurement(row_number=11)], "row_number 11 is not in batch 'wrong', which has 1 to 10"),
        ([measurement(row_number=None)], "row_number None is not in"),
        ([measurement(row_number=3)] * 2, "row_number 3 occurs twice"),
        ([measurement(row_number="a")], "not a whole number"),
        ([measurement(row_number=3, slt=1)], "unknown column 'slt'"),
    ],
)
def test_a_frame_that_does_not_fit_is_refused_and_nothing_changes(
    shared_wh: Warehouse, frame: Any, message: str
) -> None:
    if "wrong" not in set(shared_wh.batches.list().batch_id):
        load_with_rejects(shared_wh, "wrong")
    with pytest.raises(InvalidInputError, match=message):
        shared_wh.batches.reload("wrong", frame)
    assert counts(shared_wh, "wrong") == (10, 7, 3)


def test_only_a_loaded_batch_takes_them(shared_wh: Warehouse) -> None:
    with pytest.raises(InvalidInputError, match="there is no batch 'none'"):
        shared_wh.batches.reload("none", corrected)
    with pytest.raises(TooManyRejectsError):
        shared_wh.load(MEASUREMENTS, [measurement(slot=-1)], batch_id="bad", max_rejects=0)
    with pytest.raises(InvalidInputError, match="batch 'bad' failed, and nothing of it is loaded"):
        shared_wh.batches.reload("bad", corrected_slots)


def test_a_reject_whose_record_is_in_another_batch_by_now_is_refused(shared_wh: Warehouse) -> None:
    rows = [measurement(lot_id="there", site_no=n, slot=-1 if n == 2 else n) for n in range(4)]
    shared_wh.load(MEASUREMENTS, rows, batch_id="there", max_rejects=1)
    shared_wh.facts.upsert(MEASUREMENTS, [rows[2] | {"slot": 7}], batch_id="upserted")
    with pytest.raises(
        BatchConflictError,
        match=r"records of the corrected rows: 'upserted' \(1 rows, 2024-03\).*twice.*wh.facts.upsert",
    ):
        shared_wh.batches.reload("there", corrected)
    assert (counts(shared_wh, "there"), len(shared_wh.batches.rejects("there"))) == ((4, 3, 1), 1)
    assert (
        shared_wh.data.check(checks=["batch", "doubled grain"], tables=[MEASUREMENTS])
        .query("sample.str.contains('there')")
        .empty
    )
    done = shared_wh.facts.upsert(
        MEASUREMENTS, corrected(shared_wh.batches.rejects("there", as_given=True)).drop(columns="row_number")
    )
    assert (done.rows_loaded, done.rows_replaced) == (1, 1)


def test_rejects_of_an_upsert_do_not_go_beside_the_records_that_were_there(shared_wh: Warehouse) -> None:
    rows = [measurement(lot_id="over", site_no=n) for n in range(3)]
    shared_wh.load(MEASUREMENTS, rows, batch_id="over")
    shared_wh.facts.upsert(MEASUREMENTS, [rows[0] | {"slot": 1}, rows[1] | {"slot": -1}], batch_id="put", max_rejects=1)
    with pytest.raises(BatchConflictError, match="records of the corrected rows: 'over'"):
        shared_wh.batches.reload("put", corrected)


def test_rows_that_are_all_rejected_again_are_an_error_and_keep_their_new_reasons(shared_wh: Warehouse) -> None:
    load_with_rejects(shared_wh, "none again")
    with pytest.raises(
        TooManyRejectsError, match=r"none of the 3 .*First: row 3, column slot: -5 must.*All: wh.batches.rejects"
    ):
        shared_wh.batches.reload("none again", lambda rows: rows.assign(slot=[-5, -6, -7]))
    assert shared_wh.batches.rejects("none again").reason.tolist() == [f"{n} must be at least 0" for n in (-5, -6, -7)]
    assert counts(shared_wh, "none again") == (10, 7, 3)


def test_a_deleted_batch_has_no_rejects_to_reload(wh: Warehouse) -> None:
    load_with_rejects(wh, "gone")
    wh.batches.delete("gone")
    with pytest.raises(
        InvalidInputError, match=r"'gone' is no longer loaded \(7 rows deleted\); load the whole batch again"
    ):
        wh.batches.reload("gone", corrected)
    with pytest.raises(InvalidInputError, match="there is no batch 'nobody'"):
        wh.batches.reload("nobody", corrected)


def test_rejects_as_given_survive_csv_as_they_were(shared_wh: Warehouse, tmp_path: Path) -> None:
    """A text that is empty is not NULL, and every value is the one that it was when the row came in."""
    texts = ["", None, " ", "a,b", 'a"b', "a\r\nb", "NULL", "é😀", "1e5", "2.0", "\ufeff", "\\N", "'"]
    odd = [2.0, 1e10, -0.0, 0.1, 5e-324, float("inf"), float("nan"), True, 2**63, Decimal("2.50"), b"b", NOON, date(2024, 3, 5),
           time(1, 2, 3), ID]  # fmt: skip
    moment, document = NOON + timedelta(microseconds=1), {"a": [1, DIGITS, "é"], "b": ""}
    rows = [
        measurement(
            spc_rule=value,
            cd_nm=0.1 + n,
            start_ts=moment,
            parameters=document,
            sample_n=n,
        )
        for n, value in enumerate([*texts, *odd], 1)
    ]
    typed = {
        "operator_id": pa.array([2.0, -0.0, float("nan"), 0.1]),
        "process_job_id": pa.array([NOON, NOON, None, moment], pa.timestamp("ns", "Asia/Tokyo")),
        "carrier_id": pa.array([time(1), time(2, 3, 4, 5), None, time(0)]),
        "product_revision": pa.array([True, False, None, True]),
        "spc_rule": pa.array([Decimal("2.50"), None, Decimal("0.10"), Decimal(0)]),
    }
    table = pa.Table.from_pylist([measurement(sample_n=n, product_id="P") for n in range(4)])
    for name, array in typed.items():
        table = table.append_column(name, array)
    columns = (*typed, "cd_nm", "start_ts", "parameters::text", "sample_n", "event_ts", "product_key")
    columns = tuple(name for name in columns if name != "product_revision")
    for kind, frame in (
        ("dicts", pd.DataFrame(rows, dtype=object)),
        ("arrow", table.to_pandas(types_mapper=pd.ArrowDtype)),
    ):
        batch = f"csv {kind}"
        good = frame.iloc[:1].assign(slot=1, sample_n=99)  # a batch of which nothing is loaded has failed
        right = pd.concat([frame.assign(slot=1), good]).assign(lot_id=f"{batch} right")
        shared_wh.load(MEASUREMENTS, right, batch_id=f"{batch} right")
        shared_wh.load(
            MEASUREMENTS,
            pd.concat([frame.assign(slot=-1), good]).assign(lot_id=batch),
            batch_id=batch,
            max_rejects=len(frame),
        )
        text = csv_of_rejects(shared_wh.batches.rejects(batch, as_given=True).assign(slot=1))
        (tmp_path / "mended.csv").write_bytes(text.encode())
        assert shared_wh.batches.reload(batch, tmp_path / "mended.csv").rows_loaded == len(frame)
        right = stored(shared_wh, MEASUREMENTS, f"{batch} right", *columns)
        assert stored(shared_wh, MEASUREMENTS, batch, *columns) == right


def test_a_double_stands_in_the_csv_as_it_was_given(shared_wh: Warehouse) -> None:
    rows = [measurement(temperature_c=-500.0, operator_id=2.0), measurement(sample_n=2)]
    shared_wh.load(MEASUREMENTS, [row | {"lot_id": "double"} for row in rows], batch_id="double", max_rejects=1)
    heading, row = csv_of_rejects(shared_wh.batches.rejects("double", as_given=True)).splitlines()
    found = dict(zip(heading.split(","), row.split(","), strict=True))
    assert (found["temperature_c"], found["operator_id"]) == ("-500.0", "2")


def test_a_reject_of_json_that_is_not_corrected_stays_one(shared_wh: Warehouse, tmp_path: Path) -> None:
    """What was no JSON does not become some on its way through a file."""
    documents = [{"a": float("inf")}, {1: "a", "1": "b"}, {"a": timedelta(1)}, "{", {"a": Decimal("1e400")}]
    rows = [measurement(parameters=document) for document in documents]
    shared_wh.load(MEASUREMENTS, [*rows, measurement(sample_n=2)], batch_id="no json", max_rejects=5)
    (tmp_path / "same.csv").write_text(csv_of_rejects(shared_wh.batches.rejects("no json", as_given=True)))
    with pytest.raises(TooManyRejectsError, match="none of the 5"):
        shared_wh.batches.reload("no json", tmp_path / "same.csv")
    assert len(shared_wh.batches.rejects("no json")) == 5
