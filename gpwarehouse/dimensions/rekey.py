"""Wafers under another root lot: their facts, their history and their stays in lots, moved in one transaction.

A wafer's key is the hash of its root lot and id, and rows lie by it. So a wafer whose root turns out to be another one is
deleted and inserted again; a distribution key is never updated. Where the wafer is there already under its true root, what
was told of both makes one history (:mod:`gpwarehouse.dimensions.versions`); at one moment, what stands under the true root
stands.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
from sqlalchemy import Column, Table, Text, text
from sqlalchemy.engine import Connection, Engine

from gpwarehouse.batches.lost_commits import settled
from gpwarehouse.dialect import DistributedReplicated
from gpwarehouse.dialect.options import month_partition
from gpwarehouse.dimensions.bridges import end_stays
from gpwarehouse.dimensions.histories import Provenance, stored_histories
from gpwarehouse.dimensions.rewrite_versions import NewObservations, rewrite
from gpwarehouse.dimensions.root_lots import Move, moves_of_genealogy, moves_of_lots, moves_told
from gpwarehouse.engine import dialect_of, qualified_name
from gpwarehouse.engine.temporary_tables import create_temporary
from gpwarehouse.errors import InvalidInputError, KeyCollisionError, LoadError
from gpwarehouse.models import FACTS, BridgeWaferLot, DimLot, DimWafer, EtlMemberObservation
from gpwarehouse.models.keys import durable_key_sql
from gpwarehouse.partitions.archive import Archive
from gpwarehouse.partitions.manager import month_named
from gpwarehouse.partitions.rekeyed_rows import keys_now
from gpwarehouse.settings import WarehouseSettings
from gpwarehouse.transport import copy_rows, leave_statistics_alone

__all__ = ["RekeyResult", "Rekeyer"]

_MOVES, _MAP, _ROWS, _WAFERS = "gpw_rekey_moves", "gpw_rekey_map", "gpw_rekey_rows", "gpw_rekey_wafers"
_ALONE, _WORDS = "gpw_rekey_alone", "gpw_rekey_words"
_WAFER = "wafer_key"


@dataclass(frozen=True)
class RekeyResult:
    """What was moved, or would be.

    :ivar wafers: wafers with another root; ``merged``: of them, those that were there under it.
    :ivar rows: table → rows that moved to the new key.
    :ivar lots: lots whose root was corrected to what the genealogy shows.
    :ivar warnings: of a dry run: months that were not named and hold rows of the wafers, so that nothing would be moved; and
        archived months, where restoring them could not tell whose rows they are now.
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
        moves = None if mapping is None else moves_told(mapping, self.settings.wafer_id_pattern)

        reached: list[_Done] = []

        def transaction() -> _Done:
            with self.engine.begin() as connection:
                leave_statistics_alone(connection)
                work = _Work(connection, months, self.settings)
                if not dry_run:
                    work.lock()
                done = work.run(moves, dry_run=dry_run)
                if done.found or not reached:
                    reached.append(done)
            return reached[-1]  # nothing is left to move where an attempt's COMMIT went through and its answer was lost

        def done() -> _Done | None:
            if not reached:
                return None
            with self.engine.begin() as connection:
                work = _Work(connection, None, self.settings)
                work.lock()  # waits for the transaction that was lost
                return None if work.run(moves, dry_run=True).found else reached[-1]

        named = {"what": "re-keying of wafers", "table": "dim_wafer", "undone": "nothing was moved"}
        result = settled(self.engine, self.settings, transaction, done=done, **named)
        counts = (result.wafers, result.merged, result.rows, result.lots)
        return RekeyResult(*counts, dry_run, time.monotonic() - started, result.warnings)


@dataclass(frozen=True)
class _Done:
    """What a transaction found, and moved if it was to."""

    wafers: int
    merged: int
    rows: dict[str, int]
    lots: int
    warnings: tuple[str, ...]

    @property
    def found(self) -> bool:
        return bool(self.wafers or self.lots)


class _Work:
    """One run, in the transaction of ``connection``."""

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
        """Everybody who writes is kept out, in the order in which a load goes: facts, dimensions, observations, then bridges."""
        dimensions = (DimLot.__table__, DimWafer.__table__, EtlMemberObservation.__table__)
        for table in (*self.facts, *dimensions, BridgeWaferLot.__table__):
            self.execute(f"LOCK TABLE {self.name(table)} IN EXCLUSIVE MODE")

    def run(self, moves: list[Move] | None, *, dry_run: bool) -> _Done:
        roots: dict[str, str] = {}
        if moves is None:
            roots = moves_of_genealogy(self.connection)
            moves = moves_of_lots(self.connection, roots)
        self._map(moves)
        wafers, merged = self._count()
        tables = (*self.facts, BridgeWaferLot.__table__)
        warnings = self._passed_over() if wafers else ()
        if warnings and not dry_run:
            raise LoadError(
                f"{'; '.join(warnings)}: they would keep keys that dim_wafer has no more. None was moved; name these months, too"
            )
        if dry_run:
            return _Done(wafers, merged, {table.name: self._rows(table) for table in tables}, len(roots), warnings)
        moved = {table.name: self._move(table) for table in tables}
        if wafers:
            end_stays(self.connection, f"SELECT new_key FROM {_MAP}")
            self._move_history()
        for lot, root in roots.items():
            self.execute(
                f"UPDATE {self.name(DimLot.__table__)} SET root_lot_id = :root, updated_at = now() WHERE lot_id = :lot",
                {"lot": lot, "root": root},
            )
        return _Done(wafers, merged, moved, len(roots), (*warnings, *(self._lost_to_archive() if wafers else ())))

    def _map(self, moves: list[Move]) -> None:
        """Old key, new key and new root of every wafer that moves."""
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
                f"a wafer {twice[2]!r} is to go to root {twice[0]!r} and to root {twice[1]!r}; give it one"
            )

    def _count(self) -> tuple[int, int]:
        """Wafers that move, and those of them that are there under the new key."""
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
                f"dim_wafer: a wafer of root {row[2]!r} has the durable key of another; none was moved"
            )
        return int(row[0]), int(row[1])

    def _where(self, table: Table) -> str:
        if self.months is None or table.name not in FACTS:
            return ""
        return f" AND ({self._named()})"

    def _named(self) -> str:
        """The condition for rows of the months that were named."""
        terms = [f"(f.event_ts >= '{month.start}' AND f.event_ts < '{month.end}')" for month in self.months or ()]
        return " OR ".join(terms) or "false"

    def _passed_over(self) -> tuple[str, ...]:
        """Of each fact the months that were not named and hold rows of these wafers. Their keys and times alone are read."""
        if self.months is None:
            return ()
        found, month = [], "date_trunc('month', f.event_ts AT TIME ZONE 'UTC')"
        for table in self.facts:
            left = self.execute(
                f"SELECT to_char({month}, 'YYYY-MM'), count(*) FROM {self.name(table)} f JOIN {_MAP} m "
                f"ON f.{_WAFER} = m.{_WAFER} WHERE NOT ({self._named()}) GROUP BY 1 ORDER BY 1"
            ).all()
            if left:
                rows = sum(row[1] for row in left)
                found.append(f"{table.name}: {rows} rows of these wafers are in {', '.join(row[0] for row in left)}")
        return tuple(found)

    def _lost_to_archive(self) -> Iterator[str]:
        """Whether wafers moved whose rows in archived months would not be given the new key when they are restored."""
        if self.settings.archive_dir is None:
            return
        archive = Archive(self.settings.archive_dir, self.settings.schema_name)
        months = {
            table.name: [m.start[:7] for m in archive.manifests(table.name, damaged=True)] for table in self.facts
        }
        told = "; ".join(f"{name} {', '.join(found)}" for name, found in months.items() if found)
        if not told:
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
                f"archived are {told}: rows there of {len(lost)} of these {len(moved)} wafers would be restored with their old "
                f"keys (e.g. {lost[0]}), for no lot tells of the old root and the new one; correct the root lots in dim_lot "
                "(wh.merge) before"
            )

    def _rows(self, table: Table) -> int:
        join = f"FROM {self.name(table)} f JOIN {_MAP} m ON f.{_WAFER} = m.{_WAFER}{self._where(table)}"
        return int(self.execute(f"SELECT count(*) {join}").scalar_one())

    def _move(self, table: Table) -> int:
        """Rows out, and in under the new key; of the fact only the months that hold some are written."""
        quote = self.connection.dialect.identifier_preparer.quote
        names = [quote(column.name) for column in table.columns]
        self.execute(
            f"CREATE TEMPORARY TABLE {_ROWS} ON COMMIT DROP AS SELECT m.new_key, f.* FROM {self.name(table)} f "
            f"JOIN {_MAP} m ON f.{_WAFER} = m.{_WAFER}{self._where(table)}{self.spread}"
        )
        moved, span = 0, ""
        time_column = "event_ts" if table.name in FACTS else "from_ts"
        row = self.execute(f"SELECT count(*), min({time_column}), max({time_column}) FROM {_ROWS}").one()
        if row[0]:
            span = f" AND f.{time_column} >= '{row[1].isoformat()}' AND f.{time_column} <= '{row[2].isoformat()}'"
            self.execute(
                f"DELETE FROM {self.name(table)} f USING {_MAP} m WHERE f.{_WAFER} = m.{_WAFER}{span}{self._where(table)}"
            )
            source = ", ".join("new_key" if name == _WAFER else name for name in names)
            unless = self._taken() if table.name not in FACTS else ""
            moved = self.execute(
                f"INSERT INTO {self.name(table)} ({', '.join(names)}) SELECT {source} FROM {_ROWS} r{unless}"
            ).rowcount
        self.execute(f"DROP TABLE {_ROWS}")
        return int(moved)

    def _taken(self) -> str:
        """Of stays that begin at one moment, the one under the true root stands; of two that move, either."""
        bridge = self.name(BridgeWaferLot.__table__)
        return (
            f" WHERE NOT EXISTS (SELECT 1 FROM {bridge} b WHERE b.{_WAFER} = r.new_key AND b.from_ts = r.from_ts) "
            f"AND NOT EXISTS (SELECT 1 FROM {_ROWS} o WHERE o.new_key = r.new_key AND o.from_ts = r.from_ts "
            f"AND o.{_WAFER} < r.{_WAFER})"
        )

    # History.

    def _move_history(self) -> None:
        """Histories as they are, where nothing is under the new key; else what was told of both makes one history."""
        others = self._told_of_others()
        wafer, observations = self.name(DimWafer.__table__), self.name(EtlMemberObservation.__table__)
        for made, source, key in ((_WAFERS, wafer, _WAFER), (_WORDS, observations, "member_key")):
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
        self._insert(EtlMemberObservation.__table__, _WORDS, {"member_key": "w.new_key"}, alone.format("member_key"))
        for news in others:
            rewrite(self.connection, DimWafer.__tablename__, news, Provenance(None, None))

    def _insert(self, table: Table, source: str, changed: Mapping[str, str], condition: str) -> None:
        quote = self.connection.dialect.identifier_preparer.quote
        values = {quote(c.name): changed.get(c.name, f"w.{quote(c.name)}") for c in table.columns}
        self.execute(
            f"INSERT INTO {self.name(table)} ({', '.join(values)}) SELECT {', '.join(values.values())} FROM {source} w "
            f"WHERE EXISTS ({condition})"
        )

    def _told_of_others(self) -> list[dict[int, NewObservations]]:
        """What was told of wafers whose new key is taken, or is that of several: told again, before what stands there."""
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
