"""Executable DDL that SQLAlchemy does not have: partitions, distribution, storage, statistics. Views: :mod:`.views`.

Each element names its table by a :class:`~sqlalchemy.Table`; of one that is not modelled, ``Table("t", MetaData(),
schema=…)`` will do. What a server does not have is refused when compiled, with the reason and what to do instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Table
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import CreateTable, ExecutableDDLElement

from gpwarehouse.dialect.checks import check_bounds
from gpwarehouse.dialect.compiler import child_table_name
from gpwarehouse.dialect.errors import OptionError, UnsupportedByServerError
from gpwarehouse.dialect.options import (
    Bound,
    DistributedRandomly,
    DistributedReplicated,
    Distribution,
    Partition,
    RangePartition,
)
from gpwarehouse.dialect.partitions import ListPartition, ListValue
from gpwarehouse.dialect.views import CommentOnView, CreateView, DropView

__all__ = [
    "AddPartition",
    "Analyze",
    "AttachPartition",
    "CommentOnView",
    "CreateExternalTable",
    "CreateView",
    "DetachPartition",
    "DropExternalTable",
    "DropPartition",
    "DropView",
    "ExchangePartition",
    "RenamePartition",
    "SetDistribution",
    "SplitDefaultPartition",
    "SplitPartition",
    "TruncatePartition",
    "Vacuum",
]


class TableDDL(ExecutableDDLElement):
    """A statement about one table."""

    inherit_cache = False

    def __init__(self, table: Table) -> None:
        self.table = table


def refuse(element: TableDDL, what: str, remedy: str) -> UnsupportedByServerError:
    """The error of a statement that a server does not have."""
    return UnsupportedByServerError(f"table {element.table.fullname!r}: this server has no {what}; {remedy}")


def _classic(compiler: Any, table: Table) -> bool:
    return bool(compiler.capabilities_for(table).partition_ddl == "classic")


def _alter(compiler: Any, table: Table) -> str:
    return f"ALTER TABLE {compiler.preparer.format_table(table)}"


class AddPartition(TableDDL):
    """Add one partition to a table: a range, a list, or the default one where there is none.

    ``ALTER TABLE … ADD PARTITION`` on Greenplum, ``CREATE TABLE … PARTITION OF`` on PostgreSQL. It takes an
    ACCESS EXCLUSIVE lock on the table and so waits for, and holds up, every reader and writer of every partition.
    The partition gets the storage that ``table`` says: Greenplum 6 does not inherit it (seen on 6.24), nor column
    encodings, which no partition added there can have.
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
    storage = compiler.storage_of_partition(element.table)
    return f"{_alter(compiler, element.table)} ADD {compiler.partition_clause(element.partition)}{storage}"


class _PartitionDDL(TableDDL):
    """A statement about one partition, by its name (what follows ``_1_prt_`` in the child's name)."""

    def __init__(self, table: Table, name: str) -> None:
        super().__init__(table)
        self.name = name


class DropPartition(_PartitionDDL):
    """Drop a partition and its rows."""

    def __init__(self, table: Table, name: str, *, if_exists: bool = False) -> None:
        super().__init__(table, name)
        self.if_exists = if_exists


@compiles(DropPartition, "postgresql")
def _drop_partition(element: DropPartition, compiler: Any, **_: Any) -> str:
    exists = "IF EXISTS " if element.if_exists else ""
    if _classic(compiler, element.table):
        return f"{_alter(compiler, element.table)} DROP PARTITION {exists}{compiler.preparer.quote(element.name)}"
    return f"DROP TABLE {exists}{compiler.child_of(element.table, element.name)}"


class TruncatePartition(_PartitionDDL):
    """Drop a partition's rows."""


@compiles(TruncatePartition, "postgresql")
def _truncate_partition(element: TruncatePartition, compiler: Any, **_: Any) -> str:
    if _classic(compiler, element.table):
        return f"{_alter(compiler, element.table)} TRUNCATE PARTITION {compiler.preparer.quote(element.name)}"
    return f"TRUNCATE TABLE {compiler.child_of(element.table, element.name)}"


class RenamePartition(_PartitionDDL):
    """Rename a partition, and its table with it."""

    def __init__(self, table: Table, name: str, new_name: str) -> None:
        super().__init__(table, name)
        self.new_name = new_name


@compiles(RenamePartition, "postgresql")
def _rename_partition(element: RenamePartition, compiler: Any, **_: Any) -> str:
    quote = compiler.preparer.quote
    if _classic(compiler, element.table):
        names = f"{quote(element.name)} TO {quote(element.new_name)}"
        return f"{_alter(compiler, element.table)} RENAME PARTITION {names}"
    child = compiler.child_of(element.table, element.name)
    return f"ALTER TABLE {child} RENAME TO {quote(child_table_name(element.table.name, element.new_name))}"


class ExchangePartition(TableDDL):
    """Swap a partition with a table of the same columns, distribution and indexes: no row moves.

    :param partition: the partition, or its name; PostgreSQL needs its bounds, to detach it and attach the other.
    :param with_table: an ordinary table of the same schema; afterwards it holds the partition's rows.
    :param validation: check that the rows fit the partition (PostgreSQL always does).
    """

    def __init__(self, table: Table, partition: Partition | str, with_table: Table, *, validation: bool = True) -> None:
        super().__init__(table)
        self.partition = partition
        self.with_table = with_table
        self.validation = validation


@compiles(ExchangePartition, "postgresql")
def _exchange_partition(element: ExchangePartition, compiler: Any, **_: Any) -> str:
    partition, table = element.partition, element.table
    other = compiler.preparer.format_table(element.with_table)
    if _classic(compiler, table):
        which = partition if isinstance(partition, str) else partition.name
        check = "WITH VALIDATION" if element.validation else "WITHOUT VALIDATION"
        name = compiler.preparer.quote(which)
        return f"{_alter(compiler, table)} EXCHANGE PARTITION {name} WITH TABLE {other} {check}"
    if isinstance(partition, str):
        raise refuse(
            element, "EXCHANGE PARTITION", "give the partition with its bounds, not its name, to detach and attach"
        )
    quote, child = compiler.preparer.quote, compiler.child_of(table, partition.name)
    passing = f"{child_table_name(table.name, partition.name)}_out"
    return ";\n".join(
        [
            f"{_alter(compiler, table)} DETACH PARTITION {child}",
            f"ALTER TABLE {child} RENAME TO {quote(passing)}",
            f"ALTER TABLE {other} RENAME TO {quote(child_table_name(table.name, partition.name))}",
            f"ALTER TABLE {compiler.sibling_of(table, passing)} RENAME TO {quote(element.with_table.name)}",
            f"{_alter(compiler, table)} ATTACH PARTITION {child} {compiler.declarative_bounds(partition)}",
        ]
    )


class SplitPartition(_PartitionDDL):
    """Split a partition in two; its rows are copied.

    :param at: a range's bound, where the second partition starts; or the values of a list that go to the second.
    :param into: names of the two.
    """

    def __init__(self, table: Table, name: str, at: Bound | Sequence[ListValue], into: tuple[str, str]) -> None:
        super().__init__(table, name)
        self.at = at
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
        f"{_alter(compiler, element.table)} SPLIT PARTITION {compiler.preparer.quote(element.name)} "
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
    return f"{_alter(compiler, element.table)} SPLIT DEFAULT PARTITION {where} {into}"


class AttachPartition(TableDDL):
    """Make an ordinary table a partition: no row moves. It keeps its name."""

    def __init__(self, table: Table, child: Table, partition: Partition) -> None:
        super().__init__(table)
        self.child = child
        self.partition = partition


class DetachPartition(TableDDL):
    """Make a partition an ordinary table: no row moves.

    :param child: the partition's table, or the partition's name.
    """

    def __init__(self, table: Table, child: Table | str) -> None:
        super().__init__(table)
        self.child = child


@compiles(AttachPartition, "postgresql")
def _attach_partition(element: AttachPartition, compiler: Any, **_: Any) -> str:
    if compiler.capabilities_for(element.table).partition_catalog == "classic":
        raise refuse(element, "ATTACH PARTITION", "use AddPartition, then ExchangePartition with the table")
    child = compiler.preparer.format_table(element.child)
    return (
        f"{_alter(compiler, element.table)} ATTACH PARTITION {child} {compiler.declarative_bounds(element.partition)}"
    )


@compiles(DetachPartition, "postgresql")
def _detach_partition(element: DetachPartition, compiler: Any, **_: Any) -> str:
    if compiler.capabilities_for(element.table).partition_catalog == "classic":
        raise refuse(element, "DETACH PARTITION", "use ExchangePartition with an empty table, then DropPartition")
    if isinstance(element.child, str):
        child = compiler.child_of(element.table, element.child)
    else:
        child = compiler.preparer.format_table(element.child)
    return f"{_alter(compiler, element.table)} DETACH PARTITION {child}"


class SetDistribution(TableDDL):
    """Change how rows are spread; every row moves to its new segment.

    :param reorganize: spread the rows anew even where the distribution stays what it is.
    """

    def __init__(self, table: Table, distribution: Distribution, *, reorganize: bool = True) -> None:
        super().__init__(table)
        self.distribution = distribution
        self.reorganize = reorganize


@compiles(SetDistribution, "postgresql")
def _set_distribution(element: SetDistribution, compiler: Any, **_: Any) -> str:
    capabilities = compiler.capabilities_for(element.table)
    if not capabilities.distribution:
        raise refuse(element, "segments", "there is nothing to distribute; leave the statement out")
    partitioned = element.table.dialect_options["greenplum"]["partition_by"] is not None
    if partitioned and isinstance(element.distribution, DistributedReplicated):
        raise OptionError(
            f"table {element.table.fullname!r}: a replicated table cannot be partitioned; distribute it by a column"
        )
    alter, clause = _alter(compiler, element.table), compiler.distributed_clause(element.distribution)
    if element.reorganize and isinstance(element.distribution, DistributedRandomly) and capabilities.access_methods:
        # In one statement Greenplum 7.0 fails on every partitioned table: "tuple already updated by self".
        return f"{alter} SET {clause};\n{alter} SET WITH (reorganize=true)"
    return f"{alter} SET {'WITH (reorganize=true) ' if element.reorganize else ''}{clause}"


class Analyze(TableDDL):
    """Gather the planner's statistics.

    :param columns: only these; else all.
    :param root_only: of a partitioned table the root's statistics alone, which ORCA plans with, without those of each
        partition. PostgreSQL has only both.
    """

    def __init__(self, table: Table, columns: Sequence[str] = (), *, root_only: bool = False) -> None:
        super().__init__(table)
        self.columns = tuple(columns)
        self.root_only = root_only


@compiles(Analyze, "postgresql")
def _analyze(element: Analyze, compiler: Any, **_: Any) -> str:
    root = "ROOTPARTITION " if element.root_only and compiler.capabilities_for(element.table).distribution else ""
    columns = f" ({', '.join(map(compiler.preparer.quote, element.columns))})" if element.columns else ""
    return f"ANALYZE {root}{compiler.preparer.format_table(element.table)}{columns}"


class Vacuum(TableDDL):
    """Give back what deleted rows take up; runs outside transactions only (AUTOCOMMIT).

    :param full: rewrite the table, locked, and give the space back to the system.
    """

    def __init__(self, table: Table, *, full: bool = False, freeze: bool = False, analyze: bool = False) -> None:
        super().__init__(table)
        self.words = [word for word, said in {"FULL": full, "FREEZE": freeze, "ANALYZE": analyze}.items() if said]


@compiles(Vacuum, "postgresql")
def _vacuum(element: Vacuum, compiler: Any, **_: Any) -> str:
    words = f"({', '.join(element.words)}) " if element.words else ""
    return f"VACUUM {words}{compiler.preparer.format_table(element.table)}"


class CreateExternalTable(CreateTable):
    """``CREATE EXTERNAL TABLE`` of a table with ``greenplum_external=``.

    :raises OptionError: the table says nothing of what makes it external.
    """

    inherit_cache = False

    def __init__(self, table: Table, **kw: Any) -> None:
        if table.dialect_options["greenplum"]["external"] is None:
            raise OptionError(f"table {table.fullname!r}: say greenplum_external=ExternalTable(…)")
        super().__init__(table, **kw)


class DropExternalTable(TableDDL):
    """``DROP EXTERNAL TABLE``; the files stay."""

    def __init__(self, table: Table, *, if_exists: bool = False, cascade: bool = False) -> None:
        super().__init__(table)
        self.if_exists = if_exists
        self.cascade = cascade


@compiles(DropExternalTable, "postgresql")
def _drop_external(element: DropExternalTable, compiler: Any, **_: Any) -> str:
    if not compiler.capabilities_for(element.table).distribution:
        raise refuse(element, "external tables", "leave the statement out")
    exists = "IF EXISTS " if element.if_exists else ""
    table = compiler.preparer.format_table(element.table)
    return f"DROP EXTERNAL TABLE {exists}{table}{' CASCADE' if element.cascade else ''}"
