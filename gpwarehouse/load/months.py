"""Months of facts and hours of ``dim_time``: made before a load needs them, in short transactions of their own.

ADD PARTITION holds up every reader and writer of the table until its commit, and two loads that add months inside their
own transactions deadlock. So months are made beforehand, under an advisory lock that all who add partitions take.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import exc, insert, select, text
from sqlalchemy.engine import Connection, Engine

from gpwarehouse.dialect import AddPartition, RangePartition
from gpwarehouse.dialect.options import missing_partitions, month_partition
from gpwarehouse.dialect.reflection import partitions_of
from gpwarehouse.engine import LOCK_MONTHS, dialect_of, lock_advisory, qualified_name
from gpwarehouse.load.target import Target
from gpwarehouse.models import DimTime
from gpwarehouse.models.calendar import ShiftCalendar, calendar_rows, time_key

__all__ = ["ensure_hours", "ensure_months"]

ATTEMPT_MS = 5_000
"""How long ADD PARTITION waits for the table at a time: as long as it waits, everybody else waits behind it."""
PATIENCE_S = 900.0
"""How long it is tried again: a load of that fact by somebody else may run for minutes."""
LOCK_NOT_AVAILABLE = "55P03"


def ensure_months(engine: Engine, target: Target, months: Iterable[datetime]) -> list[str]:
    """Make the partitions of these months (any instant in each) where missing; names of those made."""
    wanted = {month_partition(month).name: month_partition(month) for month in months}
    with engine.connect() as connection:
        if not _missing(connection, target, wanted.values()):
            return []
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return _make(engine, target, wanted.values())
        except exc.OperationalError as error:
            if getattr(error.orig, "pgcode", None) != LOCK_NOT_AVAILABLE or time.monotonic() > deadline:
                raise
            time.sleep(random.uniform(0.5, 1.5))  # let those through who queued behind the attempt


def _make(engine: Engine, target: Target, wanted: Iterable[RangePartition]) -> list[str]:
    with engine.begin() as connection:
        connection.execute(text(f"SET LOCAL lock_timeout = {ATTEMPT_MS}"))
        lock_advisory(connection, LOCK_MONTHS, qualified_name(connection, target.table))
        missing = _missing(connection, target, wanted)
        for partition in missing:
            connection.execute(AddPartition(target.table, partition))
    return [partition.name for partition in missing]


def _missing(connection: Connection, target: Target, wanted: Iterable[RangePartition]) -> list[RangePartition]:
    translate = connection.get_execution_options().get("schema_translate_map") or {}
    schema = translate.get(target.table.schema, target.table.schema)
    there = partitions_of(connection, dialect_of(connection), schema, target.name).get(target.name)
    return missing_partitions(there.partitions if there is not None else (), wanted)


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
