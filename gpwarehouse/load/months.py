"""Months of facts and hours of ``dim_time``: made before a load needs them, in short transactions of their own.

How months are made, and why beforehand: :mod:`gpwarehouse.engine.partitioning`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from sqlalchemy import delete, insert, select, text
from sqlalchemy.engine import Connection, Engine

from gpwarehouse.dialect.options import month_partition
from gpwarehouse.engine import make_partitions, qualified_name
from gpwarehouse.engine.hours import month_bounds, other_hours
from gpwarehouse.errors import LoadError, PartitionError
from gpwarehouse.load.histories import copy_members
from gpwarehouse.load.target import Target
from gpwarehouse.models import DimTime
from gpwarehouse.models.calendar import DIM_TIME_COLUMNS, ShiftCalendar, calendar_rows, time_key

__all__ = ["ensure_hours", "ensure_months", "months_between", "rebuild_hours"]


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
    """Make the hours of these months in ``dim_time`` where missing; how many were made.

    :raises LoadError: hours of these months were made with another calendar.
    """
    bounds = sorted({month_bounds(month) for month in months})
    made = 0
    with engine.connect() as connection:
        there = {start: len(_keys(connection, start, end)) for start, end in bounds}
        _refuse_other_hours(connection, [start for start, hours in there.items() if hours], calendar)
    for start, end in bounds:
        if there[start] >= _hours_between(start, end):
            continue
        with engine.begin() as connection:
            _lock(connection, "SHARE ROW EXCLUSIVE")
            known = set(_keys(connection, start, end))
            if known:  # another may have made them meanwhile
                _refuse_other_hours(connection, [start], calendar)
            rows = [row for row in calendar_rows(start, end, calendar) if row["time_key"] not in known]
            if rows:
                connection.execute(insert(DimTime.__table__), rows)
            made += len(rows)
    return made


def _refuse_other_hours(connection: Connection, months: list[datetime], calendar: ShiftCalendar) -> None:
    for other in other_hours(connection, calendar, months) if months else ():
        raise LoadError(
            f"dim_time: {other.hours} hours of {other.month} were made with another calendar than the settings have "
            f"({other.sample}); nothing was loaded. Set time zone, shifts, crews and holidays as they were, or make the "
            "calendar anew: gpwarehouse calendar rebuild, wh.rebuild_calendar()"
        )


def rebuild_hours(engine: Engine, calendar: ShiftCalendar) -> list[str]:
    """Make the stored hours that are not the calendar's anew, in one transaction; the months, ``YYYY-MM``.

    Facts keep their keys, which are hours in UTC; their shifts, fab days, crews and holidays are those of the calendar then.
    """
    time = DimTime.__table__
    with engine.begin() as connection:
        _lock(connection, "EXCLUSIVE")
        found = list(other_hours(connection, calendar))
        rows: list[dict[str, Any]] = []
        for other in found:
            start, end = month_bounds(other.start)
            own = time_key(start), time_key(end)
            rows += calendar_rows(start, end, calendar)
            connection.execute(delete(time).where(time.c.time_key >= own[0], time.c.time_key < own[1]))
        copy_members(connection, time, rows, DIM_TIME_COLUMNS)
    return [other.month for other in found]


def _lock(connection: Connection, mode: str) -> None:
    connection.execute(text(f"LOCK TABLE {qualified_name(connection, DimTime.__table__)} IN {mode} MODE"))


def _hours_between(start: datetime, end: datetime) -> int:
    return int((end - start).total_seconds() // 3600)


def _keys(connection: Connection, start: datetime, end: datetime) -> list[int]:
    key = DimTime.__table__.c.time_key
    return list(connection.execute(select(key).where(key >= time_key(start), key < time_key(end))).scalars())
