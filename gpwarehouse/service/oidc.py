"""Tokens of an OpenID Connect issuer, checked by PyJWT: fixed algorithms; audience, issuer and expiry required."""

from __future__ import annotations

import json
import logging
import threading
import time
import urllib.request
from typing import Any

import jwt

from gpwarehouse.errors import SettingsError
from gpwarehouse.service.problems import Problem, retry_after
from gpwarehouse.settings import WarehouseSettings
from gpwarehouse.settings.service import ROLES, ServiceRole

__all__ = ["OidcTokens"]

_logger = logging.getLogger("gpwarehouse.service")

ALGORITHMS = ("RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512", "EdDSA")
"""Signatures by a private key only: a public key must never count as the secret of an HMAC, and ``none`` not at all."""
_FETCH_S = 5
_LEEWAY_S = 30
_REST_S = 10.0
_UNREACHABLE = retry_after(
    503, "issuer-unavailable", "the issuer of tokens cannot be asked for its keys; try again", 10
)


class OidcTokens:
    """Checks tokens of the issuer that the settings name.

    :raises SettingsError: the audience or the roles are not set.
    """

    def __init__(self, settings: WarehouseSettings) -> None:
        assert settings.service_oidc_issuer is not None
        if not settings.service_oidc_audience or not settings.service_oidc_roles:
            raise SettingsError(
                "GPWAREHOUSE_SERVICE_OIDC_ISSUER needs GPWAREHOUSE_SERVICE_OIDC_AUDIENCE and GPWAREHOUSE_SERVICE_OIDC_ROLES "
                "(value=role), or every token of the issuer would be admitted"
            )
        self._settings = settings
        self._issuer = settings.service_oidc_issuer
        self._keys: jwt.PyJWKClient | None = None
        self._lock = threading.Lock()
        self._rests_until = 0.0

    def check(self, token: str) -> tuple[str, ServiceRole] | None:
        """The subject and the role of a token; None if it is not valid. It may wait for the issuer.

        :raises Problem: 403, the token gives no role; 503, the issuer's keys cannot be read.
        """
        if not self._may_be_ours(token):
            return None
        try:
            claims = jwt.decode(
                token,
                self._find_key(token),
                algorithms=list(ALGORITHMS),
                audience=self._settings.service_oidc_audience,
                issuer=self._issuer,
                leeway=_LEEWAY_S,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except (jwt.PyJWTError, ValueError):
            return None
        role = self._choose_role(claims)
        if role is None:
            raise Problem(
                403, "forbidden", f"the token's claim {self._settings.service_oidc_claim!r} gives no role here"
            )
        return str(claims["sub"]), role

    def _may_be_ours(self, token: str) -> bool:
        """Whether it is worth asking the issuer for keys: anybody can send any number of tokens."""
        try:
            claims = jwt.decode(token, options={"verify_signature": False})
            return jwt.get_unverified_header(token).get("alg") in ALGORITHMS and claims.get("iss") == self._issuer
        except (jwt.PyJWTError, ValueError):
            return False

    def _find_key(self, token: str) -> Any:
        """The public key of a token.

        :raises Problem: 503, the issuer's keys cannot be read. For some seconds it is not asked again.
        """
        if time.monotonic() < self._rests_until:
            raise _unreachable()
        try:
            return self._key_client().get_signing_key_from_jwt(token).key
        except (jwt.PyJWKClientConnectionError, OSError, LookupError, TypeError, AttributeError, UnicodeError) as error:
            self._rests_until = time.monotonic() + _REST_S
            _logger.warning("the keys of the OIDC issuer cannot be read: %s", type(error).__name__)
            raise _unreachable() from None

    def _key_client(self) -> jwt.PyJWKClient:
        with self._lock:
            if self._keys is None:
                url = self._settings.service_oidc_jwks_url or self._discover()
                self._keys = jwt.PyJWKClient(_web(url), cache_keys=True, lifespan=300, timeout=_FETCH_S)
            return self._keys

    def _discover(self) -> str:
        """Ask the issuer for the place of its keys (OpenID Connect Discovery 1.0, section 4)."""
        place = _web(f"{self._issuer.rstrip('/')}/.well-known/openid-configuration")
        with urllib.request.urlopen(place, timeout=_FETCH_S) as answer:
            found = json.load(answer)
        if found["issuer"] != self._issuer:
            raise LookupError("the issuer calls itself otherwise")
        return str(found["jwks_uri"])

    def _choose_role(self, claims: dict[str, Any]) -> ServiceRole | None:
        """The highest of the roles that the claim's values give."""
        value: Any = claims
        for name in self._settings.service_oidc_claim.split("."):
            value = value.get(name) if isinstance(value, dict) else None
        values = value if isinstance(value, list) else [value]
        held = {each for each in values if isinstance(each, str)}
        given = {role for claimed, role in self._settings.service_oidc_roles if claimed in held}
        return max(given, key=ROLES.index, default=None)


def _web(place: str) -> str:
    """A place on the web; urllib would open files, too."""
    if not place.startswith(("https://", "http://")):
        raise LookupError("the place of the keys is no URL of the web")
    return place


def _unreachable() -> Problem:
    return retry_after(
        503, "issuer-unavailable", "the issuer of tokens cannot be asked for its keys; try again", round(_REST_S)
    )
