"""Rows that only the server refuses: found out one by one, kept as rejects, and the others loaded without them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from gpwarehouse import Warehouse
from gpwarehouse.batches import refused_rows
from gpwarehouse.dialect import Brand, ServerInfo
from gpwarehouse.errors import LoadError, TooManyRejectsError
from tests.load.rows import DEFECTS, MEASUREMENTS, defect, measurement, scalar, stored


def rows_with(bad: tuple[int, ...], count: int = 40) -> list[dict[str, Any]]:
    """Rows of which some break a check over two columns, which the validator does not know."""
    rows = [measurement(lot_id="L1.2", wafer_id="L1.2-7", slot=n, product_id="P") for n in range(count)]
    for n in bad:
        rows[n] |= {"cp": 1.0, "cpk": 1.5, "parameters": {"a": n}}
    return rows


@contextmanager
def check(wh: Warehouse, table: str, condition: str) -> Iterator[None]:
    """A constraint that only the server has."""
    with wh.engine.begin() as connection:
        connection.exec_driver_sql(f"ALTER TABLE dw.{table} ADD CONSTRAINT of_the_fab CHECK ({condition})")
    try:
        yield
    finally:
        with wh.engine.begin() as connection:
            connection.exec_driver_sql(f"ALTER TABLE dw.{table} DROP CONSTRAINT of_the_fab")


@pytest.mark.parametrize("parallel", [1, 3])
@pytest.mark.parametrize("bad", [(0,), (39,), (7, 8, 9), (0, 20, 39)])
def test_rows_that_the_server_refuses_are_rejects_and_the_others_are_loaded(
    shared_wh: Warehouse, bad: tuple[int, ...], parallel: int
) -> None:
    rows = rows_with(bad)
    rows[12]["slot"] = -1  # one that the validator rejects stands between them
    batch = f"{bad} {parallel}"
    options: Any = {"on_conflict": "append", "parallel": parallel}
    result = shared_wh.load(MEASUREMENTS, rows, batch_id=batch, max_rejects=4, **options)
    assert (result.rows_read, result.rows_loaded, result.rows_rejected) == (40, 39 - len(bad), 1 + len(bad))
    expected = [(n,) for n in range(40) if n not in (*bad, 12)]
    assert stored(shared_wh, MEASUREMENTS, batch, "slot") == expected
    rejects = shared_wh.batches.rejects(batch)
    assert rejects.row_number.tolist() == sorted([n + 1 for n in bad] + [13])
    of_server = rejects[rejects.row_number != 13]
    assert of_server.reason.str.startswith("refused by the server: new row for relation").all()
    raws = [json.loads(raw) for raw in of_server.raw]
    assert [(raw["lot_id"], raw["wafer_id"], raw["product_id"]) for raw in raws] == [("L1.2", "07", "P")] * len(bad)
    assert [sorted(raw) for raw in raws] == [sorted(rows[n]) for n in bad]  # what the row named, and no more
    assert [json.loads(raw["parameters"]) for raw in raws] == [{"a": n} for n in bad]


def test_one_more_than_allowed_loads_nothing_and_keeps_them_all(wh: Warehouse) -> None:
    with pytest.raises(
        TooManyRejectsError, match="3 of 40 rows were rejected, but only 2 are allowed; nothing was loaded"
    ):
        wh.load(MEASUREMENTS, rows_with((5, 6, 7)), max_rejects=2, batch_id="many")
    assert wh.batches.rejects("many").row_number.tolist() == [6, 7, 8]
    assert scalar(wh, f"SELECT count(*) FROM dw.{MEASUREMENTS}") == 0
    assert scalar(wh, "SELECT status FROM dw.etl_load_batch") == "FAILED"


def test_the_tries_have_an_end(wh: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refused_rows, "MOST_REFUSED", 3)
    with pytest.raises(LoadError, match=r"the server refused the batch: .*ck_fact_process_measurements_cpk_cp"):
        wh.load(MEASUREMENTS, rows_with((1, 2, 3, 4)), max_rejects=10, batch_id="end")
    assert wh.batches.rejects("end").row_number.tolist() == [2, 3, 4]
    assert scalar(wh, f"SELECT count(*) FROM dw.{MEASUREMENTS}") == 0


def test_a_constraint_that_only_the_server_has_rejects_its_row(wh: Warehouse) -> None:
    wh.load(DEFECTS, [defect()])
    with check(wh, DEFECTS, "class_name <> 'none of ours'"):
        rows = [defect(defect_id=n, class_name="none of ours" if n == 3 else "ours") for n in range(9)]
        result = wh.load(DEFECTS, rows, max_rejects=1)
    assert (result.rows_loaded, result.rows_rejected) == (8, 1)
    assert "of_the_fab" in wh.batches.rejects(result.batch_id).reason[0]


def test_what_a_trigger_refuses_is_a_reject(wh: Warehouse, server_info: ServerInfo) -> None:
    if server_info.brand is not Brand.POSTGRESQL:
        pytest.skip("append-optimized tables have no triggers")
    with wh.engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE FUNCTION dw.judge() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN IF new.slot = 3 THEN RAISE EXCEPTION 'no slot 3 here'; END IF; RETURN new; END $$"
        )
        connection.exec_driver_sql(
            f"CREATE TRIGGER judge BEFORE INSERT ON dw.{MEASUREMENTS} FOR EACH ROW EXECUTE FUNCTION dw.judge()"
        )
    result = wh.load(MEASUREMENTS, rows_with((), 5), max_rejects=1)
    assert result.rows_loaded == 4
    assert wh.batches.rejects(result.batch_id).reason.tolist() == ["refused by the server: no slot 3 here"]


def test_a_batch_of_refused_rows_only_is_not_loaded(wh: Warehouse) -> None:
    with pytest.raises(TooManyRejectsError, match="the only row was rejected; nothing was loaded"):
        wh.load(MEASUREMENTS, rows_with((0,), 1), max_rejects=1, batch_id="none")
    assert wh.batches.rejects("none").row_number.tolist() == [1]
    assert scalar(wh, f"SELECT count(*) FROM dw.{MEASUREMENTS}") == 0


TOO_LONG = '{"a": 1.' + "1" * 20_000 + "}"
"""JSON that jsonb does not take: more digits than its numbers have."""


@pytest.mark.parametrize("transport", ["copy", "gpfdist"])
def test_a_value_that_its_type_does_not_take_is_a_reject_by_every_path(wh: Warehouse, transport: Any) -> None:
    rows = [measurement(slot=n, carrier_id="a\tb\\", parameters=TOO_LONG if n in (2, 5) else {}) for n in range(9)]
    rows[7] |= {"cp": 1.0, "cpk": 1.5}  # which segments can read, and do not store
    url = wh.settings.sqlalchemy_url().render_as_string(hide_password=False)
    with Warehouse(url, transport=transport) as other:
        for limit in (0, 2):
            with pytest.raises(
                TooManyRejectsError, match=f"{limit + 1} of 9 rows were rejected, but only {limit} are allowed"
            ):
                other.load(MEASUREMENTS, rows, batch_id="digits", max_rejects=limit)
        assert scalar(wh, f"SELECT count(*) FROM dw.{MEASUREMENTS}") == 0
        result = other.load(MEASUREMENTS, rows, batch_id="digits", max_rejects=3)
        assert (result.rows_loaded, result.rows_rejected) == (6, 3)
        rejects = other.batches.rejects("digits")
        assert rejects.row_number.tolist() == [3, 6, 8]
        assert rejects.column_name.tolist() == ["parameters", "parameters", ""]
        assert "value overflows numeric format" in rejects.reason[0]
        assert json.loads(rejects.raw[0])["carrier_id"] == "a\tb\\"


@pytest.mark.segments
def test_rows_that_segments_cannot_read_are_left_out_and_told(wh: Warehouse) -> None:
    """Without another COPY: they are read from the segments' log."""
    rows = [measurement(slot=n, parameters=TOO_LONG if n % 10 == 3 else {}) for n in range(40)]
    url = wh.settings.sqlalchemy_url().render_as_string(hide_password=False)
    with Warehouse(url, transport="gpfdist") as other:
        result = other.load(MEASUREMENTS, rows, max_rejects=10)
    assert (result.transport, result.rows_loaded, result.rows_rejected) == ("gpfdist", 36, 4)
    rejects = wh.batches.rejects(result.batch_id)
    assert rejects.row_number.tolist() == [4, 14, 24, 34]
    assert set(rejects.column_name) == {"parameters"}
    assert set(rejects.reason) == {"refused by the server: value overflows numeric format"}
    assert [slot for (slot,) in stored(wh, MEASUREMENTS, result.batch_id, "slot")] == [
        n for n in range(40) if n % 10 != 3
    ]
