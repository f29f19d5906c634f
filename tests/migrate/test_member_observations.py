"""Revision 0002: histories that were written before it knew what a version was told."""

from __future__ import annotations

from typing import Any

from sqlalchemy import URL

from gpwarehouse import Warehouse
from gpwarehouse.dimensions import DELETED_HASH
from gpwarehouse.models import BEGINNING, END_OF_TIME
from gpwarehouse.models.keys import durable_key
from tests.dimensions.rows import check_intervals, day
from tests.load.rows import MEASUREMENTS, measurement
from tests.queries import rows_of


def old_version(wh: Warehouse, table: str, natural: dict[str, str], since: Any, until: Any, **values: Any) -> None:
    """A row as revision 0001 knew it."""
    key = "lot_key" if table == "dim_lot" else "wafer_key"
    row = {key: durable_key(*natural.values()), **natural, **values, "effective_date": since, "expiry_date": until}
    row["is_current"] = until == END_OF_TIME
    names = ", ".join(row)
    with wh.engine.begin() as connection:
        connection.exec_driver_sql(
            f"INSERT INTO dw.{table} ({names}) VALUES ({', '.join(['%s'] * len(row))})", tuple(row.values())
        )


def at(month: int) -> str:
    return f"{'0' * 32}@{day(month):%Y-%m-%dT%H:%M:%S.%f}Z"


def test_stored_histories_count_as_told_and_take_older_words(empty_url: URL) -> None:
    with Warehouse(empty_url) as wh:
        wh.upgrade("0001")
        plain = {"is_inferred": False, "row_hash": "0" * 32}
        lot = {"lot_id": "OLD"}
        old_version(wh, "dim_lot", lot, BEGINNING, day(5), owner="A", priority=1, is_inferred=False, row_hash=at(2))
        old_version(wh, "dim_lot", lot, day(5), day(8), owner="B", priority=1, **plain)
        old_version(wh, "dim_lot", lot, day(8), END_OF_TIME, owner="B", is_inferred=False, row_hash=DELETED_HASH)
        guessed = {"root_lot_id": "GUESS", "product_key": 7, "is_inferred": True}
        old_version(wh, "dim_lot", {"lot_id": "GUESS"}, BEGINNING, END_OF_TIME, row_hash=at(3), **guessed)
        wafer = {"root_lot_id": "OLD", "wafer_id": "02"}
        old_version(
            wh, "dim_wafer", wafer, BEGINNING, END_OF_TIME, lot_key=durable_key("OLD"), is_inferred=True, row_hash=at(4)
        )
        wh.upgrade()
        columns = "known_from, told, shown, length(row_hash)"
        assert (
            rows_of(wh, f"SELECT {columns} FROM dw.dim_lot WHERE lot_id = 'OLD' ORDER BY effective_date")
            == [(day(2), None, None, 32)] * 3
        )
        shown = {"product_key": [7, "2025-03-01T00:00:00.000000Z"]}
        assert rows_of(wh, f"SELECT {columns} FROM dw.dim_lot WHERE lot_id = 'GUESS'") == [(None, [], shown, 32)]
        assert rows_of(wh, "SELECT dimension, told_at, kind, told FROM dw.etl_member_observation ORDER BY 1") == [
            ("dim_lot", day(8), "DELETED", []),
            ("dim_wafer", day(4), "LOADED", ["lot_key"]),
        ]
        wh.merge("dim_lot", [{"lot_id": "OLD", "priority": 9}], effective=day(3))  # the later versions were told theirs
        wh.merge("dim_lot", [{"lot_id": "OLD", "owner": "C"}], effective=day(1))  # older than all
        found = (
            "SELECT effective_date, owner, priority, row_hash = :mark FROM dw.dim_lot WHERE lot_id = 'OLD' ORDER BY 1"
        )
        assert rows_of(wh, found, mark=DELETED_HASH) == [
            (BEGINNING, "C", None, False),
            (day(2), "A", 1, False),
            (day(3), "A", 9, False),
            (day(5), "B", 1, False),
            (day(8), "B", None, True),
        ]
        wh.load(MEASUREMENTS, [measurement(lot_id="GUESS", event_ts=day(1), product_id="P")])
        assert rows_of(wh, "SELECT product_key FROM dw.dim_lot WHERE lot_id = 'GUESS'") == [(durable_key("P", ""),)]
        check_intervals(wh, "dim_lot")


def test_the_way_down_keeps_since_when_a_member_is_known(empty_url: URL) -> None:
    with Warehouse(empty_url) as wh:
        wh.upgrade()
        wh.merge("dim_lot", [{"lot_id": "L", "owner": "A"}], effective=day(3))
        wh.downgrade("0001", drop_data=True)
        (row_hash,) = rows_of(wh, "SELECT substr(row_hash, 33) FROM dw.dim_lot WHERE lot_id = 'L'")
        assert row_hash == ("@2025-03-01T00:00:00.000000Z",)
        wh.upgrade()
        assert rows_of(wh, "SELECT known_from FROM dw.dim_lot WHERE lot_id = 'L'") == [(day(3),)]
