"""A made-up fab is the same however it is asked for."""

from __future__ import annotations

import json
import tracemalloc
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from gpwarehouse.errors import InvalidInputError, SourceFormatError
from gpwarehouse.generate import FACTS, Fab, FabFolder, FabSource, generate_fab, write_fab

SIZE: dict[str, Any] = {"lots": 4, "wafers": 6, "radius": 5, "split_share": 0.5}


def whole(source: FabSource) -> pa.Table:
    return pa.Table.from_batches(source.batches(), source.schema).combine_chunks()


def tables(fab: Fab, **options: Any) -> list[pa.Table]:
    return [whole(source) for source in fab.sources(**options)]


def test_the_same_seed_gives_the_same_rows_whatever_the_batches() -> None:
    first = tables(generate_fab(3, **SIZE))
    assert tables(generate_fab(3, **SIZE), batch_rows=37) == first
    assert {batch.num_rows for batch in list(generate_fab(3, **SIZE).sources(batch_rows=37)[1].batches())[:-1]} == {37}
    assert tables(generate_fab(4, **SIZE)) != first


def test_a_lot_does_not_depend_on_how_many_follow_it() -> None:
    few, many = (tables(generate_fab(3, **SIZE | {"lots": lots}))[1] for lots in (4, 6))
    # neither the middle of the one nor of the other, where the excursion is
    assert few.filter(pa.compute.field("lot_id") == "G00001") == many.filter(pa.compute.field("lot_id") == "G00001")


def test_states_sum_to_the_shift_and_rows_name_what_exists() -> None:
    fab = generate_fab(3, **SIZE)
    shifts = tables(fab)[3].to_pandas()
    states = ["productive", "standby", "engineering", "scheduled_down", "unscheduled_down", "non_scheduled"]
    assert (shifts[[f"{state}_s" for state in states]].sum(axis=1) == shifts.total_s).all()
    members = fab.members()
    visits = tables(fab)[0].to_pandas()
    tools = {(m["equipment_id"], m["chamber_id"]) for m in members["dim_equipment"]}
    assert {
        (e, c if isinstance(c, str) else "") for e, c in zip(visits.equipment_id, visits.chamber_id, strict=True)
    } <= tools
    assert set(visits.lot_id) <= {m["lot_id"] for m in members["dim_lot"]}
    assert set(visits.step_number) < {m["step_number"] for m in members["dim_process_step"]}


def test_a_wafer_is_in_one_lot_at_a_time_and_its_visits_follow_it() -> None:
    fab = generate_fab(3, **SIZE)
    stays: dict[tuple[str, str], list[Any]] = {}
    for stay in fab.stays():
        stays.setdefault((stay["root_lot_id"], stay["wafer_id"]), []).append(stay)
    assert len(stays) == 24
    assert any(len(found) > 1 for found in stays.values())
    for found in stays.values():
        found.sort(key=lambda stay: stay["from_ts"])
        assert [stay["to_ts"] for stay in found] == [stay["from_ts"] for stay in found[1:]] + [None]
    for row in tables(fab)[0].to_pylist():
        own = stays[row["lot_id"][:6], row["wafer_id"]]
        at = [
            s["lot_id"]
            for s in own
            if s["from_ts"] <= row["event_ts"] < (s["to_ts"] or datetime.max.replace(tzinfo=UTC))
        ]
        assert at == [row["lot_id"]]


def test_memory_does_not_grow_with_the_fab() -> None:
    def peak(lots: int) -> int:
        tracemalloc.start()
        for batch in generate_fab(1, **SIZE | {"lots": lots}).sources(batch_rows=500)[1].batches():
            assert batch.num_rows
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(2)
    assert peak(24) < 1.5 * peak(6)


def test_a_folder_gives_what_the_fab_gives(tmp_path: Path) -> None:
    fab = generate_fab(3, **SIZE)
    folder = FabFolder(write_fab(fab, tmp_path / "fab"))
    assert [whole(source) for source in folder.sources(batch_rows=100)] == tables(fab)
    assert json.loads(json.dumps(folder.members(), default=str)) == json.loads(json.dumps(fab.members(), default=str))
    assert folder.genealogy() == fab.genealogy()
    assert list(folder.stays()) == list(fab.stays())
    truth = json.loads((tmp_path / "fab" / "fab.json").read_text())["truth"]
    assert truth["rows"] == {name: whole(source).num_rows for name, source in zip(FACTS, fab.sources(), strict=True)}
    with pytest.raises(InvalidInputError, match="not empty"):
        write_fab(fab, tmp_path / "fab")
    with pytest.raises(SourceFormatError, match=r"fab\.json"):
        FabFolder(tmp_path)


@pytest.mark.parametrize(
    "wrong",
    [
        {"lots": 0},
        {"wafers": 100},
        {"split_share": 2},
        {"colour": "red"},
        {"start": datetime(2026, 1, 1)},
        {"lots": True},
    ],
)
def test_sizes_that_make_no_fab_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match=next(iter(wrong))):
        generate_fab(1, **wrong)
