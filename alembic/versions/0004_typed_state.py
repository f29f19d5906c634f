"""Keep the state of batches in columns, and errors alone in ``error``.

Revision: 0004
Revises: 0003

Until here ``etl_load_batch.error`` told, in sentences that code read back, also of batches that are loaded: which rows were
removed from them, what they replaced, and whether other batches hold records of them. Here alone these sentences are still
read: their parts, joined by ``; ``, become rows of ``etl_removal`` and columns. A text that was cut at 4,000 characters no
longer tells all months, so records of its batch may be in any; the sentence at the cut goes. What is none stays in ``error``.

Of rows that were taken from several months at once only the total was told; it stands with the first month.

A downgrade writes the sentences again; when rows were removed is lost by it.

``etl_migration_history.part_of`` is made here for upgrades by SQL files. Others have it before the first revision runs.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gpwarehouse.dialect import DistributedBy, Heap

revision = "0004"
down_revision = "0003"
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

MONTH = "[1-9][0-9][0-9][0-9]-(?:0[1-9]|1[0-2])"
MONTHS = f"{MONTH}(?:, {MONTH})*"
SCATTERED = "records may be in other batches: "
BY_KEY = f"(?:{MONTHS}: )?[0-9]+ rows deleted by key|0 rows had these keys"
LEFT = "(^|; )failed; [0-9]+ rows that it had left were deleted by "
BEGINNING = (
    f"(?:before: )*(?:{SCATTERED})*(?:deleted: |deleted with |in the place of |in any month|{MONTHS}: [0-9]+ rows |"
    f"{MONTH} replaced by batch )|(?:fact|dim|bridge)_[a-z_]+: |batch ''"
)
"""What a part begins with: a sentence, or the error of a load that was tried after the batch was deleted."""
WAS_DELETED = f"(status = 'FAILED' AND error ~ '^({SCATTERED})?deleted')"

PARTS = f"""
    SELECT f.*, bool_and(NOT f.is_cut AND (f.cause IS NOT NULL OR f.part ~ '^(in the place of {MONTH}|in any month(; )?|({BY_KEY}).*|)$'))
            OVER (PARTITION BY f.batch_id ORDER BY f.n) AS is_known,
        CAST(CASE WHEN f.cause = 'MONTH_REPLACED' THEN substring(f.part FROM ': ([0-9]+) of its rows$')
            WHEN f.cause IS NOT NULL THEN substring(f.part FROM ': ([0-9]+) (?:of its )?rows') END AS bigint) AS gone
    FROM (
        SELECT c.*, CASE WHEN c.part ~ '^deleted: [0-9]+ rows; it can be loaded again$' THEN 'BATCH_DELETED'
            WHEN c.part ~ '^deleted with {MONTH}: [0-9]+ (of its )?rows$' THEN 'MONTH_DELETED'
            WHEN c.part ~ '^{MONTH} replaced by batch .*: [0-9]+ of its rows$' THEN 'MONTH_REPLACED'
            WHEN c.part ~ '^{MONTHS}: [0-9]+ rows by key, batch ' THEN 'KEY' END AS cause
        FROM (
            SELECT p.batch_id, p.n, p.parts[p.n] AS words, p.is_cut AND p.n = array_length(p.parts, 1) AS is_cut,
                regexp_replace(p.parts[p.n], '^(before: |{SCATTERED})+', '') AS part
            FROM (
                SELECT s.*, generate_subscripts(s.parts, 1) AS n
                FROM (
                    SELECT batch_id, length(error) = 4000 AS is_cut, regexp_split_to_array(error, '; (?={BEGINNING})') AS parts
                    FROM {{schema}}.etl_load_batch WHERE status = 'LOADED' OR {WAS_DELETED}
                ) s
            ) p
        ) c
    ) f"""  # noqa: S608  (constants of this module)
"""The parts of the sentences about loaded and deleted batches; what follows an unknown one is not taken for a sentence."""

REMOVALS = f"""
INSERT INTO {{schema}}.etl_removal (batch_id, cause, by_batch_id, month, month_now, rows_removed, removed_at)
SELECT m.batch_id, m.cause, m.by_batch_id, CAST(COALESCE(m.months[m.i], m.months[1]) || '-01 00:00:00+00' AS timestamptz),
    CAST(m.months_now[m.i] || '-01 00:00:00+00' AS timestamptz), CASE m.i WHEN 1 THEN m.gone ELSE 0 END, NULL
FROM (
    SELECT e.*, generate_series(1, GREATEST(1, array_length(e.months, 1), array_length(e.months_now, 1))) AS i
    FROM (
        SELECT k.batch_id, k.cause, k.gone,
            CASE k.cause WHEN 'MONTH_REPLACED' THEN substring(k.part FROM ' replaced by batch (.*): [0-9]+ of its rows$')
                WHEN 'KEY' THEN regexp_replace(substring(k.part FROM ' rows by key, batch (.*)$'), ', now in {MONTHS}$', '')
                END AS by_batch_id,
            string_to_array(substring(k.part FROM '^(?:deleted with )?({MONTHS})'), ', ') AS months,
            string_to_array(substring(k.part FROM ', now in ({MONTHS})$'), ', ') AS months_now
        FROM ({PARTS}) k WHERE k.cause IS NOT NULL AND k.is_known
    ) e
) m
"""  # noqa: S608  (constants of this module)
LEFT_BEHIND = f"""
INSERT INTO {{schema}}.etl_removal (batch_id, cause, by_batch_id, rows_removed, removed_at)
SELECT batch_id, 'LEFT_BEHIND', substring(error FROM ' rows that it had left were deleted by batch (.*)$'),
    CAST(substring(error FROM 'failed; ([0-9]+) rows that it had left ') AS bigint), NULL
FROM {{schema}}.etl_load_batch WHERE status = 'FAILED' AND NOT {WAS_DELETED} AND error ~ '{LEFT}'
"""  # noqa: S608  (constants of this module)
FAILED = f"""
UPDATE {{schema}}.etl_load_batch
SET may_hold_rows = error ~ '^rows may be there: ',
    error = NULLIF(regexp_replace(regexp_replace(error, '^rows may be there: ', ''), '{LEFT}.*$', ''), '')
WHERE status = 'FAILED' AND NOT {WAS_DELETED} AND error ~ '^rows may be there: |{LEFT}'
"""  # noqa: S608  (constants of this module)
LOADED = f"""
UPDATE {{schema}}.etl_load_batch b
SET status = CASE b.status WHEN 'FAILED' THEN 'DELETED' ELSE b.status END,
    origin = CASE WHEN b.error ~ '^in the place of {MONTH}' THEN 'REPLACE_MONTH' WHEN b.error ~ '^({BY_KEY})' THEN 'DELETE'
        ELSE b.origin END,
    month_replaced = CAST(substring(b.error FROM '^in the place of ({MONTH})') || '-01 00:00:00+00' AS timestamptz),
    rows_replaced = CAST(substring(b.error FROM '^(?:{MONTHS}: )?([0-9]+) rows (?:deleted by key|had these keys)') AS bigint),
    rows_removed = LEAST(GREATEST(b.rows_read - b.rows_rejected - b.rows_loaded, 0),
        CASE WHEN length(b.error) = 4000 OR b.error ~ 'in any month; ' THEN b.rows_read ELSE COALESCE(t.gone, 0) END),
    scattered = CASE WHEN b.status = 'FAILED' AND b.error !~ '^{SCATTERED}' THEN NULL
        WHEN b.error ~ 'in any month; |, now in ' OR length(b.error) = 4000 THEN 'ANY_MONTH'
        WHEN b.error ~ '^{SCATTERED}' OR t.removals > 0 OR t.words IS NOT NULL THEN 'ITS_MONTHS' END,
    error = t.words
FROM (
    SELECT k.batch_id, string_agg(CASE WHEN NOT k.is_known AND (k.cause IS NULL OR NOT k.is_cut) THEN k.words END, '; ' ORDER BY k.n) AS words,
        count(CASE WHEN k.is_known THEN k.cause END) AS removals, sum(CASE WHEN k.is_known THEN k.gone END) AS gone
    FROM ({PARTS}) k GROUP BY k.batch_id
) t WHERE t.batch_id = b.batch_id
"""  # noqa: S608  (constants of this module)
MERGES = "UPDATE {schema}.etl_load_batch SET origin = 'MERGE' WHERE target ~ '^(dim|bridge)_'"
UPSERTS = """
UPDATE {schema}.etl_load_batch b SET origin = 'UPSERT'
FROM (SELECT DISTINCT by_batch_id FROM {schema}.etl_removal WHERE cause = 'KEY') r
WHERE r.by_batch_id = b.batch_id AND b.origin IS NULL AND b.status <> 'FAILED'
"""
DATED_HASHES = """
UPDATE {schema}.{table} d SET known_from = COALESCE(d.known_from, f.known_from), row_hash = substr(d.row_hash, 1, 32)
FROM (
    SELECT {key}, min(CAST(substr(row_hash, 34) AS timestamptz)) AS known_from
    FROM {schema}.{table} WHERE substr(row_hash, 33, 1) = '@' GROUP BY {key}
) f WHERE f.{key} = d.{key}
"""

HISTORY_COLUMN = """
DO $$ BEGIN
    IF NOT EXISTS (
        SELECT 1 FROM pg_catalog.pg_attribute
        WHERE attrelid = CAST('{schema}.etl_migration_history' AS regclass) AND attname = 'part_of' AND NOT attisdropped
    ) THEN
        ALTER TABLE {schema}.etl_migration_history ADD COLUMN part_of text;
    END IF;
END $$
"""
HISTORY_COMMENT = """
COMMENT ON COLUMN {schema}.etl_migration_history.part_of IS 'What it is a finished part of while that is not ended: upgrade or '
    'downgrade of the revision, or restore of the backup of this id; NULL: of nothing'
"""
UNENDED = """
UPDATE {schema}.etl_migration_history SET part_of = split_part(direction, ' ', 1)
WHERE part_of IS NULL AND direction IN ('upgrade batch', 'downgrade batch', 'restore batch')
"""

SENTENCES = """
    SELECT r.batch_id, r.removed_at, CASE r.cause WHEN 'BATCH_DELETED' THEN 1 WHEN 'MONTH_DELETED' THEN 2 ELSE 3 END AS place,
        CASE r.cause WHEN 'BATCH_DELETED' THEN 'deleted: ' || r.rows_removed || ' rows; it can be loaded again'
            WHEN 'MONTH_DELETED' THEN 'deleted with ' || r.month || ': ' || r.rows_removed || ' of its rows'
            WHEN 'MONTH_REPLACED' THEN r.month || ' replaced by batch ' || r.by_batch_id || ': ' || r.rows_removed || ' of its rows'
            WHEN 'KEY' THEN r.month || ': ' || r.rows_removed || ' rows by key, batch ' || r.by_batch_id
                || COALESCE(', now in ' || r.month_now, '')
            ELSE 'failed; ' || r.rows_removed || ' rows that it had left were deleted by '
                || COALESCE('batch ' || r.by_batch_id, 'wh.batches.delete') END AS sentence
    FROM (
        SELECT batch_id, cause, by_batch_id, rows_removed, removed_at, to_char(timezone('UTC', month), 'YYYY-MM') AS month,
            to_char(timezone('UTC', month_now), 'YYYY-MM') AS month_now
        FROM {schema}.etl_removal
    ) r"""
WRITE_SENTENCES = f"""
UPDATE {{schema}}.etl_load_batch b
SET status = CASE b.status WHEN 'DELETED' THEN 'FAILED' ELSE b.status END,
    error = NULLIF(CASE b.status
        WHEN 'LOADED' THEN CASE
            WHEN t.is_first IS NOT NULL AND t.any_month THEN t.is_first || '; in any month; ' || t.rest
            WHEN t.any_month THEN '{SCATTERED}in any month; ' || t.rest
            WHEN t.is_first IS NULL AND t.rest = '' AND b.scattered IS NOT NULL THEN '{SCATTERED}'
            ELSE concat_ws('; ', t.is_first, NULLIF(t.rest, '')) END
        WHEN 'DELETED' THEN CASE
            WHEN b.scattered IS NULL THEN t.deleted
            ELSE concat_ws('; ', '{SCATTERED}' || t.deleted,
                CASE WHEN t.any_month THEN 'before: in any month; ' || t.others WHEN t.others <> '' THEN 'before: ' || t.others END,
                b.error) END
        ELSE CASE WHEN b.may_hold_rows THEN 'rows may be there: ' || COALESCE(b.error, '') ELSE t.rest END
        END, '')
FROM (
    SELECT a.batch_id, a.is_first, a.scattered = 'ANY_MONTH' AND COALESCE(s.sentences, '') !~ ', now in ' AS any_month,
        concat_ws('; ', CASE WHEN a.status = 'FAILED' THEN a.error END, s.sentences, a.by_key,
            CASE WHEN a.status <> 'FAILED' THEN a.error END) AS rest,
        COALESCE(s.deleted, 'deleted: ' || a.rows_removed || ' rows; it can be loaded again') AS deleted,
        COALESCE(s.others, '') AS others
    FROM (
        SELECT o.*, 'in the place of ' || to_char(timezone('UTC', o.month_replaced), 'YYYY-MM') AS is_first,
            CASE WHEN o.origin <> 'DELETE' OR o.status <> 'LOADED' THEN NULL
                WHEN o.rows_replaced = 0 THEN '0 rows had these keys; batch ' || o.batch_id
                ELSE COALESCE(d.months || ': ', '') || o.rows_replaced || ' rows deleted by key' END AS by_key
        FROM {{schema}}.etl_load_batch o LEFT JOIN (
            SELECT by_batch_id, array_to_string(array_agg(DISTINCT to_char(timezone('UTC', month), 'YYYY-MM')), ', ') AS months
            FROM {{schema}}.etl_removal WHERE cause = 'KEY' GROUP BY by_batch_id
        ) d ON d.by_batch_id = o.batch_id
    ) a LEFT JOIN (
        SELECT n.batch_id, string_agg(n.sentence, '; ' ORDER BY n.place, n.removed_at, n.sentence) AS sentences,
            replace(max(CASE WHEN n.turn = 1 AND n.place < 3 THEN n.sentence END), ' of its rows', ' rows') AS deleted,
            string_agg(CASE WHEN n.turn > 1 OR n.place = 3 THEN n.sentence END, '; ' ORDER BY n.place, n.removed_at, n.sentence)
                AS others
        FROM (
            SELECT x.*, row_number() OVER (PARTITION BY x.batch_id ORDER BY x.place, x.removed_at DESC NULLS LAST, x.sentence) AS turn
            FROM ({SENTENCES}) x
        ) n GROUP BY n.batch_id
    ) s ON s.batch_id = a.batch_id
) t WHERE t.batch_id = b.batch_id
"""  # noqa: S608  (constants of this module)


CHECKS = {
    "origin": "origin IN ('LOAD', 'UPSERT', 'DELETE', 'REPLACE_MONTH', 'MERGE')",
    "rows_removed": "rows_removed >= 0",
    "rows_replaced": "rows_replaced >= 0",
    "scattered": "scattered IN ('ITS_MONTHS', 'ANY_MONTH')",
}


def upgrade() -> None:
    schema = op.get_context().opts["gpwarehouse_schema"]
    _create_removals(schema)
    for column in _columns():
        op.add_column("etl_load_batch", column, schema=schema)
    for name, condition in CHECKS.items():
        op.create_check_constraint(op.f(f"ck_etl_load_batch_{name}"), "etl_load_batch", condition, schema=schema)
    _allow_states(
        schema, "'LOADED', 'FAILED', 'DELETED'", "Outcome; DELETED: it was loaded, and its rows were deleted since"
    )
    _run(REMOVALS, LEFT_BEHIND, MERGES, FAILED, LOADED, UPSERTS)
    for table, key in DIMENSIONS.items():
        _run(DATED_HASHES, table=table, key=key)
    _run(HISTORY_COLUMN, HISTORY_COMMENT, UNENDED)


def downgrade() -> None:
    schema = op.get_context().opts["gpwarehouse_schema"]
    _run(WRITE_SENTENCES)
    _allow_states(schema, "'LOADED', 'FAILED'", "Outcome")
    for name in reversed(CHECKS):
        op.drop_constraint(op.f(f"ck_etl_load_batch_{name}"), "etl_load_batch", type_="check", schema=schema)
    for column in reversed(_columns()):
        op.drop_column("etl_load_batch", column.name, schema=schema)
    op.drop_table("etl_removal", schema=schema)


def _run(*statements, **names):
    context = op.get_context()
    names["schema"] = context.dialect.identifier_preparer.quote_schema(context.opts["gpwarehouse_schema"])
    for statement in statements:
        op.execute(sa.text(statement.format(**names).strip().replace(":", r"\:")))


def _allow_states(schema, states, comment):
    op.drop_constraint(op.f("ck_etl_load_batch_status"), "etl_load_batch", type_="check", schema=schema)
    op.create_check_constraint(
        op.f("ck_etl_load_batch_status"), "etl_load_batch", f"status IN ({states})", schema=schema
    )
    op.alter_column("etl_load_batch", "status", comment=comment, existing_type=sa.Text(), schema=schema)


def _columns():
    return [
        sa.Column(
            "origin",
            sa.Text(),
            nullable=True,
            comment="What made it: a load, wh.facts.upsert, delete or replace_month, or a merge (of dimensions and bridges); NULL: not "
            "known (written before revision 0004)",
        ),
        sa.Column(
            "rows_removed",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Rows loaded and removed since (etl_removal), count",
        ),
        sa.Column(
            "rows_replaced",
            sa.BigInteger(),
            nullable=True,
            comment="Rows, of any batch, that it deleted or replaced, count; NULL: not known (written before revision 0004)",
        ),
        sa.Column(
            "month_replaced",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="First instant of the month that it replaced, UTC; it takes rows of that month only. NULL: it replaced none",
        ),
        sa.Column(
            "scattered",
            sa.Text(),
            nullable=True,
            comment="Where other batches may hold records of it, or of an earlier state of it: in the months of its events, or in "
            "any; NULL: nowhere",
        ),
        sa.Column(
            "may_hold_rows",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
            comment="Whether it may have rows although it is not loaded: connections of it committed apart",
        ),
    ]


def _create_removals(schema):
    op.create_table(
        "etl_removal",
        sa.Column(
            "batch_id",
            sa.Text(),
            nullable=False,
            comment="Batch that had the rows (etl_load_batch); the distribution key",
        ),
        sa.Column(
            "cause",
            sa.Text(),
            nullable=False,
            comment="Why: its batch was deleted, its month was deleted or replaced, an upsert or a deletion by key took it, or it was "
            "left by a load that failed",
        ),
        sa.Column(
            "by_batch_id",
            sa.Text(),
            nullable=True,
            comment="Batch that deleted or replaced them; NULL: wh.batches.delete or delete_month did",
        ),
        sa.Column(
            "month",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="First instant of the month of their events, UTC; NULL: they were removed whatever their months",
        ),
        sa.Column(
            "month_now",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="First instant of the month to which an upsert moved them, UTC; NULL: they are gone, or stayed in their month",
        ),
        sa.Column(
            "rows_removed",
            sa.BigInteger(),
            nullable=False,
            comment="Rows removed, count",
        ),
        sa.Column(
            "removed_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=True,
            comment="When they were removed, UTC; NULL: not known (before revision 0004)",
        ),
        sa.CheckConstraint(
            "cause IN ('BATCH_DELETED', 'MONTH_DELETED', 'MONTH_REPLACED', 'KEY', 'LEFT_BEHIND')",
            name=op.f("ck_etl_removal_cause"),
        ),
        sa.CheckConstraint("rows_removed >= 0", name=op.f("ck_etl_removal_rows_removed")),
        schema=schema,
        comment="Removal of rows from a batch after its load, by month",
        greenplum_distributed_by=DistributedBy("batch_id"),
        greenplum_storage=Heap(),
    )
