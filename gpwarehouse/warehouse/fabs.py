"""Load a generated fab: its bridges as batches, and a check for another fab with the same names."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from sqlalchemy import select
from sqlalchemy.engine import Engine

from gpwarehouse.engine import RetryPolicy
from gpwarehouse.engine.server_errors import translate_errors
from gpwarehouse.errors import InvalidInputError
from gpwarehouse.models import BridgeWaferLot, EtlLoadBatch
from gpwarehouse.models.keys import durable_key
from gpwarehouse.warehouse.connected import Connected

if TYPE_CHECKING:
    import pyarrow as pa

    from gpwarehouse.generate import Fab, FabFolder

__all__ = ["bridges_of", "refuse_foreign_stays"]

_WAFERS_AT_ONCE = 5_000
"""Wafers per query for their stays."""


def refuse_foreign_stays(connected: Connected, batch_id: str, stays: pa.Table) -> None:
    """Refuse a fab if another fab with the same lot names is loaded, before any fact is loaded."""

    def look() -> dict[str, Any] | None:
        policy = RetryPolicy.once_met(connected.settings, connected.engine)
        return policy.call("look whether a fab's wafers are there", _find_foreign, connected.engine, batch_id, stays)

    foreign = translate_errors(connected.settings, "bridge_wafer_lot", "nothing was changed", look)
    if foreign is not None:
        raise InvalidInputError(
            f"bridge_wafer_lot: wafer {foreign['wafer_id']} of lot {foreign['root_lot_id']!r} has stays that are not of this "
            "fab, so another fab or source has lots with these names; generate the fab with another prefix"
        )


def bridges_of(fab: Fab | FabFolder) -> dict[str, tuple[str, pa.Table]]:
    """Bridge → id of its batch, which is derived from the rows, and the rows."""
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


def _find_foreign(engine: Engine, batch_id: str, stays: pa.Table) -> dict[str, Any] | None:
    """Find a wafer of the fab with a stay that is not the fab's; None if the fab's own stays have been loaded."""
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
