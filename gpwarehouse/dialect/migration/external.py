"""Autogenerate: external tables. They hold no rows, so what differs is dropped and made anew."""

from __future__ import annotations

import logging
import re
from dataclasses import replace
from typing import Any

from alembic.util import DispatchPriority, PriorityDispatchResult
from sqlalchemy import Column, MetaData, Table, text

from gpwarehouse.dialect.external_tables import ExternalTable
from gpwarehouse.dialect.migration.compare import capabilities_of
from gpwarehouse.dialect.migration.operations import CreateExternalTableOp, DropExternalTableOp
from gpwarehouse.dialect.options import DistributedRandomly
from gpwarehouse.dialect.reflection import external_names, partition_children

__all__ = ["setup"]

GPFDIST_PORT = 8080
"""What the server writes into a URL of gpfdist that has no port (tried on 6.24 and 7.0)."""

_ENCODING = "SELECT pg_catalog.pg_encoding_to_char(pg_catalog.pg_char_to_encoding(:name))"

SERVERS_OWN = "gp_toolkit"
"""Its external tables read the server's logs."""

log = logging.getLogger(__name__)


def compare_external_tables(context: Any, changes: Any, schemas: set[str | None]) -> PriorityDispatchResult:
    """Take the external tables out of Alembic's own comparison, which knows none, and compare them here."""
    capabilities = capabilities_of(context)
    if capabilities is None:
        return PriorityDispatchResult.CONTINUE
    external = [t for t in context.sorted_tables if t.dialect_options["greenplum"]["external"] is not None]
    context.sorted_tables = [table for table in context.sorted_tables if table not in external]
    if not capabilities.distribution:
        return PriorityDispatchResult.CONTINUE
    default = context.dialect.default_schema_name
    wanted = {(None if t.schema == default else t.schema, t.name): t for t in external}
    for schema in sorted(schemas - {SERVERS_OWN}, key=lambda name: name or ""):
        _compare_schema(context, changes, schema, {name: t for (s, name), t in wanted.items() if s == schema})
    return PriorityDispatchResult.CONTINUE


def _compare_schema(context: Any, changes: Any, schema: str | None, wanted: dict[str, Table]) -> None:
    found = _find_tables(context, schema)
    for name in sorted({*found, *wanted}):
        before, after = found.get(name), wanted.get(name)
        if before is not None and before.dialect_options["greenplum"]["external"] is None:
            log.warning("External table %r is left as it is: what makes it external is none we know", name)
            continue
        if before is not None and after is not None and _same(context, before, after):
            continue
        subject, reflected = (after, False) if after is not None else (before, True)
        compared = before if after is not None else None
        if not context.run_object_filters(subject, name, "table", reflected, compared):
            continue
        log.info("Detected a difference of external table %r", name)
        if before is not None:
            changes.ops.append(DropExternalTableOp(name, schema=schema, was=_create(schema, before)))
        if after is not None:
            changes.ops.append(_create(schema, after))


def _find_tables(context: Any, schema: str | None) -> dict[str, Table]:
    """The external tables there are. Those that are partitions are their tables' business, and hold somebody's rows."""
    there = (context.connection, context.dialect, schema)
    names = external_names(*there) - partition_children(*there)
    return {
        name: Table(name, MetaData(), schema=schema, autoload_with=context.connection)
        for name in sorted(names)
        if context.run_name_filters(name, "table", {"schema_name": schema})
    }


def _create(schema: str | None, table: Table) -> CreateExternalTableOp:
    options = table.dialect_options["greenplum"]
    columns = [Column(column.name, column.type, comment=column.comment) for column in table.columns]
    return CreateExternalTableOp(
        table.name,
        *columns,
        external=options["external"],
        distributed_by=options["distributed_by"],
        comment=table.comment,
        schema=schema,
    )


def _same(context: Any, found: Table, wanted: Table) -> bool:
    if [(c.name, c.comment) for c in found.columns] != [(c.name, c.comment) for c in wanted.columns]:
        return False
    if found.comment != wanted.comment:
        return False
    if any(_other_type(context, *pair) for pair in zip(found.columns, wanted.columns, strict=True)):
        return False
    said: ExternalTable = wanted.dialect_options["greenplum"]["external"]
    there: ExternalTable = found.dialect_options["greenplum"]["external"]
    distributions = [table.dialect_options["greenplum"]["distributed_by"] for table in (found, wanted)]
    if said.writable:
        distributions = [d or DistributedRandomly() for d in distributions]
    return distributions[0] == distributions[1] and there == _as_stored(context, said, there)


def _other_type(context: Any, found: Column[Any], wanted: Column[Any]) -> bool:
    """Whether the types differ, as Alembic compares those of other tables: with ``compare_type`` of ``env.py``."""
    migration = context.migration_context
    if migration._user_compare_type is False:
        return False
    if callable(migration._user_compare_type):
        differs = migration._user_compare_type(migration, found, wanted, found.type, wanted.type)
        if differs is not None:
            return bool(differs)
    return bool(migration.impl.compare_type(found, wanted))


def _as_stored(context: Any, said: ExternalTable, there: ExternalTable) -> ExternalTable:
    """What is said, as the server keeps it: with gpfdist's port, and the encoding by its own name."""
    encoding = there.encoding if said.encoding is None else said.encoding
    if encoding != there.encoding:
        encoding = context.connection.execute(text(_ENCODING), {"name": encoding}).scalar_one() or encoding
    return replace(said, location=tuple(map(_with_port, said.location)), encoding=encoding)


def _with_port(url: str) -> str:
    match = re.match(r"gpfdists?://[^/]*", url)
    if match is None or re.search(r":\d+$", match[0]):
        return url
    return f"{match[0]}:{GPFDIST_PORT}{url[match.end() :]}"


def setup(plugin: Any) -> None:
    """Register the comparison with Alembic, before its own of tables."""
    plugin.add_autogenerate_comparator(
        compare_external_tables,
        "schema",
        "greenplum_external",
        qualifier="postgresql",
        priority=DispatchPriority.FIRST,
    )
