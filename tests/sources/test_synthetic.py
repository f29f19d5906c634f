"""The demo lot: its answers, its sameness; and reading it takes no more memory when there is more of it."""

from __future__ import annotations

import io
import subprocess
import sys
import tracemalloc
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from stdf_help import limits_of, parameters_of, read

from gpwarehouse.sources.stdf import StdfSource
from gpwarehouse.sources.stdf_writer import StdfWriter
from gpwarehouse.sources.synthetic import DEMO_TESTS, DemoLot, write_demo_lot


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> DemoLot:
    return write_demo_lot(tmp_path_factory.mktemp("demo") / "demo.stdf.gz")


def test_reading_gives_the_answers_that_were_written(demo: DemoLot) -> None:
    rows, source = read(demo.path)
    assert len(rows) == demo.insertions == source.insertions
    for number, wafer in enumerate(demo.wafers):
        mine = [row for row in rows if row["wafer_id"] == wafer.wafer_id]
        assert len(mine) == wafer.insertions > wafer.die
        assert sum(row["is_first_pass"] for row in mine) == sum(row["is_final_result"] for row in mine) == wafer.die
        assert sum(row["is_first_pass"] and row["is_pass"] for row in mine) == wafer.first_pass_good
        assert sum(row["is_final_result"] and row["is_pass"] for row in mine) == wafer.last_good
        assert wafer.first_pass_good < wafer.last_good < wafer.die
        assert {row["event_ts"] for row in mine} == {
            datetime(2024, 3, 4, 6 + (number + 1) // 2, 30 * ((number + 1) % 2), tzinfo=UTC)
        }
    assert sum(len(row["values"]) for row in rows) == demo.parametric_values
    assert len(parameters_of(source)) == len(DEMO_TESTS) == 22
    number, name, seconds = source.test_times()[0]
    assert (number, name) == (demo.slowest_test_number, demo.slowest_test)
    assert seconds == pytest.approx(demo.slowest_test_seconds)


def test_fails_are_outside_the_limits_and_passes_within(demo: DemoLot) -> None:
    rows, source = read(demo.path)
    limits = limits_of(source)
    for row in rows:
        within = all(limits[test]["lsl"] <= value <= limits[test]["usl"] for test, value in row["values"].items())
        assert within == (row["fail_kind"] != "PARAMETRIC")
        assert row["is_pass"] == (row["hard_bin"] == 1) == (row["bin_name"] == "PASS")
    assert {row["fail_kind"] for row in rows} == {None, "PARAMETRIC", "FUNCTIONAL"}


def test_the_same_arguments_give_the_same_bytes(demo: DemoLot, tmp_path: Path) -> None:
    again = write_demo_lot(tmp_path / "again.stdf.gz")
    other = write_demo_lot(tmp_path / "other.stdf.gz", seed=1)
    assert again.path.read_bytes() == demo.path.read_bytes() != other.path.read_bytes()
    assert StdfSource(again.path).checksum != StdfSource(other.path).checksum


def test_a_lot_may_be_of_any_size(tmp_path: Path) -> None:
    lot = write_demo_lot(tmp_path / "a.stdf", lot_id="X", wafers=2, radius=3, retests=3)
    rows, _ = read(lot.path)
    assert [wafer.wafer_id for wafer in lot.wafers] == ["01", "02"]
    assert len(rows) == lot.insertions
    assert max(row["insertion_no"] for row in rows) == 4


def many_wafers(path: Path, wafers: int) -> Path:
    """A file of the given number of equal wafers, 500 die with 40 results each: about 0.8 MB a wafer."""
    block = io.BytesIO()
    out = StdfWriter(block)
    start = block.tell()
    for die in range(500):
        for site in (0, 1):
            out.pir(site=site)
        for test in range(20):
            for site in (0, 1):
                out.ptr(test, die + test / 7, site=site, test_txt="A TEST OF SOME NAME", lo_limit=0.0, hi_limit=9.0)
        for site in (0, 1):
            out.prr(site=site, x=die, y=site)
    body = block.getvalue()[start:]
    with path.open("wb") as raw:
        writer = StdfWriter(raw)
        writer.mir(lot_id="BIG", part_typ="P", job_nam="J", start_t=1_700_000_000)
        for wafer in range(wafers):
            writer.wir(wafer_id=f"W{wafer}")
            raw.write(body)
            writer.wrr(wafer_id=f"W{wafer}")
        writer.mrr()
    return path


def python_peak(path: Path) -> int:
    """The most that Python and Arrow held while the file was read, in bytes."""
    arrow = pa.total_allocated_bytes()
    most = 0
    tracemalloc.start()
    for _ in StdfSource(path, chunk_bytes=1 << 19).batches():
        most = max(most, pa.total_allocated_bytes() - arrow)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak + most


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    small, big = many_wafers(tmp_path / "small.stdf", 2), many_wafers(tmp_path / "big.stdf", 16)
    assert big.stat().st_size > 7.9 * small.stat().st_size > 8_000_000
    python_peak(small)  # imports and caches
    assert python_peak(big) < 1.25 * python_peak(small)


PEAK = """
import resource, sys
from gpwarehouse.sources.stdf import StdfSource
for name in sys.argv[1:]:
    rows = sum(batch.num_rows for batch in StdfSource(name, chunk_bytes=1 << 20).batches())
    print(rows, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss counts kilobytes on Linux")
def test_the_whole_process_stays_small_on_a_file_much_larger(tmp_path: Path) -> None:
    """Counts what stdf_convert allocates, too."""
    small, big = many_wafers(tmp_path / "small.stdf", 4), many_wafers(tmp_path / "big.stdf", 24)
    done = subprocess.run(
        [sys.executable, "-c", PEAK, str(small), str(big)], capture_output=True, text=True, check=True
    )
    (few, before), (many, after) = [map(int, line.split()) for line in done.stdout.splitlines()]
    assert (few, many) == (4000, 24000)
    assert (after - before) * 1024 < 0.4 * (big.stat().st_size - small.stat().st_size)
