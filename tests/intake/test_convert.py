"""Values of every kind → the type a column wants: what is taken, what is refused, and alike whatever stands beside."""

from __future__ import annotations

import math
import struct
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gpwarehouse.errors import InvalidInputError
from gpwarehouse.intake.convert import convert
from gpwarehouse.intake.frames import record_batches
from gpwarehouse.intake.target import InputColumn
from gpwarehouse.transport.columns import TIMESTAMP

KINDS = {
    "text": pa.string(),
    "float": pa.float64(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "bool": pa.bool_(),
    "time": TIMESTAMP,
}
NAT = pd.NaT


def column(kind: str) -> InputColumn:
    return InputColumn(kind, KINDS[kind])


def taken(values: list[Any], kind: str) -> tuple[list[Any], set[int]]:
    """What becomes of Python values, and the rows refused."""
    (batch,) = record_batches([{kind: value} for value in values], frozenset())
    array, bad = convert(batch.column(0), column(kind))
    assert array.type == KINDS[kind]
    return array.to_pylist(), set(bad)


def read(array: pa.Array, kind: str) -> tuple[pa.Array, dict[int, str]]:
    """What becomes of an array in a table."""
    (batch,) = record_batches(pa.table({kind: array}), frozenset())
    return convert(batch.column(0), column(kind))


def one(array: pa.Array, kind: str) -> Any:
    """What becomes of a one-value array; the reason if it is refused."""
    converted, bad = read(array, kind)
    return bad[0] if bad else converted[0].as_py()


plain = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.floats(width=32).map(np.float32),
    st.decimals(allow_nan=True, allow_infinity=False, places=3, min_value=-(10**9), max_value=10**9),
    st.text(max_size=5),
    st.sampled_from(["1", " 2 ", "0x10", "1_0", "+3", "3.0", "1e3", "1e400", "nan", "inf", "-Infinity", "t", "FALSE"]),
    st.sampled_from(["2024-01-01T00:00:00Z", "2024-01-01 00:00:00+02", "2024-01-01", "0001-01-01T00:00:00+14:00"]),
    st.binary(max_size=4),
    st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=-5))])),
    st.dates(),
    st.just(NAT),
    st.just(pd.NA),
    st.just("a\udcff"),
)


@settings(max_examples=150, deadline=None)
@example(kind="text", value=datetime(2000, 1, 1, tzinfo=timezone(timedelta(hours=-5))), neighbours=[False])
@given(kind=st.sampled_from(sorted(KINDS)), value=plain, neighbours=st.lists(plain, max_size=3))
def test_the_fate_of_a_value_does_not_hang_on_its_neighbours(kind: str, value: Any, neighbours: list[Any]) -> None:
    try:
        alone = taken([value], kind)
    except InvalidInputError:  # a column of nothing but dates is refused as a whole
        return
    try:
        values, bad = taken([value, *neighbours], kind)
    except InvalidInputError:
        return
    assert (0 in bad) == (0 in alone[1])
    assert same(values[0], alone[0][0])


def same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return struct.pack("<d", one) == struct.pack("<d", other)
    return bool(one == other)


@given(st.floats(allow_nan=False))
def test_a_float_stays_the_same_to_the_bit_as_float_as_text_and_as_decimal(value: float) -> None:
    (kept, text), bad = taken([value], "float")[0] + taken([repr(value)], "float")[0], set()
    assert same(kept, value)
    assert same(text, value)
    assert not bad


@settings(max_examples=100, deadline=None)
@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=Decimal("-1e15"), max_value=Decimal("1e15")))
def test_a_decimal_becomes_the_nearest_float(value: Decimal) -> None:
    (kept,), bad = taken([value], "float")
    assert not bad
    assert kept == float(value)


def test_arrow_decimals_become_the_nearest_float() -> None:
    values = [Decimal(n) / 10 for n in range(-50, 50)]  # Arrow's own cast makes 0.30000000000000004 of 0.3
    for kind in (pa.decimal128(20, 4), pa.decimal256(50, 4)):
        converted, bad = convert(pa.array(values, kind), column("float"))
        assert not bad
        assert converted.to_pylist() == [float(v) for v in values]


@pytest.mark.parametrize("missing", [None, math.nan, np.float32("nan"), np.nan, NAT, pd.NA, Decimal("NaN")])
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_nan_and_its_like_are_no_value(missing: Any, kind: str) -> None:
    good = {"text": "a", "float": 1.5, "int32": 1, "int64": 1, "bool": True, "time": datetime(2024, 1, 1, tzinfo=UTC)}
    values, bad = taken([missing, good[kind]], kind)
    assert values == [None, good[kind]]
    assert not bad


@pytest.mark.parametrize(
    "array",
    [
        pa.array([math.nan]),
        pa.array([math.nan], pa.float32()),
        pa.array([np.float16("nan")], pa.float16()),
        pa.array(["NaN"]),
        pa.array([math.nan]).dictionary_encode(),
    ],
)
def test_arrows_own_nan_is_no_value_either(array: pa.Array) -> None:
    assert array.null_count == 0
    assert one(array, "float") is None


@pytest.mark.parametrize("value", [math.inf, -math.inf, "inf", "-Infinity"])
def test_infinities_are_values(value: Any) -> None:
    (kept,), bad = taken([value], "float")
    assert not bad
    assert kept == float(value)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (2.5, "int32"),
        (2**31, "int32"),
        (-(2**31) - 1, "int32"),
        (2**63, "int64"),
        (math.inf, "int64"),
        (2.0**63, "int64"),
        ("0x10", "int32"),
        ("1_000", "int32"),
        ("", "int32"),
        ("twelve", "float"),
        ("1e400", "float"),
        ("1_000.5", "float"),
        (True, "int32"),
        (True, "float"),
        (5, "bool"),
        (0.5, "bool"),
        ("yes", "bool"),
        (b"\xff\xfe", "text"),
        ("a\udcff", "text"),
        ([1, 2], "text"),
        ({"a": 1}, "float"),
        (timedelta(seconds=3), "int64"),
        (time(7), "text2"),
        (1709640000, "time"),
        ("2024-01-01T00:00:00", "time"),
        ("2024-01-01", "time"),
        ("yesterday", "time"),
        ("9999-12-31T23:00:00-05:00", "time"),
    ],
)
def test_what_says_something_else_is_refused_with_a_reason(value: Any, kind: str) -> None:
    if kind == "text2":
        kind = "float"
    values, bad = taken([value], kind)
    assert values == [None]
    assert bad == {0}


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (3.0, "int32", 3),
        ("3", "int32", 3),
        (" 3 ", "int32", 3),
        ("3.0", "int32", 3),
        ("+3", "int32", 3),
        (Decimal("3.00"), "int32", 3),
        (-(2**63), "int64", -(2**63)),
        (2**63 - 1, "int64", 2**63 - 1),
        (str(2**63 - 1), "int64", 2**63 - 1),
        (2**53 + 1, "float", 2.0**53),
        (1, "bool", True),
        (0.0, "bool", False),
        ("T", "bool", True),
        ("false", "bool", False),
        (2, "text", "2"),
        (2.0, "text", "2"),
        (True, "text", "true"),
        (b"M\xc3\xbcller", "text", "Müller"),
        (Decimal("2.50"), "text", "2.50"),
        ("2024-01-01T01:00:00.123456+01:00", "time", datetime(2024, 1, 1, 0, 0, 0, 123456, UTC)),
        ("20240101T000000Z", "time", datetime(2024, 1, 1, tzinfo=UTC)),
        (datetime(2024, 1, 1, 1, tzinfo=timezone(timedelta(hours=1))), "time", datetime(2024, 1, 1, tzinfo=UTC)),
        (datetime(1, 1, 1, tzinfo=UTC), "time", datetime(1, 1, 1, tzinfo=UTC)),
        (datetime(9999, 12, 31, 23, 59, 59, 999999, UTC), "time", datetime(9999, 12, 31, 23, 59, 59, 999999, UTC)),
    ],
)
def test_what_says_the_same_in_other_words_is_taken(value: Any, kind: str, expected: Any) -> None:
    values, bad = taken([value], kind)
    assert not bad
    assert values == [expected]
    assert type(values[0]) is type(expected)


@pytest.mark.parametrize(
    "array",
    [
        pa.array([datetime(2024, 1, 1)]),
        pa.array([date(2024, 1, 1)]),
        pa.array([np.datetime64("2024-01-01T00:00:00", "ns")]),
        pa.array(pd.Series([pd.Timestamp("2024-01-01")])),
    ],
)
def test_a_column_of_times_without_a_zone_is_refused_as_a_whole(array: pa.Array) -> None:
    with pytest.raises(InvalidInputError, match=r"'time' holds times without a time zone .*tz_localize"):
        convert(array, column("time"))


@pytest.mark.parametrize("flip", [False, True])
def test_a_time_without_a_zone_among_others_is_refused_alone(flip: bool) -> None:
    aware = datetime(2024, 1, 1, tzinfo=UTC)
    values = [aware, aware.replace(tzinfo=None)]  # Arrow alone would take the naive one for UTC
    kept, bad = taken(values[::-1] if flip else values, "time")
    assert bad == {0 if flip else 1}
    assert aware in kept


@pytest.mark.parametrize("moment", [2**62, 253402300800000000, -62135596800000001])
def test_times_beyond_the_years_one_to_9999_are_refused(moment: int) -> None:
    reason = one(pa.array([moment], pa.timestamp("us", "UTC")), "time")
    assert "cannot be read as timestamp" in reason


def test_seconds_too_far_for_microseconds_are_refused() -> None:
    assert "cannot be read as timestamp" in one(pa.array([10**15], pa.timestamp("s", "UTC")), "time")


def test_nanoseconds_are_cut_to_microseconds() -> None:
    nanos = pa.array([1_704_067_200_123_456_789], pa.timestamp("ns", "UTC"))
    assert one(nanos, "time") == datetime(2024, 1, 1, 0, 0, 0, 123456, UTC)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_times_of_any_unit_and_zone_are_the_same_instant(unit: str) -> None:
    utc = pa.array([datetime(2024, 7, 1, 12, tzinfo=UTC)], pa.timestamp("us", "UTC"))
    assert one(utc.cast(pa.timestamp(unit, "America/New_York")), "time") == datetime(2024, 7, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "array",
    [
        pa.array(["a", None]),
        pa.array(["a", None], pa.large_string()),
        pa.array(["a", None], pa.string_view()),
        pa.array(["a", None]).dictionary_encode(),
        pa.array(["a", None], pa.large_string()).dictionary_encode(),
        pa.array([b"a", None]),
        pa.array([b"a", None], pa.large_binary()),
        pa.array([b"a", None], pa.binary_view()),
        pa.RunEndEncodedArray.from_arrays(pa.array([1, 2], pa.int32()), pa.array(["a", None])),
    ],
    ids=lambda array: str(array.type),
)
def test_text_in_any_of_arrows_layouts_is_the_same_text(array: pa.Array) -> None:
    converted, bad = read(array, "text")
    assert converted.to_pylist() == ["a", None]
    assert not bad


def test_many_bad_values_are_found_without_losing_the_good_ones() -> None:
    values = [str(n) if n % 3 else "bad" for n in range(5000)]
    kept, bad = taken(values, "int32")
    assert bad == set(range(0, 5000, 3))
    assert [v for v in kept if v is not None] == [n for n in range(5000) if n % 3]


def test_reasons_do_not_repeat_a_text_of_megabytes() -> None:
    _, bad = convert(pa.array(["x" * 1_000_000]), column("int32"))
    assert len(bad[0]) < 200
