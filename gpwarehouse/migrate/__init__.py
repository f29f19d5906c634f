"""Migrations: Alembic driven from Python and from ``alembic`` itself, with a history, a lock, plans and safe ways back.

The version table and ``etl_migration_history`` live in the warehouse's schema, outside the revision chain: a downgrade to
base leaves both, and the schema.
"""

from gpwarehouse.migrate.commands import (
    accept_edit,
    advice,
    check,
    current,
    downgrade,
    downgrade_plan,
    head,
    migrations,
    offline_sql,
    require_current,
    upgrade,
    upgrade_plan,
)
from gpwarehouse.migrate.create import create_revision
from gpwarehouse.migrate.environment import run_environment
from gpwarehouse.migrate.history import Migration, position
from gpwarehouse.migrate.losses import Loss
from gpwarehouse.migrate.placement import refuse_unplaced
from gpwarehouse.migrate.plan import PlannedStep
from gpwarehouse.migrate.scripts import Chain, alembic_config, revision_checksum, revision_part, script_location

__all__ = [
    "Chain",
    "Loss",
    "Migration",
    "PlannedStep",
    "accept_edit",
    "advice",
    "alembic_config",
    "check",
    "create_revision",
    "current",
    "downgrade",
    "downgrade_plan",
    "head",
    "migrations",
    "offline_sql",
    "position",
    "refuse_unplaced",
    "require_current",
    "revision_checksum",
    "revision_part",
    "run_environment",
    "script_location",
    "upgrade",
    "upgrade_plan",
]
