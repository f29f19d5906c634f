"""Text of numbers and times: what is read back is what was given, whatever stands beside it in a row."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import BigInteger, Column, Date, DateTime, Double, MetaData, Table, select
from sqlalchemy import text as sql

from gpwarehouse import Warehouse
from gpwarehouse.errors import InvalidInputError
from gpwarehouse.intake.target import target_named
from gpwarehouse.models import FACTS
from gpwarehouse.transport import copy_rows
from gpwarehouse.transport.copy import wires_of
from gpwarehouse.transport.copy_text import encode_text
from gpwarehouse.transport.number_text import format_exactly, has_cells, join_as_text
from tests.transport.rows import bits

KINDS: dict[str, tuple[pa.DataType, st.SearchStrategy[Any]]] = {
    "smallint": (pa.int16(), st.integers(-(2**15), 2**15 - 1)),
    "few digits": (pa.int32(), st.integers(-999, 999)),
    "integer": (pa.int32(), st.integers(-(2**31), 2**31 - 1)),
    "bigint": (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    "fifteen digits": (pa.int64(), st.integers(-(10**15) + 1, 10**15 - 1)),
    "real": (pa.float32(), st.floats(width=32)),
    "double": (pa.float64(), st.floats()),
    "one decade": (pa.float64(), st.floats(10, 99)),
    "rounded": (pa.float64(), st.integers(-(10**9), 10**9).map(lambda n: n / 10**4)),
    "rounded, few digits": (pa.float64(), st.integers(-(10**6), 10**6).map(lambda n: n / 10**2)),
    "date": (pa.date32(), st.dates()),
    "time": (pa.timestamp("us"), st.datetimes()),
    "time with zone": (pa.timestamp("us", "UTC"), st.datetimes(timezones=st.just(UTC))),
}


def read(text: str, kind: pa.DataType) -> Any:
    """The value of a text, as a server reads it."""
    if text == "\\N":
        return None
    if pa.types.is_integer(kind):
        return int(text)
    if pa.types.is_floating(kind):
        return float(text)
    if pa.types.is_date(kind):
        return datetime.strptime(text, "%Y%m%d").date()
    assert text.endswith("Z") == bool(kind.tz)
    moment = datetime.strptime(text.removesuffix("Z"), "%Y%m%dT%H%M%S.%f")
    return moment.replace(tzinfo=UTC) if kind.tz else moment


def same(one: Any, other: Any) -> bool:
    return bits(one) == bits(other) if isinstance(one, float) and isinstance(other, float) else bool(one == other)


@st.composite
def columns_of_rows(draw: st.DrawFn) -> list[pa.Array]:
    kinds = draw(st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=6))
    rows = draw(st.integers(0, 6))
    return [
        pa.array(draw(st.lists(st.none() | KINDS[kind][1], min_size=rows, max_size=rows)), KINDS[kind][0])
        for kind in kinds
    ]


@pytest.mark.parametrize("is_exact", [True, False])
@settings(max_examples=300, deadline=None)
@given(columns=columns_of_rows())
def test_each_value_of_each_row_is_read_back(is_exact: bool, columns: list[pa.Array]) -> None:
    rows = join_as_text(columns, "\t", "\\N", is_exact=is_exact).to_pylist()
    assert len(rows) == len(columns[0])
    for at, row in enumerate(rows):
        for text, column in zip(row.split("\t"), columns, strict=True):
            assert same(read(text, column.type), column[at].as_py()), (text, column[at])


@pytest.mark.parametrize("name", sorted(KINDS))
def test_slices_and_nulls_of_every_kind_are_read_back(name: str) -> None:
    kind = KINDS[name][0]
    example = {pa.date32(): date(1, 1, 1), pa.timestamp("us"): datetime(9999, 12, 31, 23, 59, 59, 999999)}.get(kind)
    example = datetime(1969, 12, 31, 23, 59, 59, 999999, UTC) if pa.types.is_timestamp(kind) and kind.tz else example
    array = pa.array([None, example if example is not None else 7, None, None] * 5, kind)
    for start, length in ((0, 20), (1, 1), (2, 2), (3, 9), (5, 0)):
        part = array.slice(start, length)
        texts = join_as_text([part, part], "|", "\\N", is_exact=True).to_pylist()
        assert [read(text.split("|")[1], kind) for text in texts] == part.to_pylist()


@pytest.mark.parametrize("is_exact", [True, False])
@pytest.mark.parametrize("null_share", [0, 0.1, 0.9, 1])
def test_many_rows_of_all_kinds_are_what_formatting_each_value_gives(null_share: float, is_exact: bool) -> None:
    """Short rows beside long ones: no cell may leave anything in the place of another."""
    random, rows = np.random.default_rng(int(null_share * 10)), 3000
    values = {
        "k": pa.array(random.integers(-(2**63), 2**63 - 1, rows)),
        "few": pa.array(random.integers(-9, 9, rows).astype(np.int16)),
        "limit": pa.array(random.choice([np.inf, -np.inf, np.nan, 1.5, -2.25], rows)),
        "tiny": pa.array(random.normal(size=rows) * 10.0 ** random.integers(-320, -60, rows)),
        "real": pa.array(random.normal(size=rows).astype(np.float32)),
        "rounded": pa.array(np.round(random.normal(50, 3, rows), 3)),
    }
    columns = [
        pc.if_else(pa.array(random.random(rows) < null_share), pa.scalar(None, array.type), array)
        for array in values.values()
    ]
    for some in (columns, columns[::-1], columns[2:3], columns[1:3]):
        texts = join_as_text(some, "\t", "\\N", is_exact=is_exact).to_pylist()
        found = [[read(text, c.type) for text, c in zip(row.split("\t"), some, strict=True)] for row in texts]
        given = list(zip(*(column.to_pylist() for column in some), strict=True))
        assert all(same(a, b) for row, other in zip(found, given, strict=True) for a, b in zip(row, other, strict=True))


def test_signalling_nans_of_reals_are_nans(recwarn: pytest.WarningsRecorder) -> None:
    array = pa.Array.from_buffers(pa.float32(), 1, [None, pa.py_buffer(np.array([0x7F800001], np.uint32))])
    assert join_as_text([array], "", "", is_exact=True).to_pylist() == ["nan"]
    assert not recwarn.list


@pytest.mark.parametrize("days", [-719_163, 2_932_897, 2**31 - 1])
def test_dates_that_have_no_four_digit_year_are_refused_and_not_shown(days: int) -> None:
    table = Table("with_date", MetaData(), Column("day", Date))
    batch = pa.record_batch({"day": pa.array([days], pa.int32()).cast(pa.date32())})
    with pytest.raises(InvalidInputError, match="'day' has a date outside the years 1 to 9999") as caught:
        encode_text(batch, wires_of(table, ("day",)), exact_floats=True)
    assert str(days) not in str(caught.value)


def test_numbers_stand_together_in_facts_behind_the_keys_of_segment_and_month() -> None:
    for name in FACTS:
        target = target_named(name)
        assert set(target.columns) == {c.name for c in target.table.columns} - {"loaded_at"}
        assert len(set(target.columns)) == len(target.columns)
        first = target.table.dialect_options["greenplum"]["distributed_by"].columns
        assert target.columns[: len(first) + 1] == (*first, target.partition_column)
        groups = [has_cells(wire.type) for wire in wires_of(target.table, target.columns)]
        assert groups == sorted(groups, reverse=True)


@pytest.mark.parametrize("style", ["ISO, DMY", "German, MDY", "SQL, DMY"])
def test_times_are_read_alike_whatever_the_datestyle(shared_wh: Warehouse, style: str) -> None:
    """But for SQL, YMD on Greenplum 6, whose coordinator hands dates on as its segments then do not read them."""
    table = Table("moments", MetaData(), Column("day", Date), Column("moment", DateTime(timezone=True)))
    moment = datetime(2024, 2, 3, 4, 5, 6, 123456, UTC)
    batch = pa.record_batch({"day": [moment.date()], "moment": pa.array([moment], pa.timestamp("us", "UTC"))})
    table.create(shared_wh.engine)
    try:
        with shared_wh.engine.begin() as connection:
            connection.execute(sql("SELECT set_config('datestyle', :style, true)"), {"style": style})
            connection.execute(sql("SELECT set_config('timezone', 'Asia/Taipei', true)"))
            copy_rows(connection, table, [batch], ("day", "moment"), "text")
        with shared_wh.engine.connect() as connection:
            assert tuple(connection.execute(select(table)).one()) == (moment.date(), moment)
    finally:
        table.drop(shared_wh.engine)


def test_rounded_doubles_are_as_short_as_they_are_and_keep_their_sign() -> None:
    texts = join_as_text([pa.array([50.1234, -0.0, -1.5, None])], "", "", is_exact=True).to_pylist()
    assert texts == ["+0501234e-4", "-0000000e-4", "-0015000e-4", ""]
    assert math.copysign(1, float(texts[1])) == -1


def ulps(text: str, value: float) -> float:
    return float(abs(Fraction(Decimal(text)) - Fraction(value)) / Fraction(float(np.spacing(abs(value)))))


@settings(max_examples=50, deadline=None)
@given(values=st.lists(st.none() | st.floats(-1e308, 1e308), min_size=1))
def test_eighteen_digits_are_close_to_the_double_and_far_from_the_next(values: list[float | None]) -> None:
    found = format_exactly(pa.array(values, pa.float64())).to_pylist()
    for text, value in zip(found, values, strict=True):
        if value is None:
            assert text is None
            continue
        assert bits(float(text)) == bits(value)
        assert ulps(text, value) < 0.46


def test_all_magnitudes_are_read_back_and_common_ones_are_closer() -> None:
    random = np.random.default_rng(18)
    patterns = random.integers(0, 2**64, 20_000, dtype=np.uint64).view(np.float64)
    decades = 10.0 ** np.arange(-308, 309)
    beside = [np.nextafter(decades, end) for end in (0, np.inf)]
    wide = np.concatenate([patterns[np.isfinite(patterns)], random.normal(50, 3, 5000), decades, *beside])
    common = wide[(np.abs(wide) > 1e-80) & (np.abs(wide) < 1e80)]
    for some, most in ((wide, 0.46), (common, 0.05), (random.uniform(1, 10, 5000), 0.05)):
        found = format_exactly(pa.array(some)).to_pylist()
        assert np.array(list(map(float, found))).tobytes() == some.tobytes()
        assert max(ulps(*each) for each in zip(found, some.tolist(), strict=True) if abs(each[1]) > 1e-300) < most


def test_a_hundred_thousand_doubles_are_stored_to_the_bit(shared_wh: Warehouse) -> None:
    """Greenplum 6 reads 32 of a million shortest texts one unit off."""
    random = np.random.default_rng(6)
    count = 100_000
    mixed = random.choice([0.0, -0.0, 1.0, 0.1, 1e-300, -5e-324, 1.7e308, math.inf, -math.inf], count)
    doubles = {
        "normal": random.normal(50, 3, count),
        "rounded": np.round(random.normal(50, 3, count), 4),
        "whole": np.rint(random.normal(0, 1e6, count)),
        "wide": random.normal(size=count) * 10.0 ** random.integers(-90, 90, count),
        "mixed": mixed,
    }
    table = Table("doubles", MetaData(), Column("number", BigInteger), *(Column(name, Double) for name in doubles))
    batch = pa.record_batch({"number": np.arange(count), **doubles})
    engine = shared_wh.engine
    table.create(engine)
    try:
        with engine.begin() as connection:
            copy_rows(connection, table, [batch], tuple(batch.schema.names), "text")
            stored = connection.execute(select(table).order_by(table.c.number)).all()
        for at, name in enumerate(doubles, 1):
            assert np.array([row[at] for row in stored]).tobytes() == doubles[name].tobytes(), name
    finally:
        table.drop(engine)
