"""The flow in the docs loads each file once, in a Prefect of its own with an ephemeral server."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from gpwarehouse import Warehouse
from tests.jobs.environments import LOTS, Job, make_job, needs_environment
from tests.tree import TREE

pytestmark = needs_environment
SCRIPT = str(TREE / "tests" / "jobs" / "run_prefect.py")


@pytest.fixture
def job(wh: Warehouse, tmp_path: Path) -> Job:
    job = make_job("prefect", wh, tmp_path)
    job.variables |= {
        "FAB_URL": job.url,
        "PREFECT_HOME": str(job.home),
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "true",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "300",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }
    return job


@pytest.mark.parametrize("lost", ["", "raise"])
def test_a_flow_loads_once(job: Job, lost: str) -> None:
    done = job.run(SCRIPT, "run", LOST_END=lost)
    assert done.returncode == 0, done.stderr
    job.assert_loaded_once()
    assert len(job.ids()) == len(LOTS) + bool(lost)  # the task that failed came again, with the same id
    assert len(set(job.ids())) == len(LOTS)
    assert {name.split("/", 2)[2] for name in job.ids()} == {f"fab-lots/load?{lot}.stdf.gz" for lot in LOTS}


def test_a_killed_flow_loads_once_when_its_run_is_run_again(job: Job) -> None:
    killed = job.run(SCRIPT, "run", LOST_END="kill")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    done = job.run(SCRIPT, "rerun")
    assert done.returncode == 0, done.stderr
    assert len(job.ids()) > len(set(job.ids())) == len(LOTS)
    job.assert_loaded_once()


def test_a_flow_that_is_called_by_a_flow_has_the_same_ids_when_that_is_retried(job: Job) -> None:
    done = job.run(SCRIPT, "nested", LOST_END="raise")
    assert done.returncode == 0, done.stderr
    first, again, other = job.ids()
    assert first == again != other
    assert sorted(job.wh.batches.list()["batch_id"]) == sorted({first, other})


def test_nothing_that_prefect_keeps_holds_a_frame_or_a_secret(job: Job) -> None:
    done = job.run(SCRIPT, "run")
    assert done.returncode == 0, done.stderr
    assert "WarehouseBlock(url=SecretStr('****" in done.stdout
    job.assert_no_secret_was_told()
    assert not [path for path in job.home.glob("storage/*") if path.is_file()]
