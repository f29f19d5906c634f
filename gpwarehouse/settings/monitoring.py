"""The settings of monitoring: how often the warehouse's state is sampled, and from where on somebody is told."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator

from gpwarehouse.settings.types import seconds, setting, whole

__all__ = ["MonitoringFields", "ThresholdFields", "thresholds"]

_TABLE = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_MOST_HOURS = 87_600
_UNITS = {
    "h": ("seconds", 3600),
    "s": ("seconds", 1),
    "gb": ("bytes", 10**9),
    "mb": ("bytes", 10**6),
    "pct": ("percent", 1),
}
"""How the units of settings are written in metrics, and by what they are multiplied."""


def _hours_by_table(value: Any) -> Any:
    if isinstance(value, str):
        value = dict(part.strip().rpartition("=")[::2] for part in value.split(",") if part.strip())
    if not isinstance(value, Mapping):
        return value
    for table, hours in value.items():
        if not _TABLE.fullmatch(str(table)):
            raise ValueError(f"{table!r} is no table's name")
        if isinstance(hours, bool) or not str(hours).isdecimal() or not 1 <= int(hours) <= _MOST_HOURS:
            raise ValueError(f"{table}={hours}: hours are whole numbers from 1 to {_MOST_HOURS}")
    return tuple((str(table), int(hours)) for table, hours in value.items())


HoursByTable = Annotated[tuple[tuple[str, int], ...], BeforeValidator(_hours_by_table)]


class MonitoringFields(BaseModel):
    """Samples of the warehouse's state, which the service takes in the background for `/metrics`."""

    monitor_every_s: int = seconds(60, "time between two samples of loads, months, segments and sizes; 0 takes none")
    monitor_sizes_every_s: int = seconds(900, "time between two samples of sizes, skew, bloat, disk and backup", 1)
    monitor_timeout_s: int = seconds(30, "longest that one query of a sample may run", 1)


class ThresholdFields(BaseModel):
    """Limits of the alerts. `/metrics` tells them, and the rules in deploy/prometheus compare with them."""

    threshold_load_age_h: HoursByTable = setting(
        (), "hours after which a table is late that had no load; others never are", "table=hours with commas between"
    )
    threshold_reject_pct: int = whole(5, "rejects of a day's rows from which one is told, %", 0, 100)
    threshold_months_ahead: int = whole(2, "months ahead of today below which one is told", 0, 120)
    threshold_skew_pct: int = whole(50, "skew of a table from which one is told, %", 1, 10_000)
    threshold_skew_bytes: int = whole(1 << 30, "size of a table below which its skew is of no matter", 0, 1 << 50)
    threshold_bloat_pct: int = whole(30, "space that deleted rows take of a table from which one is told, %", 1, 100)
    threshold_bloat_bytes: int = whole(1 << 28, "size of a table below which its bloat is of no matter", 0, 1 << 50)
    threshold_disk_free_gb: int = whole(50, "free disk space of a segment below which one is told, GB", 0, 1_000_000)
    threshold_replication_lag_mb: int = whole(256, "log a standby lacks from which one is told, MB", 1, 1_000_000)
    threshold_backup_age_h: int = whole(26, "age of the last backup from which one is told", 1, _MOST_HOURS)
    threshold_query_s: int = seconds(60, "time below which 95 % of the queries of a kind should stay", 1)
    threshold_connections_pct: int = whole(90, "connections of the server in use from which one is told, %", 1, 100)
    threshold_jobs_waiting: int = whole(20, "jobs of the service that wait from which one is told", 1, 100_000)


def thresholds(settings: ThresholdFields) -> dict[str, int]:
    """The limits that are one number, in seconds, bytes and percent as metrics are: ``{"backup_age_seconds": 93600, …}``."""
    found = {}
    for name in ThresholdFields.model_fields:
        value = getattr(settings, name)
        if isinstance(value, int):
            stem, _, unit = name.removeprefix("threshold_").rpartition("_")
            word, factor = _UNITS.get(unit, (unit, 1))
            found[f"{stem}_{word}"] = value * factor
    return found
