"""``dim_equipment``: tools and their chambers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

from sqlalchemy import CheckConstraint, Date, Integer
from sqlalchemy.orm import Mapped

from gpwarehouse.models.base import Base, Dimension, Domain, col
from gpwarehouse.models.keys import durable_key
from gpwarehouse.models.relations import to_current

__all__ = ["DimEquipment"]

EQUIPMENT_TYPES = (
    *("ETCH", "CVD", "PVD", "LITHO", "IMPLANT", "DIFFUSION", "CMP", "WET"),
    *("METROLOGY", "INSPECTION", "TESTER", "PROBER", "OTHER"),
)


class DimEquipment(Dimension, Base):
    """Tool, or a chamber, module or load port of one; a version per change (SCD type 2).

    ``chamber_id`` is ``''`` for the tool itself. Every part of a tool has a parent, an inferred chamber too: the tool's
    key can be computed. Longer cycles than "its own parent" are beyond a CHECK; the loader looks for them.
    """

    __tablename__ = "dim_equipment"
    durable_key = "equipment_key"
    natural_key = ("facility", "equipment_id", "chamber_id")
    type1 = ("mtbf_h", "mttr_h", "last_pm_ts")

    equipment_key: Mapped[int] = col("Durable key: hash of facility, equipment_id, chamber_id", primary_key=True)
    facility: Mapped[str] = col("Fab or test site (STDF V4 MIR.FACIL_ID)")
    equipment_id: Mapped[str] = col("Tool, as the fab names it (STDF V4 MIR.NODE_NAM; KLARF InspectionStationID)")
    chamber_id: Mapped[str] = col("Chamber, module or load port of the tool; empty for the tool itself")
    area: Mapped[str | None] = col("Area of the fab, e.g. ETCH (STDF V4 MIR.FLOOR_ID)")
    bay: Mapped[str | None] = col("Bay")
    work_center: Mapped[str | None] = col("Work centre")
    equipment_group: Mapped[str | None] = col("Group of interchangeable tools; dispatching chooses within it")
    equipment_family: Mapped[str | None] = col("Family of tools of one make")
    equipment_type: Mapped[str | None] = col("Kind of tool", domain=Domain(values=EQUIPMENT_TYPES))
    vendor: Mapped[str | None] = col("Maker")
    model: Mapped[str | None] = col("Maker's model (SEMI E5 MDLN; STDF V4 MIR.TSTR_TYP)")
    serial_no: Mapped[str | None] = col("Maker's serial number (STDF V4 MIR.SERL_NUM)")
    parent_equipment_key: Mapped[int | None] = col(
        "Equipment this one is part of (dim_equipment.equipment_key); NULL for a tool that stands alone"
    )
    hierarchy_level: Mapped[str | None] = col(
        "Level in the tool (SEMI E10 multi-path cluster tool; E98, E120 object hierarchy)",
        domain=Domain(values=("TOOL", "MODULE", "CHAMBER", "LOADPORT")),
    )
    hierarchy_path: Mapped[str | None] = col("Ids from the facility down, joined with /")
    chamber_type: Mapped[str | None] = col("Kind of chamber, e.g. the process it is built for")
    chamber_position: Mapped[str | None] = col("Position at the transfer module, e.g. A or 3")
    chamber_count: Mapped[int | None] = col("Chambers of the tool, count", Integer(), domain=Domain(ge=0))
    wafer_size_mm: Mapped[float | None] = col("Wafer diameter it takes, mm (SEMI M1)", domain=Domain(gt=0))
    is_cluster_tool: Mapped[bool | None] = col("Whether it is a cluster tool (SEMI E10, E21)")
    is_batch_tool: Mapped[bool | None] = col("Whether it processes several wafers at once")
    batch_size_min: Mapped[int | None] = col("Least batch, wafers", Integer(), domain=Domain(ge=0))
    batch_size_max: Mapped[int | None] = col("Greatest batch, wafers", Integer(), domain=Domain(ge=0))
    software_version: Mapped[str | None] = col("Software and its version (SEMI E5 SOFTREV; STDF V4 MIR.EXEC_VER)")
    install_date: Mapped[date | None] = col("Date of installation", Date())
    qualification_status: Mapped[str | None] = col("State of qualification, in the fab's words")
    qualified_at: Mapped[datetime | None] = col("Last qualification, UTC")
    throughput_wph: Mapped[float | None] = col(
        "Ideal throughput, wafers per hour (SEMI E79 theoretical production rate)", domain=Domain(gt=0)
    )
    mtbf_target_h: Mapped[float | None] = col("Target mean time between failures, h (SEMI E10)", domain=Domain(ge=0))
    mttr_target_h: Mapped[float | None] = col("Target mean time to repair, h (SEMI E10)", domain=Domain(ge=0))
    pm_interval_h: Mapped[float | None] = col("Interval of preventive maintenance, h", domain=Domain(gt=0))
    mtbf_h: Mapped[float | None] = col(
        "Mean time between failures as last reported, h (SEMI E10); overwritten in place", domain=Domain(ge=0)
    )
    mttr_h: Mapped[float | None] = col(
        "Mean time to repair as last reported, h (SEMI E10); overwritten in place", domain=Domain(ge=0)
    )
    last_pm_ts: Mapped[datetime | None] = col("Last preventive maintenance, UTC; overwritten in place")

    parent: Mapped[DimEquipment | None] = to_current(
        "DimEquipment", "parent_equipment_key", "DimEquipment", "equipment_key"
    )

    @classmethod
    def table_constraints(cls) -> Sequence[Any]:
        """Parts have a parent, nobody is their own, batch sizes are in order."""
        return (
            CheckConstraint(
                "parent_equipment_key IS NOT NULL OR (chamber_id = '' AND coalesce(hierarchy_level, 'TOOL') = 'TOOL')",
                name="parent",
            ),
            CheckConstraint("parent_equipment_key <> equipment_key", name="own_parent"),
            CheckConstraint("batch_size_min <= batch_size_max", name="batch_size"),
        )

    @classmethod
    def inferred_attributes(cls, natural_key: Mapping[str, str]) -> dict[str, Any]:
        """A chamber's parent is its tool until something better is known; the tool's key is computed."""
        if not natural_key["chamber_id"].strip():
            return {"hierarchy_level": "TOOL"}
        tool = durable_key(natural_key["facility"], natural_key["equipment_id"], "")
        return {"hierarchy_level": "CHAMBER", "parent_equipment_key": tool}

    @classmethod
    def reserved_attributes(cls, key: int) -> dict[str, Any]:
        """The reserved members are tools: they have no parent."""
        return {"chamber_id": ""}
