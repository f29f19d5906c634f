"""The manifest of a backup: what it holds, in which objects. An object counts only if a manifest names it.

A manifest is JSON, ``{"sha256": …, "backup": …}``: the checksum is that of the text of the second part, so a manifest that
was cut is none.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from gpwarehouse.errors import BackupError
from gpwarehouse.partitions.archive import Content

__all__ = ["Entry", "Manifest", "entry_from", "manifest_from", "manifest_text", "packed", "unpacked"]

FORMAT = 1


@dataclass(frozen=True)
class Entry:
    """A table, or a month of a fact.

    :ivar partition: name of the partition; None: the table has none, or is kept as a whole.
    :ivar start: first instant of the partition, ISO; ``end``: the first one after it.
    :ivar columns: column → the server's type, in the table's order.
    :ivar rows: their number; ``checksum``: of the rows (:mod:`gpwarehouse.backup.row_checksum`).
    :ivar file: name of the object; None: there are no rows.
    :ivar mark: what tells whether the rows changed since (:mod:`gpwarehouse.backup.change_marks`).
    :ivar comment: of the partition's own table: retention keeps its holds there.
    """

    table: str
    partition: str | None
    start: str | None
    end: str | None
    columns: dict[str, str]
    rows: int
    checksum: str
    file: str | None
    bytes: int
    sha256: str
    mark: dict[str, Any] | None = None
    comment: str | None = None

    @property
    def key(self) -> tuple[str, str | None, str | None]:
        """Table and bounds: what it is the content of."""
        return self.table, self.start, self.end

    @property
    def content(self) -> Content:
        """Its rows."""
        return Content.of_text(self.rows, self.checksum)

    @property
    def label(self) -> str:
        """For messages."""
        return self.table if self.partition is None else f"{self.table} {self.partition}"


@dataclass(frozen=True)
class Manifest:
    """A whole backup.

    :ivar id: begins with the moment at which it began.
    :ivar taken_at: the moment of which it holds all rows, by the server's clock.
    :ivar schema: whose tables; ``warehouse``: as :func:`gpwarehouse.partitions.archive_owner.identity_of` says.
    :ivar revision: of the schema; several with commas between.
    """

    id: str
    taken_at: datetime
    finished_at: datetime
    schema: str
    warehouse: str
    revision: str
    server: str
    package_version: str
    entries: tuple[Entry, ...]
    format: int = FORMAT
    size: int = field(default=0, compare=False)

    @property
    def rows(self) -> int:
        """Of all tables."""
        return sum(entry.rows for entry in self.entries)

    @property
    def files(self) -> dict[str, Entry]:
        """Object → entry."""
        return {entry.file: entry for entry in self.entries if entry.file is not None}


def packed(said: dict[str, Any]) -> bytes:
    """A JSON object, with its checksum."""
    text = json.dumps(said, separators=(",", ":"))  # columns keep their order
    return json.dumps({"sha256": hashlib.sha256(text.encode()).hexdigest(), "backup": text}).encode()


def unpacked(content: bytes, name: str) -> dict[str, Any]:
    """The JSON object that was packed.

    :raises BackupError: it is cut, or none.
    """
    try:
        outer = json.loads(content)
        text = outer["backup"]
        if hashlib.sha256(text.encode()).hexdigest() != outer["sha256"]:
            raise ValueError("its checksum is another")
        said: dict[str, Any] = json.loads(text)
        if said.get("format", FORMAT) != FORMAT:
            raise BackupError(
                f"{name} has format {said['format']!r}, this package reads {FORMAT}: use the one that wrote it"
            )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BackupError(f"{name} is cut or damaged: {error!r}") from error
    return said


def entry_from(said: dict[str, Any]) -> Entry:
    """Read an entry."""
    return Entry(**said)


def manifest_text(manifest: Manifest) -> bytes:
    """A manifest as it is stored."""
    said = asdict(manifest)
    del said["size"]
    said["taken_at"], said["finished_at"] = manifest.taken_at.isoformat(), manifest.finished_at.isoformat()
    return packed(said)


def manifest_from(content: bytes, name: str) -> Manifest:
    """Read a manifest.

    :raises BackupError: it is cut, or none.
    """
    said = unpacked(content, name)
    try:
        entries = tuple(entry_from(entry) for entry in said.pop("entries"))
        said["taken_at"], said["finished_at"] = map(datetime.fromisoformat, (said["taken_at"], said["finished_at"]))
        return Manifest(**said, entries=entries, size=len(content))
    except (ValueError, KeyError, TypeError) as error:
        raise BackupError(f"{name} is no manifest of a backup: {error!r}") from error
