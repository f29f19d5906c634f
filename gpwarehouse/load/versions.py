"""What new knowledge of a member does to its versions: pure functions, so that they can be tested as such.

A member is told of at moments, and files may come in any order. What it was like in between is what the last word before
says; before the first word, what the first word says. So what nothing is known of (NULL, a parameter without limits) is
filled in wherever it is unknown; what contradicts what is known begins a version at its moment, which lasts until the
next version; and where an older word comes late, what was known already begins where it was first seen. Mappings
(``control_limits``) are merged entry by entry.

Two words about the same things give the same versions in whatever order they come; so do any number of them with
different values. What is not kept is that a word was repeated: A, then A again, then late in between B, gives B to the
end.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

__all__ = ["DELETED_HASH", "Version", "carried_on", "dated", "fill", "known_from", "merge"]

DELETED_HASH = hashlib.md5(b"(deleted)", usedforsecurity=False).hexdigest()
"""``row_hash`` of the version of a deleted member (``wh.merge``), from the deletion on."""

_HASH_DIGITS = 32


@dataclass(frozen=True)
class Version:
    """One version of a member: half-open interval, flag, attribute values by column.

    :ivar batch_id: the batch that told it; ``seen``: that batch's first event, where it is known. A member's first version
        starts at 1900 by convention, long before anybody saw it.
    :ivar audit: its other columns, as they are stored; of a version that comes from another, that one's.
    """

    effective_date: datetime
    expiry_date: datetime
    is_inferred: bool
    values: Mapping[str, Any]
    batch_id: str | None = None
    seen: datetime | None = None
    audit: Mapping[str, Any] = field(default_factory=dict, compare=False)


def known_from(row_hash: str | None) -> datetime | None:
    """The moment since which a version is known, where that is kept behind the hash: ``md5@moment``."""
    moment = (row_hash or "")[_HASH_DIGITS + 1 :]
    return datetime.fromisoformat(moment) if moment else None


def dated(row_hash: str, version: Version) -> str:
    """The hash with, behind it, since when the version is known, where that is later than it begins.

    Not left to the batch's row: that goes, or tells of other content, when the batch is deleted or replaced.
    """
    seen = version.seen
    if seen is None or not version.effective_date < seen < version.expiry_date:
        return row_hash
    return f"{row_hash}@{seen.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}Z"


def carried_on(stored: str, row_hash: str) -> str:
    """The hash of a version that goes on with other values: the mark of a deletion stays."""
    return stored if stored.startswith(DELETED_HASH) else row_hash


def merge(
    versions: Sequence[Version],
    known: Mapping[str, Any],
    since: datetime,
    *,
    batch_id: str | None = None,
    from_source: bool = True,
) -> list[Version]:
    """The versions that tell ``known`` at ``since``; equal to ``versions`` where they do already.

    :param versions: all versions of one member, contiguous, oldest first.
    :param known: column → value; None tells nothing.
    :param since: when it was seen to hold (aware), not before the first version.
    :param batch_id: the batch that says so.
    :param from_source: a source says so of the member itself, so an inferred version gives way; False for what the
        facts show.
    """
    result: list[Version] = []
    for version in versions:
        if version.effective_date <= since < version.expiry_date:
            result += _told(version, known, since, batch_id, from_source)
        else:
            result.append(replace(version, values=_filled(version.values, known)))
    return result


def fill(versions: Sequence[Version], known: Mapping[str, Any]) -> list[Version]:
    """The versions with their gaps filled, nothing replaced."""
    return [replace(version, values=_filled(version.values, known)) for version in versions]


def _told(
    version: Version, known: Mapping[str, Any], since: datetime, batch_id: str | None, from_source: bool
) -> list[Version]:
    """The version in force at ``since``, after the word; two of them where it was contradicted."""
    values = _overlaid(version.values, known)
    if values == dict(version.values):
        return [version]
    if version.is_inferred and from_source:  # what was only inferred holds nothing against a source
        return [replace(version, values=values, is_inferred=False, batch_id=batch_id, seen=since)]
    if not _contradicts(version.values, known):
        return [replace(version, values=values)]
    new = replace(version, values=values, batch_id=batch_id, seen=since)
    if version.effective_date == since:
        return [new]
    old = replace(version, values=_filled(version.values, known))
    if version.seen is not None and since < version.seen < version.expiry_date:
        return [replace(new, expiry_date=version.seen), replace(old, effective_date=version.seen)]
    return [replace(old, expiry_date=since), replace(new, effective_date=since)]


def _contradicts(old: Mapping[str, Any], known: Mapping[str, Any]) -> bool:
    """Whether anything known before has to give way."""
    for column, value in known.items():
        before = old.get(column)
        if value is None or before is None or before == value:
            continue
        if not isinstance(before, Mapping) or not isinstance(value, Mapping):
            return True
        if any(name in before and before[name] != entry for name, entry in value.items()):
            return True
    return False


def _overlaid(old: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """``old`` with what is known over it."""
    result = dict(old)
    for column, value in known.items():
        before = result.get(column)
        if isinstance(before, Mapping) and isinstance(value, Mapping):
            result[column] = {**before, **value}
        elif value is not None:
            result[column] = value
    return result


def _filled(old: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """``old`` with its gaps filled from what is known."""
    result = dict(old)
    for column, value in known.items():
        before = result.get(column)
        if before is None and value is not None:
            result[column] = value
        elif isinstance(before, Mapping) and isinstance(value, Mapping):
            result[column] = {**value, **before}
    return result
