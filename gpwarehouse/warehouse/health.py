"""The health of the warehouse: healthy, degraded or down, and why."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from gpwarehouse.engine import PoolState, Segment, ServerFacts, ask_server
from gpwarehouse.settings import WarehouseSettings
from gpwarehouse.warehouse import rooms
from gpwarehouse.warehouse.connected import Connected

if TYPE_CHECKING:
    from gpwarehouse.migrate import Chain

__all__ = ["Health", "HealthCheck"]

_logger = logging.getLogger(__name__)
_NEARLY_FULL = 0.9
"""Share of the server's connections in use from which it is degraded, because the next job may find none."""


@dataclass(frozen=True)
class Health:
    """The current health.

    :ivar status: ``"healthy"``; ``"degraded"``: it works, but needs attention; ``"down"``: it does not work.
    :ivar reasons: why it is not healthy, the worst reason first.
    :ivar server: brand and version.
    :ivar url: URL without secrets.
    :ivar latency_ms: time of a round trip.
    :ivar connect_ms: time to connect.
    :ivar pool: the pool of this process.
    :ivar connections: number of clients of the whole server.
    :ivar max_connections: maximum number of clients of the whole server.
    :ivar tls: whether the connection to the server is encrypted; None if there was none.
    :ivar segments: Greenplum's segments, with roles and modes.
    :ivar segments_answering: number of segments that ran a query just now.
    :ivar revision: the database's revision; None if it could not be read.
    :ivar head: this package's revision; None if it could not be read.
    :ivar disk_free: free bytes by segment, if they were asked for and could be read.
    """

    status: Literal["healthy", "degraded", "down"]
    reasons: tuple[str, ...]
    url: str | None = None
    server: str | None = None
    connect_ms: float | None = None
    latency_ms: float | None = None
    pool: PoolState | None = None
    connections: int | None = None
    max_connections: int | None = None
    standbys: int | None = None
    tls: bool | None = None
    segments: tuple[Segment, ...] = ()
    segments_answering: int | None = None
    revision: str | None = None
    head: str | None = None
    disk_free: dict[str, int] | None = None

    def as_dict(self) -> dict[str, Any]:
        """The health as a dict for JSON."""
        return asdict(self)


class HealthCheck:
    """Asks server, segments, schema and pool."""

    def __init__(self, connected: Connected) -> None:
        self._connected = connected
        self._chain: Chain | None = None

    def ask(self, *, timeout_s: float, disk: bool) -> Health:
        """:meth:`gpwarehouse.Warehouse.health`."""
        try:
            return self._examine(timeout_s, disk)
        except Exception as error:
            _logger.debug("the health check failed", exc_info=True)
            return Health("down", (str(error).partition("\n")[0] or type(error).__name__,))

    def _examine(self, timeout_s: float, disk: bool) -> Health:
        facts = ask_server(self._connected.settings, timeout_s=timeout_s, disk=disk)
        pool = self._connected.pool_state()
        chain = self._read_revisions()
        head = ", ".join(chain.heads)
        revision = ", ".join(chain.tops(facts.revisions)) if facts.revisions is not None else None
        down = list(_check_down(facts))
        degraded = [*_check_server(facts), *_check_segments(facts.segments), *_check_pool(pool)]
        degraded += _check_tls(facts, self._connected.settings)
        degraded += [
            f"the {what} of {name} is not ended, so reads find a part of the data only: run it again, to its end"
            for name, what in facts.unended
        ]
        if facts.failure is None and revision != head:
            where = "cannot be read" if revision is None else f"is at revision {revision or 'none'}"
            degraded.append(
                f"schema {self._connected.settings.schema_name!r} {where}, this package is at {head}: run gpwarehouse upgrade"
            )
        return Health(
            status="down" if down else "degraded" if degraded else "healthy",
            reasons=(*down, *degraded),
            url=self._connected.settings.redacted(),
            server=None if facts.server is None else str(facts.server),
            connect_ms=facts.connect_ms,
            latency_ms=facts.latency_ms,
            pool=pool,
            connections=facts.connections,
            max_connections=facts.max_connections,
            standbys=facts.standbys,
            tls=facts.tls if facts.server is not None else None,
            segments=facts.segments,
            segments_answering=facts.segments_answering,
            revision=revision or None,
            head=head,
            disk_free=facts.disk_free or None,
        )

    def _read_revisions(self) -> Chain:
        if self._chain is None:
            self._chain = rooms.migrate.Chain.of(self._connected.settings)
        return self._chain


def _check_down(facts: ServerFacts) -> Iterator[str]:
    if facts.failure is not None:
        yield facts.failure
    for content in sorted({segment.content for segment in facts.segments}):
        acting = [s for s in facts.segments if s.content == content and s.role == "p" and s.status == "u"]
        if not acting:
            yield f"content {content} has no primary that is up: queries fail"


def _check_server(facts: ServerFacts) -> Iterator[str]:
    if facts.in_recovery:
        yield "the server is a standby in recovery: it accepts no writes"
    if facts.connections and facts.max_connections and facts.connections >= _NEARLY_FULL * facts.max_connections:
        yield f"{facts.connections} of the server's {facts.max_connections} connections are in use"


def _check_tls(facts: ServerFacts, settings: WarehouseSettings) -> Iterator[str]:
    """Logins over a network without TLS; not our own where the settings say so: ``sslmode=disable``."""
    url = settings.sqlalchemy_url()
    is_wanted = "disable" in (url.query.get("sslmode"), settings.sslmode)
    if facts.peer is not None and not facts.tls and not is_wanted:
        yield (
            f"the login {url.username or 'of this user'} goes to {facts.peer} over a network without TLS: set "
            "GPWAREHOUSE_SSLMODE=verify-full, or disable if the network is trusted"
        )
    if others := [name for name in facts.plain_logins if name != url.username]:
        yield f"logins are connected over a network without TLS: {', '.join(others)}"


def _check_segments(segments: tuple[Segment, ...]) -> Iterator[str]:
    mirrored = {segment.content for segment in segments if segment.preferred_role == "m"}
    for segment in segments:
        what = "mirror" if segment.role == "m" else "primary"
        name = f"{what} of content {segment.content} on {segment.host}:{segment.port}"
        if segment.status != "u":
            yield f"the {name} is down"
        elif segment.role != segment.preferred_role:
            yield f"the {name} is not in its preferred role: run gprecoverseg -r when all are in sync"
        elif segment.role == "p" and segment.content in mirrored and segment.content >= 0 and segment.mode != "s":
            yield f"the {name} is not in sync with its mirror"


def _check_pool(pool: PoolState | None) -> Iterator[str]:
    if pool is not None and pool.in_use >= pool.limit and pool.waiting:
        yield f"the pool of this process has all its connections in use ({pool.limit}), and threads wait ({pool.waiting})"
