"""How long a large catalog takes to reflect, against SQLAlchemy's own dialect on the same server.

By hand: ``python -m tests.benchmarks.reflection URL [TABLES PARTITIONS]``; it makes a database of its own, drops it, and
writes its section of RESULTS.md.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

from sqlalchemy import (
    URL,
    BigInteger,
    Column,
    Engine,
    MetaData,
    NullPool,
    Table,
    create_engine,
    event,
    inspect,
    make_url,
    text,
)
from sqlalchemy.schema import CreateTable

from gpwarehouse.dialect import AppendOptimized, DistributedBy, GreenplumDialect, RangePartition, RangePartitions
from tests.conftest import database

RESULTS = Path(__file__).with_name("RESULTS.md")


def fill(engine: Engine, tables: int, partitions: int) -> None:
    """Make the tables, a few a transaction: each of their relations takes a lock until its end."""
    ranges = tuple(RangePartition(f"p{number}", number * 10, number * 10 + 10) for number in range(partitions))
    for number in range(tables):
        table = Table(
            f"t{number}",
            MetaData(),
            *(Column(name, BigInteger) for name in ("k", "i", "a", "b", "c")),
            greenplum_distributed_by=DistributedBy("k"),
            greenplum_storage=AppendOptimized(orientation="column", compresstype="zstd") if number % 10 == 0 else None,
            greenplum_partition_by=RangePartitions("i", ranges),
        )
        with engine.begin() as connection:
            connection.execute(CreateTable(table))


def measure(engine: Engine, ask: Callable[[], Any]) -> tuple[float, int, int]:
    """Seconds, queries, and how many were found."""
    counted = 0

    def count(*_: Any) -> None:
        nonlocal counted
        counted += 1

    event.listen(engine, "before_cursor_execute", count)
    started = perf_counter()
    try:
        found = len(ask())
    finally:
        event.remove(engine, "before_cursor_execute", count)
    return perf_counter() - started, counted, found


def reflected(engine: Engine) -> Any:
    """Everything there is, as MetaData.reflect finds it."""
    metadata = MetaData()
    metadata.reflect(engine)
    return metadata.tables


def main(url: str, tables: int = 500, partitions: int = 120) -> None:
    """Make the tables, measure, and write the section of this server."""
    with database(make_url(url).set(drivername="greenplum+psycopg2")) as own:
        engine = create_engine(own, poolclass=NullPool)
        fill(engine, tables, partitions)
        with engine.connect() as connection:
            connection.execution_options(isolation_level="AUTOCOMMIT").execute(text("ANALYZE pg_catalog.pg_class"))
        compare(own, f"{tables} tables of {partitions} partitions")


def compare(url: URL, what_is_there: str) -> None:
    """Measure our dialect and the stock one on a database, and write the section of its server."""
    ours = create_engine(url, poolclass=NullPool)
    stock = create_engine(url.set(drivername="postgresql+psycopg2"), poolclass=NullPool)
    lines = [what_is_there, "", "| what | dialect | seconds | queries | found |", "|---|---|---|---|---|"]
    asked: list[tuple[str, str, Engine, Callable[[], Any]]] = [
        ("table names", "ours", ours, lambda: inspect(ours).get_table_names()),
        ("table names", "stock", stock, lambda: inspect(stock).get_table_names()),
        ("partitionings", "ours", ours, lambda: inspect(ours).get_multi_partitions()),  # type: ignore[attr-defined]
        ("options", "ours", ours, lambda: inspect(ours).get_multi_table_options()),
        ("MetaData.reflect", "ours", ours, lambda: reflected(ours)),
        ("MetaData.reflect", "stock", stock, lambda: reflected(stock)),
    ]
    for what, dialect, engine, ask in asked:
        try:
            seconds, queries, found = measure(engine, ask)
            lines.append(f"| {what} | {dialect} | {seconds:.2f} | {queries} | {found} |")
        except Exception as error:  # what the stock dialect cannot do here is a result too
            lines.append(f"| {what} | {dialect} | fails: {type(error).__name__} | | |")
    assert isinstance(ours.dialect, GreenplumDialect)
    write(f"## Reflection, {ours.dialect.server_info}", lines)
    ours.dispose()
    stock.dispose()


def write(title: str, lines: list[str]) -> None:
    """Put the section in place of the one of that title."""
    there = RESULTS.read_text() if RESULTS.exists() else "# Benchmarks, by hand\n"
    head, *sections = there.split("\n## ")
    kept = [section for section in sections if f"## {section.splitlines()[0]}" != title]
    mine = "\n".join([title.removeprefix("## "), "", *lines, ""])
    RESULTS.write_text("\n## ".join([head.rstrip() + "\n", *[s.rstrip() + "\n" for s in kept], mine]))


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
