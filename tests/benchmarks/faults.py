"""Random faults, and threads on a small pool, by hand: counts go into RESULTS.md.

``python -m tests.benchmarks.faults --faults 200 --seed 1 [--threads 50 --units 200]``

Each fault's random numbers come from the seed and its number, so ``--first N --faults 1`` does the N-th again.
"""

from __future__ import annotations

import argparse
import logging
import random
import sys
import tempfile
import time
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.orm import Session

from gpwarehouse import Warehouse
from gpwarehouse.engine import dialect_of, pool_state
from tests.faults.harness import Bench

RESULTS = Path(__file__).with_name("RESULTS.md")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faults", type=int, default=200)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=50)
    parser.add_argument("--units", type=int, default=200)
    parser.add_argument("--write", action="store_true", help="write the counts into RESULTS.md")
    given = parser.parse_args()
    logging.getLogger("gpwarehouse").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder, Bench(Path(folder)) as bench:
        server = str(dialect_of(bench.wh.engine).server_info)
        faults = run_faults(bench, given.seed, given.first, given.faults)
        threads = run_threads(Warehouse(bench.server.url("fab")), given.threads, given.units)
    section = f"## Faults, {server}\n\n{faults}\n{threads}\n"
    sys.stdout.write(section)
    if given.write:
        put(section)


def run_faults(bench: Bench, seed: int, first: int, count: int) -> str:
    """So many random faults; any that breaks a promise ends the run with its number."""
    started = time.monotonic()
    found: Counter[tuple[str, str, str]] = Counter()
    number, struck = first, 0
    while struck < count:
        try:
            what = bench.random_fault(random.Random(f"{seed} {number}"))
        except BaseException:
            sys.stderr.write(f"fault {number} of seed {seed} broke a promise\n")
            raise
        number += 1
        if what[1] != "none":  # the operation was over before its turn came
            found[what] += 1
            struck += 1
    lines = [
        f"{count} random faults, seed {seed}, {time.monotonic() - started:.0f} s: nothing lost, nothing doubled",
        "",
    ]
    lines += ["| operation | fault | what came of it |", "|---|---|---|"]
    outcomes: dict[tuple[str, str], list[str]] = defaultdict(list)
    for (operation, kind, outcome), times in sorted(found.items()):
        outcomes[operation, kind].append(f"{outcome} {times}")
    lines += [f"| {operation} | {kind} | {', '.join(told)} |" for (operation, kind), told in outcomes.items()]
    return "\n".join(lines) + "\n"


def run_threads(wh: Warehouse, threads: int, units: int) -> str:
    """Threads that each do units of work, on a pool of 5 to 50."""
    started = time.monotonic()

    def work(session: Session) -> None:
        session.execute(text("INSERT INTO public.gpw_units VALUES (1)"))

    def job(_: int) -> None:
        for _unit in range(units):
            wh.run(work)

    with wh:
        wh.run(lambda session: session.execute(text("CREATE TABLE public.gpw_units (n int)")))
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(job, range(threads)))
        rows = wh.read("SELECT count(*) AS n FROM public.gpw_units").n[0]
        assert rows == threads * units, rows
        wh.run(lambda session: session.execute(text("DROP TABLE public.gpw_units")))
        state = pool_state(wh.engine.pool)
        assert state is not None
        assert (state.in_use, state.waiting, state.timeouts) == (0, 0, 0), state
        return (
            f"{threads} threads × {units} units of work on a pool of {state.size} to {state.limit}: {rows} rows, no error, "
            f"{state.idle} connections open and none in use afterwards, {time.monotonic() - started:.0f} s\n"
        )


def put(section: str) -> None:
    """Replace the section of the same heading, or append it."""
    parts = RESULTS.read_text().split("\n## ")
    heading = section.removeprefix("## ").partition("\n")[0]
    kept = [part for part in parts if part.partition("\n")[0] != heading]
    RESULTS.write_text(
        "\n## ".join([*(part.rstrip("\n") + "\n" for part in kept), section.removeprefix("## ").rstrip() + "\n"])
    )


if __name__ == "__main__":
    main()
