"""Convert natural keys to durable keys. Each distinct combination in a batch is hashed once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Column

from gpwarehouse.errors import KeyCollisionError, LoadError
from gpwarehouse.intake.root_lots import RootLots
from gpwarehouse.intake.target import Target
from gpwarehouse.models import DIMENSIONS
from gpwarehouse.models.base import KeyRole
from gpwarehouse.models.keys import (
    BLANKS,
    PLACEHOLDER_WAFER_ID,
    UNKNOWN_KEY,
    durable_key,
    is_nameless_wafer_id,
    natural_key_part,
    normalise_wafer_id,
)

__all__ = ["Codes", "KeyResolver", "Member"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NEVER = int(np.iinfo(np.int64).max)
_TABLE = 1 << 16
"""Up to so many codes are numbered by a lookup table, however few rows there are."""
Array = np.ndarray[Any, Any]
Numbered = tuple[Array, Array]
"""Each row's number among the members of a role, and their keys."""
Known = dict[tuple[Any, ...], int]
"""Natural key columns of a role → durable key, of all batches so far. Their members are already remembered."""


@dataclass
class Member:
    """A dimension member that a load needs, and what the load knows of it.

    :ivar implied: attributes that follow from its natural key. They fill a new row; they never contradict an existing row.
    :ivar told: attributes that the source states. They replace other values from then on.
    :ivar overwritten: values of columns that are overwritten in place (type 1).
    :ivar lots: of a wafer: lot → when the wafer was first seen in it (microseconds since 1970).
    :ivar products: of a lot or wafer: product → when it was first seen as that product.
    """

    key: int
    natural: dict[str, str]
    implied: dict[str, Any] = field(default_factory=dict)
    told: dict[str, Any] = field(default_factory=dict)
    overwritten: dict[str, Any] = field(default_factory=dict)
    lots: dict[int, int] = field(default_factory=dict)
    products: dict[int, int] = field(default_factory=dict)

    def at_first(self) -> dict[str, Any]:
        """The attributes of its first version if this load creates the member."""
        links = {"lot_key": self.lots, "product_key": self.products}
        earliest = {column: min(seen, key=seen.__getitem__) for column, seen in links.items() if seen}
        return self.implied | earliest | self.told

    def shown(self) -> dict[str, tuple[Any, datetime]]:
        """Attributes that may fill a gap but contradict nothing: a fact is no authority on the product of a lot."""
        if not self.products:
            return {}
        product = min(self.products, key=self.products.__getitem__)
        return {"product_key": (product, _EPOCH + timedelta(microseconds=self.products[product]))}


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
        self._known: dict[str, Known] = {}
        self._linked: dict[tuple[str, str], Known] = {}

    def resolve(self, batch: pa.RecordBatch) -> dict[str, pa.Array]:
        """Durable key column → BIGINT array, for every role of the target.

        :raises KeyCollisionError: two natural keys of the load have one durable key.
        """
        columns = dict(zip(batch.schema.names, batch.columns, strict=True))
        if "facility" in columns:
            filled = pc.fill_null(columns["facility"], self.facility)
            columns["facility"] = pc.if_else(pc.equal(pc.utf8_trim(filled, BLANKS), ""), self.facility, filled)
        coded = Codes(columns)
        found = {}
        for name, role in self.target.roles.items():
            resolve = self._resolve_wafers if role.dimension == "dim_wafer" else self._resolve_plain
            found[name] = resolve(role, coded, self._known.setdefault(name, {}))
        self._link(found, columns[self.target.partition_column])
        return {name: pa.array(keys[inverse]) for name, (inverse, keys) in found.items()}

    def _resolve_plain(self, role: KeyRole, coded: Codes, known: Known) -> Numbered:
        inverse, distinct = coded.combinations(list(role.inputs.values()))
        known |= {values: self._key_of(role, values) for values in distinct if values not in known}
        return inverse, np.asarray([known[values] for values in distinct], np.int64)

    def _key_of(self, role: KeyRole, values: tuple[Any, ...]) -> int:
        given = dict(zip(role.inputs.values(), values, strict=True))
        if not _is_present(given[role.identifier]):
            return role.absent
        given |= {column: value for column, value in role.defaults.items() if given.get(column) is None}
        if not all(_is_present(value) for column, value in given.items() if column not in role.defaults):
            return UNKNOWN_KEY  # a chamber without its tool, a step without its flow
        natural = {part: given[source] or "" for part, source in role.inputs.items()}
        return self.member(role.dimension, natural | dict(role.constants)).key

    def _resolve_wafers(self, role: KeyRole, coded: Codes, known: Known) -> Numbered:
        inverse, distinct = coded.combinations(["lot_id", "wafer_id"])
        new = [values for values in distinct if values not in known]
        self.roots.learn({natural_key_part(lot, "lot_id") for lot, _ in new if _is_present(lot)})
        known |= {(lot, wafer): self.wafer(lot, wafer).key for lot, wafer in new}
        return inverse, np.asarray([known[values] for values in distinct], np.int64)

    def wafer(self, lot: str, wafer: str | None) -> Member:
        """Remember the wafer of a lot, by its root lot and normalised id; a placeholder if there is no id."""
        lot = natural_key_part(lot, "lot_id")
        root = self.roots.of(lot)
        wafer_id = normalise_wafer_id(wafer, lot, self.wafer_id_pattern, root=root)
        member = self.member("dim_wafer", {"root_lot_id": root, "wafer_id": wafer_id})
        member.implied["is_placeholder"] = wafer_id == PLACEHOLDER_WAFER_ID
        member.implied.setdefault("lot_key", durable_key(lot))  # for a wafer without rows
        if wafer_id.isdigit() and wafer_id.isascii() and len(wafer_id) < 5:
            member.implied["wafer_number"] = int(wafer_id)
        if wafer is not None and not is_nameless_wafer_id(wafer_id):
            member.overwritten.setdefault("source_wafer_id", wafer)
        return member

    def member(self, dimension: str, natural: Mapping[str, str]) -> Member:
        """Remember a member as needed, with the attributes that follow from its natural key.

        :raises KeyCollisionError: another natural key of the load has the same durable key.
        """
        order = DIMENSIONS[dimension].natural_key
        clean = {part: natural_key_part(natural[part], part) for part in order}
        key = durable_key(*clean.values(), names=order)
        members = self.members.setdefault(dimension, {})
        if key not in members:
            members[key] = Member(key, clean, self._derive_attributes(dimension, clean))
        elif members[key].natural != clean:
            raise KeyCollisionError(
                f"{dimension}: the natural keys {members[key].natural} and {clean} of this load have the same durable key {key}. "
                "Nothing was loaded; rename one of them"
            )
        return members[key]

    def natural_key_of(self, dimension: str, row: Mapping[str, Any]) -> dict[str, str]:
        """Take the natural key parts from a row of a dimension. Missing parts are empty; a missing facility is our own."""
        default = {"facility": self.facility}
        return {
            part: str(row[part]) if row.get(part) is not None else default.get(part, "")
            for part in DIMENSIONS[dimension].natural_key
        }

    def add_member(self, dimension: str, row: Mapping[str, Any]) -> None:
        """Remember a member with the attributes that the source states.

        :param row: natural key parts and attributes by column; for a wafer, ``lot_id`` and ``wafer_id`` as in a fact.
        """
        if dimension == "dim_wafer":
            member, parts = self.wafer(row["lot_id"], row.get("wafer_id")), {"lot_id", "wafer_id"}
        else:
            natural = self.natural_key_of(dimension, row)
            member, parts = self.member(dimension, natural), set(natural)
        model = DIMENSIONS[dimension]
        for column, value in row.items():
            if value is None or value != value or column in parts:  # NaN is not a value
                continue
            if column in model.type1:
                member.overwritten[column] = _check_value(model.__table__.c[column], value, member)
            elif column in model.tracked_columns():
                member.told[column] = _check_value(model.__table__.c[column], value, member)

    def _derive_attributes(self, dimension: str, natural: dict[str, str]) -> dict[str, Any]:
        """The attributes that follow from a natural key. A chamber also needs its tool; a lot also knows its root."""
        if dimension == "dim_lot":
            return {"root_lot_id": self.roots.of(natural["lot_id"])}
        if dimension == "dim_equipment" and natural["chamber_id"]:
            self.member("dim_equipment", natural | {"chamber_id": ""})
        implied: dict[str, Any] = DIMENSIONS[dimension].inferred_attributes(natural)
        return implied

    def _link(self, found: dict[str, Numbered], times: pa.Array) -> None:
        """Remember in which lots and products the rows show the members, and since when."""
        moments = np.asarray(times.cast(pa.int64()))
        for child, parent, name in (
            ("wafer_key", "lot_key", "lots"),
            ("wafer_key", "product_key", "products"),
            ("lot_key", "product_key", "products"),
        ):
            if child not in found or parent not in found:
                continue
            members = self.members["dim_" + child.removesuffix("_key")]
            since = self._linked.setdefault((child, parent), {})
            (children, child_keys), (parents, parent_keys) = found[child], found[parent]
            inverse, places = _number_distinct(
                children * len(parent_keys) + parents, len(child_keys) * len(parent_keys)
            )
            first = np.full(len(places), _NEVER)
            np.minimum.at(first, inverse, moments)
            pairs = zip(child_keys[children[places]].tolist(), parent_keys[parents[places]].tolist(), strict=True)
            for pair, moment in zip(pairs, first.tolist(), strict=True):
                if moment >= since.get(pair, _NEVER):
                    continue
                since[pair] = moment
                child_key, parent_key = pair
                if parent_key != UNKNOWN_KEY and child_key in members:
                    seen = getattr(members[child_key], name)
                    seen[parent_key] = min(moment, seen.get(parent_key, moment))


def _check_value(column: Column[Any], value: Any, member: Member) -> Any:
    """Check a value that a source states of a member, and return it.

    :raises LoadError: the value is outside the column's domain, or infinite.
    """
    domain = column.info.get("domain")
    reason = domain.disorder(value) if domain is not None and isinstance(value, Mapping) else None
    if isinstance(value, float) and math.isinf(value):
        reason = f"{value} is not a finite number"
    if reason is not None:
        raise LoadError(
            f"{column.table.name}: the source states an impossible value in column {column.name!r} for {dict(member.natural)}: "
            f"{reason}. Nothing was loaded; correct the source"
        )
    return value


def _is_present(value: str | None) -> bool:
    return value is not None and bool(value.strip(BLANKS))


class Codes:
    """The columns of a batch, each encoded once, because several roles use the same columns."""

    def __init__(self, columns: Mapping[str, pa.Array]) -> None:
        self._columns = columns
        self._coded: dict[str, tuple[Array, int]] = {}

    def _encode(self, name: str) -> tuple[Array, int]:
        """A number for each row, equal for equal values and 0 for NULL; and how many numbers there are."""
        if name not in self._coded:
            encoded = self._columns[name].dictionary_encode()
            numbers = np.asarray(pc.fill_null(encoded.indices, -1)).astype(np.int64) + 1
            self._coded[name] = numbers, len(encoded.dictionary) + 1
        return self._coded[name]

    def combinations(self, names: Sequence[str]) -> tuple[Array, list[tuple[Any, ...]]]:
        """Each row's number among the distinct combinations of these columns, and the combinations."""
        codes, count = self._encode(names[0])
        for name in names[1:]:
            part, size = self._encode(name)
            if count * size >= 2**62:  # the product of the counts must not overflow
                codes, places = _number_distinct(codes, count)
                count = len(places)
            codes = codes * size + part
            count *= size
        inverse, places = _number_distinct(codes, count)
        picked = pa.array(places)
        return inverse, list(zip(*(self._columns[name].take(picked).to_pylist() for name in names), strict=True))


def _number_distinct(codes: Array, count: int) -> tuple[Array, Array]:
    """Each row's number among the distinct codes in the order of their first rows, and these first rows.

    :param count: all codes are less than this.
    """
    backwards = np.arange(len(codes) - 1, -1, -1)  # the last one written is the first row of each code
    if count <= max(_TABLE, 2 * len(codes)):
        number = np.full(count, -1)
        number[codes[::-1]] = backwards
        places = np.sort(number[number >= 0])
        number[codes[places]] = np.arange(len(places))
        return number[codes], places
    encoded = pa.array(codes).dictionary_encode()  # by hashing, where np.unique would sort
    inverse = np.asarray(encoded.indices)
    places = np.empty(len(encoded.dictionary), np.int64)
    places[inverse[::-1]] = backwards
    return inverse, places
