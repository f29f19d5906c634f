"""Prefect 3: a warehouse from a block, and a batch id from the flow run and the task."""

from __future__ import annotations

from typing import Any

from pydantic import Field, SecretStr

from gpwarehouse.errors import InvalidInputError, MissingExtraError
from gpwarehouse.jobs.batch_ids import make_batch_id
from gpwarehouse.warehouse import Warehouse

try:
    from prefect.blocks.core import Block
    from prefect.runtime import flow_run, task_run
except ImportError:
    raise MissingExtraError("gpwarehouse.jobs.prefect needs Prefect 3: pip install 'prefect>=3'") from None

__all__ = ["WarehouseBlock", "batch_id"]


class WarehouseBlock(Block):
    """A warehouse as a Prefect block. Load it in the task that uses it: ``WarehouseBlock.load("fab")``."""

    _block_type_name = "gpwarehouse"
    _block_type_slug = "gpwarehouse"

    url: SecretStr = Field(description="URL of the database, with its password.")
    settings: dict[str, Any] = Field({}, description="Other settings, by their names in lower case. No secrets.")

    def open_warehouse(self, **overrides: Any) -> Warehouse:
        """Make the warehouse.

        :param overrides: single settings, which take precedence over the block's.
        :raises SettingsError: a setting is wrong.
        """
        return Warehouse(self.url.get_secret_value(), **{**self.settings, **overrides})


def batch_id(key: str = "") -> str:
    """Make the batch id of what runs here: from the outermost flow run, and the names of flow and task.

    All attempts have the same id: of a task, of its flow, of a flow that calls it. Another flow run has another one. Prefect
    gives a task run another id in each attempt of its flow, so that id is no part of it. Where a flow calls a task or a
    flow several times, ``key`` must tell the calls apart.

    :param key: what tells the loads of one task apart, for example the name of a file.
    :raises InvalidInputError: no flow and no task runs here.
    """
    names = [name for name in (flow_run.flow_name, task_run.task_name) if name]
    run = flow_run.root_flow_run_id or flow_run.id or task_run.id
    if not run:
        raise InvalidInputError("no flow and no task runs here, so there is no batch id: call it in one")
    return make_batch_id("prefect", run, *names, key=key)
