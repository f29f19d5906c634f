"""Format doubles as decimal text that every server reads back as the same double.

The shortest text suffices for servers from PostgreSQL 12 on. Greenplum 6 rounds twice, first to more bits than a double has.
For 32 of a million shortest texts, those close to the middle of two doubles, it is wrong by one unit. Eighteen digits are
always right: they differ from the double by at most 0.05 units, and the middle is 0.5 units away. Seventeen digits, which
differ by at most 0.46 units, are right too; they leave room for an exponent of three digits, if a column needs one.
"""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np

from gpwarehouse.transport.number_text.digits import CELL_BYTES, eight_digits, seven_digits, signs, texts_of, word

__all__ = ["fill_floats"]

_FIRST = -290
_POWERS = 580
_SPLIT = 2.0**27 + 1
_LEAST, _MOST = 1e-80, 1e80
"""Between these limits an exponent has two digits."""
_TINY, _HUGE = 1e-250, 1e250
"""Between these limits no step overflows; the few other values are formatted one by one."""
_PLACES = range(8)
_SAMPLE = 16
_WHOLE = 1e15
"""Whole numbers below this are exact in a double, and so are the powers of ten. So their quotient is the double nearest to the
decimal, which is what a server reads."""


def fill_floats(cells: Any, values: Any, end: str, *, is_exact: bool) -> Any:
    """Write doubles with 18 digits and an exponent, or with the digits that they are rounded to; NaN and infinities as words.

    :param cells: where to write; see ``digits``.
    :param values: float64 or float32.
    :param end: text after each value.
    :param is_exact: whether the server reads any decimal as the nearest double, so that rounded numbers need no further digits.
    :return: lengths in bytes, or one length for all.
    """
    with np.errstate(all="ignore"):
        values = values.astype(np.float64, copy=False)
        places = _count_places(values) if is_exact else None
        return (
            _write_all_split_digits(cells, values, end)
            if places is None
            else _write_rounded(cells, values, places, end)
        )


def _count_places(values: Any) -> int | None:
    """Number of decimal places that all values are rounded to; None if a value is not rounded, or is too large."""
    sample = values[:: len(values) // _SAMPLE + 1]
    for places in _PLACES:
        if _are_write_rounded(sample, places):
            return places if _are_write_rounded(values, places) else None
    return None


def _are_write_rounded(values: Any, places: int) -> bool:
    power = 10.0**places
    whole = np.rint(values * power)
    return bool((whole / power == values).all() and (np.abs(whole) < _WHOLE).all())


def _write_rounded(cells: Any, values: Any, places: int, end: str) -> int:
    """Write ``<sign><7 or 15 digits>e-<places>``."""
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


def _write_all_split_digits(cells: Any, values: Any, end: str) -> Any:
    """Write ``<sign><18 digits>e<sign><2 digits>``, or 17 and 3 digits; values without digits as a word."""
    size = np.abs(values)
    if size.min() > _LEAST and size.max() < _MOST:
        return _write_decimals(cells, values, size, end, is_wide=False)
    special, zeros = ~np.isfinite(size), size == 0
    size = np.where(special | zeros, 1.0, size)
    is_wide = not (size.min() > _LEAST and size.max() < _MOST)
    rare = (size <= _TINY) | (size >= _HUGE)
    lengths = _write_decimals(cells, values, np.where(rare, 1.0, size), end, is_wide=is_wide, zeros=zeros)
    if special.any():
        for text, some in (("nan", np.isnan(values)), ("inf", values == np.inf), ("-inf", values == -np.inf)):
            cells[some, 0] = word(text + end)
            lengths = np.where(some, len(text + end), lengths)
    return _write_one_by_one(cells, values, rare, lengths, end) if rare.any() else lengths


def _write_decimals(cells: Any, values: Any, size: Any, end: str, *, is_wide: bool, zeros: Any = None) -> Any:
    count, last = (17, 2) if is_wide else (18, 3)
    digits, exponents = _split_digits(size, count)
    if zeros is not None:
        digits[zeros] = 0
    beyond = digits >= 10**count if digits.max() >= 10**count else None  # the logarithm gave the decade below
    if beyond is not None:
        digits[beyond] = 0
    top = digits // 10 ** (8 + last)
    rest = digits - top * 10 ** (8 + last)
    middle = rest // 10**last
    cells[:, 0] = signs(np.signbit(values)) | seven_digits(top)
    cells[:, 1] = eight_digits(middle)
    tails = _list_exponents(is_wide)[exponents - _FIRST] | (word(end) << 56)
    cells[:, 2] = texts_of(last)[rest - middle * 10**last] | tails
    lengths = 1 + count + (5 if is_wide else 4) + len(end)
    return lengths if beyond is None else _write_one_by_one(cells, values, beyond, lengths, end)


def _write_one_by_one(cells: Any, values: Any, rare: Any, lengths: Any, end: str) -> Any:
    lengths = np.array(np.broadcast_to(lengths, len(values)))
    for at in np.flatnonzero(rare).tolist():
        digits, _, exponent = f"{values[at]:.16e}".replace(".", "").partition("e")
        text = f"{digits}e{int(exponent) - 16}{end}"
        cells[at] = np.frombuffer(text.encode().ljust(CELL_BYTES), "<i8")
        lengths[at] = len(text)
    return lengths


@cache
def _list_exponents(is_wide: bool) -> Any:
    """``e+00`` or ``e+000`` in a word, after the digits that precede them, from _FIRST."""
    exponents = range(_FIRST, _FIRST + _POWERS)
    if is_wide:
        return np.array([word(f"e{exponent:+04}") << 16 for exponent in exponents])
    return np.array([word(f"e{exponent:+03}") << 24 if abs(exponent) < 100 else 0 for exponent in exponents])


@cache
def _list_powers() -> tuple[Any, Any]:
    """10**k as a sum of two doubles, from k = _FIRST."""
    high = [float(Fraction(10) ** k) for k in range(_FIRST, _FIRST + _POWERS)]
    low = [float(Fraction(10) ** k - Fraction(h)) for k, h in zip(range(_FIRST, _FIRST + _POWERS), high, strict=True)]
    return np.array(high), np.array(low)


def _split_digits(size: Any, count: int) -> tuple[Any, Any]:
    """Compute integers of ``count`` digits and exponents so that value = integer * 10**exponent, up to about one unit.

    If all values are of one decade, there is one exponent for all. The product is computed with twice the digits of a double,
    by Dekker's method (T. J. Dekker, "A floating-point technique for extending the available precision", Numerische Mathematik
    18, 1971).

    :param size: doubles between _TINY and _HUGE.
    """
    least, most = (int(np.floor(np.log10(end))) for end in (size.min(), size.max()))
    power: Any = count - 1 - (np.floor(np.log10(size)).astype(np.int64) if least < most else most)
    high, low = (table[power - _FIRST] for table in _list_powers())
    product = size * high
    size_1, size_2 = _split_halves(size)
    high_1, high_2 = _split_halves(high)
    error = ((size_1 * high_1 - product) + size_1 * high_2 + size_2 * high_1) + size_2 * high_2 + size * low
    digits = product.astype(np.int64) + np.rint(error).astype(np.int64)  # above 2**53 the product is a whole number
    return digits, -power


def _split_halves(values: Any) -> tuple[Any, Any]:
    scaled = _SPLIT * values
    upper = scaled - (scaled - values)
    return upper, values - upper
