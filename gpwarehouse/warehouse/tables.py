"""``wh.tables``: what tables hold, and their maintenance."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpwarehouse.engine import look
from gpwarehouse.warehouse import rooms
from gpwarehouse.warehouse.connected import Door

if TYPE_CHECKING:
    import pandas as pd

    from gpwarehouse.load import Optimized
    from gpwarehouse.tables import TableStats

__all__ = ["Tables"]


class Tables(Door):
    """Tables of the warehouse: list, statistics, maintenance."""

    def list(self) -> pd.DataFrame:
        """List all tables: estimated rows, bytes, number of months, when statistics were last gathered. No table is read."""
        settings = self._connected.settings
        return look(
            self._connected.engine, settings, "the tables", lambda c: rooms.tables.list_tables(c, settings.schema_name)
        )

    def stats(self, table: str) -> TableStats:
        """Tell rows, size, months, skew and last statistics of one table. The table is not read.

        :raises InvalidInputError: there is no such table.
        """
        settings = self._connected.settings
        return look(
            self._connected.engine,
            settings,
            f"table {table!r}",
            lambda c: rooms.tables.table_stats(c, settings.schema_name, table),
        )

    def optimize(
        self, table: str, *, analyze: bool = True, vacuum: bool = False, month: str | None = None
    ) -> Optimized:
        """Gather statistics of a table, and free the space of its deleted rows.

        :param month: only this month of a fact, ``YYYY-MM``.
        :return: what was done, and warnings where the server refused.
        :raises InvalidInputError: there is no such table, or it has no such month.
        """
        self.stats(table)
        moment = None if month is None else rooms.partitions.month_named(month)
        return rooms.load.optimize(self._connected.engine, table, moment, analyze=analyze, vacuum=vacuum)
