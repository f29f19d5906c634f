"""Dimensions: their history merged, wafers re-keyed; bridges; what is taken out or replaced in bulk."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from gpwarehouse.warehouse.base import Connected
from gpwarehouse.warehouse.counting import counted_merge

if TYPE_CHECKING:
    from gpwarehouse.dimensions import BridgeResult, MergeResult, RekeyResult
    from gpwarehouse.intake.load_options import Analyze, Progress
    from gpwarehouse.load import CsvOptions

__all__ = ["OfDimensions"]


class OfDimensions(Connected):
    """Merge dimensions, re-key wafers, change bridges."""

    def merge(
        self,
        dimension: str,
        frame: Any,
        *,
        csv: CsvOptions | None = None,
        effective: str | datetime = "effective_date",
        deletes: str | None = None,
        batch_id: str | None = None,
        max_rejects: int | float | None = None,
        source_system: str = "FRAME",
        analyze: Analyze | None = None,
        progress: Progress | None = None,
    ) -> MergeResult:
        """Merge what a frame says of members into their history (SCD type 2).

        A row says what the columns that it names hold from its time on, NULL too; of the others it says nothing. The files of
        a glob or dataset, and the dicts of an iterable, may each name others. Words of
        different moments come to the same history in whatever order and grouping they are merged
        (:mod:`gpwarehouse.dimensions.versions` says how); of one moment the later corrects the earlier. A row that says
        what is in force begins no version. Columns of type 1 hold in all versions what the row with the latest moment says. New
        members start in 1900, inferred ones are completed in place. Members of other dimensions are named by natural
        keys (``product_id``, ``lot_id``, ``parent_equipment_id`` …) and made where missing. A row with a value that its column
        may not hold, or with control limits out of order (LSL > USL), is a reject.

        :param dimension: table name, e.g. ``"dim_lot"``.
        :param frame: natural keys and attributes; all that :meth:`load` takes. :param csv: as there.
        :param effective: the column with the time from which a row holds, or one moment for all, both with a time zone.
        :param deletes: a column of booleans: true where the member is deleted from that time on. It keeps its attributes,
            in a version whose ``row_hash`` begins with ``gpwarehouse.dimensions.DELETED_HASH``.
        :param batch_id: done once. Without one the frame counts again each time: said twice in a row it changes nothing, and
            where something else was said of the same moment in between, it corrects that.
        :param max_rejects: count, or share of the rows, above which nothing is merged; else as in the settings.
        :param analyze: statistics after it: ``"auto"`` (where a tenth of the rows changed), ``"always"``, ``"never"``; else as
            in the settings.
        :raises InvalidInputError: no such dimension, unknown or missing columns.
        :raises BatchConflictError: ``batch_id`` was done before with other rows.
        :raises KeyCollisionError: two natural keys have one durable key.
        :raises LoadError: and its kinds; nothing was merged.
        """
        from gpwarehouse.dimensions import Merger
        from gpwarehouse.load import table_files

        self._require_current_schema()
        options: dict[str, Any] = {
            "effective": effective, "deletes": deletes, "batch_id": batch_id, "max_rejects": max_rejects,
            "source_system": source_system, "analyze": analyze, "progress": progress,
        }  # fmt: skip
        frame = table_files(frame, csv)
        return counted_merge(dimension, lambda: Merger(self.engine, self.settings).merge(dimension, frame, **options))

    def rekey_wafers(
        self,
        mapping: Any = None,
        *,
        csv: CsvOptions | None = None,
        months: Iterable[str] | None = None,
        dry_run: bool = False,
    ) -> RekeyResult:
        """Move wafers to their true root lot: facts, history and stays in lots, in one transaction.

        All who write to facts about wafers wait meanwhile. What moved stays until VACUUM in the files of the facts. Rows in
        archived months get the new keys when they are restored (:meth:`gpwarehouse.partitions.Partitions.restore`); tables that
        retention has detached or moved are not looked at.

        :param mapping: a frame of ``root_lot_id`` (as it is), ``true_root_lot_id`` and, where not all wafers of a root move,
            ``wafer_id``; then correct ``dim_lot`` too (:meth:`merge`), or the next load goes by the old root. Without one:
            every wafer whose lot has another root in ``dim_lot``; of lots that no source told of, what the genealogy shows,
            which is then written to ``dim_lot``.
        :param csv: how the mapping is written, where it is a CSV file, as for :meth:`load`.
        :param months: ``YYYY-MM``: the ones that hold facts of the wafers. Of others only keys are read, to be sure of it.
        :param dry_run: only count.
        :raises InvalidInputError: the mapping is none, or sends a wafer to two roots.
        :raises LoadError: other months hold facts of the wafers, or the server refused; nothing was moved.
        """
        from gpwarehouse.dimensions import Rekeyer
        from gpwarehouse.load import table_files

        self._require_current_schema()
        return Rekeyer(self.engine, self.settings).rekey(table_files(mapping, csv), months=months, dry_run=dry_run)

    def upsert(
        self,
        bridge: str,
        frame: Any,
        *,
        csv: CsvOptions | None = None,
        batch_id: str | None = None,
        source_system: str = "FRAME",
        progress: Progress | None = None,
    ) -> BridgeResult:
        """Put rows into a bridge; one whose key is there takes the values that its row names, and keeps the others.

        Lots and wafers are named by natural keys and made where missing. Of rows with one key the last counts, of each column
        the last that names it. A stay of a
        wafer in a lot ends where its next one begins, whatever either says.

        :param bridge: ``"bridge_lot_genealogy"``: ``parent_lot_id``, ``child_lot_id``, ``event_type``, ``event_ts`` are the
            key; ``"bridge_wafer_lot"``: ``lot_id``, ``wafer_id``, ``from_ts``, of which the lot is not part of the key.
        :param csv: as for :meth:`load`.
        :param batch_id: done once; without one nothing is held against the same rows again.
        :raises InvalidInputError: no such bridge, unknown or missing columns.
        :raises BatchConflictError: ``batch_id`` was done before with other rows.
        :raises LoadError: and its kinds; nothing was changed.
        """
        from gpwarehouse.dimensions import Bridges
        from gpwarehouse.load import table_files

        self._require_current_schema()
        options: dict[str, Any] = {"batch_id": batch_id, "source_system": source_system, "progress": progress}
        return Bridges(self.engine, self.settings).upsert(bridge, table_files(frame, csv), **options)

    def delete(
        self,
        bridge: str,
        frame: Any,
        *,
        csv: CsvOptions | None = None,
        batch_id: str | None = None,
        source_system: str = "FRAME",
        progress: Progress | None = None,
    ) -> BridgeResult:
        """Take rows out of a bridge by their key, as :meth:`upsert` has it; rows that are not there are no error.

        :raises InvalidInputError: no such bridge, unknown or missing columns.
        :raises LoadError: and its kinds; nothing was changed.
        """
        from gpwarehouse.dimensions import Bridges
        from gpwarehouse.load import table_files

        self._require_current_schema()
        options: dict[str, Any] = {"batch_id": batch_id, "source_system": source_system, "progress": progress}
        return Bridges(self.engine, self.settings).delete(bridge, table_files(frame, csv), **options)
