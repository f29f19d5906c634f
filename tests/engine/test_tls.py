"""wh.health() tells of logins that go over a network without TLS."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

import pytest
import trustme
from sqlalchemy import URL

from gpwarehouse import Warehouse
from gpwarehouse.engine import ServerFacts
from gpwarehouse.settings import WarehouseSettings
from gpwarehouse.warehouse.health import _check_tls
from tests.faults.wire import wire


@pytest.fixture
def own_address() -> str:
    """An address of this machine that is no loopback. Nothing is sent to find it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no network")
        found = str(probe.getsockname()[0])
    if found.startswith("127."):
        pytest.skip("this machine has no address but its loopback")
    return found


def tls_reasons(wh: Warehouse) -> list[str]:
    return [reason for reason in wh.health().reasons if "TLS" in reason]


def test_a_login_over_the_network_without_tls_is_told(server_url: URL, own_address: str) -> None:
    with wire(server_url, listener=socket.create_server((own_address, 0))) as plain:
        url = plain.url.set(query={})
        with Warehouse(url) as wh:
            (reason,) = tls_reasons(wh)
            assert f"goes to {own_address} over a network without TLS: set GPWAREHOUSE_SSLMODE=verify-full" in reason
            assert wh.health().status == "degraded"
            assert wh.health().tls is False
        with Warehouse(url, sslmode="disable") as wh:
            assert tls_reasons(wh) == [], "the settings say so"


def test_a_login_over_the_network_with_tls_is_right(server_url: URL, own_address: str, tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(own_address).configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "root.crt"))
    with wire(server_url, tls=context, listener=socket.create_server((own_address, 0))) as secure:
        url = URL.create("postgresql", server_url.username, host=own_address, port=secure.port, database="postgres")
        with Warehouse(url, sslmode="verify-full", sslrootcert=tmp_path / "root.crt") as wh:
            assert tls_reasons(wh) == []
            assert wh.health().tls is True


def test_on_this_machine_nothing_is_told(shared_wh: Warehouse) -> None:
    assert tls_reasons(shared_wh) == []


def test_other_logins_without_tls_are_named() -> None:
    settings = WarehouseSettings(url="postgresql://etl@db/fab", _env_file=None)
    told = list(_check_tls(ServerFacts(plain_logins=("etl", "grafana")), settings))
    assert told == ["logins are connected over a network without TLS: grafana"]
