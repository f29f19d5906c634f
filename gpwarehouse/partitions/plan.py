"""The plan for the months of the facts, from the catalog, the policy and the archive; nothing is changed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Table, text
from sqlalchemy.engine import Connection

from gpwarehouse.dialect import AppendOptimized, RangePartition, RangePartitions
from gpwarehouse.dialect.options import missing_partitions, month_partition
from gpwarehouse.dialect.reflection import storages_of
from gpwarehouse.engine import dialect_of, qualified_name
from gpwarehouse.errors import PartitionError, SettingsError
from gpwarehouse.models import ANCHOR_MONTH, FACTS
from gpwarehouse.months import child_of, default_there, overlapping, partitions_there, schema_of
from gpwarehouse.partitions.archive import Archive, archived_as
from gpwarehouse.partitions.holds import Hold, holds_of, is_restored
from gpwarehouse.retention import RetentionRule, first_filled, first_kept, rule_for
from gpwarehouse.settings import WarehouseSettings

__all__ = [
    "ANCHOR",
    "Plan",
    "Step",
    "child_of",
    "cold_storage",
    "holds_rows",
    "make_plan",
    "refuse_unlisted",
    "rules_of",
]

_ODD = re.compile(r"[%:\\]")
"""What drivers, and texts of SQL, take for something of theirs; no name of ours has it."""
ANCHOR = f"m{ANCHOR_MONTH.replace('-', '')}"
"""The partition of the first revision. It is never taken away, only emptied: Greenplum 6 needs one, and an upgrade finds
the same schema on every day."""


@dataclass(frozen=True)
class Step:
    """One change.

    :ivar action: create, hold, compress, detach, move, export or drop.
    :ivar partition: its name; ``start`` and ``end``: its bounds, UTC.
    :ivar why: the rule it follows.
    :ivar hold: for create and hold: so long retention leaves the month alone, and why.
    """

    action: str
    table: str
    partition: str
    start: datetime
    end: datetime
    why: str
    hold: Hold | None = None

    @property
    def range(self) -> RangePartition:
        """The partition as a value."""
        return RangePartition(self.partition, self.start, self.end)


@dataclass(frozen=True)
class Plan:
    """Changes in the order they are made, and what the policy asks for that is not done, with the reason."""

    steps: tuple[Step, ...]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[Step]:
        return iter(self.steps)

    def to_dict(self) -> dict[str, Any]:
        """For JSON: bounds in ISO 8601."""
        steps = [
            {**asdict(s), "start": s.start.isoformat(), "end": s.end.isoformat(), "hold": s.hold and str(s.hold)}
            for s in self.steps
        ]
        return {"steps": steps, "notes": list(self.notes)}


def rules_of(settings: WarehouseSettings) -> dict[str, RetentionRule]:
    """Fact → its rule.

    :raises SettingsError: the policy names a table that is no fact, or exports without an archive.
    """
    if strangers := sorted({name for name, _ in settings.retention} - FACTS.keys() - {"*"}):
        raise SettingsError(
            f"GPWAREHOUSE_RETENTION names {strangers[0]!r}, which is no partitioned fact; allowed: *, {', '.join(FACTS)}"
        )
    rules = {name: rule_for(settings.retention, name) for name in FACTS}
    if settings.archive_dir is None and any(rule.action == "export" for rule in rules.values()):
        raise SettingsError(
            "GPWAREHOUSE_RETENTION exports months, but GPWAREHOUSE_ARCHIVE_DIR names no folder for them"
        )
    return rules


def cold_storage(table: Table, settings: WarehouseSettings) -> AppendOptimized:
    """How a month is stored once it is cold: as the table, compressed harder."""
    warm = table.dialect_options["greenplum"]["storage"]
    assert isinstance(warm, AppendOptimized)
    cold = settings.cold_compression
    return AppendOptimized(orientation=warm.orientation, compresstype=cold.kind, compresslevel=cold.level)


def holds_rows(connection: Connection, table: Table, partition: RangePartition) -> bool:
    """Whether there is a row in a partition."""
    child = Table(child_of(table, partition), table.metadata.__class__(), schema=table.schema)
    name = qualified_name(connection, child)
    return bool(connection.execute(text(f"SELECT EXISTS (SELECT 1 FROM {name})")).scalar_one())


def refuse_unlisted(archive: Archive, table: Table, partition: RangePartition) -> None:
    """Keep a month from being dropped, or restored, whose archive has files that no manifest lists.

    Nobody knows what is in them: an older manifest was brought back, or an archiver killed.

    :raises PartitionError: it names them.
    """
    month = archived_as(partition)
    if files := archive.unlisted(table.name, month, archive.manifest(table.name, month)):
        raise PartitionError(
            f"{table.name} {partition.name}: {', '.join(map(str, files))} not listed by a manifest; bring the manifest back "
            "from a backup, or move the files elsewhere"
        )


@dataclass
class _Planner:
    connection: Connection
    settings: WarehouseSettings
    now: datetime
    notes: list[str]
    asked: tuple[RangePartition, ...] = ()
    hold: Hold | None = None

    def of(self, table: Table, rule: RetentionRule) -> Iterator[Step]:
        there = self._find_partitions(table)
        made = list(self._months(table, rule, there))
        yield from made
        self._tell_orphans(table)
        due = first_kept(rule.after, self.now) if rule.action and rule.after else None
        leaving = [p for p in there if due is not None and _has_ended(p, due)]
        held = {name: hold for name, hold in self._holds(table, leaving).items() if self.now < hold.until}
        for partition in leaving:
            asked, before = self._ask_hold(partition), held.get(partition.name)
            if asked is not None and (before is None or before.until < asked.until):
                yield _step("hold", table, partition, "asked for", asked)
            elif before is not None:
                self.notes.append(f"{table.name}: {partition.name} is {before}")
            else:
                yield from self._leaves(table, rule, partition)
        for partition in missing_partitions((*there, *(s.range for s in made)), self.asked):
            hold = self.hold if due is not None and _has_ended(partition, due) else None
            yield _step("create", table, partition, f"asked for, {hold}" if hold else "asked for", hold)
        if rule.compress_after:
            cold = first_kept(rule.compress_after, self.now)
            yield from self._cold(
                table,
                rule,
                [p for p in (*there, *(s.range for s in made)) if p.start and _has_ended(p, cold) and p not in leaving],
            )

    def _find_partitions(self, table: Table) -> tuple[RangePartition, ...]:
        """The partitions there are; told of, what there should not be."""
        if (default := default_there(self.connection, table)) is not None:
            self.notes.append(
                f"{table.name}: retention takes no rows of the default partition {default}, and no month is made while it holds "
                "rows of it: make the months of its rows by SplitDefaultPartition and drop it"
            )
        return partitions_there(self.connection, table)

    def _tell_orphans(self, table: Table) -> None:
        if self.settings.archive_dir is not None:
            for month, files in Archive(self.settings.archive_dir, self._schema(table)).orphans(table.name).items():
                self.notes.append(
                    f"{table.name}: the archive has files of {month} and no manifest that lists them: "
                    f"{', '.join(map(str, files))}; bring it back from a backup"
                )

    def _months(self, table: Table, rule: RetentionRule, there: tuple[RangePartition, ...]) -> Iterator[Step]:
        """List the months ahead, and those missing since the first, as far back as window and policy go."""
        this_month = first_kept(0, self.now)
        first = min((p.start for p in there if p.name != ANCHOR and isinstance(p.start, datetime)), default=this_month)
        begin = min(first_filled(first, self.now, window=self.settings.partition_window, rule=rule), this_month)
        count = (self.now.year - begin.year) * 12 + self.now.month - begin.month + 1 + self.settings.partition_premake
        wanted = RangePartitions.monthly("event_ts", first=f"{begin:%Y-%m}", months=count).partitions
        for partition in missing_partitions(there, wanted):
            assert isinstance(partition.start, datetime)
            if odd := overlapping(partition, there):
                self.notes.append(
                    f"{table.name}: month {partition.name} is not made: partition {odd[0].name} holds part of it; "
                    "move its rows and drop it"
                )
                continue
            yield _step("create", table, partition, "ahead" if partition.start >= this_month else "gap")

    def _leaves(self, table: Table, rule: RetentionRule, partition: RangePartition) -> Iterator[Step]:
        why = f"{rule.action} after {rule.after} months"
        assert rule.action is not None
        if _ODD.search(child_of(table, partition)):
            self.notes.append(
                f"{table.name}: {partition.name} is left alone: rename its table, whose name has one of % : \\"
            )
            return
        if partition.start is None:
            self.notes.append(
                f"{table.name}: {partition.name} has no lower bound; it is left alone, split it by months"
            )
            return
        if self.settings.archive_dir is not None:
            archive = Archive(self.settings.archive_dir, self._schema(table))
            try:
                manifest = archive.manifest(table.name, archived_as(partition))
                if rule.action == "drop":
                    refuse_unlisted(archive, table, partition)
            except PartitionError as error:  # of one month, which must not stop the others
                self.notes.append(f"{table.name}: {partition.name} is left alone: {error}")
                return
            if manifest is not None:
                restored = manifest.tells_of_a_restore or is_restored(self.connection, table, partition)
                again = "restored" if restored else "no mark of a restore, so what it holds is late"
                why += (
                    f"; archived before ({manifest.rows} rows in {len(manifest.current)} files) and open again: {again}"
                )
        if partition.name == ANCHOR:
            if rule.action in ("detach", "move"):
                self.notes.append(f"{table.name}: {ANCHOR}, the month of the first revision, stays where it is")
            elif holds_rows(self.connection, table, partition):
                yield _step(
                    rule.action, table, partition, f"{why}; emptied, not dropped: the month of the first revision"
                )
            return
        yield _step(rule.action, table, partition, why)

    def _ask_hold(self, partition: RangePartition) -> Hold | None:
        """The hold of a month that is asked for."""
        return self.hold if any((p.start, p.end) == (partition.start, partition.end) for p in self.asked) else None

    def _holds(self, table: Table, leaving: list[RangePartition]) -> dict[str, Hold]:
        return holds_of(self.connection, table, leaving) if leaving else {}

    def _schema(self, table: Table) -> str:
        return schema_of(self.connection, table) or ""

    def _cold(self, table: Table, rule: RetentionRule, cold: list[RangePartition]) -> Iterator[Step]:
        dialect = dialect_of(self.connection)
        assert dialect.capabilities is not None
        if not dialect.capabilities.append_optimized:
            self.notes.append(f"{table.name}: 'compress' is left out: this server has no append-optimized storage")
            return
        wanted = cold_storage(table, self.settings)
        names = {child_of(table, p): p for p in cold if p.name != ANCHOR and not _ODD.search(child_of(table, p))}
        stored = storages_of(self.connection, dialect, self._schema(table), list(names))
        for name, partition in names.items():
            found = stored.get(name)
            if not isinstance(found, AppendOptimized) or _compression(found) != _compression(wanted):
                yield _step(
                    "compress", table, partition, f"compress after {rule.compress_after} months, {wanted.compresstype} "
                    f"level {wanted.compresslevel}"
                )  # fmt: skip


def _compression(storage: AppendOptimized) -> tuple[str | None, int | None]:
    return storage.compresstype, storage.compresslevel


def _has_ended(partition: RangePartition, limit: datetime) -> bool:
    return isinstance(partition.end, datetime) and partition.end <= limit


def _step(action: str, table: Table, partition: RangePartition, why: str, hold: Hold | None = None) -> Step:
    assert isinstance(partition.start, datetime)
    assert isinstance(partition.end, datetime)
    return Step(action, table.name, partition.name, partition.start, partition.end, why, hold)


ORDER = ("create", "hold", "compress", "detach", "move", "export", "drop")


def make_plan(
    connection: Connection,
    settings: WarehouseSettings,
    now: datetime,
    *,
    tables: Iterable[str] | None = None,
    months: Iterable[datetime] = (),
    hold: Hold | None = None,
) -> Plan:
    """Make the plan for now.

    :param tables: facts to look at; else all.
    :param months: further months to make, any instant in each; ``hold``: for those of them that retention would take.
    :raises SettingsError: the policy does not fit the facts.
    """
    asked = tuple(month_partition(month) for month in months)
    planner = _Planner(connection, settings, now.astimezone(UTC), [], asked, hold)
    rules = rules_of(settings)
    steps = [
        step
        for name in (rules if tables is None else tables)
        for step in planner.of(FACTS[name].__table__, rules[name])
    ]
    steps.sort(key=lambda step: (ORDER.index(step.action), step.table, step.start))
    return Plan(tuple(steps), tuple(dict.fromkeys(planner.notes)))
