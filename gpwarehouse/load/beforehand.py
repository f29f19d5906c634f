"""The checksum of a frame in memory, taken before its rows are checked: with it the batch's id is known, and rows may go early.

It is the one that the first pass would find where every value can be read. That JSON can be is not looked at here, which
would take longest: whoever checks the rows later gives up what was begun in its name once one of them cannot.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pyarrow as pa

from gpwarehouse.load.fingerprint import Fingerprint
from gpwarehouse.load.target import InputColumn, Target
from gpwarehouse.load.validate import Inputs

__all__ = ["checksum_of"]

_THREADS = 2
"""Hashing leaves Python to others, and the server has nothing to do yet."""


class _Unread(Exception):
    """A value that cannot be read."""


def checksum_of(batches: Iterable[pa.RecordBatch], target: Target) -> str | None:
    """SHA-256 of the rows as their target has them; None where it takes a first pass to tell.

    :raises InvalidInputError: they do not fit the target.
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
