"""Ten times the rows: what they cost beside a tenth of them, in time and in memory, from a file of Arrow batches.

``python -m tests.benchmarks.growth [URL] [--rows N] [--runs N]``: an embedded PostgreSQL without a URL. Writes its section
of RESULTS.md.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter

import pyarrow as pa
from sqlalchemy import NullPool, Table, create_engine, func, make_url, select, text
from sqlalchemy.engine import Engine

from gpwarehouse.intake.frames import record_batches
from gpwarehouse.transport import copy_rows
from tests.benchmarks.loading import made_rows, made_table, spread
from tests.benchmarks.reflection import write
from tests.conftest import database

TIMES = 10


def private_bytes() -> int:
    """Of this process, without the pages of files that it looks at."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


def load(engine: Engine, table: Table, file: str) -> tuple[float, float]:
    """Into the emptied table: seconds, and MB at the most."""
    with engine.begin() as connection:
        connection.execute(text("TRUNCATE loaded"))
    before, most, done = private_bytes(), [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.005):
            most.append(private_bytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    started = perf_counter()
    try:
        with pa.memory_map(file) as source, engine.begin() as connection:
            reader = pa.ipc.open_file(source)
            batches = (reader.get_batch(number) for number in range(reader.num_record_batches))
            stored = copy_rows(connection, table, batches, tuple(table.columns.keys()))
        seconds = perf_counter() - started
    finally:
        done.set()
        watcher.join()
    with engine.connect() as connection:
        assert connection.execute(select(func.count()).select_from(table)).scalar_one() == stored.rows
    return seconds, (max(most) - before) / 2**20


def made_file(folder: str, rows: int, times: int) -> str:
    """A file of so many times the rows."""
    path = str(Path(folder) / f"{times}.arrow")
    batches = list(record_batches(made_rows(rows), frozenset()))
    with pa.ipc.new_file(path, batches[0].schema) as sink:
        for _ in range(times):
            for batch in batches:
                sink.write_batch(batch)
    return path


def measure(engine: Engine, rows: int, runs: int) -> Iterator[str]:
    """Both sizes in turn."""
    table = made_table()
    table.create(engine)
    few, many = [], []
    with tempfile.TemporaryDirectory() as folder:
        files = made_file(folder, rows, 1), made_file(folder, rows, TIMES)
        for _ in range(runs):
            few.append(load(engine, table, files[0]))
            many.append(load(engine, table, files[1]))
    ratios = [(each[0] / one[0]) for each, one in zip(many, few, strict=True)]
    yield "| rows | s: median (least–most) | ratio, run by run | peak MB: median (least–most) |"
    yield "|---|---|---|---|"
    for count, found, shown in ((rows, few, "1.00"), (rows * TIMES, many, spread(ratios))):
        seconds, megabytes = [each[0] for each in found], [each[1] for each in found]
        peak = f"{statistics.median(megabytes):.0f} ({min(megabytes):.0f}–{max(megabytes):.0f})"
        yield f"| {count} | {spread(seconds)} | {shown} | {peak} |"


def main(url: str | None, rows: int, runs: int) -> None:
    """Measure, and write the section of this server."""
    with ExitStack() as stack:
        if url is None:
            from gpwarehouse.embedded import EmbeddedServer

            given = make_url(str(stack.enter_context(EmbeddedServer.start()).url("postgres")))
        else:
            given = make_url(url)
        own = stack.enter_context(database(given.set(drivername="greenplum+psycopg2")))
        engine = create_engine(own, poolclass=NullPool)
        lines = list(measure(engine, rows, runs))
        name = f"{engine.dialect.server_info}"  # type: ignore[attr-defined]
    about = [
        f"28 columns, by COPY on one connection, {runs} runs, interleaved. {os.cpu_count()} CPUs, load average "
        f"{os.getloadavg()[0]:.1f} at the end.",
        f"Repeat: `python -m tests.benchmarks.growth {'URL ' if url else ''}--rows {rows} --runs {runs}`",
        "",
    ]
    write(f"## Loading ten times the rows, {name}", [*about, *lines])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", nargs="?")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=3)
    given = parser.parse_args()
    main(given.url, given.rows, given.runs)
