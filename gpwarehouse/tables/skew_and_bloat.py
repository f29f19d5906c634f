"""Skew and bloat of all tables of a schema at once, from the catalog: no table is read."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import Connection

from gpwarehouse.engine import dialect_of

__all__ = ["measure_bloat", "measure_skew", "skew_of"]

_PARTS = """
    SELECT c.oid AS part, COALESCE(p.relname, c.relname) AS "table" FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_catalog.pg_inherits i ON i.inhrelid = c.oid LEFT JOIN pg_catalog.pg_class p ON p.oid = i.inhparent
    WHERE n.nspname = :schema AND c.relkind = 'r'"""
_SIZES = """
    SELECT c.oid AS part, c.gp_segment_id AS segment, pg_catalog.pg_relation_size(c.oid) AS bytes
    FROM gp_dist_random('pg_class') c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = :schema AND c.relkind = 'r'"""
_DEAD_ROWS = f"""
    SELECT parts."table", sum(t.n_dead_tup) AS dead, sum(t.n_live_tup + t.n_dead_tup) AS everything
    FROM ({_PARTS}) parts JOIN pg_catalog.pg_stat_all_tables t ON t.relid = parts.part GROUP BY 1"""
# Of a heap the view names only what is bloated, by the statistics; of append-optimized tables the server counts.
_BLOATED_HEAPS = f"""
    SELECT parts."table", sum(b.bdirelpages - b.bdiexppages) AS dead, sum(b.bdirelpages) AS everything
    FROM ({_PARTS}) parts JOIN gp_toolkit.gp_bloat_diag b ON b.bdirelid = parts.part WHERE b.bdirelpages > 0 GROUP BY 1"""
_HIDDEN_ROWS = f"""
    SELECT x."table", sum((x.info).hidden_tupcount) AS dead, sum((x.info).total_tupcount) AS everything
    FROM (SELECT parts."table", gp_toolkit.__gp_aovisimap_compaction_info(parts.part) AS info
          FROM ({_PARTS}) parts JOIN pg_catalog.pg_appendonly a ON a.relid = parts.part) x GROUP BY 1"""


def _has_segments(connection: Connection) -> bool:
    capabilities = dialect_of(connection).capabilities
    assert capabilities is not None
    return capabilities.distribution


def skew_of(sizes: list[int]) -> float | None:
    """100 · (fullest segment / mean of the segments − 1); None without bytes."""
    total = sum(sizes)
    return round(100 * (max(sizes) * len(sizes) / total - 1), 2) if total else None


def measure_skew(connection: Connection, schema: str) -> dict[str, float]:
    """Skew in percent by table; nothing on a server without segments."""
    if not _has_segments(connection):
        return {}
    values = {"schema": schema}
    tables = {row.part: row.table for row in connection.execute(text(_PARTS), values)}
    sizes: dict[str, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    for row in connection.execute(text(_SIZES), values):
        if row.part in tables:
            sizes[tables[row.part]][row.segment] += int(row.bytes)
    found = {table: skew_of(list(by_segment.values())) for table, by_segment in sizes.items()}
    return {table: skew for table, skew in found.items() if skew is not None}


def measure_bloat(connection: Connection, schema: str) -> dict[str, float]:
    """Share of the space that deleted rows take, in percent, by table; tables without rows are left out.

    PostgreSQL: dead rows by its statistics. Greenplum: hidden rows of append-optimized tables, as counted; pages of heaps
    beyond those expected, as ``gp_toolkit.gp_bloat_diag`` says, which needs ANALYZE.
    """
    queries = (_HIDDEN_ROWS, _BLOATED_HEAPS) if _has_segments(connection) else (_DEAD_ROWS,)
    dead: dict[str, int] = defaultdict(int)
    everything: dict[str, int] = defaultdict(int)
    for query in queries:
        rows: Any = connection.execute(text(query), {"schema": schema})
        for row in rows:
            dead[row.table] += int(row.dead or 0)
            everything[row.table] += int(row.everything or 0)
    return {table: round(100 * dead[table] / total, 2) for table, total in everything.items() if total}
