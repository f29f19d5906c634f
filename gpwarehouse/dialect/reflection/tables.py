"""Catalog rows → option objects, for all tables of a schema in one query each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from sqlalchemy.engine import Connection

from gpwarehouse.dialect.errors import OptionError
from gpwarehouse.dialect.options import (
    AppendOptimized,
    DistributedBy,
    DistributedRandomly,
    DistributedReplicated,
    Distribution,
    Encoding,
    Heap,
    Storage,
)
from gpwarehouse.dialect.partitions import (
    ListPartition,
    ListPartitions,
    OtherPartitions,
    Partitioning,
    RangePartition,
    RangePartitions,
)
from gpwarehouse.dialect.reflection import catalog
from gpwarehouse.dialect.reflection.bounds import parse_bound, parse_range, parse_values

if TYPE_CHECKING:
    from gpwarehouse.dialect.base import GreenplumDialect

__all__ = ["distributions_of", "encodings_of", "partition_children", "partitionings_of", "partitions_of", "storages_of"]

Names = str | Iterable[str] | None


def _names(table: Names) -> list[str] | None:
    return [table] if isinstance(table, str) else None if table is None else list(table)


def _catalog(dialect: GreenplumDialect) -> str | None:
    """Which partition catalog there is: ``classic``, ``declarative``, or none before PostgreSQL 10."""
    capabilities, version = dialect.capabilities, dialect.server_version_info
    if capabilities is None or version is None:
        return None
    if capabilities.partition_catalog == "declarative" and version < (10,):
        return None
    return capabilities.partition_catalog


def partition_children(connection: Connection, dialect: GreenplumDialect, schema: str | None) -> set[str]:
    """Names of the tables in ``schema`` that are partitions of others."""
    kind = _catalog(dialect)
    return set() if kind is None else {row.relname for row in catalog.rows(connection, catalog.CHILDREN[kind], schema)}


def distributions_of(
    connection: Connection, dialect: GreenplumDialect, schema: str | None, table: Names = None
) -> dict[str, Distribution]:
    """Table name → distribution, for the tables of a schema; empty on servers without segments."""
    if dialect.capabilities is None or not dialect.capabilities.distribution:
        return {}
    rows = catalog.rows(connection, catalog.DISTRIBUTION, schema, _names(table))
    return {row.relname: _distribution(row.policytype, row.columns, row.classes) for row in rows}


def _distribution(policytype: str, columns: Iterable[str], classes: Iterable[str] | None) -> Distribution:
    if policytype == "r":
        return DistributedReplicated()
    names = tuple(columns)
    if not names:
        return DistributedRandomly()
    odd = {column: name for column, name in zip(names, classes or (), strict=False) if name}
    return DistributedBy(*names, opclasses=odd)


def storages_of(
    connection: Connection, dialect: GreenplumDialect, schema: str | None, table: Names = None
) -> dict[str, Storage]:
    """Table name → storage, for the tables of a schema; empty on servers without append-optimized tables."""
    if dialect.capabilities is None or not dialect.capabilities.append_optimized:
        return {}
    sql = catalog.STORAGE[dialect.capabilities.partition_catalog]
    return {
        row.relname: _storage(row.method, _settings(row.reloptions))
        for row in catalog.rows(connection, sql, schema, _names(table))
        if row.method is not None
    }


def _settings(options: Iterable[str]) -> dict[str, str]:
    return dict(item.split("=", 1) for item in options)


def _compression(settings: Mapping[str, str]) -> dict[str, Any]:
    kind = settings.get("compresstype", "none")
    level = int(settings.get("compresslevel", 0 if kind == "none" else 1))
    return {
        "compresstype": "none" if level == 0 else kind,
        "compresslevel": level,
        "blocksize": int(settings.get("blocksize", 32768)),
    }


def _storage(method: str, settings: Mapping[str, str]) -> Storage:
    if not method.startswith("ao_"):
        return Heap()
    return AppendOptimized(
        orientation="column" if method == "ao_column" else "row",
        checksum=settings.get("checksum", "true") != "false",
        **_compression(settings),
    )


def encodings_of(
    connection: Connection, dialect: GreenplumDialect, schema: str | None, table: Names = None
) -> dict[str, dict[str, Encoding]]:
    """Table name → column → encoding, where a column's is not the table's own."""
    if dialect.capabilities is None or not dialect.capabilities.append_optimized:
        return {}
    found: dict[str, dict[str, Encoding]] = {}
    for row in catalog.rows(connection, catalog.ENCODINGS, schema, _names(table)):
        encoding = Encoding(**_compression(_settings(row.attoptions)))
        if encoding != Encoding(**_compression(_settings(row.reloptions))):
            found.setdefault(row.relname, {})[row.attname] = encoding
    return found


def partitionings_of(
    connection: Connection, dialect: GreenplumDialect, schema: str | None, table: Names = None
) -> dict[str, Partitioning]:
    """Table name → partitioning, with the partitions there are."""
    kind = _catalog(dialect)
    if kind is None:
        return {}
    grouped: dict[str, list[Any]] = {}
    for row in catalog.rows(connection, catalog.PARTITIONS[kind], schema, _names(table)):
        grouped.setdefault(row.relname, []).append(row)
    return {name: _partitioning(name, rows) for name, rows in grouped.items()}


def partitions_of(
    connection: Connection, dialect: GreenplumDialect, schema: str | None, table: Names = None
) -> dict[str, RangePartitions]:
    """Table name → range partitioning by one column, with the partitions there are, in order of their bounds."""
    found = partitionings_of(connection, dialect, schema, table)
    return {name: scheme for name, scheme in found.items() if isinstance(scheme, RangePartitions)}


def _partitioning(name: str, rows: list[Any]) -> Partitioning:
    first = rows[0]
    method = {"r": "range", "l": "list", "h": "hash"}[first.strategy]
    other = OtherPartitions(method, tuple(first.columns), 2 if first.nested else 1)
    if first.nested or first.natts != 1 or method == "hash" or not first.columns[0]:
        return other
    partitions = [row for row in rows if row.child is not None]
    default = next((_partition_name(name, row) for row in partitions if row.is_default), None)
    others = [row for row in partitions if not row.is_default]
    try:
        if method == "list":
            listed = tuple(
                ListPartition(_partition_name(name, row), parse_values(row.list_values, row.kind)) for row in others
            )
            return ListPartitions(first.columns[0], listed, default)
        ranges = tuple(_range(name, row) for row in others)
        return RangePartitions(first.columns[0], ranges, default)
    except OptionError:  # bounds of others' making that our values cannot say
        return other


def _range(table: str, row: Any) -> RangePartition:
    name = _partition_name(table, row)
    if row.lower_bound and row.lower_bound.startswith("FOR VALUES"):
        bounds = parse_range(row.lower_bound, row.kind)
        if bounds is None:
            raise OptionError(f"table {table!r}: partition {name!r} {row.lower_bound} is none of one column")
        return RangePartition(name, *bounds)
    start, end = (parse_bound(text, row.kind) if text else None for text in (row.lower_bound, row.upper_bound))
    if (start is not None and not row.starts_in) or (end is not None and row.ends_in):
        if not (isinstance(start, int | None) and isinstance(end, int | None)):
            raise OptionError(f"table {table!r}: partition {name!r} leaves its start out or takes its end in")
        start = start if start is None or row.starts_in else start + 1  # as Greenplum 7 itself stores them
        end = end if end is None or not row.ends_in else end + 1
    return RangePartition(name, start, end)


def _partition_name(table: str, row: Any) -> str:
    if row.name:
        return str(row.name)
    prefix = f"{table}_1_prt_"
    child: str = row.child
    return child[len(prefix) :] if child.startswith(prefix) else child
