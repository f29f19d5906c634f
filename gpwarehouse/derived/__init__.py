"""Tables that are made from others, and can be made again at any time: aggregates of facts, limits of steps.

Whoever changes rows of a fact calls :func:`refresh_aggregates` in the same transaction; whoever writes versions of a step
calls :func:`refresh_step_limits`. :mod:`gpwarehouse.integrity` compares them to what they are made from.
"""

from gpwarehouse.derived.aggregates import (
    Refreshed,
    differing_aggregates,
    forget_aggregates,
    months_between,
    refresh_aggregates,
    refresh_batch,
)
from gpwarehouse.derived.rebuild import rebuild_aggregates
from gpwarehouse.derived.step_limits import differing_step_limits, refresh_step_limits

__all__ = [
    "Refreshed",
    "differing_aggregates",
    "differing_step_limits",
    "forget_aggregates",
    "months_between",
    "rebuild_aggregates",
    "refresh_aggregates",
    "refresh_batch",
    "refresh_step_limits",
]
