"""Aggregates of measured values follow every way in which rows change."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from gpwarehouse import Warehouse
from gpwarehouse.derived import differing_aggregates
from tests.rows import die_of_l1

FACT = "fact_test_results"


def dies(count: int, value: float = 1.0, **values: Any) -> list[dict[str, Any]]:
    """Die of one wafer with two values each."""
    return [die_of_l1(die_x=n, parameters={"VTH": value + n, "IDD": 2.0}, **values) for n in range(count)]


def is_right(wh: Warehouse) -> bool:
    """Whether the aggregates are what the rows come to."""
    with wh.session() as session:
        found, sample = differing_aggregates(session.connection(), FACT)
        assert found == 0, sample
    return True


def counted(wh: Warehouse) -> list[tuple[str, int, float]]:
    """Batch, values and mean of VTH over all insertions."""
    with wh.session() as session:
        query = """SELECT a.batch_id, sum(a.n), sum(a.n * a.mean) / sum(a.n) FROM dw.agg_test_values a
            JOIN dw.bridge_parameter_set p ON (p.parameter_set_key, p.position) = (a.parameter_set_key, a.position)
            WHERE p.parameter = 'VTH' AND a.site_no IS NULL GROUP BY 1 ORDER BY 1"""
        return [(row[0], row[1], row[2]) for row in session.execute(text(query))]


@pytest.fixture
def loaded(wh: Warehouse) -> Warehouse:
    wh.load(FACT, dies(4), batch_id="a")
    return wh


def test_a_load_writes_them(loaded: Warehouse) -> None:
    assert counted(loaded) == [("a", 4, 2.5)]
    assert is_right(loaded)


def test_a_streamed_load_writes_them(wh: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpwarehouse.load.streaming.STREAM_ROWS", 1)
    wh.load(FACT, dies(1), batch_id="first")  # makes the month
    wh.load(FACT, dies(3, 5.0, insertion_no=2), batch_id="second")
    assert counted(wh) == [("first", 1, 1.0), ("second", 3, 6.0)]
    assert is_right(wh)


def test_a_replaced_batch_has_those_of_its_new_rows(loaded: Warehouse) -> None:
    later = datetime(2026, 2, 5, tzinfo=UTC)
    loaded.batches.replace("a", dies(2, 7.0, event_ts=later))
    assert counted(loaded) == [("a", 2, 7.5)]
    assert is_right(loaded)


def test_an_upsert_takes_records_from_their_batch(loaded: Warehouse) -> None:
    loaded.facts.upsert(FACT, dies(1, 9.0), batch_id="b")
    assert counted(loaded) == [("a", 3, 3.0), ("b", 1, 9.0)]
    assert is_right(loaded)


def test_a_deletion_by_key_takes_values_away(loaded: Warehouse) -> None:
    rows = [{name: value for name, value in row.items() if name != "parameters"} for row in dies(3)]
    loaded.facts.delete(FACT, rows)
    assert counted(loaded) == [("a", 1, 4.0)]
    assert is_right(loaded)


def test_a_replaced_month_has_those_of_the_new_rows(loaded: Warehouse) -> None:
    loaded.facts.replace_month(FACT, "2026-01", dies(2, 3.0), batch_id="m")
    assert counted(loaded) == [("m", 2, 3.5)]
    assert is_right(loaded)


def test_corrected_rejects_are_counted(wh: Warehouse) -> None:
    bad = dies(3)
    bad[1]["test_time_ms"] = -1
    wh.load(FACT, bad, batch_id="a", max_rejects=1)
    wh.batches.reload("a", lambda rows: rows.assign(test_time_ms=1))
    assert counted(wh) == [("a", 3, 2.0)]
    assert is_right(wh)


@pytest.mark.parametrize("how", ["batch", "month"])
def test_deleted_rows_have_none(loaded: Warehouse, how: str) -> None:
    if how == "batch":
        loaded.batches.delete("a")
    else:
        loaded.facts.delete_month(FACT, "2026-01")
    assert counted(loaded) == []
    assert is_right(loaded)


def test_those_of_a_wafer_move_with_it(loaded: Warehouse) -> None:
    loaded.merge("dim_lot", [{"lot_id": "L1", "root_lot_id": "L0"}], effective=datetime(2020, 1, 1, tzinfo=UTC))
    assert loaded.dimensions.rekey_wafers().wafers == 1
    assert counted(loaded) == [("a", 4, 2.5)]
    assert is_right(loaded)


def test_a_month_that_comes_back_has_those_of_its_rows(wh: Warehouse, tmp_path: Path) -> None:
    with Warehouse(settings=wh.settings.model_copy(update={"archive_dir": tmp_path})) as other:
        other.load(FACT, dies(4), batch_id="a")
        other.backup(str(tmp_path / "backup")).create()
        other.facts.delete_month(FACT, "2026-01")
        assert counted(other) == []
        other.backup(str(tmp_path / "backup")).restore(tables=[FACT], months=["2026-01"], update=True)
        assert counted(other) == [("a", 4, 2.5)]
        assert is_right(other)
