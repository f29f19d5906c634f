"""Convert rows of a dimension's frame to rows for staging: durable keys, keys of referenced members, implied attributes."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gpwarehouse.dimensions.key_columns import durable_keys, trim
from gpwarehouse.intake.first_pass import FirstPass, Kept, Source
from gpwarehouse.intake.frame_source import FrameSource
from gpwarehouse.intake.given_columns import GIVEN
from gpwarehouse.intake.natural_keys import Codes, KeyResolver
from gpwarehouse.intake.target import Target
from gpwarehouse.models import BEGINNING
from gpwarehouse.models.keys import (
    PLACEHOLDER_WAFER_ID,
    UNKNOWN_KEY,
    natural_key_part,
    normalise_wafer_id,
    root_lot,
)

__all__ = ["AT", "DELETED", "IMPLIED", "ROW", "Columns", "FrameOfMembers", "Staging", "make_stager", "stage_bridge"]

ROW = "_row"
"""Column of a staged row: its place among the good rows of the frame."""

AT = "_at"
DELETED = "_deleted"
"""Columns of a staged row: the time from which it holds, and whether it deletes the member."""

IMPLIED = "_implied_"
"""Prefix of a column with the value that the natural key implies, for rows that do not give the column."""

Columns = dict[str, pa.Array]
Stager = Callable[[Columns, FirstPass], Columns]
"""Makes the columns to stage from the input columns of good rows. The first one is the key that may repeat."""

Naming = Callable[[Columns, KeyResolver, str | None, Any], tuple[Columns, Columns]]
"""Input columns → the parts of the natural key, and the attributes that they imply."""


@dataclass
class FrameOfMembers(FrameSource):
    """A frame for a dimension or bridge. Its rows may hold from the beginning of time.

    :ivar rows_for: the target that its rows are checked against.
    """

    rows_for: Target | None = None

    @property
    def earliest(self) -> datetime:
        """The earliest time that a row may hold from."""
        return BEGINNING

    def row_target(self) -> Target:
        """The target that the rows are checked against."""
        assert self.rows_for is not None
        return self.rows_for


@dataclass
class Staging:
    """Makes the rows to stage: the :class:`~gpwarehouse.intake.first_pass.Keep` of dimensions and bridges.

    :ivar stage: makes their columns.
    """

    stage: Stager
    _columns: dict[str, None] = field(default_factory=dict)
    _keys: list[Any] = field(default_factory=list)
    _rows: int = 0

    def __call__(self, found: FirstPass, clean: pa.RecordBatch, source: Source, given: Collection[str]) -> Kept:
        """Convert the next rows."""
        columns = self.stage(dict(zip(clean.schema.names, clean.columns, strict=True)), found)
        columns[ROW] = pa.array(np.arange(self._rows, self._rows + clean.num_rows))
        self._rows += clean.num_rows
        self._columns |= dict.fromkeys(columns)
        self._keys.append(np.asarray(next(iter(columns.values()))))
        return Kept(pa.RecordBatch.from_arrays(list(columns.values()), list(columns)), frozenset())

    def columns(self, found: FirstPass) -> tuple[str, ...]:
        """The columns that are staged, in order. :data:`~gpwarehouse.intake.given_columns.GIVEN` is among them only if not all
        rows give the same columns."""
        return (*self._columns, *([GIVEN] if found.given.not_every else []))

    @property
    def repeats(self) -> bool:
        """Whether a key occurs more than once."""
        total = np.sort(np.concatenate(self._keys)) if self._keys else np.empty(0, np.int64)
        return bool((total[1:] == total[:-1]).any())


def stage_bridge(columns: Columns, found: FirstPass) -> Columns:
    """Choose the columns to stage: the key and all others. A column that a row does not give has its default in a new row."""
    keys = found.resolver.resolve(pa.RecordBatch.from_arrays(list(columns.values()), list(columns)))
    return keys | {name: columns[name] for name in found.resolver.target.columns if name in columns}


def make_stager(model: type[Any], deletes: str | None, lot_root_pattern: str | None) -> Stager:
    """Make the function that stages the rows of a dimension."""
    naming: Naming = _NATURAL.get(model.__tablename__, _name_plain)

    def stage(columns: Columns, found: FirstPass) -> Columns:
        if "facility" in columns:
            facility = trim(columns["facility"])
            columns["facility"] = pc.if_else(pc.equal(facility, ""), found.resolver.facility, facility)
        natural, implied = naming(columns, found.resolver, lot_root_pattern, model)
        staged = {model.durable_key: durable_keys(list(natural.values())), **natural}
        staged[AT] = columns[found.resolver.target.partition_column]
        found.names[AT] = found.resolver.target.partition_column
        if deletes is not None:
            staged[DELETED] = columns[deletes]
            found.names[DELETED] = deletes
        return staged | _read_attributes(columns, found, implied, model)

    return stage


def _read_attributes(columns: Columns, found: FirstPass, implied: Columns, model: type[Any]) -> Columns:
    told: Columns = {}
    some = found.given.any
    keys = found.resolver.resolve(pa.RecordBatch.from_arrays(list(columns.values()), list(columns)))
    for name in found.resolver.target.roles:
        if name in some:
            told[name] = keys[name]
    if "parent_equipment_key" in told:
        parent = told["parent_equipment_key"]
        told["parent_equipment_key"] = pc.if_else(pc.equal(parent, UNKNOWN_KEY), pa.scalar(None, pa.int64()), parent)
    for name in (*model.tracked_columns(), *model.type1, "source_id"):
        if name in some and name not in told:
            told[name] = columns[name]
    for name, values in implied.items():
        if name in told:
            told[name] = pc.coalesce(told[name], values)
        if name not in found.given.every:
            told[IMPLIED + name] = values
    return told


def _name_plain(
    columns: Columns, resolver: KeyResolver, pattern: str | None, model: type[Any]
) -> tuple[Columns, Columns]:
    return {part: trim(columns[part]) for part in model.natural_key}, {}


def _name_lots(
    columns: Columns, resolver: KeyResolver, pattern: str | None, model: type[Any]
) -> tuple[Columns, Columns]:
    lots = trim(columns["lot_id"])
    if pattern is None and not pc.any(pc.match_substring(lots, ".")).as_py():
        return {"lot_id": lots}, {"root_lot_id": lots}  # equal to ``root_lot``, which is slow for millions of lots
    roots = pa.array([root_lot(lot, pattern) for lot in lots.to_pylist()], pa.string())
    return {"lot_id": lots}, {"root_lot_id": roots}


def _name_equipment(
    columns: Columns, resolver: KeyResolver, pattern: str | None, model: type[Any]
) -> tuple[Columns, Columns]:
    """A chamber also needs its tool, which is its parent until another parent is given."""
    natural = {part: trim(columns[part]) for part in model.natural_key}
    inverse, distinct = Codes(natural).combinations(list(natural))
    levels, parents = [], []
    for values in distinct:
        parts = dict(zip(natural, values, strict=True))
        if parts["chamber_id"]:
            resolver.member("dim_equipment", parts | {"chamber_id": ""})
        attributes = model.inferred_attributes(parts)
        levels.append(attributes["hierarchy_level"])
        parents.append(attributes.get("parent_equipment_key"))
    picked = pa.array(inverse)
    implied = {
        "hierarchy_level": pa.array(levels, pa.string()).take(picked),
        "parent_equipment_key": pa.array(parents, pa.int64()).take(picked),
    }
    return natural, implied


def _name_wafers(
    columns: Columns, resolver: KeyResolver, pattern: str | None, model: type[Any]
) -> tuple[Columns, Columns]:
    """The root lot is that of the frame, if it names one; else that of the lot."""
    inverse, distinct = Codes(columns).combinations(["lot_id", "root_lot_id", "wafer_id"])
    resolver.roots.learn({natural_key_part(lot, "lot_id") for lot, root, _ in distinct if not (root or "").strip()})
    roots, wafers, numbers = [], [], []
    for lot, root, raw in distinct:
        lot = natural_key_part(lot, "lot_id")
        root = natural_key_part(root or "", "root_lot_id") or resolver.roots.of(lot)
        wafer = normalise_wafer_id(raw, lot, resolver.wafer_id_pattern, root=root)
        roots.append(root)
        wafers.append(wafer)
        numbers.append(int(wafer) if wafer.isascii() and wafer.isdigit() and len(wafer) < 5 else None)
    picked = pa.array(inverse)
    natural = {"root_lot_id": pa.array(roots).take(picked), "wafer_id": pa.array(wafers).take(picked)}
    implied = {
        "wafer_number": pa.array(numbers, pa.int32()).take(picked),
        "is_placeholder": pa.array(np.asarray(wafers) == PLACEHOLDER_WAFER_ID).take(picked),
        "source_wafer_id": columns["wafer_id"],
    }
    return natural, implied


_NATURAL: dict[str, Naming] = {
    "dim_lot": _name_lots,
    "dim_equipment": _name_equipment,
    "dim_wafer": _name_wafers,
}
