"""Dimension members a load needs: the missing ones before it, in short transactions; what it tells of members with it.

Two sessions that insert the same unique keys inside their loads can hang a Greenplum cluster for ever: each wins
another segment and neither sees the other. So members are probed without a lock; if some are missing they are inserted
in a transaction of their own that locks the table against other writers first. An orphan left by a load that then
failed is harmless: it says no more than that the name was used.

What changes members that are there (a gap filled, a version begun) is written by the load's own transaction, at its end,
so it is there exactly when the rows are. It locks each dimension before it writes, always in the order of their names,
and looks again under the lock: whoever comes last speaks knowing what the others said.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from itertools import islice
from typing import Any

import pyarrow as pa
from sqlalchemy import Column, Table, any_, bindparam, delete, func, select, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.engine import Connection, Engine

from gpwarehouse.engine import qualified_name
from gpwarehouse.errors import KeyCollisionError, LoadError
from gpwarehouse.load.keys import Member
from gpwarehouse.load.target import arrow_type
from gpwarehouse.load.versions import Version, carried_on, dated, fill, known_from, merge
from gpwarehouse.models import BEGINNING, DIMENSIONS, END_OF_TIME, EtlLoadBatch
from gpwarehouse.models.keys import durable_key
from gpwarehouse.transport import copy_rows

__all__ = ["Teller", "insert_missing", "is_one_of", "learn", "roots_of_lots"]

_CHUNK = 20_000
_FEW = 200
Members = Mapping[int, Member]
Row = dict[str, Any]


@dataclass(frozen=True)
class Teller:
    """Who says what a load says of members: the batch, its source, and the time of its first event."""

    batch_id: str
    source_system: str | None
    since: datetime


@dataclass(frozen=True)
class _Shape:
    """What there is to know of a dimension, once and not for every member.

    :ivar unset: what stands for "not known" in tracked columns that cannot be NULL: key -1, and false.
    """

    table: Table
    key: Column[Any]
    natural: tuple[str, ...]
    tracked: tuple[str, ...]
    unset: Row


@cache
def _shape(name: str) -> _Shape:
    model = DIMENSIONS[name]
    table: Table = model.__table__
    unset = {c.name: -1 if c.name.endswith("_key") else False for c in table.columns if not c.nullable}
    tracked = model.tracked_columns()
    return _Shape(
        table, table.c[model.durable_key], model.natural_key, tracked, {c: unset[c] for c in tracked if c in unset}
    )


def roots_of_lots(engine: Engine, lots: Iterable[str]) -> dict[str, str]:
    """Lot → root lot, for the lots that ``dim_lot`` knows a root of."""
    table = _shape("dim_lot").table
    wanted = {durable_key(lot, names=("lot_id",)): lot for lot in lots}
    found: dict[str, str] = {}
    with engine.connect() as connection:
        for keys in _chunks(wanted):
            query = select(table.c.lot_id, table.c.root_lot_id).where(
                is_one_of(table.c.lot_key, keys), table.c.is_current, table.c.root_lot_id.is_not(None)
            )
            found |= {row.lot_id: row.root_lot_id for row in connection.execute(query)}
    return found


def insert_missing(engine: Engine, members: Mapping[str, Members], teller: Teller) -> int:
    """Insert the members that have no row, each from 1900-01-01 UTC on, inferred unless the source told of it.

    :return: how many were inserted.
    :raises KeyCollisionError: another natural key is stored under one of the durable keys.
    """
    written = 0
    for name in sorted(members):
        with engine.connect() as connection:
            if not _missing(connection, name, members[name]):
                continue
        written += _insert(engine, name, members[name], teller)
    return written


def _insert(engine: Engine, name: str, members: Members, teller: Teller) -> int:
    with engine.begin() as connection:
        _lock(connection, name, "SHARE ROW EXCLUSIVE")  # enough for inserts, and nothing here raises it
        missing = _missing(connection, name, members)  # seen anew: another load may have come first
        now, user = _now(connection)
        rows = []
        for member in missing:
            first = member.at_first()
            version = Version(BEGINNING, END_OF_TIME, not member.told, first, teller.batch_id, teller.since)
            audit = {"source_system": teller.source_system, "created_at": now, "created_by": user}
            rows.append(_row(name, member, version) | audit | {"updated_at": now, "updated_by": user})
        _copy(connection, name, rows)
        return len(rows)


def learn(connection: Connection, members: Mapping[str, Members], teller: Teller) -> int:
    """Write what the load tells of members that are there; in the load's transaction.

    :return: how many versions were written.
    """
    written = 0
    for name in sorted(members):
        telling = {key: m for key, m in members[name].items() if m.told or m.lots or m.products or m.overwritten}
        changing = _changing(connection, name, telling, teller)
        if changing:
            # Not a weaker mode: Greenplum would raise it for the DELETE, while others hold what stands in its way.
            _lock(connection, name, "EXCLUSIVE")
            written += _rewrite(connection, name, _changing(connection, name, changing, teller), teller)
    return written


def _lock(connection: Connection, name: str, mode: str) -> None:
    connection.execute(text(f"LOCK TABLE {qualified_name(connection, _shape(name).table)} IN {mode} MODE"))


def _now(connection: Connection) -> tuple[datetime, str]:
    now, user = connection.execute(select(func.now(), func.current_user())).one()
    return now, user


def _chunks(keys: Iterable[int]) -> Iterator[list[int]]:
    ordered = iter(sorted(keys))
    while chunk := list(islice(ordered, _CHUNK)):
        yield chunk


def is_one_of(column: Column[Any], keys: list[int]) -> Any:
    """A condition: few keys are looked up in the index; for many, Greenplum 7 plans 5000 in ANY for seconds, so a join."""
    wanted = bindparam(None, keys, type_=ARRAY(column.type), unique=True)
    return column == any_(wanted) if len(keys) <= _FEW else column.in_(select(func.unnest(wanted)))


def _stored(
    connection: Connection, name: str, members: Members, columns: Sequence[Any]
) -> Iterator[tuple[Member, Row]]:
    """These columns of every version of the members, oldest first, with the member."""
    shape = _shape(name)
    # A version's batch says when it was first seen, once it is loaded.
    batch = EtlLoadBatch.__table__
    source = shape.table.outerjoin(batch, (batch.c.batch_id == shape.table.c.batch_id) & (batch.c.status == "LOADED"))
    seen = any(column is batch.c.min_event_ts for column in columns)
    names = [column.name for column in columns]
    natural = [shape.table.c[part].label(f"_{part}") for part in shape.natural]
    for keys in _chunks(members):
        query = select(shape.key.label("_key"), *natural, *columns).select_from(source if seen else shape.table)
        query = query.where(is_one_of(shape.key, keys)).order_by(shape.table.c.effective_date)
        for key, *values in connection.execute(query).all():
            member = members[key]
            stored = dict(zip(shape.natural, values[: len(natural)], strict=True))
            if stored != member.natural:
                raise KeyCollisionError(
                    f"{name}: the natural keys {stored} (stored) and {member.natural} (to load) have the same "
                    f"durable key {key}; nothing was loaded, rename one of them"
                )
            yield member, dict(zip(names, values[len(natural) :], strict=True))


def _missing(connection: Connection, name: str, members: Members) -> list[Member]:
    there = {member.key for member, _ in _stored(connection, name, members, ())}
    return [member for key, member in members.items() if key not in there]


def _changing(connection: Connection, name: str, telling: Members, teller: Teller) -> Members:
    """The members of which something new is told; asks for no more columns than are told of."""
    if not telling:
        return {}
    table = _shape(name).table
    told = {column for m in telling.values() for column in (*m.told, *m.gaps(), *m.overwritten)}
    told |= {"lot_key"} if any(m.lots for m in telling.values()) else set()
    tracked = told & set(_shape(name).tracked)
    own = ("effective_date", "expiry_date", "is_inferred", *sorted(told))
    found: dict[int, list[Row]] = {}
    for member, row in _stored(connection, name, telling, [table.c[column] for column in own]):
        found.setdefault(member.key, []).append(row)
    changing = {}
    for key, rows in found.items():
        member = telling[key]
        versions = [_version(name, row, tracked) for row in rows]
        overwrites = any(row[column] != value for row in rows for column, value in member.overwritten.items())
        if overwrites or _after(member, versions, teller) != versions:
            changing[key] = member
    return changing


def _after(member: Member, versions: list[Version], teller: Teller) -> list[Version]:
    """The versions of a member after all that the load tells of it."""
    for since, known in member.observations(teller.since):
        versions = merge(versions, known, since, batch_id=teller.batch_id, from_source=known is member.told)
    return fill(versions, member.gaps())


def _rewrite(connection: Connection, name: str, changing: Members, teller: Teller) -> int:
    """Write the versions of members anew: one DELETE and one COPY, whatever their number; returns how many changed."""
    shape = _shape(name)
    names = [column.name for column in shape.table.columns]
    stored: dict[int, list[Row]] = {}
    own = [*shape.table.columns, EtlLoadBatch.__table__.c.min_event_ts]
    for member, row in _stored(connection, name, changing, own):
        stored.setdefault(member.key, []).append(row)
    now, user = _now(connection)
    rows: list[Row] = []
    written = 0
    for key, old_rows in stored.items():
        member = changing[key]
        before = [_version(name, row, shape.tracked) for row in old_rows]
        after = _after(member, before, teller)
        written += len([version for version in after if version not in before])
        starts = {version.effective_date: version for version in before}
        for version in after:
            row = {column: version.audit[column] for column in names}
            row |= _row(name, member, version)
            before_it = starts.get(version.effective_date)
            if before_it is not None and before_it.batch_id == version.batch_id:
                row["row_hash"] = carried_on(before_it.audit["row_hash"], row["row_hash"])
            if before_it is None:
                row |= {"created_at": now, "created_by": user, "source_system": teller.source_system}
            if version != before_it or member.overwritten:
                row |= {"updated_at": now, "updated_by": user}
            rows.append(row)
    for keys in _chunks(stored):
        connection.execute(delete(shape.table).where(is_one_of(shape.key, keys)))
    _copy(connection, name, rows)
    return written


def _version(name: str, row: Row, columns: Iterable[str]) -> Version:
    unset = _shape(name).unset
    values = {c: None if c in unset and row[c] == unset[c] else row[c] for c in columns}
    return Version(
        row["effective_date"],
        row["expiry_date"],
        row["is_inferred"],
        values,
        row.get("batch_id"),
        known_from(row.get("row_hash")) or row.get("min_event_ts"),
        row,
    )


def _row(name: str, member: Member, version: Version) -> Row:
    """A version's row, but for the audit columns."""
    shape = _shape(name)
    values = {c: version.values.get(c) for c in shape.tracked}
    return {
        shape.key.name: member.key,
        **member.natural,
        **member.overwritten,
        "effective_date": version.effective_date,
        "expiry_date": version.expiry_date,
        "is_current": version.expiry_date == END_OF_TIME,
        "is_inferred": version.is_inferred,
        "batch_id": version.batch_id,
        "row_hash": dated(_row_hash(values), version),
        **values,
        **{c: value for c, value in shape.unset.items() if values[c] is None},
    }


def _copy(connection: Connection, name: str, rows: list[Row]) -> None:
    """COPY: inserting 50 000 members by statements takes half a minute, and others wait for the lock."""
    if not rows:
        return
    table = _shape(name).table
    arrays = []
    for column in table.columns:
        values = [row.get(column.name) for row in rows]
        if isinstance(column.type, JSONB):
            values = [None if v is None else json.dumps(v, separators=(",", ":")) for v in values]
        try:
            arrays.append(pa.array(values, arrow_type(column.type)))
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            raise LoadError(
                f"{name}: what the source tells of column {column.name!r} does not fit it: {error}"
            ) from None
    columns = tuple(column.name for column in table.columns)
    copy_rows(connection, table, [pa.RecordBatch.from_arrays(arrays, list(columns))], columns)


def _row_hash(values: Mapping[str, Any]) -> str:
    text_of = json.dumps(values, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.md5(text_of.encode(), usedforsecurity=False).hexdigest()
