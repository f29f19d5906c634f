"""A month to the archive and back: exported, verified row for row, dropped; restored, verified again.

Verified means: the file is read back into a temporary table of the server's, and that holds the same rows as the month.
The month is dropped only if, with all writers to it locked out, it still holds exactly what the files hold.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Table, text
from sqlalchemy.engine import Connection, Engine

from gpwarehouse.derived import refresh_aggregates
from gpwarehouse.dialect import Analyze, RangePartition
from gpwarehouse.engine import advisory_key, dialect_of, qualified_name
from gpwarehouse.errors import PartitionError
from gpwarehouse.months import Patience, become_owner, change_partitions_after, make_partitions
from gpwarehouse.partitions.archive import Archive, Content, Manifest, Part, archived_as, part_of, written
from gpwarehouse.partitions.archive_owner import Ownership, claim
from gpwarehouse.partitions.holds import Hold, extend_hold, is_held, is_restored, mark_restored
from gpwarehouse.partitions.parquet_rows import (
    columns_in,
    common_rows,
    content_of,
    load_files,
    scratch_table,
    write_file,
)
from gpwarehouse.partitions.partition_changes import columns_of, drop, hold_still, sibling, there
from gpwarehouse.partitions.plan import child_of, holds_rows, refuse_unlisted
from gpwarehouse.partitions.rekeyed_rows import can_be_rekeyed, rekey, rekey_in_place

__all__ = ["Archiver"]

LOCK_ARCHIVE = "archive"
"""Whoever exports or restores a month holds this lock: two at once would write two files."""
RESTORED = "restored from the archive"


@dataclass(frozen=True)
class Archiver:
    """Archives months of one warehouse.

    :ivar revision: of the schema, told in the files; ``ownership``: what the folder says of whose it is;
        ``patience``: with those who use the table; ``lot_root_pattern``: as in the settings.
    """

    engine: Engine
    archive: Archive
    revision: str | None
    ownership: Ownership
    patience: Patience | None = None
    lot_root_pattern: str | None = None

    def check_owner(self, manifest: Manifest) -> None:
        """Refuse another warehouse's manifest: its rows are not ours.

        :raises PartitionError: naming the manifest.
        """
        if not self.ownership.knows(manifest.warehouse):
            raise PartitionError(
                f"{manifest.path} belongs to another warehouse ({manifest.warehouse}; ours is {self.ownership.warehouse}); "
                "give each a GPWAREHOUSE_ARCHIVE_DIR of its own"
            )

    def sweep(self, tables: Iterable[Table]) -> None:
        """Remove what killed archivers left unfinished; that of a living one stays, for it has its month's lock."""
        for table in tables:
            for month, path in self.archive.unfinished(table.name):
                with self._alone(table, month) as alone:
                    if alone:
                        path.unlink(missing_ok=True)

    def export(self, table: Table, partition: RangePartition, now: datetime) -> int | None:
        """Export a month, verify it and drop it; how many rows it had, None if it is gone, held, or somebody else's now.

        :raises PartitionError: the file does not hold what the table does, or rows came in the meantime; the month
            stands, and so do files that were verified.
        """
        with self._alone(table, archived_as(partition)) as alone:
            if not alone:
                return None
            with self.engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
                with connection.begin():
                    found = there(connection, table, partition)
                    if found is None:
                        return None
                    become_owner(connection, table)
                    connection.execute(text("SET LOCAL statement_timeout = 0"))
                    child = sibling(table, child_of(table, found))
                    columns = columns_of(connection, child)
                    content = content_of(connection, child, columns)
                    self._write(connection, table, found, columns, content)
            dropped = change_partitions_after(
                self.engine,
                table,
                lambda connection: _still(connection, table, partition, columns, content, now),
                lambda connection, still: drop(connection, table, still),
                patience=self.patience,
            )
            if dropped is not None:
                self._left(table, partition)
        return content.rows if dropped is not None else None

    def _left(self, table: Table, partition: RangePartition) -> None:
        """Forget what an earlier build wrote of a restore; not before the month is gone, or changes would pass for late rows."""
        manifest = self.archive.manifest(table.name, archived_as(partition))
        if manifest is not None and manifest.tells_of_a_restore:
            self.archive.write(replace(manifest, restored_at=None, hold_until=None))

    def _write(
        self,
        connection: Connection,
        table: Table,
        partition: RangePartition,
        columns: Mapping[str, str],
        content: Content,
    ) -> None:
        """See to it that the archive holds a month's rows."""
        name = archived_as(partition)
        before = self.archive.manifest(table.name, name)
        if before is not None:
            self.check_owner(before)
        child = sibling(table, child_of(table, partition))
        found = self._find(connection, child, columns, self.archive.unlisted(table.name, name, before))
        if before is not None and before.is_exactly(content, columns):
            for part in before.current:
                before.file(part)
            self._check_listed(before, found)
            return
        restored = is_restored(connection, table, partition) or (before is not None and before.tells_of_a_restore)
        if not content.rows and (before is None or not restored):
            return
        supersedes, rekeyed = False, False
        if before is not None:
            supersedes, rekeyed = self._holds_archived(connection, child, columns, before, restored)
        if before is not None and supersedes and not rekeyed and before.rows == content.rows and before.tells(columns):
            self._check_listed(
                before, found
            )  # columns were dropped since, nothing else: the files know more than the table
            return
        claim(self.archive, self.ownership.warehouse)
        manifest = before or Manifest(
            table=table.name,
            partition=name,
            start=_iso(partition.start),
            end=_iso(partition.end),
            warehouse=self.ownership.warehouse,
        )
        path = self.archive.new_file(table.name, name)
        about = {"table": table.name, "partition": name, "revision": self.revision or ""}
        with written(path) as file:
            write_file(connection, child, columns, file, about)
            scratch = scratch_table(connection, child, columns)
            load_files(connection, scratch, columns, [file])
            read_back = content_of(connection, scratch, columns)
            if read_back != content:
                raise PartitionError(
                    f"{table.name} {partition.name}: the file read back holds {read_back.rows} rows ({read_back.text}), the "
                    f"table {content.rows} ({content.text}); nothing was dropped. "
                    f"{_describe_difference(connection, child, scratch, columns)}"
                )
        server = str(dialect_of(connection).server_info)
        part = part_of(path, content, columns, revision=self.revision, server=server)
        self.archive.write(manifest.with_part(part, supersedes=supersedes, found=found))

    def _check_listed(self, manifest: Manifest, found: list[Part]) -> None:
        """List files, too, whose rows those listed hold."""
        if found:
            self.archive.write(replace(manifest, parts=(*manifest.parts, *found)))

    def _find(
        self, connection: Connection, child: Table, columns: Mapping[str, str], files: Iterable[Path]
    ) -> list[Part]:
        """Files that no manifest lists, as an archiver leaves them that was killed before it wrote one.

        :raises PartitionError: one holds rows that the month does not, so that they would be forgotten.
        """
        found = []
        for path in files:
            said = columns_in(path)
            both = {name: kind for name, kind in said.items() if columns.get(name) == kind}
            scratch = scratch_table(connection, child, both)
            rows = load_files(connection, scratch, both, [path])
            if common_rows(connection, scratch, child, both) < rows:
                raise PartitionError(
                    f"{path} is not listed by a manifest ({path.parent}), and holds rows that the month does not; "
                    "nothing was dropped. Bring the manifest back from a backup, or move the file elsewhere, if it is "
                    "none of this archive"
                )
            content = content_of(connection, scratch, both)
            part = part_of(path, content, both, revision=None, server="unknown")
            found.append(replace(part, superseded=True))
        return found

    def _holds_archived(
        self, connection: Connection, child: Table, columns: Mapping[str, str], manifest: Manifest, restored: bool
    ) -> tuple[bool, bool]:
        """Whether a month that is open again holds the rows archived of it: all, or none (late rows).

        And whether some of them have other wafer keys there, as restoring gives them, and re-keying does to those restored.

        :param restored: whether it was restored, so that it must hold them.
        Compared by the columns that both have: a column may have been dropped since, or changed its type.

        :raises PartitionError: some of them.
        """
        shared, archived, rekeyed = 0, 0, False
        for part in manifest.current:
            moved: Mapping[Any, int] = {}
            both = {name: kind for name, kind in part.columns.items() if columns.get(name) == kind}
            scratch = scratch_table(connection, child, both)
            load_files(connection, scratch, both, [manifest.file(part)])
            as_they_were = common_rows(connection, scratch, child, both)
            if as_they_were < part.rows and can_be_rekeyed(both):
                moved = rekey_in_place(connection, scratch, self.lot_root_pattern).moved
                rekeyed = rekeyed or bool(moved)
            shared += common_rows(connection, scratch, child, both) if moved else as_they_were
            archived += part.rows
        if shared == archived or (shared == 0 and not restored):
            return shared > 0, rekeyed
        told = (
            f"{manifest.table} {manifest.partition}: of the {archived} rows archived of this month it holds {shared}. "
        )
        if not restored:
            raise PartitionError(
                told
                + "It has no mark of a restore, so these came twice, as late rows: delete them from the table, if they "
                "are the archived ones, and run it again; nothing was dropped. If an earlier build restored it, and rows "
                f"were changed since, say so: COMMENT ON TABLE {qualified_name(connection, child)} IS 'gpwarehouse: restored "
                "before'; then the next run tells what to do"
            )
        raise PartitionError(
            told
            + "It was restored, and rows were changed or deleted since, so it cannot be told what the archive shall "
            "hold; nothing was dropped. If the archive is right: empty the month, restore it again. If the table is "
            f"right: move {manifest.path} and the files it names elsewhere (they are the only trace of those rows), "
            "and run it again"
        )

    def restore(self, table: Table, manifest: Manifest, *, hold_days: int) -> tuple[int, list[str]]:
        """Make an archived month again, load it and verify it; how many rows, and what there is to say of them.

        Wafers that were re-keyed since have their keys of now.

        :param hold_days: for so long retention leaves it alone.
        :raises PartitionError: the month holds rows, the manifest does not list all of its files, or they do not give what
            was archived; nothing was loaded.
        """
        self.check_owner(manifest)
        partition = _range(manifest)
        with self._alone(table, manifest.partition) as alone:
            if not alone:
                raise PartitionError(
                    f"{table.name} {partition.name}: somebody else archives or restores this month now"
                )
            manifest = (
                self.archive.manifest(table.name, manifest.partition) or manifest
            )  # it may have changed until now
            refuse_unlisted(self.archive, table, partition)
            files = [(part, manifest.file(part)) for part in manifest.current]
            make_partitions(self.engine, table, [partition])
            with self.engine.begin() as connection:
                become_owner(connection, table)
                connection.execute(text("SET LOCAL statement_timeout = 0"))
                found = there(connection, table, partition)
                if found is None:
                    raise PartitionError(
                        f"{table.name} {partition.name}: a partition with other bounds holds its range"
                    )
                child = sibling(table, child_of(table, found))
                # In the order in which a re-keying goes, and a load: the fact, then its months.
                whole = qualified_name(connection, table)
                connection.execute(text(f"LOCK TABLE ONLY {whole} IN ROW EXCLUSIVE MODE"))
                hold_still(connection, table, found)
                if holds_rows(connection, table, found):
                    raise PartitionError(
                        f"{table.name} {partition.name} holds rows already; archive them first (gpwarehouse "
                        "partitions apply), then restore both together"
                    )
                for part, file in files:
                    _load(connection, table, child, part, file)
                said = self._of_other_revisions(table, manifest)
                if can_be_rekeyed(columns_of(connection, child)):
                    keys = rekey(connection, table, child, self.lot_root_pattern)
                    said += keys.lines(f"{table.name} {partition.name}")
                connection.execute(Analyze(child))
                now = datetime.now(UTC)
                if hold_days:
                    extend_hold(connection, table, found, Hold(now + timedelta(days=hold_days), RESTORED))
                mark_restored(connection, table, found, now)
                if isinstance(found.start, datetime):
                    refresh_aggregates(connection, table.name, months=[found.start])
        return manifest.rows, said

    def _of_other_revisions(self, table: Table, manifest: Manifest) -> list[str]:
        """Files that were written at another revision of the schema than now: what changed data since passed them by."""
        others = sorted(
            {part.revision for part in manifest.current if part.revision not in (None, self.revision)}, key=str
        )
        return [
            f"{table.name} {manifest.partition}: rows archived at revision {revision}, the schema is at {self.revision}: where a "
            "revision between them changed data, these rows were not there; do it to them now"
            for revision in others
        ]

    @contextmanager
    def _alone(self, table: Table, partition: str) -> Iterator[bool]:
        """Whether nobody else archives or restores this month until the end of the block."""
        with self.engine.connect() as connection, connection.begin():
            key = advisory_key(LOCK_ARCHIVE, qualified_name(connection, table), partition)
            yield bool(connection.execute(text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": key}).scalar_one())


def _load(connection: Connection, table: Table, child: Table, part: Part, file: Path) -> None:
    """Load one file into its month and see that the month holds just so much more."""
    if missing := part.columns.keys() - columns_of(connection, child).keys():
        raise PartitionError(
            f"{table.name}: {file} has column {min(missing)!r}, which the table has no more; restore with the "
            f"package of its time (revision {part.revision}), or add the column"
        )
    before = content_of(connection, child, part.columns)
    load_files(connection, table, part.columns, [file])
    if content_of(connection, child, part.columns) != before + part.content:
        raise PartitionError(f"{table.name}: the rows of {file} did not come back as they were; nothing was loaded")


def _iso(bound: object) -> str:
    return bound.isoformat() if isinstance(bound, datetime) else ""


def _range(manifest: Manifest) -> RangePartition:
    return RangePartition(
        manifest.partition, datetime.fromisoformat(manifest.start), datetime.fromisoformat(manifest.end)
    )


def _still(
    connection: Connection,
    table: Table,
    partition: RangePartition,
    columns: Mapping[str, str],
    content: Content,
    now: datetime,
) -> RangePartition | None:
    """See that a month holds these rows and no others, and keep all writers off it; None if it is gone, or held by now.

    :raises PartitionError: it does not.
    """
    found = there(connection, table, partition)
    if found is None:
        return None
    child = hold_still(connection, table, found)
    if is_held(connection, table, found, now):
        return None
    if content_of(connection, child, columns) != content:
        raise PartitionError(
            f"{table.name} {partition.name}: its rows changed while it was archived; it was not dropped. Run the command again"
        )
    return found


def _describe_difference(connection: Connection, table: Table, copied: Table, columns: Mapping[str, str]) -> str:
    """A sentence on the columns whose values did not come back as they were."""
    differing = [
        name
        for name, kind in columns.items()
        if content_of(connection, table, {name: kind}) != content_of(connection, copied, {name: kind})
    ]
    if not differing:
        return "Each column by itself is the same; report this, it should not happen"
    times = [name for name in differing if columns[name].startswith(("timestamp", "date"))]
    hint = "; of times only those of the years 1 to 9999 do" if times else ""
    return f"Values of column {', '.join(map(repr, differing))} do not survive the file{hint}"
