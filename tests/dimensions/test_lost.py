"""Connections lost around a merge or an upsert."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg2
import pytest
from sqlalchemy import event

from gpwarehouse import Warehouse
from gpwarehouse.errors import LoadError
from tests.dimensions.rows import day, history


@contextmanager
def failing(wh: Warehouse, mark: str, times: int = 1) -> Iterator[None]:
    """The driver says that the connection is lost, the first ``times`` that a statement has ``mark`` in it."""
    left = [times]

    def fail(cursor: object, statement: str, parameters: object, context: object) -> None:
        if mark in statement and left[0]:
            left[0] -= 1
            raise psycopg2.OperationalError("server closed the connection unexpectedly")

    event.listen(wh.engine, "do_execute", fail)
    try:
        yield
    finally:
        event.remove(wh.engine, "do_execute", fail)


def test_look_ups_of_roots_are_done_again(shared_wh: Warehouse) -> None:
    shared_wh.read("SELECT 1")  # a server never met is not waited for
    with failing(shared_wh, "dim_lot"):
        assert shared_wh.merge("dim_wafer", [{"lot_id": "A", "wafer_id": "1"}], effective=day(1)).members_new == 1
    with failing(shared_wh, "dim_lot"):
        stays = [{"lot_id": "A", "wafer_id": "1", "from_ts": day(1)}]
        assert shared_wh.upsert("bridge_wafer_lot", stays).rows_inserted == 1


def test_look_ups_that_fail_are_explained(shared_wh: Warehouse) -> None:
    url = shared_wh.settings.sqlalchemy_url().render_as_string(hide_password=False)
    with Warehouse(url, retry_deadline_s=0) as hasty:
        hasty.read("SELECT 1")
        with failing(hasty, "dim_lot", 9), pytest.raises(LoadError, match="nothing was changed"):
            hasty.merge("dim_wafer", [{"lot_id": "B", "wafer_id": "1"}], effective=day(1))
        with failing(hasty, "dim_lot", 9), pytest.raises(LoadError, match="nothing was changed"):
            hasty.upsert("bridge_wafer_lot", [{"lot_id": "B", "wafer_id": "1", "from_ts": day(1)}])


def test_a_merge_stands_where_its_statistics_fail(shared_wh: Warehouse) -> None:
    with failing(shared_wh, "ANALYZE dw"):
        merged = shared_wh.merge("dim_lot", [{"lot_id": "S", "owner": "A"}], effective=day(1), analyze="always")
    assert merged.warnings == ("dim_lot: server closed the connection unexpectedly",)
    assert [row[1:] for row in history(shared_wh, "S", "owner")] == [("A",)]
