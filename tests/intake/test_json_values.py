"""JSON for a JSONB column: what is encoded how, and what is refused before the server sees it."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gpwarehouse.intake.convert import convert
from gpwarehouse.intake.frames import record_batches
from gpwarehouse.intake.json_values import bad_json, check_json, json_of
from gpwarehouse.intake.target import InputColumn

COLUMN = InputColumn("parameters", pa.string(), is_json=True)
numbers = st.one_of(st.booleans(), st.integers(-(2**60), 2**60), st.floats(allow_nan=False, allow_infinity=False))
texts = st.text(max_size=4)
trees = st.recursive(
    numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
objects = st.dictionaries(texts, trees, max_size=3)


class Unit(StrEnum):
    VOLT = "V"


@settings(max_examples=60, deadline=None)
@given(objects)
def test_what_python_and_json_both_have_comes_through_unchanged(value: dict[str, Any]) -> None:
    text = json_of(value)
    assert text is not None
    assert json.loads(text) == value


@settings(max_examples=60, deadline=None)
@given(objects)
def test_the_order_of_names_makes_no_difference(value: dict[str, Any]) -> None:
    assert json_of(dict(reversed(value.items()))) == json_of(value)


@pytest.mark.parametrize("nothing", [None, math.nan, pd.NA, np.float64("nan")])
def test_no_value_is_null_of_sql_not_of_json(nothing: Any) -> None:
    assert json_of(nothing) is None


@pytest.mark.parametrize("nothing", [None, math.nan, np.float32("nan"), pd.NA, Decimal("NaN"), pd.NaT])
def test_an_entry_without_a_value_is_left_out(nothing: Any) -> None:
    assert json_of({"a": nothing, "b": 1, "deeper": {"c": nothing}}) == '{"b":1,"deeper":{}}'


def test_an_element_without_a_value_is_null() -> None:
    assert json_of([1, math.nan, None]) == "[1,null,null]"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({1010: 1.5, np.int64(7): True}, '{"1010":1.5,"7":true}'),
        ({"a": np.float64(1.5), "b": np.int32(2), "c": np.array([1, 2])}, '{"a":1.5,"b":2,"c":[1,2]}'),
        ({"d": np.bool_(True)}, '{"d":true}'),
        ({"a": Decimal("1.5"), "b": (1, 2), "u": Unit.VOLT}, '{"a":1.5,"b":[1,2],"u":"V"}'),
        ({"at": datetime(2024, 1, 1, tzinfo=UTC)}, '{"at":"2024-01-01T00:00:00+00:00"}'),
        ('{"a": 1}', '{"a": 1}'),
        (b'{"a": 1}', '{"a": 1}'),
        (bytearray(b'{"a": 1}'), '{"a": 1}'),
        (memoryview(b'{"a": 1}'), '{"a": 1}'),
    ],
)  # fmt: skip
def test_what_python_has_and_json_not_is_written_as_its_nearest(value: Any, text: str) -> None:
    assert json_of(value) == text


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"a": object()}, "holds a object"),
        ({"a": {1, 2}}, "holds a set"),
        ({("x", 1): 1}, "it holds a name of type tuple"),
        ({"a": math.inf}, "Out of range float"),
        (b'{"a": "\xff"}', "invalid start byte"),
        ("{'a': 1}", "Expecting property name"),
        ("", "Expecting value"),
        ('{"a": NaN}', "NaN is not a JSON number"),
        ('{"a": -Infinity}', "-Infinity is not a JSON number"),
        ('{"a": 1} trailing', "Extra data"),
        ('{"a": "\\u0000"}', "U+0000"),
        ('{"\\u0000": 1}', "U+0000"),
        ('{"a": "\\ud800"}', "lone surrogate"),
        ('{"a": ["\\udc00\\ud800"]}', "lone surrogate"),
        ('{"a": "\udcff"}', "lone surrogate"),
        ('{"a": 1e400}', "outside the range of a double"),
        ('{"a": 1E-400}', "outside the range of a double"),
        (f'{{"a": {"9" * 400}}}', "outside the range of a double"),
        ("[" * 100_000, "recursion"),
    ],
)
def test_what_the_server_would_refuse_is_refused_with_a_reason(value: Any, reason: str) -> None:
    text = json_of(value)
    assert text is not None
    with pytest.raises((ValueError, RecursionError), match=reason.replace("+", r"\+")):
        check_json(text)


@pytest.mark.parametrize(
    "text",
    [
        '{"a": "\\\\u0000"}',  # a backslash and five characters
        '{"a": "\\\\ud800"}',
        '{"a": "\\ud83d\\ude00"}',
        '{"a": 1e308, "b": 5e-324, "c": -0.0, "d": 0e-999, "e": 0.000}',
        '{"a": 123456789012345678901234567890}',
        ' \n\t{"a": [null, true]}',
    ],
)
def test_what_only_looks_wrong_is_taken(text: str) -> None:
    check_json(text)
    converted, bad = convert(pa.array([text]), COLUMN)
    assert json.loads(converted[0].as_py()) == json.loads(text)
    assert not bad


@pytest.mark.parametrize(
    "array",
    [
        pa.array([{"a": 1.5, "b": None}, None]),
        pa.array([[("a", 1.5), ("b", None)], None], pa.map_(pa.string(), pa.float64())),
        pa.array(['{"a":1.5}', None]),
        pa.array(['{"a":1.5}', None], pa.large_string()),
        pa.array(['{"a":1.5}', None]).dictionary_encode(),
        pa.array([b'{"a":1.5}', None]),
        pa.array([b'{"a":1.5}', None], pa.large_binary()),
        *([pa.array(['{"a":1.5}', None], pa.json_())] if hasattr(pa, "json_") else []),  # since pyarrow 19
    ],
    ids=lambda array: str(array.type),
)
def test_json_in_any_of_arrows_layouts_is_the_same_json(array: pa.Array) -> None:
    (batch,) = record_batches(pa.table({"parameters": array}), frozenset({"parameters"}))
    converted, bad = convert(batch.column(0), COLUMN)
    assert converted.to_pylist() == ['{"a":1.5}', None]
    assert not bad


def test_bad_json_is_refused_row_by_row() -> None:
    converted, bad = convert(pa.array(["{}", "{", None, "[]"]), COLUMN)
    assert converted.to_pylist() == ["{}", None, None, "[]"]
    assert list(bad) == [1]
    assert bad[1].startswith("invalid JSON: ")


BITS = st.sampled_from(
    [
        "1",
        "[",
        "]",
        "{",
        "}",
        '"',
        ",",
        ":",
        '"a":1',
        "null",
        " ",
        "\\u0000",
        "\\ud800",
        "1e999",
        "2E-999",
        "9" * 400,
        "NaN",
        "Infinity",
        "!",
        "\n",
        "{}",
        '{"a":',
        '{"b":{}}',
        "\x01",
    ]
)


IN_BRACES = st.lists(BITS, max_size=4).map(lambda bits: f"{{{''.join(bits)}}}")
"""As Arrow is asked about them."""


@given(texts=st.lists(st.text('[]{},:"\\ 1aeE.') | st.lists(BITS, max_size=6).map("".join) | IN_BRACES, max_size=12))
@example(texts=[])
def test_many_texts_at_once_are_judged_as_each_alone(texts: list[str]) -> None:
    def reason(text: str) -> str | None:
        try:
            check_json(text)
        except (ValueError, RecursionError) as error:
            return str(error)
        return None

    alone = {number: found for number, text in enumerate(texts) if (found := reason(text)) is not None}
    assert bad_json(pa.array(texts, pa.string())) == alone


def test_objects_that_are_as_many_as_lines_only_together_are_each_refused() -> None:
    assert set(bad_json(pa.array(['{} {"a":1}', "{}", '{"a":"}', "{}"]))) == {0, 2}
    assert set(bad_json(pa.array(['{"a":{}', '{"b":1}}', '{"a":[{}', "{}]}"]))) == {0, 1, 2, 3}
    assert set(bad_json(pa.array(['{"a":NaN}', '{"a":-Infinity}', '{"a":1}', '{"a":1.}', '\ufeff{"a":1}']))) == {
        0,
        1,
        3,
        4,
    }
    assert bad_json(pa.array(['{"a":\n1}', '{"a":"NaN"}', '{"a":"[[[{{{"}', '{"a":1} '])) == {}


def test_objects_nested_deeper_than_python_follows_are_refused() -> None:
    deep, many = '{"a":' + "[" * 50_000 + "]" * 50_000 + "}", '{"a":[' + ",".join(["[]"] * 5_000) + "]}"
    assert set(bad_json(pa.array([many, deep]))) == {1}


def test_texts_that_are_values_only_together_are_each_refused() -> None:
    assert set(bad_json(pa.array(["1,2", "[3", "4]"]))) == {0, 1, 2}
    assert set(bad_json(pa.array(['{"a":1}', '"b', 'c"', "[]"]))) == {1, 2}
    assert bad_json(pa.array(['{"a":1}'] * 2500 + ["{"])).keys() == {2500}


@pytest.mark.parametrize("text", ["9" * 250 + "e99", "[0." + "0" * 250 + "1e-99]", "9" * 210 + "E+99"])
def test_many_digits_and_a_short_exponent_leave_the_range_of_a_double(text: str) -> None:
    with pytest.raises(ValueError, match="outside the range of a double"):
        check_json(text)
    assert bad_json(pa.array(["1", text, "9" * 199 + "e99"])).keys() == {1}
