"""A row of the fact that most tests load."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any


def die_of_l1(**values: Any) -> dict[str, Any]:
    """A die of wafer 1 of lot L1 that passed."""
    return {
        "event_ts": datetime(2026, 1, 5, 10, tzinfo=UTC), "lot_id": "L1", "wafer_id": "1", "test_type": "CP",
        "test_stage": "CP1", "step_number": "CP1", "process_flow_id": "P", "die_x": 1, "die_y": 1, "insertion_no": 1,
        "retest_no": 0, "is_first_pass": True, "is_final_result": True, "is_pass": True,
    } | values  # fmt: skip
