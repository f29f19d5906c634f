"""Members are told more, and their versions written anew: what :mod:`gpwarehouse.dimensions.versions` makes of all their
observations."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Column, delete, text
from sqlalchemy.engine import Connection

from gpwarehouse.dimensions.histories import (
    RESTORED,
    Provenance,
    Row,
    Shape,
    Shown,
    Stored,
    record,
    row_hash_sql,
    shape_of,
    shown_json,
    stored_histories,
    written_by,
)  # fmt: skip
from gpwarehouse.dimensions.versions import (
    DELETED_HASH,
    Observation,
    alike,
    filled,
    fold,
    is_over,
    known_from,
    latest,
    observations_apart,
    told_in,
)  # fmt: skip
from gpwarehouse.engine import qualified_name
from gpwarehouse.engine.key_lists import chunks, is_one_of
from gpwarehouse.engine.temporary_tables import create_temporary
from gpwarehouse.errors import KeyCollisionError
from gpwarehouse.models import DIMENSIONS, END_OF_TIME
from gpwarehouse.transport.copy_records import copy_records

__all__ = ["Changes", "NewObservations", "rewrite"]

_NEW = "gpw_new_versions"


@dataclass
class NewObservations:
    """What is told of one member now.

    :ivar observations: in the order in which they count.
    :ivar implied: what its natural key implies where nothing is known.
    :ivar shown: column → what facts show, and since when.
    :ivar completes: a source speaks of the member itself, so it is inferred no more.
    :ivar come_first: of one moment, what is stored corrects what is told now.
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
    """What rewriting came to, as :class:`gpwarehouse.dimensions.merge_sql.Counts` has it."""

    begun: int = 0
    new: int = 0
    replaced: int = 0
    completed: int = 0
    deleted: int = 0
    overwritten: int = 0
    changed: int = 0
    """Versions that are not what they were, gaps filled too."""


def rewrite(connection: Connection, name: str, news: Mapping[int, NewObservations], provenance: Provenance) -> Changes:
    """Tell more of members and write their versions anew: one DELETE and one COPY, whatever their number.

    :raises KeyCollisionError: another natural key is stored under one of the durable keys.
    """
    shape, done = shape_of(name), Changes()
    now, user = written_by(connection)
    audit = {"created_at": now, "created_by": user, "updated_at": now, "updated_by": user}
    for some in chunks(news):
        rows: list[Row] = []
        observations: list[Row] = []
        gone: list[int] = []
        for key, stored in stored_histories(connection, name, some):
            _check_natural(name, key, news[key], stored)
            made = _Made(shape, key, news[key], stored, provenance, audit)
            observations += [{"dimension": name, **observation} for observation in made.observations()]
            if made.count(done):
                gone += [key] if stored.rows else []
                rows += made.rows
        if gone:
            connection.execute(delete(shape.table).where(is_one_of(shape.key, gone)))
        _insert(connection, name, rows)
        record(connection, observations)
    return done


def _check_natural(name: str, key: int, news: NewObservations, stored: Stored) -> None:
    for row in stored.rows[:1]:
        natural = {part: row[part] for part in news.natural}
        if natural != news.natural:
            raise KeyCollisionError(
                f"{name}: the natural keys {natural} (stored) and {news.natural} (to load) have the same "
                f"durable key {key}; nothing was loaded, rename one of them"
            )


class _Made:
    """The versions of one member after all that is told of it, as rows."""

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
        self.shown = _shown(stored, news)
        was_inferred = bool(stored.rows) and stored.rows[-1]["is_inferred"]
        self.completes = was_inferred and news.completes
        self.is_inferred = was_inferred and not self.completes
        is_known = bool(stored.rows) or any(observation.kind == "MERGED" for observation in self.all)
        self.versions = fold(self.all, shape.tracked, self._unknown()) if is_known else []
        self.told, self.apart = observations_apart(self.all, self.versions, self.oldest)
        self.type1 = {column: self._type1(column) for column in shape.type1}
        self.places = [bisect_right(stored.starts, version.effective_date) - 1 for version in self.versions]
        self.rows = [self._row(number) for number in range(len(self.versions))]

    def _unknown(self) -> Row:
        """What columns are where no observation tells."""
        stood = (
            filled(self.stored.observations, self.shape.tracked, self.stored.versions[0].values)
            if self.stored.versions
            else {}
        )
        unset = self.shape.unset
        implied = {c: value for c, value in self.news.implied.items() if c not in unset or value != unset[c]}
        return {**implied, **stood, **{column: value for column, (value, _) in self.shown.items()}}

    def _type1(self, column: str) -> Any:
        """What the observation with the latest moment says of a column that is overwritten."""
        observation = latest(self.all, column)
        if observation is not None:
            return observation.told[column]
        return self.stored.rows[-1][column] if self.stored.rows else self.news.implied.get(column)

    def _is_kept(self, number: int) -> bool:
        """Whether a version with the same beginning said the same."""
        version, place = self.versions[number], self.places[number]
        old = self.stored.versions[place] if place >= 0 else None
        return (
            old is not None
            and old.effective_date == version.effective_date
            and old.is_deleted == version.is_deleted
            and all(alike(old.values[c], version.values[c]) for c in self.shape.tracked)
        )

    def _is_told(self, number: int) -> bool:
        """Whether what is told now is what a version begins with."""
        version = self.versions[number]
        if number:
            return any(observation.at == version.effective_date for observation in self.news.observations)
        speak = (
            w.at < version.expiry_date and (w.kind == "LOADED" or w.at == self.oldest) for w in self.news.observations
        )
        return self.completes or any(speak)

    def _row(self, number: int) -> Row:
        """A version's row; who wrote it stays where it goes on, or only had a gap filled."""
        version, place = self.versions[number], self.places[number]
        before = self.stored.rows[place] if place >= 0 else None
        is_new = before is None or before["effective_date"] != version.effective_date
        row: Row = {} if before is None else dict(before)
        if before is None or (self._is_told(number) and not self._is_kept(number)):
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
            "shown": shown_json(self.shown),
            **version.values,
            **{c: value for c, value in self.shape.unset.items() if version.values[c] is None},
        }
        if before is None or not self._is_kept(number) or any(not alike(row[name], before[name]) for name in row):
            row |= {name: self.audit[name] for name in ("updated_at", "updated_by")}
            row["row_hash"] = DELETED_HASH if version.is_deleted else ""
        return row

    def observations(self) -> Iterator[Row]:
        """The observations that stand apart and are not stored as such."""
        there = {(observation.at, observation.kind, frozenset(observation.told)) for observation in self.stored.apart}
        for observation in self.apart:
            mark = (observation.at, observation.kind, frozenset(observation.told))
            if observation.kind != "DELETED" and mark not in there:
                there.add(mark)
                yield self._word(observation.at, observation.kind, sorted(observation.told), observation.batch_id)
        for at in sorted({observation.at for observation in self.all if observation.kind == "DELETED"}):
            count = self.stored.deletions.get(at, 0)
            if is_over(self.all, at):
                yield from (self._word(at, RESTORED, [], self.provenance.batch_id) for _ in range(count))
            elif count == 0:
                yield self._word(at, "DELETED", [], self.provenance.batch_id)

    def _word(self, at: datetime, kind: str, told: list[str], batch_id: str | None) -> Row:
        return {"member_key": self.key, "told_at": at, "kind": kind, "told": told, "batch_id": batch_id}

    def count(self, done: Changes) -> bool:
        """Add what changed to the counts; whether anything is to be written."""
        old = self.stored
        moments = {
            told_in(v, row["known_from"]) or v.effective_date for v, row in zip(old.versions, old.rows, strict=True)
        }
        for number, version in enumerate(self.versions):
            if self._is_kept(number) and not (self.completes and not number):
                continue
            done.changed += 1
            if self._is_told(number):
                done.begun += 1
                at = told_in(version, self.oldest) or version.effective_date
                done.replaced += at in moments or (self.completes and not number)
                done.deleted += version.is_deleted
        done.new += bool(self.versions) and not old.rows
        done.completed += self.completes
        if old.rows and any(not alike(self.type1[c], old.rows[-1][c]) for c in self.shape.type1):
            done.overwritten += len(self.rows)
        return self.rows != old.rows


def _shown(stored: Stored, news: NewObservations) -> Shown:
    """What facts show, of each column what they showed first; of one moment, what was shown before."""
    found = stored.shown
    for column, (value, at) in news.shown.items():
        if column not in found or at < found[column][1]:
            found[column] = (value, at)
    return found


def _insert(connection: Connection, name: str, rows: Sequence[Row]) -> None:
    """Rows with their hash, by way of a table without checks: what the server then refuses is no line of a file."""
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
