"""Take the numbers out of JSON objects: those that a double holds; everything else stays in the object, digit for digit.

The texts are known to be valid JSON objects. Most of them are flat: their keys, and the places of their values, are found by the
quotes alone, for all texts at once. Python parses the others.

A number is held by a double if the double, written with as many significant digits (17 at most) or with the fewest that tell it,
is the same decimal.
Integers beyond ±2**53 are not held, as no one measures such: they are counts, serial numbers or keys.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gpwarehouse.errors import InvalidInputError
from gpwarehouse.intake.json_objects import join_by_row
from gpwarehouse.intake.json_values import digits_of, marked, unmarked
from gpwarehouse.models.parameter_sets import Parameter

__all__ = ["Numbers", "held_by_doubles", "parameter_named", "take_numbers"]

Array = np.ndarray[Any, Any]
_NOT_FLAT = r'(?s)\\|\[|.\{|"\s+:'
"""Matches objects whose keys are not found by their quotes: with escapes, lists, further objects, blanks before a colon."""
_NUMBER_BEGINS = np.frombuffer(b"-0123456789", np.uint8)
_SURE_DIGITS = 15
"""So many digits of any decimal survive in a double, if it is not subnormal (C, DBL_DIG)."""
_MOST_DIGITS = 17
_LEAST_NORMAL = 2.2250738585072014e-308
_WHOLE = 2**53
_LONGEST_NUMBER = 18
"""Digits of a test number that a bigint surely holds."""


@dataclass(frozen=True)
class Numbers:
    """Numbers of objects: each with the row of its object and the place of its name in ``names``.

    :ivar rest: for each object what else it holds, as JSON; NULL if it holds nothing else.
    """

    rows: Array
    places: Array
    values: Array
    names: pa.Array
    rest: pa.Array


def held_by_doubles(texts: pa.Array) -> tuple[Array, Array]:
    """Read numbers, and tell which of them doubles hold.

    :param texts: JSON numbers in the range of a double, without NULLs.
    """
    values = np.asarray(texts.cast(pa.float64()))
    sizes = np.asarray(pc.binary_length(texts))
    large = np.flatnonzero(np.abs(values) > _WHOLE)
    is_held = np.ones(len(values), bool)
    is_held[large] = np.asarray(pc.match_substring_regex(texts.take(pa.array(large)), "[.eE]"))
    is_normal = (np.abs(values) >= _LEAST_NORMAL) | (values == 0)
    doubtful = np.flatnonzero(is_held & ((sizes > _SURE_DIGITS) | ~is_normal))
    if len(doubtful):
        some, shortest = texts.take(pa.array(doubtful)), pa.array(values[doubtful]).cast(pa.string())
        differ = pc.not_equal(some, shortest)
        doubtful, some, shortest = doubtful[np.asarray(differ)], some.filter(differ), shortest.filter(differ)
        digits = _digits_of(some)  # the same digits stand for the same double, however the exponent is written
        is_sure = np.asarray(pc.equal(digits, _digits_of(shortest)))
        is_sure |= (np.asarray(pc.binary_length(digits)) <= _SURE_DIGITS) & is_normal[doubtful]
        for place in doubtful[~is_sure].tolist():
            is_held[place] = _is_held(texts[place].as_py(), float(values[place]))
    return values, is_held


def _digits_of(texts: pa.Array) -> pa.Array:
    """The significant digits of numbers."""
    return pc.ascii_trim(pc.replace_substring_regex(texts, "[eE].*|[-.]", ""), "0")


def _is_held(text: str, value: float) -> bool:
    number = Decimal(text)
    digits = max(len("".join(map(str, number.as_tuple().digits)).strip("0")), 1)
    return digits <= _MOST_DIGITS and Decimal(f"{value:.{digits - 1}e}") == number


def parameter_named(name: str) -> Parameter | None:
    """Make the parameter of a value that is known by its name alone; a name of digits is the test number too.

    :return: None if no parameter can have the name.
    """
    number = int(name) if name.isascii() and name.isdigit() and len(name) <= _LONGEST_NUMBER else None
    try:
        return Parameter(name, test_number=number)
    except InvalidInputError:
        return None


def take_numbers(texts: pa.Array) -> Numbers:
    """Take the numbers out of JSON objects.

    :param texts: valid JSON objects, without NULLs.
    """
    is_flat = ~np.asarray(pc.match_substring_regex(texts, _NOT_FLAT))
    found = _split_flat(texts.filter(pa.array(is_flat)))
    twice = _rows_with_a_name_twice(found)
    if len(twice):  # the last one counts, as for the server
        is_flat[np.flatnonzero(is_flat)[twice]] = False
        found = _split_flat(texts.filter(pa.array(is_flat)))
    flat, others = np.flatnonzero(is_flat), np.flatnonzero(~is_flat)
    kept = _keep_numbers(found, flat, len(texts))
    return _add_others(kept, texts.take(pa.array(others)).to_pylist(), others) if len(others) else kept


@dataclass(frozen=True)
class _Entries:
    """The entries of flat objects: row, name, and value as text."""

    rows: Array
    names: pa.DictionaryArray
    values: pa.Array


def _split_flat(texts: pa.Array) -> _Entries:
    """Split flat objects at their quotes. A pair of quotes is a name if a colon follows it."""
    texts = pc.utf8_trim_whitespace(texts)
    _, bounds, data = texts.buffers()
    if data is None or not len(texts):
        nothing = pa.array([], pa.string())
        return _Entries(np.empty(0, np.int64), nothing.dictionary_encode(), nothing)
    ends = np.frombuffer(bounds, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    content = np.frombuffer(data, np.uint8, int(ends[-1]))
    quotes = np.flatnonzero(content[ends[0] :] == ord('"')) + int(ends[0])
    opens, closes = quotes[0::2], quotes[1::2]
    is_name = content[closes + 1] == ord(":")
    opens, closes = opens[is_name], closes[is_name]
    last = np.searchsorted(opens, ends[1:])
    counts = np.diff(last, prepend=0)
    until = np.append(opens[1:], 0)[: len(opens)]
    until[last[counts > 0] - 1] = ends[1:][counts > 0] - 1  # the brace
    names = _cut(data, opens + 1, closes).dictionary_encode()
    values = pc.ascii_trim(_cut(data, closes + 2, until), " \t\r\n,")
    return _Entries(np.repeat(np.arange(len(texts)), counts), names, values)


def _cut(data: pa.Buffer, begin: Array, end: Array) -> pa.Array:
    """Copy pieces of a text. With the text between them they are one array, of which every second value is taken."""
    bounds = np.empty(2 * len(begin) + 1, np.int32)
    bounds[0:-1:2], bounds[1:-1:2] = begin, end
    bounds[-1] = bounds[-2] if len(begin) else 0
    every = pa.StringArray.from_buffers(2 * len(begin), pa.py_buffer(bounds), data)
    return every.take(pa.array(np.arange(0, 2 * len(begin), 2)))


def _rows_with_a_name_twice(found: _Entries) -> Array:
    width = max(len(found.names.dictionary), 1)
    cells = np.sort(found.rows * width + np.asarray(found.names.indices))
    return np.unique(cells[1:][cells[1:] == cells[:-1]] // width)


def _keep_numbers(found: _Entries, numbers: Array, rows: int) -> Numbers:
    """Separate the numbers that doubles hold from the other entries.

    :param numbers: the places of the entries' objects among all objects, of which there are ``rows``.
    """
    codes, names = np.asarray(found.names.indices), found.names.dictionary
    can_name = np.array([parameter_named(name) is not None for name in names.to_pylist()], bool)
    is_kept = np.isin(_first_bytes(found.values), _NUMBER_BEGINS) & can_name[codes]
    places = np.flatnonzero(is_kept)
    values, is_held = held_by_doubles(found.values.take(pa.array(places)))
    is_kept[places[~is_held]] = False
    others, kept = np.flatnonzero(~is_kept), np.flatnonzero(is_kept)
    entries = pc.binary_join_element_wise(
        '"', names.take(pa.array(codes[others])), '":', found.values.take(pa.array(others)), ""
    )
    counts = np.bincount(numbers[found.rows[others]], minlength=rows)
    rest = pc.binary_join_element_wise("{", join_by_row(entries, counts, ","), "}", "")
    rest = pc.if_else(pa.array(counts > 0), rest, pa.scalar(None, pa.string()))
    return Numbers(numbers[found.rows[kept]], codes[kept], values[is_held], names, rest)


def _first_bytes(texts: pa.Array) -> Array:
    """The first byte of each text; none is empty."""
    _, bounds, data = texts.buffers()
    if not len(texts):
        return np.empty(0, np.uint8)
    begins = np.frombuffer(bounds, np.int32)[texts.offset : texts.offset + len(texts)]
    return np.frombuffer(data, np.uint8)[begins]


def _add_others(kept: Numbers, texts: list[str], numbers: Array) -> Numbers:
    """Add what Python finds in objects that are not flat."""
    names = {name: place for place, name in enumerate(kept.names.to_pylist())}
    cells: list[tuple[int, int, float]] = []
    rests: list[str | None] = []
    for row, text in zip(numbers.tolist(), texts, strict=True):
        rest: dict[str, Any] = {}
        for name, value in json.loads(text, parse_float=marked, parse_int=marked).items():
            number = _number_of(name, digits_of(value))
            if number is None:
                rest[name] = value
            else:
                cells.append((row, names.setdefault(name, len(names)), number))
        rests.append(unmarked(json.dumps(rest, ensure_ascii=False, separators=(",", ":"))) if rest else None)
    is_other = np.zeros(len(kept.rest), bool)
    is_other[numbers] = True
    rows, places, values = zip(*cells, strict=True) if cells else ((), (), ())
    return Numbers(
        np.concatenate([kept.rows, np.array(rows, np.int64)]),
        np.concatenate([kept.places, np.array(places, np.int64)]),
        np.concatenate([kept.values, np.array(values, np.float64)]),
        pa.array(list(names), pa.string()),
        pc.replace_with_mask(kept.rest, pa.array(is_other), pa.array(rests, pa.string())),
    )


def _number_of(name: str, digits: str | None) -> float | None:
    """The number of an entry, if it is one that a double holds and a parameter can have the name."""
    if digits is None or parameter_named(name) is None:
        return None
    values, is_held = held_by_doubles(pa.array([digits]))
    return float(values[0]) if is_held[0] else None
