"""Convert Arrow arrays of any layout to arrays of the few flat types that the checks know.

The list of accepted types is below. It is the same for every container. A column of any other type is refused with an error that
names the type. The other types have a meaning that their storage does not show (a period, an interval, an extension type of
another tool), or no column can hold them (a duration). If their storage were loaded, other values would be stored than those
that were given.

- numbers, booleans, decimals, texts, bytes, dates, times, timestamps and nulls, in all widths and views;
- dictionary-encoded and run-end-encoded arrays of these, also nested; ``arrow.bool8``, ``arrow.uuid`` (as text), ``arrow.json``;
- in JSON columns also structs, lists of every kind and maps of these, at any depth.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gpwarehouse.errors import InvalidInputError
from gpwarehouse.intake.json_objects import objects_of
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
"""Metadata key of a field whose extension type is not registered here: Arrow has replaced the type by its storage."""
_WAYS_OUT = {
    "duration": "give a number in the column's unit, e.g. frame[column].dt.total_seconds()",
    "month_day_nano_interval": "give a number in the column's unit",
    "pandas.period": "give text or a time, e.g. frame[column].astype(str) or frame[column].dt.to_timestamp()",
    "pandas.interval": "give its two ends as two columns",
}


def check_types(schema: pa.Schema, json_columns: frozenset[str]) -> None:
    """Refuse columns of types that are not supported.

    :raises InvalidInputError: a column has such a type; the message names the first one, its type, and what to give instead.
    """
    for field in schema:
        for kind in _find_unsupported(field, is_json=field.name in json_columns):
            raise not_understood(field.name, kind)


def not_understood(column: str, kind: str) -> InvalidInputError:
    """Make the error for a column of a type that is not supported."""
    ways = (way for name, way in _WAYS_OUT.items() if name in kind)
    way = next(ways, "give its values as numbers, texts or times, or in a JSON column as structs and lists")
    return InvalidInputError(f"column {column!r} holds values of type {kind}, which is not supported; {way}")


def is_nested(kind: pa.DataType) -> bool:
    """Whether the type is a struct, a list or a map."""
    return bool(_types.is_struct(kind) or _types.is_map(kind) or any(test(kind) for test in _SEQUENCES))


def _find_unsupported(field: pa.Field, *, is_json: bool) -> Iterator[str]:
    """Yield each part of a field's type that is not supported."""
    kind = field.type
    foreign = (field.metadata or {}).get(_FOREIGN)
    if foreign is not None:
        yield f"{foreign.decode(errors='replace')} (stored as {kind})"
    elif isinstance(kind, pa.BaseExtensionType):
        # For JSON within JSON, nobody can know whether it is a text or the value that the text stands for.
        known = kind.extension_name in _EXTENSIONS and (field.name or kind.extension_name != "arrow.json")
        yield from () if known else (str(kind),)
    elif _types.is_dictionary(kind) or _types.is_run_end_encoded(kind):
        yield from _find_unsupported(pa.field(field.name, kind.value_type), is_json=is_json)
    elif is_nested(kind):
        if is_json:
            yield from _find_unsupported_within(kind)
        else:
            yield f"{kind} (only JSON columns accept this type)"
    elif not any(test(kind) for test in _FLAT):
        yield str(kind)


def _find_unsupported_within(kind: pa.DataType) -> Iterator[str]:
    parts = [kind.field(place) for place in range(kind.num_fields)]
    if _types.is_struct(kind):
        twice = [name for name, count in Counter(part.name for part in parts).items() if count > 1]
        yield from (f"struct with two fields named {name!r}" for name in twice)
    for part in parts:
        yield from _find_unsupported(part.with_name(""), is_json=True)


def flat(array: pa.Array, *, is_json: bool) -> pa.Array:
    """Convert an array that :func:`check_types` accepts to a flat type; an array of a JSON column becomes JSON text."""
    array = _decode(array)
    kind = array.type
    if not is_json or _types.is_null(kind) or _types.is_string(kind) or _types.is_large_string(kind):
        return array
    objects = objects_of(array)
    if objects is not None:
        return objects
    try:
        texts = [json_of(value) for value in array.to_pylist(maps_as_pydicts="strict")]
    except (ValueError, OverflowError, KeyError):
        texts = [_encode_scalar(value) for value in array]
    return pa.array(texts, pa.string())


def _encode_scalar(value: pa.Scalar) -> str | None:
    try:
        return json_of(value.as_py(maps_as_pydicts="strict"))
    except KeyError:
        return refused("it holds the same name twice", value.as_py())
    except (ValueError, OverflowError):
        return refused("it holds a time outside the years 1 to 9999", str(value))


def _decode(array: pa.Array) -> pa.Array:
    """Return the values behind an extension type, a dictionary, runs or a view."""
    kind = array.type
    if isinstance(array, pa.ExtensionArray):
        return _unwrap_extension(array)
    if _types.is_dictionary(kind):
        return _decode(array.dictionary).take(array.indices)
    if _types.is_run_end_encoded(kind):  # Arrow's own decoder supports fewer types of values
        places = np.arange(array.offset, array.offset + len(array))
        runs = np.searchsorted(np.asarray(array.run_ends), places, side="right")
        return _decode(array.values).take(pa.array(runs))
    if _types.is_string_view(kind):
        return array.cast(pa.large_string())
    if _types.is_binary_view(kind):
        return array.cast(pa.large_binary())
    if _types.is_fixed_size_binary(kind):
        return array.cast(pa.binary())
    return array.cast(pa.date32()) if _types.is_date64(kind) else array


def _unwrap_extension(array: Any) -> pa.Array:
    name = array.type.extension_name
    if name == "arrow.bool8":
        return pc.not_equal(array.storage, 0)
    if name == "arrow.uuid":
        return pa.array([None if value is None else str(value) for value in array.to_pylist()], pa.string())
    return _decode(array.storage)
