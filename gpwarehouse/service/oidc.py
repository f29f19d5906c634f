"""Tokens of an OpenID Connect issuer, checked by PyJWT: fixed algorithms; audience, issuer and expiry required."""

from __future__ import annotations

import json
import threading
import urllib.request
from typing import Any

import jwt

from gpwarehouse.errors import SettingsError
from gpwarehouse.settings import WarehouseSettings
from gpwarehouse.settings_service import ROLES, ServiceRole

__all__ = ["OidcTokens"]

ALGORITHMS = ("RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512", "EdDSA")
"""Signatures by a private key only: a public key must never count as the secret of an HMAC, and ``none`` not at all."""
_FETCH_S = 5
_LEEWAY_S = 30


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

    def check(self, token: str) -> tuple[str, ServiceRole] | None:
        """The subject and the role of a token; None if it is not valid, or gives no role. It may wait for the issuer."""
        try:
            key = self._key_client().get_signing_key_from_jwt(token)
            claims = jwt.decode(
                token,
                key.key,
                algorithms=list(ALGORITHMS),
                audience=self._settings.service_oidc_audience,
                issuer=self._issuer,
                leeway=_LEEWAY_S,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except (jwt.PyJWTError, ValueError, OSError):
            return None
        role = self._choose_role(claims)
        return None if role is None else (str(claims["sub"]), role)

    def _key_client(self) -> jwt.PyJWKClient:
        with self._lock:
            if self._keys is None:
                url = self._settings.service_oidc_jwks_url or self._discover()
                self._keys = jwt.PyJWKClient(url, cache_keys=True, lifespan=300, timeout=_FETCH_S)
            return self._keys

    def _discover(self) -> str:
        """Ask the issuer for the place of its keys (OpenID Connect Discovery 1.0, section 4)."""
        place = f"{self._issuer.rstrip('/')}/.well-known/openid-configuration"
        if not place.startswith(("https://", "http://")):
            raise ValueError("the issuer is no URL")
        with urllib.request.urlopen(place, timeout=_FETCH_S) as answer:
            found = json.load(answer)
        if found.get("issuer") != self._issuer:
            raise ValueError("the issuer calls itself otherwise")
        return str(found["jwks_uri"])

    def _choose_role(self, claims: dict[str, Any]) -> ServiceRole | None:
        """The highest of the roles that the claim's values give."""
        value: Any = claims
        for name in self._settings.service_oidc_claim.split("."):
            value = value.get(name) if isinstance(value, dict) else None
        held = {value} if isinstance(value, str) else set(value) if isinstance(value, list) else set()
        given = {role for claimed, role in self._settings.service_oidc_roles if claimed in held}
        return max(given, key=ROLES.index, default=None)
