"""Changes of one partition, each within a transaction of :mod:`gpwarehouse.months.partitions`.

Rows are read under a SHARE ROW EXCLUSIVE lock on the partition's own table: who writes to that month, or changes it too,
waits; all others go on. The lock on the whole fact comes last and is short.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Index, MetaData, Table, exc, text
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.schema import CreateIndex, CreateSchema, CreateTable, DropTable
from sqlalchemy.sql import quoted_name

from gpwarehouse.derived import forget_aggregates
from gpwarehouse.dialect import (
    AddPartition,
    Analyze,
    AppendOptimized,
    DetachPartition,
    DropPartition,
    ExchangePartition,
    RangePartition,
    TruncatePartition,
)
from gpwarehouse.engine import dialect_of, lock_advisory, qualified_name
from gpwarehouse.errors import PartitionError
from gpwarehouse.models import AGGREGATES
from gpwarehouse.months import overlapping, partitions_there, schema_of
from gpwarehouse.partitions.holds import copy_comment, forget
from gpwarehouse.partitions.plan import ANCHOR, child_of

__all__ = [
    "DETACHED",
    "columns_of",
    "count",
    "create",
    "detach",
    "drop",
    "exchange",
    "hold_still",
    "make_archive_schema",
    "rewritten",
    "sibling",
    "take_place",
    "there",
    "twin",
]

DETACHED = "{table}_detached_{partition}"
"""Name of a month that was detached or moved; ``_2`` … follows where it is taken."""


def sibling(table: Table, name: str, schema: str | None = None) -> Table:
    """A table of that name, of which nothing more need be known, in the schema of another, or in one of its own."""
    return Table(name, MetaData(), schema=schema or table.schema)


def there(connection: Connection, table: Table, partition: RangePartition) -> RangePartition | None:
    """The table's partition of this name and these bounds, with the name of its own table; None if there is none."""
    return next((found for found in partitions_there(connection, table) if found == partition), None)


def create(connection: Connection, table: Table, partition: RangePartition) -> bool:
    """Add a partition, to the fact and to its aggregate; False where one of the fact holds its range already."""
    if table.name in AGGREGATES:
        create(connection, AGGREGATES[table.name].__table__, partition)
    met = overlapping(partition, partitions_there(connection, table))
    if partition in met or any(other.start == partition.start and other.end == partition.end for other in met):
        return False
    if met:
        raise PartitionError(f"table {table.name!r}: {partition.name} would overlap partition {met[0].name}")
    connection.execute(AddPartition(table, partition))
    return True


def hold_still(connection: Connection, table: Table, partition: RangePartition) -> Table:
    """Let nobody write to a partition until the transaction's end; its table."""
    child = sibling(table, child_of(table, partition))
    connection.execute(text(f"LOCK TABLE {qualified_name(connection, child)} IN SHARE ROW EXCLUSIVE MODE"))
    return child


def count(connection: Connection, table: Table) -> int:
    """How many rows a table holds."""
    return int(connection.execute(text(f"SELECT count(*) FROM {qualified_name(connection, table)}")).scalar_one())


def columns_of(connection: Connection, table: Table) -> dict[str, str]:
    """Column → type as the server names it, in the table's order."""
    rows = connection.execute(
        text(
            "SELECT attname, format_type(atttypid, atttypmod) AS kind FROM pg_attribute "
            "WHERE attrelid = CAST(:name AS regclass) AND attnum > 0 AND NOT attisdropped ORDER BY attnum"
        ),
        {"name": qualified_name(connection, table)},
    )
    return {row.attname: row.kind for row in rows}


def drop(connection: Connection, table: Table, partition: RangePartition) -> None:
    """Drop a partition; the first revision's month, and the last one there is, are emptied instead."""
    if partition.name == ANCHOR or len(partitions_there(connection, table)) == 1:
        connection.execute(TruncatePartition(table, partition))
        forget(connection, table, partition)
    else:
        connection.execute(DropPartition(table, partition))
    forget_aggregates(connection, table.name, _month(partition))


def _month(partition: RangePartition) -> list[datetime]:
    return [partition.start] if isinstance(partition.start, datetime) else []


def detach(connection: Connection, table: Table, partition: RangePartition, schema: str | None = None) -> str:
    """Make a partition a table of its own; no row moves. Its schema and name.

    :param schema: where it goes (:func:`make_archive_schema`); else it stays in the fact's.
    """
    home = schema_of(connection, table) or ""
    name = _free_name(connection, table, partition, schema or home)
    if _classic(connection):
        out = twin(connection, table, name, table.dialect_options["greenplum"]["storage"])
        connection.execute(ExchangePartition(table, partition, out))
        connection.execute(DropPartition(table, partition))
    else:
        connection.execute(DetachPartition(table, partition))
        preparer = connection.dialect.identifier_preparer
        child = qualified_name(connection, sibling(table, child_of(table, partition)))
        connection.execute(text(f"ALTER TABLE {child} RENAME TO {preparer.quote(name)}"))
    _rename_indexes(connection, sibling(table, name))
    forget_aggregates(connection, table.name, _month(partition))
    if schema is not None and schema != home:
        here = qualified_name(connection, sibling(table, name))
        quoted = connection.dialect.identifier_preparer.quote_schema(schema)
        connection.execute(text(f"ALTER TABLE {here} SET SCHEMA {quoted}"))
    return f"{schema or home}.{name}"


def _rename_indexes(connection: Connection, table: Table) -> None:
    """After their table, so that the month can be made, and detached, again."""
    name = qualified_name(connection, table)
    indexes = connection.execute(
        text(
            "SELECT CAST(CAST(indexrelid AS regclass) AS text) AS index FROM pg_index "
            "WHERE indrelid = CAST(:name AS regclass) ORDER BY indexrelid"
        ),
        {"name": name},
    )
    quote = connection.dialect.identifier_preparer.quote
    for number, index in enumerate(indexes.scalars().all(), 1):
        connection.execute(text(f"ALTER INDEX {index} RENAME TO {quote(f'ix_{table.name}_{number}')}"))


def _classic(connection: Connection) -> bool:
    capabilities = dialect_of(connection).capabilities
    assert capabilities is not None
    return capabilities.partition_catalog == "classic"


def make_archive_schema(engine: Engine, table: Table, schema: str) -> None:
    """Make the schema that months are moved to, where it is missing, and give it to the table's owner.

    By the role that logged in: the owner need not have the right to create schemas.

    :raises PartitionError: it may not either, or the owner may not create in the schema there is.
    """
    with engine.connect() as connection, connection.begin():
        lock_advisory(connection, "archive schema", schema)
        owner = "SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = CAST(:name AS regclass)"
        name = connection.execute(text(owner), {"name": qualified_name(connection, table)}).scalar_one()
        there = text(
            "SELECT has_schema_privilege(:owner, nspname, 'CREATE, USAGE') FROM pg_namespace WHERE nspname = :schema"
        )
        allowed = connection.execute(there, {"schema": schema, "owner": name}).scalar()
        preparer = connection.dialect.identifier_preparer
        quoted, owner = preparer.quote_schema(schema), preparer.quote(name)
        if allowed is False:
            raise PartitionError(
                f"table {table.name!r}: its owner {name} may not create in schema {schema!r}, to which months are moved: "
                f"gpwarehouse roles apply, or GRANT USAGE, CREATE ON SCHEMA {quoted} TO {owner}"
            )
        if allowed is None:
            try:
                connection.execute(CreateSchema(schema))
                connection.execute(text(f"ALTER SCHEMA {quoted} OWNER TO {owner}"))
            except exc.ProgrammingError as error:
                reason = str(error.orig).strip().splitlines()[0]
                raise PartitionError(
                    f"table {table.name!r}: schema {schema!r}, to which months are moved, does not exist, and this role may not "
                    f"make it ({reason}). Let a superuser make it, with this GPWAREHOUSE_RETENTION set: gpwarehouse roles "
                    f"apply; or a DBA: CREATE SCHEMA {quoted} AUTHORIZATION {owner}"
                ) from error


def _free_name(connection: Connection, table: Table, partition: RangePartition, schema: str) -> str:
    wanted = name = DETACHED.format(table=table.name, partition=partition.name)
    taken = set(
        connection.execute(
            text(
                "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
                "WHERE n.nspname IN (:schema, :home)"
            ),
            {"schema": schema, "home": schema_of(connection, table)},
        ).scalars()
    )
    number = 1
    while name in taken:
        number += 1
        name = f"{wanted}_{number}"
    return name


def twin(connection: Connection, table: Table, name: str, storage: AppendOptimized) -> Table:
    """An empty table like a partition, with its checks and indexes, to be exchanged with one."""
    model = table.to_metadata(MetaData(), name=name)
    model.dialect_options["greenplum"]["partition_by"] = None
    model.dialect_options["greenplum"]["storage"] = storage
    dialect = dialect_of(connection)
    clauses = dialect.ddl_compiler(dialect, CreateTable(model)).post_create_table(model)
    new = sibling(table, name)
    like = f"LIKE {qualified_name(connection, table)} INCLUDING DEFAULTS INCLUDING CONSTRAINTS"
    connection.execute(text(f"CREATE TABLE {qualified_name(connection, new)} ({like}){clauses}"))
    for index in model.indexes:
        connection.execute(CreateIndex(_rename(index, name)))
    return new


def _rename(index: Index, table: str) -> Index:
    index.name = quoted_name(f"ix_{table}_{'_'.join(column.name for column in index.columns)}", None)
    return index


def rewritten(connection: Connection, table: Table, partition: RangePartition, storage: AppendOptimized) -> int:
    """Write a partition's rows to a table with another compression, that :func:`exchange` puts in its place; how many.

    Until the transaction's end nobody writes to the partition.
    """
    child = hold_still(connection, table, partition)
    new = twin(connection, table, _cold_name(table, partition), storage)
    source, target = qualified_name(connection, child), qualified_name(connection, new)
    # By name: a table that was attached may have them in another order.
    names = ", ".join(map(connection.dialect.identifier_preparer.quote, columns_of(connection, table)))
    statement = f"INSERT INTO {target} ({names}) SELECT {names} FROM {source}"
    return int(connection.execute(text(statement)).rowcount)


def exchange(connection: Connection, table: Table, partition: RangePartition) -> None:
    """Put the rewritten rows in the partition's place."""
    take_place(connection, table, partition, sibling(table, _cold_name(table, partition)))


def take_place(connection: Connection, table: Table, partition: RangePartition, new: Table) -> None:
    """Put a table made like a partition in its place, with what its comment says of it, and drop the one before."""
    copy_comment(connection, table, partition, new)
    connection.execute(ExchangePartition(table, partition, new))
    connection.execute(DropTable(new))
    connection.execute(Analyze(sibling(table, child_of(table, partition))))


def _cold_name(table: Table, partition: RangePartition) -> str:
    return f"{table.name}_cold_{partition.name}"
