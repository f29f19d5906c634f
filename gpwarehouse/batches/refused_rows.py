"""The row that a server refused, told from the line of the COPY that it names; and the reject that it becomes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gpwarehouse.engine.server_errors import Refusal
from gpwarehouse.intake.first_pass import FirstPass
from gpwarehouse.intake.given_columns import GIVEN
from gpwarehouse.intake.rejects import Reject
from gpwarehouse.intake.target import Target
from gpwarehouse.models.keys import PLACEHOLDER_WAFER_ID

__all__ = ["MOST_REFUSED", "place_of_line", "reject_of"]

MOST_REFUSED = 25
"""Rows found out one by one; each costs a COPY up to it, and whoever has more has one fault in all of them."""


def place_of_line(found: FirstPass, refusal: Refusal) -> int:
    """Place in the spool of the row on a line, which counts only rows that were sent."""
    assert refusal.line is not None
    place = refusal.line - 1  # a row is one line, whatever its texts hold
    for other in sorted(found.refused):
        place += other <= place
    return place


def reject_of(
    found: FirstPass, target: Target, place: int, refusal: Refusal, names: Mapping[str, str] | None = None
) -> Reject:
    """The reject for a row that the server refused.

    :param place: of the row in the spool.
    :param names: columns there → as the source has them, where that differs.
    """
    row = {(names or {}).get(name, name): value for name, value in _row(found, place).items()}
    given = _as_it_came(found, target, row)
    raw = {name: given.get(name) for name in target.inputs if name in found.given.names_of(row[GIVEN])}
    return Reject(_row_number(found, place), refusal.column, refusal.reason, raw)


def _row(found: FirstPass, place: int) -> dict[str, Any]:
    for batch in found.rows.batches():
        if place < batch.num_rows:
            return dict(batch.slice(place, 1).to_pylist()[0])
        place -= batch.num_rows
    raise AssertionError(f"the server refused row {place} beyond the last one")


def _row_number(found: FirstPass, place: int) -> int:
    """Number in the source: before it stand the rows that were kept, and those rejected, which are in their order."""
    number = place + 1
    for batch in found.rejects.batches():
        for rejected in batch.column("row_number").to_pylist():
            if rejected > number:
                return number
            number += 1
    return number


def _as_it_came(found: FirstPass, target: Target, row: dict[str, Any]) -> dict[str, Any]:
    """What is known of the row, with natural keys from those members that its durable keys stand for."""
    given = {name: row[name] for name in target.inputs if row.get(name) is not None}
    roles = sorted(target.roles.items(), key=lambda role: role[1].dimension != "dim_wafer")  # the lot has the last word
    for column, role in roles:
        member = found.resolver.members.get(role.dimension, {}).get(row[column]) if column in row else None
        if member is None:
            continue
        for part, source in role.inputs.items():
            if member.natural[part] and member.natural[part] != PLACEHOLDER_WAFER_ID:
                given["lot_id" if source == "root_lot_id" else source] = member.natural[part]
    return given
