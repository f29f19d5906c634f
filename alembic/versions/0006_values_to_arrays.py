"""Move the numbers of ``parameters`` into arrays, and make the aggregates.

Revision: 0006
Revises: 0005

Month by month, each in a transaction of its own; a run that was killed goes on. Every value is compared before a month's
commit. What a double does not hold digit by digit stays in ``parameters``, and so do rows that have the tester's verdicts.
The way down is taken alone, to 0005, before the way from there: then the arrays are empty, and nothing is lost.
Offline it does nothing: the views read values where they stand, and aggregates are made by ``gpwarehouse data aggregates``.
"""

from __future__ import annotations

from functools import partial

from alembic import op

from gpwarehouse.migrate import revision_part

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

FACTS = ("fact_test_results", "fact_process_measurements")


def upgrade() -> None:
    schema = op.get_context().opts["gpwarehouse_schema"]
    move = revision_part(__file__, "move")
    for fact in FACTS:
        op.run_batched(partial(move.to_arrays, __file__, fact, schema), table=fact, name=f"arrays-{fact}")


def downgrade() -> None:
    schema = op.get_context().opts["gpwarehouse_schema"]
    move = revision_part(__file__, "move")
    for fact in FACTS:
        op.run_batched(partial(move.to_json, fact, schema), table=fact, name=f"json-{fact}")
    move.drop_plain_lists(op, schema)
