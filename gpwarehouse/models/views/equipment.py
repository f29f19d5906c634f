"""``v_equipment_oee``, ``v_equipment_oee_monthly`` and ``v_equipment_state``."""

from __future__ import annotations

from gpwarehouse.models.fact_equipment_performance import E10_STATES
from gpwarehouse.models.views.view import View, compose

__all__ = ["EQUIPMENT_OEE", "EQUIPMENT_OEE_MONTHLY", "EQUIPMENT_STATE"]

_SECONDS = (*(f"{state}_s" for state in E10_STATES), "total_s")
_ADDENDS = (
    *_SECONDS,
    *("failure_count", "repair_count", "repair_time_s", "assist_count"),
    *("wafers_processed", "wafers_good", "theoretical_production_time_s", "theoretical_good_time_s"),
)

# SEMI E79 and E10, from addends only: ratios of shifts do not add up to those of a month.
_RATIOS = """
(f.productive_s + f.standby_s + f.engineering_s) / NULLIF(f.total_s, 0) AS availability,
f.theoretical_production_time_s / NULLIF(f.productive_s + f.standby_s + f.engineering_s, 0) AS performance,
f.theoretical_good_time_s / NULLIF(f.theoretical_production_time_s, 0) AS quality,
f.theoretical_good_time_s / NULLIF(f.total_s, 0) AS oee,
f.productive_s / NULLIF(f.total_s, 0) AS utilization,
f.productive_s / 3600 / NULLIF(f.failure_count, 0) AS mtbf_h,
f.repair_time_s / 3600 / NULLIF(f.repair_count, 0) AS mttr_h
"""
_RATIO_COLUMNS = {
    "availability": "Availability efficiency: (productive + standby + engineering) / total (SEMI E79)",
    "performance": "Performance efficiency: theoretical production time / uptime (SEMI E79)",
    "quality": "Quality efficiency: theoretical time of good units / of all units (SEMI E79)",
    "oee": "Overall equipment efficiency: theoretical time of good units / total time (SEMI E79)",
    "utilization": "Productive / total time (SEMI E10 total utilization)",
    "mtbf_h": "Productive time by failure, h; NULL where none failed (SEMI E10 MTBFp)",
    "mttr_h": "Repair time by repair, h; NULL where there was none (SEMI E10 MTTR)",
}
_EQUIPMENT_COLUMNS = {
    "equipment_key": "Tool or chamber (dim_equipment)",
    "facility": "Fab or test site",
    "equipment_id": "Tool",
    "chamber_id": "Chamber; empty for the tool itself",
    "equipment_type": "Kind of tool",
    "area": "Area of the fab",
}
_EQUIPMENT = "e.facility, e.equipment_id, e.chamber_id, e.equipment_type, e.area"
_ADDEND_COLUMNS = {
    **{f"{state}_s": f"{state.capitalize().replace('_', ' ')} time, s (SEMI E10)" for state in E10_STATES},
    "total_s": "Total time, s (SEMI E10)",
    "failure_count": "Failures, count",
    "repair_count": "Repairs, count",
    "repair_time_s": "Time spent on repairs, s",
    "assist_count": "Assists, count",
    "wafers_processed": "Wafers processed, count",
    "wafers_good": "Wafers processed and good, count",
    "theoretical_production_time_s": "Theoretical production time of all units, s (SEMI E79)",
    "theoretical_good_time_s": "Theoretical production time of the good units, s (SEMI E79)",
}

EQUIPMENT_OEE = View(
    name="v_equipment_oee",
    body=compose(
        """
        SELECT f.equipment_key, <<equipment>>,
               f.event_ts, t.fab_date, coalesce(f.shift_code, t.shift_code) AS shift_code,
               <<addends>>,
               <<ratios>>
        FROM {schema}.fact_equipment_performance f
        LEFT JOIN {schema}.dim_equipment e ON e.equipment_key = f.equipment_key AND e.is_current
        LEFT JOIN {schema}.dim_time t ON t.time_key = f.time_key
        """,
        equipment=_EQUIPMENT,
        addends=", ".join(f"f.{name}" for name in _ADDENDS),
        ratios=_RATIOS,
    ),
    comment="OEE of a tool or chamber by shift (SEMI E79); for longer times sum the addends, never the ratios",
    columns={
        **_EQUIPMENT_COLUMNS,
        "event_ts": "Start of the shift, UTC",
        "fab_date": "Fab day of the shift",
        "shift_code": "Shift",
        **_ADDEND_COLUMNS,
        **_RATIO_COLUMNS,
    },
    reads=("fact_equipment_performance", "dim_equipment", "dim_time"),
)

# Months of the fab's calendar; where dim_time has no row yet, months in UTC.
EQUIPMENT_OEE_MONTHLY = View(
    name="v_equipment_oee_monthly",
    body=compose(
        """
        SELECT f.equipment_key, <<equipment>>, f.fab_year, f.fab_month, f.shifts,
               <<addends>>,
               <<ratios>>
        FROM (
            SELECT p.equipment_key,
                   coalesce(t.fab_year, CAST(extract(year FROM p.event_ts AT TIME ZONE 'UTC') AS integer)) AS fab_year,
                   coalesce(t.fab_month, CAST(extract(month FROM p.event_ts AT TIME ZONE 'UTC') AS integer))
                       AS fab_month,
                   count(*) AS shifts,
                   <<sums>>
            FROM {schema}.fact_equipment_performance p
            LEFT JOIN {schema}.dim_time t ON t.time_key = p.time_key
            GROUP BY 1, 2, 3
        ) f
        LEFT JOIN {schema}.dim_equipment e ON e.equipment_key = f.equipment_key AND e.is_current
        """,
        equipment=_EQUIPMENT,
        addends=", ".join(f"f.{name}" for name in _ADDENDS),
        sums=",\n".join(f"sum(p.{name}) AS {name}" for name in _ADDENDS),
        ratios=_RATIOS,
    ),
    comment="OEE, MTBF and MTTR of a tool or chamber by fab month, from summed addends (SEMI E10, E79)",
    columns={
        **_EQUIPMENT_COLUMNS,
        "fab_year": "Fab year",
        "fab_month": "Fab month, 1 to 12",
        "shifts": "Shifts reported, count",
        **_ADDEND_COLUMNS,
        **_RATIO_COLUMNS,
    },
    reads=("fact_equipment_performance", "dim_equipment", "dim_time"),
)

_USES = (
    ("fact_process_measurements", "equipment_key"),
    ("fact_process_measurements", "chamber_key"),
    ("fact_test_results", "tester_key"),
    ("fact_test_results", "prober_key"),
    ("fact_defect_inspection", "inspection_equipment_key"),
)

EQUIPMENT_STATE = View(
    name="v_equipment_state",
    body=compose(
        """
        SELECT e.equipment_key, <<equipment>>,
               u.event_ts AS last_event_ts, l.lot_id AS last_lot_id,
               s.step_number AS last_step_number, s.step_name AS last_step_name, r.recipe_id AS last_recipe_id,
               p.event_ts AS shift_start_ts,
               CASE WHEN p.longest_s = p.unscheduled_down_s THEN 'UNSCHEDULED_DOWN'
                    WHEN p.longest_s = p.scheduled_down_s THEN 'SCHEDULED_DOWN'
                    WHEN p.longest_s = p.non_scheduled_s THEN 'NON_SCHEDULED'
                    WHEN p.longest_s = p.engineering_s THEN 'ENGINEERING'
                    WHEN p.longest_s = p.standby_s THEN 'STANDBY'
                    WHEN p.longest_s = p.productive_s THEN 'PRODUCTIVE'
               END AS main_state,
               p.longest_s / NULLIF(p.total_s, 0) AS main_state_share
        FROM {schema}.dim_equipment e
        LEFT JOIN (
            SELECT v.*, row_number() OVER (
                       PARTITION BY v.equipment_key
                       ORDER BY v.event_ts DESC, v.lot_key, v.process_step_key, v.recipe_key) AS place
            FROM (
                <<uses>>
            ) v
        ) u ON u.equipment_key = e.equipment_key AND u.place = 1
        LEFT JOIN (
            SELECT f.equipment_key, f.event_ts, f.total_s,
                   <<states>>,
                   greatest(<<states>>) AS longest_s,
                   row_number() OVER (
                       PARTITION BY f.equipment_key
                       ORDER BY f.event_ts DESC, f.batch_id DESC, f.source_record_no DESC) AS place
            FROM {schema}.fact_equipment_performance f
        ) p ON p.equipment_key = e.equipment_key AND p.place = 1
        LEFT JOIN {schema}.dim_lot l ON l.lot_key = u.lot_key AND l.is_current
        LEFT JOIN {schema}.dim_process_step s ON s.process_step_key = u.process_step_key AND s.is_current
        LEFT JOIN {schema}.dim_recipe r ON r.recipe_key = u.recipe_key AND r.is_current
        WHERE e.is_current AND e.equipment_key NOT IN (-1, -2)
        """,
        equipment=_EQUIPMENT,
        states=", ".join(f"f.{state}_s" for state in E10_STATES),
        uses="\nUNION ALL\n".join(
            compose(
                """
                SELECT f.<<key>> AS equipment_key, f.lot_key, f.process_step_key, f.recipe_key,
                       max(f.event_ts) AS event_ts
                FROM {schema}.<<table>> f
                GROUP BY f.<<key>>, f.lot_key, f.process_step_key, f.recipe_key
                """,
                table=table,
                key=key,
            )
            for table, key in _USES
        ),
    ),
    comment="What each tool and chamber did last, by the facts, and the SEMI E10 state with the most of its last shift",
    columns={
        **_EQUIPMENT_COLUMNS,
        "last_event_ts": "Last event of a wafer in it, UTC",
        "last_lot_id": "Lot of that event",
        "last_step_number": "Step of that event",
        "last_step_name": "Name of the step",
        "last_recipe_id": "Recipe of that event",
        "shift_start_ts": "Last shift reported, UTC",
        "main_state": "State with the most seconds in that shift (SEMI E10)",
        "main_state_share": "Its share of the shift's total time, 0 to 1",
    },
    reads=(
        *("fact_process_measurements", "fact_test_results", "fact_defect_inspection", "fact_equipment_performance"),
        *("dim_equipment", "dim_lot", "dim_process_step", "dim_recipe"),
    ),
)
