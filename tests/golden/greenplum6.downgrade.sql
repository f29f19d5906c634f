CREATE SCHEMA IF NOT EXISTS dw;

CREATE TABLE IF NOT EXISTS dw.etl_migration_history (
    revision TEXT NOT NULL, 
    direction TEXT NOT NULL, 
    checksum TEXT NOT NULL, 
    started_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL, 
    seconds DOUBLE PRECISION, 
    applied_by TEXT DEFAULT "current_user"() NOT NULL, 
    package_version TEXT NOT NULL, 
    note TEXT, 
    part_of TEXT
)
 WITH (appendonly=false)
 DISTRIBUTED BY (revision);

BEGIN;

-- Running downgrade 0004 -> 0003

UPDATE dw.etl_load_batch b
SET status = CASE b.status WHEN 'DELETED' THEN 'FAILED' ELSE b.status END,
    error = NULLIF(CASE b.status
        WHEN 'LOADED' THEN CASE
            WHEN t.is_first IS NOT NULL AND t.any_month THEN t.is_first || '; in any month; ' || t.rest
            WHEN t.any_month THEN 'records may be in other batches: in any month; ' || t.rest
            WHEN t.is_first IS NULL AND t.rest = '' AND b.scattered IS NOT NULL THEN 'records may be in other batches: '
            ELSE concat_ws('; ', t.is_first, NULLIF(t.rest, '')) END
        WHEN 'DELETED' THEN CASE
            WHEN b.scattered IS NULL THEN t.deleted
            ELSE concat_ws('; ', 'records may be in other batches: ' || t.deleted,
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
        FROM dw.etl_load_batch o LEFT JOIN (
            SELECT by_batch_id, array_to_string(array_agg(DISTINCT to_char(timezone('UTC', month), 'YYYY-MM')), ', ') AS months
            FROM dw.etl_removal WHERE cause = 'KEY' GROUP BY by_batch_id
        ) d ON d.by_batch_id = o.batch_id
    ) a LEFT JOIN (
        SELECT n.batch_id, string_agg(n.sentence, '; ' ORDER BY n.place, n.removed_at, n.sentence) AS sentences,
            replace(max(CASE WHEN n.turn = 1 AND n.place < 3 THEN n.sentence END), ' of its rows', ' rows') AS deleted,
            string_agg(CASE WHEN n.turn > 1 OR n.place = 3 THEN n.sentence END, '; ' ORDER BY n.place, n.removed_at, n.sentence)
                AS others
        FROM (
            SELECT x.*, row_number() OVER (PARTITION BY x.batch_id ORDER BY x.place, x.removed_at DESC NULLS LAST, x.sentence) AS turn
            FROM (
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
        FROM dw.etl_removal
    ) r) x
        ) n GROUP BY n.batch_id
    ) s ON s.batch_id = a.batch_id
) t WHERE t.batch_id = b.batch_id;

ALTER TABLE dw.etl_load_batch DROP CONSTRAINT ck_etl_load_batch_status;

ALTER TABLE dw.etl_load_batch ADD CONSTRAINT ck_etl_load_batch_status CHECK (status IN ('LOADED', 'FAILED'));

COMMENT ON COLUMN dw.etl_load_batch.status IS 'Outcome';

ALTER TABLE dw.etl_load_batch DROP CONSTRAINT ck_etl_load_batch_scattered;

ALTER TABLE dw.etl_load_batch DROP CONSTRAINT ck_etl_load_batch_rows_replaced;

ALTER TABLE dw.etl_load_batch DROP CONSTRAINT ck_etl_load_batch_rows_removed;

ALTER TABLE dw.etl_load_batch DROP CONSTRAINT ck_etl_load_batch_origin;

ALTER TABLE dw.etl_load_batch DROP COLUMN may_hold_rows;

ALTER TABLE dw.etl_load_batch DROP COLUMN scattered;

ALTER TABLE dw.etl_load_batch DROP COLUMN month_replaced;

ALTER TABLE dw.etl_load_batch DROP COLUMN rows_replaced;

ALTER TABLE dw.etl_load_batch DROP COLUMN rows_removed;

ALTER TABLE dw.etl_load_batch DROP COLUMN origin;

DROP TABLE dw.etl_removal;

UPDATE dw.alembic_version SET version_num='0003' WHERE dw.alembic_version.version_num = '0004';

INSERT INTO dw.etl_migration_history (revision, direction, checksum, started_at, seconds, applied_by, package_version) VALUES ('0004', 'downgrade', '4fedc3b387965cef5ba142c46d57c89900b2ec558f2f0262f7771793ad338498', now(), date_part('epoch', clock_timestamp() - now()), CURRENT_USER, '0.1.0');

COMMIT;

BEGIN;

-- Running downgrade 0003 -> 0002

DROP TABLE dw.etl_audit;

UPDATE dw.alembic_version SET version_num='0002' WHERE dw.alembic_version.version_num = '0003';

INSERT INTO dw.etl_migration_history (revision, direction, checksum, started_at, seconds, applied_by, package_version) VALUES ('0003', 'downgrade', '1264a92c6660daf9cc6288a9db051d1a1cbf5ee1a1b9ad31c2bcd9bc41c1e954', now(), date_part('epoch', clock_timestamp() - now()), CURRENT_USER, '0.1.0');

COMMIT;

BEGIN;

-- Running downgrade 0002 -> 0001

UPDATE dw.dim_equipment SET row_hash = row_hash || '@' || to_char(known_from AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
WHERE effective_date = '1900-01-01 00:00:00+00' AND known_from > effective_date AND known_from < expiry_date;

UPDATE dw.dim_product SET row_hash = row_hash || '@' || to_char(known_from AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
WHERE effective_date = '1900-01-01 00:00:00+00' AND known_from > effective_date AND known_from < expiry_date;

UPDATE dw.dim_process_step SET row_hash = row_hash || '@' || to_char(known_from AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
WHERE effective_date = '1900-01-01 00:00:00+00' AND known_from > effective_date AND known_from < expiry_date;

UPDATE dw.dim_recipe SET row_hash = row_hash || '@' || to_char(known_from AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
WHERE effective_date = '1900-01-01 00:00:00+00' AND known_from > effective_date AND known_from < expiry_date;

UPDATE dw.dim_lot SET row_hash = row_hash || '@' || to_char(known_from AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
WHERE effective_date = '1900-01-01 00:00:00+00' AND known_from > effective_date AND known_from < expiry_date;

UPDATE dw.dim_wafer SET row_hash = row_hash || '@' || to_char(known_from AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
WHERE effective_date = '1900-01-01 00:00:00+00' AND known_from > effective_date AND known_from < expiry_date;

ALTER TABLE dw.dim_wafer DROP COLUMN shown;

ALTER TABLE dw.dim_wafer DROP COLUMN told;

ALTER TABLE dw.dim_wafer DROP COLUMN known_from;

ALTER TABLE dw.dim_lot DROP COLUMN shown;

ALTER TABLE dw.dim_lot DROP COLUMN told;

ALTER TABLE dw.dim_lot DROP COLUMN known_from;

ALTER TABLE dw.dim_recipe DROP COLUMN shown;

ALTER TABLE dw.dim_recipe DROP COLUMN told;

ALTER TABLE dw.dim_recipe DROP COLUMN known_from;

ALTER TABLE dw.dim_process_step DROP COLUMN shown;

ALTER TABLE dw.dim_process_step DROP COLUMN told;

ALTER TABLE dw.dim_process_step DROP COLUMN known_from;

ALTER TABLE dw.dim_product DROP COLUMN shown;

ALTER TABLE dw.dim_product DROP COLUMN told;

ALTER TABLE dw.dim_product DROP COLUMN known_from;

ALTER TABLE dw.dim_equipment DROP COLUMN shown;

ALTER TABLE dw.dim_equipment DROP COLUMN told;

ALTER TABLE dw.dim_equipment DROP COLUMN known_from;

DROP INDEX dw.ix_etl_member_observation_member_key;

DROP TABLE dw.etl_member_observation;

ALTER TABLE dw.etl_load_batch DROP COLUMN source_checksum;

COMMENT ON VIEW dw.v_lot_genealogy IS 'Ancestors and descendants of every lot, any depth. A filter does not reach into it: for one lot use wh.genealogy(), which starts at the lot';

UPDATE dw.alembic_version SET version_num='0001' WHERE dw.alembic_version.version_num = '0002';

INSERT INTO dw.etl_migration_history (revision, direction, checksum, started_at, seconds, applied_by, package_version) VALUES ('0002', 'downgrade', '30ca4b942f484a2d6e8d05b5d822d6e47740a0a44b645f276a55f5c857f84a68', now(), date_part('epoch', clock_timestamp() - now()), CURRENT_USER, '0.1.0');

COMMIT;

BEGIN;

-- Running downgrade 0001 -> 

DROP VIEW dw.v_wafer_trace;

DROP VIEW dw.v_lot_status;

DROP VIEW dw.v_lot_genealogy;

DROP VIEW dw.v_equipment_state;

DROP VIEW dw.v_equipment_oee_monthly;

DROP VIEW dw.v_equipment_oee;

DROP VIEW dw.v_inspection_summary;

DROP VIEW dw.v_process_capability;

DROP VIEW dw.v_process_values;

DROP VIEW dw.v_test_values;

DROP VIEW dw.v_wafer_yield;

DROP TABLE dw.etl_reject;

DROP TABLE dw.etl_load_batch;

DROP TABLE dw.fact_equipment_performance;

DROP TABLE dw.fact_defect_inspection;

DROP TABLE dw.fact_test_results;

DROP TABLE dw.fact_process_measurements;

DROP TABLE dw.bridge_wafer_lot;

DROP TABLE dw.bridge_lot_genealogy;

DROP TABLE dw.dim_wafer;

DROP TABLE dw.dim_lot;

DROP TABLE dw.dim_recipe;

DROP TABLE dw.dim_process_step;

DROP TABLE dw.dim_product;

DROP TABLE dw.dim_equipment;

DROP TABLE dw.dim_time;

DELETE FROM dw.alembic_version WHERE dw.alembic_version.version_num = '0001';

INSERT INTO dw.etl_migration_history (revision, direction, checksum, started_at, seconds, applied_by, package_version) VALUES ('0001', 'downgrade', '0e1566327eb74ddcda03a2d4f1c45cc3d823e0d78d6ed2bb79c7b3dbc1cc3f57', now(), date_part('epoch', clock_timestamp() - now()), CURRENT_USER, '0.1.0');

COMMIT;

