"""Lists of parameters: what stands at each position of a row's array of measured values.

A measured value has the identity (number, name, pin, occurrence). A fact row holds its values as an array; the list says
which value stands where, in which unit and within which limits. A list is known by its content: its key is a hash, so no
sequence and no lock is needed to agree on positions, a list never changes, and all files that use the same list share it
(the bridge table with a group key of Kimball and Ross, *The Data Warehouse Toolkit*, 3rd ed., chapter 8).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass, fields
from functools import cached_property
from operator import attrgetter
from typing import Literal, get_args

from gpwarehouse.errors import InvalidInputError

__all__ = ["MOST_PARAMETERS", "Parameter", "ParameterKind", "ParameterSet"]

ParameterKind = Literal["PARAMETRIC", "MULTIPLE", "FUNCTIONAL", "SCAN"]
"""What gave the value: STDF V4's PTR, MPR (a value per pin), FTR and STR. Sensors and values of frames are PARAMETRIC."""

MOST_PARAMETERS = 16_000
"""Most parameters of a list. Wider rows are split by the source, or refused."""

_FIELD, _ENTRY = "\x1f", "\x1e"


@dataclass(frozen=True, slots=True)
class Parameter:
    """One measured quantity.

    :ivar name: the name that engineers see, unique in its list.
    :ivar test_number: number of the test (STDF V4 TEST_NUM); None for a sensor.
    :ivar test_name: text of the test (STDF V4 TEST_TXT) as the file gives it.
    :ivar pin: name of the pin (STDF V4 PMR) of one result of an MPR; empty without one.
    :ivar occurrence: 1, 2, … for a test that is repeated within an insertion.
    :ivar kind: what gave the value.
    :ivar unit: unit of value and limits, without a scaling prefix of its own; None if none is given.
    :ivar lsl: lower limit; None if there is none.
    :ivar usl: upper limit; None if there is none.
    :ivar lsl_inclusive: whether a value equal to the lower limit is in spec (STDF V4 PARM_FLG bit 6).
    :ivar usl_inclusive: whether a value equal to the upper limit is in spec (STDF V4 PARM_FLG bit 7).
    :raises InvalidInputError: a field has no possible value.
    """

    name: str
    test_number: int | None = None
    test_name: str | None = None
    pin: str = ""
    occurrence: int = 1
    kind: ParameterKind = "PARAMETRIC"
    unit: str | None = None
    lsl: float | None = None
    usl: float | None = None
    lsl_inclusive: bool = True
    usl_inclusive: bool = True

    def __post_init__(self) -> None:
        if not self.name:
            raise InvalidInputError("a parameter has no name; give one")
        if self.kind not in get_args(ParameterKind):
            raise InvalidInputError(f"parameter {self.name!r}: kind {self.kind!r} is none of {get_args(ParameterKind)}")
        if self.occurrence < 1:
            raise InvalidInputError(f"parameter {self.name!r}: occurrence {self.occurrence} is less than 1")
        for text in (self.name, self.test_name, self.pin, self.unit):
            if text and not {_FIELD, _ENTRY, "\0"}.isdisjoint(text):
                raise InvalidInputError(f"parameter {self.name!r}: {text!r} holds U+001E, U+001F or NUL; remove it")
        for side, limit in (("lsl", self.lsl), ("usl", self.usl)):
            if limit is not None and not math.isfinite(limit):
                raise InvalidInputError(f"parameter {self.name!r}: {side} is {limit}; give a finite limit, or None")

    @property
    def order(self) -> tuple[object, ...]:
        """What lists are ordered by: number, name, pin, occurrence. Those without a number come last."""
        number = self.test_number
        return (number is None, number or 0, self.test_name or self.name, self.pin, self.occurrence, self.name)

    def encode(self) -> str:
        """The content as text; two parameters are equal exactly if their texts are."""
        return _FIELD.join("" if value is None else repr(value) for value in _FIELDS(self))


_FIELDS = attrgetter(*(field.name for field in fields(Parameter)))


@dataclass(frozen=True)
class ParameterSet:
    """A list of parameters in its canonical order. Make it with :meth:`of`.

    :ivar parameters: position 1 is the first.
    """

    parameters: tuple[Parameter, ...]

    @classmethod
    def of(cls, parameters: Iterable[Parameter]) -> ParameterSet:
        """Put parameters in order.

        :raises InvalidInputError: two parameters have one name, or there are more than :data:`MOST_PARAMETERS`.
        """
        ordered = tuple(sorted(parameters, key=lambda parameter: parameter.order))
        if len(ordered) > MOST_PARAMETERS:
            raise InvalidInputError(
                f"{len(ordered)} parameters are more than the {MOST_PARAMETERS} that a list may have; split the rows"
            )
        seen: set[str] = set()
        for parameter in ordered:
            if parameter.name in seen:
                raise InvalidInputError(f"two parameters are named {parameter.name!r}; names are unique in a list")
            seen.add(parameter.name)
        return cls(ordered)

    @cached_property
    def key(self) -> int:
        """The durable key: the first 64 bits of the MD5 of the content, as a signed integer."""
        content = _ENTRY.join(parameter.encode() for parameter in self.parameters)
        digest = hashlib.md5(content.encode(), usedforsecurity=False).digest()
        key = int.from_bytes(digest[:8], "big", signed=True)
        return key if key not in (-1, -2) else key - 2  # -1 and -2 are reserved, as in dimensions

    def __len__(self) -> int:
        return len(self.parameters)
