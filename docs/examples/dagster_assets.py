"""Dagster assets: a lot's file in the warehouse, one a partition, and a table of yields.

The variable ``FAB_URL`` says where the warehouse is, ``FAB_FOLDER`` names the folder of the files.
"""

import os  # no "from __future__ import annotations" here: Dagster reads the type of `context`
from pathlib import Path

import dagster as dg

from gpwarehouse.jobs.dagster import WarehouseResource, batch_id

FOLDER = Path(os.environ.get("FAB_FOLDER", "/srv/fab"))
lots = dg.DynamicPartitionsDefinition(name="lots")


@dg.asset(partitions_def=lots, retry_policy=dg.RetryPolicy(max_retries=2))
def lot_tests(context: dg.AssetExecutionContext, fab: WarehouseResource) -> dg.MaterializeResult:
    """The rows stay in the warehouse. Dagster keeps their number."""
    with fab.open_warehouse() as warehouse:
        result = warehouse.load_file(FOLDER / f"{context.partition_key}.stdf.gz", batch_id=batch_id(context))
    return dg.MaterializeResult(metadata={"batch_id": result.batch_id, "rows_loaded": result.rows_loaded})


@dg.asset(deps=[lot_tests])
def yields(fab: WarehouseResource) -> dg.MaterializeResult:
    """A table of yields, for all lots."""
    with fab.open_warehouse() as warehouse:
        query = "SELECT lot_id, wafer_id, tested, good FROM dw.v_wafer_yield WHERE basis = 'LAST' ORDER BY 1, 2"
        warehouse.export(query, FOLDER / "yields.csv", overwrite=True)
    return dg.MaterializeResult(metadata={"file": "yields.csv"})


definitions = dg.Definitions(
    assets=[lot_tests, yields],
    resources={"fab": WarehouseResource(url=dg.EnvVar("FAB_URL"), settings={"statement_timeout_s": 600})},
)
