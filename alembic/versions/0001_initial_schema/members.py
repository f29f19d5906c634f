"""The members -1 (unknown) and -2 (not applicable) of each versioned dimension. Frozen."""

from __future__ import annotations

import datetime

import sqlalchemy as sa

UTC = datetime.timezone.utc
BEGINNING = datetime.datetime(1900, 1, 1, tzinfo=UTC)
END_OF_TIME = datetime.datetime(9999, 12, 31, tzinfo=UTC)

ROWS = {
    'dim_equipment': [
        {'equipment_key': -1, 'facility': '(unknown)', 'equipment_id': '(unknown)', 'chamber_id': '', 'effective_date': BEGINNING, 'expiry_date': END_OF_TIME, 'is_current': True, 'is_inferred': False, 'row_hash': '013cf261f9ccf5d4f027bc001d0d1d0c', 'source_system': 'gpwarehouse'},
        {'equipment_key': -2, 'facility': '(not applicable)', 'equipment_id': '(not applicable)', 'chamber_id': '', 'effective_date': BEGINNING, 'expiry_date': END_OF_TIME, 'is_current': True, 'is_inferred': False, 'row_hash': 'e1dbb9e1b0cb872271156b31013834ea', 'source_system': 'gpwarehouse'},
    ],
    'dim_product': [
        {'product_key': -1, 'product_id': '(unknown)', 'revision': '', 'effective_date': BEGINNING, 'expiry_date': END_OF_TIME, 'is_current': True, 'is_inferred': False, 'row_hash': '013cf261f9ccf5d4f027bc001d0d1d0c', 'source_system': 'gpwarehouse'},
        {'product_key': -2, 'product_id': '(not applicable)', 'revision': '', 'effective_date': BEGINNING, 'expiry_date': END_OF_TIME, 'is_current': True, 'is_inferred': False, 'row_hash': 'e1dbb9e1b0cb872271156b31013834ea', 'source_system': 'gpwarehouse'},
    ],
    'dim_process_step': [
        {'process_step_key': -1, 'process_flow_id': '(unknown)', 'flow_version': '', 'step_number': '(unknown)', 'effective_date': BEGINNING, 'expiry_date': END_OF_TIME, 'is_current': True, 'is_inferred': False, 'row_hash': '013cf261f9ccf5d4f027bc001d0d1d0c', 'source_system': 'gpwarehouse'},
        {'process_step_key': -2, 'process_flow_id': '(not applicable)', 'flow_version': '', 'step_number': '(not applicable)', 'effective_date': BEGINNING, 'expiry_date': END_OF_TIME, 'is_current': True, 'is_inferred': False, 'row_hash': 'e1dbb9e1b0cb872271156b31013834ea', 'source_system': 'gpwarehouse'},
    ],
    'dim_recipe': [
        {'recipe_key': -1, 'recipe_id': '(unknown)', 'recipe_version': '', 'effective_date': BEGINNING, 'expiry_date': END_OF_TIME, 'is_current': True, 'is_inferred': False, 'row_hash': '013cf261f9ccf5d4f027bc001d0d1d0c', 'source_system': 'gpwarehouse'},
        {'recipe_key': -2, 'recipe_id': '(not applicable)', 'recipe_version': '', 'effective_date': BEGINNING, 'expiry_date': END_OF_TIME, 'is_current': True, 'is_inferred': False, 'row_hash': 'e1dbb9e1b0cb872271156b31013834ea', 'source_system': 'gpwarehouse'},
    ],
    'dim_lot': [
        {'lot_key': -1, 'lot_id': '(unknown)', 'product_key': -1, 'effective_date': BEGINNING, 'expiry_date': END_OF_TIME, 'is_current': True, 'is_inferred': False, 'row_hash': '013cf261f9ccf5d4f027bc001d0d1d0c', 'source_system': 'gpwarehouse'},
        {'lot_key': -2, 'lot_id': '(not applicable)', 'product_key': -2, 'effective_date': BEGINNING, 'expiry_date': END_OF_TIME, 'is_current': True, 'is_inferred': False, 'row_hash': 'e1dbb9e1b0cb872271156b31013834ea', 'source_system': 'gpwarehouse'},
    ],
    'dim_wafer': [
        {'wafer_key': -1, 'root_lot_id': '(unknown)', 'wafer_id': '(unknown)', 'lot_key': -1, 'product_key': -1, 'is_placeholder': False, 'effective_date': BEGINNING, 'expiry_date': END_OF_TIME, 'is_current': True, 'is_inferred': False, 'row_hash': '013cf261f9ccf5d4f027bc001d0d1d0c', 'source_system': 'gpwarehouse'},
        {'wafer_key': -2, 'root_lot_id': '(not applicable)', 'wafer_id': '(not applicable)', 'lot_key': -2, 'product_key': -2, 'is_placeholder': False, 'effective_date': BEGINNING, 'expiry_date': END_OF_TIME, 'is_current': True, 'is_inferred': False, 'row_hash': 'e1dbb9e1b0cb872271156b31013834ea', 'source_system': 'gpwarehouse'},
    ],
}


def column(name):
    """A column of the type its value has."""
    if name.endswith("_key"):
        return sa.column(name, sa.BigInteger())
    if name.endswith("_date"):
        return sa.column(name, sa.DateTime(timezone=True))
    return sa.column(name, sa.Boolean() if name.startswith("is_") else sa.Text())


def create(op, schema):
    for table, rows in ROWS.items():
        op.bulk_insert(sa.table(table, *map(column, rows[0]), schema=schema), rows)
