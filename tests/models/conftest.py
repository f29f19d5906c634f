"""A database with the models' tables and views, and small builders of rows."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import URL, create_engine, insert
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.schema import CreateSchema

from gpwarehouse import models
from gpwarehouse.derived import refresh_aggregates, refresh_step_limits
from gpwarehouse.dialect import CreateView
from gpwarehouse.models.keys import durable_key
from tests.conftest import database

NOON = datetime(2000, 1, 10, 12, tzinfo=UTC)
"""In the anchor month, which every fact has from the start."""


def at(hours: float) -> datetime:
    """Hours after noon of the first day."""
    return NOON + timedelta(hours=hours)


@pytest.fixture(scope="module")
def engine(server_url: URL) -> Iterator[Engine]:
    """All tables, reserved members and views, made by the models themselves."""
    with database(server_url) as url:
        engine = create_engine(url)
        with engine.begin() as connection:
            connection.execute(CreateSchema(models.SCHEMA))
            models.Base.metadata.create_all(connection)
            for name, rows in models.reserved_members().items():
                connection.execute(insert(models.DIMENSIONS[name]), rows)
            for view in models.VIEWS:
                connection.execute(CreateView(view.name, view.body, models.SCHEMA))
        yield engine
        engine.dispose()


@pytest.fixture
def db(engine: Engine) -> Iterator[Rows]:
    """A connection whose work is undone at the end, with builders of rows."""
    with engine.connect() as connection:
        yield Rows(connection)
        connection.rollback()


class Rows:
    """Writes rows with what a test does not care about filled in."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._numbers = itertools.count(1)

    def member(self, cls: type[Any], *natural_key: str, **attributes: Any) -> int:
        """A version of a dimension's member, the whole time unless said; its durable key."""
        key = durable_key(*natural_key)
        row = {
            cls.durable_key: key,
            **dict(zip(cls.natural_key, natural_key, strict=True)),
            "effective_date": models.BEGINNING,
            "expiry_date": models.END_OF_TIME,
            "is_current": True,
            "is_inferred": False,
            "row_hash": "",
        }
        self.connection.execute(insert(cls), [{**row, **attributes}])
        if cls is models.DimProcessStep:
            refresh_step_limits(self.connection, [key])
        return key

    def lot(self, lot_id: str, **attributes: Any) -> int:
        return self.member(models.DimLot, lot_id, **attributes)

    def wafer(self, root_lot_id: str, wafer_id: str, **attributes: Any) -> int:
        return self.member(models.DimWafer, root_lot_id, wafer_id, **attributes)

    def tool(self, equipment_id: str, chamber_id: str = "", **attributes: Any) -> int:
        own = models.DimEquipment.inferred_attributes(
            {"facility": "FAB", "equipment_id": equipment_id, "chamber_id": chamber_id}
        )
        return self.member(models.DimEquipment, "FAB", equipment_id, chamber_id, **{**own, **attributes})

    def step(self, step_number: str, flow: str = "FLOW", **attributes: Any) -> int:
        return self.member(models.DimProcessStep, flow, "", step_number, **attributes)

    def fact(self, cls: type[Any], event_ts: datetime = NOON, **values: Any) -> None:
        """A row of a fact; keys not given are -1."""
        keys = {c.name: -1 for c in cls.__table__.columns if "role" in c.info}
        row = {
            **keys,
            "event_ts": event_ts,
            "time_key": int(f"{event_ts:%Y%m%d%H}"),
            "batch_id": "b",
            "source_record_no": next(self._numbers),
            **values,
        }
        self.connection.execute(insert(cls), [row])

    def view(self, name: str, where: str = "true", order: str = "1") -> list[dict[str, Any]]:
        """Rows of a view as dicts, after the aggregates were made from the facts."""
        if name == "v_process_capability":
            for fact in models.AGGREGATES:
                refresh_aggregates(self.connection, fact, months=[NOON])
        found = self.connection.exec_driver_sql(f"SELECT * FROM dw.{name} WHERE {where} ORDER BY {order}")
        return [dict(row) for row in found.mappings()]
