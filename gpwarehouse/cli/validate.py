"""The live schema against the models."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Annotated

import typer

from gpwarehouse.cli.app import app, console, warehouse_named
from gpwarehouse.cli.tables import make_table
from gpwarehouse.cli.wording import in_commands

schema = typer.Typer(no_args_is_help=True, help="The schema as it is.")
app.add_typer(schema, name="schema")


@schema.callback()
def _group() -> None:
    """Look at the schema as it is."""


@schema.command()
def validate(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    roles: Annotated[
        bool | None, typer.Option("--roles/--no-roles", help="Compare rights; else where a role has any.")
    ] = None,
) -> None:
    """Compare the database with the models, changing nothing; exit code 1 where they differ."""
    with warehouse_named() as warehouse:
        findings = warehouse.validate(roles=roles)
    if as_json:
        sys.stdout.write(json.dumps([asdict(finding) for finding in findings], indent=2) + "\n")
    elif findings:
        rows = [(one.kind, one.object, one.expected, one.found, in_commands(one.remedy)) for one in findings]
        console.print(make_table(("kind", "object", "expected", "found", "way out"), rows))
    else:
        console.print("the schema is as the models say")
    if findings:
        raise typer.Exit(1)
