"""Maintenance after the commit: gather statistics of changed tables, and free the space of deleted rows.

A failure here is only a warning. Each table has a transaction of its own, run as the owner of the table where the role may become
the owner: only the owner may do this.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import MetaData, Table, exc, text
from sqlalchemy.engine import Connection, Engine

from gpwarehouse.dialect import Analyze, Vacuum
from gpwarehouse.dialect.options import month_partition
from gpwarehouse.engine import advisory_key, dialect_of, has_shared_session, qualified_name
from gpwarehouse.engine.server_errors import reason_of
from gpwarehouse.errors import InvalidInputError
from gpwarehouse.intake.load_options import Analyze as Policy
from gpwarehouse.models.base import SCHEMA
from gpwarehouse.months import become_owner, child_of, overlapping, partitions_there, schema_of
from gpwarehouse.months.hours import months_between

__all__ = ["Optimized", "Upkeep", "optimize"]

SHARE = 0.1
"""Statistics are gathered again if the loaded rows are more than this share of the rows that they count."""
WAIT_MS = 5_000
"""How long to wait for a table, in milliseconds. The rows are stored already, and the caller wants to continue."""


@dataclass(frozen=True)
class Optimized:
    """What maintenance did.

    :ivar analyzed: tables whose statistics were gathered.
    :ivar vacuumed: tables whose space was freed.
    :ivar warnings: what was not done, and why.
    """

    table: str
    analyzed: tuple[str, ...]
    vacuumed: tuple[str, ...]
    warnings: tuple[str, ...]


def optimize(engine: Engine, name: str, month: datetime | None, *, analyze: bool, vacuum: bool) -> Optimized:
    """Gather statistics of a table, or of one of its months, and free the space of deleted rows.

    :param month: first instant of the month; None for the whole table.
    :raises InvalidInputError: the table has no such month.
    """
    upkeep = Upkeep(engine, Table(name, MetaData(), schema=SCHEMA))
    upkeep.work_on(month, analyze=analyze, vacuum=vacuum)
    return Optimized(name, tuple(upkeep.analyzed), tuple(upkeep.vacuumed), tuple(upkeep.warnings))


@dataclass
class Upkeep:
    """Maintains one fact after a load.

    :ivar analyzed: tables whose statistics were gathered.
    :ivar vacuumed: tables whose space was freed.
    :ivar warnings: what failed, and why.
    """

    engine: Engine
    table: Table
    analyzed: list[str] = field(default_factory=list)
    vacuumed: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def analyze(self, months: Mapping[datetime, int], policy: Policy) -> None:
        """Gather statistics of the months with new rows, then those of the whole table, which ORCA plans with.

        :param months: first instant of each month → rows loaded into it.
        :param policy: ``"auto"`` gathers them only if there are none, or if a tenth of the rows is new.
        """
        if policy == "never":
            return
        rows = self._try("the months", lambda: self._find_children(months))
        for child, loaded in (rows or {}).items():
            self._try(child, self._analyze, child, loaded, policy)
        capabilities = dialect_of(self.engine).capabilities
        if self.analyzed and capabilities is not None and capabilities.distribution:
            self._try(self.table.name, self._analyze, self.table.name, None, policy)

    def vacuum(self, first: datetime, last: datetime) -> None:
        """Free the space of rows that were deleted from the months between two events."""
        children = self._try("the months", self._find_children, dict.fromkeys(months_between(first, last), 0))
        for child in children or {}:
            self._try(child, self._vacuum, child)

    def work_on(self, month: datetime | None, *, analyze: bool, vacuum: bool) -> None:
        """Maintain the table, or one of its months.

        :raises InvalidInputError: the table has no such month.
        """
        names = [self.table.name] if month is None else list(self._find_children({month: 0}))
        if not names:
            raise InvalidInputError(f"{self.table.name} has no month {month:%Y-%m}; wh.partitions.list() shows all")
        for name in names:
            if vacuum:
                self._try(name, self._vacuum, name)
            if analyze:
                self._try(name, self._analyze, name, 0, "always")

    def _try(self, name: str, act: Callable[..., Any], *args: Any) -> Any:
        try:
            return act(*args)
        except (exc.SQLAlchemyError, self.engine.dialect.loaded_dbapi.Error) as error:
            self.warnings.append(f"{name}: {reason_of(error)}")
            return None

    def _find_children(self, months: Mapping[datetime, int]) -> dict[str, int]:
        """Table of each partition that holds one of these months → rows loaded into it."""
        found: dict[str, int] = {}
        with self.engine.connect() as connection:
            there = partitions_there(connection, self.table)
        for month, rows in months.items():
            for partition in overlapping(month_partition(month), there):
                name = child_of(self.table, partition)
                found[name] = found.get(name, 0) + rows
        return found

    def _analyze(self, name: str, loaded: int | None, policy: Policy) -> None:
        """Gather statistics of a partition, or of the root table if ``loaded`` is None."""
        with self.engine.begin() as connection:
            table = Table(name, MetaData(), schema=schema_of(connection, self.table))
            if loaded is not None and policy == "auto" and not _has_grown(connection, table, loaded):
                return
            key = {"key": advisory_key("analyze", qualified_name(connection, table))}
            if not connection.execute(text("SELECT pg_try_advisory_xact_lock(:key)"), key).scalar_one():
                return  # another load is gathering them, now or after these rows
            connection.execute(text(f"SET LOCAL lock_timeout = {WAIT_MS}"))
            become_owner(connection, table)
            if self._run(connection, Analyze(table, root_only=loaded is None)):
                self.analyzed.append(name)

    def _vacuum(self, name: str) -> None:
        with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            table = Table(name, MetaData(), schema=schema_of(connection, self.table))
            try:
                if has_shared_session(connection):  # another client uses the session: leave its settings alone
                    self._wait_for(table)
                else:
                    connection.execute(text(f"SET lock_timeout = {WAIT_MS}"))
                    become_owner(connection, table, local=False)
                if self._run(connection, Vacuum(table)):
                    self.vacuumed.append(name)
            finally:
                connection.invalidate()  # its session has changed settings

    def _wait_for(self, table: Table) -> None:
        """Wait until nobody blocks VACUUM, at most :data:`WAIT_MS`."""
        with self.engine.begin() as connection:
            connection.execute(text(f"SET LOCAL lock_timeout = {WAIT_MS}"))
            become_owner(connection, table)
            connection.execute(text(f"LOCK TABLE {qualified_name(connection, table)} IN SHARE UPDATE EXCLUSIVE MODE"))

    def _run(self, connection: Connection, statement: Analyze | Vacuum) -> bool:
        """Run a statement and tell whether it took effect: if the role may not do this, the server only warns.

        The driver runs it, because SQLAlchemy drops warnings.
        """
        driver: Any = connection.connection
        driver.notices.clear()
        with driver.cursor() as cursor:
            cursor.execute(str(statement.compile(dialect=connection.dialect)))
        skipped = [notice for notice in driver.notices if "skipping" in notice]
        self.warnings += [notice.strip().removeprefix("WARNING:").strip() for notice in skipped]
        return not skipped


def _has_grown(connection: Connection, table: Table, loaded: int) -> bool:
    query = text("SELECT reltuples FROM pg_catalog.pg_class WHERE oid = CAST(:name AS regclass)")
    known = connection.execute(query, {"name": qualified_name(connection, table)}).scalar_one()
    return bool(known <= 0 or loaded > SHARE * known)
