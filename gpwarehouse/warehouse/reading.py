"""Results out of the warehouse."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, overload

from sqlalchemy import Executable, TableClause

from gpwarehouse.engine import RetryPolicy, metrics, tell_if_slow
from gpwarehouse.errors import GpwarehouseError
from gpwarehouse.models import genealogy_sql
from gpwarehouse.models.keys import durable_key
from gpwarehouse.warehouse.base import Connected

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from gpwarehouse.read import Chunks, ExportResult

__all__ = ["Reading"]

Query: TypeAlias = str | Executable
Values: TypeAlias = Mapping[str, Any] | None


class Reading(Connected):
    """Read, export."""

    @overload
    def read(
        self, statement: Query, values: Values = None, /, *, arrow: Literal[True], chunks: None = None, **options: Any
    ) -> pa.Table: ...
    @overload
    def read(
        self, statement: Query, values: Values = None, /, *, arrow: Literal[True], chunks: int, **options: Any
    ) -> Chunks[pa.Table]: ...
    @overload
    def read(
        self, statement: Query, values: Values = None, /, *, chunks: int, arrow: Literal[False] = False, **options: Any
    ) -> Chunks[pd.DataFrame]: ...
    @overload
    def read(
        self, statement: Query, values: Values = None, /, *, arrow: Literal[False] = False, **options: Any
    ) -> pd.DataFrame: ...
    def read(self, statement: Query, values: Values = None, /, **options: Any) -> Any:
        """Run a query and return its result as a pandas frame; the transaction is read-only.

        :param statement: SQL with ``:name`` parameters, or a select. :param options: their values (in a dict before, where
            names clash), ``arrow``, ``chunks``, ``parse_json``, ``exact_numeric``, ``progress``,
            ``transport``, ``parallel``, ``session``: see :func:`read.read`.
        :raises ReadError: the server refused it, or a parameter is missing or not used.
        """
        from gpwarehouse.read import read

        def attempt() -> Any:
            with self._explained(), self._counted(statement, options) as counted:
                return read(self.engine, statement, values, **counted)

        # Chunks that were handed out cannot be taken back, but until the first is there nothing has been.
        return RetryPolicy.once_met(self.settings, self.engine).call("read", attempt)

    @contextmanager
    def _counted(self, statement: Query, options: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Count a read and its rows, by the progress that every way of reading tells; that goes on with chunks."""
        started, told = time.monotonic(), options.get("progress")
        rows = 0

        def progress(phase: str, so_far: int) -> None:
            nonlocal rows
            metrics.read("running", rows=so_far - rows)
            rows = so_far
            if told is not None:
                told(phase, so_far)

        try:
            yield {**options, "progress": progress}
        except GpwarehouseError:
            metrics.read("failed", seconds=time.monotonic() - started)
            raise
        metrics.read("ok", seconds=time.monotonic() - started)
        seconds = time.monotonic() - started
        if 0 < self.settings.slow_query_s <= seconds:
            tell_if_slow(self.settings, str(statement), seconds, rows)

    def export(self, statement: Query, target: str | Path, params: Values = None, **options: Any) -> ExportResult:
        """Write a query's result to a Parquet, CSV or JSON file, or to a folder of Parquet with ``partition_by=``.

        Memory is constant.

        :param options: ``partition_by``, ``overwrite``, ``compression``, ``exact_numeric``, ``progress``, ``transport``,
            ``parallel``, ``session``: see :func:`read.export`.
        :raises ReadError: as for :meth:`read`, or the target will not do; nothing is left behind.
        """
        from gpwarehouse.read import export

        with self._explained():
            with self._counted(statement, options) as counted:
                return export(self.engine, statement, target, params, **counted)

    def view(self, name: str) -> TableClause:
        """A view as something to select from, its columns typed as in the database.

        >>> v = wh.view("v_wafer_yield")   # doctest: +SKIP
        >>> wh.read(select(v.c.wafer_id, v.c.die_yield_pct).where(v.c.lot_id == "L1"))   # doctest: +SKIP

        :raises ReadError: there is no such view.
        """
        from gpwarehouse.read import view_table

        policy = RetryPolicy.once_met(self.settings, self.engine)
        with self._explained():
            return policy.call("look at a view", view_table, self.engine, name, self.settings.schema_name)

    def genealogy(self, lot_id: str) -> pd.DataFrame:
        """All ancestors and descendants of a lot, any depth; starts at the lot, so it is quick in a large fab."""
        schema = self.engine.dialect.identifier_preparer.quote_schema(self.settings.schema_name)
        return self.read(genealogy_sql().replace("{schema}", schema), lot_key=durable_key(lot_id))
