"""The bytes of an STDF file, decompressed as they are read. Compression is recognised by content, not by suffix."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any, cast

import pyarrow as pa

from gpwarehouse.errors import SourceFormatError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = ["Content", "first_bytes", "open_content", "open_stream", "read_exactly"]

WAY_OUT = "Nothing of it was loaded. Fetch the complete file from the tester or its archive again."
LAYERS = 4
"""Maximum number of nested compressions and archives: a zip that holds a tar.gz has three."""
HEAD = 262
"""Bytes that identify the compression: a tar has its name at byte 257."""


@contextmanager
def open_stream(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for reading. It decompresses gzip, bzip2, xz, zstd, and zip and tar archives with exactly one file.

    :raises SourceFormatError: the compressed data is damaged or cut off; raised during reading.
    """
    with path.open("rb") as raw, ExitStack() as layers, _translate_damage(path):
        stream: IO[bytes] = raw
        for _ in range(LAYERS):
            head = read_exactly(stream, HEAD)
            stream.seek(0)
            unpack = next((unpack for is_it, unpack in PACKINGS if is_it(head)), None)
            if unpack is None:
                break
            stream = unpack(stream, layers, path)
        yield stream


class Content:
    """The decompressed bytes of a file, with their checksum.

    :param stream: what :func:`open_stream` gives.
    :param keep: up to this number of bytes the whole content stays in memory, as ``kept``; None if it is larger.
    """

    def __init__(self, stream: IO[bytes], keep: int = 0) -> None:
        self._stream = stream
        self._digest = hashlib.sha256()
        self._keep = keep
        self.kept: bytearray | None = bytearray()

    def read(self, count: int) -> bytes:
        """Read ``count`` bytes; fewer only at the end."""
        data = read_exactly(self._stream, count)
        self._digest.update(data)
        self._add(data)
        return data

    def _add(self, data: bytes) -> None:
        if self.kept is not None:
            self.kept += data
            if len(self.kept) > self._keep:
                self.kept = None

    @property
    def checksum(self) -> str:
        """SHA-256 (hex) of what was read."""
        return self._digest.hexdigest()


@contextmanager
def open_content(path: Path, keep: int = 0) -> Iterator[Content]:
    """Open a file as :class:`Content`.

    :param keep: number of bytes up to which the content stays in memory.
    :raises SourceFormatError: the compressed data is damaged or cut off; raised during reading.
    """
    with open_stream(path) as stream:
        yield Content(stream, keep)


class _Kept(io.RawIOBase):
    """A stream that stays open when its reader is closed."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return self._stream.read(size)


class _ZstdStream(io.RawIOBase):
    """Decompressed zstd data. Seeking backwards decompresses again from the beginning, as gzip and xz of Python do."""

    def __init__(self, packed: IO[bytes]) -> None:
        self._packed = packed
        self._rewind()

    def _rewind(self) -> None:
        self._packed.seek(0)
        self._at = 0
        self._plain = pa.CompressedInputStream(pa.PythonFile(_Kept(self._packed), mode="r"), "zstd")

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        data = self._plain.read(len(view))
        view[: len(data)] = data
        self._at += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_END:
            while self.read(1 << 20):
                pass
        target = offset + (0 if whence == io.SEEK_SET else self._at)
        if target < self._at:
            self._rewind()
        while self._at < target and self.read(min(1 << 20, target - self._at)):
            pass
        return self._at

    def tell(self) -> int:
        return self._at


def _unzip(stream: IO[bytes], layers: ExitStack, path: Path) -> IO[bytes]:
    archive = layers.enter_context(zipfile.ZipFile(stream))
    files = {info.filename: info for info in archive.infolist() if not info.is_dir()}
    only = files[_find_only_file(list(files), path, "zip")]
    if only.flag_bits & 0x1:
        raise SourceFormatError(f"{path.name}: the zip archive is encrypted. Decrypt it and load the STDF file.")
    return layers.enter_context(archive.open(only))


def _untar(stream: IO[bytes], layers: ExitStack, path: Path) -> IO[bytes]:
    archive = layers.enter_context(tarfile.TarFile(fileobj=stream))
    files = {info.name: info for info in archive.getmembers() if info.isfile()}
    return layers.enter_context(
        cast("IO[bytes]", archive.extractfile(files[_find_only_file(list(files), path, "tar")]))
    )


def _find_only_file(names: list[str], path: Path, kind: str) -> str:
    """The one file of an archive, apart from files that macOS adds."""
    own = [name for name in names if "__MACOSX" not in (parts := PurePosixPath(name).parts) and parts[-1][:2] != "._"]
    if len(own) != 1:
        told = ", ".join(own[:5]) or "none"
        raise SourceFormatError(
            f"{path.name}: a {kind} archive must hold exactly one STDF file, but this one holds {len(own)} ({told}). "
            "Unpack it and load the files one by one."
        )
    return own[0]


def _make_opener(kind: Callable[[IO[bytes]], Any]) -> Callable[[IO[bytes], ExitStack, Path], IO[bytes]]:
    return lambda stream, layers, _: cast("IO[bytes]", layers.enter_context(kind(stream)))


Unpack = Callable[[IO[bytes], ExitStack, Path], IO[bytes]]
PACKINGS: list[tuple[Callable[[bytes], bool], Unpack]] = [
    (lambda head: head[:2] == b"\x1f\x8b", _make_opener(lambda stream: gzip.GzipFile(mode="rb", fileobj=stream))),
    (lambda head: head[:3] == b"BZh", _make_opener(bz2.BZ2File)),
    (lambda head: head[:6] == b"\xfd7zXZ\0", _make_opener(lzma.LZMAFile)),
    (lambda head: head[:4] == b"\x28\xb5\x2f\xfd", _make_opener(lambda stream: io.BufferedReader(_ZstdStream(stream)))),
    (lambda head: head[:4] == b"PK\x03\x04", _unzip),
    (lambda head: head[257:262] == b"ustar", _untar),
]


@contextmanager
def _translate_damage(path: Path) -> Iterator[None]:
    try:
        yield
    except EOFError as error:
        raise SourceFormatError(f"{path.name}: the compressed data ends early ({error}). {WAY_OUT}") from error
    except (
        zlib.error,
        lzma.LZMAError,
        zipfile.BadZipFile,
        tarfile.TarError,
        NotImplementedError,
        pa.ArrowInvalid,
    ) as error:
        raise SourceFormatError(f"{path.name}: the compressed data is damaged ({error}). {WAY_OUT}") from error
    except OSError as error:
        if error.errno is not None:  # errors of the operating system say nothing about the content
            raise
        raise SourceFormatError(f"{path.name}: the compressed data is damaged ({error}). {WAY_OUT}") from error


def first_bytes(path: Path, count: int) -> bytes:
    """Read up to ``count`` bytes from the beginning of the decompressed content."""
    with open_stream(path) as stream:
        return read_exactly(stream, count)


def read_exactly(stream: IO[bytes], count: int) -> bytes:
    """Read ``count`` bytes; fewer only at the end of the stream."""
    data = stream.read(count)
    if len(data) == count or not data:
        return data
    parts = [data]
    missing = count - len(data)
    while missing and (data := stream.read(missing)):
        parts.append(data)
        missing -= len(data)
    return b"".join(parts)
