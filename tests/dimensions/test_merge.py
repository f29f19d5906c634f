"""Frames merged into dimensions: one case at a time, as written down in ``Warehouse.merge``."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sqlalchemy import text

from gpwarehouse import Warehouse
from gpwarehouse.dialect import Brand, ServerInfo
from gpwarehouse.dimensions import DELETED_HASH, key_columns
from gpwarehouse.errors import (
    BatchConflictError,
    InvalidInputError,
    KeyCollisionError,
    LoadError,
    NaturalKeyError,
    TooManyRejectsError,
)
from gpwarehouse.models import BEGINNING, END_OF_TIME
from gpwarehouse.models.keys import durable_key
from tests.dimensions.rows import check_intervals, day, history
from tests.load.rows import MEASUREMENTS, measurement
from tests.queries import rows_of


def lot(name: str, **values: Any) -> dict[str, Any]:
    return {"lot_id": name} | values


def test_a_new_member_holds_from_1900_on_and_a_change_begins_a_version(shared_wh: Warehouse) -> None:
    made = shared_wh.merge("dim_lot", [lot("N1", owner="A", lot_type="PROD")], effective=day(3))
    assert (made.members_new, made.versions_begun, made.rows_read) == (1, 1, 1)
    changed = shared_wh.merge("dim_lot", [lot("N1", owner="B", lot_type="PROD")], effective=day(5))
    assert (changed.members_new, changed.versions_begun) == (0, 1)
    columns = ("expiry_date", "is_current", "is_inferred", "owner", "batch_id", "root_lot_id", "product_key")
    assert history(shared_wh, "N1", *columns) == [
        (BEGINNING, day(5), False, False, "A", made.batch_id, "N1", -1),
        (day(5), END_OF_TIME, True, False, "B", changed.batch_id, "N1", -1),
    ]


def test_what_says_nothing_new_leaves_nothing(shared_wh: Warehouse) -> None:
    rows = [lot("U1", owner="A"), lot("U2", owner=None, priority=3)]
    shared_wh.merge("dim_lot", rows, effective=day(3))
    before = rows_of(shared_wh, "SELECT * FROM dw.dim_lot WHERE lot_id IN ('U1', 'U2') ORDER BY 1")
    again = shared_wh.merge("dim_lot", rows, effective=day(4))
    assert (again.already_merged, again.versions_begun, again.rows_overwritten) == (False, 0, 0)
    assert rows_of(shared_wh, "SELECT * FROM dw.dim_lot WHERE lot_id IN ('U1', 'U2') ORDER BY 1") == before


def test_a_row_keeps_the_columns_that_it_does_not_name_whatever_others_name(
    shared_wh: Warehouse, tmp_path: Path
) -> None:
    names = [f"G{n}" for n in range(4)]
    shared_wh.merge("dim_lot", [lot(n, owner="A", priority=1, product_id="P") for n in names], effective=day(2))
    changes = [lot("G0", owner="B"), lot("G1", priority=2), lot("G2", owner=None), lot("G3", product_id="Q")]
    right = [("B", 1, "P"), ("A", 2, "P"), (None, 1, "P"), ("A", 1, "Q")]
    query = (
        "SELECT owner, priority, product_id FROM dw.dim_lot l LEFT JOIN dw.dim_product p ON p.product_key = l.product_key "
        "AND p.is_current WHERE l.is_current AND lot_id IN ('G0', 'G1', 'G2', 'G3') ORDER BY lot_id"
    )
    assert shared_wh.merge("dim_lot", changes, effective=day(3)).versions_begun == 4
    assert rows_of(shared_wh, query) == right
    for n, row in enumerate(changes):
        pd.DataFrame([row]).to_parquet(tmp_path / f"{n}.parquet")
    again = shared_wh.merge("dim_lot", f"{tmp_path}/*.parquet", effective=day(4))
    assert (again.versions_begun, rows_of(shared_wh, query)) == (0, right)


def test_what_a_key_implies_holds_for_the_rows_that_say_nothing_of_it(shared_wh: Warehouse) -> None:
    shared_wh.merge("dim_lot", [lot("I1.1", root_lot_id="X"), lot("I2.1", owner="A")], effective=day(2))
    shared_wh.merge("dim_lot", [lot("I1.1", owner="B"), lot("I2.1", root_lot_id="Y")], effective=day(3))
    query = "SELECT owner, root_lot_id FROM dw.dim_lot WHERE is_current AND lot_id IN ('I1.1', 'I2.1') ORDER BY lot_id"
    assert rows_of(shared_wh, query) == [("B", "X"), ("A", "Y")]


def test_a_late_row_splits_the_version_it_falls_into(shared_wh: Warehouse) -> None:
    for owner, moment in (("A", day(2)), ("C", day(6)), ("B", day(4))):
        shared_wh.merge("dim_lot", [lot("S1", owner=owner)], effective=moment)
    found = history(shared_wh, "S1", "expiry_date", "owner")
    assert found == [(BEGINNING, day(4), "A"), (day(4), day(6), "B"), (day(6), END_OF_TIME, "C")]


def test_a_row_older_than_all_that_is_known_takes_over_what_lies_before(shared_wh: Warehouse) -> None:
    others = [lot("E2", owner="X", at=day(1)), lot("E3", owner="Y", at=day(9))]  # the batch spans more than its moment
    shared_wh.merge("dim_lot", [lot("E1", owner="B", at=day(4)), *others], effective="at")
    shared_wh.merge("dim_lot", [lot("E1", owner="A")], effective=day(2))
    assert history(shared_wh, "E1", "owner") == [(BEGINNING, "A"), (day(4), "B")]
    shared_wh.merge("dim_lot", [lot("E1", owner="AB")], effective=day(3))
    assert history(shared_wh, "E1", "owner") == [(BEGINNING, "A"), (day(3), "AB"), (day(4), "B")]


def test_a_row_at_the_moment_of_a_version_takes_its_place(shared_wh: Warehouse) -> None:
    shared_wh.merge("dim_lot", [lot("R1", owner="A", priority=1)], effective=day(2))
    shared_wh.merge("dim_lot", [lot("R1", owner="B", priority=2)], effective=day(4))
    later = shared_wh.merge("dim_lot", [lot("R1", owner="C")], effective=day(4))
    first = shared_wh.merge("dim_lot", [lot("R1", owner="D")], effective=day(2))
    assert (later.versions_replaced, first.versions_replaced) == (1, 1)
    assert history(shared_wh, "R1", "owner", "priority") == [(BEGINNING, "D", 1), (day(4), "C", 2)]


def test_columns_that_the_frame_does_not_bring_stay_as_they_were_at_that_time(shared_wh: Warehouse) -> None:
    shared_wh.merge("dim_lot", [lot("C1", owner="A", priority=1)], effective=day(2))
    shared_wh.merge("dim_lot", [lot("C1", priority=2)], effective=day(6))
    shared_wh.merge("dim_lot", [lot("C1", owner="B")], effective=day(4))
    assert history(shared_wh, "C1", "owner", "priority") == [(BEGINNING, "A", 1), (day(4), "B", 1), (day(6), "B", 2)]


def test_a_null_is_a_value(shared_wh: Warehouse) -> None:
    shared_wh.merge("dim_lot", [lot("Z1", owner="A", product_id="P")], effective=day(2))
    shared_wh.merge("dim_lot", pd.DataFrame([lot("Z1", owner=None, product_id=None)]), effective=day(4))
    found = history(shared_wh, "Z1", "owner", "product_key")
    assert found == [(BEGINNING, "A", durable_key("P", "")), (day(4), None, -1)]


def test_several_versions_of_members_in_one_frame(shared_wh: Warehouse) -> None:
    said = [("F1", 5, "C"), ("F2", 2, "X"), ("F1", 2, "A"), ("F1", 3, "A"), ("F1", 4, "B"), ("F2", 2, "Y")]
    frame = pd.DataFrame([lot(name, at=day(month), owner=owner) for name, month, owner in said])
    result = shared_wh.merge("dim_lot", frame, effective="at")
    assert (result.members_new, result.versions_begun) == (2, 4)
    assert history(shared_wh, "F1", "owner") == [(BEGINNING, "A"), (day(4), "B"), (day(5), "C")]
    assert history(shared_wh, "F2", "owner") == [(BEGINNING, "Y")]


def test_inferred_members_are_completed_in_place(shared_wh: Warehouse) -> None:
    shared_wh.load(MEASUREMENTS, [measurement(lot_id="I1", wafer_id="3", product_id="IP")])
    (made,) = rows_of(shared_wh, "SELECT created_at FROM dw.dim_lot WHERE lot_id = 'I1'")
    result = shared_wh.merge("dim_lot", [lot("I1", owner="A")], effective=day(7))
    assert (result.members_completed, result.members_new, result.versions_begun) == (1, 0, 1)
    columns = ("is_inferred", "owner", "product_key", "created_at")
    assert history(shared_wh, "I1", *columns) == [(BEGINNING, False, "A", durable_key("IP", ""), *made)]
    shared_wh.merge("dim_wafer", [{"lot_id": "I1", "wafer_id": "I1-03", "grade": "PRIME"}], effective=day(7))
    found = rows_of(
        shared_wh, "SELECT wafer_id, grade, is_inferred, lot_key FROM dw.dim_wafer WHERE root_lot_id = 'I1'"
    )
    assert found == [("03", "PRIME", False, durable_key("I1"))]


def test_type_1_columns_are_overwritten_in_all_versions(shared_wh: Warehouse) -> None:
    def tool(**values: Any) -> dict[str, Any]:
        return {"equipment_id": "T1", "facility": None} | values

    shared_wh.merge("dim_equipment", [tool(model="A", mtbf_h=1.0)], effective=day(2))
    rows = [tool(model="B", mtbf_h=3.0, at=day(5)), tool(model="B", mtbf_h=2.0, at=day(4))]
    result = shared_wh.merge("dim_equipment", rows, effective="at")
    assert result.versions_begun == 1
    query = "SELECT effective_date, model, mtbf_h, facility FROM dw.dim_equipment WHERE equipment_id = 'T1' ORDER BY 1"
    assert rows_of(shared_wh, query) == [(BEGINNING, "A", 3.0, "FAB"), (day(4), "B", 3.0, "FAB")]


def test_a_deleted_member_keeps_its_attributes_under_a_mark_and_comes_back(shared_wh: Warehouse) -> None:
    marked = f"substr(row_hash, 1, 32) = '{DELETED_HASH}'"
    shared_wh.merge("dim_lot", [lot("D1", owner="A")], effective=day(2))
    gone = shared_wh.merge("dim_lot", [lot("D1", gone=True), lot("D2", gone=True)], effective=day(4), deletes="gone")
    assert (gone.members_deleted, gone.members_new) == (1, 0)
    columns = ("expiry_date", "owner", "is_current", marked)
    assert history(shared_wh, "D1", *columns) == [
        (BEGINNING, day(4), "A", False, False),
        (day(4), END_OF_TIME, "A", True, True),
    ]
    again = shared_wh.merge("dim_lot", [lot("D1", gone=True)], effective=day(5), deletes="gone")
    assert again.versions_begun == 0
    shared_wh.load(MEASUREMENTS, [measurement(lot_id="D1", product_id="DP", event_ts=day(4, 9))])  # fills a gap
    shared_wh.merge("dim_lot", [lot("D1", owner="A")], effective=day(6))
    assert history(shared_wh, "D1", "owner", marked)[-1] == (day(6), "A", False)
    check_intervals(shared_wh, "dim_lot")


def test_a_late_row_leaves_newer_type_1_values_and_fills_unknown_ones(shared_wh: Warehouse) -> None:
    def tool(**values: Any) -> dict[str, Any]:
        return {"equipment_id": "LATE", "facility": None} | values

    shared_wh.merge("dim_equipment", [tool(model="A", mtbf_h=1.0)], effective=day(4))
    first = shared_wh.merge("dim_equipment", [tool(mtbf_h=9.0, mttr_h=5.0)], effective=day(2))
    assert first.rows_overwritten == 1
    shared_wh.merge("dim_equipment", [tool(model="C", mtbf_h=2.0)], effective=day(6))
    shared_wh.merge("dim_equipment", [tool(model="B", mtbf_h=8.0)], effective=day(5))
    query = "SELECT model, mtbf_h, mttr_h FROM dw.dim_equipment WHERE equipment_id = 'LATE' ORDER BY effective_date"
    assert rows_of(shared_wh, query) == [("A", 2.0, 5.0), ("B", 2.0, 5.0), ("C", 2.0, 5.0)]
    shared_wh.merge("dim_equipment", [tool(mtbf_h=3.0)], effective=day(6))
    assert [row[1] for row in rows_of(shared_wh, query)] == [3.0, 3.0, 3.0]


def test_an_id_is_merged_once_and_names_one_content(shared_wh: Warehouse) -> None:
    first = shared_wh.merge("dim_lot", [lot("O1", owner="A")], effective=day(2), batch_id="once")
    shared_wh.merge("dim_lot", [lot("O1", owner="B")], effective=day(2))
    again = shared_wh.merge("dim_lot", [lot("O1", owner="A")], effective=day(2), batch_id="once")
    assert (first.already_merged, again.already_merged) == (False, True)
    assert history(shared_wh, "O1", "owner") == [(BEGINNING, "B")]
    with pytest.raises(BatchConflictError, match="'once'"):
        shared_wh.merge("dim_lot", [lot("O1", owner="C")], effective=day(2), batch_id="once")


@pytest.mark.parametrize("ids", [(None, None, None), ("a", "b", "c")])
def test_a_correction_back_to_what_was_said_before_counts(shared_wh: Warehouse, ids: tuple[str | None, ...]) -> None:
    name = f"BACK{ids[0]}"
    for owner, batch_id in zip("ABA", ids, strict=True):
        merged = shared_wh.merge("dim_lot", [lot(name, owner=owner)], effective=day(2), batch_id=batch_id)
        assert (merged.already_merged, merged.versions_begun) == (False, 1)
    assert history(shared_wh, name, "owner") == [(BEGINNING, "A")]
    again = shared_wh.merge("dim_lot", [lot(name, owner="A")], effective=day(2))
    assert (again.already_merged, again.versions_begun) == (False, 0)


def test_bad_rows_are_rejected_and_kept(shared_wh: Warehouse) -> None:
    rows = [lot("B1", priority=1), lot("B2", priority=-1), lot(None, priority=1), lot("B3", priority=1, at="soon")]
    for row in rows[:3]:
        row["at"] = "2025-03-01T00:00:00+00:00"
    with pytest.raises(TooManyRejectsError, match=r"3 of 4 rows.*row 2, column priority"):
        shared_wh.merge("dim_lot", rows, effective="at", batch_id="bad")
    assert list(shared_wh.batches.rejects("bad").column_name) == ["priority", "lot_id", "at"]
    assert history(shared_wh, "B1") == []
    result = shared_wh.merge("dim_lot", rows, effective="at", batch_id="bad", max_rejects=3)
    assert (result.rows_rejected, result.members_new) == (3, 1)
    assert rows_of(shared_wh, "SELECT status, rows_loaded FROM dw.etl_load_batch WHERE batch_id = 'bad'") == [
        ("LOADED", 1)
    ]


def test_what_the_server_refuses_leaves_nothing_and_is_recorded(shared_wh: Warehouse) -> None:
    rows = [lot("X1", owner="A"), lot("X2", parent_lot_id="X2")]
    with pytest.raises(LoadError, match="own_parent"):
        shared_wh.merge("dim_lot", rows, effective=day(3), batch_id="refused", max_rejects=0)
    assert history(shared_wh, "X1") == []
    assert rows_of(shared_wh, "SELECT status FROM dw.etl_load_batch WHERE batch_id = 'refused'") == [("FAILED",)]


def test_rows_that_only_the_server_refuses_are_rejects_and_the_others_are_merged(shared_wh: Warehouse) -> None:
    rows = [
        lot(f"N{n:02}", owner="A", product_id="P", parent_lot_id=f"N{n:02}" if n in (3, 17) else "M") for n in range(20)
    ]
    rows[5]["priority"] = -1  # this one is seen before
    done = shared_wh.merge("dim_lot", rows, effective=day(3), batch_id="narrow", max_rejects=3)
    assert (done.rows_read, done.rows_rejected, done.members_new) == (20, 3, 17)
    assert [bool(history(shared_wh, f"N{n:02}")) for n in range(20)] == [n not in (3, 5, 17) for n in range(20)]
    found = shared_wh.batches.rejects("narrow")
    assert list(found.row_number) == [4, 6, 18]
    assert all("own_parent" in reason for reason in found.reason[[0, 2]])
    given = json.loads(found.raw[0]) if isinstance(found.raw[0], str) else found.raw[0]
    told = {"lot_id": "N03", "owner": "A", "parent_lot_id": "N03", "product_id": "P"}
    assert given.items() >= told.items()
    assert given["effective_date"].startswith("2025-03-01")
    counts = "SELECT status, rows_loaded, rows_rejected FROM dw.etl_load_batch WHERE batch_id = 'narrow'"
    assert rows_of(shared_wh, counts) == [("LOADED", 17, 3)]
    with pytest.raises(TooManyRejectsError, match=r"2 of 19 rows.*First: row \d+: refused by the server: .*own_parent"):
        shared_wh.merge("dim_lot", [row for row in rows if "priority" not in row], effective=day(4), max_rejects=1)
    assert history(shared_wh, "N00", "owner") == [(BEGINNING, "A")]


def test_what_a_trigger_refuses_of_a_bridge_is_a_reject(wh: Warehouse, server_info: ServerInfo) -> None:
    if server_info.brand is not Brand.POSTGRESQL:
        pytest.skip("Greenplum has no triggers that see rows")
    with wh.engine.begin() as connection:
        connection.execute(text(
            "CREATE FUNCTION dw.no_seven() RETURNS trigger LANGUAGE plpgsql AS "
            "'BEGIN IF NEW.slot = 7 THEN RAISE EXCEPTION ''no slot 7''; END IF; RETURN NEW; END'"
        ))  # fmt: skip
        connection.execute(text(
            "CREATE TRIGGER t BEFORE INSERT ON dw.bridge_wafer_lot FOR EACH ROW EXECUTE FUNCTION dw.no_seven()"
        ))  # fmt: skip
    stays = [{"lot_id": "A", "wafer_id": str(n), "from_ts": day(1), "slot": n} for n in range(1, 11)]
    with Warehouse(wh.settings.sqlalchemy_url(), max_rejects=1) as other:
        done = other.dimensions.upsert_bridge("bridge_wafer_lot", stays, batch_id="seven")
    assert (done.rows_inserted, done.rows_rejected) == (9, 1)
    (reason,) = wh.batches.rejects("seven").reason
    assert reason == "refused by the server: no slot 7"
    assert rows_of(wh, "SELECT count(*) FROM dw.bridge_wafer_lot WHERE slot = 7") == [(0,)]


@pytest.mark.parametrize(
    ("dimension", "row", "options", "observations"),
    [
        ("dim_lots", {}, {}, "no dimension 'dim_lots'"),
        ("dim_time", {}, {}, "no dimension 'dim_time'"),
        ("dim_lot", {"lot_id": "W"}, {"effective": "effective_date"}, "does not have column 'effective_date'"),
        ("dim_lot", {"lot_id": "W"}, {"effective": day(1).replace(tzinfo=None)}, "a time with a time zone"),
        ("dim_lot", {"lot_id": "W", "ownr": 1}, {"effective": day(1)}, "did you mean 'owner'"),
        ("dim_lot", {"lot_id": "W", "product_key": 1}, {"effective": day(1)}, "give product_id"),
        ("dim_lot", {"lot_id": "W"}, {"effective": "owner"}, "effective= needs a column of times"),
        ("dim_lot", {"lot_id": "W"}, {"effective": day(1), "deletes": "owner"}, "deletes= needs a column of its own"),
        ("dim_lot", {"owner": "W"}, {"effective": day(1)}, "does not have column 'lot_id'"),
    ],
)
def test_what_does_not_fit_is_said(
    shared_wh: Warehouse, dimension: str, row: dict[str, Any], options: dict[str, Any], observations: str
) -> None:
    with pytest.raises(InvalidInputError, match=observations):
        shared_wh.merge(dimension, [row], **options)


def test_parents_are_named_by_natural_keys_and_inferred(shared_wh: Warehouse) -> None:
    rows = [
        {"equipment_id": "CT", "chamber_id": "A", "hierarchy_level": "CHAMBER"},
        {"equipment_id": "CT", "chamber_id": "A1", "parent_equipment_id": "CT", "parent_chamber_id": "A"},
        {"equipment_id": "CT2", "parent_equipment_id": "LINE"},
    ]
    result = shared_wh.merge("dim_equipment", rows, effective=day(3))
    assert result.members_inferred == 3  # tool CT, its chamber A (told a moment later), and LINE
    query = "SELECT equipment_id, chamber_id, parent_equipment_key, is_inferred FROM dw.dim_equipment"
    found = rows_of(shared_wh, f"{query} WHERE equipment_id IN ('CT', 'CT2', 'LINE') ORDER BY 1, 2")
    tool = durable_key("FAB", "CT", "")
    assert found == [
        ("CT", "", None, True),
        ("CT", "A", tool, False),
        ("CT", "A1", durable_key("FAB", "CT", "A"), False),
        ("CT2", "", durable_key("FAB", "LINE", ""), False),
        ("LINE", "", None, True),
    ]
    with pytest.raises(LoadError, match="part of itself"):
        shared_wh.merge("dim_equipment", [{"equipment_id": "LINE", "parent_equipment_id": "CT2"}], effective=day(4))


def test_wafers_go_by_the_root_of_their_lot(shared_wh: Warehouse) -> None:
    shared_wh.merge("dim_lot", [lot("WR.1", root_lot_id="MOTHER")], effective=day(1))
    rows = [
        {"lot_id": "WR.1", "wafer_id": "WR.1-2", "scribe_id": "a", "product_id": "WP"},
        {"lot_id": "WR.1", "wafer_id": "3", "root_lot_id": "OTHER", "scribe_id": "b", "product_id": "WP"},
        {"lot_id": "WQ.1", "wafer_id": "4", "root_lot_id": " ", "scribe_id": "c", "product_id": "WP"},
    ]
    shared_wh.merge("dim_wafer", rows, effective=day(2))
    query = "SELECT root_lot_id, wafer_id, wafer_number, source_wafer_id, lot_key, product_key FROM dw.dim_wafer"
    keys = durable_key("WR.1"), durable_key("WP", "")
    assert rows_of(shared_wh, f"{query} WHERE scribe_id IN ('a', 'b', 'c') ORDER BY scribe_id") == [
        ("MOTHER", "02", 2, "WR.1-2", *keys),
        ("OTHER", "03", 3, "3", *keys),
        ("WQ", "04", 4, "4", durable_key("WQ.1"), keys[1]),
    ]


def test_two_natural_keys_of_one_durable_key_are_refused(shared_wh: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    shared_wh.merge("dim_lot", [lot("K1", owner="A")], effective=day(2))
    taken = durable_key("K1")
    monkeypatch.setattr(
        "gpwarehouse.dimensions.staged_rows.durable_keys", lambda parts: key_columns.pa.array([taken] * len(parts[0]))
    )
    with pytest.raises(KeyCollisionError, match="'K2'"):
        shared_wh.merge("dim_lot", [lot("K2", owner="A")], effective=day(3))
    monkeypatch.setattr(
        "gpwarehouse.dimensions.staged_rows.durable_keys", lambda parts: key_columns.pa.array([12345] * 2)
    )
    with pytest.raises(KeyCollisionError, match=r"K[34]"):
        shared_wh.merge("dim_lot", [lot("K3", owner="A"), lot("K4", owner="A")], effective=day(3))


def test_keys_of_a_column_are_those_of_its_values_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = [["a", "", "ü"], ["", "b", "\t x "]]
    arrays = [key_columns.trim(key_columns.pa.array(part)) for part in parts]
    assert key_columns.durable_keys(arrays).to_pylist() == [durable_key(*row) for row in zip(*parts, strict=True)]
    monkeypatch.setattr(key_columns, "UNKNOWN_KEY", durable_key("", "b"))
    with pytest.raises(NaturalKeyError, match="reserved"):
        key_columns.durable_keys(arrays)


def test_json_is_compared_by_value(shared_wh: Warehouse) -> None:
    limits = {"cd": {"lsl": 1, "usl": 2}, "ox": {"usl": 3}}
    step = {"process_flow_id": "JF", "step_number": "10", "control_limits": limits}
    shared_wh.merge("dim_process_step", [step], effective=day(2))
    turned = step | {"control_limits": dict(reversed(limits.items()))}
    assert shared_wh.merge("dim_process_step", [turned], effective=day(3)).versions_begun == 0
    assert shared_wh.merge("dim_process_step", [step | {"control_limits": {}}], effective=day(4)).versions_begun == 1


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({"lsl": 5, "usl": 1}, "lsl of 'cd' must be at most its usl: 5 > 1"),
        ({"lsl": 1, "lcl": 0.5, "usl": 9}, "lsl of 'cd' must be at most its lcl: 1 > 0.5"),
        ({"lcl": 1, "target": 4.0, "ucl": 3}, "target of 'cd' must be at most its ucl: 4.0 > 3"),
        ({"lsl": "5", "usl": 9}, "lsl of 'cd' must be a number"),
        ({"lsl": True, "usl": 9}, "lsl of 'cd' must be a number"),
        (7, "'cd' must be an object, with lsl, lcl, target, ucl, usl"),
    ],
)
@pytest.mark.parametrize("as_text", [False, True])
def test_limits_out_of_order_are_rejects_and_the_other_rows_are_merged(
    shared_wh: Warehouse, limits: Any, reason: str, as_text: bool
) -> None:
    flow = f"LO{limits}{as_text}"
    good = {"process_flow_id": flow, "step_number": "10", "control_limits": {"cd": {"lsl": 1, "usl": 1}}}
    wrong: Any = {"ox": {"usl": 3}, "cd": limits}
    bad = good | {"step_number": "20", "control_limits": json.dumps(wrong) if as_text else wrong}
    with pytest.raises(TooManyRejectsError, match="row 2, column control_limits"):
        shared_wh.merge("dim_process_step", [good, bad], effective=day(2), max_rejects=0)
    merged = shared_wh.merge("dim_process_step", [good, bad], effective=day(2), max_rejects=1)
    assert (merged.members_new, merged.rows_rejected) == (1, 1)
    (reject,) = shared_wh.batches.rejects(merged.batch_id).itertuples()
    assert (reject.row_number, reject.column_name, reject.reason) == (2, "control_limits", reason)
    query = "SELECT step_number FROM dw.dim_process_step WHERE process_flow_id = :flow"
    assert rows_of(shared_wh, query, flow=flow) == [("10",)]


def test_limits_may_be_one_sided_equal_or_not_there(shared_wh: Warehouse) -> None:
    sets: list[Any] = [
        {"cd": {"lsl": 1}}, {"cd": {"usl": 1}}, {"cd": {"lsl": 2, "lcl": 2, "usl": 2}}, {"cd": {"lsl": None, "usl": -1}},
        {"cd": {}}, {"cd": None}, {"cd": {"unit": "nm", "lsl": -1e-9, "target": 0, "usl": 10**20}}, None,
    ]  # fmt: skip
    rows = [{"process_flow_id": "LF", "step_number": str(n), "control_limits": each} for n, each in enumerate(sets)]
    assert shared_wh.merge("dim_process_step", rows, effective=day(2)).rows_rejected == 0


def test_loads_and_merges_of_one_dimension_at_once_all_go_through(shared_wh: Warehouse) -> None:
    def merge(number: int) -> int:
        rows = [lot(f"P{n}", owner=str(number)) for n in range(40)]
        return shared_wh.merge("dim_lot", rows, effective=day(1 + number)).versions_begun

    def load(number: int) -> int:
        rows = [measurement(lot_id=f"P{n}", product_id=f"PP{number}") for n in range(40)]
        return shared_wh.load(MEASUREMENTS, rows).rows_loaded

    with ThreadPoolExecutor(6) as pool:
        work = [pool.submit(merge if n % 2 else load, n) for n in range(8)]
        assert all(each.result() for each in work)
    for n in range(40):
        assert [row[1] for row in history(shared_wh, f"P{n}", "owner")] == ["1", "3", "5", "7"]
    check_intervals(shared_wh, "dim_lot")


def test_an_empty_frame_is_no_batch_that_stands_in_the_way(shared_wh: Warehouse) -> None:
    nothing = shared_wh.merge("dim_lot", pd.DataFrame({"lot_id": []}), effective=day(2), batch_id="empty")
    assert (nothing.rows_read, nothing.versions_begun, nothing.already_merged) == (0, 0, False)
    assert shared_wh.merge("dim_lot", [lot("EM", owner="A")], effective=day(2), batch_id="empty").members_new == 1
