"""Stored histories of members: their versions, and all observations of them, from a dimension and ``etl_member_observation``.

An observation that is stored apart has no values of its own: they are those of the version in force at its moment
(:mod:`gpwarehouse.dimensions.versions`). So a transaction that reads histories in order to write must keep others from writing to
the dimension until it commits. Observations are only added, never deleted: a DELETE would lock their table on Greenplum 6.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from typing import Any

from sqlalchemy import Column, Float, Table, Text, cast, func, select, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine import Connection

from gpwarehouse.dimensions.versions import (
    DELETED_HASH,
    ENTRY,
    Observation,
    Version,
    moment_of_own,
)  # fmt: skip
from gpwarehouse.engine import qualified_name
from gpwarehouse.engine.key_lists import chunks, is_one_of
from gpwarehouse.models import DIMENSIONS, EtlMemberObservation
from gpwarehouse.transport.copy_records import copy_records

__all__ = [
    "RESTORED",
    "Provenance",
    "Row",
    "Shape",
    "Shown",
    "Stored",
    "decode_row",
    "encode_shown",
    "lock",
    "read_writer",
    "record",
    "row_hash_sql",
    "shape_of",
    "stored_histories",
]  # fmt: skip

RESTORED = "RESTORED"
"""Kind of an observation that revokes a deletion of the same moment."""

Row = dict[str, Any]
Shown = dict[str, tuple[Any, datetime]]


@dataclass(frozen=True)
class Provenance:
    """The origin of observations: the batch, its source, and the time of its first event."""

    batch_id: str | None
    source_system: str | None
    since: datetime | None = None


@dataclass(frozen=True)
class Shape:
    """The columns of a dimension, computed once for all members.

    :ivar unset: values for "not known" in tracked columns that cannot be NULL: key -1, and false.
    :ivar documents: JSON objects to which loads add entries.
    """

    table: Table
    key: Column[Any]
    natural: tuple[str, ...]
    tracked: tuple[str, ...]
    type1: tuple[str, ...]
    unset: Row
    documents: frozenset[str]
    json: frozenset[str]


@cache
def shape_of(name: str) -> Shape:
    """The shape of a dimension."""
    model = DIMENSIONS[name]
    table: Table = model.__table__
    unset = {c.name: -1 if c.name.endswith("_key") else False for c in table.columns if not c.nullable}
    tracked = model.tracked_columns()
    domains = {c: table.c[c].info.get("domain") for c in tracked}
    return Shape(
        table,
        table.c[model.durable_key],
        model.natural_key,
        tracked,
        model.type1,
        {c: unset[c] for c in tracked if c in unset},
        frozenset(c for c, domain in domains.items() if domain is not None and domain.json == "object"),
        frozenset(c.name for c in table.columns if isinstance(c.type, JSONB)),
    )


@dataclass
class Stored:
    """What is stored of one member: rows of its versions, oldest first, and all observations of it.

    :ivar own: the merged observations with which versions begin.
    :ivar apart: the other observations, in order of arrival.
    :ivar deletions: moment → number of deletions of that moment that are not revoked.
    """

    rows: list[Row] = field(default_factory=list)
    versions: list[Version] = field(default_factory=list)
    own: list[Observation] = field(default_factory=list)
    apart: list[Observation] = field(default_factory=list)
    deletions: dict[datetime, int] = field(default_factory=dict)

    @property
    def observations(self) -> list[Observation]:
        """All observations. A deletion is the last of its moment, because otherwise it was revoked."""
        deleted = [Observation(at, "DELETED") for at, count in self.deletions.items() if count > 0]
        return [*self.own, *self.apart, *deleted]

    @property
    def shown(self) -> Shown:
        """What facts show, and since when."""
        shown = (self.rows[-1]["shown"] if self.rows else None) or {}
        return {column: (value, datetime.fromisoformat(at)) for column, (value, at) in shown.items()}

    @property
    def starts(self) -> list[datetime]:
        """The beginnings of the versions."""
        return [version.effective_date for version in self.versions]


def lock(connection: Connection, name: str, mode: str) -> None:
    """Lock a dimension until the transaction ends."""
    connection.execute(text(f"LOCK TABLE {qualified_name(connection, shape_of(name).table)} IN {mode} MODE"))


def read_writer(connection: Connection) -> tuple[datetime, str]:
    """Read the time of the transaction, and the user."""
    now, user = connection.execute(select(func.now(), func.current_user())).one()
    return now, user


def row_hash_sql(name: str, quote: Any) -> str:
    """SQL for the hash of the tracked columns. Doubles are hashed by their bits: old segments print fewer digits."""
    shape = shape_of(name)
    parts = [f"float8send({quote(c)})" if isinstance(shape.table.c[c].type, Float) else quote(c) for c in shape.tracked]
    return f"md5(CAST(ROW({', '.join(parts)}) AS text))"


# Reading what is stored.


def stored_histories(connection: Connection, name: str, keys: Iterable[int]) -> Iterator[tuple[int, Stored]]:
    """Read the versions of members and all observations of them, chunk by chunk."""
    shape = shape_of(name)
    columns = [cast(c, Text).label(c.name) if c.name in shape.json else c for c in shape.table.columns]
    for some in chunks(keys):
        found: dict[int, Stored] = {key: Stored() for key in some}
        query = select(*columns).where(is_one_of(shape.key, some)).order_by(shape.table.c.effective_date)
        for row in connection.execute(query).mappings():
            found[row[shape.key.name]].rows.append(decode_row(shape, dict(row)))
        for each in found.values():
            _read_versions(shape, each)
        for observation in connection.execute(_query_observations(name, some)):
            _read_observation(found[observation.member_key], observation)
        yield from found.items()


def _query_observations(name: str, keys: list[int]) -> Any:
    observation = EtlMemberObservation.__table__
    columns = (
        observation.c.member_key,
        observation.c.told_at,
        observation.c.kind,
        cast(observation.c.told, Text).label("told"),
        observation.c.batch_id,
    )
    query = select(*columns).where(observation.c.dimension == name, is_one_of(observation.c.member_key, keys))
    return query.order_by(observation.c.told_at, observation.c.written_at)


def decode_row(shape: Shape, row: Row) -> Row:
    """Decode the JSON columns of a row that were read as text."""
    for name in shape.json & row.keys():
        row[name] = None if row[name] is None else json.loads(row[name], parse_float=_parse_number)
    return row


def _parse_number(digits: str) -> float | Decimal:
    """Read digits as a double if it is exactly that number, else as a Decimal with all digits."""
    number = float(digits)
    return number if Decimal(repr(number)) == Decimal(digits) else Decimal(digits)


def _read_versions(shape: Shape, stored: Stored) -> None:
    """Read versions and their own merged observations. A row written by another program is taken to give all its columns."""
    for row in stored.rows:
        values = {c: None if c in shape.unset and row[c] == shape.unset[c] else row[c] for c in shape.tracked}
        is_deleted = row["row_hash"] == DELETED_HASH
        version = Version(row["effective_date"], row["expiry_date"], values, is_deleted)
        stored.versions.append(version)
        if row["known_from"] is None and row["told"] is None and not row["is_inferred"]:
            row["known_from"] = stored.starts[0]
        at = moment_of_own(version, row["known_from"])
        if at is None or row["told"] == []:
            continue
        told = row["told"]
        if (
            told is None
        ):  # written before ``told`` was kept: all columns were given, except a key that means "not known"
            told = [*shape.type1, *(c for c in shape.tracked if values[c] is not None or c not in shape.unset)]
        stored.own.append(_fill_values(stored, Observation(at, "MERGED", dict.fromkeys(told), row["batch_id"])))


def _read_observation(stored: Stored, row: Any) -> None:
    """Read an observation that is stored apart. Deletions are counted, because a merge of the same moment may revoke one."""
    if row.kind in ("DELETED", RESTORED):
        stored.deletions[row.told_at] = stored.deletions.get(row.told_at, 0) + (1 if row.kind == "DELETED" else -1)
        return
    observation = Observation(row.told_at, row.kind, dict.fromkeys(json.loads(row.told)), row.batch_id)
    stored.apart.append(_fill_values(stored, observation) if stored.rows else observation)


def _fill_values(stored: Stored, observation: Observation) -> Observation:
    """Fill in the values of a stored observation: those of the version in force at its moment."""
    place = bisect_right(stored.starts, observation.at) - 1
    row, values = stored.rows[place], stored.versions[place].values
    told = {}
    for name in observation.told:
        column, slash, entry = name.partition(ENTRY)
        if slash:
            if entry in (values.get(column) or {}):
                told[name] = values[column][entry]
        elif column in row:
            told[name] = values[column] if column in values else row[column]
    return replace(observation, told=told)


def _format_time(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"


def encode_shown(shown: Shown) -> dict[str, Any] | None:
    """Encode what facts show, as it is stored."""
    return {column: [value, _format_time(at)] for column, (value, at) in shown.items()} or None


def record(connection: Connection, observations: Sequence[Row]) -> None:
    """Insert observations that are stored apart from versions."""
    table = EtlMemberObservation.__table__
    copy_records(connection, table, observations, [c.name for c in table.columns if c.name != "written_at"])
