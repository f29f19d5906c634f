"""An Airflow 3 DAG: load the files of a folder, one a mapped task, and write a table of yields.

The connection ``fab`` says where the warehouse is. The variable ``FAB_FOLDER`` names a folder that all workers see.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from airflow.sdk import dag, task

from gpwarehouse.jobs.airflow import batch_id, open_warehouse

FOLDER = Path(os.environ.get("FAB_FOLDER", "/srv/fab"))


@dag(
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    default_args={"retries": 2, "retry_delay": timedelta(seconds=5)},
)
def fab_lots() -> None:
    @task
    def find_files() -> list[str]:
        return sorted(path.name for path in FOLDER.glob("*.stdf.gz"))

    @task
    def load(name: str) -> str:
        with open_warehouse("fab") as warehouse:
            result = warehouse.load_file(FOLDER / name, batch_id=batch_id(name))
        return str(result)  # a line: rows stay in the warehouse

    @task
    def write_yields(loaded: list[str]) -> str:
        with open_warehouse("fab") as warehouse:
            query = "SELECT lot_id, wafer_id, tested, good FROM dw.v_wafer_yield WHERE basis = 'LAST' ORDER BY 1, 2"
            warehouse.export(query, FOLDER / "yields.csv", overwrite=True)
        return "yields.csv"  # the name of the file

    write_yields(load.expand(name=find_files()))


fab_lots_dag = fab_lots()
