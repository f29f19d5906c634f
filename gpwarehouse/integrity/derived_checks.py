"""Tables that are made from others, compared to what they are made from."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy.engine import Connection

from gpwarehouse.derived import differing_aggregates, differing_step_limits
from gpwarehouse.integrity.fact_checks import Month
from gpwarehouse.integrity.finding import Problem
from gpwarehouse.models import AGGREGATES, BridgeStepLimits

__all__ = ["stale_aggregates", "stale_step_limits"]


def stale_aggregates(connection: Connection, month: Month) -> Iterator[Problem]:
    """Rows of a fact's aggregate that are not what the month's rows come to."""
    fact = month.table.name
    if fact not in AGGREGATES:
        return
    count, sample = differing_aggregates(connection, fact, months=[month.start])
    if count:
        yield Problem(
            "aggregates", AGGREGATES[fact].__tablename__, month.name, sample or "", count,
            f"make them anew: wh.data.rebuild_aggregates, gpwarehouse data aggregates --table {fact} --month {month.name}",
        )  # fmt: skip


def stale_step_limits(connection: Connection) -> Iterator[Problem]:
    """Limits that are not those of their step."""
    count, sample = differing_step_limits(connection)
    if count:
        yield Problem(
            "step limits", BridgeStepLimits.__tablename__, None, sample or "", count,
            "make them anew: wh.data.rebuild_aggregates, gpwarehouse data aggregates",
        )  # fmt: skip
