"""``wh.data``: check the data against its own rules, and load generated data with known answers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from datetime import date
from functools import partial
from os import PathLike
from typing import TYPE_CHECKING, Any

from gpwarehouse.models.calendar import ShiftCalendar
from gpwarehouse.warehouse import fabs, rooms
from gpwarehouse.warehouse.connected import Door
from gpwarehouse.warehouse.counting import count_load

if TYPE_CHECKING:
    import pandas as pd

    from gpwarehouse.engine.progress import Announce, Progress
    from gpwarehouse.generate import Fab, FabFolder
    from gpwarehouse.load import LoadResult

__all__ = ["Data"]


class Data(Door):
    """All data of the warehouse: check it, or load a generated fab."""

    def check(
        self,
        *,
        months: Iterable[str | date] | None = None,
        since: str | date | None = None,
        tables: Iterable[str] | None = None,
        checks: Iterable[str] | None = None,
        **options: Any,
    ) -> pd.DataFrame:
        """Look for orphan keys, duplicate records, broken versions, lost batches, skew, wrong limits or shifts; change nothing.

        :param months: months of the facts, e.g. ``["2026-03"]``; by default all.
        :param since: months of the facts from this one on; by default all.
        :param tables: tables to check; by default all.
        :param checks: names from :data:`gpwarehouse.integrity.CHECKS`; by default all.
        :param options: ``skew_share``, ``skew_rows``, ``progress``: see :func:`gpwarehouse.integrity.check`.
        :return: one row per finding: check, table, month, sample, count, remedy. There is none right after a load.
        :raises InvalidInputError: there is no such month, table or check.
        :raises ReadError: the server refused a query.
        """
        import pandas as pd

        self._connected.require_current_schema()
        with self._connected.translate_errors():
            calendar = ShiftCalendar.build(**self._connected.settings.calendar_options())
            options["calendar"] = calendar
            found = rooms.integrity.check(
                self._connected.engine, months=months, since=since, tables=tables, checks=checks, **options
            )
        return pd.DataFrame([asdict(problem) for problem in found], columns=list(rooms.integrity.COLUMNS))

    def rebuild_aggregates(
        self,
        fact: str | None = None,
        *,
        months: Iterable[str | date] | None = None,
        progress: Announce | None = None,
    ) -> pd.DataFrame:
        """Make the aggregates of measured values anew, a transaction a month, and the limits of steps as rows.

        Loads keep them right; it is for warehouses whose rows were changed by hand, and after an upgrade by SQL files.

        :param fact: ``fact_test_results`` or ``fact_process_measurements``; by default both.
        :param months: months, e.g. ``["2026-03"]``; by default all.
        :param progress: takes a line a month.
        :return: one row per month: table, month, removed, written (rows of the aggregate).
        :raises InvalidInputError: the fact has no aggregates, or a text names no month.
        """
        import pandas as pd

        self._connected.require_current_schema()
        starts = None if months is None else sorted(rooms.integrity.months_of(months))
        with self._connected.translate_errors():
            done = rooms.derived.rebuild_aggregates(self._connected.engine, fact, months=starts, progress=progress)
        rows = [(*name.split(" "), each.removed, each.written) for name, each in done.items()]
        return pd.DataFrame(rows, columns=["table", "month", "removed", "written"])

    def load_fab(
        self, fab: Fab | FabFolder | str | PathLike[str], *, progress: Progress | None = None
    ) -> list[LoadResult]:
        """Load a generated fab, or a folder that one was written to: facts, members, genealogy; each once.

        >>> wh.data.load_fab(generate_fab(seed=7, lots=10))   # doctest: +SKIP

        :return: one result per fact.
        :raises SourceFormatError: the folder holds no fab.
        :raises LoadError: a fact could not be loaded. Subclasses name the cause.
        :raises InvalidInputError: its wafers were in other lots, or at other times, because another fab has the same prefix.
            Nothing was loaded.
        """

        self._connected.require_current_schema()
        made = rooms.generate.FabFolder(fab) if isinstance(fab, str | PathLike) else fab
        bridges = fabs.bridges_of(made)
        fabs.refuse_foreign_stays(self._connected, *bridges["bridge_wafer_lot"])
        loader = rooms.load.Loader(self._connected.engine, self._connected.settings)
        results = [
            count_load(source.target, partial(loader.load, source, progress=progress)) for source in made.sources()
        ]
        for name, (batch_id, rows) in bridges.items():
            given = rows.select(
                [column for column in rows.schema.names if column != "root_lot_id"]
            )  # it follows from the lot
            rooms.dimensions.Bridges(self._connected.engine, self._connected.settings).upsert(
                name, given, batch_id=batch_id, source_system="GENERATED"
            )
        return results
