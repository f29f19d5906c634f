"""``v_inspection_summary``: defects, defective die and density of each inspection, clean ones included."""

from __future__ import annotations

from gpwarehouse.models.views.view import STEP_COLUMNS, WAFER_COLUMNS, View, compose

__all__ = ["INSPECTION_SUMMARY"]

# Grouped by die first: a defective die is then a row with defects, and count(DISTINCT …) is spared.
_BODY = compose(
    """
    SELECT i.wafer_key, i.root_lot_id, i.wafer_id, i.lot_key, i.lot_id, i.product_key,
           i.process_step_key, s.process_flow_id, s.flow_version, s.step_number, s.step_name,
           i.inspection_id, i.test_no, i.layer_name, i.event_ts,
           i.inspection_equipment_key, e.equipment_id AS inspection_equipment_id,
           i.inspected_area_cm2, i.inspected_die,
           i.defects, i.killer_defects, i.adder_defects, i.clustered_defects, i.reviewed_defects, i.defective_die,
           CAST(100 AS double precision) * i.defective_die / NULLIF(i.inspected_die, 0) AS defective_die_pct,
           i.defects / NULLIF(i.inspected_area_cm2, 0) AS defect_density_per_cm2
    FROM (
        SELECT d.wafer_key, d.root_lot_id, d.wafer_id, d.lot_key, d.lot_id, d.inspection_id, d.test_no,
               max(d.product_key) AS product_key, max(d.process_step_key) AS process_step_key,
               max(d.inspection_equipment_key) AS inspection_equipment_key,
               max(d.layer_name) AS layer_name, min(d.event_ts) AS event_ts,
               max(d.inspected_area_cm2) AS inspected_area_cm2, max(d.inspected_die) AS inspected_die,
               CAST(sum(d.defects) AS bigint) AS defects,
               CAST(sum(d.killer_defects) AS bigint) AS killer_defects,
               CAST(sum(d.adder_defects) AS bigint) AS adder_defects,
               CAST(sum(d.clustered_defects) AS bigint) AS clustered_defects,
               CAST(sum(d.reviewed_defects) AS bigint) AS reviewed_defects,
               count(CASE WHEN d.defects > 0 AND d.die_x IS NOT NULL AND d.die_y IS NOT NULL THEN 1 END) AS defective_die
        FROM (
            SELECT f.wafer_key, w.root_lot_id, w.wafer_id, f.lot_key, l.lot_id, f.inspection_id, f.test_no,
                   f.die_x, f.die_y,
                   max(f.product_key) AS product_key, max(f.process_step_key) AS process_step_key,
                   max(f.inspection_equipment_key) AS inspection_equipment_key,
                   max(f.layer_name) AS layer_name, min(f.event_ts) AS event_ts,
                   max(f.inspected_area_cm2) AS inspected_area_cm2, max(f.inspected_die) AS inspected_die,
                   count(CASE WHEN f.is_defect THEN 1 END) AS defects,
                   count(CASE WHEN f.is_defect AND f.is_killer THEN 1 END) AS killer_defects,
                   count(CASE WHEN f.is_defect AND f.is_adder THEN 1 END) AS adder_defects,
                   count(CASE WHEN f.is_defect AND f.cluster_no <> 0 THEN 1 END) AS clustered_defects,
                   count(CASE WHEN f.is_defect AND f.is_reviewed THEN 1 END) AS reviewed_defects
            FROM {schema}.fact_defect_inspection f
            LEFT JOIN {schema}.dim_wafer w ON w.wafer_key = f.wafer_key AND w.is_current
            LEFT JOIN {schema}.dim_lot l ON l.lot_key = f.lot_key AND l.is_current
            GROUP BY f.wafer_key, f.lot_key, f.inspection_id, f.test_no, f.die_x, f.die_y,
                     w.root_lot_id, w.wafer_id, l.lot_id
        ) d
        GROUP BY d.wafer_key, d.lot_key, d.inspection_id, d.test_no, d.root_lot_id, d.wafer_id, d.lot_id
    ) i
    LEFT JOIN {schema}.dim_process_step s ON s.process_step_key = i.process_step_key AND s.is_current
    LEFT JOIN {schema}.dim_equipment e ON e.equipment_key = i.inspection_equipment_key AND e.is_current
    """
)

INSPECTION_SUMMARY = View(
    name="v_inspection_summary",
    body=_BODY,
    comment=(
        "Inspections, clean ones included: a row per wafer, inspection and test of the inspection, as KLARF's "
        "SummaryList has it. Tests may cover the same area, so their rows do not add up"
    ),
    columns={
        **WAFER_COLUMNS,
        "product_key": "Product (dim_product)",
        **STEP_COLUMNS,
        "inspection_id": "Inspection",
        "test_no": "Test of the inspection (KLARF InspectionTest)",
        "layer_name": "Layer",
        "event_ts": "Inspection, UTC",
        "inspection_equipment_key": "Inspection tool (dim_equipment)",
        "inspection_equipment_id": "Inspection tool",
        "inspected_area_cm2": "Area inspected, cm2",
        "inspected_die": "Die inspected, count",
        "defects": "Defects, count; 0 for a clean inspection",
        "killer_defects": "Defects taken to kill their die, count",
        "adder_defects": "Defects this step added, count",
        "clustered_defects": "Defects in clusters, count",
        "reviewed_defects": "Defects reviewed, count",
        "defective_die": "Die with a defect, count",
        "defective_die_pct": "100 defective die / inspected die, percent",
        "defect_density_per_cm2": "Defects / inspected area, per cm2; NULL where the area is not known",
    },
    reads=("fact_defect_inspection", "dim_wafer", "dim_lot", "dim_process_step", "dim_equipment"),
)
