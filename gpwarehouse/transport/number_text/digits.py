"""Digits as text, for whole columns at once.

A *cell* is three little-endian words of eight bytes. It holds a text of up to 24 ASCII bytes; the first byte is in the lowest
bits of the first word. Cells are an int64 array of shape (rows, 3). The bytes after a cell's text are undefined.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

__all__ = ["CELL_BYTES", "CELL_WORDS", "eight_digits", "seven_digits", "signs", "texts_of", "word"]

CELL_WORDS = 3
CELL_BYTES = 8 * CELL_WORDS


def word(text: str) -> int:
    """Pack up to eight ASCII characters into a word."""
    return int.from_bytes(text.encode("ascii"), "little")


@cache
def texts_of(digits: int) -> Any:
    """Words of the numbers below ``10**digits``, with leading zeros; ``digits`` is at most 4."""
    return np.array([word(f"{number:0{digits}}") for number in range(10**digits)])


def signs(are_negative: Any) -> Any:
    """``-`` or ``+``, in the first byte of words."""
    return are_negative * np.int64(ord("-") - ord("+")) + ord("+")


def seven_digits(numbers: Any) -> Any:
    """Seven digits, in the bytes of words after the first byte."""
    upper = numbers // 10**4
    return (texts_of(3)[upper] << 8) | (texts_of(4)[numbers - upper * 10**4] << 32)


def eight_digits(numbers: Any) -> Any:
    """Eight digits, as words."""
    upper = numbers // 10**4
    return texts_of(4)[upper] | (texts_of(4)[numbers - upper * 10**4] << 32)
