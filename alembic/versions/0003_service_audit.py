"""Keep who asked the service for what.

Revision: 0003
Revises: 0002

The service's logins may add rows to ``etl_audit`` and neither read nor change them: ``gpwarehouse roles apply`` after this
revision takes the rights that default privileges give.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gpwarehouse.dialect import DistributedBy, Heap

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "etl_audit",
        sa.Column(
            "query_id",
            sa.Text(),
            nullable=False,
            comment="Id of the call, which application_name and log lines have too",
        ),
        sa.Column(
            "called_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="End of the call, UTC",
        ),
        sa.Column(
            "caller", sa.Text(), nullable=True, comment="Key or subject of the caller; NULL: nobody was identified"
        ),
        sa.Column("role", sa.Text(), nullable=False, comment="Role of the caller"),
        sa.Column("client", sa.Text(), nullable=True, comment="Address that called"),
        sa.Column("endpoint", sa.Text(), nullable=False, comment="Method and path, without values"),
        sa.Column("statement", sa.Text(), nullable=True, comment="Statement without literals and values of parameters"),
        sa.Column(
            "fingerprint", sa.Text(), nullable=True, comment="The same for statements that differ in literals only"
        ),
        sa.Column(
            "http_status",
            sa.BigInteger(),
            nullable=False,
            comment="HTTP status of the answer; 499: the client had left",
        ),
        sa.Column("outcome", sa.Text(), nullable=False, comment="ok, or the kind of the problem"),
        sa.Column("result_rows", sa.BigInteger(), nullable=True, comment="Rows of the result, count"),
        sa.Column("bytes_sent", sa.BigInteger(), nullable=True, comment="Size of the answer, bytes"),
        sa.Column("seconds", sa.Double(), nullable=True, comment="How long it took, s"),
        sa.Column(
            "written_by",
            sa.Text(),
            server_default=sa.text('"current_user"()'),
            nullable=False,
            comment="Database user who wrote the row",
        ),
        sa.CheckConstraint("role IN ('NOBODY', 'READER', 'LOADER', 'ADMIN')", name=op.f("ck_etl_audit_role")),
        sa.PrimaryKeyConstraint("query_id", name=op.f("pk_etl_audit")),
        schema=op.get_context().opts["gpwarehouse_schema"],
        comment="Call of the service: who asked what, and what came of it",
        greenplum_distributed_by=DistributedBy("query_id"),
        greenplum_storage=Heap(),
    )


def downgrade() -> None:
    op.drop_table("etl_audit", schema=op.get_context().opts["gpwarehouse_schema"])
