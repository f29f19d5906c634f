"""A day of a warehouse: loads, corrections, queries, upkeep, backups and migrations at once, while faults strike.

By hand: ``python -m tests.chaos.day --faults 100 --seed 1 [--watched]``. At its end the data equal what was sent, every
query saw whole batches only, and the last backup restores onto another database, row for row. With ``--watched`` a real
Prometheus and Alertmanager watch the warehouse's service, the server is away until somebody is told, and at the end the alerts
that should have fired did, no others did, and all are over.
"""

from __future__ import annotations

import argparse
import logging
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from gpwarehouse import Warehouse
from gpwarehouse.errors import GpwarehouseError, TooManyRejectsError
from tests.chaos.alerts import Alerts, listening
from tests.deploy.watching import watched
from tests.faults.harness import PASSING, READ, TARGET, Bench, Fault
from tests.roles import fab_with_roles

__all__ = ["Day", "Diary"]

ROWS = 60
KEPT = 40
"""Batches that are corrected, replaced or deleted again; older ones stay as they are."""
MONTHS = ("2026-01", "2026-02", "2026-03")
_DONE_S = 300
_SEEN = f"SELECT batch_id, count(*) AS n, count(DISTINCT die_y) AS kinds, min(die_y) AS y FROM dw.{TARGET} GROUP BY 1"
_STORED = (
    f"SELECT f.batch_id, lot_id, die_x, die_y, event_ts FROM dw.{TARGET} f JOIN dw.dim_lot l ON l.lot_key = f.lot_key"
)


@dataclass
class Diary:
    """What happened.

    :ivar done: pieces of work that were done, by actor; ``repeated``: errors after which one was done again.
    :ivar struck: faults, by kind.
    """

    done: Counter[str] = field(default_factory=Counter)
    repeated: Counter[str] = field(default_factory=Counter)
    struck: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        lines = [f"{sum(self.struck.values())} faults: {_listed(self.struck)}", f"work done: {_listed(self.done)}"]
        return "\n".join([*lines, f"done again after an error: {_listed(self.repeated) or 'nothing'}"])


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))


class Day:
    """Actors in threads of their own, and the faults between them and the server.

    :param alerts: those of a Prometheus that watches.
    :ivar sent: rows that each batch must have at the end, and the mark (``die_y``) of its last version.
    """

    def __init__(self, bench: Bench, seed: int, backups: Path, alerts: Alerts | None = None) -> None:
        self.bench, self.wh, self.backups, self.alerts = bench, bench.wh, backups, alerts
        self.diary = Diary()
        self.sent: dict[str, list[dict[str, Any]]] = {}
        self._rng = random.Random(f"day {seed}")
        self._over = threading.Event()
        self._failures: list[BaseException] = []
        self._may_be: dict[str, set[tuple[int, int]]] = {}
        """Rows and mark that a query may see of a batch."""
        self._lock = threading.Lock()
        self._number = self._enough = 0

    # The actors

    def _load(self, rng: random.Random) -> None:
        self._number += 1
        batch, rows = f"day-{self._number}", rows_of(self._number, rng.randint(1, ROWS), 1)
        if rng.random() < 0.1:
            self._refuse(batch, rows)
        self._allow(batch, (len(rows), 1))
        self._persist("load", lambda: self.wh.load(TARGET, rows, batch_id=batch))
        self.sent[batch] = rows

    def _refuse(self, batch: str, rows: list[dict[str, Any]]) -> None:
        """A load whose rows are wrong fails, and leaves nothing."""

        def refused() -> None:
            try:
                self.wh.load(TARGET, [row | {"event_ts": "never"} for row in rows], batch_id=batch)
            except TooManyRejectsError:
                return
            raise AssertionError(f"{batch}: rows without a time were loaded")

        self._persist("refused load", refused)
        if self.alerts is not None and "LoadFailed" not in self.alerts.fired():
            self.alerts.wait_for("LoadFailed", "firing")

    def _replace(self, rng: random.Random) -> None:
        if (batch := self._pick(rng)) is None:
            return
        mark = self.sent[batch][0]["die_y"] + 1
        rows = rows_of(int(batch.partition("-")[2]), rng.randint(1, ROWS), mark)
        self._allow(batch, (len(rows), mark))
        self._persist("replace", lambda: self.wh.load(TARGET, rows, batch_id=batch, on_conflict="replace"))
        self.sent[batch] = rows

    def _delete(self, rng: random.Random) -> None:
        if rng.random() < 0.3 and (batch := self._pick(rng)) is not None:
            self._persist("delete", lambda: self.wh.batches.delete(batch))
            del self.sent[batch]

    def _query(self, _rng: random.Random) -> None:
        seen = self._persist("query", lambda: self.wh.read(_SEEN))
        for batch, n, kinds, mark in seen.itertuples(index=False):
            if batch != "first":
                assert kinds == 1, f"{batch} was seen in two versions at once"
                assert (n, mark) in self._may_be[batch], f"{batch} was seen with {n} rows of version {mark}"
        assert self._persist("query", lambda: self.wh.read(READ)).equals(self.bench.expected)

    def _upkeep(self, _rng: random.Random) -> None:
        def apply() -> None:
            report = self.wh.partitions.apply()
            if report.failed:
                raise (
                    report.failed[0].error
                    if isinstance(report.failed[0].error, GpwarehouseError)
                    else _Again(str(report))
                )

        self._persist("upkeep", apply)

    def _back_up(self, _rng: random.Random) -> None:
        self._persist("backup", lambda: self.wh.backup(str(self.backups)).create())

    def _migrate(self, _rng: random.Random) -> None:
        self._persist("upgrade", self.bench.site.upgrade)
        self._persist("downgrade", lambda: self.bench.site.downgrade("site@base", drop_data=True))

    # How they work

    def _pick(self, rng: random.Random) -> str | None:
        return rng.choice(list(self.sent)[-KEPT:]) if self.sent else None

    def _allow(self, batch: str, seen: tuple[int, int]) -> None:
        with self._lock:
            self._may_be.setdefault(batch, set()).add(seen)

    def _persist(self, what: str, work: Callable[[], Any]) -> Any:
        """Do it until it is done, as a job that is started again. Faults pass."""
        deadline = time.monotonic() + _DONE_S
        while True:
            try:
                found = work()
            except (GpwarehouseError, _Again) as error:
                if time.monotonic() > deadline:
                    raise
                with self._lock:
                    self.diary.repeated[f"{what}: {type(error).__name__}"] += 1
                self.bench.server.ask(
                    "SELECT 1", patience_s=_DONE_S
                )  # when the server can, as who starts a job again looks first
                continue
            with self._lock:
                self.diary.done[what] += 1
            return found

    def _act(self, seed: str, *acts: Callable[[random.Random], None]) -> None:
        rng = random.Random(seed)
        try:
            while not self._over.is_set():
                rng.choice(acts)(rng)
        except BaseException as error:
            self._failures.append(error)
            self._over.set()

    def play(self, faults: int) -> None:
        """Let the day pass. The first promise that is broken is raised."""
        seed = self._rng.random()
        actors = {
            # One thread writes facts, so that what was sent last to a batch is known.
            "loads": (self._load, self._load, self._replace, self._delete),
            "queries": (self._query,),
            "upkeep": (self._upkeep,),
            "backups": (self._back_up,),
            "migrations": (self._migrate,),
        }
        threads = [
            threading.Thread(target=self._act, args=(f"{seed} {name}", *acts), name=name)
            for name, acts in actors.items()
        ]
        for thread in threads:
            thread.start()
        try:
            for number in range(faults):
                if self.alerts is not None and number == faults // 2:
                    self._stay_away(self.alerts)
                while sum(self.diary.struck.values()) <= number and not self._over.is_set():
                    self._strike()
        finally:
            self._over.set()
            for thread in threads:
                thread.join()
        if self._failures:
            raise self._failures[0]

    def _strike(self) -> None:
        """Let some work be done, arm a fault, wait until it has struck, and heal."""
        self._wait(lambda: sum(self.diary.done.values()) >= self._enough)
        kinds = [kind for kind in PASSING if not kind.startswith("pool")]
        weights = [1 if kind == "kill server" else 4 for kind in kinds]
        fault = Fault(self._rng.choices(kinds, weights)[0], self.bench, message=self._rng.randint(1, 200))
        self.bench.line.watch = fault.watch
        self._wait(lambda: fault.struck)
        self.bench.line.watch = None
        fault.heal()
        if fault.struck:
            self.diary.struck[fault.kind] += 1
        self._enough = sum(self.diary.done.values()) + self._rng.randint(2, 12)

    def _wait(self, is_true: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        while not is_true() and not self._over.is_set() and time.monotonic() < deadline:
            time.sleep(0.01)

    def _stay_away(self, alerts: Alerts) -> None:
        """Let the server be gone until somebody is told."""
        self.bench.server.kill()
        alerts.wait_for("WarehouseDown", "firing")
        self.bench.server.restart()

    # Its end

    def check(self) -> None:
        """Compare the data with what was sent, and the backup with the data.

        :raises AssertionError: a promise was broken.
        """
        stored = self.wh.read(_STORED)
        found = _sorted(stored[stored.batch_id != "first"])
        expected = _sorted(
            pd.DataFrame(
                [
                    (batch, row["lot_id"], row["die_x"], row["die_y"], pd.Timestamp(row["event_ts"]))
                    for batch, rows in self.sent.items()
                    for row in rows
                ],
                columns=list(stored.columns),
            )
        )
        assert found.values.tolist() == expected.values.tolist()
        loaded = self.wh.batches.list(status="loaded", most=1_000_000).batch_id
        assert set(loaded) - {"first"} == set(self.sent)
        assert self.wh.data.check().empty
        assert self.wh.schema.validate() == []
        place = self.wh.backup(str(self.backups))
        made = place.create()
        verified = place.verify()
        assert verified.problems == (), verified
        self.bench.server.ask("CREATE DATABASE tomorrow")
        with Warehouse(self.bench.server.url("tomorrow")) as other:
            other.upgrade()
            there = other.backup(str(self.backups))
            there.restore(made.backup.id)
            assert [each for each in there.compare(made.backup.id) if not each.equal] == []
            assert other.read(f"SELECT count(*) AS n FROM dw.{TARGET}").n[0] == len(stored)

    def check_alerts(self) -> None:
        """Compare the alerts with what happened.

        :raises AssertionError: one was missing, was too many, or is not over.
        """
        assert self.alerts is not None
        should = {"WarehouseDown", *(("LoadFailed",) if self.diary.done["refused load"] else ())}
        # Of a batch that was refused all rows are rejects, until it is loaded.
        assert should <= self.alerts.fired() <= should | {"RejectsMany"}, self.alerts.told
        for name in self.alerts.fired():
            self.alerts.wait_for(name, "resolved")


class _Again(Exception):
    """A report with a step that failed."""


def rows_of(number: int, count: int, mark: int) -> list[dict[str, Any]]:
    """Rows of a lot of its own, in one month."""
    row = {"wafer_id": "1", "test_type": "CP", "test_stage": "CP1", "die_y": mark, "lot_id": f"DAY{number}"}
    moment = f"{MONTHS[number % len(MONTHS)]}-05T10:00:00+00:00"
    return [row | {"event_ts": moment, "die_x": x} for x in range(count)]


def _sorted(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.sort_values(["batch_id", "die_x"], ignore_index=True)


def main() -> None:
    """Play a day, and tell what happened."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faults", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--watched", action="store_true", help="by Prometheus and Alertmanager, which must be installed"
    )
    given = parser.parse_args()
    logging.getLogger("gpwarehouse").setLevel(logging.CRITICAL)
    started = time.monotonic()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        bench = stack.enter_context(Bench(folder))
        alerts = None
        if given.watched:
            near = stack.enter_context(Warehouse(bench.server.url("fab")))
            fab = stack.enter_context(fab_with_roles(near))
            alerts = stack.enter_context(listening(stack.enter_context(watched(fab, folder)).told))
        day = Day(bench, given.seed, folder / "backups", alerts)
        try:
            day.play(given.faults)
        finally:
            sys.stdout.write(f"{day.diary}\n")
        day.check()
        if alerts is not None:
            day.check_alerts()
            sys.stdout.write(f"alerts: {', '.join(sorted(alerts.fired()))}\n")
    sys.stdout.write(f"{time.monotonic() - started:.0f} s: nothing lost, nothing doubled, and the backup restores\n")


if __name__ == "__main__":
    main()
