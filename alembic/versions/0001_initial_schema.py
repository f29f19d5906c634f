"""Initial schema: dimensions, facts, bridges, control tables, reserved members, views.

Revision: 0001
Revises: none

Its parts stand in the folder of its name. They are frozen copies of what the models were, so that this revision makes the
same schema on every day, whatever the models become.
"""

from __future__ import annotations

from alembic import op

from gpwarehouse.dialect import CommentOnView, CreateView, DropView
from gpwarehouse.migrate import revision_part

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

PARTS = ("dimensions", "facts", "control")
VIEWS = ("views_measured", "views_tracked")


def upgrade() -> None:
    schema = op.get_context().opts["gpwarehouse_schema"]
    for part in (*PARTS, "members"):
        revision_part(__file__, part).create(op, schema)
    for part in VIEWS:
        _create_views(revision_part(__file__, part), schema)


def downgrade() -> None:
    schema = op.get_context().opts["gpwarehouse_schema"]
    for part in reversed(VIEWS):
        for name in reversed(revision_part(__file__, part).VIEWS):
            op.execute(DropView(name, schema))
    for part in reversed(PARTS):
        revision_part(__file__, part).drop(op, schema)


def _create_views(part, schema):
    for name, body in part.VIEWS.items():
        op.execute(CreateView(name, body, schema))
        op.execute(CommentOnView(name, part.COMMENTS[name], schema))
        for column, comment in part.COLUMN_COMMENTS[name].items():
            op.execute(CommentOnView(name, comment, schema, column=column))
