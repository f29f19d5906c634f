"""What comes out is what the server holds, whichever way it came."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from gpwarehouse import Warehouse
from gpwarehouse.errors import ReadError
from gpwarehouse.read.columns import Column
from gpwarehouse.read.copy_csv import TextParser
from gpwarehouse.read.query import Stream
from gpwarehouse.transport.csv_archive import whole_rows
from tests.read.paths import WAYS, by_result, by_server_cursor
from tests.read.values import NASTY


def same(left: Any, right: Any) -> bool:
    """Equal to the bit for floats: NaN is NaN, and -0.0 is not 0.0."""
    if isinstance(left, float) and isinstance(right, float):
        return struct.pack("d", left) == struct.pack("d", right) or (math.isnan(left) and math.isnan(right))
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    return type(left) is type(right) and bool(left == right)


@pytest.fixture(scope="module")
def nasty(shared_wh: Warehouse) -> Iterator[tuple[Warehouse, list[dict[str, Any]]]]:
    """A table with a column of each type; on Greenplum spread over the segments."""
    count = max(len(values) for _, values in NASTY.values())
    names = [f"c{number}" for number in range(len(NASTY))]
    rows = [
        {"n": n} | {f"c{c}": values[n] if n < len(values) else None for c, (_, values) in enumerate(NASTY.values())}
        for n in range(count + 1)
    ]
    columns = ", ".join(f"{name} {kind}" for name, kind in zip(names, NASTY, strict=True))
    driver: Any = shared_wh.engine.raw_connection()
    with driver.cursor() as cursor:
        cursor.execute("CREATE SCHEMA nasty")
        cursor.execute(f"CREATE TABLE nasty.rows (n int, {columns})")
        for row in rows:
            cursor.execute(
                f"INSERT INTO nasty.rows VALUES (%s, {', '.join(f'CAST(%s AS {kind})' for kind in NASTY)})",
                [repr(value) if isinstance(value, float) else value for value in row.values()],
            )
    driver.commit()
    driver.close()
    yield shared_wh, rows
    with shared_wh.engine.begin() as connection:
        connection.execute(text("DROP SCHEMA nasty CASCADE"))


def paths() -> list[Any]:
    return [
        pytest.param("SELECT * FROM nasty.rows ORDER BY n", "select", id="COPY of a query"),
        pytest.param("TABLE nasty.rows", "table", id="COPY of a table", marks=pytest.mark.segments),
        pytest.param("SELECT * FROM nasty.rows ORDER BY n", "result", id="result"),
        pytest.param("SELECT * FROM nasty.rows ORDER BY n", "cursor", id="cursor of the server"),
    ]


@pytest.mark.parametrize(("sql", "path"), paths())
def test_every_value_comes_back_as_it_was_stored(
    nasty: tuple[Warehouse, list[dict[str, Any]]], sql: str, path: str
) -> None:
    wh, rows = nasty
    way = {"result": by_result, "cursor": by_server_cursor}.get(path, nullcontext)
    with way(), Stream(wh.engine, sql) as stream:
        table = pa.concat_tables(stream.tables()).sort_by("n")
        assert stream.path == path
    assert table.schema.types[1:] == [kind for kind, _ in NASTY.values()]
    for row, got in zip(rows, table.to_pylist(), strict=True):
        for name, value in row.items():
            assert same(got[name], value), (name, row["n"])


def test_settings_of_the_database_do_not_change_what_is_read(nasty: tuple[Warehouse, list[dict[str, Any]]]) -> None:
    wh, _ = nasty
    expected = wh.read("SELECT * FROM nasty.rows", arrow=True).sort_by("n")
    settings = (
        "DateStyle = 'German'",
        "bytea_output = 'escape'",
        "IntervalStyle = 'iso_8601'",
        "TimeZone = 'Asia/Tokyo'",
    )
    name = wh.settings.sqlalchemy_url().database
    try:
        with wh.engine.begin() as connection:
            for setting in settings:
                connection.execute(text(f"ALTER DATABASE {name} SET {setting}"))
        with Warehouse(settings=wh.settings) as other:
            for query in ("SELECT * FROM nasty.rows", "SELECT * FROM nasty.rows WHERE n >= 0"):
                assert other.read(query, arrow=True).sort_by("n").drop("c3").equals(expected.drop("c3"))
            assert other.read("SELECT INTERVAL '1 month 2 days' AS i").i[0] == "1 mon 2 days"
    finally:
        with wh.engine.begin() as connection:
            for setting in settings:
                connection.execute(text(f"ALTER DATABASE {name} RESET {setting.partition(' ')[0]}"))


def test_numbers_are_floats_and_on_request_exact(shared_wh: Warehouse) -> None:
    sql = "SELECT 12345678901234567890.12::numeric(22,2) AS fixed, 1.50::numeric AS free, array[0.1::numeric] AS many, 0 AS n"
    assert shared_wh.read(sql).free[0] == 1.5
    exact = shared_wh.read(sql, exact_numeric=True)
    assert exact.fixed[0] == Decimal("12345678901234567890.12")
    assert str(exact.free[0]) == "1.50"
    table = shared_wh.read(sql, exact_numeric=True, arrow=True)
    assert table.schema.types == [pa.decimal128(22, 2), pa.string(), pa.list_(pa.string()), pa.int32()]
    many_digits = shared_wh.read("SELECT 0.1::numeric(60,50) AS fixed", exact_numeric=True, arrow=True)
    assert many_digits.schema.types == [pa.decimal256(60, 50)]


def test_json_is_the_servers_text_and_on_request_objects(shared_wh: Warehouse) -> None:
    sql = r"""SELECT '{"a"\: [1, null, 12345678901234567890.5]}'::jsonb AS j UNION ALL SELECT NULL"""
    assert shared_wh.read(sql).j[0] == '{"a": [1, null, 12345678901234567890.5]}'
    parsed = shared_wh.read(sql, parse_json=True)
    assert parsed.j[0] == {"a": [1, None, 12345678901234567890.5]}
    assert parsed.j[1] is None
    with pytest.raises(ReadError, match="parse_json"):
        shared_wh.read(sql, parse_json=True, arrow=True)


def test_json_that_is_text_stays_text_beside_null(shared_wh: Warehouse) -> None:
    frame = shared_wh.read("""SELECT * FROM (VALUES ('"a"'::json), (NULL), ('"\\ud800"')) t (j)""", parse_json=True)
    assert list(frame.j) == ["a", None, "\ud800"]
    assert frame.j.dtype == object


def test_other_types_are_the_servers_text(shared_wh: Warehouse) -> None:
    with shared_wh.engine.begin() as connection:
        connection.execute(text("CREATE TYPE mood AS ENUM ('so so')"))
    frame = shared_wh.read(
        """SELECT INTERVAL '1 day 02:03:04.5' AS i, TIME '24:00' AS t, 'so so'::mood AS e, B'101' AS b,
        CAST('6F9619FF-8B86-D011-B42D-00CF4FC964FF' AS uuid) AS u, ROW(1, 'x') AS r"""
    )
    assert list(frame.iloc[0]) == [
        "1 day 02:03:04.5", "24:00:00", "so so", "101", "6f9619ff-8b86-d011-b42d-00cf4fc964ff", "(1,x)",
    ]  # fmt: skip


def test_arrays_in_pandas_are_lists_whose_integers_and_zones_stay(shared_wh: Warehouse) -> None:
    frame = shared_wh.read("SELECT array[1, NULL, 3] AS n, array[TIMESTAMPTZ '2026-03-01 09:00+09'] AS t")
    assert frame.n[0] == [1, None, 3]
    assert [type(v) for v in frame.n[0]] == [int, type(None), int]
    assert frame.t[0] == [datetime(2026, 3, 1, tzinfo=UTC)]


@pytest.mark.parametrize(
    "value",
    ["TIMESTAMPTZ 'infinity'", "TIMESTAMP '-infinity'", "DATE 'infinity'", "TIMESTAMPTZ '10000-01-01 00:00+00'",
     "DATE '0044-03-15 BC'", "array[DATE 'infinity']", "array[array[1, 2], array[3, 4]]"],
)  # fmt: skip
@pytest.mark.parametrize("way", WAYS)
def test_what_no_arrow_type_holds_is_refused_with_the_way_out(shared_wh: Warehouse, value: str, way: Any) -> None:
    with way():
        for transport in ("auto", "csv"):
            with pytest.raises(ReadError, match=r"column 'x'.*CAST it to text"):
                shared_wh.read(f"SELECT {value} AS x", transport=transport)
        assert len(shared_wh.read(f"SELECT CAST({value} AS text) AS x")) == 1


@pytest.mark.parametrize("value", ["'1e400'::numeric", "'-1e400'::numeric", "array['1e309'::numeric, NULL, 1]"])
def test_a_number_beyond_a_double_is_refused_not_infinite(shared_wh: Warehouse, value: str) -> None:
    sql = f"SELECT {value} AS x UNION ALL SELECT NULL"
    for way in WAYS:
        with (
            way(),
            pytest.raises(ReadError, match=r"column 'x': a NUMERIC is outside .*exact_numeric=True"),
        ):
            shared_wh.read(sql)
        with way():
            assert shared_wh.read(sql, exact_numeric=True).x.notna().sum() == 1


def test_a_number_beyond_a_double_in_json_is_refused_not_infinite(shared_wh: Warehouse) -> None:
    sql = """SELECT CAST('{"a": [1e400]}' AS json) AS x"""
    with pytest.raises(ReadError, match="column 'x': a number in the JSON is outside the range of a double"):
        shared_wh.read(sql, parse_json=True)
    assert shared_wh.read(sql).x[0] == '{"a": [1e400]}'
    assert shared_wh.read("""SELECT CAST('{"a": 1e308}' AS json) AS x""", parse_json=True).x[0] == {"a": 1e308}


def test_infinity_is_a_numeric_where_the_server_has_it(shared_wh: Warehouse) -> None:
    if int(shared_wh.read("SHOW server_version_num").iloc[0, 0]) < 140000:
        pytest.skip("this server has no infinite NUMERIC")
    assert shared_wh.read("SELECT CAST('-Infinity' AS numeric) AS x").x[0] == -math.inf


def test_nan_is_no_exact_number(shared_wh: Warehouse) -> None:
    with pytest.raises(ReadError, match=r"column 'x'.*exact_numeric"):
        shared_wh.read("SELECT CAST('NaN' AS numeric(5, 2)) AS x", exact_numeric=True)
    assert math.isnan(shared_wh.read("SELECT CAST('NaN' AS numeric(5, 2)) AS x").x[0])


def test_a_column_of_nothing_but_nulls_and_empty_texts_keeps_them_apart(shared_wh: Warehouse) -> None:
    for way in WAYS:
        with way():
            table = shared_wh.read("SELECT CAST(NULL AS text) AS x UNION ALL SELECT ''", arrow=True)
        assert sorted(table["x"].to_pylist(), key=str) == ["", None]


def test_two_columns_may_have_one_name(shared_wh: Warehouse) -> None:
    frame = shared_wh.read("SELECT 1 AS a, 'x' AS a")
    assert list(frame.columns) == ["a", "a"]
    assert list(frame.iloc[0]) == [1, "x"]


def test_no_rows_keep_the_types(shared_wh: Warehouse) -> None:
    frame = shared_wh.read("SELECT 1::bigint AS n, now() AS t, true AS b WHERE false")
    assert list(map(str, frame.dtypes)) == ["Int64", "datetime64[us, UTC]", "boolean"]


SCALARS = st.one_of(
    st.none(), st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30), st.just(""),
)  # fmt: skip


def csv_of(rows: list[tuple[str | None, str | None]]) -> bytes:
    """Rows as COPY writes them."""
    lines = (",".join("" if v is None else '"' + v.replace('"', '""') + '"' for v in row) for row in rows)
    return "".join(f"{line}\n" for line in lines).encode()


@settings(deadline=None)
@given(st.lists(st.tuples(SCALARS, SCALARS), min_size=1, max_size=20), st.integers(1, 9))
def test_a_stream_cut_anywhere_gives_the_same_rows(rows: list[tuple[str | None, str | None]], size: int) -> None:
    stream = csv_of(rows)
    parser = TextParser([Column("a", 25), Column("a", 25)])
    blocks = [parser.parse(block) for block in whole_rows(stream[at : at + size] for at in range(0, len(stream), size))]
    found = [tuple(row.values()) for table in blocks for row in table.rename_columns(["a", "b"]).to_pylist()]
    assert found == rows


def test_a_value_that_begins_with_a_byte_order_mark_keeps_it_at_the_start_of_a_block() -> None:
    parser = TextParser([Column("a", 25)])
    assert parser.parse("\ufeffL1\n".encode()).column(0).to_pylist() == ["\ufeffL1"]


LINE_ENDS = [f'{"z" * length}\r\nB"\n' for length in range(90)] + [None, "", "\r\n"]


@pytest.mark.parametrize("block", [61, 64, 97, 1 << 20])
def test_line_ends_inside_values_are_kept_wherever_a_block_ends(block: int) -> None:
    stream = csv_of([(f"{n:03}", value) for n, value in enumerate(LINE_ENDS)])
    parser = TextParser([Column("n", 25), Column("x", 25)])
    pieces = (stream[at : at + block] for at in range(0, len(stream), block))
    found = pa.concat_tables(parser.parse(whole) for whole in whole_rows(pieces))
    assert found.column("x").to_pylist() == LINE_ENDS


def test_a_stream_that_ends_inside_a_row_is_refused() -> None:
    for cut in (b'1,"a\n', b"1,a"):
        with pytest.raises(ReadError, match="inside a row"):
            list(whole_rows([b"0,x\n", cut]))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.one_of(st.none(), st.floats(allow_nan=False)),
            st.one_of(st.none(), st.datetimes(min_value=datetime(1, 1, 2), timezones=st.just(UTC))),
            SCALARS,
            st.one_of(st.none(), st.binary(max_size=20)),
            st.one_of(st.none(), st.decimals(
                allow_nan=False, allow_infinity=False, places=5, min_value=-(10**9), max_value=10**9,
            )),
            st.one_of(st.none(), st.lists(SCALARS, max_size=4)),
        ),
        min_size=1,
        max_size=8,
    )
)  # fmt: skip
def test_any_values_come_back_by_copy_and_by_result(shared_wh: Warehouse, rows: list[tuple[Any, ...]]) -> None:
    kinds = ("double precision", "timestamptz", "text", "bytea", "numeric(20, 5)", "text[]")
    values = ", ".join(
        "(" + ", ".join([str(n), *(f"CAST(:v{n}_{c} AS {kind})" for c, kind in enumerate(kinds))]) + ")"
        for n in range(len(rows))
    )
    names = ", ".join(f"c{c}" for c in range(len(kinds)))
    sql = f"SELECT {names} FROM (VALUES {values}) AS given (n, {names}) ORDER BY n"
    params = {f"v{n}_{c}": value for n, row in enumerate(rows) for c, value in enumerate(row)}
    params = {
        name: repr(v) if isinstance(v, float) else v for name, v in params.items()
    }  # -0.0 as a number is 0 in SQL
    for way in WAYS:
        with way():
            table = shared_wh.read(sql, params, arrow=True, exact_numeric=True)
        for row, got in zip(rows, table.to_pylist(), strict=True):
            assert all(same(value, found) for value, found in zip(row, got.values(), strict=True)), (row, got)


def test_a_frame_is_what_a_plain_cursor_reads(shared_wh: Warehouse) -> None:
    sql = """SELECT g AS k, g * 0.1::float8 AS x, TIMESTAMPTZ '2026-01-01 00:00+00' + g * INTERVAL '1 s' AS t
    FROM generate_series(1, 1000) AS g"""
    frame = shared_wh.read(sql)
    driver: Any = shared_wh.engine.raw_connection()
    with driver.cursor() as cursor:
        cursor.execute(sql)
        rows = cursor.fetchall()
    driver.close()
    assert [tuple(row) for row in frame.astype(object).itertuples(index=False)] == [
        (k, x, pd.Timestamp(t)) for k, x, t in rows
    ]
    assert rows[0][2] == datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=1)
