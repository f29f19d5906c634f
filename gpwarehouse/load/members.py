"""Dimension members a load needs: those that are missing are made, before the load, in short transactions.

Two sessions that insert the same unique keys inside their loads can hang a Greenplum cluster for ever: each wins
another segment and neither sees the other. So members are probed without a lock; if some are missing they are inserted
in a transaction of their own that locks the table against other writers first, dimensions always in the same order. An
orphan left by a load that then failed is harmless.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Table, any_, bindparam, insert, select, text, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.engine import Connection, Engine

from gpwarehouse.engine import qualified_name
from gpwarehouse.errors import KeyCollisionError
from gpwarehouse.load.keys import Member
from gpwarehouse.load.versions import Change, Version, merge
from gpwarehouse.models import BEGINNING, DIMENSIONS, END_OF_TIME, EtlLoadBatch

__all__ = ["ensure_members", "roots_of_lots"]

_CHUNK = 5_000


def roots_of_lots(engine: Engine, lots: Iterable[str]) -> dict[str, str]:
    """Lot → root lot, for the lots that ``dim_lot`` knows a root of."""
    table = DIMENSIONS["dim_lot"].__table__
    wanted = bindparam("lots", sorted(lots), type_=ARRAY(table.c.lot_id.type))
    query = select(table.c.lot_id, table.c.root_lot_id).where(
        table.c.lot_id == any_(wanted), table.c.is_current, table.c.root_lot_id.is_not(None)
    )
    with engine.connect() as connection:
        return {row.lot_id: row.root_lot_id for row in connection.execute(query)}


def ensure_members(
    engine: Engine,
    members: Mapping[str, Mapping[int, Member]],
    *,
    source_system: str | None,
    batch_id: str,
    since: datetime,
) -> int:
    """Make sure each member has a row; returns how many versions were written.

    A missing member is inserted as inferred, its first version from 1900-01-01 UTC. What a source says beyond the
    natural key fills in what an inferred member does not know; where it contradicts what is known, a version begins
    at ``since``, the time of the events that showed it.

    :raises KeyCollisionError: another natural key is stored under one of the durable keys.
    """
    written = 0
    for name in sorted(members):
        wanted = members[name]
        with engine.connect() as connection:
            stored = _stored(connection, name, wanted)
        if not _work(name, wanted, stored, since):
            continue
        with engine.begin() as connection:
            table = DIMENSIONS[name].__table__
            # Not a weaker mode: it would have to be raised by the first UPDATE, and two raising ones deadlock.
            connection.execute(text(f"LOCK TABLE {qualified_name(connection, table)} IN EXCLUSIVE MODE"))
            stored = _stored(connection, name, wanted)  # seen anew: another load may have come first
            changes = _work(name, wanted, stored, since)
            audit = {"source_system": source_system, "batch_id": batch_id}
            written += _write(connection, name, wanted, changes, audit)
    return written


def _stored(connection: Connection, name: str, wanted: Mapping[int, Member]) -> dict[int, list[Version]]:
    """The versions there are of the wanted members, oldest first."""
    model = DIMENSIONS[name]
    table = model.__table__
    key = table.c[model.durable_key]
    found: dict[int, list[Version]] = {}
    keys = sorted(wanted)
    tracked = [table.c[column] for column in (*model.natural_key, *model.tracked_columns())]
    for start in range(0, len(keys), _CHUNK):
        chunk = bindparam("keys", keys[start : start + _CHUNK], type_=ARRAY(key.type))
        batch = EtlLoadBatch.__table__
        query = (
            select(
                key.label("_key"),
                table.c.effective_date,
                table.c.expiry_date,
                table.c.is_inferred,
                batch.c.min_event_ts.label("_seen"),
                *tracked,
            )
            .select_from(table.outerjoin(batch, (batch.c.batch_id == table.c.batch_id) & (batch.c.status == "LOADED")))
            .where(key == any_(chunk))
            .order_by(table.c.effective_date)
        )
        for row in connection.execute(query).mappings():
            member = wanted[row["_key"]]
            natural = {part: row[part] for part in model.natural_key}
            if natural != member.natural:
                raise KeyCollisionError(
                    f"{name}: the natural keys {natural} (stored) and {member.natural} (to load) have the same "
                    f"durable key {member.key}; nothing was loaded, rename one of them"
                )
            unset = _unset(table)
            values = {c: None if row[c] == unset.get(c, ...) else row[c] for c in model.tracked_columns()}
            version = Version(row["effective_date"], row["expiry_date"], row["is_inferred"], values, row["_seen"])
            found.setdefault(member.key, []).append(version)
    return found


def _work(
    name: str, wanted: Mapping[int, Member], stored: Mapping[int, list[Version]], since: datetime
) -> dict[int, Change]:
    """What has to be written for each member that is missing or of which something new is known."""
    tracked = set(DIMENSIONS[name].tracked_columns())
    changes: dict[int, Change] = {}
    for key, member in wanted.items():
        known = {column: value for column, value in member.attributes.items() if column in tracked}
        if key not in stored:
            changes[key] = Change(inserts=[Version(BEGINNING, END_OF_TIME, True, known)], updates=[])
            continue
        change = merge(stored[key], known, since)
        if change:
            changes[key] = change
    return changes


def _write(
    connection: Connection,
    name: str,
    wanted: Mapping[int, Member],
    changes: Mapping[int, Change],
    audit: Mapping[str, Any],
) -> int:
    model = DIMENSIONS[name]
    table: Table = model.__table__
    key = table.c[model.durable_key]
    rows: list[dict[str, Any]] = []
    for member_key, change in changes.items():
        for old, new in change.updates:
            values = _columns(name, new) | {"updated_at": text("now()"), "updated_by": text("current_user")}
            where = (key == member_key, table.c.effective_date == old.effective_date)
            connection.execute(update(table).where(*where).values(values))
        member = wanted[member_key]
        type1 = {column: member.attributes.get(column) for column in model.type1}
        rows += [
            {model.durable_key: member_key, **member.natural, **type1, **_columns(name, version), **audit}
            for version in change.inserts
        ]
    if rows:
        connection.execute(insert(table), rows)
    return sum(len(change.inserts) + len(change.updates) for change in changes.values())


def _columns(name: str, version: Version) -> dict[str, Any]:
    """A version's own columns: interval, flags, hash, and every tracked attribute."""
    model = DIMENSIONS[name]
    unset = _unset(model.__table__)
    values = {c: version.values.get(c) for c in model.tracked_columns()}
    return {
        "effective_date": version.effective_date,
        "expiry_date": version.expiry_date,
        "is_current": version.expiry_date == END_OF_TIME,
        "is_inferred": version.is_inferred,
        "row_hash": _row_hash(values),
        **{c: unset.get(c) if value is None else value for c, value in values.items()},
    }


def _unset(table: Table) -> dict[str, Any]:
    """What stands for "not known" in columns that cannot be NULL: key -1, and false."""
    return {c.name: -1 if c.name.endswith("_key") else False for c in table.columns if not c.nullable}


def _row_hash(values: Mapping[str, Any]) -> str:
    text_of = json.dumps(values, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.md5(text_of.encode(), usedforsecurity=False).hexdigest()
