"""Convert a column of lists of numbers to the type of its target.

An element that is NULL or NaN is no value: in a list of doubles it becomes NaN, in a list of integers it is a fault. Texts are
JSON arrays, or arrays as the server writes them.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa

from gpwarehouse.transport.columns import elements_of, list_array

__all__ = ["convert_lists", "infinite_elements"]

_REFUSALS = (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError)
_LISTS = (
    *(pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list),
    *(pa.types.is_list_view, pa.types.is_large_list_view),
)
_NUMBERS = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_null)
_NO_VALUES = frozenset({None, "NaN", "nan", "NULL", "null"})


def convert_lists(array: pa.Array, kind: pa.DataType) -> tuple[pa.Array, dict[int, str]]:
    """Convert an array.

    :return: the array, with NULL in the place of each value that is no list of numbers, and the reasons.
    """
    if pa.types.is_null(array.type):
        return array.cast(kind), {}
    if _holds_numbers(array.type) and (converted := _cast(array, kind)) is not None:
        return converted, {}
    found: list[pa.Array] = []
    bad: dict[int, str] = {}
    for row, value in enumerate(array.to_pylist()):
        one = _convert_one(value, kind)
        if one is None:
            bad[row] = f"{_show(value)} is no list that can be read as {kind}"
        found.append(pa.nulls(1, kind) if one is None else one)
    return pa.concat_arrays(found) if found else pa.array([], kind), bad


def _holds_numbers(kind: pa.DataType) -> bool:
    """Whether a type is that of lists of numbers. Arrow would also cast booleans to numbers."""
    return any(test(kind) for test in _LISTS) and any(test(kind.value_type) for test in _NUMBERS)


def _cast(array: pa.Array, kind: pa.DataType) -> pa.Array | None:
    """Cast lists; None if an element does not fit."""
    try:
        lists = array.cast(pa.list_(array.type.value_type)).cast(kind)
    except _REFUSALS:
        return None
    elements, counts = elements_of(lists)
    if pa.types.is_floating(kind.value_type):
        values = np.asarray(elements.fill_null(np.nan)) if elements.null_count else np.asarray(elements)
        missing = np.isnan(values)
        if missing.any():  # NaN is one value here, whatever its bits
            elements = pa.array(np.where(missing, np.nan, values))
    elif elements.null_count:
        return None
    return list_array(elements, pa.array(counts, mask=np.asarray(lists.is_null())))


def _convert_one(value: Any, kind: pa.DataType) -> pa.Array | None:
    """Convert one value to an array with one list; None if it is no list of such numbers."""
    if isinstance(value, str):
        value = _parse(value)
    if value is None:
        return pa.nulls(1, kind)
    if not isinstance(value, list):
        return None
    elements = [None if isinstance(e, str | None) and e in _NO_VALUES else e for e in value]
    if any(isinstance(element, bool) for element in elements):
        return None
    try:
        texts = pa.array([None if e is None else str(e) for e in elements], pa.string())
        return _cast(pa.array([texts.cast(kind.value_type).to_pylist()], kind), kind)
    except _REFUSALS:
        return None


def _parse(text: str) -> Any:
    """Parse a JSON array, or the server's text of an array; another text stays."""
    text = text.strip()
    if text.startswith("{") and text.endswith("}"):
        return [element.strip() for element in text[1:-1].split(",")] if text[1:-1].strip() else []
    try:
        return json.loads(text) if text else None
    except ValueError:
        return text


def _show(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:80]}… ({len(text)} characters)"


def infinite_elements(array: pa.Array) -> dict[int, str]:
    """Find lists with an infinite element: row → reason."""
    elements, counts = elements_of(array)
    infinite = (
        np.flatnonzero(np.isinf(np.asarray(elements))) if pa.types.is_floating(elements.type) else np.empty(0, np.int64)
    )
    if not len(infinite):
        return {}
    ends = np.cumsum(counts)
    rows = np.searchsorted(ends, infinite, side="right")
    places = infinite - (ends - counts)[rows] + 1
    return {
        row: f"{elements[at].as_py()} at position {place} is not a finite number"
        for row, place, at in zip(rows.tolist()[::-1], places.tolist()[::-1], infinite.tolist()[::-1], strict=True)
    }
