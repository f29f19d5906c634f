"""Every number of a JSON object goes to one place: to a double that holds it, or back into the object with all its digits."""

from __future__ import annotations

import json
import math
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpwarehouse.intake.json_numbers import held_by_doubles, take_numbers
from gpwarehouse.intake.json_objects import objects_of
from gpwarehouse.intake.json_values import json_of
from tests.values import NASTY_FLOATS, characters, floats

LARGE = 2**53
numbers = (
    floats.map(repr)
    | st.integers(-(2**70), 2**70).map(str)
    | st.decimals(-(10**6), 10**6, places=20).map(lambda value: f"{value:f}")
    | st.sampled_from(["1.50", "-0", "-0.0", "1E+5", "12e-3", "0.1000000000000000055", "9007199254740993", "4.9e-324"])
)
others = st.sampled_from(['"x"', '"a,b:{}"', '"q\\"u"', "true", "null", "[1,2.50]", '{"k":1e5}', '""', '"7"'])
names = st.sampled_from(["a", "b", "1100", "", "ä", 'q"', "a b", "x,y", "007"]) | st.text(characters, max_size=3)
blanks = st.sampled_from(["", " ", "\n", "  "])
objects = st.lists(st.tuples(names, numbers | others, blanks, blanks), max_size=6).map(
    lambda entries: "{" + ",".join(f"{a}{json.dumps(n)}:{b}{v}{a}" for n, v, a, b in entries) + "}"
)


class Digits(str):
    """A number as it stands."""

    __slots__ = ()


def digits(text: str) -> Any:
    """A document with its numbers as they stand; the last entry of a name counts."""
    return json.loads(text, parse_float=Digits, parse_int=Digits)


@given(st.lists(objects, min_size=1, max_size=12))
def test_each_entry_is_found_once(texts: list[str]) -> None:
    found = take_numbers(pa.array(texts, pa.string()))
    taken: list[dict[str, float]] = [{} for _ in texts]
    for row, place, value in zip(found.rows, found.places, found.values, strict=True):
        name = found.names[int(place)].as_py()
        assert name not in taken[row]
        taken[row][name] = float(value)
    for text, numbers_of_row, rest in zip(texts, taken, found.rest.to_pylist(), strict=True):
        left = digits(rest) if rest is not None else {}
        assert rest != "{}"
        assert not left.keys() & numbers_of_row.keys()
        given_entries = digits(text)
        assert given_entries.keys() == left.keys() | numbers_of_row.keys()
        for name, entry in given_entries.items():
            if name in left:
                assert left[name] == entry
                assert not (isinstance(entry, Digits) and can_name(name) and is_held(entry))
            else:
                assert is_held(entry)
                assert float(entry) == numbers_of_row[name]


def can_name(name: str) -> bool:
    return bool(name) and not set(name) & {"\x1e", "\x1f", "\0"}


def is_held(text: str) -> bool:
    """Whether a double holds a number, by its definition."""
    number, value = Decimal(text), float(text)
    count = max(len("".join(map(str, number.as_tuple().digits)).strip("0")), 1)
    is_large = abs(value) > LARGE and not set(text) & set(".eE")
    is_same = count <= 17 and Decimal(f"{value:.{count - 1}e}") == number
    return not is_large and (is_same or Decimal(repr(value)) == number)


@pytest.mark.parametrize(
    ("text", "held"),
    [
        *((repr(value), True) for value in NASTY_FLOATS if abs(value) < 1e15),
        ("0.1", True),
        ("0.10000000000000001", True),  # as C writes 0.1 with %.17g
        ("0.100000000000000012", False),
        ("1234567890.12345678", False),
        ("9007199254740992", True),
        ("9007199254740993", False),
        ("9007199254740994", False),  # a double is exactly this, but it is no measured value
        ("1e22", True),
        ("4.123456e-324", False),
    ],
)
def test_a_double_holds_a_number_if_no_digit_is_lost(text: str, held: bool) -> None:
    values, is_kept = held_by_doubles(pa.array([text]))
    assert (bool(is_kept[0]), float(values[0])) == (held, float(text))


def test_of_a_name_that_occurs_twice_the_last_entry_counts() -> None:
    found = take_numbers(pa.array(['{"a":1,"a":"x"}', '{"a":1,"a":2.5}', '{"b":7}']))
    assert (found.rows.tolist(), found.values.tolist()) == ([2, 1], [7.0, 2.5])
    assert found.rest.to_pylist() == ['{"a":"x"}', None, None]


scalars = st.none() | st.floats(allow_infinity=False) | st.just(math.nan)
STRUCTS = st.lists(
    st.none()
    | st.fixed_dictionaries(
        {"x": scalars, "ä": scalars, "n": st.none() | st.integers(-9, 2**60), "t": st.none() | st.text(characters)}
    ),
    max_size=8,
)  # fmt: skip


@given(STRUCTS)
def test_structs_become_the_text_of_the_dicts_that_they_stand_for(rows: list[dict[str, Any] | None]) -> None:
    kind = pa.struct([("x", pa.float64()), ("ä", pa.float64()), ("n", pa.int64()), ("t", pa.string())])
    found = objects_of(pa.array(rows, kind))
    assert found is not None
    assert found.to_pylist() == [json_of(row) for row in rows]


@given(st.lists(st.none() | st.dictionaries(st.text(characters, max_size=3), scalars, max_size=4), max_size=8))
def test_maps_become_the_text_of_the_dicts_that_they_stand_for(rows: list[dict[str, Any] | None]) -> None:
    array = pa.array([None if row is None else list(row.items()) for row in rows], pa.map_(pa.string(), pa.float64()))
    found = objects_of(array)
    assert found is not None
    assert found.to_pylist() == [json_of(row) for row in rows]
