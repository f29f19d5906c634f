"""Write staged rows of a dimension or bridge, once. Rows that only the server refuses become rejects.

A statement on a set is refused as a whole, and the server does not say because of which row. So the rows are halved: each half is
written and rolled back, until one row is left that is refused by itself. It is left out, and all others are written again.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
from sqlalchemy.engine import Connection, Engine

from gpwarehouse.batches.exactly_once import Finish, Store, exactly_once, in_one_transaction
from gpwarehouse.batches.ledger import Written
from gpwarehouse.batches.new_batch import NewBatch
from gpwarehouse.batches.refused_rows import place_of_line, write_all_but_refused
from gpwarehouse.dimensions.histories import Provenance
from gpwarehouse.dimensions.members import insert_missing
from gpwarehouse.dimensions.staged_rows import ROW, FrameOfMembers
from gpwarehouse.engine.server_errors import Refusal, refusal_of
from gpwarehouse.errors import GpwarehouseError
from gpwarehouse.intake.first_pass import FirstPass
from gpwarehouse.intake.load_options import LoadOptions
from gpwarehouse.settings import WarehouseSettings

__all__ = ["StagedWrite", "WriteRows"]

WriteRows = Callable[[Connection, Iterable[pa.RecordBatch]], None]
"""Stages rows and writes their result, in the connection's transaction."""


@dataclass
class StagedWrite:
    """The :class:`~gpwarehouse.batches.exactly_once.Write` of dimensions and bridges.

    :ivar members_made: members of other dimensions that the rows name and that had no row yet.
    """

    engine: Engine
    entry: NewBatch
    write: WriteRows
    members_made: int = 0

    @classmethod
    def of(
        cls,
        engine: Engine,
        settings: WarehouseSettings,
        source: FrameOfMembers,
        found: FirstPass,
        options: LoadOptions,
        started_at: datetime,
        operation: str,
        write: Callable[[Provenance, Connection, Iterable[pa.RecordBatch]], None],
    ) -> StagedWrite:
        """Make it for rows that are read.

        Only the same content under the same id of the caller is the same batch. Without an id, or under another id, it is no
        repetition: something else may have been merged in between. A column that was not given differs from one that was given
        as NULL.
        """
        words = " ".join([operation, *found.given.words(), options.batch_id or str(uuid.uuid4())])
        entry = NewBatch(
            engine, settings, found, options, source.source_system, None, started_at, "MERGE", words,
            undone="nothing was changed",
        )  # fmt: skip

        def write_rows(connection: Connection, rows: Iterable[pa.RecordBatch]) -> None:
            write(Provenance(entry.batch_id, entry.source_system, found.first), connection, rows)

        return cls(engine, entry, write_rows)

    def run(self) -> Any:
        """Write the rows once; return the batch's row, and whether it is of this run."""
        return exactly_once(self.engine, self.entry.settings, self.entry, self)

    def prepare(self) -> None:
        """Insert missing members."""
        found = self.entry.found
        if found.first is not None:
            provenance = Provenance(self.entry.batch_id, self.entry.source_system, found.first)
            self.members_made += insert_missing(self.engine, found.resolver.members, provenance)

    def transact(self, store: Store, finish: Finish) -> None:
        """Run in one transaction."""
        in_one_transaction(self.engine, store, finish)

    def store(self, connection: Connection) -> None:
        """Write all rows but those that the server refuses."""
        found = self.entry.found

        def find(refusal: Refusal) -> int | None:
            return place_of_line(found, refusal) if refusal.line is not None else self._find_refused(connection)

        if found.rows_to_load:
            write_all_but_refused(
                connection, found, lambda: self.write(connection, found.sendable()), find, self.entry.check_rejects
            )

    def finish(self, connection: Connection) -> Written:
        """Return the number of rows."""
        return Written(self.entry.found.rows_to_load)

    def _find_refused(self, connection: Connection) -> int | None:
        """Find a row that the server refuses by itself; None if rows are refused only together."""
        found = self.entry.found
        places = np.setdiff1d(np.arange(found.rows.rows), list(found.refused))
        while len(places) > 1:
            half = len(places) // 2
            places = places[:half] if self._is_refused(connection, places[:half]) else places[half:]
        return int(places[0]) if len(places) and self._is_refused(connection, places) else None

    def _is_refused(self, connection: Connection, places: np.ndarray) -> bool:
        """Write these rows and roll back; return whether the server refuses them."""
        savepoint = connection.begin_nested()
        try:
            self.write(connection, self._select_rows(places))
        except GpwarehouseError:
            return False
        except Exception as error:
            if refusal_of(error) is None:
                raise
            return True
        finally:
            savepoint.rollback()
        return False

    def _select_rows(self, places: np.ndarray) -> Iterator[pa.RecordBatch]:
        found = self.entry.found
        for batch in found.given.labelled(found.rows.batches()):
            yield batch.filter(pa.array(np.isin(batch.column(ROW).to_numpy(), places)))
