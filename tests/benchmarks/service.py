"""What HTTP costs: a file of a million rows, small queries, a gigabyte, 10,000 requests, /health under slow queries.

By hand: ``python -m tests.benchmarks.service [URL] [--rounds N] [--rows N] [--only WORD …] [--quick]``, without a URL on an
embedded PostgreSQL. It makes a database and roles of its own, drops them, and writes its section of RESULTS.md. The service is
``gpwarehouse serve`` in a process of its own; clients and peers run in this one. Ratios are taken within a round, so a
busy machine slows both sides of them.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psycopg2
from sqlalchemy import make_url, text

from gpwarehouse import Warehouse
from gpwarehouse.engine import dialect_of
from gpwarehouse.read import write_table
from tests.benchmarks.reflection import write
from tests.conftest import database
from tests.roles import fab_with_roles
from tests.service.processes import ServiceProcess, service_process
from tests.service.serving import wait_for

CONNECTIONS = 10
SLOW = 45
PACKAGES = ("fastapi", "starlette", "uvicorn", "pydantic", "sqlalchemy", "psycopg2-binary", "pyarrow")
WIDE = "SELECT * FROM public.bench_wide WHERE k0 IS NOT NULL"
SMALL = "SELECT id, name, value FROM public.bench_small WHERE id = "
SMALL_ROWS = 100_000
GIGABYTE_ROWS = 1_000_000
GIGABYTE = f"SELECT g AS n, repeat(md5(CAST(g AS text)), 32) AS t FROM generate_series(1, {GIGABYTE_ROWS}) g"
ARROW, CSV = "application/vnd.apache.arrow.file", "text/csv"
PIECE = 1 << 20


@dataclass
class Bench:
    """What all parts need.

    :ivar lines: of the section.
    """

    service: ServiceProcess
    fab: Warehouse
    folder: Path
    rows: int
    rounds: int
    quick: bool
    lines: list[str] = field(default_factory=list)

    def tell(self, *lines: str) -> None:
        """Add to the section, and show it."""
        self.lines += lines
        print("\n".join(lines), flush=True)  # noqa: T201


def fill(fab: Warehouse, rows: int) -> None:
    """Make the tables, which everybody may read."""
    wide = [
        "TIMESTAMPTZ '2024-01-01 00:00+00' + g * INTERVAL '63.07 s' AS event_ts",
        *(f"('x' || substr(md5('k{n}' || g), 1, 16))::bit(64)::bigint AS k{n}" for n in range(3)),
        *(f"CASE WHEN (g + {n}) % 33 > 0 THEN sin(g * {n + 1}) * 1000 END AS m{n}" for n in range(4)),
        "CASE WHEN g % 33 > 0 THEN 'WAFER-' || g END AS part_id",
        "g % 7 > 0 AS is_pass",
    ]
    small = "g AS id, 'name ' || g AS name, sin(g) AS value"
    with fab.engine.begin() as connection:
        for name, columns, count in (("wide", ", ".join(wide), rows), ("small", small, SMALL_ROWS)):
            made = f"CREATE TABLE public.bench_{name} AS SELECT {columns} FROM generate_series(1, {count}) AS g"
            connection.exec_driver_sql(made.replace("%", "%%"))
            connection.exec_driver_sql(f"GRANT SELECT ON public.bench_{name} TO PUBLIC")
        connection.exec_driver_sql("CREATE UNIQUE INDEX bench_small_id ON public.bench_small (id)")
    with fab.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE public.bench_wide"))
        connection.execute(text("VACUUM ANALYZE public.bench_small"))


def status_of(pid: int) -> dict[str, int]:
    """Numbers of a process: memory in MB, threads, open files."""
    found = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)
    return {
        "rss_mb": round(int(found["VmRSS"].split()[0]) / 1024),
        "peak_mb": round(int(found["VmHWM"].split()[0]) / 1024),
        "threads": int(found["Threads"]),
        "files": len(list(Path(f"/proc/{pid}/fd").iterdir())),
    }


def forget_peak(pid: int) -> None:
    """Let the peak of a process's memory begin anew."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def timed(act: Callable[[], Any]) -> float:
    """Seconds."""
    started = time.perf_counter()
    act()
    return time.perf_counter() - started


def spread(values: list[float], digits: int = 2) -> str:
    """Median, least and most."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}–{max(values):.{digits}f})"


@contextmanager
def connected(service: ServiceProcess) -> Iterator[Callable[..., tuple[int, bytes]]]:
    """A client that keeps its connection: ``ask(path, body)`` returns status and body."""
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=600)
    headers = {"Authorization": f"Bearer {service.keys[0]}", "Content-Type": "application/json"}

    def ask(path: str, body: Any = None) -> tuple[int, bytes]:
        content = None if body is None else json.dumps(body)
        connection.request("GET" if body is None else "POST", path, content, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()

    with closing(connection):
        yield ask


def fetch(service: ServiceProcess, sql: str, accept: str, target: Path) -> int:
    """Ask for a file, write it piece by piece as it comes, and return its size."""
    headers = {"Authorization": f"Bearer {service.keys[0]}", "Content-Type": "application/json", "Accept": accept}
    with closing(http.client.HTTPConnection("127.0.0.1", service.port, timeout=1800)) as connection:
        connection.request("POST", "/analytics/query", json.dumps({"sql": sql}), headers)
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        size = 0
        with target.open("wb") as file:
            while piece := answer.read(PIECE):
                size += file.write(piece)
        assert size == int(answer.headers["content-length"])
    return size


# The parts


def files(bench: Bench) -> None:
    """A file of a million rows by HTTP, against the library."""
    export, read, got = (bench.folder / f"{name}.arrow" for name in ("export", "read", "http"))
    ways: dict[str, Callable[[], Any]] = {
        "POST /analytics/query, read into a file": lambda: fetch(bench.service, WIDE, ARROW, got),
        "wh.export to .arrow": lambda: bench.fab.export(WIDE, export, overwrite=True),
        "wh.read(arrow=True), and writing the file": lambda: write_table(bench.fab.read(WIDE, arrow=True), read),
    }
    runs: dict[str, list[float]] = {name: [] for name in ways}
    for act in ways.values():
        act()
    forget_peak(bench.service.pid)
    for _ in range(bench.rounds):
        for name, act in ways.items():
            read.unlink(missing_ok=True)
            runs[name].append(timed(act))
    ours = next(iter(runs.values()))
    bench.tell(
        "",
        f"A file of {bench.rows} rows × 10 columns, {got.stat().st_size / 1e6:.0f} MB; the service's peak memory was "
        f"{status_of(bench.service.pid)['peak_mb']} MB:",
        "",
        "| path | s: median (least–most) | HTTP / this, round by round |",
        "|---|---|---|",
    )
    for name, found in runs.items():
        ratios = [mine / other for mine, other in zip(ours, found, strict=True)]
        bench.tell(f"| {name} | {spread(found)} | {spread(ratios)} |")


def rate(count: int, one: Callable[[], Any]) -> float:
    """Calls a second, by as many threads as there are connections. ``one()`` opens a connection and yields its call."""
    with ThreadPoolExecutor(CONNECTIONS) as threads, ExitStack() as stack:
        calls = [stack.enter_context(one()) for _ in range(CONNECTIONS)]

        def many(place: int) -> None:
            for number in range(count):
                calls[place](1 + (place * count + number) % SMALL_ROWS)

        list(threads.map(lambda place: calls[place](1), range(CONNECTIONS)))
        seconds = timed(lambda: list(threads.map(many, range(CONNECTIONS))))
    return count * CONNECTIONS / seconds


def small(bench: Bench) -> None:
    """Small queries a second, against psycopg2 in a loop."""
    url = bench.fab.settings.sqlalchemy_url().set(drivername="postgresql").render_as_string(hide_password=False)

    @contextmanager
    def ours() -> Iterator[Callable[[int], None]]:
        with connected(bench.service) as ask:

            def one(number: int) -> None:
                status, _ = ask("/query", {"sql": f"{SMALL}:id", "params": {"id": number}})
                assert status == 200

            yield one

    @contextmanager
    def bare() -> Iterator[Callable[[int], None]]:
        with connected(bench.service) as ask:
            yield lambda _: ask("/health/live")

    @contextmanager
    def driver(*, new: bool = False) -> Iterator[Callable[[int], None]]:
        def query(connection: Any, number: int) -> None:
            with connection.cursor() as cursor:
                cursor.execute(f"{SMALL}%s", (number,))
                assert len(cursor.fetchall()) == 1

        def one(number: int) -> None:
            if not new:
                query(kept, number)
                return
            with closing(psycopg2.connect(url)) as connection:
                query(connection, number)

        with closing(psycopg2.connect(url)) as kept:
            kept.autocommit = True
            yield one

    ways: dict[str, tuple[int, Callable[[], Any]]] = {
        "POST /query": (200, ours),
        "psycopg2 in a loop, its connections kept": (2000, driver),
        "psycopg2 in a loop, which connects for each query": (50, lambda: driver(new=True)),
        "GET /health/live: HTTP alone, no query": (500, bare),
    }
    runs: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(bench.rounds):
        for name, (count, one) in ways.items():
            runs[name].append(rate(count // 10 if bench.quick else count, one))
    queries = runs["POST /query"]
    bench.tell(
        "",
        f"A row of 3 columns by its key, {CONNECTIONS} connections and threads:",
        "",
        "| path | a second: median (least–most) | POST /query / this, round by round |",
        "|---|---|---|",
    )
    for name, found in runs.items():
        ratios = [mine / other for mine, other in zip(queries, found, strict=True)]
        bench.tell(f"| {name} | {spread(found, 0)} | {spread(ratios)} |")


def gigabyte(bench: Bench) -> None:
    """A large answer, and the service's peak memory."""
    bench.tell("", "| a large answer | MB | s | peak MB of the service |", "|---|---|---|---|")
    sql = GIGABYTE.replace(str(GIGABYTE_ROWS), str(GIGABYTE_ROWS // 20)) if bench.quick else GIGABYTE
    for name, accept in (("Arrow", ARROW), ("CSV", CSV)):
        forget_peak(bench.service.pid)
        started = time.perf_counter()
        size = fetch(bench.service, sql, accept, Path(os.devnull))
        seconds = time.perf_counter() - started
        peak = status_of(bench.service.pid)["peak_mb"]
        bench.tell(f"| {name} | {size / 1e6:.0f} | {seconds:.1f} | {peak} |")


def leaks(bench: Bench) -> None:
    """What many requests leave behind."""
    bench.tell(
        "",
        "| requests | resident MB | threads | open files | SQLite kB | files in the spool |",
        "|---|---|---|---|---|---|",
    )
    calls: list[tuple[str, Any, int]] = [
        *[("/query", {"sql": f"{SMALL}:id", "params": {"id": 7}}, 200)] * 7,
        ("/analytics/query", {"sql": f"{SMALL}7"}, 200),
        ("/query", {"sql": "SELECT 1 / 0"}, 400),
        ("/health", None, 200),
    ]

    def some(count: int) -> None:
        def work(_: int) -> None:
            with connected(bench.service) as ask:
                for number in range(count // CONNECTIONS):
                    path, body, status = calls[number % len(calls)]
                    assert ask(path, body)[0] == status

        with ThreadPoolExecutor(CONNECTIONS) as threads:
            list(threads.map(work, range(CONNECTIONS)))

    total = 1000 if bench.quick else 10_000
    some(total // 10)  # what is made once is no leak
    for done in range(0, total + 1, total // 4):
        if done:
            some(total // 4)
        bench.service.wait_until_idle()
        now, folder = status_of(bench.service.pid), bench.service.folder
        stored = sum(file.stat().st_size for file in folder.glob("service.sqlite3*")) // 1024
        spooled = sum(len(list((folder / name).iterdir())) for name in ("answers", "results", "uploads"))
        bench.tell(f"| {done} | {now['rss_mb']} | {now['threads']} | {now['files']} | {stored} | {spooled} |")


def health(bench: Bench) -> None:
    """/health idle, and under slow queries of which ten run and the others wait."""
    idle: list[float] = []
    busy: list[float] = []
    for _ in range(bench.rounds):
        idle.append(statistics.median(samples(bench.service)))
        with ExitStack() as stack:
            for _ in range(SLOW):
                stack.enter_context(slow_query(bench.service))
            with bench.service.client() as client:
                wait_for(lambda client=client: client.get("/pool/status").json()["queries_waiting"] == SLOW - 10, 60)
            busy.append(statistics.median(samples(bench.service)))
        bench.service.wait_until_idle(30)
    ratios = [under / alone for under, alone in zip(busy, idle, strict=True)]
    bench.tell(
        "",
        f"| GET /health, medians of {SAMPLES} | ms: median (least–most) | × idle, round by round |",
        "|---|---|---|",
        f"| idle | {spread([1000 * each for each in idle])} | |",
        f"| under {SLOW} slow queries, 10 of which run | {spread([1000 * each for each in busy])} | {spread(ratios)} |",
    )


SAMPLES = 300


def samples(service: ServiceProcess) -> list[float]:
    """Seconds of calls one after the other."""
    with connected(service) as ask:
        return [timed(lambda: ask("/health")) for _ in range(SAMPLES)]


@contextmanager
def slow_query(service: ServiceProcess) -> Iterator[None]:
    """A query that runs, or waits, until the end of the block."""
    headers = {"Authorization": f"Bearer {service.keys[0]}", "Content-Type": "application/json"}
    with closing(http.client.HTTPConnection("127.0.0.1", service.port)) as connection:
        connection.request("POST", "/query", json.dumps({"sql": "SELECT pg_sleep(600)"}), headers)
        yield


PARTS: dict[str, Callable[[Bench], None]] = {
    "files": files,
    "small": small,
    "gigabyte": gigabyte,
    "leaks": leaks,
    "health": health,
}


def main() -> None:
    """Measure, and write the section of this server."""
    parser = argparse.ArgumentParser()
    parser.add_argument("url", nargs="?")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=PARTS, help="these parts; nothing written")
    parser.add_argument("--quick", action="store_true", help="50 000 rows, 2 rounds, nothing written")
    given = parser.parse_args()
    rows, rounds = (50_000, 2) if given.quick else (given.rows, given.rounds)
    with ExitStack() as stack:
        url = given.url
        if url is None:
            from gpwarehouse.embedded import EmbeddedServer

            url = str(stack.enter_context(EmbeddedServer.start()).url("postgres"))
        own = stack.enter_context(database(make_url(url).set(drivername="greenplum+psycopg2")))
        fab = stack.enter_context(fab_with_roles(stack.enter_context(Warehouse(own))))
        fab.upgrade()
        fill(fab, rows)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gpw-bench-")))
        options = {"service_per_caller": 100, "service_queue_s": 600}
        service = stack.enter_context(service_process(fab, folder / "state", forked=False, **options))
        title = f"## The service, {dialect_of(fab.engine).server_info}"
        bench = Bench(service, fab, folder, rows, rounds, given.quick)
        for name in given.only or PARTS:
            PARTS[name](bench)
    load = " / ".join(f"{value:.1f}" for value in os.getloadavg())
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    lines = [
        f"{datetime.now(UTC):%Y-%m-%d}, {rounds} rounds, interleaved; {os.cpu_count()} CPUs, load average {load} at the end. "
        f"Python {platform.python_version()}, {versions}.",
        "Clients, service and server share the machine. Repeat: `python -m tests.benchmarks.service`",
        *bench.lines,
    ]
    if not given.quick and not given.only:
        write(title, lines)


if __name__ == "__main__":
    main()
