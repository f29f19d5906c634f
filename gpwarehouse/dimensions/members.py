"""Dimension members of a load: missing ones are inserted before the load; what it tells of members is written with it.

If two sessions insert the same unique keys inside their loads, a Greenplum cluster can hang for ever: each session wins on
another segment, and neither sees the other. So members are looked up without a lock. If some are missing, they are inserted in
a transaction of their own, which first locks the table against other writers. If the load then fails, such a member stays
without rows. That is harmless: it only says that the name was used.

What a load tells of existing members is written at the end of the load's own transaction, so it exists exactly when the rows
do. Most of it is already in force: it is kept as observations (:mod:`gpwarehouse.dimensions.versions`), under a lock that
other loads share. If a version changes (a gap is filled, a version begins), the dimension is first locked against all writers,
always in the order of the dimensions' names. The versions are then read again under the lock, so each load knows what the
loads before it told.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Text, cast, select
from sqlalchemy.engine import Connection, Engine

from gpwarehouse.derived import refresh_step_limits
from gpwarehouse.dimensions.histories import (
    Provenance,
    Row,
    Shape,
    decode_row,
    encode_shown,
    lock,
    read_writer,
    record,
    shape_of,
)  # fmt: skip
from gpwarehouse.dimensions.rewrite_versions import NewObservations, rewrite
from gpwarehouse.dimensions.versions import ENTRY, Observation, entries, is_same
from gpwarehouse.engine.key_lists import chunks, is_one_of
from gpwarehouse.errors import KeyCollisionError
from gpwarehouse.intake.natural_keys import Member
from gpwarehouse.models import BEGINNING, END_OF_TIME, DimProcessStep, EtlMemberObservation
from gpwarehouse.transport.copy_records import copy_records

__all__ = ["insert_missing", "learn"]

Members = Mapping[int, Member]


def insert_missing(engine: Engine, members: Mapping[str, Members], provenance: Provenance) -> int:
    """Insert the members that have no row, each valid from 1900-01-01 UTC, inferred unless the source gave attributes of it.

    :return: number of inserted members.
    :raises KeyCollisionError: another natural key is stored under one of the durable keys.
    """
    written = 0
    for name in sorted(members):
        with engine.connect() as connection:
            if not _find_missing(connection, name, members[name]):
                continue
        written += _insert(engine, name, members[name], provenance)
    return written


def _insert(engine: Engine, name: str, members: Members, provenance: Provenance) -> int:
    with engine.begin() as connection:
        lock(connection, name, "SHARE ROW EXCLUSIVE")  # it suffices for inserts, and nothing here needs a stronger one
        missing = _find_missing(connection, name, members)  # read again: another load may have inserted them
        now, user = read_writer(connection)
        audit = {
            "source_system": provenance.source_system,
            "batch_id": provenance.batch_id,
            "created_at": now,
            "updated_at": now,
        }
        audit |= {"created_by": user, "updated_by": user}
        copy_records(connection, shape_of(name).table, [_first_row(name, member) | audit for member in missing])
        if name == DimProcessStep.__tablename__:
            refresh_step_limits(connection, [member.key for member in missing])
        deleted = _find_deleted(connection, name, [member.key for member in missing])
        if deleted:
            lock(connection, name, "EXCLUSIVE")
            rewrite(connection, name, {key: NewObservations(members[key].natural, []) for key in deleted}, provenance)
        return len(missing)


def _first_row(name: str, member: Member) -> Row:
    """The first row of a member. Its values stand until there are observations, which the load writes at its end."""
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
        "row_hash": _hash_row(values),
        "told": [],
        "shown": encode_shown(member.shown()),
        **values,
        **{c: value for c, value in shape.unset.items() if values[c] is None},
    }


def _find_deleted(connection: Connection, name: str, keys: list[int]) -> list[int]:
    """Find the members that a merge deleted before they had a row."""
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
    """Write what the load tells of existing members, in the load's transaction.

    :return: number of versions that were written.
    """
    assert provenance.since is not None
    written = 0
    for name in sorted(members):
        news = {
            key: _make_observations(name, m, provenance)
            for key, m in members[name].items()
            if m.told or m.lots or m.products or m.overwritten
        }
        if not news:
            continue
        # A weaker mode than EXCLUSIVE would not do: Greenplum would raise it for the DELETE, which can deadlock. Observations
        # need a lock too, because their values are those of a version, which another transaction could change.
        mode = "EXCLUSIVE" if _find_changing(connection, name, news) else "ROW SHARE"
        lock(connection, name, mode)
        changing = _find_changing(connection, name, news)
        if changing and mode == "ROW SHARE":
            lock(connection, name, "EXCLUSIVE")
            changing = _find_changing(connection, name, news)
        written += rewrite(connection, name, {key: news[key] for key in changing}, provenance).changed
        record(connection, list(_make_rows(name, news, changing, provenance)))
    return written


def _make_observations(name: str, member: Member, provenance: Provenance) -> NewObservations:
    """What a load tells of a member: the source's values at its first event, and a wafer's lots since it was first in them."""
    shape = shape_of(name)
    assert provenance.since is not None
    told: dict[datetime, dict[str, Any]] = {}
    for lot, at in member.lots.items():
        told.setdefault(_EPOCH + timedelta(microseconds=at), {})["lot_key"] = lot
    since = min(told, default=provenance.since)  # columns overwritten in place count from the member's first row
    if member.overwritten:
        told.setdefault(since, {}).update(member.overwritten)
    for column, value in member.told.items():
        is_document = column in shape.documents and isinstance(value, Mapping)
        told.setdefault(provenance.since, {}).update(entries(column, value) if is_document else [(column, value)])
    observations = [Observation(at, "LOADED", values, provenance.batch_id) for at, values in sorted(told.items())]
    return NewObservations(member.natural, observations, member.implied, member.shown(), completes=bool(member.told))


def _make_rows(
    name: str, news: Mapping[int, NewObservations], changing: Iterable[int], provenance: Provenance
) -> Iterator[Row]:
    """Yield rows for the observations of members whose versions do not change."""
    left = set(news) - set(changing)
    for key in left:
        for observation in news[key].observations:
            yield {
                "dimension": name, "member_key": key, "told_at": observation.at, "kind": observation.kind, "told":
                sorted(observation.told), "batch_id": provenance.batch_id,
            }  # fmt: skip


def _read_versions(
    connection: Connection, name: str, natural: Mapping[int, Mapping[str, str]], columns: Sequence[str]
) -> Iterator[tuple[int, Row]]:
    """Read these columns of every version of the members, oldest first, with the member's key."""
    shape = shape_of(name)
    wanted = [cast(shape.table.c[c], Text).label(c) if c in shape.json else shape.table.c[c] for c in columns]
    parts = [shape.table.c[part].label(f"_{part}") for part in shape.natural]
    for keys in chunks(natural):
        query = select(shape.key.label("_key"), *parts, *wanted).where(is_one_of(shape.key, keys))
        for key, *values in connection.execute(query.order_by(shape.table.c.effective_date)).all():
            stored = dict(zip(shape.natural, values[: len(parts)], strict=True))
            if stored != natural[key]:
                raise KeyCollisionError(
                    f"{name}: the natural keys {stored} (stored) and {natural[key]} (to load) have the same durable key {key}. "
                    "Nothing was loaded; rename one of them"
                )
            yield key, decode_row(shape, dict(zip(columns, values[len(parts) :], strict=True)))


def _find_missing(connection: Connection, name: str, members: Members) -> list[Member]:
    there = {key for key, _ in _read_versions(connection, name, {key: m.natural for key, m in members.items()}, ())}
    return [member for key, member in members.items() if key not in there]


def _find_changing(connection: Connection, name: str, news: Mapping[int, NewObservations]) -> list[int]:
    """Find the members whose versions change. Only the columns that are needed are read."""
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
    for key, row in _read_versions(connection, name, natural, (*own, *sorted(told | shown))):
        found.setdefault(key, []).append(row)
    return [key for key, rows in found.items() if _has_changes(shape, rows, news[key])]


def _has_changes(shape: Shape, rows: list[Row], news: NewObservations) -> bool:
    """Whether the versions do not yet say what is told."""
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
    """Whether the version in force at the observation's moment says otherwise, or an earlier one does not know the column."""
    column, slash, entry = name.partition(ENTRY)
    for row in rows:
        is_in_force = row["effective_date"] <= observation.at < row["expiry_date"]
        there = row[column]
        if slash:
            is_unknown, is_like = entry not in (there or {}), is_same((there or {}).get(entry), value)
        else:
            is_unknown, is_like = there is None or there == shape.unset.get(column), is_same(there, value)
        if is_in_force:
            return not is_like
        if is_unknown and _is_open(row, column):
            return True
    return False


def _is_open(row: Row, column: str) -> bool:
    """Whether no merge gave the column of a version as NULL."""
    return row["told"] is not None and column not in row["told"]


def _hash_row(values: Mapping[str, Any]) -> str:
    text_of = json.dumps(values, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.md5(text_of.encode(), usedforsecurity=False).hexdigest()


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
