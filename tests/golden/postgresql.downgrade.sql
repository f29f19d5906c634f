CREATE SCHEMA IF NOT EXISTS dw;

CREATE TABLE IF NOT EXISTS dw.etl_migration_history (
    revision TEXT NOT NULL, 
    direction TEXT NOT NULL, 
    checksum TEXT NOT NULL, 
    started_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL, 
    seconds DOUBLE PRECISION, 
    applied_by TEXT DEFAULT "current_user"() NOT NULL, 
    package_version TEXT NOT NULL, 
    note TEXT
);

BEGIN;

-- Running downgrade 0005 -> 0003

COMMENT ON COLUMN dw.fact_process_measurements.parameters IS 'Everything measured that has no column: {name: number}';

COMMENT ON COLUMN dw.fact_test_results.parameters IS 'Parametric results: {test number: value}, the last value where a number repeats; its unit and limits stand in dim_process_step.control_limits (STDF V4 PTR.RESULT, MPR.RTN_RSLT)';

COMMENT ON COLUMN dw.fact_test_results.parameter_counts IS 'How often a test number came in the insertion, where more than once: {test number: count}';

ALTER TABLE dw.fact_test_results DROP CONSTRAINT ck_fact_test_results_own_limits;

ALTER TABLE dw.fact_process_measurements DROP COLUMN measured;

ALTER TABLE dw.fact_process_measurements DROP COLUMN parameter_set_key;

ALTER TABLE dw.fact_test_results DROP COLUMN retest_of_bins;

ALTER TABLE dw.fact_test_results DROP COLUMN sublot_id;

ALTER TABLE dw.fact_test_results DROP COLUMN unit_id;

ALTER TABLE dw.fact_test_results DROP COLUMN own_limits;

ALTER TABLE dw.fact_test_results DROP COLUMN failed;

ALTER TABLE dw.fact_test_results DROP COLUMN verdicts;

ALTER TABLE dw.fact_test_results DROP COLUMN measured;

ALTER TABLE dw.fact_test_results DROP COLUMN parameter_set_key;

DROP TABLE dw.bridge_step_limits;

DROP INDEX dw.uq_bridge_parameter_set_parameter;

DROP TABLE dw.bridge_parameter_set;

DROP INDEX dw.ix_agg_test_values_batch_id;

DROP TABLE dw.agg_test_values;

DROP INDEX dw.ix_agg_process_values_batch_id;

DROP TABLE dw.agg_process_values;

UPDATE dw.alembic_version SET version_num='0003' WHERE dw.alembic_version.version_num = '0005';

INSERT INTO dw.etl_migration_history (revision, direction, checksum, started_at, seconds, applied_by, package_version) VALUES ('0005', 'downgrade', '47fa3789ca39d86a606963c9d7aba0a22ed951b9f910cd48bd3d499139494342', now(), date_part('epoch', clock_timestamp() - now()), CURRENT_USER, '0.1.0');

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

