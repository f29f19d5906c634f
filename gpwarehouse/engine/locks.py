"""Advisory locks: one place for the keys, so that no two jobs use one key for two things.

Greenplum keeps advisory locks on the coordinator; they are held to the end of the transaction, so they are safe
behind a pooler too.
"""

from __future__ import annotations

import hashlib

from sqlalchemy import text
from sqlalchemy.engine import Connection

__all__ = ["LOCK_MONTHS", "advisory_key", "lock_advisory"]

LOCK_MONTHS = "months"
"""Whoever adds or drops partitions of any table holds this lock."""


def advisory_key(*parts: str) -> int:
    """A signed 64-bit key for a name: the first 8 bytes of its SHA-256."""
    digest = hashlib.sha256("\x1f".join(("gpwarehouse", *parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def lock_advisory(connection: Connection, *parts: str) -> None:
    """Wait for the lock of that name and hold it to the end of the transaction; ``lock_timeout`` applies."""
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": advisory_key(*parts)})
