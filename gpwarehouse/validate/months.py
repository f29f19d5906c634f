"""Gaps, overlaps and odd bounds among the months of the facts, found by bounds and not by names."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from datetime import UTC, datetime

from sqlalchemy import Table, text
from sqlalchemy.engine import Connection

from gpwarehouse.dialect import RangePartition, RangePartitions
from gpwarehouse.dialect.options import missing_partitions, month_partition
from gpwarehouse.dialect.reflection import partitions_of
from gpwarehouse.engine import dialect_of
from gpwarehouse.models import ANCHOR_MONTH, FACTS
from gpwarehouse.months import overlapping
from gpwarehouse.retention import first_filled, rule_for
from gpwarehouse.settings import WarehouseSettings
from gpwarehouse.validate.finding import Finding

__all__ = ["compare_months", "detached_months"]

_DETACHED = re.compile(rf"({'|'.join(FACTS)})_(?:detached|1_prt)_m(\d{{4}})(0[1-9]|1[0-2])(?:_\d+)?")

_WITH_TIME = """
    SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND NOT a.attisdropped
    WHERE c.relnamespace = :space AND c.relname = ANY (:names) AND a.attname = 'event_ts'
        AND a.atttypid = CAST('timestamptz' AS regtype)"""


def detached_months(connection: Connection, space: int, tables: Iterable[str]) -> dict[str, tuple[str, RangePartition]]:
    """Of tables that are no partitions, those that once were: name → fact and month.

    :param space: the schema's oid. A table that has the name but not a fact's column of time never was one.
    """
    matched = {name: match for name in tables if (match := _DETACHED.fullmatch(name)) is not None}
    if not matched:
        return {}
    have = connection.execute(text(_WITH_TIME), {"space": space, "names": list(matched)}).scalars()
    return {
        name: (match[1], month_partition(datetime(int(match[2]), int(match[3]), 1, tzinfo=UTC)))
        for name in have
        for match in [matched[name]]
    }


def compare_months(
    connection: Connection,
    schema: str,
    settings: WarehouseSettings,
    detached: dict[str, tuple[str, RangePartition]],
    loaded: Collection[tuple[str, datetime]],
    now: datetime,
) -> Iterator[Finding]:
    """Find what is wrong with the facts' partitions. The plan says which months are missing.

    :param loaded: facts, each with the first instant of a month of which rows were loaded.
    """
    schemes = partitions_of(connection, dialect_of(connection), schema, list(FACTS))
    for name, scheme in sorted(schemes.items()):
        table: Table = FACTS[name].__table__
        if scheme.default is not None:
            yield Finding(
                "default partition", name, "none", scheme.default,
                "make the months of its rows by SplitDefaultPartition and drop it: every query reads it",
            )  # fmt: skip
        yield from _odd(name, scheme)
        for month in _missing(table, scheme, settings, now):
            if (name, month.start) in loaded:  # another is no error: a load makes the months that it needs
                yield Finding(
                    "gap", f"{name}.{month.name}", "a partition, as rows of it were loaded", "missing",
                    "gpwarehouse data check tells which batches lost rows; load them again",
                )  # fmt: skip
        for other, (fact, month) in sorted(detached.items()):
            if fact != name:
                continue
            rule = rule_for(settings.retention, name)
            if rule.action != "detach":
                yield Finding(
                    "detached month", other, f"in {name}, whose rule is {str(rule)!r}", "a table of its own",
                    "INSERT its rows into the fact and drop it, move it (ALTER TABLE … SET SCHEMA), or set GPWAREHOUSE_RETENTION "
                    "to detach",
                )  # fmt: skip
            for partition in overlapping(month, scheme.partitions):
                yield Finding(
                    "overlap", other, f"the only table of {month.start:%Y-%m}", f"partition {partition.name} too",
                    "INSERT its rows into the fact and drop it, or move it to another schema",
                )  # fmt: skip


def _odd(name: str, scheme: RangePartitions) -> Iterator[Finding]:
    for partition in scheme.partitions:
        start = partition.start
        month = month_partition(start) if isinstance(start, datetime) else None
        if month is None or (month.start, month.end) != (partition.start, partition.end):
            yield Finding(
                "bounds", f"{name}.{partition.name}", "one month, UTC", f"from {partition.start} to {partition.end}",
                "make the month under another name, move the rows, and drop it",
            )  # fmt: skip


def _missing(table: Table, scheme: RangePartitions, settings: WarehouseSettings, now: datetime) -> list[RangePartition]:
    """Months between others that have no partition, and that retention has not taken."""
    anchor = f"m{ANCHOR_MONTH.replace('-', '')}"
    starts = [p.start for p in scheme.partitions if p.name != anchor and isinstance(p.start, datetime)]
    if not starts:
        return []
    begin = first_filled(
        min(starts), now, window=settings.partition_window, rule=rule_for(settings.retention, table.name)
    )
    last = max(starts)
    count = (last.year - begin.year) * 12 + last.month - begin.month + 1
    if count < 1:
        return []
    wanted = RangePartitions.monthly(scheme.column, first=f"{begin:%Y-%m}", months=count).partitions
    return missing_partitions(scheme.partitions, wanted)
