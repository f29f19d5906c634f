"""Options for CSV files: properties that a file does not show, or that are not assumed."""

from __future__ import annotations

import codecs
from collections.abc import Iterable
from dataclasses import dataclass

from gpwarehouse.errors import InvalidInputError

__all__ = ["CsvOptions"]

_LINE_ENDS = "\r\n\x00"


@dataclass(frozen=True)
class CsvOptions:
    """How CSV files are written, as far as they do not show it themselves.

    Without options, a file is expected to be UTF-8, with headings in its first line that is not empty. Texts are in double quotes
    where needed, quotes in them are doubled, and decimals have a point. Line ends (LF, CRLF), a byte order mark, a first line
    ``sep=;`` and blanks around headings are recognised. The delimiter is the one of comma, semicolon, tab and ``|`` under which
    all headings are columns of the target. An empty field is NULL; an empty text in quotes is an empty text.

    >>> CsvOptions(delimiter=";", decimal=",", encoding="cp1252", null_values=("NA", "-"))
    CsvOptions(delimiter=';', encoding='cp1252', decimal=',', quote='"', header_line=None, null_values=('NA', '-'))

    :param delimiter: one ASCII character between fields.
    :param encoding: any encoding that Python knows (``"cp1252"``, ``"utf-16"`` …); by default UTF-8.
    :param decimal: ``"."`` or ``","``, in columns of numbers. Thousands separators are not supported.
    :param quote: one ASCII character around texts; None if quotes are ordinary characters.
    :param header_line: number of the line with the headings, from 1; earlier lines are skipped.
    :param null_values: texts that are also NULL if they stand without quotes.
    :raises InvalidInputError: a value is not allowed.
    """

    delimiter: str | None = None
    encoding: str | None = None
    decimal: str = "."
    quote: str | None = '"'
    header_line: int | None = None
    null_values: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("delimiter", "quote"):
            value = getattr(self, name)
            if value is not None and not _is_character(value):
                raise InvalidInputError(f"{name}={value!r}: give one ASCII character that is not a line end, or None")
        if self.delimiter is not None and self.delimiter == self.quote:
            raise InvalidInputError(
                f"delimiter={self.delimiter!r} and quote={self.quote!r} are equal: give two characters"
            )
        if self.encoding is not None:
            _check_encoding(self.encoding)
        if self.decimal not in (".", ","):
            raise InvalidInputError(f"decimal={self.decimal!r}: the allowed values are '.' and ','")
        line = self.header_line
        if line is not None and (isinstance(line, bool) or not isinstance(line, int) or line < 1):
            raise InvalidInputError(f"header_line={line!r}: give the number of a line, from 1")
        object.__setattr__(self, "null_values", _check_texts(self.null_values))


def _is_character(value: object) -> bool:
    return isinstance(value, str) and len(value) == 1 and value.isascii() and value not in _LINE_ENDS


def _check_encoding(name: object) -> None:
    try:
        is_known = isinstance(name, str) and codecs.lookup(name).incrementaldecoder is not None
        is_known = is_known and codecs.getincrementaldecoder(str(name))().decode(b"") == ""  # other codecs return bytes
    except (LookupError, ValueError):
        is_known = False
    if not is_known:
        raise InvalidInputError(f"encoding={name!r}: Python does not know this text encoding")


def _check_texts(values: object) -> tuple[str, ...]:
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise InvalidInputError(f"null_values={values!r}: give a tuple of texts")
    texts = tuple(values)
    for text in texts:
        if not isinstance(text, str) or any(end in text for end in _LINE_ENDS):
            raise InvalidInputError(f"null_values: {text!r} is not a text of one line")
    return texts
