"""The bytes of a CSV file as UTF-8, in blocks, whatever they were written in."""

from __future__ import annotations

import codecs

from gpwarehouse.errors import InvalidInputError
from gpwarehouse.intake.decompress import Readable

__all__ = ["Utf8Text", "check_utf8", "hint_of_nul"]

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
"""Byte order marks: those of UTF-32 before those of UTF-16, with which they begin."""


class Utf8Text:
    """A stream of bytes in any encoding, read as UTF-8 without its byte order mark.

    :param encoding: as the caller gave it; None is UTF-8.
    """

    def __init__(self, stream: Readable, encoding: str | None) -> None:
        self._stream = stream
        self._head = _read(stream, 4)
        mark, marked = next(((m, name) for m, name in _MARKS if self._head.startswith(m)), (b"", None))
        name = codecs.lookup(encoding or "utf-8").name
        name = "utf-8" if name == "utf-8-sig" else name
        if marked is not None and name not in (marked, marked[:6]):
            given = f"encoding={encoding!r}" if encoding else "UTF-8, as no encoding is given"
            raise InvalidInputError(
                f"line 1: it begins with the byte order mark of {marked.upper()}, which is not {given}; "
                f"give encoding={marked.removesuffix('-le').removesuffix('-be')!r}"
            )
        self._head = self._head[len(mark) :]
        self._encoding = encoding
        name = marked or name
        self._decoder = None if name == "utf-8" else codecs.getincrementaldecoder(name)()
        self._lines = 1

    def read(self, size: int) -> bytes:
        """About ``size`` more bytes; none at the end.

        :raises InvalidInputError: they are not in the encoding that was given.
        """
        while True:
            data, self._head = self._head or _read(self._stream, size), b""
            if self._decoder is None:
                return data  # judged a record at a time, when it is known where one ends
            try:
                text = self._decoder.decode(data, not data).encode()
            except UnicodeError as error:
                raise InvalidInputError(self._words(error)) from None
            self._lines += text.count(b"\n")
            if text or not data:
                return text

    def _words(self, error: UnicodeError) -> str:
        line = self._lines
        if isinstance(error, UnicodeDecodeError):
            assert self._decoder is not None
            self._decoder.reset()
            line += self._decoder.decode(error.object[: error.start]).count("\n")
        return f"line {line}: it is not written in encoding={self._encoding!r}; give the right one"


def check_utf8(block: bytes, line: int) -> None:
    """See that whole records are UTF-8.

    :param line: number of the first line of them.
    :raises InvalidInputError: they are not.
    """
    if block.isascii():
        return
    try:
        block.decode()
    except UnicodeDecodeError as error:
        line += block.count(b"\n", 0, error.start)
        raise InvalidInputError(
            f"line {line}: the byte 0x{block[error.start]:02X} is no UTF-8; give encoding='cp1252' if a Windows program "
            "wrote the file, or what else it is written in"
        ) from None


def hint_of_nul(block: bytes, is_given: bool) -> str:
    """What helps where there are NUL bytes: the encoding, if every other byte is one, or nothing but the whole file."""
    sample = block[:4096]
    for name, zeros in (("utf-16-le", sample[1::2]), ("utf-16-be", sample[0::2])):
        if not is_given and zeros.count(0) > 0.7 * len(zeros) > 0 and sample.count(0) < 0.7 * len(sample):
            return f"it looks like UTF-16 without a byte order mark: give encoding={name!r}"
    return "no text has them: the file is damaged, or was not written to its end"


def _read(stream: Readable, size: int) -> bytes:
    """So many bytes, fewer only at the end."""
    data = stream.read(size)
    while data and len(data) < size and (more := stream.read(size - len(data))):
        data += more
    return data
