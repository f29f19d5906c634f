"""A database for the suites, with the schemas they expect."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import URL, NullPool, create_engine, make_url, text

_SCHEMAS = ("test_schema", "test_schema_2")  # the names are SQLAlchemy's


@contextmanager
def server() -> Iterator[URL]:
    """The server to test on: the one that ``GPWAREHOUSE_TEST_URL`` names, else an embedded PostgreSQL."""
    given = os.environ.get("GPWAREHOUSE_TEST_URL")
    if given:
        yield make_url(given)
        return
    from gpwarehouse.embedded import EmbeddedServer

    with EmbeddedServer.start() as embedded:
        yield embedded.url("postgres")


@contextmanager
def database(drivername: str = "greenplum+psycopg2") -> Iterator[str]:
    """URL of a new database with the suites' schemas, dropped at the end."""
    name = f"gpw_suite_{os.getpid()}"
    with server() as url:
        # The sort order is the one that the suites assume of a database.
        admin = create_engine(url.set(drivername="postgresql+psycopg2"), poolclass=NullPool)
        with admin.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'"))
        try:
            made = url.set(drivername=drivername, database=name)
            _prepare(made)
            yield made.render_as_string(hide_password=False)
        finally:
            with admin.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"
                connection.execute(text(others), {"name": name})
                connection.execute(text(f"DROP DATABASE {name}"))


def _prepare(url: URL) -> None:
    engine = create_engine(url.set(drivername="postgresql+psycopg2"), poolclass=NullPool)
    with engine.begin() as connection:
        for schema in _SCHEMAS:
            connection.execute(text(f"CREATE SCHEMA {schema}"))
