"""A calendar whose settings changed over months that were loaded: said, refused, and made anew."""

from __future__ import annotations

from datetime import date, datetime, time
from typing import Any

import pytest
from sqlalchemy import text

from gpwarehouse import Warehouse
from gpwarehouse.errors import LoadError
from gpwarehouse.models.calendar import ShiftCalendar, calendar_rows
from gpwarehouse.months.hours import OF_CALENDAR
from tests.command_line import run
from tests.load.rows import MEASUREMENTS, NOON, measurement, scalar

TAIPEI: dict[str, Any] = {"timezone": "Asia/Taipei", "shift_starts": [time(7, 20), time(19, 20)]}


def other(wh: Warehouse, **values: Any) -> Warehouse:
    return Warehouse(wh.settings.sqlalchemy_url(), **values)


def hours(wh: Warehouse) -> list[tuple[Any, ...]]:
    with wh.engine.connect() as connection:
        found = connection.execute(text(f"SELECT time_key, {', '.join(OF_CALENDAR)} FROM dw.dim_time ORDER BY 1"))
        return [tuple(row) for row in found]


@pytest.mark.parametrize(
    ("changed", "column"),
    [
        ({"timezone": "Asia/Taipei"}, "fab_date"),
        ({"shift_starts": [time(6), time(18)]}, "shift_start_ts"),
        ({"shift_names": ["Early", "Late"]}, "shift_name"),
        ({"holidays": [date(2024, 3, 8)]}, "is_holiday"),
        ({"shift_crews": ["A", "B"], "shift_rota": ["A", "B"], "shift_rota_start": date(2024, 1, 1)}, "crew_code"),
    ],
)
def test_a_load_into_a_month_of_another_calendar_is_refused(
    shared_wh: Warehouse, changed: dict[str, Any], column: str
) -> None:
    shared_wh.load(MEASUREMENTS, [measurement()])
    with other(shared_wh, **changed) as wh:
        with pytest.raises(
            LoadError, match=r"hours of 2024-03 were made with another calendar .*rebuild-calendar"
        ) as caught:
            wh.load(MEASUREMENTS, [measurement(slot=3)])
        assert f"column {column}: stored" in str(caught.value)
        (found,) = [finding for finding in wh.schema.validate() if finding.kind == "calendar"]
        assert ("2024-03" in found.expected, "rebuild-calendar" in found.remedy) == (True, True)
        (problem,) = wh.data.check(checks=["calendar"]).itertuples()
        assert (problem.table, problem.month) == ("dim_time", "2024-03")
        assert wh.data.check(checks=["calendar"], since="2024-04").empty
    assert scalar(shared_wh, "SELECT count(*) FROM dw.fact_process_measurements WHERE slot = 3") == 0
    assert shared_wh.data.check(checks=["calendar"]).empty
    assert [finding for finding in shared_wh.schema.validate() if finding.kind == "calendar"] == []


def test_the_calendar_is_made_anew_for_all_months_that_differ(wh: Warehouse) -> None:
    wh.load(MEASUREMENTS, [measurement(), measurement(event_ts=datetime.fromisoformat("2024-10-27T00:30:00Z"))])
    with other(wh, **TAIPEI) as changed:
        changed.load(
            MEASUREMENTS, [measurement(event_ts=datetime.fromisoformat("2024-05-01T00:00:00Z"))]
        )  # not made yet
        assert changed.dimensions.rebuild_calendar() == ["2024-03", "2024-10"]
        assert changed.load(MEASUREMENTS, [measurement(slot=2)]).rows_loaded == 1
        calendar = ShiftCalendar.build(**changed.settings.calendar_options())
        made = [
            (row["time_key"], *(row[name] for name in OF_CALENDAR))
            for month in (3, 5, 10)
            for row in calendar_rows(
                NOON.replace(month=month, day=1, hour=0), NOON.replace(month=month + 1, day=1, hour=0), calendar
            )
        ]
        assert hours(changed) == made
        assert changed.dimensions.rebuild_calendar() == []
        assert changed.data.check(checks=["calendar"]).empty


def test_hours_that_are_missing_are_no_other_calendar_and_are_made(wh: Warehouse) -> None:
    wh.load(MEASUREMENTS, [measurement()])
    with wh.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM dw.dim_time WHERE time_key BETWEEN 2024030500 AND 2024030612")
    with other(wh, **TAIPEI) as changed, pytest.raises(LoadError, match="another calendar"):
        changed.load(MEASUREMENTS, [measurement(slot=1)])
    wh.load(MEASUREMENTS, [measurement(slot=1)])
    assert scalar(wh, "SELECT count(*) FROM dw.dim_time") == 31 * 24


def test_the_command_makes_the_calendar_anew(wh: Warehouse, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    wh.load(MEASUREMENTS, [measurement()])
    monkeypatch.setenv("GPWAREHOUSE_TIMEZONE", "Asia/Taipei")
    url = wh.settings.sqlalchemy_url().render_as_string(hide_password=False)
    done = run("--url", url, "dimensions", "rebuild-calendar", cwd=tmp_path)
    assert (done.returncode, done.stdout.strip()) == (0, "made anew: 2024-03")
