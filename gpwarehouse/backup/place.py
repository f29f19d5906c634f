"""A place that holds backups: a folder, or a prefix in an object store, through ``pyarrow.fs``.

Three facts shape this module. An exception while an object is written leaves a shorter object that looks finished. A second
object of a name replaces the first in silence. Not every store can rename. So an object gets a name that is used once, is
read back by size and SHA-256, and counts only if a manifest, which is written after it, names it.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pyarrow as pa
from pyarrow import fs

from gpwarehouse.errors import BackupError
from gpwarehouse.settings.types import STORES

__all__ = ["Place", "Stored", "Upload", "shown_url"]

_READ_BYTES = 1 << 22
_DELETED_AT_ONCE = 16


@dataclass(frozen=True)
class Stored:
    """An object of a place.

    :ivar name: below the place.
    :ivar bytes: its size.
    :ivar modified: when it was written, by the store's clock, UTC; None where the store does not say.
    """

    name: str
    bytes: int
    modified: datetime | None


class Upload:
    """An object that is being written: a file for writers, which counts and hashes what passes.

    :ivar bytes: written so far.
    """

    closed = False

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._hash = hashlib.sha256()
        self.bytes = 0

    @property
    def sha256(self) -> str:
        """Of what was written, hexadecimal."""
        return self._hash.hexdigest()

    def write(self, data: Any) -> int:
        """Write bytes."""
        self._hash.update(data)
        self._stream.write(data)
        size = memoryview(data).nbytes
        self.bytes += size
        return size

    def flush(self) -> None:
        """Do nothing; the store flushes."""

    def tell(self) -> int:
        """The place of the next byte."""
        return self.bytes

    def readable(self) -> bool:
        """No."""
        return False

    def writable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """No."""
        return False

    def close(self) -> None:
        """Do nothing; the place closes it."""


class Place:
    """A folder or a prefix in an object store.

    :param url: a path, or a URL ``file://``, ``s3://``, ``gs://``, ``abfss://``. Credentials come from the environment, as the
        store's own tools take them, or from the URL and its options; they are never shown.
    :raises BackupError: the URL cannot be used.
    :ivar shown: the place without anything secret, for messages.
    """

    def __init__(self, url: str) -> None:
        scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", url)
        self._secrets = (*_secrets_of(url), *_secrets_of_environment()) if scheme else ()
        self._hosts = tuple(_hosts_of(url)) if scheme else ()
        self.shown = shown_url(url)
        if scheme is None:
            self._fs, self._root = fs.LocalFileSystem(), str(Path(url).expanduser().absolute())
        elif scheme[1].lower() not in STORES:
            raise BackupError(
                f"{self.shown}: {scheme[1]!r} is no store of backups; allowed: a path, {', '.join(STORES)}"
            )
        else:
            with self._translated("it"):
                azure = scheme[1].lower().startswith("abfs")
                self._fs, self._root = _azure(url) if azure else fs.FileSystem.from_uri(url)
        self._root = self._root.rstrip("/")
        self._local = isinstance(self._fs, fs.LocalFileSystem)

    def __repr__(self) -> str:
        return f"Place({self.shown!r})"

    @contextmanager
    def _translated(self, name: str) -> Iterator[None]:
        """Raise a store's errors as ours, without what is secret and without the original, which may show it."""
        try:
            yield
        except (OSError, pa.ArrowException) as error:
            failure = BackupError(f"{self.shown}: {name} cannot be used: {self._mask(str(error))}")
        else:
            return
        try:
            raise failure
        finally:
            failure.__context__ = None

    def _mask(self, words: str) -> str:
        """The words without what is secret. A host stays whole, also where a user's name is a part of it."""
        known = sorted({*self._secrets, *self._hosts}, key=len, reverse=True)
        if not known:
            return words
        return re.sub(
            "|".join(map(re.escape, known)), lambda found: found[0] if found[0] in self._hosts else "***", words
        )

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    @contextmanager
    def new(self, name: str) -> Iterator[Upload]:
        """Write a new object, whole at the end of the block; afterwards it is read back. If the block raises, it is removed.

        :raises BackupError: it cannot be written, or is not read back as it was written.
        """
        path = self._path(name)
        with self._translated(name):
            if self._fs.get_file_info(path).type != fs.FileType.NotFound:
                raise BackupError(f"{self.shown}: {name} is there already, and nothing is ever overwritten")
            if self._local:
                self._fs.create_dir(os.path.dirname(path), recursive=True)  # noqa: PTH120
            stream = self._fs.open_output_stream(path)
        upload = Upload(stream)
        try:
            yield upload
            with self._translated(name):
                stream.close()
                if self._local:
                    _force_to_disk(path)
            self.check(name, upload.bytes, upload.sha256)
        except BaseException:
            with suppress(OSError, pa.ArrowException):
                stream.close()
            with suppress(OSError, pa.ArrowException):
                self._fs.delete_file(path)
            raise

    def write(self, name: str, content: bytes) -> None:
        """Write a small new object, and read it back."""
        with self.new(name) as upload:
            upload.write(content)

    def check(self, name: str, size: int, sha256: str) -> None:
        """Read an object, and compare it with what was written.

        :raises BackupError: it is missing, or another.
        """
        found, count = hashlib.sha256(), 0
        with self._translated(name), self._fs.open_input_stream(self._path(name)) as stream:
            while piece := stream.read(_READ_BYTES):
                found.update(piece)
                count += len(piece)
        if (count, found.hexdigest()) != (size, sha256):
            raise BackupError(
                f"{self.shown}: {name} has {count} bytes with SHA-256 {found.hexdigest()}, and should have {size} with {sha256}; "
                "it is damaged; gpwarehouse backup create --full writes all rows anew"
            )

    def read(self, name: str) -> bytes:
        """Read a small object."""
        with self._translated(name), self._fs.open_input_stream(self._path(name)) as stream:
            content: bytes = stream.read()
            return content

    @contextmanager
    def opened(self, name: str, size: int) -> Iterator[pa.NativeFile]:
        """Open an object of this size, for reading anywhere in it.

        :raises BackupError: it is missing, or of another size, or a read fails.
        """
        with self._translated(name), self._fs.open_input_file(self._path(name)) as file:
            if file.size() != size:
                raise BackupError(
                    f"{self.shown}: {name} has {file.size()} bytes, and should have {size}; it is damaged: "
                    "gpwarehouse backup create --full writes all rows anew"
                )
            yield file

    def list(self, folder: str) -> dict[str, Stored]:
        """Name → object, of all objects below a folder; none where there is no such folder."""
        selector = fs.FileSelector(self._path(folder), allow_not_found=True, recursive=True)
        with self._translated(folder):
            found = self._fs.get_file_info(selector)
        cut = len(self._root.lstrip("/")) + 1
        objects = (Stored(i.path.lstrip("/")[cut:], i.size, i.mtime) for i in found if i.type == fs.FileType.File)
        return {each.name: each for each in sorted(objects, key=lambda each: each.name)}

    def delete(self, name: str) -> None:
        """Remove an object; one that is gone is no error."""
        path = self._path(name)
        with self._translated(name):
            if self._fs.get_file_info(path).type != fs.FileType.NotFound:
                self._fs.delete_file(path)

    def delete_all(self, names: Iterable[str]) -> None:
        """Remove objects, several at once: Azure's file system takes seconds for each against azurite [measured]."""
        with ThreadPoolExecutor(_DELETED_AT_ONCE, thread_name_prefix="gpwarehouse-delete") as pool:
            for _ in pool.map(self.delete, names):
                pass


_PLACES = {f"{service}_storage_{what}" for service in ("blob", "dfs") for what in ("authority", "scheme")}
_AZURE = frozenset({"account_key", "sas_token", "client_id", "client_secret", "tenant_id", *_PLACES})
_OPEN = frozenset({"region", "scheme", "endpoint_override", "project_id", *_PLACES})
"""Options that say where a store is."""
_AZURE_ENVIRONMENT = {"account_key": "AZURE_STORAGE_KEY", "sas_token": "AZURE_STORAGE_SAS_TOKEN"}


def _azure(url: str) -> tuple[fs.FileSystem, str]:
    """The file system of ``abfss://container@account.dfs.core.windows.net/prefix?option=value``, and the path.

    ``FileSystem.from_uri`` of pyarrow 26 takes no account key from a URL [measured], so the options are those of
    ``AzureFileSystem``. Without a key it takes what Azure's default credentials are.

    :raises OSError: the URL is none, or has an unknown option.
    """
    parts = urlsplit(url)
    container, _, host = parts.netloc.rpartition("@")
    account = host.partition(".")[0]
    options = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
    if not container or ":" in container or not account or not options.keys() <= _AZURE:
        raise OSError(
            f"write abfss://container@account.dfs.core.windows.net/prefix; options are {', '.join(sorted(_AZURE))}"
        )
    found = {option: os.environ[name] for option, name in _AZURE_ENVIRONMENT.items() if os.environ.get(name)}
    return fs.AzureFileSystem(account, **{**found, **options}), container + parts.path


def _force_to_disk(path: str) -> None:
    for each in (path, os.path.dirname(path)):  # noqa: PTH120
        opened = os.open(each, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


def shown_url(url: str) -> str:
    """The URL without user, password and options. A container before the ``@`` of ``abfss://`` is no secret."""
    if "://" not in url:
        return url
    parts = urlsplit(url)
    if "@" in parts.path:  # a password with a slash that is not encoded
        return f"{parts.scheme}://***"
    host = parts.netloc.rpartition("@")[2]
    container = parts.netloc.rpartition("@")[0]
    if parts.scheme in ("abfs", "abfss") and container and ":" not in container:
        host = f"{container}@{host}"
    return f"{parts.scheme}://{host}{parts.path}"


def _secrets_of_environment() -> tuple[str, ...]:
    return tuple(os.environ[name] for name in _AZURE_ENVIRONMENT.values() if os.environ.get(name))


def _secrets_of(url: str) -> tuple[str, ...]:
    """What must not stand in a message: the whole URL, its user and password, and options but those that say where it is."""
    parts = urlsplit(url)
    before = parts.netloc.rpartition("@")[0]
    if parts.scheme in ("abfs", "abfss") and ":" not in before:
        before = ""
    options = (value for name, value in parse_qsl(parts.query) if name not in _OPEN or "@" in value)
    words = [url, parts.query, before, *before.split(":"), *options]
    words += [unquote(word) for word in words]
    return tuple({word for word in words if len(word) > 3})


def _hosts_of(url: str) -> Iterator[str]:
    for name, value in parse_qsl(urlsplit(url).query):
        if name == "endpoint_override" or name.endswith("_authority"):
            place = re.split("[/@]", value)[-1]
            yield from (place, place.partition(":")[0])
