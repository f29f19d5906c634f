"""Several hosts, and TLS: who is talked to, and who is not."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from sqlalchemy import URL, create_engine, text

from gpwarehouse import Warehouse, WarehouseSettings
from gpwarehouse.embedded import EmbeddedServer
from gpwarehouse.errors import SettingsError, WarehouseConnectionError
from tests.faults.wire import Wire, wire

SECRET = "s3cr3t!pass"


def hosts_of(*wires: Wire) -> str:
    return ",".join(f"127.0.0.1:{one.port}" for one in wires)


@pytest.fixture
def standby(server_url: URL) -> Iterator[URL]:
    """A server that takes no writes until it is promoted, as a standby coordinator."""
    with EmbeddedServer.start() as server:
        url = server.url()
        if server_url.username != url.username:  # a standby has its coordinator's roles
            engine = create_engine(url, isolation_level="AUTOCOMMIT")
            with engine.connect() as connection:
                connection.execute(text(f"CREATE ROLE {server_url.username} LOGIN SUPERUSER"))
            engine.dispose()
        be_read_only(url, "on")
        yield url


def be_read_only(url: URL, value: str) -> None:
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text("SET default_transaction_read_only = off"))
        connection.execute(text(f"ALTER SYSTEM SET default_transaction_read_only = {value}"))
        connection.execute(text("SELECT pg_reload_conf()"))
    engine.dispose()


def port_reached(wh: Warehouse) -> int:
    """The wire's port that the connection goes over."""
    with wh.engine.connect() as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        assert connection.execute(text("SELECT 1")).scalar_one() == 1
        return int(driver.info.port)


def test_the_first_host_that_answers_is_taken(server_url: URL) -> None:
    with wire(server_url) as gone, wire(server_url) as there:
        gone.close()
        with Warehouse(host=hosts_of(gone, there), user=server_url.username, database=server_url.database) as wh:
            assert port_reached(wh) == there.port
        url = f"postgresql://{server_url.username}:{SECRET}@{hosts_of(gone, there)}/{server_url.database}"
        with Warehouse(url) as wh:
            assert port_reached(wh) == there.port
            assert SECRET not in repr(wh)


def test_a_standby_is_passed_over_and_found_when_it_is_promoted(server_url: URL, standby: URL) -> None:
    with wire(standby) as second, wire(server_url) as first:
        hosts = hosts_of(second, first)
        with Warehouse(host=hosts, user=server_url.username, database="postgres", pool_max=5) as wh:
            assert port_reached(wh) == first.port
            with wh.session() as session:
                session.execute(text("SELECT 1"))
            first.close()
            first.cut_all()  # the coordinator is gone …
            with pytest.raises(Exception, match="read-only"):
                port_reached(wh)
            be_read_only(standby, "off")  # … and its standby takes over
            assert port_reached(wh) == second.port


def test_where_every_host_is_gone_the_message_names_them(server_url: URL) -> None:
    with wire(server_url) as one, wire(server_url) as two:
        pass
    with Warehouse(host=hosts_of(one, two), user="etl", password=SECRET, database="fab") as wh:
        with pytest.raises(WarehouseConnectionError) as caught:
            wh.read("SELECT 1")
    assert str(one.port) in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "hosts"),
    [
        ({"host": "a,b", "database": "fab"}, ("a:5432", "b:5432")),
        ({"host": "a, b:6000", "port": 7000, "database": "fab"}, ("a:7000", "b:6000")),
        ({"url": "postgresql://etl:p%40,ss@a:1,b:2/fab?sslmode=require"}, ("a:1", "b:2")),
        ({"url": "postgresql://a,[::1]:6000/fab"}, ("a:5432", "[::1]:6000")),
        ({"url": "postgresql://a,b/fab", "host": "c,d"}, None),
        ({"url": "postgresql://a:0,b/fab"}, None),
        ({"host": "a,,b", "database": "fab"}, None),
    ],
)
def test_several_hosts_are_read_from_the_setting_and_from_the_url(given: dict, hosts: tuple[str, ...] | None) -> None:
    if hosts is None:
        with pytest.raises(SettingsError):
            WarehouseSettings(**given, _env_file=None)
        return
    settings = WarehouseSettings(**given, _env_file=None)
    url = settings.sqlalchemy_url()
    assert url.query["host"] == hosts
    assert url.database == "fab"
    assert settings.connect_args()["target_session_attrs"] == "read-write"
    assert WarehouseSettings(url="postgresql://a/fab").connect_args().get("target_session_attrs") is None


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def tls(authority: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


def over_tls(url: URL, port: int, host: str, root: trustme.CA, folder: Path, mode: str = "verify-full") -> Warehouse:
    file = folder / "root.crt"
    root.cert_pem.write_to_path(str(file))
    return Warehouse(
        host=host,
        port=port,
        user=url.username,
        database=url.database,
        sslmode=mode,
        sslrootcert=file,
        connect_timeout_s=5,
    )


def test_verify_full_talks_to_the_server_it_knows(server_url: URL, authority: trustme.CA, tmp_path: Path) -> None:
    with wire(server_url, tls=tls(authority, "localhost")) as secure:
        with over_tls(server_url, secure.port, "localhost", authority, tmp_path) as wh:
            assert int(wh.read("SELECT 40 + 2 AS n").n[0]) == 42
            with wh.engine.connect() as connection:
                driver = connection.connection.driver_connection
                assert driver is not None
                assert driver.info.ssl_in_use


@pytest.mark.parametrize("wrong", ["another authority", "another name"])
def test_verify_full_talks_to_nobody_else(server_url: URL, authority: trustme.CA, tmp_path: Path, wrong: str) -> None:
    name = "localhost" if wrong == "another authority" else "coordinator.example"
    trusted = trustme.CA() if wrong == "another authority" else authority
    with wire(server_url, tls=tls(authority, name)) as secure:
        with over_tls(server_url, secure.port, "localhost", trusted, tmp_path) as wh:
            with pytest.raises(WarehouseConnectionError, match="certificate"):
                wh.read("SELECT 1")
        if wrong == "another name":  # which verify-ca does not look at
            with over_tls(server_url, secure.port, "localhost", trusted, tmp_path, "verify-ca") as wh:
                assert int(wh.read("SELECT 1 AS n").n[0]) == 1


def test_a_server_without_tls_is_refused_where_tls_is_asked_for(
    server_url: URL, authority: trustme.CA, tmp_path: Path
) -> None:
    with wire(server_url) as plain, over_tls(server_url, plain.port, "localhost", authority, tmp_path) as wh:
        with pytest.raises(WarehouseConnectionError, match="SSL"):
            wh.read("SELECT 1")
