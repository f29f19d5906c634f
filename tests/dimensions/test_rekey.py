"""Wafers that turn out to come from another root lot."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pandas as pd
import psycopg2
import pytest
from sqlalchemy import text

from gpwarehouse import Warehouse
from gpwarehouse.dimensions import RekeyResult
from gpwarehouse.errors import InvalidInputError, LoadError
from gpwarehouse.models import BEGINNING
from gpwarehouse.models.keys import durable_key
from tests.dimensions.rows import check_intervals, day
from tests.load.rows import DEFECTS, MEASUREMENTS, defect, measurement
from tests.queries import rows_of

TESTS = "fact_test_results"


def loaded(wh: Warehouse, lot: str, *, wafer: str = "2") -> None:
    """Facts of a wafer in two months, and one that no other shares."""
    wh.load(MEASUREMENTS, [measurement(lot_id=lot, wafer_id=wafer, event_ts=day(n)) for n in (1, 3)])
    wh.load(DEFECTS, [defect(lot_id=lot, wafer_id=wafer, event_ts=day(2))])


def keys(wh: Warehouse, table: str, lot: str) -> set[int]:
    query = f"SELECT wafer_key FROM dw.{table} WHERE lot_key = :lot"
    return {key for (key,) in rows_of(wh, query, lot=durable_key(lot))}


def stay(wh: Warehouse, root: str, lot: str, since: Any, until: Any) -> None:
    with wh.engine.begin() as connection:
        connection.execute(
            text("INSERT INTO dw.bridge_wafer_lot (wafer_key, from_ts, to_ts, lot_key) VALUES (:w, :f, :t, :l)"),
            {"w": durable_key(root, "02"), "f": since, "t": until, "l": durable_key(lot)},
        )


def wafer(wh: Warehouse, root: str, *columns: str) -> list[tuple[Any, ...]]:
    names = ", ".join(("effective_date", *columns))
    query = f"SELECT {names} FROM dw.dim_wafer WHERE wafer_key = :key ORDER BY effective_date"
    return rows_of(wh, query, key=durable_key(root, "02"))


def test_facts_history_and_stays_go_where_dim_lot_says(wh: Warehouse) -> None:
    loaded(wh, "A.1")
    loaded(wh, "B.1")
    wh.merge("dim_wafer", [{"lot_id": "A.1", "wafer_id": "2", "grade": "PRIME"}], effective=day(2))
    wh.merge("dim_wafer", [{"lot_id": "A.1", "wafer_id": "2", "grade": "TEST"}], effective=day(4))
    stay(wh, "A", "A.1", day(1), day(9))
    wh.merge("dim_lot", [{"lot_id": "A.1", "root_lot_id": "M"}], effective=day(1))
    before = wafer(wh, "A", "expiry_date", "is_current", "row_hash", "batch_id", "created_at", "grade")
    told = RekeyResult(1, 0, {MEASUREMENTS: 2, DEFECTS: 1, TESTS: 0, "bridge_wafer_lot": 1}, 0, True)
    assert wh.dimensions.rekey_wafers(dry_run=True) == told
    assert keys(wh, MEASUREMENTS, "A.1") == {durable_key("A", "02")}
    assert wh.dimensions.rekey_wafers() == RekeyResult(1, 0, told.rows, 0, False)
    for table in (MEASUREMENTS, DEFECTS, "bridge_wafer_lot"):
        assert keys(wh, table, "A.1") == {durable_key("M", "02")}
    assert keys(wh, MEASUREMENTS, "B.1") == {durable_key("B", "02")}
    assert wafer(wh, "A") == []
    assert wafer(wh, "M", "expiry_date", "is_current", "row_hash", "batch_id", "created_at", "grade") == before
    assert {row[1] for row in wafer(wh, "M", "root_lot_id")} == {"M"}
    assert wh.dimensions.rekey_wafers() == RekeyResult(0, 0, dict.fromkeys(told.rows, 0), 0, False)
    wh.load(MEASUREMENTS, [measurement(lot_id="A.1", wafer_id="2", spc_rule="later")])
    assert keys(wh, MEASUREMENTS, "A.1") == {durable_key("M", "02")}


def test_a_wafer_that_is_there_under_its_true_root_has_one_history_afterwards(wh: Warehouse) -> None:
    loaded(wh, "A.1")
    loaded(wh, "M")
    for lot, month, grade in (("A.1", 2, "PRIME"), ("A.1", 6, "TEST"), ("M", 4, "MONITOR"), ("M", 6, "RECLAIM")):
        wh.merge("dim_wafer", [{"lot_id": lot, "wafer_id": "2", "grade": grade}], effective=day(month))
    stay(wh, "A", "A.1", day(1), day(9))
    stay(wh, "M", "M", day(3), day(5))
    stay(wh, "M", "M", day(6), day(7))
    mapping = pd.DataFrame({"root_lot_id": ["A"], "wafer_id": ["2"], "true_root_lot_id": ["M"]})
    result = wh.dimensions.rekey_wafers(mapping)
    assert (result.wafers, result.merged, result.rows["bridge_wafer_lot"]) == (1, 1, 1)
    assert [row[:2] for row in wafer(wh, "M", "grade")] == [
        (BEGINNING, "PRIME"),
        (day(4), "MONITOR"),
        (day(6), "RECLAIM"),
    ]
    query = "SELECT from_ts, to_ts FROM dw.bridge_wafer_lot WHERE wafer_key = :key ORDER BY 1"
    stays = rows_of(wh, query, key=durable_key("M", "02"))
    assert stays == [(day(1), day(3)), (day(3), day(5)), (day(6), day(7))]
    assert len(rows_of(wh, f"SELECT 1 FROM dw.{MEASUREMENTS} WHERE wafer_key = :key", key=durable_key("M", "02"))) == 4
    check_intervals(wh, "dim_wafer")


def test_inferred_wafers_and_chains_of_roots_move_at_once(wh: Warehouse) -> None:
    for lot in ("A", "B", "C"):
        loaded(wh, lot)
    wh.merge("dim_wafer", [{"lot_id": "A", "wafer_id": "2", "grade": "PRIME"}], effective=day(5))
    moves = [("A", "B"), ("B", "D"), ("C", "D")]
    frame = [{"root_lot_id": old, "true_root_lot_id": new} for old, new in moves]
    result = wh.dimensions.rekey_wafers(frame)
    assert (result.wafers, result.merged) == (3, 0)
    found = {lot: keys(wh, MEASUREMENTS, lot) for lot in ("A", "B", "C")}
    assert found == {lot: {durable_key(root, "02")} for lot, root in moves}
    assert wafer(wh, "B", "grade", "is_inferred") == [(BEGINNING, "PRIME", False)]
    assert wafer(wh, "D", "is_inferred") == [(BEGINNING, True)]
    check_intervals(wh, "dim_wafer")


def test_the_genealogy_shows_the_root_of_lots_that_nobody_told_of(wh: Warehouse) -> None:
    loaded(wh, "X1")  # its name says nothing of where it comes from
    loaded(wh, "OLD")
    with wh.engine.begin() as connection:
        for parent, child, kind in (("OLD", "MID", "SPLIT"), ("MID", "X1", "RENAME")):
            connection.execute(
                text(
                    "INSERT INTO dw.bridge_lot_genealogy (parent_lot_key, child_lot_key, event_type, event_ts) "
                    "VALUES (:p, :c, :k, :t)"
                ),
                {"p": durable_key(parent), "c": durable_key(child), "k": kind, "t": day(1)},
            )
    wh.load(MEASUREMENTS, [measurement(lot_id="MID", wafer_id="9")])
    result = wh.dimensions.rekey_wafers()
    assert (result.wafers, result.merged, result.lots) == (2, 1, 2)
    assert keys(wh, MEASUREMENTS, "X1") == {durable_key("OLD", "02")}
    assert keys(wh, MEASUREMENTS, "MID") == {durable_key("OLD", "09")}
    wh.load(MEASUREMENTS, [measurement(lot_id="X1", wafer_id="2", spc_rule="later")])
    assert keys(wh, MEASUREMENTS, "X1") == {durable_key("OLD", "02")}
    assert wh.dimensions.rekey_wafers().wafers == 0


def test_only_the_months_that_are_named_are_looked_at(wh: Warehouse) -> None:
    loaded(wh, "A.1")
    frame = [{"root_lot_id": "A", "true_root_lot_id": "M"}]
    assert wh.dimensions.rekey_wafers(frame, months=["2025-03"], dry_run=True).rows[MEASUREMENTS] == 1
    assert wh.dimensions.rekey_wafers(frame, months=["2025-01", "2025-02", "2025-03"]).rows[MEASUREMENTS] == 2
    with pytest.raises(InvalidInputError, match="'March' is no month"):
        wh.dimensions.rekey_wafers(frame, months=["March"])


@pytest.mark.parametrize(
    ("rows", "observations"),
    [
        ([{"root_lot_id": "A", "root": "B"}], "give root_lot_id, true_root_lot_id"),
        ([{"root_lot_id": "A", "true_root_lot_id": " "}], "does not name two roots"),
        ([{"root_lot_id": "A", "true_root_lot_id": root} for root in "BC"], "to root 'B' and to root 'C'"),
    ],
)
def test_a_mapping_that_is_none_is_refused(shared_wh: Warehouse, rows: list[dict[str, Any]], observations: str) -> None:
    shared_wh.load(MEASUREMENTS, [measurement(lot_id="A")])
    with pytest.raises(InvalidInputError, match=observations):
        shared_wh.dimensions.rekey_wafers(rows)
    assert keys(shared_wh, MEASUREMENTS, "A") == {durable_key("A", "02")}


def test_loads_and_re_keying_at_once_all_go_through(wh: Warehouse) -> None:
    loaded(wh, "A.1")
    wh.merge("dim_lot", [{"lot_id": "A.1", "root_lot_id": "M"}], effective=day(1))

    def load(number: int) -> int:
        return wh.load(MEASUREMENTS, [measurement(lot_id="A.1", wafer_id="2", process_time_s=number)]).rows_loaded

    with ThreadPoolExecutor(4) as pool:
        work: list[Future[Any]] = [pool.submit(load, n) for n in range(4)]
        work += [pool.submit(wh.dimensions.rekey_wafers) for _ in range(2)]
        for each in work:
            each.result()
    wh.dimensions.rekey_wafers()  # of loads that had asked for the root before it was moved
    assert keys(wh, MEASUREMENTS, "A.1") == {durable_key("M", "02")}
    assert rows_of(wh, f"SELECT count(*) FROM dw.{MEASUREMENTS}") == [(6,)]
    check_intervals(wh, "dim_wafer")


def test_nothing_moves_while_months_that_are_not_named_hold_facts_of_the_wafers(wh: Warehouse) -> None:
    loaded(wh, "A.1")
    wh.load(MEASUREMENTS, [measurement(lot_id="B.1", event_ts=day(4))])
    mapping = pd.DataFrame({"root_lot_id": ["A"], "true_root_lot_id": ["M"]})
    left = (
        f"{DEFECTS}: 1 rows of these wafers are in 2025-02",
        f"{MEASUREMENTS}: 1 rows of these wafers are in 2025-03",
    )
    assert wh.dimensions.rekey_wafers(mapping, months=["2025-01"], dry_run=True).warnings == left
    with pytest.raises(LoadError, match=f"{left[1]}.*Nothing was moved; name these months too"):
        wh.dimensions.rekey_wafers(mapping, months=["2025-01"])
    assert keys(wh, MEASUREMENTS, "A.1") == keys(wh, DEFECTS, "A.1") == {durable_key("A", "02")}
    moved = wh.dimensions.rekey_wafers(
        mapping, months=["2025-01", "2025-02", "2025-03"]
    )  # not the one that others have facts in
    assert (moved.wafers, moved.warnings) == (1, ())
    assert wh.data.check(checks=["orphan key"]).empty


@pytest.mark.parametrize("deadline", [0, 60])
def test_a_commit_whose_answer_was_lost_keeps_its_counts(
    wh: Warehouse, monkeypatch: pytest.MonkeyPatch, deadline: float
) -> None:
    loaded(wh, "A.1")
    monkeypatch.setattr(wh._connected, "settings", wh.settings.model_copy(update={"retry_deadline_s": deadline}))
    commit, lost = wh.engine.dialect.do_commit, [True]

    def lose(connection: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_locks WHERE mode = 'ExclusiveLock' AND relation = 'dw.dim_wafer'::regclass"
            )
            moving = cursor.fetchone()[0]
        commit(connection)
        if moving and lost:
            lost.clear()
            raise psycopg2.OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(wh.engine.dialect, "do_commit", lose)
    moved = wh.dimensions.rekey_wafers(pd.DataFrame({"root_lot_id": ["A"], "true_root_lot_id": ["M"]}))
    assert (lost, moved.wafers, moved.rows[MEASUREMENTS], moved.rows[DEFECTS]) == ([], 1, 2, 1)
    assert keys(wh, MEASUREMENTS, "A.1") == {durable_key("M", "02")}
