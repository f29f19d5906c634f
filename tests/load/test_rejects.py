"""Bad rows go to ``etl_reject`` with number, column and reason; above the limit nothing is loaded."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from gpwarehouse import Warehouse
from gpwarehouse.batches import ledger
from gpwarehouse.errors import InvalidInputError, TooManyRejectsError
from gpwarehouse.intake.frames import BATCH_ROWS
from tests.load.rows import DEFECTS, MEASUREMENTS, NOON, defect, measurement, scalar, stored

FIRST_OF_1980 = datetime(1980, 1, 1, tzinfo=UTC)

BAD_VALUES: list[tuple[str, Any, str]] = [
    ("event_ts", None, "missing"),
    ("event_ts", "yesterday", "'yesterday' is not a time in ISO 8601 with a time zone"),
    ("event_ts", "2024-03-05T12:00:00", "'2024-03-05T12:00:00' has no time zone"),
    ("event_ts", FIRST_OF_1980.isoformat(), "1980-01-01T00:00:00+00:00 is outside 1990-01-01 to"),
    ("event_ts", "2999-01-01T00:00:00Z", "2999-01-01T00:00:00+00:00 is outside 1990-01-01 to"),
    ("lot_id", None, "missing"),
    ("lot_id", " \t ", "missing"),
    ("lot_id", "L\x1f1", "holds U+001F, which separates the parts of a key"),
    ("lot_id", "L\x001", "holds U+0000, which text cannot"),
    ("lot_id", "L\ud8001", "cannot be read as string"),
    ("chamber_id", "A\x1fB", "holds U+001F, which separates the parts of a key"),
    ("operator_id", "\x00", "holds U+0000, which text cannot"),
    ("operator_id", "\udcff", "cannot be read as string"),
    ("operator_id", b"\xff", "cannot be read as string"),
    ("slot", "first", "'first' cannot be read as int32"),
    ("slot", 2.5, "2.5 cannot be read as int32"),
    ("slot", 2**31, "2147483648 cannot be read as int32"),
    ("slot", -1, "-1 must be at least 0"),
    ("temperature_c", "hot", "'hot' cannot be read as double"),
    ("temperature_c", -273.15, "-273.15 must be more than -273.15"),
    ("quality_score", 100.5, "100.5 must be at most 100"),
    ("pressure_torr", math.inf, "inf is not a finite number"),
    ("sample_mean", "-Infinity", "-inf is not a finite number"),
    ("measurement_type", "track", "'track' is not one of TRACK, FDC, METROLOGY"),
    ("is_rework", "maybe", "'maybe' cannot be read as bool"),
    ("parameters", "{'a': 1}", "invalid JSON: Expecting property name"),
    ("parameters", "[1]", "'[1]' must be a JSON object"),
    ("parameters", "null", "'null' must be a JSON object"),
    ("parameters", {"a": object()}, "invalid JSON: it holds a object, which JSON does not have"),
    ("parameters", '{"a": "\\ud800"}', "invalid JSON: it holds a lone surrogate"),
    ("parameters", {"a": math.inf}, "invalid JSON: Out of range float"),
    ("source_record_no", None, "missing"),
]


@pytest.mark.parametrize(("column", "value", "reason"), BAD_VALUES, ids=[f"{c}-{v!r:.20}" for c, v, _ in BAD_VALUES])
def test_a_bad_value_rejects_its_row_and_no_other(shared_wh: Warehouse, column: str, value: Any, reason: str) -> None:
    number = BAD_VALUES.index((column, value, reason)) * 10
    rows = [measurement(source_record_no=number + n) for n in range(3)]
    rows[1][column] = value
    result = shared_wh.load(MEASUREMENTS, rows, max_rejects=1)
    assert (result.rows_read, result.rows_loaded, result.rows_rejected) == (3, 2, 1)
    assert stored(shared_wh, MEASUREMENTS, result.batch_id, "source_record_no") == [(number,), (number + 2,)]
    rejects = shared_wh.batches.rejects(result.batch_id)
    assert (rejects.row_number[0], rejects.column_name[0]) == (2, column)
    assert reason in rejects.reason[0]
    raw = json.loads(rejects.raw[0])
    assert raw["step_number"] == "100"
    assert column in raw


def test_key_parts_are_stripped_of_blanks_and_nothing_else(shared_wh: Warehouse) -> None:
    rows = [measurement(lot_id=" SL1\t", wafer_id=" 7 ", equipment_id="\nTool a ", chamber_id=" C ")]
    result = shared_wh.load(MEASUREMENTS, rows)
    names = "SELECT {} FROM dw.fact_process_measurements f JOIN dw.{} d ON {} WHERE f.batch_id = :batch"
    for columns, table, on, expected in (
        ("d.lot_id", "dim_lot", "d.lot_key = f.lot_key", "SL1"),
        ("d.wafer_id", "dim_wafer", "d.wafer_key = f.wafer_key", "07"),
        ("d.equipment_id", "dim_equipment", "d.equipment_key = f.equipment_key", "Tool a"),
        ("d.chamber_id", "dim_equipment", "d.equipment_key = f.chamber_key", "C"),
    ):
        assert scalar(shared_wh, names.format(columns, table, on), batch=result.batch_id) == expected


def test_rows_of_all_kinds_of_faults_are_counted_and_kept_with_what_they_were(shared_wh: Warehouse) -> None:
    frame = pd.DataFrame(
        {
            "event_ts": pd.to_datetime(["2024-03-05T12:00Z", None, "2024-03-05T13:00Z", "1970-01-01T00:00Z"]),
            "lot_id": ["K1", "K1", "K1", "K1"],
            "slot": [1.0, 2.0, 2.5, None],
            "parameters": [{"a": 1}, None, {"b": 2}, "{"],
        }
    )
    result = shared_wh.load(MEASUREMENTS, frame, max_rejects=0.75)
    assert (result.rows_loaded, result.rows_rejected) == (1, 3)
    rejects = shared_wh.batches.rejects(result.batch_id)
    assert rejects.row_number.tolist() == [2, 3, 4]
    assert rejects.column_name.tolist() == ["event_ts", "slot", "event_ts"]
    assert json.loads(rejects.raw[1]) == {
        "event_ts": "2024-03-05T13:00:00+00:00",
        "lot_id": "K1",
        "slot": 2.5,
        "parameters": '{"b":2}',
    }


def test_a_reject_can_hold_what_python_and_json_cannot(shared_wh: Warehouse) -> None:
    moments = pa.array([2**62, None], pa.timestamp("us", "UTC"))
    structs = pa.array([{"a": math.nan, "b": math.inf}, None])
    table = pa.table(
        {
            "event_ts": pa.array([NOON, NOON], pa.timestamp("us", "UTC")),
            "lot_id": ["R1", "R1"],
            "start_ts": moments,
            "parameters": structs,
            "operator_id": pa.array([b"\xff\x00", None]),
        }
    )
    result = shared_wh.load(MEASUREMENTS, table, max_rejects=1)
    raw = json.loads(shared_wh.batches.rejects(result.batch_id).raw[0])
    assert raw["parameters"] == '{"a": NaN, "b": Infinity}'
    assert raw["operator_id"] == "\\xff\ufffd"
    assert str(2**62) in raw["start_ts"]


def test_as_many_rejects_as_allowed_are_loaded_with(wh: Warehouse) -> None:
    rows = [measurement(source_record_no=n, slot=-1 if n < 3 else 1) for n in range(10)]
    result = wh.load(MEASUREMENTS, rows, max_rejects=3)
    assert (result.rows_loaded, result.rows_rejected) == (7, 3)


def test_above_the_limit_nothing_is_loaded_and_the_corrected_frame_loads(wh: Warehouse) -> None:
    rows = [measurement(source_record_no=n, slot=-1 if n < 4 else 1) for n in range(10)]
    with pytest.raises(
        TooManyRejectsError,
        match=r"fact_process_measurements: 4 of 10 rows were rejected, but only 3 are allowed; nothing was loaded. "
        r"First: row 1, column slot: -1 must be at least 0",
    ):
        wh.load(MEASUREMENTS, rows, max_rejects=3, batch_id="b1")
    assert scalar(wh, "SELECT count(*) FROM dw.fact_process_measurements") == 0
    assert scalar(wh, "SELECT count(*) FROM dw.dim_lot WHERE lot_id = 'L1'") == 0
    assert batch_row(wh, "b1") == ("FAILED", 10, 0, 4)
    assert wh.batches.rejects("b1").row_number.tolist() == [1, 2, 3, 4]

    result = wh.load(MEASUREMENTS, [row | {"slot": 1} for row in rows], batch_id="b1")
    assert (result.rows_loaded, result.already_loaded) == (10, False)
    assert batch_row(wh, "b1") == ("LOADED", 10, 10, 0)
    assert wh.batches.rejects("b1").empty
    assert scalar(wh, "SELECT count(*) FROM dw.etl_load_batch") == 1


def batch_row(wh: Warehouse, batch_id: str) -> tuple[Any, ...]:
    found = wh.read(
        "SELECT status, rows_read, rows_loaded, rows_rejected FROM dw.etl_load_batch WHERE batch_id = :id", id=batch_id
    )
    return tuple(found.iloc[0])


def test_the_same_frame_may_be_tried_again_with_another_limit(wh: Warehouse) -> None:
    rows = [measurement(source_record_no=n, slot=-n) for n in range(4)]
    with pytest.raises(TooManyRejectsError):
        wh.load(MEASUREMENTS, rows, max_rejects=2)
    result = wh.load(MEASUREMENTS, rows, max_rejects=3)
    assert (result.rows_loaded, result.rows_rejected) == (1, 3)
    assert wh.load(MEASUREMENTS, rows, max_rejects=0).already_loaded


def test_a_share_of_a_few_rows_allows_no_reject(wh: Warehouse) -> None:
    rows = [measurement(slot=-1 if n == 3 else n) for n in range(100)]
    with pytest.raises(TooManyRejectsError, match="1 of 10 rows were rejected, but only 0 are allowed"):
        wh.load(MEASUREMENTS, rows[:10])
    assert wh.load(MEASUREMENTS, rows).rows_rejected == 1


@pytest.mark.parametrize("limit", [1, 100])
def test_nothing_loaded_of_rows_that_were_read_is_an_error_whatever_is_allowed(wh: Warehouse, limit: int) -> None:
    message = r"the only row was rejected; nothing was loaded\. First: row 1, column slot: -1 must be .*batches.rejects"
    with pytest.raises(TooManyRejectsError, match=message):
        wh.load(MEASUREMENTS, [measurement(slot=-1)], max_rejects=limit, batch_id="one")
    assert batch_row(wh, "one") == ("FAILED", 1, 0, 1)
    assert wh.batches.rejects("one").row_number.tolist() == [1]
    assert scalar(wh, "SELECT count(*) FROM dw.dim_lot WHERE lot_id = 'L1'") == 0
    rows = [measurement(slot=-1), measurement(cp=1.0, cpk=2.0), measurement(cp=1.0, cpk=2.0)]  # two by the server
    with pytest.raises(TooManyRejectsError, match=r"row 1, column slot: .*; row 2: refused by the server: .*cpk_cp"):
        wh.load(MEASUREMENTS, rows, max_rejects=3 * limit, batch_id="three")
    assert wh.batches.rejects("three").row_number.tolist() == [1, 2, 3]
    assert wh.load(MEASUREMENTS, [], batch_id="none").rows_read == 0


def test_the_rejects_of_no_batch_are_an_error(shared_wh: Warehouse) -> None:
    for as_given in (False, True):
        with pytest.raises(InvalidInputError, match=r"there is no batch 'nobody'; wh.batches.list\(\) lists them"):
            shared_wh.batches.rejects("nobody", as_given=as_given)


@pytest.mark.parametrize("limit", [-1, 1.0, 1.5, math.nan, True, "5%"])
def test_a_limit_that_is_none_is_refused(shared_wh: Warehouse, limit: Any) -> None:
    with pytest.raises(InvalidInputError, match="max_rejects="):
        shared_wh.load(MEASUREMENTS, [measurement()], max_rejects=limit)


def test_rejects_of_a_wrong_file_are_kept_up_to_a_limit(wh: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "REJECTS_KEPT", 5)
    rows = [defect(die_x="x") for _ in range(20)]
    with pytest.raises(TooManyRejectsError, match="20 of 20"):
        wh.load(DEFECTS, rows, batch_id="wrong")
    assert wh.batches.rejects("wrong").row_number.tolist() == [1, 2, 3, 4, 5]
    assert batch_row(wh, "wrong") == ("FAILED", 20, 0, 20)


def test_rows_are_numbered_through_all_batches(shared_wh: Warehouse) -> None:
    size = BATCH_ROWS + 10
    slots = [1] * size
    slots[5] = slots[BATCH_ROWS + 5] = -1
    table = pa.table({"event_ts": pa.repeat(pa.scalar(NOON), size), "lot_id": pa.repeat("N1", size), "slot": slots})
    result = shared_wh.load(MEASUREMENTS, table, max_rejects=2)
    assert shared_wh.batches.rejects(result.batch_id).row_number.tolist() == [6, BATCH_ROWS + 6]
    found = scalar(
        shared_wh,
        "SELECT count(*) FROM dw.fact_process_measurements WHERE batch_id = :batch AND source_record_no IN (6, :other)",
        batch=result.batch_id,
        other=BATCH_ROWS + 6,
    )
    assert found == 0


def test_a_column_that_may_not_be_null_takes_its_default(shared_wh: Warehouse) -> None:
    rows = [measurement(spc_rule="d1"), measurement(spc_rule="d2", visit_no=None, site_no=3)]
    result = shared_wh.load(MEASUREMENTS, rows)
    assert stored(shared_wh, MEASUREMENTS, result.batch_id, "visit_no", "site_no") == [(1, 0), (1, 3)]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            [measurement(wafer_key=5)],
            "the loader computes column 'wafer_key'.*give lot_id, wafer_id instead|root",
        ),
        ([measurement(time_key=5)], "the loader computes column 'time_key'.*give event_ts instead"),
        ([measurement(temprature_c=5)], "unknown column 'temprature_c'; did you mean 'temperature_c'"),
        ([{"lot_id": "L1"}], "the frame does not have column 'event_ts', which is required"),
        ([{"event_ts": NOON}], "the frame does not have column 'lot_id', which is required"),
    ],
)
def test_a_frame_with_wrong_columns_is_refused_as_a_whole(
    shared_wh: Warehouse, rows: list[dict[str, Any]], message: str
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        shared_wh.load(MEASUREMENTS, rows)


def test_an_unknown_fact_is_refused_with_those_there_are(shared_wh: Warehouse) -> None:
    with pytest.raises(InvalidInputError, match="there is no fact 'fact_nothing'; the facts are fact_process_meas"):
        shared_wh.load("fact_nothing", [measurement()])
