"""Columns that are added to a column store: with the table's encoding, where they have none of their own.

Greenplum 6 leaves a column uncompressed that is added without an encoding, whatever the table is. Autogenerate writes it
into the revision; ``op.add_column`` written by hand asks the server for the table's, except offline.
"""

from __future__ import annotations

from typing import Any

from alembic.operations import Operations, ops
from sqlalchemy import inspect

from gpwarehouse.dialect.base import GreenplumDialect
from gpwarehouse.dialect.options import AppendOptimized, Encoding, Storage

__all__ = ["encoded", "setup", "with_encoding"]


def with_encoding(column: Any, encoding: Encoding | None) -> Any:
    """The column with this encoding, or none: itself if that is what it has, else a copy."""
    if column.dialect_options["greenplum"]["encoding"] == encoding:
        return column
    copy = column._copy()
    if encoding is None:
        del copy.dialect_kwargs["greenplum_encoding"]
    else:
        copy.dialect_kwargs["greenplum_encoding"] = encoding
    return copy


def encoded(column: Any, storage: Storage | None) -> Any:
    """The column as it is to be added to a table of that storage."""
    own = column.dialect_options["greenplum"]["encoding"]
    if own is not None or not isinstance(storage, AppendOptimized) or storage.orientation != "column":
        return column
    return with_encoding(column, storage.encoding)


def _add_column(operations: Any, operation: Any, **kw: Any) -> Any:
    """As Alembic does it, or whoever took its place; of our dialect's column store with the table's encoding."""
    context = operations.migration_context
    connection = None if context.as_sql else context.connection
    capabilities = context.dialect.capabilities if isinstance(context.dialect, GreenplumDialect) else None
    uncompressed = capabilities is not None and capabilities.append_optimized and not capabilities.access_methods
    if uncompressed and connection is not None:
        inspector: Any = inspect(connection)
        operation.column = encoded(operation.column, inspector.get_storage(operation.table_name, operation.schema))
    return Operations._to_impl.dispatch(ops.AddColumnOp)(operations, operation, **kw)


def setup() -> None:
    """Register ours for dialects named ``postgresql``, as ours is; those of other names never come to it."""
    Operations._to_impl.dispatch_for(ops.AddColumnOp, qualifier="postgresql", replace=True)(_add_column)
