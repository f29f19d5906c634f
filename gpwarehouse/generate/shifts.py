"""Rows of ``fact_equipment_performance``: the SEMI E10 states of each tool per shift, in whole seconds that sum to the shift."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from gpwarehouse.generate.plan import SHIFT_S, Settings, Tool, stream
from gpwarehouse.generate.rows import TIMESTAMP, constant, times

__all__ = ["SCHEMA", "STATES", "shift_rows"]

STATES = {
    "standby_s": 0.12, "engineering_s": 0.03, "scheduled_down_s": 0.06, "unscheduled_down_s": 0.05, "non_scheduled_s": 0.02,
}  # fmt: skip
"""Mean share of each state; the rest of the time is productive."""
SPEED, GOOD_SHARE = 0.92, 0.985
"""Share of the theoretical rate, and share of good wafers."""
_COUNTS = (
    "failure_count", "repair_count", "wafers_processed", "wafers_good", "wafers_scrapped", "lots_processed", "moves",
)  # fmt: skip
_SECONDS = (
    "productive_s", *STATES, "total_s", "repair_time_s", "theoretical_production_time_s", "theoretical_good_time_s",
)  # fmt: skip
SCHEMA = pa.schema(
    [
        ("event_ts", TIMESTAMP),
        *((name, pa.string()) for name in ("facility", "equipment_id", "shift_code")),
        *((name, pa.float64()) for name in _SECONDS),
        *((name, pa.int32()) for name in _COUNTS),
    ]
)


def shift_rows(settings: Settings, number: int, tool: Tool, shifts: int) -> pa.Table:
    """Make all shifts of one tool.

    :param number: number of the tool; it seeds the tool's random numbers.
    """
    rng = stream(settings.seed, "shift", number)
    parts = {name: np.floor(SHIFT_S * share * rng.uniform(0.4, 1.6, shifts)) for name, share in STATES.items()}
    down = rng.random(shifts) < 0.6  # in the other shifts nothing failed
    parts["unscheduled_down_s"] = np.where(down, parts["unscheduled_down_s"], 0.0)
    parts["productive_s"] = SHIFT_S - np.sum(list(parts.values()), axis=0)
    processed = np.floor(parts["productive_s"] / 3600 * tool.wph * SPEED * rng.uniform(0.97, 1.03, shifts))
    good = rng.binomial(processed.astype(np.int64), GOOD_SHARE)
    failures = np.where(down, 1 + rng.poisson(0.3, shifts), 0)
    values: dict[str, Any] = {
        **parts,
        "event_ts": times(settings, np.arange(shifts) * SHIFT_S),
        "facility": constant(settings.facility, shifts),
        "equipment_id": constant(tool.equipment_id, shifts),
        "shift_code": pa.array(["D" if n % 2 == 0 else "N" for n in range(shifts)], pa.string()),
        "total_s": constant(float(SHIFT_S), shifts),
        "repair_time_s": parts["unscheduled_down_s"],
        "theoretical_production_time_s": processed * 3600 / tool.wph,
        "theoretical_good_time_s": good * 3600 / tool.wph,
        "failure_count": failures,
        "repair_count": failures,
        "wafers_processed": processed,
        "wafers_good": good,
        "wafers_scrapped": processed - good,
        "lots_processed": np.ceil(processed / 25),
        "moves": processed,
    }
    arrays = [pa.array(values[f.name]) if isinstance(values[f.name], np.ndarray) else values[f.name] for f in SCHEMA]
    return pa.Table.from_arrays([a.cast(f.type) for a, f in zip(arrays, SCHEMA, strict=True)], schema=SCHEMA)
