"""Which columns each row gave. A column that a row does not name is not NULL: the row says nothing about it.

A batch of a frame or file has the same columns for all its rows. Dicts may each name other columns: their batch then has the
additional column :data:`NAMED`. :class:`Given` numbers the sets of columns that rows name. The number stays with its row in the
column :data:`GIVEN`. Where the row is stored, the column holds the names as a text.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa

from gpwarehouse.intake.target import Target

__all__ = ["GIVEN", "NAMED", "Given", "marker", "named_apart", "names_of_rows"]

NAMED = "\x1fnamed"
"""Column of a batch: the columns that each row names, if not every row names all. No other column has such a name."""

GIVEN = "_given"
"""Column of a row that is kept: the number of the set of columns that it names. Where it is stored it is ``,column,column,``,
with those columns of its table that some rows give and others do not."""


def names_of_rows(rows: Sequence[Mapping[Any, Any]]) -> pa.Array:
    """Make the column :data:`NAMED` of rows that are dicts."""
    numbers: dict[frozenset[str], int] = {}
    places = [numbers.setdefault(frozenset(map(str, row)), len(numbers)) for row in rows]
    sets = pa.array([sorted(names) for names in numbers], pa.list_(pa.string()))
    return pa.DictionaryArray.from_arrays(pa.array(places, pa.int32()), sets)


def named_apart(batch: pa.RecordBatch) -> tuple[pa.RecordBatch, pa.DictionaryArray | None]:
    """Split a batch into its data columns and its column :data:`NAMED`, if there is one."""
    at = batch.schema.get_field_index(NAMED)
    return (batch, None) if at < 0 else (batch.drop_columns([NAMED]), batch.column(at))


def marker(column: str) -> str:
    """The part of a stored text (:data:`GIVEN`) that says that the row gave the column."""
    return f",{column},"


class Given:
    """Which columns the rows of a source name.

    :param target: the fact that they are loaded into.
    :ivar some: columns that are in any batch.
    :ivar always: columns that every row has, whatever it names.
    :ivar every: columns of the target's table that all rows so far gave.
    :ivar any: columns of the target's table that any row gave.
    """

    def __init__(self, target: Target) -> None:
        self.target = target
        self.some: set[str] = set()
        self.always: frozenset[str] = frozenset()
        self.any: frozenset[str] = frozenset()
        self.every: frozenset[str] = frozenset()
        self._numbers: dict[frozenset[str], int] = {}
        self._sets: list[tuple[frozenset[str], frozenset[str]]] = []
        self._runs = hashlib.sha256()
        self._run: tuple[int, int] = (0, 0)

    def number(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, np.ndarray[Any, Any]]:
        """Take :data:`NAMED` from a batch; return the batch, and for each row the number of the set of columns that it names."""
        batch, named = named_apart(batch)
        self.some |= set(batch.schema.names)
        if not batch.num_rows:
            return batch, np.empty(0, np.int32)
        if named is None:
            numbers = np.full(batch.num_rows, self._number_of(batch.schema.names), np.int32)
            self._count(int(numbers[0]), batch.num_rows)
            return batch, numbers
        own = np.asarray([self._number_of(names) for names in named.dictionary.to_pylist()], np.int32)
        numbers = own[np.asarray(named.indices)]
        bounds = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), len(numbers)]
        for start, end in pairwise(bounds):
            self._count(int(numbers[start]), end - start)
        return batch, numbers

    def _number_of(self, names: Collection[str]) -> int:
        own = self.always | frozenset(names)
        if own not in self._numbers:
            self._numbers[own] = len(self._sets)
            given = self.target.given_columns(own)
            self.any |= given
            self.every = self.every & given if self._sets else given
            self._sets.append((own, given))
        return self._numbers[own]

    def _count(self, number: int, rows: int) -> None:
        """Hash runs of rows that name the same columns, each when it ends, so that the hash does not depend on the batches."""
        before, count = self._run
        if count and before != number:
            self._runs.update(f"{self._join_names(before)}:{count};".encode())
            count = 0
        self._run = number, count + rows

    def _join_names(self, number: int) -> str:
        return ",".join(sorted(self.names_of(number)))

    def names_of(self, number: int) -> frozenset[str]:
        """The columns that rows of this number name."""
        return self._sets[number][0]

    def words(self) -> list[str]:
        """Texts that tell apart equal values that were given in other columns."""
        before, count = self._run
        runs = self._runs.copy()
        runs.update(f"{self._join_names(before)}:{count};".encode() if count else b"")
        return [*sorted(self.some), *([runs.hexdigest()] if len(self._sets) > 1 else [])]

    @property
    def not_every(self) -> frozenset[str]:
        """Columns of the table that some rows give and others do not."""
        return self.any - self.every

    def labelled(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Replace the numbers of rows by the texts of the columns that they give, if rows differ; after all rows are read."""
        texts = ["".join((",", *(f"{name}," for name in sorted(given & self.not_every)))) for _, given in self._sets]
        labels = pa.array(texts, pa.string())
        for batch in batches:
            at = batch.schema.get_field_index(GIVEN)
            if at >= 0 and self.not_every:
                batch = batch.set_column(at, GIVEN, labels.take(batch.column(at)))
            yield batch
