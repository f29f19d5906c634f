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

CREATE TABLE dw.alembic_version (
    version_num VARCHAR(32) NOT NULL, 
    CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
)
 DISTRIBUTED BY (version_num);

-- Running upgrade  -> 0001

CREATE TABLE dw.dim_time (
    time_key INTEGER NOT NULL, 
    ts_utc TIMESTAMP WITH TIME ZONE NOT NULL, 
    calendar_date DATE NOT NULL, 
    hour INTEGER NOT NULL, 
    day_of_week INTEGER NOT NULL, 
    iso_week INTEGER NOT NULL, 
    iso_year INTEGER NOT NULL, 
    month INTEGER NOT NULL, 
    quarter INTEGER NOT NULL, 
    year INTEGER NOT NULL, 
    fab_date DATE NOT NULL, 
    fab_week INTEGER NOT NULL, 
    fab_month INTEGER NOT NULL, 
    fab_year INTEGER NOT NULL, 
    shift_code TEXT NOT NULL, 
    shift_name TEXT NOT NULL, 
    shift_start_ts TIMESTAMP WITH TIME ZONE NOT NULL, 
    shift_end_ts TIMESTAMP WITH TIME ZONE NOT NULL, 
    crew_code TEXT, 
    is_weekend BOOLEAN NOT NULL, 
    is_holiday BOOLEAN NOT NULL, 
    timezone TEXT NOT NULL, 
    source_system TEXT, 
    source_id TEXT, 
    batch_id TEXT, 
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL, 
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL, 
    created_by TEXT DEFAULT "current_user"() NOT NULL, 
    updated_by TEXT DEFAULT "current_user"() NOT NULL, 
    CONSTRAINT pk_dim_time PRIMARY KEY (time_key), 
    CONSTRAINT ck_dim_time_day_of_week CHECK (day_of_week >= 1 AND day_of_week <= 7), 
    CONSTRAINT ck_dim_time_fab_month CHECK (fab_month >= 1 AND fab_month <= 12), 
    CONSTRAINT ck_dim_time_fab_week CHECK (fab_week >= 1 AND fab_week <= 53), 
    CONSTRAINT ck_dim_time_hour CHECK (hour >= 0 AND hour <= 23), 
    CONSTRAINT ck_dim_time_iso_week CHECK (iso_week >= 1 AND iso_week <= 53), 
    CONSTRAINT ck_dim_time_month CHECK (month >= 1 AND month <= 12), 
    CONSTRAINT ck_dim_time_quarter CHECK (quarter >= 1 AND quarter <= 4)
)
 WITH (appendonly=false)
 DISTRIBUTED REPLICATED;

COMMENT ON TABLE dw.dim_time IS 'Hour (UTC) with the fab''s shifts, days, weeks and crews; one row per hour';

COMMENT ON COLUMN dw.dim_time.time_key IS 'Hour in UTC, YYYYMMDDHH';

COMMENT ON COLUMN dw.dim_time.ts_utc IS 'Start of the hour, UTC';

COMMENT ON COLUMN dw.dim_time.calendar_date IS 'Date in UTC';

COMMENT ON COLUMN dw.dim_time.hour IS 'Hour of the day in UTC, 0 to 23';

COMMENT ON COLUMN dw.dim_time.day_of_week IS 'Day of the week in UTC, 1 = Monday to 7 = Sunday (ISO 8601)';

COMMENT ON COLUMN dw.dim_time.iso_week IS 'Week in UTC (ISO 8601), 1 to 53';

COMMENT ON COLUMN dw.dim_time.iso_year IS 'Year that iso_week belongs to (ISO 8601)';

COMMENT ON COLUMN dw.dim_time.month IS 'Month in UTC, 1 to 12';

COMMENT ON COLUMN dw.dim_time.quarter IS 'Quarter in UTC, 1 to 4';

COMMENT ON COLUMN dw.dim_time.year IS 'Year in UTC';

COMMENT ON COLUMN dw.dim_time.fab_date IS 'Fab day: local date on which its first shift started; a night shift belongs to the day it began in';

COMMENT ON COLUMN dw.dim_time.fab_week IS 'Fab week, numbered as ISO 8601 does over fab days, 1 to 53';

COMMENT ON COLUMN dw.dim_time.fab_month IS 'Fab month, 1 to 12: that of the fab week''s fourth day';

COMMENT ON COLUMN dw.dim_time.fab_year IS 'Fab year: that of the fab week''s fourth day';

COMMENT ON COLUMN dw.dim_time.shift_code IS 'Shift in force at the start of the hour, e.g. D or N';

COMMENT ON COLUMN dw.dim_time.shift_name IS 'Name of the shift';

COMMENT ON COLUMN dw.dim_time.shift_start_ts IS 'Start of the shift, inclusive, UTC';

COMMENT ON COLUMN dw.dim_time.shift_end_ts IS 'End of the shift, exclusive, UTC';

COMMENT ON COLUMN dw.dim_time.crew_code IS 'Crew on duty by the rota; NULL without a rota';

COMMENT ON COLUMN dw.dim_time.is_weekend IS 'Whether the fab day is a Saturday or Sunday';

COMMENT ON COLUMN dw.dim_time.is_holiday IS 'Whether the fab day is a holiday of the fab''s calendar';

COMMENT ON COLUMN dw.dim_time.timezone IS 'Time zone of the fab''s calendar (IANA name)';

COMMENT ON COLUMN dw.dim_time.source_system IS 'System the row came from';

COMMENT ON COLUMN dw.dim_time.source_id IS 'Identifier of the row in that system';

COMMENT ON COLUMN dw.dim_time.batch_id IS 'Batch that wrote the row (etl_load_batch)';

COMMENT ON COLUMN dw.dim_time.created_at IS 'When the row was written, UTC';

COMMENT ON COLUMN dw.dim_time.updated_at IS 'When the row was last changed, UTC';

COMMENT ON COLUMN dw.dim_time.created_by IS 'Database user who wrote the row';

COMMENT ON COLUMN dw.dim_time.updated_by IS 'Database user who last changed the row';

CREATE TABLE dw.dim_equipment (
    equipment_key BIGINT NOT NULL, 
    facility TEXT NOT NULL, 
    equipment_id TEXT NOT NULL, 
    chamber_id TEXT NOT NULL, 
    area TEXT, 
    bay TEXT, 
    work_center TEXT, 
    equipment_group TEXT, 
    equipment_family TEXT, 
    equipment_type TEXT, 
    vendor TEXT, 
    model TEXT, 
    serial_no TEXT, 
    parent_equipment_key BIGINT, 
    hierarchy_level TEXT, 
    hierarchy_path TEXT, 
    chamber_type TEXT, 
    chamber_position TEXT, 
    chamber_count INTEGER, 
    wafer_size_mm DOUBLE PRECISION, 
    is_cluster_tool BOOLEAN, 
    is_batch_tool BOOLEAN, 
    batch_size_min INTEGER, 
    batch_size_max INTEGER, 
    software_version TEXT, 
    install_date DATE, 
    qualification_status TEXT, 
    qualified_at TIMESTAMP WITH TIME ZONE, 
    throughput_wph DOUBLE PRECISION, 
    mtbf_target_h DOUBLE PRECISION, 
    mttr_target_h DOUBLE PRECISION, 
    pm_interval_h DOUBLE PRECISION, 
    mtbf_h DOUBLE PRECISION, 
    mttr_h DOUBLE PRECISION, 
    last_pm_ts TIMESTAMP WITH TIME ZONE, 
    effective_date TIMESTAMP WITH TIME ZONE NOT NULL, 
    expiry_date TIMESTAMP WITH TIME ZONE DEFAULT '9999-12-31 00:00:00+00' NOT NULL, 
    is_current BOOLEAN DEFAULT true NOT NULL, 
    is_inferred BOOLEAN DEFAULT false NOT NULL, 
    row_hash TEXT NOT NULL, 
    source_system TEXT, 
    source_id TEXT, 
    batch_id TEXT, 
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL, 
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL, 
    created_by TEXT DEFAULT "current_user"() NOT NULL, 
    updated_by TEXT DEFAULT "current_user"() NOT NULL, 
    CONSTRAINT pk_dim_equipment PRIMARY KEY (equipment_key, effective_date), 
    CONSTRAINT ck_dim_equipment_equipment_type CHECK (equipment_type IN ('ETCH', 'CVD', 'PVD', 'LITHO', 'IMPLANT', 'DIFFUSION', 'CMP', 'WET', 'METROLOGY', 'INSPECTION', 'TESTER', 'PROBER', 'OTHER')), 
    CONSTRAINT ck_dim_equipment_hierarchy_level CHECK (hierarchy_level IN ('TOOL', 'MODULE', 'CHAMBER', 'LOADPORT')), 
    CONSTRAINT ck_dim_equipment_parent CHECK (parent_equipment_key IS NOT NULL OR (chamber_id = '' AND coalesce(hierarchy_level, 'TOOL') = 'TOOL')), 
    CONSTRAINT ck_dim_equipment_batch_size_max CHECK (batch_size_max >= 0), 
    CONSTRAINT ck_dim_equipment_batch_size CHECK (batch_size_min <= batch_size_max), 
    CONSTRAINT ck_dim_equipment_batch_size_min CHECK (batch_size_min >= 0), 
    CONSTRAINT ck_dim_equipment_chamber_count CHECK (chamber_count >= 0), 
    CONSTRAINT ck_dim_equipment_interval CHECK (effective_date < expiry_date AND isfinite(effective_date) AND isfinite(expiry_date)), 
    CONSTRAINT ck_dim_equipment_mtbf_h CHECK (mtbf_h >= 0), 
    CONSTRAINT ck_dim_equipment_mtbf_target_h CHECK (mtbf_target_h >= 0), 
    CONSTRAINT ck_dim_equipment_mttr_h CHECK (mttr_h >= 0), 
    CONSTRAINT ck_dim_equipment_mttr_target_h CHECK (mttr_target_h >= 0), 
    CONSTRAINT ck_dim_equipment_own_parent CHECK (parent_equipment_key <> equipment_key), 
    CONSTRAINT ck_dim_equipment_pm_interval_h CHECK (pm_interval_h > 0), 
    CONSTRAINT ck_dim_equipment_throughput_wph CHECK (throughput_wph > 0), 
    CONSTRAINT ck_dim_equipment_wafer_size_mm CHECK (wafer_size_mm > 0)
)
 WITH (appendonly=false)
 DISTRIBUTED REPLICATED;

COMMENT ON TABLE dw.dim_equipment IS 'Tool, or a chamber, module or load port of one; a version per change (SCD type 2)';

COMMENT ON COLUMN dw.dim_equipment.equipment_key IS 'Durable key: hash of facility, equipment_id, chamber_id';

COMMENT ON COLUMN dw.dim_equipment.facility IS 'Fab or test site (STDF V4 MIR.FACIL_ID)';

COMMENT ON COLUMN dw.dim_equipment.equipment_id IS 'Tool, as the fab names it (STDF V4 MIR.NODE_NAM; KLARF InspectionStationID)';

COMMENT ON COLUMN dw.dim_equipment.chamber_id IS 'Chamber, module or load port of the tool; empty for the tool itself';

COMMENT ON COLUMN dw.dim_equipment.area IS 'Area of the fab, e.g. ETCH (STDF V4 MIR.FLOOR_ID)';

COMMENT ON COLUMN dw.dim_equipment.bay IS 'Bay';

COMMENT ON COLUMN dw.dim_equipment.work_center IS 'Work centre';

COMMENT ON COLUMN dw.dim_equipment.equipment_group IS 'Group of interchangeable tools; dispatching chooses within it';

COMMENT ON COLUMN dw.dim_equipment.equipment_family IS 'Family of tools of one make';

COMMENT ON COLUMN dw.dim_equipment.equipment_type IS 'Kind of tool';

COMMENT ON COLUMN dw.dim_equipment.vendor IS 'Maker';

COMMENT ON COLUMN dw.dim_equipment.model IS 'Maker''s model (SEMI E5 MDLN; STDF V4 MIR.TSTR_TYP)';

COMMENT ON COLUMN dw.dim_equipment.serial_no IS 'Maker''s serial number (STDF V4 MIR.SERL_NUM)';

COMMENT ON COLUMN dw.dim_equipment.parent_equipment_key IS 'Equipment this one is part of (dim_equipment.equipment_key); NULL for a tool that stands alone';

COMMENT ON COLUMN dw.dim_equipment.hierarchy_level IS 'Level in the tool (SEMI E10 multi-path cluster tool; E98, E120 object hierarchy)';

COMMENT ON COLUMN dw.dim_equipment.hierarchy_path IS 'Ids from the facility down, joined with /';

COMMENT ON COLUMN dw.dim_equipment.chamber_type IS 'Kind of chamber, e.g. the process it is built for';

COMMENT ON COLUMN dw.dim_equipment.chamber_position IS 'Position at the transfer module, e.g. A or 3';

COMMENT ON COLUMN dw.dim_equipment.chamber_count IS 'Chambers of the tool, count';

COMMENT ON COLUMN dw.dim_equipment.wafer_size_mm IS 'Wafer diameter it takes, mm (SEMI M1)';

COMMENT ON COLUMN dw.dim_equipment.is_cluster_tool IS 'Whether it is a cluster tool (SEMI E10, E21)';

COMMENT ON COLUMN dw.dim_equipment.is_batch_tool IS 'Whether it processes several wafers at once';

COMMENT ON COLUMN dw.dim_equipment.batch_size_min IS 'Least batch, wafers';

COMMENT ON COLUMN dw.dim_equipment.batch_size_max IS 'Greatest batch, wafers';

COMMENT ON COLUMN dw.dim_equipment.software_version IS 'Software and its version (SEMI E5 SOFTREV; STDF V4 MIR.EXEC_VER)';

COMMENT ON COLUMN dw.dim_equipment.install_date IS 'Date of installation';

COMMENT ON COLUMN dw.dim_equipment.qualification_status IS 'State of qualification, in the fab''s words';

COMMENT ON COLUMN dw.dim_equipment.qualified_at IS 'Last qualification, UTC';

COMMENT ON COLUMN dw.dim_equipment.throughput_wph IS 'Ideal throughput, wafers per hour (SEMI E79 theoretical production rate)';

COMMENT ON COLUMN dw.dim_equipment.mtbf_target_h IS 'Target mean time between failures, h (SEMI E10)';

COMMENT ON COLUMN dw.dim_equipment.mttr_target_h IS 'Target mean time to repair, h (SEMI E10)';

COMMENT ON COLUMN dw.dim_equipment.pm_interval_h IS 'Interval of preventive maintenance, h';

COMMENT ON COLUMN dw.dim_equipment.mtbf_h IS 'Mean time between failures as last reported, h (SEMI E10); overwritten in place';

COMMENT ON COLUMN dw.dim_equipment.mttr_h IS 'Mean time to repair as last reported, h (SEMI E10); overwritten in place';

COMMENT ON COLUMN dw.dim_equipment.last_pm_ts IS 'Last preventive maintenance, UTC; overwritten in place';

COMMENT ON COLUMN dw.dim_equipment.effective_date IS 'Start of the version, inclusive, UTC; the first version starts at 1900-01-01';

COMMENT ON COLUMN dw.dim_equipment.expiry_date IS 'End of the version, exclusive, UTC; 9999-12-31 while it is in force';

COMMENT ON COLUMN dw.dim_equipment.is_current IS 'Whether this is the version in force now';

COMMENT ON COLUMN dw.dim_equipment.is_inferred IS 'Whether a load made this member before anything better was known of it';

COMMENT ON COLUMN dw.dim_equipment.row_hash IS 'MD5 over the tracked columns; tells whether a version differs';

COMMENT ON COLUMN dw.dim_equipment.source_system IS 'System the row came from';

COMMENT ON COLUMN dw.dim_equipment.source_id IS 'Identifier of the row in that system';

COMMENT ON COLUMN dw.dim_equipment.batch_id IS 'Batch that wrote the row (etl_load_batch)';

COMMENT ON COLUMN dw.dim_equipment.created_at IS 'When the row was written, UTC';

COMMENT ON COLUMN dw.dim_equipment.updated_at IS 'When the row was last changed, UTC';

COMMENT ON COLUMN dw.dim_equipment.created_by IS 'Database user who wrote the row';

COMMENT ON COLUMN dw.dim_equipment.updated_by IS 'Database user who last changed the row';

CREATE UNIQUE INDEX uq_dim_equipment_current ON dw.dim_equipment (equipment_key) WHERE is_current;

CREATE TABLE dw.dim_product (
    product_key BIGINT NOT NULL, 
    product_id TEXT NOT NULL, 
    revision TEXT NOT NULL, 
    product_name TEXT, 
    device TEXT, 
    product_family TEXT, 
    product_type TEXT, 
    customer TEXT, 
    technology_node_nm DOUBLE PRECISION, 
    technology_node_name TEXT, 
    process_family TEXT, 
    mask_set_id TEXT, 
    mask_layers INTEGER, 
    metal_layers INTEGER, 
    wafer_size_mm DOUBLE PRECISION, 
    die_size_x_mm DOUBLE PRECISION, 
    die_size_y_mm DOUBLE PRECISION, 
    die_area_mm2 DOUBLE PRECISION, 
    scribe_width_um DOUBLE PRECISION, 
    edge_exclusion_mm DOUBLE PRECISION, 
    gross_die_per_wafer INTEGER, 
    die_pitch_x_um DOUBLE PRECISION, 
    die_pitch_y_um DOUBLE PRECISION, 
    die_origin_x DOUBLE PRECISION, 
    die_origin_y DOUBLE PRECISION, 
    reticle_cols INTEGER, 
    reticle_rows INTEGER, 
    orientation_mark TEXT, 
    target_yield_pct DOUBLE PRECISION, 
    d0_target_per_cm2 DOUBLE PRECISION, 
    critical_area_ratio DOUBLE PRECISION, 
    vdd_nominal_v DOUBLE PRECISION, 
    package_type TEXT, 
    spec_version TEXT, 
    lifecycle_status TEXT, 
    effective_date TIMESTAMP WITH TIME ZONE NOT NULL, 
    expiry_date TIMESTAMP WITH TIME ZONE DEFAULT '9999-12-31 00:00:00+00' NOT NULL, 
    is_current BOOLEAN DEFAULT true NOT NULL, 
    is_inferred BOOLEAN DEFAULT false NOT NULL, 
    row_hash TEXT NOT NULL, 
    source_system TEXT, 
    source_id TEXT, 
    batch_id TEXT, 
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL, 
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL, 
    created_by TEXT DEFAULT "current_user"() NOT NULL, 
    updated_by TEXT DEFAULT "current_user"() NOT NULL, 
    CONSTRAINT pk_dim_product PRIMARY KEY (product_key, effective_date), 
    CONSTRAINT ck_dim_product_critical_area_ratio CHECK (critical_area_ratio >= 0 AND critical_area_ratio <= 1), 
    CONSTRAINT ck_dim_product_d0_target_per_cm2 CHECK (d0_target_per_cm2 >= 0), 
    CONSTRAINT ck_dim_product_die_area_mm2 CHECK (die_area_mm2 > 0), 
    CONSTRAINT ck_dim_product_die_pitch_x_um CHECK (die_pitch_x_um > 0), 
    CONSTRAINT ck_dim_product_die_pitch_y_um CHECK (die_pitch_y_um > 0), 
    CONSTRAINT ck_dim_product_die_size_x_mm CHECK (die_size_x_mm > 0), 
    CONSTRAINT ck_dim_product_die_size_y_mm CHECK (die_size_y_mm > 0), 
    CONSTRAINT ck_dim_product_edge_exclusion_mm CHECK (edge_exclusion_mm >= 0), 
    CONSTRAINT ck_dim_product_interval CHECK (effective_date < expiry_date AND isfinite(effective_date) AND isfinite(expiry_date)), 
    CONSTRAINT ck_dim_product_gross_die_per_wafer CHECK (gross_die_per_wafer >= 0), 
    CONSTRAINT ck_dim_product_mask_layers CHECK (mask_layers >= 0), 
    CONSTRAINT ck_dim_product_metal_layers CHECK (metal_layers >= 0), 
    CONSTRAINT ck_dim_product_reticle_cols CHECK (reticle_cols > 0), 
    CONSTRAINT ck_dim_product_reticle_rows CHECK (reticle_rows > 0), 
    CONSTRAINT ck_dim_product_scribe_width_um CHECK (scribe_width_um >= 0), 
    CONSTRAINT ck_dim_product_target_yield_pct CHECK (target_yield_pct >= 0 AND target_yield_pct <= 100), 
    CONSTRAINT ck_dim_product_technology_node_nm CHECK (technology_node_nm > 0), 
    CONSTRAINT ck_dim_product_wafer_size_mm CHECK (wafer_size_mm > 0)
)
 WITH (appendonly=false)
 DISTRIBUTED REPLICATED;

COMMENT ON TABLE dw.dim_product IS 'Product (device) by revision, with its die and wafer layout; a version per change (SCD type 2)';

COMMENT ON COLUMN dw.dim_product.product_key IS 'Durable key: hash of product_id, revision';

COMMENT ON COLUMN dw.dim_product.product_id IS 'Product (STDF V4 MIR.PART_TYP; KLARF DeviceID)';

COMMENT ON COLUMN dw.dim_product.revision IS 'Design revision (STDF V4 MIR.DSGN_REV); empty where there is none';

COMMENT ON COLUMN dw.dim_product.product_name IS 'Name';

COMMENT ON COLUMN dw.dim_product.device IS 'Device name of the design';

COMMENT ON COLUMN dw.dim_product.product_family IS 'Product family (STDF V4 MIR.FAMLY_ID)';

COMMENT ON COLUMN dw.dim_product.product_type IS 'Kind of product, e.g. LOGIC, DRAM, TESTCHIP';

COMMENT ON COLUMN dw.dim_product.customer IS 'Customer';

COMMENT ON COLUMN dw.dim_product.technology_node_nm IS 'Technology node as a length, nm';

COMMENT ON COLUMN dw.dim_product.technology_node_name IS 'Technology node as it is called; N5 is no length';

COMMENT ON COLUMN dw.dim_product.process_family IS 'Process family (STDF V4 MIR.PROC_ID)';

COMMENT ON COLUMN dw.dim_product.mask_set_id IS 'Mask set (STDF V4 WRR.MASK_ID)';

COMMENT ON COLUMN dw.dim_product.mask_layers IS 'Mask layers, count';

COMMENT ON COLUMN dw.dim_product.metal_layers IS 'Metal layers, count';

COMMENT ON COLUMN dw.dim_product.wafer_size_mm IS 'Wafer diameter, mm (SEMI M1; STDF V4 WCR.WAFR_SIZ; KLARF SampleSize)';

COMMENT ON COLUMN dw.dim_product.die_size_x_mm IS 'Die width, mm (STDF V4 WCR.DIE_WID)';

COMMENT ON COLUMN dw.dim_product.die_size_y_mm IS 'Die height, mm (STDF V4 WCR.DIE_HT)';

COMMENT ON COLUMN dw.dim_product.die_area_mm2 IS 'Die area, mm2';

COMMENT ON COLUMN dw.dim_product.scribe_width_um IS 'Width of the scribe line, um';

COMMENT ON COLUMN dw.dim_product.edge_exclusion_mm IS 'Edge exclusion, mm (SEMI M1)';

COMMENT ON COLUMN dw.dim_product.gross_die_per_wafer IS 'Whole die on a wafer, count';

COMMENT ON COLUMN dw.dim_product.die_pitch_x_um IS 'Die pitch in x, um (KLARF DiePitch)';

COMMENT ON COLUMN dw.dim_product.die_pitch_y_um IS 'Die pitch in y, um (KLARF DiePitch)';

COMMENT ON COLUMN dw.dim_product.die_origin_x IS 'Die origin in x, um (KLARF DieOrigin; STDF V4 WCR.CENTER_X)';

COMMENT ON COLUMN dw.dim_product.die_origin_y IS 'Die origin in y, um (KLARF DieOrigin; STDF V4 WCR.CENTER_Y)';

COMMENT ON COLUMN dw.dim_product.reticle_cols IS 'Die across a reticle field, count';

COMMENT ON COLUMN dw.dim_product.reticle_rows IS 'Die up a reticle field, count';

COMMENT ON COLUMN dw.dim_product.orientation_mark IS 'Where the notch or flat points: UP, DOWN, LEFT, RIGHT or degrees (STDF V4 WCR.WF_FLAT; KLARF OrientationMarkLocation)';

COMMENT ON COLUMN dw.dim_product.target_yield_pct IS 'Target die yield, percent';

COMMENT ON COLUMN dw.dim_product.d0_target_per_cm2 IS 'Target defect density D0, per cm2';

COMMENT ON COLUMN dw.dim_product.critical_area_ratio IS 'Critical area by die area, 0 to 1';

COMMENT ON COLUMN dw.dim_product.vdd_nominal_v IS 'Nominal supply voltage, V';

COMMENT ON COLUMN dw.dim_product.package_type IS 'Package (STDF V4 MIR.PKG_TYP)';

COMMENT ON COLUMN dw.dim_product.spec_version IS 'Version of the specification (STDF V4 MIR.SPEC_VER)';

COMMENT ON COLUMN dw.dim_product.lifecycle_status IS 'Stage of life, e.g. NPI, RAMP, PRODUCTION, EOL';

COMMENT ON COLUMN dw.dim_product.effective_date IS 'Start of the version, inclusive, UTC; the first version starts at 1900-01-01';

COMMENT ON COLUMN dw.dim_product.expiry_date IS 'End of the version, exclusive, UTC; 9999-12-31 while it is in force';

COMMENT ON COLUMN dw.dim_product.is_current IS 'Whether this is the version in force now';

COMMENT ON COLUMN dw.dim_product.is_inferred IS 'Whether a load made this member before anything better was known of it';

COMMENT ON COLUMN dw.dim_product.row_hash IS 'MD5 over the tracked columns; tells whether a version differs';

COMMENT ON COLUMN dw.dim_product.source_system IS 'System the row came from';

COMMENT ON COLUMN dw.dim_product.source_id IS 'Identifier of the row in that system';

COMMENT ON COLUMN dw.dim_product.batch_id IS 'Batch that wrote the row (etl_load_batch)';

COMMENT ON COLUMN dw.dim_product.created_at IS 'When the row was written, UTC';

COMMENT ON COLUMN dw.dim_product.updated_at IS 'When the row was last changed, UTC';

COMMENT ON COLUMN dw.dim_product.created_by IS 'Database user who wrote the row';

COMMENT ON COLUMN dw.dim_product.updated_by IS 'Database user who last changed the row';

CREATE UNIQUE INDEX uq_dim_product_current ON dw.dim_product (product_key) WHERE is_current;

CREATE TABLE dw.dim_process_step (
    process_step_key BIGINT NOT NULL, 
    process_flow_id TEXT NOT NULL, 
    flow_version TEXT NOT NULL, 
    step_number TEXT NOT NULL, 
    operation_id TEXT, 
    step_name TEXT, 
    step_sequence INTEGER, 
    module TEXT, 
    layer_name TEXT, 
    mask_level TEXT, 
    process_area TEXT, 
    step_type TEXT, 
    tool_group_required TEXT, 
    default_recipe_id TEXT, 
    is_rework_step BOOLEAN, 
    rework_to_step TEXT, 
    is_critical BOOLEAN, 
    sampling_pct DOUBLE PRECISION, 
    std_process_time_s DOUBLE PRECISION, 
    max_queue_time_min DOUBLE PRECISION, 
    queue_start_step TEXT, 
    control_limits JSONB, 
    effective_date TIMESTAMP WITH TIME ZONE NOT NULL, 
    expiry_date TIMESTAMP WITH TIME ZONE DEFAULT '9999-12-31 00:00:00+00' NOT NULL, 
    is_current BOOLEAN DEFAULT true NOT NULL, 
    is_inferred BOOLEAN DEFAULT false NOT NULL, 
    row_hash TEXT NOT NULL, 
    source_system TEXT, 
    source_id TEXT, 
    batch_id TEXT, 
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL, 
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL, 
    created_by TEXT DEFAULT "current_user"() NOT NULL, 
    updated_by TEXT DEFAULT "current_user"() NOT NULL, 
    CONSTRAINT pk_dim_process_step PRIMARY KEY (process_step_key, effective_date), 
    CONSTRAINT ck_dim_process_step_control_limits CHECK (jsonb_typeof(control_limits) = 'object'), 
    CONSTRAINT ck_dim_process_step_module CHECK (module IN ('FEOL', 'MOL', 'BEOL')), 
    CONSTRAINT ck_dim_process_step_step_type CHECK (step_type IN ('PROCESS', 'METROLOGY', 'INSPECTION', 'TEST', 'CLEAN', 'TRANSPORT')), 
    CONSTRAINT ck_dim_process_step_interval CHECK (effective_date < expiry_date AND isfinite(effective_date) AND isfinite(expiry_date)), 
    CONSTRAINT ck_dim_process_step_max_queue_time_min CHECK (max_queue_time_min >= 0), 
    CONSTRAINT ck_dim_process_step_rework_to_step CHECK (rework_to_step <> step_number), 
    CONSTRAINT ck_dim_process_step_sampling_pct CHECK (sampling_pct >= 0 AND sampling_pct <= 100), 
    CONSTRAINT ck_dim_process_step_std_process_time_s CHECK (std_process_time_s >= 0)
)
 WITH (appendonly=false)
 DISTRIBUTED REPLICATED;

COMMENT ON TABLE dw.dim_process_step IS 'Step of a process flow or test program, with its control limits; a version per change (SCD type 2)';

COMMENT ON COLUMN dw.dim_process_step.process_step_key IS 'Durable key: hash of process_flow_id, flow_version, step_number';

COMMENT ON COLUMN dw.dim_process_step.process_flow_id IS 'Process flow or route; for a test, its program (STDF V4 MIR.JOB_NAM)';

COMMENT ON COLUMN dw.dim_process_step.flow_version IS 'Version of the flow (STDF V4 MIR.JOB_REV); empty where there is none';

COMMENT ON COLUMN dw.dim_process_step.step_number IS 'Step as the route numbers it, text; for a test, its stage (STDF V4 MIR.TEST_COD)';

COMMENT ON COLUMN dw.dim_process_step.operation_id IS 'Operation; the same one may stand at several steps of a flow';

COMMENT ON COLUMN dw.dim_process_step.step_name IS 'Name (KLARF StepID)';

COMMENT ON COLUMN dw.dim_process_step.step_sequence IS 'Place in the flow, for ordering';

COMMENT ON COLUMN dw.dim_process_step.module IS 'Part of the flow';

COMMENT ON COLUMN dw.dim_process_step.layer_name IS 'Layer, e.g. M1';

COMMENT ON COLUMN dw.dim_process_step.mask_level IS 'Mask level';

COMMENT ON COLUMN dw.dim_process_step.process_area IS 'Process area, e.g. LITHO';

COMMENT ON COLUMN dw.dim_process_step.step_type IS 'Kind of step';

COMMENT ON COLUMN dw.dim_process_step.tool_group_required IS 'Group of tools it runs on (dim_equipment.equipment_group)';

COMMENT ON COLUMN dw.dim_process_step.default_recipe_id IS 'Recipe it runs by default (dim_recipe.recipe_id)';

COMMENT ON COLUMN dw.dim_process_step.is_rework_step IS 'Whether the step is part of a rework';

COMMENT ON COLUMN dw.dim_process_step.rework_to_step IS 'Step number at which a rework joins the flow again';

COMMENT ON COLUMN dw.dim_process_step.is_critical IS 'Whether the step is critical';

COMMENT ON COLUMN dw.dim_process_step.sampling_pct IS 'Share of wafers sampled, percent';

COMMENT ON COLUMN dw.dim_process_step.std_process_time_s IS 'Standard process time, s';

COMMENT ON COLUMN dw.dim_process_step.max_queue_time_min IS 'Longest queue time allowed since queue_start_step, min';

COMMENT ON COLUMN dw.dim_process_step.queue_start_step IS 'Step number at whose end the queue time starts';

COMMENT ON COLUMN dw.dim_process_step.control_limits IS 'Limits by parameter or test number: {parameter: {unit, lsl, lcl, target, ucl, usl, limit_version, name}}, each optional, lsl <= lcl <= target <= ucl <= usl; in the unit given (STDF V4 PTR.LO_LIMIT, HI_LIMIT, UNITS, TEST_TXT)';

COMMENT ON COLUMN dw.dim_process_step.effective_date IS 'Start of the version, inclusive, UTC; the first version starts at 1900-01-01';

COMMENT ON COLUMN dw.dim_process_step.expiry_date IS 'End of the version, exclusive, UTC; 9999-12-31 while it is in force';

COMMENT ON COLUMN dw.dim_process_step.is_current IS 'Whether this is the version in force now';

COMMENT ON COLUMN dw.dim_process_step.is_inferred IS 'Whether a load made this member before anything better was known of it';

COMMENT ON COLUMN dw.dim_process_step.row_hash IS 'MD5 over the tracked columns; tells whether a version differs';

COMMENT ON COLUMN dw.dim_process_step.source_system IS 'System the row came from';

COMMENT ON COLUMN dw.dim_process_step.source_id IS 'Identifier of the row in that system';

COMMENT ON COLUMN dw.dim_process_step.batch_id IS 'Batch that wrote the row (etl_load_batch)';

COMMENT ON COLUMN dw.dim_process_step.created_at IS 'When the row was written, UTC';

COMMENT ON COLUMN dw.dim_process_step.updated_at IS 'When the row was last changed, UTC';

COMMENT ON COLUMN dw.dim_process_step.created_by IS 'Database user who wrote the row';

COMMENT ON COLUMN dw.dim_process_step.updated_by IS 'Database user who last changed the row';

CREATE UNIQUE INDEX uq_dim_process_step_current ON dw.dim_process_step (process_step_key) WHERE is_current;

CREATE TABLE dw.dim_recipe (
    recipe_key BIGINT NOT NULL, 
    recipe_id TEXT NOT NULL, 
    recipe_version TEXT NOT NULL, 
    recipe_name TEXT, 
    ppid TEXT, 
    recipe_type TEXT, 
    equipment_type TEXT, 
    chamber_type TEXT, 
    parameters JSONB, 
    parameters_checksum TEXT, 
    target_temp_c DOUBLE PRECISION, 
    target_pressure_torr DOUBLE PRECISION, 
    rf_power_w DOUBLE PRECISION, 
    total_time_s DOUBLE PRECISION, 
    step_count INTEGER, 
    approval_status TEXT, 
    approved_by TEXT, 
    approved_at TIMESTAMP WITH TIME ZONE, 
    is_golden BOOLEAN, 
    effective_date TIMESTAMP WITH TIME ZONE NOT NULL, 
    expiry_date TIMESTAMP WITH TIME ZONE DEFAULT '9999-12-31 00:00:00+00' NOT NULL, 
    is_current BOOLEAN DEFAULT true NOT NULL, 
    is_inferred BOOLEAN DEFAULT false NOT NULL, 
    row_hash TEXT NOT NULL, 
    source_system TEXT, 
    source_id TEXT, 
    batch_id TEXT, 
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL, 
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL, 
    created_by TEXT DEFAULT "current_user"() NOT NULL, 
    updated_by TEXT DEFAULT "current_user"() NOT NULL, 
    CONSTRAINT pk_dim_recipe PRIMARY KEY (recipe_key, effective_date), 
    CONSTRAINT ck_dim_recipe_approval_status CHECK (approval_status IN ('DRAFT', 'APPROVED', 'RELEASED', 'OBSOLETE')), 
    CONSTRAINT ck_dim_recipe_parameters CHECK (jsonb_typeof(parameters) = 'object'), 
    CONSTRAINT ck_dim_recipe_recipe_type CHECK (recipe_type IN ('PRODUCTION', 'ENGINEERING', 'QUAL', 'CLEAN')), 
    CONSTRAINT ck_dim_recipe_interval CHECK (effective_date < expiry_date AND isfinite(effective_date) AND isfinite(expiry_date)), 
    CONSTRAINT ck_dim_recipe_rf_power_w CHECK (rf_power_w >= 0), 
    CONSTRAINT ck_dim_recipe_step_count CHECK (step_count >= 0), 
    CONSTRAINT ck_dim_recipe_target_pressure_torr CHECK (target_pressure_torr >= 0), 
    CONSTRAINT ck_dim_recipe_target_temp_c CHECK (target_temp_c > -273.15), 
    CONSTRAINT ck_dim_recipe_total_time_s CHECK (total_time_s >= 0)
)
 WITH (appendonly=false)
 DISTRIBUTED REPLICATED;

COMMENT ON TABLE dw.dim_recipe IS 'Recipe by version, with its setpoints; a version per change (SCD type 2)';

COMMENT ON COLUMN dw.dim_recipe.recipe_key IS 'Durable key: hash of recipe_id, recipe_version';

COMMENT ON COLUMN dw.dim_recipe.recipe_id IS 'Recipe (SEMI E40 RecID; KLARF RecipeID)';

COMMENT ON COLUMN dw.dim_recipe.recipe_version IS 'Version of the recipe; empty where there is none';

COMMENT ON COLUMN dw.dim_recipe.recipe_name IS 'Name';

COMMENT ON COLUMN dw.dim_recipe.ppid IS 'Process program (SEMI E5 PPID)';

COMMENT ON COLUMN dw.dim_recipe.recipe_type IS 'Kind of recipe';

COMMENT ON COLUMN dw.dim_recipe.equipment_type IS 'Kind of tool it is for (dim_equipment.equipment_type)';

COMMENT ON COLUMN dw.dim_recipe.chamber_type IS 'Kind of chamber it is for (dim_equipment.chamber_type)';

COMMENT ON COLUMN dw.dim_recipe.parameters IS 'Setpoints: {steps: [{no, name, setpoints: {name: {value, unit, tolerance}}}]}';

COMMENT ON COLUMN dw.dim_recipe.parameters_checksum IS 'SHA-256 of parameters as canonical JSON, hexadecimal';

COMMENT ON COLUMN dw.dim_recipe.target_temp_c IS 'Target temperature of the main step, degC';

COMMENT ON COLUMN dw.dim_recipe.target_pressure_torr IS 'Target pressure of the main step, Torr';

COMMENT ON COLUMN dw.dim_recipe.rf_power_w IS 'RF power of the main step, W';

COMMENT ON COLUMN dw.dim_recipe.total_time_s IS 'Sum of the steps'' times, s';

COMMENT ON COLUMN dw.dim_recipe.step_count IS 'Steps of the recipe, count';

COMMENT ON COLUMN dw.dim_recipe.approval_status IS 'State of approval';

COMMENT ON COLUMN dw.dim_recipe.approved_by IS 'Who approved it';

COMMENT ON COLUMN dw.dim_recipe.approved_at IS 'When it was approved, UTC';

COMMENT ON COLUMN dw.dim_recipe.is_golden IS 'Whether it is the golden recipe others are compared with';

COMMENT ON COLUMN dw.dim_recipe.effective_date IS 'Start of the version, inclusive, UTC; the first version starts at 1900-01-01';

COMMENT ON COLUMN dw.dim_recipe.expiry_date IS 'End of the version, exclusive, UTC; 9999-12-31 while it is in force';

COMMENT ON COLUMN dw.dim_recipe.is_current IS 'Whether this is the version in force now';

COMMENT ON COLUMN dw.dim_recipe.is_inferred IS 'Whether a load made this member before anything better was known of it';

COMMENT ON COLUMN dw.dim_recipe.row_hash IS 'MD5 over the tracked columns; tells whether a version differs';

COMMENT ON COLUMN dw.dim_recipe.source_system IS 'System the row came from';

COMMENT ON COLUMN dw.dim_recipe.source_id IS 'Identifier of the row in that system';

COMMENT ON COLUMN dw.dim_recipe.batch_id IS 'Batch that wrote the row (etl_load_batch)';

COMMENT ON COLUMN dw.dim_recipe.created_at IS 'When the row was written, UTC';

COMMENT ON COLUMN dw.dim_recipe.updated_at IS 'When the row was last changed, UTC';

COMMENT ON COLUMN dw.dim_recipe.created_by IS 'Database user who wrote the row';

COMMENT ON COLUMN dw.dim_recipe.updated_by IS 'Database user who last changed the row';

CREATE UNIQUE INDEX uq_dim_recipe_current ON dw.dim_recipe (recipe_key) WHERE is_current;

CREATE TABLE dw.dim_lot (
    lot_key BIGINT NOT NULL, 
    lot_id TEXT NOT NULL, 
    product_key BIGINT DEFAULT -1 NOT NULL, 
    lot_type TEXT, 
    priority INTEGER, 
    priority_class TEXT, 
    parent_lot_id TEXT, 
    root_lot_id TEXT, 
    split_from_step TEXT, 
    genealogy_level INTEGER, 
    lot_status TEXT, 
    hold_code TEXT, 
    wafer_count INTEGER, 
    original_wafer_count INTEGER, 
    carrier_id TEXT, 
    process_flow_id TEXT, 
    start_ts TIMESTAMP WITH TIME ZONE, 
    due_ts TIMESTAMP WITH TIME ZONE, 
    complete_ts TIMESTAMP WITH TIME ZONE, 
    rework_count INTEGER, 
    owner TEXT, 
    customer_lot_id TEXT, 
    effective_date TIMESTAMP WITH TIME ZONE NOT NULL, 
    expiry_date TIMESTAMP WITH TIME ZONE DEFAULT '9999-12-31 00:00:00+00' NOT NULL, 
    is_current BOOLEAN DEFAULT true NOT NULL, 
    is_inferred BOOLEAN DEFAULT false NOT NULL, 
    row_hash TEXT NOT NULL, 
    source_system TEXT, 
    source_id TEXT, 
    batch_id TEXT, 
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL, 
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL, 
    created_by TEXT DEFAULT "current_user"() NOT NULL, 
    updated_by TEXT DEFAULT "current_user"() NOT NULL, 
    CONSTRAINT pk_dim_lot PRIMARY KEY (lot_key, effective_date), 
    CONSTRAINT ck_dim_lot_lot_status CHECK (lot_status IN ('WAIT', 'RUN', 'HOLD', 'COMPLETE', 'SCRAP', 'SHIPPED')), 
    CONSTRAINT ck_dim_lot_lot_type CHECK (lot_type IN ('PROD', 'ENG', 'MONITOR', 'QUAL', 'DUMMY')), 
    CONSTRAINT ck_dim_lot_interval CHECK (effective_date < expiry_date AND isfinite(effective_date) AND isfinite(expiry_date)), 
    CONSTRAINT ck_dim_lot_genealogy_level CHECK (genealogy_level >= 0), 
    CONSTRAINT ck_dim_lot_original_wafer_count CHECK (original_wafer_count >= 0), 
    CONSTRAINT ck_dim_lot_own_parent CHECK (parent_lot_id <> lot_id), 
    CONSTRAINT ck_dim_lot_priority CHECK (priority >= 0), 
    CONSTRAINT ck_dim_lot_rework_count CHECK (rework_count >= 0), 
    CONSTRAINT ck_dim_lot_start_complete CHECK (start_ts <= complete_ts), 
    CONSTRAINT ck_dim_lot_wafer_count CHECK (wafer_count >= 0)
)
 WITH (appendonly=false)
 DISTRIBUTED REPLICATED;

COMMENT ON TABLE dw.dim_lot IS 'Lot, with its parent, root and state; a version per change (SCD type 2)';

COMMENT ON COLUMN dw.dim_lot.lot_key IS 'Durable key: hash of lot_id';

COMMENT ON COLUMN dw.dim_lot.lot_id IS 'Lot (STDF V4 MIR.LOT_ID; KLARF LotID)';

COMMENT ON COLUMN dw.dim_lot.product_key IS 'Product (dim_product)';

COMMENT ON COLUMN dw.dim_lot.lot_type IS 'Kind of lot (STDF V4 MIR.MODE_COD)';

COMMENT ON COLUMN dw.dim_lot.priority IS 'Priority, 1 = most urgent';

COMMENT ON COLUMN dw.dim_lot.priority_class IS 'Class of priority, e.g. NORMAL, HOT, SUPERHOT';

COMMENT ON COLUMN dw.dim_lot.parent_lot_id IS 'Lot it was split from, or the leading one of a merge';

COMMENT ON COLUMN dw.dim_lot.root_lot_id IS 'Lot that its wafers were started in; part of a wafer''s natural key';

COMMENT ON COLUMN dw.dim_lot.split_from_step IS 'Step number at which it was split off';

COMMENT ON COLUMN dw.dim_lot.genealogy_level IS 'Splits between it and its root, count';

COMMENT ON COLUMN dw.dim_lot.lot_status IS 'State';

COMMENT ON COLUMN dw.dim_lot.hold_code IS 'Why it is on hold';

COMMENT ON COLUMN dw.dim_lot.wafer_count IS 'Wafers in it, count';

COMMENT ON COLUMN dw.dim_lot.original_wafer_count IS 'Wafers it was made with, count';

COMMENT ON COLUMN dw.dim_lot.carrier_id IS 'Carrier it is in (SEMI E87 CarrierID)';

COMMENT ON COLUMN dw.dim_lot.process_flow_id IS 'Process flow it follows (dim_process_step.process_flow_id)';

COMMENT ON COLUMN dw.dim_lot.start_ts IS 'Start in the fab, UTC';

COMMENT ON COLUMN dw.dim_lot.due_ts IS 'Promised completion, UTC';

COMMENT ON COLUMN dw.dim_lot.complete_ts IS 'Completion, UTC';

COMMENT ON COLUMN dw.dim_lot.rework_count IS 'Reworks so far, count';

COMMENT ON COLUMN dw.dim_lot.owner IS 'Who answers for it';

COMMENT ON COLUMN dw.dim_lot.customer_lot_id IS 'The customer''s name for it';

COMMENT ON COLUMN dw.dim_lot.effective_date IS 'Start of the version, inclusive, UTC; the first version starts at 1900-01-01';

COMMENT ON COLUMN dw.dim_lot.expiry_date IS 'End of the version, exclusive, UTC; 9999-12-31 while it is in force';

COMMENT ON COLUMN dw.dim_lot.is_current IS 'Whether this is the version in force now';

COMMENT ON COLUMN dw.dim_lot.is_inferred IS 'Whether a load made this member before anything better was known of it';

COMMENT ON COLUMN dw.dim_lot.row_hash IS 'MD5 over the tracked columns; tells whether a version differs';

COMMENT ON COLUMN dw.dim_lot.source_system IS 'System the row came from';

COMMENT ON COLUMN dw.dim_lot.source_id IS 'Identifier of the row in that system';

COMMENT ON COLUMN dw.dim_lot.batch_id IS 'Batch that wrote the row (etl_load_batch)';

COMMENT ON COLUMN dw.dim_lot.created_at IS 'When the row was written, UTC';

COMMENT ON COLUMN dw.dim_lot.updated_at IS 'When the row was last changed, UTC';

COMMENT ON COLUMN dw.dim_lot.created_by IS 'Database user who wrote the row';

COMMENT ON COLUMN dw.dim_lot.updated_by IS 'Database user who last changed the row';

CREATE UNIQUE INDEX uq_dim_lot_current ON dw.dim_lot (lot_key) WHERE is_current;

CREATE TABLE dw.dim_wafer (
    wafer_key BIGINT NOT NULL, 
    root_lot_id TEXT NOT NULL, 
    wafer_id TEXT NOT NULL, 
    source_wafer_id TEXT, 
    scribe_id TEXT, 
    wafer_number INTEGER, 
    slot INTEGER, 
    lot_key BIGINT DEFAULT -1 NOT NULL, 
    product_key BIGINT DEFAULT -1 NOT NULL, 
    substrate_material TEXT, 
    diameter_mm DOUBLE PRECISION, 
    thickness_um DOUBLE PRECISION, 
    conductivity_type TEXT, 
    dopant TEXT, 
    crystal_orientation TEXT, 
    resistivity_min_ohm_cm DOUBLE PRECISION, 
    resistivity_max_ohm_cm DOUBLE PRECISION, 
    notch_or_flat TEXT, 
    oxygen_ppma DOUBLE PRECISION, 
    ttv_um DOUBLE PRECISION, 
    bow_um DOUBLE PRECISION, 
    warp_um DOUBLE PRECISION, 
    epi_thickness_um DOUBLE PRECISION, 
    supplier TEXT, 
    ingot_id TEXT, 
    grade TEXT, 
    quality_status TEXT, 
    scrap_code TEXT, 
    scrap_step TEXT, 
    rework_count INTEGER, 
    is_placeholder BOOLEAN DEFAULT false NOT NULL, 
    effective_date TIMESTAMP WITH TIME ZONE NOT NULL, 
    expiry_date TIMESTAMP WITH TIME ZONE DEFAULT '9999-12-31 00:00:00+00' NOT NULL, 
    is_current BOOLEAN DEFAULT true NOT NULL, 
    is_inferred BOOLEAN DEFAULT false NOT NULL, 
    row_hash TEXT NOT NULL, 
    source_system TEXT, 
    source_id TEXT, 
    batch_id TEXT, 
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL, 
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL, 
    created_by TEXT DEFAULT "current_user"() NOT NULL, 
    updated_by TEXT DEFAULT "current_user"() NOT NULL, 
    CONSTRAINT pk_dim_wafer PRIMARY KEY (wafer_key, effective_date), 
    CONSTRAINT ck_dim_wafer_conductivity_type CHECK (conductivity_type IN ('N', 'P')), 
    CONSTRAINT ck_dim_wafer_grade CHECK (grade IN ('PRIME', 'TEST', 'MONITOR', 'RECLAIM')), 
    CONSTRAINT ck_dim_wafer_notch_or_flat CHECK (notch_or_flat IN ('NOTCH', 'FLAT')), 
    CONSTRAINT ck_dim_wafer_quality_status CHECK (quality_status IN ('GOOD', 'HOLD', 'REWORK', 'SCRAP', 'DOWNGRADE')), 
    CONSTRAINT ck_dim_wafer_substrate_material CHECK (substrate_material IN ('SI', 'SOI', 'SIC', 'GAN', 'GAAS', 'OTHER')), 
    CONSTRAINT ck_dim_wafer_diameter_mm CHECK (diameter_mm > 0), 
    CONSTRAINT ck_dim_wafer_interval CHECK (effective_date < expiry_date AND isfinite(effective_date) AND isfinite(expiry_date)), 
    CONSTRAINT ck_dim_wafer_epi_thickness_um CHECK (epi_thickness_um >= 0), 
    CONSTRAINT ck_dim_wafer_oxygen_ppma CHECK (oxygen_ppma >= 0), 
    CONSTRAINT ck_dim_wafer_resistivity_max_ohm_cm CHECK (resistivity_max_ohm_cm >= 0), 
    CONSTRAINT ck_dim_wafer_resistivity CHECK (resistivity_min_ohm_cm <= resistivity_max_ohm_cm), 
    CONSTRAINT ck_dim_wafer_resistivity_min_ohm_cm CHECK (resistivity_min_ohm_cm >= 0), 
    CONSTRAINT ck_dim_wafer_rework_count CHECK (rework_count >= 0), 
    CONSTRAINT ck_dim_wafer_slot CHECK (slot >= 0), 
    CONSTRAINT ck_dim_wafer_thickness_um CHECK (thickness_um > 0), 
    CONSTRAINT ck_dim_wafer_ttv_um CHECK (ttv_um >= 0), 
    CONSTRAINT ck_dim_wafer_wafer_number CHECK (wafer_number >= 0), 
    CONSTRAINT ck_dim_wafer_warp_um CHECK (warp_um >= 0)
)
 WITH (appendonly=false)
 DISTRIBUTED BY (wafer_key);

COMMENT ON TABLE dw.dim_wafer IS 'Wafer, named by its root lot and wafer id; a version per change (SCD type 2)';

COMMENT ON COLUMN dw.dim_wafer.wafer_key IS 'Durable key: hash of root_lot_id, wafer_id; the distribution key';

COMMENT ON COLUMN dw.dim_wafer.root_lot_id IS 'Lot the wafer was started in (dim_lot.root_lot_id)';

COMMENT ON COLUMN dw.dim_wafer.wafer_id IS 'Wafer in its root lot, normalised (STDF V4 WIR.WAFER_ID; KLARF WaferID; SEMI E90)';

COMMENT ON COLUMN dw.dim_wafer.source_wafer_id IS 'Wafer id as the source wrote it; overwritten in place';

COMMENT ON COLUMN dw.dim_wafer.scribe_id IS 'Id scribed on the wafer (SEMI M12, M13, T7; STDF V4 WRR.FABWF_ID)';

COMMENT ON COLUMN dw.dim_wafer.wafer_number IS 'Number of the wafer in its root lot';

COMMENT ON COLUMN dw.dim_wafer.slot IS 'Slot of the carrier (SEMI E87, E90; KLARF Slot)';

COMMENT ON COLUMN dw.dim_wafer.lot_key IS 'Lot the wafer is in now (dim_lot)';

COMMENT ON COLUMN dw.dim_wafer.product_key IS 'Product (dim_product)';

COMMENT ON COLUMN dw.dim_wafer.substrate_material IS 'Material';

COMMENT ON COLUMN dw.dim_wafer.diameter_mm IS 'Diameter, mm (SEMI M1; STDF V4 WCR.WAFR_SIZ)';

COMMENT ON COLUMN dw.dim_wafer.thickness_um IS 'Thickness at the centre, um (SEMI M1)';

COMMENT ON COLUMN dw.dim_wafer.conductivity_type IS 'Conductivity type (SEMI M1)';

COMMENT ON COLUMN dw.dim_wafer.dopant IS 'Dopant, e.g. B, P, As (SEMI M1)';

COMMENT ON COLUMN dw.dim_wafer.crystal_orientation IS 'Crystal orientation of the surface, e.g. 100 (SEMI M1)';

COMMENT ON COLUMN dw.dim_wafer.resistivity_min_ohm_cm IS 'Least resistivity, ohm cm (SEMI M1)';

COMMENT ON COLUMN dw.dim_wafer.resistivity_max_ohm_cm IS 'Greatest resistivity, ohm cm (SEMI M1)';

COMMENT ON COLUMN dw.dim_wafer.notch_or_flat IS 'Orientation mark (SEMI M1)';

COMMENT ON COLUMN dw.dim_wafer.oxygen_ppma IS 'Interstitial oxygen, ppma (SEMI M1, M44)';

COMMENT ON COLUMN dw.dim_wafer.ttv_um IS 'Total thickness variation, um (SEMI M1, M59)';

COMMENT ON COLUMN dw.dim_wafer.bow_um IS 'Bow, um, signed (SEMI M1, M59)';

COMMENT ON COLUMN dw.dim_wafer.warp_um IS 'Warp, um (SEMI M1, M59)';

COMMENT ON COLUMN dw.dim_wafer.epi_thickness_um IS 'Thickness of the epitaxial layer, um (SEMI M62)';

COMMENT ON COLUMN dw.dim_wafer.supplier IS 'Supplier of the substrate';

COMMENT ON COLUMN dw.dim_wafer.ingot_id IS 'Ingot the wafer was cut from';

COMMENT ON COLUMN dw.dim_wafer.grade IS 'Grade (SEMI M1, M8, M38)';

COMMENT ON COLUMN dw.dim_wafer.quality_status IS 'Disposition';

COMMENT ON COLUMN dw.dim_wafer.scrap_code IS 'Why it was scrapped';

COMMENT ON COLUMN dw.dim_wafer.scrap_step IS 'Step number at which it was scrapped';

COMMENT ON COLUMN dw.dim_wafer.rework_count IS 'Reworks so far, count';

COMMENT ON COLUMN dw.dim_wafer.is_placeholder IS 'Whether it stands for the units of a lot that have no wafer (final test)';

COMMENT ON COLUMN dw.dim_wafer.effective_date IS 'Start of the version, inclusive, UTC; the first version starts at 1900-01-01';

COMMENT ON COLUMN dw.dim_wafer.expiry_date IS 'End of the version, exclusive, UTC; 9999-12-31 while it is in force';

COMMENT ON COLUMN dw.dim_wafer.is_current IS 'Whether this is the version in force now';

COMMENT ON COLUMN dw.dim_wafer.is_inferred IS 'Whether a load made this member before anything better was known of it';

COMMENT ON COLUMN dw.dim_wafer.row_hash IS 'MD5 over the tracked columns; tells whether a version differs';

COMMENT ON COLUMN dw.dim_wafer.source_system IS 'System the row came from';

COMMENT ON COLUMN dw.dim_wafer.source_id IS 'Identifier of the row in that system';

COMMENT ON COLUMN dw.dim_wafer.batch_id IS 'Batch that wrote the row (etl_load_batch)';

COMMENT ON COLUMN dw.dim_wafer.created_at IS 'When the row was written, UTC';

COMMENT ON COLUMN dw.dim_wafer.updated_at IS 'When the row was last changed, UTC';

COMMENT ON COLUMN dw.dim_wafer.created_by IS 'Database user who wrote the row';

COMMENT ON COLUMN dw.dim_wafer.updated_by IS 'Database user who last changed the row';

CREATE UNIQUE INDEX uq_dim_wafer_current ON dw.dim_wafer (wafer_key) WHERE is_current;

CREATE TABLE dw.bridge_lot_genealogy (
    parent_lot_key BIGINT NOT NULL, 
    child_lot_key BIGINT NOT NULL, 
    event_type TEXT NOT NULL, 
    event_ts TIMESTAMP WITH TIME ZONE NOT NULL, 
    wafer_count INTEGER, 
    source_system TEXT, 
    source_id TEXT, 
    batch_id TEXT, 
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL, 
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL, 
    created_by TEXT DEFAULT "current_user"() NOT NULL, 
    updated_by TEXT DEFAULT "current_user"() NOT NULL, 
    CONSTRAINT pk_bridge_lot_genealogy PRIMARY KEY (parent_lot_key, child_lot_key, event_type, event_ts), 
    CONSTRAINT ck_bridge_lot_genealogy_event_type CHECK (event_type IN ('SPLIT', 'MERGE', 'REWORK', 'RENAME')), 
    CONSTRAINT ck_bridge_lot_genealogy_own_parent CHECK (parent_lot_key <> child_lot_key), 
    CONSTRAINT ck_bridge_lot_genealogy_wafer_count CHECK (wafer_count >= 0)
)
 WITH (appendonly=false)
 DISTRIBUTED REPLICATED;

COMMENT ON TABLE dw.bridge_lot_genealogy IS 'Parent and child lot of a split, merge, rework or renaming: a row per pair and event';

COMMENT ON COLUMN dw.bridge_lot_genealogy.parent_lot_key IS 'Lot that wafers left (dim_lot)';

COMMENT ON COLUMN dw.bridge_lot_genealogy.child_lot_key IS 'Lot that they went to (dim_lot)';

COMMENT ON COLUMN dw.bridge_lot_genealogy.event_type IS 'What happened';

COMMENT ON COLUMN dw.bridge_lot_genealogy.event_ts IS 'When it happened, UTC';

COMMENT ON COLUMN dw.bridge_lot_genealogy.wafer_count IS 'Wafers that went, count';

COMMENT ON COLUMN dw.bridge_lot_genealogy.source_system IS 'System the row came from';

COMMENT ON COLUMN dw.bridge_lot_genealogy.source_id IS 'Identifier of the row in that system';

COMMENT ON COLUMN dw.bridge_lot_genealogy.batch_id IS 'Batch that wrote the row (etl_load_batch)';

COMMENT ON COLUMN dw.bridge_lot_genealogy.created_at IS 'When the row was written, UTC';

COMMENT ON COLUMN dw.bridge_lot_genealogy.updated_at IS 'When the row was last changed, UTC';

COMMENT ON COLUMN dw.bridge_lot_genealogy.created_by IS 'Database user who wrote the row';

COMMENT ON COLUMN dw.bridge_lot_genealogy.updated_by IS 'Database user who last changed the row';

CREATE TABLE dw.bridge_wafer_lot (
    wafer_key BIGINT NOT NULL, 
    from_ts TIMESTAMP WITH TIME ZONE NOT NULL, 
    to_ts TIMESTAMP WITH TIME ZONE DEFAULT '9999-12-31 00:00:00+00' NOT NULL, 
    lot_key BIGINT NOT NULL, 
    slot INTEGER, 
    source_system TEXT, 
    source_id TEXT, 
    batch_id TEXT, 
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL, 
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL, 
    created_by TEXT DEFAULT "current_user"() NOT NULL, 
    updated_by TEXT DEFAULT "current_user"() NOT NULL, 
    CONSTRAINT pk_bridge_wafer_lot PRIMARY KEY (wafer_key, from_ts), 
    CONSTRAINT ck_bridge_wafer_lot_interval CHECK (from_ts < to_ts AND isfinite(from_ts) AND isfinite(to_ts)), 
    CONSTRAINT ck_bridge_wafer_lot_slot CHECK (slot >= 0)
)
 WITH (appendonly=false)
 DISTRIBUTED BY (wafer_key);

COMMENT ON TABLE dw.bridge_wafer_lot IS 'Stay of a wafer in a lot, half-open in time: a wafer is in one lot at a time';

COMMENT ON COLUMN dw.bridge_wafer_lot.wafer_key IS 'Wafer (dim_wafer); the distribution key';

COMMENT ON COLUMN dw.bridge_wafer_lot.from_ts IS 'When the wafer came into the lot, inclusive, UTC';

COMMENT ON COLUMN dw.bridge_wafer_lot.to_ts IS 'When it left, exclusive, UTC; 9999-12-31 while it is there';

COMMENT ON COLUMN dw.bridge_wafer_lot.lot_key IS 'Lot (dim_lot)';

COMMENT ON COLUMN dw.bridge_wafer_lot.slot IS 'Slot of the carrier, counted from 1 at the bottom (SEMI E87, E90)';

COMMENT ON COLUMN dw.bridge_wafer_lot.source_system IS 'System the row came from';

COMMENT ON COLUMN dw.bridge_wafer_lot.source_id IS 'Identifier of the row in that system';

COMMENT ON COLUMN dw.bridge_wafer_lot.batch_id IS 'Batch that wrote the row (etl_load_batch)';

COMMENT ON COLUMN dw.bridge_wafer_lot.created_at IS 'When the row was written, UTC';

COMMENT ON COLUMN dw.bridge_wafer_lot.updated_at IS 'When the row was last changed, UTC';

COMMENT ON COLUMN dw.bridge_wafer_lot.created_by IS 'Database user who wrote the row';

COMMENT ON COLUMN dw.bridge_wafer_lot.updated_by IS 'Database user who last changed the row';

CREATE TABLE dw.fact_process_measurements (
    event_ts TIMESTAMP WITH TIME ZONE NOT NULL, 
    time_key INTEGER NOT NULL, 
    wafer_key BIGINT NOT NULL, 
    lot_key BIGINT NOT NULL, 
    product_key BIGINT NOT NULL, 
    process_step_key BIGINT NOT NULL, 
    recipe_key BIGINT NOT NULL, 
    equipment_key BIGINT NOT NULL, 
    chamber_key BIGINT NOT NULL, 
    process_job_id TEXT, 
    carrier_id TEXT, 
    slot INTEGER, 
    operator_id TEXT, 
    measurement_type TEXT, 
    visit_no INTEGER DEFAULT 1 NOT NULL, 
    is_rework BOOLEAN, 
    site_no INTEGER DEFAULT 0 NOT NULL, 
    site_x_mm DOUBLE PRECISION, 
    site_y_mm DOUBLE PRECISION, 
    start_ts TIMESTAMP WITH TIME ZONE, 
    end_ts TIMESTAMP WITH TIME ZONE, 
    process_time_s DOUBLE PRECISION, 
    queue_time_min DOUBLE PRECISION, 
    temperature_c DOUBLE PRECISION, 
    pressure_torr DOUBLE PRECISION, 
    rf_power_w DOUBLE PRECISION, 
    rf_bias_power_w DOUBLE PRECISION, 
    reflected_power_w DOUBLE PRECISION, 
    gas_flow_sccm DOUBLE PRECISION, 
    gas_flows JSONB, 
    chuck_temp_c DOUBLE PRECISION, 
    endpoint_time_s DOUBLE PRECISION, 
    film_thickness_nm DOUBLE PRECISION, 
    cd_nm DOUBLE PRECISION, 
    overlay_x_nm DOUBLE PRECISION, 
    overlay_y_nm DOUBLE PRECISION, 
    etch_rate_nm_min DOUBLE PRECISION, 
    deposition_rate_nm_min DOUBLE PRECISION, 
    removal_rate_nm_min DOUBLE PRECISION, 
    refractive_index DOUBLE PRECISION, 
    sheet_resistance_ohm_sq DOUBLE PRECISION, 
    uniformity_pct DOUBLE PRECISION, 
    parameters JSONB, 
    sample_n INTEGER, 
    sample_mean DOUBLE PRECISION, 
    sample_sigma DOUBLE PRECISION, 
    cp DOUBLE PRECISION, 
    cpk DOUBLE PRECISION, 
    quality_score DOUBLE PRECISION, 
    is_ooc BOOLEAN, 
    is_oos BOOLEAN, 
    spc_rule TEXT, 
    source_system TEXT, 
    source_file TEXT, 
    source_record_no BIGINT NOT NULL, 
    batch_id TEXT NOT NULL, 
    loaded_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL, 
    CONSTRAINT ck_fact_process_measurements_gas_flows CHECK (jsonb_typeof(gas_flows) = 'object'), 
    CONSTRAINT ck_fact_process_measurements_parameters CHECK (jsonb_typeof(parameters) = 'object'), 
    CONSTRAINT ck_fact_process_measurements_measurement_type CHECK (measurement_type IN ('TRACK', 'FDC', 'METROLOGY')), 
    CONSTRAINT ck_fact_process_measurements_cd_nm CHECK (cd_nm >= 0), 
    CONSTRAINT ck_fact_process_measurements_chuck_temp_c CHECK (chuck_temp_c > -273.15), 
    CONSTRAINT ck_fact_process_measurements_cp CHECK (cp >= 0), 
    CONSTRAINT ck_fact_process_measurements_cpk_cp CHECK (cpk <= cp + 0.000001), 
    CONSTRAINT ck_fact_process_measurements_endpoint_time_s CHECK (endpoint_time_s >= 0), 
    CONSTRAINT ck_fact_process_measurements_film_thickness_nm CHECK (film_thickness_nm >= 0), 
    CONSTRAINT ck_fact_process_measurements_gas_flow_sccm CHECK (gas_flow_sccm >= 0), 
    CONSTRAINT ck_fact_process_measurements_pressure_torr CHECK (pressure_torr >= 0), 
    CONSTRAINT ck_fact_process_measurements_process_time_s CHECK (process_time_s >= 0), 
    CONSTRAINT ck_fact_process_measurements_quality_score CHECK (quality_score >= 0 AND quality_score <= 100), 
    CONSTRAINT ck_fact_process_measurements_queue_time_min CHECK (queue_time_min >= 0), 
    CONSTRAINT ck_fact_process_measurements_reflected_power_w CHECK (reflected_power_w >= 0), 
    CONSTRAINT ck_fact_process_measurements_rf_bias_power_w CHECK (rf_bias_power_w >= 0), 
    CONSTRAINT ck_fact_process_measurements_rf_power_w CHECK (rf_power_w >= 0), 
    CONSTRAINT ck_fact_process_measurements_sample_n CHECK (sample_n >= 0), 
    CONSTRAINT ck_fact_process_measurements_sample_sigma CHECK (sample_sigma >= 0), 
    CONSTRAINT ck_fact_process_measurements_sheet_resistance_ohm_sq CHECK (sheet_resistance_ohm_sq >= 0), 
    CONSTRAINT ck_fact_process_measurements_site_no CHECK (site_no >= 0), 
    CONSTRAINT ck_fact_process_measurements_slot CHECK (slot >= 0), 
    CONSTRAINT ck_fact_process_measurements_start_end CHECK (start_ts <= end_ts), 
    CONSTRAINT ck_fact_process_measurements_temperature_c CHECK (temperature_c > -273.15), 
    CONSTRAINT ck_fact_process_measurements_uniformity_pct CHECK (uniformity_pct >= 0), 
    CONSTRAINT ck_fact_process_measurements_visit_no CHECK (visit_no >= 0)
)
 WITH (appendonly=true, orientation=column, compresstype=zstd, compresslevel=1, blocksize=32768, checksum=true)
 DISTRIBUTED BY (wafer_key)
 PARTITION BY RANGE (event_ts)
 (PARTITION m200001 START ('2000-01-01 00:00:00+00') INCLUSIVE END ('2000-02-01 00:00:00+00') EXCLUSIVE);

COMMENT ON TABLE dw.fact_process_measurements IS 'Measurement of a wafer at a visit of a step, by chamber and site; every visit leaves a row, measured or not';

COMMENT ON COLUMN dw.fact_process_measurements.event_ts IS 'When it happened, UTC; the partition key (monthly, bounds in UTC)';

COMMENT ON COLUMN dw.fact_process_measurements.time_key IS 'Hour of event_ts in UTC, YYYYMMDDHH (dim_time)';

COMMENT ON COLUMN dw.fact_process_measurements.wafer_key IS 'Wafer (dim_wafer); the distribution key';

COMMENT ON COLUMN dw.fact_process_measurements.lot_key IS 'Lot the wafer was in at the event (dim_lot)';

COMMENT ON COLUMN dw.fact_process_measurements.product_key IS 'Product (dim_product)';

COMMENT ON COLUMN dw.fact_process_measurements.process_step_key IS 'Step of the process flow, test stages included (dim_process_step)';

COMMENT ON COLUMN dw.fact_process_measurements.recipe_key IS 'Recipe (dim_recipe)';

COMMENT ON COLUMN dw.fact_process_measurements.equipment_key IS 'Tool (dim_equipment)';

COMMENT ON COLUMN dw.fact_process_measurements.chamber_key IS 'Chamber of the tool (dim_equipment); -2 where the event was not in one';

COMMENT ON COLUMN dw.fact_process_measurements.process_job_id IS 'Process job (SEMI E40 PRJobID)';

COMMENT ON COLUMN dw.fact_process_measurements.carrier_id IS 'Carrier (SEMI E87 CarrierID)';

COMMENT ON COLUMN dw.fact_process_measurements.slot IS 'Slot of the carrier, counted from 1 at the bottom (SEMI E87, E90)';

COMMENT ON COLUMN dw.fact_process_measurements.operator_id IS 'Operator (STDF V4 MIR.OPER_NAM)';

COMMENT ON COLUMN dw.fact_process_measurements.measurement_type IS 'Where the values came from: trace data, fault detection (SEMI E133) or metrology';

COMMENT ON COLUMN dw.fact_process_measurements.visit_no IS 'Visit of the wafer to the step, from 1; a rework comes back';

COMMENT ON COLUMN dw.fact_process_measurements.is_rework IS 'Whether the visit was a rework';

COMMENT ON COLUMN dw.fact_process_measurements.site_no IS 'Measured site; 0 where the tool reports the wafer as a whole';

COMMENT ON COLUMN dw.fact_process_measurements.site_x_mm IS 'Site in x from the wafer''s centre, mm (SEMI M20)';

COMMENT ON COLUMN dw.fact_process_measurements.site_y_mm IS 'Site in y from the wafer''s centre, mm (SEMI M20)';

COMMENT ON COLUMN dw.fact_process_measurements.start_ts IS 'Start of the processing, UTC (SEMI E90 substrate processing state)';

COMMENT ON COLUMN dw.fact_process_measurements.end_ts IS 'End of the processing, UTC (SEMI E90 substrate processing state)';

COMMENT ON COLUMN dw.fact_process_measurements.process_time_s IS 'Time processed, s';

COMMENT ON COLUMN dw.fact_process_measurements.queue_time_min IS 'Time waited since the end of the queue''s starting step, min';

COMMENT ON COLUMN dw.fact_process_measurements.temperature_c IS 'Temperature, degC';

COMMENT ON COLUMN dw.fact_process_measurements.pressure_torr IS 'Chamber pressure, Torr';

COMMENT ON COLUMN dw.fact_process_measurements.rf_power_w IS 'RF source power, forward, W';

COMMENT ON COLUMN dw.fact_process_measurements.rf_bias_power_w IS 'RF bias power, forward, W';

COMMENT ON COLUMN dw.fact_process_measurements.reflected_power_w IS 'RF power reflected, W';

COMMENT ON COLUMN dw.fact_process_measurements.gas_flow_sccm IS 'Gas flow, all gases together, sccm';

COMMENT ON COLUMN dw.fact_process_measurements.gas_flows IS 'Gas flow by gas: {gas: sccm}';

COMMENT ON COLUMN dw.fact_process_measurements.chuck_temp_c IS 'Chuck temperature, degC';

COMMENT ON COLUMN dw.fact_process_measurements.endpoint_time_s IS 'Time to the endpoint, s';

COMMENT ON COLUMN dw.fact_process_measurements.film_thickness_nm IS 'Film thickness, nm';

COMMENT ON COLUMN dw.fact_process_measurements.cd_nm IS 'Critical dimension, nm (SEMI P35)';

COMMENT ON COLUMN dw.fact_process_measurements.overlay_x_nm IS 'Overlay error in x, nm, signed (SEMI P18)';

COMMENT ON COLUMN dw.fact_process_measurements.overlay_y_nm IS 'Overlay error in y, nm, signed (SEMI P18)';

COMMENT ON COLUMN dw.fact_process_measurements.etch_rate_nm_min IS 'Etch rate, nm/min';

COMMENT ON COLUMN dw.fact_process_measurements.deposition_rate_nm_min IS 'Deposition rate, nm/min';

COMMENT ON COLUMN dw.fact_process_measurements.removal_rate_nm_min IS 'Removal rate (CMP), nm/min';

COMMENT ON COLUMN dw.fact_process_measurements.refractive_index IS 'Refractive index at the tool''s wavelength, no unit';

COMMENT ON COLUMN dw.fact_process_measurements.sheet_resistance_ohm_sq IS 'Sheet resistance, ohm per square (SEMI MF84, MF374)';

COMMENT ON COLUMN dw.fact_process_measurements.uniformity_pct IS 'Non-uniformity within the wafer, percent';

COMMENT ON COLUMN dw.fact_process_measurements.parameters IS 'Everything measured that has no column: {name: number}';

COMMENT ON COLUMN dw.fact_process_measurements.sample_n IS 'Readings the statistics stand on, count';

COMMENT ON COLUMN dw.fact_process_measurements.sample_mean IS 'Mean of the readings, in the parameter''s unit';

COMMENT ON COLUMN dw.fact_process_measurements.sample_sigma IS 'Standard deviation of the readings, in the parameter''s unit';

COMMENT ON COLUMN dw.fact_process_measurements.cp IS 'Cp as the source reported it; v_process_capability computes it';

COMMENT ON COLUMN dw.fact_process_measurements.cpk IS 'Cpk as the source reported it, at most cp; v_process_capability computes it';

COMMENT ON COLUMN dw.fact_process_measurements.quality_score IS 'Score of the visit by the source, 0 to 100';

COMMENT ON COLUMN dw.fact_process_measurements.is_ooc IS 'Whether it was out of control, by the source';

COMMENT ON COLUMN dw.fact_process_measurements.is_oos IS 'Whether it was out of specification, by the source';

COMMENT ON COLUMN dw.fact_process_measurements.spc_rule IS 'SPC rule that was broken, e.g. WE1 (Western Electric)';

COMMENT ON COLUMN dw.fact_process_measurements.source_system IS 'System the row came from';

COMMENT ON COLUMN dw.fact_process_measurements.source_file IS 'File the row came from, without its folder';

COMMENT ON COLUMN dw.fact_process_measurements.source_record_no IS 'Number of the record in its source, unique in the batch';

COMMENT ON COLUMN dw.fact_process_measurements.batch_id IS 'Batch that loaded the row (etl_load_batch)';

COMMENT ON COLUMN dw.fact_process_measurements.loaded_at IS 'When the row was loaded, UTC';

CREATE INDEX ix_fact_process_measurements_wafer_key ON dw.fact_process_measurements (wafer_key);

CREATE TABLE dw.fact_test_results (
    event_ts TIMESTAMP WITH TIME ZONE NOT NULL, 
    time_key INTEGER NOT NULL, 
    wafer_key BIGINT NOT NULL, 
    lot_key BIGINT NOT NULL, 
    product_key BIGINT NOT NULL, 
    process_step_key BIGINT NOT NULL, 
    recipe_key BIGINT NOT NULL, 
    equipment_key BIGINT NOT NULL, 
    chamber_key BIGINT NOT NULL, 
    tester_key BIGINT NOT NULL, 
    prober_key BIGINT NOT NULL, 
    process_job_id TEXT, 
    carrier_id TEXT, 
    slot INTEGER, 
    operator_id TEXT, 
    test_type TEXT, 
    test_stage TEXT, 
    test_program TEXT, 
    program_revision TEXT, 
    probe_card_id TEXT, 
    load_board_id TEXT, 
    temperature_c DOUBLE PRECISION, 
    insertion_no INTEGER, 
    retest_no INTEGER, 
    is_first_pass BOOLEAN, 
    is_final_result BOOLEAN, 
    head_no INTEGER, 
    site_no INTEGER, 
    die_x INTEGER, 
    die_y INTEGER, 
    part_id TEXT, 
    start_ts TIMESTAMP WITH TIME ZONE, 
    test_time_ms DOUBLE PRECISION, 
    tests_executed INTEGER, 
    hard_bin INTEGER, 
    soft_bin INTEGER, 
    bin_name TEXT, 
    is_pass BOOLEAN, 
    fail_kind TEXT, 
    vth_mv DOUBLE PRECISION, 
    idsat_ua_um DOUBLE PRECISION, 
    ileak_pa_um DOUBLE PRECISION, 
    tox_nm DOUBLE PRECISION, 
    rs_ohm_sq DOUBLE PRECISION, 
    rc_ohm DOUBLE PRECISION, 
    gm_ms_mm DOUBLE PRECISION, 
    bvdss_v DOUBLE PRECISION, 
    idd_ma DOUBLE PRECISION, 
    fmax_mhz DOUBLE PRECISION, 
    parameters JSONB, 
    parameter_counts JSONB, 
    source_system TEXT, 
    source_file TEXT, 
    source_record_no BIGINT NOT NULL, 
    batch_id TEXT NOT NULL, 
    loaded_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL, 
    CONSTRAINT ck_fact_test_results_fail_kind CHECK (fail_kind IN ('PARAMETRIC', 'FUNCTIONAL')), 
    CONSTRAINT ck_fact_test_results_parameter_counts CHECK (jsonb_typeof(parameter_counts) = 'object'), 
    CONSTRAINT ck_fact_test_results_parameters CHECK (jsonb_typeof(parameters) = 'object'), 
    CONSTRAINT ck_fact_test_results_test_type CHECK (test_type IN ('WAT', 'CP', 'FT')), 
    CONSTRAINT ck_fact_test_results_fmax_mhz CHECK (fmax_mhz >= 0), 
    CONSTRAINT ck_fact_test_results_hard_bin CHECK (hard_bin >= 0), 
    CONSTRAINT ck_fact_test_results_head_no CHECK (head_no >= 0), 
    CONSTRAINT ck_fact_test_results_insertion_no CHECK (insertion_no >= 0), 
    CONSTRAINT ck_fact_test_results_retest_no CHECK (retest_no >= 0), 
    CONSTRAINT ck_fact_test_results_site_no CHECK (site_no >= 0), 
    CONSTRAINT ck_fact_test_results_slot CHECK (slot >= 0), 
    CONSTRAINT ck_fact_test_results_soft_bin CHECK (soft_bin >= 0), 
    CONSTRAINT ck_fact_test_results_temperature_c CHECK (temperature_c > -273.15), 
    CONSTRAINT ck_fact_test_results_test_time_ms CHECK (test_time_ms >= 0), 
    CONSTRAINT ck_fact_test_results_tests_executed CHECK (tests_executed >= 0), 
    CONSTRAINT ck_fact_test_results_tox_nm CHECK (tox_nm >= 0)
)
 WITH (appendonly=true, orientation=column, compresstype=zstd, compresslevel=1, blocksize=32768, checksum=true)
 DISTRIBUTED BY (wafer_key)
 PARTITION BY RANGE (event_ts)
 (PARTITION m200001 START ('2000-01-01 00:00:00+00') INCLUSIVE END ('2000-02-01 00:00:00+00') EXCLUSIVE);

COMMENT ON TABLE dw.fact_test_results IS 'Insertion of a tested unit: a WAT site, a die at wafer probe or a part at final test; retests have rows too';

COMMENT ON COLUMN dw.fact_test_results.event_ts IS 'When it happened, UTC; the partition key (monthly, bounds in UTC)';

COMMENT ON COLUMN dw.fact_test_results.time_key IS 'Hour of event_ts in UTC, YYYYMMDDHH (dim_time)';

COMMENT ON COLUMN dw.fact_test_results.wafer_key IS 'Wafer (dim_wafer); the distribution key';

COMMENT ON COLUMN dw.fact_test_results.lot_key IS 'Lot the wafer was in at the event (dim_lot)';

COMMENT ON COLUMN dw.fact_test_results.product_key IS 'Product (dim_product)';

COMMENT ON COLUMN dw.fact_test_results.process_step_key IS 'Step of the process flow, test stages included (dim_process_step)';

COMMENT ON COLUMN dw.fact_test_results.recipe_key IS 'Recipe (dim_recipe); -2 where the test has none but its program';

COMMENT ON COLUMN dw.fact_test_results.equipment_key IS 'Tool (dim_equipment)';

COMMENT ON COLUMN dw.fact_test_results.chamber_key IS 'Chamber of the tool (dim_equipment); -2 where the event was not in one';

COMMENT ON COLUMN dw.fact_test_results.tester_key IS 'Tester (dim_equipment; STDF V4 MIR.NODE_NAM)';

COMMENT ON COLUMN dw.fact_test_results.prober_key IS 'Prober or handler (dim_equipment; STDF V4 SDR.HAND_ID); -2 where there was none';

COMMENT ON COLUMN dw.fact_test_results.process_job_id IS 'Process job (SEMI E40 PRJobID)';

COMMENT ON COLUMN dw.fact_test_results.carrier_id IS 'Carrier (SEMI E87 CarrierID)';

COMMENT ON COLUMN dw.fact_test_results.slot IS 'Slot of the carrier, counted from 1 at the bottom (SEMI E87, E90)';

COMMENT ON COLUMN dw.fact_test_results.operator_id IS 'Operator (STDF V4 MIR.OPER_NAM)';

COMMENT ON COLUMN dw.fact_test_results.test_type IS 'Wafer acceptance (WAT), wafer probe (CP) or final test (FT)';

COMMENT ON COLUMN dw.fact_test_results.test_stage IS 'Stage, e.g. CP1 (STDF V4 MIR.TEST_COD)';

COMMENT ON COLUMN dw.fact_test_results.test_program IS 'Test program (STDF V4 MIR.JOB_NAM)';

COMMENT ON COLUMN dw.fact_test_results.program_revision IS 'Revision of the test program (STDF V4 MIR.JOB_REV)';

COMMENT ON COLUMN dw.fact_test_results.probe_card_id IS 'Probe card (STDF V4 SDR.CARD_ID)';

COMMENT ON COLUMN dw.fact_test_results.load_board_id IS 'Load board (STDF V4 SDR.LOAD_ID)';

COMMENT ON COLUMN dw.fact_test_results.temperature_c IS 'Test temperature, degC (STDF V4 MIR.TST_TEMP)';

COMMENT ON COLUMN dw.fact_test_results.insertion_no IS 'Insertion of the unit in its file, from 1';

COMMENT ON COLUMN dw.fact_test_results.retest_no IS 'Retests before it, 0 for the first pass (STDF V4 MIR.RTST_COD, PRR.PART_FLG)';

COMMENT ON COLUMN dw.fact_test_results.is_first_pass IS 'Whether it is the unit''s first insertion in its file';

COMMENT ON COLUMN dw.fact_test_results.is_final_result IS 'Whether it is the unit''s last insertion in its file';

COMMENT ON COLUMN dw.fact_test_results.head_no IS 'Test head (STDF V4 PRR.HEAD_NUM)';

COMMENT ON COLUMN dw.fact_test_results.site_no IS 'Test site (STDF V4 PRR.SITE_NUM)';

COMMENT ON COLUMN dw.fact_test_results.die_x IS 'Die column (STDF V4 PRR.X_COORD; -32768 is NULL)';

COMMENT ON COLUMN dw.fact_test_results.die_y IS 'Die row (STDF V4 PRR.Y_COORD; -32768 is NULL)';

COMMENT ON COLUMN dw.fact_test_results.part_id IS 'Part (STDF V4 PRR.PART_ID)';

COMMENT ON COLUMN dw.fact_test_results.start_ts IS 'Start of the test, UTC (STDF V4 MIR.START_T, WIR.START_T)';

COMMENT ON COLUMN dw.fact_test_results.test_time_ms IS 'Test time, ms (STDF V4 PRR.TEST_T)';

COMMENT ON COLUMN dw.fact_test_results.tests_executed IS 'Tests executed, count (STDF V4 PRR.NUM_TEST)';

COMMENT ON COLUMN dw.fact_test_results.hard_bin IS 'Hardware bin (STDF V4 PRR.HARD_BIN; 65535 is NULL)';

COMMENT ON COLUMN dw.fact_test_results.soft_bin IS 'Software bin (STDF V4 PRR.SOFT_BIN; 65535 is NULL)';

COMMENT ON COLUMN dw.fact_test_results.bin_name IS 'Name of the bin (STDF V4 SBR.SBIN_NAM, HBR.HBIN_NAM)';

COMMENT ON COLUMN dw.fact_test_results.is_pass IS 'Whether the unit passed; NULL where no verdict (STDF V4 PRR.PART_FLG bits 3, 4)';

COMMENT ON COLUMN dw.fact_test_results.fail_kind IS 'Whether it failed a functional test (STDF V4 FTR) or only parametric ones (PTR, MPR); NULL where it passed';

COMMENT ON COLUMN dw.fact_test_results.vth_mv IS 'Threshold voltage, mV, signed';

COMMENT ON COLUMN dw.fact_test_results.idsat_ua_um IS 'Saturation current by gate width, uA/um, signed';

COMMENT ON COLUMN dw.fact_test_results.ileak_pa_um IS 'Leakage current by gate width, pA/um, signed';

COMMENT ON COLUMN dw.fact_test_results.tox_nm IS 'Electrical oxide thickness, nm';

COMMENT ON COLUMN dw.fact_test_results.rs_ohm_sq IS 'Sheet resistance, ohm per square';

COMMENT ON COLUMN dw.fact_test_results.rc_ohm IS 'Contact resistance, ohm';

COMMENT ON COLUMN dw.fact_test_results.gm_ms_mm IS 'Transconductance by gate width, mS/mm';

COMMENT ON COLUMN dw.fact_test_results.bvdss_v IS 'Drain-source breakdown voltage, V, signed';

COMMENT ON COLUMN dw.fact_test_results.idd_ma IS 'Supply current, mA';

COMMENT ON COLUMN dw.fact_test_results.fmax_mhz IS 'Greatest clock frequency passed, MHz';

COMMENT ON COLUMN dw.fact_test_results.parameters IS 'Parametric results: {test number: value}, the last value where a number repeats; its unit and limits stand in dim_process_step.control_limits (STDF V4 PTR.RESULT, MPR.RTN_RSLT)';

COMMENT ON COLUMN dw.fact_test_results.parameter_counts IS 'How often a test number came in the insertion, where more than once: {test number: count}';

COMMENT ON COLUMN dw.fact_test_results.source_system IS 'System the row came from';

COMMENT ON COLUMN dw.fact_test_results.source_file IS 'File the row came from, without its folder';

COMMENT ON COLUMN dw.fact_test_results.source_record_no IS 'Number of the record in its source, unique in the batch';

COMMENT ON COLUMN dw.fact_test_results.batch_id IS 'Batch that loaded the row (etl_load_batch)';

COMMENT ON COLUMN dw.fact_test_results.loaded_at IS 'When the row was loaded, UTC';

CREATE INDEX ix_fact_test_results_wafer_key ON dw.fact_test_results (wafer_key);

CREATE TABLE dw.fact_defect_inspection (
    event_ts TIMESTAMP WITH TIME ZONE NOT NULL, 
    time_key INTEGER NOT NULL, 
    wafer_key BIGINT NOT NULL, 
    lot_key BIGINT NOT NULL, 
    product_key BIGINT NOT NULL, 
    process_step_key BIGINT NOT NULL, 
    recipe_key BIGINT NOT NULL, 
    equipment_key BIGINT NOT NULL, 
    chamber_key BIGINT NOT NULL, 
    inspection_equipment_key BIGINT NOT NULL, 
    process_job_id TEXT, 
    carrier_id TEXT, 
    slot INTEGER, 
    operator_id TEXT, 
    inspection_id TEXT NOT NULL, 
    layer_name TEXT, 
    test_no INTEGER, 
    inspected_area_cm2 DOUBLE PRECISION, 
    inspected_die INTEGER, 
    sample_plan_die INTEGER, 
    orientation_mark TEXT, 
    is_defect BOOLEAN NOT NULL, 
    defect_id BIGINT, 
    die_x INTEGER, 
    die_y INTEGER, 
    x_rel_um DOUBLE PRECISION, 
    y_rel_um DOUBLE PRECISION, 
    wafer_x_mm DOUBLE PRECISION, 
    wafer_y_mm DOUBLE PRECISION, 
    size_x_um DOUBLE PRECISION, 
    size_y_um DOUBLE PRECISION, 
    size_um DOUBLE PRECISION, 
    area_um2 DOUBLE PRECISION, 
    class_number INTEGER, 
    class_name TEXT, 
    rough_bin INTEGER, 
    fine_bin INTEGER, 
    cluster_no INTEGER, 
    is_reviewed BOOLEAN, 
    image_count INTEGER, 
    image_refs JSONB, 
    adc_class TEXT, 
    is_adder BOOLEAN, 
    is_killer BOOLEAN, 
    kill_probability DOUBLE PRECISION, 
    attributes JSONB, 
    source_system TEXT, 
    source_file TEXT, 
    source_record_no BIGINT NOT NULL, 
    batch_id TEXT NOT NULL, 
    loaded_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL, 
    CONSTRAINT ck_fact_defect_inspection_attributes CHECK (jsonb_typeof(attributes) = 'object'), 
    CONSTRAINT ck_fact_defect_inspection_image_refs CHECK (jsonb_typeof(image_refs) = 'array'), 
    CONSTRAINT ck_fact_defect_inspection_area_um2 CHECK (area_um2 >= 0), 
    CONSTRAINT ck_fact_defect_inspection_image_count CHECK (image_count >= 0), 
    CONSTRAINT ck_fact_defect_inspection_inspected_area_cm2 CHECK (inspected_area_cm2 > 0), 
    CONSTRAINT ck_fact_defect_inspection_inspected_die CHECK (inspected_die >= 0), 
    CONSTRAINT ck_fact_defect_inspection_clean CHECK (is_defect OR defect_id IS NULL), 
    CONSTRAINT ck_fact_defect_inspection_kill_probability CHECK (kill_probability >= 0 AND kill_probability <= 1), 
    CONSTRAINT ck_fact_defect_inspection_sample_plan_die CHECK (sample_plan_die >= 0), 
    CONSTRAINT ck_fact_defect_inspection_size_um CHECK (size_um >= 0), 
    CONSTRAINT ck_fact_defect_inspection_size_x_um CHECK (size_x_um >= 0), 
    CONSTRAINT ck_fact_defect_inspection_size_y_um CHECK (size_y_um >= 0), 
    CONSTRAINT ck_fact_defect_inspection_slot CHECK (slot >= 0)
)
 WITH (appendonly=true, orientation=column, compresstype=zstd, compresslevel=1, blocksize=32768, checksum=true)
 DISTRIBUTED BY (wafer_key)
 PARTITION BY RANGE (event_ts)
 (PARTITION m200001 START ('2000-01-01 00:00:00+00') INCLUSIVE END ('2000-02-01 00:00:00+00') EXCLUSIVE);

COMMENT ON TABLE dw.fact_defect_inspection IS 'Defect of an inspection; a clean inspection leaves one row that is no defect, or densities would be biased';

COMMENT ON COLUMN dw.fact_defect_inspection.event_ts IS 'When it happened, UTC; the partition key (monthly, bounds in UTC)';

COMMENT ON COLUMN dw.fact_defect_inspection.time_key IS 'Hour of event_ts in UTC, YYYYMMDDHH (dim_time)';

COMMENT ON COLUMN dw.fact_defect_inspection.wafer_key IS 'Wafer (dim_wafer); the distribution key';

COMMENT ON COLUMN dw.fact_defect_inspection.lot_key IS 'Lot the wafer was in at the event (dim_lot)';

COMMENT ON COLUMN dw.fact_defect_inspection.product_key IS 'Product (dim_product)';

COMMENT ON COLUMN dw.fact_defect_inspection.process_step_key IS 'Step of the process flow, test stages included (dim_process_step)';

COMMENT ON COLUMN dw.fact_defect_inspection.recipe_key IS 'Recipe (dim_recipe)';

COMMENT ON COLUMN dw.fact_defect_inspection.equipment_key IS 'Tool whose work is inspected (dim_equipment); -1 where the source does not name it';

COMMENT ON COLUMN dw.fact_defect_inspection.chamber_key IS 'Chamber of the tool (dim_equipment); -2 where the event was not in one';

COMMENT ON COLUMN dw.fact_defect_inspection.inspection_equipment_key IS 'Inspection or review tool (dim_equipment; KLARF InspectionStationID)';

COMMENT ON COLUMN dw.fact_defect_inspection.process_job_id IS 'Process job (SEMI E40 PRJobID)';

COMMENT ON COLUMN dw.fact_defect_inspection.carrier_id IS 'Carrier (SEMI E87 CarrierID)';

COMMENT ON COLUMN dw.fact_defect_inspection.slot IS 'Slot of the carrier, counted from 1 at the bottom (SEMI E87, E90)';

COMMENT ON COLUMN dw.fact_defect_inspection.operator_id IS 'Operator (STDF V4 MIR.OPER_NAM)';

COMMENT ON COLUMN dw.fact_defect_inspection.inspection_id IS 'Inspection of the wafer; unique with the wafer';

COMMENT ON COLUMN dw.fact_defect_inspection.layer_name IS 'Layer (KLARF StepID)';

COMMENT ON COLUMN dw.fact_defect_inspection.test_no IS 'Test of the inspection (KLARF InspectionTest, TEST)';

COMMENT ON COLUMN dw.fact_defect_inspection.inspected_area_cm2 IS 'Area the test inspected, cm2; the same in all its rows (KLARF AreaPerTest)';

COMMENT ON COLUMN dw.fact_defect_inspection.inspected_die IS 'Die the test inspected, count; the same in all its rows (KLARF SummaryList NDIE)';

COMMENT ON COLUMN dw.fact_defect_inspection.sample_plan_die IS 'Die of the sample plan, count (KLARF SampleTestPlan)';

COMMENT ON COLUMN dw.fact_defect_inspection.orientation_mark IS 'Where the notch or flat pointed: UP, DOWN, LEFT, RIGHT or degrees (KLARF OrientationMarkLocation)';

COMMENT ON COLUMN dw.fact_defect_inspection.is_defect IS 'Whether the row is a defect; false for the one row of a clean inspection';

COMMENT ON COLUMN dw.fact_defect_inspection.defect_id IS 'Number of the defect in its inspection (KLARF DEFECTID)';

COMMENT ON COLUMN dw.fact_defect_inspection.die_x IS 'Die column (KLARF XINDEX)';

COMMENT ON COLUMN dw.fact_defect_inspection.die_y IS 'Die row (KLARF YINDEX)';

COMMENT ON COLUMN dw.fact_defect_inspection.x_rel_um IS 'x from the die''s corner, um (KLARF XREL; 1.8 writes nm)';

COMMENT ON COLUMN dw.fact_defect_inspection.y_rel_um IS 'y from the die''s corner, um (KLARF YREL; 1.8 writes nm)';

COMMENT ON COLUMN dw.fact_defect_inspection.wafer_x_mm IS 'x from the wafer''s centre, mm (KLARF SampleCenterLocation)';

COMMENT ON COLUMN dw.fact_defect_inspection.wafer_y_mm IS 'y from the wafer''s centre, mm (KLARF SampleCenterLocation)';

COMMENT ON COLUMN dw.fact_defect_inspection.size_x_um IS 'Extent in x, um (KLARF XSIZE; 1.8 writes nm)';

COMMENT ON COLUMN dw.fact_defect_inspection.size_y_um IS 'Extent in y, um (KLARF YSIZE; 1.8 writes nm)';

COMMENT ON COLUMN dw.fact_defect_inspection.size_um IS 'Size, um (KLARF DSIZE; 1.8 writes nm)';

COMMENT ON COLUMN dw.fact_defect_inspection.area_um2 IS 'Area, um2 (KLARF DEFECTAREA; 1.8 writes nm2)';

COMMENT ON COLUMN dw.fact_defect_inspection.class_number IS 'Class (KLARF CLASSNUMBER)';

COMMENT ON COLUMN dw.fact_defect_inspection.class_name IS 'Name of the class (KLARF ClassLookup)';

COMMENT ON COLUMN dw.fact_defect_inspection.rough_bin IS 'Rough bin (KLARF ROUGHBINNUMBER)';

COMMENT ON COLUMN dw.fact_defect_inspection.fine_bin IS 'Fine bin (KLARF FINEBINNUMBER)';

COMMENT ON COLUMN dw.fact_defect_inspection.cluster_no IS 'Cluster; 0 or NULL for none (KLARF CLUSTERNUMBER)';

COMMENT ON COLUMN dw.fact_defect_inspection.is_reviewed IS 'Whether the defect was reviewed (KLARF REVIEWSAMPLE)';

COMMENT ON COLUMN dw.fact_defect_inspection.image_count IS 'Images, count (KLARF IMAGECOUNT)';

COMMENT ON COLUMN dw.fact_defect_inspection.image_refs IS 'Images: [file name or {file, index, type}] (KLARF TiffFileName, IMAGELIST)';

COMMENT ON COLUMN dw.fact_defect_inspection.adc_class IS 'Class by automatic classification';

COMMENT ON COLUMN dw.fact_defect_inspection.is_adder IS 'Whether this step added the defect: no earlier inspection has it';

COMMENT ON COLUMN dw.fact_defect_inspection.is_killer IS 'Whether the defect is taken to kill its die';

COMMENT ON COLUMN dw.fact_defect_inspection.kill_probability IS 'Probability that it kills its die, 0 to 1';

COMMENT ON COLUMN dw.fact_defect_inspection.attributes IS 'Fields of the record that have no column: {name: value} (KLARF DefectRecordSpec)';

COMMENT ON COLUMN dw.fact_defect_inspection.source_system IS 'System the row came from';

COMMENT ON COLUMN dw.fact_defect_inspection.source_file IS 'File the row came from, without its folder';

COMMENT ON COLUMN dw.fact_defect_inspection.source_record_no IS 'Number of the record in its source, unique in the batch';

COMMENT ON COLUMN dw.fact_defect_inspection.batch_id IS 'Batch that loaded the row (etl_load_batch)';

COMMENT ON COLUMN dw.fact_defect_inspection.loaded_at IS 'When the row was loaded, UTC';

CREATE INDEX ix_fact_defect_inspection_wafer_key ON dw.fact_defect_inspection (wafer_key);

CREATE TABLE dw.fact_equipment_performance (
    event_ts TIMESTAMP WITH TIME ZONE NOT NULL, 
    time_key INTEGER NOT NULL, 
    equipment_key BIGINT NOT NULL, 
    shift_code TEXT, 
    productive_s DOUBLE PRECISION DEFAULT 0 NOT NULL, 
    standby_s DOUBLE PRECISION DEFAULT 0 NOT NULL, 
    engineering_s DOUBLE PRECISION DEFAULT 0 NOT NULL, 
    scheduled_down_s DOUBLE PRECISION DEFAULT 0 NOT NULL, 
    unscheduled_down_s DOUBLE PRECISION DEFAULT 0 NOT NULL, 
    non_scheduled_s DOUBLE PRECISION DEFAULT 0 NOT NULL, 
    total_s DOUBLE PRECISION NOT NULL, 
    idle_s DOUBLE PRECISION, 
    blocked_s DOUBLE PRECISION, 
    failure_count INTEGER, 
    repair_count INTEGER, 
    repair_time_s DOUBLE PRECISION, 
    assist_count INTEGER, 
    pm_count INTEGER, 
    alarm_count INTEGER, 
    wafers_processed INTEGER, 
    wafers_good INTEGER, 
    wafers_scrapped INTEGER, 
    wafers_reworked INTEGER, 
    lots_processed INTEGER, 
    moves INTEGER, 
    theoretical_production_time_s DOUBLE PRECISION, 
    theoretical_good_time_s DOUBLE PRECISION, 
    availability DOUBLE PRECISION, 
    performance DOUBLE PRECISION, 
    quality DOUBLE PRECISION, 
    oee DOUBLE PRECISION, 
    utilization DOUBLE PRECISION, 
    source_system TEXT, 
    source_file TEXT, 
    source_record_no BIGINT NOT NULL, 
    batch_id TEXT NOT NULL, 
    loaded_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL, 
    CONSTRAINT ck_fact_equipment_performance_e10_states CHECK (abs(productive_s + standby_s + engineering_s + scheduled_down_s + unscheduled_down_s + non_scheduled_s - total_s) <= 1), 
    CONSTRAINT ck_fact_equipment_performance_alarm_count CHECK (alarm_count >= 0), 
    CONSTRAINT ck_fact_equipment_performance_assist_count CHECK (assist_count >= 0), 
    CONSTRAINT ck_fact_equipment_performance_availability CHECK (availability >= 0 AND availability <= 1), 
    CONSTRAINT ck_fact_equipment_performance_blocked_s CHECK (blocked_s >= 0), 
    CONSTRAINT ck_fact_equipment_performance_engineering_s CHECK (engineering_s >= 0), 
    CONSTRAINT ck_fact_equipment_performance_failure_count CHECK (failure_count >= 0), 
    CONSTRAINT ck_fact_equipment_performance_idle_s CHECK (idle_s >= 0), 
    CONSTRAINT ck_fact_equipment_performance_lots_processed CHECK (lots_processed >= 0), 
    CONSTRAINT ck_fact_equipment_performance_moves CHECK (moves >= 0), 
    CONSTRAINT ck_fact_equipment_performance_non_scheduled_s CHECK (non_scheduled_s >= 0), 
    CONSTRAINT ck_fact_equipment_performance_oee CHECK (oee >= 0 AND oee <= 1), 
    CONSTRAINT ck_fact_equipment_performance_performance CHECK (performance >= 0), 
    CONSTRAINT ck_fact_equipment_performance_pm_count CHECK (pm_count >= 0), 
    CONSTRAINT ck_fact_equipment_performance_productive_s CHECK (productive_s >= 0), 
    CONSTRAINT ck_fact_equipment_performance_quality CHECK (quality >= 0 AND quality <= 1), 
    CONSTRAINT ck_fact_equipment_performance_repair_count CHECK (repair_count >= 0), 
    CONSTRAINT ck_fact_equipment_performance_repair_time_s CHECK (repair_time_s >= 0), 
    CONSTRAINT ck_fact_equipment_performance_scheduled_down_s CHECK (scheduled_down_s >= 0), 
    CONSTRAINT ck_fact_equipment_performance_standby_s CHECK (standby_s >= 0), 
    CONSTRAINT ck_fact_equipment_performance_theoretical_good CHECK (theoretical_good_time_s <= theoretical_production_time_s), 
    CONSTRAINT ck_fact_equipment_performance_theoretical_good_time_s CHECK (theoretical_good_time_s >= 0), 
    CONSTRAINT ck_fact_equipment_performance_theoretical_production_time_s CHECK (theoretical_production_time_s >= 0), 
    CONSTRAINT ck_fact_equipment_performance_total_s CHECK (total_s > 0), 
    CONSTRAINT ck_fact_equipment_performance_unscheduled_down_s CHECK (unscheduled_down_s >= 0), 
    CONSTRAINT ck_fact_equipment_performance_utilization CHECK (utilization >= 0 AND utilization <= 1), 
    CONSTRAINT ck_fact_equipment_performance_wafers_good CHECK (wafers_good >= 0), 
    CONSTRAINT ck_fact_equipment_performance_wafers_processed CHECK (wafers_processed >= 0), 
    CONSTRAINT ck_fact_equipment_performance_wafers_reworked CHECK (wafers_reworked >= 0), 
    CONSTRAINT ck_fact_equipment_performance_wafers_scrapped CHECK (wafers_scrapped >= 0)
)
 WITH (appendonly=true, orientation=column, compresstype=zstd, compresslevel=1, blocksize=32768, checksum=true)
 DISTRIBUTED BY (equipment_key)
 PARTITION BY RANGE (event_ts)
 (PARTITION m200001 START ('2000-01-01 00:00:00+00') INCLUSIVE END ('2000-02-01 00:00:00+00') EXCLUSIVE);

COMMENT ON TABLE dw.fact_equipment_performance IS 'Shift of a tool or chamber: seconds by SEMI E10 state, events, and output; event_ts is the shift''s start';

COMMENT ON COLUMN dw.fact_equipment_performance.event_ts IS 'When it happened, UTC; the partition key (monthly, bounds in UTC)';

COMMENT ON COLUMN dw.fact_equipment_performance.time_key IS 'Hour of event_ts in UTC, YYYYMMDDHH (dim_time)';

COMMENT ON COLUMN dw.fact_equipment_performance.equipment_key IS 'Tool, or chamber where the frame names one (dim_equipment); the distribution key';

COMMENT ON COLUMN dw.fact_equipment_performance.shift_code IS 'Shift, as the source names it';

COMMENT ON COLUMN dw.fact_equipment_performance.productive_s IS 'Productive time: the equipment does what it is for, s (SEMI E10)';

COMMENT ON COLUMN dw.fact_equipment_performance.standby_s IS 'Standby time: it could, and is not used, s (SEMI E10)';

COMMENT ON COLUMN dw.fact_equipment_performance.engineering_s IS 'Engineering time: experiments, s (SEMI E10)';

COMMENT ON COLUMN dw.fact_equipment_performance.scheduled_down_s IS 'Scheduled downtime: maintenance as planned, setup, s (SEMI E10)';

COMMENT ON COLUMN dw.fact_equipment_performance.unscheduled_down_s IS 'Unscheduled downtime: failure and repair, s (SEMI E10)';

COMMENT ON COLUMN dw.fact_equipment_performance.non_scheduled_s IS 'Non-scheduled time: the fab does not work, s (SEMI E10)';

COMMENT ON COLUMN dw.fact_equipment_performance.total_s IS 'Total time: the six states together, within 1 s, s (SEMI E10)';

COMMENT ON COLUMN dw.fact_equipment_performance.idle_s IS 'Idle: part of the time with nothing to do, s (SEMI E116)';

COMMENT ON COLUMN dw.fact_equipment_performance.blocked_s IS 'Blocked: part of the time held up by others, s (SEMI E116)';

COMMENT ON COLUMN dw.fact_equipment_performance.failure_count IS 'Failures (SEMI E10), count';

COMMENT ON COLUMN dw.fact_equipment_performance.repair_count IS 'Repairs (SEMI E10), count';

COMMENT ON COLUMN dw.fact_equipment_performance.repair_time_s IS 'Time spent on repairs, s (SEMI E10)';

COMMENT ON COLUMN dw.fact_equipment_performance.assist_count IS 'Assists: interruptions an operator can mend (SEMI E10), count';

COMMENT ON COLUMN dw.fact_equipment_performance.pm_count IS 'Preventive maintenances (SEMI E10), count';

COMMENT ON COLUMN dw.fact_equipment_performance.alarm_count IS 'Alarms (SEMI E5, E30), count';

COMMENT ON COLUMN dw.fact_equipment_performance.wafers_processed IS 'Wafers processed, count';

COMMENT ON COLUMN dw.fact_equipment_performance.wafers_good IS 'Wafers processed and good (SEMI E79 effective units), count';

COMMENT ON COLUMN dw.fact_equipment_performance.wafers_scrapped IS 'Wafers scrapped, count';

COMMENT ON COLUMN dw.fact_equipment_performance.wafers_reworked IS 'Wafers to be reworked, count';

COMMENT ON COLUMN dw.fact_equipment_performance.lots_processed IS 'Lots processed, count';

COMMENT ON COLUMN dw.fact_equipment_performance.moves IS 'Moves: wafers times steps completed, count';

COMMENT ON COLUMN dw.fact_equipment_performance.theoretical_production_time_s IS 'Theoretical production time of all units processed, s (SEMI E79 THT)';

COMMENT ON COLUMN dw.fact_equipment_performance.theoretical_good_time_s IS 'Theoretical production time of the good units, s (SEMI E79)';

COMMENT ON COLUMN dw.fact_equipment_performance.availability IS 'Availability efficiency (SEMI E79), as the source reported it, 0 to 1; v_equipment_oee computes it';

COMMENT ON COLUMN dw.fact_equipment_performance.performance IS 'Performance efficiency (SEMI E79), which exceeds 1 where the ideal time is stale, as the source reported it, 0 to 1; v_equipment_oee computes it';

COMMENT ON COLUMN dw.fact_equipment_performance.quality IS 'Quality efficiency (SEMI E79), as the source reported it, 0 to 1; v_equipment_oee computes it';

COMMENT ON COLUMN dw.fact_equipment_performance.oee IS 'Overall equipment efficiency (SEMI E79), as the source reported it, 0 to 1; v_equipment_oee computes it';

COMMENT ON COLUMN dw.fact_equipment_performance.utilization IS 'Utilization: productive by total or operations time (SEMI E10), as the source reported it, 0 to 1; v_equipment_oee computes it';

COMMENT ON COLUMN dw.fact_equipment_performance.source_system IS 'System the row came from';

COMMENT ON COLUMN dw.fact_equipment_performance.source_file IS 'File the row came from, without its folder';

COMMENT ON COLUMN dw.fact_equipment_performance.source_record_no IS 'Number of the record in its source, unique in the batch';

COMMENT ON COLUMN dw.fact_equipment_performance.batch_id IS 'Batch that loaded the row (etl_load_batch)';

COMMENT ON COLUMN dw.fact_equipment_performance.loaded_at IS 'When the row was loaded, UTC';

CREATE INDEX ix_fact_equipment_performance_equipment_key ON dw.fact_equipment_performance (equipment_key);

CREATE TABLE dw.etl_load_batch (
    batch_id TEXT NOT NULL, 
    target TEXT NOT NULL, 
    source_system TEXT, 
    source TEXT, 
    checksum TEXT NOT NULL, 
    status TEXT NOT NULL, 
    rows_read BIGINT DEFAULT 0 NOT NULL, 
    rows_loaded BIGINT DEFAULT 0 NOT NULL, 
    rows_rejected BIGINT DEFAULT 0 NOT NULL, 
    min_event_ts TIMESTAMP WITH TIME ZONE, 
    max_event_ts TIMESTAMP WITH TIME ZONE, 
    started_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL, 
    finished_at TIMESTAMP WITH TIME ZONE, 
    error TEXT, 
    loaded_by TEXT DEFAULT "current_user"() NOT NULL, 
    CONSTRAINT pk_etl_load_batch PRIMARY KEY (batch_id), 
    CONSTRAINT ck_etl_load_batch_status CHECK (status IN ('LOADED', 'FAILED')), 
    CONSTRAINT ck_etl_load_batch_rows_loaded CHECK (rows_loaded >= 0), 
    CONSTRAINT ck_etl_load_batch_rows_read CHECK (rows_read >= 0), 
    CONSTRAINT ck_etl_load_batch_rows_rejected CHECK (rows_rejected >= 0)
)
 WITH (appendonly=false)
 DISTRIBUTED BY (batch_id);

COMMENT ON TABLE dw.etl_load_batch IS 'Batch: the unit of loading, loaded once whatever is retried';

COMMENT ON COLUMN dw.etl_load_batch.batch_id IS 'Id, derived from target and checksum unless the caller gave one';

COMMENT ON COLUMN dw.etl_load_batch.target IS 'Fact table loaded into';

COMMENT ON COLUMN dw.etl_load_batch.source_system IS 'System the rows came from';

COMMENT ON COLUMN dw.etl_load_batch.source IS 'File or other source, without its folder';

COMMENT ON COLUMN dw.etl_load_batch.checksum IS 'SHA-256 of the content, hexadecimal';

COMMENT ON COLUMN dw.etl_load_batch.status IS 'Outcome';

COMMENT ON COLUMN dw.etl_load_batch.rows_read IS 'Rows read, count';

COMMENT ON COLUMN dw.etl_load_batch.rows_loaded IS 'Rows loaded, count';

COMMENT ON COLUMN dw.etl_load_batch.rows_rejected IS 'Rows rejected, count';

COMMENT ON COLUMN dw.etl_load_batch.min_event_ts IS 'Earliest event loaded, UTC';

COMMENT ON COLUMN dw.etl_load_batch.max_event_ts IS 'Latest event loaded, UTC';

COMMENT ON COLUMN dw.etl_load_batch.started_at IS 'Start of the load, UTC';

COMMENT ON COLUMN dw.etl_load_batch.finished_at IS 'End of the load, UTC';

COMMENT ON COLUMN dw.etl_load_batch.error IS 'Why it failed';

COMMENT ON COLUMN dw.etl_load_batch.loaded_by IS 'Database user who loaded it';

CREATE TABLE dw.etl_reject (
    batch_id TEXT NOT NULL, 
    target TEXT NOT NULL, 
    row_number BIGINT NOT NULL, 
    column_name TEXT DEFAULT '' NOT NULL, 
    reason TEXT NOT NULL, 
    raw JSONB, 
    rejected_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL
)
 WITH (appendonly=false)
 DISTRIBUTED BY (batch_id);

COMMENT ON TABLE dw.etl_reject IS 'Row of a source that was refused, with the column at fault and the reason';

COMMENT ON COLUMN dw.etl_reject.batch_id IS 'Batch (etl_load_batch); the distribution key';

COMMENT ON COLUMN dw.etl_reject.target IS 'Fact table it was meant for';

COMMENT ON COLUMN dw.etl_reject.row_number IS 'Number of the row in its source, from 1';

COMMENT ON COLUMN dw.etl_reject.column_name IS 'First column at fault; empty where it is the row as a whole';

COMMENT ON COLUMN dw.etl_reject.reason IS 'Why it was refused';

COMMENT ON COLUMN dw.etl_reject.raw IS 'The row as it was read: {column: value}';

COMMENT ON COLUMN dw.etl_reject.rejected_at IS 'When it was refused, UTC';

INSERT INTO dw.dim_equipment (equipment_key, facility, equipment_id, chamber_id, effective_date, expiry_date, is_current, is_inferred, row_hash, source_system) VALUES (-1, '(unknown)', '(unknown)', '', '1900-01-01 00:00:00+00:00', '9999-12-31 00:00:00+00:00', true, false, '013cf261f9ccf5d4f027bc001d0d1d0c', 'gpwarehouse');

INSERT INTO dw.dim_equipment (equipment_key, facility, equipment_id, chamber_id, effective_date, expiry_date, is_current, is_inferred, row_hash, source_system) VALUES (-2, '(not applicable)', '(not applicable)', '', '1900-01-01 00:00:00+00:00', '9999-12-31 00:00:00+00:00', true, false, 'e1dbb9e1b0cb872271156b31013834ea', 'gpwarehouse');

INSERT INTO dw.dim_product (product_key, product_id, revision, effective_date, expiry_date, is_current, is_inferred, row_hash, source_system) VALUES (-1, '(unknown)', '', '1900-01-01 00:00:00+00:00', '9999-12-31 00:00:00+00:00', true, false, '013cf261f9ccf5d4f027bc001d0d1d0c', 'gpwarehouse');

INSERT INTO dw.dim_product (product_key, product_id, revision, effective_date, expiry_date, is_current, is_inferred, row_hash, source_system) VALUES (-2, '(not applicable)', '', '1900-01-01 00:00:00+00:00', '9999-12-31 00:00:00+00:00', true, false, 'e1dbb9e1b0cb872271156b31013834ea', 'gpwarehouse');

INSERT INTO dw.dim_process_step (process_step_key, process_flow_id, flow_version, step_number, effective_date, expiry_date, is_current, is_inferred, row_hash, source_system) VALUES (-1, '(unknown)', '', '(unknown)', '1900-01-01 00:00:00+00:00', '9999-12-31 00:00:00+00:00', true, false, '013cf261f9ccf5d4f027bc001d0d1d0c', 'gpwarehouse');

INSERT INTO dw.dim_process_step (process_step_key, process_flow_id, flow_version, step_number, effective_date, expiry_date, is_current, is_inferred, row_hash, source_system) VALUES (-2, '(not applicable)', '', '(not applicable)', '1900-01-01 00:00:00+00:00', '9999-12-31 00:00:00+00:00', true, false, 'e1dbb9e1b0cb872271156b31013834ea', 'gpwarehouse');

INSERT INTO dw.dim_recipe (recipe_key, recipe_id, recipe_version, effective_date, expiry_date, is_current, is_inferred, row_hash, source_system) VALUES (-1, '(unknown)', '', '1900-01-01 00:00:00+00:00', '9999-12-31 00:00:00+00:00', true, false, '013cf261f9ccf5d4f027bc001d0d1d0c', 'gpwarehouse');

INSERT INTO dw.dim_recipe (recipe_key, recipe_id, recipe_version, effective_date, expiry_date, is_current, is_inferred, row_hash, source_system) VALUES (-2, '(not applicable)', '', '1900-01-01 00:00:00+00:00', '9999-12-31 00:00:00+00:00', true, false, 'e1dbb9e1b0cb872271156b31013834ea', 'gpwarehouse');

INSERT INTO dw.dim_lot (lot_key, lot_id, product_key, effective_date, expiry_date, is_current, is_inferred, row_hash, source_system) VALUES (-1, '(unknown)', -1, '1900-01-01 00:00:00+00:00', '9999-12-31 00:00:00+00:00', true, false, '013cf261f9ccf5d4f027bc001d0d1d0c', 'gpwarehouse');

INSERT INTO dw.dim_lot (lot_key, lot_id, product_key, effective_date, expiry_date, is_current, is_inferred, row_hash, source_system) VALUES (-2, '(not applicable)', -2, '1900-01-01 00:00:00+00:00', '9999-12-31 00:00:00+00:00', true, false, 'e1dbb9e1b0cb872271156b31013834ea', 'gpwarehouse');

INSERT INTO dw.dim_wafer (wafer_key, root_lot_id, wafer_id, lot_key, product_key, is_placeholder, effective_date, expiry_date, is_current, is_inferred, row_hash, source_system) VALUES (-1, '(unknown)', '(unknown)', -1, -1, false, '1900-01-01 00:00:00+00:00', '9999-12-31 00:00:00+00:00', true, false, '013cf261f9ccf5d4f027bc001d0d1d0c', 'gpwarehouse');

INSERT INTO dw.dim_wafer (wafer_key, root_lot_id, wafer_id, lot_key, product_key, is_placeholder, effective_date, expiry_date, is_current, is_inferred, row_hash, source_system) VALUES (-2, '(not applicable)', '(not applicable)', -2, -2, false, '1900-01-01 00:00:00+00:00', '9999-12-31 00:00:00+00:00', true, false, 'e1dbb9e1b0cb872271156b31013834ea', 'gpwarehouse');

CREATE VIEW dw.v_wafer_yield AS
SELECT y.wafer_key, y.root_lot_id, y.wafer_id, y.lot_key, y.lot_id,
       y.product_key, p.product_id, p.revision AS product_revision,
       y.test_type, y.test_stage, y.test_program, y.program_revision, y.basis,
       y.insertions, y.tested, y.good, y.functional_fails, y.parametric_fails,
       CAST(100 AS double precision) * y.good / y.tested AS die_yield_pct,
       CAST(100 AS double precision) * (y.tested - y.functional_fails) / y.tested AS functional_yield_pct,
       CAST(100 AS double precision) * (y.tested - y.functional_fails - y.parametric_fails)
           / NULLIF(y.tested - y.functional_fails, 0) AS parametric_yield_pct,
       y.first_ts, y.last_ts
FROM (
    SELECT w.wafer_key, w.root_lot_id, w.wafer_id, w.lot_key, w.lot_id, w.product_key,
           w.test_type, w.test_stage, w.test_program, w.program_revision, b.basis,
           w.insertions, w.tested, w.first_ts, w.last_ts,
           CASE b.basis WHEN 'FIRST' THEN w.first_good WHEN 'LAST' THEN w.last_good
                        ELSE w.best_good END AS good,
           CASE b.basis WHEN 'FIRST' THEN w.first_functional WHEN 'LAST' THEN w.last_functional
                        ELSE w.best_functional END AS functional_fails,
           CASE b.basis WHEN 'FIRST' THEN w.first_parametric WHEN 'LAST' THEN w.last_parametric
                        ELSE w.best_parametric END AS parametric_fails
    FROM (
        SELECT i.wafer_key, i.root_lot_id, i.wafer_id, i.lot_key, i.lot_id, i.test_type, i.test_stage,
               CASE WHEN min(i.known_product_key) = max(i.known_product_key)
                    THEN min(i.known_product_key) ELSE -1 END AS product_key,
               CASE WHEN min(i.test_program) = max(i.test_program) THEN min(i.test_program) END AS test_program,
               CASE WHEN min(i.program_revision) = max(i.program_revision)
                    THEN min(i.program_revision) END AS program_revision,
               count(*) AS insertions,
               count(CASE WHEN i.is_last THEN 1 END) AS tested,
               count(CASE WHEN i.is_first AND i.is_pass THEN 1 END) AS first_good,
               count(CASE WHEN i.is_last AND i.is_pass THEN 1 END) AS last_good,
               count(CASE WHEN i.is_last AND i.passed_once THEN 1 END) AS best_good,
               count(CASE WHEN i.is_first AND NOT i.is_pass AND i.fail_kind = 'FUNCTIONAL' THEN 1 END) AS first_functional,
               count(CASE WHEN i.is_last AND NOT i.is_pass AND i.fail_kind = 'FUNCTIONAL' THEN 1 END) AS last_functional,
               count(CASE WHEN i.is_last AND NOT i.passed_once AND i.fail_kind = 'FUNCTIONAL' THEN 1 END) AS best_functional,
               count(CASE WHEN i.is_first AND NOT i.is_pass AND i.fail_kind = 'PARAMETRIC' THEN 1 END) AS first_parametric,
               count(CASE WHEN i.is_last AND NOT i.is_pass AND i.fail_kind = 'PARAMETRIC' THEN 1 END) AS last_parametric,
               count(CASE WHEN i.is_last AND NOT i.passed_once AND i.fail_kind = 'PARAMETRIC' THEN 1 END) AS best_parametric,
               min(i.event_ts) AS first_ts,
               max(i.event_ts) AS last_ts
        FROM (
            SELECT f.wafer_key, w.root_lot_id, w.wafer_id, f.lot_key, l.lot_id, f.test_type, f.test_stage,
                   NULLIF(f.product_key, -1) AS known_product_key, f.test_program, f.program_revision,
                   f.event_ts, f.is_pass, f.fail_kind,
                   row_number() OVER unit = 1 AS is_first,
                   lead(f.event_ts) OVER unit IS NULL AS is_last,
                   bool_or(f.is_pass) OVER unit AS passed_once
            FROM dw.fact_test_results f
            LEFT JOIN dw.dim_wafer w ON w.wafer_key = f.wafer_key AND w.is_current
            LEFT JOIN dw.dim_lot l ON l.lot_key = f.lot_key AND l.is_current
            WHERE f.is_pass IS NOT NULL
            WINDOW unit AS (
                PARTITION BY f.wafer_key, f.lot_key, f.test_type, f.test_stage,
                             CASE WHEN f.die_y IS NOT NULL THEN f.die_x END,
                             CASE WHEN f.die_x IS NOT NULL THEN f.die_y END,
                             CASE WHEN f.die_x IS NULL OR f.die_y IS NULL THEN
                                 coalesce(f.part_id, f.batch_id || ' ' || CAST(f.source_record_no AS text)) END,
                             w.root_lot_id, w.wafer_id, l.lot_id
                ORDER BY f.event_ts, f.insertion_no, f.source_record_no, f.batch_id
            )
        ) i
        GROUP BY i.wafer_key, i.lot_key, i.test_type, i.test_stage, i.root_lot_id, i.wafer_id, i.lot_id
    ) w
    CROSS JOIN (VALUES (CAST('FIRST' AS text)), ('LAST'), ('BEST')) AS b (basis)
) y
LEFT JOIN dw.dim_product p ON p.product_key = y.product_key AND p.is_current;

COMMENT ON VIEW dw.v_wafer_yield IS 'Yield by wafer, lot, test type and stage, three rows each: by the first, last and best result of a unit. A unit is a die, or a part where the die is not known. Insertions without a verdict are left out';

COMMENT ON COLUMN dw.v_wafer_yield.wafer_key IS 'Wafer (dim_wafer)';

COMMENT ON COLUMN dw.v_wafer_yield.root_lot_id IS 'Lot the wafer was started in';

COMMENT ON COLUMN dw.v_wafer_yield.wafer_id IS 'Wafer in its root lot';

COMMENT ON COLUMN dw.v_wafer_yield.lot_key IS 'Lot at the event (dim_lot)';

COMMENT ON COLUMN dw.v_wafer_yield.lot_id IS 'Lot at the event';

COMMENT ON COLUMN dw.v_wafer_yield.product_key IS 'Product (dim_product); -1 where none or several were named';

COMMENT ON COLUMN dw.v_wafer_yield.product_id IS 'Product';

COMMENT ON COLUMN dw.v_wafer_yield.product_revision IS 'Design revision';

COMMENT ON COLUMN dw.v_wafer_yield.test_type IS 'WAT, CP or FT';

COMMENT ON COLUMN dw.v_wafer_yield.test_stage IS 'Test stage';

COMMENT ON COLUMN dw.v_wafer_yield.test_program IS 'Test program; NULL where several were used';

COMMENT ON COLUMN dw.v_wafer_yield.program_revision IS 'Revision of the program; NULL where several were used';

COMMENT ON COLUMN dw.v_wafer_yield.basis IS 'Result of a unit that counts: FIRST, LAST, or BEST (good once is good)';

COMMENT ON COLUMN dw.v_wafer_yield.insertions IS 'Insertions with a verdict, count';

COMMENT ON COLUMN dw.v_wafer_yield.tested IS 'Units tested, count';

COMMENT ON COLUMN dw.v_wafer_yield.good IS 'Units good, count';

COMMENT ON COLUMN dw.v_wafer_yield.functional_fails IS 'Units that failed a functional test, count';

COMMENT ON COLUMN dw.v_wafer_yield.parametric_fails IS 'Units that failed parametric tests only, count';

COMMENT ON COLUMN dw.v_wafer_yield.die_yield_pct IS '100 good / tested, percent';

COMMENT ON COLUMN dw.v_wafer_yield.functional_yield_pct IS '100 (1 - functional fails / tested), percent';

COMMENT ON COLUMN dw.v_wafer_yield.parametric_yield_pct IS '100 (1 - parametric fails / functionally good), percent; NULL where none was';

COMMENT ON COLUMN dw.v_wafer_yield.first_ts IS 'First event, UTC';

COMMENT ON COLUMN dw.v_wafer_yield.last_ts IS 'Last event, UTC';

CREATE VIEW dw.v_test_values AS
SELECT v.wafer_key, v.root_lot_id, v.wafer_id, v.lot_key, v.lot_id, v.product_key, v.process_step_key, v.process_flow_id, v.flow_version, v.step_number, v.step_name, v.event_ts, v.test_type, v.test_stage, v.test_program, v.program_revision, v.tester_key, v.head_no, v.site_no, v.die_x, v.die_y, v.part_id, v.insertion_no, v.retest_no, v.is_first_pass, v.is_final_result, v.is_pass, v.batch_id, v.source_record_no, v.parameter AS test_number, m.name AS test_name,
       v.value, coalesce(m.unit, v.own_unit) AS unit, m.lsl, m.usl, m.limit_version,
       CASE WHEN m.lsl IS NOT NULL OR m.usl IS NOT NULL THEN coalesce(v.value >= m.lsl, true) AND coalesce(v.value <= m.usl, true) END AS is_in_spec
FROM (
    SELECT f.wafer_key, w.root_lot_id, w.wafer_id, f.lot_key, l.lot_id, f.product_key, f.process_step_key, s.process_flow_id, s.flow_version, s.step_number, s.step_name, f.event_ts, f.test_type, f.test_stage, f.test_program, f.program_revision, f.tester_key, f.head_no, f.site_no, f.die_x, f.die_y, f.part_id, f.insertion_no, f.retest_no, f.is_first_pass, f.is_final_result, f.is_pass, f.batch_id, f.source_record_no, j.key AS parameter,
           CASE WHEN jsonb_typeof(j.value) = 'number'
                THEN CAST(CAST(j.value AS text) AS double precision) END AS value,
           CAST(NULL AS text) AS own_unit
    FROM dw.fact_test_results f
    CROSS JOIN LATERAL jsonb_each(f.parameters) AS j (key, value)
    LEFT JOIN dw.dim_wafer w ON w.wafer_key = f.wafer_key AND w.is_current
    LEFT JOIN dw.dim_lot l ON l.lot_key = f.lot_key AND l.is_current
    LEFT JOIN dw.dim_process_step s ON s.process_step_key = f.process_step_key AND s.is_current
    WHERE true
    UNION ALL
    SELECT f.wafer_key, w.root_lot_id, w.wafer_id, f.lot_key, l.lot_id, f.product_key, f.process_step_key, s.process_flow_id, s.flow_version, s.step_number, s.step_name, f.event_ts, f.test_type, f.test_stage, f.test_program, f.program_revision, f.tester_key, f.head_no, f.site_no, f.die_x, f.die_y, f.part_id, f.insertion_no, f.retest_no, f.is_first_pass, f.is_final_result, f.is_pass, f.batch_id, f.source_record_no,
           unnest(CAST(ARRAY['vth_mv', 'idsat_ua_um', 'ileak_pa_um', 'tox_nm', 'rs_ohm_sq', 'rc_ohm', 'gm_ms_mm', 'bvdss_v', 'idd_ma', 'fmax_mhz'] AS text[])) AS parameter,
           unnest(ARRAY[f.vth_mv, f.idsat_ua_um, f.ileak_pa_um, f.tox_nm, f.rs_ohm_sq, f.rc_ohm, f.gm_ms_mm, f.bvdss_v, f.idd_ma, f.fmax_mhz]) AS value,
           unnest(CAST(ARRAY['mV', 'uA/um', 'pA/um', 'nm', 'ohm/sq', 'ohm', 'mS/mm', 'V', 'mA', 'MHz'] AS text[])) AS own_unit
    FROM dw.fact_test_results f
    LEFT JOIN dw.dim_wafer w ON w.wafer_key = f.wafer_key AND w.is_current
    LEFT JOIN dw.dim_lot l ON l.lot_key = f.lot_key AND l.is_current
    LEFT JOIN dw.dim_process_step s ON s.process_step_key = f.process_step_key AND s.is_current
    WHERE true
    AND coalesce(f.vth_mv, f.idsat_ua_um, f.ileak_pa_um, f.tox_nm, f.rs_ohm_sq, f.rc_ohm, f.gm_ms_mm, f.bvdss_v, f.idd_ma, f.fmax_mhz) IS NOT NULL
) v
LEFT JOIN (
    SELECT s.process_step_key, s.effective_date, s.expiry_date, j.key AS parameter,
           j.value ->> 'name' AS name,
           j.value ->> 'unit' AS unit,
           j.value ->> 'limit_version' AS limit_version,
           CASE WHEN jsonb_typeof(j.value -> 'lsl') = 'number' THEN CAST(j.value ->> 'lsl' AS double precision) END AS lsl,
           CASE WHEN jsonb_typeof(j.value -> 'lcl') = 'number' THEN CAST(j.value ->> 'lcl' AS double precision) END AS lcl,
           CASE WHEN jsonb_typeof(j.value -> 'target') = 'number' THEN CAST(j.value ->> 'target' AS double precision) END AS target,
           CASE WHEN jsonb_typeof(j.value -> 'ucl') = 'number' THEN CAST(j.value ->> 'ucl' AS double precision) END AS ucl,
           CASE WHEN jsonb_typeof(j.value -> 'usl') = 'number' THEN CAST(j.value ->> 'usl' AS double precision) END AS usl
    FROM dw.dim_process_step s
    CROSS JOIN LATERAL jsonb_each(s.control_limits) AS j (key, value)
    OFFSET 0
) m ON m.process_step_key = v.process_step_key AND m.parameter = v.parameter
   AND v.event_ts >= m.effective_date AND v.event_ts < m.expiry_date
WHERE v.value IS NOT NULL;

COMMENT ON VIEW dw.v_test_values IS 'Parametric test results: a row per insertion of a unit and test number, with the limits in force';

COMMENT ON COLUMN dw.v_test_values.wafer_key IS 'Wafer (dim_wafer)';

COMMENT ON COLUMN dw.v_test_values.root_lot_id IS 'Lot the wafer was started in';

COMMENT ON COLUMN dw.v_test_values.wafer_id IS 'Wafer in its root lot';

COMMENT ON COLUMN dw.v_test_values.lot_key IS 'Lot at the event (dim_lot)';

COMMENT ON COLUMN dw.v_test_values.lot_id IS 'Lot at the event';

COMMENT ON COLUMN dw.v_test_values.product_key IS 'Product (dim_product)';

COMMENT ON COLUMN dw.v_test_values.process_step_key IS 'Step (dim_process_step)';

COMMENT ON COLUMN dw.v_test_values.process_flow_id IS 'Process flow, or test program';

COMMENT ON COLUMN dw.v_test_values.flow_version IS 'Version of the flow';

COMMENT ON COLUMN dw.v_test_values.step_number IS 'Step of the flow, or test stage';

COMMENT ON COLUMN dw.v_test_values.step_name IS 'Name of the step';

COMMENT ON COLUMN dw.v_test_values.event_ts IS 'Event, UTC';

COMMENT ON COLUMN dw.v_test_values.test_type IS 'WAT, CP or FT';

COMMENT ON COLUMN dw.v_test_values.test_stage IS 'Test stage';

COMMENT ON COLUMN dw.v_test_values.test_program IS 'Test program';

COMMENT ON COLUMN dw.v_test_values.program_revision IS 'Revision of the program';

COMMENT ON COLUMN dw.v_test_values.tester_key IS 'Tester (dim_equipment)';

COMMENT ON COLUMN dw.v_test_values.head_no IS 'Test head';

COMMENT ON COLUMN dw.v_test_values.site_no IS 'Test site';

COMMENT ON COLUMN dw.v_test_values.die_x IS 'Die column';

COMMENT ON COLUMN dw.v_test_values.die_y IS 'Die row';

COMMENT ON COLUMN dw.v_test_values.part_id IS 'Part';

COMMENT ON COLUMN dw.v_test_values.insertion_no IS 'Insertion of the unit in its file';

COMMENT ON COLUMN dw.v_test_values.retest_no IS 'Retests before it';

COMMENT ON COLUMN dw.v_test_values.is_first_pass IS 'Whether it is the unit''s first insertion in its file';

COMMENT ON COLUMN dw.v_test_values.is_final_result IS 'Whether it is the unit''s last insertion in its file';

COMMENT ON COLUMN dw.v_test_values.is_pass IS 'Whether the unit passed this insertion';

COMMENT ON COLUMN dw.v_test_values.batch_id IS 'Batch that loaded it (etl_load_batch)';

COMMENT ON COLUMN dw.v_test_values.source_record_no IS 'Number of the record in its source';

COMMENT ON COLUMN dw.v_test_values.test_number IS 'Test number as text, or the name of the measure''s column';

COMMENT ON COLUMN dw.v_test_values.test_name IS 'Name of the test (STDF V4 PTR.TEST_TXT)';

COMMENT ON COLUMN dw.v_test_values.value IS 'Value, in the unit given';

COMMENT ON COLUMN dw.v_test_values.unit IS 'Unit: that of the limits in force, else that of the measure''s column';

COMMENT ON COLUMN dw.v_test_values.lsl IS 'Lower specification limit in force at the event';

COMMENT ON COLUMN dw.v_test_values.usl IS 'Upper specification limit in force at the event';

COMMENT ON COLUMN dw.v_test_values.limit_version IS 'Version of the limits in force';

COMMENT ON COLUMN dw.v_test_values.is_in_spec IS 'Whether lsl <= value <= usl; NULL where there is no limit';

CREATE VIEW dw.v_process_values AS
SELECT v.wafer_key, v.root_lot_id, v.wafer_id, v.lot_key, v.lot_id, v.product_key, v.process_step_key, v.process_flow_id, v.flow_version, v.step_number, v.step_name, v.recipe_key, v.equipment_key, v.equipment_id, v.chamber_key, v.chamber_id, v.event_ts, v.measurement_type, v.visit_no, v.is_rework, v.site_no, v.site_x_mm, v.site_y_mm, v.batch_id, v.source_record_no, v.parameter, v.value, coalesce(m.unit, v.own_unit) AS unit,
       m.lsl, m.usl, m.limit_version, CASE WHEN m.lsl IS NOT NULL OR m.usl IS NOT NULL THEN coalesce(v.value >= m.lsl, true) AND coalesce(v.value <= m.usl, true) END AS is_in_spec,
       m.lcl, m.target, m.ucl, CASE WHEN m.lcl IS NOT NULL OR m.ucl IS NOT NULL THEN coalesce(v.value >= m.lcl, true) AND coalesce(v.value <= m.ucl, true) END AS is_in_control
FROM (
    SELECT f.wafer_key, w.root_lot_id, w.wafer_id, f.lot_key, l.lot_id, f.product_key, f.process_step_key, s.process_flow_id, s.flow_version, s.step_number, s.step_name, f.recipe_key, f.equipment_key, e.equipment_id, f.chamber_key, c.chamber_id, f.event_ts, f.measurement_type, f.visit_no, f.is_rework, f.site_no, f.site_x_mm, f.site_y_mm, f.batch_id, f.source_record_no, j.key AS parameter,
           CASE WHEN jsonb_typeof(j.value) = 'number'
                THEN CAST(CAST(j.value AS text) AS double precision) END AS value,
           CAST(NULL AS text) AS own_unit
    FROM dw.fact_process_measurements f
    CROSS JOIN LATERAL jsonb_each(f.parameters) AS j (key, value)
    LEFT JOIN dw.dim_wafer w ON w.wafer_key = f.wafer_key AND w.is_current
    LEFT JOIN dw.dim_lot l ON l.lot_key = f.lot_key AND l.is_current
    LEFT JOIN dw.dim_process_step s ON s.process_step_key = f.process_step_key AND s.is_current
    LEFT JOIN dw.dim_equipment e ON e.equipment_key = f.equipment_key AND e.is_current
    LEFT JOIN dw.dim_equipment c ON c.equipment_key = f.chamber_key AND c.is_current
    WHERE true
    UNION ALL
    SELECT f.wafer_key, w.root_lot_id, w.wafer_id, f.lot_key, l.lot_id, f.product_key, f.process_step_key, s.process_flow_id, s.flow_version, s.step_number, s.step_name, f.recipe_key, f.equipment_key, e.equipment_id, f.chamber_key, c.chamber_id, f.event_ts, f.measurement_type, f.visit_no, f.is_rework, f.site_no, f.site_x_mm, f.site_y_mm, f.batch_id, f.source_record_no,
           unnest(CAST(ARRAY['temperature_c', 'pressure_torr', 'rf_power_w', 'rf_bias_power_w', 'reflected_power_w', 'gas_flow_sccm', 'chuck_temp_c', 'endpoint_time_s', 'film_thickness_nm', 'cd_nm', 'overlay_x_nm', 'overlay_y_nm', 'etch_rate_nm_min', 'deposition_rate_nm_min', 'removal_rate_nm_min', 'refractive_index', 'sheet_resistance_ohm_sq', 'uniformity_pct'] AS text[])) AS parameter,
           unnest(ARRAY[f.temperature_c, f.pressure_torr, f.rf_power_w, f.rf_bias_power_w, f.reflected_power_w, f.gas_flow_sccm, f.chuck_temp_c, f.endpoint_time_s, f.film_thickness_nm, f.cd_nm, f.overlay_x_nm, f.overlay_y_nm, f.etch_rate_nm_min, f.deposition_rate_nm_min, f.removal_rate_nm_min, f.refractive_index, f.sheet_resistance_ohm_sq, f.uniformity_pct]) AS value,
           unnest(CAST(ARRAY['degC', 'Torr', 'W', 'W', 'W', 'sccm', 'degC', 's', 'nm', 'nm', 'nm', 'nm', 'nm/min', 'nm/min', 'nm/min', '1', 'ohm/sq', 'percent'] AS text[])) AS own_unit
    FROM dw.fact_process_measurements f
    LEFT JOIN dw.dim_wafer w ON w.wafer_key = f.wafer_key AND w.is_current
    LEFT JOIN dw.dim_lot l ON l.lot_key = f.lot_key AND l.is_current
    LEFT JOIN dw.dim_process_step s ON s.process_step_key = f.process_step_key AND s.is_current
    LEFT JOIN dw.dim_equipment e ON e.equipment_key = f.equipment_key AND e.is_current
    LEFT JOIN dw.dim_equipment c ON c.equipment_key = f.chamber_key AND c.is_current
    WHERE true
    AND coalesce(f.temperature_c, f.pressure_torr, f.rf_power_w, f.rf_bias_power_w, f.reflected_power_w, f.gas_flow_sccm, f.chuck_temp_c, f.endpoint_time_s, f.film_thickness_nm, f.cd_nm, f.overlay_x_nm, f.overlay_y_nm, f.etch_rate_nm_min, f.deposition_rate_nm_min, f.removal_rate_nm_min, f.refractive_index, f.sheet_resistance_ohm_sq, f.uniformity_pct) IS NOT NULL
) v
LEFT JOIN (
    SELECT s.process_step_key, s.effective_date, s.expiry_date, j.key AS parameter,
           j.value ->> 'name' AS name,
           j.value ->> 'unit' AS unit,
           j.value ->> 'limit_version' AS limit_version,
           CASE WHEN jsonb_typeof(j.value -> 'lsl') = 'number' THEN CAST(j.value ->> 'lsl' AS double precision) END AS lsl,
           CASE WHEN jsonb_typeof(j.value -> 'lcl') = 'number' THEN CAST(j.value ->> 'lcl' AS double precision) END AS lcl,
           CASE WHEN jsonb_typeof(j.value -> 'target') = 'number' THEN CAST(j.value ->> 'target' AS double precision) END AS target,
           CASE WHEN jsonb_typeof(j.value -> 'ucl') = 'number' THEN CAST(j.value ->> 'ucl' AS double precision) END AS ucl,
           CASE WHEN jsonb_typeof(j.value -> 'usl') = 'number' THEN CAST(j.value ->> 'usl' AS double precision) END AS usl
    FROM dw.dim_process_step s
    CROSS JOIN LATERAL jsonb_each(s.control_limits) AS j (key, value)
    OFFSET 0
) m ON m.process_step_key = v.process_step_key AND m.parameter = v.parameter
   AND v.event_ts >= m.effective_date AND v.event_ts < m.expiry_date
WHERE v.value IS NOT NULL;

COMMENT ON VIEW dw.v_process_values IS 'Measured values: a row per measurement and parameter, with the limits in force; a bare visit has none';

COMMENT ON COLUMN dw.v_process_values.wafer_key IS 'Wafer (dim_wafer)';

COMMENT ON COLUMN dw.v_process_values.root_lot_id IS 'Lot the wafer was started in';

COMMENT ON COLUMN dw.v_process_values.wafer_id IS 'Wafer in its root lot';

COMMENT ON COLUMN dw.v_process_values.lot_key IS 'Lot at the event (dim_lot)';

COMMENT ON COLUMN dw.v_process_values.lot_id IS 'Lot at the event';

COMMENT ON COLUMN dw.v_process_values.product_key IS 'Product (dim_product)';

COMMENT ON COLUMN dw.v_process_values.process_step_key IS 'Step (dim_process_step)';

COMMENT ON COLUMN dw.v_process_values.process_flow_id IS 'Process flow, or test program';

COMMENT ON COLUMN dw.v_process_values.flow_version IS 'Version of the flow';

COMMENT ON COLUMN dw.v_process_values.step_number IS 'Step of the flow, or test stage';

COMMENT ON COLUMN dw.v_process_values.step_name IS 'Name of the step';

COMMENT ON COLUMN dw.v_process_values.recipe_key IS 'Recipe (dim_recipe)';

COMMENT ON COLUMN dw.v_process_values.equipment_key IS 'Tool (dim_equipment)';

COMMENT ON COLUMN dw.v_process_values.equipment_id IS 'Tool';

COMMENT ON COLUMN dw.v_process_values.chamber_key IS 'Chamber (dim_equipment)';

COMMENT ON COLUMN dw.v_process_values.chamber_id IS 'Chamber; empty where there was none';

COMMENT ON COLUMN dw.v_process_values.event_ts IS 'Event, UTC';

COMMENT ON COLUMN dw.v_process_values.measurement_type IS 'TRACK, FDC or METROLOGY';

COMMENT ON COLUMN dw.v_process_values.visit_no IS 'Visit of the wafer to the step';

COMMENT ON COLUMN dw.v_process_values.is_rework IS 'Whether the visit was a rework';

COMMENT ON COLUMN dw.v_process_values.site_no IS 'Measured site; 0 for the wafer as a whole';

COMMENT ON COLUMN dw.v_process_values.site_x_mm IS 'Site in x from the wafer''s centre, mm';

COMMENT ON COLUMN dw.v_process_values.site_y_mm IS 'Site in y from the wafer''s centre, mm';

COMMENT ON COLUMN dw.v_process_values.batch_id IS 'Batch that loaded it (etl_load_batch)';

COMMENT ON COLUMN dw.v_process_values.source_record_no IS 'Number of the record in its source';

COMMENT ON COLUMN dw.v_process_values.parameter IS 'Name in parameters, or of the measure''s column';

COMMENT ON COLUMN dw.v_process_values.value IS 'Value, in the unit given';

COMMENT ON COLUMN dw.v_process_values.unit IS 'Unit: that of the limits in force, else that of the measure''s column';

COMMENT ON COLUMN dw.v_process_values.lsl IS 'Lower specification limit in force at the event';

COMMENT ON COLUMN dw.v_process_values.usl IS 'Upper specification limit in force at the event';

COMMENT ON COLUMN dw.v_process_values.limit_version IS 'Version of the limits in force';

COMMENT ON COLUMN dw.v_process_values.is_in_spec IS 'Whether lsl <= value <= usl; NULL where there is no limit';

COMMENT ON COLUMN dw.v_process_values.lcl IS 'Lower control limit in force at the event';

COMMENT ON COLUMN dw.v_process_values.target IS 'Target in force at the event';

COMMENT ON COLUMN dw.v_process_values.ucl IS 'Upper control limit in force at the event';

COMMENT ON COLUMN dw.v_process_values.is_in_control IS 'Whether lcl <= value <= ucl; NULL where there is no limit';

CREATE VIEW dw.v_process_capability AS
SELECT g.source, g.process_step_key, g.process_flow_id, g.flow_version, g.step_number, g.step_name, g.product_key, g.product_id, g.product_revision,
       g.parameter, g.unit, g.limit_version, g.lsl, g.target, g.usl,
       g.n, g.mean, g.sigma, g.min_value, g.max_value,
       CASE WHEN g.sigma > 0 THEN (g.usl - g.lsl) / (6 * g.sigma) END AS cp,
       CASE WHEN g.sigma > 0 THEN least(g.usl - g.mean, g.mean - g.lsl) / (3 * g.sigma) END AS cpk
FROM (
    SELECT v.source, v.process_step_key, v.process_flow_id, v.flow_version, v.step_number, v.step_name, v.product_key, v.product_id, v.product_revision, v.parameter,
           coalesce(m.unit, v.own_unit) AS unit, m.limit_version, m.lsl, m.target, m.usl,
           count(*) AS n, avg(v.value) AS mean, min(v.value) AS min_value, max(v.value) AS max_value,
           CASE WHEN count(*) > 1 AND min(v.value) = max(v.value) THEN 0
                ELSE stddev_samp(v.value - coalesce(m.target, (m.lsl + m.usl) / 2, m.lsl, m.usl, 0))
           END AS sigma
    FROM (
        SELECT CAST('PROCESS' AS text) AS source, p.*
        FROM (
            SELECT f.process_step_key, s.process_flow_id, s.flow_version, s.step_number, s.step_name, f.product_key, p.product_id, p.product_revision, f.event_ts, j.key AS parameter,
                   CASE WHEN jsonb_typeof(j.value) = 'number'
                        THEN CAST(CAST(j.value AS text) AS double precision) END AS value,
                   CAST(NULL AS text) AS own_unit
            FROM dw.fact_process_measurements f
            CROSS JOIN LATERAL jsonb_each(f.parameters) AS j (key, value)
            LEFT JOIN dw.dim_process_step s ON s.process_step_key = f.process_step_key AND s.is_current
            LEFT JOIN (
                SELECT product_key, product_id, revision AS product_revision FROM dw.dim_product WHERE is_current
            ) p ON p.product_key = f.product_key
            WHERE true
            UNION ALL
            SELECT f.process_step_key, s.process_flow_id, s.flow_version, s.step_number, s.step_name, f.product_key, p.product_id, p.product_revision, f.event_ts,
                   unnest(CAST(ARRAY['temperature_c', 'pressure_torr', 'rf_power_w', 'rf_bias_power_w', 'reflected_power_w', 'gas_flow_sccm', 'chuck_temp_c', 'endpoint_time_s', 'film_thickness_nm', 'cd_nm', 'overlay_x_nm', 'overlay_y_nm', 'etch_rate_nm_min', 'deposition_rate_nm_min', 'removal_rate_nm_min', 'refractive_index', 'sheet_resistance_ohm_sq', 'uniformity_pct'] AS text[])) AS parameter,
                   unnest(ARRAY[f.temperature_c, f.pressure_torr, f.rf_power_w, f.rf_bias_power_w, f.reflected_power_w, f.gas_flow_sccm, f.chuck_temp_c, f.endpoint_time_s, f.film_thickness_nm, f.cd_nm, f.overlay_x_nm, f.overlay_y_nm, f.etch_rate_nm_min, f.deposition_rate_nm_min, f.removal_rate_nm_min, f.refractive_index, f.sheet_resistance_ohm_sq, f.uniformity_pct]) AS value,
                   unnest(CAST(ARRAY['degC', 'Torr', 'W', 'W', 'W', 'sccm', 'degC', 's', 'nm', 'nm', 'nm', 'nm', 'nm/min', 'nm/min', 'nm/min', '1', 'ohm/sq', 'percent'] AS text[])) AS own_unit
            FROM dw.fact_process_measurements f
            LEFT JOIN dw.dim_process_step s ON s.process_step_key = f.process_step_key AND s.is_current
            LEFT JOIN (
                SELECT product_key, product_id, revision AS product_revision FROM dw.dim_product WHERE is_current
            ) p ON p.product_key = f.product_key
            WHERE true
            AND coalesce(f.temperature_c, f.pressure_torr, f.rf_power_w, f.rf_bias_power_w, f.reflected_power_w, f.gas_flow_sccm, f.chuck_temp_c, f.endpoint_time_s, f.film_thickness_nm, f.cd_nm, f.overlay_x_nm, f.overlay_y_nm, f.etch_rate_nm_min, f.deposition_rate_nm_min, f.removal_rate_nm_min, f.refractive_index, f.sheet_resistance_ohm_sq, f.uniformity_pct) IS NOT NULL
        ) p
        UNION ALL
        SELECT CAST('TEST' AS text) AS source, t.*
        FROM (
            SELECT f.process_step_key, s.process_flow_id, s.flow_version, s.step_number, s.step_name, f.product_key, p.product_id, p.product_revision, f.event_ts, j.key AS parameter,
                   CASE WHEN jsonb_typeof(j.value) = 'number'
                        THEN CAST(CAST(j.value AS text) AS double precision) END AS value,
                   CAST(NULL AS text) AS own_unit
            FROM dw.fact_test_results f
            CROSS JOIN LATERAL jsonb_each(f.parameters) AS j (key, value)
            LEFT JOIN dw.dim_process_step s ON s.process_step_key = f.process_step_key AND s.is_current
            LEFT JOIN (
                SELECT product_key, product_id, revision AS product_revision FROM dw.dim_product WHERE is_current
            ) p ON p.product_key = f.product_key
            WHERE f.is_final_result IS DISTINCT FROM false
            UNION ALL
            SELECT f.process_step_key, s.process_flow_id, s.flow_version, s.step_number, s.step_name, f.product_key, p.product_id, p.product_revision, f.event_ts,
                   unnest(CAST(ARRAY['vth_mv', 'idsat_ua_um', 'ileak_pa_um', 'tox_nm', 'rs_ohm_sq', 'rc_ohm', 'gm_ms_mm', 'bvdss_v', 'idd_ma', 'fmax_mhz'] AS text[])) AS parameter,
                   unnest(ARRAY[f.vth_mv, f.idsat_ua_um, f.ileak_pa_um, f.tox_nm, f.rs_ohm_sq, f.rc_ohm, f.gm_ms_mm, f.bvdss_v, f.idd_ma, f.fmax_mhz]) AS value,
                   unnest(CAST(ARRAY['mV', 'uA/um', 'pA/um', 'nm', 'ohm/sq', 'ohm', 'mS/mm', 'V', 'mA', 'MHz'] AS text[])) AS own_unit
            FROM dw.fact_test_results f
            LEFT JOIN dw.dim_process_step s ON s.process_step_key = f.process_step_key AND s.is_current
            LEFT JOIN (
                SELECT product_key, product_id, revision AS product_revision FROM dw.dim_product WHERE is_current
            ) p ON p.product_key = f.product_key
            WHERE f.is_final_result IS DISTINCT FROM false
            AND coalesce(f.vth_mv, f.idsat_ua_um, f.ileak_pa_um, f.tox_nm, f.rs_ohm_sq, f.rc_ohm, f.gm_ms_mm, f.bvdss_v, f.idd_ma, f.fmax_mhz) IS NOT NULL
        ) t
    ) v
    LEFT JOIN (
        SELECT s.process_step_key, s.effective_date, s.expiry_date, j.key AS parameter,
               j.value ->> 'name' AS name,
               j.value ->> 'unit' AS unit,
               j.value ->> 'limit_version' AS limit_version,
               CASE WHEN jsonb_typeof(j.value -> 'lsl') = 'number' THEN CAST(j.value ->> 'lsl' AS double precision) END AS lsl,
               CASE WHEN jsonb_typeof(j.value -> 'lcl') = 'number' THEN CAST(j.value ->> 'lcl' AS double precision) END AS lcl,
               CASE WHEN jsonb_typeof(j.value -> 'target') = 'number' THEN CAST(j.value ->> 'target' AS double precision) END AS target,
               CASE WHEN jsonb_typeof(j.value -> 'ucl') = 'number' THEN CAST(j.value ->> 'ucl' AS double precision) END AS ucl,
               CASE WHEN jsonb_typeof(j.value -> 'usl') = 'number' THEN CAST(j.value ->> 'usl' AS double precision) END AS usl
        FROM dw.dim_process_step s
        CROSS JOIN LATERAL jsonb_each(s.control_limits) AS j (key, value)
        OFFSET 0
    ) m ON m.process_step_key = v.process_step_key AND m.parameter = v.parameter
       AND v.event_ts >= m.effective_date AND v.event_ts < m.expiry_date
    WHERE v.value IS NOT NULL
    GROUP BY v.source, v.process_step_key, v.process_flow_id, v.flow_version, v.step_number, v.step_name, v.product_key, v.product_id, v.product_revision, v.parameter,
             coalesce(m.unit, v.own_unit), m.limit_version, m.lsl, m.target, m.usl
) g;

COMMENT ON VIEW dw.v_process_capability IS 'Capability by step, product, parameter and set of limits, over all events; test results by the last insertion of a unit in its file';

COMMENT ON COLUMN dw.v_process_capability.source IS 'PROCESS (fact_process_measurements) or TEST (fact_test_results)';

COMMENT ON COLUMN dw.v_process_capability.process_step_key IS 'Step (dim_process_step)';

COMMENT ON COLUMN dw.v_process_capability.process_flow_id IS 'Process flow, or test program';

COMMENT ON COLUMN dw.v_process_capability.flow_version IS 'Version of the flow';

COMMENT ON COLUMN dw.v_process_capability.step_number IS 'Step of the flow, or test stage';

COMMENT ON COLUMN dw.v_process_capability.step_name IS 'Name of the step';

COMMENT ON COLUMN dw.v_process_capability.product_key IS 'Product (dim_product)';

COMMENT ON COLUMN dw.v_process_capability.product_id IS 'Product';

COMMENT ON COLUMN dw.v_process_capability.product_revision IS 'Design revision';

COMMENT ON COLUMN dw.v_process_capability.parameter IS 'Name of the parameter, or test number';

COMMENT ON COLUMN dw.v_process_capability.unit IS 'Unit of value and limits';

COMMENT ON COLUMN dw.v_process_capability.limit_version IS 'Version of the limits';

COMMENT ON COLUMN dw.v_process_capability.lsl IS 'Lower specification limit';

COMMENT ON COLUMN dw.v_process_capability.target IS 'Target';

COMMENT ON COLUMN dw.v_process_capability.usl IS 'Upper specification limit';

COMMENT ON COLUMN dw.v_process_capability.n IS 'Values, count';

COMMENT ON COLUMN dw.v_process_capability.mean IS 'Mean of the values';

COMMENT ON COLUMN dw.v_process_capability.sigma IS 'Sample standard deviation of all values; NULL for fewer than two';

COMMENT ON COLUMN dw.v_process_capability.min_value IS 'Least value';

COMMENT ON COLUMN dw.v_process_capability.max_value IS 'Greatest value';

COMMENT ON COLUMN dw.v_process_capability.cp IS '(USL - LSL) / 6 sigma; NULL where sigma = 0, n < 2, or a limit is missing';

COMMENT ON COLUMN dw.v_process_capability.cpk IS 'min(USL - mean, mean - LSL) / 3 sigma, from the one side where a limit is missing; NULL where sigma = 0, n < 2, or both are';

CREATE VIEW dw.v_inspection_summary AS
SELECT i.wafer_key, i.root_lot_id, i.wafer_id, i.lot_key, i.lot_id, i.product_key,
       i.process_step_key, s.process_flow_id, s.flow_version, s.step_number, s.step_name,
       i.inspection_id, i.test_no, i.layer_name, i.event_ts,
       i.inspection_equipment_key, e.equipment_id AS inspection_equipment_id,
       i.inspected_area_cm2, i.inspected_die,
       i.defects, i.killer_defects, i.adder_defects, i.clustered_defects, i.reviewed_defects, i.defective_die,
       CAST(100 AS double precision) * i.defective_die / NULLIF(i.inspected_die, 0) AS defective_die_pct,
       i.defects / NULLIF(i.inspected_area_cm2, 0) AS defect_density_per_cm2
FROM (
    SELECT d.wafer_key, d.root_lot_id, d.wafer_id, d.lot_key, d.lot_id, d.inspection_id, d.test_no,
           max(d.product_key) AS product_key, max(d.process_step_key) AS process_step_key,
           max(d.inspection_equipment_key) AS inspection_equipment_key,
           max(d.layer_name) AS layer_name, min(d.event_ts) AS event_ts,
           max(d.inspected_area_cm2) AS inspected_area_cm2, max(d.inspected_die) AS inspected_die,
           CAST(sum(d.defects) AS bigint) AS defects,
           CAST(sum(d.killer_defects) AS bigint) AS killer_defects,
           CAST(sum(d.adder_defects) AS bigint) AS adder_defects,
           CAST(sum(d.clustered_defects) AS bigint) AS clustered_defects,
           CAST(sum(d.reviewed_defects) AS bigint) AS reviewed_defects,
           count(CASE WHEN d.defects > 0 AND d.die_x IS NOT NULL AND d.die_y IS NOT NULL THEN 1 END) AS defective_die
    FROM (
        SELECT f.wafer_key, w.root_lot_id, w.wafer_id, f.lot_key, l.lot_id, f.inspection_id, f.test_no,
               f.die_x, f.die_y,
               max(f.product_key) AS product_key, max(f.process_step_key) AS process_step_key,
               max(f.inspection_equipment_key) AS inspection_equipment_key,
               max(f.layer_name) AS layer_name, min(f.event_ts) AS event_ts,
               max(f.inspected_area_cm2) AS inspected_area_cm2, max(f.inspected_die) AS inspected_die,
               count(CASE WHEN f.is_defect THEN 1 END) AS defects,
               count(CASE WHEN f.is_defect AND f.is_killer THEN 1 END) AS killer_defects,
               count(CASE WHEN f.is_defect AND f.is_adder THEN 1 END) AS adder_defects,
               count(CASE WHEN f.is_defect AND f.cluster_no <> 0 THEN 1 END) AS clustered_defects,
               count(CASE WHEN f.is_defect AND f.is_reviewed THEN 1 END) AS reviewed_defects
        FROM dw.fact_defect_inspection f
        LEFT JOIN dw.dim_wafer w ON w.wafer_key = f.wafer_key AND w.is_current
        LEFT JOIN dw.dim_lot l ON l.lot_key = f.lot_key AND l.is_current
        GROUP BY f.wafer_key, f.lot_key, f.inspection_id, f.test_no, f.die_x, f.die_y,
                 w.root_lot_id, w.wafer_id, l.lot_id
    ) d
    GROUP BY d.wafer_key, d.lot_key, d.inspection_id, d.test_no, d.root_lot_id, d.wafer_id, d.lot_id
) i
LEFT JOIN dw.dim_process_step s ON s.process_step_key = i.process_step_key AND s.is_current
LEFT JOIN dw.dim_equipment e ON e.equipment_key = i.inspection_equipment_key AND e.is_current;

COMMENT ON VIEW dw.v_inspection_summary IS 'Inspections, clean ones included: a row per wafer, inspection and test of the inspection, as KLARF''s SummaryList has it. Tests may cover the same area, so their rows do not add up';

COMMENT ON COLUMN dw.v_inspection_summary.wafer_key IS 'Wafer (dim_wafer)';

COMMENT ON COLUMN dw.v_inspection_summary.root_lot_id IS 'Lot the wafer was started in';

COMMENT ON COLUMN dw.v_inspection_summary.wafer_id IS 'Wafer in its root lot';

COMMENT ON COLUMN dw.v_inspection_summary.lot_key IS 'Lot at the event (dim_lot)';

COMMENT ON COLUMN dw.v_inspection_summary.lot_id IS 'Lot at the event';

COMMENT ON COLUMN dw.v_inspection_summary.product_key IS 'Product (dim_product)';

COMMENT ON COLUMN dw.v_inspection_summary.process_step_key IS 'Step (dim_process_step)';

COMMENT ON COLUMN dw.v_inspection_summary.process_flow_id IS 'Process flow, or test program';

COMMENT ON COLUMN dw.v_inspection_summary.flow_version IS 'Version of the flow';

COMMENT ON COLUMN dw.v_inspection_summary.step_number IS 'Step of the flow, or test stage';

COMMENT ON COLUMN dw.v_inspection_summary.step_name IS 'Name of the step';

COMMENT ON COLUMN dw.v_inspection_summary.inspection_id IS 'Inspection';

COMMENT ON COLUMN dw.v_inspection_summary.test_no IS 'Test of the inspection (KLARF InspectionTest)';

COMMENT ON COLUMN dw.v_inspection_summary.layer_name IS 'Layer';

COMMENT ON COLUMN dw.v_inspection_summary.event_ts IS 'Inspection, UTC';

COMMENT ON COLUMN dw.v_inspection_summary.inspection_equipment_key IS 'Inspection tool (dim_equipment)';

COMMENT ON COLUMN dw.v_inspection_summary.inspection_equipment_id IS 'Inspection tool';

COMMENT ON COLUMN dw.v_inspection_summary.inspected_area_cm2 IS 'Area inspected, cm2';

COMMENT ON COLUMN dw.v_inspection_summary.inspected_die IS 'Die inspected, count';

COMMENT ON COLUMN dw.v_inspection_summary.defects IS 'Defects, count; 0 for a clean inspection';

COMMENT ON COLUMN dw.v_inspection_summary.killer_defects IS 'Defects taken to kill their die, count';

COMMENT ON COLUMN dw.v_inspection_summary.adder_defects IS 'Defects this step added, count';

COMMENT ON COLUMN dw.v_inspection_summary.clustered_defects IS 'Defects in clusters, count';

COMMENT ON COLUMN dw.v_inspection_summary.reviewed_defects IS 'Defects reviewed, count';

COMMENT ON COLUMN dw.v_inspection_summary.defective_die IS 'Die with a defect, count';

COMMENT ON COLUMN dw.v_inspection_summary.defective_die_pct IS '100 defective die / inspected die, percent';

COMMENT ON COLUMN dw.v_inspection_summary.defect_density_per_cm2 IS 'Defects / inspected area, per cm2; NULL where the area is not known';

CREATE VIEW dw.v_equipment_oee AS
SELECT f.equipment_key, e.facility, e.equipment_id, e.chamber_id, e.equipment_type, e.area,
       f.event_ts, t.fab_date, coalesce(f.shift_code, t.shift_code) AS shift_code,
       f.productive_s, f.standby_s, f.engineering_s, f.scheduled_down_s, f.unscheduled_down_s, f.non_scheduled_s, f.total_s, f.failure_count, f.repair_count, f.repair_time_s, f.assist_count, f.wafers_processed, f.wafers_good, f.theoretical_production_time_s, f.theoretical_good_time_s,
       (f.productive_s + f.standby_s + f.engineering_s) / NULLIF(f.total_s, 0) AS availability,
       f.theoretical_production_time_s / NULLIF(f.productive_s + f.standby_s + f.engineering_s, 0) AS performance,
       f.theoretical_good_time_s / NULLIF(f.theoretical_production_time_s, 0) AS quality,
       f.theoretical_good_time_s / NULLIF(f.total_s, 0) AS oee,
       f.productive_s / NULLIF(f.total_s, 0) AS utilization,
       f.productive_s / 3600 / NULLIF(f.failure_count, 0) AS mtbf_h,
       f.repair_time_s / 3600 / NULLIF(f.repair_count, 0) AS mttr_h
FROM dw.fact_equipment_performance f
LEFT JOIN dw.dim_equipment e ON e.equipment_key = f.equipment_key AND e.is_current
LEFT JOIN dw.dim_time t ON t.time_key = f.time_key;

COMMENT ON VIEW dw.v_equipment_oee IS 'OEE of a tool or chamber by shift (SEMI E79); for longer times sum the addends, never the ratios';

COMMENT ON COLUMN dw.v_equipment_oee.equipment_key IS 'Tool or chamber (dim_equipment)';

COMMENT ON COLUMN dw.v_equipment_oee.facility IS 'Fab or test site';

COMMENT ON COLUMN dw.v_equipment_oee.equipment_id IS 'Tool';

COMMENT ON COLUMN dw.v_equipment_oee.chamber_id IS 'Chamber; empty for the tool itself';

COMMENT ON COLUMN dw.v_equipment_oee.equipment_type IS 'Kind of tool';

COMMENT ON COLUMN dw.v_equipment_oee.area IS 'Area of the fab';

COMMENT ON COLUMN dw.v_equipment_oee.event_ts IS 'Start of the shift, UTC';

COMMENT ON COLUMN dw.v_equipment_oee.fab_date IS 'Fab day of the shift';

COMMENT ON COLUMN dw.v_equipment_oee.shift_code IS 'Shift';

COMMENT ON COLUMN dw.v_equipment_oee.productive_s IS 'Productive time, s (SEMI E10)';

COMMENT ON COLUMN dw.v_equipment_oee.standby_s IS 'Standby time, s (SEMI E10)';

COMMENT ON COLUMN dw.v_equipment_oee.engineering_s IS 'Engineering time, s (SEMI E10)';

COMMENT ON COLUMN dw.v_equipment_oee.scheduled_down_s IS 'Scheduled down time, s (SEMI E10)';

COMMENT ON COLUMN dw.v_equipment_oee.unscheduled_down_s IS 'Unscheduled down time, s (SEMI E10)';

COMMENT ON COLUMN dw.v_equipment_oee.non_scheduled_s IS 'Non scheduled time, s (SEMI E10)';

COMMENT ON COLUMN dw.v_equipment_oee.total_s IS 'Total time, s (SEMI E10)';

COMMENT ON COLUMN dw.v_equipment_oee.failure_count IS 'Failures, count';

COMMENT ON COLUMN dw.v_equipment_oee.repair_count IS 'Repairs, count';

COMMENT ON COLUMN dw.v_equipment_oee.repair_time_s IS 'Time spent on repairs, s';

COMMENT ON COLUMN dw.v_equipment_oee.assist_count IS 'Assists, count';

COMMENT ON COLUMN dw.v_equipment_oee.wafers_processed IS 'Wafers processed, count';

COMMENT ON COLUMN dw.v_equipment_oee.wafers_good IS 'Wafers processed and good, count';

COMMENT ON COLUMN dw.v_equipment_oee.theoretical_production_time_s IS 'Theoretical production time of all units, s (SEMI E79)';

COMMENT ON COLUMN dw.v_equipment_oee.theoretical_good_time_s IS 'Theoretical production time of the good units, s (SEMI E79)';

COMMENT ON COLUMN dw.v_equipment_oee.availability IS 'Availability efficiency: (productive + standby + engineering) / total (SEMI E79)';

COMMENT ON COLUMN dw.v_equipment_oee.performance IS 'Performance efficiency: theoretical production time / uptime (SEMI E79)';

COMMENT ON COLUMN dw.v_equipment_oee.quality IS 'Quality efficiency: theoretical time of good units / of all units (SEMI E79)';

COMMENT ON COLUMN dw.v_equipment_oee.oee IS 'Overall equipment efficiency: theoretical time of good units / total time (SEMI E79)';

COMMENT ON COLUMN dw.v_equipment_oee.utilization IS 'Productive / total time (SEMI E10 total utilization)';

COMMENT ON COLUMN dw.v_equipment_oee.mtbf_h IS 'Productive time by failure, h; NULL where none failed (SEMI E10 MTBFp)';

COMMENT ON COLUMN dw.v_equipment_oee.mttr_h IS 'Repair time by repair, h; NULL where there was none (SEMI E10 MTTR)';

CREATE VIEW dw.v_equipment_oee_monthly AS
SELECT f.equipment_key, e.facility, e.equipment_id, e.chamber_id, e.equipment_type, e.area, f.fab_year, f.fab_month, f.shifts,
       f.productive_s, f.standby_s, f.engineering_s, f.scheduled_down_s, f.unscheduled_down_s, f.non_scheduled_s, f.total_s, f.failure_count, f.repair_count, f.repair_time_s, f.assist_count, f.wafers_processed, f.wafers_good, f.theoretical_production_time_s, f.theoretical_good_time_s,
       (f.productive_s + f.standby_s + f.engineering_s) / NULLIF(f.total_s, 0) AS availability,
       f.theoretical_production_time_s / NULLIF(f.productive_s + f.standby_s + f.engineering_s, 0) AS performance,
       f.theoretical_good_time_s / NULLIF(f.theoretical_production_time_s, 0) AS quality,
       f.theoretical_good_time_s / NULLIF(f.total_s, 0) AS oee,
       f.productive_s / NULLIF(f.total_s, 0) AS utilization,
       f.productive_s / 3600 / NULLIF(f.failure_count, 0) AS mtbf_h,
       f.repair_time_s / 3600 / NULLIF(f.repair_count, 0) AS mttr_h
FROM (
    SELECT p.equipment_key,
           coalesce(t.fab_year, CAST(extract(year FROM p.event_ts AT TIME ZONE 'UTC') AS integer)) AS fab_year,
           coalesce(t.fab_month, CAST(extract(month FROM p.event_ts AT TIME ZONE 'UTC') AS integer))
               AS fab_month,
           count(*) AS shifts,
           sum(p.productive_s) AS productive_s,
           sum(p.standby_s) AS standby_s,
           sum(p.engineering_s) AS engineering_s,
           sum(p.scheduled_down_s) AS scheduled_down_s,
           sum(p.unscheduled_down_s) AS unscheduled_down_s,
           sum(p.non_scheduled_s) AS non_scheduled_s,
           sum(p.total_s) AS total_s,
           sum(p.failure_count) AS failure_count,
           sum(p.repair_count) AS repair_count,
           sum(p.repair_time_s) AS repair_time_s,
           sum(p.assist_count) AS assist_count,
           sum(p.wafers_processed) AS wafers_processed,
           sum(p.wafers_good) AS wafers_good,
           sum(p.theoretical_production_time_s) AS theoretical_production_time_s,
           sum(p.theoretical_good_time_s) AS theoretical_good_time_s
    FROM dw.fact_equipment_performance p
    LEFT JOIN dw.dim_time t ON t.time_key = p.time_key
    GROUP BY 1, 2, 3
) f
LEFT JOIN dw.dim_equipment e ON e.equipment_key = f.equipment_key AND e.is_current;

COMMENT ON VIEW dw.v_equipment_oee_monthly IS 'OEE, MTBF and MTTR of a tool or chamber by fab month, from summed addends (SEMI E10, E79)';

COMMENT ON COLUMN dw.v_equipment_oee_monthly.equipment_key IS 'Tool or chamber (dim_equipment)';

COMMENT ON COLUMN dw.v_equipment_oee_monthly.facility IS 'Fab or test site';

COMMENT ON COLUMN dw.v_equipment_oee_monthly.equipment_id IS 'Tool';

COMMENT ON COLUMN dw.v_equipment_oee_monthly.chamber_id IS 'Chamber; empty for the tool itself';

COMMENT ON COLUMN dw.v_equipment_oee_monthly.equipment_type IS 'Kind of tool';

COMMENT ON COLUMN dw.v_equipment_oee_monthly.area IS 'Area of the fab';

COMMENT ON COLUMN dw.v_equipment_oee_monthly.fab_year IS 'Fab year';

COMMENT ON COLUMN dw.v_equipment_oee_monthly.fab_month IS 'Fab month, 1 to 12';

COMMENT ON COLUMN dw.v_equipment_oee_monthly.shifts IS 'Shifts reported, count';

COMMENT ON COLUMN dw.v_equipment_oee_monthly.productive_s IS 'Productive time, s (SEMI E10)';

COMMENT ON COLUMN dw.v_equipment_oee_monthly.standby_s IS 'Standby time, s (SEMI E10)';

COMMENT ON COLUMN dw.v_equipment_oee_monthly.engineering_s IS 'Engineering time, s (SEMI E10)';

COMMENT ON COLUMN dw.v_equipment_oee_monthly.scheduled_down_s IS 'Scheduled down time, s (SEMI E10)';

COMMENT ON COLUMN dw.v_equipment_oee_monthly.unscheduled_down_s IS 'Unscheduled down time, s (SEMI E10)';

COMMENT ON COLUMN dw.v_equipment_oee_monthly.non_scheduled_s IS 'Non scheduled time, s (SEMI E10)';

COMMENT ON COLUMN dw.v_equipment_oee_monthly.total_s IS 'Total time, s (SEMI E10)';

COMMENT ON COLUMN dw.v_equipment_oee_monthly.failure_count IS 'Failures, count';

COMMENT ON COLUMN dw.v_equipment_oee_monthly.repair_count IS 'Repairs, count';

COMMENT ON COLUMN dw.v_equipment_oee_monthly.repair_time_s IS 'Time spent on repairs, s';

COMMENT ON COLUMN dw.v_equipment_oee_monthly.assist_count IS 'Assists, count';

COMMENT ON COLUMN dw.v_equipment_oee_monthly.wafers_processed IS 'Wafers processed, count';

COMMENT ON COLUMN dw.v_equipment_oee_monthly.wafers_good IS 'Wafers processed and good, count';

COMMENT ON COLUMN dw.v_equipment_oee_monthly.theoretical_production_time_s IS 'Theoretical production time of all units, s (SEMI E79)';

COMMENT ON COLUMN dw.v_equipment_oee_monthly.theoretical_good_time_s IS 'Theoretical production time of the good units, s (SEMI E79)';

COMMENT ON COLUMN dw.v_equipment_oee_monthly.availability IS 'Availability efficiency: (productive + standby + engineering) / total (SEMI E79)';

COMMENT ON COLUMN dw.v_equipment_oee_monthly.performance IS 'Performance efficiency: theoretical production time / uptime (SEMI E79)';

COMMENT ON COLUMN dw.v_equipment_oee_monthly.quality IS 'Quality efficiency: theoretical time of good units / of all units (SEMI E79)';

COMMENT ON COLUMN dw.v_equipment_oee_monthly.oee IS 'Overall equipment efficiency: theoretical time of good units / total time (SEMI E79)';

COMMENT ON COLUMN dw.v_equipment_oee_monthly.utilization IS 'Productive / total time (SEMI E10 total utilization)';

COMMENT ON COLUMN dw.v_equipment_oee_monthly.mtbf_h IS 'Productive time by failure, h; NULL where none failed (SEMI E10 MTBFp)';

COMMENT ON COLUMN dw.v_equipment_oee_monthly.mttr_h IS 'Repair time by repair, h; NULL where there was none (SEMI E10 MTTR)';

CREATE VIEW dw.v_equipment_state AS
SELECT e.equipment_key, e.facility, e.equipment_id, e.chamber_id, e.equipment_type, e.area,
       u.event_ts AS last_event_ts, l.lot_id AS last_lot_id,
       s.step_number AS last_step_number, s.step_name AS last_step_name, r.recipe_id AS last_recipe_id,
       p.event_ts AS shift_start_ts,
       CASE WHEN p.longest_s = p.unscheduled_down_s THEN 'UNSCHEDULED_DOWN'
            WHEN p.longest_s = p.scheduled_down_s THEN 'SCHEDULED_DOWN'
            WHEN p.longest_s = p.non_scheduled_s THEN 'NON_SCHEDULED'
            WHEN p.longest_s = p.engineering_s THEN 'ENGINEERING'
            WHEN p.longest_s = p.standby_s THEN 'STANDBY'
            WHEN p.longest_s = p.productive_s THEN 'PRODUCTIVE'
       END AS main_state,
       p.longest_s / NULLIF(p.total_s, 0) AS main_state_share
FROM dw.dim_equipment e
LEFT JOIN (
    SELECT v.*, row_number() OVER (
               PARTITION BY v.equipment_key
               ORDER BY v.event_ts DESC, v.lot_key, v.process_step_key, v.recipe_key) AS place
    FROM (
        SELECT f.equipment_key AS equipment_key, f.lot_key, f.process_step_key, f.recipe_key,
               max(f.event_ts) AS event_ts
        FROM dw.fact_process_measurements f
        GROUP BY f.equipment_key, f.lot_key, f.process_step_key, f.recipe_key
        UNION ALL
        SELECT f.chamber_key AS equipment_key, f.lot_key, f.process_step_key, f.recipe_key,
               max(f.event_ts) AS event_ts
        FROM dw.fact_process_measurements f
        GROUP BY f.chamber_key, f.lot_key, f.process_step_key, f.recipe_key
        UNION ALL
        SELECT f.tester_key AS equipment_key, f.lot_key, f.process_step_key, f.recipe_key,
               max(f.event_ts) AS event_ts
        FROM dw.fact_test_results f
        GROUP BY f.tester_key, f.lot_key, f.process_step_key, f.recipe_key
        UNION ALL
        SELECT f.prober_key AS equipment_key, f.lot_key, f.process_step_key, f.recipe_key,
               max(f.event_ts) AS event_ts
        FROM dw.fact_test_results f
        GROUP BY f.prober_key, f.lot_key, f.process_step_key, f.recipe_key
        UNION ALL
        SELECT f.inspection_equipment_key AS equipment_key, f.lot_key, f.process_step_key, f.recipe_key,
               max(f.event_ts) AS event_ts
        FROM dw.fact_defect_inspection f
        GROUP BY f.inspection_equipment_key, f.lot_key, f.process_step_key, f.recipe_key
    ) v
) u ON u.equipment_key = e.equipment_key AND u.place = 1
LEFT JOIN (
    SELECT f.equipment_key, f.event_ts, f.total_s,
           f.productive_s, f.standby_s, f.engineering_s, f.scheduled_down_s, f.unscheduled_down_s, f.non_scheduled_s,
           greatest(f.productive_s, f.standby_s, f.engineering_s, f.scheduled_down_s, f.unscheduled_down_s, f.non_scheduled_s) AS longest_s,
           row_number() OVER (
               PARTITION BY f.equipment_key
               ORDER BY f.event_ts DESC, f.batch_id DESC, f.source_record_no DESC) AS place
    FROM dw.fact_equipment_performance f
) p ON p.equipment_key = e.equipment_key AND p.place = 1
LEFT JOIN dw.dim_lot l ON l.lot_key = u.lot_key AND l.is_current
LEFT JOIN dw.dim_process_step s ON s.process_step_key = u.process_step_key AND s.is_current
LEFT JOIN dw.dim_recipe r ON r.recipe_key = u.recipe_key AND r.is_current
WHERE e.is_current AND e.equipment_key NOT IN (-1, -2);

COMMENT ON VIEW dw.v_equipment_state IS 'What each tool and chamber did last, by the facts, and the SEMI E10 state with the most of its last shift';

COMMENT ON COLUMN dw.v_equipment_state.equipment_key IS 'Tool or chamber (dim_equipment)';

COMMENT ON COLUMN dw.v_equipment_state.facility IS 'Fab or test site';

COMMENT ON COLUMN dw.v_equipment_state.equipment_id IS 'Tool';

COMMENT ON COLUMN dw.v_equipment_state.chamber_id IS 'Chamber; empty for the tool itself';

COMMENT ON COLUMN dw.v_equipment_state.equipment_type IS 'Kind of tool';

COMMENT ON COLUMN dw.v_equipment_state.area IS 'Area of the fab';

COMMENT ON COLUMN dw.v_equipment_state.last_event_ts IS 'Last event of a wafer in it, UTC';

COMMENT ON COLUMN dw.v_equipment_state.last_lot_id IS 'Lot of that event';

COMMENT ON COLUMN dw.v_equipment_state.last_step_number IS 'Step of that event';

COMMENT ON COLUMN dw.v_equipment_state.last_step_name IS 'Name of the step';

COMMENT ON COLUMN dw.v_equipment_state.last_recipe_id IS 'Recipe of that event';

COMMENT ON COLUMN dw.v_equipment_state.shift_start_ts IS 'Last shift reported, UTC';

COMMENT ON COLUMN dw.v_equipment_state.main_state IS 'State with the most seconds in that shift (SEMI E10)';

COMMENT ON COLUMN dw.v_equipment_state.main_state_share IS 'Its share of the shift''s total time, 0 to 1';

CREATE VIEW dw.v_lot_genealogy AS
WITH RECURSIVE edge AS (
    SELECT b.parent_lot_key, b.child_lot_key
    FROM dw.bridge_lot_genealogy b
    UNION
    SELECT CAST(CAST('x' || substr(md5(l.parent_lot_id), 1, 16) AS bit(64)) AS bigint) AS parent_lot_key,
           l.lot_key AS child_lot_key
    FROM dw.dim_lot l
    WHERE l.is_current AND l.parent_lot_id <> ''
), tree AS (
    SELECT g.parent_lot_key AS ancestor_key, g.child_lot_key AS descendant_key, 1 AS distance,
           ARRAY[g.parent_lot_key, g.child_lot_key] AS path
    FROM edge g
    UNION ALL
    SELECT t.ancestor_key, g.child_lot_key, t.distance + 1, t.path || g.child_lot_key
    FROM tree t
    JOIN edge g ON g.parent_lot_key = t.descendant_key
    WHERE g.child_lot_key <> ALL (t.path)
), pair AS (
    SELECT t.ancestor_key, t.descendant_key, min(t.distance) AS distance
    FROM tree t
    GROUP BY t.ancestor_key, t.descendant_key
)
SELECT p.descendant_key AS lot_key, d.lot_id, CAST('ANCESTOR' AS text) AS direction, p.distance,
       p.ancestor_key AS related_lot_key, a.lot_id AS related_lot_id
FROM pair p
LEFT JOIN dw.dim_lot a ON a.lot_key = p.ancestor_key AND a.is_current
LEFT JOIN dw.dim_lot d ON d.lot_key = p.descendant_key AND d.is_current
UNION ALL
SELECT p.ancestor_key, a.lot_id, CAST('DESCENDANT' AS text), p.distance, p.descendant_key, d.lot_id
FROM pair p
LEFT JOIN dw.dim_lot a ON a.lot_key = p.ancestor_key AND a.is_current
LEFT JOIN dw.dim_lot d ON d.lot_key = p.descendant_key AND d.is_current;

COMMENT ON VIEW dw.v_lot_genealogy IS 'Ancestors and descendants of every lot, any depth. A filter does not reach into it: for one lot use wh.genealogy(), which starts at the lot';

COMMENT ON COLUMN dw.v_lot_genealogy.lot_key IS 'Lot (dim_lot)';

COMMENT ON COLUMN dw.v_lot_genealogy.lot_id IS 'Lot';

COMMENT ON COLUMN dw.v_lot_genealogy.direction IS 'ANCESTOR or DESCENDANT: what the related lot is to the lot';

COMMENT ON COLUMN dw.v_lot_genealogy.distance IS 'Splits, merges, reworks and renamings between them, the shortest way';

COMMENT ON COLUMN dw.v_lot_genealogy.related_lot_key IS 'Related lot (dim_lot)';

COMMENT ON COLUMN dw.v_lot_genealogy.related_lot_id IS 'Related lot; NULL where dim_lot does not know it';

CREATE VIEW dw.v_lot_status AS
SELECT l.lot_key, l.lot_id, l.product_key, p.product_id, l.lot_type, l.priority, l.lot_status, l.hold_code,
       l.wafer_count, l.due_ts,
       v.event_ts AS last_event_ts, v.event_type AS last_event_type,
       v.process_step_key, s.process_flow_id, s.flow_version, s.step_number, s.step_name, s.step_sequence,
       v.equipment_key, e.equipment_id, v.wafers AS wafers_seen
FROM (
    SELECT a.*, row_number() OVER (
               PARTITION BY a.lot_key, a.lot_id
               ORDER BY a.event_ts DESC NULLS LAST, a.event_type, a.process_step_key, a.equipment_key) AS place
    FROM (
        SELECT w.lot_key, w.lot_id, w.event_type, w.process_step_key, w.equipment_key,
               max(w.event_ts) AS event_ts, count(*) AS wafers
        FROM (
            SELECT f.lot_key, n.lot_id, CAST('PROCESS' AS text) AS event_type,
                   f.process_step_key, f.equipment_key AS equipment_key, f.wafer_key, max(f.event_ts) AS event_ts
            FROM dw.fact_process_measurements f
            JOIN dw.dim_lot n ON n.lot_key = f.lot_key AND n.is_current AND n.lot_key NOT IN (-1, -2)
            GROUP BY f.wafer_key, f.lot_key, n.lot_id, f.process_step_key, f.equipment_key
            UNION ALL
            SELECT f.lot_key, n.lot_id, CAST('TEST' AS text) AS event_type,
                   f.process_step_key, f.tester_key AS equipment_key, f.wafer_key, max(f.event_ts) AS event_ts
            FROM dw.fact_test_results f
            JOIN dw.dim_lot n ON n.lot_key = f.lot_key AND n.is_current AND n.lot_key NOT IN (-1, -2)
            GROUP BY f.wafer_key, f.lot_key, n.lot_id, f.process_step_key, f.tester_key
            UNION ALL
            SELECT f.lot_key, n.lot_id, CAST('INSPECTION' AS text) AS event_type,
                   f.process_step_key, f.inspection_equipment_key AS equipment_key, f.wafer_key, max(f.event_ts) AS event_ts
            FROM dw.fact_defect_inspection f
            JOIN dw.dim_lot n ON n.lot_key = f.lot_key AND n.is_current AND n.lot_key NOT IN (-1, -2)
            GROUP BY f.wafer_key, f.lot_key, n.lot_id, f.process_step_key, f.inspection_equipment_key
        ) w
        GROUP BY w.lot_key, w.lot_id, w.event_type, w.process_step_key, w.equipment_key
        UNION ALL
        SELECT n.lot_key, n.lot_id, CAST(NULL AS text), CAST(NULL AS bigint), CAST(NULL AS bigint),
               CAST(NULL AS timestamptz), CAST(NULL AS bigint)
        FROM dw.dim_lot n
        WHERE n.is_current AND n.lot_key NOT IN (-1, -2)
    ) a
) v
JOIN dw.dim_lot l ON l.lot_key = v.lot_key AND l.is_current
LEFT JOIN dw.dim_product p ON p.product_key = l.product_key AND p.is_current
LEFT JOIN dw.dim_process_step s ON s.process_step_key = v.process_step_key AND s.is_current
LEFT JOIN dw.dim_equipment e ON e.equipment_key = v.equipment_key AND e.is_current
WHERE v.place = 1;

COMMENT ON VIEW dw.v_lot_status IS 'Each lot with its last event, by the facts: where it is; lots without an event have NULL there';

COMMENT ON COLUMN dw.v_lot_status.lot_key IS 'Lot (dim_lot)';

COMMENT ON COLUMN dw.v_lot_status.lot_id IS 'Lot';

COMMENT ON COLUMN dw.v_lot_status.product_key IS 'Product (dim_product)';

COMMENT ON COLUMN dw.v_lot_status.product_id IS 'Product';

COMMENT ON COLUMN dw.v_lot_status.lot_type IS 'Kind of lot';

COMMENT ON COLUMN dw.v_lot_status.priority IS 'Priority, 1 = most urgent';

COMMENT ON COLUMN dw.v_lot_status.lot_status IS 'State, as last reported';

COMMENT ON COLUMN dw.v_lot_status.hold_code IS 'Why it is on hold';

COMMENT ON COLUMN dw.v_lot_status.wafer_count IS 'Wafers in it, count, as last reported';

COMMENT ON COLUMN dw.v_lot_status.due_ts IS 'Promised completion, UTC';

COMMENT ON COLUMN dw.v_lot_status.last_event_ts IS 'Last event of one of its wafers, UTC';

COMMENT ON COLUMN dw.v_lot_status.last_event_type IS 'PROCESS, TEST or INSPECTION';

COMMENT ON COLUMN dw.v_lot_status.process_step_key IS 'Step of that event (dim_process_step)';

COMMENT ON COLUMN dw.v_lot_status.process_flow_id IS 'Process flow, or test program';

COMMENT ON COLUMN dw.v_lot_status.flow_version IS 'Version of the flow';

COMMENT ON COLUMN dw.v_lot_status.step_number IS 'Step of the flow, or test stage';

COMMENT ON COLUMN dw.v_lot_status.step_name IS 'Name of the step';

COMMENT ON COLUMN dw.v_lot_status.step_sequence IS 'Place of the step in the flow';

COMMENT ON COLUMN dw.v_lot_status.equipment_key IS 'Tool of that event (dim_equipment)';

COMMENT ON COLUMN dw.v_lot_status.equipment_id IS 'Tool';

COMMENT ON COLUMN dw.v_lot_status.wafers_seen IS 'Wafers of the lot seen at that step and tool, count';

CREATE VIEW dw.v_wafer_trace AS
SELECT v.wafer_key, v.root_lot_id, v.wafer_id, v.lot_key, l.lot_id, v.event_no, v.event_type,
       v.event_ts, v.end_ts, v.process_step_key, s.process_flow_id, s.flow_version, s.step_number, s.step_name,
       v.equipment_key, e.equipment_id, c.chamber_id, r.recipe_id, r.recipe_version,
       v.reference, v.quantity, v.good
FROM (
    SELECT a.*, row_number() OVER (
               PARTITION BY a.wafer_key, a.root_lot_id, a.wafer_id
               ORDER BY a.event_ts, a.kind_order, a.end_ts, a.process_step_key, a.equipment_key, a.chamber_key,
                        a.reference, a.lot_key, a.recipe_key) AS event_no
    FROM (
        SELECT f.wafer_key, w.root_lot_id, w.wafer_id, f.lot_key, 0 AS kind_order,
               CAST('LOT' AS text) AS event_type,
               f.from_ts AS event_ts, NULLIF(f.to_ts, TIMESTAMPTZ '9999-12-31 00:00:00+00') AS end_ts,
               CAST(NULL AS bigint) AS process_step_key, CAST(NULL AS bigint) AS recipe_key, CAST(NULL AS bigint) AS equipment_key,
               CAST(NULL AS bigint) AS chamber_key, CAST(NULL AS text) AS reference,
               CAST(NULL AS bigint) AS quantity, CAST(NULL AS bigint) AS good
        FROM dw.bridge_wafer_lot f
        LEFT JOIN dw.dim_wafer w ON w.wafer_key = f.wafer_key AND w.is_current
        UNION ALL
        SELECT f.wafer_key, w.root_lot_id, w.wafer_id, f.lot_key, 1 AS kind_order,
               CAST('PROCESS' AS text) AS event_type,
               min(f.event_ts) AS event_ts, max(coalesce(f.end_ts, f.event_ts)) AS end_ts,
               f.process_step_key AS process_step_key, f.recipe_key AS recipe_key, f.equipment_key AS equipment_key,
               f.chamber_key AS chamber_key, CAST(f.visit_no AS text) AS reference,
               count(*) AS quantity, CAST(NULL AS bigint) AS good
        FROM dw.fact_process_measurements f
        LEFT JOIN dw.dim_wafer w ON w.wafer_key = f.wafer_key AND w.is_current
        GROUP BY f.wafer_key, w.root_lot_id, w.wafer_id, f.lot_key, f.process_step_key, f.recipe_key, f.equipment_key,
                 f.chamber_key, f.visit_no
        UNION ALL
        SELECT f.wafer_key, w.root_lot_id, w.wafer_id, f.lot_key, 2 AS kind_order,
               CAST('INSPECTION' AS text) AS event_type,
               min(f.event_ts) AS event_ts, max(f.event_ts) AS end_ts,
               f.process_step_key AS process_step_key, f.recipe_key AS recipe_key, f.inspection_equipment_key AS equipment_key,
               CAST(NULL AS bigint) AS chamber_key, CAST(f.inspection_id AS text) AS reference,
               count(CASE WHEN f.is_defect THEN 1 END) AS quantity, CAST(NULL AS bigint) AS good
        FROM dw.fact_defect_inspection f
        LEFT JOIN dw.dim_wafer w ON w.wafer_key = f.wafer_key AND w.is_current
        GROUP BY f.wafer_key, w.root_lot_id, w.wafer_id, f.lot_key, f.process_step_key, f.recipe_key,
                 f.inspection_equipment_key, f.inspection_id
        UNION ALL
        SELECT f.wafer_key, w.root_lot_id, w.wafer_id, f.lot_key, 3 AS kind_order,
               CAST('TEST' AS text) AS event_type,
               min(f.event_ts) AS event_ts, max(f.event_ts) AS end_ts,
               f.process_step_key AS process_step_key, f.recipe_key AS recipe_key, f.tester_key AS equipment_key,
               CAST(NULL AS bigint) AS chamber_key, CAST(f.test_stage AS text) AS reference,
               count(*) AS quantity, count(CASE WHEN f.is_pass THEN 1 END) AS good
        FROM dw.fact_test_results f
        LEFT JOIN dw.dim_wafer w ON w.wafer_key = f.wafer_key AND w.is_current
        GROUP BY f.wafer_key, w.root_lot_id, w.wafer_id, f.lot_key, f.process_step_key, f.recipe_key, f.tester_key,
                 f.test_stage, f.batch_id
    ) a
) v
LEFT JOIN dw.dim_lot l ON l.lot_key = v.lot_key AND l.is_current
LEFT JOIN dw.dim_process_step s ON s.process_step_key = v.process_step_key AND s.is_current
LEFT JOIN dw.dim_equipment e ON e.equipment_key = v.equipment_key AND e.is_current
LEFT JOIN dw.dim_equipment c ON c.equipment_key = v.chamber_key AND c.is_current
    AND c.equipment_key <> -2
LEFT JOIN dw.dim_recipe r ON r.recipe_key = v.recipe_key AND r.is_current;

COMMENT ON VIEW dw.v_wafer_trace IS 'Every event of a wafer: step visits, tests, inspections, stays in lots; event_no is their order in time';

COMMENT ON COLUMN dw.v_wafer_trace.wafer_key IS 'Wafer (dim_wafer)';

COMMENT ON COLUMN dw.v_wafer_trace.root_lot_id IS 'Lot the wafer was started in';

COMMENT ON COLUMN dw.v_wafer_trace.wafer_id IS 'Wafer in its root lot';

COMMENT ON COLUMN dw.v_wafer_trace.lot_key IS 'Lot at the event (dim_lot)';

COMMENT ON COLUMN dw.v_wafer_trace.lot_id IS 'Lot at the event';

COMMENT ON COLUMN dw.v_wafer_trace.event_no IS 'Place of the event in the wafer''s life, from 1';

COMMENT ON COLUMN dw.v_wafer_trace.event_type IS 'LOT, PROCESS, INSPECTION or TEST';

COMMENT ON COLUMN dw.v_wafer_trace.event_ts IS 'Start of the event, UTC';

COMMENT ON COLUMN dw.v_wafer_trace.end_ts IS 'End of the event, UTC; NULL for the lot the wafer is in now';

COMMENT ON COLUMN dw.v_wafer_trace.process_step_key IS 'Step (dim_process_step)';

COMMENT ON COLUMN dw.v_wafer_trace.process_flow_id IS 'Process flow, or test program';

COMMENT ON COLUMN dw.v_wafer_trace.flow_version IS 'Version of the flow';

COMMENT ON COLUMN dw.v_wafer_trace.step_number IS 'Step of the flow, or test stage';

COMMENT ON COLUMN dw.v_wafer_trace.step_name IS 'Name of the step';

COMMENT ON COLUMN dw.v_wafer_trace.equipment_key IS 'Tool, tester or inspection tool (dim_equipment)';

COMMENT ON COLUMN dw.v_wafer_trace.equipment_id IS 'Tool, tester or inspection tool';

COMMENT ON COLUMN dw.v_wafer_trace.chamber_id IS 'Chamber; NULL where there was none';

COMMENT ON COLUMN dw.v_wafer_trace.recipe_id IS 'Recipe';

COMMENT ON COLUMN dw.v_wafer_trace.recipe_version IS 'Version of the recipe';

COMMENT ON COLUMN dw.v_wafer_trace.reference IS 'Visit, inspection or test stage';

COMMENT ON COLUMN dw.v_wafer_trace.quantity IS 'Measurements, defects or insertions, count';

COMMENT ON COLUMN dw.v_wafer_trace.good IS 'Insertions that passed, count';

INSERT INTO dw.alembic_version (version_num) VALUES ('0001') RETURNING dw.alembic_version.version_num;

INSERT INTO dw.etl_migration_history (revision, direction, checksum, started_at, seconds, applied_by, package_version) VALUES ('0001', 'upgrade', '0e1566327eb74ddcda03a2d4f1c45cc3d823e0d78d6ed2bb79c7b3dbc1cc3f57', now(), date_part('epoch', clock_timestamp() - now()), CURRENT_USER, '0.1.0');

COMMIT;

BEGIN;

-- Running upgrade 0001 -> 0002

COMMENT ON VIEW dw.v_lot_genealogy IS 'Ancestors and descendants of every lot, any depth. A filter does not reach into it: for one lot use wh.dimensions.genealogy(), which starts at the lot';

ALTER TABLE dw.etl_load_batch ADD COLUMN source_checksum TEXT;

COMMENT ON COLUMN dw.etl_load_batch.source_checksum IS 'SHA-256 of the bytes of the files and of the options that they were read with, hexadecimal; NULL: from no such files';

CREATE TABLE dw.etl_member_observation (
    dimension TEXT NOT NULL, 
    member_key BIGINT NOT NULL, 
    told_at TIMESTAMP WITH TIME ZONE NOT NULL, 
    kind TEXT NOT NULL, 
    told JSONB NOT NULL, 
    batch_id TEXT, 
    written_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL, 
    CONSTRAINT ck_etl_member_observation_kind CHECK (kind IN ('MERGED', 'LOADED', 'DELETED', 'RESTORED'))
)
 WITH (appendonly=false)
 DISTRIBUTED BY (member_key);

COMMENT ON TABLE dw.etl_member_observation IS 'Observation of a dimension''s member that begins no version';

COMMENT ON COLUMN dw.etl_member_observation.dimension IS 'Table name of the dimension';

COMMENT ON COLUMN dw.etl_member_observation.member_key IS 'Durable key of the member; the distribution key';

COMMENT ON COLUMN dw.etl_member_observation.told_at IS 'Moment from which it holds, UTC';

COMMENT ON COLUMN dw.etl_member_observation.kind IS 'Who told: a merge (wh.merge), a load, a merge that deletes, or one that takes back a deletion of the same moment';

COMMENT ON COLUMN dw.etl_member_observation.told IS 'Columns that it told; of a JSON object that loads add to, column/name';

COMMENT ON COLUMN dw.etl_member_observation.batch_id IS 'Batch that told it (etl_load_batch)';

COMMENT ON COLUMN dw.etl_member_observation.written_at IS 'When it was written, UTC';

CREATE INDEX ix_etl_member_observation_member_key ON dw.etl_member_observation (member_key);

ALTER TABLE dw.dim_equipment ADD COLUMN known_from TIMESTAMP WITH TIME ZONE;

COMMENT ON COLUMN dw.dim_equipment.known_from IS 'Moment of the oldest merged row (wh.merge) that told of a tracked column, UTC, the same in all versions; NULL: loads alone told';

ALTER TABLE dw.dim_equipment ADD COLUMN told JSONB;

COMMENT ON COLUMN dw.dim_equipment.told IS 'Columns that a merge told at the start of the version, of the first one at known_from; the others are inherited. NULL: all (written before revision 0002)';

ALTER TABLE dw.dim_equipment ADD COLUMN shown JSONB;

COMMENT ON COLUMN dw.dim_equipment.shown IS 'What facts show of the member, used where no source told: {column: [value, moment]}, the same in all versions';

ALTER TABLE dw.dim_product ADD COLUMN known_from TIMESTAMP WITH TIME ZONE;

COMMENT ON COLUMN dw.dim_product.known_from IS 'Moment of the oldest merged row (wh.merge) that told of a tracked column, UTC, the same in all versions; NULL: loads alone told';

ALTER TABLE dw.dim_product ADD COLUMN told JSONB;

COMMENT ON COLUMN dw.dim_product.told IS 'Columns that a merge told at the start of the version, of the first one at known_from; the others are inherited. NULL: all (written before revision 0002)';

ALTER TABLE dw.dim_product ADD COLUMN shown JSONB;

COMMENT ON COLUMN dw.dim_product.shown IS 'What facts show of the member, used where no source told: {column: [value, moment]}, the same in all versions';

ALTER TABLE dw.dim_process_step ADD COLUMN known_from TIMESTAMP WITH TIME ZONE;

COMMENT ON COLUMN dw.dim_process_step.known_from IS 'Moment of the oldest merged row (wh.merge) that told of a tracked column, UTC, the same in all versions; NULL: loads alone told';

ALTER TABLE dw.dim_process_step ADD COLUMN told JSONB;

COMMENT ON COLUMN dw.dim_process_step.told IS 'Columns that a merge told at the start of the version, of the first one at known_from; the others are inherited. NULL: all (written before revision 0002)';

ALTER TABLE dw.dim_process_step ADD COLUMN shown JSONB;

COMMENT ON COLUMN dw.dim_process_step.shown IS 'What facts show of the member, used where no source told: {column: [value, moment]}, the same in all versions';

ALTER TABLE dw.dim_recipe ADD COLUMN known_from TIMESTAMP WITH TIME ZONE;

COMMENT ON COLUMN dw.dim_recipe.known_from IS 'Moment of the oldest merged row (wh.merge) that told of a tracked column, UTC, the same in all versions; NULL: loads alone told';

ALTER TABLE dw.dim_recipe ADD COLUMN told JSONB;

COMMENT ON COLUMN dw.dim_recipe.told IS 'Columns that a merge told at the start of the version, of the first one at known_from; the others are inherited. NULL: all (written before revision 0002)';

ALTER TABLE dw.dim_recipe ADD COLUMN shown JSONB;

COMMENT ON COLUMN dw.dim_recipe.shown IS 'What facts show of the member, used where no source told: {column: [value, moment]}, the same in all versions';

ALTER TABLE dw.dim_lot ADD COLUMN known_from TIMESTAMP WITH TIME ZONE;

COMMENT ON COLUMN dw.dim_lot.known_from IS 'Moment of the oldest merged row (wh.merge) that told of a tracked column, UTC, the same in all versions; NULL: loads alone told';

ALTER TABLE dw.dim_lot ADD COLUMN told JSONB;

COMMENT ON COLUMN dw.dim_lot.told IS 'Columns that a merge told at the start of the version, of the first one at known_from; the others are inherited. NULL: all (written before revision 0002)';

ALTER TABLE dw.dim_lot ADD COLUMN shown JSONB;

COMMENT ON COLUMN dw.dim_lot.shown IS 'What facts show of the member, used where no source told: {column: [value, moment]}, the same in all versions';

ALTER TABLE dw.dim_wafer ADD COLUMN known_from TIMESTAMP WITH TIME ZONE;

COMMENT ON COLUMN dw.dim_wafer.known_from IS 'Moment of the oldest merged row (wh.merge) that told of a tracked column, UTC, the same in all versions; NULL: loads alone told';

ALTER TABLE dw.dim_wafer ADD COLUMN told JSONB;

COMMENT ON COLUMN dw.dim_wafer.told IS 'Columns that a merge told at the start of the version, of the first one at known_from; the others are inherited. NULL: all (written before revision 0002)';

ALTER TABLE dw.dim_wafer ADD COLUMN shown JSONB;

COMMENT ON COLUMN dw.dim_wafer.shown IS 'What facts show of the member, used where no source told: {column: [value, moment]}, the same in all versions';

INSERT INTO dw.etl_member_observation (dimension, member_key, told_at, kind, told, batch_id)
SELECT 'dim_wafer', v.wafer_key, CASE WHEN length(v.row_hash) > 32 THEN CAST(substr(v.row_hash, 34) AS timestamptz)
        ELSE COALESCE(b.min_event_ts, v.effective_date) END, 'LOADED', CAST('["lot_key"]' AS jsonb), v.batch_id
FROM dw.dim_wafer v LEFT JOIN dw.etl_load_batch b ON b.batch_id = v.batch_id AND b.status = 'LOADED'
        AND b.min_event_ts > v.effective_date AND b.min_event_ts < v.expiry_date WHERE v.wafer_key NOT IN (-1, -2) AND v.is_inferred AND v.lot_key NOT IN (-1, -2);

INSERT INTO dw.etl_member_observation (dimension, member_key, told_at, kind, told, batch_id)
SELECT 'dim_equipment', v.equipment_key, CASE WHEN length(v.row_hash) > 32 THEN CAST(substr(v.row_hash, 34) AS timestamptz)
        ELSE COALESCE(b.min_event_ts, v.effective_date) END, 'DELETED', CAST('[]' AS jsonb), v.batch_id
FROM dw.dim_equipment v LEFT JOIN dw.etl_load_batch b ON b.batch_id = v.batch_id AND b.status = 'LOADED'
        AND b.min_event_ts > v.effective_date AND b.min_event_ts < v.expiry_date WHERE v.equipment_key NOT IN (-1, -2) AND substr(v.row_hash, 1, 32) = 'e99ebe78e30bf7cb8286aea720bb4ac6';

UPDATE dw.dim_equipment d SET known_from = f.known_from, row_hash = substr(d.row_hash, 1, 32),
    told = CASE WHEN d.is_inferred THEN CAST('[]' AS jsonb) END
FROM (
    SELECT w.equipment_key, min(CASE WHEN NOT w.is_inferred THEN w.moment END) AS known_from
    FROM (SELECT v.*, CASE WHEN length(v.row_hash) > 32 THEN CAST(substr(v.row_hash, 34) AS timestamptz)
        ELSE COALESCE(b.min_event_ts, v.effective_date) END AS moment FROM dw.dim_equipment v LEFT JOIN dw.etl_load_batch b ON b.batch_id = v.batch_id AND b.status = 'LOADED'
        AND b.min_event_ts > v.effective_date AND b.min_event_ts < v.expiry_date WHERE v.equipment_key NOT IN (-1, -2)) w GROUP BY w.equipment_key
) f WHERE f.equipment_key = d.equipment_key;

INSERT INTO dw.etl_member_observation (dimension, member_key, told_at, kind, told, batch_id)
SELECT 'dim_product', v.product_key, CASE WHEN length(v.row_hash) > 32 THEN CAST(substr(v.row_hash, 34) AS timestamptz)
        ELSE COALESCE(b.min_event_ts, v.effective_date) END, 'DELETED', CAST('[]' AS jsonb), v.batch_id
FROM dw.dim_product v LEFT JOIN dw.etl_load_batch b ON b.batch_id = v.batch_id AND b.status = 'LOADED'
        AND b.min_event_ts > v.effective_date AND b.min_event_ts < v.expiry_date WHERE v.product_key NOT IN (-1, -2) AND substr(v.row_hash, 1, 32) = 'e99ebe78e30bf7cb8286aea720bb4ac6';

UPDATE dw.dim_product d SET known_from = f.known_from, row_hash = substr(d.row_hash, 1, 32),
    told = CASE WHEN d.is_inferred THEN CAST('[]' AS jsonb) END
FROM (
    SELECT w.product_key, min(CASE WHEN NOT w.is_inferred THEN w.moment END) AS known_from
    FROM (SELECT v.*, CASE WHEN length(v.row_hash) > 32 THEN CAST(substr(v.row_hash, 34) AS timestamptz)
        ELSE COALESCE(b.min_event_ts, v.effective_date) END AS moment FROM dw.dim_product v LEFT JOIN dw.etl_load_batch b ON b.batch_id = v.batch_id AND b.status = 'LOADED'
        AND b.min_event_ts > v.effective_date AND b.min_event_ts < v.expiry_date WHERE v.product_key NOT IN (-1, -2)) w GROUP BY w.product_key
) f WHERE f.product_key = d.product_key;

INSERT INTO dw.etl_member_observation (dimension, member_key, told_at, kind, told, batch_id)
SELECT 'dim_process_step', v.process_step_key, CASE WHEN length(v.row_hash) > 32 THEN CAST(substr(v.row_hash, 34) AS timestamptz)
        ELSE COALESCE(b.min_event_ts, v.effective_date) END, 'DELETED', CAST('[]' AS jsonb), v.batch_id
FROM dw.dim_process_step v LEFT JOIN dw.etl_load_batch b ON b.batch_id = v.batch_id AND b.status = 'LOADED'
        AND b.min_event_ts > v.effective_date AND b.min_event_ts < v.expiry_date WHERE v.process_step_key NOT IN (-1, -2) AND substr(v.row_hash, 1, 32) = 'e99ebe78e30bf7cb8286aea720bb4ac6';

UPDATE dw.dim_process_step d SET known_from = f.known_from, row_hash = substr(d.row_hash, 1, 32),
    told = CASE WHEN d.is_inferred THEN CAST('[]' AS jsonb) END
FROM (
    SELECT w.process_step_key, min(CASE WHEN NOT w.is_inferred THEN w.moment END) AS known_from
    FROM (SELECT v.*, CASE WHEN length(v.row_hash) > 32 THEN CAST(substr(v.row_hash, 34) AS timestamptz)
        ELSE COALESCE(b.min_event_ts, v.effective_date) END AS moment FROM dw.dim_process_step v LEFT JOIN dw.etl_load_batch b ON b.batch_id = v.batch_id AND b.status = 'LOADED'
        AND b.min_event_ts > v.effective_date AND b.min_event_ts < v.expiry_date WHERE v.process_step_key NOT IN (-1, -2)) w GROUP BY w.process_step_key
) f WHERE f.process_step_key = d.process_step_key;

INSERT INTO dw.etl_member_observation (dimension, member_key, told_at, kind, told, batch_id)
SELECT 'dim_recipe', v.recipe_key, CASE WHEN length(v.row_hash) > 32 THEN CAST(substr(v.row_hash, 34) AS timestamptz)
        ELSE COALESCE(b.min_event_ts, v.effective_date) END, 'DELETED', CAST('[]' AS jsonb), v.batch_id
FROM dw.dim_recipe v LEFT JOIN dw.etl_load_batch b ON b.batch_id = v.batch_id AND b.status = 'LOADED'
        AND b.min_event_ts > v.effective_date AND b.min_event_ts < v.expiry_date WHERE v.recipe_key NOT IN (-1, -2) AND substr(v.row_hash, 1, 32) = 'e99ebe78e30bf7cb8286aea720bb4ac6';

UPDATE dw.dim_recipe d SET known_from = f.known_from, row_hash = substr(d.row_hash, 1, 32),
    told = CASE WHEN d.is_inferred THEN CAST('[]' AS jsonb) END
FROM (
    SELECT w.recipe_key, min(CASE WHEN NOT w.is_inferred THEN w.moment END) AS known_from
    FROM (SELECT v.*, CASE WHEN length(v.row_hash) > 32 THEN CAST(substr(v.row_hash, 34) AS timestamptz)
        ELSE COALESCE(b.min_event_ts, v.effective_date) END AS moment FROM dw.dim_recipe v LEFT JOIN dw.etl_load_batch b ON b.batch_id = v.batch_id AND b.status = 'LOADED'
        AND b.min_event_ts > v.effective_date AND b.min_event_ts < v.expiry_date WHERE v.recipe_key NOT IN (-1, -2)) w GROUP BY w.recipe_key
) f WHERE f.recipe_key = d.recipe_key;

INSERT INTO dw.etl_member_observation (dimension, member_key, told_at, kind, told, batch_id)
SELECT 'dim_lot', v.lot_key, CASE WHEN length(v.row_hash) > 32 THEN CAST(substr(v.row_hash, 34) AS timestamptz)
        ELSE COALESCE(b.min_event_ts, v.effective_date) END, 'DELETED', CAST('[]' AS jsonb), v.batch_id
FROM dw.dim_lot v LEFT JOIN dw.etl_load_batch b ON b.batch_id = v.batch_id AND b.status = 'LOADED'
        AND b.min_event_ts > v.effective_date AND b.min_event_ts < v.expiry_date WHERE v.lot_key NOT IN (-1, -2) AND substr(v.row_hash, 1, 32) = 'e99ebe78e30bf7cb8286aea720bb4ac6';

UPDATE dw.dim_lot d SET known_from = f.known_from, row_hash = substr(d.row_hash, 1, 32),
    told = CASE WHEN d.is_inferred THEN CAST('[]' AS jsonb) END, shown = f.shown
FROM (
    SELECT w.lot_key, min(CASE WHEN NOT w.is_inferred THEN w.moment END) AS known_from,
        CASE WHEN bool_and(w.is_inferred) AND max(w.product_key) <> -1 THEN CAST('{"product_key": [' || max(w.product_key)
            || ', "' || to_char(min(w.moment) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') || '"]}' AS jsonb) END AS shown
    FROM (SELECT v.*, CASE WHEN length(v.row_hash) > 32 THEN CAST(substr(v.row_hash, 34) AS timestamptz)
        ELSE COALESCE(b.min_event_ts, v.effective_date) END AS moment FROM dw.dim_lot v LEFT JOIN dw.etl_load_batch b ON b.batch_id = v.batch_id AND b.status = 'LOADED'
        AND b.min_event_ts > v.effective_date AND b.min_event_ts < v.expiry_date WHERE v.lot_key NOT IN (-1, -2)) w GROUP BY w.lot_key
) f WHERE f.lot_key = d.lot_key;

INSERT INTO dw.etl_member_observation (dimension, member_key, told_at, kind, told, batch_id)
SELECT 'dim_wafer', v.wafer_key, CASE WHEN length(v.row_hash) > 32 THEN CAST(substr(v.row_hash, 34) AS timestamptz)
        ELSE COALESCE(b.min_event_ts, v.effective_date) END, 'DELETED', CAST('[]' AS jsonb), v.batch_id
FROM dw.dim_wafer v LEFT JOIN dw.etl_load_batch b ON b.batch_id = v.batch_id AND b.status = 'LOADED'
        AND b.min_event_ts > v.effective_date AND b.min_event_ts < v.expiry_date WHERE v.wafer_key NOT IN (-1, -2) AND substr(v.row_hash, 1, 32) = 'e99ebe78e30bf7cb8286aea720bb4ac6';

UPDATE dw.dim_wafer d SET known_from = f.known_from, row_hash = substr(d.row_hash, 1, 32),
    told = CASE WHEN d.is_inferred THEN CAST('[]' AS jsonb) END, shown = f.shown
FROM (
    SELECT w.wafer_key, min(CASE WHEN NOT w.is_inferred THEN w.moment END) AS known_from,
        CASE WHEN bool_and(w.is_inferred) AND max(w.product_key) <> -1 THEN CAST('{"product_key": [' || max(w.product_key)
            || ', "' || to_char(min(w.moment) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') || '"]}' AS jsonb) END AS shown
    FROM (SELECT v.*, CASE WHEN length(v.row_hash) > 32 THEN CAST(substr(v.row_hash, 34) AS timestamptz)
        ELSE COALESCE(b.min_event_ts, v.effective_date) END AS moment FROM dw.dim_wafer v LEFT JOIN dw.etl_load_batch b ON b.batch_id = v.batch_id AND b.status = 'LOADED'
        AND b.min_event_ts > v.effective_date AND b.min_event_ts < v.expiry_date WHERE v.wafer_key NOT IN (-1, -2)) w GROUP BY w.wafer_key
) f WHERE f.wafer_key = d.wafer_key;

UPDATE dw.alembic_version SET version_num='0002' WHERE dw.alembic_version.version_num = '0001';

INSERT INTO dw.etl_migration_history (revision, direction, checksum, started_at, seconds, applied_by, package_version) VALUES ('0002', 'upgrade', '30ca4b942f484a2d6e8d05b5d822d6e47740a0a44b645f276a55f5c857f84a68', now(), date_part('epoch', clock_timestamp() - now()), CURRENT_USER, '0.1.0');

COMMIT;

BEGIN;

-- Running upgrade 0002 -> 0003

CREATE TABLE dw.etl_audit (
    query_id TEXT NOT NULL, 
    called_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL, 
    caller TEXT, 
    role TEXT NOT NULL, 
    client TEXT, 
    endpoint TEXT NOT NULL, 
    statement TEXT, 
    fingerprint TEXT, 
    http_status BIGINT NOT NULL, 
    outcome TEXT NOT NULL, 
    result_rows BIGINT, 
    bytes_sent BIGINT, 
    seconds DOUBLE PRECISION, 
    written_by TEXT DEFAULT "current_user"() NOT NULL, 
    CONSTRAINT pk_etl_audit PRIMARY KEY (query_id), 
    CONSTRAINT ck_etl_audit_role CHECK (role IN ('NOBODY', 'READER', 'LOADER', 'ADMIN'))
)
 WITH (appendonly=false)
 DISTRIBUTED BY (query_id);

COMMENT ON TABLE dw.etl_audit IS 'Call of the service: who asked what, and what came of it';

COMMENT ON COLUMN dw.etl_audit.query_id IS 'Id of the call, which application_name and log lines have too';

COMMENT ON COLUMN dw.etl_audit.called_at IS 'End of the call, UTC';

COMMENT ON COLUMN dw.etl_audit.caller IS 'Key or subject of the caller; NULL: nobody was identified';

COMMENT ON COLUMN dw.etl_audit.role IS 'Role of the caller';

COMMENT ON COLUMN dw.etl_audit.client IS 'Address that called';

COMMENT ON COLUMN dw.etl_audit.endpoint IS 'Method and path, without values';

COMMENT ON COLUMN dw.etl_audit.statement IS 'Statement without literals and values of parameters';

COMMENT ON COLUMN dw.etl_audit.fingerprint IS 'The same for statements that differ in literals only';

COMMENT ON COLUMN dw.etl_audit.http_status IS 'HTTP status of the answer; 499: the client had left';

COMMENT ON COLUMN dw.etl_audit.outcome IS 'ok, or the kind of the problem';

COMMENT ON COLUMN dw.etl_audit.result_rows IS 'Rows of the result, count';

COMMENT ON COLUMN dw.etl_audit.bytes_sent IS 'Size of the answer, bytes';

COMMENT ON COLUMN dw.etl_audit.seconds IS 'How long it took, s';

COMMENT ON COLUMN dw.etl_audit.written_by IS 'Database user who wrote the row';

UPDATE dw.alembic_version SET version_num='0003' WHERE dw.alembic_version.version_num = '0002';

INSERT INTO dw.etl_migration_history (revision, direction, checksum, started_at, seconds, applied_by, package_version) VALUES ('0003', 'upgrade', '1264a92c6660daf9cc6288a9db051d1a1cbf5ee1a1b9ad31c2bcd9bc41c1e954', now(), date_part('epoch', clock_timestamp() - now()), CURRENT_USER, '0.1.0');

COMMIT;

BEGIN;

-- Running upgrade 0003 -> 0004

CREATE TABLE dw.etl_removal (
    batch_id TEXT NOT NULL, 
    cause TEXT NOT NULL, 
    by_batch_id TEXT, 
    month TIMESTAMP WITH TIME ZONE, 
    month_now TIMESTAMP WITH TIME ZONE, 
    rows_removed BIGINT NOT NULL, 
    removed_at TIMESTAMP WITH TIME ZONE DEFAULT now(), 
    CONSTRAINT ck_etl_removal_cause CHECK (cause IN ('BATCH_DELETED', 'MONTH_DELETED', 'MONTH_REPLACED', 'KEY', 'LEFT_BEHIND')), 
    CONSTRAINT ck_etl_removal_rows_removed CHECK (rows_removed >= 0)
)
 WITH (appendonly=false)
 DISTRIBUTED BY (batch_id);

COMMENT ON TABLE dw.etl_removal IS 'Removal of rows from a batch after its load, by month';

COMMENT ON COLUMN dw.etl_removal.batch_id IS 'Batch that had the rows (etl_load_batch); the distribution key';

COMMENT ON COLUMN dw.etl_removal.cause IS 'Why: its batch was deleted, its month was deleted or replaced, an upsert or a deletion by key took it, or it was left by a load that failed';

COMMENT ON COLUMN dw.etl_removal.by_batch_id IS 'Batch that deleted or replaced them; NULL: wh.batches.delete or delete_month did';

COMMENT ON COLUMN dw.etl_removal.month IS 'First instant of the month of their events, UTC; NULL: they were removed whatever their months';

COMMENT ON COLUMN dw.etl_removal.month_now IS 'First instant of the month to which an upsert moved them, UTC; NULL: they are gone, or stayed in their month';

COMMENT ON COLUMN dw.etl_removal.rows_removed IS 'Rows removed, count';

COMMENT ON COLUMN dw.etl_removal.removed_at IS 'When they were removed, UTC; NULL: not known (before revision 0004)';

ALTER TABLE dw.etl_load_batch ADD COLUMN origin TEXT;

COMMENT ON COLUMN dw.etl_load_batch.origin IS 'What made it: a load, wh.facts.upsert, delete or replace_month, or a merge (of dimensions and bridges); NULL: not known (written before revision 0004)';

ALTER TABLE dw.etl_load_batch ADD COLUMN rows_removed BIGINT DEFAULT 0 NOT NULL;

COMMENT ON COLUMN dw.etl_load_batch.rows_removed IS 'Rows loaded and removed since (etl_removal), count';

ALTER TABLE dw.etl_load_batch ADD COLUMN rows_replaced BIGINT;

COMMENT ON COLUMN dw.etl_load_batch.rows_replaced IS 'Rows, of any batch, that it deleted or replaced, count; NULL: not known (written before revision 0004)';

ALTER TABLE dw.etl_load_batch ADD COLUMN month_replaced TIMESTAMP WITH TIME ZONE;

COMMENT ON COLUMN dw.etl_load_batch.month_replaced IS 'First instant of the month that it replaced, UTC; it takes rows of that month only. NULL: it replaced none';

ALTER TABLE dw.etl_load_batch ADD COLUMN scattered TEXT;

COMMENT ON COLUMN dw.etl_load_batch.scattered IS 'Where other batches may hold records of it, or of an earlier state of it: in the months of its events, or in any; NULL: nowhere';

ALTER TABLE dw.etl_load_batch ADD COLUMN may_hold_rows BOOLEAN DEFAULT false NOT NULL;

COMMENT ON COLUMN dw.etl_load_batch.may_hold_rows IS 'Whether it may have rows although it is not loaded: connections of it committed apart';

ALTER TABLE dw.etl_load_batch ADD CONSTRAINT ck_etl_load_batch_origin CHECK (origin IN ('LOAD', 'UPSERT', 'DELETE', 'REPLACE_MONTH', 'MERGE'));

ALTER TABLE dw.etl_load_batch ADD CONSTRAINT ck_etl_load_batch_rows_removed CHECK (rows_removed >= 0);

ALTER TABLE dw.etl_load_batch ADD CONSTRAINT ck_etl_load_batch_rows_replaced CHECK (rows_replaced >= 0);

ALTER TABLE dw.etl_load_batch ADD CONSTRAINT ck_etl_load_batch_scattered CHECK (scattered IN ('ITS_MONTHS', 'ANY_MONTH'));

ALTER TABLE dw.etl_load_batch DROP CONSTRAINT ck_etl_load_batch_status;

ALTER TABLE dw.etl_load_batch ADD CONSTRAINT ck_etl_load_batch_status CHECK (status IN ('LOADED', 'FAILED', 'DELETED'));

COMMENT ON COLUMN dw.etl_load_batch.status IS 'Outcome; DELETED: it was loaded, and its rows were deleted since';

INSERT INTO dw.etl_removal (batch_id, cause, by_batch_id, month, month_now, rows_removed, removed_at)
SELECT m.batch_id, m.cause, m.by_batch_id, CAST(COALESCE(m.months[m.i], m.months[1]) || '-01 00:00:00+00' AS timestamptz),
    CAST(m.months_now[m.i] || '-01 00:00:00+00' AS timestamptz), CASE m.i WHEN 1 THEN m.gone ELSE 0 END, NULL
FROM (
    SELECT e.*, generate_series(1, GREATEST(1, array_length(e.months, 1), array_length(e.months_now, 1))) AS i
    FROM (
        SELECT k.batch_id, k.cause, k.gone,
            CASE k.cause WHEN 'MONTH_REPLACED' THEN substring(k.part FROM ' replaced by batch (.*): [0-9]+ of its rows$')
                WHEN 'KEY' THEN regexp_replace(substring(k.part FROM ' rows by key, batch (.*)$'), ', now in [1-9][0-9][0-9][0-9]-(?:0[1-9]|1[0-2])(?:, [1-9][0-9][0-9][0-9]-(?:0[1-9]|1[0-2]))*$', '')
                END AS by_batch_id,
            string_to_array(substring(k.part FROM '^(?:deleted with )?([1-9][0-9][0-9][0-9]-(?:0[1-9]|1[0-2])(?:, [1-9][0-9][0-9][0-9]-(?:0[1-9]|1[0-2]))*)'), ', ') AS months,
            string_to_array(substring(k.part FROM ', now in ([1-9][0-9][0-9][0-9]-(?:0[1-9]|1[0-2])(?:, [1-9][0-9][0-9][0-9]-(?:0[1-9]|1[0-2]))*)$'), ', ') AS months_now
        FROM (
    SELECT f.*, bool_and(NOT f.is_cut AND (f.cause IS NOT NULL OR f.part ~ '^(in the place of [1-9][0-9][0-9][0-9]-(?:0[1-9]|1[0-2])|in any month(; )?|((?:[1-9][0-9][0-9][0-9]-(?:0[1-9]|1[0-2])(?:, [1-9][0-9][0-9][0-9]-(?:0[1-9]|1[0-2]))*: )?[0-9]+ rows deleted by key|0 rows had these keys).*|)$'))
            OVER (PARTITION BY f.batch_id ORDER BY f.n) AS is_known,
        CAST(CASE WHEN f.cause = 'MONTH_REPLACED' THEN substring(f.part FROM ': ([0-9]+) of its rows$')
            WHEN f.cause IS NOT NULL THEN substring(f.part FROM ': ([0-9]+) (?:of its )?rows') END AS bigint) AS gone
    FROM (
        SELECT c.*, CASE WHEN c.part ~ '^deleted: [0-9]+ rows; it can be loaded again$' THEN 'BATCH_DELETED'
            WHEN c.part ~ '^deleted with [1-9][0-9][0-9][0-9]-(?:0[1-9]|1[0-2]): [0-9]+ (of its )?rows$' THEN 'MONTH_DELETED'
            WHEN c.part ~ '^[1-9][0-9][0-9][0-9]-(?:0[1-9]|1[0-2]) replaced by batch .*: [0-9]+ of its rows$' THEN 'MONTH_REPLACED'
            WHEN c.part ~ '^[1-9][0-9][0-9][0-9]-(?:0[1-9]|1[0-2])(?:, [1-9][0-9][0-9][0-9]-(?:0[1-9]|1[0-2]))*: [0-9]+ rows by key, batch ' THEN 'KEY' END AS cause
        FROM (
            SELECT p.batch_id, p.n, p.parts[p.n] AS words, p.is_cut AND p.n = array_length(p.parts, 1) AS is_cut,
                regexp_replace(p.parts[p.n], '^(before: |records may be in other batches: )+', '') AS part
            FROM (
                SELECT s.*, generate_subscripts(s.parts, 1) AS n
                FROM (
                    SELECT batch_id, length(error) = 4000 AS is_cut, regexp_split_to_array(error, '; (?=(?:before: )*(?:records may be in other batches: )*(?:deleted: |deleted with |in the place of |in any month|[1-9][0-9][0-9][0-9]-(?:0[1-9]|1[0-2])(?:, [1-9][0-9][0-9][0-9]-(?:0[1-9]|1[0-2]))*: [0-9]+ rows |[1-9][0-9][0-9][0-9]-(?:0[1-9]|1[0-2]) replaced by batch )|(?:fact|dim|bridge)_[a-z_]+: |batch '')') AS parts
                    FROM dw.etl_load_batch WHERE status = 'LOADED' OR (status = 'FAILED' AND error ~ '^(records may be in other batches: )?deleted')
                ) s
            ) p
        ) c
    ) f) k WHERE k.cause IS NOT NULL AND k.is_known
    ) e
) m;

INSERT INTO dw.etl_removal (batch_id, cause, by_batch_id, rows_removed, removed_at)
SELECT batch_id, 'LEFT_BEHIND', substring(error FROM ' rows that it had left were deleted by batch (.*)$'),
    CAST(substring(error FROM 'failed; ([0-9]+) rows that it had left ') AS bigint), NULL
FROM dw.etl_load_batch WHERE status = 'FAILED' AND NOT (status = 'FAILED' AND error ~ '^(records may be in other batches: )?deleted') AND error ~ '(^|; )failed; [0-9]+ rows that it had left were deleted by ';

UPDATE dw.etl_load_batch SET origin = 'MERGE' WHERE target ~ '^(dim|bridge)_';

UPDATE dw.etl_load_batch
SET may_hold_rows = error ~ '^rows may be there: ',
    error = NULLIF(regexp_replace(regexp_replace(error, '^rows may be there: ', ''), '(^|; )failed; [0-9]+ rows that it had left were deleted by .*$', ''), '')
WHERE status = 'FAILED' AND NOT (status = 'FAILED' AND error ~ '^(records may be in other batches: )?deleted') AND error ~ '^rows may be there: |(^|; )failed; [0-9]+ rows that it had left were deleted by ';

UPDATE dw.etl_load_batch b
SET status = CASE b.status WHEN 'FAILED' THEN 'DELETED' ELSE b.status END,
    origin = CASE WHEN b.error ~ '^in the place of [1-9][0-9][0-9][0-9]-(?:0[1-9]|1[0-2])' THEN 'REPLACE_MONTH' WHEN b.error ~ '^((?:[1-9][0-9][0-9][0-9]-(?:0[1-9]|1[0-2])(?:, [1-9][0-9][0-9][0-9]-(?:0[1-9]|1[0-2]))*: )?[0-9]+ rows deleted by key|0 rows had these keys)' THEN 'DELETE'
        ELSE b.origin END,
    month_replaced = CAST(substring(b.error FROM '^in the place of ([1-9][0-9][0-9][0-9]-(?:0[1-9]|1[0-2]))') || '-01 00:00:00+00' AS timestamptz),
    rows_replaced = CAST(substring(b.error FROM '^(?:[1-9][0-9][0-9][0-9]-(?:0[1-9]|1[0-2])(?:, [1-9][0-9][0-9][0-9]-(?:0[1-9]|1[0-2]))*: )?([0-9]+) rows (?:deleted by key|had these keys)') AS bigint),
    rows_removed = LEAST(GREATEST(b.rows_read - b.rows_rejected - b.rows_loaded, 0),
        CASE WHEN length(b.error) = 4000 OR b.error ~ 'in any month; ' THEN b.rows_read ELSE COALESCE(t.gone, 0) END),
    scattered = CASE WHEN b.status = 'FAILED' AND b.error !~ '^records may be in other batches: ' THEN NULL
        WHEN b.error ~ 'in any month; |, now in ' OR length(b.error) = 4000 THEN 'ANY_MONTH'
        WHEN b.error ~ '^records may be in other batches: ' OR t.removals > 0 OR t.words IS NOT NULL THEN 'ITS_MONTHS' END,
    error = t.words
FROM (
    SELECT k.batch_id, string_agg(CASE WHEN NOT k.is_known AND (k.cause IS NULL OR NOT k.is_cut) THEN k.words END, '; ' ORDER BY k.n) AS words,
        count(CASE WHEN k.is_known THEN k.cause END) AS removals, sum(CASE WHEN k.is_known THEN k.gone END) AS gone
    FROM (
    SELECT f.*, bool_and(NOT f.is_cut AND (f.cause IS NOT NULL OR f.part ~ '^(in the place of [1-9][0-9][0-9][0-9]-(?:0[1-9]|1[0-2])|in any month(; )?|((?:[1-9][0-9][0-9][0-9]-(?:0[1-9]|1[0-2])(?:, [1-9][0-9][0-9][0-9]-(?:0[1-9]|1[0-2]))*: )?[0-9]+ rows deleted by key|0 rows had these keys).*|)$'))
            OVER (PARTITION BY f.batch_id ORDER BY f.n) AS is_known,
        CAST(CASE WHEN f.cause = 'MONTH_REPLACED' THEN substring(f.part FROM ': ([0-9]+) of its rows$')
            WHEN f.cause IS NOT NULL THEN substring(f.part FROM ': ([0-9]+) (?:of its )?rows') END AS bigint) AS gone
    FROM (
        SELECT c.*, CASE WHEN c.part ~ '^deleted: [0-9]+ rows; it can be loaded again$' THEN 'BATCH_DELETED'
            WHEN c.part ~ '^deleted with [1-9][0-9][0-9][0-9]-(?:0[1-9]|1[0-2]): [0-9]+ (of its )?rows$' THEN 'MONTH_DELETED'
            WHEN c.part ~ '^[1-9][0-9][0-9][0-9]-(?:0[1-9]|1[0-2]) replaced by batch .*: [0-9]+ of its rows$' THEN 'MONTH_REPLACED'
            WHEN c.part ~ '^[1-9][0-9][0-9][0-9]-(?:0[1-9]|1[0-2])(?:, [1-9][0-9][0-9][0-9]-(?:0[1-9]|1[0-2]))*: [0-9]+ rows by key, batch ' THEN 'KEY' END AS cause
        FROM (
            SELECT p.batch_id, p.n, p.parts[p.n] AS words, p.is_cut AND p.n = array_length(p.parts, 1) AS is_cut,
                regexp_replace(p.parts[p.n], '^(before: |records may be in other batches: )+', '') AS part
            FROM (
                SELECT s.*, generate_subscripts(s.parts, 1) AS n
                FROM (
                    SELECT batch_id, length(error) = 4000 AS is_cut, regexp_split_to_array(error, '; (?=(?:before: )*(?:records may be in other batches: )*(?:deleted: |deleted with |in the place of |in any month|[1-9][0-9][0-9][0-9]-(?:0[1-9]|1[0-2])(?:, [1-9][0-9][0-9][0-9]-(?:0[1-9]|1[0-2]))*: [0-9]+ rows |[1-9][0-9][0-9][0-9]-(?:0[1-9]|1[0-2]) replaced by batch )|(?:fact|dim|bridge)_[a-z_]+: |batch '')') AS parts
                    FROM dw.etl_load_batch WHERE status = 'LOADED' OR (status = 'FAILED' AND error ~ '^(records may be in other batches: )?deleted')
                ) s
            ) p
        ) c
    ) f) k GROUP BY k.batch_id
) t WHERE t.batch_id = b.batch_id;

UPDATE dw.etl_load_batch b SET origin = 'UPSERT'
FROM (SELECT DISTINCT by_batch_id FROM dw.etl_removal WHERE cause = 'KEY') r
WHERE r.by_batch_id = b.batch_id AND b.origin IS NULL AND b.status <> 'FAILED';

UPDATE dw.dim_equipment d SET known_from = COALESCE(d.known_from, f.known_from), row_hash = substr(d.row_hash, 1, 32)
FROM (
    SELECT equipment_key, min(CAST(substr(row_hash, 34) AS timestamptz)) AS known_from
    FROM dw.dim_equipment WHERE substr(row_hash, 33, 1) = '@' GROUP BY equipment_key
) f WHERE f.equipment_key = d.equipment_key;

UPDATE dw.dim_product d SET known_from = COALESCE(d.known_from, f.known_from), row_hash = substr(d.row_hash, 1, 32)
FROM (
    SELECT product_key, min(CAST(substr(row_hash, 34) AS timestamptz)) AS known_from
    FROM dw.dim_product WHERE substr(row_hash, 33, 1) = '@' GROUP BY product_key
) f WHERE f.product_key = d.product_key;

UPDATE dw.dim_process_step d SET known_from = COALESCE(d.known_from, f.known_from), row_hash = substr(d.row_hash, 1, 32)
FROM (
    SELECT process_step_key, min(CAST(substr(row_hash, 34) AS timestamptz)) AS known_from
    FROM dw.dim_process_step WHERE substr(row_hash, 33, 1) = '@' GROUP BY process_step_key
) f WHERE f.process_step_key = d.process_step_key;

UPDATE dw.dim_recipe d SET known_from = COALESCE(d.known_from, f.known_from), row_hash = substr(d.row_hash, 1, 32)
FROM (
    SELECT recipe_key, min(CAST(substr(row_hash, 34) AS timestamptz)) AS known_from
    FROM dw.dim_recipe WHERE substr(row_hash, 33, 1) = '@' GROUP BY recipe_key
) f WHERE f.recipe_key = d.recipe_key;

UPDATE dw.dim_lot d SET known_from = COALESCE(d.known_from, f.known_from), row_hash = substr(d.row_hash, 1, 32)
FROM (
    SELECT lot_key, min(CAST(substr(row_hash, 34) AS timestamptz)) AS known_from
    FROM dw.dim_lot WHERE substr(row_hash, 33, 1) = '@' GROUP BY lot_key
) f WHERE f.lot_key = d.lot_key;

UPDATE dw.dim_wafer d SET known_from = COALESCE(d.known_from, f.known_from), row_hash = substr(d.row_hash, 1, 32)
FROM (
    SELECT wafer_key, min(CAST(substr(row_hash, 34) AS timestamptz)) AS known_from
    FROM dw.dim_wafer WHERE substr(row_hash, 33, 1) = '@' GROUP BY wafer_key
) f WHERE f.wafer_key = d.wafer_key;

DO $$ BEGIN
    IF NOT EXISTS (
        SELECT 1 FROM pg_catalog.pg_attribute
        WHERE attrelid = CAST('dw.etl_migration_history' AS regclass) AND attname = 'part_of' AND NOT attisdropped
    ) THEN
        ALTER TABLE dw.etl_migration_history ADD COLUMN part_of text;
    END IF;
END $$;

COMMENT ON COLUMN dw.etl_migration_history.part_of IS 'What it is a finished part of while that is not ended: upgrade or '
    'downgrade of the revision, or restore of the backup of this id; NULL: of nothing';

UPDATE dw.etl_migration_history SET part_of = split_part(direction, ' ', 1)
WHERE part_of IS NULL AND direction IN ('upgrade batch', 'downgrade batch', 'restore batch');

UPDATE dw.alembic_version SET version_num='0004' WHERE dw.alembic_version.version_num = '0003';

INSERT INTO dw.etl_migration_history (revision, direction, checksum, started_at, seconds, applied_by, package_version) VALUES ('0004', 'upgrade', '4fedc3b387965cef5ba142c46d57c89900b2ec558f2f0262f7771793ad338498', now(), date_part('epoch', clock_timestamp() - now()), CURRENT_USER, '0.1.0');

COMMIT;

BEGIN;

-- Running upgrade 0004 -> 0005

CREATE TABLE dw.agg_process_values (
    event_month TIMESTAMP WITH TIME ZONE NOT NULL, 
    lot_key BIGINT NOT NULL, 
    product_key BIGINT NOT NULL, 
    process_step_key BIGINT NOT NULL, 
    equipment_key BIGINT NOT NULL, 
    chamber_key BIGINT NOT NULL, 
    visit_no INTEGER NOT NULL, 
    parameter_set_key BIGINT NOT NULL, 
    position INTEGER NOT NULL, 
    parameter TEXT, 
    n BIGINT NOT NULL, 
    mean DOUBLE PRECISION, 
    m2 DOUBLE PRECISION, 
    min_value DOUBLE PRECISION, 
    q1 DOUBLE PRECISION, 
    median DOUBLE PRECISION, 
    q3 DOUBLE PRECISION, 
    max_value DOUBLE PRECISION, 
    n_wafers BIGINT NOT NULL, 
    first_ts TIMESTAMP WITH TIME ZONE NOT NULL, 
    last_ts TIMESTAMP WITH TIME ZONE NOT NULL, 
    batch_id TEXT NOT NULL, 
    CONSTRAINT ck_agg_process_values_m2 CHECK (m2 >= 0), 
    CONSTRAINT ck_agg_process_values_n CHECK (n >= 0), 
    CONSTRAINT ck_agg_process_values_n_wafers CHECK (n_wafers >= 0)
)
 WITH (appendonly=true, orientation=column, compresstype=zstd, compresslevel=1, blocksize=32768, checksum=true)
 DISTRIBUTED BY (lot_key)
 PARTITION BY RANGE (event_month)
 (PARTITION m200001 START ('2000-01-01 00:00:00+00') INCLUSIVE END ('2000-02-01 00:00:00+00') EXCLUSIVE);

COMMENT ON TABLE dw.agg_process_values IS 'Values of a parameter in a lot''s visit of a step, by batch, chamber, list and position, all wafers together';

COMMENT ON COLUMN dw.agg_process_values.event_month IS 'Month of the events: its first moment, UTC; the partition key';

COMMENT ON COLUMN dw.agg_process_values.lot_key IS 'Lot at the event (dim_lot)';

COMMENT ON COLUMN dw.agg_process_values.product_key IS 'Product (dim_product)';

COMMENT ON COLUMN dw.agg_process_values.process_step_key IS 'Step, test stages included (dim_process_step)';

COMMENT ON COLUMN dw.agg_process_values.equipment_key IS 'Tool (dim_equipment)';

COMMENT ON COLUMN dw.agg_process_values.chamber_key IS 'Chamber of the tool (dim_equipment)';

COMMENT ON COLUMN dw.agg_process_values.visit_no IS 'Visit of the wafers to the step';

COMMENT ON COLUMN dw.agg_process_values.parameter_set_key IS 'List that names the parameter (bridge_parameter_set); -2 where the value is not of an array';

COMMENT ON COLUMN dw.agg_process_values.position IS 'Position in the list; 0 where the value is not of an array';

COMMENT ON COLUMN dw.agg_process_values.parameter IS 'Column of the measure, or name in parameters; NULL where the list names it';

COMMENT ON COLUMN dw.agg_process_values.n IS 'Values, count';

COMMENT ON COLUMN dw.agg_process_values.mean IS 'Mean of the values; NULL without one, or where one is beyond 1e140';

COMMENT ON COLUMN dw.agg_process_values.m2 IS 'Sum of the squared deviations from the mean; NULL without a mean';

COMMENT ON COLUMN dw.agg_process_values.min_value IS 'Least value';

COMMENT ON COLUMN dw.agg_process_values.q1 IS 'First quartile, interpolated; NULL without a mean';

COMMENT ON COLUMN dw.agg_process_values.median IS 'Median, interpolated; NULL without a mean';

COMMENT ON COLUMN dw.agg_process_values.q3 IS 'Third quartile, interpolated; NULL without a mean';

COMMENT ON COLUMN dw.agg_process_values.max_value IS 'Greatest value';

COMMENT ON COLUMN dw.agg_process_values.n_wafers IS 'Wafers, count';

COMMENT ON COLUMN dw.agg_process_values.first_ts IS 'First event, UTC';

COMMENT ON COLUMN dw.agg_process_values.last_ts IS 'Last event, UTC';

COMMENT ON COLUMN dw.agg_process_values.batch_id IS 'Batch that loaded the rows (etl_load_batch)';

CREATE INDEX ix_agg_process_values_batch_id ON dw.agg_process_values (batch_id);

CREATE TABLE dw.agg_test_values (
    event_month TIMESTAMP WITH TIME ZONE NOT NULL, 
    wafer_key BIGINT NOT NULL, 
    lot_key BIGINT NOT NULL, 
    product_key BIGINT NOT NULL, 
    process_step_key BIGINT NOT NULL, 
    is_final_result BOOLEAN NOT NULL, 
    head_no INTEGER, 
    site_no INTEGER, 
    parameter_set_key BIGINT NOT NULL, 
    position INTEGER NOT NULL, 
    parameter TEXT, 
    n BIGINT NOT NULL, 
    mean DOUBLE PRECISION, 
    m2 DOUBLE PRECISION, 
    min_value DOUBLE PRECISION, 
    q1 DOUBLE PRECISION, 
    median DOUBLE PRECISION, 
    q3 DOUBLE PRECISION, 
    max_value DOUBLE PRECISION, 
    n_executed BIGINT, 
    n_failed BIGINT, 
    first_ts TIMESTAMP WITH TIME ZONE NOT NULL, 
    last_ts TIMESTAMP WITH TIME ZONE NOT NULL, 
    batch_id TEXT NOT NULL, 
    CONSTRAINT ck_agg_test_values_m2 CHECK (m2 >= 0), 
    CONSTRAINT ck_agg_test_values_n CHECK (n >= 0), 
    CONSTRAINT ck_agg_test_values_n_executed CHECK (n_executed >= 0), 
    CONSTRAINT ck_agg_test_values_n_failed CHECK (n_failed >= 0)
)
 WITH (appendonly=true, orientation=column, compresstype=zstd, compresslevel=1, blocksize=32768, checksum=true)
 DISTRIBUTED BY (wafer_key)
 PARTITION BY RANGE (event_month)
 (PARTITION m200001 START ('2000-01-01 00:00:00+00') INCLUSIVE END ('2000-02-01 00:00:00+00') EXCLUSIVE);

COMMENT ON TABLE dw.agg_test_values IS 'Values of a test on a wafer, by batch, lot, step, list and position; by site too where a wafer had several';

COMMENT ON COLUMN dw.agg_test_values.event_month IS 'Month of the events: its first moment, UTC; the partition key';

COMMENT ON COLUMN dw.agg_test_values.wafer_key IS 'Wafer (dim_wafer); the distribution key';

COMMENT ON COLUMN dw.agg_test_values.lot_key IS 'Lot at the event (dim_lot)';

COMMENT ON COLUMN dw.agg_test_values.product_key IS 'Product (dim_product)';

COMMENT ON COLUMN dw.agg_test_values.process_step_key IS 'Step, test stages included (dim_process_step)';

COMMENT ON COLUMN dw.agg_test_values.is_final_result IS 'Whether they are of each unit''s last insertion in its file; false: of insertions that a later one follows';

COMMENT ON COLUMN dw.agg_test_values.head_no IS 'Test head; NULL where all sites are together';

COMMENT ON COLUMN dw.agg_test_values.site_no IS 'Test site; NULL where all sites are together: sum these rows, or those by site, not both';

COMMENT ON COLUMN dw.agg_test_values.parameter_set_key IS 'List that names the parameter (bridge_parameter_set); -2 where the value is not of an array';

COMMENT ON COLUMN dw.agg_test_values.position IS 'Position in the list; 0 where the value is not of an array';

COMMENT ON COLUMN dw.agg_test_values.parameter IS 'Column of the measure, or name in parameters; NULL where the list names it';

COMMENT ON COLUMN dw.agg_test_values.n IS 'Values, count';

COMMENT ON COLUMN dw.agg_test_values.mean IS 'Mean of the values; NULL without one, or where one is beyond 1e140';

COMMENT ON COLUMN dw.agg_test_values.m2 IS 'Sum of the squared deviations from the mean; NULL without a mean';

COMMENT ON COLUMN dw.agg_test_values.min_value IS 'Least value';

COMMENT ON COLUMN dw.agg_test_values.q1 IS 'First quartile, interpolated; NULL without a mean';

COMMENT ON COLUMN dw.agg_test_values.median IS 'Median, interpolated; NULL without a mean';

COMMENT ON COLUMN dw.agg_test_values.q3 IS 'Third quartile, interpolated; NULL without a mean';

COMMENT ON COLUMN dw.agg_test_values.max_value IS 'Greatest value';

COMMENT ON COLUMN dw.agg_test_values.n_executed IS 'Insertions that executed the test, count; NULL where verdicts are not known';

COMMENT ON COLUMN dw.agg_test_values.n_failed IS 'Insertions that failed the test, count; NULL where verdicts are not known';

COMMENT ON COLUMN dw.agg_test_values.first_ts IS 'First event, UTC';

COMMENT ON COLUMN dw.agg_test_values.last_ts IS 'Last event, UTC';

COMMENT ON COLUMN dw.agg_test_values.batch_id IS 'Batch that loaded the rows (etl_load_batch)';

CREATE INDEX ix_agg_test_values_batch_id ON dw.agg_test_values (batch_id);

CREATE TABLE dw.bridge_parameter_set (
    parameter_set_key BIGINT NOT NULL, 
    position INTEGER NOT NULL, 
    parameter TEXT NOT NULL, 
    test_number BIGINT, 
    test_name TEXT, 
    pin TEXT DEFAULT '' NOT NULL, 
    occurrence INTEGER DEFAULT 1 NOT NULL, 
    kind TEXT DEFAULT 'PARAMETRIC' NOT NULL, 
    unit TEXT, 
    lsl DOUBLE PRECISION, 
    usl DOUBLE PRECISION, 
    lsl_inclusive BOOLEAN DEFAULT true NOT NULL, 
    usl_inclusive BOOLEAN DEFAULT true NOT NULL, 
    batch_id TEXT, 
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL, 
    CONSTRAINT pk_bridge_parameter_set PRIMARY KEY (parameter_set_key, position), 
    CONSTRAINT ck_bridge_parameter_set_kind CHECK (kind IN ('PARAMETRIC', 'MULTIPLE', 'FUNCTIONAL', 'SCAN')), 
    CONSTRAINT ck_bridge_parameter_set_occurrence CHECK (occurrence >= 1), 
    CONSTRAINT ck_bridge_parameter_set_position CHECK (position >= 1)
)
 WITH (appendonly=false)
 DISTRIBUTED REPLICATED;

COMMENT ON TABLE dw.bridge_parameter_set IS 'Parameter of a list: what stands at a position of the arrays of measured values';

COMMENT ON COLUMN dw.bridge_parameter_set.parameter_set_key IS 'List: the hash of its ordered content';

COMMENT ON COLUMN dw.bridge_parameter_set.position IS 'Position in the array, from 1';

COMMENT ON COLUMN dw.bridge_parameter_set.parameter IS 'Name, unique in the list';

COMMENT ON COLUMN dw.bridge_parameter_set.test_number IS 'Number of the test (STDF V4 TEST_NUM); NULL for a sensor';

COMMENT ON COLUMN dw.bridge_parameter_set.test_name IS 'Name of the test as the file gives it (STDF V4 TEST_TXT)';

COMMENT ON COLUMN dw.bridge_parameter_set.pin IS 'Pin of one result of several (STDF V4 PMR); empty without one';

COMMENT ON COLUMN dw.bridge_parameter_set.occurrence IS '1, 2, ... of a test that is repeated within an insertion';

COMMENT ON COLUMN dw.bridge_parameter_set.kind IS 'What gave the value: STDF V4 PTR, MPR (a value per pin), FTR or STR; sensors are PARAMETRIC';

COMMENT ON COLUMN dw.bridge_parameter_set.unit IS 'Unit of value and limits';

COMMENT ON COLUMN dw.bridge_parameter_set.lsl IS 'Lower specification limit, in the unit; NULL: none';

COMMENT ON COLUMN dw.bridge_parameter_set.usl IS 'Upper specification limit, in the unit; NULL: none';

COMMENT ON COLUMN dw.bridge_parameter_set.lsl_inclusive IS 'Whether a value equal to lsl is in specification (STDF V4 PARM_FLG bit 6)';

COMMENT ON COLUMN dw.bridge_parameter_set.usl_inclusive IS 'Whether a value equal to usl is in specification (STDF V4 PARM_FLG bit 7)';

COMMENT ON COLUMN dw.bridge_parameter_set.batch_id IS 'Batch whose load first wrote the list (etl_load_batch)';

COMMENT ON COLUMN dw.bridge_parameter_set.created_at IS 'When the row was written, UTC';

CREATE UNIQUE INDEX uq_bridge_parameter_set_parameter ON dw.bridge_parameter_set (parameter_set_key, parameter);

CREATE TABLE dw.bridge_step_limits (
    process_step_key BIGINT NOT NULL, 
    parameter TEXT NOT NULL, 
    effective_date TIMESTAMP WITH TIME ZONE NOT NULL, 
    expiry_date TIMESTAMP WITH TIME ZONE NOT NULL, 
    name TEXT, 
    unit TEXT, 
    limit_version TEXT, 
    lsl DOUBLE PRECISION, 
    lcl DOUBLE PRECISION, 
    target DOUBLE PRECISION, 
    ucl DOUBLE PRECISION, 
    usl DOUBLE PRECISION, 
    CONSTRAINT pk_bridge_step_limits PRIMARY KEY (process_step_key, parameter, effective_date)
)
 WITH (appendonly=false)
 DISTRIBUTED REPLICATED;

COMMENT ON TABLE dw.bridge_step_limits IS 'Limits of a step''s parameter in one version of the step: dim_process_step.control_limits, a row per parameter';

COMMENT ON COLUMN dw.bridge_step_limits.process_step_key IS 'Step (dim_process_step)';

COMMENT ON COLUMN dw.bridge_step_limits.parameter IS 'Name of the parameter, or test number';

COMMENT ON COLUMN dw.bridge_step_limits.effective_date IS 'Start of the step''s version, inclusive, UTC';

COMMENT ON COLUMN dw.bridge_step_limits.expiry_date IS 'End of the step''s version, exclusive, UTC';

COMMENT ON COLUMN dw.bridge_step_limits.name IS 'Name of the test, where the parameter is its number';

COMMENT ON COLUMN dw.bridge_step_limits.unit IS 'Unit of the limits';

COMMENT ON COLUMN dw.bridge_step_limits.limit_version IS 'Version of the limits';

COMMENT ON COLUMN dw.bridge_step_limits.lsl IS 'Lower specification limit; NULL: none';

COMMENT ON COLUMN dw.bridge_step_limits.lcl IS 'Lower control limit; NULL: none';

COMMENT ON COLUMN dw.bridge_step_limits.target IS 'Target; NULL: none';

COMMENT ON COLUMN dw.bridge_step_limits.ucl IS 'Upper control limit; NULL: none';

COMMENT ON COLUMN dw.bridge_step_limits.usl IS 'Upper specification limit; NULL: none';

ALTER TABLE dw.fact_process_measurements ADD COLUMN parameter_set_key BIGINT ENCODING (compresstype=zstd, compresslevel=1, blocksize=32768);

COMMENT ON COLUMN dw.fact_process_measurements.parameter_set_key IS 'List that says what stands at each position of measured (bridge_parameter_set); NULL without values';

ALTER TABLE dw.fact_process_measurements ADD COLUMN measured DOUBLE PRECISION[] ENCODING (compresstype=zstd, compresslevel=1, blocksize=32768);

COMMENT ON COLUMN dw.fact_process_measurements.measured IS 'Measured values, each at its position of the list, in the list''s units; NaN: no value there';

ALTER TABLE dw.fact_test_results ADD COLUMN parameter_set_key BIGINT ENCODING (compresstype=zstd, compresslevel=1, blocksize=32768);

COMMENT ON COLUMN dw.fact_test_results.parameter_set_key IS 'List that says what stands at each position of measured (bridge_parameter_set); NULL without values';

ALTER TABLE dw.fact_test_results ADD COLUMN measured DOUBLE PRECISION[] ENCODING (compresstype=zstd, compresslevel=1, blocksize=32768);

COMMENT ON COLUMN dw.fact_test_results.measured IS 'Measured values, each at its position of the list, in the list''s units; NaN: no value there';

ALTER TABLE dw.fact_test_results ADD COLUMN verdicts TEXT ENCODING (compresstype=zstd, compresslevel=1, blocksize=32768);

COMMENT ON COLUMN dw.fact_test_results.verdicts IS 'The tester''s verdicts, a letter a position of the list: P passed, F failed, N executed without a verdict, - not executed (STDF V4 TEST_FLG bits 4, 6, 7); NULL: none are known';

ALTER TABLE dw.fact_test_results ADD COLUMN failed INTEGER[] ENCODING (compresstype=zstd, compresslevel=1, blocksize=32768);

COMMENT ON COLUMN dw.fact_test_results.failed IS 'Positions of the list whose test failed, ascending; empty where none did, NULL where verdicts are not known';

ALTER TABLE dw.fact_test_results ADD COLUMN own_limits JSONB ENCODING (compresstype=zstd, compresslevel=1, blocksize=32768);

COMMENT ON COLUMN dw.fact_test_results.own_limits IS 'Limits of the part where they are not its list''s: {position: {lsl, usl, lsl_inclusive, usl_inclusive}}';

ALTER TABLE dw.fact_test_results ADD COLUMN unit_id TEXT ENCODING (compresstype=zstd, compresslevel=1, blocksize=32768);

COMMENT ON COLUMN dw.fact_test_results.unit_id IS 'Identity of a packaged part: its 2D code or part text; NULL where it has none';

ALTER TABLE dw.fact_test_results ADD COLUMN sublot_id TEXT ENCODING (compresstype=zstd, compresslevel=1, blocksize=32768);

COMMENT ON COLUMN dw.fact_test_results.sublot_id IS 'Sublot (STDF V4 MIR.SBLOT_ID)';

ALTER TABLE dw.fact_test_results ADD COLUMN retest_of_bins TEXT ENCODING (compresstype=zstd, compresslevel=1, blocksize=32768);

COMMENT ON COLUMN dw.fact_test_results.retest_of_bins IS 'Bins whose parts this insertion tests again (STDF V4 MIR.RTST_COD); NULL where it is no retest';

ALTER TABLE dw.fact_test_results ADD CONSTRAINT ck_fact_test_results_own_limits CHECK (jsonb_typeof(own_limits) = 'object');

COMMENT ON COLUMN dw.fact_process_measurements.parameters IS 'What was told of the measurement and is no value of measured: texts, booleans, nested things, numbers with more digits than a double keeps: {name: value}';

COMMENT ON COLUMN dw.fact_test_results.parameters IS 'What was told of the unit and is no value of measured: texts, booleans, nested things, numbers with more digits than a double keeps: {name: value} (STDF V4 GDR, DTR)';

COMMENT ON COLUMN dw.fact_test_results.parameter_counts IS 'How often a test number came in the insertion, where more than once: {test number: count}; of rows without measured, which keeps every occurrence';

INSERT INTO dw.bridge_step_limits
    (process_step_key, parameter, effective_date, expiry_date, name, unit, limit_version, lsl, lcl, target, ucl, usl)
SELECT s.process_step_key, j.key, s.effective_date, s.expiry_date,
       j.value ->> 'name', j.value ->> 'unit', j.value ->> 'limit_version', CASE WHEN jsonb_typeof(j.value -> 'lsl') = 'number' THEN CAST(j.value ->> 'lsl' AS double precision) END, CASE WHEN jsonb_typeof(j.value -> 'lcl') = 'number' THEN CAST(j.value ->> 'lcl' AS double precision) END, CASE WHEN jsonb_typeof(j.value -> 'target') = 'number' THEN CAST(j.value ->> 'target' AS double precision) END, CASE WHEN jsonb_typeof(j.value -> 'ucl') = 'number' THEN CAST(j.value ->> 'ucl' AS double precision) END, CASE WHEN jsonb_typeof(j.value -> 'usl') = 'number' THEN CAST(j.value ->> 'usl' AS double precision) END
FROM dw.dim_process_step s
CROSS JOIN LATERAL jsonb_each(s.control_limits) AS j (key, value)
WHERE jsonb_typeof(j.value) = 'object';

CREATE OR REPLACE VIEW dw.v_wafer_yield AS
SELECT y.wafer_key, y.root_lot_id, y.wafer_id, y.lot_key, y.lot_id,
       y.product_key, p.product_id, p.revision AS product_revision,
       y.test_type, y.test_stage, y.test_program, y.program_revision, y.basis,
       y.insertions, y.tested, y.good, y.functional_fails, y.parametric_fails,
       CAST(100 AS double precision) * y.good / NULLIF(y.tested, 0) AS die_yield_pct,
       CAST(100 AS double precision) * (y.tested - y.functional_fails) / NULLIF(y.tested, 0) AS functional_yield_pct,
       CAST(100 AS double precision) * (y.tested - y.functional_fails - y.parametric_fails)
           / NULLIF(y.tested - y.functional_fails, 0) AS parametric_yield_pct,
       y.first_ts, y.last_ts, y.retested_unknown, p.gross_die_per_wafer AS gross_die,
       CAST(100 AS double precision) * y.good / NULLIF(p.gross_die_per_wafer, 0) AS gross_yield_pct
FROM (
    SELECT w.wafer_key, w.root_lot_id, w.wafer_id, w.lot_key, w.lot_id, w.test_type, w.test_stage, w.product_key, w.test_program, w.program_revision, b.basis,
           w.insertions, w.tested, w.retested_unknown, w.first_ts, w.last_ts,
           CASE b.basis WHEN 'FIRST' THEN w.first_good WHEN 'LAST' THEN w.last_good WHEN 'BEST' THEN w.best_good WHEN 'WORST' THEN w.worst_good END
               + CASE WHEN b.basis IN ('LAST', 'BEST') THEN w.recovered ELSE 0 END AS good,
           CASE WHEN b.basis IN ('FIRST', 'WORST') OR w.retested_unknown = 0 THEN CASE b.basis WHEN 'FIRST' THEN w.first_functional WHEN 'LAST' THEN w.last_functional WHEN 'BEST' THEN w.best_functional WHEN 'WORST' THEN w.worst_functional END END AS functional_fails,
           CASE WHEN b.basis IN ('FIRST', 'WORST') OR w.retested_unknown = 0 THEN CASE b.basis WHEN 'FIRST' THEN w.first_parametric WHEN 'LAST' THEN w.last_parametric WHEN 'BEST' THEN w.best_parametric WHEN 'WORST' THEN w.worst_parametric END END AS parametric_fails
    FROM (
        SELECT u.wafer_key, u.root_lot_id, u.wafer_id, u.lot_key, u.lot_id, u.test_type, u.test_stage,
               CASE WHEN min(u.first_product) = max(u.last_product) THEN min(u.first_product) ELSE -1 END AS product_key,
               CASE WHEN min(u.first_program) = max(u.last_program) THEN min(u.first_program) END AS test_program,
               CASE WHEN min(u.first_revision) = max(u.last_revision)
                    THEN min(u.first_revision) END AS program_revision,
               CAST(sum(u.insertions) AS bigint) AS insertions,
               count(CASE WHEN NOT u.is_retest_of_unknown THEN 1 END) AS tested,
               count(CASE WHEN u.is_retest_of_unknown THEN 1 END) AS retested_unknown,
               count(CASE WHEN NOT u.is_retest_of_unknown AND u.first_result = 0 THEN 1 END) AS first_good,
               count(CASE WHEN NOT u.is_retest_of_unknown AND u.last_result = 0 THEN 1 END) AS last_good,
               count(CASE WHEN NOT u.is_retest_of_unknown AND u.passed_once THEN 1 END) AS best_good,
               count(CASE WHEN NOT u.is_retest_of_unknown AND u.passed_always THEN 1 END) AS worst_good,
               count(CASE WHEN u.is_retest_of_unknown AND u.last_result = 0 THEN 1 END) AS recovered,
               count(CASE WHEN NOT u.is_retest_of_unknown AND u.first_result = 1 THEN 1 END) AS first_functional,
               count(CASE WHEN NOT u.is_retest_of_unknown AND u.last_result = 1 THEN 1 END) AS last_functional,
               count(CASE WHEN NOT u.is_retest_of_unknown AND NOT u.passed_once AND u.last_result = 1 THEN 1 END) AS best_functional,
               count(CASE WHEN NOT u.is_retest_of_unknown AND NOT u.passed_always AND u.failed_functional THEN 1 END) AS worst_functional,
               count(CASE WHEN NOT u.is_retest_of_unknown AND u.first_result = 2 THEN 1 END) AS first_parametric,
               count(CASE WHEN NOT u.is_retest_of_unknown AND u.last_result = 2 THEN 1 END) AS last_parametric,
               count(CASE WHEN NOT u.is_retest_of_unknown AND NOT u.passed_once AND u.last_result = 2 THEN 1 END) AS best_parametric,
               count(CASE WHEN NOT u.is_retest_of_unknown AND NOT u.passed_always AND NOT coalesce(u.failed_functional, false) AND u.failed_parametric THEN 1 END) AS worst_parametric,
               min(u.first_ts) AS first_ts, max(u.last_ts) AS last_ts
        FROM (
            SELECT f.wafer_key, w.root_lot_id, w.wafer_id, f.lot_key, l.lot_id, f.test_type, f.test_stage,
                   CASE WHEN f.unit_id IS NULL AND f.die_x IS NOT NULL AND f.die_y IS NOT NULL AND f.test_type IS DISTINCT FROM 'FT' THEN f.die_x END AS unit_x,
                   CASE WHEN f.unit_id IS NULL AND f.die_x IS NOT NULL AND f.die_y IS NOT NULL AND f.test_type IS DISTINCT FROM 'FT' THEN f.die_y END AS unit_y,
                   CASE WHEN f.unit_id IS NOT NULL THEN f.unit_id WHEN f.unit_id IS NULL AND f.die_x IS NOT NULL AND f.die_y IS NOT NULL AND f.test_type IS DISTINCT FROM 'FT' THEN NULL
                 ELSE chr(31) || f.batch_id || chr(31) || coalesce(f.sublot_id, '') || chr(31)
                      || coalesce(CAST(f.head_no AS text), '') || chr(31) || coalesce(CAST(f.site_no AS text), '') || chr(31)
                      || coalesce(f.part_id, chr(31) || CAST(f.source_record_no AS text)) END AS unit_part,
                   f.retest_of_bins IS NOT NULL AND f.unit_id IS NULL AND NOT (f.unit_id IS NULL AND f.die_x IS NOT NULL AND f.die_y IS NOT NULL AND f.test_type IS DISTINCT FROM 'FT') AS is_retest_of_unknown,
                   count(*) AS insertions,
                   (min(ARRAY[CAST(extract(epoch FROM f.event_ts) AS double precision), coalesce(f.insertion_no, CAST('NaN' AS double precision)),
                  f.source_record_no, CASE WHEN f.is_pass THEN 0 WHEN f.fail_kind = 'FUNCTIONAL' THEN 1 WHEN f.fail_kind = 'PARAMETRIC' THEN 2 ELSE 3 END]))[4] AS first_result,
                   (max(ARRAY[CAST(extract(epoch FROM f.event_ts) AS double precision), coalesce(f.insertion_no, CAST('NaN' AS double precision)),
                  f.source_record_no, CASE WHEN f.is_pass THEN 0 WHEN f.fail_kind = 'FUNCTIONAL' THEN 1 WHEN f.fail_kind = 'PARAMETRIC' THEN 2 ELSE 3 END]))[4] AS last_result,
                   bool_or(f.is_pass) AS passed_once,
                   bool_and(f.is_pass) AS passed_always,
                   bool_or(f.fail_kind = 'FUNCTIONAL' AND NOT f.is_pass) AS failed_functional,
                   bool_or(f.fail_kind = 'PARAMETRIC' AND NOT f.is_pass) AS failed_parametric,
                   min(NULLIF(f.product_key, -1)) AS first_product, max(NULLIF(f.product_key, -1)) AS last_product,
                   min(f.test_program) AS first_program, max(f.test_program) AS last_program,
                   min(f.program_revision) AS first_revision, max(f.program_revision) AS last_revision,
                   min(f.event_ts) AS first_ts, max(f.event_ts) AS last_ts
            FROM dw.fact_test_results f
            LEFT JOIN dw.dim_wafer w ON w.wafer_key = f.wafer_key AND w.is_current
            LEFT JOIN dw.dim_lot l ON l.lot_key = f.lot_key AND l.is_current
            WHERE f.is_pass IS NOT NULL
            GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11
        ) u
        GROUP BY u.wafer_key, u.root_lot_id, u.wafer_id, u.lot_key, u.lot_id, u.test_type, u.test_stage
    ) w
    CROSS JOIN (VALUES (CAST('FIRST' AS text)), ('LAST'), ('BEST'), ('WORST')) AS b (basis)
) y
LEFT JOIN dw.dim_product p ON p.product_key = y.product_key AND p.is_current;

COMMENT ON VIEW dw.v_wafer_yield IS 'Yield by wafer, lot, test type and stage, four rows each: by the first, last, best and worst result of a unit. A unit is a die by its coordinates, a packaged part by unit_id, else by the counter of its file, sublot, head and site. Insertions without a verdict are left out';

COMMENT ON COLUMN dw.v_wafer_yield.wafer_key IS 'Wafer (dim_wafer)';

COMMENT ON COLUMN dw.v_wafer_yield.root_lot_id IS 'Lot the wafer was started in';

COMMENT ON COLUMN dw.v_wafer_yield.wafer_id IS 'Wafer in its root lot';

COMMENT ON COLUMN dw.v_wafer_yield.lot_key IS 'Lot at the event (dim_lot)';

COMMENT ON COLUMN dw.v_wafer_yield.lot_id IS 'Lot at the event';

COMMENT ON COLUMN dw.v_wafer_yield.product_key IS 'Product (dim_product); -1 where none or several were named';

COMMENT ON COLUMN dw.v_wafer_yield.product_id IS 'Product';

COMMENT ON COLUMN dw.v_wafer_yield.product_revision IS 'Design revision';

COMMENT ON COLUMN dw.v_wafer_yield.test_type IS 'WAT, CP or FT';

COMMENT ON COLUMN dw.v_wafer_yield.test_stage IS 'Test stage';

COMMENT ON COLUMN dw.v_wafer_yield.test_program IS 'Test program; NULL where several were used';

COMMENT ON COLUMN dw.v_wafer_yield.program_revision IS 'Revision of the program; NULL where several were used';

COMMENT ON COLUMN dw.v_wafer_yield.basis IS 'Result of a unit that counts: FIRST, LAST, BEST (good once is good) or WORST (bad once is bad)';

COMMENT ON COLUMN dw.v_wafer_yield.insertions IS 'Insertions with a verdict, count';

COMMENT ON COLUMN dw.v_wafer_yield.tested IS 'Units tested, count, without retests of units that cannot be told';

COMMENT ON COLUMN dw.v_wafer_yield.good IS 'Units good, count; LAST and BEST count the good ones of such retests too';

COMMENT ON COLUMN dw.v_wafer_yield.functional_fails IS 'Units that failed a functional test, count; NULL where retests of unknown units left it open';

COMMENT ON COLUMN dw.v_wafer_yield.parametric_fails IS 'Units that failed parametric tests only, count; NULL likewise';

COMMENT ON COLUMN dw.v_wafer_yield.die_yield_pct IS '100 good / tested, percent';

COMMENT ON COLUMN dw.v_wafer_yield.functional_yield_pct IS '100 (1 - functional fails / tested), percent';

COMMENT ON COLUMN dw.v_wafer_yield.parametric_yield_pct IS '100 (1 - parametric fails / functionally good), percent; NULL where none was';

COMMENT ON COLUMN dw.v_wafer_yield.first_ts IS 'First event, UTC';

COMMENT ON COLUMN dw.v_wafer_yield.last_ts IS 'Last event, UTC';

COMMENT ON COLUMN dw.v_wafer_yield.retested_unknown IS 'Units of retests in files that name no unit (retest_of_bins), count: they are among those tested before';

COMMENT ON COLUMN dw.v_wafer_yield.gross_die IS 'Gross die of the product''s wafer, count; NULL: not known';

COMMENT ON COLUMN dw.v_wafer_yield.gross_yield_pct IS '100 good / gross die, percent';

CREATE VIEW dw.v_lot_yield AS
SELECT y.lot_key, y.lot_id, y.product_key, p.product_id, p.revision AS product_revision,
       y.test_type, y.test_stage, y.test_program, y.program_revision, y.basis, y.wafers,
       y.insertions, y.tested, y.good, y.functional_fails, y.parametric_fails,
       CAST(100 AS double precision) * y.good / NULLIF(y.tested, 0) AS die_yield_pct,
       CAST(100 AS double precision) * (y.tested - y.functional_fails) / NULLIF(y.tested, 0) AS functional_yield_pct,
       CAST(100 AS double precision) * (y.tested - y.functional_fails - y.parametric_fails)
           / NULLIF(y.tested - y.functional_fails, 0) AS parametric_yield_pct,
       y.first_ts, y.last_ts, y.retested_unknown, y.gross_die,
       CAST(100 AS double precision) * y.good / NULLIF(y.gross_die, 0) AS gross_yield_pct
FROM (
    SELECT v.lot_key, v.lot_id, v.test_type, v.test_stage, v.basis, count(*) AS wafers,
           CASE WHEN min(v.product_key) = max(v.product_key) THEN min(v.product_key) ELSE -1 END AS product_key,
           CASE WHEN min(v.test_program) = max(v.test_program) THEN min(v.test_program) END AS test_program,
           CASE WHEN min(v.program_revision) = max(v.program_revision)
                THEN min(v.program_revision) END AS program_revision,
           CASE WHEN count(v.insertions) = count(*) THEN CAST(sum(v.insertions) AS bigint) END AS insertions,
CASE WHEN count(v.tested) = count(*) THEN CAST(sum(v.tested) AS bigint) END AS tested,
CASE WHEN count(v.good) = count(*) THEN CAST(sum(v.good) AS bigint) END AS good,
CASE WHEN count(v.functional_fails) = count(*) THEN CAST(sum(v.functional_fails) AS bigint) END AS functional_fails,
CASE WHEN count(v.parametric_fails) = count(*) THEN CAST(sum(v.parametric_fails) AS bigint) END AS parametric_fails,
CASE WHEN count(v.retested_unknown) = count(*) THEN CAST(sum(v.retested_unknown) AS bigint) END AS retested_unknown,
CASE WHEN count(v.gross_die) = count(*) THEN CAST(sum(v.gross_die) AS bigint) END AS gross_die,
           min(v.first_ts) AS first_ts, max(v.last_ts) AS last_ts
    FROM dw.v_wafer_yield v
    GROUP BY v.lot_key, v.lot_id, v.test_type, v.test_stage, v.basis
) y
LEFT JOIN dw.dim_product p ON p.product_key = y.product_key AND p.is_current;

COMMENT ON VIEW dw.v_lot_yield IS 'Yield by lot, test type and stage, of all its wafers together, or of its packaged parts; four rows each, as v_wafer_yield has them';

COMMENT ON COLUMN dw.v_lot_yield.lot_key IS 'Lot at the event (dim_lot)';

COMMENT ON COLUMN dw.v_lot_yield.lot_id IS 'Lot at the event';

COMMENT ON COLUMN dw.v_lot_yield.product_key IS 'Product (dim_product); -1 where none or several were named';

COMMENT ON COLUMN dw.v_lot_yield.product_id IS 'Product';

COMMENT ON COLUMN dw.v_lot_yield.product_revision IS 'Design revision';

COMMENT ON COLUMN dw.v_lot_yield.test_type IS 'WAT, CP or FT';

COMMENT ON COLUMN dw.v_lot_yield.test_stage IS 'Test stage';

COMMENT ON COLUMN dw.v_lot_yield.test_program IS 'Test program; NULL where several were used';

COMMENT ON COLUMN dw.v_lot_yield.program_revision IS 'Revision of the program; NULL where several were used';

COMMENT ON COLUMN dw.v_lot_yield.basis IS 'Result of a unit that counts: FIRST, LAST, BEST (good once is good) or WORST (bad once is bad)';

COMMENT ON COLUMN dw.v_lot_yield.wafers IS 'Wafers tested, count; 1 of a lot of packaged parts';

COMMENT ON COLUMN dw.v_lot_yield.insertions IS 'Insertions with a verdict, count';

COMMENT ON COLUMN dw.v_lot_yield.tested IS 'Units tested, count, without retests of units that cannot be told';

COMMENT ON COLUMN dw.v_lot_yield.good IS 'Units good, count; LAST and BEST count the good ones of such retests too';

COMMENT ON COLUMN dw.v_lot_yield.functional_fails IS 'Units that failed a functional test, count; NULL where retests of unknown units left it open';

COMMENT ON COLUMN dw.v_lot_yield.parametric_fails IS 'Units that failed parametric tests only, count; NULL likewise';

COMMENT ON COLUMN dw.v_lot_yield.die_yield_pct IS '100 good / tested, percent';

COMMENT ON COLUMN dw.v_lot_yield.functional_yield_pct IS '100 (1 - functional fails / tested), percent';

COMMENT ON COLUMN dw.v_lot_yield.parametric_yield_pct IS '100 (1 - parametric fails / functionally good), percent; NULL where none was';

COMMENT ON COLUMN dw.v_lot_yield.first_ts IS 'First event, UTC';

COMMENT ON COLUMN dw.v_lot_yield.last_ts IS 'Last event, UTC';

COMMENT ON COLUMN dw.v_lot_yield.retested_unknown IS 'Units of retests in files that name no unit (retest_of_bins), count: they are among those tested before';

COMMENT ON COLUMN dw.v_lot_yield.gross_die IS 'Gross die of the wafers tested, count; NULL: not known';

COMMENT ON COLUMN dw.v_lot_yield.gross_yield_pct IS '100 good / gross die, percent';

CREATE VIEW dw.v_test_fails AS
SELECT x.wafer_key, x.root_lot_id, x.wafer_id, x.lot_key, x.lot_id,
       x.process_step_key, s.process_flow_id, s.flow_version, s.step_number, s.step_name,
       x.test_type, x.test_stage, x.test_program, x.program_revision,
       x.test_number, x.test_name, x.pin, x.failed, x.failed_first, x.units, e.executed,
       CAST(100 AS double precision) * x.failed / NULLIF(e.executed, 0) AS failed_pct,
       x.first_ts, x.last_ts
FROM (
    SELECT t.wafer_key, t.lot_key, t.process_step_key, t.test_type, t.test_stage, t.test_program, t.program_revision, t.root_lot_id, t.wafer_id, t.lot_id, t.test_number, t.test_name, t.pin, count(*) AS failed,
           count(CASE WHEN t.is_first THEN 1 END) AS failed_first,
           count(DISTINCT coalesce(t.unit_part, t.unit_x || ' ' || t.unit_y)) AS units,
           min(t.event_ts) AS first_ts, max(t.event_ts) AS last_ts
    FROM (
        SELECT f.batch_id, f.source_record_no, f.wafer_key, f.lot_key, f.process_step_key, f.test_type, f.test_stage, f.test_program, f.program_revision, f.root_lot_id, f.wafer_id, f.lot_id,
               f.unit_x, f.unit_y, f.unit_part, f.event_ts,
               p.test_number, coalesce(p.test_name, p.parameter) AS test_name,
               CASE WHEN min(p.pin) = max(p.pin) THEN min(p.pin) ELSE '' END AS pin,
               bool_or(f.position = f.first_position) AS is_first
        FROM (
            SELECT f.batch_id, f.source_record_no, f.wafer_key, f.lot_key, f.process_step_key, f.test_type, f.test_stage, f.test_program, f.program_revision, w.root_lot_id, w.wafer_id, l.lot_id,
                   CASE WHEN f.unit_id IS NULL AND f.die_x IS NOT NULL AND f.die_y IS NOT NULL AND f.test_type IS DISTINCT FROM 'FT' THEN f.die_x END AS unit_x,
                   CASE WHEN f.unit_id IS NULL AND f.die_x IS NOT NULL AND f.die_y IS NOT NULL AND f.test_type IS DISTINCT FROM 'FT' THEN f.die_y END AS unit_y,
                   CASE WHEN f.unit_id IS NOT NULL THEN f.unit_id WHEN f.unit_id IS NULL AND f.die_x IS NOT NULL AND f.die_y IS NOT NULL AND f.test_type IS DISTINCT FROM 'FT' THEN NULL
             ELSE chr(31) || f.batch_id || chr(31) || coalesce(f.sublot_id, '') || chr(31)
                  || coalesce(CAST(f.head_no AS text), '') || chr(31) || coalesce(CAST(f.site_no AS text), '') || chr(31)
                  || coalesce(f.part_id, chr(31) || CAST(f.source_record_no AS text)) END AS unit_part,
                   f.event_ts, f.parameter_set_key, f.failed[1] AS first_position, unnest(f.failed) AS position
            FROM dw.fact_test_results f
            LEFT JOIN dw.dim_wafer w ON w.wafer_key = f.wafer_key AND w.is_current
            LEFT JOIN dw.dim_lot l ON l.lot_key = f.lot_key AND l.is_current
            WHERE f.failed <> CAST('{}' AS integer[])
        ) f
        JOIN dw.bridge_parameter_set p ON p.parameter_set_key = f.parameter_set_key AND p.position = f.position
        GROUP BY f.batch_id, f.source_record_no, f.wafer_key, f.lot_key, f.process_step_key, f.test_type, f.test_stage, f.test_program, f.program_revision, f.root_lot_id, f.wafer_id, f.lot_id,
                 f.unit_x, f.unit_y, f.unit_part, f.event_ts, p.test_number, coalesce(p.test_name, p.parameter)
    ) t
    GROUP BY t.wafer_key, t.lot_key, t.process_step_key, t.test_type, t.test_stage, t.test_program, t.program_revision, t.root_lot_id, t.wafer_id, t.lot_id, t.test_number, t.test_name, t.pin
) x
JOIN (
    SELECT e.wafer_key, e.lot_key, e.process_step_key, e.test_type, e.test_stage, e.test_program, e.program_revision, e.root_lot_id, e.wafer_id, e.lot_id, q.test_number, q.test_name, CAST(sum(e.n) AS bigint) AS executed
    FROM (
        SELECT f.wafer_key, f.lot_key, f.process_step_key, f.test_type, f.test_stage, f.test_program, f.program_revision, w.root_lot_id, w.wafer_id, l.lot_id, f.parameter_set_key, f.verdicts, count(*) AS n
        FROM dw.fact_test_results f
        LEFT JOIN dw.dim_wafer w ON w.wafer_key = f.wafer_key AND w.is_current
        LEFT JOIN dw.dim_lot l ON l.lot_key = f.lot_key AND l.is_current
        WHERE f.verdicts IS NOT NULL
        GROUP BY f.wafer_key, f.lot_key, f.process_step_key, f.test_type, f.test_stage, f.test_program, f.program_revision, w.root_lot_id, w.wafer_id, l.lot_id, f.parameter_set_key, f.verdicts
    ) e
    JOIN (
        SELECT p.parameter_set_key, p.test_number, coalesce(p.test_name, p.parameter) AS test_name,
               min(p.position) AS position
        FROM dw.bridge_parameter_set p
        GROUP BY p.parameter_set_key, p.test_number, coalesce(p.test_name, p.parameter)
    ) q ON q.parameter_set_key = e.parameter_set_key AND substr(e.verdicts, q.position, 1) <> '-'
    GROUP BY e.wafer_key, e.lot_key, e.process_step_key, e.test_type, e.test_stage, e.test_program, e.program_revision, e.root_lot_id, e.wafer_id, e.lot_id, q.test_number, q.test_name
) e ON e.wafer_key = x.wafer_key AND e.lot_key = x.lot_key AND e.process_step_key = x.process_step_key
   AND coalesce(CAST(e.test_type AS text), chr(31)) = coalesce(CAST(x.test_type AS text), chr(31)) AND coalesce(CAST(e.test_stage AS text), chr(31)) = coalesce(CAST(x.test_stage AS text), chr(31)) AND coalesce(CAST(e.test_program AS text), chr(31)) = coalesce(CAST(x.test_program AS text), chr(31)) AND coalesce(CAST(e.program_revision AS text), chr(31)) = coalesce(CAST(x.program_revision AS text), chr(31)) AND coalesce(CAST(e.test_number AS text), chr(31)) = coalesce(CAST(x.test_number AS text), chr(31)) AND coalesce(CAST(e.test_name AS text), chr(31)) = coalesce(CAST(x.test_name AS text), chr(31))
LEFT JOIN dw.dim_process_step s ON s.process_step_key = x.process_step_key AND s.is_current;

COMMENT ON VIEW dw.v_test_fails IS 'Failing tests by wafer, lot, stage and program, by the tester''s verdicts: parametric, functional and scan. A test counts once an insertion, however many of its pins or repeats failed';

COMMENT ON COLUMN dw.v_test_fails.wafer_key IS 'Wafer (dim_wafer)';

COMMENT ON COLUMN dw.v_test_fails.root_lot_id IS 'Lot the wafer was started in';

COMMENT ON COLUMN dw.v_test_fails.wafer_id IS 'Wafer in its root lot';

COMMENT ON COLUMN dw.v_test_fails.lot_key IS 'Lot at the event (dim_lot)';

COMMENT ON COLUMN dw.v_test_fails.lot_id IS 'Lot at the event';

COMMENT ON COLUMN dw.v_test_fails.process_step_key IS 'Step (dim_process_step)';

COMMENT ON COLUMN dw.v_test_fails.process_flow_id IS 'Process flow, or test program';

COMMENT ON COLUMN dw.v_test_fails.flow_version IS 'Version of the flow';

COMMENT ON COLUMN dw.v_test_fails.step_number IS 'Step of the flow, or test stage';

COMMENT ON COLUMN dw.v_test_fails.step_name IS 'Name of the step';

COMMENT ON COLUMN dw.v_test_fails.test_type IS 'WAT, CP or FT';

COMMENT ON COLUMN dw.v_test_fails.test_stage IS 'Test stage';

COMMENT ON COLUMN dw.v_test_fails.test_program IS 'Test program';

COMMENT ON COLUMN dw.v_test_fails.program_revision IS 'Revision of the program';

COMMENT ON COLUMN dw.v_test_fails.test_number IS 'Number of the test; NULL where it has none';

COMMENT ON COLUMN dw.v_test_fails.test_name IS 'Name of the test (STDF V4 TEST_TXT)';

COMMENT ON COLUMN dw.v_test_fails.pin IS 'Pin, where one pin alone failed; empty where the test has no pins or several failed';

COMMENT ON COLUMN dw.v_test_fails.failed IS 'Insertions that failed the test, count';

COMMENT ON COLUMN dw.v_test_fails.failed_first IS 'Those of them that failed no test before it in the order of the list, count';

COMMENT ON COLUMN dw.v_test_fails.units IS 'Units that failed it, count';

COMMENT ON COLUMN dw.v_test_fails.executed IS 'Insertions that executed the test, count, whatever the pin';

COMMENT ON COLUMN dw.v_test_fails.failed_pct IS '100 failed / executed, percent';

COMMENT ON COLUMN dw.v_test_fails.first_ts IS 'First fail, UTC';

COMMENT ON COLUMN dw.v_test_fails.last_ts IS 'Last fail, UTC';

CREATE OR REPLACE VIEW dw.v_test_values AS
SELECT v.wafer_key, v.root_lot_id, v.wafer_id, v.lot_key, v.lot_id, v.product_key, v.process_step_key, v.process_flow_id, v.flow_version, v.step_number, v.step_name, v.event_ts, v.test_type, v.test_stage, v.test_program, v.program_revision, v.tester_key, v.head_no, v.site_no, v.die_x, v.die_y, v.part_id, v.insertion_no, v.retest_no, v.is_first_pass, v.is_final_result, v.is_pass, v.batch_id, v.source_record_no, coalesce(CAST(v.test_number AS text), v.parameter) AS test_number,
       coalesce(v.test_name, m.name) AS test_name,
       v.value, coalesce(v.unit, m.unit, v.column_unit) AS unit, CASE WHEN v.lsl IS NULL AND v.usl IS NULL THEN m.lsl ELSE v.lsl END AS lsl, CASE WHEN v.lsl IS NULL AND v.usl IS NULL THEN m.usl ELSE v.usl END AS usl,
       CASE WHEN v.lsl IS NULL AND v.usl IS NULL THEN m.limit_version END AS limit_version,
       CASE WHEN v.lsl IS NULL AND v.usl IS NULL THEN
         CASE WHEN m.lsl IS NOT NULL OR m.usl IS NOT NULL
              THEN coalesce(v.value >= m.lsl, true) AND coalesce(v.value <= m.usl, true) END
     ELSE coalesce(v.value > v.lsl OR v.lsl_inclusive AND v.value = v.lsl, true)
          AND coalesce(v.value < v.usl OR v.usl_inclusive AND v.value = v.usl, true) END AS is_in_spec,
       v.parameter, v.pin, v.occurrence, v.lsl_inclusive, v.usl_inclusive, v.tester_passed
FROM (
    SELECT f.wafer_key, w.root_lot_id, w.wafer_id, f.lot_key, l.lot_id, f.product_key, f.process_step_key, s.process_flow_id, s.flow_version, s.step_number, s.step_name, f.event_ts, f.test_type, f.test_stage, f.test_program, f.program_revision, f.tester_key, f.head_no, f.site_no, f.die_x, f.die_y, f.part_id, f.insertion_no, f.retest_no, f.is_first_pass, f.is_final_result, f.is_pass, f.batch_id, f.source_record_no,
           p.parameter, f.measured[p.position] AS value, p.unit, CAST(NULL AS text) AS column_unit,
           p.test_number, p.test_name, p.pin, p.occurrence,
           CASE WHEN (f.own_limits -> CAST(p.position AS text)) IS NULL THEN p.lsl ELSE coalesce(CAST((f.own_limits -> CAST(p.position AS text)) ->> 'lsl' AS double precision), NULL) END AS lsl, CASE WHEN (f.own_limits -> CAST(p.position AS text)) IS NULL THEN p.usl ELSE coalesce(CAST((f.own_limits -> CAST(p.position AS text)) ->> 'usl' AS double precision), NULL) END AS usl, CASE WHEN (f.own_limits -> CAST(p.position AS text)) IS NULL THEN p.lsl_inclusive ELSE coalesce(CAST((f.own_limits -> CAST(p.position AS text)) ->> 'lsl_inclusive' AS boolean), p.lsl_inclusive) END AS lsl_inclusive, CASE WHEN (f.own_limits -> CAST(p.position AS text)) IS NULL THEN p.usl_inclusive ELSE coalesce(CAST((f.own_limits -> CAST(p.position AS text)) ->> 'usl_inclusive' AS boolean), p.usl_inclusive) END AS usl_inclusive, CASE substr(f.verdicts, p.position, 1) WHEN 'P' THEN true WHEN 'F' THEN false END AS tester_passed
    FROM dw.fact_test_results f
    JOIN dw.bridge_parameter_set p ON p.parameter_set_key = f.parameter_set_key
    LEFT JOIN dw.dim_wafer w ON w.wafer_key = f.wafer_key AND w.is_current
    LEFT JOIN dw.dim_lot l ON l.lot_key = f.lot_key AND l.is_current
    LEFT JOIN dw.dim_process_step s ON s.process_step_key = f.process_step_key AND s.is_current
    WHERE f.measured[p.position] <> CAST('NaN' AS double precision)
    UNION ALL
    SELECT f.wafer_key, w.root_lot_id, w.wafer_id, f.lot_key, l.lot_id, f.product_key, f.process_step_key, s.process_flow_id, s.flow_version, s.step_number, s.step_name, f.event_ts, f.test_type, f.test_stage, f.test_program, f.program_revision, f.tester_key, f.head_no, f.site_no, f.die_x, f.die_y, f.part_id, f.insertion_no, f.retest_no, f.is_first_pass, f.is_final_result, f.is_pass, f.batch_id, f.source_record_no,
           j.key AS parameter,
           CASE WHEN jsonb_typeof(j.value) = 'number'
                THEN CAST(CAST(j.value AS text) AS double precision) END AS value,
           CAST(NULL AS text) AS unit, CAST(NULL AS text) AS column_unit,
           CAST(NULL AS bigint) AS test_number, CAST(NULL AS text) AS test_name, CAST('' AS text) AS pin, 1 AS occurrence,
           CAST(NULL AS double precision) AS lsl, CAST(NULL AS double precision) AS usl,
           true AS lsl_inclusive, true AS usl_inclusive, CAST(NULL AS boolean) AS tester_passed
    FROM dw.fact_test_results f
    CROSS JOIN LATERAL jsonb_each(f.parameters) AS j (key, value)
    LEFT JOIN dw.dim_wafer w ON w.wafer_key = f.wafer_key AND w.is_current
    LEFT JOIN dw.dim_lot l ON l.lot_key = f.lot_key AND l.is_current
    LEFT JOIN dw.dim_process_step s ON s.process_step_key = f.process_step_key AND s.is_current
    WHERE jsonb_typeof(j.value) = 'number'
    UNION ALL
    SELECT f.wafer_key, w.root_lot_id, w.wafer_id, f.lot_key, l.lot_id, f.product_key, f.process_step_key, s.process_flow_id, s.flow_version, s.step_number, s.step_name, f.event_ts, f.test_type, f.test_stage, f.test_program, f.program_revision, f.tester_key, f.head_no, f.site_no, f.die_x, f.die_y, f.part_id, f.insertion_no, f.retest_no, f.is_first_pass, f.is_final_result, f.is_pass, f.batch_id, f.source_record_no,
           c.parameter, c.value, CAST(NULL AS text) AS unit, c.unit AS column_unit,
           CAST(NULL AS bigint) AS test_number, CAST(NULL AS text) AS test_name, CAST('' AS text) AS pin, 1 AS occurrence,
           CAST(NULL AS double precision) AS lsl, CAST(NULL AS double precision) AS usl,
           true AS lsl_inclusive, true AS usl_inclusive, CAST(NULL AS boolean) AS tester_passed
    FROM dw.fact_test_results f
    CROSS JOIN LATERAL (VALUES (CAST('vth_mv' AS text), f.vth_mv, CAST('mV' AS text)), (CAST('idsat_ua_um' AS text), f.idsat_ua_um, CAST('uA/um' AS text)), (CAST('ileak_pa_um' AS text), f.ileak_pa_um, CAST('pA/um' AS text)), (CAST('tox_nm' AS text), f.tox_nm, CAST('nm' AS text)), (CAST('rs_ohm_sq' AS text), f.rs_ohm_sq, CAST('ohm/sq' AS text)), (CAST('rc_ohm' AS text), f.rc_ohm, CAST('ohm' AS text)), (CAST('gm_ms_mm' AS text), f.gm_ms_mm, CAST('mS/mm' AS text)), (CAST('bvdss_v' AS text), f.bvdss_v, CAST('V' AS text)), (CAST('idd_ma' AS text), f.idd_ma, CAST('mA' AS text)), (CAST('fmax_mhz' AS text), f.fmax_mhz, CAST('MHz' AS text))) AS c (parameter, value, unit)
    LEFT JOIN dw.dim_wafer w ON w.wafer_key = f.wafer_key AND w.is_current
    LEFT JOIN dw.dim_lot l ON l.lot_key = f.lot_key AND l.is_current
    LEFT JOIN dw.dim_process_step s ON s.process_step_key = f.process_step_key AND s.is_current
    WHERE coalesce(f.vth_mv, f.idsat_ua_um, f.ileak_pa_um, f.tox_nm, f.rs_ohm_sq, f.rc_ohm, f.gm_ms_mm, f.bvdss_v, f.idd_ma, f.fmax_mhz) IS NOT NULL
) v
LEFT JOIN dw.bridge_step_limits m ON m.process_step_key = v.process_step_key AND m.parameter = v.parameter
   AND v.event_ts >= m.effective_date AND v.event_ts < m.expiry_date
WHERE v.value IS NOT NULL;

COMMENT ON VIEW dw.v_test_values IS 'Parametric test results: a row per value of an insertion of a unit, with its limits and the tester''s verdict';

COMMENT ON COLUMN dw.v_test_values.wafer_key IS 'Wafer (dim_wafer)';

COMMENT ON COLUMN dw.v_test_values.root_lot_id IS 'Lot the wafer was started in';

COMMENT ON COLUMN dw.v_test_values.wafer_id IS 'Wafer in its root lot';

COMMENT ON COLUMN dw.v_test_values.lot_key IS 'Lot at the event (dim_lot)';

COMMENT ON COLUMN dw.v_test_values.lot_id IS 'Lot at the event';

COMMENT ON COLUMN dw.v_test_values.product_key IS 'Product (dim_product)';

COMMENT ON COLUMN dw.v_test_values.process_step_key IS 'Step (dim_process_step)';

COMMENT ON COLUMN dw.v_test_values.process_flow_id IS 'Process flow, or test program';

COMMENT ON COLUMN dw.v_test_values.flow_version IS 'Version of the flow';

COMMENT ON COLUMN dw.v_test_values.step_number IS 'Step of the flow, or test stage';

COMMENT ON COLUMN dw.v_test_values.step_name IS 'Name of the step';

COMMENT ON COLUMN dw.v_test_values.event_ts IS 'Event, UTC';

COMMENT ON COLUMN dw.v_test_values.test_type IS 'WAT, CP or FT';

COMMENT ON COLUMN dw.v_test_values.test_stage IS 'Test stage';

COMMENT ON COLUMN dw.v_test_values.test_program IS 'Test program';

COMMENT ON COLUMN dw.v_test_values.program_revision IS 'Revision of the program';

COMMENT ON COLUMN dw.v_test_values.tester_key IS 'Tester (dim_equipment)';

COMMENT ON COLUMN dw.v_test_values.head_no IS 'Test head';

COMMENT ON COLUMN dw.v_test_values.site_no IS 'Test site';

COMMENT ON COLUMN dw.v_test_values.die_x IS 'Die column';

COMMENT ON COLUMN dw.v_test_values.die_y IS 'Die row';

COMMENT ON COLUMN dw.v_test_values.part_id IS 'Part';

COMMENT ON COLUMN dw.v_test_values.insertion_no IS 'Insertion of the unit in its file';

COMMENT ON COLUMN dw.v_test_values.retest_no IS 'Retests before it';

COMMENT ON COLUMN dw.v_test_values.is_first_pass IS 'Whether it is the unit''s first insertion in its file';

COMMENT ON COLUMN dw.v_test_values.is_final_result IS 'Whether it is the unit''s last insertion in its file';

COMMENT ON COLUMN dw.v_test_values.is_pass IS 'Whether the unit passed this insertion';

COMMENT ON COLUMN dw.v_test_values.batch_id IS 'Batch that loaded it (etl_load_batch)';

COMMENT ON COLUMN dw.v_test_values.source_record_no IS 'Number of the record in its source';

COMMENT ON COLUMN dw.v_test_values.test_number IS 'Test number as text; without one, the name';

COMMENT ON COLUMN dw.v_test_values.test_name IS 'Name of the test (STDF V4 TEST_TXT)';

COMMENT ON COLUMN dw.v_test_values.value IS 'Value, in the unit given';

COMMENT ON COLUMN dw.v_test_values.unit IS 'Unit: that of the list, else of the step''s limits in force, else of the measure''s column';

COMMENT ON COLUMN dw.v_test_values.lsl IS 'Lower specification limit: the part''s own, else the list''s (the file''s), else the step''s in force at the event';

COMMENT ON COLUMN dw.v_test_values.usl IS 'Upper specification limit, likewise';

COMMENT ON COLUMN dw.v_test_values.limit_version IS 'Version of the step''s limits, where they are the ones given';

COMMENT ON COLUMN dw.v_test_values.is_in_spec IS 'Whether the value is within lsl and usl, by their inclusiveness; NULL where there is no limit';

COMMENT ON COLUMN dw.v_test_values.parameter IS 'Name, unique in the list; name in parameters, or of the measure''s column';

COMMENT ON COLUMN dw.v_test_values.pin IS 'Pin of one result of several; empty without one';

COMMENT ON COLUMN dw.v_test_values.occurrence IS '1, 2, ... of a test that is repeated within an insertion';

COMMENT ON COLUMN dw.v_test_values.lsl_inclusive IS 'Whether a value equal to lsl is in specification';

COMMENT ON COLUMN dw.v_test_values.usl_inclusive IS 'Whether a value equal to usl is in specification';

COMMENT ON COLUMN dw.v_test_values.tester_passed IS 'The tester''s verdict; NULL: none';

CREATE OR REPLACE VIEW dw.v_process_values AS
SELECT v.wafer_key, v.root_lot_id, v.wafer_id, v.lot_key, v.lot_id, v.product_key, v.process_step_key, v.process_flow_id, v.flow_version, v.step_number, v.step_name, v.recipe_key, v.equipment_key, v.equipment_id, v.chamber_key, v.chamber_id, v.event_ts, v.measurement_type, v.visit_no, v.is_rework, v.site_no, v.site_x_mm, v.site_y_mm, v.batch_id, v.source_record_no, v.parameter, v.value, coalesce(v.unit, m.unit, v.column_unit) AS unit,
       CASE WHEN v.lsl IS NULL AND v.usl IS NULL THEN m.lsl ELSE v.lsl END AS lsl, CASE WHEN v.lsl IS NULL AND v.usl IS NULL THEN m.usl ELSE v.usl END AS usl, CASE WHEN v.lsl IS NULL AND v.usl IS NULL THEN m.limit_version END AS limit_version,
       CASE WHEN v.lsl IS NULL AND v.usl IS NULL THEN
         CASE WHEN m.lsl IS NOT NULL OR m.usl IS NOT NULL
              THEN coalesce(v.value >= m.lsl, true) AND coalesce(v.value <= m.usl, true) END
     ELSE coalesce(v.value > v.lsl OR v.lsl_inclusive AND v.value = v.lsl, true)
          AND coalesce(v.value < v.usl OR v.usl_inclusive AND v.value = v.usl, true) END AS is_in_spec,
       m.lcl, m.target, m.ucl,
       CASE WHEN m.lcl IS NOT NULL OR m.ucl IS NOT NULL
     THEN coalesce(v.value >= m.lcl, true) AND coalesce(v.value <= m.ucl, true) END AS is_in_control
FROM (
    SELECT f.wafer_key, w.root_lot_id, w.wafer_id, f.lot_key, l.lot_id, f.product_key, f.process_step_key, s.process_flow_id, s.flow_version, s.step_number, s.step_name, f.recipe_key, f.equipment_key, e.equipment_id, f.chamber_key, h.chamber_id, f.event_ts, f.measurement_type, f.visit_no, f.is_rework, f.site_no, f.site_x_mm, f.site_y_mm, f.batch_id, f.source_record_no,
           p.parameter, f.measured[p.position] AS value, p.unit, CAST(NULL AS text) AS column_unit,
           p.test_number, p.test_name, p.pin, p.occurrence,
           p.lsl, p.usl, p.lsl_inclusive, p.usl_inclusive
    FROM dw.fact_process_measurements f
    JOIN dw.bridge_parameter_set p ON p.parameter_set_key = f.parameter_set_key
    LEFT JOIN dw.dim_wafer w ON w.wafer_key = f.wafer_key AND w.is_current
    LEFT JOIN dw.dim_lot l ON l.lot_key = f.lot_key AND l.is_current
    LEFT JOIN dw.dim_process_step s ON s.process_step_key = f.process_step_key AND s.is_current
    LEFT JOIN dw.dim_equipment e ON e.equipment_key = f.equipment_key AND e.is_current
    LEFT JOIN dw.dim_equipment h ON h.equipment_key = f.chamber_key AND h.is_current
    WHERE f.measured[p.position] <> CAST('NaN' AS double precision)
    UNION ALL
    SELECT f.wafer_key, w.root_lot_id, w.wafer_id, f.lot_key, l.lot_id, f.product_key, f.process_step_key, s.process_flow_id, s.flow_version, s.step_number, s.step_name, f.recipe_key, f.equipment_key, e.equipment_id, f.chamber_key, h.chamber_id, f.event_ts, f.measurement_type, f.visit_no, f.is_rework, f.site_no, f.site_x_mm, f.site_y_mm, f.batch_id, f.source_record_no,
           j.key AS parameter,
           CASE WHEN jsonb_typeof(j.value) = 'number'
                THEN CAST(CAST(j.value AS text) AS double precision) END AS value,
           CAST(NULL AS text) AS unit, CAST(NULL AS text) AS column_unit,
           CAST(NULL AS bigint) AS test_number, CAST(NULL AS text) AS test_name, CAST('' AS text) AS pin, 1 AS occurrence,
           CAST(NULL AS double precision) AS lsl, CAST(NULL AS double precision) AS usl,
           true AS lsl_inclusive, true AS usl_inclusive
    FROM dw.fact_process_measurements f
    CROSS JOIN LATERAL jsonb_each(f.parameters) AS j (key, value)
    LEFT JOIN dw.dim_wafer w ON w.wafer_key = f.wafer_key AND w.is_current
    LEFT JOIN dw.dim_lot l ON l.lot_key = f.lot_key AND l.is_current
    LEFT JOIN dw.dim_process_step s ON s.process_step_key = f.process_step_key AND s.is_current
    LEFT JOIN dw.dim_equipment e ON e.equipment_key = f.equipment_key AND e.is_current
    LEFT JOIN dw.dim_equipment h ON h.equipment_key = f.chamber_key AND h.is_current
    WHERE jsonb_typeof(j.value) = 'number'
    UNION ALL
    SELECT f.wafer_key, w.root_lot_id, w.wafer_id, f.lot_key, l.lot_id, f.product_key, f.process_step_key, s.process_flow_id, s.flow_version, s.step_number, s.step_name, f.recipe_key, f.equipment_key, e.equipment_id, f.chamber_key, h.chamber_id, f.event_ts, f.measurement_type, f.visit_no, f.is_rework, f.site_no, f.site_x_mm, f.site_y_mm, f.batch_id, f.source_record_no,
           c.parameter, c.value, CAST(NULL AS text) AS unit, c.unit AS column_unit,
           CAST(NULL AS bigint) AS test_number, CAST(NULL AS text) AS test_name, CAST('' AS text) AS pin, 1 AS occurrence,
           CAST(NULL AS double precision) AS lsl, CAST(NULL AS double precision) AS usl,
           true AS lsl_inclusive, true AS usl_inclusive
    FROM dw.fact_process_measurements f
    CROSS JOIN LATERAL (VALUES (CAST('temperature_c' AS text), f.temperature_c, CAST('degC' AS text)), (CAST('pressure_torr' AS text), f.pressure_torr, CAST('Torr' AS text)), (CAST('rf_power_w' AS text), f.rf_power_w, CAST('W' AS text)), (CAST('rf_bias_power_w' AS text), f.rf_bias_power_w, CAST('W' AS text)), (CAST('reflected_power_w' AS text), f.reflected_power_w, CAST('W' AS text)), (CAST('gas_flow_sccm' AS text), f.gas_flow_sccm, CAST('sccm' AS text)), (CAST('chuck_temp_c' AS text), f.chuck_temp_c, CAST('degC' AS text)), (CAST('endpoint_time_s' AS text), f.endpoint_time_s, CAST('s' AS text)), (CAST('film_thickness_nm' AS text), f.film_thickness_nm, CAST('nm' AS text)), (CAST('cd_nm' AS text), f.cd_nm, CAST('nm' AS text)), (CAST('overlay_x_nm' AS text), f.overlay_x_nm, CAST('nm' AS text)), (CAST('overlay_y_nm' AS text), f.overlay_y_nm, CAST('nm' AS text)), (CAST('etch_rate_nm_min' AS text), f.etch_rate_nm_min, CAST('nm/min' AS text)), (CAST('deposition_rate_nm_min' AS text), f.deposition_rate_nm_min, CAST('nm/min' AS text)), (CAST('removal_rate_nm_min' AS text), f.removal_rate_nm_min, CAST('nm/min' AS text)), (CAST('refractive_index' AS text), f.refractive_index, CAST('1' AS text)), (CAST('sheet_resistance_ohm_sq' AS text), f.sheet_resistance_ohm_sq, CAST('ohm/sq' AS text)), (CAST('uniformity_pct' AS text), f.uniformity_pct, CAST('percent' AS text))) AS c (parameter, value, unit)
    LEFT JOIN dw.dim_wafer w ON w.wafer_key = f.wafer_key AND w.is_current
    LEFT JOIN dw.dim_lot l ON l.lot_key = f.lot_key AND l.is_current
    LEFT JOIN dw.dim_process_step s ON s.process_step_key = f.process_step_key AND s.is_current
    LEFT JOIN dw.dim_equipment e ON e.equipment_key = f.equipment_key AND e.is_current
    LEFT JOIN dw.dim_equipment h ON h.equipment_key = f.chamber_key AND h.is_current
    WHERE coalesce(f.temperature_c, f.pressure_torr, f.rf_power_w, f.rf_bias_power_w, f.reflected_power_w, f.gas_flow_sccm, f.chuck_temp_c, f.endpoint_time_s, f.film_thickness_nm, f.cd_nm, f.overlay_x_nm, f.overlay_y_nm, f.etch_rate_nm_min, f.deposition_rate_nm_min, f.removal_rate_nm_min, f.refractive_index, f.sheet_resistance_ohm_sq, f.uniformity_pct) IS NOT NULL
) v
LEFT JOIN dw.bridge_step_limits m ON m.process_step_key = v.process_step_key AND m.parameter = v.parameter
   AND v.event_ts >= m.effective_date AND v.event_ts < m.expiry_date
WHERE v.value IS NOT NULL;

COMMENT ON VIEW dw.v_process_values IS 'Measured values: a row per measurement and parameter, with the limits in force; a bare visit has none';

COMMENT ON COLUMN dw.v_process_values.wafer_key IS 'Wafer (dim_wafer)';

COMMENT ON COLUMN dw.v_process_values.root_lot_id IS 'Lot the wafer was started in';

COMMENT ON COLUMN dw.v_process_values.wafer_id IS 'Wafer in its root lot';

COMMENT ON COLUMN dw.v_process_values.lot_key IS 'Lot at the event (dim_lot)';

COMMENT ON COLUMN dw.v_process_values.lot_id IS 'Lot at the event';

COMMENT ON COLUMN dw.v_process_values.product_key IS 'Product (dim_product)';

COMMENT ON COLUMN dw.v_process_values.process_step_key IS 'Step (dim_process_step)';

COMMENT ON COLUMN dw.v_process_values.process_flow_id IS 'Process flow, or test program';

COMMENT ON COLUMN dw.v_process_values.flow_version IS 'Version of the flow';

COMMENT ON COLUMN dw.v_process_values.step_number IS 'Step of the flow, or test stage';

COMMENT ON COLUMN dw.v_process_values.step_name IS 'Name of the step';

COMMENT ON COLUMN dw.v_process_values.recipe_key IS 'Recipe (dim_recipe)';

COMMENT ON COLUMN dw.v_process_values.equipment_key IS 'Tool (dim_equipment)';

COMMENT ON COLUMN dw.v_process_values.equipment_id IS 'Tool';

COMMENT ON COLUMN dw.v_process_values.chamber_key IS 'Chamber (dim_equipment)';

COMMENT ON COLUMN dw.v_process_values.chamber_id IS 'Chamber; empty where there was none';

COMMENT ON COLUMN dw.v_process_values.event_ts IS 'Event, UTC';

COMMENT ON COLUMN dw.v_process_values.measurement_type IS 'TRACK, FDC or METROLOGY';

COMMENT ON COLUMN dw.v_process_values.visit_no IS 'Visit of the wafer to the step';

COMMENT ON COLUMN dw.v_process_values.is_rework IS 'Whether the visit was a rework';

COMMENT ON COLUMN dw.v_process_values.site_no IS 'Measured site; 0 for the wafer as a whole';

COMMENT ON COLUMN dw.v_process_values.site_x_mm IS 'Site in x from the wafer''s centre, mm';

COMMENT ON COLUMN dw.v_process_values.site_y_mm IS 'Site in y from the wafer''s centre, mm';

COMMENT ON COLUMN dw.v_process_values.batch_id IS 'Batch that loaded it (etl_load_batch)';

COMMENT ON COLUMN dw.v_process_values.source_record_no IS 'Number of the record in its source';

COMMENT ON COLUMN dw.v_process_values.parameter IS 'Name in the list or in parameters, or of the measure''s column';

COMMENT ON COLUMN dw.v_process_values.value IS 'Value, in the unit given';

COMMENT ON COLUMN dw.v_process_values.unit IS 'Unit: that of the list, else of the step''s limits in force, else of the measure''s column';

COMMENT ON COLUMN dw.v_process_values.lsl IS 'Lower specification limit: the part''s own, else the list''s (the file''s), else the step''s in force at the event';

COMMENT ON COLUMN dw.v_process_values.usl IS 'Upper specification limit, likewise';

COMMENT ON COLUMN dw.v_process_values.limit_version IS 'Version of the step''s limits, where they are the ones given';

COMMENT ON COLUMN dw.v_process_values.is_in_spec IS 'Whether the value is within lsl and usl, by their inclusiveness; NULL where there is no limit';

COMMENT ON COLUMN dw.v_process_values.lcl IS 'Lower control limit in force at the event';

COMMENT ON COLUMN dw.v_process_values.target IS 'Target in force at the event';

COMMENT ON COLUMN dw.v_process_values.ucl IS 'Upper control limit in force at the event';

COMMENT ON COLUMN dw.v_process_values.is_in_control IS 'Whether lcl <= value <= ucl; NULL where there is no limit';

CREATE OR REPLACE VIEW dw.v_process_capability AS
SELECT g.source, g.process_step_key, g.process_flow_id, g.flow_version, g.step_number, g.step_name, g.product_key, g.product_id, g.product_revision, g.parameter, g.unit, g.limit_version, g.lsl, g.target, g.usl,
       g.n, g.mean, g.sigma, g.min_value, g.max_value,
       CASE WHEN g.sigma_within > 0 THEN (g.usl - g.lsl) / (6 * g.sigma_within) END AS cp,
       CASE WHEN g.sigma_within > 0
            THEN least(g.usl - g.mean, g.mean - g.lsl) / (3 * g.sigma_within) END AS cpk,
       g.sigma_within, g.lots,
       CASE WHEN g.sigma > 0 THEN (g.usl - g.lsl) / (6 * g.sigma) END AS pp,
       CASE WHEN g.sigma > 0 THEN least(g.usl - g.mean, g.mean - g.lsl) / (3 * g.sigma) END AS ppk,
       g.test_number, g.test_name, g.pin, g.occurrence
FROM (
    SELECT t.source, t.process_step_key, t.process_flow_id, t.flow_version, t.step_number, t.step_name, t.product_key, t.product_id, t.product_revision, t.known_as, t.test_number, t.test_name, t.pin, t.occurrence, t.unit, t.limit_version, t.lsl, t.target, t.usl, t.parameter, t.n, t.mean, t.min_value, t.max_value, t.lots,
           CASE WHEN t.n > 1 THEN sqrt(t.m2 / (t.n - 1)) END AS sigma,
           CASE WHEN t.n > t.lots THEN sqrt(t.m2_within / (t.n - t.lots)) END AS sigma_within
    FROM (
        SELECT source, process_step_key, process_flow_id, flow_version, step_number, step_name, product_key, product_id, product_revision, known_as, test_number, test_name, pin, occurrence, unit, limit_version, lsl, target, usl, CAST(sum(n) AS bigint) AS n, reference + sum(n * deviation) / sum(n) AS mean,
               greatest(0, sum(m2) + sum(n * deviation ^ 2)
                   - CASE WHEN abs(sum(n * deviation)) > 1e-140 THEN sum(n * deviation) ^ 2 / sum(n) ELSE 0 END) AS m2,
               min(min_value) AS min_value, max(max_value) AS max_value,
        min(parameter) AS parameter, count(*) AS lots, sum(m2) AS m2_within
        FROM (
            SELECT r.*, CASE WHEN r.mean - r.reference > 1e-140 THEN r.mean - r.reference ELSE 0 END AS deviation
            FROM (
                SELECT r.*, min(r.mean) OVER (PARTITION BY source, process_step_key, process_flow_id, flow_version, step_number, step_name, product_key, product_id, product_revision, known_as, test_number, test_name, pin, occurrence, unit, limit_version, lsl, target, usl) AS reference
                FROM (
                    SELECT source, process_step_key, process_flow_id, flow_version, step_number, step_name, product_key, product_id, product_revision, known_as, test_number, test_name, pin, occurrence, unit, limit_version, lsl, target, usl, lot_key, CAST(sum(n) AS bigint) AS n, reference + sum(n * deviation) / sum(n) AS mean,
                           greatest(0, sum(m2) + sum(n * deviation ^ 2)
                               - CASE WHEN abs(sum(n * deviation)) > 1e-140 THEN sum(n * deviation) ^ 2 / sum(n) ELSE 0 END) AS m2,
                           min(min_value) AS min_value, max(max_value) AS max_value,
                    min(parameter) AS parameter
                    FROM (
                        SELECT r.*, CASE WHEN r.mean - r.reference > 1e-140 THEN r.mean - r.reference ELSE 0 END AS deviation
                        FROM (
                            SELECT r.*, min(r.mean) OVER (PARTITION BY source, process_step_key, process_flow_id, flow_version, step_number, step_name, product_key, product_id, product_revision, known_as, test_number, test_name, pin, occurrence, unit, limit_version, lsl, target, usl, lot_key) AS reference
                            FROM (
                                SELECT k.source, k.process_step_key, s.process_flow_id, s.flow_version, s.step_number, s.step_name,
                                       k.product_key, d.product_id, d.revision AS product_revision,
                                       coalesce(p.parameter, k.parameter) AS parameter,
                                       CASE WHEN p.test_number IS NULL THEN coalesce(p.parameter, k.parameter) END AS known_as,
                                       p.test_number, coalesce(p.test_name, m.name) AS test_name, p.pin, p.occurrence,
                                       coalesce(p.unit, m.unit, c.unit) AS unit,
                                       CASE WHEN p.lsl IS NULL AND p.usl IS NULL THEN m.limit_version END AS limit_version,
                                       CASE WHEN p.lsl IS NULL AND p.usl IS NULL THEN m.lsl ELSE p.lsl END AS lsl,
                                       m.target,
                                       CASE WHEN p.lsl IS NULL AND p.usl IS NULL THEN m.usl ELSE p.usl END AS usl,
                                       k.lot_key, k.n, k.mean, k.m2, k.min_value, k.max_value
                                FROM (
                                    SELECT CAST('TEST' AS text) AS source, k.*
                                    FROM (
                                        SELECT process_step_key, product_key, parameter_set_key, position, parameter, lot_key, effective_date, CAST(sum(n) AS bigint) AS n, reference + sum(n * deviation) / sum(n) AS mean,
                                               greatest(0, sum(m2) + sum(n * deviation ^ 2)
                                                   - CASE WHEN abs(sum(n * deviation)) > 1e-140 THEN sum(n * deviation) ^ 2 / sum(n) ELSE 0 END) AS m2,
                                               min(min_value) AS min_value, max(max_value) AS max_value
                                        FROM (
                                            SELECT r.*, CASE WHEN r.mean - r.reference > 1e-140 THEN r.mean - r.reference ELSE 0 END AS deviation
                                            FROM (
                                                SELECT r.*, min(r.mean) OVER (PARTITION BY process_step_key, product_key, parameter_set_key, position, parameter, lot_key, effective_date) AS reference
                                                FROM (
                                                    SELECT a.process_step_key, a.product_key, a.parameter_set_key, a.position, a.parameter, a.lot_key, s.effective_date, a.n, a.mean, a.m2, a.min_value, a.max_value
                                                    FROM dw.agg_test_values a
                                                    LEFT JOIN dw.dim_process_step s ON s.process_step_key = a.process_step_key
                                                        AND a.first_ts >= s.effective_date AND a.first_ts < s.expiry_date
                                                    WHERE a.mean IS NOT NULL AND a.is_final_result AND a.site_no IS NULL AND a.head_no IS NULL
                                                ) r
                                            ) r
                                        ) r
                                        GROUP BY process_step_key, product_key, parameter_set_key, position, parameter, lot_key, effective_date, reference
                                    ) k
                                    UNION ALL
                                    SELECT CAST('PROCESS' AS text) AS source, k.*
                                    FROM (
                                        SELECT process_step_key, product_key, parameter_set_key, position, parameter, lot_key, effective_date, CAST(sum(n) AS bigint) AS n, reference + sum(n * deviation) / sum(n) AS mean,
                                               greatest(0, sum(m2) + sum(n * deviation ^ 2)
                                                   - CASE WHEN abs(sum(n * deviation)) > 1e-140 THEN sum(n * deviation) ^ 2 / sum(n) ELSE 0 END) AS m2,
                                               min(min_value) AS min_value, max(max_value) AS max_value
                                        FROM (
                                            SELECT r.*, CASE WHEN r.mean - r.reference > 1e-140 THEN r.mean - r.reference ELSE 0 END AS deviation
                                            FROM (
                                                SELECT r.*, min(r.mean) OVER (PARTITION BY process_step_key, product_key, parameter_set_key, position, parameter, lot_key, effective_date) AS reference
                                                FROM (
                                                    SELECT a.process_step_key, a.product_key, a.parameter_set_key, a.position, a.parameter, a.lot_key, s.effective_date, a.n, a.mean, a.m2, a.min_value, a.max_value
                                                    FROM dw.agg_process_values a
                                                    LEFT JOIN dw.dim_process_step s ON s.process_step_key = a.process_step_key
                                                        AND a.first_ts >= s.effective_date AND a.first_ts < s.expiry_date
                                                    WHERE a.mean IS NOT NULL
                                                ) r
                                            ) r
                                        ) r
                                        GROUP BY process_step_key, product_key, parameter_set_key, position, parameter, lot_key, effective_date, reference
                                    ) k
                                ) k
                                LEFT JOIN dw.bridge_parameter_set p
                                    ON p.parameter_set_key = k.parameter_set_key AND p.position = k.position
                                LEFT JOIN dw.bridge_step_limits m ON m.process_step_key = k.process_step_key
                                    AND m.parameter = coalesce(p.parameter, k.parameter) AND m.effective_date = k.effective_date
                                LEFT JOIN (VALUES (CAST('temperature_c' AS text), CAST('degC' AS text)), (CAST('pressure_torr' AS text), CAST('Torr' AS text)), (CAST('rf_power_w' AS text), CAST('W' AS text)), (CAST('rf_bias_power_w' AS text), CAST('W' AS text)), (CAST('reflected_power_w' AS text), CAST('W' AS text)), (CAST('gas_flow_sccm' AS text), CAST('sccm' AS text)), (CAST('chuck_temp_c' AS text), CAST('degC' AS text)), (CAST('endpoint_time_s' AS text), CAST('s' AS text)), (CAST('film_thickness_nm' AS text), CAST('nm' AS text)), (CAST('cd_nm' AS text), CAST('nm' AS text)), (CAST('overlay_x_nm' AS text), CAST('nm' AS text)), (CAST('overlay_y_nm' AS text), CAST('nm' AS text)), (CAST('etch_rate_nm_min' AS text), CAST('nm/min' AS text)), (CAST('deposition_rate_nm_min' AS text), CAST('nm/min' AS text)), (CAST('removal_rate_nm_min' AS text), CAST('nm/min' AS text)), (CAST('refractive_index' AS text), CAST('1' AS text)), (CAST('sheet_resistance_ohm_sq' AS text), CAST('ohm/sq' AS text)), (CAST('uniformity_pct' AS text), CAST('percent' AS text)), (CAST('vth_mv' AS text), CAST('mV' AS text)), (CAST('idsat_ua_um' AS text), CAST('uA/um' AS text)), (CAST('ileak_pa_um' AS text), CAST('pA/um' AS text)), (CAST('tox_nm' AS text), CAST('nm' AS text)), (CAST('rs_ohm_sq' AS text), CAST('ohm/sq' AS text)), (CAST('rc_ohm' AS text), CAST('ohm' AS text)), (CAST('gm_ms_mm' AS text), CAST('mS/mm' AS text)), (CAST('bvdss_v' AS text), CAST('V' AS text)), (CAST('idd_ma' AS text), CAST('mA' AS text)), (CAST('fmax_mhz' AS text), CAST('MHz' AS text))) c (measure, unit) ON c.measure = k.parameter
                                LEFT JOIN dw.dim_process_step s ON s.process_step_key = k.process_step_key AND s.is_current
                                LEFT JOIN dw.dim_product d ON d.product_key = k.product_key AND d.is_current
                            ) r
                        ) r
                    ) r
                    GROUP BY source, process_step_key, process_flow_id, flow_version, step_number, step_name, product_key, product_id, product_revision, known_as, test_number, test_name, pin, occurrence, unit, limit_version, lsl, target, usl, lot_key, reference
                ) r
            ) r
        ) r
        GROUP BY source, process_step_key, process_flow_id, flow_version, step_number, step_name, product_key, product_id, product_revision, known_as, test_number, test_name, pin, occurrence, unit, limit_version, lsl, target, usl, reference
    ) t
) g;

COMMENT ON VIEW dw.v_process_capability IS 'Capability by step, product, parameter and set of limits, over all events, from the aggregates; test results by the last insertion of a unit in its file. Limits of a step are those in force at the first event of a wafer or lot';

COMMENT ON COLUMN dw.v_process_capability.source IS 'PROCESS (fact_process_measurements) or TEST (fact_test_results)';

COMMENT ON COLUMN dw.v_process_capability.process_step_key IS 'Step (dim_process_step)';

COMMENT ON COLUMN dw.v_process_capability.process_flow_id IS 'Process flow, or test program';

COMMENT ON COLUMN dw.v_process_capability.flow_version IS 'Version of the flow';

COMMENT ON COLUMN dw.v_process_capability.step_number IS 'Step of the flow, or test stage';

COMMENT ON COLUMN dw.v_process_capability.step_name IS 'Name of the step';

COMMENT ON COLUMN dw.v_process_capability.product_key IS 'Product (dim_product)';

COMMENT ON COLUMN dw.v_process_capability.product_id IS 'Product';

COMMENT ON COLUMN dw.v_process_capability.product_revision IS 'Design revision';

COMMENT ON COLUMN dw.v_process_capability.parameter IS 'Name of the parameter; of a test number that lists name differently, the first name';

COMMENT ON COLUMN dw.v_process_capability.unit IS 'Unit of value and limits';

COMMENT ON COLUMN dw.v_process_capability.limit_version IS 'Version of the limits, where they are the step''s';

COMMENT ON COLUMN dw.v_process_capability.lsl IS 'Lower specification limit: the list''s (the file''s), else the step''s';

COMMENT ON COLUMN dw.v_process_capability.target IS 'Target of the step';

COMMENT ON COLUMN dw.v_process_capability.usl IS 'Upper specification limit, likewise';

COMMENT ON COLUMN dw.v_process_capability.n IS 'Values, count';

COMMENT ON COLUMN dw.v_process_capability.mean IS 'Mean of the values';

COMMENT ON COLUMN dw.v_process_capability.sigma IS 'Sample standard deviation of all values; NULL for fewer than two';

COMMENT ON COLUMN dw.v_process_capability.min_value IS 'Least value';

COMMENT ON COLUMN dw.v_process_capability.max_value IS 'Greatest value';

COMMENT ON COLUMN dw.v_process_capability.cp IS '(USL - LSL) / 6 sigma_within; NULL where that is 0 or NULL, or a limit is missing';

COMMENT ON COLUMN dw.v_process_capability.cpk IS 'min(USL - mean, mean - LSL) / 3 sigma_within, from the one side where a limit is missing; NULL where sigma_within is 0 or NULL, or both are';

COMMENT ON COLUMN dw.v_process_capability.sigma_within IS 'Standard deviation within lots, pooled; NULL where no lot has two values';

COMMENT ON COLUMN dw.v_process_capability.lots IS 'Lots, count';

COMMENT ON COLUMN dw.v_process_capability.pp IS '(USL - LSL) / 6 sigma; NULL where that is 0 or NULL, or a limit is missing';

COMMENT ON COLUMN dw.v_process_capability.ppk IS 'min(USL - mean, mean - LSL) / 3 sigma, likewise';

COMMENT ON COLUMN dw.v_process_capability.test_number IS 'Number of the test; NULL where it has none';

COMMENT ON COLUMN dw.v_process_capability.test_name IS 'Name of the test (STDF V4 TEST_TXT)';

COMMENT ON COLUMN dw.v_process_capability.pin IS 'Pin of one result of several; NULL where the value is not of a list';

COMMENT ON COLUMN dw.v_process_capability.occurrence IS '1, 2, ... of a test that is repeated within an insertion; NULL where the value is not of a list';

UPDATE dw.alembic_version SET version_num='0005' WHERE dw.alembic_version.version_num = '0004';

INSERT INTO dw.etl_migration_history (revision, direction, checksum, started_at, seconds, applied_by, package_version) VALUES ('0005', 'upgrade', '5df5b011c23994bc4ac8d930708130d60743b571aeeb386ac6f48d201b88a817', now(), date_part('epoch', clock_timestamp() - now()), CURRENT_USER, '0.1.0');

COMMIT;

BEGIN;

-- Running upgrade 0005 -> 0006

UPDATE dw.alembic_version SET version_num='0006' WHERE dw.alembic_version.version_num = '0005';

INSERT INTO dw.etl_migration_history (revision, direction, checksum, started_at, seconds, applied_by, package_version) VALUES ('0006', 'upgrade', '9256592a002518355c952f6a1437dfc8f06ebb7e54cbba7e475d3fec014a8b52', now(), date_part('epoch', clock_timestamp() - now()), CURRENT_USER, '0.1.0');

COMMIT;

