"""Measured values go to arrays, whatever frame brings them; lists say what they are; nothing else of a row is lost."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import text

from gpwarehouse import Warehouse
from gpwarehouse.errors import InvalidInputError, KeyCollisionError, TooManyRejectsError
from gpwarehouse.load import streaming
from gpwarehouse.models.parameter_sets import MOST_PARAMETERS, Parameter, ParameterSet
from tests.load.rows import MEASUREMENTS, measurement, scalar

TESTS = "fact_test_results"
GIVEN: list[dict[str, Any] | None] = [
    {"vth": 0.4, "1100": 7, "serial": "A7", "big": 2**60 + 1},
    None,
    {"vth": 0.1 + 0.2, "ok": True},
    {"only": "text"},
    {},
    {"vth": -1e-9, "1100": math.nan},
]
VALUES = [{"vth": 0.4, "1100": 7.0}, {}, {"vth": 0.1 + 0.2}, {}, {}, {"vth": -1e-9}]
REST = [{"serial": "A7", "big": 2**60 + 1}, None, {"ok": True}, {"only": "text"}, None, None]


def rows(given: list[dict[str, Any] | None], **values: Any) -> list[dict[str, Any]]:
    return [measurement(parameters=each, **values, source_record_no=n) for n, each in enumerate(given, 1)]


def found(wh: Warehouse, batch_id: str, target: str = MEASUREMENTS) -> list[tuple[dict[str, float], Any]]:
    """Of each row of a batch the values by their names, and what else stands in ``parameters``."""
    columns = "parameter_set_key AS k, measured AS m, parameters AS p"
    query = f"SELECT {columns} FROM dw.{target} WHERE batch_id = :b ORDER BY source_record_no"
    names: dict[int, list[str]] = {}
    with wh.engine.connect() as connection:
        lists = "SELECT parameter_set_key, parameter FROM dw.bridge_parameter_set ORDER BY parameter_set_key, position"
        for key, name in connection.execute(text(lists)):
            names.setdefault(key, []).append(name)
        stored = connection.execute(text(query), {"b": batch_id}).all()
    assert all((row.k is None) is (row.m is None) for row in stored)
    return [
        ({n: v for n, v in zip(names[row.k], row.m, strict=True) if v == v} if row.k is not None else {}, row.p)
        for row in stored
    ]


def table(data: list[dict[str, Any]]) -> pa.Table:
    fields = [
        ("vth", pa.float64()),
        ("1100", pa.float64()),
        ("serial", pa.string()),
        ("big", pa.int64()),
        ("ok", pa.bool_()),
    ]
    kind = pa.struct([*fields, ("only", pa.string())])
    other = pa.Table.from_pylist([{name: value for name, value in row.items() if name != "parameters"} for row in data])
    return other.append_column("parameters", pa.array([row["parameters"] for row in data], kind))


def texts(data: list[dict[str, Any]]) -> pd.DataFrame:
    def encode(value: dict[str, Any] | None) -> str | None:
        return None if value is None else json.dumps({n: v for n, v in value.items() if v == v}, indent=1)

    return pd.DataFrame([row | {"parameters": encode(row["parameters"])} for row in data])


KINDS: list[Callable[[list[dict[str, Any]]], Any]] = [
    list,
    table,
    texts,
    lambda data: pl.from_arrow(table(data)),
    lambda data: pd.DataFrame({name: pd.Series([row[name] for row in data], dtype=object) for name in data[0]}),
    lambda data: table(data).to_pandas(types_mapper=pd.ArrowDtype),
]
IDS = ["dicts", "struct", "texts", "polars", "objects", "pandas"]


@pytest.mark.parametrize("kind", KINDS, ids=IDS)
def test_numbers_of_parameters_are_values_and_everything_else_stays(shared_wh: Warehouse, kind: Any) -> None:
    number = KINDS.index(kind) + 10
    result = shared_wh.load(MEASUREMENTS, kind(rows(GIVEN, visit_no=number)))
    assert found(shared_wh, result.batch_id) == list(zip(VALUES, REST, strict=True))
    assert (result.rows_loaded, result.values_stored, result.values_left_out) == (6, 4, 0)


def test_a_map_brings_values_as_dicts_do(shared_wh: Warehouse) -> None:
    given = [{"a": 1.5, "b": None}, None, {"b": 2.0}, {}]
    frame = pa.Table.from_pylist([measurement(source_record_no=n, visit_no=2) for n in range(4)])
    maps = pa.array([None if g is None else list(g.items()) for g in given], pa.map_(pa.string(), pa.float64()))
    result = shared_wh.load(MEASUREMENTS, frame.append_column("parameters", maps))
    assert [values for values, _ in found(shared_wh, result.batch_id)] == [{"a": 1.5}, {}, {"b": 2.0}, {}]
    dicts = [measurement(source_record_no=n, visit_no=2, parameters=g) for n, g in enumerate(given)]
    assert shared_wh.load(MEASUREMENTS, dicts).already_loaded  # the same content, whatever holds it


def test_digits_that_no_double_holds_are_kept(shared_wh: Warehouse) -> None:
    given = '{"long": 0.1234567890123456789, "huge": 123456789012345678901234567890, "short": 1.50}'
    result = shared_wh.load(MEASUREMENTS, rows([given], visit_no=3))  # type: ignore[list-item]
    assert found(shared_wh, result.batch_id)[0][0] == {"short": 1.5}
    query = "SELECT CAST(parameters AS text) FROM dw.fact_process_measurements WHERE batch_id = :b"
    kept = json.loads(scalar(shared_wh, query, b=result.batch_id), parse_float=Decimal)
    assert kept == {"long": Decimal("0.1234567890123456789"), "huge": 123456789012345678901234567890}


def wide(count: int = 4, **columns: Any) -> pd.DataFrame:
    rows = pd.DataFrame([measurement(source_record_no=n) for n in range(1, count + 1)])
    return rows.assign(**columns)


def test_columns_of_a_prefix_are_values(shared_wh: Warehouse, tmp_path: Path) -> None:
    columns = {
        "p_x": [1.5, math.nan, 3.0, math.nan], "p_n": [1, 2, 3, 4], "p_t": ["7", "0012", None, "x"],
        "p_big": [2**53 + 1, 1, 2, 3],
    }  # fmt: skip
    expected = [
        ({"x": 1.5, "n": 1.0, "t": 7.0}, {"big": 2**53 + 1}),
        ({"n": 2.0, "big": 1.0}, {"t": "0012"}),
        ({"x": 3.0, "n": 3.0, "big": 2.0}, None),
        ({"n": 4.0, "big": 3.0}, {"t": "x"}),
    ]
    frame = wide(**columns, visit_no=4)
    result = shared_wh.load(MEASUREMENTS, frame, parameter_prefix="p_")
    assert found(shared_wh, result.batch_id) == expected
    assert result.values_stored == 10
    frame["visit_no"] = 5
    pq.write_table(pa.Table.from_pandas(frame), tmp_path / "wide.parquet")
    file = shared_wh.load_file(tmp_path / "wide.parquet", target=MEASUREMENTS, parameter_prefix="p_")
    assert found(shared_wh, file.batch_id) == expected
    frame["visit_no"] = 6
    frame.to_csv(tmp_path / "wide.csv", index=False)
    file = shared_wh.load_file(tmp_path / "wide.csv", target=MEASUREMENTS, parameter_prefix="p_")
    assert found(shared_wh, file.batch_id) == expected


def test_lists_with_names_are_values(shared_wh: Warehouse) -> None:
    lists = [[1.0, math.nan, 3.0], None, (4, 5, 6), np.array([math.nan, 8.0, 9.0])]
    result = shared_wh.load(MEASUREMENTS, wide(measured=lists, visit_no=7), parameter_names=["z", "7", "a"])
    expected = [{"z": 1.0, "a": 3.0}, {}, {"z": 4.0, "7": 5.0, "a": 6.0}, {"7": 8.0, "a": 9.0}]
    assert [values for values, _ in found(shared_wh, result.batch_id)] == expected
    query = "SELECT test_number FROM dw.bridge_parameter_set WHERE parameter = '7' LIMIT 1"
    assert scalar(shared_wh, query) == 7
    again = wide(measured=lists, visit_no=8).drop(columns="measured")
    arrays = pa.Table.from_pandas(again).append_column(
        "measured", pa.array([None if v is None else list(v) for v in lists], pa.large_list(pa.float64()))
    )
    other = shared_wh.load(MEASUREMENTS, arrays, parameter_names=["z", "7", "a"])
    assert [values for values, _ in found(shared_wh, other.batch_id)] == expected


def test_rows_that_were_read_are_loaded_under_their_list(shared_wh: Warehouse) -> None:
    first = shared_wh.load(MEASUREMENTS, rows(GIVEN, visit_no=30))
    query = "SELECT parameter_set_key, measured FROM dw.fact_process_measurements WHERE batch_id = :b ORDER BY source_record_no"
    read = shared_wh.read(query, b=first.batch_id)
    frame = wide(6, visit_no=31).assign(parameter_set_key=read.parameter_set_key, measured=read.measured)
    again = shared_wh.load(MEASUREMENTS, frame)
    assert [values for values, _ in found(shared_wh, again.batch_id)] == VALUES


@pytest.mark.parametrize(
    ("frame", "options", "words"),
    [
        (wide(measured=[[1.0]] * 4), {}, "nothing says what they are"),
        (wide(measured=[[1.0]] * 4, parameter_set_key=5), {}, "parameter_set_key 5 is not in bridge_parameter_set"),
        (wide(measured=[[1.0, 2.0]] * 4), {"parameter_names": ["a"]}, "has 2 values, but parameter_names has 1"),
        (wide(p_a=1.0, measured=[[1.0]] * 4), {"parameter_prefix": "p_"}, "'measured' is made of the frame's values"),
        (wide(p_a="x", parameters=None), {"parameter_prefix": "p_"}, "values that are no numbers"),
        (wide(p_=1.0), {"parameter_prefix": "p_"}, "cannot be the name of a parameter"),
        (wide(q=1.0), {"parameter_prefix": "p_"}, "unknown column 'q'"),
        (wide(), {"parameter_prefix": "p_", "parameter_names": ["a"]}, "give one of them"),
        (wide(), {"parameter_names": "abc"}, "give a list of texts"),
        (wide(measured=[[1.0, 2.0]] * 4), {"parameter_names": ["a", "a"]}, "two parameters are named 'a'"),
    ],
)
def test_what_does_not_fit_is_refused(shared_wh: Warehouse, frame: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        shared_wh.load(MEASUREMENTS, frame, **options)


def test_a_fact_without_measured_values_has_no_parameters(shared_wh: Warehouse) -> None:
    with pytest.raises(InvalidInputError, match="fact_defect_inspection has no column 'measured'"):
        shared_wh.load("fact_defect_inspection", wide(p_a=1.0), parameter_prefix="p_")
    with pytest.raises(InvalidInputError, match="parameter_prefix= is about the columns of a frame"):
        shared_wh.load_file("x.stdf", parameter_prefix="p_")


def test_a_list_is_stored_once_and_known_by_its_content(wh: Warehouse) -> None:
    def load(number: int) -> Any:
        return wh.load(MEASUREMENTS, rows([{"a": number, "b": 1}, {"c": 2}], visit_no=number))

    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(load, range(1, 9)))
    assert [result.values_stored for result in results] == [3] * 8
    expected = ParameterSet.of([Parameter("a"), Parameter("b"), Parameter("c")])
    query = "SELECT parameter_set_key, position, parameter, batch_id FROM bridge_parameter_set ORDER BY position"
    stored = wh.read(query)
    assert set(stored.parameter_set_key) == {expected.key}
    assert list(zip(stored.position, stored.parameter, strict=True)) == [(1, "a"), (2, "b"), (3, "c")]
    assert stored.batch_id.isin([result.batch_id for result in results]).all()


def test_two_lists_under_one_key_are_an_error(wh: Warehouse) -> None:
    key = ParameterSet.of([Parameter("a")]).key
    with wh.engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO dw.bridge_parameter_set (parameter_set_key, position, parameter) VALUES (:key, 1, 'other')"
            ),
            {"key": key},
        )
    with pytest.raises(KeyCollisionError, match=r"'other'.*stored.*'a'.*to load"):
        wh.load(MEASUREMENTS, rows([{"a": 1}]))
    assert scalar(wh, "SELECT count(*) FROM dw.fact_process_measurements") == 0


def test_infinite_values_reject_their_rows(shared_wh: Warehouse) -> None:
    frame = wide(p_a=[1.0, math.inf, 3.0, 4.0], p_b=[1.0, 2.0, 3.0, -math.inf], visit_no=9)
    result = shared_wh.load(MEASUREMENTS, frame, parameter_prefix="p_", max_rejects=2)
    rejects = shared_wh.batches.rejects(result.batch_id)
    assert rejects.reason.tolist() == [
        "inf at position 1 is not a finite number",
        "-inf at position 2 is not a finite number",
    ]
    assert (result.rows_loaded, result.values_stored) == (2, 4)


def test_rejects_tell_the_values_as_they_came_and_are_loaded_again(shared_wh: Warehouse) -> None:
    """Of arrays that were made of names, the names are told: a list need not be known to load them again."""
    frame = wide(p_a=[1.0, 2.0, 3.0, math.nan], p_s=["x", "y", None, None], slot=[1, -1, 3, -4], visit_no=50)
    result = shared_wh.load(MEASUREMENTS, frame, parameter_prefix="p_", max_rejects=2)
    told = shared_wh.batches.rejects(result.batch_id, as_given=True)
    assert json.loads(told.parameters[0]) == {"a": 2.0, "s": "y"}
    assert "measured" not in told.columns or told.measured.isna().all()
    again = shared_wh.batches.reload(result.batch_id, lambda rejects: rejects.assign(slot=5))
    assert (again.rows_loaded, again.values_stored) == (2, 1)
    values = found(shared_wh, result.batch_id)
    assert [each for each, _ in values] == [{"a": 1.0}, {"a": 2.0}, {"a": 3.0}, {}]


def test_what_the_server_refuses_is_told_as_it_came(wh: Warehouse) -> None:
    wh_table = "dw.fact_process_measurements"
    with wh.engine.begin() as connection:
        connection.execute(text(f"ALTER TABLE {wh_table} ADD CONSTRAINT own CHECK (slot < 20)"))
    given = [{"a": 1.5, "s": "x"}, {"a": 2.5, "s": "y"}]
    frame = [
        measurement(slot=slot, parameters=p, source_record_no=slot) for slot, p in zip((1, 21), given, strict=True)
    ]
    result = wh.load(MEASUREMENTS, frame, max_rejects=1)
    assert (result.rows_loaded, result.rows_rejected, result.values_stored) == (1, 1, 1)
    raw = json.loads(wh.batches.rejects(result.batch_id).raw[0])
    assert json.loads(raw["parameters"]) == {"a": 2.5, "s": "y"}
    assert not {"measured", "parameter_set_key"} & raw.keys()


def unit(**values: Any) -> dict[str, Any]:
    return {
        "event_ts": "2024-03-05T12:00:00Z", "lot_id": "L1", "wafer_id": "02", "test_type": "CP", "test_stage": "CP1",
        "die_x": 1, "die_y": 1, "insertion_no": 1, "retest_no": 0,
    } | values  # fmt: skip


def test_an_upsert_replaces_all_that_is_said_of_the_values_or_nothing(wh: Warehouse) -> None:
    made = ParameterSet.of([Parameter("a"), Parameter("b")])
    wh.load(TESTS, [unit(parameters={"a": 1, "b": 2})])
    said = {"verdicts": "PF", "failed": [2], "own_limits": {"1": {"lsl": 0}}, "parameters": {"t": "x"}}
    row = unit(parameter_set_key=made.key, measured=[1.5, 2.5], **said)
    assert wh.facts.upsert(TESTS, [row]).values_stored == 2
    columns = "parameter_set_key, measured, verdicts, failed, own_limits, parameters, hard_bin"

    def stored() -> tuple[Any, ...]:
        with wh.engine.connect() as connection:
            return tuple(connection.execute(text(f"SELECT {columns} FROM dw.{TESTS}")).one())

    whole = (made.key, [1.5, 2.5], "PF", [2], {"1": {"lsl": 0}}, {"t": "x"})
    assert stored() == (*whole, None)
    wh.facts.upsert(TESTS, [unit(hard_bin=7)])
    assert stored() == (*whole, 7)
    wh.facts.upsert(TESTS, [unit(parameters={"c": 3, "s": "y"})])
    assert stored() == (ParameterSet.of([Parameter("c")]).key, [3.0], None, None, None, {"s": "y"}, 7)
    wh.facts.upsert(TESTS, pd.DataFrame([unit(p_d=4.0)]), parameter_prefix="p_")
    assert stored() == (ParameterSet.of([Parameter("d")]).key, [4.0], None, None, None, None, 7)
    wh.facts.upsert(TESTS, [unit(p_d=5.0), unit(die_x=2, hard_bin=1)], parameter_prefix="p_")
    assert scalar(wh, f"SELECT measured[1] FROM dw.{TESTS} WHERE die_x = 1") == 5.0
    wh.facts.upsert(TESTS, [unit(parameters=None)])
    assert scalar(wh, f"SELECT count(*) FROM dw.{TESTS} WHERE die_x = 1 AND measured IS NULL AND verdicts IS NULL") == 1


def test_a_month_is_replaced_with_its_values(wh: Warehouse) -> None:
    wh.load(MEASUREMENTS, rows([{"a": 1}]))
    result = wh.facts.replace_month(MEASUREMENTS, "2024-03", wide(p_b=[1.0, 2.0, 3.0, 4.0]), parameter_prefix="p_")
    assert (result.rows_loaded, result.rows_replaced, result.values_stored) == (4, 1, 4)
    assert [values for values, _ in found(wh, result.batch_id)] == [{"b": value} for value in (1.0, 2.0, 3.0, 4.0)]


def test_a_load_that_streams_makes_its_lists(wh: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "STREAM_ROWS", 3)
    data = [{} for _ in range(3)] + [{"a": 1.5, "n": "x"}]
    frame = pd.DataFrame(rows(data)).astype({"parameters": object})
    frame["parameters"] = pd.array([json.dumps(each) for each in data], "string")
    wh.load(MEASUREMENTS, rows([{"z": 1}]))  # makes the month
    result = wh.load(MEASUREMENTS, frame, batch_id="streamed")
    assert (result.rows_loaded, result.values_stored) == (4, 1)
    assert "prepare" not in result.phase_seconds  # it was streamed
    assert found(wh, "streamed")[3] == ({"a": 1.5}, {"n": "x"})


@pytest.mark.parametrize("width", [2000, MOST_PARAMETERS])
def test_thousands_of_values_a_row_are_loaded_and_read(shared_wh: Warehouse, width: int) -> None:
    rows = 40
    matrix = np.random.default_rng(width).normal(size=(rows, width)) * 1e-6
    matrix[3, 5] = math.nan
    names = [f"s{n}" for n in range(width)]
    frame = wide(rows, visit_no=width)
    frame = pd.concat([frame, pd.DataFrame(matrix, columns=[f"p_{name}" for name in names])], axis=1)
    result = shared_wh.load(MEASUREMENTS, frame, parameter_prefix="p_")
    assert result.values_stored == rows * width - 1
    positions = np.argsort(np.array(names, dtype=object))
    for where in ("", " ORDER BY source_record_no"):
        query = (
            f"SELECT source_record_no AS n, measured AS m FROM dw.fact_process_measurements WHERE batch_id = :b{where}"
        )
        read = shared_wh.read(query, b=result.batch_id, arrow=True).sort_by("n")
        values = np.concatenate([np.asarray(chunk.flatten()) for chunk in read["m"].chunks]).reshape(rows, width)
        assert np.array_equal(values, matrix[:, positions], equal_nan=True)


def test_more_values_than_a_list_holds_are_refused(shared_wh: Warehouse) -> None:
    names = [f"s{n}" for n in range(20_000)]
    with pytest.raises(InvalidInputError, match=f"20000 parameters are more than the {MOST_PARAMETERS}"):
        shared_wh.load(MEASUREMENTS, wide(measured=[[1.0] * 20_000] * 4), parameter_names=names)


def test_rejected_arrays_of_a_known_list_stay_arrays(shared_wh: Warehouse) -> None:
    made = ParameterSet.of([Parameter("a", 5, unit="V", lsl=0.0)])
    with shared_wh.engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO dw.bridge_parameter_set (parameter_set_key, position, parameter, test_number, unit, lsl) "
                "VALUES (:key, 1, 'a', 5, 'V', 0)"
            ),
            {"key": made.key},
        )
    frame = wide(measured=[[1.0], [2.0], None, [math.nan]], parameter_set_key=made.key, slot=[1, -1, 2, 3], visit_no=51)
    result = shared_wh.load(MEASUREMENTS, frame, max_rejects=1)
    again = shared_wh.batches.reload(result.batch_id, lambda rejects: rejects.assign(slot=5))
    assert (again.rows_loaded, again.values_stored) == (1, 1)
    query = "SELECT measured FROM dw.fact_process_measurements WHERE batch_id = :b AND source_record_no = 2"
    assert scalar(shared_wh, query, b=result.batch_id) == [2.0]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ([1.0, "x"], "is no list that can be read as list"),
        ("abc", "is no list"),
        ([True], "is no list"),
        (5, "is no list"),
    ],
)
def test_what_is_no_list_of_numbers_rejects_its_row(shared_wh: Warehouse, value: Any, reason: str) -> None:
    data = [measurement(measured=value), measurement(parameters={"a": 1})]
    with pytest.raises(TooManyRejectsError, match=reason):
        shared_wh.load(MEASUREMENTS, data)
