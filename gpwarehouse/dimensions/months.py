"""Months as they are named: ``2026-03``."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from gpwarehouse.dialect import RangePartition
from gpwarehouse.dialect.options import month_partition
from gpwarehouse.errors import InvalidInputError

__all__ = ["month_named", "month_ranges"]


def month_named(month: str) -> RangePartition:
    """The month of that name.

    :raises InvalidInputError: it is none.
    """
    try:
        return month_partition(datetime.strptime(month, "%Y-%m").replace(tzinfo=UTC))
    except (TypeError, ValueError):
        raise InvalidInputError(f"{month!r} is no month: write YYYY-MM") from None


def month_ranges(months: Iterable[str]) -> list[tuple[datetime, datetime]]:
    """The first moment of each of these months and of the next one, in order."""
    ranges = []
    for partition in {month: month_named(month) for month in months}.values():
        assert isinstance(partition.start, datetime)
        assert isinstance(partition.end, datetime)
        ranges.append((partition.start, partition.end))
    return sorted(ranges)
