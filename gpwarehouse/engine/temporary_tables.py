"""Temporary tables, gone at the end of the transaction."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, MetaData, Table, text
from sqlalchemy.engine import Connection
from sqlalchemy.schema import CreateTable

from gpwarehouse.engine.table_names import dialect_of, qualified_name

__all__ = ["create_temporary", "create_temporary_like"]


def create_temporary(connection: Connection, name: str, columns: list[Column[Any]], distribution: Any) -> Table:
    """Make a temporary table, gone at the transaction's end."""
    table = Table(
        name,
        MetaData(),
        *columns,
        prefixes=["TEMPORARY"],
        postgresql_on_commit="DROP",
        greenplum_distributed_by=distribution,
    )
    connection.execute(CreateTable(table))
    return table


def create_temporary_like(connection: Connection, table: Table, name: str, *, checked: bool = False) -> Table:
    """An empty temporary table like ``table``, spread as it is, to the end of the transaction.

    :param checked: with what the table checks of a row, and with its defaults.
    """
    own = qualified_name(connection, table)
    if checked:
        made = f"(LIKE {own} INCLUDING DEFAULTS INCLUDING CONSTRAINTS) ON COMMIT DROP{_distribution_clause(connection, table)}"
    else:
        made = f"ON COMMIT DROP AS TABLE {own} WITH NO DATA{_distribution_clause(connection, table)}"
    connection.execute(text(f"CREATE TEMPORARY TABLE {name} {made}"))
    return table.to_metadata(MetaData(), name=name, schema=None)  # type: ignore[arg-type]


def _distribution_clause(connection: Connection, table: Table) -> str:
    """The clause that distributes a temporary table as ``table``; empty on servers that distribute nothing."""
    capabilities = dialect_of(connection).capabilities
    assert capabilities is not None
    if not capabilities.distribution:
        return ""
    names = table.dialect_options["greenplum"]["distributed_by"].columns
    return f" DISTRIBUTED BY ({', '.join(map(connection.dialect.identifier_preparer.quote, names))})"
