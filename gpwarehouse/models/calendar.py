"""The rows of ``dim_time``: UTC hours, and the fab's own calendar of shifts, days, weeks and crews over them.

Two clocks stand side by side in a row. ``time_key`` to ``year`` are the UTC hour. ``fab_date`` to ``timezone`` are
the fab's calendar at the *start* of that hour; ``is_weekend`` and ``is_holiday`` speak of the fab day. Where shifts
change within a UTC hour (a zone of 30 or 45 minutes, a start at 06:30) the hour belongs to the shift in force when it
began; an exact time's shift is :func:`shift_of`.

**When a shift starts**: at the first moment the fab's wall clock shows its start *or later*. So a start that is
skipped in spring is the moment the clock jumps, one that comes twice in autumn is its first coming, and on an ordinary
day it is what the clock says. Starts so defined never run backwards: shifts are half-open ``[start, end)``, touch each
other and cover all time, an hour is in one of them, and a shift over a change of clocks is longer or shorter by it.
(Where several starts are skipped at once, as when Apia left out 2011-12-30, all but the last are empty and hold no
hour.)

**Fab day** ``fab_date``: the local date on which its first shift starts. The others follow until the first comes
again, so a night shift belongs to the day it began in. With ``(23:00, 07:00, 15:00)`` the day of the 1st runs from the
1st, 23:00.

**Fab week, month, year**: ``fab_week`` numbers weeks as ISO 8601 does, over fab days, beginning on ``week_start``
(1 = Monday, which *is* ISO). A week belongs as a whole to the year and month of its fourth day (ISO: Thursday), so
both (``fab_year``, ``fab_week``) and (``fab_year``, ``fab_month``) name a span without gap or overlap. The calendar's
month is ``month``, or ``EXTRACT(MONTH FROM fab_date)``.

**Crews**: ``rota`` is the list of crew codes taken over shift by shift from the first shift of ``rota_start``,
repeated for ever in both directions. ``("A", "B", "A", "B", "C", "D", "C", "D")`` with two shifts: A days and B nights
for two days, then C and D. Without a rota ``crew_code`` is NULL.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

from gpwarehouse.errors import NaturalKeyError, OptionError

__all__ = [
    "DIM_TIME_COLUMNS",
    "FabShift",
    "Shift",
    "ShiftCalendar",
    "calendar_rows",
    "fab_shifts",
    "hour_row",
    "shift_of",
    "time_key",
]

DIM_TIME_COLUMNS = (
    "time_key",
    "ts_utc",
    "calendar_date",
    "hour",
    "day_of_week",
    "iso_week",
    "iso_year",
    "month",
    "quarter",
    "year",
    "fab_date",
    "fab_week",
    "fab_month",
    "fab_year",
    "shift_code",
    "shift_name",
    "shift_start_ts",
    "shift_end_ts",
    "crew_code",
    "is_weekend",
    "is_holiday",
    "timezone",
)
"""The columns of ``dim_time``, in order; every row has all of them."""

_HOUR = timedelta(hours=1)
_DAY = timedelta(days=1)
_USUAL_SHIFTS = {
    1: (("D", "Day"),),
    2: (("D", "Day"), ("N", "Night")),
    3: (("D", "Day"), ("S", "Swing"), ("N", "Night")),
}


@dataclass(frozen=True)
class Shift:
    """A shift of the fab day: its code and name, and its start on the fab's wall clock (whole minutes, no zone)."""

    code: str
    name: str
    start: time

    def __post_init__(self) -> None:
        if not self.code.strip():
            raise OptionError(f"shift {self!r}: code is empty; give a short one such as 'D'")
        if self.start.tzinfo is not None or self.start.second or self.start.microsecond:
            raise OptionError(f"shift {self.code}: start {self.start} must be a local time in whole minutes, HH:MM")


@dataclass(frozen=True)
class FabShift:
    """A shift on a certain fab day: ``[start, end)`` in UTC, and the crew that has it (None without a rota)."""

    code: str
    name: str
    fab_date: date
    number: int
    """Its place in the fab day, from 1."""
    start: datetime
    end: datetime
    crew_code: str | None


@dataclass(frozen=True)
class ShiftCalendar:
    """A fab's shifts, crews and holidays in its time zone. The module says what each field means.

    ``timezone`` is an IANA name; ``shifts`` follow each other within 24 hours, the first one starting the fab day;
    ``crews``, if given, are the codes that ``rota`` may name; ``holidays`` are fab days; ``week_start`` is the ISO
    weekday (1–7) on which fab weeks begin. Raises :class:`~gpwarehouse.errors.OptionError` for what is no calendar.
    """

    timezone: str = "UTC"
    shifts: tuple[Shift, ...] = (Shift("D", "Day", time(7)), Shift("N", "Night", time(19)))
    crews: tuple[str, ...] = ()
    rota: tuple[str, ...] = ()
    rota_start: date | None = None
    holidays: frozenset[date] = frozenset()
    week_start: int = 1

    def __post_init__(self) -> None:
        try:
            ZoneInfo(self.timezone)
        except (ValueError, KeyError, OSError):
            raise OptionError(f"timezone {self.timezone!r} is no IANA time zone, such as 'Asia/Taipei'") from None
        if not self.shifts:
            raise OptionError("shifts: a fab day needs at least one")
        if len({shift.code for shift in self.shifts}) < len(self.shifts):
            raise OptionError(f"shifts: codes {[shift.code for shift in self.shifts]} must differ")
        since_first = [_minutes(shift.start) - _minutes(self.shifts[0].start) for shift in self.shifts]
        if any(a % 1440 >= b % 1440 for a, b in pairwise(since_first)):
            starts = ", ".join(f"{shift.start:%H:%M}" for shift in self.shifts)
            raise OptionError(f"shifts: starts {starts} must follow each other within 24 hours, none twice")
        if bool(self.rota) != (self.rota_start is not None):
            raise OptionError("rota and rota_start go together: the crew codes, and the fab day of the first of them")
        if strangers := [crew for crew in self.rota if self.crews and crew not in self.crews]:
            raise OptionError(f"rota names {strangers[0]!r}, which is none of the crews {self.crews}")
        if not 1 <= self.week_start <= 7:
            raise OptionError(f"week_start {self.week_start} must be an ISO weekday, 1 (Monday) to 7 (Sunday)")

    @classmethod
    def build(
        cls,
        *,
        timezone: str = "UTC",
        shift_starts: Sequence[time] = (time(7), time(19)),
        shift_codes: Sequence[str] = (),
        shift_names: Sequence[str] = (),
        shift_crews: Sequence[str] = (),
        shift_rota: Sequence[str] = (),
        shift_rota_start: date | None = None,
        holidays: Iterable[date] = (),
        fab_week_start: int = 1,
    ) -> ShiftCalendar:
        """A calendar from plain lists, as ``WarehouseSettings.calendar_options()`` gives them.

        Without codes and names, up to three shifts are D Day, S Swing, N Night (two: D and N); more S1 Shift 1, …
        """
        count = len(shift_starts)
        usual = _USUAL_SHIFTS.get(count) or tuple((f"S{n}", f"Shift {n}") for n in range(1, count + 1))
        codes = tuple(shift_codes) or tuple(code for code, _ in usual)
        names = tuple(shift_names) or (tuple(shift_codes) or tuple(name for _, name in usual))
        if not len(codes) == len(names) == count:
            raise OptionError(
                f"{count} shift starts, {len(codes)} codes and {len(names)} names: give the same number of each"
            )
        shifts = tuple(Shift(code, name, start) for code, name, start in zip(codes, names, shift_starts, strict=True))
        crews, rota = tuple(shift_crews), tuple(shift_rota)
        return cls(timezone, shifts, crews, rota, shift_rota_start, frozenset(holidays), fab_week_start)

    @cached_property
    def zone(self) -> ZoneInfo:
        """The time zone itself."""
        return ZoneInfo(self.timezone)

    def fab_week(self, fab_date: date) -> tuple[int, int, int]:
        """(``fab_year``, ``fab_month``, ``fab_week``) of a fab day: those of the fourth day of its fab week."""
        weekday = (fab_date.isoweekday() - self.week_start) % 7 + 1
        fourth = fab_date + timedelta(days=4 - weekday)
        return fourth.year, fourth.month, (fourth.timetuple().tm_yday - 1) // 7 + 1

    def crew_of(self, fab_date: date, number: int) -> str | None:
        """The crew that has the shift of that number (from 1) on that fab day; None without a rota."""
        if self.rota_start is None:
            return None
        turn = (fab_date - self.rota_start).days * len(self.shifts) + number - 1
        return self.rota[turn % len(self.rota)]


def time_key(ts: datetime) -> int:
    """``time_key`` of an aware time: its UTC hour as YYYYMMDDHH. A naive time raises NaturalKeyError."""
    utc = _utc(ts)
    return ((utc.year * 100 + utc.month) * 100 + utc.day) * 100 + utc.hour


def shift_of(ts: datetime, calendar: ShiftCalendar) -> FabShift:
    """The shift in force at an aware time. A naive time raises NaturalKeyError."""
    return next(_shifts_from(_utc(ts), calendar))


def fab_shifts(start: datetime, end: datetime, calendar: ShiftCalendar) -> Iterator[FabShift]:
    """The shifts that overlap ``[start, end)``, in time order, touching each other."""
    last = _utc(end)
    for shift in _shifts_from(_utc(start), calendar):
        if shift.start >= last:
            return
        yield shift


def hour_row(ts: datetime, calendar: ShiftCalendar) -> dict[str, Any]:
    """The ``dim_time`` row of the UTC hour that holds an aware time: :data:`DIM_TIME_COLUMNS` to values."""
    hour = _utc(ts).replace(minute=0, second=0, microsecond=0)
    return _row(hour, shift_of(hour, calendar), calendar)


def calendar_rows(start: datetime, end: datetime, calendar: ShiftCalendar) -> Iterator[dict[str, Any]]:
    """The ``dim_time`` rows of every UTC hour that overlaps ``[start, end)``, each once, in order."""
    hour = _utc(start).replace(minute=0, second=0, microsecond=0)
    last = _utc(end)
    if hour >= last:
        return
    shifts = _shifts_from(hour, calendar)
    shift = next(shifts)
    while hour < last:
        while shift.end <= hour:
            shift = next(shifts)
        yield _row(hour, shift, calendar)
        hour += _HOUR


def _row(hour: datetime, shift: FabShift, calendar: ShiftCalendar) -> dict[str, Any]:
    iso = hour.isocalendar()
    fab_year, fab_month, fab_week = calendar.fab_week(shift.fab_date)
    return {
        "time_key": time_key(hour),
        "ts_utc": hour,
        "calendar_date": hour.date(),
        "hour": hour.hour,
        "day_of_week": iso.weekday,
        "iso_week": iso.week,
        "iso_year": iso.year,
        "month": hour.month,
        "quarter": (hour.month + 2) // 3,
        "year": hour.year,
        "fab_date": shift.fab_date,
        "fab_week": fab_week,
        "fab_month": fab_month,
        "fab_year": fab_year,
        "shift_code": shift.code,
        "shift_name": shift.name,
        "shift_start_ts": shift.start,
        "shift_end_ts": shift.end,
        "crew_code": shift.crew_code,
        "is_weekend": shift.fab_date.isoweekday() >= 6,
        "is_holiday": shift.fab_date in calendar.holidays,
        "timezone": calendar.timezone,
    }


def _shifts_from(utc: datetime, calendar: ShiftCalendar) -> Iterator[FabShift]:
    """The shift in force at ``utc`` and all after it. Empty ones (several starts skipped at once) are passed over."""
    first = calendar.shifts[0].start
    # Two days back: the first shift may start on the evening before, and a zone may have left out a whole day.
    day = utc.astimezone(calendar.zone).date() - 2 * _DAY
    begun: tuple[date, int, Shift, datetime] | None = None
    while True:
        for number, shift in enumerate(calendar.shifts, 1):
            local_day = day if shift.start >= first else day + _DAY
            start = _first_moment(datetime.combine(local_day, shift.start), calendar.zone)
            if begun is not None and start > begun[3] and start > utc:
                fab_date, place, of, began = begun
                yield FabShift(of.code, of.name, fab_date, place, began, start, calendar.crew_of(fab_date, place))
            begun = (day, number, shift, start)
        day += _DAY


def _first_moment(wall: datetime, zone: ZoneInfo) -> datetime:
    """The first UTC moment at which the clock of the zone shows ``wall`` or later."""
    earliest = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if _wall(earliest, zone) == wall:
        return earliest
    # Skipped. fold=1 reckons with the offset after the jump and lands before it, fold=0 the other way round (PEP 495).
    before, after = wall.replace(tzinfo=zone, fold=1).astimezone(UTC), earliest
    while after - before > timedelta(seconds=1):
        middle = before + timedelta(seconds=(after - before) // timedelta(seconds=2))
        if _wall(middle, zone) >= wall:
            after = middle
        else:
            before = middle
    return after


def _wall(utc: datetime, zone: ZoneInfo) -> datetime:
    return utc.astimezone(zone).replace(tzinfo=None, fold=0)


def _utc(ts: datetime) -> datetime:
    if ts.tzinfo is None or ts.utcoffset() is None:
        raise NaturalKeyError(f"{ts!r} has no time zone: give an aware datetime, as ts.replace(tzinfo=UTC) makes it")
    return ts.astimezone(UTC)


def _minutes(moment: time) -> int:
    return moment.hour * 60 + moment.minute
