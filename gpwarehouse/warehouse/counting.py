"""Loads as metrics and log lines."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from gpwarehouse.engine import metrics
from gpwarehouse.errors import GpwarehouseError
from gpwarehouse.models import Base

if TYPE_CHECKING:
    from gpwarehouse.load import LoadResult

__all__ = ["counted"]

_logger = logging.getLogger("gpwarehouse.load")
_TABLES = frozenset(table.name for table in Base.metadata.tables.values())


def counted(target: str, load: Callable[[], LoadResult]) -> LoadResult:
    """Run a load, count it and log what it did."""
    started = time.monotonic()
    try:
        done = load()
    except GpwarehouseError as error:
        # An error may be of an unknown target, which must not become a label.
        metrics.loaded(target if target in _TABLES else "unknown", "failed", seconds=time.monotonic() - started)
        _logger.error("load into %s failed: %s", target, type(error).__name__, extra={"target": target})
        raise
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
    return done
