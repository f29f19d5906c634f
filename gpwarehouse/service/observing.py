"""Every request: its query id, the checks before any route, its audit line, its metrics."""

from __future__ import annotations

import asyncio
import json
import logging
import time
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from prometheus_client import Counter, Gauge, Histogram
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request

from gpwarehouse.service.problems import Problem, answer_of, retry_after
from gpwarehouse.service.tracing import describe, request_span
from gpwarehouse.settings import WarehouseSettings

__all__ = ["Observing", "note"]

_audit = logging.getLogger("gpwarehouse.audit")
_logger = logging.getLogger("gpwarehouse.service")
_requests = Counter("gpwarehouse_http_requests", "Requests", ["endpoint", "method", "role", "status"])
_seconds = Histogram(
    "gpwarehouse_http_seconds",
    "Time of requests",
    ["endpoint", "role"],
    buckets=(0.005, 0.02, 0.1, 0.5, 2, 10, 60, 600),
)
_bytes = Counter("gpwarehouse_http_bytes", "Bytes of answers", ["endpoint"])
_in_flight = Gauge("gpwarehouse_http_in_flight", "Requests that are being answered")
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
"""Others are not told apart: each would be a series for ever."""
_SECURITY = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
}


def note(request: Request, **facts: Any) -> None:
    """Add facts to a request's audit line: statement, rows, …"""
    request.state.audit.update(facts)


class Observing:
    """The outermost layer. It is plain ASGI: Starlette's BaseHTTPMiddleware would hide that a client leaves.

    :param record: takes the facts of each request besides the log, for the table ``etl_audit``.
    :param answering: holds the tasks of the requests that are being answered.
    """

    def __init__(
        self,
        app: Any,
        settings: WarehouseSettings,
        record: Callable[[dict[str, Any]], None],
        answering: set[asyncio.Task[Any]],
    ) -> None:
        self._app, self._settings, self._record, self._answering = app, settings, record, answering

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        state |= {"query_id": uuid.uuid4().hex, "audit": {}, "method": scope["method"]}
        # HEAD is answered like GET. The server leaves the body out, for it keeps the scope that it made.
        if scope["method"] == "HEAD":
            scope = {**scope, "method": "GET"}
        sent = _Sent(send, {**_SECURITY, "X-Query-Id": state["query_id"]})
        started = time.monotonic()
        task = asyncio.current_task()
        assert task is not None
        self._answering.add(task)
        _in_flight.inc()
        try:
            with request_span(scope) as span:
                try:
                    await self._answer(scope, receive, sent)
                finally:
                    self._tell(scope, sent, time.monotonic() - started, span)
        finally:
            _in_flight.dec()
            self._answering.discard(task)

    async def _answer(self, scope: Any, receive: Any, sent: _Sent) -> None:
        try:
            problem = self._refuse(scope)
            if problem is not None:
                await _answer_problem(problem, scope, receive, sent)
            else:
                await self._app(scope, receive, sent)
        except asyncio.CancelledError:  # the server stops, and its time of grace is over
            if sent.status is not None:
                raise
            await _answer_problem(retry_after(503, "shutdown", "the service stops; try again"), scope, receive, sent)
        except Exception:
            _logger.exception("query %s failed", scope["state"]["query_id"])
            if sent.status is not None:
                raise
            problem = Problem(500, "internal", "the service failed; its log has the cause under the query id")
            await _answer_problem(problem, scope, receive, sent)

    def _refuse(self, scope: Any) -> Problem | None:
        """A problem of the request that no route need see."""
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        if not any(_fits(name.lower(), allowed.lower()) for allowed in self._settings.service_hosts):
            return Problem(
                421, "unknown-host", "the service is not called by this name; GPWAREHOUSE_SERVICE_HOSTS lists its names"
            )
        origin = headers.get("origin")
        if origin and scope["method"] not in ("GET", "HEAD", "OPTIONS") and not self._may_call(origin, host):
            return Problem(403, "foreign-origin", "pages of other sites may not call the service")
        return None

    def _may_call(self, origin: str, host: str) -> bool:
        """Whether a page may change something: its own one, or one that CORS allows."""
        return origin.partition("://")[2] == host or origin in self._settings.service_origins

    def _tell(self, scope: Any, sent: _Sent, seconds: float, span: Any) -> None:
        state = scope["state"]
        caller, problem = state.get("caller"), state.get("problem")
        route = getattr(scope.get("route"), "path", "other")
        role = caller.role if caller is not None else "nobody"
        status = str(sent.status or 499)
        method = state["method"] if route != "other" and state["method"] in _METHODS else "other"
        _requests.labels(route, method, role, status).inc()
        _seconds.labels(route, role).observe(seconds)
        _bytes.labels(route).inc(sent.bytes)
        if route in ("/health/live", "/metrics"):
            return
        facts: dict[str, Any] = {
            "at": datetime.now(UTC).isoformat(),
            "query_id": state["query_id"],
            "caller": caller.id if caller is not None else None,
            "name": caller.name if caller is not None else None,
            "role": role,
            "client": (scope.get("client") or ("",))[0],
            "method": state["method"],
            "endpoint": route,
            "status": sent.status or 499,
            "outcome": problem.kind if problem is not None else "ok" if sent.whole else "client-gone",
            "bytes": sent.bytes,
            "seconds": round(seconds, 3),
            **state["audit"],
        }
        describe(span, facts)
        _audit.info("%s", json.dumps(facts, default=str), extra={"audit": facts})
        self._record(facts)


async def _answer_problem(problem: Problem, scope: Any, receive: Any, send: Any) -> None:
    scope["state"]["problem"] = problem
    await answer_of(problem, scope["state"]["query_id"])(scope, receive, send)


def _fits(name: str, allowed: str) -> bool:
    return name == allowed or allowed == "*" or (allowed.startswith("*.") and name.endswith(allowed[1:]))


class _Sent:
    """Passes an answer on, and keeps its status and size."""

    def __init__(self, send: Callable[[Any], Awaitable[None]], headers: dict[str, str]) -> None:
        self._send, self._headers = send, headers
        self.status: int | None = None
        self.bytes = 0
        self.whole = False

    async def __call__(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(
                raw=message["headers"] if isinstance(message["headers"], list) else list(message["headers"])
            )
            for name, value in self._headers.items():
                headers.setdefault(name, value)
            headers.setdefault("Cache-Control", "no-store")
            message = {**message, "headers": headers.raw}
        await self._send(message)
        if message["type"] == "http.response.body":
            self.bytes += len(message.get("body", b""))
            self.whole = not message.get("more_body", False)
