"""Keeping the aggregates of measured values right: one function that recomputes what it is told of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Table, Text, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.engine import Connection

from gpwarehouse.derived.aggregates_sql import LEAST, SHAPES, Shape
from gpwarehouse.dialect.options import month_partition
from gpwarehouse.engine.table_names import qualified_name
from gpwarehouse.models import AGGREGATES, FACTS

__all__ = [
    "Refreshed",
    "differing_aggregates",
    "forget_aggregates",
    "months_between",
    "refresh_aggregates",
    "refresh_batch",
]


@dataclass(frozen=True)
class Refreshed:
    """What a refresh did.

    :ivar removed: rows of the aggregate that were there before; ``written``: rows that are there now.
    """

    removed: int = 0
    written: int = 0


MOST_WAFERS = 2_000
"""Up to so many wafers, rows are looked up by wafer, and not in all of a month."""


@dataclass
class _Scope:
    """Rows of a fact, and those of its aggregate."""

    batches: list[str] | None
    months: list[tuple[datetime, datetime]] | None
    wafers: list[int] | None = None

    @property
    def of_fact(self) -> str:
        """The condition on the fact ``f``; by wafers, which it has an index of, where they are known."""
        by_wafer = "" if self.wafers is None else " AND f.wafer_key = ANY (:wafers)"
        return self._condition("f.event_ts", "f.batch_id") + by_wafer

    @property
    def of_aggregate(self) -> str:
        """The condition on the aggregate."""
        return self._condition("event_month", "batch_id")

    def _condition(self, moment: str, batch: str) -> str:
        terms = []
        if self.batches is not None:
            terms.append(f"{batch} = ANY (:batches)")
        if self.months is not None:
            bounds = (f"({moment} >= :start{n} AND {moment} < :end{n})" for n in range(len(self.months)))
            terms.append(f"({' OR '.join(bounds)})")
        return " AND ".join(terms) or "true"

    @property
    def values(self) -> dict[str, Any]:
        made: dict[str, Any] = {} if self.batches is None else {"batches": self.batches}
        for number, (start, end) in enumerate(self.months or ()):
            made |= {f"start{number}": start, f"end{number}": end}
        return made if self.wafers is None else {**made, "wafers": self.wafers}

    def run(self, connection: Connection, sql: str) -> Any:
        statement = text(sql)
        if self.batches is not None:
            statement = statement.bindparams(bindparam("batches", type_=ARRAY(Text())))
        if ":wafers" in sql:
            statement = statement.bindparams(bindparam("wafers", type_=ARRAY(BigInteger())))
        return connection.execute(statement, self.values)


def _scope(
    batches: Iterable[str] | None, months: Iterable[datetime] | None, wafers: Iterable[int] | None = None
) -> _Scope:
    bounds: list[tuple[Any, Any]] | None = None
    for part in sorted({p.name: p for p in map(month_partition, months or ())}.values(), key=lambda p: p.name):
        bounds = bounds or []
        if bounds and bounds[-1][1] == part.start:
            bounds[-1] = (bounds[-1][0], part.end)  # months that follow each other are one span
        else:
            bounds.append((part.start, part.end))
    if months is not None and bounds is None:
        bounds = []
    keys = None if wafers is None else sorted(set(wafers))
    return _Scope(None if batches is None else sorted(set(batches)), bounds, keys)


def refresh_aggregates(
    connection: Connection,
    fact: str,
    *,
    batches: Iterable[str] | None = None,
    months: Iterable[datetime] | None = None,
    wafers: Iterable[int] | None = None,
) -> Refreshed:
    """Make the aggregates of these rows of a fact anew, in the caller's transaction.

    Rows are those of the batches within the months; of all batches, or in all months, where None. Say the months wherever
    they are known: without them all partitions are read. Of a fact without aggregates nothing is done. The aggregate needs
    the months' partitions (:func:`gpwarehouse.months.ensure_months` makes them with those of the fact).

    :param months: any instant in each.
    :param wafers: durable keys of all wafers of the batches, where the caller has them at hand: their rows are found sooner.
    """
    shape = SHAPES.get(fact)
    scope = _scope(batches, months, wafers)
    if shape is None or scope.batches == [] or scope.months == []:
        return Refreshed()
    aggregate: Table = AGGREGATES[fact].__table__
    name = qualified_name(connection, aggregate)
    removed, written = _delete(connection, name, scope), 0
    for select in _selects(connection, shape, scope):
        columns = ", ".join(shape.columns)
        written += int(scope.run(connection, f"INSERT INTO {name} ({columns})\n{select}").rowcount)
    return Refreshed(removed, written)


def forget_aggregates(connection: Connection, fact: str, months: Iterable[datetime]) -> int:
    """Delete the aggregates of months of which the fact has no rows any more, in the caller's transaction; how many rows.

    :param months: any instant in each.
    """
    scope = _scope(None, months)
    if fact not in SHAPES or scope.months == []:
        return 0
    return _delete(connection, qualified_name(connection, AGGREGATES[fact].__table__), scope)


def _delete(connection: Connection, name: str, scope: _Scope) -> int:
    # A DELETE from a column store locks out whoever writes to it until the commit: a new batch has nothing to delete.
    if not scope.run(connection, f"SELECT EXISTS (SELECT 1 FROM {name} WHERE {scope.of_aggregate})").scalar_one():
        return 0
    return int(scope.run(connection, f"DELETE FROM {name} WHERE {scope.of_aggregate}").rowcount)


def _selects(connection: Connection, shape: Shape, scope: _Scope) -> Sequence[str]:
    """The SELECTs that have rows: whether there are named values and several sites is soon asked. Scope learns the wafers."""
    fact: Table = FACTS[shape.fact].__table__
    table = qualified_name(connection, fact)
    wafers = "array_agg(DISTINCT f.wafer_key)" if scope.batches is not None else "CAST(NULL AS bigint[])"
    found = scope.run(
        connection,
        f"SELECT coalesce(bool_or({shape.has_named_values}), false) AS named, min({shape.sites}) <> max({shape.sites}) AS apart, "
        f"{wafers} AS wafers FROM {table} f WHERE {scope.of_fact}",
    ).one()
    if scope.wafers is None and found.wafers and len(found.wafers) <= MOST_WAFERS:
        scope.wafers = found.wafers
    return [
        shape.select(table, scope.of_fact, of_array=of_array, by_site=by_site)
        for by_site in ((False, True) if found.apart else (False,))
        for of_array in ((True, False) if found.named else (True,))
    ]


# Sums run in another order from one run to the next; 1e-9 of the values is far below what is measured.
_NEAR = "abs(coalesce(s.{0}, 0) - coalesce(m.{0}, 0)) <= 1e-9 * greatest(abs(coalesce(m.{0}, 0)), {1})"


def refresh_batch(connection: Connection, batch: Any) -> Refreshed:
    """Make the aggregates of a batch anew, in the caller's transaction.

    :param batch: its row in ``etl_load_batch``, or what has ``target``, ``batch_id``, ``min_event_ts`` and ``max_event_ts``.
    """
    if batch.min_event_ts is None:
        return Refreshed()
    months = months_between(batch.min_event_ts, batch.max_event_ts)
    return refresh_aggregates(connection, batch.target, batches=[batch.batch_id], months=months)


def months_between(first: datetime, last: datetime) -> list[datetime]:
    """The first instants of the months from one instant to another, in UTC."""
    start: Any = month_partition(first).start
    found = []
    while start <= last:
        found.append(start)
        start = month_partition(start).end
    return found


def differing_aggregates(
    connection: Connection, fact: str, *, batches: Iterable[str] | None = None, months: Iterable[datetime] | None = None
) -> tuple[int, str | None]:
    """Count rows of the aggregate that are not what the fact's rows come to, in either direction; and a case of it.

    :param batches: as of :func:`refresh_aggregates`; ``months``: likewise.
    """
    shape = SHAPES.get(fact)
    scope = _scope(batches, months)
    if shape is None or scope.batches == [] or scope.months == []:
        return 0, None
    name = qualified_name(connection, AGGREGATES[fact].__table__)
    columns = ", ".join(shape.columns)
    keys = [*shape.keys, "batch_id", "parameter_set_key", "position", "parameter"]
    counts = [column for column in shape.columns if column == "n" or column.startswith("n_")]
    real = ["mean", "min_value", "q1", "median", "q3", "max_value"]
    same = " AND ".join(
        f"coalesce(CAST(s.{key} AS text), chr(31)) = coalesce(CAST(m.{key} AS text), chr(31))" for key in keys
    )
    spread = f"CASE WHEN m.mean IS NULL THEN {LEAST} ELSE greatest(m.max_value - m.min_value, abs(m.mean), {LEAST}) END"
    equal = [f"coalesce(s.{column}, -1) = coalesce(m.{column}, -1)" for column in counts]
    equal += [_NEAR.format(column, spread) for column in real]
    equal.append(_NEAR.format("m2", f"(1 + coalesce(m.n, 0)) * ({spread}) ^ 2"))
    equal += [f"(s.{column} IS NULL) = (m.{column} IS NULL)" for column in (*real, "m2")]
    equal += [f"s.{column} = m.{column}" for column in ("first_ts", "last_ts")]
    selects = [f"SELECT {columns} FROM (\n{select}\n) made" for select in _selects(connection, shape, scope)]
    made = "\nUNION ALL\n".join(selects)
    stored = f"SELECT {columns} FROM {name} WHERE {scope.of_aggregate}"
    found = scope.run(
        connection,
        f"SELECT count(*) AS n, min('batch_id = ' || coalesce(s.batch_id, m.batch_id) || ', parameter_set_key = ' "
        "|| coalesce(s.parameter_set_key, m.parameter_set_key) || ', position = ' || coalesce(s.position, m.position)) AS sample "
        f"FROM ({stored}) s FULL JOIN ({made}) m ON {same} "
        f"WHERE s.batch_id IS NULL OR m.batch_id IS NULL OR NOT ({' AND '.join(equal)})",
    ).one()
    return int(found.n), found.sample
