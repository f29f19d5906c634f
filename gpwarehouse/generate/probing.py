"""Rows of ``fact_test_results``: every die once, and failed die a second time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gpwarehouse.generate.dies import CENTRE, CONTACT, EDGE, GOOD, RANDOM, SCRATCH, WaferDies
from gpwarehouse.generate.lots import Lot
from gpwarehouse.generate.plan import PROGRAM_REVISION, TOOLS, Measure, stream
from gpwarehouse.generate.rows import TIMESTAMP, constant, measured, times, wafer_ids
from gpwarehouse.models.parameter_sets import Parameter, ParameterSet

__all__ = ["LEAKAGE", "SCHEMA", "TESTS", "VTH", "probe_rows"]

VTH, ILEAK = (420.0, 11.0), (40.0, 4.0)
"""Mean and sigma of threshold voltage (mV) and leakage (pA/um) of good die; the limits are six sigma on each side."""
LEAKAGE = Measure("1100", "pA/um", *ILEAK, ILEAK[0])
TESTS = ParameterSet.of([Parameter("ILEAK", 1100, "ILEAK", unit=LEAKAGE.unit, lsl=LEAKAGE.lsl, usl=LEAKAGE.usl)])
"""The tests that have no column."""
TOUCH_S = 0.45
SITES = 4
BINS = {GOOD: (1, "PASS"), RANDOM: (20, "SCAN"), EDGE: (6, "LEAKAGE"), SCRATCH: (20, "SCAN"), CENTRE: (8, "THRESHOLD"),
        CONTACT: (5, "CONTACT")}  # fmt: skip
"""Cause → hard bin and its name. Leakage and threshold are parametric fails, the others functional fails."""
_PARAMETRIC = (EDGE, CENTRE)

SCHEMA = pa.schema(
    [
        ("event_ts", TIMESTAMP),
        *((name, pa.string()) for name in (
            "facility", "lot_id", "wafer_id", "product_id", "product_revision", "process_flow_id", "flow_version",
            "step_number", "equipment_id", "tester_id", "prober_id", "probe_card_id", "test_type", "test_stage",
            "test_program", "program_revision", "part_id", "bin_name", "fail_kind",
        )),
        *((name, pa.int32()) for name in ("insertion_no", "retest_no", "site_no", "die_x", "die_y", "hard_bin", "soft_bin")),
        *((name, pa.bool_()) for name in ("is_first_pass", "is_final_result", "is_pass")),
        ("temperature_c", pa.float64()),
        ("test_time_ms", pa.float64()),
        ("vth_mv", pa.float64()),
        ("parameter_set_key", pa.int64()),
        ("measured", pa.list_(pa.float64())),
        ("verdicts", pa.string()),
        ("failed", pa.list_(pa.int32())),
    ]
)  # fmt: skip


def probe_rows(lot: Lot, wafer: int, lot_id: str, dies: WaferDies, start_s: float) -> pa.Table:
    """Make the rows of one wafer."""
    settings = lot.settings
    rng = stream(settings.seed, "probe", lot.number, wafer)
    tester, prober = (TOOLS[group][int(rng.integers(2))].equipment_id for group in ("TESTER", "PROBER"))
    again = np.flatnonzero(dies.cause != GOOD)
    part = np.concatenate([np.arange(len(dies.x)), again])
    retest = np.arange(len(part)) >= len(dies.x)
    rows, cause = len(part), dies.cause[part]
    cause = np.where(retest & (cause == CONTACT), GOOD, cause)
    failed = cause != GOOD
    program = lot.product.program
    texts = {
        "facility": settings.facility, "lot_id": lot_id, "product_id": lot.product.product_id, "product_revision": "A",
        "process_flow_id": program, "flow_version": PROGRAM_REVISION, "step_number": "CP1", "equipment_id": tester,
        "tester_id": tester, "prober_id": prober, "probe_card_id": "CARD-1", "test_type": "CP", "test_stage": "CP1",
        "test_program": program, "program_revision": PROGRAM_REVISION,
    }  # fmt: skip
    numbers: dict[str, Any] = {
        "insertion_no": retest + 1, "retest_no": retest, "site_no": np.arange(rows) % SITES, "die_x": dies.x[part],
        "die_y": dies.y[part], "hard_bin": _choose_bins(cause), "soft_bin": _choose_bins(cause),
    }  # fmt: skip
    vth = rng.normal(*VTH, rows) + np.where(cause == CENTRE, 10 * VTH[1], 0.0)
    leak = np.round(rng.normal(*ILEAK, rows) + np.where(cause == EDGE, 10 * ILEAK[1], 0.0), 4)
    columns: dict[str, Any] = {
        **{name: constant(value, rows) for name, value in texts.items()},
        **{name: pa.array(np.asarray(value).astype(np.int32)) for name, value in numbers.items()},
        "event_ts": times(settings, start_s + np.arange(rows) // SITES * TOUCH_S),
        "wafer_id": wafer_ids(np.full(rows, wafer)),
        "part_id": pa.array(np.arange(1, rows + 1)).cast(pa.string()),
        "bin_name": _choose_names({code: name for code, (_, name) in BINS.items()}, cause),
        "fail_kind": _choose_names(
            {c: None if c == GOOD else "PARAMETRIC" if c in _PARAMETRIC else "FUNCTIONAL" for c in BINS}, cause
        ),
        "is_first_pass": pa.array(~retest),
        "is_final_result": pa.array(retest | ~np.isin(part, again)),
        "is_pass": pa.array(~failed),
        "temperature_c": constant(25.0, rows),
        "test_time_ms": pa.array(np.round(rng.uniform(380, 420, rows), 1)),
        "vth_mv": pa.array(np.round(vth, 4)),
        **measured(TESTS, leak[:, None]),
        **_judge((leak < LEAKAGE.lsl) | (leak > LEAKAGE.usl)),
    }
    return pa.Table.from_arrays([columns[field.name].cast(field.type) for field in SCHEMA], schema=SCHEMA)


def _judge(out_of_limits: Any) -> dict[str, pa.Array]:
    """The tester's verdicts on its only test."""
    offsets = np.concatenate([[0], np.cumsum(out_of_limits)]).astype(np.int32)
    positions = pa.array(np.ones(int(out_of_limits.sum()), np.int32))
    return {
        "verdicts": pc.if_else(pa.array(out_of_limits), "F", "P"),
        "failed": pa.ListArray.from_arrays(pa.array(offsets), positions),
    }


def _choose_bins(cause: Any) -> Any:
    return np.array([BINS[code][0] for code in sorted(BINS)])[cause]


def _choose_names(names: dict[int, str | None], cause: Any) -> pa.Array:
    return pa.array([names[code] for code in sorted(names)], pa.string()).take(pa.array(cause))
