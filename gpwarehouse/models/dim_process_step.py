"""``dim_process_step``: the steps of the process flows, test stages included, with their limits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import CheckConstraint, Integer
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped

from gpwarehouse.models.base import Base, Dimension, Domain, col

__all__ = ["DimProcessStep"]


class DimProcessStep(Dimension, Base):
    """Step of a process flow or test program, with its control limits; a version per change (SCD type 2)."""

    __tablename__ = "dim_process_step"
    durable_key = "process_step_key"
    natural_key = ("process_flow_id", "flow_version", "step_number")

    process_step_key: Mapped[int] = col(
        "Durable key: hash of process_flow_id, flow_version, step_number", primary_key=True
    )
    process_flow_id: Mapped[str] = col("Process flow or route; for a test, its program (STDF V4 MIR.JOB_NAM)")
    flow_version: Mapped[str] = col("Version of the flow (STDF V4 MIR.JOB_REV); empty where there is none")
    step_number: Mapped[str] = col("Step as the route numbers it, text; for a test, its stage (STDF V4 MIR.TEST_COD)")
    operation_id: Mapped[str | None] = col("Operation; the same one may stand at several steps of a flow")
    step_name: Mapped[str | None] = col("Name (KLARF StepID)")
    step_sequence: Mapped[int | None] = col("Place in the flow, for ordering", Integer())
    module: Mapped[str | None] = col("Part of the flow", domain=Domain(values=("FEOL", "MOL", "BEOL")))
    layer_name: Mapped[str | None] = col("Layer, e.g. M1")
    mask_level: Mapped[str | None] = col("Mask level")
    process_area: Mapped[str | None] = col("Process area, e.g. LITHO")
    step_type: Mapped[str | None] = col(
        "Kind of step", domain=Domain(values=("PROCESS", "METROLOGY", "INSPECTION", "TEST", "CLEAN", "TRANSPORT"))
    )
    tool_group_required: Mapped[str | None] = col("Group of tools it runs on (dim_equipment.equipment_group)")
    default_recipe_id: Mapped[str | None] = col("Recipe it runs by default (dim_recipe.recipe_id)")
    is_rework_step: Mapped[bool | None] = col("Whether the step is part of a rework")
    rework_to_step: Mapped[str | None] = col("Step number at which a rework joins the flow again")
    is_critical: Mapped[bool | None] = col("Whether the step is critical")
    sampling_pct: Mapped[float | None] = col("Share of wafers sampled, percent", domain=Domain(ge=0, le=100))
    std_process_time_s: Mapped[float | None] = col("Standard process time, s", domain=Domain(ge=0))
    max_queue_time_min: Mapped[float | None] = col(
        "Longest queue time allowed since queue_start_step, min", domain=Domain(ge=0)
    )
    queue_start_step: Mapped[str | None] = col("Step number at whose end the queue time starts")
    control_limits: Mapped[dict[str, Any] | None] = col(
        "Limits by parameter or test number: {parameter: {unit, lsl, lcl, target, ucl, usl, limit_version, name}}, "
        "each optional, lsl <= lcl <= target <= ucl <= usl; in the unit given "
        "(STDF V4 PTR.LO_LIMIT, HI_LIMIT, UNITS, TEST_TXT)",
        JSONB(none_as_null=True),
        domain=Domain(json="object", ordered=("lsl", "lcl", "target", "ucl", "usl")),
    )

    @classmethod
    def table_constraints(cls) -> Sequence[Any]:
        """A rework joins the flow at another step."""
        return (CheckConstraint("rework_to_step <> step_number", name="rework_to_step"),)

    @classmethod
    def reserved_attributes(cls, key: int) -> dict[str, Any]:
        """No version."""
        return {"flow_version": ""}
