"""What a caller may say of CSV files that cannot be seen in them, or is not taken for granted."""

from __future__ import annotations

import codecs
from collections.abc import Iterable
from dataclasses import dataclass

from gpwarehouse.errors import InvalidInputError

__all__ = ["CsvOptions"]

_LINE_ENDS = "\r\n\x00"


@dataclass(frozen=True)
class CsvOptions:
    """How CSV files are written, where they do not say it themselves.

    Without options a file is UTF-8 with headings in its first line that is not empty, texts in double quotes where needed,
    quotes in them doubled, and a point in decimals. Its line ends (LF, CRLF), a byte order mark, a first line ``sep=;`` and
    blanks around headings are understood. The delimiter is the one of comma, semicolon, tab and ``|`` under which all the
    headings are columns of the target. An empty field is NULL, an empty text in quotes is an empty text.

    >>> CsvOptions(delimiter=";", decimal=",", encoding="cp1252", null_values=("NA", "-"))
    CsvOptions(delimiter=';', encoding='cp1252', decimal=',', quote='"', header_line=None, null_values=('NA', '-'))

    :param delimiter: one ASCII character between fields.
    :param encoding: any that Python knows (``"cp1252"``, ``"utf-16"`` …); UTF-8 unless it is given.
    :param decimal: ``"."`` or ``","``, in columns of numbers. Marks between thousands are not read.
    :param quote: one ASCII character around texts; None where quotes are characters like others.
    :param header_line: number of the line with the headings, from 1; those before it are passed over.
    :param null_values: texts that are NULL too where they stand without quotes.
    :raises InvalidInputError: one of them is none that is allowed.
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
                raise InvalidInputError(f"{name}={value!r}: give one ASCII character that ends no line, or None")
        if self.delimiter is not None and self.delimiter == self.quote:
            raise InvalidInputError(f"delimiter={self.delimiter!r} and quote={self.quote!r}: give two characters")
        if self.encoding is not None:
            _check_encoding(self.encoding)
        if self.decimal not in (".", ","):
            raise InvalidInputError(f"decimal={self.decimal!r}: allowed are '.' and ','")
        line = self.header_line
        if line is not None and (isinstance(line, bool) or not isinstance(line, int) or line < 1):
            raise InvalidInputError(f"header_line={line!r}: give the number of a line, from 1")
        object.__setattr__(self, "null_values", _texts(self.null_values))


def _is_character(value: object) -> bool:
    return isinstance(value, str) and len(value) == 1 and value.isascii() and value not in _LINE_ENDS


def _check_encoding(name: object) -> None:
    try:
        is_known = isinstance(name, str) and codecs.lookup(name).incrementaldecoder is not None
        is_known = is_known and codecs.getincrementaldecoder(str(name))().decode(b"") == ""  # others give bytes
    except (LookupError, ValueError):
        is_known = False
    if not is_known:
        raise InvalidInputError(f"encoding={name!r}: Python knows no such encoding of texts")


def _texts(values: object) -> tuple[str, ...]:
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise InvalidInputError(f"null_values={values!r}: give a tuple of texts")
    texts = tuple(values)
    for text in texts:
        if not isinstance(text, str) or any(end in text for end in _LINE_ENDS):
            raise InvalidInputError(f"null_values: {text!r} is no text of one line")
    return texts
