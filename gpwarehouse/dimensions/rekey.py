"""Move wafers to another root lot: their facts, their history and their stays in lots, in one transaction.

A wafer's key is the hash of its root lot and id, and rows are distributed by it. A distribution key is never updated, so the
rows of a wafer with a wrong root are deleted and inserted again. If the wafer also exists under its true root, the
observations of both make one history (:mod:`gpwarehouse.dimensions.versions`). Where both have an observation of the same
moment, the one under the true root wins.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
from sqlalchemy import Column, Table, Text, text
from sqlalchemy.engine import Connection, Engine

from gpwarehouse.batches.lost_commits import commit_once
from gpwarehouse.derived import months_between, refresh_aggregates
from gpwarehouse.dialect import DistributedReplicated
from gpwarehouse.dialect.options import month_partition
from gpwarehouse.dimensions.bridges import end_stays
from gpwarehouse.dimensions.histories import Provenance, stored_histories
from gpwarehouse.dimensions.rewrite_versions import NewObservations, rewrite
from gpwarehouse.dimensions.root_lots import Move, moves_of_genealogy, moves_of_lots, read_moves
from gpwarehouse.engine import dialect_of, qualified_name
from gpwarehouse.engine.temporary_tables import create_temporary
from gpwarehouse.errors import InvalidInputError, KeyCollisionError, LoadError
from gpwarehouse.models import AGGREGATES, FACTS, BridgeWaferLot, DimLot, DimWafer, EtlMemberObservation
from gpwarehouse.models.keys import durable_key_sql
from gpwarehouse.partitions.archive import Archive
from gpwarehouse.partitions.manager import month_named
from gpwarehouse.partitions.rekeyed_rows import keys_now
from gpwarehouse.settings import WarehouseSettings
from gpwarehouse.transport import copy_rows, leave_statistics_alone

__all__ = ["RekeyResult", "Rekeyer"]

_MOVES, _MAP, _ROWS, _WAFERS = "gpw_rekey_moves", "gpw_rekey_map", "gpw_rekey_rows", "gpw_rekey_wafers"
_ALONE, _OBSERVATIONS = "gpw_rekey_alone", "gpw_rekey_observations"
_WAFER = "wafer_key"


@dataclass(frozen=True)
class RekeyResult:
    """What was moved, or would be moved.

    :ivar wafers: wafers with another root.
    :ivar merged: those of them that already existed under the true root.
    :ivar rows: table → number of rows that moved to the new key.
    :ivar lots: lots whose root was corrected to the one that the genealogy shows.
    :ivar warnings: in a dry run, months that were not named and hold rows of the wafers, because of which nothing would be
        moved. Also archived months whose rows a restore could not assign to the new key.
    """

    wafers: int
    merged: int
    rows: Mapping[str, int]
    lots: int
    dry_run: bool
    seconds: float = field(compare=False, default=0.0)
    warnings: tuple[str, ...] = ()


class Rekeyer:
    """Moves wafers to their true root lots, in one warehouse."""

    def __init__(self, engine: Engine, settings: WarehouseSettings) -> None:
        self.engine = engine
        self.settings = settings

    def rekey(self, mapping: Any = None, *, months: Iterable[str] | None = None, dry_run: bool = False) -> RekeyResult:
        """Move wafers: see :meth:`gpwarehouse.warehouse.dimensions.Dimensions.rekey_wafers`."""
        started = time.monotonic()
        months = None if months is None else list(months)
        moves = None if mapping is None else read_moves(mapping, self.settings.wafer_id_pattern)

        reached: list[_Done] = []

        def transaction() -> _Done:
            with self.engine.begin() as connection:
                leave_statistics_alone(connection)
                work = _Rekeying(connection, months, self.settings)
                if not dry_run:
                    work.lock()
                done = work.run(moves, dry_run=dry_run)
                if done.found or not reached:
                    reached.append(done)
            return reached[-1]  # after a COMMIT without an answer, nothing is left to move

        def done() -> _Done | None:
            if not reached:
                return None
            with self.engine.begin() as connection:
                work = _Rekeying(connection, None, self.settings)
                work.lock()  # waits for the transaction whose connection was lost
                return None if work.run(moves, dry_run=True).found else reached[-1]

        named = {"what": "re-keying of wafers", "table": "dim_wafer", "undone": "nothing was moved"}
        result = commit_once(self.engine, self.settings, transaction, done=done, **named)
        counts = (result.wafers, result.merged, result.rows, result.lots)
        return RekeyResult(*counts, dry_run, time.monotonic() - started, result.warnings)


@dataclass(frozen=True)
class _Done:
    """What a transaction found, and moved unless it was a dry run."""

    wafers: int
    merged: int
    rows: dict[str, int]
    lots: int
    warnings: tuple[str, ...]

    @property
    def found(self) -> bool:
        return bool(self.wafers or self.lots)


class _Rekeying:
    """One attempt, in the transaction of ``connection``."""

    def __init__(self, connection: Connection, months: Iterable[str] | None, settings: WarehouseSettings) -> None:
        self.connection = connection
        self.settings = settings
        self.months = None if months is None else [month_partition(month_named(month)) for month in months]
        self.facts = [table for table in (FACTS[name].__table__ for name in sorted(FACTS)) if _WAFER in table.c]
        capabilities = dialect_of(connection).capabilities
        assert capabilities is not None
        self.spread = f" DISTRIBUTED BY ({_WAFER})" if capabilities.distribution else ""

    def name(self, table: Table) -> str:
        return qualified_name(self.connection, table)

    def execute(self, statement: str, values: Mapping[str, Any] | None = None) -> Any:
        return self.connection.execute(text(statement), dict(values or {}))

    def lock(self) -> None:
        """Keep all other writers out, in the order in which a load locks: facts, dimensions, observations, bridges."""
        dimensions = (DimLot.__table__, DimWafer.__table__, EtlMemberObservation.__table__)
        for table in (*self.facts, *dimensions, BridgeWaferLot.__table__):
            self.execute(f"LOCK TABLE {self.name(table)} IN EXCLUSIVE MODE")

    def run(self, moves: list[Move] | None, *, dry_run: bool) -> _Done:
        roots: dict[str, str] = {}
        if moves is None:
            roots = moves_of_genealogy(self.connection)
            moves = moves_of_lots(self.connection, roots)
        self._make_map(moves)
        wafers, merged = self._count()
        tables = (*self.facts, BridgeWaferLot.__table__)
        warnings = self._find_unnamed_months() if wafers else ()
        if warnings and not dry_run:
            raise LoadError(
                f"{'; '.join(warnings)}: they would keep keys that dim_wafer no longer has. "
                "Nothing was moved; name these months too"
            )
        if dry_run:
            return _Done(
                wafers, merged, {table.name: self._count_rows(table) for table in tables}, len(roots), warnings
            )
        moved = {table.name: self._move(table) for table in tables}
        if wafers:
            end_stays(self.connection, f"SELECT new_key FROM {_MAP}")
            self._move_history()
        for lot, root in roots.items():
            self.execute(
                f"UPDATE {self.name(DimLot.__table__)} SET root_lot_id = :root, updated_at = now() WHERE lot_id = :lot",
                {"lot": lot, "root": root},
            )
        return _Done(wafers, merged, moved, len(roots), (*warnings, *(self._check_archives() if wafers else ())))

    def _make_map(self, moves: list[Move]) -> None:
        """Make a table with old key, new key and new root of every wafer that moves."""
        names = ("root_lot_id", "wafer_id", "true_root_lot_id")
        columns: list[Column[Any]] = [Column(name, Text) for name in names]
        stage = create_temporary(self.connection, _MOVES, columns, DistributedReplicated())
        if moves:
            arrays = [pa.array(values, pa.string()) for values in zip(*moves, strict=True)]
            copy_rows(self.connection, stage, [pa.RecordBatch.from_arrays(arrays, list(names))], names)
        wafer = DimWafer.__table__
        key = durable_key_sql(stage.c.true_root_lot_id, wafer.c.wafer_id).compile(dialect=dialect_of(self.connection))
        new = str(key).replace(f"{_MOVES}.", "m.").replace("dw.dim_wafer.", "w.")
        self.execute(
            f"CREATE TEMPORARY TABLE {_MAP} ON COMMIT DROP AS SELECT DISTINCT w.{_WAFER}, {new} AS new_key, "
            f"m.true_root_lot_id AS root, w.wafer_id FROM {self.name(wafer)} w JOIN {_MOVES} m "
            "ON m.root_lot_id = w.root_lot_id AND (m.wafer_id IS NULL OR m.wafer_id = w.wafer_id) "
            f"WHERE m.true_root_lot_id <> w.root_lot_id AND w.{_WAFER} NOT IN (-1, -2){self.spread}"
        )
        self.execute(f"ANALYZE {_MAP}")
        twice = self.execute(
            f"SELECT min(root), max(root), min(wafer_id) FROM {_MAP} GROUP BY {_WAFER} HAVING count(*) > 1 LIMIT 1"
        ).first()
        if twice is not None:
            raise InvalidInputError(
                f"wafer {twice[2]!r} cannot move to root {twice[0]!r} and to root {twice[1]!r}; give one true root"
            )

    def _count(self) -> tuple[int, int]:
        """Count the wafers that move, and those of them that already exist under the new key."""
        wafer = self.name(DimWafer.__table__)
        stored = (
            f"SELECT v.{_WAFER}, v.root_lot_id, v.wafer_id FROM {wafer} v WHERE v.is_current "
            f"AND v.{_WAFER} NOT IN (SELECT {_WAFER} FROM {_MAP})"
        )
        row = self.execute(
            f"SELECT count(*), count(v.{_WAFER}), min(CASE WHEN v.root_lot_id <> m.root OR v.wafer_id <> m.wafer_id "
            f"THEN m.root END) FROM {_MAP} m LEFT JOIN ({stored}) v ON v.{_WAFER} = m.new_key"
        ).one()
        if row[2] is not None:
            raise KeyCollisionError(
                f"dim_wafer: a wafer of root {row[2]!r} has the same durable key as another wafer. Nothing was moved"
            )
        return int(row[0]), int(row[1])

    def _month_condition(self, table: Table) -> str:
        if self.months is None or table.name not in FACTS:
            return ""
        return f" AND ({self._named_months()})"

    def _named_months(self) -> str:
        """SQL: the condition for rows of the named months."""
        terms = [f"(f.event_ts >= '{month.start}' AND f.event_ts < '{month.end}')" for month in self.months or ()]
        return " OR ".join(terms) or "false"

    def _find_unnamed_months(self) -> tuple[str, ...]:
        """List, for each fact, the months that were not named and hold rows of these wafers. Only keys and times are read."""
        if self.months is None:
            return ()
        found, month = [], "date_trunc('month', f.event_ts AT TIME ZONE 'UTC')"
        for table in self.facts:
            left = self.execute(
                f"SELECT to_char({month}, 'YYYY-MM'), count(*) FROM {self.name(table)} f JOIN {_MAP} m "
                f"ON f.{_WAFER} = m.{_WAFER} WHERE NOT ({self._named_months()}) GROUP BY 1 ORDER BY 1"
            ).all()
            if left:
                rows = sum(row[1] for row in left)
                found.append(f"{table.name}: {rows} rows of these wafers are in {', '.join(row[0] for row in left)}")
        return tuple(found)

    def _check_archives(self) -> Iterator[str]:
        """Warn if a restore of archived months could not assign rows of moved wafers to their new key."""
        if self.settings.archive_dir is None:
            return
        archive = Archive(self.settings.archive_dir, self.settings.schema_name)
        months = {
            table.name: [m.start[:7] for m in archive.manifests(table.name, damaged=True)] for table in self.facts
        }
        archived = "; ".join(f"{name} {', '.join(found)}" for name, found in months.items() if found)
        if not archived:
            return
        rows = (
            f"(SELECT m.{_WAFER}, w.lot_key FROM {_MAP} m JOIN {self.name(DimWafer.__table__)} w "
            f"ON w.{_WAFER} = m.new_key AND w.is_current)"
        )
        again = keys_now(self.connection, rows, self.settings.lot_root_pattern).moved
        found = {key: new for (key, _), new in again.items()}
        moved = {row[0]: row[1] for row in self.execute(f"SELECT {_WAFER}, new_key FROM {_MAP}")}
        if lost := [key for key, new in moved.items() if found.get(key) != new]:
            yield (
                f"these months are archived: {archived}. A restore would bring back rows of {len(lost)} of these {len(moved)} "
                f"wafers with their old keys (e.g. {lost[0]}), because no lot connects the old root with the new one. Before a "
                "restore, correct the root lots in dim_lot (wh.merge)"
            )

    def _count_rows(self, table: Table) -> int:
        join = f"FROM {self.name(table)} f JOIN {_MAP} m ON f.{_WAFER} = m.{_WAFER}{self._month_condition(table)}"
        return int(self.execute(f"SELECT count(*) {join}").scalar_one())

    def _move(self, table: Table) -> int:
        """Delete the rows and insert them under the new key; of a fact only the months that hold such rows are written."""
        quote = self.connection.dialect.identifier_preparer.quote
        names = [quote(column.name) for column in table.columns]
        self.execute(
            f"CREATE TEMPORARY TABLE {_ROWS} ON COMMIT DROP AS SELECT m.new_key, f.* FROM {self.name(table)} f "
            f"JOIN {_MAP} m ON f.{_WAFER} = m.{_WAFER}{self._month_condition(table)}{self.spread}"
        )
        moved, span = 0, ""
        time_column = "event_ts" if table.name in FACTS else "from_ts"
        row = self.execute(f"SELECT count(*), min({time_column}), max({time_column}) FROM {_ROWS}").one()
        if row[0]:
            span = f" AND f.{time_column} >= '{row[1].isoformat()}' AND f.{time_column} <= '{row[2].isoformat()}'"
            self.execute(
                f"DELETE FROM {self.name(table)} f USING {_MAP} m "
                f"WHERE f.{_WAFER} = m.{_WAFER}{span}{self._month_condition(table)}"
            )
            source = ", ".join("new_key" if name == _WAFER else name for name in names)
            unless = self._without_taken() if table.name not in FACTS else ""
            moved = self.execute(
                f"INSERT INTO {self.name(table)} ({', '.join(names)}) SELECT {source} FROM {_ROWS} r{unless}"
            ).rowcount
            if table.name in AGGREGATES:
                batches = self.execute(f"SELECT DISTINCT batch_id FROM {_ROWS}").scalars()
                refresh_aggregates(self.connection, table.name, batches=batches, months=months_between(row[1], row[2]))
        self.execute(f"DROP TABLE {_ROWS}")
        return int(moved)

    def _without_taken(self) -> str:
        """SQL: keep one of several stays that begin at the same moment: the one under the true root, or any of two that move."""
        bridge = self.name(BridgeWaferLot.__table__)
        return (
            f" WHERE NOT EXISTS (SELECT 1 FROM {bridge} b WHERE b.{_WAFER} = r.new_key AND b.from_ts = r.from_ts) "
            f"AND NOT EXISTS (SELECT 1 FROM {_ROWS} o WHERE o.new_key = r.new_key AND o.from_ts = r.from_ts "
            f"AND o.{_WAFER} < r.{_WAFER})"
        )

    # Histories.

    def _move_history(self) -> None:
        """Move histories unchanged if nothing is stored under the new key; else join the observations of both to one history."""
        others = self._read_observations()
        wafer, observations = self.name(DimWafer.__table__), self.name(EtlMemberObservation.__table__)
        for made, source, key in ((_WAFERS, wafer, _WAFER), (_OBSERVATIONS, observations, "member_key")):
            only = f" AND v.dimension = '{DimWafer.__tablename__}'" if source == observations else ""
            self.execute(
                f"CREATE TEMPORARY TABLE {made} ON COMMIT DROP AS SELECT m.new_key, m.root, v.* FROM {source} v "
                f"JOIN {_MAP} m ON v.{key} = m.{_WAFER}{only}{self.spread.replace(_WAFER, key)}"
            )
            self.execute(f"DELETE FROM {source} v USING {_MAP} m WHERE v.{key} = m.{_WAFER}{only}")
        alone = f"SELECT old_key FROM {_ALONE} a WHERE a.old_key = w.{{}} AND a.new_key = w.new_key"
        changed = {
            _WAFER: "w.new_key",
            "root_lot_id": "w.root",
            "updated_at": "now()",
            "updated_by": '"current_user"()',
        }
        self._insert(DimWafer.__table__, _WAFERS, changed, alone.format(_WAFER))
        self._insert(
            EtlMemberObservation.__table__, _OBSERVATIONS, {"member_key": "w.new_key"}, alone.format("member_key")
        )
        for news in others:
            rewrite(self.connection, DimWafer.__tablename__, news, Provenance(None, None))

    def _insert(self, table: Table, source: str, changed: Mapping[str, str], condition: str) -> None:
        quote = self.connection.dialect.identifier_preparer.quote
        values = {quote(c.name): changed.get(c.name, f"w.{quote(c.name)}") for c in table.columns}
        self.execute(
            f"INSERT INTO {self.name(table)} ({', '.join(values)}) SELECT {', '.join(values.values())} FROM {source} w "
            f"WHERE EXISTS ({condition})"
        )

    def _read_observations(self) -> list[dict[int, NewObservations]]:
        """Read the observations of wafers whose new key is taken, or shared; they count as earlier than those stored there."""
        wafer = self.name(DimWafer.__table__)
        there = (
            f"SELECT 1 FROM {wafer} v WHERE v.{_WAFER} = m.new_key AND v.{_WAFER} NOT IN (SELECT {_WAFER} FROM {_MAP})"
        )
        self.execute(
            f"CREATE TEMPORARY TABLE {_ALONE} ON COMMIT DROP AS SELECT m.new_key, min(m.{_WAFER}) AS old_key FROM {_MAP} m "
            f"WHERE NOT EXISTS ({there}) GROUP BY m.new_key{self.spread.replace(_WAFER, 'new_key')}"
        )
        query = f"SELECT m.{_WAFER}, m.new_key, m.root, m.wafer_id FROM {_MAP} m LEFT JOIN {_ALONE} a "
        query += f"ON a.old_key = m.{_WAFER} WHERE a.old_key IS NULL ORDER BY m.{_WAFER}"
        moved = {row[0]: row for row in self.execute(query)}
        found: dict[int, NewObservations] = {}
        for old, stored in stored_histories(self.connection, DimWafer.__tablename__, moved):
            _, new, root, wafer_id = moved[old]
            natural = {"root_lot_id": root, "wafer_id": wafer_id}
            news = found.setdefault(new, NewObservations(natural, [], come_first=True))
            news.observations += stored.observations
            news.completes |= not stored.rows[-1]["is_inferred"]
            news.shown = stored.shown | news.shown
        return [found] if found else []
