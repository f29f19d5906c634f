"""Batches loaded anew of which records were put into other batches since: no record comes to be there twice."""

from __future__ import annotations

import threading
from typing import Any

import pandas as pd
import pytest
from sqlalchemy import event

from gpwarehouse import Warehouse
from gpwarehouse.errors import BatchConflictError, LoadError
from tests.batches.records import found, record, removed, site
from tests.dimensions.rows import day
from tests.load.rows import DEFECTS, MEASUREMENTS, defect
from tests.partitions.fab import TESTS
from tests.queries import rows_of

REFUSED = r"other batches now hold records of batch 'A': 'U' \(1 rows, 2025-03\)"


def sites(*numbers: int, **values: Any) -> list[dict[str, Any]]:
    return [site(number, **values) for number in numbers]


def replace(wh: Warehouse, rows: list[dict[str, Any]], batch_id: str = "A", fact: str = MEASUREMENTS) -> int:
    return wh.load(fact, rows, batch_id=batch_id, on_conflict="replace", max_rejects=0).rows_loaded


def scattered(wh: Warehouse) -> None:
    """Batch A had the sites 0, 1 and 2; 1 is in U by now, and 7, which A never had."""
    wh.load(MEASUREMENTS, sites(0, 1, 2, slot=1), batch_id="A")
    wh.facts.upsert(MEASUREMENTS, sites(1, 7, slot=5), batch_id="U")


def is_whole(wh: Warehouse) -> bool:
    return bool(wh.data.check(checks=["batch", "doubled grain"]).empty)


@pytest.mark.parametrize("slot", [1, 2], ids=["the same content", "other content"])
def test_a_batch_whose_records_were_upserted_since_is_not_replaced_beside_them(wh: Warehouse, slot: int) -> None:
    scattered(wh)
    before = found(wh, "site_no", "slot", "batch_id"), record(wh, "A"), record(wh, "U")
    for _ in range(2):
        with pytest.raises(BatchConflictError, match=rf"{REFUSED}.*Nothing was changed.*facts.upsert.*batches.delete"):
            replace(wh, sites(0, 1, 2, slot=slot))
    assert (found(wh, "site_no", "slot", "batch_id"), record(wh, "A"), record(wh, "U")) == before
    assert is_whole(wh)


def test_a_replacement_is_refused_before_a_row_of_it_is_sent(wh: Warehouse) -> None:
    scattered(wh)
    phases: list[str] = []
    with pytest.raises(BatchConflictError, match=REFUSED):
        wh.load(
            MEASUREMENTS, sites(0, 1, 2, slot=2), batch_id="A", on_conflict="replace",
            progress=lambda phase, rows: phases.append(phase),
        )  # fmt: skip
    assert phases == ["read", "prepare"]


def test_units_without_a_die_are_compared_by_part_and_site(wh: Warehouse) -> None:
    unit = {"event_ts": day(3), "lot_id": "L", "wafer_id": "1", "test_type": "FT", "part_id": "P"}
    wh.load(TESTS, [unit | {"site_no": 1}, unit | {"site_no": 2}], batch_id="A")
    wh.facts.upsert(TESTS, [unit | {"site_no": 1, "hard_bin": 3}], batch_id="U")
    with pytest.raises(BatchConflictError, match=REFUSED):
        replace(wh, [unit | {"site_no": 1, "hard_bin": 2}], fact=TESTS)
    assert replace(wh, [unit | {"site_no": 2, "hard_bin": 2}], fact=TESTS) == 1
    assert is_whole(wh)


def test_it_is_put_over_them_by_key_or_replaced_when_they_are_out(wh: Warehouse) -> None:
    scattered(wh)
    new = sites(0, 1, 2, slot=2)
    assert wh.facts.upsert(MEASUREMENTS, new, batch_id="V").rows_replaced == 3
    assert found(wh, "site_no", "slot") == [(0, 2), (1, 2), (2, 2), (7, 5)]
    with pytest.raises(BatchConflictError, match=r"'V' \(3 rows"):
        replace(wh, new)
    assert wh.facts.delete(MEASUREMENTS, new).rows_replaced == 3
    assert replace(wh, new) == 3
    assert found(wh, "site_no", "batch_id") == [(0, "A"), (1, "A"), (2, "A"), (7, "U")]
    wh.facts.upsert(MEASUREMENTS, sites(2, slot=9), batch_id="W")
    wh.batches.delete("W")
    assert replace(wh, new) == 3
    assert is_whole(wh)


def test_new_content_without_the_upserted_records_comes_in_their_batchs_place(wh: Warehouse) -> None:
    scattered(wh)
    assert replace(wh, sites(0, 3, slot=2)) == 2
    assert found(wh, "site_no", "batch_id") == [(0, "A"), (1, "U"), (3, "A"), (7, "U")]
    assert replace(wh, sites(1, 3, visit_no=2)) == 2
    assert is_whole(wh)


def test_records_that_were_deleted_by_key_come_back_with_what_replaces_their_batch(wh: Warehouse) -> None:
    wh.load(MEASUREMENTS, sites(0, 1), batch_id="A")
    wh.facts.delete(MEASUREMENTS, sites(1))
    assert replace(wh, sites(0, 1, slot=2)) == 2
    assert found(wh, "site_no", "slot") == [(0, 2), (1, 2)]


def test_a_batch_that_was_deleted_leaves_upserted_records_and_is_not_loaded_beside_them(wh: Warehouse) -> None:
    scattered(wh)
    assert wh.batches.delete("A").rows == 2
    assert found(wh, "site_no", "batch_id") == [(1, "U"), (7, "U")]
    rows = sites(0, 1, 2, slot=1)
    for batch_id in ("A", "A", "B", "A"):  # a refusal must not be forgotten by the next attempt
        with pytest.raises(
            BatchConflictError, match=rf"other batches now hold records of batch '{batch_id}'.*'U' \(1 rows"
        ):
            wh.load(MEASUREMENTS, rows, batch_id=batch_id)
    with pytest.raises(LoadError, match="load it with atomic=True"):
        wh.load(MEASUREMENTS, rows, batch_id="A", parallel=2, atomic=False)
    assert found(wh, "site_no", "batch_id") == [(1, "U"), (7, "U")]
    assert wh.batches.delete("A").rows == 0
    wh.batches.delete("U")
    assert wh.load(MEASUREMENTS, rows, batch_id="A").rows_loaded == 3
    assert wh.load(MEASUREMENTS, rows, batch_id="A").already_loaded
    assert is_whole(wh)


def test_rows_sent_before_all_are_read_are_compared_too(
    wh: Warehouse, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    scattered(wh)
    wh.batches.delete("A")
    monkeypatch.setattr("gpwarehouse.load.streaming.STREAM_ROWS", 1)
    with caplog.at_level("INFO", "gpwarehouse.load.streaming"), pytest.raises(BatchConflictError, match="'U'"):
        wh.load(MEASUREMENTS, pd.DataFrame(sites(0, 1, 2, slot=1)), batch_id="B")
    assert "rows of the same content" in caplog.text
    assert len(found(wh, "site_no")) == 2


def test_a_batch_whose_month_was_replaced_is_not_replaced_beside_it(wh: Warehouse) -> None:
    february = {"event_ts": day(2, 5), "visit_no": 2}
    wh.load(MEASUREMENTS, [*sites(0, 1), *sites(0, **february)], batch_id="A")
    wh.facts.replace_month(MEASUREMENTS, "2025-03", sites(0, 1, 2), batch_id="M")
    with pytest.raises(BatchConflictError, match=r"'M' \(2 rows, 2025-03\)"):
        replace(wh, [*sites(0, 1), *sites(0, **february)])
    assert replace(wh, sites(0, **february)) == 1
    assert found(wh, "batch_id", order="1") == [("A",), ("M",), ("M",), ("M",)]
    assert is_whole(wh)


def test_records_that_an_upsert_moved_to_another_month_are_found_there(wh: Warehouse) -> None:
    wh.load(MEASUREMENTS, sites(0, 1, event_ts=day(2, 5)), batch_id="A")
    wh.facts.upsert(MEASUREMENTS, sites(1), months=["2025-02"], batch_id="U")
    assert removed(wh, "A") == [("KEY", "2025-02", 1, "U", "2025-03")]
    with pytest.raises(BatchConflictError, match=REFUSED):
        replace(wh, sites(0, 1, event_ts=day(2, 5)))
    wh.batches.delete("A")
    with pytest.raises(BatchConflictError, match=r"'U' \(1 rows, 2025-03\)"):
        wh.load(MEASUREMENTS, sites(0, 1, event_ts=day(2, 5)), batch_id="A")


def test_units_and_defects_are_compared_by_their_own_keys(wh: Warehouse) -> None:
    unit = {"event_ts": day(3), "lot_id": "L", "wafer_id": "1", "test_type": "CP"}
    units = [unit | {"die_x": 1, "die_y": 1, "part_id": "a"}, unit | {"part_id": "P"}, unit, unit]
    wh.load(TESTS, units, batch_id="A")
    wh.facts.upsert(TESTS, [unit | {"die_x": 1, "die_y": 1, "part_id": "b"}], batch_id="U")
    with pytest.raises(BatchConflictError, match=REFUSED):
        replace(wh, units, fact=TESTS)
    assert (
        replace(wh, [unit | {"die_x": 2, "die_y": 1, "part_id": "b"}, *units[1:]], fact=TESTS) == 4
    )  # of two none knows
    defects = [defect(event_ts=day(3), defect_id=number) for number in (1, 2, None)]
    wh.load(DEFECTS, defects, batch_id="D")
    wh.load(DEFECTS, [defect(event_ts=day(3), defect_id=None)], batch_id="E")
    wh.facts.upsert(DEFECTS, [defects[0]], batch_id="V")
    with pytest.raises(BatchConflictError, match=r"'V' \(1 rows, 2025-03\)\. wh"):
        replace(wh, defects, "D", DEFECTS)
    assert replace(wh, defects[1:], "D", DEFECTS) == 2


def test_only_a_batch_that_lost_rows_is_compared_and_only_over_its_months(wh: Warehouse) -> None:
    seen: list[str] = []

    def see(conn: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> None:
        if "gpw_new_keys" in statement and "JOIN" in statement:
            seen.append(cursor.mogrify(statement, parameters).decode())

    event.listen(wh.engine, "before_cursor_execute", see)
    wh.load(MEASUREMENTS, [*sites(0, 1), *sites(0, event_ts=day(2, 5)), site(5, slot=-1)], batch_id="A", max_rejects=1)
    wh.load(MEASUREMENTS, sites(0, event_ts=day(5, 5)), batch_id="B")
    replace(wh, [*sites(0, 1), *sites(0, event_ts=day(2, 5))])
    assert seen == []
    wh.facts.upsert(MEASUREMENTS, sites(1), batch_id="U")
    replace(wh, sites(0, 3, event_ts=day(3, 9)))
    (statement,) = seen
    assert "2025-02-01" in statement
    assert "2025-04-01" in statement
    assert "2025-05" not in statement


def test_upserts_and_replacements_at_once_leave_every_record_once(wh: Warehouse) -> None:
    wh.load(MEASUREMENTS, sites(0, 1, 2), batch_id="A")
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            if number % 2:
                wh.facts.upsert(MEASUREMENTS, sites(number % 3, slot=number), batch_id=f"U{number}")
            else:
                replace(wh, sites(0, 1, 2, slot=number))
        except BatchConflictError:
            pass
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert errors == []
    assert [number for (number,) in found(wh, "site_no")] == [0, 1, 2]
    assert rows_of(wh, "SELECT count(*) FROM dw.etl_load_batch WHERE status = 'LOADED'")[0][0] >= 5
    assert is_whole(wh)


def test_what_stays_elsewhere_is_not_forgotten_when_the_batch_is_replaced_or_loaded_again(wh: Warehouse) -> None:
    scattered(wh)
    assert replace(wh, sites(0, 3)) == 2
    with pytest.raises(BatchConflictError, match="'U'"):
        replace(wh, sites(0, 1, 2))
    wh.batches.delete("A")
    assert wh.load(MEASUREMENTS, sites(5), batch_id="A").rows_loaded == 1
    wh.batches.delete("A")
    with pytest.raises(BatchConflictError, match="'U'"):
        wh.load(MEASUREMENTS, sites(0, 1, 2), batch_id="A")
    assert is_whole(wh)


def test_records_that_were_moved_twice_are_found(wh: Warehouse) -> None:
    wh.load(MEASUREMENTS, sites(0, 1), batch_id="A")
    wh.facts.upsert(MEASUREMENTS, sites(1, event_ts=day(4, 2)), months=["2025-03"], batch_id="U, now in 2025-13")
    wh.facts.upsert(MEASUREMENTS, sites(1, event_ts=day(5, 2)), months=["2025-04"], batch_id="V")
    with pytest.raises(BatchConflictError, match=r"'V' \(1 rows, 2025-05\)"):
        replace(wh, sites(0, 1))


def test_each_removal_is_kept_by_the_month_that_it_came_from_and_went_to(wh: Warehouse) -> None:
    """However many there are; the rows of one batch and month that stay and those that move are counted apart."""
    february = {"event_ts": day(2, 5)}
    wh.load(MEASUREMENTS, [*sites(*range(6)), *sites(0, 1, visit_no=2, **february)], batch_id="A")
    moved = [*sites(1, slot=1), *sites(2, 3, event_ts=day(4, 2)), *sites(0, visit_no=2, event_ts=day(4, 2))]
    wh.facts.upsert(MEASUREMENTS, moved, months=["2025-02", "2025-03"], batch_id="U")
    wh.facts.delete(MEASUREMENTS, sites(4), batch_id="D")
    assert removed(wh, "A") == [
        ("KEY", "2025-02", 1, "U", "2025-04"),
        ("KEY", "2025-03", 2, "U", "2025-04"),
        ("KEY", "2025-03", 1, "U", None),
        ("KEY", "2025-03", 1, "D", None),
    ]
    columns = "origin, rows_loaded, rows_removed, rows_replaced, scattered"
    assert rows_of(wh, f"SELECT {columns} FROM dw.etl_load_batch ORDER BY batch_id") == [
        ("LOAD", 3, 5, 0, "ANY_MONTH"),
        ("DELETE", 0, 0, 1, None),
        ("UPSERT", 4, 0, 4, None),
    ]
    with pytest.raises(BatchConflictError, match=r"'U' \(1 rows, 2025-04\)"):
        replace(wh, sites(0, 2))


def test_defects_that_cannot_be_told_apart_are_nobodys_records(wh: Warehouse) -> None:
    clean = {**defect(event_ts=day(3), defect_id=None), "is_defect": False}
    wh.load(DEFECTS, [defect(event_ts=day(3), defect_id=None)] * 2, batch_id="N")
    assert wh.facts.upsert(DEFECTS, [clean], batch_id="U").rows_replaced == 0
    assert found(wh, "batch_id", fact=DEFECTS, order="1") == [("N",), ("N",), ("U",)]
    wh.load(DEFECTS, [{**clean, "inspection_id": "other"}, defect(event_ts=day(3), defect_id=7)], batch_id="A")
    wh.facts.delete(DEFECTS, [defect(event_ts=day(3), defect_id=7)])
    assert replace(wh, [{**clean, "inspection_id": "other"}], "A", DEFECTS) == 1
