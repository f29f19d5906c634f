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
)
 WITH (appendonly=false)
 DISTRIBUTED BY (revision);

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

