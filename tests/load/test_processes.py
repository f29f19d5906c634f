"""Many processes at once, and processes that die: every row is loaded once, and nobody waits for ever."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from datetime import timedelta
from multiprocessing.connection import Connection
from multiprocessing.pool import Pool
from multiprocessing.synchronize import Barrier
from typing import Any

import pytest
from sqlalchemy import event

from gpwarehouse import Warehouse
from tests.load.rows import MEASUREMENTS, NOON, measurement, scalar
from tests.processes import ANSWER_WITHIN_S, PROCESS, url_of

# As many as the acceptance asks for where the run is for that: on a real Greenplum, or with every kill.
PROCESSES = 20 if {"GPWAREHOUSE_TEST_URL", "GPWAREHOUSE_TEST_EVERY_KILL"} & set(os.environ) else 10

_together: Barrier


def _begin(barrier: Barrier) -> None:
    global _together
    _together = barrier


def _load(task: tuple[str, list[dict[str, Any]]]) -> tuple[str, bool, int]:
    """Load a frame when all the others do, too."""
    url, rows = task
    with Warehouse(url) as wh:
        wh.status()
        _together.wait(ANSWER_WITHIN_S)
        result = wh.load(MEASUREMENTS, rows)
    return result.batch_id, result.already_loaded, result.rows_loaded


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    barrier = PROCESS.Barrier(PROCESSES)
    workers = PROCESS.Pool(PROCESSES, _begin, (barrier,))
    try:
        yield workers
    finally:
        workers.terminate()


def all_load(pool: Pool, wh: Warehouse, frames: list[list[dict[str, Any]]]) -> list[tuple[str, bool, int]]:
    tasks = [(url_of(wh), rows) for rows in frames]
    return pool.map_async(_load, tasks, chunksize=1).get(ANSWER_WITHIN_S)


def shared_members(process: int) -> list[dict[str, Any]]:
    """The same lots, wafers, tools, products and months in each process, the values its own."""
    return [
        measurement(
            lot_id=f"LOT{lot}",
            wafer_id=str(wafer),
            product_id=f"P{lot % 3}",
            equipment_id=f"TOOL{wafer % 5}",
            chamber_id=f"CH{lot % 4}",
            recipe_id=f"R{wafer % 2}",
            step_number=str(lot % 7),
            event_ts=NOON + timedelta(days=31 * (lot % 3)),
            cd_nm=float(process),
        )
        for lot in range(20)
        for wafer in range(1, 11)
    ]


def test_many_processes_with_the_same_new_lots_tools_and_months_all_finish(wh: Warehouse, pool: Pool) -> None:
    frames = [shared_members(process) for process in range(PROCESSES)]
    results = all_load(pool, wh, frames)
    assert [(again, rows) for _, again, rows in results] == [(False, 200)] * PROCESSES
    counted = wh.read(
        "SELECT batch_id, cd_nm, count(*) AS n, count(DISTINCT source_record_no) AS d "
        "FROM dw.fact_process_measurements GROUP BY 1, 2"
    )
    assert sorted(counted.cd_nm) == list(range(PROCESSES))
    assert set(counted.n) == set(counted.d) == {200}
    assert scalar(wh, "SELECT count(*) FROM dw.etl_load_batch WHERE status = 'LOADED'") == PROCESSES
    assert scalar(wh, "SELECT count(*) FROM dw.etl_load_batch") == PROCESSES
    for dimension, key, members in (
        ("dim_lot", "lot_key", 20),
        ("dim_wafer", "wafer_key", 200),
        ("dim_product", "product_key", 3),
        ("dim_equipment", "equipment_key", 5 + 20),
        ("dim_recipe", "recipe_key", 2),
        ("dim_process_step", "process_step_key", 7),
    ):
        rows = wh.read(
            f"SELECT count(*) AS n, count(DISTINCT {key}) AS k FROM dw.{dimension} WHERE {key} NOT IN (-1, -2)"
        )
        assert (rows.n[0], rows.k[0]) == (members, members), dimension
    assert scalar(wh, "SELECT count(*) FROM dw.dim_time") == (31 + 30 + 31) * 24


def test_of_processes_with_the_same_content_one_loads_it(wh: Warehouse, pool: Pool) -> None:
    results = all_load(pool, wh, [shared_members(0)] * PROCESSES)
    assert sorted(rows for _, _, rows in results) == [0] * (PROCESSES - 1) + [200]
    assert [again for _, again, _ in results].count(False) == 1
    assert len({batch for batch, _, _ in results}) == 1
    assert scalar(wh, "SELECT count(*) FROM dw.fact_process_measurements") == 200


def _load_several(task: tuple[str, list[list[dict[str, Any]]]]) -> list[int]:
    """Load frames one after the other when all the others do, too."""
    url, frames = task
    with Warehouse(url) as wh:
        wh.status()
        _together.wait(ANSWER_WITHIN_S)
        return [wh.load(MEASUREMENTS, rows).rows_loaded for rows in frames]


def test_many_processes_with_overlapping_batches_load_each_once(wh: Warehouse, pool: Pool) -> None:
    """Each loads what all do, what its neighbours do, and its own, in an order of its own."""
    tasks = []
    for process in range(PROCESSES):
        numbers = [2 * PROCESSES, process, (process + 1) % PROCESSES, PROCESSES + process]
        random.Random(process).shuffle(numbers)
        tasks.append((url_of(wh), [shared_members(number)[:60] for number in numbers]))
    loaded = pool.map_async(_load_several, tasks, chunksize=1).get(ANSWER_WITHIN_S)
    batches = 1 + PROCESSES + PROCESSES
    assert sorted(rows for each in loaded for rows in each) == [0] * (4 * PROCESSES - batches) + [60] * batches
    counted = wh.read(f"SELECT cd_nm, count(*) AS n, count(DISTINCT batch_id) AS b FROM dw.{MEASUREMENTS} GROUP BY 1")
    assert sorted(counted.cd_nm) == list(range(2 * PROCESSES + 1))
    assert (set(counted.n), set(counted.b)) == ({60}, {1})
    assert scalar(wh, "SELECT count(*) FROM dw.etl_load_batch") == batches


def _replace_and_load(task: tuple[str, int]) -> int:
    """Replace a batch that others replace, too, and load one that nobody else does; rows replaced."""
    url, process = task
    with Warehouse(url, lock_timeout_s=ANSWER_WITHIN_S) as wh:
        wh.status()
        _together.wait(ANSWER_WITHIN_S)
        rows = shared_members(process)[: 30 + process]
        replaced = wh.load(MEASUREMENTS, rows, batch_id=f"shared {process % 3}", on_conflict="replace").rows_replaced
        wh.load(MEASUREMENTS, shared_members(PROCESSES + process)[:50])
        return replaced


def test_replacements_among_loads_neither_deadlock_nor_double(wh: Warehouse, pool: Pool) -> None:
    tasks = [(url_of(wh), process) for process in range(PROCESSES)]
    replaced = pool.map_async(_replace_and_load, tasks, chunksize=1).get(ANSWER_WITHIN_S)
    counted = wh.read(
        f"SELECT batch_id, count(*) AS n, min(cd_nm) AS low, max(cd_nm) AS high FROM dw.{MEASUREMENTS} GROUP BY 1"
    )
    shared = counted[counted.batch_id.str.startswith("shared")]
    assert sorted(shared.batch_id) == ["shared 0", "shared 1", "shared 2"]
    assert (shared.low == shared.high).all()  # of one process, the last
    assert shared.n.tolist() == (30 + shared.low).tolist()
    assert sum(replaced) + shared.n.sum() == sum(30 + process for process in range(PROCESSES))
    assert counted[~counted.batch_id.str.startswith("shared")].n.tolist() == [50] * PROCESSES


def _load_until(url: str, statement: str, tell: Connection) -> None:
    """Load; on the way to that statement say so, and wait there for the end."""

    def reached(*_: Any) -> None:
        tell.send("there")
        time.sleep(ANSWER_WITHIN_S)

    with Warehouse(url) as wh:
        if statement == "COPY":
            wh.load(MEASUREMENTS, shared_members(0), progress=lambda phase, _: phase == "copy" and reached())
        recorded: list[bool] = []

        def look(_connection: Any, _cursor: Any, sql: str, *_: Any) -> None:
            recorded.append("INSERT INTO dw.etl_load_batch" in sql)
            if statement in sql:
                reached()

        event.listen(wh.engine, "before_cursor_execute", look)
        event.listen(wh.engine, "commit", lambda _: statement == "COMMIT" and any(recorded) and reached())
        wh.load(MEASUREMENTS, shared_members(0))


@pytest.mark.parametrize("statement", ["LOCK TABLE dw.dim_wafer", "COPY", "INSERT INTO dw.etl_load_batch", "COMMIT"])
def test_a_process_that_is_killed_leaves_nothing_and_its_load_can_be_done_again(wh: Warehouse, statement: str) -> None:
    ours, theirs = PROCESS.Pipe()
    process = PROCESS.Process(target=_load_until, args=(url_of(wh), statement, theirs))
    process.start()
    try:
        assert ours.poll(ANSWER_WITHIN_S), "the load never came to that statement"
    finally:
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join(ANSWER_WITHIN_S)
    assert scalar(wh, "SELECT count(*) FROM dw.fact_process_measurements") == 0
    assert scalar(wh, "SELECT count(*) FROM dw.etl_load_batch") == 0
    result = wh.load(MEASUREMENTS, shared_members(0))
    assert (result.rows_loaded, result.already_loaded) == (200, False)
    assert scalar(wh, "SELECT count(*) FROM dw.fact_process_measurements") == 200
    assert scalar(wh, "SELECT count(*) FROM dw.dim_wafer WHERE wafer_key NOT IN (-1, -2)") == 200
