"""The limits that steps have when the table of them comes. Frozen."""

from __future__ import annotations

import sqlalchemy as sa

FILL = """
INSERT INTO {schema}.bridge_step_limits
    (process_step_key, parameter, effective_date, expiry_date, name, unit, limit_version, lsl, lcl, target, ucl, usl)
SELECT s.process_step_key, j.key, s.effective_date, s.expiry_date,
       j.value ->> 'name', j.value ->> 'unit', j.value ->> 'limit_version', {numbers}
FROM {schema}.dim_process_step s
CROSS JOIN LATERAL jsonb_each(s.control_limits) AS j (key, value)
WHERE jsonb_typeof(j.value) = 'object'
"""
NUMBER = "CASE WHEN jsonb_typeof(j.value -> '{0}') = 'number' THEN CAST(j.value ->> '{0}' AS double precision) END"


def create(op, schema):
    quoted = op.get_context().dialect.identifier_preparer.quote_schema(schema)
    numbers = ", ".join(NUMBER.format(name) for name in ("lsl", "lcl", "target", "ucl", "usl"))
    op.execute(sa.text(FILL.format(schema=quoted, numbers=numbers).strip()))


def drop(op, schema):
    """The table goes with the others."""
