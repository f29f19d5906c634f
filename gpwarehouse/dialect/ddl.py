"""Executable DDL that SQLAlchemy does not have: partitions and views."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Table
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import ExecutableDDLElement

from gpwarehouse.dialect.options import RangePartition

__all__ = ["AddPartition", "CreateView", "DropView"]


class AddPartition(ExecutableDDLElement):
    """Add one range partition to a table.

    ``ALTER TABLE … ADD PARTITION`` on Greenplum, ``CREATE TABLE … PARTITION OF`` on PostgreSQL. It takes an
    ACCESS EXCLUSIVE lock on the table and so waits for, and holds up, every reader and writer of every partition.
    """

    inherit_cache = False

    def __init__(self, table: Table, partition: RangePartition) -> None:
        self.table = table
        self.partition = partition


@compiles(AddPartition, "postgresql")
def _add_partition(element: AddPartition, compiler: Any, **_: Any) -> str:
    if compiler.dialect.capabilities.partition_ddl == "declarative":
        return str(compiler.partition_of(element.table, element.partition))
    table = compiler.preparer.format_table(element.table)
    return f"ALTER TABLE {table} ADD {compiler.partition_clause(element.partition)}"


class _ViewDDL(ExecutableDDLElement):
    inherit_cache = False

    def __init__(self, name: str, schema: str | None = None) -> None:
        self.name = name
        self.schema = schema

    def qualified(self, preparer: Any) -> str:
        name = preparer.quote(self.name)
        return f"{preparer.quote_schema(self.schema)}.{name}" if self.schema else str(name)


class CreateView(_ViewDDL):
    """``CREATE VIEW``. In ``body``, ``{schema}`` stands for the quoted schema of the view and its tables."""

    def __init__(self, name: str, body: str, schema: str | None = None) -> None:
        super().__init__(name, schema)
        self.body = body


class DropView(_ViewDDL):
    """``DROP VIEW``; fails where another view still reads it."""


@compiles(CreateView, "postgresql")
def _create_view(element: CreateView, compiler: Any, **_: Any) -> str:
    preparer = compiler.preparer
    schema = preparer.quote_schema(element.schema) if element.schema else "public"
    body = element.body.replace("{schema}", schema).strip()
    if preparer._double_percents:  # psycopg2 formats every statement; offline output does not
        body = body.replace("%", "%%")
    return f"CREATE VIEW {element.qualified(preparer)} AS\n{body}"


@compiles(DropView, "postgresql")
def _drop_view(element: DropView, compiler: Any, **_: Any) -> str:
    return f"DROP VIEW {element.qualified(compiler.preparer)}"
