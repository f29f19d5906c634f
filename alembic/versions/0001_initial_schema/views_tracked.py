"""The views of tools, lots and wafers, in the order in which they can be made. Frozen."""

V_INSPECTION_SUMMARY = """
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

V_EQUIPMENT_OEE = """
SELECT f.equipment_key, e.facility, e.equipment_id, e.chamber_id, e.equipment_type, e.area,
       f.event_ts, t.fab_date, coalesce(f.shift_code, t.shift_code) AS shift_code,
       f.productive_s, f.standby_s, f.engineering_s, f.scheduled_down_s, f.unscheduled_down_s, f.non_scheduled_s, f.total_s, f.failure_count, f.repair_count, f.repair_time_s, f.assist_count, f.wafers_processed, f.wafers_good, f.theoretical_production_time_s, f.theoretical_good_time_s,
       (f.productive_s + f.standby_s + f.engineering_s) / NULLIF(f.total_s, 0) AS availability,
       f.theoretical_production_time_s / NULLIF(f.productive_s + f.standby_s + f.engineering_s, 0) AS performance,
       f.theoretical_good_time_s / NULLIF(f.theoretical_production_time_s, 0) AS quality,
       f.theoretical_good_time_s / NULLIF(f.total_s, 0) AS oee,
       f.productive_s / NULLIF(f.total_s, 0) AS utilization,
       f.productive_s / 3600 / NULLIF(f.failure_count, 0) AS mtbf_h,
       f.repair_time_s / 3600 / NULLIF(f.repair_count, 0) AS mttr_h
FROM {schema}.fact_equipment_performance f
LEFT JOIN {schema}.dim_equipment e ON e.equipment_key = f.equipment_key AND e.is_current
LEFT JOIN {schema}.dim_time t ON t.time_key = f.time_key
"""

V_EQUIPMENT_OEE_MONTHLY = """
SELECT f.equipment_key, e.facility, e.equipment_id, e.chamber_id, e.equipment_type, e.area, f.fab_year, f.fab_month, f.shifts,
       f.productive_s, f.standby_s, f.engineering_s, f.scheduled_down_s, f.unscheduled_down_s, f.non_scheduled_s, f.total_s, f.failure_count, f.repair_count, f.repair_time_s, f.assist_count, f.wafers_processed, f.wafers_good, f.theoretical_production_time_s, f.theoretical_good_time_s,
       (f.productive_s + f.standby_s + f.engineering_s) / NULLIF(f.total_s, 0) AS availability,
       f.theoretical_production_time_s / NULLIF(f.productive_s + f.standby_s + f.engineering_s, 0) AS performance,
       f.theoretical_good_time_s / NULLIF(f.theoretical_production_time_s, 0) AS quality,
       f.theoretical_good_time_s / NULLIF(f.total_s, 0) AS oee,
       f.productive_s / NULLIF(f.total_s, 0) AS utilization,
       f.productive_s / 3600 / NULLIF(f.failure_count, 0) AS mtbf_h,
       f.repair_time_s / 3600 / NULLIF(f.repair_count, 0) AS mttr_h
FROM (
    SELECT p.equipment_key,
           coalesce(t.fab_year, CAST(extract(year FROM p.event_ts AT TIME ZONE 'UTC') AS integer)) AS fab_year,
           coalesce(t.fab_month, CAST(extract(month FROM p.event_ts AT TIME ZONE 'UTC') AS integer))
               AS fab_month,
           count(*) AS shifts,
           sum(p.productive_s) AS productive_s,
           sum(p.standby_s) AS standby_s,
           sum(p.engineering_s) AS engineering_s,
           sum(p.scheduled_down_s) AS scheduled_down_s,
           sum(p.unscheduled_down_s) AS unscheduled_down_s,
           sum(p.non_scheduled_s) AS non_scheduled_s,
           sum(p.total_s) AS total_s,
           sum(p.failure_count) AS failure_count,
           sum(p.repair_count) AS repair_count,
           sum(p.repair_time_s) AS repair_time_s,
           sum(p.assist_count) AS assist_count,
           sum(p.wafers_processed) AS wafers_processed,
           sum(p.wafers_good) AS wafers_good,
           sum(p.theoretical_production_time_s) AS theoretical_production_time_s,
           sum(p.theoretical_good_time_s) AS theoretical_good_time_s
    FROM {schema}.fact_equipment_performance p
    LEFT JOIN {schema}.dim_time t ON t.time_key = p.time_key
    GROUP BY 1, 2, 3
) f
LEFT JOIN {schema}.dim_equipment e ON e.equipment_key = f.equipment_key AND e.is_current
"""

V_EQUIPMENT_STATE = """
SELECT e.equipment_key, e.facility, e.equipment_id, e.chamber_id, e.equipment_type, e.area,
       u.event_ts AS last_event_ts, l.lot_id AS last_lot_id,
       s.step_number AS last_step_number, s.step_name AS last_step_name, r.recipe_id AS last_recipe_id,
       p.event_ts AS shift_start_ts,
       CASE WHEN p.longest_s = p.unscheduled_down_s THEN 'UNSCHEDULED_DOWN'
            WHEN p.longest_s = p.scheduled_down_s THEN 'SCHEDULED_DOWN'
            WHEN p.longest_s = p.non_scheduled_s THEN 'NON_SCHEDULED'
            WHEN p.longest_s = p.engineering_s THEN 'ENGINEERING'
            WHEN p.longest_s = p.standby_s THEN 'STANDBY'
            WHEN p.longest_s = p.productive_s THEN 'PRODUCTIVE'
       END AS main_state,
       p.longest_s / NULLIF(p.total_s, 0) AS main_state_share
FROM {schema}.dim_equipment e
LEFT JOIN (
    SELECT v.*, row_number() OVER (
               PARTITION BY v.equipment_key
               ORDER BY v.event_ts DESC, v.lot_key, v.process_step_key, v.recipe_key) AS place
    FROM (
        SELECT f.equipment_key AS equipment_key, f.lot_key, f.process_step_key, f.recipe_key,
               max(f.event_ts) AS event_ts
        FROM {schema}.fact_process_measurements f
        GROUP BY f.equipment_key, f.lot_key, f.process_step_key, f.recipe_key
        UNION ALL
        SELECT f.chamber_key AS equipment_key, f.lot_key, f.process_step_key, f.recipe_key,
               max(f.event_ts) AS event_ts
        FROM {schema}.fact_process_measurements f
        GROUP BY f.chamber_key, f.lot_key, f.process_step_key, f.recipe_key
        UNION ALL
        SELECT f.tester_key AS equipment_key, f.lot_key, f.process_step_key, f.recipe_key,
               max(f.event_ts) AS event_ts
        FROM {schema}.fact_test_results f
        GROUP BY f.tester_key, f.lot_key, f.process_step_key, f.recipe_key
        UNION ALL
        SELECT f.prober_key AS equipment_key, f.lot_key, f.process_step_key, f.recipe_key,
               max(f.event_ts) AS event_ts
        FROM {schema}.fact_test_results f
        GROUP BY f.prober_key, f.lot_key, f.process_step_key, f.recipe_key
        UNION ALL
        SELECT f.inspection_equipment_key AS equipment_key, f.lot_key, f.process_step_key, f.recipe_key,
               max(f.event_ts) AS event_ts
        FROM {schema}.fact_defect_inspection f
        GROUP BY f.inspection_equipment_key, f.lot_key, f.process_step_key, f.recipe_key
    ) v
) u ON u.equipment_key = e.equipment_key AND u.place = 1
LEFT JOIN (
    SELECT f.equipment_key, f.event_ts, f.total_s,
           f.productive_s, f.standby_s, f.engineering_s, f.scheduled_down_s, f.unscheduled_down_s, f.non_scheduled_s,
           greatest(f.productive_s, f.standby_s, f.engineering_s, f.scheduled_down_s, f.unscheduled_down_s, f.non_scheduled_s) AS longest_s,
           row_number() OVER (
               PARTITION BY f.equipment_key
               ORDER BY f.event_ts DESC, f.batch_id DESC, f.source_record_no DESC) AS place
    FROM {schema}.fact_equipment_performance f
) p ON p.equipment_key = e.equipment_key AND p.place = 1
LEFT JOIN {schema}.dim_lot l ON l.lot_key = u.lot_key AND l.is_current
LEFT JOIN {schema}.dim_process_step s ON s.process_step_key = u.process_step_key AND s.is_current
LEFT JOIN {schema}.dim_recipe r ON r.recipe_key = u.recipe_key AND r.is_current
WHERE e.is_current AND e.equipment_key NOT IN (-1, -2)
"""

V_LOT_GENEALOGY = """
WITH RECURSIVE edge AS (
    SELECT b.parent_lot_key, b.child_lot_key
    FROM {schema}.bridge_lot_genealogy b
    UNION
    SELECT CAST(CAST('x' || substr(md5(l.parent_lot_id), 1, 16) AS bit(64)) AS bigint) AS parent_lot_key,
           l.lot_key AS child_lot_key
    FROM {schema}.dim_lot l
    WHERE l.is_current AND l.parent_lot_id <> ''
), tree AS (
    SELECT g.parent_lot_key AS ancestor_key, g.child_lot_key AS descendant_key, 1 AS distance,
           ARRAY[g.parent_lot_key, g.child_lot_key] AS path
    FROM edge g
    UNION ALL
    SELECT t.ancestor_key, g.child_lot_key, t.distance + 1, t.path || g.child_lot_key
    FROM tree t
    JOIN edge g ON g.parent_lot_key = t.descendant_key
    WHERE g.child_lot_key <> ALL (t.path)
), pair AS (
    SELECT t.ancestor_key, t.descendant_key, min(t.distance) AS distance
    FROM tree t
    GROUP BY t.ancestor_key, t.descendant_key
)
SELECT p.descendant_key AS lot_key, d.lot_id, CAST('ANCESTOR' AS text) AS direction, p.distance,
       p.ancestor_key AS related_lot_key, a.lot_id AS related_lot_id
FROM pair p
LEFT JOIN {schema}.dim_lot a ON a.lot_key = p.ancestor_key AND a.is_current
LEFT JOIN {schema}.dim_lot d ON d.lot_key = p.descendant_key AND d.is_current
UNION ALL
SELECT p.ancestor_key, a.lot_id, CAST('DESCENDANT' AS text), p.distance, p.descendant_key, d.lot_id
FROM pair p
LEFT JOIN {schema}.dim_lot a ON a.lot_key = p.ancestor_key AND a.is_current
LEFT JOIN {schema}.dim_lot d ON d.lot_key = p.descendant_key AND d.is_current
"""

V_LOT_STATUS = """
SELECT l.lot_key, l.lot_id, l.product_key, p.product_id, l.lot_type, l.priority, l.lot_status, l.hold_code,
       l.wafer_count, l.due_ts,
       v.event_ts AS last_event_ts, v.event_type AS last_event_type,
       v.process_step_key, s.process_flow_id, s.flow_version, s.step_number, s.step_name, s.step_sequence,
       v.equipment_key, e.equipment_id, v.wafers AS wafers_seen
FROM (
    SELECT a.*, row_number() OVER (
               PARTITION BY a.lot_key, a.lot_id
               ORDER BY a.event_ts DESC NULLS LAST, a.event_type, a.process_step_key, a.equipment_key) AS place
    FROM (
        SELECT w.lot_key, w.lot_id, w.event_type, w.process_step_key, w.equipment_key,
               max(w.event_ts) AS event_ts, count(*) AS wafers
        FROM (
            SELECT f.lot_key, n.lot_id, CAST('PROCESS' AS text) AS event_type,
                   f.process_step_key, f.equipment_key AS equipment_key, f.wafer_key, max(f.event_ts) AS event_ts
            FROM {schema}.fact_process_measurements f
            JOIN {schema}.dim_lot n ON n.lot_key = f.lot_key AND n.is_current AND n.lot_key NOT IN (-1, -2)
            GROUP BY f.wafer_key, f.lot_key, n.lot_id, f.process_step_key, f.equipment_key
            UNION ALL
            SELECT f.lot_key, n.lot_id, CAST('TEST' AS text) AS event_type,
                   f.process_step_key, f.tester_key AS equipment_key, f.wafer_key, max(f.event_ts) AS event_ts
            FROM {schema}.fact_test_results f
            JOIN {schema}.dim_lot n ON n.lot_key = f.lot_key AND n.is_current AND n.lot_key NOT IN (-1, -2)
            GROUP BY f.wafer_key, f.lot_key, n.lot_id, f.process_step_key, f.tester_key
            UNION ALL
            SELECT f.lot_key, n.lot_id, CAST('INSPECTION' AS text) AS event_type,
                   f.process_step_key, f.inspection_equipment_key AS equipment_key, f.wafer_key, max(f.event_ts) AS event_ts
            FROM {schema}.fact_defect_inspection f
            JOIN {schema}.dim_lot n ON n.lot_key = f.lot_key AND n.is_current AND n.lot_key NOT IN (-1, -2)
            GROUP BY f.wafer_key, f.lot_key, n.lot_id, f.process_step_key, f.inspection_equipment_key
        ) w
        GROUP BY w.lot_key, w.lot_id, w.event_type, w.process_step_key, w.equipment_key
        UNION ALL
        SELECT n.lot_key, n.lot_id, CAST(NULL AS text), CAST(NULL AS bigint), CAST(NULL AS bigint),
               CAST(NULL AS timestamptz), CAST(NULL AS bigint)
        FROM {schema}.dim_lot n
        WHERE n.is_current AND n.lot_key NOT IN (-1, -2)
    ) a
) v
JOIN {schema}.dim_lot l ON l.lot_key = v.lot_key AND l.is_current
LEFT JOIN {schema}.dim_product p ON p.product_key = l.product_key AND p.is_current
LEFT JOIN {schema}.dim_process_step s ON s.process_step_key = v.process_step_key AND s.is_current
LEFT JOIN {schema}.dim_equipment e ON e.equipment_key = v.equipment_key AND e.is_current
WHERE v.place = 1
"""

V_WAFER_TRACE = """
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
        SELECT f.wafer_key, w.root_lot_id, w.wafer_id, f.lot_key, 0 AS kind_order,
               CAST('LOT' AS text) AS event_type,
               f.from_ts AS event_ts, NULLIF(f.to_ts, TIMESTAMPTZ '9999-12-31 00:00:00+00') AS end_ts,
               CAST(NULL AS bigint) AS process_step_key, CAST(NULL AS bigint) AS recipe_key, CAST(NULL AS bigint) AS equipment_key,
               CAST(NULL AS bigint) AS chamber_key, CAST(NULL AS text) AS reference,
               CAST(NULL AS bigint) AS quantity, CAST(NULL AS bigint) AS good
        FROM {schema}.bridge_wafer_lot f
        LEFT JOIN {schema}.dim_wafer w ON w.wafer_key = f.wafer_key AND w.is_current
        UNION ALL
        SELECT f.wafer_key, w.root_lot_id, w.wafer_id, f.lot_key, 1 AS kind_order,
               CAST('PROCESS' AS text) AS event_type,
               min(f.event_ts) AS event_ts, max(coalesce(f.end_ts, f.event_ts)) AS end_ts,
               f.process_step_key AS process_step_key, f.recipe_key AS recipe_key, f.equipment_key AS equipment_key,
               f.chamber_key AS chamber_key, CAST(f.visit_no AS text) AS reference,
               count(*) AS quantity, CAST(NULL AS bigint) AS good
        FROM {schema}.fact_process_measurements f
        LEFT JOIN {schema}.dim_wafer w ON w.wafer_key = f.wafer_key AND w.is_current
        GROUP BY f.wafer_key, w.root_lot_id, w.wafer_id, f.lot_key, f.process_step_key, f.recipe_key, f.equipment_key,
                 f.chamber_key, f.visit_no
        UNION ALL
        SELECT f.wafer_key, w.root_lot_id, w.wafer_id, f.lot_key, 2 AS kind_order,
               CAST('INSPECTION' AS text) AS event_type,
               min(f.event_ts) AS event_ts, max(f.event_ts) AS end_ts,
               f.process_step_key AS process_step_key, f.recipe_key AS recipe_key, f.inspection_equipment_key AS equipment_key,
               CAST(NULL AS bigint) AS chamber_key, CAST(f.inspection_id AS text) AS reference,
               count(CASE WHEN f.is_defect THEN 1 END) AS quantity, CAST(NULL AS bigint) AS good
        FROM {schema}.fact_defect_inspection f
        LEFT JOIN {schema}.dim_wafer w ON w.wafer_key = f.wafer_key AND w.is_current
        GROUP BY f.wafer_key, w.root_lot_id, w.wafer_id, f.lot_key, f.process_step_key, f.recipe_key,
                 f.inspection_equipment_key, f.inspection_id
        UNION ALL
        SELECT f.wafer_key, w.root_lot_id, w.wafer_id, f.lot_key, 3 AS kind_order,
               CAST('TEST' AS text) AS event_type,
               min(f.event_ts) AS event_ts, max(f.event_ts) AS end_ts,
               f.process_step_key AS process_step_key, f.recipe_key AS recipe_key, f.tester_key AS equipment_key,
               CAST(NULL AS bigint) AS chamber_key, CAST(f.test_stage AS text) AS reference,
               count(*) AS quantity, count(CASE WHEN f.is_pass THEN 1 END) AS good
        FROM {schema}.fact_test_results f
        LEFT JOIN {schema}.dim_wafer w ON w.wafer_key = f.wafer_key AND w.is_current
        GROUP BY f.wafer_key, w.root_lot_id, w.wafer_id, f.lot_key, f.process_step_key, f.recipe_key, f.tester_key,
                 f.test_stage, f.batch_id
    ) a
) v
LEFT JOIN {schema}.dim_lot l ON l.lot_key = v.lot_key AND l.is_current
LEFT JOIN {schema}.dim_process_step s ON s.process_step_key = v.process_step_key AND s.is_current
LEFT JOIN {schema}.dim_equipment e ON e.equipment_key = v.equipment_key AND e.is_current
LEFT JOIN {schema}.dim_equipment c ON c.equipment_key = v.chamber_key AND c.is_current
    AND c.equipment_key <> -2
LEFT JOIN {schema}.dim_recipe r ON r.recipe_key = v.recipe_key AND r.is_current
"""

VIEWS = {
    'v_inspection_summary': V_INSPECTION_SUMMARY,
    'v_equipment_oee': V_EQUIPMENT_OEE,
    'v_equipment_oee_monthly': V_EQUIPMENT_OEE_MONTHLY,
    'v_equipment_state': V_EQUIPMENT_STATE,
    'v_lot_genealogy': V_LOT_GENEALOGY,
    'v_lot_status': V_LOT_STATUS,
    'v_wafer_trace': V_WAFER_TRACE,
}

COMMENTS = {
    'v_inspection_summary': "Inspections, clean ones included: a row per wafer, inspection and test of the inspection, as KLARF's SummaryList has it. Tests may cover the same area, so their rows do not add up",
    'v_equipment_oee': 'OEE of a tool or chamber by shift (SEMI E79); for longer times sum the addends, never the ratios',
    'v_equipment_oee_monthly': 'OEE, MTBF and MTTR of a tool or chamber by fab month, from summed addends (SEMI E10, E79)',
    'v_equipment_state': 'What each tool and chamber did last, by the facts, and the SEMI E10 state with the most of its last shift',
    'v_lot_genealogy': 'Ancestors and descendants of every lot, any depth. A filter does not reach into it: for one lot use wh.genealogy(), which starts at the lot',
    'v_lot_status': 'Each lot with its last event, by the facts: where it is; lots without an event have NULL there',
    'v_wafer_trace': 'Every event of a wafer: step visits, tests, inspections, stays in lots; event_no is their order in time',
}

COLUMN_COMMENTS = {
    'v_inspection_summary': {
        'wafer_key': 'Wafer (dim_wafer)',
        'root_lot_id': 'Lot the wafer was started in',
        'wafer_id': 'Wafer in its root lot',
        'lot_key': 'Lot at the event (dim_lot)',
        'lot_id': 'Lot at the event',
        'product_key': 'Product (dim_product)',
        'process_step_key': 'Step (dim_process_step)',
        'process_flow_id': 'Process flow, or test program',
        'flow_version': 'Version of the flow',
        'step_number': 'Step of the flow, or test stage',
        'step_name': 'Name of the step',
        'inspection_id': 'Inspection',
        'test_no': 'Test of the inspection (KLARF InspectionTest)',
        'layer_name': 'Layer',
        'event_ts': 'Inspection, UTC',
        'inspection_equipment_key': 'Inspection tool (dim_equipment)',
        'inspection_equipment_id': 'Inspection tool',
        'inspected_area_cm2': 'Area inspected, cm2',
        'inspected_die': 'Die inspected, count',
        'defects': 'Defects, count; 0 for a clean inspection',
        'killer_defects': 'Defects taken to kill their die, count',
        'adder_defects': 'Defects this step added, count',
        'clustered_defects': 'Defects in clusters, count',
        'reviewed_defects': 'Defects reviewed, count',
        'defective_die': 'Die with a defect, count',
        'defective_die_pct': '100 defective die / inspected die, percent',
        'defect_density_per_cm2': 'Defects / inspected area, per cm2; NULL where the area is not known',
    },
    'v_equipment_oee': {
        'equipment_key': 'Tool or chamber (dim_equipment)',
        'facility': 'Fab or test site',
        'equipment_id': 'Tool',
        'chamber_id': 'Chamber; empty for the tool itself',
        'equipment_type': 'Kind of tool',
        'area': 'Area of the fab',
        'event_ts': 'Start of the shift, UTC',
        'fab_date': 'Fab day of the shift',
        'shift_code': 'Shift',
        'productive_s': 'Productive time, s (SEMI E10)',
        'standby_s': 'Standby time, s (SEMI E10)',
        'engineering_s': 'Engineering time, s (SEMI E10)',
        'scheduled_down_s': 'Scheduled down time, s (SEMI E10)',
        'unscheduled_down_s': 'Unscheduled down time, s (SEMI E10)',
        'non_scheduled_s': 'Non scheduled time, s (SEMI E10)',
        'total_s': 'Total time, s (SEMI E10)',
        'failure_count': 'Failures, count',
        'repair_count': 'Repairs, count',
        'repair_time_s': 'Time spent on repairs, s',
        'assist_count': 'Assists, count',
        'wafers_processed': 'Wafers processed, count',
        'wafers_good': 'Wafers processed and good, count',
        'theoretical_production_time_s': 'Theoretical production time of all units, s (SEMI E79)',
        'theoretical_good_time_s': 'Theoretical production time of the good units, s (SEMI E79)',
        'availability': 'Availability efficiency: (productive + standby + engineering) / total (SEMI E79)',
        'performance': 'Performance efficiency: theoretical production time / uptime (SEMI E79)',
        'quality': 'Quality efficiency: theoretical time of good units / of all units (SEMI E79)',
        'oee': 'Overall equipment efficiency: theoretical time of good units / total time (SEMI E79)',
        'utilization': 'Productive / total time (SEMI E10 total utilization)',
        'mtbf_h': 'Productive time by failure, h; NULL where none failed (SEMI E10 MTBFp)',
        'mttr_h': 'Repair time by repair, h; NULL where there was none (SEMI E10 MTTR)',
    },
    'v_equipment_oee_monthly': {
        'equipment_key': 'Tool or chamber (dim_equipment)',
        'facility': 'Fab or test site',
        'equipment_id': 'Tool',
        'chamber_id': 'Chamber; empty for the tool itself',
        'equipment_type': 'Kind of tool',
        'area': 'Area of the fab',
        'fab_year': 'Fab year',
        'fab_month': 'Fab month, 1 to 12',
        'shifts': 'Shifts reported, count',
        'productive_s': 'Productive time, s (SEMI E10)',
        'standby_s': 'Standby time, s (SEMI E10)',
        'engineering_s': 'Engineering time, s (SEMI E10)',
        'scheduled_down_s': 'Scheduled down time, s (SEMI E10)',
        'unscheduled_down_s': 'Unscheduled down time, s (SEMI E10)',
        'non_scheduled_s': 'Non scheduled time, s (SEMI E10)',
        'total_s': 'Total time, s (SEMI E10)',
        'failure_count': 'Failures, count',
        'repair_count': 'Repairs, count',
        'repair_time_s': 'Time spent on repairs, s',
        'assist_count': 'Assists, count',
        'wafers_processed': 'Wafers processed, count',
        'wafers_good': 'Wafers processed and good, count',
        'theoretical_production_time_s': 'Theoretical production time of all units, s (SEMI E79)',
        'theoretical_good_time_s': 'Theoretical production time of the good units, s (SEMI E79)',
        'availability': 'Availability efficiency: (productive + standby + engineering) / total (SEMI E79)',
        'performance': 'Performance efficiency: theoretical production time / uptime (SEMI E79)',
        'quality': 'Quality efficiency: theoretical time of good units / of all units (SEMI E79)',
        'oee': 'Overall equipment efficiency: theoretical time of good units / total time (SEMI E79)',
        'utilization': 'Productive / total time (SEMI E10 total utilization)',
        'mtbf_h': 'Productive time by failure, h; NULL where none failed (SEMI E10 MTBFp)',
        'mttr_h': 'Repair time by repair, h; NULL where there was none (SEMI E10 MTTR)',
    },
    'v_equipment_state': {
        'equipment_key': 'Tool or chamber (dim_equipment)',
        'facility': 'Fab or test site',
        'equipment_id': 'Tool',
        'chamber_id': 'Chamber; empty for the tool itself',
        'equipment_type': 'Kind of tool',
        'area': 'Area of the fab',
        'last_event_ts': 'Last event of a wafer in it, UTC',
        'last_lot_id': 'Lot of that event',
        'last_step_number': 'Step of that event',
        'last_step_name': 'Name of the step',
        'last_recipe_id': 'Recipe of that event',
        'shift_start_ts': 'Last shift reported, UTC',
        'main_state': 'State with the most seconds in that shift (SEMI E10)',
        'main_state_share': "Its share of the shift's total time, 0 to 1",
    },
    'v_lot_genealogy': {
        'lot_key': 'Lot (dim_lot)',
        'lot_id': 'Lot',
        'direction': 'ANCESTOR or DESCENDANT: what the related lot is to the lot',
        'distance': 'Splits, merges, reworks and renamings between them, the shortest way',
        'related_lot_key': 'Related lot (dim_lot)',
        'related_lot_id': 'Related lot; NULL where dim_lot does not know it',
    },
    'v_lot_status': {
        'lot_key': 'Lot (dim_lot)',
        'lot_id': 'Lot',
        'product_key': 'Product (dim_product)',
        'product_id': 'Product',
        'lot_type': 'Kind of lot',
        'priority': 'Priority, 1 = most urgent',
        'lot_status': 'State, as last reported',
        'hold_code': 'Why it is on hold',
        'wafer_count': 'Wafers in it, count, as last reported',
        'due_ts': 'Promised completion, UTC',
        'last_event_ts': 'Last event of one of its wafers, UTC',
        'last_event_type': 'PROCESS, TEST or INSPECTION',
        'process_step_key': 'Step of that event (dim_process_step)',
        'process_flow_id': 'Process flow, or test program',
        'flow_version': 'Version of the flow',
        'step_number': 'Step of the flow, or test stage',
        'step_name': 'Name of the step',
        'step_sequence': 'Place of the step in the flow',
        'equipment_key': 'Tool of that event (dim_equipment)',
        'equipment_id': 'Tool',
        'wafers_seen': 'Wafers of the lot seen at that step and tool, count',
    },
    'v_wafer_trace': {
        'wafer_key': 'Wafer (dim_wafer)',
        'root_lot_id': 'Lot the wafer was started in',
        'wafer_id': 'Wafer in its root lot',
        'lot_key': 'Lot at the event (dim_lot)',
        'lot_id': 'Lot at the event',
        'event_no': "Place of the event in the wafer's life, from 1",
        'event_type': 'LOT, PROCESS, INSPECTION or TEST',
        'event_ts': 'Start of the event, UTC',
        'end_ts': 'End of the event, UTC; NULL for the lot the wafer is in now',
        'process_step_key': 'Step (dim_process_step)',
        'process_flow_id': 'Process flow, or test program',
        'flow_version': 'Version of the flow',
        'step_number': 'Step of the flow, or test stage',
        'step_name': 'Name of the step',
        'equipment_key': 'Tool, tester or inspection tool (dim_equipment)',
        'equipment_id': 'Tool, tester or inspection tool',
        'chamber_id': 'Chamber; NULL where there was none',
        'recipe_id': 'Recipe',
        'recipe_version': 'Version of the recipe',
        'reference': 'Visit, inspection or test stage',
        'quantity': 'Measurements, defects or insertions, count',
        'good': 'Insertions that passed, count',
    },
}
