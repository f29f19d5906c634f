"""Bring a backup back: into a warehouse that is empty, or into one that held an earlier state of it (``update``).

A table, or a month, is loaded and compared in one transaction: its rows are read back, and their checksum must be the
manifest's. While a whole backup is restored, a row of ``etl_migration_history`` says so; loads, upgrades and backups are
refused then. The last transaction brings dimensions, bridges and control tables, and takes that row away. So a restore that
was killed is not taken for whole. Run again, it goes on: months that hold their rows already stay.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from sqlalchemy import MetaData, Table, text
from sqlalchemy.engine import Connection, Engine

from gpwarehouse.backup.manifest import Entry, Manifest
from gpwarehouse.backup.place import Place
from gpwarehouse.backup.restore_checks import (
    check_columns,
    check_empty,
    check_revision,
    check_tables,
    chosen_entries,
    holds_own_rows,
    unknown_to_others,
)
from gpwarehouse.backup.row_checksum import content_of_rows, sum_contents
from gpwarehouse.backup.snapshot import Unit, keep_open, units_there
from gpwarehouse.derived import refresh_aggregates
from gpwarehouse.dialect import Analyze, RangePartition
from gpwarehouse.engine import advisory_key, qualified_name
from gpwarehouse.engine.progress import Announce, counted
from gpwarehouse.errors import BackupError
from gpwarehouse.migrate.history import HISTORY_TABLE, RESTORE, forget_batches, interrupted, part_row, prepare_database
from gpwarehouse.models import AGGREGATES, FACTS
from gpwarehouse.months import become_owner, change_partitions, make_partitions
from gpwarehouse.partitions.archive import NOTHING, Content
from gpwarehouse.partitions.holds import put_comment
from gpwarehouse.partitions.parquet_rows import load_files, read_rows
from gpwarehouse.partitions.rekeyed_rows import can_be_rekeyed, rekey
from gpwarehouse.settings import WarehouseSettings
from gpwarehouse.transport import leave_statistics_alone

__all__ = ["RestoreResult", "content_in", "restore"]

log = logging.getLogger(__name__)
_WITH_MONTHS = {**FACTS, **{model.__tablename__: model for model in AGGREGATES.values()}}
Key = tuple[str, str | None, str | None]


@dataclass(frozen=True)
class RestoreResult:
    """What a restore did.

    :ivar backup_id: which backup was restored.
    :ivar rows: that were loaded.
    :ivar restored: tables and months that were loaded, and hold just the rows of the backup.
    :ivar same: those that held them already.
    :ivar emptied: months whose rows the backup does not have.
    :ivar warnings: what is to be known of the rows.
    """

    backup_id: str
    rows: int
    restored: tuple[str, ...]
    same: tuple[str, ...]
    emptied: tuple[str, ...]
    warnings: tuple[str, ...]
    seconds: float


def content_in(connection: Connection, unit: Unit, columns: dict[str, str] | None = None) -> Content:
    """The content of a table or month, read out.

    :param columns: in the order in which a checksum has them.
    """
    total = NOTHING
    with closing(read_rows(connection, unit.relation, columns or unit.columns, partitioned=unit.partitioned)) as rows:
        for part in rows:
            total = sum_contents(total, content_of_rows(part))
    return total


def restore(
    engine: Engine,
    settings: WarehouseSettings,
    place: Place,
    manifest: Manifest,
    *,
    tables: Sequence[str] | None = None,
    months: Sequence[datetime] | None = None,
    update: bool = False,
    parallel: int = 2,
    progress: Announce | None = None,
) -> RestoreResult:
    """Restore a backup, or the tables and months of it that are named.

    :param update: whether rows that are there may be replaced by those of the backup.
    :raises BackupError: the warehouse is not empty, or of another revision; or the rows did not come back as they were. Tables
        and months that were restored before stay.
    """
    started = datetime.now(UTC)
    part = tables is not None or months is not None
    entries = chosen_entries(manifest, tables, months)
    run = _Run(engine, settings, place, manifest, update, part, progress or log.info)
    with run.alone():
        with engine.connect() as connection, connection.begin():
            check_revision(connection, settings, manifest)
            prepare_database(connection, settings)  # the history may be of an older package
            there = units_there(connection, settings.schema_name)
            check_tables(entries, there, settings)
            check_columns(entries, there, settings)
            going_on = run.check_half_restored(interrupted(connection, settings))
            if not part and not update and not going_on:
                check_empty(connection, there, settings)
        if not part and not going_on:
            run.mark()
        run.months([entry for entry in entries if entry.start is not None], parallel)
        if not part:
            run.empty_others()
        run.tables([entry for entry in entries if entry.start is None])
    seconds = (datetime.now(UTC) - started).total_seconds()
    return replace(run.result, seconds=seconds)


@dataclass
class _Run:
    """A restore under way."""

    engine: Engine
    settings: WarehouseSettings
    place: Place
    manifest: Manifest
    update: bool
    part: bool
    tell: Announce
    going_on: bool = False
    done: list[tuple[str, Entry]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    emptied: list[str] = field(default_factory=list)

    @property
    def result(self) -> RestoreResult:
        """What was done so far."""
        restored = [entry for what, entry in self.done if what == "restored"]
        same = [entry for what, entry in self.done if what == "same"]
        return RestoreResult(
            self.manifest.id, sum(entry.rows for entry in restored), tuple(e.label for e in restored),
            tuple(e.label for e in same), tuple(self.emptied), tuple(self.warnings), 0.0,
        )  # fmt: skip

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other restores off for the block.

        :raises BackupError: one is under way.
        """
        with self.engine.connect() as connection, connection.begin():
            keep_open(connection)
            key = advisory_key("restore", self.settings.schema_name)
            if not connection.execute(text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": key}).scalar_one():
                raise BackupError(f"schema {self.settings.schema_name!r}: somebody else restores into it now")
            yield

    def check_half_restored(self, half: Sequence[tuple[str, str]]) -> bool:
        """Whether a restore of this backup was begun before.

        :raises BackupError: one of another backup was, and this is no update.
        """
        for backup_id, direction in half:
            if direction != RESTORE:
                raise BackupError(
                    f"the {direction} of revision {backup_id} is not ended; finish it first: gpwarehouse upgrade"
                )
            if backup_id != self.manifest.id and not (self.update and not self.part):
                raise BackupError(
                    f"a restore of backup {backup_id} was begun and not ended: restore that one, or replace what is there by "
                    f"{self.manifest.id} with update=True"
                )
            self.going_on = True
        if self.going_on and self.part:
            raise BackupError("a restore is not ended: end it before tables or months of their own are restored")
        self.going_on = self.going_on and any(backup_id == self.manifest.id for backup_id, _ in half)
        return self.going_on

    def mark(self) -> None:
        """Say that the schema does not hold a backup whole."""
        with self.engine.begin() as connection:
            connection.execute(part_row(self.settings.schema_name, self.manifest.id, RESTORE, "restore"))

    def months(self, entries: Sequence[Entry], parallel: int) -> None:
        """Restore months, several at once."""
        for name in sorted({entry.table for entry in entries}):
            if name in _WITH_MONTHS:
                wanted = [_partition(entry) for entry in entries if entry.table == name and entry.rows]
                make_partitions(self.engine, _WITH_MONTHS[name].__table__, wanted)
        units = self._units()
        self._at_once(parallel, [lambda entry=entry: self._month(entry, units) for entry in entries])  # type: ignore[misc]
        for name in sorted({entry.table for _, entry in self.done if entry.table in _WITH_MONTHS}):
            fact = _WITH_MONTHS[name].__table__
            change_partitions(self.engine, fact, lambda c, fact=fact: c.execute(Analyze(fact, root_only=True)))  # type: ignore[misc]
        self._refresh_aggregates()

    def _refresh_aggregates(self) -> None:
        """Make the aggregates of months anew that came back without them."""
        tables = {entry.table for _, entry in self.done}
        for name in sorted(AGGREGATES.keys() & tables):
            if AGGREGATES[name].__tablename__ not in tables:
                starts = [_partition(entry).start for _, entry in self.done if entry.table == name and entry.rows]
                with self.engine.begin() as connection:
                    months = [start for start in starts if isinstance(start, datetime)]
                    refresh_aggregates(connection, name, months=months)

    def _at_once(self, parallel: int, jobs: Sequence[Callable[[], None]]) -> None:
        with ThreadPoolExecutor(max(parallel, 1), thread_name_prefix="gpwarehouse-restore") as pool:
            futures = [pool.submit(job) for job in jobs]
            try:
                for future in futures:
                    future.result()
            finally:
                for future in futures:
                    future.cancel()

    def _units(self) -> dict[Key, Unit]:
        with self.engine.connect() as connection, connection.begin():
            return {unit.key: unit for unit in units_there(connection, self.settings.schema_name)}

    def _month(self, entry: Entry, units: dict[Key, Unit]) -> None:
        unit = units.get(entry.key)
        if unit is None:
            if entry.rows:
                raise BackupError(
                    f"{entry.label}: the table has no partition from {entry.start} to {entry.end}; make it"
                )
            return
        with self.engine.begin() as connection:
            self._replace(connection, unit, entry)

    def empty_others(self) -> None:
        """Empty the months that the backup does not have."""
        known = {entry.key for entry in self.manifest.entries}
        for unit in self._units().values():
            if unit.partition is None or unit.key in known:
                continue
            with self.engine.begin() as connection:
                if _holds_rows(connection, unit.relation):
                    self._truncate(connection, unit.relation)
                    self.emptied.append(f"{unit.table} {unit.partition.name}")

    def tables(self, entries: Sequence[Entry]) -> None:
        """Restore the tables that have no months, in one transaction; with it the restore ends."""
        units = self._units()
        with self.engine.begin() as connection:
            for entry in entries:
                if entry.table == HISTORY_TABLE:  # what ran here is another history
                    continue
                unit = units.get(entry.key)
                if unit is None:  # it holds no rows
                    continue
                self._replace(connection, unit, entry)
            if not self.part:
                for backup_id, direction in interrupted(connection, self.settings):
                    assert direction == RESTORE
                    connection.execute(forget_batches(self.settings.schema_name, backup_id))

    def _replace(self, connection: Connection, unit: Unit, entry: Entry) -> None:
        """Have just the rows of the backup in a table or month."""
        become_owner(connection, unit.relation)
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        leave_statistics_alone(connection)
        connection.execute(text(f"LOCK TABLE {qualified_name(connection, unit.relation)} IN SHARE ROW EXCLUSIVE MODE"))
        if _holds_rows(connection, unit.relation):
            if content_in(connection, unit, entry.columns) == entry.content:
                self._tell("same", entry)
                return
            if self.part and not self.update and holds_own_rows(connection, unit):
                raise BackupError(
                    f"{entry.label} holds rows that are not those of the backup; update=True replaces them"
                )
            self._truncate(connection, unit.relation)
        if entry.file is not None:
            with self.place.opened(entry.file, entry.bytes) as file:
                load_files(connection, unit.relation, entry.columns, [file], f"{self.place.shown}: {entry.file}")
        found = content_in(connection, unit, entry.columns)
        if found != entry.content:
            raise BackupError(
                f"{entry.label}: {found.rows} rows ({found.text}) came back, the backup has {entry.rows} ({entry.checksum}); "
                f"they were not kept. gpwarehouse backup verify {self.manifest.id} tells whether its object is damaged; if so, "
                "restore an older backup (its id, with --update)"
            )
        if unit.partition is not None and entry.comment != unit.comment:
            put_comment(connection, unit.relation, entry.comment or "")
        if self.part:
            self._look_at_part(connection, unit, entry)
        connection.execute(Analyze(unit.relation))
        self._tell("restored", entry)

    def _look_at_part(self, connection: Connection, unit: Unit, entry: Entry) -> None:
        """Rows that came alone fit what is there, or it is told."""
        self.warnings += unknown_to_others(connection, unit, self.settings)
        if entry.table in AGGREGATES and entry.start is not None:
            refresh_aggregates(connection, entry.table, months=[datetime.fromisoformat(entry.start)])
        if entry.table in FACTS and can_be_rekeyed(entry.columns):
            whole = Table(unit.table, MetaData(), schema=self.settings.schema_name)
            keys = rekey(connection, whole, unit.relation, self.settings.lot_root_pattern)
            self.warnings += keys.lines(entry.label)

    def _truncate(self, connection: Connection, relation: Table) -> None:
        become_owner(connection, relation)
        connection.execute(text(f"TRUNCATE TABLE {qualified_name(connection, relation)}"))

    def _tell(self, what: str, entry: Entry) -> None:
        self.done.append((what, entry))
        self.tell(f"{entry.label}: {what}, {counted(entry.rows, 'row')}")


def _holds_rows(connection: Connection, relation: Table) -> bool:
    return connection.execute(text(f"SELECT 1 FROM {qualified_name(connection, relation)} LIMIT 1")).first() is not None


def _partition(entry: Entry) -> RangePartition:
    assert entry.partition is not None
    assert entry.start is not None
    assert entry.end is not None
    return RangePartition(entry.partition, datetime.fromisoformat(entry.start), datetime.fromisoformat(entry.end))
