"""The bridges: which lots came from which, which lot a wafer was in when, which parameters a list has, and which limits a
step's parameters have.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, get_args

from sqlalchemy import CheckConstraint, Index, Integer, text
from sqlalchemy.orm import Mapped

from gpwarehouse.dialect.options import DistributedBy, DistributedReplicated, Heap
from gpwarehouse.models.base import LOT, WAFER, Audited, Base, Domain, KeyRole, col
from gpwarehouse.models.parameter_sets import ParameterKind
from gpwarehouse.models.relations import to_current

if TYPE_CHECKING:
    from gpwarehouse.models.dim_lot import DimLot
    from gpwarehouse.models.dim_wafer import DimWafer

__all__ = ["BridgeLotGenealogy", "BridgeParameterSet", "BridgeStepLimits", "BridgeWaferLot"]


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


class BridgeParameterSet(Base):
    """Parameter of a list: what stands at a position of the arrays of measured values.

    A list is known by its content, is never changed and never deleted (:mod:`gpwarehouse.models.parameter_sets`).
    """

    __tablename__ = "bridge_parameter_set"
    __table_args__ = (
        Index("uq_bridge_parameter_set_parameter", "parameter_set_key", "parameter", unique=True),
        {
            "comment": "Parameter of a list: what stands at a position of the arrays of measured values",
            "greenplum_distributed_by": DistributedReplicated(),
            "greenplum_storage": Heap(),
        },
    )

    parameter_set_key: Mapped[int] = col("List: the hash of its ordered content", primary_key=True)
    position: Mapped[int] = col("Position in the array, from 1", Integer(), primary_key=True, domain=Domain(ge=1))
    parameter: Mapped[str] = col("Name, unique in the list")
    test_number: Mapped[int | None] = col("Number of the test (STDF V4 TEST_NUM); NULL for a sensor")
    test_name: Mapped[str | None] = col("Name of the test as the file gives it (STDF V4 TEST_TXT)")
    pin: Mapped[str] = col("Pin of one result of several (STDF V4 PMR); empty without one", server_default=text("''"))
    occurrence: Mapped[int] = col(
        "1, 2, ... of a test that is repeated within an insertion",
        Integer(),
        server_default=text("1"),
        domain=Domain(ge=1),
    )
    kind: Mapped[str] = col(
        "What gave the value: STDF V4 PTR, MPR (a value per pin), FTR or STR; sensors are PARAMETRIC",
        server_default=text("'PARAMETRIC'"),
        domain=Domain(values=get_args(ParameterKind)),
    )
    unit: Mapped[str | None] = col("Unit of value and limits")
    lsl: Mapped[float | None] = col("Lower specification limit, in the unit; NULL: none")
    usl: Mapped[float | None] = col("Upper specification limit, in the unit; NULL: none")
    lsl_inclusive: Mapped[bool] = col(
        "Whether a value equal to lsl is in specification (STDF V4 PARM_FLG bit 6)", server_default=text("true")
    )
    usl_inclusive: Mapped[bool] = col(
        "Whether a value equal to usl is in specification (STDF V4 PARM_FLG bit 7)", server_default=text("true")
    )
    batch_id: Mapped[str | None] = col("Batch whose load first wrote the list (etl_load_batch)")
    created_at: Mapped[datetime] = col("When the row was written, UTC", server_default=text("now()"))


class BridgeStepLimits(Base):
    """Limits of a step's parameter in one version of the step: dim_process_step.control_limits, a row per parameter.

    It follows dim_process_step: whoever writes versions of a step writes its rows anew
    (:mod:`gpwarehouse.derived.step_limits`).
    """

    __tablename__ = "bridge_step_limits"
    __table_args__ = (
        {
            "comment": "Limits of a step's parameter in one version of the step: dim_process_step.control_limits, a row per "
            "parameter",
            "greenplum_distributed_by": DistributedReplicated(),
            "greenplum_storage": Heap(),
        },
    )

    process_step_key: Mapped[int] = col("Step (dim_process_step)", primary_key=True)
    parameter: Mapped[str] = col("Name of the parameter, or test number", primary_key=True)
    effective_date: Mapped[datetime] = col("Start of the step's version, inclusive, UTC", primary_key=True)
    expiry_date: Mapped[datetime] = col("End of the step's version, exclusive, UTC")
    name: Mapped[str | None] = col("Name of the test, where the parameter is its number")
    unit: Mapped[str | None] = col("Unit of the limits")
    limit_version: Mapped[str | None] = col("Version of the limits")
    lsl: Mapped[float | None] = col("Lower specification limit; NULL: none")
    lcl: Mapped[float | None] = col("Lower control limit; NULL: none")
    target: Mapped[float | None] = col("Target; NULL: none")
    ucl: Mapped[float | None] = col("Upper control limit; NULL: none")
    usl: Mapped[float | None] = col("Upper specification limit; NULL: none")
