"""Records of a batch that is loaded anew, and that the fact has in other batches since: they must not be there twice.

What a batch had may have been put into another one: by its key (``wh.facts.upsert``), or with its month
(``wh.facts.replace_month``). Its row in ``etl_load_batch`` then counts fewer rows than it loaded, or says so, and only
then are its new rows compared with the fact: over the months that it had and has, and over all where records were moved to
others. They are refused before they are sent, and not put in the place of the others: those are corrections, and newer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, func, or_, select, text, true
from sqlalchemy.engine import Connection

from gpwarehouse.batches.ledger import tells_no_months
from gpwarehouse.dialect.options import month_partition
from gpwarehouse.engine import dialect_of, qualified_name
from gpwarehouse.engine.temporary_tables import create_temporary_like
from gpwarehouse.errors import BatchConflictError
from gpwarehouse.intake.first_pass import FirstPass
from gpwarehouse.intake.target import Target
from gpwarehouse.models.grain import columns_of_grain, grain_of, same_record
from gpwarehouse.months.hours import months_between
from gpwarehouse.transport import copy_rows

__all__ = ["Others", "in_other_batches", "moved_to", "named", "refuse_doubles"]

_NEW = "gpw_new_keys"
_MOVED = ", now in "
_SHOWN = 3


def moved_to(months: Iterable[str]) -> str:
    """What the note of a batch says of the months (``YYYY-MM``) to which an upsert moved rows of it."""
    named = ", ".join(sorted(months))
    return f"{_MOVED}{named}" if named else ""


@dataclass(frozen=True)
class Others:
    """Records of rows to come that the fact has in another batch: how many, and the first and last of their times."""

    batch_id: str
    rows: int
    first: datetime
    last: datetime


def refuse_doubles(
    connection: Connection, target: Target, batch_id: str, found: FirstPass, before: Sequence[Any]
) -> None:
    """Refuse rows to come, of a batch that is loaded anew, where the fact has their records in other batches.

    :param before: rows of ``etl_load_batch``: of the same batch or content, as it was loaded before.
    :raises BatchConflictError: naming the batches.
    """
    if before and found.rows_to_load:
        there = _where_they_may_be(target.table.c[target.partition_column], found.months, before)
        others = in_other_batches(connection, target, batch_id, found, there)
        if others:
            raise BatchConflictError(_refusal(target.name, batch_id, others))


def in_other_batches(
    connection: Connection, target: Target, batch_id: str, found: FirstPass, there: ColumnElement[bool] | None = None
) -> list[Others]:
    """The batches other than this one in which the fact has records of rows to come.

    That cannot change to the end of the transaction: whoever puts in rows by key, or with their month, keeps others from
    writing to the fact, and so waits for this one.

    :param there: where to look; else in the months of the rows.
    """
    fact, time = target.table, target.table.c[target.partition_column]
    capabilities = dialect_of(connection).capabilities
    only = "" if capabilities is not None and capabilities.distribution else "ONLY "  # not the partitions of others
    connection.execute(text(f"LOCK TABLE {only}{qualified_name(connection, fact)} IN ROW EXCLUSIVE MODE"))
    key, known = grain_of(fact.name, fact.c)
    names = columns_of_grain(key if known is None else [*key, known])
    new = create_temporary_like(
        connection, fact, _NEW
    )  # with statistics, or a plan for a handful of rows would run for ever
    copy_rows(connection, new, found.sendable(), tuple(names))
    connection.execute(text(f"ANALYZE {_NEW}"))
    keys = select(*(new.c[name] for name in names)).distinct().subquery()
    if there is None:
        there = _inside(time, found.months)
    query = (
        select(fact.c.batch_id, func.count(), func.min(time), func.max(time))
        .join_from(fact, keys, same_record(fact.name, fact.c, keys.c))
        .where(there, fact.c.batch_id != batch_id)
        .group_by(fact.c.batch_id)
        .order_by(func.count().desc(), fact.c.batch_id)
    )
    return [Others(*row) for row in connection.execute(query)]


def _where_they_may_be(times: ColumnElement[Any], months: Iterable[datetime], before: Sequence[Any]) -> Any:
    """The condition on the partition column: the months of the new rows and those that the batches had.

    Anywhere, where records were moved to another month, as they may have been moved on from there, and where the batch's row
    does not tell any more.
    """
    if any(tells_no_months(row) or _MOVED in (row.error or "") for row in before):
        return true()
    had = (month for row in before if row.min_event_ts for month in months_between(row.min_event_ts, row.max_event_ts))
    return _inside(times, [*months, *had])


def _inside(times: ColumnElement[Any], months: Iterable[datetime]) -> ColumnElement[bool]:
    return or_(*(and_(times >= start, times < end) for start, end in _spans(months)))


def _spans(months: Iterable[datetime]) -> list[tuple[Any, Any]]:
    """The half-open spans of time that the months make, oldest first."""
    spans: list[tuple[Any, Any]] = []
    partitions = {partition.name: partition for partition in map(month_partition, months)}
    for _, partition in sorted(partitions.items()):
        if spans and spans[-1][1] == partition.start:
            spans[-1] = (spans[-1][0], partition.end)
        else:
            spans.append((partition.start, partition.end))
    return spans


def named(others: Sequence[Others]) -> str:
    """The batches in words."""
    said = [f"{o.batch_id!r} ({o.rows} rows, {' to '.join(_named(o.first, o.last))})" for o in others[:_SHOWN]]
    return ", ".join(said) + (f" and {len(others) - _SHOWN} more batches" if len(others) > _SHOWN else "")


def _refusal(fact: str, batch_id: str, others: Sequence[Others]) -> str:
    return (
        f"{fact}: records of batch {batch_id!r} stand in other batches since it was loaded: {named(others)}. They were "
        f"put in by their key (wh.facts.upsert), or with their month (wh.facts.replace_month); loaded anew beside "
        f"those they would be there twice. Nothing was changed. To put these rows over all of them: "
        f"wh.facts.upsert({fact!r}, frame). To load the batch "
        "anew after all, first take the records out by their key (wh.facts.delete with the same frame), or those batches with "
        "all that is in them (wh.batches.delete)"
    )


def _named(first: datetime, last: datetime) -> dict[str, None]:
    return dict.fromkeys(f"{moment.astimezone(UTC):%Y-%m}" for moment in (first, last))
