"""What was loaded into facts, taken out or replaced in bulk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gpwarehouse.warehouse.base import Connected
from gpwarehouse.warehouse.counting import counted

if TYPE_CHECKING:
    from gpwarehouse.load import LoadResult
    from gpwarehouse.load.options import Analyze, Progress
    from gpwarehouse.reprocess import Deleted

__all__ = ["Reprocessing"]


class Reprocessing(Connected):
    """Delete batches and months of facts; replace months."""

    def delete_batch(self, batch_id: str) -> Deleted:
        """Delete a batch's rows, looking only into the months of its events; then it can be loaded again.

        Members it made or told of stay. A batch that has no rows any more is no error. Of one that failed what connections
        left that committed apart (``atomic=False``) is deleted.

        :raises InvalidInputError: there is no such batch, or it went into a dimension or bridge.
        :raises LoadError: the server refused; nothing was deleted.
        :raises AmbiguousCommitError: the connection was lost at COMMIT, and the server could not be asked any more.
        """
        from gpwarehouse.reprocess import Deleter

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
        from gpwarehouse.reprocess import Deleter

        self._require_current_schema()
        return Deleter(self.engine, self.settings).delete_month(fact, month, across=across, dry_run=dry_run)

    def replace_month(
        self,
        fact: str,
        month: str,
        frame: Any,
        *,
        batch_id: str | None = None,
        max_rejects: int | float | None = None,
        source_system: str = "FRAME",
        analyze: Analyze | None = None,
        progress: Progress | None = None,
    ) -> LoadResult:
        """Put a frame in the place of all rows of a month, once: loaded beside it, then exchanged.

        Who reads sees the old month or the new one; who writes to the month waits. Rows of other months are rejected.
        Batches that had rows in it stay loaded, with a note, so that none comes back by being loaded again.

        :param frame: as for :meth:`load`. :param month: ``YYYY-MM``.
        :return: its ``rows_replaced`` are those that were there.
        :raises LoadError: and its kinds; the month is as it was.
        """
        from gpwarehouse.reprocess import MonthLoader, MonthSource

        self._require_current_schema()
        source = MonthSource(frame, fact, source_system=source_system, month=month)
        loader = MonthLoader(self.engine, self.settings)
        return counted(
            fact,
            lambda: loader.load(source, batch_id=batch_id, max_rejects=max_rejects, analyze=analyze, progress=progress),
        )
