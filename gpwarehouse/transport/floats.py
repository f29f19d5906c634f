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

from gpwarehouse.transport.digits import CELL_BYTES, eight_digits, seven_digits, signs, texts_of, word

__all__ = ["fill_floats"]

_DIGITS = 18
_FIRST = -120
_POWERS = 240
_SPLIT = 2.0**27 + 1
_LEAST, _MOST = 1e-80, 1e80
"""Between these an exponent has two digits and no step overflows; the few others are formatted one by one."""
_PLACES = range(8)
_SAMPLE = 16
_WHOLE = 1e15
"""Whole numbers below are exact in a double, and so is their division by a power of ten as a server does it."""


def fill_floats(cells: Any, values: Any, end: str, *, is_exact: bool) -> Any:
    """Write doubles as ``<sign><18 digits>e<exponent>``, or with the digits they are rounded to.

    :param cells: where to, see ``digits``.
    :param values: float64.
    :param end: written after each.
    :param is_exact: the server reads any decimal to the nearest double, so that rounded numbers need no more digits than
        they have.
    :return: lengths in bytes, or the one length of all.
    """
    with np.errstate(all="ignore"):
        places = _places(values) if is_exact else None
        return _eighteen_digits(cells, values, end) if places is None else _rounded(cells, values, places, end)


def _places(values: Any) -> int | None:
    """Decimal places that all values are rounded to; None where they are not, or too large."""
    sample = values[:: len(values) // _SAMPLE + 1]
    for places in _PLACES:
        if _are_rounded(sample, places):
            return places if _are_rounded(values, places) else None
    return None


def _are_rounded(values: Any, places: int) -> bool:
    power = 10.0**places
    whole = np.rint(values * power)
    return bool((whole / power == values).all() and (np.abs(whole) < _WHOLE).all())


def _rounded(cells: Any, values: Any, places: int, end: str) -> int:
    """``<sign><7 or 15 digits>e-<places>``."""
    whole = np.rint(np.abs(values) * 10.0**places).astype(np.int64)
    tail = f"e-{places}{end}"
    digits = 7 if whole.max() < 10**7 else 15
    if digits > 7:
        rest = whole
        whole = rest // 10**8
        cells[:, 1] = eight_digits(rest - whole * 10**8)
    cells[:, 0] = signs(np.signbit(values)) | seven_digits(whole)
    cells[:, digits // 7] = word(tail)
    return 1 + digits + len(tail)


def _eighteen_digits(cells: Any, values: Any, end: str) -> Any:
    size = np.abs(values)
    zeros = rare = None
    if not (size.min() > _LEAST and size.max() < _MOST):
        zeros = size == 0
        rare = ~(zeros | ((size > _LEAST) & (size < _MOST)))
        size = np.where(zeros | rare, 1.0, size)
    digits, exponents = _digits(size)
    if zeros is not None:
        digits[zeros] = 0
    if digits.max() >= 10**_DIGITS:  # the logarithm was of the decade below
        beyond = digits >= 10**_DIGITS
        digits[beyond] = 0
        rare = beyond if rare is None else beyond | rare
    top = digits // 10**11
    rest = digits - top * 10**11
    middle = rest // 10**3
    cells[:, 0] = signs(np.signbit(values)) | seven_digits(top)
    cells[:, 1] = eight_digits(middle)
    cells[:, 2] = texts_of(3)[rest - middle * 10**3] | _exponents()[exponents - _FIRST] | (word(end) << 56)
    length = 1 + _DIGITS + len("e+00") + len(end)
    return length if rare is None else _one_by_one(cells, values, rare, length, end)


def _one_by_one(cells: Any, values: Any, rare: Any, length: int, end: str) -> Any:
    lengths = np.full(len(values), length)
    for at in np.flatnonzero(rare).tolist():
        digits, point, exponent = f"{values[at]:.16e}".replace(".", "").partition("e")
        text = f"{digits}e{int(exponent) - 16}{end}" if point else digits + end  # nan and inf have no exponent
        cells[at] = np.frombuffer(text.encode().ljust(CELL_BYTES), "<i8")
        lengths[at] = len(text)
    return lengths


@cache
def _exponents() -> Any:
    """``e+00`` in the bytes of a word after the third, from _FIRST; those of three digits are not used."""
    exponents = range(_FIRST, _FIRST + _POWERS)
    return np.array([word(f"e{exponent:+03}") << 24 if abs(exponent) < 100 else 0 for exponent in exponents])


@cache
def _powers() -> tuple[Any, Any]:
    """10**k as a sum of two doubles, from k = _FIRST."""
    high = [float(Fraction(10) ** k) for k in range(_FIRST, _FIRST + _POWERS)]
    low = [float(Fraction(10) ** k - Fraction(h)) for k, h in zip(range(_FIRST, _FIRST + _POWERS), high, strict=True)]
    return np.array(high), np.array(low)


def _digits(size: Any) -> tuple[Any, Any]:
    """Integers of 18 digits and exponents: value = integer * 10**exponent, but for a unit or so.

    One exponent for all where they are of one decade. The product is taken with twice the digits of a double, by Dekker's
    method (T. J. Dekker, "A floating-point technique for extending the available precision", Numerische Mathematik 18,
    1971).

    :param size: positive doubles between _LEAST and _MOST.
    """
    least, most = (int(np.floor(np.log10(end))) for end in (size.min(), size.max()))
    power: Any = _DIGITS - 1 - (np.floor(np.log10(size)).astype(np.int64) if least < most else most)
    high, low = (table[power - _FIRST] for table in _powers())
    product = size * high
    size_1, size_2 = _halves(size)
    high_1, high_2 = _halves(high)
    error = ((size_1 * high_1 - product) + size_1 * high_2 + size_2 * high_1) + size_2 * high_2 + size * low
    digits = product.astype(np.int64) + np.rint(error).astype(np.int64)  # beyond 2**53 the product is a whole number
    return digits, -power


def _halves(values: Any) -> tuple[Any, Any]:
    scaled = _SPLIT * values
    upper = scaled - (scaled - values)
    return upper, values - upper
