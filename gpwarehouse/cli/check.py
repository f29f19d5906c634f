"""The data against its own rules."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from gpwarehouse.cli.app import app, console, errors, warehouse_named
from gpwarehouse.cli.tables import print_frame


@app.command()
def check(
    month: Annotated[list[str] | None, typer.Option("--month", help="A month of the facts, YYYY-MM.")] = None,
    since: Annotated[str | None, typer.Option(help="Months from this one on, YYYY-MM.")] = None,
    table: Annotated[list[str] | None, typer.Option("--table", help="A fact, dimension or bridge.")] = None,
    only: Annotated[list[str] | None, typer.Option("--only", help="A check, e.g. 'orphan key'.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Check the data, changing nothing; exit code 1 where something is wrong. Without options, all of it."""

    def tell(what: str) -> None:
        if errors.is_terminal:
            errors.print(what, style="dim", markup=False, highlight=False)

    with warehouse_named() as warehouse:
        found = warehouse.check(months=month, since=since, tables=table, checks=only, progress=tell)
    if as_json:
        sys.stdout.write(found.to_json(orient="records", indent=2) + "\n")
    elif len(found):
        print_frame(console, found)
    else:
        console.print("nothing is wrong with the data")
    if len(found):
        raise typer.Exit(1)
