"""What names a row of a fact with measured values, for people: its columns, and the tables that they come from."""

from __future__ import annotations

from gpwarehouse.models import fact_process_measurements, fact_test_results

__all__ = ["IDENTITY", "MEASURES", "VIEWS"]

_PROCESS, _TEST = "fact_process_measurements", "fact_test_results"

VIEWS = {_TEST: "v_test_values", _PROCESS: "v_process_values"}
"""Fact → the view with a row per value."""

MEASURES = {_TEST: fact_test_results.MEASURES, _PROCESS: fact_process_measurements.MEASURES}
"""Fact → the measures that have a column, and their units."""

_NAMES = {
    "lot_id": "l.lot_id",
    "root_lot_id": "w.root_lot_id",
    "wafer_id": "w.wafer_id",
    "product_id": "d.product_id",
    "process_flow_id": "s.process_flow_id",
    "step_number": "s.step_number",
}
_JOINS = """
LEFT JOIN {schema}.dim_wafer w ON w.wafer_key = f.wafer_key AND w.is_current
LEFT JOIN {schema}.dim_lot l ON l.lot_key = f.lot_key AND l.is_current
LEFT JOIN {schema}.dim_product d ON d.product_key = f.product_key AND d.is_current
LEFT JOIN {schema}.dim_process_step s ON s.process_step_key = f.process_step_key AND s.is_current
"""
_TOOLS = """
LEFT JOIN {schema}.dim_equipment e ON e.equipment_key = f.equipment_key AND e.is_current
LEFT JOIN {schema}.dim_equipment c ON c.equipment_key = f.chamber_key AND c.is_current
"""
_OWN = {
    _TEST: (
        *(
            "test_type",
            "test_stage",
            "test_program",
            "program_revision",
            "head_no",
            "site_no",
            "die_x",
            "die_y",
            "part_id",
        ),
        *(
            "unit_id",
            "insertion_no",
            "retest_no",
            "is_first_pass",
            "is_final_result",
            "is_pass",
            "hard_bin",
            "soft_bin",
        ),
    ),
    _PROCESS: ("measurement_type", "visit_no", "is_rework", "site_no", "site_x_mm", "site_y_mm"),
}
_RECORD = {"batch_id": "f.batch_id", "source_record_no": "f.source_record_no"}

IDENTITY: dict[str, tuple[dict[str, str], str]] = {
    fact: (
        {"event_ts": "f.event_ts", **_NAMES, **tools, **{name: f"f.{name}" for name in _OWN[fact]}, **_RECORD},
        joins,
    )
    for fact, tools, joins in (
        (_TEST, {}, _JOINS),
        (_PROCESS, {"equipment_id": "e.equipment_id", "chamber_id": "c.chamber_id"}, _JOINS + _TOOLS),
    )
}
"""Fact → column of a frame → SQL of it, and the joins behind ``FROM <fact> f``."""
