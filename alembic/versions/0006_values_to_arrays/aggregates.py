"""The statements that make the aggregates of a month. Frozen."""

from __future__ import annotations

import sqlalchemy as sa

from gpwarehouse.models import FACTS, SCHEMA
from gpwarehouse.months import ensure_months

TESTS_ARRAY = """
INSERT INTO {schema}.agg_test_values (wafer_key, event_month, lot_key, product_key, process_step_key, is_final_result, head_no, site_no, batch_id, parameter_set_key, position, parameter, n, mean, m2, min_value, q1, median, q3, max_value, n_executed, n_failed, first_ts, last_ts)
SELECT g.wafer_key, g.event_month, g.lot_key, g.product_key, g.process_step_key, g.is_final_result, CAST(NULL AS integer) AS head_no, CAST(NULL AS integer) AS site_no, g.batch_id, g.parameter_set_key, x.position, x.parameter, x.n, x.mean, x.m2, x.min_value, x.q1, x.median, x.q3, x.max_value, x.n_executed, x.n_failed, g.first_ts, g.last_ts
FROM (
    SELECT y.wafer_key, y.g, y.position, y.parameter, coalesce(max(y.n), 0) AS n, max(y.mean) AS mean,
           max(y.m2) AS m2, max(y.min_value) AS min_value, max(y.quartiles[1]) AS q1,
           max(y.quartiles[2]) AS median, max(y.quartiles[3]) AS q3, max(y.max_value) AS max_value,
           CAST(sum(y.n_executed) AS bigint) AS n_executed, CAST(sum(y.n_failed) AS bigint) AS n_failed
    FROM (
        SELECT a.wafer_key, a.g, a.position, a.parameter, a.n, a.mean,
               CASE WHEN a.mean IS NOT NULL
                    THEN (SELECT sum(CASE WHEN abs(e.value - a.mean) > 1e-140 THEN (e.value - a.mean) ^ 2 ELSE 0 END)
                          FROM unnest(a.elements) AS e (value)) END AS m2,
               a.min_value,
               CASE WHEN a.mean IS NOT NULL
                    THEN (SELECT percentile_cont(CAST(ARRAY[0.25, 0.5, 0.75] AS double precision[]))
                          WITHIN GROUP (ORDER BY e.value) FROM unnest(a.elements) AS e (value)) END AS quartiles,
               a.max_value, CAST(NULL AS bigint) AS n_executed, CAST(NULL AS bigint) AS n_failed
        FROM (
            SELECT v.wafer_key, v.g, v.position, v.parameter, count(*) AS n,
                   CASE WHEN min(v.value) <= -1e140 OR max(v.value) >= 1e140 THEN NULL
                        WHEN min(v.value) = max(v.value) THEN min(v.value)
                        ELSE avg(CASE WHEN abs(v.value) < 1e140 THEN v.value END) END AS mean,
                   min(v.value) AS min_value, max(v.value) AS max_value, array_agg(v.value) AS elements
            FROM (
                SELECT f.wafer_key, r.g, generate_series(1, array_length(f.measured, 1)) AS position,
                       CAST(NULL AS text) AS parameter, unnest(f.measured) AS value
                FROM {schema}.fact_test_results f
                JOIN (
                    SELECT f.wafer_key, CAST(CAST('x' || substr(md5(concat_ws(chr(31), coalesce(CAST(f.wafer_key AS text), ''), coalesce(CAST(date_trunc('month', f.event_ts AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' AS text), ''), coalesce(CAST(f.lot_key AS text), ''), coalesce(CAST(f.product_key AS text), ''), coalesce(CAST(f.process_step_key AS text), ''), coalesce(CAST(coalesce(f.is_final_result, true) AS text), ''), coalesce(CAST(f.batch_id AS text), ''), coalesce(CAST(f.parameter_set_key AS text), ''))), 1, 16) AS bit(64)) AS bigint) AS g
                    FROM {schema}.fact_test_results f
                    WHERE {batch} AND f.parameter_set_key IS NOT NULL
                    GROUP BY 1, 2
                ) r ON r.wafer_key = f.wafer_key AND r.g = CAST(CAST('x' || substr(md5(concat_ws(chr(31), coalesce(CAST(f.wafer_key AS text), ''), coalesce(CAST(date_trunc('month', f.event_ts AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' AS text), ''), coalesce(CAST(f.lot_key AS text), ''), coalesce(CAST(f.product_key AS text), ''), coalesce(CAST(f.process_step_key AS text), ''), coalesce(CAST(coalesce(f.is_final_result, true) AS text), ''), coalesce(CAST(f.batch_id AS text), ''), coalesce(CAST(f.parameter_set_key AS text), ''))), 1, 16) AS bit(64)) AS bigint)
                WHERE {batch} AND f.parameter_set_key IS NOT NULL
            ) v
            WHERE v.value <> CAST('NaN' AS double precision)
            GROUP BY v.wafer_key, v.g, v.position, v.parameter
        ) a
        UNION ALL
        SELECT e.wafer_key, e.g, e.position, CAST(NULL AS text), CAST(NULL AS bigint),
               CAST(NULL AS double precision), CAST(NULL AS double precision), CAST(NULL AS double precision),
               CAST(NULL AS double precision[]), CAST(NULL AS double precision),
               CAST(sum(CASE WHEN e.letter <> '-' THEN e.n ELSE 0 END) AS bigint),
               CAST(sum(CASE WHEN e.letter = 'F' THEN e.n ELSE 0 END) AS bigint)
        FROM (
            SELECT t.wafer_key, t.g, t.n, generate_series(1, length(t.verdicts)) AS position,
                   unnest(string_to_array(t.verdicts, NULL)) AS letter
            FROM (
                SELECT c.wafer_key, c.g, c.verdicts, count(*) AS n
                FROM (
                    SELECT f.wafer_key, CAST(CAST('x' || substr(md5(concat_ws(chr(31), coalesce(CAST(f.wafer_key AS text), ''), coalesce(CAST(date_trunc('month', f.event_ts AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' AS text), ''), coalesce(CAST(f.lot_key AS text), ''), coalesce(CAST(f.product_key AS text), ''), coalesce(CAST(f.process_step_key AS text), ''), coalesce(CAST(coalesce(f.is_final_result, true) AS text), ''), coalesce(CAST(f.batch_id AS text), ''), coalesce(CAST(f.parameter_set_key AS text), ''))), 1, 16) AS bit(64)) AS bigint) AS g, f.verdicts
                    FROM {schema}.fact_test_results f
                    WHERE {batch} AND f.parameter_set_key IS NOT NULL AND f.verdicts <> ''
                ) c
                GROUP BY c.wafer_key, c.g, c.verdicts
            ) t
        ) e
        GROUP BY e.wafer_key, e.g, e.position
    ) y
    GROUP BY y.wafer_key, y.g, y.position, y.parameter
) x
JOIN (
    SELECT d.*, count(*) OVER (PARTITION BY d.wafer_key, d.event_month, d.lot_key, d.product_key, d.process_step_key, d.is_final_result, d.batch_id, d.parameter_set_key) AS sites
    FROM (
        SELECT f.wafer_key AS wafer_key, date_trunc('month', f.event_ts AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' AS event_month, f.lot_key AS lot_key, f.product_key AS product_key, f.process_step_key AS process_step_key, coalesce(f.is_final_result, true) AS is_final_result, f.batch_id AS batch_id, f.parameter_set_key AS parameter_set_key, CAST(CAST('x' || substr(md5(concat_ws(chr(31), coalesce(CAST(f.wafer_key AS text), ''), coalesce(CAST(date_trunc('month', f.event_ts AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' AS text), ''), coalesce(CAST(f.lot_key AS text), ''), coalesce(CAST(f.product_key AS text), ''), coalesce(CAST(f.process_step_key AS text), ''), coalesce(CAST(coalesce(f.is_final_result, true) AS text), ''), coalesce(CAST(f.batch_id AS text), ''), coalesce(CAST(f.parameter_set_key AS text), ''))), 1, 16) AS bit(64)) AS bigint) AS g,
               min(f.event_ts) AS first_ts, max(f.event_ts) AS last_ts
        FROM {schema}.fact_test_results f
        WHERE {batch} AND f.parameter_set_key IS NOT NULL
        GROUP BY f.wafer_key, date_trunc('month', f.event_ts AT TIME ZONE 'UTC') AT TIME ZONE 'UTC', f.lot_key, f.product_key, f.process_step_key, coalesce(f.is_final_result, true), f.batch_id, f.parameter_set_key
    ) d
) g ON g.wafer_key = x.wafer_key AND g.g = x.g
"""

TESTS_NAMES = """
INSERT INTO {schema}.agg_test_values (wafer_key, event_month, lot_key, product_key, process_step_key, is_final_result, head_no, site_no, batch_id, parameter_set_key, position, parameter, n, mean, m2, min_value, q1, median, q3, max_value, n_executed, n_failed, first_ts, last_ts)
SELECT g.wafer_key, g.event_month, g.lot_key, g.product_key, g.process_step_key, g.is_final_result, CAST(NULL AS integer) AS head_no, CAST(NULL AS integer) AS site_no, g.batch_id, g.parameter_set_key, x.position, x.parameter, x.n, x.mean, x.m2, x.min_value, x.q1, x.median, x.q3, x.max_value, x.n_executed, x.n_failed, g.first_ts, g.last_ts
FROM (
    SELECT y.wafer_key, y.g, y.position, y.parameter, coalesce(max(y.n), 0) AS n, max(y.mean) AS mean,
           max(y.m2) AS m2, max(y.min_value) AS min_value, max(y.quartiles[1]) AS q1,
           max(y.quartiles[2]) AS median, max(y.quartiles[3]) AS q3, max(y.max_value) AS max_value,
           CAST(sum(y.n_executed) AS bigint) AS n_executed, CAST(sum(y.n_failed) AS bigint) AS n_failed
    FROM (
        SELECT a.wafer_key, a.g, a.position, a.parameter, a.n, a.mean,
               CASE WHEN a.mean IS NOT NULL
                    THEN (SELECT sum(CASE WHEN abs(e.value - a.mean) > 1e-140 THEN (e.value - a.mean) ^ 2 ELSE 0 END)
                          FROM unnest(a.elements) AS e (value)) END AS m2,
               a.min_value,
               CASE WHEN a.mean IS NOT NULL
                    THEN (SELECT percentile_cont(CAST(ARRAY[0.25, 0.5, 0.75] AS double precision[]))
                          WITHIN GROUP (ORDER BY e.value) FROM unnest(a.elements) AS e (value)) END AS quartiles,
               a.max_value, CAST(NULL AS bigint) AS n_executed, CAST(NULL AS bigint) AS n_failed
        FROM (
            SELECT v.wafer_key, v.g, v.position, v.parameter, count(*) AS n,
                   CASE WHEN min(v.value) <= -1e140 OR max(v.value) >= 1e140 THEN NULL
                        WHEN min(v.value) = max(v.value) THEN min(v.value)
                        ELSE avg(CASE WHEN abs(v.value) < 1e140 THEN v.value END) END AS mean,
                   min(v.value) AS min_value, max(v.value) AS max_value, array_agg(v.value) AS elements
            FROM (
                SELECT f.wafer_key, r.g, 0 AS position,
                       unnest(CAST(ARRAY['vth_mv', 'idsat_ua_um', 'ileak_pa_um', 'tox_nm', 'rs_ohm_sq', 'rc_ohm', 'gm_ms_mm', 'bvdss_v', 'idd_ma', 'fmax_mhz'] AS text[])) AS parameter, unnest(ARRAY[f.vth_mv, f.idsat_ua_um, f.ileak_pa_um, f.tox_nm, f.rs_ohm_sq, f.rc_ohm, f.gm_ms_mm, f.bvdss_v, f.idd_ma, f.fmax_mhz]) AS value
                FROM {schema}.fact_test_results f
                JOIN (
                    SELECT f.wafer_key, CAST(CAST('x' || substr(md5(concat_ws(chr(31), coalesce(CAST(f.wafer_key AS text), ''), coalesce(CAST(date_trunc('month', f.event_ts AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' AS text), ''), coalesce(CAST(f.lot_key AS text), ''), coalesce(CAST(f.product_key AS text), ''), coalesce(CAST(f.process_step_key AS text), ''), coalesce(CAST(coalesce(f.is_final_result, true) AS text), ''), coalesce(CAST(f.batch_id AS text), ''), coalesce(CAST(CAST(-2 AS bigint) AS text), ''))), 1, 16) AS bit(64)) AS bigint) AS g
                    FROM {schema}.fact_test_results f
                    WHERE {batch} AND (coalesce(f.vth_mv, f.idsat_ua_um, f.ileak_pa_um, f.tox_nm, f.rs_ohm_sq, f.rc_ohm, f.gm_ms_mm, f.bvdss_v, f.idd_ma, f.fmax_mhz) IS NOT NULL OR f.parameters IS NOT NULL)
                    GROUP BY 1, 2
                ) r ON r.wafer_key = f.wafer_key AND r.g = CAST(CAST('x' || substr(md5(concat_ws(chr(31), coalesce(CAST(f.wafer_key AS text), ''), coalesce(CAST(date_trunc('month', f.event_ts AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' AS text), ''), coalesce(CAST(f.lot_key AS text), ''), coalesce(CAST(f.product_key AS text), ''), coalesce(CAST(f.process_step_key AS text), ''), coalesce(CAST(coalesce(f.is_final_result, true) AS text), ''), coalesce(CAST(f.batch_id AS text), ''), coalesce(CAST(CAST(-2 AS bigint) AS text), ''))), 1, 16) AS bit(64)) AS bigint)
                WHERE {batch} AND (coalesce(f.vth_mv, f.idsat_ua_um, f.ileak_pa_um, f.tox_nm, f.rs_ohm_sq, f.rc_ohm, f.gm_ms_mm, f.bvdss_v, f.idd_ma, f.fmax_mhz) IS NOT NULL OR f.parameters IS NOT NULL) AND coalesce(f.vth_mv, f.idsat_ua_um, f.ileak_pa_um, f.tox_nm, f.rs_ohm_sq, f.rc_ohm, f.gm_ms_mm, f.bvdss_v, f.idd_ma, f.fmax_mhz) IS NOT NULL
                UNION ALL
                SELECT f.wafer_key, r.g, 0 AS position, j.key AS parameter,
                       CASE WHEN jsonb_typeof(j.value) = 'number'
                            THEN CAST(CAST(j.value AS text) AS double precision) END AS value
                FROM {schema}.fact_test_results f
                JOIN (
                    SELECT f.wafer_key, CAST(CAST('x' || substr(md5(concat_ws(chr(31), coalesce(CAST(f.wafer_key AS text), ''), coalesce(CAST(date_trunc('month', f.event_ts AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' AS text), ''), coalesce(CAST(f.lot_key AS text), ''), coalesce(CAST(f.product_key AS text), ''), coalesce(CAST(f.process_step_key AS text), ''), coalesce(CAST(coalesce(f.is_final_result, true) AS text), ''), coalesce(CAST(f.batch_id AS text), ''), coalesce(CAST(CAST(-2 AS bigint) AS text), ''))), 1, 16) AS bit(64)) AS bigint) AS g
                    FROM {schema}.fact_test_results f
                    WHERE {batch} AND (coalesce(f.vth_mv, f.idsat_ua_um, f.ileak_pa_um, f.tox_nm, f.rs_ohm_sq, f.rc_ohm, f.gm_ms_mm, f.bvdss_v, f.idd_ma, f.fmax_mhz) IS NOT NULL OR f.parameters IS NOT NULL)
                    GROUP BY 1, 2
                ) r ON r.wafer_key = f.wafer_key AND r.g = CAST(CAST('x' || substr(md5(concat_ws(chr(31), coalesce(CAST(f.wafer_key AS text), ''), coalesce(CAST(date_trunc('month', f.event_ts AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' AS text), ''), coalesce(CAST(f.lot_key AS text), ''), coalesce(CAST(f.product_key AS text), ''), coalesce(CAST(f.process_step_key AS text), ''), coalesce(CAST(coalesce(f.is_final_result, true) AS text), ''), coalesce(CAST(f.batch_id AS text), ''), coalesce(CAST(CAST(-2 AS bigint) AS text), ''))), 1, 16) AS bit(64)) AS bigint)
                CROSS JOIN LATERAL jsonb_each(f.parameters) AS j (key, value)
                WHERE {batch} AND (coalesce(f.vth_mv, f.idsat_ua_um, f.ileak_pa_um, f.tox_nm, f.rs_ohm_sq, f.rc_ohm, f.gm_ms_mm, f.bvdss_v, f.idd_ma, f.fmax_mhz) IS NOT NULL OR f.parameters IS NOT NULL) AND jsonb_typeof(j.value) = 'number'
            ) v
            WHERE v.value <> CAST('NaN' AS double precision)
            GROUP BY v.wafer_key, v.g, v.position, v.parameter
        ) a
    ) y
    GROUP BY y.wafer_key, y.g, y.position, y.parameter
) x
JOIN (
    SELECT d.*, count(*) OVER (PARTITION BY d.wafer_key, d.event_month, d.lot_key, d.product_key, d.process_step_key, d.is_final_result, d.batch_id, d.parameter_set_key) AS sites
    FROM (
        SELECT f.wafer_key AS wafer_key, date_trunc('month', f.event_ts AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' AS event_month, f.lot_key AS lot_key, f.product_key AS product_key, f.process_step_key AS process_step_key, coalesce(f.is_final_result, true) AS is_final_result, f.batch_id AS batch_id, CAST(-2 AS bigint) AS parameter_set_key, CAST(CAST('x' || substr(md5(concat_ws(chr(31), coalesce(CAST(f.wafer_key AS text), ''), coalesce(CAST(date_trunc('month', f.event_ts AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' AS text), ''), coalesce(CAST(f.lot_key AS text), ''), coalesce(CAST(f.product_key AS text), ''), coalesce(CAST(f.process_step_key AS text), ''), coalesce(CAST(coalesce(f.is_final_result, true) AS text), ''), coalesce(CAST(f.batch_id AS text), ''), coalesce(CAST(CAST(-2 AS bigint) AS text), ''))), 1, 16) AS bit(64)) AS bigint) AS g,
               min(f.event_ts) AS first_ts, max(f.event_ts) AS last_ts
        FROM {schema}.fact_test_results f
        WHERE {batch} AND (coalesce(f.vth_mv, f.idsat_ua_um, f.ileak_pa_um, f.tox_nm, f.rs_ohm_sq, f.rc_ohm, f.gm_ms_mm, f.bvdss_v, f.idd_ma, f.fmax_mhz) IS NOT NULL OR f.parameters IS NOT NULL)
        GROUP BY f.wafer_key, date_trunc('month', f.event_ts AT TIME ZONE 'UTC') AT TIME ZONE 'UTC', f.lot_key, f.product_key, f.process_step_key, coalesce(f.is_final_result, true), f.batch_id
    ) d
) g ON g.wafer_key = x.wafer_key AND g.g = x.g
"""

TESTS_ARRAY_BY_SITE = """
INSERT INTO {schema}.agg_test_values (wafer_key, event_month, lot_key, product_key, process_step_key, is_final_result, head_no, site_no, batch_id, parameter_set_key, position, parameter, n, mean, m2, min_value, q1, median, q3, max_value, n_executed, n_failed, first_ts, last_ts)
SELECT g.wafer_key, g.event_month, g.lot_key, g.product_key, g.process_step_key, g.is_final_result, g.head_no, g.site_no, g.batch_id, g.parameter_set_key, x.position, x.parameter, x.n, x.mean, x.m2, x.min_value, x.q1, x.median, x.q3, x.max_value, x.n_executed, x.n_failed, g.first_ts, g.last_ts
FROM (
    SELECT y.wafer_key, y.g, y.position, y.parameter, coalesce(max(y.n), 0) AS n, max(y.mean) AS mean,
           max(y.m2) AS m2, max(y.min_value) AS min_value, max(y.quartiles[1]) AS q1,
           max(y.quartiles[2]) AS median, max(y.quartiles[3]) AS q3, max(y.max_value) AS max_value,
           CAST(sum(y.n_executed) AS bigint) AS n_executed, CAST(sum(y.n_failed) AS bigint) AS n_failed
    FROM (
        SELECT a.wafer_key, a.g, a.position, a.parameter, a.n, a.mean,
               CASE WHEN a.mean IS NOT NULL
                    THEN (SELECT sum(CASE WHEN abs(e.value - a.mean) > 1e-140 THEN (e.value - a.mean) ^ 2 ELSE 0 END)
                          FROM unnest(a.elements) AS e (value)) END AS m2,
               a.min_value,
               CASE WHEN a.mean IS NOT NULL
                    THEN (SELECT percentile_cont(CAST(ARRAY[0.25, 0.5, 0.75] AS double precision[]))
                          WITHIN GROUP (ORDER BY e.value) FROM unnest(a.elements) AS e (value)) END AS quartiles,
               a.max_value, CAST(NULL AS bigint) AS n_executed, CAST(NULL AS bigint) AS n_failed
        FROM (
            SELECT v.wafer_key, v.g, v.position, v.parameter, count(*) AS n,
                   CASE WHEN min(v.value) <= -1e140 OR max(v.value) >= 1e140 THEN NULL
                        WHEN min(v.value) = max(v.value) THEN min(v.value)
                        ELSE avg(CASE WHEN abs(v.value) < 1e140 THEN v.value END) END AS mean,
                   min(v.value) AS min_value, max(v.value) AS max_value, array_agg(v.value) AS elements
            FROM (
                SELECT f.wafer_key, r.g, generate_series(1, array_length(f.measured, 1)) AS position,
                       CAST(NULL AS text) AS parameter, unnest(f.measured) AS value
                FROM {schema}.fact_test_results f
                JOIN (
                    SELECT f.wafer_key, CAST(CAST('x' || substr(md5(concat_ws(chr(31), coalesce(CAST(f.wafer_key AS text), ''), coalesce(CAST(date_trunc('month', f.event_ts AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' AS text), ''), coalesce(CAST(f.lot_key AS text), ''), coalesce(CAST(f.product_key AS text), ''), coalesce(CAST(f.process_step_key AS text), ''), coalesce(CAST(coalesce(f.is_final_result, true) AS text), ''), coalesce(CAST(f.head_no AS text), ''), coalesce(CAST(f.site_no AS text), ''), coalesce(CAST(f.batch_id AS text), ''), coalesce(CAST(f.parameter_set_key AS text), ''))), 1, 16) AS bit(64)) AS bigint) AS g
                    FROM {schema}.fact_test_results f
                    WHERE {batch} AND f.parameter_set_key IS NOT NULL
                    GROUP BY 1, 2
                ) r ON r.wafer_key = f.wafer_key AND r.g = CAST(CAST('x' || substr(md5(concat_ws(chr(31), coalesce(CAST(f.wafer_key AS text), ''), coalesce(CAST(date_trunc('month', f.event_ts AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' AS text), ''), coalesce(CAST(f.lot_key AS text), ''), coalesce(CAST(f.product_key AS text), ''), coalesce(CAST(f.process_step_key AS text), ''), coalesce(CAST(coalesce(f.is_final_result, true) AS text), ''), coalesce(CAST(f.head_no AS text), ''), coalesce(CAST(f.site_no AS text), ''), coalesce(CAST(f.batch_id AS text), ''), coalesce(CAST(f.parameter_set_key AS text), ''))), 1, 16) AS bit(64)) AS bigint)
                WHERE {batch} AND f.parameter_set_key IS NOT NULL
            ) v
            WHERE v.value <> CAST('NaN' AS double precision)
            GROUP BY v.wafer_key, v.g, v.position, v.parameter
        ) a
        UNION ALL
        SELECT e.wafer_key, e.g, e.position, CAST(NULL AS text), CAST(NULL AS bigint),
               CAST(NULL AS double precision), CAST(NULL AS double precision), CAST(NULL AS double precision),
               CAST(NULL AS double precision[]), CAST(NULL AS double precision),
               CAST(sum(CASE WHEN e.letter <> '-' THEN e.n ELSE 0 END) AS bigint),
               CAST(sum(CASE WHEN e.letter = 'F' THEN e.n ELSE 0 END) AS bigint)
        FROM (
            SELECT t.wafer_key, t.g, t.n, generate_series(1, length(t.verdicts)) AS position,
                   unnest(string_to_array(t.verdicts, NULL)) AS letter
            FROM (
                SELECT c.wafer_key, c.g, c.verdicts, count(*) AS n
                FROM (
                    SELECT f.wafer_key, CAST(CAST('x' || substr(md5(concat_ws(chr(31), coalesce(CAST(f.wafer_key AS text), ''), coalesce(CAST(date_trunc('month', f.event_ts AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' AS text), ''), coalesce(CAST(f.lot_key AS text), ''), coalesce(CAST(f.product_key AS text), ''), coalesce(CAST(f.process_step_key AS text), ''), coalesce(CAST(coalesce(f.is_final_result, true) AS text), ''), coalesce(CAST(f.head_no AS text), ''), coalesce(CAST(f.site_no AS text), ''), coalesce(CAST(f.batch_id AS text), ''), coalesce(CAST(f.parameter_set_key AS text), ''))), 1, 16) AS bit(64)) AS bigint) AS g, f.verdicts
                    FROM {schema}.fact_test_results f
                    WHERE {batch} AND f.parameter_set_key IS NOT NULL AND f.verdicts <> ''
                ) c
                GROUP BY c.wafer_key, c.g, c.verdicts
            ) t
        ) e
        GROUP BY e.wafer_key, e.g, e.position
    ) y
    GROUP BY y.wafer_key, y.g, y.position, y.parameter
) x
JOIN (
    SELECT d.*, count(*) OVER (PARTITION BY d.wafer_key, d.event_month, d.lot_key, d.product_key, d.process_step_key, d.is_final_result, d.batch_id, d.parameter_set_key) AS sites
    FROM (
        SELECT f.wafer_key AS wafer_key, date_trunc('month', f.event_ts AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' AS event_month, f.lot_key AS lot_key, f.product_key AS product_key, f.process_step_key AS process_step_key, coalesce(f.is_final_result, true) AS is_final_result, f.head_no AS head_no, f.site_no AS site_no, f.batch_id AS batch_id, f.parameter_set_key AS parameter_set_key, CAST(CAST('x' || substr(md5(concat_ws(chr(31), coalesce(CAST(f.wafer_key AS text), ''), coalesce(CAST(date_trunc('month', f.event_ts AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' AS text), ''), coalesce(CAST(f.lot_key AS text), ''), coalesce(CAST(f.product_key AS text), ''), coalesce(CAST(f.process_step_key AS text), ''), coalesce(CAST(coalesce(f.is_final_result, true) AS text), ''), coalesce(CAST(f.head_no AS text), ''), coalesce(CAST(f.site_no AS text), ''), coalesce(CAST(f.batch_id AS text), ''), coalesce(CAST(f.parameter_set_key AS text), ''))), 1, 16) AS bit(64)) AS bigint) AS g,
               min(f.event_ts) AS first_ts, max(f.event_ts) AS last_ts
        FROM {schema}.fact_test_results f
        WHERE {batch} AND f.parameter_set_key IS NOT NULL
        GROUP BY f.wafer_key, date_trunc('month', f.event_ts AT TIME ZONE 'UTC') AT TIME ZONE 'UTC', f.lot_key, f.product_key, f.process_step_key, coalesce(f.is_final_result, true), f.head_no, f.site_no, f.batch_id, f.parameter_set_key
    ) d
) g ON g.wafer_key = x.wafer_key AND g.g = x.g AND g.sites > 1
"""

TESTS_NAMES_BY_SITE = """
INSERT INTO {schema}.agg_test_values (wafer_key, event_month, lot_key, product_key, process_step_key, is_final_result, head_no, site_no, batch_id, parameter_set_key, position, parameter, n, mean, m2, min_value, q1, median, q3, max_value, n_executed, n_failed, first_ts, last_ts)
SELECT g.wafer_key, g.event_month, g.lot_key, g.product_key, g.process_step_key, g.is_final_result, g.head_no, g.site_no, g.batch_id, g.parameter_set_key, x.position, x.parameter, x.n, x.mean, x.m2, x.min_value, x.q1, x.median, x.q3, x.max_value, x.n_executed, x.n_failed, g.first_ts, g.last_ts
FROM (
    SELECT y.wafer_key, y.g, y.position, y.parameter, coalesce(max(y.n), 0) AS n, max(y.mean) AS mean,
           max(y.m2) AS m2, max(y.min_value) AS min_value, max(y.quartiles[1]) AS q1,
           max(y.quartiles[2]) AS median, max(y.quartiles[3]) AS q3, max(y.max_value) AS max_value,
           CAST(sum(y.n_executed) AS bigint) AS n_executed, CAST(sum(y.n_failed) AS bigint) AS n_failed
    FROM (
        SELECT a.wafer_key, a.g, a.position, a.parameter, a.n, a.mean,
               CASE WHEN a.mean IS NOT NULL
                    THEN (SELECT sum(CASE WHEN abs(e.value - a.mean) > 1e-140 THEN (e.value - a.mean) ^ 2 ELSE 0 END)
                          FROM unnest(a.elements) AS e (value)) END AS m2,
               a.min_value,
               CASE WHEN a.mean IS NOT NULL
                    THEN (SELECT percentile_cont(CAST(ARRAY[0.25, 0.5, 0.75] AS double precision[]))
                          WITHIN GROUP (ORDER BY e.value) FROM unnest(a.elements) AS e (value)) END AS quartiles,
               a.max_value, CAST(NULL AS bigint) AS n_executed, CAST(NULL AS bigint) AS n_failed
        FROM (
            SELECT v.wafer_key, v.g, v.position, v.parameter, count(*) AS n,
                   CASE WHEN min(v.value) <= -1e140 OR max(v.value) >= 1e140 THEN NULL
                        WHEN min(v.value) = max(v.value) THEN min(v.value)
                        ELSE avg(CASE WHEN abs(v.value) < 1e140 THEN v.value END) END AS mean,
                   min(v.value) AS min_value, max(v.value) AS max_value, array_agg(v.value) AS elements
            FROM (
                SELECT f.wafer_key, r.g, 0 AS position,
                       unnest(CAST(ARRAY['vth_mv', 'idsat_ua_um', 'ileak_pa_um', 'tox_nm', 'rs_ohm_sq', 'rc_ohm', 'gm_ms_mm', 'bvdss_v', 'idd_ma', 'fmax_mhz'] AS text[])) AS parameter, unnest(ARRAY[f.vth_mv, f.idsat_ua_um, f.ileak_pa_um, f.tox_nm, f.rs_ohm_sq, f.rc_ohm, f.gm_ms_mm, f.bvdss_v, f.idd_ma, f.fmax_mhz]) AS value
                FROM {schema}.fact_test_results f
                JOIN (
                    SELECT f.wafer_key, CAST(CAST('x' || substr(md5(concat_ws(chr(31), coalesce(CAST(f.wafer_key AS text), ''), coalesce(CAST(date_trunc('month', f.event_ts AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' AS text), ''), coalesce(CAST(f.lot_key AS text), ''), coalesce(CAST(f.product_key AS text), ''), coalesce(CAST(f.process_step_key AS text), ''), coalesce(CAST(coalesce(f.is_final_result, true) AS text), ''), coalesce(CAST(f.head_no AS text), ''), coalesce(CAST(f.site_no AS text), ''), coalesce(CAST(f.batch_id AS text), ''), coalesce(CAST(CAST(-2 AS bigint) AS text), ''))), 1, 16) AS bit(64)) AS bigint) AS g
                    FROM {schema}.fact_test_results f
                    WHERE {batch} AND (coalesce(f.vth_mv, f.idsat_ua_um, f.ileak_pa_um, f.tox_nm, f.rs_ohm_sq, f.rc_ohm, f.gm_ms_mm, f.bvdss_v, f.idd_ma, f.fmax_mhz) IS NOT NULL OR f.parameters IS NOT NULL)
                    GROUP BY 1, 2
                ) r ON r.wafer_key = f.wafer_key AND r.g = CAST(CAST('x' || substr(md5(concat_ws(chr(31), coalesce(CAST(f.wafer_key AS text), ''), coalesce(CAST(date_trunc('month', f.event_ts AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' AS text), ''), coalesce(CAST(f.lot_key AS text), ''), coalesce(CAST(f.product_key AS text), ''), coalesce(CAST(f.process_step_key AS text), ''), coalesce(CAST(coalesce(f.is_final_result, true) AS text), ''), coalesce(CAST(f.head_no AS text), ''), coalesce(CAST(f.site_no AS text), ''), coalesce(CAST(f.batch_id AS text), ''), coalesce(CAST(CAST(-2 AS bigint) AS text), ''))), 1, 16) AS bit(64)) AS bigint)
                WHERE {batch} AND (coalesce(f.vth_mv, f.idsat_ua_um, f.ileak_pa_um, f.tox_nm, f.rs_ohm_sq, f.rc_ohm, f.gm_ms_mm, f.bvdss_v, f.idd_ma, f.fmax_mhz) IS NOT NULL OR f.parameters IS NOT NULL) AND coalesce(f.vth_mv, f.idsat_ua_um, f.ileak_pa_um, f.tox_nm, f.rs_ohm_sq, f.rc_ohm, f.gm_ms_mm, f.bvdss_v, f.idd_ma, f.fmax_mhz) IS NOT NULL
                UNION ALL
                SELECT f.wafer_key, r.g, 0 AS position, j.key AS parameter,
                       CASE WHEN jsonb_typeof(j.value) = 'number'
                            THEN CAST(CAST(j.value AS text) AS double precision) END AS value
                FROM {schema}.fact_test_results f
                JOIN (
                    SELECT f.wafer_key, CAST(CAST('x' || substr(md5(concat_ws(chr(31), coalesce(CAST(f.wafer_key AS text), ''), coalesce(CAST(date_trunc('month', f.event_ts AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' AS text), ''), coalesce(CAST(f.lot_key AS text), ''), coalesce(CAST(f.product_key AS text), ''), coalesce(CAST(f.process_step_key AS text), ''), coalesce(CAST(coalesce(f.is_final_result, true) AS text), ''), coalesce(CAST(f.head_no AS text), ''), coalesce(CAST(f.site_no AS text), ''), coalesce(CAST(f.batch_id AS text), ''), coalesce(CAST(CAST(-2 AS bigint) AS text), ''))), 1, 16) AS bit(64)) AS bigint) AS g
                    FROM {schema}.fact_test_results f
                    WHERE {batch} AND (coalesce(f.vth_mv, f.idsat_ua_um, f.ileak_pa_um, f.tox_nm, f.rs_ohm_sq, f.rc_ohm, f.gm_ms_mm, f.bvdss_v, f.idd_ma, f.fmax_mhz) IS NOT NULL OR f.parameters IS NOT NULL)
                    GROUP BY 1, 2
                ) r ON r.wafer_key = f.wafer_key AND r.g = CAST(CAST('x' || substr(md5(concat_ws(chr(31), coalesce(CAST(f.wafer_key AS text), ''), coalesce(CAST(date_trunc('month', f.event_ts AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' AS text), ''), coalesce(CAST(f.lot_key AS text), ''), coalesce(CAST(f.product_key AS text), ''), coalesce(CAST(f.process_step_key AS text), ''), coalesce(CAST(coalesce(f.is_final_result, true) AS text), ''), coalesce(CAST(f.head_no AS text), ''), coalesce(CAST(f.site_no AS text), ''), coalesce(CAST(f.batch_id AS text), ''), coalesce(CAST(CAST(-2 AS bigint) AS text), ''))), 1, 16) AS bit(64)) AS bigint)
                CROSS JOIN LATERAL jsonb_each(f.parameters) AS j (key, value)
                WHERE {batch} AND (coalesce(f.vth_mv, f.idsat_ua_um, f.ileak_pa_um, f.tox_nm, f.rs_ohm_sq, f.rc_ohm, f.gm_ms_mm, f.bvdss_v, f.idd_ma, f.fmax_mhz) IS NOT NULL OR f.parameters IS NOT NULL) AND jsonb_typeof(j.value) = 'number'
            ) v
            WHERE v.value <> CAST('NaN' AS double precision)
            GROUP BY v.wafer_key, v.g, v.position, v.parameter
        ) a
    ) y
    GROUP BY y.wafer_key, y.g, y.position, y.parameter
) x
JOIN (
    SELECT d.*, count(*) OVER (PARTITION BY d.wafer_key, d.event_month, d.lot_key, d.product_key, d.process_step_key, d.is_final_result, d.batch_id, d.parameter_set_key) AS sites
    FROM (
        SELECT f.wafer_key AS wafer_key, date_trunc('month', f.event_ts AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' AS event_month, f.lot_key AS lot_key, f.product_key AS product_key, f.process_step_key AS process_step_key, coalesce(f.is_final_result, true) AS is_final_result, f.head_no AS head_no, f.site_no AS site_no, f.batch_id AS batch_id, CAST(-2 AS bigint) AS parameter_set_key, CAST(CAST('x' || substr(md5(concat_ws(chr(31), coalesce(CAST(f.wafer_key AS text), ''), coalesce(CAST(date_trunc('month', f.event_ts AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' AS text), ''), coalesce(CAST(f.lot_key AS text), ''), coalesce(CAST(f.product_key AS text), ''), coalesce(CAST(f.process_step_key AS text), ''), coalesce(CAST(coalesce(f.is_final_result, true) AS text), ''), coalesce(CAST(f.head_no AS text), ''), coalesce(CAST(f.site_no AS text), ''), coalesce(CAST(f.batch_id AS text), ''), coalesce(CAST(CAST(-2 AS bigint) AS text), ''))), 1, 16) AS bit(64)) AS bigint) AS g,
               min(f.event_ts) AS first_ts, max(f.event_ts) AS last_ts
        FROM {schema}.fact_test_results f
        WHERE {batch} AND (coalesce(f.vth_mv, f.idsat_ua_um, f.ileak_pa_um, f.tox_nm, f.rs_ohm_sq, f.rc_ohm, f.gm_ms_mm, f.bvdss_v, f.idd_ma, f.fmax_mhz) IS NOT NULL OR f.parameters IS NOT NULL)
        GROUP BY f.wafer_key, date_trunc('month', f.event_ts AT TIME ZONE 'UTC') AT TIME ZONE 'UTC', f.lot_key, f.product_key, f.process_step_key, coalesce(f.is_final_result, true), f.head_no, f.site_no, f.batch_id
    ) d
) g ON g.wafer_key = x.wafer_key AND g.g = x.g AND g.sites > 1
"""

PROCESS_ARRAY = """
INSERT INTO {schema}.agg_process_values (lot_key, event_month, product_key, process_step_key, equipment_key, chamber_key, visit_no, batch_id, parameter_set_key, position, parameter, n, mean, m2, min_value, q1, median, q3, max_value, n_wafers, first_ts, last_ts)
SELECT g.lot_key, g.event_month, g.product_key, g.process_step_key, g.equipment_key, g.chamber_key, g.visit_no, g.batch_id, g.parameter_set_key, x.position, x.parameter, x.n, x.mean, x.m2, x.min_value, x.q1, x.median, x.q3, x.max_value, g.n_wafers, g.first_ts, g.last_ts
FROM (
    SELECT y.lot_key, y.g, y.position, y.parameter, coalesce(max(y.n), 0) AS n, max(y.mean) AS mean,
           max(y.m2) AS m2, max(y.min_value) AS min_value, max(y.quartiles[1]) AS q1,
           max(y.quartiles[2]) AS median, max(y.quartiles[3]) AS q3, max(y.max_value) AS max_value,
           CAST(sum(y.n_executed) AS bigint) AS n_executed, CAST(sum(y.n_failed) AS bigint) AS n_failed
    FROM (
        SELECT a.lot_key, a.g, a.position, a.parameter, a.n, a.mean,
               CASE WHEN a.mean IS NOT NULL
                    THEN (SELECT sum(CASE WHEN abs(e.value - a.mean) > 1e-140 THEN (e.value - a.mean) ^ 2 ELSE 0 END)
                          FROM unnest(a.elements) AS e (value)) END AS m2,
               a.min_value,
               CASE WHEN a.mean IS NOT NULL
                    THEN (SELECT percentile_cont(CAST(ARRAY[0.25, 0.5, 0.75] AS double precision[]))
                          WITHIN GROUP (ORDER BY e.value) FROM unnest(a.elements) AS e (value)) END AS quartiles,
               a.max_value, CAST(NULL AS bigint) AS n_executed, CAST(NULL AS bigint) AS n_failed
        FROM (
            SELECT v.lot_key, v.g, v.position, v.parameter, count(*) AS n,
                   CASE WHEN min(v.value) <= -1e140 OR max(v.value) >= 1e140 THEN NULL
                        WHEN min(v.value) = max(v.value) THEN min(v.value)
                        ELSE avg(CASE WHEN abs(v.value) < 1e140 THEN v.value END) END AS mean,
                   min(v.value) AS min_value, max(v.value) AS max_value, array_agg(v.value) AS elements
            FROM (
                SELECT f.lot_key, r.g, generate_series(1, array_length(f.measured, 1)) AS position,
                       CAST(NULL AS text) AS parameter, unnest(f.measured) AS value
                FROM {schema}.fact_process_measurements f
                JOIN (
                    SELECT f.lot_key, CAST(CAST('x' || substr(md5(concat_ws(chr(31), coalesce(CAST(f.lot_key AS text), ''), coalesce(CAST(date_trunc('month', f.event_ts AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' AS text), ''), coalesce(CAST(f.product_key AS text), ''), coalesce(CAST(f.process_step_key AS text), ''), coalesce(CAST(f.equipment_key AS text), ''), coalesce(CAST(f.chamber_key AS text), ''), coalesce(CAST(f.visit_no AS text), ''), coalesce(CAST(f.batch_id AS text), ''), coalesce(CAST(f.parameter_set_key AS text), ''))), 1, 16) AS bit(64)) AS bigint) AS g
                    FROM {schema}.fact_process_measurements f
                    WHERE {batch} AND f.parameter_set_key IS NOT NULL
                    GROUP BY 1, 2
                ) r ON r.lot_key = f.lot_key AND r.g = CAST(CAST('x' || substr(md5(concat_ws(chr(31), coalesce(CAST(f.lot_key AS text), ''), coalesce(CAST(date_trunc('month', f.event_ts AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' AS text), ''), coalesce(CAST(f.product_key AS text), ''), coalesce(CAST(f.process_step_key AS text), ''), coalesce(CAST(f.equipment_key AS text), ''), coalesce(CAST(f.chamber_key AS text), ''), coalesce(CAST(f.visit_no AS text), ''), coalesce(CAST(f.batch_id AS text), ''), coalesce(CAST(f.parameter_set_key AS text), ''))), 1, 16) AS bit(64)) AS bigint)
                WHERE {batch} AND f.parameter_set_key IS NOT NULL
            ) v
            WHERE v.value <> CAST('NaN' AS double precision)
            GROUP BY v.lot_key, v.g, v.position, v.parameter
        ) a
    ) y
    GROUP BY y.lot_key, y.g, y.position, y.parameter
) x
JOIN (
    SELECT d.*, count(*) OVER (PARTITION BY d.lot_key, d.event_month, d.product_key, d.process_step_key, d.equipment_key, d.chamber_key, d.visit_no, d.batch_id, d.parameter_set_key) AS sites
    FROM (
        SELECT f.lot_key AS lot_key, date_trunc('month', f.event_ts AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' AS event_month, f.product_key AS product_key, f.process_step_key AS process_step_key, f.equipment_key AS equipment_key, f.chamber_key AS chamber_key, f.visit_no AS visit_no, f.batch_id AS batch_id, f.parameter_set_key AS parameter_set_key, CAST(CAST('x' || substr(md5(concat_ws(chr(31), coalesce(CAST(f.lot_key AS text), ''), coalesce(CAST(date_trunc('month', f.event_ts AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' AS text), ''), coalesce(CAST(f.product_key AS text), ''), coalesce(CAST(f.process_step_key AS text), ''), coalesce(CAST(f.equipment_key AS text), ''), coalesce(CAST(f.chamber_key AS text), ''), coalesce(CAST(f.visit_no AS text), ''), coalesce(CAST(f.batch_id AS text), ''), coalesce(CAST(f.parameter_set_key AS text), ''))), 1, 16) AS bit(64)) AS bigint) AS g,
               min(f.event_ts) AS first_ts, max(f.event_ts) AS last_ts, count(DISTINCT f.wafer_key) AS n_wafers
        FROM {schema}.fact_process_measurements f
        WHERE {batch} AND f.parameter_set_key IS NOT NULL
        GROUP BY f.lot_key, date_trunc('month', f.event_ts AT TIME ZONE 'UTC') AT TIME ZONE 'UTC', f.product_key, f.process_step_key, f.equipment_key, f.chamber_key, f.visit_no, f.batch_id, f.parameter_set_key
    ) d
) g ON g.lot_key = x.lot_key AND g.g = x.g
"""

PROCESS_NAMES = """
INSERT INTO {schema}.agg_process_values (lot_key, event_month, product_key, process_step_key, equipment_key, chamber_key, visit_no, batch_id, parameter_set_key, position, parameter, n, mean, m2, min_value, q1, median, q3, max_value, n_wafers, first_ts, last_ts)
SELECT g.lot_key, g.event_month, g.product_key, g.process_step_key, g.equipment_key, g.chamber_key, g.visit_no, g.batch_id, g.parameter_set_key, x.position, x.parameter, x.n, x.mean, x.m2, x.min_value, x.q1, x.median, x.q3, x.max_value, g.n_wafers, g.first_ts, g.last_ts
FROM (
    SELECT y.lot_key, y.g, y.position, y.parameter, coalesce(max(y.n), 0) AS n, max(y.mean) AS mean,
           max(y.m2) AS m2, max(y.min_value) AS min_value, max(y.quartiles[1]) AS q1,
           max(y.quartiles[2]) AS median, max(y.quartiles[3]) AS q3, max(y.max_value) AS max_value,
           CAST(sum(y.n_executed) AS bigint) AS n_executed, CAST(sum(y.n_failed) AS bigint) AS n_failed
    FROM (
        SELECT a.lot_key, a.g, a.position, a.parameter, a.n, a.mean,
               CASE WHEN a.mean IS NOT NULL
                    THEN (SELECT sum(CASE WHEN abs(e.value - a.mean) > 1e-140 THEN (e.value - a.mean) ^ 2 ELSE 0 END)
                          FROM unnest(a.elements) AS e (value)) END AS m2,
               a.min_value,
               CASE WHEN a.mean IS NOT NULL
                    THEN (SELECT percentile_cont(CAST(ARRAY[0.25, 0.5, 0.75] AS double precision[]))
                          WITHIN GROUP (ORDER BY e.value) FROM unnest(a.elements) AS e (value)) END AS quartiles,
               a.max_value, CAST(NULL AS bigint) AS n_executed, CAST(NULL AS bigint) AS n_failed
        FROM (
            SELECT v.lot_key, v.g, v.position, v.parameter, count(*) AS n,
                   CASE WHEN min(v.value) <= -1e140 OR max(v.value) >= 1e140 THEN NULL
                        WHEN min(v.value) = max(v.value) THEN min(v.value)
                        ELSE avg(CASE WHEN abs(v.value) < 1e140 THEN v.value END) END AS mean,
                   min(v.value) AS min_value, max(v.value) AS max_value, array_agg(v.value) AS elements
            FROM (
                SELECT f.lot_key, r.g, 0 AS position,
                       unnest(CAST(ARRAY['temperature_c', 'pressure_torr', 'rf_power_w', 'rf_bias_power_w', 'reflected_power_w', 'gas_flow_sccm', 'chuck_temp_c', 'endpoint_time_s', 'film_thickness_nm', 'cd_nm', 'overlay_x_nm', 'overlay_y_nm', 'etch_rate_nm_min', 'deposition_rate_nm_min', 'removal_rate_nm_min', 'refractive_index', 'sheet_resistance_ohm_sq', 'uniformity_pct'] AS text[])) AS parameter, unnest(ARRAY[f.temperature_c, f.pressure_torr, f.rf_power_w, f.rf_bias_power_w, f.reflected_power_w, f.gas_flow_sccm, f.chuck_temp_c, f.endpoint_time_s, f.film_thickness_nm, f.cd_nm, f.overlay_x_nm, f.overlay_y_nm, f.etch_rate_nm_min, f.deposition_rate_nm_min, f.removal_rate_nm_min, f.refractive_index, f.sheet_resistance_ohm_sq, f.uniformity_pct]) AS value
                FROM {schema}.fact_process_measurements f
                JOIN (
                    SELECT f.lot_key, CAST(CAST('x' || substr(md5(concat_ws(chr(31), coalesce(CAST(f.lot_key AS text), ''), coalesce(CAST(date_trunc('month', f.event_ts AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' AS text), ''), coalesce(CAST(f.product_key AS text), ''), coalesce(CAST(f.process_step_key AS text), ''), coalesce(CAST(f.equipment_key AS text), ''), coalesce(CAST(f.chamber_key AS text), ''), coalesce(CAST(f.visit_no AS text), ''), coalesce(CAST(f.batch_id AS text), ''), coalesce(CAST(CAST(-2 AS bigint) AS text), ''))), 1, 16) AS bit(64)) AS bigint) AS g
                    FROM {schema}.fact_process_measurements f
                    WHERE {batch} AND (coalesce(f.temperature_c, f.pressure_torr, f.rf_power_w, f.rf_bias_power_w, f.reflected_power_w, f.gas_flow_sccm, f.chuck_temp_c, f.endpoint_time_s, f.film_thickness_nm, f.cd_nm, f.overlay_x_nm, f.overlay_y_nm, f.etch_rate_nm_min, f.deposition_rate_nm_min, f.removal_rate_nm_min, f.refractive_index, f.sheet_resistance_ohm_sq, f.uniformity_pct) IS NOT NULL OR f.parameters IS NOT NULL)
                    GROUP BY 1, 2
                ) r ON r.lot_key = f.lot_key AND r.g = CAST(CAST('x' || substr(md5(concat_ws(chr(31), coalesce(CAST(f.lot_key AS text), ''), coalesce(CAST(date_trunc('month', f.event_ts AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' AS text), ''), coalesce(CAST(f.product_key AS text), ''), coalesce(CAST(f.process_step_key AS text), ''), coalesce(CAST(f.equipment_key AS text), ''), coalesce(CAST(f.chamber_key AS text), ''), coalesce(CAST(f.visit_no AS text), ''), coalesce(CAST(f.batch_id AS text), ''), coalesce(CAST(CAST(-2 AS bigint) AS text), ''))), 1, 16) AS bit(64)) AS bigint)
                WHERE {batch} AND (coalesce(f.temperature_c, f.pressure_torr, f.rf_power_w, f.rf_bias_power_w, f.reflected_power_w, f.gas_flow_sccm, f.chuck_temp_c, f.endpoint_time_s, f.film_thickness_nm, f.cd_nm, f.overlay_x_nm, f.overlay_y_nm, f.etch_rate_nm_min, f.deposition_rate_nm_min, f.removal_rate_nm_min, f.refractive_index, f.sheet_resistance_ohm_sq, f.uniformity_pct) IS NOT NULL OR f.parameters IS NOT NULL) AND coalesce(f.temperature_c, f.pressure_torr, f.rf_power_w, f.rf_bias_power_w, f.reflected_power_w, f.gas_flow_sccm, f.chuck_temp_c, f.endpoint_time_s, f.film_thickness_nm, f.cd_nm, f.overlay_x_nm, f.overlay_y_nm, f.etch_rate_nm_min, f.deposition_rate_nm_min, f.removal_rate_nm_min, f.refractive_index, f.sheet_resistance_ohm_sq, f.uniformity_pct) IS NOT NULL
                UNION ALL
                SELECT f.lot_key, r.g, 0 AS position, j.key AS parameter,
                       CASE WHEN jsonb_typeof(j.value) = 'number'
                            THEN CAST(CAST(j.value AS text) AS double precision) END AS value
                FROM {schema}.fact_process_measurements f
                JOIN (
                    SELECT f.lot_key, CAST(CAST('x' || substr(md5(concat_ws(chr(31), coalesce(CAST(f.lot_key AS text), ''), coalesce(CAST(date_trunc('month', f.event_ts AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' AS text), ''), coalesce(CAST(f.product_key AS text), ''), coalesce(CAST(f.process_step_key AS text), ''), coalesce(CAST(f.equipment_key AS text), ''), coalesce(CAST(f.chamber_key AS text), ''), coalesce(CAST(f.visit_no AS text), ''), coalesce(CAST(f.batch_id AS text), ''), coalesce(CAST(CAST(-2 AS bigint) AS text), ''))), 1, 16) AS bit(64)) AS bigint) AS g
                    FROM {schema}.fact_process_measurements f
                    WHERE {batch} AND (coalesce(f.temperature_c, f.pressure_torr, f.rf_power_w, f.rf_bias_power_w, f.reflected_power_w, f.gas_flow_sccm, f.chuck_temp_c, f.endpoint_time_s, f.film_thickness_nm, f.cd_nm, f.overlay_x_nm, f.overlay_y_nm, f.etch_rate_nm_min, f.deposition_rate_nm_min, f.removal_rate_nm_min, f.refractive_index, f.sheet_resistance_ohm_sq, f.uniformity_pct) IS NOT NULL OR f.parameters IS NOT NULL)
                    GROUP BY 1, 2
                ) r ON r.lot_key = f.lot_key AND r.g = CAST(CAST('x' || substr(md5(concat_ws(chr(31), coalesce(CAST(f.lot_key AS text), ''), coalesce(CAST(date_trunc('month', f.event_ts AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' AS text), ''), coalesce(CAST(f.product_key AS text), ''), coalesce(CAST(f.process_step_key AS text), ''), coalesce(CAST(f.equipment_key AS text), ''), coalesce(CAST(f.chamber_key AS text), ''), coalesce(CAST(f.visit_no AS text), ''), coalesce(CAST(f.batch_id AS text), ''), coalesce(CAST(CAST(-2 AS bigint) AS text), ''))), 1, 16) AS bit(64)) AS bigint)
                CROSS JOIN LATERAL jsonb_each(f.parameters) AS j (key, value)
                WHERE {batch} AND (coalesce(f.temperature_c, f.pressure_torr, f.rf_power_w, f.rf_bias_power_w, f.reflected_power_w, f.gas_flow_sccm, f.chuck_temp_c, f.endpoint_time_s, f.film_thickness_nm, f.cd_nm, f.overlay_x_nm, f.overlay_y_nm, f.etch_rate_nm_min, f.deposition_rate_nm_min, f.removal_rate_nm_min, f.refractive_index, f.sheet_resistance_ohm_sq, f.uniformity_pct) IS NOT NULL OR f.parameters IS NOT NULL) AND jsonb_typeof(j.value) = 'number'
            ) v
            WHERE v.value <> CAST('NaN' AS double precision)
            GROUP BY v.lot_key, v.g, v.position, v.parameter
        ) a
    ) y
    GROUP BY y.lot_key, y.g, y.position, y.parameter
) x
JOIN (
    SELECT d.*, count(*) OVER (PARTITION BY d.lot_key, d.event_month, d.product_key, d.process_step_key, d.equipment_key, d.chamber_key, d.visit_no, d.batch_id, d.parameter_set_key) AS sites
    FROM (
        SELECT f.lot_key AS lot_key, date_trunc('month', f.event_ts AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' AS event_month, f.product_key AS product_key, f.process_step_key AS process_step_key, f.equipment_key AS equipment_key, f.chamber_key AS chamber_key, f.visit_no AS visit_no, f.batch_id AS batch_id, CAST(-2 AS bigint) AS parameter_set_key, CAST(CAST('x' || substr(md5(concat_ws(chr(31), coalesce(CAST(f.lot_key AS text), ''), coalesce(CAST(date_trunc('month', f.event_ts AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' AS text), ''), coalesce(CAST(f.product_key AS text), ''), coalesce(CAST(f.process_step_key AS text), ''), coalesce(CAST(f.equipment_key AS text), ''), coalesce(CAST(f.chamber_key AS text), ''), coalesce(CAST(f.visit_no AS text), ''), coalesce(CAST(f.batch_id AS text), ''), coalesce(CAST(CAST(-2 AS bigint) AS text), ''))), 1, 16) AS bit(64)) AS bigint) AS g,
               min(f.event_ts) AS first_ts, max(f.event_ts) AS last_ts, count(DISTINCT f.wafer_key) AS n_wafers
        FROM {schema}.fact_process_measurements f
        WHERE {batch} AND (coalesce(f.temperature_c, f.pressure_torr, f.rf_power_w, f.rf_bias_power_w, f.reflected_power_w, f.gas_flow_sccm, f.chuck_temp_c, f.endpoint_time_s, f.film_thickness_nm, f.cd_nm, f.overlay_x_nm, f.overlay_y_nm, f.etch_rate_nm_min, f.deposition_rate_nm_min, f.removal_rate_nm_min, f.refractive_index, f.sheet_resistance_ohm_sq, f.uniformity_pct) IS NOT NULL OR f.parameters IS NOT NULL)
        GROUP BY f.lot_key, date_trunc('month', f.event_ts AT TIME ZONE 'UTC') AT TIME ZONE 'UTC', f.product_key, f.process_step_key, f.equipment_key, f.chamber_key, f.visit_no, f.batch_id
    ) d
) g ON g.lot_key = x.lot_key AND g.g = x.g
"""

STATEMENTS = {
    "fact_test_results": (TESTS_ARRAY, TESTS_NAMES, TESTS_ARRAY_BY_SITE, TESTS_NAMES_BY_SITE),
    "fact_process_measurements": (PROCESS_ARRAY, PROCESS_NAMES),
}
AGGREGATES = {"fact_test_results": "agg_test_values", "fact_process_measurements": "agg_process_values"}
MONTHS = "SELECT DISTINCT date_trunc('month', f.event_ts AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' FROM {schema}.{fact} f WHERE {batch}"


def make(connection, fact, schema, batch):
    """Make the aggregates of a month's rows."""
    quoted = connection.dialect.identifier_preparer.quote_schema(schema)
    names = {"schema": quoted, "batch": batch, "fact": fact}
    months = list(connection.execute(sa.text(MONTHS.format(**names).replace(":", r"\:"))).scalars())
    if not months:
        return
    engine = connection.engine.execution_options(schema_translate_map={SCHEMA: schema})
    ensure_months(engine, FACTS[fact].__table__, months)
    connection.execute(sa.text(f"DELETE FROM {quoted}.{AGGREGATES[fact]} WHERE event_month = ANY (:months)"), {"months": months})  # noqa: S608
    for statement in STATEMENTS[fact]:
        connection.execute(sa.text(statement.format(**names).replace(":", r"\:")))
