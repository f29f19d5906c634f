"""The data against its own rules."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from datetime import date
from typing import TYPE_CHECKING, Any

from gpwarehouse.warehouse.base import Connected

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Checking"]


class Checking(Connected):
    """Check."""

    def check(
        self,
        *,
        months: Iterable[str | date] | None = None,
        since: str | date | None = None,
        tables: Iterable[str] | None = None,
        checks: Iterable[str] | None = None,
        **options: Any,
    ) -> pd.DataFrame:
        """Look for orphan keys, doubled records, broken versions, lost batches, skew, wrong limits or shifts; nothing is changed.

        :param months: months of the facts, e.g. ``["2026-03"]``; ``since``: those from this one on. By default all.
        :param tables: tables to look at; ``checks``: which of :data:`gpwarehouse.integrity.CHECKS`. By default all.
        :param options: ``skew_share``, ``skew_rows``, ``progress``: see :func:`gpwarehouse.integrity.check`.
        :return: a row per finding: check, table, month, sample, count, remedy. None right after a load.
        :raises InvalidInputError: no such month, table or check. :raises ReadError: the server refused a query.
        """
        import pandas as pd

        from gpwarehouse.integrity import COLUMNS, check
        from gpwarehouse.models.calendar import ShiftCalendar

        self._require_current_schema()
        with self._explained():
            calendar = ShiftCalendar.build(**self.settings.calendar_options())
            options["calendar"] = calendar
            found = check(self.engine, months=months, since=since, tables=tables, checks=checks, **options)
        return pd.DataFrame([asdict(problem) for problem in found], columns=list(COLUMNS))
