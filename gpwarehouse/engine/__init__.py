"""Pooled engine and sessions, made from settings; advisory locks; changes of partitions; what errors mean."""

from gpwarehouse.engine.factory import (
    HOUSEKEEPING,
    could_not_connect,
    create_migration_engine,
    create_warehouse_engine,
    dialect_of,
    explain_operational_error,
    qualified_name,
)
from gpwarehouse.engine.locks import LOCK_MONTHS, advisory_key, lock_advisory
from gpwarehouse.engine.partitioning import (
    become_owner,
    change_partitions,
    change_partitions_after,
    child_of,
    make_partitions,
    overlapping,
    partitions_there,
    schema_of,
)

__all__ = [
    "HOUSEKEEPING",
    "LOCK_MONTHS",
    "advisory_key",
    "become_owner",
    "change_partitions",
    "change_partitions_after",
    "child_of",
    "could_not_connect",
    "create_migration_engine",
    "create_warehouse_engine",
    "dialect_of",
    "explain_operational_error",
    "lock_advisory",
    "make_partitions",
    "overlapping",
    "partitions_there",
    "qualified_name",
    "schema_of",
]
