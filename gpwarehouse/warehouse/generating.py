"""A made-up fab into the warehouse."""

from __future__ import annotations

import hashlib
from os import PathLike
from typing import TYPE_CHECKING, Any

from sqlalchemy import select
from sqlalchemy.engine import Engine

from gpwarehouse.engine import RetryPolicy
from gpwarehouse.errors import InvalidInputError
from gpwarehouse.models import BridgeWaferLot, EtlLoadBatch
from gpwarehouse.models.keys import durable_key
from gpwarehouse.warehouse.counting import counted
from gpwarehouse.warehouse.loading import Loading

if TYPE_CHECKING:
    import pyarrow as pa

    from gpwarehouse.generate import Fab, FabFolder
    from gpwarehouse.load import LoadResult, Progress

__all__ = ["Generating"]

_WAFERS_AT_ONCE = 5_000
"""Of a query for their stays."""


class Generating(Loading):
    """Load what :func:`gpwarehouse.generate.generate_fab` makes."""

    def load_fab(
        self, fab: Fab | FabFolder | str | PathLike[str], *, progress: Progress | None = None
    ) -> list[LoadResult]:
        """Load a made-up fab, or a folder that one was written to: facts, members, genealogy; each once.

        >>> wh.load_fab(generate_fab(seed=7, lots=10))   # doctest: +SKIP

        :return: a result per fact. :raises SourceFormatError: the folder holds no fab. :raises LoadError: and its kinds.
        :raises InvalidInputError: its wafers were in other lots, or at other times: another fab has the prefix. Nothing was
            loaded.
        """
        from gpwarehouse.dimensions import Bridges
        from gpwarehouse.generate import FabFolder
        from gpwarehouse.load import Loader

        self._require_current_schema()
        made = FabFolder(fab) if isinstance(fab, str | PathLike) else fab
        bridges = _bridges(made)
        self._refuse_foreign_stays(*bridges["bridge_wafer_lot"])
        loader = Loader(self.engine, self.settings)
        results = [
            counted(source.target, lambda source=source: loader.load(source, progress=progress))  # type: ignore[misc]
            for source in made.sources()
        ]
        for name, (batch_id, rows) in bridges.items():
            given = rows.select(
                [column for column in rows.schema.names if column != "root_lot_id"]
            )  # follows from the lot
            Bridges(self.engine, self.settings).upsert(name, given, batch_id=batch_id, source_system="GENERATED")
        return results

    def _refuse_foreign_stays(self, batch_id: str, stays: pa.Table) -> None:
        """Keep two fabs that name their lots alike from becoming one, before a fact is loaded."""
        from gpwarehouse.dimensions.exactly_once import explaining

        def look() -> dict[str, Any] | None:
            policy = RetryPolicy.once_met(self.settings, self.engine)
            return policy.call("look whether a fab's wafers are there", _foreign, self.engine, batch_id, stays)

        foreign = explaining(self.engine, self.settings, "bridge_wafer_lot", look)
        if foreign is not None:
            raise InvalidInputError(
                f"bridge_wafer_lot: wafer {foreign['wafer_id']} of lot {foreign['root_lot_id']!r} has stays that this fab does "
                "not know of, so another fab or source has lots of these names; generate it with another prefix"
            )


def _bridges(fab: Fab | FabFolder) -> dict[str, tuple[str, pa.Table]]:
    """Bridge → id of its batch, which follows from the rows, and the rows."""
    import pyarrow as pa

    from gpwarehouse.generate.folder import GENEALOGY, STAYS
    from gpwarehouse.intake.checksum import batch_id_for

    told = {"bridge_lot_genealogy": (fab.genealogy(), GENEALOGY), "bridge_wafer_lot": (list(fab.stays()), STAYS)}
    found = {}
    for name, (rows, schema) in told.items():
        table = pa.Table.from_pylist(rows, schema)
        digest = hashlib.sha256(repr(table.to_pylist()).encode()).hexdigest()
        found[name] = (batch_id_for(name, digest), table)
    return found


def _foreign(engine: Engine, batch_id: str, stays: pa.Table) -> dict[str, Any] | None:
    """A wafer of the fab with a stay that is none of the fab's; None once the fab's own have been loaded."""
    known: dict[int, tuple[dict[str, Any], set[tuple[Any, int]]]] = {}
    row: dict[str, Any]
    for row in stays.to_pylist():
        wafer = durable_key(row["root_lot_id"], row["wafer_id"])
        known.setdefault(wafer, (row, set()))[1].add((row["from_ts"], durable_key(row["lot_id"])))
    batch, bridge, keys = EtlLoadBatch.__table__, BridgeWaferLot.__table__, list(known)
    with engine.connect() as connection:
        loaded = select(batch.c.batch_id).where(batch.c.batch_id == batch_id, batch.c.status == "LOADED")
        if connection.execute(loaded).first() is not None:
            return None
        for start in range(0, len(keys), _WAFERS_AT_ONCE):
            some = bridge.c.wafer_key.in_(keys[start : start + _WAFERS_AT_ONCE])
            for stay in connection.execute(select(bridge.c.wafer_key, bridge.c.from_ts, bridge.c.lot_key).where(some)):
                row, own = known[stay.wafer_key]
                if (stay.from_ts, stay.lot_key) not in own:
                    return row
    return None
