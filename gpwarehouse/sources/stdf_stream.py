"""The bytes of an STDF file, decompressed as they are read. Compression is told by content, not by suffix."""

from __future__ import annotations

import bz2
import gzip
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from gpwarehouse.errors import SourceFormatError

__all__ = ["first_bytes", "open_stream", "read_exactly"]

WAY_OUT = "Nothing of it was loaded. Fetch the complete file from the tester or its archive again."


@contextmanager
def open_stream(path: Path) -> Iterator[IO[bytes]]:
    """Open for reading, decompressing gzip, bzip2 or a zip archive with exactly one file in it.

    Raises:
        SourceFormatError: while open, whenever the compressed data turns out damaged or cut.
    """
    with path.open("rb") as raw:
        magic = raw.read(4)
        raw.seek(0)
        with _damage_is_ours(path):
            if magic[:2] == b"\x1f\x8b":
                with gzip.GzipFile(fileobj=raw) as packed:
                    yield cast("IO[bytes]", packed)
            elif magic[:3] == b"BZh":
                with bz2.BZ2File(raw) as bz:
                    yield cast("IO[bytes]", bz)
            elif magic == b"PK\x03\x04":
                with zipfile.ZipFile(raw) as archive, archive.open(_only_member(archive, path)) as member:
                    yield member
            else:
                yield raw


@contextmanager
def _damage_is_ours(path: Path) -> Iterator[None]:
    try:
        yield
    except EOFError as error:
        raise SourceFormatError(f"{path.name}: the compressed data ends early ({error}). {WAY_OUT}") from error
    except (zlib.error, zipfile.BadZipFile, gzip.BadGzipFile, NotImplementedError) as error:
        raise SourceFormatError(f"{path.name}: the compressed data is damaged ({error}). {WAY_OUT}") from error
    except OSError as error:
        if error.errno is not None:  # the operating system's own errors are no statement about the content
            raise
        raise SourceFormatError(f"{path.name}: the compressed data is damaged ({error}). {WAY_OUT}") from error


def _only_member(archive: zipfile.ZipFile, path: Path) -> zipfile.ZipInfo:
    members = [info for info in archive.infolist() if not info.is_dir()]
    if len(members) != 1:
        names = ", ".join(info.filename for info in members[:5]) or "none"
        raise SourceFormatError(
            f"{path.name}: a zip archive must hold exactly one STDF file, this one holds {len(members)} ({names}). "
            "Unpack it and load the files one by one."
        )
    if members[0].flag_bits & 0x1:
        raise SourceFormatError(f"{path.name}: the zip archive is encrypted. Unpack it and load the STDF file.")
    return members[0]


def first_bytes(path: Path, count: int) -> bytes:
    """Up to ``count`` bytes from the start of the decompressed content."""
    with open_stream(path) as stream:
        return read_exactly(stream, count)


def read_exactly(stream: IO[bytes], count: int) -> bytes:
    """``count`` bytes, or fewer only at the end of the stream."""
    data = stream.read(count)
    if len(data) == count or not data:
        return data
    parts = [data]
    missing = count - len(data)
    while missing and (data := stream.read(missing)):
        parts.append(data)
        missing -= len(data)
    return b"".join(parts)
