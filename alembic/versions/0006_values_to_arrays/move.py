"""Values from ``parameters`` to ``measured`` and back, a month at a time. Frozen."""

from __future__ import annotations

import sqlalchemy as sa

from gpwarehouse.errors import MigrationError
from gpwarehouse.migrate import revision_part
from gpwarehouse.models.parameter_sets import MOST_PARAMETERS, Parameter, ParameterSet

NUMERIC = "CAST(CAST(j.value AS text) AS numeric)"
DOUBLE = "CAST(CAST(j.value AS text) AS double precision)"
EXACT = f"""CASE WHEN jsonb_typeof(j.value) <> 'number' THEN false
    WHEN {NUMERIC} = 0 THEN true
    WHEN abs({NUMERIC}) > 1e300 OR abs({NUMERIC}) < 1e-300 THEN false
    ELSE round(CAST(CAST({DOUBLE} AS text) AS numeric), length(split_part(CAST(j.value AS text), '.', 2))) = {NUMERIC} END"""
"""Whether a double holds the number digit by digit: printed, and rounded to as many places, it is the same."""

BARE = {"fact_test_results": "f.verdicts IS NULL", "fact_process_measurements": "true"}

NAMES = """
SELECT f.batch_id, f.process_step_key, array_agg(DISTINCT j.key) AS names
FROM {fact} f CROSS JOIN LATERAL jsonb_each(f.parameters) AS j (key, value)
WHERE {batch} AND f.parameter_set_key IS NULL AND {bare} AND {exact}
GROUP BY f.batch_id, f.process_step_key
"""
UPDATE = """
UPDATE {fact} f SET parameter_set_key = m.parameter_set_key,
    measured = (SELECT array_agg(CASE WHEN {exact} THEN {double} ELSE CAST('NaN' AS double precision) END ORDER BY n.position)
                FROM unnest(m.names) WITH ORDINALITY AS n (name, position)
                LEFT JOIN jsonb_each(f.parameters) AS j (key, value) ON j.key = n.name),
    parameters = (SELECT CAST(json_object_agg(j.key, CAST(CAST(j.value AS text) AS json)) AS jsonb)
                  FROM jsonb_each(f.parameters) AS j (key, value)
                  WHERE NOT (j.key = ANY (m.names) AND {exact}))
FROM moved_lists m
WHERE {batch} AND f.parameter_set_key IS NULL AND {bare} AND f.parameters IS NOT NULL
  AND m.batch_id = f.batch_id AND m.process_step_key = f.process_step_key
  AND EXISTS (SELECT 1 FROM jsonb_each(f.parameters) AS j (key, value) WHERE j.key = ANY (m.names) AND {exact})
"""
BACK = """
UPDATE {fact} f SET parameter_set_key = NULL, measured = NULL,
    parameters = (SELECT CAST(json_object_agg(v.name, v.value) AS jsonb) FROM (
        SELECT n.name, CAST(CAST(n.value AS text) AS json) AS value
        FROM unnest(m.names, f.measured) AS n (name, value) WHERE n.value <> CAST('NaN' AS double precision)
        UNION ALL
        SELECT j.key, CAST(CAST(j.value AS text) AS json) FROM jsonb_each(f.parameters) AS j (key, value)) v)
FROM moved_lists m
WHERE {batch} AND m.parameter_set_key = f.parameter_set_key
  AND NOT EXISTS (SELECT 1 FROM jsonb_each(f.parameters) AS j (key, value) WHERE j.key = ANY (m.names))
"""
VALUES = """
SELECT count(*) AS n, coalesce(sum(CAST(CAST('x' || substr(md5(concat_ws(chr(31), v.batch_id, CAST(v.source_record_no AS text),
    v.name, CAST(v.value AS text))), 1, 8) AS bit(32)) AS bigint)), 0) AS checksum
FROM (
    SELECT f.batch_id, f.source_record_no, j.key AS name,
           CASE WHEN {exact} THEN CAST({double} AS text) ELSE CAST(j.value AS text) END AS value
    FROM {fact} f CROSS JOIN LATERAL jsonb_each(f.parameters) AS j (key, value)
    WHERE {batch}
    UNION ALL
    SELECT f.batch_id, f.source_record_no, p.parameter, CAST(f.measured[p.position] AS text)
    FROM {fact} f JOIN {schema}.bridge_parameter_set p ON p.parameter_set_key = f.parameter_set_key
    WHERE {batch} AND f.measured[p.position] <> CAST('NaN' AS double precision)
) v
"""
"""All values of a month, wherever they stand: their count, and a checksum over record, name and value."""

PLAIN = """
DELETE FROM {schema}.bridge_parameter_set WHERE parameter_set_key IN (
    SELECT parameter_set_key FROM {schema}.bridge_parameter_set GROUP BY parameter_set_key
    HAVING max(unit) IS NULL AND max(lsl) IS NULL AND max(usl) IS NULL AND max(test_name) IS NULL AND max(kind) = 'PARAMETRIC')
"""


def to_arrays(script, fact, schema, connection, batch):
    """Move a month's numbers into arrays, and make its aggregates."""
    run = _runner(connection, fact, schema, batch)
    before = run(VALUES).one()
    lists = [(row.batch_id, row.process_step_key, _list_of(row.names)) for row in run(NAMES)]
    lists = [found for found in lists if len(found[2])]
    _store(connection, schema, lists)
    _stage(connection, [(*key, made.key, [p.name for p in made.parameters]) for *key, made in lists])
    moved = run(UPDATE).rowcount if lists else 0
    _compare(fact, batch, before, run(VALUES).one())
    connection.execute(sa.text("DROP TABLE moved_lists"))
    aggregates = revision_part(script, "aggregates")
    aggregates.make(connection, fact, schema, batch)
    return moved


def to_json(fact, schema, connection, batch):
    """Move a month's array elements back."""
    run = _runner(connection, fact, schema, batch)
    before = run(VALUES).one()
    found = run(
        "SELECT p.parameter_set_key, array_agg(p.parameter ORDER BY p.position) AS names FROM {schema}.bridge_parameter_set p "
        "WHERE p.parameter_set_key IN (SELECT f.parameter_set_key FROM {fact} f WHERE {batch}) GROUP BY p.parameter_set_key"
    )
    _stage(connection, [("", 0, row.parameter_set_key, row.names) for row in found])
    moved = run(BACK).rowcount
    _compare(fact, batch, before, run(VALUES).one())
    connection.execute(sa.text("DROP TABLE moved_lists"))
    return moved


def drop_plain_lists(op, schema):
    """Take the lists away that say no more than names: the way up makes them again."""
    if not op.get_context().as_sql:
        op.execute(sa.text(_fill(PLAIN, "", op.get_bind(), schema, "")))


def _fill(sql, fact, connection, schema, batch):
    quoted = connection.dialect.identifier_preparer.quote_schema(schema)
    names = {"schema": quoted, "fact": f"{quoted}.{fact}", "batch": batch, "exact": EXACT, "double": DOUBLE}
    return sql.format(**names, bare=BARE.get(fact, "true")).replace(":", r"\:")


def _runner(connection, fact, schema, batch):
    connection.execute(sa.text("SET LOCAL extra_float_digits = 3"))
    return lambda sql: connection.execute(sa.text(_fill(sql, fact, connection, schema, batch)))


def _list_of(names):
    """The list of these names; of more than a list may have, the first ones."""
    usable = [name for name in sorted(names) if name and not {"\x1e", "\x1f"} & set(name)]
    return ParameterSet.of(Parameter(name, _number(name)) for name in usable[:MOST_PARAMETERS])


def _number(name):
    return int(name) if name.isascii() and name.isdigit() and int(name) < 1 << 63 else None


def _store(connection, schema, lists):
    quoted = connection.dialect.identifier_preparer.quote_schema(schema)
    bridge = f"{quoted}.bridge_parameter_set"
    connection.execute(sa.text(f"LOCK TABLE {bridge} IN SHARE ROW EXCLUSIVE MODE"))
    there = set(connection.execute(sa.text(f"SELECT DISTINCT parameter_set_key FROM {bridge}")).scalars())  # noqa: S608
    insert = sa.text(
        f"INSERT INTO {bridge} (parameter_set_key, position, parameter, test_number, batch_id) "  # noqa: S608
        "VALUES (:key, :position, :parameter, :number, :batch)"
    )
    for batch_id, _step, made in lists:
        if made.key not in there:
            there.add(made.key)
            rows = [
                {"key": made.key, "position": n, "parameter": p.name, "number": p.test_number, "batch": batch_id}
                for n, p in enumerate(made.parameters, 1)
            ]
            connection.execute(insert, rows)


def _stage(connection, rows):
    connection.execute(
        sa.text(
            "CREATE TEMPORARY TABLE moved_lists (batch_id text, process_step_key bigint, parameter_set_key bigint, names text[]) "
            "ON COMMIT DROP" + (" DISTRIBUTED REPLICATED" if connection.dialect.capabilities.distribution else "")
        )
    )
    if rows:
        insert = sa.text("INSERT INTO moved_lists VALUES (:b, :s, :k, :n)").bindparams(
            sa.bindparam("n", type_=sa.ARRAY(sa.Text()))
        )
        connection.execute(insert, [dict(zip("bskn", row, strict=True)) for row in rows])


def _compare(fact, batch, before, after):
    if tuple(before) != tuple(after):
        raise MigrationError(
            f"{fact}, rows where {batch}: {before.n} values before, {after.n} after, and not all are the same. Nothing of this "
            "month was changed. Report it, with the server's version"
        )
