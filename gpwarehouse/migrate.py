"""Alembic driven from Python, and the environment that plain ``alembic`` commands run in: one and the same.

The scripts stand in ``alembic/`` of the source tree and travel in the wheel as ``gpwarehouse/_alembic``. The version
table and ``etl_migration_history`` live in the warehouse's schema, outside the revision chain: a downgrade to base
leaves both, and the schema.

Migrations run on a connection of their own, without a statement timeout, each revision in a transaction of its own,
one migrator at a time (advisory lock).
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from types import ModuleType
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext, MigrationInfo
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import MetaData, exc, func, insert, inspect, literal, text
from sqlalchemy.engine import Connection
from sqlalchemy.schema import CreateSchema, CreateTable

from gpwarehouse.engine import advisory_key, could_not_connect, create_migration_engine, explain_operational_error
from gpwarehouse.errors import GpwarehouseError, MigrationError, SettingsError
from gpwarehouse.models import Base, migration_history_table
from gpwarehouse.settings import WarehouseSettings
from gpwarehouse.version import __version__

__all__ = [
    "alembic_config",
    "check",
    "current",
    "downgrade",
    "head",
    "offline_sql",
    "revision_part",
    "run_environment",
    "script_location",
    "upgrade",
]

MIGRATION_LOCK = "migration"
HISTORY_TABLE = "etl_migration_history"


def script_location() -> Path:
    """Where the revisions are: inside the package when installed from a wheel, else beside it in the source tree."""
    package = Path(__file__).parent
    installed = package / "_alembic"
    return installed if (installed / "env.py").exists() else package.parent / "alembic"


def alembic_config(settings: WarehouseSettings | None = None, output: StringIO | None = None) -> Config:
    """An Alembic configuration for the warehouse of ``settings``; pass it to any ``alembic.command``.

    :param output: takes what Alembic would print; without it, nothing is printed.
    """
    config = Config(stdout=output or StringIO())
    config.output_buffer = config.stdout
    config.set_main_option("script_location", str(script_location()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["settings"] = settings
    config.attributes["configure_logging"] = False
    return config


def head() -> str:
    """The revision this package's models stand for."""
    found = ScriptDirectory.from_config(alembic_config()).get_current_head()
    if found is None:
        raise MigrationError(f"no revision found in {script_location()}; reinstall gpwarehouse")
    return found


def current(settings: WarehouseSettings) -> str | None:
    """The revision the database is at, or None before the first."""
    engine = create_migration_engine(settings)
    try:
        with engine.connect() as connection:
            context = MigrationContext.configure(connection, opts={"version_table_schema": settings.schema_name})
            return context.get_current_revision()
    except exc.DBAPIError as error:
        raise _explained(error, settings) from error


def upgrade(settings: WarehouseSettings, revision: str = "head") -> None:
    """Bring the schema up to ``revision``.

    :raises MigrationError: a revision failed; nothing of it remains, those before it stay applied.
    """
    _command(command.upgrade, settings, revision)


def downgrade(settings: WarehouseSettings, revision: str) -> None:
    """Take the schema back to ``revision``; ``"base"`` drops all tables of the chain, with their rows.

    :raises MigrationError: a revision failed; nothing of its reversal remains.
    """
    _command(command.downgrade, settings, revision)


def check(settings: WarehouseSettings) -> None:
    """Compare the live schema with the models, as ``alembic check``.

    :raises MigrationError: naming the differences.
    """
    _command(command.check, settings)


def offline_sql(settings: WarehouseSettings, *, direction: str = "upgrade") -> str:
    """The SQL of the whole history, up to head or down to base, for the server that ``settings.server`` names."""
    buffer = StringIO()
    config = alembic_config(settings, buffer)
    if direction == "upgrade":
        command.upgrade(config, "head", sql=True)
    else:
        command.downgrade(config, f"{head()}:base", sql=True)
    return buffer.getvalue()


def _command(run: Callable[..., Any], settings: WarehouseSettings, *args: Any) -> None:
    try:
        config = alembic_config(settings)
        config.attributes["command"] = run.__name__
        run(config, *args)
    except exc.DBAPIError as error:
        raise _explained(error, settings) from error
    except CommandError as error:
        raise MigrationError(str(error)) from error


def _explained(error: exc.DBAPIError, settings: WarehouseSettings) -> GpwarehouseError:
    if could_not_connect(error) or error.connection_invalidated:
        return explain_operational_error(error, settings)
    return MigrationError(_failure(error))


def _failure(error: exc.DBAPIError) -> str:
    statement = " ".join((error.statement or "").split())
    return f"the server refused a statement of the migration: {str(error.orig).strip()} — statement: {statement[:300]}"


def revision_part(script: str, name: str) -> ModuleType:
    """Load ``<script without .py>/<name>.py``: a long revision keeps its parts in a folder of its own name.

    They are loaded by path, because the folder of scripts is no package (it must not shadow Alembic's).
    """
    path = Path(script).with_suffix("") / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"gpwarehouse_revision_{path.parent.name}_{name}", path)
    if spec is None or spec.loader is None:
        raise MigrationError(f"{path} cannot be loaded; reinstall gpwarehouse")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def revision_checksum(script: Path) -> str:
    """SHA-256 of a revision's text and of the parts in the folder of its name; line ends do not count."""
    digest = hashlib.sha256()
    for path in (script, *sorted(script.with_suffix("").glob("*.py"))):
        digest.update(path.read_text(encoding="utf-8").encode())
    return digest.hexdigest()


# The environment of every Alembic command.


def run_environment(context: Any) -> None:
    """Called by ``alembic/env.py``: configure the context and run, online or offline."""
    try:
        settings = _settings_for(context)
    except SettingsError as error:
        raise CommandError(str(error)) from None  # which `alembic` prints without a traceback
    if context.is_offline_mode():
        _run_offline(context, settings)
    else:
        _run_online(context, settings)


def _settings_for(context: Any) -> WarehouseSettings:
    given: WarehouseSettings | None = context.config.attributes.get("settings")
    if given is not None:
        return given
    asked = context.get_x_argument(as_dictionary=True)
    unknown = set(asked) - {"server", "schema", "url"}
    if unknown:
        raise SettingsError(f"-x {', '.join(sorted(unknown))}: allowed are server=, schema=, url=")
    names = {"server": "server", "schema": "schema_name", "url": "url"}
    return WarehouseSettings(**{names[key]: value for key, value in asked.items()})


def _configuration(settings: WarehouseSettings) -> dict[str, Any]:
    schema = settings.schema_name

    def include_name(name: str | None, kind: str, _parents: Any) -> bool:
        if kind == "schema":
            return name == schema
        return not (kind == "table" and name == HISTORY_TABLE)

    return {
        "target_metadata": _metadata_in(schema),
        "version_table_schema": schema,
        "include_schemas": True,
        "include_name": include_name,
        "transaction_per_migration": True,
        "compare_type": True,
        "compare_server_default": True,
        "on_version_apply": _record_history,
        "gpwarehouse_schema": schema,
    }


def _metadata_in(schema: str) -> MetaData:
    if schema == Base.metadata.schema:
        return Base.metadata
    moved = MetaData(schema=schema, naming_convention=Base.metadata.naming_convention)
    for table in Base.metadata.sorted_tables:
        table.to_metadata(moved, schema=schema)
    return moved


def _run_offline(context: EnvironmentContext, settings: WarehouseSettings) -> None:
    server = settings.offline_server()
    if server is None:
        raise CommandError(
            "offline SQL differs by server: name it by GPWAREHOUSE_SERVER or -x server= "
            "(greenplum6, greenplum7, cloudberry, postgresql)"
        )
    context.configure(
        url="greenplum+psycopg2://",
        dialect_opts={"server": server, "paramstyle": "named"},
        literal_binds=True,
        **_configuration(settings),
    )
    migration = context.get_context()
    with context.begin_transaction():
        migration.impl._exec(CreateSchema(settings.schema_name, if_not_exists=True))
        migration.impl._exec(CreateTable(migration_history_table(settings.schema_name), if_not_exists=True))
        context.run_migrations()


def _run_online(context: EnvironmentContext, settings: WarehouseSettings) -> None:
    engine = create_migration_engine(settings)
    with engine.connect() as connection, _one_migrator(connection, settings):
        command_name = _command_name(context)
        with connection.begin():
            if command_name in ("upgrade", "downgrade", "stamp"):
                _prepare_database(connection, settings)
            elif command_name == "check" and not inspect(connection).has_schema(settings.schema_name):
                raise CommandError(
                    f"there is no schema {settings.schema_name!r}: the database is not up to date; upgrade it"
                )
        context.configure(connection=connection, **_configuration(settings))
        with context.begin_transaction():
            context.run_migrations()


def _command_name(context: EnvironmentContext) -> str | None:
    """Alembic's name of the command that runs: some change the database, ``check`` and ``current`` only look."""
    command_line = getattr(context.config.cmd_opts, "cmd", None)
    name: str | None = command_line[0].__name__ if command_line else context.config.attributes.get("command")
    return name


def _prepare_database(connection: Connection, settings: WarehouseSettings) -> None:
    """What stands outside the revision chain: the schema and the history; made only where missing.

    IF NOT EXISTS would not do: it wants the right to create a schema even where a DBA has made it beforehand.
    """
    encoding = connection.execute(text("SHOW server_encoding")).scalar_one()
    if encoding != "UTF8":
        raise MigrationError(
            f"the database's encoding is {encoding}, but durable keys hash UTF-8; create a database with ENCODING 'UTF8'"
        )
    there = inspect(connection)
    if not there.has_schema(settings.schema_name):
        connection.execute(CreateSchema(settings.schema_name))
    if not there.has_table(HISTORY_TABLE, settings.schema_name):
        connection.execute(CreateTable(migration_history_table(settings.schema_name)))


@contextmanager
def _one_migrator(connection: Connection, settings: WarehouseSettings) -> Iterator[None]:
    """Hold the migrators' lock of this schema; the others wait, up to ``lock_timeout``."""
    key = advisory_key(MIGRATION_LOCK, settings.schema_name)
    try:
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": key})
        connection.commit()
    except exc.OperationalError as error:
        raise MigrationError(
            f"another migration of schema {settings.schema_name!r} has been running for longer than "
            f"{settings.lock_timeout_s:g} s (GPWAREHOUSE_LOCK_TIMEOUT_S); wait for it to end and try again"
        ) from error
    try:
        yield
    finally:
        if not connection.invalidated:
            connection.rollback()
            connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": key})
            connection.commit()


def _record_history(ctx: MigrationContext, step: MigrationInfo, **_: Any) -> None:
    """Leave a row for each applied or reverted revision, in the migration's own transaction."""
    if step.is_stamp or step.up_revision_id is None:
        return
    table = migration_history_table(ctx.opts["gpwarehouse_schema"])
    revision = step.up_revision
    path = None if revision is None else Path(revision.path)  # type: ignore[attr-defined]
    ctx.impl._exec(
        insert(table).values(
            revision=literal(step.up_revision_id),
            direction=literal("upgrade" if step.is_upgrade else "downgrade"),
            checksum=literal(revision_checksum(path) if path is not None else ""),
            started_at=func.now(),
            seconds=func.date_part("epoch", func.clock_timestamp() - func.now()),
            applied_by=func.current_user(),
            package_version=literal(__version__),
        )
    )
