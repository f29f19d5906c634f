"""The two bridges that traceability needs: which lots came from which, and which lot a wafer was in when."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import CheckConstraint, Integer, text
from sqlalchemy.orm import Mapped

from gpwarehouse.dialect.options import DistributedBy, DistributedReplicated, Heap
from gpwarehouse.models.base import LOT, WAFER, Audited, Base, Domain, KeyRole, col
from gpwarehouse.models.relations import to_current

if TYPE_CHECKING:
    from gpwarehouse.models.dim_lot import DimLot
    from gpwarehouse.models.dim_wafer import DimWafer

__all__ = ["BridgeLotGenealogy", "BridgeWaferLot"]


class BridgeLotGenealogy(Audited, Base):
    """Parent and child of a split, merge, rework or renaming: a row per pair and event, so a merge has many parents."""

    __tablename__ = "bridge_lot_genealogy"
    __table_args__ = (
        CheckConstraint("parent_lot_key <> child_lot_key", name="own_parent"),
        {
            "comment": "Parent and child lot of a split, merge, rework or renaming: a row per pair and event",
            "greenplum_distributed_by": DistributedReplicated(),
            "greenplum_storage": Heap(),
        },
    )

    parent_lot_key: Mapped[int] = col(
        "Lot that wafers left (dim_lot)",
        primary_key=True,
        role=KeyRole("dim_lot", {"lot_id": "parent_lot_id"}, identifier="parent_lot_id"),
    )
    child_lot_key: Mapped[int] = col(
        "Lot that they went to (dim_lot)",
        primary_key=True,
        role=KeyRole("dim_lot", {"lot_id": "child_lot_id"}, identifier="child_lot_id"),
    )
    event_type: Mapped[str] = col(
        "What happened", primary_key=True, domain=Domain(values=("SPLIT", "MERGE", "REWORK", "RENAME"))
    )
    event_ts: Mapped[datetime] = col("When it happened, UTC", primary_key=True)
    wafer_count: Mapped[int | None] = col("Wafers that went, count", Integer(), domain=Domain(ge=0))

    parent_lot: Mapped[DimLot] = to_current("BridgeLotGenealogy", "parent_lot_key", "DimLot", "lot_key")
    child_lot: Mapped[DimLot] = to_current("BridgeLotGenealogy", "child_lot_key", "DimLot", "lot_key")


class BridgeWaferLot(Audited, Base):
    """Stay of a wafer in a lot, half-open in time: a wafer is in one lot at a time."""

    __tablename__ = "bridge_wafer_lot"
    __table_args__ = (
        CheckConstraint("from_ts < to_ts AND isfinite(from_ts) AND isfinite(to_ts)", name="interval"),
        {
            "comment": "Stay of a wafer in a lot, half-open in time: a wafer is in one lot at a time",
            "greenplum_distributed_by": DistributedBy("wafer_key"),
            "greenplum_storage": Heap(),
        },
    )

    wafer_key: Mapped[int] = col("Wafer (dim_wafer); the distribution key", primary_key=True, role=WAFER)
    from_ts: Mapped[datetime] = col("When the wafer came into the lot, inclusive, UTC", primary_key=True)
    to_ts: Mapped[datetime] = col(
        "When it left, exclusive, UTC; 9999-12-31 while it is there",
        server_default=text("'9999-12-31 00:00:00+00'"),
    )
    lot_key: Mapped[int] = col("Lot (dim_lot)", role=LOT)
    slot: Mapped[int | None] = col(
        "Slot of the carrier, counted from 1 at the bottom (SEMI E87, E90)", Integer(), domain=Domain(ge=0)
    )

    wafer: Mapped[DimWafer] = to_current("BridgeWaferLot", "wafer_key", "DimWafer", "wafer_key")
    lot: Mapped[DimLot] = to_current("BridgeWaferLot", "lot_key", "DimLot", "lot_key")
