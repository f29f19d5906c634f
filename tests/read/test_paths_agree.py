"""A table of every type and of values that have gone wrong somewhere is the same whichever way it is read."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpwarehouse import Warehouse
from gpwarehouse.dialect import Brand, ServerInfo
from gpwarehouse.errors import ReadError
from gpwarehouse.read import parallel
from gpwarehouse.read.query import Stream
from tests.read.paths import by_result
from tests.read.values import VALUES, bitwise

TIMES = [
    "0001-01-01 00:00:00+00",
    "1969-12-31 23:59:59.999999+00",
    "2000-01-01 00:00:00+00",
    "9999-12-31 23:59:59.999999+00",
]
TEXTS = [
    "",
    " ",
    "\\N",
    "\\.",
    "a\tb",
    "a\nb",
    "\r\n",
    '"',
    '""',
    ",",
    "\\",
    "\\\\x41",
    "é😀\u2028",
    "NULL",
    "null",
    "%s :x $1",
]
KINDS: dict[str, list[str]] = {
    "smallint": ["-32768", "32767"],
    "bigint": ["-9223372036854775808", "9223372036854775807", "9007199254740993"],
    "real": ["NaN", "Infinity", "-Infinity", "-0.0", "1e-45", "3.4028235e38", "0.1"],
    "double precision": ["NaN", "Infinity", "-Infinity", "-0.0", "5e-324", "1.7976931348623157e308", "0.1"],
    "boolean": ["t", "f"],
    "text": TEXTS,
    "char(5)": ["", "ab", "äö"],
    "same.code": ["", "a,b"],
    "same.mood": ["so so", 'a"b,'],
    "timestamptz": TIMES,
    "timestamp": [time[:-3] for time in TIMES],
    "date": [time[:10] for time in TIMES],
    "time": ["00:00:00", "23:59:59.999999", "24:00:00"],
    "timetz": ["12:00:00+05:30", "24:00:00-12"],
    "interval": ["1 mon -2 days +03:04:05.6", "-178000000 years", "00:00:00"],
    "numeric": ["NaN", "0.00", "-1e-300", "123456789012345678901234567890.12", "9" * 300],
    "numeric(20,5)": ["-0.00001", "999999999999999.99999"],
    "numeric(60,40)": ["0." + "7" * 40],
    "bytea": ["", "\\x00ff5c22270a2c"],
    "json": ['"\\ud800"', '{"a": [1, null, "\\\\n"]}', "null", '""', " [ ] "],
    "jsonb": ['{"a,b": "\\"\\n"}', "null", '""', "12345678901234567890.5"],
    "uuid": ["6f9619ff-8b86-d011-b42d-00cf4fc964ff"],
    "inet": ["::1", "10.0.0.0/8", "10.1.2.3"],
    "macaddr": ["08:00:2b:01:02:03"],
    "int4range": ["empty", "[1,5)", "(,)"],
    "tstzrange": ["[2026-01-01 00:00:00+00,)"],
    "bit(3)": ["101"],
    "varbit": ["", "10"],
    "point": ["(1,-0)"],
    "oid": ["0", "4294967295"],
    '"char"': ["a"],
    "text[]": ["{}", '{"",NULL,"NULL","a\\"b","c,d","{}","\\\\"}'],
    "bigint[]": ["{1,NULL,9223372036854775807}", "[0:1]={1,2}", "{}"],
    "double precision[]": ["{}", "{0.1,NaN,NULL,-Infinity,-0}", "{NaN,NaN}", "{5e-324,1.7976931348623157e308}"],
    "real[]": ["{0.1,NaN}"],
    "integer[]": ["{}", "{NULL}", "{2147483647,-2147483648}"],
    "boolean[]": ["{t,f,NULL}"],
    "numeric[]": ["{0.10,NULL}"],
    "timestamptz[]": ["{NULL}"],
    "same.mood[]": ['{"so so",NULL}'],
    "money": ["12.50"],
    "tsvector": ["'a':1 'b,c':2"],
}  # fmt: skip
BINARY = ("smallint", "bigint", "real", "double precision", "boolean", "text", "char(5)", "same.code", "timestamptz",
          "timestamp", "date", "bytea", "jsonb", "oid", "bigint[]", "double precision[]", "real[]", "integer[]")  # fmt: skip


@pytest.fixture(scope="module")
def same(shared_wh: Warehouse) -> Iterator[Warehouse]:
    """Two tables: with all types, and with those that have a binary form."""
    driver: Any = shared_wh.engine.raw_connection()
    with driver.cursor() as cursor:
        cursor.execute("CREATE SCHEMA same; CREATE DOMAIN same.code AS varchar(9)")
        cursor.execute("CREATE TYPE same.mood AS ENUM ('so so', 'a\"b,')")
        for table, kinds in (("every", tuple(KINDS)), ("binary", BINARY)):
            columns = ", ".join(f"c{n} {kind}" for n, kind in enumerate(kinds))
            cursor.execute(f"CREATE TABLE same.{table} (n int, {columns})")
            rows = itertools.zip_longest(*(KINDS[kind] for kind in kinds), fillvalue=None)
            for n, row in enumerate([*rows, (None,) * len(kinds)]):
                casts = ", ".join(f"CAST(%s AS {kind})" for kind in kinds)
                cursor.execute(f"INSERT INTO same.{table} VALUES ({n}, {casts})", row)
    driver.commit()
    driver.close()
    yield shared_wh
    with shared_wh.engine.begin() as connection:
        connection.exec_driver_sql("DROP SCHEMA same CASCADE")


def read_by(wh: Warehouse, sql: str, way: Any = nullcontext, **options: Any) -> tuple[str, pa.Table]:
    with way(), Stream(wh.engine, sql, **options) as stream:
        return stream.path, pa.concat_tables([stream.schema.empty_table(), *stream.tables()])


@pytest.mark.parametrize("table", ["every", "binary"])
def test_every_value_is_the_same_by_every_path(
    same: Warehouse, server_info: ServerInfo, monkeypatch: pytest.MonkeyPatch, table: str
) -> None:
    monkeypatch.setattr(parallel, "_LEAST_PAGES", 0)
    name = f"same.{table}"
    asked: list[tuple[str, dict[str, Any]]] = [
        (f"SELECT * FROM {name} WHERE n >= 0", {"transport": "csv"}),
        (f"SELECT * FROM {name}", {"way": by_result}),
        (f"SELECT * FROM {name}", {"transport": "cursor"}),
        (f"SELECT * FROM {name}", {"transport": "cursor", "fetch": 2}),
        (f"TABLE {name}", {}),
        (f"TABLE {name}", {"transport": "csv"}),
        (f"SELECT * FROM {name}", {"parallel": 3}),
        (f"SELECT * FROM {name} ORDER BY n", {}),
    ]
    found = [read_by(same, sql, **options) for sql, options in asked]
    on_postgresql = server_info.brand is Brand.POSTGRESQL
    whole = "table" if not on_postgresql else "split" if table == "binary" else "select"
    expected = {"select", "result", "cursor", whole} | ({"binary"} if table == "binary" else set())
    assert {path for path, _ in found} == expected
    for _, got in found:
        assert got.schema == found[0][1].schema
        got.validate(full=True)
        assert bitwise(got) == bitwise(found[0][1])


def test_a_cursor_brings_fewer_rows_at_once_where_they_are_wide(same: Warehouse) -> None:
    sql = "SELECT repeat('x', CASE WHEN g > 150 THEN 3000000 ELSE 3 END) AS t FROM generate_series(1, 170) g"
    with same.read(sql, arrow=True, chunks=1000, transport="cursor") as chunks:
        stream = chunks._stream
        sizes = [table.num_rows for table in stream.tables()]
    assert stream.path == "cursor"
    assert (sizes[0], sum(sizes)) == (100, 170)
    sql = "SELECT repeat('x', 3000000) AS t FROM generate_series(1, 120) g"
    with same.read(sql, arrow=True, chunks=1000, transport="cursor") as chunks:
        assert [table.num_rows for table in chunks._stream.tables()] == [100, 5, 5, 5, 5]


def test_what_has_no_type_of_its_own_is_the_servers_text(same: Warehouse) -> None:
    """As a cast to text gives it; but of a host's inet the cast adds the mask."""
    names = [f"c{n}" for n, kind in enumerate(KINDS) if kind not in (*BINARY, "inet") and "[" not in kind]
    table = same.read("SELECT * FROM same.every ORDER BY n", arrow=True, exact_numeric=True)
    texts = same.read(
        f"SELECT {', '.join(f'CAST({n} AS text) AS {n}' for n in names)} FROM same.every ORDER BY n", arrow=True
    )
    for name in names:
        if pa.types.is_string(table[name].type):
            assert table[name].to_pylist() == texts[name].to_pylist(), name


@pytest.mark.parametrize(
    "options", [{"transport": "csv"}, {"transport": "binary"}, {"transport": "cursor"}, {"way": by_result}]
)
def test_an_array_of_several_dimensions_is_refused_by_every_path(same: Warehouse, options: dict[str, Any]) -> None:
    with pytest.raises(ReadError, match="column 'a': an array has several dimensions"):
        read_by(same, "SELECT '{{1,2},{3,4}}'::float8[] AS a", **options)


def test_frames_and_files_hold_the_same(same: Warehouse, tmp_path: Any) -> None:
    import pyarrow.parquet as pq

    table = same.read("SELECT * FROM same.every ORDER BY n", arrow=True)
    same.export("SELECT * FROM same.every ORDER BY n", tmp_path / "every.parquet")
    assert bitwise(pq.read_table(tmp_path / "every.parquet")) == bitwise(table)
    chunks = list(same.read("SELECT * FROM same.every ORDER BY n", arrow=True, chunks=3))
    assert bitwise(pa.concat_tables(chunks)) == bitwise(table)
    frame = same.read("SELECT * FROM same.every ORDER BY n")
    for name in table.column_names:
        nulls = [value is None or value != value for value in table[name].to_pylist()]
        assert frame[name].isna().tolist() == nulls, name


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(*(st.none() | values for values in VALUES.values())), min_size=2, max_size=9))
def test_any_table_is_the_same_by_every_path(
    same: Warehouse, monkeypatch: pytest.MonkeyPatch, rows: list[tuple[Any, ...]]
) -> None:
    monkeypatch.setattr(parallel, "_LEAST_PAGES", 0)
    kinds = list(VALUES)
    driver: Any = same.engine.raw_connection()
    with driver.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS same.one")
        cursor.execute(f"CREATE TABLE same.one (n int, {', '.join(f'c{n} {kind}' for n, kind in enumerate(kinds))})")
        casts = ", ".join(f"CAST(%s AS {kind})" for kind in kinds)
        for n, row in enumerate(rows):
            cursor.execute(f"INSERT INTO same.one VALUES ({n}, {casts})", row)
    driver.commit()
    driver.close()
    tables = [
        read_by(same, sql, **options)[1]
        for sql, options in (
            ("SELECT * FROM same.one WHERE n >= 0", {"transport": "csv"}),
            ("SELECT * FROM same.one WHERE n >= 0", {}),
            ("TABLE same.one", {"parallel": 3}),
            ("TABLE same.one", {"way": by_result}),
        )
    ]
    for table in tables[1:]:
        assert table.schema == tables[0].schema
        assert bitwise(table) == bitwise(tables[0])
