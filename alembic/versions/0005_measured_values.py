"""Keep measured values as arrays beside lists of parameters, and what they come to by wafer.

Revision: 0005
Revises: 0004

Its parts stand in the folder of its name. Views are given another query where they were there, so that grants on them stay.
Values that stand in ``parameters`` stay there, and the views read them; the next revision moves them.
"""

from __future__ import annotations

from pathlib import Path

from alembic import op

from gpwarehouse.dialect import CommentOnView, CreateView, DropView
from gpwarehouse.migrate import revision_part

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

PARTS = ("tables", "columns", "step_limits")
VIEWS = ("views_tested", "views_measured")
NEW_VIEWS = ("v_lot_yield", "v_test_fails")
FIRST = str(Path(__file__).with_name("0001_initial_schema.py"))


def upgrade() -> None:
    schema = op.get_context().opts["gpwarehouse_schema"]
    for part in PARTS:
        revision_part(__file__, part).create(op, schema)
    for part in (revision_part(__file__, name) for name in VIEWS):
        for name, body in part.VIEWS.items():
            if name in NEW_VIEWS:
                op.execute(CreateView(name, body, schema))
            else:
                op.replace_view(name, body, schema=schema)
            _comment_on(part, name, schema)


def downgrade() -> None:
    schema = op.get_context().opts["gpwarehouse_schema"]
    for name in NEW_VIEWS:
        op.execute(DropView(name, schema))
    before = revision_part(FIRST, "views_measured")
    for name, body in before.VIEWS.items():
        op.replace_view(name, body, recreate=True, schema=schema)
        _comment_on(before, name, schema)
    for part in reversed(PARTS):
        revision_part(__file__, part).drop(op, schema)


def _comment_on(part, name, schema):
    op.execute(CommentOnView(name, part.COMMENTS[name], schema))
    for column, comment in part.COLUMN_COMMENTS[name].items():
        op.execute(CommentOnView(name, comment, schema, column=column))
