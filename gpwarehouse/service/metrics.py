"""The metrics that belong to one service: jobs and queries now, and the warehouse's health and state as last sampled.

They have a registry of their own: two services in one process have two warehouses.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily

from gpwarehouse.monitoring import StateCollector, StateSampler
from gpwarehouse.service.jobs import Jobs
from gpwarehouse.service.sampling import HealthSampler
from gpwarehouse.service.turns import Turns
from gpwarehouse.settings import WarehouseSettings
from gpwarehouse.warehouse import Health

__all__ = ["make_registry"]


class _Work:
    """Jobs and queries of a service."""

    def __init__(self, jobs: Jobs, turns: Turns) -> None:
        self._jobs, self._turns = jobs, turns

    def describe(self) -> list[Any]:
        """Nothing: a registry would else collect to learn the names."""
        return []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The gauges."""
        jobs = GaugeMetricFamily("gpwarehouse_jobs", "Jobs of the service", labels=["state"])
        for state, count in self._jobs.counts().items():
            jobs.add_metric([state], count)
        queries = GaugeMetricFamily("gpwarehouse_service_queries", "Queries of callers", labels=["state"])
        queries.add_metric(["running"], self._turns.running)
        queries.add_metric(["waiting"], self._turns.waiting)
        yield from (jobs, queries)


def make_registry(
    settings: WarehouseSettings, health: HealthSampler, state: StateSampler, jobs: Jobs, turns: Turns
) -> CollectorRegistry:
    """The registry of a service."""

    def last_health() -> Health | None:
        latest = health.latest()
        return latest[0] if latest is not None else None

    registry = CollectorRegistry()
    registry.register(StateCollector(settings, last_health, lambda: state.latest, lambda: state.failures))
    registry.register(_Work(jobs, turns))
    return registry
