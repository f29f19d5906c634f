"""Rows into the warehouse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Unpack

from sqlalchemy import select

from gpwarehouse.models import EtlReject
from gpwarehouse.warehouse.reading import Reading

if TYPE_CHECKING:
    import pandas as pd

    from gpwarehouse.load import LoadOptions, LoadResult

__all__ = ["Loading"]


class Loading(Reading):
    """Load frames; what a load rejected."""

    def load(
        self, target: str, frame: Any, *, source_system: str = "FRAME", **options: Unpack[LoadOptions]
    ) -> LoadResult:
        """Load a frame into a fact, once.

        Natural keys in (``lot_id``, ``wafer_id``, ``equipment_id`` …; :meth:`columns` lists them), durable keys are
        computed. Missing months and members are made. The same content, or the same ``batch_id``, is loaded once.

        :param frame: pandas or polars DataFrame, pyarrow Table, reader or dataset, an iterable of dicts, or the path or glob
            of Parquet, CSV or Arrow files.
        :param options: ``batch_id``, ``on_conflict`` (``"skip"``, ``"error"``, ``"append"``, ``"replace"``), ``max_rejects``,
            ``progress``, ``parallel``, ``atomic``, ``analyze``: see :meth:`gpwarehouse.load.Loader.load`.
        :raises LoadError: and its kinds; nothing of the batch was loaded.
        """
        from gpwarehouse.load import FrameSource, Loader

        self._require_current_schema()
        source = FrameSource(frame, target, source_system=source_system)
        return Loader(self.engine, self.settings).load(source, **options)

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
