"""Statements that not every server has: refused with the way out, not with the server's syntax error."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Table
from sqlalchemy.dialects.postgresql.base import PGCompiler
from sqlalchemy.sql.compiler import InsertmanyvaluesSentinelOpts

from gpwarehouse.dialect.errors import UnsupportedByServerError
from gpwarehouse.dialect.options import AppendOptimized
from gpwarehouse.dialect.server import Capabilities

__all__ = ["GreenplumCompiler", "implicit_sentinels"]


def implicit_sentinels(capabilities: Capabilities, stock: InsertmanyvaluesSentinelOpts) -> InsertmanyvaluesSentinelOpts:
    """Which keys made by the server may tell which returned row belongs to which inserted one.

    SQLAlchemy inserts from a sorted SELECT and takes it that numbers are drawn from the sequence in that order, so that
    sorting the returned rows by number matches them. That holds on one PostgreSQL. A cluster does not promise it: every
    segment may draw numbers, in blocks. (The plans seen on Greenplum 6.24 and 7.0 for this form sort and draw in one
    process, and 300 rows always matched; but a plan is no promise, and rows matched wrongly are wrong keys.) So on a
    cluster none may. There rows are matched by keys that the client gives, or by a column ``insert_sentinel()``, in one
    statement for many rows; where there is neither, and the order is asked for as the ORM does, rows go one by one.
    """
    return InsertmanyvaluesSentinelOpts.NOT_SUPPORTED if capabilities.distribution else stock


class GreenplumCompiler(PGCompiler):
    """PostgreSQL's statement compiler, less what the server cannot do."""

    def visit_on_conflict_do_nothing(self, on_conflict: Any, **kw: Any) -> str:
        """``ON CONFLICT DO NOTHING``."""
        self._check_on_conflict()
        return str(super().visit_on_conflict_do_nothing(on_conflict, **kw))  # type: ignore[no-untyped-call]

    def visit_on_conflict_do_update(self, on_conflict: Any, **kw: Any) -> str:
        """``ON CONFLICT DO UPDATE``."""
        self._check_on_conflict()
        return str(super().visit_on_conflict_do_update(on_conflict, **kw))  # type: ignore[no-untyped-call]

    def _check_on_conflict(self) -> None:
        capabilities: Capabilities | None = getattr(self.dialect, "capabilities", None)
        into: Any = getattr(self.statement, "table", None)
        table = getattr(into, "fullname", None)
        if capabilities is not None and capabilities.on_conflict and capabilities.append_optimized:
            storage = into.dialect_options["greenplum"]["storage"] if isinstance(into, Table) else None
            if isinstance(storage, AppendOptimized):
                raise UnsupportedByServerError(
                    f"INSERT into {table!r}: ON CONFLICT works on heap tables only, and this one is {storage!r}; "
                    "INSERT … SELECT the rows that are not there (WHERE NOT EXISTS), or store the table as Heap()"
                )
        if capabilities is None or capabilities.on_conflict:
            return
        raise UnsupportedByServerError(
            f"INSERT into {table!r}: {getattr(self.dialect, 'server_info', None)} has no ON CONFLICT. Within one "
            "transaction LOCK the TABLE … IN SHARE ROW EXCLUSIVE MODE, UPDATE the rows that are there, then "
            "INSERT … SELECT those that are not (WHERE NOT EXISTS)"
        )
