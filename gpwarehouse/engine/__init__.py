"""Pooled engine and sessions, made from settings; advisory locks; what errors mean."""

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

__all__ = [
    "HOUSEKEEPING",
    "LOCK_MONTHS",
    "advisory_key",
    "could_not_connect",
    "create_migration_engine",
    "create_warehouse_engine",
    "dialect_of",
    "explain_operational_error",
    "lock_advisory",
    "qualified_name",
]
