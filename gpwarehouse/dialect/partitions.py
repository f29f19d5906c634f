"""Partitioning as values: by range or by list, bounds written out, ``eval(repr(x)) == x``.

There is no EVERY: over TIMESTAMPTZ it follows the session's time zone, so bounds drift by an hour after a change to
daylight saving time, and PostgreSQL's catalogs do not keep it. :meth:`RangePartitions.monthly`, ``daily`` and ``every``
write the bounds out instead. A default partition is made only where asked for: ORCA reads it for every query, and
Greenplum 6 then refuses ADD PARTITION.

Source of the rules: Greenplum Database reference, CREATE TABLE and ALTER TABLE (6 and 7).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from itertools import pairwise
from typing import Any

from gpwarehouse.dialect.errors import OptionError

__all__ = [
    "Bound",
    "DefaultPartition",
    "ListPartition",
    "ListPartitions",
    "ListValue",
    "OtherPartitions",
    "Partition",
    "Partitioning",
    "RangePartition",
    "RangePartitions",
    "missing_partitions",
    "month_after",
    "month_partition",
]

Bound = datetime | date | int | Decimal | str
"""A partition bound: aware datetime for TIMESTAMPTZ, date for DATE, int or Decimal for numbers, str for text and for
TIMESTAMP without time zone (``'2026-01-01 00:00:00'``)."""

ListValue = Bound | bool | None
"""A value of a list partition; ``None`` is NULL."""


def _check_name(kind: str, name: str) -> None:
    if not isinstance(name, str) or not name or "\0" in name or len(name.encode()) > 63:
        raise OptionError(f"{kind} name={name!r}: give a name of 1 to 63 bytes, as after _1_prt_ in the child's name")


def check_aware(what: str, value: object) -> None:
    """Refuse a naive datetime.

    :raises OptionError: naming ``what`` and the value.
    """
    if isinstance(value, datetime) and value.tzinfo is None:
        raise OptionError(
            f"{what} {value!r}: a naive datetime would follow the session's time zone; give an aware one, e.g. "
            "datetime(2026, 1, 1, tzinfo=UTC), or for a TIMESTAMP without time zone text: '2026-01-01 00:00:00'"
        )


def _normal(where: str, value: Any) -> Any:
    """A value as it is kept: moments in UTC, subclasses of str (enumerations) as the text they are.

    :raises OptionError: a naive datetime, no finite number, or a value of a type that bounds cannot have.
    """
    check_aware(where, value)
    if isinstance(value, datetime):
        return value.astimezone(UTC)
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, Decimal) and not value.is_finite():
        raise OptionError(f"{where} {value!r}: give a finite number, or None for an open end")
    if value is None or type(value) in (str, int, bool, Decimal, date):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    raise OptionError(
        f"{where} {value!r}: a {type(value).__name__} cannot be a bound; give text, a whole number, a Decimal, a date or "
        "an aware datetime"
    )


_CHILD: Any = field(default=None, compare=False, repr=False, kw_only=True)
"""Name of a partition's table, where the partition's name does not lead to it; reflection knows it. No part of the value."""


@dataclass(frozen=True)
class RangePartition:
    """One partition: ``start`` inclusive, ``end`` exclusive, ``None`` open. Names are as after ``_1_prt_``.

    :ivar child: name of its table where that is another than the rule's (attached, renamed, unnamed): for statements.
    :raises OptionError: a naive datetime, bounds of two types, or a start that is not before its end. The order of
        texts is the server's collation's, so it is not checked here.
    """

    name: str
    start: Bound | None
    end: Bound | None
    child: str | None = _CHILD

    def __post_init__(self) -> None:
        _check_name("RangePartition", self.name)
        for which in ("start", "end"):
            bound = _normal(f"RangePartition {self.name!r} {which}", getattr(self, which))
            object.__setattr__(self, which, bound)
        if self.start is None and self.end is None:
            raise OptionError(f"RangePartition {self.name!r}: give start or end; for all other rows use a default")
        if self.start is None or self.end is None:
            return
        numbers = all(type(bound) in (int, Decimal) for bound in (self.start, self.end))
        alike = numbers or type(self.start) is type(self.end)
        if not alike or (not isinstance(self.start, str) and not self.start < self.end):  # type: ignore[operator]
            raise OptionError(
                f"RangePartition {self.name!r}: start {self.start!r} must be of the type of, and before, "
                f"end {self.end!r}"
            )


@dataclass(frozen=True)
class ListPartition:
    """One partition with the values it holds; ``None`` is NULL.

    :ivar child: as of :class:`RangePartition`.
    :raises OptionError: no value, one twice, or a naive datetime.
    """

    name: str
    values: tuple[ListValue, ...]
    child: str | None = _CHILD

    def __post_init__(self) -> None:
        _check_name("ListPartition", self.name)
        if not isinstance(self.values, tuple | list) or not self.values:
            raise OptionError(f"ListPartition {self.name!r} values={self.values!r}: give a tuple of one or more values")
        values = tuple(_normal(f"ListPartition {self.name!r} value", value) for value in self.values)
        object.__setattr__(self, "values", values)
        if len(set(self.values)) != len(self.values):
            raise OptionError(f"ListPartition {self.name!r} values={self.values!r}: a value stands twice")


@dataclass(frozen=True)
class DefaultPartition:
    """The partition of all rows that no other takes; to be added where a table has none."""

    name: str
    child: str | None = _CHILD

    def __post_init__(self) -> None:
        _check_name("DefaultPartition", self.name)


Partition = RangePartition | ListPartition | DefaultPartition


def _check_names(where: str, names: list[str], default: str | None) -> None:
    every = names if default is None else [*names, default]
    if len(set(every)) != len(every):
        raise OptionError(f"{where}: two partitions share a name: {every}")
    if default is not None:
        _check_name("default partition", default)


def _repr(value: RangePartitions | ListPartitions) -> str:
    default = f", default={value.default!r}" if value.default is not None else ""
    name = type(value).__name__
    return f"{name}(column={value.column!r}, partitions={value.partitions!r}{default})"


@dataclass(frozen=True, repr=False)
class RangePartitions:
    """``PARTITION BY RANGE (column)`` with its first partitions, bounds written out.

    :param column: the partition key.
    :param partitions: made together with the table; Greenplum 6 needs at least one. Kept in the order of their starts.
    :param default: name of the default partition; ``None`` makes none.
    :raises OptionError: two partitions overlap or share a name.
    """

    column: str
    partitions: tuple[RangePartition, ...] = ()
    default: str | None = None

    def __post_init__(self) -> None:
        where = f"RangePartitions({self.column!r})"
        if not all(isinstance(p, RangePartition) for p in self.partitions):
            raise OptionError(f"{where} partitions={self.partitions!r}: give a tuple of RangePartition(…)")
        _check_names(where, [p.name for p in self.partitions], self.default)
        starts: list[Any] = [p.start for p in self.partitions if p.start is not None]
        try:
            starts.sort()
        except TypeError:
            raise OptionError(f"{where}: bounds of two types, {starts!r}; give all of one type") from None
        if any(isinstance(start, datetime) for start in starts) and not all(isinstance(s, datetime) for s in starts):
            raise OptionError(f"{where}: bounds of two types, {starts!r}; give all of one type")
        first = [p for p in self.partitions if p.start is None]
        rest: list[Any] = sorted((p for p in self.partitions if p.start is not None), key=_start)
        ordered = (*first, *rest)
        object.__setattr__(self, "partitions", ordered)
        for before, after in pairwise(ordered):
            text = isinstance(after.start, str)
            if after.start is None or before.end is None or (not text and before.end > after.start):
                raise OptionError(f"{where}: partitions {before.name!r} and {after.name!r} overlap")

    __repr__ = _repr

    @classmethod
    def monthly(
        cls, column: str, *, first: str, months: int = 1, every: int = 1, bounds: type[date | str] = datetime
    ) -> RangePartitions:
        """Months in UTC from ``first`` (``"2026-01"``), named ``m202601``.

        :param months: how many partitions.
        :param every: months a partition holds: 3 for quarters, 12 for years.
        :param bounds: ``date`` for a DATE column, ``str`` for a TIMESTAMP without time zone; else aware datetimes.
        :raises OptionError: ``first`` is no month, or a count below 1.
        """
        match = re.fullmatch(r"(\d{4})-(\d{2})", first)
        if not match or not 1 <= int(match[2]) <= 12 or months < 1 or every < 1:
            raise OptionError(
                f"RangePartitions.monthly(first={first!r}, months={months!r}, every={every!r}): "
                "give YYYY-MM and counts of 1 or more"
            )
        start = datetime(int(match[1]), int(match[2]), 1, tzinfo=UTC)
        parts: list[RangePartition] = []
        for _ in range(months):
            end = start
            for _ in range(every):
                end = month_after(end)
            parts.append(RangePartition(f"m{start:%Y%m}", _as(bounds, start), _as(bounds, end)))
            start = end
        return cls(column, tuple(parts))

    @classmethod
    def daily(cls, column: str, *, first: str, days: int = 1, bounds: type[date | str] = datetime) -> RangePartitions:
        """Days in UTC from ``first`` (``"2026-01-31"``), named ``d20260131``.

        :param bounds: ``date`` for a DATE column, ``str`` for a TIMESTAMP without time zone; else aware datetimes.
        :raises OptionError: ``first`` is no day, or a count below 1.
        """
        wrong = f"RangePartitions.daily(first={first!r}, days={days!r}): give YYYY-MM-DD and a count of 1 or more"
        try:
            start = datetime.strptime(first, "%Y-%m-%d").replace(tzinfo=UTC)
        except ValueError:
            raise OptionError(wrong) from None
        if days < 1:
            raise OptionError(wrong)
        ends = [start + timedelta(days=day) for day in range(days + 1)]
        return cls(
            column,
            tuple(RangePartition(f"d{a:%Y%m%d}", _as(bounds, a), _as(bounds, b)) for a, b in pairwise(ends)),
        )

    @classmethod
    def every(
        cls, column: str, *, start: Any, step: Any, count: int = 1, name: Callable[[Any], str] | str = "p"
    ) -> RangePartitions:
        """``count`` partitions, each ``step`` wide, from ``start`` on.

        :param start: an aware datetime, a date or a number.
        :param step: a ``timedelta`` or a number, added to the bound.
        :param name: names a partition by its start, or a prefix before its number from 1.
        :raises OptionError: a step of nothing, of less than whole days from a date, or a count below 1.
        """
        part_of_day = isinstance(step, timedelta) and not isinstance(start, datetime) and bool(step % timedelta(days=1))
        if count < 1 or part_of_day or not start + step > start:
            raise OptionError(
                f"RangePartitions.every(start={start!r}, step={step!r}, count={count!r}): "
                "give a step above zero (in whole days from a date) and a count of 1 or more"
            )
        parts: list[RangePartition] = []
        for number in range(1, count + 1):
            called = f"{name}{number}" if isinstance(name, str) else name(start)
            parts.append(RangePartition(called, start, start + step))
            start = start + step
        return cls(column, tuple(parts))

    def same_scheme(self, other: object) -> bool:
        """Whether ``other`` partitions by the same method and column, whichever partitions there are now."""
        return _scheme(other) == _scheme(self)


def _start(partition: RangePartition) -> Any:
    return partition.start


def _as(kind: type[date | str], moment: datetime) -> Bound:
    if kind is str:
        return f"{moment:%Y-%m-%d %H:%M:%S}"
    return moment if kind is datetime else moment.date()


@dataclass(frozen=True, repr=False)
class ListPartitions:
    """``PARTITION BY LIST (column)`` with its first partitions.

    :param column: the partition key.
    :param partitions: made together with the table; Greenplum 6 needs at least one. Kept in the order of their names.
    :param default: name of the default partition; ``None`` makes none.
    :raises OptionError: two partitions share a name or a value.
    """

    column: str
    partitions: tuple[ListPartition, ...] = ()
    default: str | None = None

    def __post_init__(self) -> None:
        where = f"ListPartitions({self.column!r})"
        if not all(isinstance(p, ListPartition) for p in self.partitions):
            raise OptionError(f"{where} partitions={self.partitions!r}: give a tuple of ListPartition(…)")
        object.__setattr__(self, "partitions", tuple(sorted(self.partitions, key=lambda p: p.name)))
        _check_names(where, [p.name for p in self.partitions], self.default)
        owner: dict[ListValue, str] = {}
        for partition in self.partitions:
            for value in partition.values:
                if value in owner:
                    raise OptionError(
                        f"{where}: the value {value!r} stands in partitions {owner[value]!r} and {partition.name!r}"
                    )
                owner[value] = partition.name

    __repr__ = _repr

    def same_scheme(self, other: object) -> bool:
        """Whether ``other`` partitions by the same method and column, whichever partitions there are now."""
        return _scheme(other) == _scheme(self)


@dataclass(frozen=True)
class OtherPartitions:
    """A partitioning that others made and we only read: by hash, by several columns, on several levels, or with bounds
    that our values cannot say (``infinity``, years before Christ).

    Tables with it reflect, and compare equal to themselves; making one is refused.

    :param method: ``"range"``, ``"list"`` or ``"hash"`` of the first level.
    :param columns: its key; an expression stands as ``""``.
    :param levels: 2 where partitions are partitioned again (on however many levels), else 1.
    """

    method: str
    columns: tuple[str, ...]
    levels: int = 1

    def same_scheme(self, other: object) -> bool:
        """Whether ``other`` partitions by the same method and columns on as many levels."""
        return _scheme(other) == _scheme(self)


Partitioning = RangePartitions | ListPartitions | OtherPartitions


def _scheme(value: object) -> OtherPartitions | None:
    if isinstance(value, RangePartitions | ListPartitions):
        return OtherPartitions("range" if isinstance(value, RangePartitions) else "list", (value.column,))
    return value if isinstance(value, OtherPartitions) else None


def month_after(moment: datetime) -> datetime:
    """The first instant (UTC) of the month after that of ``moment``, an aware datetime."""
    moment = moment.astimezone(UTC)
    return datetime(moment.year + moment.month // 12, moment.month % 12 + 1, 1, tzinfo=UTC)


def month_partition(moment: datetime) -> RangePartition:
    """The partition of the UTC month that holds ``moment``, an aware datetime."""
    moment = moment.astimezone(UTC)
    start = datetime(moment.year, moment.month, 1, tzinfo=UTC)
    return RangePartition(f"m{start:%Y%m}", start, month_after(start))


def missing_partitions(existing: Iterable[RangePartition], wanted: Iterable[RangePartition]) -> list[RangePartition]:
    """Return the wanted partitions whose range no existing partition holds, in order of their start."""
    have = list(existing)
    return sorted((w for w in wanted if not any(_holds(e, w) for e in have)), key=_start)


def _holds(outer: Any, inner: Any) -> bool:
    starts = outer.start is None or (inner.start is not None and outer.start <= inner.start)
    ends = outer.end is None or (inner.end is not None and inner.end <= outer.end)
    return bool(starts and ends)


def bound_literal(value: ListValue) -> str:
    """A bound as an SQL literal; datetimes in UTC with their offset, so no session time zone can move them."""
    if value is None or isinstance(value, bool):
        return {None: "NULL", True: "true", False: "false"}[value]
    if isinstance(value, datetime):
        utc = value.astimezone(UTC)
        fraction = f".{utc.microsecond:06d}" if utc.microsecond else ""
        return f"'{utc:%Y-%m-%d %H:%M:%S}{fraction}+00'"
    if isinstance(value, date):
        return f"'{value.isoformat()}'"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return str(value)
