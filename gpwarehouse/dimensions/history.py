"""The SQL of a merge: staged rows → versions, in sets, the same on every server.

A staged row says what its member is like from a moment on. Each falls into the version that is stored for that moment, and
rows that fall into one version are worked out together, apart from all others:

- A row that says what is in force anyway leaves nothing. So what is not kept is that something was said again: A, then A
  again, then late in between B, gives B until the next version.
- A row at the moment at which a version begins takes that version's place; of rows at one moment the last one counts.
- Else a row splits: the version before it ends where it begins, and it lasts until the next one begins.
- Nothing is known of a member before the first row about it, so that row is taken to hold from 1900 on. The moment it
  spoke of is kept behind the ``row_hash``; where a row comes late that is older, it takes over what lies before that
  moment. Versions that the loads wrote have it as the first event of their batch.
- An inferred version holds nothing against a row: the first one that falls into it takes its place, from its beginning.
- A deleted member keeps its attributes, in a version from the deletion on with :data:`DELETED_HASH` for its hash: exactly
  one row is current, and facts that come late still find their member. Any row about it brings it back. A deletion of
  what nothing is known of yet is left out.

Columns that a row does not name are, in a new version, what they are in the version it falls into.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, Connection, MetaData, Table, Text, text
from sqlalchemy.schema import CreateTable

from gpwarehouse.dimensions.members import AT, DELETED, IMPLIED
from gpwarehouse.dimensions.reading import ROW
from gpwarehouse.engine import dialect_of, qualified_name
from gpwarehouse.load.given import GIVEN, Given, marker
from gpwarehouse.load.versions import DELETED_HASH
from gpwarehouse.models import BEGINNING, END_OF_TIME, EtlLoadBatch
from gpwarehouse.models.base import TimestampTZ

__all__ = ["Counts", "History", "temporary"]

_FIRST, _LAST = f"'{BEGINNING:%Y-%m-%d} 00:00:00+00'::timestamptz", f"'{END_OF_TIME:%Y-%m-%d} 00:00:00+00'::timestamptz"
WORK_MEMORY = "128MB"

_BEFORE = "_before_"
_STAGE, _WORDS, _VERSIONS = "gpw_merge_stage", "gpw_merge_words", "gpw_merge_versions"


@dataclass(frozen=True)
class Counts:
    """What the staged rows come to.

    :ivar begun: versions written, those of ``new`` members too; ``replaced``: of them, those in the place of one that was
        there, ``completed`` ones in that of an inferred one; ``deleted``: of them, those that say a member is deleted.
    """

    begun: int
    new: int
    replaced: int
    completed: int
    deleted: int
    collisions: int


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


class History:
    """The statements for one dimension and the rows about it, in the transaction of ``connection``.

    :param staged: the columns of those rows; ``repeats``: whether a member may come more than once.
    :param given: which of them each row gives; all, if it is left out.
    """

    def __init__(
        self,
        connection: Connection,
        model: type[Any],
        staged: Collection[str],
        *,
        repeats: bool,
        given: Given | None = None,
    ) -> None:
        self.connection = connection
        self.model = model
        self.repeats = repeats
        self.has_deletes = DELETED in staged
        self.quote = connection.dialect.identifier_preparer.quote
        table: Table = model.__table__
        self.dimension = qualified_name(connection, table)
        self.key = self.quote(model.durable_key)
        self.natural = [self.quote(part) for part in model.natural_key]
        self.tracked = model.tracked_columns()
        self.staged = staged
        self.varies = given.not_every if given is not None else frozenset()
        self.told = [name for name in self.tracked if name in staged]
        self.versions = ""
        self.type1 = [name for name in model.type1 if name in staged]

    def stage(self) -> Table:
        """Make the table for the rows of the frame, spread as the dimension is."""
        own: dict[str, Column[Any]] = {
            AT: Column(AT, TimestampTZ, nullable=False),
            ROW: Column(ROW, BigInteger, nullable=False),
            DELETED: Column(DELETED, Boolean, nullable=False),
            GIVEN: Column(GIVEN, Text, nullable=False),
        }
        table: Table = self.model.__table__
        columns: list[Column[Any]] = [
            own[name] if name in own else Column(name, table.c[name.removeprefix(IMPLIED)].type) for name in self.staged
        ]
        return temporary(self.connection, _STAGE, columns, self.model.distribution)

    def lock(self) -> None:
        """Keep all others from writing to the dimension. Not a weaker mode: Greenplum would raise it for an UPDATE."""
        self.connection.execute(text(f"LOCK TABLE {self.dimension} IN EXCLUSIVE MODE"))

    def work_out(self) -> Counts:
        """Find what the staged rows change, into a table of versions to be written.

        Statistics of the key alone: what joins need.
        """
        self.connection.execute(text(f"ANALYZE {_STAGE} ({self.key}, {AT})"))
        dialect = dialect_of(self.connection)
        assert dialect.capabilities is not None
        spread = ""
        if not dialect.capabilities.distribution:
            # The staged rows are hashed: at the default of 4 MB they would go to disk. Greenplum has queues for it.
            self.connection.execute(text(f"SELECT set_config('work_mem', '{WORK_MEMORY}', true)"))
        else:
            compiler: Any = dialect.ddl_compiler(dialect, None)  # type: ignore[arg-type]
            spread = f" {compiler.distributed_clause(self.model.distribution)}"
        make = "CREATE TEMPORARY TABLE {} ON COMMIT DROP AS {}{}"
        self.connection.execute(text(make.format(_WORDS, self._words(), spread)))
        self.versions = f"({self._versions(self._pieces() if self.repeats else self._placed())})"
        if self.repeats:  # worked out once; without repetitions there is little to it
            self.connection.execute(text(make.format(_VERSIONS, self.versions, spread)))
            self.versions = _VERSIONS
        row = self.connection.execute(
            text(
                "SELECT count(*), sum(CASE WHEN v_from IS NULL AND first THEN 1 ELSE 0 END), "
                "sum(CASE WHEN takes THEN 1 ELSE 0 END), sum(CASE WHEN takes AND v_inferred THEN 1 ELSE 0 END), "
                "sum(CASE WHEN deletes THEN 1 ELSE 0 END), sum(CASE WHEN collides THEN 1 ELSE 0 END) "
                f"FROM {self.versions} w"
            )
        ).one()
        return Counts(*(int(value or 0) for value in row))

    def collision(self) -> Any:
        """One of the rows whose natural key is not the one stored under its durable key."""
        names = ", ".join([self.key, *self.natural])
        return (
            self.connection.execute(text(f"SELECT {names} FROM {self.versions} w WHERE collides LIMIT 1"))
            .one()
            ._mapping
        )

    # What is found, in three steps: rows beside their versions; of rows that repeat, what each adds; versions.

    def _words(self) -> str:
        """Staged rows that change something (all of them, where members repeat), each beside the version it falls into."""
        q = self.quote
        deletes = f"s.{DELETED}" if self.has_deletes else "false"
        differs = f"(({self._differs()}) IS TRUE OR v.is_inferred OR v.effective_date IS NULL)"
        is_deleted = f"(substr(v.row_hash, 1, 32) = '{DELETED_HASH}') IS TRUE"
        differs = f"CASE WHEN {deletes} THEN NOT {is_deleted} ELSE {differs} OR {is_deleted} END"
        collides = " OR ".join(f"v.{part} <> s.{part}" for part in self.natural)
        columns = [f"s.{self.key}", *(f"s.{part}" for part in self.natural), f"s.{AT}", f"s.{ROW}"]
        columns += [f"{self._value(name)} AS {q(name)}" for name in (*self.tracked, *self.model.type1)]
        columns += ["s.source_id" if "source_id" in self.staged else "CAST(NULL AS text) AS source_id"]
        columns += ["v.effective_date AS v_from", "v.expiry_date AS v_to", "v.created_at", "v.created_by"]
        columns += [
            "v.is_inferred IS TRUE AS v_inferred",
            f"{deletes} AS deletes",
            f"{differs} AS differs",
            f"({collides}) IS TRUE AS collides",
        ]
        join = (
            f"FROM {_STAGE} s LEFT JOIN {self.dimension} v ON v.{self.key} = s.{self.key} "
            f"AND v.effective_date <= s.{AT} AND s.{AT} < v.expiry_date"
        )
        where = [] if self.repeats else [f"({differs} OR ({collides}) IS TRUE)"]
        names = ", ".join(column.rpartition(" AS ")[2].removeprefix("s.").removeprefix("v.") for column in columns)
        columns += ["v.batch_id AS v_batch", "v.row_hash AS v_hash"]
        found = f"SELECT {', '.join(columns)} {join}" + (f" WHERE {' AND '.join(where)}" if where else "")
        batch = qualified_name(self.connection, EtlLoadBatch.__table__)
        # Since when a version is known, where that is later than it begins.
        known = (
            "CASE WHEN w.v_inferred THEN NULL WHEN length(w.v_hash) > 32 "
            "THEN CAST(substr(w.v_hash, 34) AS timestamptz) ELSE b.min_event_ts END"
        )
        return (
            f"SELECT {names}, {known} AS known FROM ({found}) w LEFT JOIN {batch} b ON b.batch_id = w.v_batch "
            "AND b.status = 'LOADED' AND b.min_event_ts > w.v_from AND b.min_event_ts < w.v_to"
        )

    def _placed(self) -> str:
        """Whether a row is older than what is known, and whether it may hold from the beginning of what it falls into."""
        early = f"({AT} < known AND known < v_to) IS TRUE"
        placed = f"SELECT *, {early} AS early, v_from IS NULL OR v_inferred OR {early} AS open FROM {_WORDS}"
        if self.repeats or not self.has_deletes:
            return placed
        return f"SELECT * FROM ({placed}) w WHERE NOT (deletes AND (v_from IS NULL OR early))"

    def _is_given(self, name: str) -> str:
        """Whether a staged row gives a column; empty where all do."""
        return f"strpos(s.{GIVEN}, '{marker(name)}') > 0" if name in self.varies else ""

    def _differs(self) -> str:
        found = []
        for name in self.told:
            differs = "s.{0} IS DISTINCT FROM v.{0}".format(self.quote(name))
            found.append(f"({self._is_given(name)} AND {differs})" if name in self.varies else differs)
        return " OR ".join(found) or "false"

    def _value(self, name: str) -> str:
        """What a column is in a version that begins with a staged row."""
        q, column = self.quote(name), self.model.__table__.c[name]
        unset = None
        if not column.nullable:
            unset = "-1" if name.endswith("_key") else "false"
        given = f"CASE WHEN s.{DELETED} THEN v.{q} ELSE s.{q} END" if self.has_deletes else f"s.{q}"
        if name in self.staged and name not in self.varies:
            return given
        values = [f"NULLIF(v.{q}, -1)" if unset == "-1" else f"v.{q}"]
        values += [f"s.{self.quote(IMPLIED + name)}"] if IMPLIED + name in self.staged else []
        kept = (
            f"COALESCE({', '.join([*values, *([unset] if unset else [])])})" if len(values) > 1 or unset else values[0]
        )
        return f"CASE WHEN {self._is_given(name)} THEN {given} ELSE {kept} END" if name in self.staged else kept

    _PIECE = "v_from, early"

    def _window(self, order: str = f"{AT}, {ROW}") -> str:
        return f"(PARTITION BY {self.key}, {self._PIECE}{f' ORDER BY {order}' if order else ''})"

    def _pieces(self) -> str:
        """Of rows that fall into one version: the last one of each moment, less those that say what the one before says."""
        over = self._window()
        texts = ", ".join(self.quote(name) for name in self.told)
        content = f"md5(CAST(ROW({texts}) AS text))" if texts else "''"
        natural = f"({' || chr(31) || '.join(self.natural)})"  # brackets: before PostgreSQL 9.5 <> binds as || does
        last = (
            f"SELECT *, CASE WHEN deletes THEN '' ELSE {content} END AS content, "
            f"(lead({AT}) OVER {over} = {AT}) IS TRUE AS superseded, "
            f"(lag({natural}) OVER (PARTITION BY {self.key} ORDER BY {AT}, {ROW}) <> {natural}) IS TRUE AS other "
            f"FROM ({self._placed()}) w"
        )
        last = f"SELECT * FROM ({last}) w WHERE NOT superseded OR other"
        if self.has_deletes:
            last = f"SELECT *, sum(CASE WHEN deletes THEN 0 ELSE 1 END) OVER {over} AS told FROM ({last}) w"
            last = f"SELECT * FROM ({last}) w WHERE told > 0 OR v_inferred OR NOT open"
        lags = ["lag(content) OVER {0} AS before"]
        if self.has_deletes:
            lags += [f"lag({self.quote(name)}) OVER {{0}} AS {self.quote(_BEFORE + name)}" for name in self.told]
        beside = (
            f"SELECT *, {', '.join(lags).format(over)}, bool_or(differs) OVER {self._window('')} AS any_differs "
            f"FROM ({last}) w"
        )
        adds = "CASE WHEN before IS NULL THEN differs OR (early AND any_differs) ELSE content <> before END"
        columns = [self._carried(name) for name in self.tracked]
        rest = [self.key, *self.natural, AT, ROW, *(self.quote(name) for name in self.model.type1)]
        rest += ["source_id", "v_from", "v_to", "created_at", "created_by", "v_inferred", "deletes"]
        rest += ["collides OR other AS collides", "known", "early", "open"]
        return f"SELECT {', '.join([*rest, *columns])} FROM ({beside}) w WHERE {adds} OR collides OR other"

    def _carried(self, name: str) -> str:
        """A deletion keeps what the row before it said."""
        q = self.quote(name)
        if not self.has_deletes or name not in self.told:
            return q
        return f"CASE WHEN deletes AND before IS NOT NULL THEN {self.quote(_BEFORE + name)} ELSE {q} END AS {q}"

    def _versions(self, words: str) -> str:
        """The versions to be written: from when, to when, and what becomes of those they fall into."""
        if self.repeats:
            over = self._window()
            first, later = f"row_number() OVER {over} = 1", f"lead({AT}) OVER {over}"
            both = f"bool_or(early) OVER (PARTITION BY {self.key}, v_from)"
        else:
            first, later, both = "true", "CAST(NULL AS timestamptz)", "early"
        hi = f"CASE WHEN v_from IS NULL THEN {_LAST} WHEN early THEN known ELSE v_to END"
        ordered = f"SELECT *, {first} AS first, COALESCE({later}, {hi}) AS stop, {both} AS moves FROM ({words}) w"
        true_start = "CASE WHEN known > v_from AND known < v_to THEN known ELSE v_from END"
        takes = (
            "first AND v_from IS NOT NULL AND NOT early AND "
            f"((v_inferred AND NOT deletes) OR {AT} = CASE WHEN v_inferred THEN v_from ELSE {true_start} END)"
        )
        start = (
            f"CASE WHEN NOT first THEN {AT} WHEN v_from IS NULL THEN {_FIRST} WHEN early THEN v_from "
            f"WHEN {takes} AND NOT moves THEN v_from ELSE {AT} END"
        )
        return f"SELECT *, {takes} AS takes, {start} AS start FROM ({ordered}) w"

    # What is written.

    def write(self, counts: Counts, *, batch_id: str | None, source_system: str | None) -> None:
        """End, move or remove the versions that give way, then insert those that begin."""
        if counts.begun:
            if counts.replaced:
                self._remove()
            self._cut()
            self._insert(batch_id, source_system)

    def _remove(self) -> None:
        self.connection.execute(
            text(
                f"DELETE FROM {self.dimension} d USING {self.versions} w "
                f"WHERE w.takes AND d.{self.key} = w.{self.key} AND d.effective_date = w.v_from"
            )
        )

    def _cut(self) -> None:
        """Versions end where the first row in them begins, and begin where they are known from if an older one came."""
        cuts = (
            f"SELECT {self.key} AS k, v_from, CASE WHEN early THEN known ELSE v_from END AS lo, "
            f"CASE WHEN early THEN v_to ELSE start END AS hi FROM {self.versions} w WHERE v_from IS NOT NULL"
        )
        if self.repeats:
            cuts = f"SELECT k, v_from, max(lo) AS lo, min(hi) AS hi FROM ({cuts}) c GROUP BY k, v_from"
        self.connection.execute(
            text(
                f"UPDATE {self.dimension} d SET effective_date = c.lo, expiry_date = c.hi, is_current = (c.hi = {_LAST}), "
                f'updated_at = now(), updated_by = "current_user"() FROM ({cuts}) c '
                f"WHERE d.{self.key} = c.k AND d.effective_date = c.v_from AND c.lo < c.hi"
            )
        )

    def _insert(self, batch_id: str | None, source_system: str | None) -> None:
        tracked = [self.quote(name) for name in self.tracked]
        moment = f"to_char({AT} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"
        known = f"CASE WHEN start < {AT} THEN '@' || {moment} ELSE '' END"
        row_hash = f"md5(CAST(ROW({', '.join(tracked)}) AS text))"
        if self.has_deletes:
            row_hash = f"CASE WHEN deletes THEN '{DELETED_HASH}' ELSE {row_hash} END"
        values = {name: name for name in [self.key, *self.natural, *tracked]}
        values |= {self.quote(name): self.quote(name) for name in self.model.type1}
        values |= {
            "effective_date": "start",
            "expiry_date": "stop",
            "is_current": f"stop = {_LAST}",
            "is_inferred": "false",
            "row_hash": f"{row_hash} || {known}",
            "source_system": "CAST(:source_system AS text)",
            "source_id": "source_id",
            "batch_id": "CAST(:batch_id AS text)",
            "created_at": "CASE WHEN takes THEN created_at ELSE now() END",
            "created_by": 'CASE WHEN takes THEN created_by ELSE "current_user"() END',
            "updated_at": "now()",
            "updated_by": '"current_user"()',
        }
        self.connection.execute(
            text(
                f"INSERT INTO {self.dimension} ({', '.join(values)}) SELECT {', '.join(values.values())} FROM {self.versions} w"
            ),
            {"batch_id": batch_id, "source_system": source_system},
        )

    def _current(self, names: Collection[str]) -> str:
        """Current versions, and since when each is known: later than it begins, where it is a member's first one."""
        batch = qualified_name(self.connection, EtlLoadBatch.__table__)
        since = (
            "CASE WHEN v.is_inferred THEN v.effective_date "
            "WHEN length(v.row_hash) > 32 THEN CAST(substr(v.row_hash, 34) AS timestamptz) "
            "ELSE COALESCE(b.min_event_ts, v.effective_date) END"
        )
        return (
            f"SELECT v.{self.key}, {', '.join(f'v.{name}' for name in names)}, {since} AS since FROM {self.dimension} v "
            f"LEFT JOIN {batch} b ON b.batch_id = v.batch_id AND b.status = 'LOADED' AND b.min_event_ts > v.effective_date "
            "WHERE v.is_current"
        )

    def _overwriting(self, name: str) -> str:
        """What the last row of a member says of a column of type 1, beside the current version."""
        q, is_given = self.quote(name), self._is_given(name)
        late = f"CASE WHEN s.{AT} >= c.since THEN s.{q} ELSE COALESCE(c.{q}, s.{q}) END"
        return f"CASE WHEN {is_given} THEN {late} ELSE c.{q} END AS {q}" if is_given else f"{late} AS {q}"

    def overwrite(self) -> int:
        """Type 1: what the last row of each member says, in all its versions; how many rows changed.

        A row older than what is current came late: it only fills what is unknown, and takes the rest from there.
        """
        if not self.type1:
            return 0
        names = [self.quote(name) for name in self.type1]
        source = f"SELECT * FROM {_STAGE}" + (f" WHERE NOT {DELETED}" if self.has_deletes else "")
        if self.repeats:
            source = (
                f"SELECT * FROM (SELECT *, row_number() OVER (PARTITION BY {self.key} ORDER BY {AT} DESC, {ROW} DESC) AS n "
                f"FROM ({source}) s) s WHERE n = 1"
            )
        values = ", ".join(map(self._overwriting, self.type1))
        source = f"SELECT s.{self.key}, {values} FROM ({source}) s JOIN ({self._current(names)}) c ON c.{self.key} = s.{self.key}"
        sets = ", ".join(f"{name} = s.{name}" for name in names)
        differs = " OR ".join(f"d.{name} IS DISTINCT FROM s.{name}" for name in names)
        done = self.connection.execute(
            text(
                f'UPDATE {self.dimension} d SET {sets}, updated_at = now(), updated_by = "current_user"() '
                f"FROM ({source}) s WHERE d.{self.key} = s.{self.key} AND ({differs})"
            )
        )
        return int(done.rowcount)
