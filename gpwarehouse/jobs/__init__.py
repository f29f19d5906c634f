"""Hooks for orchestrators: a warehouse from their connections, and a batch id from their runs.

:mod:`gpwarehouse.jobs.airflow`, :mod:`gpwarehouse.jobs.dagster` and :mod:`gpwarehouse.jobs.prefect` each need the tool of that
name, which no extra installs: the orchestrator brings itself.
"""

from gpwarehouse.jobs.batch_ids import make_batch_id

__all__ = ["make_batch_id"]
