"""``v_wafer_trace``: the life of a wafer, event by event."""

from __future__ import annotations

from gpwarehouse.models.views.view import STEP_COLUMNS, WAFER_COLUMNS, View, compose

__all__ = ["WAFER_TRACE"]

_NOTHING = "CAST(NULL AS bigint)"


def _events(rank: int, kind: str, table: str, **parts: str) -> str:
    """One row per event: the rows of ``table`` with the same keys and ``reference``."""
    return compose(
        """
        SELECT f.wafer_key, w.root_lot_id, w.wafer_id, f.lot_key, <<rank>> AS kind_order,
               CAST('<<kind>>' AS text) AS event_type,
               <<start>> AS event_ts, <<end>> AS end_ts,
               <<step>> AS process_step_key, <<recipe>> AS recipe_key, <<tool>> AS equipment_key,
               <<chamber>> AS chamber_key, CAST(<<reference>> AS text) AS reference,
               <<quantity>> AS quantity, <<good>> AS good
        FROM {schema}.<<table>> f
        LEFT JOIN {schema}.dim_wafer w ON w.wafer_key = f.wafer_key AND w.is_current
        """,
        rank=str(rank),
        kind=kind,
        table=table,
        **parts,
    )


_MOVES = _events(
    0,
    "LOT",
    "bridge_wafer_lot",
    start="f.from_ts",
    end="NULLIF(f.to_ts, TIMESTAMPTZ '9999-12-31 00:00:00+00')",
    step=_NOTHING,
    recipe=_NOTHING,
    tool=_NOTHING,
    chamber=_NOTHING,
    reference="NULL",
    quantity=_NOTHING,
    good=_NOTHING,
)

_VISITS = _events(
    1,
    "PROCESS",
    "fact_process_measurements",
    start="min(f.event_ts)",
    end="max(coalesce(f.end_ts, f.event_ts))",
    step="f.process_step_key",
    recipe="f.recipe_key",
    tool="f.equipment_key",
    chamber="f.chamber_key",
    reference="f.visit_no",
    quantity="count(*)",
    good=_NOTHING,
) + (
    "\nGROUP BY f.wafer_key, w.root_lot_id, w.wafer_id, f.lot_key, f.process_step_key, f.recipe_key, f.equipment_key,"
    "\n         f.chamber_key, f.visit_no"
)

_INSPECTIONS = _events(
    2,
    "INSPECTION",
    "fact_defect_inspection",
    start="min(f.event_ts)",
    end="max(f.event_ts)",
    step="f.process_step_key",
    recipe="f.recipe_key",
    tool="f.inspection_equipment_key",
    chamber=_NOTHING,
    reference="f.inspection_id",
    quantity="count(CASE WHEN f.is_defect THEN 1 END)",
    good=_NOTHING,
) + (
    "\nGROUP BY f.wafer_key, w.root_lot_id, w.wafer_id, f.lot_key, f.process_step_key, f.recipe_key,"
    "\n         f.inspection_equipment_key, f.inspection_id"
)

_TESTS = _events(
    3,
    "TEST",
    "fact_test_results",
    start="min(f.event_ts)",
    end="max(f.event_ts)",
    step="f.process_step_key",
    recipe="f.recipe_key",
    tool="f.tester_key",
    chamber=_NOTHING,
    reference="f.test_stage",
    quantity="count(*)",
    good="count(CASE WHEN f.is_pass THEN 1 END)",
) + (
    "\nGROUP BY f.wafer_key, w.root_lot_id, w.wafer_id, f.lot_key, f.process_step_key, f.recipe_key, f.tester_key,"
    "\n         f.test_stage, f.batch_id"
)

WAFER_TRACE = View(
    name="v_wafer_trace",
    body=compose(
        """
        SELECT v.wafer_key, v.root_lot_id, v.wafer_id, v.lot_key, l.lot_id, v.event_no, v.event_type,
               v.event_ts, v.end_ts, v.process_step_key, s.process_flow_id, s.flow_version, s.step_number, s.step_name,
               v.equipment_key, e.equipment_id, c.chamber_id, r.recipe_id, r.recipe_version,
               v.reference, v.quantity, v.good
        FROM (
            SELECT a.*, row_number() OVER (
                       PARTITION BY a.wafer_key, a.root_lot_id, a.wafer_id
                       ORDER BY a.event_ts, a.kind_order, a.end_ts, a.process_step_key, a.equipment_key, a.chamber_key,
                                a.reference, a.lot_key, a.recipe_key) AS event_no
            FROM (
                <<moves>>
                UNION ALL
                <<visits>>
                UNION ALL
                <<inspections>>
                UNION ALL
                <<tests>>
            ) a
        ) v
        LEFT JOIN {schema}.dim_lot l ON l.lot_key = v.lot_key AND l.is_current
        LEFT JOIN {schema}.dim_process_step s ON s.process_step_key = v.process_step_key AND s.is_current
        LEFT JOIN {schema}.dim_equipment e ON e.equipment_key = v.equipment_key AND e.is_current
        LEFT JOIN {schema}.dim_equipment c ON c.equipment_key = v.chamber_key AND c.is_current
            AND c.equipment_key <> -2
        LEFT JOIN {schema}.dim_recipe r ON r.recipe_key = v.recipe_key AND r.is_current
        """,
        moves=_MOVES,
        visits=_VISITS,
        inspections=_INSPECTIONS,
        tests=_TESTS,
    ),
    comment="Every event of a wafer: step visits, tests, inspections, stays in lots; event_no is their order in time",
    columns={
        **WAFER_COLUMNS,
        "event_no": "Place of the event in the wafer's life, from 1",
        "event_type": "LOT, PROCESS, INSPECTION or TEST",
        "event_ts": "Start of the event, UTC",
        "end_ts": "End of the event, UTC; NULL for the lot the wafer is in now",
        **STEP_COLUMNS,
        "equipment_key": "Tool, tester or inspection tool (dim_equipment)",
        "equipment_id": "Tool, tester or inspection tool",
        "chamber_id": "Chamber; NULL where there was none",
        "recipe_id": "Recipe",
        "recipe_version": "Version of the recipe",
        "reference": "Visit, inspection or test stage",
        "quantity": "Measurements, defects or insertions, count",
        "good": "Insertions that passed, count",
    },
    reads=(
        *("fact_process_measurements", "fact_test_results", "fact_defect_inspection", "bridge_wafer_lot"),
        *("dim_wafer", "dim_lot", "dim_process_step", "dim_equipment", "dim_recipe"),
    ),
)
