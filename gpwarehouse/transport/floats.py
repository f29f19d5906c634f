"""Doubles as decimal text that every server reads back to the same double.

The shortest text will do for servers from PostgreSQL 12 on. Greenplum 6 rounds twice, first to more bits than a double
has, and is one unit off for 32 of a million shortest texts: those that lie beside the middle of two doubles. Eighteen
digits never do: they are within 0.05 units of the double, the middle is 0.5 away.
"""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["exact_text"]

_FIRST = -300
_POWERS = 600
_SPLIT = 2.0**27 + 1
_LEAST, _MOST = 1e-250, 1e250
"""Between these no step overflows or loses digits; the few others are formatted one by one."""


def exact_text(array: pa.Array) -> pa.Array:
    """float64 → text ``<18 digits>e<exponent>``; NULL stays."""
    values = np.asarray(pc.fill_null(array, 1.0))
    with np.errstate(all="ignore"):
        size = np.abs(values)
        common = (size > _LEAST) & (size < _MOST)
        digits, exponents = _digits(np.where(common, values, 1.0))
        zero = (size == 0) & ~np.signbit(values)
        digits[zero] = 0
        common |= zero
    suffixes = pa.DictionaryArray.from_arrays(pa.array(exponents - _FIRST), _suffixes()).cast(pa.string())
    texts = pc.binary_join_element_wise(pa.array(digits).cast(pa.string()), suffixes, "")
    if not common.all():
        rare = [f"{value:.17g}" for value in values[~common].tolist()]
        texts = pc.replace_with_mask(texts, pa.array(~common), pa.array(rare, pa.string()))
    return pc.if_else(pc.is_valid(array), texts, pa.scalar(None, pa.string()))


@cache
def _suffixes() -> pa.Array:
    return pa.array([f"e{exponent}" for exponent in range(_FIRST, _FIRST + _POWERS)])


@cache
def _powers() -> tuple[Any, Any]:
    """10**k as a sum of two doubles, from k = _FIRST."""
    high = [float(Fraction(10) ** k) for k in range(_FIRST, _FIRST + _POWERS)]
    low = [float(Fraction(10) ** k - Fraction(h)) for k, h in zip(range(_FIRST, _FIRST + _POWERS), high, strict=True)]
    return np.array(high), np.array(low)


def _digits(values: Any) -> tuple[Any, Any]:
    """Integers of 17 to 19 digits and exponents: value = integer * 10**exponent, but for a unit or so.

    The product is taken with twice the digits of a double, by Dekker's method (T. J. Dekker, "A floating-point technique
    for extending the available precision", Numerische Mathematik 18, 1971).
    """
    size = np.abs(values)
    power = 17 - np.floor(np.log10(size)).astype(np.int64)
    high, low = (table[power - _FIRST] for table in _powers())
    product = size * high
    size_1, size_2 = _halves(size)
    high_1, high_2 = _halves(high)
    error = ((size_1 * high_1 - product) + size_1 * high_2 + size_2 * high_1) + size_2 * high_2 + size * low
    digits = product.astype(np.int64) + np.rint(error).astype(np.int64)  # beyond 2**53 the product is a whole number
    return np.where(np.signbit(values), -digits, digits), -power


def _halves(values: Any) -> tuple[Any, Any]:
    scaled = _SPLIT * values
    upper = scaled - (scaled - values)
    return upper, values - upper
