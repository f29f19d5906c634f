"""Views as tables to select from, with the types that their columns have in the database."""

from __future__ import annotations

from sqlalchemy import TableClause, column, inspect, table
from sqlalchemy.engine import Engine

from gpwarehouse.errors import ReadError
from gpwarehouse.models import VIEWS

__all__ = ["view_table"]


def view_table(engine: Engine, name: str, schema: str) -> TableClause:
    """Get a view of the warehouse for :func:`sqlalchemy.select`: ``v.c.lot_id`` has the column's type.

    :raises ReadError: the warehouse has no such view, or the database does not have it yet.
    """
    known = [view.name for view in VIEWS]
    if name not in known:
        raise ReadError(f"there is no view {name!r}; the views are {', '.join(known)}")
    found = inspect(engine)
    if not found.has_table(name, schema):
        raise ReadError(f"{schema}.{name} does not exist yet; upgrade the schema: gpwarehouse upgrade")
    columns = found.get_columns(name, schema)
    return table(name, *(column(each["name"], each["type"]) for each in columns), schema=schema)
