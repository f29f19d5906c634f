"""After the commit: statistics of what changed, and the space of what was deleted. What fails here is a warning.

Each table is seen to in a transaction of its own, as its owner where the role may become that: nobody else may.
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
from gpwarehouse.intake.load_options import Analyze as Policy
from gpwarehouse.months import become_owner, child_of, overlapping, partitions_there, schema_of
from gpwarehouse.months.hours import months_between

__all__ = ["Upkeep"]

SHARE = 0.1
"""Rows loaded, as a share of those the statistics know of, above which they are gathered anew."""
WAIT_MS = 5_000
"""How long a table is waited for: the rows are there, and the caller wants to go on."""


@dataclass
class Upkeep:
    """Sees to one fact after a load.

    :ivar analyzed, vacuumed: names of tables; ``warnings``: what could not be done, and why.
    """

    engine: Engine
    table: Table
    analyzed: list[str] = field(default_factory=list)
    vacuumed: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def analyze(self, months: Mapping[datetime, int], policy: Policy) -> None:
        """Gather statistics of the months loaded into, then those of the whole, which ORCA plans with.

        :param months: first instant of each → rows loaded into it.
        :param policy: ``"auto"``: only where there are none, or a tenth of the rows is new.
        """
        if policy == "never":
            return
        rows = self._tried("the months", lambda: self._children(months))
        for child, loaded in (rows or {}).items():
            self._tried(child, lambda child=child, loaded=loaded: self._analyze(child, loaded, policy))  # type: ignore[misc]
        capabilities = dialect_of(self.engine).capabilities
        if self.analyzed and capabilities is not None and capabilities.distribution:
            self._tried(self.table.name, lambda: self._analyze(self.table.name, None, policy))

    def vacuum(self, first: datetime, last: datetime) -> None:
        """Give back the space of rows deleted from the months between two events."""
        children = self._tried("the months", lambda: self._children(dict.fromkeys(months_between(first, last), 0)))
        for child in children or {}:
            self._tried(child, lambda child=child: self._vacuum(child))  # type: ignore[misc]

    def _tried(self, name: str, act: Callable[[], Any]) -> Any:
        try:
            return act()
        except (exc.SQLAlchemyError, self.engine.dialect.loaded_dbapi.Error) as error:
            self.warnings.append(f"{name}: {reason_of(error)}")
            return None

    def _children(self, months: Mapping[datetime, int]) -> dict[str, int]:
        """Tables of the partitions that hold these months, and the rows loaded into each."""
        found: dict[str, int] = {}
        with self.engine.connect() as connection:
            there = partitions_there(connection, self.table)
        for month, rows in months.items():
            for partition in overlapping(month_partition(month), there):
                name = child_of(self.table, partition)
                found[name] = found.get(name, 0) + rows
        return found

    def _analyze(self, name: str, loaded: int | None, policy: Policy) -> None:
        """Statistics of a partition, or of the root where ``loaded`` is None."""
        with self.engine.begin() as connection:
            table = Table(name, MetaData(), schema=schema_of(connection, self.table))
            if loaded is not None and policy == "auto" and not _grew(connection, table, loaded):
                return
            key = {"key": advisory_key("analyze", qualified_name(connection, table))}
            if not connection.execute(text("SELECT pg_try_advisory_xact_lock(:key)"), key).scalar_one():
                return  # another load is at it, and will see these rows or those after them
            connection.execute(text(f"SET LOCAL lock_timeout = {WAIT_MS}"))
            become_owner(connection, table)
            if self._done(connection, Analyze(table, root_only=loaded is None)):
                self.analyzed.append(name)

    def _vacuum(self, name: str) -> None:
        with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            table = Table(name, MetaData(), schema=schema_of(connection, self.table))
            try:
                if has_shared_session(connection):  # it is to be left as it is
                    self._wait_for(table)
                else:
                    connection.execute(text(f"SET lock_timeout = {WAIT_MS}"))
                    become_owner(connection, table, local=False)
                if self._done(connection, Vacuum(table)):
                    self.vacuumed.append(name)
            finally:
                connection.invalidate()  # with the settings of this session

    def _wait_for(self, table: Table) -> None:
        """Until nobody is in VACUUM's way, or for as long as a table is waited for."""
        with self.engine.begin() as connection:
            connection.execute(text(f"SET LOCAL lock_timeout = {WAIT_MS}"))
            become_owner(connection, table)
            connection.execute(text(f"LOCK TABLE {qualified_name(connection, table)} IN SHARE UPDATE EXCLUSIVE MODE"))

    def _done(self, connection: Connection, statement: Analyze | Vacuum) -> bool:
        """Run it, and tell whether it was done: the server only warns where the role may not.

        By the driver, because SQLAlchemy throws warnings away.
        """
        driver: Any = connection.connection
        driver.notices.clear()
        with driver.cursor() as cursor:
            cursor.execute(str(statement.compile(dialect=connection.dialect)))
        skipped = [notice for notice in driver.notices if "skipping" in notice]
        self.warnings += [notice.strip().removeprefix("WARNING:").strip() for notice in skipped]
        return not skipped


def _grew(connection: Connection, table: Table, loaded: int) -> bool:
    query = text("SELECT reltuples FROM pg_catalog.pg_class WHERE oid = CAST(:name AS regclass)")
    known = connection.execute(query, {"name": qualified_name(connection, table)}).scalar_one()
    return bool(known <= 0 or loaded > SHARE * known)
