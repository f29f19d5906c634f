"""Alembic's commands from Python, with our settings and our errors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from io import StringIO
from typing import Any

from alembic import command
from alembic.util import CommandError
from sqlalchemy import exc
from sqlalchemy.engine import Connection

from gpwarehouse.engine import create_migration_engine
from gpwarehouse.engine.progress import Announce
from gpwarehouse.errors import MigrationError
from gpwarehouse.migrate import history
from gpwarehouse.migrate.lock import lock_every_transaction, one_migrator, one_thread_in_alembic
from gpwarehouse.migrate.plan import PlannedStep
from gpwarehouse.migrate.run import explained
from gpwarehouse.migrate.scripts import Chain, alembic_config
from gpwarehouse.settings import WarehouseSettings

__all__ = [
    "accept_edit",
    "advice",
    "check",
    "current",
    "downgrade",
    "downgrade_plan",
    "head",
    "migrations",
    "offline_sql",
    "require_current",
    "upgrade",
    "upgrade_plan",
]


def head(settings: WarehouseSettings | None = None) -> str:
    """The revision that the models of this package and the fab's own scripts stand for; several with commas between."""
    return ", ".join(Chain.of(settings).heads)


def current(settings: WarehouseSettings) -> str | None:
    """The revision the database is at, or None before the first; several with commas between."""
    chain = Chain.of(settings)
    return ", ".join(chain.tops(_heads(settings))) or None


def _heads(settings: WarehouseSettings) -> tuple[str, ...]:
    with _connect(settings) as connection:
        return history.database_heads(connection, settings)


@contextmanager
def _connect(settings: WarehouseSettings) -> Iterator[Connection]:
    engine = create_migration_engine(settings)
    try:
        with engine.connect() as connection:
            yield connection
    except exc.DBAPIError as error:
        raise explained(error, settings) from error


def migrations(settings: WarehouseSettings) -> list[history.Migration]:
    """All revisions in their order, each applied, pending, edited or missing."""
    with _connect(settings) as connection:
        return history.migrations_of(connection, settings, Chain.of(settings))


def advice(settings: WarehouseSettings, found: Iterable[history.Migration]) -> str | None:
    """Say what to do next if the database and this package's scripts differ; None if they do not.

    :param found: from :func:`migrations`.
    """
    names: dict[str, list[str]] = {}
    for one in found:
        names.setdefault(one.state, []).append(one.revision)
    if missing := names.get("missing"):
        return history.told_missing(missing, Chain.of(settings), settings)
    if edited := names.get("edited"):
        return (
            f"revision {', '.join(edited)} was edited after it was applied: take the edit back, or gpwarehouse "
            f'schema accept-edit {edited[0]} --reason "…"'
        )
    if pending := names.get("pending"):
        return f"the schema is not at this package's revision, {', '.join(pending)} is pending: gpwarehouse upgrade"
    return None


def require_current(settings: WarehouseSettings) -> None:
    """Make sure that the database is at this package's head, and not beyond, and that no data change is half done.

    While batches run, rows that come into one that is done would miss the change; the first that is committed is seen here.

    :raises MigrationError: it is not; the message names both, and the way out.
    """
    chain = Chain.of(settings)
    with _connect(settings) as connection:
        heads = history.database_heads(connection, settings)
        history.refuse_missing(heads, chain, settings)
        history.refuse_half_changed(connection, settings)
    if chain.applied(heads) != chain.scripts.keys():
        at = ", ".join(chain.tops(heads)) or "none"
        raise MigrationError(
            f"schema {settings.schema_name!r} is at revision {at}, this package writes {', '.join(chain.heads)}; "
            "run wh.upgrade() (or `gpwarehouse upgrade`), or install the package that belongs to the database"
        )


def upgrade(settings: WarehouseSettings, revision: str = "head", *, progress: Announce | None = None) -> None:
    """Bring the schema up to ``revision``. A change of data in batches that was interrupted is finished first.

    :param progress: takes a line on each revision and batch.
    :raises MigrationError: a revision failed; nothing of it remains, those before it stay applied.
    """
    chain = Chain.of(settings)
    target = chain.target(revision)
    for half in _interrupted(settings, "downgrade"):
        _command(command.downgrade, settings, _below(chain, half), progress=progress)
    _command(command.upgrade, settings, target, progress=progress)


def upgrade_plan(settings: WarehouseSettings, revision: str = "head") -> list[PlannedStep]:
    """Return what :func:`upgrade` would run now; nothing is changed."""
    plan: list[PlannedStep] = []
    _command(command.upgrade, settings, Chain.of(settings).target(revision), plan=plan)
    return plan


def downgrade(
    settings: WarehouseSettings, revision: str, *, drop_data: bool = False, progress: Announce | None = None
) -> None:
    """Take the schema back to ``revision``; ``"base"`` drops all tables of the chain.

    :param drop_data: whether tables and columns that hold data may be dropped.
    :raises MigrationError: data would be dropped, or a revision failed; nothing of its reversal remains.
    """
    for half in _interrupted(settings, "upgrade"):
        _command(command.upgrade, settings, half, progress=progress)
    _command(command.downgrade, settings, revision, drop_data=drop_data, progress=progress)


def _interrupted(settings: WarehouseSettings, direction: str) -> list[str]:
    """Revisions whose change of data in batches was interrupted on the way in that direction: they are finished first.

    Read under the lock: what a migration that runs now has begun is not interrupted.
    """
    engine = create_migration_engine(settings)
    try:
        with one_migrator(engine, settings), engine.connect() as connection:
            return [name for name, way in history.interrupted(connection, settings) if way == direction]
    except exc.DBAPIError as error:
        raise explained(error, settings) from error


def _below(chain: Chain, revision: str) -> str:
    down = chain.scripts[revision].down_revision if revision in chain.scripts else None
    return down if isinstance(down, str) else f"{revision}@base"


def downgrade_plan(settings: WarehouseSettings, revision: str) -> list[PlannedStep]:
    """Return what :func:`downgrade` would run now, and the rows it would drop; nothing is changed."""
    plan: list[PlannedStep] = []
    _command(command.downgrade, settings, revision, plan=plan)
    return plan


def check(settings: WarehouseSettings) -> None:
    """Compare the live schema with the models, as ``alembic check``.

    :raises MigrationError: naming the differences.
    """
    _command(command.check, settings)


def accept_edit(settings: WarehouseSettings, revision: str, reason: str) -> None:
    """Accept that the script of an applied revision was edited, and record why.

    :raises MigrationError: it is not edited, or no reason is given.
    """
    chain = Chain.of(settings)
    engine = create_migration_engine(settings)
    try:
        with one_migrator(engine, settings), engine.connect() as connection:
            lock_every_transaction(connection, settings)
            with connection.begin():
                history.prepare_database(connection, settings)
                history.accept(connection, settings, chain, revision, reason)
    except exc.DBAPIError as error:
        raise explained(error, settings) from error


def offline_sql(settings: WarehouseSettings, revision: str | None = None, *, direction: str = "upgrade") -> str:
    """The SQL of the history for the server that ``settings.server`` names.

    :param revision: where to come to: by default head, down to base. ``from:to`` begins elsewhere than at the other end.
    :raises MigrationError: the server is not named, or a script needs the database.
    """
    buffer = StringIO()
    chain = Chain.of(settings)
    if direction == "upgrade":
        asked = revision or "head"
        _command(command.upgrade, settings, chain.target(asked), sql=True, output=buffer)
        return buffer.getvalue()
    asked = revision or "base"
    if ":" not in asked:
        if len(chain.heads) > 1:
            raise MigrationError(
                f"several revisions are the newest ({', '.join(chain.heads)}); name the start: FROM:{asked}"
            )
        asked = f"{chain.heads[0]}:{asked}"
    _command(command.downgrade, settings, asked, sql=True, output=buffer)
    return buffer.getvalue()


def _command(
    run: Callable[..., Any],
    settings: WarehouseSettings,
    *args: Any,
    sql: bool = False,
    output: StringIO | None = None,
    **attributes: Any,
) -> None:
    config = alembic_config(settings, output)
    config.attributes["command"] = run.__name__
    config.attributes.update(attributes)
    try:
        with one_thread_in_alembic(settings):
            run(config, *args, **({"sql": True} if sql else {}))
    except CommandError as error:
        raise MigrationError(_hint(str(error))) from error


def _hint(message: str) -> str:
    """Alembic's message, with the way out where it names none."""
    if "not a valid downgrade target" in message:
        return (
            f"{message}: the revisions above it do not follow it, they depend on it. Take back your own by site@base, "
            "a single one by site@-1, all by base"
        )
    if "Relative revision" in message or "Ambiguous walk" in message:
        return f"{message}; with several lines of revisions say which: site@-1"
    return message
