"""Advisory locks: one place for the keys, so that no two jobs use one key for two things.

Greenplum keeps advisory locks on the coordinator; they are held to the end of the transaction, so they are safe
behind a pooler too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.engine import Connection

from gpwarehouse.engine.table_names import dialect_of

__all__ = ["LOCK_MONTHS", "LockHolder", "advisory_key", "lock_advisory", "lock_holders"]

LOCK_MONTHS = "months"
"""Whoever adds or drops partitions of any table holds this lock."""


def advisory_key(*parts: str) -> int:
    """A signed 64-bit key for a name: the first 8 bytes of its SHA-256."""
    digest = hashlib.sha256("\x1f".join(("gpwarehouse", *parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def lock_advisory(connection: Connection, *parts: str) -> None:
    """Wait for the lock of that name and hold it to the end of the transaction; ``lock_timeout`` applies."""
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": advisory_key(*parts)})


@dataclass(frozen=True)
class LockHolder:
    """A session that holds a lock, as far as the server lets us see it.

    :ivar pid: of the server process; ``since``: when its transaction began, or it connected, UTC.
    """

    pid: int
    user: str | None
    application: str | None
    place: str | None
    since: datetime | None

    def __str__(self) -> str:
        place = self.place or "this machine's socket or an address we may not see"
        since = f" since {self.since:%Y-%m-%d %H:%M:%S} UTC" if self.since is not None else ""
        return (
            f"server process {self.pid}, user {self.user or 'unknown'}, application {self.application or 'unnamed'!r}, from "
            f"{place},{since}"
        )


# The key of an advisory lock stands in two halves. Those who lock more than reading does come first.
_HOLDERS = """
    SELECT l.pid, a.usename, a.application_name, a.client_addr, a.client_hostname,
        COALESCE(a.xact_start, a.backend_start) AS since, bool_or(l.mode <> 'AccessShareLock') AS writes
    FROM pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
    WHERE l.granted AND NOT l.pid = ANY (:mine)
        AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = current_database())
        AND ((l.locktype = 'advisory' AND l.objsubid = 1 AND l.classid = CAST(CAST(:high AS bigint) AS oid)
                AND l.objid = CAST(CAST(:low AS bigint) AS oid))
            OR (l.locktype = 'relation' AND l.relation IN (
                SELECT CAST(:table AS regclass)
                UNION SELECT i.inhrelid FROM pg_catalog.pg_inherits i WHERE i.inhparent = CAST(:table AS regclass))))
        {coordinator}
    GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY writes DESC, since"""


def lock_holders(
    connection: Connection, key: int, *, table: str | None = None, mine: Iterable[int] = ()
) -> list[LockHolder]:
    """Who holds an advisory lock, or a lock on a table or one of its partitions.

    :param table: qualified and quoted; ``mine``: server processes to leave out.
    """
    capabilities = dialect_of(connection).capabilities
    distributed = capabilities is not None and capabilities.distribution
    # Greenplum lists the locks of the segments too; those of the coordinator name the sessions.
    query = _HOLDERS.format(coordinator="AND l.gp_segment_id = -1" if distributed else "")
    values = {"high": (key >> 32) & 0xFFFFFFFF, "low": key & 0xFFFFFFFF, "table": table, "mine": [*mine, 0]}
    return [
        LockHolder(row.pid, row.usename, row.application_name, row.client_hostname or row.client_addr, row.since)
        for row in connection.execute(text(query), values)
    ]
