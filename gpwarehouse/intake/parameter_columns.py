"""Values of a frame that come in a column each, or as lists with their names: make ``measured`` of them.

A column of values is one whose name begins with the prefix and is no column of the target. Its name without the prefix is the
parameter's name. Numbers that a double holds are values, also those of a column of texts (as CSV has them). NaN and empty texts
are none. Whatever else stands in such a column goes to ``parameters``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gpwarehouse.errors import InvalidInputError
from gpwarehouse.intake.arrow_layouts import flat
from gpwarehouse.intake.given_columns import NAMED
from gpwarehouse.intake.json_numbers import held_by_doubles
from gpwarehouse.intake.json_objects import join_entries, write_values
from gpwarehouse.intake.measured_values import ParameterSets, arrays_of
from gpwarehouse.intake.target import MEASURED, PARAMETERS, SET_KEY, Target
from gpwarehouse.models.parameter_sets import ParameterSet
from gpwarehouse.transport.columns import elements_of

__all__ = ["ParameterColumns"]

Array = np.ndarray[Any, Any]
_CELLS_AT_ONCE = 1 << 22
"""Values that are brought into a matrix at a time: 32 MB."""
_JSON_NUMBER = r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]{1,2})?$"
"""With leading zeros it is a serial number; with a larger exponent it may be outside the range of a double."""
_NO_VALUE = r"^\s*([nN][aA][nN])?\s*$"
_WHOLE = 2**53
_LIKE_TEXT = (pa.types.is_integer, pa.types.is_decimal, pa.types.is_string, pa.types.is_large_string)


@dataclass(frozen=True)
class ParameterColumns:
    """How a frame brings values besides ``parameters``.

    :ivar target: the fact.
    :ivar sets: collects the lists.
    :ivar names: names of the values of each list in column ``measured``.
    :ivar prefix: beginning of the names of columns that hold values.
    :raises InvalidInputError: both are given, the target holds no measured values, or a name cannot be a parameter's.
    """

    target: Target
    sets: ParameterSets
    names: tuple[str, ...] | None = None
    prefix: str | None = None

    def __post_init__(self) -> None:
        given = "parameter_names" if self.names is not None else "parameter_prefix" if self.prefix is not None else None
        if given and MEASURED not in self.target.inputs:
            raise InvalidInputError(f"{given}: {self.target.name} has no column {MEASURED!r}; leave it out")
        if self.names is not None:
            self.sets.of(self.names)

    def takes(self, name: str) -> bool:
        """Whether the column of that name holds values of a parameter."""
        return self.prefix is not None and name.startswith(self.prefix) and name not in self.target.inputs

    def convert(self, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        """Yield the same rows with ``measured`` and ``parameter_set_key``; more than one batch if there are many values.

        :raises InvalidInputError: a list has another length than the names, or a column is given twice.
        """
        wide = [name for name in batch.schema.names if self.takes(name)]
        width = len(wide) or len(self.names or ())
        if not wide and not (self.names is not None and MEASURED in batch.schema.names):
            yield batch
            return
        own = [name for name in (SET_KEY, *([MEASURED] if wide else [])) if name in batch.schema.names]
        if own:
            raise InvalidInputError(
                f"{self.target.name}: column {own[0]!r} is made of the frame's values; leave it out"
            )
        step = max(1, _CELLS_AT_ONCE // width)
        for start in range(0, max(batch.num_rows, 1), step):
            rows = batch.slice(start, step)
            yield self._gather(rows, wide) if wide else self._order(rows)

    def _order(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Bring the elements of lists into the order of their parameters."""
        assert self.names is not None
        made, positions = self.sets.of(self.names)
        lists = _lists_of_doubles(batch.column(MEASURED))
        elements, counts = elements_of(lists)
        is_given = np.asarray(lists.is_valid())
        wrong = np.flatnonzero(is_given & (counts != len(self.names)))
        if len(wrong):
            raise InvalidInputError(
                f"{self.target.name}: a list in column {MEASURED!r} has {counts[wrong[0]]} values, but parameter_names has "
                f"{len(self.names)} names; give a value, or NaN, for each name"
            )
        matrix = np.full((batch.num_rows, len(self.names)), np.nan)
        matrix[np.ix_(np.flatnonzero(is_given), positions)] = np.asarray(elements.fill_null(np.nan)).reshape(
            -1, len(self.names)
        )
        return self._put(batch.drop_columns([MEASURED]), matrix, made, None)

    def _gather(self, batch: pa.RecordBatch, wide: Sequence[str]) -> pa.RecordBatch:
        """Bring the values of columns into a matrix."""
        assert self.prefix is not None
        names = [name.removeprefix(self.prefix) for name in wide]
        made, positions = self.sets.of(names)
        matrix = np.full((batch.num_rows, len(names)), np.nan)
        others: dict[str, pa.Array] = {}
        for name, column, position in zip(names, wide, positions.tolist(), strict=True):
            array = batch.column(column)
            matrix[:, position], is_other = _numbers_of(array)
            if is_other.any():
                others[name] = _write_json(pc.if_else(pa.array(is_other), array, pa.scalar(None, array.type)), name)
        rest = None
        if others:
            if PARAMETERS in batch.schema.names:
                raise InvalidInputError(
                    f"{self.target.name}: column {self.prefix + next(iter(others))!r} has values that are no numbers. They would "
                    f"go to {PARAMETERS!r}, which the frame has too; put them there"
                )
            inside = join_entries(others)
            rest = pc.binary_join_element_wise("{", inside, "}", "")
            rest = pc.if_else(pc.equal(inside, ""), pa.scalar(None, pa.string()), rest)
        return self._put(batch.drop_columns(list(wide)), matrix, made, rest)

    def _put(self, batch: pa.RecordBatch, matrix: Array, made: ParameterSet, rest: pa.Array | None) -> pa.RecordBatch:
        has_values: Array = np.asarray(~np.isnan(matrix).all(axis=1))
        keys, lists = arrays_of(matrix, has_values, made)
        batch = batch.append_column(SET_KEY, keys).append_column(MEASURED, lists)
        if rest is not None:
            batch = batch.append_column(PARAMETERS, rest)
        at = batch.schema.get_field_index(NAMED)
        return batch if at < 0 else batch.set_column(at, NAMED, self._rename(batch.column(at)))

    def _rename(self, named: pa.DictionaryArray) -> pa.DictionaryArray:
        """Name the made columns in the place of those that they are made of."""
        sets = []
        for names in named.dictionary.to_pylist():
            own = {name for name in names if not self.takes(name)}
            sets.append(sorted(own | ({SET_KEY, MEASURED} if len(own) < len(names) or MEASURED in own else set())))
        return pa.DictionaryArray.from_arrays(named.indices, pa.array(sets, pa.list_(pa.string())))


def _lists_of_doubles(array: pa.Array) -> pa.Array:
    try:
        return array.cast(pa.list_(pa.float64()))
    except pa.ArrowException:
        raise InvalidInputError(
            f"column {MEASURED!r} has type {array.type}; give lists of numbers, as many as there are parameter_names"
        ) from None


def _write_json(array: pa.Array, name: str) -> pa.Array:
    """Write values as JSON. Numbers of texts and decimals keep all their digits."""
    if not any(test(array.type) for test in _LIKE_TEXT):
        texts = write_values(flat(array, is_json=False))
        if texts is None:
            raise InvalidInputError(
                f"parameter {name!r}: a value of type {array.type} has no JSON form; leave the column out"
            )
        return texts
    texts = array.cast(pa.string())
    is_number = pc.match_substring_regex(texts, _JSON_NUMBER)
    return texts if pc.all(is_number).as_py() else pc.if_else(is_number, texts, write_values(texts))


def _numbers_of(array: pa.Array) -> tuple[Array, Array]:
    """Read the numbers of a column; NaN stands for everything else. Also tell where there is something else."""
    kind = array.type
    if pa.types.is_floating(kind):
        return np.asarray(array.cast(pa.float64()).fill_null(np.nan)), np.zeros(len(array), bool)
    if pa.types.is_integer(kind) and _are_doubles(array):
        return np.asarray(array.cast(pa.float64()).fill_null(np.nan)), np.zeros(len(array), bool)
    if any(test(kind) for test in _LIKE_TEXT):
        return _numbers_of_texts(array.cast(pa.string()))
    return np.full(len(array), np.nan), np.asarray(array.is_valid())


def _are_doubles(array: pa.Array) -> bool:
    """Whether doubles hold all integers of an array."""
    span = pc.min_max(array).as_py()
    return span["min"] is None or (span["min"] >= -_WHOLE and span["max"] <= _WHOLE)


def _numbers_of_texts(texts: pa.Array) -> tuple[Array, Array]:
    numbers = np.full(len(texts), np.nan)
    is_number = np.asarray(pc.match_substring_regex(texts, _JSON_NUMBER).fill_null(False))
    places = np.flatnonzero(is_number)
    values, is_held = held_by_doubles(texts.take(pa.array(places)))
    numbers[places[is_held]] = values[is_held]
    nothing = np.asarray(pc.match_substring_regex(texts, _NO_VALUE).fill_null(True))
    return numbers, np.isnan(numbers) & ~nothing
