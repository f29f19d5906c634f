"""The dialect of a connection, and a table's name there, for writing SQL."""

from __future__ import annotations

from typing import cast

from sqlalchemy import Table
from sqlalchemy.engine import Connection, Engine

from gpwarehouse.dialect import GreenplumDialect

__all__ = ["dialect_of", "qualified_name"]


def dialect_of(bind: Engine | Connection) -> GreenplumDialect:
    """The bind's dialect, with its capabilities known (an engine that never connected connects once)."""
    dialect = cast(GreenplumDialect, bind.dialect)
    if isinstance(bind, Engine) and dialect.capabilities is None:
        with bind.connect():
            pass
    return dialect


def qualified_name(connection: Connection, table: Table) -> str:
    """Schema and name of a table, quoted, with the connection's ``schema_translate_map`` applied.

    For the few statements that SQLAlchemy has no construct for (COPY, LOCK TABLE).
    """
    preparer = connection.dialect.identifier_preparer
    translate = connection.get_execution_options().get("schema_translate_map") or {}
    schema = translate.get(table.schema, table.schema)
    name = preparer.quote(table.name)
    return f"{preparer.quote_schema(schema)}.{name}" if schema else name
