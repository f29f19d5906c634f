"""Storage, encoding and partitioning of a table that has rows: in place where the server can, else by a copy.

Greenplum 7 changes storage and encodings in place (``SET ACCESS METHOD``, ``SET ENCODING``; it still rewrites the
data). Greenplum 6 cannot, and no server changes how a table is partitioned: there the statements lock the table, copy
its rows into a new one, carry over defaults, checks, comments, keys, indexes, grants, owner and sequences, drop the old
one and take its name. All in the transaction they run in; the copy needs the table's size in free space. Views and
foreign keys of others on the table stop it, with the server's error, before anything is lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import MetaData, Table
from sqlalchemy.ext.compiler import compiles

from gpwarehouse.dialect.compiler import all_partitions
from gpwarehouse.dialect.ddl import TableDDL, refuse
from gpwarehouse.dialect.errors import OptionError
from gpwarehouse.dialect.options import AppendOptimized, Encoding, Heap, Storage

__all__ = ["RewriteTable", "SetEncoding", "SetEncodings", "SetStorage"]

SUFFIX = "__rw"


class SetStorage(TableDDL):
    """Change how a table is stored; all of it is rewritten.

    On Greenplum 7 ``SET ACCESS METHOD``; on 6 a rewrite by copy, for which ``table`` says the partitioning and the
    encodings it shall have (``greenplum_partition_by=``, or the statement refuses a partitioned table).
    """

    def __init__(self, table: Table, storage: Storage, *, encodings: Mapping[str, Encoding] | None = None) -> None:
        super().__init__(table)
        self.storage = storage
        self.encodings = dict(encodings or {})


class SetEncoding(TableDDL):
    """Change how one column is stored; all of it is rewritten.

    On Greenplum 7 ``SET ENCODING``; on 6 a rewrite by copy, for which ``table`` must say ``greenplum_storage=``.

    :param others: the encodings of the other columns; a rewrite by copy would lose them.
    """

    def __init__(
        self, table: Table, column: str, encoding: Encoding, *, others: Mapping[str, Encoding] | None = None
    ) -> None:
        super().__init__(table)
        self.column = column
        self.encoding = encoding
        self.others = dict(others or {})


class SetEncodings(TableDDL):
    """The same of several columns at once: one rewrite."""

    def __init__(
        self, table: Table, encodings: Mapping[str, Encoding], *, others: Mapping[str, Encoding] | None = None
    ) -> None:
        super().__init__(table)
        if not encodings:
            raise OptionError(f"table {table.fullname!r}: SetEncodings encodings={encodings!r}; give one or more")
        self.encodings = dict(encodings)
        self.others = dict(others or {})


class RewriteTable(TableDDL):
    """Copy a table into one with the options that ``table`` says, which then takes its place.

    :param table: its ``greenplum_distributed_by``, ``greenplum_storage`` and ``greenplum_partition_by`` are what the
        table shall have; without a distribution it keeps its own. The partitions must hold every row.
    :param encodings: column → encoding.
    :param repartition: whether losing or changing the partitioning is meant; else a partitioned table needs
        ``greenplum_partition_by``.
    """

    def __init__(
        self, table: Table, *, encodings: Mapping[str, Encoding] | None = None, repartition: bool = False
    ) -> None:
        super().__init__(table)
        self.encodings = dict(encodings or {})
        self.repartition = repartition


def _with(table: Table, **options: Any) -> Table:
    """The table's name, schema and Greenplum options, some of them changed."""
    said = {
        f"greenplum_{name}": value for name, value in table.dialect_options["greenplum"].items() if value is not None
    }
    return Table(table.name, MetaData(), schema=table.schema, **{**said, **options})


@compiles(SetStorage, "postgresql")
def _set_storage(element: SetStorage, compiler: Any, **kw: Any) -> str:
    table, storage = element.table, element.storage
    capabilities = compiler.capabilities_for(table)
    if not capabilities.append_optimized:
        raise refuse(element, "other storage than the heap", "leave the statement out")
    if not isinstance(storage, Heap | AppendOptimized):
        raise OptionError(f"table {table.fullname!r}: storage={storage!r}; give Heap() or AppendOptimized(…)")
    if not capabilities.access_methods:
        wanted = _with(table, greenplum_storage=storage)
        return _rewrite(RewriteTable(wanted, encodings=element.encodings), compiler, **kw)
    alter = f"ALTER TABLE {compiler.preparer.format_table(table)}"
    if isinstance(storage, Heap):
        return f"{alter} SET ACCESS METHOD heap"
    settings = {**storage.encoding.settings, "checksum": "true" if storage.checksum else "false"}
    method = f"{alter} SET ACCESS METHOD ao_{storage.orientation} WITH ({compiler.settings(settings)})"
    return method if storage.orientation == "row" else f"{method};\n{_align_columns(element, storage, compiler)}"


def _align_columns(element: SetStorage, storage: AppendOptimized, compiler: Any) -> str:
    """Every column's encoding made what was said: SET ACCESS METHOD leaves those of a column store as they were."""
    table = compiler.preparer.format_table(element.table)
    cases = " ".join(
        f"WHEN {_literal(name)} THEN ARRAY{_pairs(encoding)}" for name, encoding in sorted(element.encodings.items())
    )
    default = f"ARRAY{_pairs(storage.encoding)}"
    wanted = f"CASE a.attname {cases} ELSE {default} END" if cases else default
    body = f"""DO $encoding$
DECLARE
    changes text;
BEGIN
    SELECT string_agg(format('ALTER COLUMN %I SET ENCODING (%s)', w.attname, array_to_string(w.options, ', ')), ', ')
    INTO changes FROM (
        SELECT a.attname, e.attoptions, {wanted} AS options
        FROM pg_catalog.pg_attribute_encoding e
        JOIN pg_catalog.pg_attribute a ON a.attrelid = e.attrelid AND a.attnum = e.attnum AND NOT a.attisdropped
        WHERE e.attrelid = {_literal(table)}::regclass) w
    WHERE NOT w.attoptions @> w.options;
    IF changes IS NOT NULL THEN
        EXECUTE 'ALTER TABLE ' || {_literal(table)} || ' ' || changes;
    END IF;
END $encoding$"""
    return _percents(body, compiler)


def _pairs(encoding: Encoding) -> str:
    return "[" + ", ".join(f"'{name}={value}'" for name, value in encoding.settings.items()) + "]"


def _literal(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _percents(text: str, compiler: Any) -> str:
    """psycopg2 formats every statement; offline output does not."""
    return text.replace("%", "%%") if compiler.preparer._double_percents else text


@compiles(SetEncoding, "postgresql")
def _set_encoding(element: SetEncoding, compiler: Any, **kw: Any) -> str:
    several = SetEncodings(element.table, {element.column: element.encoding}, others=element.others)
    return _set_encodings(several, compiler, **kw)


@compiles(SetEncodings, "postgresql")
def _set_encodings(element: SetEncodings, compiler: Any, **kw: Any) -> str:
    table = element.table
    capabilities = compiler.capabilities_for(table)
    if not capabilities.append_optimized:
        raise refuse(element, "column storage", "leave the statement out")
    if capabilities.access_methods:
        changes = [
            f"ALTER COLUMN {compiler.preparer.quote(column)} SET {compiler.encoding_clause(encoding)}"
            for column, encoding in element.encodings.items()
        ]
        return f"ALTER TABLE {compiler.preparer.format_table(table)} {', '.join(changes)}"
    storage = table.dialect_options["greenplum"]["storage"]
    if not isinstance(storage, AppendOptimized) or storage.orientation != "column":
        raise OptionError(
            f"table {table.fullname!r}, column {next(iter(element.encodings))!r}: Greenplum 6 changes an encoding by a "
            "copy of the table; say its storage too, greenplum_storage=AppendOptimized(orientation='column', …)"
        )
    return _rewrite(RewriteTable(table, encodings={**element.others, **element.encodings}), compiler, **kw)


@compiles(RewriteTable, "postgresql")
def _rewrite(element: RewriteTable, compiler: Any, **_: Any) -> str:
    table = element.table
    copy = Table(f"{table.name}{SUFFIX}", MetaData(), schema=table.schema)
    old, new = (compiler.preparer.format_table(t) for t in (table, copy))
    insert = "INSERT INTO {} OVERRIDING SYSTEM VALUE SELECT * FROM {}"
    if not compiler.capabilities_for(table).identity:
        insert = "INSERT INTO {} SELECT * FROM {}"
    statements = [f"LOCK TABLE {old} IN ACCESS EXCLUSIVE MODE"]
    if not element.repartition and table.dialect_options["greenplum"]["partition_by"] is None:
        statements.append(_refuse_partitioned(old, compiler))
    statements += [*_create_copy(element, copy, compiler), insert.format(new, old), _swap(table, copy, compiler)]
    return ";\n".join(statements)


def _create_copy(element: RewriteTable, copy: Table, compiler: Any) -> list[str]:
    table, capabilities = element.table, compiler.capabilities_for(element.table)
    options = table.dialect_options["greenplum"]
    like = f"LIKE {compiler.preparer.format_table(table)} INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING COMMENTS"
    parts = [like + (" INCLUDING IDENTITY" if capabilities.identity else "")]
    if capabilities.append_optimized:
        parts += [
            f"COLUMN {compiler.preparer.quote(name)} {compiler.encoding_clause(encoding)}"
            for name, encoding in sorted(element.encodings.items())
        ]
    text = f"CREATE TABLE {compiler.preparer.format_table(copy)} ({', '.join(parts)})"
    settings = compiler.storage_settings(options["storage"], capabilities)
    if settings:
        text += f" WITH ({compiler.settings(settings)})"
    if capabilities.distribution and options["distributed_by"] is not None:
        text += f" {compiler.distributed_clause(options['distributed_by'])}"
    scheme = options["partition_by"]
    if scheme is None:
        return [text]
    text += compiler.partition_by_clause(scheme, capabilities)
    if capabilities.partition_ddl == "classic":
        return [text]
    return [text, *(compiler.partition_of(copy, partition) for partition in all_partitions(scheme))]


def _refuse_partitioned(old: str, compiler: Any) -> str:
    kind = compiler.dialect.capabilities.partition_catalog
    found = {
        "classic": "pg_catalog.pg_partition p WHERE p.parrelid",
        "declarative": "pg_catalog.pg_partitioned_table p WHERE p.partrelid",
    }[kind]
    body = f"""DO $check$
BEGIN
    IF EXISTS (SELECT 1 FROM {found} = {_literal(old)}::regclass) THEN
        RAISE EXCEPTION 'table % is partitioned: a rewrite needs its partitions, greenplum_partition_by', {_literal(old)};
    END IF;
END $check$"""
    return _percents(body, compiler)


def _swap(table: Table, copy: Table, compiler: Any) -> str:
    """Drop the old table, give its name to the copy, and make again what LIKE does not carry over."""
    old, new = (_literal(compiler.preparer.format_table(t)) for t in (table, copy))
    capabilities = compiler.capabilities_for(table)
    numbers = _IDENTITY.format(old=old, new=new) if capabilities.identity else ""
    body = _SWAP.format(
        old=old,
        new=new,
        drop=compiler.preparer.format_table(table),
        copy=compiler.preparer.format_table(copy),
        name=compiler.preparer.quote(table.name),
        numbers=numbers,
        prefix=_literal(f"{copy.name}_1_prt_"),
        own_prefix=_literal(f"{table.name}_1_prt_"),
    )
    return _percents(body, compiler)


_IDENTITY = """
    FOR statement IN
        SELECT format('SELECT setval(pg_get_serial_sequence(%L, %L), s.last_value, s.is_called) FROM %s s',
            {new}, a.attname, pg_get_serial_sequence({old}, a.attname))
        FROM pg_catalog.pg_attribute a WHERE a.attrelid = old AND a.attidentity <> '' AND NOT a.attisdropped
    LOOP
        EXECUTE statement;
    END LOOP;"""

_SWAP = """DO $swap$
DECLARE
    old regclass := {old};
    again text[];
    statement text;
BEGIN
    SELECT array_agg(t.sql ORDER BY t.step, t.sql) INTO again FROM (
        SELECT 1 AS step, format('ALTER TABLE %s ADD CONSTRAINT %I %s', {old}, k.conname, pg_get_constraintdef(k.oid))
            AS sql FROM pg_catalog.pg_constraint k WHERE k.conrelid = old AND k.contype IN ('p', 'u', 'x')
        UNION ALL SELECT 2, replace(pg_get_indexdef(i.indexrelid), ' ON ONLY ', ' ON ') FROM pg_catalog.pg_index i
            WHERE i.indrelid = old AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_constraint k
                WHERE k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x'))
        UNION ALL SELECT 3, format('ALTER TABLE %s ADD CONSTRAINT %I %s', {old}, k.conname, pg_get_constraintdef(k.oid))
            FROM pg_catalog.pg_constraint k WHERE k.conrelid = old AND k.contype = 'f'
        UNION ALL SELECT 4, format('COMMENT ON TABLE %s IS %L', {old}, obj_description(old, 'pg_class'))
            WHERE obj_description(old, 'pg_class') IS NOT NULL
        UNION ALL SELECT 5, format('ALTER TABLE %s OWNER TO %I', {old}, pg_get_userbyid(c.relowner))
            FROM pg_catalog.pg_class c WHERE c.oid = old
        UNION ALL SELECT 6, format('GRANT %s ON TABLE %s TO %s%s', a.privilege_type, {old},
            CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END,
            CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
            FROM (SELECT (aclexplode(c.relacl)).* FROM pg_catalog.pg_class c WHERE c.oid = old) a) t;
    FOR statement IN
        SELECT format('ALTER SEQUENCE %s OWNED BY %s.%I', d.objid::regclass, {new}, a.attname)
        FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_class q ON q.oid = d.objid AND q.relkind = 'S'
        JOIN pg_catalog.pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
        WHERE d.refobjid = old AND d.classid = 'pg_catalog.pg_class'::regclass AND d.deptype = 'a'
    LOOP
        EXECUTE statement;
    END LOOP;{numbers}
    DROP TABLE {drop};
    ALTER TABLE {copy} RENAME TO {name};
    FOR statement IN
        SELECT format('ALTER TABLE %s RENAME TO %I', k.oid::regclass,
            {own_prefix} || substr(k.relname, length({prefix}) + 1))
        FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class k ON k.oid = i.inhrelid
        WHERE i.inhparent = {old}::regclass AND left(k.relname, length({prefix})) = {prefix}
    LOOP
        EXECUTE statement;
    END LOOP;
    FOREACH statement IN ARRAY COALESCE(again, '{{}}') LOOP
        EXECUTE statement;
    END LOOP;
END $swap$"""
