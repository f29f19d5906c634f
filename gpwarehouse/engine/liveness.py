"""Test a connection before the pool hands it out: by a round trip, or without one if it answered a moment ago."""

from __future__ import annotations

import select
import time
from typing import Any, cast

import psycopg2
from sqlalchemy import event, exc
from sqlalchemy.engine import Engine
from sqlalchemy.pool import ConnectionPoolEntry

__all__ = ["check_connections"]

_RECENT_S = 1.0
"""After a longer pause a connection is asked. A network can fail without a word, and a round trip shows it."""
_ANSWERED = "gpwarehouse_answered_at"


def check_connections(engine: Engine) -> None:
    """Test connections when they leave the pool; one that is lost is replaced, and so are all that are as old.

    SQLAlchemy's ``pool_pre_ping`` asks each time. A server or a pooler that ends a session says so on its socket, so a
    socket on which nothing waits belongs to a session that was there when it was used last.
    """

    def note_time(_driver: Any, record: ConnectionPoolEntry) -> None:
        record.info[_ANSWERED] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def check(driver: Any, record: ConnectionPoolEntry, _fairy: Any) -> None:
        answered: float = record.info.get(_ANSWERED, -_RECENT_S)
        if time.monotonic() - answered < _RECENT_S and is_quiet(driver):
            return
        try:
            engine.dialect.do_ping(driver)
        except psycopg2.Error as error:
            if engine.dialect.is_disconnect(cast(Any, error), driver, None):
                raise exc.InvalidatePoolError from error
            raise

    event.listen(engine, "connect", note_time)
    event.listen(engine, "checkin", note_time)


def is_quiet(driver: Any) -> bool:
    """Whether nothing waits to be read on a connection's socket, neither an end nor a message."""
    if driver.closed or not hasattr(select, "poll"):
        return False
    poll = select.poll()
    poll.register(driver.fileno(), select.POLLIN | select.POLLPRI)  # an end or an error is told in any case
    return not poll.poll(0)
