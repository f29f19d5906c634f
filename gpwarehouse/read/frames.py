"""Return results as Arrow tables and pandas frames with the server's types: integers stay integers, times stay in UTC."""

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
import pyarrow.compute as pc
from sqlalchemy import Executable
from sqlalchemy.engine import Engine

from gpwarehouse.engine.progress import Progress
from gpwarehouse.errors import ReadError
from gpwarehouse.read.columns import Column
from gpwarehouse.read.query import Stream, Transport

if TYPE_CHECKING:
    import pandas as pd

from gpwarehouse.transport.chunks import rechunk

__all__ = ["Chunks", "read", "to_pandas"]

Frame = TypeVar("Frame")
_LARGE_NUMBER = re.compile(r"[eE]\+?\d{3}|\d{300}")
"""A number that does not match lies in the range of a double."""


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

    :param params: values of the parameters, if their names are those of options; otherwise give them by keyword. The driver
        quotes them; they are never formatted into the text. Give aware datetimes (they prune partitions), and lists for ``=
        ANY(:x)``.
    :param arrow: return a pyarrow table, not a pandas frame.
    :param chunks: return an iterator of frames of so many rows, in constant memory; it holds a connection.
    :param parse_json: return json and jsonb as Python objects, not as the server's text.
    :param exact_numeric: return NUMERIC as Decimal, not as the nearest double. In Arrow it is a decimal if precision and scale
        are declared, else text.
    :param progress: called with ``"read"`` and the rows read so far.
    :param transport: how the server sends the rows. ``"csv"`` and ``"binary"`` are forms of COPY; ``"auto"`` takes the faster one
        that is possible. ``"cursor"`` asks the server's cursor, for ``chunks`` rows at a time: the fewest round trips, for a few
        rows; PostgreSQL then plans no parallel workers. The result is the same.
    :param parallel: number of connections, up to 16, that read at the same time if the statement reads a whole table of
        PostgreSQL (``SELECT * FROM t``), in one snapshot; the rows then have no fixed order. Other statements use one connection.
    :param session: options of the transaction, such as ``{"statement_mem": "2GB", "optimizer": "off"}``; see
        :data:`~gpwarehouse.engine.SESSION_OPTIONS`.
    :raises ReadCancelledError: a :class:`~gpwarehouse.engine.Cancellation` around it was cancelled.
    :raises ReadError: the server refused the query, a parameter is missing or not used, or a value has no Arrow type.
    """
    _check(arrow and parse_json, chunks)
    values = {**(params or {}), **named}
    how: dict[str, Any] = {"transport": transport, "parallel": parallel, "fetch": chunks, "session": session}
    stream = Stream(engine, statement, values, exact_numeric=exact_numeric, progress=progress, **how)

    def finish(table: pa.Table) -> Any:
        return table if arrow else to_pandas(table, stream.columns, parse_json=parse_json)

    if chunks is not None:
        return Chunks(stream, chunks, finish)
    return finish(pa.concat_tables([stream.schema.empty_table(), *stream.tables()]))


def _check(arrow_and_json: bool, chunks: int | None) -> None:
    if arrow_and_json:
        raise ReadError(
            "parse_json=True makes Python objects, which an Arrow table cannot hold; leave out parse_json or arrow"
        )
    if chunks is not None and (isinstance(chunks, bool) or not isinstance(chunks, int) or chunks < 1):
        raise ReadError(f"chunks={chunks!r}: give the number of rows of a chunk, 1 or more")


class Chunks(Generic[Frame], Iterator[Frame]):
    """The rows of a query, a given number at a time, in constant memory. Frames come as long as there are rows.

    It holds a connection until its end, :meth:`close` or the end of a ``with`` block. The server waits for the reader, and the
    statement timeout counts meanwhile.

    :ivar schema: the Arrow schema of the rows.
    :ivar columns: the columns with the server's types.
    :ivar json_columns: names of the json and jsonb columns.
    """

    def __init__(self, stream: Stream, rows: int, finish: Callable[[pa.Table], Frame]) -> None:
        self._stream = stream
        self.schema: pa.Schema = stream.schema
        self.columns = stream.columns
        self.json_columns = stream.json_columns
        self._tables = rechunk(stream.tables(), rows)
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
        """Stop the query if it runs, and return the connection to the pool."""
        self._tables.close()
        self._stream.close()


def _parse_json(column: str, text: str) -> Any:
    """Parse a JSON text to Python objects.

    :raises ReadError: a number is outside the range of a double; Python would make infinity of it.
    """

    def number(digits: str) -> float:
        found = float(digits)
        if math.isinf(found):
            raise ReadError(
                f"column {column!r}: a number in the JSON is outside the range of a double; leave out parse_json=True, and "
                "parse the text with parse_float=decimal.Decimal"
            )
        return found

    return json.loads(text, parse_float=number) if _LARGE_NUMBER.search(text) else json.loads(text)


def _make_lists(column: pa.ChunkedArray) -> list[list[Any] | None]:
    """Convert lists of numbers to Python's; all elements of a chunk at once, which takes a tenth of the time."""
    made: list[list[Any] | None] = []
    for chunk in column.chunks:
        elements = chunk.flatten()
        values = elements.to_pylist() if elements.null_count else elements.to_numpy(zero_copy_only=False).tolist()
        start = 0
        for count in pc.list_value_length(chunk).to_pylist():
            made.append(None if count is None else values[start : start + count])
            start += count or 0
    return made


def _make_objects(values: pa.ChunkedArray, column: Column, *, parse_json: bool) -> list[Any] | None:
    """Make the Python objects of a column that pandas holds as objects; None for another column."""
    make: Callable[[Any], Any]
    if column.is_plain_array:
        return _make_lists(values)
    if column.is_exact_text:
        make = Decimal
    elif parse_json and column.is_json:
        make = partial(_parse_json, column.name)
    elif column.element is not None:
        make = list
    else:
        return None
    return [None if value is None else make(value) for value in values.to_pylist()]


def to_pandas(table: pa.Table, columns: Sequence[Column] = (), *, parse_json: bool = False) -> pd.DataFrame:
    """Make a pandas frame with nullable integers and booleans, so that NULL does not turn them into floats and objects.

    :param columns: the server's types, for values that Arrow holds as text: exact NUMERIC becomes Decimal, and JSON becomes
        objects if ``parse_json``. Arrays become lists, because numpy's would turn NULL into NaN and lose the zone of times.
    """
    import pandas as pd

    nullable = {
        pa.int16(): pd.Int16Dtype(),
        pa.int32(): pd.Int32Dtype(),
        pa.int64(): pd.Int64Dtype(),
        pa.bool_(): pd.BooleanDtype(),
    }
    numbered = table.rename_columns(list(map(str, range(table.num_columns))))  # names in pandas must differ here
    frame: pd.DataFrame = numbered.to_pandas(types_mapper=nullable.get)
    frame.columns = pd.Index(table.column_names)
    for number, column in enumerate(columns):
        made: Any = _make_objects(table.column(number), column, parse_json=parse_json)
        if made is not None:
            # A Series is used, because pandas 3 would make texts of the objects if all of them are texts.
            objects: Any = pd.Series(made, dtype=object, index=frame.index)
            frame.isetitem(number, objects)
    return frame
