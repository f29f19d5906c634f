"""``fact_equipment_performance``: where the time of the equipment went, by shift."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import CheckConstraint, Integer, text
from sqlalchemy.orm import Mapped

from gpwarehouse.models.base import Base, Domain, Fact, KeyRole, col
from gpwarehouse.models.relations import to_current, to_hour

if TYPE_CHECKING:
    from gpwarehouse.models.dim_equipment import DimEquipment
    from gpwarehouse.models.dim_time import DimTime

__all__ = ["E10_STATES", "FactEquipmentPerformance"]

EQUIPMENT = KeyRole(
    "dim_equipment",
    {"facility": "facility", "equipment_id": "equipment_id", "chamber_id": "chamber_id"},
    identifier="equipment_id",
    defaults={"chamber_id": ""},
)

E10_STATES = ("productive", "standby", "engineering", "scheduled_down", "unscheduled_down", "non_scheduled")
"""The six basic equipment states of SEMI E10; ``<state>_s`` are their seconds."""


def _state(meaning: str) -> Any:
    return col(f"{meaning}, s (SEMI E10)", server_default=text("0"), domain=Domain(ge=0))


def _count(meaning: str) -> Any:
    return col(f"{meaning}, count", Integer(), domain=Domain(ge=0))


def _seconds(meaning: str) -> Any:
    return col(meaning, domain=Domain(ge=0))


def _ratio(meaning: str, *, most: float | None = 1) -> Any:
    return col(
        f"{meaning}, as the source reported it, 0 to 1; v_equipment_oee computes it", domain=Domain(ge=0, le=most)
    )


class FactEquipmentPerformance(Fact, Base):
    """Shift of a tool or chamber: seconds by SEMI E10 state, events, and output; event_ts is the shift's start.

    Grain: equipment, shift. It knows no wafer, lot or recipe, so it carries none of their keys; ``equipment_key`` is
    the tool's or the chamber's own.
    """

    __tablename__ = "fact_equipment_performance"
    distribution_key = "equipment_key"

    equipment_key: Mapped[int] = col(
        "Tool, or chamber where the frame names one (dim_equipment); the distribution key",
        role=EQUIPMENT,
        sort_order=-90,
    )
    shift_code: Mapped[str | None] = col("Shift, as the source names it")
    productive_s: Mapped[float] = _state("Productive time: the equipment does what it is for")
    standby_s: Mapped[float] = _state("Standby time: it could, and is not used")
    engineering_s: Mapped[float] = _state("Engineering time: experiments")
    scheduled_down_s: Mapped[float] = _state("Scheduled downtime: maintenance as planned, setup")
    unscheduled_down_s: Mapped[float] = _state("Unscheduled downtime: failure and repair")
    non_scheduled_s: Mapped[float] = _state("Non-scheduled time: the fab does not work")
    total_s: Mapped[float] = col("Total time: the six states together, within 1 s, s (SEMI E10)", domain=Domain(gt=0))
    idle_s: Mapped[float | None] = _seconds("Idle: part of the time with nothing to do, s (SEMI E116)")
    blocked_s: Mapped[float | None] = _seconds("Blocked: part of the time held up by others, s (SEMI E116)")
    failure_count: Mapped[int | None] = _count("Failures (SEMI E10)")
    repair_count: Mapped[int | None] = _count("Repairs (SEMI E10)")
    repair_time_s: Mapped[float | None] = _seconds("Time spent on repairs, s (SEMI E10)")
    assist_count: Mapped[int | None] = _count("Assists: interruptions an operator can mend (SEMI E10)")
    pm_count: Mapped[int | None] = _count("Preventive maintenances (SEMI E10)")
    alarm_count: Mapped[int | None] = _count("Alarms (SEMI E5, E30)")
    wafers_processed: Mapped[int | None] = _count("Wafers processed")
    wafers_good: Mapped[int | None] = _count("Wafers processed and good (SEMI E79 effective units)")
    wafers_scrapped: Mapped[int | None] = _count("Wafers scrapped")
    wafers_reworked: Mapped[int | None] = _count("Wafers to be reworked")
    lots_processed: Mapped[int | None] = _count("Lots processed")
    moves: Mapped[int | None] = _count("Moves: wafers times steps completed")
    theoretical_production_time_s: Mapped[float | None] = _seconds(
        "Theoretical production time of all units processed, s (SEMI E79 THT)"
    )
    theoretical_good_time_s: Mapped[float | None] = _seconds(
        "Theoretical production time of the good units, s (SEMI E79)"
    )
    availability: Mapped[float | None] = _ratio("Availability efficiency (SEMI E79)")
    performance: Mapped[float | None] = _ratio(
        "Performance efficiency (SEMI E79), which exceeds 1 where the ideal time is stale", most=None
    )
    quality: Mapped[float | None] = _ratio("Quality efficiency (SEMI E79)")
    oee: Mapped[float | None] = _ratio("Overall equipment efficiency (SEMI E79)")
    utilization: Mapped[float | None] = _ratio("Utilization: productive by total or operations time (SEMI E10)")

    time: Mapped[DimTime] = to_hour("FactEquipmentPerformance")
    equipment: Mapped[DimEquipment] = to_current(
        "FactEquipmentPerformance", "equipment_key", "DimEquipment", "equipment_key"
    )

    @classmethod
    def table_constraints(cls) -> Sequence[Any]:
        """The six states sum to the total time; good units are some of all."""
        states = " + ".join(f"{state}_s" for state in E10_STATES)
        return (
            CheckConstraint(f"abs({states} - total_s) <= 1", name="e10_states"),
            CheckConstraint("theoretical_good_time_s <= theoretical_production_time_s", name="theoretical_good"),
        )
