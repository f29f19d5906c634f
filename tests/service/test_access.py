"""Who is admitted: keys, tokens of an issuer, hosts, origins."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gpwarehouse import Warehouse
from gpwarehouse.dialect import ServerInfo
from gpwarehouse.errors import InvalidInputError, SettingsError
from gpwarehouse.service import create_app
from gpwarehouse.service.keys import ApiKeys
from gpwarehouse.service.store import Store
from gpwarehouse.settings import WarehouseSettings
from tests.roles import NAMES
from tests.service.serving import Served, add_logins, serve

ONE = {"sql": "SELECT 1"}


def status_with(served: Served, key: str | None, **headers: str) -> int:
    shown = {} if key is None else {"Authorization": f"Bearer {key}"}
    with served.client(None) as client:
        return client.post("/query", json=ONE, headers={**shown, **headers}).status_code


@pytest.mark.parametrize("key", [None, "gpw_x", "gpw_000000000000_" + "a" * 43, "Bearer", "é", "x" * 4000])
def test_an_unknown_key_is_401(served: Served, key: str | None) -> None:
    shown = [] if key is None else [(b"Authorization", f"Bearer {key}".encode("latin-1"))]
    with served.client(None) as client:
        answer = client.post("/query", json=ONE, headers=shown)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert key is None or len(key) < 8 or key not in answer.text


def test_a_key_is_stored_as_a_hash_and_revoked_while_the_service_runs(served: Served) -> None:
    store = Store(served.settings.service_state_dir)
    keys = ApiKeys(store)
    key = keys.create("grafana", "reader")
    assert status_with(served, key) == 200
    secret = key.split("_", 2)[2]
    held = b"".join(file.read_bytes() for file in Path(served.settings.service_state_dir).glob("service.sqlite3*"))
    assert secret.encode() not in held
    keys.revoke(key.split("_")[1])
    assert status_with(served, key) == 401
    expired = keys.create("old", "reader", days=1e-9)
    assert status_with(served, expired) == 401
    assert [each.name for each in keys.list()][:2] == ["old", "grafana"]
    with pytest.raises(InvalidInputError, match="no key"):
        keys.revoke("nothing")
    store.close()


def test_a_lower_role_is_403(served: Served) -> None:
    with served.client("reader") as client:
        answer = client.post("/tables/dim_lot/optimize", json={})
    assert answer.status_code in (403, 404, 405)


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "", "127.0.0.1.evil"])
def test_another_host_is_refused(served: Served, host: str) -> None:
    assert status_with(served, served.keys["reader"], Host=host) in (400, 421)


def test_pages_of_other_sites_may_not_call(served: Served) -> None:
    key = served.keys["reader"]
    assert status_with(served, key, Origin="https://evil.example") == 403
    assert status_with(served, key, Origin="null") == 403
    assert status_with(served, key, Origin=served.url) == 200
    with served.client("reader") as client:
        answer = client.get("/tables", headers={"Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in answer.headers


def test_cors_is_for_the_origins_that_are_named(fab: Warehouse, tmp_path: Path) -> None:
    with serve(fab, tmp_path, service_origins="https://dash.example") as other, other.client("reader") as client:
        answer = client.post("/query", json=ONE, headers={"Origin": "https://dash.example"})
        assert answer.headers["access-control-allow-origin"] == "https://dash.example"
        assert client.post("/query", json=ONE, headers={"Origin": "https://evil.example"}).status_code == 403


def test_without_authentication_it_listens_on_the_loopback_only(fab: Warehouse, tmp_path: Path) -> None:
    settings = fab.settings.model_copy(
        update={"service_auth": "off", "service_host": "0.0.0.0", "service_state_dir": tmp_path}
    )
    with pytest.raises(SettingsError, match="loopback"):
        create_app(settings)
    with serve(fab, tmp_path / "open", service_auth="off") as other, other.client(None) as nobody:
        assert nobody.post("/query", json=ONE).status_code == 200


def test_a_login_that_may_do_more_than_read_is_refused(fab: Warehouse, tmp_path: Path) -> None:
    logins = add_logins(fab)
    for url in (logins["service_loader_url"], fab.settings.sqlalchemy_url().render_as_string(hide_password=False)):
        given = WarehouseSettings(_env_file=None, service_reader_url=url).service_reader_url
        settings = fab.settings.model_copy(update={"service_reader_url": given, "service_state_dir": tmp_path})
        with pytest.raises(SettingsError, match="GPWAREHOUSE_SERVICE_READER_URL"):
            create_app(settings)


@pytest.mark.parametrize(
    "too_much",
    [
        "ALTER ROLE {login} CREATEROLE", "GRANT pg_monitor TO {login}", "GRANT UPDATE (lot_id) ON dw.dim_lot TO {login}",
        "GRANT TRUNCATE ON dw.dim_lot TO {login}", "GRANT CREATE ON SCHEMA dw TO {login}", "GRANT {admin} TO {login}",
        "CREATE TABLE public.of_others AS SELECT 1 AS a; GRANT INSERT ON public.of_others TO {login}",
    ],
)  # fmt: skip
def test_each_right_beside_reading_is_refused(
    fab: Warehouse, tmp_path: Path, too_much: str, server_info: ServerInfo
) -> None:
    if "pg_monitor" in too_much and server_info.postgres_version < (10,):
        pytest.skip("the server has no such role")
    logins = add_logins(fab)
    login = f"{NAMES['reader']}_over"
    with fab.engine.begin() as connection:
        connection.exec_driver_sql(f"CREATE ROLE {login} LOGIN IN ROLE {NAMES['reader']}")
        connection.exec_driver_sql(too_much.format(login=login, admin=NAMES["admin"]))
    try:
        url = fab.settings.sqlalchemy_url().set(username=login).render_as_string(hide_password=False)
        with pytest.raises(SettingsError, match="GPWAREHOUSE_SERVICE_READER_URL"):
            with serve(fab, tmp_path, logins={**logins, "service_reader_url": url}):
                pass
    finally:
        with fab.engine.begin() as connection:
            connection.exec_driver_sql("DROP TABLE IF EXISTS public.of_others")
            connection.exec_driver_sql(f"DROP OWNED BY {login}")
            connection.exec_driver_sql(f"DROP ROLE {login}")


def test_a_state_folder_belongs_to_one_service(served: Served) -> None:
    with pytest.raises(SettingsError, match="another service"):
        create_app(served.settings)


class Issuer:
    """An OIDC issuer on the loopback."""

    def __init__(self) -> None:
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key()))
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                found = {"issuer": issuer.url, "jwks_uri": f"{issuer.url}/keys"}
                if self.path == "/keys":
                    found = {"keys": [{**public, "kid": "k1", "use": "sig", "alg": "RS256"}]}  # type: ignore[dict-item]
                body = json.dumps(found).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def token(self, key: Any = None, algorithm: str = "RS256", **claims: Any) -> str:
        now = datetime.now(UTC)
        values = {
            "iss": self.url, "aud": "gpw", "sub": "ann", "exp": now + timedelta(minutes=5),
            "groups": {"names": ["eng"]}, **claims,
        }  # fmt: skip
        values = {name: value for name, value in values.items() if value is not None}
        return jwt.encode(values, key or self.key, algorithm, headers={"kid": "k1"})

    def close(self) -> None:
        self._server.shutdown()


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    made = Issuer()
    yield made
    made.close()


@pytest.fixture(scope="module")
def with_oidc(fab: Warehouse, issuer: Issuer, tmp_path_factory: Any) -> Iterator[Served]:
    options = {
        "service_oidc_issuer": issuer.url, "service_oidc_audience": "gpw", "service_oidc_claim": "groups.names",
        "service_oidc_roles": "eng=reader,dba=admin",
    }  # fmt: skip
    with serve(fab, tmp_path_factory.mktemp("oidc"), **options) as running:
        yield running


def test_a_token_of_the_issuer_is_admitted_with_its_role(with_oidc: Served, issuer: Issuer) -> None:
    assert status_with(with_oidc, issuer.token()) == 200
    assert status_with(with_oidc, issuer.token(groups={"names": ["x", "dba"]})) == 200


def test_tokens_that_are_not_right_are_401(with_oidc: Served, issuer: Issuer) -> None:
    past = datetime.now(UTC) - timedelta(hours=1)
    public = issuer.key.public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    signed, _, _ = issuer.token().rpartition(".")
    wrong = [
        issuer.token(exp=past), issuer.token(exp=None), issuer.token(aud="other"), issuer.token(aud=None),
        issuer.token(iss="https://evil"), issuer.token(iss=None), issuer.token(sub=None),
        issuer.token(key=rsa.generate_private_key(public_exponent=65537, key_size=2048)),
        signed + ".", signed + ".AAAA", "a.b.c", "..",
        _hmac_token(issuer, pem), _unsigned_token(issuer),
    ]  # fmt: skip
    assert [status_with(with_oidc, token) for token in wrong] == [401] * len(wrong)


def _part(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def _claims(issuer: Issuer) -> dict[str, Any]:
    return {"iss": issuer.url, "aud": "gpw", "sub": "ann", "exp": 4_000_000_000, "groups": {"names": ["dba"]}}


def _hmac_token(issuer: Issuer, public_pem: bytes) -> str:
    """The public key as the secret of an HMAC, which a careless server takes."""
    head = f"{_part({'alg': 'HS256', 'kid': 'k1'})}.{_part(_claims(issuer))}"
    digest = hmac.new(public_pem, head.encode(), hashlib.sha256).digest()
    return f"{head}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"


def _unsigned_token(issuer: Issuer) -> str:
    return f"{_part({'alg': 'none', 'kid': 'k1'})}.{_part(_claims(issuer))}."


@pytest.mark.parametrize(
    "groups", [None, {"names": ["stranger"]}, {"names": 5}, {"names": [{}, ["eng"]]}, {"names": {}}, "eng"]
)
def test_a_token_that_gives_no_role_is_403(with_oidc: Served, issuer: Issuer, groups: Any) -> None:
    assert status_with(with_oidc, issuer.token(groups=groups)) == 403


@pytest.mark.parametrize("place", ["http://127.0.0.1:1/keys", "file:///etc/passwd"])
def test_an_issuer_that_cannot_be_asked_is_503_and_keys_go_on(
    fab: Warehouse, issuer: Issuer, tmp_path: Path, place: str
) -> None:
    options = {
        "service_oidc_issuer": issuer.url, "service_oidc_audience": "gpw", "service_oidc_roles": "eng=reader",
        "service_oidc_jwks_url": place,
    }  # fmt: skip
    with serve(fab, tmp_path, **options) as served:
        assert status_with(served, issuer.token()) == 503
        assert status_with(served, issuer.token(iss="https://evil")) == 401
        assert status_with(served, served.keys["reader"]) == 200


def test_an_issuer_needs_audience_and_roles(fab: Warehouse, issuer: Issuer, tmp_path: Path) -> None:
    settings = fab.settings.model_copy(update={"service_oidc_issuer": issuer.url, "service_state_dir": tmp_path})
    with pytest.raises(SettingsError, match="AUDIENCE"):
        create_app(settings)
