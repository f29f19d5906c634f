"""What is told of a member → its versions: a pure function of the *set* of words, so that no order of arrival matters.

A word speaks of a moment. It names columns and their values, NULL too; what it does not name it leaves open. Words come
from merges (``wh.merge``, :data:`MERGED`), from loads (what a file says of its members, and what facts show of them,
:data:`LOADED`), and from merges that delete (:data:`DELETED`).

1. Words of one moment are one word: of two that name the same column, the one that came later corrects the earlier.
2. From the first word that names a column on, the column is what the last word before says.
3. Before that it is what the first word says that may speak of the past: a load's (what it sees was so before anybody
   looked), or the oldest merged row that names a tracked column (the first version begins at 1900, whatever day was told).
   Where no such word names the column, it is not known, and is filled: from the product that the earliest fact shows
   (``shown``), then from what stood there before or the natural key implies.
4. A deletion keeps the values and marks the member from its moment on, until a merged row brings it back; a load does not.
   A deletion older than the oldest merged row is of what nobody knows, and does nothing.
5. Versions begin where a value or the mark changes, and nowhere else.
6. A column overwritten in place (type 1) is what the word with the latest moment says, in all versions.

To a JSON object (``control_limits``) a load adds entries, each for itself as if it were a column; a merge replaces it.

So words of different moments commute: every order and every grouping gives the same versions. Where they are kept: the
merged word with which a version begins is the version's own (``told``, the names; the values are the version's), all others
are rows of ``etl_member_word``. A word of these changed nothing when it was told, but it will where an older one comes late
that contradicts it. Its values are those of the version in force at its moment, so they are not stored again: by rule 2 a
word always agrees with the version it lies in.
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
    "DELETED_HASH", "ENTRY", "Kind", "Version", "Word", "alike", "entries", "filled", "fold", "is_over", "known_from", "latest",
    "told_in", "words_apart",
]  # fmt: skip

DELETED_HASH = hashlib.md5(b"(deleted)", usedforsecurity=False).hexdigest()
"""``row_hash`` of the versions of a deleted member (``wh.merge``), from the deletion on."""

Kind = Literal["MERGED", "LOADED", "DELETED"]
Values = Mapping[str, Any]

ENTRY = "/"
"""Between the name of a JSON column and that of an entry that a load told."""


@dataclass(frozen=True)
class Word:
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

    :ivar word: the last word of the moment at which it begins; of the first version, of the moment that speaks of the past.
    """

    effective_date: datetime
    expiry_date: datetime
    values: Values
    is_deleted: bool = False
    word: Word | None = None


def known_from(words: Iterable[Word], tracked: Collection[str]) -> datetime | None:
    """The moment of the oldest merged row that names a tracked column; None where only loads have told of them."""
    merged = (word for word in words if word.kind == "MERGED" and not word.told.keys().isdisjoint(tracked))
    return min((word.at for word in merged), default=None)


def fold(words: Sequence[Word], tracked: Collection[str], unknown: Values) -> list[Version]:
    """The versions that all words about a member come to, oldest first.

    :param words: in the order in which they came. :param tracked: the columns that versions are of.
    :param unknown: column → what it is where no word tells.
    """
    state, word = _before(words, known_from(words, tracked))
    first_merged = min((word.at for word in words if word.kind == "MERGED"), default=None)
    is_deleted = False
    found = [Version(BEGINNING, END_OF_TIME, _row(state, tracked, unknown), word=word)]
    for at, group in _by_moment(words):
        for word in group:
            _overlay(state, word)
            if word.kind == "MERGED":
                is_deleted = False
            elif word.kind == "DELETED" and (first_merged is None or at >= first_merged):
                is_deleted = True
        values, last = _row(state, tracked, unknown), found[-1]
        if is_deleted == last.is_deleted and all(alike(values[name], last.values[name]) for name in tracked):
            continue
        if at > last.effective_date:
            found[-1] = replace(last, expiry_date=at)
            found.append(Version(at, END_OF_TIME, values, is_deleted, word))
        else:  # a word of 1900
            found[-1] = replace(last, values=values, is_deleted=is_deleted)
    return found


def filled(words: Sequence[Word], tracked: Collection[str], first: Values) -> dict[str, Any]:
    """Of the first version that stored words came to, the values that no word told."""
    told, _ = _before(words, known_from(words, tracked))
    return {name: value for name, value in first.items() if name not in told and value is not None}


def told_in(version: Version, oldest: datetime | None) -> datetime | None:
    """The moment of the merged word that is the version's own; None where no merged word can be."""
    if oldest is None or oldest >= version.expiry_date:
        return None
    return max(version.effective_date, oldest)


def words_apart(
    words: Sequence[Word], versions: Sequence[Version], oldest: datetime | None
) -> tuple[list[list[str]], list[Word]]:
    """The names that each version is told by its own merged word, and the words that stand apart from all versions.

    A merged word that names no column stands apart, too: of a version that is told nothing nobody knows who began it.
    """
    own = {told_in(version, oldest): place for place, version in enumerate(versions)}
    told: list[set[str]] = [set() for _ in versions]
    apart = []
    for word in words:
        if word.kind == "MERGED" and word.told and word.at in own:
            told[own[word.at]] |= set(word.told)
        else:
            apart.append(word)
    return [sorted(names) for names in told], apart


def is_over(words: Iterable[Word], at: datetime) -> bool:
    """Whether of a moment's merges and deletions the last is no deletion."""
    kinds = [word.kind for word in words if word.at == at and word.kind != "LOADED"]
    return bool(kinds) and kinds[-1] == "MERGED"


def latest(words: Iterable[Word], column: str) -> Word | None:
    """The word with the latest moment that names a column; of one moment, the one that came last."""
    found: Word | None = None
    for word in words:
        if column in word.told and (found is None or word.at >= found.at):
            found = word
    return found


def alike(one: Any, other: Any) -> bool:
    """Whether two values are the same to the last bit that the server tells apart: NaN is NaN, as in SQL."""
    return bool(one == other) or (one != one and other != other)


def entries(column: str, document: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The entries of a JSON object as a load tells them."""
    return ((f"{column}{ENTRY}{name}", value) for name, value in document.items())


def _by_moment(words: Iterable[Word]) -> Iterator[tuple[datetime, Iterator[Word]]]:
    """Words of one moment together, in the order in which they came; the oldest moment first."""
    return groupby(sorted(words, key=lambda word: word.at), key=lambda word: word.at)


def _before(words: Sequence[Word], oldest: datetime | None) -> tuple[dict[str, Any], Word | None]:
    """What is known of the time before any word: of each column, what the first word says that may speak of the past.

    And the first of those words.
    """
    state: dict[str, Any] = {}
    replaced: set[str] = set()
    speaker = None
    for _, group in _by_moment(words):
        said: dict[str, Any] = {}  # by all words of the moment, for the last one counts
        named: dict[str, Word] = {}
        for word in group:
            _overlay(said, word)
            if word.kind == "LOADED" or (word.kind == "MERGED" and word.at == oldest):
                speaker = speaker or word
                named |= dict.fromkeys(word.told, word)
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


def _overlay(state: dict[str, Any], word: Word) -> None:
    """The state with what a word says over it."""
    for name, value in word.told.items():
        column, slash, entry = name.partition(ENTRY)
        state[column] = {**(state.get(column) or {}), entry: value} if slash else value


def _row(state: Values, tracked: Collection[str], unknown: Values) -> dict[str, Any]:
    return {name: state[name] if name in state else unknown.get(name) for name in tracked}
