"""``v_test_fails``: the Pareto of failing tests, functional ones among them, by the tester's verdicts."""

from __future__ import annotations

from gpwarehouse.models.views.units import DIE, PART
from gpwarehouse.models.views.view import STEP_COLUMNS, WAFER_COLUMNS, View, compose

__all__ = ["TEST_FAILS"]

_NAMES = ["root_lot_id", "wafer_id", "lot_id"]
_KEYS = ["wafer_key", "lot_key", "process_step_key", "test_type", "test_stage", "test_program", "program_revision"]
_TEST = ["test_number", "test_name"]
_JOINS = """
LEFT JOIN {schema}.dim_wafer w ON w.wafer_key = f.wafer_key AND w.is_current
LEFT JOIN {schema}.dim_lot l ON l.lot_key = f.lot_key AND l.is_current
"""

# Of an insertion: a test counts once, however many pins or repeats of it failed.
_FAILED = compose(
    """
    SELECT f.batch_id, f.source_record_no, <<keys>>, f.root_lot_id, f.wafer_id, f.lot_id,
           f.unit_x, f.unit_y, f.unit_part, f.event_ts,
           p.test_number, coalesce(p.test_name, p.parameter) AS test_name,
           CASE WHEN min(p.pin) = max(p.pin) THEN min(p.pin) ELSE '' END AS pin,
           bool_or(f.position = f.first_position) AS is_first
    FROM (
        SELECT f.batch_id, f.source_record_no, <<keys>>, w.root_lot_id, w.wafer_id, l.lot_id,
               CASE WHEN <<die>> THEN f.die_x END AS unit_x,
               CASE WHEN <<die>> THEN f.die_y END AS unit_y,
               <<part>> AS unit_part,
               f.event_ts, f.parameter_set_key, f.failed[1] AS first_position, unnest(f.failed) AS position
        FROM {schema}.fact_test_results f
        <<joins>>
        WHERE f.failed <> CAST('{}' AS integer[])
    ) f
    JOIN {schema}.bridge_parameter_set p ON p.parameter_set_key = f.parameter_set_key AND p.position = f.position
    GROUP BY f.batch_id, f.source_record_no, <<keys>>, f.root_lot_id, f.wafer_id, f.lot_id,
             f.unit_x, f.unit_y, f.unit_part, f.event_ts, p.test_number, coalesce(p.test_name, p.parameter)
    """,
    keys=", ".join(f"f.{key}" for key in _KEYS),
    die=DIE,
    part=PART,
    joins=_JOINS,
)

# Verdicts are counted by their text first: most insertions of a wafer share one. A test is executed if its first place is.
_EXECUTED = compose(
    """
    SELECT <<keys>>, e.root_lot_id, e.wafer_id, e.lot_id, q.test_number, q.test_name, CAST(sum(e.n) AS bigint) AS executed
    FROM (
        SELECT <<fact>>, w.root_lot_id, w.wafer_id, l.lot_id, f.parameter_set_key, f.verdicts, count(*) AS n
        FROM {schema}.fact_test_results f
        <<joins>>
        WHERE f.verdicts IS NOT NULL
        GROUP BY <<fact>>, w.root_lot_id, w.wafer_id, l.lot_id, f.parameter_set_key, f.verdicts
    ) e
    JOIN (
        SELECT p.parameter_set_key, p.test_number, coalesce(p.test_name, p.parameter) AS test_name,
               min(p.position) AS position
        FROM {schema}.bridge_parameter_set p
        GROUP BY p.parameter_set_key, p.test_number, coalesce(p.test_name, p.parameter)
    ) q ON q.parameter_set_key = e.parameter_set_key AND substr(e.verdicts, q.position, 1) <> '-'
    GROUP BY <<keys>>, e.root_lot_id, e.wafer_id, e.lot_id, q.test_number, q.test_name
    """,
    keys=", ".join(f"e.{key}" for key in _KEYS),
    fact=", ".join(f"f.{key}" for key in _KEYS),
    joins=_JOINS,
)
_ALL = [*_KEYS, *_NAMES, *_TEST]

TEST_FAILS = View(
    name="v_test_fails",
    body=compose(
        """
        SELECT x.wafer_key, x.root_lot_id, x.wafer_id, x.lot_key, x.lot_id,
               x.process_step_key, s.process_flow_id, s.flow_version, s.step_number, s.step_name,
               x.test_type, x.test_stage, x.test_program, x.program_revision,
               x.test_number, x.test_name, x.pin, x.failed, x.failed_first, x.units, e.executed,
               CAST(100 AS double precision) * x.failed / NULLIF(e.executed, 0) AS failed_pct,
               x.first_ts, x.last_ts
        FROM (
            SELECT <<all>>, t.pin, count(*) AS failed,
                   count(CASE WHEN t.is_first THEN 1 END) AS failed_first,
                   count(DISTINCT coalesce(t.unit_part, t.unit_x || ' ' || t.unit_y)) AS units,
                   min(t.event_ts) AS first_ts, max(t.event_ts) AS last_ts
            FROM (
                <<failed>>
            ) t
            GROUP BY <<all>>, t.pin
        ) x
        JOIN (
            <<executed>>
        ) e ON e.wafer_key = x.wafer_key AND e.lot_key = x.lot_key AND e.process_step_key = x.process_step_key
           AND <<same>>
        LEFT JOIN {schema}.dim_process_step s ON s.process_step_key = x.process_step_key AND s.is_current
        """,
        all=", ".join(f"t.{name}" for name in _ALL),
        failed=_FAILED,
        executed=_EXECUTED,
        same=" AND ".join(
            f"coalesce(CAST(e.{name} AS text), chr(31)) = coalesce(CAST(x.{name} AS text), chr(31))"
            for name in [*_KEYS[3:], *_TEST]
        ),
    ),
    comment=(
        "Failing tests by wafer, lot, stage and program, by the tester's verdicts: parametric, functional and scan. A test "
        "counts once an insertion, however many of its pins or repeats failed"
    ),
    columns={
        **WAFER_COLUMNS,
        **STEP_COLUMNS,
        "test_type": "WAT, CP or FT",
        "test_stage": "Test stage",
        "test_program": "Test program",
        "program_revision": "Revision of the program",
        "test_number": "Number of the test; NULL where it has none",
        "test_name": "Name of the test (STDF V4 TEST_TXT)",
        "pin": "Pin, where one pin alone failed; empty where the test has no pins or several failed",
        "failed": "Insertions that failed the test, count",
        "failed_first": "Those of them that failed no test before it in the order of the list, count",
        "units": "Units that failed it, count",
        "executed": "Insertions that executed the test, count, whatever the pin",
        "failed_pct": "100 failed / executed, percent",
        "first_ts": "First fail, UTC",
        "last_ts": "Last fail, UTC",
    },
    reads=("fact_test_results", "bridge_parameter_set", "dim_wafer", "dim_lot", "dim_process_step"),
)
