"""How long the upkeep of 120 months of four facts takes: to make, to plan, one month more; and to validate.

By hand: ``python -m tests.benchmarks.partitions [URL [MONTHS]]``, without a URL on an embedded PostgreSQL; it makes a
database of its own, drops it, and writes its section of RESULTS.md.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from time import perf_counter
from typing import Any

from sqlalchemy import make_url

from gpwarehouse import Warehouse
from gpwarehouse.engine import dialect_of
from gpwarehouse.models import FACTS
from gpwarehouse.settings import WarehouseSettings
from gpwarehouse.validate import validate
from tests.benchmarks.reflection import write
from tests.conftest import database

NOW = datetime(2026, 1, 15, tzinfo=UTC)
NEXT = datetime(2026, 2, 15, tzinfo=UTC)


def timed(act: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds, and what came of it."""
    started = perf_counter()
    found = act()
    return perf_counter() - started, found


def main(url: str | None = None, months: int = 120) -> None:
    """Measure, and write the section of this server."""
    with ExitStack() as stack:
        if url is None:
            from gpwarehouse.embedded import EmbeddedServer

            url = str(stack.enter_context(EmbeddedServer.start()).url("postgres"))
        own = stack.enter_context(database(make_url(url).set(drivername="greenplum+psycopg2")))
        text = own.render_as_string(hide_password=False)
        settings = WarehouseSettings(url=text, partition_premake=months - 1, _env_file=None)
        wh = stack.enter_context(Warehouse(settings=settings))
        wh.upgrade()
        asked: list[tuple[str, Callable[[], Any], Callable[[Any], int]]] = [
            (f"make {months} months of {len(FACTS)} facts", lambda: wh.partitions.apply(now=NOW), done),
            ("plan: nothing to do", lambda: wh.partitions.plan(now=NOW), len),
            ("plan: one month more", lambda: wh.partitions.plan(now=NEXT), len),
            ("apply: one month more", lambda: wh.partitions.apply(now=NEXT), done),
            ("list", lambda: wh.partitions.list(), len),
            ("schema validate", lambda: validate(wh.engine, wh.settings, now=NOW), len),
        ]
        lines = ["| what | seconds | steps, months or findings |", "|---|---|---|"]
        for what, act, count in asked:
            seconds, found = timed(act)
            lines.append(f"| {what} | {seconds:.2f} | {count(found)} |")
        write(f"## Partitions, {dialect_of(wh.engine).server_info}", lines)


def done(report: Any) -> int:
    """Steps done."""
    return sum(outcome.done for outcome in report.outcomes)


if __name__ == "__main__":
    main(*sys.argv[1:2], *map(int, sys.argv[2:3]))
