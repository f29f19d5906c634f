"""Views are selected from by their columns, whose types are the database's."""

from __future__ import annotations

import pytest
from sqlalchemy import BigInteger, DateTime, Double, select, text

from gpwarehouse import Warehouse
from gpwarehouse.errors import ReadError
from gpwarehouse.models import VIEWS, DimLot, FactTestResults
from tests.rows import die_of_l1


def test_every_view_has_the_columns_that_the_models_describe(shared_wh: Warehouse) -> None:
    for view in VIEWS:
        assert [column.name for column in shared_wh.view(view.name).columns] == list(view.columns)
    types = shared_wh.view("v_wafer_yield").c
    assert isinstance(types.wafer_key.type, BigInteger)
    assert isinstance(types.first_ts.type, DateTime)
    assert isinstance(types.die_yield_pct.type, Double)
    with pytest.raises(ReadError, match="v_wafer_yield"):
        shared_wh.view("dim_lot")


def test_a_view_and_the_models_are_read_with_the_servers_types(wh: Warehouse) -> None:
    wh.load("fact_test_results", [die_of_l1(die_x=x, is_pass=x > 0) for x in range(4)])
    view = wh.view("v_wafer_yield")
    found = wh.read(select(view.c.lot_id, view.c.tested, view.c.die_yield_pct).where(view.c.basis == "LAST"))
    assert found.to_dict("records") == [{"lot_id": "L1", "tested": 4, "die_yield_pct": 75.0}]
    assert list(map(str, found.dtypes[1:])) == ["Int64", "float64"]
    frame = wh.read(select(FactTestResults).order_by(FactTestResults.die_x))
    assert list(frame.die_x) == [0, 1, 2, 3]
    assert list(map(str, frame[["event_ts", "is_pass", "hard_bin"]].dtypes)) == [
        "datetime64[us, UTC]",
        "boolean",
        "Int32",
    ]


def test_a_schema_of_another_name_has_its_views(wh: Warehouse) -> None:
    with wh.engine.begin() as connection:
        connection.execute(text("ALTER SCHEMA dw RENAME TO fab_two"))
    with Warehouse(settings=wh.settings.model_copy(update={"schema_name": "fab_two"})) as other:
        view = other.view("v_lot_status")
        query = select(view.c.lot_id, DimLot.lot_key).join(DimLot, DimLot.lot_key == view.c.lot_key)
        assert len(other.read(query)) == len(other.read(select(view)))
    with wh.engine.begin() as connection:
        connection.execute(text("ALTER SCHEMA fab_two RENAME TO dw"))
