"""The assets in the docs load each lot once, in a Dagster of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpwarehouse import Warehouse
from tests.jobs.environments import LOTS, Job, make_job, needs_environment
from tests.tree import TREE

pytestmark = needs_environment
SCRIPT = str(TREE / "tests" / "jobs" / "run_dagster.py")


@pytest.fixture
def job(wh: Warehouse, tmp_path: Path) -> Job:
    job = make_job("dagster", wh, tmp_path)
    job.variables |= {"DAGSTER_HOME": str(job.home), "FAB_URL": job.url, "DAGSTER_DISABLE_TELEMETRY": "1"}
    (job.home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    return job


@pytest.mark.parametrize("lost", ["", "raise"])
def test_materialized_assets_load_once(job: Job, lost: str) -> None:
    done = job.run(SCRIPT, "materialize", LOST_END=lost)
    assert done.returncode == 0, done.stderr
    job.assert_loaded_once()
    assert len(job.ids()) == len(LOTS) + bool(lost)  # the step that failed came again, with the same id
    assert [name.split("/")[0::2] for name in dict.fromkeys(job.ids())] == [["dagster", "lot_tests"]] * 2
    assert [name.split("/")[3] for name in dict.fromkeys(job.ids())] == list(LOTS)


def test_a_killed_step_loads_once_when_it_is_retried_and_when_its_run_is_executed_again(job: Job) -> None:
    done = job.run(SCRIPT, "reexecute", LOST_END="kill")
    assert done.returncode == 0, done.stderr
    first, retried, other, again = job.ids()
    assert first == retried == again != other
    job.assert_loaded_once()


def test_nothing_that_dagster_keeps_holds_a_frame_or_a_secret(job: Job) -> None:
    done = job.run(SCRIPT, "materialize")
    assert done.returncode == 0, done.stderr
    assert "WarehouseResource(settings=" in done.stdout
    job.assert_no_secret_was_told()
    assert not [path for path in job.home.rglob("storage/lot_tests*") if path.is_file()]
