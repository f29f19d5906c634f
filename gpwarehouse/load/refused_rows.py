"""Make rejects of rows that only the server refuses: by a constraint of its own, a trigger, or a value that its type rejects.

The server names the line of the COPY. That row is left out and the rest is sent again, from a savepoint, as long as no more rows
are rejected than allowed. If several connections or segments received the rows, their line numbers do not refer to the batch, so
the rows are sent once more on one connection. Rows that a segment cannot parse are left out and logged by the segment.
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
    check_limit: Callable[[], None],
) -> Stored:
    """Store rows in the connection's transaction; rows that the server refuses go to ``found.refused``.

    :param rows: makes the rows to send, without those in ``found.refused``.
    :param allowed: how many rows may be refused.
    :param check_limit: called after each refused row; raises if there are too many.
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
                place = _find_place(found, unread.key)
                found.refused[place] = reject_of(found, target, place, Refusal(None, unread.column, reason))
                check_limit()
            return stored
        assert refusal is not None
        if not route.counts_lines:
            route = route.on_one_connection()
            continue
        place = place_of_line(found, refusal)
        found.refused[place] = reject_of(found, target, place, refusal)
        refused += 1
        check_limit()  # outside the handler: the driver's error, which quotes the row, must not be chained


def _find_place(found: FirstPass, record_no: int) -> int:
    """The place in the spool of the row with a record number."""
    passed = 0
    for batch in found.rows.batches():
        at = pc.index(batch.column("source_record_no"), pa.scalar(record_no, pa.int64())).as_py()
        if at >= 0:
            return passed + int(at)
        passed += batch.num_rows
    raise LoadError(f"a segment could not read the row with source_record_no {record_no}, but this row was not sent")
