"""COPY: what is stored is what was given, to the bit, in binary and in text; and what goes wrong leaves nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import BigInteger, Column, DateTime, Double, MetaData, Table, Text, func, select
from sqlalchemy.engine import Engine
from sqlalchemy.exc import DBAPIError

from gpwarehouse import Warehouse
from gpwarehouse.errors import InvalidInputError
from gpwarehouse.transport import copy_rows
from gpwarehouse.transport.columns import CHUNK_BYTES, CHUNK_ROWS, slices
from gpwarehouse.transport.copy import leave_statistics_alone, wires_of
from gpwarehouse.transport.copy_binary import HEADER, TRAILER, encode_binary
from gpwarehouse.transport.copy_stream import EncodedStream
from gpwarehouse.transport.copy_text import encode_text
from tests.transport.rows import (
    BINARY,
    NASTY,
    ROWS,
    TEXT,
    batch_of,
    bits,
    stored,
    table_of_all,
)

FORMS = [("binary", BINARY), ("text", BINARY), ("text", TEXT)]


@pytest.fixture(scope="module")
def engine(shared_wh: Warehouse) -> Engine:
    return shared_wh.engine


@pytest.fixture(scope="module")
def table(engine: Engine) -> Iterator[Table]:
    with table_of_all(engine) as made:
        yield made


def expected(rows: list[dict[str, Any]], columns: tuple[str, ...]) -> list[tuple[Any, ...]]:
    def value(row: dict[str, Any], name: str) -> Any:
        found = row.get(name)
        return bits(json.loads(found) if name == "document" and found is not None else found)

    return [tuple(value({"number": number} | row, name) for name in columns) for number, row in enumerate(rows)]


def sent(engine: Engine, table: Table, batch: pa.RecordBatch, columns: tuple[str, ...], form: Any) -> Any:
    """What is stored of a batch, which is rolled back."""
    with engine.connect() as connection:
        leave_statistics_alone(connection)
        assert copy_rows(connection, table, [batch], columns, form).rows == batch.num_rows
        return stored(connection, table, columns)


@pytest.mark.parametrize(("form", "columns"), FORMS)
def test_nasty_values_are_stored_as_they_are(engine: Engine, table: Table, form: str, columns: tuple[str, ...]) -> None:
    assert sent(engine, table, batch_of(NASTY), columns, form) == expected(NASTY, columns)


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(rows=ROWS)
def test_any_values_are_stored_as_they_are(engine: Engine, table: Table, rows: list[dict[str, Any]]) -> None:
    batch = batch_of(rows)
    assert sent(engine, table, batch, BINARY, "binary") == expected(rows, BINARY)
    assert sent(engine, table, batch, TEXT, "text") == expected(rows, TEXT)


@pytest.mark.parametrize("form", ["binary", "text"])
@pytest.mark.parametrize("start", [0, 1, 7, 64])
def test_a_slice_is_encoded_as_a_copy_of_it(table: Table, form: str, start: int) -> None:
    """Offsets and validity bits of a slice are those of the whole."""
    batch = batch_of(NASTY * 3).slice(start, 50)
    wires = wires_of(table, BINARY)
    copied = pa.RecordBatch.from_pylist(batch.to_pylist(), schema=batch.schema)
    encode: Any = encode_binary if form == "binary" else lambda b, w: encode_text(b, w, exact_floats=True)
    assert encode(batch, wires).to_pybytes() == encode(copied, wires).to_pybytes()


@pytest.mark.parametrize("form", ["binary", "text"])
def test_narrower_arrays_and_dictionaries_are_brought_to_the_columns_type(
    engine: Engine, table: Table, form: Any
) -> None:
    batch = pa.record_batch(
        {
            "number": pa.array([1, 2, 3], pa.int8()),
            "big": pa.array([-5, None, 7], pa.int32()),
            "double": pa.array([0.5, 1.5, None], pa.float32()),
            "moment": pa.array([0, 1, None], pa.timestamp("ms", "Asia/Taipei")),
            "text": pa.array(["a", None, "b\t"]).dictionary_encode(),
            "varchar": pa.array(["x", "", None], pa.large_string()),
            "small": pa.nulls(3),
        }
    )
    found = sent(engine, table, batch, BINARY, form)
    numbers, texts, varchars = ([row[BINARY.index(name)] for row in found] for name in ("big", "text", "varchar"))
    assert (numbers, texts, varchars) == ([-5, None, 7], ["a", None, "b\t"], ["x", "", None])
    assert [row[BINARY.index("whole")] for row in found] == [None] * 3  # not in the batch


@pytest.mark.parametrize(
    ("column", "array"),
    [
        ("whole", pa.array([2**31])),
        ("small", pa.array([2**15], pa.int32())),
        ("big", pa.array([1.5])),
        ("moment", pa.array([1], pa.timestamp("ns", "UTC"))),
        ("flag", pa.array(["maybe secret"])),
    ],
)
def test_a_value_that_does_not_fit_its_column_is_refused_and_not_shown(
    engine: Engine, table: Table, column: str, array: pa.Array
) -> None:
    batch = pa.record_batch({"number": [1], column: array})
    for form in ("binary", "text"):
        with (
            engine.connect() as connection,
            pytest.raises(InvalidInputError, match=f"'{column}'.*do not fit") as caught,
        ):
            copy_rows(connection, table, [batch], BINARY, form)  # type: ignore[arg-type]
        assert "secret" not in str(caught.value)
        assert "2147483648" not in str(caught.value)


@pytest.mark.parametrize("form", ["binary", "text"])
def test_a_text_with_nul_is_refused_whatever_the_form(engine: Engine, table: Table, form: Any) -> None:
    with (
        engine.connect() as connection,
        pytest.raises((InvalidInputError, DBAPIError, engine.dialect.loaded_dbapi.Error)),
    ):
        copy_rows(connection, table, [pa.record_batch({"number": [1], "text": ["a\0b"]})], BINARY, form)


@pytest.mark.parametrize("form", ["binary", "text"])
def test_what_the_maker_of_batches_raises_is_raised_and_nothing_is_stored(
    engine: Engine, table: Table, form: Any
) -> None:
    def batches() -> Iterator[pa.RecordBatch]:
        yield batch_of(NASTY)
        raise KeyError("the file ends here")

    with pytest.raises(KeyError, match="the file ends here"), engine.begin() as connection:
        copy_rows(connection, table, batches(), BINARY, form)
    with engine.connect() as connection:
        assert connection.execute(select(func.count()).select_from(table)).scalar_one() == 0


@pytest.mark.parametrize("form", ["binary", "text"])
def test_nothing_is_a_load_of_no_rows(engine: Engine, table: Table, form: Any) -> None:
    with engine.connect() as connection:
        assert copy_rows(connection, table, [], BINARY, form).rows == 0
        assert copy_rows(connection, table, [batch_of([])], BINARY, form).rows == 0


def test_a_column_without_a_binary_form_makes_the_copy_text(engine: Engine, table: Table) -> None:
    with engine.connect() as connection:
        assert copy_rows(connection, table, [batch_of(NASTY)], BINARY).transport == "copy binary"
        assert copy_rows(connection, table, [batch_of(NASTY)], TEXT).transport == "copy text"


def test_chunks_are_small_and_hold_every_row_once() -> None:
    wide = pa.record_batch({"n": range(100), "t": ["x" * 200_000] * 100})
    many = pa.record_batch({"n": range(100, 100_000), "t": ["y"] * 99_900})
    cut = list(slices([wide, wide.slice(0, 0), many]))
    assert [n for batch in cut for n in batch.column("n").to_pylist()] == list(range(100_000))
    assert all(0 < batch.num_rows <= CHUNK_ROWS for batch in cut)
    assert all(batch.nbytes <= CHUNK_BYTES or batch.num_rows == 1 for batch in cut)


@settings(deadline=None)
@given(chunks=st.lists(st.binary(max_size=20)), size=st.integers(1, 30))
def test_a_stream_reads_empty_only_at_its_end(chunks: list[bytes], size: int) -> None:
    with EncodedStream(iter(chunks)) as stream:
        pieces = []
        while piece := stream.read(size):
            pieces.append(piece)
        assert b"".join(pieces) == b"".join(chunks)
        assert stream.read(size) == b""
        assert stream.sent == len(b"".join(chunks))


def test_a_stream_given_up_ends_its_thread() -> None:
    stream = EncodedStream(iter([b"a", b"b", b"c"]))
    assert stream.read(1) == b"a"
    stream.close()
    assert stream._thread._shutdown


def test_a_binary_copy_is_what_the_server_writes_itself(engine: Engine) -> None:
    """The format is the server's own: byte by byte what COPY TO gives."""
    import io

    columns = [
        Column("number", BigInteger),
        Column("d", Double),
        Column("t", Text),
        Column("m", DateTime(timezone=True)),
    ]
    table = Table("own_format", MetaData(), *columns)
    table.create(engine)
    try:
        batch = pa.record_batch(
            {"number": [1], "d": [None], "t": ["é"], "m": pa.array([1_704_067_200_000_001], pa.timestamp("us", "UTC"))},
            schema=pa.schema(
                [("number", pa.int64()), ("d", pa.float64()), ("t", pa.string()), ("m", pa.timestamp("us", "UTC"))]
            ),
        )
        names = ("number", "d", "t", "m")
        with engine.begin() as connection:
            copy_rows(connection, table, [batch], names)
            sink = io.BytesIO()
            driver: Any = connection.connection
            with driver.cursor() as cursor:
                cursor.copy_expert("COPY own_format TO STDOUT WITH (FORMAT binary)", sink)
        assert sink.getvalue() == HEADER + encode_binary(batch, wires_of(table, names)).to_pybytes() + TRAILER
    finally:
        table.drop(engine)
