"""The catalog queries. Each asks for a whole schema at once; none is asked once a table.

Greenplum 6 keeps partitions in ``pg_partition`` and ``pg_partition_rule`` (the view ``pg_partitions`` over them is slow
and is not used) and storage in ``pg_class.relstorage``; Greenplum 7 keeps both where PostgreSQL 12 does. Parameters:
``schema`` (NULL: what the search path shows) and ``names`` (NULL: all).
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import Connection

__all__ = [
    "CHILDREN",
    "DISTRIBUTION",
    "ENCODINGS",
    "EXTERNAL",
    "EXTERNAL_NAMES",
    "FOREIGN_KEY_CLONES",
    "PARTITIONS",
    "STORAGE",
    "rows",
]

_IN = """(n.nspname = CAST(:schema AS text) OR (CAST(:schema AS text) IS NULL AND n.nspname <> 'pg_catalog'
            AND pg_catalog.pg_table_is_visible(c.oid)))"""
_THESE = f"{_IN} AND (CAST(:names AS text[]) IS NULL OR c.relname = ANY (CAST(:names AS text[])))"
_RELATION = "pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"

CHILDREN = {
    "classic": f"""
        SELECT c.relname FROM {_RELATION} JOIN pg_catalog.pg_partition_rule r ON c.oid = r.parchildrelid
        WHERE {_IN}""",
    "declarative": f"SELECT c.relname FROM {_RELATION} WHERE c.relispartition AND {_IN}",
}
"""Tables that are partitions of others."""

# An operator class is shown where it is not what DISTRIBUTED BY (column) would take: the type's default one, or with
# gp_use_legacy_hashops the one of Greenplum 5 (cdbhash_…), where the type has one.
DISTRIBUTION = f"""
    SELECT d.relname, d.policytype, ARRAY(
            SELECT a.attname::text FROM unnest(d.keys) WITH ORDINALITY AS k (attnum, place)
            JOIN pg_catalog.pg_attribute a ON a.attrelid = d.oid AND a.attnum = k.attnum ORDER BY k.place) AS columns,
        CASE WHEN d.odd THEN ARRAY(
            SELECT CASE WHEN o.opcname LIKE 'cdbhash%' = d.legacy OR (d.legacy AND NOT EXISTS (
                    SELECT 1 FROM pg_catalog.pg_opclass l
                    WHERE l.opcname LIKE 'cdbhash%' AND l.opcintype = o.opcintype)) THEN '' ELSE o.opcname::text END
            FROM unnest(d.classes) WITH ORDINALITY AS k (opclass, place)
            JOIN pg_catalog.pg_opclass o ON o.oid = k.opclass ORDER BY k.place) END AS classes
    FROM (SELECT c.oid, c.relname, p.policytype::text AS policytype,
            string_to_array(p.distkey::text, ' ')::int[] AS keys,
            string_to_array(p.distclass::text, ' ')::oid[] AS classes,
            current_setting('gp_use_legacy_hashops')::bool AS legacy,
            current_setting('gp_use_legacy_hashops')::bool OR EXISTS (
                SELECT 1 FROM pg_catalog.pg_opclass o
                WHERE o.oid = ANY (string_to_array(p.distclass::text, ' ')::oid[]) AND NOT o.opcdefault) AS odd
        FROM {_RELATION} JOIN pg_catalog.gp_distribution_policy p ON c.oid = p.localoid
        WHERE {_THESE}) d"""

STORAGE = {
    "classic": f"""
        SELECT c.relname,
            CASE c.relstorage WHEN 'a' THEN 'ao_row' WHEN 'c' THEN 'ao_column' WHEN 'h' THEN 'heap' END AS method,
            COALESCE(c.reloptions, '{{}}') AS reloptions
        FROM {_RELATION} WHERE c.relkind = 'r' AND {_THESE}""",
    "declarative": f"""
        SELECT c.relname, m.amname AS method, COALESCE(c.reloptions, '{{}}') AS reloptions
        FROM {_RELATION} JOIN pg_catalog.pg_am m ON m.oid = c.relam
        WHERE c.relkind IN ('r', 'p') AND {_THESE}""",
}

ENCODINGS = f"""
    SELECT c.relname, a.attname, e.attoptions, COALESCE(c.reloptions, '{{}}') AS reloptions
    FROM {_RELATION}
    JOIN pg_catalog.pg_attribute_encoding e ON e.attrelid = c.oid
    JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = e.attnum AND NOT a.attisdropped
    WHERE {_THESE}"""

# One row a partition of the first level, and one for a table without any. OFFSET 0 keeps the planner from looking the
# key's columns up again for every partition.
PARTITIONS = {
    "classic": f"""
        SELECT t.*, r.parname AS name, k.relname AS child, r.parisdefault AS is_default,
            r.parrangestartincl AS starts_in, r.parrangeendincl AS ends_in,
            pg_catalog.pg_get_expr(r.parrangestart, r.parchildrelid) AS lower_bound,
            pg_catalog.pg_get_expr(r.parrangeend, r.parchildrelid) AS upper_bound,
            pg_catalog.pg_get_expr(r.parlistvalues, r.parchildrelid) AS list_values
        FROM (SELECT p.oid AS paroid, c.relname, p.parkind::text AS strategy, p.parnatts AS natts,
                ARRAY(SELECT a.attname::text FROM generate_series(0, p.parnatts - 1) i
                    JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = p.paratts[i]
                    ORDER BY i) AS columns,
                (SELECT pg_catalog.format_type(a.atttypid, NULL) FROM pg_catalog.pg_attribute a
                    WHERE a.attrelid = c.oid AND a.attnum = p.paratts[0]) AS kind,
                EXISTS (SELECT 1 FROM pg_catalog.pg_partition s
                    WHERE s.parrelid = p.parrelid AND s.parlevel > 0) AS nested
            FROM {_RELATION} JOIN pg_catalog.pg_partition p ON c.oid = p.parrelid
            WHERE p.parlevel = 0 AND NOT p.paristemplate AND {_THESE} OFFSET 0) t
        LEFT JOIN pg_catalog.pg_partition_rule r ON r.paroid = t.paroid
        LEFT JOIN pg_catalog.pg_class k ON k.oid = r.parchildrelid
        ORDER BY t.relname, r.parruleord""",
    "declarative": f"""
        SELECT t.*, NULL::text AS name, k.relname AS child,
            pg_catalog.pg_get_expr(k.relpartbound, k.oid) = 'DEFAULT' AS is_default,
            true AS starts_in, false AS ends_in,
            pg_catalog.pg_get_expr(k.relpartbound, k.oid) AS lower_bound, NULL::text AS upper_bound,
            pg_catalog.pg_get_expr(k.relpartbound, k.oid) AS list_values
        FROM (SELECT c.oid, c.relname, p.partstrat::text AS strategy, p.partnatts AS natts,
                ARRAY(SELECT COALESCE(a.attname::text, '') FROM generate_series(0, p.partnatts - 1) i
                    LEFT JOIN pg_catalog.pg_attribute a
                        ON a.attrelid = c.oid AND a.attnum = p.partattrs[i] AND a.attnum > 0
                    ORDER BY i) AS columns,
                (SELECT pg_catalog.format_type(a.atttypid, NULL) FROM pg_catalog.pg_attribute a
                    WHERE a.attrelid = c.oid AND a.attnum = p.partattrs[0] AND a.attnum > 0) AS kind,
                EXISTS (SELECT 1 FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class k ON k.oid = i.inhrelid
                    WHERE i.inhparent = c.oid AND k.relkind = 'p') AS nested
            FROM {_RELATION} JOIN pg_catalog.pg_partitioned_table p ON c.oid = p.partrelid
            WHERE NOT c.relispartition AND {_THESE} OFFSET 0) t
        LEFT JOIN pg_catalog.pg_inherits i ON i.inhparent = t.oid
        LEFT JOIN pg_catalog.pg_class k ON k.oid = i.inhrelid
        ORDER BY t.relname, k.oid""",
}

EXTERNAL_NAMES = {
    "classic": f"SELECT c.relname FROM {_RELATION} JOIN pg_catalog.pg_exttable x ON x.reloid = c.oid WHERE {_IN}",
    "declarative": f"""
        SELECT c.relname FROM {_RELATION} JOIN pg_catalog.pg_foreign_table f ON f.ftrelid = c.oid
        JOIN pg_catalog.pg_foreign_server s ON s.oid = f.ftserver AND s.srvname = 'gp_exttable_server'
        WHERE {_IN}""",
}

EXTERNAL = {
    "classic": f"""
        SELECT c.relname, x.urilocation AS location, x.execlocation[1] AS runs_on, x.command, x.fmttype::text AS fmttype,
            x.fmtopts, NULL::text[] AS ftoptions, x.options, x.rejectlimit, x.rejectlimittype::text AS rejecttype,
            x.logerrors, pg_catalog.pg_encoding_to_char(x.encoding) AS encoding, x.writable
        FROM {_RELATION} JOIN pg_catalog.pg_exttable x ON x.reloid = c.oid
        WHERE {_THESE}""",
    "declarative": f"""
        SELECT c.relname, x.urilocation AS location, x.execlocation[1] AS runs_on, x.command, x.fmttype::text AS fmttype,
            NULL::text AS fmtopts, f.ftoptions, NULL::text[] AS options, x.rejectlimit,
            x.rejectlimittype::text AS rejecttype, x.logerrors,
            pg_catalog.pg_encoding_to_char(x.encoding) AS encoding, x.writable
        FROM {_RELATION} JOIN pg_catalog.pg_exttable x ON x.reloid = c.oid
        JOIN pg_catalog.pg_foreign_table f ON f.ftrelid = c.oid
        WHERE {_THESE}""",
}


# A foreign key to a partitioned table has a clone in the catalog for each partition that it refers to, from PostgreSQL 12 on.
FOREIGN_KEY_CLONES = f"""
    SELECT c.relname, k.conname FROM {_RELATION}
    JOIN pg_catalog.pg_constraint k ON k.conrelid = c.oid AND k.contype = 'f'
    JOIN pg_catalog.pg_constraint p ON p.oid = k.conparentid AND p.conrelid = k.conrelid
    WHERE {_THESE}"""


def rows(connection: Connection, sql: str, schema: str | None, names: list[str] | None = None) -> list[Any]:
    """Ask one of the queries."""
    return list(connection.execute(text(sql), {"schema": schema, "names": names}))
