"""Whether a backup is whole, and whether a warehouse holds just what it holds."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy.engine import Connection, Engine

from gpwarehouse.backup.catalog import OBJECTS
from gpwarehouse.backup.manifest import Entry, Manifest
from gpwarehouse.backup.place import Place
from gpwarehouse.backup.restore import content_in
from gpwarehouse.backup.row_checksum import content_of_rows, sum_contents
from gpwarehouse.backup.snapshot import Unit, open_snapshot
from gpwarehouse.engine.progress import Announce, counted
from gpwarehouse.errors import BackupError
from gpwarehouse.migrate.history import HISTORY_TABLE, database_heads
from gpwarehouse.partitions.archive import NOTHING, Content
from gpwarehouse.partitions.parquet_rows import BATCH_ROWS
from gpwarehouse.settings import WarehouseSettings

__all__ = ["Comparison", "VerifyResult", "compare", "verify"]


@dataclass(frozen=True)
class VerifyResult:
    """What was found of a backup.

    :ivar objects: how many were looked at; ``rows``: in them.
    :ivar problems: what is wrong; empty: nothing.
    :ivar warnings: what was left out.
    """

    backup_id: str
    objects: int
    rows: int
    bytes: int
    problems: tuple[str, ...]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """A table or month in the backup and in the warehouse.

    :ivar rows: in the backup, and ``checksum`` of them; ``rows_here`` and ``checksum_here``: in the warehouse.
    """

    table: str
    partition: str | None
    rows: int
    checksum: str
    rows_here: int
    checksum_here: str

    @property
    def equal(self) -> bool:
        """Whether both hold the same rows."""
        return (self.rows, self.checksum) == (self.rows_here, self.checksum_here)


def verify(place: Place, manifest: Manifest, *, quick: bool = False, parallel: int = 2, tell: Announce) -> VerifyResult:
    """Read all objects of a backup: size, SHA-256, and the checksum of their rows. No server is needed.

    :param quick: whether only to list the objects, and compare sizes.
    """
    objects = place.list(OBJECTS)
    problems = []
    whole: list[Entry] = []
    for name, entry in manifest.files.items():
        if name not in objects:
            problems.append(f"{entry.label}: {name} is missing")
        elif objects[name].bytes != entry.bytes:
            problems.append(f"{entry.label}: {name} has {objects[name].bytes} bytes, and should have {entry.bytes}")
        else:
            whole.append(entry)

    def look(entry: Entry) -> str | None:
        try:
            _check_object(place, entry)
        except BackupError as error:
            return f"{entry.label}: {error}"
        tell(f"{entry.label}: {counted(entry.rows, 'row')}, {counted(entry.bytes, 'byte')}")
        return None

    if not quick:
        with ThreadPoolExecutor(max(parallel, 1)) as pool:
            problems += [problem for problem in pool.map(look, whole) if problem is not None]
    size = sum(entry.bytes for entry in manifest.files.values())
    return VerifyResult(manifest.id, len(manifest.files), manifest.rows, size, tuple(problems))


def _check_object(place: Place, entry: Entry) -> None:
    assert entry.file is not None
    place.check(entry.file, entry.bytes, entry.sha256)
    found = NOTHING
    with place.opened(entry.file, entry.bytes) as opened, pq.ParquetFile(opened) as file:
        for batch in file.iter_batches(batch_size=BATCH_ROWS):
            found = sum_contents(found, content_of_rows(pa.Table.from_batches([batch])))
    if found != entry.content:
        raise BackupError(f"it holds {found.rows} rows ({found.text}), and should hold {entry.rows} ({entry.checksum})")


def compare(
    engine: Engine, settings: WarehouseSettings, manifest: Manifest, *, parallel: int = 2, tell: Announce
) -> list[Comparison]:
    """Read all tables of a warehouse, and compare their rows with those of a backup. Nothing is changed.

    :raises BackupError: the warehouse is of another revision.
    """
    known = {entry.key: entry for entry in manifest.entries if entry.table != HISTORY_TABLE}
    with open_snapshot(engine, settings.schema_name, parallel) as snapshot:
        here = ", ".join(database_heads(snapshot.leader, settings))
        if here != manifest.revision:
            raise BackupError(
                f"schema {settings.schema_name!r} is at revision {here}, the backup at {manifest.revision}"
            )
        units = tuple(unit for unit in snapshot.units if unit.table != HISTORY_TABLE)

        def one(connection: Connection, unit: Unit) -> Comparison:
            entry = known.get(unit.key)
            content = content_in(connection, unit, _columns(entry, unit))
            name = None if unit.partition is None else unit.partition.name
            found = _compared(unit.table, name, NOTHING if entry is None else entry.content, content)
            tell(f"{unit.table} {name or ''}: {'equal' if found.equal else 'not equal'}")
            return found

        found = snapshot.each(one, units)
        gone = known.keys() - {unit.key for unit in units}
    return [*found, *_missing(known[key] for key in sorted(gone, key=str))]


def _columns(entry: Entry | None, unit: Unit) -> dict[str, str]:
    """The backup's columns in their order, where the table has just these; else its own, so that they are not equal."""
    return entry.columns if entry is not None and entry.columns == unit.columns else unit.columns


def _missing(entries: Iterable[Entry]) -> list[Comparison]:
    return [_compared(entry.table, entry.partition, entry.content, NOTHING) for entry in entries]


def _compared(table: str, partition: str | None, there: Content, here: Content) -> Comparison:
    return Comparison(table, partition, there.rows, there.text, here.rows, here.text)
