"""Servers and databases for the tests.

By default one embedded PostgreSQL a run; ``GPWAREHOUSE_TEST_URL`` points at any other server (a role that may create
databases), ``--server greenplum6|greenplum7`` starts one in a container. Every test that writes gets a database of its own.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import URL, NullPool, create_engine, make_url, text
from sqlalchemy.engine import Engine

from gpwarehouse import Warehouse
from gpwarehouse.dialect import Brand, GreenplumDialect, ServerInfo
from gpwarehouse.settings import WarehouseSettings
from tests.containers import GREENPLUM_IMAGES, greenplum_container

# A process of its own, with SQLAlchemy's pytest plugin: see tests/test_dialect_suites.py.
collect_ignore = ["suite"]

REAL_DATA = Path(__file__).parents[2] / "shared" / "data"
_numbers = itertools.count(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--server",
        choices=sorted(GREENPLUM_IMAGES),
        help="start this server in a container (needs Docker) and test on it",
    )


@pytest.fixture(scope="session", autouse=True)
def _no_settings_of_the_machine() -> Iterator[None]:
    """Tests see the settings they make, not those of whoever runs them."""
    kept = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("GPWAREHOUSE_")}
    os.environ.update({name: value for name, value in kept.items() if name.startswith("GPWAREHOUSE_TEST_")})
    yield
    os.environ.update(kept)


@pytest.fixture(scope="session")
def server_url(request: pytest.FixtureRequest, _no_settings_of_the_machine: None) -> Iterator[URL]:
    """A server on which databases can be made."""
    given = os.environ.get("GPWAREHOUSE_TEST_URL")
    container = request.config.getoption("--server")
    if container:
        with greenplum_container(container) as url:
            yield _ours(url)
    elif given:
        yield _ours(given)
    else:
        from gpwarehouse.embedded import EmbeddedServer

        with EmbeddedServer.start() as server:
            yield _ours(str(server.url("postgres")))


def _ours(url: str) -> URL:
    return make_url(url).set(drivername="greenplum+psycopg2")


@pytest.fixture(scope="session")
def server_info(server_url: URL) -> ServerInfo:
    engine = create_engine(server_url, poolclass=NullPool)
    with engine.connect():
        pass
    assert isinstance(engine.dialect, GreenplumDialect)
    assert engine.dialect.server_info is not None
    return engine.dialect.server_info


@pytest.fixture(autouse=True)
def _needs_segments(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("segments"):
        info: ServerInfo = request.getfixturevalue("server_info")
        if info.brand is Brand.POSTGRESQL:
            pytest.skip(f"needs the segments of a Greenplum; GPWAREHOUSE_TEST_URL names none (this is {info})")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not REAL_DATA.is_dir():
        skip = pytest.mark.skip(reason=f"the real input files are not ours to ship, and {REAL_DATA} is not here")
        for item in items:
            if item.get_closest_marker("realdata"):
                item.add_marker(skip)


@pytest.fixture(scope="session")
def real_data() -> Path:
    return REAL_DATA


@contextmanager
def database(server_url: URL, template: str | None = None) -> Iterator[URL]:
    """A new database, dropped at the end."""
    name = f"gpw_test_{os.getpid()}_{next(_numbers)}"
    admin = create_engine(server_url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}" + (f" TEMPLATE {template}" if template else "")))
    try:
        yield server_url.set(database=name)
    finally:
        with admin.connect() as connection:
            others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"
            connection.execute(text(others), {"name": name})
            connection.execute(text(f"DROP DATABASE IF EXISTS {name}"))


@pytest.fixture
def empty_url(server_url: URL) -> Iterator[URL]:
    """A database with nothing in it."""
    with database(server_url) as url:
        yield url


@pytest.fixture(scope="session")
def upgraded_template(server_url: URL) -> Iterator[str]:
    """Name of a database at head, to copy from."""
    with database(server_url) as url:
        with Warehouse(url) as warehouse:
            warehouse.upgrade()
        assert url.database is not None
        yield url.database


@pytest.fixture
def wh(server_url: URL, upgraded_template: str) -> Iterator[Warehouse]:
    """A warehouse at head, empty, of the test's own."""
    with database(server_url, upgraded_template) as url, Warehouse(url) as warehouse:
        yield warehouse


@pytest.fixture(scope="module")
def shared_wh(server_url: URL, upgraded_template: str) -> Iterator[Warehouse]:
    """A warehouse at head that the tests of a module share."""
    with database(server_url, upgraded_template) as url, Warehouse(url) as warehouse:
        yield warehouse


@pytest.fixture
def settings(empty_url: URL) -> WarehouseSettings:
    return WarehouseSettings(url=empty_url.render_as_string(hide_password=False))


@pytest.fixture
def empty_engine(empty_url: URL) -> Iterator[Engine]:
    engine = create_engine(empty_url)
    yield engine
    engine.dispose()
