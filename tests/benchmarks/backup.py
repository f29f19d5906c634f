"""How long a backup takes against reading the same rows to Parquet, and a second one of the same; interleaved.

By hand: ``python -m tests.benchmarks.backup URL [--rows N] [--rounds N] [--quick]``; ``embedded`` for URL starts a PostgreSQL. It
makes a database of its own with twelve months of a fact, drops it, and writes its section of RESULTS.md. Each run is a process of
its own, which tells its peak memory; imports and connecting are not counted. Ratios are taken within a round.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import perf_counter

import numpy as np
import pyarrow as pa
from sqlalchemy import make_url

from gpwarehouse import Warehouse
from gpwarehouse.embedded import EmbeddedServer
from tests.benchmarks.reading import versions
from tests.benchmarks.reflection import write
from tests.conftest import database
from tests.partitions.fab import TESTS

READ = "wh.export of the fact to one Parquet file"
FIRST, FIRST_ALONE = "backup create --full, 2 connections", "backup create --full, 1 connection"
SECOND = "a second backup, nothing changed"
MEASURES = (
    "vth_mv",
    "idsat_ua_um",
    "ileak_pa_um",
    "tox_nm",
    "rs_ohm_sq",
    "rc_ohm",
    "gm_ms_mm",
    "bvdss_v",
    "idd_ma",
    "fmax_mhz",
)
CONSTANT = {
    "lot_id": "L1", "test_type": "CP", "test_stage": "CP1", "step_number": "CP1", "process_flow_id": "P", "is_first_pass": True,
    "is_final_result": True, "insertion_no": 1, "retest_no": 0, "product_id": "CHIP",
}  # fmt: skip


def fill(wh: Warehouse, rows: int) -> None:
    """Load a fact with as many rows in each of twelve months, 3 % NULLs."""
    random = np.random.default_rng(7)
    each = rows // 12
    for month in range(1, 13):
        first = datetime(2025, month, 3, tzinfo=UTC)
        columns = {name: pa.array([value] * each) for name, value in CONSTANT.items()}
        numbers = np.arange(each)
        columns["event_ts"] = pa.array(
            [first + timedelta(seconds=int(n) * 20) for n in numbers], pa.timestamp("us", tz="UTC")
        )
        columns["wafer_id"] = pa.array((numbers % 25 + 1).astype(str))
        columns["die_x"], columns["die_y"] = pa.array(numbers % 300), pa.array(numbers // 300)
        columns["is_pass"] = pa.array(random.random(each) < 0.9)
        columns["part_id"] = pa.array([f"PART-{month}-{n}" for n in numbers])
        for name in MEASURES:
            columns[name] = pa.array(random.normal(100, 10, each), mask=random.random(each) < 0.03)
        wh.load(TESTS, pa.table(columns), batch_id=f"m{month}")


def work_of(name: str, wh: Warehouse, folder: Path) -> Callable[[], int]:
    """What a run does."""
    if name == READ:
        return lambda: wh.export(f"SELECT * FROM dw.{TESTS}", folder / "read.parquet").rows
    parallel = 1 if name == FIRST_ALONE else 2
    return lambda: wh.backup(str(folder / "backups")).create(full=name != SECOND, parallel=parallel).backup.rows


def memory_mb(field: str) -> float:
    """Of this process."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith(field)) / 1024


def child(name: str, url: str, folder: str) -> None:
    """Run once, in this process, and print what it took."""
    with Warehouse(url) as wh:
        wh.read("SELECT 1")
        work = work_of(name, wh, Path(folder))
        wh.backup(folder).list()  # imports
        before = memory_mb("VmRSS")
        started = perf_counter()
        rows = work()
        seconds = perf_counter() - started
    peak = memory_mb("VmHWM")
    print(json.dumps({"seconds": seconds, "rows": rows, "peak_mb": peak, "growth_mb": peak - before}))  # noqa: T201


def measured(name: str, url: str, folder: str) -> dict[str, float]:
    """One run."""
    command = [sys.executable, "-m", "tests.benchmarks.backup", "--child", name, url, folder]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    said: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return said


def table(runs: dict[str, list[dict[str, float]]]) -> list[str]:
    """Lines of the result, ratios to the read and to the first backup of the same round."""
    lines = [
        "| what | s: median (least–most) | speed / that of the read, round by round | time / that of the first backup | peak MB "
        "| of that, above the start |",
        "|---|---|---|---|---|---|",
    ]

    def spread(values: list[float], digits: int = 2) -> str:
        return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}–{max(values):.{digits}f})"

    reads, firsts = ([run["seconds"] for run in runs[name]] for name in (READ, FIRST))
    for name, found in runs.items():
        seconds = [run["seconds"] for run in found]
        speed = spread([read / own for read, own in zip(reads, seconds, strict=True)])
        share = spread([own / first for own, first in zip(seconds, firsts, strict=True)], 3)
        peak, growth = (max(run[field] for run in found) for field in ("peak_mb", "growth_mb"))
        lines.append(
            f"| {name} | {spread(seconds)} | {speed} | {'' if name == READ else share} | {peak:.0f} | {growth:.0f} |"
        )
    return lines


def main() -> None:
    """Measure, and write the section of this server."""
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--rows", type=int, default=1_200_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="60 000 rows, 2 rounds, nothing written")
    parser.add_argument("--child")
    given = parser.parse_args()
    if given.child:
        child(given.child, given.url, given.folder)
        return
    rows, rounds = (60_000, 2) if given.quick else (given.rows, given.rounds)
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in (READ, FIRST, FIRST_ALONE, SECOND)}
    with EmbeddedServer.start() if given.url == "embedded" else nullcontext() as server:
        url = make_url(str(server.url("postgres")) if server else given.url).set(drivername="greenplum+psycopg2")
        with database(url) as own, Warehouse(own) as wh:
            wh.upgrade()
            fill(wh, rows)
            title = f"## Backup, {wh.status().server}"
            plain = own.set(drivername="postgresql").render_as_string(hide_password=False)
            for _ in range(rounds):
                with tempfile.TemporaryDirectory() as folder:
                    for name, found in runs.items():
                        Path(folder, "read.parquet").unlink(missing_ok=True)
                        found.append(measured(name, plain, folder))
    load = " / ".join(f"{each:.1f}" for each in os.getloadavg())
    lines = [
        f"{rows} rows of {TESTS} in 12 months, {rounds} rounds, interleaved; {platform.machine()}, {os.cpu_count()} CPUs, load "
        f"average {load} at the end; {versions()}",
        "",
        *table(runs),
    ]
    print("\n".join([title, "", *lines]))  # noqa: T201
    if not given.quick:
        write(title, lines)


if __name__ == "__main__":
    main()
