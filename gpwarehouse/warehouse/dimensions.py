"""``wh.dimensions``: move wafers to another root lot, bridges, genealogy, and the fab's calendar."""

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

        Writers to facts about wafers wait meanwhile. The old rows stay in the files of the facts until VACUUM. Rows in
        archived months get the new keys when they are restored (:meth:`gpwarehouse.partitions.Partitions.restore`). Tables
        that retention has detached or moved are not changed.

        :param mapping: a frame of ``root_lot_id`` (the current one), ``true_root_lot_id`` and, if not all wafers of a root move,
            ``wafer_id``. Afterwards correct ``dim_lot`` too (:meth:`~gpwarehouse.Warehouse.merge`), or the next load uses the old
            root. Without a mapping, every wafer moves whose lot has another root in ``dim_lot``. For lots whose root no source
            gave, the root is that of the genealogy, which is then written to ``dim_lot``.
        :param csv: options of a mapping that is a CSV file, as for :meth:`~gpwarehouse.Warehouse.load`.
        :param months: ``YYYY-MM``: the months that hold facts of the wafers. In other months only keys are read, to check this.
        :param dry_run: only count.
        :raises InvalidInputError: the mapping cannot be used, or moves a wafer to two roots.
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
        """Insert rows into a bridge. An existing row with the same key takes the values that its row gives, and keeps the others.

        Lots and wafers are given by natural keys, and made if they are missing. Of rows with the same key the last one counts;
        each column takes the value of the last row that gives it. A stay of a wafer in a lot ends where its next stay begins,
        whatever the rows say.

        :param bridge: ``"bridge_lot_genealogy"``, with the key ``parent_lot_id``, ``child_lot_id``, ``event_type``,
            ``event_ts``; or ``"bridge_wafer_lot"``, with the columns ``lot_id``, ``wafer_id``, ``from_ts``; the lot is not
            part of its key.
        :param csv: as for :meth:`~gpwarehouse.Warehouse.load`.
        :param batch_id: a batch with this id is done once; without an id the same rows are written again.
        :raises InvalidInputError: there is no such bridge, or columns are unknown or missing.
        :raises BatchConflictError: ``batch_id`` was done before with other rows.
        :raises LoadError: nothing was changed. Subclasses name the cause.
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
        """Delete rows of a bridge by their key, as in :meth:`upsert_bridge`. Rows that do not exist are no error.

        :raises InvalidInputError: there is no such bridge, or columns are unknown or missing.
        :raises LoadError: nothing was changed. Subclasses name the cause.
        """
        self._connected.require_current_schema()
        options: dict[str, Any] = {"batch_id": batch_id, "source_system": source_system, "progress": progress}
        return rooms.dimensions.Bridges(self._connected.engine, self._connected.settings).delete(
            bridge, rooms.load.table_files(frame, csv), **options
        )

    def genealogy(self, lot_id: str) -> pd.DataFrame:
        """Read all ancestors and descendants of a lot, of any depth. It is fast, as the search begins at the lot."""
        schema = self._connected.engine.dialect.identifier_preparer.quote_schema(self._connected.settings.schema_name)
        found: pd.DataFrame = read(
            self._connected, genealogy_sql().replace("{schema}", schema), lot_key=durable_key(lot_id)
        )
        return found

    def rebuild_calendar(self) -> list[str]:
        """Correct the hours of ``dim_time`` that do not agree with the calendar of the settings, in one transaction.

        It is needed after a change of time zone, shifts, crews, holidays or the start of the week, if months were loaded before:
        loads into these months are refused until then. Facts are not changed, because their shifts are found by the hour.

        :return: the corrected months, ``YYYY-MM``.
        :raises LoadError: the server refused; nothing was changed.
        """
        self._connected.require_current_schema()
        calendar = ShiftCalendar.build(**self._connected.settings.calendar_options())
        return rooms.batches.commit_once(
            *(
                self._connected.engine,
                self._connected.settings,
                lambda: rooms.months.rebuild_hours(self._connected.engine, calendar),
            ),
            what="correction of the calendar",
            table="dim_time",
            undone="nothing was changed",
        )
