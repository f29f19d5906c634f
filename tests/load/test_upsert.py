"""Records of facts put in, changed and taken out by their business key."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sqlalchemy import event

from gpwarehouse import Warehouse
from gpwarehouse.errors import BatchConflictError, InvalidInputError, LoadError, TooManyRejectsError
from tests.batches.lost_commits import losing
from tests.batches.records import found, record, removed, site
from tests.command_line import run
from tests.dimensions.rows import day
from tests.load.rows import DEFECTS, MEASUREMENTS, defect
from tests.queries import rows_of

TESTS, EQUIPMENT = "fact_test_results", "fact_equipment_performance"


def test_a_record_that_is_there_takes_the_columns_of_the_frame_and_keeps_the_others(wh: Warehouse) -> None:
    first = wh.load(MEASUREMENTS, [site(n, cd_nm=float(n), slot=n, operator_id="A", recipe_id="R") for n in range(3)])
    kept = rows_of(wh, f"SELECT recipe_key FROM dw.{MEASUREMENTS} LIMIT 1")
    done = wh.facts.upsert(MEASUREMENTS, [site(1, cd_nm=11.0, operator_id=None), site(7, cd_nm=7.0)])
    assert (done.rows_read, done.rows_loaded, done.rows_replaced, done.already_loaded) == (2, 2, 1, False)
    assert found(wh, "site_no", "cd_nm", "slot", "operator_id") == [
        (0, 0.0, 0, "A"), (1, 11.0, 1, None), (2, 2.0, 2, "A"), (7, 7.0, None, None),
    ]  # fmt: skip
    assert rows_of(wh, f"SELECT recipe_key FROM dw.{MEASUREMENTS} WHERE site_no = 1") == kept
    assert [b == done.batch_id for (b,) in found(wh, "batch_id")] == [False, True, False, True]
    assert record(wh, first.batch_id) == ("LOADED", 2, None)
    assert removed(wh, first.batch_id) == [("KEY", "2025-03", 1, done.batch_id, None)]
    assert record(wh, done.batch_id) == ("LOADED", 2, None)
    assert wh.data.check(months=["2025-03"]).empty
    assert wh.load(
        MEASUREMENTS, [site(n, cd_nm=float(n), slot=n, operator_id="A", recipe_id="R") for n in range(3)]
    ).already_loaded
    assert wh.batches.delete(first.batch_id).rows == 2


def test_the_same_again_changes_nothing_but_back_again_counts(wh: Warehouse) -> None:
    for value in (1.0, 2.0, 1.0):
        wh.facts.upsert(MEASUREMENTS, [site(1, cd_nm=value)])
        assert found(wh, "cd_nm") == [(value,)]
    wh.facts.upsert(MEASUREMENTS, [site(1, cd_nm=5.0)], batch_id="mine")
    wh.facts.upsert(MEASUREMENTS, [site(1, cd_nm=6.0)])
    assert wh.facts.upsert(MEASUREMENTS, [site(1, cd_nm=5.0)], batch_id="mine").already_loaded
    with pytest.raises(BatchConflictError, match="'mine' was loaded"):
        wh.facts.upsert(MEASUREMENTS, [site(1, cd_nm=7.0)], batch_id="mine")
    assert found(wh, "cd_nm") == [(6.0,)]


def test_of_rows_with_one_key_the_last_counts_and_what_was_doubled_becomes_one(wh: Warehouse) -> None:
    for owner in "AB":
        wh.load(MEASUREMENTS, [site(1, operator_id=owner, slot=1)])
    assert len(found(wh, "site_no")) == 2
    done = wh.facts.upsert(MEASUREMENTS, [site(1, cd_nm=1.0), site(1, cd_nm=2.0)])
    assert (done.rows_loaded, done.rows_replaced) == (1, 2)
    assert found(wh, "cd_nm", "operator_id") == [(2.0, "B")]
    assert record(wh, done.batch_id)[1] == 1
    assert wh.data.check(months=["2025-03"]).empty


def test_a_record_whose_time_was_wrong_is_found_in_the_months_that_are_named(wh: Warehouse) -> None:
    old = wh.load(MEASUREMENTS, [site(1, slot=4, event_ts=day(2, 5))]).batch_id
    wh.facts.upsert(MEASUREMENTS, [site(1)])
    assert len(found(wh, "site_no")) == 2  # not looked for in February
    wh.facts.delete(MEASUREMENTS, [site(1)])
    done = wh.facts.upsert(MEASUREMENTS, [site(1)], months=["2025-02"])
    assert done.rows_replaced == 1
    assert found(wh, "event_ts", "slot") == [(day(3, 5), 4)]
    assert record(wh, old)[:2] == ("LOADED", 0)
    assert wh.data.check(months=["2025-02", "2025-03"]).empty
    assert wh.data.check(months=["2025-02"]).empty
    with pytest.raises(InvalidInputError, match="'May' is no month"):
        wh.facts.upsert(MEASUREMENTS, [site(1)], months=["May"])


def test_records_go_by_their_key_alone(wh: Warehouse) -> None:
    batch = wh.load(DEFECTS, [defect(event_ts=day(3), defect_id=n, size_um=1.0) for n in range(4)]).batch_id
    wh.load(DEFECTS, [defect(event_ts=day(3), defect_id=1, inspection_id="I2")])
    lots = rows_of(wh, "SELECT count(*) FROM dw.dim_lot")
    keys = [{"lot_id": lot, "wafer_id": "2", "inspection_id": "I1", "defect_id": n, "event_ts": day(3)}
            for lot, n in (("L1", 1), ("L1", 3), ("L1", 9), ("nobody", 1))]  # fmt: skip
    done = wh.facts.delete(DEFECTS, keys, batch_id="out")
    assert (done.rows_read, done.rows_loaded, done.rows_replaced) == (4, 0, 2)
    assert found(wh, "defect_id", "inspection_id", fact=DEFECTS, order="1, 2") == [(0, "I1"), (1, "I2"), (2, "I1")]
    assert record(wh, "out") == ("LOADED", 0, None)
    assert rows_of(wh, "SELECT origin, rows_replaced FROM dw.etl_load_batch WHERE batch_id = 'out'") == [("DELETE", 2)]
    assert record(wh, batch)[:2] == ("LOADED", 2)
    assert wh.facts.delete(DEFECTS, keys, batch_id="out").already_loaded
    assert wh.facts.delete(DEFECTS, keys).rows_replaced == 0
    with pytest.raises(InvalidInputError, match="'out' deleted records by their keys and has no rows"):
        wh.batches.reload("out", [])
    assert rows_of(wh, "SELECT count(*) FROM dw.dim_lot") == lots  # who is not there is not made
    assert wh.data.check(months=["2025-03"]).empty
    with pytest.raises(InvalidInputError, match="does not have column 'inspection_id'"):
        wh.facts.delete(DEFECTS, [{"lot_id": "L1", "wafer_id": "2", "defect_id": 1, "event_ts": day(3)}])


def test_units_are_dies_or_parts_and_null_is_a_value(wh: Warehouse) -> None:
    unit = {"event_ts": day(3), "lot_id": "L", "wafer_id": "1", "test_type": "CP"}
    dies = [unit | {"die_x": x, "die_y": 0, "part_id": f"P{x}", "hard_bin": 1} for x in range(3)]
    wh.load(TESTS, [*dies, unit | {"part_id": "P1", "hard_bin": 1}])
    changed = [
        unit | {"die_x": 1, "die_y": 0, "part_id": "renamed", "hard_bin": 5},
        unit | {"part_id": "P1", "hard_bin": 6},
    ]
    assert wh.facts.upsert(TESTS, changed).rows_replaced == 2
    assert found(wh, "die_x", "hard_bin", fact=TESTS, order="1 NULLS LAST") == [(0, 1), (1, 5), (2, 1), (None, 6)]
    with pytest.raises(InvalidInputError, match="source_record_no 2 does not identify its record"):
        wh.facts.upsert(TESTS, [changed[0], unit])
    assert len(found(wh, "die_x", fact=TESTS, order="1")) == 4


def test_equipment_has_one_record_a_shift(wh: Warehouse) -> None:
    shift = {"event_ts": day(3), "equipment_id": "E1", "total_s": 100.0, "productive_s": 60.0, "standby_s": 40.0}
    wh.load(EQUIPMENT, [shift, shift | {"equipment_id": "E2"}])
    done = wh.facts.upsert(EQUIPMENT, [shift | {"productive_s": 50.0, "standby_s": 50.0}])
    assert done.rows_replaced == 1
    assert found(wh, "productive_s", fact=EQUIPMENT, order="1") == [(50.0,), (60.0,)]


def test_what_is_refused_changes_nothing_or_is_a_reject(wh: Warehouse) -> None:
    wh.load(MEASUREMENTS, [site(n, slot=n) for n in range(3)])
    bad = [site(0, slot=9), site(1, cp=1.0, cpk=2.0), site(2, slot=-1)]  # the second breaks a rule over two columns
    with pytest.raises(TooManyRejectsError):
        wh.facts.upsert(MEASUREMENTS, bad, max_rejects=1)
    assert found(wh, "slot") == [(0,), (1,), (2,)]
    done = wh.facts.upsert(MEASUREMENTS, bad, max_rejects=2)
    assert (done.rows_loaded, done.rows_rejected, done.rows_replaced) == (1, 2, 1)
    assert list(wh.batches.rejects(done.batch_id).row_number) == [2, 3]
    assert found(wh, "slot") == [(9,), (1,), (2,)]
    assert wh.facts.upsert(MEASUREMENTS, []).rows_loaded == 0


@pytest.mark.parametrize("deadline", [0, 60])
def test_a_commit_whose_answer_was_lost_is_found_out(wh: Warehouse, deadline: float) -> None:
    wh.load(MEASUREMENTS, [site(1, slot=1)])
    with losing(wh, "INSERT INTO dw.fact", after=True, deadline=deadline) as far:
        done = far.facts.upsert(MEASUREMENTS, [site(1, slot=2)])
    assert (done.rows_loaded, done.rows_replaced, found(wh, "slot")) == (1, 1, [(2,)])
    with losing(wh, "DELETE FROM dw.fact", after=True, deadline=deadline) as far:
        gone = far.facts.delete(MEASUREMENTS, [site(1)])
    assert (gone.rows_replaced, found(wh, "slot")) == (1, [])


def test_a_failure_at_the_insert_leaves_the_old_records(wh: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    wh.load(MEASUREMENTS, [site(1, slot=1)])
    with losing(wh, "INSERT INTO dw.fact", after=False) as far, pytest.raises(LoadError, match="nothing was loaded"):
        far.facts.upsert(MEASUREMENTS, [site(1, slot=2)])
    assert found(wh, "slot") == [(1,)]


def test_upserts_of_one_record_at_once_leave_one(wh: Warehouse) -> None:
    errors: list[BaseException] = []

    def upsert(number: int) -> None:
        try:
            wh.facts.upsert(MEASUREMENTS, [site(1, slot=number), site(10 + number)])
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=upsert, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert errors == []
    assert [number for (number,) in found(wh, "site_no")] == [1, *range(10, 16)]
    assert wh.data.check(checks=["batch", "doubled grain"], months=["2025-03"]).empty


def test_only_the_months_of_the_rows_are_looked_into(wh: Warehouse) -> None:
    wh.load(MEASUREMENTS, [site(1), site(1, event_ts=day(4), visit_no=2)])
    seen: list[str] = []

    def see(conn: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> None:
        if "gpw_key" in statement and f"dw.{MEASUREMENTS}" in statement and "event_ts >=" in statement:
            seen.append(cursor.mogrify(statement, parameters).decode())

    event.listen(wh.engine, "before_cursor_execute", see)
    wh.facts.upsert(MEASUREMENTS, [site(1)])
    assert len(seen) == 2
    assert all("2025-03-01" in statement and "2025-04-01" in statement for statement in seen)


def test_records_are_put_in_and_taken_out_from_a_shell(wh: Warehouse, tmp_path: Path) -> None:
    pd.DataFrame([site(1, slot=1), site(2, slot=2)]).to_parquet(tmp_path / "rows.parquet")
    url = wh.settings.sqlalchemy_url().render_as_string(hide_password=False)

    def said(*args: str, code: int = 0) -> str:
        done = run("--url", url, *args, "rows.parquet", cwd=tmp_path)
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr

    assert "2 of 2 rows loaded" in said("facts", "upsert", MEASUREMENTS)
    assert "2 of 2 rows loaded, 2 replaced" in said("facts", "upsert", MEASUREMENTS, "--month", "2025-02")
    assert "say --yes-drop-data; nothing was changed" in said("facts", "delete", MEASUREMENTS, code=1)
    assert len(found(wh, "slot")) == 2
    assert "2 rows deleted" in said("facts", "delete", MEASUREMENTS, "--yes-drop-data", "--batch-id", "out")
    assert "done before, as batch out" in said("facts", "delete", MEASUREMENTS, "--yes-drop-data", "--batch-id", "out")
    assert found(wh, "slot") == []
