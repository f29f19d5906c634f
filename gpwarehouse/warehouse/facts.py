"""``wh.facts``: what a fact takes, its records put in or taken out by their business key, and whole months."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from gpwarehouse.errors import InvalidInputError
from gpwarehouse.models import BRIDGES, DIMENSIONS, FACTS
from gpwarehouse.warehouse import rooms
from gpwarehouse.warehouse.connected import Door
from gpwarehouse.warehouse.counting import counted

if TYPE_CHECKING:
    import pandas as pd

    from gpwarehouse.engine.progress import Progress
    from gpwarehouse.intake.load_options import Analyze
    from gpwarehouse.load import CsvOptions, Deleted, LoadResult, Target

__all__ = ["Facts", "columns_of"]


class Facts(Door):
    """Records and months of facts."""

    def columns(self, target: str) -> pd.DataFrame:
        """What a frame for ``target`` may bring: name, type, whether it is needed, and what it means.

        :param target: a fact, a dimension (:meth:`~gpwarehouse.Warehouse.merge`) or a bridge (``wh.dimensions.upsert_bridge``).
        :raises InvalidInputError: there is no such table to bring rows to.
        """
        return columns_of(target)

    def upsert(
        self,
        fact: str,
        frame: Any,
        *,
        csv: CsvOptions | None = None,
        months: Iterable[str] = (),
        batch_id: str | None = None,
        max_rejects: int | float | None = None,
        source_system: str = "FRAME",
        analyze: Analyze | None = None,
        progress: Progress | None = None,
    ) -> LoadResult:
        """Put records into a fact; one whose business key is there takes the values that its row names.

        The key: of measurements wafer, process step, visit, chamber and site; of tests wafer, lot, type, stage, die (or part
        and site), insertion, retest and time; of defects wafer, inspection, test and defect; of equipment it and the shift's
        time. Columns that a row does not name stay as they are, whatever other rows name: the files of a glob or dataset, and
        the dicts of an iterable, may each name others. Of rows with one key the last counts (``source_record_no``), of each
        column the last that names it. Batches that had the records stay loaded, with a note of how many went; they are not
        replaced (``on_conflict="replace"``) by rows with the same keys as long as these are here, or the records would be
        there twice.

        Others wait to write to the fact meanwhile. Records in archived months are not found: restore those first.

        :param frame: and ``csv``: as for :meth:`~gpwarehouse.Warehouse.load`.
        :param months: ``YYYY-MM``, where records are looked for besides the months of the frame's times: what was wrong may
            have been the time.
        :param batch_id: done once; without one the same rows count again.
        :return: ``rows_replaced`` are those that were there.
        :raises InvalidInputError: nothing says which record a row is: no die, part or site, no number of a defect.
        :raises BatchConflictError: ``batch_id`` was done before with other rows.
        :raises LoadError: and its kinds; nothing was changed.
        """
        return self._write_by_key(
            fact, frame, csv, months, source_system, deletes=False,
            batch_id=batch_id, max_rejects=max_rejects, analyze=analyze, progress=progress,
        )  # fmt: skip

    def delete(
        self,
        fact: str,
        frame: Any,
        *,
        csv: CsvOptions | None = None,
        months: Iterable[str] = (),
        batch_id: str | None = None,
        max_rejects: int | float | None = None,
        source_system: str = "FRAME",
        progress: Progress | None = None,
    ) -> LoadResult:
        """Take records out of a fact by their business key, as :meth:`upsert` has it, whoever loaded them.

        :param frame: the columns of the key and ``event_ts``, which tells the month; others are not looked at.
        :param csv: as for :meth:`~gpwarehouse.Warehouse.load`.
        :return: ``rows_replaced`` are those that went. Records that are not there are no error.
        :raises InvalidInputError: as :meth:`upsert`.
        :raises LoadError: and its kinds; nothing was changed.
        """
        return self._write_by_key(
            fact, frame, csv, months, source_system, deletes=True,
            batch_id=batch_id, max_rejects=max_rejects, analyze="never", progress=progress,
        )  # fmt: skip

    def _write_by_key(
        self,
        fact: str,
        frame: Any,
        csv: CsvOptions | None,
        months: Iterable[str],
        source_system: str,
        *,
        deletes: bool,
        **options: Any,
    ) -> LoadResult:
        self._connected.require_current_schema()
        frame = rooms.load.table_files(frame, csv)
        source = rooms.load.KeySource(frame, fact, source_system=source_system, months=list(months), deletes=deletes)
        loader = rooms.load.KeyLoader(self._connected.engine, self._connected.settings)
        return counted(fact, lambda: loader.load(source, **options))

    def delete_month(self, fact: str, month: str, *, across: bool = False, dry_run: bool = False) -> Deleted:
        """Empty a month of a fact at once, whatever its size; batches that were wholly in it can be loaded again.

        :param month: ``YYYY-MM``.
        :param across: empty it even where batches have rows in other months too. Those stay loaded, with a note.
        :param dry_run: only count.
        :raises PartitionError: there are such batches, or no such month; nothing was deleted.
        :raises AmbiguousCommitError: as :meth:`gpwarehouse.warehouse.batches.Batches.delete`.
        """
        self._connected.require_current_schema()
        return rooms.load.Deleter(self._connected.engine, self._connected.settings).delete_month(
            fact, month, across=across, dry_run=dry_run
        )

    def replace_month(
        self,
        fact: str,
        month: str,
        frame: Any,
        *,
        csv: CsvOptions | None = None,
        batch_id: str | None = None,
        max_rejects: int | float | None = None,
        source_system: str = "FRAME",
        analyze: Analyze | None = None,
        progress: Progress | None = None,
    ) -> LoadResult:
        """Put a frame in the place of all rows of a month, once: loaded beside it, then exchanged.

        Who reads sees the old month or the new one; who writes to the month waits. Rows of other months are rejected.
        Batches that had rows in it stay loaded, with a note, so that none comes back by being loaded again.

        :param frame: and ``csv``: as for :meth:`~gpwarehouse.Warehouse.load`.
        :param month: ``YYYY-MM``.
        :return: its ``rows_replaced`` are those that were there.
        :raises LoadError: and its kinds; the month is as it was.
        """
        self._connected.require_current_schema()
        source = rooms.load.MonthSource(
            rooms.load.table_files(frame, csv), fact, source_system=source_system, month=month
        )
        loader = rooms.load.MonthLoader(self._connected.engine, self._connected.settings)
        return counted(
            fact,
            lambda: loader.load(source, batch_id=batch_id, max_rejects=max_rejects, analyze=analyze, progress=progress),
        )


def columns_of(target: str) -> pd.DataFrame:
    """What a frame for a table may bring; see :meth:`Facts.columns`."""
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

    if name in BRIDGES:
        return rooms.dimensions.bridge_named(name)
    if name in DIMENSIONS:
        return rooms.dimensions.dimension_target(name, "effective_date", None)
    if name not in FACTS:
        raise InvalidInputError(
            f"no table {name!r} to bring rows to; there are {', '.join((*FACTS, *DIMENSIONS, *BRIDGES))}"
        )
    return rooms.load.target_named(name)
