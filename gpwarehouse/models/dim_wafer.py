"""``dim_wafer``: wafers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import CheckConstraint, Integer, text
from sqlalchemy.orm import Mapped

from gpwarehouse.dialect.options import DistributedBy
from gpwarehouse.models.base import LOT, PRODUCT, Base, Dimension, Domain, col
from gpwarehouse.models.relations import to_current

if TYPE_CHECKING:
    from gpwarehouse.models.dim_lot import DimLot
    from gpwarehouse.models.dim_product import DimProduct

__all__ = ["DimWafer"]


class DimWafer(Dimension, Base):
    """Wafer, named by its root lot and wafer id; a version per change (SCD type 2).

    A wafer id such as ``02`` is never unique alone, and lots split: hence the root lot.
    """

    __tablename__ = "dim_wafer"
    durable_key = "wafer_key"
    natural_key = ("root_lot_id", "wafer_id")
    type1 = ("source_wafer_id",)
    distribution = DistributedBy("wafer_key")

    wafer_key: Mapped[int] = col("Durable key: hash of root_lot_id, wafer_id; the distribution key", primary_key=True)
    root_lot_id: Mapped[str] = col("Lot the wafer was started in (dim_lot.root_lot_id)")
    wafer_id: Mapped[str] = col("Wafer in its root lot, normalised (STDF V4 WIR.WAFER_ID; KLARF WaferID; SEMI E90)")
    source_wafer_id: Mapped[str | None] = col("Wafer id as the source wrote it; overwritten in place")
    scribe_id: Mapped[str | None] = col("Id scribed on the wafer (SEMI M12, M13, T7; STDF V4 WRR.FABWF_ID)")
    wafer_number: Mapped[int | None] = col("Number of the wafer in its root lot", Integer(), domain=Domain(ge=0))
    slot: Mapped[int | None] = col("Slot of the carrier (SEMI E87, E90; KLARF Slot)", Integer(), domain=Domain(ge=0))
    lot_key: Mapped[int] = col("Lot the wafer is in now (dim_lot)", server_default=text("-1"), role=LOT)
    product_key: Mapped[int] = col("Product (dim_product)", server_default=text("-1"), role=PRODUCT)
    substrate_material: Mapped[str | None] = col(
        "Material", domain=Domain(values=("SI", "SOI", "SIC", "GAN", "GAAS", "OTHER"))
    )
    diameter_mm: Mapped[float | None] = col("Diameter, mm (SEMI M1; STDF V4 WCR.WAFR_SIZ)", domain=Domain(gt=0))
    thickness_um: Mapped[float | None] = col("Thickness at the centre, um (SEMI M1)", domain=Domain(gt=0))
    conductivity_type: Mapped[str | None] = col("Conductivity type (SEMI M1)", domain=Domain(values=("N", "P")))
    dopant: Mapped[str | None] = col("Dopant, e.g. B, P, As (SEMI M1)")
    crystal_orientation: Mapped[str | None] = col("Crystal orientation of the surface, e.g. 100 (SEMI M1)")
    resistivity_min_ohm_cm: Mapped[float | None] = col("Least resistivity, ohm cm (SEMI M1)", domain=Domain(ge=0))
    resistivity_max_ohm_cm: Mapped[float | None] = col("Greatest resistivity, ohm cm (SEMI M1)", domain=Domain(ge=0))
    notch_or_flat: Mapped[str | None] = col("Orientation mark (SEMI M1)", domain=Domain(values=("NOTCH", "FLAT")))
    oxygen_ppma: Mapped[float | None] = col("Interstitial oxygen, ppma (SEMI M1, M44)", domain=Domain(ge=0))
    ttv_um: Mapped[float | None] = col("Total thickness variation, um (SEMI M1, M59)", domain=Domain(ge=0))
    bow_um: Mapped[float | None] = col("Bow, um, signed (SEMI M1, M59)")
    warp_um: Mapped[float | None] = col("Warp, um (SEMI M1, M59)", domain=Domain(ge=0))
    epi_thickness_um: Mapped[float | None] = col("Thickness of the epitaxial layer, um (SEMI M62)", domain=Domain(ge=0))
    supplier: Mapped[str | None] = col("Supplier of the substrate")
    ingot_id: Mapped[str | None] = col("Ingot the wafer was cut from")
    grade: Mapped[str | None] = col(
        "Grade (SEMI M1, M8, M38)", domain=Domain(values=("PRIME", "TEST", "MONITOR", "RECLAIM"))
    )
    quality_status: Mapped[str | None] = col(
        "Disposition", domain=Domain(values=("GOOD", "HOLD", "REWORK", "SCRAP", "DOWNGRADE"))
    )
    scrap_code: Mapped[str | None] = col("Why it was scrapped")
    scrap_step: Mapped[str | None] = col("Step number at which it was scrapped")
    rework_count: Mapped[int | None] = col("Reworks so far, count", Integer(), domain=Domain(ge=0))
    is_placeholder: Mapped[bool] = col(
        "Whether it stands for the units of a lot that have no wafer (final test)", server_default=text("false")
    )

    lot: Mapped[DimLot] = to_current("DimWafer", "lot_key", "DimLot", "lot_key")
    product: Mapped[DimProduct] = to_current("DimWafer", "product_key", "DimProduct", "product_key")

    @classmethod
    def table_constraints(cls) -> Sequence[Any]:
        """Resistivity bounds are in order."""
        return (CheckConstraint("resistivity_min_ohm_cm <= resistivity_max_ohm_cm", name="resistivity"),)

    @classmethod
    def reserved_attributes(cls, key: int) -> dict[str, Any]:
        """An unknown wafer is of an unknown lot and product; where no wafer applies, neither do they."""
        return {"lot_key": key, "product_key": key, "is_placeholder": False}
