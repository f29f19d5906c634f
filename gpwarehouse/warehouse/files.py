"""Files into the warehouse, one or many."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpwarehouse.errors import GpwarehouseError, InvalidInputError, UnknownFormatError, WarehouseConnectionError
from gpwarehouse.settings_types import STDF_LACKS
from gpwarehouse.warehouse.counting import counted
from gpwarehouse.warehouse.loading import Loading

if TYPE_CHECKING:
    from gpwarehouse.load import FileOutcome, FilesReport, LoadResult

__all__ = ["LoadingFiles"]

_OF_THE_TRADE = frozenset({"timezone", "test_type", "allow_incomplete", *STDF_LACKS})
"""Options of files of the trade alone."""


class LoadingFiles(Loading):
    """Load files of the trade, and files of tables."""

    def load_file(self, path: str | Path, *, target: str | None = None, **options: Any) -> LoadResult:
        """Load a file, once.

        :param target: the fact that the rows of a Parquet, CSV or Arrow file go to; a file of the trade (STDF V4, plain or
            compressed) tells it itself.
        :param options: those of :meth:`load`, ``csv=`` among them; what holds where a file of the trade says nothing (where it
            says another thing, the file's stands, and the result's ``warnings`` tell): ``lot_id=``, ``wafer_id=``,
            ``event_ts=``, ``facility=``, ``product_id=``, ``test_program=``, ``equipment_id=``; ``timezone=`` of its times;
            ``test_type=``, which goes before the file's; ``allow_incomplete=True`` to load what there is of a file that is
            not whole.
        :raises SourceFormatError: it is no such file, it is not whole, or it says not of which lot or time it is; nothing was
            loaded.
        """
        from gpwarehouse.load import LoadKeywords

        if target is not None:
            if told := sorted(_OF_THE_TRADE & options.keys()):
                raise InvalidInputError(
                    f"{told[0]}= says what a file of the trade lacks; the rows of {path} have columns of their own: leave it out"
                )
            return self.load(target, path, **options)
        if options.pop("csv", None) is not None:
            raise InvalidInputError("csv= says how files of tables are written: name their target= too")
        given = {name: options.pop(name) for name in list(options) if name not in LoadKeywords.__annotations__}
        return self._load_source(path, given, options)

    def _load_source(self, path: str | Path, given: dict[str, Any], options: dict[str, Any]) -> LoadResult:
        from gpwarehouse.load import Loader
        from gpwarehouse.sources import open_source

        self._require_current_schema()
        told = {"timezone": self.settings.stdf_timezone, "defaults": dict(self.settings.stdf_given)}
        source = open_source(path, **told | given)
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

        :param paths: paths, globs and folders. A folder stands for the files of the trade in it and below, with a ``target``
            for the files of tables in it; what is of no kind that is read there is reported as passed over.
        :param each: called with every file's outcome as soon as it is known.
        :param options: those of :meth:`load_file`, but for ``batch_id``.
        :raises InvalidInputError: ``batch_id`` was given.
        """
        from gpwarehouse.load import FileOutcome, FilesReport, files_to_load

        if options.get("batch_id") is not None:
            raise InvalidInputError("batch_id names one batch, and each file is one: give it to load_file")
        outcomes: list[FileOutcome] = []
        used: dict[Path, bool] = {}
        lost = False

        def tell(outcome: FileOutcome) -> None:
            outcomes.append(outcome)
            if each is not None:
                each(outcome)

        for named in files_to_load(paths, target):
            outcome = FileOutcome(named.path, error=named.error)
            try:
                if named.error is None and not lost:
                    outcome = FileOutcome(named.path, self.load_file(named.path, target=target, **options))
            except (GpwarehouseError, OSError) as error:
                lost = isinstance(error, WarehouseConnectionError)
                unknown = isinstance(error, UnknownFormatError) and named.may_be_passed_over
                outcome = FileOutcome(named.path, error=error, passed_over=unknown)
            if named.folder is not None:
                used[named.folder] = used.get(named.folder, False) or not outcome.passed_over
            tell(outcome)
        for folder in (folder for folder, is_used in used.items() if not is_used):
            tell(
                FileOutcome(
                    folder,
                    error=UnknownFormatError(f"{folder}: none of the files in the folder is of a kind read here"),
                )
            )
        return FilesReport(tuple(outcomes))
