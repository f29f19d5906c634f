"""Questions; the demo; the settings."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from gpwarehouse.cli.app import app, console, warehouse_named


@app.command()
def demo(
    wafers: Annotated[int, typer.Option(min=1, max=25, help="Wafers of the made-up lot.")] = 5,
    keep: Annotated[Path | None, typer.Option(help="Keep the server's data in this folder.")] = None,
) -> None:
    """Bring a made-up lot through a warehouse of its own: DDL, load, yields, wafer map."""
    from gpwarehouse.demo import run_demo

    run_demo(console, wafers=wafers, keep=keep)


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
