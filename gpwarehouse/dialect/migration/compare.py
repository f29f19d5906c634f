"""Autogenerate: distribution, storage, encodings and partition scheme of tables, as they are and as they should be.

Not compared: which partitions there are (that is the partition manager's, and children are never dropped), and what a
model leaves open (no ``greenplum_storage``: any will do). What it leaves open is not in the revision, so a copy keeps what
there is where it runs, partitions among it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from alembic.util import DispatchPriority, PriorityDispatchResult
from sqlalchemy import DefaultClause, Identity, Table, text

from gpwarehouse.dialect.base import GreenplumDialect
from gpwarehouse.dialect.compat_ddl import identity_options
from gpwarehouse.dialect.migration.change_order import arrange, columns_at_rewrite, note_storages
from gpwarehouse.dialect.migration.operations import (
    GreenplumOp,
    RepartitionTableOp,
    SetDistributionOp,
    SetEncodingOp,
    SetStorageOp,
)
from gpwarehouse.dialect.migration.rewrite_remarks import explain
from gpwarehouse.dialect.option_checks import distribution_of, key_sets, misplaced_key
from gpwarehouse.dialect.options import (
    AppendOptimized,
    DistributedBy,
    DistributedReplicated,
    Distribution,
    Encoding,
    Storage,
)
from gpwarehouse.dialect.partitions import OtherPartitions
from gpwarehouse.dialect.server import Capabilities

__all__ = ["capabilities_of", "setup"]

log = logging.getLogger(__name__)


def capabilities_of(context: Any) -> Capabilities | None:
    """Return the server's capabilities; None where the connection is offline or not of this dialect."""
    dialect = context.dialect
    return dialect.capabilities if isinstance(dialect, GreenplumDialect) and context.connection is not None else None


@dataclass(frozen=True)
class _Pair:
    """A table as it is found and as it is wanted."""

    context: Any
    schema: str | None
    name: str
    found: Table
    wanted: Table
    capabilities: Capabilities

    def options(self, name: str) -> tuple[Any, Any]:
        """A Greenplum option as found and as wanted."""
        return _option(self.found, name), _option(self.wanted, name)

    @property
    def storages(self) -> tuple[Storage | None, Storage | None]:
        """The storage there is, and the one there will be."""
        before, after = self.options("storage")
        return before, after if after is not None else before


def _option(table: Table, name: str) -> Any:
    return table.dialect_options["greenplum"][name]


def _odd(pair: _Pair, table: Table, storage: Storage | None) -> dict[str, Encoding]:
    """The encodings that are not the table's own, of the columns there are while it is rewritten."""
    if not isinstance(storage, AppendOptimized) or storage.orientation != "column":
        return {}
    there = columns_at_rewrite(pair.found, pair.wanted)
    said = {c.name: c.dialect_options["greenplum"]["encoding"] for c in table.columns if c.name in there}
    return {name: e for name, e in said.items() if e is not None and e != storage.encoding}


def compare_table(
    context: Any, changes: Any, schema: str | None, name: str, found: Table | None, wanted: Table | None
) -> PriorityDispatchResult:
    """Add to ``changes`` what makes the table as found the table as wanted."""
    capabilities = capabilities_of(context)
    if capabilities is None or found is None or wanted is None:
        return PriorityDispatchResult.CONTINUE
    pair = _Pair(context, schema, name, found, wanted, capabilities)
    note_storages(changes, found, wanted, *pair.storages)
    operations = [_partitioning(pair)]
    if operations == [None] and capabilities.distribution:
        operations = [_distribution(pair), _storage(pair) or _columns(pair)]
    for operation in operations:
        if operation is not None:
            explain(context, operation, capabilities)
            log.info("Detected %s of table %r", operation.operation, name)
            changes.ops.append(operation)
    return PriorityDispatchResult.CONTINUE


def _partitioning(pair: _Pair) -> GreenplumOp | None:
    before, after = pair.options("partition_by")
    if pair.wanted.dialect_options["postgresql"].get("partition_by") and after is None:
        return None  # said in PostgreSQL's own way, which we leave alone
    if (before is None and after is None) or (before is not None and before.same_scheme(after)):
        return None
    if isinstance(before, OtherPartitions) and after is None:
        log.info("Table %r is left partitioned as it is, by %r: its model says nothing of it", pair.name, before)
        return None
    options: dict[str, Any] = {"existing": before}
    if pair.capabilities.distribution:
        distributions = _distributions(pair, partitioned=after is not None)
        before_it: dict[str, Any] = {"distributed_by": distributions[0]}
        after_it: dict[str, Any] = {"distributed_by": distributions[1]}
        storages = pair.options("storage")
        if storages[1] is not None:
            before_it |= {"storage": storages[0], "encodings": _odd(pair, pair.found, storages[0])}
            after_it |= {"storage": storages[1], "encodings": _odd(pair, pair.wanted, storages[1])}
        options |= after_it
        options["existing_options"] = {key: value for key, value in before_it.items() if value}
    return RepartitionTableOp(pair.name, after, schema=pair.schema, **options)


def _distributions(pair: _Pair, *, partitioned: bool = False) -> tuple[Distribution | None, Distribution | None]:
    """The distribution there is and the one there shall be; twice None for leaving the one there is."""
    before, after = _option(pair.found, "distributed_by"), _plain(pair, distribution_of(pair.wanted))
    if before is None or before == after:
        return None, None
    is_open = _option(pair.wanted, "distributed_by") is None
    possible = not (partitioned and isinstance(before, DistributedReplicated))
    if is_open and possible and misplaced_key(before, key_sets(pair.wanted)) is None:
        return None, None  # left open, and the one there lets every key be kept
    return before, after


def _plain(pair: _Pair, distribution: Distribution) -> Distribution:
    """Without the operator classes that the server takes anyway, as reflection leaves them out."""
    if not isinstance(distribution, DistributedBy) or not distribution.opclasses:
        return distribution
    legacy = pair.context.connection.execute(text("SELECT current_setting('gp_use_legacy_hashops')::bool")).scalar_one()
    odd = {column: name for column, name in distribution.opclasses if name.startswith("cdbhash") != legacy}
    return DistributedBy(*distribution.columns, opclasses=odd)


def _distribution(pair: _Pair) -> GreenplumOp | None:
    before, after = _distributions(pair)
    if after is None:
        return None
    operation = SetDistributionOp(pair.name, after, existing=before, schema=pair.schema)
    if _option(pair.wanted, "distributed_by") is None:
        operation.info["remarks"] = [
            "# The model leaves the distribution open, but no other of its unique keys' holds them all; to have another,",
            "# say greenplum_distributed_by= and drop the key that is in its way.",
        ]
    return operation


def _copied_never(pair: _Pair, what: str) -> bool:
    """Whether this needs a copy of a table whose partitions cannot be made again; it is told, and left."""
    scheme = _option(pair.found, "partition_by")
    if pair.capabilities.access_methods or not isinstance(scheme, OtherPartitions):
        return False
    log.warning(
        "Table %r: its %s is not what the model says, and stays: on this server it changes by a copy, and %r cannot be "
        "made again. Make the copy by SQL of your own, or let the model say what there is",
        pair.name,
        what,
        scheme,
    )
    return True


def _storage(pair: _Pair) -> GreenplumOp | None:
    before, after = pair.options("storage")
    if after is None or before is None or before == after or _copied_never(pair, "storage"):
        return None
    return SetStorageOp(
        pair.name,
        after,
        existing=before,
        encodings=_odd(pair, pair.wanted, after),
        existing_encodings=_odd(pair, pair.found, before),
        schema=pair.schema,
    )


def _columns(pair: _Pair) -> GreenplumOp | None:
    storage, said = pair.options("storage")
    # The storage differs where the copy that would change it cannot be made.
    if said is None or said != storage or not isinstance(storage, AppendOptimized) or storage.orientation != "column":
        return None
    before, after = _odd(pair, pair.found, storage), _odd(pair, pair.wanted, storage)
    both = {column.name for column in pair.found.columns} & {column.name for column in pair.wanted.columns}
    changed = sorted(c for c in both & {*before, *after} if before.get(c) != after.get(c))
    if not changed or _copied_never(pair, "encoding"):
        return None
    return SetEncodingOp(
        pair.name,
        {column: after.get(column, storage.encoding) for column in changed},
        existing={column: before.get(column, storage.encoding) for column in changed},
        schema=pair.schema,
    )


def compare_identity(
    context: Any, change: Any, schema: str | None, table: str, name: str, found: Any, wanted: Any
) -> PriorityDispatchResult:
    """Take an identity for the serial that CREATE TABLE made of it, where the server has no identity columns."""
    capabilities = capabilities_of(context)
    if capabilities is None or capabilities.identity:
        return PriorityDispatchResult.CONTINUE
    default = found.server_default
    # Alembic leaves out the default of a serial, and reflection says of it that it counts on its own.
    serial = found.autoincrement is True or (isinstance(default, DefaultClause) and "nextval(" in str(default.arg))
    identity = wanted.server_default
    if not serial or not isinstance(identity, Identity) or identity_options(identity):
        return PriorityDispatchResult.CONTINUE
    change.existing_server_default = default
    return PriorityDispatchResult.STOP


def _arrange_all(context: Any, upgrade_ops: Any) -> PriorityDispatchResult:
    for changes in upgrade_ops.ops:
        arrange(changes)
    return PriorityDispatchResult.CONTINUE


def setup(plugin: Any) -> None:
    """Register the comparison with Alembic, and after all others the order of what was found."""
    plugin.add_autogenerate_comparator(compare_table, "table", "greenplum", qualifier="postgresql")
    # In the subgroup of Alembic's own comparisons of defaults, which it so ends.
    plugin.add_autogenerate_comparator(
        compare_identity, "column", "server_default", qualifier="postgresql", priority=DispatchPriority.FIRST
    )
    plugin.add_autogenerate_comparator(
        _arrange_all, "autogenerate", "greenplum_order", qualifier="postgresql", priority=DispatchPriority.LAST
    )
