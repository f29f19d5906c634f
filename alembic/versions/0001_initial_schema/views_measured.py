"""The views of what was measured and tested, in the order in which they can be made. Frozen."""

V_WAFER_YIELD = """
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
            FROM {schema}.fact_test_results f
            LEFT JOIN {schema}.dim_wafer w ON w.wafer_key = f.wafer_key AND w.is_current
            LEFT JOIN {schema}.dim_lot l ON l.lot_key = f.lot_key AND l.is_current
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
LEFT JOIN {schema}.dim_product p ON p.product_key = y.product_key AND p.is_current
"""

V_TEST_VALUES = """
SELECT v.wafer_key, v.root_lot_id, v.wafer_id, v.lot_key, v.lot_id, v.product_key, v.process_step_key, v.process_flow_id, v.flow_version, v.step_number, v.step_name, v.event_ts, v.test_type, v.test_stage, v.test_program, v.program_revision, v.tester_key, v.head_no, v.site_no, v.die_x, v.die_y, v.part_id, v.insertion_no, v.retest_no, v.is_first_pass, v.is_final_result, v.is_pass, v.batch_id, v.source_record_no, v.parameter AS test_number, m.name AS test_name,
       v.value, coalesce(m.unit, v.own_unit) AS unit, m.lsl, m.usl, m.limit_version,
       CASE WHEN m.lsl IS NOT NULL OR m.usl IS NOT NULL THEN coalesce(v.value >= m.lsl, true) AND coalesce(v.value <= m.usl, true) END AS is_in_spec
FROM (
    SELECT f.wafer_key, w.root_lot_id, w.wafer_id, f.lot_key, l.lot_id, f.product_key, f.process_step_key, s.process_flow_id, s.flow_version, s.step_number, s.step_name, f.event_ts, f.test_type, f.test_stage, f.test_program, f.program_revision, f.tester_key, f.head_no, f.site_no, f.die_x, f.die_y, f.part_id, f.insertion_no, f.retest_no, f.is_first_pass, f.is_final_result, f.is_pass, f.batch_id, f.source_record_no, j.key AS parameter,
           CASE WHEN jsonb_typeof(j.value) = 'number'
                THEN CAST(CAST(j.value AS text) AS double precision) END AS value,
           CAST(NULL AS text) AS own_unit
    FROM {schema}.fact_test_results f
    CROSS JOIN LATERAL jsonb_each(f.parameters) AS j (key, value)
    LEFT JOIN {schema}.dim_wafer w ON w.wafer_key = f.wafer_key AND w.is_current
    LEFT JOIN {schema}.dim_lot l ON l.lot_key = f.lot_key AND l.is_current
    LEFT JOIN {schema}.dim_process_step s ON s.process_step_key = f.process_step_key AND s.is_current
    WHERE true
    UNION ALL
    SELECT f.wafer_key, w.root_lot_id, w.wafer_id, f.lot_key, l.lot_id, f.product_key, f.process_step_key, s.process_flow_id, s.flow_version, s.step_number, s.step_name, f.event_ts, f.test_type, f.test_stage, f.test_program, f.program_revision, f.tester_key, f.head_no, f.site_no, f.die_x, f.die_y, f.part_id, f.insertion_no, f.retest_no, f.is_first_pass, f.is_final_result, f.is_pass, f.batch_id, f.source_record_no,
           unnest(CAST(ARRAY['vth_mv', 'idsat_ua_um', 'ileak_pa_um', 'tox_nm', 'rs_ohm_sq', 'rc_ohm', 'gm_ms_mm', 'bvdss_v', 'idd_ma', 'fmax_mhz'] AS text[])) AS parameter,
           unnest(ARRAY[f.vth_mv, f.idsat_ua_um, f.ileak_pa_um, f.tox_nm, f.rs_ohm_sq, f.rc_ohm, f.gm_ms_mm, f.bvdss_v, f.idd_ma, f.fmax_mhz]) AS value,
           unnest(CAST(ARRAY['mV', 'uA/um', 'pA/um', 'nm', 'ohm/sq', 'ohm', 'mS/mm', 'V', 'mA', 'MHz'] AS text[])) AS own_unit
    FROM {schema}.fact_test_results f
    LEFT JOIN {schema}.dim_wafer w ON w.wafer_key = f.wafer_key AND w.is_current
    LEFT JOIN {schema}.dim_lot l ON l.lot_key = f.lot_key AND l.is_current
    LEFT JOIN {schema}.dim_process_step s ON s.process_step_key = f.process_step_key AND s.is_current
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
    FROM {schema}.dim_process_step s
    CROSS JOIN LATERAL jsonb_each(s.control_limits) AS j (key, value)
    OFFSET 0
) m ON m.process_step_key = v.process_step_key AND m.parameter = v.parameter
   AND v.event_ts >= m.effective_date AND v.event_ts < m.expiry_date
WHERE v.value IS NOT NULL
"""

V_PROCESS_VALUES = """
SELECT v.wafer_key, v.root_lot_id, v.wafer_id, v.lot_key, v.lot_id, v.product_key, v.process_step_key, v.process_flow_id, v.flow_version, v.step_number, v.step_name, v.recipe_key, v.equipment_key, v.equipment_id, v.chamber_key, v.chamber_id, v.event_ts, v.measurement_type, v.visit_no, v.is_rework, v.site_no, v.site_x_mm, v.site_y_mm, v.batch_id, v.source_record_no, v.parameter, v.value, coalesce(m.unit, v.own_unit) AS unit,
       m.lsl, m.usl, m.limit_version, CASE WHEN m.lsl IS NOT NULL OR m.usl IS NOT NULL THEN coalesce(v.value >= m.lsl, true) AND coalesce(v.value <= m.usl, true) END AS is_in_spec,
       m.lcl, m.target, m.ucl, CASE WHEN m.lcl IS NOT NULL OR m.ucl IS NOT NULL THEN coalesce(v.value >= m.lcl, true) AND coalesce(v.value <= m.ucl, true) END AS is_in_control
FROM (
    SELECT f.wafer_key, w.root_lot_id, w.wafer_id, f.lot_key, l.lot_id, f.product_key, f.process_step_key, s.process_flow_id, s.flow_version, s.step_number, s.step_name, f.recipe_key, f.equipment_key, e.equipment_id, f.chamber_key, c.chamber_id, f.event_ts, f.measurement_type, f.visit_no, f.is_rework, f.site_no, f.site_x_mm, f.site_y_mm, f.batch_id, f.source_record_no, j.key AS parameter,
           CASE WHEN jsonb_typeof(j.value) = 'number'
                THEN CAST(CAST(j.value AS text) AS double precision) END AS value,
           CAST(NULL AS text) AS own_unit
    FROM {schema}.fact_process_measurements f
    CROSS JOIN LATERAL jsonb_each(f.parameters) AS j (key, value)
    LEFT JOIN {schema}.dim_wafer w ON w.wafer_key = f.wafer_key AND w.is_current
    LEFT JOIN {schema}.dim_lot l ON l.lot_key = f.lot_key AND l.is_current
    LEFT JOIN {schema}.dim_process_step s ON s.process_step_key = f.process_step_key AND s.is_current
    LEFT JOIN {schema}.dim_equipment e ON e.equipment_key = f.equipment_key AND e.is_current
    LEFT JOIN {schema}.dim_equipment c ON c.equipment_key = f.chamber_key AND c.is_current
    WHERE true
    UNION ALL
    SELECT f.wafer_key, w.root_lot_id, w.wafer_id, f.lot_key, l.lot_id, f.product_key, f.process_step_key, s.process_flow_id, s.flow_version, s.step_number, s.step_name, f.recipe_key, f.equipment_key, e.equipment_id, f.chamber_key, c.chamber_id, f.event_ts, f.measurement_type, f.visit_no, f.is_rework, f.site_no, f.site_x_mm, f.site_y_mm, f.batch_id, f.source_record_no,
           unnest(CAST(ARRAY['temperature_c', 'pressure_torr', 'rf_power_w', 'rf_bias_power_w', 'reflected_power_w', 'gas_flow_sccm', 'chuck_temp_c', 'endpoint_time_s', 'film_thickness_nm', 'cd_nm', 'overlay_x_nm', 'overlay_y_nm', 'etch_rate_nm_min', 'deposition_rate_nm_min', 'removal_rate_nm_min', 'refractive_index', 'sheet_resistance_ohm_sq', 'uniformity_pct'] AS text[])) AS parameter,
           unnest(ARRAY[f.temperature_c, f.pressure_torr, f.rf_power_w, f.rf_bias_power_w, f.reflected_power_w, f.gas_flow_sccm, f.chuck_temp_c, f.endpoint_time_s, f.film_thickness_nm, f.cd_nm, f.overlay_x_nm, f.overlay_y_nm, f.etch_rate_nm_min, f.deposition_rate_nm_min, f.removal_rate_nm_min, f.refractive_index, f.sheet_resistance_ohm_sq, f.uniformity_pct]) AS value,
           unnest(CAST(ARRAY['degC', 'Torr', 'W', 'W', 'W', 'sccm', 'degC', 's', 'nm', 'nm', 'nm', 'nm', 'nm/min', 'nm/min', 'nm/min', '1', 'ohm/sq', 'percent'] AS text[])) AS own_unit
    FROM {schema}.fact_process_measurements f
    LEFT JOIN {schema}.dim_wafer w ON w.wafer_key = f.wafer_key AND w.is_current
    LEFT JOIN {schema}.dim_lot l ON l.lot_key = f.lot_key AND l.is_current
    LEFT JOIN {schema}.dim_process_step s ON s.process_step_key = f.process_step_key AND s.is_current
    LEFT JOIN {schema}.dim_equipment e ON e.equipment_key = f.equipment_key AND e.is_current
    LEFT JOIN {schema}.dim_equipment c ON c.equipment_key = f.chamber_key AND c.is_current
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
    FROM {schema}.dim_process_step s
    CROSS JOIN LATERAL jsonb_each(s.control_limits) AS j (key, value)
    OFFSET 0
) m ON m.process_step_key = v.process_step_key AND m.parameter = v.parameter
   AND v.event_ts >= m.effective_date AND v.event_ts < m.expiry_date
WHERE v.value IS NOT NULL
"""

V_PROCESS_CAPABILITY = """
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
            FROM {schema}.fact_process_measurements f
            CROSS JOIN LATERAL jsonb_each(f.parameters) AS j (key, value)
            LEFT JOIN {schema}.dim_process_step s ON s.process_step_key = f.process_step_key AND s.is_current
            LEFT JOIN (
                SELECT product_key, product_id, revision AS product_revision FROM {schema}.dim_product WHERE is_current
            ) p ON p.product_key = f.product_key
            WHERE true
            UNION ALL
            SELECT f.process_step_key, s.process_flow_id, s.flow_version, s.step_number, s.step_name, f.product_key, p.product_id, p.product_revision, f.event_ts,
                   unnest(CAST(ARRAY['temperature_c', 'pressure_torr', 'rf_power_w', 'rf_bias_power_w', 'reflected_power_w', 'gas_flow_sccm', 'chuck_temp_c', 'endpoint_time_s', 'film_thickness_nm', 'cd_nm', 'overlay_x_nm', 'overlay_y_nm', 'etch_rate_nm_min', 'deposition_rate_nm_min', 'removal_rate_nm_min', 'refractive_index', 'sheet_resistance_ohm_sq', 'uniformity_pct'] AS text[])) AS parameter,
                   unnest(ARRAY[f.temperature_c, f.pressure_torr, f.rf_power_w, f.rf_bias_power_w, f.reflected_power_w, f.gas_flow_sccm, f.chuck_temp_c, f.endpoint_time_s, f.film_thickness_nm, f.cd_nm, f.overlay_x_nm, f.overlay_y_nm, f.etch_rate_nm_min, f.deposition_rate_nm_min, f.removal_rate_nm_min, f.refractive_index, f.sheet_resistance_ohm_sq, f.uniformity_pct]) AS value,
                   unnest(CAST(ARRAY['degC', 'Torr', 'W', 'W', 'W', 'sccm', 'degC', 's', 'nm', 'nm', 'nm', 'nm', 'nm/min', 'nm/min', 'nm/min', '1', 'ohm/sq', 'percent'] AS text[])) AS own_unit
            FROM {schema}.fact_process_measurements f
            LEFT JOIN {schema}.dim_process_step s ON s.process_step_key = f.process_step_key AND s.is_current
            LEFT JOIN (
                SELECT product_key, product_id, revision AS product_revision FROM {schema}.dim_product WHERE is_current
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
            FROM {schema}.fact_test_results f
            CROSS JOIN LATERAL jsonb_each(f.parameters) AS j (key, value)
            LEFT JOIN {schema}.dim_process_step s ON s.process_step_key = f.process_step_key AND s.is_current
            LEFT JOIN (
                SELECT product_key, product_id, revision AS product_revision FROM {schema}.dim_product WHERE is_current
            ) p ON p.product_key = f.product_key
            WHERE f.is_final_result IS DISTINCT FROM false
            UNION ALL
            SELECT f.process_step_key, s.process_flow_id, s.flow_version, s.step_number, s.step_name, f.product_key, p.product_id, p.product_revision, f.event_ts,
                   unnest(CAST(ARRAY['vth_mv', 'idsat_ua_um', 'ileak_pa_um', 'tox_nm', 'rs_ohm_sq', 'rc_ohm', 'gm_ms_mm', 'bvdss_v', 'idd_ma', 'fmax_mhz'] AS text[])) AS parameter,
                   unnest(ARRAY[f.vth_mv, f.idsat_ua_um, f.ileak_pa_um, f.tox_nm, f.rs_ohm_sq, f.rc_ohm, f.gm_ms_mm, f.bvdss_v, f.idd_ma, f.fmax_mhz]) AS value,
                   unnest(CAST(ARRAY['mV', 'uA/um', 'pA/um', 'nm', 'ohm/sq', 'ohm', 'mS/mm', 'V', 'mA', 'MHz'] AS text[])) AS own_unit
            FROM {schema}.fact_test_results f
            LEFT JOIN {schema}.dim_process_step s ON s.process_step_key = f.process_step_key AND s.is_current
            LEFT JOIN (
                SELECT product_key, product_id, revision AS product_revision FROM {schema}.dim_product WHERE is_current
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
        FROM {schema}.dim_process_step s
        CROSS JOIN LATERAL jsonb_each(s.control_limits) AS j (key, value)
        OFFSET 0
    ) m ON m.process_step_key = v.process_step_key AND m.parameter = v.parameter
       AND v.event_ts >= m.effective_date AND v.event_ts < m.expiry_date
    WHERE v.value IS NOT NULL
    GROUP BY v.source, v.process_step_key, v.process_flow_id, v.flow_version, v.step_number, v.step_name, v.product_key, v.product_id, v.product_revision, v.parameter,
             coalesce(m.unit, v.own_unit), m.limit_version, m.lsl, m.target, m.usl
) g
"""

VIEWS = {
    'v_wafer_yield': V_WAFER_YIELD,
    'v_test_values': V_TEST_VALUES,
    'v_process_values': V_PROCESS_VALUES,
    'v_process_capability': V_PROCESS_CAPABILITY,
}

COMMENTS = {
    'v_wafer_yield': 'Yield by wafer, lot, test type and stage, three rows each: by the first, last and best result of a unit. A unit is a die, or a part where the die is not known. Insertions without a verdict are left out',
    'v_test_values': 'Parametric test results: a row per insertion of a unit and test number, with the limits in force',
    'v_process_values': 'Measured values: a row per measurement and parameter, with the limits in force; a bare visit has none',
    'v_process_capability': 'Capability by step, product, parameter and set of limits, over all events; test results by the last insertion of a unit in its file',
}

COLUMN_COMMENTS = {
    'v_wafer_yield': {
        'wafer_key': 'Wafer (dim_wafer)',
        'root_lot_id': 'Lot the wafer was started in',
        'wafer_id': 'Wafer in its root lot',
        'lot_key': 'Lot at the event (dim_lot)',
        'lot_id': 'Lot at the event',
        'product_key': 'Product (dim_product); -1 where none or several were named',
        'product_id': 'Product',
        'product_revision': 'Design revision',
        'test_type': 'WAT, CP or FT',
        'test_stage': 'Test stage',
        'test_program': 'Test program; NULL where several were used',
        'program_revision': 'Revision of the program; NULL where several were used',
        'basis': 'Result of a unit that counts: FIRST, LAST, or BEST (good once is good)',
        'insertions': 'Insertions with a verdict, count',
        'tested': 'Units tested, count',
        'good': 'Units good, count',
        'functional_fails': 'Units that failed a functional test, count',
        'parametric_fails': 'Units that failed parametric tests only, count',
        'die_yield_pct': '100 good / tested, percent',
        'functional_yield_pct': '100 (1 - functional fails / tested), percent',
        'parametric_yield_pct': '100 (1 - parametric fails / functionally good), percent; NULL where none was',
        'first_ts': 'First event, UTC',
        'last_ts': 'Last event, UTC',
    },
    'v_test_values': {
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
        'event_ts': 'Event, UTC',
        'test_type': 'WAT, CP or FT',
        'test_stage': 'Test stage',
        'test_program': 'Test program',
        'program_revision': 'Revision of the program',
        'tester_key': 'Tester (dim_equipment)',
        'head_no': 'Test head',
        'site_no': 'Test site',
        'die_x': 'Die column',
        'die_y': 'Die row',
        'part_id': 'Part',
        'insertion_no': 'Insertion of the unit in its file',
        'retest_no': 'Retests before it',
        'is_first_pass': "Whether it is the unit's first insertion in its file",
        'is_final_result': "Whether it is the unit's last insertion in its file",
        'is_pass': 'Whether the unit passed this insertion',
        'batch_id': 'Batch that loaded it (etl_load_batch)',
        'source_record_no': 'Number of the record in its source',
        'test_number': "Test number as text, or the name of the measure's column",
        'test_name': 'Name of the test (STDF V4 PTR.TEST_TXT)',
        'value': 'Value, in the unit given',
        'unit': "Unit: that of the limits in force, else that of the measure's column",
        'lsl': 'Lower specification limit in force at the event',
        'usl': 'Upper specification limit in force at the event',
        'limit_version': 'Version of the limits in force',
        'is_in_spec': 'Whether lsl <= value <= usl; NULL where there is no limit',
    },
    'v_process_values': {
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
        'recipe_key': 'Recipe (dim_recipe)',
        'equipment_key': 'Tool (dim_equipment)',
        'equipment_id': 'Tool',
        'chamber_key': 'Chamber (dim_equipment)',
        'chamber_id': 'Chamber; empty where there was none',
        'event_ts': 'Event, UTC',
        'measurement_type': 'TRACK, FDC or METROLOGY',
        'visit_no': 'Visit of the wafer to the step',
        'is_rework': 'Whether the visit was a rework',
        'site_no': 'Measured site; 0 for the wafer as a whole',
        'site_x_mm': "Site in x from the wafer's centre, mm",
        'site_y_mm': "Site in y from the wafer's centre, mm",
        'batch_id': 'Batch that loaded it (etl_load_batch)',
        'source_record_no': 'Number of the record in its source',
        'parameter': "Name in parameters, or of the measure's column",
        'value': 'Value, in the unit given',
        'unit': "Unit: that of the limits in force, else that of the measure's column",
        'lsl': 'Lower specification limit in force at the event',
        'usl': 'Upper specification limit in force at the event',
        'limit_version': 'Version of the limits in force',
        'is_in_spec': 'Whether lsl <= value <= usl; NULL where there is no limit',
        'lcl': 'Lower control limit in force at the event',
        'target': 'Target in force at the event',
        'ucl': 'Upper control limit in force at the event',
        'is_in_control': 'Whether lcl <= value <= ucl; NULL where there is no limit',
    },
    'v_process_capability': {
        'source': 'PROCESS (fact_process_measurements) or TEST (fact_test_results)',
        'process_step_key': 'Step (dim_process_step)',
        'process_flow_id': 'Process flow, or test program',
        'flow_version': 'Version of the flow',
        'step_number': 'Step of the flow, or test stage',
        'step_name': 'Name of the step',
        'product_key': 'Product (dim_product)',
        'product_id': 'Product',
        'product_revision': 'Design revision',
        'parameter': 'Name of the parameter, or test number',
        'unit': 'Unit of value and limits',
        'limit_version': 'Version of the limits',
        'lsl': 'Lower specification limit',
        'target': 'Target',
        'usl': 'Upper specification limit',
        'n': 'Values, count',
        'mean': 'Mean of the values',
        'sigma': 'Sample standard deviation of all values; NULL for fewer than two',
        'min_value': 'Least value',
        'max_value': 'Greatest value',
        'cp': '(USL - LSL) / 6 sigma; NULL where sigma = 0, n < 2, or a limit is missing',
        'cpk': 'min(USL - mean, mean - LSL) / 3 sigma, from the one side where a limit is missing; NULL where sigma = 0, n < 2, or both are',
    },
}
