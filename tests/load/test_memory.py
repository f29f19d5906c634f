"""Memory is bounded by the batch, not by the frame."""

from __future__ import annotations

import resource
import tempfile
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gpwarehouse import Warehouse
from gpwarehouse.intake import spool as spool_module
from gpwarehouse.intake.frames import BATCH_ROWS
from gpwarehouse.intake.spool import Spool
from tests.load.rows import DEFECTS, NOON, scalar
from tests.processes import PROCESS

FLOATS = ("x_rel_um", "y_rel_um")
CHARACTERS = 256
BATCHES = 20
MEGABYTE = 1 << 20


def batch(random: np.random.Generator) -> pa.RecordBatch:
    """Random, so that nothing can compress it."""
    constants = {"event_ts": pa.scalar(NOON), "lot_id": "BIG", "inspection_id": "I", "is_defect": True}
    columns = {name: pa.repeat(value, BATCH_ROWS) for name, value in constants.items()}
    columns["wafer_id"] = pa.array(random.integers(1, 26, BATCH_ROWS).astype(str))
    columns |= {name: pa.array(random.random(BATCH_ROWS)) for name in FLOATS}
    text = pa.py_buffer(random.bytes(BATCH_ROWS * CHARACTERS // 2).hex().encode())
    ends = pa.array(range(0, BATCH_ROWS * CHARACTERS + 1, CHARACTERS), pa.int32())
    columns["adc_class"] = pa.StringArray.from_buffers(BATCH_ROWS, ends.buffers()[1], text)
    return pa.record_batch(columns)


def batches(count: int, seed: int) -> Iterator[pa.RecordBatch]:
    """Made when asked for."""
    random = np.random.default_rng(seed)
    return (batch(random) for _ in range(count))


def _peak_of_load(url: str, kind: str, count: int, folder: str, tell: Connection) -> None:
    """Say by how many bytes a load of ``count`` batches raised the peak that a load of one had made."""
    spool_module.MEMORY_BYTES = 4 * MEGABYTE
    schema = next(batches(1, 0)).schema

    def frame(count: int, seed: int) -> Any:
        file = Path(folder) / f"{seed}.parquet"
        return file if kind == "parquet" else pa.RecordBatchReader.from_batches(schema, batches(count, seed))

    with Warehouse(url) as wh:
        wh.load(DEFECTS, frame(1, 1))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        wh.load(DEFECTS, frame(count, 2), batch_id="big")
        tell.send((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)


@pytest.mark.parametrize("kind", ["reader", "parquet"])
def test_a_source_of_many_batches_takes_no_more_memory_than_one_of_few(
    wh: Warehouse, kind: str, tmp_path: Path
) -> None:
    if kind == "parquet":  # one row group, as many writers make them: it must not be in memory as a whole either
        for seed, count in ((1, 1), (2, BATCHES)):
            pq.write_table(
                pa.Table.from_batches(batches(count, seed)), tmp_path / f"{seed}.parquet", row_group_size=2**30
            )
    ours, theirs = PROCESS.Pipe()
    url = wh.settings.sqlalchemy_url().render_as_string(hide_password=False)
    process = PROCESS.Process(target=_peak_of_load, args=(url, kind, BATCHES, str(tmp_path), theirs))
    process.start()
    assert ours.poll(1800)  # of a machine that does much else
    growth = ours.recv()
    process.join(60)
    assert scalar(wh, "SELECT rows_loaded FROM dw.etl_load_batch WHERE batch_id = 'big'") == BATCHES * BATCH_ROWS
    assert growth < BATCHES / 2 * BATCH_ROWS * CHARACTERS  # a few are on their way at a time, however many there are


def test_a_spool_gives_back_what_it_got_from_memory_and_from_disk(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(spool_module, "MEMORY_BYTES", 1000)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    given = [
        pa.record_batch({"a": [1, 2], "b": pa.array([None, None], pa.string()), "c": [0.5, None]}),
        pa.record_batch({"a": [3], "b": ["x" * 5000], "c": pa.array([None], pa.float64())}),
        pa.record_batch({"a": [4], "b": ["y"], "c": pa.array([None], pa.float64())}),
    ]
    spool = Spool()
    for batch in given:
        spool.append(batch)
    assert (spool.rows, spool.filled) == (4, {"a", "b", "c"})
    for _ in range(2):  # as often as needed
        found = list(spool.batches())
        assert [batch.schema.names for batch in found] == [["a", "c"], ["a", "b"], ["a", "b"]]
        for batch, original in zip(found, given, strict=True):
            assert batch.equals(original.select(batch.schema.names))
    spool.close()
    assert not list(tmp_path.iterdir())


def test_a_spool_of_nothing_gives_nothing() -> None:
    spool = Spool()
    assert list(spool.batches()) == []
    assert (spool.rows, spool.filled) == (0, set())
    spool.close()
