"""Executable DDL that SQLAlchemy does not have: distribution, statistics, external tables.

Partitions: :mod:`.partition_ddl`; storage: :mod:`.rewrite`; views: :mod:`.views`.

Each element names its table by a :class:`~sqlalchemy.Table`; of one that is not modelled, ``Table("t", MetaData(),
schema=…)`` will do. A statement that the server does not have is refused when it is compiled, with the reason and the way out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Table
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import CreateTable, ExecutableDDLElement

from gpwarehouse.dialect.errors import OptionError, UnsupportedByServerError
from gpwarehouse.dialect.options import DistributedRandomly, DistributedReplicated, Distribution
from gpwarehouse.dialect.views import CommentOnView, CreateView, DropView

__all__ = [
    "Analyze",
    "CommentOnView",
    "CreateExternalTable",
    "CreateView",
    "DropExternalTable",
    "DropView",
    "SetDistribution",
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


def alter(compiler: Any, table: Table) -> str:
    """``ALTER TABLE`` and the table."""
    return f"ALTER TABLE {compiler.preparer.format_table(table)}"


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
    start, clause = alter(compiler, element.table), compiler.distributed_clause(element.distribution)
    if element.reorganize and isinstance(element.distribution, DistributedRandomly) and capabilities.access_methods:
        # In one statement Greenplum 7.0 fails on every partitioned table: "tuple already updated by self".
        return f"{start} SET {clause};\n{start} SET WITH (reorganize=true)"
    return f"{start} SET {'WITH (reorganize=true) ' if element.reorganize else ''}{clause}"


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

    :raises OptionError: the table does not say what makes it external.
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
