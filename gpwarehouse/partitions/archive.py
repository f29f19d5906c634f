"""The archive: a folder with a Parquet file or more for each archived month, and a manifest beside them.

``<folder>/<schema>/<table>/<partition>.json`` is the manifest; what it does not list is no archive. It is written last,
under another name first and renamed, as the files are, so a half-written file is never taken for a good one. Files are
never overwritten or deleted: late rows go to a further file, and a file that holds the rows of earlier ones supersedes
them in the manifest. Whose the folder is stands in it too: :mod:`gpwarehouse.partitions.archive_owner`.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gpwarehouse.dialect import RangePartition
from gpwarehouse.dialect.options import month_partition
from gpwarehouse.errors import PartitionError

__all__ = ["NOTHING", "Archive", "Content", "Manifest", "Part", "archived_as", "part_of", "written"]

FORMAT = 1
_FILE = re.compile(r"(.+)-\d+\.parquet")
_UNFINISHED = re.compile(r"\.(.+?)(?:-\d+\.parquet|\.json)\.\d+\.part")


@dataclass(frozen=True)
class Content:
    """The content of a table, whatever the order of its rows: equal for equal rows, and contents can be added.

    :ivar rows: their number.
    :ivar checksum: sums of the first and second 60 bits of each row's MD5; a row that is there twice counts twice.
    """

    rows: int
    checksum: tuple[int, int]

    def __add__(self, other: Content) -> Content:
        sums = (self.checksum[0] + other.checksum[0], self.checksum[1] + other.checksum[1])
        return Content(self.rows + other.rows, sums)

    @property
    def text(self) -> str:
        """The checksum as it stands in a manifest: two hexadecimal numbers."""
        return "-".join(f"{part:x}" for part in self.checksum)

    @classmethod
    def of_text(cls, rows: int, checksum: str) -> Content:
        """Read from a manifest."""
        first, second = (int(part, 16) for part in checksum.split("-"))
        return cls(rows, (first, second))


NOTHING = Content(0, (0, 0))


@dataclass(frozen=True)
class Part:
    """One Parquet file.

    :ivar file: its name, beside the manifest.
    :ivar columns: column → the server's type, in the table's order; a later part may have more.
    :ivar rows: and ``checksum``: its content, as the server counted it (:class:`Content`).
    :ivar sha256: of the file.
    :ivar revision: the schema's when it was written; ``server``: which one wrote it.
    :ivar superseded: whether a later file holds its rows too, so that it is not restored.
    """

    file: str
    columns: dict[str, str]
    rows: int
    checksum: str
    sha256: str
    bytes: int
    exported_at: str
    revision: str | None
    server: str
    superseded: bool = False

    @property
    def content(self) -> Content:
        """Its rows."""
        return Content.of_text(self.rows, self.checksum)


@dataclass(frozen=True)
class Manifest:
    """The archived files of one month.

    :ivar hold_until: a restored month's hold, and ``restored_at``: when it was restored, in manifests of builds that wrote
        both here; now they stand in the partition's comment.
    :ivar warehouse: whose months these are, as :func:`gpwarehouse.partitions.archive_owner.identity_of` says.
    """

    table: str
    partition: str
    start: str
    end: str
    parts: tuple[Part, ...] = ()
    hold_until: str | None = None
    restored_at: str | None = None
    warehouse: str | None = None
    format: int = FORMAT
    path: Path = field(default=Path(), compare=False)

    @property
    def current(self) -> list[Part]:
        """The files that together are the month."""
        return [part for part in self.parts if not part.superseded]

    @property
    def rows(self) -> int:
        """How many rows they hold."""
        return sum(part.rows for part in self.current)

    @property
    def tells_of_a_restore(self) -> bool:
        """Whether an earlier build restored the month, which has no mark then, and did not drop it again."""
        return self.restored_at is not None or self.hold_until is not None

    def tells(self, columns: Mapping[str, str]) -> bool:
        """Whether the files have all of these columns."""
        return all(columns.items() <= part.columns.items() for part in self.current)

    def is_exactly(self, content: Content, columns: Mapping[str, str]) -> bool:
        """Whether the files hold these rows, of these columns, and no others."""
        alike = all(part.columns == columns for part in self.current)
        return alike and sum((part.content for part in self.current), NOTHING) == content

    def check_place(self, table: str, partition: str) -> None:
        """Make sure that this is the manifest of a month, and not a copy of another's.

        :raises ValueError: saying whose it is.
        """
        if (self.table, self.partition) != (table, partition):
            raise ValueError(f"it belongs to {self.table} {self.partition}")
        named = re.fullmatch(r"m(\d{4})(\d\d)", partition)
        if named is not None and self.start:
            month = month_partition(datetime(int(named[1]), int(named[2]), 1, tzinfo=UTC))
            if (datetime.fromisoformat(self.start), datetime.fromisoformat(self.end)) != (month.start, month.end):
                raise ValueError(f"its month is from {self.start} to {self.end}")
        for part in self.parts:
            if not part.file.startswith(f"{partition}-") or Path(part.file).name != part.file:
                raise ValueError(f"it lists {part.file!r}, which is no file of this month")

    def with_part(self, part: Part, *, supersedes: bool, found: Iterable[Part] = ()) -> Manifest:
        """With one file more.

        :param found: files beside it that were not listed, and whose rows it holds.
        """
        before = tuple(replace(p, superseded=True) for p in self.parts) if supersedes else self.parts
        return replace(self, parts=(*before, *found, part), hold_until=None, restored_at=None)

    def file(self, part: Part) -> Path:
        """A part's path.

        :raises PartitionError: it is missing, or not the file that was written.
        """
        path = self.path.parent / part.file
        if not path.is_file():
            raise PartitionError(f"{self.table} {self.partition}: {path} is missing; bring it back from a backup")
        if path.stat().st_size != part.bytes or sha256_of(path) != part.sha256:
            raise PartitionError(
                f"{self.table} {self.partition}: {path} is not the file that was archived; bring it back from a backup"
            )
        return path


class Archive:
    """The archive of one schema.

    :param folder: as ``GPWAREHOUSE_ARCHIVE_DIR`` says.
    """

    def __init__(self, folder: Path, schema: str) -> None:
        self.folder = folder.expanduser() / schema

    def manifest_path(self, table: str, partition: str) -> Path:
        """Where a month's manifest stands, or would."""
        return self.folder / table / f"{partition}.json"

    def manifest(self, table: str, partition: str) -> Manifest | None:
        """Return the manifest of a month; None if nothing is archived.

        :raises PartitionError: the manifest cannot be read.
        """
        path = self.manifest_path(table, partition)
        if not path.is_file():
            return None
        try:
            said: dict[str, Any] = json.loads(path.read_text("utf-8"))
            if said["format"] != FORMAT:
                raise PartitionError(
                    f"{path} has format {said['format']!r}, and this package reads {FORMAT}: use the package that wrote it"
                )
            parts = tuple(Part(**part) for part in said.pop("parts"))
            manifest = Manifest(**said, parts=parts, path=path)
            manifest.check_place(table, partition)
        except (ValueError, KeyError, TypeError) as error:
            raise PartitionError(
                f"{path} is no manifest of an archived month: {error!r}; bring it back from a backup"
            ) from error
        return manifest

    def manifests(self, table: str, *, damaged: bool = False) -> list[Manifest]:
        """All months archived of a table.

        :param damaged: whether to leave out those that cannot be read.
        """
        found = []
        for path in sorted((self.folder / table).glob("*.json")):
            try:
                found.append(self.manifest(table, path.stem))
            except PartitionError:
                if not damaged:
                    raise
        return [manifest for manifest in found if manifest is not None]

    def unlisted(self, table: str, partition: str, manifest: Manifest | None) -> list[Path]:
        """Files of a month that its manifest does not list: a manifest was lost, or an archiver killed before it wrote it."""
        listed = {part.file for part in manifest.parts} if manifest is not None else set()
        return [path for month, path in self._files(table) if month == partition and path.name not in listed]

    def orphans(self, table: str) -> dict[str, list[Path]]:
        """Month → its files, of the months that have files and no manifest."""
        found: dict[str, list[Path]] = {}
        for month, path in self._files(table):
            if not self.manifest_path(table, month).is_file():
                found.setdefault(month, []).append(path)
        return found

    def _files(self, table: str) -> list[tuple[str, Path]]:
        """Month and path of all files that are named as archived months are."""
        found = ((_FILE.fullmatch(path.name), path) for path in sorted((self.folder / table).glob("*.parquet")))
        return [(match[1], path) for match, path in found if match is not None]

    def unfinished(self, table: str) -> list[tuple[str, Path]]:
        """Month and path of what archivers are writing now, or were when they were killed."""
        found = ((_UNFINISHED.fullmatch(path.name), path) for path in sorted((self.folder / table).glob(".*.part")))
        return [(match[1], path) for match, path in found if match is not None]

    def write(self, manifest: Manifest) -> Manifest:
        """Write the manifest in place of the one there is."""
        path = self.manifest_path(manifest.table, manifest.partition)
        said = {name: value for name, value in asdict(manifest).items() if name != "path"}
        with written(path) as temporary:
            temporary.write_text(json.dumps(said, indent=2) + "\n", "utf-8")
        return replace(manifest, path=path)

    def new_file(self, table: str, partition: str) -> Path:
        """A name that no file has."""
        folder = self.folder / table
        number = 1
        while (path := folder / f"{partition}-{number}.parquet").exists():
            number += 1
        return path


def archived_as(partition: RangePartition) -> str:
    """Return the archive's name of a partition: a month by its month, whatever the partition's name, else by that."""
    if isinstance(partition.start, datetime):
        month = month_partition(partition.start)
        if (month.start, month.end) == (partition.start, partition.end):
            return month.name
    return partition.name


@contextmanager
def written(path: Path) -> Iterator[Path]:
    """A temporary name beside ``path``, which becomes it at the end of the block, all of it on disk, or is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        temporary.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    finally:
        temporary.unlink(missing_ok=True)


def sha256_of(path: Path) -> str:
    """Of a file, hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def part_of(path: Path, content: Content, columns: Mapping[str, str], *, revision: str | None, server: str) -> Part:
    """The entry of a file that was written just now."""
    return Part(
        file=path.name,
        columns=dict(columns),
        rows=content.rows,
        checksum=content.text,
        sha256=sha256_of(path),
        bytes=path.stat().st_size,
        exported_at=datetime.now(UTC).isoformat(timespec="seconds"),
        revision=revision,
        server=server,
    )
