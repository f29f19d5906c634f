"""The headings of a CSV file: the line that holds them, and the delimiter between them."""

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
"""The first line by which Excel reads and writes the delimiter."""


@dataclass(frozen=True)
class Heading:
    """The headings of a file, and what was read beyond them.

    :ivar line: number of their line.
    :ivar lines: number of line feeds before the first row.
    :ivar rest: bytes after the headings that have been read already.
    """

    names: list[str]
    delimiter: str
    line: int
    lines: int
    rest: bytes


def read_heading(
    text: Utf8Text, options: CsvOptions, expected: Expected | None, delimiter: str, block_bytes: int
) -> Heading:
    """Read a file up to the end of its headings.

    :param delimiter: the delimiter that the file's name suggests; it is tried first.
    :raises InvalidInputError: there are no headings, one occurs twice, or none of them is expected.
    """
    head = _Head(text, options, block_bytes)
    said = head.take_delimiter()
    if said and options.delimiter and said != options.delimiter:
        raise InvalidInputError(
            f"line 1 says that the delimiter is {said!r}, but delimiter={options.delimiter!r} was given; leave delimiter= out"
        )
    head.pass_lines()
    line = head.lines + 1
    record = head.record()
    known = options.delimiter or said
    candidates = (known,) if known else dict.fromkeys((delimiter, *DELIMITERS))
    splits = {each: names for each in candidates if (names := _split_headings(record, each, options.quote)) is not None}
    if not splits:
        raise InvalidInputError(f"line {line}: the quotes of the headings do not match; {QUOTES}")
    chosen = _choose_delimiter(splits, expected) if expected is not None else next(iter(splits))
    if chosen is None:
        raise InvalidInputError(_explain_no_heading(head, line, record, list(candidates), options, expected))
    _refuse_repeated(splits[chosen], line)
    return Heading(splits[chosen], chosen, line, head.lines, head.data)


class _Head:
    """The beginning of a file. More of it is read when it is needed."""

    def __init__(self, text: Utf8Text, options: CsvOptions, block_bytes: int) -> None:
        self._text = text
        self._options = options
        self._block_bytes = block_bytes
        self.data = text.read(block_bytes)
        self.lines = 0
        if not self.data:
            raise InvalidInputError("the file is empty: there are no headings")

    def take_delimiter(self) -> str | None:
        """Remove a first line ``sep=;`` and return its delimiter."""
        self._find_line_end()
        found = _SEP.match(self.data)
        if (
            found is None
            or self._options.header_line == 1
            or found.end() not in (self._find_line_end(), len(self.data))
        ):
            return None
        self._drop(found.end())
        return found[1].decode()

    def pass_lines(self) -> None:
        """Remove the lines before the headings: those before ``header_line`` if it is given, otherwise blank lines."""
        wanted = self._options.header_line
        while wanted is None or self.lines < wanted - 1:
            end = self._find_line_end()
            if wanted is None and self.data[:end].strip(b"\r\n"):
                return
            if not end:
                why = f"header_line={wanted}" if wanted else "the file holds only blank lines"
                raise InvalidInputError(f"{why}, but the file ends in line {self.lines + 1}: there are no headings")
            self._drop(end)

    def record(self) -> str:
        """Remove the headings and return them without their line end."""
        line = self.lines + 1
        end = self._find_record_end()  # it may read more into data
        record = self.data[:end]
        if not record:
            raise InvalidInputError(f"the file ends before line {line}: there are no headings")
        self._refuse_nul(end)
        plain = record.removesuffix(b"\n").removesuffix(b"\r")
        if b"\r" in plain and b"\n" not in plain:
            raise InvalidInputError(
                f"line {line}: a CR is not followed by LF; rewrite the file with LF or CRLF line ends"
            )
        if len(record) > _HEADINGS_BYTES:
            raise InvalidInputError(f"line {line}: the headings are longer than 1 MiB; if this is a CSV file, {QUOTES}")
        check_utf8(record, line)
        self._drop(len(record))
        return plain.decode()

    def next_lines(self) -> list[str]:
        """Return some of the lines that follow."""
        while len(self.data) < _BYTES_SEARCHED and (more := self._text.read(self._block_bytes)):
            self.data += more
        lines = self.data[:_BYTES_SEARCHED].decode("utf-8", "replace").split("\n")
        return [line.removesuffix("\r") for line in lines[:_LINES_SEARCHED]]

    def _find_record_end(self) -> int:
        """Find the end of the record that begins here. A line feed in quotes does not end it."""
        quote = (self._options.quote or "").encode()
        end = self._find_line_end()
        while quote and end <= _HEADINGS_BYTES and self.data.count(quote, 0, end) % 2:
            further = self._find_line_end(end)
            if further == end:
                break
            end = further
        return end

    def _find_line_end(self, start: int = 0) -> int:
        """Find the end of the line that begins at ``start``, after its line feed; at most 1 MiB of it is read."""
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


def _split_headings(record: str, delimiter: str, quote: str | None) -> list[str] | None:
    """Split a line into headings, without blanks around them; None if the line cannot be split."""
    quotes: Any = {"quoting": csv.QUOTE_NONE} if quote is None else {"quotechar": quote}
    try:
        (fields,) = csv.reader([record], delimiter=delimiter, strict=True, **quotes)
    except (csv.Error, ValueError):
        return None
    return [field.strip() for field in fields]


def _choose_delimiter(splits: dict[str, list[str]], expected: Expected) -> str | None:
    """Choose the delimiter under which all headings are expected; else the one under which most are, for the error message."""
    for delimiter, names in splits.items():
        if len(expected.among(names)) == len(set(names)):
            return delimiter
    best = max(splits, key=lambda delimiter: len(expected.among(splits[delimiter])))
    return best if expected.among(splits[best]) else None


def _refuse_repeated(names: list[str], line: int) -> None:
    for name, count in Counter(names).items():
        if count > 1:
            raise InvalidInputError(
                f"line {line}: the heading {name!r} occurs {count} times; give it once, or give header_line= if another line "
                "holds the headings"
            )


def _explain_no_heading(
    head: _Head, line: int, record: str, candidates: list[str], options: CsvOptions, expected: Expected | None
) -> str:
    assert expected is not None
    tried = " ".join(_SHOWN.get(each, each) for each in candidates)
    words = f"line {line}: no heading in it is a column of {expected.what}. The delimiters tried: {tried}"
    for number, row in enumerate(head.next_lines(), head.lines + 1):
        for each in (*candidates, *DELIMITERS):
            names = _split_headings(row, each, options.quote)
            if names is not None and len(names) > 1 and len(expected.among(names)) == len(set(names)):
                given = "" if each in candidates else f" and delimiter={each!r}"
                return f"{words}. Line {number} looks like the headings: give header_line={number}{given}"
    near = next(
        (each for each in DELIMITERS if expected.among(_split_headings(record, each, options.quote) or ())), None
    )
    if near is not None:
        return f"{words}. With delimiter={near!r} some headings are columns: give it"
    return f"{words}. Give delimiter= if the file uses another one, or header_line= if the headings are in a later line"
