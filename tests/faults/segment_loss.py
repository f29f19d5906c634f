"""By hand, on a Greenplum of one's own: kill a segment's postmaster during a load and during a read, and start it again.

``python -m tests.faults.segment_loss --url postgresql://gpadmin@host:5432/postgres \
    --pid-file /data/seg0/postmaster.pid --restart "pg_ctl -D /data/seg0 … start" [--whole] [--part load|read|both]``

It makes a database of its own and drops it. Expected: load and read come right by themselves, or raise an error that says
it is safe to repeat, and come right when repeated; no row lost, none doubled.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
from sqlalchemy import URL, NullPool, create_engine, make_url, text

from gpwarehouse import Warehouse
from gpwarehouse.engine import RetryPolicy
from gpwarehouse.errors import GpwarehouseError

TARGET = "fact_test_results"
DATABASE = "gpw_segment_loss"


class Segment:
    """The segment to kill, once a part."""

    def __init__(self, given: argparse.Namespace) -> None:
        self._given = given
        self._thread: threading.Thread | None = None

    def lose(self) -> None:
        """Kill its postmaster, and start it again after a while."""
        if self._thread is not None:
            return
        pid = self._given.pid or int(Path(self._given.pid_file).read_text().split()[0])
        backends = psutil.Process(pid).children(recursive=True) if self._given.whole else []
        os.kill(pid, signal.SIGKILL)
        for backend in backends:
            with suppress(psutil.NoSuchProcess):
                backend.kill()
        self._thread = threading.Thread(target=self._restart)
        self._thread.start()

    def _restart(self) -> None:
        time.sleep(self._given.down_s)
        subprocess.run(self._given.restart, shell=True, check=True, stdin=subprocess.DEVNULL, timeout=300)

    def back(self) -> bool:
        """Wait for it; whether it was lost at all."""
        lost = self._thread is not None
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        return lost


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True)
    parser.add_argument("--pid", type=int, help="the segment's postmaster; for one part only")
    parser.add_argument("--pid-file", help="its postmaster.pid, read anew for each part")
    parser.add_argument("--whole", action="store_true", help="kill its backends too, as when its host is gone")
    parser.add_argument("--restart", required=True, help="shell command that starts the segment")
    parser.add_argument("--down-s", type=float, default=3.0)
    parser.add_argument("--transport", choices=("copy", "gpfdist"), default="copy", help="of the load")
    parser.add_argument("--rows", type=int, default=300_000)
    parser.add_argument("--part", choices=("load", "read", "both"), default="both")
    given = parser.parse_args()
    if not given.pid_file and (given.pid is None or given.part == "both"):
        parser.error("give --pid-file, or --pid and one --part")
    url = make_url(given.url).set(drivername="greenplum+psycopg2")
    admin = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    _run(admin, f"DROP DATABASE IF EXISTS {DATABASE}")
    _run(admin, f"CREATE DATABASE {DATABASE}")
    try:
        told = _parts(url.set(database=DATABASE), Segment(given), given)
    finally:
        RetryPolicy(300).call("drop the database", _run, admin, f"DROP DATABASE {DATABASE}")
    sys.stdout.write(json.dumps(told, indent=2, default=str) + "\n")


def _run(admin: Any, statement: str) -> None:
    with admin.connect() as connection:
        connection.execute(text(statement))


def _parts(url: URL, segment: Segment, given: argparse.Namespace) -> dict[str, Any]:
    told: dict[str, Any] = {}
    with Warehouse(url, retry_deadline_s=300, transport=given.transport) as wh:
        wh.upgrade()
        wh.load(TARGET, _frame("L0", 1000), batch_id="first")
        if given.part in ("load", "both"):
            told["load"] = _load(wh, segment, given.rows)
        if given.part in ("read", "both"):
            told["read"] = _read(wh, segment, given.rows)
        told["health"] = wh.health().as_dict()
    return told


def _load(wh: Warehouse, segment: Segment, rows: int) -> dict[str, Any]:
    frame = _frame("L1", rows)

    def progress(phase: str, done: int) -> None:
        if phase == "copy" and done > rows // 4:
            segment.lose()

    told = _try(lambda: wh.load(TARGET, frame, batch_id="loss", progress=progress), segment)
    again = RetryPolicy(300).call("the same load", lambda: wh.load(TARGET, frame, batch_id="loss"))
    stored = int(wh.read(f"SELECT count(*) AS n FROM dw.{TARGET} WHERE batch_id = 'loss'").n[0])
    assert stored == rows, f"{stored} rows for {rows}"
    return {**told, "rows stored": stored, "a second load loaded again": not again.already_loaded}


def _read(wh: Warehouse, segment: Segment, rows: int) -> dict[str, Any]:
    wh.load(TARGET, _frame("L2", rows), batch_id="reading")
    # Wide rows, or all of them are under way before the first are here.
    query = f"SELECT die_x, die_y, repeat(batch_id, 20) AS ballast FROM dw.{TARGET} WHERE batch_id = 'reading'"

    def progress(_phase: str, _done: int) -> None:
        segment.lose()

    told = _try(lambda: wh.read(query, arrow=True, progress=progress), segment)
    found = RetryPolicy(300).call("the same read", lambda: wh.read(query, arrow=True))
    assert found.num_rows == rows, f"{found.num_rows} rows for {rows}"
    return {**told, "rows read afterwards": found.num_rows}


def _try(work: Callable[[], Any], segment: Segment) -> dict[str, Any]:
    started = time.monotonic()
    try:
        outcome = repr(work())[:300]
    except GpwarehouseError as error:
        outcome = f"{type(error).__name__} (safe to repeat: {error.safe_to_repeat}): {error}"
    seconds = round(time.monotonic() - started, 1)
    return {"outcome": outcome, "seconds": seconds, "the segment was lost": segment.back()}


def _frame(lot: str, rows: int) -> pa.Table:
    wafers = pa.array(str(n % 25 + 1) for n in range(rows))  # so that every segment has some
    same = {"lot_id": lot, "test_type": "CP", "test_stage": "CP1"}
    stamp = pa.scalar(1_767_607_200_000_000, pa.timestamp("us", tz="UTC"))  # 2026-01-05 10:00
    columns = {name: pa.repeat(pa.scalar(value), rows) for name, value in same.items()}
    numbers = {"die_x": pa.array(n % 1000 for n in range(rows)), "die_y": pa.array(n // 1000 for n in range(rows))}
    return pa.table({"event_ts": pa.repeat(stamp, rows), "wafer_id": wafers, **columns, **numbers})


if __name__ == "__main__":
    main()
