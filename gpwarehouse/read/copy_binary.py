"""Convert the server's binary format to Arrow, a block of whole rows at a time, by numpy.

A row is the number of its fields and then, for each field, four bytes of length (−1 for NULL) and the value, big-endian
(PostgreSQL manual, COPY, "Binary Format"). So the start of a field depends only on the fields before it in its row. All rows
of a block are walked together, field by field; each field is gathered with its length in one step. Neighbouring fields of
fixed width that had no NULL so far are gathered together. Blocks are small, because a gather over more than the cache holds
takes three times as long.

A value becomes the same as on the CSV path. Results with a column without a binary form here take the CSV path.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from contextlib import suppress

import numpy as np
import pyarrow as pa

from gpwarehouse.errors import ReadError
from gpwarehouse.read.binary_values import (
    FIXED,
    Array,
    broken_answer,
    gather,
    has_binary_form,
    make_arrays,
    make_fixed,
    make_texts,
    swap_bytes,
)
from gpwarehouse.read.columns import Column

__all__ = ["BinaryParser", "has_binary"]

_ROWS_AT_ONCE = 10_000
SIGNATURE = b"PGCOPY\n\xff\r\n\0"


def has_binary(columns: Sequence[Column]) -> bool:
    """Whether all columns have a binary form here."""
    return bool(columns) and all(map(has_binary_form, columns))


class BinaryParser:
    """Parses the blocks of one result. A block is a list of messages as the server sends them, with header and trailer.

    :param many: whether a message holds many rows, as for a table that the segments of a Greenplum format: about 16 kB of rows
        (seen on 6.24 and 7.0).
    """

    def __init__(self, columns: Sequence[Column], many: bool = False) -> None:
        self.columns = tuple(columns)
        self._many = many
        self.schema = pa.schema([(column.name, column.arrow_type) for column in columns])
        # It stands after the last row, so that a gather stays inside the data although NULLs have no values.
        self._spare = bytes(16 + sum(4 + np.dtype(FIXED.get(column.oid, "u1")).itemsize for column in columns))
        self._with_nulls: set[int] = set()
        """Columns that had a NULL in a block. They end a group of columns that are gathered together."""
        self._seen = False

    def parse(self, messages: list[bytes]) -> pa.Table:
        """Make a table of the block's rows.

        :raises ReadError: Arrow's type cannot hold a value, or the messages do not hold rows.
        """
        messages = _strip_messages(messages)
        ends = np.cumsum(np.fromiter(map(len, messages), np.int64, len(messages)))
        data = b"".join([*messages, self._spare])
        begins = np.zeros(len(ends), np.int64)
        begins[1:] = ends[:-1]
        if not self._many:
            return self._parse_rows(data, begins, ends)
        if self._seen:
            with suppress(ReadError):  # the first NULL of a column makes the walk go wrong
                return self._parse_many(data, begins, ends, self._with_nulls)
        self._seen = True
        return self._parse_many(data, begins, ends, range(len(self.columns)))

    def _parse_many(self, data: bytes, begins: Array, ends: Array, with_nulls: Container[int]) -> pa.Table:
        """Parse messages that hold many rows, if only these columns have NULLs."""
        starts = _starts(data, begins, ends, self.columns, with_nulls)
        ends = np.append(starts[1:], ends[-1:])
        parts = range(0, max(len(starts), 1), _ROWS_AT_ONCE)
        return pa.concat_tables(
            self._parse_rows(data, starts[n : n + _ROWS_AT_ONCE], ends[n : n + _ROWS_AT_ONCE]) for n in parts
        )

    def _parse_rows(self, data: bytes, begins: Array, ends: Array) -> pa.Table:
        """Parse the rows between these places."""
        try:
            return self._parse_columns(data, begins.copy(), ends)
        except IndexError:  # a length points outside the data
            raise broken_answer() from None

    def _parse_columns(self, data: bytes, at: Array, ends: Array) -> pa.Table:
        if not (gather(data, ">i2", at) == len(self.columns)).all():
            raise broken_answer()
        at += 2
        arrays: list[pa.Array] = []
        while len(arrays) < len(self.columns):
            column = self.columns[len(arrays)]
            if column.oid in FIXED:
                arrays += self._gather_run(data, at, len(arrays))
            else:
                make = make_texts if column.element is None else make_arrays
                arrays.append(make(data, at, column))
        if not (at == ends).all():
            raise broken_answer()
        return pa.Table.from_arrays(arrays, schema=self.schema)

    def _gather_run(self, data: bytes, at: Array, first: int) -> list[pa.Array]:
        """Gather as many columns of fixed width as possible, from this one on; move the places after them."""
        last = first
        while last not in self._with_nulls and last + 1 < len(self.columns) and self.columns[last + 1].oid in FIXED:
            last += 1
        kinds = [np.dtype(FIXED[column.oid]) for column in self.columns[first : last + 1]]
        fields = [item for n, kind in enumerate(kinds) for item in ((f"length{n}", "i4"), (f"value{n}", kind))]
        found = gather(data, np.dtype(fields), at)
        arrays = []
        for n, kind in enumerate(kinds):
            lengths = found[f"length{n}"]
            other = lengths != swap_bytes(kind.itemsize)
            null = np.flatnonzero(other)
            if len(null) and not (lengths[null] == -1).all():
                raise broken_answer()
            at += 4 + kind.itemsize
            at[null] -= kind.itemsize
            arrays.append(
                make_fixed(found[f"value{n}"], other if len(null) else None, len(null), self.columns[first + n])
            )
            if len(null):  # only now the places of the next columns are known
                self._with_nulls.add(first + n)
                break
        return arrays


def _starts(data: bytes, begins: Array, ends: Array, columns: Sequence[Column], with_nulls: Container[int]) -> Array:
    """Find where each row begins, in order. All messages are walked side by side, one row of each at a time.

    :param with_nulls: numbers of the columns that may be NULL; other columns of fixed width are skipped.
    :raises ReadError: the walk does not end where the messages end.
    """
    steps = _plan_steps(columns, with_nulls)
    first = np.frombuffer(data, np.uint8)
    at, found = begins.copy(), [begins[:0]]
    while len(at):
        found.append(at.copy())
        try:
            for skipped, size in steps:
                at += skipped
                if size:  # NULL has the length −1, and no other length begins with this byte
                    at -= (first[at - 4 - size] == 0xFF) * size
                elif size is not None:
                    at += np.maximum(gather(data, ">i4", at - 4), 0)
        except IndexError:
            raise broken_answer() from None
        left = at < ends
        if not (left | (at == ends)).all():
            raise broken_answer()
        at, ends = at[left], ends[left]
    return np.sort(np.concatenate(found))


def _plan_steps(columns: Sequence[Column], with_nulls: Container[int]) -> list[tuple[int, int | None]]:
    """Bytes to the next length, and the width of the value just passed if it may be NULL: 0 for a text, None for no value."""
    steps: list[tuple[int, int | None]] = []
    skipped = 2
    for number, column in enumerate(columns):
        size = np.dtype(FIXED[column.oid]).itemsize if column.oid in FIXED else 0
        skipped += 4 + size
        if not size or number in with_nulls:
            steps.append((skipped, size))
            skipped = 0
    return [*steps, (skipped, None)]


def _strip_messages(rows: list[bytes]) -> list[bytes]:
    """Remove header and trailer from the messages."""
    if rows and rows[0].startswith(SIGNATURE):  # a row begins with the number of its columns, which never equals it
        begin = 19 + int.from_bytes(rows[0][15:19], "big")
        rows = [*([rows[0][begin:]] if len(rows[0]) > begin else []), *rows[1:]]
    return rows[:-1] if rows and rows[-1] == b"\xff\xff" else rows
