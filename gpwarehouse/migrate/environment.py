"""The environment that every Alembic command runs in, plain ``alembic`` and our own alike.

Migrations run on a connection of their own, each revision in a transaction of its own, one migrator at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext, MigrationInfo
from alembic.util import CommandError
from sqlalchemy import exc, inspect
from sqlalchemy.engine import Connection
from sqlalchemy.schema import CreateSchema, CreateTable

from gpwarehouse.engine import create_migration_engine
from gpwarehouse.errors import GpwarehouseError, SettingsError
from gpwarehouse.migrate import history
from gpwarehouse.migrate.batched_changes import refuse_lost_operations
from gpwarehouse.migrate.lock import lock_every_transaction, one_migrator
from gpwarehouse.migrate.metadata import compared, target_metadata
from gpwarehouse.migrate.operations import register_operations
from gpwarehouse.migrate.placement import placing
from gpwarehouse.migrate.plan import planned, refuse_to_lose
from gpwarehouse.migrate.run import Run, explained
from gpwarehouse.migrate.scripts import Chain, places_advice, revision_checksum, script_location, site_folder
from gpwarehouse.models import migration_history_table
from gpwarehouse.settings import WarehouseSettings

__all__ = ["run_environment"]

_CHANGING = ("upgrade", "downgrade", "stamp")
_X = {"server": "server", "schema": "schema_name", "url": "url"}


def run_environment(context: Any) -> None:
    """Called by ``alembic/env.py``: configure the context and run, online or offline.

    :raises GpwarehouseError: what went wrong; under plain ``alembic`` a CommandError with the same message, which it
        prints without a traceback.
    """
    settings: WarehouseSettings | None = None
    register_operations()
    try:
        settings = _settings_for(context)
        if context.is_offline_mode():
            _run_offline(context, settings)
        else:
            _run_online(context, settings)
    except (GpwarehouseError, exc.DBAPIError) as error:
        told = explained(error, settings) if isinstance(error, exc.DBAPIError) and settings else error
        if context.config.attributes.get("settings") is None:
            raise CommandError(str(told)) from None
        if told is error:
            raise
        raise told from error


def _settings_for(context: Any) -> WarehouseSettings:
    given: WarehouseSettings | None = context.config.attributes.get("settings")
    if given is not None:
        return given
    asked = context.get_x_argument(as_dictionary=True)
    unknown = set(asked) - {*_X, "drop-data"}
    if unknown:
        raise SettingsError(f"-x {', '.join(sorted(unknown))}: allowed are {'=, '.join(_X)}=, drop-data=yes")
    if asked.get("drop-data", "yes") != "yes":
        raise SettingsError(f"-x drop-data={asked['drop-data']}: allowed is yes; leave it out to keep the data")
    context.config.attributes["drop_data"] = "drop-data" in asked
    settings = WarehouseSettings(**{_X[key]: value for key, value in asked.items() if key in _X})
    _check_locations(context, settings)
    return settings


def _check_locations(context: Any, settings: WarehouseSettings) -> None:
    """Plain ``alembic`` reads the places of scripts from its ini file before it comes here."""
    folder = site_folder(settings)
    places = [Path(place).resolve() for place in context.script._version_locations]
    if script_location().resolve() / "versions" not in places:
        raise SettingsError(f"alembic.ini does not name the revisions of gpwarehouse. {places_advice(folder)}")
    if folder is not None and folder.resolve() not in places:
        raise SettingsError(
            f"GPWAREHOUSE_MIGRATIONS = {str(folder)!r}, but alembic.ini does not name that folder. {places_advice(folder)}"
        )


def configuration(context: EnvironmentContext, settings: WarehouseSettings) -> dict[str, Any]:
    """The options of Alembic's context."""
    targets = target_metadata(settings)
    return {
        "target_metadata": targets,
        "version_table_schema": settings.schema_name,
        "include_schemas": True,
        "transaction_per_migration": True,
        "compare_type": True,
        "compare_server_default": True,
        "on_version_apply": _record_applied,
        "gpwarehouse_schema": settings.schema_name,
        "process_revision_directives": placing(context.config, settings, _command_name(context)),
        **compared(settings, targets, _command_name(context)),
    }


def _run_offline(context: EnvironmentContext, settings: WarehouseSettings) -> None:
    server = settings.offline_server()
    if server is None:
        raise SettingsError(
            "offline SQL differs by server: name it by GPWAREHOUSE_SERVER, --server or -x server= "
            "(greenplum6, greenplum7, cloudberry, postgresql)"
        )
    context.configure(
        url="greenplum+psycopg2://",
        dialect_opts={"server": server, "paramstyle": "named"},
        literal_binds=True,
        **configuration(context, settings),
    )
    migration = context.get_context()
    with context.begin_transaction():
        migration.impl._exec(CreateSchema(settings.schema_name, if_not_exists=True))
        migration.impl._exec(CreateTable(migration_history_table(settings.schema_name), if_not_exists=True))
        context.run_migrations()


def _run_online(context: EnvironmentContext, settings: WarehouseSettings) -> None:
    engine = create_migration_engine(settings)
    name = _command_name(context)
    asked_for_plan = context.config.attributes.get("plan") is not None
    if asked_for_plan or name not in _CHANGING:
        with engine.connect() as connection:
            if name == "check" and not inspect(connection).has_schema(settings.schema_name):
                raise CommandError(
                    f"there is no schema {settings.schema_name!r}: the database is not up to date; upgrade it"
                )
            if asked_for_plan:
                _plan(context, connection, settings)
            else:
                _configure(context, connection, settings)
                with context.begin_transaction():
                    context.run_migrations()
        return
    with ExitStack() as stack:
        lock = stack.enter_context(one_migrator(engine, settings))
        connection = stack.enter_context(engine.connect())
        lock_every_transaction(connection, settings)
        with connection.begin():
            history.prepare_database(connection, settings)
        attributes = context.config.attributes
        drop_data = bool(attributes.get("drop_data"))
        run = Run(engine, connection, settings, lock, drop_data=drop_data, progress=attributes.get("progress"))
        _migrate(context, connection, settings, run)


def _configure(
    context: EnvironmentContext, connection: Connection, settings: WarehouseSettings, **more: Any
) -> MigrationContext:
    context.configure(connection=connection, **configuration(context, settings), **more)
    return context.get_context()


def _migrate(context: EnvironmentContext, connection: Connection, settings: WarehouseSettings, run: Run) -> None:
    migration = _configure(context, connection, settings, gpwarehouse_run=run)
    steps = migration._migrations_fn  # Alembic has no other way to see its steps
    if _command_name(context) != "stamp":  # which is how one gets out of what is refused
        with connection.begin():
            found = _checked_steps(connection, settings, migration, context)
            history.refuse_interrupted(connection, settings, found)
            if not run.drop_data:
                refuse_to_lose(connection, settings, found)
    migration._migrations_fn = lambda heads, this: run.steps(steps(heads, this))  # type: ignore[misc]
    try:
        with context.begin_transaction():
            context.run_migrations()
    except CommandError:
        raise
    except Exception as error:
        told = run.failure(error)
        if told is error:
            raise
        raise told from error


def _checked_steps(
    connection: Connection, settings: WarehouseSettings, migration: MigrationContext, context: EnvironmentContext
) -> list[Any]:
    """Return what would run now; refused if the database and the scripts do not belong together."""
    chain = Chain(context.config)
    heads = migration.get_current_heads()
    history.refuse_missing(heads, chain, settings)
    history.refuse_edited(connection, settings, chain, heads)
    steps: Callable[..., Iterable[Any]] | None = migration._migrations_fn
    return [] if steps is None else list(steps(heads, migration))


def _plan(context: EnvironmentContext, connection: Connection, settings: WarehouseSettings) -> None:
    """Say what would run, into the list that the caller has given, and run nothing."""
    migration = _configure(context, connection, settings)
    steps = _checked_steps(connection, settings, migration, context)
    context.config.attributes["plan"].extend(planned(connection, settings, steps))


def _command_name(context: EnvironmentContext) -> str | None:
    """Alembic's name of the command that runs: some change the database, ``check`` and ``current`` only look."""
    command_line = getattr(context.config.cmd_opts, "cmd", None)
    name: str | None = command_line[0].__name__ if command_line else context.config.attributes.get("command")
    return name


def _record_applied(ctx: MigrationContext, step: MigrationInfo, **_: Any) -> None:
    """Leave a row for each applied or reverted revision, in the migration's own transaction, right before its COMMIT."""
    schema = ctx.opts["gpwarehouse_schema"]
    run: Run | None = ctx.opts.get("gpwarehouse_run")
    if step.is_stamp:
        _record_stamped(ctx, step, schema)
    elif step.up_revision_id is not None:
        direction = "upgrade" if step.is_upgrade else "downgrade"
        if run is not None and ctx.connection is not None:
            refuse_lost_operations(ctx.connection, run)
        note = None if run is None else run.finish_batches(ctx.impl)
        ctx.impl._exec(history.row(schema, step.up_revision_id, direction, _checksum(step), note))
    if run is not None:
        run.lock.verify()
        run.ending = True


def _checksum(step: MigrationInfo) -> str:
    script: Any = step.up_revision
    return revision_checksum(Path(script.path))


def _record_stamped(ctx: MigrationContext, step: MigrationInfo, schema: str) -> None:
    """A stamp may jump over several revisions; each is noted with the script that is taken to have run."""
    if ctx.config is None:
        return
    chain = Chain(ctx.config)
    upper, lower = chain.applied(step.up_revision_ids), chain.applied(step.down_revision_ids)
    direction = "stamp" if step.is_upgrade else "downgrade"
    for revision in (name for name in chain.scripts if name in upper - lower):
        ctx.impl._exec(history.forget_batches(schema, revision))
        ctx.impl._exec(history.row(schema, revision, direction, chain.checksum(revision), "stamped: nothing ran"))
