"""The lists of parameters, the limits of steps, the aggregates. Frozen."""

from __future__ import annotations

import datetime

import sqlalchemy as sa

from gpwarehouse.dialect import (
    AppendOptimized,
    DistributedBy,
    DistributedReplicated,
    Heap,
    RangePartition,
    RangePartitions,
)

STORAGE = AppendOptimized(orientation="column", compresstype="zstd", compresslevel=1)
MONTHS = RangePartitions(
    column="event_month",
    partitions=(
        RangePartition(
            name="m200001",
            start=datetime.datetime(2000, 1, 1, tzinfo=datetime.timezone.utc),
            end=datetime.datetime(2000, 2, 1, tzinfo=datetime.timezone.utc),
        ),
    ),
)


def create(op, schema):
    op.create_table(
        "agg_process_values",
        sa.Column(
            "event_month",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="Month of the events: its first moment, UTC; the partition key",
        ),
        sa.Column("lot_key", sa.BigInteger(), nullable=False, comment="Lot at the event (dim_lot)"),
        sa.Column("product_key", sa.BigInteger(), nullable=False, comment="Product (dim_product)"),
        sa.Column(
            "process_step_key", sa.BigInteger(), nullable=False, comment="Step, test stages included (dim_process_step)"
        ),
        sa.Column("equipment_key", sa.BigInteger(), nullable=False, comment="Tool (dim_equipment)"),
        sa.Column("chamber_key", sa.BigInteger(), nullable=False, comment="Chamber of the tool (dim_equipment)"),
        sa.Column("visit_no", sa.Integer(), nullable=False, comment="Visit of the wafers to the step"),
        sa.Column(
            "parameter_set_key",
            sa.BigInteger(),
            nullable=False,
            comment="List that names the parameter (bridge_parameter_set); -2 where the value is not of an array",
        ),
        sa.Column(
            "position",
            sa.Integer(),
            nullable=False,
            comment="Position in the list; 0 where the value is not of an array",
        ),
        sa.Column(
            "parameter",
            sa.Text(),
            nullable=True,
            comment="Column of the measure, or name in parameters; NULL where the list names it",
        ),
        sa.Column("n", sa.BigInteger(), nullable=False, comment="Values, count"),
        sa.Column("mean", sa.Double(), nullable=True, comment="Mean of the values; NULL without one, or where one is beyond 1e140"),
        sa.Column(
            "m2",
            sa.Double(),
            nullable=True,
            comment="Sum of the squared deviations from the mean; NULL without a mean",
        ),
        sa.Column("min_value", sa.Double(), nullable=True, comment="Least value"),
        sa.Column("q1", sa.Double(), nullable=True, comment="First quartile, interpolated; NULL without a mean"),
        sa.Column("median", sa.Double(), nullable=True, comment="Median, interpolated; NULL without a mean"),
        sa.Column("q3", sa.Double(), nullable=True, comment="Third quartile, interpolated; NULL without a mean"),
        sa.Column("max_value", sa.Double(), nullable=True, comment="Greatest value"),
        sa.Column("n_wafers", sa.BigInteger(), nullable=False, comment="Wafers, count"),
        sa.Column("first_ts", sa.DateTime(timezone=True), nullable=False, comment="First event, UTC"),
        sa.Column("last_ts", sa.DateTime(timezone=True), nullable=False, comment="Last event, UTC"),
        sa.Column("batch_id", sa.Text(), nullable=False, comment="Batch that loaded the rows (etl_load_batch)"),
        sa.CheckConstraint("m2 >= 0", name=op.f("ck_agg_process_values_m2")),
        sa.CheckConstraint("n >= 0", name=op.f("ck_agg_process_values_n")),
        sa.CheckConstraint("n_wafers >= 0", name=op.f("ck_agg_process_values_n_wafers")),
        schema=schema,
        comment="Values of a parameter in a lot's visit of a step, by batch, chamber, list and position, all wafers together",
        greenplum_distributed_by=DistributedBy("lot_key"),
        greenplum_partition_by=MONTHS,
        greenplum_storage=STORAGE,
    )
    op.create_index("ix_agg_process_values_batch_id", "agg_process_values", ["batch_id"], unique=False, schema=schema)
    op.create_table(
        "agg_test_values",
        sa.Column(
            "event_month",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="Month of the events: its first moment, UTC; the partition key",
        ),
        sa.Column("wafer_key", sa.BigInteger(), nullable=False, comment="Wafer (dim_wafer); the distribution key"),
        sa.Column("lot_key", sa.BigInteger(), nullable=False, comment="Lot at the event (dim_lot)"),
        sa.Column("product_key", sa.BigInteger(), nullable=False, comment="Product (dim_product)"),
        sa.Column(
            "process_step_key", sa.BigInteger(), nullable=False, comment="Step, test stages included (dim_process_step)"
        ),
        sa.Column(
            "is_final_result",
            sa.Boolean(),
            nullable=False,
            comment="Whether they are of each unit's last insertion in its file; false: of insertions that a later one follows",
        ),
        sa.Column("head_no", sa.Integer(), nullable=True, comment="Test head; NULL where all sites are together"),
        sa.Column(
            "site_no",
            sa.Integer(),
            nullable=True,
            comment="Test site; NULL where all sites are together: sum these rows, or those by site, not both",
        ),
        sa.Column(
            "parameter_set_key",
            sa.BigInteger(),
            nullable=False,
            comment="List that names the parameter (bridge_parameter_set); -2 where the value is not of an array",
        ),
        sa.Column(
            "position",
            sa.Integer(),
            nullable=False,
            comment="Position in the list; 0 where the value is not of an array",
        ),
        sa.Column(
            "parameter",
            sa.Text(),
            nullable=True,
            comment="Column of the measure, or name in parameters; NULL where the list names it",
        ),
        sa.Column("n", sa.BigInteger(), nullable=False, comment="Values, count"),
        sa.Column("mean", sa.Double(), nullable=True, comment="Mean of the values; NULL without one, or where one is beyond 1e140"),
        sa.Column(
            "m2",
            sa.Double(),
            nullable=True,
            comment="Sum of the squared deviations from the mean; NULL without a mean",
        ),
        sa.Column("min_value", sa.Double(), nullable=True, comment="Least value"),
        sa.Column("q1", sa.Double(), nullable=True, comment="First quartile, interpolated; NULL without a mean"),
        sa.Column("median", sa.Double(), nullable=True, comment="Median, interpolated; NULL without a mean"),
        sa.Column("q3", sa.Double(), nullable=True, comment="Third quartile, interpolated; NULL without a mean"),
        sa.Column("max_value", sa.Double(), nullable=True, comment="Greatest value"),
        sa.Column(
            "n_executed",
            sa.BigInteger(),
            nullable=True,
            comment="Insertions that executed the test, count; NULL where verdicts are not known",
        ),
        sa.Column(
            "n_failed",
            sa.BigInteger(),
            nullable=True,
            comment="Insertions that failed the test, count; NULL where verdicts are not known",
        ),
        sa.Column("first_ts", sa.DateTime(timezone=True), nullable=False, comment="First event, UTC"),
        sa.Column("last_ts", sa.DateTime(timezone=True), nullable=False, comment="Last event, UTC"),
        sa.Column("batch_id", sa.Text(), nullable=False, comment="Batch that loaded the rows (etl_load_batch)"),
        sa.CheckConstraint("m2 >= 0", name=op.f("ck_agg_test_values_m2")),
        sa.CheckConstraint("n >= 0", name=op.f("ck_agg_test_values_n")),
        sa.CheckConstraint("n_executed >= 0", name=op.f("ck_agg_test_values_n_executed")),
        sa.CheckConstraint("n_failed >= 0", name=op.f("ck_agg_test_values_n_failed")),
        schema=schema,
        comment="Values of a test on a wafer, by batch, lot, step, list and position; by site too where a wafer had several",
        greenplum_distributed_by=DistributedBy("wafer_key"),
        greenplum_partition_by=MONTHS,
        greenplum_storage=STORAGE,
    )
    op.create_index("ix_agg_test_values_batch_id", "agg_test_values", ["batch_id"], unique=False, schema=schema)
    op.create_table(
        "bridge_parameter_set",
        sa.Column(
            "parameter_set_key",
            sa.BigInteger(),
            autoincrement=False,
            nullable=False,
            comment="List: the hash of its ordered content",
        ),
        sa.Column(
            "position", sa.Integer(), autoincrement=False, nullable=False, comment="Position in the array, from 1"
        ),
        sa.Column("parameter", sa.Text(), nullable=False, comment="Name, unique in the list"),
        sa.Column(
            "test_number",
            sa.BigInteger(),
            nullable=True,
            comment="Number of the test (STDF V4 TEST_NUM); NULL for a sensor",
        ),
        sa.Column(
            "test_name", sa.Text(), nullable=True, comment="Name of the test as the file gives it (STDF V4 TEST_TXT)"
        ),
        sa.Column(
            "pin",
            sa.Text(),
            server_default=sa.text("''"),
            nullable=False,
            comment="Pin of one result of several (STDF V4 PMR); empty without one",
        ),
        sa.Column(
            "occurrence",
            sa.Integer(),
            server_default=sa.text("1"),
            nullable=False,
            comment="1, 2, ... of a test that is repeated within an insertion",
        ),
        sa.Column(
            "kind",
            sa.Text(),
            server_default=sa.text("'PARAMETRIC'"),
            nullable=False,
            comment="What gave the value: STDF V4 PTR, MPR (a value per pin), FTR or STR; sensors are PARAMETRIC",
        ),
        sa.Column("unit", sa.Text(), nullable=True, comment="Unit of value and limits"),
        sa.Column("lsl", sa.Double(), nullable=True, comment="Lower specification limit, in the unit; NULL: none"),
        sa.Column("usl", sa.Double(), nullable=True, comment="Upper specification limit, in the unit; NULL: none"),
        sa.Column(
            "lsl_inclusive",
            sa.Boolean(),
            server_default=sa.text("true"),
            nullable=False,
            comment="Whether a value equal to lsl is in specification (STDF V4 PARM_FLG bit 6)",
        ),
        sa.Column(
            "usl_inclusive",
            sa.Boolean(),
            server_default=sa.text("true"),
            nullable=False,
            comment="Whether a value equal to usl is in specification (STDF V4 PARM_FLG bit 7)",
        ),
        sa.Column(
            "batch_id", sa.Text(), nullable=True, comment="Batch whose load first wrote the list (etl_load_batch)"
        ),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When the row was written, UTC",
        ),
        sa.CheckConstraint(
            "kind IN ('PARAMETRIC', 'MULTIPLE', 'FUNCTIONAL', 'SCAN')", name=op.f("ck_bridge_parameter_set_kind")
        ),
        sa.CheckConstraint("occurrence >= 1", name=op.f("ck_bridge_parameter_set_occurrence")),
        sa.CheckConstraint("position >= 1", name=op.f("ck_bridge_parameter_set_position")),
        sa.PrimaryKeyConstraint("parameter_set_key", "position", name=op.f("pk_bridge_parameter_set")),
        schema=schema,
        comment="Parameter of a list: what stands at a position of the arrays of measured values",
        greenplum_distributed_by=DistributedReplicated(),
        greenplum_storage=Heap(),
    )
    op.create_index(
        "uq_bridge_parameter_set_parameter",
        "bridge_parameter_set",
        ["parameter_set_key", "parameter"],
        unique=True,
        schema=schema,
    )
    op.create_table(
        "bridge_step_limits",
        sa.Column(
            "process_step_key", sa.BigInteger(), autoincrement=False, nullable=False, comment="Step (dim_process_step)"
        ),
        sa.Column(
            "parameter", sa.Text(), autoincrement=False, nullable=False, comment="Name of the parameter, or test number"
        ),
        sa.Column(
            "effective_date",
            sa.DateTime(timezone=True),
            autoincrement=False,
            nullable=False,
            comment="Start of the step's version, inclusive, UTC",
        ),
        sa.Column(
            "expiry_date",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="End of the step's version, exclusive, UTC",
        ),
        sa.Column("name", sa.Text(), nullable=True, comment="Name of the test, where the parameter is its number"),
        sa.Column("unit", sa.Text(), nullable=True, comment="Unit of the limits"),
        sa.Column("limit_version", sa.Text(), nullable=True, comment="Version of the limits"),
        sa.Column("lsl", sa.Double(), nullable=True, comment="Lower specification limit; NULL: none"),
        sa.Column("lcl", sa.Double(), nullable=True, comment="Lower control limit; NULL: none"),
        sa.Column("target", sa.Double(), nullable=True, comment="Target; NULL: none"),
        sa.Column("ucl", sa.Double(), nullable=True, comment="Upper control limit; NULL: none"),
        sa.Column("usl", sa.Double(), nullable=True, comment="Upper specification limit; NULL: none"),
        sa.PrimaryKeyConstraint("process_step_key", "parameter", "effective_date", name=op.f("pk_bridge_step_limits")),
        schema=schema,
        comment="Limits of a step's parameter in one version of the step: dim_process_step.control_limits, a row per parameter",
        greenplum_distributed_by=DistributedReplicated(),
        greenplum_storage=Heap(),
    )


def drop(op, schema):
    op.drop_table("bridge_step_limits", schema=schema)
    op.drop_index("uq_bridge_parameter_set_parameter", table_name="bridge_parameter_set", schema=schema)
    op.drop_table("bridge_parameter_set", schema=schema)
    for table in ("agg_test_values", "agg_process_values"):
        op.drop_index(f"ix_{table}_batch_id", table_name=table, schema=schema)
        op.drop_table(table, schema=schema)
