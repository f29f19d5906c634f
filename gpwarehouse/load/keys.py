"""Natural keys in, durable keys out: each distinct combination of a batch is hashed once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gpwarehouse.load.target import Target
from gpwarehouse.models import DIMENSIONS
from gpwarehouse.models.base import KeyRole
from gpwarehouse.models.keys import (
    PLACEHOLDER_WAFER_ID,
    durable_key,
    natural_key_part,
    normalise_wafer_id,
    root_lot,
)

__all__ = ["KeyResolver", "Member", "RootLots", "combinations"]


@dataclass
class Member:
    """A dimension member a load needs: its durable key, its natural key, and what else is known of it."""

    key: int
    natural: dict[str, str]
    attributes: dict[str, Any] = field(default_factory=dict)


class RootLots:
    """The root of a lot: what ``dim_lot`` says, else what the pattern finds in its name, else the lot itself.

    :param ask: looks lots up in ``dim_lot``: names in, name → root out for those it knows.
    """

    def __init__(self, ask: Callable[[Iterable[str]], dict[str, str]], pattern: str | None) -> None:
        self._ask = ask
        self._pattern = pattern
        self._known: dict[str, str] = {}

    def learn(self, lots: Iterable[str]) -> None:
        """Look up those lots that are new, in one query."""
        new = {lot for lot in lots if lot not in self._known}
        if new:
            told = self._ask(new)
            self._known |= {lot: told.get(lot) or root_lot(lot, self._pattern) for lot in new}

    def of(self, lot: str) -> str:
        """The root of one lot."""
        self.learn([lot])
        return self._known[lot]


class KeyResolver:
    """Turns the natural key columns of clean batches into durable keys and remembers the members they need.

    :param facility: the facility of rows that name none.
    """

    def __init__(self, target: Target, roots: RootLots, *, facility: str, wafer_id_pattern: str | None) -> None:
        self.target = target
        self.roots = roots
        self.facility = facility
        self.wafer_id_pattern = wafer_id_pattern
        self.members: dict[str, dict[int, Member]] = {}

    def resolve(self, batch: pa.RecordBatch) -> dict[str, pa.Array]:
        """Durable key column → BIGINT array, for every role of the target."""
        columns = dict(zip(batch.schema.names, batch.columns, strict=True))
        if "facility" in columns:
            filled = pc.fill_null(columns["facility"], self.facility)
            columns["facility"] = pc.if_else(pc.equal(pc.utf8_trim_whitespace(filled), ""), self.facility, filled)
        keys = {}
        for name, role in self.target.roles.items():
            resolve = self._wafers if role.dimension == "dim_wafer" else self._plain
            keys[name] = resolve(role, columns)
        self._link_products(columns, keys)
        return keys

    def _plain(self, role: KeyRole, columns: dict[str, pa.Array]) -> pa.Array:
        parts = [columns[name] for name in role.inputs.values()]
        names = list(role.inputs)
        inverse, distinct = combinations(parts)
        keys = []
        for values in distinct:
            given = dict(zip(role.inputs.values(), values, strict=True))
            if not _present(given[role.identifier]):
                keys.append(role.absent)
                continue
            given |= {column: value for column, value in role.defaults.items() if given.get(column) is None}
            natural = {part: given[source] or "" for part, source in zip(names, role.inputs.values(), strict=True)}
            keys.append(self.member(role.dimension, natural | dict(role.constants)).key)
        return pa.array(np.asarray(keys, np.int64)[inverse])

    def _wafers(self, role: KeyRole, columns: dict[str, pa.Array]) -> pa.Array:
        inverse, distinct = combinations([columns["lot_id"], columns["wafer_id"]])
        self.roots.learn({natural_key_part(lot, "lot_id") for lot, _ in distinct if _present(lot)})
        keys = [self.wafer(lot, wafer).key for lot, wafer in distinct]
        return pa.array(np.asarray(keys, np.int64)[inverse])

    def wafer(self, lot: str, wafer: str | None) -> Member:
        """The wafer of a lot, by its root lot and normalised id; a placeholder where there is no id."""
        lot = natural_key_part(lot, "lot_id")
        wafer_id = normalise_wafer_id(wafer, lot, self.wafer_id_pattern)
        member = self.member("dim_wafer", {"root_lot_id": self.roots.of(lot), "wafer_id": wafer_id})
        member.attributes.setdefault("lot_key", durable_key(lot))
        member.attributes.setdefault("is_placeholder", wafer_id == PLACEHOLDER_WAFER_ID)
        if wafer_id.isdigit() and wafer_id.isascii() and len(wafer_id) < 5:
            member.attributes.setdefault("wafer_number", int(wafer_id))
        if wafer is not None and wafer_id != PLACEHOLDER_WAFER_ID:
            member.attributes.setdefault("source_wafer_id", wafer)
        return member

    def member(self, dimension: str, natural: dict[str, str]) -> Member:
        """Remember a member as needed; what its natural key tells of it goes with it."""
        order = DIMENSIONS[dimension].natural_key
        clean = {part: natural_key_part(natural[part], part) for part in order}
        key = durable_key(*clean.values(), names=order)
        members = self.members.setdefault(dimension, {})
        if key not in members:
            members[key] = Member(key, clean, self._implied(dimension, clean))
        return members[key]

    def natural_key_of(self, dimension: str, row: Mapping[str, Any]) -> dict[str, str]:
        """The natural key parts of a row of a dimension; parts it does not name are empty, the facility is ours."""
        default = {"facility": self.facility}
        return {
            part: str(row[part]) if row.get(part) is not None else default.get(part, "")
            for part in DIMENSIONS[dimension].natural_key
        }

    def _implied(self, dimension: str, natural: dict[str, str]) -> dict[str, Any]:
        """What a natural key tells of its member; a chamber brings its tool, a wafer and a lot know their root."""
        if dimension == "dim_lot":
            return {"root_lot_id": self.roots.of(natural["lot_id"])}
        if dimension == "dim_equipment" and natural["chamber_id"]:
            self.member("dim_equipment", natural | {"chamber_id": ""})
        implied: dict[str, Any] = DIMENSIONS[dimension].inferred_attributes(natural)
        return implied

    def _link_products(self, columns: dict[str, pa.Array], keys: dict[str, pa.Array]) -> None:
        """A lot and a wafer first heard of in a fact are of the product that the fact names."""
        if "product_key" not in keys:
            return
        for dimension, column in (("dim_lot", "lot_key"), ("dim_wafer", "wafer_key")):
            if column not in keys:
                continue
            inverse, distinct = combinations([keys[column], keys["product_key"]])
            del inverse
            for member_key, product_key in distinct:
                member = self.members.get(dimension, {}).get(member_key)
                if member is not None and product_key != -1:
                    member.attributes.setdefault("product_key", product_key)


def _present(value: str | None) -> bool:
    return value is not None and bool(value.strip())


def combinations(arrays: list[pa.Array]) -> tuple[np.ndarray[Any, Any], list[tuple[Any, ...]]]:
    """Each row's number among the distinct combinations of these columns, and the combinations."""
    codes = np.zeros(len(arrays[0]), np.int64)
    for array in arrays:
        encoded = array.dictionary_encode()
        part = np.asarray(pc.fill_null(encoded.indices, -1)).astype(np.int64) + 1
        # Renumbered after every column, so that the product of the counts cannot overflow.
        _, codes = np.unique(codes * (len(encoded.dictionary) + 1) + part, return_inverse=True)
    _, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
    picked = pa.array(first)
    return inverse, list(zip(*(array.take(picked).to_pylist() for array in arrays), strict=True))
