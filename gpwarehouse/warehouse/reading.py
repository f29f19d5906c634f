"""Read results from the warehouse."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from sqlalchemy import Executable

from gpwarehouse.engine import RetryPolicy, metrics, tell_if_slow
from gpwarehouse.errors import GpwarehouseError
from gpwarehouse.warehouse import rooms
from gpwarehouse.warehouse.connected import Connected

if TYPE_CHECKING:
    from gpwarehouse.read import ExportResult

__all__ = ["Query", "Values", "export", "read"]

Query: TypeAlias = str | Executable
Values: TypeAlias = Mapping[str, Any] | None


def read(connected: Connected, statement: Query, values: Values = None, /, **options: Any) -> Any:
    """:meth:`gpwarehouse.Warehouse.read`."""

    def attempt() -> Any:
        with connected.translate_errors(), _count(connected, statement, options) as counted:
            return rooms.read.read(connected.engine, statement, values, **counted)

    # Chunks that were handed out cannot be taken back, so the read is only repeated until the first one is ready.
    return RetryPolicy.once_met(connected.settings, connected.engine).call("read", attempt)


@contextmanager
def _count(connected: Connected, statement: Query, options: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Count a read and its rows, by the progress that every way of reading reports; this continues with chunks."""
    started, told = time.monotonic(), options.get("progress")
    rows = 0

    def progress(phase: str, so_far: int) -> None:
        nonlocal rows
        metrics.read("running", rows=so_far - rows)
        rows = so_far
        if told is not None:
            told(phase, so_far)

    try:
        yield {**options, "progress": progress}
    except GpwarehouseError:
        metrics.read("failed", seconds=time.monotonic() - started)
        raise
    metrics.read("ok", seconds=time.monotonic() - started)
    seconds = time.monotonic() - started
    if 0 < connected.settings.slow_query_s <= seconds:
        tell_if_slow(connected.settings, str(statement), seconds, rows)


def export(
    connected: Connected, statement: Query, target: str | Path, params: Values = None, **options: Any
) -> ExportResult:
    """:meth:`gpwarehouse.Warehouse.export`."""

    with connected.translate_errors():
        with _count(connected, statement, options) as counted:
            return rooms.read.export(connected.engine, statement, target, params, **counted)
