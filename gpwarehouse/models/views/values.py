"""``v_test_values``, ``v_process_values`` and ``v_process_capability``: one row per value, with the limits in force.

A value is either an entry of ``parameters`` or a measure with a column of its own. Entries are unfolded by
``jsonb_each`` beside the fact. Not in a select list: Greenplum 7.0 fails to plan ``count(DISTINCT …)`` over a field of its
result. Not key by key: looking each key up unpacks a large value again for every key, forty times slower on PostgreSQL.
Limits are unfolded once per version of a step and joined by hash. Their OFFSET 0 keeps the subquery a subquery: merged into
an outer join, its expressions make Greenplum 7.0 fail ``count(DISTINCT …)`` beside another aggregate over them.
"""

from __future__ import annotations

from collections.abc import Mapping

from gpwarehouse.models import fact_process_measurements, fact_test_results
from gpwarehouse.models.views.view import STEP_COLUMNS, WAFER_COLUMNS, View, compose

__all__ = ["PROCESS_CAPABILITY", "PROCESS_VALUES", "TEST_VALUES"]


def _number(column: str) -> str:
    """A number of a limit's JSON; what is no number is no limit, or one bad entry would break every query."""
    return (
        f"CASE WHEN jsonb_typeof(j.value -> '{column}') = 'number' "
        f"THEN CAST(j.value ->> '{column}' AS double precision) END AS {column}"
    )


LIMITS = compose(
    """
    SELECT s.process_step_key, s.effective_date, s.expiry_date, j.key AS parameter,
           j.value ->> 'name' AS name,
           j.value ->> 'unit' AS unit,
           j.value ->> 'limit_version' AS limit_version,
           <<numbers>>
    FROM {schema}.dim_process_step s
    CROSS JOIN LATERAL jsonb_each(s.control_limits) AS j (key, value)
    OFFSET 0
    """,
    numbers=",\n".join(map(_number, ("lsl", "lcl", "target", "ucl", "usl"))),
)


def _literals(texts: Mapping[str, str] | list[str]) -> str:
    return ", ".join(f"'{text}'" for text in texts)


def _unfold(table: str, measures: Mapping[str, str], columns: list[str], source: str) -> str:
    """``columns`` of the fact with ``parameter``, ``value`` and ``own_unit``, a row per value.

    :param columns: ``alias.column`` as ``source`` calls them.
    :param source: joins and WHERE behind ``FROM <fact> f``.
    """
    return compose(
        """
        SELECT <<columns>>, j.key AS parameter,
               CASE WHEN jsonb_typeof(j.value) = 'number'
                    THEN CAST(CAST(j.value AS text) AS double precision) END AS value,
               CAST(NULL AS text) AS own_unit
        FROM {schema}.<<table>> f
        CROSS JOIN LATERAL jsonb_each(f.parameters) AS j (key, value)
        <<source>>
        UNION ALL
        SELECT <<columns>>,
               unnest(CAST(ARRAY[<<measures>>] AS text[])) AS parameter,
               unnest(ARRAY[<<values>>]) AS value,
               unnest(CAST(ARRAY[<<units>>] AS text[])) AS own_unit
        FROM {schema}.<<table>> f
        <<source>>
        AND coalesce(<<values>>) IS NOT NULL
        """,
        columns=", ".join(columns),
        table=table,
        source=source,
        measures=_literals(list(measures)),
        values=", ".join(f"f.{name}" for name in measures),
        units=_literals(list(measures.values())),
    )


_WITH_LIMITS = """
LEFT JOIN (
    <<limits>>
) m ON m.process_step_key = v.process_step_key AND m.parameter = v.parameter
   AND v.event_ts >= m.effective_date AND v.event_ts < m.expiry_date
WHERE v.value IS NOT NULL
"""

_IN = (
    "CASE WHEN m.{low} IS NOT NULL OR m.{high} IS NOT NULL "
    "THEN coalesce(v.value >= m.{low}, true) AND coalesce(v.value <= m.{high}, true) END"
)
IN_SPEC = _IN.replace("{low}", "lsl").replace("{high}", "usl")
IN_CONTROL = _IN.replace("{low}", "lcl").replace("{high}", "ucl")

_NAMES = """
LEFT JOIN {schema}.dim_wafer w ON w.wafer_key = f.wafer_key AND w.is_current
LEFT JOIN {schema}.dim_lot l ON l.lot_key = f.lot_key AND l.is_current
LEFT JOIN {schema}.dim_process_step s ON s.process_step_key = f.process_step_key AND s.is_current
LEFT JOIN {schema}.dim_equipment e ON e.equipment_key = f.equipment_key AND e.is_current
LEFT JOIN {schema}.dim_equipment c ON c.equipment_key = f.chamber_key AND c.is_current
WHERE true
"""
_TEST_NAMES = "\n".join(line for line in _NAMES.splitlines() if "dim_equipment" not in line)

_IDENTITY = ["f.wafer_key", "w.root_lot_id", "w.wafer_id", "f.lot_key", "l.lot_id", "f.product_key"]
_STEP = [f"{'f' if column == 'process_step_key' else 's'}.{column}" for column in STEP_COLUMNS]
_PROCESS = [
    *_IDENTITY,
    *_STEP,
    *("f.recipe_key", "f.equipment_key", "e.equipment_id", "f.chamber_key", "c.chamber_id"),
    *("f.event_ts", "f.measurement_type", "f.visit_no", "f.is_rework", "f.site_no", "f.site_x_mm", "f.site_y_mm"),
    *("f.batch_id", "f.source_record_no"),
]
_TEST = [
    *_IDENTITY,
    *_STEP,
    *("f.event_ts", "f.test_type", "f.test_stage", "f.test_program", "f.program_revision", "f.tester_key"),
    *("f.head_no", "f.site_no", "f.die_x", "f.die_y", "f.part_id", "f.insertion_no", "f.retest_no"),
    *("f.is_first_pass", "f.is_final_result", "f.is_pass", "f.batch_id", "f.source_record_no"),
]


def _bare(columns: list[str], prefix: str) -> str:
    return ", ".join(prefix + column.partition(".")[2] for column in columns)


_LIMIT_COLUMNS = {
    "value": "Value, in the unit given",
    "unit": "Unit: that of the limits in force, else that of the measure's column",
    "lsl": "Lower specification limit in force at the event",
    "usl": "Upper specification limit in force at the event",
    "limit_version": "Version of the limits in force",
    "is_in_spec": "Whether lsl <= value <= usl; NULL where there is no limit",
}
_RECORD = {
    "batch_id": "Batch that loaded it (etl_load_batch)",
    "source_record_no": "Number of the record in its source",
}
_PRODUCT = {"product_key": "Product (dim_product)"}

TEST_VALUES = View(
    name="v_test_values",
    body=compose(
        """
        SELECT <<columns>>, v.parameter AS test_number, m.name AS test_name,
               v.value, coalesce(m.unit, v.own_unit) AS unit, m.lsl, m.usl, m.limit_version,
               <<in_spec>> AS is_in_spec
        FROM (
            <<values>>
        ) v
        <<with_limits>>
        """,
        columns=_bare(_TEST, "v."),
        in_spec=IN_SPEC,
        values=_unfold("fact_test_results", fact_test_results.MEASURES, _TEST, _TEST_NAMES),
        with_limits=compose(_WITH_LIMITS, limits=LIMITS),
    ),
    comment="Parametric test results: a row per insertion of a unit and test number, with the limits in force",
    columns={
        **WAFER_COLUMNS,
        **_PRODUCT,
        **STEP_COLUMNS,
        "event_ts": "Event, UTC",
        "test_type": "WAT, CP or FT",
        "test_stage": "Test stage",
        "test_program": "Test program",
        "program_revision": "Revision of the program",
        "tester_key": "Tester (dim_equipment)",
        "head_no": "Test head",
        "site_no": "Test site",
        "die_x": "Die column",
        "die_y": "Die row",
        "part_id": "Part",
        "insertion_no": "Insertion of the unit in its file",
        "retest_no": "Retests before it",
        "is_first_pass": "Whether it is the unit's first insertion in its file",
        "is_final_result": "Whether it is the unit's last insertion in its file",
        "is_pass": "Whether the unit passed this insertion",
        **_RECORD,
        "test_number": "Test number as text, or the name of the measure's column",
        "test_name": "Name of the test (STDF V4 PTR.TEST_TXT)",
        **_LIMIT_COLUMNS,
    },
    reads=("fact_test_results", "dim_wafer", "dim_lot", "dim_process_step"),
)

PROCESS_VALUES = View(
    name="v_process_values",
    body=compose(
        """
        SELECT <<columns>>, v.parameter, v.value, coalesce(m.unit, v.own_unit) AS unit,
               m.lsl, m.usl, m.limit_version, <<in_spec>> AS is_in_spec,
               m.lcl, m.target, m.ucl, <<in_control>> AS is_in_control
        FROM (
            <<values>>
        ) v
        <<with_limits>>
        """,
        columns=_bare(_PROCESS, "v."),
        in_spec=IN_SPEC,
        in_control=IN_CONTROL,
        values=_unfold("fact_process_measurements", fact_process_measurements.MEASURES, _PROCESS, _NAMES),
        with_limits=compose(_WITH_LIMITS, limits=LIMITS),
    ),
    comment="Measured values: a row per measurement and parameter, with the limits in force; a bare visit has none",
    columns={
        **WAFER_COLUMNS,
        **_PRODUCT,
        **STEP_COLUMNS,
        "recipe_key": "Recipe (dim_recipe)",
        "equipment_key": "Tool (dim_equipment)",
        "equipment_id": "Tool",
        "chamber_key": "Chamber (dim_equipment)",
        "chamber_id": "Chamber; empty where there was none",
        "event_ts": "Event, UTC",
        "measurement_type": "TRACK, FDC or METROLOGY",
        "visit_no": "Visit of the wafer to the step",
        "is_rework": "Whether the visit was a rework",
        "site_no": "Measured site; 0 for the wafer as a whole",
        "site_x_mm": "Site in x from the wafer's centre, mm",
        "site_y_mm": "Site in y from the wafer's centre, mm",
        **_RECORD,
        "parameter": "Name in parameters, or of the measure's column",
        **_LIMIT_COLUMNS,
        "lcl": "Lower control limit in force at the event",
        "target": "Target in force at the event",
        "ucl": "Upper control limit in force at the event",
        "is_in_control": "Whether lcl <= value <= ucl; NULL where there is no limit",
    },
    reads=("fact_process_measurements", "dim_wafer", "dim_lot", "dim_process_step", "dim_equipment"),
)

# The names are grouped by too, so that a filter on a step or product reaches the scan.
_CAPABILITY_NAMES = [*_STEP, "f.product_key", "p.product_id", "p.product_revision"]
_CAPABILITY = [*_CAPABILITY_NAMES, "f.event_ts"]
_CAPABILITY_JOINS = """
LEFT JOIN {schema}.dim_process_step s ON s.process_step_key = f.process_step_key AND s.is_current
LEFT JOIN (
    SELECT product_key, product_id, revision AS product_revision FROM {schema}.dim_product WHERE is_current
) p ON p.product_key = f.product_key
"""

PROCESS_CAPABILITY = View(
    name="v_process_capability",
    body=compose(
        """
        SELECT g.source, <<names>>,
               g.parameter, g.unit, g.limit_version, g.lsl, g.target, g.usl,
               g.n, g.mean, g.sigma, g.min_value, g.max_value,
               CASE WHEN g.sigma > 0 THEN (g.usl - g.lsl) / (6 * g.sigma) END AS cp,
               CASE WHEN g.sigma > 0 THEN least(g.usl - g.mean, g.mean - g.lsl) / (3 * g.sigma) END AS cpk
        FROM (
            SELECT v.source, <<grouped>>, v.parameter,
                   coalesce(m.unit, v.own_unit) AS unit, m.limit_version, m.lsl, m.target, m.usl,
                   count(*) AS n, avg(v.value) AS mean, min(v.value) AS min_value, max(v.value) AS max_value,
                   CASE WHEN count(*) > 1 AND min(v.value) = max(v.value) THEN 0
                        ELSE stddev_samp(v.value - coalesce(m.target, (m.lsl + m.usl) / 2, m.lsl, m.usl, 0))
                   END AS sigma
            FROM (
                SELECT CAST('PROCESS' AS text) AS source, p.*
                FROM (
                    <<process>>
                ) p
                UNION ALL
                SELECT CAST('TEST' AS text) AS source, t.*
                FROM (
                    <<test>>
                ) t
            ) v
            <<with_limits>>
            GROUP BY v.source, <<grouped>>, v.parameter,
                     coalesce(m.unit, v.own_unit), m.limit_version, m.lsl, m.target, m.usl
        ) g
        """,
        names=_bare(_CAPABILITY_NAMES, "g."),
        grouped=_bare(_CAPABILITY_NAMES, "v."),
        process=_unfold(
            "fact_process_measurements",
            fact_process_measurements.MEASURES,
            _CAPABILITY,
            _CAPABILITY_JOINS + "WHERE true",
        ),
        test=_unfold(
            "fact_test_results",
            fact_test_results.MEASURES,
            _CAPABILITY,
            _CAPABILITY_JOINS + "WHERE f.is_final_result IS DISTINCT FROM false",
        ),
        with_limits=compose(_WITH_LIMITS, limits=LIMITS),
    ),
    comment=(
        "Capability by step, product, parameter and set of limits, over all events; test results by the last insertion "
        "of a unit in its file"
    ),
    columns={
        "source": "PROCESS (fact_process_measurements) or TEST (fact_test_results)",
        **STEP_COLUMNS,
        "product_key": "Product (dim_product)",
        "product_id": "Product",
        "product_revision": "Design revision",
        "parameter": "Name of the parameter, or test number",
        "unit": "Unit of value and limits",
        "limit_version": "Version of the limits",
        "lsl": "Lower specification limit",
        "target": "Target",
        "usl": "Upper specification limit",
        "n": "Values, count",
        "mean": "Mean of the values",
        "sigma": "Sample standard deviation of all values; NULL for fewer than two",
        "min_value": "Least value",
        "max_value": "Greatest value",
        "cp": "(USL - LSL) / 6 sigma; NULL where sigma = 0, n < 2, or a limit is missing",
        "cpk": "min(USL - mean, mean - LSL) / 3 sigma, from the one side where a limit is missing; NULL where "
        "sigma = 0, n < 2, or both are",
    },
    reads=("fact_process_measurements", "fact_test_results", "dim_process_step", "dim_product"),
)
