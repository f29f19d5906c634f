"""Roles of the tests' own: they are the whole cluster's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import create_engine, text

from gpwarehouse import Warehouse
from gpwarehouse.settings import WarehouseSettings

NAMES = {kind: f"gpw_t{os.getpid()}_{kind}" for kind in ("reader", "loader", "admin")}
LOGINS = {kind: f"{name}_login" for kind, name in NAMES.items()}


@contextmanager
def fab_with_roles(wh: Warehouse) -> Iterator[Warehouse]:
    """A warehouse with roles of unusual names, which are the whole cluster's, and a login in each."""
    url = wh.settings.sqlalchemy_url().render_as_string(hide_password=False)
    settings = WarehouseSettings(url=url, _env_file=None, **{f"role_{kind}": name for kind, name in NAMES.items()})
    with Warehouse(settings=settings) as fab:
        yield fab
    admin = create_engine(wh.engine.url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        for name in (*LOGINS.values(), *NAMES.values()):
            there = connection.execute(text("SELECT 1 FROM pg_roles WHERE rolname = :name"), {"name": name}).scalar()
            if there:
                connection.execute(text(f"DROP OWNED BY {name} CASCADE"))
                connection.execute(text(f"DROP ROLE {name}"))
    admin.dispose()
