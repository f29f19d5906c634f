"""Keep measured values as arrays beside lists of parameters, and what they come to by wafer.

Revision: 0005
Revises: 0003

Its parts stand in the folder of its name. Values that stand in ``parameters`` stay there: the next revision moves them.
"""

from __future__ import annotations

from alembic import op

from gpwarehouse.migrate import revision_part

revision = "0005"
down_revision = "0003"
branch_labels = None
depends_on = None

PARTS = ("tables", "columns")


def upgrade() -> None:
    schema = op.get_context().opts["gpwarehouse_schema"]
    for part in PARTS:
        revision_part(__file__, part).create(op, schema)


def downgrade() -> None:
    schema = op.get_context().opts["gpwarehouse_schema"]
    for part in reversed(PARTS):
        revision_part(__file__, part).drop(op, schema)
