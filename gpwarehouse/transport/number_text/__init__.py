"""Format numbers and times of many columns as the text of their rows, all at once.

The segments of a Greenplum wait for this text, and Arrow's casts and joins take twice as long. So each column is written into
cells (see ``digits``) by arithmetic on all its values, and the cells are then moved together into rows (see ``rows``). The CSV
writer of polars is as fast, but its threads hang in a process that was forked after their first use.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gpwarehouse.transport.columns import elements_of, offsets_of, raw_values
from gpwarehouse.transport.number_text.digits import (
    CELL_BYTES,
    CELL_WORDS,
    eight_digits,
    seven_digits,
    signs,
    texts_of,
    word,
)
from gpwarehouse.transport.number_text.doubles import fill_floats
from gpwarehouse.transport.number_text.rows import join_rows

__all__ = ["arrays_as_text", "format_exactly", "has_cells", "join_as_text"]

_DAY_US = 86_400_000_000


def has_cells(kind: pa.DataType) -> bool:
    """Whether values of an Arrow type are written here: numbers, dates and ``timestamp[us]``."""
    return bool(
        pa.types.is_signed_integer(kind)
        or kind in (pa.float32(), pa.float64(), pa.date32())
        or (pa.types.is_timestamp(kind) and kind.unit == "us")
    )


def format_exactly(array: pa.Array) -> pa.Array:
    """Convert float64 to text with so many digits that any server reads back the same double; NULL stays NULL."""
    texts = join_as_text([array], "", "", is_exact=False)
    return pc.if_else(pc.is_valid(array), texts, pa.scalar(None, pa.string())) if array.null_count else texts


def join_as_text(columns: Sequence[pa.Array], separator: str, null: str, *, is_exact: bool) -> pa.Array:
    """Format the values of each row as one text.

    Numbers have a sign and leading zeros. Times are ``YYYYMMDDTHHMMSS.ffffff`` (ISO 8601, basic format), with a Z if the type has
    a time zone. PostgreSQL and Greenplum read them alike for every DateStyle.

    :param columns: columns of types that have cells, of the same length; times are in the years 1 to 9999.
    :param separator: text between two values: one ASCII character or nothing.
    :param null: text for NULL; ASCII, with the separator at most 8 characters.
    :param is_exact: whether the server reads any decimal as the nearest double.
    :return: strings without NULLs, as many as there are rows.
    """
    rows, count = len(columns[0]), len(columns)
    if not rows:
        return pa.array([], pa.string())
    cells = _allocate_cells(count, rows)
    ends = [separator] * (count - 1) + [""]
    lengths = [_fill(*each, null, is_exact) for each in zip(cells, columns, ends, strict=True)]
    offsets, text = join_rows([column.view(f"V{CELL_BYTES}").reshape(-1) for column in cells], lengths)
    return pa.StringArray.from_buffers(rows, offsets, text)


def arrays_as_text(array: pa.Array, *, is_exact: bool) -> pa.Array:
    """Format lists of numbers as the server's texts of arrays (``{1,NaN,NULL}``), all elements at once; NULL stays NULL.

    :param array: lists of a type that has cells.
    :param is_exact: as for :func:`join_as_text`.
    """
    elements, counts = elements_of(array)
    are_filled = counts > 0
    texts = pa.repeat("{}", len(array))
    if len(elements):
        offsets, text = _join_elements(elements, is_exact)
        ends = np.frombuffer(offsets, np.int32)[np.frombuffer(offsets_of(counts), np.int32)]
        np.frombuffer(text, np.uint8)[ends[1:][are_filled] - 1] = ord("}")  # in the place of the last comma
        rows = pa.StringArray.from_buffers(len(array), pa.py_buffer(ends), text)
        texts = pc.binary_join_element_wise("{", pc.if_else(pa.array(are_filled), rows, "}"), "")
    return pc.if_else(array.is_valid(), texts, pa.scalar(None, pa.string())) if array.null_count else texts


def _join_elements(elements: pa.Array, is_exact: bool) -> tuple[pa.Buffer, pa.Buffer]:
    """Format numbers, each with a comma after it; return where they begin, and the text."""
    null = "NULL"
    if (
        pa.types.is_floating(elements.type) and not elements.null_count
    ):  # NaN, like NULL, keeps the digits of the others few
        elements, null = pc.if_else(pc.is_nan(elements), pa.scalar(None, elements.type), elements), "NaN"
    cells = _allocate_cells(1, len(elements))
    lengths = _fill(cells[0], elements, ",", null, is_exact)
    return join_rows([cells[0].view(f"V{CELL_BYTES}").reshape(-1)], [lengths])


def _allocate_cells(count: int, rows: int) -> Any:
    """Allocate columns of cells from Arrow's pool, which keeps its pages: new ones would cost as much time as the work itself."""
    return np.frombuffer(pa.allocate_buffer(count * rows * CELL_BYTES), "<i8").reshape(count, rows, CELL_WORDS)


def _fill(cells: Any, array: pa.Array, end: str, null: str, is_exact: bool) -> Any:
    """Write a column's cells; return their lengths in bytes, or one length for all."""
    kind = array.type
    if array.null_count == len(array):
        cells[:, 0] = word(null + end)
        return len(null + end)
    values, missing = raw_values(array), None
    if array.null_count:
        missing = np.asarray(pc.is_null(array))
        if array.null_count > len(array) // 2:
            return _fill_few(cells, kind, values, ~missing, end, null, is_exact)
        # Another value takes the place of NULLs, so that they do not affect the format of the others.
        values = np.where(missing, values[int(np.argmin(missing))], values)
    lengths = _fill_values(cells, kind, values, end, is_exact)
    if missing is not None:
        cells[missing, 0] = word(null + end)
        lengths = np.where(missing, len(null + end), lengths)
    return lengths


def _fill_few(cells: Any, kind: pa.DataType, values: Any, there: Any, end: str, null: str, is_exact: bool) -> Any:
    """Write a column that is mostly NULL."""
    some = np.empty((int(there.sum()), CELL_WORDS), np.int64)
    lengths = np.full(len(values), len(null + end))
    lengths[there] = _fill_values(some, kind, values[there], end, is_exact)
    cells[:, 0] = word(null + end)
    cells[there] = some
    return lengths


def _fill_values(cells: Any, kind: pa.DataType, values: Any, end: str, is_exact: bool) -> Any:
    if pa.types.is_floating(kind):
        return fill_floats(cells, values, end, is_exact=is_exact)
    values = values.astype(np.int64, copy=False)
    if pa.types.is_timestamp(kind):
        return _fill_moments(cells, values, f"Z{end}" if kind.tz else end)
    if pa.types.is_date(kind):
        cells[:, 0] = _format_dates(values)
        cells[:, 1] = word(end)
        return 8 + len(end)
    return _fill_integers(cells, values, end)


def _fill_integers(cells: Any, values: Any, end: str) -> int:
    """Write a sign and 3, 7, 15 or 19 digits, as many as the largest number needs."""
    size = np.abs(values).view(np.uint64)  # as uint64, the absolute value of the smallest integer is right
    most = int(size.max())
    sign = signs(values < 0)
    if most < 10**3:
        cells[:, 0] = sign | (texts_of(3)[size.view(np.int64)] << 8) | (word(end) << 32)
        return 4 + len(end)
    if most < 10**7:
        cells[:, 0] = sign | seven_digits(size.view(np.int64))
        cells[:, 1] = word(end)
        return 8 + len(end)
    if most < 10**15:
        low, digits = 10**8, 15
        cells[:, 2] = word(end)
    else:
        low, digits = 10**12, 19
    top = size // np.uint64(low)
    rest = (size - top * np.uint64(low)).view(np.int64)
    cells[:, 0] = sign | seven_digits(top.view(np.int64))
    if digits == 15:
        cells[:, 1] = eight_digits(rest)
    else:
        middle = rest // 10**4
        cells[:, 1] = eight_digits(middle)
        cells[:, 2] = texts_of(4)[rest - middle * 10**4] | (word(end) << 32)
    return 1 + digits + len(end)


def _fill_moments(cells: Any, clock: Any, end: str) -> int:
    """Write ``YYYYMMDDTHHMMSS.ffffff`` of microseconds since 1970."""
    days = clock // _DAY_US
    within = clock - days * _DAY_US
    seconds = within // 10**6
    fraction = within - seconds * 10**6
    upper = fraction // 10**3
    cells[:, 0] = _format_dates(days)
    cells[:, 1] = _list_seconds()[seconds]
    cells[:, 2] = texts_of(3)[upper] | (texts_of(3)[fraction - upper * 10**3] << 24) | (word(end) << 48)
    return 22 + len(end)


def _format_dates(days: Any) -> Any:
    """``YYYYMMDD`` as words, for days since 1970."""
    first, last = int(days.min()), int(days.max())
    if last - first < len(days):  # format each day once
        return _format_each_date(np.arange(first, last + 1))[days - first]
    return _format_each_date(days)


def _format_each_date(days: Any) -> Any:
    dates = days.astype("M8[D]")
    months = dates.astype("M8[M]")
    years = months.astype("M8[Y]")
    month = (months - years).astype(np.int64) + 1
    day = (dates - months).astype(np.int64) + 1
    return eight_digits((years.astype(np.int64) + 1970) * 10_000 + month * 100 + day)


@cache
def _list_seconds() -> Any:
    """``T000000.`` to ``T235959.``, a word for each second of a day."""
    seconds = np.arange(86_400)
    hours, minutes = seconds // 3600, seconds // 60 % 60
    digits = (texts_of(2)[part] << shift for part, shift in ((hours, 8), (minutes, 24), (seconds % 60, 40)))
    return np.int64(ord("T")) | sum(digits) | (np.int64(ord(".")) << 56)
