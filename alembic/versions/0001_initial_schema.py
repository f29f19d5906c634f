"""Initial schema: dimensions, facts, bridges, control tables, reserved members, views.

Revision: 0001
Revises: none

Its parts stand in the folder of its name. They are frozen copies of what the models were, so that this revision makes the
same schema on every day, whatever the models become.
"""

from __future__ import annotations

from alembic import op

from gpwarehouse.migrate import revision_part

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

PARTS = ("dimensions", "facts", "control")


def upgrade() -> None:
    schema = op.get_context().opts["gpwarehouse_schema"]
    for part in (*PARTS, "members", "views"):
        revision_part(__file__, part).create(op, schema)


def downgrade() -> None:
    schema = op.get_context().opts["gpwarehouse_schema"]
    for part in ("views", *reversed(PARTS)):
        revision_part(__file__, part).drop(op, schema)
