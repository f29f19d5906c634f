"""What was loaded into facts, taken out or replaced in bulk."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from gpwarehouse.warehouse.base import Connected
from gpwarehouse.warehouse.counting import counted

if TYPE_CHECKING:
    from gpwarehouse.intake.load_options import Analyze, Progress
    from gpwarehouse.load import CsvOptions, Deleted, LoadResult

__all__ = ["Reprocessing"]


class Reprocessing(Connected):
    """Delete batches and months of facts; replace months; put in and take out records by their key."""

    def delete_batch(self, batch_id: str) -> Deleted:
        """Delete a batch's rows, looking only into the months of its events; then it can be loaded again.

        Members it made or told of stay. A batch that has no rows any more is no error. Of one that failed what connections
        left that committed apart (``atomic=False``) is deleted.

        Records of it that :meth:`upsert_rows` or :meth:`replace_month` put into other batches since are those batches' and
        stay. As long as they do, the batch is not loaded again beside them: that raises
        :class:`~gpwarehouse.errors.BatchConflictError`.

        :raises InvalidInputError: there is no such batch, or it went into a dimension or bridge.
        :raises LoadError: the server refused; nothing was deleted.
        :raises AmbiguousCommitError: the connection was lost at COMMIT, and the server could not be asked any more.
        """
        from gpwarehouse.load import Deleter

        self._require_current_schema()
        return Deleter(self.engine, self.settings).delete_batch(batch_id)

    def delete_month(self, fact: str, month: str, *, across: bool = False, dry_run: bool = False) -> Deleted:
        """Empty a month of a fact at once, whatever its size; batches that were wholly in it can be loaded again.

        :param month: ``YYYY-MM``.
        :param across: empty it even where batches have rows in other months too. Those stay loaded, with a note.
        :param dry_run: only count.
        :raises PartitionError: there are such batches, or no such month; nothing was deleted.
        :raises AmbiguousCommitError: as :meth:`delete_batch`.
        """
        from gpwarehouse.load import Deleter

        self._require_current_schema()
        return Deleter(self.engine, self.settings).delete_month(fact, month, across=across, dry_run=dry_run)

    def upsert_rows(
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

        :param frame: and ``csv``: as for :meth:`load`.
        :param months: ``YYYY-MM``, where records are looked for besides the months of the frame's times: what was wrong may
            have been the time.
        :param batch_id: done once; without one the same rows count again.
        :return: ``rows_replaced`` are those that were there.
        :raises InvalidInputError: nothing says which record a row is: no die, part or site, no number of a defect.
        :raises BatchConflictError: ``batch_id`` was done before with other rows.
        :raises LoadError: and its kinds; nothing was changed.
        """
        return self._by_key(
            fact, frame, csv, months, source_system, deletes=False,
            batch_id=batch_id, max_rejects=max_rejects, analyze=analyze, progress=progress,
        )  # fmt: skip

    def delete_rows(
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
        """Take records out of a fact by their business key, as :meth:`upsert_rows` has it, whoever loaded them.

        :param frame: the columns of the key and ``event_ts``, which tells the month; others are not looked at.
        :param csv: as for :meth:`load`.
        :return: ``rows_replaced`` are those that went. Records that are not there are no error.
        :raises InvalidInputError: as :meth:`upsert_rows`.
        :raises LoadError: and its kinds; nothing was changed.
        """
        return self._by_key(
            fact, frame, csv, months, source_system, deletes=True,
            batch_id=batch_id, max_rejects=max_rejects, analyze="never", progress=progress,
        )  # fmt: skip

    def _by_key(
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
        from gpwarehouse.load import KeyLoader, KeySource, table_files

        self._require_current_schema()
        frame = table_files(frame, csv)
        source = KeySource(frame, fact, source_system=source_system, months=list(months), deletes=deletes)
        loader = KeyLoader(self.engine, self.settings)
        return counted(fact, lambda: loader.load(source, **options))

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

        :param frame: and ``csv``: as for :meth:`load`. :param month: ``YYYY-MM``.
        :return: its ``rows_replaced`` are those that were there.
        :raises LoadError: and its kinds; the month is as it was.
        """
        from gpwarehouse.load import MonthLoader, MonthSource, table_files

        self._require_current_schema()
        source = MonthSource(table_files(frame, csv), fact, source_system=source_system, month=month)
        loader = MonthLoader(self.engine, self.settings)
        return counted(
            fact,
            lambda: loader.load(source, batch_id=batch_id, max_rejects=max_rejects, analyze=analyze, progress=progress),
        )
