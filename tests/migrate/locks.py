"""A migrator kept at a lock, and others who see it there."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import create_engine, text
from sqlalchemy.engine import Connection

from gpwarehouse import Warehouse

WITHIN_S = 120
WAIT = 'op.execute("LOCK TABLE dw.dim_lot IN ACCESS EXCLUSIVE MODE")'


BLOCKED = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'dw.dim_lot'::regclass"


@contextmanager
def other(wh: Warehouse) -> Iterator[Connection]:
    engine = create_engine(wh.settings.sqlalchemy_url(), connect_args={"application_name": "the other one"})
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def wait_for(connection: Connection, query: str) -> None:
    give_up = time.monotonic() + WITHIN_S
    while not connection.execute(text(query)).scalar():
        connection.rollback()
        assert time.monotonic() < give_up, query
        time.sleep(0.02)
    connection.rollback()
