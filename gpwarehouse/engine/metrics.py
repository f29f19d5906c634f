"""Counters of queries, rows, loads, reads, retries and the pools, for Prometheus where prometheus-client is there.

Without it (extra ``metrics``) nothing is counted and nothing costs. The numbers go to prometheus-client's default
registry, which every exporter serves.
"""

from __future__ import annotations

import threading
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from gpwarehouse.engine.pool import all_pools

__all__ = ["available", "loaded", "queried", "read", "retried"]


@cache
def available() -> bool:
    """Whether prometheus-client is installed."""
    return find_spec("prometheus_client") is not None


class _Numbers:
    """Our metrics, registered once a process."""

    def __init__(self) -> None:
        client: Any = import_module("prometheus_client")
        buckets = (0.001, 0.01, 0.1, 1, 10, 60, 600, 3600)
        self.queries = client.Counter("gpwarehouse_queries", "Statements run", ["kind", "outcome"])
        self.query_seconds = client.Histogram(
            "gpwarehouse_query_seconds", "Time of statements", ["kind"], buckets=buckets
        )
        self.query_rows = client.Counter("gpwarehouse_query_rows", "Rows statements returned or changed", ["kind"])
        self.loads = client.Counter("gpwarehouse_loads", "Batches loaded", ["target", "outcome"])
        self.loaded_rows = client.Counter("gpwarehouse_loaded_rows", "Rows loaded", ["target"])
        self.rejected_rows = client.Counter("gpwarehouse_rejected_rows", "Rows rejected", ["target"])
        self.loaded_bytes = client.Counter("gpwarehouse_loaded_bytes", "Bytes sent by loads", ["target"])
        self.load_seconds = client.Counter("gpwarehouse_load_seconds", "Time of loads", ["target"])
        self.reads = client.Counter("gpwarehouse_reads", "Reads", ["outcome"])
        self.read_rows = client.Counter("gpwarehouse_read_rows", "Rows read")
        self.read_seconds = client.Counter("gpwarehouse_read_seconds", "Time of reads")
        self.retries = client.Counter("gpwarehouse_retries", "Units of work repeated", ["reason"])
        client.REGISTRY.register(_Pools())


class _Pools:
    """The pools of the process, asked when Prometheus asks; registered, so collect() is the registry's."""

    def collect(self) -> Any:
        """The gauges."""
        core: Any = import_module("prometheus_client.core")
        states = [pool.state() for pool in all_pools()]
        connections = core.GaugeMetricFamily("gpwarehouse_pool_connections", "Pooled connections", labels=["state"])
        connections.add_metric(["idle"], sum(state.idle for state in states))
        connections.add_metric(["in_use"], sum(state.in_use for state in states))
        connections.add_metric(["limit"], sum(state.limit for state in states))
        yield connections
        waiting = sum(state.waiting for state in states)
        yield core.GaugeMetricFamily("gpwarehouse_pool_waiting", "Threads that ask for a connection", value=waiting)


_once = threading.Lock()
"""Two threads that count for the first time must not both register: functools.cache would let them."""


@cache
def _make_numbers() -> _Numbers:
    return _Numbers()


def _numbers() -> _Numbers:
    with _once:
        return _make_numbers()


def queried(kind: str, seconds: float, rows: int, outcome: str = "ok") -> None:
    """Count a statement; ``rows`` below 0 are not known."""
    if available():
        numbers = _numbers()
        numbers.queries.labels(kind, outcome).inc()
        numbers.query_seconds.labels(kind).observe(seconds)
        numbers.query_rows.labels(kind).inc(max(0, rows))


def loaded(target: str, outcome: str, *, rows: int = 0, rejected: int = 0, sent: int = 0, seconds: float = 0.0) -> None:
    """Count a load: ``"loaded"``, ``"already loaded"`` or ``"failed"``."""
    if available():
        numbers = _numbers()
        numbers.loads.labels(target, outcome).inc()
        numbers.loaded_rows.labels(target).inc(rows)
        numbers.rejected_rows.labels(target).inc(rejected)
        numbers.loaded_bytes.labels(target).inc(sent)
        numbers.load_seconds.labels(target).inc(seconds)


def read(outcome: str, *, rows: int = 0, seconds: float = 0.0) -> None:
    """Count a read: ``"ok"`` or ``"failed"``; or, for rows that come in chunks, ``rows`` alone with ``"running"``."""
    if available():
        numbers = _numbers()
        if outcome != "running":
            numbers.reads.labels(outcome).inc()
        numbers.read_rows.inc(rows)
        numbers.read_seconds.inc(seconds)


def retried(reason: str) -> None:
    """Count a repetition."""
    if available():
        _numbers().retries.labels(reason).inc()
