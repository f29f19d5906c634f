"""``v_wafer_yield`` and ``v_lot_yield``: yield by the first, last, best and worst result of each unit."""

from __future__ import annotations

from gpwarehouse.models.views.units import DIE, PART, RETESTS_UNKNOWN
from gpwarehouse.models.views.view import WAFER_COLUMNS, View, compose

__all__ = ["LOT_YIELD", "WAFER_YIELD", "lot_yields", "wafer_yields"]

# An insertion's result as a number, behind what orders a unit's insertions whichever files they came in: the least and the
# greatest of these arrays are the first and the last insertion, without a sort. Groups start with wafer_key, the distribution
# key, so nothing moves on Greenplum. The names stand in them so that a filter on a lot or wafer reaches the scan.
_RESULT = "CASE WHEN f.is_pass THEN 0 WHEN f.fail_kind = 'FUNCTIONAL' THEN 1 WHEN f.fail_kind = 'PARAMETRIC' THEN 2 ELSE 3 END"
_ORDERED = compose(
    """
    ARRAY[CAST(extract(epoch FROM f.event_ts) AS double precision), coalesce(f.insertion_no, CAST('NaN' AS double precision)),
          f.source_record_no, <<result>>]
    """,
    result=_RESULT,
)
_STAGE = ["test_type", "test_stage"]
_WAFER = ["wafer_key", "root_lot_id", "wafer_id", "lot_key", "lot_id", *_STAGE]


def _units(where: str) -> str:
    """The units that were tested, with the results of their insertions.

    :param where: a further condition on ``fact_test_results f``, beginning with AND.
    """
    return compose(
        """
        SELECT f.wafer_key, w.root_lot_id, w.wafer_id, f.lot_key, l.lot_id, f.test_type, f.test_stage,
               CASE WHEN <<die>> THEN f.die_x END AS unit_x,
               CASE WHEN <<die>> THEN f.die_y END AS unit_y,
               <<part>> AS unit_part,
               <<unknown>> AS is_retest_of_unknown,
               count(*) AS insertions,
               (min(<<ordered>>))[4] AS first_result,
               (max(<<ordered>>))[4] AS last_result,
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
        WHERE f.is_pass IS NOT NULL<<where>>
        GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11
        """,
        die=DIE,
        part=PART,
        unknown=RETESTS_UNKNOWN,
        ordered=_ORDERED,
        where=where,
    )


_COUNTED = {
    "first_good": "NOT {u} AND u.first_result = 0",
    "last_good": "NOT {u} AND u.last_result = 0",
    "best_good": "NOT {u} AND u.passed_once",
    "worst_good": "NOT {u} AND u.passed_always",
    "recovered": "{u} AND u.last_result = 0",
    "first_functional": "NOT {u} AND u.first_result = 1",
    "last_functional": "NOT {u} AND u.last_result = 1",
    "best_functional": "NOT {u} AND NOT u.passed_once AND u.last_result = 1",
    "worst_functional": "NOT {u} AND NOT u.passed_always AND u.failed_functional",
    "first_parametric": "NOT {u} AND u.first_result = 2",
    "last_parametric": "NOT {u} AND u.last_result = 2",
    "best_parametric": "NOT {u} AND NOT u.passed_once AND u.last_result = 2",
    "worst_parametric": "NOT {u} AND NOT u.passed_always AND NOT coalesce(u.failed_functional, false) "
    "AND u.failed_parametric",
}
"""What is counted of a wafer's units. ``{u}``: a retest of units that cannot be told."""

# Nothing tells which units an unknown retest tested: those that pass it were bad before, or they would not be tested again.
_FAILS = "CASE WHEN b.basis IN ('FIRST', 'WORST') OR w.retested_unknown = 0 THEN CASE b.basis {cases} END END"


def _by_basis(kind: str) -> str:
    return " ".join(f"WHEN '{basis.upper()}' THEN w.{basis}_{kind}" for basis in ("first", "last", "best", "worst"))


_BASES = "(VALUES (CAST('FIRST' AS text)), ('LAST'), ('BEST'), ('WORST')) AS b (basis)"
_YIELDS = """
CAST(100 AS double precision) * y.good / NULLIF(y.tested, 0) AS die_yield_pct,
CAST(100 AS double precision) * (y.tested - y.functional_fails) / NULLIF(y.tested, 0) AS functional_yield_pct,
CAST(100 AS double precision) * (y.tested - y.functional_fails - y.parametric_fails)
    / NULLIF(y.tested - y.functional_fails, 0) AS parametric_yield_pct,
"""


def wafer_yields(where: str = "") -> str:
    """The SELECT of ``v_wafer_yield``.

    :param where: a condition on ``fact_test_results f`` that reaches the scan, beginning with AND.
    """
    return compose(
        """
        SELECT y.wafer_key, y.root_lot_id, y.wafer_id, y.lot_key, y.lot_id,
               y.product_key, p.product_id, p.revision AS product_revision,
               y.test_type, y.test_stage, y.test_program, y.program_revision, y.basis,
               y.insertions, y.tested, y.good, y.functional_fails, y.parametric_fails,
               <<yields>>
               y.first_ts, y.last_ts, y.retested_unknown, p.gross_die_per_wafer AS gross_die,
               CAST(100 AS double precision) * y.good / NULLIF(p.gross_die_per_wafer, 0) AS gross_yield_pct
        FROM (
            SELECT <<wafer>>, w.product_key, w.test_program, w.program_revision, b.basis,
                   w.insertions, w.tested, w.retested_unknown, w.first_ts, w.last_ts,
                   CASE b.basis <<good>> END
                       + CASE WHEN b.basis IN ('LAST', 'BEST') THEN w.recovered ELSE 0 END AS good,
                   <<functional>> AS functional_fails,
                   <<parametric>> AS parametric_fails
            FROM (
                SELECT <<units>>,
                       CASE WHEN min(u.first_product) = max(u.last_product) THEN min(u.first_product) ELSE -1 END AS product_key,
                       CASE WHEN min(u.first_program) = max(u.last_program) THEN min(u.first_program) END AS test_program,
                       CASE WHEN min(u.first_revision) = max(u.last_revision)
                            THEN min(u.first_revision) END AS program_revision,
                       CAST(sum(u.insertions) AS bigint) AS insertions,
                       count(CASE WHEN NOT u.is_retest_of_unknown THEN 1 END) AS tested,
                       count(CASE WHEN u.is_retest_of_unknown THEN 1 END) AS retested_unknown,
                       <<counted>>
                       min(u.first_ts) AS first_ts, max(u.last_ts) AS last_ts
                FROM (
                    <<grouped>>
                ) u
                GROUP BY <<units>>
            ) w
            CROSS JOIN <<bases>>
        ) y
        LEFT JOIN {schema}.dim_product p ON p.product_key = y.product_key AND p.is_current
        """,
        yields=_YIELDS,
        wafer=", ".join(f"w.{name}" for name in _WAFER),
        units=", ".join(f"u.{name}" for name in _WAFER),
        counted="\n".join(
            f"count(CASE WHEN {which.format(u='u.is_retest_of_unknown')} THEN 1 END) AS {name},"
            for name, which in _COUNTED.items()
        ),
        grouped=_units(where),
        good=_by_basis("good"),
        functional=_FAILS.format(cases=_by_basis("functional")),
        parametric=_FAILS.format(cases=_by_basis("parametric")),
        bases=_BASES,
    )


_PRODUCT = {
    "product_key": "Product (dim_product); -1 where none or several were named",
    "product_id": "Product",
    "product_revision": "Design revision",
}
_TESTED = {
    "test_type": "WAT, CP or FT",
    "test_stage": "Test stage",
    "test_program": "Test program; NULL where several were used",
    "program_revision": "Revision of the program; NULL where several were used",
    "basis": "Result of a unit that counts: FIRST, LAST, BEST (good once is good) or WORST (bad once is bad)",
    "insertions": "Insertions with a verdict, count",
    "tested": "Units tested, count, without retests of units that cannot be told",
    "good": "Units good, count; LAST and BEST count the good ones of such retests too",
    "functional_fails": "Units that failed a functional test, count; NULL where retests of unknown units left it open",
    "parametric_fails": "Units that failed parametric tests only, count; NULL likewise",
    "die_yield_pct": "100 good / tested, percent",
    "functional_yield_pct": "100 (1 - functional fails / tested), percent",
    "parametric_yield_pct": "100 (1 - parametric fails / functionally good), percent; NULL where none was",
    "first_ts": "First event, UTC",
    "last_ts": "Last event, UTC",
    "retested_unknown": "Units of retests in files that name no unit (retest_of_bins), count: they are among those tested before",
}

WAFER_YIELD = View(
    name="v_wafer_yield",
    body=wafer_yields(),
    comment=(
        "Yield by wafer, lot, test type and stage, four rows each: by the first, last, best and worst result of a unit. "
        "A unit is a die by its coordinates, a packaged part by unit_id, else by the counter of its file, sublot, head and "
        "site. Insertions without a verdict are left out"
    ),
    columns={
        **WAFER_COLUMNS,
        **_PRODUCT,
        **_TESTED,
        "gross_die": "Gross die of the product's wafer, count; NULL: not known",
        "gross_yield_pct": "100 good / gross die, percent",
    },
    reads=("fact_test_results", "dim_wafer", "dim_lot", "dim_product"),
)

_LOT = ["lot_key", "lot_id", *_STAGE, "basis"]


def _lots(wafers: str) -> str:
    """The SELECT of ``v_lot_yield`` from rows as ``v_wafer_yield`` has them."""
    return compose(
        """
        SELECT y.lot_key, y.lot_id, y.product_key, p.product_id, p.revision AS product_revision,
               y.test_type, y.test_stage, y.test_program, y.program_revision, y.basis, y.wafers,
               y.insertions, y.tested, y.good, y.functional_fails, y.parametric_fails,
               <<yields>>
               y.first_ts, y.last_ts, y.retested_unknown, y.gross_die,
               CAST(100 AS double precision) * y.good / NULLIF(y.gross_die, 0) AS gross_yield_pct
        FROM (
            SELECT <<lot>>, count(*) AS wafers,
                   CASE WHEN min(v.product_key) = max(v.product_key) THEN min(v.product_key) ELSE -1 END AS product_key,
                   CASE WHEN min(v.test_program) = max(v.test_program) THEN min(v.test_program) END AS test_program,
                   CASE WHEN min(v.program_revision) = max(v.program_revision)
                        THEN min(v.program_revision) END AS program_revision,
                   <<sums>>,
                   min(v.first_ts) AS first_ts, max(v.last_ts) AS last_ts
            FROM <<wafers>> v
            GROUP BY <<lot>>
        ) y
        LEFT JOIN {schema}.dim_product p ON p.product_key = y.product_key AND p.is_current
        """,
        yields=_YIELDS,
        wafers=wafers,
        lot=", ".join(f"v.{name}" for name in _LOT),
        sums=",\n".join(
            f"CASE WHEN count(v.{name}) = count(*) THEN CAST(sum(v.{name}) AS bigint) END AS {name}"
            for name in (
                *(
                    "insertions",
                    "tested",
                    "good",
                    "functional_fails",
                    "parametric_fails",
                    "retested_unknown",
                    "gross_die",
                ),
            )
        ),
    )


def lot_yields(where: str) -> str:
    """The SELECT of ``v_lot_yield``, of the insertions alone that a condition leaves: see :func:`wafer_yields`."""
    return _lots(f"(\n{wafer_yields(where)}\n)")


LOT_YIELD = View(
    name="v_lot_yield",
    body=_lots("{schema}.v_wafer_yield"),
    comment=(
        "Yield by lot, test type and stage, of all its wafers together, or of its packaged parts; four rows each, as "
        "v_wafer_yield has them"
    ),
    columns={
        "lot_key": WAFER_COLUMNS["lot_key"],
        "lot_id": WAFER_COLUMNS["lot_id"],
        **_PRODUCT,
        **{name: _TESTED[name] for name in ("test_type", "test_stage", "test_program", "program_revision", "basis")},
        "wafers": "Wafers tested, count; 1 of a lot of packaged parts",
        **{
            name: comment
            for name, comment in _TESTED.items()
            if name not in ("test_type", "test_stage", "test_program", "program_revision", "basis")
        },
        "gross_die": "Gross die of the wafers tested, count; NULL: not known",
        "gross_yield_pct": "100 good / gross die, percent",
    },
    reads=("v_wafer_yield", "dim_product"),
)
