"""The fab calendar: every UTC hour one row, in one shift, whatever the clocks of the zone do."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from gpwarehouse.errors import NaturalKeyError, OptionError
from gpwarehouse.models.calendar import (
    DIM_TIME_COLUMNS,
    Shift,
    ShiftCalendar,
    calendar_rows,
    fab_shifts,
    hour_row,
    shift_of,
    time_key,
)

HOUR = timedelta(hours=1)
# Odd ones made frequent: changes of 30 minutes and 2 hours, offsets of 30 and 45, negative summer time, a day left out.
ODD = [
    "America/New_York",
    "America/St_Johns",
    "Antarctica/Troll",
    "Africa/Casablanca",
    "Asia/Kathmandu",
    "Asia/Kolkata",
    "Asia/Taipei",
    "Asia/Tehran",
    "Australia/Lord_Howe",
    "Europe/Dublin",
    "Pacific/Apia",
    "Pacific/Chatham",
    "Pacific/Kiritimati",
    "Pacific/Kwajalein",
]
ZONES = st.one_of(st.sampled_from(ODD), st.sampled_from(sorted(available_timezones() - {"localtime", "Factory"})))


@st.composite
def calendars(draw: st.DrawFn) -> ShiftCalendar:
    minutes = sorted(draw(st.sets(st.integers(0, 1439), min_size=1, max_size=5)))
    turn = draw(st.integers(0, len(minutes) - 1))
    starts = [time(m // 60, m % 60) for m in minutes[turn:] + minutes[:turn]]
    rota = draw(st.lists(st.sampled_from("ABCD"), max_size=9))
    begun = draw(st.dates(date(1990, 1, 1), date(2050, 1, 1))) if rota else None
    week_start = draw(st.integers(1, 7))
    return ShiftCalendar.build(
        timezone=draw(ZONES), shift_starts=starts, shift_rota=rota, shift_rota_start=begun, fab_week_start=week_start
    )


@st.composite
def moments(draw: st.DrawFn, calendar: ShiftCalendar) -> datetime:
    """Any time from 1990 to 2100, every second one close to a change of the zone's clocks."""
    moment = draw(st.datetimes(datetime(1990, 1, 5), datetime(2100, 12, 1))).replace(tzinfo=UTC)
    if draw(st.booleans()):
        days = (moment + timedelta(days=n) for n in range(200))
        offset = moment.astimezone(calendar.zone).utcoffset()
        moment = next((day for day in days if day.astimezone(calendar.zone).utcoffset() != offset), moment)
    return moment


def utc(*args: int) -> datetime:
    return datetime(*args, tzinfo=UTC)  # type: ignore[misc, arg-type]


@settings(max_examples=200, deadline=None)
@given(data=st.data(), calendar=calendars())
def test_every_utc_hour_has_one_row_in_the_shift_in_force(data: st.DataObject, calendar: ShiftCalendar) -> None:
    start = data.draw(moments(calendar)) - timedelta(days=2)
    rows = list(calendar_rows(start, start + timedelta(days=4), calendar))
    hours = [row["ts_utc"] for row in rows]
    assert hours[0] <= start < hours[0] + HOUR
    assert hours[-1] < start + timedelta(days=4) <= hours[-1] + HOUR
    assert all(b - a == HOUR for a, b in pairwise(hours))
    assert len({row["time_key"] for row in rows}) == len(rows)
    for row in rows:
        assert tuple(row) == DIM_TIME_COLUMNS
        assert row["shift_start_ts"] <= row["ts_utc"] < row["shift_end_ts"]
        assert row["time_key"] == int(f"{row['ts_utc']:%Y%m%d%H}") == time_key(row["ts_utc"])
    for row in rows[::17]:
        assert row == hour_row(row["ts_utc"] + timedelta(minutes=59, seconds=59), calendar)


@settings(max_examples=200, deadline=None)
@given(data=st.data(), calendar=calendars())
def test_shifts_touch_each_other_and_cover_all_time(data: st.DataObject, calendar: ShiftCalendar) -> None:
    start = data.draw(moments(calendar)) - timedelta(days=3)
    end = start + timedelta(days=6)
    shifts = list(fab_shifts(start, end, calendar))
    assert shifts[0].start <= start < shifts[0].end
    assert shifts[-1].start < end <= shifts[-1].end
    for one, next_one in pairwise(shifts):
        assert one.start < one.end == next_one.start
        assert shift_of(one.start, calendar) == one == shift_of(one.end - timedelta(seconds=1), calendar)


@settings(max_examples=200, deadline=None)
@given(data=st.data(), calendar=calendars())
@example(data=None, calendar=ShiftCalendar("America/New_York", (Shift("G", "Gap", time(2, 30)),)))
def test_a_shift_starts_at_the_first_moment_the_clock_shows_it(
    data: st.DataObject | None, calendar: ShiftCalendar
) -> None:
    moment = data.draw(moments(calendar)) if data else utc(2026, 3, 8, 12)
    shift = shift_of(moment, calendar)
    offset = calendar.shifts[shift.number - 1].start
    day = shift.fab_date + timedelta(days=offset < calendar.shifts[0].start)
    wall = datetime.combine(day, offset)

    def shown(at: datetime) -> datetime:
        return at.astimezone(calendar.zone).replace(tzinfo=None)

    assert shown(shift.start) >= wall
    before = [shown(shift.start - timedelta(seconds=s)) for s in (1, 60, 1800, 3600, 7200, 10800)]
    assert all(seen < wall for seen in before)


@settings(max_examples=100, deadline=None)
@given(data=st.data(), calendar=calendars())
def test_each_fab_day_has_each_shift_once_and_a_night_belongs_to_the_day_it_began(
    data: st.DataObject, calendar: ShiftCalendar
) -> None:
    moment = data.draw(moments(calendar))
    # Where a whole day is left out or clocks jump over several starts, empty shifts are passed over by design.
    offsets = {(moment + timedelta(hours=6 * n)).astimezone(calendar.zone).utcoffset() for n in range(-20, 21)}
    assume(len(offsets) == 1)
    shifts = list(fab_shifts(moment - timedelta(days=3), moment + timedelta(days=3), calendar))
    day = shift_of(moment, calendar).fab_date
    of_day = [shift for shift in shifts if shift.fab_date == day]
    assert [shift.number for shift in of_day] == list(range(1, len(calendar.shifts) + 1))
    assert of_day[0].start.astimezone(calendar.zone).date() == day
    assert of_day[-1].end - of_day[0].start == timedelta(days=1)
    lengths = [shift.end - shift.start for shift in of_day]
    assert sum(lengths, timedelta()) == timedelta(days=1)


@given(data=st.data(), calendar=calendars())
@settings(max_examples=100, deadline=None)
def test_the_rota_goes_round_shift_by_shift(data: st.DataObject, calendar: ShiftCalendar) -> None:
    day = data.draw(st.dates(date(1990, 1, 1), date(2100, 1, 1)))
    turns = [
        calendar.crew_of(day + timedelta(days=n), number)
        for n in range(2 * max(1, len(calendar.rota)))
        for number in range(1, len(calendar.shifts) + 1)
    ]
    if calendar.rota_start is None:
        assert set(turns) == {None}
        return
    period = len(calendar.rota)
    assert turns[:-period] == turns[period:]
    assert calendar.crew_of(calendar.rota_start, 1) == calendar.rota[0]
    assert list(turns[:period]) in [list(calendar.rota[n:] + calendar.rota[:n]) for n in range(period)]


@given(day=st.dates(date(1990, 1, 1), date(2100, 12, 31)), week_start=st.integers(1, 7))
def test_a_fab_week_lies_whole_in_one_fab_month_and_year(day: date, week_start: int) -> None:
    calendar = ShiftCalendar(week_start=week_start)
    first = day - timedelta(days=(day.isoweekday() - week_start) % 7)
    assert len({calendar.fab_week(first + timedelta(days=n)) for n in range(7)}) == 1
    assert calendar.fab_week(first - timedelta(days=1)) != calendar.fab_week(day)
    if week_start == 1:
        year, _, week = calendar.fab_week(day)
        assert (year, week) == day.isocalendar()[:2]


def test_a_row_has_two_clocks() -> None:
    calendar = ShiftCalendar(timezone="Asia/Taipei", holidays=frozenset({date(2026, 1, 1)}))
    row = hour_row(utc(2026, 1, 1, 22, 40), calendar)  # 06:40 of the 2nd in Taipei: still the night of the 1st
    assert row == {
        "time_key": 2026010122,
        "ts_utc": utc(2026, 1, 1, 22),
        "calendar_date": date(2026, 1, 1),
        "hour": 22,
        "day_of_week": 4,
        "iso_week": 1,
        "iso_year": 2026,
        "month": 1,
        "quarter": 1,
        "year": 2026,
        "fab_date": date(2026, 1, 1),
        "fab_week": 1,
        "fab_month": 1,
        "fab_year": 2026,
        "shift_code": "N",
        "shift_name": "Night",
        "shift_start_ts": utc(2026, 1, 1, 11),
        "shift_end_ts": utc(2026, 1, 1, 23),
        "crew_code": None,
        "is_weekend": False,
        "is_holiday": True,
        "timezone": "Asia/Taipei",
    }


@pytest.mark.parametrize(
    ("zone", "night", "hours"),
    [
        ("America/New_York", utc(2026, 3, 8, 6), 11),
        ("America/New_York", utc(2026, 11, 1, 6), 13),
        ("Australia/Lord_Howe", utc(2026, 4, 4, 15), 12.5),
        ("Antarctica/Troll", utc(2026, 3, 29, 0), 10),
        ("Asia/Taipei", utc(2026, 3, 8, 16), 12),
    ],
)
def test_a_night_over_a_change_of_clocks_is_longer_or_shorter(zone: str, night: datetime, hours: float) -> None:
    shift = shift_of(night, ShiftCalendar(timezone=zone))
    assert (shift.code, shift.end - shift.start) == ("N", timedelta(hours=hours))


def test_a_start_the_clock_skips_is_the_jump_and_one_that_comes_twice_its_first_coming() -> None:
    calendar = ShiftCalendar.build(timezone="America/New_York", shift_starts=[time(1, 30), time(2, 30)])
    assert shift_of(utc(2026, 3, 8, 12), calendar).start == utc(2026, 3, 8, 7)
    assert shift_of(utc(2026, 11, 1, 6, 59), calendar).start == utc(2026, 11, 1, 5, 30)


def test_shifts_that_start_in_the_same_gap_leave_the_last_one() -> None:
    starts = [time(1), time(2, 15), time(2, 45)]
    calendar = ShiftCalendar.build(timezone="America/New_York", shift_starts=starts)
    found = list(fab_shifts(utc(2026, 3, 8, 6), utc(2026, 3, 9, 5), calendar))
    assert [(shift.number, shift.start) for shift in found] == [(1, utc(2026, 3, 8, 6)), (3, utc(2026, 3, 8, 7))]


def test_an_hour_that_holds_a_change_of_shifts_belongs_to_the_shift_at_its_start() -> None:
    calendar = ShiftCalendar(timezone="Asia/Kolkata")  # 07:00 is 01:30 UTC
    assert hour_row(utc(2026, 1, 2, 1), calendar)["shift_code"] == "N"
    assert hour_row(utc(2026, 1, 2, 2), calendar)["shift_code"] == "D"
    assert shift_of(utc(2026, 1, 2, 1, 30), calendar).code == "D"


def test_a_fab_day_may_begin_the_evening_before() -> None:
    calendar = ShiftCalendar.build(shift_starts=[time(23), time(7), time(15)])
    assert [s.name for s in calendar.shifts] == ["Day", "Swing", "Night"]
    assert shift_of(utc(2026, 1, 1, 23), calendar).fab_date == date(2026, 1, 1)
    assert shift_of(utc(2026, 1, 2, 22, 59), calendar).fab_date == date(2026, 1, 1)


def test_crews_take_over_in_the_order_of_the_rota() -> None:
    calendar = ShiftCalendar(rota=("A", "B", "A", "B", "C", "D", "C", "D"), rota_start=date(2026, 1, 1))
    crews = [row["crew_code"] for row in calendar_rows(utc(2026, 1, 1, 7), utc(2026, 1, 5, 7), calendar)][::12]
    assert "".join(crews) == "ABABCDCD"
    assert shift_of(utc(2025, 12, 31, 20), calendar).crew_code == "D"


def test_naive_times_are_refused() -> None:
    with pytest.raises(NaturalKeyError, match="no time zone"):
        time_key(datetime(2026, 1, 1))
    with pytest.raises(NaturalKeyError, match="no time zone"):
        hour_row(datetime(2026, 1, 1), ShiftCalendar())


def test_a_time_of_another_zone_has_the_key_of_its_utc_hour() -> None:
    assert time_key(datetime(2026, 1, 1, 5, 15, tzinfo=ZoneInfo("Asia/Kolkata"))) == 2025123123


def test_an_empty_span_has_no_rows() -> None:
    assert list(calendar_rows(utc(2026, 1, 1), utc(2026, 1, 1), ShiftCalendar())) == []


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"timezone": "Mars/Base"}, "IANA"),
        ({"shift_starts": []}, "at least one"),
        ({"shift_starts": [time(7), time(7)]}, "follow each other"),
        ({"shift_starts": [time(7), time(19), time(12)]}, "follow each other"),
        ({"shift_starts": [time(7, 0, 30)]}, "whole minutes"),
        ({"shift_codes": ["D", "D"]}, "must differ"),
        ({"shift_codes": ["D", " "]}, "empty"),
        ({"shift_codes": ["D"]}, "the same number"),
        ({"shift_rota": ["A"]}, "rota_start"),
        ({"shift_rota": ["X"], "shift_rota_start": date(2026, 1, 1), "shift_crews": ["A"]}, "none of the crews"),
        ({"fab_week_start": 0}, "ISO weekday"),
    ],
)
def test_what_cannot_be_a_calendar_says_why(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        ShiftCalendar.build(**wrong)  # type: ignore[arg-type]
