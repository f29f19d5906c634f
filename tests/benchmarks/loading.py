"""How fast rows reach a server, beside what the server can take at most and beside other libraries.

By hand: ``python -m tests.benchmarks.loading [URL] [--quick] [--rows N] [--runs N]``; without a URL it starts the embedded
PostgreSQL. It makes a database of its own, drops it, and writes its section of RESULTS.md. The paths run in turn, run by
run, so that a busy machine slows them all; each run is on an empty table, and its rows are counted. Peers that are not
installed are left out and named (``pip install pgpq adbc-driver-postgresql 'psycopg[binary]' polars``). On Greenplum
``psql`` and ``gpfdist`` have to be on the PATH.
"""

from __future__ import annotations

import argparse
import gc
import importlib.metadata
import multiprocessing
import os
import platform
import statistics
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

import numpy as np
import pyarrow as pa
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Double,
    Integer,
    MetaData,
    NullPool,
    Table,
    Text,
    create_engine,
    func,
    make_url,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine import URL, Engine

from gpwarehouse.dialect import AppendOptimized, DistributedBy, RangePartition, RangePartitions
from gpwarehouse.engine import dialect_of
from gpwarehouse.version import __version__
from tests.benchmarks.loading_paths import Path as LoadPath
from tests.benchmarks.loading_paths import greenplum_paths, postgresql_paths
from tests.benchmarks.reflection import write
from tests.conftest import database

MONTHS = 24
FIRST = np.datetime64("2024-01-01", "us")
KEYS = [f"k{n}" for n in range(5)]
FLOATS = [f"f{n}" for n in range(15)]
VERSIONS = ("sqlalchemy", "psycopg2-binary", "pyarrow", "pandas", "pgpq", "adbc-driver-postgresql", "psycopg", "polars")
SPAWN = multiprocessing.get_context("spawn")


def made_table() -> Table:
    """28 columns by month; on Greenplum distributed by the first key, append-optimized by column."""
    firsts = [datetime(2024 + n // 12, n % 12 + 1, 1, tzinfo=UTC) for n in range(MONTHS + 1)]
    ranges = tuple(RangePartition(f"m{low:%Y%m}", low, high) for low, high in pairwise(firsts))
    return Table(
        "loaded",
        MetaData(),
        Column("k0", BigInteger),
        Column("event_ts", DateTime(timezone=True)),
        *(Column(name, BigInteger) for name in KEYS[1:]),
        Column("slot", Integer),
        *(Column(name, Double) for name in FLOATS),
        *(Column(name, Text) for name in ("recipe", "operator", "chamber", "source_file")),
        Column("is_good", Boolean),
        Column("attributes", JSONB),
        greenplum_distributed_by=DistributedBy("k0"),
        greenplum_storage=AppendOptimized(orientation="column", compresstype="zstd", compresslevel=1),
        greenplum_partition_by=RangePartitions("event_ts", ranges),
    )


def made_rows(rows: int) -> pa.Table:
    """The rows, with 3 % of NULLs; half of the floats are rounded as tools round, half are not."""
    random = np.random.default_rng(5)

    def gaps(values: Any) -> pa.Array:
        return pa.array(values, mask=random.random(rows) < 0.03)

    def names(prefix: str, count: int) -> pa.Array:
        return gaps(np.array([f"{prefix}-{n:04}" for n in range(count)], object)[random.integers(0, count, rows)])

    span = int((FIRST.astype("M8[M]") + MONTHS).astype("M8[us]").astype("i8") - FIRST.astype("i8"))
    times = FIRST.astype("i8") + np.sort(random.integers(0, span, rows))
    columns: dict[str, Any] = {"k0": random.integers(-(2**63), 2**63 - 1, rows)}
    columns["event_ts"] = pa.array(times, pa.timestamp("us", "UTC"))
    columns |= {name: random.integers(-(2**63), 2**63 - 1, rows) for name in KEYS[1:]}
    columns["slot"] = gaps(random.integers(1, 26, rows).astype(np.int32))
    for number, name in enumerate(FLOATS):
        values = random.normal(50, 3, rows)
        columns[name] = gaps(np.round(values, 4) if number % 2 else values)
    columns |= {"recipe": names("RECIPE", 200), "operator": names("OP", 50), "chamber": names("CH", 12)}
    columns["source_file"] = pa.array(["2026-01/etch-metrology.stdf"] * rows)
    columns["is_good"] = gaps(random.random(rows) < 0.95)
    columns["attributes"] = pa.array(['{"wet": true, "cycles": [1, 2, 3]}'] * rows)
    return pa.table(columns)


@dataclass
class Measured:
    """What a path took."""

    path: LoadPath
    rows: int
    seconds: list[float] = field(default_factory=list)
    coordinator: list[float] = field(default_factory=list)
    megabytes: float | None = None
    failure: str = ""

    @property
    def per_million(self) -> list[float]:
        """Seconds for a million rows."""
        return [seconds / self.rows * 1e6 for seconds in self.seconds]


class Coordinator:
    """CPU of the coordinator's processes, those that have ended too; of a server on this machine."""

    def __init__(self, engine: Engine) -> None:
        with engine.connect() as connection:
            folder = Path(connection.execute(text("SHOW data_directory")).scalar_one())
        pidfile = folder / "postmaster.pid"
        with_segments = dialect_of(engine).capabilities.distribution  # type: ignore[union-attr]
        self._pid = int(pidfile.read_text().split()[0]) if with_segments and pidfile.exists() else None

    def seconds(self) -> float:
        """So far, when those that have just ended are waited for: in between they are in nobody's count."""
        if self._pid is None:
            return float("nan")
        sleep(0.5)
        ticks = sum(self._times(self._pid))
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    fields = (entry / "stat").read_text().rpartition(")")[2].split()
                except OSError:
                    continue
                if int(fields[1]) == self._pid:
                    ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    @staticmethod
    def _times(pid: int) -> list[int]:
        return [int(each) for each in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:15]]


def run(measured: Measured, engine: Engine, table: Table, data: pa.Table, coordinator: Coordinator) -> None:
    """Once, into the emptied table."""
    part = data.slice(0, measured.rows)
    with engine.begin() as connection:
        connection.execute(text("TRUNCATE loaded"))
    with ExitStack() as stack:
        load = measured.path.prepare(stack, engine, table, part)
        before, started = coordinator.seconds(), perf_counter()
        load()
        measured.seconds.append(perf_counter() - started)
        measured.coordinator.append(coordinator.seconds() - before)
    with engine.connect() as connection:
        found = connection.execute(select(func.count()).select_from(table)).scalar_one()
    assert found == measured.rows, f"{measured.path.name}: {found} rows of {measured.rows}"


def _peak(url: str, index: int, is_greenplum: bool, rows: str, answers: Any) -> None:
    """In a process of its own: what a path adds to the memory of the rows."""
    engine = create_engine(url, poolclass=NullPool)
    table = made_table()
    with pa.OSFile(rows) as source:  # not made here: what that leaves free would be used again, and not be counted
        data = pa.ipc.open_file(source).read_all()
    path = paths_of(is_greenplum)[index]
    with engine.begin() as connection:
        connection.execute(text("TRUNCATE loaded"))
    with ExitStack() as stack:
        load = path.prepare(stack, engine, table, data)
        gc.collect()
        before = resident()
        most, done = [before], threading.Event()
        sampler = threading.Thread(target=lambda: sample(most, done))
        sampler.start()
        load()
        done.set()
        sampler.join()
        answers.send((max(most) - before) / 2**20)


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def sample(most: list[int], done: threading.Event) -> None:
    """Look 200 times a second: the process's own peak would be that of making the rows."""
    while not done.wait(0.005):
        most.append(resident())


def paths_of(is_greenplum: bool) -> list[LoadPath]:
    """The paths for the server."""
    return greenplum_paths() if is_greenplum else postgresql_paths()


def measure_memory(measured: Measured, index: int, url: URL, is_greenplum: bool, data: pa.Table) -> None:
    """Peak memory, of a run that is not timed."""
    ours, theirs = SPAWN.Pipe()
    with tempfile.NamedTemporaryFile() as file:
        with pa.ipc.new_file(file.name, data.schema) as sink:
            sink.write_table(data.slice(0, measured.rows))
        arguments = (url.render_as_string(hide_password=False), index, is_greenplum, file.name, theirs)
        process = SPAWN.Process(target=_peak, args=arguments)
        process.start()
        measured.megabytes = answer(process, ours, theirs)


def answer(process: Any, ours: Any, theirs: Any) -> float | None:
    """What the process says, if it lives to say it."""
    theirs.close()
    try:
        return float(ours.recv())
    except EOFError:
        return None
    finally:
        process.join()


def measure(url: URL, rows: int, runs: int) -> tuple[list[Measured], str]:
    """All paths, interleaved."""
    engine = create_engine(url, poolclass=NullPool)
    capabilities = dialect_of(engine).capabilities
    assert capabilities is not None
    is_greenplum = capabilities.distribution
    table = made_table()
    table.create(engine)
    data = made_rows(rows)
    coordinator = Coordinator(engine)
    all_measured = [Measured(path, max(rows // path.share, 1000)) for path in paths_of(is_greenplum)]
    for _ in range(runs):
        for measured in all_measured:
            if not measured.failure:
                try:
                    run(measured, engine, table, data, coordinator)
                except ImportError as error:
                    measured.failure = f"not installed ({error.name})"
                except Exception as error:  # what a peer cannot do is a result too
                    measured.failure = f"fails: {type(error).__name__}: {str(error).splitlines()[0][:80]}"
    for index, measured in enumerate(all_measured):
        if not measured.failure and measured.path.in_process:
            measure_memory(measured, index, url, is_greenplum, data)
    return all_measured, f"{engine.dialect.server_info}"  # type: ignore[attr-defined]


def table_of(all_measured: list[Measured]) -> Iterator[str]:
    """Ratios to the first path, run by run, so that what slowed a run slowed both."""
    floor = all_measured[0]
    yield "| path | rows | s per million: median (least–most) | ratio, run by run | coordinator CPU s per million | peak MB |"
    yield "|---|---|---|---|---|---|"
    for each in all_measured:
        if each.failure:
            yield f"| {each.path.name} | {each.rows} | {each.failure} | | | |"
            continue
        times = each.per_million
        ratios = [mine / theirs for mine, theirs in zip(times, floor.per_million, strict=False)]
        cpu = statistics.median(each.coordinator) / each.rows * 1e6
        memory = "" if each.megabytes is None else f"{each.megabytes:.0f}"
        yield (
            f"| {each.path.name} | {each.rows} | {spread(times)} | {spread(ratios)} | "
            f"{'' if cpu != cpu else f'{cpu:.2f}'} | {memory} |"
        )


def against_program(all_measured: list[Measured]) -> Iterator[str]:
    """Greenplum: our gpfdist server beside the program, and what both paths take of the coordinator."""
    measured = {each.path.name: each for each in all_measured if not each.failure}
    program = next((each for name, each in measured.items() if name.startswith("gpfdist, the program")), None)
    if program is None:
        return
    yield ""
    for name, each in measured.items():
        if name.startswith("gpwarehouse, gpfdist"):
            ratios = [mine / theirs for mine, theirs in zip(each.per_million, program.per_million, strict=True)]
            yield f"{name.removeprefix('gpwarehouse, ')}: {spread(ratios)} × the program, run by run."
    copied = measured["gpwarehouse, COPY TEXT, keys first"]
    fetched = measured["gpwarehouse, gpfdist, encoding on the fly"]
    if (cpu := statistics.median(copied.coordinator)) > 0:
        yield f"Coordinator CPU of gpfdist: {statistics.median(fetched.coordinator) / cpu:.0%} of COPY's."


def spread(values: list[float]) -> str:
    """Median, least and most."""
    return f"{statistics.median(values):.2f} ({min(values):.2f}–{max(values):.2f})"


def about(url: str | None, rows: int, runs: int) -> list[str]:
    """What it ran with, and how to repeat it."""
    found = [f"gpwarehouse {__version__}", f"Python {platform.python_version()}"]
    for name in VERSIONS:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    load = os.getloadavg()[0]
    return [
        f"{rows} rows of 28 columns ({MONTHS} months, 3 % NULLs), {runs} runs, interleaved, with memory of one run more.",
        f"{os.cpu_count()} CPUs, load average {load:.1f} at the end. {', '.join(found)}.",
        f"Repeat: `python -m tests.benchmarks.loading {'URL ' if url else ''}--rows {rows} --runs {runs}`",
        "",
    ]


def main(url: str | None, rows: int | None, runs: int) -> None:
    """Measure, and write the section of this server."""
    with ExitStack() as stack:
        if url is None:
            from gpwarehouse.embedded import EmbeddedServer

            server = stack.enter_context(EmbeddedServer.start())
            given = make_url(str(server.url("postgres")))
        else:
            given = make_url(url)
        own = stack.enter_context(database(given.set(drivername="greenplum+psycopg2")))
        engine = create_engine(own, poolclass=NullPool)
        capabilities = dialect_of(engine).capabilities
        rows = rows or (500_000 if capabilities and capabilities.distribution else 1_000_000)
        all_measured, server_name = measure(own, rows, runs)
    write(
        f"## Loading, {server_name}", [*about(url, rows, runs), *table_of(all_measured), *against_program(all_measured)]
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", nargs="?")
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows, two runs")
    parser.add_argument("--rows", type=int)
    parser.add_argument("--runs", type=int, default=5)
    given = parser.parse_args()
    main(given.url, given.rows or (100_000 if given.quick else None), 2 if given.quick else given.runs)
