"""Rows, sizes and statistics of tables, from the catalog: nothing is counted, so no table is read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pandas as pd
from sqlalchemy import text
from sqlalchemy.engine import Connection

from gpwarehouse.engine import dialect_of
from gpwarehouse.errors import InvalidInputError
from gpwarehouse.tables.skew_and_bloat import skew_of

__all__ = ["TableStats", "list_tables", "table_stats"]

# A table that is dropped meanwhile has no size any more. A month is a child of its table in pg_inherits on each server. Before
# PostgreSQL 14, 0 rows may mean "not known".
_PARTS = """
    WITH parts AS (
        SELECT c.oid AS root, c.oid AS part FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = :schema AND c.relkind IN ('r', 'p')
            AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_inherits i WHERE i.inhrelid = c.oid)
        UNION ALL
        SELECT c.oid, i.inhrelid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        JOIN pg_catalog.pg_inherits i ON i.inhparent = c.oid
        WHERE n.nspname = :schema AND c.relkind IN ('r', 'p')
            AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_inherits o WHERE o.inhrelid = c.oid)
    ), sized AS (
        SELECT p.root, p.part, c.relname AS name, p.root <> p.part AS is_month, c.reltuples AS tuples,
            COALESCE(pg_catalog.pg_total_relation_size(c.oid), 0) AS bytes, {analyzed} AS analyzed
        FROM parts p JOIN pg_catalog.pg_class c ON c.oid = p.part
    )"""
_TABLES = """
    SELECT r.relname AS "table", pg_catalog.obj_description(r.oid, 'pg_class') AS comment,
        CAST(sum(GREATEST(s.tuples, 0)) FILTER (WHERE s.is_month OR NOT m.has_months) AS bigint) AS rows_estimated,
        CAST(sum(s.bytes) AS bigint) AS bytes, CAST(sum(CASE WHEN s.is_month THEN 1 ELSE 0 END) AS int) AS months,
        max(s.analyzed) AS last_analyzed
    FROM sized s JOIN pg_catalog.pg_class r ON r.oid = s.root
    JOIN (SELECT root, bool_or(is_month) AS has_months FROM sized GROUP BY root) m ON m.root = s.root
    GROUP BY r.oid, r.relname ORDER BY r.relname"""
_MONTHS = """
    SELECT s.name AS partition, CAST(CASE WHEN s.tuples >= 0 THEN s.tuples END AS bigint) AS rows_estimated, s.bytes,
        s.analyzed AS last_analyzed
    FROM sized s JOIN pg_catalog.pg_class r ON r.oid = s.root WHERE r.relname = :table AND s.is_month ORDER BY s.name"""
_ANALYZED = {
    False: "(SELECT GREATEST(t.last_analyze, t.last_autoanalyze) FROM pg_catalog.pg_stat_all_tables t WHERE t.relid = c.oid)",
    True: "(SELECT max(o.statime) FROM pg_catalog.pg_stat_last_operation o "
    "WHERE o.objid = c.oid AND o.staactionname = 'ANALYZE')",
}
_BY_SEGMENT = """
    SELECT c.gp_segment_id AS segment, CAST(sum(pg_catalog.pg_relation_size(c.oid)) AS bigint) AS bytes
    FROM gp_dist_random('pg_class') c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = :schema AND (c.relname = :table OR c.oid IN (
        SELECT i.inhrelid FROM gp_dist_random('pg_inherits') i JOIN gp_dist_random('pg_class') r ON r.oid = i.inhparent
        WHERE r.relname = :table AND i.gp_segment_id = c.gp_segment_id))
    GROUP BY c.gp_segment_id ORDER BY c.gp_segment_id"""


@dataclass(frozen=True)
class TableStats:
    """What the catalog knows of a table.

    :ivar rows_estimated: rows, as ANALYZE estimated them; 0 if it never ran.
    :ivar bytes: size on disk with indexes, of all segments.
    :ivar last_analyzed: when statistics were last gathered of the table or one of its months; None if never, or if it is not
        known.
    :ivar skew_pct: 100 · (bytes of the fullest segment / mean bytes of a segment − 1); None without segments or bytes.
    :ivar months: a row for each month: ``partition``, ``rows_estimated``, ``bytes``, ``last_analyzed``.
    """

    table: str
    comment: str | None
    rows_estimated: int
    bytes: int
    last_analyzed: datetime | None
    skew_pct: float | None
    months: pd.DataFrame


def list_tables(connection: Connection, schema: str) -> pd.DataFrame:
    """A row for each table of a schema: ``table``, ``comment``, ``rows_estimated``, ``bytes``, ``months``, ``last_analyzed``."""
    names = ("table", "comment", "rows_estimated", "bytes", "months", "last_analyzed")
    return pd.DataFrame(_read_tables(connection, schema), columns=list(names))


def _read_tables(connection: Connection, schema: str) -> list[dict[str, Any]]:
    rows = connection.execute(text(_with_parts(connection) + _TABLES), {"schema": schema}).mappings()
    return [dict(row) for row in rows]


def table_stats(connection: Connection, schema: str, table: str) -> TableStats:
    """What the catalog knows of one table.

    :raises InvalidInputError: the schema has no such table.
    """
    row = next((row for row in _read_tables(connection, schema) if row["table"] == table), None)
    if row is None:
        raise InvalidInputError(f"there is no table {table!r} in schema {schema!r}; wh.tables.list() shows all")
    values = {"schema": schema, "table": table}
    months = connection.execute(text(_with_parts(connection) + _MONTHS), values).mappings().all()
    return TableStats(
        table,
        row["comment"],
        int(row["rows_estimated"]),
        int(row["bytes"]),
        row["last_analyzed"],
        _skew(connection, values),
        pd.DataFrame([dict(m) for m in months], columns=["partition", "rows_estimated", "bytes", "last_analyzed"]),
    )


def _has_segments(connection: Connection) -> bool:
    capabilities = dialect_of(connection).capabilities
    assert capabilities is not None
    return capabilities.distribution


def _with_parts(connection: Connection) -> str:
    return _PARTS.format(analyzed=_ANALYZED[_has_segments(connection)])


def _skew(connection: Connection, values: dict[str, Any]) -> float | None:
    if not _has_segments(connection):
        return None
    sizes = [int(row.bytes) for row in connection.execute(text(_BY_SEGMENT), values)]
    return skew_of(sizes) if sizes else None
