"""Statements about partitions: by Greenplum's own verbs, or by the partition's table where there are none.

A partition is named by its name (what follows ``_1_prt_`` in its table's name) or by the value that reflection brings,
which knows the table where the name does not lead to it: of partitions that others attached, renamed or left unnamed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Table
from sqlalchemy.ext.compiler import compiles

from gpwarehouse.dialect.ddl import TableDDL, alter, refuse
from gpwarehouse.dialect.ddl_compiler import child_table_name
from gpwarehouse.dialect.errors import OptionError
from gpwarehouse.dialect.option_checks import check_bounds
from gpwarehouse.dialect.partitions import Bound, ListPartition, ListValue, Partition, RangePartition, check_aware

__all__ = [
    "AddPartition",
    "AttachPartition",
    "DetachPartition",
    "DropPartition",
    "ExchangePartition",
    "RenamePartition",
    "SplitDefaultPartition",
    "SplitPartition",
    "TruncatePartition",
]


def _classic(compiler: Any, table: Table) -> bool:
    return bool(compiler.capabilities_for(table).partition_ddl == "classic")


def _acts_on_table(compiler: Any, element: _PartitionDDL) -> bool:
    """Whether the partition is addressed by its table: there are no verbs, or its name is none to them."""
    if not _classic(compiler, element.table):
        return True
    return _child(element) is not None and compiler.capabilities_for(element.table).partition_catalog == "declarative"


def _child(element: _PartitionDDL) -> str | None:
    return None if isinstance(element.partition, str) else element.partition.child


def _which(compiler: Any, element: _PartitionDDL) -> str:
    """The partition as the classic verbs name it; on Greenplum 6 an unnamed one by a value it holds."""
    partition = element.partition
    if isinstance(partition, str) or partition.child is None:
        return str(compiler.preparer.quote(element.name))
    if isinstance(partition, ListPartition):
        return f"FOR ({compiler.literal(partition.values[0])})"
    if isinstance(partition, RangePartition):
        return f"FOR ({compiler.literal(partition.start)})" if partition.start is not None else "FOR (RANK(1))"
    return str(compiler.preparer.quote(element.name))


def _is_partition(compiler: Any, table: Table, child: str) -> str:
    """A condition: ``child`` (quoted) is a partition of the table."""
    names = (compiler.literal(compiler.plain(name)) for name in (child, compiler.preparer.format_table(table)))
    child_literal, parent_literal = names
    return (
        "EXISTS (SELECT 1 FROM pg_catalog.pg_inherits "
        f"WHERE inhrelid = to_regclass({child_literal}) AND inhparent = to_regclass({parent_literal}))"
    )


def _wrap_check(compiler: Any, element: _PartitionDDL, statement: str, *, if_exists: bool = False) -> str:
    """The statement about a partition's table, only where it is a partition of this table: names may mislead."""
    child = compiler.child_of(element.table, element.partition)
    condition = _is_partition(compiler, element.table, child)
    if if_exists:
        return f"DO $gpw$ BEGIN IF {condition} THEN {statement}; END IF; END $gpw$"
    told = compiler.literal(
        compiler.plain(f"{child} is no partition of {compiler.preparer.format_table(element.table)}")
    )
    return (
        f"DO $gpw$ BEGIN IF NOT {condition} THEN RAISE EXCEPTION USING MESSAGE = {told}; END IF; {statement}; END $gpw$"
    )


class AddPartition(TableDDL):
    """Add one partition to a table: a range, a list, or the default one where there is none.

    ``ALTER TABLE … ADD PARTITION`` on Greenplum, ``CREATE TABLE … PARTITION OF`` on PostgreSQL. It takes an
    ACCESS EXCLUSIVE lock on the table and so waits for, and holds up, every reader and writer of every partition.
    The partition is stored as the table is. Greenplum 6 would make it a heap: there its storage is written out, as
    ``table`` says or else as the catalog says when the statement runs. Encodings of single columns it cannot be given
    there.
    """

    def __init__(self, table: Table, partition: Partition) -> None:
        super().__init__(table)
        self.partition = partition


@compiles(AddPartition, "postgresql")
def _add_partition(element: AddPartition, compiler: Any, **_: Any) -> str:
    scheme = element.table.dialect_options["greenplum"]["partition_by"]
    if scheme is not None:
        check_bounds(element.table, scheme.column, [element.partition])
    if not _classic(compiler, element.table):
        return str(compiler.partition_of(element.table, element.partition))
    clause = f"{alter(compiler, element.table)} ADD {compiler.partition_clause(element.partition)}"
    if compiler.capabilities_for(element.table).access_methods:
        return clause
    storage = element.table.dialect_options["greenplum"]["storage"]
    if storage is None:
        return _with_storage_of_the_table(compiler, element.table, clause)
    return clause + str(
        compiler.with_settings(compiler.storage_settings(storage, compiler.capabilities_for(element.table)))
    )


def _with_storage_of_the_table(compiler: Any, table: Table, clause: str) -> str:
    name, statement = compiler.preparer.format_table(table), compiler.literal(compiler.plain(clause))
    oid = f"CAST({compiler.literal(compiler.plain(name))} AS regclass)"
    settings = f"(SELECT array_to_string(reloptions, ', ') FROM pg_catalog.pg_class WHERE oid = {oid})"
    return f"DO $gpw$ BEGIN EXECUTE {statement} || COALESCE(' WITH (' || {settings} || ')', ''); END $gpw$"


class _PartitionDDL(TableDDL):
    """A statement about one partition: its name, or the partition as reflection brings it."""

    def __init__(self, table: Table, partition: Partition | str) -> None:
        super().__init__(table)
        self.partition = partition

    @property
    def name(self) -> str:
        """The partition's name."""
        return self.partition if isinstance(self.partition, str) else self.partition.name


class DropPartition(_PartitionDDL):
    """Drop a partition and its rows."""

    def __init__(self, table: Table, partition: Partition | str, *, if_exists: bool = False) -> None:
        super().__init__(table, partition)
        self.if_exists = if_exists


@compiles(DropPartition, "postgresql")
def _drop_partition(element: DropPartition, compiler: Any, **_: Any) -> str:
    if _acts_on_table(compiler, element):
        statement = f"DROP TABLE {compiler.child_of(element.table, element.partition)}"
        return _wrap_check(compiler, element, statement, if_exists=element.if_exists)
    exists = "IF EXISTS " if element.if_exists else ""
    return f"{alter(compiler, element.table)} DROP PARTITION {exists}{_which(compiler, element)}"


class TruncatePartition(_PartitionDDL):
    """Drop a partition's rows."""


@compiles(TruncatePartition, "postgresql")
def _truncate_partition(element: TruncatePartition, compiler: Any, **_: Any) -> str:
    if _acts_on_table(compiler, element):
        child = compiler.child_of(element.table, element.partition)
        return _wrap_check(compiler, element, f"TRUNCATE TABLE {child}")
    return f"{alter(compiler, element.table)} TRUNCATE PARTITION {_which(compiler, element)}"


class RenamePartition(_PartitionDDL):
    """Rename a partition, and its table with it."""

    def __init__(self, table: Table, partition: Partition | str, new_name: str) -> None:
        super().__init__(table, partition)
        self.new_name = new_name


@compiles(RenamePartition, "postgresql")
def _rename_partition(element: RenamePartition, compiler: Any, **_: Any) -> str:
    quote, table = compiler.preparer.quote, element.table
    if _acts_on_table(compiler, element):
        new = quote(child_table_name(table.name, element.new_name))
        return _wrap_check(
            compiler, element, f"ALTER TABLE {compiler.child_of(table, element.partition)} RENAME TO {new}"
        )
    return f"{alter(compiler, table)} RENAME PARTITION {_which(compiler, element)} TO {quote(element.new_name)}"


class ExchangePartition(_PartitionDDL):
    """Swap a partition with a table of the same columns, distribution and indexes: no row moves.

    :param partition: the partition, or its name; PostgreSQL needs its bounds, to detach it and attach the other.
    :param with_table: an ordinary table of the same schema; afterwards it holds the partition's rows.
    :param validation: check that the rows fit the partition (PostgreSQL always does).
    """

    def __init__(self, table: Table, partition: Partition | str, with_table: Table, *, validation: bool = True) -> None:
        super().__init__(table, partition)
        self.with_table = with_table
        self.validation = validation


@compiles(ExchangePartition, "postgresql")
def _exchange_partition(element: ExchangePartition, compiler: Any, **_: Any) -> str:
    partition, table = element.partition, element.table
    other = compiler.preparer.format_table(element.with_table)
    if not _acts_on_table(compiler, element):
        check = "WITH VALIDATION" if element.validation else "WITHOUT VALIDATION"
        which = _which(compiler, element)
        return f"{alter(compiler, table)} EXCHANGE PARTITION {which} WITH TABLE {other} {check}"
    if isinstance(partition, str):
        raise refuse(
            element, "EXCHANGE PARTITION", "give the partition with its bounds, not its name, to detach and attach"
        )
    quote, child = compiler.preparer.quote, compiler.child_of(table, partition)
    name = partition.child or child_table_name(table.name, partition.name)
    passing = f"gpw_out_{hashlib.sha256(name.encode()).hexdigest()[:16]}"  # a name of any length stays within 63 bytes
    return ";\n".join(
        [
            f"{alter(compiler, table)} DETACH PARTITION {child}",
            f"ALTER TABLE {child} RENAME TO {quote(passing)}",
            f"ALTER TABLE {other} RENAME TO {quote(name)}",
            f"ALTER TABLE {compiler.sibling_of(table, passing)} RENAME TO {quote(element.with_table.name)}",
            f"{alter(compiler, table)} ATTACH PARTITION {child} {compiler.declarative_bounds(partition)}",
        ]
    )


class SplitPartition(_PartitionDDL):
    """Split a partition in two; its rows are copied.

    :param at: a range's bound, where the second partition starts; or the values of a list that go to the second.
    :param into: names of the two.
    """

    def __init__(
        self, table: Table, partition: Partition | str, at: Bound | Sequence[ListValue], into: tuple[str, str]
    ) -> None:
        super().__init__(table, partition)
        self.at = at
        for value in at if isinstance(at, tuple | list) else [at]:
            check_aware(f"table {table.fullname!r}: SplitPartition at", value)
        self.into = into
        if len(into) != 2:
            raise OptionError(f"table {table.fullname!r}: SplitPartition into={into!r}; give two names")


class SplitDefaultPartition(TableDDL):
    """Make a partition out of the default one's rows; they are copied.

    On Greenplum 6 the only way to a new partition where there is a default one.
    """

    def __init__(self, table: Table, partition: RangePartition | ListPartition) -> None:
        super().__init__(table)
        self.partition = partition


_NO_SPLIT = "make the new partitions under other names, move the rows, and drop the old one"


@compiles(SplitPartition, "postgresql")
def _split_partition(element: SplitPartition, compiler: Any, **_: Any) -> str:
    if not _classic(compiler, element.table):
        raise refuse(element, "SPLIT PARTITION", _NO_SPLIT)
    values = element.at if isinstance(element.at, tuple | list) else [element.at]
    first, second = map(compiler.preparer.quote, element.into)
    return (
        f"{alter(compiler, element.table)} SPLIT PARTITION {_which(compiler, element)} "
        f"AT ({', '.join(map(compiler.literal, values))}) INTO (PARTITION {first}, PARTITION {second})"
    )


@compiles(SplitDefaultPartition, "postgresql")
def _split_default(element: SplitDefaultPartition, compiler: Any, **_: Any) -> str:
    if not _classic(compiler, element.table):
        raise refuse(element, "SPLIT PARTITION", _NO_SPLIT)
    partition = element.partition
    if isinstance(partition, ListPartition):
        where = f"AT ({', '.join(map(compiler.literal, partition.values))})"
    else:
        where = compiler.classic_bounds(partition)
    into = f"INTO (PARTITION {compiler.preparer.quote(partition.name)}, DEFAULT PARTITION)"
    return f"{alter(compiler, element.table)} SPLIT DEFAULT PARTITION {where} {into}"


class AttachPartition(TableDDL):
    """Make an ordinary table a partition: no row moves. It keeps its name."""

    def __init__(self, table: Table, child: Table, partition: Partition) -> None:
        super().__init__(table)
        self.child = child
        self.partition = partition


class DetachPartition(TableDDL):
    """Make a partition an ordinary table: no row moves.

    :param child: the partition's table, the partition's name, or the partition as reflection brings it.
    """

    def __init__(self, table: Table, child: Table | Partition | str) -> None:
        super().__init__(table)
        self.child = child


@compiles(AttachPartition, "postgresql")
def _attach_partition(element: AttachPartition, compiler: Any, **_: Any) -> str:
    if compiler.capabilities_for(element.table).partition_catalog == "classic":
        raise refuse(element, "ATTACH PARTITION", "use AddPartition, then ExchangePartition with the table")
    child = compiler.preparer.format_table(element.child)
    return f"{alter(compiler, element.table)} ATTACH PARTITION {child} {compiler.declarative_bounds(element.partition)}"


@compiles(DetachPartition, "postgresql")
def _detach_partition(element: DetachPartition, compiler: Any, **_: Any) -> str:
    if compiler.capabilities_for(element.table).partition_catalog == "classic":
        raise refuse(element, "DETACH PARTITION", "use ExchangePartition with an empty table, then DropPartition")
    if isinstance(element.child, Table):
        child = compiler.preparer.format_table(element.child)
    else:
        child = compiler.child_of(element.table, element.child)
    return f"{alter(compiler, element.table)} DETACH PARTITION {child}"
