"""Runs the DAG of docs/examples/airflow_dag.py in Airflow's environment by ``dag.test()``."""

from __future__ import annotations

import lost_end  # noqa: F401
from airflow_dag import fab_lots_dag

if __name__ == "__main__":
    run = fab_lots_dag.test()
    assert run.state == "success", run.state
