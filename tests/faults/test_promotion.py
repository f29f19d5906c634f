"""The primary is killed for good and its standby promoted: what runs goes on there, by itself."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from gpwarehouse import Warehouse
from tests.faults.harness import READ, READ_ROWS, TARGET, rows_of_lot
from tests.faults.server import PASSWORD, ROLE, FaultServer
from tests.faults.standby import Standby
from tests.faults.wire import Wire, wire

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals")
BATCHES, UNITS = 6, 60


class Pair:
    """A primary, its standby, and a warehouse that knows both."""

    def __init__(self, stack: ExitStack) -> None:
        self.primary = stack.enter_context(FaultServer())
        with Warehouse(self.primary.url("fab")) as near:
            near.upgrade()
            near.load(TARGET, rows_of_lot(0), batch_id="first")
        self.primary.ask("CREATE TABLE public.unit (n int)", database="fab")
        self.standby = stack.enter_context(Standby(self.primary))
        self.first: Wire = stack.enter_context(wire(self.primary.url("fab")))
        second: Wire = stack.enter_context(wire(self.standby.url("fab")))
        self.wh = stack.enter_context(
            Warehouse(
                host=f"127.0.0.1:{self.first.port},127.0.0.1:{second.port}", user=ROLE, password=PASSWORD, database="fab",
                sslmode="disable", retry_deadline_s=60,
            )
        )  # fmt: skip
        self.second = second

    def fail_over(self) -> None:
        """Kill the primary (-9), take its host off the network, and promote the standby."""
        self.primary.kill()
        self.first.close()
        self.first.cut_all()
        self.standby.promote()


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with ExitStack() as stack:
        yield Pair(stack)


def test_loads_units_and_reads_go_on_on_the_promoted_standby(pair: Pair) -> None:
    wh, gone = pair.wh, threading.Event()

    def fail_over_at(batch: int) -> Callable[[str, int], None]:
        def progress(phase: str, _rows: int) -> None:
            if phase == "copy" and batch == BATCHES // 2 and not gone.is_set():
                gone.set()
                pair.fail_over()

        return progress

    def load() -> list[Any]:
        return [
            wh.load(TARGET, rows_of_lot(n), batch_id=f"night-{n}", progress=fail_over_at(n))
            for n in range(1, BATCHES + 1)
        ]

    def write() -> int:
        for n in range(UNITS):

            def insert(session: Session, n: int = n) -> None:
                session.execute(text("INSERT INTO public.unit VALUES (:n)"), {"n": n})

            def there(session: Session, n: int = n) -> bool:
                return bool(
                    session.execute(text("SELECT count(*) FROM public.unit WHERE n = :n"), {"n": n}).scalar_one()
                )

            wh.run(insert, settled=there)
        return UNITS

    def read() -> int:
        reads = 0
        while not gone.is_set() or reads < 10:
            assert len(wh.read(READ)) == READ_ROWS
            reads += 1
        return reads

    with ThreadPoolExecutor(3) as pool:
        works: tuple[Callable[[], Any], ...] = (load, write, read)
        work = [pool.submit(each) for each in works]
        loaded, _, _ = [each.result(180) for each in work]
    assert [(done.rows_loaded, done.already_loaded) for done in loaded] == [(300, False)] * BATCHES
    assert pair.standby.ask("SELECT pg_is_in_recovery()") == [(False,)]
    units = pair.standby.ask("SELECT count(*), count(DISTINCT n) FROM public.unit", database="fab")
    assert units == [(UNITS, UNITS)]
    counts = f"SELECT count(*), count(DISTINCT batch_id) FROM dw.{TARGET} WHERE batch_id <> 'first'"
    assert pair.standby.ask(counts, database="fab") == [(300 * BATCHES, BATCHES)]
    with wh.engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        assert driver.info.port == pair.second.port
    assert wh.health().status == "healthy"
