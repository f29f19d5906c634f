"""Rows into the warehouse."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from gpwarehouse.engine import metrics
from gpwarehouse.errors import GpwarehouseError
from gpwarehouse.models import Base, EtlReject
from gpwarehouse.warehouse.reading import Reading

if TYPE_CHECKING:
    import pandas as pd

    from gpwarehouse.load import LoadResult
    from gpwarehouse.load.loader import Progress

__all__ = ["Loading"]


_logger = logging.getLogger(__name__)
_TABLES = frozenset(table.name for table in Base.metadata.tables.values())


@contextmanager
def _counted(target: str) -> Iterator[list[LoadResult]]:
    """Count and log the load whose result the block appends."""
    started = time.monotonic()
    results: list[LoadResult] = []
    try:
        yield results
    except GpwarehouseError as error:
        # An error may be of an unknown target, which must not become a label.
        metrics.loaded(target if target in _TABLES else "unknown", "failed", seconds=time.monotonic() - started)
        _logger.error("load into %s failed: %s", target, type(error).__name__, extra={"target": target})
        raise
    done = results[0]
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


class Loading(Reading):
    """Load frames and files; what a load rejected."""

    def load(
        self,
        target: str,
        frame: Any,
        *,
        batch_id: str | None = None,
        max_rejects: int | float | None = None,
        source_system: str = "FRAME",
        progress: Progress | None = None,
        parallel: int = 1,
        atomic: bool = True,
    ) -> LoadResult:
        """Load a frame into a fact, once.

        Natural keys in (``lot_id``, ``wafer_id``, ``equipment_id`` …; :meth:`columns` lists them), durable keys are
        computed. Missing months and members are made. The same content, or the same ``batch_id``, is loaded once.

        :param frame: pandas or polars DataFrame, pyarrow Table, reader or dataset, an iterable of dicts, or the path or glob
            of Parquet, CSV or Arrow files.
        :param max_rejects: count, or share of the rows, above which nothing is loaded; else as in the settings.
        :param parallel: connections that COPY at once; ``atomic=False`` lets each commit on its own: see
            :meth:`gpwarehouse.load.Loader.load`.
        :raises LoadError: and its kinds; nothing of the batch was loaded.
        """
        from gpwarehouse.load import FrameSource, Loader

        self._require_current_schema()
        source = FrameSource(frame, target, source_system=source_system)
        loader = Loader(self.engine, self.settings)
        with _counted(target) as results:
            results.append(
                loader.load(
                    source,
                    batch_id=batch_id,
                    max_rejects=max_rejects,
                    progress=progress,
                    parallel=parallel,
                    atomic=atomic,
                )
            )
        return results[0]

    def load_file(
        self,
        path: str | Path,
        *,
        batch_id: str | None = None,
        max_rejects: int | float | None = None,
        progress: Progress | None = None,
        **source_options: Any,
    ) -> LoadResult:
        """Load a file of the trade (STDF V4, plain or compressed), once.

        :param source_options: what the file does not tell, e.g. ``facility=``, ``timezone=``, ``test_type=``.
        :raises SourceFormatError: it is no such file, or ends early; nothing was loaded.
        """
        from gpwarehouse.load import Loader
        from gpwarehouse.sources import open_source

        self._require_current_schema()
        source_options.setdefault("timezone", self.settings.stdf_timezone)
        source = open_source(path, **source_options)
        loader = Loader(self.engine, self.settings)
        with _counted(source.target) as results:
            results.append(loader.load(source, batch_id=batch_id, max_rejects=max_rejects, progress=progress))
        return results[0]

    def columns(self, target: str) -> pd.DataFrame:
        """What a frame for ``target`` may bring: name, type, whether it is needed, and what it means."""
        import pandas as pd

        from gpwarehouse.load import target_named

        found = target_named(target)
        return pd.DataFrame(
            {
                "column": column.name,
                "type": "json" if column.is_json else str(column.type),
                "needed": column.required,
                "meaning": getattr(found.table.columns.get(column.name), "comment", None) or "part of a natural key",
            }
            for column in found.inputs.values()
        )

    def rejects(self, batch_id: str) -> pd.DataFrame:
        """The rejected rows of a batch: row number, column, reason, and the row as it was given."""
        query = select(EtlReject.row_number, EtlReject.column_name, EtlReject.reason, EtlReject.raw)
        return self.read(query.where(EtlReject.batch_id == batch_id).order_by(EtlReject.row_number))
