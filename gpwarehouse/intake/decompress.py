"""The bytes of a file, unpacked as they are read. How it is packed is told by its content, not by its name."""

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
"""What unpacking raises where the packed data is cut off or damaged, besides OSError without a number."""
_NOT_READ = {b"PK\x03\x04": "a zip archive or a workbook", b"\xfd7zXZ\x00": "packed by xz", b"%PDF": "a PDF document"}
_BZ2_BLOCKS = (b"1AY&SY", b"\x17rE8P\x90")


class Readable(Protocol):
    """Bytes to be read from the beginning on."""

    def read(self, size: int, /) -> bytes:
        """So many, fewer where it pleases the stream, none at the end."""


@contextmanager
def unpacked(file: Path) -> Iterator[Readable]:
    """Open for reading; gzip, bzip2 and Zstandard are unpacked.

    :raises InvalidInputError: the content is of a kind that holds no plain text.
    """
    with file.open("rb") as raw:
        magic = raw.read(10)
        raw.seek(0)
        for beginning, what in _NOT_READ.items():
            if magic.startswith(beginning):
                raise InvalidInputError(f"it is {what}; unpack it, or save it as CSV")
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
