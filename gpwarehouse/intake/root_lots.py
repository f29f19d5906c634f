"""The root of a lot: the first lot that it was split from."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sqlalchemy import select
from sqlalchemy.engine import Engine

from gpwarehouse.engine.key_lists import chunks, is_one_of
from gpwarehouse.models import DimLot
from gpwarehouse.models.keys import durable_key, root_lot

__all__ = ["RootLots", "roots_of_lots"]


class RootLots:
    """The root of a lot: from ``dim_lot``, else what the pattern finds in its name, else the lot itself.

    :param ask: looks lots up in ``dim_lot``: takes names, returns name → root for the lots that it knows.
    """

    def __init__(self, ask: Callable[[Iterable[str]], dict[str, str]], pattern: str | None) -> None:
        self._ask = ask
        self._pattern = pattern
        self._known: dict[str, str] = {}

    def learn(self, lots: Iterable[str]) -> None:
        """Look up the lots that are new, in one query."""
        new = {lot for lot in lots if lot not in self._known}
        if new:
            found = self._ask(new)
            self._known |= {lot: found.get(lot) or root_lot(lot, self._pattern) for lot in new}

    def of(self, lot: str) -> str:
        """The root of one lot."""
        self.learn([lot])
        return self._known[lot]


def roots_of_lots(engine: Engine, lots: Iterable[str]) -> dict[str, str]:
    """Look up lot → root lot, for the lots whose root ``dim_lot`` knows."""
    table = DimLot.__table__
    wanted = {durable_key(lot, names=("lot_id",)): lot for lot in lots}
    found: dict[str, str] = {}
    with engine.connect() as connection:
        for keys in chunks(wanted):
            query = select(table.c.lot_id, table.c.root_lot_id).where(
                is_one_of(table.c.lot_key, keys), table.c.is_current, table.c.root_lot_id.is_not(None)
            )
            found |= {row.lot_id: row.root_lot_id for row in connection.execute(query)}
    return found
