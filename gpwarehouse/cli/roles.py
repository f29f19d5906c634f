"""Roles: reader, loader and admin of the schema, and what each may do."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Annotated

import typer

from gpwarehouse.cli.app import console, group, say, warehouse_named
from gpwarehouse.cli.tables import make_table

roles = group("roles", "Reader, loader and admin of the schema.")


@roles.command()
def plan(
    sql: Annotated[bool, typer.Option("--sql", help="Print the statements, for a DBA to run.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Show what apply would do."""
    with warehouse_named() as warehouse:
        changes = warehouse.schema.roles.plan()
    if sql:
        sys.stdout.write("".join(f"{change.statement};\n" for change in changes))
    elif as_json:
        sys.stdout.write(json.dumps([asdict(change) for change in changes], indent=2) + "\n")
    elif not changes:
        console.print("nothing is to be done")
    else:
        rows = [(change.object, change.expected, change.found) for change in changes]
        console.print(make_table(("object", "expected", "found"), rows))


@roles.command()
def apply() -> None:
    """Make the roles where missing and give them their rights; a second time there is nothing to do."""
    with warehouse_named() as warehouse:
        changes = warehouse.schema.roles.apply()
    for change in changes:
        say(change.statement)
    console.print(f"{len(changes)} statements run" if changes else "nothing was to be done")
