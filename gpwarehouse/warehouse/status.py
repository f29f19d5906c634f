"""The status of a warehouse: server, revision and batches."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.engine import Connection

from gpwarehouse.engine import RetryPolicy, dialect_of, look
from gpwarehouse.models import EtlLoadBatch
from gpwarehouse.warehouse import rooms
from gpwarehouse.warehouse.connected import Connected

__all__ = ["Status", "status_of"]


@dataclass(frozen=True)
class Status:
    """The status of a warehouse.

    :ivar server: brand and version.
    :ivar revision: the database's revision; None before the first one.
    :ivar head: this package's revision.
    :ivar rows_loaded: number of rows of all loaded batches, as the batches counted them.
    :ivar batches_deleted: number of loaded batches whose rows were deleted later; they do not count as failed.
    """

    server: str
    schema: str
    revision: str | None
    head: str
    batches_loaded: int
    batches_failed: int
    rows_loaded: int
    batches_deleted: int

    @property
    def is_current(self) -> bool:
        """Whether the database is at this package's head."""
        return self.revision == self.head


def status_of(connected: Connected) -> Status:
    """Read server, revision and batches.

    :raises WarehouseConnectionError: the server cannot be reached.
    """
    policy = RetryPolicy.once_met(connected.settings, connected.engine)
    revision = policy.call("look at the schema's revision", rooms.migrate.current, connected.settings)
    query = select(
        EtlLoadBatch.status.label("state"),
        func.count().label("batches"),
        func.sum(EtlLoadBatch.rows_loaded).label("rows"),
    ).group_by("state")

    def count(connection: Connection) -> dict[str, tuple[int, int]]:
        there = connection.execute(query) if revision is not None else ()
        return {row.state: (row.batches, int(row.rows or 0)) for row in there}

    counts = look(connected.engine, connected.settings, "the batches", count)
    loaded, failed, deleted = (
        counts.get(name, (0, 0)) for name in (rooms.batches.LOADED, rooms.batches.FAILED, rooms.batches.DELETED)
    )
    server = dialect_of(connected.engine).server_info
    return Status(
        str(server),
        connected.settings.schema_name,
        revision,
        rooms.migrate.head(connected.settings),
        loaded[0],
        failed[0],
        loaded[1],
        deleted[0],
    )
