"""Dimension members a load needs: the missing ones before it, in short transactions; what it tells of members with it.

Two sessions that insert the same unique keys inside their loads can hang a Greenplum cluster for ever: each wins
another segment and neither sees the other. So members are probed without a lock; if some are missing they are inserted
in a transaction of their own that locks the table against other writers first. An orphan left by a load that then
failed is harmless: it says no more than that the name was used.

What a load tells of members that are there is written by the load's own transaction, at its end, so it is there exactly when
the rows are. Most of it is what is in force anyway: it is kept as observations (:mod:`gpwarehouse.dimensions.versions`), under a
lock that other loads share. Where a version changes (a gap filled, a version begun) the dimension is locked against all
writers first, always in the order of their names, and looked at again under the lock: whoever comes last speaks knowing
what the others said.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Text, cast, select
from sqlalchemy.engine import Connection, Engine

from gpwarehouse.dimensions.histories import (
    Provenance,
    Row,
    Shape,
    decoded,
    lock,
    record,
    shape_of,
    shown_json,
    written_by,
)  # fmt: skip
from gpwarehouse.dimensions.rewrite_versions import NewObservations, rewrite
from gpwarehouse.dimensions.versions import ENTRY, Observation, alike, entries
from gpwarehouse.engine.key_lists import chunks, is_one_of
from gpwarehouse.errors import KeyCollisionError
from gpwarehouse.intake.natural_keys import Member
from gpwarehouse.models import BEGINNING, END_OF_TIME, EtlMemberObservation
from gpwarehouse.transport.copy_records import copy_records

__all__ = ["insert_missing", "learn"]

Members = Mapping[int, Member]


def insert_missing(engine: Engine, members: Mapping[str, Members], provenance: Provenance) -> int:
    """Insert the members that have no row, each from 1900-01-01 UTC on, inferred unless the source told of it.

    :return: how many were inserted.
    :raises KeyCollisionError: another natural key is stored under one of the durable keys.
    """
    written = 0
    for name in sorted(members):
        with engine.connect() as connection:
            if not _missing(connection, name, members[name]):
                continue
        written += _insert(engine, name, members[name], provenance)
    return written


def _insert(engine: Engine, name: str, members: Members, provenance: Provenance) -> int:
    with engine.begin() as connection:
        lock(connection, name, "SHARE ROW EXCLUSIVE")  # enough for inserts, and nothing here raises it
        missing = _missing(connection, name, members)  # seen anew: another load may have come first
        now, user = written_by(connection)
        audit = {
            "source_system": provenance.source_system,
            "batch_id": provenance.batch_id,
            "created_at": now,
            "updated_at": now,
        }
        audit |= {"created_by": user, "updated_by": user}
        copy_records(connection, shape_of(name).table, [_first_row(name, member) | audit for member in missing])
        deleted = _deleted(connection, name, [member.key for member in missing])
        if deleted:
            lock(connection, name, "EXCLUSIVE")
            rewrite(connection, name, {key: NewObservations(members[key].natural, []) for key in deleted}, provenance)
        return len(missing)


def _first_row(name: str, member: Member) -> Row:
    """The row of a member that is made. Its values stand until observations tell of them, which the load writes at its end."""
    shape, first = shape_of(name), member.at_first()
    values = {c: first.get(c) for c in shape.tracked}
    return {
        shape.key.name: member.key,
        **member.natural,
        **member.overwritten,
        "effective_date": BEGINNING,
        "expiry_date": END_OF_TIME,
        "is_current": True,
        "is_inferred": not member.told,
        "row_hash": _row_hash(values),
        "told": [],
        "shown": shown_json(member.shown()),
        **values,
        **{c: value for c, value in shape.unset.items() if values[c] is None},
    }


def _deleted(connection: Connection, name: str, keys: list[int]) -> list[int]:
    """Those of the members that a merge deleted before anybody knew of them."""
    observation = EtlMemberObservation.__table__
    found: list[int] = []
    for some in chunks(keys):
        query = select(observation.c.member_key).distinct()
        query = query.where(
            observation.c.dimension == name, observation.c.kind == "DELETED", is_one_of(observation.c.member_key, some)
        )
        found += connection.execute(query).scalars()
    return found


def learn(connection: Connection, members: Mapping[str, Members], provenance: Provenance) -> int:
    """Write what the load tells of members that are there; in the load's transaction.

    :return: how many versions were written.
    """
    assert provenance.since is not None
    written = 0
    for name in sorted(members):
        news = {
            key: _telling(name, m, provenance)
            for key, m in members[name].items()
            if m.told or m.lots or m.products or m.overwritten
        }
        if not news:
            continue
        # Not a weaker mode than EXCLUSIVE: Greenplum would raise it for the DELETE, while others hold what stands in its
        # way. Observations need a lock too, or another may change the version that holds what they tell.
        mode = "EXCLUSIVE" if _changing(connection, name, news) else "ROW SHARE"
        lock(connection, name, mode)
        changing = _changing(connection, name, news)
        if changing and mode == "ROW SHARE":
            lock(connection, name, "EXCLUSIVE")
            changing = _changing(connection, name, news)
        written += rewrite(connection, name, {key: news[key] for key in changing}, provenance).changed
        record(connection, list(_words(name, news, changing, provenance)))
    return written


def _telling(name: str, member: Member, provenance: Provenance) -> NewObservations:
    """What a load tells of a member: the source's observation as of its first event, a wafer's lots when it was first in them."""
    shape = shape_of(name)
    assert provenance.since is not None
    told: dict[datetime, dict[str, Any]] = {}
    for lot, at in member.lots.items():
        told.setdefault(_EPOCH + timedelta(microseconds=at), {})["lot_key"] = lot
    since = min(told, default=provenance.since)  # what is overwritten in place comes with the rows of the member
    if member.overwritten:
        told.setdefault(since, {}).update(member.overwritten)
    for column, value in member.told.items():
        is_document = column in shape.documents and isinstance(value, Mapping)
        told.setdefault(provenance.since, {}).update(entries(column, value) if is_document else [(column, value)])
    observations = [Observation(at, "LOADED", values, provenance.batch_id) for at, values in sorted(told.items())]
    return NewObservations(member.natural, observations, member.implied, member.shown(), completes=bool(member.told))


def _words(
    name: str, news: Mapping[int, NewObservations], changing: Iterable[int], provenance: Provenance
) -> Iterator[Row]:
    """The observations about members that change nothing."""
    left = set(news) - set(changing)
    for key in left:
        for observation in news[key].observations:
            yield {
                "dimension": name, "member_key": key, "told_at": observation.at, "kind": observation.kind, "told":
                sorted(observation.told), "batch_id": provenance.batch_id,
            }  # fmt: skip


def _stored(
    connection: Connection, name: str, natural: Mapping[int, Mapping[str, str]], columns: Sequence[str]
) -> Iterator[tuple[int, Row]]:
    """These columns of every version of the members, oldest first, with the member's key."""
    shape = shape_of(name)
    wanted = [cast(shape.table.c[c], Text).label(c) if c in shape.json else shape.table.c[c] for c in columns]
    parts = [shape.table.c[part].label(f"_{part}") for part in shape.natural]
    for keys in chunks(natural):
        query = select(shape.key.label("_key"), *parts, *wanted).where(is_one_of(shape.key, keys))
        for key, *values in connection.execute(query.order_by(shape.table.c.effective_date)).all():
            stored = dict(zip(shape.natural, values[: len(parts)], strict=True))
            if stored != natural[key]:
                raise KeyCollisionError(
                    f"{name}: the natural keys {stored} (stored) and {natural[key]} (to load) have the same "
                    f"durable key {key}; nothing was loaded, rename one of them"
                )
            yield key, decoded(shape, dict(zip(columns, values[len(parts) :], strict=True)))


def _missing(connection: Connection, name: str, members: Members) -> list[Member]:
    there = {key for key, _ in _stored(connection, name, {key: m.natural for key, m in members.items()}, ())}
    return [member for key, member in members.items() if key not in there]


def _changing(connection: Connection, name: str, news: Mapping[int, NewObservations]) -> list[int]:
    """The members of which something new is told; asks for no more columns than are told of."""
    shape = shape_of(name)
    told = {
        column.partition(ENTRY)[0]
        for each in news.values()
        for observation in each.observations
        for column in observation.told
    }
    shown = {column for each in news.values() for column in each.shown}
    own = ("effective_date", "expiry_date", "is_inferred", "known_from", "told", *(["shown"] if shown else []))
    found: dict[int, list[Row]] = {}
    natural = {key: each.natural for key, each in news.items()}
    for key, row in _stored(connection, name, natural, (*own, *sorted(told | shown))):
        found.setdefault(key, []).append(row)
    return [key for key, rows in found.items() if _changes(shape, rows, news[key])]


def _changes(shape: Shape, rows: list[Row], news: NewObservations) -> bool:
    """Whether what is told is not what the versions say anyway."""
    if news.completes and rows[-1]["is_inferred"]:
        return True
    for column, (value, at) in news.shown.items():
        before = (rows[-1]["shown"] or {}).get(column)
        if before is None or at < datetime.fromisoformat(before[1]):
            return True
        del value
    return any(
        _differs(shape, rows, observation, column, value)
        for observation in news.observations
        for column, value in observation.told.items()
    )


def _differs(shape: Shape, rows: list[Row], observation: Observation, name: str, value: Any) -> bool:
    """Whether a version in force at the observation's moment says otherwise, or one before it knows nothing of the column."""
    column, slash, entry = name.partition(ENTRY)
    for row in rows:
        is_in_force = row["effective_date"] <= observation.at < row["expiry_date"]
        there = row[column]
        if slash:
            is_unknown, is_like = entry not in (there or {}), alike((there or {}).get(entry), value)
        else:
            is_unknown, is_like = there is None or there == shape.unset.get(column), alike(there, value)
        if is_in_force:
            return not is_like
        if is_unknown and _is_open(row, column):
            return True
    return False


def _is_open(row: Row, column: str) -> bool:
    """Whether no merge said of a version that a column is NULL."""
    return row["told"] is not None and column not in row["told"]


def _row_hash(values: Mapping[str, Any]) -> str:
    text_of = json.dumps(values, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.md5(text_of.encode(), usedforsecurity=False).hexdigest()


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
