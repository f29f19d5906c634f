"""Loading: files, and what was rejected of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import TypeAdapter, ValidationError

from gpwarehouse.cli.app import app, console, errors, say, warehouse_named, warn
from gpwarehouse.cli.csv_options import with_csv
from gpwarehouse.cli.data import load_fab
from gpwarehouse.cli.progress_bar import load_bar
from gpwarehouse.cli.wording import in_commands
from gpwarehouse.errors import GpwarehouseError, InvalidInputError, WarehouseConnectionError
from gpwarehouse.load import FileOutcome, files_to_load
from gpwarehouse.settings.types import Rejects
from gpwarehouse.warehouse import rooms

if TYPE_CHECKING:
    from gpwarehouse.warehouse import Warehouse

_MANY = 3
"""From so many files on the totals are told too."""
_UNSAID = {"on_conflict": "skip", "atomic": True}
"""Options as they are where the command line has none."""


def _tell(outcome: FileOutcome) -> None:
    if outcome.result is not None:
        warn(f"{outcome.path.name}: {in_commands(warning)}" for warning in outcome.result.warnings)
    say(in_commands(str(outcome)), to=console if outcome.result is not None else errors)


def limit(text: str | None) -> int | float | None:
    """Read ``--max-rejects``.

    :raises InvalidInputError: it is neither a count nor a share.
    """
    try:
        return None if text is None else TypeAdapter(Rejects).validate_python(text)
    except (ValidationError, ValueError):
        raise InvalidInputError(f"--max-rejects {text}: give a count, or a share such as 0.01 or 1%") from None


@app.command()
@with_csv
def load(
    files: Annotated[
        list[str],
        typer.Argument(
            help="STDF V4 files, folders with such files in or below them, folders of gpwarehouse data generate; with --target "
            "Parquet, CSV or Arrow, folders of them; globs."
        ),
    ],
    target: Annotated[str | None, typer.Option(help="The fact that rows of Parquet, CSV or Arrow go to.")] = None,
    batch_id: Annotated[str | None, typer.Option(help="The batch's id, for a single file.")] = None,
    on_conflict: Annotated[
        str, typer.Option(help="Content or id loaded before: skip, error, append or replace.")
    ] = "skip",
    facility: Annotated[str | None, typer.Option(help="Facility, where an STDF file names none.")] = None,
    lot_id: Annotated[str | None, typer.Option(help="Lot, where an STDF file names none.")] = None,
    wafer_id: Annotated[str | None, typer.Option(help="Wafer, where an STDF file names none.")] = None,
    event_ts: Annotated[
        str | None, typer.Option(help="Start, where an STDF file has none: 2026-03-04T06:30+08:00.")
    ] = None,
    product_id: Annotated[str | None, typer.Option(help="Product, where an STDF file names none.")] = None,
    test_program: Annotated[str | None, typer.Option(help="Test program, where an STDF file names none.")] = None,
    equipment_id: Annotated[str | None, typer.Option(help="Tester, where an STDF file names none.")] = None,
    allow_incomplete: Annotated[
        bool, typer.Option(help="Load what there is of an STDF file that is not whole.")
    ] = False,
    test_type: Annotated[str | None, typer.Option(help="WAT, CP or FT; else the STDF file tells.")] = None,
    max_rejects: Annotated[str | None, typer.Option(help="Rejects allowed in a file: 5, 0.01 or 1%.")] = None,
    parallel: Annotated[
        int | None, typer.Option(help="Connections that copy at once, 1 to 16; by default GPWAREHOUSE_LOAD_PARALLEL.")
    ] = None,
    atomic: Annotated[bool, typer.Option(help="Whether parallel copies commit with the batch, or each alone.")] = True,
    analyze: Annotated[str | None, typer.Option(help="Statistics afterwards: auto, always or never.")] = None,
    csv: Any = None,
) -> None:
    """Load files, each once: what was loaded before is recognised by its content, and passed over."""
    options: dict[str, Any] = {"on_conflict": on_conflict, "atomic": atomic, "analyze": analyze}
    given: dict[str, Any] = {
        "facility": facility,
        "lot_id": lot_id,
        "wafer_id": wafer_id,
        "event_ts": event_ts,
        "product_id": product_id,
        "test_program": test_program,
        "equipment_id": equipment_id,
        "allow_incomplete": allow_incomplete or None,
        "test_type": test_type,
        "max_rejects": limit(max_rejects),
        "csv": csv,
        "parallel": parallel,
    }
    options |= {name: value for name, value in given.items() if value is not None}
    _load(files, target, batch_id, options)


def _load(files: list[str], target: str | None, batch_id: str | None, options: dict[str, Any]) -> None:
    """Load them and tell of each; exit code 1 where one was not loaded."""
    folders = [name for name in files if target is None and rooms.generate.folder.is_fab_folder(Path(name))]
    files = [name for name in files if name not in folders]
    named = list(files_to_load(files, target)) if batch_id is not None else []
    if batch_id is not None and (folders or len(named) != 1):
        raise InvalidInputError("--batch-id names one batch; load one file with it, and no folder of a fab")
    if folders:
        _refuse_options(folders, options)
    with warehouse_named() as warehouse, load_bar(console, "load") as bar:
        failed = [folder for folder in folders if not _loaded_fab(warehouse, folder)]
        if batch_id is not None:
            options |= {"batch_id": batch_id, "progress": bar}
            result = warehouse.load_file(named[0].path, target=target, **options)
            _tell(FileOutcome(named[0].path, result))
            return
        report = warehouse.load_files(files, target=target, each=_tell, progress=bar, **options)
    if len(report) >= _MANY:
        say(str(report))
    if report.failed or failed:
        raise typer.Exit(1)


def _refuse_options(folders: list[str], options: dict[str, Any]) -> None:
    given = [f"--{name.replace('_', '-')}" for name, value in options.items() if value != _UNSAID.get(name)]
    if given:
        raise InvalidInputError(
            f"{folders[0]} is a folder, and a fab is loaded as it is: leave out {', '.join(given)}, or name a --target for "
            "the files in it"
        )


def _loaded_fab(warehouse: Warehouse, folder: str) -> bool:
    try:
        load_fab(warehouse, folder)
    except WarehouseConnectionError:
        raise
    except (GpwarehouseError, OSError) as error:
        _tell(FileOutcome(Path(folder), error=error))
        return False
    return True
