"""Checks, in SQL, for what a copy of a table could not carry. Each query gives its finding in words, or no row.

They are joined in the block of ``copy_sql``, whose names they use, and run before anything changes.
"""

from __future__ import annotations

from gpwarehouse.dialect.rewrite.copy_sql import STORAGE_OPTIONS

_THESE = "= ANY (was || kids)"

CHECKS = (
    f"""SELECT format('%s, which is temporary, external or no table', c.oid::regclass) AS what FROM pg_catalog.pg_class c
            WHERE c.oid {_THESE} AND (c.relkind NOT IN ('r', 'p') OR c.relpersistence = 't'
                OR COALESCE(row_to_json(c)->>'relstorage', 'h') NOT IN ('a', 'c', 'h', 'v'))""",
    """SELECT format('that %s is unlogged', c.oid::regclass) FROM pg_catalog.pg_class c
            WHERE c.oid = ANY (kids) AND c.relpersistence = 'u'""",
    f"""SELECT format('the row security of %s', c.oid::regclass) FROM pg_catalog.pg_class c
            WHERE c.oid {_THESE} AND 'true' IN (row_to_json(c)->>'relrowsecurity', row_to_json(c)->>'relforcerowsecurity')""",
    f"""SELECT format('the replica identity of %s', c.oid::regclass) FROM pg_catalog.pg_class c
            WHERE c.oid {_THESE} AND c.relreplident <> 'd'""",
    f"""SELECT format('the type of %s', c.oid::regclass) FROM pg_catalog.pg_class c WHERE c.oid {_THESE} AND c.reloftype <> 0""",
    f"""SELECT format('the oids of %s', c.oid::regclass) FROM pg_catalog.pg_class c
            WHERE c.oid {_THESE} AND row_to_json(c)->>'relhasoids' = 'true'""",
    f"""SELECT format('trigger %I on %s', t.tgname, t.tgrelid::regclass) FROM pg_catalog.pg_trigger t
            WHERE t.tgrelid {_THESE} AND NOT t.tgisinternal""",
    f"""SELECT format('rule %I on %s', r.rulename, r.ev_class::regclass) FROM pg_catalog.pg_rewrite r
            WHERE r.ev_class {_THESE} AND (r.ev_class <> was OR r.ev_enabled <> 'O')""",
    """SELECT format('that it is part of %s', i.inhparent::regclass) FROM pg_catalog.pg_inherits i WHERE i.inhrelid = was""",
    f"""SELECT format('%s, which inherits from it', i.inhrelid::regclass) FROM pg_catalog.pg_inherits i
            JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid AND c.relkind NOT IN ('i', 'I')
            WHERE i.inhparent {_THESE} AND i.inhrelid <> ALL (kids)""",
    f"""SELECT format('%s, which reads it', r.ev_class::regclass) FROM pg_catalog.pg_depend d
            JOIN pg_catalog.pg_rewrite r ON r.oid = d.objid
            WHERE d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.refclassid = 'pg_catalog.pg_class'::regclass
                AND d.refobjid {_THESE} AND r.ev_class <> ALL (was || kids)""",
    f"""SELECT format('%s, which is of its type', pg_describe_object(d.classid, d.objid, d.objsubid))
            FROM pg_catalog.pg_class c JOIN pg_catalog.pg_type y ON y.oid = c.reltype
            JOIN pg_catalog.pg_depend d ON d.refclassid = 'pg_catalog.pg_type'::regclass AND d.refobjid IN (y.oid, y.typarray)
            WHERE c.oid {_THESE} AND d.classid IN ('pg_catalog.pg_proc'::regclass, 'pg_catalog.pg_class'::regclass)""",
    f"""SELECT format('foreign key %I of %s', k.conname, k.conrelid::regclass) FROM pg_catalog.pg_constraint k
            WHERE k.contype = 'f' AND k.confrelid {_THESE} AND k.conrelid <> ALL (was || kids)""",
    f"""SELECT format('the security label of %s', l.objoid::regclass) FROM pg_catalog.pg_seclabel l
            WHERE l.classoid = 'pg_catalog.pg_class'::regclass AND l.objoid {_THESE}""",
    f"""SELECT format('the tablespace, clustering, options or statistics target of index %s', i.indexrelid::regclass)
            FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
            WHERE i.indrelid {_THESE} AND (c.reltablespace <> 0 OR i.indisclustered
                OR EXISTS (SELECT 1 FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attstattarget >= 0
                    AND i.indexprs IS NOT NULL)
                OR (c.reloptions IS NOT NULL AND EXISTS (
                    SELECT 1 FROM pg_catalog.pg_constraint k WHERE k.conindid = c.oid AND k.contype IN ('p', 'u', 'x'))))""",
    """SELECT format('index %s, which is not valid', i.indexrelid::regclass) FROM pg_catalog.pg_index i
            WHERE i.indrelid = was AND NOT i.indisvalid""",
    # Partitions with something of their own.
    """SELECT format('the own grants or owner of %s', c.oid::regclass) FROM pg_catalog.pg_class c
            JOIN pg_catalog.pg_class r ON r.oid = was
            WHERE c.oid = ANY (kids) AND (c.relowner <> r.relowner
                OR NOT (c.relacl <@ COALESCE(r.relacl, '{}') AND c.relacl @> COALESCE(r.relacl, '{}')))""",
    """SELECT format('the own settings of column %I of %s', a.attname, a.attrelid::regclass)
            FROM pg_catalog.pg_attribute a
            LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
            JOIN pg_catalog.pg_attribute b ON b.attrelid = was AND b.attname = a.attname
            LEFT JOIN pg_catalog.pg_attrdef e ON e.adrelid = b.attrelid AND e.adnum = b.attnum
            WHERE a.attrelid = ANY (kids) AND a.attnum > 0 AND NOT a.attisdropped AND (
                (a.attnotnull AND NOT b.attnotnull) OR a.attstorage <> b.attstorage
                OR (a.attstattarget >= 0 AND a.attstattarget IS DISTINCT FROM b.attstattarget)
                OR COALESCE(a.attoptions::text, b.attoptions::text) IS DISTINCT FROM b.attoptions::text
                OR NOT (a.attacl <@ COALESCE(b.attacl, '{}') AND a.attacl @> COALESCE(b.attacl, '{}'))
                OR COALESCE(col_description(a.attrelid, a.attnum), col_description(was, b.attnum))
                    IS DISTINCT FROM col_description(was, b.attnum)
                OR COALESCE(pg_get_expr(d.adbin, d.adrelid), pg_get_expr(e.adbin, e.adrelid))
                    IS DISTINCT FROM pg_get_expr(e.adbin, e.adrelid))""",
)

CHECKS_DECLARATIVE = (
    f"""SELECT format('policy %I on %s', p.polname, p.polrelid::regclass) FROM pg_catalog.pg_policy p
            WHERE p.polrelid {_THESE}""",
    f"""SELECT format('that publication %I holds %s', b.pubname, p.prrelid::regclass) FROM pg_catalog.pg_publication_rel p
            JOIN pg_catalog.pg_publication b ON b.oid = p.prpubid WHERE p.prrelid {_THESE}""",
    """SELECT format('constraint %I, of %s only', k.conname, k.conrelid::regclass) FROM pg_catalog.pg_constraint k
            WHERE k.conrelid = ANY (kids) AND k.contype IN ('c', 'f', 'p', 'u', 'x') AND k.coninhcount = 0""",
    """SELECT format('the statistics %I of %s', s.stxname, s.stxrelid::regclass) FROM pg_catalog.pg_statistic_ext s
            WHERE s.stxrelid = ANY (kids)
                OR (s.stxrelid = was AND COALESCE(row_to_json(s)->>'stxstattarget', '-1') <> '-1')""",
    """SELECT format('the grants on sequence %s', q.oid::regclass) FROM pg_catalog.pg_depend d
            JOIN pg_catalog.pg_class q ON q.oid = d.objid AND q.relkind = 'S' AND q.relacl IS NOT NULL
            WHERE d.refobjid = was AND d.classid = 'pg_catalog.pg_class'::regclass AND d.deptype = 'i'""",
)

# An index of a partition depends on that of its table (deptype I) on Greenplum 6; elsewhere it inherits from it.
CHILD_INDEXES = {
    "classic": """SELECT format('index %s, of %s only', i.indexrelid::regclass, i.indrelid::regclass)
            FROM pg_catalog.pg_index i WHERE i.indrelid = ANY (kids) AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_depend d
                WHERE d.objid = i.indexrelid AND d.classid = 'pg_catalog.pg_class'::regclass AND d.deptype = 'I')""",
    "declarative": """SELECT format('index %s, of %s only', i.indexrelid::regclass, i.indrelid::regclass)
            FROM pg_catalog.pg_index i WHERE i.indrelid = ANY (kids) AND NOT EXISTS (
                SELECT 1 FROM pg_catalog.pg_inherits h WHERE h.inhrelid = i.indexrelid)
                AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_constraint k
                    WHERE k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x') AND k.coninhcount > 0)""",
}

LISTS_OF_SEVERAL = """SELECT 'the lists of its partitions, by several columns' FROM pg_catalog.pg_partition p
            WHERE p.parrelid = was AND p.parkind = 'l' AND p.parnatts > 1"""

# The options of append-optimized storage as they count, left out or not.
_COUNTING = f"""ARRAY(SELECT o.said FROM unnest({{of}}.reloptions) o (said)
                WHERE split_part(o.said, '=', 1) <> ALL ({STORAGE_OPTIONS}::text[]) ORDER BY o.said)"""
_SET = "(SELECT max(substr(o.said, {length})) FROM unnest({of}.reloptions) o (said) WHERE left(o.said, {length} - 1) = '{name}=')"


def _as_it_counts(of: str) -> str:
    def option(name: str, default: str) -> str:
        return f"COALESCE({_SET.format(of=of, name=name, length=len(name) + 2)}, {default})"

    kind = option("compresstype", "'none'")
    level = option("compresslevel", f"CASE {kind} WHEN 'none' THEN '0' ELSE '1' END")
    parts = [kind, level, option("blocksize", "'32768'"), option("checksum", "'true'"), _COUNTING.format(of=of)]
    return f"ROW({', '.join(parts)}, {of}.reltablespace)::text"


STORED_APART = {
    "classic": f"""SELECT format('how %s is stored, other than the table', c.oid::regclass) FROM pg_catalog.pg_class c
            JOIN pg_catalog.pg_class r ON r.oid = was
            WHERE c.oid = ANY (kids) AND (c.relstorage <> r.relstorage
                OR {_as_it_counts("c")} <> {_as_it_counts("r")})""",
    # PostgreSQL stores nothing but a tablespace with a partitioned table: there the first partition stands for it.
    "declarative": f"""SELECT format('how %s is stored, other than the table', c.oid::regclass) FROM pg_catalog.pg_class c
            JOIN pg_catalog.pg_class r ON r.oid = CASE WHEN {{root}} THEN was ELSE (SELECT min(l.oid::bigint)::oid
                FROM pg_catalog.pg_class l WHERE l.oid = ANY (kids) AND l.relkind = 'r') END
            WHERE c.oid = ANY (kids) AND c.relkind = 'r' AND (c.relam <> r.relam
                OR {_as_it_counts("c")} <> {_as_it_counts("r")})""",
}

ENCODED_APART = """SELECT format('the own encoding of column %I of %s', a.attname, a.attrelid::regclass)
            FROM pg_catalog.pg_attribute_encoding e
            JOIN pg_catalog.pg_attribute a ON a.attrelid = e.attrelid AND a.attnum = e.attnum AND NOT a.attisdropped
            JOIN pg_catalog.pg_attribute b ON b.attrelid = was AND b.attname = a.attname
            JOIN pg_catalog.pg_attribute_encoding f ON f.attrelid = was AND f.attnum = b.attnum
            WHERE e.attrelid = ANY (kids) AND NOT e.attoptions @> f.attoptions"""

HEAP_OPTIONS = f"""SELECT format('%s of %s, which append-optimized tables do not have', o.said, c.oid::regclass)
            FROM pg_catalog.pg_class c, unnest(c.reloptions) o (said)
            WHERE c.oid {_THESE} AND split_part(o.said, '=', 1) <> ALL ({STORAGE_OPTIONS}::text[])"""

OPTIONS_APART = f"""SELECT format('the own options of %s', c.oid::regclass)
            FROM pg_catalog.pg_class c JOIN pg_catalog.pg_class r ON r.oid = was
            WHERE c.oid = ANY (kids) AND (c.reltablespace <> r.reltablespace
                OR {_COUNTING.format(of="c")} <> {_COUNTING.format(of="r")})"""
