"""Stored histories of members: read with all words about them, told more, written anew.

:mod:`gpwarehouse.load.versions` says what words come to; here they are read from a dimension and ``etl_member_word``, and
what they come to is written. Whoever calls keeps others from writing to the dimension until the commit, because the values of
stored words are those of the versions they lie in. Words are only ever added: deleting would lock their table on Greenplum 6.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from itertools import islice
from typing import Any

import pyarrow as pa
from sqlalchemy import Column, Float, MetaData, Table, Text, any_, bindparam, cast, delete, func, select, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.engine import Connection
from sqlalchemy.schema import CreateTable

from gpwarehouse.engine import qualified_name
from gpwarehouse.errors import KeyCollisionError, LoadError
from gpwarehouse.load.target import arrow_type
from gpwarehouse.load.versions import (
    DELETED_HASH,
    ENTRY,
    Version,
    Word,
    alike,
    filled,
    fold,
    is_over,
    known_from,
    latest,
    told_in,
    words_apart,
)  # fmt: skip
from gpwarehouse.models import DIMENSIONS, END_OF_TIME, EtlMemberWord
from gpwarehouse.transport import copy_rows

__all__ = [
    "Changes", "Row", "Shape", "Stored", "Teller", "Telling", "chunks", "copy_members", "decoded", "is_one_of", "lock", "record",
    "rewrite", "row_hash_sql", "shape_of", "shown_json", "stored_histories", "temporary", "written_by",
]  # fmt: skip

CHUNK = 20_000
_FEW = 200
_NEW = "gpw_new_versions"
_RESTORED = "RESTORED"
Row = dict[str, Any]
Shown = dict[str, tuple[Any, datetime]]


@dataclass(frozen=True)
class Teller:
    """Who says what is said of members: the batch, its source, and the time of its first event."""

    batch_id: str | None
    source_system: str | None
    since: datetime | None = None


@dataclass(frozen=True)
class Shape:
    """What there is to know of a dimension, once and not for every member.

    :ivar unset: what stands for "not known" in tracked columns that cannot be NULL: key -1, and false.
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
class Telling:
    """What is told of one member now.

    :ivar words: in the order in which they count. :ivar implied: what its natural key implies where nothing is known.
    :ivar shown: column → what facts show, and since when.
    :ivar completes: a source speaks of the member itself, so it is inferred no more.
    :ivar come_first: of one moment, what is stored corrects what is told now.
    """

    natural: dict[str, str]
    words: list[Word]
    implied: Mapping[str, Any] = field(default_factory=dict)
    shown: Shown = field(default_factory=dict)
    completes: bool = False
    source_id: str | None = None
    come_first: bool = False


@dataclass
class Stored:
    """What is stored of one member: rows of its versions, oldest first, and all words about it.

    :ivar own: the merged words that begin versions; ``apart``: the others, oldest arrival first.
    :ivar deletions: moment → how many deletions of it are not taken back.
    """

    rows: list[Row] = field(default_factory=list)
    versions: list[Version] = field(default_factory=list)
    own: list[Word] = field(default_factory=list)
    apart: list[Word] = field(default_factory=list)
    deletions: dict[datetime, int] = field(default_factory=dict)

    @property
    def words(self) -> list[Word]:
        """All words; of one moment a deletion is the last, for else it was taken back."""
        deleted = [Word(at, "DELETED") for at, count in self.deletions.items() if count > 0]
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


@dataclass
class Changes:
    """What rewriting came to, as :class:`gpwarehouse.dimensions.history.Counts` has it."""

    begun: int = 0
    new: int = 0
    replaced: int = 0
    completed: int = 0
    deleted: int = 0
    overwritten: int = 0
    changed: int = 0
    """Versions that are not what they were, gaps filled too."""


def lock(connection: Connection, name: str, mode: str) -> None:
    """Lock a dimension until the transaction ends."""
    connection.execute(text(f"LOCK TABLE {qualified_name(connection, shape_of(name).table)} IN {mode} MODE"))


def written_by(connection: Connection) -> tuple[datetime, str]:
    """The time of the transaction, and the user."""
    now, user = connection.execute(select(func.now(), func.current_user())).one()
    return now, user


def chunks(keys: Iterable[int]) -> Iterator[list[int]]:
    """Keys in order, so many at a time as a query is asked for."""
    ordered = iter(sorted(keys))
    while chunk := list(islice(ordered, CHUNK)):
        yield chunk


def is_one_of(column: Column[Any], keys: list[int]) -> Any:
    """A condition: few keys are looked up in the index; for many, Greenplum 7 plans 5000 in ANY for seconds, so a join."""
    wanted = bindparam(None, keys, type_=ARRAY(column.type), unique=True)
    return column == any_(wanted) if len(keys) <= _FEW else column.in_(select(func.unnest(wanted)))


def temporary(connection: Connection, name: str, columns: list[Column[Any]], distribution: Any) -> Table:
    """Make a temporary table, gone at the transaction's end."""
    table = Table(
        name,
        MetaData(),
        *columns,
        prefixes=["TEMPORARY"],
        postgresql_on_commit="DROP",
        greenplum_distributed_by=distribution,
    )
    connection.execute(CreateTable(table))
    return table


def row_hash_sql(name: str, quote: Any) -> str:
    """The hash over the tracked columns in SQL. Doubles by their bits: as text, old segments leave the last digits out."""
    shape = shape_of(name)
    parts = [f"float8send({quote(c)})" if isinstance(shape.table.c[c].type, Float) else quote(c) for c in shape.tracked]
    return f"md5(CAST(ROW({', '.join(parts)}) AS text))"


# What is stored.


def stored_histories(connection: Connection, name: str, keys: Iterable[int]) -> Iterator[tuple[int, Stored]]:
    """The versions of members and all words about them, chunk by chunk."""
    shape = shape_of(name)
    columns = [cast(c, Text).label(c.name) if c.name in shape.json else c for c in shape.table.columns]
    for some in chunks(keys):
        found: dict[int, Stored] = {key: Stored() for key in some}
        query = select(*columns).where(is_one_of(shape.key, some)).order_by(shape.table.c.effective_date)
        for row in connection.execute(query).mappings():
            found[row[shape.key.name]].rows.append(decoded(shape, dict(row)))
        for each in found.values():
            _read_versions(shape, each)
        for word in connection.execute(_words_of(name, some)):
            _read_word(found[word.member_key], word)
        yield from found.items()


def _words_of(name: str, keys: list[int]) -> Any:
    word = EtlMemberWord.__table__
    columns = (word.c.member_key, word.c.told_at, word.c.kind, cast(word.c.told, Text).label("told"), word.c.batch_id)
    query = select(*columns).where(word.c.dimension == name, is_one_of(word.c.member_key, keys))
    return query.order_by(word.c.told_at, word.c.written_at)


def decoded(shape: Shape, row: Row) -> Row:
    """A row whose JSON columns were read as text, with their values."""
    for name in shape.json & row.keys():
        row[name] = None if row[name] is None else json.loads(row[name], parse_float=_number)
    return row


def _number(digits: str) -> float | Decimal:
    """A double where it is the number that was written, else all its digits."""
    number = float(digits)
    return number if Decimal(repr(number)) == Decimal(digits) else Decimal(digits)


def _read_versions(shape: Shape, stored: Stored) -> None:
    """Versions, and the merged words that are their own."""
    for row in stored.rows:
        values = {c: None if c in shape.unset and row[c] == shape.unset[c] else row[c] for c in shape.tracked}
        is_deleted = (row["row_hash"] or "").startswith(DELETED_HASH)
        version = Version(row["effective_date"], row["expiry_date"], values, is_deleted)
        stored.versions.append(version)
        at = told_in(version, row["known_from"])
        if at is None or row["told"] == []:
            continue
        told = row["told"]
        if told is None:  # written before it was kept: all columns, but a key that says that nothing is known
            told = [*shape.type1, *(c for c in shape.tracked if values[c] is not None or c not in shape.unset)]
        stored.own.append(_with_values(stored, Word(at, "MERGED", dict.fromkeys(told), row["batch_id"])))


def _read_word(stored: Stored, row: Any) -> None:
    """A word that stands apart; deletions are counted, for a merge of the same moment may have taken one back."""
    if row.kind in ("DELETED", _RESTORED):
        stored.deletions[row.told_at] = stored.deletions.get(row.told_at, 0) + (1 if row.kind == "DELETED" else -1)
        return
    word = Word(row.told_at, row.kind, dict.fromkeys(json.loads(row.told)), row.batch_id)
    stored.apart.append(_with_values(stored, word) if stored.rows else word)


def _with_values(stored: Stored, word: Word) -> Word:
    """A stored word with what it told: what the version in force at its moment holds."""
    place = bisect_right(stored.starts, word.at) - 1
    row, values = stored.rows[place], stored.versions[place].values
    told = {}
    for name in word.told:
        column, slash, entry = name.partition(ENTRY)
        if slash:
            if entry in (values.get(column) or {}):
                told[name] = values[column][entry]
        elif column in row:
            told[name] = values[column] if column in values else row[column]
    return replace(word, told=told)


# What is written.


def rewrite(connection: Connection, name: str, telling: Mapping[int, Telling], teller: Teller) -> Changes:
    """Tell more of members and write their versions anew: one DELETE and one COPY, whatever their number.

    :raises KeyCollisionError: another natural key is stored under one of the durable keys.
    """
    shape, done = shape_of(name), Changes()
    now, user = written_by(connection)
    audit = {"created_at": now, "created_by": user, "updated_at": now, "updated_by": user}
    for some in chunks(telling):
        rows: list[Row] = []
        words: list[Row] = []
        gone: list[int] = []
        for key, stored in stored_histories(connection, name, some):
            _check_natural(name, key, telling[key], stored)
            made = _Made(shape, key, telling[key], stored, teller, audit)
            words += [{"dimension": name, **word} for word in made.words()]
            if made.count(done):
                gone += [key] if stored.rows else []
                rows += made.rows
        if gone:
            connection.execute(delete(shape.table).where(is_one_of(shape.key, gone)))
        _insert(connection, name, rows)
        record(connection, words)
    return done


def _check_natural(name: str, key: int, telling: Telling, stored: Stored) -> None:
    for row in stored.rows[:1]:
        natural = {part: row[part] for part in telling.natural}
        if natural != telling.natural:
            raise KeyCollisionError(
                f"{name}: the natural keys {natural} (stored) and {telling.natural} (to load) have the same "
                f"durable key {key}; nothing was loaded, rename one of them"
            )


class _Made:
    """The versions of one member after all that is told of it, as rows."""

    def __init__(self, shape: Shape, key: int, telling: Telling, stored: Stored, teller: Teller, audit: Row) -> None:
        self.shape, self.key, self.telling, self.stored, self.teller = shape, key, telling, stored, teller
        self.audit = audit
        self.all = [*telling.words, *stored.words] if telling.come_first else [*stored.words, *telling.words]
        self.oldest = known_from(self.all, shape.tracked)
        self.shown = _shown(stored, telling)
        was_inferred = bool(stored.rows) and stored.rows[-1]["is_inferred"]
        self.completes = was_inferred and telling.completes
        self.is_inferred = was_inferred and not self.completes
        is_known = bool(stored.rows) or any(word.kind == "MERGED" for word in self.all)
        self.versions = fold(self.all, shape.tracked, self._unknown()) if is_known else []
        self.told, self.apart = words_apart(self.all, self.versions, self.oldest)
        self.type1 = {column: self._type1(column) for column in shape.type1}
        self.places = [bisect_right(stored.starts, version.effective_date) - 1 for version in self.versions]
        self.rows = [self._row(number) for number in range(len(self.versions))]

    def _unknown(self) -> Row:
        """What columns are where no word tells."""
        stood = (
            filled(self.stored.words, self.shape.tracked, self.stored.versions[0].values)
            if self.stored.versions
            else {}
        )
        unset = self.shape.unset
        implied = {c: value for c, value in self.telling.implied.items() if c not in unset or value != unset[c]}
        return {**implied, **stood, **{column: value for column, (value, _) in self.shown.items()}}

    def _type1(self, column: str) -> Any:
        """What the word with the latest moment says of a column that is overwritten."""
        word = latest(self.all, column)
        if word is not None:
            return word.told[column]
        return self.stored.rows[-1][column] if self.stored.rows else self.telling.implied.get(column)

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
            return any(word.at == version.effective_date for word in self.telling.words)
        speak = (w.at < version.expiry_date and (w.kind == "LOADED" or w.at == self.oldest) for w in self.telling.words)
        return self.completes or any(speak)

    def _row(self, number: int) -> Row:
        """A version's row; who wrote it stays where it goes on, or only had a gap filled."""
        version, place = self.versions[number], self.places[number]
        before = self.stored.rows[place] if place >= 0 else None
        is_new = before is None or before["effective_date"] != version.effective_date
        row: Row = {} if before is None else dict(before)
        if before is None or (self._is_told(number) and not self._is_kept(number)):
            told_by = version.word.batch_id if version.word is not None else None
            row |= {"batch_id": self.teller.batch_id or told_by, "source_system": self.teller.source_system}
            row |= {"source_id": self.telling.source_id} | (self.audit if is_new else {})
        elif is_new and version.word is not None:
            row["batch_id"] = version.word.batch_id or row["batch_id"]
        row |= {
            self.shape.key.name: self.key,
            **self.telling.natural,
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

    def words(self) -> Iterator[Row]:
        """The words that stand apart and are not stored as such."""
        there = {(word.at, word.kind, frozenset(word.told)) for word in self.stored.apart}
        for word in self.apart:
            mark = (word.at, word.kind, frozenset(word.told))
            if word.kind != "DELETED" and mark not in there:
                there.add(mark)
                yield self._word(word.at, word.kind, sorted(word.told), word.batch_id)
        for at in sorted({word.at for word in self.all if word.kind == "DELETED"}):
            count = self.stored.deletions.get(at, 0)
            if is_over(self.all, at):
                yield from (self._word(at, _RESTORED, [], self.teller.batch_id) for _ in range(count))
            elif count == 0:
                yield self._word(at, "DELETED", [], self.teller.batch_id)

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


def _shown(stored: Stored, telling: Telling) -> Shown:
    """What facts show, of each column what they showed first; of one moment, what was shown before."""
    found = stored.shown
    for column, (value, at) in telling.shown.items():
        if column not in found or at < found[column][1]:
            found[column] = (value, at)
    return found


def _iso(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"


def shown_json(shown: Shown) -> dict[str, Any] | None:
    """What facts show as it is stored."""
    return {column: [value, _iso(at)] for column, (value, at) in shown.items()} or None


def record(connection: Connection, words: Sequence[Row]) -> None:
    """Write words that stand apart from versions."""
    table = EtlMemberWord.__table__
    copy_members(connection, table, words, [c.name for c in table.columns if c.name != "written_at"])


def _insert(connection: Connection, name: str, rows: Sequence[Row]) -> None:
    """Rows with their hash, by way of a table without checks: what the server then refuses is no line of a file."""
    if not rows:
        return
    shape, model = shape_of(name), DIMENSIONS[name]
    quote = connection.dialect.identifier_preparer.quote
    stage = temporary(connection, _NEW, [Column(c.name, c.type) for c in shape.table.columns], model.distribution)
    copy_members(connection, stage, rows)
    names = [c.name for c in shape.table.columns]
    row_hash = f"CASE WHEN row_hash = '' THEN {row_hash_sql(name, quote)} ELSE row_hash END"
    values = [row_hash if c == "row_hash" else quote(c) for c in names]
    target = qualified_name(connection, shape.table)
    columns, selected = ", ".join(map(quote, names)), ", ".join(values)
    connection.execute(text(f"INSERT INTO {target} ({columns}) SELECT {selected} FROM {_NEW}"))  # noqa: S608  (quoted names)
    connection.execute(text(f"DROP TABLE {_NEW}"))


def copy_members(connection: Connection, table: Table, rows: Sequence[Row], names: Sequence[str] = ()) -> None:
    """COPY: inserting 50 000 members by statements takes half a minute, and others wait for the lock."""
    if not rows:
        return
    arrays, columns = [], tuple(names or [column.name for column in table.columns])
    for name in columns:
        values, type_ = [row.get(name) for row in rows], table.c[name].type
        if isinstance(type_, JSONB):
            values = [None if v is None else _json(v) for v in values]
        try:
            arrays.append(pa.array(values, arrow_type(type_)))
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            raise LoadError(
                f"{table.name}: what the source tells of column {name!r} does not fit it: {error}"
            ) from None
    copy_rows(connection, table, [pa.RecordBatch.from_arrays(arrays, list(columns))], columns)


def _json(value: Any) -> str:
    """JSON with all digits of a Decimal, which the encoder of Python does not write."""
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{json.dumps(str(name))}:{_json(entry)}' for name, entry in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_json, value))}]"
    return str(value) if isinstance(value, Decimal) else json.dumps(value)
