"""The data: load files, ask questions; and the demo."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from gpwarehouse.cli.app import app, console, errors, warehouse_named
from gpwarehouse.errors import GpwarehouseError, InvalidInputError


@app.command()
def demo(
    wafers: Annotated[int, typer.Option(min=1, max=25, help="Wafers of the made-up lot.")] = 5,
    keep: Annotated[Path | None, typer.Option(help="Keep the server's data in this folder.")] = None,
) -> None:
    """Bring a made-up lot through a warehouse of its own: DDL, load, yields, wafer map."""
    from gpwarehouse.demo import run_demo

    run_demo(console, wafers=wafers, keep=keep)


@app.command()
def load(
    files: Annotated[list[Path], typer.Argument(help="STDF V4 files, plain or compressed.")],
    batch_id: Annotated[str | None, typer.Option(help="The batch's id, for a single file.")] = None,
    facility: Annotated[str | None, typer.Option(help="Facility, where the file names none.")] = None,
    test_type: Annotated[str | None, typer.Option(help="WAT, CP or FT; else the file tells.")] = None,
    max_rejects: Annotated[int | None, typer.Option(min=0, help="Rejected rows allowed in a file.")] = None,
) -> None:
    """Load files, each once: what was loaded before is recognised by its content."""
    from gpwarehouse.demo import load_with_progress

    if batch_id is not None and len(files) > 1:
        raise InvalidInputError("--batch-id names one batch; load one file with it")
    given = {"batch_id": batch_id, "facility": facility, "test_type": test_type, "max_rejects": max_rejects}
    options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    failed = 0
    with warehouse_named() as warehouse:
        for file in files:
            try:
                result = load_with_progress(console, warehouse, file, **options)
            except (GpwarehouseError, OSError) as error:
                failed += 1
                errors.print(f"{file}: {error}", markup=False, highlight=False, soft_wrap=True)
            else:
                console.print(f"{file.name}: {result}", markup=False, highlight=False, soft_wrap=True)
    if failed:
        raise typer.Exit(1)


@app.command()
def query(
    sql: Annotated[str, typer.Argument(help="A SELECT; :name stands for a parameter.")],
    param: Annotated[list[str] | None, typer.Option("--param", "-p", help="name=value, bound as text.")] = None,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV instead of a table.")] = False,
) -> None:
    """Run a query and print its result."""
    from gpwarehouse.demo import frame_table

    params: dict[str, Any] = dict(item.partition("=")[::2] for item in param or [])
    with warehouse_named() as warehouse:
        frame = warehouse.read(sql, **params)
    if csv:
        sys.stdout.write(frame.to_csv(index=False))
    else:
        console.print(frame_table(frame))


@app.command()
def settings() -> None:
    """Print all settings as a Markdown table."""
    from gpwarehouse.settings import settings_table

    sys.stdout.write(settings_table())
