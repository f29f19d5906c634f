"""Catalog rows → option objects, for all tables of a schema in one query each."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from typing import Any

from sqlalchemy.engine import Connection

from gpwarehouse.dialect.ddl_compiler import child_table_name
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
from gpwarehouse.dialect.reflection.left_open import UNREADABLE, warn_left_open
from gpwarehouse.dialect.server import ServerDialect

__all__ = ["distributions_of", "encodings_of", "partition_children", "partitionings_of", "partitions_of", "storages_of"]

Names = str | Iterable[str] | None


def _names(table: Names) -> list[str] | None:
    return [table] if isinstance(table, str) else None if table is None else list(table)


def _catalog(dialect: ServerDialect) -> str | None:
    """Which partition catalog there is: ``classic``, ``declarative``, or none before PostgreSQL 10."""
    capabilities, version = dialect.capabilities, dialect.server_version_info
    if capabilities is None or version is None:
        return None
    if capabilities.partition_catalog == "declarative" and version < (10,):
        return None
    return capabilities.partition_catalog


def partition_children(connection: Connection, dialect: ServerDialect, schema: str | None) -> set[str]:
    """Names of the tables in ``schema`` that are partitions of others."""
    kind = _catalog(dialect)
    return set() if kind is None else {row.relname for row in catalog.rows(connection, catalog.CHILDREN[kind], schema)}


def distributions_of(
    connection: Connection, dialect: ServerDialect, schema: str | None, table: Names = None
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
    connection: Connection, dialect: ServerDialect, schema: str | None, table: Names = None
) -> dict[str, Storage]:
    """Table name → storage, for the tables of a schema; empty on servers without append-optimized tables."""
    if dialect.capabilities is None or not dialect.capabilities.append_optimized:
        return {}
    sql = catalog.STORAGE[dialect.capabilities.partition_catalog]
    found: dict[str, Storage] = {}
    for row in catalog.rows(connection, sql, schema, _names(table)):
        if row.method is None:
            continue
        try:
            found[row.relname] = _storage(row.method, _settings(row.reloptions))
        except UNREADABLE as error:
            _warn(row.relname, row.reloptions, error)
    return found


def _warn(table: str, settings: Iterable[str], error: Exception) -> None:
    warn_left_open(table, f"its storage, {', '.join(settings)}, is none we know", error)


def _settings(options: Iterable[str]) -> dict[str, str]:
    return {name: value.lower() for name, value in (item.split("=", 1) for item in options)}


def _compression(settings: Mapping[str, str]) -> dict[str, Any]:
    # Greenplum 6 keeps what was written: a level without a type is zlib's (CREATE TABLE reference).
    level = int(settings["compresslevel"]) if "compresslevel" in settings else None
    kind = settings.get("compresstype", "zlib" if level else "none")
    level = (0 if kind == "none" else 1) if level is None else level
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
        checksum=settings.get("checksum", "true") not in ("false", "off", "no", "0", "f", "n"),
        **_compression(settings),
    )


def encodings_of(
    connection: Connection, dialect: ServerDialect, schema: str | None, table: Names = None
) -> dict[str, dict[str, Encoding]]:
    """Table name → column → encoding, where a column's is not the table's own."""
    if dialect.capabilities is None or not dialect.capabilities.append_optimized:
        return {}
    found: dict[str, dict[str, Encoding]] = {}
    for row in catalog.rows(connection, catalog.ENCODINGS, schema, _names(table)):
        try:
            encoding = Encoding(**_compression(_settings(row.attoptions)))
            table_encoding = Encoding(**_compression(_settings(row.reloptions)))
        except UNREADABLE as error:
            _warn(row.relname, [*row.reloptions, f"column {row.attname}:", *row.attoptions], error)
            continue
        if encoding != table_encoding:
            found.setdefault(row.relname, {})[row.attname] = encoding
    return found


def partitionings_of(
    connection: Connection, dialect: ServerDialect, schema: str | None, table: Names = None
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
    connection: Connection, dialect: ServerDialect, schema: str | None, table: Names = None
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
    partitions = [row for row in rows if row.child is not None and not _was_dropped_meanwhile(row)]
    default = next((_name_and_child(name, row)[0] for row in partitions if row.is_default), None)
    others = [row for row in partitions if not row.is_default]
    try:
        if method == "list":
            listed = tuple(_read_list_partition(name, row) for row in others)
            return ListPartitions(first.columns[0], listed, default)
        ranges = tuple(_range(name, row) for row in others)
        return RangePartitions(first.columns[0], ranges, default)
    except UNREADABLE as error:
        warn_left_open(name, f"a bound of its partitions by {first.columns[0]!r} is none our values can say", error)
        return other


def _was_dropped_meanwhile(row: Any) -> bool:
    """pg_get_expr() looks past the statement's snapshot: of a partition that another session just dropped it gives NULL."""
    return not (row.is_default or row.lower_bound or row.upper_bound or row.list_values)


def _read_list_partition(table: str, row: Any) -> ListPartition:
    name, child = _name_and_child(table, row)
    return ListPartition(name, parse_values(row.list_values, row.kind), child=child)


def _range(table: str, row: Any) -> RangePartition:
    name, child = _name_and_child(table, row)
    if row.lower_bound and row.lower_bound.startswith("FOR VALUES"):
        bounds = parse_range(row.lower_bound, row.kind)
        if bounds is None:
            raise OptionError(f"table {table!r}: partition {name!r} {row.lower_bound} is not a bound of one column")
        return RangePartition(name, *bounds, child=child)
    start, end = (parse_bound(text, row.kind) if text else None for text in (row.lower_bound, row.upper_bound))
    # As Greenplum 7 itself stores a start left out or an end taken in, of columns whose values have a next one.
    start = start if start is None or row.starts_in else _next(table, name, start)
    end = end if end is None or not row.ends_in else _next(table, name, end)
    return RangePartition(name, start, end, child=child)


def _next(table: str, name: str, bound: Any) -> Any:
    if type(bound) is int:
        return bound + 1
    if type(bound) is date:
        return bound + timedelta(days=1)
    raise OptionError(f"table {table!r}: partition {name!r} excludes its start or includes its end")


def _name_and_child(table: str, row: Any) -> tuple[str, str | None]:
    """A partition's name, and its table's name where statements cannot do with the first."""
    if row.name:  # Greenplum 6 has names of its own
        return str(row.name), None
    child: str = row.child
    for mark in re.finditer("(?<=.)_1_prt_(?=.)", child):
        if child == child_table_name(table, child[mark.end() :]):
            return child[mark.end() :], child if row.name == "" else None  # '': unnamed on Greenplum 6
    return child, child
