"""Rows of one upsert that name different columns: what a row does not name stays what it is, whatever others name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.dataset as pa_dataset
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpwarehouse import Warehouse
from gpwarehouse.errors import BatchConflictError
from gpwarehouse.intake import frames
from tests.load.rows import DEFECTS, MEASUREMENTS, defect, measurement
from tests.queries import rows_of

VALUES: dict[str, st.SearchStrategy[Any]] = {
    "temperature_c": st.none() | st.integers(1, 9).map(float),
    "slot": st.none() | st.integers(1, 25),
    "operator_id": st.none() | st.sampled_from("AB"),
    "parameters": st.none() | st.sampled_from([{"a": 1}, {"b": [2]}]),
    "recipe_id": st.none() | st.sampled_from(["R1", "R2"]),
}


def site(lot: str, number: int, **values: Any) -> dict[str, Any]:
    return measurement(lot_id=lot, site_no=number) | values


def found(wh: Warehouse, lot: str, *columns: str) -> list[tuple[Any, ...]]:
    query = (
        f"SELECT f.site_no, {', '.join(columns)} FROM dw.{MEASUREMENTS} f JOIN dw.dim_lot l ON l.lot_key = f.lot_key "
        "AND l.is_current JOIN dw.dim_recipe r ON r.recipe_key = f.recipe_key AND r.is_current WHERE l.lot_id = :lot ORDER BY 1"
    )
    return rows_of(wh, query, lot=lot)


def kinds(rows: list[dict[str, Any]], folder: Path) -> dict[str, Any]:
    """Rows of which the even ones tell other columns than the odd ones, in all that takes them so."""
    for n, part in enumerate((rows[::2], rows[1::2])):
        pd.DataFrame(part).to_parquet(folder / f"{n}.parquet")
        pd.DataFrame(part).to_csv(folder / f"{n}.csv", index=False)
    tables = [pa.Table.from_pylist(part) for part in (rows[::2], rows[1::2])]
    schema = pa.unify_schemas([table.schema for table in tables])
    return {
        "dicts": iter(rows),
        "parquet": f"{folder}/*.parquet",
        "csv": f"{folder}/*.csv",
        "dataset": pa_dataset.dataset([str(folder / f"{n}.parquet") for n in (0, 1)], schema=schema),
    }


@pytest.mark.parametrize("kind", ["dicts", "parquet", "csv", "dataset"])
def test_a_column_that_a_row_does_not_name_stays_and_one_that_it_names_as_null_goes(
    shared_wh: Warehouse, tmp_path: Path, kind: str
) -> None:
    lot = f"kinds-{kind}"
    shared_wh.load(MEASUREMENTS, [site(lot, n, cd_nm=1.0, slot=2, operator_id="A") for n in range(4)])
    rows = [site(lot, 0, cd_nm=30.0), site(lot, 1, slot=3), site(lot, 2, cd_nm=None), site(lot, 9, slot=None)]
    done = shared_wh.facts.upsert(MEASUREMENTS, kinds(rows, tmp_path)[kind])
    assert (done.rows_loaded, done.rows_replaced) == (4, 3)
    assert found(shared_wh, lot, "cd_nm", "slot", "f.operator_id") == [
        (0, 30.0, 2, "A"), (1, 1.0, 3, "A"), (2, None, 2, "A"), (3, 1.0, 2, "A"), (9, None, None, None),
    ]  # fmt: skip


@pytest.mark.parametrize("rows_at_a_time", [1, 2, 1000])
def test_chunks_of_dicts_are_told_apart_row_by_row(
    shared_wh: Warehouse, monkeypatch: pytest.MonkeyPatch, rows_at_a_time: int
) -> None:
    monkeypatch.setattr(frames, "BATCH_ROWS", rows_at_a_time)
    lot = f"chunks-{rows_at_a_time}"
    shared_wh.load(MEASUREMENTS, [site(lot, n, cd_nm=1.0, slot=2) for n in range(3)])
    shared_wh.facts.upsert(MEASUREMENTS, [site(lot, 0, cd_nm=5.0), site(lot, 1, slot=6), site(lot, 2)])
    assert found(shared_wh, lot, "cd_nm", "slot") == [(0, 5.0, 2), (1, 1.0, 6), (2, 1.0, 2)]


@given(
    rows=st.lists(
        st.tuples(st.integers(0, 2), st.fixed_dictionaries({}, optional=VALUES)),
        min_size=1,
        max_size=6,
    ),
    there=st.lists(st.fixed_dictionaries({}, optional=VALUES), max_size=2),
    number=st.uuids(),
)
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rows_in_one_call_are_what_they_are_one_by_one(
    shared_wh: Warehouse, rows: list[tuple[int, dict[str, Any]]], there: list[dict[str, Any]], number: Any
) -> None:
    expected: dict[int, dict[str, Any]] = {}
    before = [site(f"{number}", place, **values) for place, values in enumerate(there)]
    new = [site(f"{number}", place, **values) for place, values in rows]
    for row in [*before, *new]:
        known = expected.setdefault(row["site_no"], dict.fromkeys(VALUES))
        known |= {name: row[name] for name in VALUES if name in row}
    if before:
        shared_wh.load(MEASUREMENTS, before)
    shared_wh.facts.upsert(MEASUREMENTS, new)
    own = {
        "recipe_id": "NULLIF(r.recipe_id, '(unknown)')",
        "parameters": """CASE WHEN f.measured[1] = 1 THEN CAST('{"a": 1}' AS jsonb) ELSE f.parameters END""",
    }
    names = [own.get(name, f"f.{name}") for name in VALUES]
    assert found(shared_wh, f"{number}", *names) == [
        (place, *values.values()) for place, values in sorted(expected.items())
    ]


def test_a_chamber_stays_with_its_tool_and_goes_with_another(shared_wh: Warehouse) -> None:
    rows = [defect(lot_id="CH", defect_id=n, equipment_id="T1", chamber_id="B") for n in range(3)]
    shared_wh.load(DEFECTS, rows)
    key = [{k: v for k, v in row.items() if k not in ("equipment_id", "chamber_id")} for row in rows]
    changes = [key[0] | {"equipment_id": "T1"}, key[1] | {"equipment_id": "T2"}, key[2] | {"size_um": 1.0}]
    shared_wh.facts.upsert(DEFECTS, changes)
    query = (
        f"SELECT defect_id, e.equipment_id, c.chamber_id FROM dw.{DEFECTS} f "
        "JOIN dw.dim_lot l ON l.lot_key = f.lot_key AND l.is_current AND l.lot_id = 'CH' "
        "JOIN dw.dim_equipment e ON e.equipment_key = f.equipment_key AND e.is_current "
        "LEFT JOIN dw.dim_equipment c ON c.equipment_key = f.chamber_key AND c.is_current AND f.chamber_key <> -2 "
        "ORDER BY 1"
    )
    assert rows_of(shared_wh, query) == [(0, "T1", "B"), (1, "T2", None), (2, "T1", "B")]


def test_the_same_values_given_otherwise_are_other_content_of_an_id(shared_wh: Warehouse) -> None:
    rows = [site("SAME", 0, cd_nm=1.0), site("SAME", 1, cd_nm=None, slot=None)]
    assert not shared_wh.facts.upsert(MEASUREMENTS, rows, batch_id="same").already_loaded
    assert shared_wh.facts.upsert(MEASUREMENTS, rows, batch_id="same").already_loaded
    with pytest.raises(BatchConflictError, match="with other content"):
        shared_wh.facts.upsert(MEASUREMENTS, [rows[0] | {"slot": None}, rows[1]], batch_id="same")


def test_rejects_hold_what_their_row_named_and_no_more(shared_wh: Warehouse) -> None:
    rows = [site("RAW", 0, slot=-1), site("RAW", 1, cd_nm=None), site("RAW", 2, operator_id=None, cp=1.0, cpk=2.0)]
    done = shared_wh.facts.upsert(MEASUREMENTS, rows, max_rejects=2)
    assert (done.rows_loaded, done.rows_rejected) == (1, 2)
    raw = [row for (row,) in rows_of(shared_wh, "SELECT raw FROM dw.etl_reject WHERE batch_id = :b ORDER BY row_number",
                                     b=done.batch_id)]  # fmt: skip
    assert [sorted(row) for row in raw] == [sorted(rows[0]), sorted(rows[2])]
    assert raw[1]["operator_id"] is None
