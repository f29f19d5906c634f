"""Aggregates against a plain computation, and kept right by refresh."""

from __future__ import annotations

import math
import random
import statistics
from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.engine import Engine

from gpwarehouse import models
from gpwarehouse.derived import differing_aggregates, refresh_aggregates
from gpwarehouse.models.parameter_sets import Parameter
from tests.models.conftest import NOON, Rows, at, engine  # noqa: F401
from tests.models.measured import store

TESTS, PROCESS = "fact_test_results", "fact_process_measurements"
NAN = math.nan


@pytest.fixture
def db(engine: Engine) -> Iterator[Rows]:  # noqa: F811
    with engine.connect() as connection:
        connection.execute(text("SET extra_float_digits = 3"))  # as the warehouse's own engine does
        yield Rows(connection)
        connection.rollback()


def aggregates(db: Rows, fact: str = TESTS) -> list[dict[str, Any]]:
    table = models.AGGREGATES[fact].__table__
    return [dict(row) for row in db.connection.execute(select(table)).mappings()]


def refresh(db: Rows, fact: str = TESTS, **scope: Any) -> tuple[int, int]:
    done = refresh_aggregates(db.connection, fact, **{"months": [NOON], **scope})
    return done.removed, done.written


def differing(db: Rows, fact: str = TESTS) -> int:
    return differing_aggregates(db.connection, fact, months=[NOON])[0]


def quartile(values: list[float], share: float) -> float:
    """As percentile_cont of SQL:2003."""
    place = share * (len(values) - 1)
    low, high = sorted(values)[math.floor(place)], sorted(values)[math.ceil(place)]
    return low + (place - math.floor(place)) * (high - low)


def test_aggregates_are_those_of_the_textbook(db: Rows) -> None:
    rng = random.Random(7)
    key = store(db, Parameter("A", 1), Parameter("B", 2), Parameter("F", 3, kind="FUNCTIONAL"))
    values: dict[Any, list[float]] = defaultdict(list)
    verdicts: dict[Any, str] = defaultdict(str)
    for number in range(200):
        wafer, batch, final = number % 3, f"b{number % 2}", number % 5 != 0
        site = number % 4 if wafer == 0 else 1
        measured = [1e9 + rng.gauss(0, 1e-3), NAN if number % 7 == 0 else rng.gauss(5, 2), NAN]
        letters = "".join(rng.choice("PPPFN-") for _ in measured)
        failed = [place for place, letter in enumerate(letters, 1) if letter == "F"]
        given: dict[str, Any] = {"wafer_key": wafer, "batch_id": batch, "is_final_result": final, "head_no": 1}
        given |= {"parameter_set_key": key, "measured": measured, "verdicts": letters, "failed": failed}
        db.fact(models.FactTestResults, at(number / 100), **given, site_no=site)
        for place, (value, letter) in enumerate(zip(measured, letters, strict=True), 1):
            for group in ((None,), (site,)) if wafer == 0 else ((None,),):
                named = (wafer, batch, final, *group, place)
                verdicts[named] += letter
                if not math.isnan(value):
                    values[named].append(value)
    assert refresh(db)[1] == len(verdicts)
    assert differing(db) == 0
    for row in aggregates(db):
        named = (row["wafer_key"], row["batch_id"], row["is_final_result"], row["site_no"], row["position"])
        some, letters = values[named], verdicts[named]
        assert (row["n"], row["n_executed"], row["n_failed"]) == (
            len(some),
            len(letters) - letters.count("-"),
            letters.count("F"),
        )
        if not some:
            assert (row["mean"], row["m2"], row["median"]) == (None, None, None)
            continue
        assert row["mean"] == pytest.approx(statistics.fmean(some), rel=1e-12)
        if len(some) > 1:
            assert row["m2"] / (len(some) - 1) == pytest.approx(statistics.variance(some), rel=1e-6)
        assert (row["min_value"], row["max_value"]) == (min(some), max(some))
        for name, share in (("q1", 0.25), ("median", 0.5), ("q3", 0.75)):
            assert row[name] == pytest.approx(quartile(some, share), rel=1e-12)


def test_values_with_a_name_are_aggregated_beside_those_of_lists(db: Rows) -> None:
    key = store(db, Parameter("s1"))
    given: dict[str, Any] = {"lot_key": 5, "process_step_key": 3}
    for number, wafer in enumerate((1, 2)):
        db.fact(
            models.FactProcessMeasurements,
            at(number),
            **given,
            wafer_key=wafer,
            parameter_set_key=key,
            measured=[number],
        )
    db.fact(
        models.FactProcessMeasurements, **given, wafer_key=2, cd_nm=50.0, parameters={"big": 9007199254740993, "t": "x"}
    )
    refresh(db, PROCESS)
    rows = sorted(aggregates(db, PROCESS), key=lambda row: str(row["parameter"]))
    wanted = ("parameter_set_key", "parameter", "n", "mean", "n_wafers")
    assert [tuple(row[name] for name in wanted) for row in rows] == [
        (key, None, 2, 0.5, 2),
        (-2, "big", 1, 9007199254740993.0, 1),
        (-2, "cd_nm", 1, 50.0, 1),
    ]
    assert differing(db, PROCESS) == 0


def test_a_refresh_replaces_what_it_is_told_of_and_nothing_else(db: Rows) -> None:
    key = store(db, Parameter("A", 1))
    for batch in ("b1", "b2"):
        db.fact(models.FactTestResults, wafer_key=1, batch_id=batch, parameter_set_key=key, measured=[1.0])
    assert refresh(db, batches=["b1"]) == (0, 1)
    assert [row["batch_id"] for row in aggregates(db)] == ["b1"]
    assert refresh(db) == (1, 2)
    assert refresh(db, batches=["b2"]) == (1, 1)
    assert refresh(db, batches=["none"]) == (0, 0)
    db.connection.execute(text("DELETE FROM dw.fact_test_results WHERE batch_id = 'b1'"))
    assert differing(db) == 1
    assert refresh(db, batches=["b1"]) == (1, 0)
    assert differing(db) == 0
    assert [row["batch_id"] for row in aggregates(db)] == ["b2"]


def test_a_change_of_a_value_a_verdict_or_a_count_is_found(db: Rows) -> None:
    key = store(db, Parameter("A", 1))
    for value in (1.0, 2.0, 4.0):
        given: dict[str, Any] = {"parameter_set_key": key, "measured": [value], "verdicts": "P", "failed": []}
        db.fact(models.FactTestResults, wafer_key=1, **given)
    refresh(db)
    for column, value in (("mean", 2.5), ("n", 2), ("n_failed", 1), ("median", None), ("m2", 5.0)):
        with db.connection.begin_nested() as undo:
            db.connection.execute(update(models.AggTestValues).values({column: value}))
            assert differing(db) == 1, column
            undo.rollback()
    assert differing(db) == 0


def test_months_are_those_of_utc(db: Rows) -> None:
    key = store(db, Parameter("A", 1))
    last = datetime.fromisoformat("2000-01-31T23:59:59+00:00")
    db.connection.execute(text("SET LOCAL TIME ZONE 'Asia/Tokyo'"))
    db.fact(models.FactTestResults, last, wafer_key=1, parameter_set_key=key, measured=[1.0])
    assert refresh(db) == (0, 1)
    assert aggregates(db)[0]["event_month"] == datetime.fromisoformat("2000-01-01T00:00:00+00:00")


def test_a_fact_without_aggregates_is_left_alone(db: Rows) -> None:
    assert refresh(db, "fact_defect_inspection") == (0, 0)


def test_a_value_whose_square_no_double_holds_stops_nothing(db: Rows) -> None:
    key = store(db, Parameter("A", 1))
    for value in (1e300, -1e300, 2.0):
        db.fact(models.FactTestResults, wafer_key=1, parameter_set_key=key, measured=[value])
    assert refresh(db) == (0, 1)
    (row,) = aggregates(db)
    assert [row[name] for name in ("n", "mean", "m2", "median", "max_value")] == [3, None, None, None, 1e300]
    assert differing(db) == 0
    assert db.view("v_process_capability") == []


def test_values_whose_squares_underflow_stop_nothing(db: Rows) -> None:
    key = store(db, Parameter("A", 1))
    for number, value in enumerate((1e-300, 3e-300, -2e-310)):
        given: dict[str, Any] = {"lot_key": number, "batch_id": str(number % 2)}
        db.fact(models.FactTestResults, wafer_key=1, **given, parameter_set_key=key, measured=[value])
    refresh(db)
    assert differing(db) == 0
    (row,) = db.view("v_process_capability")
    assert (row["n"], row["sigma"], row["cp"]) == (3, 0, None)
