"""Options → DDL, by capability.

CREATE TABLE of a partitioned table is one statement on Greenplum (the classic clause names the partitions); on
PostgreSQL the partitions follow as statements of their own, in the same text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, Table, UniqueConstraint

from gpwarehouse.dialect.compat_ddl import CompatibleDDLCompiler, with_storage
from gpwarehouse.dialect.errors import OptionError, UnsupportedByServerError
from gpwarehouse.dialect.implied import implied_distribution
from gpwarehouse.dialect.options import (
    AppendOptimized,
    DistributedBy,
    DistributedRandomly,
    DistributedReplicated,
    Distribution,
    Heap,
    RangePartition,
    RangePartitions,
    bound_literal,
)

if TYPE_CHECKING:
    from gpwarehouse.dialect.server import Capabilities

__all__ = ["GreenplumDDLCompiler", "child_table_name"]


def child_table_name(table_name: str, partition_name: str) -> str:
    """Name of a partition's table: Greenplum's own rule for the first level, used on every server."""
    return f"{table_name}_1_prt_{partition_name}"


def _key_sets(table: Table) -> list[tuple[str, tuple[str, ...]]]:
    """Every unique key of the table: what it is called in messages, and its columns."""
    keys = [
        ("primary key" if constraint is table.primary_key else "unique constraint", constraint)
        for constraint in (table.primary_key, *table.constraints)
        if constraint is table.primary_key or isinstance(constraint, UniqueConstraint)
    ]
    sets = {(kind, tuple(c.name for c in constraint.columns)) for kind, constraint in keys if len(constraint.columns)}
    # An expression of an index is no column that rows could be distributed by.
    sets |= {
        ("unique index", tuple(c.name for c in index.expressions if isinstance(c, Column)))
        for index in table.indexes
        if index.unique
    }
    return sorted(sets)


def distribution_of(table: Table) -> Distribution:
    """The table's distribution: what its options say, else what its keys allow (:func:`implied_distribution`)."""
    said = table.dialect_options["greenplum"]["distributed_by"]
    if said is not None:
        if not isinstance(said, DistributedBy | DistributedRandomly | DistributedReplicated):
            raise OptionError(
                f"table {table.fullname!r}: greenplum_distributed_by={said!r}; "
                "give DistributedBy(…), DistributedRandomly() or DistributedReplicated()"
            )
        return said
    keys = sorted(_key_sets(table), key=lambda item: item[0] != "primary key")
    return implied_distribution([columns for _, columns in keys])


def check_table(table: Table, capabilities: Capabilities) -> None:
    """Refuse combinations of options that the server would refuse or, worse, quietly change.

    :raises OptionError: naming table, option and remedy.
    """
    options = table.dialect_options["greenplum"]
    where = f"table {table.fullname!r}"
    distribution, storage, partitions = distribution_of(table), options["storage"], options["partition_by"]
    if storage is not None and not isinstance(storage, Heap | AppendOptimized):
        raise OptionError(f"{where}: greenplum_storage={storage!r}; give Heap() or AppendOptimized(…)")
    if partitions is not None and not isinstance(partitions, RangePartitions):
        raise OptionError(f"{where}: greenplum_partition_by={partitions!r}; give RangePartitions(…)")
    named = {"greenplum_distributed_by": distribution.columns if isinstance(distribution, DistributedBy) else ()}
    named["greenplum_partition_by"] = (partitions.column,) if partitions is not None else ()
    names = {column.name for column in table.columns}  # not their keys, which may be others
    for option, columns in named.items():
        for column in columns:
            if column not in names:
                raise OptionError(f"{where}: {option} names {column!r}, which is no column of the table")
    if capabilities.distribution:
        _check_cluster(table, where, distribution, storage, partitions, capabilities)


def _check_cluster(
    table: Table,
    where: str,
    distribution: Distribution,
    storage: Heap | AppendOptimized | None,
    partitions: RangePartitions | None,
    capabilities: Capabilities,
) -> None:
    keys = _key_sets(table)
    for kind, columns in keys:
        if isinstance(distribution, DistributedRandomly):
            raise OptionError(
                f"{where}: a {kind} on {columns} is impossible with DistributedRandomly(); "
                "distribute by columns of the key, or drop the key"
            )
        if isinstance(distribution, DistributedBy) and not set(distribution.columns) <= set(columns):
            raise OptionError(
                f"{where}: the {kind} on {columns} must contain the distribution key {distribution.columns}, "
                "or uniqueness could not be checked on a segment; add the columns or use DistributedReplicated()"
            )
    if isinstance(distribution, DistributedReplicated) and partitions is not None:
        raise OptionError(f"{where}: a replicated table cannot be partitioned; distribute it by a column")
    if isinstance(storage, AppendOptimized):
        if keys and not capabilities.unique_on_append_optimized:
            raise OptionError(
                f"{where}: append-optimized tables have no unique keys on this server, but there is a "
                f"{keys[0][0]} on {keys[0][1]}; use Heap() or drop the key"
            )
        if storage.compresstype not in capabilities.compresstypes:
            raise OptionError(
                f"{where}: compresstype={storage.compresstype!r} is unknown to this server; "
                f"it has {', '.join(sorted(capabilities.compresstypes))}"
            )
    if capabilities.partitions_required and partitions is not None and not partitions.partitions:
        raise OptionError(
            f"{where}: Greenplum 6 needs at least one partition when the table is made; "
            f"give RangePartitions({partitions.column!r}, (RangePartition(…),)) or RangePartitions.monthly(…)"
        )


class GreenplumDDLCompiler(CompatibleDDLCompiler):
    """PostgreSQL's DDL compiler with Greenplum's clauses behind CREATE TABLE."""

    def visit_create_table(self, create: Any, **kw: Any) -> str:
        """CREATE TABLE; on PostgreSQL the partitions follow as further statements."""
        text: str = super().visit_create_table(create, **kw)
        partitions = create.element.dialect_options["greenplum"]["partition_by"]
        if partitions is None or self._capabilities(create.element).partition_ddl == "classic":
            return text
        children = [self.partition_of(create.element, partition) for partition in partitions.partitions]
        return ";\n\n".join([text.rstrip(), *children])

    def post_create_table(self, table: Table) -> str:
        """The clauses behind the column list, in the order Greenplum's grammar wants them."""
        options = table.dialect_options["greenplum"]
        if options["distributed_by"] is None and options["storage"] is None and options["partition_by"] is None:
            capabilities = getattr(self.dialect, "capabilities", None)
            if capabilities is None or not capabilities.distribution:
                return str(super().post_create_table(table))  # type: ignore[no-untyped-call]
        capabilities = self._capabilities(table)
        check_table(table, capabilities)
        parts: RangePartitions | None = options["partition_by"]
        stock: str = super().post_create_table(table)  # type: ignore[no-untyped-call]
        text = with_storage(self._storage_clause(options["storage"], capabilities), stock)
        if capabilities.distribution:
            text += "\n " + self.distributed_clause(distribution_of(table))
        if parts is not None:
            text += f"\n PARTITION BY RANGE ({self.preparer.quote(parts.column)})"
            if capabilities.partition_ddl == "classic" and parts.partitions:
                text += "\n (" + ",\n  ".join(self.partition_clause(p) for p in parts.partitions) + ")"
        return text

    def _capabilities(self, table: Table) -> Capabilities:
        capabilities: Capabilities | None = self.dialect.capabilities  # type: ignore[attr-defined]
        if capabilities is None:
            raise UnsupportedByServerError(
                f"table {table.fullname!r}: which server is this for? Connect first, or name it: "
                "greenplum+psycopg2://?server=greenplum6 (greenplum7, cloudberry, postgresql)"
            )
        return capabilities

    def _storage_clause(self, storage: Heap | AppendOptimized | None, capabilities: Capabilities) -> str:
        """``WITH (…)``. Heap is written out too: the server's default storage is a setting."""
        if storage is None or not capabilities.append_optimized:
            return ""
        if isinstance(storage, Heap):
            return "\n WITH (appendonly=false)"
        settings = {
            "appendonly": "true",
            "orientation": storage.orientation,
            "compresstype": storage.compresstype,
            "compresslevel": storage.compresslevel,
            "blocksize": storage.blocksize,
        }
        return "\n WITH (" + ", ".join(f"{k}={v}" for k, v in settings.items() if v is not None) + ")"

    def distributed_clause(self, distribution: Distribution) -> str:
        """``DISTRIBUTED …`` for any of the three."""
        if isinstance(distribution, DistributedBy):
            return f"DISTRIBUTED BY ({', '.join(self.preparer.quote(c) for c in distribution.columns)})"
        return "DISTRIBUTED RANDOMLY" if isinstance(distribution, DistributedRandomly) else "DISTRIBUTED REPLICATED"

    def storage_of_partition(self, table: Table) -> str:
        """``WITH (…)`` of a partition added later: Greenplum 6 would make it a heap, whatever the table is."""
        storage = table.dialect_options["greenplum"]["storage"]
        return self._storage_clause(storage, self._capabilities(table)).replace("\n", "")

    def partition_clause(self, partition: RangePartition) -> str:
        """The classic clause of one partition, bounds written out."""
        return (
            f"PARTITION {self.preparer.quote(partition.name)} "
            f"START ({bound_literal(partition.start)}) INCLUSIVE END ({bound_literal(partition.end)}) EXCLUSIVE"
        )

    def partition_of(self, table: Table, partition: RangePartition) -> str:
        """The declarative statement that makes one partition."""
        schema = self.preparer.schema_for_object(table)
        child = self.preparer.quote(child_table_name(table.name, partition.name))
        if schema is not None:
            child = f"{self.preparer.quote_schema(schema)}.{child}"
        return (
            f"CREATE TABLE {child} PARTITION OF {self.preparer.format_table(table)} "
            f"FOR VALUES FROM ({bound_literal(partition.start)}) TO ({bound_literal(partition.end)})"
        )
