"""What an operator is woken by: the warehouse's state, sampled in the background, and as metrics for Prometheus."""

from gpwarehouse.monitoring.collector import StateCollector, check_limits, render_metrics
from gpwarehouse.monitoring.sample import (
    DayOfBatches,
    LastLoad,
    MonthsOfTable,
    Replica,
    Sample,
    SizeOfTable,
    take_sample,
)
from gpwarehouse.monitoring.sampler import StateSampler

__all__ = [
    "DayOfBatches",
    "LastLoad",
    "MonthsOfTable",
    "Replica",
    "Sample",
    "SizeOfTable",
    "StateCollector",
    "StateSampler",
    "check_limits",
    "render_metrics",
    "take_sample",
]
