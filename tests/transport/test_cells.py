"""Text of numbers and times: what is read back is what was given, whatever stands beside it in a row."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import BigInteger, Column, Double, MetaData, Table, select

from gpwarehouse import Warehouse
from gpwarehouse.transport import copy_rows
from gpwarehouse.transport.cells import exact_text, joined_text
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
    rows = joined_text(columns, "\t", "\\N", is_exact=is_exact).to_pylist()
    assert len(rows) == len(columns[0])
    for at, row in enumerate(rows):
        for text, column in zip(row.split("\t"), columns, strict=True):
            assert same(read(text, column.type), column[at].as_py()), (text, column[at])


@pytest.mark.parametrize("name", sorted(KINDS))
def test_slices_and_nulls_of_every_kind_are_read_back(name: str) -> None:
    kind = KINDS[name][0]
    example = {pa.date32(): date(1, 1, 1), pa.timestamp("us"): datetime(9999, 12, 31, 23, 59, 59, 999999)}.get(kind)
    example = datetime(1969, 12, 31, 23, 59, 59, 999999, UTC) if pa.types.is_timestamp(kind) and kind.tz else example
    given = [None, example if example is not None else 7, None, None]
    array = pa.array(given * 5, kind)
    for start, length in ((0, 20), (1, 1), (2, 2), (3, 9), (5, 0)):
        part = array.slice(start, length)
        texts = joined_text([part, part], "|", "\\N", is_exact=True).to_pylist()
        assert [read(text.split("|")[1], kind) for text in texts] == part.to_pylist()


def test_rounded_doubles_are_as_short_as_they_are_and_keep_their_sign() -> None:
    texts = joined_text([pa.array([50.1234, -0.0, -1.5, None])], "", "", is_exact=True).to_pylist()
    assert texts == ["+0501234e-4", "-0000000e-4", "-0015000e-4", ""]
    assert math.copysign(1, float(texts[1])) == -1


def ulps(text: str, value: float) -> float:
    return float(abs(Fraction(Decimal(text)) - Fraction(value)) / Fraction(float(np.spacing(abs(value)))))


@settings(max_examples=50, deadline=None)
@given(values=st.lists(st.none() | st.floats(-1e308, 1e308), min_size=1))
def test_eighteen_digits_are_close_to_the_double_and_far_from_the_next(values: list[float | None]) -> None:
    found = exact_text(pa.array(values, pa.float64())).to_pylist()
    for text, value in zip(found, values, strict=True):
        if value is None:
            assert text is None
            continue
        assert bits(float(text)) == bits(value)
        assert ulps(text, value) < 0.46


def test_eighteen_digits_over_all_magnitudes() -> None:
    random = np.random.default_rng(18)
    patterns = random.integers(0, 2**64, 20_000, dtype=np.uint64).view(np.float64)
    decades = 10.0 ** np.arange(-308, 309)
    beside = [np.nextafter(decades, end) for end in (0, np.inf)]
    values = np.concatenate([patterns[np.isfinite(patterns)], random.normal(50, 3, 5000), decades, *beside])
    for some in (values, random.uniform(1, 10, 5000), random.uniform(1e-79, 9.9e-79, 5000)):
        texts = exact_text(pa.array(some)).to_pylist()
        assert np.array(list(map(float, texts))).tobytes() == some.tobytes()
        common = [(t, v) for t, v in zip(texts, some.tolist(), strict=True) if 1e-80 < abs(v) < 1e80]
        assert max(ulps(t, v) for t, v in common) < 0.05


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
