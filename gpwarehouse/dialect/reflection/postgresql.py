"""PostgreSQL's own table options where SQLAlchemy does not read them, or cannot on this server.

SQLAlchemy 2.0 reads none. SQLAlchemy 2.1 reads them with a setting that servers before PostgreSQL 12 do not have, so it
fails on Greenplum 6.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Boolean, Table, column, func, null, select, table
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.dialects.postgresql.pg_catalog import pg_class
from sqlalchemy.engine import Connection

from gpwarehouse.dialect.server import ServerDialect

__all__ = ["postgresql_table_options", "stock_reads_table_options"]

# SQLAlchemy's pg_catalog module has these from 2.1 on.
_INHERITS = table("pg_inherits", column("inhrelid"), column("inhparent"), column("inhseqno"), schema="pg_catalog")
_TABLESPACE = table("pg_tablespace", column("oid"), column("spcname"), schema="pg_catalog")


def stock_reads_table_options(dialect: ServerDialect) -> bool:
    """Whether SQLAlchemy's own dialect can be asked for the table options of this server."""
    has_access_methods = dialect.capabilities is not None and dialect.capabilities.access_methods
    return has_access_methods and "get_multi_table_options" in vars(PGDialect)


def postgresql_table_options(
    connection: Connection, dialect: Any, *, schema: str | None, filter_names: Any, scope: Any, kind: Any, **_: Any
) -> dict[tuple[str | None, str], dict[str, Any]]:
    """Storage parameters, tablespace, parents and OIDs of the tables asked for, as ``postgresql_…`` arguments."""
    parents = (
        select(
            _INHERITS.c.inhrelid,
            func.array_agg(aggregate_order_by(pg_class.c.relname, _INHERITS.c.inhseqno)).label("names"),
        )
        .join_from(_INHERITS, pg_class, _INHERITS.c.inhparent == pg_class.c.oid)
        .group_by(_INHERITS.c.inhrelid)
        .subquery("parents")
    )
    before_12 = dialect.server_version_info < (12,)  # which took OIDs out of tables
    oids = column("relhasoids", Boolean) if before_12 else null().label("relhasoids")
    query = (
        select(pg_class.c.relname, pg_class.c.reloptions, _TABLESPACE.c.spcname, parents.c.names, oids)
        .select_from(pg_class)
        .outerjoin(_TABLESPACE, _TABLESPACE.c.oid == column("reltablespace"))
        .outerjoin(parents, parents.c.inhrelid == pg_class.c.oid)
        .where(pg_class.c.relkind.in_(dialect._kind_to_relkinds(kind)))
    )
    query = dialect._pg_class_filter_scope_schema(query, schema, scope=scope)
    if filter_names:
        query = query.where(pg_class.c.relname.in_(filter_names))
    return {(schema, row.relname): _arguments(row) for row in connection.execute(query)}


def _list_accepted() -> frozenset[str]:
    arguments = dict(PGDialect.construct_arguments or [])
    return frozenset(f"postgresql_{name}" for name in arguments.get(Table, {}))


_ACCEPTED = (
    _list_accepted()
)  # SQLAlchemy 2.0's Table knows no postgresql_with, and would refuse to be reflected with it


def _arguments(row: Any) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if row.names:
        options["postgresql_inherits"] = tuple(row.names)
    if row.reloptions:
        options["postgresql_with"] = dict(item.split("=", 1) for item in row.reloptions)
    if row.relhasoids:
        options["postgresql_with_oids"] = True
    if row.spcname:
        options["postgresql_tablespace"] = row.spcname
    return {name: value for name, value in options.items() if name in _ACCEPTED}
