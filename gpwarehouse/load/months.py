"""Months of facts and hours of ``dim_time``: made before a load needs them, in short transactions of their own.

How months are made, and why beforehand: :mod:`gpwarehouse.engine.partitioning`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from sqlalchemy import insert, select, text
from sqlalchemy.engine import Connection, Engine

from gpwarehouse.dialect.options import month_partition
from gpwarehouse.engine import make_partitions, qualified_name
from gpwarehouse.errors import LoadError, PartitionError
from gpwarehouse.load.target import Target
from gpwarehouse.models import DimTime
from gpwarehouse.models.calendar import ShiftCalendar, calendar_rows, time_key

__all__ = ["ensure_hours", "ensure_months", "months_between"]


def ensure_months(engine: Engine, target: Target, months: Iterable[datetime]) -> list[str]:
    """Make the partitions of these months (any instant in each) where missing; names of those made.

    :raises LoadError: the role may not make months, and some are missing.
    """
    wanted = {month_partition(month).name: month_partition(month) for month in months}
    try:
        return make_partitions(engine, target.table, wanted.values())
    except PartitionError as error:
        raise LoadError(
            f"{error}; the load needs {', '.join(sorted(name[1:5] + '-' + name[5:] for name in wanted))}: "
            "gpwarehouse partitions apply --month YYYY-MM. Nothing was loaded"
        ) from error


def months_between(first: datetime, last: datetime) -> Iterator[datetime]:
    """An instant in each month from one event to another."""
    while first <= last:
        yield first
        end = month_partition(first).end
        assert isinstance(end, datetime)
        first = end


def ensure_hours(engine: Engine, months: Iterable[datetime], calendar: ShiftCalendar) -> int:
    """Make the hours of these months in ``dim_time`` where missing; how many were made."""
    bounds = sorted({(p.start, p.end) for p in map(month_partition, months)})
    made = 0
    for start, end in bounds:
        assert isinstance(start, datetime)
        assert isinstance(end, datetime)
        with engine.connect() as connection:
            if _hours(connection, start, end) >= _hours_between(start, end):
                continue
        with engine.begin() as connection:
            connection.execute(
                text(f"LOCK TABLE {qualified_name(connection, DimTime.__table__)} IN SHARE ROW EXCLUSIVE MODE")
            )
            there = set(_keys(connection, start, end))
            rows = [row for row in calendar_rows(start, end, calendar) if row["time_key"] not in there]
            if rows:
                connection.execute(insert(DimTime.__table__), rows)
            made += len(rows)
    return made


def _hours_between(start: datetime, end: datetime) -> int:
    return int((end - start).total_seconds() // 3600)


def _hours(connection: Connection, start: datetime, end: datetime) -> int:
    return len(_keys(connection, start, end))


def _keys(connection: Connection, start: datetime, end: datetime) -> list[int]:
    key = DimTime.__table__.c.time_key
    return list(connection.execute(select(key).where(key >= time_key(start), key < time_key(end))).scalars())
