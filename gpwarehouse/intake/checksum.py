"""The checksum of the values in a frame. It does not depend on chunks, column order or the bytes behind NULLs.

:func:`checksum_of` computes it before the rows are checked. The batch's id is then known, and rows may be sent early. The first
pass computes the same checksum if every value can be read. :func:`checksum_of` does not test whether JSON can be parsed, because
that would take longest. If the later check finds a value that cannot be read, the caller gives up the batch that it began under
this checksum.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gpwarehouse.intake.row_checks import Inputs
from gpwarehouse.intake.target import InputColumn, Target
from gpwarehouse.transport.columns import elements_of

__all__ = ["Fingerprint", "batch_id_for", "checksum_of"]

_THREADS = 2
"""Hashing releases Python's global lock, and the server has nothing to do yet."""


class _Column:
    """Which rows of a column have a value, and the values. Nothing is hashed before the first value."""

    def __init__(self) -> None:
        self.is_empty = True
        self._missing = 0
        self._valid, self._sizes, self._values = hashlib.sha256(), hashlib.sha256(), hashlib.sha256()

    def update(self, array: pa.Array) -> None:
        if array.null_count == len(array):
            self._missing += len(array)
            return
        self._catch_up()
        self.is_empty = False
        self._valid.update(_view_fixed_width(array.is_valid()))
        array = array.drop_null()
        if pa.types.is_list(array.type):
            elements, counts = elements_of(array)
            self._sizes.update(counts)
            self._values.update(_view_fixed_width(elements))
        elif pa.types.is_string(array.type):
            self._sizes.update(_view_fixed_width(pc.binary_length(array)))
            self._values.update(_view_characters(array))
        else:
            self._values.update(_view_fixed_width(array))

    def digest(self) -> bytes:
        self._catch_up()
        return self._valid.digest() + self._sizes.digest() + self._values.digest()

    def _catch_up(self) -> None:
        for start in range(0, self._missing, 1 << 20):
            self._valid.update(bytes(min(1 << 20, self._missing - start)))
        self._missing = 0


class Fingerprint:
    """SHA-256 over the values of record batches of one schema, column by column."""

    def __init__(self) -> None:
        self._columns: dict[str, _Column] = {}
        self._unreadable = hashlib.sha256()

    def update(self, batch: pa.RecordBatch) -> None:
        """Add a batch. A column of NULLs only counts as a column that is absent."""
        for name, array in zip(batch.schema.names, batch.columns, strict=True):
            self.update_column(name, array)

    def update_column(self, name: str, array: pa.Array) -> None:
        """Add the next values of one column. Other threads may add values of other columns at the same time."""
        self._columns.setdefault(name, _Column()).update(array)

    def update_unreadable(self, raw: str) -> None:
        """Add a row with an unreadable value, as text, so that content with other bad rows has another checksum."""
        self._unreadable.update(raw.encode() + b"\x00")

    def hexdigest(self) -> str:
        """The checksum, 64 hexadecimal digits."""
        total = hashlib.sha256()
        for name, column in sorted(self._columns.items()):
            if not column.is_empty:
                total.update(name.encode() + b"\x00" + column.digest())
        total.update(self._unreadable.digest())
        return total.hexdigest()


def _view_characters(array: pa.Array) -> Any:
    """Return the bytes of all texts of an array without NULLs, one after the other, without a copy."""
    if not len(array):
        return b""
    _, offsets, data = array.buffers()
    bounds = np.frombuffer(offsets, np.int32)
    first, end = int(bounds[array.offset]), int(bounds[array.offset + len(array)])
    return memoryview(data)[first:end] if data is not None else b""


def _view_fixed_width(array: pa.Array) -> Any:
    if pa.types.is_boolean(array.type):
        array = array.cast(pa.uint8())
    elif pa.types.is_timestamp(array.type):
        array = array.cast(pa.int64())
    elif pa.types.is_date(array.type):
        array = array.cast(pa.int32())
    return np.asarray(array)


def batch_id_for(target: str, checksum: str) -> str:
    """Derive the id of a batch from target and content: 32 hexadecimal digits. It is used if the caller gives none."""
    return hashlib.sha256(f"{target}\x1f{checksum}".encode()).hexdigest()[:32]


class _Unread(Exception):
    """A value that cannot be read."""


def checksum_of(batches: Iterable[pa.RecordBatch], target: Target) -> str | None:
    """Compute SHA-256 of the rows in the types of their target.

    :return: None if a value cannot be read, so that only a first pass can tell the checksum.
    :raises InvalidInputError: the rows do not fit the target.
    """
    fingerprint, inputs, first_row = Fingerprint(), Inputs(target), 1
    with ThreadPoolExecutor(_THREADS, "gpwarehouse-hash") as threads:
        for batch in batches:
            target.check_names(batch.schema.names)
            add = partial(_add, fingerprint, inputs, batch, first_row)
            try:
                list(threads.map(add, inputs.columns))
            except _Unread:
                return None
            first_row += batch.num_rows
    return fingerprint.hexdigest()


def _add(fingerprint: Fingerprint, inputs: Inputs, batch: pa.RecordBatch, first_row: int, column: InputColumn) -> None:
    if column.is_json and column.name in batch.schema.names:
        array = batch.column(column.name).cast(pa.string())
    else:
        array, faults = inputs.read(batch, column, first_row)
        if faults:
            raise _Unread
    fingerprint.update_column(column.name, array)
