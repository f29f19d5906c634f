from __future__ import annotations

import csv
import json
import math
from io import StringIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpwarehouse.errors import ReadError
from gpwarehouse.read import write_csv, write_json
from gpwarehouse.warehouse import Warehouse

TEXTS = st.lists(st.none() | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")))


def as_csv(table: pa.Table) -> str:
    out = StringIO(newline="")
    assert write_csv(table.schema, [table], out) == table.num_rows
    return out.getvalue()


@given(TEXTS)
def test_csv_keeps_every_text_and_null_apart_from_the_empty_one(values: list[str | None]) -> None:
    written = as_csv(pa.table({"n": pa.array(range(len(values)), pa.int64()), "text": pa.array(values, pa.string())}))
    read = list(csv.reader(StringIO(written, newline=""), strict=True))[1:]
    assert [row[1] for row in read] == [value or "" for value in values]
    assert written.count(',""\n') >= sum(value == "" for value in values)
    assert sum(line.endswith(",") for line in written.split("\n")) >= sum(value is None for value in values)


@given(st.lists(st.floats(width=64) | st.none()), st.lists(st.floats(width=32)))
def test_numbers_keep_all_their_digits(doubles: list[float | None], singles: list[float]) -> None:
    size = min(len(doubles), len(singles))
    table = pa.table({"d": pa.array(doubles[:size], pa.float64()), "s": pa.array(singles[:size], pa.float32())})
    for row, double, single in zip(as_csv(table).splitlines()[1:], doubles, singles, strict=False):
        d, s = row.split(",")
        assert d == "" if double is None else float(d) == double or math.isnan(double)
        assert np.float32(s) == single or math.isnan(single)
        digits = s.lower().partition("e")[0].translate(str.maketrans("", "", "+-.")).strip("0")
        assert math.isnan(single) or math.isinf(single) or len(digits) <= 9  # as many as tell one float32 from another


def test_json_holds_json_as_it_is_and_refuses_two_columns_of_one_name() -> None:
    table = pa.table({"j": ['{"a": [1, 2.50]}', None], "t": ["x", '"'], "b": [b"\x01", None], "f": [1.5, math.nan]})
    out = StringIO()
    assert write_json(table.schema, [table], out, json_columns={"j"}) == 2
    assert '{"a": [1, 2.50]}' in out.getvalue()
    assert json.loads(out.getvalue()) == [
        {"j": {"a": [1, 2.5]}, "t": "x", "b": "\\x01", "f": 1.5},
        {"j": None, "t": '"', "b": None, "f": "nan"},
    ]
    doubled = pa.Table.from_arrays([pa.array([1]), pa.array([2])], ["a", "a"])
    with pytest.raises(ReadError, match="two columns are named 'a'"):
        write_json(doubled.schema, [doubled], out)


def test_an_export_is_csv_or_json_by_its_name_and_reads_back(shared_wh: Warehouse, tmp_path: Path) -> None:
    sql = """SELECT n, CASE WHEN n = 2 THEN '' WHEN n > 2 THEN 'a,"b"' END AS t, CAST('{"a": 1}' AS jsonb) AS j,
        CAST(n AS numeric(38, 10)) / 3 AS x FROM generate_series(1, 3) AS n ORDER BY n"""
    done = shared_wh.export(sql, tmp_path / "out.csv", exact_numeric=True)
    assert (done.rows, done.files) == (3, 1)
    lines = (tmp_path / "out.csv").read_text().splitlines()
    assert lines[0] == "n,t,j,x"
    assert lines[1].startswith('1,,"{""a"": 1}",0.3333333333')
    assert lines[2].startswith('2,"",')
    assert lines[3].startswith('3,"a,""b""",')
    shared_wh.export(sql, tmp_path / "out.json")
    assert [row["j"] for row in json.loads((tmp_path / "out.json").read_text())] == [{"a": 1}] * 3
    with pytest.raises(ReadError, match=r"\.parquet, \.arrow, \.csv, \.json"):
        shared_wh.export(sql, tmp_path / "out.xlsx")
