"""``dim_recipe``: recipes and their versions."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Integer
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped

from gpwarehouse.models.base import Base, Dimension, Domain, col

__all__ = ["DimRecipe"]


class DimRecipe(Dimension, Base):
    """Recipe by version, with its setpoints; a version per change (SCD type 2)."""

    __tablename__ = "dim_recipe"
    durable_key = "recipe_key"
    natural_key = ("recipe_id", "recipe_version")

    recipe_key: Mapped[int] = col("Durable key: hash of recipe_id, recipe_version", primary_key=True)
    recipe_id: Mapped[str] = col("Recipe (SEMI E40 RecID; KLARF RecipeID)")
    recipe_version: Mapped[str] = col("Version of the recipe; empty where there is none")
    recipe_name: Mapped[str | None] = col("Name")
    ppid: Mapped[str | None] = col("Process program (SEMI E5 PPID)")
    recipe_type: Mapped[str | None] = col(
        "Kind of recipe", domain=Domain(values=("PRODUCTION", "ENGINEERING", "QUAL", "CLEAN"))
    )
    equipment_type: Mapped[str | None] = col("Kind of tool it is for (dim_equipment.equipment_type)")
    chamber_type: Mapped[str | None] = col("Kind of chamber it is for (dim_equipment.chamber_type)")
    parameters: Mapped[dict[str, Any] | None] = col(
        "Setpoints: {steps: [{no, name, setpoints: {name: {value, unit, tolerance}}}]}",
        JSONB(none_as_null=True),
        domain=Domain(json="object"),
    )
    parameters_checksum: Mapped[str | None] = col("SHA-256 of parameters as canonical JSON, hexadecimal")
    target_temp_c: Mapped[float | None] = col("Target temperature of the main step, degC", domain=Domain(gt=-273.15))
    target_pressure_torr: Mapped[float | None] = col("Target pressure of the main step, Torr", domain=Domain(ge=0))
    rf_power_w: Mapped[float | None] = col("RF power of the main step, W", domain=Domain(ge=0))
    total_time_s: Mapped[float | None] = col("Sum of the steps' times, s", domain=Domain(ge=0))
    step_count: Mapped[int | None] = col("Steps of the recipe, count", Integer(), domain=Domain(ge=0))
    approval_status: Mapped[str | None] = col(
        "State of approval", domain=Domain(values=("DRAFT", "APPROVED", "RELEASED", "OBSOLETE"))
    )
    approved_by: Mapped[str | None] = col("Who approved it")
    approved_at: Mapped[datetime | None] = col("When it was approved, UTC")
    is_golden: Mapped[bool | None] = col("Whether it is the golden recipe others are compared with")

    @classmethod
    def reserved_attributes(cls, key: int) -> dict[str, Any]:
        """No version."""
        return {"recipe_version": ""}
