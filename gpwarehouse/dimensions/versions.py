"""What is told of a member → its versions: a pure function of the *set* of observations, so that no order of arrival matters.

An observation speaks of a moment. It names columns and their values, NULL too; what it does not name it leaves open.
Observations come
from merges (``wh.merge``, :data:`MERGED`), from loads (what a file says of its members, and what facts show of them,
:data:`LOADED`), and from merges that delete (:data:`DELETED`).

1. Observations of one moment are one observation: of two that name the same column, the one that came later corrects the earlier.
2. From the first observation that names a column on, the column is what the last observation before says.
3. Before that it is what the first observation says that may speak of the past: a load's (what it sees was so before anybody
   looked), or the oldest merged row that names a tracked column (the first version begins at 1900, whatever day was told).
   Where no such observation names the column, it is not known, and is filled: from the product that the earliest fact shows
   (``shown``), then from what stood there before or the natural key implies.
4. A deletion keeps the values and marks the member from its moment on, until a merged row brings it back; a load does not.
   A deletion older than the oldest merged row is of what nobody knows, and does nothing.
5. Versions begin where a value or the mark changes, and nowhere else.
6. A column overwritten in place (type 1) is what the observation with the latest moment says, in all versions.

To a JSON object (``control_limits``) a load adds entries, each for itself as if it were a column; a merge replaces it.

So observations of different moments commute: every order and every grouping gives the same versions. Where they are kept: the
merged observation with which a version begins is the version's own (``told``, the names; the values are the version's),
all others are rows of ``etl_member_observation``. An observation of these changed nothing when it was told, but it will
where an older one comes late that contradicts it. Its values are those of the version in force at its moment, so they are
not stored again: by rule 2 a observation always agrees with the version it lies in.
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
    "alike",
    "entries",
    "filled",
    "fold",
    "is_over",
    "known_from",
    "latest",
    "observations_apart",
    "told_in",
]  # fmt: skip

DELETED_HASH = hashlib.md5(b"(deleted)", usedforsecurity=False).hexdigest()
"""``row_hash`` of the versions of a deleted member (``wh.merge``), from the deletion on."""

Kind = Literal["MERGED", "LOADED", "DELETED"]
Values = Mapping[str, Any]

ENTRY = "/"
"""Between the name of a JSON column and that of an entry that a load told."""


@dataclass(frozen=True)
class Observation:
    """What is told of a member from a moment on.

    :ivar told: column → value, of one kind and moment; entries of a JSON object as ``column/name``. Of a deletion nothing.
    :ivar batch_id: the batch that told it.
    """

    at: datetime
    kind: Kind
    told: Values = field(default_factory=dict)
    batch_id: str | None = None


@dataclass(frozen=True)
class Version:
    """One version of a member: half-open interval, tracked values by column, whether the member is deleted.

    :ivar observation: the last observation of the moment at which it begins; of the first version, of the moment that
        speaks of the past.
    """

    effective_date: datetime
    expiry_date: datetime
    values: Values
    is_deleted: bool = False
    observation: Observation | None = None


def known_from(observations: Iterable[Observation], tracked: Collection[str]) -> datetime | None:
    """The moment of the oldest merged row that names a tracked column; None where only loads have told of them."""
    merged = (
        observation
        for observation in observations
        if observation.kind == "MERGED" and not observation.told.keys().isdisjoint(tracked)
    )
    return min((observation.at for observation in merged), default=None)


def fold(observations: Sequence[Observation], tracked: Collection[str], unknown: Values) -> list[Version]:
    """The versions that all observations about a member come to, oldest first.

    :param observations: in the order in which they came.
    :param tracked: the columns that versions are of.
    :param unknown: column → what it is where no observation tells.
    """
    state, observation = _before(observations, known_from(observations, tracked))
    first_merged = min((observation.at for observation in observations if observation.kind == "MERGED"), default=None)
    is_deleted = False
    found = [Version(BEGINNING, END_OF_TIME, _row(state, tracked, unknown), observation=observation)]
    for at, group in _by_moment(observations):
        for observation in group:
            _overlay(state, observation)
            if observation.kind == "MERGED":
                is_deleted = False
            elif observation.kind == "DELETED" and (first_merged is None or at >= first_merged):
                is_deleted = True
        values, last = _row(state, tracked, unknown), found[-1]
        if is_deleted == last.is_deleted and all(alike(values[name], last.values[name]) for name in tracked):
            continue
        if at > last.effective_date:
            found[-1] = replace(last, expiry_date=at)
            found.append(Version(at, END_OF_TIME, values, is_deleted, observation))
        else:  # an observation of 1900
            found[-1] = replace(last, values=values, is_deleted=is_deleted)
    return found


def filled(observations: Sequence[Observation], tracked: Collection[str], first: Values) -> dict[str, Any]:
    """Of the first version that stored observations came to, the values that no observation told."""
    told, _ = _before(observations, known_from(observations, tracked))
    return {name: value for name, value in first.items() if name not in told and value is not None}


def told_in(version: Version, oldest: datetime | None) -> datetime | None:
    """The moment of the merged observation that is the version's own; None where no merged observation can be."""
    if oldest is None or oldest >= version.expiry_date:
        return None
    return max(version.effective_date, oldest)


def observations_apart(
    observations: Sequence[Observation], versions: Sequence[Version], oldest: datetime | None
) -> tuple[list[list[str]], list[Observation]]:
    """The names that each version is told by its own merged observation, and the observations that stand apart from all versions.

    A merged observation that names no column stands apart, too: of a version that is told nothing nobody knows who began it.
    """
    own = {told_in(version, oldest): place for place, version in enumerate(versions)}
    told: list[set[str]] = [set() for _ in versions]
    apart = []
    for observation in observations:
        if observation.kind == "MERGED" and observation.told and observation.at in own:
            told[own[observation.at]] |= set(observation.told)
        else:
            apart.append(observation)
    return [sorted(names) for names in told], apart


def is_over(observations: Iterable[Observation], at: datetime) -> bool:
    """Whether of a moment's merges and deletions the last is no deletion."""
    kinds = [observation.kind for observation in observations if observation.at == at and observation.kind != "LOADED"]
    return bool(kinds) and kinds[-1] == "MERGED"


def latest(observations: Iterable[Observation], column: str) -> Observation | None:
    """The observation with the latest moment that names a column; of one moment, the one that came last."""
    found: Observation | None = None
    for observation in observations:
        if column in observation.told and (found is None or observation.at >= found.at):
            found = observation
    return found


def alike(one: Any, other: Any) -> bool:
    """Whether two values are the same to the last bit that the server tells apart: NaN is NaN, as in SQL."""
    return bool(one == other) or (one != one and other != other)


def entries(column: str, document: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The entries of a JSON object as a load tells them."""
    return ((f"{column}{ENTRY}{name}", value) for name, value in document.items())


def _by_moment(observations: Iterable[Observation]) -> Iterator[tuple[datetime, Iterator[Observation]]]:
    """Observations of one moment together, in the order in which they came; the oldest moment first."""
    return groupby(sorted(observations, key=lambda observation: observation.at), key=lambda observation: observation.at)


def _before(observations: Sequence[Observation], oldest: datetime | None) -> tuple[dict[str, Any], Observation | None]:
    """What is known of the time before any observation: of each column, what the first observation says that may speak of
    the past.

    And the first of those observations.
    """
    state: dict[str, Any] = {}
    replaced: set[str] = set()
    speaker = None
    for _, group in _by_moment(observations):
        said: dict[str, Any] = {}  # by all observations of the moment, for the last one counts
        named: dict[str, Observation] = {}
        for observation in group:
            _overlay(said, observation)
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


def _overlay(state: dict[str, Any], observation: Observation) -> None:
    """The state with what an observation says over it."""
    for name, value in observation.told.items():
        column, slash, entry = name.partition(ENTRY)
        state[column] = {**(state.get(column) or {}), entry: value} if slash else value


def _row(state: Values, tracked: Collection[str], unknown: Values) -> dict[str, Any]:
    return {name: state[name] if name in state else unknown.get(name) for name in tracked}
