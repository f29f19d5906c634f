"""The bytes of a file, decompressed while they are read. The format is recognised by the content, not by the name."""

from __future__ import annotations

import bz2
import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from gpwarehouse.errors import InvalidInputError

__all__ = ["DAMAGE", "Readable", "unpacked"]

DAMAGE = (EOFError, zlib.error, gzip.BadGzipFile)
"""Errors of decompression if the data is cut off or damaged; an OSError without a number is another."""
_NOT_READ = {
    b"PK\x03\x04": "a zip archive or a workbook",
    b"\xfd7zXZ\x00": "compressed by xz",
    b"%PDF": "a PDF document",
}
_BZ2_BLOCKS = (b"1AY&SY", b"\x17rE8P\x90")


class Readable(Protocol):
    """Bytes that are read once, from the beginning."""

    def read(self, size: int, /) -> bytes:
        """Read up to ``size`` bytes; none at the end."""


@contextmanager
def unpacked(file: Path) -> Iterator[Readable]:
    """Open a file for reading; gzip, bzip2 and Zstandard are decompressed.

    :raises InvalidInputError: the content is of a kind that is not text.
    """
    with file.open("rb") as raw:
        magic = raw.read(10)
        raw.seek(0)
        for beginning, what in _NOT_READ.items():
            if magic.startswith(beginning):
                raise InvalidInputError(f"the file is {what}; decompress it, or save it as CSV")
        if magic.startswith(b"\x1f\x8b"):
            with gzip.GzipFile(fileobj=raw) as packed:
                yield packed
        elif magic.startswith(b"BZh") and magic[4:] in _BZ2_BLOCKS:
            with bz2.BZ2File(raw) as bz:
                yield bz
        elif magic.startswith(b"\x28\xb5\x2f\xfd"):
            with pa.CompressedInputStream(pa.PythonFile(raw, "r"), "zstd") as zstd:
                yield zstd
        else:
            yield raw
