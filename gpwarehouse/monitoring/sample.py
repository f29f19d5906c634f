"""A sample of the warehouse's state: loads, months, sizes, replication, disk. It reads catalogs and control tables only.

Each part is asked in a transaction of its own. What the role may not see, or the server does not have, is left empty and named
in ``unreadable``: a part that is missing must not look like one that is well.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import BigInteger, ColumnElement, Integer, case, cast, exc, func, select, text
from sqlalchemy.engine import Connection

from gpwarehouse.backup import Verified
from gpwarehouse.batches import FAILED, LOADED
from gpwarehouse.dialect import Brand
from gpwarehouse.engine import dialect_of, explain_operational_error, session_values, set_for_transaction
from gpwarehouse.errors import GpwarehouseError, WarehouseConnectionError
from gpwarehouse.migrate.history import interrupted
from gpwarehouse.models import FACTS, EtlLoadBatch
from gpwarehouse.months import partitions_there
from gpwarehouse.settings import WarehouseSettings
from gpwarehouse.tables import list_tables, measure_bloat, measure_skew
from gpwarehouse.warehouse import Warehouse

__all__ = ["DayOfBatches", "LastLoad", "MonthsOfTable", "Replica", "Sample", "SizeOfTable", "take_sample"]

Found = TypeVar("Found")

# The names of these functions and columns changed with PostgreSQL 10.
_REPLICAS = {
    "postgresql": """
        SELECT COALESCE(NULLIF(application_name, ''), 'pid ' || pid) AS standby, state,
            pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn) AS lag FROM pg_catalog.pg_stat_replication ORDER BY 1""",
    "new": """
        SELECT 'content ' || gp_segment_id AS standby, state, pg_wal_lsn_diff(sent_lsn, replay_lsn) AS lag
        FROM pg_catalog.gp_stat_replication ORDER BY 1""",
    "old": """
        SELECT 'content ' || gp_segment_id AS standby, state, pg_xlog_location_diff(sent_location, replay_location) AS lag
        FROM pg_catalog.gp_stat_replication ORDER BY 1""",
}
_SELDOM = ("sizes", "disk", "backup", "verify")
"""Parts that are not asked for each time."""
_DISK = "SELECT dfhostname AS host, dfsegment AS content, dfspace AS kb FROM gp_toolkit.gp_disk_free ORDER BY 1, 2"


@dataclass(frozen=True)
class LastLoad:
    """When a target was last loaded from a source system.

    :ivar at: end of the load.
    """

    target: str
    source: str
    at: datetime


@dataclass(frozen=True)
class DayOfBatches:
    """Batches of one target that ended in the last 24 hours.

    :ivar failed: batches whose last attempt failed; one that was loaded later is not among them.
    """

    target: str
    loaded: int
    failed: int
    rows_read: int
    rows_rejected: int


@dataclass(frozen=True)
class MonthsOfTable:
    """The months of a fact.

    :ivar ahead: months behind the current one that are there without a gap.
    :ivar missing: months up to the current one that ``partitions apply`` would make.
    """

    table: str
    ahead: int
    missing: int


@dataclass(frozen=True)
class SizeOfTable:
    """Size of a table with all its months.

    :ivar skew_pct: as :class:`gpwarehouse.tables.TableStats` says; None without segments.
    :ivar bloat_pct: 100 · space of deleted rows / space; None where the server does not know.
    """

    table: str
    rows_estimated: int
    bytes: int
    skew_pct: float | None
    bloat_pct: float | None


@dataclass(frozen=True)
class Replica:
    """A standby or mirror that is being sent the log.

    :ivar lag_bytes: log that it has not replayed; None if it is not known.
    """

    name: str
    is_streaming: bool
    lag_bytes: int | None


@dataclass(frozen=True)
class Sample:
    """The state at one moment.

    :ivar at: when it was taken; ``seconds``: how long that took.
    :ivar sized_at: when sizes and disk were asked; None if never.
    :ivar disk_free: bytes by host and content.
    :ivar last_backup_at: moment of the newest whole backup, 1970 if there is none; None if the settings name no place.
    :ivar last_verified: what the last ``backup verify`` found; None if there was none.
    :ivar unended: ``restore``, ``upgrade``, ``downgrade`` → how many were begun and have not ended; they refuse loads.
    :ivar unreadable: part → why it could not be read.
    """

    at: datetime
    seconds: float = 0.0
    last_loads: tuple[LastLoad, ...] = ()
    day: tuple[DayOfBatches, ...] = ()
    months: tuple[MonthsOfTable, ...] = ()
    replicas: tuple[Replica, ...] = ()
    sizes: tuple[SizeOfTable, ...] = ()
    disk_free: dict[str, int] = field(default_factory=dict)
    sized_at: datetime | None = None
    last_backup_at: datetime | None = None
    last_verified: Verified | None = None
    unended: dict[str, int] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)


_NEVER = datetime.fromtimestamp(0, UTC)


def take_sample(warehouse: Warehouse, *, before: Sample | None = None, sizes: bool = True) -> Sample:
    """Ask for the state.

    :param before: an earlier sample, whose sizes and disk are kept where ``sizes`` is False.
    :param sizes: whether to ask for sizes, skew, bloat, disk and the last backup, which takes longer.
    :raises WarehouseConnectionError: the server cannot be reached.
    """
    sampler = _Question(warehouse)
    started = time.monotonic()
    sample = Sample(
        at=datetime.now(UTC),
        last_loads=sampler.ask("loads", _read_last_loads) or (),
        day=sampler.ask("batches", _read_day) or (),
        months=sampler.ask_for("months", lambda: tuple(_read_months(warehouse, sampler))) or (),
        replicas=sampler.ask("replication", _read_replicas) or (),
        unended=sampler.ask("changes", partial(_read_unended, settings=warehouse.settings)) or {},
    )
    if sizes or before is None:
        sample = replace(
            sample,
            sizes=sampler.ask("sizes", partial(_read_sizes, schema=warehouse.settings.schema_name)) or (),
            disk_free=sampler.ask("disk", _read_disk) or {},
            last_backup_at=sampler.ask_for("backup", lambda: _read_last_backup(warehouse)),
            last_verified=sampler.ask_for("verify", lambda: _read_last_verified(warehouse)),
            sized_at=datetime.now(UTC),
        )
    else:
        kept = {part: why for part, why in before.unreadable.items() if part in _SELDOM}
        sampler.unreadable = kept | sampler.unreadable
        sample = replace(
            sample,
            sizes=before.sizes,
            disk_free=before.disk_free,
            last_backup_at=before.last_backup_at,
            last_verified=before.last_verified,
            sized_at=before.sized_at,
        )
    if any(replica.lag_bytes is None for replica in sample.replicas):
        sampler.unreadable["replication"] = "the login may not see it; a member of pg_monitor or a superuser may"
    return replace(sample, seconds=time.monotonic() - started, unreadable=sampler.unreadable)


class _Question:
    """Asks part by part."""

    def __init__(self, warehouse: Warehouse) -> None:
        self.warehouse = warehouse
        self.unreadable: dict[str, str] = {}
        self._limits = session_values({"statement_timeout_s": warehouse.settings.monitor_timeout_s})

    def ask(self, part: str, read: Callable[[Connection], Found]) -> Found | None:
        """Read one part on a connection; None if it cannot be read."""
        return self.ask_for(part, lambda: self.read(read))

    def read(self, read: Callable[[Connection], Found]) -> Found:
        """Read on a connection, in a transaction that is rolled back."""
        with self.warehouse.engine.connect() as connection:
            set_for_transaction(connection, self._limits)
            found = read(connection)
            connection.rollback()
            return found

    def ask_for(self, part: str, read: Callable[[], Found]) -> Found | None:
        """The same for what needs no connection of ours."""
        try:
            return read()
        except exc.DBAPIError as error:
            if error.connection_invalidated or getattr(error.orig, "pgcode", None) is None:
                raise explain_operational_error(error, self.warehouse.settings) from error
            self.unreadable[part] = str(error.orig).strip().partition("\n")[0] or type(error.orig).__name__
        except WarehouseConnectionError:
            raise
        except (GpwarehouseError, OSError) as error:
            self.unreadable[part] = str(error).partition("\n")[0]
        return None


def _read_last_loads(connection: Connection) -> tuple[LastLoad, ...]:
    table = EtlLoadBatch.__table__
    keys = (table.c.target, func.coalesce(table.c.source_system, ""))
    query = select(*keys, func.max(table.c.finished_at)).where(table.c.status == LOADED).group_by(*keys).order_by(*keys)
    return tuple(LastLoad(*row) for row in connection.execute(query) if row[2] is not None)


def _read_day(connection: Connection) -> tuple[DayOfBatches, ...]:
    table = EtlLoadBatch.__table__

    def count(outcome: str) -> ColumnElement[int]:
        return cast(func.sum(case((table.c.status == outcome, 1), else_=0)), Integer)

    # A batch whose rows were deleted is no failed one.
    counts = (
        count(LOADED),
        count(FAILED),
        *(cast(func.sum(table.c[name]), BigInteger) for name in ("rows_read", "rows_rejected")),
    )
    ended = func.coalesce(table.c.finished_at, table.c.started_at)
    query = select(table.c.target, *counts).where(ended > func.now() - timedelta(days=1))
    rows = connection.execute(query.group_by(table.c.target).order_by(table.c.target))
    return tuple(DayOfBatches(*row) for row in rows)


def _read_months(warehouse: Warehouse, question: _Question) -> Iterator[MonthsOfTable]:
    now = datetime.now(UTC)
    steps = [step for step in warehouse.partitions.plan(now=now) if step.action == "create"]
    ahead = question.read(lambda connection: {name: _count_ahead(connection, name, now) for name in FACTS})
    for name in FACTS:
        missing = sum(step.table == name and step.start <= now for step in steps)
        yield MonthsOfTable(name, ahead[name], missing)


def _count_ahead(connection: Connection, name: str, now: datetime) -> int:
    there = {partition.start for partition in partitions_there(connection, FACTS[name].__table__)}
    count, month = 0, _next_month(now)
    while month in there:
        count, month = count + 1, _next_month(month)
    return count


def _next_month(moment: datetime) -> datetime:
    number = moment.year * 12 + moment.month
    return datetime(number // 12, number % 12 + 1, 1, tzinfo=UTC)


def _read_last_backup(warehouse: Warehouse) -> datetime | None:
    if warehouse.settings.backup_url is None:
        return None
    found = warehouse.backup().last()
    return _NEVER if found is None else found.taken_at


def _read_last_verified(warehouse: Warehouse) -> Verified | None:
    return None if warehouse.settings.backup_url is None else warehouse.backup().last_verified()


def _read_unended(connection: Connection, settings: WarehouseSettings) -> dict[str, int]:
    found = Counter(direction for _, direction in interrupted(connection, settings))
    return {change: found[change] for change in ("restore", "upgrade", "downgrade")}


def _read_replicas(connection: Connection) -> tuple[Replica, ...]:
    server: Any = dialect_of(connection).server_info
    if server.brand is Brand.POSTGRESQL:
        if connection.execute(text("SELECT pg_catalog.pg_is_in_recovery()")).scalar_one():
            return ()
        query = _REPLICAS["postgresql"]
    else:
        query = _REPLICAS["new" if server.postgres_version >= (10,) else "old"]
    rows = connection.execute(text(query))
    return tuple(
        Replica(row.standby, row.state == "streaming", None if row.lag is None else max(0, int(row.lag)))
        for row in rows
    )


def _read_sizes(connection: Connection, schema: str) -> tuple[SizeOfTable, ...]:
    skew, bloat = measure_skew(connection, schema), measure_bloat(connection, schema)
    return tuple(
        SizeOfTable(
            row["table"],
            int(row["rows_estimated"] or 0),
            int(row["bytes"]),
            skew.get(row["table"]),
            bloat.get(row["table"]),
        )
        for row in list_tables(connection, schema).to_dict("records")
    )


def _read_disk(connection: Connection) -> dict[str, int]:
    server: Any = dialect_of(connection).server_info
    if server.brand is Brand.POSTGRESQL:
        return {}  # it cannot tell
    rows = connection.execute(text(_DISK))
    return {f"{str(row.host).strip()} content {row.content}": int(row.kb) * 1024 for row in rows}
