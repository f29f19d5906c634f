"""Results as Arrow tables and pandas frames whose types are the server's: integers stay integers, times keep UTC."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

import pyarrow as pa
from sqlalchemy import Executable
from sqlalchemy.engine import Engine

from gpwarehouse.engine.progress import Progress
from gpwarehouse.errors import ReadError
from gpwarehouse.read.columns import Column
from gpwarehouse.read.query import Stream, Transport

if TYPE_CHECKING:
    import pandas as pd

from gpwarehouse.transport.chunks import rechunked

__all__ = ["Chunks", "read", "to_pandas"]

Frame = TypeVar("Frame")
_LARGE_NUMBER = re.compile(r"[eE]\+?\d{3}|\d{300}")
"""Without it no number is beyond the range of a double."""


def read(
    engine: Engine,
    statement: str | Executable,
    params: Mapping[str, Any] | None = None,
    /,
    *,
    arrow: bool = False,
    chunks: int | None = None,
    parse_json: bool = False,
    exact_numeric: bool = False,
    progress: Progress | None = None,
    transport: Transport = "auto",
    parallel: int = 1,
    session: Mapping[str, Any] | None = None,
    **named: Any,
) -> Any:
    """Run a query in a read-only transaction.

    :param params: values of the parameters, where their names are those of options; else give them by keyword. The
        driver quotes them, nothing is formatted in. Give aware datetimes (they prune partitions), lists for ``= ANY(:x)``.
    :param arrow: a pyarrow table, not a pandas frame.
    :param chunks: an iterator of frames of so many rows, in constant memory; it holds a connection.
    :param parse_json: json and jsonb as Python objects, not as the server's text.
    :param exact_numeric: NUMERIC as Decimal, not as the nearest double. In Arrow it is a decimal where precision and
        scale are declared, else text.
    :param progress: called with ``"read"`` and the rows read so far.
    :param transport: ``"csv"`` or ``"binary"``, the form in which the server sends the rows; ``"auto"`` takes the quicker one
        that fits. The result is the same.
    :param parallel: connections, up to 16, that read at once where the statement reads a whole table of PostgreSQL
        (``SELECT * FROM t``), in one snapshot; rows then come in no set order. Others are read by one connection.
    :param session: options of the transaction, such as ``{"statement_mem": "2GB", "optimizer": "off"}``; see
        :data:`~gpwarehouse.engine.SESSION_OPTIONS`.
    :raises ReadError: the server refused it, a parameter is missing or not used, or a value has no Arrow type.
    """
    _check(arrow and parse_json, chunks)
    values = {**(params or {}), **named}
    how: dict[str, Any] = {"progress": progress, "transport": transport, "parallel": parallel, "session": session}
    stream = Stream(engine, statement, values, exact_numeric=exact_numeric, **how)

    def finish(table: pa.Table) -> Any:
        return table if arrow else to_pandas(table, stream.columns, parse_json=parse_json)

    if chunks is not None:
        return Chunks(stream, chunks, finish)
    return finish(pa.concat_tables([stream.schema.empty_table(), *stream.tables()]))


def _check(arrow_and_json: bool, chunks: int | None) -> None:
    if arrow_and_json:
        raise ReadError(
            "parse_json=True makes Python objects, which an Arrow table does not hold; leave out one of the two"
        )
    if chunks is not None and (isinstance(chunks, bool) or not isinstance(chunks, int) or chunks < 1):
        raise ReadError(f"chunks={chunks!r}: give the rows of a chunk, 1 or more")


class Chunks(Generic[Frame], Iterator[Frame]):
    """The rows of a query, a given number at a time, in constant memory. Frames come as long as there are rows.

    It holds a connection until its end, :meth:`close` or the end of a ``with`` block. The server waits for whoever
    reads, and the statement timeout goes on.

    :ivar schema: the Arrow schema of the rows; ``json_columns``: names of the columns of json and jsonb.
    """

    def __init__(self, stream: Stream, rows: int, finish: Callable[[pa.Table], Frame]) -> None:
        self._stream = stream
        self.schema: pa.Schema = stream.schema
        self.json_columns = stream.json_columns
        self._tables = rechunked(stream.tables(), rows)
        self._finish = finish

    def __next__(self) -> Frame:
        return self._finish(next(self._tables))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop the query if it runs, and give the connection back."""
        self._tables.close()
        self._stream.close()


def _of_json(column: str, text: str) -> Any:
    """A JSON text as Python's objects.

    :raises ReadError: a number in it is beyond the range of a double, which Python would take for infinity.
    """

    def number(digits: str) -> float:
        found = float(digits)
        if math.isinf(found):
            raise ReadError(
                f"column {column!r}: a number in the JSON is beyond the range of a double; leave out parse_json=True, and "
                "parse the text with parse_float=decimal.Decimal"
            )
        return found

    return json.loads(text, parse_float=number) if _LARGE_NUMBER.search(text) else json.loads(text)


def to_pandas(table: pa.Table, columns: Sequence[Column] = (), *, parse_json: bool = False) -> pd.DataFrame:
    """A pandas frame with nullable integers and booleans, so that NULL does not turn them into floats and objects.

    :param columns: the server's types, for what Arrow holds as text: exact NUMERIC becomes Decimal, and JSON objects if
        ``parse_json``. Arrays become lists: numpy's would turn NULL into NaN and lose the zone of times.
    """
    import pandas as pd

    nullable = {
        pa.int16(): pd.Int16Dtype(),
        pa.int32(): pd.Int32Dtype(),
        pa.int64(): pd.Int64Dtype(),
        pa.bool_(): pd.BooleanDtype(),
    }
    numbered = table.rename_columns(list(map(str, range(table.num_columns))))  # pandas' names must differ here
    frame: pd.DataFrame = numbered.to_pandas(types_mapper=nullable.get)
    frame.columns = pd.Index(table.column_names)
    for number, column in enumerate(columns):
        make: Callable[[Any], Any] | None = None
        if column.is_exact_text:
            make = Decimal
        elif parse_json and column.is_json:
            make = partial(_of_json, column.name)
        elif column.element is not None:
            make = list
        if make is not None:
            made: Any = [None if v is None else make(v) for v in table.column(number).to_pylist()]
            # A Series, or pandas 3 makes texts of the objects where all of them are.
            objects: Any = pd.Series(made, dtype=object, index=frame.index)
            frame.isetitem(number, objects)
    return frame
