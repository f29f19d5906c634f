"""Many files: each a batch of its own, one that is bad keeps no other out, and what is there is passed over."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from gpwarehouse import Warehouse
from gpwarehouse.cli.progress_bar import load_bar
from gpwarehouse.errors import InvalidInputError, LoadError
from tests.load.rows import DEFECTS, NOON, defect, scalar


def write(folder: Path, name: str, rows: int = 5) -> Path:
    file = folder / f"{name}.parquet"
    pq.write_table(pa.Table.from_pylist([defect(defect_id=n, inspection_id=name) for n in range(rows)]), file)
    return file


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    return [write(tmp_path, f"file{n}") for n in range(4)]


def test_each_file_is_a_batch_and_is_loaded_once(wh: Warehouse, files: list[Path], tmp_path: Path) -> None:
    first = wh.load_files(tmp_path / "*.parquet", target=DEFECTS)
    assert [outcome.status for outcome in first] == ["loaded"] * 4
    assert (first.rows_loaded, first.failed, str(first)) == (20, (), "4 files: 4 loaded; 20 rows loaded")
    files.append(write(tmp_path, "file9", 7))
    again = wh.load_files([str(tmp_path / "*.parquet"), files[0]], target=DEFECTS)
    assert [outcome.status for outcome in again] == ["already loaded"] * 4 + ["loaded"]
    assert scalar(wh, f"SELECT count(*) FROM dw.{DEFECTS}") == 27
    assert scalar(wh, "SELECT count(DISTINCT source) FROM dw.etl_load_batch") == 5


def test_bad_files_are_told_and_the_others_loaded(wh: Warehouse, files: list[Path], tmp_path: Path) -> None:
    files[1].write_bytes(b"no parquet")
    bad = tmp_path / "bad.parquet"
    pq.write_table(pa.Table.from_pylist([defect(dieks=1)]), bad)
    told: list[str] = []
    report = wh.load_files(
        [*files, bad, tmp_path / "none.parquet"], target=DEFECTS, each=lambda outcome: told.append(outcome.status)
    )
    assert told == ["loaded", "failed", "loaded", "loaded", "failed", "failed"]
    assert [outcome.path.name for outcome in report.failed] == ["file1.parquet", "bad.parquet", "none.parquet"]
    assert "unknown column 'dieks'" in str(report.failed[1])
    with pytest.raises(LoadError, match=r"3 of 6 files were not loaded; the first: .*file1.parquet: .*cannot be read"):
        report.raise_for_errors()
    assert scalar(wh, f"SELECT count(*) FROM dw.{DEFECTS}") == 15


def test_after_the_server_is_lost_no_other_file_is_tried(wh: Warehouse, files: list[Path]) -> None:
    wh.status()
    url = wh.settings.sqlalchemy_url()
    far = Warehouse(url.set(host="127.0.0.1", port=1, query={}))
    report = far.load_files(files, target=DEFECTS)
    assert [outcome.status for outcome in report] == ["failed", "not tried", "not tried", "not tried"]


def test_an_id_for_many_files_is_refused(shared_wh: Warehouse, files: list[Path]) -> None:
    with pytest.raises(InvalidInputError, match="batch_id names one batch"):
        shared_wh.load_files(files, target=DEFECTS, batch_id="x")


def test_progress_tells_what_is_to_come_and_what_is_done(shared_wh: Warehouse, tmp_path: Path) -> None:
    class Seen(list[Any]):
        def begin(self, phase: str, rows: int | None, size: int | None) -> None:
            self.append(("begin", phase, rows, size))

        def __call__(self, phase: str, rows: int) -> None:
            self.append((phase, rows))

    file = write(tmp_path, "seen", 9)
    seen = Seen()
    shared_wh.load_file(file, target=DEFECTS, progress=seen, analyze="never")
    assert seen[:2] == [("begin", "read", 9, file.stat().st_size), ("read", 9)]
    assert [step[:3] for step in seen if step[0] == "begin"][1] == ("begin", "copy", 9)
    assert ("copy", 9) in seen
    stream = Seen()
    shared_wh.load(DEFECTS, (defect(event_ts=NOON, defect_id=n) for n in range(3)), progress=stream)
    assert stream[0] == ("begin", "read", None, None)


def test_the_bar_shows_rows_and_speed() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=120)
    with load_bar(console, "lot.parquet") as bar:
        bar.begin("copy", 2000, 8_000_000)
        bar("copy", 1000)
        bar("analyze", 0)
        bar._display.refresh()
        bar.begin("copy", 2000, 8_000_000)
        bar("copy", 1234)
        bar._display.refresh()
    assert "lot.parquet: copy" in out.getvalue()
    assert "1,234 rows" in out.getvalue()
    assert "MB/s" in out.getvalue()
