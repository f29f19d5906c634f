"""Rows of a merge or bridge that only the server refuses, as rejects; the others are written.

What is written in sets is refused as a whole, and the server does not say which row it was. So the rows are halved, each
half tried and undone, until one is left that is refused alone. It is left out, and all is written anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pyarrow as pa
from sqlalchemy.engine import Connection

from gpwarehouse.batches.refused_rows import MOST_REFUSED, place_of_line, reject_of
from gpwarehouse.dimensions.first_pass import ROW, FirstPass
from gpwarehouse.engine.server_errors import Refusal, refusal_of
from gpwarehouse.errors import GpwarehouseError

__all__ = ["Write", "write_all_but_refused"]

Write = Callable[[Connection, Iterable[pa.RecordBatch]], None]
"""Stages rows and writes what they come to, in the connection's transaction."""


def write_all_but_refused(
    connection: Connection, found: FirstPass, write: Write, may_refuse: Callable[[], None]
) -> None:
    """Write rows in the connection's transaction, without those that the server refuses: these go to ``found.refused``.

    :param may_refuse: called after each, raises if that was one too many.
    """
    refused = 0
    while True:
        try:
            with connection.begin_nested():
                write(connection, found.sendable())
            return
        except Exception as error:
            refusal = refusal_of(error)
            place = None
            if refusal is not None and refused < MOST_REFUSED:
                place = (
                    place_of_line(found, refusal)
                    if refusal.line is not None
                    else _refused_alone(connection, found, write)
                )
            if place is None:
                raise
        assert refusal is not None
        found.refused[place] = reject_of(found, found.target, place, refusal, found.names)
        refused += 1
        may_refuse()  # out here, so that the driver's error, which quotes the row, is not chained to what it raises


def _refused_alone(connection: Connection, found: FirstPass, write: Write) -> int | None:
    """Place of a row that the server refuses by itself; None if rows are refused only together."""
    places = np.setdiff1d(np.arange(found.rows.rows), list(found.refused))
    while len(places) > 1:
        half = len(places) // 2
        first = places[:half]
        places = first if _tried(connection, found, write, first) is not None else places[half:]
    if len(places) == 0 or _tried(connection, found, write, places) is None:
        return None
    return int(places[0])


def _tried(connection: Connection, found: FirstPass, write: Write, places: np.ndarray) -> Refusal | None:
    """Why the server refuses these rows, written and undone; None if it does not."""
    savepoint = connection.begin_nested()
    try:
        write(connection, _those(found, places))
    except GpwarehouseError:
        return None
    except Exception as error:
        refusal = refusal_of(error)
        if refusal is None:
            raise
        return refusal
    finally:
        savepoint.rollback()
    return None


def _those(found: FirstPass, places: np.ndarray) -> Iterator[pa.RecordBatch]:
    for batch in found.given.labelled(found.rows.batches()):
        yield batch.filter(pa.array(np.isin(batch.column(ROW).to_numpy(), places)))
