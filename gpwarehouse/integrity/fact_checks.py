"""The checks of one month of a fact: queries that read one leaf each.

The month's bounds are bound as aware datetimes, which every planner prunes by. Keys are compared as they are stored, without
a cast, and groups begin with the distribution key, so on Greenplum nothing moves between segments but what is found, and for
the count by batch a row per batch and segment (seen on 6.24 and 7.0, both with ORCA, where the tables have been analysed; of
tables without statistics ORCA thinks they hold one row, which it broadcasts).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Column, ColumnElement, Table, func, select
from sqlalchemy.engine import Connection

from gpwarehouse.integrity.finding import Problem
from gpwarehouse.models import DIMENSIONS, FACTS, EtlLoadBatch
from gpwarehouse.models.grain import grain_of
from gpwarehouse.models.keys import NOT_APPLICABLE_KEY, UNKNOWN_KEY

__all__ = ["Month", "count_batches", "doubled_grain", "key_columns", "orphan_keys", "skewed_keys"]

_RESERVED = {UNKNOWN_KEY: "unknown", NOT_APPLICABLE_KEY: "not applicable"}


@dataclass(frozen=True)
class Month:
    """A partition of a fact: half-open, aware bounds."""

    table: Table
    start: datetime
    end: datetime

    @property
    def name(self) -> str:
        """``YYYY-MM``."""
        return f"{self.start:%Y-%m}"

    @property
    def rows(self) -> ColumnElement[bool]:
        """The condition that takes its rows."""
        time = self.table.c.event_ts
        return (time >= self.start) & (time < self.end)

    def holds_rows(self, connection: Connection) -> bool:
        """Whether there is any: months made ahead are many, and asked for each of their keys they take their time."""
        return connection.execute(select(self.table.c.event_ts).where(self.rows).limit(1)).first() is not None


def key_columns(table: Table) -> dict[str, Column[Any]]:
    """Durable key columns of a fact, bridge or dimension → the column of the dimension they must be found in."""
    found = {"time_key": DIMENSIONS["dim_time"].__table__.c.time_key} if "time_key" in table.c else {}
    for column in table.columns:
        role = column.info.get("role")
        if role is not None:
            model = DIMENSIONS[role.dimension]
            found[column.name] = model.__table__.c[model.durable_key]
    return found


def orphan_keys(connection: Connection, month: Month) -> Iterator[Problem]:
    """Keys of the month's rows that have no row in their dimension: an anti-join where the rows are."""
    for name, member in key_columns(month.table).items():
        key = month.table.c[name]
        there = select(1).where(member == key).correlate(month.table).exists()
        lost = select(key.label("key"), func.count().label("n")).where(month.rows, ~there).group_by(key).subquery()
        query = select(func.count(), func.sum(lost.c.n), func.min(lost.c.key))
        keys, rows, least = connection.execute(query).one()
        if keys:
            others = f" and {keys - 1} other keys" if keys > 1 else ""
            yield Problem(
                "orphan key", month.table.name, month.name, f"{name} {least}{others}", int(rows),
                f"{member.table.name} has no such row: load what names these members again (another batch id), or insert "
                "them; inner joins lose the rows meanwhile",
            )  # fmt: skip


def doubled_grain(connection: Connection, month: Month) -> Iterator[Problem]:
    """Records that are there more than once; those whose two rows stand in different months are not seen."""
    columns, known = grain_of(month.table.name, month.table.c)
    c = month.table.c
    least, most = func.min(c.batch_id).label("least_batch"), func.max(c.batch_id).label("most_batch")
    query = select(*columns, least, most, (func.count() - 1).label("n")).where(month.rows).group_by(*columns)
    doubled = (query if known is None else query.where(known)).having(func.count() > 1).subquery()
    rows = connection.execute(select(func.sum(doubled.c.n))).scalar_one()
    if not rows:
        return
    sample = dict(connection.execute(select(doubled).limit(1)).mappings().one())
    batches = sorted({sample.pop("least_batch"), sample.pop("most_batch")})
    sample.pop("n")
    said = ", ".join(f"{name} {value}" for name, value in sample.items() if value is not None)
    yield Problem(
        "doubled grain", month.table.name, month.name, f"{said} (batch {' and '.join(batches)})", int(rows),
        "the same records were loaded twice: delete one of the batches; where it is one batch, its source repeats them",
    )  # fmt: skip


def skewed_keys(connection: Connection, month: Month, *, share: float, rows: int) -> Iterator[Problem]:
    """The distribution key that holds the most rows, if that are ``rows`` or more and above ``share`` of the month's."""
    key = month.table.c[FACTS[month.table.name].distribution_key]
    by_key = select(key.label("key"), func.count().label("n")).where(month.rows).group_by(key).subquery()
    all_rows = int(connection.execute(select(func.sum(by_key.c.n))).scalar_one() or 0)
    if all_rows < rows:
        return
    largest = by_key.c.n.desc()
    top, n = connection.execute(select(by_key.c.key, by_key.c.n).order_by(largest, by_key.c.key).limit(1)).one()
    if n < rows or n <= share * all_rows:
        return
    reserved = top in _RESERVED
    yield Problem(
        "skew", month.table.name, month.name,
        f"{key.name} {top}{f' ({_RESERVED[top]})' if reserved else ''}, {n / all_rows:.0%} of the rows", n,
        "one segment stores and reads all of them: " + (
            "load them with a lot_id, which gives each lot a placeholder of its own" if reserved
            else "give these rows finer units (wafers, or lots of their own)"
        ),
    )  # fmt: skip


def count_batches(connection: Connection, month: Month) -> Iterator[tuple[str, int, bool]]:
    """Batch of the month's rows, how many it has there, and whether it is recorded as loaded into this fact."""
    rows = (
        select(month.table.c.batch_id, func.count().label("n"))
        .where(month.rows)
        .group_by(month.table.c.batch_id)
        .subquery()
    )
    batch = EtlLoadBatch.__table__
    is_its = (batch.c.batch_id == rows.c.batch_id) & (batch.c.status == "LOADED")
    is_its &= batch.c.target == month.table.name
    query = select(rows.c.batch_id, rows.c.n, batch.c.batch_id.is_not(None)).select_from(rows.outerjoin(batch, is_its))
    for row in connection.execute(query):
        yield row[0], row[1], row[2]
