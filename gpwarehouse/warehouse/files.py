"""Files into the warehouse, one or many."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpwarehouse.errors import GpwarehouseError, InvalidInputError, WarehouseConnectionError
from gpwarehouse.warehouse.counting import counted
from gpwarehouse.warehouse.loading import Loading

if TYPE_CHECKING:
    from gpwarehouse.load import FileOutcome, FilesReport, LoadResult

__all__ = ["LoadingFiles"]


class LoadingFiles(Loading):
    """Load files of the trade, and files of tables."""

    def load_file(self, path: str | Path, *, target: str | None = None, **options: Any) -> LoadResult:
        """Load a file, once.

        :param target: the fact that the rows of a Parquet, CSV or Arrow file go to; a file of the trade (STDF V4, plain or
            compressed) tells it itself.
        :param options: those of :meth:`load`, ``csv=`` among them, and what a file of the trade does not tell:
            ``facility=``, ``timezone=``, ``test_type=``.
        :raises SourceFormatError: it is no such file, or ends early; nothing was loaded.
        """
        from gpwarehouse.load import LoadOptions

        if target is not None:
            return self.load(target, path, **options)
        if options.pop("csv", None) is not None:
            raise InvalidInputError("csv= says how files of tables are written: name their target= too")
        given = {name: options.pop(name) for name in list(options) if name not in LoadOptions.__annotations__}
        return self._load_source(path, given, options)

    def _load_source(self, path: str | Path, given: dict[str, Any], options: dict[str, Any]) -> LoadResult:
        from gpwarehouse.load import Loader
        from gpwarehouse.sources import open_source

        self._require_current_schema()
        source = open_source(path, **{"timezone": self.settings.stdf_timezone} | given)
        return counted(source.target, lambda: Loader(self.engine, self.settings).load(source, **options))

    def load_files(
        self,
        paths: str | PathLike[str] | Iterable[str | PathLike[str]],
        *,
        target: str | None = None,
        each: Callable[[FileOutcome], object] | None = None,
        **options: Any,
    ) -> FilesReport:
        """Load many files, each a batch of its own; what fails in one keeps no other from being loaded.

        Called again after it was killed, it loads what is missing and reports the others as already loaded. When the
        server is lost, the files left are not tried.

        :param paths: paths and globs. :param each: called with every file's outcome as soon as it is known.
        :param options: those of :meth:`load_file`, but for ``batch_id``.
        :raises InvalidInputError: ``batch_id`` was given.
        """
        from gpwarehouse.load import FileOutcome, FilesReport, files_named

        if options.get("batch_id") is not None:
            raise InvalidInputError("batch_id names one batch, and each file is one: give it to load_file")
        outcomes: list[FileOutcome] = []
        lost = False
        for file, missing in files_named(paths):
            outcome = FileOutcome(file, error=missing)
            try:
                if missing is None and not lost:
                    outcome = FileOutcome(file, self.load_file(file, target=target, **options))
            except (GpwarehouseError, OSError) as error:
                lost = isinstance(error, WarehouseConnectionError)
                outcome = FileOutcome(file, error=error)
            outcomes.append(outcome)
            if each is not None:
                each(outcome)
        return FilesReport(tuple(outcomes))
