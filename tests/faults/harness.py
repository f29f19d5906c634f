"""One fault at one moment of a load, a read or a migration, and whether all is as promised after it.

Promised are: nothing lost, nothing doubled; where the fault passes, the work is done as if there had been none; where it
does not, an error of ours, and the same work done again comes out right. A migration is not repeated by itself: it fails
as a whole, and is run again.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from sqlalchemy.exc import SQLAlchemyError

from gpwarehouse import Warehouse
from gpwarehouse.engine import RetryPolicy
from gpwarehouse.errors import GpwarehouseError, PoolTimeoutError
from tests.faults.server import FaultServer
from tests.faults.wire import Verdict, Wire
from tests.migrate.site import HEAD, write_site

__all__ = ["FAULTS", "OPERATIONS", "READ", "READ_ROWS", "TARGET", "Bench", "Fault", "rows_of_lot"]

TARGET = "fact_test_results"
ROWS = 300
READ_ROWS = 20_000
READ = f"SELECT n, md5(CAST(n AS text)) AS word FROM generate_series(1, {READ_ROWS}) n"
PASSING = (
    "cut",
    "cut after",
    "terminate",
    "kill backend",
    "kill server",
    "freeze",
    "slow",
    "stall",
    "pool for a while",
)
LASTING = ("expired password", "pool for good")
FAULTS = PASSING + LASTING
OPERATIONS = ("load", "read", "chunks", "migrate")


@dataclass
class Fault:
    """A fault that strikes once, at the n-th message of the client, or where a phase says so."""

    kind: str
    bench: Bench
    message: int | None = None
    when: Callable[[bytes], bool] | None = None
    struck: bool = False
    threads: list[threading.Thread] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)
    _seen: int = 0
    _lock: Any = field(default_factory=threading.Lock)

    def watch(self, data: bytes) -> Verdict:
        """The wire's hook."""
        with self._lock:
            self._seen += 1
            due = self._seen == self.message or (self.when is not None and self.when(data))
            if self.struck or not due:
                return None
            return self._strike()

    def strike(self) -> None:
        """Strike now, from outside the wire."""
        with self._lock:
            if not self.struck and self._strike() is not None:
                self.bench.line.cut_all()

    def _strike(self) -> Verdict:
        self.struck = True
        server, line = self.bench.server, self.bench.line
        if self.kind == "cut":
            return "cut"
        if self.kind == "cut after":
            return "cut after"
        if self.kind == "terminate":
            server.terminate()
        elif self.kind == "kill backend":
            server.kill_backend()
        elif self.kind == "kill server":
            server.kill()
            self._later(0.1, server.restart)
        elif self.kind == "freeze":
            server.freeze()
            self._later(0.3, server.thaw)
        elif self.kind == "slow":
            line.delay_s = 0.02
            self._later(0.5, lambda: setattr(line, "delay_s", 0.0))
        elif self.kind == "stall":
            line.flowing.clear()
            self._later(0.3, line.flowing.set)
        elif self.kind == "expired password":
            server.expire()
        elif self.kind.startswith("pool"):
            self.bench.hold_pool(self.released)
            if self.kind == "pool for a while":
                self._later(0.3, self.released.set)
        return None

    def _later(self, seconds: float, heal: Callable[[], None]) -> None:
        def run() -> None:
            time.sleep(seconds)
            heal()

        thread = threading.Thread(target=run)
        thread.start()
        self.threads.append(thread)

    def heal(self) -> None:
        """The end of it."""
        self.released.set()
        for thread in self.threads:
            thread.join(120)
        if self.kind == "expired password":
            self.bench.server.renew()
        if self.kind == "kill backend":
            self.bench.server.settle()


class Bench:
    """A server, a wire to it, a warehouse at head on the far side, and a second one whose schema migrates."""

    def __init__(self, folder: Path) -> None:
        self._stack = ExitStack()
        self.folder = folder
        self._number = 0
        self._messages: dict[str, int] = {}

    def __enter__(self) -> Self:
        self.server = self._stack.enter_context(FaultServer())
        with Warehouse(self.server.url("fab")) as near:
            near.upgrade()
            near.load(TARGET, rows_of_lot(0), batch_id="first")
        self.server.ask("CREATE DATABASE site TEMPLATE fab")
        self.line = Wire(self.server.url("fab"))
        self._stack.callback(self.line.close)
        options = {"retry_deadline_s": 60, "pool_size": 2, "pool_max": 4, "pool_timeout_s": 2}
        self.wh = self._stack.enter_context(Warehouse(self.line.url, **options))
        migrations = write_site(self.folder / "site")
        site = self.line.url.set(database="site")
        self.site = self._stack.enter_context(Warehouse(site, migrations=migrations, migration_wait_s=60))
        self.expected = self.wh.read(READ)
        self._stack.callback(self.line.flowing.set)
        return self

    def __exit__(self, *_: object) -> None:
        self.line.watch = None
        self._stack.close()

    def hold_pool(self, released: threading.Event) -> None:
        """Take every connection that is left, until released."""

        def hold() -> None:
            try:
                with self.wh.engine.connect():
                    released.wait(60)
            except (GpwarehouseError, SQLAlchemyError):
                pass

        limit = self.wh.settings.pool_max
        for _ in range(limit):
            threading.Thread(target=hold, daemon=True).start()
        deadline = time.monotonic() + 2
        while self.wh.engine.pool.checkedout() < limit and time.monotonic() < deadline:  # type: ignore[attr-defined]
            time.sleep(0.005)

    def random_fault(self, rng: random.Random, faults: Sequence[str] = FAULTS) -> tuple[str, str, str]:
        """A fault at a random message of a random operation; what it was and what came of it."""
        operation = rng.choices(OPERATIONS, weights=(5, 2, 2, 1))[0]
        kinds = [kind for kind in faults if operation != "migrate" or not kind.startswith("pool")]
        fault = Fault(rng.choice(kinds), self, message=rng.randint(1, self._length(operation)))
        return self.run(operation, fault)

    def _length(self, operation: str) -> int:
        """How many messages the client sends in an operation that nothing disturbs."""
        if operation not in self._messages:
            self.run(operation, Fault("none", self))  # which connects, and makes the month
            counting = Fault("none", self)
            self.run(operation, counting)
            self._messages[operation] = max(1, counting._seen)
        return self._messages[operation]

    def run(self, operation: str, fault: Fault, phase: str | None = None) -> tuple[str, str, str]:
        """Run the operation with the fault, heal, and check the promises."""
        with self._watched(fault):
            work: dict[str, Callable[[Fault, str | None], str]] = {
                "load": self._load,
                "read": self._read,
                "chunks": self._chunks,
                "migrate": self._migrate,
            }
            outcome = work[operation](fault, phase)
        return operation, fault.kind if fault.struck else "none", outcome

    @contextmanager
    def _watched(self, fault: Fault) -> Iterator[None]:
        self.line.watch = fault.watch
        try:
            yield
        finally:
            self.line.watch = None
            fault.heal()

    def _healed(self, fault: Fault) -> None:
        self.line.watch = None
        fault.heal()

    def _load(self, fault: Fault, phase: str | None) -> str:
        self._number += 1
        batch = f"batch-{self._number}"
        frame = rows_of_lot(self._number)

        def progress(name: str, rows: int) -> None:
            if name == phase and (rows or name == "prepare"):
                fault.strike()

        outcome = "done"
        try:
            result = self.wh.load(TARGET, frame, batch_id=batch, progress=progress if phase else None)
            assert (result.rows_loaded, result.already_loaded) == (ROWS, False), result
        except GpwarehouseError as error:
            outcome = self._expected_error(fault, error)
        self._healed(fault)
        there = self._rows_of(batch)
        assert there in ({ROWS} if outcome == "done" else {0}), (outcome, there)
        again = self.wh.load(TARGET, frame, batch_id=batch)
        assert again.already_loaded == (outcome == "done"), again
        assert self._rows_of(batch) == ROWS
        states = self.server.ask("SELECT status FROM dw.etl_load_batch WHERE batch_id = %s", batch, database="fab")
        assert states == [("LOADED",)], states
        return outcome

    def _rows_of(self, batch: str) -> int:
        query = f"SELECT count(*) FROM dw.{TARGET} WHERE batch_id = %s"
        return int(self.server.ask(query, batch, database="fab")[0][0])

    def _read(self, fault: Fault, _phase: str | None) -> str:
        outcome = "done"
        try:
            assert self.wh.read(READ).equals(self.expected)
        except GpwarehouseError as error:
            outcome = self._expected_error(fault, error)
        self._healed(fault)
        assert self.wh.read(READ).equals(self.expected)
        return outcome

    def _chunks(self, fault: Fault, _phase: str | None) -> str:
        """Chunks that were handed out cannot be taken back: an error in the middle is the reader's to handle."""
        rows, outcome = 0, "done"
        try:
            for chunk in self.wh.read(READ, chunks=1_000):
                assert list(chunk.n) == list(range(rows + 1, rows + len(chunk) + 1))
                rows += len(chunk)
            assert rows == READ_ROWS
        except GpwarehouseError as error:
            outcome = "error while reading" if rows else self._expected_error(fault, error, reading=True)
            assert rows < READ_ROWS
        self._healed(fault)
        return outcome

    def _migrate(self, fault: Fault, _phase: str | None) -> str:
        outcome = "done"
        try:
            self.site.upgrade()
        except GpwarehouseError:
            outcome = "failed, done again"
        self._healed(fault)
        self._until_it_can(self.site.upgrade)
        notes = self.server.ask(
            "SELECT count(*), count(done), count(DISTINCT note_key) FROM site.note", database="site"
        )
        assert notes == [(19, 19, 19)], notes
        applied = "SELECT count(*) FROM dw.etl_migration_history WHERE revision = %s AND direction = 'upgrade'"
        before = self.server.ask(applied, HEAD, database="site")[0][0]
        assert self._until_it_can(self.site.status).is_current
        self._until_it_can(lambda: self.site.downgrade("site@base", drop_data=True))
        assert self.server.ask("SELECT to_regclass('site.note')", database="site") == [(None,)]
        assert before >= 1
        return outcome

    @staticmethod
    def _until_it_can(work: Callable[[], Any]) -> Any:
        """As whoever runs migrations does: again, where the error says so. A killed server may still be recovering."""
        return RetryPolicy(60).call("the same again", work)

    def _expected_error(self, fault: Fault, error: GpwarehouseError, *, reading: bool = False) -> str:
        """The error's name, if this fault may end in an error at all."""
        if fault.kind == "expired password":
            assert "password authentication failed" in str(error) or error.safe_to_repeat, error
        elif fault.kind.startswith("pool"):
            assert isinstance(error, PoolTimeoutError), error
        else:
            assert reading, f"{fault.kind} should have been survived: {error!r}"
        return type(error).__name__


def rows_of_lot(number: int) -> list[dict[str, Any]]:
    row = {"event_ts": "2026-01-05T10:00:00+00:00", "wafer_id": "1", "test_type": "CP", "test_stage": "CP1", "die_y": 1}
    return [row | {"lot_id": f"LOT{number}", "die_x": x} for x in range(ROWS)]
