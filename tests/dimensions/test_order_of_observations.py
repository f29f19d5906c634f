"""One set of observations, merged and loaded in any order and grouping: one history, and the one that was said."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpwarehouse import Warehouse
from gpwarehouse.dimensions import DELETED_HASH
from gpwarehouse.load import Loader
from gpwarehouse.models import BEGINNING
from tests.dimensions.rows import check_intervals, day
from tests.load.rows import MEASUREMENTS, measurement
from tests.load.told_members import File
from tests.queries import rows_of

MOMENTS = [day(1) + timedelta(days=7 * n) for n in range(5)]
TOOLS = ("together", "forwards", "backwards", "shuffled")
_runs = itertools.count(1)

Observation = tuple[int, dict[str, Any]]
"""The number of its moment, and what is said: columns, or that the member is gone."""

attributes = st.fixed_dictionaries(
    {},
    optional={
        "model": st.sampled_from(["A", "B", None]),
        "mtbf_target_h": st.sampled_from([0.3, 0.1 + 0.2]),
        "mtbf_h": st.sampled_from([1.0, 2.0, None]),
    },
)
said = st.one_of(attributes, attributes, attributes, st.just({"gone": True}))
observations = st.lists(st.tuples(st.integers(0, len(MOMENTS) - 1), said), min_size=2, max_size=6)


def in_order(told: Sequence[Observation], order: Sequence[int]) -> list[Observation]:
    """In that order, but of one moment in the order in which they were: there the later corrects the earlier."""
    places: dict[int, list[int]] = {}
    for place, n in enumerate(order):
        places.setdefault(told[n][0], []).append(place)
    result = [*told]
    for observation in told:
        result[places[observation[0]].pop(0)] = observation
    return result


def in_groups(told: list[Observation], cuts: Sequence[int]) -> list[list[Observation]]:
    ends = sorted({0, *(cut for cut in cuts if cut < len(told)), len(told)})
    return [told[start:end] for start, end in pairwise(ends)]


def right(told: Sequence[Observation], at: datetime) -> tuple[Any, ...] | None:
    """What is in force at a moment: each column is what was last said of it, before that what the first row of all says."""
    rows = [observation for observation in told if "gone" not in observation[1]]
    if not rows:
        return None
    first = min(n for n, _ in rows)
    oldest = min((n for n, values in rows if values.keys() & {"model", "mtbf_target_h"}), default=len(MOMENTS))
    number = max([n for n, moment in enumerate(MOMENTS) if moment <= at], default=-1)
    columns = {}
    for column in ("model", "mtbf_target_h"):
        values = [values[column] for n, values in sorted(rows, key=lambda observation: observation[0])
                  if column in values and n <= max(number, oldest)]  # fmt: skip
        columns[column] = values[-1] if values else None
    marks = [
        (n, "gone" in values)
        for n, values in sorted(told, key=lambda observation: observation[0])
        if first <= n <= number
    ]
    overwritten = [
        values["mtbf_h"] for _, values in sorted(rows, key=lambda observation: observation[0]) if "mtbf_h" in values
    ]
    return (*columns.values(), overwritten[-1] if overwritten else None, bool(marks) and marks[-1][1])


def stored(wh: Warehouse, tool: str) -> list[tuple[Any, ...]]:
    found = rows_of(
        wh,
        "SELECT effective_date, expiry_date, is_current, model, mtbf_target_h, mtbf_h, row_hash, known_from "
        "FROM dw.dim_equipment WHERE equipment_id = :tool ORDER BY 1",
        tool=tool,
    )
    return [(*row[:6], row[6] == DELETED_HASH, row[7]) for row in found]


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(told=observations, order=st.permutations(range(6)), cuts=st.lists(st.integers(1, 5), max_size=5))
def test_every_order_and_grouping_of_observations_merges_into_the_history_that_was_said(
    shared_wh: Warehouse, told: list[Observation], order: list[int], cuts: list[int]
) -> None:
    run = next(_runs)
    shuffled = in_order(told, [n for n in order if n < len(told)])
    groups = {
        "together": [told],
        "forwards": [[observation] for observation in sorted(told, key=lambda observation: observation[0])],
        "backwards": [
            [observation] for observation in in_order(told, sorted(range(len(told)), key=lambda n: -told[n][0]))
        ],
        "shuffled": in_groups(shuffled, cuts),
    }
    for step in range(max(map(len, groups.values()))):
        rows = [
            {"equipment_id": f"{tool}{run}", "at": MOMENTS[n], **values}
            for tool in TOOLS
            for n, values in (groups[tool][step] if step < len(groups[tool]) else [])
        ]
        shared_wh.merge("dim_equipment", rows, effective="at", deletes="gone", analyze="never")
    histories = {tool: stored(shared_wh, f"{tool}{run}") for tool in TOOLS}
    assert all(history == histories["together"] for history in histories.values()), histories
    for moment in (BEGINNING, *MOMENTS):
        in_force = [row[3:7] for row in histories["together"] if row[0] <= moment < row[1]]
        expected = right(told, moment)
        assert in_force == ([] if expected is None else [expected]), moment
    check_intervals(shared_wh, "dim_equipment")


# Merges and loads, of steps with limits, and of wafers in lots.

Act = Callable[[Warehouse, str], Any]


def load(wh: Warehouse, told: Mapping[str, list[dict[str, Any]]], **values: Any) -> None:
    """Load a file, and sometimes its batch is deleted afterwards: what it told stays."""
    source = File([measurement(**values)], MEASUREMENTS, told=dict(told))
    result = Loader(wh.engine, wh.settings).load(source)
    if MOMENTS.index(values["event_ts"]) % 2:
        wh.batches.delete(result.batch_id)


def limits(at: int, **told: Any) -> Act:
    """A file of a test program that tells its limits."""

    def act(wh: Warehouse, name: str) -> None:
        row = {"process_flow_id": name, "flow_version": "", "step_number": "100", **told}
        load(wh, {"dim_process_step": [row]}, process_flow_id=name, event_ts=MOMENTS[at])

    return act


def step(at: int, **told: Any) -> Act:
    def act(wh: Warehouse, name: str) -> None:
        row = {"process_flow_id": name, "flow_version": "", "step_number": "100", **told}
        wh.merge("dim_process_step", [row], effective=MOMENTS[at], analyze="never")

    return act


def in_lot(at: int, lot: str, **values: Any) -> Act:
    """A fact that shows a wafer in a lot."""

    def act(wh: Warehouse, name: str) -> None:
        load(wh, {}, lot_id=f"{name}.{lot}", wafer_id="3", event_ts=MOMENTS[at], **values)

    return act


def wafer(at: int, lot: str, **told: Any) -> Act:
    def act(wh: Warehouse, name: str) -> None:
        wh.merge(
            "dim_wafer", [{"lot_id": f"{name}.{lot}", "wafer_id": "3", **told}], effective=MOMENTS[at], analyze="never"
        )

    return act


def lot(at: int, name_of: str, **told: Any) -> Act:
    def act(wh: Warehouse, name: str) -> None:
        wh.merge("dim_lot", [{"lot_id": f"{name}.{name_of}", **told}], effective=MOMENTS[at], analyze="never")

    return act


def history_of(wh: Warehouse, name: str) -> list[Any]:
    """What is stored of a step, a wafer and its lots; keys by the names behind them."""
    steps = "SELECT effective_date, control_limits, step_name, is_inferred FROM dw.dim_process_step "
    wafers = (
        "SELECT w.effective_date, l.lot_id, w.grade, w.source_wafer_id, w.product_key, w.is_inferred FROM dw.dim_wafer w "
        "JOIN dw.dim_lot l ON l.lot_key = w.lot_key AND l.is_current WHERE w.root_lot_id = :name "
    )
    lots = "SELECT lot_id, effective_date, root_lot_id, owner, product_key, is_inferred FROM dw.dim_lot WHERE lot_id LIKE :like"
    found = [
        rows_of(wh, f"{steps} WHERE process_flow_id = :name ORDER BY 1", name=name),
        rows_of(wh, f"{wafers} ORDER BY 1", name=name),
        rows_of(wh, f"{lots} ORDER BY 1, 2", like=f"{name}.%"),
    ]
    return [[tuple(v.replace(name, "") if isinstance(v, str) else v for v in row) for row in rows] for rows in found]


ACTS: dict[str, list[Act]] = {
    "limits": [
        limits(0, control_limits={"7": {"lsl": 1}}),
        limits(1, control_limits={"7": {"lsl": 2}, "8": {"lsl": 1}}, step_name="file"),
        limits(3, control_limits={"7": {"lsl": 1}, "9": {"usl": 5}}),
        step(2, control_limits={"7": {"lsl": 9}}, layer_name="M1"),
    ],
    "merged limits": [
        step(0, step_name="A"),
        step(2, step_name="A", control_limits=None),
        limits(1, step_name="B", control_limits={"7": {"lsl": 1}}),
        limits(4, control_limits={"7": {"lsl": 1.25}}),
    ],
    "lots of a wafer": [in_lot(0, "1"), in_lot(1, "2"), in_lot(2, "1"), in_lot(4, "1")],
    "told of a wafer": [in_lot(1, "1"), wafer(0, "1", grade="PRIME"), wafer(3, "2", grade="TEST"), in_lot(4, "1")],
    "products": [in_lot(1, "1", product_id="P"), in_lot(0, "1", product_id="Q"), wafer(2, "1", grade="TEST")],
    "roots": [lot(0, "1", owner="A"), lot(2, "1", root_lot_id="M"), lot(1, "1", owner="B"), lot(3, "1", owner="B")],
}  # fmt: skip


@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_every_order_of_loads_and_merges_gives_one_history(shared_wh: Warehouse, data: st.DataObject) -> None:
    run = next(_runs)
    for number, (name, acts) in enumerate(ACTS.items()):
        found = []
        for order in (range(len(acts)), data.draw(st.permutations(range(len(acts))), label=name)):
            own = f"R{run}N{number}O{len(found)}"
            for place in order:
                acts[place](shared_wh, own)
            found.append(history_of(shared_wh, own))
        assert found[0] == found[1], name
    for dimension in ("dim_process_step", "dim_wafer", "dim_lot"):
        check_intervals(shared_wh, dimension)
