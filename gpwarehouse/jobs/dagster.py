"""Dagster: a warehouse from a resource, and a batch id from the run, the step and its partition."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from gpwarehouse.errors import MissingExtraError
from gpwarehouse.jobs.batch_ids import make_batch_id
from gpwarehouse.warehouse import Warehouse

try:
    from dagster import AssetExecutionContext, ConfigurableResource, OpExecutionContext
except ImportError:
    raise MissingExtraError("gpwarehouse.jobs.dagster needs Dagster: pip install dagster") from None

__all__ = ["WarehouseResource", "batch_id"]


class WarehouseResource(ConfigurableResource):
    """A warehouse as a Dagster resource.

    >>> WarehouseResource(url=EnvVar("FAB_URL"), settings={"statement_mem": "2GB"})    # doctest: +SKIP
    """

    url: str = Field(description="URL of the database. Give EnvVar(...): Dagster shows texts in its pages.", repr=False)
    settings: dict[str, Any] = Field({}, description="Other settings, by their names in lower case. No secrets.")

    def open_warehouse(self, **overrides: Any) -> Warehouse:
        """Make the warehouse; call it in an asset or op.

        :param overrides: single settings, which take precedence over the resource's.
        :raises SettingsError: a setting is wrong.
        """
        return Warehouse(self.url, **{**self.settings, **overrides})


def batch_id(context: AssetExecutionContext | OpExecutionContext, key: str = "") -> str:
    """Make the batch id of the step that runs: from the run, the step (an asset's key, or an op with its mapping key), and the
    partition.

    All attempts of a step have the same id, also in runs that execute a run again: they count as the first run of their
    group. A new run, such as a new materialization, has another id.

    :param key: what tells the loads of one step apart, for example the name of a file.
    """
    partition = (context.partition_key,) if context.has_partition_key else ()
    step = context.get_step_execution_context().step.key
    return make_batch_id("dagster", context.run.root_run_id or context.run.run_id, step, *partition, key=key)
