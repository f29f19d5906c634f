"""What observations about a member come to, in whatever order they come and however it is stored in between; without a server."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise, permutations
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpwarehouse.dimensions import histories, rewrite_versions
from gpwarehouse.dimensions.histories import Provenance, Stored, shape_of
from gpwarehouse.dimensions.members import _first_row
from gpwarehouse.dimensions.rewrite_versions import NewObservations
from gpwarehouse.dimensions.versions import DELETED_HASH, Kind, Observation, fold, known_from
from gpwarehouse.intake.natural_keys import Member
from gpwarehouse.models import BEGINNING, END_OF_TIME

HOURS = [datetime(2024, 1, 1, tzinfo=UTC) + timedelta(hours=n) for n in range(6)]
TELLER = Provenance("b", "TEST", HOURS[0])
STEP = "dim_process_step"
NATURAL = {"process_flow_id": "F", "flow_version": "", "step_number": "1"}


def merged(hour: int, **told: Any) -> Observation:
    return Observation(HOURS[hour], "MERGED", told)


def loaded(hour: int, **told: Any) -> Observation:
    return Observation(HOURS[hour], "LOADED", {name.replace("__", "/"): value for name, value in told.items()})


def deleted(hour: int) -> Observation:
    return Observation(HOURS[hour], "DELETED")


@dataclass
class Store:
    """A member's rows and observations as the tables hold them."""

    dimension: str = STEP
    rows: list[dict[str, Any]] = field(default_factory=list)
    observations: list[dict[str, Any]] = field(default_factory=list)

    def tell(self, observations: Sequence[Observation]) -> None:
        """As a merge or load tells: a load makes the member that is missing first, with what it says."""
        natural = {part: NATURAL.get(part, "") for part in shape_of(self.dimension).natural}
        if not self.rows and any(observation.kind == "LOADED" for observation in observations):
            self.rows = [self._row(_first_row(self.dimension, Member(1, natural)))]
        stored = Stored(rows=self.rows)
        histories._read_versions(shape_of(self.dimension), stored)
        for observation in self.observations:
            histories._read_observation(
                stored, SimpleNamespace(**observation | {"told": json.dumps(observation["told"])})
            )
        news = NewObservations(natural, list(observations), completes=True)
        made = rewrite_versions._NewVersions(
            shape_of(self.dimension), 1, news, stored, TELLER, {"updated_at": 0, "updated_by": 0}
        )
        self.rows, self.observations = [self._row(row) for row in made.rows], [*self.observations, *made.observations()]

    def _row(self, row: Mapping[str, Any]) -> dict[str, Any]:
        return {column.name: row.get(column.name) for column in shape_of(self.dimension).table.columns}

    def seen(self, *columns: str) -> list[tuple[Any, ...]]:
        return [
            (row["effective_date"], *(row[c] for c in columns), row["row_hash"] == DELETED_HASH) for row in self.rows
        ]


def test_partial_observations_come_to_one_history_in_any_order() -> None:
    observations = [merged(0, step_name="x", layer_name="1"), merged(2, step_name="y"), merged(4, layer_name="2")]
    for order in permutations(observations):
        store = Store()
        for observation in order:
            store.tell([observation])
        assert store.seen("step_name", "layer_name") == [
            (BEGINNING, "x", "1", False),
            (HOURS[2], "y", "1", False),
            (HOURS[4], "y", "2", False),
        ]


@pytest.mark.parametrize("late", [1, 3])
def test_a_repetition_counts_where_an_older_observation_comes_late_between(late: int) -> None:
    store = Store()
    for observation in (
        merged(0, step_name="A"),
        merged(2, step_name="A"),
        merged(4, step_name="A"),
        merged(late, step_name="B"),
    ):
        store.tell([observation])
    assert store.seen("step_name") == [
        (BEGINNING, "A", False), (HOURS[late], "B", False), (HOURS[late + 1], "A", False),
    ]  # fmt: skip


def test_null_that_a_merge_said_is_a_value_and_what_it_did_not_say_is_none() -> None:
    store = Store()
    for observation in (merged(2, step_name="A", layer_name=None), loaded(4, layer_name="L", mask_level="M")):
        store.tell([observation])
    assert store.seen("layer_name", "mask_level") == [(BEGINNING, None, "M", False), (HOURS[4], "L", "M", False)]


def test_of_one_moment_the_later_observation_corrects_the_earlier() -> None:
    store = Store()
    for observation in (
        merged(1, step_name="A"),
        merged(2, step_name="B", layer_name="L"),
        merged(2, step_name="C"),
        deleted(2),
    ):
        store.tell([observation])
    assert store.seen("step_name", "layer_name") == [(BEGINNING, "A", None, False), (HOURS[2], "C", "L", True)]
    for observation in (merged(2), deleted(2), merged(2)):
        store.tell([observation])
    assert store.seen("step_name", "layer_name") == [(BEGINNING, "A", None, False), (HOURS[2], "C", "L", False)]


def test_a_deletion_of_what_nobody_knew_counts_once_it_is_known() -> None:
    store = Store()
    store.tell([deleted(3)])
    assert store.rows == []
    store.tell([merged(5, step_name="A")])
    assert store.seen("step_name") == [(BEGINNING, "A", False)]
    store.tell([merged(1, step_name="B")])
    assert store.seen("step_name") == [(BEGINNING, "B", False), (HOURS[3], "B", True), (HOURS[5], "A", False)]


def test_a_limit_that_is_new_is_added_to_all_versions_and_one_that_changes_begins_one() -> None:
    store = Store()
    for observation in (loaded(1, control_limits__7=1), loaded(2, control_limits__7=1, control_limits__8=2)):
        store.tell([observation])
    assert store.seen("control_limits") == [(BEGINNING, {"7": 1, "8": 2}, False)]
    store.tell([loaded(0, control_limits__7=0)])
    assert store.seen("control_limits") == [(BEGINNING, {"7": 0, "8": 2}, False), (HOURS[1], {"7": 1, "8": 2}, False)]


def test_a_row_that_names_no_tracked_column_says_nothing_of_the_past() -> None:
    store = Store("dim_equipment")
    for observation in (merged(2, mtbf_h=1.0), merged(4, model="A"), merged(0, mttr_h=2.0), merged(1)):
        store.tell([observation])
    assert store.seen("model", "mtbf_h", "mttr_h") == [(BEGINNING, "A", 1.0, 2.0, False)]


def test_type_1_is_what_the_latest_moment_says() -> None:
    store = Store("dim_equipment")
    for observation in (
        merged(4, mtbf_h=1.0),
        merged(2, mtbf_h=9.0, mttr_h=5.0),
        loaded(3, mtbf_h=8.0),
        merged(5, mtbf_h=1.0),
    ):
        store.tell([observation])
    store.tell([loaded(4, mtbf_h=7.0)])
    assert store.seen("mtbf_h", "mttr_h") == [(BEGINNING, 1.0, 5.0, False)]


# Any observations, any order, any grouping.

values = st.fixed_dictionaries(
    {}, optional={"step_name": st.sampled_from([None, "A", "B"]), "layer_name": st.sampled_from(["A", "B"])}
)
documents = st.one_of(st.none(), st.dictionaries(st.sampled_from("78"), st.integers(0, 1), max_size=2))
said = st.one_of(values, st.builds(lambda v, d: v | {"control_limits": d}, values, documents))
entries = st.dictionaries(st.sampled_from(["control_limits/7", "control_limits/8"]), st.integers(0, 1), max_size=2)
seen = st.builds(lambda v, e: {c: x for c, x in v.items() if x is not None} | e, values, entries)
observations = st.one_of(
    st.builds(lambda h, told: Observation(HOURS[h], "MERGED", told), st.integers(0, 5), said),
    st.builds(lambda h, told: Observation(HOURS[h], "LOADED", told), st.integers(0, 5), seen),
    st.builds(lambda h: Observation(HOURS[h], "DELETED"), st.integers(0, 5)),
)


def rearranged(told: Sequence[Observation], order: Sequence[int]) -> list[Observation]:
    """In that order, but of one moment in the order in which they were."""
    places: dict[datetime, list[int]] = {}
    for place, n in enumerate(order):
        places.setdefault(told[n].at, []).append(place)
    result: list[Observation] = [*told]
    for n in range(len(told)):
        result[places[told[n].at].pop(0)] = told[n]
    return result


@st.composite
def orders(draw: st.DrawFn) -> tuple[list[Observation], list[list[Observation]]]:
    """Observations, and the same ones in another order, in groups."""
    told = draw(st.lists(observations, min_size=1, max_size=6))
    other = rearranged(told, draw(st.permutations(range(len(told)))))
    cuts = sorted(draw(st.sets(st.integers(1, len(told)))) | {0, len(told)})
    return told, [other[start:end] for start, end in pairwise(cuts)]


@settings(max_examples=200, deadline=None)
@given(told=orders())
def test_every_order_and_grouping_gives_the_same_versions(
    told: tuple[list[Observation], list[list[Observation]]],
) -> None:
    together, groups = told
    at_once, by_groups = Store(), Store()
    at_once.tell(together)
    for group in groups:
        by_groups.tell(group)
    columns = ("expiry_date", "is_current", "step_name", "layer_name", "control_limits", "known_from")
    assert by_groups.seen(*columns) == at_once.seen(*columns)
    rows = at_once.rows
    assert not rows or (rows[0]["effective_date"], rows[-1]["expiry_date"]) == (BEGINNING, END_OF_TIME)
    assert all(one["expiry_date"] == other["effective_date"] for one, other in pairwise(rows))
    assert all(one["step_name"] == _said(together, "step_name", one["effective_date"]) for one in rows)


def _said(told: Sequence[Observation], column: str, at: datetime) -> Any:
    """What a column is at a moment, put as the module's docstring puts it."""
    kinds: tuple[Kind, ...] = ("MERGED", "LOADED")
    naming = sorted((w for w in told if w.kind in kinds and column in w.told), key=lambda w: w.at)
    before = [w for w in naming if w.at <= at]
    if before:
        return before[-1].told[column]
    oldest = known_from(told, shape_of(STEP).tracked)
    past = [w for w in naming if w.kind == "LOADED" or w.at == oldest]
    last_of_first_moment = [w for w in naming if past and w.at == past[0].at]
    return last_of_first_moment[-1].told[column] if past else None


def test_nan_is_the_same_as_nan() -> None:
    versions = fold([merged(1, step_name=float("nan")), merged(2, step_name=float("nan"))], ["step_name"], {})
    assert len(versions) == 1
