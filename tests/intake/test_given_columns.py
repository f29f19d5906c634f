"""Which columns each row names, from whatever it comes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as pa_dataset
import pyarrow.parquet as pq
import pytest

from gpwarehouse.intake import frames
from gpwarehouse.intake.frames import record_batches
from gpwarehouse.intake.given_columns import GIVEN, Given, marker, named_apart
from gpwarehouse.intake.target import target_named

SCHEMA = pa.schema([("a", pa.int64()), ("b", pa.int64()), ("c", pa.string())])
SITES = [{"lot_id": "L", "slot": 1}, {"lot_id": "L", "cd_nm": 1.0}, {"lot_id": "L", "cd_nm": 2.0}, {"lot_id": "L"}]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two files, of which each lacks a column of the other, and one in a folder that tells a value."""
    (tmp_path / "flat").mkdir()
    (tmp_path / "hive" / "b=5").mkdir(parents=True)
    pq.write_table(pa.table({"a": [1, 2], "b": [1, None]}), tmp_path / "flat" / "1.parquet")
    pq.write_table(pa.table({"a": [3], "c": ["x"]}), tmp_path / "flat" / "2.parquet")
    pq.write_table(pa.table({"a": [9]}), tmp_path / "hive" / "b=5" / "1.parquet")
    return tmp_path


def names(frame: Any) -> list[list[str]]:
    return [batch.schema.names for batch in record_batches(frame, frozenset())]


def test_a_dataset_has_in_each_file_the_columns_of_the_file(folder: Path) -> None:
    flat = pa_dataset.dataset(folder / "flat", schema=SCHEMA)
    parts = [pa_dataset.dataset(folder / "flat" / f"{n}.parquet", schema=SCHEMA) for n in (1, 2)]
    for dataset in (flat, pa_dataset.dataset(parts), flat.filter(pa_dataset.field("a") > 0)):
        assert names(dataset) == [["a", "b"], ["a", "c"]]
    assert names(flat.filter(pa_dataset.field("a") > 2)) == [["a", "c"]]
    assert names(flat.filter(pa_dataset.field("a") > 9)) == [["a", "b", "c"]]
    hive = pa_dataset.dataset(folder / "hive", partitioning="hive", schema=SCHEMA)
    assert [batch.to_pylist() for batch in record_batches(hive, frozenset())] == [[{"a": 9, "b": 5}]]
    assert names(pa_dataset.dataset(pa.table({"a": [1]}))) == [["a"]]


@pytest.mark.parametrize("rows_at_a_time", [1, 2, 3, 100])
def test_what_each_row_tells_is_the_same_whatever_the_chunks(
    monkeypatch: pytest.MonkeyPatch, rows_at_a_time: int
) -> None:
    monkeypatch.setattr(frames, "BATCH_ROWS", rows_at_a_time)
    given, kept = Given(target_named("fact_process_measurements")), []
    for batch in record_batches(iter(SITES), frozenset()):
        rows, numbers = given.number(batch)
        assert named_apart(rows)[1] is None
        kept.append(pa.RecordBatch.from_arrays([pa.array(numbers)], [GIVEN]))
    told = [text for batch in given.labelled(kept) for text in batch.column(GIVEN).to_pylist()]
    assert told == [",slot,", ",cd_nm,", ",cd_nm,", ","]
    assert [marker("cd_nm") in text for text in told] == [False, True, True, False]
    assert (given.every, given.not_every) == ({"lot_key"}, {"slot", "cd_nm"})
    monkeypatch.undo()
    whole = Given(given.target)
    whole.number(next(iter(record_batches(SITES, frozenset()))))
    assert given.words() == whole.words()
    other = Given(given.target)
    other.number(next(iter(record_batches([SITES[1], SITES[0], *SITES[2:]], frozenset()))))
    assert other.words() != whole.words()


def test_rows_that_all_name_the_same_are_hashed_by_their_columns_alone() -> None:
    given = Given(target_named("fact_process_measurements"))
    given.number(pa.RecordBatch.from_pylist([{"slot": 1, "lot_id": "L"}]))
    assert (given.words(), given.not_every) == (["lot_id", "slot"], set())
