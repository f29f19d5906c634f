"""Rows that the warehouse cannot do without: the dimensions' reserved members, and the hours of what was loaded."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Integer, Subquery, and_, cast, column, exists, func, literal, select, table, union, union_all
from sqlalchemy.engine import Connection

from gpwarehouse.models import DIMENSIONS, FACTS, DimTime
from gpwarehouse.models.base import RESERVED_NAMES
from gpwarehouse.models.calendar import ShiftCalendar
from gpwarehouse.months.hours import other_hours
from gpwarehouse.validate.catalog import Snapshot
from gpwarehouse.validate.finding import Finding

__all__ = ["compare_content", "loaded_months"]


def compare_content(connection: Connection, schema: str, live: Snapshot, calendar: ShiftCalendar) -> Iterator[Finding]:
    """Find missing rows, and hours of another calendar. Other checks report missing tables and columns."""
    yield from _members(connection, schema, live)
    needed = {("dim_time", "time_key"), *(("etl_load_batch", name) for name in _BATCH)}
    if needed <= live.columns.keys():
        yield from _hours(connection, schema)
    if {("dim_time", column.name) for column in DimTime.__table__.columns} <= live.columns.keys():
        yield from _calendar(connection, calendar)


def _members(connection: Connection, schema: str, live: Snapshot) -> Iterator[Finding]:
    keys = {name: str(model.durable_key) for name, model in DIMENSIONS.items() if name != "dim_time"}
    there = {name: key for name, key in keys.items() if {(name, key), (name, "is_current")} <= live.columns.keys()}
    if not there:
        return
    queries: list[Any] = [
        select(literal(name).label("dimension"), column(key).label("member"))
        .select_from(table(name, schema=schema))
        .where(and_(column(key).in_([*RESERVED_NAMES]), column("is_current")))
        for name, key in there.items()
    ]
    found = {tuple(row) for row in connection.execute(union_all(*queries))}
    for name, key in there.items():
        for member, said in RESERVED_NAMES.items():
            if (name, member) not in found:
                yield Finding(
                    "reserved member", name, f"{key} {member} {said}", "missing",
                    "insert it as the first revision does (gpwarehouse upgrade --sql shows it)",
                )  # fmt: skip


_BATCH = ("status", "target", "min_event_ts", "max_event_ts")


def _events(schema: str) -> Subquery:
    """Moments, in UTC, of which facts were loaded: the first and the last of each batch, with its target."""
    batch = table("etl_load_batch", schema=schema)
    bounds = (
        select(column("target"), func.timezone("UTC", column(bound)).label("at"))
        .select_from(batch)
        .where(and_(column("status") == "LOADED", column("target").in_([*FACTS]), column(bound).isnot(None)))
        for bound in ("min_event_ts", "max_event_ts")
    )
    return union(*bounds).subquery("events")


def loaded_months(connection: Connection, schema: str, live: Snapshot) -> set[tuple[str, datetime]]:
    """Facts, each with the first instant of a month, UTC, of which rows were loaded. Those amid a batch are not known."""
    if not {("etl_load_batch", name) for name in _BATCH} <= live.columns.keys():
        return set()
    events = _events(schema)
    months = select(events.c.target, func.date_trunc("month", events.c["at"])).distinct()
    return {(fact, month.replace(tzinfo=UTC)) for fact, month in connection.execute(months)}


def _hours(connection: Connection, schema: str) -> Iterator[Finding]:
    """Months that were loaded and whose hours are not in ``dim_time``: joins with it lose their facts."""
    time = table("dim_time", schema=schema)
    events = _events(schema)
    at = events.c["at"]
    known = exists(
        select(literal(1))
        .select_from(time)
        .where(column("time_key") == cast(func.to_char(at, "YYYYMMDDHH24"), Integer))
    )
    missing = select(func.to_char(at, "YYYY-MM")).where(~known).distinct().order_by(func.to_char(at, "YYYY-MM"))
    for month in connection.execute(missing).scalars():
        yield Finding(
            "hours", "dim_time", f"the hours of {month}, of which facts were loaded", "missing",
            "a load of that month makes them anew; or bring dim_time back from a backup",
        )  # fmt: skip


def _calendar(connection: Connection, calendar: ShiftCalendar) -> Iterator[Finding]:
    """Months whose hours were made with another calendar: their facts are shown in wrong shifts."""
    for other in other_hours(connection, calendar):
        yield Finding(
            "calendar", "dim_time", f"the hours of {other.month} by the settings (time zone {calendar.timezone})",
            f"{other.hours} other ones: {other.sample}",
            "gpwarehouse dimensions rebuild-calendar; or set time zone, shifts, crews and holidays as they were",
        )  # fmt: skip
