"""Autogenerate: external tables. They hold no rows, so what differs is dropped and made anew."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

from alembic.util import DispatchPriority, PriorityDispatchResult
from sqlalchemy import Column, MetaData, Table

from gpwarehouse.dialect.external import ExternalTable
from gpwarehouse.dialect.migration.compare import capabilities_of
from gpwarehouse.dialect.migration.operations import CreateExternalTableOp, DropExternalTableOp
from gpwarehouse.dialect.options import DistributedRandomly

__all__ = ["setup"]

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
    found = {
        name: Table(name, MetaData(), schema=schema, autoload_with=context.connection)
        for name in sorted(name for _, name in context.inspector.get_multi_external(schema))
        if context.run_name_filters(name, "table", {"schema_name": schema})
    }
    for name in sorted({*found, *wanted}):
        before, after = found.get(name), wanted.get(name)
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


def _create(schema: str | None, table: Table) -> CreateExternalTableOp:
    options = table.dialect_options["greenplum"]
    columns = [Column(column.name, column.type) for column in table.columns]
    return CreateExternalTableOp(
        table.name,
        *columns,
        external=options["external"],
        distributed_by=options["distributed_by"],
        schema=schema,
    )


def _same(context: Any, found: Table, wanted: Table) -> bool:
    compiler = context.dialect.type_compiler_instance
    before, after = ([(c.name, compiler.process(c.type)) for c in table.columns] for table in (found, wanted))
    said: ExternalTable = wanted.dialect_options["greenplum"]["external"]
    there: ExternalTable = found.dialect_options["greenplum"]["external"]
    if said.encoding is None:
        there = replace(there, encoding=None)
    distributions = [table.dialect_options["greenplum"]["distributed_by"] for table in (found, wanted)]
    if said.writable:
        distributions = [d or DistributedRandomly() for d in distributions]
    return before == after and there == said and distributions[0] == distributions[1]


def setup(plugin: Any) -> None:
    """Register the comparison with Alembic, before its own of tables."""
    plugin.add_autogenerate_comparator(
        compare_external_tables,
        "schema",
        "greenplum_external",
        qualifier="postgresql",
        priority=DispatchPriority.FIRST,
    )
