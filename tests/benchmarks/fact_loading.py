"""What a fact's load costs beside the bare transport of the same rows, already resolved, into the same table.

By hand: ``python -m tests.benchmarks.fact_loading [URL] [--rows N] [--runs N]``; without a URL it starts the embedded
PostgreSQL. It makes a database of its own, drops it, and writes its section of RESULTS.md. The ways run in turn, run by
run; months and members are there before, and the rows of each run are deleted after it. No statistics are gathered.
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from time import perf_counter
from typing import Any

import numpy as np
import pyarrow as pa
from sqlalchemy import make_url, text

from gpwarehouse import Warehouse
from gpwarehouse.intake.first_pass import read_source
from gpwarehouse.intake.load_options import LoadOptions
from gpwarehouse.load import FrameSource, target_named
from gpwarehouse.transport import copy_rows
from gpwarehouse.version import __version__
from tests.benchmarks.loading import spread
from tests.benchmarks.reflection import write
from tests.conftest import database

FACT = "fact_process_measurements"
FIRST = np.datetime64("2024-01-01", "us").astype("i8")
FLOATS = (
    *("temperature_c", "pressure_torr", "rf_power_w", "gas_flow_sccm", "chuck_temp_c", "film_thickness_nm", "cd_nm"),
    *("etch_rate_nm_min", "uniformity_pct", "site_x_mm", "site_y_mm"),
)


def made_rows(rows: int, seed: int) -> pa.Table:
    """Measurements of 200 lots of 25 wafers on 50 tools over two months, in the order of their times."""
    random = np.random.default_rng(seed)

    def names(pattern: str, count: int) -> pa.Array:
        return pa.array(np.array([pattern.format(n) for n in range(count)], object)[random.integers(0, count, rows)])

    columns: dict[str, Any] = {
        "event_ts": pa.array(FIRST + np.sort(random.integers(0, 60 * 86_400_000_000, rows)), pa.timestamp("us", "UTC")),
        "lot_id": names("LOT{}", 200),
        "wafer_id": names("{:02}", 25),
        "equipment_id": names("TOOL{}", 50),
        "chamber_id": names("CH{}", 4),
        "product_id": names("P{}", 5),
        "process_flow_id": pa.repeat("FLOW", rows),
        "step_number": names("{}00", 40),
        "recipe_id": names("RECIPE{}", 30),
        "operator_id": names("OP{}", 30),
        "site_no": pa.array(random.integers(0, 9, rows).astype(np.int32)),
        "parameters": pa.array([f'{{"wet": {n % 7}, "cycles": {n}}}' for n in range(rows)]),
    }
    columns |= {name: pa.array(random.random(rows) * 50, mask=random.random(rows) < 0.03) for name in FLOATS}
    return pa.table(columns)


def resolved(wh: Warehouse, data: pa.Table) -> tuple[list[pa.RecordBatch], tuple[str, ...]]:
    """What the load itself would send."""
    target = target_named(FACT)
    with read_source(FrameSource(data, FACT), target, wh.engine, wh.settings, LoadOptions()) as found:
        batches = [
            batch.append_column("batch_id", pa.repeat(pa.scalar("bare"), batch.num_rows))
            for batch in found.rows.batches()
        ]
        filled = found.rows.filled | {"batch_id"}
    return batches, tuple(name for name in target.columns if name in filled)


def ways(wh: Warehouse, data: pa.Table) -> dict[str, Callable[[], object]]:
    """Name → load."""
    batches, columns = resolved(wh, data)
    frame = data.to_pandas()

    def bare() -> None:
        with wh.engine.begin() as connection:
            copy_rows(connection, target_named(FACT).table, batches, columns)

    return {
        "bare COPY of rows with their keys": bare,
        "wh.load of an Arrow table": lambda: wh.load(FACT, data, analyze="never"),
        "wh.load of an Arrow table, batch_id given": lambda: wh.load(FACT, data, batch_id="known", analyze="never"),
        "wh.load of a pandas frame": lambda: wh.load(FACT, frame, analyze="never"),
        "wh.load of a pandas frame, batch_id given": lambda: wh.load(FACT, frame, batch_id="known", analyze="never"),
        "wh.load of an Arrow table, parallel=2": lambda: wh.load(FACT, data, analyze="never", parallel=2),
    }


def measure(wh: Warehouse, rows: int, runs: int) -> dict[str, list[float]]:
    """Seconds of each way, run by run."""
    wh.upgrade()
    data = made_rows(rows, 5)
    wh.load(FACT, data)
    found: dict[str, list[float]] = {}
    for _ in range(runs):
        for name, load in ways(wh, data).items():
            with wh.engine.begin() as connection:
                connection.execute(text(f"TRUNCATE dw.{FACT}"))
                connection.execute(text("DELETE FROM dw.etl_load_batch"))
            began = perf_counter()
            load()
            found.setdefault(name, []).append(perf_counter() - began)
            with wh.engine.connect() as connection:
                assert connection.execute(text(f"SELECT count(*) FROM dw.{FACT}")).scalar_one() == rows, name
    return found


def table_of(found: dict[str, list[float]]) -> Iterator[str]:
    """Ratios to the bare COPY, run by run."""
    floor = next(iter(found.values()))
    yield "| way | s: median (least–most) | ratio, run by run |"
    yield "|---|---|---|"
    for name, times in found.items():
        ratios = [mine / theirs for mine, theirs in zip(times, floor, strict=True)]
        yield f"| {name} | {spread(times)} | {spread(ratios)} |"


def main(url: str | None, rows: int, runs: int) -> None:
    """Measure, and write the section of this server."""
    with ExitStack() as stack:
        if url is None:
            from gpwarehouse.embedded import EmbeddedServer

            server = stack.enter_context(EmbeddedServer.start())
            given = make_url(str(server.url("postgres")))
        else:
            given = make_url(url)
        own = stack.enter_context(database(given.set(drivername="greenplum+psycopg2")))
        wh = stack.enter_context(Warehouse(own, transport="copy"))
        found = measure(wh, rows, runs)
        name = wh.status().server
    lines = [
        f"{rows} rows into `{FACT}`, {runs} runs, interleaved; median of the bare COPY "
        f"{statistics.median(next(iter(found.values()))):.2f} s. gpwarehouse {__version__}.",
        f"{os.cpu_count()} CPUs, load average {os.getloadavg()[0]:.1f} at the end.",
        f"Repeat: `python -m tests.benchmarks.fact_loading {'URL ' if url else ''}--rows {rows} --runs {runs}`",
        "",
    ]
    write(f"## Loading a fact, {name}", [*lines, *table_of(found)])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", nargs="?")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=5)
    given = parser.parse_args()
    main(given.url, given.rows, given.runs)
