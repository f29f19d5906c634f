"""What new knowledge of a member does to its versions: a pure function, so that it can be tested as one.

Rule: what is not known (NULL, an inferred member's gaps, a parameter without limits) is filled in where it stands, in
every version from the time of the knowledge on; what contradicts what is known begins a version at that time, which
lasts until the next version. Files may come in any order: older knowledge that comes late ends where the later began.
Mappings (``control_limits``) are merged entry by entry.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

__all__ = ["Change", "Version", "merge"]


@dataclass(frozen=True)
class Version:
    """One version of a member: half-open interval, flag, attribute values by column.

    ``seen``: the time of the events that first showed it, where known; a member's first version starts at 1900 by
    convention, long before anybody saw it.
    """

    effective_date: datetime
    expiry_date: datetime
    is_inferred: bool
    values: Mapping[str, Any]
    seen: datetime | None = None


@dataclass
class Change:
    """Versions to update as (before, after), and then versions to insert."""

    inserts: list[Version] = field(default_factory=list)
    updates: list[tuple[Version, Version]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.inserts or self.updates)


def merge(versions: Sequence[Version], known: Mapping[str, Any], since: datetime) -> Change:
    """The change that makes ``versions`` tell ``known`` at ``since``.

    :param versions: all versions of one member, contiguous, oldest first.
    :param known: column → value; None tells nothing.
    :param since: when it was seen to hold (aware).
    """
    change = Change()
    for version in versions:
        if version.expiry_date <= since:
            continue
        filled, contradicts = _combine(version.values, known)
        if version.effective_date > since or not contradicts:
            # Later versions, and one that is not contradicted, only learn what they did not know.
            filled = _fill(version.values, known)
            if filled != dict(version.values):
                change.updates.append((version, replace(version, values=filled)))
        elif version.effective_date == since:
            change.updates.append((version, replace(version, values=filled)))
        elif version.seen is not None and since < version.seen:
            # Older knowledge came late: it holds until what was seen later, not the other way round.
            change.updates.append((version, replace(version, effective_date=version.seen)))
            change.inserts.append(replace(version, expiry_date=version.seen, values=filled, seen=since))
        else:
            change.updates.append((version, replace(version, expiry_date=since)))
            change.inserts.append(replace(version, effective_date=since, values=filled, seen=since))
    return change


def _combine(old: Mapping[str, Any], known: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    """``old`` overlaid with what is known, and whether anything known before had to give way."""
    result, contradicts = dict(old), False
    for column, value in known.items():
        before = result.get(column)
        if value is None or before == value:
            continue
        if isinstance(before, Mapping) and isinstance(value, Mapping):
            contradicts |= any(name in before and before[name] != entry for name, entry in value.items())
            result[column] = {**before, **value}
        else:
            contradicts |= before is not None
            result[column] = value
    return result, contradicts


def _fill(old: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """``old`` with its gaps filled from what is known, nothing replaced."""
    result = dict(old)
    for column, value in known.items():
        before = result.get(column)
        if before is None and value is not None:
            result[column] = value
        elif isinstance(before, Mapping) and isinstance(value, Mapping):
            result[column] = {**value, **before}
    return result
