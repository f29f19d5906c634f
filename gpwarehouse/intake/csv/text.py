"""Read the bytes of a CSV file of any encoding as UTF-8, in blocks."""

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
"""Byte order marks. Those of UTF-32 come before those of UTF-16, because they begin with the same bytes."""


class Utf8Text:
    """A stream of bytes in any encoding, read as UTF-8 without its byte order mark.

    :param encoding: the encoding that the caller gave; None means UTF-8.
    """

    def __init__(self, stream: Readable, encoding: str | None) -> None:
        self._stream = stream
        self._head = _read(stream, 4)
        mark, marked = next(((m, name) for m, name in _MARKS if self._head.startswith(m)), (b"", None))
        name = codecs.lookup(encoding or "utf-8").name
        name = "utf-8" if name == "utf-8-sig" else name
        if marked is not None and name not in (marked, marked[:6]):
            given = f"encoding={encoding!r}" if encoding else "UTF-8, the default"
            raise InvalidInputError(
                f"line 1: the file begins with the byte order mark of {marked.upper()}, which is not {given}; "
                f"give encoding={marked.removesuffix('-le').removesuffix('-be')!r}"
            )
        self._head = self._head[len(mark) :]
        self._encoding = encoding
        name = marked or name
        self._decoder = None if name == "utf-8" else codecs.getincrementaldecoder(name)()
        self._lines = 1

    def read(self, size: int) -> bytes:
        """Read about ``size`` more bytes; none at the end.

        :raises InvalidInputError: the bytes are not in the encoding that was given.
        """
        while True:
            data, self._head = self._head or _read(self._stream, size), b""
            if self._decoder is None:
                return data  # check_utf8 checks it record by record, when the ends of records are known
            try:
                text = self._decoder.decode(data, not data).encode()
            except UnicodeError as error:
                raise InvalidInputError(self._describe(error)) from None
            self._lines += text.count(b"\n")
            if text or not data:
                return text

    def _describe(self, error: UnicodeError) -> str:
        line = self._lines
        if isinstance(error, UnicodeDecodeError):
            assert self._decoder is not None
            self._decoder.reset()
            line += self._decoder.decode(error.object[: error.start]).count("\n")
        return f"line {line}: the text is not in encoding={self._encoding!r}; give the encoding of the file"


def check_utf8(block: bytes, line: int) -> None:
    """Check that whole records are UTF-8.

    :param line: number of their first line.
    :raises InvalidInputError: they are not.
    """
    if block.isascii():
        return
    try:
        block.decode()
    except UnicodeDecodeError as error:
        line += block.count(b"\n", 0, error.start)
        raise InvalidInputError(
            f"line {line}: the byte 0x{block[error.start]:02X} is not UTF-8; give encoding='cp1252' if a Windows program wrote "
            "the file, otherwise the encoding that it is written in"
        ) from None


def hint_of_nul(block: bytes, is_given: bool) -> str:
    """The way out for NUL bytes: an encoding, if every other byte is NUL; otherwise only the complete file helps."""
    sample = block[:4096]
    for name, zeros in (("utf-16-le", sample[1::2]), ("utf-16-be", sample[0::2])):
        if not is_given and zeros.count(0) > 0.7 * len(zeros) > 0 and sample.count(0) < 0.7 * len(sample):
            return f"the file looks like UTF-16 without a byte order mark: give encoding={name!r}"
    return "a text file has none: the file is damaged, or it was not completely written"


def _read(stream: Readable, size: int) -> bytes:
    """Read ``size`` bytes; fewer only at the end."""
    data = stream.read(size)
    while data and len(data) < size and (more := stream.read(size - len(data))):
        data += more
    return data
