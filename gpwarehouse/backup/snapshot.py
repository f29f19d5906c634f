"""All tables of a warehouse at one moment, read by several connections.

One REPEATABLE READ transaction sees all tables of one moment: facts and the batches that loaded them, members and the rows
that name them. So a backup never holds a batch as loaded whose rows it lacks, nor rows whose batch it lacks, whatever is
loaded meanwhile. Loads are not held up; space of rows deleted meanwhile is freed after the backup.

Snapshots do not protect from what rewrites or drops a table. So all tables are locked (ACCESS SHARE) before the snapshot is
taken, and what the snapshot shows is compared with what is there then. Partitions are locked, not the facts: new months can
be made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from queue import SimpleQueue
from typing import TypeVar

from sqlalchemy import MetaData, Table, exc, text
from sqlalchemy.engine import Connection, Engine

from gpwarehouse.backup.manifest import Entry
from gpwarehouse.dialect import Brand, RangePartition
from gpwarehouse.dialect.reflection import partition_children, partitions_of
from gpwarehouse.engine import dialect_of, extra_connections, has_shared_session, qualified_name
from gpwarehouse.errors import BackupError
from gpwarehouse.months import child_of
from gpwarehouse.partitions.partition_changes import columns_of
from gpwarehouse.read.parallel import SHARED, follow

__all__ = ["Snapshot", "Unit", "keep_open", "open_snapshot", "units_there"]

Result = TypeVar("Result")
VERSION_TABLE = "alembic_version"
"""It is in the manifest, as the revision."""
_ATTEMPTS = 5
_TABLES = """
    SELECT c.oid, c.relname, c.relfilenode, c.relkind = 'p' AS declared, obj_description(c.oid, 'pg_class') AS comment
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = :schema AND c.relkind IN ('r', 'p') AND c.relpersistence <> 't'{external} ORDER BY c.relname"""
_NOT_EXTERNAL = " AND NOT EXISTS (SELECT 1 FROM pg_exttable x WHERE x.reloid = c.oid)"


@dataclass(frozen=True)
class Unit:
    """A table, or a month of a fact: what is read at a time.

    :ivar relation: the table that holds the rows: the partition's own.
    :ivar oid: of it, and ``filenode``: both differ after it was made anew, emptied or rewritten.
    :ivar partitioned: whether it has partitions itself.
    """

    table: str
    partition: RangePartition | None
    relation: Table
    oid: int
    filenode: int
    columns: dict[str, str]
    partitioned: bool = False
    comment: str | None = None

    @property
    def key(self) -> tuple[str, str | None, str | None]:
        """As :attr:`Entry.key`."""
        return self.table, self.start, self.end

    @property
    def start(self) -> str | None:
        """First instant of the month, ISO."""
        return None if self.partition is None else _iso(self.partition.start)

    @property
    def end(self) -> str | None:
        """First instant after it."""
        return None if self.partition is None else _iso(self.partition.end)

    def entry(self, rows: int, checksum: str, file: str | None, size: int, sha256: str) -> Entry:
        """What a manifest says of it."""
        name = None if self.partition is None else self.partition.name
        return Entry(
            self.table, name, self.start, self.end, self.columns, rows, checksum, file, size, sha256,
            comment=self.comment if self.partition is not None else None,
        )  # fmt: skip


def _iso(bound: object) -> str | None:
    return bound.isoformat() if isinstance(bound, datetime) else None


def _has_moments(partition: RangePartition) -> bool:
    return isinstance(partition.start, datetime) and isinstance(partition.end, datetime)


def units_there(connection: Connection, schema: str) -> list[Unit]:
    """All tables of a schema that hold rows, facts by month; neither views nor external tables."""
    dialect = dialect_of(connection)
    assert dialect.capabilities is not None
    classic = dialect.capabilities.partition_catalog == "classic"
    query = text(_TABLES.format(external=_NOT_EXTERNAL if classic else ""))
    found = {row.relname: row for row in connection.execute(query, {"schema": schema})}
    children = partition_children(connection, dialect, schema)
    schemes = partitions_of(connection, dialect, schema)
    units: list[Unit] = []
    for name, row in found.items():
        if name in children or name == VERSION_TABLE:
            continue
        whole = Table(name, MetaData(), schema=schema)
        scheme = schemes.get(name)
        months = scheme.partitions if scheme is not None and scheme.default is None else ()
        by_month = bool(months) and all(map(_has_moments, months)) and all(child_of(whole, p) in found for p in months)
        columns = columns_of(connection, whole)
        if not by_month:
            parent = row.declared or scheme is not None
            units.append(Unit(name, None, whole, row.oid, row.relfilenode, columns, parent, row.comment))
        for month in months if by_month else ():
            own = found[child_of(whole, month)]
            relation = Table(own.relname, MetaData(), schema=schema)
            units.append(Unit(name, month, relation, own.oid, own.relfilenode, columns, False, own.comment))
    return units


@dataclass(frozen=True)
class Snapshot:
    """A moment of the warehouse.

    :ivar leader: the connection that took it.
    :ivar connections: those that see it, the leader among them.
    """

    leader: Connection
    connections: tuple[Connection, ...]
    units: tuple[Unit, ...]
    taken_at: datetime

    def each(self, work: Callable[[Connection, Unit], Result], units: tuple[Unit, ...] | None = None) -> list[Result]:
        """Do something with every table and month, at once with as many as there are connections; results in order.

        After an error no other is begun.
        """
        free: SimpleQueue[Connection] = SimpleQueue()
        for connection in self.connections:
            free.put(connection)

        def one(unit: Unit) -> Result:
            connection = free.get()
            try:
                return work(connection, unit)
            finally:
                free.put(connection)

        with ThreadPoolExecutor(len(self.connections), thread_name_prefix="gpwarehouse-backup") as pool:
            futures = [pool.submit(one, unit) for unit in (self.units if units is None else units)]
            wait(futures, return_when=FIRST_EXCEPTION)
            for future in futures:
                future.cancel()
        failed = [f for f in futures if not f.cancelled() and f.exception() is not None]
        return [future.result() for future in failed or futures]


@contextmanager
def open_snapshot(engine: Engine, schema: str, parallel: int = 1) -> Iterator[Snapshot]:
    """Take a snapshot of a schema, for the block.

    :param parallel: connections that read it, where the server can share a snapshot, and the pool has so many.
    :raises BackupError: there are no tables, or others rewrote some each time that it was tried.
    """
    with ExitStack() as opened:
        for _ in range(_ATTEMPTS):
            leader = opened.enter_context(engine.connect().execution_options(isolation_level=SHARED))
            units = _lock_and_look(engine, leader, schema)
            if units is not None:
                break
            leader.rollback()
        else:
            raise BackupError(
                f"schema {schema!r}: tables were dropped or rewritten each of {_ATTEMPTS} times that a snapshot was taken; try "
                "again when that is over"
            )
        taken = leader.execute(text("SELECT now()")).scalar_one()
        followers = _followers(engine, leader, parallel - 1)
        for each in followers:
            opened.callback(each.close)
        for each in (leader, *followers):
            keep_open(each)
        yield Snapshot(leader, (leader, *followers), tuple(units), taken)


def _lock_and_look(engine: Engine, leader: Connection, schema: str) -> list[Unit] | None:
    """Lock the tables, then take the snapshot; None if one of them was dropped or rewritten meanwhile."""
    with engine.connect() as other, other.begin():
        wanted = units_there(other, schema)
        if not wanted:
            raise BackupError(f"schema {schema!r} holds no tables; gpwarehouse upgrade makes them")
        names = ", ".join(qualified_name(other, unit.relation) for unit in wanted)
    try:
        leader.execute(text(f"LOCK TABLE {names} IN ACCESS SHARE MODE"))
    except exc.ProgrammingError as error:
        if getattr(error.orig, "pgcode", None) != "42P01":  # one is gone
            raise
        return None
    units = units_there(leader, schema)
    with engine.connect() as other, other.begin():
        now = {(unit.oid, unit.filenode) for unit in units_there(other, schema)}
    locked = {(unit.oid, unit.filenode) for unit in wanted}
    seen = {(unit.oid, unit.filenode) for unit in units}
    return units if seen == locked and seen <= now else None


def _followers(engine: Engine, leader: Connection, wanted: int) -> list[Connection]:
    if wanted < 1 or not _shares_snapshots(leader):
        return []
    snapshot = leader.exec_driver_sql("SELECT pg_catalog.pg_export_snapshot()").scalar_one()
    return extra_connections(lambda: follow(engine, snapshot), wanted)


def _shares_snapshots(connection: Connection) -> bool:
    """Whether another connection can take over a snapshot: a Greenplum must share it with its segments too.

    Greenplum does since 6.21 (its release notes; tried on 7.0).
    """
    info = dialect_of(connection).server_info
    assert info is not None
    if has_shared_session(connection):  # each transaction begins with a query that sets it up
        return False
    return info.brand is Brand.POSTGRESQL or (info.brand is Brand.GREENPLUM and info.version >= (6, 21))


def keep_open(connection: Connection) -> None:
    """Let the transaction run, and lie idle, as long as others read."""
    connection.execute(text("SET LOCAL statement_timeout = 0"))
    info = dialect_of(connection).server_info
    assert info is not None
    if info.postgres_version >= (9, 6):
        connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
