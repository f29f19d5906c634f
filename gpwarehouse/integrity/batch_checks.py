"""Batches against their rows, over the months that are checked."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, select
from sqlalchemy.engine import Connection

from gpwarehouse.integrity.fact_checks import Month, count_batches
from gpwarehouse.integrity.finding import Problem
from gpwarehouse.models import EtlLoadBatch, EtlRemoval

__all__ = ["BatchCount", "loaded_batches", "months_removed"]

_REPLACED = "load the source again under another batch id, or take the batch's rows and its row out and load it again"


def loaded_batches(connection: Connection, target: str, first: datetime, last: datetime) -> dict[str, Any]:
    """The loaded batches of a fact that have events between two instants, by their ids."""
    batch = EtlLoadBatch.__table__
    told = (
        batch.c.batch_id,
        batch.c.rows_loaded,
        batch.c.min_event_ts,
        batch.c.max_event_ts,
        batch.c.started_at,
        batch.c.rows_removed,
    )
    return {row.batch_id: row for row in connection.execute(select(*told).where(_are_meant(target, first, last)))}


def months_removed(connection: Connection, target: str, first: datetime, last: datetime) -> set[tuple[str, datetime]]:
    """The same batches, each with the first instants of months that rows of it were removed from, deleted or replaced."""
    batch, removal = EtlLoadBatch.__table__, EtlRemoval.__table__
    query = select(removal.c.batch_id, removal.c.month).join_from(
        removal, batch, removal.c.batch_id == batch.c.batch_id
    )
    found = connection.execute(query.where(_are_meant(target, first, last), removal.c.month.is_not(None)))
    return {(batch_id, month) for batch_id, month in found}


def _are_meant(target: str, first: datetime, last: datetime) -> ColumnElement[bool]:
    batch = EtlLoadBatch.__table__.c
    loaded = and_(batch.target == target, batch.status == "LOADED", batch.rows_loaded > 0)
    return and_(loaded, batch.max_event_ts >= first, batch.min_event_ts < last)


class BatchCount:
    """Counts the rows of a fact's batches month by month, and compares at the end.

    A month may take long, and loads go on: what is compared is what was loaded before the first month was counted and is
    still recorded after the last.

    :param before: batches loaded before the first month was counted.
    """

    def __init__(self, before: Mapping[str, Any]) -> None:
        self._before = before
        self._rows: dict[str, int] = {}
        self._seen: dict[str, set[datetime]] = {}
        self._months: list[Month] = []

    def add(self, connection: Connection, month: Month) -> Iterator[Problem]:
        """Count a month; finds its rows of no batch."""
        self._months.append(month)
        for batch_id, rows, known in count_batches(connection, month):
            self._rows[batch_id] = self._rows.get(batch_id, 0) + rows
            self._seen.setdefault(batch_id, set()).add(month.start)
            if not known:
                yield Problem(
                    "batch", month.table.name, month.name, f"batch_id {batch_id}", rows,
                    "etl_load_batch does not record it as loaded: a load by several connections (atomic=False) runs, or "
                    "died; if none runs, load the same again, or take the batch out (wh.batches.delete): both delete them",
                )  # fmt: skip

    def compare(self, after: Mapping[str, Any], removed: Collection[tuple[str, datetime]]) -> Iterator[Problem]:
        """Find the batches that have other rows than they counted; of those that reach beyond the months, the absent.

        :param removed: from :func:`months_removed`.
        """
        for batch_id, batch in sorted(self._before.items()):
            if after.get(batch_id) != batch:  # loaded anew or deleted meanwhile
                continue
            rows, first = self._rows.get(batch_id, 0), f"{batch.min_event_ts:%Y-%m}"
            ends = [self._month_of(moment) for moment in (batch.min_event_ts, batch.max_event_ts)]
            seen = self._seen.get(batch_id, ())
            absent = [m for m in ends if m and (batch_id, m.start) not in removed and m.start not in seen]
            if self._covers(batch):
                if rows != batch.rows_loaded:
                    said = f"batch_id {batch_id}: {batch.rows_loaded} rows counted, {rows} there"
                    yield self._problem(first, said, abs(batch.rows_loaded - rows), rows)
            elif absent:
                said = f"batch_id {batch_id}: rows counted, none in this month"
                yield self._problem(absent[0].name, said, 1, rows)

    def _problem(self, month: str, sample: str, count: int, rows: int) -> Problem:
        remedy = "its rows were changed by hand or lost" if rows else "its rows are gone"
        return Problem("batch", self._months[0].table.name, month, sample, count, f"{remedy}: {_REPLACED}")

    def _month_of(self, moment: datetime) -> Month | None:
        return next((month for month in self._months if month.start <= moment < month.end), None)

    def _covers(self, batch: Any) -> bool:
        """Whether every instant of the batch lies in a month that was counted: others are not asked for, or archived."""
        at = batch.min_event_ts
        while (month := self._month_of(at)) is not None:
            if batch.max_event_ts < month.end:
                return True
            at = month.end
        return False
