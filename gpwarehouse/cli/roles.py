"""Roles: reader, loader and admin of the schema, and what each may do."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Table

from gpwarehouse.cli.app import app, console, warehouse_named

roles = typer.Typer(no_args_is_help=True, help="Reader, loader and admin of the schema.")
app.add_typer(roles, name="roles")


@roles.command()
def plan(
    sql: Annotated[bool, typer.Option("--sql", help="Print the statements, for a DBA to run.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Show what apply would do."""
    with warehouse_named() as warehouse:
        changes = warehouse.roles.plan()
    if sql:
        sys.stdout.write("".join(f"{change.statement};\n" for change in changes))
    elif as_json:
        sys.stdout.write(json.dumps([asdict(change) for change in changes], indent=2) + "\n")
    elif not changes:
        console.print("nothing is to be done")
    else:
        table = Table("object", "expected", "found")
        for change in changes:
            table.add_row(change.object, change.expected, change.found)
        console.print(table, markup=False, highlight=False)


@roles.command()
def apply() -> None:
    """Make the roles where missing and give them their rights; a second time there is nothing to do."""
    with warehouse_named() as warehouse:
        changes = warehouse.roles.apply()
    for change in changes:
        console.print(change.statement, markup=False, highlight=False, soft_wrap=True)
    console.print(f"{len(changes)} statements run" if changes else "nothing was to be done")
