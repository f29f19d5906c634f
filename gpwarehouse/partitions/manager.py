"""The partitions of a warehouse's facts: plan, apply, list, restore, skew."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Table, exc, text
from sqlalchemy.engine import Connection, Engine

from gpwarehouse.dialect import Analyze
from gpwarehouse.engine import (
    change_partitions,
    change_partitions_after,
    could_not_connect,
    explain_operational_error,
)
from gpwarehouse.errors import GpwarehouseError, InvalidInputError, PartitionError
from gpwarehouse.models import FACTS
from gpwarehouse.partitions import changes
from gpwarehouse.partitions.archive import Archive
from gpwarehouse.partitions.ownership import adopt, identity_of, owned
from gpwarehouse.partitions.plan import ANCHOR, Plan, Step, cold_storage, make_plan, refuse_unlisted, rules_of
from gpwarehouse.partitions.sizes import list_frame, skew_frame
from gpwarehouse.policy import first_kept
from gpwarehouse.settings import WarehouseSettings

if TYPE_CHECKING:
    import pandas as pd

    from gpwarehouse.partitions.archiving import Archiver

__all__ = ["Outcome", "Partitions", "Report"]


@dataclass(frozen=True)
class Outcome:
    """What became of a step.

    :ivar done: False where somebody else did it, or is at it now, or it failed.
    :ivar rows: that left the fact or were rewritten; None where none were to be.
    :ivar error: why it failed.
    """

    step: Step
    done: bool
    seconds: float
    rows: int | None = None
    error: str | None = None


@dataclass(frozen=True)
class Report:
    """What an apply did, in order."""

    outcomes: tuple[Outcome, ...]
    notes: tuple[str, ...] = ()

    @property
    def failed(self) -> list[Outcome]:
        """Those that could not be done."""
        return [outcome for outcome in self.outcomes if outcome.error is not None]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        steps = Plan(tuple(outcome.step for outcome in self.outcomes)).to_dict()["steps"]
        outcomes = [
            {**step, **{k: v for k, v in asdict(outcome).items() if k != "step"}}
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
        now: datetime | None = None,
    ) -> Plan:
        """What is to be done to the months; nothing is changed.

        :param tables: facts to look at; else all.
        :param months: further months to make, ``YYYY-MM``.
        :param now: the instant to plan for, aware; else now.
        :raises SettingsError: the policy does not fit the facts.
        :raises InvalidInputError: no such fact, or no month.
        """
        names = None if tables is None else [fact_named(name).name for name in tables]
        wanted = [month_named(month) for month in months]
        with self._connected() as connection:
            return make_plan(connection, self.settings, _moment(now), tables=names, months=wanted)

    def apply(
        self,
        plan: Plan | None = None,
        *,
        tables: Iterable[str] | None = None,
        months: Iterable[str] = (),
        now: datetime | None = None,
        progress: Callable[[Step], None] | None = None,
    ) -> Report:
        """Do what a plan says; each step in transactions of its own, so those before a failure stay done.

        A step that fails is reported, and those after it are still tried. Steps that somebody else has done are left
        out. ANALYZE follows for the tables whose rows changed.

        :param plan: of :meth:`plan`; else one is made now.
        :raises PartitionError: the plan takes away a month that the policy keeps; nothing was done.
        """
        if plan is None:
            plan = self.plan(tables=tables, months=months, now=now)
        else:
            with self._connected():
                pass
        self._check(plan, _moment(now))
        if self.settings.archive_dir is not None:
            self._sweep()
        outcomes: list[Outcome] = []
        for step in plan:
            if progress is not None:
                progress(step)
            outcomes.append(self._outcome(step))
        changed = {o.step.table for o in outcomes if o.done and o.rows}
        for name in sorted(changed):
            self._analyze(FACTS[name].__table__, root_only=True)
        return Report(tuple(outcomes), plan.notes)

    def list(self, *, tables: Iterable[str] | None = None) -> pd.DataFrame:
        """A row for each month of each fact: bounds, state, storage, size, and what the archive holds of it."""
        names = list(FACTS) if tables is None else [fact_named(name).name for name in tables]
        with self._connected() as connection:
            return list_frame(connection, self.settings, [FACTS[name].__table__ for name in names])

    def skew(self, *, tables: Iterable[str] | None = None, months: Iterable[str] = ()) -> pd.DataFrame:
        """A row for each month and segment: rows, bytes, and how far the month's fullest segment is above the mean.

        Counting reads the months: name some where the fact is large.

        :param months: ``YYYY-MM``; else all.
        """
        names = list(FACTS) if tables is None else [fact_named(name).name for name in tables]
        wanted = [month_named(month) for month in months]
        with self._connected() as connection:
            return skew_frame(connection, [FACTS[name].__table__ for name in names], wanted)

    def restore(self, table: str, month: str, *, hold_days: int = 30) -> int:
        """Bring an archived month back from its files, verified; how many rows.

        :param hold_days: for so long retention leaves it alone; then the next apply archives it again.
        :raises PartitionError: nothing is archived of it, it holds rows, or the files are not what was archived.
        """
        fact, partition = fact_named(table), f"m{month_named(month):%Y%m}"
        archiver = self._archiver()
        manifest = archiver.archive.manifest(fact.name, partition)
        if manifest is None:
            path = archiver.archive.manifest_path(fact.name, partition)
            raise PartitionError(f"{fact.name}: nothing is archived of {month} (no {path})")
        rows = archiver.restore(fact, manifest, hold_days=hold_days)
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
        with self._connected() as connection:
            user = connection.execute(text("SELECT session_user")).scalar_one()
            return tuple(adopt(archive, self._identity(connection), by=str(user), reason=reason))

    def _sweep(self) -> None:
        """Remove what killed archivers left; an archive that cannot be used is told by the steps that need it."""
        with suppress(PartitionError, OSError):
            folder = self._archive()
            if any(folder.unfinished(name) for name in FACTS):
                self._archiver().sweep(FACTS[name].__table__ for name in FACTS)

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        """A connection to a server that can be reached, and holds the facts.

        :raises PartitionError: they are not there.
        """
        try:
            with self.engine.connect() as connection:
                there = text(
                    "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
                    "WHERE n.nspname = :schema AND c.relname = ANY (:names)"
                )
                wanted = {*FACTS, "alembic_version", "etl_migration_history"}
                asked = {"schema": self.settings.schema_name, "names": sorted(wanted)}
                if missing := sorted(wanted - set(connection.execute(there, asked).scalars())):
                    raise PartitionError(
                        f"schema {self.settings.schema_name!r} has no table {missing[0]!r}: run gpwarehouse upgrade first"
                    )
                yield connection
        except exc.OperationalError as error:
            if could_not_connect(error):
                raise explain_operational_error(error, self.settings) from error
            raise

    def _check(self, plan: Plan, now: datetime) -> None:
        """Refuse what the policy does not ask for, whoever made the plan, and however long ago."""
        rules = rules_of(self.settings)
        for step in plan:
            rule = rules[fact_named(step.table).name]
            if step.action == "create":
                continue
            age = rule.compress_after if step.action == "compress" else rule.after
            fits = step.action in ("compress", rule.action) and age is not None
            if not fits or age is None or step.end > first_kept(age, now):
                raise PartitionError(
                    f"{step.table} {step.partition}: {step.action!r} is refused, the policy is {str(rule)!r} "
                    "(GPWAREHOUSE_RETENTION); nothing was done. Make the plan anew"
                )

    def _outcome(self, step: Step) -> Outcome:
        started = time.monotonic()
        rows, done, error = None, False, None
        try:
            rows = self._run(step)
            done = rows is not None
        except GpwarehouseError as failure:
            error = str(failure)
        except exc.DBAPIError as failure:
            if could_not_connect(failure):
                raise explain_operational_error(failure, self.settings) from failure
            if step.action == "create" or not self._gone(step):  # else somebody was faster
                error = str(failure.orig).strip().splitlines()[0]
        except OSError as failure:
            error = str(failure)
        return Outcome(step, done, time.monotonic() - started, rows, error)

    def _run(self, step: Step) -> int | None:
        """Rows that left or were rewritten; None where there was nothing left to do."""
        table, partition = fact_named(step.table), step.range
        if step.action == "create":
            made = change_partitions(self.engine, table, lambda c: changes.create(c, table, partition))
            return 0 if made else None
        if step.action == "export":
            return self._archiver().export(table, partition)
        if step.action == "drop" and self.settings.archive_dir is not None:
            refuse_unlisted(Archive(self.settings.archive_dir, self.settings.schema_name), table, partition)
        return change_partitions_after(
            self.engine,
            table,
            lambda connection: self._prepared(connection, table, step),
            lambda connection, _: self._change(connection, table, step),
        )

    def _prepared(self, connection: Connection, table: Table, step: Step) -> int | None:
        """Rows of the partition, with all writers kept off it; None if it is gone."""
        found = changes.there(connection, table, step.range)
        if found is None:
            return None
        if step.action == "compress":
            return changes.rewritten(connection, table, found, cold_storage(table, self.settings))
        return changes.count(connection, changes.hold_still(connection, table, found))

    def _change(self, connection: Connection, table: Table, step: Step) -> None:
        found = changes.there(connection, table, step.range)
        assert found is not None  # it is held
        if step.action == "compress":
            changes.exchange(connection, table, found)
        elif step.action == "drop":
            changes.drop(connection, table, found)
        elif step.partition != ANCHOR:
            changes.detach(connection, table, found, self.settings.archive_schema if step.action == "move" else None)

    def _gone(self, step: Step) -> bool:
        with self.engine.connect() as connection:
            return changes.there(connection, fact_named(step.table), step.range) is None

    def _archiver(self) -> Archiver:
        from gpwarehouse.partitions.archiving import Archiver

        archive = self._archive()
        version = text(f"SELECT version_num FROM {self._quoted('alembic_version')}")
        with self._connected() as connection:
            revision = connection.execute(version).scalars().first()
            ownership = owned(archive, self._identity(connection))
        return Archiver(self.engine, archive, revision, ownership)

    def _archive(self) -> Archive:
        if self.settings.archive_dir is None:
            raise PartitionError("GPWAREHOUSE_ARCHIVE_DIR says not where the archive is")
        if not self.settings.archive_dir.expanduser().is_dir():  # made here, it would hide a mount that is missing
            raise PartitionError(
                f"GPWAREHOUSE_ARCHIVE_DIR = {str(self.settings.archive_dir)!r} is no folder; mount it, or make it"
            )
        return Archive(self.settings.archive_dir, self.settings.schema_name)

    def _identity(self, connection: Connection) -> str:
        first = text(f"SELECT min(started_at) FROM {self._quoted('etl_migration_history')}")
        return identity_of(connection, connection.execute(first).scalar_one())

    def _quoted(self, name: str) -> str:
        preparer = self.engine.dialect.identifier_preparer
        return f"{preparer.quote_schema(self.settings.schema_name)}.{preparer.quote(name)}"

    def _analyze(self, table: Table, *, root_only: bool = False) -> None:
        change_partitions(
            self.engine, table, lambda connection: connection.execute(Analyze(table, root_only=root_only))
        )


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
