"""``wh.batches``: list batches and their rejects; reload, delete and replace batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import func, select

from gpwarehouse.errors import InvalidInputError
from gpwarehouse.models import EtlLoadBatch, EtlReject
from gpwarehouse.warehouse import rooms
from gpwarehouse.warehouse.connected import Door
from gpwarehouse.warehouse.counting import count_load
from gpwarehouse.warehouse.loading import load_frame
from gpwarehouse.warehouse.reading import read

if TYPE_CHECKING:
    import pandas as pd

    from gpwarehouse.engine.progress import Progress
    from gpwarehouse.load import Corrected, CsvOptions, Deleted, LoadResult

__all__ = ["Batches"]

BATCH_STATES = ("loaded", "deleted", "failed")
_OF_BATCHES = (
    "origin", "rows_read", "rows_loaded", "rows_rejected", "rows_removed", "source_system", "source", "started_at", "finished_at",
    "loaded_by", "error",
)  # fmt: skip


class Batches(Door):
    """Batches of loads: list, correct, delete, replace."""

    def list(self, *, target: str | None = None, status: str | None = None, most: int = 100) -> pd.DataFrame:
        """List the latest batches, newest first: rows read, loaded, rejected and removed since, the source, why a batch failed.

        ``etl_removal`` says of which months rows were removed, why, and by which batch.

        :param target: only batches of this table.
        :param status: only ``"loaded"``, ``"deleted"`` or ``"failed"`` batches.
        :param most: maximum number of batches.
        :raises InvalidInputError: there is no such status.
        """
        table = EtlLoadBatch.__table__
        there = func.lower(table.c.status)
        query = select(
            *(table.c[name] for name in ("batch_id", "target")),
            there.label("status"),
            *(table.c[name] for name in _OF_BATCHES),
        )
        if target is not None:
            query = query.where(table.c.target == target)
        if status is not None:
            if status not in BATCH_STATES:
                raise InvalidInputError(
                    f"status={status!r}: the allowed values are {', '.join(map(repr, BATCH_STATES))}"
                )
            query = query.where(there == status)
        found: pd.DataFrame = read(
            self._connected, query.order_by(table.c.started_at.desc(), table.c.batch_id).limit(most)
        )
        return found

    def rejects(self, batch_id: str, *, as_given: bool = False) -> pd.DataFrame:
        """Read the rejected rows of a batch: row number, column, reason, and the row as it was given, in JSON.

        :param as_given: return row number and the columns of the rows themselves, to be corrected for :meth:`reload`. A frame has
            all columns for all rows. If rows gave different columns (dicts for
            :meth:`~gpwarehouse.warehouse.facts.Facts.upsert` or :meth:`~gpwarehouse.Warehouse.merge`), only ``raw`` shows which.
        :raises InvalidInputError: there is no such batch.
        """
        if as_given:
            return rooms.load.rejects_as_given(self._connected.engine, self._connected.settings, batch_id)
        rooms.load.require_batch(self._connected.engine, self._connected.settings, batch_id)
        query = select(EtlReject.row_number, EtlReject.column_name, EtlReject.reason, EtlReject.raw)
        query = query.where(EtlReject.batch_id == batch_id).order_by(EtlReject.row_number)
        found: pd.DataFrame = read(self._connected, query)
        return found

    def reload(
        self,
        batch_id: str,
        corrected: Corrected,
        *,
        csv: CsvOptions | None = None,
        progress: Progress | None = None,
        analyze: Literal["auto", "always", "never"] | None = None,
    ) -> LoadResult:
        """Load corrected rejects into their batch, each once, and remove them from its rejects.

        >>> wh.batches.reload("lot 7", lambda rows: rows.assign(slot=rows.slot.abs()))   # doctest: +SKIP

        :param corrected: a frame with the column ``row_number`` besides those of a load; or a function that makes such a frame
            from ``wh.batches.rejects(batch_id, as_given=True)``. Rows that it leaves out, and rows that are rejected again,
            stay rejects.
        :param csv: as for :meth:`~gpwarehouse.Warehouse.load`.
        :raises BatchConflictError: other batches now hold records of the rows, which would be stored twice.
        :raises TooManyRejectsError: all rows were rejected again; their rejects have the new reasons.
        :raises LoadError: nothing was changed. Subclasses name the cause.
        """
        self._connected.require_current_schema()
        corrected = rooms.load.table_files(corrected, csv)
        loader = rooms.load.Loader(self._connected.engine, self._connected.settings)
        return count_load(
            f"the rejects of batch {batch_id}",
            lambda: rooms.load.reload_rejects(loader, batch_id, corrected, progress=progress, analyze=analyze),
        )

    def delete(self, batch_id: str) -> Deleted:
        """Delete a batch's rows, and look only into the months of its events. The batch can then be loaded again.

        Members that it made, and what it told of members, stay. A batch that has no rows any more is no error. Of a failed batch,
        the rows are deleted that connections committed on their own (``atomic=False``).

        Records of it may have been moved to other batches by :meth:`~gpwarehouse.warehouse.facts.Facts.upsert` or
        :meth:`~gpwarehouse.warehouse.facts.Facts.replace_month`. They belong to those batches and stay. While they are there, the
        batch cannot be loaded again: that raises :class:`~gpwarehouse.errors.BatchConflictError`.

        :raises InvalidInputError: there is no such batch, or it belongs to a dimension or bridge.
        :raises LoadError: the server refused; nothing was deleted.
        :raises AmbiguousCommitError: the connection was lost at COMMIT, and the server could not be asked any more.
        """
        self._connected.require_current_schema()
        return rooms.load.Deleter(self._connected.engine, self._connected.settings).delete_batch(batch_id)

    def replace(
        self, batch_id: str, frame: Any, *, csv: CsvOptions | None = None, source_system: str = "FRAME", **options: Any
    ) -> LoadResult:
        """Load a frame in the place of a batch's rows, in one transaction: readers see the old rows or the new ones.

        :param frame: all rows of the batch, for its fact; as for :meth:`~gpwarehouse.Warehouse.load`.
        :param options: options of :meth:`~gpwarehouse.Warehouse.load`, except ``batch_id`` and ``on_conflict``.
        :raises InvalidInputError: there is no such batch, it belongs to a dimension or bridge, or ``on_conflict`` is given.
        :raises BatchConflictError: other batches now hold records of the batch.
        :raises LoadError: the batch is unchanged. Subclasses name the cause.
        """
        if "on_conflict" in options:
            raise InvalidInputError("wh.batches.replace() replaces; leave on_conflict out, or use wh.load()")
        target = rooms.load.require_batch(self._connected.engine, self._connected.settings, batch_id)
        options |= {"batch_id": batch_id, "on_conflict": "replace"}
        return load_frame(self._connected, target, frame, csv, source_system, options)
