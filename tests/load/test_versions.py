"""Versions of a member after words about it, whatever the order in which the words come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise, permutations
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gpwarehouse.load.versions import Version, fill, merge
from gpwarehouse.models import BEGINNING, END_OF_TIME

Word = tuple[datetime, dict[str, Any]]

HOURS = [datetime(2024, 1, 1, tzinfo=UTC) + timedelta(hours=n) for n in range(12)]
moments = st.sampled_from(HOURS)
limits = st.dictionaries(st.sampled_from(["7", "8", "9"]), st.integers(0, 2), max_size=3)
attributes = st.fixed_dictionaries(
    {}, optional={"model": st.one_of(st.none(), st.integers(0, 2)), "bay": st.integers(0, 2), "limits": limits}
)


def first_version(word: Word, *, inferred: bool = False) -> list[Version]:
    """As a load inserts a member that is missing."""
    since, known = word
    values = {"model": None, "bay": None, "limits": None} | known
    return [Version(BEGINNING, END_OF_TIME, inferred, values, batch_id=str(since), seen=since)]


def history(words: Sequence[Word]) -> list[Version]:
    versions = first_version(words[0])
    for since, known in words[1:]:
        versions = merge(versions, known, since, batch_id=str(since))
    return versions


def in_force(versions: Sequence[Version], moment: datetime) -> Mapping[str, Any]:
    (version,) = [v for v in versions if v.effective_date <= moment < v.expiry_date]
    return version.values


def told(values: Mapping[str, Any], known: Mapping[str, Any]) -> bool:
    """Whether ``values`` say what is known, entry by entry."""
    for column, value in known.items():
        if isinstance(value, dict):
            entries = values[column] or {}
            if any(entries.get(name) != entry for name, entry in value.items()):
                return False
        elif value is not None and values[column] != value:
            return False
    return True


@given(words=st.lists(st.tuples(moments, attributes), min_size=1, max_size=6), inferred=st.booleans())
def test_versions_never_gap_nor_overlap_and_each_word_holds_at_its_moment(words: list[Word], inferred: bool) -> None:
    versions = first_version(words[0], inferred=inferred)
    for since, known in words[1:]:
        versions = merge(versions, known, since, batch_id=str(since))
        assert told(in_force(versions, since), known)
        assert versions[0].effective_date == BEGINNING
        assert versions[-1].expiry_date == END_OF_TIME
        assert all(a.expiry_date == b.effective_date for a, b in pairwise(versions))
        assert all(v.effective_date < v.expiry_date for v in versions)


@given(words=st.lists(st.tuples(moments, attributes), min_size=2, max_size=5))
def test_a_word_said_again_changes_nothing(words: list[Word]) -> None:
    versions = history(words)
    since, known = words[-1]
    assert merge(versions, known, since, batch_id="other") == versions


@given(
    first=attributes,
    second=attributes,
    times=st.lists(moments, min_size=2, max_size=2, unique=True),
)
def test_two_words_tell_the_same_in_either_order(
    first: dict[str, Any], second: dict[str, Any], times: list[datetime]
) -> None:
    words = [(times[0], first), (times[1], second)]
    there, back = history(words), history(words[::-1])
    assert all(same(in_force(there, moment), in_force(back, moment)) for moment in (BEGINNING, *HOURS))


def same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return {c: v or None for c, v in one.items() if v != {}} == {c: v or None for c, v in other.items() if v != {}}


@given(times=st.lists(moments, min_size=1, max_size=4, unique=True))
def test_different_values_give_the_same_versions_in_any_order(times: list[datetime]) -> None:
    words: list[Word] = [(moment, {"model": n, "limits": {"7": n}}) for n, moment in enumerate(sorted(times))]
    for order in permutations(words):
        versions = history(order)
        assert in_force(versions, BEGINNING)["model"] == 0
        for moment, known in words:
            assert told(in_force(versions, moment), known)
        assert len(versions) == len(words)


def test_an_older_word_that_comes_late_ends_where_the_later_one_began() -> None:
    versions = history([(HOURS[5], {"limits": {"7": 1}}), (HOURS[2], {"limits": {"7": 0}})])
    assert [(v.effective_date, v.expiry_date, v.values["limits"]["7"]) for v in versions] == [
        (BEGINNING, HOURS[5], 0),
        (HOURS[5], END_OF_TIME, 1),
    ]


def test_a_limit_that_is_new_is_added_without_a_version() -> None:
    versions = history([(HOURS[1], {"limits": {"7": 1}}), (HOURS[2], {"limits": {"7": 1, "8": 2}})])
    assert [v.values["limits"] for v in versions] == [{"7": 1, "8": 2}]


def test_an_inferred_version_gives_way_to_a_source_and_is_inferred_no_more() -> None:
    versions = first_version((HOURS[1], {"model": 1}), inferred=True)
    (version,) = merge(versions, {"model": 2}, HOURS[4], batch_id="b")
    assert (version.values["model"], version.is_inferred, version.batch_id, version.seen) == (2, False, "b", HOURS[4])


def test_what_the_facts_show_begins_a_version_of_an_inferred_member() -> None:
    versions = first_version((HOURS[1], {"model": 1}), inferred=True)
    moved = merge(versions, {"model": 2}, HOURS[4], batch_id="b", from_source=False)
    assert [(v.effective_date, v.values["model"], v.is_inferred) for v in moved] == [
        (BEGINNING, 1, True),
        (HOURS[4], 2, True),
    ]


def test_a_version_of_a_batch_that_is_not_loaded_does_not_hold_back_a_word() -> None:
    (version,) = first_version((HOURS[5], {"model": 1}))
    unseen = Version(version.effective_date, version.expiry_date, False, version.values, "in flight", None)
    moved = merge([unseen], {"model": 2}, HOURS[2], batch_id="b")
    assert [(v.effective_date, v.values["model"]) for v in moved] == [(BEGINNING, 1), (HOURS[2], 2)]
    again = merge(moved, {"model": 1}, HOURS[5], batch_id="in flight")  # its own last word, at the end of its load
    assert [(v.effective_date, v.values["model"]) for v in again] == [(BEGINNING, 1), (HOURS[2], 2), (HOURS[5], 1)]


@given(words=st.lists(st.tuples(moments, attributes), min_size=1, max_size=4), known=attributes)
def test_filling_gaps_replaces_nothing(words: list[Word], known: dict[str, Any]) -> None:
    versions = history(words)
    filled = fill(versions, known)
    assert [v.effective_date for v in filled] == [v.effective_date for v in versions]
    for before, after in zip(versions, filled, strict=True):
        kept = {c: v for c, v in before.values.items() if v is not None}
        assert told(after.values, kept)
        assert told(after.values, {c: v for c, v in known.items() if before.values[c] is None})
