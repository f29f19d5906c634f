"""Values, statistics and yields of a time span, whatever lists the programs have."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from gpwarehouse import Warehouse
from gpwarehouse.derived import refresh_aggregates
from gpwarehouse.errors import InvalidInputError
from gpwarehouse.read import measured_values
from tests.queries import rows_of

TESTS, MEASUREMENTS = "fact_test_results", "fact_process_measurements"
MONTHS = [datetime(2026, month, 1, tzinfo=UTC) for month in range(1, 5)]
DIES = 12


def units(month: datetime, lot: str, wafer: str, program: str, **columns: Any) -> pd.DataFrame:
    """The die of a wafer; die 0 is tested twice."""
    die = [*range(DIES), 0]
    return pd.DataFrame(
        {
            "event_ts": [month + timedelta(days=3, seconds=n) for n in range(len(die))], "lot_id": lot, "wafer_id": wafer,
            "product_id": f"P-{lot}", "product_revision": "A", "test_type": "CP", "test_stage": "CP1", "step_number": "CP1",
            "process_flow_id": program, "test_program": program, "die_x": die, "die_y": 1, "insertion_no": [1] * DIES + [2],
            "retest_no": [0] * DIES + [1], "is_final_result": [n != 0 for n in range(DIES)] + [True],
            "is_first_pass": [True] * DIES + [False], "is_pass": [n % 4 > 0 for n in range(DIES)] + [True],
            "source_record_no": range(1, len(die) + 1), **columns,
        }
    )  # fmt: skip


@pytest.fixture(scope="module")
def filled(shared_wh: Warehouse) -> dict[str, pd.DataFrame]:
    """Two programs that share test 7 at different positions, in three months; sensors of one wafer."""
    random = np.random.default_rng(1)
    made = {}
    for number, month in enumerate(MONTHS[:3]):
        columns: dict[str, Any] = {"p_7": random.normal(5, 1, DIES + 1), "p_vth": random.normal(0, 1e-6, DIES + 1)}
        columns["p_vth"][3] = math.nan
        if number:
            columns |= {"p_1": 1.0, "vth_mv": 400.0 + number}
        frame = units(month, f"L{number}", "01", f"PROGRAM-{min(number, 1)}", **columns)
        shared_wh.load(TESTS, frame, parameter_prefix="p_")
        made[f"L{number}"] = frame
    sensors = [
        {"event_ts": MONTHS[0] + timedelta(days=n), "lot_id": "L0", "wafer_id": "01", "equipment_id": "T", "step_number": "9",
         "process_flow_id": "F", "parameters": {"leak": n / 8, "note": "x"}}
        for n in range(4)
    ]  # fmt: skip
    shared_wh.load(MEASUREMENTS, sensors)
    with shared_wh.engine.begin() as connection:
        for fact in (TESTS, MEASUREMENTS):
            refresh_aggregates(connection, fact, months=MONTHS[:3])
    return made


def test_wide_values_have_a_column_for_each_test(shared_wh: Warehouse, filled: dict[str, pd.DataFrame]) -> None:
    found = shared_wh.facts.values(TESTS, ["vth", 7, "vth_mv"], wide=True).sort_values(["lot_id", "source_record_no"])
    assert list(found.columns[-3:]) == ["vth", "7", "vth_mv"]
    expected = pd.concat(filled.values())
    assert len(found) == len(expected)
    assert np.array_equal(found["7"], expected.p_7)
    assert np.array_equal(found.vth, expected.p_vth, equal_nan=True)
    assert found.groupby("lot_id").vth_mv.first().tolist()[1:] == [401.0, 402.0]
    assert found.die_x.tolist() == [*range(DIES), 0] * 3
    assert {"L0", "L1", "L2"} == set(found.lot_id)


def test_wide_values_are_the_same_one_by_one_and_from_whole_arrays(
    shared_wh: Warehouse, filled: dict[str, pd.DataFrame], monkeypatch: pytest.MonkeyPatch
) -> None:
    key = ["lot_id", "source_record_no"]
    one_by_one = shared_wh.facts.values(TESTS, wide=True).sort_values(key, ignore_index=True)
    monkeypatch.setattr(measured_values, "_FEW", 0)
    arrays = shared_wh.facts.values(TESTS, wide=True).sort_values(key, ignore_index=True)
    assert {"7", "vth", "1"} <= set(arrays.columns)
    pd.testing.assert_frame_equal(one_by_one, arrays)
    table = shared_wh.facts.values(TESTS, ["vth"], wide=True, arrow=True)
    assert table["vth"].null_count == 3  # NaN is no value


def test_a_span_a_product_and_a_lot_choose_rows(shared_wh: Warehouse, filled: dict[str, pd.DataFrame]) -> None:
    def lots(**asked: Any) -> set[str]:
        wide = set(shared_wh.facts.values(TESTS, [7], wide=True, **asked).lot_id)
        assert set(shared_wh.facts.values(TESTS, [7], **asked).lot_id) == wide
        assert set(shared_wh.facts.values(TESTS, [7], per="lot", **asked).lot_id) == wide
        assert set(shared_wh.facts.yields(**asked).lot_id) == wide
        return wide

    assert lots() == {"L0", "L1", "L2"}
    assert lots(since=MONTHS[1]) == {"L1", "L2"}
    assert lots(since=MONTHS[1], until=MONTHS[2]) == {"L1"}
    assert lots(until=MONTHS[0] + timedelta(days=10)) == {"L0"}
    assert lots(product=["P-L2", "P-L0"]) == {"L0", "L2"}
    assert lots(product="P-L2", lot="L0") == set()
    assert lots(lot=["L1"]) == {"L1"}


def test_long_values_are_those_of_the_view(shared_wh: Warehouse, filled: dict[str, pd.DataFrame]) -> None:
    found = shared_wh.facts.values(TESTS, ["vth"], lot="L1")
    view = shared_wh.read("SELECT * FROM dw.v_test_values WHERE lot_id = 'L1' AND parameter = 'vth'")
    order = ["source_record_no"]
    pd.testing.assert_frame_equal(
        found.sort_values(order, ignore_index=True), view.sort_values(order, ignore_index=True)
    )
    sensors = shared_wh.facts.values(MEASUREMENTS, ["leak"])
    assert sorted(sensors.value) == [0.0, 0.125, 0.25, 0.375]
    wide = shared_wh.facts.values(MEASUREMENTS, ["leak"], wide=True, since=MONTHS[0] + timedelta(days=2))
    assert sorted(wide.leak) == [0.25, 0.375]


@pytest.mark.parametrize("per", ["wafer", "lot"])
@pytest.mark.parametrize("last", [False, True])
def test_statistics_are_the_same_from_aggregates_and_from_values(
    shared_wh: Warehouse, filled: dict[str, pd.DataFrame], per: Any, last: bool
) -> None:
    whole = shared_wh.facts.values(TESTS, ["vth", 7], per=per, last=last, until=MONTHS[3])
    cut = shared_wh.facts.values(TESTS, ["vth", 7], per=per, last=last, until=MONTHS[3] - timedelta(seconds=1))
    order = ["lot_id", "parameter"]
    whole, cut = (each.sort_values(order, ignore_index=True) for each in (whole, cut))
    pd.testing.assert_frame_equal(whole, cut, rtol=1e-12)
    assert len(whole) == 6
    frame = filled["L1"].iloc[1:] if last else filled["L1"]
    (one,) = (row for row in whole.itertuples() if (row.lot_id, row.parameter) == ("L1", "7"))
    assert (one.n, one.test_number) == (len(frame), "7")
    assert (one.mean, one.sigma) == pytest.approx((frame.p_7.mean(), frame.p_7.std()))
    assert (one.min_value, one.max_value) == (frame.p_7.min(), frame.p_7.max())


def test_statistics_of_sensors(shared_wh: Warehouse, filled: dict[str, pd.DataFrame]) -> None:
    lot = shared_wh.facts.values(MEASUREMENTS, per="lot")
    wafer = shared_wh.facts.values(MEASUREMENTS, per="wafer")
    assert [(row.lot_id, row.parameter, row.n, row.mean) for row in lot.itertuples()] == [("L0", "leak", 4, 0.1875)]
    assert [(row.wafer_id, row.n, row.sigma) for row in wafer.itertuples()] == [("01", 4, pytest.approx(lot.sigma[0]))]


def test_yields_of_a_span_are_of_its_insertions_alone(shared_wh: Warehouse, filled: dict[str, pd.DataFrame]) -> None:
    whole = shared_wh.facts.yields(lot="L1", basis="LAST")
    view = shared_wh.read("SELECT * FROM dw.v_wafer_yield WHERE lot_id = 'L1' AND basis = 'LAST'")
    pd.testing.assert_frame_equal(whole, view)
    assert (whole.tested[0], whole.good[0]) == (DIES, DIES - 2)
    before_the_retest = MONTHS[1] + timedelta(days=3, seconds=DIES)
    first = shared_wh.facts.yields(lot="L1", basis="LAST", until=before_the_retest)
    assert (first.insertions[0], first.good[0]) == (DIES, DIES - 3)
    lots = shared_wh.facts.yields(per="lot", lot="L1", until=before_the_retest)
    assert sorted(lots.basis) == ["BEST", "FIRST", "LAST", "WORST"]
    assert set(lots.good) == {DIES - 3}


def test_months_outside_the_span_are_not_read(shared_wh: Warehouse, filled: dict[str, pd.DataFrame]) -> None:
    span = measured_values.Span(MONTHS[1], MONTHS[2])
    where, values = span.where("f", "dw")
    body = measured_values.wafer_yields(where).format(schema="dw")
    plan = "\n".join(row for (row,) in rows_of(shared_wh, f"EXPLAIN {body}", **values))
    assert "m202602" in plan or "partitions to scan: 1 " in plan  # the latter is GPORCA's
    assert "m202601" not in plan
    assert "m202603" not in plan


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"fact": "fact_defect_inspection"}, "holds no measured values"),
        ({"tests": ["vht"]}, "no list of parameters has a test 'vht'.*'vth'"),
        ({"tests": "vth"}, r"give a list, e.g. \['vth'\]"),
        ({"since": datetime(2026, 1, 1)}, "has no time zone"),
        ({"since": MONTHS[1], "until": MONTHS[0]}, "is not before until"),
        ({"per": "die"}, "per='die'"),
        ({"per": "lot", "wide": True}, "leave one out"),
        ({"last": True}, "leave one out"),
    ],
)
def test_what_cannot_be_asked_is_refused(
    shared_wh: Warehouse, filled: dict[str, pd.DataFrame], asked: dict[str, Any], words: str
) -> None:
    with pytest.raises(InvalidInputError, match=words):
        shared_wh.facts.values(**{"fact": TESTS, **asked})


def test_wrong_yields_are_refused(shared_wh: Warehouse) -> None:
    with pytest.raises(InvalidInputError, match="per='die'"):
        shared_wh.facts.yields(per="die")  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="basis='WORSE'"):
        shared_wh.facts.yields(basis="WORSE")  # type: ignore[arg-type]
