"""Find where the records of a CSV file end, by a scan that sees all quotes. Content that is not CSV is refused.

The grammar is that of RFC 4180, without exceptions. A quote opens a field at its beginning, or is doubled within a quoted field.
The quote that closes a field is followed by a delimiter or the end of the line. So the number of quotes before a byte tells
whether it is inside a text, and a whole block is scanned at once: 64 bytes are one word of bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["QUOTES", "Fault", "Portion", "RecordScanner"]

Bytes = np.ndarray[Any, Any]
Positions = np.ndarray[Any, Any]
Bits = np.ndarray[Any, Any]
"""One bit for each byte of a block, in words of 64 bits."""
_LF, _CR = 10, 13
_ONE, _TOP = np.uint64(1), np.uint64(63)

QUOTES = (
    "put texts that hold quotes in quotes, and double the quotes in them; if quotes are ordinary characters, give quote=None "
    "(--csv-quote none)"
)
_WHOLE = "fetch the whole file again"
_DELIMITERS = (
    "put texts that hold the delimiter in quotes; use delimiter= and header_line= if the file is written differently"
)


class Fault(Exception):
    """A fault at a byte of the scanned block."""

    def __init__(self, position: int, words: str, hint: str) -> None:
        super().__init__(f"{words}; {hint}")
        self.position = int(position)


@dataclass(frozen=True)
class Portion:
    """Whole records at the beginning of a block.

    :ivar size: number of their bytes.
    :ivar starts: where each record begins, without those of blank lines.
    :ivar lines: number of their line feeds.
    """

    size: int
    starts: Positions
    lines: int


class RecordScanner:
    """Finds the whole records of blocks that begin with a record.

    :param delimiter: its byte.
    :param quote: the byte of the quote; None if there is none.
    :param fields: number of fields of each record.
    """

    def __init__(self, delimiter: int, quote: int | None, fields: int) -> None:
        self._delimiter = delimiter
        self._quote = quote
        self._fields = fields
        self._had_blank = False

    def scan(self, block: bytes, *, is_last: bool) -> Portion:
        """Find the whole records at the beginning of ``block``; there are none if the first record does not end in it.

        :param block: at least one byte.
        :param is_last: whether the file ends with the block, so that the last record needs no line end.
        :raises Fault: the block is not CSV, or a record has a different number of fields.
        """
        data = np.frombuffer(block, np.uint8)
        delimiters, line_feeds = _find_bytes(data, self._delimiter), _find_bytes(data, _LF)
        quotes = _find_bytes(data, self._quote) if self._quote is not None and bytes([self._quote]) in block else None
        returns = _find_bytes(data, _CR) if b"\r" in block else None
        if quotes is not None:
            inside = _accumulate_parity(quotes)
            for bits in (delimiters, line_feeds, returns):
                if bits is not None:
                    bits &= ~inside
            _check_quotes(quotes, inside, delimiters | line_feeds, returns, len(block))
        if returns is not None:
            _check_returns(returns, line_feeds, len(block), is_last)
        ends = _find_places(line_feeds)
        size = int(ends[-1]) + 1 if len(ends) else 0
        if is_last and size < len(block):
            if quotes is not None and (opened := _find_places(quotes)).size % 2:
                raise Fault(opened[-1], "a quote opens a text that is not closed before the end of the file", QUOTES)
            ends, size = np.append(ends, len(block)), len(block)
        starts = np.concatenate(([0], ends[:-1] + 1)) if len(ends) else ends
        starts, ends = self._drop_blank_lines(data, starts, ends)
        self._check_fields(data[:size], _find_places(delimiters), starts, ends)
        return Portion(size, starts, int(np.count_nonzero(data[:size] == _LF)))

    def _drop_blank_lines(self, data: Bytes, starts: Positions, ends: Positions) -> tuple[Positions, Positions]:
        """Leave out blank lines, which in a file of one column might be NULLs."""
        sizes = ends - starts
        blank = sizes == 0
        one = np.flatnonzero(sizes == 1)
        blank[one] = data[starts[one]] == _CR
        if self._fields == 1 and len(starts):
            follows = np.flatnonzero(~blank & np.concatenate(([self._had_blank], blank[:-1])))
            if len(follows):
                words = "blank lines stand before this line; in a file of one column they may be rows or nothing"
                raise Fault(starts[follows[0]], words, 'remove them, or write "" for an empty text')
            self._had_blank = bool(blank[-1])
        return (starts[~blank], ends[~blank]) if blank.any() else (starts, ends)

    def _check_fields(self, data: Bytes, delimiters: Positions, starts: Positions, ends: Positions) -> None:
        delimiters = delimiters[: np.searchsorted(delimiters, len(data))]
        each = self._fields - 1
        if len(delimiters) == each * len(starts) and (
            not each or bool((delimiters[::each] >= starts).all() and (delimiters[each - 1 :: each] < ends).all())
        ):
            return
        found = np.searchsorted(delimiters, ends) - np.searchsorted(delimiters, starts)
        bad = int(np.flatnonzero(found != each)[0])
        words, hint = f"the record has {found[bad] + 1} fields, but there are {self._fields} headings", _DELIMITERS
        if found[bad] < each and ends[bad] == len(data) and data[-1] != _LF:
            words = f"the file is cut off: its last line has {found[bad] + 1} of {self._fields} fields and no line end"
            hint = _WHOLE
        raise Fault(starts[bad], words, hint)


def _find_bytes(data: Bytes, byte: int) -> Bits:
    packed = np.packbits(data == byte, bitorder="little")
    return np.concatenate((packed, np.zeros(-len(packed) % 8, np.uint8))).view("<u8")


def _find_places(bits: Bits) -> Positions:
    return np.flatnonzero(np.unpackbits(bits.view(np.uint8), bitorder="little").view(bool))


def _accumulate_parity(bits: Bits) -> Bits:
    """For each bit, whether the number of set bits up to and including it is odd."""
    odd = bits.copy()
    for step in (1, 2, 4, 8, 16, 32):
        odd ^= odd << np.uint64(step)
    carried = np.bitwise_xor.accumulate(odd >> _TOP)
    odd[1:] ^= np.uint64(0) - carried[:-1]
    return odd


def _shift_later(bits: Bits) -> Bits:
    """Move each bit one byte later."""
    later = bits << _ONE
    later[1:] |= bits[:-1] >> _TOP
    return later


def _shift_earlier(bits: Bits) -> Bits:
    earlier = bits >> _ONE
    earlier[:-1] |= bits[1:] << _TOP
    return earlier


def _check_quotes(quotes: Bits, inside: Bits, between: Bits, returns: Bits | None, size: int) -> None:
    """Check that every quote opens or closes a field, or is doubled.

    :param between: delimiters and line feeds, which end fields.
    """
    opening, closing = quotes & inside, quotes & ~inside
    opens_wrongly = opening & ~_shift_later(
        between | closing
    )  # the quote after a closing quote is the second of a doubled quote
    opens_wrongly[0] &= ~_ONE
    behind = between | opening if returns is None else between | opening | returns
    closes_wrongly = closing & ~_shift_earlier(behind)
    closes_wrongly[-1] &= ~(_ONE << np.uint64((size - 1) % 64))  # the byte after the block is not known
    opened, closed = _find_first(opens_wrongly), _find_first(closes_wrongly)
    if opened is not None and (closed is None or opened < closed):
        raise Fault(opened, "there is a quote within a field that does not begin with a quote", QUOTES)
    if closed is not None:
        raise Fault(closed, "there are characters after the quote that closes a field", QUOTES)


def _check_returns(returns: Bits, line_feeds: Bits, size: int, is_last: bool) -> None:
    first = _find_first(returns & ~_shift_earlier(line_feeds))
    if first is None or (first == size - 1 and not is_last):
        return
    if first == size - 1:
        words = "the file is cut off: it ends between CR and LF, the two bytes of its line ends"
        raise Fault(first, words, _WHOLE)
    raise Fault(first, "a CR is not followed by LF", "rewrite the file with LF or CRLF line ends")


def _find_first(bits: Bits) -> int | None:
    words = np.flatnonzero(bits)
    if not len(words):
        return None
    word = int(bits[words[0]])
    return 64 * int(words[0]) + (word & -word).bit_length() - 1
