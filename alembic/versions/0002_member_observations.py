"""Tell what a version was told apart from what it inherits.

Revision: 0002
Revises: 0001

``etl_load_batch.source_checksum`` tells the bytes of files, so that a loaded one is recognised without being read as a table.

Since when a member is known stood behind the hash of its first version, or in its batch's row; it gets a column of its own.
Of stored histories every column counts as told (``told`` NULL), but where a load had made the member and nobody told of it.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from gpwarehouse.dialect import DistributedBy, Heap
from gpwarehouse.dialect.views import CommentOnView

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

DIMENSIONS = {
    "dim_equipment": "equipment_key",
    "dim_product": "product_key",
    "dim_process_step": "process_step_key",
    "dim_recipe": "recipe_key",
    "dim_lot": "lot_key",
    "dim_wafer": "wafer_key",
}
SHOWN = ("dim_lot", "dim_wafer")
"""Dimensions of which facts show the product."""

COMMENTS = {
    "known_from": "Moment of the oldest merged row (wh.merge) that told of a tracked column, UTC, the same in all versions; "
    "NULL: loads alone told",
    "told": "Columns that a merge told at the start of the version, of the first one at known_from; the others are "
    "inherited. NULL: all (written before revision 0002)",
    "shown": "What facts show of the member, used where no source told: {column: [value, moment]}, the same in all versions",
}

GENEALOGY = (
    "Ancestors and descendants of every lot, any depth. A filter does not reach into it: for one lot use {door}, which starts "
    "at the lot"
)
SOURCE_CHECKSUM = "SHA-256 of the bytes of the files and of the options that they were read with, hexadecimal; NULL: from no such files"

MOMENT = """CASE WHEN length(v.row_hash) > 32 THEN CAST(substr(v.row_hash, 34) AS timestamptz)
        ELSE COALESCE(b.min_event_ts, v.effective_date) END"""
VERSIONS = """{schema}.{table} v LEFT JOIN {schema}.etl_load_batch b ON b.batch_id = v.batch_id AND b.status = 'LOADED'
        AND b.min_event_ts > v.effective_date AND b.min_event_ts < v.expiry_date WHERE v.{key} NOT IN (-1, -2)"""
DELETED = "e99ebe78e30bf7cb8286aea720bb4ac6"
"""Hash of the versions of a deleted member."""

ISO = '\'YYYY-MM-DD"T"HH24:MI:SS.US"Z"\''

BRING_OVER = """
UPDATE {schema}.{table} d SET known_from = f.known_from, row_hash = substr(d.row_hash, 1, 32),
    told = CASE WHEN d.is_inferred THEN CAST('[]' AS jsonb) END{set_shown}
FROM (
    SELECT w.{key}, min(CASE WHEN NOT w.is_inferred THEN w.moment END) AS known_from{shown}
    FROM (SELECT v.*, {moment} AS moment FROM {versions}) w GROUP BY w.{key}
) f WHERE f.{key} = d.{key}
"""
SHOWN_PRODUCT = """,
        CASE WHEN bool_and(w.is_inferred) AND max(w.product_key) <> -1 THEN CAST('{{"product_key": [' || max(w.product_key)
            || ', "' || to_char(min(w.moment) AT TIME ZONE 'UTC', {iso}) || '"]}}' AS jsonb) END AS shown"""
STAYS = """
INSERT INTO {schema}.etl_member_observation (dimension, member_key, told_at, kind, told, batch_id)
SELECT 'dim_wafer', v.wafer_key, {moment}, 'LOADED', CAST('["lot_key"]' AS jsonb), v.batch_id
FROM {versions} AND v.is_inferred AND v.lot_key NOT IN (-1, -2)
"""
DELETIONS = """
INSERT INTO {schema}.etl_member_observation (dimension, member_key, told_at, kind, told, batch_id)
SELECT '{table}', v.{key}, {moment}, 'DELETED', CAST('[]' AS jsonb), v.batch_id
FROM {versions} AND substr(v.row_hash, 1, 32) = '{deleted}'
"""
TAKE_BACK = """
UPDATE {schema}.{table} SET row_hash = row_hash || '@' || to_char(known_from AT TIME ZONE 'UTC', {iso})
WHERE effective_date = '1900-01-01 00:00:00+00' AND known_from > effective_date AND known_from < expiry_date
"""


def upgrade() -> None:
    schema = op.get_context().opts["gpwarehouse_schema"]
    _comment_on_genealogy(schema, "wh.dimensions.genealogy()")
    op.add_column(
        "etl_load_batch", sa.Column("source_checksum", sa.Text(), nullable=True, comment=SOURCE_CHECKSUM), schema=schema
    )
    _create_observations(schema)
    for table in DIMENSIONS:
        op.add_column(table, _column("known_from", sa.DateTime(timezone=True)), schema=schema)
        for name in ("told", "shown"):
            op.add_column(table, _column(name, postgresql.JSONB(none_as_null=True)), schema=schema)
    _run(STAYS, schema, "dim_wafer")  # before the moments behind the hashes go
    for table in DIMENSIONS:
        _run(DELETIONS, schema, table)
        _run(BRING_OVER, schema, table)


def downgrade() -> None:
    schema = op.get_context().opts["gpwarehouse_schema"]
    for table in DIMENSIONS:
        _run(TAKE_BACK, schema, table)
    for table in reversed(DIMENSIONS):
        for name in ("shown", "told", "known_from"):
            op.drop_column(table, name, schema=schema)
    op.drop_index("ix_etl_member_observation_member_key", table_name="etl_member_observation", schema=schema)
    op.drop_table("etl_member_observation", schema=schema)
    op.drop_column("etl_load_batch", "source_checksum", schema=schema)
    _comment_on_genealogy(schema, "wh.genealogy()")


def _comment_on_genealogy(schema, door):
    """The comment names the method that finds the genealogy of one lot."""
    op.execute(CommentOnView("v_lot_genealogy", GENEALOGY.format(door=door), schema))


def _column(name, type_):
    return sa.Column(name, type_, nullable=True, comment=COMMENTS[name])


def _run(statement, schema, table):
    quoted = op.get_context().dialect.identifier_preparer.quote_schema(schema)
    names = {"schema": quoted, "table": table, "key": DIMENSIONS[table], "iso": ISO, "moment": MOMENT}
    names["deleted"] = DELETED
    names["versions"] = VERSIONS.format(**names)
    names["shown"] = SHOWN_PRODUCT.format(**names) if table in SHOWN else ""
    names["set_shown"] = ", shown = f.shown" if table in SHOWN else ""
    op.execute(sa.text(statement.format(**names).strip().replace(":", r"\:")))


def _create_observations(schema):
    op.create_table(
        "etl_member_observation",
        sa.Column("dimension", sa.Text(), nullable=False, comment="Table name of the dimension"),
        sa.Column(
            "member_key", sa.BigInteger(), nullable=False, comment="Durable key of the member; the distribution key"
        ),
        sa.Column("told_at", sa.DateTime(timezone=True), nullable=False, comment="Moment from which it holds, UTC"),
        sa.Column(
            "kind",
            sa.Text(),
            nullable=False,
            comment="Who told: a merge (wh.merge), a load, a merge that deletes, or one that takes back a deletion of the same "
            "moment",
        ),
        sa.Column(
            "told",
            postgresql.JSONB(none_as_null=True),
            nullable=False,
            comment="Columns that it told; of a JSON object that loads add to, column/name",
        ),
        sa.Column("batch_id", sa.Text(), nullable=True, comment="Batch that told it (etl_load_batch)"),
        sa.Column(
            "written_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When it was written, UTC",
        ),
        sa.CheckConstraint(
            "kind IN ('MERGED', 'LOADED', 'DELETED', 'RESTORED')", name=op.f("ck_etl_member_observation_kind")
        ),
        schema=schema,
        comment="Observation of a dimension's member that begins no version",
        greenplum_distributed_by=DistributedBy("member_key"),
        greenplum_storage=Heap(),
    )
    op.create_index("ix_etl_member_observation_member_key", "etl_member_observation", ["member_key"], schema=schema)
