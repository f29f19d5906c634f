"""The columns that a file may have, as far as its reader needs to know them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from gpwarehouse.intake.target import Target

__all__ = ["Expected", "expected_of"]


@dataclass(frozen=True)
class Expected:
    """Columns of a target.

    :ivar what: name of the target, for messages.
    :ivar names: columns that a file may have.
    :ivar numbers: columns that hold numbers.
    :ivar takes: whether a file may also have the column of a name, which holds numbers.
    :ivar check: raises :class:`~gpwarehouse.errors.InvalidInputError` if the columns of a file do not fit as a whole.
    """

    what: str
    names: frozenset[str]
    numbers: frozenset[str] = frozenset()
    check: Callable[[list[str]], object] = lambda names: None
    takes: Callable[[str], bool] = lambda name: False

    def among(self, names: Iterable[str]) -> set[str]:
        """Those of the names that a file may have."""
        return {name for name in names if name in self.names or self.takes(name)}

    def is_number(self, name: str) -> bool:
        """Whether the column of that name holds numbers."""
        return name in self.numbers or self.takes(name)


def expected_of(
    target: Target,
    *,
    beside: Iterable[str] = (),
    constants: Iterable[str] = (),
    takes: Callable[[str], bool] = lambda name: False,
) -> Expected:
    """Make the expected columns of files for a target.

    :param beside: columns that a file has besides those of the target.
    :param constants: columns of the target that the caller gives for all rows.
    :param takes: whether the column of a name holds values of a parameter.
    """
    more = frozenset(beside)
    numbers = frozenset(c.name for c in target.inputs.values() if _is_number(c.type))

    def check(names: list[str]) -> None:
        target.check_names([*(name for name in names if name not in more and not takes(name)), *constants])

    return Expected(target.name, frozenset(target.inputs) | more, numbers, check, takes)


def _is_number(kind: Any) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))
