"""Add observations of members, and write their versions again as :mod:`gpwarehouse.dimensions.versions` defines them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Column, delete, text
from sqlalchemy.engine import Connection

from gpwarehouse.derived import refresh_step_limits
from gpwarehouse.dimensions.histories import (
    RESTORED,
    Provenance,
    Row,
    Shape,
    Shown,
    Stored,
    encode_shown,
    read_writer,
    record,
    row_hash_sql,
    shape_of,
    stored_histories,
)  # fmt: skip
from gpwarehouse.dimensions.versions import (
    DELETED_HASH,
    Observation,
    filled,
    fold,
    is_revoked,
    is_same,
    known_from,
    latest,
    moment_of_own,
    split_observations,
)  # fmt: skip
from gpwarehouse.engine import qualified_name
from gpwarehouse.engine.key_lists import chunks, is_one_of
from gpwarehouse.engine.temporary_tables import create_temporary
from gpwarehouse.errors import KeyCollisionError
from gpwarehouse.models import DIMENSIONS, END_OF_TIME, DimProcessStep
from gpwarehouse.transport.copy_records import copy_records

__all__ = ["Changes", "NewObservations", "rewrite"]

_NEW = "gpw_new_versions"


@dataclass
class NewObservations:
    """New observations of one member.

    :ivar observations: in order of arrival.
    :ivar implied: column → value that follows from the natural key, for columns without observations.
    :ivar shown: column → what facts show, and since when.
    :ivar completes: whether a source gives attributes of the member, so that it is no longer inferred.
    :ivar come_first: whether these observations count as older than stored ones of the same moment.
    """

    natural: dict[str, str]
    observations: list[Observation]
    implied: Mapping[str, Any] = field(default_factory=dict)
    shown: Shown = field(default_factory=dict)
    completes: bool = False
    source_id: str | None = None
    come_first: bool = False


@dataclass
class Changes:
    """Counts of what was written."""

    begun: int = 0
    new: int = 0
    replaced: int = 0
    completed: int = 0
    deleted: int = 0
    overwritten: int = 0
    changed: int = 0
    """Versions that differ from before, including those with a filled gap."""


def rewrite(connection: Connection, name: str, news: Mapping[int, NewObservations], provenance: Provenance) -> Changes:
    """Add observations of members and write their versions again, by one DELETE and one COPY for a chunk of members.

    :raises KeyCollisionError: another natural key is stored under one of the durable keys.
    """
    shape, done = shape_of(name), Changes()
    now, user = read_writer(connection)
    audit = {"created_at": now, "created_by": user, "updated_at": now, "updated_by": user}
    for some in chunks(news):
        rows: list[Row] = []
        observations: list[Row] = []
        gone: list[int] = []
        for key, stored in stored_histories(connection, name, some):
            _check_natural(name, key, news[key], stored)
            made = _NewVersions(shape, key, news[key], stored, provenance, audit)
            observations += [{"dimension": name, **observation} for observation in made.observations()]
            if made.count(done):
                gone += [key] if stored.rows else []
                rows += made.rows
        if gone:
            connection.execute(delete(shape.table).where(is_one_of(shape.key, gone)))
        _insert(connection, name, rows)
        record(connection, observations)
        if name == DimProcessStep.__tablename__:
            refresh_step_limits(connection, {*gone, *(row[shape.key.name] for row in rows)})
    return done


def _check_natural(name: str, key: int, news: NewObservations, stored: Stored) -> None:
    for row in stored.rows[:1]:
        natural = {part: row[part] for part in news.natural}
        if natural != news.natural:
            raise KeyCollisionError(
                f"{name}: the natural keys {natural} (stored) and {news.natural} (to load) have the same durable key {key}. "
                "Nothing was loaded; rename one of them"
            )


class _NewVersions:
    """The versions of one member, as rows, after all its observations."""

    def __init__(
        self, shape: Shape, key: int, news: NewObservations, stored: Stored, provenance: Provenance, audit: Row
    ) -> None:
        self.shape, self.key, self.news, self.stored, self.provenance = shape, key, news, stored, provenance
        self.audit = audit
        self.all = (
            [*news.observations, *stored.observations]
            if news.come_first
            else [*stored.observations, *news.observations]
        )
        self.oldest = known_from(self.all, shape.tracked)
        self.shown = _join_shown(stored, news)
        was_inferred = bool(stored.rows) and stored.rows[-1]["is_inferred"]
        self.completes = was_inferred and news.completes
        self.is_inferred = was_inferred and not self.completes
        is_known = bool(stored.rows) or any(observation.kind == "MERGED" for observation in self.all)
        self.versions = fold(self.all, shape.tracked, self._initial_values()) if is_known else []
        self.told, self.apart = split_observations(self.all, self.versions, self.oldest)
        self.type1 = {column: self._read_type1(column) for column in shape.type1}
        self.places = [bisect_right(stored.starts, version.effective_date) - 1 for version in self.versions]
        self.rows = [self._make_row(number) for number in range(len(self.versions))]

    def _initial_values(self) -> Row:
        """The values of columns before any observation of them."""
        stood = (
            filled(self.stored.observations, self.shape.tracked, self.stored.versions[0].values)
            if self.stored.versions
            else {}
        )
        unset = self.shape.unset
        implied = {c: value for c, value in self.news.implied.items() if c not in unset or value != unset[c]}
        return {**implied, **stood, **{column: value for column, (value, _) in self.shown.items()}}

    def _read_type1(self, column: str) -> Any:
        """The value of a type 1 column: that of the observation with the latest moment."""
        observation = latest(self.all, column)
        if observation is not None:
            return observation.told[column]
        return self.stored.rows[-1][column] if self.stored.rows else self.news.implied.get(column)

    def _is_kept(self, number: int) -> bool:
        """Whether a stored version with the same beginning is equal."""
        version, place = self.versions[number], self.places[number]
        old = self.stored.versions[place] if place >= 0 else None
        return (
            old is not None
            and old.effective_date == version.effective_date
            and old.is_deleted == version.is_deleted
            and all(is_same(old.values[c], version.values[c]) for c in self.shape.tracked)
        )

    def _is_new(self, number: int) -> bool:
        """Whether a version begins with one of the new observations."""
        version = self.versions[number]
        if number:
            return any(observation.at == version.effective_date for observation in self.news.observations)
        speak = (
            w.at < version.expiry_date and (w.kind == "LOADED" or w.at == self.oldest) for w in self.news.observations
        )
        return self.completes or any(speak)

    def _make_row(self, number: int) -> Row:
        """Make a version's row. Its batch stays if the version continues, or only had a gap filled."""
        version, place = self.versions[number], self.places[number]
        before = self.stored.rows[place] if place >= 0 else None
        is_new = before is None or before["effective_date"] != version.effective_date
        row: Row = {} if before is None else dict(before)
        if before is None or (self._is_new(number) and not self._is_kept(number)):
            told_by = version.observation.batch_id if version.observation is not None else None
            row |= {"batch_id": self.provenance.batch_id or told_by, "source_system": self.provenance.source_system}
            row |= {"source_id": self.news.source_id} | (self.audit if is_new else {})
        elif is_new and version.observation is not None:
            row["batch_id"] = version.observation.batch_id or row["batch_id"]
        row |= {
            self.shape.key.name: self.key,
            **self.news.natural,
            **self.type1,
            "effective_date": version.effective_date,
            "expiry_date": version.expiry_date,
            "is_current": version.expiry_date == END_OF_TIME,
            "is_inferred": self.is_inferred,
            "known_from": self.oldest,
            "told": self.told[number],
            "shown": encode_shown(self.shown),
            **version.values,
            **{c: value for c, value in self.shape.unset.items() if version.values[c] is None},
        }
        if before is None or not self._is_kept(number) or any(not is_same(row[name], before[name]) for name in row):
            row |= {name: self.audit[name] for name in ("updated_at", "updated_by")}
            row["row_hash"] = DELETED_HASH if version.is_deleted else ""
        return row

    def observations(self) -> Iterator[Row]:
        """Yield the observations that stand apart and are not stored yet."""
        there = {(observation.at, observation.kind, frozenset(observation.told)) for observation in self.stored.apart}
        for observation in self.apart:
            mark = (observation.at, observation.kind, frozenset(observation.told))
            if observation.kind != "DELETED" and mark not in there:
                there.add(mark)
                yield self._make_observation(
                    observation.at, observation.kind, sorted(observation.told), observation.batch_id
                )
        for at in sorted({observation.at for observation in self.all if observation.kind == "DELETED"}):
            count = self.stored.deletions.get(at, 0)
            if is_revoked(self.all, at):
                yield from (self._make_observation(at, RESTORED, [], self.provenance.batch_id) for _ in range(count))
            elif count == 0:
                yield self._make_observation(at, "DELETED", [], self.provenance.batch_id)

    def _make_observation(self, at: datetime, kind: str, told: list[str], batch_id: str | None) -> Row:
        return {"member_key": self.key, "told_at": at, "kind": kind, "told": told, "batch_id": batch_id}

    def count(self, done: Changes) -> bool:
        """Add the changes to the counts; return whether anything is to be written."""
        old = self.stored
        moments = {
            moment_of_own(v, row["known_from"]) or v.effective_date
            for v, row in zip(old.versions, old.rows, strict=True)
        }
        for number, version in enumerate(self.versions):
            if self._is_kept(number) and not (self.completes and not number):
                continue
            done.changed += 1
            if self._is_new(number):
                done.begun += 1
                at = moment_of_own(version, self.oldest) or version.effective_date
                done.replaced += at in moments or (self.completes and not number)
                done.deleted += version.is_deleted
        done.new += bool(self.versions) and not old.rows
        done.completed += self.completes
        if old.rows and any(not is_same(self.type1[c], old.rows[-1][c]) for c in self.shape.type1):
            done.overwritten += len(self.rows)
        return self.rows != old.rows


def _join_shown(stored: Stored, news: NewObservations) -> Shown:
    """What facts show: for each column the earliest value; of the same moment, the stored one."""
    found = stored.shown
    for column, (value, at) in news.shown.items():
        if column not in found or at < found[column][1]:
            found[column] = (value, at)
    return found


def _insert(connection: Connection, name: str, rows: Sequence[Row]) -> None:
    """Insert rows with their hash, by a table without constraints: a refusal by the server then names no COPY line."""
    if not rows:
        return
    shape, model = shape_of(name), DIMENSIONS[name]
    quote = connection.dialect.identifier_preparer.quote
    stage = create_temporary(
        connection, _NEW, [Column(c.name, c.type) for c in shape.table.columns], model.distribution
    )
    copy_records(connection, stage, rows)
    names = [c.name for c in shape.table.columns]
    row_hash = f"CASE WHEN row_hash = '' THEN {row_hash_sql(name, quote)} ELSE row_hash END"
    values = [row_hash if c == "row_hash" else quote(c) for c in names]
    target = qualified_name(connection, shape.table)
    columns, selected = ", ".join(map(quote, names)), ", ".join(values)
    connection.execute(text(f"INSERT INTO {target} ({columns}) SELECT {selected} FROM {_NEW}"))
    connection.execute(text(f"DROP TABLE {_NEW}"))
