"""A made-up fab into the warehouse."""

from __future__ import annotations

from collections.abc import Iterable
from os import PathLike
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete

from gpwarehouse.models import BRIDGES, END_OF_TIME
from gpwarehouse.models.keys import durable_key
from gpwarehouse.warehouse.counting import counted
from gpwarehouse.warehouse.loading import Loading

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from gpwarehouse.generate import Fab, FabFolder
    from gpwarehouse.load import LoadResult, Progress

__all__ = ["Generating"]


class Generating(Loading):
    """Load what :func:`gpwarehouse.generate.generate_fab` makes."""

    def load_fab(
        self, fab: Fab | FabFolder | str | PathLike[str], *, progress: Progress | None = None
    ) -> list[LoadResult]:
        """Load a made-up fab, or a folder that one was written to: facts, members, genealogy; each once.

        >>> wh.load_fab(generate_fab(seed=7, lots=10))   # doctest: +SKIP

        :return: a result per fact. :raises SourceFormatError: the folder holds no fab. :raises LoadError: and its kinds.
        """
        from gpwarehouse.generate import FabFolder
        from gpwarehouse.load import Loader

        self._require_current_schema()
        made = FabFolder(fab) if isinstance(fab, str | PathLike) else fab
        loader = Loader(self.engine, self.settings)
        results = [
            counted(source.target, lambda source=source: loader.load(source, progress=progress))  # type: ignore[misc]
            for source in made.sources()
        ]
        with self.engine.begin() as connection:
            _write_bridges(connection, made, results[0].batch_id)
        return results


def _write_bridges(connection: Connection, fab: Fab | FabFolder, batch_id: str) -> None:
    """Genealogy and stays, anew under the id of the fab's first batch, which follows from its content."""
    said = {"batch_id": batch_id, "source_system": "GENERATED"}
    splits = (
        {
            "parent_lot_key": durable_key(row["parent_lot_id"]), "child_lot_key": durable_key(row["child_lot_id"]),
            "event_type": row["event_type"], "event_ts": row["event_ts"], "wafer_count": row["wafer_count"], **said,
        }
        for row in fab.genealogy()
    )  # fmt: skip
    stays = (
        {
            "wafer_key": durable_key(row["root_lot_id"], row["wafer_id"]), "lot_key": durable_key(row["lot_id"]),
            "from_ts": row["from_ts"], "to_ts": row["to_ts"] or END_OF_TIME, **said,
        }
        for row in fab.stays()
    )  # fmt: skip
    _replace(connection, "bridge_lot_genealogy", splits, batch_id)
    _replace(connection, "bridge_wafer_lot", stays, batch_id)


def _replace(connection: Connection, name: str, rows: Iterable[dict[str, Any]], batch_id: str) -> None:
    import pyarrow as pa

    from gpwarehouse.load.target import arrow_type
    from gpwarehouse.transport import copy_rows

    table = BRIDGES[name].__table__
    connection.execute(delete(table).where(table.c.batch_id == batch_id))
    found = list(rows)
    if found:
        schema = pa.schema([(column, arrow_type(table.c[column].type)) for column in found[0]])
        batch = pa.RecordBatch.from_pylist(found, schema)
        copy_rows(connection, table, [batch], tuple(schema.names))
