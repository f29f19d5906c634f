"""The owner of an archive's folder: written with the first month, checked by every later user.

``<folder>/<schema>/warehouse.json`` names one warehouse, by what a copy of its database does not share: the server's
system identifier and the database's oid, beside the time of its first revision. Greenplum 6 tells no identifier; the
address of its first segment stands for it, as preferred, so that a failover does not change it. A database that takes the
place of another (restored from a backup, moved to another server) adopts the archive, once and explicitly; from then on
the other is refused.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import Connection

from gpwarehouse.engine import dialect_of
from gpwarehouse.errors import PartitionError
from gpwarehouse.partitions.archive import Archive, written

__all__ = ["Ownership", "adopt", "claim", "identity_of", "owned"]

FORMAT = 1
_CONTROL = "SELECT CAST(system_identifier AS text) FROM pg_control_system()"
_SEGMENT = "SELECT hostname || ':' || CAST(port AS text) FROM gp_segment_configuration WHERE content = 0 AND preferred_role = 'p'"
_DATABASE = "SELECT CAST(oid AS bigint) FROM pg_database WHERE datname = current_database()"


def identity_of(connection: Connection, first: datetime | None) -> str:
    """Return what distinguishes this warehouse from every other, copies of it included.

    :param first: when its first revision was applied.
    """
    info = dialect_of(connection).server_info
    assert info is not None
    server = connection.execute(text(_CONTROL if info.postgres_version >= (9, 6) else _SEGMENT)).scalar_one()
    oid = connection.execute(text(_DATABASE)).scalar_one()
    began = "unknown" if first is None else first.astimezone(UTC).isoformat()
    return f"{began} server {server} database {oid}"


@dataclass(frozen=True)
class Ownership:
    """The owner that the folder names.

    :ivar warehouse: whose it is; ``before``: whose it was, each until when, who adopted it then, and why.
    """

    warehouse: str
    before: tuple[dict[str, str], ...] = ()
    format: int = FORMAT

    def knows(self, warehouse: str | None) -> bool:
        """Whether a manifest that names this warehouse belongs here; before there were servers in it, times did."""
        known = [self.warehouse, *(one["warehouse"] for one in self.before)]
        return warehouse is None or any(one == warehouse or one.startswith(f"{warehouse} ") for one in known)


def _path(archive: Archive) -> Path:
    return archive.folder / "warehouse.json"


def _read_ownership(archive: Archive) -> Ownership | None:
    path = _path(archive)
    if not path.is_file():
        return None
    try:
        said: dict[str, Any] = json.loads(path.read_text("utf-8"))
        if said["format"] != FORMAT:
            raise ValueError(f"format {said['format']}; this package reads {FORMAT}")
        return Ownership(said["warehouse"], tuple(said["before"]))
    except (ValueError, KeyError, TypeError) as error:
        raise PartitionError(
            f"{path} does not say whose archive this is: {error!r}; bring it back from a backup"
        ) from error


def _list_named(archive: Archive) -> list[str]:
    """The warehouses that manifests name, where no file says whose the folder is."""
    folders = [path for path in archive.folder.glob("*") if path.is_dir()]
    found = (manifest.warehouse for folder in folders for manifest in archive.manifests(folder.name, damaged=True))
    return sorted({warehouse for warehouse in found if warehouse is not None})


def owned(archive: Archive, ours: str) -> Ownership:
    """Make sure that the folder is this warehouse's, or nobody's; nothing is written.

    :raises PartitionError: it is another's.
    """
    said = _read_ownership(archive)
    if said is None:
        said = Ownership(ours)
        if strangers := [warehouse for warehouse in _list_named(archive) if not said.knows(warehouse)]:
            raise PartitionError(_refusal(archive, strangers[0], ours))
    if said.warehouse != ours:
        raise PartitionError(_refusal(archive, said.warehouse, ours))
    return said


def _refusal(archive: Archive, whose: str, ours: str) -> str:
    return (
        f"{archive.folder} is the archive of another warehouse ({whose}; ours is {ours}). A copy of a database must not "
        "write into the archive of the original: give each a GPWAREHOUSE_ARCHIVE_DIR of its own. If this database takes "
        'the other\'s place, restored from a backup or moved: gpwarehouse partitions adopt-archive --reason "…"'
    )


def claim(archive: Archive, ours: str) -> None:
    """Write into the folder that it is this warehouse's, where nothing says so yet.

    :raises PartitionError: it is another's.
    """
    if _read_ownership(archive) is None:
        owned(archive, ours)
        archive.folder.mkdir(parents=True, exist_ok=True)
        try:
            with _path(archive).open("x", encoding="utf-8") as file:  # of two at once, one does
                file.write(json.dumps(asdict(Ownership(ours)), indent=2) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except FileExistsError:
            pass
    owned(archive, ours)


def adopt(archive: Archive, ours: str, *, by: str, reason: str) -> list[str]:
    """Make the folder this warehouse's, whosever it was; the warehouses it was of.

    :raises PartitionError: it is ours already, or no reason is given.
    """
    if not reason.strip():
        raise PartitionError("say why the archive is adopted (reason); it is recorded in the archive")
    said = _read_ownership(archive)
    if said is not None and said.warehouse == ours:
        raise PartitionError(f"{archive.folder} is this warehouse's archive already; there is nothing to adopt")
    fresh = [said.warehouse] if said is not None else _list_named(archive)
    if not fresh:
        raise PartitionError(f"{archive.folder} is nobody's archive yet; there is nothing to adopt")
    about = {"until": datetime.now(UTC).isoformat(timespec="seconds"), "adopted_by": by, "reason": reason.strip()}
    before = (*(said.before if said is not None else ()), *({"warehouse": name, **about} for name in fresh))
    with written(_path(archive)) as temporary:
        temporary.write_text(json.dumps(asdict(Ownership(ours, before)), indent=2) + "\n", "utf-8")
    return fresh
