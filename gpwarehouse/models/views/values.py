"""``v_test_values`` and ``v_process_values``: one row per value, with its limits.

A value is an element of ``measured``, a measure with a column of its own, or a number that stands in ``parameters``. Elements
are looked up by the list's positions: a filter on the parameter leaves one position, and one element is read a row. (Measured
on 156,900 rows of 74 values: an unfolding of the array joined to the list takes 7 to 100 times as long for one test.)

Nothing is unfolded in the select list: on Greenplum 6 a filter on the parameter would not reach the scan.

Limits are the part's own, else those of the list, that is of the file; where a list has none, the step's in force at the
event (``bridge_step_limits``). Control limits are always the step's.
"""

from __future__ import annotations

from collections.abc import Mapping

from gpwarehouse.models import fact_process_measurements, fact_test_results
from gpwarehouse.models.views.view import STEP_COLUMNS, WAFER_COLUMNS, View, compose

__all__ = ["PROCESS_VALUES", "TEST_VALUES"]


_NAMES = """
LEFT JOIN {schema}.dim_wafer w ON w.wafer_key = f.wafer_key AND w.is_current
LEFT JOIN {schema}.dim_lot l ON l.lot_key = f.lot_key AND l.is_current
LEFT JOIN {schema}.dim_process_step s ON s.process_step_key = f.process_step_key AND s.is_current
LEFT JOIN {schema}.dim_equipment e ON e.equipment_key = f.equipment_key AND e.is_current
LEFT JOIN {schema}.dim_equipment h ON h.equipment_key = f.chamber_key AND h.is_current
"""
_TEST_NAMES = "\n".join(line for line in _NAMES.splitlines() if "dim_equipment" not in line)

_IDENTITY = ["f.wafer_key", "w.root_lot_id", "w.wafer_id", "f.lot_key", "l.lot_id", "f.product_key"]
_STEP = [f"{'f' if column == 'process_step_key' else 's'}.{column}" for column in STEP_COLUMNS]
_PROCESS = [
    *_IDENTITY,
    *_STEP,
    *("f.recipe_key", "f.equipment_key", "e.equipment_id", "f.chamber_key", "h.chamber_id"),
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

_OWN = "(f.own_limits -> CAST(p.position AS text))"


def _own(column: str, type_: str) -> str:
    """The limit that a part's own record gives, else its list's. An entry of a part stands for both limits."""
    absent = "NULL" if type_ == "double precision" else f"p.{column}"
    return (
        f"CASE WHEN {_OWN} IS NULL THEN p.{column} "
        f"ELSE coalesce(CAST({_OWN} ->> '{column}' AS {type_}), {absent}) END AS {column}"
    )


_LIST_LIMITS = ("p.lsl", "p.usl", "p.lsl_inclusive", "p.usl_inclusive")
_PART_LIMITS = (
    *(_own(side, "double precision") for side in ("lsl", "usl")),
    *(_own(f"{side}_inclusive", "boolean") for side in ("lsl", "usl")),
)
_TESTER_PASSED = ("CASE substr(f.verdicts, p.position, 1) WHEN 'P' THEN true WHEN 'F' THEN false END AS tester_passed",)
_NO_LIMITS = """
CAST(NULL AS bigint) AS test_number, CAST(NULL AS text) AS test_name, CAST('' AS text) AS pin, 1 AS occurrence,
CAST(NULL AS double precision) AS lsl, CAST(NULL AS double precision) AS usl,
true AS lsl_inclusive, true AS usl_inclusive<<more>>
"""


def _unfold(
    table: str, measures: Mapping[str, str], columns: list[str], joins: str, limits: tuple[str, ...], more: str = ""
) -> str:
    """``columns`` of the fact, with the parameter's identity, the list's unit and limits, and the value: a row per value.

    :param columns: ``alias.column`` as ``joins`` calls them, behind ``FROM <fact> f``.
    :param limits: what an element of the array has of limits and verdicts; ``more``: its NULLs of a named value.
    """
    return compose(
        """
        SELECT <<columns>>,
               p.parameter, f.measured[p.position] AS value, p.unit, CAST(NULL AS text) AS column_unit,
               p.test_number, p.test_name, p.pin, p.occurrence,
               <<limits>>
        FROM {schema}.<<table>> f
        JOIN {schema}.bridge_parameter_set p ON p.parameter_set_key = f.parameter_set_key
        <<joins>>
        WHERE f.measured[p.position] <> CAST('NaN' AS double precision)
        UNION ALL
        SELECT <<columns>>,
               j.key AS parameter,
               CASE WHEN jsonb_typeof(j.value) = 'number'
                    THEN CAST(CAST(j.value AS text) AS double precision) END AS value,
               CAST(NULL AS text) AS unit, CAST(NULL AS text) AS column_unit,
               <<none>>
        FROM {schema}.<<table>> f
        CROSS JOIN LATERAL jsonb_each(f.parameters) AS j (key, value)
        <<joins>>
        WHERE jsonb_typeof(j.value) = 'number'
        UNION ALL
        SELECT <<columns>>,
               c.parameter, c.value, CAST(NULL AS text) AS unit, c.unit AS column_unit,
               <<none>>
        FROM {schema}.<<table>> f
        CROSS JOIN LATERAL (VALUES <<measures>>) AS c (parameter, value, unit)
        <<joins>>
        WHERE coalesce(<<values>>) IS NOT NULL
        """,
        columns=", ".join(columns),
        table=table,
        joins=joins,
        limits=", ".join(limits),
        none=compose(_NO_LIMITS, more=more),
        measures=", ".join(
            f"(CAST('{name}' AS text), f.{name}, CAST('{unit}' AS text))" for name, unit in measures.items()
        ),
        values=", ".join(f"f.{name}" for name in measures),
    )


_STEP_LIMITS = """
LEFT JOIN {schema}.bridge_step_limits m ON m.process_step_key = v.process_step_key AND m.parameter = v.parameter
   AND v.event_ts >= m.effective_date AND v.event_ts < m.expiry_date
WHERE v.value IS NOT NULL
"""

_FROM_STEP = "v.lsl IS NULL AND v.usl IS NULL"
"""Whether limits are the step's: the part and its list have none."""
LSL, USL = (f"CASE WHEN {_FROM_STEP} THEN m.{side} ELSE v.{side} END" for side in ("lsl", "usl"))
_VERSION = f"CASE WHEN {_FROM_STEP} THEN m.limit_version END"
_IN_SPEC = (
    f"CASE WHEN {_FROM_STEP} THEN\n"
    "         CASE WHEN m.lsl IS NOT NULL OR m.usl IS NOT NULL\n"
    "              THEN coalesce(v.value >= m.lsl, true) AND coalesce(v.value <= m.usl, true) END\n"
    "     ELSE coalesce(v.value > v.lsl OR v.lsl_inclusive AND v.value = v.lsl, true)\n"
    "          AND coalesce(v.value < v.usl OR v.usl_inclusive AND v.value = v.usl, true) END"
)
_IN_CONTROL = (
    "CASE WHEN m.lcl IS NOT NULL OR m.ucl IS NOT NULL\n"
    "     THEN coalesce(v.value >= m.lcl, true) AND coalesce(v.value <= m.ucl, true) END"
)


def _bare(columns: list[str], prefix: str) -> str:
    return ", ".join(prefix + column.partition(".")[2] for column in columns)


_LIMIT_COLUMNS = {
    "value": "Value, in the unit given",
    "unit": "Unit: that of the list, else of the step's limits in force, else of the measure's column",
    "lsl": "Lower specification limit: the part's own, else the list's (the file's), else the step's in force at the event",
    "usl": "Upper specification limit, likewise",
    "limit_version": "Version of the step's limits, where they are the ones given",
    "is_in_spec": "Whether the value is within lsl and usl, by their inclusiveness; NULL where there is no limit",
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
        SELECT <<columns>>, coalesce(CAST(v.test_number AS text), v.parameter) AS test_number,
               coalesce(v.test_name, m.name) AS test_name,
               v.value, coalesce(v.unit, m.unit, v.column_unit) AS unit, <<lsl>> AS lsl, <<usl>> AS usl,
               <<version>> AS limit_version,
               <<in_spec>> AS is_in_spec,
               v.parameter, v.pin, v.occurrence, v.lsl_inclusive, v.usl_inclusive, v.tester_passed
        FROM (
            <<values>>
        ) v
        <<limits>>
        """,
        columns=_bare(_TEST, "v."),
        lsl=LSL,
        usl=USL,
        version=_VERSION,
        in_spec=_IN_SPEC,
        values=_unfold(
            "fact_test_results",
            fact_test_results.MEASURES,
            _TEST,
            _TEST_NAMES,
            (*_PART_LIMITS, *_TESTER_PASSED),
            ", CAST(NULL AS boolean) AS tester_passed",
        ),
        limits=_STEP_LIMITS,
    ),
    comment="Parametric test results: a row per value of an insertion of a unit, with its limits and the tester's verdict",
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
        "test_number": "Test number as text; without one, the name",
        "test_name": "Name of the test (STDF V4 TEST_TXT)",
        **_LIMIT_COLUMNS,
        "parameter": "Name, unique in the list; name in parameters, or of the measure's column",
        "pin": "Pin of one result of several; empty without one",
        "occurrence": "1, 2, ... of a test that is repeated within an insertion",
        "lsl_inclusive": "Whether a value equal to lsl is in specification",
        "usl_inclusive": "Whether a value equal to usl is in specification",
        "tester_passed": "The tester's verdict; NULL: none",
    },
    reads=(
        "fact_test_results",
        "bridge_parameter_set",
        "bridge_step_limits",
        "dim_wafer",
        "dim_lot",
        "dim_process_step",
    ),
)

PROCESS_VALUES = View(
    name="v_process_values",
    body=compose(
        """
        SELECT <<columns>>, v.parameter, v.value, coalesce(v.unit, m.unit, v.column_unit) AS unit,
               <<lsl>> AS lsl, <<usl>> AS usl, <<version>> AS limit_version,
               <<in_spec>> AS is_in_spec,
               m.lcl, m.target, m.ucl,
               <<in_control>> AS is_in_control
        FROM (
            <<values>>
        ) v
        <<limits>>
        """,
        columns=_bare(_PROCESS, "v."),
        lsl=LSL,
        usl=USL,
        version=_VERSION,
        in_spec=_IN_SPEC,
        in_control=_IN_CONTROL,
        values=_unfold("fact_process_measurements", fact_process_measurements.MEASURES, _PROCESS, _NAMES, _LIST_LIMITS),
        limits=_STEP_LIMITS,
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
        "parameter": "Name in the list or in parameters, or of the measure's column",
        **_LIMIT_COLUMNS,
        "lcl": "Lower control limit in force at the event",
        "target": "Target in force at the event",
        "ucl": "Upper control limit in force at the event",
        "is_in_control": "Whether lcl <= value <= ucl; NULL where there is no limit",
    },
    reads=(
        *("fact_process_measurements", "bridge_parameter_set", "bridge_step_limits"),
        *("dim_wafer", "dim_lot", "dim_process_step", "dim_equipment"),
    ),
)
