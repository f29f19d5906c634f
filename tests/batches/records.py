"""Records in months and at sites of a wafer; and what the list of the batches then says of them."""

from __future__ import annotations

from collections import Counter
from typing import Any

from gpwarehouse import Warehouse
from tests.dimensions.rows import day
from tests.load.rows import MEASUREMENTS, measurement
from tests.queries import rows_of


def rows(*months: int, lot: str = "L1") -> list[dict[str, Any]]:
    """Two of each month."""
    return [measurement(lot_id=lot, event_ts=day(month, number)) for month in months for number in (3, 4)]


def months(wh: Warehouse) -> Counter[int]:
    """How many rows the fact has in each month."""
    found = rows_of(wh, f"SELECT CAST(extract(month FROM event_ts) AS int) FROM dw.{MEASUREMENTS}")
    return Counter(month for (month,) in found)


def record(wh: Warehouse, batch_id: str) -> tuple[Any, ...]:
    """Status, rows and error of a batch."""
    query = "SELECT status, rows_loaded, error FROM dw.etl_load_batch WHERE batch_id = :batch"
    (found,) = rows_of(wh, query, batch=batch_id)
    return found


def removed(wh: Warehouse, batch_id: str) -> list[tuple[Any, ...]]:
    """What was removed from a batch since: cause, month, rows, by which batch, and month to which it moved."""
    query = """SELECT cause, to_char(timezone('UTC', month), 'YYYY-MM'), rows_removed, by_batch_id,
            to_char(timezone('UTC', month_now), 'YYYY-MM')
        FROM dw.etl_removal WHERE batch_id = :batch ORDER BY removed_at, month, month_now"""
    return rows_of(wh, query, batch=batch_id)


def site(number: int, **values: Any) -> dict[str, Any]:
    """A measurement at a site, which is its key."""
    return measurement(event_ts=day(3, 5), site_no=number) | values


def found(wh: Warehouse, *columns: str, fact: str = MEASUREMENTS, order: str = "site_no") -> list[tuple[Any, ...]]:
    """These columns of all rows of a fact."""
    return rows_of(wh, f"SELECT {', '.join(columns)} FROM dw.{fact} ORDER BY {order}")
