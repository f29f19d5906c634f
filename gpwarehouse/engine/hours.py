"""The hours stored in ``dim_time`` against a fab's calendar: shifts made with other settings are wrong without a word."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Text, case, cast, func, literal_column, or_, select
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.engine import Connection

from gpwarehouse.dialect.options import month_partition
from gpwarehouse.models import DimTime
from gpwarehouse.models.calendar import ShiftCalendar, calendar_rows, time_key

__all__ = ["OtherHours", "month_bounds", "other_hours"]

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
