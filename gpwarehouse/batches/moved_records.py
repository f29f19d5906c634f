"""Records of a batch that is loaded again, which the fact now holds in other batches: they must not be stored twice.

A record may have moved to another batch by its key (``wh.facts.upsert``) or with its month (``wh.facts.replace_month``). The old
batch's row in ``etl_load_batch`` then counts fewer rows than it loaded, or says so. Only then are the new rows compared with the
fact: in the months of the batch, old and new, and in all months if records were moved to others. New rows with such records are
refused before they are sent. They do not replace the stored ones, which are corrections and newer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, func, or_, select, text, true
from sqlalchemy.engine import Connection

from gpwarehouse.batches.ledger import ANY_MONTH
from gpwarehouse.dialect.options import month_partition
from gpwarehouse.engine import dialect_of, qualified_name
from gpwarehouse.engine.temporary_tables import create_temporary_like
from gpwarehouse.errors import BatchConflictError
from gpwarehouse.intake.first_pass import FirstPass
from gpwarehouse.intake.target import Target
from gpwarehouse.models.grain import columns_of_grain, grain_of, same_record
from gpwarehouse.months.hours import months_between
from gpwarehouse.transport import copy_rows

__all__ = ["Others", "in_other_batches", "named", "refuse_doubles"]

_NEW = "gpw_new_keys"
_SHOWN = 3


@dataclass(frozen=True)
class Others:
    """Records of new rows that the fact has in another batch: their number, and the first and last of their times."""

    batch_id: str
    rows: int
    first: datetime
    last: datetime


def refuse_doubles(
    connection: Connection, target: Target, batch_id: str, found: FirstPass, before: Sequence[Any]
) -> None:
    """Refuse the new rows of a batch that is loaded again if the fact has their records in other batches.

    :param before: rows of ``etl_load_batch``: earlier loads of the same batch or content.
    :raises BatchConflictError: there are such records; the message names their batches.
    """
    if before and found.rows_to_load:
        there = _limit_search(target.table.c[target.partition_column], found.months, before)
        others = in_other_batches(connection, target, batch_id, found, there)
        if others:
            raise BatchConflictError(_explain_refusal(target.name, batch_id, others))


def in_other_batches(
    connection: Connection, target: Target, batch_id: str, found: FirstPass, there: ColumnElement[bool] | None = None
) -> list[Others]:
    """Find the other batches in which the fact has records of the new rows.

    The result stays true to the end of the transaction: a load that moves records, by key or by month, keeps others from writing
    to the fact, so it waits for this transaction.

    :param there: where to look; by default in the months of the rows.
    """
    fact, time = target.table, target.table.c[target.partition_column]
    capabilities = dialect_of(connection).capabilities
    only = "" if capabilities is not None and capabilities.distribution else "ONLY "  # not the partitions of others
    connection.execute(text(f"LOCK TABLE {only}{qualified_name(connection, fact)} IN ROW EXCLUSIVE MODE"))
    key, known = grain_of(fact.name, fact.c)
    names = columns_of_grain(key if known is None else [*key, known])
    new = create_temporary_like(
        connection, fact, _NEW
    )  # analysed, because the plan for a handful of rows would never end
    copy_rows(connection, new, found.sendable(), tuple(names))
    connection.execute(text(f"ANALYZE {_NEW}"))
    keys = select(*(new.c[name] for name in names)).distinct().subquery()
    if there is None:
        there = _is_inside(time, found.months)
    query = (
        select(fact.c.batch_id, func.count(), func.min(time), func.max(time))
        .join_from(fact, keys, same_record(fact.name, fact.c, keys.c))
        .where(there, fact.c.batch_id != batch_id)
        .group_by(fact.c.batch_id)
        .order_by(func.count().desc(), fact.c.batch_id)
    )
    return [Others(*row) for row in connection.execute(query)]


def _limit_search(times: ColumnElement[Any], months: Iterable[datetime], before: Sequence[Any]) -> Any:
    """The condition on the partition column: the months of the new rows, and those that the batches had.

    There is no condition if records may be in any month.
    """
    if any(row.scattered == ANY_MONTH for row in before):
        return true()
    had = (month for row in before if row.min_event_ts for month in months_between(row.min_event_ts, row.max_event_ts))
    return _is_inside(times, [*months, *had])


def _is_inside(times: ColumnElement[Any], months: Iterable[datetime]) -> ColumnElement[bool]:
    return or_(*(and_(times >= start, times < end) for start, end in _join_months(months)))


def _join_months(months: Iterable[datetime]) -> list[tuple[Any, Any]]:
    """The half-open time spans that the months form, oldest first."""
    spans: list[tuple[Any, Any]] = []
    partitions = {partition.name: partition for partition in map(month_partition, months)}
    for _, partition in sorted(partitions.items()):
        if spans and spans[-1][1] == partition.start:
            spans[-1] = (spans[-1][0], partition.end)
        else:
            spans.append((partition.start, partition.end))
    return spans


def named(others: Sequence[Others]) -> str:
    """List the batches in a message."""
    said = [f"{o.batch_id!r} ({o.rows} rows, {' to '.join(_name_months(o.first, o.last))})" for o in others[:_SHOWN]]
    return ", ".join(said) + (f" and {len(others) - _SHOWN} more batches" if len(others) > _SHOWN else "")


def _explain_refusal(fact: str, batch_id: str, others: Sequence[Others]) -> str:
    return (
        f"{fact}: other batches now hold records of batch {batch_id!r}: {named(others)}. wh.facts.upsert or "
        f"wh.facts.replace_month moved them there. If the batch were loaded again, these records would be stored twice. "
        f"Nothing was changed. To replace all of them by these rows: wh.facts.upsert({fact!r}, frame). To load the batch "
        "again, first delete the records by their key (wh.facts.delete with the same frame), or delete those batches with all "
        "their rows (wh.batches.delete)"
    )


def _name_months(first: datetime, last: datetime) -> dict[str, None]:
    return dict.fromkeys(f"{moment.astimezone(UTC):%Y-%m}" for moment in (first, last))
