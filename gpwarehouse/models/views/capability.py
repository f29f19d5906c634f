"""``v_process_capability``: Cp, Cpk, Pp and Ppk of every parameter, from the aggregates.

Cp and Cpk stand on the spread within lots, Pp and Ppk on that of all values (Montgomery, *Introduction to Statistical Quality
Control*, 8th ed., chapter 8; ISO 22514-2). Rows are combined three times: by keys and the step's version; by names and
limits, so that lists and versions that agree come together, and lot; over the lots. Names and limits are joined in between.
"""

from __future__ import annotations

from gpwarehouse.models import fact_process_measurements, fact_test_results
from gpwarehouse.models.views.view import STEP_COLUMNS, View, compose

__all__ = ["PROCESS_CAPABILITY"]

_STATISTICS = ("n", "mean", "m2", "min_value", "max_value")


def _combine(rows: str, keys: list[str], more: str = "") -> str:
    """Rows of count, mean and m2, combined by ``keys`` (Chan, Golub, LeVeque 1979).

    Means are taken from a reference near them, the least one, so that a small spread far from zero is not lost.
    Deviations whose squares would underflow, which the server refuses, count as none.
    """
    return compose(
        """
        SELECT <<keys>>, CAST(sum(n) AS bigint) AS n, reference + sum(n * deviation) / sum(n) AS mean,
               greatest(0, sum(m2) + sum(n * deviation ^ 2)
                   - CASE WHEN abs(sum(n * deviation)) > 1e-140 THEN sum(n * deviation) ^ 2 / sum(n) ELSE 0 END) AS m2,
               min(min_value) AS min_value, max(max_value) AS max_value<<more>>
        FROM (
            SELECT r.*, CASE WHEN r.mean - r.reference > 1e-140 THEN r.mean - r.reference ELSE 0 END AS deviation
            FROM (
                SELECT r.*, min(r.mean) OVER (PARTITION BY <<keys>>) AS reference
                FROM (
                    <<rows>>
                ) r
            ) r
        ) r
        GROUP BY <<keys>>, reference
        """,
        rows=rows,
        keys=", ".join(keys),
        more=more,
    )


_KEYS = ["product_key", "parameter_set_key", "position", "parameter"]
_OF = ["process_step_key", *_KEYS, "lot_key", "effective_date"]


def _by_keys(source: str, table: str, where: str) -> str:
    """Aggregates by keys, lot and the version of the step in force at their first event."""
    rows = compose(
        """
        SELECT a.process_step_key, <<keys>>, a.lot_key, s.effective_date, <<statistics>>
        FROM {schema}.<<table>> a
        LEFT JOIN {schema}.dim_process_step s ON s.process_step_key = a.process_step_key
            AND a.first_ts >= s.effective_date AND a.first_ts < s.expiry_date
        WHERE a.mean IS NOT NULL <<where>>
        """,
        keys=", ".join(f"a.{key}" for key in _KEYS),
        statistics=", ".join(f"a.{name}" for name in _STATISTICS),
        table=table,
        where=where,
    )
    return compose(
        "SELECT CAST('<<source>>' AS text) AS source, k.*\nFROM (\n    <<combined>>\n) k",
        source=source,
        combined=_combine(rows, _OF),
    )


_NAMED = ["source", *STEP_COLUMNS, "product_key", "product_id", "product_revision"]
_IDENTITY = ["test_number", "test_name", "pin", "occurrence"]
_LIMITS = ["unit", "limit_version", "lsl", "target", "usl"]
_GROUP = [*_NAMED, "known_as", *_IDENTITY, *_LIMITS]

_WITH_NAMES = compose(
    """
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
           k.lot_key, <<statistics>>
    FROM (
        <<test>>
        UNION ALL
        <<process>>
    ) k
    LEFT JOIN {schema}.bridge_parameter_set p
        ON p.parameter_set_key = k.parameter_set_key AND p.position = k.position
    LEFT JOIN {schema}.bridge_step_limits m ON m.process_step_key = k.process_step_key
        AND m.parameter = coalesce(p.parameter, k.parameter) AND m.effective_date = k.effective_date
    LEFT JOIN (VALUES <<columns>>) c (measure, unit) ON c.measure = k.parameter
    LEFT JOIN {schema}.dim_process_step s ON s.process_step_key = k.process_step_key AND s.is_current
    LEFT JOIN {schema}.dim_product d ON d.product_key = k.product_key AND d.is_current
    """,
    statistics=", ".join(f"k.{name}" for name in _STATISTICS),
    columns=", ".join(
        f"(CAST('{measure}' AS text), CAST('{unit}' AS text))"
        for measure, unit in {**fact_process_measurements.MEASURES, **fact_test_results.MEASURES}.items()
    ),
    test=_by_keys("TEST", "agg_test_values", "AND a.is_final_result AND a.site_no IS NULL AND a.head_no IS NULL"),
    process=_by_keys("PROCESS", "agg_process_values", ""),
)

PROCESS_CAPABILITY = View(
    name="v_process_capability",
    body=compose(
        """
        SELECT <<named>>, g.parameter, g.unit, g.limit_version, g.lsl, g.target, g.usl,
               g.n, g.mean, g.sigma, g.min_value, g.max_value,
               CASE WHEN g.sigma_within > 0 THEN (g.usl - g.lsl) / (6 * g.sigma_within) END AS cp,
               CASE WHEN g.sigma_within > 0
                    THEN least(g.usl - g.mean, g.mean - g.lsl) / (3 * g.sigma_within) END AS cpk,
               g.sigma_within, g.lots,
               CASE WHEN g.sigma > 0 THEN (g.usl - g.lsl) / (6 * g.sigma) END AS pp,
               CASE WHEN g.sigma > 0 THEN least(g.usl - g.mean, g.mean - g.lsl) / (3 * g.sigma) END AS ppk,
               <<identity>>
        FROM (
            SELECT <<group>>, t.parameter, t.n, t.mean, t.min_value, t.max_value, t.lots,
                   CASE WHEN t.n > 1 THEN sqrt(t.m2 / (t.n - 1)) END AS sigma,
                   CASE WHEN t.n > t.lots THEN sqrt(t.m2_within / (t.n - t.lots)) END AS sigma_within
            FROM (
                <<combined>>
            ) t
        ) g
        """,
        named=", ".join(f"g.{name}" for name in _NAMED),
        identity=", ".join(f"g.{name}" for name in _IDENTITY),
        group=", ".join(f"t.{name}" for name in _GROUP),
        combined=_combine(
            _combine(_WITH_NAMES, [*_GROUP, "lot_key"], ",\nmin(parameter) AS parameter"),
            _GROUP,
            ",\nmin(parameter) AS parameter, count(*) AS lots, sum(m2) AS m2_within",
        ),
    ),
    comment=(
        "Capability by step, product, parameter and set of limits, over all events, from the aggregates; test results by the "
        "last insertion of a unit in its file. Limits of a step are those in force at the first event of a wafer or lot"
    ),
    columns={
        "source": "PROCESS (fact_process_measurements) or TEST (fact_test_results)",
        **STEP_COLUMNS,
        "product_key": "Product (dim_product)",
        "product_id": "Product",
        "product_revision": "Design revision",
        "parameter": "Name of the parameter; of a test number that lists name differently, the first name",
        "unit": "Unit of value and limits",
        "limit_version": "Version of the limits, where they are the step's",
        "lsl": "Lower specification limit: the list's (the file's), else the step's",
        "target": "Target of the step",
        "usl": "Upper specification limit, likewise",
        "n": "Values, count",
        "mean": "Mean of the values",
        "sigma": "Sample standard deviation of all values; NULL for fewer than two",
        "min_value": "Least value",
        "max_value": "Greatest value",
        "cp": "(USL - LSL) / 6 sigma_within; NULL where that is 0 or NULL, or a limit is missing",
        "cpk": "min(USL - mean, mean - LSL) / 3 sigma_within, from the one side where a limit is missing; NULL where "
        "sigma_within is 0 or NULL, or both are",
        "sigma_within": "Standard deviation within lots, pooled; NULL where no lot has two values",
        "lots": "Lots, count",
        "pp": "(USL - LSL) / 6 sigma; NULL where that is 0 or NULL, or a limit is missing",
        "ppk": "min(USL - mean, mean - LSL) / 3 sigma, likewise",
        "test_number": "Number of the test; NULL where it has none",
        "test_name": "Name of the test (STDF V4 TEST_TXT)",
        "pin": "Pin of one result of several; NULL where the value is not of a list",
        "occurrence": "1, 2, ... of a test that is repeated within an insertion; NULL where the value is not of a list",
    },
    reads=(
        *("agg_process_values", "agg_test_values", "bridge_parameter_set", "bridge_step_limits"),
        *("dim_process_step", "dim_product"),
    ),
)
