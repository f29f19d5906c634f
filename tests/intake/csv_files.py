"""CSV files as others write them, and what they say, by Python's csv module: the oracle."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from gpwarehouse.intake.csv import CsvOptions, csv_batches
from gpwarehouse.intake.expected_columns import Expected

Row = list[str | None]
NAMES = ["lot_id", "wafer_id", "spc_rule", "class_name"]
EXPECTED = Expected("the target", frozenset(NAMES))


@dataclass(frozen=True)
class Written:
    """How a file is written: what its options say, and what is to be found out."""

    names: tuple[str, ...]
    rows: tuple[tuple[str | None, ...], ...]
    delimiter: str = ","
    quote: str | None = '"'
    line_end: str = "\n"
    encoding: str = "utf-8"
    has_mark: bool = False
    has_last_end: bool = True
    before: tuple[str, ...] = ()
    padding: str = ""
    always_quoted: bool = False

    def content(self) -> bytes:
        heading = self.delimiter.join(self.padding + name + self.padding for name in self.names)
        lines = [*self.before, heading, *(self.delimiter.join(map(self._field, row)) for row in self.rows)]
        text = self.line_end.join(lines) + (self.line_end if self.has_last_end else "")
        return ("\ufeff" + text if self.has_mark else text).encode(self.encoding)

    def _field(self, value: str | None) -> str:
        if value is None:
            return ""
        if self.quote is None:
            return value
        special = (self.delimiter, self.quote, "\r", "\n")
        if value and not self.always_quoted and not any(each in value for each in special):
            return value
        return self.quote + value.replace(self.quote, 2 * self.quote) + self.quote

    def options(self, *, told: bool) -> CsvOptions:
        """The options that the file needs, or all that describe it."""
        utf8 = self.encoding == "utf-8"
        return CsvOptions(
            delimiter=self.delimiter if told or self.delimiter not in ",;\t|" else None,
            encoding=None if utf8 and not told else self.encoding,
            quote=self.quote,
            header_line=len(self.before) + 1 if self.before else None,
        )


def read(content: bytes, options: CsvOptions, block_bytes: int = 1 << 20) -> list[Row]:
    batches = csv_batches(io.BytesIO(content), options, EXPECTED, block_bytes=block_bytes)
    return [[row[name] for name in row] for batch in batches for row in batch.to_pylist()]


def said(content: bytes, options: CsvOptions, fields: int) -> list[list[str]] | None:
    """The rows by Python's csv module in its strict mode, None where it, or the headings, refuse them.

    It does not tell an empty text from a field of nothing.
    """
    try:
        if options.encoding == "utf-8":  # what is passed over need not be in it
            content = _behind(content.removeprefix(b"\xef\xbb\xbf"), b"\n", options)
            text = content.decode()
        else:
            text = _behind(content.decode(str(options.encoding)), "\n", options).removeprefix("\ufeff")
        if "\x00" in text:
            return None
        lines = io.StringIO(text, newline="")
        quoting = csv.QUOTE_NONE if options.quote is None else csv.QUOTE_MINIMAL
        found = csv.reader(
            lines, delimiter=options.delimiter or ",", quotechar=options.quote, quoting=quoting, strict=True
        )
        _, *rows = [row for row in found if row]
    except (csv.Error, UnicodeError, ValueError):
        return None
    return rows if all(len(row) == fields for row in rows) else None


def _behind(content: Any, end: Any, options: CsvOptions) -> Any:
    """What stands behind the lines that are passed over."""
    return content.split(end, options.header_line - 1)[-1] if options.header_line else content


def oracle_options(written: Written) -> CsvOptions:
    return written.options(told=True)


_CHARACTERS = st.sampled_from([*"ab7,;|\t\"'\r\n .é€", "日", "\u2028", "\x0b", "\\"])
_HEADER_BLOCK = st.sampled_from(["Tool: ETCH-07", 'a "note', "", "1,2,3;4"])


@st.composite
def written_files(draw: st.DrawFn, *, plain: bool = False) -> Written:
    """Files in a dialect of their own; ``plain``: by commas, in UTF-8, as most are."""
    names = NAMES[: draw(st.integers(2, len(NAMES)))]
    delimiter = "," if plain else draw(st.sampled_from([*",;\t|", ":", "\x1f"]))
    quote = '"' if plain else draw(st.sampled_from(['"', '"', "'", None]))
    encoding = "utf-8" if plain else draw(st.sampled_from(["utf-8", "utf-8", "cp1252", "utf-16", "utf-16-le"]))
    texts = st.text(_CHARACTERS, max_size=12).map(lambda text: _told(text, delimiter, quote, encoding))
    rows = draw(st.lists(st.tuples(*[st.none() | texts] * len(names)), max_size=12))
    return Written(
        names=tuple(names),
        rows=tuple(rows),
        delimiter=delimiter,
        quote=quote,
        line_end=draw(st.sampled_from(["\n", "\r\n"])),
        encoding=encoding,
        has_mark=encoding == "utf-8" and draw(st.booleans()),
        has_last_end=draw(st.booleans()),
        before=() if plain else tuple(draw(st.lists(_HEADER_BLOCK, max_size=3))),
        padding=draw(st.sampled_from(["", " "])) if delimiter != "\x1f" else "",
        always_quoted=draw(st.booleans()),
    )


def _told(text: str, delimiter: str, quote: str | None, encoding: str) -> str | None:
    """What of a text can be written: all of it in quotes, else no line end, delimiter, or empty text."""
    if encoding == "cp1252":
        text = text.encode("cp1252", "ignore").decode("cp1252")
    if quote is not None:
        return text
    return "".join(each for each in text if each not in f"{delimiter}\r\n") or None


def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """The content with one thing that goes wrong on disks and wires."""
    size = len(content)
    start = draw(st.integers(0, max(size - 1, 0)))
    end = min(size, start + draw(st.integers(1, 40)))
    kind = draw(st.sampled_from(["cut", "quote", "drop", "double", "zero", "lone CR"]))
    if kind == "cut":
        return content[:start]
    if kind == "quote":
        return content[:start] + b'"' + content[start:]
    if kind == "drop":
        return content[:start] + content[start + 1 :]
    if kind == "double":
        return content[:end] + content[start:end] + content[end:]
    if kind == "zero":
        return content[:start] + bytes(end - start) + content[end:]
    return content[:start] + b"\r" + content[start:]
