"""Aggregates of measured values: a row per batch, wafer (or lot) and parameter, so that a year's mean reads no die.

They are written in the transaction of whatever changes the rows, and can be made again at any time
(:mod:`gpwarehouse.derived.aggregates`). Count, mean and sum of squared deviations of several rows combine exactly (Chan, Golub
and LeVeque, *Updating formulae and a pairwise algorithm for computing sample variances*, 1979). Rows of ``is_final_result``
true and false are disjoint: together they are all insertions.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import Index, Integer
from sqlalchemy.orm import Mapped, declared_attr

from gpwarehouse.dialect.options import AppendOptimized, DistributedBy, RangePartitions
from gpwarehouse.models.base import ANCHOR_MONTH, Base, Domain, col, first_line

__all__ = ["AggProcessValues", "AggTestValues", "Aggregate"]


class Aggregate:
    """Mixin of the aggregates: what they are grouped by, the statistics, storage and monthly partitions.

    The primary key exists for the mapper only: append-optimized tables have no unique key on Greenplum 6.
    """

    distribution_key: ClassVar[str]

    event_month: Mapped[datetime] = col(
        "Month of the events: its first moment, UTC; the partition key", sort_order=-100
    )
    lot_key: Mapped[int] = col("Lot at the event (dim_lot)", sort_order=-89)
    product_key: Mapped[int] = col("Product (dim_product)", sort_order=-88)
    process_step_key: Mapped[int] = col("Step, test stages included (dim_process_step)", sort_order=-87)
    parameter_set_key: Mapped[int] = col(
        "List that names the parameter (bridge_parameter_set); -2 where the value is not of an array", sort_order=10
    )
    position: Mapped[int] = col("Position in the list; 0 where the value is not of an array", Integer(), sort_order=11)
    parameter: Mapped[str | None] = col(
        "Column of the measure, or name in parameters; NULL where the list names it", sort_order=12
    )
    n: Mapped[int] = col("Values, count", domain=Domain(ge=0), sort_order=20)
    mean: Mapped[float | None] = col(
        "Mean of the values; NULL without one, or where one is beyond 1e140", sort_order=21
    )
    m2: Mapped[float | None] = col(
        "Sum of the squared deviations from the mean; NULL without a mean", domain=Domain(ge=0), sort_order=22
    )
    min_value: Mapped[float | None] = col("Least value", sort_order=23)
    q1: Mapped[float | None] = col("First quartile, interpolated; NULL without a mean", sort_order=24)
    median: Mapped[float | None] = col("Median, interpolated; NULL without a mean", sort_order=25)
    q3: Mapped[float | None] = col("Third quartile, interpolated; NULL without a mean", sort_order=26)
    max_value: Mapped[float | None] = col("Greatest value", sort_order=27)
    first_ts: Mapped[datetime] = col("First event, UTC", sort_order=40)
    last_ts: Mapped[datetime] = col("Last event, UTC", sort_order=41)
    batch_id: Mapped[str] = col("Batch that loaded the rows (etl_load_batch)", sort_order=903)

    @declared_attr.directive
    @classmethod
    def __mapper_args__(cls) -> dict[str, Any]:
        """Identity for the mapper: everything that is grouped by."""
        return {"primary_key": list(cls.grain)}

    grain: ClassVar[tuple[str, ...]]

    @declared_attr.directive
    @classmethod
    def __table_args__(cls) -> tuple[Any, ...]:
        """The index that finds a batch's rows; distribution, storage and partitions as the facts have them."""
        name = cls.__tablename__  # type: ignore[attr-defined]
        return (
            Index(f"ix_{name}_batch_id", "batch_id"),
            {
                "comment": first_line(cls),
                "greenplum_distributed_by": DistributedBy(cls.distribution_key),
                "greenplum_storage": AppendOptimized(orientation="column", compresstype="zstd", compresslevel=1),
                "greenplum_partition_by": RangePartitions.monthly("event_month", first=ANCHOR_MONTH),
            },
        )


_VALUE = ("event_month", "lot_key", "product_key", "process_step_key", "parameter_set_key", "position", "parameter")


class AggTestValues(Aggregate, Base):
    """Values of a test on a wafer, by batch, lot, step, list and position; by site too where a wafer had several."""

    __tablename__ = "agg_test_values"
    distribution_key = "wafer_key"
    grain = ("batch_id", "wafer_key", *_VALUE, "is_final_result", "head_no", "site_no")

    wafer_key: Mapped[int] = col("Wafer (dim_wafer); the distribution key", sort_order=-90)
    is_final_result: Mapped[bool] = col(
        "Whether they are of each unit's last insertion in its file; false: of insertions that a later one follows",
        sort_order=-50,
    )
    head_no: Mapped[int | None] = col("Test head; NULL where all sites are together", Integer(), sort_order=-49)
    site_no: Mapped[int | None] = col(
        "Test site; NULL where all sites are together: sum these rows, or those by site, not both",
        Integer(),
        sort_order=-48,
    )
    n_executed: Mapped[int | None] = col(
        "Insertions that executed the test, count; NULL where verdicts are not known",
        domain=Domain(ge=0),
        sort_order=30,
    )
    n_failed: Mapped[int | None] = col(
        "Insertions that failed the test, count; NULL where verdicts are not known", domain=Domain(ge=0), sort_order=31
    )


class AggProcessValues(Aggregate, Base):
    """Values of a parameter in a lot's visit of a step, by batch, chamber, list and position, all wafers together."""

    __tablename__ = "agg_process_values"
    distribution_key = "lot_key"
    grain = ("batch_id", *_VALUE, "equipment_key", "chamber_key", "visit_no")

    equipment_key: Mapped[int] = col("Tool (dim_equipment)", sort_order=-85)
    chamber_key: Mapped[int] = col("Chamber of the tool (dim_equipment)", sort_order=-84)
    visit_no: Mapped[int] = col("Visit of the wafers to the step", Integer(), sort_order=-83)
    n_wafers: Mapped[int] = col("Wafers, count", domain=Domain(ge=0), sort_order=30)
