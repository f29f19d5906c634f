"""Who calls, and what the caller may do."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Annotated, Any

import anyio
import anyio.to_thread
from fastapi import Depends, Request
from fastapi.security import HTTPBearer

from gpwarehouse.errors import SettingsError
from gpwarehouse.service.keys import ApiKeys
from gpwarehouse.service.oidc import OidcTokens
from gpwarehouse.service.problems import Problem
from gpwarehouse.settings import WarehouseSettings
from gpwarehouse.settings.service import ROLES, ServiceRole

__all__ = ["Access", "Admin", "Caller", "Loader", "Reader", "caller_of"]

_ASKERS = 4
"""Threads that may wait for the issuer: others are not to wait for it."""
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="gpwarehouse"'}


@dataclass(frozen=True)
class Caller:
    """Who calls.

    :ivar id: ``key:<id>``, ``oidc:<subject>``, or ``anonymous``; limits and jobs belong to it.
    """

    id: str
    name: str
    role: ServiceRole

    def may(self, role: ServiceRole) -> bool:
        """Whether the caller has a role, or one above it."""
        return ROLES.index(self.role) >= ROLES.index(role)


class Access:
    """Finds the caller of a request.

    :raises SettingsError: without authentication the service would listen beyond the loopback.
    """

    def __init__(self, settings: WarehouseSettings, keys: ApiKeys) -> None:
        self._keys = keys
        self._oidc = OidcTokens(settings) if settings.service_oidc_issuer else None
        self._askers: anyio.CapacityLimiter | None = None
        self._open = settings.service_auth == "off"
        if self._open and not _is_loopback(settings.service_host):
            raise SettingsError(
                f"GPWAREHOUSE_SERVICE_AUTH = off, but the service would listen on {settings.service_host}: without "
                "authentication it listens on the loopback only (127.0.0.1 or ::1)"
            )

    async def identify(self, request: Request) -> Caller:
        """Find the caller.

        :raises Problem: 401, there is no valid key or token.
        """
        scheme, _, shown = request.headers.get("authorization", "").partition(" ")
        if not shown and self._open:
            return Caller("anonymous", "anonymous", "admin")
        if scheme.lower() != "bearer" or not shown:
            raise Problem(401, "unauthenticated", "show a key or a token: Authorization: Bearer …", _CHALLENGE)
        caller = await self._find(shown.strip())
        if caller is None:
            raise Problem(401, "unauthenticated", "the key or token is unknown, expired or revoked", _CHALLENGE)
        return caller

    async def _find(self, shown: str) -> Caller | None:
        if shown.startswith("gpw_"):
            key = self._keys.find(shown)
            return None if key is None else Caller(f"key:{key.id}", key.name, key.role)
        if self._oidc is None:
            return None
        if self._askers is None:  # it belongs to the event loop
            self._askers = anyio.CapacityLimiter(_ASKERS)
        found = await anyio.to_thread.run_sync(self._oidc.check, shown, limiter=self._askers)
        return None if found is None else Caller(f"oidc:{found[0]}", found[0], found[1])


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


_scheme = HTTPBearer(auto_error=False, description="An API key gpw_…, or a token of the OIDC issuer.")


async def caller_of(request: Request, _shown: Annotated[Any, Depends(_scheme)] = None) -> Caller:
    """The caller of a request, as a dependency."""
    known: Caller | None = getattr(request.state, "caller", None)
    if known is None:
        known = await request.app.state.service.access.identify(request)
        request.state.caller = known
    return known


def _needs(role: ServiceRole) -> Any:
    async def check(caller: Annotated[Caller, Depends(caller_of)]) -> Caller:
        if not caller.may(role):
            raise Problem(403, "forbidden", f"this needs the role {role}; your role is {caller.role}")
        return caller

    return Depends(check)


Reader = Annotated[Caller, _needs("reader")]
Loader = Annotated[Caller, _needs("loader")]
Admin = Annotated[Caller, _needs("admin")]
