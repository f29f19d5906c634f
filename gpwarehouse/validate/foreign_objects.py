"""Objects in the schema or on its tables that are no tables, columns or views, and that the models do not have.

One query of the catalogs a kind, whatever the number of tables. Row security and publications are asked of servers that
have them (Greenplum 6 stands on PostgreSQL 9.4). Options of append-optimized storage are compared elsewhere.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import Connection

from gpwarehouse.dialect.reflection.inspector import STORAGE_SETTINGS
from gpwarehouse.engine import dialect_of
from gpwarehouse.validate.finding import Finding

__all__ = ["compare_objects", "compare_owners", "parents_of"]

_STRANGERS = """
    SELECT 'function' AS kind, p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')' AS name
    FROM pg_proc p WHERE p.pronamespace = :space
    UNION ALL
    SELECT 'type', t.typname FROM pg_type t LEFT JOIN pg_class c ON c.oid = t.typrelid
    WHERE t.typnamespace = :space AND t.typtype <> 'm' AND (t.typtype <> 'c' OR c.relkind = 'c')
        AND NOT EXISTS (SELECT 1 FROM pg_type e WHERE e.typarray = t.oid)
    UNION ALL
    SELECT 'sequence', c.relname FROM pg_class c WHERE c.relnamespace = :space AND c.relkind = 'S'
    ORDER BY 1, 2"""
_HANGING = """
    SELECT 'rule' AS kind, c.relname, r.rulename AS name, NULL AS said FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class
    WHERE c.relnamespace = :space AND r.rulename <> '_RETURN'
    UNION ALL
    SELECT 'trigger', c.relname, t.tgname, NULL FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
    WHERE c.relnamespace = :space AND NOT t.tgisinternal AND t.tgenabled <> 'D'
    UNION ALL
    SELECT 'disabled trigger', c.relname, CASE WHEN t.tgisinternal THEN NULL ELSE t.tgname END, NULL
    FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid WHERE c.relnamespace = :space AND t.tgenabled = 'D'
    UNION ALL
    SELECT 'replica identity', c.relname, NULL,
        CASE c.relreplident WHEN 'f' THEN 'FULL' WHEN 'n' THEN 'NOTHING' ELSE 'an index' END
    FROM pg_class c WHERE c.relnamespace = :space AND c.relkind IN ('r', 'p') AND c.relreplident <> 'd'
    UNION ALL
    SELECT 'statistics target', c.relname, a.attname, CAST(a.attstattarget AS text)
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
    WHERE c.relnamespace = :space AND c.relkind IN ('r', 'p') AND a.attnum > 0 AND a.attstattarget >= 0 AND NOT a.attisdropped
    UNION ALL
    SELECT 'column options', c.relname, a.attname, array_to_string(a.attoptions, ', ')
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
    WHERE c.relnamespace = :space AND c.relkind IN ('r', 'p') AND a.attnum > 0 AND a.attoptions IS NOT NULL
        AND NOT a.attisdropped
    UNION ALL
    SELECT 'options', c.relname, NULL, o.said
    FROM pg_class c, unnest(c.reloptions) o (said)
    WHERE c.relnamespace = :space AND c.relkind IN ('r', 'p', 'v') AND split_part(o.said, '=', 1) <> ALL (:storage)
    UNION ALL
    SELECT 'options', c.relname, NULL, 'toast.' || o.said
    FROM pg_class c JOIN pg_class t ON t.oid = c.reltoastrelid, unnest(t.reloptions) o (said)
    WHERE c.relnamespace = :space AND c.relkind IN ('r', 'p')
    UNION ALL
    SELECT 'unlogged', c.relname, NULL, NULL FROM pg_class c
    WHERE c.relnamespace = :space AND c.relkind IN ('r', 'p') AND c.relpersistence = 'u'
    UNION ALL
    SELECT 'invalid index', c.relname, x.relname, NULL FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
    JOIN pg_class x ON x.oid = i.indexrelid WHERE c.relnamespace = :space AND NOT (i.indisvalid AND i.indisready)"""
_ROW_SECURITY = """
    UNION ALL
    SELECT 'row security', c.relname, NULL, NULL FROM pg_class c
    WHERE c.relnamespace = :space AND (c.relrowsecurity OR c.relforcerowsecurity)
    UNION ALL
    SELECT 'policy', c.relname, p.polname, NULL FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid
    WHERE c.relnamespace = :space"""
_PUBLICATIONS = """
    UNION ALL
    SELECT 'publication', c.relname, b.pubname, 'it' FROM pg_publication_rel r
    JOIN pg_publication b ON b.oid = r.prpubid JOIN pg_class c ON c.oid = r.prrelid WHERE c.relnamespace = :space
    UNION ALL
    SELECT 'publication', NULL, b.pubname, 'all tables' FROM pg_publication b WHERE b.puballtables"""
_PUBLICATIONS_OF_SCHEMAS = """
    UNION ALL
    SELECT 'publication', NULL, b.pubname, 'all tables of the schema' FROM pg_publication_namespace s
    JOIN pg_publication b ON b.oid = s.pnpubid WHERE s.pnnspid = :space"""
_SINCE = {(9, 5): _ROW_SECURITY, (10,): _PUBLICATIONS, (15,): _PUBLICATIONS_OF_SCHEMAS}
_PARENTS = """
    SELECT c.relname AS child, p.relname AS parent FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    JOIN pg_class p ON p.oid = i.inhparent WHERE c.relnamespace = :space AND c.relkind IN ('r', 'p', 'f')"""
_OWNERS = """
    SELECT c.relname, pg_get_userbyid(c.relowner) AS owner FROM pg_class c
    WHERE c.relnamespace = :space AND c.relkind IN ('r', 'p', 'v', 'm', 'f') ORDER BY c.relname"""

_SAID = {
    "rule": ("no rule", "a rule, which may change what statements do", "DROP RULE"),
    "trigger": ("no trigger", "a trigger, which may change what is loaded", "DROP TRIGGER"),
    "disabled trigger": (
        "no trigger", "a trigger, disabled: what it is for is not done", "DROP TRIGGER, or ALTER TABLE … ENABLE TRIGGER"
    ),
    "replica identity": ("the default", "{said}", "ALTER TABLE … REPLICA IDENTITY DEFAULT"),
    "publication": ("no publication", "a publication, which sends {said} to others", "DROP PUBLICATION, or take it out"),
    "statistics target": ("the server's default", "{said}", "ALTER TABLE … ALTER COLUMN … SET STATISTICS -1"),
    "column options": ("none", "{said}", "ALTER TABLE … ALTER COLUMN … RESET (…)"),
    "options": ("none", "{said}", "ALTER TABLE … RESET (…), of a view ALTER VIEW … RESET (…)"),
    "unlogged": ("logged", "UNLOGGED: a crash empties it", "ALTER TABLE … SET LOGGED, or write it anew"),
    "invalid index": ("valid", "invalid: no query uses it", "REINDEX INDEX"),
    "row security": ("off", "on: some see some rows only", "ALTER TABLE … DISABLE ROW LEVEL SECURITY, NO FORCE"),
    "policy": ("no policy", "a policy of row security", "DROP POLICY"),
}  # fmt: skip
_COPIED = frozenset({"trigger", "disabled trigger", "statistics target", "column options"})
"""Objects that the server copies from a table to its partitions; they are reported for the table only."""


def parents_of(connection: Connection, space: int) -> dict[str, str]:
    """Partition → its table."""
    return {row.child: row.parent for row in connection.execute(text(_PARENTS), {"space": space})}


def compare_objects(
    connection: Connection, space: int, ours: Collection[str], parents: Mapping[str, str]
) -> Iterator[Finding]:
    """Foreign functions, types and sequences of the schema; rules, triggers and the like of our tables.

    :param space: the schema's oid; ``ours``: names of our tables and views; ``parents``: partition → its table.
    """
    for row in connection.execute(text(_STRANGERS), {"space": space}):
        yield Finding(
            f"foreign {row.kind}", row.name, "not in this schema", row.kind,
            "move it to a schema of its own (ALTER … SET SCHEMA), or drop it",
        )  # fmt: skip
    info = dialect_of(connection).server_info
    version = info.postgres_version if info is not None else ()
    query = _HANGING + "".join(sql for since, sql in _SINCE.items() if version >= since)
    asked = {"space": space, "storage": sorted(STORAGE_SETTINGS)}
    found = sorted((tuple(row) for row in connection.execute(text(query), asked)), key=repr)
    there = set(found)
    for kind, table, name, said in dict.fromkeys(found):
        parent = parents.get(table)
        if table is not None and table not in ours and parent not in ours:
            continue
        if kind in _COPIED and (kind, parent, name, said) in there:
            continue
        expected, words, remedy = _SAID[kind]
        yield Finding(kind, ".".join(filter(None, (table, name))), expected, words.format(said=said), remedy)


def compare_owners(
    connection: Connection, space: int, ours: Collection[str], parents: Mapping[str, str]
) -> Iterator[Finding]:
    """Tables and views of ours that belong to another than the most do, where no roles say whose they should be."""
    owned: dict[str, list[str]] = defaultdict(list)
    rows: list[Any] = list(connection.execute(text(_OWNERS), {"space": space}))
    for row in rows:
        if row.relname in ours or parents.get(row.relname) in ours:
            owned[row.owner].append(row.relname)
    most = max(owned, key=lambda owner: len(owned[owner]), default="")
    for owner, names in sorted(owned.items()):
        if owner != most:
            some = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
            yield Finding(
                "owner", some, f"{most}, as the others", owner, "ALTER TABLE … OWNER TO …, or gpwarehouse roles apply"
            )
