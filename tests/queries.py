"""What the server answers."""

from __future__ import annotations

from typing import Any

from sqlalchemy import text

from gpwarehouse import Warehouse


def rows_of(wh: Warehouse, query: str, **values: Any) -> list[tuple[Any, ...]]:
    """The rows of a query, as the driver gives them."""
    with wh.engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(query), values)]
