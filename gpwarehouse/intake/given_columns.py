"""What was given, row by row: a column that a row does not name is not NULL, it is not spoken of.

A batch of a frame or file brings the same columns for all its rows. Rows of dicts may each name others: their batch has the
column :data:`NAMED` beside its own. :class:`Given` gives all rows of a source that name the same columns the same number,
which goes with a row as the column :data:`GIVEN` to where it is stored; there it is the text of what the row names.
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
"""Column of a batch: the columns that each row names, where not every row names all; no column of others has such a name."""

GIVEN = "_given"
"""Column of a row that is kept: the number of the set of columns that it names. Where it is stored: ``,column,column,``, of
the columns of its table that not all rows tell."""


def names_of_rows(rows: Sequence[Mapping[Any, Any]]) -> pa.Array:
    """The column :data:`NAMED` of rows that are dicts."""
    numbers: dict[frozenset[str], int] = {}
    places = [numbers.setdefault(frozenset(map(str, row)), len(numbers)) for row in rows]
    sets = pa.array([sorted(names) for names in numbers], pa.list_(pa.string()))
    return pa.DictionaryArray.from_arrays(pa.array(places, pa.int32()), sets)


def named_apart(batch: pa.RecordBatch) -> tuple[pa.RecordBatch, pa.DictionaryArray | None]:
    """A batch without its column :data:`NAMED`, and this, if it has it."""
    at = batch.schema.get_field_index(NAMED)
    return (batch, None) if at < 0 else (batch.drop_columns([NAMED]), batch.column(at))


def marker(column: str) -> str:
    """What the stored text of a row holds (:data:`GIVEN`) which tells the column."""
    return f",{column},"


class Given:
    """Which columns the rows of a source name.

    :param target: what they are for.
    :ivar some: columns that are there in any batch. ``always``: that every row has, whatever it names.
    :ivar every: columns of the target's table that all rows told so far; ``any``: that any row did.
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
        """A batch without :data:`NAMED`, and of each row the number of the set of columns that it names."""
        batch, named = named_apart(batch)
        self.some |= set(batch.schema.names)
        if not batch.num_rows:
            return batch, np.empty(0, np.int32)
        if named is None:
            numbers = np.full(batch.num_rows, self._number(batch.schema.names), np.int32)
            self._count(int(numbers[0]), batch.num_rows)
            return batch, numbers
        own = np.asarray([self._number(names) for names in named.dictionary.to_pylist()], np.int32)
        numbers = own[np.asarray(named.indices)]
        bounds = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), len(numbers)]
        for start, end in pairwise(bounds):
            self._count(int(numbers[start]), end - start)
        return batch, numbers

    def _number(self, names: Collection[str]) -> int:
        own = self.always | frozenset(names)
        if own not in self._numbers:
            self._numbers[own] = len(self._sets)
            told = self.target.told(own)
            self.any |= told
            self.every = self.every & told if self._sets else told
            self._sets.append((own, told))
        return self._numbers[own]

    def _count(self, number: int, rows: int) -> None:
        """Hash runs of rows that name the same, the same whatever the batches: a run is hashed when it ends."""
        before, count = self._run
        if count and before != number:
            self._runs.update(f"{self._words(before)}:{count};".encode())
            count = 0
        self._run = number, count + rows

    def _words(self, number: int) -> str:
        return ",".join(sorted(self.names_of(number)))

    def names_of(self, number: int) -> frozenset[str]:
        """The columns that rows of this number name."""
        return self._sets[number][0]

    def words(self) -> list[str]:
        """What tells the same values apart that were given otherwise."""
        before, count = self._run
        runs = self._runs.copy()
        runs.update(f"{self._words(before)}:{count};".encode() if count else b"")
        return [*sorted(self.some), *([runs.hexdigest()] if len(self._sets) > 1 else [])]

    @property
    def not_every(self) -> frozenset[str]:
        """Columns of the table that some rows tell and others do not."""
        return self.any - self.every

    def labelled(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Rows with their numbers → with the text of what each tells, if not all tell the same; when all are read."""
        texts = ["".join((",", *(f"{name}," for name in sorted(told & self.not_every)))) for _, told in self._sets]
        labels = pa.array(texts, pa.string())
        for batch in batches:
            at = batch.schema.get_field_index(GIVEN)
            if at >= 0 and self.not_every:
                batch = batch.set_column(at, GIVEN, labels.take(batch.column(at)))
            yield batch
