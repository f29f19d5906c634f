"""What is counted and logged as a load, though it is no plain one."""

from __future__ import annotations

import logging

import pytest

from gpwarehouse import Warehouse
from gpwarehouse.errors import LoadError
from tests.dimensions.rows import day
from tests.load.rows import DEFECTS, defect


def test_merges_corrected_rejects_and_replaced_months_are_logged_as_loads(
    wh: Warehouse, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "gpwarehouse.load")

    def logged() -> list[tuple[str, int]]:
        found = [(vars(r)["target"], vars(r)["rows"]) for r in caplog.records if r.name == "gpwarehouse.load"]
        caplog.clear()
        return found

    wh.merge("dim_lot", [{"lot_id": "A", "owner": "x"}, {"lot_id": "B", "owner": "y"}], effective=day(1))
    assert logged() == [("dim_lot", 2)]
    wh.load(DEFECTS, [defect(event_ts=day(2)), defect(event_ts=day(2), class_number="x")], batch_id="b", max_rejects=1)
    assert logged() == [(DEFECTS, 1)]
    wh.batches.reload("b", lambda rows: rows.assign(class_number="1"))
    assert logged() == [(DEFECTS, 1)]
    wh.facts.replace_month(DEFECTS, "2025-02", [defect(event_ts=day(2))])
    assert logged() == [(DEFECTS, 1)]
    with pytest.raises(LoadError):
        wh.merge("dim_lot", [{"lot_id": "A", "priority": -1}], effective=day(1), max_rejects=0)
    (failed,) = [record for record in caplog.records if record.name == "gpwarehouse.load"]
    assert (failed.levelname, vars(failed)["target"]) == ("ERROR", "dim_lot")
