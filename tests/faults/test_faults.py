"""Faults at every phase: nothing lost, nothing doubled, and either no trace of the fault or the error that is documented.

The whole run of 200 and more is done by hand: ``python -m tests.benchmarks.faults --faults 200 --seed 1``.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.harness import FAULTS, Bench, Fault

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals")
SEED = 20_261


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with Bench(Path(tmp_path_factory.mktemp("faults"))) as made:
        yield made


@pytest.mark.parametrize("phase", ["read", "prepare", "copy"])
@pytest.mark.parametrize("kind", ["cut", "terminate", "kill backend", "freeze"])
def test_a_load_survives_a_fault_in_every_phase(bench: Bench, kind: str, phase: str) -> None:
    fault = Fault(kind, bench)
    assert bench.run("load", fault, phase) == ("load", kind, "done")


@pytest.mark.parametrize("kind", ["cut", "cut after", "terminate", "kill backend", "freeze", "stall"])
def test_a_load_survives_a_fault_at_its_commit(bench: Bench, kind: str) -> None:
    assert bench.run("load", Fault(kind, bench, when=last_commit())) == ("load", kind, "done")


def last_commit() -> Callable[[bytes], bool]:
    """Finds the COMMIT of the transaction that wrote the batch's row."""
    inserted: list[bool] = []

    def found(data: bytes) -> bool:
        if b"etl_load_batch" in data and b"INSERT" in data:
            inserted.append(True)
        return bool(inserted) and b"COMMIT\0" in data

    return found


@pytest.mark.parametrize("operation", ["load", "read"])
def test_work_goes_on_when_the_server_is_killed_and_started_again(bench: Bench, operation: str) -> None:
    message = bench._length(operation) // 2
    assert bench.run(operation, Fault("kill server", bench, message=message)) == (operation, "kill server", "done")


@pytest.mark.parametrize("operation", ["load", "read"])
def test_a_password_that_expires_is_told_at_once_and_no_row_is_there(bench: Bench, operation: str) -> None:
    fault = Fault("expired password", bench, message=bench._length(operation) // 2)
    assert bench.run(operation, fault)[2] == "WarehouseConnectionError"


@pytest.mark.parametrize("phase", ["read", "prepare"])
def test_a_pool_that_stays_exhausted_is_told_and_no_row_is_there(bench: Bench, phase: str) -> None:
    assert bench.run("load", Fault("pool for good", bench), phase)[2] == "PoolTimeoutError"


@pytest.mark.parametrize(("kind", "part"), [("kill backend", 0.4), ("cut", 0.9)])
def test_a_migration_fails_as_a_whole_and_is_run_again(bench: Bench, kind: str, part: float) -> None:
    message = round(bench._length("migrate") * part)
    assert bench.run("migrate", Fault(kind, bench, message=message))[2] in {"failed, done again", "done"}


@pytest.mark.parametrize("number", range(20))
def test_a_random_fault_at_a_random_message(bench: Bench, number: int) -> None:
    quick = [kind for kind in FAULTS if kind != "kill server"]  # which takes seconds to start again
    operation, kind, outcome = bench.random_fault(random.Random(SEED + number), quick)  # which looks at every row
    survived = {"done"} if operation in {"load", "read"} else {"done", "error while reading", "failed, done again"}
    errors = {"expired password": {"WarehouseConnectionError"}, "pool for good": {"PoolTimeoutError"}}
    assert outcome in survived | errors.get(kind, set())
