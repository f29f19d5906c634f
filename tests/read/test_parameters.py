"""Values reach the server as they are, and never as SQL."""

from __future__ import annotations

import uuid
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import bindparam, select, text

from gpwarehouse import Warehouse
from gpwarehouse.errors import ReadError
from gpwarehouse.models import DimLot, FactProcessMeasurements
from tests.load.rows import measurement
from tests.read.paths import WAYS

NASTY_TEXTS = [
    "", "'", "''", '"', "\\", "\\'", "'; DROP TABLE dw.dim_lot; --", "%", "%s", "%(x)s", "%%", ":x", "\\:x", "E'\\\\'", "$1",
   "$$",
    "é😀", "\n\t\r", "\\' OR 1=1 --", "{a,NULL}", "--", "/*", "\x7f", "\x1f",
]  # fmt: skip
NANOS = pd.Timestamp("2026-03-01T09:00:00.123456789Z")
CUT = datetime(2026, 3, 1, 9, 0, 0, 123456, UTC)


class Kind(Enum):
    A = "a"


FORM = "SELECT CAST(:x AS text) AS x"


@pytest.mark.parametrize("way", WAYS)
def test_a_text_arrives_as_it_is(shared_wh: Warehouse, way: Any) -> None:
    with way():
        for value in NASTY_TEXTS:
            assert shared_wh.read(FORM, x=value).x[0] == value


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.text(
        st.one_of(
            st.sampled_from("'\"\\%:$;-{}E\n "), st.characters(exclude_categories=["Cs"], exclude_characters="\0")
        )
    )
)
def test_any_text_arrives_as_it_is(shared_wh: Warehouse, value: str) -> None:
    assert shared_wh.read("SELECT CAST(:x AS text) AS x", x=value, arrow=True)["x"].to_pylist() == [value]


def test_texts_arrive_where_backslashes_escape(wh: Warehouse) -> None:
    name = wh.settings.sqlalchemy_url().database
    with wh.engine.begin() as connection:
        connection.execute(text(f"ALTER DATABASE {name} SET standard_conforming_strings = off"))
    with Warehouse(settings=wh.settings) as other:
        assert other.read("SHOW standard_conforming_strings").iloc[0, 0] == "off"
        for value in NASTY_TEXTS:
            for way in WAYS:
                with way():
                    assert other.read(FORM, x=value).x[0] == value
        assert other.read("SELECT CAST(:x AS bytea) AS x", x=b"\\\x00'").x[0] == b"\\\x00'"


@pytest.mark.parametrize(
    ("kind", "value", "found"),
    [
        ("uuid", uuid.UUID(int=7), "00000000-0000-0000-0000-000000000007"),
        ("bytea", b"\x00'\\\xff", b"\x00'\\\xff"),
        ("numeric(10, 2)", Decimal("-1.50"), Decimal("-1.50")),
        ("timestamptz", datetime(2026, 3, 1, 9, tzinfo=UTC), datetime(2026, 3, 1, 9, tzinfo=UTC)),
        ("date", date(2026, 3, 1), date(2026, 3, 1)),
        ("interval", timedelta(days=1, seconds=3), "1 day 00:00:03"),
        ("boolean", True, True),
        ("double precision", 0.1, 0.1),
        ("bigint", -(2**63), -(2**63)),
        ("text", None, None),
        ("text[]", ["a'b", None, "\\", '"'], ["a'b", None, "\\", '"']),
        ("bigint[]", [], []),
        ("bigint", np.int64(5), 5),
        ("double precision", np.float64(0.5), 0.5),
        ("real", np.float32(0.5), 0.5),
        ("boolean", np.bool_(True), True),
        ("text", np.str_("a"), "a"),
        ("bytea", np.bytes_(b"a"), b"a"),
        ("bytea", memoryview(b"a"), b"a"),
        ("text", Kind.A, "a"),
        ("timestamptz", NANOS, CUT),
        ("timestamp", np.datetime64("2026-03-01T09:00:00.123456789"), CUT.replace(tzinfo=None)),
        ("timestamp", np.datetime64(-1, "ns"), datetime(1969, 12, 31, 23, 59, 59, 999999)),
        ("interval", np.timedelta64(1999, "ns"), "00:00:00.000001"),
        ("interval", pd.Timedelta(1999), "00:00:00.000001"),
        ("timestamptz", pd.NaT, None),
        ("bigint", pd.NA, None),
        ("double precision", np.float64("nan"), None),
        ("numeric", Decimal("NaN"), None),
        ("date", np.datetime64("NaT"), None),
        ("bigint[]", np.array([1, 2]), [1, 2]),
        ("bigint[]", pd.array([1, None], "Int64"), [1, None]),
        ("double precision[]", pd.Series([0.5, float("nan")]), [0.5, None]),
        ("text[]", pd.Index(["a"]), ["a"]),
        ("text[]", pl.Series(["a", None]), ["a", None]),
        ("text[]", pa.array(["a", None]), ["a", None]),
        ("bigint", pa.scalar(5), 5),
        ("timestamptz[]", pd.Series([NANOS, pd.NaT]), [CUT, None]),
        ("timestamp[]", np.array(["2026-03-01T09:00:00.123456789"], "M8[ns]"), [CUT.replace(tzinfo=None)]),
        ("text[]", [uuid.UUID(int=7)], ["00000000-0000-0000-0000-000000000007"]),
    ],
)
def test_values_of_all_types_arrive(shared_wh: Warehouse, kind: str, value: Any, found: Any) -> None:
    table = shared_wh.read(f"SELECT CAST(:x AS {kind}) AS x", x=value, arrow=True, exact_numeric=True)
    assert table["x"].to_pylist() == [found]


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (pd.Period("2026-01"), "Period"),
        (1 + 2j, "complex"),
        (np.longdouble(1), "longdouble"),
        (pd.Interval(0, 1), "Interval"),
        ({1, 2}, "set"),
        ([{"a": 1}], "dict"),
        (pd.Series([pd.Period("2026-01")]), "Period"),
        (pd.DataFrame({"a": [1]}), "DataFrame"),
    ],
)
def test_a_value_of_a_type_that_is_not_understood_is_refused_by_name(
    shared_wh: Warehouse, value: Any, kind: str
) -> None:
    for statement in ("SELECT CAST(:x AS text)", text("SELECT CAST(:x AS text)")):
        with pytest.raises(ReadError, match=f"'x' cannot be sent: it is or holds a {kind};"):
            shared_wh.read(statement, x=value)


def test_values_within_a_select_are_understood_too(shared_wh: Warehouse) -> None:
    shared_wh.load("fact_process_measurements", pd.DataFrame([measurement(event_ts=NANOS, slot=3)]))
    fact = FactProcessMeasurements
    asked: list[tuple[Any, dict[str, Any]]] = [
        (select(fact.slot).where(fact.event_ts == NANOS, fact.slot == np.int64(3)), {}),
        (select(fact.slot).where(fact.event_ts.in_([NANOS]), fact.slot.in_(np.array([3]))), {}),
        (
            select(fact.slot).where(fact.event_ts == bindparam("t"), fact.slot == bindparam("s")),
            {"t": NANOS, "s": np.int8(3)},
        ),
        ("SELECT slot FROM dw.fact_process_measurements WHERE event_ts = :t", {"t": NANOS}),
    ]
    for statement, named in asked:
        assert shared_wh.read(statement, named).slot.tolist() == [3]


COLONS: list[tuple[str, dict[str, Any], Any]] = [
    ("""SELECT '{"a":1,"b":x}' AS x""", {}, '{"a":1,"b":x}'),
    ("SELECT '10:30:00 :x' || :x AS x", {"x": "a"}, "10:30:00 :xa"),
    ("SELECT $$:a$$ || $b$:b$b$ || E':c\\':d' AS x -- :e", {}, ":a:b:c':d"),
    ('SELECT ":x" /* :y /* :z */ :y */ FROM (SELECT 1 AS ":x") AS q', {}, 1),
    ("SELECT :long::text::varchar AS x", {"long": 5}, "5"),
    ("SELECT (ARRAY[1,2,3])[1:2] AS x", {}, [1, 2]),
    ("SELECT (ARRAY[1,2,3])[n:n] AS x FROM (SELECT 2 AS n) AS q", {}, [2]),
    ("SELECT (ARRAY[1,2,3])[abs(n):n] AS x FROM (SELECT 2 AS n) AS q", {}, [2]),
    ("SELECT (ARRAY[1,2,3])[:a : :b] AS x", {"a": 2, "b": 3}, [2, 3]),
    ("SELECT (ARRAY[1,2,3])[:a] AS x", {"a": 2}, 2),
    (r"SELECT '\:x' || ':ab:cd' AS x", {}, ":x:ab:cd"),
    ("SELECT :é || :é AS x", {"é": "a"}, "aa"),
    ("SELECT 7 % 4 || '%s %(x)s' AS x", {}, "3%s %(x)s"),
]


@pytest.mark.parametrize(("sql", "values", "found"), COLONS, ids=[sql for sql, *_ in COLONS])
def test_a_parameter_is_a_colon_and_a_name_where_a_value_can_be(
    shared_wh: Warehouse, sql: str, values: dict[str, Any], found: Any
) -> None:
    for way in WAYS:
        with way():
            assert shared_wh.read(sql, values).iloc[0, 0] == found


def test_lists_are_given_to_any_and_to_in(shared_wh: Warehouse) -> None:
    sql = "SELECT g FROM generate_series(1, 5) AS g WHERE g = ANY(:some)"
    assert sorted(shared_wh.read(sql, some=[2, 4, 9]).g) == [2, 4]
    inside = select(DimLot.lot_key).where(DimLot.lot_key.in_(bindparam("some", expanding=True)))
    assert sorted(shared_wh.read(inside, some=[-1, 5]).lot_key) == [-1]
    assert list(shared_wh.read(select(DimLot.lot_key).where(DimLot.lot_key.in_([-2]))).lot_key) == [-2]


def test_nul_is_refused(shared_wh: Warehouse) -> None:
    with pytest.raises(ReadError, match="NUL"):
        shared_wh.read("SELECT CAST(:x AS text)", x="a\0b")


def test_a_value_of_no_sql_type_is_refused(shared_wh: Warehouse) -> None:
    with pytest.raises(ReadError, match=r"dict.*json\.dumps"):
        shared_wh.read("SELECT CAST(:x AS jsonb)", x={})


def test_missing_and_unused_parameters_are_named(shared_wh: Warehouse) -> None:
    with pytest.raises(ReadError, match=r"'lot' has no value.*lot=…"):
        shared_wh.read("SELECT * FROM dw.dim_lot WHERE lot_id = :lot AND ':other' <> ''")
    with pytest.raises(ReadError, match=r"'lot' is not in the statement, which has none; .*not in quotes"):
        shared_wh.read("SELECT * FROM dw.dim_lot WHERE lot_id = ':lot'", lot="L")
    with pytest.raises(ReadError, match="'lots' is not in the statement, which has :lot;"):
        shared_wh.read("SELECT * FROM dw.dim_lot WHERE lot_id = :lot", lot="L", lots="L")
    with pytest.raises(ReadError, match="'lot' is not in the statement, which has none"):
        shared_wh.read(select(DimLot.lot_id), lot="L")
    with pytest.raises(ReadError, match="'lot' has no value"):
        shared_wh.read(select(DimLot.lot_id).where(DimLot.lot_id == bindparam("lot")))


def test_names_that_are_options_are_given_in_a_dict(shared_wh: Warehouse) -> None:
    frame = shared_wh.read("SELECT CAST(:chunks AS int) AS a, CAST(:b AS int) AS b", {"chunks": 3}, b=4)
    assert list(frame.iloc[0]) == [3, 4]
    assert shared_wh.read("SELECT CAST(:statement AS int) AS a", statement=5).a[0] == 5


def test_a_colon_or_percent_in_the_statement_stays(shared_wh: Warehouse) -> None:
    frame = shared_wh.read(
        r"SELECT '10:30' AS a, '\:x' AS b, 7 % 4 AS c, '%s %%' AS d, '{1}'::int[] AS e, CAST(:f AS int) AS f", f=1
    )
    assert list(frame.iloc[0]) == ["10:30", ":x", 3, "%s %%", [1], 1]
