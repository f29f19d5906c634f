"""Metrics and log lines of loads."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from gpwarehouse.engine import metrics
from gpwarehouse.errors import GpwarehouseError
from gpwarehouse.models import Base

if TYPE_CHECKING:
    from gpwarehouse.dimensions import MergeResult
    from gpwarehouse.load import LoadResult

__all__ = ["count_load", "count_merge"]

_logger = logging.getLogger("gpwarehouse.load")
Result = TypeVar("Result")
_TABLES = frozenset(table.name for table in Base.metadata.tables.values())


def count_load(target: str, load: Callable[[], LoadResult]) -> LoadResult:
    """Run a load, count it and log its result."""
    return _count(target, load, lambda done: done)


def count_merge(dimension: str, merge: Callable[[], MergeResult]) -> MergeResult:
    """Run a merge; count and log it as a load into its dimension."""
    from gpwarehouse.load import LoadResult

    def as_load(done: MergeResult) -> LoadResult:
        merged = 0 if done.already_merged else done.rows_read - done.rows_rejected
        counts = (done.rows_read, merged, done.rows_rejected, done.already_merged, done.seconds)
        return LoadResult(done.batch_id, done.dimension, *counts)

    return _count(dimension, merge, as_load)


def _count(target: str, load: Callable[[], Result], as_load: Callable[[Result], LoadResult]) -> Result:
    started = time.monotonic()
    try:
        result = load()
    except GpwarehouseError as error:
        # The target may be unknown, and must then not become a label.
        metrics.loaded(target if target in _TABLES else "unknown", "failed", seconds=time.monotonic() - started)
        _logger.error("load into %s failed: %s", target, type(error).__name__, extra={"target": target})
        raise
    done = as_load(result)
    outcome = "already loaded" if done.already_loaded else "loaded"
    rejected = 0 if done.already_loaded else done.rows_rejected
    metrics.loaded(
        done.target, outcome, rows=done.rows_loaded, rejected=rejected, sent=done.bytes_sent, seconds=done.seconds
    )
    facts = {"batch_id": done.batch_id, "target": done.target, "rows": done.rows_loaded, "rejected": rejected}
    more = {
        "outcome": outcome,
        "seconds": round(done.seconds, 3),
        "bytes": done.bytes_sent,
        "transport": done.transport,
    }
    words = "batch %s %s: %d rows into %s, %d rejected, in %.1f s"
    values = (done.batch_id, outcome, done.rows_loaded, done.target, rejected, done.seconds)
    _logger.info(words, *values, extra={**facts, **more})
    return result
