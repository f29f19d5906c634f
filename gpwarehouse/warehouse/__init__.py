"""The one object that a job holds, and its doors to the rooms."""

from __future__ import annotations

from typing import Any

from gpwarehouse.warehouse.health import Health
from gpwarehouse.warehouse.status import Status
from gpwarehouse.warehouse.warehouse import Warehouse

__all__ = ["Health", "LoadResult", "Status", "Warehouse"]


def __getattr__(name: str) -> Any:
    if name == "LoadResult":  # it needs pyarrow, so it is imported when it is first asked for
        from gpwarehouse.load import LoadResult

        return LoadResult
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
