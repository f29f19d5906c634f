"""``dim_product``: products and their revisions."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Integer
from sqlalchemy.orm import Mapped

from gpwarehouse.models.base import Base, Dimension, Domain, col

__all__ = ["DimProduct"]


class DimProduct(Dimension, Base):
    """Product (device) by revision, with its die and wafer layout; a version per change (SCD type 2)."""

    __tablename__ = "dim_product"
    durable_key = "product_key"
    natural_key = ("product_id", "revision")

    product_key: Mapped[int] = col("Durable key: hash of product_id, revision", primary_key=True)
    product_id: Mapped[str] = col("Product (STDF V4 MIR.PART_TYP; KLARF DeviceID)")
    revision: Mapped[str] = col("Design revision (STDF V4 MIR.DSGN_REV); empty where there is none")
    product_name: Mapped[str | None] = col("Name")
    device: Mapped[str | None] = col("Device name of the design")
    product_family: Mapped[str | None] = col("Product family (STDF V4 MIR.FAMLY_ID)")
    product_type: Mapped[str | None] = col("Kind of product, e.g. LOGIC, DRAM, TESTCHIP")
    customer: Mapped[str | None] = col("Customer")
    technology_node_nm: Mapped[float | None] = col("Technology node as a length, nm", domain=Domain(gt=0))
    technology_node_name: Mapped[str | None] = col("Technology node as it is called; N5 is no length")
    process_family: Mapped[str | None] = col("Process family (STDF V4 MIR.PROC_ID)")
    mask_set_id: Mapped[str | None] = col("Mask set (STDF V4 WRR.MASK_ID)")
    mask_layers: Mapped[int | None] = col("Mask layers, count", Integer(), domain=Domain(ge=0))
    metal_layers: Mapped[int | None] = col("Metal layers, count", Integer(), domain=Domain(ge=0))
    wafer_size_mm: Mapped[float | None] = col(
        "Wafer diameter, mm (SEMI M1; STDF V4 WCR.WAFR_SIZ; KLARF SampleSize)", domain=Domain(gt=0)
    )
    die_size_x_mm: Mapped[float | None] = col("Die width, mm (STDF V4 WCR.DIE_WID)", domain=Domain(gt=0))
    die_size_y_mm: Mapped[float | None] = col("Die height, mm (STDF V4 WCR.DIE_HT)", domain=Domain(gt=0))
    die_area_mm2: Mapped[float | None] = col("Die area, mm2", domain=Domain(gt=0))
    scribe_width_um: Mapped[float | None] = col("Width of the scribe line, um", domain=Domain(ge=0))
    edge_exclusion_mm: Mapped[float | None] = col("Edge exclusion, mm (SEMI M1)", domain=Domain(ge=0))
    gross_die_per_wafer: Mapped[int | None] = col("Whole die on a wafer, count", Integer(), domain=Domain(ge=0))
    die_pitch_x_um: Mapped[float | None] = col("Die pitch in x, um (KLARF DiePitch)", domain=Domain(gt=0))
    die_pitch_y_um: Mapped[float | None] = col("Die pitch in y, um (KLARF DiePitch)", domain=Domain(gt=0))
    die_origin_x: Mapped[float | None] = col("Die origin in x, um (KLARF DieOrigin; STDF V4 WCR.CENTER_X)")
    die_origin_y: Mapped[float | None] = col("Die origin in y, um (KLARF DieOrigin; STDF V4 WCR.CENTER_Y)")
    reticle_cols: Mapped[int | None] = col("Die across a reticle field, count", Integer(), domain=Domain(gt=0))
    reticle_rows: Mapped[int | None] = col("Die up a reticle field, count", Integer(), domain=Domain(gt=0))
    orientation_mark: Mapped[str | None] = col(
        "Where the notch or flat points: UP, DOWN, LEFT, RIGHT or degrees "
        "(STDF V4 WCR.WF_FLAT; KLARF OrientationMarkLocation)"
    )
    target_yield_pct: Mapped[float | None] = col("Target die yield, percent", domain=Domain(ge=0, le=100))
    d0_target_per_cm2: Mapped[float | None] = col("Target defect density D0, per cm2", domain=Domain(ge=0))
    critical_area_ratio: Mapped[float | None] = col("Critical area by die area, 0 to 1", domain=Domain(ge=0, le=1))
    vdd_nominal_v: Mapped[float | None] = col("Nominal supply voltage, V")
    package_type: Mapped[str | None] = col("Package (STDF V4 MIR.PKG_TYP)")
    spec_version: Mapped[str | None] = col("Version of the specification (STDF V4 MIR.SPEC_VER)")
    lifecycle_status: Mapped[str | None] = col("Stage of life, e.g. NPI, RAMP, PRODUCTION, EOL")

    @classmethod
    def reserved_attributes(cls, key: int) -> dict[str, Any]:
        """No revision."""
        return {"revision": ""}
