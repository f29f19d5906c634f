"""Columns that are added to a column store: with the table's encoding, where they have none of their own.

Greenplum 6 leaves a column uncompressed that is added without an encoding, whatever the table is. Autogenerate writes it
into the revision; ``op.add_column`` written by hand asks the server for the table's, except offline.
"""

from __future__ import annotations

from collections.abc import Callable
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


def _asking(original: Callable[..., Any]) -> Callable[..., Any]:
    def add_column(operations: Any, operation: Any, **kw: Any) -> Any:
        dialect = operations.impl.dialect
        capabilities = dialect.capabilities if isinstance(dialect, GreenplumDialect) else None
        connection = operations.impl.connection
        online = connection is not None and not operations.migration_context.as_sql
        if online and capabilities is not None and capabilities.append_optimized and not capabilities.access_methods:
            inspector: Any = inspect(connection)
            storage = inspector.get_storage(operation.table_name, operation.schema)
            operation.column = encoded(operation.column, storage)
        return original(operations, operation, **kw)

    add_column.__wrapped__ = original  # type: ignore[attr-defined]
    return add_column


def setup() -> None:
    """Put ours around Alembic's own."""
    original = Operations._to_impl.dispatch(ops.AddColumnOp)
    if not hasattr(original, "__wrapped__"):
        Operations.implementation_for(ops.AddColumnOp, replace=True)(_asking(original))
