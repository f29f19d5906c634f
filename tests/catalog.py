"""What a schema looks like in the catalogs, for comparing one state with another."""

from __future__ import annotations

from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import Engine

_COLUMNS = """
    SELECT c.relname, c.relkind, row_number() OVER (PARTITION BY c.oid ORDER BY a.attnum), a.attname,
        format_type(a.atttypid, a.atttypmod), a.attnotnull,
        pg_get_expr(d.adbin, d.adrelid), col_description(c.oid, a.attnum)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
    WHERE n.nspname = :schema AND c.relkind IN ('r', 'p', 'v', 'i')"""
_RELATIONS = """
    SELECT c.relname, c.relkind, c.reloptions::text, obj_description(c.oid, 'pg_class')
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = :schema"""
_CONSTRAINTS = """
    SELECT c.relname, o.conname, pg_get_constraintdef(o.oid)
    FROM pg_constraint o JOIN pg_class c ON c.oid = o.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = :schema"""
_INDEXES = "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = :schema"
_VIEWS = "SELECT viewname, definition FROM pg_views WHERE schemaname = :schema"
_DISTRIBUTION = """
    SELECT c.relname, pg_get_table_distributedby(c.oid)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = :schema AND c.relkind IN ('r', 'p')"""


def catalog(engine: Engine, schema: str = "dw") -> dict[str, list[Any]]:
    """Columns, options, comments, constraints, indexes, views and, on a cluster, distribution of a schema."""
    queries = {"columns": _COLUMNS, "relations": _RELATIONS, "constraints": _CONSTRAINTS}
    queries |= {"indexes": _INDEXES, "views": _VIEWS}
    with engine.connect() as connection:
        connection.execute(text("SET LOCAL search_path = pg_catalog"))  # or names of that schema would lose it
        if engine.dialect.capabilities.distribution:  # type: ignore[attr-defined]
            queries["distribution"] = _DISTRIBUTION
        return {
            name: sorted((tuple(row) for row in connection.execute(text(sql), {"schema": schema})), key=repr)
            for name, sql in queries.items()
        }
