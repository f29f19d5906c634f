"""Catalogs → the same option objects the models are written with.

Every function asks in one query for a whole schema, never once a table: catalogs of partitioned warehouses hold tens
of thousands of relations. Greenplum 6 keeps partitions in ``pg_partition`` and ``pg_partition_rule`` (the view
``pg_partitions`` over them is slow and is not used), storage in ``pg_appendonly``; Greenplum 7 keeps both where
PostgreSQL 12 does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from sqlalchemy import text
from sqlalchemy.dialects.postgresql.base import PGInspector
from sqlalchemy.engine import Connection
from sqlalchemy.engine.reflection import ObjectKind, ObjectScope

from gpwarehouse.dialect.compat_reflection import postgresql_table_options, stock_reads_table_options
from gpwarehouse.dialect.options import (
    AppendOptimized,
    Bound,
    DistributedBy,
    DistributedRandomly,
    DistributedReplicated,
    Distribution,
    Heap,
    RangePartition,
    RangePartitions,
    Storage,
)

if TYPE_CHECKING:
    from gpwarehouse.dialect.base import GreenplumDialect

__all__ = ["GreenplumInspector", "ObjectKind", "ObjectScope"]

_SCHEMA = "n.nspname = COALESCE(:schema, current_schema())"

_CHILDREN = {
    "classic": f"""
        SELECT c.relname FROM pg_catalog.pg_partition_rule r
        JOIN pg_catalog.pg_class c ON c.oid = r.parchildrelid
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE {_SCHEMA}""",
    "declarative": f"""
        SELECT c.relname FROM pg_catalog.pg_class c
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relispartition AND {_SCHEMA}""",
}

_DISTRIBUTION = f"""
    SELECT c.relname, p.policytype::text AS policytype, ARRAY(
        SELECT a.attname::text
        FROM unnest(string_to_array(p.distkey::text, ' ')::int[]) WITH ORDINALITY AS k (attnum, place)
        JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum
        ORDER BY k.place) AS columns
    FROM pg_catalog.gp_distribution_policy p
    JOIN pg_catalog.pg_class c ON c.oid = p.localoid
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE {_SCHEMA} AND (CAST(:table AS text) IS NULL OR c.relname = :table)"""

_STORAGE = {
    "classic": f"""
        SELECT c.relname,
            CASE c.relstorage WHEN 'a' THEN 'ao_row' WHEN 'c' THEN 'ao_column' WHEN 'h' THEN 'heap' END AS method,
            COALESCE(c.reloptions, '{{}}') AS reloptions
        FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind = 'r' AND {_SCHEMA}""",
    "declarative": f"""
        SELECT c.relname, m.amname AS method, COALESCE(c.reloptions, '{{}}') AS reloptions
        FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        JOIN pg_catalog.pg_am m ON m.oid = c.relam
        WHERE c.relkind IN ('r', 'p') AND {_SCHEMA}""",
}

# One row per range partition of a table that is partitioned, on one level, by one column.
_PARTITIONS = {
    "classic": f"""
        SELECT c.relname, a.attname AS column_name, r.parname AS name,
            pg_catalog.pg_get_expr(r.parrangestart, r.parchildrelid) AS lower_bound,
            pg_catalog.pg_get_expr(r.parrangeend, r.parchildrelid) AS upper_bound
        FROM pg_catalog.pg_partition p
        JOIN pg_catalog.pg_class c ON c.oid = p.parrelid
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = p.paratts[0]
        LEFT JOIN pg_catalog.pg_partition_rule r ON r.paroid = p.oid AND NOT r.parisdefault
        WHERE p.parlevel = 0 AND p.parkind = 'r' AND p.parnatts = 1 AND NOT p.paristemplate AND {_SCHEMA}
            AND (CAST(:table AS text) IS NULL OR c.relname = :table)""",
    "declarative": f"""
        SELECT c.relname, a.attname AS column_name, k.relname AS name,
            pg_catalog.pg_get_expr(k.relpartbound, k.oid) AS lower_bound, NULL::text AS upper_bound
        FROM pg_catalog.pg_partitioned_table p
        JOIN pg_catalog.pg_class c ON c.oid = p.partrelid
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = p.partattrs[0]
        LEFT JOIN pg_catalog.pg_inherits i ON i.inhparent = c.oid
        LEFT JOIN pg_catalog.pg_class k ON k.oid = i.inhrelid
        WHERE p.partstrat = 'r' AND p.partnatts = 1 AND NOT c.relispartition AND {_SCHEMA}
            AND (CAST(:table AS text) IS NULL OR c.relname = :table)""",
}

_STORAGE_SETTINGS = frozenset(
    {"appendonly", "appendoptimized", "orientation", "compresstype", "compresslevel", "blocksize", "checksum"}
)


def partition_children(connection: Connection, dialect: GreenplumDialect, schema: str | None) -> set[str]:
    """Names of the tables in ``schema`` that are partitions of others."""
    capabilities = dialect.capabilities
    if capabilities is None or dialect.server_version_info < (9, 4):  # type: ignore[operator]
        return set()
    if capabilities.partition_catalog == "declarative" and dialect.server_version_info < (10,):  # type: ignore[operator]
        return set()
    return set(connection.execute(text(_CHILDREN[capabilities.partition_catalog]), {"schema": schema}).scalars())


def base_table_options(
    dialect: GreenplumDialect, parent: Any, connection: Connection, **kw: Any
) -> dict[tuple[str | None, str], dict[str, Any]]:
    """PostgreSQL's own table options, from SQLAlchemy where it can read them."""
    if stock_reads_table_options(dialect):
        return {key: dict(options) for key, options in parent.get_multi_table_options(connection, **kw)}
    return postgresql_table_options(connection, dialect, **kw)


def with_greenplum_options(
    connection: Connection,
    dialect: GreenplumDialect,
    schema: str | None,
    found: dict[tuple[str | None, str], dict[str, Any]],
) -> dict[tuple[str | None, str], dict[str, Any]]:
    """Add distribution, storage and partitioning to the options of the tables found."""
    distributions = distributions_of(connection, dialect, schema)
    storages = storages_of(connection, dialect, schema) if distributions else {}
    partitions = partitions_of(connection, dialect, schema)
    for (_, name), options in found.items():
        if name in distributions:
            options["greenplum_distributed_by"] = distributions[name]
            options["greenplum_storage"] = storages.get(name, Heap())
            options.pop("postgresql_using", None)
            rest = {k: v for k, v in options.pop("postgresql_with", {}).items() if k not in _STORAGE_SETTINGS}
            if rest:
                options["postgresql_with"] = rest
        if name in partitions:
            options["greenplum_partition_by"] = partitions[name]
    return found


def distributions_of(
    connection: Connection, dialect: GreenplumDialect, schema: str | None, table: str | None = None
) -> dict[str, Distribution]:
    """Table name → distribution, for the tables of a schema; empty on servers without segments."""
    if dialect.capabilities is None or not dialect.capabilities.distribution:
        return {}
    rows = connection.execute(text(_DISTRIBUTION), {"schema": schema, "table": table})
    return {row.relname: _distribution(row.policytype, row.columns) for row in rows}


def _distribution(policytype: str, columns: Iterable[str]) -> Distribution:
    if policytype == "r":
        return DistributedReplicated()
    names = tuple(columns)
    return DistributedBy(*names) if names else DistributedRandomly()


def storages_of(connection: Connection, dialect: GreenplumDialect, schema: str | None) -> dict[str, Storage]:
    """Table name → storage, for the tables of a schema."""
    assert dialect.capabilities is not None
    rows = connection.execute(text(_STORAGE[dialect.capabilities.partition_catalog]), {"schema": schema})
    return {
        row.relname: _storage(row.method, dict(item.split("=", 1) for item in row.reloptions))
        for row in rows
        if row.method is not None
    }


def _storage(method: str, settings: Mapping[str, str]) -> Storage:
    if not method.startswith("ao_"):
        return Heap()
    kind = settings.get("compresstype", "none")
    level = int(settings.get("compresslevel", 0 if kind == "none" else 1))
    blocksize = int(settings.get("blocksize", 32768))
    return AppendOptimized(
        orientation="column" if method == "ao_column" else "row",
        compresstype="none" if level == 0 else kind,
        compresslevel=level,
        blocksize=None if blocksize == 32768 else blocksize,
    )


def partitions_of(
    connection: Connection, dialect: GreenplumDialect, schema: str | None, table: str | None = None
) -> dict[str, RangePartitions]:
    """Table name → range partitioning by one column, with the partitions there are, in order of their bounds."""
    capabilities = dialect.capabilities
    assert capabilities is not None
    found: dict[str, tuple[str, list[RangePartition]]] = {}
    sql = text(_PARTITIONS[capabilities.partition_catalog])
    for row in connection.execute(sql, {"schema": schema, "table": table}):
        _, parts = found.setdefault(row.relname, (row.column_name, []))
        bounds = _bounds(row.lower_bound, row.upper_bound)
        if row.name is not None and bounds is not None:
            parts.append(RangePartition(_partition_name(row.relname, row.name), *bounds))
    return {
        name: RangePartitions(column, tuple(sorted(parts, key=lambda p: p.start)))
        for name, (column, parts) in found.items()
    }


def _partition_name(table: str, stored: str) -> str:
    prefix = f"{table}_1_prt_"
    return stored[len(prefix) :] if stored.startswith(prefix) else stored


def _bounds(lower: str | None, upper: str | None) -> tuple[Bound, Bound] | None:
    """Parse bounds; None for a partition open at one end, or of a type that has no value here."""
    if lower is not None and upper is None:
        match = re.fullmatch(r"FOR VALUES FROM \((.+)\) TO \((.+)\)", lower)
        if not match:
            return None
        lower, upper = match[1], match[2]
    if lower is None or upper is None:
        return None
    start, end = parse_bound(lower), parse_bound(upper)
    if start is None or end is None:
        return None
    if isinstance(start, int) and isinstance(end, Decimal):
        start = Decimal(start)
    return start, end


def parse_bound(expression: str) -> Bound | None:
    """A deparsed bound as a value: ``'2026-01-01 00:00:00+00'::timestamp with time zone`` → aware datetime in UTC."""
    match = re.fullmatch(r"'((?:[^']|'')*)'(?:::[\w \(\)]+)?", expression.strip())
    if not match:
        number = re.fullmatch(r"\(?(-?\d+)(\.\d+)?\)?(?:::[\w \(\),]+)?", expression.strip())
        if not number:
            return None
        return Decimal(number[1] + number[2]) if number[2] else int(number[1])
    value = match[1].replace("''", "'")
    if re.fullmatch(r"\d{4}-\d\d-\d\d", value):
        return date.fromisoformat(value)
    if re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?[+-]\d\d(:?\d\d)?(:?\d\d)?", value):
        return datetime.fromisoformat(value).astimezone(UTC)
    return value


class GreenplumInspector(PGInspector):
    """Inspector with Greenplum's views of a table, as option objects."""

    dialect: GreenplumDialect

    def _ask(self, function: Any, table_name: str, schema: str | None) -> Any:
        with self._operation_context() as connection:
            return function(connection, self.dialect, schema, table_name).get(table_name)

    def get_distribution(self, table_name: str, schema: str | None = None) -> Distribution | None:
        """How the table's rows are spread; None on servers without segments."""
        found: Distribution | None = self._ask(distributions_of, table_name, schema)
        return found

    def get_partitions(self, table_name: str, schema: str | None = None) -> RangePartitions | None:
        """How the table is partitioned and by which partitions; None if it is not, by range over one column."""
        found: RangePartitions | None = self._ask(partitions_of, table_name, schema)
        return found
