"""A span for each request, where OpenTelemetry is installed; nothing where it is not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from starlette.datastructures import Headers

__all__ = ["describe", "request_span"]

_ATTRIBUTES = {
    "method": "http.request.method",
    "endpoint": "http.route",
    "status": "http.response.status_code",
    "bytes": "http.response.body.size",
    "statement": "db.query.text",
    "rows": "db.response.returned_rows",
    "query_id": "gpwarehouse.query_id",
    "role": "gpwarehouse.role",
    "outcome": "gpwarehouse.outcome",
    "fingerprint": "gpwarehouse.fingerprint",
    "cache": "gpwarehouse.cache",
}
"""Facts of the audit line → attributes, by OpenTelemetry's semantic conventions where they have one."""


@cache
def _has_opentelemetry() -> bool:
    try:
        return find_spec("opentelemetry.trace") is not None
    except ModuleNotFoundError:
        return False


@contextmanager
def request_span(scope: Any) -> Iterator[Any]:
    """A span around a request, continuing the caller's trace (header ``traceparent``); None without OpenTelemetry."""
    if not _has_opentelemetry():
        yield None
        return
    trace: Any = import_module("opentelemetry.trace")
    propagate: Any = import_module("opentelemetry.propagate")
    parent = propagate.extract(dict(Headers(scope=scope)))
    tracer = trace.get_tracer("gpwarehouse.service")
    with tracer.start_as_current_span(scope["method"], context=parent, kind=trace.SpanKind.SERVER) as span:
        yield span


def describe(span: Any, facts: dict[str, Any]) -> None:
    """Put the facts of a request into its span. A statement is without its values there, as in the audit."""
    if span is None:
        return
    span.update_name(f"{facts['method']} {facts['endpoint']}")
    for name, attribute in _ATTRIBUTES.items():
        if facts.get(name) is not None:
            span.set_attribute(attribute, facts[name])
