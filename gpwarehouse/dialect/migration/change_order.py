"""Autogenerate: the order of a table's changes where one of them rewrites it, and the encodings of columns that come or go.

Keys that go would stop a rewrite, and keys that come need it done. Columns go before it and come after it, so that they
are added to the storage they have an encoding for; but not those that rows are spread or partitioned by, before or after,
which it must have. The downgrade goes the other way round.

Columns added before a change of storage are no way out: SET ACCESS METHOD ao_column of a table that had been made a row
store, had lost a column and got one took a Greenplum 7.0.0-beta down (seen).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from alembic.operations import ops
from sqlalchemy import Table

from gpwarehouse.dialect.migration.base_operation import GreenplumOp
from gpwarehouse.dialect.migration.columns import encoded, with_encoding
from gpwarehouse.dialect.migration.tables import RepartitionTableOp, SetStorageOp
from gpwarehouse.dialect.option_checks import distribution_of
from gpwarehouse.dialect.options import DistributedBy, Storage

__all__ = ["arrange", "columns_at_rewrite", "note_storages"]

_NOTES = "greenplum_order"


@dataclass(frozen=True)
class _Notes:
    """The facts about a table that :func:`arrange` needs: its storage, and the columns it is spread and partitioned by."""

    before: Storage | None
    after: Storage | None
    old_keys: set[str]
    new_keys: set[str]


def _keys(table: Table, distribution: Any) -> set[str]:
    scheme = table.dialect_options["greenplum"]["partition_by"]
    columns = set(distribution.columns) if isinstance(distribution, DistributedBy) else set()
    one = {scheme.column} if hasattr(scheme, "column") else set()
    return columns | one | set(getattr(scheme, "columns", ()))


def _old_keys(found: Table) -> set[str]:
    return _keys(found, found.dialect_options["greenplum"]["distributed_by"])


def _new_keys(wanted: Table) -> set[str]:
    return _keys(wanted, distribution_of(wanted))


def columns_at_rewrite(found: Table, wanted: Table) -> set[str]:
    """The columns that the table has while it is rewritten, in either direction."""
    before, after = ({column.name for column in table.columns} for table in (found, wanted))
    return (before & after) | (before & _old_keys(found)) | (after & _new_keys(wanted))


def note_storages(changes: Any, found: Table, wanted: Table, before: Storage | None, after: Storage | None) -> None:
    """Keep with a table's changes what :func:`arrange` needs, when all of them are there."""
    changes.info[_NOTES] = _Notes(before, after, _old_keys(found), _new_keys(wanted))


def arrange(changes: Any) -> None:
    """Put the changes of a table in an order in which each of them can be made, and undone."""
    if not isinstance(changes, ops.ModifyTableOps) or _NOTES not in changes.info:
        return
    notes: _Notes = changes.info[_NOTES]
    recoded = any(isinstance(op, SetStorageOp | RepartitionTableOp) for op in changes.ops)
    for op in changes.ops:
        if isinstance(op, ops.AddColumnOp):
            early = op.column.name in notes.new_keys
            op.column = _added(op.column, notes.before if early else notes.after, recoded and early)
        elif isinstance(op, ops.DropColumnOp) and op._reverse is not None:
            late = op.column_name in notes.old_keys
            column = _added(op._reverse.column, notes.after if late else notes.before, recoded and late)
            op._reverse.column = column
    if any(isinstance(op, GreenplumOp) for op in changes.ops):
        changes.ops.sort(key=lambda op: _stage(op, notes))


def _stage(op: Any, notes: _Notes) -> int:
    if isinstance(op, ops.DropConstraintOp | ops.DropIndexOp):
        return 0
    if isinstance(op, ops.AddColumnOp):
        return 1 if op.column.name in notes.new_keys else 3
    if isinstance(op, ops.AlterColumnOp):  # no server changes the type of a column that rows are partitioned by
        return 3 if op.column_name in notes.old_keys - notes.new_keys else 1
    if isinstance(op, ops.DropColumnOp):
        return 5 if op.column_name in notes.old_keys else 1
    return 2 if isinstance(op, GreenplumOp) else 4


def _added(column: Any, storage: Storage | None, recoded: bool) -> Any:
    # A rewrite that follows says all encodings itself, and until it there may be none.
    return with_encoding(column, None) if recoded else encoded(column, storage)
