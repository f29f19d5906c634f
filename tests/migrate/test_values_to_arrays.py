"""Revision 0006: numbers that stood in ``parameters``, to arrays and back."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

import pytest
from sqlalchemy import URL, text

from gpwarehouse import Warehouse
from gpwarehouse.derived import differing_aggregates
from gpwarehouse.errors import GpwarehouseError
from gpwarehouse.models import FACTS
from gpwarehouse.models.parameter_sets import Parameter, ParameterSet
from gpwarehouse.months import ensure_months
from tests.queries import rows_of

MONTHS = [datetime(2026, month, 1, tzinfo=UTC) for month in (1, 2, 3)]

PARAMETERS = (
    '{"10": 0.1, "9": 1.5, "CAL": "ok", "n": null, "deep": {"a": [1, 2.50]}}',
    '{"10": 0.30000000000000004, "11": -3}',
    '{"10": 0.10000000149011612, "big": 9007199254740993, "long": 0.12345678901234567890}',
    '{"only": "text"}',
    "{}",
    '{"10": 1e-7, "9": 123456789012345, "huge": 1e301}',
)


def write(wh: Warehouse) -> None:
    """Rows of three months, as they were before: by INSERT, because the models of today would not fit."""
    with wh.engine.begin() as connection:
        for fact in ("fact_test_results", "fact_process_measurements"):
            keys = "wafer_key, lot_key, product_key, process_step_key, recipe_key, equipment_key, chamber_key"
            more = ", tester_key, prober_key" if fact == "fact_test_results" else ""
            for number in range(60):
                event = MONTHS[number % 3].replace(day=number % 28 + 1)
                connection.execute(
                    text(
                        f"INSERT INTO dw.{fact} (event_ts, time_key, {keys}{more}, source_record_no, batch_id, parameters) "
                        f"VALUES (:at, 0, :wafer, 1, 1, :step, -2, 1, -2{', -2, -2' if more else ''}, :no, :batch, "
                        "CAST(:parameters AS jsonb))"
                    ),
                    {
                        "at": event,
                        "wafer": number % 7,
                        "step": number % 2,
                        "no": number,
                        "batch": f"b{number % 4}",
                        "parameters": PARAMETERS[number % len(PARAMETERS)],
                    },
                )


def before(url: URL) -> Warehouse:
    """A warehouse at revision 0003, with rows."""
    wh = Warehouse(url)
    wh.upgrade("0003")
    for fact in ("fact_test_results", "fact_process_measurements"):
        with wh.engine.begin() as connection:
            for month in MONTHS:
                name, start = f"m{month:%Y%m}", f"{month:%Y-%m-%d} 00:00:00+00"
                end = f"{month.replace(month=month.month + 1):%Y-%m-%d} 00:00:00+00"
                _add_month(connection, fact, name, start, end)
    write(wh)
    return wh


def _add_month(connection: Any, fact: str, name: str, start: str, end: str) -> None:
    from gpwarehouse.dialect import AddPartition
    from gpwarehouse.dialect.options import month_partition

    connection.execute(AddPartition(FACTS[fact].__table__, month_partition(datetime.fromisoformat(start))))


def documents(wh: Warehouse, fact: str) -> list[tuple[Any, ...]]:
    """Every entry of every row as text, canonical."""
    return rows_of(
        wh,
        "SELECT f.source_record_no, j.key, CAST(j.value AS text) FROM dw."
        f"{fact} f CROSS JOIN LATERAL jsonb_each(f.parameters) AS j (key, value) ORDER BY 1, 2",
    )


def values(wh: Warehouse, view: str) -> list[tuple[Any, ...]]:
    name = "test_number" if view == "v_test_values" else "parameter"
    return rows_of(wh, f"SELECT source_record_no, {name}, value FROM dw.{view} ORDER BY 1, 2")


def same(some: list[tuple[Any, ...]], others: list[tuple[Any, ...]]) -> bool:
    """Numbers may be printed otherwise, 1.50 as 1.5; Greenplum 6 prints the double of 0.1 with 17 digits."""

    def number(written: str) -> Any:
        try:
            return float(written) if "." in written else Decimal(written)
        except (InvalidOperation, ValueError):
            return written

    return [(*row[:2], number(row[2])) for row in some] == [(*row[:2], number(row[2])) for row in others]


def test_values_go_to_arrays_and_come_back(empty_url: URL) -> None:
    with before(empty_url) as wh:
        facts = {"fact_test_results": "v_test_values", "fact_process_measurements": "v_process_values"}
        documented = {fact: documents(wh, fact) for fact in facts}
        wh.upgrade("0005")
        seen = {view: values(wh, view) for view in facts.values()}
        wh.upgrade()
        for fact, view in facts.items():
            assert values(wh, view) == seen[view]
            left = {(key, value) for _, key, value in documents(wh, fact)}
            # Greenplum 6 prints 17 digits: where they are not the number's own, it stays where it was, and is seen all the same.
            assert {key for key, _ in left} - {"10"} == {"CAL", "n", "deep", "big", "long", "only", "huge"}
            assert ("big", "9007199254740993") in left
            assert ("long", "0.12345678901234567890") in left
            with wh.engine.begin() as connection:
                assert differing_aggregates(connection, fact) == (0, None)
            assert (
                rows_of(wh, f"SELECT count(*) FROM dw.{'agg_test' if 'test' in fact else 'agg_process'}_values")[0][0]
                > 0
            )
        kept = {key for _, key, _ in documents(wh, "fact_test_results")}
        made = ParameterSet.of(Parameter(name, int(name)) for name in ("10", "11") if name not in kept)
        lists = rows_of(wh, "SELECT DISTINCT parameter_set_key FROM dw.bridge_parameter_set")
        assert made.key in {key for (key,) in lists}
        wh.downgrade("0005")  # the arrays are empty then, so that the next step loses nothing
        wh.downgrade("0003")
        for fact in facts:
            assert same(documents(wh, fact), documented[fact])
        wh.upgrade()
        assert values(wh, "v_test_values") == seen["v_test_values"]


def test_an_interrupted_run_goes_on_where_it_stopped(empty_url: URL, monkeypatch: pytest.MonkeyPatch) -> None:
    with before(empty_url) as wh:
        wh.upgrade("0005")
        seen = values(wh, "v_test_values")

        def stop(line: str) -> None:
            if "batch 2 of" in line:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            wh.upgrade(progress=stop)
        assert rows_of(wh, "SELECT count(*) FROM dw.fact_test_results WHERE measured IS NOT NULL") != [(0,)]
        assert values(wh, "v_test_values") == seen
        told: list[str] = []
        wh.upgrade(progress=told.append)
        assert any("done before" in line for line in told)
        assert values(wh, "v_test_values") == seen
        with wh.engine.begin() as connection:
            assert differing_aggregates(connection, "fact_test_results") == (0, None)


def test_what_the_way_back_would_lose_stops_it(empty_url: URL) -> None:
    with Warehouse(empty_url) as wh:
        wh.upgrade()
        ensure_months(wh.engine, FACTS["fact_test_results"].__table__, MONTHS[:1])
        with wh.engine.begin() as connection:
            connection.execute(
                text(
                    "INSERT INTO dw.bridge_parameter_set (parameter_set_key, position, parameter, usl) VALUES (5, 1, 'A', 2)"
                )
            )
            connection.execute(
                text(
                    "INSERT INTO dw.fact_test_results (event_ts, time_key, wafer_key, lot_key, product_key, process_step_key, "
                    "recipe_key, equipment_key, chamber_key, tester_key, prober_key, source_record_no, batch_id, "
                    "parameter_set_key, measured, verdicts) VALUES ('2026-01-02 00:00+00', 0, 1, 1, 1, 1, -2, 1, -2, 1, -2, 1, "
                    "'b', 5, '{1.5}', 'P')"
                )
            )
        with pytest.raises(GpwarehouseError, match="verdicts"):
            wh.downgrade("0003")
        wh.downgrade("0003", drop_data=True)
        assert rows_of(wh, "SELECT CAST(parameters ->> 'A' AS text) FROM dw.fact_test_results") == [("1.5",)]
