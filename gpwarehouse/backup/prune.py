"""Which backups are kept, and removing what no kept one refers to.

Backups run beside it, of this process or another. So the order is: manifests of backups that are not kept go first, and what
abandoned ones noted; then the objects are listed; then the marks of running backups are looked at; then the manifests that
are there are read again. A backup writes its mark before it looks at earlier backups, and takes it away after its manifest is
written. So one that could still refer to an object is seen, by its mark or by its manifest. While one runs, no object is
removed: the next prune does it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from gpwarehouse.backup.catalog import (
    MANIFESTS,
    OBJECTS,
    forget_run,
    forget_verified,
    list_backups,
    load_manifest,
    running,
)
from gpwarehouse.backup.place import Place
from gpwarehouse.errors import BackupError
from gpwarehouse.retention import KeepBackups

__all__ = ["PruneResult", "kept", "prune"]

ABANDONED_AFTER = timedelta(days=2)
"""A backup that wrote nothing for so long is not running any more."""


@dataclass(frozen=True)
class PruneResult:
    """What was removed, or would be.

    :ivar kept: ids of the backups that stay; ``removed``: of those that went.
    :ivar objects: names of objects that went, and their ``bytes``.
    :ivar abandoned: ids of backups that were begun, and wrote nothing for too long.
    :ivar running: ids of backups that are being made now, for which all objects were left.
    """

    kept: tuple[str, ...]
    removed: tuple[str, ...]
    objects: tuple[str, ...]
    bytes: int
    abandoned: tuple[str, ...]
    running: tuple[str, ...]


def kept(moments: Iterable[tuple[str, datetime]], keep: KeepBackups) -> set[str]:
    """Ids of the backups to keep, of one warehouse: the last ones, and the newest of each of the last days and months (UTC)."""
    newest = sorted(moments, key=lambda one: one[1], reverse=True)
    found = {backup_id for backup_id, _ in newest[: max(keep.last, 1)]}  # never the only one
    for count, form in ((keep.days, "%Y-%m-%d"), (keep.months, "%Y-%m")):
        each: dict[str, str] = {}
        for backup_id, moment in newest:
            each.setdefault(moment.astimezone(UTC).strftime(form), backup_id)
        found |= set(list(each.values())[:count])
    return found


def prune(
    place: Place,
    keep: KeepBackups,
    *,
    plan: bool = False,
    now: datetime | None = None,
    abandoned_after: timedelta = ABANDONED_AFTER,
) -> PruneResult:
    """Remove backups that are not to be kept, and objects that no backup refers to.

    :param plan: whether only to say what would go.
    :raises BackupError: a manifest is damaged, so it cannot be told what it refers to; no object was removed.
    """
    moment = now or datetime.now(UTC)
    stay, go = _choose(place, keep)
    _, abandoned = running(place, place.list(OBJECTS), moment, abandoned_after)
    if not plan:
        for backup_id in go:
            place.delete(f"{MANIFESTS}/{backup_id}.json")
            forget_verified(place, backup_id)
        for backup_id in abandoned:
            forget_run(place, backup_id)
    objects = place.list(OBJECTS)
    alive, _ = running(place, objects, moment, abandoned_after)
    unused = [] if alive else sorted(objects.keys() - _used(place, except_for=go))
    size = sum(objects[name].bytes for name in unused)
    place.delete_all(unused if not plan else ())
    return PruneResult(tuple(stay), tuple(go), tuple(unused), size, tuple(abandoned), tuple(alive))


def _choose(place: Place, keep: KeepBackups) -> tuple[list[str], list[str]]:
    whole = [info for info in list_backups(place) if info.state == "whole"]
    stay: set[str] = set()
    for warehouse in {(info.warehouse, info.schema) for info in whole}:
        stay |= kept(((i.id, i.taken_at) for i in whole if (i.warehouse, i.schema) == warehouse), keep)
    return [info.id for info in whole if info.id in stay], [info.id for info in whole if info.id not in stay]


def _used(place: Place, except_for: Sequence[str]) -> set[str]:
    """Names of objects that backups refer to, those that are there now."""
    used: set[str] = set()
    for info in list_backups(place):
        if info.state == "damaged":
            raise BackupError(
                f"{info.error}; no object was removed. Bring it back, or remove it if it is of no use any more"
            )
        if info.state == "whole" and info.id not in except_for:
            used |= load_manifest(place, info.id).files.keys()
    return used
