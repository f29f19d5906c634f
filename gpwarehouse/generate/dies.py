"""The die of a wafer and why they fail, the same for tests and inspections."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from gpwarehouse.generate.lots import Lot
from gpwarehouse.generate.plan import stream

__all__ = [
    "CENTRE",
    "CONTACT",
    "EDGE",
    "GOOD",
    "RANDOM",
    "SCRATCH",
    "WaferDies",
    "die_map",
    "is_scratched",
    "wafer_dies",
]

Array = np.ndarray[Any, Any]
GOOD, RANDOM, EDGE, SCRATCH, CENTRE, CONTACT = range(6)
"""Why a die fails: not at all, by a random defect, the edge ring, the scratch, the excursion's spot in the centre, or a bad
contact, which a retest cures."""

EDGE_FROM, EDGE_FAIL = 0.85, 0.30
"""Share of the radius from which the edge ring reaches, and the probability that a die in it fails."""
CENTRE_TO, CENTRE_FAIL = 0.45, 0.80
CONTACT_FAIL = 0.03


@cache
def die_map(radius: int) -> tuple[Array, Array, Array]:
    """Compute columns, rows and distance from the centre (1 at the edge) of the whole die on a round wafer."""
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    inside = x * x + y * y <= (radius + 0.3) ** 2
    return x[inside], y[inside], np.hypot(x[inside], y[inside]) / radius


def is_scratched(lot: Lot, wafer: int) -> bool:
    """Whether a scratch crosses the wafer: the 4th, 11th, 18th … wafer of every third lot."""
    return lot.number % 3 == 0 and wafer % 7 == 4


@dataclass(frozen=True)
class WaferDies:
    """The die of a wafer: the ``cause`` of each failure, and the ``layer`` (from 1) of its defect."""

    x: Array
    y: Array
    cause: Array
    layer: Array

    @property
    def first_good(self) -> int:
        """Number of die that are good at the first touch."""
        return int((self.cause == GOOD).sum())

    @property
    def last_good(self) -> int:
        """Number of die that are good in the end."""
        return self.first_good + int((self.cause == CONTACT).sum())


def wafer_dies(lot: Lot, wafer: int, *, in_excursion: bool) -> WaferDies:
    """Compute the die of a wafer. A cause later in the list of causes overrides an earlier one."""
    x, y, distance = die_map(lot.settings.radius)
    rng = stream(lot.settings.seed, "die", lot.number, wafer)
    chances = rng.random((4, len(x)))
    layer = rng.integers(1, lot.settings.layers + 1, len(x))
    cause = np.full(len(x), GOOD)
    cause[chances[0] < CONTACT_FAIL] = CONTACT
    cause[chances[1] < lot.product.random_fail] = RANDOM
    cause[(distance > EDGE_FROM) & (chances[2] < EDGE_FAIL)] = EDGE
    if in_excursion:
        cause[(distance < CENTRE_TO) & (chances[3] < CENTRE_FAIL)] = CENTRE
    if is_scratched(lot, wafer):
        cause[(np.abs(0.6 * x - y + 1) < 0.6) & (distance < 0.8)] = SCRATCH
    return WaferDies(x, y, cause, layer)
