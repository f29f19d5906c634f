"""``dim_lot``: lots."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import CheckConstraint, Integer, text
from sqlalchemy.orm import Mapped

from gpwarehouse.models.base import PRODUCT, Base, Dimension, Domain, col
from gpwarehouse.models.relations import to_current

if TYPE_CHECKING:
    from gpwarehouse.models.dim_product import DimProduct

__all__ = ["DimLot"]


class DimLot(Dimension, Base):
    """Lot, with its parent, root and state; a version per change (SCD type 2).

    25 wafers is the usual carrier (SEMI E47.1), not a limit. Where a lot *is* follows from the facts:
    ``v_lot_status``.
    """

    __tablename__ = "dim_lot"
    durable_key = "lot_key"
    natural_key = ("lot_id",)

    lot_key: Mapped[int] = col("Durable key: hash of lot_id", primary_key=True)
    lot_id: Mapped[str] = col("Lot (STDF V4 MIR.LOT_ID; KLARF LotID)")
    product_key: Mapped[int] = col("Product (dim_product)", server_default=text("-1"), role=PRODUCT)
    lot_type: Mapped[str | None] = col(
        "Kind of lot (STDF V4 MIR.MODE_COD)", domain=Domain(values=("PROD", "ENG", "MONITOR", "QUAL", "DUMMY"))
    )
    priority: Mapped[int | None] = col("Priority, 1 = most urgent", Integer(), domain=Domain(ge=0))
    priority_class: Mapped[str | None] = col("Class of priority, e.g. NORMAL, HOT, SUPERHOT")
    parent_lot_id: Mapped[str | None] = col("Lot it was split from, or the leading one of a merge")
    root_lot_id: Mapped[str | None] = col("Lot that its wafers were started in; part of a wafer's natural key")
    split_from_step: Mapped[str | None] = col("Step number at which it was split off")
    genealogy_level: Mapped[int | None] = col("Splits between it and its root, count", Integer(), domain=Domain(ge=0))
    lot_status: Mapped[str | None] = col(
        "State", domain=Domain(values=("WAIT", "RUN", "HOLD", "COMPLETE", "SCRAP", "SHIPPED"))
    )
    hold_code: Mapped[str | None] = col("Why it is on hold")
    wafer_count: Mapped[int | None] = col("Wafers in it, count", Integer(), domain=Domain(ge=0))
    original_wafer_count: Mapped[int | None] = col("Wafers it was made with, count", Integer(), domain=Domain(ge=0))
    carrier_id: Mapped[str | None] = col("Carrier it is in (SEMI E87 CarrierID)")
    process_flow_id: Mapped[str | None] = col("Process flow it follows (dim_process_step.process_flow_id)")
    start_ts: Mapped[datetime | None] = col("Start in the fab, UTC")
    due_ts: Mapped[datetime | None] = col("Promised completion, UTC")
    complete_ts: Mapped[datetime | None] = col("Completion, UTC")
    rework_count: Mapped[int | None] = col("Reworks so far, count", Integer(), domain=Domain(ge=0))
    owner: Mapped[str | None] = col("Who answers for it")
    customer_lot_id: Mapped[str | None] = col("The customer's name for it")

    product: Mapped[DimProduct] = to_current("DimLot", "product_key", "DimProduct", "product_key")

    @classmethod
    def table_constraints(cls) -> Sequence[Any]:
        """No lot is its own parent; none ends before it began."""
        return (
            CheckConstraint("parent_lot_id <> lot_id", name="own_parent"),
            CheckConstraint("start_ts <= complete_ts", name="start_complete"),
        )

    @classmethod
    def reserved_attributes(cls, key: int) -> dict[str, Any]:
        """Unknown lots are of an unknown product; where no lot applies, no product does."""
        return {"product_key": key}
