"""One thing that is wrong with the data."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CHECKS", "COLUMNS", "Problem"]

CHECKS = {
    "orphan key": "keys with no row in their dimension",
    "doubled grain": "records that are there more than once",
    "not finite": "numbers that are infinite or NaN, which no load takes",
    "batch": "batches whose rows are not those they counted, and rows of no batch",
    "aggregates": "aggregates that are not what the rows come to (wh.data.rebuild_aggregates makes them anew)",
    "skew": "keys that hold so many of a month's rows that one segment has them all",
    "versions": "members without a first version, with gaps, overlaps, or not one current version",
    "step limits": "limits of steps as rows (bridge_step_limits) that are not those of dim_process_step",
    "limits": "control limits out of order (LSL > USL), or that are no numbers",
    "calendar": "hours whose shifts, crews or holidays are not those of the settings",
    "root lot": "wafers whose root lot nobody knows, or is none",
    "stay": "wafers that are in two lots at a time",
}
"""Check → what it finds; the first six look at the facts month by month, the others at whole small tables, and so do the
first and the third."""

COLUMNS = ("check", "table", "month", "sample", "count", "remedy")
"""Columns of the frame of findings."""


@dataclass(frozen=True)
class Problem:
    """A finding.

    :ivar check: one of :data:`CHECKS`; ``table``: the fact, dimension or bridge.
    :ivar month: ``YYYY-MM`` (UTC); None where the check is not one of months.
    :ivar sample: columns and values of one case, to look it up with.
    :ivar count: rows concerned; for versions, members.
    :ivar remedy: what to do.
    """

    check: str
    table: str
    month: str | None
    sample: str
    count: int
    remedy: str
