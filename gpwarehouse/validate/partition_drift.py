"""Differences between a partition and its table: NOT NULL, defaults, collations, checks, indexes, kind of table.

Partitions are alike, or a statement means one thing in one month and another in the next. One query of the catalogs a
kind, for all partitions of all facts.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import Connection

from gpwarehouse.models import FACTS
from gpwarehouse.validate.finding import Finding

__all__ = ["compare_partitions"]

_PAIRS = """
    FROM pg_inherits i JOIN pg_class p ON p.oid = i.inhparent JOIN pg_class c ON c.oid = i.inhrelid"""
_OURS = "p.relnamespace = :space AND p.relname = ANY (:facts) AND c.relkind IN ('r', 'p', 'f')"
_COLUMNS = f"""
    SELECT c.relname, ca.attname, ca.attnotnull AS required, pa.attnotnull AS wanted_required,
        pg_get_expr(cd.adbin, cd.adrelid) AS said, pg_get_expr(pd.adbin, pd.adrelid) AS wanted_said,
        ca.attcollation <> pa.attcollation AS other_collation {_PAIRS}
    JOIN pg_attribute pa ON pa.attrelid = p.oid AND pa.attnum > 0 AND NOT pa.attisdropped
    JOIN pg_attribute ca ON ca.attrelid = c.oid AND ca.attname = pa.attname AND NOT ca.attisdropped
    LEFT JOIN pg_attrdef pd ON pd.adrelid = p.oid AND pd.adnum = pa.attnum
    LEFT JOIN pg_attrdef cd ON cd.adrelid = c.oid AND cd.adnum = ca.attnum
    WHERE {_OURS} AND (ca.attnotnull <> pa.attnotnull OR ca.attcollation <> pa.attcollation
        OR pg_get_expr(cd.adbin, cd.adrelid) IS DISTINCT FROM pg_get_expr(pd.adbin, pd.adrelid))
    ORDER BY 1, 2"""  # noqa: S608  (constants of this module)
# Greenplum 6 keeps a partition's bounds as a check of that name.
_CONSTRAINTS = f"""
    SELECT c.relname, o.conname, o.contype::text AS kind, pg_get_constraintdef(o.oid) AS said {_PAIRS}
    JOIN pg_constraint o ON o.conrelid = c.oid AND o.contype IN ('c', 'f')
    WHERE {_OURS} AND NOT (o.contype = 'f' AND o.coninhcount > 0)
        AND NOT EXISTS (SELECT 1 FROM pg_constraint q
            WHERE q.conrelid = p.oid AND q.contype = o.contype AND q.conname = o.conname)
        AND NOT (o.contype = 'c' AND :classic AND o.conname = left(c.relname || '_check', 63))
    ORDER BY 1, 2"""  # noqa: S608
_INDEXES = """
    SELECT COALESCE(p.relname, c.relname) AS fact, c.relname, x.relname AS index, i.indisunique AS single,
        m.amname AS method, pg_get_expr(i.indpred, i.indrelid) AS condition,
        ARRAY(SELECT pg_get_indexdef(i.indexrelid, n, false) FROM generate_series(1, i.indnatts) n) AS columns
    FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_class x ON x.oid = i.indexrelid
    JOIN pg_am m ON m.oid = x.relam
    LEFT JOIN pg_inherits h ON h.inhrelid = c.oid LEFT JOIN pg_class p ON p.oid = h.inhparent
    WHERE c.relnamespace = :space AND COALESCE(p.relname, c.relname) = ANY (:facts) ORDER BY c.relname, x.relname"""
_FOREIGN = f"SELECT c.relname {_PAIRS} WHERE {_OURS} AND c.relkind = 'f' ORDER BY 1"

_REMEDY = "make it as its table's (ALTER TABLE on the partition), or write the month anew and exchange it"


def compare_partitions(
    connection: Connection, space: int, parents: Mapping[str, str], *, classic: bool
) -> Iterator[Finding]:
    """Differences between the facts and their partitions.

    :param space: the schema's oid; ``parents``: partition → its table; ``classic``: whether the server is a Greenplum 6.
    """

    def rows(sql: str) -> Any:
        return connection.execute(text(sql), {"space": space, "facts": list(FACTS), "classic": classic})

    for row in rows(_COLUMNS):
        name = f"{row.relname}.{row.attname}"
        if row.required != row.wanted_required:
            said = {True: "NOT NULL", False: "NULL"}
            yield Finding("nullability", name, said[row.wanted_required], said[row.required], _REMEDY)
        if row.said != row.wanted_said:
            yield Finding("default", name, row.wanted_said or "none", row.said or "none", _REMEDY)
        if row.other_collation:
            yield Finding("collation", name, "as its table's", "another", _REMEDY)
    for row in rows(_CONSTRAINTS):
        kind = "check" if row.kind == "c" else "foreign key"
        yield Finding(kind, f"{row.relname}.{row.conname}", "not there", row.said, "DROP CONSTRAINT on the partition")
    for row in rows(_FOREIGN):
        yield Finding("storage", row.relname, "a table", "a foreign table", _REMEDY)
    yield from _indexes(rows(_INDEXES), parents)


def _indexes(rows: Any, parents: Mapping[str, str]) -> Iterator[Finding]:
    facts: dict[str, Counter[str]] = defaultdict(Counter)
    found: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for row in rows:
        condition = f" WHERE {row.condition}" if row.condition else ""
        said = f"{'UNIQUE ' if row.single else ''}{row.method} ({', '.join(row.columns)}){condition}"
        if row.fact == row.relname:
            facts[row.fact][said] += 1
        else:
            found[row.fact, row.relname][row.index] = said
    for partition, fact in parents.items():  # one without any index is in no row
        if fact in facts:
            found.setdefault((fact, partition), {})
    for (fact, partition), indexes in sorted(found.items()):
        wanted = Counter(facts[fact])
        for index, said in indexes.items():
            if wanted[said]:
                wanted[said] -= 1
            else:
                yield Finding("index", f"{partition}.{index}", "not there", said, "DROP INDEX")
        for said in wanted.elements():
            yield Finding("index", partition, said, "missing", "CREATE INDEX on the partition")
