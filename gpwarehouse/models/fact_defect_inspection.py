"""``fact_defect_inspection``: defects, and the inspections that found none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger, CheckConstraint, Integer
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped

from gpwarehouse.models.base import Base, Domain, col, tool_role
from gpwarehouse.models.relations import to_current
from gpwarehouse.models.wafer_fact import WaferFact

if TYPE_CHECKING:
    from gpwarehouse.models.dim_equipment import DimEquipment

__all__ = ["FactDefectInspection"]


class FactDefectInspection(WaferFact, Base):
    """Defect of an inspection; a clean inspection leaves one row that is no defect, or densities would be biased.

    Grain: inspection, test of the inspection, defect.
    """

    __tablename__ = "fact_defect_inspection"

    equipment_key: Mapped[int] = col(
        "Tool whose work is inspected (dim_equipment); -1 where the source does not name it",
        role=tool_role("equipment_id"),
        sort_order=-85,
    )
    inspection_equipment_key: Mapped[int] = col(
        "Inspection or review tool (dim_equipment; KLARF InspectionStationID)",
        role=tool_role("inspection_equipment_id"),
        sort_order=-79,
    )
    inspection_id: Mapped[str] = col("Inspection of the wafer; unique with the wafer")
    layer_name: Mapped[str | None] = col("Layer (KLARF StepID)")
    test_no: Mapped[int | None] = col("Test of the inspection (KLARF InspectionTest, TEST)", Integer())
    inspected_area_cm2: Mapped[float | None] = col(
        "Area the test inspected, cm2; the same in all its rows (KLARF AreaPerTest)", domain=Domain(gt=0)
    )
    inspected_die: Mapped[int | None] = col(
        "Die the test inspected, count; the same in all its rows (KLARF SummaryList NDIE)",
        Integer(),
        domain=Domain(ge=0),
    )
    sample_plan_die: Mapped[int | None] = col(
        "Die of the sample plan, count (KLARF SampleTestPlan)", Integer(), domain=Domain(ge=0)
    )
    orientation_mark: Mapped[str | None] = col(
        "Where the notch or flat pointed: UP, DOWN, LEFT, RIGHT or degrees (KLARF OrientationMarkLocation)"
    )
    is_defect: Mapped[bool] = col("Whether the row is a defect; false for the one row of a clean inspection")
    defect_id: Mapped[int | None] = col("Number of the defect in its inspection (KLARF DEFECTID)", BigInteger())
    die_x: Mapped[int | None] = col("Die column (KLARF XINDEX)", Integer())
    die_y: Mapped[int | None] = col("Die row (KLARF YINDEX)", Integer())
    x_rel_um: Mapped[float | None] = col("x from the die's corner, um (KLARF XREL; 1.8 writes nm)")
    y_rel_um: Mapped[float | None] = col("y from the die's corner, um (KLARF YREL; 1.8 writes nm)")
    wafer_x_mm: Mapped[float | None] = col("x from the wafer's centre, mm (KLARF SampleCenterLocation)")
    wafer_y_mm: Mapped[float | None] = col("y from the wafer's centre, mm (KLARF SampleCenterLocation)")
    size_x_um: Mapped[float | None] = col("Extent in x, um (KLARF XSIZE; 1.8 writes nm)", domain=Domain(ge=0))
    size_y_um: Mapped[float | None] = col("Extent in y, um (KLARF YSIZE; 1.8 writes nm)", domain=Domain(ge=0))
    size_um: Mapped[float | None] = col("Size, um (KLARF DSIZE; 1.8 writes nm)", domain=Domain(ge=0))
    area_um2: Mapped[float | None] = col("Area, um2 (KLARF DEFECTAREA; 1.8 writes nm2)", domain=Domain(ge=0))
    class_number: Mapped[int | None] = col("Class (KLARF CLASSNUMBER)", Integer())
    class_name: Mapped[str | None] = col("Name of the class (KLARF ClassLookup)")
    rough_bin: Mapped[int | None] = col("Rough bin (KLARF ROUGHBINNUMBER)", Integer())
    fine_bin: Mapped[int | None] = col("Fine bin (KLARF FINEBINNUMBER)", Integer())
    cluster_no: Mapped[int | None] = col("Cluster; 0 or NULL for none (KLARF CLUSTERNUMBER)", Integer())
    is_reviewed: Mapped[bool | None] = col("Whether the defect was reviewed (KLARF REVIEWSAMPLE)")
    image_count: Mapped[int | None] = col("Images, count (KLARF IMAGECOUNT)", Integer(), domain=Domain(ge=0))
    image_refs: Mapped[list[Any] | None] = col(
        "Images: [file name or {file, index, type}] (KLARF TiffFileName, IMAGELIST)",
        JSONB(none_as_null=True),
        domain=Domain(json="array"),
    )
    adc_class: Mapped[str | None] = col("Class by automatic classification")
    is_adder: Mapped[bool | None] = col("Whether this step added the defect: no earlier inspection has it")
    is_killer: Mapped[bool | None] = col("Whether the defect is taken to kill its die")
    kill_probability: Mapped[float | None] = col("Probability that it kills its die, 0 to 1", domain=Domain(ge=0, le=1))
    attributes: Mapped[dict[str, Any] | None] = col(
        "Fields of the record that have no column: {name: value} (KLARF DefectRecordSpec)",
        JSONB(none_as_null=True),
        domain=Domain(json="object"),
    )

    inspection_equipment: Mapped[DimEquipment] = to_current(
        "FactDefectInspection", "inspection_equipment_key", "DimEquipment", "equipment_key"
    )

    @classmethod
    def table_constraints(cls) -> Sequence[Any]:
        """Only a defect has a number."""
        return (CheckConstraint("is_defect OR defect_id IS NULL", name="clean"),)
