"""All checks over the months and tables asked for, each in a short read-only transaction of its own.

Short, because a transaction keeps every month it has read from being changed: loads would wait to add theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime

from sqlalchemy import Table, exc
from sqlalchemy.engine import Connection, Engine

from gpwarehouse.dialect.options import month_partition
from gpwarehouse.engine import refused_look
from gpwarehouse.engine.progress import Announce
from gpwarehouse.errors import InvalidInputError
from gpwarehouse.integrity import dimension_checks
from gpwarehouse.integrity.batch_checks import BatchCount, loaded_batches, months_removed
from gpwarehouse.integrity.derived_checks import stale_aggregates, stale_step_limits
from gpwarehouse.integrity.fact_checks import Month, doubled_grain, orphan_keys, skewed_keys
from gpwarehouse.integrity.finding import CHECKS, Problem
from gpwarehouse.integrity.value_checks import not_finite
from gpwarehouse.models import BRIDGES, DIMENSIONS, FACTS
from gpwarehouse.models.calendar import ShiftCalendar
from gpwarehouse.months import partitions_there

__all__ = ["check", "months_named", "months_of"]

_OF_MONTHS = ("orphan key", "doubled grain", "not finite", "batch", "aggregates", "skew")
"""Checks that look at the facts month by month."""


def check(
    engine: Engine,
    *,
    months: Iterable[str | date] | None = None,
    since: str | date | None = None,
    tables: Iterable[str] | None = None,
    checks: Iterable[str] | None = None,
    skew_share: float = 0.1,
    skew_rows: int = 10_000,
    calendar: ShiftCalendar | None = None,
    progress: Announce | None = None,
) -> list[Problem]:
    """Look for what is wrong with the data; nothing is changed. A warehouse that was only ever loaded has no finding.

    :param months: months of the facts, ``"2026-03"`` or a date in them; ``since``: those from this one on. By default all.
    :param tables: facts, dimensions and bridges to look at; else all.
    :param checks: names of :data:`CHECKS`; else all.
    :param skew_share: share of a month's rows, and ``skew_rows``: number of them, from which on a single distribution key
        is a finding.
    :param calendar: the fab's calendar that the stored hours must be of; without one they are not compared.
    :raises InvalidInputError: no such month, table or check; a month that none of the facts has.
    :raises ReadError: the server refused a query.
    """
    chosen = _check_names("check", checks, CHECKS)
    wanted = _check_names("table", tables, {**FACTS, **DIMENSIONS, **BRIDGES})
    if not 0 <= skew_share <= 1 or skew_rows < 1:
        raise InvalidInputError(
            f"skew_share={skew_share!r}, skew_rows={skew_rows!r}: give a share from 0 to 1 and a number of rows from 1"
        )
    run = _Run(
        engine, chosen, months_named(months, since), skew_share, skew_rows, progress or (lambda what: None), calendar
    )
    facts = [
        FACTS[name].__table__ for name in FACTS if name in wanted and any(name in run.checks for name in _OF_MONTHS)
    ]
    found = {table.name: run.months(table) for table in facts}
    if months is not None and facts:
        _refuse_absent(months_of(months), found)
    return [*_facts(run, found), *_members(run, wanted)]


def months_named(months: Iterable[str | date] | None, since: str | date | None) -> Callable[[datetime], bool]:
    """Whether a month's first instant is one of those asked for.

    :raises InvalidInputError: a text that names no month.
    """
    given = None if months is None else months_of(months)
    begin = None if since is None else _first_instant(since)
    return lambda start: (given is None or start in given) and (begin is None or start >= begin)


def months_of(months: str | date | Iterable[str | date]) -> set[datetime]:
    """The first instants of these months.

    :raises InvalidInputError: a text that names no month.
    """
    return {_first_instant(month) for month in ([months] if isinstance(months, str | date) else months)}


def _refuse_absent(asked: Iterable[datetime], found: Mapping[str, list[Month]]) -> None:
    """Refuse a month that no fact has: nothing would be looked at, which is not the same as nothing being wrong."""
    there = {month.start for months in found.values() for month in months}
    for start in sorted(asked):
        if start not in there:
            raise InvalidInputError(
                f"there is no month {start:%Y-%m} in {', '.join(found)}, so nothing was checked; gpwarehouse partitions list "
                "shows the months there are, and those that are archived"
            )


def _first_instant(month: str | date) -> datetime:
    try:
        text = month if isinstance(month, str) else month.isoformat()[:7]
        moment = date.fromisoformat(f"{text}-01" if len(text) == len("YYYY-MM") else text)
    except ValueError:
        raise InvalidInputError(f"{month!r} is no month; write it as 2026-03") from None
    start = month_partition(datetime(moment.year, moment.month, 1, tzinfo=UTC)).start
    assert isinstance(start, datetime)
    return start


def _check_names(kind: str, names: Iterable[str] | None, known: Collection[str]) -> list[str]:
    asked = list(known) if names is None else [names] if isinstance(names, str) else list(names)
    unknown = [name for name in asked if name not in known]
    if unknown:
        raise InvalidInputError(f"no {kind} {unknown[0]!r}; there are {', '.join(known)}")
    return asked


class _Run:
    """One call of :func:`check`."""

    def __init__(
        self,
        engine: Engine,
        checks: Collection[str],
        takes: Callable[[datetime], bool],
        share: float,
        rows: int,
        report: Announce,
        calendar: ShiftCalendar | None,
    ) -> None:
        self.engine, self.checks, self.takes = engine, checks, takes
        self.share, self.rows, self.report, self.calendar = share, rows, report, calendar

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """A read-only transaction that sees one state: a load's rows and its batch, or neither."""
        connection = self.engine.connect().execution_options(
            postgresql_readonly=True, isolation_level="REPEATABLE READ"
        )
        try:
            with connection, connection.begin():
                yield connection
        except exc.DBAPIError as error:
            failure = refused_look(
                error, "the data could not be checked", "the role needs SELECT on the schema's tables"
            )
        else:
            return
        raise failure

    def months(self, table: Table) -> list[Month]:
        """The table's months that are asked for."""
        with self.snapshot() as connection:
            there = partitions_there(connection, table)
        return [
            Month(table, p.start, p.end)
            for p in there
            if isinstance(p.start, datetime) and isinstance(p.end, datetime) and self.takes(p.start)
        ]


def _facts(run: _Run, found: Mapping[str, list[Month]]) -> Iterator[Problem]:
    for months in found.values():
        if months:
            yield from _fact(run, months)


def _fact(run: _Run, months: list[Month]) -> Iterator[Problem]:
    name, first, last = months[0].table.name, months[0].start, months[-1].end
    with run.snapshot() as connection:
        batches = BatchCount(loaded_batches(connection, name, first, last))
    for month in months:
        run.report(f"{name} {month.name}")
        with run.snapshot() as connection:
            holds_rows = month.holds_rows(connection)
            if holds_rows and "orphan key" in run.checks:
                yield from orphan_keys(connection, month)
            if holds_rows and "doubled grain" in run.checks:
                yield from doubled_grain(connection, month)
            if holds_rows and "not finite" in run.checks:
                yield from not_finite(connection, month.table, month.rows, month.name)
            if holds_rows and "skew" in run.checks:
                yield from skewed_keys(connection, month, share=run.share, rows=run.rows)
            if "aggregates" in run.checks:
                yield from stale_aggregates(connection, month)
            if "batch" in run.checks:
                yield from batches.add(connection, month)
    if "batch" in run.checks:
        with run.snapshot() as connection:
            after = loaded_batches(connection, name, first, last)
            removed = months_removed(connection, name, first, last)
        yield from batches.compare(after, removed)


def _members(run: _Run, wanted: Collection[str]) -> Iterator[Problem]:
    for name in (*DIMENSIONS, *BRIDGES):
        if name not in wanted:
            continue
        run.report(name)
        with run.snapshot() as connection:
            if "versions" in run.checks and name in DIMENSIONS and name != "dim_time":
                yield from dimension_checks.versions(connection, name)
            if "orphan key" in run.checks:
                yield from dimension_checks.lost_links(connection, name)
            if "not finite" in run.checks:
                yield from not_finite(connection, {**DIMENSIONS, **BRIDGES}[name].__table__, None, None)
            if "limits" in run.checks and name in DIMENSIONS:
                yield from dimension_checks.disordered_limits(connection, name)
            if "step limits" in run.checks and name == "dim_process_step":
                yield from stale_step_limits(connection)
            if "calendar" in run.checks and name == "dim_time" and run.calendar is not None:
                yield from dimension_checks.hours_of_other_calendars(connection, run.calendar, run.takes)
            if "root lot" in run.checks and name == "dim_wafer":
                yield from dimension_checks.unrooted_wafers(connection)
            if "stay" in run.checks and name == "bridge_wafer_lot":
                yield from dimension_checks.overlapping_stays(connection)
