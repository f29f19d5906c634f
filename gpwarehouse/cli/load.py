"""Loading: files, and what was rejected of them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gpwarehouse.cli.app import app, console, errors, say, warehouse_named, warn
from gpwarehouse.cli.wording import in_commands
from gpwarehouse.errors import GpwarehouseError, InvalidInputError, WarehouseConnectionError
from gpwarehouse.load.bar import load_bar

if TYPE_CHECKING:
    from gpwarehouse.load import FileOutcome
    from gpwarehouse.warehouse import Warehouse

_MANY = 3
"""From so many files on the totals are told too."""
_OF_TABLES = {".parquet", ".pq", ".csv", ".tsv", ".arrow", ".ipc", ".feather", ".arrows"}
"""Suffixes that :data:`gpwarehouse.load.files.FILE_KINDS` names."""
_UNSAID = {"on_conflict": "skip", "parallel": 1, "atomic": True}
"""Options as they are where the command line has none."""


def _tell(outcome: FileOutcome) -> None:
    if outcome.result is not None:
        warn(f"{outcome.path.name}: {in_commands(warning)}" for warning in outcome.result.warnings)
    say(in_commands(str(outcome)), to=console if outcome.result is not None else errors)


def limit(text: str | None) -> int | float | None:
    """What ``--max-rejects`` says.

    :raises InvalidInputError: it is neither a count nor a share.
    """
    from pydantic import TypeAdapter, ValidationError

    from gpwarehouse.setting_kinds import Rejects

    try:
        return None if text is None else TypeAdapter(Rejects).validate_python(text)
    except (ValidationError, ValueError):
        raise InvalidInputError(f"--max-rejects {text}: give a count, or a share such as 0.01 or 1%") from None


@app.command()
def load(
    files: Annotated[
        list[str],
        typer.Argument(
            help="STDF V4 files, folders of gpwarehouse generate; with --target Parquet, CSV or Arrow, folders of them; globs."
        ),
    ],
    target: Annotated[str | None, typer.Option(help="The fact that rows of Parquet, CSV or Arrow go to.")] = None,
    batch_id: Annotated[str | None, typer.Option(help="The batch's id, for a single file.")] = None,
    on_conflict: Annotated[
        str, typer.Option(help="Content or id loaded before: skip, error, append or replace.")
    ] = "skip",
    facility: Annotated[str | None, typer.Option(help="Facility, where an STDF file names none.")] = None,
    test_type: Annotated[str | None, typer.Option(help="WAT, CP or FT; else the STDF file tells.")] = None,
    max_rejects: Annotated[str | None, typer.Option(help="Rejects allowed in a file: 5, 0.01 or 1%.")] = None,
    parallel: Annotated[int, typer.Option(help="Connections that copy at once, 1 to 16.")] = 1,
    atomic: Annotated[bool, typer.Option(help="Whether parallel copies commit with the batch, or each alone.")] = True,
    analyze: Annotated[str | None, typer.Option(help="Statistics afterwards: auto, always or never.")] = None,
) -> None:
    """Load files, each once: what was loaded before is recognised by its content, and passed over."""
    from gpwarehouse.load import FileOutcome

    options: dict[str, Any] = {"on_conflict": on_conflict, "parallel": parallel, "atomic": atomic, "analyze": analyze}
    given = {"facility": facility, "test_type": test_type, "max_rejects": limit(max_rejects)}
    options |= {name: value for name, value in given.items() if value is not None}
    files, folders = _apart(files, target)
    if batch_id is not None and (folders or len(files) > 1):
        raise InvalidInputError("--batch-id names one batch; load one file with it, and no folder of a fab")
    if folders:
        _refuse_options(folders, options)
    with warehouse_named() as warehouse, load_bar(console, "load") as bar:
        failed = [folder for folder in folders if not _loaded_fab(warehouse, folder)]
        if batch_id is not None:
            options |= {"batch_id": batch_id, "progress": bar}
            result = warehouse.load_file(files[0], target=target, **options)
            _tell(FileOutcome(Path(files[0]), result))
            return
        report = warehouse.load_files(files, target=target, each=_tell, progress=bar, **options)
    if len(report) >= _MANY:
        say(str(report))
    if report.failed or failed:
        raise typer.Exit(1)


def _apart(names: list[str], target: str | None) -> tuple[list[str], list[str]]:
    """Files, and folders of fabs. With a target a folder stands for the files in it that hold tables."""
    files: list[str] = []
    folders: list[str] = []
    for name in names:
        if not Path(name).is_dir():
            files.append(name)
        elif target is None:
            folders.append(name)
        else:
            found = sorted(file for file in Path(name).iterdir() if file.is_file() and _OF_TABLES & set(file.suffixes))
            files += [str(file) for file in found] or [name]  # which is then reported to hold none
    return files, folders


def _refuse_options(folders: list[str], options: dict[str, Any]) -> None:
    given = [f"--{name.replace('_', '-')}" for name, value in options.items() if value != _UNSAID.get(name)]
    if given:
        raise InvalidInputError(
            f"{folders[0]} is a folder, and a fab is loaded as it is: leave out {', '.join(given)}, or name a --target for "
            "the files in it"
        )


def _loaded_fab(warehouse: Warehouse, folder: str) -> bool:
    from gpwarehouse.cli.generate import load_fab
    from gpwarehouse.load import FileOutcome

    try:
        load_fab(warehouse, folder)
    except WarehouseConnectionError:
        raise
    except (GpwarehouseError, OSError) as error:
        _tell(FileOutcome(Path(folder), error=error))
        return False
    return True


@app.command()
def rejects(
    batch_id: Annotated[str, typer.Argument(help="The batch's id, as load tells it.")],
    as_given: Annotated[bool, typer.Option("--as-given", help="The rows themselves, to correct them.")] = False,
) -> None:
    """Print what was rejected of a batch, as CSV."""
    with warehouse_named() as warehouse:
        frame = warehouse.rejects(batch_id, as_given=as_given)
    sys.stdout.write(frame.to_csv(index=False))


@app.command()
def reload_rejects(
    batch_id: Annotated[str, typer.Argument(help="The batch that rejected the rows.")],
    file: Annotated[Path, typer.Argument(help="CSV, Parquet or Arrow: the corrected rows, with their row_number.")],
) -> None:
    """Load corrected rejects into their batch, each once."""
    with warehouse_named() as warehouse, load_bar(console, file.name) as bar:
        result = warehouse.reload_rejects(batch_id, file, progress=bar)
        left = len(warehouse.rejects(batch_id))
    say(f"{result}; {left} rejects left")
