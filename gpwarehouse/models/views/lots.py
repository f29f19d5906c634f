"""``v_lot_genealogy`` and ``v_lot_status``, and the genealogy of one lot."""

from __future__ import annotations

from gpwarehouse.models.views.view import View, compose

__all__ = ["LOT_GENEALOGY", "LOT_STATUS", "genealogy_sql"]

# The bridge has every event; a lot whose source only names its parent counts as well. The parent's key is computed,
# as gpwarehouse.models.keys does, so that it need not be in dim_lot yet.
_PARENT_OF_LOT = """
SELECT CAST(CAST('x' || substr(md5(l.parent_lot_id), 1, 16) AS bit(64)) AS bigint) AS parent_lot_key,
       l.lot_key AS child_lot_key
FROM {schema}.dim_lot l
WHERE l.is_current AND l.parent_lot_id <> ''
"""

LOT_GENEALOGY = View(
    name="v_lot_genealogy",
    body=compose(
        """
        WITH RECURSIVE edge AS (
            SELECT b.parent_lot_key, b.child_lot_key
            FROM {schema}.bridge_lot_genealogy b
            UNION
            <<parent_of_lot>>
        ), tree AS (
            SELECT g.parent_lot_key AS ancestor_key, g.child_lot_key AS descendant_key, 1 AS distance,
                   ARRAY[g.parent_lot_key, g.child_lot_key] AS path
            FROM edge g
            UNION ALL
            SELECT t.ancestor_key, g.child_lot_key, t.distance + 1, t.path || g.child_lot_key
            FROM tree t
            JOIN edge g ON g.parent_lot_key = t.descendant_key
            WHERE g.child_lot_key <> ALL (t.path)
        ), pair AS (
            SELECT t.ancestor_key, t.descendant_key, min(t.distance) AS distance
            FROM tree t
            GROUP BY t.ancestor_key, t.descendant_key
        )
        SELECT p.descendant_key AS lot_key, d.lot_id, CAST('ANCESTOR' AS text) AS direction, p.distance,
               p.ancestor_key AS related_lot_key, a.lot_id AS related_lot_id
        FROM pair p
        LEFT JOIN {schema}.dim_lot a ON a.lot_key = p.ancestor_key AND a.is_current
        LEFT JOIN {schema}.dim_lot d ON d.lot_key = p.descendant_key AND d.is_current
        UNION ALL
        SELECT p.ancestor_key, a.lot_id, CAST('DESCENDANT' AS text), p.distance, p.descendant_key, d.lot_id
        FROM pair p
        LEFT JOIN {schema}.dim_lot a ON a.lot_key = p.ancestor_key AND a.is_current
        LEFT JOIN {schema}.dim_lot d ON d.lot_key = p.descendant_key AND d.is_current
        """,
        parent_of_lot=_PARENT_OF_LOT,
    ),
    comment=(
        "Ancestors and descendants of every lot, any depth. A filter does not reach into it: for one lot use "
        "wh.dimensions.genealogy(), which starts at the lot"
    ),
    columns={
        "lot_key": "Lot (dim_lot)",
        "lot_id": "Lot",
        "direction": "ANCESTOR or DESCENDANT: what the related lot is to the lot",
        "distance": "Splits, merges, reworks and renamings between them, the shortest way",
        "related_lot_key": "Related lot (dim_lot)",
        "related_lot_id": "Related lot; NULL where dim_lot does not know it",
    },
    reads=("bridge_lot_genealogy", "dim_lot"),
)


def _walk(name: str, near: str, far: str) -> str:
    """A recursive query from the lot along the edges: ``near`` is the end we stand at, ``far`` where we go."""
    return compose(
        """
        <<name>> AS (
            SELECT g.<<far>> AS lot_key, g.parent_lot_key, g.child_lot_key, g.event_type, g.event_ts, g.wafer_count,
                   1 AS distance, ARRAY[g.<<near>>, g.<<far>>] AS path
            FROM edge g
            WHERE g.<<near>> = CAST(:lot_key AS bigint)
            UNION ALL
            SELECT g.<<far>>, g.parent_lot_key, g.child_lot_key, g.event_type, g.event_ts, g.wafer_count,
                   t.distance + 1, t.path || g.<<far>>
            FROM <<name>> t
            JOIN edge g ON g.<<near>> = t.lot_key
            WHERE g.<<far>> <> ALL (t.path)
        )
        """,
        name=name,
        near=near,
        far=far,
    )


def genealogy_sql() -> str:
    """The genealogy of one lot: ``{schema}`` stands for the schema, ``:lot_key`` (BIGINT) is to be bound.

    A row per event and way, with ``direction`` (``ANCESTOR``, ``DESCENDANT``), ``distance`` from the lot (1 = next),
    ``lot_key`` and ``lot_id`` reached, ``parent_lot_id``, ``child_lot_id``, ``event_type``, ``event_ts`` and
    ``wafer_count`` of the step taken; the last three are NULL where only ``dim_lot`` names the parent. No lot comes
    twice on a way, so a cycle ends.
    """
    return compose(
        """
        WITH RECURSIVE edge AS (
            SELECT b.parent_lot_key, b.child_lot_key, b.event_type, b.event_ts, b.wafer_count
            FROM {schema}.bridge_lot_genealogy b
            UNION ALL
            SELECT m.parent_lot_key, m.child_lot_key, CAST(NULL AS text), CAST(NULL AS timestamptz),
                   CAST(NULL AS integer)
            FROM (
                <<parent_of_lot>>
            ) m
            LEFT JOIN {schema}.bridge_lot_genealogy b
                ON b.parent_lot_key = m.parent_lot_key AND b.child_lot_key = m.child_lot_key
            WHERE b.parent_lot_key IS NULL
        ),
        <<up>>,
        <<down>>
        SELECT r.direction, r.distance, r.lot_key, l.lot_id, p.lot_id AS parent_lot_id, c.lot_id AS child_lot_id,
               r.event_type, r.event_ts, r.wafer_count
        FROM (
            SELECT CAST('ANCESTOR' AS text) AS direction, u.* FROM up u
            UNION ALL
            SELECT CAST('DESCENDANT' AS text), d.* FROM down d
        ) r
        LEFT JOIN {schema}.dim_lot l ON l.lot_key = r.lot_key AND l.is_current
        LEFT JOIN {schema}.dim_lot p ON p.lot_key = r.parent_lot_key AND p.is_current
        LEFT JOIN {schema}.dim_lot c ON c.lot_key = r.child_lot_key AND c.is_current
        ORDER BY r.direction, r.distance, r.event_ts, l.lot_id
        """,
        parent_of_lot=_PARENT_OF_LOT,
        up=_walk("up", "child_lot_key", "parent_lot_key"),
        down=_walk("down", "parent_lot_key", "child_lot_key"),
    )


_EVENTS = (
    ("PROCESS", "fact_process_measurements", "equipment_key"),
    ("TEST", "fact_test_results", "tester_key"),
    ("INSPECTION", "fact_defect_inspection", "inspection_equipment_key"),
)

LOT_STATUS = View(
    name="v_lot_status",
    body=compose(
        """
        SELECT l.lot_key, l.lot_id, l.product_key, p.product_id, l.lot_type, l.priority, l.lot_status, l.hold_code,
               l.wafer_count, l.due_ts,
               v.event_ts AS last_event_ts, v.event_type AS last_event_type,
               v.process_step_key, s.process_flow_id, s.flow_version, s.step_number, s.step_name, s.step_sequence,
               v.equipment_key, e.equipment_id, v.wafers AS wafers_seen
        FROM (
            SELECT a.*, row_number() OVER (
                       PARTITION BY a.lot_key, a.lot_id
                       ORDER BY a.event_ts DESC NULLS LAST, a.event_type, a.process_step_key, a.equipment_key) AS place
            FROM (
                SELECT w.lot_key, w.lot_id, w.event_type, w.process_step_key, w.equipment_key,
                       max(w.event_ts) AS event_ts, count(*) AS wafers
                FROM (
                    <<events>>
                ) w
                GROUP BY w.lot_key, w.lot_id, w.event_type, w.process_step_key, w.equipment_key
                UNION ALL
                SELECT n.lot_key, n.lot_id, CAST(NULL AS text), CAST(NULL AS bigint), CAST(NULL AS bigint),
                       CAST(NULL AS timestamptz), CAST(NULL AS bigint)
                FROM {schema}.dim_lot n
                WHERE n.is_current AND n.lot_key NOT IN (-1, -2)
            ) a
        ) v
        JOIN {schema}.dim_lot l ON l.lot_key = v.lot_key AND l.is_current
        LEFT JOIN {schema}.dim_product p ON p.product_key = l.product_key AND p.is_current
        LEFT JOIN {schema}.dim_process_step s ON s.process_step_key = v.process_step_key AND s.is_current
        LEFT JOIN {schema}.dim_equipment e ON e.equipment_key = v.equipment_key AND e.is_current
        WHERE v.place = 1
        """,
        events="\nUNION ALL\n".join(
            compose(
                """
                SELECT f.lot_key, n.lot_id, CAST('<<kind>>' AS text) AS event_type,
                       f.process_step_key, f.<<tool>> AS equipment_key, f.wafer_key, max(f.event_ts) AS event_ts
                FROM {schema}.<<table>> f
                JOIN {schema}.dim_lot n ON n.lot_key = f.lot_key AND n.is_current AND n.lot_key NOT IN (-1, -2)
                GROUP BY f.wafer_key, f.lot_key, n.lot_id, f.process_step_key, f.<<tool>>
                """,
                kind=kind,
                table=table,
                tool=tool,
            )
            for kind, table, tool in _EVENTS
        ),
    ),
    comment="Each lot with its last event, by the facts: where it is; lots without an event have NULL there",
    columns={
        "lot_key": "Lot (dim_lot)",
        "lot_id": "Lot",
        "product_key": "Product (dim_product)",
        "product_id": "Product",
        "lot_type": "Kind of lot",
        "priority": "Priority, 1 = most urgent",
        "lot_status": "State, as last reported",
        "hold_code": "Why it is on hold",
        "wafer_count": "Wafers in it, count, as last reported",
        "due_ts": "Promised completion, UTC",
        "last_event_ts": "Last event of one of its wafers, UTC",
        "last_event_type": "PROCESS, TEST or INSPECTION",
        "process_step_key": "Step of that event (dim_process_step)",
        "process_flow_id": "Process flow, or test program",
        "flow_version": "Version of the flow",
        "step_number": "Step of the flow, or test stage",
        "step_name": "Name of the step",
        "step_sequence": "Place of the step in the flow",
        "equipment_key": "Tool of that event (dim_equipment)",
        "equipment_id": "Tool",
        "wafers_seen": "Wafers of the lot seen at that step and tool, count",
    },
    reads=(
        *("fact_process_measurements", "fact_test_results", "fact_defect_inspection"),
        *("dim_lot", "dim_product", "dim_process_step", "dim_equipment"),
    ),
)
