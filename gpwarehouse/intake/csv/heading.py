"""The headings of a CSV file: which line they stand in, and what stands between them."""

from __future__ import annotations

import csv
import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

from gpwarehouse.errors import InvalidInputError
from gpwarehouse.intake.csv.options import CsvOptions
from gpwarehouse.intake.csv.records import QUOTES
from gpwarehouse.intake.csv.text import Utf8Text, check_utf8, hint_of_nul
from gpwarehouse.intake.expected_columns import Expected

__all__ = ["Heading", "read_heading"]

DELIMITERS = (",", ";", "\t", "|")
_SHOWN = {"\t": "tab"}
_HEADINGS_BYTES = 1 << 20
_LINES_SEARCHED = 200
_BYTES_SEARCHED = 64 << 10
_SEP = re.compile(rb'"?sep=([^\r\n"\x80-\xff])"?\r?\n?', re.IGNORECASE)
"""The first line that Excel takes for the delimiter, and writes."""


@dataclass(frozen=True)
class Heading:
    """The headings, and what the file holds behind them as far as it was read.

    :ivar line: number of their line. ``lines``: line feeds up to the first row.
    """

    names: list[str]
    delimiter: str
    line: int
    lines: int
    rest: bytes


def read_heading(
    text: Utf8Text, options: CsvOptions, expected: Expected | None, delimiter: str, block_bytes: int
) -> Heading:
    """Read up to the end of the headings.

    :param delimiter: what the file's name tells, and is tried first.
    :raises InvalidInputError: there are none, they come twice, or none of them is expected.
    """
    head = _Head(text, options, block_bytes)
    said = head.take_delimiter()
    if said and options.delimiter and said != options.delimiter:
        raise InvalidInputError(
            f"line 1: it says that the delimiter is {said!r}, and delimiter={options.delimiter!r} is given; leave that out"
        )
    head.pass_lines()
    line = head.lines + 1
    record = head.record()
    known = options.delimiter or said
    candidates = (known,) if known else dict.fromkeys((delimiter, *DELIMITERS))
    splits = {each: names for each in candidates if (names := _names(record, each, options.quote)) is not None}
    if not splits:
        raise InvalidInputError(f"line {line}: the quotes of the headings do not match; {QUOTES}")
    chosen = _fitting(splits, expected) if expected is not None else next(iter(splits))
    if chosen is None:
        raise InvalidInputError(_not_found(head, line, record, list(candidates), options, expected))
    _refuse_repeated(splits[chosen], line)
    return Heading(splits[chosen], chosen, line, head.lines, head.data)


class _Head:
    """The beginning of a file, of which more is read as it is needed."""

    def __init__(self, text: Utf8Text, options: CsvOptions, block_bytes: int) -> None:
        self._text = text
        self._options = options
        self._block_bytes = block_bytes
        self.data = text.read(block_bytes)
        self.lines = 0
        if not self.data:
            raise InvalidInputError("it is empty: there are no headings")

    def take_delimiter(self) -> str | None:
        """What a first line ``sep=;`` says, which is taken off."""
        self._line_end()
        found = _SEP.match(self.data)
        if found is None or self._options.header_line == 1 or found.end() not in (self._line_end(), len(self.data)):
            return None
        self._drop(found.end())
        return found[1].decode()

    def pass_lines(self) -> None:
        """Leave out the lines before the headings: as many as the caller said, else those that are blank."""
        wanted = self._options.header_line
        while wanted is None or self.lines < wanted - 1:
            end = self._line_end()
            if wanted is None and self.data[:end].strip(b"\r\n"):
                return
            if not end:
                why = f"header_line={wanted}" if wanted else "it holds blank lines alone"
                raise InvalidInputError(f"{why}, and it ends in line {self.lines + 1}: there are no headings")
            self._drop(end)

    def record(self) -> str:
        """The headings, without their line end, taken off."""
        line = self.lines + 1
        end = self._record_end()  # reads on, into data
        record = self.data[:end]
        if not record:
            raise InvalidInputError(f"it ends before line {line}: there are no headings")
        self._refuse_nul(end)
        plain = record.removesuffix(b"\n").removesuffix(b"\r")
        if b"\r" in plain and b"\n" not in plain:
            raise InvalidInputError(
                f"line {line}: a CR stands alone, and not before LF; write the lines anew, with LF or CRLF"
            )
        if len(record) > _HEADINGS_BYTES:
            raise InvalidInputError(f"line {line}: no headings end within a MiB of it; if it is a CSV file, {QUOTES}")
        check_utf8(record, line)
        self._drop(len(record))
        return plain.decode()

    def next_lines(self) -> list[str]:
        """Some of the lines that follow."""
        while len(self.data) < _BYTES_SEARCHED and (more := self._text.read(self._block_bytes)):
            self.data += more
        lines = self.data[:_BYTES_SEARCHED].decode("utf-8", "replace").split("\n")
        return [line.removesuffix("\r") for line in lines[:_LINES_SEARCHED]]

    def _record_end(self) -> int:
        """Where the record ends that begins here: a line feed in quotes does not end it."""
        quote = (self._options.quote or "").encode()
        end = self._line_end()
        while quote and end <= _HEADINGS_BYTES and self.data.count(quote, 0, end) % 2:
            further = self._line_end(end)
            if further == end:
                break
            end = further
        return end

    def _line_end(self, start: int = 0) -> int:
        """Where the line that begins there ends, behind its line feed; at most a MiB of it is read."""
        searched = start
        while (end := self.data.find(b"\n", searched)) < 0:
            searched = len(self.data)
            more = self._text.read(self._block_bytes) if searched - start <= _HEADINGS_BYTES else b""
            if not more:
                return searched
            self.data += more
        return end + 1

    def _refuse_nul(self, end: int) -> None:
        if (nul := self.data.find(b"\x00", 0, end)) >= 0:
            line = self.lines + self.data.count(b"\n", 0, nul) + 1
            hint = hint_of_nul(self.data, self._options.encoding is not None)
            raise InvalidInputError(f"line {line}: it holds NUL bytes; {hint}")

    def _drop(self, end: int) -> None:
        self._refuse_nul(end)
        self.lines += self.data.count(b"\n", 0, end)
        self.data = self.data[end:]
        if not self.data:
            self.data = self._text.read(self._block_bytes)


def _names(record: str, delimiter: str, quote: str | None) -> list[str] | None:
    """The headings under a delimiter, without blanks around them; None where they are none."""
    quotes: Any = {"quoting": csv.QUOTE_NONE} if quote is None else {"quotechar": quote}
    try:
        (fields,) = csv.reader([record], delimiter=delimiter, strict=True, **quotes)
    except (csv.Error, ValueError):
        return None
    return [field.strip() for field in fields]


def _fitting(splits: dict[str, list[str]], expected: Expected) -> str | None:
    """The delimiter under which all headings are expected; else that under which most are, to tell of the others."""
    for delimiter, names in splits.items():
        if set(names) <= expected.names:
            return delimiter
    best = max(splits, key=lambda delimiter: len(expected.names & set(splits[delimiter])))
    return best if expected.names & set(splits[best]) else None


def _refuse_repeated(names: list[str], line: int) -> None:
    for name, count in Counter(names).items():
        if count > 1:
            raise InvalidInputError(
                f"line {line}: the heading {name!r} is there {count} times; give it once, or header_line= if another line "
                "holds the headings"
            )


def _not_found(
    head: _Head, line: int, record: str, candidates: list[str], options: CsvOptions, expected: Expected | None
) -> str:
    assert expected is not None
    tried = " ".join(_SHOWN.get(each, each) for each in candidates)
    words = f"line {line}: no heading in it is a column of {expected.what}, with the delimiter {tried}"
    for number, row in enumerate(head.next_lines(), head.lines + 1):
        for each in (*candidates, *DELIMITERS):
            names = _names(row, each, options.quote)
            if names is not None and len(names) > 1 and set(names) <= expected.names:
                given = "" if each in candidates else f" and delimiter={each!r}"
                return f"{words}. Line {number} looks like the headings: give header_line={number}{given}"
    near = next((each for each in DELIMITERS if set(_names(record, each, options.quote) or ()) & expected.names), None)
    if near is not None:
        return f"{words}; with delimiter={near!r} there are some"
    return f"{words}; give delimiter= if it is another one, or header_line= if the headings stand further down"
