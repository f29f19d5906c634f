"""An error of what makes the rows comes out as it is."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pytest
from sqlalchemy import Column, MetaData, Table, Text
from sqlalchemy.engine import Engine

from gpwarehouse.transport.csv_archive import copy_in


def test_what_the_maker_of_the_rows_raises_comes_out(empty_engine: Engine) -> None:
    table = Table("lines", MetaData(), Column("x", Text))
    table.create(empty_engine)

    def batches() -> Iterator[pa.RecordBatch]:
        yield pa.record_batch({"x": ["a"]})
        raise pa.ArrowInvalid("the file is cut off")

    with pytest.raises(pa.ArrowInvalid, match="the file is cut off"), empty_engine.begin() as connection:
        copy_in(connection, table, batches(), ("x",))
