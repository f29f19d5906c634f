"""Runs the flow of docs/examples/prefect_flow.py in Prefect's environment: ``python run_prefect.py run|rerun|nested``."""

from __future__ import annotations

import os
import sys

import lost_end  # noqa: F401
from prefect import flow, get_client, task
from prefect.flow_engine import run_flow
from prefect.states import Scheduled
from prefect_flow import FOLDER, fab_lots

from gpwarehouse.jobs.prefect import WarehouseBlock, batch_id

NAMES = sorted(path.name for path in FOLDER.glob("*.stdf.gz"))


@task
def load(name: str) -> None:
    with WarehouseBlock.load("fab").open_warehouse() as warehouse:
        warehouse.load_file(FOLDER / name, batch_id=batch_id(name))


@flow
def inner(names: list[str]) -> None:
    for name in names:
        load(name)


@flow(retries=1)
def outer() -> None:
    inner(NAMES)


def run() -> None:
    """Save the block and call the flow."""
    block = WarehouseBlock(url=os.environ["FAB_URL"], settings={"statement_timeout_s": 600})
    print(repr(block), block)  # noqa: T201
    block.save("fab", overwrite=True)
    print(fab_lots())  # noqa: T201


def rerun() -> None:
    """Run again the flow run whose process was killed, as a worker does after "Retry" in Prefect's pages."""
    with get_client(sync_client=True) as client:
        (killed,) = client.read_flow_runs()
        client.set_flow_run_state(killed.id, Scheduled(name="AwaitingRetry"), force=True)
        flow_run = client.read_flow_run(killed.id)
    run_flow(fab_lots, flow_run=flow_run)


def nested() -> None:
    """Call a flow that calls a flow."""
    WarehouseBlock(url=os.environ["FAB_URL"]).save("fab", overwrite=True)
    outer()


if __name__ == "__main__":
    {"run": run, "rerun": rerun, "nested": nested}[sys.argv[1]]()
