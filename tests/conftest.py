"""Servers and databases for the tests.

By default one embedded PostgreSQL a run; ``GPWAREHOUSE_TEST_URL`` points at any other server (a role that may create
databases), ``--server greenplum6|greenplum7`` starts one in a container. Every test that writes gets a database of its own.
"""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from sqlalchemy import URL, NullPool, create_engine, make_url, text
from sqlalchemy.engine import Engine
from sqlalchemy.exc import OperationalError

from gpwarehouse import Warehouse
from gpwarehouse.dialect import Brand, GreenplumDialect, ServerInfo
from gpwarehouse.settings import WarehouseSettings
from tests.containers import GREENPLUM_IMAGES, greenplum_container
from tests.slowest import SLOWEST

# A test passes or fails by what it finds, not by the time that a busy machine takes for it.
hypothesis.settings.register_profile("gpwarehouse", hypothesis.settings.default, deadline=None)
hypothesis.settings.load_profile("gpwarehouse")


# A process of its own, with SQLAlchemy's pytest plugin: see tests/test_dialect_suites.py.
collect_ignore = ["suite"]

REAL_DATA = Path(__file__).parents[2] / "shared" / "data"
NEEDS_SEGMENTS = "needs the segments of a Greenplum"
_numbers = itertools.count(1)
_servers: set[str] = set()
"""On what the tests ran."""


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
            yield _told(_ours(url), "in a container")
    elif given:
        yield _told(_ours(given), "of GPWAREHOUSE_TEST_URL")
    else:
        from gpwarehouse.embedded import EmbeddedServer

        with EmbeddedServer.start() as server:
            yield _told(_ours(str(server.url("postgres"))), "embedded")


def _ours(url: str) -> URL:
    return make_url(url).set(drivername="greenplum+psycopg2")


def _told(url: URL, where: str) -> URL:
    _servers.add(f"{_admin(url)[1]} ({where})")
    return url


@cache
def _admin(server_url: URL) -> tuple[Engine, ServerInfo]:
    """Makes and drops databases: one engine, which asks the server once what it is."""
    engine = create_engine(server_url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect():
        pass
    assert isinstance(engine.dialect, GreenplumDialect)
    assert engine.dialect.server_info is not None
    return engine, engine.dialect.server_info


@pytest.fixture(scope="session")
def server_info(server_url: URL) -> ServerInfo:
    return _admin(server_url)[1]


@pytest.fixture(autouse=True)
def _needs_segments(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("segments"):
        info: ServerInfo = request.getfixturevalue("server_info")
        if info.brand is Brand.POSTGRESQL:
            pytest.skip(f"{NEEDS_SEGMENTS}; GPWAREHOUSE_TEST_URL names none (this is {info})")


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False  # xdist would begin with the files of the most tests


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {file: place for place, file in enumerate(SLOWEST)}
    items.sort(key=lambda item: places.get(item.nodeid.partition("::")[0], len(places)))
    if not REAL_DATA.is_dir():
        skip = pytest.mark.skip(reason=f"the real input files are not ours to ship, and {REAL_DATA} is not here")
        for item in items:
            if item.get_closest_marker("realdata"):
                item.add_marker(skip)


@pytest.fixture(scope="session")
def real_data() -> Path:
    return REAL_DATA


@cache
def _strategy(server_url: URL) -> str:
    """Files copied as they are: half the work of writing each page to the log, where nothing waits for the disk."""
    admin, info = _admin(server_url)
    with admin.connect() as connection:
        waits = connection.execute(text("SHOW fsync")).scalar_one() == "on"
    return "STRATEGY file_copy" if info.brand is Brand.POSTGRESQL and info.version >= (15,) and not waits else ""


@contextmanager
def database(server_url: URL, template: str | None = None) -> Iterator[URL]:
    """A new database, dropped at the end."""
    name = f"gpw_test_{os.getpid()}_{next(_numbers)}"
    admin, _ = _admin(server_url)
    how = f"TEMPLATE {template or 'template1'} {_strategy(server_url)}"
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name} {how}"))
    try:
        yield server_url.set(database=name)
    finally:
        with admin.connect() as connection:
            others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"
            for last in [False] * 20 + [True]:  # a session takes a moment to end
                connection.execute(text(others), {"name": name})
                try:
                    connection.execute(text(f"DROP DATABASE IF EXISTS {name}"))
                except OperationalError:
                    if last:
                        raise
                else:
                    break


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


# What a run says at its end


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["servers"] = sorted(_servers)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    _servers.update(getattr(node, "workeroutput", {}).get("servers", ()))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Skipped tests by their reasons, and in one line on what the others ran."""
    stats = terminalreporter.stats
    reasons = Counter(_reason(report) for report in stats.get("skipped", ()))
    for reason, count in reasons.most_common():
        terminalreporter.write_line(f"{count} skipped: {reason}")
    failed = sum(len(stats.get(outcome, ())) for outcome in ("failed", "error"))
    line = f"{failed} failed, " if failed else ""
    line += f"{len(stats.get('passed', ()))} passed on {' and '.join(sorted(_servers)) or 'no server'}"
    if need := sum(count for reason, count in reasons.items() if reason.startswith(NEEDS_SEGMENTS)):
        line += f"; {need} need a Greenplum: GPWAREHOUSE_TEST_URL=postgresql://gpadmin@host:5432/postgres"
    terminalreporter.write_line(line, red=bool(failed), green=not failed)


def _reason(report: pytest.TestReport) -> str:
    assert isinstance(report.longrepr, tuple)
    return report.longrepr[2].removeprefix("Skipped: ")
