"""The backups of a place: whole ones, damaged ones, and those that were begun and not ended.

``manifests/<id>.json`` makes a backup; ``objects/<id>/…`` are its files; ``running/<id>.json`` says that one was begun;
``progress/<id>/…`` are the entries that it has written so far; ``verified/<id>/…`` is what was found when it was last read whole.
Nothing is ever renamed or overwritten.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath
from typing import Literal

from gpwarehouse.backup.manifest import Entry, Manifest, entry_from, manifest_from, packed, unpacked
from gpwarehouse.backup.place import Place, Stored
from gpwarehouse.errors import BackupError

__all__ = [
    "MANIFESTS",
    "OBJECTS",
    "BackupInfo",
    "Verified",
    "begun",
    "forget_run",
    "forget_verified",
    "known_entries",
    "last_verified",
    "list_backups",
    "load_manifest",
    "new_id",
    "newest",
    "note_entry",
    "note_verified",
    "running",
]

MANIFESTS, OBJECTS, RUNNING, PROGRESS, VERIFIED = "manifests", "objects", "running", "progress", "verified"
_ID = "%Y%m%dT%H%M%S%fZ"


@dataclass(frozen=True)
class BackupInfo:
    """A backup as it is listed.

    :ivar state: ``whole``; ``damaged``: its manifest cannot be read; ``unfinished``: it was begun, and runs or was killed.
    :ivar taken_at: the moment of which it holds all rows, UTC; of one that is not whole, when it was begun.
    :ivar rows: of all tables; ``bytes``: of all objects it refers to; ``new_bytes``: of those that it wrote itself.
    :ivar error: why it is damaged.
    """

    id: str
    state: Literal["whole", "damaged", "unfinished"]
    taken_at: datetime
    finished_at: datetime | None = None
    schema: str | None = None
    warehouse: str | None = None
    revision: str | None = None
    server: str | None = None
    tables: int = 0
    rows: int = 0
    bytes: int = 0
    new_bytes: int = 0
    error: str | None = None

    def age(self, now: datetime | None = None) -> timedelta:
        """How old what it holds is."""
        return (now or datetime.now(UTC)) - self.taken_at

    @classmethod
    def of(cls, manifest: Manifest) -> BackupInfo:
        """Of a whole backup."""
        files = manifest.files
        mine = f"{OBJECTS}/{manifest.id}/"
        return cls(
            manifest.id, "whole", manifest.taken_at, manifest.finished_at, manifest.schema, manifest.warehouse,
            manifest.revision, manifest.server, len({entry.table for entry in manifest.entries}), manifest.rows,
            sum(entry.bytes for entry in files.values()),
            sum(entry.bytes for name, entry in files.items() if name.startswith(mine)),
        )  # fmt: skip


@dataclass(frozen=True)
class Verified:
    """What was found when a backup was verified.

    :ivar at: when that ended, UTC.
    :ivar problems: how many.
    """

    backup_id: str
    at: datetime
    problems: int


def new_id(now: datetime | None = None) -> str:
    """An id that no backup has, which begins with the moment."""
    return f"{(now or datetime.now(UTC)).strftime(_ID)}-{secrets.token_hex(4)}"


def _moment_of(name: str) -> datetime:
    try:
        return datetime.strptime(name.partition("-")[0], _ID).replace(tzinfo=UTC)
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)


def _ids(place: Place, folder: str) -> list[str]:
    """Ids in order of their moments, the newest last."""
    names = (PurePosixPath(name) for name in place.list(folder))
    return sorted(name.stem for name in names if name.suffix == ".json" and name.parent.name == folder)


def load_manifest(place: Place, backup_id: str) -> Manifest:
    """The manifest of a backup.

    :raises BackupError: there is none, or it is cut or damaged.
    """
    manifest = manifest_from(
        place.read(f"{MANIFESTS}/{backup_id}.json"), f"{place.shown}: {MANIFESTS}/{backup_id}.json"
    )
    if manifest.id != backup_id:
        raise BackupError(f"{place.shown}: {MANIFESTS}/{backup_id}.json is the manifest of {manifest.id}")
    return manifest


def _whole(place: Place) -> Iterator[Manifest]:
    for backup_id in reversed(_ids(place, MANIFESTS)):
        try:
            yield load_manifest(place, backup_id)
        except BackupError:
            continue


def newest(place: Place) -> Manifest | None:
    """The newest whole backup; None if there is none. It costs a listing of the manifests, and reading one."""
    return next(_whole(place), None)


def list_backups(place: Place) -> list[BackupInfo]:
    """All backups, the newest first."""
    found: dict[str, BackupInfo] = {}
    begun_ones = _ids(place, RUNNING)  # before the manifests: one that ends meanwhile is whole, not gone
    for backup_id in _ids(place, MANIFESTS):
        try:
            found[backup_id] = BackupInfo.of(load_manifest(place, backup_id))
        except BackupError as error:
            if backup_id not in begun_ones:  # else it is being written
                found[backup_id] = BackupInfo(backup_id, "damaged", _moment_of(backup_id), error=str(error))
    for backup_id in begun_ones:
        found.setdefault(backup_id, BackupInfo(backup_id, "unfinished", _moment_of(backup_id)))
    return [found[backup_id] for backup_id in sorted(found, reverse=True)]


# Backups that run


@contextmanager
def begun(place: Place, backup_id: str, warehouse: str, schema: str) -> Iterator[None]:
    """Say for the block that a backup runs. If it ends well, its notes go too; else the next one takes them up."""
    place.write(f"{RUNNING}/{backup_id}.json", packed({"warehouse": warehouse, "schema": schema}))
    yield
    forget_run(place, backup_id)


def forget_run(place: Place, backup_id: str) -> None:
    """Remove what says that a backup runs, and how far it is."""
    place.delete_all(place.list(f"{PROGRESS}/{backup_id}"))
    place.delete(f"{RUNNING}/{backup_id}.json")


def note_entry(place: Place, backup_id: str, entry: Entry, said: dict[str, object]) -> None:
    """Note an entry that is written, so that it is not lost if the backup is killed."""
    name = f"{entry.table}-{entry.partition or 'all'}-{secrets.token_hex(4)}"
    place.write(f"{PROGRESS}/{backup_id}/{name}.json", packed(said))


def known_entries(place: Place, warehouse: str, schema: str) -> dict[tuple[str, str | None, str | None], list[Entry]]:
    """Table and bounds → entries of the newest whole backup of a warehouse, and of those that were killed since."""
    found: dict[tuple[str, str | None, str | None], list[Entry]] = {}
    base = next((m for m in _whole(place) if (m.warehouse, m.schema) == (warehouse, schema)), None)
    for entry in (*_noted(place, warehouse, schema), *(base.entries if base is not None else ())):
        found.setdefault(entry.key, []).append(entry)
    return found


def _noted(place: Place, warehouse: str, schema: str) -> Iterator[Entry]:
    for backup_id in reversed(_ids(place, RUNNING)):
        try:
            said = unpacked(place.read(f"{RUNNING}/{backup_id}.json"), backup_id)
            if (said["warehouse"], said["schema"]) == (warehouse, schema):
                for name in place.list(f"{PROGRESS}/{backup_id}"):
                    yield entry_from(unpacked(place.read(name), name))
        except (BackupError, KeyError, TypeError):  # a cut note: its object is written again
            continue


def running(
    place: Place, objects: dict[str, Stored], now: datetime, abandoned_after: timedelta
) -> tuple[list[str], list[str]]:
    """Backups that were begun and not ended: those that may run still, and those that wrote nothing for too long."""
    alive: list[str] = []
    abandoned: list[str] = []
    for backup_id in _ids(place, RUNNING):
        notes = place.list(f"{PROGRESS}/{backup_id}").values()
        mine = [each for name, each in objects.items() if name.startswith(f"{OBJECTS}/{backup_id}/")]
        moments = [each.modified for each in (*notes, *mine) if each.modified is not None]
        last = max((*moments, _moment_of(backup_id)))
        (abandoned if now - last > abandoned_after else alive).append(backup_id)
    return alive, abandoned


# Backups that were verified


def note_verified(place: Place, found: Verified) -> None:
    """Note what was found of a backup, in place of what was noted of it before."""
    before = place.list(f"{VERIFIED}/{found.backup_id}")
    place.write(f"{VERIFIED}/{found.backup_id}/{new_id(found.at)}.json", packed({"problems": found.problems}))
    place.delete_all(before)


def last_verified(place: Place) -> Verified | None:
    """The newest note of all backups; None if there is none.

    :raises BackupError: it cannot be read.
    """
    name = max(map(PurePosixPath, place.list(VERIFIED)), key=lambda path: path.name, default=None)
    if name is None:
        return None
    said = unpacked(place.read(str(name)), f"{place.shown}: {name}")
    return Verified(name.parent.name, _moment_of(name.name), int(said["problems"]))


def forget_verified(place: Place, backup_id: str) -> None:
    """Remove what was noted of a backup."""
    place.delete_all(place.list(f"{VERIFIED}/{backup_id}"))
