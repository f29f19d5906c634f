"""The SQL of a merge: from staged rows to versions, in sets, the same on every server.

:mod:`gpwarehouse.dimensions.versions` defines the versions that observations of a member make. This module has the fast path
for the many rows whose result is simple. Each staged row is compared with the version in force at its moment:

- A row that says what is already in force begins no version. It is kept as an observation (``etl_member_observation``).
- A row of a member without any observation begins its first version, in 1900.
- A row that is newer than all observations of its member begins a version without end, and ends the one before.

All other rows take the slow path, with all observations of their members
(:func:`gpwarehouse.dimensions.rewrite_versions.rewrite`): rows not newer than a stored observation, rows of inferred members,
rows before everything that is known, and members that occur more than once in the frame. Both paths make the same versions.

In a new version, a column that the row does not give keeps the value of the version that the row falls into.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import fields
from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, Connection, Table, Text, cast, select, text

from gpwarehouse.derived import refresh_step_limits
from gpwarehouse.dimensions.histories import Provenance, decode_row, row_hash_sql, shape_of
from gpwarehouse.dimensions.rewrite_versions import Changes, NewObservations, rewrite
from gpwarehouse.dimensions.staged_rows import AT, DELETED, IMPLIED, ROW
from gpwarehouse.dimensions.versions import DELETED_HASH, Observation
from gpwarehouse.engine import dialect_of, qualified_name
from gpwarehouse.engine.key_lists import chunks, is_one_of
from gpwarehouse.engine.temporary_tables import create_temporary
from gpwarehouse.errors import KeyCollisionError
from gpwarehouse.intake.given_columns import GIVEN, Given, marker
from gpwarehouse.models import BEGINNING, END_OF_TIME, DimProcessStep, EtlMemberObservation
from gpwarehouse.models.base import TimestampTZ

__all__ = ["History"]

_FIRST, _LAST = f"'{BEGINNING:%Y-%m-%d} 00:00:00+00'::timestamptz", f"'{END_OF_TIME:%Y-%m-%d} 00:00:00+00'::timestamptz"
WORK_MEMORY = "128MB"

_STAGE, _FOUND, _LONG = "gpw_merge_stage", "gpw_merge_found", "gpw_merge_long"
_MERGED, _DELETED = "MERGED", "DELETED"


class History:
    """The statements for one dimension and the staged rows of it, in the transaction of ``connection``.

    :param staged: the columns of the staged rows.
    :param repeats: whether a member may occur more than once.
    :param given: which columns each row gives.
    """

    def __init__(
        self, connection: Connection, model: type[Any], staged: Collection[str], *, repeats: bool, given: Given
    ) -> None:
        self.connection = connection
        self.model = model
        self.repeats = repeats
        self.has_deletes = DELETED in staged
        self.quote = connection.dialect.identifier_preparer.quote
        table: Table = model.__table__
        self.name = table.name
        self.dimension = qualified_name(connection, table)
        self.observations = qualified_name(connection, EtlMemberObservation.__table__)
        self.key = self.quote(model.durable_key)
        self.natural = [self.quote(part) for part in model.natural_key]
        self.tracked = model.tracked_columns()
        self.staged = staged
        self.varies = given.not_every
        self.told = [name for name in self.tracked if name in staged]
        self.type1 = [name for name in model.type1 if name in staged]
        self.deletes = f"s.{DELETED}" if self.has_deletes else "false"

    def stage(self) -> Table:
        """Make the table for the rows of the frame, distributed like the dimension."""
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
        self.table = create_temporary(self.connection, _STAGE, columns, self.model.distribution)
        return self.table

    def lock(self) -> None:
        """Keep others from writing to the dimension. In a weaker mode, Greenplum would have to raise the lock for an UPDATE."""
        self._run(f"LOCK TABLE {self.dimension} IN EXCLUSIVE MODE")

    def merge(self, provenance: Provenance) -> Changes:
        """Write the versions and observations that the staged rows make.

        :raises KeyCollisionError: two natural keys have one durable key; nothing was written.
        """
        self._find()
        self._refuse_collisions()
        done = self._begin_versions(provenance)
        self._keep_observations(provenance)
        done.overwritten = self._overwrite()
        for news in self._read_slow_members(provenance):
            changes = rewrite(self.connection, self.name, news, provenance)
            for each in fields(Changes):
                setattr(done, each.name, getattr(done, each.name) + getattr(changes, each.name))
        if self.name == DimProcessStep.__tablename__:
            refresh_step_limits(self.connection, self._run(f"SELECT DISTINCT {self.key} FROM {_STAGE}").scalars())
        self._run(f"DROP TABLE {_STAGE}, {_FOUND}, {_LONG}")
        return done

    def _run(self, statement: str, values: dict[str, Any] | None = None) -> Any:
        return self.connection.execute(text(statement), values or {})

    # Comparing staged rows with versions.

    def _find(self) -> None:
        """Find the staged rows that change something, each with the version in force, and the members for the slow path.

        Only the key is analysed, because joins need nothing else.
        """
        self._run(f"ANALYZE {_STAGE} ({self.key}, {AT})")
        dialect = dialect_of(self.connection)
        assert dialect.capabilities is not None
        spread = ""
        if not dialect.capabilities.distribution:
            # The staged rows are hashed; with the default of 4 MB they would spill to disk. Greenplum has queues.
            self._run(f"SELECT set_config('work_mem', '{WORK_MEMORY}', true)")
        else:
            compiler: Any = dialect.ddl_compiler(dialect, None)  # type: ignore[arg-type]
            spread = f" {compiler.distributed_clause(self.model.distribution)}"
        make = "CREATE TEMPORARY TABLE {} ON COMMIT DROP AS {}{}"
        self._run(make.format(_FOUND, self._select_found(), spread))
        self._run(make.format(_LONG, self._select_slow(), spread))

    def _select_found(self) -> str:
        q = self.quote
        is_deleted = f"(v.row_hash = '{DELETED_HASH}') IS TRUE"
        differs = f"(({self._differs()}) IS TRUE OR v.effective_date IS NULL OR {is_deleted})"
        if self.has_deletes:
            differs = f"CASE WHEN s.{DELETED} THEN NOT {is_deleted} ELSE {differs} END"
        collides = " OR ".join(f"v.{part} <> s.{part}" for part in self.natural)
        # A row that another program wrote is taken to give all columns from its beginning on, like rows before revision 0002.
        known = f"COALESCE(v.known_from, CASE WHEN v.told IS NULL AND NOT v.is_inferred THEN {_FIRST} END)"
        early = f"{known} IS NULL OR s.{AT} < {known}"
        columns = [f"s.{self.key}", *(f"s.{part}" for part in self.natural), f"s.{AT}", f"s.{ROW}"]
        columns += [f"{self._new_value(name)} AS {q(name)}" for name in self.tracked]
        type1 = "CASE WHEN v.effective_date IS NULL THEN {0} ELSE v.{1} END AS {1}"  # existing rows are overwritten in place
        columns += [type1.format(self._new_value(name), q(name)) for name in self.model.type1]
        columns += ["s.source_id" if "source_id" in self.staged else "CAST(NULL AS text) AS source_id"]
        columns += [
            "v.effective_date AS v_from",
            f"{known} AS known_from",
            "v.shown",
            f"{self.deletes} AS deletes",
            f"{self._given_names()} AS told",
            f"{self._gives_tracked()} AS tells",
            f"({collides}) IS TRUE AS collides",
            # Whether no version is newer, or of the same moment.
            f"({differs} AND v.expiry_date = {_LAST} AND s.{AT} > GREATEST(v.effective_date, {known})) IS TRUE AS is_newest",
            f"({early}) AND v.effective_date IS NOT NULL AS is_early",
        ]
        return (
            f"SELECT {', '.join(columns)} FROM {_STAGE} s LEFT JOIN {self.dimension} v ON v.{self.key} = s.{self.key} "
            f"AND v.effective_date <= s.{AT} AND s.{AT} < v.expiry_date "
            f"WHERE {differs} OR ({collides}) IS TRUE OR {early}"
        )

    def _select_slow(self) -> str:
        """Members with rows that do not simply begin a version. Observations kept apart may also be of their moment or later."""
        last = (
            f"SELECT w.member_key, max(w.told_at) AS last FROM {self.observations} w "
            f"WHERE w.dimension = '{self.name}' AND w.member_key IN (SELECT {self.key} FROM {_FOUND}) GROUP BY w.member_key"
        )
        is_long = f"f.v_from IS NOT NULL AND (f.is_early OR NOT f.is_newest) OR l.last >= f.{AT} "
        is_long += "OR (f.v_from IS NULL AND (l.last IS NOT NULL OR NOT (f.tells OR f.deletes)))"
        found = (
            f"SELECT f.{self.key} FROM {_FOUND} f LEFT JOIN ({last}) l ON l.member_key = f.{self.key} WHERE {is_long}"
        )
        if self.repeats:
            found += f" UNION SELECT {self.key} FROM {_STAGE} GROUP BY {self.key} HAVING count(*) > 1"
        return f"SELECT DISTINCT {self.key} FROM ({found}) k"

    def _refuse_collisions(self) -> None:
        names = ", ".join([self.key, *self.natural])
        queries = [f"SELECT {names} FROM {_FOUND} WHERE collides LIMIT 1"]
        if self.repeats:
            part = "min({0}) <> max({0})"
            ends = ", ".join(f"max({name}) AS {name}" for name in self.natural)
            differ = " OR ".join(part.format(name) for name in self.natural)
            queries.append(f"SELECT {self.key}, {ends} FROM {_STAGE} GROUP BY {self.key} HAVING {differ} LIMIT 1")
        for query in queries:
            row = self._run(query).first()
            if row is not None:
                raise KeyCollisionError(
                    f"{self.name}: the natural key {dict(row._mapping)} has the same durable key as another member. Nothing was "
                    "merged; rename one of them"
                )

    def _is_given(self, name: str) -> str:
        """SQL: whether a staged row gives a column; empty if all rows give it."""
        return f"strpos(s.{GIVEN}, '{marker(name)}') > 0" if name in self.varies else ""

    def _given_names(self) -> str:
        """SQL: the names of the columns that a staged row gives, as JSON."""
        every = [f'"{name}"' for name in (*self.told, *self.type1) if name not in self.varies]
        if not self.varies:
            return f"CAST('[{','.join(every)}]' AS jsonb)"
        varying = f"replace(btrim(s.{GIVEN}, ','), ',', '\",\"')"
        comma = "," if every else ""
        some = f"CASE WHEN length(s.{GIVEN}) > 1 THEN '{comma}\"' || {varying} || '\"' ELSE '' END"
        return f"CAST('[{','.join(every)}' || {some} || ']' AS jsonb)"

    def _gives_tracked(self) -> str:
        """SQL: whether a staged row gives any tracked column."""
        if any(name not in self.varies for name in self.told):
            return "true"
        return f"({' OR '.join(map(self._is_given, self.told)) or 'false'})"

    def _differs(self) -> str:
        found = []
        for name in self.told:
            differs = "s.{0} IS DISTINCT FROM v.{0}".format(self.quote(name))
            found.append(f"({self._is_given(name)} AND {differs})" if name in self.varies else differs)
        return " OR ".join(found) or "false"

    def _new_value(self, name: str) -> str:
        """SQL: the value of a column in a version that begins with a staged row."""
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

    # Writing on the fast path.

    def _select_begun(self) -> str:
        """SQL: rows that begin a version. A deletion of an unknown member begins none."""
        is_long = f"SELECT 1 FROM {_LONG} l WHERE l.{self.key} = f.{self.key}"
        return f"SELECT f.* FROM {_FOUND} f WHERE NOT (f.deletes AND f.v_from IS NULL) AND NOT EXISTS ({is_long})"

    def _begin_versions(self, provenance: Provenance) -> Changes:
        """End the versions before, and insert the new ones."""
        self._run(
            f"UPDATE {self.dimension} d SET expiry_date = f.{AT}, is_current = false, updated_at = now(), "
            f'updated_by = "current_user"() FROM ({self._select_begun()}) f '
            f"WHERE d.{self.key} = f.{self.key} AND d.effective_date = f.v_from"
        )
        values = {name: name for name in [self.key, *self.natural, *map(self.quote, self.tracked)]}
        values |= {self.quote(name): self.quote(name) for name in self.model.type1}
        row_hash = row_hash_sql(self.name, self.quote)
        values |= {
            "effective_date": f"CASE WHEN v_from IS NULL THEN {_FIRST} ELSE {AT} END",
            "expiry_date": _LAST,
            "is_current": "true",
            "is_inferred": "false",
            "row_hash": f"CASE WHEN deletes THEN '{DELETED_HASH}' ELSE {row_hash} END",
            "known_from": f"COALESCE(known_from, {AT})",
            "told": "CASE WHEN deletes THEN CAST('[]' AS jsonb) ELSE told END",
            "shown": "shown",
            "source_system": "CAST(:source_system AS text)",
            "source_id": "source_id",
            "batch_id": "CAST(:batch_id AS text)",
        }
        inserted = self._run(
            f"INSERT INTO {self.dimension} ({', '.join(values)}) SELECT {', '.join(values.values())} "
            f"FROM ({self._select_begun()}) f",
            {"batch_id": provenance.batch_id, "source_system": provenance.source_system},
        ).rowcount
        row = self._run(
            "SELECT sum(CASE WHEN v_from IS NULL THEN 1 ELSE 0 END), sum(CASE WHEN deletes THEN 1 ELSE 0 END) "
            f"FROM ({self._select_begun()}) f"
        ).one()
        return Changes(begun=int(inserted), changed=int(inserted), new=int(row[0] or 0), deleted=int(row[1] or 0))

    def _keep_observations(self, provenance: Provenance) -> None:
        """Keep as observations: staged rows that begin no version, deletions, and rows that give no column."""
        begun = f"SELECT 1 FROM ({self._select_begun()}) b WHERE b.{self.key} = s.{self.key}"
        is_long = f"SELECT 1 FROM {_LONG} l WHERE l.{self.key} = s.{self.key}"
        kind = f"CASE WHEN {self.deletes} THEN '{_DELETED}' ELSE '{_MERGED}' END"
        told = f"CASE WHEN {self.deletes} THEN CAST('[]' AS jsonb) ELSE {self._given_names()} END"
        self._run(
            f"INSERT INTO {self.observations} (dimension, member_key, told_at, kind, told, batch_id) "
            f"SELECT '{self.name}', s.{self.key}, s.{AT}, {kind}, {told}, CAST(:batch_id AS text) FROM {_STAGE} s "
            f"WHERE NOT EXISTS ({is_long}) AND ({self.deletes} OR {self._given_names()} = '[]' OR NOT EXISTS ({begun}))",
            {"batch_id": provenance.batch_id},
        )

    def _overwrite(self) -> int:
        """Overwrite type 1 columns in all versions by the newest row that gives them; return the number of changed rows."""
        if not self.type1:
            return 0
        names = [self.quote(name) for name in self.type1]
        is_long = f"SELECT 1 FROM {_LONG} l WHERE l.{self.key} = s.{self.key}"
        differs = " OR ".join(
            f"({self._is_given(n) or 'true'} AND s.{q} IS DISTINCT FROM v.{q})" for n, q in self._quote_type1()
        )
        staged = (
            f"SELECT s.*, {', '.join(f'v.{q} AS {self.quote(_NOW + n)}' for n, q in self._quote_type1())} FROM {_STAGE} s "
            f"JOIN {self.dimension} v ON v.{self.key} = s.{self.key} AND v.is_current "
            f"WHERE NOT {self.deletes} AND NOT EXISTS ({is_long}) AND ({differs})"
        )
        told = (
            f"SELECT d.{self.key} AS k, GREATEST(d.effective_date, d.known_from) AS at, d.told FROM {self.dimension} d "
            f"WHERE COALESCE(d.known_from, d.effective_date) < d.expiry_date "
            f"UNION ALL SELECT w.member_key, w.told_at, w.told FROM {self.observations} w "
            f"WHERE w.dimension = '{self.name}'"
        )
        last = "max(CASE WHEN t.told IS NULL OR jsonb_exists(t.told, '{0}') THEN t.at END) AS {1}"
        lasts = ", ".join(last.format(name, self.quote(_LAST_TOLD + name)) for name in self.type1)
        moments = f"SELECT t.k, {lasts} FROM ({told}) t WHERE t.k IN (SELECT {self.key} FROM ({staged}) g) GROUP BY t.k"
        newest = "CASE WHEN {0} AND (t.{1} IS NULL OR s.{2} >= t.{1}) THEN s.{3} ELSE s.{4} END AS {3}"
        values = ", ".join(
            newest.format(self._is_given(n) or "true", self.quote(_LAST_TOLD + n), AT, q, self.quote(_NOW + n))
            for n, q in self._quote_type1()
        )
        source = f"SELECT s.{self.key}, {values} FROM ({staged}) s LEFT JOIN ({moments}) t ON t.k = s.{self.key}"
        sets = ", ".join(f"{name} = s.{name}" for name in names)
        changed = " OR ".join(f"d.{name} IS DISTINCT FROM s.{name}" for name in names)
        done = self._run(
            f'UPDATE {self.dimension} d SET {sets}, updated_at = now(), updated_by = "current_user"() '
            f"FROM ({source}) s WHERE d.{self.key} = s.{self.key} AND ({changed})"
        )
        return int(done.rowcount)

    def _quote_type1(self) -> list[tuple[str, str]]:
        return [(name, self.quote(name)) for name in self.type1]

    # The slow path.

    def _read_slow_members(self, provenance: Provenance) -> Iterator[dict[int, NewObservations]]:
        """Yield the observations of the members on the slow path, in chunks."""
        keys = [row[0] for row in self._run(f"SELECT {self.key} FROM {_LONG}")]
        shape = shape_of(self.name)
        columns = [
            cast(c, Text).label(c.name) if c.name.removeprefix(IMPLIED) in shape.json else c for c in self.table.c
        ]
        for some in chunks(keys):
            news: dict[int, NewObservations] = {}
            query = select(*columns).where(is_one_of(self.table.c[self.model.durable_key], some))
            for row in self.connection.execute(query.order_by(self.table.c[ROW])).mappings():
                staged = decode_row(shape, dict(row))
                key = staged[self.model.durable_key]
                natural = {part: staged[part] for part in self.model.natural_key}
                member = news.setdefault(key, NewObservations(natural, []))
                member.observations.append(self._make_observation(staged, provenance))
                if member.observations[-1].kind == _MERGED:
                    member.completes = True
                    member.source_id = staged.get("source_id")
                member.implied = {**self._read_implied(staged), **member.implied}
            yield news

    def _make_observation(self, staged: dict[str, Any], provenance: Provenance) -> Observation:
        if staged.get(DELETED):
            return Observation(staged[AT], "DELETED", {}, provenance.batch_id)
        unset = shape_of(self.name).unset
        told = {}
        for name in (*self.told, *self.type1):
            if name not in self.varies or marker(name) in staged[GIVEN]:
                value = staged[name]
                told[name] = None if name in unset and value == unset[name] else value
        return Observation(staged[AT], "MERGED", told, provenance.batch_id)

    def _read_implied(self, staged: dict[str, Any]) -> dict[str, Any]:
        found = {
            name: staged[IMPLIED + name] for name in (*self.tracked, *self.model.type1) if IMPLIED + name in staged
        }
        return {name: value for name, value in found.items() if value is not None}


_NOW, _LAST_TOLD = "_now_", "_told_"
