"""``op.add_partition``, ``op.set_distribution``, …: all operations, and how they are run.

On a server without segments, what only segments have (distribution, storage, encodings, external tables) is left out,
as CREATE TABLE leaves its clauses out; so one revision runs on every server.
"""

from __future__ import annotations

import logging
from typing import Any

from alembic.operations import Operations
from sqlalchemy import Table
from sqlalchemy.schema import ExecutableDDLElement, SetColumnComment, SetTableComment

from gpwarehouse.dialect import ddl, views
from gpwarehouse.dialect.errors import UnsupportedByServerError
from gpwarehouse.dialect.external_tables import ExternalTable
from gpwarehouse.dialect.migration.base_operation import GreenplumOp, register_operation
from gpwarehouse.dialect.migration.partitions import (
    AddPartitionOp,
    AttachPartitionOp,
    DetachPartitionOp,
    DropPartitionOp,
    ExchangePartitionOp,
    RenamePartitionOp,
)
from gpwarehouse.dialect.migration.tables import RepartitionTableOp, SetDistributionOp, SetEncodingOp, SetStorageOp
from gpwarehouse.dialect.options import Distribution

__all__ = [
    "OPERATIONS",
    "AddPartitionOp",
    "AttachPartitionOp",
    "CreateExternalTableOp",
    "CreateViewOp",
    "DetachPartitionOp",
    "DropExternalTableOp",
    "DropPartitionOp",
    "DropViewOp",
    "ExchangePartitionOp",
    "GreenplumOp",
    "RenamePartitionOp",
    "RepartitionTableOp",
    "SetDistributionOp",
    "SetEncodingOp",
    "SetStorageOp",
    "setup",
]

log = logging.getLogger(__name__)


class CreateExternalTableOp(GreenplumOp):
    """Make an external table."""

    operation = "create_external_table"
    needs_segments = True

    @classmethod
    def create_external_table(
        cls,
        operations: Any,
        table_name: str,
        *columns: Any,
        external: ExternalTable,
        distributed_by: Distribution | None = None,
        comment: str | None = None,
        schema: str | None = None,
    ) -> None:
        """Make an external table of these columns, with their comments."""
        options = {"external": external, "distributed_by": distributed_by, "comment": comment}
        cls.invoked(operations, table_name, *columns, schema=schema, **options)

    def element(self) -> ExecutableDDLElement:
        """CREATE EXTERNAL TABLE."""
        table = self.table(external=self.options["external"], distributed_by=self.options.get("distributed_by"))
        for column in self.args:
            table.append_column(column._copy())
        table.comment = self.options.get("comment")
        return ddl.CreateExternalTable(table)

    def elements(self) -> list[ExecutableDDLElement]:
        """CREATE EXTERNAL TABLE, and its comments."""
        create = self.element()
        table: Table = create.element  # type: ignore[attr-defined]
        columns = [SetColumnComment(column) for column in table.columns if column.comment is not None]
        return [create, *([SetTableComment(table)] if table.comment is not None else []), *columns]

    def reverse(self) -> GreenplumOp:
        """Drop it."""
        return DropExternalTableOp(self.name, schema=self.schema, was=self)


class DropExternalTableOp(GreenplumOp):
    """Drop an external table; the files stay."""

    operation = "drop_external_table"
    needs_segments = True

    def __init__(
        self, name: str, *, schema: str | None = None, was: CreateExternalTableOp | None = None, if_exists: bool = False
    ) -> None:
        super().__init__(name, schema=schema, if_exists=if_exists or None)
        self.was = was

    @classmethod
    def drop_external_table(
        cls, operations: Any, table_name: str, *, if_exists: bool = False, schema: str | None = None
    ) -> None:
        """Drop an external table; the files stay."""
        cls.invoked(operations, table_name, schema=schema, if_exists=if_exists)

    def element(self) -> ExecutableDDLElement:
        """DROP EXTERNAL TABLE."""
        return ddl.DropExternalTable(self.table(), if_exists=self.options.get("if_exists", False))

    def reverse(self) -> GreenplumOp:
        """Make it again."""
        return self.was if self.was is not None else super().reverse()


class CreateViewOp(GreenplumOp):
    """Make a view."""

    operation = "create_view"

    @classmethod
    def create_view(cls, operations: Any, name: str, body: str, *, schema: str | None = None) -> None:
        """Make a view; in ``body`` ``{schema}`` stands for its schema."""
        cls.invoked(operations, name, body, schema=schema)

    def element(self) -> ExecutableDDLElement:
        """CREATE VIEW."""
        return views.CreateView(self.name, self.args[0], self.schema)

    def reverse(self) -> GreenplumOp:
        """Drop it."""
        return DropViewOp(self.name, *self.args, schema=self.schema)


class DropViewOp(GreenplumOp):
    """Drop a view."""

    operation = "drop_view"

    @classmethod
    def drop_view(cls, operations: Any, name: str, body: str | None = None, *, schema: str | None = None) -> None:
        """Drop a view.

        :param body: what it was, so that the operation can be reversed.
        """
        cls.invoked(operations, name, *([] if body is None else [body]), schema=schema)

    def element(self) -> ExecutableDDLElement:
        """DROP VIEW."""
        return views.DropView(self.name, self.schema)

    def reverse(self) -> GreenplumOp:
        """Make it again."""
        return CreateViewOp(self.name, *self.args, schema=self.schema) if self.args else super().reverse()


OPERATIONS: tuple[type[GreenplumOp], ...] = (
    AddPartitionOp,
    DropPartitionOp,
    RenamePartitionOp,
    ExchangePartitionOp,
    AttachPartitionOp,
    DetachPartitionOp,
    SetDistributionOp,
    SetStorageOp,
    SetEncodingOp,
    RepartitionTableOp,
    CreateExternalTableOp,
    DropExternalTableOp,
    CreateViewOp,
    DropViewOp,
)


def _run(operations: Any, operation: GreenplumOp) -> None:
    dialect = operations.impl.dialect
    capabilities = getattr(dialect, "capabilities", None)
    if capabilities is None:
        raise UnsupportedByServerError(
            f"op.{operation.operation}({operation.name!r}): the connection is not of this dialect, or nobody said which "
            "server it is; use greenplum+psycopg2://, offline with ?server=greenplum6 (greenplum7, cloudberry, postgresql)"
        )
    if operation.needs_segments and not capabilities.distribution:
        log.info("op.%s(%r): nothing to do on a server without segments", operation.operation, operation.name)
        return
    for element in operation.elements():
        operations.execute(element)


def setup() -> None:
    """Register the operations with Alembic, or take their names back."""
    for cls in OPERATIONS:
        register_operation(cls.operation, cls)
        Operations.implementation_for(cls, replace=True)(_run)
