"""Find the row that a server refused by the COPY line that it names, and make a reject of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gpwarehouse.engine.server_errors import Refusal
from gpwarehouse.intake.first_pass import FirstPass
from gpwarehouse.intake.given_columns import GIVEN
from gpwarehouse.intake.rejects import Reject
from gpwarehouse.intake.target import MEASURED, Target
from gpwarehouse.models.keys import PLACEHOLDER_WAFER_ID

__all__ = ["MOST_REFUSED", "place_of_line", "reject_of"]

MOST_REFUSED = 25
"""Rows that are found one by one. Each costs a COPY up to it; if there are more, they all have the same fault."""


def place_of_line(found: FirstPass, refusal: Refusal) -> int:
    """The place in the spool of the row on a COPY line. Only rows that were sent are counted."""
    assert refusal.line is not None
    place = refusal.line - 1  # a row is one line, even if its texts hold line feeds
    for other in sorted(found.refused):
        place += other <= place
    return place


def reject_of(
    found: FirstPass, target: Target, place: int, refusal: Refusal, names: Mapping[str, str] | None = None
) -> Reject:
    """Make the reject for a row that the server refused.

    :param place: place of the row in the spool.
    :param names: columns of the spool → columns of the source, where the names differ.
    """
    row = {(names or {}).get(name, name): value for name, value in _read_row(found, place).items()}
    found.values -= sum(value == value for value in row.get(MEASURED) or ())  # NaN is no value
    given = _restore_row(found, target, row)
    raw = {name: given.get(name) for name in target.inputs if name in found.given.names_of(row[GIVEN])}
    return Reject(_find_row_number(found, place), refusal.column, refusal.reason, found.sets.restore(raw, row))


def _read_row(found: FirstPass, place: int) -> dict[str, Any]:
    for batch in found.rows.batches():
        if place < batch.num_rows:
            return dict(batch.slice(place, 1).to_pylist()[0])
        place -= batch.num_rows
    raise AssertionError(f"the server refused row {place} beyond the last one")


def _find_row_number(found: FirstPass, place: int) -> int:
    """The row's number in the source. Before it stand rows that were kept and rows that were rejected, in order."""
    number = place + 1
    for batch in found.rejects.batches():
        for rejected in batch.column("row_number").to_pylist():
            if rejected > number:
                return number
            number += 1
    return number


def _restore_row(found: FirstPass, target: Target, row: dict[str, Any]) -> dict[str, Any]:
    """Restore a row as it was given, as far as possible: natural keys are taken from the members of its durable keys."""
    given = {name: row[name] for name in target.inputs if row.get(name) is not None}
    roles = sorted(
        target.roles.items(), key=lambda role: role[1].dimension != "dim_wafer"
    )  # the lot overwrites the wafer
    for column, role in roles:
        member = found.resolver.members.get(role.dimension, {}).get(row[column]) if column in row else None
        if member is None:
            continue
        for part, source in role.inputs.items():
            if member.natural[part] and member.natural[part] != PLACEHOLDER_WAFER_ID:
                given["lot_id" if source == "root_lot_id" else source] = member.natural[part]
    return given
