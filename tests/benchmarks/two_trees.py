"""How long loads, merges and changes of rows take in one tree of the package beside another.

By hand: ``python -m tests.benchmarks.two_trees BEFORE AFTER [--url URL] [--rows N] [--runs N]``, where both are checkouts of
this repository; without a URL it starts the embedded PostgreSQL. Each run takes both trees in turn, each in a process and a
database of its own, so both meet the same state. It prints the ratios, and writes nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import perf_counter
from typing import Any

import pyarrow as pa
from sqlalchemy import make_url

from gpwarehouse import Warehouse
from tests.conftest import database

FACT = "fact_process_measurements"
FIRST = datetime(2026, 1, 5, tzinfo=UTC)


def measurements(rows: int, visit: int = 1, temperature: float = 20.0) -> pa.Table:
    """Measurements of one month, each of a record of its own."""
    numbers = range(rows)
    return pa.table(
        {
            "event_ts": [FIRST + timedelta(seconds=n % 600_000) for n in numbers],
            "lot_id": [f"L{n // 2500}" for n in numbers],
            "wafer_id": [str(n % 25 + 1) for n in numbers],
            "equipment_id": ["E1"] * rows,
            "process_flow_id": ["F"] * rows,
            "step_number": [str(n // 25 % 100) for n in numbers],
            "measurement_type": ["FDC"] * rows,
            "visit_no": pa.array([visit] * rows, pa.int32()),
            "site_no": pa.array([0] * rows, pa.int32()),
            "temperature_c": [temperature + n % 7 for n in numbers],
        }
    )


def time_all(url: str, rows: int) -> dict[str, float]:
    """Seconds of each kind of work, in this process's own tree."""
    seconds: dict[str, float] = {}

    def time(name: str, work: Any, *args: Any, **options: Any) -> None:
        started = perf_counter()
        work(*args, **options)
        seconds[name] = perf_counter() - started

    with Warehouse(url) as wh:
        wh.upgrade()
        wh.load(FACT, measurements(1))  # connects, and makes months and members
        small, whole = rows // 10, measurements(rows)
        time("load, id given", wh.load, FACT, whole, batch_id="named")
        time("load, id derived", wh.load, FACT, measurements(rows, 2))
        time("load again", wh.load, FACT, measurements(rows, 2))
        time("small load", wh.load, FACT, measurements(100, 3))
        time("upsert", wh.facts.upsert, FACT, measurements(small, 1, 30.0))
        time("delete by key", wh.facts.delete, FACT, measurements(small, 2))
        time("replace a batch", wh.batches.replace, "named", measurements(small, 4))
        bad = measurements(small, 5).to_pandas()
        bad.loc[: small // 2, "temperature_c"] = -300.0
        wh.load(FACT, bad, batch_id="bad", max_rejects=small)
        time("reload rejects", wh.batches.reload, "bad", lambda found: found.assign(temperature_c=1.0))
        time("replace a month", wh.facts.replace_month, FACT, "2026-01", measurements(rows, 6))
        lots = pa.table({"lot_id": [f"M{n}" for n in range(small)], "owner": [f"o{n % 9}" for n in range(small)]})
        time("merge, new", wh.merge, "dim_lot", lots, effective=FIRST)
        moved = lots.set_column(1, "owner", pa.array([f"o{n % 7}" for n in range(small)]))
        time("merge, changed", wh.merge, "dim_lot", moved, effective=FIRST + timedelta(days=1))
        stays = pa.table(
            {
                "lot_id": [f"M{n}" for n in range(small)],
                "wafer_id": ["1"] * small,
                "from_ts": pa.array([FIRST] * small, pa.timestamp("us", "UTC")),
            }
        )
        time("upsert of a bridge", wh.dimensions.upsert_bridge, "bridge_wafer_lot", stays)
    return seconds


def main(trees: list[Path], url: str | None, rows: int, runs: int) -> None:
    found: list[list[dict[str, float]]] = [[], []]
    with ExitStack() as stack:
        server = make_url(url) if url else stack.enter_context(Warehouse.embedded()).settings.sqlalchemy_url()
        for run in range(runs + 1):
            for number in (0, 1) if run % 2 else (1, 0):
                with database(server) as own:
                    text = own.render_as_string(hide_password=False)
                    command = [sys.executable, __file__, "--only", text, "--rows", str(rows)]
                    env = os.environ | {"PYTHONPATH": str(trees[number])}
                    done = subprocess.run(
                        command, cwd=trees[number], env=env, capture_output=True, text=True, check=True
                    )
                    if run:  # the first warms the disk's cache
                        found[number].append(json.loads(done.stdout.splitlines()[-1]))
    for name in found[0][0]:
        before, after = ([run[name] for run in tree] for tree in found)
        ratios = sorted(b / a for a, b in zip(before, after, strict=True))
        sys.stdout.write(
            f"{name:20} {statistics.median(before):7.3f} s {statistics.median(after):7.3f} s"
            f"  {statistics.median(ratios):.2f} ({ratios[0]:.2f}–{ratios[-1]:.2f})\n"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("trees", nargs="*", type=Path)
    parser.add_argument("--url")
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", help=argparse.SUPPRESS)
    told = parser.parse_args()
    if told.only:
        sys.stdout.write(json.dumps(time_all(told.only, told.rows)))
    else:
        main([tree.resolve() for tree in told.trees], told.url, told.rows, told.runs)
