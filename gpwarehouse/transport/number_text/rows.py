"""Join columns of cells into rows of bytes: the used bytes of a row's cells are moved together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

__all__ = ["join_rows"]


def join_rows(columns: Sequence[Any], lengths: Sequence[Any]) -> tuple[pa.Buffer, pa.Buffer]:
    """Join columns of cells into rows.

    :param columns: contiguous arrays of equal length, each of items of one size in bytes.
    :param lengths: for each column, the number of used bytes of its cells: an int64 array, or one number for all.
    :return: offsets of the rows (int32) and their bytes, in Arrow's layout; undefined bytes follow at the end.
    :raises OverflowError: there are more bytes than such offsets can count, which no batch of a load has.
    """
    rows = len(columns[0])
    offsets = np.zeros(rows + 1, np.int64)
    np.cumsum(sum(lengths, np.zeros(rows, np.int64)), out=offsets[1:])
    if offsets[-1] > np.iinfo(np.int32).max:
        raise OverflowError(f"{offsets[-1]} bytes of text in one batch; make the batches smaller")
    text = pa.allocate_buffer(int(offsets[-1]) + max(column.itemsize for column in columns))
    start = offsets[:-1].copy()
    for column, length in zip(columns, lengths, strict=True):
        _move(column, start, text, column.itemsize)  # whole items: the next column is written over the unused bytes
        start += length
    _mend(text, columns, lengths, offsets[:-1])
    return pa.py_buffer(offsets.astype(np.int32)), text


def _mend(text: pa.Buffer, columns: Sequence[Any], lengths: Sequence[Any], rows: Any) -> None:
    """Write the first cells of rows again, without their unused bytes, because the cells of the previous row overwrote them."""
    beyond = max(column.itemsize - int(np.min(length)) for column, length in zip(columns, lengths, strict=True))
    start = rows.copy()
    for column, length in zip(columns, lengths, strict=True):
        if (start - rows).min() >= beyond:
            return
        for size in np.flatnonzero(np.bincount(np.atleast_1d(length))).tolist():
            some = slice(None) if np.ndim(length) == 0 else length == size
            _move(column[some], start[some], text, size)
        start += length


def _move(cells: Any, starts: Any, text: pa.Buffer, size: int) -> None:
    """Write the first ``size`` bytes of each cell to its place in the text."""
    if size:
        places = np.ndarray((text.size - size + 1,), f"V{size}", text, strides=(1,))
        places[starts] = np.ndarray((len(cells),), f"V{size}", cells, strides=cells.strides)
