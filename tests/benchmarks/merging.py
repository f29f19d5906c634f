"""How fast a frame is merged into a large dimension, beside SQL written by hand for the same rule.

By hand: ``python -m tests.benchmarks.merging [URL] [--quick] [--rows N] [--runs N]``; without a URL it starts the embedded
PostgreSQL. It makes a database of its own, drops it, and writes its section of RESULTS.md. A run merges a fifth of the
dimension's rows: three in ten changed, one in ten new. The paths run in turn, each on what the ones before it left, after
VACUUM ANALYZE; what each wrote is counted. The SQL written by hand stages by the same COPY, and does without validation,
late rows, batches and their record.
"""

from __future__ import annotations

import argparse
import os
import platform
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from time import perf_counter
from typing import Any

import numpy as np
import pyarrow as pa
from sqlalchemy import Column, MetaData, Table, make_url, text
from sqlalchemy.engine import Connection
from sqlalchemy.schema import CreateTable

from gpwarehouse import Warehouse
from gpwarehouse.dialect import GreenplumDialect
from gpwarehouse.dimensions.merge_sql import WORK_MEMORY
from gpwarehouse.engine import dialect_of
from gpwarehouse.models import DimLot
from gpwarehouse.models.keys import durable_key_sql
from gpwarehouse.transport import copy_rows
from gpwarehouse.transport.copy import leave_statistics_alone
from gpwarehouse.version import __version__
from tests.benchmarks.loading import spread
from tests.benchmarks.reflection import write
from tests.conftest import database

FIRST = datetime(2025, 1, 1, tzinfo=UTC)
ATTRIBUTES = ("lot_type", "priority", "lot_status", "wafer_count", "carrier_id", "due_ts", "owner", "customer_lot_id")
TRACKED = ", ".join(ATTRIBUTES)
STAGED = ("lot_id", *ATTRIBUTES)
BEGINNING = "'1900-01-01 00:00:00+00'"
FOREVER = "'9999-12-31 00:00:00+00'"


class Lots:
    """What the dimension holds, so that a frame can be made that changes so much and no more."""

    def __init__(self, rows: int) -> None:
        self.random = np.random.default_rng(7)
        self.owners = np.zeros(rows, np.int64)
        self.rows = rows

    def frame(self, numbers: Any) -> pa.Table:
        """These lots as they are."""
        names = pa.array([f"LOT{n:09}" for n in numbers])
        due = (np.datetime64("2025-06-01", "us") + (numbers % 400).astype("m8[D]")).astype("M8[us]")
        columns = {
            "lot_id": names,
            "lot_type": pa.array(np.array(["PROD", "ENG", "MONITOR"], object)[numbers % 3]),
            "priority": pa.array((numbers % 5).astype(np.int32)),
            "lot_status": pa.array(np.array(["WAIT", "RUN"], object)[numbers % 2]),
            "wafer_count": pa.array(np.full(len(numbers), 25, np.int32)),
            "carrier_id": pa.array([f"FOUP{n % 5000}" for n in numbers]),
            "due_ts": pa.array(due, pa.timestamp("us", "UTC")),
            "owner": pa.array([f"owner {n}" for n in self.owners[numbers]]),
            "customer_lot_id": names,
        }
        return pa.table(columns)

    def next(self) -> tuple[pa.Table, int, int]:
        """A fifth of the lots, with what changed of them; how many changed, how many are new."""
        staged = self.rows // 5
        changed, new = staged * 3 // 10, staged // 10
        old = self.random.choice(self.rows, staged - new, replace=False)
        self.owners[old[:changed]] += 1
        numbers = np.concatenate([old, np.arange(self.rows, self.rows + new)])
        self.owners = np.concatenate([self.owners, np.zeros(new, np.int64)])
        self.rows += new
        return self.frame(self.random.permutation(numbers)), changed, new


Merge = Callable[[Warehouse, pa.Table, datetime], None]


def ours(wh: Warehouse, frame: pa.Table, at: datetime) -> None:
    """By the package."""
    wh.merge("dim_lot", frame, effective=at, analyze="never")


def staged(connection: Connection, frame: pa.Table) -> None:
    """The frame in a temporary table, with statistics."""
    model: Table = DimLot.__table__
    stage = Table(
        "stage",
        MetaData(),
        *(Column(name, model.c[name].type) for name in STAGED),
        prefixes=["TEMPORARY"],
        postgresql_on_commit="DROP",
        greenplum_distributed_by=model.dialect_options["greenplum"]["distributed_by"],
    )
    leave_statistics_alone(connection)
    if not dialect_of(connection).capabilities.distribution:  # type: ignore[union-attr]
        connection.execute(
            text(f"SET LOCAL work_mem = '{WORK_MEMORY}'")
        )  # as ours has it, or the ratio would be of that
    connection.execute(CreateTable(stage))
    copy_rows(connection, stage, frame.to_batches(65_536), STAGED)
    connection.execute(text("ANALYZE stage"))
    connection.execute(text("LOCK TABLE dw.dim_lot IN EXCLUSIVE MODE"))


def _key() -> str:
    key = durable_key_sql(DimLot.__table__.c.lot_id).compile(dialect=GreenplumDialect())
    return str(key).replace("dw.dim_lot.lot_id", "s.lot_id")


INSERTED = f"lot_key, lot_id, {TRACKED}, effective_date, expiry_date, is_current, row_hash, batch_id, source_system"


def _values(since: str) -> str:
    attributes = ", ".join(f"s.{name}" for name in ATTRIBUTES)
    row_hash = f"md5(CAST(ROW({attributes}) AS text))"
    return f"{_key()}, s.lot_id, {attributes}, {since}, {FOREVER}, true, {row_hash}, 'by hand', 'FRAME'"


def _differs() -> str:
    return " OR ".join(f"s.{name} IS DISTINCT FROM d.{name}" for name in ATTRIBUTES)


def by_merge(wh: Warehouse, frame: pa.Table, at: datetime) -> None:
    """MERGE ends what changed and inserts what is new; INSERT begins what changed."""
    with wh.engine.begin() as connection:
        staged(connection, frame)
        moment = f"'{at.isoformat()}'"
        connection.execute(
            text(
                "MERGE INTO dw.dim_lot d USING stage s ON d.lot_id = s.lot_id AND d.is_current "
                f"WHEN MATCHED AND ({_differs()}) THEN UPDATE SET expiry_date = {moment}, is_current = false, "
                "updated_at = now(), updated_by = current_user "
                f"WHEN NOT MATCHED THEN INSERT ({INSERTED}) VALUES ({_values(BEGINNING)})"
            )
        )
        connection.execute(
            text(
                f"INSERT INTO dw.dim_lot ({INSERTED}) SELECT {_values(moment)} FROM stage s "
                f"JOIN dw.dim_lot d ON d.lot_id = s.lot_id AND d.expiry_date = {moment}"
            )
        )


def by_sets(wh: Warehouse, frame: pa.Table, at: datetime) -> None:
    """A table of what changed or is new; UPDATE; INSERT."""
    with wh.engine.begin() as connection:
        staged(connection, frame)
        moment = f"'{at.isoformat()}'"
        spread_like = "DISTRIBUTED REPLICATED" if dialect_of(connection).capabilities.distribution else ""  # type: ignore[union-attr]
        connection.execute(
            text(
                "CREATE TEMPORARY TABLE delta ON COMMIT DROP AS SELECT s.*, d.lot_key FROM stage s "
                f"LEFT JOIN dw.dim_lot d ON d.lot_id = s.lot_id AND d.is_current WHERE d.lot_key IS NULL OR {_differs()} "
                f"{spread_like}"
            )
        )
        connection.execute(
            text(
                f"UPDATE dw.dim_lot d SET expiry_date = {moment}, is_current = false, updated_at = now(), "
                "updated_by = current_user FROM delta s WHERE d.lot_key = s.lot_key AND d.is_current"
            )
        )
        since = f"CASE WHEN s.lot_key IS NULL THEN {BEGINNING} ELSE {moment} END::timestamptz"
        connection.execute(text(f"INSERT INTO dw.dim_lot ({INSERTED}) SELECT {_values(since)} FROM delta s"))


@dataclass
class Measured:
    """What a path took."""

    name: str
    merge: Merge
    seconds: list[float] = field(default_factory=list)


def measure(wh: Warehouse, rows: int, runs: int) -> list[Measured]:
    """All paths, interleaved, on one dimension that grows."""
    lots = Lots(rows)
    for first in range(0, rows, 200_000):
        wh.merge("dim_lot", lots.frame(np.arange(first, min(first + 200_000, rows))), effective=FIRST, analyze="never")
    paths = [Measured("wh.merge", ours), Measured("set-based SQL by hand", by_sets)]
    with wh.engine.connect() as connection:
        version = int(connection.exec_driver_sql("SHOW server_version_num").scalar_one())
    if version >= 150_000:
        paths.insert(1, Measured("MERGE by hand", by_merge))
    total, at = rows, FIRST
    for _ in range(runs):
        for path in paths:
            frame, changed, new = lots.next()
            at += timedelta(hours=1)
            with wh.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.execute(text("VACUUM ANALYZE dw.dim_lot"))
            started = perf_counter()
            path.merge(wh, frame, at)
            path.seconds.append(perf_counter() - started)
            with wh.engine.connect() as connection:
                found = connection.execute(text("SELECT count(*) FROM dw.dim_lot WHERE lot_key NOT IN (-1, -2)"))
                total += changed + new
                assert found.scalar_one() == total, f"{path.name}: {total} versions should be there"
    return paths


def table_of(paths: list[Measured]) -> Iterator[str]:
    """Ours against each path, run by run, so that what slowed a run slowed both."""
    yield "| path | s: median (least–most) | ours / this, run by run |"
    yield "|---|---|---|"
    for path in paths:
        ratios = [mine / theirs for mine, theirs in zip(paths[0].seconds, path.seconds, strict=True)]
        yield f"| {path.name} | {spread(path.seconds)} | {spread(ratios)} |"


def main(url: str | None, rows: int, runs: int) -> None:
    """Measure, and write the section of this server."""
    with ExitStack() as stack:
        if url is None:
            from gpwarehouse.embedded import EmbeddedServer

            url_there = str(stack.enter_context(EmbeddedServer.start()).url("postgres"))
        own = stack.enter_context(database(make_url(url or url_there).set(drivername="greenplum+psycopg2")))
        wh = stack.enter_context(Warehouse(own))
        wh.upgrade()
        paths = measure(wh, rows, runs)
        server = f"{wh.engine.dialect.server_info}"  # type: ignore[attr-defined]
    about = [
        f"{rows // 5} rows ({rows // 5 * 3 // 10} changed, {rows // 50} new) onto `dim_lot` of {rows} rows, {runs} runs, "
        f"interleaved; {os.cpu_count()} CPUs, load average {os.getloadavg()[0]:.1f} at the end. gpwarehouse {__version__}, "
        f"Python {platform.python_version()}.",
        f"Repeat: `python -m tests.benchmarks.merging {'URL ' if url else ''}--rows {rows} --runs {runs}`",
        "",
    ]
    write(f"## Merging into a dimension, {server}", [*about, *table_of(paths)])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", nargs="?")
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows, two runs")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=5)
    given = parser.parse_args()
    main(given.url, given.rows // 10 if given.quick else given.rows, 2 if given.quick else given.runs)
