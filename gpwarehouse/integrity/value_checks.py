"""Values that no load takes, and that poison every average they are part of: infinities and NaN."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import ColumnElement, Float, Table, case, cast, func, literal, or_, select, true
from sqlalchemy.engine import Connection

from gpwarehouse.integrity.finding import Problem

__all__ = ["not_finite"]


def not_finite(
    connection: Connection, table: Table, rows: ColumnElement[bool] | None, month: str | None
) -> Iterator[Problem]:
    """Numbers of a table that are not finite.

    :param rows: the condition that takes the rows to look at, of the ``month``; None takes all.
    """
    bad = {column.name: _is_not_finite(column) for column in table.columns if isinstance(column.type, Float)}
    if not bad:
        return
    counts = [func.count(case((condition, 1))).label(name) for name, condition in bad.items()]
    found = connection.execute(select(*counts).where(true() if rows is None else rows, or_(*bad.values()))).one()
    for name, count in found._mapping.items():
        if count:
            yield Problem(
                "not finite", table.name, month, f"{name} is infinite or NaN", int(count),
                "averages over it are none: put the right values, or NULL, over these records (wh.facts.upsert, wh.merge)",
            )  # fmt: skip


def _is_not_finite(column: ColumnElement[Any]) -> ColumnElement[bool]:
    return column.in_([cast(literal(value), column.type) for value in ("Infinity", "-Infinity", "NaN")])
