"""Files of tables at the door: every kind gives the rows that the frame would have given."""

from __future__ import annotations

import bz2
import gzip
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.dataset as pa_dataset
import pyarrow.feather as pa_feather
import pyarrow.parquet as pa_parquet
import pytest

from gpwarehouse import CsvOptions, Warehouse
from gpwarehouse.errors import BatchConflictError, InvalidInputError
from gpwarehouse.intake.frames import BATCH_ROWS, record_batches
from gpwarehouse.intake.table_files import TableFiles
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


def rows_read(frame: Any) -> list[dict[str, Any]]:
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
    assert rows_read(str(tmp_path / "*")) == [{"lot_id": "L1"}, {"lot_id": "L0"}, {"lot_id": "L2"}]
    assert rows_read(tmp_path / "*.parquet") == [{"lot_id": "L0"}, {"lot_id": "L2"}]


def test_a_dataset_is_read_in_batches(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", pa.table({"defect_id": range(BATCH_ROWS + 5)}))
    batches = list(record_batches(pa_dataset.dataset(tmp_path), frozenset()))
    assert sum(batch.num_rows for batch in batches) == BATCH_ROWS + 5
    assert max(batch.num_rows for batch in batches) <= BATCH_ROWS


def test_a_field_of_quotes_is_an_empty_text_and_one_of_nothing_is_null(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text('lot_id,class_name\nL1,""\nL2,\n007,"a ""b"",\nc"\n')
    assert rows_read(path) == [
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
        ("x.xlsx", b"secret", "the suffix of the file is not known; the known ones are .parquet"),
        ("x.parquet", b"secret", "the file cannot be read"),
        ("x.arrow", b"secret", "the file cannot be read"),
        ("x.csv", b"a,b\n1,2\nsecret\n", "line 3: the record has 1 fields, but there are 2 headings"),
        ("x.csv", b"", "the file is empty"),
        ("x.csv.gz", gzip.compress(b"a,b\nsecret" * 999, mtime=0)[:50], "the compressed data ends too early"),
        ("x.csv.gz", gzip.compress(b"a,b\n1,2\n" * 999, mtime=0) + b"secret", "the file cannot be read"),
        ("x.csv.bz2", bz2.compress(b"a,b\n1,2\n" * 999)[:-9], "the compressed data ends too early"),
        ("x.csv.zst", pa.compress(b"a,b\n1,2\n" * 999, "zstd", asbytes=True)[:-5], "the file cannot be read"),
        ("x.csv", b"PK\x03\x04secret", "a zip archive or a workbook"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_and_not_quoted(
    tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidInputError) as caught:
        rows_read(tmp_path / name)
    assert name in str(caught.value)
    assert said in str(caught.value)
    assert "secret" not in str(caught.value)


def test_no_file_is_an_error_and_leaves_nothing(wh: Warehouse, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"there is no file '.*none\.parquet'"):
        wh.load(DEFECTS, tmp_path / "none.parquet")
    with pytest.raises(InvalidInputError, match="there is no file"):
        wh.load(DEFECTS, f"{tmp_path}/*.csv")
    assert scalar(wh, "SELECT count(*) FROM dw.etl_load_batch") == 0


def test_a_fault_behind_the_first_block_names_the_file_and_quotes_no_row(tmp_path: Path) -> None:
    table = pa.table({"defect_id": range(400_000)})
    (tmp_path / "a.csv").write_text("lot_id,class_name\n" + "L1,a\n" * 400_000 + "secret\n")
    with bz2.open(tmp_path / "b.csv.bz2", "wt") as packed:
        packed.write("lot_id,class_name\n" + "".join(f"L{n},a\n" for n in range(400_000)))
    whole = {"b.csv.bz2": (tmp_path / "b.csv.bz2").read_bytes()}
    for name in ("c.parquet", "d.arrow", "e.arrows"):
        whole[name] = write(tmp_path / name, table).read_bytes()
    for name, content in whole.items():
        middle = len(content) // 2
        (tmp_path / name).write_bytes(content[:middle] + b"secret" * 999 + content[middle + 5994 :])
    (tmp_path / "f.arrows").write_bytes(whole["e.arrows"][: len(whole["e.arrows"]) * 2 // 3])
    for name in ["a.csv", *whole, "f.arrows"]:
        if name in ("d.arrow", "e.arrows"):
            continue  # of integers every byte may be one: what is read is what the file says
        with pytest.raises(InvalidInputError) as caught:
            rows_read(tmp_path / name)
        assert name in str(caught.value)
        assert "secret" not in str(caught.value)


def test_a_damaged_arrow_file_ends_no_process(tmp_path: Path) -> None:
    path = write(tmp_path / "x.arrow", pa.table({"lot_id": [f"L{n}" for n in range(5000)]}))
    content = path.read_bytes()
    path.write_bytes(content[:2000] + b"\xff" * 4000 + content[6000:])  # offsets far beyond the end
    with pytest.raises(InvalidInputError, match=r"x\.arrow: the file cannot be read"):
        rows_read(path)


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("lot_id,class_name\n" + "L1,a\n" * 500_000)
    batches = record_batches(path, frozenset())
    next(batches)
    with path.open("a") as more:
        more.write("L2,b\n")
    with pytest.raises(InvalidInputError, match=r"x\.csv: the file changed while it was read"):
        list(batches)


def test_a_file_that_is_gone_when_it_is_its_turn_is_named(tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text("lot_id,class_name\nL1,a\n")
    batches = record_batches(str(tmp_path / "*.csv"), frozenset())
    next(batches)
    (tmp_path / "b.csv").unlink()
    with pytest.raises(InvalidInputError, match=r"b\.csv: the file cannot be read: No such file"):
        list(batches)


def test_a_dataset_names_the_file_at_fault(tmp_path: Path) -> None:
    for name in ("a.parquet", "b.parquet", "c.parquet"):
        write(tmp_path / name, pa.table({"defect_id": range(5)}))
    dataset = pa_dataset.dataset(tmp_path)
    (tmp_path / "b.parquet").write_bytes(b"secret")
    with pytest.raises(InvalidInputError, match=r"b\.parquet: the file cannot be read") as caught:
        list(record_batches(dataset, frozenset()))
    assert "secret" not in str(caught.value)


def test_a_reader_that_fails_on_its_way_is_refused_without_its_row(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a,b\n" + "1,2\n" * 400_000 + "secret\n")
    with pytest.raises(InvalidInputError, match="Reader could not be read to its end") as caught:
        list(record_batches(pa_csv.open_csv(tmp_path / "x.csv"), frozenset()))
    assert "secret" not in str(caught.value)


def test_the_exception_of_the_callers_own_iterator_is_raised_as_it_is_and_nothing_is_loaded(wh: Warehouse) -> None:
    def rows() -> Any:
        yield defect(defect_id=1)
        raise RuntimeError("the caller's")

    schema = TABLE.schema
    reader = pa.RecordBatchReader.from_batches(schema, (b for b in _failing(TABLE)))
    for frame in (rows(), reader):
        with pytest.raises(RuntimeError, match="the caller's"):
            wh.load(DEFECTS, frame)
    assert scalar(wh, f"SELECT count(*) FROM dw.{DEFECTS}") == 0
    assert wh.engine.pool.checkedout() == 0  # type: ignore[attr-defined]


def _failing(table: pa.Table) -> Any:
    yield from table.to_batches()
    raise RuntimeError("the caller's")


def test_a_loaded_file_is_recognised_by_its_content_before_its_rows_are_checked(wh: Warehouse, tmp_path: Path) -> None:
    times = pa.array(["2026-03-01T08:15:00.5+01:00"] * len(ROWS))
    table = TABLE.set_column(TABLE.schema.get_field_index("event_ts"), "event_ts", times)
    first = wh.load(DEFECTS, write(tmp_path / "x.csv", table))
    checked: list[str] = []
    for name in ("x.csv", "y.csv.gz", "z.tsv"):
        path = tmp_path / name if name == "x.csv" else write(tmp_path / name, table)
        again = wh.load(DEFECTS, path, progress=lambda phase, rows: checked.append(phase))
        assert (again.already_loaded, again.batch_id) == (True, first.batch_id)
    assert checked == []
    same = wh.load(DEFECTS, table)  # a frame is read and checked, and has the same checksum
    assert (same.already_loaded, same.batch_id) == (True, first.batch_id)


def test_a_loaded_file_is_recognised_by_its_bytes_without_being_read_as_a_table(
    wh: Warehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "x.csv")
    first = wh.load(DEFECTS, path)
    (tmp_path / "copy.csv").write_bytes(path.read_bytes())
    with monkeypatch.context() as patched:
        patched.setattr("gpwarehouse.intake.table_files.csv_batches", None)
        for name in ("x.csv", "copy.csv"):
            again = wh.load(DEFECTS, tmp_path / name)
            assert (again.already_loaded, again.batch_id) == (True, first.batch_id)
        with pytest.raises(BatchConflictError, match="was loaded into"):
            wh.load(DEFECTS, path, on_conflict="error")
    assert (
        wh.load(DEFECTS, path, csv=CsvOptions(null_values=("0.125",))).rows_loaded == 50
    )  # other options, other content
    wh.batches.delete(first.batch_id)
    assert wh.load(DEFECTS, path).rows_loaded == 50


def test_a_file_that_changes_between_its_checksum_and_its_rows_is_refused(
    wh: Warehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else its new rows would stand under the bytes of the old ones, which would be taken for loaded."""
    path = write(tmp_path / "x.csv")
    take = TableFiles.checksum

    def and_it_changes(self: TableFiles) -> str:
        checksum = take(self)
        write(tmp_path / "new.csv", pa.Table.from_pylist(ROWS[:3])).replace(path)
        return checksum

    with monkeypatch.context() as patched:
        patched.setattr(TableFiles, "checksum", and_it_changes)
        with pytest.raises(InvalidInputError, match=r"x\.csv: the file changed while"):
            wh.load(DEFECTS, path)
    assert scalar(wh, f"SELECT count(*) FROM dw.{DEFECTS}") == 0
    assert wh.load(DEFECTS, path).rows_loaded == 3
    assert wh.load(DEFECTS, write(path)).rows_loaded == 50


def test_another_file_of_as_many_rows_is_loaded(wh: Warehouse, tmp_path: Path) -> None:
    wh.load(DEFECTS, write(tmp_path / "x.csv"))
    rows = [row | {"defect_id": 1000 + row["defect_id"]} for row in ROWS]
    assert wh.load(DEFECTS, write(tmp_path / "y.csv", pa.Table.from_pylist(rows))).rows_loaded == 50


def test_a_loaded_file_with_a_value_that_cannot_be_read_is_recognised(wh: Warehouse, tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    write(path)
    path.write_text(path.read_text().replace("0.125", "soon"))
    first = wh.load(DEFECTS, path, max_rejects=1)
    assert (first.rows_rejected, wh.load(DEFECTS, path, max_rejects=1).already_loaded) == (1, True)
