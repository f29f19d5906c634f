"""``v_wafer_yield``: die yield by wafer and test stage, by the first, last and best result of each unit."""

from __future__ import annotations

from gpwarehouse.models.views.view import WAFER_COLUMNS, View, compose

__all__ = ["WAFER_YIELD"]

# One scan, one sort: the window numbers a unit's insertions, whichever files they came in; "best so far" at the last
# insertion is "best at all". All windows and groups start with wafer_key, the distribution key, so nothing moves on
# Greenplum. The names stand in them so that a filter on a lot or wafer reaches the scan.
_BODY = compose(
    """
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
                   <<fails>>
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
    """,
    fails="\n".join(
        f"count(CASE WHEN {which} AND i.fail_kind = '{kind.upper()}' THEN 1 END) AS {basis}_{kind},"
        for kind in ("functional", "parametric")
        for basis, which in (
            ("first", "i.is_first AND NOT i.is_pass"),
            ("last", "i.is_last AND NOT i.is_pass"),
            ("best", "i.is_last AND NOT i.passed_once"),
        )
    ),
)

WAFER_YIELD = View(
    name="v_wafer_yield",
    body=_BODY,
    comment=(
        "Yield by wafer, lot, test type and stage, three rows each: by the first, last and best result of a unit. "
        "A unit is a die, or a part where the die is not known. Insertions without a verdict are left out"
    ),
    columns={
        **WAFER_COLUMNS,
        "product_key": "Product (dim_product); -1 where none or several were named",
        "product_id": "Product",
        "product_revision": "Design revision",
        "test_type": "WAT, CP or FT",
        "test_stage": "Test stage",
        "test_program": "Test program; NULL where several were used",
        "program_revision": "Revision of the program; NULL where several were used",
        "basis": "Result of a unit that counts: FIRST, LAST, or BEST (good once is good)",
        "insertions": "Insertions with a verdict, count",
        "tested": "Units tested, count",
        "good": "Units good, count",
        "functional_fails": "Units that failed a functional test, count",
        "parametric_fails": "Units that failed parametric tests only, count",
        "die_yield_pct": "100 good / tested, percent",
        "functional_yield_pct": "100 (1 - functional fails / tested), percent",
        "parametric_yield_pct": "100 (1 - parametric fails / functionally good), percent; NULL where none was",
        "first_ts": "First event, UTC",
        "last_ts": "Last event, UTC",
    },
    reads=("fact_test_results", "dim_wafer", "dim_lot", "dim_product"),
)
