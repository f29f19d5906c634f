"""A Prefect 3 flow: load the files of a folder, one a task, and write a table of yields.

The block ``fab`` says where the warehouse is, ``FAB_FOLDER`` names the folder of the files. Make the block once::

    WarehouseBlock(url="postgresql://…", settings={"statement_timeout_s": 600}).save("fab")
"""

from __future__ import annotations

import os
from pathlib import Path

from prefect import flow, task

from gpwarehouse.jobs.prefect import WarehouseBlock, batch_id

FOLDER = Path(os.environ.get("FAB_FOLDER", "/srv/fab"))


@task(retries=2, retry_delay_seconds=1)
def load(name: str) -> str:
    with WarehouseBlock.load("fab").open_warehouse() as warehouse:
        result = warehouse.load_file(FOLDER / name, batch_id=batch_id(name))
    return str(result)  # a line: rows stay in the warehouse


@task
def write_yields() -> str:
    with WarehouseBlock.load("fab").open_warehouse() as warehouse:
        query = "SELECT lot_id, wafer_id, tested, good FROM dw.v_wafer_yield WHERE basis = 'LAST' ORDER BY 1, 2"
        warehouse.export(query, FOLDER / "yields.csv", overwrite=True)
    return "yields.csv"


@flow(retries=1)
def fab_lots() -> list[str]:
    loaded = load.map(sorted(path.name for path in FOLDER.glob("*.stdf.gz"))).result()
    write_yields()
    return loaded


if __name__ == "__main__":
    fab_lots()
