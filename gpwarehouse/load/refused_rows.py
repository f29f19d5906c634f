"""Rows that only the server refuses (a constraint of its own, a trigger, a value its type does not take) as rejects.

The server names the line of the COPY. That row is left out and the rest is sent again, from a savepoint on, as long as no
more rows are rejected than are allowed. Where several connections or segments took the rows, the lines they count say
nothing of the batch, so the rows go once more on one. What the segments cannot even read they leave out and log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy.engine import Connection

from gpwarehouse.batches.refused_rows import MOST_REFUSED, place_of_line, reject_of
from gpwarehouse.engine.server_errors import Refusal, refusal_of
from gpwarehouse.errors import LoadError
from gpwarehouse.intake.first_pass import FirstPass
from gpwarehouse.intake.target import Target
from gpwarehouse.transport import RejectPolicy, Route, Stored

__all__ = ["store_all_but_refused"]


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
            stored = route.store(connection, target.table, rows(), columns, RejectPolicy(allowed, "source_record_no"))
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
                found.refused[place] = reject_of(found, target, place, Refusal(None, unread.column, reason))
                may_refuse()
            return stored
        assert refusal is not None
        if not route.counts_lines:
            route = route.on_one_connection()
            continue
        place = place_of_line(found, refusal)
        found.refused[place] = reject_of(found, target, place, refusal)
        refused += 1
        may_refuse()  # out here, so that the driver's error, which quotes the row, is not chained to what it raises


def _place_of(found: FirstPass, record_no: int) -> int:
    """Place in the spool of the row with a record number."""
    passed = 0
    for batch in found.rows.batches():
        at = pc.index(batch.column("source_record_no"), pa.scalar(record_no, pa.int64())).as_py()
        if at >= 0:
            return passed + int(at)
        passed += batch.num_rows
    raise LoadError(f"a segment could not read the row with source_record_no {record_no}, which was not sent")
