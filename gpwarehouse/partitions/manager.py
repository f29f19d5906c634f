"""The partitions of a warehouse's facts: plan, apply, list, restore, skew."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import pandas as pd
from sqlalchemy import Table, exc, select, text
from sqlalchemy.engine import Connection, Engine

from gpwarehouse.dialect import Analyze
from gpwarehouse.dialect.options import month_partition
from gpwarehouse.engine import Cause, cause_of, could_not_connect, explain_operational_error, look, unexpected, words_of
from gpwarehouse.engine.progress import Announce
from gpwarehouse.errors import GpwarehouseError, InvalidInputError, PartitionError
from gpwarehouse.models import FACTS, migration_history_table
from gpwarehouse.months import (
    LOCK_NOT_AVAILABLE,
    Patience,
    change_partitions,
    change_partitions_after,
    partitions_there,
    used_by,
)
from gpwarehouse.partitions import partition_changes
from gpwarehouse.partitions.archive import Archive
from gpwarehouse.partitions.archive_month import Archiver
from gpwarehouse.partitions.archive_owner import adopt, identity_of, owned
from gpwarehouse.partitions.holds import Hold, extend_hold, is_held, put_hold
from gpwarehouse.partitions.plan import ANCHOR, Plan, Step, cold_storage, make_plan, refuse_unlisted, rules_of
from gpwarehouse.partitions.sizes import list_frame, skew_frame
from gpwarehouse.retention import first_kept
from gpwarehouse.settings import WarehouseSettings

__all__ = ["Outcome", "Partitions", "Report"]

HOLD_DAYS = 30
LATE = "made for late data"

Result = TypeVar("Result")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """The outcome of a step.

    :ivar done: False where somebody else did it, or is at it now, or it failed.
    :ivar rows: that left the fact or were rewritten; None where none were to be.
    :ivar error: why it failed.
    """

    step: Step
    done: bool
    seconds: float
    rows: int | None = None
    error: str | None = None

    def __str__(self) -> str:
        if self.error is not None:
            return f"failed: {self.error}"
        rows = f", {self.rows} rows" if self.rows else ""
        return f"{'done' if self.done else 'left out'}{rows}, {self.seconds:.1f} s"


@dataclass(frozen=True)
class Report:
    """The outcomes of an apply, in order."""

    outcomes: tuple[Outcome, ...]
    notes: tuple[str, ...] = ()

    @property
    def failed(self) -> list[Outcome]:
        """The steps that failed."""
        return [outcome for outcome in self.outcomes if outcome.error is not None]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        steps = Plan(tuple(outcome.step for outcome in self.outcomes)).to_dict()["steps"]
        outcomes = [
            {**step, **{k: v for k, v in vars(outcome).items() if k != "step"}}
            for step, outcome in zip(steps, self.outcomes, strict=True)
        ]
        return {"outcomes": outcomes, "notes": list(self.notes)}


class Partitions:
    """The months of the facts, as ``wh.partitions``.

    :param engine: a pooled engine of the warehouse.
    :param settings: premake, window, retention, archive.
    """

    def __init__(self, engine: Engine, settings: WarehouseSettings) -> None:
        self.engine = engine
        self.settings = settings

    def plan(
        self,
        *,
        tables: Iterable[str] | None = None,
        months: Iterable[str] = (),
        hold_days: int = HOLD_DAYS,
        reason: str = LATE,
        now: datetime | None = None,
    ) -> Plan:
        """Plan the changes to the months; nothing is changed.

        :param tables: facts to look at; else all.
        :param months: further months to make, ``YYYY-MM``. Those that retention would take are held for ``hold_days``,
            and ``reason`` is noted.
        :param now: the instant to plan for, aware; else now.
        :raises SettingsError: the policy does not fit the facts.
        :raises InvalidInputError: no such fact, or no month.
        """
        names = None if tables is None else [fact_named(name).name for name in tables]
        wanted = [month_named(month) for month in months]
        moment = _moment(now)
        hold = Hold(moment + timedelta(days=hold_days), reason) if hold_days else None
        return self._ask(lambda c: make_plan(c, self.settings, moment, tables=names, months=wanted, hold=hold))

    def apply(
        self,
        plan: Plan | None = None,
        *,
        tables: Iterable[str] | None = None,
        months: Iterable[str] = (),
        hold_days: int = HOLD_DAYS,
        reason: str = LATE,
        now: datetime | None = None,
        wait_s: float = Patience.seconds,
        progress: Announce | None = None,
    ) -> Report:
        """Do what a plan says; each step in transactions of its own, so those before a failure stay done.

        A step that fails is reported, and those after it are still tried. Steps that somebody else has done are left
        out. ANALYZE follows for the tables whose rows changed.

        :param plan: of :meth:`plan`; else one is made now, with ``tables``, ``months``, ``hold_days`` and ``reason``.
        :param wait_s: how long a step waits for those who use its table; then it fails, and says who they are.
        :param progress: takes a line on each step, when it begins, ends, or waits.
        :raises PartitionError: the plan takes away a month that the policy keeps, or a restore or a change of data in batches is
            not ended; nothing was done.
        """
        self._ask(_refuse_half_changed)
        if plan is None:
            plan = self.plan(tables=tables, months=months, hold_days=hold_days, reason=reason, now=now)
        moment = _moment(now)
        self._check(plan, moment)
        if self.settings.archive_dir is not None:
            self._sweep()
        patience = Patience(wait_s, progress or Patience.tell)
        outcomes: list[Outcome] = []
        for step in plan:
            patience.tell(f"{step.action} {step.table} {step.partition}: {step.why}")
            outcomes.append(self._outcome(step, moment, patience))
            patience.tell(f"{step.action} {step.table} {step.partition}: {outcomes[-1]}")
        changed = {o.step.table for o in outcomes if o.done and o.rows}
        for name in sorted(changed):
            self._analyze(FACTS[name].__table__, root_only=True, patience=patience)
        return Report(tuple(outcomes), plan.notes)

    def hold(self, table: str, month: str, *, days: int = HOLD_DAYS, reason: str) -> datetime | None:
        """Have retention leave a month alone for so many days, or let it go: 0. Until when, UTC.

        :raises PartitionError: there is no such month, or the role may not change the table.
        """
        fact, wanted = fact_named(table), month_partition(month_named(month))
        hold = Hold(datetime.now(UTC) + timedelta(days=days), reason) if days else None

        def put(connection: Connection) -> None:
            there = partitions_there(connection, fact)
            found = next((p for p in there if (p.start, p.end) == (wanted.start, wanted.end)), None)
            if found is None:
                raise PartitionError(
                    f"{fact.name} has no month {month}: gpwarehouse partitions apply --month {month} makes it"
                )
            put_hold(connection, fact, found, hold)

        self._ask(lambda _: None)
        change_partitions(self.engine, fact, put)
        return hold.until if hold is not None else None

    def list(self, *, tables: Iterable[str] | None = None) -> pd.DataFrame:
        """A row for each month of each fact: bounds, state, storage, size, and what the archive holds of it."""
        names = list(FACTS) if tables is None else [fact_named(name).name for name in tables]
        return self._ask(lambda c: list_frame(c, self.settings, [FACTS[name].__table__ for name in names]))

    def skew(self, *, tables: Iterable[str] | None = None, months: Iterable[str] = ()) -> pd.DataFrame:
        """A row for each month and segment: rows, bytes, and how far the month's fullest segment is above the mean.

        Counting reads the months: name some where the fact is large.

        :param months: ``YYYY-MM``; else all.
        """
        names = list(FACTS) if tables is None else [fact_named(name).name for name in tables]
        wanted = [month_named(month) for month in months]
        return self._ask(lambda c: skew_frame(c, [FACTS[name].__table__ for name in names], wanted))

    def restore(self, table: str, month: str, *, hold_days: int = HOLD_DAYS, progress: Announce | None = None) -> int:
        """Bring an archived month back from its files, verified; how many rows.

        Wafers that ``wh.dimensions.rekey_wafers`` moved since it was archived get their keys of now: a key that
        ``dim_wafer`` no longer has is that of a root which its lot once had. Rows of which that cannot be told are named.

        :param hold_days: for so long retention leaves it alone; then the next apply archives it again.
        :param progress: takes a line on rows with other keys than in the files, or with keys that nobody has, and on files of
            another revision; else they are logged.
        :raises PartitionError: nothing is archived of it, it holds rows, or the files are not what was archived; or a restore of
            a backup or a change of data in batches is not ended.
        """
        self._ask(_refuse_half_changed)
        fact, partition = fact_named(table), f"m{month_named(month):%Y%m}"
        archiver = self._archiver()
        manifest = archiver.archive.manifest(fact.name, partition)
        if manifest is None:
            path = archiver.archive.manifest_path(fact.name, partition)
            raise PartitionError(f"{fact.name}: nothing is archived of {month} (no {path})")
        try:
            rows, said = archiver.restore(fact, manifest, hold_days=hold_days)
        except exc.OperationalError as error:
            if getattr(error.orig, "pgcode", None) != LOCK_NOT_AVAILABLE:
                raise
            raise PartitionError(
                f"{fact.name} {month}: it is in use by {used_by(self.engine, fact)}; nothing was loaded. Try again"
            ) from error
        for line in said:
            (progress or log.warning)(line)
        self._analyze(fact, root_only=True)
        return rows

    def adopt_archive(self, *, reason: str) -> tuple[str, ...]:
        """Take over the archive of the warehouse whose place this one takes, which is refused from then on.

        For a database restored from a backup or moved to another server; a copy beside the original gets an archive of
        its own.

        :param reason: it is recorded in the archive.
        :return: the warehouses it was of.
        :raises PartitionError: no reason, no archive, or it is this warehouse's already.
        """
        archive = self._archive()
        user, identity = self._ask(lambda c: (c.execute(text("SELECT session_user")).scalar_one(), self._identity(c)))
        return tuple(adopt(archive, identity, by=str(user), reason=reason))

    def _sweep(self) -> None:
        """Remove what killed archivers left; an archive that cannot be used is told by the steps that need it."""
        with suppress(PartitionError, OSError):
            folder = self._archive()
            if any(folder.unfinished(name) for name in FACTS):
                self._archiver().sweep(FACTS[name].__table__ for name in FACTS)

    def _ask(self, question: Callable[[Connection], Result]) -> Result:
        """The answer of a server that can be reached, and holds the facts.

        :raises PartitionError: they are not there.
        """

        def asked(connection: Connection) -> Result:
            there = text(
                "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
                "WHERE n.nspname = :schema AND c.relname = ANY (:names)"
            )
            wanted = {*FACTS, "alembic_version", "etl_migration_history"}
            names = {"schema": self.settings.schema_name, "names": sorted(wanted)}
            if missing := sorted(wanted - set(connection.execute(there, names).scalars())):
                raise PartitionError(
                    f"schema {self.settings.schema_name!r} has no table {missing[0]!r}: run gpwarehouse upgrade first"
                )
            return question(connection)

        return look(self.engine, self.settings, "the partitions", asked)

    def _check(self, plan: Plan, now: datetime) -> None:
        """Refuse a step that the policy does not ask for, whoever made the plan and whenever."""
        rules = rules_of(self.settings)
        for step in plan:
            rule = rules[fact_named(step.table).name]
            if step.action in ("create", "hold"):
                continue
            age = rule.compress_after if step.action == "compress" else rule.after
            fits = step.action in ("compress", rule.action) and age is not None
            if not fits or age is None or step.end > first_kept(age, now):
                raise PartitionError(
                    f"{step.table} {step.partition}: {step.action!r} is refused, the policy is {str(rule)!r} "
                    "(GPWAREHOUSE_RETENTION); nothing was done. Make a new plan"
                )

    def _outcome(self, step: Step, now: datetime, patience: Patience) -> Outcome:
        started = time.monotonic()
        rows, done, error = None, False, None
        try:
            rows = self._run(step, now, patience)
            done = rows is not None
        except GpwarehouseError as failure:
            error = str(failure)
        except exc.DBAPIError as failure:
            if could_not_connect(failure):
                raise explain_operational_error(failure, self.settings) from failure
            if step.action in ("create", "hold") or not self._is_gone(step):  # else somebody was faster
                error = unexpected(failure) if cause_of(failure) is Cause.UNKNOWN else words_of(failure)
        except OSError as failure:
            error = str(failure)
        return Outcome(step, done, time.monotonic() - started, rows, error)

    def _run(self, step: Step, now: datetime, patience: Patience) -> int | None:
        """Rows that left or were rewritten; None where there was nothing left to do."""
        table, partition = fact_named(step.table), step.range
        if step.action in ("create", "hold"):
            made = change_partitions(self.engine, table, lambda c: _make(c, table, step), patience=patience)
            return 0 if made else None
        if step.action == "export":
            with self.engine.connect() as connection:
                found = partition_changes.there(connection, table, partition)
                if found is None or is_held(connection, table, found, now):
                    return None
            return replace(self._archiver(), patience=patience).export(table, partition, now)
        if step.action == "drop" and self.settings.archive_dir is not None:
            refuse_unlisted(Archive(self.settings.archive_dir, self.settings.schema_name), table, partition)
        if step.action == "move":
            partition_changes.make_archive_schema(self.engine, table, self.settings.archive_schema)
        return change_partitions_after(
            self.engine,
            table,
            lambda connection: self._prepare(connection, table, step, now),
            lambda connection, _: self._change(connection, table, step),
            patience=patience,
        )

    def _prepare(self, connection: Connection, table: Table, step: Step, now: datetime) -> int | None:
        """Rows of the partition, with all writers kept off it; None if it is gone, or held."""
        found = partition_changes.there(connection, table, step.range)
        if found is None:
            return None
        if step.action == "compress":
            return partition_changes.rewritten(connection, table, found, cold_storage(table, self.settings))
        child = partition_changes.hold_still(connection, table, found)
        return None if is_held(connection, table, found, now) else partition_changes.count(connection, child)

    def _change(self, connection: Connection, table: Table, step: Step) -> None:
        found = partition_changes.there(connection, table, step.range)
        assert found is not None  # it is held
        if step.action == "compress":
            partition_changes.exchange(connection, table, found)
        elif step.action == "drop":
            partition_changes.drop(connection, table, found)
        elif step.partition != ANCHOR:
            partition_changes.detach(
                connection, table, found, self.settings.archive_schema if step.action == "move" else None
            )

    def _is_gone(self, step: Step) -> bool:
        with self.engine.connect() as connection:
            return partition_changes.there(connection, fact_named(step.table), step.range) is None

    def _archiver(self) -> Archiver:
        archive = self._archive()
        version = text(f"SELECT version_num FROM {self._quote('alembic_version')}")
        revision, ownership = self._ask(
            lambda c: (
                ", ".join(sorted(c.execute(version).scalars())) or None,
                owned(archive, self._identity(c)),
            )
        )
        return Archiver(self.engine, archive, revision, ownership, lot_root_pattern=self.settings.lot_root_pattern)

    def _archive(self) -> Archive:
        if self.settings.archive_dir is None:
            raise PartitionError("GPWAREHOUSE_ARCHIVE_DIR is not set; set it to the folder of the archive")
        if not self.settings.archive_dir.expanduser().is_dir():  # made here, it would hide a mount that is missing
            raise PartitionError(
                f"GPWAREHOUSE_ARCHIVE_DIR = {str(self.settings.archive_dir)!r} is no folder; mount it, or make it"
            )
        return Archive(self.settings.archive_dir, self.settings.schema_name)

    def _identity(self, connection: Connection) -> str:
        first = text(f"SELECT min(started_at) FROM {self._quote('etl_migration_history')}")
        return identity_of(connection, connection.execute(first).scalar_one())

    def _quote(self, name: str) -> str:
        preparer = self.engine.dialect.identifier_preparer
        return f"{preparer.quote_schema(self.settings.schema_name)}.{preparer.quote(name)}"

    def _analyze(self, table: Table, *, root_only: bool = False, patience: Patience | None = None) -> None:
        change_partitions(
            self.engine,
            table,
            lambda connection: connection.execute(Analyze(table, root_only=root_only)),
            patience=patience,
        )


def _refuse_half_changed(connection: Connection) -> None:
    """Refuse to change months whose rows are half changed.

    :raises PartitionError: a restore or a change of data in batches has not ended.
    """
    history = migration_history_table()
    half = select(history.c.revision, history.c.part_of).where(history.c.part_of.is_not(None)).limit(1)
    if (found := connection.execute(half).first()) is not None:
        restored = found.part_of == "restore"
        what, command = ("the restore of backup", "backup restore") if restored else ("revision", "upgrade")
        raise PartitionError(
            f"{what} {found.revision} changes data in batches and is not ended, so its months may be half changed. Nothing was "
            f"done; do it again when gpwarehouse {command} has ended"
        )


def _make(connection: Connection, table: Table, step: Step) -> bool:
    """Make a month, hold it, or both in one transaction; False where that was done already, or it is gone."""
    made = step.action == "create" and partition_changes.create(connection, table, step.range)
    if step.hold is None:
        return made
    found = next((p for p in partitions_there(connection, table) if (p.start, p.end) == (step.start, step.end)), None)
    return found is not None and (extend_hold(connection, table, found, step.hold) or made)


def _moment(now: datetime | None) -> datetime:
    if now is None:
        return datetime.now(UTC)
    if now.tzinfo is None:
        raise InvalidInputError(f"now={now!r} has no time zone: give an aware datetime")
    return now.astimezone(UTC)


def fact_named(name: str) -> Table:
    """The fact of that name.

    :raises InvalidInputError: there is none.
    """
    if name not in FACTS:
        raise InvalidInputError(f"{name!r} is no partitioned fact; allowed: {', '.join(FACTS)}")
    table: Table = FACTS[name].__table__
    return table


def month_named(month: str) -> datetime:
    """The first instant of ``YYYY-MM``, UTC.

    :raises InvalidInputError: it is no month.
    """
    try:
        return datetime.strptime(month, "%Y-%m").replace(tzinfo=UTC)
    except ValueError:
        raise InvalidInputError(f"{month!r} is no month: write YYYY-MM") from None
