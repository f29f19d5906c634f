"""How a read goes: its paths, its chunks, and what is left when it is broken off."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sqlalchemy import select, text

from gpwarehouse import Warehouse
from gpwarehouse.dialect import ServerInfo
from gpwarehouse.dialect.server import Brand
from gpwarehouse.errors import InvalidInputError, ReadError
from gpwarehouse.models import DimLot, FactTestResults
from gpwarehouse.read.copy_out import CopyOut
from gpwarehouse.read.query import Stream
from tests.processes import run_code
from tests.read.paths import WAYS
from tests.rows import die_of_l1

BIG = "SELECT g AS n, repeat('x', 100) AS x FROM generate_series(1, 300000) AS g"


def path_of(wh: Warehouse, statement: Any) -> str:
    with Stream(wh.engine, statement) as stream:
        return stream.path


def checked_out(wh: Warehouse) -> int:
    return wh.engine.pool.checkedout()  # type: ignore[attr-defined, no-any-return]


@pytest.mark.parametrize(
    ("sql", "found"),
    [
        ("VALUES (1), (2)", [1, 2]),
        ("WITH two AS (SELECT 2 AS n) SELECT n FROM two ", [2]),
        ("/* first */ -- second\n (SELECT 1 UNION SELECT 2) ORDER BY 1;", [1, 2]),
        ("SELECT 1 -- one", [1]),
        ("SELECT 1 ; -- and no more;\n ; ", [1]),
        ("SELECT ';' || '--' AS n", [";--"]),
    ],
)
def test_any_form_of_query_is_read(shared_wh: Warehouse, sql: str, found: list[Any]) -> None:
    assert list(shared_wh.read(sql).iloc[:, 0]) == found


def test_what_copy_does_not_take_is_read_by_result(shared_wh: Warehouse) -> None:
    assert path_of(shared_wh, "SHOW server_version") == "result"
    assert path_of(shared_wh, "SELECT 1") in ("binary", "select")
    assert "cost" in str(shared_wh.read("EXPLAIN SELECT 1").iloc[0, 0])


def test_a_read_cannot_end_its_transaction_and_write(wh: Warehouse) -> None:
    for sql in (
        "COMMIT; CREATE TABLE public.mine (n int)", "SELECT 1; /* ; */ End; DROP TABLE dw.dim_lot", "(SELECT 1); abort",
        "SELECT 1; PREPARE TRANSACTION 'x'", " -- COMMIT\nROLLBACK; SELECT 1",
    ):  # fmt: skip
        with pytest.raises(ReadError, match=r"would end the read-only transaction.*wh\.session"):
            wh.read(sql)
    with pytest.raises(ReadError, match="read-only"):
        wh.read("CREATE TABLE public.mine (n int)")
    assert wh.read("SELECT ';COMMIT' || $$; END$$ /* ; END */ AS \"; END\"").iloc[0, 0] == ";COMMIT; END"
    assert wh.read("SELECT to_regclass('public.mine') IS NULL AND to_regclass('dw.dim_lot') IS NOT NULL AS n").n[0]
    assert checked_out(wh) == 0


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1; SELECT 2",
        "SELECT 1;;SELECT 2;",
        "SELECT ';'; (SELECT 2)",
        "SHOW work_mem; SHOW work_mem",
        "TABLE a;/**/TABLE b",
    ],
)
def test_several_statements_are_refused_not_all_but_the_last_forgotten(shared_wh: Warehouse, sql: str) -> None:
    with pytest.raises(ReadError, match=r"a read runs one statement, but these are 2 \("):
        shared_wh.read(sql)


def test_copy_is_no_query(shared_wh: Warehouse) -> None:
    for sql in ("COPY dw.dim_lot TO STDOUT", "/* all */ copy (SELECT 1) TO STDOUT", "COPY a FROM STDIN; SELECT 1"):
        with pytest.raises(ReadError, match="COPY is no query; give the SELECT"):
            shared_wh.read(sql)


@pytest.mark.parametrize("transport", ["cursor", "csv"])
def test_several_connections_and_a_transport_that_has_one_are_refused(shared_wh: Warehouse, transport: str) -> None:
    with pytest.raises(ReadError, match=f'transport="{transport}" reads by one connection; leave out parallel=2'):
        shared_wh.read("SELECT 1", transport=transport, parallel=2)


@pytest.mark.parametrize("sql", ["", " \n", "-- nothing", "/* nothing */ ;"])
def test_an_empty_statement_is_called_so(shared_wh: Warehouse, sql: str) -> None:
    with pytest.raises(ReadError, match="the statement is empty"):
        shared_wh.read(sql)


def test_a_query_runs_once(wh: Warehouse) -> None:
    with wh.session() as session:  # under another name: the pool closes a session that took such a lock in plain sight
        session.execute(
            text("CREATE FUNCTION public.count_run() RETURNS int LANGUAGE sql AS 'SELECT 1 FROM pg_advisory_lock(77)'")
        )
    for way in WAYS:
        with way():
            assert list(wh.read("SELECT n FROM public.count_run() AS n").n) == [1]
        driver: Any = (
            wh.engine.raw_connection()
        )  # the one that was just given back; its lock counts how often it was taken
        with driver.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(77), pg_advisory_unlock(77)")
            assert cursor.fetchone() == (True, False)
        driver.close()


@pytest.mark.segments
def test_a_whole_table_is_formatted_by_the_segments(wh: Warehouse) -> None:
    wh.load("fact_test_results", [die_of_l1(die_x=n, wafer_id=str(n % 25)) for n in range(100)])
    whole = [
        "SELECT * FROM dw.fact_test_results", "TABLE dw.fact_test_results;",
        "select die_x, dw.fact_test_results.part_id from dw.fact_test_results",
        select(FactTestResults), 'SELECT "die_x" FROM fact_test_results', "SELECT * FROM dw.fact_test_results_1_prt_m202601",
        "SELECT * FROM dw.dim_wafer",
    ]  # fmt: skip
    for statement in whole:
        assert path_of(wh, statement) == "table", statement
    parts = [
        "SELECT * FROM dw.fact_test_results WHERE die_x = 1", "SELECT * FROM dw.v_wafer_yield", "SELECT * FROM dw.dim_lot",
        "SELECT die_x, die_x FROM dw.fact_test_results", "SELECT count(*) FROM dw.fact_test_results",
        "SELECT gp_segment_id FROM dw.fact_test_results", "SELECT current_date FROM dw.fact_test_results",
        "SELECT * FROM pg_catalog.pg_class", "SELECT die_x AS x FROM dw.fact_test_results", select(DimLot.lot_id),
    ]  # fmt: skip
    for statement in parts:
        assert path_of(wh, statement) in ("binary", "select"), statement
    for statement in ("SELECT * FROM dw.fact_test_results", select(FactTestResults)):
        whole_table = wh.read(statement, arrow=True).sort_by("die_x")
        selected = wh.read("SELECT * FROM dw.fact_test_results WHERE true", arrow=True).sort_by("die_x")
        assert whole_table.equals(selected)
        assert whole_table.num_rows == 100


@pytest.mark.segments
def test_the_rows_of_children_are_read_with_their_parents(wh: Warehouse) -> None:
    with wh.engine.begin() as connection:
        for statement in (
            "CREATE TABLE parent (n int) DISTRIBUTED BY (n)",
            "CREATE TABLE child () INHERITS (parent)",
            "INSERT INTO child VALUES (1)",
        ):
            connection.exec_driver_sql(statement)
    assert list(wh.read("SELECT * FROM parent").n) == [1]
    assert path_of(wh, "SELECT * FROM parent") == "binary"


EXTERNAL = """CREATE EXTERNAL WEB TABLE cold (n int, x text, d date)
    EXECUTE 'for i in 1 2 3; do echo "$i|cold|2026-02-06"; done' ON SEGMENT 0 FORMAT 'text' (DELIMITER '|')"""
PARTED = """CREATE TABLE parted (n int, x text, d date) DISTRIBUTED BY (n) PARTITION BY RANGE (d)
    (PARTITION hot START ('2026-01-01') END ('2026-02-01'), PARTITION cold START ('2026-02-01') END ('2026-03-01'))"""
EXCHANGED = {
    True: ["ALTER TABLE parted EXCHANGE PARTITION cold WITH TABLE cold WITHOUT VALIDATION", "DROP TABLE cold"],
    False: [
        "ALTER TABLE parted DETACH PARTITION parted_1_prt_cold",
        "ALTER TABLE parted ATTACH PARTITION cold FOR VALUES FROM ('2026-02-01') TO ('2026-03-01')",
    ],
}


@pytest.mark.segments
@pytest.mark.parametrize("rows", [10, 300_000])
def test_a_table_with_an_external_partition_is_read_by_select_whatever_its_size(
    wh: Warehouse, server_info: ServerInfo, rows: int
) -> None:
    """COPY of such a table fails where it comes to that partition: at once, or after the first blocks."""
    make = f"INSERT INTO parted SELECT g, repeat('hot', 20), '2026-01-05' FROM generate_series(1, {rows}) g"
    with wh.engine.begin() as connection:
        for statement in (PARTED, EXTERNAL, make, *EXCHANGED[server_info.postgres_version < (12,)]):
            connection.exec_driver_sql(statement)
    for transport in ("auto", "csv"):
        assert len(wh.read("SELECT * FROM parted", arrow=True, transport=transport)) == rows + 3
    assert path_of(wh, "TABLE parted") in ("binary", "select")
    assert path_of(wh, "SELECT * FROM parted_1_prt_hot") == "table"


def test_chunks_have_their_number_of_rows(shared_wh: Warehouse) -> None:
    with shared_wh.read(BIG, chunks=70_000) as chunks:
        frames = list(chunks)
    assert [len(frame) for frame in frames] == [70_000] * 4 + [20_000]
    assert list(pd.concat(frames).n) == list(range(1, 300_001))
    small = list(shared_wh.read("SELECT generate_series(1, 5) AS n", chunks=2, arrow=True))
    assert [table["n"].to_pylist() for table in small] == [[1, 2], [3, 4], [5]]
    assert list(shared_wh.read("SELECT 1 AS n WHERE false", chunks=2)) == []
    with pytest.raises(ReadError, match="chunks=0"):
        shared_wh.read("SELECT 1", chunks=0)


def test_an_error_is_told_at_the_call_and_not_at_the_first_chunk(shared_wh: Warehouse) -> None:
    with pytest.raises(ReadError, match="nope"):
        shared_wh.read("SELECT nope", chunks=10)


PEAK = """
import sys
from pathlib import Path
from gpwarehouse import Warehouse
with Warehouse(sys.argv[1]) as wh:
    sql = "SELECT g AS n, repeat('x', 100) AS x FROM generate_series(1, CAST(:rows AS int)) AS g"
    assert sum(table.num_rows for table in wh.read(sql, rows=int(sys.argv[2]), chunks=20_000, arrow=True)) == int(sys.argv[2])
print(next(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from Linux's /proc")
def test_chunks_take_constant_memory(shared_wh: Warehouse) -> None:
    url = shared_wh.settings.sqlalchemy_url().render_as_string(hide_password=False)

    def peak_kb(rows: int) -> int:
        done = run_code(PEAK, url, str(rows))
        assert done.returncode == 0, done.stderr
        return int(done.stdout)

    few, many = peak_kb(200_000), peak_kb(1_000_000)  # 22 MB and 110 MB of text
    assert many - few < 40_000
    assert many < 300_000


@pytest.mark.parametrize("leave", ["close", "with", "forget", "raise"])
def test_a_broken_off_read_gives_its_connection_back(shared_wh: Warehouse, leave: str) -> None:
    before = checked_out(shared_wh)
    endless = "SELECT generate_series(1, 1000000000000) AS n, repeat('x', 100) AS x"  # unless it is cancelled
    chunks = shared_wh.read(endless, chunks=1000)
    assert checked_out(shared_wh) == before + 1
    assert len(next(chunks)) == 1000
    if leave == "close":
        chunks.close()
    elif leave == "with":
        with chunks:
            pass
    elif leave == "raise":
        with pytest.raises(RuntimeError), chunks:
            raise RuntimeError
    else:
        del chunks
        gc.collect()
    assert checked_out(shared_wh) == before
    assert not [thread for thread in threading.enumerate() if thread.name == "gpwarehouse-copy"]
    assert list(shared_wh.read("SELECT 1 AS n").n) == [1]


def test_a_server_that_fails_on_the_way_says_so_and_the_pool_goes_on(shared_wh: Warehouse) -> None:
    sql = "SELECT 1 / (200000 - g) AS n, repeat('x', 100) AS x FROM generate_series(1, 300000) AS g"
    with pytest.raises(ReadError, match="division by zero"):
        shared_wh.read(sql)
    chunks = shared_wh.read(sql, chunks=1000)
    with pytest.raises(ReadError, match="division by zero"):
        list(chunks)
    assert list(shared_wh.read("SELECT 1 AS n").n) == [1]


def test_a_connection_that_dies_on_the_way_is_told_and_replaced(shared_wh: Warehouse) -> None:
    chunks = shared_wh.read(BIG.replace("300000", "3000000"), chunks=1000)
    next(chunks)
    with shared_wh.engine.connect() as connection:
        ended = connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE query LIKE 'COPY%' AND datname = current_database() AND pid <> pg_backend_pid()"
            )
        )
        assert ended.scalar_one()
    with pytest.raises(ReadError, match=r"terminating|connection was lost"):
        list(chunks)
    assert list(shared_wh.read("SELECT 1 AS n").n) == [1]


def test_a_statement_that_takes_too_long_names_the_setting(wh: Warehouse) -> None:
    settings = wh.settings.model_copy(update={"statement_timeout_s": 1})
    with Warehouse(settings=settings) as hasty, pytest.raises(ReadError, match="GPWAREHOUSE_STATEMENT_TIMEOUT_S"):
        hasty.read("SELECT pg_sleep(30)")


def test_a_read_has_the_options_it_is_given_and_no_other_read_has_them(shared_wh: Warehouse, tmp_path: Path) -> None:
    shown = "SELECT current_setting('work_mem') AS m, current_setting('statement_timeout') AS t"
    usual = shared_wh.read(shown).values.tolist()
    options = {"work_mem": "7MB", "statement_timeout_s": 9, "statement_mem": "64MB", "optimizer": "off"}
    for way in WAYS:
        with way():
            assert shared_wh.read(shown, session=options).values.tolist() == [["7MB", "9s"]]
            assert shared_wh.read(shown).values.tolist() == usual
    shared_wh.export(shown, tmp_path / "shown.parquet", session=options)
    assert pd.read_parquet(tmp_path / "shown.parquet").values.tolist() == [["7MB", "9s"]]
    with pytest.raises(InvalidInputError, match="no option of a session"):
        shared_wh.read(shown, session={"workmem": "7MB"})
    with pytest.raises(ReadError, match=r"statement_timeout_s"):
        shared_wh.read("SELECT pg_sleep(20)", session={"statement_timeout_s": 0.1})


@pytest.mark.parametrize("transport", ["csv", "auto"])
def test_a_stream_that_lost_rows_is_refused(
    shared_wh: Warehouse, monkeypatch: pytest.MonkeyPatch, transport: str
) -> None:
    pieces: Callable[[CopyOut], Any] = CopyOut.pieces

    def lossy(self: CopyOut) -> Any:
        for piece in pieces(self):
            if isinstance(piece, list):
                del piece[1]
            yield piece if isinstance(piece, list) else piece[: piece[:-1].rfind(b"\n") + 1]

    monkeypatch.setattr(CopyOut, "pieces", lossy)
    with pytest.raises(ReadError, match="3 rows, but 2 arrived"):
        shared_wh.read("SELECT generate_series(1, 3)", transport=transport)


def test_progress_tells_the_rows(shared_wh: Warehouse) -> None:
    told: list[tuple[str, int]] = []
    shared_wh.read(BIG, progress=lambda *what: told.append(what))
    assert told[-1] == ("read", 300_000)
    assert [rows for _, rows in told] == sorted({rows for _, rows in told})
    assert len(told) > 3


def test_errors_tell_the_way_out(shared_wh: Warehouse) -> None:
    with pytest.raises(ReadError, match=r'"no_such" does not exist.*information_schema\.tables'):
        shared_wh.read("SELECT * FROM no_such")
    with pytest.raises(ReadError, match=r'column "nope" does not exist.*LIMIT 0'):
        shared_wh.read("SELECT nope FROM dw.dim_lot")
    with pytest.raises(ReadError, match="int is not a statement"):
        shared_wh.read(42)  # type: ignore[call-overload]
    with pytest.raises(ReadError, match="no columns"):
        shared_wh.read("SELECT")
    with pytest.raises(ReadError, match="read-only"):
        shared_wh.read("WITH gone AS (DELETE FROM dw.dim_lot RETURNING lot_id) SELECT * FROM gone")


def test_a_schema_of_another_name_is_read_through_the_models(wh: Warehouse, server_info: ServerInfo) -> None:
    assert server_info.brand in Brand
    with wh.engine.begin() as connection:
        connection.execute(text("ALTER SCHEMA dw RENAME TO fab_two"))
    settings = wh.settings.model_copy(update={"schema_name": "fab_two"})
    with Warehouse(settings=settings) as other:
        assert sorted(other.read(select(DimLot.lot_key)).lot_key) == [-2, -1]


def test_threads_read_at_the_same_time(shared_wh: Warehouse) -> None:
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            frame = shared_wh.read("SELECT g * CAST(:n AS int) AS x FROM generate_series(1, 50000) AS g", n=number)
            assert frame.x.sum() == number * 50_000 * 50_001 // 2
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert not failures
