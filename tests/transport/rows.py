"""A table of every type, values that break formats, and what the server then holds of them."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st
from sqlalchemy import (
    ARRAY,
    REAL,
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Double,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    SmallInteger,
    String,
    Table,
    Text,
    select,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine import Connection, Engine

from gpwarehouse.dialect import DistributedBy
from gpwarehouse.transport import Address
from tests.values import NASTY_FLOATS, NASTY_TEXTS, characters, floats

LONG = 2**63

COLUMNS: dict[str, tuple[Any, pa.DataType]] = {
    "number": (BigInteger, pa.int64()),
    "big": (BigInteger, pa.int64()),
    "whole": (Integer, pa.int32()),
    "small": (SmallInteger, pa.int16()),
    "double": (Double, pa.float64()),
    "real": (REAL, pa.float32()),
    "flag": (Boolean, pa.bool_()),
    "moment": (DateTime(timezone=True), pa.timestamp("us", "UTC")),
    "clock": (DateTime(timezone=False), pa.timestamp("us")),
    "day": (Date, pa.date32()),
    "text": (Text, pa.string()),
    "varchar": (String(40), pa.string()),
    "document": (JSONB, pa.string()),
    "raw": (LargeBinary, pa.binary()),
    "doubles": (ARRAY(Double), pa.list_(pa.float64())),
    "wholes": (ARRAY(Integer), pa.list_(pa.int32())),
}
BINARY = tuple(COLUMNS)
TEXT = (*BINARY, "exact")
"""With a column that has no binary form here."""
SCHEMA = pa.schema([*((name, arrow) for name, (_, arrow) in COLUMNS.items()), ("exact", pa.decimal128(38, 9))])

whole = {bits: st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for bits in (16, 32, 64)}
clocks = st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999999))
short = st.text(characters, max_size=30) | st.sampled_from([value for value in NASTY_TEXTS if len(value) <= 40])
documents = st.sampled_from(['{"a": [1, null, "x\\ty"]}', "[]", "null", '"\\\\"', '{"\\u00e9": 0.125}', "7", '"\\n"'])

VALUES = {
    "big": whole[64],
    "whole": whole[32],
    "small": whole[16],
    "double": floats | st.just(math.nan),
    "real": st.floats(width=32),
    "flag": st.booleans(),
    "moment": clocks.map(lambda value: value.replace(tzinfo=UTC)),
    "clock": clocks,
    "day": st.dates(),
    "text": short,
    "varchar": short,
    "document": documents,
    "raw": st.binary(max_size=20),
    "doubles": st.lists(st.none() | st.floats() | floats, max_size=6)
    | st.lists(st.just(math.nan) | floats, max_size=40),
    "wholes": st.lists(st.none() | whole[32], max_size=6),
    "exact": st.decimals(-(10**20), 10**20, places=9, allow_nan=False),
}
ROWS = st.lists(st.fixed_dictionaries({n: st.none() | values for n, values in VALUES.items()}), min_size=1, max_size=30)

NASTY: list[dict[str, Any]] = [
    *({"text": value, "varchar": value[:40]} for value in NASTY_TEXTS),
    *({"double": value} for value in [*NASTY_FLOATS, math.nan]),
    *({"real": value} for value in (math.inf, -math.inf, math.nan, -0.0, 1.401298464324817e-45, 3.4028234663852886e38)),
    {"big": LONG - 1, "whole": 2**31 - 1, "small": 2**15 - 1, "flag": True, "raw": b"", "document": "null"},
    {"big": -LONG, "whole": -(2**31), "small": -(2**15), "flag": False, "raw": bytes(range(256)), "document": '"\\n"'},
    {"moment": datetime(1, 1, 1, tzinfo=UTC), "clock": datetime(1, 1, 1), "day": date(1, 1, 1)},
    {"moment": datetime(1969, 12, 31, 23, 59, 59, 999999, UTC), "day": date(1999, 12, 31)},
    {"moment": datetime(2000, 1, 1, tzinfo=UTC), "clock": datetime(2000, 1, 1), "day": date(2000, 1, 1)},
    {"moment": datetime(9999, 12, 31, 23, 59, 59, 999999, UTC), "day": date(9999, 12, 31)},
    *(
        {"doubles": values}
        for values in ([], [math.nan], [None], [math.nan, None, 0.1], NASTY_FLOATS, [math.inf, -math.inf])
    ),
    {"doubles": [0.1] * 5000, "wholes": list(range(300))},  # larger ones that do not compress a Greenplum 7 beta loses
    *({"wholes": values} for values in ([], [None], [2**31 - 1, -(2**31), None, 0], [7] * 300)),
    {},
]


def batch_of(rows: list[dict[str, Any]]) -> pa.RecordBatch:
    """Rows, numbered in ``number``."""
    numbered = [{"number": number} | row for number, row in enumerate(rows)]
    arrays = [pa.array([row.get(field.name) for row in numbered], field.type) for field in SCHEMA]
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)


@contextmanager
def table_of_all(engine: Engine, name: str = "all_types") -> Iterator[Table]:
    """The table, dropped at the end."""
    columns = [Column(column, kind) for column, (kind, _) in COLUMNS.items()]
    table = Table(
        name, MetaData(), *columns, Column("exact", Numeric(38, 9)), greenplum_distributed_by=DistributedBy("number")
    )
    table.create(engine)
    try:
        yield table
    finally:
        table.drop(engine)


def bits(value: Any) -> Any:
    """A value to be compared to the bit; all NaNs are one."""
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else struct.pack("<d", value)
    if isinstance(value, list):
        return tuple(map(bits, value))
    return bytes(value) if isinstance(value, memoryview) else value


def stored(connection: Connection, table: Table, columns: tuple[str, ...]) -> list[tuple[Any, ...]]:
    """The rows by number."""
    query = select(*(table.c[name] for name in columns)).order_by(table.c.number)
    real = columns.index("real")  # the driver reads its shortest text as a double
    rows = (
        (*row[:real], None if row[real] is None else float(np.float32(row[real])), *row[real + 1 :])
        for row in connection.execute(query)
    )
    return [tuple(map(bits, row)) for row in rows]


HERE = Address("127.0.0.1")


def batches(count: int, rows: int = 20_000) -> Iterator[pa.RecordBatch]:
    """Enough of them that segments are in the middle of their fetching."""
    for number in range(count):
        yield pa.record_batch({"number": range(number * rows, (number + 1) * rows), "text": ["x" * 100] * rows})
