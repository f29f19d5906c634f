"""A small fab to back up, and what two warehouses hold."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pandas as pd
from sqlalchemy import text

from gpwarehouse import Warehouse
from gpwarehouse.generate import generate_fab
from tests.partitions.fab import TESTS, unit

MONTHS = ("2026-01", "2026-02", "2026-03")
OWN = "etl_migration_history"
"""Each database has a history of its own."""


def fill(wh: Warehouse, months: tuple[str, ...] = MONTHS) -> None:
    """Load rows: all facts and dimensions by a generated fab, and odd values."""
    wh.data.load_fab(generate_fab(seed=5, lots=2, wafers=2, layers=2))
    for number, month in enumerate(months):
        rows = [odd(month, n) for n in range(20 + number)]
        wh.load(TESTS, rows, batch_id=f"odd-{month}")
    wh.merge(
        "dim_product",
        pd.DataFrame([{"product_id": "P1", "product_name": 'Ä "quoted", ✓\n'}]),
        effective=datetime(2026, 1, 1, tzinfo=UTC),
    )


def odd(month: str, n: int) -> dict[str, Any]:
    """A row with values that are easily bent on their way."""
    texts = ["", "\\N", "a\tb", 'x"y,z', "line\nfeed", "漢字", None, " blank "]
    floats = [0.1, -0.0, 5e-324, 1.7976931348623157e308, 1 / 3, None, 123456789.123456789]
    return unit(
        month, n, part_id=texts[n % 8],
        bin_name=texts[n % 8], vth_mv=floats[n % 7], parameters={"名": n % 3, "x": floats[n % 7], "t": texts[n % 8]},
    )  # fmt: skip


def tables(wh: Warehouse) -> list[str]:
    return [name for name in wh.tables.list().table if name != OWN]


def content(wh: Warehouse) -> dict[str, list[str]]:
    """All rows of all tables as the server writes them, floats bit by bit; sorted here."""
    schema = wh.settings.schema_name
    with wh.engine.connect() as connection:
        connection.execute(text("SET LOCAL extra_float_digits = 3; SET LOCAL TimeZone = 'UTC'"))
        return {
            name: sorted(connection.execute(text(f"SELECT CAST(t AS text) FROM {schema}.{name} t")).scalars())
            for name in tables(wh)
        }
