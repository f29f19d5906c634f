"""Make rejects of the rows of a merge or bridge that only the server refuses; the other rows are written.

A statement on a set is refused as a whole, and the server does not say because of which row. So the rows are halved: each half is
written and rolled back, until one row is left that is refused by itself. It is left out, and all others are written again.
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
"""Stages rows and writes their result, in the connection's transaction."""


def write_all_but_refused(
    connection: Connection, found: FirstPass, write: Write, check_limit: Callable[[], None]
) -> None:
    """Write rows in the connection's transaction; rows that the server refuses go to ``found.refused``.

    :param check_limit: called after each refused row; raises if there are too many.
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
                    else _find_refused(connection, found, write)
                )
            if place is None:
                raise
        assert refusal is not None
        found.refused[place] = reject_of(found, found.target, place, refusal, found.names)
        refused += 1
        check_limit()  # outside the handler: the driver's error, which quotes the row, must not be chained


def _find_refused(connection: Connection, found: FirstPass, write: Write) -> int | None:
    """Find a row that the server refuses by itself; None if rows are refused only together."""
    places = np.setdiff1d(np.arange(found.rows.rows), list(found.refused))
    while len(places) > 1:
        half = len(places) // 2
        first = places[:half]
        places = first if _try_write(connection, found, write, first) is not None else places[half:]
    if len(places) == 0 or _try_write(connection, found, write, places) is None:
        return None
    return int(places[0])


def _try_write(connection: Connection, found: FirstPass, write: Write, places: np.ndarray) -> Refusal | None:
    """Write these rows and roll back; return why the server refuses them, or None if it accepts them."""
    savepoint = connection.begin_nested()
    try:
        write(connection, _select_rows(found, places))
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


def _select_rows(found: FirstPass, places: np.ndarray) -> Iterator[pa.RecordBatch]:
    for batch in found.given.labelled(found.rows.batches()):
        yield batch.filter(pa.array(np.isin(batch.column(ROW).to_numpy(), places)))
