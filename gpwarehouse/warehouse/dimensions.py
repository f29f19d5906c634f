"""``wh.dimensions``: wafers under another root lot, bridges, genealogy, and the fab's calendar."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from gpwarehouse.models import genealogy_sql
from gpwarehouse.models.calendar import ShiftCalendar
from gpwarehouse.models.keys import durable_key
from gpwarehouse.warehouse import rooms
from gpwarehouse.warehouse.connected import Door
from gpwarehouse.warehouse.reading import read

if TYPE_CHECKING:
    import pandas as pd

    from gpwarehouse.dimensions import BridgeResult, RekeyResult
    from gpwarehouse.engine.progress import Progress
    from gpwarehouse.load import CsvOptions

__all__ = ["Dimensions"]


class Dimensions(Door):
    """Members of dimensions, and the bridges between them."""

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
            ``wafer_id``; then correct ``dim_lot`` too (:meth:`~gpwarehouse.Warehouse.merge`), or the next load goes by the
            old root. Without one: every wafer whose lot has another root in ``dim_lot``; of lots that no source told of,
            what the genealogy shows, which is then written to ``dim_lot``.
        :param csv: how the mapping is written, where it is a CSV file, as for :meth:`~gpwarehouse.Warehouse.load`.
        :param months: ``YYYY-MM``: the ones that hold facts of the wafers. Of others only keys are read, to be sure of it.
        :param dry_run: only count.
        :raises InvalidInputError: the mapping is none, or sends a wafer to two roots.
        :raises LoadError: other months hold facts of the wafers, or the server refused; nothing was moved.
        """
        self._connected.require_current_schema()
        return rooms.dimensions.Rekeyer(self._connected.engine, self._connected.settings).rekey(
            rooms.load.table_files(mapping, csv), months=months, dry_run=dry_run
        )

    def upsert_bridge(
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
        :param csv: as for :meth:`~gpwarehouse.Warehouse.load`.
        :param batch_id: done once; without one nothing is held against the same rows again.
        :raises InvalidInputError: no such bridge, unknown or missing columns.
        :raises BatchConflictError: ``batch_id`` was done before with other rows.
        :raises LoadError: and its kinds; nothing was changed.
        """
        self._connected.require_current_schema()
        options: dict[str, Any] = {"batch_id": batch_id, "source_system": source_system, "progress": progress}
        return rooms.dimensions.Bridges(self._connected.engine, self._connected.settings).upsert(
            bridge, rooms.load.table_files(frame, csv), **options
        )

    def delete_bridge(
        self,
        bridge: str,
        frame: Any,
        *,
        csv: CsvOptions | None = None,
        batch_id: str | None = None,
        source_system: str = "FRAME",
        progress: Progress | None = None,
    ) -> BridgeResult:
        """Take rows out of a bridge by their key, as :meth:`upsert_bridge` has it; rows that are not there are no error.

        :raises InvalidInputError: no such bridge, unknown or missing columns.
        :raises LoadError: and its kinds; nothing was changed.
        """
        self._connected.require_current_schema()
        options: dict[str, Any] = {"batch_id": batch_id, "source_system": source_system, "progress": progress}
        return rooms.dimensions.Bridges(self._connected.engine, self._connected.settings).delete(
            bridge, rooms.load.table_files(frame, csv), **options
        )

    def genealogy(self, lot_id: str) -> pd.DataFrame:
        """All ancestors and descendants of a lot, any depth; starts at the lot, so it is quick in a large fab."""
        schema = self._connected.engine.dialect.identifier_preparer.quote_schema(self._connected.settings.schema_name)
        found: pd.DataFrame = read(
            self._connected, genealogy_sql().replace("{schema}", schema), lot_key=durable_key(lot_id)
        )
        return found

    def rebuild_calendar(self) -> list[str]:
        """Make the hours of ``dim_time`` that are not of the settings' calendar anew, in one transaction.

        Needed where time zone, shifts, crews, holidays or the start of the week were changed and months were loaded before:
        loads into these are refused meanwhile. Facts are not touched; their shifts are found by the hour.

        :return: the months that were made anew, ``YYYY-MM``.
        :raises LoadError: the server refused; nothing was changed.
        """
        self._connected.require_current_schema()
        calendar = ShiftCalendar.build(**self._connected.settings.calendar_options())
        return rooms.batches.settled(
            *(
                self._connected.engine,
                self._connected.settings,
                lambda: rooms.months.rebuild_hours(self._connected.engine, calendar),
            ),
            what="rebuilding of the calendar",
            table="dim_time",
            undone="nothing was changed",
        )
