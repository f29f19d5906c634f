"""Months of facts, made before a load needs them, in short transactions of their own.

How months are made, and why beforehand: :mod:`gpwarehouse.months.partitions`.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import Table
from sqlalchemy.engine import Engine

from gpwarehouse.dialect.options import month_partition
from gpwarehouse.errors import LoadError, PartitionError
from gpwarehouse.months.partitions import make_partitions

__all__ = ["ensure_months"]


def ensure_months(engine: Engine, table: Table, months: Iterable[datetime]) -> list[str]:
    """Make the partitions of these months (any instant in each) where missing; names of those made.

    :raises LoadError: the role may not make months, and some are missing.
    """
    wanted = {month_partition(month).name: month_partition(month) for month in months}
    try:
        return make_partitions(engine, table, wanted.values())
    except PartitionError as error:
        raise LoadError(
            f"{error}; the load needs {', '.join(sorted(name[1:5] + '-' + name[5:] for name in wanted))}: "
            "gpwarehouse partitions apply --month YYYY-MM. Nothing was loaded"
        ) from error
