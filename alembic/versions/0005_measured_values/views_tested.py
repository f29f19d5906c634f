"""The views of tested units, in the order in which they can be made. Frozen."""

V_WAFER_YIELD = """
SELECT y.wafer_key, y.root_lot_id, y.wafer_id, y.lot_key, y.lot_id,
       y.product_key, p.product_id, p.revision AS product_revision,
       y.test_type, y.test_stage, y.test_program, y.program_revision, y.basis,
       y.insertions, y.tested, y.good, y.functional_fails, y.parametric_fails,
       CAST(100 AS double precision) * y.good / NULLIF(y.tested, 0) AS die_yield_pct,
       CAST(100 AS double precision) * (y.tested - y.functional_fails) / NULLIF(y.tested, 0) AS functional_yield_pct,
       CAST(100 AS double precision) * (y.tested - y.functional_fails - y.parametric_fails)
           / NULLIF(y.tested - y.functional_fails, 0) AS parametric_yield_pct,
       y.first_ts, y.last_ts, y.retested_unknown, p.gross_die_per_wafer AS gross_die,
       CAST(100 AS double precision) * y.good / NULLIF(p.gross_die_per_wafer, 0) AS gross_yield_pct
FROM (
    SELECT w.wafer_key, w.root_lot_id, w.wafer_id, w.lot_key, w.lot_id, w.test_type, w.test_stage, w.product_key, w.test_program, w.program_revision, b.basis,
           w.insertions, w.tested, w.retested_unknown, w.first_ts, w.last_ts,
           CASE b.basis WHEN 'FIRST' THEN w.first_good WHEN 'LAST' THEN w.last_good WHEN 'BEST' THEN w.best_good WHEN 'WORST' THEN w.worst_good END
               + CASE WHEN b.basis IN ('LAST', 'BEST') THEN w.recovered ELSE 0 END AS good,
           CASE WHEN b.basis IN ('FIRST', 'WORST') OR w.retested_unknown = 0 THEN CASE b.basis WHEN 'FIRST' THEN w.first_functional WHEN 'LAST' THEN w.last_functional WHEN 'BEST' THEN w.best_functional WHEN 'WORST' THEN w.worst_functional END END AS functional_fails,
           CASE WHEN b.basis IN ('FIRST', 'WORST') OR w.retested_unknown = 0 THEN CASE b.basis WHEN 'FIRST' THEN w.first_parametric WHEN 'LAST' THEN w.last_parametric WHEN 'BEST' THEN w.best_parametric WHEN 'WORST' THEN w.worst_parametric END END AS parametric_fails
    FROM (
        SELECT u.wafer_key, u.root_lot_id, u.wafer_id, u.lot_key, u.lot_id, u.test_type, u.test_stage,
               CASE WHEN min(u.first_product) = max(u.last_product) THEN min(u.first_product) ELSE -1 END AS product_key,
               CASE WHEN min(u.first_program) = max(u.last_program) THEN min(u.first_program) END AS test_program,
               CASE WHEN min(u.first_revision) = max(u.last_revision)
                    THEN min(u.first_revision) END AS program_revision,
               CAST(sum(u.insertions) AS bigint) AS insertions,
               count(CASE WHEN NOT u.is_retest_of_unknown THEN 1 END) AS tested,
               count(CASE WHEN u.is_retest_of_unknown THEN 1 END) AS retested_unknown,
               count(CASE WHEN NOT u.is_retest_of_unknown AND u.first_result = 0 THEN 1 END) AS first_good,
               count(CASE WHEN NOT u.is_retest_of_unknown AND u.last_result = 0 THEN 1 END) AS last_good,
               count(CASE WHEN NOT u.is_retest_of_unknown AND u.passed_once THEN 1 END) AS best_good,
               count(CASE WHEN NOT u.is_retest_of_unknown AND u.passed_always THEN 1 END) AS worst_good,
               count(CASE WHEN u.is_retest_of_unknown AND u.last_result = 0 THEN 1 END) AS recovered,
               count(CASE WHEN NOT u.is_retest_of_unknown AND u.first_result = 1 THEN 1 END) AS first_functional,
               count(CASE WHEN NOT u.is_retest_of_unknown AND u.last_result = 1 THEN 1 END) AS last_functional,
               count(CASE WHEN NOT u.is_retest_of_unknown AND NOT u.passed_once AND u.last_result = 1 THEN 1 END) AS best_functional,
               count(CASE WHEN NOT u.is_retest_of_unknown AND NOT u.passed_always AND u.failed_functional THEN 1 END) AS worst_functional,
               count(CASE WHEN NOT u.is_retest_of_unknown AND u.first_result = 2 THEN 1 END) AS first_parametric,
               count(CASE WHEN NOT u.is_retest_of_unknown AND u.last_result = 2 THEN 1 END) AS last_parametric,
               count(CASE WHEN NOT u.is_retest_of_unknown AND NOT u.passed_once AND u.last_result = 2 THEN 1 END) AS best_parametric,
               count(CASE WHEN NOT u.is_retest_of_unknown AND NOT u.passed_always AND NOT coalesce(u.failed_functional, false) AND u.failed_parametric THEN 1 END) AS worst_parametric,
               min(u.first_ts) AS first_ts, max(u.last_ts) AS last_ts
        FROM (
            SELECT f.wafer_key, w.root_lot_id, w.wafer_id, f.lot_key, l.lot_id, f.test_type, f.test_stage,
                   CASE WHEN f.unit_id IS NULL AND f.die_x IS NOT NULL AND f.die_y IS NOT NULL AND f.test_type IS DISTINCT FROM 'FT' THEN f.die_x END AS unit_x,
                   CASE WHEN f.unit_id IS NULL AND f.die_x IS NOT NULL AND f.die_y IS NOT NULL AND f.test_type IS DISTINCT FROM 'FT' THEN f.die_y END AS unit_y,
                   CASE WHEN f.unit_id IS NOT NULL THEN f.unit_id WHEN f.unit_id IS NULL AND f.die_x IS NOT NULL AND f.die_y IS NOT NULL AND f.test_type IS DISTINCT FROM 'FT' THEN NULL
                 ELSE chr(31) || f.batch_id || chr(31) || coalesce(f.sublot_id, '') || chr(31)
                      || coalesce(CAST(f.head_no AS text), '') || chr(31) || coalesce(CAST(f.site_no AS text), '') || chr(31)
                      || coalesce(f.part_id, chr(31) || CAST(f.source_record_no AS text)) END AS unit_part,
                   f.retest_of_bins IS NOT NULL AND f.unit_id IS NULL AND NOT (f.unit_id IS NULL AND f.die_x IS NOT NULL AND f.die_y IS NOT NULL AND f.test_type IS DISTINCT FROM 'FT') AS is_retest_of_unknown,
                   count(*) AS insertions,
                   (min(ARRAY[CAST(extract(epoch FROM f.event_ts) AS double precision), coalesce(f.insertion_no, CAST('NaN' AS double precision)),
                  f.source_record_no, CASE WHEN f.is_pass THEN 0 WHEN f.fail_kind = 'FUNCTIONAL' THEN 1 WHEN f.fail_kind = 'PARAMETRIC' THEN 2 ELSE 3 END]))[4] AS first_result,
                   (max(ARRAY[CAST(extract(epoch FROM f.event_ts) AS double precision), coalesce(f.insertion_no, CAST('NaN' AS double precision)),
                  f.source_record_no, CASE WHEN f.is_pass THEN 0 WHEN f.fail_kind = 'FUNCTIONAL' THEN 1 WHEN f.fail_kind = 'PARAMETRIC' THEN 2 ELSE 3 END]))[4] AS last_result,
                   bool_or(f.is_pass) AS passed_once,
                   bool_and(f.is_pass) AS passed_always,
                   bool_or(f.fail_kind = 'FUNCTIONAL' AND NOT f.is_pass) AS failed_functional,
                   bool_or(f.fail_kind = 'PARAMETRIC' AND NOT f.is_pass) AS failed_parametric,
                   min(NULLIF(f.product_key, -1)) AS first_product, max(NULLIF(f.product_key, -1)) AS last_product,
                   min(f.test_program) AS first_program, max(f.test_program) AS last_program,
                   min(f.program_revision) AS first_revision, max(f.program_revision) AS last_revision,
                   min(f.event_ts) AS first_ts, max(f.event_ts) AS last_ts
            FROM {schema}.fact_test_results f
            LEFT JOIN {schema}.dim_wafer w ON w.wafer_key = f.wafer_key AND w.is_current
            LEFT JOIN {schema}.dim_lot l ON l.lot_key = f.lot_key AND l.is_current
            WHERE f.is_pass IS NOT NULL
            GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11
        ) u
        GROUP BY u.wafer_key, u.root_lot_id, u.wafer_id, u.lot_key, u.lot_id, u.test_type, u.test_stage
    ) w
    CROSS JOIN (VALUES (CAST('FIRST' AS text)), ('LAST'), ('BEST'), ('WORST')) AS b (basis)
) y
LEFT JOIN {schema}.dim_product p ON p.product_key = y.product_key AND p.is_current
"""

V_LOT_YIELD = """
SELECT y.lot_key, y.lot_id, y.product_key, p.product_id, p.revision AS product_revision,
       y.test_type, y.test_stage, y.test_program, y.program_revision, y.basis, y.wafers,
       y.insertions, y.tested, y.good, y.functional_fails, y.parametric_fails,
       CAST(100 AS double precision) * y.good / NULLIF(y.tested, 0) AS die_yield_pct,
       CAST(100 AS double precision) * (y.tested - y.functional_fails) / NULLIF(y.tested, 0) AS functional_yield_pct,
       CAST(100 AS double precision) * (y.tested - y.functional_fails - y.parametric_fails)
           / NULLIF(y.tested - y.functional_fails, 0) AS parametric_yield_pct,
       y.first_ts, y.last_ts, y.retested_unknown, y.gross_die,
       CAST(100 AS double precision) * y.good / NULLIF(y.gross_die, 0) AS gross_yield_pct
FROM (
    SELECT v.lot_key, v.lot_id, v.test_type, v.test_stage, v.basis, count(*) AS wafers,
           CASE WHEN min(v.product_key) = max(v.product_key) THEN min(v.product_key) ELSE -1 END AS product_key,
           CASE WHEN min(v.test_program) = max(v.test_program) THEN min(v.test_program) END AS test_program,
           CASE WHEN min(v.program_revision) = max(v.program_revision)
                THEN min(v.program_revision) END AS program_revision,
           CASE WHEN count(v.insertions) = count(*) THEN CAST(sum(v.insertions) AS bigint) END AS insertions,
CASE WHEN count(v.tested) = count(*) THEN CAST(sum(v.tested) AS bigint) END AS tested,
CASE WHEN count(v.good) = count(*) THEN CAST(sum(v.good) AS bigint) END AS good,
CASE WHEN count(v.functional_fails) = count(*) THEN CAST(sum(v.functional_fails) AS bigint) END AS functional_fails,
CASE WHEN count(v.parametric_fails) = count(*) THEN CAST(sum(v.parametric_fails) AS bigint) END AS parametric_fails,
CASE WHEN count(v.retested_unknown) = count(*) THEN CAST(sum(v.retested_unknown) AS bigint) END AS retested_unknown,
CASE WHEN count(v.gross_die) = count(*) THEN CAST(sum(v.gross_die) AS bigint) END AS gross_die,
           min(v.first_ts) AS first_ts, max(v.last_ts) AS last_ts
    FROM {schema}.v_wafer_yield v
    GROUP BY v.lot_key, v.lot_id, v.test_type, v.test_stage, v.basis
) y
LEFT JOIN {schema}.dim_product p ON p.product_key = y.product_key AND p.is_current
"""

V_TEST_FAILS = """
SELECT x.wafer_key, x.root_lot_id, x.wafer_id, x.lot_key, x.lot_id,
       x.process_step_key, s.process_flow_id, s.flow_version, s.step_number, s.step_name,
       x.test_type, x.test_stage, x.test_program, x.program_revision,
       x.test_number, x.test_name, x.pin, x.failed, x.failed_first, x.units, e.executed,
       CAST(100 AS double precision) * x.failed / NULLIF(e.executed, 0) AS failed_pct,
       x.first_ts, x.last_ts
FROM (
    SELECT t.wafer_key, t.lot_key, t.process_step_key, t.test_type, t.test_stage, t.test_program, t.program_revision, t.root_lot_id, t.wafer_id, t.lot_id, t.test_number, t.test_name, t.pin, count(*) AS failed,
           count(CASE WHEN t.is_first THEN 1 END) AS failed_first,
           count(DISTINCT coalesce(t.unit_part, t.unit_x || ' ' || t.unit_y)) AS units,
           min(t.event_ts) AS first_ts, max(t.event_ts) AS last_ts
    FROM (
        SELECT f.batch_id, f.source_record_no, f.wafer_key, f.lot_key, f.process_step_key, f.test_type, f.test_stage, f.test_program, f.program_revision, f.root_lot_id, f.wafer_id, f.lot_id,
               f.unit_x, f.unit_y, f.unit_part, f.event_ts,
               p.test_number, coalesce(p.test_name, p.parameter) AS test_name,
               CASE WHEN min(p.pin) = max(p.pin) THEN min(p.pin) ELSE '' END AS pin,
               bool_or(f.position = f.first_position) AS is_first
        FROM (
            SELECT f.batch_id, f.source_record_no, f.wafer_key, f.lot_key, f.process_step_key, f.test_type, f.test_stage, f.test_program, f.program_revision, w.root_lot_id, w.wafer_id, l.lot_id,
                   CASE WHEN f.unit_id IS NULL AND f.die_x IS NOT NULL AND f.die_y IS NOT NULL AND f.test_type IS DISTINCT FROM 'FT' THEN f.die_x END AS unit_x,
                   CASE WHEN f.unit_id IS NULL AND f.die_x IS NOT NULL AND f.die_y IS NOT NULL AND f.test_type IS DISTINCT FROM 'FT' THEN f.die_y END AS unit_y,
                   CASE WHEN f.unit_id IS NOT NULL THEN f.unit_id WHEN f.unit_id IS NULL AND f.die_x IS NOT NULL AND f.die_y IS NOT NULL AND f.test_type IS DISTINCT FROM 'FT' THEN NULL
             ELSE chr(31) || f.batch_id || chr(31) || coalesce(f.sublot_id, '') || chr(31)
                  || coalesce(CAST(f.head_no AS text), '') || chr(31) || coalesce(CAST(f.site_no AS text), '') || chr(31)
                  || coalesce(f.part_id, chr(31) || CAST(f.source_record_no AS text)) END AS unit_part,
                   f.event_ts, f.parameter_set_key, f.failed[1] AS first_position, unnest(f.failed) AS position
            FROM {schema}.fact_test_results f
            LEFT JOIN {schema}.dim_wafer w ON w.wafer_key = f.wafer_key AND w.is_current
            LEFT JOIN {schema}.dim_lot l ON l.lot_key = f.lot_key AND l.is_current
            WHERE f.failed <> CAST('{}' AS integer[])
        ) f
        JOIN {schema}.bridge_parameter_set p ON p.parameter_set_key = f.parameter_set_key AND p.position = f.position
        GROUP BY f.batch_id, f.source_record_no, f.wafer_key, f.lot_key, f.process_step_key, f.test_type, f.test_stage, f.test_program, f.program_revision, f.root_lot_id, f.wafer_id, f.lot_id,
                 f.unit_x, f.unit_y, f.unit_part, f.event_ts, p.test_number, coalesce(p.test_name, p.parameter)
    ) t
    GROUP BY t.wafer_key, t.lot_key, t.process_step_key, t.test_type, t.test_stage, t.test_program, t.program_revision, t.root_lot_id, t.wafer_id, t.lot_id, t.test_number, t.test_name, t.pin
) x
JOIN (
    SELECT e.wafer_key, e.lot_key, e.process_step_key, e.test_type, e.test_stage, e.test_program, e.program_revision, e.root_lot_id, e.wafer_id, e.lot_id, q.test_number, q.test_name, CAST(sum(e.n) AS bigint) AS executed
    FROM (
        SELECT f.wafer_key, f.lot_key, f.process_step_key, f.test_type, f.test_stage, f.test_program, f.program_revision, w.root_lot_id, w.wafer_id, l.lot_id, f.parameter_set_key, f.verdicts, count(*) AS n
        FROM {schema}.fact_test_results f
        LEFT JOIN {schema}.dim_wafer w ON w.wafer_key = f.wafer_key AND w.is_current
        LEFT JOIN {schema}.dim_lot l ON l.lot_key = f.lot_key AND l.is_current
        WHERE f.verdicts IS NOT NULL
        GROUP BY f.wafer_key, f.lot_key, f.process_step_key, f.test_type, f.test_stage, f.test_program, f.program_revision, w.root_lot_id, w.wafer_id, l.lot_id, f.parameter_set_key, f.verdicts
    ) e
    JOIN (
        SELECT p.parameter_set_key, p.test_number, coalesce(p.test_name, p.parameter) AS test_name,
               min(p.position) AS position
        FROM {schema}.bridge_parameter_set p
        GROUP BY p.parameter_set_key, p.test_number, coalesce(p.test_name, p.parameter)
    ) q ON q.parameter_set_key = e.parameter_set_key AND substr(e.verdicts, q.position, 1) <> '-'
    GROUP BY e.wafer_key, e.lot_key, e.process_step_key, e.test_type, e.test_stage, e.test_program, e.program_revision, e.root_lot_id, e.wafer_id, e.lot_id, q.test_number, q.test_name
) e ON e.wafer_key = x.wafer_key AND e.lot_key = x.lot_key AND e.process_step_key = x.process_step_key
   AND coalesce(CAST(e.test_type AS text), chr(31)) = coalesce(CAST(x.test_type AS text), chr(31)) AND coalesce(CAST(e.test_stage AS text), chr(31)) = coalesce(CAST(x.test_stage AS text), chr(31)) AND coalesce(CAST(e.test_program AS text), chr(31)) = coalesce(CAST(x.test_program AS text), chr(31)) AND coalesce(CAST(e.program_revision AS text), chr(31)) = coalesce(CAST(x.program_revision AS text), chr(31)) AND coalesce(CAST(e.test_number AS text), chr(31)) = coalesce(CAST(x.test_number AS text), chr(31)) AND coalesce(CAST(e.test_name AS text), chr(31)) = coalesce(CAST(x.test_name AS text), chr(31))
LEFT JOIN {schema}.dim_process_step s ON s.process_step_key = x.process_step_key AND s.is_current
"""

VIEWS = {
    "v_wafer_yield": V_WAFER_YIELD,
    "v_lot_yield": V_LOT_YIELD,
    "v_test_fails": V_TEST_FAILS,
}

COMMENTS = {
    "v_wafer_yield": 'Yield by wafer, lot, test type and stage, four rows each: by the first, last, best and worst result of a unit. A unit is a die by its coordinates, a packaged part by unit_id, else by the counter of its file, sublot, head and site. Insertions without a verdict are left out',
    "v_lot_yield": 'Yield by lot, test type and stage, of all its wafers together, or of its packaged parts; four rows each, as v_wafer_yield has them',
    "v_test_fails": "Failing tests by wafer, lot, stage and program, by the tester's verdicts: parametric, functional and scan. A test counts once an insertion, however many of its pins or repeats failed",
}

COLUMN_COMMENTS = {
    "v_wafer_yield": {
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
        'basis': 'Result of a unit that counts: FIRST, LAST, BEST (good once is good) or WORST (bad once is bad)',
        'insertions': 'Insertions with a verdict, count',
        'tested': 'Units tested, count, without retests of units that cannot be told',
        'good': 'Units good, count; LAST and BEST count the good ones of such retests too',
        'functional_fails': 'Units that failed a functional test, count; NULL where retests of unknown units left it open',
        'parametric_fails': 'Units that failed parametric tests only, count; NULL likewise',
        'die_yield_pct': '100 good / tested, percent',
        'functional_yield_pct': '100 (1 - functional fails / tested), percent',
        'parametric_yield_pct': '100 (1 - parametric fails / functionally good), percent; NULL where none was',
        'first_ts': 'First event, UTC',
        'last_ts': 'Last event, UTC',
        'retested_unknown': 'Units of retests in files that name no unit (retest_of_bins), count: they are among those tested before',
        'gross_die': "Gross die of the product's wafer, count; NULL: not known",
        'gross_yield_pct': '100 good / gross die, percent',
    },
    "v_lot_yield": {
        'lot_key': 'Lot at the event (dim_lot)',
        'lot_id': 'Lot at the event',
        'product_key': 'Product (dim_product); -1 where none or several were named',
        'product_id': 'Product',
        'product_revision': 'Design revision',
        'test_type': 'WAT, CP or FT',
        'test_stage': 'Test stage',
        'test_program': 'Test program; NULL where several were used',
        'program_revision': 'Revision of the program; NULL where several were used',
        'basis': 'Result of a unit that counts: FIRST, LAST, BEST (good once is good) or WORST (bad once is bad)',
        'wafers': 'Wafers tested, count; 1 of a lot of packaged parts',
        'insertions': 'Insertions with a verdict, count',
        'tested': 'Units tested, count, without retests of units that cannot be told',
        'good': 'Units good, count; LAST and BEST count the good ones of such retests too',
        'functional_fails': 'Units that failed a functional test, count; NULL where retests of unknown units left it open',
        'parametric_fails': 'Units that failed parametric tests only, count; NULL likewise',
        'die_yield_pct': '100 good / tested, percent',
        'functional_yield_pct': '100 (1 - functional fails / tested), percent',
        'parametric_yield_pct': '100 (1 - parametric fails / functionally good), percent; NULL where none was',
        'first_ts': 'First event, UTC',
        'last_ts': 'Last event, UTC',
        'retested_unknown': 'Units of retests in files that name no unit (retest_of_bins), count: they are among those tested before',
        'gross_die': 'Gross die of the wafers tested, count; NULL: not known',
        'gross_yield_pct': '100 good / gross die, percent',
    },
    "v_test_fails": {
        'wafer_key': 'Wafer (dim_wafer)',
        'root_lot_id': 'Lot the wafer was started in',
        'wafer_id': 'Wafer in its root lot',
        'lot_key': 'Lot at the event (dim_lot)',
        'lot_id': 'Lot at the event',
        'process_step_key': 'Step (dim_process_step)',
        'process_flow_id': 'Process flow, or test program',
        'flow_version': 'Version of the flow',
        'step_number': 'Step of the flow, or test stage',
        'step_name': 'Name of the step',
        'test_type': 'WAT, CP or FT',
        'test_stage': 'Test stage',
        'test_program': 'Test program',
        'program_revision': 'Revision of the program',
        'test_number': 'Number of the test; NULL where it has none',
        'test_name': 'Name of the test (STDF V4 TEST_TXT)',
        'pin': 'Pin, where one pin alone failed; empty where the test has no pins or several failed',
        'failed': 'Insertions that failed the test, count',
        'failed_first': 'Those of them that failed no test before it in the order of the list, count',
        'units': 'Units that failed it, count',
        'executed': 'Insertions that executed the test, count, whatever the pin',
        'failed_pct': '100 failed / executed, percent',
        'first_ts': 'First fail, UTC',
        'last_ts': 'Last fail, UTC',
    },
}
