"""What a dimension holds, for the tests of this folder; and what must hold of every dimension at any time."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import groupby, pairwise
from typing import Any

from gpwarehouse import Warehouse
from gpwarehouse.models import BEGINNING, DIMENSIONS, END_OF_TIME
from tests.queries import rows_of


def day(month: int, number: int = 1) -> datetime:
    return datetime(2025, month, number, tzinfo=UTC)


def history(wh: Warehouse, lot: str, *columns: str) -> list[tuple[Any, ...]]:
    """Start of each version of a lot, and these columns, oldest first."""
    names = ", ".join(("effective_date", *columns))
    return rows_of(wh, f"SELECT {names} FROM dw.dim_lot WHERE lot_id = :lot ORDER BY effective_date", lot=lot)


def check_intervals(wh: Warehouse, dimension: str) -> None:
    """No gap, no overlap, one current row, from 1900 on."""
    key = DIMENSIONS[dimension].durable_key
    found = rows_of(
        wh, f"SELECT {key}, effective_date, expiry_date, is_current FROM dw.{dimension} ORDER BY {key}, effective_date"
    )
    for _, group in groupby(found, key=lambda row: row[0]):
        versions = list(group)
        assert versions[0][1] == BEGINNING
        assert versions[-1][2] == END_OF_TIME
        assert all(before[2] == after[1] for before, after in pairwise(versions))
        assert [row[3] for row in versions] == [False] * (len(versions) - 1) + [True]
