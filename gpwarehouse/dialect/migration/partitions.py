"""Operations on partitions: add, drop, rename, exchange, attach, detach."""

from __future__ import annotations

from typing import Any

from sqlalchemy import MetaData, Table
from sqlalchemy.schema import ExecutableDDLElement

from gpwarehouse.dialect import partition_ddl as ddl
from gpwarehouse.dialect.errors import OptionError
from gpwarehouse.dialect.migration.base_operation import GreenplumOp
from gpwarehouse.dialect.options import Partition, Storage

__all__ = [
    "AddPartitionOp",
    "AttachPartitionOp",
    "DetachPartitionOp",
    "DropPartitionOp",
    "ExchangePartitionOp",
    "RenamePartitionOp",
]


class AddPartitionOp(GreenplumOp):
    """Add a partition."""

    operation = "add_partition"

    @classmethod
    def add_partition(
        cls,
        operations: Any,
        table_name: str,
        partition: Partition,
        *,
        storage: Storage | None = None,
        schema: str | None = None,
    ) -> None:
        """Add a partition.

        :param storage: the table's; Greenplum 6 does not inherit it.
        """
        cls.invoked(operations, table_name, partition, storage=storage, schema=schema)

    def element(self) -> ExecutableDDLElement:
        """ADD PARTITION."""
        return ddl.AddPartition(self.table(storage=self.options.get("storage")), self.args[0])

    def reverse(self) -> GreenplumOp:
        """Drop it."""
        return DropPartitionOp(self.name, self.args[0], schema=self.schema, **self.options)


class DropPartitionOp(GreenplumOp):
    """Drop a partition and its rows."""

    operation = "drop_partition"

    @classmethod
    def drop_partition(
        cls,
        operations: Any,
        table_name: str,
        partition: Partition | str,
        *,
        storage: Storage | None = None,
        schema: str | None = None,
    ) -> None:
        """Drop a partition and its rows.

        :param partition: its name; or all of it, and ``storage``, so that the operation can be reversed.
        """
        cls.invoked(operations, table_name, partition, storage=storage, schema=schema)

    def element(self) -> ExecutableDDLElement:
        """DROP PARTITION."""
        partition = self.args[0]
        return ddl.DropPartition(self.table(), partition if isinstance(partition, str) else partition.name)

    def reverse(self) -> GreenplumOp:
        """Add it, empty."""
        if isinstance(self.args[0], str):
            raise OptionError(f"op.drop_partition({self.name!r}, {self.args[0]!r}): give the partition, not its name")
        return AddPartitionOp(self.name, self.args[0], schema=self.schema, **self.options)


class RenamePartitionOp(GreenplumOp):
    """Rename a partition."""

    operation = "rename_partition"

    @classmethod
    def rename_partition(
        cls, operations: Any, table_name: str, name: str, new_name: str, *, schema: str | None = None
    ) -> None:
        """Rename a partition."""
        cls.invoked(operations, table_name, name, new_name, schema=schema)

    def element(self) -> ExecutableDDLElement:
        """RENAME PARTITION."""
        return ddl.RenamePartition(self.table(), *self.args)

    def reverse(self) -> GreenplumOp:
        """Rename it back."""
        return RenamePartitionOp(self.name, self.args[1], self.args[0], schema=self.schema)


class ExchangePartitionOp(GreenplumOp):
    """Swap a partition with a table."""

    operation = "exchange_partition"

    @classmethod
    def exchange_partition(
        cls,
        operations: Any,
        table_name: str,
        partition: Partition | str,
        with_table: str,
        *,
        validation: bool = True,
        schema: str | None = None,
    ) -> None:
        """Swap a partition with a table of the same schema, columns, distribution and indexes."""
        cls.invoked(operations, table_name, partition, with_table, validation=validation, schema=schema)

    def element(self) -> ExecutableDDLElement:
        """EXCHANGE PARTITION."""
        other = Table(self.args[1], MetaData(), schema=self.schema)
        return ddl.ExchangePartition(self.table(), self.args[0], other, validation=self.options.get("validation", True))

    def reverse(self) -> GreenplumOp:
        """Swap them back."""
        return self


class AttachPartitionOp(GreenplumOp):
    """Make a table a partition."""

    operation = "attach_partition"

    @classmethod
    def attach_partition(
        cls, operations: Any, table_name: str, child: str, partition: Partition, *, schema: str | None = None
    ) -> None:
        """Make the table ``child`` of the same schema a partition."""
        cls.invoked(operations, table_name, child, partition, schema=schema)

    def element(self) -> ExecutableDDLElement:
        """ATTACH PARTITION."""
        child = Table(self.args[0], MetaData(), schema=self.schema)
        return ddl.AttachPartition(self.table(), child, self.args[1])

    def reverse(self) -> GreenplumOp:
        """Detach it."""
        return DetachPartitionOp(self.name, *self.args, schema=self.schema)


class DetachPartitionOp(GreenplumOp):
    """Make a partition a table."""

    operation = "detach_partition"

    @classmethod
    def detach_partition(
        cls,
        operations: Any,
        table_name: str,
        child: str,
        partition: Partition | None = None,
        *,
        schema: str | None = None,
    ) -> None:
        """Make the partition whose table is ``child`` a table.

        :param partition: its bounds, so that the operation can be reversed.
        """
        cls.invoked(operations, table_name, child, *([] if partition is None else [partition]), schema=schema)

    def element(self) -> ExecutableDDLElement:
        """DETACH PARTITION."""
        return ddl.DetachPartition(self.table(), Table(self.args[0], MetaData(), schema=self.schema))

    def reverse(self) -> GreenplumOp:
        """Attach it."""
        if len(self.args) < 2:
            raise OptionError(f"op.detach_partition({self.name!r}, {self.args[0]!r}): give the partition to reverse it")
        return AttachPartitionOp(self.name, *self.args, schema=self.schema)
