"""Files of tables at the door: every kind gives the rows that the frame would have given."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.dataset as pa_dataset
import pyarrow.feather as pa_feather
import pyarrow.parquet as pa_parquet
import pytest

from gpwarehouse import Warehouse
from gpwarehouse.errors import InvalidInputError
from gpwarehouse.load.frames import BATCH_ROWS, record_batches
from tests.load.rows import DEFECTS, defect, scalar, stored

ROWS = [defect(defect_id=n, x_rel_um=n / 8, class_name=None if n % 3 else "a\n") for n in range(50)]
TABLE = pa.Table.from_pylist(ROWS)
NAMES = ["x.parquet", "x.PQ", "x.csv", "x.csv.gz", "x.csv.zst", "x.tsv", "x.arrow", "x.feather", "x.ipc", "x.arrows"]


def write(path: Path, table: pa.Table = TABLE) -> Path:
    name = path.name.lower()
    if name.endswith((".parquet", ".pq")):
        pa_parquet.write_table(table, path)
    elif ".csv" in name or ".tsv" in name:
        with pa.output_stream(path, compression="detect") as sink:
            delimiter = "\t" if ".tsv" in name else ","
            pa_csv.write_csv(table, sink, pa_csv.WriteOptions(delimiter=delimiter))
    elif name.endswith(".feather"):
        pa_feather.write_feather(table, path, compression="zstd")
    elif name.endswith(".arrows"):
        with pa.ipc.new_stream(str(path), table.schema) as stream:
            stream.write_table(table)
    else:
        with pa.ipc.new_file(str(path), table.schema) as file:
            file.write_table(table)
    return path


def rows_of(frame: Any) -> list[dict[str, Any]]:
    return [row for batch in record_batches(frame, frozenset()) for row in batch.to_pylist()]


@pytest.mark.parametrize("name", NAMES)
def test_a_file_is_loaded_as_its_table_is(shared_wh: Warehouse, tmp_path: Path, name: str) -> None:
    rows = [row | {"defect_id": 1000 * NAMES.index(name) + row["defect_id"]} for row in ROWS]  # or it is known already
    path = write(tmp_path / name, pa.Table.from_pylist(rows))
    result = shared_wh.load(DEFECTS, path, batch_id=name)
    assert (result.rows_loaded, result.rows_rejected) == (50, 0)
    found = stored(shared_wh, DEFECTS, name, "defect_id", "x_rel_um", "class_name", "source_file")
    assert found == [(row["defect_id"], row["x_rel_um"], row["class_name"], name) for row in rows]


def test_a_file_that_is_loaded_again_is_known(wh: Warehouse, tmp_path: Path) -> None:
    first = wh.load(DEFECTS, str(write(tmp_path / "x.parquet")))
    (tmp_path / "y").mkdir()
    again = wh.load(DEFECTS, write(tmp_path / "y" / "x.parquet"))
    assert again.already_loaded
    assert again.batch_id == first.batch_id


def test_a_glob_is_all_its_files_in_order(tmp_path: Path) -> None:
    for number, name in enumerate(["b.parquet", "a.csv", "c.parquet"]):
        write(tmp_path / name, pa.table({"lot_id": [f"L{number}"]}))
    assert rows_of(str(tmp_path / "*")) == [{"lot_id": "L1"}, {"lot_id": "L0"}, {"lot_id": "L2"}]
    assert rows_of(tmp_path / "*.parquet") == [{"lot_id": "L0"}, {"lot_id": "L2"}]


def test_a_dataset_is_read_in_batches(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", pa.table({"defect_id": range(BATCH_ROWS + 5)}))
    batches = list(record_batches(pa_dataset.dataset(tmp_path), frozenset()))
    assert sum(batch.num_rows for batch in batches) == BATCH_ROWS + 5
    assert max(batch.num_rows for batch in batches) <= BATCH_ROWS


def test_a_field_of_quotes_is_an_empty_text_and_one_of_nothing_is_null(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text('lot_id,class_name\nL1,""\nL2,\n007,"a ""b"",\nc"\n')
    assert rows_of(path) == [
        {"lot_id": "L1", "class_name": ""},
        {"lot_id": "L2", "class_name": None},
        {"lot_id": "007", "class_name": 'a "b",\nc'},  # not the number 7
    ]


def test_a_file_without_rows_has_its_columns(tmp_path: Path) -> None:
    write(tmp_path / "x.parquet", TABLE.slice(0, 0))
    (batch,) = record_batches(tmp_path / "x.parquet", frozenset())
    assert (batch.num_rows, batch.schema.names) == (0, TABLE.schema.names)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("x.xlsx", b"secret", "the name tells no kind of table; read are .parquet"),
        ("x.parquet", b"secret", "it cannot be read"),
        ("x.arrow", b"secret", "it cannot be read"),
        ("x.csv", b"a,b\n1,2\nsecret\n", "it cannot be read: Expected 2 columns, got 1"),
        ("x.csv", b"", "it cannot be read"),
        ("x.csv.gz", gzip.compress(b"a,b\nsecret" * 999, mtime=0)[:50], "it cannot be read"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_and_not_quoted(
    tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidInputError) as caught:
        rows_of(tmp_path / name)
    assert name in str(caught.value)
    assert said in str(caught.value)
    assert "secret" not in str(caught.value)


def test_no_file_is_an_error_and_leaves_nothing(wh: Warehouse, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"there is no file '.*none\.parquet'"):
        wh.load(DEFECTS, tmp_path / "none.parquet")
    with pytest.raises(InvalidInputError, match="there is no file"):
        wh.load(DEFECTS, f"{tmp_path}/*.csv")
    assert scalar(wh, "SELECT count(*) FROM dw.etl_load_batch") == 0
