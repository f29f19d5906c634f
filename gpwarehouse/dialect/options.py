"""Table options of Greenplum as values: frozen, validated where they are written, ``eval(repr(x)) == x``.

They are passed to :class:`sqlalchemy.Table` as ``greenplum_distributed_by=``, ``greenplum_storage=`` and
``greenplum_partition_by=``, come back from reflection, and are rendered into revisions by Alembic.

>>> Table("t", metadata, Column("k", BigInteger), Column("ts", DateTime(timezone=True)),
...       greenplum_distributed_by=DistributedBy("k"),
...       greenplum_storage=AppendOptimized(orientation="column", compresstype="zstd"),
...       greenplum_partition_by=RangePartitions.monthly("ts", first="2026-01", months=12))  # doctest: +SKIP

Source of the rules: Greenplum Database reference, CREATE TABLE (6 and 7).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import pairwise
from typing import Literal

from gpwarehouse.dialect.errors import OptionError

__all__ = [
    "AppendOptimized",
    "Bound",
    "DistributedBy",
    "DistributedRandomly",
    "DistributedReplicated",
    "Distribution",
    "Heap",
    "RangePartition",
    "RangePartitions",
    "Storage",
    "month_after",
    "month_partition",
]

Bound = datetime | date | int | Decimal | str
"""A partition bound: aware datetime for TIMESTAMPTZ, date for DATE, int or Decimal for numbers, str for text."""

COMPRESSION_LEVELS = {"none": (0, 0), "zlib": (1, 9), "zstd": (1, 19), "rle_type": (1, 4), "quicklz": (1, 1)}
"""Allowed ``compresslevel`` by ``compresstype`` (CREATE TABLE reference; zstd up to 19, rle_type columns only)."""


@dataclass(frozen=True, init=False)
class DistributedBy:
    """``DISTRIBUTED BY (column, …)``: rows go to the segment that the hash of these columns names.

    :raises OptionError: no column, or one twice.
    """

    columns: tuple[str, ...]

    def __init__(self, *columns: str) -> None:
        if not columns or not all(isinstance(c, str) and c for c in columns):
            raise OptionError(
                f"DistributedBy{columns!r}: give one or more column names; "
                "for a table without a distribution key use DistributedRandomly()"
            )
        if len(set(columns)) != len(columns):
            raise OptionError(f"DistributedBy{columns!r}: a column is named twice; name each once")
        object.__setattr__(self, "columns", tuple(columns))

    def __repr__(self) -> str:
        return f"DistributedBy({', '.join(map(repr, self.columns))})"


@dataclass(frozen=True)
class DistributedRandomly:
    """``DISTRIBUTED RANDOMLY``: rows go round; no unique key is possible."""


@dataclass(frozen=True)
class DistributedReplicated:
    """``DISTRIBUTED REPLICATED``: every segment holds every row; joins with it never move rows."""


Distribution = DistributedBy | DistributedRandomly | DistributedReplicated


@dataclass(frozen=True)
class Heap:
    """PostgreSQL's row storage: for tables that are updated."""


@dataclass(frozen=True, kw_only=True)
class AppendOptimized:
    """Append-optimized storage, by row or by column, compressed or not.

    :param orientation: ``"row"`` or ``"column"``.
    :param compresstype: ``"none"``, ``"zlib"``, ``"zstd"``, ``"rle_type"`` (column only) or ``"quicklz"``
        (some builds of 6 only).
    :param compresslevel: zlib 1–9, zstd 1–19, rle_type 1–4, quicklz 1; ``None`` takes 1, or 0 without compression.
    :param blocksize: bytes, 8192 to 2097152 in steps of 8192; ``None`` takes the server's 32768.
    :raises OptionError: naming the option, the value and what is allowed.
    """

    orientation: Literal["row", "column"] = "row"
    compresstype: str = "none"
    compresslevel: int | None = None
    blocksize: int | None = None

    def __post_init__(self) -> None:
        if self.orientation not in ("row", "column"):
            raise OptionError(f"AppendOptimized orientation={self.orientation!r}: allowed are 'row' and 'column'")
        if self.compresstype not in COMPRESSION_LEVELS:
            raise OptionError(
                f"AppendOptimized compresstype={self.compresstype!r}: allowed are {', '.join(COMPRESSION_LEVELS)}"
            )
        if self.compresstype == "rle_type" and self.orientation != "column":
            raise OptionError("AppendOptimized compresstype='rle_type' needs orientation='column'")
        low, high = COMPRESSION_LEVELS[self.compresstype]
        if self.compresslevel is None:
            object.__setattr__(self, "compresslevel", low)
        elif not low <= self.compresslevel <= high:
            raise OptionError(
                f"AppendOptimized compresslevel={self.compresslevel!r}: "
                f"for compresstype={self.compresstype!r} allowed is {low} to {high}"
            )
        if self.blocksize is not None and (self.blocksize % 8192 or not 8192 <= self.blocksize <= 2097152):
            raise OptionError(
                f"AppendOptimized blocksize={self.blocksize!r}: allowed are 8192 to 2097152 in steps of 8192"
            )


Storage = Heap | AppendOptimized


@dataclass(frozen=True)
class RangePartition:
    """One partition: ``start`` inclusive, ``end`` exclusive. Names are as after ``_1_prt_`` in the child's name."""

    name: str
    start: Bound
    end: Bound

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z_][a-z0-9_]{0,40}", self.name):
            raise OptionError(
                f"RangePartition name={self.name!r}: use lower-case letters, digits and underscores, 41 at most"
            )
        for bound in (self.start, self.end):
            if isinstance(bound, datetime) and bound.tzinfo is None:
                raise OptionError(
                    f"RangePartition {self.name!r} bound {bound!r}: a naive datetime would follow the session's "
                    "time zone; give an aware one, e.g. datetime(2026, 1, 1, tzinfo=UTC)"
                )
        if type(self.start) is not type(self.end) or not self.start < self.end:  # type: ignore[operator]
            raise OptionError(
                f"RangePartition {self.name!r}: start {self.start!r} must be of the type of, and before, "
                f"end {self.end!r}"
            )


@dataclass(frozen=True)
class RangePartitions:
    """``PARTITION BY RANGE (column)`` with its first partitions, bounds written out.

    There is no EVERY: over TIMESTAMPTZ it follows the session's time zone, so bounds drift by an hour after a
    change to daylight saving time. There is no DEFAULT partition either: ORCA reads it for every query, and
    Greenplum 6 then refuses ADD PARTITION.

    :param column: the partition key.
    :param partitions: made together with the table; Greenplum 6 needs at least one.
    :raises OptionError: two partitions overlap or share a name.
    """

    column: str
    partitions: tuple[RangePartition, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "partitions", tuple(self.partitions))
        names = [p.name for p in self.partitions]
        if len(set(names)) != len(names):
            raise OptionError(f"RangePartitions({self.column!r}): two partitions share a name: {names}")
        ordered = sorted(self.partitions, key=lambda p: p.start)
        for before, after in pairwise(ordered):
            if before.end > after.start:  # type: ignore[operator]
                raise OptionError(
                    f"RangePartitions({self.column!r}): partitions {before.name!r} and {after.name!r} overlap"
                )

    @classmethod
    def monthly(cls, column: str, *, first: str, months: int = 1) -> RangePartitions:
        """Months in UTC from ``first`` (``"2026-01"``), named ``m202601``."""
        match = re.fullmatch(r"(\d{4})-(\d{2})", first)
        if not match or not 1 <= int(match[2]) <= 12 or months < 1:
            raise OptionError(
                f"RangePartitions.monthly(first={first!r}, months={months!r}): give YYYY-MM and a count of 1 or more"
            )
        start = datetime(int(match[1]), int(match[2]), 1, tzinfo=UTC)
        parts: list[RangePartition] = []
        for _ in range(months):
            parts.append(month_partition(start))
            start = month_after(start)
        return cls(column, tuple(parts))

    def same_scheme(self, other: object) -> bool:
        """Whether ``other`` partitions by the same method and column, whichever partitions there are now."""
        return isinstance(other, RangePartitions) and other.column == self.column


def month_after(moment: datetime) -> datetime:
    """The first instant (UTC) of the month after that of ``moment``, an aware datetime."""
    moment = moment.astimezone(UTC)
    return datetime(moment.year + moment.month // 12, moment.month % 12 + 1, 1, tzinfo=UTC)


def month_partition(moment: datetime) -> RangePartition:
    """The partition of the UTC month that holds ``moment``, an aware datetime."""
    moment = moment.astimezone(UTC)
    start = datetime(moment.year, moment.month, 1, tzinfo=UTC)
    return RangePartition(f"m{start:%Y%m}", start, month_after(start))


def bound_literal(bound: Bound) -> str:
    """A bound as an SQL literal; datetimes in UTC with their offset, so no session time zone can move them."""
    if isinstance(bound, datetime):
        utc = bound.astimezone(UTC)
        fraction = f".{utc.microsecond:06d}" if utc.microsecond else ""
        return f"'{utc:%Y-%m-%d %H:%M:%S}{fraction}+00'"
    if isinstance(bound, date):
        return f"'{bound.isoformat()}'"
    if isinstance(bound, str):
        return "'" + bound.replace("'", "''") + "'"
    return str(bound)


def missing_partitions(existing: Iterable[RangePartition], wanted: Iterable[RangePartition]) -> list[RangePartition]:
    """Those of ``wanted`` whose range no existing partition holds, in order of their start."""
    have = list(existing)
    return sorted(
        (w for w in wanted if not any(e.start <= w.start and w.end <= e.end for e in have)),  # type: ignore[operator]
        key=lambda p: p.start,
    )
