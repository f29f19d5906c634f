"""The content of a schema, in the server's words, and the models as they would be on the same server.

The server writes a default, a check, an index's condition and a view's text in its own words, so the models' are put to it
too: as temporary tables and views in a transaction that is rolled back. So both sides are the same server's deparse, and
nothing that others see is touched. Temporary tables are in no schema's name, hence the texts name tables without one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import MetaData, Table, text
from sqlalchemy.engine import Connection
from sqlalchemy.schema import CreateIndex, CreateTable

from gpwarehouse.dialect import CreateView
from gpwarehouse.models import VIEWS, Base, migration_history_table

__all__ = ["Snapshot", "expected_snapshot", "live_snapshot", "model_tables"]

_RELATIONS = """
    SELECT c.relname, c.relkind::text AS kind, obj_description(c.oid, 'pg_class') AS comment
    FROM pg_class c WHERE c.relnamespace = :space AND c.relkind IN ('r', 'p', 'v', 'm', 'f')"""
_COLUMNS = """
    SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod) AS kind, a.attnotnull AS required,
        pg_get_expr(d.adbin, d.adrelid) AS said, col_description(c.oid, a.attnum) AS comment,
        (SELECT o.collname FROM pg_collation o, pg_type t
         WHERE o.oid = a.attcollation AND t.oid = a.atttypid AND a.attcollation <> t.typcollation) AS collation
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
    WHERE c.relnamespace = :space AND c.relname = ANY (:names)"""
_CONSTRAINTS = """
    SELECT c.relname, o.conname, o.contype::text AS kind, pg_get_constraintdef(o.oid) AS said
    FROM pg_constraint o JOIN pg_class c ON c.oid = o.conrelid
    WHERE c.relnamespace = :space AND c.relname = ANY (:names) AND o.contype IN ('p', 'u', 'c', 'x', 'f')"""
_INDEXES = """
    SELECT c.relname, x.relname AS index, i.indisunique AS single, m.amname AS method,
        ARRAY(SELECT pg_get_indexdef(i.indexrelid, n, false) FROM generate_series(1, i.indnatts) n) AS columns,
        pg_get_expr(i.indpred, i.indrelid) AS condition
    FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_class x ON x.oid = i.indexrelid
    JOIN pg_am m ON m.oid = x.relam
    WHERE c.relnamespace = :space AND c.relname = ANY (:names)
        AND NOT EXISTS (SELECT 1 FROM pg_constraint o WHERE o.conindid = i.indexrelid AND o.contype IN ('p', 'u', 'x'))"""
_VIEWS = """
    SELECT c.relname, pg_get_viewdef(c.oid) AS said
    FROM pg_class c WHERE c.relnamespace = :space AND c.relkind = 'v' AND c.relname = ANY (:names)"""

CONSTRAINT_KINDS = {"p": "key", "u": "key", "c": "check", "x": "constraint", "f": "foreign key"}


@dataclass
class Snapshot:
    """A schema, by names.

    :ivar relations: name → kind as in ``pg_class``.
    :ivar space: the schema's oid.
    :ivar columns: (table, column) → type, nullability, default, collation.
    :ivar constraints: (table, name) → kind and definition; ``indexes``: (table, name) → definition.
    :ivar views: name → text; ``comments``: (table or view, column or None) → comment.
    """

    space: int = 0
    relations: dict[str, str] = field(default_factory=dict)
    columns: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)
    constraints: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    indexes: dict[tuple[str, str], str] = field(default_factory=dict)
    views: dict[str, str] = field(default_factory=dict)
    comments: dict[tuple[str, str | None], str | None] = field(default_factory=dict)


def model_tables() -> dict[str, Table]:
    """Name → table of everything the warehouse's schema should hold, the record of migrations included."""
    tables = {table.name: table for table in Base.metadata.sorted_tables}
    history = migration_history_table()
    return {**tables, history.name: history}


def live_snapshot(connection: Connection, schema: str) -> Snapshot | None:
    """The schema as it is; None if there is none. The caller's transaction is read-only."""
    space = connection.execute(
        text("SELECT CAST(oid AS bigint) FROM pg_namespace WHERE nspname = :schema"), {"schema": schema}
    ).scalar()
    if space is None:
        return None
    path = connection.dialect.identifier_preparer.quote_identifier(schema)
    connection.execute(text(f"SET LOCAL search_path = {path}"))  # so that texts name its tables without it
    return _snapshot(connection, space)


def expected_snapshot(connection: Connection) -> Snapshot:
    """The schema as the models would have it on this server, made as temporary objects in the caller's transaction.

    Partitions and storage are left out: they are compared as options.
    """
    metadata = MetaData()
    for table in model_tables().values():
        copy = table.to_metadata(metadata, schema="pg_temp")
        for option in ("partition_by", "storage"):
            copy.dialect_options["greenplum"][option] = None
        connection.execute(CreateTable(copy))
        for index in copy.indexes:
            connection.execute(CreateIndex(index))
    for view in VIEWS:
        connection.execute(CreateView(view.name, view.body, "pg_temp"))
    connection.execute(text("SET LOCAL search_path = pg_catalog"))
    found = _snapshot(connection, connection.execute(text("SELECT CAST(pg_my_temp_schema() AS bigint)")).scalar_one())
    found.comments = _model_comments()
    return found


def _model_comments() -> dict[tuple[str, str | None], str | None]:
    comments: dict[tuple[str, str | None], str | None] = {}
    for name, table in ((table.name, table) for table in Base.metadata.sorted_tables):  # the record is made without
        comments[name, None] = table.comment
        comments |= {(name, column.name): column.comment for column in table.columns}
    for view in VIEWS:
        comments[view.name, None] = view.comment
        comments |= {(view.name, column): comment for column, comment in view.columns.items()}
    return comments


def _snapshot(connection: Connection, space: int) -> Snapshot:
    def rows(sql: str) -> Any:
        return connection.execute(text(sql), {"space": space, "names": names})

    names = [*model_tables(), *(view.name for view in VIEWS)]
    found = Snapshot(space)
    for row in rows(_RELATIONS):
        found.relations[row.relname] = row.kind
        found.comments[row.relname, None] = row.comment
    for row in rows(_COLUMNS):
        required = "NOT NULL" if row.required else "NULL"
        found.columns[row.relname, row.attname] = {
            "type": row.kind,
            "nullability": required,
            "default": row.said or "none",
            "collation": row.collation or "the type's own",
        }
        found.comments[row.relname, row.attname] = row.comment
    for row in rows(_CONSTRAINTS):
        found.constraints[row.relname, row.conname] = (CONSTRAINT_KINDS[row.kind], row.said)
    for row in rows(_INDEXES):
        condition = f" WHERE {row.condition}" if row.condition else ""
        unique = "UNIQUE " if row.single else ""
        found.indexes[row.relname, row.index] = f"{unique}{row.method} ({', '.join(row.columns)}){condition}"
    for row in rows(_VIEWS):
        found.views[row.relname] = row.said.strip()
    return found
