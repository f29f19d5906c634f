"""Runs the assets of docs/examples/dagster_assets.py in Dagster's environment: ``… materialize|reexecute``."""

from __future__ import annotations

import sys

import dagster as dg
import lost_end  # noqa: F401
from dagster_assets import FOLDER, definitions, lot_tests, lots, yields

assert definitions.resources is not None
FAB = definitions.resources["fab"]
LOTS = sorted(path.name.removesuffix(".stdf.gz") for path in FOLDER.glob("*.stdf.gz"))


def make_job() -> dg.JobDefinition:
    """A job of the partitioned asset, whose steps run in processes of their own."""
    job = dg.define_asset_job("load_lot", selection=[lot_tests])
    return dg.Definitions(assets=[lot_tests], jobs=[job], resources={"fab": FAB}).resolve_job_def("load_lot")


def materialize(instance: dg.DagsterInstance) -> None:
    """Materialize each partition in this process, then the table."""
    for lot in LOTS:
        assert dg.materialize([lot_tests], partition_key=lot, instance=instance, resources={"fab": FAB}).success
    assert dg.materialize([yields], selection=[yields], instance=instance, resources={"fab": FAB}).success


def reexecute(instance: dg.DagsterInstance) -> None:
    """Run the job for each partition, and the first run once more, as Dagster does where it retries a run."""
    job, runs = dg.reconstructable(make_job), []
    for lot in LOTS:
        with dg.execute_job(job, instance, tags={"dagster/partition": lot}) as first:
            assert first.success  # also where the step's process was killed: its policy has it retried
            runs.append(first.run_id)
    options = dg.ReexecutionOptions(parent_run_id=runs[0])
    with dg.execute_job(job, instance, tags={"dagster/partition": LOTS[0]}, reexecution_options=options) as again:
        assert again.success
        assert again.run_id not in runs
    assert dg.materialize([yields], selection=[yields], instance=instance, resources={"fab": FAB}).success


if __name__ == "__main__":
    print(repr(FAB))  # noqa: T201
    with dg.DagsterInstance.get() as kept:
        kept.add_dynamic_partitions(str(lots.name), LOTS)
        {"materialize": materialize, "reexecute": reexecute}[sys.argv[1]](kept)
