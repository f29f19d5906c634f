"""The star schema: a module per table, the views over them, and the keys and calendar they share."""

from typing import Any

from gpwarehouse.models.aggregates import AggProcessValues, Aggregate, AggTestValues
from gpwarehouse.models.base import (
    ANCHOR_MONTH,
    BEGINNING,
    END_OF_TIME,
    SCHEMA,
    Base,
    Dimension,
    Domain,
    Fact,
    KeyRole,
)
from gpwarehouse.models.bridges import BridgeLotGenealogy, BridgeParameterSet, BridgeStepLimits, BridgeWaferLot
from gpwarehouse.models.control import (
    EtlAudit,
    EtlLoadBatch,
    EtlMemberObservation,
    EtlReject,
    EtlRemoval,
    migration_history_table,
)
from gpwarehouse.models.dim_equipment import DimEquipment
from gpwarehouse.models.dim_lot import DimLot
from gpwarehouse.models.dim_process_step import DimProcessStep
from gpwarehouse.models.dim_product import DimProduct
from gpwarehouse.models.dim_recipe import DimRecipe
from gpwarehouse.models.dim_time import DimTime
from gpwarehouse.models.dim_wafer import DimWafer
from gpwarehouse.models.fact_defect_inspection import FactDefectInspection
from gpwarehouse.models.fact_equipment_performance import FactEquipmentPerformance
from gpwarehouse.models.fact_process_measurements import FactProcessMeasurements
from gpwarehouse.models.fact_test_results import FactTestResults
from gpwarehouse.models.views import VIEWS, View, genealogy_sql
from gpwarehouse.models.wafer_fact import WaferFact

__all__ = [
    "AGGREGATES",
    "ANCHOR_MONTH",
    "BEGINNING",
    "BRIDGES",
    "DIMENSIONS",
    "END_OF_TIME",
    "FACTS",
    "SCHEMA",
    "VIEWS",
    "AggProcessValues",
    "AggTestValues",
    "Aggregate",
    "Base",
    "BridgeLotGenealogy",
    "BridgeParameterSet",
    "BridgeStepLimits",
    "BridgeWaferLot",
    "DimEquipment",
    "DimLot",
    "DimProcessStep",
    "DimProduct",
    "DimRecipe",
    "DimTime",
    "DimWafer",
    "Dimension",
    "Domain",
    "EtlAudit",
    "EtlLoadBatch",
    "EtlMemberObservation",
    "EtlReject",
    "EtlRemoval",
    "Fact",
    "FactDefectInspection",
    "FactEquipmentPerformance",
    "FactProcessMeasurements",
    "FactTestResults",
    "KeyRole",
    "View",
    "WaferFact",
    "genealogy_sql",
    "migration_history_table",
    "reserved_members",
]

VERSIONED: tuple[type[Any], ...] = (DimEquipment, DimProduct, DimProcessStep, DimRecipe, DimLot, DimWafer)

DIMENSIONS: dict[str, type[Any]] = {"dim_time": DimTime, **{cls.__tablename__: cls for cls in VERSIONED}}
"""Table name → class; all but ``dim_time`` are versioned (:class:`Dimension`)."""

FACTS: dict[str, type[Any]] = {
    cls.__tablename__: cls
    for cls in (FactProcessMeasurements, FactTestResults, FactDefectInspection, FactEquipmentPerformance)
}
"""Table name → class."""

BRIDGES: dict[str, type[Any]] = {cls.__tablename__: cls for cls in (BridgeLotGenealogy, BridgeWaferLot)}
"""Table name → class, of the bridges that frames are loaded into."""

AGGREGATES: dict[str, type[Any]] = {
    fact.__tablename__: aggregate
    for fact, aggregate in ((FactTestResults, AggTestValues), (FactProcessMeasurements, AggProcessValues))
}
"""Table name of a fact → class of its aggregate."""


def reserved_members() -> dict[str, list[dict[str, Any]]]:
    """Dimension table → its rows -1 (unknown) and -2 (not applicable), which come with the migration."""
    return {cls.__tablename__: cls.reserved_members() for cls in VERSIONED}
