"""What comes in the binary form, by one connection or several, is what comes as CSV."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.engine import Connection, Engine

from gpwarehouse import Warehouse
from gpwarehouse.dialect import ServerInfo
from gpwarehouse.dialect.server import Brand
from gpwarehouse.errors import ReadError
from gpwarehouse.read import copy_binary, copy_out, parallel, query
from gpwarehouse.read.columns import Column
from gpwarehouse.read.copy_binary import BinaryParser
from gpwarehouse.read.query import Stream
from tests.read.values import NASTY, VALUES, bitwise

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(*(st.none() | values for values in VALUES.values())), min_size=1, max_size=6))
def test_any_row_is_the_same_by_both_forms(shared_wh: Warehouse, rows: list[tuple[Any, ...]]) -> None:
    one = ", ".join(f"CAST(:v{{n}}_{c} AS {kind}) AS c{c}" for c, kind in enumerate(VALUES))
    sql = " UNION ALL ".join(f"SELECT {n} AS n, {one.format(n=n)}" for n in range(len(rows))) + " ORDER BY n"
    given_values = {f"v{n}_{c}": value for n, row in enumerate(rows) for c, value in enumerate(row)}
    found = shared_wh.read(f"SELECT * FROM ({sql}) q", given_values, arrow=True, transport="binary")
    csv = shared_wh.read(f"SELECT * FROM ({sql}) q", given_values, arrow=True, transport="csv")
    assert found.schema == csv.schema
    found.validate(full=True)
    assert bitwise(found) == bitwise(csv)


def test_nasty_values_are_the_same_by_both_forms(shared_wh: Warehouse) -> None:
    kinds = {kind: values for kind, (_, values) in NASTY.items() if kind != "text[]"}
    for kind, values in kinds.items():
        given_values = {f"v{n}": repr(v) if isinstance(v, float) else v for n, v in enumerate([*values, None])}
        sql = (
            "SELECT * FROM (VALUES "
            + ", ".join(f"({n}, CAST(:v{n} AS {kind}))" for n in range(len(given_values)))
            + ") AS t (n, v)"
        )
        found, csv = (shared_wh.read(sql, given_values, arrow=True, transport=form) for form in ("binary", "csv"))
        assert found.schema == csv.schema
        assert bitwise(found) == bitwise(csv)


def test_the_binary_form_is_taken_where_every_column_has_one(shared_wh: Warehouse) -> None:
    def path(sql: str, **options: Any) -> str:
        with Stream(shared_wh.engine, sql, **options) as query:
            list(query.tables())
            return query.path

    assert path("SELECT 1 AS a, 'x' AS b, now() AS c, '{}'::jsonb AS d") == "binary"
    assert path("SELECT 1.5 AS a, 1 AS b") == "select"
    assert path("SELECT array[1] AS a, array[0.5::float8, NULL] AS b") == "binary"
    assert path("SELECT array['x'] AS a") == "select"
    assert path("SELECT 1 AS a", transport="csv") == "select"
    with pytest.raises(ReadError, match="the type of a column has no binary form"):
        shared_wh.read("SELECT 1.5 AS a", transport="binary")
    with pytest.raises(ReadError, match="transport='fast'"):
        shared_wh.read("SELECT 1", transport="fast")


def test_another_encoding_goes_by_csv(shared_wh: Warehouse) -> None:
    url = shared_wh.settings.sqlalchemy_url().update_query_dict({"client_encoding": "latin1"})
    with Warehouse(url) as latin, Stream(latin.engine, "SELECT 'ä' AS a") as query:
        assert query.path == "select"
        assert [table["a"].to_pylist() for table in query.tables()] == [["ä"]]


def test_rows_larger_than_a_block_and_no_rows_are_read(shared_wh: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copy_out, "_ROWS_BYTES", 100)
    frame = shared_wh.read("SELECT g AS n, repeat('ä', g * 100) AS x FROM generate_series(0, 20) AS g")
    assert list(frame.x.str.len()) == [100 * n for n in range(21)]
    assert list(shared_wh.read("SELECT g AS n FROM generate_series(1, 1000) AS g").n) == list(range(1, 1001))
    assert len(shared_wh.read("SELECT 1::bigint AS n, 'x' AS x WHERE false", transport="binary")) == 0
    chunks = shared_wh.read("SELECT g AS n FROM generate_series(1, 1000) AS g", chunks=300)
    assert [len(chunk) for chunk in chunks] == [300, 300, 300, 100]


def copied(wh: Warehouse, sql: str) -> list[bytes]:
    """The messages of a COPY BINARY, a row each."""
    driver: Any = wh.engine.raw_connection()
    messages: list[bytes] = []

    class Sink:
        write = staticmethod(messages.append)

    with driver.cursor() as cursor:
        cursor.copy_expert(f"COPY ({sql}) TO STDOUT (FORMAT binary)", Sink)
    driver.close()
    return messages


NULLS = st.lists(st.tuples(*(st.booleans() for _ in range(8))), min_size=1, max_size=30)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(NULLS, min_size=1, max_size=4), st.integers(1, 12), st.integers(1, 9))
def test_rows_are_found_in_messages_that_hold_many(
    shared_wh: Warehouse, blocks: list[list[tuple[bool, ...]]], most: int, at_once: int
) -> None:
    """NULLs come and go from block to block, in any column, in messages of any number of rows."""
    kinds = (
        "1835008",
        "28::bigint",
        "'x' || n",
        "n::float8",
        "true",
        "'[1]'::jsonb",
        "CASE WHEN n % 3 = 0 THEN '{}' WHEN n % 3 = 1 THEN '{Infinity,1}' ELSE '{7,NULL,8}' END::float8[]",
        "ARRAY[n, 28]",
    )  # 28 looks like a row's beginning
    columns = [Column(f"c{n}", oid) for n, oid in enumerate((23, 20, 25, 701, 16, 3802, 1022, 1007))]
    one_by_one, together = BinaryParser(columns), BinaryParser(columns, many=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(copy_binary, "_ROWS_AT_ONCE", at_once)
        for block in blocks:
            cases = (
                f"CASE n {' '.join(f'WHEN {n} THEN {value}' for n, row in enumerate(block) if row[c])} ELSE NULL END"
                if any(row[c] for row in block)
                else f"CASE WHEN n < 0 THEN {value} END"
                for c, value in enumerate(kinds)
            )
            series = f"FROM generate_series(0, {len(block) - 1}) AS n"
            *rows, end = copied(shared_wh, f"SELECT {', '.join(cases)} {series}")  # the header is before the first row
            messages = [b"".join(rows[n : n + most]) for n in range(0, len(rows), most)]
            assert together.parse([*messages, end]).equals(one_by_one.parse([*rows, end]))
    assert together.parse([HEADER, b"\xff\xff"]).num_rows == 0


@pytest.mark.parametrize("length", [0x10000000, 0x7FFFFFFF, 0x00000100])
def test_bytes_that_look_like_rows_lead_nowhere(length: int) -> None:
    """A column's first NULL shifts what is taken for rows; what is there then is not to be followed out of the data."""

    def row(number: int | None, value: bytes) -> bytes:
        first = struct.pack(">hi", 2, -1) if number is None else struct.pack(">hii", 2, 4, number)
        return first + struct.pack(">i", len(value)) + value

    looks_like_one = bytes(4) + struct.pack(">hii", 2, -1, length) + bytes(4)
    parser = BinaryParser([Column("a", 23), Column("t", 17)], many=True)
    assert parser.parse([row(1, b"x")]).num_rows == 1
    table = parser.parse([row(None, looks_like_one), row(2, b"good")])
    assert table.to_pydict() == {"a": [None, 2], "t": [looks_like_one, b"good"]}


def test_messages_that_do_not_end_with_a_row_are_refused() -> None:
    row = struct.pack(">hii", 1, 4, 7)
    parser = BinaryParser([Column("n", 23)], many=True)
    assert parser.parse([row * 3, row])["n"].to_pylist() == [7] * 4
    for broken in ([row * 3 + row[:-1]], [row + b"\0"], [row[:5]], [row, row[1:]]):
        with pytest.raises(ReadError, match='transport="csv"'):
            parser.parse(broken)


@pytest.mark.parametrize(
    "rows",
    [
        [struct.pack(">hii", 2, 4, 1)],  # another number of columns
        [struct.pack(">hiq", 1, 8, 1)],  # another width
        [struct.pack(">hi", 1, 4)],  # cut
        [struct.pack(">hii", 1, 4, 1) * 2],  # two rows in a message
        [struct.pack(">hi", 1, -2)],
    ],
)
def test_what_is_no_row_is_refused(rows: list[bytes]) -> None:
    with pytest.raises(ReadError, match='transport="csv"'):
        BinaryParser([Column("n", 23)]).parse([HEADER, *rows])
    assert BinaryParser([Column("n", 23)]).parse([HEADER + struct.pack(">hii", 1, 4, 7), b"\xff\xff"])[
        "n"
    ].to_pylist() == [7]


@pytest.fixture(scope="module")
def large(shared_wh: Warehouse, server_info: ServerInfo) -> Iterator[Warehouse]:
    """A table of many pages, and one with partitions, one of them open to below."""
    if server_info.brand is not Brand.POSTGRESQL:
        pytest.skip(f"several connections read a table of PostgreSQL only; this is {server_info}")
    made = (
        "CREATE TABLE heap AS SELECT g AS n, repeat('x', 500) AS x FROM generate_series(1, 40000) AS g",
        'CREATE TABLE parts (n int, "At %" timestamptz NOT NULL) PARTITION BY RANGE ("At %")',
        "CREATE TABLE parts_a PARTITION OF parts FOR VALUES FROM (MINVALUE) TO ('2026-01-01+00')",
        "CREATE TABLE parts_b PARTITION OF parts FOR VALUES FROM ('2026-01-01+00') TO ('2026-02-01+00')",
        "CREATE TABLE parts_c PARTITION OF parts FOR VALUES FROM ('2026-02-01+00') TO ('2026-03-01+00')",
        "INSERT INTO parts SELECT g, TIMESTAMPTZ '2025-12-01+00' + g * interval '1 hour' FROM generate_series(1, 2000) AS g",
    )
    with shared_wh.engine.begin() as connection:
        for statement in made:
            connection.exec_driver_sql(statement.replace("%", "%%"))
    yield shared_wh
    with shared_wh.engine.begin() as connection:
        connection.execute(text("DROP TABLE heap, parts"))


@pytest.mark.parametrize(
    "sql", ["SELECT * FROM heap", "TABLE parts", 'SELECT "At %", n FROM parts', "SELECT n FROM heap"]
)
def test_a_whole_table_by_several_connections_is_the_same(large: Warehouse, sql: str) -> None:
    with Stream(large.engine, sql, parallel=3) as query:
        table = pa.concat_tables(query.tables()).sort_by("n")
        assert query.path == "split"
    assert table.equals(large.read(sql, arrow=True, transport="csv").sort_by("n"))
    assert large.engine.pool.checkedout() == 0  # type: ignore[attr-defined]


def test_a_small_pool_reads_with_what_it_has(large: Warehouse) -> None:
    url = large.settings.sqlalchemy_url()
    with Warehouse(url, pool_size=1, pool_max=2, pool_timeout_s=1) as small:
        assert len(small.read("TABLE heap", parallel=5)) == 40_000
        with small.engine.connect():  # waited for, and gone without
            assert len(small.read("TABLE heap", parallel=2)) == 40_000
        assert small.engine.pool.checkedout() == 0  # type: ignore[attr-defined]


def test_what_cannot_be_parted_is_read_by_one_connection(large: Warehouse) -> None:
    for sql in (
        "SELECT * FROM heap WHERE n > 0", "SELECT n FROM heap ORDER BY n", "SELECT * FROM dw.v_wafer_yield",
        "TABLE dw.dim_lot", "SELECT n::numeric FROM heap",
    ):  # fmt: skip
        with Stream(large.engine, sql, parallel=2) as query:
            assert query.path in ("binary", "select"), sql
    with pytest.raises(ReadError, match="parallel=0"):
        large.read("TABLE heap", parallel=0)


def test_several_connections_see_one_state(large: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    def late(engine: Engine, snapshot: str) -> Connection:
        """Rows are committed after the first connection's snapshot, before the second connects."""
        with large.engine.begin() as connection:
            connection.execute(text("INSERT INTO parts VALUES (-1, '2026-02-27+00'), (-2, '2025-01-01+00')"))
        return parallel.follow(engine, snapshot)

    monkeypatch.setattr(query, "follow", late)
    with large.engine.connect() as connection:
        before = connection.execute(text("SELECT count(*) FROM parts")).scalar_one()
    for _ in range(5):  # which connection reads which part is chance
        assert len(large.read("TABLE parts", parallel=2)) == before
        with large.engine.begin() as connection:
            connection.execute(text("DELETE FROM parts WHERE n < 0"))


def test_who_may_read_the_table_need_not_be_let_at_its_partitions(large: Warehouse, empty_url: Any) -> None:
    role = f"gpw_reader_{empty_url.database}"
    with large.engine.begin() as connection:
        connection.execute(text(f"CREATE ROLE {role} LOGIN PASSWORD 'x'"))
        connection.execute(text(f"GRANT USAGE ON SCHEMA dw TO {role}"))
        connection.execute(text(f"GRANT SELECT ON parts TO {role}"))
    try:
        url = large.settings.sqlalchemy_url().set(username=role, password="x")
        with Warehouse(url) as reader, Stream(reader.engine, "TABLE parts", parallel=2) as query:
            assert sum(table.num_rows for table in query.tables()) == 2000
            assert query.path == "split"
    finally:
        with large.engine.begin() as connection:
            connection.execute(text(f"DROP OWNED BY {role}"))
            connection.execute(text(f"DROP ROLE {role}"))


def test_a_split_read_that_is_broken_off_gives_back_its_connections(large: Warehouse) -> None:
    chunks = large.read("TABLE heap", parallel=3, chunks=10)
    next(chunks)
    assert large.engine.pool.checkedout() == 3  # type: ignore[attr-defined]
    chunks.close()
    assert large.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    assert len(large.read("TABLE heap")) == 40_000


def test_a_connection_that_is_lost_fails_the_split_read(large: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copy_out, "_ROWS_BYTES", 10_000)  # so that the workers wait before they are done
    with Stream(large.engine, "TABLE heap", parallel=2) as query:
        with large.engine.begin() as connection:
            ended = """SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                WHERE query LIKE 'COPY (%heap%' AND state = 'active'"""
            assert connection.execute(text(ended)).scalar_one() >= 1
        with pytest.raises(ReadError, match=r"terminating|connection was lost"):
            list(query.tables())
    assert large.engine.pool.checkedout() == 0  # type: ignore[attr-defined]


def test_a_value_that_no_arrow_type_holds_fails_the_split_read_and_leaves_its_connections_sound(
    large: Warehouse,
) -> None:
    made = """CREATE TABLE endless AS SELECT g AS n, repeat('x', 500) AS x,
        CASE WHEN g % 10000 = 7 THEN TIMESTAMPTZ 'infinity' ELSE now() END AS t FROM generate_series(1, 40000) AS g"""
    with large.engine.begin() as connection:
        connection.execute(text(made))
    for _ in range(3):
        with pytest.raises(ReadError, match=r"column 't'.*infinity"):
            large.read("TABLE endless", parallel=3)
        assert large.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    assert len(large.read("SELECT n FROM endless", parallel=3)) == 40_000
    with large.engine.begin() as connection:
        connection.execute(text("DROP TABLE endless"))
