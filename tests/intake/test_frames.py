"""The same rows from every kind of frame give the same stored values."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from gpwarehouse import Warehouse
from gpwarehouse.errors import InvalidInputError
from gpwarehouse.intake.frames import BATCH_ROWS, record_batches
from gpwarehouse.intake.given_columns import named_apart
from tests.load.rows import DEFECTS, defect, stored

COLUMNS = (
    *("event_ts", "wafer_key", "inspection_equipment_key", "time_key", "is_defect", "inspection_id"),
    *("defect_id", "die_x", "x_rel_um", "class_name", "is_killer", "attributes", "image_refs", "operator_id", "slot"),
    "source_record_no",
)
NONE = dict.fromkeys(("defect_id", "die_x", "x_rel_um", "class_name", "is_killer", "attributes", "image_refs"))


def rows() -> list[dict[str, Any]]:
    """Values and missing values of every type; the record number makes each test's content its own."""
    values: list[dict[str, Any]] = [
        {"defect_id": 2**63 - 1, "die_x": -(2**31), "x_rel_um": 0.1, "class_name": "", "is_killer": True},
        {"defect_id": None, "die_x": 2**31 - 1, "x_rel_um": None, "class_name": None, "is_killer": None},
        {"defect_id": -(2**63), "die_x": 0, "x_rel_um": -0.0, "class_name": 'a"b,c\n\\.\r\\N', "is_killer": False},
        {"defect_id": 1, "die_x": None, "x_rel_um": 5e-324, "class_name": " Ärger 😀 ", "is_killer": True},
    ]
    documents = [
        {"attributes": {"b": 1.5, "a": "x\ty"}, "image_refs": ["1.tif", "2.tif"]},
        {"attributes": None, "image_refs": None},
        {"attributes": {"b": 2.5}, "image_refs": []},
        {"attributes": {}, "image_refs": ["3.tif"]},
    ]
    times = [datetime(2024, 3, 5, 12, n, 7, 123456 + n, UTC) for n in range(4)]
    return [
        defect(
            **value,
            **document,
            event_ts=moment,
            inspection_equipment_id="SEM-1",
            operator_id="op",
            slot=25,
            source_record_no=number,
        )
        for number, (value, document, moment) in enumerate(zip(values, documents, times, strict=True), 1)
    ]


def pandas_objects(data: list[dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame({name: pd.Series([row[name] for row in data], dtype=object) for name in data[0]})


def pandas_nullable(data: list[dict[str, Any]]) -> pd.DataFrame:
    frame = pandas_objects(data)
    frame["defect_id"] = pd.array(frame.defect_id.tolist(), "Int64")  # convert_dtypes would go through floats
    return frame.convert_dtypes()


def pandas_default(data: list[dict[str, Any]]) -> pd.DataFrame:
    """As people get it from a CSV file: integers with gaps are floats (so those that no float holds stay objects)."""
    frame = pd.DataFrame({name: pd.Series([row[name] for row in data]) for name in data[0] if name != "defect_id"})
    assert frame.die_x.dtype == float
    frame["defect_id"] = pd.Series([row["defect_id"] for row in data], dtype=object)
    return frame


def pandas_arrow(data: list[dict[str, Any]]) -> pd.DataFrame:
    return arrow_table(data).to_pandas(types_mapper=pd.ArrowDtype)


def pandas_categories(data: list[dict[str, Any]]) -> pd.DataFrame:
    return pandas_objects(data).astype({"class_name": "category", "lot_id": "category", "slot": "category"})


def arrow_table(data: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(data)


def arrow_batch(data: list[dict[str, Any]]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(data)


def arrow_reader(data: list[dict[str, Any]]) -> pa.RecordBatchReader:
    return pa.Table.from_pylist(data).to_reader(max_chunksize=1)


def arrow_dictionaries(data: list[dict[str, Any]]) -> pa.Table:
    table = pa.Table.from_pylist(data)
    for at, name in enumerate(table.column_names):
        if pa.types.is_string(table.schema.field(at).type):
            table = table.set_column(at, name, table[name].dictionary_encode())
    return table


def arrow_bytes(data: list[dict[str, Any]]) -> pa.Table:
    table = pa.Table.from_pylist(json_texts(data))
    for name in ("attributes", "image_refs"):
        at = table.schema.get_field_index(name)
        table = table.set_column(at, name, table[name].cast(pa.binary()))
    return table


def polars_frame(data: list[dict[str, Any]]) -> pl.DataFrame:
    return pl.DataFrame(data)


def json_texts(data: list[dict[str, Any]]) -> list[dict[str, Any]]:
    texts = ("attributes", "image_refs")
    return [row | {n: json.dumps(row[n]) if row[n] is not None else None for n in texts} for row in data]


def iso_texts(data: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Everything as text, times in another zone, as from a CSV file read without types."""
    zone = pd.Timestamp.now("Asia/Taipei").tzinfo
    return [
        {
            name: value
            if value is None or isinstance(value, str | dict | list)
            else value.astimezone(zone).isoformat()
            if isinstance(value, datetime)
            else repr(value).lower()
            for name, value in row.items()
        }
        for row in data
    ]


def generator(data: list[dict[str, Any]]) -> Any:
    return ({name: value for name, value in row.items() if value is not None} for row in data)


KINDS: list[Callable[[list[dict[str, Any]]], Any]] = [
    list,
    generator,
    json_texts,
    iso_texts,
    pandas_objects,
    pandas_nullable,
    pandas_default,
    pandas_arrow,
    pandas_categories,
    arrow_table,
    arrow_batch,
    arrow_reader,
    arrow_dictionaries,
    arrow_bytes,
    polars_frame,
]


def as_given(values: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(repr(v) if isinstance(v, float) else v for v in values)


@pytest.fixture(scope="module")
def reference(shared_wh: Warehouse) -> list[tuple[Any, ...]]:
    """What is stored of the rows when they come as dicts."""
    result = shared_wh.load(DEFECTS, rows(), batch_id="reference")
    assert result.rows_loaded == 4
    return [as_given(row) for row in stored(shared_wh, DEFECTS, "reference", *COLUMNS)]


def test_dicts_are_stored_as_given(reference: list[tuple[Any, ...]]) -> None:
    for row, given in zip(reference, rows(), strict=True):
        values = dict(zip(COLUMNS, row, strict=True))
        assert {name: values[name] for name in NONE} == {
            name: repr(given[name]) if isinstance(given[name], float) else given[name] for name in NONE
        }


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_the_same_rows_are_stored_alike(
    shared_wh: Warehouse, reference: list[tuple[Any, ...]], kind: Callable[[list[dict[str, Any]]], Any]
) -> None:
    shift = 10 * KINDS.index(kind) + 10  # or it would be recognised as content that is there already
    shifted = [row | {"source_record_no": row["source_record_no"] + shift} for row in rows()]
    result = shared_wh.load(DEFECTS, kind(shifted))
    assert (result.rows_loaded, result.rows_rejected, result.already_loaded) == (4, 0, False)
    found = [as_given(row) for row in stored(shared_wh, DEFECTS, result.batch_id, *COLUMNS)]
    assert found == [(*row[:-1], row[-1] + shift) for row in reference]


@pytest.mark.parametrize(
    "kind", [kind for kind in KINDS if kind not in (json_texts, arrow_bytes)], ids=lambda kind: kind.__name__
)
def test_the_same_content_is_recognised_in_whatever_frame_it_comes(
    shared_wh: Warehouse, reference: list[tuple[Any, ...]], kind: Callable[[list[dict[str, Any]]], Any]
) -> None:
    """But a JSON text is content as it stands: the same document may be written in many ways."""
    assert shared_wh.load(DEFECTS, kind(rows())).already_loaded


def test_a_frame_of_one_batch_more_than_a_batch_is_read_to_its_end() -> None:
    table = pa.table({"x": pa.array(range(BATCH_ROWS * 2 + 1))})
    for frame in (table, table.to_pandas(), table.to_batches()[0], pl.from_arrow(table), table.to_pylist()):
        sizes = [batch.num_rows for batch in record_batches(frame, frozenset())]
        assert sizes == [BATCH_ROWS, BATCH_ROWS, 1], type(frame)


def test_a_dict_that_lacks_a_key_is_a_row_that_lacks_a_value() -> None:
    many = [{"a": 1, "b": 2}] * BATCH_ROWS + [{"a": 3}]
    *_, last = record_batches(many, frozenset())
    rows, named = named_apart(last)
    assert rows.to_pylist() == [{"a": 3, "b": None}]
    assert named is not None
    assert named.to_pylist() == [["a"]]


@pytest.mark.parametrize("frame", [{"a": [1]}, b"bytes", 5, None, [("a", 1)], [[1, 2]]])
def test_what_is_no_frame_is_refused(shared_wh: Warehouse, frame: Any) -> None:
    with pytest.raises(InvalidInputError, match="cannot load a"):
        shared_wh.load(DEFECTS, frame)


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame([[1, 2]], columns=["lot_id", "lot_id"]),
        pa.table([pa.array(["a"]), pa.array(["b"])], names=["lot_id", "lot_id"]),
    ],
)
def test_a_column_given_twice_is_refused(shared_wh: Warehouse, frame: Any) -> None:
    with pytest.raises(InvalidInputError, match="column 'lot_id' occurs 2 times"):
        shared_wh.load(DEFECTS, frame)


def test_a_frame_without_rows_is_a_batch_without_rows(shared_wh: Warehouse) -> None:
    for frame in (pd.DataFrame(rows()).iloc[:0], pa.Table.from_pylist(rows()).slice(0, 0), []):
        result = shared_wh.load(DEFECTS, frame)
        assert (result.rows_read, result.rows_loaded) == (0, 0)
    with pytest.raises(InvalidInputError, match="unknown column 'lott_id'; did you mean 'lot_id'"):
        shared_wh.load(DEFECTS, pd.DataFrame({"lott_id": []}))


def test_the_zone_of_a_time_does_not_matter(shared_wh: Warehouse) -> None:
    moment = datetime(2024, 3, 10, 7, 30, tzinfo=UTC)  # in the hour that New York skips
    frame = pd.DataFrame([defect(event_ts=moment)])
    frame["event_ts"] = frame.event_ts.dt.tz_convert("America/New_York")
    result = shared_wh.load(DEFECTS, frame)
    assert stored(shared_wh, DEFECTS, result.batch_id, "event_ts", "time_key") == [(moment, 2024031007)]


def test_naive_times_are_refused_and_the_way_out_is_told(shared_wh: Warehouse) -> None:
    naive = datetime(2024, 3, 5, 12)
    for frame in (
        [defect(event_ts=naive)],
        pd.DataFrame([defect(event_ts=naive)]),
        pl.DataFrame([defect(event_ts=naive)]),
    ):
        with pytest.raises(InvalidInputError, match=r"'event_ts' holds times without a time zone .*tz_localize"):
            shared_wh.load(DEFECTS, frame)
    mixed = [defect(event_ts=naive.replace(tzinfo=UTC)), defect(event_ts=naive + timedelta(hours=1))]
    result = shared_wh.load(DEFECTS, mixed, max_rejects=1)
    assert shared_wh.batches.rejects(result.batch_id).reason.tolist() == [
        "'2024-03-05 13:00:00.000000' has no time zone"
    ]
