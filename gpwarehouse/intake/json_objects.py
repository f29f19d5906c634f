"""Write Arrow structs and maps as JSON objects, a column at a time, in the same text as :func:`json_values.json_of` gives.

Equal content must have equal text, because the checksum of a frame is made of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gpwarehouse.intake.json_values import REFUSED, json_of_element
from gpwarehouse.transport.columns import elements_of

__all__ = ["join_by_row", "join_entries", "objects_of", "write_values"]

_PLAIN_TEXT = (1e-4, 1e10)
"""Between these limits Python and Arrow write a double with the same digits and no exponent."""


def objects_of(array: pa.Array) -> pa.Array | None:
    """Write structs, or maps with texts as keys, as JSON texts; None if a value is to be looked at one by one."""
    if pa.types.is_struct(array.type):
        return _write_structs(array)
    if pa.types.is_map(array.type) and pa.types.is_string(array.type.key_type):
        return _write_maps(array)
    return None


def _write_structs(array: pa.Array) -> pa.Array | None:
    values = {field.name: write_values(pc.struct_field(array, field.name)) for field in array.type}
    if any(texts is None for texts in values.values()):
        return None
    return _embrace(join_entries(values) if values else pa.repeat("", len(array)), array)


def join_entries(values: Mapping[str, pa.Array]) -> pa.Array:
    """Join the JSON texts of values to the inside of objects, row by row; a value that is NULL is left out."""
    entries = [
        pc.fill_null(pc.binary_join_element_wise(f",{json.dumps(name)}:", values[name], ""), "")
        for name in sorted(values)
    ]
    return pc.ascii_ltrim(pc.binary_join_element_wise(*entries, ""), ",")


def _write_maps(array: pa.Array) -> pa.Array | None:
    pairs, counts = elements_of(
        array.cast(pa.list_(pa.struct([("key", pa.string()), ("value", array.type.item_type)])))
    )
    names, values = pc.struct_field(pairs, "key"), pc.struct_field(pairs, "value")
    texts = write_values(values)
    if texts is None:
        return None
    known = names.dictionary_encode()
    ranks = np.argsort(np.argsort(np.asarray(known.dictionary, dtype=object)))
    rows = np.repeat(np.arange(len(array)), counts)
    place = ranks[np.asarray(known.indices)] if len(ranks) else np.empty(0, np.int64)
    order = np.lexsort((place, rows))
    if ((np.diff(rows[order]) == 0) & (np.diff(place[order]) == 0)).any():
        return None  # a map holds the same name twice
    quoted = pa.array([json.dumps(name) for name in known.dictionary.to_pylist()], pa.string())
    entries = pc.binary_join_element_wise(quoted.take(known.indices), texts, ":").take(pa.array(order))
    there = np.asarray(entries.is_valid())
    joined = join_by_row(entries.drop_null(), np.bincount(rows[order][there], minlength=len(array)), ",")
    return _embrace(joined, array)


def join_by_row(texts: pa.Array, counts: Any, separator: str) -> pa.Array:
    """Join texts row by row; of each row there are so many."""
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    return pc.binary_join(pa.ListArray.from_arrays(pa.array(offsets), texts), separator)


def _embrace(texts: pa.Array, like: pa.Array) -> pa.Array:
    objects = pc.binary_join_element_wise("{", texts, "}", "")
    return pc.if_else(like.is_valid(), objects, pa.scalar(None, pa.string())) if like.null_count else objects


def write_values(array: pa.Array) -> pa.Array | None:
    """Write values; NULL and NaN are NULL. None if a value has no JSON."""
    kind = array.type
    if pa.types.is_integer(kind):
        return array.cast(pa.string())
    if pa.types.is_floating(kind):
        return _write_doubles(array.cast(pa.float64()))
    try:
        texts = [
            None if value is None else json_of_element(value) for value in array.to_pylist(maps_as_pydicts="strict")
        ]
    except (ValueError, OverflowError, KeyError):
        return None
    return (
        None if any(text is not None and text.startswith(REFUSED) for text in texts) else pa.array(texts, pa.string())
    )


def _write_doubles(array: pa.Array) -> pa.Array | None:
    """Write doubles as Python does: with ``.0`` after a whole number, and an exponent below 0.0001 and from 1e16 on."""
    values = np.asarray(array.fill_null(np.nan))
    if np.isinf(values).any():
        return None
    size = np.abs(values)
    with np.errstate(invalid="ignore"):
        is_plain = (size == 0) | ((size >= _PLAIN_TEXT[0]) & (size < _PLAIN_TEXT[1]))
        is_whole = is_plain & (np.rint(values) == values)
    texts = pa.array(values, mask=np.isnan(values)).cast(pa.string())
    if is_whole.any():
        texts = pc.if_else(pa.array(is_whole), pc.binary_join_element_wise(texts, ".0", ""), texts)
    others = np.flatnonzero(~is_plain & ~np.isnan(values))
    if len(others):
        written = pa.array(list(map(repr, values[others].tolist())), pa.string())
        places = np.arange(len(values))
        places[others] = len(values) + np.arange(len(others))
        texts = pa.concat_arrays([texts, written]).take(pa.array(places))
    return texts
