"""``etl_migration_history``: what ran, and whether it is what the scripts say now.

The table stands outside the revision chain, as ``alembic_version`` does: a downgrade to base keeps its trace. Its rows,
by ``direction``: ``upgrade`` and ``downgrade`` (written in the migration's own transaction), ``stamp`` (``alembic stamp``:
nothing ran), ``accept`` (an edited script was accepted; ``note`` says why).

``part_of`` marks what is not ended: ``upgrade`` or ``downgrade`` (a finished part of a data change, see ``op.run_batched``), or
``restore`` (``revision`` is the id of the backup). Packages before revision 0004 read it from ``direction`` instead, so these
rows have ``upgrade batch``, ``downgrade batch`` or ``restore batch`` there: a downgrade leaves them what they understand.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

from alembic.runtime.migration import MigrationContext
from sqlalchemy import (
    Table,
    and_,
    case,
    delete,
    func,
    insert,
    inspect,
    literal,
    literal_column,
    select,
    table,
    text,
    union_all,
    update,
)
from sqlalchemy.engine import Connection
from sqlalchemy.schema import CreateSchema, CreateTable, SetColumnComment

from gpwarehouse.engine import qualified_name
from gpwarehouse.errors import MigrationError
from gpwarehouse.migrate.scripts import Chain
from gpwarehouse.models import migration_history_table
from gpwarehouse.settings import WarehouseSettings
from gpwarehouse.version import __version__

__all__ = [
    "HISTORY_TABLE",
    "RESTORE",
    "Migration",
    "accept",
    "database_heads",
    "forget_batches",
    "interrupted",
    "migrations_of",
    "part_row",
    "position",
    "prepare_database",
    "refuse_edited",
    "refuse_half_changed",
    "refuse_interrupted",
    "refuse_missing",
    "row",
]

HISTORY_TABLE = "etl_migration_history"
RESTORE = "restore"
"""What the mark of a restore that is not ended is part of."""
_OLDER = {f"{way} batch": way for way in ("upgrade", "downgrade", RESTORE)}
"""``direction`` of a part → what it is part of, for rows that packages before revision 0004 wrote."""
_MADE = ("upgrade", "stamp", "accept")


@dataclass(frozen=True)
class Migration:
    """A revision, and where this database stands with it.

    :ivar state: ``applied``; ``pending``; ``edited``: applied, and its script changed since; ``missing``: applied by the
        database's account, and this package has no script of it.
    :ivar applied_at: when it was applied last, UTC; ``seconds``: how long that took, s.
    :ivar note: why an edit was accepted.
    :ivar interrupted: ``upgrade`` or ``downgrade`` where its change of data in batches was begun and not ended.
    """

    revision: str
    state: Literal["applied", "pending", "edited", "missing"]
    description: str
    applied_at: datetime | None = None
    applied_by: str | None = None
    seconds: float | None = None
    package_version: str | None = None
    note: str | None = None
    interrupted: str | None = None


@dataclass(frozen=True)
class _Trace:
    """The last entry of the history for a revision that it counts as applied."""

    checksum: str
    row: Any
    note: str | None


def prepare_database(connection: Connection, settings: WarehouseSettings) -> None:
    """Make what stands outside the revision chain, where it is missing: the schema, the history, its newer columns.

    IF NOT EXISTS would not do: it wants the right to create a schema even where a DBA has made it beforehand. Packages
    older than a column name the columns that they write, so they go on working beside it.

    :raises MigrationError: the database's encoding is not UTF-8, which durable keys hash.
    """
    encoding = connection.execute(text("SHOW server_encoding")).scalar_one()
    if encoding != "UTF8":
        raise MigrationError(
            f"the database's encoding is {encoding}, but durable keys hash UTF-8; create a database with ENCODING 'UTF8'"
        )
    there = inspect(connection)
    table = migration_history_table(settings.schema_name)
    if not there.has_schema(settings.schema_name):
        connection.execute(CreateSchema(settings.schema_name))
    if not there.has_table(HISTORY_TABLE, settings.schema_name):
        connection.execute(CreateTable(table))
        return
    found = {column["name"] for column in there.get_columns(HISTORY_TABLE, settings.schema_name)}
    missing = [column for column in table.columns if column.name not in found]
    for column in missing:
        kind = column.type.compile(connection.dialect)
        name = connection.dialect.identifier_preparer.quote(column.name)
        connection.execute(text(f"ALTER TABLE {qualified_name(connection, table)} ADD COLUMN {name} {kind}"))
    for column in table.columns if missing else ():  # what the others mean may have changed with it
        connection.execute(SetColumnComment(column))
    older = and_(table.c.part_of.is_(None), table.c.direction.in_(_OLDER))
    if connection.execute(select(table.c.revision).where(older).limit(1)).first() is not None:
        connection.execute(update(table).where(older).values(part_of=case(_OLDER, value=table.c.direction)))


def part_row(schema: str, revision: str, part_of: str, note: str) -> Any:
    """The INSERT of the row of a finished part.

    :param note: which part it is.
    """
    return row(schema, revision, f"{part_of} batch", "", note).values(part_of=part_of)


def row(schema: str, revision: str, direction: str, checksum: str, note: str | None = None) -> Any:
    """The INSERT of a row; literals, so that it can be written offline too."""
    values: dict[str, Any] = {
        "revision": literal(revision),
        "direction": literal(direction),
        "checksum": literal(checksum),
        "started_at": func.now(),
        "seconds": func.date_part("epoch", func.clock_timestamp() - func.now()),
        "applied_by": func.current_user(),
        "package_version": literal(__version__),
    }
    if note is not None:
        values["note"] = literal(note)
    return insert(migration_history_table(schema)).values(values)


def forget_batches(schema: str, revision: str) -> Any:
    """The DELETE of the entries by which the batches of a revision would resume."""
    table = migration_history_table(schema)
    return delete(table).where(table.c.revision == literal(revision), table.c.part_of.is_not(None))


def database_heads(connection: Connection, settings: WarehouseSettings) -> tuple[str, ...]:
    """Read the revisions in ``alembic_version``, sorted; none before the first migration."""
    context = MigrationContext.configure(connection, opts={"version_table_schema": settings.schema_name})
    return tuple(sorted(context.get_current_heads()))


def _read_traces(connection: Connection, settings: WarehouseSettings) -> dict[str, _Trace]:
    """Read the last application of each revision that was not reverted since; empty where there is no history."""
    there = inspect(connection)
    if not there.has_table(HISTORY_TABLE, settings.schema_name):
        return {}
    table: Table = migration_history_table(settings.schema_name)
    known = {column["name"] for column in there.get_columns(HISTORY_TABLE, settings.schema_name)}
    columns = [column for column in table.columns if column.name in known]  # a package before ours made it
    found: dict[str, _Trace] = {}
    for entry in connection.execute(select(*columns).order_by(table.c.started_at)):
        if entry.direction in _MADE:
            before = found.get(entry.revision)
            accepted = entry.direction == "accept" and before is not None
            note = getattr(entry, "note", None) if accepted else None
            found[entry.revision] = _Trace(entry.checksum, before.row if accepted and before else entry, note)
        elif entry.direction == "downgrade":
            found.pop(entry.revision, None)
    return found


def migrations_of(connection: Connection, settings: WarehouseSettings, chain: Chain) -> list[Migration]:
    """All revisions in their order, and where the database stands with each; the missing ones stand at the end.

    This package does not know what a missing revision stands on. If there is one, the history says what is applied.
    """
    heads = database_heads(connection, settings)
    traces = _read_traces(connection, settings)
    applied = chain.applied(heads)
    if set(heads) - chain.scripts.keys():
        applied |= traces.keys() & chain.scripts.keys()
    edited = set(_find_edited(chain, applied, traces))
    found: list[Migration] = []
    for name, script in chain.scripts.items():
        state: Literal["applied", "pending", "edited"]
        state = "edited" if name in edited else "applied" if name in applied else "pending"
        trace = traces.get(name) if name in applied else None
        found.append(_migration(name, state, script.doc or "", trace))
    strangers = {*heads, *traces} - chain.scripts.keys()
    found += [_migration(name, "missing", "", traces.get(name)) for name in sorted(strangers)]
    half = dict(interrupted(connection, settings))
    return [replace(one, interrupted=half.get(one.revision)) for one in found]


def _migration(name: str, state: Any, description: str, trace: _Trace | None) -> Migration:
    if trace is None:
        return Migration(name, state, description)
    ran = trace.row
    return Migration(
        name, state, description, ran.started_at, ran.applied_by, ran.seconds, ran.package_version, trace.note
    )


def _find_edited(chain: Chain, applied: Iterable[str], traces: dict[str, _Trace]) -> list[str]:
    """Find revisions whose script is not the one that ran. One that was stamped before there was a history counts as unedited."""
    return sorted(name for name in applied if name in traces and traces[name].checksum != chain.checksum(name))


def refuse_missing(heads: Iterable[str], chain: Chain, settings: WarehouseSettings) -> None:
    """Stop where the database is at a revision that no script here makes.

    :raises MigrationError: it names the revision, and the way out.
    """
    missing = sorted(set(heads) - chain.scripts.keys())
    if missing:
        raise MigrationError(told_missing(missing, chain, settings))


def told_missing(missing: Iterable[str], chain: Chain, settings: WarehouseSettings) -> str:
    """Say what to do about a database at revisions that no script here makes."""
    where = (
        f"or is its script gone from GPWAREHOUSE_MIGRATIONS = {str(settings.migrations)!r}? Bring it back"
        if settings.migrations is not None
        else "or is GPWAREHOUSE_MIGRATIONS not set, the folder of your own revisions? Set it"
    )
    return (
        f"schema {settings.schema_name!r} is at revision {', '.join(missing)}, for which this package (head "
        f"{', '.join(chain.heads)}) has no script. Did a newer gpwarehouse make it? Install that one; {where}"
    )


def refuse_edited(connection: Connection, settings: WarehouseSettings, chain: Chain, heads: Iterable[str]) -> None:
    """Stop where an applied script was edited afterwards.

    :raises MigrationError: it names the revision, and how an edit is accepted.
    """
    edited = _find_edited(chain, chain.applied(heads), _read_traces(connection, settings))
    if edited:
        raise MigrationError(
            f"revision {', '.join(edited)} was edited after it was applied to schema {settings.schema_name!r}, so the "
            "script no longer says what the database has. Take the edit back and write a new revision; or, if the edit "
            f'changes nothing that ran, accept it: gpwarehouse schema accept-edit {edited[0]} --reason "…"'
        )


def interrupted(connection: Connection, settings: WarehouseSettings) -> list[tuple[str, str]]:
    """Revision and direction of data changes in batches that a run began and did not end."""
    there = inspect(connection)
    if not there.has_table(HISTORY_TABLE, settings.schema_name):
        return []
    table = migration_history_table(settings.schema_name)
    part_of: Any = case(_OLDER, value=table.c.direction)
    if any(column["name"] == "part_of" for column in there.get_columns(HISTORY_TABLE, settings.schema_name)):
        part_of = func.coalesce(table.c.part_of, part_of)
    query = select(table.c.revision, part_of.label("part_of")).where(part_of.is_not(None)).distinct()
    return sorted((entry.revision, entry.part_of) for entry in connection.execute(query))


def position(connection: Connection, settings: WarehouseSettings) -> frozenset[tuple[str, str]]:
    """Where the database stands, in one question: its revisions, and those whose change of data in batches is not ended.

    What was found current is so as long as this stays the same.
    """
    history = migration_history_table(settings.schema_name)
    half = select(history.c.revision, history.c.part_of).where(history.c.part_of.is_not(None)).distinct()
    version = table("alembic_version", schema=settings.schema_name)
    at: Any = select(literal_column("version_num"), literal("at")).select_from(version)
    return frozenset((name, how) for name, how in connection.execute(union_all(at, half)))


def refuse_half_changed(connection: Connection, settings: WarehouseSettings) -> None:
    """Stop what would write rows while a data change in batches is not ended.

    :raises MigrationError: it names the revision, and the way out.
    """
    for revision, direction in interrupted(connection, settings):
        _refuse_half_restored(revision, direction, settings)
        raise MigrationError(
            f"the {direction} of revision {revision} changes data of schema {settings.schema_name!r} in batches and is not "
            "ended, so rows written now could miss the change: gpwarehouse upgrade must end first; if none runs, run it "
            "(or wh.upgrade()), it goes on where it stopped"
        )


def _refuse_half_restored(revision: str, direction: str, settings: WarehouseSettings) -> None:
    if direction == RESTORE:
        raise MigrationError(
            f"backup {revision} is being restored into schema {settings.schema_name!r}, or its restore was killed, so the schema "
            f"does not hold it whole: run gpwarehouse backup restore {revision} to its end; it goes on where it stopped"
        )


def refuse_interrupted(connection: Connection, settings: WarehouseSettings, steps: Iterable[Any]) -> None:
    """Stop where data was left half changed by an interrupted run, and these steps would not complete that first.

    :raises MigrationError: it names the revision, and the way out.
    """
    going = {(step.info.up_revision_id, "upgrade" if step.is_upgrade else "downgrade") for step in steps}
    for revision, direction in interrupted(connection, settings):
        _refuse_half_restored(revision, direction, settings)
        if (revision, direction) not in going:
            finish = f"upgrade {revision}" if direction == "upgrade" else f"downgrade to the one before {revision}"
            raise MigrationError(
                f"the {direction} of revision {revision} changes data in batches and was interrupted, so the data is half "
                f"changed: finish it first ({finish}; the gpwarehouse command and wh.upgrade() do so by themselves). If it "
                f"cannot be finished: alembic stamp {revision} marks it as applied, and its downgrade reverts it"
            )


def accept(connection: Connection, settings: WarehouseSettings, chain: Chain, revision: str, reason: str) -> None:
    """Record that the script of an applied revision is good as it is now.

    :raises MigrationError: no reason, or the revision is not an edited one.
    """
    if not reason.strip():
        raise MigrationError(f"revision {revision}: say why its edit is accepted (reason); it goes into the history")
    edited = _find_edited(
        chain, chain.applied(database_heads(connection, settings)), _read_traces(connection, settings)
    )
    if revision not in edited:
        raise MigrationError(
            f"revision {revision} is not edited, so there is nothing to accept; "
            + (f"edited: {', '.join(edited)}" if edited else "no applied revision is")
        )
    connection.execute(row(settings.schema_name, revision, "accept", chain.checksum(revision), reason.strip()))
