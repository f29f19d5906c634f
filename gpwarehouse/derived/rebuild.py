"""Making the aggregates of whole months, and the limits of steps, again."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import Table
from sqlalchemy.engine import Engine

from gpwarehouse.derived.aggregates import Refreshed, refresh_aggregates
from gpwarehouse.derived.aggregates_sql import SHAPES
from gpwarehouse.derived.step_limits import refresh_step_limits
from gpwarehouse.engine.progress import Announce
from gpwarehouse.errors import InvalidInputError
from gpwarehouse.models import FACTS
from gpwarehouse.months import ensure_months, partitions_there

__all__ = ["rebuild_aggregates"]


def rebuild_aggregates(
    engine: Engine,
    fact: str | None = None,
    *,
    months: Iterable[datetime] | None = None,
    progress: Announce | None = None,
) -> dict[str, Refreshed]:
    """Make the aggregates anew, a transaction a month, and the limits of steps; a run that was interrupted is run again.

    :param fact: one of ``fact_test_results``, ``fact_process_measurements``; None: both.
    :param months: any instant in each; None: all months that the fact has.
    :param progress: takes a line a month.
    :return: ``"<fact> YYYY-MM"`` → what was done.
    :raises InvalidInputError: the fact has no aggregates.
    """
    if fact is not None and fact not in SHAPES:
        raise InvalidInputError(f"{fact!r} has no aggregates; those that have: {', '.join(SHAPES)}")
    done: dict[str, Refreshed] = {}
    with engine.begin() as connection:
        refresh_step_limits(connection)
    asked = None if months is None else list(months)
    for name in [fact] if fact is not None else list(SHAPES):
        table: Table = FACTS[name].__table__
        if asked is None:
            with engine.connect() as connection:
                starts = [p.start for p in partitions_there(connection, table) if isinstance(p.start, datetime)]
        else:
            starts = asked
        for start in starts:
            ensure_months(engine, table, [start])
            with engine.begin() as connection:
                refreshed = refresh_aggregates(connection, name, months=[start])
            done[f"{name} {start:%Y-%m}"] = refreshed
            if progress is not None:
                progress(f"{name} {start:%Y-%m}: {refreshed.written} rows of aggregates")
    return done
