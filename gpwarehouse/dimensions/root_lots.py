"""Find wafers whose key has the wrong root lot, by a frame, by ``dim_lot`` or by the genealogy of lots."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.engine import Connection
from sqlalchemy.orm import aliased

from gpwarehouse.errors import InvalidInputError
from gpwarehouse.intake.expected_columns import Expected
from gpwarehouse.intake.frames import record_batches
from gpwarehouse.intake.given_columns import named_apart
from gpwarehouse.models import BridgeLotGenealogy, DimLot, DimWafer
from gpwarehouse.models.keys import natural_key_part, normalise_wafer_id

__all__ = ["Move", "moves_of_genealogy", "moves_of_lots", "read_moves"]

Move = tuple[str, str | None, str]
"""Root lot in the key, wafer id (None: all wafers of that root), true root lot."""

_NEEDED = ("root_lot_id", "true_root_lot_id")
_STRAIGHT = ("SPLIT", "REWORK", "RENAME")
"""Events after which all wafers of the child lot come from the one parent."""


def read_moves(mapping: Any, wafer_id_pattern: str | None) -> list[Move]:
    """Read moves from a frame.

    :raises InvalidInputError: a column is missing or unknown, or a value is not a text.
    """
    moves: list[Move] = []
    for batch in record_batches(mapping, frozenset(), Expected("the mapping", frozenset((*_NEEDED, "wafer_id")))):
        batch, _ = named_apart(batch)
        names = set(batch.schema.names)
        if not batch.num_rows:
            continue
        if not names >= set(_NEEDED) or names - {*_NEEDED, "wafer_id"}:
            raise InvalidInputError(
                f"the mapping has the columns {', '.join(sorted(names))}; give root_lot_id, true_root_lot_id and, if not all "
                "wafers of the root move, wafer_id"
            )
        for row in batch.to_pylist():
            if any(not isinstance(row[name], str) or not row[name].strip() for name in _NEEDED):
                raise InvalidInputError(f"the mapping does not name two roots in {row!r}; give both as text")
            root, true = (natural_key_part(row[name], name) for name in _NEEDED)
            raw = row.get("wafer_id")
            wafer = None if raw is None else normalise_wafer_id(str(raw), root, wafer_id_pattern, root=root)
            moves.append((root, wafer, true))
    return moves


def moves_of_lots(connection: Connection, roots: Mapping[str, str]) -> list[Move]:
    """Find wafers whose lot now has another root, by ``dim_lot`` or by ``roots``, which takes precedence."""
    wafer, lot = DimWafer.__table__, DimLot.__table__
    query = (
        select(wafer.c.root_lot_id, wafer.c.wafer_id, lot.c.lot_id, lot.c.root_lot_id.label("true_root"))
        .join(lot, (lot.c.lot_key == wafer.c.lot_key) & lot.c.is_current)
        .where(wafer.c.is_current, wafer.c.wafer_key.not_in((-1, -2)), lot.c.lot_key.not_in((-1, -2)))
    )
    by_lots = query.where(lot.c.root_lot_id != wafer.c.root_lot_id)
    moves: dict[tuple[str, str], str] = {}
    for row in connection.execute(by_lots):
        moves[row.root_lot_id, row.wafer_id] = roots.get(row.lot_id, row.true_root)
    if roots:
        for row in connection.execute(query.where(lot.c.lot_id.in_(list(roots)))):
            moves[row.root_lot_id, row.wafer_id] = roots[row.lot_id]
    return [(root, wafer_id, true) for (root, wafer_id), true in moves.items() if root != true]


def moves_of_genealogy(connection: Connection) -> dict[str, str]:
    """Find lots whose root in the genealogy differs from ``dim_lot``, if no source gave the root: lot → root.

    A lot is followed back over splits, reworks and renamings while it has one parent. The wafers of a merged lot come from
    many lots, so the lot does not show their root.
    """
    parent, child = aliased(DimLot), aliased(DimLot)
    edges = (
        select(child.lot_id.label("child"), parent.lot_id.label("parent"), BridgeLotGenealogy.event_type)
        .select_from(BridgeLotGenealogy)
        .join(parent, (parent.lot_key == BridgeLotGenealogy.parent_lot_key) & parent.is_current)
        .join(child, (child.lot_key == BridgeLotGenealogy.child_lot_key) & child.is_current)
    )
    parents: dict[str, set[str]] = {}
    merged: set[str] = set()
    for row in connection.execute(edges):
        parents.setdefault(row.child, set()).add(row.parent)
        if row.event_type not in _STRAIGHT:
            merged.add(row.child)
    lot = DimLot.__table__
    guessed = select(lot.c.lot_id, lot.c.root_lot_id).where(lot.c.is_current, lot.c.is_inferred)
    told = select(lot.c.lot_id, lot.c.root_lot_id).where(
        lot.c.is_current, lot.c.is_inferred.is_(False), lot.c.root_lot_id.is_not(None)
    )
    known = {row.lot_id: row.root_lot_id for row in connection.execute(told)} if parents else {}
    found: dict[str, str] = {}
    rows: Iterable[Any] = connection.execute(guessed) if parents else ()
    for lot_id, guess in rows:
        root = _follow_back(lot_id, parents, merged, known)
        if root is not None and root != guess:
            found[lot_id] = root
    return found


def _follow_back(lot: str, parents: Mapping[str, set[str]], merged: set[str], known: Mapping[str, str]) -> str | None:
    """The lot that a lot goes back to; None if that is not known."""
    if lot not in parents:
        return None
    seen = {lot}
    while lot in parents and lot not in merged and len(parents[lot]) == 1:
        (lot,) = parents[lot]
        if lot in seen:
            return None  # a cycle
        seen.add(lot)
        if lot in known:
            return known[lot]
    return None if lot in parents else lot
