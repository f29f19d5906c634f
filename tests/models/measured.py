"""A lot with tested units, and lists of parameters, for tests of views and aggregates."""

from __future__ import annotations

from typing import Any

from sqlalchemy import insert

from gpwarehouse import models
from gpwarehouse.models.parameter_sets import Parameter, ParameterSet
from tests.models.conftest import Rows, at


class Lot:
    """A lot with one wafer, and insertions of its units."""

    def __init__(self, db: Rows, lot_id: str = "L1") -> None:
        self.db = db
        self.product = db.member(models.DimProduct, "P1", "A")
        self.lot = db.lot(lot_id)
        self.wafer = db.wafer(lot_id, "01", lot_key=self.lot)

    def insertion(self, die: tuple[int, int] | None, is_pass: bool | None, hours: float = 0, **values: Any) -> None:
        x, y = die if die is not None else (None, None)
        given = {"wafer_key": self.wafer, "lot_key": self.lot, "product_key": self.product}
        stage = {"test_type": "CP", "test_stage": "CP1", "test_program": "PROG", "program_revision": "1"}
        self.db.fact(
            models.FactTestResults,
            **{**given, **stage, "event_ts": at(hours), "die_x": x, "die_y": y, "is_pass": is_pass, **values},
        )

    def yields(self, **where: str) -> dict[str, dict[str, Any]]:
        """Basis → row."""
        condition = " AND ".join(f"{name} = '{value}'" for name, value in where.items()) or "true"
        rows = self.db.view("v_wafer_yield", condition)
        assert len({row["basis"] for row in rows}) == len(rows)
        return {row["basis"]: row for row in rows}


def store(db: Rows, *parameters: Parameter) -> int:
    """Store a list; its key."""
    made = ParameterSet.of(parameters)
    rows = [
        {
            "parameter_set_key": made.key,
            "position": position,
            "parameter": each.name,
            **{name: getattr(each, name) for name in ("test_number", "test_name", "pin", "occurrence", "kind", "unit")},
            **{name: getattr(each, name) for name in ("lsl", "usl", "lsl_inclusive", "usl_inclusive")},
        }
        for position, each in enumerate(made.parameters, 1)
    ]
    db.connection.execute(insert(models.BridgeParameterSet), rows)
    return made.key
