"""Convert the Python values of a column to an Arrow array, by a list of supported types.

The types that :func:`gpwarehouse.transport.plain` knows are supported; a UUID becomes its text. Other values, and durations,
which no column can hold, stay in the array as :class:`Alien`. So only their own rows are rejected, with the type in the reason.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Self
from uuid import UUID

import numpy as np
import pyarrow as pa

from gpwarehouse.intake.arrow_texts import text_of
from gpwarehouse.intake.json_values import json_of
from gpwarehouse.transport import NotPlainError, plain

__all__ = ["Alien", "array_of", "lists_of"]

_QUICK = frozenset({type(None), bool, int, float, str, bytes, date})
_MARK = b"\xed\xb3\xbf" + secrets.token_bytes(16)
"""First bytes of a value of another type. They are not UTF-8, so no column accepts them."""
_UNFIT = (pa.ArrowException, OverflowError, UnicodeEncodeError, TypeError, ValueError, NotImplementedError)
"""Errors of Arrow for values that it cannot put into one array, or into any."""


class Alien(str):
    """The text of a value of a type that is not supported.

    :ivar kind: name of its type.
    """

    kind: str
    __slots__ = ("kind",)

    @classmethod
    def of(cls, value: Any) -> Self:
        """Keep the text and the type of a value."""
        try:
            text = str(value)
        except Exception as error:  # another library may raise anything here
            text = f"without a text ({type(error).__name__})"
        alien = cls(text)
        alien.kind = type(value).__name__
        return alien

    @classmethod
    def in_bytes(cls, data: bytes) -> Self | None:
        """Restore the value that :meth:`encoded` made these bytes of; None if the bytes are an ordinary value."""
        if not data.startswith(_MARK):
            return None
        kind, _, text = data[len(_MARK) :].decode("utf-8", "surrogatepass").partition("\x00")
        alien = cls(text)
        alien.kind = kind
        return alien

    def encoded(self) -> bytes:
        """Encode it as bytes for an array."""
        return _MARK + f"{self.kind}\x00{self}".encode("utf-8", "surrogatepass")


def array_of(values: Sequence[Any], *, is_json: bool) -> pa.Array:
    """Make an Arrow array of Python values. If they are not of one kind, the array holds their texts, to be checked one by one.

    None, NaN of every kind, pandas' NA and every library's NaT are NULL.
    """
    if is_json:
        return pa.array([json_of(value) for value in values], pa.string())
    kinds = set(map(type, values))
    if not kinds <= _QUICK:
        values = [_simplify(value) for value in values]
    elif float in kinds:
        values = [value if value == value else None for value in values]
    if _are_of_one_kind(values):
        try:
            return pa.array(values)
        except _UNFIT:
            pass
        if any(isinstance(value, datetime) for value in values):  # time zones that Arrow does not know
            try:
                return pa.array([None if value is None else value.astimezone(UTC) for value in values])
            except _UNFIT:
                pass
    try:
        return pa.array([_to_text(value) for value in values], pa.string())
    except _UNFIT:  # aliens and lone surrogates are not UTF-8: as bytes they reach the check that refuses their rows
        return pa.array([_to_bytes(value) for value in values], pa.binary())


def lists_of(values: Sequence[Any]) -> pa.Array:
    """Make an Arrow array of lists of numbers. If a value is none, the array holds the values' JSON, to be checked one by one."""
    lists = [value.tolist() if isinstance(value, np.ndarray) else value for value in values]
    lists = [value if isinstance(value, list | tuple) else json_of(value) for value in lists]
    try:
        found = pa.array(lists, from_pandas=True)
    except _UNFIT:
        found = pa.nulls(0)
    if pa.types.is_list(found.type) or found.null_count == len(lists) == len(found):
        return found
    return pa.array([json_of(value) for value in lists], pa.string())


def _simplify(value: Any) -> Any:
    """Convert a value to one of the types that Arrow has too; to None if it is missing, or to an alien."""
    try:
        found = plain(value)
    except NotPlainError:
        return Alien.of(value)
    if isinstance(found, timedelta) or (isinstance(found, time) and found.tzinfo is not None):
        return Alien.of(value)  # no column holds a duration, and Arrow would drop the zone of a time
    return str(found) if isinstance(found, UUID) else found


def _are_of_one_kind(values: Sequence[Any]) -> bool:
    """Whether Arrow may convert the values together. From mixed values it would infer the type of the first one.

    Times with and without a zone are two kinds: Arrow would read the latter as UTC. Decimals of different scales differ too:
    Arrow would give all of them the largest scale, which changes their text.
    """
    kinds = {float if kind is int else kind for kind in set(map(type, values))} - {type(None)}
    if len(kinds) > 1 or Alien in kinds:
        return False
    if kinds == {datetime}:
        return len({value.tzinfo is not None for value in values if value is not None}) == 1
    if kinds == {Decimal}:
        return len({value.as_tuple().exponent for value in values if value is not None}) == 1
    return True


def _format_decimal(value: Decimal) -> str:
    scale = value.as_tuple().exponent
    return format(value, "f") if isinstance(scale, int) and scale > 0 else str(value)


def _to_text(value: Any) -> str | None:
    """Convert a value to the text that Arrow makes of it among values of its own type.

    :raises TypeError: it has no text.
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
        return _format_decimal(value)
    return _format_by_arrow(value)


def _format_by_arrow(value: Any) -> str:
    try:
        return str(text_of(pa.array([value]))[0].as_py())
    except _UNFIT:
        return str(value.isoformat())


def _to_bytes(value: Any) -> bytes | None:
    if isinstance(value, bytes | None):
        return value
    if isinstance(value, Alien):
        return value.encoded()
    text = str(_to_text(value))
    return text.encode("utf-8", "surrogatepass")
