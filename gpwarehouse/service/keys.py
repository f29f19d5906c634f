"""API keys ``gpw_<id>_<secret>``: made once, shown once, stored as SHA-256 with role and expiry."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime

from gpwarehouse.errors import InvalidInputError
from gpwarehouse.service.store import Store
from gpwarehouse.settings.service import ROLES, ServiceRole

__all__ = ["ApiKey", "ApiKeys"]

_FORM = re.compile(r"gpw_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
_NAME = re.compile(r"[ -~]{1,63}")


@dataclass(frozen=True)
class ApiKey:
    """A key, without its secret.

    :ivar name: who or what uses it.
    :ivar expires_at: the instant from which it is refused; None if there is none.
    """

    id: str
    name: str
    role: ServiceRole
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None

    @property
    def is_valid(self) -> bool:
        """Whether it admits a caller now."""
        return self.revoked_at is None and (self.expires_at is None or self.expires_at > datetime.now(UTC))


class ApiKeys:
    """The keys of a service. A change counts from the next request on, also of a service that runs."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def create(self, name: str, role: ServiceRole, *, days: float | None = 365) -> str:
        """Make a key and return it. It cannot be shown again.

        :param name: who or what will use it, 1 to 63 printable ASCII characters.
        :param days: after how many days it expires; None never.
        :raises InvalidInputError: the name or the role is not allowed.
        """
        if role not in ROLES:
            raise InvalidInputError(f"role {role!r}: the roles are {', '.join(ROLES)}")
        if not _NAME.fullmatch(name):
            raise InvalidInputError("a key's name has 1 to 63 printable ASCII characters")
        if days is not None and not 0 < days <= 36_500:
            raise InvalidInputError(f"days={days}: give a number above 0, up to 36500, or None")
        key_id, secret, now = secrets.token_hex(6), secrets.token_urlsafe(32), time.time()
        with self._store.transaction() as store:
            store.execute(
                "INSERT INTO api_key (id, name, role, secret_sha256, created_at, expires_at) VALUES (?, ?, ?, ?, ?, ?)",
                (key_id, name, role, _hash(secret), now, None if days is None else now + days * 86_400),
            )
        return f"gpw_{key_id}_{secret}"

    def list(self) -> list[ApiKey]:
        """List all keys, the newest first."""
        return [_key_of(row) for row in self._store.rows("SELECT * FROM api_key ORDER BY created_at DESC")]

    def revoke(self, key_id: str) -> None:
        """Refuse a key from now on.

        :raises InvalidInputError: there is no such key.
        """
        with self._store.transaction() as store:
            changed = store.execute(
                "UPDATE api_key SET revoked_at = COALESCE(revoked_at, ?) WHERE id = ?", (time.time(), key_id)
            )
        if not changed.rowcount:
            raise InvalidInputError(f"there is no key {key_id!r}; gpwarehouse keys list shows all")

    def find(self, key: str) -> ApiKey | None:
        """The key of a caller; None if it is unknown, expired or revoked."""
        found = _FORM.fullmatch(key)
        row = found and self._store.row("SELECT * FROM api_key WHERE id = ?", found[1])
        if not found or not row or not hmac.compare_digest(row["secret_sha256"], _hash(found[2])):
            return None
        key_found = _key_of(row)
        return key_found if key_found.is_valid else None


def _hash(secret: str) -> str:
    """SHA-256 is enough: the secret has 256 random bits, so nothing can be guessed that a slow hash would protect."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _key_of(row: object) -> ApiKey:
    values = dict(row)  # type: ignore[call-overload]  # a sqlite3.Row

    def instant(name: str) -> datetime | None:
        return None if values[name] is None else datetime.fromtimestamp(values[name], UTC)

    created = instant("created_at")
    assert created is not None
    return ApiKey(values["id"], values["name"], values["role"], created, instant("expires_at"), instant("revoked_at"))
