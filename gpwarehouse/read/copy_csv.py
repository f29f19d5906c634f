"""Convert the server's texts to Arrow: CSV a block of whole rows at a time, or rows of texts.

COPY leaves NULL empty and quotes the empty string, so the two differ. The types are given, never guessed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence

import psycopg2
import psycopg2.extensions
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from gpwarehouse.errors import ReadError
from gpwarehouse.read.columns import Column, refuse_dimensions
from gpwarehouse.transport.columns import list_array
from gpwarehouse.transport.csv_blocks import csv_block

__all__ = ["TextParser"]

_TEXT_ARRAY = psycopg2.extensions.new_array_type((), "gpwarehouse_texts", psycopg2.STRING)
_PARSING = pa_csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False)


class TextParser:
    """Parses one result."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self.columns = tuple(columns)
        self.schema = pa.schema([(column.name, column.arrow_type) for column in columns])
        self._numbers = [str(number) for number in range(len(self.columns))]  # two columns may have the same name
        self._converting = pa_csv.ConvertOptions(
            column_types={str(number): column.text_type for number, column in enumerate(columns)},
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            true_values=["t"],
            false_values=["f"],
        )

    def parse(self, block: bytes) -> pa.Table:
        """Make a table of a block of CSV.

        :raises ReadError: Arrow's type cannot hold a value.
        """
        try:
            table = self._read(block, self._converting)
        except pa.ArrowInvalid as error:
            raise self._explain(str(error)) from None
        return self._complete(table.columns, lambda number: self._read_texts(block, number))

    def parse_rows(self, rows: Sequence[Sequence[str | None]]) -> pa.Table:
        """Make a table of rows of texts.

        :raises ReadError: Arrow's type cannot hold a value.
        """
        return self.parse_columns([pa.chunked_array([column], pa.string()) for column in zip(*rows, strict=True)])

    def parse_columns(self, texts: list[pa.ChunkedArray]) -> pa.Table:
        """Make a table of columns of texts.

        :raises ReadError: Arrow's type cannot hold a value.
        """
        found = [_convert(values, column) for values, column in zip(texts, self.columns, strict=True)]
        return self._complete(found, lambda number: texts[number])

    def _complete(self, found: list[pa.ChunkedArray], texts_of: Callable[[int], pa.ChunkedArray]) -> pa.Table:
        for number, column in enumerate(self.columns):
            if column.is_rounded and pc.any(pc.is_inf(found[number])).as_py():
                _refuse_beyond_double(texts_of(number), column)
        arrays = [self._finish(values, column) for values, column in zip(found, self.columns, strict=True)]
        return pa.Table.from_arrays(arrays, schema=self.schema)

    def _read(self, block: bytes, converting: pa_csv.ConvertOptions) -> pa.Table:
        # A block fits the cache as a whole, and the other thread copies meanwhile.
        source = csv_block(block)
        reading = pa_csv.ReadOptions(column_names=self._numbers, block_size=source.size() + 1, use_threads=False)
        return pa_csv.read_csv(source, reading, _PARSING, converting)

    def _read_texts(self, block: bytes, number: int) -> pa.ChunkedArray:
        name = str(number)
        only = pa_csv.ConvertOptions(
            column_types={name: pa.string()}, include_columns=[name], null_values=[""], strings_can_be_null=True
        )
        return self._read(block, only).column(name)

    def _explain(self, words: str) -> ReadError:
        found = re.search(r"column #(\d+)", words)
        if found and "conversion error to " in words:
            return self.columns[int(found[1])].unreadable(words.rpartition("CSV conversion error to ")[2])
        # After a colon Arrow quotes the row that cannot be parsed.
        return ReadError(f"the answer cannot be parsed, for an unknown reason ({': '.join(words.split(': ')[:2])})")

    def _finish(self, values: pa.ChunkedArray, column: Column) -> pa.ChunkedArray:
        if column.is_bytes:
            decoded = [None if v is None else bytes.fromhex(v[2:]) for v in values.to_pylist()]
            return pa.chunked_array([pa.array(decoded, pa.binary())])
        if column.element is not None:
            return pa.chunked_array([_make_lists(values, column)])
        if pa.types.is_decimal(column.arrow_type):
            try:
                return pc.cast(values, column.arrow_type)
            except pa.ArrowInvalid as error:
                raise ReadError(
                    f"column {column.name!r}: a value is not a decimal ({error}); leave out exact_numeric, or filter NaN"
                ) from None
        return values


def _convert(texts: pa.ChunkedArray, column: Column) -> pa.ChunkedArray:
    """Convert a column as Arrow's CSV parser does.

    :raises ReadError: Arrow's type cannot hold a value.
    """
    if pa.types.is_boolean(column.text_type):
        return pc.equal(texts, "t")
    try:
        return pc.cast(texts, column.text_type)
    except pa.ArrowInvalid as error:
        raise column.unreadable(str(error)) from None


def _refuse_beyond_double(texts: pa.ChunkedArray, column: Column) -> None:
    """Refuse a NUMERIC outside the range of a double. Infinity is allowed: since PostgreSQL 14 a NUMERIC may be infinite.

    :raises ReadError: there is such a value.
    """
    if any(math.isinf(float(text)) for text in texts.to_pylist() if text and not text.endswith("Infinity")):
        raise ReadError(
            f"column {column.name!r}: a NUMERIC is outside the range of a double; give exact_numeric=True, "
            "or CAST it to text in the query"
        )


def _make_lists(values: pa.ChunkedArray, column: Column) -> pa.Array:
    """Convert one-dimensional arrays to lists. Their elements go through the same parser as a column."""
    element = column.element
    assert element is not None
    texts = values.combine_chunks()
    is_plain = (
        column.is_plain_array and not pc.any(pc.starts_with(texts, "[")).as_py()
    )  # the index of the first element
    elements, counts = (_split_plain if is_plain else _split_quoted)(texts, column)
    content = pa.array([], element.arrow_type)
    if len(elements):
        parsed = TextParser([element]).parse_columns([pa.chunked_array([elements])])
        content = pa.concat_arrays(parsed.column(0).chunks)
    return list_array(content, counts)


def _split_plain(texts: pa.Array, column: Column) -> tuple[pa.Array, pa.Array]:
    """Split texts of arrays at their commas; return all elements, and their number in each array."""
    if pc.any(pc.starts_with(texts, "{{")).as_py():
        raise refuse_dimensions(column)
    parts = pc.split_pattern(pc.ascii_trim(texts, "{}"), ",")
    counts = pc.if_else(pc.equal(texts, "{}"), 0, pc.list_value_length(parts))
    elements = parts.flatten()
    elements = elements.filter(pc.not_equal(elements, ""))
    return pc.if_else(pc.equal(elements, "NULL"), pa.scalar(None, pa.string()), elements), counts


def _split_quoted(texts: pa.Array, column: Column) -> tuple[pa.Array, pa.Array]:
    lists = [None if text is None else _TEXT_ARRAY(text, None) for text in texts.to_pylist()]
    flat = [item for items in lists if items for item in items]
    if any(isinstance(item, list) for item in flat):
        raise refuse_dimensions(column)
    return pa.array(flat, pa.string()), pa.array([None if items is None else len(items) for items in lists], pa.int32())
