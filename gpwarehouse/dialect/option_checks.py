"""Combinations of options that a server would refuse or, worse, quietly change: refused when a statement is compiled."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    Column,
    Date,
    DateTime,
    Index,
    Integer,
    Numeric,
    String,
    Table,
    TypeDecorator,
    UniqueConstraint,
)

from gpwarehouse.dialect.default_distribution import implied_distribution
from gpwarehouse.dialect.errors import OptionError, UnsupportedByServerError
from gpwarehouse.dialect.external_tables import ExternalTable
from gpwarehouse.dialect.options import (
    AppendOptimized,
    DistributedBy,
    DistributedRandomly,
    DistributedReplicated,
    Distribution,
    Encoding,
    Heap,
    ListPartitions,
    OtherPartitions,
    Partition,
    RangePartition,
    RangePartitions,
)
from gpwarehouse.dialect.server import Capabilities

__all__ = [
    "check_bounds",
    "check_external",
    "check_index",
    "check_table",
    "distribution_of",
    "key_sets",
    "misplaced_key",
]

KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    "distributed_by": (
        (DistributedBy, DistributedRandomly, DistributedReplicated),
        "DistributedBy(…), DistributedRandomly() or DistributedReplicated()",
    ),
    "storage": ((Heap, AppendOptimized), "Heap() or AppendOptimized(…)"),
    "partition_by": ((RangePartitions, ListPartitions, OtherPartitions), "RangePartitions(…) or ListPartitions(…)"),
    "external": ((ExternalTable,), "ExternalTable(…)"),
}


_STORAGE_PARAMETERS = frozenset(
    {"appendonly", "appendoptimized", "orientation", "compresstype", "compresslevel", "blocksize", "checksum"}
)


def key_sets(table: Table) -> list[tuple[str, tuple[str, ...]]]:
    """Every unique key of the table: what it is called in messages, and its columns."""
    keys = [
        ("primary key" if constraint is table.primary_key else "unique constraint", constraint)
        for constraint in (table.primary_key, *table.constraints)
        if constraint is table.primary_key or isinstance(constraint, UniqueConstraint)
    ]
    sets = {(kind, tuple(c.name for c in constraint.columns)) for kind, constraint in keys if len(constraint.columns)}
    sets |= {_columns_of_index(index) for index in table.indexes if index.unique}
    return sorted(sets)


def _columns_of_index(index: Index) -> tuple[str, tuple[str, ...]]:
    # An expression of an index is no column that rows could be distributed by.
    return "unique index", tuple(c.name for c in index.expressions if isinstance(c, Column))


def _get_option(table: Table, option: str) -> Any:
    value = table.dialect_options["greenplum"][option]
    kinds, names = KINDS[option]
    if value is not None and not isinstance(value, kinds):
        raise OptionError(f"table {table.fullname!r}: greenplum_{option}={value!r}; give {names}")
    return value


def distribution_of(table: Table) -> Distribution:
    """The table's distribution: what its options say, else what its keys allow (:func:`implied_distribution`)."""
    said: Distribution | None = _get_option(table, "distributed_by")
    if said is not None:
        return said
    keys = sorted(key_sets(table), key=lambda item: item[0] != "primary key")
    return implied_distribution([columns for _, columns in keys])


def check_table(table: Table, capabilities: Capabilities) -> None:
    """Refuse what is wrong about a table's options on any server, then on this one.

    :raises OptionError: naming table, option and remedy.
    """
    where = f"table {table.fullname!r}"
    distribution, storage, partitions = (
        distribution_of(table),
        _get_option(table, "storage"),
        _get_option(table, "partition_by"),
    )
    named: dict[str, tuple[str, ...]] = {}
    if isinstance(distribution, DistributedBy):
        named["greenplum_distributed_by"] = distribution.columns
    if isinstance(partitions, RangePartitions | ListPartitions):
        named["greenplum_partition_by"] = (partitions.column,)
    names = {column.name for column in table.columns}  # not their keys, which may be others
    for option, columns in named.items():
        for column in columns:
            if column not in names:
                raise OptionError(f"{where}: {option} names {column!r}, which is no column of the table")
    if isinstance(partitions, OtherPartitions):
        raise OptionError(
            f"{where}: greenplum_partition_by={partitions!r} was read from a server and cannot be made here; "
            "give RangePartitions(…) or ListPartitions(…), or make the table by SQL of your own"
        )
    if partitions is not None:
        check_bounds(table, partitions.column, partitions.partitions)
    _check_postgresql_options(table, where, storage, partitions, capabilities)
    if capabilities.distribution:
        _check_keys(where, key_sets(table), distribution, storage, capabilities)
        _check_storage(where, storage, capabilities)
        _check_partitions(table, where, distribution, partitions, capabilities)
        for described in table.columns:
            check_encoding(table, described, capabilities)


def _check_postgresql_options(
    table: Table, where: str, storage: Any, partitions: Any, capabilities: Capabilities
) -> None:
    pg = table.dialect_options["postgresql"]
    if pg.get("partition_by") and partitions is not None:
        raise OptionError(f"{where}: greenplum_partition_by and postgresql_partition_by exclude each other; keep one")
    if pg.get("partition_by") and capabilities.partitions_required:
        raise OptionError(
            f"{where}: postgresql_partition_by is declarative, which this server does not have; "
            "use greenplum_partition_by=RangePartitions(…)"
        )
    if pg.get("using") and storage is not None and capabilities.append_optimized:
        raise OptionError(f"{where}: greenplum_storage and postgresql_using exclude each other; keep one")
    if pg.get("using") and not capabilities.access_methods:
        raise OptionError(
            f"{where}: postgresql_using={pg['using']!r}: this server has no access methods; use greenplum_storage="
        )
    temporary = any(str(p).upper() in ("TEMP", "TEMPORARY") for p in table._prefixes)
    ours = sorted(_STORAGE_PARAMETERS & {str(name).lower() for name in pg.get("with") or ()})
    if ours and storage is not None and capabilities.append_optimized:
        raise OptionError(f"{where}: postgresql_with says {', '.join(ours)}, which greenplum_storage says; keep one")
    if pg.get("with_oids") is not None and storage is not None and capabilities.append_optimized:
        raise OptionError(f"{where}: postgresql_with_oids and greenplum_storage exclude each other; keep one")
    if pg.get("on_commit") and not temporary:
        raise OptionError(f"{where}: postgresql_on_commit is for temporary tables; add prefixes=['TEMPORARY']")
    if temporary and partitions is not None and capabilities.distribution:
        raise OptionError(f"{where}: a temporary table cannot be partitioned on this server; drop one of the two")


def misplaced_key(distribution: Distribution, keys: Any) -> tuple[str, tuple[str, ...]] | None:
    """The first of the unique keys that could not be checked on one segment; see :func:`key_sets`."""
    if isinstance(distribution, DistributedReplicated):
        return None
    needed = set(distribution.columns) if isinstance(distribution, DistributedBy) else None
    return next((key for key in keys if needed is None or not needed <= set(key[1])), None)


def _check_keys(where: str, keys: Any, distribution: Distribution, storage: Any, capabilities: Capabilities) -> None:
    misplaced = misplaced_key(distribution, keys)
    if misplaced is not None and isinstance(distribution, DistributedBy):
        raise OptionError(
            f"{where}: the {misplaced[0]} on {misplaced[1]} must contain the distribution key {distribution.columns}, "
            "or uniqueness could not be checked on a segment; add the columns or use DistributedReplicated()"
        )
    if misplaced is not None:
        raise OptionError(
            f"{where}: a {misplaced[0]} on {misplaced[1]} cannot be checked with DistributedRandomly(); "
            "distribute by columns of the key, or drop the key"
        )
    if isinstance(storage, AppendOptimized) and keys and not capabilities.unique_on_append_optimized:
        raise OptionError(
            f"{where}: append-optimized tables have no unique keys on this server, but there is a "
            f"{keys[0][0]} on {keys[0][1]}; use Heap() or drop the key"
        )


def _check_compresstype(where: str, compresstype: str, capabilities: Capabilities) -> None:
    if compresstype not in capabilities.compresstypes:
        raise OptionError(
            f"{where}: compresstype={compresstype!r} is unknown to this server; "
            f"it has {', '.join(sorted(capabilities.compresstypes))}"
        )


def _check_storage(where: str, storage: Any, capabilities: Capabilities) -> None:
    if isinstance(storage, AppendOptimized):
        _check_compresstype(where, storage.compresstype, capabilities)


def _check_partitions(
    table: Table, where: str, distribution: Distribution, partitions: Any, capabilities: Capabilities
) -> None:
    if partitions is None:
        return
    if isinstance(distribution, DistributedReplicated):
        raise OptionError(f"{where}: a replicated table cannot be partitioned; distribute it by a column")
    if capabilities.partitions_required and not partitions.partitions and partitions.default is None:
        kind = "Range" if isinstance(partitions, RangePartitions) else "List"
        raise OptionError(
            f"{where}: Greenplum 6 needs at least one partition when the table is made; "
            f"give {kind}Partitions({partitions.column!r}, ({kind}Partition(…),))"
        )
    for kind, columns in key_sets(table):
        if partitions.column not in columns:
            raise OptionError(
                f"{where}: the {kind} on {columns} must contain the partition key {partitions.column!r}; "
                "add the column or drop the key"
            )


def check_encoding(table: Table, column: Column[Any], capabilities: Capabilities) -> None:
    """Refuse a column encoding where the table has no columns to encode.

    :raises OptionError: naming table, column and remedy.
    """
    encoding = column.dialect_options["greenplum"]["encoding"]
    if encoding is None:
        return
    where = f"table {table.fullname!r}, column {column.name!r}"
    if not isinstance(encoding, Encoding):
        raise OptionError(f"{where}: greenplum_encoding={encoding!r}; give Encoding(…)")
    storage = table.dialect_options["greenplum"]["storage"]
    if not isinstance(storage, AppendOptimized) or storage.orientation != "column":
        raise OptionError(
            f"{where}: greenplum_encoding needs greenplum_storage=AppendOptimized(orientation='column'), "
            f"but it is {storage!r}; change the storage or drop the encoding"
        )
    _check_compresstype(where, encoding.compresstype, capabilities)


def check_bounds(table: Table, column: str, partitions: Any) -> None:
    """Refuse bounds that the column's type would take in another meaning than was written.

    :raises OptionError: naming table, partition, bound and remedy.
    """
    kind: Any = next((each.type for each in table.columns if each.name == column), None)
    while isinstance(kind, TypeDecorator):
        kind = kind.impl_instance
    for partition in partitions:
        for bound in _bounds_of(partition):
            remedy = _wrong_for(kind, bound)
            if remedy:
                raise OptionError(
                    f"table {table.fullname!r}: partition {partition.name!r} of {column!r} ({kind!r}) "
                    f"has the bound {bound!r}; {remedy}"
                )


def _bounds_of(partition: Partition) -> tuple[Any, ...]:
    if isinstance(partition, RangePartition):
        return tuple(b for b in (partition.start, partition.end) if b is not None)
    return tuple(v for v in getattr(partition, "values", ()) if v is not None)


def _wrong_for(kind: Any, bound: Any) -> str | None:
    if isinstance(kind, DateTime) and kind.timezone and not isinstance(bound, datetime):
        return "it would follow the session's time zone; give an aware datetime"
    if isinstance(kind, DateTime) and not kind.timezone and not isinstance(bound, str):
        return "the column has no time zone; give text, '2026-01-01 00:00:00' (bounds=str)"
    if isinstance(kind, Date) and (isinstance(bound, datetime) or not isinstance(bound, date)):
        return "give a date"
    if isinstance(kind, Integer) and type(bound) is not int:
        return "give a whole number"
    if isinstance(kind, Numeric) and type(bound) not in (int, Decimal):
        return "give a whole number or a Decimal"
    if isinstance(kind, String) and not isinstance(bound, str):
        return "give text"
    return None


INDEX_METHODS_MISSING = {
    "bitmap": "use btree, or gin for arrays and documents",
    "brin": "use btree, or none: partitions already skip what a range cannot hold",
    "hash": "use btree",
}


def check_index(index: Index, capabilities: Capabilities) -> None:
    """Refuse an index method this server does not have, and a unique index it could not keep.

    :raises UnsupportedByServerError: the method is missing.
    :raises OptionError: the unique index does not fit the table's distribution or storage.
    """
    table = index.table
    assert table is not None
    method = str(index.dialect_options["postgresql"]["using"] or "btree").lower()
    where = f"table {table.fullname!r}"
    if method in capabilities.missing_index_methods:
        raise UnsupportedByServerError(
            f"{where}: index {index.name!r} postgresql_using={method!r}: this server has no {method} indexes; "
            f"{INDEX_METHODS_MISSING[method]}"
        )
    if index.unique and capabilities.distribution and table.dialect_options["greenplum"]["distributed_by"] is not None:
        keys = [_columns_of_index(index)]
        storage = table.dialect_options["greenplum"]["storage"]
        _check_keys(where, keys, distribution_of(table), storage, capabilities)


def check_external(table: Table, external: ExternalTable, capabilities: Capabilities) -> None:
    """Refuse options that mean nothing, or are refused, on an external table.

    :raises UnsupportedByServerError: the server has no external tables.
    :raises OptionError: naming table, option and remedy.
    """
    where = f"table {table.fullname!r}"
    if not capabilities.distribution:
        raise UnsupportedByServerError(
            f"{where}: PostgreSQL has no external tables; use file_fdw or COPY there, or leave the table out of create_all"
        )
    for option in ("storage", "partition_by"):
        if table.dialect_options["greenplum"][option] is not None:
            raise OptionError(f"{where}: an external table stores nothing; drop greenplum_{option}")
    distribution = _get_option(table, "distributed_by")
    if distribution is not None and not external.writable:
        raise OptionError(f"{where}: only a writable external table is distributed; drop greenplum_distributed_by")
    if isinstance(distribution, DistributedReplicated):
        raise OptionError(f"{where}: an external table cannot be replicated; use DistributedBy(…) or randomly")
    if isinstance(distribution, DistributedBy):
        names = {column.name for column in table.columns}
        for column in distribution.columns:
            if column not in names:
                raise OptionError(
                    f"{where}: greenplum_distributed_by names {column!r}, which is no column of the table"
                )
    if key_sets(table) or table.foreign_key_constraints or table.indexes:
        raise OptionError(f"{where}: an external table has no keys and no indexes; drop them")
    for each in table.columns:
        told = "server_default" if each.server_default is not None else "nullable=False"
        if each.server_default is not None or not each.nullable:
            raise OptionError(f"{where}, column {each.name!r}: {told} means nothing on an external table; drop it")
    if any(isinstance(constraint, CheckConstraint) for constraint in table.constraints):
        raise OptionError(
            f"{where}: an external table checks nothing; drop the CheckConstraint, and check when loading"
        )
