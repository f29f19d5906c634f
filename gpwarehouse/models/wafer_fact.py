"""The columns that the facts about wafers share: their keys, the identity of the visit, and arrays of measured values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import ARRAY, Double, Integer
from sqlalchemy.orm import Mapped, declared_attr

from gpwarehouse.models.base import CHAMBER, LOT, PRODUCT, RECIPE, STEP, WAFER, Domain, Fact, col, tool_role
from gpwarehouse.models.relations import to_current, to_hour

if TYPE_CHECKING:
    from gpwarehouse.models.dim_equipment import DimEquipment
    from gpwarehouse.models.dim_lot import DimLot
    from gpwarehouse.models.dim_process_step import DimProcessStep
    from gpwarehouse.models.dim_product import DimProduct
    from gpwarehouse.models.dim_recipe import DimRecipe
    from gpwarehouse.models.dim_time import DimTime
    from gpwarehouse.models.dim_wafer import DimWafer

__all__ = ["MeasuredFact", "WaferFact"]


class WaferFact(Fact):
    """Mixin of the facts distributed by wafer: common durable keys, and the dimensions' current versions by them."""

    wafer_key: Mapped[int] = col("Wafer (dim_wafer); the distribution key", role=WAFER, sort_order=-90)
    lot_key: Mapped[int] = col("Lot the wafer was in at the event (dim_lot)", role=LOT, sort_order=-89)
    product_key: Mapped[int] = col("Product (dim_product)", role=PRODUCT, sort_order=-88)
    process_step_key: Mapped[int] = col(
        "Step of the process flow, test stages included (dim_process_step)", role=STEP, sort_order=-87
    )
    recipe_key: Mapped[int] = col("Recipe (dim_recipe)", role=RECIPE, sort_order=-86)
    equipment_key: Mapped[int] = col("Tool (dim_equipment)", role=tool_role("equipment_id"), sort_order=-85)
    chamber_key: Mapped[int] = col(
        "Chamber of the tool (dim_equipment); -2 where the event was not in one", role=CHAMBER, sort_order=-84
    )
    process_job_id: Mapped[str | None] = col("Process job (SEMI E40 PRJobID)", sort_order=-59)
    carrier_id: Mapped[str | None] = col("Carrier (SEMI E87 CarrierID)", sort_order=-58)
    slot: Mapped[int | None] = col(
        "Slot of the carrier, counted from 1 at the bottom (SEMI E87, E90)",
        Integer(),
        domain=Domain(ge=0),
        sort_order=-57,
    )
    operator_id: Mapped[str | None] = col("Operator (STDF V4 MIR.OPER_NAM)", sort_order=-56)

    @declared_attr
    @classmethod
    def time(cls) -> Mapped[DimTime]:
        """The hour."""
        return to_hour(cls.__name__)

    @declared_attr
    @classmethod
    def wafer(cls) -> Mapped[DimWafer]:
        """The wafer as it is now."""
        return to_current(cls.__name__, "wafer_key", "DimWafer", "wafer_key")

    @declared_attr
    @classmethod
    def lot(cls) -> Mapped[DimLot]:
        """The lot as it is now."""
        return to_current(cls.__name__, "lot_key", "DimLot", "lot_key")

    @declared_attr
    @classmethod
    def product(cls) -> Mapped[DimProduct]:
        """The product as it is now."""
        return to_current(cls.__name__, "product_key", "DimProduct", "product_key")

    @declared_attr
    @classmethod
    def process_step(cls) -> Mapped[DimProcessStep]:
        """The step as it is now; for the limits in force at the event, join the version by its interval."""
        return to_current(cls.__name__, "process_step_key", "DimProcessStep", "process_step_key")

    @declared_attr
    @classmethod
    def recipe(cls) -> Mapped[DimRecipe]:
        """The recipe as it is now."""
        return to_current(cls.__name__, "recipe_key", "DimRecipe", "recipe_key")

    @declared_attr
    @classmethod
    def equipment(cls) -> Mapped[DimEquipment]:
        """The tool as it is now."""
        return to_current(cls.__name__, "equipment_key", "DimEquipment", "equipment_key")

    @declared_attr
    @classmethod
    def chamber(cls) -> Mapped[DimEquipment]:
        """The chamber as it is now; the member "(not applicable)" where there was none."""
        return to_current(cls.__name__, "chamber_key", "DimEquipment", "equipment_key")


class MeasuredFact:
    """Mixin of the two facts whose rows hold an array of measured values."""

    parameter_set_key: Mapped[int | None] = col(
        "List that says what stands at each position of measured (bridge_parameter_set); NULL without values",
        sort_order=910,
    )
    measured: Mapped[list[float] | None] = col(
        "Measured values, each at its position of the list, in the list's units; NaN: no value there",
        ARRAY(Double()),
        sort_order=911,
    )
