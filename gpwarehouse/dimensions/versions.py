"""The versions of a member, as a pure function of the *set* of its observations: their order of arrival does not matter.

An observation is a statement about a member at a moment. It gives columns and their values, which may be NULL. It says nothing
about the columns that it does not give. Observations come from merges (``wh.merge``, :data:`MERGED`), from loads (what a file
says of its members, and what facts show of them, :data:`LOADED`), and from merges that delete (:data:`DELETED`).

1. Observations of one moment are one observation. If two of them give the same column, the one that arrived later corrects the
other. 2. From the first observation of a column on, the column has the value of the last observation before, or at, a moment.
3. Before that, it has the value of the first observation that is valid for the past. Valid for the past are all observations from
   loads (what a load sees was so before), and the oldest merged row that gives a tracked column (the first version begins at
   1900, whatever the moment of the row). If no such observation gives the column, its value is not known. It is then filled:
   from the product that the earliest fact shows (``shown``), else from the earlier value of the row, else from what the
   natural key implies.
4. A deletion keeps the values and marks the member as deleted from its moment on. A later merged row revokes it; a load does not.
   A deletion older than the oldest merged row deletes an unknown member, and has no effect.
5. A version begins where a value or the mark changes, and nowhere else.
6. A column that is overwritten in place (type 1) has, in all versions, the value of the observation with the latest moment.

A load adds entries to a JSON object (``control_limits``); each entry counts as a column. A merge replaces the object.

So observations of different moments commute: every order and every grouping makes the same versions. They are stored as
follows. The merged observation with which a version begins is stored in the version (``told`` has the names; the values are
the version's). All others are rows of ``etl_member_observation``. Such an observation changed nothing when it arrived, but it
matters when an older one arrives later and contradicts it. Its values are those of the version in force at its moment, so they
are not stored again: by rule 2 an observation always agrees with the version that it falls into.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import groupby
from typing import Any, Literal

from gpwarehouse.models import BEGINNING, END_OF_TIME

__all__ = [
    "DELETED_HASH",
    "ENTRY",
    "Kind",
    "Observation",
    "Version",
    "entries",
    "filled",
    "fold",
    "is_revoked",
    "is_same",
    "known_from",
    "latest",
    "moment_of_own",
    "split_observations",
]  # fmt: skip

DELETED_HASH = hashlib.md5(b"(deleted)", usedforsecurity=False).hexdigest()
"""``row_hash`` of the versions of a deleted member (``wh.merge``), from the deletion on."""

Kind = Literal["MERGED", "LOADED", "DELETED"]
Values = Mapping[str, Any]

ENTRY = "/"
"""Separator between the name of a JSON column and that of an entry that a load gave."""


@dataclass(frozen=True)
class Observation:
    """A statement about a member from a moment on.

    :ivar told: column → value; entries of a JSON object as ``column/name``. Empty for a deletion.
    :ivar batch_id: the batch that it came with.
    """

    at: datetime
    kind: Kind
    told: Values = field(default_factory=dict)
    batch_id: str | None = None


@dataclass(frozen=True)
class Version:
    """One version of a member: half-open interval, tracked values by column, whether the member is deleted.

    :ivar observation: the last observation of the moment at which the version begins; for the first version, the observation
        that is valid for the past.
    """

    effective_date: datetime
    expiry_date: datetime
    values: Values
    is_deleted: bool = False
    observation: Observation | None = None


def known_from(observations: Iterable[Observation], tracked: Collection[str]) -> datetime | None:
    """The moment of the oldest merged row that gives a tracked column; None if only loads gave tracked columns."""
    merged = (
        observation
        for observation in observations
        if observation.kind == "MERGED" and not observation.told.keys().isdisjoint(tracked)
    )
    return min((observation.at for observation in merged), default=None)


def fold(observations: Sequence[Observation], tracked: Collection[str], unknown: Values) -> list[Version]:
    """Make the versions from all observations of a member, oldest first.

    :param observations: in order of arrival.
    :param tracked: the columns that make versions.
    :param unknown: column → its value if no observation gives it.
    """
    state, observation = _read_past(observations, known_from(observations, tracked))
    first_merged = min((observation.at for observation in observations if observation.kind == "MERGED"), default=None)
    is_deleted = False
    found = [Version(BEGINNING, END_OF_TIME, _select_values(state, tracked, unknown), observation=observation)]
    for at, group in _group_by_moment(observations):
        for observation in group:
            _apply(state, observation)
            if observation.kind == "MERGED":
                is_deleted = False
            elif observation.kind == "DELETED" and (first_merged is None or at >= first_merged):
                is_deleted = True
        values, last = _select_values(state, tracked, unknown), found[-1]
        if is_deleted == last.is_deleted and all(is_same(values[name], last.values[name]) for name in tracked):
            continue
        if at > last.effective_date:
            found[-1] = replace(last, expiry_date=at)
            found.append(Version(at, END_OF_TIME, values, is_deleted, observation))
        else:  # an observation of 1900
            found[-1] = replace(last, values=values, is_deleted=is_deleted)
    return found


def filled(observations: Sequence[Observation], tracked: Collection[str], first: Values) -> dict[str, Any]:
    """The values of the first version that no observation gave."""
    told, _ = _read_past(observations, known_from(observations, tracked))
    return {name: value for name, value in first.items() if name not in told and value is not None}


def moment_of_own(version: Version, oldest: datetime | None) -> datetime | None:
    """The moment of the merged observation that a version stores; None if it cannot have one."""
    if oldest is None or oldest >= version.expiry_date:
        return None
    return max(version.effective_date, oldest)


def split_observations(
    observations: Sequence[Observation], versions: Sequence[Version], oldest: datetime | None
) -> tuple[list[list[str]], list[Observation]]:
    """Split observations into those that versions store, as the names that each version was told, and all others.

    A merged observation that gives no column is one of the others, because a version without names would not show which batch
    began it.
    """
    own = {moment_of_own(version, oldest): place for place, version in enumerate(versions)}
    told: list[set[str]] = [set() for _ in versions]
    apart = []
    for observation in observations:
        if observation.kind == "MERGED" and observation.told and observation.at in own:
            told[own[observation.at]] |= set(observation.told)
        else:
            apart.append(observation)
    return [sorted(names) for names in told], apart


def is_revoked(observations: Iterable[Observation], at: datetime) -> bool:
    """Whether the last merge or deletion of a moment is a merge, so that deletions of that moment are revoked."""
    kinds = [observation.kind for observation in observations if observation.at == at and observation.kind != "LOADED"]
    return bool(kinds) and kinds[-1] == "MERGED"


def latest(observations: Iterable[Observation], column: str) -> Observation | None:
    """The observation with the latest moment that gives a column; of one moment, the one that arrived last."""
    found: Observation | None = None
    for observation in observations:
        if column in observation.told and (found is None or observation.at >= found.at):
            found = observation
    return found


def is_same(one: Any, other: Any) -> bool:
    """Whether two values are equal to the last bit that the server distinguishes. NaN equals NaN, as in SQL."""
    return bool(one == other) or (one != one and other != other)


def entries(column: str, document: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The entries of a JSON object as observations of a load name them."""
    return ((f"{column}{ENTRY}{name}", value) for name, value in document.items())


def _group_by_moment(observations: Iterable[Observation]) -> Iterator[tuple[datetime, Iterator[Observation]]]:
    """Group observations by moment, oldest first, each group in order of arrival."""
    return groupby(sorted(observations, key=lambda observation: observation.at), key=lambda observation: observation.at)


def _read_past(
    observations: Sequence[Observation], oldest: datetime | None
) -> tuple[dict[str, Any], Observation | None]:
    """The values before any observation: for each column that of the first observation that is valid for the past.

    :return: the values, and the first of these observations.
    """
    state: dict[str, Any] = {}
    replaced: set[str] = set()
    speaker = None
    for _, group in _group_by_moment(observations):
        said: dict[str, Any] = {}  # by all observations of the moment, because the last one counts
        named: dict[str, Observation] = {}
        for observation in group:
            _apply(said, observation)
            if observation.kind == "LOADED" or (observation.kind == "MERGED" and observation.at == oldest):
                speaker = speaker or observation
                named |= dict.fromkeys(observation.told, observation)
        for name in named:
            column, slash, entry = name.partition(ENTRY)
            value, before = said[column], state.get(column)
            if slash:
                value = {entry: value[entry]} if entry in (value or {}) else {}
            if column not in state and (value or not slash):
                state[column] = value
            elif isinstance(before, Mapping) and isinstance(value, Mapping) and column not in replaced:
                state[column] = {**value, **before}
        replaced |= {name for name in named if ENTRY not in name}
    return state, speaker


def _apply(state: dict[str, Any], observation: Observation) -> None:
    """Apply an observation to the values."""
    for name, value in observation.told.items():
        column, slash, entry = name.partition(ENTRY)
        state[column] = {**(state.get(column) or {}), entry: value} if slash else value


def _select_values(state: Values, tracked: Collection[str], unknown: Values) -> dict[str, Any]:
    return {name: state[name] if name in state else unknown.get(name) for name in tracked}
