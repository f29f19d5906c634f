"""What must hold before a backup is restored, and what is told of rows that come alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.engine import Connection

from gpwarehouse.backup.manifest import Entry, Manifest
from gpwarehouse.backup.snapshot import Unit
from gpwarehouse.engine import qualified_name
from gpwarehouse.errors import BackupError, InvalidInputError
from gpwarehouse.migrate.history import HISTORY_TABLE, database_heads
from gpwarehouse.models import Base, BridgeParameterSet, DimTime, EtlLoadBatch, reserved_members
from gpwarehouse.settings import WarehouseSettings

__all__ = ["check_columns", "check_empty", "check_revision", "chosen_entries", "holds_own_rows", "unknown_to_others"]


_NAMED_ELSEWHERE = (
    ("batch_id", EtlLoadBatch.__tablename__, "batches"),
    ("parameter_set_key", BridgeParameterSet.__tablename__, "lists of parameters"),
)
"""Column of a fact, the table that tells more of it, and what it names."""


def chosen_entries(
    manifest: Manifest, tables: Sequence[str] | None, months: Sequence[datetime] | None
) -> tuple[Entry, ...]:
    """The entries of these tables and months; without either all.

    :raises InvalidInputError: the backup has no such table, or no such month of them.
    """
    known = {entry.table for entry in manifest.entries}
    for name in tables or ():
        if name not in known:
            raise InvalidInputError(f"backup {manifest.id} has no table {name!r}; it has {', '.join(sorted(known))}")
    found = [entry for entry in manifest.entries if tables is None or entry.table in tables]
    if months is None:
        return tuple(found)
    starts = {moment: [e for e in found if e.start and datetime.fromisoformat(e.start) == moment] for moment in months}
    for moment, entries in starts.items():
        if not entries:
            raise InvalidInputError(
                f"backup {manifest.id} has no month {moment:%Y-%m} of {', '.join(tables or ['a fact'])}"
            )
    return tuple(entry for entries in starts.values() for entry in entries)


def check_revision(connection: Connection, settings: WarehouseSettings, manifest: Manifest) -> None:
    """See that the schema is at the backup's revision.

    :raises BackupError: it is not; the message says what to do.
    """
    here = ", ".join(database_heads(connection, settings))
    if here != manifest.revision:
        raise BackupError(
            f"schema {settings.schema_name!r} is at revision {here or 'none'}, backup {manifest.id} at {manifest.revision}: "
            f"gpwarehouse upgrade {manifest.revision} first (to_head=True does it, and upgrades to the newest one afterwards)"
        )


def check_tables(entries: Sequence[Entry], there: Sequence[Unit], settings: WarehouseSettings) -> None:
    """See that the tables with rows are there; the models' are, but those of somebody's own must be made first.

    :raises BackupError: one is not.
    """
    here = {unit.table for unit in there} | {HISTORY_TABLE}
    missing = sorted({entry.table for entry in entries if entry.rows and entry.table not in here})
    if missing:
        raise BackupError(
            f"{settings.schema_name} has no table {', '.join(missing)}, whose rows the backup has; make it as it was (a backup "
            "holds rows, not the DDL of tables that are not the package's), and restore again. Or name the tables to restore"
        )


def check_columns(entries: Sequence[Entry], there: Sequence[Unit], settings: WarehouseSettings) -> None:
    """See that tables have the columns that the backup has of them.

    :raises BackupError: one has others.
    """
    here = {unit.table: unit.columns for unit in there}
    for entry in entries:
        columns = here.get(entry.table)
        if columns is None or entry.table == HISTORY_TABLE:
            continue
        other = sorted(dict(columns.items() ^ entry.columns.items()))
        if other:
            raise BackupError(
                f"{settings.schema_name}.{entry.table}: column {', '.join(other)} is not alike in backup and database; "
                "make them alike (gpwarehouse schema validate says what the models have)"
            )


def holds_own_rows(connection: Connection, unit: Unit) -> bool:
    """Whether a table or month holds rows that no upgrade makes."""
    if unit.table == DimTime.__tablename__:  # an upgrade fills it, and each load adds hours
        return False
    few = len(reserved_members().get(unit.table, ()))
    name = qualified_name(connection, unit.relation)
    query = f"SELECT count(*) FROM (SELECT 1 FROM {name} LIMIT {few + 1}) r"
    return bool(connection.execute(text(query)).scalar_one() > few)


def check_empty(connection: Connection, there: Sequence[Unit], settings: WarehouseSettings) -> None:
    """See that a warehouse holds no rows but those that an upgrade makes. Tables of users' own are not looked at.

    :raises BackupError: it does.
    """
    ours = {table.name for table in Base.metadata.tables.values()}
    for unit in there:
        if unit.table in ours and holds_own_rows(connection, unit):
            raise BackupError(
                f"{settings.schema_name}.{unit.table} holds rows already, and a backup is restored into an empty warehouse: make "
                "another database, or replace what is there with update=True"
            )


def unknown_to_others(connection: Connection, unit: Unit, settings: WarehouseSettings) -> Iterator[str]:
    """Say how many batches, and lists of parameters, of a month's rows are not in their own tables."""
    if unit.partition is None:
        return
    for column, table, what in _NAMED_ELSEWHERE:
        if column not in unit.columns:
            continue
        there = f"{connection.dialect.identifier_preparer.quote_schema(settings.schema_name)}.{table}"
        count = connection.execute(
            text(
                f"SELECT count(*) FROM (SELECT DISTINCT {column} FROM {qualified_name(connection, unit.relation)}) r "
                f"WHERE {column} IS NOT NULL AND {column} NOT IN (SELECT {column} FROM {there})"
            )
        ).scalar_one()
        if count:
            yield f"{unit.table} {unit.partition.name}: {table} does not know {count} of the {what} of its rows"
