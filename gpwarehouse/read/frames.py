"""Results as Arrow tables and pandas frames whose types are the server's: integers stay integers, times keep UTC."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from sqlalchemy import Executable, exc, text
from sqlalchemy.engine import Engine

from gpwarehouse.errors import ReadError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["read_arrow", "to_pandas"]

# Type OIDs of PostgreSQL's pg_type.dat; Greenplum's are the same.
_JSON_OIDS = frozenset({114, 3802})
_ARROW_OF_OID: dict[int, pa.DataType] = {
    16: pa.bool_(),
    17: pa.binary(),
    20: pa.int64(),
    21: pa.int16(),
    23: pa.int32(),
    26: pa.int64(),
    700: pa.float32(),
    701: pa.float64(),
    1700: pa.float64(),
    1082: pa.date32(),
    1114: pa.timestamp("us"),
    1184: pa.timestamp("us", tz="UTC"),
    **dict.fromkeys((18, 19, 25, 1042, 1043, 2950, *_JSON_OIDS), pa.string()),
}
_CHUNK_ROWS = 65_536


def read_arrow(engine: Engine, statement: str | Executable, params: Mapping[str, Any] | None = None) -> pa.Table:
    """Run a query in a read-only transaction and return its result.

    :param statement: SQL with ``:name`` parameters, or an SQLAlchemy select; parameters are bound, never formatted in.
    :return: one column per result column. NUMERIC comes as float64, JSON as text, NULL as null.
    :raises ReadError: the server refused the query; its words, without the parameters' values.
    """
    query = text(statement) if isinstance(statement, str) else statement
    with engine.connect().execution_options(postgresql_readonly=True) as connection:
        try:
            result = connection.execute(query, dict(params or {}))
            if not result.returns_rows:
                raise ReadError("the statement returns no rows; use wh.session() for statements that change something")
            oids: list[Any] = [column[1] for column in result.cursor.description]
            schema = pa.schema(
                [(name, _ARROW_OF_OID.get(oid, pa.string())) for name, oid in zip(result.keys(), oids, strict=True)]
            )
            batches = [_batch(rows, schema, oids) for rows in result.partitions(_CHUNK_ROWS)]
            return pa.Table.from_batches(batches, schema)
        except exc.DBAPIError as error:
            failure = ReadError(f"the server refused the query: {_words_of(error)}")
        except exc.StatementError as error:
            failure = ReadError(
                f"the query could not be sent: {error.orig or error}; give every :name a value, "
                "and write \\: for a colon that is none"
            )
        except (ValueError, OverflowError) as error:
            failure = ReadError(
                f"a value has no Python or Arrow type to hold it: {error}; CAST it to text in the query"
            )
    raise failure  # out here, so that the driver's error, which quotes the parameters, is not chained to it


def _words_of(error: exc.DBAPIError) -> str:
    """The server's message and hint, without the line of the statement that shows the parameters' values."""
    diagnostics = getattr(error.orig, "diag", None)
    parts = [getattr(diagnostics, name, None) for name in ("message_primary", "message_hint")]
    words = "; ".join(part for part in parts if part) or str(error.orig).strip().partition("\n")[0]
    if str(getattr(error.orig, "pgcode", None) or "").startswith("22"):  # data exceptions quote the value
        words = re.sub(r'"[^"]*"', '"…"', words)
    return words


def _batch(rows: Sequence[Sequence[Any]], schema: pa.Schema, oids: Sequence[int]) -> pa.RecordBatch:
    columns = list(zip(*rows, strict=True))
    arrays = [
        _array(values, kind.type, is_json=oid in _JSON_OIDS)
        for values, kind, oid in zip(columns, schema, oids, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _array(values: Sequence[Any], kind: pa.DataType, *, is_json: bool) -> pa.Array:
    if is_json:
        values = [None if v is None else json.dumps(v, ensure_ascii=False, separators=(",", ":")) for v in values]
    elif pa.types.is_string(kind):
        values = [v if v is None or isinstance(v, str) else str(v) for v in values]
    elif pa.types.is_binary(kind):
        values = [None if v is None else bytes(v) for v in values]
    elif pa.types.is_floating(kind):
        values = [None if v is None else float(v) for v in values]
    return pa.array(values, kind)


def to_pandas(table: pa.Table) -> pd.DataFrame:
    """A pandas frame with nullable integers and booleans, so that NULL does not turn them into floats and objects."""
    import pandas as pd

    nullable = {
        pa.int16(): pd.Int16Dtype(),
        pa.int32(): pd.Int32Dtype(),
        pa.int64(): pd.Int64Dtype(),
        pa.bool_(): pd.BooleanDtype(),
    }
    frame: pd.DataFrame = table.to_pandas(types_mapper=nullable.get)
    return frame
