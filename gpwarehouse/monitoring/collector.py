"""The warehouse's health and state as metrics, in a registry of their own. Names and units follow Prometheus: seconds, bytes.

Moments are Unix times, so that an age grows between two samples and while none can be taken. Limits are metrics too: an alert
compares with what the settings say, and knows no number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from difflib import get_close_matches
from importlib import import_module
from typing import Any

from gpwarehouse.errors import MissingExtraError, SettingsError
from gpwarehouse.models import Base, DimTime
from gpwarehouse.monitoring.sample import Sample
from gpwarehouse.settings import WarehouseSettings
from gpwarehouse.settings.monitoring import thresholds
from gpwarehouse.warehouse import Health

__all__ = ["StateCollector", "check_limits", "render_metrics"]

_LOADED = ("fact_", "dim_", "bridge_")
"""How the names of tables begin that loads and merges write."""
_STATES = ("healthy", "degraded", "down")


def check_limits(settings: WarehouseSettings) -> None:
    """See that the tables with a limit are some that are loaded.

    :raises SettingsError: one is not.
    """
    names = (table.name for table in Base.metadata.sorted_tables)
    loaded = [name for name in names if name.startswith(_LOADED) and name != DimTime.__tablename__]
    for name, _ in settings.threshold_load_age_h:
        if name not in loaded:
            near = get_close_matches(name, loaded, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"allowed: {', '.join(sorted(loaded))}"
            raise SettingsError(
                f"GPWAREHOUSE_THRESHOLD_LOAD_AGE_H names {name!r}, which is no table that is loaded; {hint}"
            )


class StateCollector:
    """Makes metrics of the last samples when Prometheus asks; it asks the warehouse nothing.

    :param settings: name the limits.
    :param health: the last health; None if it was not asked yet, or long ago.
    :param sample: the last sample; None if there is none.
    :param failures: samples in a row that could not be taken.
    :raises SettingsError: as :func:`check_limits`.
    """

    def __init__(
        self,
        settings: WarehouseSettings,
        health: Callable[[], Health | None],
        sample: Callable[[], Sample | None],
        failures: Callable[[], int] = lambda: 0,
    ) -> None:
        check_limits(settings)
        self._settings, self._health, self._sample, self._failures = settings, health, sample, failures

    def describe(self) -> list[Any]:
        """Nothing: a registry would else collect to learn the names."""
        return []

    def collect(self) -> Iterator[Any]:
        """The metrics."""
        family = _Families()
        self._add_limits(family)
        health, sample = self._health(), self._sample()
        family.add("monitor_failures", "Samples in a row that could not be taken", self._failures())
        _add_health(family, health)
        if sample is not None:
            _add_sample(family, sample)
            self._add_never_loaded(family, sample)
        yield from family.made.values()

    def _add_limits(self, family: _Families) -> None:
        for name, value in thresholds(self._settings).items():
            family.add("threshold", "Limit of an alert, as the settings say", value, name=name)
        for target, hours in self._settings.threshold_load_age_h:
            family.add(
                "load_age_limit_seconds", "Age of the last load from which it is late", hours * 3600, target=target
            )

    def _add_never_loaded(self, family: _Families, sample: Sample) -> None:
        loaded = {each.target for each in sample.last_loads}
        for target, _ in self._settings.threshold_load_age_h:
            if target not in loaded and "loads" not in sample.unreadable:
                family.add("last_load_timestamp_seconds", "End of the last load", 0, target=target, source="")


class _Families:
    """Gauges by name, each with its labels and values."""

    def __init__(self) -> None:
        self._core: Any = import_module("prometheus_client.core")
        self.made: dict[str, Any] = {}

    def add(self, name: str, about: str, value: float, /, **labels: str) -> None:
        if name not in self.made:
            self.made[name] = self._core.GaugeMetricFamily(f"gpwarehouse_{name}", about, labels=list(labels))
        self.made[name].add_metric(list(labels.values()), float(value))


def _add_health(family: _Families, health: Health | None) -> None:
    status = health.status if health is not None else "unknown"
    for state in (*_STATES, "unknown"):
        family.add("health", "Whether the warehouse is in this state", state == status, status=state)
    if health is None:
        return
    if health.latency_ms is not None:
        family.add("server_latency_seconds", "Time of a round trip", health.latency_ms / 1000)
    for name, about, value in (
        ("server_connections", "Clients of the server", health.connections),
        ("server_connections_limit", "Most clients of the server", health.max_connections),
        ("server_standbys", "Standbys that are being sent the log", health.standbys),
        ("segments_answering", "Segments that ran a query", health.segments_answering),
    ):
        if value is not None:
            family.add(name, about, value)
    mirrored = {each.content for each in health.segments if each.preferred_role == "m"}
    for each in health.segments:
        role = "mirror" if each.role == "m" else "primary"
        labels = {"content": str(each.content), "role": role, "host": each.host, "port": str(each.port)}
        family.add("segment_up", "Whether the segment is up", each.status == "u", **labels)
        family.add(
            "segment_in_preferred_role", "Whether it has its preferred role", each.role == each.preferred_role, **labels
        )
        if each.role == "p" and each.content in mirrored and each.content >= 0:
            family.add("segment_in_sync", "Whether it is in sync with its mirror", each.mode == "s", **labels)


def _add_sample(family: _Families, sample: Sample) -> None:
    family.add("monitor_sample_timestamp_seconds", "When the state was sampled", sample.at.timestamp())
    family.add("monitor_sample_seconds", "Time that the sample took", sample.seconds)
    for part in ("loads", "batches", "months", "replication", "sizes", "disk", "backup", "verify", "changes"):
        family.add("monitor_unreadable", "Whether this part could not be read", part in sample.unreadable, part=part)
    for load in sample.last_loads:
        labels = {"target": load.target, "source": load.source}
        family.add("last_load_timestamp_seconds", "End of the last load", load.at.timestamp(), **labels)
    for day in sample.day:
        about = "Batches that ended in the last 24 hours, by what became of them"
        family.add("day_batches", about, day.loaded, target=day.target, outcome="loaded")
        family.add("day_batches", about, day.failed, target=day.target, outcome="failed")
        family.add("day_rows_read", "Rows that loads of the last 24 hours read", day.rows_read, target=day.target)
        family.add("day_rows_rejected", "Rows that they rejected", day.rows_rejected, target=day.target)
    for months in sample.months:
        family.add("months_ahead", "Months ahead of today that are there", months.ahead, table=months.table)
        family.add("months_missing", "Months up to today that are not there", months.missing, table=months.table)
    for replica in sample.replicas:
        family.add("replication_streaming", "Whether it is sent the log", replica.is_streaming, standby=replica.name)
        if replica.lag_bytes is not None:
            family.add("replication_lag_bytes", "Log that it has not replayed", replica.lag_bytes, standby=replica.name)
    for change, count in sample.unended.items():
        family.add(
            "changes_unended", "Restores and changes of data in batches that have not ended", count, change=change
        )
    _add_sizes(family, sample)
    _add_backups(family, sample)


def _add_sizes(family: _Families, sample: Sample) -> None:
    for size in sample.sizes:
        family.add("table_bytes", "Size of a table with months and indexes", size.bytes, table=size.table)
        family.add(
            "table_rows_estimated", "Rows of a table, as ANALYZE estimated", size.rows_estimated, table=size.table
        )
        if size.skew_pct is not None:
            family.add("table_skew_percent", "Fullest segment over the mean, less 100", size.skew_pct, table=size.table)
        if size.bloat_pct is not None:
            family.add("table_bloat_percent", "Space that deleted rows take", size.bloat_pct, table=size.table)
    for place, free in sample.disk_free.items():
        family.add("disk_free_bytes", "Free disk space of a segment", free, place=place)


def _add_backups(family: _Families, sample: Sample) -> None:
    if sample.last_backup_at is not None:
        family.add(
            "last_backup_timestamp_seconds", "Moment of the newest whole backup", sample.last_backup_at.timestamp()
        )
    if (last := sample.last_verified) is not None:
        family.add("last_verify_timestamp_seconds", "End of the last backup verify", last.at.timestamp())
        family.add("last_verify_problems", "What it found wrong", last.problems)


def render_metrics(settings: WarehouseSettings, health: Health, sample: Sample | None) -> str:
    """The metrics as text, for the textfile collector of Prometheus's node exporter.

    :raises MissingExtraError: prometheus-client is not installed.
    """
    try:
        client: Any = import_module("prometheus_client")
    except ImportError:
        raise MissingExtraError("metrics need prometheus-client: pip install 'gpwarehouse[metrics]'") from None
    registry = client.CollectorRegistry()
    registry.register(StateCollector(settings, lambda: health, lambda: sample))
    return str(client.generate_latest(registry).decode())
