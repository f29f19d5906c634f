"""Transactions that lost a deadlock are run again: they were rolled back whole, and whoever won is done by then."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

__all__ = ["sqlstate", "until_no_deadlock"]

Result = TypeVar("Result")

TRIES = 10
_DEADLOCK = "40P01"


def sqlstate(error: BaseException) -> str:
    """The server's code of an error, the driver's own or SQLAlchemy's; empty if it has none."""
    original = getattr(error, "orig", None) or error
    return getattr(original, "pgcode", None) or ""


def until_no_deadlock(attempt: Callable[[], Result]) -> Result:
    """Run a whole transaction; again, after a pause, while it is the victim of a deadlock."""
    for tries in range(1, TRIES):
        try:
            return attempt()
        except Exception as error:
            if sqlstate(error) != _DEADLOCK:
                raise
        time.sleep(random.uniform(0.05, 0.2) * tries)
    return attempt()
