"""Arrow arrays of any layout → arrays of the few flat types that the checks know; what is not understood is refused by name.

This is the list of what is understood, the same for every container. Whatever Arrow does not list here has a meaning that its
storage does not tell (a period, an interval, another tool's extension type), or that no column takes (a duration): to load
its storage would store other values than those given.

- numbers, booleans, decimals, texts, bytes, dates, times, timestamps and nulls, in all widths and views;
- dictionaries and runs of these, also within one another; ``arrow.bool8``, ``arrow.uuid`` (as text), ``arrow.json``;
- in JSON columns also structs, lists of every kind and maps of these, as deep as they go.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gpwarehouse.errors import InvalidInputError
from gpwarehouse.intake.json_values import json_of, refused

__all__ = ["check_types", "flat", "is_nested", "not_understood"]

_types = pa.types
_FLAT = (
    *(_types.is_null, _types.is_boolean, _types.is_integer, _types.is_floating, _types.is_decimal),
    *(_types.is_string, _types.is_large_string, _types.is_string_view),
    *(_types.is_binary, _types.is_large_binary, _types.is_binary_view, _types.is_fixed_size_binary),
    *(_types.is_date, _types.is_time, _types.is_timestamp),
)
_SEQUENCES = (
    *(_types.is_list, _types.is_large_list, _types.is_fixed_size_list),
    *(_types.is_list_view, _types.is_large_list_view),
)
_EXTENSIONS = frozenset({"arrow.bool8", "arrow.uuid", "arrow.json"})
_FOREIGN = b"ARROW:extension:name"
"""In the metadata of a field whose type nobody here knows: Arrow has put its storage in its place."""
_WAYS_OUT = {
    "duration": "give a number in the column's unit, e.g. frame[column].dt.total_seconds()",
    "month_day_nano_interval": "give a number in the column's unit",
    "pandas.period": "give text or a time, e.g. frame[column].astype(str) or frame[column].dt.to_timestamp()",
    "pandas.interval": "give its ends as columns of their own",
}


def check_types(schema: pa.Schema, json_columns: frozenset[str]) -> None:
    """Refuse columns of types that are not understood.

    :raises InvalidInputError: naming the first one, its type, and what to give instead.
    """
    for field in schema:
        for kind in _unknown(field, is_json=field.name in json_columns):
            raise not_understood(field.name, kind)


def not_understood(column: str, kind: str) -> InvalidInputError:
    """The error for a column of a type that is not understood."""
    ways = (way for name, way in _WAYS_OUT.items() if name in kind)
    way = next(ways, "give its values as numbers, texts, times, or in a JSON column as structs and lists")
    return InvalidInputError(f"column {column!r} holds values of type {kind}, which is not understood; {way}")


def is_nested(kind: pa.DataType) -> bool:
    """Whether it is of structs, lists or maps."""
    return bool(_types.is_struct(kind) or _types.is_map(kind) or any(test(kind) for test in _SEQUENCES))


def _unknown(field: pa.Field, *, is_json: bool) -> Iterator[str]:
    """What in the type of a field is not understood."""
    kind = field.type
    foreign = (field.metadata or {}).get(_FOREIGN)
    if foreign is not None:
        yield f"{foreign.decode(errors='replace')} (stored as {kind})"
    elif isinstance(kind, pa.BaseExtensionType):
        # Of JSON within JSON it could not be told whether it is a text or what the text says.
        known = kind.extension_name in _EXTENSIONS and (field.name or kind.extension_name != "arrow.json")
        yield from () if known else (str(kind),)
    elif _types.is_dictionary(kind) or _types.is_run_end_encoded(kind):
        yield from _unknown(pa.field(field.name, kind.value_type), is_json=is_json)
    elif is_nested(kind):
        if is_json:
            yield from _unknown_within(kind)
        else:
            yield f"{kind} (only JSON columns take such)"
    elif not any(test(kind) for test in _FLAT):
        yield str(kind)


def _unknown_within(kind: pa.DataType) -> Iterator[str]:
    parts = [kind.field(place) for place in range(kind.num_fields)]
    if _types.is_struct(kind):
        twice = [name for name, count in Counter(part.name for part in parts).items() if count > 1]
        yield from (f"struct with two fields {name!r}" for name in twice)
    for part in parts:
        yield from _unknown(part.with_name(""), is_json=True)


def flat(array: pa.Array, *, is_json: bool) -> pa.Array:
    """The values of an array of a type that :func:`check_types` lets pass, in a flat type; of a JSON column, as JSON text."""
    array = _decoded(array)
    kind = array.type
    if not is_json or _types.is_null(kind) or _types.is_string(kind) or _types.is_large_string(kind):
        return array
    try:
        texts = [json_of(value) for value in array.to_pylist(maps_as_pydicts="strict")]
    except (ValueError, OverflowError, KeyError):
        texts = [_json_text(value) for value in array]
    return pa.array(texts, pa.string())


def _json_text(value: pa.Scalar) -> str | None:
    try:
        return json_of(value.as_py(maps_as_pydicts="strict"))
    except KeyError:
        return refused("a name in it is there twice", value.as_py())
    except (ValueError, OverflowError):
        return refused("it holds a time that is not in the years 1 to 9999", str(value))


def _decoded(array: pa.Array) -> pa.Array:
    """The values behind an extension type, a dictionary, runs or a view."""
    kind = array.type
    if isinstance(array, pa.ExtensionArray):
        return _behind_extension(array)
    if _types.is_dictionary(kind):
        return _decoded(array.dictionary).take(array.indices)
    if _types.is_run_end_encoded(kind):  # Arrow's own decoding knows fewer types of values
        places = np.arange(array.offset, array.offset + len(array))
        runs = np.searchsorted(np.asarray(array.run_ends), places, side="right")
        return _decoded(array.values).take(pa.array(runs))
    if _types.is_string_view(kind):
        return array.cast(pa.large_string())
    if _types.is_binary_view(kind):
        return array.cast(pa.large_binary())
    if _types.is_fixed_size_binary(kind):
        return array.cast(pa.binary())
    return array.cast(pa.date32()) if _types.is_date64(kind) else array


def _behind_extension(array: Any) -> pa.Array:
    name = array.type.extension_name
    if name == "arrow.bool8":
        return pc.not_equal(array.storage, 0)
    if name == "arrow.uuid":
        return pa.array([None if value is None else str(value) for value in array.to_pylist()], pa.string())
    return _decoded(array.storage)
