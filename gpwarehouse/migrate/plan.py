"""The plan of a command: its revisions, their statements on this server, what they rewrite and lose."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from io import StringIO
from typing import Any

from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from sqlalchemy.engine import Connection

from gpwarehouse.dialect import GreenplumDialect
from gpwarehouse.errors import MigrationError
from gpwarehouse.migrate.losses import Loss, losses, refusal, refuse_hidden
from gpwarehouse.migrate.sql_text import Drop, drops, rewrites, split
from gpwarehouse.settings import WarehouseSettings

__all__ = ["PlannedStep", "planned", "refuse_to_lose"]


@dataclass(frozen=True)
class PlannedStep:
    """A revision that would be applied or reverted.

    :ivar direction: ``upgrade`` or ``downgrade``.
    :ivar statements: its SQL for this server; empty where ``unknown`` says why it cannot be told beforehand.
    :ivar rewrites: statement → what it does to rows that are there, for those that take as long as there are many.
    :ivar drops: what it drops; ``losses``: those of them that hold data now.
    """

    revision: str
    direction: str
    description: str
    statements: tuple[str, ...]
    unknown: str | None
    rewrites: tuple[tuple[str, str], ...]
    drops: tuple[Drop, ...]
    losses: tuple[Loss, ...]


def planned(connection: Connection, settings: WarehouseSettings, steps: Iterable[Any]) -> list[PlannedStep]:
    """The plan of Alembic's steps; the database is read, for what would be lost, and not changed."""
    return [_plan_step(connection, settings, step) for step in steps]


def _plan_step(connection: Connection, settings: WarehouseSettings, step: Any) -> PlannedStep:
    direction = "upgrade" if step.is_upgrade else "downgrade"
    sql, unknown = _render(connection, settings, step)
    statements = tuple(
        statement.text for statement in split(sql, f"{direction} of revision {step.info.up_revision_id}")
    )
    found = drops(sql)
    slow = ((statement, rewrites(statement)) for statement in statements)
    return PlannedStep(
        revision=str(step.info.up_revision_id),
        direction=direction,
        description=step.doc or "",
        statements=statements,
        unknown=unknown,
        rewrites=tuple((statement, what) for statement, what in slow if what is not None),
        drops=tuple(found),
        losses=tuple(losses(connection, settings, found)) if direction == "downgrade" else (),
    )


def _render(connection: Connection, settings: WarehouseSettings, step: Any) -> tuple[str, str | None]:
    """The SQL of a step as ``--sql`` would write it for the server at hand, and why there is none."""
    output = StringIO()
    opts = {
        "as_sql": True,
        "output_buffer": output,
        "literal_binds": True,
        "version_table_schema": settings.schema_name,
        "gpwarehouse_schema": settings.schema_name,
    }
    context = MigrationContext.configure(dialect=_offline_dialect(connection), opts=opts)
    try:
        with Operations.context(context):
            step.migration_fn()
    except MigrationError:  # ours: a file that is missing or cannot run, which it would not online either
        raise
    except Exception as error:  # a script may do anything; most likely it asks the database
        return "", f"its script does not run without the database ({type(error).__name__}: {error})"
    return output.getvalue(), None


def _offline_dialect(connection: Connection) -> GreenplumDialect:
    dialect = GreenplumDialect(paramstyle="named")
    live = connection.dialect
    assert isinstance(live, GreenplumDialect)
    assert live.server_info is not None
    dialect._adopt(live.server_info)
    return dialect


def refuse_to_lose(connection: Connection, settings: WarehouseSettings, steps: Iterable[Any]) -> None:
    """Stop before the first of several downgrades where any of them would drop data.

    A script whose statements cannot be told beforehand is watched while it runs (:class:`~gpwarehouse.migrate.run.Run`).

    :raises MigrationError: it names the tables and their rows.
    """
    plan = planned(connection, settings, [step for step in steps if not step.is_upgrade])
    for step in plan:
        for statement in step.statements:
            refuse_hidden(statement, f"downgrade of revision {step.revision}")
    lost = [loss for step in plan for loss in step.losses]
    if lost:
        revisions = ", ".join(step.revision for step in plan)
        raise MigrationError(refusal(lost, f"downgrade of revision {revisions}"))
