"""The views of values, in the order in which they can be made. Frozen."""

V_TEST_VALUES = """
SELECT v.wafer_key, v.root_lot_id, v.wafer_id, v.lot_key, v.lot_id, v.product_key, v.process_step_key, v.process_flow_id, v.flow_version, v.step_number, v.step_name, v.event_ts, v.test_type, v.test_stage, v.test_program, v.program_revision, v.tester_key, v.head_no, v.site_no, v.die_x, v.die_y, v.part_id, v.insertion_no, v.retest_no, v.is_first_pass, v.is_final_result, v.is_pass, v.batch_id, v.source_record_no, coalesce(CAST(v.test_number AS text), v.parameter) AS test_number,
       coalesce(v.test_name, m.name) AS test_name,
       v.value, coalesce(v.unit, m.unit, v.column_unit) AS unit, CASE WHEN v.lsl IS NULL AND v.usl IS NULL THEN m.lsl ELSE v.lsl END AS lsl, CASE WHEN v.lsl IS NULL AND v.usl IS NULL THEN m.usl ELSE v.usl END AS usl,
       CASE WHEN v.lsl IS NULL AND v.usl IS NULL THEN m.limit_version END AS limit_version,
       CASE WHEN v.lsl IS NULL AND v.usl IS NULL THEN
         CASE WHEN m.lsl IS NOT NULL OR m.usl IS NOT NULL
              THEN coalesce(v.value >= m.lsl, true) AND coalesce(v.value <= m.usl, true) END
     ELSE coalesce(v.value > v.lsl OR v.lsl_inclusive AND v.value = v.lsl, true)
          AND coalesce(v.value < v.usl OR v.usl_inclusive AND v.value = v.usl, true) END AS is_in_spec,
       v.parameter, v.pin, v.occurrence, v.lsl_inclusive, v.usl_inclusive, v.tester_passed
FROM (
    SELECT f.wafer_key, w.root_lot_id, w.wafer_id, f.lot_key, l.lot_id, f.product_key, f.process_step_key, s.process_flow_id, s.flow_version, s.step_number, s.step_name, f.event_ts, f.test_type, f.test_stage, f.test_program, f.program_revision, f.tester_key, f.head_no, f.site_no, f.die_x, f.die_y, f.part_id, f.insertion_no, f.retest_no, f.is_first_pass, f.is_final_result, f.is_pass, f.batch_id, f.source_record_no,
           p.parameter, f.measured[p.position] AS value, p.unit, CAST(NULL AS text) AS column_unit,
           p.test_number, p.test_name, p.pin, p.occurrence,
           CASE WHEN (f.own_limits -> CAST(p.position AS text)) IS NULL THEN p.lsl ELSE coalesce(CAST((f.own_limits -> CAST(p.position AS text)) ->> 'lsl' AS double precision), NULL) END AS lsl, CASE WHEN (f.own_limits -> CAST(p.position AS text)) IS NULL THEN p.usl ELSE coalesce(CAST((f.own_limits -> CAST(p.position AS text)) ->> 'usl' AS double precision), NULL) END AS usl, CASE WHEN (f.own_limits -> CAST(p.position AS text)) IS NULL THEN p.lsl_inclusive ELSE coalesce(CAST((f.own_limits -> CAST(p.position AS text)) ->> 'lsl_inclusive' AS boolean), p.lsl_inclusive) END AS lsl_inclusive, CASE WHEN (f.own_limits -> CAST(p.position AS text)) IS NULL THEN p.usl_inclusive ELSE coalesce(CAST((f.own_limits -> CAST(p.position AS text)) ->> 'usl_inclusive' AS boolean), p.usl_inclusive) END AS usl_inclusive, CASE substr(f.verdicts, p.position, 1) WHEN 'P' THEN true WHEN 'F' THEN false END AS tester_passed
    FROM {schema}.fact_test_results f
    JOIN {schema}.bridge_parameter_set p ON p.parameter_set_key = f.parameter_set_key
    LEFT JOIN {schema}.dim_wafer w ON w.wafer_key = f.wafer_key AND w.is_current
    LEFT JOIN {schema}.dim_lot l ON l.lot_key = f.lot_key AND l.is_current
    LEFT JOIN {schema}.dim_process_step s ON s.process_step_key = f.process_step_key AND s.is_current
    WHERE f.measured[p.position] <> CAST('NaN' AS double precision)
    UNION ALL
    SELECT f.wafer_key, w.root_lot_id, w.wafer_id, f.lot_key, l.lot_id, f.product_key, f.process_step_key, s.process_flow_id, s.flow_version, s.step_number, s.step_name, f.event_ts, f.test_type, f.test_stage, f.test_program, f.program_revision, f.tester_key, f.head_no, f.site_no, f.die_x, f.die_y, f.part_id, f.insertion_no, f.retest_no, f.is_first_pass, f.is_final_result, f.is_pass, f.batch_id, f.source_record_no,
           j.key AS parameter,
           CASE WHEN jsonb_typeof(j.value) = 'number'
                THEN CAST(CAST(j.value AS text) AS double precision) END AS value,
           CAST(NULL AS text) AS unit, CAST(NULL AS text) AS column_unit,
           CAST(NULL AS bigint) AS test_number, CAST(NULL AS text) AS test_name, CAST('' AS text) AS pin, 1 AS occurrence,
           CAST(NULL AS double precision) AS lsl, CAST(NULL AS double precision) AS usl,
           true AS lsl_inclusive, true AS usl_inclusive, CAST(NULL AS boolean) AS tester_passed
    FROM {schema}.fact_test_results f
    CROSS JOIN LATERAL jsonb_each(f.parameters) AS j (key, value)
    LEFT JOIN {schema}.dim_wafer w ON w.wafer_key = f.wafer_key AND w.is_current
    LEFT JOIN {schema}.dim_lot l ON l.lot_key = f.lot_key AND l.is_current
    LEFT JOIN {schema}.dim_process_step s ON s.process_step_key = f.process_step_key AND s.is_current
    WHERE jsonb_typeof(j.value) = 'number'
    UNION ALL
    SELECT f.wafer_key, w.root_lot_id, w.wafer_id, f.lot_key, l.lot_id, f.product_key, f.process_step_key, s.process_flow_id, s.flow_version, s.step_number, s.step_name, f.event_ts, f.test_type, f.test_stage, f.test_program, f.program_revision, f.tester_key, f.head_no, f.site_no, f.die_x, f.die_y, f.part_id, f.insertion_no, f.retest_no, f.is_first_pass, f.is_final_result, f.is_pass, f.batch_id, f.source_record_no,
           c.parameter, c.value, CAST(NULL AS text) AS unit, c.unit AS column_unit,
           CAST(NULL AS bigint) AS test_number, CAST(NULL AS text) AS test_name, CAST('' AS text) AS pin, 1 AS occurrence,
           CAST(NULL AS double precision) AS lsl, CAST(NULL AS double precision) AS usl,
           true AS lsl_inclusive, true AS usl_inclusive, CAST(NULL AS boolean) AS tester_passed
    FROM {schema}.fact_test_results f
    CROSS JOIN LATERAL (VALUES (CAST('vth_mv' AS text), f.vth_mv, CAST('mV' AS text)), (CAST('idsat_ua_um' AS text), f.idsat_ua_um, CAST('uA/um' AS text)), (CAST('ileak_pa_um' AS text), f.ileak_pa_um, CAST('pA/um' AS text)), (CAST('tox_nm' AS text), f.tox_nm, CAST('nm' AS text)), (CAST('rs_ohm_sq' AS text), f.rs_ohm_sq, CAST('ohm/sq' AS text)), (CAST('rc_ohm' AS text), f.rc_ohm, CAST('ohm' AS text)), (CAST('gm_ms_mm' AS text), f.gm_ms_mm, CAST('mS/mm' AS text)), (CAST('bvdss_v' AS text), f.bvdss_v, CAST('V' AS text)), (CAST('idd_ma' AS text), f.idd_ma, CAST('mA' AS text)), (CAST('fmax_mhz' AS text), f.fmax_mhz, CAST('MHz' AS text))) AS c (parameter, value, unit)
    LEFT JOIN {schema}.dim_wafer w ON w.wafer_key = f.wafer_key AND w.is_current
    LEFT JOIN {schema}.dim_lot l ON l.lot_key = f.lot_key AND l.is_current
    LEFT JOIN {schema}.dim_process_step s ON s.process_step_key = f.process_step_key AND s.is_current
    WHERE coalesce(f.vth_mv, f.idsat_ua_um, f.ileak_pa_um, f.tox_nm, f.rs_ohm_sq, f.rc_ohm, f.gm_ms_mm, f.bvdss_v, f.idd_ma, f.fmax_mhz) IS NOT NULL
) v
LEFT JOIN {schema}.bridge_step_limits m ON m.process_step_key = v.process_step_key AND m.parameter = v.parameter
   AND v.event_ts >= m.effective_date AND v.event_ts < m.expiry_date
WHERE v.value IS NOT NULL
"""

V_PROCESS_VALUES = """
SELECT v.wafer_key, v.root_lot_id, v.wafer_id, v.lot_key, v.lot_id, v.product_key, v.process_step_key, v.process_flow_id, v.flow_version, v.step_number, v.step_name, v.recipe_key, v.equipment_key, v.equipment_id, v.chamber_key, v.chamber_id, v.event_ts, v.measurement_type, v.visit_no, v.is_rework, v.site_no, v.site_x_mm, v.site_y_mm, v.batch_id, v.source_record_no, v.parameter, v.value, coalesce(v.unit, m.unit, v.column_unit) AS unit,
       CASE WHEN v.lsl IS NULL AND v.usl IS NULL THEN m.lsl ELSE v.lsl END AS lsl, CASE WHEN v.lsl IS NULL AND v.usl IS NULL THEN m.usl ELSE v.usl END AS usl, CASE WHEN v.lsl IS NULL AND v.usl IS NULL THEN m.limit_version END AS limit_version,
       CASE WHEN v.lsl IS NULL AND v.usl IS NULL THEN
         CASE WHEN m.lsl IS NOT NULL OR m.usl IS NOT NULL
              THEN coalesce(v.value >= m.lsl, true) AND coalesce(v.value <= m.usl, true) END
     ELSE coalesce(v.value > v.lsl OR v.lsl_inclusive AND v.value = v.lsl, true)
          AND coalesce(v.value < v.usl OR v.usl_inclusive AND v.value = v.usl, true) END AS is_in_spec,
       m.lcl, m.target, m.ucl,
       CASE WHEN m.lcl IS NOT NULL OR m.ucl IS NOT NULL
     THEN coalesce(v.value >= m.lcl, true) AND coalesce(v.value <= m.ucl, true) END AS is_in_control
FROM (
    SELECT f.wafer_key, w.root_lot_id, w.wafer_id, f.lot_key, l.lot_id, f.product_key, f.process_step_key, s.process_flow_id, s.flow_version, s.step_number, s.step_name, f.recipe_key, f.equipment_key, e.equipment_id, f.chamber_key, h.chamber_id, f.event_ts, f.measurement_type, f.visit_no, f.is_rework, f.site_no, f.site_x_mm, f.site_y_mm, f.batch_id, f.source_record_no,
           p.parameter, f.measured[p.position] AS value, p.unit, CAST(NULL AS text) AS column_unit,
           p.test_number, p.test_name, p.pin, p.occurrence,
           p.lsl, p.usl, p.lsl_inclusive, p.usl_inclusive
    FROM {schema}.fact_process_measurements f
    JOIN {schema}.bridge_parameter_set p ON p.parameter_set_key = f.parameter_set_key
    LEFT JOIN {schema}.dim_wafer w ON w.wafer_key = f.wafer_key AND w.is_current
    LEFT JOIN {schema}.dim_lot l ON l.lot_key = f.lot_key AND l.is_current
    LEFT JOIN {schema}.dim_process_step s ON s.process_step_key = f.process_step_key AND s.is_current
    LEFT JOIN {schema}.dim_equipment e ON e.equipment_key = f.equipment_key AND e.is_current
    LEFT JOIN {schema}.dim_equipment h ON h.equipment_key = f.chamber_key AND h.is_current
    WHERE f.measured[p.position] <> CAST('NaN' AS double precision)
    UNION ALL
    SELECT f.wafer_key, w.root_lot_id, w.wafer_id, f.lot_key, l.lot_id, f.product_key, f.process_step_key, s.process_flow_id, s.flow_version, s.step_number, s.step_name, f.recipe_key, f.equipment_key, e.equipment_id, f.chamber_key, h.chamber_id, f.event_ts, f.measurement_type, f.visit_no, f.is_rework, f.site_no, f.site_x_mm, f.site_y_mm, f.batch_id, f.source_record_no,
           j.key AS parameter,
           CASE WHEN jsonb_typeof(j.value) = 'number'
                THEN CAST(CAST(j.value AS text) AS double precision) END AS value,
           CAST(NULL AS text) AS unit, CAST(NULL AS text) AS column_unit,
           CAST(NULL AS bigint) AS test_number, CAST(NULL AS text) AS test_name, CAST('' AS text) AS pin, 1 AS occurrence,
           CAST(NULL AS double precision) AS lsl, CAST(NULL AS double precision) AS usl,
           true AS lsl_inclusive, true AS usl_inclusive
    FROM {schema}.fact_process_measurements f
    CROSS JOIN LATERAL jsonb_each(f.parameters) AS j (key, value)
    LEFT JOIN {schema}.dim_wafer w ON w.wafer_key = f.wafer_key AND w.is_current
    LEFT JOIN {schema}.dim_lot l ON l.lot_key = f.lot_key AND l.is_current
    LEFT JOIN {schema}.dim_process_step s ON s.process_step_key = f.process_step_key AND s.is_current
    LEFT JOIN {schema}.dim_equipment e ON e.equipment_key = f.equipment_key AND e.is_current
    LEFT JOIN {schema}.dim_equipment h ON h.equipment_key = f.chamber_key AND h.is_current
    WHERE jsonb_typeof(j.value) = 'number'
    UNION ALL
    SELECT f.wafer_key, w.root_lot_id, w.wafer_id, f.lot_key, l.lot_id, f.product_key, f.process_step_key, s.process_flow_id, s.flow_version, s.step_number, s.step_name, f.recipe_key, f.equipment_key, e.equipment_id, f.chamber_key, h.chamber_id, f.event_ts, f.measurement_type, f.visit_no, f.is_rework, f.site_no, f.site_x_mm, f.site_y_mm, f.batch_id, f.source_record_no,
           c.parameter, c.value, CAST(NULL AS text) AS unit, c.unit AS column_unit,
           CAST(NULL AS bigint) AS test_number, CAST(NULL AS text) AS test_name, CAST('' AS text) AS pin, 1 AS occurrence,
           CAST(NULL AS double precision) AS lsl, CAST(NULL AS double precision) AS usl,
           true AS lsl_inclusive, true AS usl_inclusive
    FROM {schema}.fact_process_measurements f
    CROSS JOIN LATERAL (VALUES (CAST('temperature_c' AS text), f.temperature_c, CAST('degC' AS text)), (CAST('pressure_torr' AS text), f.pressure_torr, CAST('Torr' AS text)), (CAST('rf_power_w' AS text), f.rf_power_w, CAST('W' AS text)), (CAST('rf_bias_power_w' AS text), f.rf_bias_power_w, CAST('W' AS text)), (CAST('reflected_power_w' AS text), f.reflected_power_w, CAST('W' AS text)), (CAST('gas_flow_sccm' AS text), f.gas_flow_sccm, CAST('sccm' AS text)), (CAST('chuck_temp_c' AS text), f.chuck_temp_c, CAST('degC' AS text)), (CAST('endpoint_time_s' AS text), f.endpoint_time_s, CAST('s' AS text)), (CAST('film_thickness_nm' AS text), f.film_thickness_nm, CAST('nm' AS text)), (CAST('cd_nm' AS text), f.cd_nm, CAST('nm' AS text)), (CAST('overlay_x_nm' AS text), f.overlay_x_nm, CAST('nm' AS text)), (CAST('overlay_y_nm' AS text), f.overlay_y_nm, CAST('nm' AS text)), (CAST('etch_rate_nm_min' AS text), f.etch_rate_nm_min, CAST('nm/min' AS text)), (CAST('deposition_rate_nm_min' AS text), f.deposition_rate_nm_min, CAST('nm/min' AS text)), (CAST('removal_rate_nm_min' AS text), f.removal_rate_nm_min, CAST('nm/min' AS text)), (CAST('refractive_index' AS text), f.refractive_index, CAST('1' AS text)), (CAST('sheet_resistance_ohm_sq' AS text), f.sheet_resistance_ohm_sq, CAST('ohm/sq' AS text)), (CAST('uniformity_pct' AS text), f.uniformity_pct, CAST('percent' AS text))) AS c (parameter, value, unit)
    LEFT JOIN {schema}.dim_wafer w ON w.wafer_key = f.wafer_key AND w.is_current
    LEFT JOIN {schema}.dim_lot l ON l.lot_key = f.lot_key AND l.is_current
    LEFT JOIN {schema}.dim_process_step s ON s.process_step_key = f.process_step_key AND s.is_current
    LEFT JOIN {schema}.dim_equipment e ON e.equipment_key = f.equipment_key AND e.is_current
    LEFT JOIN {schema}.dim_equipment h ON h.equipment_key = f.chamber_key AND h.is_current
    WHERE coalesce(f.temperature_c, f.pressure_torr, f.rf_power_w, f.rf_bias_power_w, f.reflected_power_w, f.gas_flow_sccm, f.chuck_temp_c, f.endpoint_time_s, f.film_thickness_nm, f.cd_nm, f.overlay_x_nm, f.overlay_y_nm, f.etch_rate_nm_min, f.deposition_rate_nm_min, f.removal_rate_nm_min, f.refractive_index, f.sheet_resistance_ohm_sq, f.uniformity_pct) IS NOT NULL
) v
LEFT JOIN {schema}.bridge_step_limits m ON m.process_step_key = v.process_step_key AND m.parameter = v.parameter
   AND v.event_ts >= m.effective_date AND v.event_ts < m.expiry_date
WHERE v.value IS NOT NULL
"""

V_PROCESS_CAPABILITY = """
SELECT g.source, g.process_step_key, g.process_flow_id, g.flow_version, g.step_number, g.step_name, g.product_key, g.product_id, g.product_revision, g.parameter, g.unit, g.limit_version, g.lsl, g.target, g.usl,
       g.n, g.mean, g.sigma, g.min_value, g.max_value,
       CASE WHEN g.sigma_within > 0 THEN (g.usl - g.lsl) / (6 * g.sigma_within) END AS cp,
       CASE WHEN g.sigma_within > 0
            THEN least(g.usl - g.mean, g.mean - g.lsl) / (3 * g.sigma_within) END AS cpk,
       g.sigma_within, g.lots,
       CASE WHEN g.sigma > 0 THEN (g.usl - g.lsl) / (6 * g.sigma) END AS pp,
       CASE WHEN g.sigma > 0 THEN least(g.usl - g.mean, g.mean - g.lsl) / (3 * g.sigma) END AS ppk,
       g.test_number, g.test_name, g.pin, g.occurrence
FROM (
    SELECT t.source, t.process_step_key, t.process_flow_id, t.flow_version, t.step_number, t.step_name, t.product_key, t.product_id, t.product_revision, t.known_as, t.test_number, t.test_name, t.pin, t.occurrence, t.unit, t.limit_version, t.lsl, t.target, t.usl, t.parameter, t.n, t.mean, t.min_value, t.max_value, t.lots,
           CASE WHEN t.n > 1 THEN sqrt(t.m2 / (t.n - 1)) END AS sigma,
           CASE WHEN t.n > t.lots THEN sqrt(t.m2_within / (t.n - t.lots)) END AS sigma_within
    FROM (
        SELECT source, process_step_key, process_flow_id, flow_version, step_number, step_name, product_key, product_id, product_revision, known_as, test_number, test_name, pin, occurrence, unit, limit_version, lsl, target, usl, CAST(sum(n) AS bigint) AS n, reference + sum(n * deviation) / sum(n) AS mean,
               greatest(0, sum(m2) + sum(n * deviation ^ 2)
                   - CASE WHEN abs(sum(n * deviation)) > 1e-140 THEN sum(n * deviation) ^ 2 / sum(n) ELSE 0 END) AS m2,
               min(min_value) AS min_value, max(max_value) AS max_value,
        min(parameter) AS parameter, count(*) AS lots, sum(m2) AS m2_within
        FROM (
            SELECT r.*, CASE WHEN r.mean - r.reference > 1e-140 THEN r.mean - r.reference ELSE 0 END AS deviation
            FROM (
                SELECT r.*, min(r.mean) OVER (PARTITION BY source, process_step_key, process_flow_id, flow_version, step_number, step_name, product_key, product_id, product_revision, known_as, test_number, test_name, pin, occurrence, unit, limit_version, lsl, target, usl) AS reference
                FROM (
                    SELECT source, process_step_key, process_flow_id, flow_version, step_number, step_name, product_key, product_id, product_revision, known_as, test_number, test_name, pin, occurrence, unit, limit_version, lsl, target, usl, lot_key, CAST(sum(n) AS bigint) AS n, reference + sum(n * deviation) / sum(n) AS mean,
                           greatest(0, sum(m2) + sum(n * deviation ^ 2)
                               - CASE WHEN abs(sum(n * deviation)) > 1e-140 THEN sum(n * deviation) ^ 2 / sum(n) ELSE 0 END) AS m2,
                           min(min_value) AS min_value, max(max_value) AS max_value,
                    min(parameter) AS parameter
                    FROM (
                        SELECT r.*, CASE WHEN r.mean - r.reference > 1e-140 THEN r.mean - r.reference ELSE 0 END AS deviation
                        FROM (
                            SELECT r.*, min(r.mean) OVER (PARTITION BY source, process_step_key, process_flow_id, flow_version, step_number, step_name, product_key, product_id, product_revision, known_as, test_number, test_name, pin, occurrence, unit, limit_version, lsl, target, usl, lot_key) AS reference
                            FROM (
                                SELECT k.source, k.process_step_key, s.process_flow_id, s.flow_version, s.step_number, s.step_name,
                                       k.product_key, d.product_id, d.revision AS product_revision,
                                       coalesce(p.parameter, k.parameter) AS parameter,
                                       CASE WHEN p.test_number IS NULL THEN coalesce(p.parameter, k.parameter) END AS known_as,
                                       p.test_number, coalesce(p.test_name, m.name) AS test_name, p.pin, p.occurrence,
                                       coalesce(p.unit, m.unit, c.unit) AS unit,
                                       CASE WHEN p.lsl IS NULL AND p.usl IS NULL THEN m.limit_version END AS limit_version,
                                       CASE WHEN p.lsl IS NULL AND p.usl IS NULL THEN m.lsl ELSE p.lsl END AS lsl,
                                       m.target,
                                       CASE WHEN p.lsl IS NULL AND p.usl IS NULL THEN m.usl ELSE p.usl END AS usl,
                                       k.lot_key, k.n, k.mean, k.m2, k.min_value, k.max_value
                                FROM (
                                    SELECT CAST('TEST' AS text) AS source, k.*
                                    FROM (
                                        SELECT process_step_key, product_key, parameter_set_key, position, parameter, lot_key, effective_date, CAST(sum(n) AS bigint) AS n, reference + sum(n * deviation) / sum(n) AS mean,
                                               greatest(0, sum(m2) + sum(n * deviation ^ 2)
                                                   - CASE WHEN abs(sum(n * deviation)) > 1e-140 THEN sum(n * deviation) ^ 2 / sum(n) ELSE 0 END) AS m2,
                                               min(min_value) AS min_value, max(max_value) AS max_value
                                        FROM (
                                            SELECT r.*, CASE WHEN r.mean - r.reference > 1e-140 THEN r.mean - r.reference ELSE 0 END AS deviation
                                            FROM (
                                                SELECT r.*, min(r.mean) OVER (PARTITION BY process_step_key, product_key, parameter_set_key, position, parameter, lot_key, effective_date) AS reference
                                                FROM (
                                                    SELECT a.process_step_key, a.product_key, a.parameter_set_key, a.position, a.parameter, a.lot_key, s.effective_date, a.n, a.mean, a.m2, a.min_value, a.max_value
                                                    FROM {schema}.agg_test_values a
                                                    LEFT JOIN {schema}.dim_process_step s ON s.process_step_key = a.process_step_key
                                                        AND a.first_ts >= s.effective_date AND a.first_ts < s.expiry_date
                                                    WHERE a.mean IS NOT NULL AND a.is_final_result AND a.site_no IS NULL AND a.head_no IS NULL
                                                ) r
                                            ) r
                                        ) r
                                        GROUP BY process_step_key, product_key, parameter_set_key, position, parameter, lot_key, effective_date, reference
                                    ) k
                                    UNION ALL
                                    SELECT CAST('PROCESS' AS text) AS source, k.*
                                    FROM (
                                        SELECT process_step_key, product_key, parameter_set_key, position, parameter, lot_key, effective_date, CAST(sum(n) AS bigint) AS n, reference + sum(n * deviation) / sum(n) AS mean,
                                               greatest(0, sum(m2) + sum(n * deviation ^ 2)
                                                   - CASE WHEN abs(sum(n * deviation)) > 1e-140 THEN sum(n * deviation) ^ 2 / sum(n) ELSE 0 END) AS m2,
                                               min(min_value) AS min_value, max(max_value) AS max_value
                                        FROM (
                                            SELECT r.*, CASE WHEN r.mean - r.reference > 1e-140 THEN r.mean - r.reference ELSE 0 END AS deviation
                                            FROM (
                                                SELECT r.*, min(r.mean) OVER (PARTITION BY process_step_key, product_key, parameter_set_key, position, parameter, lot_key, effective_date) AS reference
                                                FROM (
                                                    SELECT a.process_step_key, a.product_key, a.parameter_set_key, a.position, a.parameter, a.lot_key, s.effective_date, a.n, a.mean, a.m2, a.min_value, a.max_value
                                                    FROM {schema}.agg_process_values a
                                                    LEFT JOIN {schema}.dim_process_step s ON s.process_step_key = a.process_step_key
                                                        AND a.first_ts >= s.effective_date AND a.first_ts < s.expiry_date
                                                    WHERE a.mean IS NOT NULL
                                                ) r
                                            ) r
                                        ) r
                                        GROUP BY process_step_key, product_key, parameter_set_key, position, parameter, lot_key, effective_date, reference
                                    ) k
                                ) k
                                LEFT JOIN {schema}.bridge_parameter_set p
                                    ON p.parameter_set_key = k.parameter_set_key AND p.position = k.position
                                LEFT JOIN {schema}.bridge_step_limits m ON m.process_step_key = k.process_step_key
                                    AND m.parameter = coalesce(p.parameter, k.parameter) AND m.effective_date = k.effective_date
                                LEFT JOIN (VALUES (CAST('temperature_c' AS text), CAST('degC' AS text)), (CAST('pressure_torr' AS text), CAST('Torr' AS text)), (CAST('rf_power_w' AS text), CAST('W' AS text)), (CAST('rf_bias_power_w' AS text), CAST('W' AS text)), (CAST('reflected_power_w' AS text), CAST('W' AS text)), (CAST('gas_flow_sccm' AS text), CAST('sccm' AS text)), (CAST('chuck_temp_c' AS text), CAST('degC' AS text)), (CAST('endpoint_time_s' AS text), CAST('s' AS text)), (CAST('film_thickness_nm' AS text), CAST('nm' AS text)), (CAST('cd_nm' AS text), CAST('nm' AS text)), (CAST('overlay_x_nm' AS text), CAST('nm' AS text)), (CAST('overlay_y_nm' AS text), CAST('nm' AS text)), (CAST('etch_rate_nm_min' AS text), CAST('nm/min' AS text)), (CAST('deposition_rate_nm_min' AS text), CAST('nm/min' AS text)), (CAST('removal_rate_nm_min' AS text), CAST('nm/min' AS text)), (CAST('refractive_index' AS text), CAST('1' AS text)), (CAST('sheet_resistance_ohm_sq' AS text), CAST('ohm/sq' AS text)), (CAST('uniformity_pct' AS text), CAST('percent' AS text)), (CAST('vth_mv' AS text), CAST('mV' AS text)), (CAST('idsat_ua_um' AS text), CAST('uA/um' AS text)), (CAST('ileak_pa_um' AS text), CAST('pA/um' AS text)), (CAST('tox_nm' AS text), CAST('nm' AS text)), (CAST('rs_ohm_sq' AS text), CAST('ohm/sq' AS text)), (CAST('rc_ohm' AS text), CAST('ohm' AS text)), (CAST('gm_ms_mm' AS text), CAST('mS/mm' AS text)), (CAST('bvdss_v' AS text), CAST('V' AS text)), (CAST('idd_ma' AS text), CAST('mA' AS text)), (CAST('fmax_mhz' AS text), CAST('MHz' AS text))) c (measure, unit) ON c.measure = k.parameter
                                LEFT JOIN {schema}.dim_process_step s ON s.process_step_key = k.process_step_key AND s.is_current
                                LEFT JOIN {schema}.dim_product d ON d.product_key = k.product_key AND d.is_current
                            ) r
                        ) r
                    ) r
                    GROUP BY source, process_step_key, process_flow_id, flow_version, step_number, step_name, product_key, product_id, product_revision, known_as, test_number, test_name, pin, occurrence, unit, limit_version, lsl, target, usl, lot_key, reference
                ) r
            ) r
        ) r
        GROUP BY source, process_step_key, process_flow_id, flow_version, step_number, step_name, product_key, product_id, product_revision, known_as, test_number, test_name, pin, occurrence, unit, limit_version, lsl, target, usl, reference
    ) t
) g
"""

VIEWS = {
    "v_test_values": V_TEST_VALUES,
    "v_process_values": V_PROCESS_VALUES,
    "v_process_capability": V_PROCESS_CAPABILITY,
}

COMMENTS = {
    "v_test_values": "Parametric test results: a row per value of an insertion of a unit, with its limits and the tester's verdict",
    "v_process_values": 'Measured values: a row per measurement and parameter, with the limits in force; a bare visit has none',
    "v_process_capability": 'Capability by step, product, parameter and set of limits, over all events, from the aggregates; test results by the last insertion of a unit in its file. Limits of a step are those in force at the first event of a wafer or lot',
}

COLUMN_COMMENTS = {
    "v_test_values": {
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
        'test_number': 'Test number as text; without one, the name',
        'test_name': 'Name of the test (STDF V4 TEST_TXT)',
        'value': 'Value, in the unit given',
        'unit': "Unit: that of the list, else of the step's limits in force, else of the measure's column",
        'lsl': "Lower specification limit: the part's own, else the list's (the file's), else the step's in force at the event",
        'usl': 'Upper specification limit, likewise',
        'limit_version': "Version of the step's limits, where they are the ones given",
        'is_in_spec': 'Whether the value is within lsl and usl, by their inclusiveness; NULL where there is no limit',
        'parameter': "Name, unique in the list; name in parameters, or of the measure's column",
        'pin': 'Pin of one result of several; empty without one',
        'occurrence': '1, 2, ... of a test that is repeated within an insertion',
        'lsl_inclusive': 'Whether a value equal to lsl is in specification',
        'usl_inclusive': 'Whether a value equal to usl is in specification',
        'tester_passed': "The tester's verdict; NULL: none",
    },
    "v_process_values": {
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
        'parameter': "Name in the list or in parameters, or of the measure's column",
        'value': 'Value, in the unit given',
        'unit': "Unit: that of the list, else of the step's limits in force, else of the measure's column",
        'lsl': "Lower specification limit: the part's own, else the list's (the file's), else the step's in force at the event",
        'usl': 'Upper specification limit, likewise',
        'limit_version': "Version of the step's limits, where they are the ones given",
        'is_in_spec': 'Whether the value is within lsl and usl, by their inclusiveness; NULL where there is no limit',
        'lcl': 'Lower control limit in force at the event',
        'target': 'Target in force at the event',
        'ucl': 'Upper control limit in force at the event',
        'is_in_control': 'Whether lcl <= value <= ucl; NULL where there is no limit',
    },
    "v_process_capability": {
        'source': 'PROCESS (fact_process_measurements) or TEST (fact_test_results)',
        'process_step_key': 'Step (dim_process_step)',
        'process_flow_id': 'Process flow, or test program',
        'flow_version': 'Version of the flow',
        'step_number': 'Step of the flow, or test stage',
        'step_name': 'Name of the step',
        'product_key': 'Product (dim_product)',
        'product_id': 'Product',
        'product_revision': 'Design revision',
        'parameter': 'Name of the parameter; of a test number that lists name differently, the first name',
        'unit': 'Unit of value and limits',
        'limit_version': "Version of the limits, where they are the step's",
        'lsl': "Lower specification limit: the list's (the file's), else the step's",
        'target': 'Target of the step',
        'usl': 'Upper specification limit, likewise',
        'n': 'Values, count',
        'mean': 'Mean of the values',
        'sigma': 'Sample standard deviation of all values; NULL for fewer than two',
        'min_value': 'Least value',
        'max_value': 'Greatest value',
        'cp': '(USL - LSL) / 6 sigma_within; NULL where that is 0 or NULL, or a limit is missing',
        'cpk': 'min(USL - mean, mean - LSL) / 3 sigma_within, from the one side where a limit is missing; NULL where sigma_within is 0 or NULL, or both are',
        'sigma_within': 'Standard deviation within lots, pooled; NULL where no lot has two values',
        'lots': 'Lots, count',
        'pp': '(USL - LSL) / 6 sigma; NULL where that is 0 or NULL, or a limit is missing',
        'ppk': 'min(USL - mean, mean - LSL) / 3 sigma, likewise',
        'test_number': 'Number of the test; NULL where it has none',
        'test_name': 'Name of the test (STDF V4 TEST_TXT)',
        'pin': 'Pin of one result of several; NULL where the value is not of a list',
        'occurrence': '1, 2, ... of a test that is repeated within an insertion; NULL where the value is not of a list',
    },
}
