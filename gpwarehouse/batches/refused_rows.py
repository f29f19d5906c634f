"""Make rejects of rows that only the server refuses: by a constraint, a trigger, or a value that its type rejects.

The refused row is found and left out, and the others are written again, from a savepoint, as long as no more rows are rejected
than allowed.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any, TypeVar

from sqlalchemy.engine import Connection

from gpwarehouse.engine.server_errors import Refusal, refusal_of
from gpwarehouse.intake.first_pass import FirstPass
from gpwarehouse.intake.given_columns import GIVEN
from gpwarehouse.intake.rejects import Reject
from gpwarehouse.intake.target import MEASURED
from gpwarehouse.models.keys import PLACEHOLDER_WAFER_ID

__all__ = ["place_of_line", "refuse_row", "write_all_but_refused"]

Result = TypeVar("Result")
MOST_REFUSED = 25
"""Rows that are found one by one. Each costs a COPY up to it; if there are more, they all have the same fault."""


def write_all_but_refused(
    connection: Connection,
    found: FirstPass,
    write: Callable[[], Result],
    find: Callable[[Refusal], int | None],
    check_limit: Callable[[], None],
) -> Result:
    """Write rows in the connection's transaction; rows that the server refuses go to ``found.refused``.

    :param write: writes ``found.sendable()``.
    :param find: returns the place in ``found.rows`` of the row that was refused; None if no single row is at fault.
    :param check_limit: called after each refused row; raises if there are too many.
    """
    for refused in count():
        try:
            with connection.begin_nested():
                return write()
        except Exception as error:
            refusal = refusal_of(error)
            place = find(refusal) if refusal is not None and refused < MOST_REFUSED else None
            if refusal is None or place is None:
                raise
        refuse_row(found, place, refusal)
        check_limit()  # outside the handler: the driver's error, which quotes the row, must not be chained
    raise AssertionError


def place_of_line(found: FirstPass, refusal: Refusal) -> int | None:
    """The place in the spool of the row on a COPY line. Only rows that were sent are counted."""
    if refusal.line is None:
        return None
    place = refusal.line - 1  # a row is one line, even if its texts hold line feeds
    for other in sorted(found.refused):
        place += other <= place
    return place


def refuse_row(found: FirstPass, place: int, refusal: Refusal) -> None:
    """Make a reject of a row that the server refused.

    :param place: place of the row in the spool.
    """
    row = {found.names.get(name, name): value for name, value in _read_row(found, place).items()}
    found.values -= sum(value == value for value in row.get(MEASURED) or ())  # NaN is no value
    given = _restore_row(found, row)
    raw = {name: given.get(name) for name in found.resolver.target.inputs if name in found.given.names_of(row[GIVEN])}
    found.refused[place] = Reject(
        _find_row_number(found, place), refusal.column, refusal.reason, found.sets.restore(raw, row)
    )


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


def _restore_row(found: FirstPass, row: dict[str, Any]) -> dict[str, Any]:
    """Restore a row as it was given, as far as possible: natural keys are taken from the members of its durable keys."""
    target = found.resolver.target
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
