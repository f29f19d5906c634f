"""A query's rows as Parquet: whole, or not there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from gpwarehouse import Warehouse
from gpwarehouse.errors import ReadError
from tests.processes import run_code

ROWS = (
    "SELECT g AS n, CASE WHEN g % 3 > 0 THEN 'L' || g % 3 END AS lot, now() AS at FROM generate_series(1, :rows) AS g"
)


def test_a_file_holds_what_a_read_gives(shared_wh: Warehouse, tmp_path: Path) -> None:
    sql = "SELECT g AS n, g * 0.1::float8 AS x, NULL::text AS t, TIMESTAMPTZ '2026-01-01' AS at FROM generate_series(1, 300000) g"
    told: list[int] = []
    result = shared_wh.export(sql, tmp_path / "out.parquet", progress=lambda _, rows: told.append(rows))
    assert (result.rows, result.files, result.path) == (300_000, 1, tmp_path / "out.parquet")
    assert result.bytes == result.path.stat().st_size
    assert told[-1] == 300_000
    assert pq.read_table(result.path).equals(shared_wh.read(sql, arrow=True))
    assert [p.name for p in tmp_path.iterdir()] == ["out.parquet"]


def test_a_folder_is_partitioned_by_columns(shared_wh: Warehouse, tmp_path: Path) -> None:
    result = shared_wh.export(ROWS, tmp_path / "lots", {"rows": 300}, partition_by="lot")
    folders = sorted(path.name for path in result.path.iterdir())
    assert folders == ["lot=L1", "lot=L2", "lot=__HIVE_DEFAULT_PARTITION__"]
    assert (result.rows, result.files) == (300, 3)
    back = ds.dataset(result.path, partitioning="hive").to_table()
    assert sorted(back["n"].to_pylist()) == list(range(1, 301))
    assert [p.name for p in tmp_path.iterdir()] == ["lots"]


def test_an_export_may_name_its_transport_and_read_by_several_connections(shared_wh: Warehouse, tmp_path: Path) -> None:
    with shared_wh.engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TABLE wide AS SELECT g AS n, mod(g, 2) AS half, repeat('x', 500) AS x FROM generate_series(1, 40000) g"
        )
    given: list[dict[str, Any]] = [{"transport": "csv"}, {"parallel": 2}, {"parallel": 3, "partition_by": "half"}]
    for number, options in enumerate(given):
        target = tmp_path / (f"{number}" if "partition_by" in options else f"{number}.parquet")
        result = shared_wh.export("TABLE wide", target, **options)
        assert result.rows == 40_000
        assert sorted(ds.dataset(target).to_table(columns=["n"])["n"].to_pylist()) == list(range(1, 40_001))
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"transport": "fast"}, "transport='fast'"),
        ({"parallel": 17}, "from 1 to 16"),
    ]
    for options, words in wrong:
        with pytest.raises(ReadError, match=words):
            shared_wh.export("TABLE wide", tmp_path / "no.parquet", **options)
    assert not (tmp_path / "no.parquet").exists()


def test_no_rows_make_a_file_with_the_columns(shared_wh: Warehouse, tmp_path: Path) -> None:
    result = shared_wh.export("SELECT 1 AS n WHERE false", tmp_path / "none.parquet")
    assert result.rows == 0
    assert pq.read_schema(result.path) == pa.schema([("n", pa.int32())])


@pytest.mark.parametrize("by", ["", "n"])
def test_a_failed_export_leaves_nothing_and_what_was_there(shared_wh: Warehouse, tmp_path: Path, by: str) -> None:
    target = tmp_path / ("out" if by else "out.parquet")
    options: dict[str, Any] = {"partition_by": by} if by else {}
    failing = "SELECT 1 / (250000 - g) AS n, repeat('x', 100) AS x FROM generate_series(1, 300000) AS g"
    with pytest.raises(ReadError, match="division by zero"):
        shared_wh.export(failing, target, **options)
    assert list(tmp_path.iterdir()) == []
    shared_wh.export("SELECT 7 AS n, 'x' AS x", target, **options)
    with pytest.raises(ReadError, match="division by zero"):
        shared_wh.export(failing, target, overwrite=True, **options)
    assert [p.name for p in tmp_path.iterdir()] == [target.name]
    assert ds.dataset(target, partitioning="hive").to_table()["n"].to_pylist() == [7]


@pytest.mark.parametrize("parallel", [1, 3])
def test_an_export_that_cannot_write_says_so_and_leaves_no_thread_waiting(
    shared_wh: Warehouse, tmp_path: Path, parallel: int
) -> None:
    with shared_wh.engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE IF EXISTS long_names")
        connection.exec_driver_sql(
            "CREATE TABLE long_names AS SELECT g AS n, repeat('x', 500) AS x FROM generate_series(1, 40000) g"
        )
    export = (
        "import sys; from gpwarehouse import Warehouse\n"
        f"with Warehouse(sys.argv[1]) as wh: wh.export('TABLE long_names', sys.argv[2], partition_by='x', parallel={parallel})"
    )
    url = shared_wh.settings.sqlalchemy_url().render_as_string(hide_password=False)
    done = run_code(export, url, str(tmp_path / "out"))
    assert "ReadError" in done.stderr
    assert "cannot be written" in done.stderr
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ReadError, match="cannot be written"):
        shared_wh.export("SELECT 1 AS n", tmp_path / "x.parquet", compression="none such")


@pytest.mark.parametrize("by", ["", "n"])
def test_what_is_there_is_replaced_on_request_only(shared_wh: Warehouse, tmp_path: Path, by: str) -> None:
    target = tmp_path / ("out" if by else "out.parquet")
    options: dict[str, Any] = {"partition_by": by} if by else {}
    shared_wh.export("SELECT 1 AS n, 2 AS m", target, **options)
    with pytest.raises(ReadError, match="overwrite=True"):
        shared_wh.export("SELECT 2 AS n, 2 AS m", target, **options)
    shared_wh.export("SELECT 3 AS n, 2 AS m", target, overwrite=True, **options)
    assert ds.dataset(target, partitioning="hive").to_table()["n"].to_pylist() == [3]
    assert [p.name for p in tmp_path.iterdir()] == [target.name]


@pytest.mark.parametrize(
    ("value", "kind", "instead"),
    [
        ("CAST('a' AS bytea)", "binary", r"encode\(k, 'hex'\) AS k"),
        ("array[1]", "list", r"CAST\(k AS text\) AS k"),
        ("CAST(1.5 AS numeric(5, 2))", "decimal128", r"CAST\(k AS text\) AS k"),
    ],
)
def test_a_column_whose_values_make_no_names_of_folders_is_refused(
    shared_wh: Warehouse, tmp_path: Path, value: str, kind: str, instead: str
) -> None:
    sql = f"SELECT {value} AS k, 1 AS n"
    with pytest.raises(ReadError, match=f"column 'k' has type {kind}.*{instead}"):
        shared_wh.export(sql, tmp_path / "out", partition_by="k", exact_numeric=True)
    assert list(tmp_path.iterdir()) == []


def test_values_in_names_of_folders_are_read_as_they_were(shared_wh: Warehouse, tmp_path: Path) -> None:
    sql = "SELECT * FROM (VALUES ('a/b%=é', 1), ('', 2), (NULL, 3), ('..', 4)) AS given (k, n)"
    shared_wh.export(sql, tmp_path / "out", partition_by="k")
    hive = ds.partitioning(pa.schema([("k", pa.string())]), flavor="hive")
    assert ds.dataset(tmp_path / "out", partitioning=hive).to_table().sort_by("n")["k"].to_pylist() == [
        "a/b%=é",
        "",
        None,
        "..",
    ]
    with pytest.raises(ReadError, match="column 'k' holds the text __HIVE_DEFAULT_PARTITION__, which means NULL"):
        shared_wh.export("SELECT '__HIVE_DEFAULT_PARTITION__' AS k, 1 AS n", tmp_path / "other", partition_by="k")


def test_targets_that_will_not_do_are_refused(shared_wh: Warehouse, tmp_path: Path) -> None:
    for target, options, words in (
        ("out.xlsx", {}, r"\.parquet"),
        ("no/such/out.parquet", {}, "is not a folder"),
        ("out", {"partition_by": "nope"}, "there is no column 'nope'; the columns of the query are n, m"),
        ("out", {"partition_by": ["n", "m"]}, "no column would be left"),
    ):
        with pytest.raises(ReadError, match=words):
            shared_wh.export("SELECT 1 AS n, 2 AS m", tmp_path / target, None, **options)
    with pytest.raises(ReadError, match="two columns are named 'n'"):
        shared_wh.export("SELECT 1 AS n, 2 AS n", tmp_path / "out.parquet")
    assert list(tmp_path.iterdir()) == []
