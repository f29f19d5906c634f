"""The hours stored in ``dim_time`` against a fab's calendar: shifts made with other settings are wrong without a word."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Text,
    case,
    cast,
    delete,
    func,
    insert,
    literal_column,
    or_,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.engine import Connection, Engine

from gpwarehouse.dialect.options import month_partition
from gpwarehouse.engine import qualified_name
from gpwarehouse.errors import LoadError
from gpwarehouse.models import DimTime
from gpwarehouse.models.calendar import DIM_TIME_COLUMNS, ShiftCalendar, calendar_rows, time_key
from gpwarehouse.transport.copy_records import copy_records

__all__ = ["OtherHours", "ensure_hours", "month_bounds", "months_between", "other_hours", "rebuild_hours"]

OF_CALENDAR = (
    *("fab_date", "fab_week", "fab_month", "fab_year", "shift_code", "shift_name", "shift_start_ts", "shift_end_ts"),
    *("crew_code", "is_weekend", "is_holiday", "timezone"),
)
"""The columns of an hour that the fab's calendar decides."""


@dataclass(frozen=True)
class OtherHours:
    """A month whose stored hours are not those of the calendar.

    :ivar start: its first instant; ``hours``: how many hours differ.
    :ivar sample: the first of them: the column, what is stored, what the calendar says.
    """

    start: datetime
    hours: int
    sample: str

    @property
    def month(self) -> str:
        """``YYYY-MM``."""
        return f"{self.start:%Y-%m}"


def month_bounds(moment: datetime) -> tuple[datetime, datetime]:
    """First instant of a month, and of the next one (UTC)."""
    partition = month_partition(moment)
    assert isinstance(partition.start, datetime)
    assert isinstance(partition.end, datetime)
    return partition.start, partition.end


def other_hours(
    connection: Connection, calendar: ShiftCalendar, months: Iterable[datetime] | None = None
) -> Iterator[OtherHours]:
    """The months whose stored hours are not the calendar's: one digest a month is asked for, hours only where it differs.

    :param months: any instant in each month to look at; by default all that are stored.
    """
    time = DimTime.__table__
    month = func.date_trunc("month", func.timezone("UTC", time.c.ts_utc))
    texts = func.string_agg(_hour_text(), aggregate_order_by(literal_column("','"), time.c.time_key))
    query = select(month.label("month"), func.md5(texts).label("digest"), func.count().label("hours"))
    if months is not None:
        spans = [(time_key(start), time_key(end)) for start, end in sorted({month_bounds(each) for each in months})]
        query = query.where(or_(*((time.c.time_key >= start) & (time.c.time_key < end) for start, end in spans)))
    for row in connection.execute(query.group_by(month).order_by(month)).all():
        start, end = month_bounds(row.month)
        expected = _texts(start, end, calendar)
        if row.hours != len(expected) or row.digest != _digest(expected.values()):
            yield from _differing(connection, start, end, calendar)


def _differing(connection: Connection, start: datetime, end: datetime, calendar: ShiftCalendar) -> Iterator[OtherHours]:
    time = DimTime.__table__
    query = select(*(time.c[name] for name in ("time_key", *OF_CALENDAR))).order_by(time.c.time_key)
    query = query.where(time.c.time_key >= time_key(start), time.c.time_key < time_key(end))
    right = {row["time_key"]: row for row in calendar_rows(start, end, calendar)}
    found = [
        f"hour {row['time_key']}, column {name}: stored {row[name]}, by the settings {right[row['time_key']][name]}"
        for row in connection.execute(query).mappings()
        for name in _first_difference(dict(row), right[row["time_key"]])
    ]
    if found:
        yield OtherHours(start, len(found), found[0])


def _first_difference(row: Mapping[str, Any], right: Mapping[str, Any]) -> list[str]:
    return [name for name in OF_CALENDAR if row[name] != right[name]][:1]


@lru_cache(maxsize=512)
def _texts(start: datetime, end: datetime, calendar: ShiftCalendar) -> dict[int, str]:
    return {row["time_key"]: _text(row) for row in calendar_rows(start, end, calendar)}


def _digest(texts: Iterable[str]) -> str:
    return hashlib.md5(",".join(texts).encode(), usedforsecurity=False).hexdigest()


def _text(row: Mapping[str, Any]) -> str:
    """An hour as one text; :func:`_hour_text` is the same in SQL."""
    values = [row[name] for name in ("time_key", *OF_CALENDAR)]
    return "|".join(map(_value_text, values))


def _value_text(value: Any) -> str:
    if isinstance(value, datetime):
        return str(int(value.timestamp()))
    if isinstance(value, bool):
        return "t" if value else "f"
    return "" if value is None else str(value)


def _hour_text() -> ColumnElement[Any]:
    time = DimTime.__table__
    parts: list[Any] = []
    for name in ("time_key", *OF_CALENDAR):
        column = time.c[name]
        kind = column.type.python_type
        if kind is datetime:
            parts.append(cast(cast(func.date_part("epoch", column), BigInteger), Text))
        elif kind is bool:
            parts.append(case((column, "t"), else_="f"))
        elif name == "fab_date":
            parts.append(func.to_char(column, "YYYY-MM-DD"))
        else:
            parts.append(func.coalesce(cast(column, Text), ""))
    return func.concat_ws("|", *parts)


def ensure_hours(engine: Engine, months: Iterable[datetime], calendar: ShiftCalendar) -> int:
    """Make the hours of these months in ``dim_time`` where missing; how many were made.

    :raises LoadError: hours of these months were made with another calendar.
    """
    bounds = sorted({month_bounds(month) for month in months})
    made = 0
    with engine.connect() as connection:
        there = {start: len(_stored_keys(connection, start, end)) for start, end in bounds}
        _refuse_other_hours(connection, [start for start, hours in there.items() if hours], calendar)
    for start, end in bounds:
        if there[start] >= _hours_between(start, end):
            continue
        with engine.begin() as connection:
            _lock_hours(connection, "SHARE ROW EXCLUSIVE")
            known = set(_stored_keys(connection, start, end))
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
            "calendar anew: gpwarehouse dimensions rebuild-calendar, wh.dimensions.rebuild_calendar()"
        )


def rebuild_hours(engine: Engine, calendar: ShiftCalendar) -> list[str]:
    """Make the stored hours that are not the calendar's anew, in one transaction; the months, ``YYYY-MM``.

    Facts keep their keys, which are hours in UTC; their shifts, fab days, crews and holidays are those of the calendar then.
    """
    time = DimTime.__table__
    with engine.begin() as connection:
        _lock_hours(connection, "EXCLUSIVE")
        found = list(other_hours(connection, calendar))
        rows: list[dict[str, Any]] = []
        for other in found:
            start, end = month_bounds(other.start)
            own = time_key(start), time_key(end)
            rows += calendar_rows(start, end, calendar)
            connection.execute(delete(time).where(time.c.time_key >= own[0], time.c.time_key < own[1]))
        copy_records(connection, time, rows, DIM_TIME_COLUMNS)
    return [other.month for other in found]


def _lock_hours(connection: Connection, mode: str) -> None:
    connection.execute(text(f"LOCK TABLE {qualified_name(connection, DimTime.__table__)} IN {mode} MODE"))


def _hours_between(start: datetime, end: datetime) -> int:
    return int((end - start).total_seconds() // 3600)


def _stored_keys(connection: Connection, start: datetime, end: datetime) -> list[int]:
    key = DimTime.__table__.c.time_key
    return list(connection.execute(select(key).where(key >= time_key(start), key < time_key(end))).scalars())


def months_between(first: datetime, last: datetime) -> Iterator[datetime]:
    """An instant in each month from one event to another."""
    while first <= last:
        yield first
        end = month_partition(first).end
        assert isinstance(end, datetime)
        first = end
