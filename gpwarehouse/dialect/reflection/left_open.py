"""Objects of others that our values cannot describe. They are left open, with a warning; the rest of the schema is read."""

from __future__ import annotations

from sqlalchemy.exc import ArgumentError
from sqlalchemy.util import warn

__all__ = ["UNREADABLE", "warn_left_open"]

UNREADABLE = (ArgumentError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""What making a value of an odd catalog entry may raise: :class:`OptionError` is an ArgumentError, a Decimal's NaN cannot be
compared (ArithmeticError), the year 1 has no place west of Greenwich (OverflowError)."""


def warn_left_open(table: str, what: str, error: Exception) -> None:
    """Warn that something of a table is left open.

    :param what: as a sentence goes on: ``its storage, …, is none we know``.
    """
    warn(f"table {table!r}: {what}, and is left open: {error}")
