"""Versions after merges in any order, against a model in plain Python: what was said of a member, and since when."""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpwarehouse import Warehouse
from gpwarehouse.dimensions import DELETED_HASH
from gpwarehouse.models import BEGINNING
from tests.dimensions.rows import check_intervals, day, rows_of

MOMENTS = [day(1) + timedelta(days=7 * n) for n in range(6)]
LOTS = ("P", "Q")
_runs = itertools.count(1)

Row = tuple[str, int, str | None, int | None, bool]
"""Lot, number of the moment, owner, priority, whether it deletes."""
Batch = tuple[tuple[str, ...], list[Row]]
"""The columns of the frame, and its rows."""


@dataclass
class Model:
    """Per lot what was said: moment → (owner, priority, deleted). Before the first word holds what the first word says."""

    said: dict[str, dict[datetime, tuple[str | None, int | None, bool]]] = field(default_factory=dict)

    def in_force(self, lot: str, at: datetime) -> tuple[str | None, int | None, bool] | None:
        words = self.said.get(lot)
        if not words:
            return None
        moments = sorted(words)
        return words[moments[max(bisect_right(moments, at) - 1, 0)]]

    def merge(self, batch: Batch) -> None:
        columns, rows = batch
        last = {(lot, moment): (owner, priority, deletes) for lot, moment, owner, priority, deletes in rows}
        for lot in sorted({lot for lot, _ in last}):
            self._tell(lot, columns, {MOMENTS[n]: word for (own, n), word in sorted(last.items()) if own == lot})

    def _tell(self, lot: str, columns: tuple[str, ...], words: Mapping[datetime, Any]) -> None:
        said = self.said.get(lot, {})
        known_from = min(said) if said else None
        result = dict(said)
        older: dict[datetime, Any] = {}
        for at, (owner, priority, deletes) in words.items():
            is_early = known_from is None or at < known_from
            base = self.in_force(lot, at) or (None, None, False)
            told = (owner if "owner" in columns else base[0], priority if "priority" in columns else base[1], False)
            if is_early:
                before = older[max(older)] if older else None
                if deletes and before is None:
                    continue  # nothing is known of it yet
                word = (before[0], before[1], True) if deletes and before else told
                if word != before:
                    older[at] = word
                continue
            before = Model({lot: result}).in_force(lot, at)
            assert before is not None
            word = (before[0], before[1], True) if deletes else told
            if word != before or at in said:
                result[at] = word
        if known_from is None or any(word != said[known_from] for word in older.values()):
            result |= older  # else they say no more than what was known
        if result:
            self.said[lot] = result


rows = st.tuples(
    st.sampled_from(LOTS),
    st.integers(0, len(MOMENTS) - 1),
    st.sampled_from(["A", "B", None]),
    st.sampled_from([1, 2]),
    st.integers(0, 5).map(lambda n: n == 0),
)
columns = st.sampled_from([("owner", "priority"), ("owner",), ("priority",), ("owner", "priority", "gone")])
batches = st.lists(st.tuples(columns, st.lists(rows, min_size=1, max_size=5)), min_size=1, max_size=4)


def frame_of(batch: Batch, run: int, name: str) -> list[dict[str, Any]]:
    columns, rows = batch
    found = []
    for lot, moment, owner, priority, deletes in rows:
        row = {"owner": owner, "priority": priority, "gone": deletes}
        said = {column: row[column] for column in columns}
        found.append({"lot_id": f"{lot}{run}", "at": MOMENTS[moment], "source_id": name} | said)
    return found


def stored_at(wh: Warehouse, run: int) -> dict[tuple[str, datetime], Any]:
    """What is in force, per lot and moment."""
    found = {}
    for lot, since, until, owner, priority, mark in rows_of(
        wh,
        "SELECT lot_id, effective_date, expiry_date, owner, priority, substr(row_hash, 1, 32) FROM dw.dim_lot "
        "WHERE lot_id IN (:p, :q)",
        p=f"P{run}",
        q=f"Q{run}",
    ):
        for moment in (BEGINNING, *MOMENTS):
            if since <= moment < until:
                assert (lot[0], moment) not in found
                found[lot[0], moment] = (owner, priority, mark == DELETED_HASH)
    return found


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=batches)
def test_what_is_in_force_is_what_was_said_whatever_the_order(shared_wh: Warehouse, batches: list[Batch]) -> None:
    run, model = next(_runs), Model()
    for number, (columns, rows) in enumerate(batches):
        batch = (columns, [(*row[:4], row[4] and "gone" in columns) for row in rows])
        shared_wh.merge(
            "dim_lot",
            frame_of(batch, run, f"batch {number}"),  # else the same content is the same batch
            effective="at",
            deletes="gone" if "gone" in columns else None,
            analyze="never",
        )
        model.merge(batch)
        found = stored_at(shared_wh, run)
        for lot, moment in itertools.product(LOTS, (BEGINNING, *MOMENTS)):
            assert found.get((lot, moment)) == model.in_force(lot, moment), (lot, moment)
    check_intervals(shared_wh, "dim_lot")
