"""The control tables. Frozen: written once from the models of 0.1.0."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from gpwarehouse.dialect import DistributedBy, Heap


def create(op, schema):
    op.create_table('etl_load_batch',
    sa.Column('batch_id', sa.Text(), autoincrement=False, nullable=False, comment='Id, derived from target and checksum unless the caller gave one'),
    sa.Column('target', sa.Text(), nullable=False, comment='Fact table loaded into'),
    sa.Column('source_system', sa.Text(), nullable=True, comment='System the rows came from'),
    sa.Column('source', sa.Text(), nullable=True, comment='File or other source, without its folder'),
    sa.Column('checksum', sa.Text(), nullable=False, comment='SHA-256 of the content, hexadecimal'),
    sa.Column('status', sa.Text(), nullable=False, comment='Outcome'),
    sa.Column('rows_read', sa.BigInteger(), server_default=sa.text('0'), nullable=False, comment='Rows read, count'),
    sa.Column('rows_loaded', sa.BigInteger(), server_default=sa.text('0'), nullable=False, comment='Rows loaded, count'),
    sa.Column('rows_rejected', sa.BigInteger(), server_default=sa.text('0'), nullable=False, comment='Rows rejected, count'),
    sa.Column('min_event_ts', sa.DateTime(timezone=True), nullable=True, comment='Earliest event loaded, UTC'),
    sa.Column('max_event_ts', sa.DateTime(timezone=True), nullable=True, comment='Latest event loaded, UTC'),
    sa.Column('started_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False, comment='Start of the load, UTC'),
    sa.Column('finished_at', sa.DateTime(timezone=True), nullable=True, comment='End of the load, UTC'),
    sa.Column('error', sa.Text(), nullable=True, comment='Why it failed'),
    sa.Column('loaded_by', sa.Text(), server_default=sa.text('"current_user"()'), nullable=False, comment='Database user who loaded it'),
    sa.CheckConstraint("status IN ('LOADED', 'FAILED')", name=op.f('ck_etl_load_batch_status')),
    sa.CheckConstraint('rows_loaded >= 0', name=op.f('ck_etl_load_batch_rows_loaded')),
    sa.CheckConstraint('rows_read >= 0', name=op.f('ck_etl_load_batch_rows_read')),
    sa.CheckConstraint('rows_rejected >= 0', name=op.f('ck_etl_load_batch_rows_rejected')),
    sa.PrimaryKeyConstraint('batch_id', name=op.f('pk_etl_load_batch')),
    schema=schema,
    comment='Batch: the unit of loading, loaded once whatever is retried',
    greenplum_distributed_by=DistributedBy('batch_id'),
    greenplum_storage=Heap()
    )
    op.create_table('etl_reject',
    sa.Column('batch_id', sa.Text(), nullable=False, comment='Batch (etl_load_batch); the distribution key'),
    sa.Column('target', sa.Text(), nullable=False, comment='Fact table it was meant for'),
    sa.Column('row_number', sa.BigInteger(), nullable=False, comment='Number of the row in its source, from 1'),
    sa.Column('column_name', sa.Text(), server_default='', nullable=False, comment='First column at fault; empty where it is the row as a whole'),
    sa.Column('reason', sa.Text(), nullable=False, comment='Why it was refused'),
    sa.Column('raw', postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True, comment='The row as it was read: {column: value}'),
    sa.Column('rejected_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False, comment='When it was refused, UTC'),
    schema=schema,
    comment='Row of a source that was refused, with the column at fault and the reason',
    greenplum_distributed_by=DistributedBy('batch_id'),
    greenplum_storage=Heap()
    )


def drop(op, schema):
    op.drop_table('etl_reject', schema=schema)
    op.drop_table('etl_load_batch', schema=schema)
