"""The schema: bring it up, take it back, look at it, write revisions."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from gpwarehouse.cli.app import app, console, errors, group, say, warehouse_named
from gpwarehouse.cli.tables import make_table
from gpwarehouse.cli.wording import in_commands
from gpwarehouse.engine.progress import counted
from gpwarehouse.errors import InvalidInputError
from gpwarehouse.models.diagram import mermaid
from gpwarehouse.settings import WarehouseSettings
from gpwarehouse.warehouse import Warehouse, rooms

if TYPE_CHECKING:
    from gpwarehouse.migrate import PlannedStep

_Plan = Annotated[bool, typer.Option("--plan", help="Print what would run, and run nothing.")]
_Sql = Annotated[bool, typer.Option("--sql", help="Print the SQL and connect nowhere; --server names the server.")]
_Server = Annotated[
    str | None,
    typer.Option(help="For --sql: postgresql, greenplum6, greenplum7 or cloudberry; else GPWAREHOUSE_SERVER."),
]


schema = group("schema", "The schema: validate it, write revisions, draw it.")


@app.command()
def upgrade(
    revision: Annotated[str, typer.Argument(help="Revision to come to.")] = "head",
    plan: _Plan = False,
    sql: _Sql = False,
    server: _Server = None,
) -> None:
    """Bring the schema up to a revision."""
    _one_of(plan, sql)
    with warehouse_named() as warehouse:
        if sql:
            _print_sql(warehouse, revision, "upgrade", server)
        elif plan:
            _print_plan(warehouse.schema.plan(revision), statements=True)
        else:
            warehouse.upgrade(revision, progress=say)
            _print_where(warehouse)


@app.command(context_settings={"ignore_unknown_options": True})  # -1 is a revision
def downgrade(
    revision: Annotated[str, typer.Argument(help="Revision to come back to; base drops every table of ours.")],
    plan: _Plan = False,
    yes_drop_data: Annotated[bool, typer.Option("--yes-drop-data", help="Drop what holds data, too.")] = False,
    sql: _Sql = False,
    server: _Server = None,
) -> None:
    """Take the schema back to a revision; shows what that drops, and refuses to drop data unless told to."""
    _one_of(plan, sql)
    with warehouse_named() as warehouse:
        if sql:
            _print_sql(warehouse, revision, "downgrade", server)
            return
        _print_plan(warehouse.schema.plan_downgrade(revision), statements=plan)
        if not plan:
            warehouse.downgrade(revision, drop_data=yes_drop_data, progress=say)
            _print_where(warehouse)


def _one_of(plan: bool, sql: bool) -> None:
    if plan and sql:
        raise InvalidInputError(
            "give --plan or --sql, not both: a plan asks the database what would run there, --sql writes all without it"
        )


def _print_sql(warehouse: Warehouse, revision: str, direction: str, server: str | None) -> None:
    settings = warehouse.settings
    if server is not None:
        given = {name: getattr(settings, name) for name in settings.model_fields_set}
        settings = WarehouseSettings(**{**given, "server": server, "_env_file": None})
    sys.stdout.write(rooms.migrate.offline_sql(settings, revision, direction=direction))


def _print_plan(steps: list[PlannedStep], *, statements: bool) -> None:
    if not steps:
        say("nothing to do")
    for step in steps:
        count = step.unknown or counted(len(step.statements), "statement")
        say(f"{step.direction} {step.revision}: {step.description} ({count})")
        lost = {loss.drop: loss for loss in step.losses}
        for drop in step.drops:
            say(f"  drops {lost.get(drop, drop)}")
        for loss in step.losses:
            if loss.drop not in step.drops:  # a table of a schema that goes
                say(f"  drops {loss}")
        for statement, what in step.rewrites:
            say(f"  {what}: {' '.join(statement.split())[:100]}")
        for statement in step.statements if statements else ():
            say(f"\n{statement};")


def _print_where(warehouse: Warehouse) -> None:
    now = warehouse.status()
    say(f"schema {now.schema} on {now.server} is at revision {now.revision or 'none'}")


@app.command()
def status() -> None:
    """Server, revisions and batches; exit code 1 where the schema is not at this package's revision."""
    with warehouse_named() as warehouse:
        now = warehouse.status()
        found = warehouse.schema.revisions()
    say(f"server    {now.server}")
    say(f"schema    {now.schema}, revision {now.revision or 'none'} (this package: {now.head})")
    for one in found:
        when = f", {one.applied_at:%Y-%m-%d %H:%M} UTC by {one.applied_by}" if one.applied_at else ""
        accepted = f" (edit accepted: {one.note})" if one.note else ""
        half = f", its {one.interrupted} was interrupted" if one.interrupted else ""
        say(f"revision  {one.revision:<14} {one.state}{half}{when}{accepted}  {one.description}".rstrip())
    deleted = f", {now.batches_deleted} deleted" if now.batches_deleted else ""
    say(
        f"batches   {now.batches_loaded} loaded ({counted(now.rows_loaded, 'row')}), {now.batches_failed} failed{deleted}"
    )
    if told := rooms.migrate.advice(warehouse.settings, found):
        say(in_commands(told), to=errors)
        raise typer.Exit(1)


@schema.command()
def accept_edit(
    revision: Annotated[str, typer.Argument(help="Revision whose script was edited after it was applied.")],
    reason: Annotated[str, typer.Option(help="Why that is right; it is recorded.")],
) -> None:
    """Accept that the script of an applied revision was edited."""
    with warehouse_named() as warehouse:
        warehouse.schema.accept_edit(revision, reason=reason)
    say(f"the edit of revision {revision} is accepted and recorded")


@schema.command()
def revision(
    message: Annotated[str, typer.Option("-m", "--message", help="What it does, in a few words.")],
    autogenerate: Annotated[
        bool, typer.Option("--autogenerate", help="Fill it with what database and models differ in.")
    ] = False,
    sql: Annotated[bool, typer.Option("--sql", help="Write up.sql and down.sql, to be filled.")] = False,
) -> None:
    """Write a new revision of your own into the folder of GPWAREHOUSE_MIGRATIONS."""
    with warehouse_named() as warehouse:
        for path in rooms.migrate.create_revision(warehouse.settings, message, autogenerate=autogenerate, sql=sql):
            say(str(path))


@schema.command()
def diagram() -> None:
    """Print the star schema as a Mermaid ER diagram."""
    sys.stdout.write(mermaid())


@schema.command()
def validate(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    roles: Annotated[
        bool | None, typer.Option("--roles/--no-roles", help="Compare rights; else where a role has any.")
    ] = None,
) -> None:
    """Compare the database with the models, changing nothing; exit code 1 where they differ."""
    with warehouse_named() as warehouse:
        findings = warehouse.schema.validate(roles=roles)
    if as_json:
        sys.stdout.write(json.dumps([asdict(finding) for finding in findings], indent=2) + "\n")
    elif findings:
        rows = [(one.kind, one.object, one.expected, one.found, in_commands(one.remedy)) for one in findings]
        console.print(make_table(("kind", "object", "expected", "found", "way out"), rows))
    else:
        console.print("the schema is as the models say")
    if findings:
        raise typer.Exit(1)
