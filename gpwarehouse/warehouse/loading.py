"""Rows into the warehouse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Unpack

from sqlalchemy import func, select

from gpwarehouse.errors import InvalidInputError
from gpwarehouse.models import BRIDGES, DIMENSIONS, FACTS, EtlLoadBatch, EtlReject
from gpwarehouse.warehouse.counting import counted
from gpwarehouse.warehouse.reading import Reading

if TYPE_CHECKING:
    import pandas as pd

    from gpwarehouse.load import Corrected, CsvOptions, LoadKeywords, LoadResult, Progress, Target

__all__ = ["Loading", "columns_of"]

BATCH_STATES = ("loaded", "deleted", "failed")
_OF_BATCHES = (
    "rows_read", "rows_loaded", "rows_rejected", "source_system", "source", "started_at", "finished_at", "loaded_by", "error",
)  # fmt: skip


class Loading(Reading):
    """Load frames; what a load rejected."""

    def load(
        self,
        target: str,
        frame: Any,
        *,
        source_system: str = "FRAME",
        csv: CsvOptions | None = None,
        **options: Unpack[LoadKeywords],
    ) -> LoadResult:
        """Load a frame into a fact, once.

        Natural keys in (``lot_id``, ``wafer_id``, ``equipment_id`` …; :meth:`columns` lists them), durable keys are
        computed. Missing months and members are made. The same content, or the same ``batch_id``, is loaded once.

        :param frame: pandas or polars DataFrame, pyarrow Table, reader or dataset, an iterable of dicts, or the path or glob
            of Parquet, CSV or Arrow files.
        :param csv: how CSV files are written, where they do not say it: :class:`gpwarehouse.CsvOptions`.
        :param options: ``batch_id``, ``on_conflict`` (``"skip"``, ``"error"``, ``"append"``, ``"replace"``), ``max_rejects``,
            ``progress``, ``parallel``, ``atomic``, ``analyze``: see :meth:`gpwarehouse.load.Loader.load`.
        :raises LoadError: and its kinds; nothing of the batch was loaded.
        """
        from gpwarehouse.load import FrameSource, Loader, table_files

        self._require_current_schema()
        source = FrameSource(table_files(frame, csv), target, source_system=source_system)
        return counted(target, lambda: Loader(self.engine, self.settings).load(source, **options))

    def columns(self, target: str) -> pd.DataFrame:
        """What a frame for ``target`` may bring: name, type, whether it is needed, and what it means.

        :param target: a fact, a dimension (:meth:`merge`) or a bridge (:meth:`upsert`).
        :raises InvalidInputError: there is no such table to bring rows to.
        """
        return columns_of(target)

    def batches(self, *, target: str | None = None, status: str | None = None, most: int = 100) -> pd.DataFrame:
        """The latest batches, newest first: what each read, loaded and rejected, from where, and why it failed.

        :param target: of this table alone. :param status: ``"loaded"``, ``"deleted"`` or ``"failed"`` alone.
        :param most: so many at most.
        :raises InvalidInputError: no such status.
        """
        from gpwarehouse.batches.ledger import state

        table = EtlLoadBatch.__table__
        there = func.lower(state())
        query = select(
            *(table.c[name] for name in ("batch_id", "target")),
            there.label("status"),
            *(table.c[name] for name in _OF_BATCHES),
        )
        if target is not None:
            query = query.where(table.c.target == target)
        if status is not None:
            if status not in BATCH_STATES:
                raise InvalidInputError(f"status={status!r}: allowed are {', '.join(map(repr, BATCH_STATES))}")
            query = query.where(there == status)
        return self.read(query.order_by(table.c.started_at.desc(), table.c.batch_id).limit(most))

    def rejects(self, batch_id: str, *, as_given: bool = False) -> pd.DataFrame:
        """The rejected rows of a batch: row number, column, reason, and the row as it was given, in JSON.

        :param as_given: row number and the columns of the rows themselves, to be corrected for :meth:`reload_rejects`. A frame
            has all columns for all rows: of rows that name different ones (dicts for :meth:`upsert_rows` or :meth:`merge`) only
            ``raw`` tells which they named.
        :raises InvalidInputError: there is no such batch.
        """
        from gpwarehouse.load import rejects_as_given, require_batch

        if as_given:
            return rejects_as_given(self.engine, self.settings, batch_id)
        require_batch(self.engine, self.settings, batch_id)
        query = select(EtlReject.row_number, EtlReject.column_name, EtlReject.reason, EtlReject.raw)
        return self.read(query.where(EtlReject.batch_id == batch_id).order_by(EtlReject.row_number))

    def reload_rejects(
        self,
        batch_id: str,
        corrected: Corrected,
        *,
        csv: CsvOptions | None = None,
        progress: Progress | None = None,
        analyze: Literal["auto", "always", "never"] | None = None,
    ) -> LoadResult:
        """Load corrected rejects into their batch, each once, and take them off its rejects.

        >>> wh.reload_rejects("lot 7", lambda rows: rows.assign(slot=rows.slot.abs()))   # doctest: +SKIP

        :param corrected: a frame with the column ``row_number`` beside those of a load, or a function that makes one of
            ``wh.rejects(batch_id, as_given=True)``. What it leaves out, or what is rejected again, stays a reject.
        :param csv: as for :meth:`load`.
        :raises BatchConflictError: records of the rows stand in other batches by now, and would be there twice.
        :raises TooManyRejectsError: all rows were rejected again; their rejects have the new reasons.
        :raises LoadError: and its other kinds; nothing was changed.
        """
        from gpwarehouse.load import RejectLoader, table_files

        self._require_current_schema()
        corrected = table_files(corrected, csv)
        loader = RejectLoader(self.engine, self.settings)
        return counted(
            f"the batch {batch_id}, of its rejects,",
            lambda: loader.reload(batch_id, corrected, progress=progress, analyze=analyze),
        )


def columns_of(target: str) -> pd.DataFrame:
    """What a frame for a table may bring; see :meth:`Loading.columns`."""
    import pandas as pd

    found = _target_of(target)
    return pd.DataFrame(
        {
            "column": column.name,
            "type": "json" if column.is_json else str(column.type),
            "needed": column.required,
            "meaning": getattr(found.table.columns.get(column.name), "comment", None) or "part of a natural key",
        }
        for column in found.inputs.values()
    )


def _target_of(name: str) -> Target:
    from gpwarehouse.dimensions import bridge_named, dimension_target
    from gpwarehouse.load import target_named

    if name in BRIDGES:
        return bridge_named(name)
    if name in DIMENSIONS:
        return dimension_target(name, "effective_date", None)
    if name not in FACTS:
        raise InvalidInputError(
            f"no table {name!r} to bring rows to; there are {', '.join((*FACTS, *DIMENSIONS, *BRIDGES))}"
        )
    return target_named(name)
