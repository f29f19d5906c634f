CREATE SCHEMA IF NOT EXISTS dw;

CREATE TABLE IF NOT EXISTS dw.etl_migration_history (
    revision TEXT NOT NULL, 
    direction TEXT NOT NULL, 
    checksum TEXT NOT NULL, 
    started_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL, 
    seconds DOUBLE PRECISION, 
    applied_by TEXT DEFAULT "current_user"() NOT NULL, 
    package_version TEXT NOT NULL, 
    note TEXT, 
    part_of TEXT
)
 WITH (appendonly=false)
 DISTRIBUTED BY (revision);

BEGIN;

-- Running downgrade 0006 -> 0005

UPDATE dw.alembic_version SET version_num='0005' WHERE dw.alembic_version.version_num = '0006';

INSERT INTO dw.etl_migration_history (revision, direction, checksum, started_at, seconds, applied_by, package_version) VALUES ('0006', 'downgrade', '9256592a002518355c952f6a1437dfc8f06ebb7e54cbba7e475d3fec014a8b52', now(), date_part('epoch', clock_timestamp() - now()), CURRENT_USER, '0.1.0');

COMMIT;

BEGIN;

-- Running downgrade 0005 -> 0004

DROP VIEW dw.v_lot_yield;

DROP VIEW dw.v_test_fails;

DROP VIEW dw.v_wafer_yield;

CREATE VIEW dw.v_wafer_yield AS
SELECT y.wafer_key, y.root_lot_id, y.wafer_id, y.lot_key, y.lot_id,
       y.product_key, p.product_id, p.revision AS product_revision,
       y.test_type, y.test_stage, y.test_program, y.program_revision, y.basis,
       y.insertions, y.tested, y.good, y.functional_fails, y.parametric_fails,
       CAST(100 AS double precision) * y.good / y.tested AS die_yield_pct,
       CAST(100 AS double precision) * (y.tested - y.functional_fails) / y.tested AS functional_yield_pct,
       CAST(100 AS double precision) * (y.tested - y.functional_fails - y.parametric_fails)
           / NULLIF(y.tested - y.functional_fails, 0) AS parametric_yield_pct,
       y.first_ts, y.last_ts
FROM (
    SELECT w.wafer_key, w.root_lot_id, w.wafer_id, w.lot_key, w.lot_id, w.product_key,
           w.test_type, w.test_stage, w.test_program, w.program_revision, b.basis,
           w.insertions, w.tested, w.first_ts, w.last_ts,
           CASE b.basis WHEN 'FIRST' THEN w.first_good WHEN 'LAST' THEN w.last_good
                        ELSE w.best_good END AS good,
           CASE b.basis WHEN 'FIRST' THEN w.first_functional WHEN 'LAST' THEN w.last_functional
                        ELSE w.best_functional END AS functional_fails,
           CASE b.basis WHEN 'FIRST' THEN w.first_parametric WHEN 'LAST' THEN w.last_parametric
                        ELSE w.best_parametric END AS parametric_fails
    FROM (
        SELECT i.wafer_key, i.root_lot_id, i.wafer_id, i.lot_key, i.lot_id, i.test_type, i.test_stage,
               CASE WHEN min(i.known_product_key) = max(i.known_product_key)
                    THEN min(i.known_product_key) ELSE -1 END AS product_key,
               CASE WHEN min(i.test_program) = max(i.test_program) THEN min(i.test_program) END AS test_program,
               CASE WHEN min(i.program_revision) = max(i.program_revision)
                    THEN min(i.program_revision) END AS program_revision,
               count(*) AS insertions,
               count(CASE WHEN i.is_last THEN 1 END) AS tested,
               count(CASE WHEN i.is_first AND i.is_pass THEN 1 END) AS first_good,
               count(CASE WHEN i.is_last AND i.is_pass THEN 1 END) AS last_good,
               count(CASE WHEN i.is_last AND i.passed_once THEN 1 END) AS best_good,
               count(CASE WHEN i.is_first AND NOT i.is_pass AND i.fail_kind = 'FUNCTIONAL' THEN 1 END) AS first_functional,
               count(CASE WHEN i.is_last AND NOT i.is_pass AND i.fail_kind = 'FUNCTIONAL' THEN 1 END) AS last_functional,
               count(CASE WHEN i.is_last AND NOT i.passed_once AND i.fail_kind = 'FUNCTIONAL' THEN 1 END) AS best_functional,
               count(CASE WHEN i.is_first AND NOT i.is_pass AND i.fail_kind = 'PARAMETRIC' THEN 1 END) AS first_parametric,
               count(CASE WHEN i.is_last AND NOT i.is_pass AND i.fail_kind = 'PARAMETRIC' THEN 1 END) AS last_parametric,
               count(CASE WHEN i.is_last AND NOT i.passed_once AND i.fail_kind = 'PARAMETRIC' THEN 1 END) AS best_parametric,
               min(i.event_ts) AS first_ts,
               max(i.event_ts) AS last_ts
        FROM (
            SELECT f.wafer_key, w.root_lot_id, w.wafer_id, f.lot_key, l.lot_id, f.test_type, f.test_stage,
                   NULLIF(f.product_key, -1) AS known_product_key, f.test_program, f.program_revision,
                   f.event_ts, f.is_pass, f.fail_kind,
                   row_number() OVER unit = 1 AS is_first,
                   lead(f.event_ts) OVER unit IS NULL AS is_last,
                   bool_or(f.is_pass) OVER unit AS passed_once
            FROM dw.fact_test_results f
            LEFT JOIN dw.dim_wafer w ON w.wafer_key = f.wafer_key AND w.is_current
            LEFT JOIN dw.dim_lot l ON l.lot_key = f.lot_key AND l.is_current
            WHERE f.is_pass IS NOT NULL
            WINDOW unit AS (
                PARTITION BY f.wafer_key, f.lot_key, f.test_type, f.test_stage,
                             CASE WHEN f.die_y IS NOT NULL THEN f.die_x END,
                             CASE WHEN f.die_x IS NOT NULL THEN f.die_y END,
                             CASE WHEN f.die_x IS NULL OR f.die_y IS NULL THEN
                                 coalesce(f.part_id, f.batch_id || ' ' || CAST(f.source_record_no AS text)) END,
                             w.root_lot_id, w.wafer_id, l.lot_id
                ORDER BY f.event_ts, f.insertion_no, f.source_record_no, f.batch_id
            )
        ) i
        GROUP BY i.wafer_key, i.lot_key, i.test_type, i.test_stage, i.root_lot_id, i.wafer_id, i.lot_id
    ) w
    CROSS JOIN (VALUES (CAST('FIRST' AS text)), ('LAST'), ('BEST')) AS b (basis)
) y
LEFT JOIN dw.dim_product p ON p.product_key = y.product_key AND p.is_current;

COMMENT ON VIEW dw.v_wafer_yield IS 'Yield by wafer, lot, test type and stage, three rows each: by the first, last and best result of a unit. A unit is a die, or a part where the die is not known. Insertions without a verdict are left out';

COMMENT ON COLUMN dw.v_wafer_yield.wafer_key IS 'Wafer (dim_wafer)';

COMMENT ON COLUMN dw.v_wafer_yield.root_lot_id IS 'Lot the wafer was started in';

COMMENT ON COLUMN dw.v_wafer_yield.wafer_id IS 'Wafer in its root lot';

COMMENT ON COLUMN dw.v_wafer_yield.lot_key IS 'Lot at the event (dim_lot)';

COMMENT ON COLUMN dw.v_wafer_yield.lot_id IS 'Lot at the event';

COMMENT ON COLUMN dw.v_wafer_yield.product_key IS 'Product (dim_product); -1 where none or several were named';

COMMENT ON COLUMN dw.v_wafer_yield.product_id IS 'Product';

COMMENT ON COLUMN dw.v_wafer_yield.product_revision IS 'Design revision';

COMMENT ON COLUMN dw.v_wafer_yield.test_type IS 'WAT, CP or FT';

COMMENT ON COLUMN dw.v_wafer_yield.test_stage IS 'Test stage';

COMMENT ON COLUMN dw.v_wafer_yield.test_program IS 'Test program; NULL where several were used';

COMMENT ON COLUMN dw.v_wafer_yield.program_revision IS 'Revision of the program; NULL where several were used';

COMMENT ON COLUMN dw.v_wafer_yield.basis IS 'Result of a unit that counts: FIRST, LAST, or BEST (good once is good)';

COMMENT ON COLUMN dw.v_wafer_yield.insertions IS 'Insertions with a verdict, count';

COMMENT ON COLUMN dw.v_wafer_yield.tested IS 'Units tested, count';

COMMENT ON COLUMN dw.v_wafer_yield.good IS 'Units good, count';

COMMENT ON COLUMN dw.v_wafer_yield.functional_fails IS 'Units that failed a functional test, count';

COMMENT ON COLUMN dw.v_wafer_yield.parametric_fails IS 'Units that failed parametric tests only, count';

COMMENT ON COLUMN dw.v_wafer_yield.die_yield_pct IS '100 good / tested, percent';

COMMENT ON COLUMN dw.v_wafer_yield.functional_yield_pct IS '100 (1 - functional fails / tested), percent';

COMMENT ON COLUMN dw.v_wafer_yield.parametric_yield_pct IS '100 (1 - parametric fails / functionally good), percent; NULL where none was';

COMMENT ON COLUMN dw.v_wafer_yield.first_ts IS 'First event, UTC';

COMMENT ON COLUMN dw.v_wafer_yield.last_ts IS 'Last event, UTC';

DROP VIEW dw.v_test_values;

CREATE VIEW dw.v_test_values AS
SELECT v.wafer_key, v.root_lot_id, v.wafer_id, v.lot_key, v.lot_id, v.product_key, v.process_step_key, v.process_flow_id, v.flow_version, v.step_number, v.step_name, v.event_ts, v.test_type, v.test_stage, v.test_program, v.program_revision, v.tester_key, v.head_no, v.site_no, v.die_x, v.die_y, v.part_id, v.insertion_no, v.retest_no, v.is_first_pass, v.is_final_result, v.is_pass, v.batch_id, v.source_record_no, v.parameter AS test_number, m.name AS test_name,
       v.value, coalesce(m.unit, v.own_unit) AS unit, m.lsl, m.usl, m.limit_version,
       CASE WHEN m.lsl IS NOT NULL OR m.usl IS NOT NULL THEN coalesce(v.value >= m.lsl, true) AND coalesce(v.value <= m.usl, true) END AS is_in_spec
FROM (
    SELECT f.wafer_key, w.root_lot_id, w.wafer_id, f.lot_key, l.lot_id, f.product_key, f.process_step_key, s.process_flow_id, s.flow_version, s.step_number, s.step_name, f.event_ts, f.test_type, f.test_stage, f.test_program, f.program_revision, f.tester_key, f.head_no, f.site_no, f.die_x, f.die_y, f.part_id, f.insertion_no, f.retest_no, f.is_first_pass, f.is_final_result, f.is_pass, f.batch_id, f.source_record_no, j.key AS parameter,
           CASE WHEN jsonb_typeof(j.value) = 'number'
                THEN CAST(CAST(j.value AS text) AS double precision) END AS value,
           CAST(NULL AS text) AS own_unit
    FROM dw.fact_test_results f
    CROSS JOIN LATERAL jsonb_each(f.parameters) AS j (key, value)
    LEFT JOIN dw.dim_wafer w ON w.wafer_key = f.wafer_key AND w.is_current
    LEFT JOIN dw.dim_lot l ON l.lot_key = f.lot_key AND l.is_current
    LEFT JOIN dw.dim_process_step s ON s.process_step_key = f.process_step_key AND s.is_current
    WHERE true
    UNION ALL
    SELECT f.wafer_key, w.root_lot_id, w.wafer_id, f.lot_key, l.lot_id, f.product_key, f.process_step_key, s.process_flow_id, s.flow_version, s.step_number, s.step_name, f.event_ts, f.test_type, f.test_stage, f.test_program, f.program_revision, f.tester_key, f.head_no, f.site_no, f.die_x, f.die_y, f.part_id, f.insertion_no, f.retest_no, f.is_first_pass, f.is_final_result, f.is_pass, f.batch_id, f.source_record_no,
           unnest(CAST(ARRAY['vth_mv', 'idsat_ua_um', 'ileak_pa_um', 'tox_nm', 'rs_ohm_sq', 'rc_ohm', 'gm_ms_mm', 'bvdss_v', 'idd_ma', 'fmax_mhz'] AS text[])) AS parameter,
           unnest(ARRAY[f.vth_mv, f.idsat_ua_um, f.ileak_pa_um, f.tox_nm, f.rs_ohm_sq, f.rc_ohm, f.gm_ms_mm, f.bvdss_v, f.idd_ma, f.fmax_mhz]) AS value,
           unnest(CAST(ARRAY['mV', 'uA/um', 'pA/um', 'nm', 'ohm/sq', 'ohm', 'mS/mm', 'V', 'mA', 'MHz'] AS text[])) AS own_unit
    FROM dw.fact_test_results f
    LEFT JOIN dw.dim_wafer w ON w.wafer_key = f.wafer_key AND w.is_current
    LEFT JOIN dw.dim_lot l ON l.lot_key = f.lot_key AND l.is_current
    LEFT JOIN dw.dim_process_step s ON s.process_step_key = f.process_step_key AND s.is_current
    WHERE true
    AND coalesce(f.vth_mv, f.idsat_ua_um, f.ileak_pa_um, f.tox_nm, f.rs_ohm_sq, f.rc_ohm, f.gm_ms_mm, f.bvdss_v, f.idd_ma, f.fmax_mhz) IS NOT NULL
) v
LEFT JOIN (
    SELECT s.process_step_key, s.effective_date, s.expiry_date, j.key AS parameter,
           j.value ->> 'name' AS name,
           j.value ->> 'unit' AS unit,
           j.value ->> 'limit_version' AS limit_version,
           CASE WHEN jsonb_typeof(j.value -> 'lsl') = 'number' THEN CAST(j.value ->> 'lsl' AS double precision) END AS lsl,
           CASE WHEN jsonb_typeof(j.value -> 'lcl') = 'number' THEN CAST(j.value ->> 'lcl' AS double precision) END AS lcl,
           CASE WHEN jsonb_typeof(j.value -> 'target') = 'number' THEN CAST(j.value ->> 'target' AS double precision) END AS target,
           CASE WHEN jsonb_typeof(j.value -> 'ucl') = 'number' THEN CAST(j.value ->> 'ucl' AS double precision) END AS ucl,
           CASE WHEN jsonb_typeof(j.value -> 'usl') = 'number' THEN CAST(j.value ->> 'usl' AS double precision) END AS usl
    FROM dw.dim_process_step s
    CROSS JOIN LATERAL jsonb_each(s.control_limits) AS j (key, value)
    OFFSET 0
) m ON m.process_step_key = v.process_step_key AND m.parameter = v.parameter
   AND v.event_ts >= m.effective_date AND v.event_ts < m.expiry_date
WHERE v.value IS NOT NULL;

COMMENT ON VIEW dw.v_test_values IS 'Parametric test results: a row per insertion of a unit and test number, with the limits in force';

COMMENT ON COLUMN dw.v_test_values.wafer_key IS 'Wafer (dim_wafer)';

COMMENT ON COLUMN dw.v_test_values.root_lot_id IS 'Lot the wafer was started in';

COMMENT ON COLUMN dw.v_test_values.wafer_id IS 'Wafer in its root lot';

COMMENT ON COLUMN dw.v_test_values.lot_key IS 'Lot at the event (dim_lot)';

COMMENT ON COLUMN dw.v_test_values.lot_id IS 'Lot at the event';

COMMENT ON COLUMN dw.v_test_values.product_key IS 'Product (dim_product)';

COMMENT ON COLUMN dw.v_test_values.process_step_key IS 'Step (dim_process_step)';

COMMENT ON COLUMN dw.v_test_values.process_flow_id IS 'Process flow, or test program';

COMMENT ON COLUMN dw.v_test_values.flow_version IS 'Version of the flow';

COMMENT ON COLUMN dw.v_test_values.step_number IS 'Step of the flow, or test stage';

COMMENT ON COLUMN dw.v_test_values.step_name IS 'Name of the step';

COMMENT ON COLUMN dw.v_test_values.event_ts IS 'Event, UTC';

COMMENT ON COLUMN dw.v_test_values.test_type IS 'WAT, CP or FT';

COMMENT ON COLUMN dw.v_test_values.test_stage IS 'Test stage';

COMMENT ON COLUMN dw.v_test_values.test_program IS 'Test program';

COMMENT ON COLUMN dw.v_test_values.program_revision IS 'Revision of the program';

COMMENT ON COLUMN dw.v_test_values.tester_key IS 'Tester (dim_equipment)';

COMMENT ON COLUMN dw.v_test_values.head_no IS 'Test head';

COMMENT ON COLUMN dw.v_test_values.site_no IS 'Test site';

COMMENT ON COLUMN dw.v_test_values.die_x IS 'Die column';

COMMENT ON COLUMN dw.v_test_values.die_y IS 'Die row';

COMMENT ON COLUMN dw.v_test_values.part_id IS 'Part';

COMMENT ON COLUMN dw.v_test_values.insertion_no IS 'Insertion of the unit in its file';

COMMENT ON COLUMN dw.v_test_values.retest_no IS 'Retests before it';

COMMENT ON COLUMN dw.v_test_values.is_first_pass IS 'Whether it is the unit''s first insertion in its file';

COMMENT ON COLUMN dw.v_test_values.is_final_result IS 'Whether it is the unit''s last insertion in its file';

COMMENT ON COLUMN dw.v_test_values.is_pass IS 'Whether the unit passed this insertion';

COMMENT ON COLUMN dw.v_test_values.batch_id IS 'Batch that loaded it (etl_load_batch)';

COMMENT ON COLUMN dw.v_test_values.source_record_no IS 'Number of the record in its source';

COMMENT ON COLUMN dw.v_test_values.test_number IS 'Test number as text, or the name of the measure''s column';

COMMENT ON COLUMN dw.v_test_values.test_name IS 'Name of the test (STDF V4 PTR.TEST_TXT)';

COMMENT ON COLUMN dw.v_test_values.value IS 'Value, in the unit given';

COMMENT ON COLUMN dw.v_test_values.unit IS 'Unit: that of the limits in force, else that of the measure''s column';

COMMENT ON COLUMN dw.v_test_values.lsl IS 'Lower specification limit in force at the event';

COMMENT ON COLUMN dw.v_test_values.usl IS 'Upper specification limit in force at the event';

COMMENT ON COLUMN dw.v_test_values.limit_version IS 'Version of the limits in force';

COMMENT ON COLUMN dw.v_test_values.is_in_spec IS 'Whether lsl <= value <= usl; NULL where there is no limit';

DROP VIEW dw.v_process_values;

CREATE VIEW dw.v_process_values AS
SELECT v.wafer_key, v.root_lot_id, v.wafer_id, v.lot_key, v.lot_id, v.product_key, v.process_step_key, v.process_flow_id, v.flow_version, v.step_number, v.step_name, v.recipe_key, v.equipment_key, v.equipment_id, v.chamber_key, v.chamber_id, v.event_ts, v.measurement_type, v.visit_no, v.is_rework, v.site_no, v.site_x_mm, v.site_y_mm, v.batch_id, v.source_record_no, v.parameter, v.value, coalesce(m.unit, v.own_unit) AS unit,
       m.lsl, m.usl, m.limit_version, CASE WHEN m.lsl IS NOT NULL OR m.usl IS NOT NULL THEN coalesce(v.value >= m.lsl, true) AND coalesce(v.value <= m.usl, true) END AS is_in_spec,
       m.lcl, m.target, m.ucl, CASE WHEN m.lcl IS NOT NULL OR m.ucl IS NOT NULL THEN coalesce(v.value >= m.lcl, true) AND coalesce(v.value <= m.ucl, true) END AS is_in_control
FROM (
    SELECT f.wafer_key, w.root_lot_id, w.wafer_id, f.lot_key, l.lot_id, f.product_key, f.process_step_key, s.process_flow_id, s.flow_version, s.step_number, s.step_name, f.recipe_key, f.equipment_key, e.equipment_id, f.chamber_key, c.chamber_id, f.event_ts, f.measurement_type, f.visit_no, f.is_rework, f.site_no, f.site_x_mm, f.site_y_mm, f.batch_id, f.source_record_no, j.key AS parameter,
           CASE WHEN jsonb_typeof(j.value) = 'number'
                THEN CAST(CAST(j.value AS text) AS double precision) END AS value,
           CAST(NULL AS text) AS own_unit
    FROM dw.fact_process_measurements f
    CROSS JOIN LATERAL jsonb_each(f.parameters) AS j (key, value)
    LEFT JOIN dw.dim_wafer w ON w.wafer_key = f.wafer_key AND w.is_current
    LEFT JOIN dw.dim_lot l ON l.lot_key = f.lot_key AND l.is_current
    LEFT JOIN dw.dim_process_step s ON s.process_step_key = f.process_step_key AND s.is_current
    LEFT JOIN dw.dim_equipment e ON e.equipment_key = f.equipment_key AND e.is_current
    LEFT JOIN dw.dim_equipment c ON c.equipment_key = f.chamber_key AND c.is_current
    WHERE true
    UNION ALL
    SELECT f.wafer_key, w.root_lot_id, w.wafer_id, f.lot_key, l.lot_id, f.product_key, f.process_step_key, s.process_flow_id, s.flow_version, s.step_number, s.step_name, f.recipe_key, f.equipment_key, e.equipment_id, f.chamber_key, c.chamber_id, f.event_ts, f.measurement_type, f.visit_no, f.is_rework, f.site_no, f.site_x_mm, f.site_y_mm, f.batch_id, f.source_record_no,
           unnest(CAST(ARRAY['temperature_c', 'pressure_torr', 'rf_power_w', 'rf_bias_power_w', 'reflected_power_w', 'gas_flow_sccm', 'chuck_temp_c', 'endpoint_time_s', 'film_thickness_nm', 'cd_nm', 'overlay_x_nm', 'overlay_y_nm', 'etch_rate_nm_min', 'deposition_rate_nm_min', 'removal_rate_nm_min', 'refractive_index', 'sheet_resistance_ohm_sq', 'uniformity_pct'] AS text[])) AS parameter,
           unnest(ARRAY[f.temperature_c, f.pressure_torr, f.rf_power_w, f.rf_bias_power_w, f.reflected_power_w, f.gas_flow_sccm, f.chuck_temp_c, f.endpoint_time_s, f.film_thickness_nm, f.cd_nm, f.overlay_x_nm, f.overlay_y_nm, f.etch_rate_nm_min, f.deposition_rate_nm_min, f.removal_rate_nm_min, f.refractive_index, f.sheet_resistance_ohm_sq, f.uniformity_pct]) AS value,
           unnest(CAST(ARRAY['degC', 'Torr', 'W', 'W', 'W', 'sccm', 'degC', 's', 'nm', 'nm', 'nm', 'nm', 'nm/min', 'nm/min', 'nm/min', '1', 'ohm/sq', 'percent'] AS text[])) AS own_unit
    FROM dw.fact_process_measurements f
    LEFT JOIN dw.dim_wafer w ON w.wafer_key = f.wafer_key AND w.is_current
    LEFT JOIN dw.dim_lot l ON l.lot_key = f.lot_key AND l.is_current
    LEFT JOIN dw.dim_process_step s ON s.process_step_key = f.process_step_key AND s.is_current
    LEFT JOIN dw.dim_equipment e ON e.equipment_key = f.equipment_key AND e.is_current
    LEFT JOIN dw.dim_equipment c ON c.equipment_key = f.chamber_key AND c.is_current
    WHERE true
    AND coalesce(f.temperature_c, f.pressure_torr, f.rf_power_w, f.rf_bias_power_w, f.reflected_power_w, f.gas_flow_sccm, f.chuck_temp_c, f.endpoint_time_s, f.film_thickness_nm, f.cd_nm, f.overlay_x_nm, f.overlay_y_nm, f.etch_rate_nm_min, f.deposition_rate_nm_min, f.removal_rate_nm_min, f.refractive_index, f.sheet_resistance_ohm_sq, f.uniformity_pct) IS NOT NULL
) v
LEFT JOIN (
    SELECT s.process_step_key, s.effective_date, s.expiry_date, j.key AS parameter,
           j.value ->> 'name' AS name,
           j.value ->> 'unit' AS unit,
           j.value ->> 'limit_version' AS limit_version,
           CASE WHEN jsonb_typeof(j.value -> 'lsl') = 'number' THEN CAST(j.value ->> 'lsl' AS double precision) END AS lsl,
           CASE WHEN jsonb_typeof(j.value -> 'lcl') = 'number' THEN CAST(j.value ->> 'lcl' AS double precision) END AS lcl,
           CASE WHEN jsonb_typeof(j.value -> 'target') = 'number' THEN CAST(j.value ->> 'target' AS double precision) END AS target,
           CASE WHEN jsonb_typeof(j.value -> 'ucl') = 'number' THEN CAST(j.value ->> 'ucl' AS double precision) END AS ucl,
           CASE WHEN jsonb_typeof(j.value -> 'usl') = 'number' THEN CAST(j.value ->> 'usl' AS double precision) END AS usl
    FROM dw.dim_process_step s
    CROSS JOIN LATERAL jsonb_each(s.control_limits) AS j (key, value)
    OFFSET 0
) m ON m.process_step_key = v.process_step_key AND m.parameter = v.parameter
   AND v.event_ts >= m.effective_date AND v.event_ts < m.expiry_date
WHERE v.value IS NOT NULL;

COMMENT ON VIEW dw.v_process_values IS 'Measured values: a row per measurement and parameter, with the limits in force; a bare visit has none';

COMMENT ON COLUMN dw.v_process_values.wafer_key IS 'Wafer (dim_wafer)';

COMMENT ON COLUMN dw.v_process_values.root_lot_id IS 'Lot the wafer was started in';

COMMENT ON COLUMN dw.v_process_values.wafer_id IS 'Wafer in its root lot';

COMMENT ON COLUMN dw.v_process_values.lot_key IS 'Lot at the event (dim_lot)';

COMMENT ON COLUMN dw.v_process_values.lot_id IS 'Lot at the event';

COMMENT ON COLUMN dw.v_process_values.product_key IS 'Product (dim_product)';

COMMENT ON COLUMN dw.v_process_values.process_step_key IS 'Step (dim_process_step)';

COMMENT ON COLUMN dw.v_process_values.process_flow_id IS 'Process flow, or test program';

COMMENT ON COLUMN dw.v_process_values.flow_version IS 'Version of the flow';

COMMENT ON COLUMN dw.v_process_values.step_number IS 'Step of the flow, or test stage';

COMMENT ON COLUMN dw.v_process_values.step_name IS 'Name of the step';

COMMENT ON COLUMN dw.v_process_values.recipe_key IS 'Recipe (dim_recipe)';

COMMENT ON COLUMN dw.v_process_values.equipment_key IS 'Tool (dim_equipment)';

COMMENT ON COLUMN dw.v_process_values.equipment_id IS 'Tool';

COMMENT ON COLUMN dw.v_process_values.chamber_key IS 'Chamber (dim_equipment)';

COMMENT ON COLUMN dw.v_process_values.chamber_id IS 'Chamber; empty where there was none';

COMMENT ON COLUMN dw.v_process_values.event_ts IS 'Event, UTC';

COMMENT ON COLUMN dw.v_process_values.measurement_type IS 'TRACK, FDC or METROLOGY';

COMMENT ON COLUMN dw.v_process_values.visit_no IS 'Visit of the wafer to the step';

COMMENT ON COLUMN dw.v_process_values.is_rework IS 'Whether the visit was a rework';

COMMENT ON COLUMN dw.v_process_values.site_no IS 'Measured site; 0 for the wafer as a whole';

COMMENT ON COLUMN dw.v_process_values.site_x_mm IS 'Site in x from the wafer''s centre, mm';

COMMENT ON COLUMN dw.v_process_values.site_y_mm IS 'Site in y from the wafer''s centre, mm';

COMMENT ON COLUMN dw.v_process_values.batch_id IS 'Batch that loaded it (etl_load_batch)';

COMMENT ON COLUMN dw.v_process_values.source_record_no IS 'Number of the record in its source';

COMMENT ON COLUMN dw.v_process_values.parameter IS 'Name in parameters, or of the measure''s column';

COMMENT ON COLUMN dw.v_process_values.value IS 'Value, in the unit given';

COMMENT ON COLUMN dw.v_process_values.unit IS 'Unit: that of the limits in force, else that of the measure''s column';

COMMENT ON COLUMN dw.v_process_values.lsl IS 'Lower specification limit in force at the event';

COMMENT ON COLUMN dw.v_process_values.usl IS 'Upper specification limit in force at the event';

COMMENT ON COLUMN dw.v_process_values.limit_version IS 'Version of the limits in force';

COMMENT ON COLUMN dw.v_process_values.is_in_spec IS 'Whether lsl <= value <= usl; NULL where there is no limit';

COMMENT ON COLUMN dw.v_process_values.lcl IS 'Lower control limit in force at the event';

COMMENT ON COLUMN dw.v_process_values.target IS 'Target in force at the event';

COMMENT ON COLUMN dw.v_process_values.ucl IS 'Upper control limit in force at the event';

COMMENT ON COLUMN dw.v_process_values.is_in_control IS 'Whether lcl <= value <= ucl; NULL where there is no limit';

DROP VIEW dw.v_process_capability;

CREATE VIEW dw.v_process_capability AS
SELECT g.source, g.process_step_key, g.process_flow_id, g.flow_version, g.step_number, g.step_name, g.product_key, g.product_id, g.product_revision,
       g.parameter, g.unit, g.limit_version, g.lsl, g.target, g.usl,
       g.n, g.mean, g.sigma, g.min_value, g.max_value,
       CASE WHEN g.sigma > 0 THEN (g.usl - g.lsl) / (6 * g.sigma) END AS cp,
       CASE WHEN g.sigma > 0 THEN least(g.usl - g.mean, g.mean - g.lsl) / (3 * g.sigma) END AS cpk
FROM (
    SELECT v.source, v.process_step_key, v.process_flow_id, v.flow_version, v.step_number, v.step_name, v.product_key, v.product_id, v.product_revision, v.parameter,
           coalesce(m.unit, v.own_unit) AS unit, m.limit_version, m.lsl, m.target, m.usl,
           count(*) AS n, avg(v.value) AS mean, min(v.value) AS min_value, max(v.value) AS max_value,
           CASE WHEN count(*) > 1 AND min(v.value) = max(v.value) THEN 0
                ELSE stddev_samp(v.value - coalesce(m.target, (m.lsl + m.usl) / 2, m.lsl, m.usl, 0))
           END AS sigma
    FROM (
        SELECT CAST('PROCESS' AS text) AS source, p.*
        FROM (
            SELECT f.process_step_key, s.process_flow_id, s.flow_version, s.step_number, s.step_name, f.product_key, p.product_id, p.product_revision, f.event_ts, j.key AS parameter,
                   CASE WHEN jsonb_typeof(j.value) = 'number'
                        THEN CAST(CAST(j.value AS text) AS double precision) END AS value,
                   CAST(NULL AS text) AS own_unit
            FROM dw.fact_process_measurements f
            CROSS JOIN LATERAL jsonb_each(f.parameters) AS j (key, value)
            LEFT JOIN dw.dim_process_step s ON s.process_step_key = f.process_step_key AND s.is_current
            LEFT JOIN (
                SELECT product_key, product_id, revision AS product_revision FROM dw.dim_product WHERE is_current
            ) p ON p.product_key = f.product_key
            WHERE true
            UNION ALL
            SELECT f.process_step_key, s.process_flow_id, s.flow_version, s.step_number, s.step_name, f.product_key, p.product_id, p.product_revision, f.event_ts,
                   unnest(CAST(ARRAY['temperature_c', 'pressure_torr', 'rf_power_w', 'rf_bias_power_w', 'reflected_power_w', 'gas_flow_sccm', 'chuck_temp_c', 'endpoint_time_s', 'film_thickness_nm', 'cd_nm', 'overlay_x_nm', 'overlay_y_nm', 'etch_rate_nm_min', 'deposition_rate_nm_min', 'removal_rate_nm_min', 'refractive_index', 'sheet_resistance_ohm_sq', 'uniformity_pct'] AS text[])) AS parameter,
                   unnest(ARRAY[f.temperature_c, f.pressure_torr, f.rf_power_w, f.rf_bias_power_w, f.reflected_power_w, f.gas_flow_sccm, f.chuck_temp_c, f.endpoint_time_s, f.film_thickness_nm, f.cd_nm, f.overlay_x_nm, f.overlay_y_nm, f.etch_rate_nm_min, f.deposition_rate_nm_min, f.removal_rate_nm_min, f.refractive_index, f.sheet_resistance_ohm_sq, f.uniformity_pct]) AS value,
                   unnest(CAST(ARRAY['degC', 'Torr', 'W', 'W', 'W', 'sccm', 'degC', 's', 'nm', 'nm', 'nm', 'nm', 'nm/min', 'nm/min', 'nm/min', '1', 'ohm/sq', 'percent'] AS text[])) AS own_unit
            FROM dw.fact_process_measurements f
            LEFT JOIN dw.dim_process_step s ON s.process_step_key = f.process_step_key AND s.is_current
            LEFT JOIN (
                SELECT product_key, product_id, revision AS product_revision FROM dw.dim_product WHERE is_current
            ) p ON p.product_key = f.product_key
            WHERE true
            AND coalesce(f.temperature_c, f.pressure_torr, f.rf_power_w, f.rf_bias_power_w, f.reflected_power_w, f.gas_flow_sccm, f.chuck_temp_c, f.endpoint_time_s, f.film_thickness_nm, f.cd_nm, f.overlay_x_nm, f.overlay_y_nm, f.etch_rate_nm_min, f.deposition_rate_nm_min, f.removal_rate_nm_min, f.refractive_index, f.sheet_resistance_ohm_sq, f.uniformity_pct) IS NOT NULL
        ) p
        UNION ALL
        SELECT CAST('TEST' AS text) AS source, t.*
        FROM (
            SELECT f.process_step_key, s.process_flow_id, s.flow_version, s.step_number, s.step_name, f.product_key, p.product_id, p.product_revision, f.event_ts, j.key AS parameter,
                   CASE WHEN jsonb_typeof(j.value) = 'number'
                        THEN CAST(CAST(j.value AS text) AS double precision) END AS value,
                   CAST(NULL AS text) AS own_unit
            FROM dw.fact_test_results f
            CROSS JOIN LATERAL jsonb_each(f.parameters) AS j (key, value)
            LEFT JOIN dw.dim_process_step s ON s.process_step_key = f.process_step_key AND s.is_current
            LEFT JOIN (
                SELECT product_key, product_id, revision AS product_revision FROM dw.dim_product WHERE is_current
            ) p ON p.product_key = f.product_key
            WHERE f.is_final_result IS DISTINCT FROM false
            UNION ALL
            SELECT f.process_step_key, s.process_flow_id, s.flow_version, s.step_number, s.step_name, f.product_key, p.product_id, p.product_revision, f.event_ts,
                   unnest(CAST(ARRAY['vth_mv', 'idsat_ua_um', 'ileak_pa_um', 'tox_nm', 'rs_ohm_sq', 'rc_ohm', 'gm_ms_mm', 'bvdss_v', 'idd_ma', 'fmax_mhz'] AS text[])) AS parameter,
                   unnest(ARRAY[f.vth_mv, f.idsat_ua_um, f.ileak_pa_um, f.tox_nm, f.rs_ohm_sq, f.rc_ohm, f.gm_ms_mm, f.bvdss_v, f.idd_ma, f.fmax_mhz]) AS value,
                   unnest(CAST(ARRAY['mV', 'uA/um', 'pA/um', 'nm', 'ohm/sq', 'ohm', 'mS/mm', 'V', 'mA', 'MHz'] AS text[])) AS own_unit
            FROM dw.fact_test_results f
            LEFT JOIN dw.dim_process_step s ON s.process_step_key = f.process_step_key AND s.is_current
            LEFT JOIN (
                SELECT product_key, product_id, revision AS product_revision FROM dw.dim_product WHERE is_current
            ) p ON p.product_key = f.product_key
            WHERE f.is_final_result IS DISTINCT FROM false
            AND coalesce(f.vth_mv, f.idsat_ua_um, f.ileak_pa_um, f.tox_nm, f.rs_ohm_sq, f.rc_ohm, f.gm_ms_mm, f.bvdss_v, f.idd_ma, f.fmax_mhz) IS NOT NULL
        ) t
    ) v
    LEFT JOIN (
        SELECT s.process_step_key, s.effective_date, s.expiry_date, j.key AS parameter,
               j.value ->> 'name' AS name,
               j.value ->> 'unit' AS unit,
               j.value ->> 'limit_version' AS limit_version,
               CASE WHEN jsonb_typeof(j.value -> 'lsl') = 'number' THEN CAST(j.value ->> 'lsl' AS double precision) END AS lsl,
               CASE WHEN jsonb_typeof(j.value -> 'lcl') = 'number' THEN CAST(j.value ->> 'lcl' AS double precision) END AS lcl,
               CASE WHEN jsonb_typeof(j.value -> 'target') = 'number' THEN CAST(j.value ->> 'target' AS double precision) END AS target,
               CASE WHEN jsonb_typeof(j.value -> 'ucl') = 'number' THEN CAST(j.value ->> 'ucl' AS double precision) END AS ucl,
               CASE WHEN jsonb_typeof(j.value -> 'usl') = 'number' THEN CAST(j.value ->> 'usl' AS double precision) END AS usl
        FROM dw.dim_process_step s
        CROSS JOIN LATERAL jsonb_each(s.control_limits) AS j (key, value)
        OFFSET 0
    ) m ON m.process_step_key = v.process_step_key AND m.parameter = v.parameter
       AND v.event_ts >= m.effective_date AND v.event_ts < m.expiry_date
    WHERE v.value IS NOT NULL
    GROUP BY v.source, v.process_step_key, v.process_flow_id, v.flow_version, v.step_number, v.step_name, v.product_key, v.product_id, v.product_revision, v.parameter,
             coalesce(m.unit, v.own_unit), m.limit_version, m.lsl, m.target, m.usl
) g;

COMMENT ON VIEW dw.v_process_capability IS 'Capability by step, product, parameter and set of limits, over all events; test results by the last insertion of a unit in its file';

COMMENT ON COLUMN dw.v_process_capability.source IS 'PROCESS (fact_process_measurements) or TEST (fact_test_results)';

COMMENT ON COLUMN dw.v_process_capability.process_step_key IS 'Step (dim_process_step)';

COMMENT ON COLUMN dw.v_process_capability.process_flow_id IS 'Process flow, or test program';

COMMENT ON COLUMN dw.v_process_capability.flow_version IS 'Version of the flow';

COMMENT ON COLUMN dw.v_process_capability.step_number IS 'Step of the flow, or test stage';

COMMENT ON COLUMN dw.v_process_capability.step_name IS 'Name of the step';

COMMENT ON COLUMN dw.v_process_capability.product_key IS 'Product (dim_product)';

COMMENT ON COLUMN dw.v_process_capability.product_id IS 'Product';

COMMENT ON COLUMN dw.v_process_capability.product_revision IS 'Design revision';

COMMENT ON COLUMN dw.v_process_capability.parameter IS 'Name of the parameter, or test number';

COMMENT ON COLUMN dw.v_process_capability.unit IS 'Unit of value and limits';

COMMENT ON COLUMN dw.v_process_capability.limit_version IS 'Version of the limits';

COMMENT ON COLUMN dw.v_process_capability.lsl IS 'Lower specification limit';

COMMENT ON COLUMN dw.v_process_capability.target IS 'Target';

COMMENT ON COLUMN dw.v_process_capability.usl IS 'Upper specification limit';

COMMENT ON COLUMN dw.v_process_capability.n IS 'Values, count';

COMMENT ON COLUMN dw.v_process_capability.mean IS 'Mean of the values';

COMMENT ON COLUMN dw.v_process_capability.sigma IS 'Sample standard deviation of all values; NULL for fewer than two';

COMMENT ON COLUMN dw.v_process_capability.min_value IS 'Least value';

COMMENT ON COLUMN dw.v_process_capability.max_value IS 'Greatest value';

COMMENT ON COLUMN dw.v_process_capability.cp IS '(USL - LSL) / 6 sigma; NULL where sigma = 0, n < 2, or a limit is missing';

COMMENT ON COLUMN dw.v_process_capability.cpk IS 'min(USL - mean, mean - LSL) / 3 sigma, from the one side where a limit is missing; NULL where sigma = 0, n < 2, or both are';

COMMENT ON COLUMN dw.fact_process_measurements.parameters IS 'Everything measured that has no column: {name: number}';

COMMENT ON COLUMN dw.fact_test_results.parameters IS 'Parametric results: {test number: value}, the last value where a number repeats; its unit and limits stand in dim_process_step.control_limits (STDF V4 PTR.RESULT, MPR.RTN_RSLT)';

COMMENT ON COLUMN dw.fact_test_results.parameter_counts IS 'How often a test number came in the insertion, where more than once: {test number: count}';

ALTER TABLE dw.fact_test_results DROP CONSTRAINT ck_fact_test_results_own_limits;

ALTER TABLE dw.fact_process_measurements DROP COLUMN measured;

ALTER TABLE dw.fact_process_measurements DROP COLUMN parameter_set_key;

ALTER TABLE dw.fact_test_results DROP COLUMN retest_of_bins;

ALTER TABLE dw.fact_test_results DROP COLUMN sublot_id;

ALTER TABLE dw.fact_test_results DROP COLUMN unit_id;

ALTER TABLE dw.fact_test_results DROP COLUMN own_limits;

ALTER TABLE dw.fact_test_results DROP COLUMN failed;

ALTER TABLE dw.fact_test_results DROP COLUMN verdicts;

ALTER TABLE dw.fact_test_results DROP COLUMN measured;

ALTER TABLE dw.fact_test_results DROP COLUMN parameter_set_key;

DROP TABLE dw.bridge_step_limits;

DROP INDEX dw.uq_bridge_parameter_set_parameter;

DROP TABLE dw.bridge_parameter_set;

DROP INDEX dw.ix_agg_test_values_batch_id;

DROP TABLE dw.agg_test_values;

DROP INDEX dw.ix_agg_process_values_batch_id;

DROP TABLE dw.agg_process_values;

UPDATE dw.alembic_version SET version_num='0004' WHERE dw.alembic_version.version_num = '0005';

INSERT INTO dw.etl_migration_history (revision, direction, checksum, started_at, seconds, applied_by, package_version) VALUES ('0005', 'downgrade', '5df5b011c23994bc4ac8d930708130d60743b571aeeb386ac6f48d201b88a817', now(), date_part('epoch', clock_timestamp() - now()), CURRENT_USER, '0.1.0');

COMMIT;

BEGIN;

-- Running downgrade 0004 -> 0003

UPDATE dw.etl_load_batch b
SET status = CASE b.status WHEN 'DELETED' THEN 'FAILED' ELSE b.status END,
    error = NULLIF(CASE b.status
        WHEN 'LOADED' THEN CASE
            WHEN t.is_first IS NOT NULL AND t.any_month THEN t.is_first || '; in any month; ' || t.rest
            WHEN t.any_month THEN 'records may be in other batches: in any month; ' || t.rest
            WHEN t.is_first IS NULL AND t.rest = '' AND b.scattered IS NOT NULL THEN 'records may be in other batches: '
            ELSE concat_ws('; ', t.is_first, NULLIF(t.rest, '')) END
        WHEN 'DELETED' THEN CASE
            WHEN b.scattered IS NULL THEN t.deleted
            ELSE concat_ws('; ', 'records may be in other batches: ' || t.deleted,
                CASE WHEN t.any_month THEN 'before: in any month; ' || t.others WHEN t.others <> '' THEN 'before: ' || t.others END,
                b.error) END
        ELSE CASE WHEN b.may_hold_rows THEN 'rows may be there: ' || COALESCE(b.error, '') ELSE t.rest END
        END, '')
FROM (
    SELECT a.batch_id, a.is_first, a.scattered = 'ANY_MONTH' AND COALESCE(s.sentences, '') !~ ', now in ' AS any_month,
        concat_ws('; ', CASE WHEN a.status = 'FAILED' THEN a.error END, s.sentences, a.by_key,
            CASE WHEN a.status <> 'FAILED' THEN a.error END) AS rest,
        COALESCE(s.deleted, 'deleted: ' || a.rows_removed || ' rows; it can be loaded again') AS deleted,
        COALESCE(s.others, '') AS others
    FROM (
        SELECT o.*, 'in the place of ' || to_char(timezone('UTC', o.month_replaced), 'YYYY-MM') AS is_first,
            CASE WHEN o.origin <> 'DELETE' OR o.status <> 'LOADED' THEN NULL
                WHEN o.rows_replaced = 0 THEN '0 rows had these keys; batch ' || o.batch_id
                ELSE COALESCE(d.months || ': ', '') || o.rows_replaced || ' rows deleted by key' END AS by_key
        FROM dw.etl_load_batch o LEFT JOIN (
            SELECT by_batch_id, array_to_string(array_agg(DISTINCT to_char(timezone('UTC', month), 'YYYY-MM')), ', ') AS months
            FROM dw.etl_removal WHERE cause = 'KEY' GROUP BY by_batch_id
        ) d ON d.by_batch_id = o.batch_id
    ) a LEFT JOIN (
        SELECT n.batch_id, string_agg(n.sentence, '; ' ORDER BY n.place, n.removed_at, n.sentence) AS sentences,
            replace(max(CASE WHEN n.turn = 1 AND n.place < 3 THEN n.sentence END), ' of its rows', ' rows') AS deleted,
            string_agg(CASE WHEN n.turn > 1 OR n.place = 3 THEN n.sentence END, '; ' ORDER BY n.place, n.removed_at, n.sentence)
                AS others
        FROM (
            SELECT x.*, row_number() OVER (PARTITION BY x.batch_id ORDER BY x.place, x.removed_at DESC NULLS LAST, x.sentence) AS turn
            FROM (
    SELECT r.batch_id, r.removed_at, CASE r.cause WHEN 'BATCH_DELETED' THEN 1 WHEN 'MONTH_DELETED' THEN 2 ELSE 3 END AS place,
        CASE r.cause WHEN 'BATCH_DELETED' THEN 'deleted: ' || r.rows_removed || ' rows; it can be loaded again'
            WHEN 'MONTH_DELETED' THEN 'deleted with ' || r.month || ': ' || r.rows_removed || ' of its rows'
            WHEN 'MONTH_REPLACED' THEN r.month || ' replaced by batch ' || r.by_batch_id || ': ' || r.rows_removed || ' of its rows'
            WHEN 'KEY' THEN r.month || ': ' || r.rows_removed || ' rows by key, batch ' || r.by_batch_id
                || COALESCE(', now in ' || r.month_now, '')
            ELSE 'failed; ' || r.rows_removed || ' rows that it had left were deleted by '
                || COALESCE('batch ' || r.by_batch_id, 'wh.batches.delete') END AS sentence
    FROM (
        SELECT batch_id, cause, by_batch_id, rows_removed, removed_at, to_char(timezone('UTC', month), 'YYYY-MM') AS month,
            to_char(timezone('UTC', month_now), 'YYYY-MM') AS month_now
        FROM dw.etl_removal
    ) r) x
        ) n GROUP BY n.batch_id
    ) s ON s.batch_id = a.batch_id
) t WHERE t.batch_id = b.batch_id;

ALTER TABLE dw.etl_load_batch DROP CONSTRAINT ck_etl_load_batch_status;

ALTER TABLE dw.etl_load_batch ADD CONSTRAINT ck_etl_load_batch_status CHECK (status IN ('LOADED', 'FAILED'));

COMMENT ON COLUMN dw.etl_load_batch.status IS 'Outcome';

ALTER TABLE dw.etl_load_batch DROP CONSTRAINT ck_etl_load_batch_scattered;

ALTER TABLE dw.etl_load_batch DROP CONSTRAINT ck_etl_load_batch_rows_replaced;

ALTER TABLE dw.etl_load_batch DROP CONSTRAINT ck_etl_load_batch_rows_removed;

ALTER TABLE dw.etl_load_batch DROP CONSTRAINT ck_etl_load_batch_origin;

ALTER TABLE dw.etl_load_batch DROP COLUMN may_hold_rows;

ALTER TABLE dw.etl_load_batch DROP COLUMN scattered;

ALTER TABLE dw.etl_load_batch DROP COLUMN month_replaced;

ALTER TABLE dw.etl_load_batch DROP COLUMN rows_replaced;

ALTER TABLE dw.etl_load_batch DROP COLUMN rows_removed;

ALTER TABLE dw.etl_load_batch DROP COLUMN origin;

DROP TABLE dw.etl_removal;

UPDATE dw.alembic_version SET version_num='0003' WHERE dw.alembic_version.version_num = '0004';

INSERT INTO dw.etl_migration_history (revision, direction, checksum, started_at, seconds, applied_by, package_version) VALUES ('0004', 'downgrade', '4fedc3b387965cef5ba142c46d57c89900b2ec558f2f0262f7771793ad338498', now(), date_part('epoch', clock_timestamp() - now()), CURRENT_USER, '0.1.0');

COMMIT;

BEGIN;

-- Running downgrade 0003 -> 0002

DROP TABLE dw.etl_audit;

UPDATE dw.alembic_version SET version_num='0002' WHERE dw.alembic_version.version_num = '0003';

INSERT INTO dw.etl_migration_history (revision, direction, checksum, started_at, seconds, applied_by, package_version) VALUES ('0003', 'downgrade', '1264a92c6660daf9cc6288a9db051d1a1cbf5ee1a1b9ad31c2bcd9bc41c1e954', now(), date_part('epoch', clock_timestamp() - now()), CURRENT_USER, '0.1.0');

COMMIT;

BEGIN;

-- Running downgrade 0002 -> 0001

UPDATE dw.dim_equipment SET row_hash = row_hash || '@' || to_char(known_from AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
WHERE effective_date = '1900-01-01 00:00:00+00' AND known_from > effective_date AND known_from < expiry_date;

UPDATE dw.dim_product SET row_hash = row_hash || '@' || to_char(known_from AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
WHERE effective_date = '1900-01-01 00:00:00+00' AND known_from > effective_date AND known_from < expiry_date;

UPDATE dw.dim_process_step SET row_hash = row_hash || '@' || to_char(known_from AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
WHERE effective_date = '1900-01-01 00:00:00+00' AND known_from > effective_date AND known_from < expiry_date;

UPDATE dw.dim_recipe SET row_hash = row_hash || '@' || to_char(known_from AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
WHERE effective_date = '1900-01-01 00:00:00+00' AND known_from > effective_date AND known_from < expiry_date;

UPDATE dw.dim_lot SET row_hash = row_hash || '@' || to_char(known_from AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
WHERE effective_date = '1900-01-01 00:00:00+00' AND known_from > effective_date AND known_from < expiry_date;

UPDATE dw.dim_wafer SET row_hash = row_hash || '@' || to_char(known_from AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
WHERE effective_date = '1900-01-01 00:00:00+00' AND known_from > effective_date AND known_from < expiry_date;

ALTER TABLE dw.dim_wafer DROP COLUMN shown;

ALTER TABLE dw.dim_wafer DROP COLUMN told;

ALTER TABLE dw.dim_wafer DROP COLUMN known_from;

ALTER TABLE dw.dim_lot DROP COLUMN shown;

ALTER TABLE dw.dim_lot DROP COLUMN told;

ALTER TABLE dw.dim_lot DROP COLUMN known_from;

ALTER TABLE dw.dim_recipe DROP COLUMN shown;

ALTER TABLE dw.dim_recipe DROP COLUMN told;

ALTER TABLE dw.dim_recipe DROP COLUMN known_from;

ALTER TABLE dw.dim_process_step DROP COLUMN shown;

ALTER TABLE dw.dim_process_step DROP COLUMN told;

ALTER TABLE dw.dim_process_step DROP COLUMN known_from;

ALTER TABLE dw.dim_product DROP COLUMN shown;

ALTER TABLE dw.dim_product DROP COLUMN told;

ALTER TABLE dw.dim_product DROP COLUMN known_from;

ALTER TABLE dw.dim_equipment DROP COLUMN shown;

ALTER TABLE dw.dim_equipment DROP COLUMN told;

ALTER TABLE dw.dim_equipment DROP COLUMN known_from;

DROP INDEX dw.ix_etl_member_observation_member_key;

DROP TABLE dw.etl_member_observation;

ALTER TABLE dw.etl_load_batch DROP COLUMN source_checksum;

COMMENT ON VIEW dw.v_lot_genealogy IS 'Ancestors and descendants of every lot, any depth. A filter does not reach into it: for one lot use wh.genealogy(), which starts at the lot';

UPDATE dw.alembic_version SET version_num='0001' WHERE dw.alembic_version.version_num = '0002';

INSERT INTO dw.etl_migration_history (revision, direction, checksum, started_at, seconds, applied_by, package_version) VALUES ('0002', 'downgrade', '30ca4b942f484a2d6e8d05b5d822d6e47740a0a44b645f276a55f5c857f84a68', now(), date_part('epoch', clock_timestamp() - now()), CURRENT_USER, '0.1.0');

COMMIT;

BEGIN;

-- Running downgrade 0001 -> 

DROP VIEW dw.v_wafer_trace;

DROP VIEW dw.v_lot_status;

DROP VIEW dw.v_lot_genealogy;

DROP VIEW dw.v_equipment_state;

DROP VIEW dw.v_equipment_oee_monthly;

DROP VIEW dw.v_equipment_oee;

DROP VIEW dw.v_inspection_summary;

DROP VIEW dw.v_process_capability;

DROP VIEW dw.v_process_values;

DROP VIEW dw.v_test_values;

DROP VIEW dw.v_wafer_yield;

DROP TABLE dw.etl_reject;

DROP TABLE dw.etl_load_batch;

DROP TABLE dw.fact_equipment_performance;

DROP TABLE dw.fact_defect_inspection;

DROP TABLE dw.fact_test_results;

DROP TABLE dw.fact_process_measurements;

DROP TABLE dw.bridge_wafer_lot;

DROP TABLE dw.bridge_lot_genealogy;

DROP TABLE dw.dim_wafer;

DROP TABLE dw.dim_lot;

DROP TABLE dw.dim_recipe;

DROP TABLE dw.dim_process_step;

DROP TABLE dw.dim_product;

DROP TABLE dw.dim_equipment;

DROP TABLE dw.dim_time;

DELETE FROM dw.alembic_version WHERE dw.alembic_version.version_num = '0001';

INSERT INTO dw.etl_migration_history (revision, direction, checksum, started_at, seconds, applied_by, package_version) VALUES ('0001', 'downgrade', '0e1566327eb74ddcda03a2d4f1c45cc3d823e0d78d6ed2bb79c7b3dbc1cc3f57', now(), date_part('epoch', clock_timestamp() - now()), CURRENT_USER, '0.1.0');

COMMIT;

