"""Convert values of numpy, pandas and other libraries to Python's own types, alike in loads, JSON and parameters of reads.

Subclasses count as their base types: numpy's scalars, enumerations (by their values), pandas' times. None, NaN of every kind,
pandas' NA and every library's NaT are not values. Times are cut off after the microsecond.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import numpy as np

__all__ = ["NotPlainError", "plain"]

_OWN = frozenset({bool, int, str, bytes, datetime, date, time, timedelta, UUID})
_MISSING = frozenset({"NaTType", "NAType"})


class NotPlainError(TypeError):
    """A value of a type that is not supported; the message names the type."""

    def __init__(self, value: Any) -> None:
        super().__init__(f"a {type(value).__name__}")


def plain(value: Any) -> Any:
    """Convert a value to bool, int, float, Decimal, str, bytes, datetime, date, time, timedelta or UUID; None if it is missing.

    :raises NotPlainError: it has another type, e.g. a list, a period, a complex number, numpy's long double.
    """
    kind = type(value)
    if value is None or kind in _OWN:
        return value
    if kind is float:
        return value if value == value else None
    if isinstance(value, Decimal):
        return None if value.is_nan() else value
    if kind.__name__ in _MISSING:
        return None
    if isinstance(value, np.generic):
        return _convert_numpy(value)
    if isinstance(value, Enum):
        return plain(value.value)
    for own, bare in _BARE.items():
        if isinstance(value, own):
            return plain(bare(value))
    raise NotPlainError(value)


def _convert_numpy(value: np.generic) -> Any:
    if isinstance(value, np.datetime64 | np.timedelta64):  # a timedelta64 is an integer to numpy
        found = value.astype(f"{value.dtype.kind}8[us]").item()
        if found is None or isinstance(found, datetime | timedelta):  # otherwise a year that Python does not have
            return found
    elif isinstance(value, np.bool_ | np.integer | np.floating | np.str_ | np.bytes_) and not (
        isinstance(value, np.longdouble)  # Python's float cannot hold it
    ):
        return plain(value.item())
    raise NotPlainError(value)


def _strip_datetime(value: datetime) -> datetime:
    """Cut off pandas' nanoseconds."""
    parts = (
        value.year,
        value.month,
        value.day,
        value.hour,
        value.minute,
        value.second,
        value.microsecond,
        value.tzinfo,
    )
    try:
        return datetime(*parts, fold=value.fold)
    except ValueError:  # a year that Python does not have
        raise NotPlainError(value) from None


_BARE: dict[Any, Callable[[Any], Any]] = {
    str: lambda value: "".join((value,)),
    int: lambda value: int.__add__(value, 0),
    float: float.__pos__,
    datetime: _strip_datetime,
    date: lambda value: date(value.year, value.month, value.day),
    time: lambda value: time(value.hour, value.minute, value.second, value.microsecond, value.tzinfo, fold=value.fold),
    timedelta: lambda value: timedelta(value.days, value.seconds, value.microseconds),
    bytes: bytes,
    bytearray: bytes,
    memoryview: bytes,
    UUID: lambda value: UUID(int=value.int),
}
"""Functions that take from a subclass, or a similar type, what it adds to the base type."""
