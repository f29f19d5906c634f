"""What is loaded is what is stored, to the bit, on every server: the values that break text formats, and random ones."""

from __future__ import annotations

import json
import math
import struct
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpwarehouse import Warehouse
from gpwarehouse.intake.frames import record_batches
from gpwarehouse.intake.row_checks import Validator
from gpwarehouse.intake.target import target_named
from gpwarehouse.models import BEGINNING, END_OF_TIME, FACTS
from tests.load.rows import DEFECTS, MEASUREMENTS, NOON, defect, measurement, stored
from tests.values import NASTY_FLOATS, NASTY_TEXTS, characters, floats

FLOAT_COLUMNS = ("x_rel_um", "y_rel_um", "wafer_x_mm", "wafer_y_mm")

texts = st.text(characters, max_size=30) | st.sampled_from(NASTY_TEXTS)
times = st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999999), timezones=st.just(UTC))
leaves = st.one_of(st.none(), st.booleans(), st.integers(-(2**80), 2**80), texts.filter(lambda t: len(t) < 1000))
documents = st.dictionaries(
    texts.filter(lambda t: len(t) < 1000),
    leaves | st.lists(leaves, max_size=3),
    max_size=4,
)


def nullable(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "defect_id": nullable(st.integers(-(2**63), 2**63 - 1)),
            "die_x": nullable(st.integers(-(2**31), 2**31 - 1)),
            "x_rel_um": nullable(floats),
            "wafer_x_mm": nullable(floats),
            "class_name": nullable(texts),
            "operator_id": nullable(texts),
            "is_killer": nullable(st.booleans()),
            "attributes": nullable(documents.map(json.dumps)),
        }
    ),
    min_size=1,
    max_size=25,
)


def bits(value: Any) -> Any:
    return struct.pack("<d", value) if isinstance(value, float) else value


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(rows=ROWS, number=st.integers(1, 2**62))
def test_any_value_is_stored_as_it_is(shared_wh: Warehouse, rows: list[dict[str, Any]], number: int) -> None:
    given_rows = [defect(**row, source_record_no=number + n) for n, row in enumerate(rows)]
    result = shared_wh.load(DEFECTS, given_rows)
    assert result.rows_rejected == 0
    columns = list(rows[0])
    found = stored(shared_wh, DEFECTS, result.batch_id, *columns)
    for row, values in zip(rows, found, strict=True):
        for name, value in zip(columns, values, strict=True):
            expected = row[name]
            if name == "attributes" and expected is not None:
                expected = json.loads(expected)
            assert bits(value) == bits(expected), name


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(moments=st.lists(times, min_size=1, max_size=20), number=st.integers(1, 2**62))
def test_any_time_is_stored_to_the_microsecond(shared_wh: Warehouse, moments: list[datetime], number: int) -> None:
    rows = [measurement(start_ts=m, source_record_no=number + n) for n, m in enumerate(moments)]
    result = shared_wh.load(MEASUREMENTS, rows)
    assert [m for (m,) in stored(shared_wh, MEASUREMENTS, result.batch_id, "start_ts")] == moments


@pytest.mark.parametrize("column", ["class_name", "operator_id"])
def test_texts_that_break_formats_are_stored_as_they_are(shared_wh: Warehouse, column: str) -> None:
    result = shared_wh.load(DEFECTS, [defect(**{column: value}) for value in NASTY_TEXTS])
    assert [value for (value,) in stored(shared_wh, DEFECTS, result.batch_id, column)] == NASTY_TEXTS


def test_the_empty_text_is_not_null(shared_wh: Warehouse) -> None:
    result = shared_wh.load(DEFECTS, [defect(class_name="", adc_class=None), defect(class_name=None, adc_class="")])
    assert stored(shared_wh, DEFECTS, result.batch_id, "class_name", "adc_class") == [("", None), (None, "")]


def test_texts_that_break_formats_survive_in_json(shared_wh: Warehouse) -> None:
    short = [text for text in NASTY_TEXTS if len(text) < 100]
    result = shared_wh.load(DEFECTS, [defect(attributes={text: text}, image_refs=[text]) for text in short])
    assert stored(shared_wh, DEFECTS, result.batch_id, "attributes", "image_refs") == [({t: t}, [t]) for t in short]


def test_random_bit_patterns_of_floats_are_stored_to_the_bit(shared_wh: Warehouse) -> None:
    """Greenplum 6 reads the shortest text of 32 in a million doubles one digit off: 60 000 would show it."""
    random = np.random.default_rng(6)
    values = random.integers(0, 2**64, 60_000, dtype=np.uint64).view(np.float64)
    values = np.concatenate([values[np.isfinite(values)], NASTY_FLOATS])
    values = values[: len(values) // 4 * 4].reshape(-1, 4)
    size = len(values)
    table = pa.table(
        {name: pa.repeat(value, size) for name, value in defect(event_ts=pa.scalar(NOON)).items()}
        | dict(zip(FLOAT_COLUMNS, map(pa.array, values.T.copy()), strict=True))
    )
    result = shared_wh.load(DEFECTS, table)
    assert result.rows_loaded == size
    found = np.array(stored(shared_wh, DEFECTS, result.batch_id, *FLOAT_COLUMNS), np.float64)
    assert found.tobytes() == values.tobytes()


@pytest.mark.parametrize("name", ["NaN", "nan"])
def test_nan_is_stored_as_null(shared_wh: Warehouse, name: str) -> None:
    rows = [
        measurement(cd_nm=value, parameters={"a": float("nan"), "b": 1.0}, spc_rule=name)
        for value in (name, float(name))
    ]
    result = shared_wh.load(MEASUREMENTS, rows)
    table = pa.Table.from_pylist([measurement(spc_rule=f"arrow {name}")]).append_column("cd_nm", pa.array([math.nan]))
    arrow = shared_wh.load(MEASUREMENTS, table)
    assert (
        stored(shared_wh, MEASUREMENTS, result.batch_id, "cd_nm", "measured", "parameters") == [(None, [1.0], None)] * 2
    )
    assert stored(shared_wh, MEASUREMENTS, arrow.batch_id, "cd_nm") == [(None,)]


@pytest.mark.parametrize("fact", list(FACTS))
def test_no_number_of_a_fact_may_be_infinite(fact: str) -> None:
    target = target_named(fact)
    validator = Validator(target, earliest=BEGINNING, latest=END_OF_TIME)
    floats = [name for name, column in target.inputs.items() if pa.types.is_floating(column.type)]
    needed = [name for name, column in target.inputs.items() if column.required]
    named = {name: 1.0 if name in floats else "1" for name in needed}
    rows = [named | {"event_ts": NOON, name: sign * math.inf} for name in floats for sign in (1, -1)]
    (batch,) = record_batches(
        pa.Table.from_pylist([row | dict.fromkeys(set(floats) - set(row)) for row in rows]), frozenset()
    )
    checked = validator.check(batch, 1)
    assert [(reject.column_name, reject.reason) for reject in checked.rejects] == [
        (name, f"{sign}inf is not a finite number") for name in floats for sign in ("", "-")
    ]
    assert floats


def test_what_is_infinite_is_a_reject_and_the_others_are_loaded(shared_wh: Warehouse) -> None:
    rows = [
        measurement(sample_mean=1.0),
        measurement(sample_mean="inf"),
        measurement(temperature_c=-math.inf),
        measurement(parameters={"a": math.inf}),
    ]
    result = shared_wh.load(MEASUREMENTS, rows, max_rejects=3)
    assert stored(shared_wh, MEASUREMENTS, result.batch_id, "sample_mean") == [(1.0,)]
    assert shared_wh.batches.rejects(result.batch_id).column_name.tolist() == [
        "sample_mean",
        "temperature_c",
        "parameters",
    ]


def test_events_at_the_very_edges_of_the_window_are_taken(shared_wh: Warehouse) -> None:
    first = datetime(1990, 1, 1, tzinfo=UTC)
    last = datetime.now(UTC) + timedelta(days=31) - timedelta(minutes=5)
    before = first - timedelta(microseconds=1)
    after = last + timedelta(hours=1)
    rows = [measurement(event_ts=moment) for moment in (first, last, before, after)]
    result = shared_wh.load(MEASUREMENTS, rows, max_rejects=2)
    assert [m for (m,) in stored(shared_wh, MEASUREMENTS, result.batch_id, "event_ts")] == [first, last]
    rejects = shared_wh.batches.rejects(result.batch_id)
    assert rejects.row_number.tolist() == [3, 4]
    assert all("is outside 1990-01-01 to" in reason for reason in rejects.reason)


def test_an_event_at_the_last_microsecond_of_a_month_belongs_to_it(shared_wh: Warehouse) -> None:
    edge = datetime(2023, 2, 1, tzinfo=UTC)
    rows = [measurement(event_ts=moment) for moment in (edge - timedelta(microseconds=1), edge)]
    result = shared_wh.load(MEASUREMENTS, rows)
    assert result.months_made == ("m202301", "m202302")
    assert stored(shared_wh, MEASUREMENTS, result.batch_id, "time_key") == [(2023013123,), (2023020100,)]
