"""Make arrays of measured values, and the lists that say what stands in them, of what a frame brings.

A frame brings values in ``parameters`` (objects: name → value), in columns of a common prefix, or as lists with names. A row of
the fact has them in ``measured``, at the positions of the list ``parameter_set_key``. NaN stands where a row has no value. A row
without any value has neither. What no array of doubles holds stays in ``parameters``.

Values of a batch are a matrix, and are treated as one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gpwarehouse.errors import InvalidInputError
from gpwarehouse.intake.json_numbers import Numbers, parameter_named, take_numbers
from gpwarehouse.intake.json_values import json_of_element
from gpwarehouse.intake.target import MEASURED, PARAMETERS, SET_KEY
from gpwarehouse.models.parameter_sets import ParameterSet
from gpwarehouse.transport.columns import elements_of, list_array

__all__ = ["ParameterSets", "arrays_of", "count_values", "factor_parameters", "lengths_by_key"]

Array = np.ndarray[Any, Any]
_SPARSE = 8
"""Cells of a matrix for each value in it, above which the rows are divided, so that each half has a list of its own."""
_LEAST_CELLS = 1 << 20


class ParameterSets:
    """The lists that are made of the names of values.

    :ivar made: key → list.
    """

    def __init__(self) -> None:
        self.made: dict[int, ParameterSet] = {}
        self._known: dict[tuple[str, ...], tuple[ParameterSet, Array]] = {}

    def of(self, names: Sequence[str]) -> tuple[ParameterSet, Array]:
        """Make the list of names; return it, and the place in the array of each name, from 0.

        :raises InvalidInputError: no parameter can have one of the names, a name occurs twice, or there are too many.
        """
        known = self._known.get(tuple(names))
        if known is None:
            made = ParameterSet.of(map(_require_parameter, names))
            places = {parameter.name: place for place, parameter in enumerate(made.parameters)}
            known = self._known[tuple(names)] = made, np.array([places[name] for name in names], np.int64)
            self.made[made.key] = made
        return known

    def restore(self, raw: dict[str, Any], row: Mapping[str, Any]) -> dict[str, Any]:
        """Give a reject's row its values under their names, if they came so.

        :param raw: the row as it is to be told.
        :param row: the row with its array.
        """
        raw = {name: value for name, value in raw.items() if value is not None or name not in (SET_KEY, MEASURED)}
        found = self.made.get(row.get(SET_KEY) or 0)
        if found is None or row.get(MEASURED) is None:
            return raw
        pairs = zip(found.parameters, row[MEASURED], strict=False)
        values = json_of_element({parameter.name: value for parameter, value in pairs if value is not None})
        rest = row.get(PARAMETERS)
        texts = [text.strip()[1:-1] for text in (values, rest or "{}")]
        kept = {name: value for name, value in raw.items() if name not in (SET_KEY, MEASURED)}
        return kept | {PARAMETERS: f"{{{','.join(filter(None, texts))}}}"}


def _require_parameter(name: str) -> Any:
    parameter = parameter_named(name)
    if parameter is None:
        raise InvalidInputError(
            f"{name!r} cannot be the name of a parameter: it is empty or holds U+001E, U+001F or NUL"
        )
    return parameter


def factor_parameters(texts: pa.Array, sets: ParameterSets) -> dict[str, pa.Array]:
    """Make the columns ``parameter_set_key``, ``measured`` and ``parameters`` of objects.

    :param texts: valid JSON objects, or NULL.
    :param sets: collects the lists.
    """
    if texts.null_count == len(texts):
        return {PARAMETERS: texts}
    given = np.flatnonzero(np.asarray(texts.is_valid()))
    found = take_numbers(texts.drop_null())
    keys, lists = _make_arrays(found, len(given), sets)
    columns = {SET_KEY: keys, MEASURED: lists, PARAMETERS: found.rest}
    return columns if len(given) == len(texts) else {n: _spread(c, given, len(texts)) for n, c in columns.items()}


def _spread(array: pa.Array, places: Array, rows: int) -> pa.Array:
    """Put values at their places among so many rows; NULL stands at the others."""
    indices = np.zeros(rows, np.int64)
    indices[places] = np.arange(len(places))
    mask = np.ones(rows, bool)
    mask[places] = False
    return array.take(pa.array(indices, mask=mask))


def _make_arrays(found: Numbers, rows: int, sets: ParameterSets) -> tuple[pa.Array, pa.Array]:
    """Make keys and lists of numbers. Rows with few of many names are divided."""
    order = np.argsort(found.rows, kind="stable") if (np.diff(found.rows) < 0).any() else slice(None)
    pieces = list(_divide(found.rows[order], found.places[order], found.values[order], 0, rows, found.names, sets))
    return pa.concat_arrays([keys for keys, _ in pieces]), pa.concat_arrays([lists for _, lists in pieces])


def _divide(
    rows: Array, places: Array, values: Array, first: int, end: int, names: pa.Array, sets: ParameterSets
) -> Iterable[tuple[pa.Array, pa.Array]]:
    """Make keys and lists of the rows from ``first`` to ``end``.

    :param rows: the row of each value, ascending.
    """
    used, codes = np.unique(places, return_inverse=True)
    if end - first > 1 and (end - first) * len(used) > _SPARSE * len(values) + _LEAST_CELLS:
        middle = (first + end) // 2
        cut = int(np.searchsorted(rows, middle))
        yield from _divide(rows[:cut], places[:cut], values[:cut], first, middle, names, sets)
        yield from _divide(rows[cut:], places[cut:], values[cut:], middle, end, names, sets)
        return
    if not len(used):
        yield pa.nulls(end - first, pa.int64()), pa.nulls(end - first, pa.list_(pa.float64()))
        return
    made, positions = sets.of(names.take(pa.array(used)).to_pylist())
    matrix = np.full((end - first, len(used)), np.nan)
    matrix[rows - first, positions[codes]] = values
    has_values = np.zeros(end - first, bool)
    has_values[rows - first] = True
    yield arrays_of(matrix, has_values, made)


def arrays_of(matrix: Array, has_values: Array, made: ParameterSet) -> tuple[pa.Array, pa.Array]:
    """Make keys and lists of a matrix; rows without values have neither."""
    filled = matrix if has_values.all() else matrix[has_values]
    counts = pa.array(np.full(len(matrix), matrix.shape[1], np.int32), mask=~has_values)
    lists = list_array(pa.array(filled.reshape(-1)), counts)
    return pa.array(np.full(len(matrix), made.key), pa.int64(), mask=~has_values), lists


def count_values(lists: pa.Array) -> int:
    """Number of values in lists: NaN is none."""
    elements, _ = elements_of(lists)
    return len(elements) - int(np.isnan(np.asarray(elements)).sum()) if len(elements) else 0


def lengths_by_key(keys: pa.Array, lists: pa.Array) -> set[tuple[int | None, int]]:
    """The lengths of the arrays under each key."""
    table = pa.table({"key": keys, "length": pc.list_value_length(lists)}).filter(lists.is_valid())
    pairs = table.group_by(["key", "length"]).aggregate([])
    return set(zip(pairs["key"].to_pylist(), pairs["length"].to_pylist(), strict=True))
