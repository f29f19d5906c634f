"""Equipment that would be part of itself."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.engine import Connection

from gpwarehouse.errors import LoadError
from gpwarehouse.models import DimEquipment

__all__ = ["refuse_cycles"]


def refuse_cycles(connection: Connection) -> None:
    """Refuse tools and chambers that are part of themselves, over any number of parents.

    The parents of all equipment are read: there are only thousands.

    :raises LoadError: a piece of equipment is part of itself; the message names it.
    """
    table = DimEquipment.__table__
    query = select(table.c.equipment_key, table.c.parent_equipment_key, table.c.equipment_id, table.c.chamber_id)
    query = query.where(table.c.is_current, table.c.parent_equipment_key.is_not(None))
    rows = {row.equipment_key: row for row in connection.execute(query)}
    clear: set[int] = set()
    for key in rows:
        path: dict[int, None] = {}
        while key in rows and key not in clear:
            if key in path:
                row = rows[key]
                raise LoadError(
                    f"dim_equipment: {row.equipment_id!r} (chamber {row.chamber_id!r}) would be part of itself, over "
                    f"{len(path)} parents. Nothing was merged; correct parent_equipment_id"
                )
            path[key] = None
            key = rows[key].parent_equipment_key
        clear.update(path)
