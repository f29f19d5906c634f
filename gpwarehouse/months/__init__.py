"""Month partitions of the facts: their names, made, changed under a lock; and the hours of ``dim_time``."""

from gpwarehouse.months.ensure import ensure_months
from gpwarehouse.months.hours import ensure_hours, month_bounds, months_between, other_hours, rebuild_hours
from gpwarehouse.months.partitions import (
    LOCK_NOT_AVAILABLE,
    Patience,
    become_owner,
    change_partitions,
    change_partitions_after,
    child_of,
    default_there,
    make_partitions,
    overlapping,
    partitions_there,
    schema_of,
    used_by,
)

__all__ = [
    "LOCK_NOT_AVAILABLE",
    "Patience",
    "become_owner",
    "change_partitions",
    "change_partitions_after",
    "child_of",
    "default_there",
    "ensure_hours",
    "ensure_months",
    "make_partitions",
    "month_bounds",
    "months_between",
    "other_hours",
    "overlapping",
    "partitions_there",
    "rebuild_hours",
    "schema_of",
    "used_by",
]
