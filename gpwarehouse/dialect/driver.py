"""Work with psycopg2's connections beneath SQLAlchemy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["outside_transaction"]

_OF_TRANSACTIONS = ("isolation_level", "readonly", "deferrable")


@contextmanager
def outside_transaction(driver: Any) -> Iterator[None]:
    """Send the block's statements as they are, without BEGIN; the connection has no transaction open.

    psycopg2 would make what its transactions are (isolation, read-only) the session's own for that time, and send
    ``SET … TO DEFAULT`` at its end: round trips that Greenplum hands on to its segments, and which change a session that
    a pooler shares out. So these are taken away meanwhile; that costs nothing.
    """
    if driver.autocommit:
        yield
        return
    kept = {name: getattr(driver, name) for name in _OF_TRANSACTIONS}
    for name in _OF_TRANSACTIONS:
        setattr(driver, name, None)
    driver.autocommit = True
    try:
        yield
    finally:
        if not driver.closed:
            driver.autocommit = False
            for name, value in kept.items():
                setattr(driver, name, value)
