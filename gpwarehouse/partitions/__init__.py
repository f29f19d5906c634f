"""Upkeep of the facts' monthly partitions: made ahead, kept in order, compressed, archived, restored."""

from gpwarehouse.partitions.holds import Hold
from gpwarehouse.partitions.manager import Outcome, Partitions, Report, month_named
from gpwarehouse.partitions.plan import Plan, Step

__all__ = ["Hold", "Outcome", "Partitions", "Plan", "Report", "Step", "month_named"]
