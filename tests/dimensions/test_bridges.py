"""Rows of the bridges by their business key, and the views that read them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from gpwarehouse import Warehouse
from gpwarehouse.errors import BatchConflictError, InvalidInputError, LoadError, TooManyRejectsError
from gpwarehouse.models import END_OF_TIME
from gpwarehouse.models.keys import durable_key
from tests.dimensions.rows import day
from tests.queries import rows_of

GENEALOGY, STAYS = "bridge_lot_genealogy", "bridge_wafer_lot"


def split(parent: str, child: str, **values: Any) -> dict[str, Any]:
    return {"parent_lot_id": parent, "child_lot_id": child, "event_type": "SPLIT", "event_ts": day(2)} | values


def stay(lot: str, since: datetime, **values: Any) -> dict[str, Any]:
    return {"lot_id": lot, "wafer_id": "2", "from_ts": since} | values


def stays(wh: Warehouse, root: str) -> list[tuple[Any, ...]]:
    query = f"SELECT from_ts, to_ts, lot_key, slot FROM dw.{STAYS} WHERE wafer_key = :key ORDER BY from_ts"
    return rows_of(wh, query, key=durable_key(root, "02"))


def test_rows_go_in_change_and_go_out_and_the_genealogy_shows_it(shared_wh: Warehouse) -> None:
    made = shared_wh.dimensions.upsert_bridge(GENEALOGY, [split("GA", "GB", wafer_count=5), split("GB", "GC")])
    assert (made.rows_inserted, made.rows_updated, made.members_inferred) == (2, 0, 3)
    assert set(shared_wh.dimensions.genealogy("GC").lot_id) >= {"GA", "GB"}
    changed = shared_wh.dimensions.upsert_bridge(
        GENEALOGY, [split("GA", "GB", wafer_count=6), split("GB", "GC", wafer_count=None)]
    )
    assert (changed.rows_inserted, changed.rows_updated) == (0, 1)
    gone = shared_wh.dimensions.delete_bridge(GENEALOGY, [split("GA", "GB"), split("GA", "GX")])
    assert (gone.rows_deleted, gone.members_inferred) == (1, 0)
    assert "GA" not in set(shared_wh.dimensions.genealogy("GC").lot_id)
    again = shared_wh.dimensions.upsert_bridge(GENEALOGY, [split("GA", "GB", wafer_count=5), split("GB", "GC")])
    assert (again.already_done, again.rows_inserted, again.rows_updated) == (False, 1, 0)


def test_a_column_that_the_frame_does_not_bring_stays_as_it_is(shared_wh: Warehouse) -> None:
    shared_wh.dimensions.upsert_bridge(STAYS, [stay("KA", day(2), slot=3, to_ts=day(5))])
    shared_wh.dimensions.upsert_bridge(STAYS, [stay("KA", day(2), slot=4)])
    assert stays(shared_wh, "KA") == [(day(2), day(5), durable_key("KA"), 4)]


def test_a_wafer_is_in_one_lot_at_a_time(shared_wh: Warehouse) -> None:
    shared_wh.dimensions.upsert_bridge(
        STAYS, [stay("WA", day(2)), stay("WA.1", day(6), slot=1), stay("WA.1", day(6), slot=2)]
    )
    shared_wh.dimensions.upsert_bridge(STAYS, [stay("WA.2", day(4), to_ts=day(5))])
    assert stays(shared_wh, "WA") == [
        (day(2), day(4), durable_key("WA"), None),
        (day(4), day(5), durable_key("WA.2"), None),
        (day(6), END_OF_TIME, durable_key("WA.1"), 2),
    ]
    assert shared_wh.dimensions.delete_bridge(STAYS, [stay("WA", day(4))]).rows_deleted == 1
    assert len(stays(shared_wh, "WA")) == 2


def test_a_batch_of_the_callers_is_done_once(shared_wh: Warehouse) -> None:
    rows = [split("OA", "OB")]
    shared_wh.dimensions.upsert_bridge(GENEALOGY, rows, batch_id="genealogy once")
    shared_wh.dimensions.delete_bridge(GENEALOGY, rows)
    again = shared_wh.dimensions.upsert_bridge(GENEALOGY, rows, batch_id="genealogy once")
    assert (again.already_done, again.rows_inserted) == (True, 0)
    with pytest.raises(BatchConflictError, match="genealogy once"):
        shared_wh.dimensions.upsert_bridge(GENEALOGY, [split("OA", "OC")], batch_id="genealogy once")


def test_what_does_not_fit_is_said_and_nothing_is_changed(shared_wh: Warehouse) -> None:
    with pytest.raises(InvalidInputError, match="no bridge 'dim_lot'"):
        shared_wh.dimensions.upsert_bridge("dim_lot", [])
    with pytest.raises(InvalidInputError, match="does not have column 'event_type'"):
        shared_wh.dimensions.delete_bridge(GENEALOGY, [{"parent_lot_id": "A", "child_lot_id": "B", "event_ts": day(1)}])
    lost = [split("FA", "FB"), *(split("FA", f"F{n}", event_type="LOST") for n in range(3))]
    with pytest.raises(TooManyRejectsError, match="column event_type"):
        shared_wh.dimensions.upsert_bridge(GENEALOGY, lost, batch_id="unfit")
    assert list(shared_wh.batches.rejects("unfit").row_number) == [2, 3, 4]
    with pytest.raises(LoadError, match="own_parent"):
        shared_wh.dimensions.upsert_bridge(GENEALOGY, [split("FA", "FB"), split("FA", "FA"), split("FC", "FC")])
    assert shared_wh.dimensions.delete_bridge(GENEALOGY, [split("FA", "FB")]).rows_deleted == 0


def test_a_column_that_one_row_does_not_name_stays_as_it_is(shared_wh: Warehouse) -> None:
    shared_wh.dimensions.upsert_bridge(STAYS, [stay("VA", day(n), slot=3, to_ts=day(n, 9)) for n in (2, 3)])
    changes = [
        stay("VA", day(2), slot=4),
        stay("VA", day(3), to_ts=day(3, 5)),
        stay("VA", day(3), slot=None),  # of the same stay, another column
        stay("VA", day(4), slot=1),  # new, without an end
    ]
    done = shared_wh.dimensions.upsert_bridge(STAYS, changes)
    assert (done.rows_inserted, done.rows_updated) == (1, 2)
    lot = durable_key("VA")
    assert stays(shared_wh, "VA") == [
        (day(2), day(2, 9), lot, 4), (day(3), day(3, 5), lot, None), (day(4), END_OF_TIME, lot, 1),
    ]  # fmt: skip
