"""Autogenerate: distribution, storage, encodings and partition scheme of tables, as they are and as they should be.

Not compared: which partitions there are (that is the partition manager's, and children are never dropped), and what a
model leaves open (no ``greenplum_storage``: any will do).
"""

from __future__ import annotations

import logging
from typing import Any

from alembic.util import PriorityDispatchResult
from sqlalchemy import Table, text

from gpwarehouse.dialect.base import GreenplumDialect
from gpwarehouse.dialect.checks import distribution_of, key_sets, misplaced_key
from gpwarehouse.dialect.migration.operations import (
    GreenplumOp,
    RepartitionTableOp,
    SetDistributionOp,
    SetEncodingOp,
    SetStorageOp,
)
from gpwarehouse.dialect.options import AppendOptimized, Encoding
from gpwarehouse.dialect.partitions import OtherPartitions
from gpwarehouse.dialect.server import Capabilities

__all__ = ["capabilities_of", "setup"]

log = logging.getLogger(__name__)

_SIZE = """
    WITH RECURSIVE parts (oid) AS (
        SELECT CAST(:name AS regclass)::oid
        UNION ALL SELECT i.inhrelid FROM pg_catalog.pg_inherits i JOIN parts p ON i.inhparent = p.oid)
    SELECT COALESCE(sum(pg_catalog.pg_total_relation_size(oid::regclass)), 0)::bigint FROM parts"""


def capabilities_of(context: Any) -> Capabilities | None:
    """What the server can do; None where the connection is not of this dialect, or offline."""
    dialect = context.dialect
    return dialect.capabilities if isinstance(dialect, GreenplumDialect) and context.connection is not None else None


def _option(table: Table, name: str) -> Any:
    return table.dialect_options["greenplum"][name]


def _encodings(table: Table, others: Table) -> dict[str, Encoding]:
    """The encodings of the columns that both tables have."""
    return {
        column.name: encoding
        for column in table.columns
        if column.name in others.columns and (encoding := column.dialect_options["greenplum"]["encoding"]) is not None
    }


def compare_table(
    context: Any, changes: Any, schema: str | None, name: str, found: Table | None, wanted: Table | None
) -> PriorityDispatchResult:
    """Add to ``changes`` what makes the table as found the table as wanted."""
    capabilities = capabilities_of(context)
    if capabilities is None or found is None or wanted is None:
        return PriorityDispatchResult.CONTINUE
    operations = [_partitioning(schema, name, found, wanted, capabilities)]
    if operations == [None] and capabilities.distribution:
        operations = [
            _distribution(schema, name, found, wanted),
            _storage(schema, name, found, wanted) or _columns(schema, name, found, wanted),
        ]
    for operation in operations:
        if operation is not None:
            operation.info["rewrite_bytes"] = _size(context, schema, name)
            log.info("Detected %s of table %r", operation.operation, name)
            changes.ops.append(operation)
    return PriorityDispatchResult.CONTINUE


def _size(context: Any, schema: str | None, name: str) -> int:
    preparer = context.dialect.identifier_preparer
    qualified = preparer.quote(name) if schema is None else f"{preparer.quote_schema(schema)}.{preparer.quote(name)}"
    return int(context.connection.execute(text(_SIZE), {"name": qualified}).scalar_one())


def _partitioning(
    schema: str | None, name: str, found: Table, wanted: Table, capabilities: Capabilities
) -> GreenplumOp | None:
    before, after = _option(found, "partition_by"), _option(wanted, "partition_by")
    if wanted.dialect_options["postgresql"].get("partition_by") and after is None:
        return None  # said in PostgreSQL's own way, which we leave alone
    if (before is None and after is None) or (before is not None and before.same_scheme(after)):
        return None
    options: dict[str, Any] = {"existing": before}
    if capabilities.distribution:
        options |= {
            "distributed_by": distribution_of(wanted),
            "storage": _option(wanted, "storage") or _option(found, "storage"),
            "encodings": _encodings(wanted, found),
            "existing_options": {
                "distributed_by": _option(found, "distributed_by"),
                "storage": _option(found, "storage"),
                "encodings": _encodings(found, wanted),
            },
        }
    operation = RepartitionTableOp(name, after, schema=schema, **options)
    operation.info["remarks"] = ["# Its partitions must hold every row, or the copy fails and nothing has changed."]
    return operation


def _distribution(schema: str | None, name: str, found: Table, wanted: Table) -> GreenplumOp | None:
    before, after = _option(found, "distributed_by"), distribution_of(wanted)
    if before is None or before == after:
        return None
    if _option(wanted, "distributed_by") is None and misplaced_key(before, key_sets(wanted)) is None:
        return None  # left open, and the one there is lets every key be kept
    return SetDistributionOp(name, after, existing=before, schema=schema)


def _kept_partitions(found: Table) -> Any:
    scheme = _option(found, "partition_by")
    return None if isinstance(scheme, OtherPartitions) else scheme


def _storage(schema: str | None, name: str, found: Table, wanted: Table) -> GreenplumOp | None:
    before, after = _option(found, "storage"), _option(wanted, "storage")
    if after is None or before is None or before == after:
        return None
    return SetStorageOp(
        name,
        after,
        existing=before,
        encodings=_odd(_encodings(wanted, found), after),
        existing_encodings=_odd(_encodings(found, wanted), before),
        partition_by=_kept_partitions(found),
        schema=schema,
    )


def _odd(encodings: dict[str, Encoding], storage: Any) -> dict[str, Encoding]:
    """Those that are not the table's own."""
    by_column = isinstance(storage, AppendOptimized) and storage.orientation == "column"
    return {name: e for name, e in encodings.items() if e != storage.encoding} if by_column else {}


def _columns(schema: str | None, name: str, found: Table, wanted: Table) -> GreenplumOp | None:
    storage = _option(found, "storage")
    if (
        _option(wanted, "storage") is None
        or not isinstance(storage, AppendOptimized)
        or storage.orientation != "column"
    ):
        return None
    before, after = _encodings(found, wanted), _encodings(wanted, found)
    changed = sorted(
        column
        for column in {*before, *after}
        if before.get(column, storage.encoding) != after.get(column, storage.encoding)
    )
    if not changed:
        return None
    return SetEncodingOp(
        name,
        {column: after.get(column, storage.encoding) for column in changed},
        existing={column: before.get(column, storage.encoding) for column in changed},
        storage=storage,
        others={column: e for column, e in _odd(after, storage).items() if column not in changed},
        partition_by=_kept_partitions(found),
        schema=schema,
    )


def setup(plugin: Any) -> None:
    """Register the comparison with Alembic."""
    plugin.add_autogenerate_comparator(compare_table, "table", "greenplum", qualifier="postgresql")
