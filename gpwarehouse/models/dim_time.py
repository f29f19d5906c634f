"""``dim_time``: one row per UTC hour, with the fab's calendar over it."""

from __future__ import annotations

from datetime import date, datetime

from sqlalchemy import Date, Integer
from sqlalchemy.orm import Mapped

from gpwarehouse.dialect.options import DistributedReplicated, Heap
from gpwarehouse.models.base import Audited, Base, Domain, col

__all__ = ["DimTime"]


class DimTime(Audited, Base):
    """Hour (UTC) with the fab's shifts, days, weeks and crews; one row per hour.

    The rows come from :mod:`gpwarehouse.models.calendar`, which says what each column means around a change of clocks.
    """

    __tablename__ = "dim_time"
    __table_args__ = (
        {
            "comment": "Hour (UTC) with the fab's shifts, days, weeks and crews; one row per hour",
            "greenplum_distributed_by": DistributedReplicated(),
            "greenplum_storage": Heap(),
        },
    )

    time_key: Mapped[int] = col("Hour in UTC, YYYYMMDDHH", Integer(), primary_key=True)
    ts_utc: Mapped[datetime] = col("Start of the hour, UTC")
    calendar_date: Mapped[date] = col("Date in UTC", Date())
    hour: Mapped[int] = col("Hour of the day in UTC, 0 to 23", Integer(), domain=Domain(ge=0, le=23))
    day_of_week: Mapped[int] = col(
        "Day of the week in UTC, 1 = Monday to 7 = Sunday (ISO 8601)", Integer(), domain=Domain(ge=1, le=7)
    )
    iso_week: Mapped[int] = col("Week in UTC (ISO 8601), 1 to 53", Integer(), domain=Domain(ge=1, le=53))
    iso_year: Mapped[int] = col("Year that iso_week belongs to (ISO 8601)", Integer())
    month: Mapped[int] = col("Month in UTC, 1 to 12", Integer(), domain=Domain(ge=1, le=12))
    quarter: Mapped[int] = col("Quarter in UTC, 1 to 4", Integer(), domain=Domain(ge=1, le=4))
    year: Mapped[int] = col("Year in UTC", Integer())
    fab_date: Mapped[date] = col(
        "Fab day: local date on which its first shift started; a night shift belongs to the day it began in", Date()
    )
    fab_week: Mapped[int] = col(
        "Fab week, numbered as ISO 8601 does over fab days, 1 to 53", Integer(), domain=Domain(ge=1, le=53)
    )
    fab_month: Mapped[int] = col(
        "Fab month, 1 to 12: that of the fab week's fourth day", Integer(), domain=Domain(ge=1, le=12)
    )
    fab_year: Mapped[int] = col("Fab year: that of the fab week's fourth day", Integer())
    shift_code: Mapped[str] = col("Shift in force at the start of the hour, e.g. D or N")
    shift_name: Mapped[str] = col("Name of the shift")
    shift_start_ts: Mapped[datetime] = col("Start of the shift, inclusive, UTC")
    shift_end_ts: Mapped[datetime] = col("End of the shift, exclusive, UTC")
    crew_code: Mapped[str | None] = col("Crew on duty by the rota; NULL without a rota")
    is_weekend: Mapped[bool] = col("Whether the fab day is a Saturday or Sunday")
    is_holiday: Mapped[bool] = col("Whether the fab day is a holiday of the fab's calendar")
    timezone: Mapped[str] = col("Time zone of the fab's calendar (IANA name)")
