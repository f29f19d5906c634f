"""After the load: statistics where they are needed, and nothing that goes wrong there touches the rows."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from gpwarehouse import Warehouse
from gpwarehouse.dialect import Brand, ServerInfo
from tests.load.rows import MEASUREMENTS, NOON, measurement, scalar

IN_MAY = NOON + timedelta(days=61)


def rows(count: int, **values: Any) -> list[dict[str, Any]]:
    return [measurement(slot=n, **values) for n in range(count)]


def leaves(names: tuple[str, ...]) -> list[str]:
    """The months among tables that were analysed."""
    return [name[-7:] for name in names if name != MEASUREMENTS]


def known(wh: Warehouse, month: str) -> float:
    query = "SELECT max(reltuples) FROM pg_class WHERE relname LIKE :name AND relkind = 'r'"
    return float(scalar(wh, query, name=f"{MEASUREMENTS}%{month}"))


def test_auto_gathers_statistics_where_there_are_none_or_a_tenth_is_new(wh: Warehouse, server_info: ServerInfo) -> None:
    first = wh.load(MEASUREMENTS, rows(100) + rows(20, event_ts=IN_MAY))
    assert sorted(leaves(first.analyzed)) == ["m202403", "m202405"]
    assert (MEASUREMENTS in first.analyzed) == (server_info.brand is not Brand.POSTGRESQL)
    assert (known(wh, "m202403"), known(wh, "m202405")) == (100, 20)
    few = wh.load(MEASUREMENTS, rows(5, carrier_id="few"))
    assert (few.analyzed, few.warnings) == ((), ())
    many = wh.load(MEASUREMENTS, rows(11, carrier_id="many"))
    assert leaves(many.analyzed) == ["m202403"]
    assert known(wh, "m202403") == 116
    assert many.phase_seconds["analyze"] > 0


def test_always_and_never_mean_it(wh: Warehouse) -> None:
    assert wh.load(MEASUREMENTS, rows(5), analyze="never").analyzed == ()
    assert leaves(wh.load(MEASUREMENTS, rows(100, carrier_id="b"), analyze="auto").analyzed) == ["m202403"]
    assert leaves(wh.load(MEASUREMENTS, rows(1, carrier_id="c"), analyze="always").analyzed) == ["m202403"]
    url = wh.settings.sqlalchemy_url().render_as_string(hide_password=False)
    with Warehouse(url, analyze="never") as other:
        assert other.load(MEASUREMENTS, rows(500, carrier_id="d")).analyzed == ()


def test_a_table_that_is_locked_is_a_warning_and_the_rows_are_there(
    wh: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpwarehouse.load.maintenance.WAIT_MS", 200)
    wh.load(MEASUREMENTS, rows(5), analyze="never")
    child = scalar(wh, "SELECT relname FROM pg_class WHERE relname LIKE 'fact_process_measurements%m202403'")
    with wh.engine.connect() as other:
        other.execute(text(f"LOCK TABLE dw.{child} IN SHARE UPDATE EXCLUSIVE MODE"))
        result = wh.load(MEASUREMENTS, rows(5, carrier_id="b"), analyze="always")
    assert result.rows_loaded == 5
    assert any(child in warning and "lock" in warning for warning in result.warnings), result.warnings
    assert child not in result.analyzed


def test_a_role_that_does_not_own_the_fact_is_told_and_loads(wh: Warehouse) -> None:
    from sqlalchemy import event

    wh.load(MEASUREMENTS, rows(5), analyze="never")
    with wh.engine.begin() as connection:
        connection.exec_driver_sql("CREATE ROLE gpw_d1_loader")
        connection.exec_driver_sql("GRANT USAGE ON SCHEMA dw TO gpw_d1_loader")
        connection.exec_driver_sql("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA dw TO gpw_d1_loader")

    @event.listens_for(wh.engine, "begin")
    def become_loader(connection: Any) -> None:
        connection.exec_driver_sql("SET LOCAL ROLE gpw_d1_loader")

    try:
        result = wh.load(MEASUREMENTS, rows(5, carrier_id="b"))
    finally:
        event.remove(wh.engine, "begin", become_loader)
        with wh.engine.begin() as connection:
            connection.exec_driver_sql("DROP OWNED BY gpw_d1_loader")
            connection.exec_driver_sql("DROP ROLE gpw_d1_loader")
    assert (result.rows_loaded, leaves(result.analyzed)) == (5, [])
    assert any("m202403" in warning and "skipping" in warning for warning in result.warnings), result.warnings


def test_statistics_are_gathered_once_by_loads_at_the_same_time(wh: Warehouse) -> None:
    from gpwarehouse.engine import advisory_key

    wh.load(MEASUREMENTS, rows(5), analyze="never")
    child = scalar(wh, "SELECT relname FROM pg_class WHERE relname LIKE 'fact_process_measurements%m202403'")
    with wh.engine.connect() as other:
        key = advisory_key("analyze", f"dw.{child}")
        other.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})
        result = wh.load(MEASUREMENTS, rows(5, carrier_id="b"))
    assert (leaves(result.analyzed), result.warnings) == ([], ())
