"""Roles: reader, loader and admin of the schema, and what each may do."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from gpwarehouse.cli.app import console, group, say, warehouse_named
from gpwarehouse.cli.tables import make_table
from gpwarehouse.engine.progress import counted
from gpwarehouse.errors import InvalidInputError

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
    console.print(f"{counted(len(changes), 'statement')} run" if changes else "nothing was to be done")


@roles.command()
def audit(as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False) -> None:
    """Tell who may what, and what differs from what should be; exit code 1 if something does."""
    with warehouse_named() as warehouse:
        found = warehouse.schema.roles.audit()
    if as_json:
        sys.stdout.write(json.dumps(asdict(found), indent=2, default=str) + "\n")
    else:
        rows = [
            (one.name, one.may, one.through, "yes" if one.can_login else "no", str(one.expires or ""))
            for one in found.access
        ]
        console.print(make_table(("role", "may", "through", "logs in", "expires"), rows))
        differences = [(one.object, one.expected, one.found, one.statement) for one in found.differences]
        if differences:
            console.print(make_table(("object", "expected", "found", "statement"), differences))
        else:
            console.print("nothing differs from what should be")
    raise typer.Exit(1 if found.differences else 0)


@roles.command()
def remove_login(name: Annotated[str, typer.Argument(help="The login.")]) -> None:
    """Remove a login, once nobody is connected by it: the last step of giving a service a new one."""
    with warehouse_named() as warehouse:
        warehouse.schema.roles.remove_login(name)
    say(f"{name} is removed")


@roles.command()
def login(
    name: Annotated[str, typer.Argument(help="The login, which may be there.")],
    role: Annotated[str, typer.Option(help="reader, loader or admin.")] = "reader",
    password_file: Annotated[
        Path | None, typer.Option(help="A file that holds the password; without one it is asked for.")
    ] = None,
) -> None:
    """Make a login that is a member of one role only, as the service needs one for each role of its callers.

    An empty answer to the prompt leaves the password as it is: for logins that have one, or need none.
    """
    password = _ask_password() if password_file is None else _read_password(password_file)
    with warehouse_named() as warehouse:
        warehouse.schema.roles.add_login(name, role, password=password)  # type: ignore[arg-type]  # it is checked there
    say(f"{name} may log in, with the role {role}")


def _ask_password() -> str | None:
    answer = typer.prompt("Password", default="", show_default=False, hide_input=True, confirmation_prompt=True)
    return str(answer) or None


def _read_password(file: Path) -> str:
    password = file.read_text(encoding="utf-8").rstrip("\r\n")
    if not password:
        raise InvalidInputError(f"{file} is empty; write the password into it")
    return password
