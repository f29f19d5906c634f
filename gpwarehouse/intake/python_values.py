"""Python values of a column → an Arrow array, by a list of the types that are understood.

What :func:`gpwarehouse.transport.plain` knows is understood; a UUID is its text. What is not on its list, and durations,
which no column takes, stay in the array as :class:`Alien`, so that their rows are rejected, with the type, and no others.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Self
from uuid import UUID

import pyarrow as pa

from gpwarehouse.intake.arrow_texts import text_of
from gpwarehouse.intake.json_values import json_of
from gpwarehouse.transport import NotPlainError, plain

__all__ = ["Alien", "array_of"]

_QUICK = frozenset({type(None), bool, int, float, str, bytes, date})
_MARK = b"\xed\xb3\xbf" + secrets.token_bytes(16)
"""Begins the bytes of a value of another type: no UTF-8, so no column takes them."""
_UNFIT = (pa.ArrowException, OverflowError, UnicodeEncodeError, TypeError, ValueError, NotImplementedError)
"""What Arrow raises for values that it cannot put into one array, or at all."""


class Alien(str):
    """The text of a value of a type that is not understood.

    :ivar kind: name of its type.
    """

    kind: str
    __slots__ = ("kind",)

    @classmethod
    def of(cls, value: Any) -> Self:
        """What is left of a value."""
        try:
            text = str(value)
        except Exception as error:  # whatever another library raises there
            text = f"without a text ({type(error).__name__})"
        alien = cls(text)
        alien.kind = type(value).__name__
        return alien

    @classmethod
    def in_bytes(cls, data: bytes) -> Self | None:
        """The one that :meth:`encoded` made these bytes of; None if they are a value's own."""
        if not data.startswith(_MARK):
            return None
        kind, _, text = data[len(_MARK) :].decode("utf-8", "surrogatepass").partition("\x00")
        alien = cls(text)
        alien.kind = kind
        return alien

    def encoded(self) -> bytes:
        """As bytes for an array."""
        return _MARK + f"{self.kind}\x00{self}".encode("utf-8", "surrogatepass")


def array_of(values: Sequence[Any], *, is_json: bool) -> pa.Array:
    """An Arrow array of Python values; where they are not of one kind, of their texts, to be judged one by one.

    None, NaN of every kind, pandas' NA and everybody's NaT are NULL.
    """
    if is_json:
        return pa.array([json_of(value) for value in values], pa.string())
    kinds = set(map(type, values))
    if not kinds <= _QUICK:
        values = [_simple(value) for value in values]
    elif float in kinds:
        values = [value if value == value else None for value in values]
    if _are_of_one_kind(values):
        try:
            return pa.array(values)
        except _UNFIT:
            pass
        if any(isinstance(value, datetime) for value in values):  # zones that Arrow does not know
            try:
                return pa.array([None if value is None else value.astimezone(UTC) for value in values])
            except _UNFIT:
                pass
    try:
        return pa.array([_text(value) for value in values], pa.string())
    except (
        _UNFIT
    ):  # aliens, and lone surrogates, which are no UTF-8: as bytes they reach the check that refuses their rows
        return pa.array([_bytes(value) for value in values], pa.binary())


def _simple(value: Any) -> Any:
    """The value in one of the types that Arrow has too, None if it is none, or an alien."""
    try:
        found = plain(value)
    except NotPlainError:
        return Alien.of(value)
    if isinstance(found, timedelta) or (isinstance(found, time) and found.tzinfo is not None):
        return Alien.of(value)  # no column takes the one, and Arrow would take the zone from the other
    return str(found) if isinstance(found, UUID) else found


def _are_of_one_kind(values: Sequence[Any]) -> bool:
    """Whether Arrow may look at them as a whole; of mixed values it would make what the first one is.

    Times with and without a zone are two kinds: Arrow would take the latter for UTC. Decimals of several scales are too: it
    would give all of them the largest, which is another text.
    """
    kinds = {float if kind is int else kind for kind in set(map(type, values))} - {type(None)}
    if len(kinds) > 1 or Alien in kinds:
        return False
    if kinds == {datetime}:
        return len({value.tzinfo is not None for value in values if value is not None}) == 1
    if kinds == {Decimal}:
        return len({value.as_tuple().exponent for value in values if value is not None}) == 1
    return True


def _text_of_decimal(value: Decimal) -> str:
    scale = value.as_tuple().exponent
    return format(value, "f") if isinstance(scale, int) and scale > 0 else str(value)


def _text(value: Any) -> str | None:
    """A value as the text that Arrow makes of it where it stands among its like.

    :raises TypeError: it has none.
    """
    if value is None or type(value) is str:
        return value
    if isinstance(value, Alien):
        raise TypeError(f"a {value.kind} has no text")
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, Decimal):
        return _text_of_decimal(value)
    return _text_by_arrow(value)


def _text_by_arrow(value: Any) -> str:
    try:
        return str(text_of(pa.array([value]))[0].as_py())
    except _UNFIT:
        return value.isoformat()  # type: ignore[no-any-return]


def _bytes(value: Any) -> bytes | None:
    if isinstance(value, bytes | None):
        return value
    if isinstance(value, Alien):
        return value.encoded()
    text = str(_text(value))
    return text.encode("utf-8", "surrogatepass")
