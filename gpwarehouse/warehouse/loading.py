"""Load frames and files into the warehouse."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpwarehouse.errors import GpwarehouseError, InvalidInputError, UnknownFormatError, WarehouseConnectionError
from gpwarehouse.settings.types import STDF_LACKS
from gpwarehouse.warehouse import rooms
from gpwarehouse.warehouse.connected import Connected
from gpwarehouse.warehouse.counting import count_load

if TYPE_CHECKING:
    from gpwarehouse.load import CsvOptions, FileOutcome, FilesReport, LoadResult

__all__ = ["check_load", "load_file", "load_files", "load_frame"]

_OF_A_FRAME = ("parameter_names", "parameter_prefix")
_OF_THE_TRADE = frozenset({"timezone", "test_type", "allow_incomplete", *STDF_LACKS})
"""Options that only test data files have."""


def check_load(target: str | None, options: dict[str, Any]) -> None:
    """:meth:`gpwarehouse.Warehouse.check_load`."""
    _take_options_of_file(target, options)
    rooms.load.LoadOptions(**options)
    if target is not None:
        rooms.load.target_named(target)


def load_frame(
    connected: Connected, target: str, frame: Any, csv: CsvOptions | None, source_system: str, options: dict[str, Any]
) -> LoadResult:
    """:meth:`gpwarehouse.Warehouse.load`."""
    connected.require_current_schema()
    source = rooms.load.FrameSource(
        rooms.load.table_files(frame, csv),
        target,
        source_system=source_system,
        batch_rows=connected.settings.load_batch_rows,
        parameter_names=options.get("parameter_names"),
        parameter_prefix=options.get("parameter_prefix"),
    )
    loader = rooms.load.Loader(connected.engine, connected.settings)
    return count_load(target, lambda: loader.load(source, **options))


def load_file(connected: Connected, path: str | Path, target: str | None, options: dict[str, Any]) -> LoadResult:
    """:meth:`gpwarehouse.Warehouse.load_file`."""
    about = _take_options_of_file(target, options)
    if target is not None:
        return load_frame(connected, target, path, about["csv"], about["source_system"], options)
    return _load_source(connected, path, about, options)


def _take_options_of_file(target: str | None, options: dict[str, Any]) -> dict[str, Any]:
    """Take out of the options those that are about the file; the others are those of a load.

    :raises InvalidInputError: an option belongs to another kind of file.
    """
    if target is not None:
        if told := sorted(_OF_THE_TRADE & options.keys()):
            raise InvalidInputError(
                f"{told[0]}= gives what a test data file lacks, but the rows for {target} have columns of their own; leave it out"
            )
        return {"csv": options.pop("csv", None), "source_system": options.pop("source_system", "FRAME")}
    if told := [name for name in _OF_A_FRAME if options.get(name) is not None]:
        raise InvalidInputError(
            f"{told[0]}= is about the columns of a frame or a file with tables; name its target= too"
        )
    if options.pop("csv", None) is not None:
        raise InvalidInputError("csv= describes files with tables; name their target= too")
    return {name: options.pop(name) for name in list(options) if name not in rooms.load.LoadKeywords.__annotations__}


def _load_source(connected: Connected, path: str | Path, given: dict[str, Any], options: dict[str, Any]) -> LoadResult:
    connected.require_current_schema()
    told = {"timezone": connected.settings.stdf_timezone, "defaults": dict(connected.settings.stdf_given)}
    source = rooms.sources.open_source(path, **told | given)
    return count_load(
        source.target, lambda: rooms.load.Loader(connected.engine, connected.settings).load(source, **options)
    )


def load_files(
    connected: Connected,
    paths: str | PathLike[str] | Iterable[str | PathLike[str]],
    target: str | None,
    each: Callable[[FileOutcome], object] | None,
    options: dict[str, Any],
) -> FilesReport:
    """:meth:`gpwarehouse.Warehouse.load_files`."""
    if options.get("batch_id") is not None:
        raise InvalidInputError(
            "batch_id names one batch, but each file is a batch of its own; give it to wh.load_file"
        )
    outcomes: list[FileOutcome] = []
    used: dict[Path, bool] = {}
    lost = False

    def tell(outcome: FileOutcome) -> None:
        outcomes.append(outcome)
        if each is not None:
            each(outcome)

    for named in rooms.load.files_to_load(paths, target):
        outcome = rooms.load.FileOutcome(named.path, error=named.error)
        try:
            if named.error is None and not lost:
                outcome = rooms.load.FileOutcome(named.path, load_file(connected, named.path, target, dict(options)))
        except (GpwarehouseError, OSError) as error:
            lost = isinstance(error, WarehouseConnectionError)
            unknown = isinstance(error, UnknownFormatError) and named.may_be_passed_over
            outcome = rooms.load.FileOutcome(named.path, error=error, passed_over=unknown)
        if named.folder is not None:
            used[named.folder] = used.get(named.folder, False) or not outcome.passed_over
        tell(outcome)
    for folder in (folder for folder, is_used in used.items() if not is_used):
        tell(
            rooms.load.FileOutcome(
                folder,
                error=UnknownFormatError(f"{folder}: the folder has no file of a kind that can be read"),
            )
        )
    return rooms.load.FilesReport(tuple(outcomes))
