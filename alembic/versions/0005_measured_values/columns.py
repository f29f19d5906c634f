"""The columns of measured values. Frozen."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from gpwarehouse.dialect import Encoding

JSONB = postgresql.JSONB(none_as_null=True)

MEASURED = {
    "parameter_set_key": (
        sa.BigInteger(),
        "List that says what stands at each position of measured (bridge_parameter_set); NULL without values",
    ),
    "measured": (
        sa.ARRAY(sa.Double()),
        "Measured values, each at its position of the list, in the list's units; NaN: no value there",
    ),
}
TESTED = {
    "verdicts": (
        sa.Text(),
        "The tester's verdicts, a letter a position of the list: P passed, F failed, N executed without a verdict, - not "
        "executed (STDF V4 TEST_FLG bits 4, 6, 7); NULL: none are known",
    ),
    "failed": (
        sa.ARRAY(sa.Integer()),
        "Positions of the list whose test failed, ascending; empty where none did, NULL where verdicts are not known",
    ),
    "own_limits": (
        JSONB,
        "Limits of the part where they are not its list's: {position: {lsl, usl, lsl_inclusive, usl_inclusive}}",
    ),
    "unit_id": (sa.Text(), "Identity of a packaged part: its 2D code or part text; NULL where it has none"),
    "sublot_id": (sa.Text(), "Sublot (STDF V4 MIR.SBLOT_ID)"),
    "retest_of_bins": (
        sa.Text(),
        "Bins whose parts this insertion tests again (STDF V4 MIR.RTST_COD); NULL where it is no retest",
    ),
}
ADDED = {"fact_process_measurements": MEASURED, "fact_test_results": {**MEASURED, **TESTED}}

COMMENTS = {
    ("fact_process_measurements", "parameters"): (
        "Everything measured that has no column: {name: number}",
        "What was told of the measurement and is no value of measured: texts, booleans, nested things, numbers with more digits "
        "than a double keeps: {name: value}",
    ),
    ("fact_test_results", "parameters"): (
        "Parametric results: {test number: value}, the last value where a number repeats; its unit and limits stand in "
        "dim_process_step.control_limits (STDF V4 PTR.RESULT, MPR.RTN_RSLT)",
        "What was told of the unit and is no value of measured: texts, booleans, nested things, numbers with more digits than "
        "a double keeps: {name: value} (STDF V4 GDR, DTR)",
    ),
    ("fact_test_results", "parameter_counts"): (
        "How often a test number came in the insertion, where more than once: {test number: count}",
        "How often a test number came in the insertion, where more than once: {test number: count}; of rows without "
        "measured, which keeps every occurrence",
    ),
}
"""Column → comment before, comment after."""


def create(op, schema):
    for table, columns in ADDED.items():
        for name, (type_, comment) in columns.items():
            encoding = Encoding(compresstype="zstd", compresslevel=1)
            column = sa.Column(name, type_, nullable=True, comment=comment, greenplum_encoding=encoding)
            op.add_column(table, column, schema=schema)
    op.create_check_constraint(
        op.f("ck_fact_test_results_own_limits"),
        "fact_test_results",
        "jsonb_typeof(own_limits) = 'object'",
        schema=schema,
    )
    _comment(op, schema, 1)


def drop(op, schema):
    _comment(op, schema, 0)
    op.drop_constraint("ck_fact_test_results_own_limits", "fact_test_results", type_="check", schema=schema)
    for table, columns in ADDED.items():
        for name in reversed(columns):
            op.drop_column(table, name, schema=schema)


def _comment(op, schema, which):
    for (table, column), comments in COMMENTS.items():
        op.alter_column(table, column, existing_type=JSONB, comment=comments[which], schema=schema)
