"""Rows that only the server refuses (a constraint of its own, a trigger, a value its type does not take) as rejects.

The server names the line of the COPY. That row is left out and the rest is sent again, from a savepoint on, as long as no
more rows are rejected than are allowed. Where several connections or segments took the rows, the lines they count say
nothing of the batch, so the rows go once more on one. What the segments cannot even read they leave out and log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy.engine import Connection

from gpwarehouse.errors import LoadError
from gpwarehouse.load.firstpass import FirstPass
from gpwarehouse.load.given import GIVEN
from gpwarehouse.load.refusal import Refusal, refusal_of
from gpwarehouse.load.target import Target
from gpwarehouse.load.validate import Reject
from gpwarehouse.models.keys import PLACEHOLDER_WAFER_ID
from gpwarehouse.transport import Leave, Route, Stored

__all__ = ["MOST_REFUSED", "place_of_line", "rejected", "store_all_but_refused"]

MOST_REFUSED = 25
"""Rows found out one by one; each costs a COPY up to it, and whoever has more has one fault in all of them."""


def store_all_but_refused(
    connection: Connection,
    route: Route,
    target: Target,
    columns: tuple[str, ...],
    found: FirstPass,
    rows: Callable[[], Iterator[pa.RecordBatch]],
    allowed: int,
    may_refuse: Callable[[], None],
) -> Stored:
    """Store rows in the connection's transaction, without those that the server refuses: these go to ``found.refused``.

    :param rows: what to send, which leaves out ``found.refused``.
    :param allowed: how many rows may be refused; ``may_refuse``: called after each, raises if that was one too many.
    """
    refused = 0
    while True:
        savepoint = connection.begin_nested()
        try:
            stored = route.store(connection, target.table, rows(), columns, Leave(allowed, "source_record_no"))
        except Exception as error:
            refusal = refusal_of(error)
            nameless = refusal is None or (refusal.line is None and route.counts_lines)
            if nameless or not route.can_repeat or refused == MOST_REFUSED:
                raise
            savepoint.rollback()
        else:
            savepoint.commit()
            for unread in stored.unread:
                reason = f"refused by the server: {unread.reason}"
                place = _place_of(found, unread.key)
                found.refused[place] = rejected(found, target, place, Refusal(None, unread.column, reason))
                may_refuse()
            return stored
        assert refusal is not None
        if not route.counts_lines:
            route = route.on_one_connection()
            continue
        place = place_of_line(found, refusal)
        found.refused[place] = rejected(found, target, place, refusal)
        refused += 1
        may_refuse()  # out here, so that the driver's error, which quotes the row, is not chained to what it raises


def place_of_line(found: FirstPass, refusal: Refusal) -> int:
    """Place in the spool of the row on a line, which counts only rows that were sent."""
    assert refusal.line is not None
    place = refusal.line - 1  # a row is one line, whatever its texts hold
    for other in sorted(found.refused):
        place += other <= place
    return place


def _place_of(found: FirstPass, record_no: int) -> int:
    """Place in the spool of the row with a record number."""
    passed = 0
    for batch in found.rows.batches():
        at = pc.index(batch.column("source_record_no"), pa.scalar(record_no, pa.int64())).as_py()
        if at >= 0:
            return passed + int(at)
        passed += batch.num_rows
    raise LoadError(f"a segment could not read the row with source_record_no {record_no}, which was not sent")


def rejected(
    found: FirstPass, target: Target, place: int, refusal: Refusal, names: Mapping[str, str] | None = None
) -> Reject:
    """The reject for a row that the server refused.

    :param place: of the row in the spool. :param names: columns there → as the source has them, where that differs.
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
