"""Operations on tables' distribution, storage, encodings and partitioning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy.schema import ExecutableDDLElement

from gpwarehouse.dialect import ddl, rewrite
from gpwarehouse.dialect.errors import OptionError
from gpwarehouse.dialect.migration.base_operation import GreenplumOp
from gpwarehouse.dialect.options import Distribution, Encoding, Partitioning, Storage
from gpwarehouse.dialect.partitions import OtherPartitions

__all__ = ["RepartitionTableOp", "SetDistributionOp", "SetEncodingOp", "SetStorageOp"]

Encodings = Mapping[str, Encoding]


class SetDistributionOp(GreenplumOp):
    """Spread the rows in another way."""

    operation = "set_distribution"
    needs_segments = True

    @classmethod
    def set_distribution(
        cls,
        operations: Any,
        table_name: str,
        distribution: Distribution,
        *,
        existing: Distribution | None = None,
        schema: str | None = None,
    ) -> None:
        """Spread the rows in another way; all of them move."""
        cls.invoked(operations, table_name, distribution, existing=existing, schema=schema)

    def element(self) -> ExecutableDDLElement:
        """SET DISTRIBUTED."""
        return ddl.SetDistribution(self.table(), self.args[0])

    def reverse(self) -> GreenplumOp:
        """Back to what it was."""
        return SetDistributionOp(self.name, self._existing(), existing=self.args[0], schema=self.schema)


class SetStorageOp(GreenplumOp):
    """Store the table in another way."""

    operation = "set_storage"
    needs_segments = True

    @classmethod
    def set_storage(
        cls,
        operations: Any,
        table_name: str,
        storage: Storage,
        *,
        existing: Storage | None = None,
        encodings: Encodings | None = None,
        existing_encodings: Encodings | None = None,
        schema: str | None = None,
    ) -> None:
        """Store the table in another way; all of it is rewritten, on Greenplum 6 by a copy, which keeps the partitions.

        :param encodings: of columns that shall differ from the table's.
        :param existing: what was there, as ``existing_encodings``; for the reverse.
        """
        cls.invoked(
            operations,
            table_name,
            storage,
            existing=existing,
            encodings=encodings,
            existing_encodings=existing_encodings,
            schema=schema,
        )

    def element(self) -> ExecutableDDLElement:
        """SET ACCESS METHOD, or a copy."""
        return rewrite.SetStorage(self.table(), self.args[0], encodings=self.options.get("encodings"))

    def reverse(self) -> GreenplumOp:
        """Back to what it was."""
        said = {
            "existing": self.args[0],
            "encodings": self.options.get("existing_encodings"),
            "existing_encodings": self.options.get("encodings"),
        }
        return SetStorageOp(self.name, self._existing(), schema=self.schema, **said)


class SetEncodingOp(GreenplumOp):
    """Store columns in another way."""

    operation = "set_encoding"
    needs_segments = True

    @classmethod
    def set_encoding(
        cls,
        operations: Any,
        table_name: str,
        encodings: Encodings,
        *,
        existing: Encodings | None = None,
        schema: str | None = None,
    ) -> None:
        """Store columns in another way; they are rewritten, on Greenplum 6 the table with them, by a copy.

        What is not said, the table's storage, its partitions, its other columns' encodings, stays as it is then.

        :param existing: the encodings that were there, for the reverse.
        """
        cls.invoked(operations, table_name, dict(encodings), existing=existing, schema=schema)

    def element(self) -> ExecutableDDLElement:
        """SET ENCODING, or a copy."""
        return rewrite.SetEncodings(self.table(), self.args[0])

    def reverse(self) -> GreenplumOp:
        """Back to what they were."""
        return SetEncodingOp(self.name, self._existing(), existing=self.args[0], schema=self.schema)


class RepartitionTableOp(GreenplumOp):
    """Partition a table in another way, or no more."""

    operation = "repartition_table"

    @classmethod
    def repartition_table(
        cls,
        operations: Any,
        table_name: str,
        partition_by: Partitioning | None,
        *,
        existing: Partitioning | None = None,
        distributed_by: Distribution | None = None,
        storage: Storage | None = None,
        encodings: Encodings | None = None,
        existing_options: Mapping[str, Any] | None = None,
        schema: str | None = None,
    ) -> None:
        """Partition a table in another way, by a copy; ``None``: no more.

        :param partition_by: its partitions must hold every row, or the copy fails and nothing has changed.
        :param distributed_by: what the table shall be, as ``storage`` and ``encodings``; they are set with it.
        :param existing_options: the same three as they were, for the reverse.
        """
        cls.invoked(
            operations,
            table_name,
            partition_by,
            existing=existing,
            distributed_by=distributed_by,
            storage=storage,
            encodings=encodings,
            existing_options=existing_options,
            schema=schema,
        )

    def element(self) -> ExecutableDDLElement:
        """A copy."""
        if isinstance(self.args[0], OtherPartitions):
            raise OptionError(
                f"op.repartition_table({self.name!r}): {self.args[0]!r} was read from a server and cannot be made here; "
                "make the copy by SQL of your own"
            )
        options = {key: self.options.get(key) for key in ("distributed_by", "storage")}
        table = self.table(partition_by=self.args[0], **options)
        return rewrite.RewriteTable(table, encodings=self.options.get("encodings"), repartition=True)

    def reverse(self) -> GreenplumOp:
        """Back to what it was; to what is run by hand, if it was partitioned as :class:`OtherPartitions`."""
        before = self.options.get("existing")
        own = {key: self.options[key] for key in ("distributed_by", "storage", "encodings") if key in self.options}
        options = {**(self.options.get("existing_options") or {}), "existing_options": own}
        return RepartitionTableOp(self.name, before, existing=self.args[0], schema=self.schema, **options)
