"""A batch is loaded once: what counts as the same content, and what a batch id stands for."""

from __future__ import annotations

import gzip
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from gpwarehouse import Warehouse
from gpwarehouse.errors import BatchConflictError, LoadError
from gpwarehouse.intake.checksum import Fingerprint, batch_id_for
from gpwarehouse.sources.synthetic import write_demo_lot
from tests.load.rows import MEASUREMENTS, NOON, measurement, scalar

COUNTS = [
    f"SELECT count(*) FROM dw.{t}" for t in (MEASUREMENTS, "etl_load_batch", "etl_reject", "dim_wafer", "dim_time")
]


def content(lot: str) -> list[dict[str, Any]]:
    return [
        measurement(lot_id=lot, wafer_id=str(n), parameters={"a": n, "b": None, "c": "x"}, cd_nm=n / 7)
        for n in range(9)
    ]


def counts(wh: Warehouse) -> list[int]:
    return [scalar(wh, query) for query in COUNTS]


def shuffled(row: dict[str, Any]) -> dict[str, Any]:
    row = dict(reversed(row.items()))
    return row | {"parameters": dict(reversed(row["parameters"].items()))}


@pytest.mark.parametrize(
    "again",
    [
        lambda rows: rows,
        lambda rows: (row for row in rows),
        lambda rows: [shuffled(row) for row in rows],
        lambda rows: pd.DataFrame(rows)[sorted(rows[0])],
        lambda rows: pd.DataFrame(rows, index=range(100, 109)).assign(slot=None),
        lambda rows: pa.Table.from_pylist(rows).to_reader(max_chunksize=2),
        lambda rows: pa.concat_tables([pa.Table.from_pylist(rows[:4]), pa.Table.from_pylist(rows[4:])]),
    ],
    ids=["list", "generator", "key order", "column order", "index and empty column", "chunks", "more chunks"],
)
def test_the_same_content_again_changes_nothing_and_says_so(shared_wh: Warehouse, again: Any) -> None:
    first = shared_wh.load(MEASUREMENTS, content("ONCE"))
    before = counts(shared_wh)
    second = shared_wh.load(MEASUREMENTS, again(content("ONCE")))
    assert second.already_loaded
    assert (second.batch_id, second.rows_read, second.rows_loaded) == (first.batch_id, 9, 0)
    assert (second.months_made, second.members_made) == ((), 0)
    assert counts(shared_wh) == before


@pytest.mark.parametrize(
    "other",
    [
        lambda rows: rows[:-1],
        lambda rows: rows[::-1],
        lambda rows: [*rows[:-1], rows[-1] | {"cd_nm": 1.2}],
        lambda rows: [*rows[:-1], rows[-1] | {"cd_nm": None}],
        lambda rows: [*rows[:-1], rows[-1] | {"carrier_id": ""}],
        lambda rows: [row | {"event_ts": NOON + timedelta(microseconds=1)} for row in rows],
        lambda rows: [row | {"parameters": {"a": 1}} for row in rows],
    ],
)
def test_other_content_is_another_batch(shared_wh: Warehouse, other: Any) -> None:
    shared_wh.load(MEASUREMENTS, content("OTHER"))
    assert not shared_wh.load(MEASUREMENTS, other(content("OTHER"))).already_loaded


def test_the_same_content_for_another_fact_is_another_batch() -> None:
    assert batch_id_for("a", "c") != batch_id_for("b", "c")


def test_an_id_of_the_callers_own_is_kept_and_recognised(shared_wh: Warehouse) -> None:
    assert shared_wh.load(MEASUREMENTS, content("OWN"), batch_id="my batch").batch_id == "my batch"
    again = shared_wh.load(MEASUREMENTS, content("OWN"), batch_id="my batch")
    assert (again.already_loaded, again.batch_id) == (True, "my batch")


def test_an_id_with_other_content_is_refused_and_nothing_changes(shared_wh: Warehouse) -> None:
    shared_wh.load(MEASUREMENTS, content("TAKEN"), batch_id="taken")
    before = counts(shared_wh)
    with pytest.raises(BatchConflictError, match=r"batch 'taken' was loaded into fact_process_measurements on .* UTC"):
        shared_wh.load(MEASUREMENTS, content("TAKEN2"), batch_id="taken")
    assert counts(shared_wh) == before
    assert shared_wh.load(MEASUREMENTS, content("TAKEN2"), batch_id="free").rows_loaded == 9
    with pytest.raises(BatchConflictError):  # each of the two is loaded, but not under this id
        shared_wh.load(MEASUREMENTS, content("TAKEN2"), batch_id="taken")


def test_content_that_is_there_under_another_id_is_not_loaded_again(shared_wh: Warehouse) -> None:
    derived = shared_wh.load(MEASUREMENTS, content("TWICE")).batch_id
    again = shared_wh.load(MEASUREMENTS, content("TWICE"), batch_id="another id")
    assert (again.already_loaded, again.batch_id) == (True, derived)
    shared_wh.load(MEASUREMENTS, content("TWICE2"), batch_id="given")
    assert shared_wh.load(MEASUREMENTS, content("TWICE2")).batch_id == "given"


def test_a_load_that_failed_may_be_tried_again(wh: Warehouse) -> None:
    wh.load(MEASUREMENTS, [measurement()], batch_id="before")
    url = wh.settings.sqlalchemy_url().render_as_string(hide_password=False)
    attempts = (
        "SELECT batch_id, status, rows_read, rows_loaded, error FROM dw.etl_load_batch WHERE batch_id <> 'before'"
    )
    rows = [measurement(slot=9)]
    with Warehouse(url, lock_timeout_s=1) as hasty:
        with wh.engine.connect() as other:
            other.execute(text("LOCK TABLE dw.fact_process_measurements IN ACCESS EXCLUSIVE MODE"))
            for _ in range(2):
                with pytest.raises(LoadError, match="another job held a lock"):
                    hasty.load(MEASUREMENTS, rows)
            other.rollback()
        failed = wh.read(attempts)
        assert failed[["status", "rows_read", "rows_loaded"]].values.tolist() == [["FAILED", 1, 0]]
        assert "another job held a lock" in failed.error[0]
        result = hasty.load(MEASUREMENTS, rows)
    assert (result.batch_id, result.rows_loaded) == (failed.batch_id[0], 1)
    loaded = wh.read(attempts)
    assert loaded[["status", "rows_read", "rows_loaded"]].values.tolist() == [["LOADED", 1, 1]]
    assert loaded.error.isna().all()


def test_the_batch_row_tells_what_was_loaded(shared_wh: Warehouse) -> None:
    rows = [measurement(event_ts=NOON + timedelta(days=n), slot=-1 if n == 3 else 1) for n in (2, 0, 3, 1)]
    result = shared_wh.load(MEASUREMENTS, rows, max_rejects=1, source_system="MES")
    (row,) = shared_wh.read("SELECT * FROM dw.etl_load_batch WHERE batch_id = :id", id=result.batch_id).to_dict(
        "records"
    )
    assert (row["target"], row["source_system"], row["status"]) == (MEASUREMENTS, "MES", "LOADED")
    assert (row["rows_read"], row["rows_loaded"], row["rows_rejected"]) == (4, 3, 1)
    assert (row["min_event_ts"], row["max_event_ts"]) == (NOON, NOON + timedelta(days=2))
    assert row["started_at"] <= row["finished_at"]
    assert len(row["checksum"]) == 64


def test_a_verdict_that_changes_with_the_day_does_not_make_other_content(server_url: Any, wh: Warehouse) -> None:
    """A row too far ahead today is none tomorrow; the file is the same, and its good rows are there already."""
    url = wh.settings.sqlalchemy_url().render_as_string(hide_password=False)
    rows = [measurement(), measurement(event_ts=NOON.replace(year=1991))]
    with Warehouse(url, event_min="2000-01-01") as strict:
        first = strict.load(MEASUREMENTS, rows, max_rejects=1)
    assert (first.rows_loaded, first.rows_rejected) == (1, 1)
    again = wh.load(MEASUREMENTS, rows)
    assert (again.already_loaded, again.batch_id) == (True, first.batch_id)


def test_a_file_is_the_same_packed_or_not_and_under_any_name(wh: Warehouse, tmp_path: Path) -> None:
    plain = tmp_path / "lot.stdf"
    write_demo_lot(plain, wafers=1)
    packed = tmp_path / "again.std.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    first = wh.load_file(packed)
    assert first.rows_loaded > 0
    before = scalar(wh, "SELECT count(*) FROM dw.fact_test_results")
    again = wh.load_file(plain)
    assert (again.already_loaded, again.batch_id, again.rows_loaded) == (True, first.batch_id, 0)
    assert scalar(wh, "SELECT count(*) FROM dw.fact_test_results") == before


values = st.one_of(
    st.lists(st.none() | st.text(max_size=3), min_size=1, max_size=12).map(lambda v: pa.array(v, pa.string())),
    st.lists(st.none() | st.floats(), min_size=1, max_size=12).map(lambda v: pa.array(v, pa.float64())),
    st.lists(st.none() | st.booleans(), min_size=1, max_size=12).map(lambda v: pa.array(v, pa.bool_())),
    st.lists(st.none() | st.integers(0, 9), min_size=1, max_size=12).map(lambda v: pa.array(v, pa.int32())),
)


def digest(*arrays: pa.Array) -> str:
    fingerprint = Fingerprint()
    for array in arrays:
        fingerprint.update(pa.record_batch([array], ["x"]))
    return fingerprint.hexdigest()


@settings(deadline=None)
@given(array=values, cut=st.integers(0, 12))
def test_the_checksum_does_not_hang_on_chunks(array: pa.Array, cut: int) -> None:
    assert digest(array.slice(0, cut), array.slice(cut)) == digest(array)


@settings(deadline=None)
@given(array=values, other=values)
def test_the_checksum_tells_contents_apart(array: pa.Array, other: pa.Array) -> None:
    nothing = array.null_count == len(array) and other.null_count == len(other)
    same = array.type == other.type and repr(array.to_pylist()) == repr(other.to_pylist())
    if not nothing and array.type == other.type:
        assert (digest(array) == digest(other)) == same


def test_texts_that_run_together_are_told_apart() -> None:
    assert digest(pa.array(["ab", "c"])) != digest(pa.array(["a", "bc"]))
    assert digest(pa.array(["", None])) != digest(pa.array([None, ""]))
