"""Rows out and in as texts come back as they were, whatever stands where a block ends, and errors are their own."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pytest
from sqlalchemy import Column, MetaData, Table, Text, insert
from sqlalchemy.engine import Engine

from gpwarehouse.transport import csv_archive
from gpwarehouse.transport.csv_archive import copy_in, copy_out

VALUES = [f'{"z" * length}\r\nB"\n' for length in range(90)] + [None, "", "\r\n"]


@pytest.mark.parametrize("block", [61, 64, 97, 1 << 20])
def test_line_ends_inside_values_are_kept_wherever_a_block_ends(
    empty_engine: Engine, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(csv_archive, "BLOCK_BYTES", block)
    table = Table("lines", MetaData(), Column("n", Text), Column("x", Text))
    table.create(empty_engine)
    with empty_engine.begin() as connection:
        rows = [{"n": f"{n:03}", "x": value} for n, value in enumerate(VALUES)]
        connection.execute(insert(table), rows)
        found = pa.Table.from_batches(copy_out(connection, "(SELECT n, x FROM lines ORDER BY n)", ("n", "x")))
        assert found.column("x").to_pylist() == VALUES
        only = pa.Table.from_batches(copy_out(connection, "(SELECT x FROM lines ORDER BY n)", ("x",)))
        assert only.column("x").to_pylist() == VALUES


def test_what_the_maker_of_the_rows_raises_comes_out(empty_engine: Engine) -> None:
    table = Table("lines", MetaData(), Column("x", Text))
    table.create(empty_engine)

    def batches() -> Iterator[pa.RecordBatch]:
        yield pa.record_batch({"x": ["a"]})
        raise pa.ArrowInvalid("the file is cut off")

    with pytest.raises(pa.ArrowInvalid, match="the file is cut off"), empty_engine.begin() as connection:
        copy_in(connection, table, batches(), ("x",))
