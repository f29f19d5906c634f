"""Make a backup: every table and month of one snapshot, as Parquet, unchanged ones by reference to an earlier backup's object."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pyarrow.parquet as pq
from sqlalchemy import text
from sqlalchemy.engine import Connection, Engine

from gpwarehouse.backup.catalog import MANIFESTS, OBJECTS, BackupInfo, begun, known_entries, new_id, note_entry
from gpwarehouse.backup.change_marks import is_unchanged, read_mark
from gpwarehouse.backup.manifest import Entry, Manifest, manifest_text
from gpwarehouse.backup.place import Place, Stored
from gpwarehouse.backup.row_checksum import content_of_rows, sum_contents
from gpwarehouse.backup.snapshot import Snapshot, Unit, open_snapshot
from gpwarehouse.engine import dialect_of
from gpwarehouse.engine.progress import Announce, counted
from gpwarehouse.errors import BackupError
from gpwarehouse.migrate.history import database_heads, interrupted
from gpwarehouse.models import migration_history_table
from gpwarehouse.partitions.archive import NOTHING
from gpwarehouse.partitions.archive_owner import identity_of
from gpwarehouse.partitions.parquet_rows import GROUP_ROWS, file_schema, read_rows
from gpwarehouse.settings import WarehouseSettings
from gpwarehouse.transport.chunks import rechunk
from gpwarehouse.version import __version__

__all__ = ["CreateResult", "create", "warehouse_identity"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CreateResult:
    """What a backup wrote.

    :ivar backup: as it is listed.
    :ivar written: tables and months whose rows were written.
    :ivar unchanged: those whose objects an earlier backup wrote.
    """

    backup: BackupInfo
    written: tuple[str, ...]
    unchanged: tuple[str, ...]
    seconds: float


def warehouse_identity(connection: Connection, schema: str) -> str:
    """Which warehouse this is, told apart from every copy."""
    history = migration_history_table(schema)
    name = connection.dialect.identifier_preparer.format_table(history)
    return identity_of(connection, connection.execute(text(f"SELECT min(started_at) FROM {name}")).scalar_one())


def create(
    engine: Engine,
    settings: WarehouseSettings,
    place: Place,
    *,
    full: bool = False,
    parallel: int = 2,
    progress: Announce | None = None,
) -> CreateResult:
    """Make a backup of a warehouse. Its manifest is written last; until then there is none.

    :param full: whether all rows are written, whatever earlier backups hold.
    :param parallel: connections that read.
    :param progress: takes a line for every table and month.
    :raises BackupError: it cannot be made; what it wrote is taken up by the next one.
    """
    started = datetime.now(UTC)
    backup_id, schema = new_id(started), settings.schema_name
    with engine.connect() as connection, connection.begin():
        warehouse = warehouse_identity(connection, schema)
    # The mark stands before the earlier backups are looked at: prune looks for marks after it has forgotten a backup.
    with begun(place, backup_id, warehouse, schema):
        known = {} if full else known_entries(place, warehouse, schema)
        there = place.list(OBJECTS) if known else {}
        known = {key: [entry for entry in found if _is_there(entry, there)] for key, found in known.items()}
        writer = _Writer(place, backup_id, known, progress or log.info)
        with open_snapshot(engine, schema, parallel) as snapshot:
            revision = _revision(snapshot, settings)
            entries = tuple(snapshot.each(writer.entry))
            server, taken_at = str(dialect_of(snapshot.leader).server_info), snapshot.taken_at
        _check_there(place, entries)
        manifest = Manifest(
            backup_id, taken_at, datetime.now(UTC), schema, warehouse, revision, server, __version__, entries
        )
        place.write(f"{MANIFESTS}/{backup_id}.json", manifest_text(manifest))
    mine = f"{OBJECTS}/{backup_id}/"
    written = tuple(entry.label for entry in entries if entry.file is not None and entry.file.startswith(mine))
    unchanged = tuple(entry.label for entry in entries if entry.file is not None and not entry.file.startswith(mine))
    seconds = (datetime.now(UTC) - started).total_seconds()
    return CreateResult(BackupInfo.of(manifest), written, unchanged, seconds)


def _revision(snapshot: Snapshot, settings: WarehouseSettings) -> str:
    for revision, what in interrupted(snapshot.leader, settings):
        raise BackupError(f"the {what} of {revision} is not ended, so the data is half changed; finish it first")
    return ", ".join(database_heads(snapshot.leader, settings))


def _check_there(place: Place, entries: tuple[Entry, ...]) -> None:
    """See that the objects of earlier backups are there; ours were read back."""
    objects = place.list(OBJECTS)
    for entry in entries:
        if not _is_there(entry, objects):
            raise BackupError(
                f"{place.shown}: {entry.file}, the object of {entry.label}, went away during the backup: make it again"
            )


def _is_there(entry: Entry, objects: Mapping[str, Stored]) -> bool:
    return entry.file is None or (entry.file in objects and objects[entry.file].bytes == entry.bytes)


@dataclass(frozen=True)
class _Writer:
    """Writes tables and months, or finds the objects that hold them."""

    place: Place
    backup_id: str
    known: Mapping[tuple[str, str | None, str | None], list[Entry]]
    tell: Announce

    def entry(self, connection: Connection, unit: Unit) -> Entry:
        """The entry of a table or month."""
        mark = read_mark(connection, unit)
        before = [entry for entry in self.known.get(unit.key, ()) if entry.columns == unit.columns]
        for entry in before:
            if is_unchanged(connection, unit, entry.rows, entry.mark, mark):
                self.tell(f"{entry.label}: unchanged, {counted(entry.rows, 'row')}")
                return self._again(unit, entry, mark)
        written = replace(self._write(connection, unit), mark=mark)
        for entry in before:
            if written.file is not None and (entry.rows, entry.checksum) == (written.rows, written.checksum):
                self.place.delete(written.file)  # the same rows are there already
                self.tell(f"{entry.label}: the same {counted(entry.rows, 'row')}")
                return self._again(unit, entry, mark)
        if written.file is not None:
            note_entry(self.place, self.backup_id, written, asdict(written))
        self.tell(f"{written.label}: {counted(written.rows, 'row')}, {counted(written.bytes, 'byte')}")
        return written

    @staticmethod
    def _again(unit: Unit, entry: Entry, mark: dict[str, Any] | None) -> Entry:
        """An entry of now, with the object of before."""
        now = unit.entry(entry.rows, entry.checksum, entry.file, entry.bytes, entry.sha256)
        return replace(now, mark=mark)

    def _write(self, connection: Connection, unit: Unit) -> Entry:
        """Write the rows to a new object; none where there are none."""
        content = NOTHING
        name = f"{OBJECTS}/{self.backup_id}/{unit.table}-{_named(unit)}-{secrets.token_hex(4)}.parquet"
        about = {"table": unit.table, "partition": _named(unit), "backup": self.backup_id}
        with closing(read_rows(connection, unit.relation, unit.columns, partitioned=unit.partitioned)) as rows:
            parts = rechunk(rows, GROUP_ROWS)
            first = next(parts, None)
            if first is None or not first.num_rows:
                return unit.entry(0, NOTHING.text, None, 0, "")
            with self.place.new(name) as upload:
                with pq.ParquetWriter(upload, file_schema(unit.columns, about), compression="zstd") as file:
                    part = first
                    while part is not None:
                        content = sum_contents(content, content_of_rows(part))
                        file.write_table(part, row_group_size=GROUP_ROWS)
                        part = next(parts, None)
        return unit.entry(content.rows, content.text, name, upload.bytes, upload.sha256)


def _named(unit: Unit) -> str:
    return "all" if unit.partition is None else unit.partition.name
