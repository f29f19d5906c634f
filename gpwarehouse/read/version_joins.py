"""Join facts to the version of a dimension that was in force at the time of the event."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, and_, inspect
from sqlalchemy.exc import NoInspectionAvailable

from gpwarehouse.errors import ReadError

__all__ = ["as_of"]


def as_of(fact: Any, dimension: Any, *, key: str | None = None, at: str = "event_ts") -> ColumnElement[bool]:
    """The condition that joins each row of ``fact`` to the version of ``dimension`` in force at ``at``.

    >>> select(FactTestResults, DimRecipe).join(DimRecipe, as_of(FactTestResults, DimRecipe))   # doctest: +SKIP

    Every event has exactly one version: intervals are half-open, without gap or overlap, and the first begins in 1900.

    :param fact: mapped class or alias that has the durable key and the time.
    :param dimension: versioned dimension, or an alias of it if one fact refers to it in several roles.
    :param key: the column of the fact that refers to the member, e.g. ``"tester_key"``; by default the name of the dimension's
        key.
    :param at: the column of the fact with the time.
    :raises ReadError: the dimension has no versions, or the fact has no such column.
    """
    try:
        mapper, fact_mapper = inspect(dimension).mapper, inspect(fact).mapper
    except (NoInspectionAvailable, AttributeError):
        raise ReadError(
            "as_of() joins mapped classes or aliases of them, such as FactTestResults and DimRecipe"
        ) from None
    own = getattr(mapper.class_, "durable_key", None)
    if own is None or not {"effective_date", "expiry_date"} <= set(mapper.column_attrs.keys()):
        raise ReadError(f"{mapper.class_.__name__} has no versions; join it by its key alone")
    key = key or own
    for name in (key, at):
        if name not in fact_mapper.column_attrs:
            keys = ", ".join(name for name in fact_mapper.column_attrs.keys() if name.endswith(("_key", "_ts")))  # noqa: SIM118
            raise ReadError(
                f"{fact_mapper.class_.__name__} has no column {name!r}; its columns of this kind are {keys}"
            )
    moment = getattr(fact, at)
    return and_(
        getattr(fact, key) == getattr(dimension, own),
        moment >= dimension.effective_date,
        moment < dimension.expiry_date,
    )
