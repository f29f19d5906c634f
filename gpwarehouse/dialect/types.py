"""Types whose SQL must be said in an older way to be understood by every server."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from sqlalchemy import Interval
from sqlalchemy.dialects.postgresql import INTERVAL

__all__ = ["GreenplumInterval"]


class GreenplumInterval(INTERVAL):
    """INTERVAL whose literals Greenplum 6 reads too: named arguments are ``secs := 1`` there, not ``secs => 1``."""

    @classmethod
    def adapt_emulated_to_native(cls, interval: Interval, **_: Any) -> GreenplumInterval:  # type: ignore[override]
        """The type for SQLAlchemy's generic one."""
        return cls(precision=interval.second_precision)

    def literal_processor(self, dialect: Any) -> Callable[[timedelta], str]:
        """Renders a ``timedelta``; PostgreSQL of every version reads ``:=``."""
        return lambda value: f"make_interval(secs := {value.total_seconds()})"
