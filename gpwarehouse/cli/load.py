"""Loading: files, and what was rejected of them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from gpwarehouse.cli.app import app, console, errors, warehouse_named
from gpwarehouse.errors import InvalidInputError
from gpwarehouse.load.bar import load_bar

if TYPE_CHECKING:
    from gpwarehouse.load import FileOutcome

_MANY = 3
"""From so many files on the totals are told too."""


def _say(words: str, *, to: Console = console) -> None:
    to.print(words, markup=False, highlight=False, soft_wrap=True)


def _tell(outcome: FileOutcome) -> None:
    for warning in outcome.result.warnings if outcome.result is not None else ():
        _say(f"{outcome.path.name}: {warning}", to=errors)
    _say(str(outcome), to=console if outcome.result is not None else errors)


def _limit(text: str | None) -> int | float | None:
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
            help="STDF V4 files; with --target Parquet, CSV or Arrow; globs of them; folders of gpwarehouse generate."
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
    from gpwarehouse.cli.generate import load_fab
    from gpwarehouse.load import FileOutcome

    options: dict[str, Any] = {"on_conflict": on_conflict, "parallel": parallel, "atomic": atomic, "analyze": analyze}
    given = {"facility": facility, "test_type": test_type, "max_rejects": _limit(max_rejects)}
    options |= {name: value for name, value in given.items() if value is not None}
    folders = [file for file in files if Path(file).is_dir()]
    files = [file for file in files if file not in folders]
    with warehouse_named() as warehouse, load_bar(console, "load") as bar:
        for folder in folders:
            load_fab(warehouse, folder)
        if batch_id is not None:
            if len(files) > 1:
                raise InvalidInputError("--batch-id names one batch; load one file with it")
            options |= {"batch_id": batch_id, "progress": bar}
            result = warehouse.load_file(files[0], target=target, **options)
            _tell(FileOutcome(Path(files[0]), result))
            return
        report = warehouse.load_files(files, target=target, each=_tell, progress=bar, **options)
    if len(report) >= _MANY:
        _say(str(report))
    if report.failed:
        raise typer.Exit(1)


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
    _say(f"{result}; {left} rejects left")
