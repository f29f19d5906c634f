"""Values reach the server as they are, and never as SQL."""

from __future__ import annotations

import uuid
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import bindparam, select, text

from gpwarehouse import Warehouse
from gpwarehouse.errors import ReadError
from gpwarehouse.models import DimLot

NASTY_TEXTS = [
    "", "'", "''", '"', "\\", "\\'", "'; DROP TABLE dw.dim_lot; --", "%", "%s", "%(x)s", "%%", ":x", "\\:x", "E'\\\\'", "$1",
   "$$",
    "é😀", "\n\t\r", "\\' OR 1=1 --", "{a,NULL}", "--", "/*", "\x7f", "\x1f",
]  # fmt: skip
FORMS = ["SELECT CAST(:x AS text) AS x", "SELECT 1; SELECT CAST(:x AS text) AS x"]


@pytest.mark.parametrize("form", FORMS)
def test_a_text_arrives_as_it_is(shared_wh: Warehouse, form: str) -> None:
    for value in NASTY_TEXTS:
        assert shared_wh.read(form, x=value).x[0] == value


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
            for form in FORMS:
                assert other.read(form, x=value).x[0] == value
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
    ],
)
def test_values_of_all_types_arrive(shared_wh: Warehouse, kind: str, value: Any, found: Any) -> None:
    table = shared_wh.read(f"SELECT CAST(:x AS {kind}) AS x", x=value, arrow=True, exact_numeric=True)
    assert table["x"].to_pylist() == [found]


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
        shared_wh.read("SELECT * FROM dw.dim_lot WHERE lot_id = :lot")
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
